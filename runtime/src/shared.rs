//! What the threads of one node share: an immutable description and, per shard, a mailbox for
//! rare commands and wake-ups.
//!
//! Nothing here is on the way of a message. Messages take lanes; these mutexes are taken to hand
//! over a new lane, a new kind, a wake-up from a foreign thread, or the order to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use teff_contract::{Kind, Target};
use teff_core::hash::{GrainHash, PlacementKey};
use teff_core::placement::Owner;
use teff_core::time::Micros;
use teff_core::view::View;
use teff_lane::{Doorbell, Receiver};
use teff_wire::{NodeId, ShardId};

use crate::congestion::Congestion;
use crate::counters::ShardCounters;
use crate::driver::Reactor;
use crate::envelope::{Errand, Outside};
use crate::idle::IdleStrategy;
use crate::overload::Policies;
use crate::panics::wake_quietly;
use crate::shard::wakers::Token;

/// A node as its threads see it.
pub(crate) struct NodeShared {
    pub id: NodeId,
    pub view: Arc<View>,
    /// The epoch of that view, where every message finds it.
    pub epoch: u32,
    pub placement_key: PlacementKey,
    pub limits: Limits,
    pub shards: Vec<ShardShared>,
    /// Zero of the clock that deadlines inside this node are counted on.
    pub started: Instant,
    /// Whether new messages from outside the shards are accepted.
    pub accepting: AtomicBool,
    /// Whether peers are told that this node is stopping. Comes later than the end of `accepting`:
    /// a peer's message may belong to something that this node is to finish.
    pub refusing_peers: AtomicBool,
    /// How many shards have stopped turning, so that none ends while another still sends to it.
    pub halted: AtomicUsize,
    /// What to do with messages that find no room.
    pub overload: Policies,
}

/// What a node allows; see the setters of the builder for meanings and defaults.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub call_timeout: Duration,
    pub lane_capacity: usize,
    pub mailbox_capacity: usize,
    pub queue_capacity: usize,
    pub activations_max: usize,
    pub dial_queue: usize,
    pub mesh_max: usize,
    pub message_bytes_max: usize,
    pub idle: IdleStrategy,
    pub reactor: Reactor,
}

/// A shard as other threads see it.
pub(crate) struct ShardShared {
    pub doorbell: Doorbell,
    pub counters: ShardCounters,
    pub status: Status,
    pub congestion: Arc<Congestion>,
    commands: Flagged<Command>,
    wakes: Flagged<Arc<Token>>,
    room: Flagged<Waker>,
    /// What threads outside send to other nodes and may get lost.
    lossy: Flagged<Errand>,
    /// Whether the shard has ended. Set under the lock of `graveyard`.
    ended: AtomicBool,
    /// The lanes of an ended shard. A thread that was just sending finds its message here.
    graveyard: Mutex<Vec<Receiver<Outside>>>,
}

/// What a shard says about itself after each turn of its loop, for whoever waits for it to come to
/// rest.
#[derive(Default)]
pub(crate) struct Status {
    /// Nothing queued, nothing suspended, nothing unacknowledged.
    pub at_rest: AtomicBool,
    /// How many turns the loop has made. Two equal counts with `at_rest` in between: asleep.
    pub turns: AtomicU64,
}

/// Orders to a shard.
pub(crate) enum Command {
    /// Drain this lane too.
    Lane(Receiver<Outside>),
    /// Host this kind from here on; answer when it is known.
    Kind(Kind, oneshot::Sender<()>),
    /// End now; what is left is counted as dropped.
    Stop,
}

/// A list behind a mutex, and a flag that says without locking whether it is worth a look.
struct Flagged<T> {
    /// `None` once the shard has ended: what comes then is refused.
    list: Mutex<Option<Vec<T>>>,
    filled: AtomicBool,
}

impl NodeShared {
    /// Now, on the node's own clock.
    pub(crate) fn micros(&self, now: Instant) -> Micros {
        Micros::default().after(now.saturating_duration_since(self.started))
    }

    /// Where a grain lives, as the reference remembers it from this view, or as the view says.
    #[inline]
    pub(crate) fn owner_of(&self, target: &Target) -> Option<Owner> {
        self.remembered(target).or_else(|| self.look_up(target))
    }

    /// Where a grain lives, if the reference remembers it from this view.
    #[inline(always)]
    pub(crate) fn remembered(&self, target: &Target) -> Option<Owner> {
        let way = target.way.get();
        (way != 0 && (way >> 32) as u32 == self.epoch).then_some(Owner {
            node: NodeId((way >> 16) as u16),
            shard: ShardId(way as u16),
        })
    }

    /// How the way to every grain on this node begins.
    pub(crate) fn inside(&self) -> u64 {
        u64::from(self.epoch) << 16 | u64::from(self.id.0)
    }

    #[cold]
    fn look_up(&self, target: &Target) -> Option<Owner> {
        let owner = self
            .view
            .place(target.contract.kind, GrainHash(target.hash))?;
        let Owner { node, shard } = owner;
        let place = u64::from(node.0) << 16 | u64::from(shard.0);
        target.way.set(u64::from(self.epoch) << 32 | place);
        Some(owner)
    }

    /// The inverse of [`micros`](Self::micros).
    pub(crate) fn instant(&self, at: Micros) -> Option<Instant> {
        self.started.checked_add(at.until(Micros::default())?)
    }

    pub(crate) fn shard(&self, shard: ShardId) -> &ShardShared {
        &self.shards[usize::from(shard.0)]
    }

    pub(crate) fn owner(&self, shard: ShardId) -> Owner {
        Owner {
            node: self.id,
            shard,
        }
    }
}

impl ShardShared {
    pub(crate) fn new(doorbell: Doorbell) -> Self {
        Self {
            doorbell,
            counters: ShardCounters::default(),
            status: Status::default(),
            congestion: Arc::default(),
            commands: Flagged::default(),
            wakes: Flagged::default(),
            room: Flagged::default(),
            lossy: Flagged::default(),
            ended: AtomicBool::new(false),
            graveyard: Mutex::default(),
        }
    }

    /// Gives the shard an order. Dropped if the shard has ended, which whoever waits for an answer
    /// notices.
    pub(crate) fn command(&self, command: Command) {
        drop(self.commands.push(command));
        self.doorbell.ring();
    }

    /// Asks the shard, from another thread, to poll something again.
    pub(crate) fn wake(&self, token: Arc<Token>) {
        drop(self.wakes.push(token));
        self.doorbell.ring();
    }

    /// Asks the shard to wake a foreign thread or task when its lanes may have room.
    pub(crate) fn wait_for_room(&self, waker: Waker) {
        // Nobody else will: the next attempt learns that the shard has ended.
        if let Err(waker) = self.room.push_unless(waker, Waker::will_wake) {
            wake_quietly(waker);
        }
        self.doorbell.ring();
    }

    /// Hands the shard a lossy tell to another node, past the thread's lane, whose head may wait
    /// for room. Hands it back if there are `max` already, or the shard has ended.
    pub(crate) fn send_lossy(&self, errand: Errand, max: usize) -> Result<(), Box<Errand>> {
        self.lossy.push_within(errand, max).map_err(Box::new)?;
        self.doorbell.ring();
        Ok(())
    }

    /// The shard has ended. From here on orders are refused, and what threads outside still put
    /// into its lanes is taken out by those threads themselves, with `discard`.
    pub(crate) fn end(&self, lanes: Vec<Receiver<Outside>>, mut discard: impl FnMut(Outside)) {
        let commands = self.commands.close();
        let (wakes, room) = (self.wakes.close(), self.room.close());
        let mut graveyard = self.graveyard();
        // SeqCst: either a sender that publishes sees this, or the drain below sees its message.
        // Pairs with the fence in `Doorbell::ring` before `is_ended` is asked.
        self.ended.store(true, Ordering::SeqCst);
        self.doorbell.fence();
        graveyard.extend(lanes);
        graveyard.extend(
            commands
                .into_iter()
                .flatten()
                .filter_map(|command| match command {
                    Command::Lane(lane) => Some(lane),
                    Command::Kind(..) | Command::Stop => None,
                }),
        );
        drain(&mut graveyard, &mut discard);
        drop(graveyard);
        drop(wakes);
        for errand in self.lossy.close().into_iter().flatten() {
            discard(Outside::Errand(Box::new(errand)));
        }
        for waker in room.into_iter().flatten() {
            wake_quietly(waker);
        }
    }

    /// Takes out of an ended shard's lanes what came too late. Ask after ringing its doorbell.
    pub(crate) fn bury(&self, mut discard: impl FnMut(Outside)) {
        if self.ended.load(Ordering::SeqCst) {
            drain(&mut self.graveyard(), &mut discard);
        }
    }

    fn graveyard(&self) -> MutexGuard<'_, Vec<Receiver<Outside>>> {
        self.graveyard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_commands(&self) -> Vec<Command> {
        self.commands.take()
    }

    pub(crate) fn take_wakes(&self) -> Vec<Arc<Token>> {
        self.wakes.take()
    }

    pub(crate) fn take_room(&self) -> Vec<Waker> {
        self.room.take()
    }

    pub(crate) fn take_lossy(&self) -> Vec<Errand> {
        self.lossy.take()
    }

    /// Whether anything of the above waits to be taken.
    pub(crate) fn has_orders(&self) -> bool {
        self.commands.is_filled()
            || self.wakes.is_filled()
            || self.room.is_filled()
            || self.lossy.is_filled()
    }
}

fn drain(lanes: &mut [Receiver<Outside>], discard: &mut impl FnMut(Outside)) {
    for lane in lanes {
        while let Some(outside) = lane.pop() {
            discard(outside);
        }
    }
}

impl<T> Flagged<T> {
    /// As `push`, unless an item that is as good is there already: who is polled again and again
    /// must not make the list longer each time.
    fn push_unless(&self, item: T, is_same: impl Fn(&T, &T) -> bool) -> Result<(), T> {
        {
            let list = self.lock();
            let mut items = list.iter().flatten();
            if items.any(|there| is_same(there, &item)) {
                return Ok(());
            }
        }
        self.push(item)
    }

    /// Hands the item back when the list is closed.
    fn push(&self, item: T) -> Result<(), T> {
        self.push_within(item, usize::MAX)
    }

    /// The same if there are `max` items already.
    fn push_within(&self, item: T, max: usize) -> Result<(), T> {
        match &mut *self.lock() {
            Some(list) if list.len() < max => list.push(item),
            _ => return Err(item),
        }
        // Release: pairs with the Acquire in `is_filled`, though the mutex would do as well.
        self.filled.store(true, Ordering::Release);
        Ok(())
    }

    fn close(&self) -> Option<Vec<T>> {
        self.lock().take()
    }

    fn take(&self) -> Vec<T> {
        if !self.is_filled() {
            return Vec::new();
        }
        let mut list = self.lock();
        self.filled.store(false, Ordering::Release);
        list.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<T>>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Flagged<T> {
    fn default() -> Self {
        Self {
            list: Mutex::new(Some(Vec::new())),
            filled: AtomicBool::new(false),
        }
    }
}
