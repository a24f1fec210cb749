//! Tells that may get lost, both ways over one link: each in a datagram of QUIC's.
//!
//! On the way out they wait here, bounded in bytes; a new one pushes out the oldest, because what
//! is late is worth nothing. QUIC, which sends datagrams before everything else and takes none of
//! them back, is given some packets' worth at a time, and none right after it had no room in its
//! window for all of them: frames on streams get their turn, and what waits stays young. On the
//! way in they wait in QUIC's buffer, which drops the oldest, until they are asked for, some at a
//! turn. A connection that breaks takes all of them with it.
//!
//! What this node loses is counted in [`Losses`], once each.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{Connection, SendDatagramError};
use teff_wire::KindId;

use crate::{
    event::{LossCause, Lost},
    limits::{LOSSY_RATION, LOSSY_TURN},
};

/// Lossy tells of one connection of a link, in both directions.
pub(crate) struct Lossy {
    /// Those that QUIC was not given, oldest first.
    waiting: VecDeque<(KindId, Bytes)>,
    /// What they are charged for.
    waiting_bytes: usize,
    max: usize,
    /// The kinds of those that QUIC was given and has not sent as far as is known, oldest first.
    given: VecDeque<KindId>,
    /// What of its buffer QUIC says is free while it holds none.
    free: usize,
    /// How many QUIC had sent when it was asked last.
    sent: u64,
    /// QUIC had no room in its window for all that it was given.
    held_up: bool,
    /// There may be some in QUIC's buffer.
    arrived: bool,
    /// How many more are handed out before it is the turn of frames, and of other links.
    turn: usize,
    /// How many were taken out of QUIC's buffer, or are known to have been dropped there.
    received: u64,
}

impl Lossy {
    /// Nothing yet. At most `max` bytes wait for QUIC.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            max,
            given: VecDeque::new(),
            free: 0,
            sent: 0,
            held_up: false,
            arrived: false,
            turn: LOSSY_TURN,
            received: 0,
        }
    }

    /// The same at the start of another connection. What waited must have been given up.
    pub(crate) fn anew(&self) -> Self {
        debug_assert!(self.is_idle(), "what waits is given up, and counted");
        Self::new(self.max)
    }

    /// How long a datagram to the peer may be; `None` if it takes none.
    pub(crate) fn room(&self, connection: &mut Connection) -> Option<usize> {
        let path = connection.datagrams().max_size()?;
        // What does not fit into a buffer is refused there, or ends the connection.
        Some(path.min(self.max).saturating_sub(CHARGE))
    }

    /// Lets one wait, which pushes out the oldest if there is no room.
    pub(crate) fn push(&mut self, kind: KindId, datagram: Bytes, losses: &mut Losses) {
        let charge = datagram.len() + CHARGE;
        while self.waiting_bytes + charge > self.max
            && let Some((kind, _)) = self.pop()
        {
            losses.count(Some(kind), LossCause::NoRoom, 1);
        }
        self.waiting_bytes += charge;
        self.waiting.push_back((kind, datagram));
    }

    /// Whether nothing is on its way out of here.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.given.is_empty()
    }

    /// Whether QUIC may be given more as soon as others have had their turn.
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty() && self.given.is_empty()
    }

    /// Gives QUIC its next ration.
    pub(crate) fn hand_over(&mut self, connection: &mut Connection, losses: &mut Losses) {
        if self.waiting.is_empty() || !self.given.is_empty() || std::mem::take(&mut self.held_up) {
            return;
        }
        self.free = connection.datagrams().send_buffer_space();
        let mut ration = LOSSY_RATION * usize::from(connection.current_mtu());
        // The first goes in any case, or one that the path has become too narrow for would stay.
        while let Some((_, next)) = self.waiting.front()
            && (next.len() <= ration || self.given.is_empty())
            && next.len() <= connection.datagrams().send_buffer_space()
            && let Some((kind, datagram)) = self.pop()
        {
            ration = ration.saturating_sub(datagram.len());
            match connection.datagrams().send(datagram, false) {
                Ok(()) => self.given.push_back(kind),
                Err(SendDatagramError::TooLarge) => {
                    // The path has become narrower since it was accepted.
                    losses.count(Some(kind), LossCause::TooLarge, 1);
                }
                Err(SendDatagramError::Blocked(_)) => {
                    losses.count(Some(kind), LossCause::NoRoom, 1);
                }
                Err(SendDatagramError::Disabled | SendDatagramError::UnsupportedByPeer) => {
                    losses.count(Some(kind), LossCause::NoLink, 1);
                }
            }
        }
    }

    /// Looks what became of those that QUIC was given. Returns how many it has sent since the last
    /// time.
    pub(crate) fn settle(&mut self, connection: &mut Connection, losses: &mut Losses) -> u64 {
        if self.given.is_empty() {
            return 0;
        }
        let total = connection.stats().frame_tx.datagram;
        let sent = total.saturating_sub(self.sent);
        self.sent = total;
        let known = usize::try_from(sent).map_or(self.given.len(), |n| n.min(self.given.len()));
        self.given.drain(..known);
        if !self.given.is_empty() && connection.datagrams().send_buffer_space() >= self.free {
            // The path has become narrower, and QUIC has thrown away what does not fit any more.
            for kind in self.given.drain(..) {
                losses.count(Some(kind), LossCause::TooLarge, 1);
            }
        }
        self.held_up |= !self.given.is_empty();
        sent
    }

    /// The connection is over, and all that has not been sent goes with it.
    pub(crate) fn give_up(&mut self, losses: &mut Losses) {
        let waiting = self.waiting.drain(..).map(|(kind, _)| kind);
        for kind in self.given.drain(..).chain(waiting) {
            losses.count(Some(kind), LossCause::NoLink, 1);
        }
        self.waiting_bytes = 0;
    }

    /// QUIC says that some have come in.
    pub(crate) fn arrived(&mut self) {
        self.arrived = true;
    }

    /// The next that has come in, as long as it is their turn.
    #[inline]
    pub(crate) fn next(
        &mut self,
        connection: &mut Connection,
        losses: &mut Losses,
    ) -> Option<Bytes> {
        if !self.arrived || self.turn == 0 {
            return None;
        }
        let next = connection.datagrams().recv();
        if next.is_some() {
            self.turn -= 1;
            self.received += 1;
        } else {
            self.arrived = false;
            self.count_overrun(connection, losses);
        }
        next
    }

    /// QUIC's buffer is empty: what has come in and was not handed out was dropped there.
    fn count_overrun(&mut self, connection: &Connection, losses: &mut Losses) {
        let total = connection.stats().frame_rx.datagram;
        let dropped = total.saturating_sub(self.received);
        self.received += dropped;
        losses.count(None, LossCause::NoRoom, dropped);
    }

    /// Begins another turn. Whether something may have to wait for it.
    pub(crate) fn begin_turn(&mut self) -> bool {
        self.turn = LOSSY_TURN;
        self.arrived
    }

    fn pop(&mut self) -> Option<(KindId, Bytes)> {
        let (kind, datagram) = self.waiting.pop_front()?;
        self.waiting_bytes -= datagram.len() + CHARGE;
        Some((kind, datagram))
    }
}

/// What was lost here since it was asked for last: a sum for each kind and cause, of which there
/// are few.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    sums: Vec<Lost>,
}

impl Losses {
    /// Adds to the sum of a kind, or of those that nobody has read.
    pub(crate) fn count(&mut self, kind: Option<KindId>, cause: LossCause, count: u64) {
        if count == 0 {
            return;
        }
        let same = |lost: &&mut Lost| (lost.kind, lost.cause) == (kind, cause);
        match self.sums.iter_mut().find(same) {
            Some(lost) => lost.count += count,
            None => self.sums.push(Lost { kind, cause, count }),
        }
    }

    /// Takes one of the sums out.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Lost> {
        self.sums.pop()
    }
}

/// What QUIC charges for a datagram in a buffer besides its bytes, and what its place here takes.
const CHARGE: usize = size_of::<(KindId, Bytes)>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_one_pushes_out_the_oldest() {
        let mut losses = Losses::default();
        let mut lossy = Lossy::new(3 * (100 + CHARGE));
        for kind in 0..5 {
            lossy.push(KindId(kind), Bytes::from(vec![0; 100]), &mut losses);
        }
        let kinds: Vec<_> = lossy.waiting.iter().map(|(kind, _)| kind.0).collect();
        assert_eq!(kinds, [2, 3, 4]);
        // One that takes the room of several.
        lossy.push(KindId(5), Bytes::from(vec![0; 200]), &mut losses);
        let kinds: Vec<_> = lossy.waiting.iter().map(|(kind, _)| kind.0).collect();
        assert_eq!(kinds, [4, 5]);
        let mut lost: Vec<_> = std::iter::from_fn(|| losses.take()).collect();
        lost.sort_by_key(|lost| lost.kind.map(|kind| kind.0));
        let expected = [0, 1, 2, 3].map(|kind| Lost {
            kind: Some(KindId(kind)),
            cause: LossCause::NoRoom,
            count: 1,
        });
        assert_eq!(lost, expected);
        lossy.give_up(&mut losses);
        assert!(lossy.is_idle());
        assert_eq!(lossy.waiting_bytes, 0);
        let given_up = std::iter::from_fn(|| losses.take()).map(|lost| lost.count);
        assert_eq!(given_up.sum::<u64>(), 2);
    }

    #[test]
    fn losses_are_summed_by_kind_and_cause() {
        let mut losses = Losses::default();
        for _ in 0..1000 {
            losses.count(Some(KindId(1)), LossCause::NoRoom, 1);
            losses.count(Some(KindId(1)), LossCause::NoLink, 1);
            losses.count(None, LossCause::NoRoom, 2);
            losses.count(None, LossCause::NoLink, 0);
        }
        assert_eq!(losses.sums.len(), 3);
        let counts = std::iter::from_fn(|| losses.take()).map(|lost| lost.count);
        assert_eq!(counts.sum::<u64>(), 4000);
    }
}
