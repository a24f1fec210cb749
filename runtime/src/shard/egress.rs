//! Where messages and answers leave: into this shard's own queue, a lane, or a link.
//!
//! This is the only place that asks for the way. A message that finds no room stays with whoever
//! sends it; an answer always finds room, because its caller has reserved a slot for it.

use teff_contract::{Contract, Declined, Outgoing, Patience, Payload, Refusal, Target, TellError};
use teff_core::dead_letter::Reason;
use teff_core::hash::GrainHash;
use teff_core::placement::Owner;
use teff_core::time::Micros;
use teff_transport::LinkId;
use teff_wire::{CallId, MethodId, ShardId};

use crate::counters::KindCell;
use crate::envelope::{CallRef, Content, Envelope, Letter, LinkCall, Pressure, ReplyTo, Settled};
use crate::panics::drop_quietly;
use crate::shard::lane_out::LaneOut;
use crate::shard::links::{Parcel, Posted};
use crate::shard::{NOWHERE, Shard};
use crate::status;

impl Shard {
    /// Accepts a message from a handler, or for an outside caller, and sends it on its way.
    #[inline(always)]
    pub(crate) fn send(
        &self,
        message: &mut Outgoing<'_>,
        call: Option<CallId>,
        deadline: Micros,
    ) -> Result<(), Declined> {
        let contract = message.target.contract;
        if self.try_express(message, call, deadline) {
            self.count_sent(contract);
            return Ok(());
        }
        // As a number: what is written in parts and read as a whole waits for the stores.
        self.find_way(message, call.map_or(0, CallId::to_u64), deadline)?;
        self.count_sent(contract);
        Ok(())
    }

    /// Sends a message whose way is known and clear: into the lane to another shard. In every
    /// other case it does nothing.
    #[inline(always)]
    fn try_express(
        &self,
        message: &mut Outgoing<'_>,
        call: Option<CallId>,
        deadline: Micros,
    ) -> bool {
        let way = message.target.way.get();
        if way >> 16 != self.inside.get() {
            return false;
        }
        let mut lanes = self.lanes.borrow_mut();
        let Some(Some(lane)) = lanes.get_mut(usize::from(way as u16)) else {
            return false;
        };
        if !lane.is_clear(GrainHash(message.target.hash), &self.shares) {
            return false;
        }
        self.push_letter(lane, message, call, deadline);
        true
    }

    /// Puts a message that was lent into a lane that has room: its arguments are moved straight
    /// into the slot.
    #[inline(always)]
    fn push_letter(
        &self,
        lane: &mut LaneOut,
        message: &mut Outgoing<'_>,
        call: Option<CallId>,
        deadline: Micros,
    ) {
        let reply = call.map(|call| CallRef::new(self.id(), call));
        let Outgoing {
            target,
            method,
            ref mut payload,
            patient,
        } = *message;
        lane.push_and_finish(
            || Envelope::Letter(Letter::blank(target, (method, patient), reply, deadline)),
            |envelope| {
                if let Envelope::Letter(letter) = envelope {
                    letter.fill(payload);
                }
            },
        );
    }

    /// `call` is 0 for a tell: the generations of calls leave out 0.
    #[inline(never)]
    fn find_way(
        &self,
        message: &mut Outgoing<'_>,
        call: u64,
        deadline: Micros,
    ) -> Result<(), Declined> {
        let call = (call != 0).then(|| CallId::from_u64(call));
        if self.try_link_express(message, call, deadline) {
            return Ok(());
        }
        if self.inside.get() == NOWHERE {
            return Err(TellError::ShuttingDown.into());
        }
        let contract = message.target.contract;
        let Some(owner) = self.node.owner_of(message.target) else {
            let kind = contract.name;
            return Err(TellError::Unplaced { kind }.into());
        };
        if owner.node == self.me.node {
            self.send_inside(owner.shard, message, call, deadline)
        } else {
            self.send_by_link(owner, message, call, deadline)
        }
    }

    /// Sends a message whose way is known and clear: over the link to another node. In every other
    /// case it does nothing.
    #[inline(always)]
    fn try_link_express(
        &self,
        message: &mut Outgoing<'_>,
        call: Option<CallId>,
        deadline: Micros,
    ) -> bool {
        let Some(owner) = self.node.remembered(message.target) else {
            return false;
        };
        if message.patient == Patience::Lossy {
            return false;
        }
        if owner.node == self.me.node || self.inside.get() == NOWHERE {
            return false;
        }
        let sent = match self.links.borrow_mut().as_mut() {
            Some(links) => links.try_express(message, (call, deadline), owner, self.micros()),
            None => None,
        };
        let Some((link, number)) = sent else {
            return false;
        };
        self.sent_by_link(message, call, (link, number));
        true
    }

    /// A message has left as the frame of this number.
    #[inline(always)]
    fn sent_by_link(
        &self,
        message: &mut Outgoing<'_>,
        call: Option<CallId>,
        (link, number): (LinkId, u64),
    ) {
        if !message.payload.is_inert() {
            drop_quietly(std::mem::take(message.payload));
        }
        if let Some(call) = call {
            self.note_via(call, link, number);
        }
    }

    /// Counts a message that was sent. Nearly always it is of the kind that was sent last.
    #[inline]
    pub(crate) fn count_sent(&self, contract: &'static Contract) {
        match self.sent.get() {
            Some((last, count)) if std::ptr::eq(last, contract) => {
                self.sent.set(Some((last, count + 1)));
            }
            _ => {
                self.settle_sent();
                self.sent.set(Some((contract, 1)));
            }
        }
    }

    /// Lets others see what was counted since the last time.
    pub(crate) fn settle_sent(&self) {
        if let Some((contract, count)) = self.sent.take() {
            let mut kinds = self.kinds.borrow_mut();
            let cell = kinds.cell(contract.kind, contract.name, self.counters());
            cell.sent.add(count);
        }
    }

    fn send_inside(
        &self,
        shard: ShardId,
        message: &mut Outgoing<'_>,
        call: Option<CallId>,
        deadline: Micros,
    ) -> Result<(), Declined> {
        let owner = self.node.shard(shard);
        if owner.congestion.is_marked(GrainHash(message.target.hash)) {
            return Err(Declined::NoRoom);
        }
        if shard == self.me.shard {
            let mut queue = self.queue.borrow_mut();
            let capacity = self.node.limits.queue_capacity;
            if !self.shares.take(capacity.saturating_sub(queue.len())) {
                return Err(Declined::NoRoom);
            }
            queue.push_back(self.letter(message, call, deadline));
            return Ok(());
        }
        // The first message of a reference, which did not know its way.
        if self.try_express(message, call, deadline) {
            return Ok(());
        }
        // What fills the lane may not be visible to the receiver yet.
        let mut lanes = self.lanes.borrow_mut();
        let lane = lanes[usize::from(shard.0)].as_mut();
        if lane.is_some_and(|lane| lane.flush(&self.counters().lane_out)) {
            drop(lanes);
            owner.doorbell.ring();
        }
        Err(Declined::NoRoom)
    }

    fn send_by_link(
        &self,
        owner: Owner,
        message: &mut Outgoing<'_>,
        call: Option<CallId>,
        deadline: Micros,
    ) -> Result<(), Declined> {
        if message.patient == Patience::Lossy {
            return self.send_lossy(owner, message);
        }
        let now = (self.now.get(), self.micros());
        let posted = match self.links.borrow_mut().as_mut() {
            Some(links) => links.post(message, (call, deadline), owner, now),
            // A node without a network is alone in its view.
            None => unreachable!("{owner:?} is not here, but there is no network"),
        };
        match posted? {
            Posted::Queued => {
                if let Some(call) = call {
                    self.note_queued(call);
                }
            }
            Posted::Sent(link, number) => self.sent_by_link(message, call, (link, number)),
        }
        Ok(())
    }

    /// Takes a message that was lent.
    #[inline]
    pub(crate) fn letter(
        &self,
        message: &mut Outgoing<'_>,
        call: Option<CallId>,
        deadline: Micros,
    ) -> Letter {
        let reply = call.map(|call| CallRef::new(self.id(), call));
        Letter::new(message, reply, deadline)
    }

    /// Counts a letter that its handler has handled, and hands on the reply.
    #[inline(always)]
    pub(crate) fn answer_handled(&self, cell: &KindCell, reply_to: ReplyTo, reply: &mut Payload) {
        cell.handled.add(1);
        if reply_to != ReplyTo::Nobody || !reply.is_inert() {
            self.hand_on(reply_to, reply);
        }
    }

    pub(crate) fn hand_on(&self, reply_to: ReplyTo, reply: &mut Payload) {
        match reply_to {
            ReplyTo::Nobody => drop_quietly(std::mem::take(reply)),
            ReplyTo::Call(to)
                if to.shard() == self.id() && self.complete_with(to.call(), reply) => {}
            ReplyTo::Call(call) if call.shard() != self.id() => {
                self.push_reply(call, reply);
            }
            waits => self.reply(waits, Ok(reply.lift())),
        }
    }

    /// Counts how a letter ended, and tells its caller.
    pub(crate) fn answer(&self, cell: &KindCell, reply_to: ReplyTo, settled: Settled) {
        match status::reason(&settled) {
            None => cell.handled.add(1),
            Some(reason) => cell.drop_for(reason),
        }
        self.reply(reply_to, settled);
    }

    /// Hands an answer to whoever waits for it.
    pub(crate) fn reply(&self, reply_to: ReplyTo, settled: Settled) {
        match reply_to {
            ReplyTo::Nobody => drop_quietly(settled),
            ReplyTo::Call(to) if to.shard() == self.id() => {
                self.complete_settled(to.call(), settled);
            }
            ReplyTo::Call(call) => self.push(call.shard(), Envelope::Reply { call, settled }),
            ReplyTo::Link(to) if to.shard == self.id() => self.reply_by_link(to, settled),
            ReplyTo::Link(to) => self.push(to.shard, Envelope::Answer { to, settled }),
        }
    }

    /// Lets a peer know whether a mailbox is full that it sends to.
    pub(crate) fn press(&self, to: LinkCall, pressure: Pressure) {
        if to.shard != self.id() {
            return self.push(to.shard, Envelope::Pressure { to, pressure });
        }
        if let Some(links) = self.links.borrow_mut().as_mut() {
            let Pressure { hash, full } = pressure;
            links.endpoint.press(to.link, hash.0, full);
        }
    }

    pub(crate) fn reply_by_link(&self, to: LinkCall, settled: Settled) {
        let answered = match self.links.borrow_mut().as_mut() {
            Some(links) => links.answer(to.link, to.number, settled),
            None => (false, Some(settled)),
        };
        match answered {
            (true, None) => {}
            (true, Some(spent)) => drop_quietly(spent),
            (false, spent) => {
                self.counters().replies_dropped.add(1);
                drop_quietly(spent);
            }
        }
    }

    /// Puts an envelope into a lane if there is room; what a peer sends must not pile up.
    pub(crate) fn try_push(&self, shard: ShardId, envelope: Envelope) -> Result<(), Envelope> {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lane_to(&mut lanes, shard);
        if !lane.has_room() {
            return Err(envelope);
        }
        lane.push(envelope);
        Ok(())
    }

    /// Puts an envelope into a lane that may not refuse it.
    pub(crate) fn push(&self, shard: ShardId, envelope: Envelope) {
        lane_to(&mut self.lanes.borrow_mut(), shard).push(envelope);
    }

    /// Puts the reply to a call into a lane: it is moved straight into the slot.
    #[inline]
    fn push_reply(&self, call: CallRef, reply: &mut Payload) {
        let mut lanes = self.lanes.borrow_mut();
        let lane = lane_to(&mut lanes, call.shard());
        let blank = || Envelope::Reply {
            call,
            settled: Ok(Payload::empty()),
        };
        let mut fill = |envelope: &mut Envelope| {
            if let Envelope::Reply {
                settled: Ok(settled),
                ..
            } = envelope
            {
                reply.move_to(settled);
            }
        };
        if lane.has_room() {
            lane.push_and_finish(blank, fill);
        } else {
            let mut envelope = blank();
            fill(&mut envelope);
            lane.push_later(envelope);
        }
    }

    /// Makes visible what was pushed into lanes, and wakes who sleeps. Says whether anything was.
    pub(crate) fn flush_lanes(&self) -> bool {
        let mut any = false;
        for (index, lane) in self.lanes.borrow_mut().iter_mut().enumerate() {
            if lane
                .as_mut()
                .is_some_and(|lane| lane.flush(&self.counters().lane_out))
            {
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
        self.drop_for(&parcel.target, status::reason_of(&error));
        if let Some(call) = parcel.call {
            self.refuse_call(call, Refusal::from(error));
        }
        drop_quietly(parcel);
    }

    /// Counts a message that is not handled.
    pub(crate) fn drop_for(&self, target: &Target, reason: Reason) {
        let mut kinds = self.kinds.borrow_mut();
        let contract = target.contract;
        kinds
            .cell(contract.kind, contract.name, self.counters())
            .drop_for(reason);
    }

    /// Counts a message that its sender sheds: sent, and dropped at once.
    pub(crate) fn shed(&self, target: &Target) {
        self.count_sent(target.contract);
        self.drop_for(target, Reason::Shed);
    }
}

fn lane_to(lanes: &mut [Option<LaneOut>], shard: ShardId) -> &mut LaneOut {
    lanes[usize::from(shard.0)]
        .as_mut()
        .expect("no lane leads to oneself")
}

impl Letter {
    /// Takes a message that was lent.
    #[inline]
    pub(crate) fn new(
        message: &mut Outgoing<'_>,
        reply: Option<CallRef>,
        deadline: Micros,
    ) -> Self {
        let how = (message.method, message.patient);
        let mut letter = Self::blank(message.target, how, reply, deadline);
        letter.fill(message.payload);
        letter
    }

    /// A letter without its arguments.
    #[inline]
    pub(crate) fn blank(
        target: &Target,
        (method, patient): (MethodId, Patience),
        reply: Option<CallRef>,
        deadline: Micros,
    ) -> Self {
        Self {
            key: target.key.clone(),
            hash: GrainHash(target.hash),
            deadline,
            kind: target.contract.kind,
            method,
            patient,
            content: Content::Value {
                payload: Payload::empty(),
                reply,
            },
        }
    }

    /// Moves the arguments in.
    #[inline]
    pub(crate) fn fill(&mut self, arguments: &mut Payload) {
        if let Content::Value { payload, .. } = &mut self.content {
            arguments.move_to(payload);
        }
    }
}
