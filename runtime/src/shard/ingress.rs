//! Where messages come in: off lanes from other shards and outside threads, and off links.
//!
//! Messages from outside are the only ones that add work to a node, so they are let in last and
//! wait at the door while there is no room on their way: see [`OutsideLane`].

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use teff_contract::{Arguments, Refusal, TellError};
use teff_core::dead_letter::Reason;
use teff_core::router::{Hop, route};
use teff_core::time::Micros;
use teff_lane::Receiver;
use teff_transport::{Event, Fate, LinkError, LinkId, Sent};
use teff_wire::{CallId, Frame, FrameType, GrainId, NodeId, Status};

use crate::envelope::{Envelope, Letter, Outside, ReplyTo};
use crate::panics::drop_quietly;
use crate::shard::Shard;
use crate::shard::links::Parcel;

/// A lane from a thread outside the shards.
pub(crate) struct OutsideLane {
    receiver: Receiver<Outside>,
    /// A message that found no room. Nothing is taken off the lane before it has gone its way, so
    /// the thread outside feels the congestion, and its messages stay in order.
    stuck: Option<Outside>,
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
    pub(crate) fn admit(&mut self, shard: &Shard, max: usize) -> usize {
        let mut count = 0;
        while count < max {
            let Some(outside) = self.stuck.take().or_else(|| self.receiver.pop()) else {
                break;
            };
            if let Some(stuck) = shard.admit(outside) {
                self.stuck = Some(stuck);
                break;
            }
            count += 1;
        }
        count
    }

    /// The lane and what was stuck, when the shard ends.
    pub(crate) fn into_parts(self) -> (Receiver<Outside>, Option<Outside>) {
        (self.receiver, self.stuck)
    }
}

impl Shard {
    /// Takes an envelope off a lane.
    pub(crate) fn take_in(self: &Rc<Self>, envelope: Envelope) {
        match envelope {
            Envelope::Letter(letter) => self.deliver(letter),
            Envelope::Reply { call, settled } => self.complete_settled(call, settled),
            Envelope::Answer {
                link,
                number,
                settled,
            } => {
                let shard = self.id();
                self.reply(
                    ReplyTo::Link {
                        shard,
                        link,
                        number,
                    },
                    settled,
                );
            }
            Envelope::Datagram(datagram) => {
                if let Some(links) = self.links.borrow_mut().as_mut() {
                    links.endpoint.handle_datagram(Instant::now(), datagram);
                }
            }
        }
    }

    /// Lets a message from outside in; gives it back if there is no room for it.
    fn admit(&self, outside: Outside) -> Option<Outside> {
        let Outside { message, call } = outside;
        if let Some(call) = call {
            let (message, call) = self.call_for_outside(message, call)?;
            return Some(Outside {
                message,
                call: Some(call),
            });
        }
        let (kind, name) = (message.target.id.kind, message.target.kind);
        match self.send(message, None, Micros::NEVER) {
            Ok(()) => None,
            Err((TellError::Busy, Some(message))) => Some(Outside {
                message,
                call: None,
            }),
            Err((error, message)) => {
                drop_quietly(message);
                // It was accepted from the thread: it counts as sent, and as lost.
                let mut kinds = self.kinds.borrow_mut();
                kinds.cell(kind, name, self.counters()).sent.add(1);
                drop(kinds);
                self.drop_for(kind, name, crate::status::reason_of(&error));
                None
            }
        }
    }

    /// Takes in what has arrived on links, at most `max` events. Returns how many there were.
    pub(crate) fn take_link_events(self: &Rc<Self>, max: usize) -> usize {
        for count in 0..max {
            let event = self
                .links
                .borrow_mut()
                .as_mut()
                .and_then(|links| links.endpoint.poll_event());
            match event {
                Some(event) => self.take_event(event),
                None => return count,
            }
        }
        max
    }

    fn take_event(self: &Rc<Self>, event: Event) {
        match event {
            Event::Frame { link, frame } => self.take_frame(link, frame),
            Event::Up { link, hello, .. } => {
                let shards = self
                    .node
                    .view
                    .member(hello.node)
                    .map_or(0, |peer| peer.shards);
                let now = Instant::now();
                if let Some(links) = self.links.borrow_mut().as_mut() {
                    links.up(link, &hello, shards, now);
                }
                self.pump_links();
            }
            Event::Kinds { link, kinds } => {
                if let Some(links) = self.links.borrow_mut().as_mut() {
                    links.learn_kinds(link, &kinds);
                }
            }
            Event::Down {
                link,
                peer,
                reason,
                sent,
            } => self.link_down(link, peer, &reason, sent),
            Event::Misrouted { shard, datagram } => {
                self.counters().misrouted.add(1);
                // Without room it is lost, as datagrams may be: its sender sends it again.
                drop(self.try_push(shard, Envelope::Datagram(datagram)));
            }
            // The transport may learn to tell more; what it tells now is all above.
            _ => {}
        }
    }

    fn take_frame(self: &Rc<Self>, link: LinkId, frame: Frame) {
        self.counters().frames_in.add(1);
        let Frame {
            header,
            key,
            payload,
        } = frame;
        let reply = match header.frame {
            FrameType::Tell => ReplyTo::Nobody,
            FrameType::Call => ReplyTo::Link {
                shard: self.id(),
                link,
                number: header.number,
            },
            FrameType::Reply => {
                let peer = self
                    .links
                    .borrow()
                    .as_ref()
                    .and_then(|links| links.peer(link));
                if let Some(node) = peer {
                    let call = CallId::from_u64(header.number);
                    self.complete_remote(call, (link, node), header.status, payload);
                }
                return;
            }
            // The transport keeps these to itself.
            FrameType::Hello | FrameType::Kinds | FrameType::Ack => return,
        };
        let Some(key) = key else { return };
        let id = GrainId::new(header.kind, key);
        let letter = Letter {
            hash: self.node.placement_key.hash(&id),
            id,
            method: header.method,
            arguments: Arguments::Bytes(payload),
            reply,
            deadline: self.deadline_from(header.deadline_us),
        };
        self.take_letter(letter);
    }

    /// A letter from a peer: ours, another shard's, or sent here by mistake.
    fn take_letter(self: &Rc<Self>, letter: Letter) {
        if self.node.refusing_peers.load(Ordering::Relaxed) {
            let cell = self.kinds.borrow().cell_or_unknown(letter.id.kind);
            let refused = (Status::ShuttingDown, String::new());
            return self.answer(&cell, letter.reply, Err(refused));
        }
        let hop = route(&self.node.view, self.me, letter.id.kind, letter.hash);
        match hop {
            Some(Hop::Here) => self.deliver(letter),
            Some(Hop::Lane(shard)) => {
                if let Err(Envelope::Letter(letter)) =
                    self.try_push(shard, Envelope::Letter(letter))
                {
                    let cell = self.kinds.borrow().cell_or_unknown(letter.id.kind);
                    cell.drop_for(Reason::LaneFull);
                    self.reply(letter.reply, Err((Status::Busy, String::new())));
                }
            }
            Some(Hop::Link { .. }) | None => {
                let cell = self.kinds.borrow().cell_or_unknown(letter.id.kind);
                self.answer(&cell, letter.reply, Err((Status::NotOwner, String::new())));
            }
        }
    }

    // Counted from now: the turn may have begun a while ago.
    fn deadline_from(&self, left_us: u32) -> Micros {
        match left_us {
            0 => Micros::NEVER,
            left => Micros::from_wire(left, self.node.micros(Instant::now())),
        }
    }

    pub(crate) fn link_down(
        &self,
        link: LinkId,
        peer: Option<NodeId>,
        reason: &LinkError,
        sent: Sent,
    ) {
        let wreck = match self.links.borrow_mut().as_mut() {
            Some(links) => links.down(link, reason, sent, self.now.get()),
            None => return,
        };
        self.counters().frames_unsent.add(sent.unsent());
        self.counters().frames_doubtful.add(sent.doubtful());
        self.counters()
            .replies_dropped
            .add(wreck.answers.len() as u64);
        drop_quietly(wreck.answers);
        for (kind, fate) in wreck.letters {
            let reason = match fate {
                Fate::Delivered => continue,
                Fate::Doubtful => Reason::LinkLost,
                Fate::Unsent => Reason::NodeUnreachable,
            };
            self.kinds.borrow().cell_or_unknown(kind).drop_for(reason);
        }
        if let Some(node) = peer {
            self.fail_calls_via(link, sent, node, &wreck.reason);
            for parcel in wreck.parcels {
                let reason = wreck.reason.clone();
                self.undeliverable(parcel, TellError::NodeUnreachable { node, reason });
            }
        }
    }

    /// Sends what waited for a link or for room on it.
    pub(crate) fn pump_links(&self) {
        let now = self.node.micros(Instant::now());
        let pumped = self
            .links
            .borrow_mut()
            .as_mut()
            .map(|links| links.pump(now));
        let Some(pumped) = pumped else { return };
        self.counters().frames_out.add(pumped.frames);
        drop_quietly(pumped.answers);
        for (parcel, link, number) in pumped.sent {
            if let Some(call) = parcel.call {
                self.note_via(call, link, number);
            }
            drop_quietly(parcel);
        }
        for parcel in pumped.expired {
            self.expire_parcel(parcel);
        }
        for (parcel, error) in pumped.refused {
            self.undeliverable(parcel, error);
        }
    }

    // Its call has ended or is about to: nobody waits for what it would do.
    fn expire_parcel(&self, parcel: Parcel) {
        let target = &parcel.message.target;
        self.drop_for(target.id.kind, target.kind, Reason::Expired);
        if let Some(call) = parcel.call {
            self.refuse_call(call, Refusal::Expired);
        }
        drop_quietly(parcel);
    }
}

/// How many envelopes of an inner lane are taken in one turn of the loop.
pub(crate) const LANE_BATCH: usize = 1024;

/// Takes what other shards have sent. Returns how much.
pub(crate) fn drain_lanes(shard: &Rc<Shard>, lanes: &mut [Receiver<Envelope>]) -> usize {
    let mut count = 0;
    for lane in lanes {
        count += lane.drain(LANE_BATCH, |envelope| shard.take_in(envelope));
    }
    shard.counters().lane_in.add(count as u64);
    count
}
