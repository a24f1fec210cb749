//! Frames on their way out of one link: from the application to QUIC.
//!
//! Frames are appended to a buffer; buffers are sealed into batches and handed to QUIC, which may
//! take a batch in parts. The hello goes first and alone: nothing else passes until the peer's
//! hello was found in order. A batch stays here until the peer has taken in all of its frames:
//! when the connection breaks, what the peer has not taken in is handed over again, to the next
//! connection. Counts only grow: acknowledged <= handed <= written.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{Connection, SendStream, WriteError as QuicError};
use rkyv::util::AlignedVec;
use teff_wire::{FrameType, Header, KindId, MethodId, Spot, To, WriteError, Writer, after_frames};

use crate::{
    error::SendError,
    event::Sent,
    limits::{LARGE, Limits, SEAL_AT},
    link::departing::Departing,
};

/// The outbound side of a link.
pub(crate) struct Outbox {
    writer: Writer,
    /// The number of the first data frame in the writer.
    first: u64,
    /// How many bytes may be in the writer for the next frame to need no second thought.
    express_below: usize,
    hello: Bytes,
    open: bool,
    /// Batches that QUIC has not taken, or not wholly.
    waiting: VecDeque<Batch>,
    /// Bytes in `waiting` that QUIC has not taken.
    waiting_bytes: usize,
    waiting_max: usize,
    /// Batches that QUIC has taken and the peer has not acknowledged.
    retained: VecDeque<Batch>,
    retained_bytes: usize,
    retained_max: usize,
    /// Payloads that go on streams of their own.
    departing: Departing,
    departing_max: usize,
    /// The sort of the last message, if it was refused for being large: whoever waits for room
    /// tries again and again, and is not to write it again each time. What is small of that sort
    /// is refused with it, until there is room.
    refused: Option<(FrameType, KindId, MethodId)>,
    /// How many data frames went wholly into this connection, or were taken in before it.
    passed: u64,
    sent: Sent,
    /// How many data frames were counted.
    counted: u64,
}

/// Whole frames, sealed together.
struct Batch {
    bytes: Bytes,
    /// What QUIC has not taken of it.
    rest: Bytes,
    /// The number of its first data frame.
    first: u64,
    /// How many data frames are in it.
    frames: u64,
}

impl Outbox {
    /// An outbox that passes nothing but a hello until it is opened.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            writer: Writer::new(limits.max_payload, limits.names),
            first: 0,
            express_below: 0,
            hello: Bytes::new(),
            open: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_max: limits.outbound,
            retained: VecDeque::new(),
            retained_bytes: 0,
            retained_max: limits.retained,
            departing: Departing::default(),
            departing_max: limits.large,
            refused: None,
            passed: 0,
            sent: Sent::default(),
            counted: 0,
        }
    }

    /// Puts the hello in front of everything.
    pub(crate) fn greet<E>(
        &mut self,
        header: &Header,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<(), WriteError<E>> {
        let mut writer = Writer::new(0, 1);
        writer.frame(header, None, payload)?;
        self.hello = writer.take();
        Ok(())
    }

    /// Lets the frames behind the hello pass.
    pub(crate) fn open(&mut self) {
        self.open = true;
    }

    /// The connection broke: nothing passes until [`rewind`](Self::rewind) and
    /// [`open`](Self::open).
    pub(crate) fn shut(&mut self) {
        self.open = false;
        self.hello = Bytes::new();
    }

    /// Appends a data frame and returns its number.
    #[inline(always)]
    pub(crate) fn send<E>(
        &mut self,
        header: &Header,
        grain: Option<To<'_>>,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<u64, SendError<E>> {
        assert!(
            header.frame.is_data(),
            "{} frames are not for applications",
            header.frame
        );
        let waiting = self.waiting_bytes + self.writer.len();
        if waiting >= self.waiting_max || self.retained_bytes >= self.retained_max {
            return Err(SendError::Busy);
        }
        let has_room = self.departing.bytes() < self.departing_max;
        let sort = (header.frame, header.kind, header.method);
        if !has_room && self.refused == Some(sort) {
            return Err(SendError::Busy);
        }
        let mut len = 0;
        let measured = |out: &mut AlignedVec<16>| {
            let before = out.len();
            payload(out).map_err(SendError::Payload)?;
            len = out.len().saturating_sub(before);
            if len > LARGE && !has_room {
                return Err(SendError::Busy);
            }
            Ok(())
        };
        let written = self.writer.frame_to(header, grain, measured);
        let is_refused = matches!(&written, Err(WriteError::Payload(SendError::Busy)));
        self.refused = is_refused.then_some(sort);
        written.map_err(|error| match error {
            WriteError::TooLarge { len, limit } => SendError::TooLarge { len, limit },
            WriteError::Payload(error) => error,
        })?;
        let number = self.sent.written;
        if len > LARGE {
            self.departing.push(number, self.writer.detach(header, len));
        }
        self.sent.written += 1;
        if self.writer.len() >= SEAL_AT {
            self.seal();
        }
        self.find_room();
        Ok(number)
    }

    /// Appends a tell or call and returns its number, if nothing is in the way: its grain was
    /// written to before and is found at its spot, there is room, and the payload is not large. In
    /// every other case nothing happens.
    #[inline(always)]
    pub(crate) fn express<E>(
        &mut self,
        header: &Header,
        spot: &Spot,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Option<u64> {
        if self.writer.len() >= self.express_below {
            return None;
        }
        self.writer.express(header, spot, (LARGE, payload))?;
        let number = self.sent.written;
        self.sent.written = number + 1;
        Some(number)
    }

    /// Works out how far the writer may be filled without a look at everything else.
    fn find_room(&mut self) {
        let is_open = self.retained_bytes < self.retained_max;
        let left = self.waiting_max.saturating_sub(self.waiting_bytes);
        self.express_below = if is_open { left.min(SEAL_AT) } else { 0 };
    }

    /// Hands over as much as QUIC takes.
    pub(crate) fn hand_over(&mut self, stream: &mut SendStream<'_>) -> Result<(), QuicError> {
        let handed = self.hand_over_frames(stream);
        self.find_room();
        handed
    }

    fn hand_over_frames(&mut self, stream: &mut SendStream<'_>) -> Result<(), QuicError> {
        if !self.hello.is_empty() && !write(stream, &mut self.hello)? {
            return Ok(());
        }
        while self.open {
            if self.waiting.is_empty() {
                self.seal();
            }
            let Some(batch) = self.waiting.front_mut() else {
                break;
            };
            let before = batch.rest.len();
            let whole = write(stream, &mut batch.rest)?;
            let taken = before - batch.rest.len();
            self.waiting_bytes -= taken;
            if taken > 0 {
                self.sent.handed = self.sent.handed.max(batch.end());
            }
            if !whole {
                break;
            }
            self.retain();
        }
        Ok(())
    }

    /// Hands over as much as QUIC takes of payloads that go on streams of their own.
    pub(crate) fn hand_over_payloads(&mut self, connection: &mut Connection) {
        if self.open && !self.departing.is_empty() {
            // Never ahead of its frame: the peer does not read a payload that it does not expect,
            // and what it does not read takes room from what it waits for.
            self.departing.hand_over(connection, self.passed);
        }
    }

    /// Keeps the batch that was just handed over, until it is acknowledged.
    fn retain(&mut self) {
        let Some(batch) = self.waiting.pop_front() else {
            return;
        };
        self.passed = batch.end();
        if batch.end() > self.sent.acknowledged {
            self.retained_bytes += batch.cost();
            self.retained.push_back(batch);
        }
    }

    /// Notes how many data frames the peer says it has taken in. `false` if that cannot be.
    #[must_use]
    pub(crate) fn acknowledged(&mut self, taken_in: u64) -> bool {
        if !(self.sent.acknowledged..=self.sent.handed).contains(&taken_in) {
            return false;
        }
        self.sent.acknowledged = taken_in;
        self.departing.acknowledged(taken_in);
        while let Some(batch) = self.retained.pop_front_if(|batch| batch.end() <= taken_in) {
            self.retained_bytes -= batch.cost();
        }
        self.find_room();
        true
    }

    /// The link goes on over another connection, and the peer has this many data frames: what comes
    /// behind them waits again. `false` if the peer cannot have so many. What it has is not all
    /// taken in, so that acknowledgements may still name less.
    #[must_use]
    pub(crate) fn rewind(&mut self, had: u64) -> bool {
        if !(self.sent.acknowledged..=self.sent.handed).contains(&had) {
            return false;
        }
        self.departing.rewind();
        self.passed = had;
        while let Some(batch) = self.retained.pop_back() {
            self.waiting.push_front(batch);
        }
        self.retained_bytes = 0;
        self.waiting.retain(|batch| batch.end() > had);
        for batch in &mut self.waiting {
            let done = had.saturating_sub(batch.first);
            batch.rest = batch.bytes.slice(after_frames(&batch.bytes, done)..);
        }
        self.waiting_bytes = self.waiting.iter().map(|batch| batch.rest.len()).sum();
        self.find_room();
        true
    }

    /// How many bytes wait for QUIC.
    pub(crate) fn buffered(&self) -> usize {
        self.waiting_bytes + self.writer.len() + self.departing.waiting()
    }

    /// How far the data frames got.
    #[inline]
    pub(crate) fn sent(&self) -> Sent {
        self.sent
    }

    /// How many data frames were accepted since this was asked last.
    pub(crate) fn count(&mut self) -> u64 {
        let before = std::mem::replace(&mut self.counted, self.sent.written);
        self.counted - before
    }

    /// Lets go of everything; the counts stay.
    pub(crate) fn clear(&mut self) {
        self.writer = Writer::new(0, 1);
        self.express_below = 0;
        self.hello = Bytes::new();
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        self.retained = VecDeque::new();
        self.retained_bytes = 0;
        self.departing = Departing::default();
    }

    fn seal(&mut self) {
        if self.writer.is_empty() {
            return;
        }
        let bytes = self.writer.take();
        self.waiting_bytes += bytes.len();
        let first = std::mem::replace(&mut self.first, self.sent.written);
        self.waiting.push_back(Batch {
            rest: bytes.clone(),
            bytes,
            first,
            frames: self.sent.written - first,
        });
    }
}

impl Batch {
    /// What it counts for while it is retained: a peer that acknowledges nothing is not to hold
    /// much more memory than bytes by being sent one small frame at a time.
    fn cost(&self) -> usize {
        self.bytes.len() + BATCH_COST
    }

    /// The number behind its last data frame.
    fn end(&self) -> u64 {
        self.first + self.frames
    }
}

/// Whether QUIC took all of it. What it did not take stays in `bytes`.
pub(super) fn write(stream: &mut SendStream<'_>, bytes: &mut Bytes) -> Result<bool, QuicError> {
    match stream.write_chunks(std::slice::from_mut(bytes)) {
        Ok(_) => Ok(bytes.is_empty()),
        Err(QuicError::Blocked) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a batch takes besides its bytes: the least that a buffer has, and what refers to it.
const BATCH_COST: usize = 1280;
