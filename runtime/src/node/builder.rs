//! The configuration of a node, collected without complaint. `plan` checks it, all at once.

use std::time::Duration;

use teff_contract::Kind;
use teff_core::view::Member;
use teff_transport::{CipherSuite, Identity, Limits as LinkLimits, Listener};
use teff_wire::{NodeId, Version};

use crate::driver::Reactor;
use crate::error::StartError;
use crate::idle::IdleStrategy;
use crate::node::spec::Source;
use crate::node::{Node, plan, start};
use crate::probe;
use crate::shared::Limits;

/// Makes a node. Every setter may be called in any order; [`start`](Self::start) reports all
/// mistakes together.
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    pub(super) mode: Mode,
    pub(super) kinds: Vec<Kind>,
    pub(super) shards: Option<usize>,
    pub(super) cpus: Option<Vec<usize>>,
    pub(super) limits: Limits,
    pub(super) links: LinkLimits,
    pub(super) reactor: Option<Reactor>,
    /// Setters that have no meaning in this mode.
    pub(super) misplaced: Vec<&'static str>,
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
    pub suites: Vec<CipherSuite>,
    pub version: Version,
}

/// Where a node listens.
pub(super) enum Listen {
    At(String),
    On(Listener),
}

impl Builder {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            kinds: Vec::new(),
            shards: None,
            cpus: None,
            limits: DEFAULTS,
            links: LinkLimits::default(),
            reactor: None,
            misplaced: Vec::new(),
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
    pub fn listen(self, address: impl Into<String>) -> Self {
        self.in_cluster("listen", |cluster| {
            cluster.listen = Some(Listen::At(address.into()));
        })
    }

    /// Listens on a port that was taken before, so that its number could be told to others.
    pub fn listener(self, listener: Listener) -> Self {
        self.in_cluster("listener", |cluster| {
            cluster.listen = Some(Listen::On(listener));
        })
    }

    /// Adds a member of the cluster. All nodes must be given the same members; this node itself
    /// may be left out if nobody else is given, and is added otherwise only as the others list it.
    pub fn member(self, member: Member) -> Self {
        self.in_cluster("member", |cluster| cluster.members.push(member))
    }

    /// Adds several members.
    pub fn members(self, members: impl IntoIterator<Item = Member>) -> Self {
        members.into_iter().fold(self, Self::member)
    }

    /// The certificates and the key to show to peers and to check them by.
    pub fn identity(self, identity: Identity) -> Self {
        self.in_cluster("identity", |cluster| cluster.identity = Some(identity))
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
    ///
    /// One turn of a handler gets at most half of the room that it finds in a lane, or less when
    /// many wait for some, so that it cannot keep the other grains of its shard from sending.
    pub fn lane_capacity(mut self, messages: usize) -> Self {
        self.limits.lane_capacity = messages;
        self
    }

    /// How many messages wait for a grain whose handler is suspended. Default 1024. Messages whose
    /// senders wait for room are taken in beyond that if they were on their way when it filled: at
    /// most what lanes and the shard's own queue hold.
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

    /// How many links two nodes may have between them for every shard of one to have one to every
    /// shard of the other: 64, the default, are enough for two nodes of 8 shards. Messages then
    /// arrive on the shard of their grain.
    ///
    /// Two nodes whose shards would need more are linked in pairs of shards, at most as many as the
    /// larger of them has shards; what arrives beside its grain's shard takes one lane there. Give
    /// all nodes of a cluster the same. There may be two links for one where both nodes dial in the
    /// same moment and are slow to answer.
    pub fn mesh_max(mut self, links: usize) -> Self {
        self.limits.mesh_max = links;
        self
    }

    /// Changes what links to other nodes may take: memory, time, congestion control. Their
    /// `max_payload` is what [`message_bytes_max`](Self::message_bytes_max) says.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use teff::{Congestion, Node};
    ///
    /// let node = Node::single().links(|links| {
    ///     links.congestion = Congestion::Bbr;
    ///     links.resume = Duration::from_secs(20);
    /// });
    /// ```
    pub fn links(mut self, change: impl FnOnce(&mut LinkLimits)) -> Self {
        change(&mut self.links);
        self
    }

    /// What the shards do while they have nothing to do. Default: poll for at most 50 us, adapting
    /// to whether that pays, then sleep.
    pub fn idle(mut self, strategy: IdleStrategy) -> Self {
        self.limits.idle = strategy;
        self
    }

    /// What the shards sleep in. Default [`Reactor::Epoll`]; where the program does not say, the
    /// environment variable `TEFF_REACTOR` may: `epoll` or `io_uring`.
    pub fn reactor(mut self, reactor: Reactor) -> Self {
        self.reactor = Some(reactor);
        self
    }

    /// Claims another protocol version, to test that peers refuse it.
    #[doc(hidden)]
    pub fn protocol_version(self, major: u16, minor: u16) -> Self {
        self.in_cluster("protocol_version", |cluster| {
            cluster.version = Version { major, minor }
        })
    }

    /// Starts the node. When this returns, its shards run and its port is open.
    ///
    /// # Errors
    ///
    /// [`StartError`]: all mistakes of the configuration, or everything that the machine lacks, or
    /// the first thing that failed.
    pub fn start(self) -> Result<Node, StartError> {
        let plan = plan::plan(self)?;
        let (shards, reactor) = (plan.cpus.len() as u16, plan.limits.reactor);
        let obstacles = probe::obstacles(shards, reactor);
        if !obstacles.is_empty() {
            return Err(StartError::Machine(obstacles));
        }
        probe::announce(plan.node, shards, (reactor, plan.chooser));
        start::start(plan)
    }

    fn in_cluster(mut self, setter: &'static str, set: impl FnOnce(&mut Static)) -> Self {
        match &mut self.mode {
            Mode::Static(cluster) => set(cluster),
            Mode::Single | Mode::Spec { .. } => self.misplaced.push(setter),
        }
        self
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
            suites: CipherSuite::DEFAULT.to_vec(),
            version: Version::CURRENT,
        }
    }
}

/// What a node allows unless told otherwise.
pub(super) const DEFAULTS: Limits = Limits {
    call_timeout: Duration::from_secs(5),
    lane_capacity: 4096,
    mailbox_capacity: 1024,
    queue_capacity: 65_536,
    activations_max: 1_000_000,
    dial_queue: 4096,
    mesh_max: 64,
    message_bytes_max: 16 << 20,
    idle: IdleStrategy::Spin(Duration::from_micros(50)),
    reactor: Reactor::Epoll,
};
