//! Several nodes in one process, on 127.0.0.1 with ports that the kernel picks.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::SocketAddr;

use teff::authority::Authority;
use teff::{Builder, Identity, Listener, Member, Node, NodeId, ShardId};

/// The ports, members and certificates of nodes 1 to n.
pub(crate) struct Cluster {
    pub(crate) name: &'static str,
    pub(crate) authority: Authority,
    pub(crate) members: Vec<Member>,
    listeners: Vec<Listener>,
}

impl Cluster {
    pub(crate) fn new(name: &'static str, nodes: u16, shards: u16) -> Self {
        let listeners: Vec<_> = (0..nodes).map(|_| listener()).collect();
        let members = listeners
            .iter()
            .zip(1..)
            .map(|(listener, node)| Member::new(NodeId(node), listener.local_addr(), shards))
            .collect();
        Self {
            name,
            authority: Authority::new().unwrap(),
            members,
            listeners,
        }
    }

    pub(crate) fn identity(&self, node: u16) -> Identity {
        let issued = self.authority.issue(self.name, NodeId(node)).unwrap();
        issued
            .identity(&self.authority)
            .with_secret(self.authority.secret())
    }

    /// The port of a node, for a test that builds the node itself.
    pub(crate) fn take_listener(&mut self, node: u16) -> Listener {
        let address = self.members[usize::from(node) - 1].address;
        let index = self
            .listeners
            .iter()
            .position(|listener| listener.local_addr() == address);
        self.listeners.remove(index.unwrap())
    }

    pub(crate) fn builder(&mut self, node: u16) -> Builder {
        let listener = self.take_listener(node);
        Node::builder(self.name, node)
            .listener(listener)
            .members(self.members.clone())
            .identity(self.identity(node))
    }

    /// Starts every node, after `with` has had its builder.
    pub(crate) fn start(mut self, with: impl Fn(u16, Builder) -> Builder) -> Vec<Node> {
        (1..=self.members.len() as u16)
            .map(|node| {
                let builder = self.builder(node);
                with(node, builder).start().unwrap()
            })
            .collect()
    }
}

pub(crate) fn listener() -> Listener {
    Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

/// The `n`-th key whose grain lives on `node`.
pub(crate) fn remote_key(
    n: usize,
    owner: impl Fn(&str) -> Option<(NodeId, ShardId)>,
    node: NodeId,
) -> String {
    let keys = (0..).map(|key| format!("key {key}"));
    let mut there = keys.filter(|key| owner(key).is_some_and(|(owner, _)| owner == node));
    there.nth(n).unwrap()
}

/// Stops the nodes and checks that nothing was lost among them.
pub(crate) fn finish(nodes: Vec<Node>) {
    let mut sum = teff::KindCounters::default();
    for node in &nodes {
        node.shutdown().unwrap();
        sum.add(&node.counters().total());
    }
    // What a link lost in the very end may have been handled before the peer could say so.
    let doubtful = sum.dropped.get("link_lost").copied().unwrap_or(0);
    let known = sum.handled + sum.dropped_total();
    assert!((sum.sent..=sum.sent + doubtful).contains(&known), "{sum:?}");
}
