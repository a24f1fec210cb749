//! Bytes whose start is 16-aligned in memory, shared by reference count.
//!
//! rkyv reads archives in place and needs them aligned; every way to make a [`Block`] either
//! allocates aligned memory itself or checks the address. All blocks cut from one allocation
//! keep all of it alive: who keeps a small block for long copies it ([`Block::copy_from`]).

use std::{fmt, ops::Deref, ops::Range};

use bytes::Bytes;
use rkyv::util::AlignedVec;

use crate::pool;

/// Immutable bytes that start at a multiple of [`Block::ALIGNMENT`] in memory.
///
/// Cloning counts a reference and copies nothing. Blocks are equal when their bytes are.
#[derive(Clone, PartialEq, Eq)]
pub struct Block(Bytes);

/// The bytes do not start at a multiple of [`Block::ALIGNMENT`]; here they are back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes start at an odd address, copy them with Block::copy_from")]
pub struct MisalignedError(pub Bytes);

impl Block {
    /// What the address of the first byte is a multiple of.
    pub const ALIGNMENT: usize = 16;

    /// No bytes. Allocates nothing.
    pub const fn new() -> Self {
        // Sliced, not `&[]`: even the address of nothing is aligned.
        Self(Bytes::from_static(EMPTY.0.split_at(0).0))
    }

    /// Copies bytes of any alignment.
    pub fn copy_from(bytes: &[u8]) -> Self {
        let mut copy = AlignedVec::with_capacity(bytes.len());
        copy.extend_from_slice(bytes);
        Self::from(copy)
    }

    /// The bytes, which stay aligned and shared.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// A part of `bytes`, or `None` when it does not start aligned.
    ///
    /// # Panics
    ///
    /// When `range` is not within `bytes`.
    pub(crate) fn part_of(bytes: &Bytes, range: Range<usize>) -> Option<Self> {
        if range.is_empty() {
            return Some(Self::new());
        }
        Self::try_from(bytes.slice(range)).ok()
    }
}

/// A part of some shared bytes that starts 16-aligned: what a [`Block`] refers to, before anyone
/// has to count a reference for it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    whole: &'a Bytes,
    start: usize,
    end: usize,
}

impl<'a> Part<'a> {
    /// The part of `whole` in this range, or `None` when it does not start aligned or is not
    /// within.
    #[inline]
    pub fn new(whole: &'a Bytes, range: Range<usize>) -> Option<Self> {
        let Range { start, end } = range;
        let bytes = whole.get(start..end)?;
        (bytes.is_empty() || is_aligned(bytes)).then_some(Self { whole, start, end })
    }

    /// The part of `whole` in this range, which is known to be within and to start aligned.
    #[inline(always)]
    pub(crate) fn within(whole: &'a Bytes, Range { start, end }: Range<usize>) -> Self {
        debug_assert!(Self::new(whole, start..end).is_some(), "{start}..{end}");
        Self { whole, start, end }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        &self.whole[self.start..self.end]
    }

    /// What it is a part of.
    pub fn whole(&self) -> &'a Bytes {
        self.whole
    }

    /// Where in that it is.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The bytes, to be kept.
    pub fn to_block(&self) -> Block {
        Block::part_of(self.whole, self.range()).expect("a part starts aligned")
    }
}

impl<'a> From<&'a Block> for Part<'a> {
    fn from(block: &'a Block) -> Self {
        Self {
            whole: &block.0,
            start: 0,
            end: block.0.len(),
        }
    }
}

impl Default for Block {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<AlignedVec<16>> for Block {
    /// Takes the memory over without copying.
    fn from(bytes: AlignedVec<16>) -> Self {
        if bytes.is_empty() {
            return Self::new();
        }
        let bytes = pool::share(bytes);
        assert!(
            is_aligned(&bytes),
            "an AlignedVec<16> starts at a multiple of 16"
        );
        Self(bytes)
    }
}

impl TryFrom<Bytes> for Block {
    type Error = MisalignedError;

    /// Takes bytes that happen to be aligned.
    fn try_from(bytes: Bytes) -> Result<Self, MisalignedError> {
        if is_aligned(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(MisalignedError(bytes))
        }
    }
}

#[repr(align(16))]
struct Aligned([u8; 16]);

static EMPTY: Aligned = Aligned([0; 16]);

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(Block::ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_starts_aligned() {
        for len in [0, 1, 15, 16, 17, 4096] {
            let bytes = vec![7; len];
            for block in [Block::copy_from(&bytes), Block::copy_from(&bytes).clone()] {
                assert!(is_aligned(&block), "{len}");
                assert_eq!(*block, *bytes);
            }
        }
        assert!(is_aligned(&Block::new()) && Block::default().is_empty());
    }

    #[test]
    fn misaligned_bytes_are_handed_back() {
        let bytes = Block::copy_from(&[1; 64]).into_bytes();
        assert_eq!(Block::try_from(bytes.slice(16..)).unwrap().len(), 48);
        let odd = bytes.slice(1..);
        assert_eq!(Block::try_from(odd.clone()), Err(MisalignedError(odd)));
    }

    #[test]
    fn parts_are_aligned_or_refused() {
        let bytes = Block::copy_from(&[1; 64]).into_bytes();
        assert_eq!(Block::part_of(&bytes, 16..30).unwrap().len(), 14);
        assert!(is_aligned(&Block::part_of(&bytes, 64..64).unwrap()));
        assert_eq!(Block::part_of(&bytes, 8..30), None);
    }

    #[test]
    fn a_vector_is_taken_over_without_copying() {
        let mut bytes = AlignedVec::<16>::new();
        bytes.extend_from_slice(&[3; 100]);
        let address = bytes.as_ptr();
        assert_eq!(Block::from(bytes).as_ptr(), address);
    }
}
