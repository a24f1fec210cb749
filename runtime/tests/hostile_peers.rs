//! A peer with a valid certificate that says whatever it likes, to a node in a process of its own:
//! it loses its link where it breaks the protocol, is answered where it breaks only a message, and
//! in no case keeps an honest peer waiting or fills the node's memory.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod process;

#[path = "../../transport/tests/common/raw.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "written for the tests of the transport"
)]
mod raw;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fs, mem};

use process::{Papers, Process, free_ports, obey, say};
use quinn_proto::Dir;
use raw::RawPeer;
use teff::generated::rkyv;
use teff::{Builder, Key, KindId, Listener, Member, Node, NodeId, Schema, Type, grain};
use teff_core::hash::PlacementKey;
use teff_core::view::View;
use teff_transport::{ClusterName, node_name};
use teff_wire::{
    CallId, CloseCode, Epoch, Frame, FrameType, Header, MethodId, Reader, Status, Writer,
};

/// What a message cannot be by `#[message]`: recursive. The schema is a lie that nobody checks.
#[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
#[rkyv(
    crate = rkyv,
    serialize_bounds(
        __S: rkyv::ser::Writer + rkyv::ser::Allocator,
        __S::Error: rkyv::rancor::Source,
    ),
    deserialize_bounds(__D::Error: rkyv::rancor::Source),
    bytecheck(bounds(
        __C: rkyv::validation::ArchiveContext,
        <__C as rkyv::rancor::Fallible>::Error: rkyv::rancor::Source,
    )),
)]
struct Tree {
    #[rkyv(omit_bounds)]
    branches: Vec<Self>,
}

impl Schema for Tree {
    const TYPE: &'static Type = &Type::List(&Type::Bool);
}

impl Tree {
    fn height(&self) -> u64 {
        let branches = self.branches.iter().map(Self::height);
        branches.max().unwrap_or(0) + 1
    }
}

#[derive(Default)]
struct Vault;

#[grain]
impl Vault {
    /// Method 0.
    fn measure(&mut self, tree: Tree) -> u64 {
        tree.height()
    }

    /// Method 1.
    fn echo(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
}

const MEASURE: MethodId = MethodId(0);
const ECHO: MethodId = MethodId(1);

const CLUSTER: &str = "hostile-peers";
const VICTIM: NodeId = NodeId(1);
const HONEST: NodeId = NodeId(2);
const HOSTILE: NodeId = NodeId(3);

fn members(ports: &[SocketAddr]) -> Vec<Member> {
    let nodes = [VICTIM, HONEST, HOSTILE].into_iter().zip(ports);
    nodes
        .map(|(node, &address)| Member::new(node, address, 1))
        .collect()
}

fn builder(folder: &Path, node: NodeId, ports: &[SocketAddr]) -> Builder {
    let listener = Listener::bind(ports[usize::from(node.0) - 1]).unwrap();
    Node::builder(CLUSTER, node.0)
        .listener(listener)
        .members(members(ports))
        .identity(Papers::identity(folder, node.0))
        .kind(VaultRef::kind::<Vault>())
}

/// What the victim's process runs.
#[test]
fn child() {
    let Some(role) = process::role() else {
        return;
    };
    let (folder, ports) = role.split_once('|').unwrap();
    let ports: Vec<SocketAddr> = ports.split(',').map(|port| port.parse().unwrap()).collect();
    let node = builder(Path::new(folder), VICTIM, &ports).start().unwrap();
    say("ready");
    loop {
        match obey().as_str() {
            "memory" => say(&resident().to_string()),
            "undecodable" => {
                let total = node.counters().total();
                say(&total.dropped.get("undecodable").unwrap_or(&0).to_string());
            }
            "" => break,
            order => panic!("{order}"),
        }
    }
    node.shutdown().unwrap();
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

/// A victim, and an honest peer that calls it all the time.
struct Scene {
    papers: Papers,
    ports: Vec<SocketAddr>,
    victim: Process,
    honest: Node,
    key: Key,
    at_rest: usize,
    over: Arc<AtomicBool>,
    calling: JoinHandle<(u64, Duration)>,
}

impl Scene {
    fn new() -> Self {
        let papers = Papers::issue_for(CLUSTER, &[1, 2, 3]);
        let ports = free_ports::<3>().to_vec();
        let folder = papers.folder.path().display();
        let listed: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let victim = Process::start("child", &format!("{folder}|{}", listed.join(",")));
        assert_eq!(victim.hear(), "ready");
        let honest = builder(papers.folder.path(), HONEST, &ports)
            .start()
            .unwrap();
        let owner = |key: &String| honest.owner_of::<VaultRef>(&honest.grain(key)).unwrap().0;
        let mut keys = (0..).map(|key| format!("vault {key}"));
        let key = keys.find(|key| owner(key) == VICTIM).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let vault: VaultRef = honest.grain(key.as_str());
        vault.echo(vec![0; 100]).wait().unwrap();
        let calling = thread::spawn({
            let over = Arc::clone(&over);
            move || call_until(&over, &vault)
        });
        let mut scene = Self {
            papers,
            ports,
            victim,
            honest,
            key: Key::new(&key).unwrap(),
            at_rest: 0,
            over,
            calling,
        };
        scene.at_rest = scene.ask("memory");
        scene
    }

    fn ask(&mut self, what: &str) -> usize {
        self.victim.order(what);
        self.victim.hear().parse().unwrap()
    }

    /// How much memory the victim has taken since it began.
    fn grown(&mut self) -> usize {
        let now = self.ask("memory");
        now.saturating_sub(self.at_rest)
    }

    /// A hostile peer whose link is up.
    fn hostile(&self) -> Hostile {
        let identity = Papers::identity(self.papers.folder.path(), HOSTILE.0);
        let cluster = ClusterName::new(CLUSTER).unwrap();
        let key = PlacementKey::new(identity.placement_key(&cluster));
        let view = View::new(Epoch(1), members(&self.ports)).unwrap();
        let tls = raw::tls(&identity, Some(&identity));
        let name = node_name(&cluster, VICTIM);
        let peer = RawPeer::dial(Instant::now(), self.ports[0], &name, tls);
        let mut hostile = Hostile {
            peer,
            writer: Writer::new(teff_wire::MAX_PAYLOAD, teff_wire::MAX_NAMES),
            reader: Reader::new(16 << 20, 1, Arc::new(|_, _| 0)),
            key: self.key.clone(),
            answers: Vec::new(),
        };
        hostile.until("TLS is done", |hostile| hostile.peer.connected);
        let mut hello = raw::hello(HOSTILE);
        hello.placement = view.digest(&key);
        hostile.peer.write(&raw::hello_frame(&hello));
        hostile.until("the victim says hello", |hostile| {
            let hello = hostile.answers.pop();
            hello.is_some_and(|frame| frame.header.frame == FrameType::Hello)
        });
        hostile
    }

    /// Nobody else has noticed anything.
    fn ends_well(self) {
        self.over.store(true, Ordering::Relaxed);
        let (calls, slowest) = self.calling.join().unwrap();
        println!("{calls} honest calls, the slowest took {slowest:?}");
        assert!(calls > 0);
        self.honest.shutdown().unwrap();
        assert!(self.victim.ends_well());
    }
}

/// Calls, one after the other, each of which has to be answered in time.
fn call_until(over: &AtomicBool, vault: &VaultRef) -> (u64, Duration) {
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        let bytes = vec![calls as u8; 100];
        let echo = vault.echo(bytes.clone()).timeout(IN_TIME).wait();
        assert_eq!(echo.unwrap(), bytes);
        slowest = slowest.max(start.elapsed());
        calls += 1;
    }
    (calls, slowest)
}

/// A link of the hostile peer.
struct Hostile {
    peer: RawPeer,
    writer: Writer,
    reader: Reader,
    key: Key,
    answers: Vec<Frame>,
}

impl Hostile {
    fn step(&mut self) {
        self.peer.step(Instant::now());
        let received = mem::take(&mut self.peer.received);
        self.reader.push(&received).unwrap();
        while let Some(frame) = self.reader.next() {
            self.answers.push(frame);
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.step();
            if done(self) {
                return;
            }
            assert!(self.peer.lost.is_none(), "{what}: {:?}", self.peer.lost);
            assert!(Instant::now() < deadline, "in vain waited for: {what}");
            thread::yield_now();
        }
    }

    /// The victim closes the link for a breach of the protocol.
    #[track_caller]
    fn ends_closed(mut self) {
        self.until("the link is closed", |hostile| hostile.peer.lost.is_some());
        let code = u64::from(CloseCode::Protocol.to_u32());
        assert_eq!(self.peer.close_code(), Some(code));
    }

    /// The frames of a call of the vault.
    fn call(&mut self, method: MethodId, number: u64, arguments: &[u8]) -> bytes::Bytes {
        let header = Header::call(KindId::of("Vault"), method, CallId::from_u64(number));
        let written = self.writer.frame(&header, Some((&self.key, 0)), |out| {
            out.extend_from_slice(arguments);
            Ok::<(), ()>(())
        });
        written.unwrap();
        self.writer.take()
    }

    /// What a call of the vault with these bytes as its arguments is answered.
    #[track_caller]
    fn measure(&mut self, arguments: &[u8]) -> Frame {
        let call = self.call(MEASURE, 7, arguments);
        self.write_all(&call);
        self.until("the answer", |hostile| !hostile.answers.is_empty());
        self.answers.pop().unwrap()
    }

    /// Goes, so that nobody waits for its acknowledgements.
    fn leaves(mut self) {
        self.peer
            .close(Instant::now(), CloseCode::Shutdown.to_u32());
        self.peer.send(Instant::now());
    }

    /// Writes as QUIC takes it, or until the link is closed.
    fn write_all(&mut self, mut bytes: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        while !bytes.is_empty() && self.peer.lost.is_none() {
            assert!(Instant::now() < deadline, "the victim takes no more");
            let stream = self.peer.stream.unwrap();
            if let Ok(written) = self.peer.connection.send_stream(stream).write(bytes) {
                bytes = &bytes[written..];
            }
            self.step();
        }
    }
}

/// Random numbers, the same every time (xorshift).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let byte = |_| {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 32) as u8
        };
        (0..len).map(byte).collect()
    }
}

#[test]
fn noise_in_the_place_of_frames_costs_the_link() {
    let mut scene = Scene::new();
    let mut noise = Noise(88_172_645_463_325_252);
    for round in 1..=20 {
        let mut hostile = scene.hostile();
        hostile.write_all(&noise.bytes(round * 1000));
        hostile.ends_closed();
    }
    assert!(scene.grown() < 16 * MIB);
    scene.ends_well();
}

#[test]
fn lengths_beyond_the_limit_cost_the_link_and_declared_ones_no_memory() {
    let mut scene = Scene::new();
    for len in [u32::MAX, u32::MAX - 15, 1 << 31, 1 << 30, (16 << 20) + 1] {
        let mut hostile = scene.hostile();
        let mut frame = hostile.call(ECHO, 1, &[0; 16]).to_vec();
        // The name of the grain goes before.
        let call = frame.len() - 48;
        frame[call..call + 4].copy_from_slice(&len.to_le_bytes());
        hostile.write_all(&frame);
        hostile.ends_closed();
    }
    // As long as may be, and never sent.
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut hostile = scene.hostile();
        let mut frame = hostile.call(ECHO, 1, &[0; 16]).to_vec();
        let call = frame.len() - 48;
        frame[call..call + 4].copy_from_slice(&(16_u32 << 20).to_le_bytes());
        hostile.write_all(&frame);
        waiting.push(hostile);
    }
    for _ in 0..1000 {
        waiting.iter_mut().for_each(Hostile::step);
    }
    assert!(waiting.iter().all(|hostile| hostile.peer.lost.is_none()));
    assert!(scene.grown() < 16 * MIB);
    waiting.into_iter().for_each(Hostile::leaves);
    scene.ends_well();
}

/// A list in an archive: where its elements lie, from here, and how many there are.
fn list(offset: i32, len: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&offset.to_le_bytes());
    bytes[4..].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// Trees in which each has the one before for its only branch.
fn chain(height: usize) -> Vec<u8> {
    let mut archive = list(0, 0).to_vec();
    for _ in 1..height {
        archive.extend_from_slice(&list(-8, 1));
    }
    archive
}

/// Pairs of trees, both of which have the pair before for branches: as many trees as 2 to the
/// power of the height, to whoever follows them.
fn doubled(height: usize) -> Vec<u8> {
    let mut archive = [list(0, 0), list(0, 0)].concat();
    for _ in 1..height {
        archive.extend_from_slice(&list(-16, 2));
        archive.extend_from_slice(&list(-24, 2));
    }
    archive
}

#[test]
fn bombs_in_archives_are_refused_and_harm_nothing() {
    let mut scene = Scene::new();
    // Made beforehand: who is silent for long loses its link for that.
    let mut bombs = vec![
        // Deep, to the last byte that a frame may have.
        chain(70),
        chain(5000),
        chain(60_000),
        chain(2 << 20),
        // Wide.
        doubled(2),
        doubled(50),
        // Its own branch, and another's.
        list(0, 1).to_vec(),
        [list(8, 1), list(-8, 1)].concat(),
        // Outside.
        list(-8, 1).to_vec(),
        list(8, 1).to_vec(),
        list(i32::MIN, 1).to_vec(),
        list(i32::MAX, 1).to_vec(),
        list(i32::MIN, u32::MAX).to_vec(),
        list(0, u32::MAX).to_vec(),
        [list(0, 0), list(-8, u32::MAX)].concat(),
        [list(0, 0), list(-8, u32::MAX / 8 + 1)].concat(),
        [list(0, 0), list(-7, 1)].concat(),
        // Too short.
        Vec::new(),
        vec![0; 7],
    ];
    let mut noise = Noise(1);
    bombs.extend((0..200).map(|len| noise.bytes(8 + len * 8)));
    let mut hostile = scene.hostile();
    // What is well-formed is understood, so the bombs below are refused for what they are.
    for height in [1, 2, 30, 60] {
        let answer = hostile.measure(&chain(height));
        let value = u64::from_le_bytes(*answer.payload.first_chunk().unwrap());
        assert_eq!((answer.header.status, value), (Status::Ok, height as u64));
    }
    let count = bombs.len();
    for bomb in bombs {
        let start = Instant::now();
        let answer = hostile.measure(&bomb);
        let what = &bomb[..bomb.len().min(64)];
        assert_eq!(answer.header.status, Status::Undecodable, "{what:?}");
        assert!(start.elapsed() < IN_TIME, "{what:?}: {:?}", start.elapsed());
    }
    assert_eq!(scene.ask("undecodable"), count);
    // The same link still works.
    let answer = hostile.measure(&chain(3));
    assert_eq!(answer.header.status, Status::Ok);
    let grown = scene.grown();
    assert!(grown < 96 * MIB, "{} MiB", grown / MIB);
    hostile.leaves();
    scene.ends_well();
}

/// A frame that gives a number to a grain.
fn name(number: u32) -> [u8; 32] {
    let mut frame = [0; 32];
    frame[4] = FrameType::Name.to_u8();
    frame[6..8].copy_from_slice(&8_u16.to_le_bytes());
    frame[8..12].copy_from_slice(&number.to_le_bytes());
    frame[12..16].copy_from_slice(&KindId::of("Vault").0.to_le_bytes());
    frame[16..24].copy_from_slice(format!("{number:08}").as_bytes());
    frame
}

#[test]
fn more_names_than_agreed_cost_the_link_and_no_more_memory_than_agreed() {
    let mut scene = Scene::new();
    let names: Vec<u8> = (0..teff_wire::DEFAULT_NAMES).flat_map(name).collect();
    let mut hostile = scene.hostile();
    hostile.write_all(&names);
    // Each as often as it likes.
    hostile.write_all(&names);
    let answer = hostile.measure(&chain(1));
    assert_eq!(answer.header.status, Status::Ok, "the link is up");
    let grown = scene.grown();
    assert!(grown < 64 * MIB, "{} MiB", grown / MIB);
    hostile.write_all(&name(teff_wire::DEFAULT_NAMES));
    hostile.ends_closed();
    // One that leaves out numbers.
    let mut hostile = scene.hostile();
    hostile.write_all(&name(1));
    hostile.ends_closed();
    scene.ends_well();
}

#[test]
fn frames_of_unknown_types_without_end_cost_the_link_at_once() {
    let mut scene = Scene::new();
    for value in [0, 8, 11, 77, 127, 255] {
        let mut hostile = scene.hostile();
        let mut frame = [0; 16];
        frame[4] = value;
        let frames = frame.repeat(MIB);
        // Stops when the link is closed.
        hostile.write_all(&frames);
        hostile.ends_closed();
    }
    assert!(scene.grown() < 32 * MIB);
    scene.ends_well();
}

#[test]
fn full_mailboxes_without_end_take_no_memory_without_end() {
    let mut scene = Scene::new();
    // Made beforehand: who is silent for long loses its link for that.
    let mut frames = raw::frame(&Header::pressure(0, true), |_| ()).repeat(1_000_000);
    for (hash, frame) in frames.chunks_mut(16).enumerate() {
        frame[8..].copy_from_slice(&(hash as u64).to_le_bytes());
    }
    let mut hostile = scene.hostile();
    let stream = hostile.peer.connection.streams().open(Dir::Uni).unwrap();
    let mut rest = &frames[..];
    let deadline = Instant::now() + PATIENCE;
    while !rest.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} bytes were not taken",
            rest.len()
        );
        if let Ok(written) = hostile.peer.connection.send_stream(stream).write(rest) {
            rest = &rest[written..];
        }
        assert!(hostile.peer.lost.is_none(), "{:?}", hostile.peer.lost);
        hostile.step();
    }
    let answer = hostile.measure(&chain(1));
    assert_eq!(answer.header.status, Status::Ok);
    let grown = scene.grown();
    assert!(grown < 32 * MIB, "{} MiB", grown / MIB);
    hostile.leaves();
    scene.ends_well();
}

#[test]
fn answers_that_are_never_read_do_not_pile_up() {
    let mut scene = Scene::new();
    let mut hostile = scene.hostile();
    let stream = hostile.peer.stream.take().unwrap();
    let arguments = [vec![1; 32 << 10], list(-(32 << 10), 32 << 10).to_vec()].concat();
    let mut sent = 0;
    // As much as the victim takes in this time, which on a machine at rest is all of it.
    let over = Instant::now() + Duration::from_secs(40);
    while sent < 256 * MIB && Instant::now() < over {
        let call = hostile.call(ECHO, sent as u64, &arguments);
        let mut rest = &call[..];
        while !rest.is_empty() && Instant::now() < over {
            if let Ok(written) = hostile.peer.connection.send_stream(stream).write(rest) {
                rest = &rest[written..];
                sent += written;
            }
            hostile.peer.step(Instant::now());
        }
    }
    let grown = scene.grown();
    println!("{} MiB sent, {} MiB taken", sent / MIB, grown / MIB);
    assert!(grown < ANSWERS_MAX, "{} MiB", grown / MIB);
    assert!(hostile.peer.lost.is_none(), "{:?}", hostile.peer.lost);
    hostile.leaves();
    scene.ends_well();
}

const MIB: usize = 1 << 20;

/// What answers may take that one peer does not read: `outbound`, `retained` and what QUIC holds
/// of them, and as much again for what waits for room.
const ANSWERS_MAX: usize = 160 * MIB;

/// How long a call may take on a busy machine.
const IN_TIME: Duration = Duration::from_secs(10);

/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(60);
