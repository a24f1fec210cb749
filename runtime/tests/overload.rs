//! Every queue is bounded, and whoever finds one full is told.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use teff::{CallError, Ctx, Node, Refusal, TellError, grain};

/// Lets handlers that wait for it go on.
static GATE: AtomicBool = AtomicBool::new(false);
static HANDLED: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Worker;

#[grain]
impl Worker {
    async fn wait_for_gate(&mut self, ctx: &Ctx) {
        while !GATE.load(Ordering::Acquire) {
            ctx.sleep(Duration::from_millis(1)).await;
        }
    }

    fn work(&mut self) {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }

    /// Sends so many messages to grains of the other shard within one turn.
    async fn flood(&mut self, ctx: &Ctx, key: String, count: u64) -> u64 {
        let other: WorkerRef = ctx.grain(key);
        let mut busy = 0;
        for _ in 0..count {
            if let Err(TellError::Busy) = other.work().tell() {
                busy += 1;
                other.work().when_room().await.unwrap();
            }
        }
        busy
    }

    fn stall(&mut self, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
    }
}

#[test]
fn full_queues_are_told_and_waited_for() {
    let node = Node::single()
        .shards(2)
        .lane_capacity(64)
        .mailbox_capacity(8)
        .kind(WorkerRef::kind::<Worker>())
        .start()
        .unwrap();
    a_full_mailbox_refuses_and_the_others_go_on(&node);
    a_handler_waits_for_room_in_a_lane(&node);
    a_thread_waits_for_room_in_its_lane(&node);
    node.shutdown().unwrap();
    let total = node.counters().total();
    assert_eq!(
        total.sent,
        total.handled + total.dropped_total(),
        "{total:?}"
    );
}

fn a_full_mailbox_refuses_and_the_others_go_on(node: &Node) {
    let stuck: WorkerRef = node.grain("stuck");
    stuck.wait_for_gate().tell().unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        match stuck.work().timeout(Duration::from_millis(50)).wait() {
            Err(CallError::Refused(Refusal::Busy)) => refused += 1,
            // It waits in the mailbox.
            Err(CallError::Unknown(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 12, "the mailbox holds eight");
    let before = HANDLED.load(Ordering::Relaxed);
    node.grain::<WorkerRef>("free").work().wait().unwrap();
    assert_eq!(HANDLED.load(Ordering::Relaxed), before + 1);
    GATE.store(true, Ordering::Release);
    // Their deadlines are over by now: expired work is not started.
    while let Err(error) = stuck.work().wait() {
        assert!(
            matches!(error, CallError::Refused(Refusal::Busy)),
            "{error}"
        );
    }
    assert_eq!(HANDLED.load(Ordering::Relaxed), before + 2);
    assert_eq!(node.counters().total().dropped["expired"], 8);
}

fn a_handler_waits_for_room_in_a_lane(node: &Node) {
    let shard = |key: &str| node.owner_of::<WorkerRef>(&node.grain(key)).unwrap().1;
    let here = "here";
    let there = (0..)
        .map(|n| format!("there {n}"))
        .find(|key| shard(key) != shard(here))
        .unwrap();
    let before = HANDLED.load(Ordering::Relaxed);
    let flooder: WorkerRef = node.grain(here);
    let busy = flooder.flood(there.as_str(), 10_000).wait().unwrap();
    assert!(
        busy > 0,
        "ten thousand messages do not fit a lane of 64 at once"
    );
    node.grain::<WorkerRef>(&there).work().wait().unwrap();
    // This thread is another sender: its call may overtake the end of the flood.
    let deadline = Instant::now() + Duration::from_secs(30);
    while HANDLED.load(Ordering::Relaxed) < before + 10_001 {
        assert!(Instant::now() < deadline, "some were lost");
        std::thread::yield_now();
    }
    assert_eq!(HANDLED.load(Ordering::Relaxed), before + 10_001);
}

fn a_thread_waits_for_room_in_its_lane(node: &Node) {
    let slow: WorkerRef = node.grain("slow");
    let before = HANDLED.load(Ordering::Relaxed);
    slow.stall(100).tell().unwrap();
    let mut sent = 0;
    while slow.work().tell().is_ok() {
        sent += 1;
        assert!(sent < 1000, "a lane of 64 takes no thousand");
    }
    for _ in 0..1000 {
        slow.work().when_room().wait().unwrap();
        sent += 1;
    }
    // A call finds its room too.
    slow.work().wait().unwrap();
    assert_eq!(HANDLED.load(Ordering::Relaxed), before + sent + 1);
}
