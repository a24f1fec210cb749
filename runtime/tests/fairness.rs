//! Whoever has a shard's attention shares it: one hot grain, or one lane that is always full, does
//! not keep the shard from its timers, its other lanes, threads outside, and peers.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, remote_key};
use futures_lite::future::yield_now;
use teff::{Ctx, Kind, Node, NodeId, ShardId, TellError, grain};

/// What a flooded shard is given to answer one call, on a machine that is busy otherwise.
const BUDGET: Duration = Duration::from_secs(2);

/// Calls that are made one after the other while a shard is flooded.
const CALLS: u64 = 20;

#[derive(Clone, Default)]
struct Shared {
    stop: Arc<AtomicBool>,
    /// How many letters of the flood were handled.
    hits: Arc<AtomicU64>,
    /// How often a flood found no room.
    full: Arc<AtomicU64>,
}

impl Shared {
    fn has_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until a flood runs: it has found the queue full, and more than a queue was handled.
    fn await_flood(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.full.load(Ordering::Relaxed) == 0 || self.hits.load(Ordering::Relaxed) < 10_000 {
            assert!(Instant::now() < until, "there is no flood");
            thread::yield_now();
        }
    }
}

struct Worker(Shared);

#[grain]
impl Worker {
    /// Tells itself the same until there is no room for more.
    fn hot(&mut self, ctx: &Ctx) {
        self.0.hits.fetch_add(1, Ordering::Relaxed);
        let me: WorkerRef = ctx.grain(ctx.key());
        while !self.0.has_stopped() {
            match me.hot().tell() {
                Ok(()) => {}
                Err(TellError::Busy) => {
                    self.0.full.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// Sends to another shard as fast as its lane takes it, and lets its own shard go on now and
    /// then, as every handler has to.
    async fn flood(&mut self, ctx: &Ctx, to: String) {
        let shared = self.0.clone();
        let to: WorkerRef = ctx.grain(to);
        while !shared.has_stopped() {
            for _ in 0..256 {
                if let Err(TellError::Busy) = to.hit().tell() {
                    shared.full.fetch_add(1, Ordering::Relaxed);
                    to.hit().when_room().await.unwrap();
                }
            }
            yield_now().await;
        }
    }

    /// The same as `hot`, but takes its time.
    fn slow(&mut self, ctx: &Ctx) {
        let until = Instant::now() + Duration::from_millis(1);
        while Instant::now() < until && !self.0.has_stopped() {
            std::hint::spin_loop();
        }
        self.0.hits.fetch_add(1, Ordering::Relaxed);
        let me: WorkerRef = ctx.grain(ctx.key());
        while !self.0.has_stopped() && me.slow().tell().is_ok() {}
        self.0.full.fetch_add(1, Ordering::Relaxed);
    }

    /// How long a sleep of a millisecond takes, in microseconds.
    async fn oversleep(&mut self, ctx: &Ctx) -> u64 {
        let started = Instant::now();
        ctx.sleep(Duration::from_millis(1)).await;
        started.elapsed().as_micros() as u64
    }

    /// Sends as much as there is room for, and rests only while there is none.
    async fn grab(&mut self, ctx: &Ctx, to: String) {
        let shared = self.0.clone();
        let to: WorkerRef = ctx.grain(to);
        while !shared.has_stopped() {
            if let Err(TellError::Busy) = to.hit().tell() {
                shared.full.fetch_add(1, Ordering::Relaxed);
                to.hit().when_room().await.unwrap();
            }
        }
    }

    /// Takes longer than sending it took, so that its lane is full.
    fn hit(&mut self) {
        self.0.hits.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + Duration::from_micros(5);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }

    fn ping(&mut self) -> bool {
        true
    }

    async fn nap(&mut self, ctx: &Ctx) {
        ctx.sleep(Duration::from_millis(1)).await;
    }

    /// Calls another grain so often. Returns the longest time that a call took, in microseconds.
    async fn call_often(&mut self, ctx: &Ctx, to: String, count: u64) -> u64 {
        let to: WorkerRef = ctx.grain(to);
        let mut longest = Duration::ZERO;
        for _ in 0..count {
            let started = Instant::now();
            assert!(to.ping().timeout(BUDGET).await.unwrap());
            longest = longest.max(started.elapsed());
        }
        longest.as_micros() as u64
    }
}

fn worker(shared: &Shared) -> Kind {
    let shared = shared.clone();
    WorkerRef::kind_with(move |_: &Ctx| Worker(shared.clone()))
}

fn node(shards: usize, shared: &Shared) -> Node {
    Node::single()
        .shards(shards)
        .lane_capacity(256)
        .kind(worker(shared))
        .start()
        .unwrap()
}

/// The `n`-th worker of a shard.
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

/// A thread outside calls `key`, lets it sleep, and has `caller` call it from another shard.
fn everyone_is_answered(node: &Node, key: &str, caller: &str) {
    let target: WorkerRef = node.grain(key);
    for _ in 0..CALLS {
        assert!(target.ping().timeout(BUDGET).wait().unwrap());
        target.nap().timeout(BUDGET).wait().unwrap();
    }
    let caller: WorkerRef = node.grain(caller);
    let patience = BUDGET * CALLS as u32;
    let longest = caller
        .call_often(key, CALLS)
        .timeout(patience)
        .wait()
        .unwrap();
    assert!(Duration::from_micros(longest) <= BUDGET, "{longest} us");
}

#[test]
fn a_hot_grain_starves_neither_timers_nor_calls() {
    for shards in [2, 4] {
        let shared = Shared::default();
        let node = node(shards, &shared);
        let hot: WorkerRef = node.grain(on(&node, 0, 0));
        hot.hot().tell().unwrap();
        shared.await_flood();
        let before = shared.hits.load(Ordering::Relaxed);
        let last = shards as u16 - 1;
        everyone_is_answered(&node, &on(&node, 0, 1), &on(&node, last, 0));
        // The flood went on meanwhile: the shard had no rest in which to answer.
        assert!(shared.hits.load(Ordering::Relaxed) > before);
        shared.stop.store(true, Ordering::Relaxed);
        node.shutdown().unwrap();
        check(&node);
    }
}

#[test]
fn handlers_that_take_long_hold_up_timers_by_some_of_them_only() {
    let shared = Shared::default();
    let node = node(1, &shared);
    let slow: WorkerRef = node.grain(on(&node, 0, 0));
    slow.slow().tell().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    // Past the first look at the clock, which comes after some dozens of messages.
    while shared.hits.load(Ordering::Relaxed) < 100 {
        assert!(Instant::now() < until, "there is no flood");
        thread::yield_now();
    }
    let sleeper: WorkerRef = node.grain(on(&node, 0, 1));
    let mut times: Vec<u64> = (0..9)
        .map(|_| sleeper.oversleep().timeout(BUDGET * 5).wait().unwrap())
        .collect();
    times.sort_unstable();
    // A round by numbers would be 1024 handlers of 1 ms.
    assert!(times[4] < 300_000, "{times:?} us");
    shared.stop.store(true, Ordering::Relaxed);
    node.shutdown().unwrap();
    check(&node);
}

#[test]
fn a_full_lane_starves_nobody_on_either_side() {
    for shards in [2, 4] {
        let shared = Shared::default();
        let node = node(shards, &shared);
        let flooded = on(&node, 1, 0);
        for n in 0..3 {
            let flooder: WorkerRef = node.grain(on(&node, 0, n));
            flooder.flood(flooded.as_str()).tell().unwrap();
        }
        shared.await_flood();
        let before = shared.full.load(Ordering::Relaxed);
        // Into the flooded shard, also to the very grain; and out of it into the flooding one.
        let last = shards as u16 - 1;
        let third = on(&node, if last > 1 { last } else { 0 }, 7);
        everyone_is_answered(&node, &on(&node, 1, 1), &third);
        let target: WorkerRef = node.grain(&flooded);
        assert!(target.ping().timeout(BUDGET).wait().unwrap());
        everyone_is_answered(&node, &on(&node, 0, 8), &on(&node, 1, 2));
        assert!(shared.full.load(Ordering::Relaxed) > before, "it was full");
        shared.stop.store(true, Ordering::Relaxed);
        node.shutdown().unwrap();
        check(&node);
    }
}

#[test]
fn whoever_fills_a_queue_leaves_room_for_others_of_its_shard() {
    // The shard's own queue, and a lane.
    for to in [0, 1] {
        let shared = Shared::default();
        let node = node(2, &shared);
        for n in 0..2 {
            let greedy: WorkerRef = node.grain(on(&node, 0, n));
            greedy.grab(on(&node, to, 2).as_str()).tell().unwrap();
        }
        shared.await_flood();
        let before = shared.full.load(Ordering::Relaxed);
        let caller: WorkerRef = node.grain(on(&node, 0, 3));
        let longest = caller
            .call_often(on(&node, to, 4).as_str(), CALLS)
            .timeout(BUDGET * CALLS as u32)
            .wait()
            .unwrap();
        assert!(Duration::from_micros(longest) <= BUDGET, "{longest} us");
        assert!(shared.full.load(Ordering::Relaxed) > before, "it was full");
        shared.stop.store(true, Ordering::Relaxed);
        node.shutdown().unwrap();
        check(&node);
    }
}

#[test]
fn a_shard_that_is_flooded_from_outside_answers_other_threads() {
    let shared = Shared::default();
    let node = node(2, &shared);
    let flooded = on(&node, 1, 0);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (to, shared): (WorkerRef, _) = (node.grain(&flooded), shared.clone());
            thread::spawn(move || {
                while !shared.has_stopped() {
                    if let Err(TellError::Busy) = to.hit().tell() {
                        shared.full.fetch_add(1, Ordering::Relaxed);
                        to.hit().when_room().wait().unwrap();
                    }
                }
            })
        })
        .collect();
    shared.await_flood();
    everyone_is_answered(&node, &on(&node, 1, 1), &on(&node, 0, 0));
    shared.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    node.shutdown().unwrap();
    check(&node);
}

#[test]
fn a_flooded_shard_still_answers_a_peer() {
    for shards in [1, 2] {
        let shared = Shared::default();
        let nodes = Cluster::new("fairness", 2, shards)
            .start(|_, builder| builder.lane_capacity(256).kind(worker(&shared)));
        let owner = |key: &str| nodes[0].owner_of::<WorkerRef>(&nodes[0].grain(key));
        // On every shard of node 2 one grain is hot, so whichever a peer asks is flooded.
        let mut hot = 0;
        for n in 0..64 {
            let key = remote_key(n, owner, NodeId(2));
            let shard = owner(&key).unwrap().1;
            if shard == ShardId(hot) {
                nodes[1].grain::<WorkerRef>(&key).hot().tell().unwrap();
                hot += 1;
            }
        }
        assert_eq!(hot, shards);
        shared.await_flood();
        let before = shared.hits.load(Ordering::Relaxed);
        for n in 0..CALLS as usize {
            let far: WorkerRef = nodes[0].grain(remote_key(n + 100, owner, NodeId(2)));
            assert!(far.ping().timeout(BUDGET).wait().unwrap());
            far.nap().timeout(BUDGET).wait().unwrap();
        }
        // And its own grains still reach the peer.
        let here: WorkerRef = nodes[1].grain(remote_key(200, owner, NodeId(2)));
        let there = remote_key(0, owner, NodeId(1));
        here.call_often(there.as_str(), CALLS)
            .timeout(BUDGET * CALLS as u32)
            .wait()
            .unwrap();
        assert!(shared.hits.load(Ordering::Relaxed) > before);
        shared.stop.store(true, Ordering::Relaxed);
        cluster::finish(nodes);
    }
}
