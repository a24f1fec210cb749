//! Grains on two nodes, over real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::time::Duration;

use cluster::{Cluster, remote_key};
use teff::{Archived, CallError, Ctx, Failure, Node, NodeId, Refusal, grain, message};

#[message]
#[derive(Clone, Debug, PartialEq)]
struct Note {
    title: String,
    body: Vec<u8>,
    tags: Vec<Option<u32>>,
}

#[derive(Default)]
struct Pad {
    notes: u64,
    bytes: u64,
}

#[grain]
trait Notes {
    fn keep(&mut self, ctx: &Ctx, note: Note) -> (u16, u16, u64);
    fn weigh(&mut self, note: &Archived<Note>);
    async fn weigh_slowly(&mut self, ctx: &Ctx, note: &Archived<Note>) -> u64;
    fn bytes(&mut self) -> u64;
    fn echo(&mut self, bytes: Vec<u8>) -> Vec<u8>;
    fn check(&mut self, odd: u32) -> Result<u32, String>;
    fn burn(&mut self);
    async fn ask(&mut self, ctx: &Ctx, other: String) -> u64;
}

impl Notes for Pad {
    fn keep(&mut self, ctx: &Ctx, note: Note) -> (u16, u16, u64) {
        self.notes += 1;
        self.bytes += note.body.len() as u64;
        (ctx.node().0, ctx.shard().0, self.notes)
    }

    fn weigh(&mut self, note: &Archived<Note>) {
        self.bytes += note.body.len() as u64;
    }

    async fn weigh_slowly(&mut self, ctx: &Ctx, note: &Archived<Note>) -> u64 {
        ctx.sleep(Duration::from_millis(2)).await;
        self.bytes += note.body.len() as u64;
        self.bytes
    }

    fn bytes(&mut self) -> u64 {
        self.bytes
    }

    fn echo(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }

    fn check(&mut self, odd: u32) -> Result<u32, String> {
        if odd % 2 == 1 {
            Ok(odd)
        } else {
            Err(format!("{odd} is even"))
        }
    }

    fn burn(&mut self) {
        panic!("burnt on node");
    }

    async fn ask(&mut self, ctx: &Ctx, other: String) -> u64 {
        ctx.grain::<NotesRef>(other).bytes().await.unwrap()
    }
}

fn note(len: usize) -> Note {
    Note {
        title: "t".repeat(len % 40),
        body: vec![7; len],
        tags: vec![None, Some(len as u32)],
    }
}

fn two(shards: u16) -> Vec<Node> {
    Cluster::new("links", 2, shards).start(|_, builder| builder.kind(NotesRef::kind::<Pad>()))
}

fn remote(from: &Node, to: &Node, n: usize) -> NotesRef {
    from.grain(remote_key(
        n,
        |key| from.owner_of::<NotesRef>(&from.grain(key)),
        to.id(),
    ))
}

#[test]
fn a_grain_on_the_other_node_answers_in_both_directions() {
    let nodes = two(1);
    for (from, to) in [(0, 1), (1, 0)] {
        let pad = remote(&nodes[from], &nodes[to], 0);
        let (node, shard, notes) = pad.keep(note(100)).wait().unwrap();
        assert_eq!((NodeId(node), shard, notes), (nodes[to].id(), 0, 1));
        assert_eq!(pad.check(3).wait().unwrap(), Ok(3));
        assert_eq!(pad.check(4).wait().unwrap(), Err("4 is even".to_owned()));
    }
    cluster::finish(nodes);
}

#[test]
fn tells_arrive_once_and_before_the_call_that_follows() {
    let nodes = two(2);
    let pads: Vec<_> = (0..20).map(|n| remote(&nodes[0], &nodes[1], n)).collect();
    for round in 0..200_u64 {
        for pad in &pads {
            pad.weigh(note(round as usize)).when_room().wait().unwrap();
        }
    }
    for pad in &pads {
        assert_eq!(pad.bytes().wait().unwrap(), 199 * 200 / 2);
    }
    let counters: Vec<_> = nodes.iter().map(|node| node.counters().total()).collect();
    assert_eq!(counters[0].sent, 20 * 201);
    assert_eq!(counters[1].handled, 20 * 201);
    cluster::finish(nodes);
}

#[test]
fn a_borrowing_handler_may_suspend() {
    let nodes = two(1);
    let pad = remote(&nodes[0], &nodes[1], 1);
    assert_eq!(pad.weigh_slowly(note(1000)).wait().unwrap(), 1000);
    let local = remote(&nodes[0], &nodes[0], 1);
    assert_eq!(local.weigh_slowly(note(77)).wait().unwrap(), 77);
    cluster::finish(nodes);
}

#[test]
fn an_argument_and_a_reply_of_a_mebibyte_arrive_whole() {
    let nodes = two(1);
    let pad = remote(&nodes[0], &nodes[1], 2);
    let bytes: Vec<u8> = (0..1_u32 << 20).map(|n| ((n * 31) >> 3) as u8).collect();
    assert_eq!(pad.echo(bytes.clone()).wait().unwrap(), bytes);
    cluster::finish(nodes);
}

#[test]
fn an_argument_beyond_the_limit_is_refused_at_the_sender() {
    let nodes = two(1);
    let pad = remote(&nodes[0], &nodes[1], 3);
    let error = pad.echo(vec![0; 17 << 20]).wait().unwrap_err();
    assert!(
        matches!(error, CallError::Refused(Refusal::TooLarge { .. })),
        "{error}"
    );
    assert_eq!(pad.bytes().wait().unwrap(), 0);
    cluster::finish(nodes);
}

#[test]
fn a_panic_on_the_other_node_is_told_to_the_caller() {
    let nodes = two(1);
    let pad = remote(&nodes[0], &nodes[1], 4);
    pad.weigh(note(10)).tell().unwrap();
    let error = pad.burn().wait().unwrap_err();
    let CallError::Failed(Failure::Panicked(text)) = &error else {
        panic!("{error}")
    };
    assert_eq!(text, "burnt on node");
    assert_eq!(
        pad.bytes().wait().unwrap(),
        0,
        "the next message makes a new activation"
    );
    cluster::finish(nodes);
}

#[test]
fn a_grain_asks_a_grain_on_the_other_node() {
    let nodes = two(2);
    for n in 0..10 {
        let far = remote(&nodes[0], &nodes[1], n);
        far.weigh(note(n)).tell().unwrap();
        assert_eq!(far.bytes().wait().unwrap(), n as u64);
        let near = remote(&nodes[0], &nodes[0], n);
        let key = far.key().to_owned();
        assert_eq!(near.ask(key).wait().unwrap(), n as u64);
    }
    cluster::finish(nodes);
}

#[test]
fn datagrams_that_reach_the_wrong_shard_are_passed_on() {
    let mut cluster = Cluster::new("links", 2, 3);
    let nodes: Vec<_> = [1, 2]
        .into_iter()
        .map(|node| {
            let listener = cluster.take_listener(node).without_steering();
            Node::builder("links", node)
                .listener(listener)
                .members(cluster.members.clone())
                .identity(cluster.identity(node))
                .kind(NotesRef::kind::<Pad>())
                .start()
                .unwrap()
        })
        .collect();
    for n in 0..40 {
        let pad = remote(&nodes[0], &nodes[1], n);
        for round in 0..10 {
            let (_, _, notes) = pad.keep(note(n)).wait().unwrap();
            assert_eq!(notes, round + 1);
        }
    }
    // All links between two nodes have one pair of addresses, so the kernel picks one socket for
    // them all; those of the other shards depend on being passed on.
    let misrouted: u64 = nodes.iter().map(|node| node.counters().misrouted).sum();
    assert!(misrouted > 0);
    cluster::finish(nodes);
}

#[test]
fn the_kernel_steers_every_datagram_to_its_shard() {
    let nodes = two(3);
    for n in 0..40 {
        let pad = remote(&nodes[0], &nodes[1], n);
        pad.keep(note(n)).wait().unwrap();
    }
    for node in &nodes {
        assert_eq!(node.counters().misrouted, 0);
        assert!(node.counters().frames_in >= 40);
    }
    cluster::finish(nodes);
}
