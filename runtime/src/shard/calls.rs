//! The calls that a shard waits for: made by its own handlers, or by threads outside through it.
//!
//! A call is completed once: by its reply, its deadline, or the end of its link. The reply to a
//! handler stays in the call's slot until the handler takes it; an outside caller gets its at
//! once. Calls that end otherwise have left the table by then: what handlers are to learn about
//! those, which is rare, lies in a map of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use teff_contract::{
    CallError, Declined, Doubt, LinkReason, Outcome, Outgoing, Payload, Pending, Refusal, Reply,
    TellError, Ticket,
};
use teff_core::call_table::CallTable;
use teff_core::time::Micros;
use teff_transport::{Fate, LinkId, Sent};
use teff_wire::{Block, CallId, NodeId, Status};

use crate::envelope::{CallRef, OutsideCall, Settled};
use crate::panics::{drop_quietly, wake_quietly};
use crate::shard::Shard;
use crate::shard::wakers::{Ready, What};
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
        poller: Poller,
        outcome: Option<Outcome>,
    },
    /// A thread or task elsewhere.
    Outside(oneshot::Sender<Outcome>),
}

/// Whom to wake for an outcome.
#[derive(Default)]
pub(crate) enum Poller {
    /// It has not asked yet.
    #[default]
    Nobody,
    /// The handler that waits in this place.
    Suspension(u32),
    /// Whoever polls on its behalf.
    Waker(Waker),
}

/// Outcomes of handlers' calls that ended without a reply, by ticket, until they are taken.
pub(crate) type Ended = RefCell<HashMap<u64, CallError>>;

impl Shard {
    /// Makes a call for a handler.
    pub(crate) fn call(&self, message: &mut Outgoing<'_>, timeout: Option<Duration>) -> Pending {
        let timeout = timeout.unwrap_or(self.node.limits.call_timeout);
        let deadline = self.deadline(timeout);
        let waiting = || Waiting {
            who: Who::Handler {
                poller: Poller::Nobody,
                outcome: None,
            },
            kind: message.target.contract.name,
            timeout,
            via: None,
            queued: false,
        };
        let entered = self.calls.borrow_mut().insert_with(waiting, deadline);
        let Some(call) = entered else {
            return Pending::NoRoom;
        };
        match self.send(message, Some(call), deadline) {
            Ok(()) => Pending::Slot(CallRef::new(self.id(), call).ticket()),
            Err(error) => {
                drop(self.calls.borrow_mut().remove(call));
                match error {
                    Declined::NoRoom => Pending::NoRoom,
                    Declined::Because(error) => Pending::ready(Err(Refusal::from(*error).into())),
                }
            }
        }
    }

    /// Enters a call into the table; hands back who waits when that is full.
    pub(crate) fn enter_call(
        &self,
        who: Who,
        message: &Outgoing<'_>,
        deadline: Micros,
        timeout: Duration,
    ) -> Result<CallId, Who> {
        let waiting = Waiting {
            who,
            kind: message.target.contract.name,
            timeout,
            via: None,
            queued: false,
        };
        let inserted = self.calls.borrow_mut().insert(waiting, deadline);
        inserted.map_err(|full| full.0.who)
    }

    /// Enters a call of a thread outside to a grain of this shard.
    pub(crate) fn enter_outside(
        &self,
        message: &Outgoing<'_>,
        call: OutsideCall,
    ) -> Result<(CallId, Micros), OutsideCall> {
        let OutsideCall {
            reply,
            deadline,
            timeout,
        } = call;
        match self.enter_call(Who::Outside(reply), message, deadline, timeout) {
            Ok(call) => Ok((call, deadline)),
            Err(Who::Outside(reply)) => Err(OutsideCall {
                reply,
                deadline,
                timeout,
            }),
            Err(Who::Handler { .. }) => unreachable!("it comes back as it was"),
        }
    }

    /// Makes a call for a thread outside to a grain of another node. Gives who waits back when
    /// there is no room.
    pub(crate) fn call_for_outside(
        &self,
        message: &mut Outgoing<'_>,
        call: OutsideCall,
    ) -> Option<OutsideCall> {
        let OutsideCall {
            reply,
            deadline,
            timeout,
        } = call;
        let again = |reply| OutsideCall {
            reply,
            deadline,
            timeout,
        };
        let who = Who::Outside(reply);
        let call = match self.enter_call(who, message, deadline, timeout) {
            Ok(call) => call,
            Err(Who::Outside(reply)) => return Some(again(reply)),
            Err(Who::Handler { .. }) => unreachable!("it comes back as it was"),
        };
        let error = self.send(message, Some(call), deadline).err()?;
        let waiting = self.calls.borrow_mut().remove(call);
        let who = waiting
            .expect("a call that was not sent cannot be completed")
            .who;
        match (error, who) {
            (Declined::NoRoom, Who::Outside(reply)) => Some(again(reply)),
            (declined, who) => {
                deliver(who, Err(Refusal::from(TellError::from(declined)).into()));
                None
            }
        }
    }

    /// Puts the outcome of a handler's call into `into`, if it is there.
    pub(crate) fn poll_call(
        &self,
        ticket: Ticket,
        cx: &mut Context<'_>,
        into: &mut Outcome,
    ) -> Poll<()> {
        let Some(call) = self.call_of(ticket) else {
            *into = Err(Doubt::NodeStopped.into());
            return Poll::Ready(());
        };
        let mut calls = self.calls.borrow_mut();
        let Some(Waiting {
            who: Who::Handler { poller, outcome },
            ..
        }) = calls.get_mut(call)
        else {
            drop(calls);
            let error = self.ended.borrow_mut().remove(&ticket.0);
            *into = Err(error.unwrap_or(Doubt::NodeStopped.into()));
            return Poll::Ready(());
        };
        if let Some(outcome) = outcome {
            // What `into` held before says that the node has stopped, which is nobody's own code.
            std::mem::swap(outcome, into);
            calls.discard(call);
            return Poll::Ready(());
        }
        let current = match self.is_polled_with(cx.waker()) {
            Some(place) => Poller::Suspension(place),
            None => Poller::Waker(cx.waker().clone()),
        };
        let stale = std::mem::replace(poller, current);
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
    // shard's call of the same number.
    fn call_of(&self, ticket: Ticket) -> Option<CallId> {
        let reference = CallRef::of_ticket(ticket)?;
        (reference.shard() == self.id()).then(|| reference.call())
    }

    /// The call of a handler ended on this node with a reply. Says whether there was such a call;
    /// otherwise the reply is where it was.
    pub(crate) fn complete_with(&self, call: CallId, reply: &mut Payload) -> bool {
        let mut calls = self.calls.borrow_mut();
        let Some(Waiting {
            who: Who::Handler { poller, outcome },
            ..
        }) = calls.get_mut(call)
        else {
            return false;
        };
        if outcome.is_some() {
            return false;
        }
        // Moved to where it is to lie, not by way of the stack.
        let place = outcome.insert(Ok(Reply::Value(Payload::empty())));
        if let Ok(Reply::Value(place)) = place {
            reply.move_to(place);
        }
        let poller = std::mem::take(poller);
        calls.disarm(call);
        drop(calls);
        self.wake(poller);
        true
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
            Who::Handler { poller, outcome } => {
                let poller = std::mem::take(poller);
                *outcome = Some(result);
                calls.disarm(call);
                drop(calls);
                self.wake(poller);
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

    fn wake(&self, poller: Poller) {
        match poller {
            Poller::Nobody => {}
            Poller::Suspension(place) => self.ready(Ready::Now(What::Suspension(place))),
            Poller::Waker(waker) => wake_quietly(waker),
        }
    }

    /// Tells who waited for a call that has left the table.
    fn end(&self, call: CallId, who: Who, error: CallError) {
        match who {
            Who::Outside(_) => deliver(who, Err(error)),
            Who::Handler { poller, .. } => {
                let ticket = CallRef::new(self.id(), call).ticket();
                self.ended.borrow_mut().insert(ticket.0, error);
                self.wake(poller);
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

pub(crate) fn deliver(who: Who, outcome: Outcome) {
    if let Who::Outside(reply) = who {
        // The receiver may be gone: the caller has lost interest, and gets its reply back to drop.
        drop_quietly(reply.send(outcome));
    }
}

const _: () = assert!(
    CallTable::<Waiting>::DEFAULT_CAPACITY <= 1 << 16,
    "a slot fits a ticket"
);
