//! The way in: from the socket to the links.
//!
//! Every datagram is looked at for its shard first, so QUIC never sees one of another shard and
//! never answers one with a reset. Diallers have to prove their address before anything is kept
//! for them.

use std::{
    io,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use bytes::BytesMut;
use quinn_proto::{ConnectionEvent, ConnectionHandle, DatagramEvent, EcnCodepoint, Incoming};

use super::Endpoint;
use crate::{
    error::{LinkError, Party, Refusal},
    event::{Datagram, Event},
    link::{Phase, greeting::Refused},
    steering::shard_of,
};

impl Endpoint {
    /// Takes one batch of datagrams from the socket and returns how many there were; 0 when the
    /// socket has none. Those for other shards become [`Event::Misrouted`].
    ///
    /// # Errors
    ///
    /// What the operating system says if the socket cannot be read at all.
    pub fn receive(&mut self, now: Instant) -> io::Result<usize> {
        let now = self.advance_clock(now);
        let buffers = self.socket.receive(&mut self.batch)?;
        let mut count = 0;
        for index in 0..buffers {
            let (meta, bytes) = self.batch.get(index);
            let (remote, local_ip) = (meta.addr, meta.dst_ip);
            let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
            let stride = meta.stride.max(1);
            let mut rest = self.arena.copy(bytes);
            loop {
                let bytes = rest.split_to(stride.min(rest.len()));
                count += 1;
                self.arrive(
                    now,
                    Datagram {
                        remote,
                        local_ip,
                        ecn,
                        bytes,
                    },
                );
                if rest.is_empty() {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// Takes a datagram that another shard of this node received, from its
    /// [`Event::Misrouted`]. One that is not for this shard either is dropped.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram) {
        let now = self.advance_clock(now);
        self.counters.rerouted += 1;
        if shard_of(&datagram.bytes, self.settings.local().shards) == self.shard {
            self.deliver(now, datagram);
        } else {
            self.counters.garbage += 1;
        }
    }

    /// Does what has become due. Cheap if nothing has.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance_clock(now);
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return;
        }
        self.earliest = None;
        for slot in self.places() {
            if self.links.contains(slot) {
                self.guarded(slot, |this, slot| this.handle_link_timeout(now, slot));
            }
        }
    }

    fn handle_link_timeout(&mut self, now: Instant, slot: usize) {
        let link = &mut self.links[slot];
        match link.timeout() {
            Some(due) if due <= now => {}
            later => return self.wake_at(later),
        }
        if link.phase == Phase::Broken {
            return self.handle_broken(now, slot);
        }
        link.connection.handle_timeout(now);
        if link.is_late(now) {
            let detail = "not up in time".to_owned();
            if link.resumption.is_some() {
                self.lose(slot, LinkError::Unreachable, detail);
            } else if link.heard() {
                self.refuse(
                    slot,
                    Refused {
                        refusal: Refusal::HelloTimeout,
                        detail,
                    },
                );
            } else {
                let code = super::quic_code(teff_wire::CloseCode::HelloTimeout);
                link.connection.close(now, code, bytes::Bytes::new());
                self.end(slot, LinkError::Unreachable, detail);
            }
        }
        // The flush that follows says when to come back.
        if self.links.contains(slot) {
            self.stir(slot);
            self.mark_dirty(slot);
        }
    }

    /// A datagram from the socket.
    fn arrive(&mut self, now: Instant, mut datagram: Datagram) {
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += datagram.bytes.len() as u64;
        let shard = shard_of(&datagram.bytes, self.settings.local().shards);
        if shard == self.shard {
            self.deliver(now, datagram);
            return;
        }
        self.counters.misrouted += 1;
        // A copy of its own, so that another shard does not keep this one's memory.
        datagram.bytes = BytesMut::from(&datagram.bytes[..]);
        self.events.push_back(Event::Misrouted { shard, datagram });
    }

    /// A datagram of this shard.
    fn deliver(&mut self, now: Instant, datagram: Datagram) {
        let Datagram {
            remote,
            local_ip,
            ecn,
            bytes,
        } = datagram;
        self.answer.clear();
        let handled = catch_unwind(AssertUnwindSafe(|| {
            self.quic
                .handle(now, remote, local_ip, ecn, bytes, &mut self.answer)
        }));
        match handled {
            Ok(Some(DatagramEvent::ConnectionEvent(handle, event))) => self.pass_on(handle, event),
            Ok(Some(DatagramEvent::NewConnection(incoming))) => self.admit(now, incoming),
            Ok(Some(DatagramEvent::Response(transmit))) => {
                self.counters.answered += 1;
                self.send_answer(&transmit);
            }
            Ok(None) => self.counters.garbage += 1,
            Err(_) => self.counters.panics += 1,
        }
    }

    /// A datagram of a link, or new connection ids for it.
    pub(super) fn pass_on(&mut self, handle: ConnectionHandle, event: ConnectionEvent) {
        let Some(slot) = self.slots.get(handle.0).copied().flatten() else {
            self.counters.garbage += 1;
            return;
        };
        self.guarded(slot as usize, |this, slot| {
            this.links[slot].connection.handle_event(event);
            this.stir(slot);
            this.mark_dirty(slot);
        });
    }

    /// Somebody wants a link.
    fn admit(&mut self, now: Instant, incoming: Incoming) {
        self.answer.clear();
        if !incoming.remote_address_validated() {
            match self.quic.retry(incoming, &mut self.answer) {
                Ok(transmit) => {
                    self.counters.answered += 1;
                    self.send_answer(&transmit);
                }
                Err(error) => self.quic.ignore(error.into_incoming()),
            }
            return;
        }
        match self.begin_handshake(now, incoming.remote_address().ip()) {
            Ok(()) => self.accept(now, incoming),
            Err(refusal) => {
                let transmit = self.quic.refuse(incoming, &mut self.answer);
                self.counters.refused.count(Party::Here, refusal);
                self.send_answer(&transmit);
            }
        }
    }

    fn begin_handshake(&mut self, now: Instant, address: IpAddr) -> Result<(), Refusal> {
        if self.closing || self.links.len() >= self.settings.limits().links {
            return Err(Refusal::Busy);
        }
        self.admission.begin(now, address)
    }

    fn accept(&mut self, now: Instant, incoming: Incoming) {
        let remote = incoming.remote_address();
        let config = Some(Arc::clone(self.accepting.to(remote)));
        let accepted = catch_unwind(AssertUnwindSafe(|| {
            self.quic
                .accept(incoming, now, &mut self.answer, config)
                .map_err(Box::new)
        }));
        match accepted {
            Ok(Ok(connection)) => {
                self.counters.accepted += 1;
                self.insert(connection, None);
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!("a handshake failed at its first packet: {}", error.cause);
                self.counters.garbage += 1;
                if let Some(transmit) = error.response {
                    self.send_answer(&transmit);
                }
            }
            Err(_) => self.counters.panics += 1,
        }
        self.admission.end(remote.ip());
    }
}
