//! From frames to the bytes of a stream.
//!
//! Frames are appended to one 16-aligned buffer, payloads serialised in place, and the whole is
//! handed out without copying. The buffer holds whole frames only: whatever a failed or
//! panicking payload left behind is cut off before anyone can see it, and the number that its
//! grain may have got for it is taken back.

use std::{convert::Infallible, fmt, mem};

use bytes::Bytes;
use rkyv::util::AlignedVec;

use crate::{
    header::{DETACHED, FrameType, Header, UNIT, append_name, padded},
    id::{Key, KindId, MethodId},
    numbers::{Numbers, Spot, Wanted},
    pool,
};

/// Collects the frames of one direction of a link, and knows which grains have a number there.
pub struct Writer {
    max_payload: usize,
    numbers: Numbers,
    buffer: AlignedVec<16>,
    /// Where the last whole frame ends. The buffer is longer only while a payload is written,
    /// or after one panicked.
    end: usize,
    /// The capacity that the next buffer starts with.
    expected: usize,
    /// What the last frame was whose payload was detached: others like it are likely to be as long.
    large: Option<Large>,
}

/// A frame whose payload was detached.
#[derive(Clone, Copy)]
struct Large {
    frame: FrameType,
    kind: KindId,
    method: MethodId,
    len: usize,
}

impl Large {
    fn is_like(&self, header: &Header) -> bool {
        (self.frame, self.kind, self.method) == (header.frame, header.kind, header.method)
    }
}

/// The grain that a tell or call is for. Its kind stands in the header.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// Which one of its kind.
    pub key: &'a Key,
    /// The placement hash of kind and key.
    pub hash: u64,
    /// What the writer remembers about it.
    pub spot: Option<&'a Spot>,
}

impl<'a> From<(&'a Key, u64)> for To<'a> {
    fn from((key, hash): (&'a Key, u64)) -> Self {
        Self {
            key,
            hash,
            spot: None,
        }
    }
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
    /// [`MAX_PAYLOAD`](crate::MAX_PAYLOAD)), to at most `names_max` grains at a time without naming
    /// them again (rounded down to a power of two, at least 1 and at most
    /// [`MAX_NAMES`](crate::MAX_NAMES); [`DEFAULT_NAMES`](crate::DEFAULT_NAMES) does for most).
    ///
    /// The peer's reader has to allow as much of both. Memory for names is taken as grains are
    /// named: about 100 bytes for each of them, 200 at worst. Keys of more than 23 bytes are
    /// shared with whoever gave them.
    pub fn new(max_payload: usize, names_max: u32) -> Self {
        Self {
            max_payload: max_payload.min(crate::MAX_PAYLOAD),
            numbers: Numbers::new(names_max),
            buffer: AlignedVec::new(),
            end: 0,
            expected: 0,
            large: None,
        }
    }

    /// Appends one frame and returns how many bytes it takes on the stream.
    ///
    /// A tell or call is for the `grain` of the header's kind and of this key; beside it stands
    /// the placement hash of both, which has to be the same each time and may be wrong otherwise:
    /// it only says where to look. A grain that has no number on this link, or lost it to another,
    /// is given one by a name frame in front. The bytes returned count that frame too, because
    /// it belongs to this one: whoever sends a frame again sends both.
    ///
    /// `payload` appends to the vector that it is given, at a 16-aligned position, and leaves
    /// alone what is in it. Fields of `header` that its frame type does not carry are written as
    /// zero, and a grain is looked at for tells and calls only.
    ///
    /// # Errors
    ///
    /// [`WriteError`] when the payload fails or is too large. The writer is as it was before.
    ///
    /// # Panics
    ///
    /// When a tell or call comes without a grain, `header` is that of a name frame, or `payload`
    /// removed bytes that it did not write.
    pub fn frame<E>(
        &mut self,
        header: &Header,
        grain: Option<(&Key, u64)>,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<usize, WriteError<E>> {
        self.frame_to(header, grain.map(To::from), payload)
    }

    /// As [`frame`](Self::frame), for who has a [`Spot`] beside the key: a grain that was written
    /// to before is found there.
    ///
    /// # Errors
    ///
    /// As with [`frame`](Self::frame).
    ///
    /// # Panics
    ///
    /// As with [`frame`](Self::frame).
    #[inline(always)]
    pub fn frame_to<E>(
        &mut self,
        header: &Header,
        grain: Option<To<'_>>,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<usize, WriteError<E>> {
        let start = self.begin();
        if self.large.is_some() {
            self.make_room_for(header);
        }
        let head = self.put_head(header, grain, (0, false));

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
        self.buffer[head..head + 4].copy_from_slice(&declared.to_le_bytes());
        if !len.is_multiple_of(UNIT) {
            self.buffer.resize(at + padded(len), 0);
        }
        if self.expects_large(header) {
            // If it was long again, it will be detached again.
            self.large = None;
        }
        Ok(self.commit(start))
    }

    /// Appends a tell or call as [`frame_to`](Self::frame_to) does, if nothing is in the way: the
    /// grain is found at its spot, the payload has no more than `most` bytes, and the buffer was
    /// begun. Returns how many bytes the frame takes. In every other case nothing was written and
    /// `None` is returned, whatever the reason: then [`frame_to`](Self::frame_to) does it, or says
    /// why not.
    #[inline(always)]
    pub fn express<E>(
        &mut self,
        header: &Header,
        spot: &Spot,
        (most, payload): (usize, impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>),
    ) -> Option<usize> {
        let number = self.numbers.find_at(spot)?;
        let head = self.end;
        if head == 0 || self.buffer.len() != head || !header.frame.is_addressed() {
            return None;
        }
        if self.expects_large(header) {
            return None;
        }
        header.append_to(&mut self.buffer, number, (0, false));
        let at = self.buffer.len();
        let is_written = payload(&mut self.buffer).is_ok();
        let len = self.buffer.len().wrapping_sub(at);
        if !is_written || len > most.min(self.max_payload) {
            self.roll_back();
            return None;
        }
        self.buffer[head..head + 4].copy_from_slice(&(len as u32).to_le_bytes());
        if !len.is_multiple_of(UNIT) {
            self.buffer.resize(at + padded(len), 0);
        }
        self.end = self.buffer.len();
        Some(self.end - head)
    }

    /// Appends a tell, call or reply whose payload of `len` bytes goes on a stream of its own,
    /// behind a [`Preamble`](crate::Preamble), and returns how many bytes it takes on this one.
    ///
    /// All else is as with [`frame`](Self::frame).
    ///
    /// # Errors
    ///
    /// [`WriteError::TooLarge`] when the payload is longer than a frame may carry. The writer is
    /// as it was before.
    ///
    /// # Panics
    ///
    /// When a tell or call comes without a grain, or `header` is of another type.
    pub fn detached(
        &mut self,
        header: &Header,
        grain: Option<(&Key, u64)>,
        len: u32,
    ) -> Result<usize, WriteError<Infallible>> {
        assert!(
            header.frame.is_data(),
            "the payload of a {} frame cannot be detached",
            header.frame
        );
        let limit = header.frame.payload_limit(self.max_payload);
        // Compared as u64, so that no platform cuts the length before it is checked.
        if u64::from(len) > limit as u64 {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            return Err(WriteError::TooLarge { len, limit });
        }
        let start = self.begin();
        self.put_head(header, grain.map(To::from), (len, true));
        Ok(self.commit(start))
    }

    /// Detaches the payload of the frame that was just written, a tell, call or reply, as if it
    /// had been written by [`detached`](Self::detached): the payload is handed out without
    /// copying; what stands in front of it is copied. For who learns the length of a payload by
    /// writing it.
    ///
    /// # Panics
    ///
    /// When the last frame written is no data frame with a payload of `len` bytes.
    pub fn detach(&mut self, header: &Header, len: usize) -> Bytes {
        self.roll_back();
        assert!(header.frame.is_data(), "only data frames are detached");
        let at = self.end.checked_sub(padded(len));
        let at = at.expect("the payload was just written");
        let head = at.checked_sub(header.frame.header_len());
        let head = head.expect("the payload stands behind its header");
        self.buffer[head + 4] |= DETACHED;
        let rest = pool::copy(&self.buffer[..at]);
        self.end = at;
        self.large = Some(Large {
            frame: header.frame,
            kind: header.kind,
            method: header.method,
            len,
        });
        let whole = pool::share(mem::replace(&mut self.buffer, rest));
        whole.slice(at..at + len)
    }

    /// Whether the last frame like this one had a payload that was detached.
    #[inline]
    fn expects_large(&self, header: &Header) -> bool {
        self.large.is_some_and(|large| large.is_like(header))
    }

    /// Makes room for a payload as long as that of the last frame like this one: a buffer that
    /// grows while such a payload is written comes from the operating system, page by page, which
    /// takes longer than writing it.
    #[inline(never)]
    fn make_room_for(&mut self, header: &Header) {
        let Some(large) = self.large.filter(|large| large.is_like(header)) else {
            return;
        };
        let needed = self.end + large.len + LARGE_HEAD;
        if self.buffer.capacity() < needed {
            let mut roomy = pool::take(needed);
            roomy.extend_from_slice(&self.buffer);
            pool::give_back(mem::replace(&mut self.buffer, roomy));
        }
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
        let buffer = mem::take(&mut self.buffer);
        let end = mem::take(&mut self.end);
        if buffer.capacity() / WASTE > end.max(MIN_CAPACITY) {
            return trimmed(buffer, end);
        }
        pool::share(buffer)
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
    #[inline(always)]
    fn begin(&mut self) -> usize {
        if self.end == 0 || self.buffer.len() != self.end || !self.numbers.is_kept() {
            self.begin_anew();
        }
        self.end
    }

    #[inline(never)]
    fn begin_anew(&mut self) {
        self.roll_back();
        if self.buffer.capacity() == 0 {
            // On the first frame, not when the last buffer was taken: an idle link holds nothing.
            self.buffer = pool::take(self.expected.next_power_of_two().max(MIN_CAPACITY));
        }
    }

    /// Appends a header, behind a name frame if its grain needs one, and returns where it starts.
    #[inline(always)]
    fn put_head(&mut self, header: &Header, grain: Option<To<'_>>, payload: (u32, bool)) -> usize {
        let number = if header.frame.is_addressed() {
            let to = grain.expect("a tell or call names the grain it is for");
            let known = to.spot.and_then(|spot| self.numbers.find_at(spot));
            known.unwrap_or_else(|| self.number_of(header.kind, to))
        } else {
            assert!(
                header.frame != FrameType::Name,
                "a name frame is written for the tell or call that needs it"
            );
            0
        };
        let at = self.buffer.len();
        header.append_to(&mut self.buffer, number, payload);
        at
    }

    /// Looks for the number of a grain, and gives it one if it has none.
    #[inline(never)]
    fn number_of(&mut self, kind: KindId, to: To<'_>) -> u32 {
        let To { key, hash, spot } = to;
        let hash = hash as u32;
        let wanted = Wanted {
            kind,
            key,
            hash,
            spot,
        };
        match self.numbers.find(wanted) {
            Some(number) => number,
            None => self.put_name(wanted),
        }
    }

    #[cold]
    fn put_name(&mut self, added: Wanted<'_>) -> u32 {
        let number = self.numbers.add(added);
        append_name(&mut self.buffer, number, (added.kind, added.key));
        number
    }

    /// Makes what was written since `start` a whole frame, and returns its length.
    #[inline]
    fn commit(&mut self, start: usize) -> usize {
        self.numbers.keep();
        self.end = self.buffer.len();
        self.end - start
    }

    /// Cuts off what is not a whole frame.
    #[cold]
    fn roll_back(&mut self) {
        self.numbers.take_back();
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
            let less = pool::copy(&self.buffer);
            pool::give_back(mem::replace(&mut self.buffer, less));
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("len", &self.len())
            .field("numbers", &self.numbers)
            .finish_non_exhaustive()
    }
}

/// The first `end` bytes of a buffer, in one that fits them. Cold: a payload that was not sent
/// after all, or a burst that is over, has left a large buffer for a small frame, which may have to
/// wait for long.
#[cold]
fn trimmed(buffer: AlignedVec<16>, end: usize) -> Bytes {
    let mut fitting = pool::take(end.max(MIN_CAPACITY));
    fitting.extend_from_slice(&buffer[..end]);
    pool::give_back(buffer);
    pool::share(fitting)
}

/// What is handed out has at most so many times its length of memory. Buffers double as they grow,
/// and their first size is a guess.
const WASTE: usize = 4;

/// The least that a buffer starts with, in bytes: a handful of small messages.
const MIN_CAPACITY: usize = 512;

/// What may stand in front of a payload and behind it: a name frame, a header, padding.
const LARGE_HEAD: usize = 512;

/// The most that a buffer starts with, in bytes: four of the largest GSO batches.
const MAX_EXPECTED: usize = 256 * 1024;
