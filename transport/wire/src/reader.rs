//! From chunks of a stream to frames.
//!
//! Chunks may be cut anywhere and lie anywhere in memory. Every byte is copied once, into a
//! 16-aligned block that all frames completed by one push share. A frame is refused with its first
//! 16 bytes if they condemn it, else when it is whole; what came before it is still handed out,
//! and which error it is never depends on how the stream was cut.
//!
//! Name frames wait among the others and are taken when their turn comes, so that every tell and
//! call is for the grain that its number stood for at its place in the stream.

use std::{collections::VecDeque, fmt, mem};

use bytes::Bytes;
use rkyv::util::AlignedVec;

use crate::{
    block::{Block, Part},
    header::Header,
    id::KindId,
    layout::{Bounds, FrameError, Layout},
    names::{Grain, HashGrain, Names},
    numbers::MAX_NAMES,
    pool,
};

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the frame says about itself.
    pub header: Header,
    /// The addressed grain (tell, call), else `None`. Its kind stands in the header.
    pub grain: Option<Grain>,
    /// The bytes behind the header, without padding. None if they are detached.
    pub payload: Block,
    /// How many bytes of payload are to come on a stream of their own, if they do.
    pub detached: Option<u32>,
}

/// A frame that is not detached, where it lies. Its fields are read as they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct FrameRef<'a> {
    layout: Layout,
    frame: &'a [u8],
    grain: Option<&'a (KindId, Grain)>,
    payload: Part<'a>,
}

impl<'a> FrameRef<'a> {
    /// What the frame says about itself.
    #[inline(always)]
    pub fn header(&self) -> Header {
        let mut header = self.layout.header(self.frame);
        if let Some((kind, _)) = self.grain {
            header.kind = *kind;
        }
        header
    }

    /// The addressed grain (tell, call), else `None`.
    #[inline(always)]
    pub fn grain(&self) -> Option<(KindId, &'a Grain)> {
        self.grain.map(|(kind, grain)| (*kind, grain))
    }

    /// The bytes behind the header, without padding.
    #[inline(always)]
    pub fn payload(&self) -> Part<'a> {
        self.payload
    }

    /// The frame, to be kept.
    pub fn to_frame(&self) -> Frame {
        Frame {
            header: self.header(),
            grain: self.grain.map(|(_, grain)| grain.clone()),
            payload: self.payload.to_block(),
            detached: None,
        }
    }
}

/// Cuts the bytes of one direction of a link into frames, and knows which grains have a number
/// there.
///
/// ```
/// use std::sync::Arc;
///
/// use teff_wire::{Header, Key, KindId, MethodId, Reader, Writer};
///
/// let key = Key::new("kitchen").unwrap();
/// let mut writer = Writer::new(1024, 16);
/// let header = Header::tell(KindId::of("room"), MethodId(0));
/// let written = writer.frame(&header, Some((&key, 4711)), |_| Ok::<(), ()>(()));
/// assert_eq!(written, Ok(32 + 16), "a name frame and a tell");
///
/// let mut reader = Reader::new(1024, 16, Arc::new(|_, _| 4711));
/// reader.push(&writer.take())?;
/// let frame = reader.next().unwrap();
/// assert_eq!(frame.header, header);
/// assert_eq!(frame.grain.map(|grain| (grain.key, grain.hash)), Some((key, 4711)));
/// assert_eq!(reader.next(), None);
/// # Ok::<(), teff_wire::FrameError>(())
/// ```
pub struct Reader {
    bounds: Bounds,
    /// As of the last frame that was handed out, or of a name frame behind it.
    names: Names,
    /// Between pushes: the bytes of the one frame that is not complete.
    block: AlignedVec<16>,
    /// What that frame is, once its first 16 bytes are there.
    layout: Option<Layout>,
    queue: Queue,
    failed: Option<FrameError>,
}

/// The complete frames that were not taken yet.
#[derive(Default)]
struct Queue {
    /// The last `unsealed` of them are, or will be, in the reader's block; the others in `sealed`.
    places: VecDeque<Place>,
    unsealed: usize,
    sealed: VecDeque<Sealed>,
    /// How many of them are name frames.
    names: usize,
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
    /// payload each (cut to [`MAX_PAYLOAD`](crate::MAX_PAYLOAD)), and whose grains have at most
    /// `names_max` numbers (at least 1 and at most [`MAX_NAMES`]).
    ///
    /// `hash` is called once for each name frame; what it returns comes with every frame for that
    /// grain. Hello and kinds frames have a limit of their own,
    /// [`MAX_CONTROL_PAYLOAD`](crate::MAX_CONTROL_PAYLOAD).
    pub fn new(max_payload: usize, names_max: u32, hash: HashGrain) -> Self {
        Self {
            bounds: Bounds {
                max_payload,
                names_max: names_max.clamp(1, MAX_NAMES),
                given: 0,
            },
            names: Names::new(hash),
            block: AlignedVec::new(),
            layout: None,
            queue: Queue::default(),
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
            self.cut();
        }
        // Names that no frame waits in front of have their turn: they are not to pile up for a
        // caller who sees that nothing is ready.
        self.take_names();
        result
    }

    /// Notes that the stream broke and that what is pushed next starts another one of the same
    /// link: the incomplete frame is forgotten, complete ones can still be taken, and grains keep
    /// their numbers.
    ///
    /// The peer repeats every frame that was not complete, together with the name frame in front
    /// of it. A reader that failed stays failed.
    pub fn cut(&mut self) {
        self.block = AlignedVec::new();
        self.layout = None;
    }

    /// The next complete frame, in the order of the stream. `None` until more bytes are pushed.
    #[expect(
        clippy::should_implement_trait,
        reason = "the end of an iterator is final, this None is not"
    )]
    pub fn next(&mut self) -> Option<Frame> {
        self.take_names();
        self.take()
    }

    /// The next frame, which is no name frame.
    #[inline(always)]
    fn take(&mut self) -> Option<Frame> {
        let (layout, bytes, at) = self.queue.take()?;
        let frame = &bytes[at..];
        let payload = layout.payload_range();
        let payload = Block::part_of(bytes, at + payload.start..at + payload.end)
            .expect("frames and their parts are multiples of 16 bytes long");
        let mut header = layout.header(frame);
        let grain = layout.grain(frame).map(|number| {
            let (kind, grain) = self.names.grain(number);
            header.kind = *kind;
            grain.clone()
        });
        Some(Frame {
            header,
            grain,
            payload,
            detached: layout.detached(),
        })
    }

    /// Whether the next frame is a tell, call or reply with its payload.
    #[inline(always)]
    pub fn has_plain(&mut self) -> bool {
        let Some(place) = self.queue.places.front() else {
            return false;
        };
        let mut layout = place.layout;
        if layout.is_name() {
            self.take_names();
            match self.queue.places.front() {
                Some(place) => layout = place.layout,
                None => return false,
            }
        }
        layout.is_data() && layout.detached().is_none()
    }

    /// Lends the next frame where it lies, if it [is one](Self::has_plain) that can be lent.
    #[inline(always)]
    pub fn next_plain(&mut self) -> Option<FrameRef<'_>> {
        if !self.has_plain() {
            return None;
        }
        let (layout, bytes, at) = self.queue.take()?;
        let frame = &bytes[at..];
        let payload = layout.payload_range();
        let payload = Part::new(bytes, at + payload.start..at + payload.end)
            .expect("frames and their parts are multiples of 16 bytes long");
        let grain = layout.grain(frame).map(|number| self.names.grain(number));
        Some(FrameRef {
            layout,
            frame,
            grain,
            payload,
        })
    }

    /// How many bytes of an incomplete frame are kept.
    pub fn buffered(&self) -> usize {
        self.block.len()
    }

    /// How many complete frames wait for [`next`](Self::next).
    pub fn ready(&self) -> usize {
        self.queue.places.len() - self.queue.names
    }

    /// How many numbers stand for a grain, as far as frames were taken.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// Lets the name frames whose turn it is have their effect.
    fn take_names(&mut self) {
        while self.queue.starts_with_name() {
            let Some((layout, bytes, at)) = self.queue.take() else {
                return;
            };
            let frame = &bytes[at..];
            if let Some(number) = layout.named(frame) {
                let (kind, key) = layout.name(frame);
                self.names.give(number, kind, key);
            }
        }
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
                (Layout::of(header, self.bounds)?, rest)
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
        let named = layout.named(&self.block);
        self.note(layout, 0, named);
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
            self.block = pool::take(rest.len() + expected);
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
        let layout = Layout::of(header, self.bounds)?;
        let Some(frame) = bytes.get(..layout.frame_len()) else {
            self.layout = Some(layout);
            return Ok(None);
        };
        layout.check_body(frame)?;
        self.note(layout, at, layout.named(frame));
        Ok(Some(frame.len()))
    }

    /// Notes a frame that was checked, and the number that it gives if it is a name frame.
    #[inline]
    fn note(&mut self, layout: Layout, at: usize, named: Option<u32>) {
        self.queue.places.push_back(Place { layout, at });
        self.queue.unsealed += 1;
        if let Some(number) = named {
            self.queue.names += 1;
            self.bounds.given = self.bounds.given.max(number + 1);
        }
    }

    /// Copies the noted frames that are not in the block, and makes it ready to be shared.
    fn seal(&mut self, frames: &[u8]) {
        if self.block.capacity() == 0 && !frames.is_empty() {
            self.block = pool::take(frames.len());
        }
        self.block.reserve_exact(frames.len());
        self.block.extend_from_slice(frames);
        if self.queue.unsealed > 0 {
            let bytes = pool::share(mem::take(&mut self.block));
            let frames = mem::take(&mut self.queue.unsealed);
            self.queue.sealed.push_back(Sealed { bytes, frames });
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

impl Queue {
    #[inline]
    fn starts_with_name(&self) -> bool {
        self.names > 0
            && self
                .places
                .front()
                .is_some_and(|place| place.layout.is_name())
    }

    /// The next frame: what it is, the block that it stands in, and where.
    #[inline]
    fn take(&mut self) -> Option<(Layout, &Bytes, usize)> {
        // Here, not behind the last frame of a block, so that a frame is made where it is returned:
        // moving a key that was just written stalls the load for as long as making it took.
        self.sealed.pop_front_if(|sealed| sealed.frames == 0);
        let Place { layout, at } = self.places.pop_front()?;
        let sealed = self.sealed.front_mut();
        let sealed = sealed.expect("a complete frame is in a sealed block");
        sealed.frames -= 1;
        self.names -= usize::from(layout.is_name());
        Some((layout, &sealed.bytes, at))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("buffered", &self.buffered())
            .field("ready", &self.ready())
            .field("names", &self.names)
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
