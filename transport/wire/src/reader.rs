//! From chunks of a stream to frames.
//!
//! Chunks may be cut anywhere and lie anywhere in memory. Every byte is copied once, into a
//! 16-aligned block that all frames completed by one push share. When bytes arrive, only lengths
//! are looked at, to know where whole frames end; a frame is checked when its turn comes. So a
//! malformed one is refused behind all that came before it, with its first 16 bytes if they condemn
//! it, else when it is whole, and which error it is never depends on how the stream was cut.
//!
//! Name frames wait among the others and are taken when their turn comes, so that every tell and
//! call is for the grain that its number stood for at its place in the stream.

use std::{collections::VecDeque, fmt, hint::black_box, iter, mem};

use bytes::Bytes;
use rkyv::util::AlignedVec;

use crate::{
    block::Block,
    frame::Frame,
    header::Header,
    layout::{Bounds, FrameError, Layout, frame_len, is_name},
    names::{HashGrain, Names},
    numbers::MAX_NAMES,
    pool,
    run::Run,
};

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
    max_payload: usize,
    names_max: u32,
    /// As of the last frame that was handed out, or of a name frame behind it.
    names: Names,
    /// Whole frames, of which those from `at` on were not taken.
    front: Bytes,
    at: usize,
    /// Blocks of whole frames behind those.
    behind: VecDeque<Bytes>,
    /// The bytes of the one frame that is not complete; of one that is too long to be allowed, its
    /// first 16.
    block: AlignedVec<16>,
    /// How long that frame is, once its first 16 bytes are there and allow it.
    needed: Option<usize>,
    failed: Option<FrameError>,
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
            max_payload: max_payload.min(crate::MAX_PAYLOAD),
            names_max: names_max.clamp(1, MAX_NAMES),
            names: Names::new(hash),
            front: Bytes::new(),
            at: 0,
            behind: VecDeque::new(),
            block: AlignedVec::new(),
            needed: None,
            failed: None,
        }
    }

    /// Takes in the next bytes of the stream.
    ///
    /// Allocates in proportion to the bytes that arrived, never to what they declare.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the next frame to be taken is none; every further push returns the same
    /// error and keeps nothing. A malformed frame behind others is found when they were taken:
    /// see [`failed`](Self::failed).
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), FrameError> {
        if self.failed.is_none() {
            if let Some(rest) = self.resume(chunk) {
                self.scan(rest, chunk.len().min(EXPECTED));
            }
            // Names that no frame waits in front of have their turn: they are not to pile up for a
            // caller who sees that nothing is there.
            self.take_names();
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Notes that the stream broke and that what is pushed next starts another one of the same
    /// link: the incomplete frame is forgotten, complete ones can still be taken, and grains keep
    /// their numbers.
    ///
    /// The peer repeats every frame that was not complete, together with the name frame in front
    /// of it. A reader that failed stays failed.
    pub fn cut(&mut self) {
        self.block = AlignedVec::new();
        self.needed = None;
    }

    /// The next complete frame, in the order of the stream. `None` until more bytes are pushed, or
    /// for good if the reader has [failed](Self::failed).
    #[expect(
        clippy::should_implement_trait,
        reason = "the end of an iterator is final, this None is not"
    )]
    pub fn next(&mut self) -> Option<Frame> {
        let layout = self.take_names()?;
        let frame = &self.front[self.at..];
        let payload = layout.payload_range();
        let payload = self.at + payload.start..self.at + payload.end;
        let mut header = layout.header(frame);
        let grain = layout.grain(frame).map(|number| {
            let named = self.names.named(number);
            header.kind = named.kind;
            named.grain.clone()
        });
        let payload = Block::part_of(&self.front, payload)
            .expect("frames and their parts are multiples of 16 bytes long");
        self.step(layout.frame_len());
        Some(Frame {
            header,
            grain,
            payload,
            detached: layout.detached(),
        })
    }

    /// Lends out whole frames to be run one after the other, with the names of their grains.
    /// `None` if no frame waits. Until the run is [put back](Self::put_back) the reader knows no
    /// grain, and must not be asked for a frame.
    #[inline]
    pub fn take_run(&mut self) -> Option<Run> {
        if self.at == self.front.len() && !self.turn_page() {
            return None;
        }
        let block = mem::take(&mut self.front);
        let at = mem::take(&mut self.at);
        Some(Run::new(block, at, self.names.lend()))
    }

    /// Takes back what is left of a run, and the names.
    #[inline]
    pub fn put_back(&mut self, run: Run) {
        self.names.take_back(run.names);
        if run.at < run.block.len() {
            self.front = run.block;
            self.at = run.at;
        }
    }

    /// Why no more frames will come. Those before the malformed one were all taken.
    pub fn failed(&self) -> Option<FrameError> {
        self.failed
    }

    /// Whether a complete frame waits, which may be a malformed one or one that names a grain.
    #[inline]
    pub fn has_whole(&self) -> bool {
        self.at < self.front.len() || !self.behind.is_empty()
    }

    /// How many complete frames wait, as far as their lengths tell, without those that name a
    /// grain. Takes as long as there are frames.
    pub fn ready(&self) -> usize {
        let blocks = iter::once(&self.front[self.at..]).chain(self.behind.iter().map(|b| &b[..]));
        let mut count = 0;
        for mut block in blocks {
            while let Some(head) = block.first_chunk()
                && let Some(len) = frame_len(head, self.max_payload)
            {
                count += usize::from(!is_name(head));
                block = &block[len..];
            }
        }
        count
    }

    /// How many bytes of an incomplete frame are kept.
    pub fn buffered(&self) -> usize {
        self.block.len()
    }

    /// How many numbers stand for a grain, as far as frames were taken.
    pub fn names(&self) -> usize {
        self.names.len()
    }

    /// Lets the name frames whose turn it is have their effect. Returns what the next frame is,
    /// which is whole, sound and no name frame.
    fn take_names(&mut self) -> Option<Layout> {
        loop {
            let layout = self.next_layout()?;
            let frame = &self.front[self.at..];
            let Some(number) = layout.named(frame) else {
                return Some(layout);
            };
            let (kind, key) = layout.name(frame);
            self.names.give(number, kind, key);
            self.step(layout.frame_len());
        }
    }

    /// What the next frame is, if it is whole and sound.
    fn next_layout(&mut self) -> Option<Layout> {
        if self.at == self.front.len() && !self.turn_page() {
            // It need not be whole to be refused.
            if let Some(head) = self.block.first_chunk()
                && let Err(error) = Layout::of(head, self.bounds())
            {
                self.fail(error);
            }
            return None;
        }
        let bytes = &self.front[self.at..];
        let head = bytes.first_chunk().expect("whole frames have a header");
        let checked = Layout::of(head, self.bounds()).and_then(|layout| {
            layout.check_body(&bytes[..layout.frame_len()])?;
            Ok(layout)
        });
        checked.map_err(|error| self.fail(error)).ok()
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            max_payload: self.max_payload,
            names_max: self.names_max,
            given: u32::try_from(self.names.len()).expect("there are at most MAX_NAMES grains"),
        }
    }

    /// The next frame is none: forgets it and what is behind it.
    #[cold]
    fn fail(&mut self, error: FrameError) {
        self.failed = Some(error);
        self.front = Bytes::new();
        self.at = 0;
        self.behind = VecDeque::new();
        self.cut();
    }

    /// Goes on behind a frame that was taken.
    fn step(&mut self, len: usize) {
        self.at += len;
        if self.at == self.front.len() {
            // At once: a block that nobody refers to can be used again.
            self.front = Bytes::new();
            self.at = 0;
        }
    }

    /// Goes on to the next block. Whether there is one.
    fn turn_page(&mut self) -> bool {
        let Some(next) = self.behind.pop_front() else {
            return false;
        };
        self.front = next;
        self.at = 0;
        true
    }

    /// Completes the frame that earlier pushes left incomplete, if there is one. Returns what
    /// `chunk` holds behind it, or `None` when the frame is still not complete.
    fn resume<'c>(&mut self, chunk: &'c [u8]) -> Option<&'c [u8]> {
        if self.block.is_empty() {
            return Some(chunk);
        }
        let (needed, chunk) = match self.needed {
            Some(needed) => (needed, chunk),
            None => {
                let missing = Header::LEN - self.block.len();
                let (part, rest) = chunk.split_at(missing.min(chunk.len()));
                self.block.extend_from_slice(part);
                // One that is not allowed stays as it is, and is refused when its turn comes.
                (
                    frame_len(self.block.first_chunk()?, self.max_payload)?,
                    rest,
                )
            }
        };
        self.needed = Some(needed);
        let missing = needed - self.block.len();
        if chunk.len() < missing {
            self.grow(chunk.len(), needed);
            self.block.extend_from_slice(chunk);
            return None;
        }
        self.block.reserve_exact(missing);
        let (part, rest) = chunk.split_at(missing);
        self.block.extend_from_slice(part);
        self.needed = None;
        Some(rest)
    }

    /// Takes in a chunk that starts with a frame, or is empty. `block` holds nothing but one
    /// complete frame; `expected` more bytes are likely to follow.
    fn scan(&mut self, chunk: &[u8], expected: usize) {
        let mut copied = 0;
        let mut end = 0;
        let mut touched = 0;
        let rest = loop {
            if end >= touched {
                touched = end + TOUCHED;
                touch(&chunk[end..touched.min(chunk.len())]);
            }
            if self.block.len() + (end - copied) >= SHARED {
                self.seal(&chunk[copied..end]);
                copied = end;
            }
            let rest = &chunk[end..];
            let Some(head) = rest.first_chunk::<{ Header::LEN }>() else {
                break rest;
            };
            match frame_len(head, self.max_payload) {
                Some(len) if len <= rest.len() => end += len,
                Some(len) => {
                    self.needed = Some(len);
                    break rest;
                }
                // So much of it tells what is wrong with it.
                None => break head,
            }
        };
        self.seal(&chunk[copied..end]);
        if !rest.is_empty() {
            self.block = pool::take(rest.len() + expected);
            self.block.extend_from_slice(rest);
        }
    }

    /// Lets complete frames wait for their turn: the one in the block, and these behind it.
    fn seal(&mut self, frames: &[u8]) {
        if self.block.is_empty() {
            if frames.is_empty() {
                return;
            }
            self.block = pool::take(frames.len());
        }
        self.block.reserve_exact(frames.len());
        self.block.extend_from_slice(frames);
        self.behind
            .push_back(pool::share(mem::take(&mut self.block)));
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

/// Brings bytes near, all at once: the walk from length to length would wait for each line of cache
/// in turn, which took half of its time.
#[inline]
fn touch(bytes: &[u8]) {
    for line in bytes.chunks(64) {
        black_box(line[0]);
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("ready", &self.ready())
            .field("buffered", &self.buffered())
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

/// How far ahead bytes are brought near: a small part of the first-level cache.
const TOUCHED: usize = 4096;
