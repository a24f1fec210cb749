//! Where messages come in: off lanes from other shards and outside threads, and off links.
//!
//! Messages from outside are the only ones that add work to a node, so they are let in last. What
//! they lead to is theirs to wait for: see [`OutsideLane`].

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use teff_contract::{Declined, Outgoing, Patience, Refusal};
use teff_core::hash::GrainHash;
use teff_core::router::{Hop, route};
use teff_core::time::Micros;
use teff_lane::{Receiver, Rest};
use teff_transport::{Event, LinkId};
use teff_wire::{Frame, FrameRef, FrameType, Status};

use crate::envelope::{Content, Envelope, Errand, Letter, LinkCall, Outside, OutsideCall};
use crate::panics::drop_quietly;
use crate::shard::catalog::NONE;
use crate::shard::pace::BATCH;
use crate::shard::turn::Grains;
use crate::status;

/// A lane from a thread outside the shards.
pub(crate) struct OutsideLane {
    receiver: Receiver<Outside>,
    /// A message that found no room. Nothing is taken off the lane before it has gone its way, so
    /// the thread outside feels the congestion, and its messages stay in order.
    stuck: Option<Box<Errand>>,
}

impl OutsideLane {
    pub(crate) fn new(receiver: Receiver<Outside>) -> Self {
        Self {
            receiver,
            stuck: None,
        }
    }

    /// Whether the thread is gone and has left nothing.
    pub(crate) fn is_over(&mut self) -> bool {
        self.stuck.is_none() && self.receiver.is_closed()
    }

    /// Whether a message waits here for room elsewhere.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// Whether there is something that could be taken.
    pub(crate) fn has_work(&mut self) -> bool {
        self.stuck.is_none() && !self.receiver.is_empty()
    }

    /// Whether nothing is in it.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        self.stuck.is_none() && self.receiver.is_empty()
    }

    /// Lets in at most `max` messages. Returns how many.
    pub(crate) fn admit(&mut self, grains: &mut Grains, max: usize) -> usize {
        if let Some(errand) = self.stuck.take() {
            self.stuck = grains.run_errand(errand);
        }
        if !self.has_work() {
            return 0;
        }
        let shard = Rc::clone(&grains.shard);
        let mut stage = shard.paces.outside.begin();
        let mut count = 0;
        while count < max && self.stuck.is_none() {
            let wanted = stage.batch().min(max - count);
            let ready = self.receiver.ready(wanted);
            fetch(grains, &self.receiver, ready);
            // One by one, because a message that finds no room ends the batch.
            for _ in 0..ready {
                let stuck = &mut self.stuck;
                self.receiver.drain_in_place(1, |outside| {
                    *stuck = grains.admit(outside);
                    outside.rest()
                });
                count += 1;
                if stuck.is_some() {
                    break;
                }
            }
            // Who looks again at once takes the line that says how much there is from the sender
            // with every message, and both are slowed to the pace of that line.
            if ready < wanted || stage.is_over(|| shard.keep_time()) {
                break;
            }
        }
        count
    }

    /// The lane and what was stuck, when the shard ends.
    pub(crate) fn into_parts(self) -> (Receiver<Outside>, Option<Outside>) {
        (self.receiver, self.stuck.map(Outside::Errand))
    }
}

/// What a batch can be prepared for.
trait Addressed {
    /// The hash of the grain that it is for.
    fn hash(&self) -> Option<GrainHash>;
}

impl Addressed for Envelope {
    fn hash(&self) -> Option<GrainHash> {
        match self {
            Self::Letter(letter) => Some(letter.hash),
            _ => None,
        }
    }
}

impl Addressed for Outside {
    fn hash(&self) -> Option<GrainHash> {
        match self {
            Self::Letter(letter) => Some(letter.hash),
            _ => None,
        }
    }
}

/// Fetches into the cache what the next `ready` messages of a lane will need, if the grains are
/// too many for the cache to have it: in passes, so that the waits for memory overlap.
fn fetch<T: Addressed>(grains: &Grains, lane: &Receiver<T>, ready: usize) {
    if ready < 2 || !grains.is_large() {
        return;
    }
    let catalog = grains.catalog();
    let mut hashes = [GrainHash(0); FETCH];
    let mut slots = [NONE; FETCH];
    for (index, hash) in hashes[..ready].iter_mut().enumerate() {
        if let Some(Some(found)) = lane.peek(index, Addressed::hash) {
            *hash = found;
            catalog.prefetch_index(found);
        }
    }
    for (hash, slot) in hashes[..ready].iter().zip(&mut slots) {
        *slot = catalog.prefetch_entry(*hash);
    }
    for slot in &slots[..ready] {
        catalog.prefetch_grain(*slot);
    }
}

impl Grains {
    /// Takes an envelope off a lane, where it lies. Says what is left of it there.
    #[inline]
    pub(crate) fn take_in(&mut self, envelope: &mut Envelope) -> Rest {
        if let Envelope::Letter(letter) = envelope {
            match self.deliver(letter) {
                None => return letter.rest(),
                Some(slot) => self.keep_from(envelope, slot),
            }
        } else {
            self.take_answer(envelope);
        }
        Rest::Value
    }

    fn keep_from(&mut self, envelope: &mut Envelope, slot: u32) {
        if let Envelope::Letter(letter) = std::mem::replace(envelope, Envelope::Taken) {
            self.keep(slot, letter);
        }
    }

    #[inline(never)]
    fn take_answer(&mut self, envelope: &mut Envelope) {
        if let Envelope::Reply {
            call,
            settled: Ok(reply),
        } = envelope
            && self.shard.complete_with(call.call(), reply)
        {
            return;
        }
        match std::mem::replace(envelope, Envelope::Taken) {
            Envelope::Reply { call, settled } => self.shard.complete_settled(call.call(), settled),
            Envelope::Answer { to, settled } => self.shard.reply_by_link(to, settled),
            Envelope::Pressure { to, pressure } => self.shard.press(to, pressure),
            Envelope::Datagram(datagram) => {
                if let Some(links) = self.shard.links.borrow_mut().as_mut() {
                    links.endpoint.handle_datagram(Instant::now(), *datagram);
                }
            }
            Envelope::Letter(_) | Envelope::Taken => {}
        }
    }

    /// Lets a message from outside in; gives it back if there is no room for it.
    fn admit(&mut self, outside: &mut Outside) -> Option<Box<Errand>> {
        if let Outside::Letter(letter) = outside {
            self.shard.kinds.borrow_mut().count_sent_to(letter.kind);
            if let Some(slot) = self.deliver(letter)
                && let Outside::Letter(letter) = std::mem::replace(outside, Outside::Taken)
            {
                self.keep(slot, letter);
            }
            return None;
        }
        match std::mem::replace(outside, Outside::Taken) {
            Outside::Errand(errand) => self.run_errand(errand),
            Outside::Letter(_) | Outside::Taken => None,
        }
    }

    /// Makes the call or sends the frame that a thread outside wants.
    pub(super) fn run_errand(&mut self, mut errand: Box<Errand>) -> Option<Box<Errand>> {
        self.shard.shares.begin_turn();
        if errand
            .call
            .as_ref()
            .is_some_and(|call| call.deadline.is_due(self.shard.micros()))
        {
            let call = errand.call.take()?;
            deliver_outside(call, Refusal::Expired);
            drop_quietly(errand);
            return None;
        }
        let is_here = self.shard.node.owner_of(&errand.target) == Some(self.shard.me);
        let Errand {
            target,
            method,
            payload,
            patient,
            call,
        } = &mut *errand;
        let mut message = Outgoing {
            target,
            method: *method,
            payload,
            patient: *patient,
        };
        match call.take() {
            Some(waiting) if is_here => match self.shard.enter_outside(&message, waiting) {
                Ok((call, deadline)) => {
                    let letter = self.shard.letter(&mut message, Some(call), deadline);
                    self.shard.count_sent(target.contract);
                    self.deliver_owned(letter);
                    return None;
                }
                Err(waiting) => *call = Some(waiting),
            },
            Some(waiting) => *call = Some(self.shard.call_for_outside(&mut message, waiting)?),
            None => match self.shard.send(&mut message, None, Micros::NEVER) {
                Ok(()) => return None,
                Err(Declined::NoRoom) if message.patient == Patience::Lossy => {
                    self.shard.lose(target);
                    drop_quietly(errand);
                    return None;
                }
                Err(Declined::NoRoom) => {}
                Err(Declined::Because(error)) => {
                    // It was accepted from the thread: it counts as sent, and as lost.
                    self.shard.count_sent(target.contract);
                    self.shard.drop_for(target, status::reason_of(&error));
                    drop_quietly(errand);
                    return None;
                }
            },
        }
        Some(errand)
    }

    /// Takes in what has arrived on links. Returns how many events there were.
    pub(crate) fn take_link_events(&mut self) -> usize {
        let shard = Rc::clone(&self.shard);
        let mut stage = shard.paces.links.begin();
        let mut count = 0;
        while count < LINK_EVENTS {
            let wanted = stage.batch();
            let taken = self.take_some_link_events(wanted);
            count += taken;
            if taken < wanted || stage.is_over(|| shard.keep_time()) {
                break;
            }
        }
        count
    }

    fn take_some_link_events(&mut self, max: usize) -> usize {
        let mut count = 0;
        loop {
            count += self.run_frames(max - count);
            if count == max {
                return count;
            }
            let event = self
                .shard
                .links
                .borrow_mut()
                .as_mut()
                .and_then(|links| links.endpoint.poll_event());
            match event {
                Some(Event::Frame { link, frame }) => {
                    self.shard.counters().frames_in.add(1);
                    self.take_frame(link, frame);
                }
                Some(Event::Lossy { link, frame }) => self.take_lossy(link, frame),
                Some(event) => self.shard.take_event(event),
                None => return count,
            }
            count += 1;
        }
    }

    /// Runs frames where they lie, at most `max`. Returns how many.
    fn run_frames(&mut self, max: usize) -> usize {
        let taken = match self.shard.links.borrow_mut().as_mut() {
            Some(links) => links.endpoint.take_run(),
            None => None,
        };
        let Some((link, mut run)) = taken else {
            return 0;
        };
        let held = self.held.len();
        let mut count = 0;
        while count < max
            && let Some(frame) = run.next()
        {
            count += 1;
            self.run_frame(link, frame);
            if self.held.len() > held {
                // It is this link's letter, which those behind it are not to overtake.
                break;
            }
        }
        self.shard.counters().frames_in.add(count as u64);
        // They are there: nothing takes them away but the end of the shard.
        if let Some(links) = self.shard.links.borrow_mut().as_mut() {
            links.endpoint.put_back(link, run);
        }
        count
    }

    /// Runs a frame where it lies, if it is for a grain that is here.
    #[inline(always)]
    fn run_frame(&mut self, link: LinkId, mut frame: FrameRef<'_>) {
        let is_open = !self.shard.node.refusing_peers.load(Ordering::Relaxed);
        let slot = match self.catalog.find_marked(frame.note()) {
            Some(slot) if is_open => slot,
            _ => match self.find_for(&mut frame, is_open) {
                Some(slot) => slot,
                None => return self.take_frame(link, frame.to_frame()),
            },
        };
        let (number, deadline_us) = frame.call().unwrap_or_default();
        let shard = self.shard.id();
        let from = LinkCall {
            link,
            number,
            shard,
        };
        self.begin_frame(slot, (frame.method(), deadline_us), from, frame.payload());
    }

    /// The place of the grain that a frame is for, which the link remembers from here on.
    #[inline(never)]
    fn find_for(&mut self, frame: &mut FrameRef<'_>, is_open: bool) -> Option<u32> {
        let (kind, grain) = frame.grain().filter(|_| is_open)?;
        let slot = self.catalog.find(GrainHash(grain.hash), kind, &grain.key)?;
        frame.set_note(self.catalog.mark(slot));
        Some(slot)
    }

    fn take_frame(&mut self, link: LinkId, frame: Frame) {
        let Frame {
            header,
            grain,
            payload,
            ..
        } = frame;
        let number = match header.frame {
            FrameType::Tell => 0,
            FrameType::Call => header.number,
            FrameType::Reply => return self.shard.take_reply(link, &header, payload),
            // The transport keeps these to itself.
            _ => return,
        };
        let Some(grain) = grain else { return };
        let letter = Letter {
            hash: GrainHash(grain.hash),
            key: grain.key,
            kind: header.kind,
            deadline: self.shard.deadline_from(header.deadline_us),
            method: header.method,
            patient: Patience::Patient,
            content: Content::Bytes {
                block: payload,
                from: LinkCall {
                    link,
                    number,
                    shard: self.shard.id(),
                },
            },
        };
        self.take_letter(letter);
    }

    /// A letter from a peer: ours, one to pass on, or sent here by mistake.
    #[inline(always)]
    pub(super) fn take_letter(&mut self, mut letter: Letter) {
        let shard = &self.shard;
        if shard.node.refusing_peers.load(Ordering::Relaxed) {
            return shard.refuse(&mut letter, (Status::ShuttingDown, String::new()));
        }
        match route(&shard.node.view, shard.me, letter.kind, letter.hash) {
            Some(Hop::Here) => self.deliver_owned(letter),
            Some(Hop::Lane(owner)) => self.pass_on(owner, letter),
            Some(Hop::Link { .. }) | None => {
                shard.refuse(&mut letter, (Status::NotOwner, String::new()));
            }
        }
    }
}

fn deliver_outside(call: OutsideCall, refusal: Refusal) {
    // The receiver may have given up waiting.
    drop_quietly(call.reply.send(Err(refusal.into())));
}

/// How many events of links are taken in one turn of the loop: as many small frames as a turn of
/// receiving brings.
const LINK_EVENTS: usize = 4096;

/// How many envelopes of an inner lane are taken in one turn of the loop.
const LANE_BATCH: usize = 1024;

/// Messages that are prepared for together: enough for their waits to overlap, few enough to stay
/// in the first-level cache.
const FETCH: usize = BATCH;

/// Takes what other shards have sent. Returns how much.
pub(crate) fn drain_lanes(grains: &mut Grains, lanes: &mut [Receiver<Envelope>]) -> usize {
    let mut count = 0;
    for lane in lanes {
        let mut taken = 0;
        if lane.is_empty() {
            continue;
        }
        let shard = Rc::clone(&grains.shard);
        let mut stage = shard.paces.lanes.begin();
        while taken < LANE_BATCH {
            let wanted = stage.batch();
            let ready = lane.ready(wanted);
            if ready == 0 {
                break;
            }
            fetch(grains, lane, ready);
            taken += lane.drain_in_place(ready, |envelope| grains.take_in(envelope));
            // Who has caught up does not ask what time it is.
            if ready == wanted && stage.is_over(|| shard.keep_time()) {
                break;
            }
        }
        count += taken;
    }
    if count > 0 {
        grains.shard.counters().lane_in.add(count as u64);
    }
    count
}
