//! A message as a value in memory: what lanes, mailboxes and the shard's own queue carry.

use teff_contract::{Arguments, Outcome, Refusal};
use teff_core::dead_letter::Reason;
use teff_core::hash::GrainHash;
use teff_core::time::Micros;
use teff_transport::{Datagram, LinkId};
use teff_wire::{CallId, GrainId, MethodId, ShardId};

use crate::counters::ShardCounters;
use crate::panics::drop_quietly;

/// What one shard hands to another.
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

impl Outside {
    /// Ends a message that a stopping shard does not take any more: a call learns it; a tell was
    /// accepted, so it counts as sent and as lost.
    pub(crate) fn discard(self, counters: &ShardCounters) {
        let Self { message, call } = self;
        let cell = counters.kind(message.target.id.kind, message.target.kind);
        drop_quietly(message);
        match call {
            // The receiver may have given up waiting.
            Some(call) => drop_quietly(call.reply.send(Err(Refusal::ShuttingDown.into()))),
            None => {
                cell.sent.add(1);
                cell.drop_for(Reason::ShuttingDown);
            }
        }
    }
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
