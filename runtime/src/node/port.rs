//! What references of a node send through: straight into the shard where the thread is one, over a
//! lane where it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use teff_contract::{
    CallError, Channel, Declined, Doubt, Outcome, Outgoing, Overload, Patience, Pending, Port,
    Refusal, Target, TellError, Ticket,
};
use teff_core::dead_letter::Reason;
use teff_core::hash::GrainHash;
use teff_core::time::Micros;
use teff_wire::{GrainId, KindId, ShardId};

use crate::envelope::{Errand, Letter, Outside, OutsideCall};
use crate::node::outside::{self, Refused};
use crate::shard::{is_shard_thread, on_current, with_current};
use crate::shared::NodeShared;

/// A node, as references see it.
pub(crate) struct NodePort(pub(crate) Arc<NodeShared>);

impl NodePort {
    /// The shard of this node that takes a message from outside, and whether the grain is there:
    /// the grain's own, or the one that has the link to it.
    fn entrance(&self, target: &Target) -> Option<(ShardId, bool)> {
        let owner = self.0.owner_of(target)?;
        if owner.node == self.0.id {
            Some((owner.shard, true))
        } else {
            let shards = self.0.shards.len() as u16;
            Some((ShardId(owner.shard.0 % shards), false))
        }
    }

    #[inline(never)]
    fn tell_from_outside(&self, message: &mut Outgoing<'_>) -> Result<(), Declined> {
        let Some((shard, is_there)) = self.entrance(message.target) else {
            let kind = message.target.contract.name;
            return Err(TellError::Unplaced { kind }.into());
        };
        if !is_there && message.patient == Patience::Lossy {
            return self.tell_lossy_from_outside(shard, message);
        }
        // Apart, so that each is made in its slot.
        let sent = if !is_there {
            outside::send(&self.0, shard, || boxed(errand(message, None)), |_| {})
        } else if self.is_congested(shard, message.target) {
            return Err(Declined::NoRoom);
        } else {
            let Outgoing {
                target,
                method,
                ref mut payload,
                patient,
            } = *message;
            outside::send(
                &self.0,
                shard,
                || {
                    let how = (method, patient);
                    Outside::Letter(Letter::blank(target, how, None, Micros::NEVER))
                },
                |outside| {
                    if let Outside::Letter(letter) = outside {
                        letter.fill(payload);
                    }
                },
            )
        };
        sent.map_err(|refused| match refused {
            Refused::Full => Declined::NoRoom,
            Refused::Stopped => TellError::ShuttingDown.into(),
        })
    }

    fn tell_lossy_from_outside(
        &self,
        shard: ShardId,
        message: &mut Outgoing<'_>,
    ) -> Result<(), Declined> {
        // Acquire: as for the thread's lanes.
        if !self.0.accepting.load(Ordering::Acquire) {
            return Err(TellError::ShuttingDown.into());
        }
        let max = self.0.limits.lane_capacity;
        let handed = self.0.shard(shard).send_lossy(errand(message, None), max);
        handed.map_err(|_| Declined::NoRoom)
    }

    fn call_from_outside(&self, message: &mut Outgoing<'_>, timeout: Option<Duration>) -> Pending {
        let Some((shard, is_there)) = self.entrance(message.target) else {
            let kind = message.target.contract.name;
            return refused(Refusal::Unplaced { kind });
        };
        if is_there && self.is_congested(shard, message.target) {
            return Pending::NoRoom;
        }
        let timeout = timeout.unwrap_or(self.0.limits.call_timeout);
        let deadline = self.0.micros(Instant::now()).after(timeout);
        let (reply, receiver) = oneshot::channel();
        let call = OutsideCall {
            reply,
            deadline,
            timeout,
        };
        match outside::send(
            &self.0,
            shard,
            || boxed(errand(message, Some(call))),
            |_| {},
        ) {
            Ok(()) => Pending::Channel(Box::new(Channel {
                reply: receiver,
                timeout,
            })),
            Err(Refused::Full) => Pending::NoRoom,
            Err(Refused::Stopped) => refused(Refusal::ShuttingDown),
        }
    }

    fn is_congested(&self, shard: ShardId, target: &Target) -> bool {
        let congestion = &self.0.shard(shard).congestion;
        congestion.is_marked(GrainHash(target.hash))
    }
}

fn boxed(errand: Errand) -> Outside {
    Outside::Errand(Box::new(errand))
}

fn errand(message: &mut Outgoing<'_>, call: Option<OutsideCall>) -> Errand {
    Errand {
        target: message.target.clone(),
        method: message.method,
        payload: std::mem::take(message.payload),
        patient: message.patient,
        call,
    }
}

impl Port for NodePort {
    fn hash(&self, id: &GrainId) -> u64 {
        self.0.placement_key.hash(id).0
    }

    fn tell(&self, message: &mut Outgoing<'_>) -> Result<(), Declined> {
        on_current(
            &self.0,
            message,
            |shard, message| shard.send(message, None, Micros::NEVER),
            |message| self.tell_from_outside(message),
        )
    }

    fn poll_room(&self, target: &Target, cx: &mut Context<'_>) {
        let waits_here = with_current(&self.0, |shard| shard.wait_for_room(cx.waker().clone()));
        if waits_here.is_none()
            && let Some((shard, _)) = self.entrance(target)
        {
            self.0.shard(shard).wait_for_room(cx.waker().clone());
        }
    }

    fn call(&self, message: &mut Outgoing<'_>, timeout: Option<Duration>) -> Pending {
        on_current(
            &self.0,
            message,
            |shard, message| shard.call(message, timeout),
            |message| self.call_from_outside(message, timeout),
        )
    }

    fn poll_call(&self, ticket: Ticket, cx: &mut Context<'_>, outcome: &mut Outcome) -> Poll<()> {
        // A call that was made on a shard and moved to another thread has left its reply behind.
        on_current(
            &self.0,
            outcome,
            |shard, outcome| shard.poll_call(ticket, cx, outcome),
            |outcome| {
                *outcome = Err(CallError::Unknown(Doubt::NodeStopped));
                Poll::Ready(())
            },
        )
    }

    fn forget(&self, ticket: Ticket) {
        with_current(&self.0, |shard| shard.forget_call(ticket));
    }

    fn overload(&self, kind: KindId) -> Option<Overload> {
        self.0.overload.of(kind)
    }

    fn shed(&self, target: &Target) {
        if with_current(&self.0, |shard| shard.shed(target)).is_none() {
            let policies = &self.0.overload;
            policies.count_dropped(target.contract, Reason::Shed);
        }
    }

    fn lose(&self, target: &Target) {
        if with_current(&self.0, |shard| shard.lose(target)).is_none() {
            let policies = &self.0.overload;
            policies.count_dropped(target.contract, Reason::LossyNoRoom);
        }
    }

    fn is_shard(&self) -> bool {
        is_shard_thread()
    }
}

fn refused(refusal: Refusal) -> Pending {
    Pending::ready(Err(refusal.into()))
}
