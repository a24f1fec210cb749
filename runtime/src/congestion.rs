//! Which grains of a shard have full mailboxes, as every sender of the node can see.
//!
//! Senders ask before they send, so a full mailbox is felt where the message is made and not
//! where it would be dropped. A mark is the whole hash of the grain, in a place picked by it: no
//! grain is taken for another. Of two marked grains with one place only the later has its mark;
//! messages to the other are let through and meet its mailbox, which says so again. Only the shard
//! itself writes. Reading costs one load as long as nothing is marked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use teff_core::hash::GrainHash;

/// The marks of one shard.
#[repr(align(128))]
pub(crate) struct Congestion {
    /// How many mailboxes are marked.
    marked: AtomicU32,
    /// Hashes of marked grains; 0 where there is none.
    hashes: [AtomicU64; PLACES],
}

const PLACES: usize = 1024;

impl Default for Congestion {
    fn default() -> Self {
        Self {
            marked: AtomicU32::new(0),
            hashes: [const { AtomicU64::new(0) }; PLACES],
        }
    }
}

impl Congestion {
    /// Whether the mailbox of a grain may be full. Relaxed throughout: a hint, whose being late by
    /// some messages the mailbox itself makes up for.
    #[inline]
    pub(crate) fn is_marked(&self, hash: GrainHash) -> bool {
        self.marked.load(Ordering::Relaxed) != 0 && self.is_set(hash)
    }

    /// Notes that one more mailbox is full. Only the owning shard may.
    pub(crate) fn mark(&self, hash: GrainHash) {
        self.set(hash);
        let marked = self.marked.load(Ordering::Relaxed);
        self.marked.store(marked + 1, Ordering::Relaxed);
    }

    /// Sets the mark again that another grain may have taken the place of.
    pub(crate) fn set(&self, hash: GrainHash) {
        self.place(hash).store(hash.0, Ordering::Relaxed);
    }

    /// Notes that a mailbox has room again. Only the owning shard may.
    pub(crate) fn unmark(&self, hash: GrainHash) {
        if self.is_set(hash) {
            self.place(hash).store(0, Ordering::Relaxed);
        }
        let marked = self.marked.load(Ordering::Relaxed);
        self.marked.store(marked - 1, Ordering::Relaxed);
    }

    fn is_set(&self, hash: GrainHash) -> bool {
        // A hash of 0, if there ever is one, is marked too often while its place is free.
        self.place(hash).load(Ordering::Relaxed) == hash.0
    }

    fn place(&self, hash: GrainHash) -> &AtomicU64 {
        &self.hashes[hash.0 as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_until_it_is_taken_back() {
        let congestion = Congestion::default();
        let (one, other) = (GrainHash(0xdead_beef), GrainHash(0xdead_bef0));
        assert!(!congestion.is_marked(one));
        congestion.mark(one);
        assert!(congestion.is_marked(one) && !congestion.is_marked(other));
        congestion.mark(other);
        congestion.unmark(one);
        assert!(!congestion.is_marked(one) && congestion.is_marked(other));
    }

    #[test]
    fn no_grain_is_taken_for_another_that_has_the_same_place() {
        let congestion = Congestion::default();
        let (one, namesake) = (GrainHash(5), GrainHash(5 + PLACES as u64));
        congestion.mark(one);
        assert!(!congestion.is_marked(namesake));
        congestion.mark(namesake);
        assert!(congestion.is_marked(namesake) && !congestion.is_marked(one));
        congestion.set(one);
        congestion.unmark(namesake);
        assert!(congestion.is_marked(one) && !congestion.is_marked(namesake));
    }
}
