//! What references of a node send through: straight into the shard where the thread is one, over a
//! lane where it is not.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use teff_contract::{
    CallError, Doubt, Outcome, Outgoing, Pending, Port, Refusal, TellError, Ticket,
};
use teff_core::hash::GrainHash;
use teff_core::time::Micros;
use teff_wire::{GrainId, ShardId};

use crate::envelope::{Outside, OutsideCall};
use crate::node::outside::{self, Refused};
use crate::shard::{is_shard_thread, with_current};
use crate::shared::NodeShared;

/// A node, as references see it.
pub(crate) struct NodePort(pub(crate) Arc<NodeShared>);

impl NodePort {
    /// The shard of this node that takes a message from outside: the grain's own, or the one that
    /// has the link to it.
    fn entrance(&self, message: &Outgoing) -> Option<ShardId> {
        let hash = GrainHash(message.target.hash);
        let owner = self.0.view.place(message.target.id.kind, hash)?;
        if owner.node == self.0.id {
            Some(owner.shard)
        } else {
            Some(ShardId(owner.shard.0 % self.0.shards.len() as u16))
        }
    }

    fn tell_from_outside(&self, message: Outgoing) -> Result<(), (TellError, Option<Outgoing>)> {
        let Some(shard) = self.entrance(&message) else {
            return Err((
                TellError::Unplaced {
                    kind: message.target.kind,
                },
                Some(message),
            ));
        };
        let outside = Outside {
            message,
            call: None,
        };
        match outside::send(&self.0, shard, outside) {
            Ok(()) => Ok(()),
            Err(Refused::Full(outside)) => Err((TellError::Busy, Some(outside.message))),
            Err(Refused::Stopped) => Err((TellError::ShuttingDown, None)),
        }
    }

    fn call_from_outside(&self, message: Outgoing, timeout: Option<Duration>) -> Pending {
        let Some(shard) = self.entrance(&message) else {
            return refused(Refusal::Unplaced {
                kind: message.target.kind,
            });
        };
        let timeout = timeout.unwrap_or(self.0.limits.call_timeout);
        let deadline = self.0.micros(Instant::now()).after(timeout);
        let (reply, receiver) = oneshot::channel();
        let call = Some(OutsideCall {
            reply,
            deadline,
            timeout,
        });
        match outside::send(&self.0, shard, Outside { message, call }) {
            Ok(()) => Pending::Channel {
                reply: receiver,
                timeout,
            },
            Err(Refused::Full(outside)) => Pending::NoRoom(outside.message),
            Err(Refused::Stopped) => refused(Refusal::ShuttingDown),
        }
    }
}

impl Port for NodePort {
    fn hash(&self, id: &GrainId) -> u64 {
        self.0.placement_key.hash(id).0
    }

    fn tell(&self, message: Outgoing) -> Result<(), (TellError, Option<Outgoing>)> {
        let mut message = Some(message);
        let told = with_current(&self.0, |shard| {
            message
                .take()
                .map(|message| shard.send(message, None, Micros::NEVER))
        });
        match (told.flatten(), message) {
            (Some(result), _) => result,
            (None, Some(message)) => self.tell_from_outside(message),
            (None, None) => unreachable!("the shard takes the message and answers"),
        }
    }

    fn poll_room(&self, message: &Outgoing, cx: &mut Context<'_>) {
        let waits_here = with_current(&self.0, |shard| shard.wait_for_room(cx.waker().clone()));
        if waits_here.is_none()
            && let Some(shard) = self.entrance(message)
        {
            self.0.shard(shard).wait_for_room(cx.waker().clone());
        }
    }

    fn call(&self, message: Outgoing, timeout: Option<Duration>) -> Pending {
        let mut message = Some(message);
        let pending = with_current(&self.0, |shard| {
            message.take().map(|message| shard.call(message, timeout))
        });
        match (pending.flatten(), message) {
            (Some(pending), _) => pending,
            (None, Some(message)) => self.call_from_outside(message, timeout),
            (None, None) => unreachable!("the shard takes the message and answers"),
        }
    }

    fn poll_call(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Outcome> {
        // A call that was made on a shard and moved to another thread has left its reply behind.
        with_current(&self.0, |shard| shard.poll_call(ticket, cx))
            .unwrap_or(Poll::Ready(Err(CallError::Unknown(Doubt::NodeStopped))))
    }

    fn forget(&self, ticket: Ticket) {
        with_current(&self.0, |shard| shard.forget_call(ticket));
    }

    fn is_shard(&self) -> bool {
        is_shard_thread()
    }
}

fn refused(refusal: Refusal) -> Pending {
    Pending::Ready(Err(refusal.into()))
}
