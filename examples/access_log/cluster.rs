//! The nodes that count: in this process, or each in its own.

use teff::authority::Authority;
use teff::{Listener, Member, Node, NodeId};

use crate::counters::Counters;
use crate::grains;
use crate::member::{self, CLUSTER};
use crate::options::Options;
use crate::processes::Processes;

/// Running nodes.
pub(crate) enum Cluster {
    /// All in this process; the first is the one that is told everything.
    Inside(Vec<Node>),
    /// Each in a process of its own.
    Processes(Processes),
}

impl Cluster {
    /// Starts the nodes that the options ask for.
    pub(crate) fn start(options: &Options) -> anyhow::Result<Self> {
        let Options {
            nodes,
            shards,
            processes,
            ..
        } = *options;
        if processes {
            Ok(Self::Processes(Processes::start(nodes, shards)?))
        } else if nodes == 1 {
            let builder = grains::host(Node::single()).shards(shards.into());
            Ok(Self::Inside(vec![builder.start()?]))
        } else {
            Ok(Self::Inside(start_inside(nodes, shards)?))
        }
    }

    /// The node that this program sends through.
    pub(crate) fn entrance(&self) -> &Node {
        match self {
            Self::Inside(nodes) => &nodes[0],
            Self::Processes(processes) => processes.entrance(),
        }
    }

    /// Stops every node, and says what all of them have counted.
    pub(crate) fn stop(self) -> anyhow::Result<Counters> {
        match self {
            Self::Inside(nodes) => {
                nodes.iter().for_each(member::stop);
                Ok(Counters::sum(
                    nodes.iter().map(|node| node.counters().into()),
                ))
            }
            Self::Processes(processes) => processes.stop(),
        }
    }
}

fn start_inside(count: u16, shards: u16) -> anyhow::Result<Vec<Node>> {
    let authority = Authority::new()?;
    let listeners = (1..=count)
        .map(|id| Ok((NodeId(id), member::listener()?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let members: Vec<Member> = listeners
        .iter()
        .map(|(id, listener)| Member::new(*id, listener.local_addr(), shards))
        .collect();
    let start = |(id, listener): (NodeId, Listener)| {
        let identity = authority
            .issue(CLUSTER, id)?
            .identity(&authority)
            .with_secret(authority.secret());
        let builder = Node::builder(CLUSTER, id.0)
            .listener(listener)
            .members(members.clone())
            .identity(identity)
            .cpus(member::cpus(id.0 - 1, shards));
        Ok(grains::host(builder).start()?)
    };
    listeners.into_iter().map(start).collect()
}
