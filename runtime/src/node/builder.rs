//! The configuration of a node, collected without complaint and checked all at once.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use teff_contract::Kind;
use teff_core::view::{Member, View};
use teff_transport::{Identity, Limits as LinkLimits, Listener};
use teff_wire::{Epoch, Key, NodeId, Version};

use crate::error::{ConfigError, StartError};
use crate::node::kinds::Registry;
use crate::node::spec::{self, Source};
use crate::node::{Node, cpu, start};
use crate::probe;
use crate::shared::Limits;

/// Makes a node. Every setter may be called in any order; [`start`](Self::start) reports all
/// mistakes together.
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(super) mode: Mode,
    pub(super) kinds: Vec<Kind>,
    shards: Option<usize>,
    cpus: Option<Vec<usize>>,
    limits: Limits,
}

/// Alone or in company.
pub(super) enum Mode {
    Single,
    Static(Box<Static>),
    Spec { source: Source, node: NodeId },
}

/// A node of a cluster whose members are given here.
pub(super) struct Static {
    pub cluster: String,
    pub node: NodeId,
    pub listen: Option<Listen>,
    pub members: Vec<Member>,
    pub identity: Option<Identity>,
    pub version: Version,
}

/// Where a node listens.
pub(super) enum Listen {
    At(String),
    On(Listener),
}

/// A configuration without mistakes.
pub(super) struct Plan {
    pub node: NodeId,
    pub view: View,
    pub cpus: Vec<usize>,
    pub kinds: Vec<Kind>,
    pub limits: Limits,
    pub network: Option<Network>,
}

/// The part of a plan that a node without a network does not have.
pub(super) struct Network {
    pub cluster: String,
    pub listener: Listener,
    pub identity: Identity,
    pub version: Version,
    pub links: LinkLimits,
}

impl Builder {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            kinds: Vec::new(),
            shards: None,
            cpus: None,
            limits: DEFAULTS,
        }
    }

    /// Hosts a kind on this node, as made by a generated `kind` function:
    /// `.kind(HelloRef::kind::<Greeter>())`. More can be registered while the node runs.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Listens on this address, `"127.0.0.1:4001"` for example; port 0 takes a free one. With
    /// members given, the default is this node's own address among them.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        if let Mode::Static(cluster) = &mut self.mode {
            cluster.listen = Some(Listen::At(address.into()));
        }
        self
    }

    /// Listens on a port that was taken before, so that its number could be told to others.
    pub fn listener(mut self, listener: Listener) -> Self {
        if let Mode::Static(cluster) = &mut self.mode {
            cluster.listen = Some(Listen::On(listener));
        }
        self
    }

    /// Adds a member of the cluster. All nodes must be given the same members; this node itself
    /// may be left out if nobody else is given, and is added otherwise only as the others list it.
    pub fn member(mut self, member: Member) -> Self {
        if let Mode::Static(cluster) = &mut self.mode {
            cluster.members.push(member);
        }
        self
    }

    /// Adds several members.
    pub fn members(self, members: impl IntoIterator<Item = Member>) -> Self {
        members.into_iter().fold(self, Self::member)
    }

    /// The certificates and the key to show to peers and to check them by.
    pub fn identity(mut self, identity: Identity) -> Self {
        if let Mode::Static(cluster) = &mut self.mode {
            cluster.identity = Some(identity);
        }
        self
    }

    /// Runs this many shards, 1 to 256. Default: as the members or the spec say of this node, else
    /// one per CPU that this process may use (cgroup quota and affinity considered).
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Pins shard *i* to the *i*-th of these CPUs, and begins anew when there are more shards.
    /// Default: the CPUs that this process may use, in order.
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.cpus = Some(cpus.into_iter().collect());
        self
    }

    /// How long a call waits for its reply unless it says otherwise. Default 5 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.limits.call_timeout = timeout;
        self
    }

    /// How many messages a lane between two shards, or from a thread outside, holds. Rounded up to
    /// a power of two. Default 4096.
    pub fn lane_capacity(mut self, messages: usize) -> Self {
        self.limits.lane_capacity = messages;
        self
    }

    /// How many messages wait for a grain whose handler is suspended. Default 1024.
    pub fn mailbox_capacity(mut self, messages: usize) -> Self {
        self.limits.mailbox_capacity = messages;
        self
    }

    /// How many grains each shard holds in memory. Default 1 000 000.
    pub fn activations_max(mut self, grains: usize) -> Self {
        self.limits.activations_max = grains;
        self
    }

    /// The largest argument or reply in bytes, encoded. Default and maximum 16 MiB.
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.limits.message_bytes_max = bytes;
        self
    }

    /// Claims another protocol version, to test that peers refuse it.
    #[doc(hidden)]
    pub fn protocol_version(mut self, major: u16, minor: u16) -> Self {
        if let Mode::Static(cluster) = &mut self.mode {
            cluster.version = Version { major, minor };
        }
        self
    }

    /// Starts the node. When this returns, its shards run and its port is open.
    ///
    /// # Errors
    ///
    /// [`StartError`]: all mistakes of the configuration, or everything that the machine lacks, or
    /// the first thing that failed.
    pub fn start(self) -> Result<Node, StartError> {
        let plan = self.plan()?;
        let obstacles = probe::obstacles(plan.cpus.len() as u16);
        if !obstacles.is_empty() {
            return Err(StartError::Machine(obstacles));
        }
        start::start(plan)
    }

    fn plan(self) -> Result<Plan, StartError> {
        let mut problems = self.check();
        let Self {
            mode,
            kinds,
            shards,
            cpus,
            limits,
        } = self;
        let mode = match mode {
            Mode::Spec { source, node } => match spec::load(source, node) {
                Ok(cluster) => Mode::Static(Box::new(cluster)),
                Err(errors) => {
                    problems.extend(errors);
                    return Err(StartError::Config(problems));
                }
            },
            mode => mode,
        };
        let allowed = cpu::allowed();
        let cpus = cpus.unwrap_or_else(|| allowed.clone());
        let cpu_of = |shards: usize| cpus.iter().copied().cycle().take(shards).collect();
        match mode {
            Mode::Single | Mode::Spec { .. } => {
                let shards = shards
                    .unwrap_or_else(cpu::default_shards)
                    .min(SHARDS_MAX.into());
                let address = SocketAddr::from(([127, 0, 0, 1], 0));
                let member = Member::new(ALONE, address, shards.max(1) as u16);
                let view = View::new(Epoch(1), vec![member]);
                match view {
                    Ok(view) if problems.is_empty() => {
                        let cpus = cpu_of(shards);
                        Ok(Plan {
                            node: ALONE,
                            view,
                            cpus,
                            kinds,
                            limits,
                            network: None,
                        })
                    }
                    Ok(_) => Err(StartError::Config(problems)),
                    Err(errors) => {
                        problems.extend(errors.into_iter().map(ConfigError::View));
                        Err(StartError::Config(problems))
                    }
                }
            }
            Mode::Static(cluster) => {
                let (node, view, network) = cluster.plan(shards, &limits, problems)?;
                let own = view.member(node).expect("a plan has this node as a member");
                let cpus = cpu_of(own.shards.into());
                Ok(Plan {
                    node,
                    view,
                    cpus,
                    kinds,
                    limits,
                    network: Some(network),
                })
            }
        }
    }

    fn check(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut registry = Registry::default();
        for kind in &self.kinds {
            problems.extend(registry.add(kind).err().map(ConfigError::Kind));
        }
        if let Some(given) = self.shards
            && !(1..=usize::from(SHARDS_MAX)).contains(&given)
        {
            problems.push(ConfigError::Shards {
                given,
                max: SHARDS_MAX,
            });
        }
        if let Some(cpus) = &self.cpus {
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
        problems.extend(self.limits.check());
        problems
    }
}

impl Limits {
    fn check(&self) -> Vec<ConfigError> {
        let rules = [
            (
                !self.call_timeout.is_zero(),
                "call_timeout",
                "longer than nothing",
            ),
            (
                (2..=LANE_MAX).contains(&self.lane_capacity),
                "lane_capacity",
                "between 2 and 1048576 messages",
            ),
            (
                self.mailbox_capacity > 0,
                "mailbox_capacity",
                "at least one message",
            ),
            (
                self.activations_max > 0,
                "activations_max",
                "at least one grain",
            ),
            (
                (MESSAGE_MIN..=DEFAULTS.message_bytes_max).contains(&self.message_bytes_max),
                "message_bytes_max",
                "between 1 KiB and 16 MiB",
            ),
        ];
        let broken = rules.into_iter().filter(|(kept, ..)| !kept);
        broken
            .map(|(_, name, rule)| ConfigError::Limit { name, rule })
            .collect()
    }
}

impl Static {
    pub(super) fn new(cluster: String, node: NodeId) -> Self {
        Self {
            cluster,
            node,
            listen: None,
            members: Vec::new(),
            identity: None,
            version: Version::CURRENT,
        }
    }

    fn plan(
        mut self,
        shards: Option<usize>,
        limits: &Limits,
        mut problems: Vec<ConfigError>,
    ) -> Result<(NodeId, View, Network), StartError> {
        let node = self.node;
        let name = teff_transport::ClusterName::new(self.cluster.clone());
        problems.extend(name.as_ref().err().cloned().map(ConfigError::ClusterName));
        let address = self.address(&mut problems);
        self.agree_on_shards(shards, address, &mut problems);
        match (&self.identity, &name) {
            (None, _) => problems.push(ConfigError::NoIdentity),
            (Some(identity), Ok(name)) => {
                let now = rustls_pki_types::UnixTime::now();
                let checked = identity.check(name, node, now);
                problems.extend(checked.err().map(ConfigError::Identity));
            }
            (Some(_), Err(_)) => {}
        }
        // Everything but the port can be checked without taking it.
        let members = std::mem::take(&mut self.members);
        let provisional = View::new(Epoch(1), members.clone());
        if let Err(errors) = &provisional
            && !self.members_await_a_port(&members)
        {
            problems.extend(errors.iter().cloned().map(ConfigError::View));
        }
        let (Some(identity), Some(listen), true) =
            (self.identity, self.listen, problems.is_empty())
        else {
            return Err(StartError::Config(problems));
        };
        let listener = match (listen, address) {
            (Listen::On(listener), _) => listener,
            (Listen::At(_), Some(address)) => Listener::bind(address)?,
            (Listen::At(_), None) => return Err(StartError::Config(vec![ConfigError::NoAddress])),
        };
        let mut members = members;
        for member in members.iter_mut().filter(|member| member.node == node) {
            if member.address.port() == 0 {
                member.address = listener.local_addr();
            }
        }
        let view = View::new(Epoch(1), members).map_err(|errors| {
            StartError::Config(errors.into_iter().map(ConfigError::View).collect())
        })?;
        let mut links = LinkLimits::default();
        links.max_payload = limits.message_bytes_max;
        let (cluster, version) = (self.cluster, self.version);
        Ok((
            node,
            view,
            Network {
                cluster,
                listener,
                identity,
                version,
                links,
            },
        ))
    }

    /// Where to listen, as far as it is known before the port is taken.
    fn address(&mut self, problems: &mut Vec<ConfigError>) -> Option<SocketAddr> {
        if self.listen.is_none()
            && let Some(own) = self.members.iter().find(|member| member.node == self.node)
        {
            self.listen = Some(Listen::At(own.address.to_string()));
        }
        match &self.listen {
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

    fn agree_on_shards(
        &mut self,
        given: Option<usize>,
        address: Option<SocketAddr>,
        problems: &mut Vec<ConfigError>,
    ) {
        let given = given.map(|given| given.clamp(1, SHARDS_MAX.into()) as u16);
        match (
            self.members.iter().find(|member| member.node == self.node),
            given,
            address,
        ) {
            (Some(own), Some(given), _) if own.shards != given => {
                let (node, listed) = (self.node, own.shards);
                problems.push(ConfigError::ShardsDisagree {
                    node,
                    listed,
                    given,
                });
            }
            (None, given, Some(address)) => {
                let shards =
                    given.unwrap_or_else(|| cpu::default_shards().min(SHARDS_MAX.into()) as u16);
                self.members.push(Member::new(self.node, address, shards));
            }
            _ => {}
        }
    }

    /// Port 0 is no address that a view could have, and is replaced before the view is made.
    fn members_await_a_port(&self, members: &[Member]) -> bool {
        members
            .iter()
            .any(|member| member.node == self.node && member.address.port() == 0)
    }
}

/// The first address that a `host:port` stands for.
pub(super) fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut addresses = text.to_socket_addrs().map_err(|error| error.to_string())?;
    addresses
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}

/// A spec file, or the text of one.
impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

/// The most shards that a node can have; a view allows no more.
const SHARDS_MAX: u16 = 256;

/// The id of a node that has no others to be told apart from.
const ALONE: NodeId = NodeId(0);

/// A lane of more slots would hold a second's worth of messages, which is no backpressure.
const LANE_MAX: usize = 1 << 20;

/// Room for any key and a small message.
const MESSAGE_MIN: usize = 1 << 10;

const DEFAULTS: Limits = Limits {
    call_timeout: Duration::from_secs(5),
    lane_capacity: 4096,
    mailbox_capacity: 1024,
    queue_capacity: 65_536,
    activations_max: 1_000_000,
    dial_queue: 4096,
    message_bytes_max: 16 << 20,
};

const _: () = assert!(
    Key::MAX_LEN < MESSAGE_MIN,
    "a key fits where a message does"
);
