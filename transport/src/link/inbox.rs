//! Frames on their way into one link: from QUIC to the application.
//!
//! Bytes are taken out of QUIC only when the application asks for a frame and none is whole, and
//! at most a turn's worth at a time: what is not asked for waits in QUIC, whose flow control then
//! stops the peer.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use quinn_proto::{Connection, ReadError, RecvStream, StreamId};
use teff_wire::{Frame, FrameError, HashGrain, MAX_CONTROL_PAYLOAD, Reader, Run};

use super::arriving::{Arriving, BrokenPayload};
use crate::limits::{ACK_AFTER, ACK_EVERY, Limits, READ_TURN};

/// The inbound side of a link.
pub(crate) struct Inbox {
    reader: Reader,
    max_payload: usize,
    /// Whole frames of connections that are no more, which nobody has asked for yet.
    earlier: VecDeque<Frame>,
    arriving: Arriving,
    /// Bytes that may still be read before it is the turn of another link.
    turn: usize,
    broken: Option<Broken>,
    /// How many data frames were handed out, or wait for what they belong to.
    taken_in: u64,
    acknowledged: u64,
    ack_due: Option<Instant>,
}

/// Why no more frames will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The bytes are not frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Streams of links do not end before the link does.
    #[error("the peer ended the stream of the link")]
    Ended,
    /// A payload that came on a stream of its own.
    #[error(transparent)]
    Payload(#[from] BrokenPayload),
    /// Before the hello there is nothing as long as this.
    #[error("the first frame is not a hello")]
    NoHello,
}

/// What reading from QUIC came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    /// Something was read.
    Some,
    /// Nothing is there.
    Empty,
    /// The turn is used up.
    NextTurn,
}

impl Inbox {
    pub(crate) fn new(limits: &Limits, hash: HashGrain) -> Self {
        Self {
            reader: Reader::new(limits.max_payload, limits.names, hash),
            max_payload: limits.max_payload,
            earlier: VecDeque::new(),
            arriving: Arriving::default(),
            turn: READ_TURN,
            broken: None,
            taken_in: 0,
            acknowledged: 0,
            ack_due: None,
        }
    }

    /// The next frame that need not wait for another.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Frame> {
        if !self.earlier.is_empty() || !self.arriving.is_idle() {
            return self.next_of_many();
        }
        let frame = self.reader.next()?;
        if frame.detached.is_some() {
            self.park(frame);
            return self.next_of_many();
        }
        self.taken_in += 1;
        Some(frame)
    }

    /// Lends out whole frames, if none of them has to wait for another.
    #[inline]
    pub(crate) fn take_run(&mut self) -> Option<Run> {
        if !self.earlier.is_empty() || !self.arriving.is_idle() {
            return None;
        }
        self.reader.take_run()
    }

    /// Takes back what is left of them, and counts the others.
    #[inline]
    pub(crate) fn put_back(&mut self, run: Run) {
        self.taken_in += run.taken();
        self.reader.put_back(run);
    }

    #[cold]
    fn next_of_many(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.arriving.next() {
                return Some(frame);
            }
            if self.arriving.is_full() {
                return None;
            }
            let frame = self.earlier.pop_front().or_else(|| self.reader.next())?;
            if let Some(frame) = self.park(frame) {
                return Some(frame);
            }
        }
    }

    /// Gives the next frame its number, and back unless it has to wait.
    fn park(&mut self, frame: Frame) -> Option<Frame> {
        let number = self.taken_in;
        self.taken_in += 1;
        self.arriving.admit(number, frame)
    }

    /// The peer opened a stream for a payload.
    pub(crate) fn opened(&mut self, stream: StreamId) {
        self.arriving.opened(stream);
    }

    /// How many bytes the link may read until it is the turn of the next.
    pub(crate) fn turn(&mut self) -> &mut usize {
        &mut self.turn
    }

    /// Reads payloads that come on streams of their own. Whether anything came.
    pub(crate) fn pull_payloads(&mut self, connection: &mut Connection) -> bool {
        let known = (self.taken_in, self.max_payload);
        match self.arriving.pull(connection, known, &mut self.turn) {
            Ok(any) => any,
            Err(broken) => {
                self.broken.get_or_insert(Broken::Payload(broken));
                false
            }
        }
    }

    /// The first frame of a connection.
    pub(crate) fn hello(&mut self) -> Option<Frame> {
        self.reader.next()
    }

    /// Whether something follows the first frame.
    pub(crate) fn goes_on(&self) -> bool {
        self.reader.has_whole() || self.reader.buffered() > 0
    }

    /// The connection is no more. Whole frames are kept; of what is incomplete, the peer will send
    /// the whole.
    pub(crate) fn cut(&mut self) {
        while let Some(frame) = self.reader.next() {
            self.earlier.push_back(frame);
        }
        self.reader.cut();
        self.arriving.cut();
        self.broken = None;
        self.turn = READ_TURN;
    }

    /// Lets go of everything that nobody will ask for.
    pub(crate) fn clear(&mut self) {
        self.earlier = VecDeque::new();
        self.arriving = Arriving::default();
        self.reader = Reader::new(0, 1, Arc::new(|_, _| 0));
    }

    /// How many data frames need not be sent again. What of them was taken in is acknowledged next:
    /// the last acknowledgement may have got lost.
    pub(crate) fn resume(&mut self, now: Instant) -> u64 {
        self.ack_due = Some(now);
        self.taken_in + self.earlier.len() as u64
    }

    /// Why there will be no more frames, once all whole ones are taken.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.broken.or(self.reader.failed().map(Broken::Frame))
    }

    /// Reads a turn's worth out of QUIC.
    pub(crate) fn pull(&mut self, mut stream: RecvStream<'_>) -> Pull {
        // First, because what else the link has to read may have used up the turn.
        if self.turn == 0 {
            self.turn = READ_TURN;
            return Pull::NextTurn;
        }
        if self.broken().is_some() || self.arriving.is_full() {
            return Pull::Empty;
        }
        let Ok(mut chunks) = stream.read(true) else {
            self.broken = Some(Broken::Ended);
            return Pull::Empty;
        };
        let mut pulled = Pull::Empty;
        while self.turn > 0 {
            match chunks.next(self.turn) {
                Ok(Some(chunk)) => {
                    pulled = Pull::Some;
                    self.turn -= chunk.bytes.len();
                    if self.reader.push(&chunk.bytes).is_err() {
                        break;
                    }
                }
                Ok(None) | Err(ReadError::Reset(_)) => {
                    self.broken = Some(Broken::Ended);
                    break;
                }
                Err(ReadError::Blocked) => break,
            }
        }
        // Whether this freed flow control is seen by whoever polls for packets next.
        let _ = chunks.finalize();
        if pulled == Pull::Empty {
            self.turn = READ_TURN;
        }
        pulled
    }

    /// Marks the stream as broken if what it began with is too long for a hello.
    pub(crate) fn expect_hello(&mut self) {
        if self.reader.buffered() > teff_wire::Header::LEN + MAX_CONTROL_PAYLOAD {
            self.broken = Some(Broken::NoHello);
        }
    }

    /// Counts a data frame that the application took. When an acknowledgement will be due, if
    /// none was before.
    pub(crate) fn take_in(&mut self, now: Instant) -> Option<Instant> {
        if self.ack_due.is_some() {
            return None;
        }
        self.ack_due = Some(now + ACK_AFTER);
        self.ack_due
    }

    /// When the oldest unacknowledged frame has to be acknowledged.
    pub(crate) fn ack_due(&self) -> Option<Instant> {
        self.ack_due
    }

    /// What to acknowledge now, if anything.
    pub(crate) fn ack(&self, now: Instant) -> Option<u64> {
        let many = self.taken_in - self.acknowledged >= ACK_EVERY;
        let late = self.ack_due.is_some_and(|due| due <= now);
        (many || late).then(|| self.arriving.first().unwrap_or(self.taken_in))
    }

    /// Notes that everything taken in was acknowledged.
    pub(crate) fn acknowledged(&mut self) {
        self.acknowledged = self.taken_in;
        self.ack_due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_acknowledged_by_number_or_by_age() {
        let start = Instant::now();
        let mut inbox = Inbox::new(&Limits::default(), Arc::new(|_, _| 0));
        assert_eq!((inbox.ack(start), inbox.ack_due()), (None, None));
        for _ in 1..ACK_EVERY {
            inbox.taken_in += 1;
            inbox.take_in(start);
        }
        assert_eq!(inbox.ack(start), None);
        assert_eq!(inbox.ack_due(), Some(start + ACK_AFTER));
        assert_eq!(inbox.ack(start + ACK_AFTER), Some(ACK_EVERY - 1));
        inbox.taken_in += 1;
        inbox.take_in(start);
        assert_eq!(inbox.ack(start), Some(ACK_EVERY));
        inbox.acknowledged();
        assert_eq!(
            (inbox.ack(start + ACK_AFTER), inbox.ack_due()),
            (None, None)
        );
    }
}
