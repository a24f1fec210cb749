//! Frames that run where they lie.
//!
//! Most of what a busy link brings are whole tells, calls and replies that lie one behind the
//! other in one block. A [`Run`] is that block, taken out of its [`Reader`](crate::Reader) together
//! with the names of its grains: whoever has it needs nothing else of the link, so that no frame is
//! moved, no reference counted and no table borrowed for each of them. It ends in front of the
//! first frame that is of another sort, or not sound; that one is the reader's to deal with.

use bytes::Bytes;

use crate::{
    block::Part,
    frame::Frame,
    header::{FrameType, Header},
    id::{KindId, MethodId},
    layout::Layout,
    names::{Grain, Named},
};

/// Whole frames of one link, to be run one after the other and then
/// [put back](crate::Reader::put_back).
#[derive(Debug)]
pub struct Run {
    pub(crate) block: Bytes,
    /// Where the next frame stands.
    pub(crate) at: usize,
    pub(crate) names: Vec<Named>,
    taken: u64,
}

/// A tell, call or reply with its payload, where it lies.
#[derive(Debug)]
pub struct FrameRef<'a> {
    layout: Layout,
    frame: &'a [u8],
    to: Option<&'a mut Named>,
    payload: Part<'a>,
}

impl Run {
    pub(crate) fn new(block: Bytes, at: usize, names: Vec<Named>) -> Self {
        Self {
            block,
            at,
            names,
            taken: 0,
        }
    }

    /// How many frames were taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The next frame; `None` when the run is over.
    #[expect(
        clippy::should_implement_trait,
        reason = "a frame is lent by the run, which no iterator can say"
    )]
    #[inline(always)]
    pub fn next(&mut self) -> Option<FrameRef<'_>> {
        let rest = self.block.get(self.at..)?;
        let head = rest.first_chunk()?;
        let layout = Layout::of_plain(head, self.names.len())?;
        let frame = rest.get(..layout.frame_len())?;
        layout.check_body(frame).ok()?;
        let payload = layout.payload_range();
        let payload = Part::within(&self.block, self.at + payload.start..self.at + payload.end);
        self.at += frame.len();
        self.taken += 1;
        let to = match layout.grain(frame) {
            Some(number) => self.names.get_mut(number as usize),
            None => None,
        };
        Some(FrameRef {
            layout,
            frame,
            to,
            payload,
        })
    }
}

impl<'a> FrameRef<'a> {
    /// What the frame is.
    #[inline(always)]
    pub fn frame(&self) -> FrameType {
        self.layout.frame()
    }

    /// What the frame says about itself.
    #[inline(always)]
    pub fn header(&self) -> Header {
        let mut header = self.layout.header(self.frame);
        if let Some(Named { kind, .. }) = &self.to {
            header.kind = *kind;
        }
        header
    }

    /// The method to run (tell, call), else 0.
    // Field by field: what is moved as a whole right after it was written waits for the stores.
    #[inline(always)]
    pub fn method(&self) -> MethodId {
        self.layout.method(self.frame)
    }

    /// The number of a call, and the time left for it in microseconds (0: all time); `None` for
    /// other frames.
    #[inline(always)]
    pub fn call(&self) -> Option<(u64, u32)> {
        self.layout.call(self.frame)
    }

    /// The grain that a tell or call is for, else `None`.
    #[inline(always)]
    pub fn grain(&self) -> Option<(KindId, &Grain)> {
        self.to.as_ref().map(|named| (named.kind, &named.grain))
    }

    /// What was noted about the grain: 0 for nothing.
    #[inline(always)]
    pub fn note(&self) -> u64 {
        self.to.as_ref().map_or(0, |named| named.note)
    }

    /// Notes something about the grain, for later frames of the link. It is forgotten when the
    /// number that the grain goes by is given to another.
    #[inline]
    pub fn set_note(&mut self, note: u64) {
        if let Some(named) = &mut self.to {
            named.note = note;
        }
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
            grain: self.to.as_ref().map(|named| named.grain.clone()),
            payload: self.payload.to_block(),
            detached: None,
        }
    }
}
