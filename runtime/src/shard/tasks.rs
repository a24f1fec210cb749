//! Tasks that handlers spawned: futures in a slab, polled when woken, on this shard only.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use teff_contract::context::Task;
use teff_wire::ShardId;

use crate::shard::wakers::{Ready, Token, What};
use crate::shared::NodeShared;

/// The tasks of a shard.
#[derive(Default)]
pub(crate) struct Tasks {
    slots: Slab<Slot>,
    generation: u32,
}

struct Slot {
    generation: u32,
    waker: Waker,
    /// Away while it is polled, so that it may spawn others.
    task: Option<Task>,
}

/// A task taken out to be polled.
pub(crate) struct Taken {
    id: u64,
    waker: Waker,
    task: Task,
}

impl Tasks {
    /// Enters a task; queue the result to have it polled for the first time.
    pub(crate) fn insert(&mut self, task: Task, node: &Arc<NodeShared>, shard: ShardId) -> Ready {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let vacant = self.slots.vacant_entry();
        let id = u64::from(generation) << 32 | vacant.key() as u64;
        vacant.insert(Slot {
            generation,
            waker: Waker::from(Token::new(What::Task(id), node, shard)),
            task: Some(task),
        });
        Ready::Now(What::Task(id))
    }

    /// Takes a task out to be polled, unless it has ended.
    pub(crate) fn take(&mut self, id: u64) -> Option<Taken> {
        let slot = self.slots.get_mut((id & u64::from(u32::MAX)) as usize)?;
        if u64::from(slot.generation) != id >> 32 {
            return None;
        }
        Some(Taken {
            id,
            waker: slot.waker.clone(),
            task: slot.task.take()?,
        })
    }

    /// Puts a task back that has not ended.
    pub(crate) fn put_back(&mut self, taken: Taken) {
        if let Some(slot) = self
            .slots
            .get_mut((taken.id & u64::from(u32::MAX)) as usize)
        {
            slot.task = Some(taken.task);
        }
    }

    /// Forgets a task that has ended.
    pub(crate) fn remove(&mut self, id: u64) {
        self.slots.try_remove((id & u64::from(u32::MAX)) as usize);
    }
}

impl Taken {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn poll(&mut self) -> Poll<()> {
        Pin::new(&mut self.task).poll(&mut Context::from_waker(&self.waker))
    }
}
