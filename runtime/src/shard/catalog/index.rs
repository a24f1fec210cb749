//! From the hash of a grain to its slot: open addressing with linear probing.
//!
//! A bucket is 32 bits of the hash and a slot, so a line of cache holds eight of them and a probe
//! nearly always ends in the first. The table never asks its entries anything: growing it reads
//! nothing but itself, and a miss is found out without touching a grain. Those 32 bits are the
//! low ones; the top 14 pick the partition and are alike for many grains of one shard.

use teff_lane::prefetch;

/// The index of a catalog.
pub(crate) struct Index {
    /// A power of two of them.
    buckets: Box<[Bucket]>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Bucket {
    hash: u32,
    /// `VACANT` where there is none.
    slot: u32,
}

const VACANT: u32 = u32::MAX;

const EMPTY: Bucket = Bucket {
    hash: 0,
    slot: VACANT,
};

const SMALLEST: usize = 64;

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![EMPTY; SMALLEST].into(),
            len: 0,
        }
    }

    /// Fetches the bucket of a hash into the cache.
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[self.home(hash as u32)]);
    }

    /// The first slot under this hash.
    #[inline]
    pub(crate) fn first(&self, hash: u64) -> Option<u32> {
        let hash = hash as u32;
        // Spelt out so that the compiler sees that a masked place lies inside.
        let last = self.buckets.len().checked_sub(1)?;
        let mut place = hash as usize;
        loop {
            let bucket = self.buckets[place & last];
            if bucket.slot == VACANT {
                return None;
            }
            if bucket.hash == hash {
                return Some(bucket.slot);
            }
            place += 1;
        }
    }

    /// The first slot under this hash of which `is_it` says so. Slower than
    /// [`first`](Self::first), which nearly always finds the right one.
    #[cold]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = hash as u32;
        let mut place = self.home(hash);
        loop {
            let bucket = self.buckets[place];
            if bucket.slot == VACANT {
                return None;
            }
            if bucket.hash == hash && is_it(bucket.slot) {
                return Some(bucket.slot);
            }
            place = self.next(place);
        }
    }

    /// Enters a slot that is not in it.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        // At most three quarters full, or probes get long.
        if (self.len + 1) * 4 > self.buckets.len() * 3 {
            self.grow();
        }
        self.put(Bucket {
            hash: hash as u32,
            slot,
        });
        self.len += 1;
    }

    /// Takes a slot out.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) {
        let mut hole = self.home(hash as u32);
        loop {
            match self.buckets[hole].slot {
                found if found == slot => break,
                VACANT => return,
                _ => hole = self.next(hole),
            }
        }
        self.len -= 1;
        // What comes after may have been pushed on by what was here: it moves up, so that no probe
        // ends early.
        let mut place = self.next(hole);
        while self.buckets[place].slot != VACANT {
            let bucket = self.buckets[place];
            let mask = self.buckets.len() - 1;
            let from_home = place.wrapping_sub(self.home(bucket.hash)) & mask;
            let from_hole = place.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.buckets[hole] = bucket;
                hole = place;
            }
            place = self.next(place);
        }
        self.buckets[hole] = EMPTY;
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.buckets.len() - 1)
    }

    fn put(&mut self, bucket: Bucket) {
        let mut place = self.home(bucket.hash);
        while self.buckets[place].slot != VACANT {
            place = self.next(place);
        }
        self.buckets[place] = bucket;
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![EMPTY; self.buckets.len() * 2].into();
        for &bucket in &std::mem::replace(&mut self.buckets, doubled) {
            if bucket.slot != VACANT {
                self.put(bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A hash whose low bits collide often.
    fn poor(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & 0x3ff
    }

    #[test]
    fn what_is_entered_is_found_until_it_is_removed() {
        for hash in [poor, |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15), |_| 7] {
            let mut index = Index::new();
            let mut model = HashMap::new();
            let mut random = 1_u64;
            for step in 0..20_000_u64 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let name = random >> 33 & 0x1ff;
                let slot = name as u32 + 1000;
                if model.remove(&name).is_some() {
                    index.remove(hash(name), slot);
                } else {
                    model.insert(name, slot);
                    index.insert(hash(name), slot);
                }
                let asked = step & 0x1ff;
                let found = index.find(hash(asked), |slot| slot == asked as u32 + 1000);
                assert_eq!(found, model.get(&asked).copied(), "{step}");
                let first = index.find(hash(asked), |_| true);
                assert_eq!(index.first(hash(asked)), first, "{step}");
            }
            assert_eq!(index.len, model.len());
        }
    }

    #[test]
    fn the_right_one_is_found_among_equal_hashes() {
        let mut index = Index::new();
        for slot in 0..10 {
            index.insert(42, slot);
        }
        for slot in 0..10 {
            assert_eq!(index.find(42, |found| found == slot), Some(slot));
        }
        assert_eq!(index.find(42, |_| false), None);
        assert_eq!(index.find(43, |_| true), None);
    }

    #[test]
    fn removing_what_is_not_there_changes_nothing() {
        let mut index = Index::new();
        index.insert(1, 1);
        index.remove(2, 2);
        index.remove(1, 2);
        assert_eq!(index.find(1, |_| true), Some(1));
    }
}
