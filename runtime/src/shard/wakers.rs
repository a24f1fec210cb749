//! Wakers of suspended handlers and tasks: safe on every thread, cheap on the shard's own.
//!
//! A waker never belongs to the reactor. It names a [`Runnable`]; waking it on the shard's thread
//! queues that for the next turn of the loop, waking it elsewhere hands it to the shard's mailbox
//! and rings the doorbell. A runnable is queued at most once until it is polled, so wake storms
//! grow nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use teff_wire::ShardId;

use crate::shard::catalog::ActivationKey;
use crate::shared::NodeShared;

/// Something that a shard polls when it is woken.
#[derive(Clone, Debug)]
pub(crate) struct Runnable {
    what: What,
    queued: Arc<AtomicBool>,
}

/// What is to be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The suspended handler of an activation, or its mailbox.
    Activation(ActivationKey),
    /// A spawned task.
    Task(u64),
}

/// What a shard is to poll, oldest first.
pub(crate) type ReadyQueue = RefCell<VecDeque<Runnable>>;

struct Token {
    node: Arc<NodeShared>,
    shard: ShardId,
    runnable: Runnable,
}

impl Runnable {
    pub(crate) fn new(what: What) -> Self {
        Self {
            what,
            queued: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Says that it is about to be polled, so that it may be queued again, and what it is.
    pub(crate) fn begin(&self) -> What {
        // AcqRel: what the waking thread wrote before it woke us is visible to the poll.
        self.queued.swap(false, Ordering::AcqRel);
        self.what
    }

    /// A waker for it.
    pub(crate) fn waker(&self, node: &Arc<NodeShared>, shard: ShardId) -> Waker {
        let (node, runnable) = (Arc::clone(node), self.clone());
        Waker::from(Arc::new(Token {
            node,
            shard,
            runnable,
        }))
    }
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel: pairs with the swap in `begin`.
        if self.runnable.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let runnable = self.runnable.clone();
        let left = super::with_current(&self.node, |shard| {
            if shard.id() == self.shard {
                shard.ready(runnable);
                None
            } else {
                Some(runnable)
            }
        });
        let foreign = left.unwrap_or_else(|| Some(self.runnable.clone()));
        if let Some(runnable) = foreign {
            self.node.shard(self.shard).wake(runnable);
        }
    }
}
