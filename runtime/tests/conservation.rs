//! sent = handled + dropped, whatever happens: destructors that send, shards that stop in the
//! middle of things, links that go down, threads that come too late.

#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, remote_key};
use teff::{CallError, Ctx, Doubt, Kind, Node, NodeId, Refusal, TellError, grain, message};

/// A message whose end is not quiet: it panics, or it sends another message.
#[message]
struct Bomb {
    panics: bool,
}

/// Where bombs send their message to.
static VICTIM: Mutex<Option<WorkerRef>> = Mutex::new(None);
static RUNS: AtomicU64 = AtomicU64::new(0);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!self.panics, "a bomb went off");
        let victim = VICTIM.lock().unwrap().clone();
        if let Some(victim) = victim {
            let _ = victim.run().tell();
        }
    }
}

#[derive(Default)]
struct Worker {
    /// Told when the grain is dropped.
    heir: Option<WorkerRef>,
}

#[grain]
impl Worker {
    fn run(&mut self) {}

    fn count(&mut self) {
        RUNS.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&mut self, bomb: Bomb) {
        drop(bomb);
    }

    fn give(&mut self, panics: bool) -> Bomb {
        Bomb { panics }
    }

    fn inherit(&mut self, ctx: &Ctx, heir: String) {
        self.heir = Some(ctx.grain(heir));
    }

    async fn ping_pong(&mut self, ctx: &Ctx, to: String) {
        let (me, other) = (ctx.key().to_owned(), ctx.grain::<WorkerRef>(to));
        let _ = other.ping_pong(me).when_room().await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(heir) = &self.heir {
            let _ = heir.run().tell();
        }
    }
}

fn worker() -> Kind {
    WorkerRef::kind::<Worker>()
}

fn check(node: &Node) {
    let total = node.counters().total();
    assert_eq!(
        total.sent,
        total.handled + total.dropped_total(),
        "{total:?}"
    );
}

fn there(from: &Node, to: NodeId) -> WorkerRef {
    let owner = |key: &str| from.owner_of::<WorkerRef>(&from.grain(key));
    from.grain(remote_key(0, owner, to))
}

#[test]
fn destructors_of_messages_may_send_and_may_panic() {
    let nodes = Cluster::new("conserve", 2, 1).start(|_, node| node.kind(worker()));
    *VICTIM.lock().unwrap() = Some(nodes[0].grain("victim"));
    for worker in [there(&nodes[0], NodeId(1)), there(&nodes[0], NodeId(2))] {
        worker.take(Bomb { panics: false }).wait().unwrap();
        // A reply that nobody takes is dropped on the shard.
        worker.give(true).tell().unwrap();
        worker.give(false).tell().unwrap();
        worker.run().wait().unwrap();
    }
    *VICTIM.lock().unwrap() = None;
    cluster::finish(nodes);
}

#[test]
fn what_a_grain_sends_at_its_end_is_refused_or_counted() {
    let node = Node::single().shards(1).kind(worker()).start().unwrap();
    node.grain::<WorkerRef>("x").inherit("y").wait().unwrap();
    node.shutdown().unwrap();
    check(&node);
}

#[test]
fn a_shutdown_in_the_middle_of_things_counts_them_all() {
    for _ in 0..5 {
        let node = Node::single().shards(2).kind(worker()).start().unwrap();
        for i in 0..8 {
            let worker: WorkerRef = node.grain(format!("p{i}"));
            worker
                .ping_pong(format!("p{}", (i + 1) % 8))
                .tell()
                .unwrap();
        }
        let _ = node.shutdown_within(Duration::from_millis(20));
        check(&node);
    }
}

#[test]
fn what_a_closing_link_had_not_delivered_is_counted() {
    let nodes = Cluster::new("conserve", 2, 1).start(|_, node| node.kind(worker()));
    let far = there(&nodes[0], NodeId(2));
    far.run().wait().unwrap();
    for _ in 0..3000 {
        far.run().when_room().wait().unwrap();
    }
    let _ = nodes[0].shutdown_within(Duration::ZERO);
    nodes[1].shutdown().unwrap();
    let (near, far) = (nodes[0].counters().total(), nodes[1].counters().total());
    let lost = near.dropped_total() + far.dropped_total();
    let doubtful = near.dropped.get("link_lost").copied().unwrap_or(0);
    // What is in doubt may have been handled all the same, but nothing is missing.
    let known = far.handled + lost;
    assert!(
        known >= near.sent && known <= near.sent + doubtful,
        "{near:?} {far:?}"
    );
}

#[test]
fn a_thread_that_calls_while_the_node_stops_always_gets_an_answer() {
    let (send, receive) = mpsc::channel::<WorkerRef>();
    let (done, ended) = mpsc::channel();
    let caller = thread::spawn(move || {
        for worker in receive {
            while worker.run().wait().is_ok() {}
            done.send(()).unwrap();
        }
    });
    for round in 0..200_u64 {
        let node = Node::single().shards(1).kind(worker()).start().unwrap();
        send.send(node.grain("x")).unwrap();
        let pause = Instant::now() + Duration::from_micros(50 * (round % 20));
        while Instant::now() < pause {
            thread::yield_now();
        }
        let _ = node.shutdown();
        let answered = ended.recv_timeout(Duration::from_secs(4));
        assert!(answered.is_ok(), "round {round}: the caller hangs");
        check(&node);
    }
    drop(send);
    caller.join().unwrap();
}

#[test]
fn a_call_that_expired_while_its_link_was_missing_is_never_run() {
    let mut cluster = Cluster::new("conserve", 2, 1);
    let one = cluster.builder(1).kind(worker()).start().unwrap();
    let far = there(&one, NodeId(2));
    // The port is taken, so the dial waits; nobody answers on it yet.
    let error = far
        .count()
        .timeout(Duration::from_millis(200))
        .wait()
        .unwrap_err();
    assert!(
        matches!(error, CallError::Refused(Refusal::Expired)),
        "{error}"
    );
    let two = cluster.builder(2).kind(worker()).start().unwrap();
    far.run().wait().unwrap();
    assert_eq!(RUNS.load(Ordering::Relaxed), 0);
    assert_eq!(one.counters().total().dropped["expired"], 1);
    cluster::finish(vec![one, two]);
}

#[test]
fn a_link_that_the_peer_dialled_is_used_while_ours_cannot_be_made() {
    let mut cluster = Cluster::new("conserve", 2, 1);
    // Node 1 has a wrong address of node 2, at which nobody answers.
    let hole = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let right = cluster.members.clone();
    cluster.members[1].address = hole.local_addr().unwrap();
    let one = cluster.builder(1).kind(worker()).start().unwrap();
    cluster.members = right;
    let two = cluster.builder(2).kind(worker()).start().unwrap();
    let far = there(&one, NodeId(2));
    far.run().tell().unwrap();
    there(&two, NodeId(1)).run().wait().unwrap();
    far.run().timeout(Duration::from_secs(2)).wait().unwrap();
    cluster::finish(vec![one, two]);
}

#[test]
fn calls_from_outside_wait_for_room_but_not_past_their_deadline() {
    let mut cluster = Cluster::new("conserve", 2, 1);
    let one = cluster.builder(1).kind(worker()).start().unwrap();
    // Node 2 is not there: its dial queue fills up, then the lane.
    let far = there(&one, NodeId(2));
    let patience = Duration::from_millis(100);
    while far.run().timeout(patience).when_room().wait().is_ok() {}
    let local = there(&one, NodeId(1));
    let started = Instant::now();
    let error = local
        .run()
        .timeout(Duration::from_millis(50))
        .wait()
        .unwrap_err();
    assert!(
        matches!(
            error,
            CallError::Refused(_) | CallError::Unknown(Doubt::Timeout(_))
        ),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
    let never = far.run().timeout(Duration::MAX);
    assert!(matches!(
        never.tell(),
        Err(TellError::Busy | TellError::NodeUnreachable { .. })
    ));
    one.shutdown_within(Duration::from_secs(8)).unwrap();
    check(&one);
}

#[test]
fn a_handler_may_neither_register_kinds_nor_stop_its_node() {
    static NODE: Mutex<Option<Node>> = Mutex::new(None);

    #[derive(Default)]
    struct Rebel;

    #[grain]
    impl Rebel {
        fn rebel(&mut self) -> bool {
            let node = NODE.lock().unwrap().clone().unwrap();
            let registered = node.register(worker());
            let stopped = node.shutdown();
            matches!(registered, Err(teff::RegisterError::OnShard))
                && matches!(stopped, Err(teff::ShutdownError::OnShard))
        }
    }

    let node = Node::single()
        .shards(1)
        .kind(RebelRef::kind::<Rebel>())
        .start()
        .unwrap();
    *NODE.lock().unwrap() = Some(node.clone());
    assert!(node.grain::<RebelRef>("x").rebel().wait().unwrap());
    *NODE.lock().unwrap() = None;
    node.shutdown().unwrap();
}
