//! Where messages and answers leave: into this shard's own queue, a lane, or a link.
//!
//! This is the only place that asks the router. A message that finds no room goes back to whoever
//! sent it; an answer always finds room, because its caller has reserved a slot for it.

use std::collections::VecDeque;

use teff_contract::{Arguments, Outgoing, Refusal, TellError};
use teff_core::dead_letter::Reason;
use teff_core::hash::GrainHash;
use teff_core::router::{Hop, route};
use teff_core::time::Micros;
use teff_lane::Sender;
use teff_wire::{CallId, ShardId};

use crate::counters::KindCell;
use crate::envelope::{Envelope, Letter, ReplyTo, Settled};
use crate::panics::drop_quietly;
use crate::shard::Shard;
use crate::shard::links::{Destination, Parcel, Posted};
use crate::status;

/// The sending end of a lane, and answers that found it full.
pub(crate) struct LaneOut {
    sender: Sender<Envelope>,
    /// At most one per outstanding call of the receiving shard.
    overflow: VecDeque<Envelope>,
}

impl LaneOut {
    pub(crate) fn new(sender: Sender<Envelope>) -> Self {
        Self {
            sender,
            overflow: VecDeque::new(),
        }
    }

    fn has_room(&mut self) -> bool {
        self.overflow.is_empty() && self.sender.free() > 0
    }

    fn push(&mut self, envelope: Envelope) {
        if self.overflow.is_empty() {
            if let Err(refused) = self.sender.try_push(envelope) {
                self.overflow.push_back(refused.into_inner());
            }
        } else {
            self.overflow.push_back(envelope);
        }
    }

    fn flush(&mut self) -> bool {
        while let Some(envelope) = self.overflow.pop_front() {
            if let Err(refused) = self.sender.try_push(envelope) {
                self.overflow.push_front(refused.into_inner());
                break;
            }
        }
        self.sender.publish()
    }

    fn is_flushed(&self) -> bool {
        self.overflow.is_empty()
    }
}

impl Shard {
    /// Accepts a message from a handler, or for an outside caller, and sends it on its way.
    pub(crate) fn send(
        &self,
        message: Outgoing,
        call: Option<CallId>,
        deadline: Micros,
    ) -> Result<(), (TellError, Option<Outgoing>)> {
        if self.stopping.get() {
            return Err((TellError::ShuttingDown, Some(message)));
        }
        let target = &message.target;
        let (kind, name) = (target.id.kind, target.kind);
        let hop = route(&self.node.view, self.me, kind, GrainHash(target.hash));
        match hop {
            None => return Err((TellError::Unplaced { kind: name }, Some(message))),
            Some(Hop::Here) => self.send_here(message, call, deadline)?,
            Some(Hop::Lane(shard)) => self.send_by_lane(shard, message, call, deadline)?,
            Some(Hop::Link { node, shard }) => {
                let member = self.node.view.member(node).expect("an owner is a member");
                let to = Destination {
                    node,
                    shard,
                    address: member.address,
                };
                self.send_by_link(
                    to,
                    Parcel {
                        message,
                        call,
                        deadline,
                    },
                )?;
            }
        }
        let mut kinds = self.kinds.borrow_mut();
        kinds.cell(kind, name, self.counters()).sent.add(1);
        Ok(())
    }

    fn send_here(
        &self,
        message: Outgoing,
        call: Option<CallId>,
        deadline: Micros,
    ) -> Result<(), (TellError, Option<Outgoing>)> {
        let mut queue = self.queue.borrow_mut();
        if queue.len() >= self.node.limits.queue_capacity {
            return Err((TellError::Busy, Some(message)));
        }
        queue.push_back(self.letter(message, call, deadline));
        Ok(())
    }

    fn send_by_lane(
        &self,
        shard: ShardId,
        message: Outgoing,
        call: Option<CallId>,
        deadline: Micros,
    ) -> Result<(), (TellError, Option<Outgoing>)> {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes[usize::from(shard.0)]
            .as_mut()
            .expect("no lane leads to oneself");
        if !lane.has_room() {
            // What fills the lane may not be visible to the receiver yet.
            let published = lane.flush();
            drop(lanes);
            if published {
                self.node.shard(shard).doorbell.ring();
            }
            return Err((TellError::Busy, Some(message)));
        }
        lane.push(Envelope::Letter(self.letter(message, call, deadline)));
        self.counters().lane_out.add(1);
        Ok(())
    }

    fn send_by_link(
        &self,
        to: Destination,
        parcel: Parcel,
    ) -> Result<(), (TellError, Option<Outgoing>)> {
        let call = parcel.call;
        let now = (self.now.get(), self.micros());
        let posted = match self.links.borrow_mut().as_mut() {
            Some(links) => links.post(parcel, to, now),
            // A node without a network is alone in its view.
            None => unreachable!(
                "a grain belongs to node {}, but there is no network",
                to.node
            ),
        };
        match posted {
            Ok(Posted::Queued) => {
                if let Some(call) = call {
                    self.note_queued(call);
                }
                Ok(())
            }
            Ok(Posted::Sent(parcel, link, number)) => {
                self.counters().frames_out.add(1);
                drop_quietly(parcel);
                if let Some(call) = call {
                    self.note_via(call, link, number);
                }
                Ok(())
            }
            Err((error, parcel)) => Err((error, parcel.map(|parcel| parcel.message))),
        }
    }

    fn letter(&self, message: Outgoing, call: Option<CallId>, deadline: Micros) -> Letter {
        Letter {
            hash: GrainHash(message.target.hash),
            id: message.target.id,
            method: message.method,
            arguments: Arguments::Value(message.payload),
            reply: call.map_or(ReplyTo::Nobody, |call| ReplyTo::Shard {
                shard: self.id(),
                call,
            }),
            deadline,
        }
    }

    /// Counts how a letter ended, and tells its caller.
    pub(crate) fn answer(&self, cell: &KindCell, reply: ReplyTo, settled: Settled) {
        match status::reason(&settled) {
            None => cell.handled.add(1),
            Some(reason) => cell.drop_for(reason),
        }
        self.reply(reply, settled);
    }

    /// Hands an answer to whoever waits for it.
    pub(crate) fn reply(&self, reply: ReplyTo, settled: Settled) {
        match reply {
            ReplyTo::Nobody => drop_quietly(settled),
            ReplyTo::Shard { shard, call } if shard == self.id() => {
                self.complete_settled(call, settled);
            }
            ReplyTo::Shard { shard, call } => self.push(shard, Envelope::Reply { call, settled }),
            ReplyTo::Link {
                shard,
                link,
                number,
            } if shard == self.id() => {
                let answered = match self.links.borrow_mut().as_mut() {
                    Some(links) => links.answer(link, number, settled),
                    None => (false, Some(settled)),
                };
                match answered {
                    (true, None) => {}
                    (true, Some(spent)) => {
                        self.counters().frames_out.add(1);
                        drop_quietly(spent);
                    }
                    (false, spent) => {
                        self.counters().replies_dropped.add(1);
                        drop_quietly(spent);
                    }
                }
            }
            ReplyTo::Link {
                shard,
                link,
                number,
            } => {
                self.push(
                    shard,
                    Envelope::Answer {
                        link,
                        number,
                        settled,
                    },
                );
            }
        }
    }

    /// Puts an envelope into a lane if there is room; what a peer sends must not pile up.
    pub(crate) fn try_push(&self, shard: ShardId, envelope: Envelope) -> Result<(), Envelope> {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes[usize::from(shard.0)]
            .as_mut()
            .expect("no lane leads to oneself");
        if !lane.has_room() {
            return Err(envelope);
        }
        lane.push(envelope);
        self.counters().lane_out.add(1);
        Ok(())
    }

    /// Puts an envelope into a lane that may not refuse it.
    pub(crate) fn push(&self, shard: ShardId, envelope: Envelope) {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes[usize::from(shard.0)]
            .as_mut()
            .expect("no lane leads to oneself");
        lane.push(envelope);
        self.counters().lane_out.add(1);
    }

    /// Makes visible what was pushed into lanes, and wakes who sleeps. Says whether anything was.
    pub(crate) fn flush_lanes(&self) -> bool {
        let mut any = false;
        for (index, lane) in self.lanes.borrow_mut().iter_mut().enumerate() {
            if lane.as_mut().is_some_and(LaneOut::flush) {
                any = true;
                self.node.shards[index].doorbell.ring();
            }
        }
        any
    }

    /// Whether every lane has taken what was meant for it.
    pub(crate) fn lanes_are_flushed(&self) -> bool {
        self.lanes
            .borrow()
            .iter()
            .flatten()
            .all(LaneOut::is_flushed)
    }

    /// A message that was accepted cannot be delivered: counts it and tells its caller.
    pub(crate) fn undeliverable(&self, parcel: Parcel, error: TellError) {
        let target = &parcel.message.target;
        self.drop_for(target.id.kind, target.kind, status::reason_of(&error));
        if let Some(call) = parcel.call {
            self.refuse_call(call, Refusal::from(error));
        }
        drop_quietly(parcel);
    }

    /// Counts a message that is not handled.
    pub(crate) fn drop_for(&self, kind: teff_wire::KindId, name: &str, reason: Reason) {
        let mut kinds = self.kinds.borrow_mut();
        kinds.cell(kind, name, self.counters()).drop_for(reason);
    }
}
