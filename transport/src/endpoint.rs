//! All links of one shard, and the socket that they share.
//!
//! The endpoint does nothing by itself: it has no clock, no thread and never waits. Its shard
//! calls it, in this order, as often as it likes:
//!
//! ```text
//! receive, handle_datagram   what came in is taken to the links
//! handle_timeout             what is due is done
//! poll_event until None      what happened (or fewer: the rest waits, and the peers with it)
//! send, dial, close          what the shard wants
//! flush                      what is to go out goes out
//! poll_timeout               when to come back at the latest, if the socket stays silent
//! ```
//!
//! Times given to it must not go backwards; one that does counts as the latest one given.

use std::{collections::VecDeque, net::SocketAddr, ops::Range, sync::Arc, time::Instant};

use bytes::Bytes;
use quinn_proto::{ServerConfig, TransportConfig, VarInt};
use rkyv::util::AlignedVec;
use slab::Slab;
use teff_wire::{
    CloseCode, FrameType, Header, Key, KindOffer, KindsError, NodeId, ShardId, Spot, To,
    encode_kinds,
};

use crate::{
    counters::Counters,
    error::{LinkError, Party, Refusal, SendError},
    event::{Event, LinkId},
    link::{Dialled, Link, Phase, greeting::Target},
    name::node_name,
    settings::{ByPath, Settings},
    socket::{Batch, Socket},
};

mod admission;
mod arena;
mod lossy;
mod lifecycle;
mod resuming;
mod arrival;
mod departure;
mod progress;
mod holding;
mod crossing;

use self::{admission::Admission, arena::Arena};

/// The links of one shard.
pub struct Endpoint {
    settings: Arc<Settings>,
    shard: ShardId,
    socket: Socket,
    quic: quinn_proto::Endpoint,
    /// QUIC parameters of links that this endpoint dials, and of those that it accepts.
    dialling: ByPath<TransportConfig>,
    accepting: ByPath<ServerConfig>,
    kinds: Vec<KindOffer>,
    /// How often `kinds` were announced.
    announced: u64,

    links: Slab<Link>,
    /// The number of the link that was dialled last.
    numbered: u64,
    /// How often each place in `links` was used.
    generations: Vec<u32>,
    /// The place in `links` of each connection that QUIC knows.
    slots: Vec<Option<u32>>,
    /// Accepted links whose hello is still to come, and who may begin more.
    admission: Admission,
    closing: bool,

    events: VecDeque<Event>,
    stirred: VecDeque<u32>,
    readable: VecDeque<u32>,
    dirty: VecDeque<u32>,

    now: Instant,
    /// No link has anything to do before this.
    earliest: Option<Instant>,

    batch: Batch,
    /// Received bytes are copied here, so that datagrams share allocations.
    arena: Arena,
    /// Datagrams on their way out.
    departing: Vec<u8>,
    /// A batch in `departing` that the socket did not take yet.
    blocked: Option<quinn_proto::Transmit>,
    /// Datagrams that answer without a link.
    answer: Vec<u8>,
    lossy: lossy::LossyTells,
    counters: Counters,
}

/// Why an endpoint cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The node has no such shard.
    #[error("shard {shard} does not exist, the node has {shards} shards counted from 0")]
    NoSuchShard {
        /// The shard asked for.
        shard: ShardId,
        /// How many the node has.
        shards: u16,
    },
}

impl Endpoint {
    /// The endpoint of one shard, on the socket of that shard.
    ///
    /// # Errors
    ///
    /// [`EndpointError::NoSuchShard`] when the settings know fewer shards.
    pub fn new(
        settings: Arc<Settings>,
        shard: ShardId,
        socket: Socket,
    ) -> Result<Self, EndpointError> {
        let shards = settings.local().shards;
        if shard.0 >= shards {
            return Err(EndpointError::NoSuchShard { shard, shards });
        }
        let accepting = settings.server();
        let quic = quinn_proto::Endpoint::new(
            Arc::new(settings.endpoint(shard)),
            Some(Arc::clone(&accepting.network)),
            !socket.may_fragment(),
            None,
        );
        Ok(Self {
            shard,
            socket,
            quic,
            dialling: settings.dialling(),
            accepting,
            kinds: settings.kinds().to_vec(),
            announced: 0,
            links: Slab::new(),
            numbered: 0,
            generations: Vec::new(),
            slots: Vec::new(),
            admission: Admission::new(settings.limits()),
            settings,
            closing: false,
            events: VecDeque::new(),
            stirred: VecDeque::new(),
            readable: VecDeque::new(),
            dirty: VecDeque::new(),
            now: Instant::now(),
            earliest: None,
            batch: Batch::new(),
            arena: Arena::default(),
            departing: Vec::new(),
            blocked: None,
            answer: Vec::new(),
            lossy: lossy::LossyTells::default(),
            counters: Counters::default(),
        })
    }

    /// The shard that this endpoint belongs to.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The socket, to wait on until it is readable (or writable, see
    /// [`is_blocked`](Self::is_blocked)).
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What this endpoint has seen and done.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether no link is left, in whatever state, and nothing waits to be sent.
    ///
    /// After [`close_all`](Self::close_all) this becomes true within three round trips, as long as
    /// the endpoint is driven; after that the socket can be dropped without anyone waiting for
    /// an answer.
    pub fn is_idle(&self) -> bool {
        self.links.is_empty() && self.blocked.is_none()
    }

    /// Whether the kernel's send buffer was full at the last flush: wait for the socket to become
    /// writable as well. [`poll_timeout`](Self::poll_timeout) brings a retry in any case.
    pub fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Starts a link to a shard of a peer. It is reported by `Up` or `Down`, never here.
    ///
    /// Frames may be sent at once; they wait until the link is up.
    pub fn dial(
        &mut self,
        now: Instant,
        peer: NodeId,
        address: SocketAddr,
        shard: ShardId,
    ) -> LinkId {
        let now = self.advance_clock(now);
        let refused = |refusal| LinkError::Refused {
            by: Party::Here,
            refusal,
        };
        if self.links.len() >= self.settings.limits().links {
            return self.stillborn(peer, refused(Refusal::TooManyLinks));
        }
        if self.is_just_met(peer, shard) {
            return self.stillborn(peer, refused(Refusal::Crossed));
        }
        let Some(address) = self.reachable(address) else {
            return self.stillborn(peer, LinkError::InvalidAddress);
        };
        let config = self.settings.client(shard, self.dialling.to(address));
        let name = node_name(&self.settings.local().cluster, peer);
        match self.quic.connect(now, config, address, &name) {
            Ok(connection) => {
                self.counters.dialled += 1;
                let target = Target { node: peer, shard };
                let id = self.insert(connection, Some(Dialled { target, address }));
                self.numbered += 1;
                self.links[id.slot as usize].number = self.numbered;
                self.say_hello(id.slot as usize, shard);
                id
            }
            Err(quinn_proto::ConnectError::InvalidRemoteAddress(_)) => {
                self.stillborn(peer, LinkError::InvalidAddress)
            }
            Err(error) => {
                let cause = error.to_string();
                self.stillborn(
                    peer,
                    LinkError::Quic {
                        by: Party::Here,
                        cause,
                    },
                )
            }
        }
    }

    /// Appends a data frame (tell, call, reply) to a link and returns its number on that link,
    /// counted from 0: [`Sent::fate`](crate::Sent::fate) tells what became of it if the link ends.
    /// Beside the key of the grain that a tell or call is for stands its placement hash.
    ///
    /// `payload` appends to the vector that it is given, at a 16-aligned position. Nothing goes out
    /// before the next [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// [`SendError::Down`] when the link has ended, [`SendError::Busy`] while as many bytes wait
    /// on it as may, [`SendError::TooLarge`] and [`SendError::Payload`] when the frame cannot be
    /// written. The link is as it was before.
    ///
    /// # Panics
    ///
    /// When `header` is not that of a tell, call or reply, or a tell or call has no key.
    pub fn send<E>(
        &mut self,
        link: LinkId,
        header: &Header,
        grain: Option<(&Key, u64)>,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<u64, SendError<E>> {
        self.send_to(link, header, grain.map(To::from), payload)
    }

    /// As [`send`](Self::send), for who has a [`Spot`] beside the key.
    ///
    /// # Errors
    ///
    /// As with [`send`](Self::send).
    ///
    /// # Panics
    ///
    /// As with [`send`](Self::send).
    pub fn send_to<E>(
        &mut self,
        link: LinkId,
        header: &Header,
        grain: Option<To<'_>>,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<u64, SendError<E>> {
        let Some(slot) = self.find(link) else {
            return Err(SendError::Down);
        };
        let number = self.links[slot].outbox.send(header, grain, payload)?;
        self.mark_dirty(slot);
        Ok(number)
    }

    /// Sends a tell or call to a grain that was sent to over the same link before, if nothing is in
    /// the way. In every other case nothing happens and `None` is returned: then
    /// [`send_to`](Self::send_to) does it, or says why not. The short way for most of what leaves.
    #[inline(always)]
    pub fn express<E>(
        &mut self,
        id: LinkId,
        header: &Header,
        spot: &Spot,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Option<u64> {
        let link = self.links.get_mut(id.slot as usize)?;
        if link.id != id {
            return None;
        }
        // Of a link that has ended nothing is left to find the grain in.
        let number = link.outbox.express(header, spot, payload)?;
        if !link.queued.dirty {
            self.mark_dirty(id.slot as usize);
        }
        Some(number)
    }

    /// Tells the peer of a link that the mailbox of the grain with this placement hash is full, or
    /// has room again: [`Event::Pressure`] there. Means nothing on a link without a connection:
    /// after [`Event::Resumed`] the peer takes no mailbox for full.
    pub fn press(&mut self, link: LinkId, hash: u64, full: bool) {
        if let Some(slot) = self.find(link)
            && self.links[slot].phase == Phase::Up
        {
            self.links[slot].control.press(hash, full);
            self.mark_dirty(slot);
        }
    }

    /// How many data frames were sent on a link and are not acknowledged yet. 0 when the link has
    /// ended: what is in doubt then was told by `Down`.
    pub fn unacknowledged(&self, link: LinkId) -> u64 {
        self.find(link).map_or(0, |slot| {
            let sent = self.links[slot].outbox.sent();
            sent.written - sent.acknowledged
        })
    }

    /// How many data frames of those sent on a link were acknowledged. `None` when the link has
    /// ended: its `Down` tells, or told, what became of each.
    pub fn acknowledged(&self, link: LinkId) -> Option<u64> {
        self.find(link)
            .map(|slot| self.links[slot].outbox.sent().acknowledged)
    }

    /// How many bytes wait on a link before QUIC takes them.
    pub fn buffered(&self, link: LinkId) -> usize {
        self.find(link)
            .map_or(0, |slot| self.links[slot].outbox.buffered())
    }

    /// Tells all peers which kinds this node offers from here on, and those to come as well.
    ///
    /// # Errors
    ///
    /// [`KindsError`] for more kinds or longer names than a frame can carry, or one kind twice;
    /// then nothing changes.
    pub fn announce_kinds(&mut self, kinds: &[KindOffer]) -> Result<(), KindsError> {
        encode_kinds(kinds, &mut AlignedVec::new())?;
        self.kinds = kinds.to_vec();
        self.announced += 1;
        for slot in self.places() {
            if self
                .links
                .get(slot)
                .is_some_and(|link| link.phase == Phase::Up)
            {
                self.tell_kinds(slot);
            }
        }
        Ok(())
    }

    /// Ends a link. `Down` follows. Frames that the peer has not acknowledged may be lost, see
    /// [`unacknowledged`](Self::unacknowledged). An id of a link that has ended is ignored.
    pub fn close(&mut self, now: Instant, link: LinkId, code: CloseCode) {
        let now = self.advance_clock(now);
        if let Some(slot) = self.find(link) {
            self.guarded(slot, |this, slot| {
                this.links[slot]
                    .connection
                    .close(now, quic_code(code), Bytes::new());
                this.end(
                    slot,
                    LinkError::Closed {
                        by: Party::Here,
                        code,
                    },
                    String::new(),
                );
            });
        }
    }

    /// Ends all links and accepts no more. Drive the endpoint until it
    /// [is idle](Self::is_idle) to let the peers know.
    pub fn close_all(&mut self, now: Instant, code: CloseCode) {
        self.closing = true;
        for slot in self.places() {
            if let Some(id) = self.links.get(slot).map(|link| link.id) {
                self.close(now, id, code);
            }
        }
    }

    // What follows is for the three stages in the modules below.

    /// The latest time that was given.
    fn advance_clock(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// The slot of a link that has not ended.
    #[inline]
    fn find(&self, id: LinkId) -> Option<usize> {
        let slot = id.slot as usize;
        self.links
            .get(slot)
            .filter(|link| link.id == id && link.phase != Phase::Ended)
            .map(|_| slot)
    }

    /// All places that were ever used.
    fn places(&self) -> Range<usize> {
        0..self.generations.len()
    }

    /// The address as the socket's family writes it, if it can be reached from there.
    fn reachable(&self, address: SocketAddr) -> Option<SocketAddr> {
        match (self.socket.local_addr(), address) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                Some((v4.ip().to_ipv6_mapped(), v4.port()).into())
            }
            (SocketAddr::V4(_), SocketAddr::V6(_)) => None,
            _ => Some(address),
        }
    }

    fn stir(&mut self, slot: usize) {
        let queued = &mut self.links[slot].queued;
        if !std::mem::replace(&mut queued.stirred, true) {
            self.stirred.push_back(slot as u32);
        }
    }

    #[inline]
    fn mark_dirty(&mut self, slot: usize) {
        let queued = &mut self.links[slot].queued;
        if !std::mem::replace(&mut queued.dirty, true) {
            self.dirty.push_back(slot as u32);
        }
    }

    fn mark_readable(&mut self, slot: usize) {
        let queued = &mut self.links[slot].queued;
        if !std::mem::replace(&mut queued.readable, true) {
            self.readable.push_back(slot as u32);
        }
    }

    /// Notes that a link has something to do at `time`.
    fn wake_at(&mut self, time: Option<Instant>) {
        if let Some(time) = time {
            self.earliest = Some(self.earliest.map_or(time, |earliest| earliest.min(time)));
        }
    }

    fn say_hello(&mut self, slot: usize, to: ShardId) {
        let mut hello = self.settings.hello(self.shard, to, &self.kinds);
        let link = &mut self.links[slot];
        hello.link = link.number;
        if let Some(incarnation) = link.incarnation.filter(|_| link.resumption.is_some()) {
            hello.resumes = incarnation;
            hello.taken_in = link.inbox.resume(self.now);
        }
        link.kinds = self.announced;
        link.outbox
            .greet(&Header::new(FrameType::Hello), |out| hello.encode(out))
            .expect("the parts of a hello are checked with the settings");
    }

    fn tell_kinds(&mut self, slot: usize) {
        let link = &mut self.links[slot];
        link.kinds = self.announced;
        link.control
            .tell_kinds(&self.kinds)
            .expect("the kinds are checked when they are announced");
        self.mark_dirty(slot);
    }
}

fn quic_code(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.to_u32())
}

#[cfg(test)]
mod tests;
