//! Which link leads to which shard of which node, and what waits for one.
//!
//! Between two nodes every shard has a link to every shard, or, where those would be too many, to
//! its partner only, which passes on what is not its own: see [`Pairing`].
//!
//! A link is dialled by the first message that needs it. Until it is up, messages wait as values,
//! bounded; they are encoded when the peer's contracts are known, because a message whose
//! contract the peer does not share must be refused and not misread. After a failed attempt
//! messages are refused at once until the back-off is over; the next one dials again.

mod backoff;
mod frames;
mod lossy;
mod peers;
mod routes;
mod waiting;
mod yielding;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use teff_contract::{LinkReason, Outgoing, Payload, Target, TellError};
use teff_core::hash::GrainHash;
use teff_core::pairing::Pairing;
use teff_core::placement::Owner;
use teff_core::time::Micros;
use teff_core::view::View;
use teff_transport::{Endpoint, Fate, LinkError, LinkId, Sent};
use teff_wire::{CallId, CloseCode, Epoch, Hello, KindId, KindOffer, MethodId, NodeId};

use self::backoff::backoff;
use self::frames::{Answered, Outbound, answer, express, send};
use self::peers::{Peer, Peers};
use self::routes::{Routes, State};
use self::waiting::Waiting;
use self::yielding::{MEMBER, dial};
use crate::envelope::Settled;

/// The links of one shard.
pub(crate) struct Links {
    pub endpoint: Endpoint,
    view: Arc<View>,
    epoch: Epoch,
    /// How many shards this node has.
    shards: u16,
    routes: Routes,
    peers: Peers,
    bounds: Bounds,
    /// When a route that waits for the peer's own link is to be dialled again.
    redial_at: Option<Instant>,
}

/// How much links may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many parcels wait for each.
    pub queue: usize,
    /// How many make a mesh between two nodes.
    pub mesh: usize,
}

/// A message that is to leave over a link.
pub(crate) struct Parcel {
    pub target: Target,
    pub method: MethodId,
    pub payload: Payload,
    pub call: Option<CallId>,
    pub deadline: Micros,
}

/// What became of a parcel.
pub(crate) enum Posted {
    /// It left on this link, as the frame of this number; the message is of no more use.
    Sent(LinkId, u64),
    /// It was taken, and waits for its link.
    Queued,
}

/// What became of parcels and answers that had waited. The values come back, because their
/// destructors are user code, which must not run while the links are borrowed.
#[derive(Default)]
pub(crate) struct Pumped {
    pub sent: Vec<(Parcel, LinkId, u64)>,
    pub expired: Vec<Parcel>,
    pub refused: Vec<(Parcel, TellError)>,
    pub answers: Vec<Settled>,
}

/// What a link leaves behind when it goes down.
pub(crate) struct Wreck {
    /// Those that waited for it and have no other way.
    pub parcels: VecDeque<Parcel>,
    /// Those that waited for room on it.
    pub answers: Waiting,
    /// The kinds of the letters that were not acknowledged, and what became of each.
    pub letters: Vec<(KindId, Fate)>,
    pub reason: LinkReason,
}

impl Links {
    /// No links yet. The node has so many `shards`.
    pub(crate) fn new(endpoint: Endpoint, view: Arc<View>, shards: u16, bounds: Bounds) -> Self {
        Self {
            endpoint,
            epoch: view.epoch(),
            view,
            shards,
            routes: Routes::default(),
            peers: Peers::default(),
            bounds,
            redial_at: None,
        }
    }

    /// Sends a message over the link to its destination if that is up and nothing is in the way. In
    /// every other case it does nothing.
    #[inline(always)]
    pub(crate) fn try_express(
        &mut self,
        message: &Outgoing<'_>,
        (call, deadline): (Option<CallId>, Micros),
        to: Owner,
        now: Micros,
    ) -> Option<(LinkId, u64)> {
        let link = self.routes.clear(to)?;
        let peer = self.peers.get_mut(link)?;
        let outbound = Outbound {
            target: message.target,
            method: message.method,
            payload: message.payload,
            call,
            deadline,
        };
        let number = express(&mut self.endpoint, (link, peer), self.epoch, &outbound, now)?;
        if !peer.is_listed() {
            self.peers.list(link);
        }
        Some((link, number))
    }

    /// How many links are up.
    pub(crate) fn count(&self) -> usize {
        self.peers.len()
    }

    /// Sends a message over the link to its destination, or lets it wait for that link, which is
    /// dialled if need be.
    pub(crate) fn post(
        &mut self,
        message: &mut Outgoing<'_>,
        (call, deadline): (Option<CallId>, Micros),
        to: Owner,
        now: (Instant, Micros),
    ) -> Result<Posted, TellError> {
        let place = self.way(to, now.0);
        let (end, route) = self.routes.at(place);
        if let State::Down { until, reason } = &route.state {
            if now.0 < *until {
                let reason = reason.clone();
                let node = to.node;
                return Err(TellError::NodeUnreachable { node, reason });
            }
            route.state = dial(&mut self.endpoint, &self.view, end, now.0);
        }
        if let State::Up(link) = route.state
            && route.waiting.is_empty()
        {
            let peer = self.peers.get_mut(link).expect(PEER);
            if peer.is_full(GrainHash(message.target.hash)) {
                return Err(TellError::Busy);
            }
            let outbound = Outbound {
                target: message.target,
                method: message.method,
                payload: message.payload,
                call,
                deadline,
            };
            let sent = send(
                &mut self.endpoint,
                (link, peer),
                self.epoch,
                &outbound,
                now.1,
            );
            let number = sent?;
            if !peer.is_listed() {
                self.peers.list(link);
            }
            return Ok(Posted::Sent(link, number));
        }
        if route.waiting.len() >= self.bounds.queue {
            return Err(TellError::Busy);
        }
        let parcel = Parcel {
            target: message.target.clone(),
            method: message.method,
            payload: std::mem::take(message.payload),
            call,
            deadline,
        };
        self.routes.let_wait(place, parcel);
        Ok(Posted::Queued)
    }

    /// The place of the route to the grains of a shard, which is dialled if there was none.
    fn way(&mut self, to: Owner, now: Instant) -> usize {
        let Self {
            endpoint,
            view,
            shards,
            bounds,
            ..
        } = self;
        let from = endpoint.shard();
        let end = || {
            let there = view.member(to.node).expect(MEMBER).shards;
            let shard = Pairing::new(*shards, there, bounds.mesh).via(from, to.shard);
            Owner { shard, ..to }
        };
        let dial = |end| dial(endpoint, view, end, now);
        self.routes.way(to, end, dial)
    }

    /// A link is up: messages to that shard may take it from here on.
    pub(crate) fn up(&mut self, link: LinkId, hello: &Hello, now: Instant) {
        let (node, shard) = (hello.node, hello.from_shard);
        let shards = self.view.member(node).map_or(0, |peer| peer.shards);
        if shard.0 >= shards {
            // No honest peer has such a shard, and a dishonest one could make up many.
            self.endpoint.close(now, link, CloseCode::Protocol);
            return;
        }
        let peer = Peer::new(node, shard, &hello.kinds);
        self.peers.insert(link, peer);
        let end = Owner { node, shard };
        let route = self.routes.ending_at(end, || State::Up(link));
        // A link of the peer's own also replaces one that we are still dialling: nothing has left
        // on that, and what waits for it waits in the route.
        if !matches!(route.state, State::Up(_)) {
            route.state = State::Up(link);
        }
        route.failures = 0;
    }

    /// The peer says of a mailbox that it is full, or has room again.
    pub(crate) fn learn_pressure(&mut self, link: LinkId, hash: GrainHash, full: bool) {
        if let Some(peer) = self.peers.get_mut(link) {
            peer.learn_pressure(hash, full);
        }
    }

    /// A link goes on over another connection.
    pub(crate) fn resumed(&mut self, link: LinkId) {
        if let Some(peer) = self.peers.get_mut(link) {
            peer.forget_pressure();
        }
    }

    /// The peer hosts more kinds than it said at first.
    pub(crate) fn learn_kinds(&mut self, link: LinkId, kinds: &[KindOffer]) {
        if let Some(peer) = self.peers.get_mut(link) {
            peer.learn_kinds(kinds);
        }
    }

    /// The node at the other end of a link that is up.
    pub(crate) fn peer(&self, link: LinkId) -> Option<NodeId> {
        self.peers.get(link).map(|peer| peer.node)
    }

    /// A link is gone. Hands back what waited for it, unless another link leads to the same shard.
    pub(crate) fn down(
        &mut self,
        link: LinkId,
        error: &LinkError,
        sent: Sent,
        now: Instant,
    ) -> Wreck {
        let reason = LinkReason::new(error.clone());
        let peer = self.peers.remove(link);
        let mut parcels = VecDeque::new();
        for (to, route) in self.routes.iter_mut() {
            let pause = match route.state {
                State::Dialling(ours) if ours == link => {
                    route.failures += 1;
                    backoff(route.failures)
                }
                // A link that worked may be dialled again at once.
                State::Up(ours) if ours == link => Duration::ZERO,
                _ => continue,
            };
            // Both sides may have dialled at once.
            let leads_there = |peer: &Peer| (peer.node, peer.shard) == (to.node, to.shard);
            if let Some((other, _)) = self.peers.iter().find(|(_, peer)| leads_there(peer)) {
                route.state = State::Up(other);
            } else if yielding::yields(route, error) {
                yielding::begin(route, &mut self.redial_at, now);
            } else {
                let (until, reason) = (now + pause, reason.clone());
                route.state = State::Down { until, reason };
                parcels = std::mem::take(&mut route.waiting);
            }
        }
        let (answers, letters) = peer.map_or_else(Default::default, |peer| {
            let fate = |(number, kind)| (kind, sent.fate(number));
            let letters = peer.unacknowledged().map(fate).collect();
            (peer.answers, letters)
        });
        Wreck {
            parcels,
            answers,
            letters,
            reason,
        }
    }

    /// Sends what has waited, as far as there is room, and forgets what has been acknowledged.
    pub(crate) fn pump(&mut self, (instant, now): (Instant, Micros)) -> Pumped {
        self.redial(instant);
        let mut pumped = Pumped::default();
        let Self {
            endpoint,
            epoch,
            routes,
            peers,
            ..
        } = self;
        routes.for_each_waiting(|route| {
            let State::Up(link) = route.state else {
                return;
            };
            while let Some(parcel) = route.waiting.pop_front() {
                if parcel.deadline.is_due(now) {
                    pumped.expired.push(parcel);
                    continue;
                }
                let peer = peers.get_mut(link).expect(PEER);
                let outbound = Outbound::of(&parcel);
                match send(endpoint, (link, peer), *epoch, &outbound, now) {
                    Ok(number) => pumped.sent.push((parcel, link, number)),
                    Err(TellError::Busy) => {
                        route.waiting.push_front(parcel);
                        break;
                    }
                    Err(error) => pumped.refused.push((parcel, error)),
                }
            }
            peers.list(link);
        });
        peers.for_each_listed(|link, peer| {
            while let Some((number, settled)) = peer.answers.first() {
                match answer(endpoint, link, *epoch, number, settled) {
                    Answered::NoRoom => break,
                    Answered::Sent | Answered::Lost => {}
                }
                pumped.answers.extend(peer.answers.pop());
            }
            // What became of the letters of a link that has ended is told by its `Down`, which may
            // still be on its way here.
            if let Some(acknowledged) = endpoint.acknowledged(link) {
                peer.forget(acknowledged);
            }
        });
        pumped
    }

    /// Answers a call that came over a link. Says whether the answer is on its way, which it is
    /// not when the link is gone or too many answers wait for it, and gives it back unless it has
    /// to wait.
    pub(crate) fn answer(
        &mut self,
        link: LinkId,
        number: u64,
        settled: Settled,
    ) -> (bool, Option<Settled>) {
        let Some(peer) = self.peers.get_mut(link) else {
            return (false, Some(settled));
        };
        if peer.answers.is_empty() {
            match answer(&mut self.endpoint, link, self.epoch, number, &settled) {
                Answered::Sent => return (true, Some(settled)),
                Answered::Lost => return (false, Some(settled)),
                Answered::NoRoom => {}
            }
        }
        let refused = peer.answers.push(number, settled);
        self.peers.list(link);
        (refused.is_none(), refused)
    }

    /// Whether nothing waits and everything that was sent has been acknowledged.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.routes.iter().all(|route| route.waiting.is_empty())
            && self.peers.iter().all(|(link, peer)| {
                peer.answers.is_empty() && self.endpoint.unacknowledged(link) == 0
            })
    }

    /// Drives the links a little longer, without taking anything in, so that what they hold back
    /// leaves: acknowledgements, and packets that wait for the peer's own.
    pub(crate) fn linger(&mut self) {
        let start = Instant::now();
        loop {
            // Ahead of the clock, so that nothing waits for company.
            let now = Instant::now() + HASTE;
            // The socket may be broken; then nothing leaves, and the time limit ends it.
            while matches!(self.endpoint.receive(now), Ok(count) if count > 0) {}
            self.endpoint.handle_timeout(now);
            self.endpoint.flush(now);
            if self.peers.is_empty() || start.elapsed() >= LINGER {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Takes out whatever still waits, when the shard ends.
    pub(crate) fn take_waiting(&mut self) -> Vec<Parcel> {
        self.routes
            .iter_mut()
            .flat_map(|(_, route)| std::mem::take(&mut route.waiting))
            .collect()
    }
}

/// Why a peer must be found.
const PEER: &str = "a link that is up has a peer";

/// Longer than a link keeps an acknowledgement back, or a pacer a packet.
const HASTE: Duration = Duration::from_millis(5);

/// Many round trips in one machine room.
const LINGER: Duration = Duration::from_millis(5);
