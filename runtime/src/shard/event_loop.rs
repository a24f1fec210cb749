//! The shard's loop: bounded work per stage, then flush, then spin or park.
//!
//! some rounds of (lanes -> own queue -> woken handlers -> flush lanes) -> orders -> datagrams ->
//! link events -> outside lanes -> timers and deadlines -> one more round -> flush links -> spin or
//! park
//!
//! Messages from outside come last and few while there is inner work, because they are the only
//! ones that make more of it; but never none, so that a flooded shard still answers.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use teff_lane::Receiver;

use crate::driver::Driver;
use crate::envelope::Envelope;
use crate::idle::{Idle, Idler};
use crate::panics::{drop_quietly, wake_quietly};
use crate::shard::Shard;
use crate::shard::ending::finish;
use crate::shard::ingress::{OutsideLane, drain_lanes};
use crate::shard::links::Links;
use crate::shard::turn::Grains;
use crate::shard::wakers::Ready;
use crate::shared::Command;

/// The loop and the receiving ends that only it uses.
pub(crate) struct EventLoop<D> {
    shard: Rc<Shard>,
    grains: Grains,
    driver: D,
    lanes: Vec<Receiver<Envelope>>,
    outside: Vec<OutsideLane>,
    /// Idle turns in which lanes from outside are not looked at.
    leave_outside: u32,
    turns: u64,
    idler: Idler,
    next_receive: Instant,
    /// When who waits for room is woken to look again.
    next_room: Instant,
    stopping: bool,
}

impl<D: Driver> EventLoop<D> {
    pub(crate) fn new(
        shard: Rc<Shard>,
        driver: D,
        idler: Idler,
        lanes: Vec<Receiver<Envelope>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            grains: Grains::new(Rc::clone(&shard)),
            shard,
            driver,
            lanes,
            outside: Vec::new(),
            leave_outside: 0,
            turns: 0,
            idler,
            next_receive: now,
            next_room: now,
            stopping: false,
        }
    }

    /// Runs until the node stops.
    pub(crate) async fn run(mut self) {
        loop {
            let busy = self.turn();
            if self.stopping {
                break;
            }
            if busy {
                if self.idler.was_idle() {
                    self.idler.handle_work(self.shard.now.get());
                }
                if self.turns.is_multiple_of(TURNS_PER_YIELD) {
                    self.driver.turn().await;
                }
            } else {
                self.idle().await;
            }
        }
        let Self {
            shard,
            mut grains,
            driver,
            lanes,
            outside,
            ..
        } = self;
        finish(&shard, &mut grains, lanes, outside);
        driver.close().await;
    }

    /// One turn of the loop. Says whether anything happened.
    ///
    /// Messages between grains of this node go round several times before anything else is looked
    /// at, because a look at everything takes as long as some messages.
    fn turn(&mut self) -> bool {
        let mut inner = 0;
        loop {
            let done = self.round();
            inner += done;
            if inner >= INNER_ENOUGH || (done == 0 && (inner > 0 || !self.is_sent_something())) {
                break;
            }
        }
        let mut work = inner + self.take_orders();
        work += self.receive(inner == 0);
        work += self.grains.release_held();
        work += self.grains.take_link_events();
        work += self.take_outside(work == 0);
        work += self.shard.fire_timers();
        work += self.shard.expire_calls();
        if work > inner {
            self.round();
        }
        self.shard.flush_links();
        work += self.wake_waiting_for_room();
        self.report();
        // Reading the clock takes longer than an idle turn, and what is sent should leave first.
        if work > 0 || self.turns.is_multiple_of(IDLE_TURNS_PER_LOOK) {
            self.shard.set_now(Instant::now());
        }
        work > 0
    }

    /// Takes and runs what shards have sent to this one, itself included, and lets go what that
    /// leads to.
    fn round(&mut self) -> usize {
        let mut work = drain_lanes(&mut self.grains, &mut self.lanes);
        work += self.grains.run_queue();
        work += self.grains.run_ready();
        // Also when there was nothing: answers may wait for room.
        work + usize::from(self.shard.flush_lanes())
    }

    /// Looks for a while whether other shards send something. Who does not poll does not look.
    fn is_sent_something(&mut self) -> bool {
        self.idler.may_poll()
            && (0..IDLE_LOOKS).any(|_| self.lanes.iter_mut().any(|lane| !lane.is_empty()))
    }

    /// Lets messages from outside in, unless it has just caught up with who sends them.
    fn take_outside(&mut self, idle: bool) -> usize {
        if idle && self.leave_outside > 0 {
            self.leave_outside -= 1;
            return 0;
        }
        let max = if idle { ADMIT_IDLE } else { ADMIT_BUSY };
        let mut work = 0;
        for lane in &mut self.outside {
            work += lane.admit(&mut self.grains, max);
        }
        self.outside.retain_mut(|lane| !lane.is_over());
        if (1..max).contains(&work) {
            self.leave_outside = LEAVE_OUTSIDE;
        }
        work
    }

    fn take_orders(&mut self) -> usize {
        let shared = self.shard.node.shard(self.shard.id());
        if !shared.has_orders() {
            return 0;
        }
        let (commands, wakes) = (shared.take_commands(), shared.take_wakes());
        let lossy = shared.take_lossy();
        let count = commands.len() + wakes.len() + lossy.len();
        for errand in lossy {
            // One that may get lost never waits, so none comes back.
            drop(self.grains.run_errand(Box::new(errand)));
        }
        for token in wakes {
            self.shard.ready(Ready::Woken(token));
        }
        for command in commands {
            match command {
                Command::Lane(receiver) => self.outside.push(OutsideLane::new(receiver)),
                Command::Kind(kind, done) => {
                    self.shard.host(kind);
                    // Whoever registered it may have stopped waiting.
                    drop(done.send(()));
                }
                Command::Stop => self.stopping = true,
            }
        }
        count
    }

    // Asking the kernel costs more than a turn of a busy loop, so a busy shard asks every few
    // microseconds only.
    fn receive(&mut self, idle: bool) -> usize {
        let now = self.shard.now.get();
        if !idle && now < self.next_receive {
            return 0;
        }
        self.next_receive = now + RECEIVE_INTERVAL;
        self.shard.receive_datagrams()
    }

    // Room is made by others, who do not say so; those who wait for it look again now and then.
    fn wake_waiting_for_room(&mut self) -> usize {
        let now = self.shard.now.get();
        if now < self.next_room {
            return 0;
        }
        self.next_room = now + ROOM_INTERVAL;
        self.shard.wake_waiting_for_room()
    }

    fn is_waiting_for_room(&self) -> bool {
        self.shard.is_waited_for_room()
            || self.grains.is_holding()
            || self.outside.iter().any(OutsideLane::is_stuck)
    }

    fn report(&mut self) {
        self.shard.settle_sent();
        self.turns += 1;
        // Only a shutdown wants to know.
        let asked = !self.shard.node.accepting.load(Ordering::Relaxed);
        let at_rest = asked
            && self.grains.suspended() == 0
            && !self.grains.is_holding()
            && self.shard.is_at_rest()
            && self.lanes.iter_mut().all(Receiver::is_empty)
            && self.outside.iter_mut().all(OutsideLane::is_at_rest);
        let status = &self.shard.node.shard(self.shard.id()).status;
        // Release: who sees the count of a turn also sees what the turn reported and counted.
        status.at_rest.store(at_rest, Ordering::Relaxed);
        status.turns.store(self.turns, Ordering::Release);
    }

    async fn idle(&mut self) {
        let now = self.shard.now.get();
        if self.shard.has_ready() || self.shard.has_letters() {
            return;
        }
        match self.idler.handle_idle(now) {
            Idle::Park => {}
            Idle::Yield => return std::thread::yield_now(),
            Idle::Poll => return,
        }
        let mut deadline = self.shard.next_deadline();
        if self.is_waiting_for_room() {
            let look = now + ROOM_PATIENCE;
            deadline = Some(deadline.map_or(look, |deadline| deadline.min(look)));
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            return;
        }
        let node = std::sync::Arc::clone(&self.shard.node);
        let shared = node.shard(self.shard.id());
        let asleep = shared.doorbell.park(|| {
            !shared.has_orders()
                && self.lanes.iter_mut().all(Receiver::is_empty)
                && !self.outside.iter_mut().any(OutsideLane::has_work)
        });
        if asleep {
            self.driver.park(deadline).await;
            shared.doorbell.awake();
            // What woke us may be the socket: look at it in the next turn.
            self.shard.set_now(Instant::now());
            self.next_receive = self.shard.now.get();
        }
    }
}

impl Grains {
    /// Runs letters from this shard to itself. Those that the letters send wait for the next turn.
    fn run_queue(&mut self) -> usize {
        let count = self.shard.queue.borrow().len().min(QUEUE_BATCH);
        if count == 0 {
            return 0;
        }
        let shard = Rc::clone(&self.shard);
        let mut stage = shard.paces.queue.begin();
        let mut done = 0;
        while done < count {
            let batch = stage.batch().min(count - done);
            for _ in 0..batch {
                let letter = shard.queue.borrow_mut().pop_front();
                if let Some(letter) = letter {
                    self.deliver_owned(letter);
                }
            }
            done += batch;
            if done < count && stage.is_over(|| shard.keep_time()) {
                break;
            }
        }
        done
    }

    fn run_ready(&mut self) -> usize {
        let count = self.shard.ready.borrow().len().min(QUEUE_BATCH);
        if count == 0 {
            return 0;
        }
        let shard = Rc::clone(&self.shard);
        let mut stage = shard.paces.ready.begin();
        let mut done = 0;
        while done < count {
            let batch = stage.batch().min(count - done);
            for _ in 0..batch {
                let ready = shard.ready.borrow_mut().pop_front();
                if let Some(ready) = ready {
                    self.poll(ready.begin());
                }
            }
            done += batch;
            if done < count && stage.is_over(|| shard.keep_time()) {
                break;
            }
        }
        done
    }
}

impl Shard {
    fn fire_timers(&self) -> usize {
        let mut count = 0;
        loop {
            let waker = self.timers.borrow_mut().pop_due(self.now.get());
            let Some(waker) = waker else { return count };
            wake_quietly(waker);
            count += 1;
        }
    }

    fn wake_waiting_for_room(&self) -> usize {
        let mut own = self.room.take();
        self.shares.set_waiting(own.len());
        // Another one is first each time, or the last might never find room.
        let first = self.shares.turn() as usize % own.len().max(1);
        own.rotate_left(first);
        let foreign = self.node.shard(self.id()).take_room();
        let count = foreign.len();
        for waker in own.into_iter().chain(foreign) {
            wake_quietly(waker);
        }
        count
    }

    fn is_waited_for_room(&self) -> bool {
        !self.room.borrow().is_empty()
    }

    /// Whether destructors have sent something to their own shard since its last round.
    fn has_letters(&self) -> bool {
        !self.queue.borrow().is_empty()
    }

    fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    fn receive_datagrams(&self) -> usize {
        let now = self.now.get();
        let mut links = self.links.borrow_mut();
        let Some(links) = links.as_mut() else {
            return 0;
        };
        let mut count = 0;
        for _ in 0..RECEIVES_PER_TURN {
            match links.endpoint.receive(now) {
                Ok(0) => break,
                Ok(datagrams) => count += datagrams,
                Err(error) => {
                    tracing::warn!(%error, "the socket does not receive");
                    break;
                }
            }
        }
        if links.endpoint.poll_timeout().is_some_and(|due| due <= now) {
            links.endpoint.handle_timeout(now);
        }
        count
    }

    fn flush_links(&self) {
        self.pump_links();
        if let Some(links) = self.links.borrow_mut().as_mut() {
            links.endpoint.flush(self.now.get());
            self.count_frames_out(links);
        }
        self.settle_lossy();
    }

    /// Lets others see how many frames have left.
    pub(super) fn count_frames_out(&self, links: &Links) {
        let frames = links.endpoint.counters().frames_out;
        self.counters().frames_out.set(frames);
    }

    /// When there is something to do even if nothing comes in.
    fn next_deadline(&self) -> Option<Instant> {
        let timer = self.timers.borrow_mut().next();
        let call = self
            .calls
            .borrow()
            .next_deadline()
            .and_then(|due| self.node.instant(due));
        let links = self.links.borrow();
        let link = links.as_ref().and_then(Links::poll_timeout);
        [timer, call, link].into_iter().flatten().min()
    }

    fn is_at_rest(&self) -> bool {
        self.queue.borrow().is_empty()
            && self.ready.borrow().is_empty()
            && self.calls.borrow().is_empty()
            && self.lanes_are_flushed()
            && self.links.borrow().as_ref().is_none_or(Links::is_at_rest)
    }

    fn host(&self, kind: teff_contract::Kind) {
        let (replaced, offers) = {
            let mut kinds = self.kinds.borrow_mut();
            (kinds.host(kind, self.counters()), kinds.offers())
        };
        // A factory is user code, and so is its end.
        drop_quietly(replaced);
        if let Some(links) = self.links.borrow_mut().as_mut()
            && let Err(error) = links.endpoint.announce_kinds(&offers)
        {
            tracing::error!(%error, "the kinds of this node cannot be told to its peers");
        }
    }
}

/// Letters of the shard to itself, and woken handlers, per turn: a hot pair of grains does not
/// keep the loop from its lanes and its socket. Slow handlers end their stage earlier: see `Pace`.
const QUEUE_BATCH: usize = 1024;

/// Inner messages after which everything else gets its look, which then costs little beside them.
const INNER_ENOUGH: usize = 64;

/// Looks for inner messages per idle turn: together about as long as a look at everything else.
const IDLE_LOOKS: usize = 256;

/// Idle turns, about two microseconds, for which threads outside are left alone after the shard
/// has caught up with them. Who asks a thread for each of its messages as it is made slows that
/// thread down several times.
const LEAVE_OUTSIDE: u32 = 3;

/// Idle turns between two looks at the clock: together about a microsecond.
const IDLE_TURNS_PER_LOOK: u64 = 8;

/// Batches of datagrams per turn; one batch is up to 32 datagrams, each up to 64 KiB with GRO.
const RECEIVES_PER_TURN: usize = 4;

/// Between two looks of a busy shard at its socket. An empty look costs about half a microsecond.
const RECEIVE_INTERVAL: Duration = Duration::from_micros(5);

/// How often those who wait for room look again while the shard is busy, and how long an idle shard
/// sleeps on them.
const ROOM_INTERVAL: Duration = Duration::from_micros(50);
const ROOM_PATIENCE: Duration = Duration::from_millis(1);

/// Messages let in from each outside lane per turn, when there was other work and when not.
const ADMIT_BUSY: usize = 32;
const ADMIT_IDLE: usize = 1024;

/// Turns of a busy loop between two turns of the reactor, which has nothing of ours to do unless
/// the shard sleeps.
const TURNS_PER_YIELD: u64 = 1024;
