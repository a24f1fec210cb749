//! Frames whose payloads come on streams of their own, and what has to wait for them.
//!
//! A message behind a large one to the same grain is parked until that one is whole; messages to
//! other grains, and replies, pass. Streams are read only for frames that have announced them, and
//! nothing is allocated for a length that is merely declared.

use std::collections::{HashMap, HashSet, VecDeque};

use quinn_proto::{Connection, StreamId, VarInt};
use rkyv::util::AlignedVec;
use teff_wire::{Block, Frame, KindId, Preamble, PreambleError, take_buffer};

/// The frames that wait, and the streams that bring payloads.
#[derive(Default)]
pub(crate) struct Arriving {
    /// In the order of their numbers.
    parked: VecDeque<Parked>,
    /// Bytes of payload in parked frames that are whole.
    parked_bytes: usize,
    /// How many frames are parked for each grain. Grains of one hash wait for each other, too.
    grains: HashMap<(KindId, u64), usize>,
    /// Frames whose waiting is over, and their numbers.
    released: VecDeque<(u64, Frame)>,
    streams: Vec<Stream>,
}

struct Parked {
    number: u64,
    frame: Frame,
    /// What has come of the payload; `None` for a frame that is whole.
    missing: Option<AlignedVec<16>>,
}

/// A stream of the peer that carries one payload.
struct Stream {
    id: StreamId,
    head: Vec<u8>,
    preamble: Option<Preamble>,
}

/// Why a stream of a payload cannot be what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokenPayload {
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    #[error("the payload of frame {number} has another length than the frame says")]
    Length { number: u64 },
    #[error("the payload of frame {number} ends too early")]
    Ended { number: u64 },
}

impl Arriving {
    /// Whether nothing waits here, so that frames can pass by.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.parked.is_empty() && self.released.is_empty()
    }

    /// The next frame whose waiting is over.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        self.released.pop_front().map(|(_, frame)| frame)
    }

    /// The number of the first frame that was not handed out.
    pub(crate) fn first(&self) -> Option<u64> {
        let parked = self.parked.front().map(|parked| parked.number);
        let released = self.released.iter().map(|(number, _)| *number);
        parked.into_iter().chain(released).min()
    }

    /// Whether so much waits that no more frames should be read.
    pub(crate) fn is_full(&self) -> bool {
        self.parked_bytes >= PARKED_MAX || self.parked.len() >= PARKED_FRAMES_MAX
    }

    /// Parks a frame if its payload is missing or if it is behind another of its grain; otherwise
    /// gives it back.
    pub(crate) fn admit(&mut self, number: u64, frame: Frame) -> Option<Frame> {
        let grain = grain_of(&frame);
        let is_behind = grain.is_some_and(|grain| self.grains.contains_key(&grain));
        let missing = frame.detached.is_some().then(AlignedVec::new);
        if missing.is_none() && !is_behind {
            return Some(frame);
        }
        self.parked_bytes += frame.payload.len();
        if let Some(grain) = grain {
            *self.grains.entry(grain).or_default() += 1;
        }
        self.parked.push_back(Parked {
            number,
            frame,
            missing,
        });
        None
    }

    /// The peer opened a stream.
    pub(crate) fn opened(&mut self, id: StreamId) {
        self.streams.push(Stream {
            id,
            head: Vec::new(),
            preamble: None,
        });
    }

    /// The connection is no more: what is incomplete comes again, from its start.
    pub(crate) fn cut(&mut self) {
        self.streams.clear();
        for parked in &mut self.parked {
            if let Some(missing) = &mut parked.missing {
                *missing = AlignedVec::new();
            }
        }
    }

    /// Reads from the streams what belongs to frames before `next`. Whether there was anything.
    pub(crate) fn pull(
        &mut self,
        connection: &mut Connection,
        (next, max_payload): (u64, usize),
        turn: &mut usize,
    ) -> Result<bool, BrokenPayload> {
        let mut any = false;
        let mut at = 0;
        while at < self.streams.len() {
            match self.read((connection, at), (next, max_payload), turn)? {
                Progress::None => at += 1,
                Progress::Some => {
                    any = true;
                    at += 1;
                }
                Progress::Over => {
                    any = true;
                    self.streams.swap_remove(at);
                }
            }
        }
        Ok(any)
    }

    fn read(
        &mut self,
        (connection, at): (&mut Connection, usize),
        (next, max_payload): (u64, usize),
        turn: &mut usize,
    ) -> Result<Progress, BrokenPayload> {
        let stream = &mut self.streams[at];
        let mut any = Progress::None;
        if stream.preamble.is_none() {
            any = read_head(connection, stream);
            if let Some(head) = stream.head.first_chunk() {
                stream.preamble = Some(Preamble::from_bytes(head, max_payload)?);
            }
        }
        let Some(preamble) = stream.preamble else {
            return Ok(any);
        };
        if preamble.frame >= next {
            // Its frame is still to come.
            return Ok(any);
        }
        let id = stream.id;
        let waiting = self
            .parked
            .iter()
            .position(|parked| parked.number == preamble.frame && parked.missing.is_some());
        let Some(place) = waiting else {
            // It came whole over an earlier connection.
            let _ = connection.recv_stream(id).stop(VarInt::from_u32(0));
            return Ok(Progress::Over);
        };
        let parked = &mut self.parked[place];
        if parked.frame.detached != Some(preamble.len) {
            let number = preamble.frame;
            return Err(BrokenPayload::Length { number });
        }
        let wanted = preamble.len as usize;
        let bytes = parked.missing.as_mut().expect("it was just found missing");
        match fill(connection, id, (bytes, wanted), turn) {
            Filled::Not if bytes.len() < wanted => Ok(any),
            Filled::Some if bytes.len() < wanted => Ok(Progress::Some),
            Filled::Not | Filled::Some => {
                self.complete(place);
                Ok(Progress::Over)
            }
            Filled::TooMuch => {
                let number = preamble.frame;
                Err(BrokenPayload::Length { number })
            }
            Filled::Ended => {
                let number = preamble.frame;
                Err(BrokenPayload::Ended { number })
            }
        }
    }

    /// The payload of a parked frame is whole.
    fn complete(&mut self, place: usize) {
        let parked = &mut self.parked[place];
        if let Some(bytes) = parked.missing.take() {
            self.parked_bytes += bytes.len();
            parked.frame.payload = Block::from(bytes);
            parked.frame.detached = None;
        }
        // In order: a frame is released unless one of its grain is still before it.
        let mut blocked = HashSet::new();
        let mut rest = VecDeque::with_capacity(self.parked.len());
        for parked in self.parked.drain(..) {
            let grain = grain_of(&parked.frame);
            let waits = grain.is_some_and(|grain| blocked.contains(&grain));
            if parked.missing.is_none() && !waits {
                self.parked_bytes -= parked.frame.payload.len();
                if let Some(grain) = grain
                    && let Some(count) = self.grains.get_mut(&grain)
                {
                    *count -= 1;
                }
                self.released.push_back((parked.number, parked.frame));
            } else {
                blocked.extend(grain);
                rest.push_back(parked);
            }
        }
        self.parked = rest;
        self.grains.retain(|_, count| *count > 0);
    }
}

enum Progress {
    None,
    Some,
    Over,
}

enum Filled {
    Not,
    Some,
    TooMuch,
    Ended,
}

fn read_head(connection: &mut Connection, stream: &mut Stream) -> Progress {
    let mut any = Progress::None;
    let mut receive = connection.recv_stream(stream.id);
    let Ok(mut chunks) = receive.read(true) else {
        return Progress::Over;
    };
    while stream.head.len() < Preamble::LEN
        && let Ok(Some(chunk)) = chunks.next(Preamble::LEN - stream.head.len())
    {
        any = Progress::Some;
        stream.head.extend_from_slice(&chunk.bytes);
    }
    let _ = chunks.finalize();
    any
}

/// Reads what there is of a payload, and of the turn.
fn fill(
    connection: &mut Connection,
    id: StreamId,
    (bytes, wanted): (&mut AlignedVec<16>, usize),
    turn: &mut usize,
) -> Filled {
    let mut receive = connection.recv_stream(id);
    let Ok(mut chunks) = receive.read(true) else {
        return Filled::Ended;
    };
    let mut filled = Filled::Not;
    while *turn > 0 {
        match chunks.next(*turn) {
            Ok(Some(chunk)) => {
                if bytes.len() + chunk.bytes.len() > wanted {
                    filled = Filled::TooMuch;
                    break;
                }
                filled = Filled::Some;
                *turn -= chunk.bytes.len();
                grow(bytes, bytes.len() + chunk.bytes.len(), wanted);
                bytes.extend_from_slice(&chunk.bytes);
            }
            Ok(None) if bytes.len() < wanted => {
                filled = Filled::Ended;
                break;
            }
            Ok(None) | Err(_) => break,
        }
    }
    let _ = chunks.finalize();
    filled
}

/// Makes room for `needed` of `wanted` bytes: at once for all of them if they are not many, else
/// at least doubles. A peer that declares much and sends little costs address space, and no more.
fn grow(bytes: &mut AlignedVec<16>, needed: usize, wanted: usize) {
    if needed <= bytes.capacity() {
        return;
    }
    let target = if wanted <= AT_ONCE {
        wanted
    } else {
        (bytes.capacity() * 2).max(AT_ONCE).clamp(needed, wanted)
    };
    let mut grown = take_buffer(target);
    grown.extend_from_slice(bytes);
    *bytes = grown;
}

fn grain_of(frame: &Frame) -> Option<(KindId, u64)> {
    let grain = frame.grain.as_ref()?;
    Some((frame.header.kind, grain.hash))
}

/// Payloads up to this size get their room with the first bytes that come.
const AT_ONCE: usize = 2 * 1024 * 1024;

/// Bytes of whole payloads that may wait behind large ones before the link is no longer read.
const PARKED_MAX: usize = 16 * 1024 * 1024;

/// Frames that may wait.
const PARKED_FRAMES_MAX: usize = 65_536;
