//! Checks a configuration and turns it into a plan: every mistake is found before anything starts.

use std::net::{SocketAddr, ToSocketAddrs};

use rustls_pki_types::UnixTime;
use teff_contract::Kind;
use teff_core::view::{Member, View};
use teff_transport::{CipherSuite, ClusterName, Identity, Limits as LinkLimits, Listener};
use teff_wire::{Epoch, Key, NodeId, Version};

use crate::driver::{Chooser, Reactor};
use crate::error::{ConfigError, StartError};
use crate::idle::IdleStrategy;
use crate::node::builder::{Builder, DEFAULTS, Listen, Mode, Static};
use crate::node::kinds::Registry;
use crate::node::{cpu, spec};
use crate::shared::Limits;

/// A configuration without mistakes.
pub(super) struct Plan {
    pub node: NodeId,
    pub view: View,
    /// The CPU of each shard.
    pub cpus: Vec<usize>,
    pub kinds: Vec<Kind>,
    pub limits: Limits,
    /// Who has chosen the reactor among the limits.
    pub chooser: Chooser,
    pub network: Option<Network>,
}

/// The part of a plan that a node without a network does not have.
pub(super) struct Network {
    pub cluster: ClusterName,
    pub listener: Listener,
    pub identity: Identity,
    pub suites: Vec<CipherSuite>,
    pub version: Version,
    pub links: LinkLimits,
}

/// Makes a plan, or says everything that is wrong.
pub(super) fn plan(builder: Builder) -> Result<Plan, StartError> {
    let mut problems = check(&builder);
    let Builder {
        mode,
        kinds,
        shards,
        cpus,
        mut limits,
        mut links,
        reactor,
        ..
    } = builder;
    let mut chooser = Chooser::Program;
    match reactor.map_or_else(reactor_of_environment, |reactor| Ok((reactor, chooser))) {
        Ok((reactor, who)) => (limits.reactor, chooser) = (reactor, who),
        Err(error) => problems.push(error),
    }
    let (mode, shards) = match mode {
        Mode::Spec { source, node } => match spec::load(source, node) {
            Ok((Some(cluster), _)) => (Some(Box::new(cluster)), shards),
            Ok((None, listed)) => (None, shards.or(Some(listed.into()))),
            Err(errors) => {
                problems.extend(errors);
                return Err(StartError::Config(problems));
            }
        },
        Mode::Static(cluster) => (Some(cluster), shards),
        Mode::Single => (None, shards),
    };
    let (node, view, network) = match mode {
        None => (ALONE, alone(shards, problems)?, None),
        Some(cluster) => {
            let node = cluster.node;
            links.max_payload = limits.message_bytes_max;
            let (view, network) = in_company(*cluster, shards, links, problems)?;
            (node, view, Some(network))
        }
    };
    let shards = view.member(node).map_or(1, |own| own.shards);
    let cpus = cpus.unwrap_or_else(|| {
        // Several nodes on one machine begin with different CPUs.
        let mut cpus = cpu::allowed();
        let first = usize::from(node.0) % cpus.len().max(1);
        cpus.rotate_left(first);
        cpus
    });
    let cpus = cpus.iter().copied().cycle().take(shards.into()).collect();
    Ok(Plan {
        node,
        view,
        cpus,
        kinds,
        limits,
        chooser,
        network,
    })
}

/// What is wrong whatever the mode.
fn check(builder: &Builder) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    let misplaced = builder.misplaced.iter();
    problems.extend(misplaced.map(|setter| ConfigError::Misplaced { setter }));
    let mut registry = Registry::default();
    for kind in &builder.kinds {
        problems.extend(registry.add(kind).err().map(ConfigError::Kind));
    }
    if let Some(given) = builder.shards
        && !(1..=usize::from(SHARDS_MAX)).contains(&given)
    {
        problems.push(ConfigError::Shards {
            given,
            max: SHARDS_MAX,
        });
    }
    if let Some(cpus) = &builder.cpus {
        let allowed = cpu::allowed();
        if cpus.is_empty() {
            problems.push(ConfigError::Limit {
                name: "cpus",
                rule: "at least one CPU",
            });
        }
        for cpu in cpus.iter().copied().filter(|cpu| !allowed.contains(cpu)) {
            problems.push(ConfigError::Cpu {
                cpu,
                allowed: allowed.clone(),
            });
        }
    }
    problems.extend(check_limits(&builder.limits));
    let links = builder.links.problems().into_iter();
    problems.extend(links.map(|(name, rule)| ConfigError::Limit { name, rule }));
    problems
}

fn check_limits(limits: &Limits) -> impl Iterator<Item = ConfigError> {
    let rules = [
        (
            !limits.call_timeout.is_zero(),
            "call_timeout",
            "longer than nothing",
        ),
        (
            (2..=LANE_MAX).contains(&limits.lane_capacity),
            "lane_capacity",
            "between 2 and 1048576 messages",
        ),
        (
            limits.mailbox_capacity > 0,
            "mailbox_capacity",
            "at least one message",
        ),
        (
            limits.activations_max > 0,
            "activations_max",
            "at least one grain",
        ),
        (
            (1..=MESH_MAX).contains(&limits.mesh_max),
            "mesh_max",
            "between 1 and 65536 links",
        ),
        (
            !matches!(limits.idle, IdleStrategy::Spin(time) if time > IdleStrategy::SPIN_MAX),
            "idle",
            "Spin for at most 1 s (BusyPoll never sleeps)",
        ),
        (
            (MESSAGE_MIN..=DEFAULTS.message_bytes_max).contains(&limits.message_bytes_max),
            "message_bytes_max",
            "between 1 KiB and 16 MiB",
        ),
    ];
    let broken = rules.into_iter().filter(|(kept, ..)| !kept);
    broken.map(|(_, name, rule)| ConfigError::Limit { name, rule })
}

/// The view of a node that has no others to be told apart from.
fn alone(shards: Option<usize>, mut problems: Vec<ConfigError>) -> Result<View, StartError> {
    let member = Member::new(
        ALONE,
        SocketAddr::from(([127, 0, 0, 1], 1)),
        shard_count(shards),
    );
    match View::new(Epoch(1), vec![member]) {
        Ok(view) if problems.is_empty() => return Ok(view),
        Ok(_) => {}
        Err(errors) => problems.extend(errors.into_iter().map(ConfigError::View)),
    }
    Err(StartError::Config(problems))
}

fn in_company(
    mut cluster: Static,
    shards: Option<usize>,
    links: LinkLimits,
    mut problems: Vec<ConfigError>,
) -> Result<(View, Network), StartError> {
    let node = cluster.node;
    let name = ClusterName::new(cluster.cluster.clone());
    let address = listen_address(&mut cluster, &mut problems);
    complete_members(&mut cluster, shards, address, &mut problems);
    problems.extend(check_identity(&cluster, name.as_ref().ok()));
    // A port that the kernel is to choose is not known yet, and no member can have port 0.
    let stand_in = SocketAddr::from(([127, 0, 0, 1], 1));
    let members = with_address(&cluster, |address| {
        if address.port() == 0 {
            stand_in
        } else {
            address
        }
    });
    let errors = View::new(Epoch(1), members).err().unwrap_or_default();
    problems.extend(errors.into_iter().map(ConfigError::View));
    let cluster_name = match name {
        Ok(name) => Some(name),
        Err(error) => {
            problems.push(ConfigError::ClusterName(error));
            None
        }
    };
    let (Some(name), Some(identity), Some(listen), true) = (
        cluster_name,
        cluster.identity.clone(),
        cluster.listen.take(),
        problems.is_empty(),
    ) else {
        return Err(StartError::Config(problems));
    };
    let listener = match (listen, address) {
        (Listen::On(listener), _) => listener,
        (Listen::At(_), Some(address)) => Listener::bind(address)?,
        (Listen::At(_), None) => return Err(StartError::Config(vec![ConfigError::NoAddress])),
    };
    let port = listener.local_addr();
    let members = with_address(
        &cluster,
        |address| if address.port() == 0 { port } else { address },
    );
    let view = View::new(Epoch(1), members).map_err(|errors| {
        StartError::Config(errors.into_iter().map(ConfigError::View).collect())
    })?;
    debug_assert!(
        view.member(node).is_some(),
        "a node is a member of its own view"
    );
    let (suites, version) = (cluster.suites, cluster.version);
    Ok((
        view,
        Network {
            cluster: name,
            listener,
            identity,
            suites,
            version,
            links,
        },
    ))
}

/// Where to listen, as far as it is known before the port is taken.
fn listen_address(cluster: &mut Static, problems: &mut Vec<ConfigError>) -> Option<SocketAddr> {
    if cluster.listen.is_none()
        && let Some(own) = cluster
            .members
            .iter()
            .find(|member| member.node == cluster.node)
    {
        cluster.listen = Some(Listen::At(own.address.to_string()));
    }
    match &cluster.listen {
        None => {
            problems.push(ConfigError::NoAddress);
            None
        }
        Some(Listen::On(listener)) => Some(listener.local_addr()),
        Some(Listen::At(text)) => match resolve(text) {
            Ok(address) => Some(address),
            Err(cause) => {
                problems.push(ConfigError::Address {
                    text: text.clone(),
                    cause,
                });
                None
            }
        },
    }
}

/// Makes this node a member if nobody has listed it, and the number of its shards one number.
fn complete_members(
    cluster: &mut Static,
    given: Option<usize>,
    address: Option<SocketAddr>,
    problems: &mut Vec<ConfigError>,
) {
    let node = cluster.node;
    match (
        cluster.members.iter().find(|member| member.node == node),
        given,
        address,
    ) {
        (Some(own), Some(given), _) if usize::from(own.shards) != given => {
            let listed = own.shards;
            problems.push(ConfigError::ShardsDisagree {
                node,
                listed,
                given,
            });
        }
        (None, given, Some(address)) => {
            cluster
                .members
                .push(Member::new(node, address, shard_count(given)));
        }
        _ => {}
    }
}

fn check_identity(cluster: &Static, name: Option<&ClusterName>) -> Option<ConfigError> {
    let Some(identity) = &cluster.identity else {
        return Some(ConfigError::NoIdentity);
    };
    let checked = identity.check(name?, cluster.node, UnixTime::now());
    checked.err().map(ConfigError::Identity)
}

/// The members, with this node's own address mapped.
fn with_address(cluster: &Static, map: impl Fn(SocketAddr) -> SocketAddr) -> Vec<Member> {
    let mut members = cluster.members.clone();
    for member in members
        .iter_mut()
        .filter(|member| member.node == cluster.node)
    {
        member.address = map(member.address);
    }
    members
}

fn reactor_of_environment() -> Result<(Reactor, Chooser), ConfigError> {
    let Some(given) = std::env::var_os(REACTOR) else {
        return Ok((Reactor::default(), Chooser::Nobody));
    };
    match given.to_str() {
        Some("epoll") => Ok((Reactor::Epoll, Chooser::Environment)),
        Some("io_uring") => Ok((Reactor::IoUring, Chooser::Environment)),
        _ => Err(ConfigError::Reactor {
            given: given.to_string_lossy().into_owned(),
        }),
    }
}

const REACTOR: &str = "TEFF_REACTOR";

fn shard_count(given: Option<usize>) -> u16 {
    let count = given.unwrap_or_else(cpu::default_shards);
    count.clamp(1, SHARDS_MAX.into()) as u16
}

/// The first address that a `host:port` stands for.
pub(super) fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}

/// The most shards that a node can have; a view allows no more.
const SHARDS_MAX: u16 = 256;

/// The id of a node that has no others to be told apart from.
const ALONE: NodeId = NodeId(0);

/// As many links as two nodes can have between their shards.
const MESH_MAX: usize = SHARDS_MAX as usize * SHARDS_MAX as usize;

/// A lane of more slots would hold a second's worth of messages, which is no backpressure.
const LANE_MAX: usize = 1 << 20;

/// Room for any key and a small message.
const MESSAGE_MIN: usize = 1 << 10;

const _: () = assert!(
    Key::MAX_LEN < MESSAGE_MIN,
    "a key fits where a message does"
);
