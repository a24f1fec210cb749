//! From chunks of a stream to frames.
//!
//! Chunks may be cut anywhere and lie anywhere in memory. Every byte is copied once, into a
//! 16-aligned block that all frames completed by one push share. A frame is refused as soon as
//! the bytes that condemn it are complete; what came before it is still handed out, and which
//! error it is never depends on how the stream was cut.

use std::{collections::VecDeque, fmt, mem};

use bytes::Bytes;
use rkyv::util::AlignedVec;

use crate::{
    block::Block,
    header::Header,
    id::Key,
    layout::{FrameError, Layout},
};

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the frame says about itself.
    pub header: Header,
    /// The key of the addressed grain (tell, call), else `None`.
    pub key: Option<Key>,
    /// The bytes behind the header and key, without padding.
    pub payload: Block,
}

/// Cuts the bytes of one stream into frames.
///
/// ```
/// use teff_wire::{Header, Reader, Writer};
///
/// let mut writer = Writer::new(1024);
/// writer.frame(&Header::ack(7), None, |_| Ok::<(), ()>(())).unwrap();
///
/// let mut reader = Reader::new(1024);
/// reader.push(&writer.take())?;
/// assert_eq!(reader.next().map(|frame| frame.header.number), Some(7));
/// assert_eq!(reader.next(), None);
/// # Ok::<(), teff_wire::FrameError>(())
/// ```
pub struct Reader {
    max_payload: usize,
    /// Between pushes: the bytes of the one frame that is not complete.
    block: AlignedVec<16>,
    /// The header of that frame, once its 32 bytes are there.
    layout: Option<Layout>,
    /// The complete frames that were not taken yet. The last `unsealed` of them are, or will be,
    /// in `block`; the others in `sealed`.
    ready: VecDeque<Place>,
    unsealed: usize,
    sealed: VecDeque<Sealed>,
    failed: Option<FrameError>,
}

/// Where a complete frame stands in its block.
struct Place {
    layout: Layout,
    at: usize,
}

/// A block of complete frames, and how many of them were not taken yet.
struct Sealed {
    bytes: Bytes,
    frames: usize,
}

impl Reader {
    /// A reader at the start of a stream whose messages have at most `max_payload` bytes of
    /// payload each (cut to [`MAX_PAYLOAD`](crate::MAX_PAYLOAD)).
    ///
    /// Hello and kinds frames have a limit of their own,
    /// [`MAX_CONTROL_PAYLOAD`](crate::MAX_CONTROL_PAYLOAD).
    pub fn new(max_payload: usize) -> Self {
        Self {
            max_payload,
            block: AlignedVec::new(),
            layout: None,
            ready: VecDeque::new(),
            unsealed: 0,
            sealed: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes in the next bytes of the stream.
    ///
    /// Allocates in proportion to the bytes that arrived, never to what they declare.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the stream is not made of frames. Frames before the malformed one can
    /// still be taken; every further push returns the same error and keeps nothing.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = match self.resume(chunk) {
            Ok(Some(rest)) => self.scan(rest, chunk.len().min(EXPECTED)),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.failed = Some(error);
            self.block = AlignedVec::new();
            self.layout = None;
        }
        result
    }

    /// The next complete frame, in the order of the stream. `None` until more bytes are pushed.
    #[expect(
        clippy::should_implement_trait,
        reason = "the end of an iterator is final, this None is not"
    )]
    pub fn next(&mut self) -> Option<Frame> {
        // Here, not behind the last frame of a block, so that a frame is made where it is returned:
        // moving a key that was just written stalls the load for as long as making it took.
        self.sealed.pop_front_if(|sealed| sealed.frames == 0);
        let Place { layout, at } = self.ready.pop_front()?;
        let sealed = self.sealed.front_mut();
        let sealed = sealed.expect("a complete frame is in a sealed block");
        sealed.frames -= 1;

        let frame = &sealed.bytes[at..];
        let payload = layout.payload_range();
        let payload = Block::part_of(&sealed.bytes, at + payload.start..at + payload.end)
            .expect("frames and their parts are multiples of 16 bytes long");
        Some(Frame {
            header: layout.header(frame),
            key: layout.key(frame),
            payload,
        })
    }

    /// The stream broke off: forgets what is incomplete, and goes on at the start of another
    /// stream. Complete frames stay.
    pub fn cut(&mut self) {
        self.block = AlignedVec::new();
        self.layout = None;
        self.failed = None;
    }

    /// How many bytes of an incomplete frame are kept.
    pub fn buffered(&self) -> usize {
        self.block.len()
    }

    /// How many complete frames wait for [`next`](Self::next).
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Completes the frame that earlier pushes left incomplete, if there is one. Returns what
    /// `chunk` holds behind it, or `None` when the frame is still not complete.
    fn resume<'c>(&mut self, chunk: &'c [u8]) -> Result<Option<&'c [u8]>, FrameError> {
        if self.block.is_empty() {
            return Ok(Some(chunk));
        }
        let (layout, chunk) = match self.layout {
            Some(layout) => (layout, chunk),
            None => {
                let missing = Header::LEN - self.block.len();
                let (part, rest) = chunk.split_at(missing.min(chunk.len()));
                self.block.extend_from_slice(part);
                let Some(header) = self.block.first_chunk() else {
                    return Ok(None);
                };
                (Layout::of(header, self.max_payload)?, rest)
            }
        };
        self.layout = Some(layout);
        let missing = layout.frame_len() - self.block.len();
        if chunk.len() < missing {
            self.grow(chunk.len(), layout.frame_len());
            self.block.extend_from_slice(chunk);
            return Ok(None);
        }
        self.block.reserve_exact(missing);
        let (part, rest) = chunk.split_at(missing);
        self.block.extend_from_slice(part);
        self.layout = None;
        layout.check_body(&self.block)?;
        self.note(layout, 0);
        Ok(Some(rest))
    }

    /// Takes in a chunk that starts with a frame, or is empty. `block` holds nothing but complete
    /// frames; `expected` more bytes are likely to follow.
    fn scan(&mut self, chunk: &[u8], expected: usize) -> Result<(), FrameError> {
        let mut copied = 0;
        let mut end = 0;
        let outcome = loop {
            if self.block.len() + (end - copied) >= SHARED {
                self.seal(&chunk[copied..end]);
                copied = end;
            }
            match self.complete_frame(&chunk[end..], self.block.len() + (end - copied)) {
                Ok(Some(len)) => end += len,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.seal(&chunk[copied..end]);
        outcome?;

        let rest = &chunk[end..];
        if !rest.is_empty() {
            self.block = AlignedVec::with_capacity(rest.len() + expected);
            self.block.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Notes the frame at the start of `bytes`, which will stand at `at` in the block, and returns
    /// its length. `None` when it is not complete.
    fn complete_frame(&mut self, bytes: &[u8], at: usize) -> Result<Option<usize>, FrameError> {
        let Some(header) = bytes.first_chunk() else {
            return Ok(None);
        };
        let layout = Layout::of(header, self.max_payload)?;
        let Some(frame) = bytes.get(..layout.frame_len()) else {
            self.layout = Some(layout);
            return Ok(None);
        };
        layout.check_body(frame)?;
        self.note(layout, at);
        Ok(Some(frame.len()))
    }

    fn note(&mut self, layout: Layout, at: usize) {
        self.ready.push_back(Place { layout, at });
        self.unsealed += 1;
    }

    /// Copies the noted frames that are not in the block, and makes it ready to be shared.
    fn seal(&mut self, frames: &[u8]) {
        self.block.reserve_exact(frames.len());
        self.block.extend_from_slice(frames);
        if self.unsealed > 0 {
            let bytes = Bytes::from_owner(mem::take(&mut self.block));
            let frames = mem::take(&mut self.unsealed);
            self.sealed.push_back(Sealed { bytes, frames });
        }
    }

    /// Makes room for `additional` bytes of a frame of `frame_len` bytes: at least doubles, so
    /// that a frame in many small chunks is copied once over on average, but never reaches past
    /// the frame's end.
    fn grow(&mut self, additional: usize, frame_len: usize) {
        let needed = self.block.len() + additional;
        if needed > self.block.capacity() {
            let target = needed.max(self.block.capacity() * 2).min(frame_len);
            self.block.reserve_exact(target - self.block.len());
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("buffered", &self.buffered())
            .field("ready", &self.ready())
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// A block that has reached this many bytes is shared with no further frame: a small payload that
/// is kept for long keeps at most this much and one frame alive, and a big frame is not copied
/// again to make room for a small one.
const SHARED: usize = 64 * 1024;

/// The most that is kept free behind the start of a frame, in bytes: one QUIC packet. Chunks of
/// one stream tend to be of one size, so the next one finds its room; more would be held by every
/// idle link, less would copy the start of the frame twice.
const EXPECTED: usize = 2048;
