//! A message as a value in memory: what lanes, mailboxes and the shard's own queue carry.
//!
//! An envelope takes 128 bytes, two cache lines, with a message of up to 64 bytes inside: a slot
//! of a lane is then no larger than what any lane of such messages would need. Every field is
//! there because the receiving shard would otherwise have to look it up or allocate for it.

use std::num::NonZeroU64;

use teff_contract::{Outcome, Patience, Payload, Refusal, Target, Ticket};
use teff_core::dead_letter::Reason;
use teff_core::hash::GrainHash;
use teff_core::time::Micros;
use teff_lane::Rest;
use teff_transport::{Datagram, LinkId};
use teff_wire::{Block, CallId, Key, KindId, MethodId, ShardId};

use crate::counters::ShardCounters;
use crate::panics::drop_quietly;

/// What one shard hands to another.
pub(crate) enum Envelope {
    /// A message whose grain lives on the receiving shard.
    Letter(Letter),
    /// How a call ended that the receiving shard made.
    Reply { call: CallRef, settled: Settled },
    /// An answer to a peer whose link the receiving shard has.
    Answer { to: LinkCall, settled: Settled },
    /// What a peer, whose link the receiving shard has, is to know of a mailbox here.
    Pressure { to: LinkCall, pressure: Pressure },
    /// A datagram of one of the receiving shard's links, which the kernel gave to another socket.
    Datagram(Box<Datagram>),
    /// Nothing any more: what it held was moved on.
    Taken,
}

/// A message to a grain. Aligned, so that it lies on two lines of cache and not on three.
#[repr(align(64))]
pub(crate) struct Letter {
    pub key: Key,
    pub hash: GrainHash,
    /// On the clock that all shards of a node share; never, for tells.
    pub deadline: Micros,
    pub content: Content,
    pub kind: KindId,
    pub method: MethodId,
    /// What its sender has said about a mailbox that is full.
    pub patient: Patience,
}

/// The arguments of a letter and who waits for the reply.
pub(crate) enum Content {
    /// From a sender on this node.
    Value {
        payload: Payload,
        reply: Option<CallRef>,
    },
    /// From a peer, not yet validated.
    Bytes { block: Block, from: LinkCall },
}

/// Where the outcome of a letter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyTo {
    /// Nowhere: it was a tell.
    Nobody,
    /// To a call of a shard of this node.
    Call(CallRef),
    /// To a peer.
    Link(LinkCall),
}

/// A call, and the shard of this node that waits for it.
///
/// Generation, shard and slot in one number, which is never 0, because no generation is. The call
/// table has at most 2^16 slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallRef(NonZeroU64);

/// A message of a peer: the shard that has the link, the link, and the peer's number for the call,
/// which is 0 for a tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkCall {
    pub link: LinkId,
    pub number: u64,
    pub shard: ShardId,
}

/// Whether the mailbox of a grain is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pressure {
    pub hash: GrainHash,
    pub full: bool,
}

/// How a letter ended at its grain: the reply, or the status and a text for people.
pub(crate) type Settled = Result<Payload, (teff_wire::Status, String)>;

/// A message from a thread outside the shards.
pub(crate) enum Outside {
    /// A tell to a grain on the receiving shard, or, once [`taken`](Self::Taken), nothing.
    Letter(Letter),
    /// Anything else: the shard makes it a call, or a frame, of its own.
    Errand(Box<Errand>),
    Taken,
}

/// What a shard does for a thread outside.
pub(crate) struct Errand {
    pub target: Target,
    pub method: MethodId,
    pub payload: Payload,
    pub patient: Patience,
    pub call: Option<OutsideCall>,
}

/// What an outside caller waits with.
pub(crate) struct OutsideCall {
    pub reply: oneshot::Sender<Outcome>,
    pub deadline: Micros,
    pub timeout: std::time::Duration,
}

impl Letter {
    #[inline]
    pub(crate) fn reply_to(&self) -> ReplyTo {
        match &self.content {
            Content::Value { reply, .. } => reply.map_or(ReplyTo::Nobody, ReplyTo::Call),
            Content::Bytes { from, .. } if from.number == 0 => ReplyTo::Nobody,
            Content::Bytes { from, .. } => ReplyTo::Link(*from),
        }
    }

    /// Whether nobody waits for a reply.
    #[inline]
    pub(crate) fn is_tell(&self) -> bool {
        match &self.content {
            Content::Value { reply, .. } => reply.is_none(),
            Content::Bytes { from, .. } => from.number == 0,
        }
    }

    /// Whether it may get lost.
    #[inline]
    pub(crate) fn is_lossy(&self) -> bool {
        self.patient == Patience::Lossy
    }

    /// The link that it came over, if it did.
    pub(crate) fn link(&self) -> Option<LinkCall> {
        match &self.content {
            Content::Value { .. } => None,
            Content::Bytes { from, .. } => Some(*from),
        }
    }

    /// What is left of it once it was handled: nearly always nothing that a drop must see to.
    #[inline]
    pub(crate) fn rest(&self) -> Rest {
        match &self.content {
            Content::Value { payload, .. } if payload.is_inert() && self.key.is_inline() => {
                Rest::Nothing
            }
            _ => Rest::Value,
        }
    }

    /// Drops arguments that nobody took, whose destructor may panic.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if let Content::Value { payload, .. } = &mut self.content
            && !payload.is_inert()
        {
            drop_quietly(std::mem::take(payload));
        }
    }
}

impl CallRef {
    pub(crate) fn new(shard: ShardId, call: CallId) -> Self {
        let slot = call.slot | u32::from(shard.0) << 16;
        let number = CallId { slot, ..call }.to_u64();
        Self(NonZeroU64::new(number).expect("generations begin with 1"))
    }

    pub(crate) fn of_ticket(ticket: Ticket) -> Option<Self> {
        NonZeroU64::new(ticket.0).map(Self)
    }

    pub(crate) fn ticket(self) -> Ticket {
        Ticket(self.0.get())
    }

    pub(crate) fn shard(self) -> ShardId {
        ShardId((self.0.get() >> 16) as u16)
    }

    pub(crate) fn call(self) -> CallId {
        let CallId { slot, generation } = CallId::from_u64(self.0.get());
        CallId {
            slot: slot & 0xffff,
            generation,
        }
    }
}

impl Outside {
    /// As [`Letter::rest`].
    #[inline]
    pub(crate) fn rest(&self) -> Rest {
        match self {
            Self::Letter(letter) => letter.rest(),
            Self::Errand(_) => Rest::Value,
            Self::Taken => Rest::Nothing,
        }
    }

    /// Ends a message that a stopping shard does not take any more: a call learns it; a tell was
    /// accepted, so it counts as sent and as lost.
    pub(crate) fn discard(self, counters: &ShardCounters) {
        let (cell, call) = match self {
            Self::Letter(mut letter) => {
                letter.clear();
                (counters.kind_or_unnamed(letter.kind), None)
            }
            Self::Errand(errand) => {
                let Errand {
                    target,
                    payload,
                    call,
                    ..
                } = *errand;
                drop_quietly(payload);
                (
                    counters.kind(target.contract.kind, target.contract.name),
                    call,
                )
            }
            Self::Taken => return,
        };
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

const _: () = assert!(
    size_of::<Envelope>() == 128 && size_of::<Outside>() == 128,
    "a slot of a lane takes two cache lines"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reference_keeps_shard_slot_and_generation_apart() {
        for (shard, slot, generation) in [(0, 0, 1), (255, 65_535, u32::MAX), (7, 1, 2)] {
            let call = CallId { slot, generation };
            let reference = CallRef::new(ShardId(shard), call);
            assert_eq!(reference.shard(), ShardId(shard));
            assert_eq!(reference.call(), call);
            assert_eq!(CallRef::of_ticket(reference.ticket()), Some(reference));
        }
        assert_eq!(CallRef::of_ticket(Ticket(0)), None);
    }
}
