//! Which grains of a shard have full mailboxes, as every sender of the node can see.
//!
//! Senders ask before they send, so a full mailbox is felt where the message is made and not
//! where it would be dropped. A mark is a bit picked by the grain's hash: two grains may share
//! one, in which case the other waits or is refused too while the mark lasts. Only the shard
//! itself writes. Reading costs one load as long as nothing is marked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use teff_core::hash::GrainHash;

/// The marks of one shard.
#[repr(align(128))]
pub(crate) struct Congestion {
    /// How many mailboxes are marked.
    marked: AtomicU32,
    bits: [AtomicU64; WORDS],
}

const WORDS: usize = 256;

impl Default for Congestion {
    fn default() -> Self {
        Self {
            marked: AtomicU32::new(0),
            bits: [const { AtomicU64::new(0) }; WORDS],
        }
    }
}

impl Congestion {
    /// Whether the mailbox of a grain may be full. Relaxed throughout: a hint, whose being late by
    /// some messages the mailbox itself makes up for.
    pub(crate) fn is_marked(&self, hash: GrainHash) -> bool {
        self.marked.load(Ordering::Relaxed) != 0 && self.is_set(hash)
    }

    /// Notes that one more mailbox is full. Only the owning shard may.
    pub(crate) fn mark(&self, hash: GrainHash) {
        self.set(hash);
        let marked = self.marked.load(Ordering::Relaxed);
        self.marked.store(marked + 1, Ordering::Relaxed);
    }

    /// Sets the bit again that the unmarking of another grain may have cleared.
    pub(crate) fn set(&self, hash: GrainHash) {
        let (word, bit) = place(hash);
        let bits = self.bits[word].load(Ordering::Relaxed);
        self.bits[word].store(bits | bit, Ordering::Relaxed);
    }

    /// Notes that a mailbox has room again. Only the owning shard may.
    pub(crate) fn unmark(&self, hash: GrainHash) {
        let (word, bit) = place(hash);
        let bits = self.bits[word].load(Ordering::Relaxed);
        self.bits[word].store(bits & !bit, Ordering::Relaxed);
        let marked = self.marked.load(Ordering::Relaxed);
        self.marked.store(marked - 1, Ordering::Relaxed);
    }

    fn is_set(&self, hash: GrainHash) -> bool {
        let (word, bit) = place(hash);
        self.bits[word].load(Ordering::Relaxed) & bit != 0
    }
}

fn place(hash: GrainHash) -> (usize, u64) {
    (hash.0 as usize / 64 % WORDS, 1 << (hash.0 % 64))
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
    fn a_mark_that_a_namesake_took_away_can_be_set_again() {
        let congestion = Congestion::default();
        let (one, namesake) = (GrainHash(5), GrainHash(5 + (64 * WORDS as u64)));
        congestion.mark(one);
        congestion.mark(namesake);
        congestion.unmark(namesake);
        assert!(!congestion.is_marked(one));
        congestion.set(one);
        assert!(congestion.is_marked(one));
    }
}
