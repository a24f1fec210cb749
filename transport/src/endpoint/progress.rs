//! What happened: from the links to the shard.
//!
//! Protocol events of links come first, because they may bring links up or down; then frames that
//! were read already, then lossy tells, then what is to be read, a turn per link, so that a busy
//! link does not keep the others waiting. A link whose connection is lost is read to its end before
//! it is reported as down.

use quinn_proto::{Event as QuicEvent, StreamEvent};
use teff_wire::{Frame, FrameType, Hello, Incarnation, Run, decode_kinds};

use super::Endpoint;
use crate::{
    error::{Refusal, quic},
    event::{Event, LinkId},
    link::{
        Phase,
        greeting::{self, Refused},
        inbox::Pull,
    },
};

impl Endpoint {
    /// What happened next, or `None` when everything that has arrived was told.
    ///
    /// Reads frames only as they are asked for: what is left waits, and stops its sender.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.advance_stirred() {
                continue;
            }
            let slot = *self.readable.front()? as usize;
            let Some(link) = self.links.get_mut(slot).filter(|link| link.queued.readable) else {
                self.readable.pop_front();
                continue;
            };
            // Frames that were read already need nothing of QUIC, so they go the short way.
            if link.phase == Phase::Up
                && let Some(frame) = link.control.next()
            {
                let done = self.guarded(slot, |this, slot| {
                    this.take_control(slot, &frame).unwrap_or_else(|refused| {
                        this.refuse(slot, refused);
                        None
                    })
                });
                if let Some(event) = done.flatten() {
                    return Some(event);
                }
                continue;
            }
            if link.is_held() {
                self.guarded(slot, Self::read_held);
                continue;
            }
            if link.phase == Phase::Up
                && let Some(datagram) = link
                    .lossy
                    .next(&mut link.connection, &mut self.lossy.losses)
            {
                let read = self.guarded(slot, |this, slot| this.take_lossy(slot, &datagram));
                if let Some(event) = read.flatten() {
                    return Some(event);
                }
                continue;
            }
            if matches!(link.phase, Phase::Up | Phase::Broken)
                && let Some(frame) = link.inbox.next()
            {
                if frame.header.frame.is_data() {
                    return Some(self.take_in(slot, frame));
                }
                let refused = out_of_place(frame.header.frame);
                self.guarded(slot, |this, slot| this.refuse(slot, refused));
                continue;
            }
            self.guarded(slot, Self::read);
        }
    }

    /// Lends out data frames where they lie, if some were read already and nothing else is to be
    /// told first; `None` leaves them to [`poll_event`](Self::poll_event). The short way for most
    /// of what arrives: nothing is copied, and no reference counted, that is not wanted. The run
    /// has to be [put back](Self::put_back) before anything else is asked of the endpoint but to
    /// send.
    #[inline]
    pub fn take_run(&mut self) -> Option<(LinkId, Run)> {
        if !self.events.is_empty() || !self.stirred.is_empty() {
            return None;
        }
        let slot = *self.readable.front()? as usize;
        let link = self.links.get_mut(slot)?;
        if link.held || link.phase != Phase::Up || !link.control.is_read() {
            return None;
        }
        Some((link.id, link.inbox.take_run()?))
    }

    /// Takes back what is left of a run. The frames that were taken count as taken in.
    #[inline]
    pub fn put_back(&mut self, id: LinkId, run: Run) {
        let taken = run.taken();
        self.counters.frames_in += taken;
        let Some(slot) = self.find(id) else {
            // The link has ended meanwhile: nobody will ask for the rest.
            return;
        };
        let inbox = &mut self.links[slot].inbox;
        inbox.put_back(run);
        if taken > 0
            && let Some(due) = inbox.take_in(self.now)
        {
            self.wake_at(Some(due));
        }
    }

    /// Lets the links that were touched say what follows. Whether there were any.
    pub(super) fn advance_stirred(&mut self) -> bool {
        let mut any = false;
        while let Some(slot) = self.stirred.pop_front() {
            let slot = slot as usize;
            let Some(link) = self.links.get_mut(slot) else {
                continue;
            };
            if std::mem::take(&mut link.queued.stirred) {
                any = true;
                self.guarded(slot, Self::advance);
            }
        }
        any
    }

    /// Lets QUIC say what became of a link.
    fn advance(&mut self, slot: usize) {
        if self.links[slot].drained {
            return;
        }
        self.exchange(slot);
        while let Some(event) = self
            .links
            .get_mut(slot)
            .filter(|link| link.phase != Phase::Broken)
            .and_then(|link| link.connection.poll())
        {
            let link = &mut self.links[slot];
            match event {
                QuicEvent::Connected => {
                    link.connected();
                    self.mark_readable(slot);
                    self.mark_dirty(slot);
                }
                QuicEvent::Stream(StreamEvent::Opened { .. }) => {
                    link.opened();
                    self.mark_readable(slot);
                }
                QuicEvent::Stream(StreamEvent::Readable { .. }) => self.mark_readable(slot),
                QuicEvent::DatagramReceived => {
                    link.lossy.arrived();
                    self.mark_readable(slot);
                }
                QuicEvent::ConnectionLost { reason } if link.phase != Phase::Ended => {
                    let about = quic::Circumstances {
                        dialled: link.dialled.is_some(),
                        heard: link.heard(),
                    };
                    link.lost = Some(quic::lost(&reason, about));
                    self.mark_readable(slot);
                }
                QuicEvent::Stream(StreamEvent::Stopped { id, .. })
                    if link.phase != Phase::Ended && link.needs(id) =>
                {
                    let detail = "the peer stopped the stream of the link".to_owned();
                    self.refuse(
                        slot,
                        Refused {
                            refusal: Refusal::Malformed,
                            detail,
                        },
                    );
                }
                QuicEvent::ConnectionLost { .. }
                | QuicEvent::Stream(
                    StreamEvent::Stopped { .. }
                    | StreamEvent::Finished { .. }
                    | StreamEvent::Writable { .. }
                    | StreamEvent::Available { .. },
                )
                | QuicEvent::HandshakeDataReady
                | QuicEvent::DatagramsUnblocked => {}
            }
        }
    }

    /// Carries events between a connection and QUIC's endpoint.
    fn exchange(&mut self, slot: usize) {
        while let Some(event) = self.links[slot].connection.poll_endpoint_events() {
            let link = &mut self.links[slot];
            let handle = link.handle;
            let drained = event.is_drained();
            if let Some(event) = self.quic.handle_event(handle, event) {
                link.connection.handle_event(event);
                self.mark_dirty(slot);
            }
            if drained {
                self.links[slot].drained = true;
                self.slots[handle.0] = None;
                self.free_if_over(slot);
                return;
            }
        }
    }

    /// Reads from the link whose turn it is, until it has frames or something to say.
    fn read(&mut self, slot: usize) {
        loop {
            match self.links[slot].phase {
                Phase::Ended | Phase::Broken => return self.dry(slot),
                Phase::Greeting => {
                    if self.greet(slot) {
                        return;
                    }
                }
                Phase::Handshaking | Phase::Up => {}
            }
            match self.links[slot].pull() {
                Pull::Some => {
                    self.mark_dirty(slot);
                    if self.links[slot].phase == Phase::Up {
                        return;
                    }
                }
                Pull::NextTurn => {
                    self.links[slot].lossy.begin_turn();
                    return self.readable.rotate_left(1);
                }
                Pull::Empty => return self.dry(slot),
            }
        }
    }

    /// Nothing more can be read from a link for now.
    fn dry(&mut self, slot: usize) {
        let link = &mut self.links[slot];
        if link.lossy.begin_turn() && link.phase == Phase::Up {
            return self.readable.rotate_left(1);
        }
        self.readable.pop_front();
        link.queued.readable = false;
        if matches!(link.phase, Phase::Ended | Phase::Broken) {
            return;
        }
        if let Some((reason, detail)) = link.lost.take() {
            self.lose(slot, reason, detail);
        } else if let Some(detail) = link.broken() {
            self.refuse(
                slot,
                Refused {
                    refusal: Refusal::Malformed,
                    detail,
                },
            );
        }
    }

    /// Looks for the peer's hello in what was read. Whether the link came up or ended by it.
    fn greet(&mut self, slot: usize) -> bool {
        let link = &mut self.links[slot];
        let Some(frame) = link.inbox.hello() else {
            link.inbox.expect_hello();
            return false;
        };
        let hello = greeting::read(&frame).and_then(|hello| {
            let certificate = link.certificate();
            greeting::check(
                &self.settings,
                self.shard,
                link.dialled.map(|dialled| dialled.target),
                &hello,
                certificate.as_ref(),
            )?;
            Ok(hello)
        });
        let hello = match hello {
            Ok(hello) => hello,
            Err(refused) => {
                self.refuse(slot, refused);
                return true;
            }
        };
        if let Err(refused) = self.meet(slot, hello) {
            self.refuse(slot, refused);
        }
        true
    }

    /// The peer's hello is in order: the link comes up, or a broken one goes on.
    fn meet(&mut self, slot: usize, hello: Hello) -> Result<(), Refused> {
        self.end_earlier(hello.node, hello.incarnation);
        let Some(link) = self.links.get_mut(slot).filter(|link| link.is_early()) else {
            // It was with an earlier start itself.
            return Ok(());
        };
        if link.resumption.is_some() {
            return self.resume(slot, &hello);
        }
        if link.dialled.is_none() && hello.resumes != Incarnation(0) {
            return self.adopt(slot, &hello);
        }
        link.peer = Some(hello.node);
        link.peer_shard = Some(hello.from_shard);
        self.room_for(slot)?;
        self.settle_crossing(slot)?;
        self.come_up(slot, hello);
        Ok(())
    }

    /// Whether another link with the same shard of the same peer is of use.
    fn room_for(&self, slot: usize) -> Result<(), Refused> {
        let wanted = &self.links[slot];
        let same = |link: &crate::link::Link| {
            link.phase == Phase::Up
                && (link.peer, link.peer_shard) == (wanted.peer, wanted.peer_shard)
        };
        let up = self.links.iter().filter(|(_, link)| same(link)).count();
        if up < self.settings.limits().links_per_pair {
            return Ok(());
        }
        let detail = format!("{up} links are up between these shards");
        Err(Refused {
            refusal: Refusal::TooManyLinks,
            detail,
        })
    }

    fn come_up(&mut self, slot: usize, hello: Hello) {
        let link = &mut self.links[slot];
        let (id, dialled) = (link.id, link.dialled.is_some());
        link.phase = Phase::Up;
        link.incarnation = Some(hello.incarnation);
        link.outbox.open();
        if !dialled {
            self.admission.end(link.connection.remote_address().ip());
            link.number = hello.link;
            self.say_hello(slot, hello.from_shard);
        } else if link.kinds != self.announced {
            self.tell_kinds(slot);
        }
        self.counters.links_up += 1;
        tracing::debug!(
            node = %self.settings.local().node,
            shard = %self.shard,
            peer = %hello.node,
            peer_shard = %hello.from_shard,
            dialled,
            "link up"
        );
        self.mark_dirty(slot);
        self.mark_readable(slot);
        self.events.push_back(Event::Up {
            link: id,
            hello,
            dialled,
        });
    }

    /// Hands out a data frame.
    fn take_in(&mut self, slot: usize, frame: Frame) -> Event {
        let link = &mut self.links[slot];
        let id = link.id;
        if let Some(due) = link.inbox.take_in(self.now) {
            self.wake_at(Some(due));
        }
        self.counters.frames_in += 1;
        Event::Frame { link: id, frame }
    }

    /// Does what a frame of the link itself says.
    fn take_control(&mut self, slot: usize, frame: &Frame) -> Result<Option<Event>, Refused> {
        let link = &mut self.links[slot];
        let malformed = |detail| Refused {
            refusal: Refusal::Malformed,
            detail,
        };
        match frame.header.frame {
            FrameType::Ack if link.outbox.acknowledged(frame.header.number) => Ok(None),
            FrameType::Ack => {
                let detail = format!("{} frames cannot be acknowledged", frame.header.number);
                Err(malformed(detail))
            }
            FrameType::Full | FrameType::Room => Ok(Some(Event::Pressure {
                link: link.id,
                hash: frame.header.number,
                full: frame.header.frame == FrameType::Full,
            })),
            FrameType::Kinds => {
                let kinds = decode_kinds(&frame.payload).map_err(|e| malformed(e.to_string()))?;
                Ok(Some(Event::Kinds {
                    link: link.id,
                    kinds,
                }))
            }
            kind => Err(out_of_place(kind)),
        }
    }
}

fn out_of_place(kind: FrameType) -> Refused {
    Refused {
        refusal: Refusal::Malformed,
        detail: format!("a {kind} frame out of place"),
    }
}
