//! The calls that a shard waits for: made by its own handlers, or by threads outside through it.
//!
//! A call is completed once: by its reply, its deadline, or the end of its link. The reply to a
//! handler stays in the call's slot until the handler takes it; an outside caller gets its at
//! once. Calls that end otherwise have left the table by then: what handlers are to learn about
//! those, which is rare, lies in a map of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use teff_contract::{
    CallError, Doubt, LinkReason, Outcome, Outgoing, Pending, Refusal, TellError, Ticket,
};
use teff_core::call_table::CallTable;
use teff_core::time::Micros;
use teff_transport::{Fate, LinkId, Sent};
use teff_wire::{Block, CallId, NodeId, Status};

use crate::envelope::{OutsideCall, Settled};
use crate::panics::drop_quietly;
use crate::shard::Shard;
use crate::status;

/// What the call table keeps of a call.
pub(crate) struct Waiting {
    who: Who,
    kind: &'static str,
    timeout: Duration,
    /// The link it went over, and its frame's number there.
    pub via: Option<(LinkId, u64)>,
    /// It still waits for its link here: the handler cannot have run.
    queued: bool,
}

/// Who waits.
pub(crate) enum Who {
    /// A future on this shard.
    Handler {
        waker: Option<Waker>,
        outcome: Option<Outcome>,
    },
    /// A thread or task elsewhere.
    Outside(oneshot::Sender<Outcome>),
}

/// Outcomes of handlers' calls that ended without a reply, by ticket, until they are taken.
pub(crate) type Ended = RefCell<HashMap<u64, CallError>>;

impl Shard {
    /// Makes a call for a handler.
    pub(crate) fn call(&self, message: Outgoing, timeout: Option<Duration>) -> Pending {
        let timeout = timeout.unwrap_or(self.node.limits.call_timeout);
        // Counted from now: the turn may have begun a while ago.
        let deadline = self.node.micros(Instant::now()).after(timeout);
        let who = Who::Handler {
            waker: None,
            outcome: None,
        };
        match self.start_call(message, who, deadline, timeout) {
            Ok(call) => Pending::Slot(self.ticket(call)),
            Err((_, _, Some(message))) => Pending::NoRoom(message),
            Err((error, _, None)) => Pending::Ready(Err(error)),
        }
    }

    /// Makes a call for a thread outside.
    /// Gives both back when there is no room and still time.
    pub(crate) fn call_for_outside(
        &self,
        message: Outgoing,
        call: OutsideCall,
    ) -> Option<(Outgoing, OutsideCall)> {
        let OutsideCall {
            reply,
            deadline,
            timeout,
        } = call;
        if deadline.is_due(self.micros()) {
            deliver(Who::Outside(reply), Err(Refusal::Expired.into()));
            drop_quietly(message);
            return None;
        }
        match self.start_call(message, Who::Outside(reply), deadline, timeout) {
            Ok(_) => None,
            Err((_, Who::Outside(reply), Some(message))) => Some((
                message,
                OutsideCall {
                    reply,
                    deadline,
                    timeout,
                },
            )),
            Err((error, who, _)) => {
                deliver(who, Err(error));
                None
            }
        }
    }

    /// Errors come with who waits and, when there was merely no room, the message.
    fn start_call(
        &self,
        message: Outgoing,
        who: Who,
        deadline: Micros,
        timeout: Duration,
    ) -> Result<CallId, (CallError, Who, Option<Outgoing>)> {
        let waiting = Waiting {
            who,
            kind: message.target.kind,
            timeout,
            via: None,
            queued: false,
        };
        let inserted = self.calls.borrow_mut().insert(waiting, deadline);
        let call = match inserted {
            Ok(call) => call,
            Err(full) => return Err((Refusal::Busy.into(), full.0.who, Some(message))),
        };
        match self.send(message, Some(call), deadline) {
            Ok(()) => Ok(call),
            Err((error, message)) => {
                let message = message.filter(|_| matches!(error, TellError::Busy));
                let waiting = self.calls.borrow_mut().remove(call);
                let who = waiting
                    .expect("a call that was not sent cannot be completed")
                    .who;
                Err((Refusal::from(error).into(), who, message))
            }
        }
    }

    /// The outcome of a handler's call, if it is there.
    pub(crate) fn poll_call(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Outcome> {
        let Some(call) = self.call_of(ticket) else {
            return Poll::Ready(Err(Doubt::NodeStopped.into()));
        };
        let mut calls = self.calls.borrow_mut();
        let Some(Waiting {
            who: Who::Handler { waker, outcome },
            ..
        }) = calls.get_mut(call)
        else {
            drop(calls);
            let error = self.ended.borrow_mut().remove(&ticket.0);
            return Poll::Ready(Err(error.unwrap_or(Doubt::NodeStopped.into())));
        };
        if let Some(outcome) = outcome.take() {
            let waiting = calls.remove(call);
            drop(calls);
            drop(waiting);
            return Poll::Ready(outcome);
        }
        let stale = waker.replace(cx.waker().clone());
        drop(calls);
        drop(stale);
        Poll::Pending
    }

    /// A handler has lost interest.
    pub(crate) fn forget_call(&self, ticket: Ticket) {
        let Some(call) = self.call_of(ticket) else {
            return;
        };
        let waiting = self.calls.borrow_mut().remove(call);
        if waiting.is_none() {
            self.ended.borrow_mut().remove(&ticket.0);
        }
        drop(waiting);
    }

    // A ticket names its shard too: a future that was moved to another shard must not find that
    // shard's call of the same number. The table has at most 2^16 slots, so there is room for it.
    fn ticket(&self, call: CallId) -> Ticket {
        let slot = call.slot | u32::from(self.id().0) << 16;
        Ticket(CallId { slot, ..call }.to_u64())
    }

    fn call_of(&self, ticket: Ticket) -> Option<CallId> {
        let CallId { slot, generation } = CallId::from_u64(ticket.0);
        let ours = slot >> 16 == u32::from(self.id().0);
        ours.then_some(CallId {
            slot: slot & 0xffff,
            generation,
        })
    }

    /// The call ended on this node.
    pub(crate) fn complete_settled(&self, call: CallId, settled: Settled) {
        let node = self.me.node;
        self.complete(call, |waiting| status::outcome(settled, waiting.kind, node));
    }

    /// A peer has answered. Only the link that carried the call may.
    pub(crate) fn complete_remote(
        &self,
        call: CallId,
        from: (LinkId, NodeId),
        status: Status,
        payload: Block,
    ) {
        let via = self
            .calls
            .borrow_mut()
            .get_mut(call)
            .and_then(|waiting| waiting.via);
        if via.map(|(link, _)| link) == Some(from.0) {
            self.complete(call, |waiting| {
                status::outcome_of_frame(status, payload, waiting.kind, from.1)
            });
        } else {
            self.counters().replies_dropped.add(1);
        }
    }

    /// Ends a call that never reached its grain.
    pub(crate) fn refuse_call(&self, call: CallId, refusal: Refusal) {
        self.complete(call, |_| Err(refusal.into()));
    }

    fn complete(&self, call: CallId, outcome: impl FnOnce(&Waiting) -> Outcome) {
        let mut calls = self.calls.borrow_mut();
        let Some(waiting) = calls.get_mut(call) else {
            drop(calls);
            self.counters().replies_dropped.add(1);
            drop_quietly(outcome);
            return;
        };
        if waiting.has_outcome() {
            // A peer that answers twice; the first answer counts.
            drop(calls);
            self.counters().replies_dropped.add(1);
            drop_quietly(outcome);
            return;
        }
        let result = outcome(waiting);
        match &mut waiting.who {
            Who::Handler { waker, outcome } => {
                let waker = waker.take();
                *outcome = Some(result);
                calls.disarm(call);
                drop(calls);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Who::Outside(_) => {
                let waiting = calls.remove(call);
                drop(calls);
                if let Some(waiting) = waiting {
                    deliver(waiting.who, result);
                }
            }
        }
    }

    /// Notes that a call waits for its link.
    pub(crate) fn note_queued(&self, call: CallId) {
        if let Some(waiting) = self.calls.borrow_mut().get_mut(call) {
            waiting.queued = true;
        }
    }

    /// Notes the link and the frame that carry a call.
    pub(crate) fn note_via(&self, call: CallId, link: LinkId, number: u64) {
        if let Some(waiting) = self.calls.borrow_mut().get_mut(call) {
            waiting.via = Some((link, number));
            waiting.queued = false;
        }
    }

    /// Ends the calls whose deadline is over. Returns how many.
    pub(crate) fn expire_calls(&self) -> usize {
        let now = self.micros();
        let mut ended = Vec::new();
        self.calls
            .borrow_mut()
            .expire(now, |call, waiting| ended.push((call, waiting)));
        let count = ended.len();
        for (call, waiting) in ended {
            let error = if waiting.queued {
                Refusal::Expired.into()
            } else {
                Doubt::Timeout(waiting.timeout).into()
            };
            self.end(call, waiting.who, error);
        }
        count
    }

    /// Ends the calls that went over a link which is gone.
    pub(crate) fn fail_calls_via(
        &self,
        link: LinkId,
        sent: Sent,
        node: NodeId,
        reason: &LinkReason,
    ) {
        let mut ended = Vec::new();
        self.calls.borrow_mut().remove_where(
            |_, waiting| waiting.via.is_some_and(|(via, _)| via == link) && !waiting.has_outcome(),
            |call, waiting| ended.push((call, waiting)),
        );
        for (call, waiting) in ended {
            let reason = reason.clone();
            let error = match waiting.via {
                Some((_, number)) if sent.fate(number) == Fate::Unsent => {
                    Refusal::NodeUnreachable { node, reason }.into()
                }
                _ => Doubt::LinkLost { node, reason }.into(),
            };
            self.end(call, waiting.who, error);
        }
    }

    /// Tells who waited for a call that has left the table.
    fn end(&self, call: CallId, who: Who, error: CallError) {
        match who {
            Who::Outside(_) => deliver(who, Err(error)),
            Who::Handler { waker, .. } => {
                self.ended.borrow_mut().insert(self.ticket(call).0, error);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }
}

impl Waiting {
    fn has_outcome(&self) -> bool {
        matches!(
            self.who,
            Who::Handler {
                outcome: Some(_),
                ..
            }
        )
    }
}

fn deliver(who: Who, outcome: Outcome) {
    if let Who::Outside(reply) = who {
        // The receiver may be gone: the caller has lost interest, and gets its reply back to drop.
        drop_quietly(reply.send(outcome));
    }
}

const _: () = assert!(
    CallTable::<Waiting>::DEFAULT_CAPACITY <= 1 << 16,
    "a slot fits a ticket"
);
