//! Wakers of suspended handlers and tasks: safe on every thread, cheap on the shard's own.
//!
//! A waker never belongs to the reactor. It is a [`Token`] that names what to poll; waking it on
//! the shard's thread queues that for the next stage of the loop, waking it elsewhere hands it to
//! the shard's mailbox and rings the doorbell. A token is queued at most once until it is polled,
//! so wake storms grow nothing.
//!
//! A handler that waits for nothing but a call of its own shard needs no waker: the call table
//! keeps the place of its suspension, and queues that.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

use teff_wire::ShardId;

use crate::shared::NodeShared;

/// What is to be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A suspended handler, or its mailbox.
    Suspension(u32),
    /// A spawned task.
    Task(u64),
}

/// Something to poll, and why.
pub(crate) enum Ready {
    /// Its waker was woken.
    Woken(Arc<Token>),
    /// It can go on.
    Now(What),
}

/// What a shard is to poll, oldest first.
pub(crate) type ReadyQueue = RefCell<VecDeque<Ready>>;

/// What a waker holds.
pub(crate) struct Token {
    what: What,
    queued: AtomicBool,
    node: Arc<NodeShared>,
    shard: ShardId,
}

impl Token {
    pub(crate) fn new(what: What, node: &Arc<NodeShared>, shard: ShardId) -> Arc<Self> {
        Arc::new(Self {
            what,
            queued: AtomicBool::new(false),
            node: Arc::clone(node),
            shard,
        })
    }
}

impl Ready {
    /// Says that it is about to be polled, so that it may be queued again, and what it is.
    pub(crate) fn begin(&self) -> What {
        match self {
            Self::Woken(token) => {
                // AcqRel: what the waking thread wrote before it woke us is visible to the poll.
                token.queued.swap(false, Ordering::AcqRel);
                token.what
            }
            Self::Now(what) => *what,
        }
    }
}

impl Wake for Token {
    fn wake(self: Arc<Self>) {
        // AcqRel: pairs with the swap in `begin`.
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let (node, shard) = (Arc::clone(&self.node), self.shard);
        let mut token = Some(self);
        super::with_current(&node, |current| {
            if current.id() == shard
                && let Some(token) = token.take()
            {
                current.ready(Ready::Woken(token));
            }
        });
        if let Some(token) = token {
            node.shard(shard).wake(token);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Arc::clone(self).wake();
    }
}
