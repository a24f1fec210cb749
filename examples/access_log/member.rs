//! What every node of this program needs, wherever it runs: a cluster, CPUs, a port, an end.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity};
use teff::{Listener, Node};

/// The name of the cluster.
pub(crate) const CLUSTER: &str = "access-log";

/// A free port on this machine.
pub(crate) fn listener() -> anyhow::Result<Listener> {
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Listener::bind(any_port).context("there is no port for a node")
}

/// The CPUs of a node's shards, if nodes of equal size are put side by side.
pub(crate) fn cpus(nodes_before: u16, shards: u16) -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return vec![0];
    };
    let allowed = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
    let skipped = usize::from(nodes_before) * usize::from(shards);
    let count = allowed.clone().count();
    allowed
        .cycle()
        .skip(skipped % count.max(1))
        .take(shards.into())
        .collect()
}

/// Stops a node. What it could not finish is in its counters, and said here.
pub(crate) fn stop(node: &Node) {
    if let Err(error) = node.shutdown() {
        eprintln!("access_log: node {}: {error}", node.id());
    }
}
