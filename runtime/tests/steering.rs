//! Frames find the shard of their grain: every one where links form a mesh, after one lane at most
//! where they are too many for that; in order, and none lost, whatever the numbers of shards.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, finish};
use teff::{Builder, Ctx, Node, NodeId, ShardId, grain};

/// What sinks have seen, over all nodes.
#[derive(Default)]
struct Seen {
    messages: AtomicU64,
    disorder: AtomicU64,
}

struct Sink {
    seen: Arc<Seen>,
    /// The number of the next message, by sender.
    next: HashMap<u32, u32>,
}

impl Sink {
    fn take(&mut self, from: u32, number: u32) {
        let next = self.next.entry(from).or_default();
        if number != *next {
            self.seen.disorder.fetch_add(1, Ordering::Relaxed);
        }
        *next = number + 1;
        self.seen.messages.fetch_add(1, Ordering::Relaxed);
    }
}

#[grain]
impl Sink {
    fn ping(&mut self) {}

    fn note(&mut self, from: u32, number: u32) {
        self.take(from, number);
    }

    fn ask(&mut self, from: u32, number: u32) -> u32 {
        self.take(from, number);
        number
    }
}

struct Source;

#[grain]
impl Source {
    /// Calls each sink until it answers: a dial fails when the machine stops for seconds.
    async fn knock(&mut self, ctx: &Ctx, sinks: Vec<String>) {
        let deadline = Instant::now() + PATIENCE;
        for key in sinks {
            let sink: SinkRef = ctx.grain(key);
            while let Err(error) = sink.ping().await {
                assert!(Instant::now() < deadline, "{error}");
                ctx.sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Sends so many messages to each sink, of which every eighth is a call.
    async fn run(&mut self, ctx: &Ctx, from: u32, sinks: Vec<String>, rounds: u32) {
        let sinks: Vec<SinkRef> = sinks.iter().map(|key| ctx.grain(key)).collect();
        for number in 0..rounds {
            for sink in &sinks {
                if number % 8 == 7 {
                    let call = sink.ask(from, number).timeout(PATIENCE);
                    assert_eq!(call.await.unwrap(), number);
                } else {
                    sink.note(from, number).when_room().await.unwrap();
                }
            }
        }
    }
}

/// How many messages each sender sends to each sink of the other node.
const ROUNDS: u32 = 40;

/// Sinks on each shard.
const SINKS: usize = 6;

const PATIENCE: Duration = Duration::from_secs(90);

/// Keys of grains on a shard.
fn keys<R: teff::Reference>(node: &Node, owner: (NodeId, ShardId), count: usize) -> Vec<String> {
    let keys = (0..).map(|key| format!("key {key}"));
    keys.filter(|key| node.owner_of::<R>(&node.grain(key)) == Some(owner))
        .take(count)
        .collect()
}

/// The shards of a node.
fn shards(node: &Node) -> Vec<(NodeId, ShardId)> {
    let shards = 0..node.shards() as u16;
    shards.map(|shard| (node.id(), ShardId(shard))).collect()
}

fn two(shards: [u16; 2], seen: &Arc<Seen>, with: impl Fn(Builder) -> Builder) -> Vec<Node> {
    let mut cluster = Cluster::new("steering", 2, 1);
    for (member, shards) in cluster.members.iter_mut().zip(shards) {
        member.shards = shards;
    }
    cluster.start(|_, builder| {
        let seen = Arc::clone(seen);
        with(builder)
            .kind(SinkRef::kind_with(move |_| Sink {
                seen: Arc::clone(&seen),
                next: HashMap::new(),
            }))
            .kind(SourceRef::kind_with(|_| Source))
    })
}

/// A node that sends, and the sinks on the other that it sends to.
struct Side<'a> {
    node: &'a Node,
    sinks: Vec<String>,
    /// The number of its first sender.
    base: u32,
}

fn sides(nodes: &[Node]) -> [Side<'_>; 2] {
    let sinks_of = |node: &Node| {
        let keys = |owner| keys::<SinkRef>(node, owner, SINKS);
        shards(node).into_iter().flat_map(keys).collect()
    };
    [(0, 1), (1, 0)].map(|(here, there)| Side {
        node: &nodes[here],
        sinks: sinks_of(&nodes[there]),
        base: here as u32 * 1000,
    })
}

impl Side<'_> {
    /// A grain on each shard.
    fn sources(&self) -> Vec<SourceRef> {
        let key = |owner| keys::<SourceRef>(self.node, owner, 1).remove(0);
        let keys = shards(self.node).into_iter().map(key);
        keys.map(|key| self.node.grain(key)).collect()
    }

    /// Every shard dials, all at once.
    fn open(&self) {
        let knock = |source: &SourceRef| {
            let (source, sinks) = (source.clone(), self.sinks.clone());
            thread::spawn(move || source.knock(sinks).timeout(PATIENCE).wait().unwrap())
        };
        let knocks: Vec<_> = self.sources().iter().map(knock).collect();
        knocks.into_iter().for_each(|knock| knock.join().unwrap());
    }

    /// Sends from every shard, and from this thread. Returns how many messages.
    fn send(&self) -> u64 {
        let run = |(from, source): (u32, &SourceRef)| {
            let (source, sinks) = (source.clone(), self.sinks.clone());
            thread::spawn(move || {
                let run = source.run(from, sinks, ROUNDS).timeout(PATIENCE);
                run.wait().unwrap();
            })
        };
        let sources = self.sources();
        let runs: Vec<_> = (self.base..).zip(&sources).map(run).collect();
        from_thread(self.node, self.base + 999, &self.sinks);
        runs.into_iter().for_each(|run| run.join().unwrap());
        (sources.len() + 1) as u64 * self.sinks.len() as u64 * u64::from(ROUNDS)
    }
}

/// What both nodes have counted while they sent to each other.
struct Exchanged {
    messages: u64,
    frames: u64,
    hopped: u64,
}

/// Who dials first.
#[derive(PartialEq)]
enum Dial {
    OneAfterTheOther,
    BothAtOnce,
}

fn exchange(nodes: &[Node], seen: &Seen, dial: Dial) -> Exchanged {
    let sides = sides(nodes);
    if dial == Dial::OneAfterTheOther {
        sides[0].open();
    }
    thread::scope(|scope| {
        for side in &sides {
            scope.spawn(|| side.open());
        }
    });
    let before = frames(nodes);
    let messages = thread::scope(|scope| {
        let sends = sides.each_ref().map(|side| scope.spawn(|| side.send()));
        sends.map(|send| send.join().unwrap()).iter().sum()
    });
    all_arrive(seen, messages);
    let after = frames(nodes);
    Exchanged {
        messages,
        frames: after.0 - before.0,
        hopped: after.1 - before.1,
    }
}

fn from_thread(node: &Node, from: u32, sinks: &[String]) {
    let sinks: Vec<SinkRef> = sinks.iter().map(|key| node.grain(key)).collect();
    for number in 0..ROUNDS {
        for sink in &sinks {
            if number % 8 == 7 {
                let call = sink.ask(from, number).timeout(PATIENCE);
                assert_eq!(call.wait().unwrap(), number);
            } else {
                sink.note(from, number).when_room().wait().unwrap();
            }
        }
    }
}

/// Waits until so many messages have arrived, all in order.
fn all_arrive(seen: &Seen, sent: u64) {
    let deadline = Instant::now() + PATIENCE;
    while seen.messages.load(Ordering::Relaxed) < sent {
        assert!(Instant::now() < deadline, "{:?} of {sent}", seen.messages);
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(seen.messages.load(Ordering::Relaxed), sent);
    assert_eq!(seen.disorder.load(Ordering::Relaxed), 0, "out of order");
}

/// Frames that nodes have received, and those that took a lane.
fn frames(nodes: &[Node]) -> (u64, u64) {
    let counters = nodes.iter().map(Node::counters);
    counters.fold((0, 0), |(all, hopped), counters| {
        assert_eq!(
            counters.frames_on_own_shard(),
            counters.frames_in - counters.frames_hopped
        );
        (all + counters.frames_in, hopped + counters.frames_hopped)
    })
}

/// Waits until each node has so many links. What a dial has left that failed half way goes.
fn have_links(nodes: &[Node], expected: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let links = nodes.iter().map(|node| node.counters().links);
        let links: Vec<u64> = links.collect();
        if links.iter().all(|links| *links == expected) {
            return;
        }
        assert!(Instant::now() < deadline, "{links:?}, not {expected}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_frame_arrives_on_the_shard_of_its_grain_where_links_form_a_mesh() {
    for shards in [[2, 2], [2, 3]] {
        let seen = Arc::default();
        let nodes = two(shards, &seen, |builder| builder);
        let exchanged = exchange(&nodes, &seen, Dial::OneAfterTheOther);
        assert!(exchanged.frames >= exchanged.messages);
        assert_eq!(exchanged.hopped, 0, "of {} frames", exchanged.frames);
        have_links(&nodes, u64::from(shards[0] * shards[1]));
        finish(nodes);
    }
}

#[test]
fn beyond_the_cap_a_frame_takes_one_lane_and_links_are_few() {
    for shards in [[2, 2], [3, 2], [2, 5]] {
        let seen = Arc::default();
        let mesh = usize::from(shards[0] * shards[1]);
        let nodes = two(shards, &seen, |builder| builder.mesh_max(mesh - 1));
        let exchanged = exchange(&nodes, &seen, Dial::OneAfterTheOther);
        assert_eq!(exchanged.hopped, hops(shards), "{shards:?}");
        have_links(&nodes, u64::from(*shards.iter().max().unwrap()));
        finish(nodes);
    }
}

/// How many messages of an exchange between paired shards arrive beside their grain's: those from
/// grains to all but the partners of their shard. Threads outside use a link that leads there.
fn hops(shards: [u16; 2]) -> u64 {
    let smaller = *shards.iter().min().unwrap();
    let pairs = (0..shards[0]).flat_map(|one| (0..shards[1]).map(move |other| (one, other)));
    let strangers = pairs.filter(|(one, other)| one % smaller != other % smaller);
    2 * strangers.count() as u64 * SINKS as u64 * u64::from(ROUNDS)
}

#[test]
fn nothing_is_dropped_where_the_lanes_between_two_shards_are_full_both_ways() {
    let seen = Arc::default();
    let nodes = two([2, 2], &seen, |builder| {
        builder.mesh_max(1).lane_capacity(2)
    });
    exchange(&nodes, &seen, Dial::BothAtOnce);
    for node in &nodes {
        let dropped = node.counters().total().dropped;
        assert_eq!(dropped.get("lane_full"), None, "{dropped:?}");
        assert_eq!(dropped.get("mailbox_full"), None, "{dropped:?}");
    }
    finish(nodes);
}
