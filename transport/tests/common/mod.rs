//! A cluster in one thread: real sockets on the loopback interface, a clock that can be put
//! forward, and a loop that drives every endpoint until a condition holds or a bound is reached.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "shared by test binaries of which none uses everything"
)]

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use rkyv::util::AlignedVec;
use teff_transport::{
    CipherSuite, ClusterName, Endpoint, Event, Identity, Limits, LinkError, LinkId, Listener,
    LocalNode, Sent, Settings, Socket, authority::Authority,
};
use teff_wire::{
    Frame, Header, Hello, Incarnation, Key, KindId, KindOffer, MethodId, NodeId, ShardId, Version,
};

pub mod bad_network;
pub mod raw;

/// How long any condition may take to come true, in real time.
const PATIENCE: Duration = Duration::from_secs(30);

pub const A: usize = 0;
pub const B: usize = 1;
pub const C: usize = 2;

pub const CLUSTER: &str = "test";

pub fn node_id(node: usize) -> NodeId {
    NodeId(node as u16 + 1)
}

/// What to make a node of. `Plan::of(authority, node)` is in order; tests bend it.
pub struct Plan {
    pub identity: Identity,
    pub cluster: &'static str,
    pub node: NodeId,
    /// Which start of the node it is.
    pub start: u64,
    pub shards: u16,
    pub placement: u64,
    pub members: Vec<NodeId>,
    pub limits: Limits,
    pub version: Version,
    pub kinds: Vec<KindOffer>,
    pub suites: Vec<CipherSuite>,
}

impl Plan {
    pub fn of(authority: &Authority, node: usize) -> Self {
        let issued = authority.issue(CLUSTER, node_id(node)).unwrap();
        Self {
            identity: issued.identity(authority),
            cluster: CLUSTER,
            node: node_id(node),
            start: 7,
            shards: 1,
            placement: 42,
            members: (0..8).map(node_id).collect(),
            limits: Limits::default(),
            version: Version::CURRENT,
            kinds: Vec::new(),
            suites: CipherSuite::DEFAULT.to_vec(),
        }
    }

    pub fn shards(mut self, shards: u16) -> Self {
        self.shards = shards;
        self
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub fn settings(self) -> Arc<Settings> {
        let members = self.members;
        let local = LocalNode {
            cluster: ClusterName::new(self.cluster).unwrap(),
            node: self.node,
            incarnation: Incarnation(u64::from(self.node.0) << 32 | self.start),
            shards: self.shards,
            placement: self.placement,
        };
        let settings = Settings::new(local, &self.identity, move |node| members.contains(&node))
            .unwrap()
            .with_limits(self.limits)
            .unwrap()
            .with_cipher_suites(&self.identity, &self.suites)
            .unwrap()
            .with_kinds(self.kinds)
            .unwrap()
            .with_version(self.version)
            .with_hash(Arc::new(|_, key| hash(key)));
        Arc::new(settings)
    }
}

/// One shard of one node and what it was told.
pub struct Shard {
    pub endpoint: Endpoint,
    pub events: VecDeque<Event>,
    /// Events that are asked for in one step; fewer leave the rest in the link.
    pub appetite: usize,
}

pub struct Node {
    pub shards: Vec<Shard>,
    pub address: SocketAddr,
}

pub struct World {
    pub authority: Authority,
    pub nodes: Vec<Node>,
    ahead: Duration,
}

impl World {
    pub fn empty() -> Self {
        Self {
            authority: Authority::new().unwrap(),
            nodes: Vec::new(),
            ahead: Duration::ZERO,
        }
    }

    /// Nodes that trust each other, with these numbers of shards.
    pub fn new(shards: &[u16]) -> Self {
        let mut world = Self::empty();
        for (node, &shards) in shards.iter().enumerate() {
            let plan = Plan::of(&world.authority, node).shards(shards);
            world.add(plan);
        }
        world
    }

    pub fn add(&mut self, plan: Plan) -> usize {
        self.add_at(plan, (Ipv4Addr::LOCALHOST, 0).into())
    }

    pub fn add_at(&mut self, plan: Plan, address: SocketAddr) -> usize {
        let node = self.build(plan, address, |_| ());
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn build(
        &self,
        plan: Plan,
        address: SocketAddr,
        arrange: impl FnOnce(&mut Vec<Socket>),
    ) -> Node {
        let settings = plan.settings();
        let listener = Listener::bind(address).unwrap();
        let address = listener.local_addr();
        let mut sockets = listener.into_sockets(settings.local().shards).unwrap();
        arrange(&mut sockets);
        let shard = |(shard, socket)| Shard {
            endpoint: Endpoint::new(Arc::clone(&settings), ShardId(shard), socket).unwrap(),
            events: VecDeque::new(),
            appetite: usize::MAX,
        };
        let shards = (0..).zip(sockets).map(shard).collect();
        Node { shards, address }
    }

    /// A node whose shards hold each other's sockets, so that every datagram goes astray.
    pub fn add_swapped(&mut self, plan: Plan) -> usize {
        let node = self.build(plan, (Ipv4Addr::LOCALHOST, 0).into(), |sockets| {
            sockets.reverse();
        });
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    pub fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    /// Puts the clock forward.
    pub fn jump(&mut self, by: Duration) {
        self.ahead += by;
    }

    pub fn endpoint(&mut self, node: usize, shard: u16) -> &mut Endpoint {
        &mut self.nodes[node].shards[usize::from(shard)].endpoint
    }

    pub fn events(&mut self, node: usize, shard: u16) -> &mut VecDeque<Event> {
        &mut self.nodes[node].shards[usize::from(shard)].events
    }

    /// Drives every endpoint once. Misrouted datagrams go where they belong.
    pub fn step(&mut self) {
        let now = self.now();
        for node in &mut self.nodes {
            let mut misrouted = Vec::new();
            for shard in &mut node.shards {
                while shard.endpoint.receive(now).unwrap() > 0 {}
                shard.endpoint.handle_timeout(now);
                shard.collect(&mut misrouted);
                shard.endpoint.flush(now);
            }
            for (target, datagram) in misrouted {
                let shard = &mut node.shards[usize::from(target)];
                shard.endpoint.handle_datagram(now, datagram);
            }
        }
    }

    /// Drives every endpoint until `done`, which gets the world after each step.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.step();
            if done(self) {
                return;
            }
            assert!(Instant::now() < deadline, "in vain waited for: {what}");
        }
    }

    /// Drives every endpoint for a while of the world's time, in which nothing is expected.
    pub fn idle_for(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end {
            self.step();
            self.jump(Duration::from_millis(5));
        }
    }

    pub fn dial(&mut self, from: (usize, u16), to: (usize, u16)) -> LinkId {
        let (now, address) = (self.now(), self.nodes[to.0].address);
        self.endpoint(from.0, from.1)
            .dial(now, node_id(to.0), address, ShardId(to.1))
    }

    /// Dials and waits until both ends are up. The ids at both ends.
    #[track_caller]
    pub fn link(&mut self, from: (usize, u16), to: (usize, u16)) -> (LinkId, LinkId) {
        let dialled = self.dial(from, to);
        let (link, ..) = self.up(from.0, from.1);
        assert_eq!(link, dialled);
        let (accepted, ..) = self.up(to.0, to.1);
        (dialled, accepted)
    }

    /// The next `Up` of a shard.
    #[track_caller]
    pub fn up(&mut self, node: usize, shard: u16) -> (LinkId, Hello, bool) {
        self.wait(node, shard, "Up", |event| match event {
            Event::Up {
                link,
                hello,
                dialled,
            } => Ok((link, hello, dialled)),
            event => Err(event),
        })
    }

    /// The next `Down` of a shard.
    #[track_caller]
    pub fn down(&mut self, node: usize, shard: u16) -> Down {
        self.wait(node, shard, "Down", |event| match event {
            Event::Down {
                link,
                peer,
                reason,
                sent,
            } => Ok(Down {
                link,
                peer,
                reason,
                sent,
            }),
            event => Err(event),
        })
    }

    /// The next `Frame` of a shard.
    #[track_caller]
    pub fn frame(&mut self, node: usize, shard: u16) -> (LinkId, Frame) {
        self.wait(node, shard, "Frame", |event| match event {
            Event::Frame { link, frame } => Ok((link, frame)),
            event => Err(event),
        })
    }

    /// The next `Kinds` of a shard.
    #[track_caller]
    pub fn kinds(&mut self, node: usize, shard: u16) -> Vec<KindOffer> {
        self.wait(node, shard, "Kinds", |event| match event {
            Event::Kinds { kinds, .. } => Ok(kinds),
            event => Err(event),
        })
    }

    /// Drives until a shard has an event, which has to be the one that `pick` takes.
    #[track_caller]
    fn wait<T>(
        &mut self,
        node: usize,
        shard: u16,
        what: &str,
        pick: impl FnOnce(Event) -> Result<T, Event>,
    ) -> T {
        self.until(what, |world| !world.events(node, shard).is_empty());
        let event = self.events(node, shard).pop_front().unwrap();
        match pick(event) {
            Ok(picked) => picked,
            Err(event) => panic!("expected {what}, got {event:?}"),
        }
    }

    /// Sends a tell with a payload of these bytes. Its number on the link.
    #[track_caller]
    pub fn tell(&mut self, from: (usize, u16), link: LinkId, payload: &[u8]) -> u64 {
        let endpoint = self.endpoint(from.0, from.1);
        endpoint
            .send(link, &tell(), Some((&key(), 0)), bytes(payload))
            .unwrap()
    }

    /// Drives until nothing is unacknowledged on a link.
    #[track_caller]
    pub fn acknowledged(&mut self, at: (usize, u16), link: LinkId) {
        self.until("acknowledgement", |world| {
            world.endpoint(at.0, at.1).unacknowledged(link) == 0
        });
    }
}

/// A `Down` event.
#[derive(Debug)]
pub struct Down {
    pub link: LinkId,
    pub peer: Option<NodeId>,
    pub reason: LinkError,
    pub sent: Sent,
}

impl Shard {
    fn collect(&mut self, misrouted: &mut Vec<(u16, teff_transport::Datagram)>) {
        for _ in 0..self.appetite {
            match self.endpoint.poll_event() {
                Some(Event::Misrouted { shard, datagram }) => misrouted.push((shard.0, datagram)),
                Some(event) => self.events.push_back(event),
                None => break,
            }
        }
    }
}

pub fn tell() -> Header {
    Header::tell(KindId(5), MethodId(6))
}

/// A hash that tells the keys of tests apart.
pub fn hash(key: &Key) -> u64 {
    let bytes = key.as_str().bytes();
    bytes.fold(7, |hash: u64, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    })
}

pub fn key() -> Key {
    Key::new("grain").unwrap()
}

/// A payload that is these bytes.
pub fn bytes(payload: &[u8]) -> impl FnOnce(&mut AlignedVec<16>) -> Result<(), Infallible> {
    |out| {
        out.extend_from_slice(payload);
        Ok(())
    }
}
