//! Tells that may get lost: they arrive where all is well, make nobody wait where it is not, and
//! what a node drops of them it counts.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, remote_key};
use teff::{Builder, Ctx, IdleStrategy, Node, NodeId, Overload, ShardId, TellError, grain};
use teff_core::hash::PlacementKey;
use teff_core::view::View;
use teff_transport::{ClusterName, Endpoint, Event, LinkId, LocalNode, SendError, Settings};
use teff_wire::{Epoch, Header, Incarnation, Key, KindId, MethodId};

const MAILBOX: usize = 8;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// What waits for nothing is done within this time, on however busy a machine.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What the grains of all nodes share with the test.
#[derive(Clone, Default)]
struct Shared {
    /// What was handled, in order: numbers, or the lengths of payloads.
    log: Arc<Mutex<Vec<u64>>>,
    gate: Arc<Mutex<Gate>>,
}

#[derive(Default)]
struct Gate {
    waiting: usize,
    open: bool,
    wakers: Vec<Waker>,
}

impl Shared {
    fn log(&self) -> Vec<u64> {
        self.log.lock().unwrap().clone()
    }

    fn await_someone(&self) {
        until("someone is at the gate", || {
            self.gate.lock().unwrap().waiting > 0
        });
    }

    fn open(&self) {
        let wakers = {
            let mut gate = self.gate.lock().unwrap();
            gate.open = true;
            std::mem::take(&mut gate.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

struct Sensor(Shared);

#[grain]
impl Sensor {
    fn note(&mut self, number: u64) -> u64 {
        self.0.log.lock().unwrap().push(number);
        number
    }

    fn weigh(&mut self, bytes: Vec<u8>) {
        self.0.log.lock().unwrap().push(bytes.len() as u64);
    }

    /// Waits at the gate, and lets its shard go on.
    async fn suspend(&mut self) {
        let gate = Arc::clone(&self.0.gate);
        gate.lock().unwrap().waiting += 1;
        poll_fn(|cx| {
            let mut gate = gate.lock().unwrap();
            if gate.open {
                return Poll::Ready(());
            }
            gate.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Stops its whole shard at the gate.
    fn block(&mut self) {
        self.0.gate.lock().unwrap().waiting += 1;
        until("the gate is opened", || self.0.gate.lock().unwrap().open);
    }
}

/// The same name as `other::Gauge`, another contract.
#[derive(Default)]
struct Gauge;

#[grain]
impl Gauge {
    fn set(&mut self, _to: u64) {}
}

mod other {
    #[derive(Default)]
    pub(crate) struct Gauge;

    #[teff::grain]
    impl Gauge {
        fn set(&mut self, _to: u32) {}
    }
}

/// A grain that sends from its shard.
#[derive(Default)]
struct Driver;

#[grain]
impl Driver {
    /// Sends numbers that may get lost. All are accepted.
    fn note(&mut self, ctx: &Ctx, to: String, from: u64, count: u64) {
        let sensor: SensorRef = ctx.grain(to);
        for number in from..from + count {
            sensor.note(number).tell_lossy().unwrap();
        }
    }

    /// Sends so many bytes, which may get lost. 0, or how many it may be.
    fn weigh(&mut self, ctx: &Ctx, to: String, len: u64) -> u64 {
        let sensor: SensorRef = ctx.grain(to);
        match sensor.weigh(vec![7; len as usize]).tell_lossy() {
            Ok(()) => 0,
            Err(TellError::TooLarge { len: said, limit }) => {
                assert!(said as u64 >= len, "{said} is the encoded length");
                limit as u64
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn set(&mut self, ctx: &Ctx, to: String) -> String {
        let gauge: GaugeRef = ctx.grain(to);
        match gauge.set(1).tell_lossy() {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }
}

#[track_caller]
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < end, "in vain waited until {what}");
        thread::yield_now();
    }
}

fn hosts(builder: Builder, shared: &Shared) -> Builder {
    let shared = shared.clone();
    builder
        .kind(SensorRef::kind_with(move |_: &Ctx| Sensor(shared.clone())))
        .kind(DriverRef::kind::<Driver>())
        .mailbox_capacity(MAILBOX)
        .idle(IdleStrategy::Park)
}

fn two(shards: u16) -> (Vec<Node>, Shared) {
    let shared = Shared::default();
    let nodes = Cluster::new("lossy", 2, shards).start(|_, builder| hosts(builder, &shared));
    (nodes, shared)
}

/// The key of the `n`-th sensor of `node`.
fn key_on(from: &Node, node: NodeId, n: usize) -> String {
    remote_key(n, |key| from.owner_of::<SensorRef>(&from.grain(key)), node)
}

fn driver_on(from: &Node, node: NodeId) -> DriverRef {
    from.grain(remote_key(
        0,
        |key| from.owner_of::<DriverRef>(&from.grain(key)),
        node,
    ))
}

fn dropped(node: &Node, reason: &str) -> u64 {
    let total = node.counters().total();
    total.dropped.get(reason).copied().unwrap_or(0)
}

/// Stops the nodes. What was sent was handled or dropped, or is one of `lost` in the network.
fn finish(nodes: Vec<Node>, lost: u64) {
    let mut sum = teff::KindCounters::default();
    for node in &nodes {
        node.shutdown().unwrap();
        sum.add(&node.counters().total());
    }
    assert_eq!(
        sum.sent,
        sum.handled + sum.dropped_total() + lost,
        "{sum:?}"
    );
}

#[test]
fn on_a_calm_network_each_arrives() {
    let (nodes, shared) = two(2);
    let to: Vec<_> = (0..8)
        .map(|n| key_on(&nodes[0], nodes[1].id(), n))
        .collect();
    let driver = driver_on(&nodes[0], nodes[0].id());
    // The links come up, those of the driver's shard and of the thread's own.
    let mut tried = 0;
    for key in &to {
        nodes[0].grain::<SensorRef>(key).note(0).wait().unwrap();
        until("the driver's link is up", || {
            let before = dropped(&nodes[0], "lossy_no_link");
            assert_eq!(driver.weigh(key, 1).wait().unwrap(), 0);
            tried += 1;
            dropped(&nodes[0], "lossy_no_link") == before
        });
    }
    until("nothing is on its way", || {
        let arrived = shared.log().iter().filter(|entry| **entry == 1).count();
        let left = tried - dropped(&nodes[0], "lossy_no_link");
        let counted = [nodes[0].counters().lossy_out, nodes[1].counters().lossy_in];
        arrived as u64 == left && counted == [left; 2]
    });
    let before = shared.log().len();
    let (sent, out) = (
        nodes[0].counters().total().sent,
        nodes[0].counters().lossy_out,
    );
    // One at a time, so that no buffer of the kernel overflows.
    for round in 0..100 {
        for key in &to {
            let handled = shared.log().len();
            match round % 2 {
                0 => {
                    let sensor: SensorRef = nodes[0].grain(key);
                    sensor.note(1000 + round).tell_lossy().unwrap();
                }
                _ => driver.note(key, 1000 + round, 1).wait().unwrap(),
            }
            until("it is handled", || shared.log().len() > handled);
            assert_eq!(shared.log()[handled..], [1000 + round]);
        }
    }
    until("the counters show it", || {
        nodes[0].counters().lossy_out == out + 800 && nodes[1].counters().lossy_in == out + 800
    });
    let total = nodes[0].counters().total();
    assert_eq!(total.sent, sent + 800 + 400, "400 of them by the driver");
    assert_eq!(
        nodes[0].counters().total().dropped.get("lossy_no_room"),
        None
    );
    let in_all = shared.log().len() - before;
    assert_eq!(in_all, 800, "each once");
    let lost = dropped(&nodes[0], "link_lost");
    finish(nodes, lost);
}

#[test]
fn inside_a_node_it_is_a_tell() {
    let shared = Shared::default();
    let node = hosts(Node::single(), &shared).shards(2).start().unwrap();
    for shard in 0..2 {
        shared.log.lock().unwrap().clear();
        let owned = |key: &String| {
            let owner = node.owner_of::<SensorRef>(&node.grain(key));
            owner.is_some_and(|(_, owner)| owner == ShardId(shard))
        };
        let key = (0..).map(|n| format!("sensor {n}")).find(owned).unwrap();
        let sensor: SensorRef = node.grain(&key);
        for number in 0..100 {
            sensor.note(number).tell_lossy().unwrap();
        }
        node.grain::<DriverRef>("d")
            .note(&key, 100, 100)
            .wait()
            .unwrap();
        until("all are handled", || shared.log().len() == 200);
        for sender in [0..100, 100..200] {
            let log = shared.log().into_iter();
            let of_sender: Vec<_> = log.filter(|number| sender.contains(number)).collect();
            assert_eq!(of_sender, sender.collect::<Vec<_>>(), "in order");
        }
    }
    finish(vec![node], 0);
}

#[test]
fn without_a_link_each_is_counted_and_the_link_is_dialled() {
    let shared = Shared::default();
    let mut cluster = Cluster::new("lossy", 2, 1);
    let one = hosts(cluster.builder(1), &shared).start().unwrap();
    let key = key_on(&one, NodeId(2), 0);
    let sensor: SensorRef = one.grain(&key);
    let driver = driver_on(&one, NodeId(1));
    let start = Instant::now();
    for number in 0..50 {
        sensor.note(number).tell_lossy().unwrap();
    }
    driver.note(&key, 50, 50).wait().unwrap();
    assert!(start.elapsed() < AT_ONCE, "nobody waits for a link");
    until("all are counted", || dropped(&one, "lossy_no_link") == 100);
    // Nothing but lossy tells is sent, and yet the link comes up.
    let two = hosts(cluster.builder(2), &shared).start().unwrap();
    until("one arrives", || {
        sensor.note(1000).tell_lossy().unwrap();
        thread::sleep(Duration::from_millis(1));
        shared.log().contains(&1000)
    });
    assert!(
        shared.log().iter().all(|number| *number == 1000),
        "none was kept"
    );
    // The peer goes down, and with it the link.
    two.shutdown().unwrap();
    let before = dropped(&one, "lossy_no_link");
    until("they are counted again", || {
        sensor.note(2000).tell_lossy().unwrap();
        dropped(&one, "lossy_no_link") > before
    });
    one.shutdown().unwrap();
    let total = one.counters().total();
    let here = total.handled + total.dropped_total();
    assert!(here + one.counters().lossy_out >= total.sent, "{total:?}");
}

#[test]
fn what_fits_into_no_datagram_is_an_error_with_the_bound() {
    let (nodes, shared) = two(1);
    let key = key_on(&nodes[0], nodes[1].id(), 0);
    let sensor: SensorRef = nodes[0].grain(&key);
    sensor.note(0).wait().unwrap();
    let driver = driver_on(&nodes[0], nodes[0].id());
    // It grows while the path is probed.
    let mut limit = 0;
    until("the bound stays", || {
        let before = limit;
        limit = driver.weigh(&key, 1 << 20).wait().unwrap();
        assert!(limit >= before.max(1024), "{limit} after {before}");
        before == limit && driver.weigh(&key, limit + 1).wait().unwrap() == limit
    });
    // The encoding takes some bytes of it.
    let len = limit - 32;
    until("the largest arrives", || {
        assert_eq!(driver.weigh(&key, len).wait().unwrap(), 0);
        shared.log().contains(&len)
    });
    assert_eq!(
        dropped(&nodes[0], "too_large"),
        0,
        "an error is not counted"
    );
    // A thread outside is not there any more when it turns out.
    sensor.weigh(vec![7; 1 << 20]).tell_lossy().unwrap();
    until("it is counted", || dropped(&nodes[0], "too_large") == 1);
    for node in nodes {
        node.shutdown().unwrap();
    }
}

#[test]
fn a_contract_that_the_peer_does_not_share_is_an_error() {
    let shared = Shared::default();
    let gauge = || GaugeRef::kind::<Gauge>();
    let odd = || other::GaugeRef::kind::<other::Gauge>();
    for (second, says) in [(Some(odd()), "another contract"), (None, "has no kind")] {
        let nodes = Cluster::new("lossy", 2, 1).start(|node, builder| {
            let builder = hosts(builder, &shared);
            match (node, &second) {
                (1, _) => builder.kind(gauge()),
                (_, Some(kind)) => builder.kind(kind.clone()),
                _ => builder,
            }
        });
        let key = remote_key(
            0,
            |key| nodes[0].owner_of::<GaugeRef>(&nodes[0].grain(key)),
            nodes[1].id(),
        );
        let driver = driver_on(&nodes[0], nodes[0].id());
        until("the link is up and the peer's kinds known", || {
            let error = driver.set(&key).wait().unwrap();
            assert!(error.is_empty() || error.contains(says), "{error}");
            !error.is_empty()
        });
        let lost = 0;
        finish(nodes, lost);
    }
}

#[test]
fn it_goes_past_a_message_of_sixteen_mebibytes() {
    const LARGE: usize = (16 << 20) - 4096;
    let (nodes, shared) = two(1);
    let large: SensorRef = nodes[0].grain(key_on(&nodes[0], nodes[1].id(), 0));
    let quick: SensorRef = nodes[0].grain(key_on(&nodes[0], nodes[1].id(), 1));
    large.note(0).wait().unwrap();
    for round in 1..=3 {
        shared.log.lock().unwrap().clear();
        large.weigh(vec![1; LARGE]).tell().unwrap();
        // As positions are: again and again. A full socket may lose some.
        until("the large one arrives", || {
            quick.note(round).tell_lossy().unwrap();
            thread::sleep(Duration::from_micros(200));
            shared.log().contains(&(LARGE as u64))
        });
        let log = shared.log();
        let place = |what| log.iter().position(|entry| *entry == what).unwrap();
        assert!(place(round) < place(LARGE as u64), "{log:?}");
    }
    for node in nodes {
        node.shutdown().unwrap();
    }
}

#[test]
fn a_mailbox_that_is_full_drops_it_and_makes_nobody_wait() {
    let (nodes, shared) = two(1);
    let key = key_on(&nodes[0], nodes[1].id(), 0);
    let sensor: SensorRef = nodes[0].grain(&key);
    let near: SensorRef = nodes[1].grain(&key);
    sensor.suspend().tell().unwrap();
    shared.await_someone();
    // From its own node: one place is left to others.
    let start = Instant::now();
    for number in 0..100 {
        near.note(number).tell_lossy().unwrap();
    }
    assert!(start.elapsed() < AT_ONCE);
    let kept = MAILBOX as u64 - 1;
    until("the others are counted", || {
        dropped(&nodes[1], "lossy_no_room") == 100 - kept
    });
    // From the other node.
    let lost = || dropped(&nodes[0], "lossy_no_room") + dropped(&nodes[1], "lossy_no_room");
    let lose = |number| {
        let before = lost();
        sensor.note(number).tell_lossy().unwrap();
        until("it is counted", || lost() == before + 1);
    };
    lose(1000);
    assert_eq!(dropped(&nodes[0], "lossy_no_room"), 0);
    // They have filled it for nobody.
    near.note(2000).on_overload(Overload::Wait).tell().unwrap();
    // That has: peers are told when they send more, and lossy ones do not even leave there.
    sensor.note(3000).tell().unwrap();
    until("the peer is told", || {
        lose(4000);
        dropped(&nodes[0], "lossy_no_room") > 0
    });
    // Nor do they wait behind what waits there.
    sensor.note(3001).tell().unwrap();
    lose(4001);
    shared.open();
    sensor.note(5000).wait().unwrap();
    let log = shared.log();
    assert_eq!(log[..MAILBOX - 1], [0, 1, 2, 3, 4, 5, 6]);
    // What the others send keeps its order, and comes from two sides.
    let far: Vec<_> = log[MAILBOX - 1..].iter().filter(|n| **n != 2000).collect();
    assert_eq!(far, [&3000, &3001, &5000], "{log:?}");
    assert!(log.contains(&2000));
    for node in nodes {
        node.shutdown().unwrap();
    }
}

#[test]
fn a_lane_that_is_full_drops_it_at_once() {
    const LANE: usize = 16;
    let shared = Shared::default();
    let node = hosts(Node::single(), &shared)
        .shards(2)
        .lane_capacity(LANE)
        .start()
        .unwrap();
    let on = |shard| {
        let owned = move |node: &Node, key: &String| {
            let owner = node.owner_of::<SensorRef>(&node.grain(key));
            owner.is_some_and(|(_, owner)| owner == ShardId(shard))
        };
        let mut keys = (0..).map(|n| format!("sensor {n}"));
        keys.find(|key| owned(&node, key)).unwrap()
    };
    let driver_of = |shard| {
        let owned = |driver: &DriverRef| {
            let owner = node.owner_of(driver);
            owner.is_some_and(|(_, owner)| owner == ShardId(shard))
        };
        let mut drivers = (0..).map(|n| node.grain::<DriverRef>(format!("d {n}")));
        drivers.find(owned).unwrap()
    };
    let (stopped, other) = (on(0), driver_of(1));
    let sensor: SensorRef = node.grain(&stopped);
    sensor.block().tell().unwrap();
    shared.await_someone();
    let start = Instant::now();
    for number in 0..1000 {
        sensor.note(number).tell_lossy().unwrap();
    }
    other.note(&stopped, 1000, 1000).wait().unwrap();
    assert!(start.elapsed() < AT_ONCE, "nobody waits for the shard");
    let lost = dropped(&node, "lossy_no_room");
    assert!((2000 - 4 * LANE as u64..2000).contains(&lost), "{lost}");
    shared.open();
    until("what had room is handled", || {
        shared.log().len() as u64 == 2000 - lost
    });
    finish(vec![node], 0);
}

/// A member without a runtime: whatever it sends is sent by the test.
struct Stranger {
    endpoint: Endpoint,
    link: LinkId,
    down: bool,
    up: bool,
}

impl Stranger {
    fn dial(cluster: &mut Cluster, node: u16, to: &Node, shard: u16) -> Self {
        let (listener, identity) = (cluster.take_listener(node), cluster.identity(node));
        let name = ClusterName::new(cluster.name).unwrap();
        let view = View::new(Epoch(1), cluster.members.clone()).unwrap();
        let local = LocalNode {
            node: NodeId(node),
            incarnation: Incarnation(99),
            shards: 1,
            placement: view.digest(&PlacementKey::new(identity.placement_key(&name))),
            cluster: name,
        };
        let settings = Arc::new(Settings::new(local, &identity, |_| true).unwrap());
        let socket = listener.into_sockets(1).unwrap().remove(0);
        let mut endpoint = Endpoint::new(settings, ShardId(0), socket).unwrap();
        let address = to.address().unwrap();
        let link = endpoint.dial(Instant::now(), to.id(), address, ShardId(shard));
        let mut stranger = Self {
            endpoint,
            link,
            down: false,
            up: false,
        };
        until("the stranger's link is up", || {
            stranger.step();
            stranger.up
        });
        stranger
    }

    fn step(&mut self) {
        let now = Instant::now();
        while self.endpoint.receive(now).unwrap() > 0 {}
        self.endpoint.handle_timeout(now);
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Up { .. } => self.up = true,
                Event::Down { .. } => self.down = true,
                _ => {}
            }
        }
        self.endpoint.flush(now);
    }

    fn send(&mut self, kind: KindId, method: u16, (key, payload): (&str, &[u8])) {
        let header = Header::tell(kind, MethodId(method));
        let key = Key::new(key).unwrap();
        let sent = self.endpoint.send_lossy(self.link, &header, &key, |out| {
            out.extend_from_slice(payload);
            Ok::<(), ()>(())
        });
        assert!(matches!(sent, Ok(()) | Err(SendError::Down)), "{sent:?}");
    }
}

#[test]
fn a_peer_that_floods_harms_nobody_else() {
    let shared = Shared::default();
    let mut cluster = Cluster::new("lossy", 3, 1);
    let nodes: Vec<_> = [1, 2]
        .map(|node| hosts(cluster.builder(node), &shared).start().unwrap())
        .into();
    let mut stranger = Stranger::dial(&mut cluster, 3, &nodes[1], 0);
    let sensor = key_on(&nodes[0], nodes[1].id(), 0);
    let good: SensorRef = nodes[0].grain(&sensor);
    let kind = KindId::of("Sensor");
    let stop = Instant::now() + Duration::from_millis(500);
    let (mut calls, mut round) = (0, 0_u32);
    while Instant::now() < stop {
        for _ in 0..200 {
            round += 1;
            let garbage = round.to_le_bytes();
            match round % 4 {
                0 => stranger.send(KindId(round), 0, ("nobody", &garbage)),
                1 => stranger.send(kind, 999, (&sensor, &garbage)),
                2 => stranger.send(kind, 1, (&sensor, &garbage)),
                _ => stranger.send(kind, 0, ("of another node", &garbage)),
            }
        }
        stranger.step();
        if round.is_multiple_of(2000) {
            good.note(calls).wait().unwrap();
            calls += 1;
        }
    }
    assert!(calls > 0, "the good node was heard in between");
    assert_eq!(shared.log(), (0..calls).collect::<Vec<_>>());
    until("each ended for its reason", || {
        stranger.step();
        let counters = nodes[1].counters();
        let unknown = counters.kinds.get("(unknown)");
        let unknown = unknown.is_some_and(|kind| kind.dropped.contains_key("unknown_kind"));
        let sensor = &counters.kinds["Sensor"].dropped;
        unknown && sensor.contains_key("unknown_method") && sensor.contains_key("undecodable")
    });
    let activations: u64 = nodes[1].activations().iter().sum();
    assert!(activations <= 2, "{activations} grains were made");
    assert!(!stranger.down, "what may get lost may as well be nonsense");
    for node in nodes {
        node.shutdown().unwrap();
    }
}

#[test]
fn one_for_another_shard_is_passed_on() {
    let shared = Shared::default();
    let mut cluster = Cluster::new("lossy", 2, 2);
    cluster.members[1].shards = 1;
    let one = hosts(cluster.builder(1), &shared).start().unwrap();
    // The link leads to shard 0; the grain is on shard 1.
    let mut stranger = Stranger::dial(&mut cluster, 2, &one, 0);
    let owned =
        |key: &String| one.owner_of::<SensorRef>(&one.grain(key)) == Some((NodeId(1), ShardId(1)));
    let key = (0..).map(|n| format!("key {n}")).find(owned).unwrap();
    let kind = KindId::of("Sensor");
    until("it is handled there", || {
        stranger.send(kind, 0, (&key, &77_u64.to_le_bytes()));
        stranger.step();
        shared.log().contains(&77)
    });
    assert_eq!(one.activations(), [0, 1]);
    one.shutdown().unwrap();
}
