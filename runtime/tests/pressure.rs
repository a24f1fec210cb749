//! A slow grain on another node: who sends to it feels it as the policy says, nothing that was
//! accepted is dropped, and other grains behind the same link do not notice.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster::{Cluster, finish, remote_key};
use teff::{Ctx, Kind, Node, NodeId, Overload, TellError, grain};

/// Keeps handlers waiting until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

type Log = Arc<Mutex<Vec<u64>>>;

struct Worker {
    gate: Gate,
    log: Log,
}

#[grain]
impl Worker {
    async fn hold(&mut self, ctx: &Ctx) {
        while !self.gate.0.load(Ordering::SeqCst) {
            ctx.sleep(Duration::from_millis(1)).await;
        }
    }

    fn note(&mut self, number: u64) {
        self.log.lock().unwrap().push(number);
    }

    fn ping(&mut self) {}
}

/// Sends from a shard of its node.
struct Driver;

#[grain]
impl Driver {
    /// Tells numbers until there is no room; how many there was room for. Lets the shard go on in
    /// between, so that it hears what the other node says.
    async fn fill(&mut self, ctx: &Ctx, to: String, most: u64) -> u64 {
        let worker: WorkerRef = ctx.grain(to);
        for number in 0..most {
            match worker.note(number).on_overload(Overload::Refuse).tell() {
                Ok(()) => {}
                Err(TellError::Busy) => return number,
                Err(error) => panic!("{error}"),
            }
            if number.is_multiple_of(16) {
                ctx.sleep(Duration::from_micros(200)).await;
            }
        }
        most
    }

    /// Tells the numbers of a range, and waits wherever there is no room.
    async fn go_on(&mut self, ctx: &Ctx, to: String, from: u64, until: u64) {
        let worker: WorkerRef = ctx.grain(to);
        for number in from..until {
            worker.note(number).when_room().await.unwrap();
        }
    }
}

const MAILBOX: usize = 128;

/// Far more than the mailbox holds, and less than the link does.
const MANY: u64 = 20_000;

fn two(gate: &Gate, log: &Log) -> Vec<Node> {
    let worker = |gate: Gate, log: Log| -> Kind {
        WorkerRef::kind_with(move |_| Worker {
            gate: gate.clone(),
            log: Arc::clone(&log),
        })
    };
    Cluster::new("pressure", 2, 1).start(|_, builder| {
        builder
            .mailbox_capacity(MAILBOX)
            .kind(worker(gate.clone(), Arc::clone(log)))
            .kind(DriverRef::kind_with(|_| Driver))
    })
}

#[test]
fn a_slow_grain_on_another_node_is_felt_by_its_senders_and_by_nobody_else() {
    let (gate, log) = (Gate::default(), Log::default());
    let nodes = two(&gate, &log);
    let near = &nodes[0];
    let there = |n| {
        let owner = |key: &str| near.owner_of::<WorkerRef>(&near.grain(key));
        remote_key(n, owner, NodeId(2))
    };
    let (slow, other) = (there(0), there(1));
    let here = |key: &str| near.owner_of::<DriverRef>(&near.grain(key));
    let driver: DriverRef = near.grain(remote_key(0, here, NodeId(1)));

    near.grain::<WorkerRef>(slow.as_str())
        .hold()
        .tell()
        .unwrap();
    let accepted = driver.fill(slow.as_str(), MANY).wait().unwrap();
    assert!(
        (MAILBOX as u64..MANY).contains(&accepted),
        "{accepted} messages found room"
    );
    // The way to its neighbours is free.
    for _ in 0..100 {
        near.grain::<WorkerRef>(other.as_str())
            .ping()
            .wait()
            .unwrap();
    }
    assert!(log.lock().unwrap().is_empty(), "the slow one still waits");

    let (sender, to) = (driver.clone(), slow.clone());
    let waiter = std::thread::spawn(move || {
        sender
            .go_on(to, accepted, accepted + 5000)
            .timeout(Duration::from_secs(60))
            .wait()
    });
    gate.0.store(true, Ordering::SeqCst);
    waiter.join().unwrap().unwrap();

    let expected = accepted + 5000;
    let deadline = Instant::now() + Duration::from_secs(30);
    while (log.lock().unwrap().len() as u64) < expected {
        assert!(Instant::now() < deadline, "{}", log.lock().unwrap().len());
        std::thread::yield_now();
    }
    assert_eq!(*log.lock().unwrap(), (0..expected).collect::<Vec<_>>());
    finish(nodes);
}
