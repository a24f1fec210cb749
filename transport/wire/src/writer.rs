//! From frames to the bytes of a stream.
//!
//! Frames are appended to one 16-aligned buffer, payloads serialised in place, and the whole is
//! handed out without copying. The buffer holds whole frames only: whatever a failed or
//! panicking payload left behind is cut off before anyone can see it.

use std::{fmt, mem};

use bytes::Bytes;
use rkyv::util::AlignedVec;

use crate::{
    header::{Header, padded},
    id::Key,
};

/// Collects the frames of one stream.
pub struct Writer {
    max_payload: usize,
    buffer: AlignedVec<16>,
    /// Where the last whole frame ends. The buffer is longer only while a payload is written,
    /// or after one panicked.
    end: usize,
    /// The capacity that the next buffer starts with.
    expected: usize,
}

/// Why a frame was not written. Nothing of it is left in the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<E> {
    /// The payload is longer than a frame may carry.
    #[error("the payload is {len} bytes long and {limit} are allowed, send less at a time")]
    TooLarge {
        /// Length of the payload in bytes.
        len: usize,
        /// The longest payload allowed, in bytes.
        limit: usize,
    },
    /// The payload could not be serialised.
    #[error("the payload could not be serialised")]
    Payload(#[source] E),
}

impl Writer {
    /// A writer for messages of at most `max_payload` bytes of payload each (cut to
    /// [`MAX_PAYLOAD`](crate::MAX_PAYLOAD)). The peer's reader has to allow as much.
    pub fn new(max_payload: usize) -> Self {
        Self {
            max_payload,
            buffer: AlignedVec::new(),
            end: 0,
            expected: 0,
        }
    }

    /// Appends one frame and returns how many bytes it takes on the stream.
    ///
    /// `payload` appends to the vector that it is given, at a 16-aligned position, and leaves
    /// alone what is in it. Fields of `header` that its frame type does not carry are written as
    /// zero, and a key is written for tells and calls only.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when the payload fails or is too large. The writer is as it was before.
    ///
    /// # Panics
    ///
    /// When a tell or call comes without a key, or `payload` removed bytes that it did not write.
    pub fn frame<E>(
        &mut self,
        header: &Header,
        key: Option<&Key>,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<usize, WriteError<E>> {
        let start = self.begin();
        self.put_head(header, key);

        let at = self.buffer.len();
        debug_assert!(
            at.is_multiple_of(16),
            "a payload starts at a multiple of 16"
        );
        debug_assert!(
            self.buffer.as_ptr().addr().is_multiple_of(16),
            "the buffer is aligned"
        );
        if let Err(error) = payload(&mut self.buffer) {
            self.roll_back();
            return Err(WriteError::Payload(error));
        }
        let len = self.buffer.len().checked_sub(at);
        let len = len.expect("a payload only appends to the buffer it is given");
        let limit = header.frame.payload_limit(self.max_payload);
        let Some(declared) = u32::try_from(len).ok().filter(|_| len <= limit) else {
            self.roll_back();
            return Err(WriteError::TooLarge { len, limit });
        };
        self.buffer[start..start + 4].copy_from_slice(&declared.to_le_bytes());
        self.buffer.resize(at + padded(len), 0);
        self.end = self.buffer.len();
        Ok(self.end - start)
    }

    /// Hands out all frames written so far, in order and without copying, and starts anew.
    pub fn take(&mut self) -> Bytes {
        self.roll_back();
        if self.end == 0 {
            return Bytes::new();
        }
        // Remember a burst, but forget it within a few quiet takes: what is handed out stays
        // allocated until the peer has acknowledged it, with all of its unused capacity.
        self.expected = self.end.max(self.expected / 4 * 3).min(MAX_EXPECTED);
        self.end = 0;
        Bytes::from_owner(mem::take(&mut self.buffer))
    }

    /// How many bytes of whole frames wait for [`take`](Self::take).
    pub fn len(&self) -> usize {
        self.end
    }

    /// Whether no frame waits for [`take`](Self::take).
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Makes the buffer ready for a frame and returns where it starts.
    fn begin(&mut self) -> usize {
        self.roll_back();
        if self.buffer.capacity() == 0 {
            // On the first frame, not when the last buffer was taken: an idle link holds nothing.
            self.buffer
                .reserve_exact(self.expected.next_power_of_two().max(MIN_CAPACITY));
        }
        self.end
    }

    fn put_head(&mut self, header: &Header, key: Option<&Key>) {
        if !header.frame.is_addressed() {
            self.buffer.extend_from_slice(&header.to_bytes(0));
            return;
        }
        let key = key
            .expect("a tell or call names the grain it is for")
            .as_str()
            .as_bytes();
        let len = u16::try_from(key.len()).expect("a key has at most 256 bytes");
        self.buffer.extend_from_slice(&header.to_bytes(len));
        self.buffer.extend_from_slice(key);
        self.buffer.resize(padded(self.buffer.len()), 0);
    }

    /// Cuts off what is not a whole frame.
    fn roll_back(&mut self) {
        if self.buffer.len() == self.end {
            return;
        }
        assert!(
            self.buffer.len() > self.end,
            "a payload only appends to the buffer it is given"
        );
        self.buffer.resize(self.end, 0);
        if self.buffer.capacity() - self.end > MAX_EXPECTED {
            // The memory of a payload that was far too large must not stay with the link.
            self.buffer.shrink_to_fit();
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The least that a buffer starts with, in bytes: a handful of small messages.
const MIN_CAPACITY: usize = 512;

/// The most that a buffer starts with, in bytes: four of the largest GSO batches.
const MAX_EXPECTED: usize = 256 * 1024;
