//! A shard that is stalled for two seconds, by a handler that blocks it, and a million messages or
//! a million wake-ups meanwhile: no memory is taken that has no bound, nothing that was accepted is
//! lost, and afterwards everything answers as before.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::alloc::System;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use teff::{CallError, Ctx, Kind, Node, Overload, Refusal, ShardId, TellError, grain};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STALL: Duration = Duration::from_secs(2);

/// What a storm may take: some lanes and queues that have grown to their bounds.
const GROWTH_MAX: i64 = 64 << 20;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(60);

fn bytes_in_use() -> i64 {
    let stats = GLOBAL.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}

/// The tests of this file share an allocator, so they take turns.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone, Default)]
struct Shared {
    stalled: Arc<AtomicBool>,
    /// Whether a stall goes on after its time.
    hold: Arc<AtomicBool>,
    hits: Arc<AtomicU64>,
    /// Messages that were accepted, told or called, besides those that all tests send.
    accepted: Arc<AtomicU64>,
    /// The most memory that anybody has seen in use.
    peak: Arc<AtomicI64>,
    storm: Arc<Storm>,
}

/// What the handler shares with the thread that wakes it.
#[derive(Default)]
struct Storm {
    waker: Mutex<Option<Waker>>,
    polls: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    fn look(&self) {
        self.peak.fetch_max(bytes_in_use(), Ordering::Relaxed);
    }

    fn await_stall(&self) {
        await_that("the shard stalls", || self.stalled.load(Ordering::Acquire));
    }
}

fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "in vain: {what}");
        thread::yield_now();
    }
}

struct Worker(Shared);

#[grain]
impl Worker {
    /// Blocks the shard.
    fn stall(&mut self) {
        self.0.stalled.store(true, Ordering::Release);
        thread::sleep(STALL);
        await_that("the storm ends", || !self.0.hold.load(Ordering::Acquire));
        self.0.stalled.store(false, Ordering::Release);
    }

    fn hit(&mut self) {
        self.0.hits.fetch_add(1, Ordering::Relaxed);
    }

    fn ping(&mut self) {}

    /// Sends so many messages to a grain of another shard, some of which it waits with. Returns
    /// how many were accepted.
    async fn storm(&mut self, ctx: &Ctx, to: String, count: u64) -> u64 {
        let shared = self.0.clone();
        let to: WorkerRef = ctx.grain(to);
        let mut accepted = 0;
        for number in 0..count {
            if number % 100_000 == 99_999 {
                to.hit().timeout(PATIENCE).when_room().await.unwrap();
                accepted += 1;
                continue;
            }
            match to.hit().tell() {
                Ok(()) => accepted += 1,
                Err(TellError::Busy) => {}
                Err(other) => panic!("{other}"),
            }
            if number % 1000 == 0 {
                shared.look();
                yield_now().await;
            }
        }
        // When it answers, all that was sent before has been handled.
        to.ping().timeout(PATIENCE).await.unwrap();
        accepted
    }

    /// Waits until the storm is over, and counts how often it is polled.
    async fn listen(&mut self) {
        let storm = Arc::clone(&self.0.storm);
        poll_fn(|cx| {
            storm.polls.fetch_add(1, Ordering::Relaxed);
            *storm.waker.lock().unwrap() = Some(cx.waker().clone());
            if storm.over.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// As `listen`, in a task beside the grain.
    fn listen_beside(&mut self, ctx: &Ctx) {
        let storm = Arc::clone(&self.0.storm);
        ctx.spawn(poll_fn(move |cx| {
            storm.polls.fetch_add(1, Ordering::Relaxed);
            *storm.waker.lock().unwrap() = Some(cx.waker().clone());
            if storm.over.load(Ordering::Acquire) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
    }
}

fn node(shards: usize, shared: &Shared) -> Node {
    let shared = shared.clone();
    let kind: Kind = WorkerRef::kind_with(move |_: &Ctx| Worker(shared.clone()));
    Node::single().shards(shards).kind(kind).start().unwrap()
}

fn on(node: &Node, shard: u16, n: usize) -> String {
    let keys = (0..).map(|key| format!("worker {key}"));
    let owner = |key: &String| node.owner_of::<WorkerRef>(&node.grain(key)).unwrap().1;
    keys.filter(|key| owner(key) == ShardId(shard))
        .nth(n)
        .unwrap()
}

fn check(node: &Node) {
    let total = node.counters().total();
    assert_eq!(
        total.sent,
        total.handled + total.dropped_total(),
        "{total:?}"
    );
}

/// Threads outside that send so many messages each: refused ones are gone, others wait.
fn thread_storm(to: &WorkerRef, shared: &Shared, count: u64, waits: bool) {
    for number in 0..count {
        let is_ok = if waits {
            let request = to.hit().timeout(PATIENCE).on_overload(Overload::Wait);
            request.tell().map(|()| true).unwrap()
        } else if number % 50_000 == 7 {
            match to.hit().on_overload(Overload::Refuse).wait() {
                Ok(()) => true,
                Err(CallError::Refused(Refusal::Busy)) => false,
                Err(other) => panic!("{other}"),
            }
        } else {
            match to.hit().on_overload(Overload::Refuse).tell() {
                Ok(()) => true,
                Err(TellError::Busy) => false,
                Err(other) => panic!("{other}"),
            }
        };
        shared
            .accepted
            .fetch_add(u64::from(is_ok), Ordering::Relaxed);
        if number % 1000 == 0 {
            shared.look();
        }
    }
}

#[test]
fn a_million_messages_to_a_stalled_shard_do_no_harm() {
    let _alone = alone();
    for shards in [2, 4] {
        let shared = Shared::default();
        let node = node(shards, &shared);
        let (target, blocker) = (on(&node, 1, 0), on(&node, 1, 1));
        let to: WorkerRef = node.grain(&target);
        let sender: WorkerRef = node.grain(on(&node, 0, 0));
        // Every lane and queue has been used once.
        to.ping().wait().unwrap();
        let warm_up = sender.storm(target.as_str(), 100_000).timeout(PATIENCE);
        warm_up.wait().unwrap();
        let warm = shared.hits.load(Ordering::Relaxed);

        let before = bytes_in_use();
        node.grain::<WorkerRef>(&blocker).stall().tell().unwrap();
        shared.await_stall();
        let threads: Vec<_> = [
            (300_000, false),
            (200_000, false),
            (50_000, true),
            (50_000, true),
        ]
        .into_iter()
        .map(|(count, waits)| {
            let (to, shared) = (to.clone(), shared.clone());
            thread::spawn(move || thread_storm(&to, &shared, count, waits))
        })
        .collect();
        let storm = sender.storm(target.as_str(), 400_000).timeout(PATIENCE);
        let accepted = storm.wait().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
        shared.look();
        let growth = shared.peak.load(Ordering::Relaxed) - before;
        assert!(growth < GROWTH_MAX, "{} KiB more", growth / 1024);

        // It answers again, everyone, and what was accepted has been handled.
        to.ping().timeout(PATIENCE).wait().unwrap();
        let driven = sender
            .storm(target.as_str(), 1)
            .timeout(PATIENCE)
            .wait()
            .unwrap();
        let neighbour: WorkerRef = node.grain(&blocker);
        neighbour.ping().timeout(PATIENCE).wait().unwrap();
        node.shutdown().unwrap();
        let hits = shared.hits.load(Ordering::Relaxed) - warm;
        let sent = accepted + driven + shared.accepted.load(Ordering::Relaxed);
        assert_eq!(hits, sent);
        assert_eq!(node.counters().total().dropped_total(), 0);
        check(&node);
    }
}

/// Wakes a million times while the shard is stalled; `start` has somebody wait to be woken.
fn wake_storm(start: impl FnOnce(&WorkerRef)) {
    let _alone = alone();
    let shared = Shared::default();
    let node = node(2, &shared);
    let storm = Arc::clone(&shared.storm);
    start(&node.grain(on(&node, 1, 0)));
    await_that("it waits", || storm.waker.lock().unwrap().is_some());
    let blocker: WorkerRef = node.grain(on(&node, 1, 1));
    shared.hold.store(true, Ordering::Release);
    blocker.stall().tell().unwrap();
    shared.await_stall();

    let polls = storm.polls.load(Ordering::Relaxed);
    let before = bytes_in_use();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let waker = storm.waker.lock().unwrap().clone().unwrap();
            let shared = shared.clone();
            thread::spawn(move || {
                for number in 0..250_000 {
                    // Cloned and consumed, and by reference.
                    let other = waker.clone();
                    other.wake();
                    waker.wake_by_ref();
                    if number % 1000 == 0 {
                        shared.look();
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    shared.hold.store(false, Ordering::Release);
    let growth = shared.peak.load(Ordering::Relaxed) - before;
    assert!(growth < GROWTH_MAX, "{} KiB more", growth / 1024);
    // It is woken, and the shard has nothing else to make up for.
    await_that("it is woken", || {
        storm.polls.load(Ordering::Relaxed) > polls
    });
    blocker.ping().timeout(PATIENCE).wait().unwrap();
    blocker.ping().timeout(PATIENCE).wait().unwrap();
    let more = storm.polls.load(Ordering::Relaxed) - polls;
    assert!(more <= 4, "polled {more} times");

    storm.over.store(true, Ordering::Release);
    let waker = storm.waker.lock().unwrap().clone().unwrap();
    waker.wake();
    node.grain::<WorkerRef>(on(&node, 1, 0))
        .ping()
        .timeout(PATIENCE)
        .wait()
        .unwrap();
    node.shutdown().unwrap();
    check(&node);
}

#[test]
fn a_handler_that_is_woken_a_million_times_is_polled_a_few_times() {
    wake_storm(|worker| worker.listen().tell().unwrap());
}

#[test]
fn a_task_that_is_woken_a_million_times_is_polled_a_few_times() {
    wake_storm(|worker| worker.listen_beside().tell().unwrap());
}

#[test]
fn futures_that_are_polled_for_room_all_the_time_take_little() {
    let _alone = alone();
    let shared = Shared::default();
    let node = node(2, &shared);
    let to: WorkerRef = node.grain(on(&node, 1, 0));
    let (tell, told) = mpsc::channel();
    let blocker: WorkerRef = node.grain(on(&node, 1, 1));
    thread::spawn(move || tell.send(blocker.stall().tell()).unwrap());
    told.recv_timeout(PATIENCE).unwrap().unwrap();
    shared.await_stall();
    while to.hit().tell().is_ok() {}
    let before = bytes_in_use();
    let mut waits = to.hit().timeout(PATIENCE).when_room();
    let mut polls = 0;
    let done = futures_lite::future::block_on(poll_fn(|cx| {
        // An executor that polls its futures more often than they ask for.
        for _ in 0..1_000_000 {
            polls += 1;
            let done = std::pin::Pin::new(&mut waits).poll(cx);
            if done.is_ready() {
                return done;
            }
            if polls % 1000 == 0 {
                shared.look();
            }
        }
        Poll::Pending
    }));
    done.unwrap();
    let growth = shared.peak.load(Ordering::Relaxed) - before;
    assert!(
        growth < 1 << 20,
        "{} KiB more after {polls} polls",
        growth / 1024
    );
    to.ping().timeout(PATIENCE).wait().unwrap();
    node.shutdown().unwrap();
    check(&node);
}
