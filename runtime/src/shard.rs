//! A shard: one thread and all it owns.
//!
//! The parts of a shard are interior-mutable, because handlers reach them through references while
//! the shard's loop runs those handlers. The rule that makes this sound in practice: **no part is
//! borrowed while user code runs**. Handlers, factories, wakers and the destructors of messages
//! are user code. Every method here borrows for a few lines and calls out with nothing borrowed.
//!
//! | part | file | what it decides or does |
//! |---|---|---|
//! | `ingress` | takes envelopes off lanes and frames off links |
//! | `turn` | finds or makes the activation, runs one handler; owned by the loop |
//! | `egress` | sends letters and replies here, into a lane, or over a link |
//! | `calls` | the calls that this shard waits for |
//! | `lossy` | tells that may get lost, out and in |
//! | `held` | letters of peers that wait for room in a lane |
//! | `links` | which link leads to which shard of which node |
//! | `ending` | what happens to what is left |
//! | `event_loop` | the order of all that, with bounds |

pub(crate) mod catalog;
pub(crate) mod timers;
pub(crate) mod wakers;
pub(crate) mod suspensions;
pub(crate) mod kinds;
pub(crate) mod links;
pub(crate) mod tasks;

mod shares;
pub(crate) mod pace;
pub(crate) mod lane_out;
mod calls;
pub(crate) mod egress;
mod turn;
mod mailbox;
mod link_events;
mod lossy;
mod held;
mod ingress;
mod ending;
pub(crate) mod event_loop;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use teff_contract::{Contract, Host, Port};
use teff_core::call_table::CallTable;
use teff_core::placement::Owner;
use teff_core::time::Micros;
use teff_wire::{NodeId, ShardId};

use crate::congestion::Congestion;
use crate::counters::ShardCounters;
use crate::envelope::Letter;
use crate::panics::drop_quietly;
use crate::shared::NodeShared;

use self::calls::{Ended, Waiting};
use self::kinds::Kinds;
use self::lane_out::LaneOut;
use self::links::Links;
use self::pace::Pace;
use self::shares::Shares;
use self::tasks::Tasks;
use self::timers::Timers;
use self::wakers::{Ready, ReadyQueue};

/// One thread's part of a node.
pub(crate) struct Shard {
    me: Owner,
    node: Arc<NodeShared>,
    /// What references made here send through: this shard's own, so that no two shards count
    /// references in one cache line.
    port: Arc<dyn Port>,
    now: Cell<Instant>,
    now_micros: Cell<Micros>,
    /// The coarse clock when the other was read.
    coarse: Cell<(i64, i64)>,
    calls: RefCell<CallTable<Waiting>>,
    ended: Ended,
    kinds: RefCell<Kinds>,
    /// Letters from this shard to itself, run in their own stage and never from within a handler.
    queue: RefCell<VecDeque<Letter>>,
    ready: ReadyQueue,
    tasks: RefCell<Tasks>,
    timers: RefCell<Timers>,
    lanes: RefCell<Vec<Option<LaneOut>>>,
    /// `None` in a node without a network.
    links: RefCell<Option<Links>>,
    /// Handlers that wait for room in some queue.
    room: RefCell<Vec<Waker>>,
    shares: Shares,
    paces: Paces,
    /// The handler that is being polled: what its waker points to, and the place it waits in.
    polling: Cell<(*const (), u32)>,
    /// The kind that was sent last, and how often since its counter was written.
    sent: Cell<Option<(&'static Contract, u64)>>,
    /// How the way to a grain on this node begins, as references remember it from this view: epoch
    /// and node. [`NOWHERE`] once the loop has ended: what destructors still send is refused.
    inside: Cell<u64>,
}

/// The paces of the stages that run handlers.
#[derive(Default)]
struct Paces {
    lanes: Pace,
    links: Pace,
    outside: Pace,
    queue: Pace,
    ready: Pace,
}

/// What a shard starts with, apart from what its node shares.
pub(crate) struct Parts {
    pub id: ShardId,
    pub port: Arc<dyn Port>,
    pub lanes: Vec<Option<LaneOut>>,
    pub links: Option<Links>,
    pub kinds: Kinds,
}

thread_local! {
    /// Never dropped, so that reading it asks nothing and works until the very end of the thread;
    /// [`Shard::enter`] empties it.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Shard>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Runs `here` with the shard that this thread is, or `elsewhere` if it is none of this node. Both
/// get `input`, of which there is only one.
#[inline]
pub(crate) fn on_current<I, T>(
    node: &Arc<NodeShared>,
    input: I,
    here: impl FnOnce(&Rc<Shard>, I) -> T,
    elsewhere: impl FnOnce(I) -> T,
) -> T {
    CURRENT.with(|current| match &*current.borrow() {
        Some(shard) if Arc::ptr_eq(&shard.node, node) => here(shard, input),
        _ => elsewhere(input),
    })
}

/// Runs `f` with the shard that this thread is, if it is one of this node.
pub(crate) fn with_current<T>(
    node: &Arc<NodeShared>,
    f: impl FnOnce(&Rc<Shard>) -> T,
) -> Option<T> {
    on_current(node, (), |shard, ()| Some(f(shard)), |()| None)
}

/// Whether this thread is a shard, of whatever node.
pub(crate) fn is_shard_thread() -> bool {
    CURRENT.with(|current| current.borrow().is_some())
}

impl Shard {
    /// Makes this thread the shard, for as long as `f` runs.
    pub(crate) async fn enter<F: Future<Output = ()>>(
        node: Arc<NodeShared>,
        parts: Parts,
        f: impl FnOnce(Rc<Self>) -> F,
    ) {
        let shard = Rc::new(Self {
            me: node.owner(parts.id),
            port: parts.port,
            now: Cell::new(Instant::now()),
            now_micros: Cell::default(),
            coarse: Cell::default(),
            calls: RefCell::new(CallTable::new(CallTable::<Waiting>::DEFAULT_CAPACITY)),
            ended: RefCell::default(),
            kinds: RefCell::new(parts.kinds),
            queue: RefCell::default(),
            ready: RefCell::default(),
            tasks: RefCell::default(),
            timers: RefCell::default(),
            lanes: RefCell::new(parts.lanes),
            links: RefCell::new(parts.links),
            room: RefCell::default(),
            shares: Shares::default(),
            paces: Paces::default(),
            polling: Cell::new(NOBODY),
            sent: Cell::new(None),
            inside: Cell::new(node.inside()),
            node,
        });
        CURRENT.with(|current| current.replace(Some(Rc::clone(&shard))));
        f(Rc::clone(&shard)).await;
        // While destructors of grains run, the shard is still this thread's.
        shard.drop_everything();
        CURRENT.with(|current| current.replace(None));
    }

    pub(crate) fn id(&self) -> ShardId {
        self.me.shard
    }

    fn counters(&self) -> &ShardCounters {
        &self.node.shard(self.me.shard).counters
    }

    /// When this turn began, on the node's clock.
    fn micros(&self) -> Micros {
        self.now_micros.get()
    }

    /// Looks at the clock for this and the next turns.
    fn set_now(&self, now: Instant) {
        self.now.set(now);
        self.now_micros.set(self.node.micros(now));
        self.coarse.set(coarse());
    }

    /// Looks at the clock again if handlers have taken their time since it was looked at last. The
    /// coarse clock, which ticks every few milliseconds, costs a quarter of the real one. Says
    /// whether it has ticked.
    fn keep_time(&self) -> bool {
        let has_ticked = coarse() != self.coarse.get();
        if has_ticked {
            self.set_now(Instant::now());
        }
        has_ticked
    }

    /// When something that begins now and takes so long is over, on the node's clock. Short times
    /// are exact; long ones may be a tick of the coarse clock, or a thousandth, too short.
    fn deadline(&self, time: Duration) -> Micros {
        if time < LONG {
            return self.node.micros(Instant::now()).after(time);
        }
        self.keep_time();
        self.now_micros.get().after(time)
    }

    /// Queues something to be polled in this shard's next stage for that.
    pub(crate) fn ready(&self, ready: Ready) {
        self.ready.borrow_mut().push_back(ready);
    }

    /// Notes whose turn it is, until [`polls_nothing`](Self::polls_nothing).
    fn polls(&self, place: u32, waker: &Waker) {
        self.polling.set((waker.data(), place));
    }

    fn polls_nothing(&self) {
        self.polling.set(NOBODY);
    }

    /// The place of the handler that is being polled, if this is its own waker.
    fn is_polled_with(&self, waker: &Waker) -> Option<u32> {
        let (data, place) = self.polling.get();
        (data == waker.data()).then_some(place)
    }

    fn congestion(&self) -> &Congestion {
        &self.node.shard(self.me.shard).congestion
    }

    /// Wakes a handler when there may be room in some queue.
    pub(crate) fn wait_for_room(&self, waker: Waker) {
        self.room.borrow_mut().push(waker);
    }

    /// Breaks the circle from grains through their contexts back to the shard.
    fn drop_everything(&self) {
        let tasks = self.tasks.take();
        let timers = self.timers.take();
        let room = self.room.take();
        let calls = self.calls.replace(CallTable::new(0));
        // A panicking destructor must not keep the rest from being dropped.
        drop_quietly(tasks);
        drop_quietly((timers, room, calls));
    }
}

impl Host for Shard {
    fn node(&self) -> NodeId {
        self.me.node
    }

    fn shard(&self) -> ShardId {
        self.me.shard
    }

    fn now(&self) -> Instant {
        // Not the turn's: handlers before this one may have taken their time.
        Instant::now()
    }

    fn start_timer(&self, deadline: Instant, waker: Waker) -> u64 {
        self.timers.borrow_mut().start(deadline, waker)
    }

    fn cancel_timer(&self, timer: u64) {
        let waker = self.timers.borrow_mut().cancel(timer);
        drop(waker);
    }

    fn spawn(&self, task: teff_contract::context::Task) {
        let ready = self
            .tasks
            .borrow_mut()
            .insert(task, &self.node, self.me.shard);
        self.ready(ready);
    }
}

fn coarse() -> (i64, i64) {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    (now.tv_sec, now.tv_nsec)
}

/// A time of which a tick of the coarse clock is a small part.
const LONG: Duration = Duration::from_secs(1);

/// Begins no way.
const NOWHERE: u64 = u64::MAX;

/// No waker points here.
const NOBODY: (*const (), u32) = (std::ptr::null(), 0);
