//! Which number a grain goes by on a link: the sender's table.
//!
//! An index of small sets over a dense list of grains. Numbers are given in order, 0, 1, 2, ..; a
//! grain whose set is full takes over the number of the last one there. Grains that are used move
//! forward in their set, so that it is a busy one rarely.
//!
//! Invariants: every grain in the list has exactly one slot; used slots come before free ones
//! within their set; there are never more slots, and so never more grains, than the limit allows.
//! The last grain that was added can be taken back until it is [kept](Numbers::keep).

use std::{
    fmt, mem,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::id::{Key, KindId};

/// As many grains as a link has numbers for unless it is told otherwise: 3 MiB for a sender,
/// as much for a receiver, once all are given to grains with keys of at most 23 bytes.
pub const DEFAULT_NAMES: u32 = 1 << 16;

/// The most grains that a link can have numbers for, whatever it is told.
pub const MAX_NAMES: u32 = 1 << 20;

/// Room for what a [`Writer`](crate::Writer) wants to remember about a grain, so that it need not
/// look for it with every message. Belongs beside the grain's key, and is worth nothing beside
/// another.
#[derive(Debug, Default)]
pub struct Spot(AtomicU64);

/// The grains of a link that have a number, found by their placement hash.
pub(crate) struct Numbers {
    /// How many slots there may be: a power of two.
    slots_max: usize,
    /// None before the first grain, then a power of two: sets of [`WAYS`] slots, or one smaller
    /// set if there may be no more slots.
    slots: Vec<Slot>,
    /// By number.
    grains: Vec<Named>,
    /// By number: what a [`Spot`] holds that the grain of this number was found at.
    stamps: Vec<u64>,
    /// How to take back the grain that was added last.
    undo: Option<Undo>,
}

/// What a tell or call is for: the kind, the key, and the low half of their hash, which picks the
/// set. The high half cannot: all grains of one shard share much of it.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'k> {
    pub(crate) kind: KindId,
    pub(crate) key: &'k Key,
    pub(crate) hash: u32,
    pub(crate) spot: Option<&'k Spot>,
}

/// Free when it is all zero.
#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u32,
    /// The number of the grain plus one.
    number: u32,
}

struct Named {
    kind: KindId,
    key: Key,
}

struct Undo {
    /// Where the set starts that was changed, and what was in it.
    set: usize,
    slots: [Slot; WAYS],
    /// The grain that lost its number, if one did, with its stamp, and that number.
    lost: Option<(usize, Named, u64)>,
}

impl Spot {
    // Relaxed: a hint that is checked, and complete in itself.
    #[inline(always)]
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, stamp: u64) {
        self.0.store(stamp, Ordering::Relaxed);
    }
}

impl Clone for Spot {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.get()))
    }
}

impl Numbers {
    /// A table without grains, and without memory. `names_max` is rounded down to a power of two,
    /// and is at least 1 and at most [`MAX_NAMES`].
    pub(crate) fn new(names_max: u32) -> Self {
        let names_max = names_max.clamp(1, MAX_NAMES);
        Self {
            slots_max: 1 << names_max.ilog2(),
            slots: Vec::new(),
            grains: Vec::new(),
            stamps: Vec::new(),
            undo: None,
        }
    }

    /// The number of the grain that was found at this spot the last time, if it still has it.
    #[inline(always)]
    pub(crate) fn find_at(&self, spot: &Spot) -> Option<u32> {
        let stamp = spot.get();
        let number = (stamp % u64::from(MAX_NAMES)) as u32;
        // No two stamps are alike, on whatever link, and none is 0.
        (self.stamps.get(number as usize) == Some(&stamp)).then_some(number)
    }

    /// The number of a grain that has one.
    #[inline(never)]
    pub(crate) fn find(&mut self, wanted: Wanted<'_>) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let set = self.set_of(wanted.hash);
        let set = &mut self.slots[set..][..WAYS.min(self.slots_max)];
        for way in 0..set.len() {
            let Slot { hash, number } = set[way];
            if hash != wanted.hash || number == 0 {
                continue;
            }
            let grain = &self.grains[number as usize - 1];
            if grain.kind == wanted.kind && grain.key == *wanted.key {
                if way > 0 {
                    // Closer to the front, where it is safer from being replaced.
                    set.swap(way, way - 1);
                }
                if let Some(spot) = wanted.spot {
                    spot.set(self.stamps[number as usize - 1]);
                }
                return Some(number - 1);
            }
        }
        None
    }

    /// Gives a number to a grain that has none. [`take_back`](Self::take_back) undoes it until
    /// [`keep`](Self::keep) was called.
    #[cold]
    pub(crate) fn add(&mut self, added: Wanted<'_>) -> u32 {
        self.make_room(added.hash);
        let start = self.set_of(added.hash);
        let set = &mut self.slots[start..][..WAYS.min(self.slots_max)];
        let mut slots = [Slot::default(); WAYS];
        slots[..set.len()].copy_from_slice(set);

        let grain = Named {
            kind: added.kind,
            key: added.key.clone(),
        };
        let last = set[set.len() - 1].number;
        let place = match last {
            0 => self.grains.len(),
            last => last as usize - 1,
        };
        let number = u32::try_from(place).expect("there are at most MAX_NAMES grains");
        let stamp = new_stamp(number);
        if let Some(spot) = added.spot {
            spot.set(stamp);
        }
        let lost = if last == 0 {
            self.grains.push(grain);
            self.stamps.push(stamp);
            None
        } else {
            let lost = mem::replace(&mut self.grains[place], grain);
            let lost_stamp = mem::replace(&mut self.stamps[place], stamp);
            Some((place, lost, lost_stamp))
        };
        set.rotate_right(1);
        set[0] = Slot {
            hash: added.hash,
            number: number + 1,
        };
        let set = start;
        self.undo = Some(Undo { set, slots, lost });
        number
    }

    /// Whether no grain could be taken back.
    #[inline(always)]
    pub(crate) fn is_kept(&self) -> bool {
        self.undo.is_none()
    }

    /// Keeps the grain that was added last.
    #[inline]
    pub(crate) fn keep(&mut self) {
        if self.undo.is_some() {
            self.undo = None;
        }
    }

    /// Takes back the grain that was added last, unless it was kept: then all is as it was before,
    /// but for the memory that there is.
    pub(crate) fn take_back(&mut self) {
        let Some(Undo { set, slots, lost }) = self.undo.take() else {
            return;
        };
        let set = &mut self.slots[set..][..WAYS.min(self.slots_max)];
        let ways = set.len();
        set.copy_from_slice(&slots[..ways]);
        match lost {
            Some((place, grain, stamp)) => {
                self.grains[place] = grain;
                self.stamps[place] = stamp;
            }
            None => {
                self.grains.pop();
                self.stamps.pop();
            }
        }
    }

    /// How many grains have a number.
    pub(crate) fn len(&self) -> usize {
        self.grains.len()
    }

    /// Grows the index while the set of this hash is full and the index is not sparse: some sets
    /// fill up early by chance, and memory is not to follow chance.
    fn make_room(&mut self, hash: u32) {
        if self.slots.is_empty() {
            let slots = SLOTS_MIN.min(self.slots_max);
            self.slots = vec![Slot::default(); slots];
        }
        while self.slots.len() < self.slots_max && self.grains.len() * SPARSE >= self.slots.len() {
            let last = self.set_of(hash) + WAYS - 1;
            if self.slots[last].number == 0 {
                return;
            }
            self.double();
        }
    }

    /// Splits every set in two. None can overflow, and the order within them stays.
    fn double(&mut self) {
        let old = mem::take(&mut self.slots);
        self.slots = vec![Slot::default(); old.len() * 2];
        for slot in old.into_iter().filter(|slot| slot.number != 0) {
            let set = self.set_of(slot.hash);
            let set = &mut self.slots[set..][..WAYS];
            let free = set.iter_mut().find(|slot| slot.number == 0);
            *free.expect("half a set fits into a whole one") = slot;
        }
    }

    /// Where the set of this hash starts.
    #[inline]
    fn set_of(&self, hash: u32) -> usize {
        // Both are powers of two. In a table of less than one set this is 0.
        (hash as usize).wrapping_mul(WAYS) & (self.slots.len() - 1)
    }
}

/// A stamp for the grain that is given this number: there never was another like it.
#[cold]
fn new_stamp(number: u32) -> u64 {
    static STAMPS: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only that all are different matters. Names that were given a million times a second
    // would use them up in half a year, and then only names so old could be mistaken.
    let stamp = STAMPS.fetch_add(1, Ordering::Relaxed);
    stamp.wrapping_mul(u64::from(MAX_NAMES)) | u64::from(number)
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbers")
            .field("len", &self.len())
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

/// Slots of a set: half a cache line. With two, one in four grains of a table that is half full
/// would share a set with two others and lose its number again and again; with four it is one in
/// seven, and with a sixth of the table in use one in 280 instead of one in 26.
const WAYS: usize = 4;

/// Slots of the first index.
const SLOTS_MIN: usize = 64;

/// An index with this many slots for each grain does not grow.
const SPARSE: usize = 16;
