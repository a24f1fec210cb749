//! What a handler sees of the world: its own id, references to other grains, time, tasks.
//!
//! A [`Ctx`] belongs to one activation and stays on its shard's thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use teff_wire::{GrainId, NodeId, ShardId};

use crate::port::Port;
use crate::reference::{GrainRef, Reference};

/// A task on a shard.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What an activation may ask of its shard.
pub trait Host {
    /// The node.
    fn node(&self) -> NodeId;

    /// The shard.
    fn shard(&self) -> ShardId;

    /// The clock.
    fn now(&self) -> Instant;

    /// Wakes `waker` at `deadline`. Returns a number for [`cancel_timer`](Self::cancel_timer).
    fn start_timer(&self, deadline: Instant, waker: Waker) -> u64;

    /// Forgets a timer that may or may not have fired.
    fn cancel_timer(&self, timer: u64);

    /// Runs a task on this shard until it ends or the node stops.
    fn spawn(&self, task: Task);
}

/// The context of an activation. Cloning it is cheap.
#[derive(Clone)]
pub struct Ctx {
    id: GrainId,
    home: Rc<Home>,
}

/// What all activations of a shard have in common.
pub struct Home {
    /// The shard.
    pub host: Rc<dyn Host>,
    /// What references made there send through.
    pub port: Arc<dyn Port>,
}

impl Ctx {
    /// Called by the runtime for each activation.
    pub fn new(id: GrainId, home: Rc<Home>) -> Self {
        Self { id, home }
    }

    /// This grain.
    pub fn id(&self) -> &GrainId {
        &self.id
    }

    /// This grain's key.
    pub fn key(&self) -> &str {
        self.id.key.as_str()
    }

    /// The node that the activation lives on.
    pub fn node(&self) -> NodeId {
        self.home.host.node()
    }

    /// The shard that the activation lives on.
    pub fn shard(&self) -> ShardId {
        self.home.host.shard()
    }

    /// A reference to another grain, or to this one.
    pub fn grain<R: Reference>(&self, key: impl AsRef<str>) -> R {
        R::from_grain(GrainRef::to::<R>(Arc::clone(&self.home.port), key))
    }

    /// Suspends the handler for at least this long. The grain takes no other message meanwhile.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let host = Rc::clone(&self.home.host);
        let now = host.now();
        // A duration that overflows the clock may come from a peer; it is as good as for ever.
        let deadline = now.checked_add(duration).unwrap_or(now + FOR_EVER);
        Sleep {
            host,
            deadline,
            timer: None,
        }
    }

    /// Runs `task` beside the grain, on the same shard. A panic in it ends that task only.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.home.host.spawn(Box::pin(task));
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx")
            .field("key", &self.key())
            .finish_non_exhaustive()
    }
}

const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Ready after its time; see [`Ctx::sleep`].
#[must_use = "a sleep does nothing until it is awaited"]
pub struct Sleep {
    host: Rc<dyn Host>,
    deadline: Instant,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = self.timer.take() {
            self.host.cancel_timer(timer);
        }
        if self.host.now() >= self.deadline {
            return Poll::Ready(());
        }
        self.timer = Some(self.host.start_timer(self.deadline, cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.host.cancel_timer(timer);
        }
    }
}
