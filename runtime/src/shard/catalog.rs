//! The grains in memory on one shard: an open-addressed index of `u32` over a slab.
//!
//! The index holds no keys: a candidate is compared with the id in its slot. Slots have
//! generations, so that a wake-up for an activation that is gone finds nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use hashbrown::HashTable;
use slab::Slab;
use teff_contract::{Activation, Ctx};
use teff_core::hash::GrainHash;
use teff_wire::GrainId;

use crate::counters::KindCell;
use crate::envelope::{Letter, ReplyTo};

/// Which activation: a slot and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ActivationKey {
    slot: u32,
    generation: u32,
}

/// All activations of a shard.
pub(crate) struct Catalog {
    index: HashTable<u32>,
    slots: Slab<Entry>,
    generation: u32,
    max: usize,
    suspended: usize,
}

/// One activation and what waits for it.
pub(crate) struct Entry {
    generation: u32,
    hash: GrainHash,
    pub ctx: Ctx,
    pub kind: Arc<KindCell>,
    /// Away while a turn runs, so that no borrow of the catalog is held then.
    pub activation: Option<Box<dyn Activation>>,
    /// Where the outcome of the suspended handler goes; `None` when no handler is suspended.
    pub suspended: Option<ReplyTo>,
    /// Messages that came while a handler was suspended, oldest first.
    pub mailbox: VecDeque<Letter>,
    /// Made when a handler first suspends.
    pub waker: Option<Waker>,
}

impl Catalog {
    /// An empty catalog for at most `max` activations.
    pub(crate) fn new(max: usize) -> Self {
        let max = max.min(u32::MAX as usize);
        Self {
            index: HashTable::new(),
            slots: Slab::new(),
            generation: 0,
            max,
            suspended: 0,
        }
    }

    /// The activation of a grain, if it is in memory.
    pub(crate) fn find(&self, hash: GrainHash, id: &GrainId) -> Option<ActivationKey> {
        let slots = &self.slots;
        let slot = *self
            .index
            .find(hash.0, |slot| slots[*slot as usize].ctx.id() == id)?;
        Some(ActivationKey {
            slot,
            generation: slots[slot as usize].generation,
        })
    }

    /// Whether there is room for one more.
    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= self.max
    }

    /// Enters a grain that is not in the catalog yet.
    pub(crate) fn insert(
        &mut self,
        hash: GrainHash,
        ctx: Ctx,
        kind: Arc<KindCell>,
        activation: Box<dyn Activation>,
    ) -> ActivationKey {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.slots.insert(Entry {
            generation,
            hash,
            ctx,
            kind,
            activation: Some(activation),
            suspended: None,
            mailbox: VecDeque::new(),
            waker: None,
        }) as u32;
        let slots = &self.slots;
        self.index
            .insert_unique(hash.0, slot, |slot| slots[*slot as usize].hash.0);
        ActivationKey { slot, generation }
    }

    /// The entry, unless the activation is gone.
    pub(crate) fn get_mut(&mut self, key: ActivationKey) -> Option<&mut Entry> {
        let entry = self.slots.get_mut(key.slot as usize)?;
        (entry.generation == key.generation).then_some(entry)
    }

    /// Takes an activation out, with everything that waits for it.
    pub(crate) fn remove(&mut self, key: ActivationKey) -> Option<Entry> {
        self.get_mut(key)?;
        let entry = self.slots.remove(key.slot as usize);
        if let Ok(found) = self
            .index
            .find_entry(entry.hash.0, |slot| *slot == key.slot)
        {
            found.remove();
        }
        if entry.suspended.is_some() {
            self.suspended -= 1;
        }
        Some(entry)
    }

    /// Notes that the handler of an activation waits, or no longer does. Returns what was noted.
    pub(crate) fn suspend(
        &mut self,
        key: ActivationKey,
        reply: Option<ReplyTo>,
    ) -> Option<ReplyTo> {
        let entry = self.get_mut(key)?;
        let was = std::mem::replace(&mut entry.suspended, reply);
        self.suspended = self.suspended + usize::from(reply.is_some()) - usize::from(was.is_some());
        was
    }

    /// How many handlers are suspended.
    pub(crate) fn suspended(&self) -> usize {
        self.suspended
    }

    /// How many grains are in memory.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes everything out, when the shard ends.
    pub(crate) fn clear(&mut self) -> Vec<Entry> {
        self.index.clear();
        self.suspended = 0;
        self.slots.drain().collect()
    }
}
