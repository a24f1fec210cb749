//! Frames find the shard of their grain: every one where links form a mesh, after one lane at most
//! where they are too many for that; in order, and none lost, whatever the numbers of shards.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
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

const PATIENCE: Duration = Duration::from_secs(60);

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

/// Sends from every shard of both nodes, and from a thread beside each, to every shard of the
/// other; says how many messages that were.
fn exchange(nodes: &[Node]) -> u64 {
    let start = Barrier::new(4);
    let sinks_of = |node: &Node| -> Vec<String> {
        let keys = |owner| keys::<SinkRef>(node, owner, SINKS);
        shards(node).into_iter().flat_map(keys).collect()
    };
    let mut sent = 0;
    thread::scope(|scope| {
        for (place, (here, there)) in [(0, 1), (1, 0)].into_iter().enumerate() {
            let (here, sinks) = (&nodes[here], sinks_of(&nodes[there]));
            let sources = shards(here);
            sent += (sources.len() + 1) as u64 * sinks.len() as u64 * u64::from(ROUNDS);
            let (start, base) = (&start, place as u32 * 1000);
            let outside = sinks.clone();
            scope.spawn(move || {
                start.wait();
                from_thread(here, base + 999, &outside);
            });
            scope.spawn(move || {
                start.wait();
                let run = |(from, owner): (u32, _)| {
                    let key = keys::<SourceRef>(here, owner, 1).remove(0);
                    let source = here.grain::<SourceRef>(key);
                    let sinks = sinks.clone();
                    thread::spawn(move || {
                        let run = source.run(from, sinks, ROUNDS).timeout(PATIENCE);
                        run.wait().unwrap();
                    })
                };
                let runs: Vec<_> = (base..).zip(sources).map(run).collect();
                runs.into_iter().for_each(|run| run.join().unwrap());
            });
        }
    });
    sent
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

fn links(nodes: &[Node]) -> Vec<u64> {
    nodes.iter().map(|node| node.counters().links).collect()
}

#[test]
fn every_frame_arrives_on_the_shard_of_its_grain_where_links_form_a_mesh() {
    for shards in [[2, 2], [2, 3]] {
        let seen = Arc::default();
        let nodes = two(shards, &seen, |builder| builder);
        let sent = exchange(&nodes);
        all_arrive(&seen, sent);
        let (all, hopped) = frames(&nodes);
        assert!(all >= sent, "{all} frames of {sent} messages");
        assert_eq!(hopped, 0, "of {all} frames");
        let mesh = u64::from(shards[0] * shards[1]);
        assert_eq!(links(&nodes), [mesh; 2]);
        finish(nodes);
    }
}

#[test]
fn beyond_the_cap_a_frame_takes_one_lane_and_links_are_few() {
    for shards in [[2, 2], [3, 2], [2, 5]] {
        let seen = Arc::default();
        let mesh = usize::from(shards[0] * shards[1]);
        let nodes = two(shards, &seen, |builder| builder.mesh_max(mesh - 1));
        let sent = exchange(&nodes);
        all_arrive(&seen, sent);
        let larger = u64::from(*shards.iter().max().unwrap());
        assert_eq!(links(&nodes), [larger; 2], "{shards:?}");
        let (_, hopped) = frames(&nodes);
        assert_eq!(hopped, hops(shards), "{shards:?}");
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
    let sent = exchange(&nodes);
    all_arrive(&seen, sent);
    for node in &nodes {
        assert_eq!(node.counters().total().dropped_total(), 0);
    }
    finish(nodes);
}
