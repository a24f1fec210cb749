//! On the warm path a message allocates nothing: not when it is sent, not on its way, not when it
//! is handled, not when it is answered. The allocator of this program counts for all threads.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::alloc::System;
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use teff::{Ctx, IdleStrategy, Node, Reactor, ShardId, grain};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Messages of each measurement, and of those that only vary how the node is set up.
const MESSAGES: u64 = 100_000;
const FEWER: u64 = 10_000;

/// As many as are on their way at a time: fewer than a lane holds, so that none waits for room.
const WINDOW: u64 = 256;

/// What the measurement itself may allocate: the one call from the test's thread that starts it,
/// and its answer. A message that allocates once would allocate `FEWER` times at least.
const HARNESS: usize = 16;

/// What glommio may allocate besides, now and then, by time and not by message.
const GLOMMIO: usize = 100;

/// What every message carries.
type Bytes = [u8; 64];

fn count() -> usize {
    let stats = GLOBAL.stats();
    stats.allocations + stats.reallocations
}

/// Handlers that end within their turn.
#[derive(Default)]
struct Plain(u64);

#[grain]
impl Plain {
    fn hit(&mut self, bytes: Bytes) {
        self.0 += u64::from(bytes[0]);
    }

    fn echo(&mut self, bytes: Bytes) -> Bytes {
        bytes
    }

    fn sum(&mut self) -> u64 {
        self.0
    }
}

/// Handlers that may wait, and that do wait for the answer of another grain.
#[derive(Default)]
struct Waiting {
    sum: u64,
    next: Option<PlainRef>,
}

#[grain]
impl Waiting {
    fn next(&mut self, ctx: &Ctx, key: String) {
        self.next = Some(ctx.grain(key));
    }

    async fn hit(&mut self, bytes: Bytes) {
        self.sum += u64::from(bytes[0]);
    }

    async fn echo(&mut self, bytes: Bytes) -> Bytes {
        bytes
    }

    async fn hit_next(&mut self, bytes: Bytes) {
        let next = self.next.as_ref().unwrap();
        self.sum += u64::from(next.echo(bytes).await.unwrap()[0]);
    }

    async fn echo_next(&mut self, bytes: Bytes) -> Bytes {
        let next = self.next.as_ref().unwrap();
        next.echo(bytes).await.unwrap()
    }

    fn sum(&mut self) -> u64 {
        self.sum
    }
}

/// Sends from its shard.
#[derive(Default)]
struct Driver;

#[grain]
impl Driver {
    async fn tell_plain(&mut self, ctx: &Ctx, to: String, count: u64) {
        let to: PlainRef = ctx.grain(to);
        for number in 1..=count {
            to.hit([1; 64]).tell().unwrap();
            if number % WINDOW == 0 {
                to.sum().await.unwrap();
            }
        }
    }

    async fn call_plain(&mut self, ctx: &Ctx, to: String, count: u64) {
        let to: PlainRef = ctx.grain(to);
        for _ in 0..count {
            assert_eq!(to.echo([2; 64]).await.unwrap()[63], 2);
        }
    }

    async fn tell_async(&mut self, ctx: &Ctx, to: String, count: u64) {
        let to: WaitingRef = ctx.grain(to);
        for number in 1..=count {
            to.hit([1; 64]).tell().unwrap();
            if number % WINDOW == 0 {
                to.sum().await.unwrap();
            }
        }
    }

    async fn call_async(&mut self, ctx: &Ctx, to: String, count: u64) {
        let to: WaitingRef = ctx.grain(to);
        for _ in 0..count {
            assert_eq!(to.echo([2; 64]).await.unwrap()[63], 2);
        }
    }

    /// Messages find a handler that waits, so they wait in its mailbox.
    async fn tell_waiting(&mut self, ctx: &Ctx, to: String, count: u64) {
        let to: WaitingRef = ctx.grain(to);
        for number in 1..=count {
            to.hit_next([1; 64]).tell().unwrap();
            if number % (WINDOW / 8) == 0 {
                to.sum().await.unwrap();
            }
        }
    }

    async fn call_waiting(&mut self, ctx: &Ctx, to: String, count: u64) {
        let to: WaitingRef = ctx.grain(to);
        for _ in 0..count {
            assert_eq!(to.echo_next([2; 64]).await.unwrap()[63], 2);
        }
    }
}

/// A key of a grain on a shard.
fn on<R: teff::Reference>(node: &Node, shard: u16) -> String {
    let keys = (0..).map(|key| format!("grain {key}"));
    let owner = |key: &String| node.owner_of::<R>(&node.grain(key)).unwrap().1;
    let mut there = keys.filter(|key| owner(key) == ShardId(shard));
    there.next().unwrap()
}

/// Sends so many messages of one sort to a grain.
type Run = fn(&DriverRef, &str, u64);

const RUNS: [(&str, bool, Run); 6] = [
    ("tell, plain", false, |driver, to, count| {
        driver.tell_plain(to, count).timeout(LONG).wait().unwrap();
    }),
    ("call, plain", false, |driver, to, count| {
        driver.call_plain(to, count).timeout(LONG).wait().unwrap();
    }),
    ("tell, async", true, |driver, to, count| {
        driver.tell_async(to, count).timeout(LONG).wait().unwrap();
    }),
    ("call, async", true, |driver, to, count| {
        driver.call_async(to, count).timeout(LONG).wait().unwrap();
    }),
    ("tell, async that waits", true, |driver, to, count| {
        driver.tell_waiting(to, count).timeout(LONG).wait().unwrap();
    }),
    ("call, async that waits", true, |driver, to, count| {
        driver.call_waiting(to, count).timeout(LONG).wait().unwrap();
    }),
];

const LONG: Duration = Duration::from_secs(120);

/// Runs everything on one node, and says what has allocated.
fn offenders(
    (reactor, idle): (Reactor, IdleStrategy),
    shards: usize,
    messages: u64,
) -> Vec<String> {
    let node = Node::single()
        .shards(shards)
        .reactor(reactor)
        .idle(idle)
        .kind(PlainRef::kind::<Plain>())
        .kind(WaitingRef::kind::<Waiting>())
        .kind(DriverRef::kind::<Driver>())
        .start()
        .unwrap();
    let driver: DriverRef = node.grain(on::<DriverRef>(&node, 0));
    let harness = match reactor {
        Reactor::Epoll => HARNESS,
        _ => HARNESS + GLOMMIO,
    };
    let mut offenders = Vec::new();
    for (far, place) in [(0, "same shard"), (1, "other shard")] {
        let plain = on::<PlainRef>(&node, far);
        let waiting = on::<WaitingRef>(&node, far);
        // What the handler waits for is here and there.
        for next in [far, 1 - far] {
            let next = on::<PlainRef>(&node, next);
            node.grain::<WaitingRef>(&waiting)
                .next(next.as_str())
                .wait()
                .unwrap();
            for (name, is_async, run) in RUNS {
                let to = if is_async { &waiting } else { &plain };
                run(&driver, to, FEWER);
                let before = count();
                run(&driver, to, messages);
                let allocated = count() - before;
                if allocated > harness {
                    offenders.push(format!("{name}, {place}: {allocated} allocations"));
                }
            }
        }
    }
    node.shutdown().unwrap();
    let total = node.counters().total();
    assert_eq!(total.sent, total.handled, "{total:?}");
    offenders
}

// One test, because all tests of a program share its allocator.
#[test]
fn no_message_allocates_on_the_warm_path() {
    // To go to sleep in glommio's io_uring allocates, whatever for; a shard that never sleeps shows
    // that messages do not.
    let strategies = [
        (Reactor::Epoll, IdleStrategy::default(), 2, MESSAGES),
        (Reactor::Epoll, IdleStrategy::Park, 2, FEWER),
        (Reactor::Epoll, IdleStrategy::default(), 4, FEWER),
        (Reactor::IoUring, IdleStrategy::BusyPoll, 2, FEWER),
    ];
    for (reactor, idle, shards, messages) in strategies {
        let before = count();
        drop(std::hint::black_box(vec![0_u8; 1]));
        assert_eq!(count() - before, 1, "the allocator does not count");
        let offenders = offenders((reactor, idle), shards, messages);
        assert!(
            offenders.is_empty(),
            "{reactor}, {idle:?}, {shards} shards, {messages} messages each: {offenders:#?}"
        );
    }
}
