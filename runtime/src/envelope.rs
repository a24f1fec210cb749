//! A message as a value in memory: what lanes, mailboxes and the shard's own queue carry.

use teff_contract::{Arguments, Outcome};
use teff_core::hash::GrainHash;
use teff_core::time::Micros;
use teff_transport::{Datagram, LinkId};
use teff_wire::{CallId, GrainId, MethodId, ShardId};

/// What one shard, or a thread outside, hands to a shard.
pub(crate) enum Envelope {
    /// A message whose way is known: the receiving shard owns the grain or has the link to it.
    Letter(Letter),
    /// How a call ended that the receiving shard made.
    Reply { call: CallId, settled: Settled },
    /// An answer to a peer whose link the receiving shard has.
    Answer {
        link: LinkId,
        number: u64,
        settled: Settled,
    },
    /// A message from a thread outside the shards, to be counted and routed.
    Outside(Outside),
    /// A datagram of one of the receiving shard's links, which the kernel gave to another socket.
    Datagram(Datagram),
}

/// A message to a grain.
pub(crate) struct Letter {
    pub id: GrainId,
    pub hash: GrainHash,
    pub method: MethodId,
    pub arguments: Arguments,
    pub reply: ReplyTo,
    /// On the clock that all shards of a node share; never, for tells.
    pub deadline: Micros,
}

/// A message from a thread outside the shards. The shard makes it a letter and a call of its own.
pub(crate) struct Outside {
    pub message: teff_contract::Outgoing,
    pub call: Option<OutsideCall>,
}

/// What an outside caller waits with.
pub(crate) struct OutsideCall {
    pub reply: oneshot::Sender<Outcome>,
    pub deadline: Micros,
    pub timeout: std::time::Duration,
}

/// Where the outcome of a letter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// Nowhere: it was a tell.
    Nobody,
    /// To a call of this shard of this node.
    Shard { shard: ShardId, call: CallId },
    /// To a peer, over the link that this shard has, with the peer's number for the call.
    Link {
        shard: ShardId,
        link: LinkId,
        number: u64,
    },
}

/// How a letter ended at its grain: the reply, or the status and a text for people.
pub(crate) type Settled = Result<teff_contract::Payload, (teff_wire::Status, String)>;
