//! The grains in memory on one shard: an open-addressed index of `u32` over a slab.
//!
//! Everything that a message to a grain at rest needs is in one cache line of the slab: the id to
//! compare with, the context, the way to the grain, the number of its kind. The slab grows by
//! chunks, so that entries never move and growing never copies them. Who has a mark of a grain
//! finds it without its id: by its place, and by how often that place was taken.

mod index;

use teff_contract::{Activation, Ctx};
use teff_core::hash::GrainHash;
use teff_lane::prefetch;
use teff_wire::{Key, KindId};

use self::index::Index;

/// All activations of a shard.
pub(crate) struct Catalog {
    index: Index,
    chunks: Vec<Box<[Place; CHUNK]>>,
    /// How often each place was taken by another grain, from 1 on.
    tenancies: Vec<u32>,
    /// The vacant place to be used next, or `NONE`.
    vacant: u32,
    len: usize,
    max: usize,
}

/// One activation.
#[repr(align(64))]
pub(crate) struct Entry {
    pub ctx: Ctx,
    /// `None` after a panic, while messages wait for the next activation.
    pub activation: Option<Box<dyn Activation>>,
    /// Its place among the suspended, or [`NONE`].
    pub suspension: u32,
    /// The place of its kind among the kinds that the shard hosts.
    pub kind: u32,
}

enum Place {
    Taken(Entry),
    Vacant { next: u32 },
}

/// No place.
pub(crate) const NONE: u32 = u32::MAX;

/// Entries that are allocated at once: 64 KiB of them.
const CHUNK: usize = 1024;

impl Catalog {
    /// An empty catalog for at most `max` activations.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            index: Index::new(),
            chunks: Vec::new(),
            tenancies: Vec::new(),
            vacant: NONE,
            len: 0,
            max: max.min(NONE as usize - CHUNK),
        }
    }

    /// The place of a grain, if it is in memory.
    #[inline]
    pub(crate) fn find(&self, hash: GrainHash, kind: KindId, key: &Key) -> Option<u32> {
        let first = self.index.first(hash.0)?;
        let id = self.entry(first).ctx.id();
        if id.kind == kind && id.key == *key {
            return Some(first);
        }
        self.find_among_equals(hash, kind, key)
    }

    /// The same where the hashes of two grains agree as far as the index knows them.
    #[cold]
    fn find_among_equals(&self, hash: GrainHash, kind: KindId, key: &Key) -> Option<u32> {
        self.index.find(hash.0, |slot| {
            let id = self.entry(slot).ctx.id();
            id.kind == kind && id.key == *key
        })
    }

    /// What finds the grain at this place again without its id, for as long as it is there. Never
    /// 0.
    pub(crate) fn mark(&self, slot: u32) -> u64 {
        u64::from(self.tenancies[slot as usize]) << 32 | u64::from(slot)
    }

    /// The place of the grain that a mark was made for, if it is still there.
    #[inline(always)]
    pub(crate) fn find_marked(&self, mark: u64) -> Option<u32> {
        let slot = mark as u32;
        let tenancy = self.tenancies.get(slot as usize)?;
        (u64::from(*tenancy) == mark >> 32).then_some(slot)
    }

    /// Fetches into the cache what [`find`](Self::find) reads first.
    pub(crate) fn prefetch_index(&self, hash: GrainHash) {
        self.index.prefetch(hash.0);
    }

    /// Fetches the entry that a hash most likely stands for. Returns its place.
    pub(crate) fn prefetch_entry(&self, hash: GrainHash) -> u32 {
        let slot = self.index.first(hash.0).unwrap_or(NONE);
        if slot != NONE {
            prefetch(self.place(slot));
        }
        slot
    }

    /// Fetches the grain itself.
    pub(crate) fn prefetch_grain(&self, slot: u32) {
        if slot != NONE
            && let Place::Taken(Entry {
                activation: Some(activation),
                ..
            }) = self.place(slot)
        {
            prefetch(&**activation);
        }
    }

    /// Whether there is room for one more.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.max
    }

    /// Enters a grain that is not in the catalog yet.
    pub(crate) fn insert(&mut self, hash: GrainHash, entry: Entry) -> u32 {
        if self.vacant == NONE {
            self.grow();
        }
        let slot = self.vacant;
        let place = self.place_mut(slot);
        if let Place::Vacant { next } = std::mem::replace(place, Place::Taken(entry)) {
            self.vacant = next;
        }
        self.index.insert(hash.0, slot);
        self.len += 1;
        slot
    }

    /// The entry at a place that is taken.
    pub(crate) fn entry(&self, slot: u32) -> &Entry {
        match self.place(slot) {
            Place::Taken(entry) => entry,
            Place::Vacant { .. } => unreachable!("{TAKEN}"),
        }
    }

    /// The entry at a place that is taken.
    pub(crate) fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        match self.place_mut(slot) {
            Place::Taken(entry) => entry,
            Place::Vacant { .. } => unreachable!("{TAKEN}"),
        }
    }

    /// Takes an activation out.
    pub(crate) fn remove(&mut self, hash: GrainHash, slot: u32) -> Option<Entry> {
        let next = self.vacant;
        let place = self.place_mut(slot);
        if matches!(place, Place::Vacant { .. }) {
            return None;
        }
        let Place::Taken(entry) = std::mem::replace(place, Place::Vacant { next }) else {
            return None;
        };
        self.vacant = slot;
        // It comes round after four thousand million grains in one place.
        let tenancy = &mut self.tenancies[slot as usize];
        *tenancy = tenancy.wrapping_add(1).max(1);
        self.len -= 1;
        self.index.remove(hash.0, slot);
        Some(entry)
    }

    /// How many grains are in memory.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes everything out, when the shard ends.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = Entry> {
        self.index.clear();
        self.tenancies.clear();
        self.len = 0;
        self.vacant = NONE;
        let places = std::mem::take(&mut self.chunks);
        places
            .into_iter()
            .flat_map(|chunk| (chunk as Box<[Place]>).into_iter())
            .filter_map(|place| match place {
                Place::Taken(entry) => Some(entry),
                Place::Vacant { .. } => None,
            })
    }

    fn place(&self, slot: u32) -> &Place {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    fn place_mut(&mut self, slot: u32) -> &mut Place {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    #[cold]
    fn grow(&mut self) {
        let first = (self.chunks.len() * CHUNK) as u32;
        let last = first + CHUNK as u32 - 1;
        let places: Box<[Place]> = (first..=last)
            .map(|slot| Place::Vacant {
                next: if slot == last { NONE } else { slot + 1 },
            })
            .collect();
        let chunk = places.try_into().ok();
        self.chunks.push(chunk.expect("as many as a chunk has"));
        self.tenancies.resize(self.chunks.len() * CHUNK, 1);
        self.vacant = first;
    }
}

const TAKEN: &str = "a place stays taken as long as anything refers to it";

const _: () = assert!(
    size_of::<Place>() == 64,
    "what a message to a grain at rest needs is in one line of cache"
);
