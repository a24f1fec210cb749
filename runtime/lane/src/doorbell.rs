//! The doorbell: how a shard sleeps without missing a message, and how others wake it for little.
//!
//! One flag says whether the owner announced that it goes to sleep. Its transitions:
//!
//! - awake to parked: only the owner, in `park`;
//! - parked to awake: the owner, in `park` when there was work after all and in `awake`; or one of
//!   the ringers, which then owes the owner one call of `wake`. The swap picks that one.
//!
//! No wake-up is lost, because each side writes, passes a full fence, and reads what the other
//! wrote: the ringer writes its message and reads the flag, the owner writes the flag and looks for
//! messages. Whichever fence comes second, its side sees what the other wrote before the first.
//!
//! A fence at the ringer's costs it the time until its stores have reached the other CPU, for each
//! message that it publishes alone. Where the system has a barrier for all threads of the process
//! (Linux: `membarrier`), the owner can run that instead when it parks. Each ringer then has had a
//! full fence at some point of its program, between the owner's write and the owner's look: what
//! it wrote before that point, the owner sees; what it reads after it, the owner wrote. Its write
//! comes before its read, so one of the two holds, wherever the point is, as long as the compiler
//! keeps that order; hence the fence that is left to it, which is for the compiler only.
//!
//! What the barrier does not replace is an order that a ringer needs at every ring, and not only
//! while somebody parks: the swap in `wake_owner` must therefore be a release of its own.

use std::{fmt, sync::atomic::compiler_fence};

use crate::sync::{AtomicBool, Ordering, Padded, fence};

/// Wakes one sleeping shard. Shared by the shard, which owns it, and by all who send to it.
///
/// The owner, on its own thread only:
///
/// 1. consumes the wake-ups it got so far (reads its eventfd, say), then works until nothing is to
///    be done. Consuming one later, between the steps below, would lose it;
/// 2. calls [`park`](Self::park) with a closure that looks once more at everything that others
///    [ring](Self::ring) for. On false it goes back to work; on true it sleeps until `wake`, or a
///    timer or socket, ends its sleep;
/// 3. calls [`awake`](Self::awake) and starts over.
///
/// A ringer that finds the owner parked calls `wake` once for all ringers. The call may come late,
/// after the owner has woken for another reason, so the sleep of step 2 must remember a wake-up
/// that comes before it (as an eventfd and [`std::thread::park`] do), and the owner must be
/// prepared to wake for nothing. There are never more wake-ups than parks.
///
/// ```
/// use std::{sync::Arc, thread};
/// use teff_lane::{Doorbell, lane};
///
/// let (mut sender, mut receiver) = lane::<u32>(8);
/// let owner = thread::current();
/// let bell = Arc::new(Doorbell::new(move || owner.unpark()));
///
/// let ringer = Arc::clone(&bell);
/// thread::spawn(move || {
///     for number in 1..=5 {
///         sender.try_push(number).expect("the lane has room for eight");
///         if sender.publish() {
///             ringer.ring();
///         }
///     }
///     drop(sender);
///     ringer.ring();
/// });
///
/// let mut sum = 0;
/// while !receiver.is_closed() {
///     receiver.drain(64, |number| sum += number);
///     if bell.park(|| receiver.is_empty() && !receiver.is_closed()) {
///         thread::park();
///         bell.awake();
///     }
/// }
/// assert_eq!(sum, 15);
/// ```
pub struct Doorbell {
    parked: Padded<AtomicBool>,
    wake: Box<dyn Fn() + Send + Sync>,
    /// Makes every thread of the process run a full fence.
    barrier: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Doorbell {
    /// Makes a doorbell whose owner is awake. `wake` ends one sleep of the owner; it is called on
    /// the threads of ringers and should neither block nor panic.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            parked: Padded::new(AtomicBool::new(false)),
            wake: Box::new(wake),
            barrier: None,
        }
    }

    /// Lets ringers do without a fence, because the owner runs `barrier` whenever it parks. When
    /// `barrier` returns, every other thread of the process must have run a full memory fence
    /// since it was called; a barrier that fails has to panic or abort. Ringers and the owner must
    /// be threads of one process, or the barrier does not reach them.
    #[must_use]
    pub fn with_barrier(mut self, barrier: impl Fn() + Send + Sync + 'static) -> Self {
        self.barrier = Some(Box::new(barrier));
        self
    }

    /// Wakes the owner if it is parked. To be called after every
    /// [`publish`](crate::Sender::publish) that made something visible, after a sender was dropped,
    /// and after anything else that the owner looks for before it parks.
    ///
    /// Costs a fence and a read when the owner is awake, and only the read
    /// [with a barrier](Self::with_barrier).
    pub fn ring(&self) {
        // Pairs with the fence in `park`, or stands where the barrier there may put one: see the
        // top of this file.
        if self.barrier.is_some() {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        // Relaxed suffices after either. The read spares the awake owner's line the swap.
        if self.parked.load(Ordering::Relaxed) {
            self.wake_owner();
        }
    }

    /// Announces that the owner goes to sleep, and then asks `nothing_to_do` whether it still may.
    ///
    /// True: sleep now; whoever rings from now on (or has rung since the announcement) wakes the
    /// owner. False: there is work, and the announcement is withdrawn; a ringer that was faster has
    /// called, or will call, `wake` all the same. If `nothing_to_do` panics, the announcement stays
    /// until [`awake`](Self::awake), at the price of one wake-up for nothing.
    #[must_use = "true means sleep now, false means there is work"]
    pub fn park(&self, nothing_to_do: impl FnOnce() -> bool) -> bool {
        // Relaxed suffices before the fence. A store would do, but loom does not see that the swap
        // of a late ringer comes before it; between two swaps it does, and parking is not hot.
        self.parked.swap(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`: see the top of this file.
        self.fence();
        let sleep = nothing_to_do();
        if !sleep {
            self.awake();
        }
        sleep
    }

    /// The owner's side of the fence in [`ring`](Self::ring), for whatever else a ringer looks at
    /// after ringing: who writes that, calls this, and then looks for messages, misses none of a
    /// ringer that has not seen it. The ringer has to ring between its publish and its look, also
    /// when it knows that nobody sleeps. As expensive as a park.
    pub fn fence(&self) {
        fence(Ordering::SeqCst);
        if let Some(barrier) = &self.barrier {
            barrier();
            // What the caller looks at next is looked at after the barrier, even if all that the
            // compiler knows of it is a system call without a memory operand. No instruction.
            compiler_fence(Ordering::SeqCst);
        }
    }

    /// Tells ringers that the owner is awake again, for whatever reason. The owner then sees
    /// everything that was published before the ring that woke it.
    pub fn awake(&self) {
        // Acquire pairs with the swap in `wake_owner`, in case the owner's way of sleeping orders
        // nothing by itself. What this swap misses, the fence of the next `park` catches.
        self.parked.swap(false, Ordering::Acquire);
    }

    /// Whether the owner announced sleep and nobody has woken it yet. A hint for statistics and
    /// policies: it orders nothing and may be out of date on return.
    pub fn is_parked(&self) -> bool {
        // Relaxed suffices: nothing is read on the strength of this.
        self.parked.load(Ordering::Relaxed)
    }

    #[cold]
    fn wake_owner(&self) {
        // One of several ringers wins the swap, so a park is answered by at most one wake-up.
        // Release pairs with the swap in `awake`: the message is there when the owner is awake. The
        // fence in `ring` would do as well, but with a barrier there is none.
        if self.parked.swap(false, Ordering::Release) {
            (self.wake)();
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell")
            .field("is_parked", &self.is_parked())
            .finish_non_exhaustive()
    }
}
