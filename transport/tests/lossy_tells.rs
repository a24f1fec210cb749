//! Tells that may get lost: they go past everything, arrive at most once, are never sent again, and
//! what this end loses is counted.
#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::HashSet, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use common::{
    A, B, C, CLUSTER, Plan, World,
    bad_network::BadNetwork,
    bytes, hash, key, node_id,
    raw::{self, RawPeer, hello, hello_frame},
    tell,
};
use quinn_proto::TransportConfig;
use teff_transport::{
    ClusterName, Event, LinkError, LinkId, LossCause, Party, Refusal, SendError, node_name,
};
use teff_wire::{CloseCode, Frame, Key, ShardId, write_lossy};

fn send(world: &mut World, from: usize, link: LinkId, payload: &[u8]) {
    let sent = world
        .endpoint(from, 0)
        .send_lossy(link, &tell(), &key(), bytes(payload));
    sent.unwrap();
}

fn number(frame: &Frame) -> u32 {
    u32::from_le_bytes(*frame.payload.first_chunk().unwrap())
}

/// The lossy tells that a node got, and how many frames.
fn taken(world: &mut World, node: usize) -> (Vec<Frame>, usize) {
    let (mut lossy, mut frames) = (Vec::new(), 0);
    for event in std::mem::take(world.events(node, 0)) {
        match event {
            Event::Lossy { frame, .. } => lossy.push(frame),
            Event::Frame { .. } => frames += 1,
            Event::Resumed { .. } | Event::Kinds { .. } => {}
            event => panic!("node {node} got {event:?}"),
        }
    }
    (lossy, frames)
}

/// What a node has lost since it was asked last, for this cause.
fn lost(world: &mut World, node: usize, cause: LossCause) -> u64 {
    let endpoint = world.endpoint(node, 0);
    let sums: Vec<_> = std::iter::from_fn(|| endpoint.poll_lost()).collect();
    assert!(sums.iter().all(|lost| lost.cause == cause), "{sums:?}");
    sums.iter().map(|lost| lost.count).sum()
}

#[test]
fn a_lossy_tell_arrives_with_all_that_it_said() {
    let mut world = World::new(&[1, 1]);
    let (a, b) = world.link((A, 0), (B, 0));
    for (from, to, link, at) in [(A, B, a, b), (B, A, b, a)] {
        send(&mut world, from, link, b"21.5 degrees");
        world.until("it arrives", |world| !world.events(to, 0).is_empty());
        match world.events(to, 0).pop_front() {
            Some(Event::Lossy { link, frame }) => {
                assert_eq!((link, frame.header), (at, tell()));
                let grain = frame.grain.unwrap();
                assert_eq!((grain.hash, grain.key), (hash(&key()), key()));
                assert_eq!(&frame.payload[..], b"21.5 degrees");
            }
            event => panic!("{event:?}"),
        }
        let counters = *world.endpoint(from, 0).counters();
        assert_eq!((counters.lossy_out, counters.frames_out), (1, 0));
        assert_eq!(world.endpoint(to, 0).counters().lossy_in, 1);
        assert_eq!(world.endpoint(from, 0).poll_lost(), None);
    }
}

#[test]
fn it_goes_past_a_payload_of_sixteen_mebibytes() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    for round in 0..3_u32 {
        world.tell((A, 0), a, &vec![1; 16 << 20]);
        // The stream is busy and QUIC's window full when it is sent.
        for _ in 0..round {
            world.step();
        }
        // Each again in every step, as positions are: a full socket may lose some.
        let mut first = None;
        world.until("the large one", |world| {
            send(world, A, a, &round.to_le_bytes());
            let (lossy, frames) = taken(world, B);
            assert!(lossy.iter().all(|frame| number(frame) <= round));
            if lossy.iter().any(|frame| number(frame) == round) {
                first.get_or_insert(frames);
            }
            frames > 0
        });
        assert_eq!(first, Some(0), "in round {round} the payload was first");
        world.acknowledged((A, 0), a);
    }
}

#[test]
fn what_fits_into_no_datagram_is_refused_with_the_bound() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let too_large = |world: &mut World, key: &Key, len: usize| {
        let payload = vec![7; len];
        let sent = world
            .endpoint(A, 0)
            .send_lossy(a, &tell(), key, bytes(&payload));
        match sent {
            Ok(()) => None,
            Err(SendError::TooLarge { len: said, limit }) => {
                assert_eq!(said, len);
                Some(limit)
            }
            Err(error) => panic!("{error}"),
        }
    };
    let limit = too_large(&mut world, &key(), 1 << 20).unwrap();
    let long = Key::new("k".repeat(256)).unwrap();
    assert_eq!(too_large(&mut world, &long, 1 << 20), Some(limit - 240));
    // What the documentation promises of any path.
    let key = Key::new("k".repeat(64)).unwrap();
    assert_eq!(too_large(&mut world, &key, 1024), None);
    assert_eq!(
        too_large(&mut world, &common::key(), limit + 1),
        Some(limit)
    );
    assert_eq!(too_large(&mut world, &common::key(), limit), None);
    world.until("both arrive", |world| world.events(B, 0).len() == 2);
    let lens = taken(&mut world, B).0.into_iter().map(|f| f.payload.len());
    assert_eq!(lens.collect::<Vec<_>>(), [1024, limit]);
    // A frame of that size has never been a problem.
    world.tell((A, 0), a, &vec![7; limit + 1]);
    world.frame(B, 0);
}

#[test]
fn a_link_that_is_not_up_takes_none() {
    let mut world = World::new(&[1, 1]);
    let a = world.dial((A, 0), (B, 0));
    let down = |world: &mut World| {
        let sent = world
            .endpoint(A, 0)
            .send_lossy(a, &tell(), &key(), bytes(b"x"));
        matches!(sent, Err(SendError::Down))
    };
    assert!(down(&mut world), "it is dialling");
    world.up(A, 0);
    let (b, ..) = world.up(B, 0);
    assert!(!down(&mut world));
    world.until("it arrives", |world| !taken(world, B).0.is_empty());
    // Those that wait when the connection breaks are lost and counted, and never sent again.
    for number in 0..10_u32 {
        send(&mut world, A, a, &number.to_le_bytes());
    }
    let now = world.now();
    world.endpoint(A, 0).break_connections(now);
    assert!(down(&mut world), "it is broken");
    assert_eq!(lost(&mut world, A, LossCause::NoLink), 10);
    world.until("it is resumed", |world| {
        world.jump(Duration::from_millis(1));
        !down(world)
    });
    world.until("the next arrives", |world| {
        let (lossy, _) = taken(world, B);
        assert!(lossy.iter().all(|frame| frame.payload[..] == *b"x"));
        !lossy.is_empty()
    });
    taken(&mut world, A);
    let now = world.now();
    world.endpoint(B, 0).close(now, b, CloseCode::Shutdown);
    world.down(A, 0);
    assert!(down(&mut world), "it has ended");
}

#[test]
fn the_newest_win_where_there_is_no_room() {
    const COUNT: u32 = 10_000;
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    for number in 0..COUNT {
        let payload = [number; 25].map(u32::to_le_bytes);
        send(&mut world, A, a, payload.as_flattened());
    }
    let dropped = lost(&mut world, A, LossCause::NoRoom);
    let kept = u64::from(COUNT) - dropped;
    assert!((200..600).contains(&kept), "{kept} fit into 64 KiB");
    let mut got = Vec::new();
    world.until("what was kept has left", |world| {
        got.extend(taken(world, B).0.iter().map(number));
        world.endpoint(A, 0).counters().lossy_out == kept
    });
    world.idle_for(Duration::from_millis(50));
    got.extend(taken(&mut world, B).0.iter().map(number));
    assert!(!got.is_empty() && got.iter().all(|n| u64::from(*n) >= dropped));
    assert!(got.is_sorted(), "nothing overtook on this path");
    assert_eq!(lost(&mut world, A, LossCause::NoRoom), 0);
    let overrun = lost(&mut world, B, LossCause::NoRoom);
    assert!(got.len() as u64 + overrun <= kept);
}

#[test]
fn those_that_nobody_takes_in_time_are_counted_at_the_receiver() {
    let mut world = World::new(&[1, 1]);
    let (a, b) = world.link((A, 0), (B, 0));
    // B receives and asks for nothing.
    world.nodes[B].shards[0].appetite = 0;
    let mut sent = 0;
    while world.endpoint(A, 0).counters().lossy_out < 2000 {
        for _ in 0..50 {
            send(&mut world, A, a, &[0; 100]);
            sent += 1;
        }
        world.step();
        world.jump(Duration::from_micros(200));
    }
    world.until("all have left", |world| {
        world.jump(Duration::from_micros(200));
        world.endpoint(A, 0).counters().lossy_out + lost(world, A, LossCause::NoRoom) >= sent
            || world.endpoint(A, 0).counters().lossy_out == sent
    });
    world.nodes[B].shards[0].appetite = usize::MAX;
    world.step();
    let got = taken(&mut world, B).0.len() as u64;
    let overrun = lost(&mut world, B, LossCause::NoRoom);
    assert!((200..700).contains(&got), "{got} fit into 64 KiB");
    assert!(overrun > 500, "{overrun} of {sent} were too many");
    assert!(got + overrun <= sent);
    // The link works on.
    world.tell((B, 0), b, b"well");
    world.frame(A, 0);
}

#[test]
fn a_flood_of_them_does_not_starve_frames() {
    const FRAMES: usize = 3000;
    let mut world = World::new(&[1, 1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let (c, _) = world.link((C, 0), (B, 0));
    // The receiver asks for less than the flood brings.
    world.nodes[B].shards[0].appetite = 300;
    let mut next = 0;
    let (mut frames, mut lossy) = (0, 0);
    world.until("the frames", |world| {
        for _ in 0..400 {
            send(world, A, a, &[0; 60]);
        }
        for _ in 0..10 {
            if next < FRAMES {
                let (from, link) = [(A, a), (C, c)][next % 2];
                world.tell((from, 0), link, &[1; 200]);
                next += 1;
            }
        }
        let taken = taken(world, B);
        lossy += taken.0.len();
        frames += taken.1;
        world.jump(Duration::from_micros(100));
        frames == FRAMES
    });
    assert!(lossy > 1000, "{lossy} lossy ones came between the frames");
    world.acknowledged((A, 0), a);
    world.acknowledged((C, 0), c);
}

#[test]
fn a_bad_network_loses_some_and_doubles_none() {
    const COUNT: u32 = 2000;
    let mut world = World::new(&[1, 1]);
    let mut network = BadNetwork::before(world.nodes[B].address, 7);
    let (address, now) = (network.front.local_addr().unwrap(), world.now());
    let link = world
        .endpoint(A, 0)
        .dial(now, node_id(B), address, ShardId(0));
    world.until("it is up", |world| {
        network.step();
        world.jump(Duration::from_millis(1));
        !world.events(A, 0).is_empty() && !world.events(B, 0).is_empty()
    });
    world.up(A, 0);
    world.up(B, 0);
    let (mut next, mut got, mut frames) = (0, HashSet::new(), 0);
    let mut take = |world: &mut World, frames: &mut usize| {
        let (lossy, more) = taken(world, B);
        for frame in lossy {
            assert_eq!(frame.payload.len(), 400, "damage is dropped by QUIC");
            assert!(got.insert(number(&frame)), "{} came twice", number(&frame));
        }
        *frames += more;
        got.len()
    };
    world.until("the frames and the last of the others", |world| {
        network.step();
        world.jump(Duration::from_millis(1));
        for _ in 0..4 {
            if next < COUNT {
                let payload = [next; 100].map(u32::to_le_bytes);
                send(world, A, link, payload.as_flattened());
                world.tell((A, 0), link, &[1; 40]);
                next += 1;
            }
        }
        take(world, &mut frames);
        frames == COUNT as usize
    });
    for _ in 0..500 {
        network.step();
        world.jump(Duration::from_millis(1));
        world.step();
    }
    let arrived = take(&mut world, &mut frames) as u64;
    let out = world.endpoint(A, 0).counters().lossy_out;
    let dropped = lost(&mut world, A, LossCause::NoRoom);
    assert_eq!(out + dropped, u64::from(COUNT), "each left or was counted");
    assert_eq!(world.endpoint(B, 0).counters().lossy_in, arrived);
    assert!(arrived < out, "the network loses one packet in twenty");
    assert!(arrived > out / 2, "and no more: {arrived} of {out}");
    assert_eq!(frames, COUNT as usize);
}

#[test]
fn a_path_that_becomes_narrow_loses_what_is_too_wide_for_it() {
    let mut world = World::new(&[1, 1]);
    let mut network = BadNetwork::before(world.nodes[B].address, 11);
    let (address, now) = (network.front.local_addr().unwrap(), world.now());
    let link = world
        .endpoint(A, 0)
        .dial(now, node_id(B), address, ShardId(0));
    let bound = |world: &mut World| {
        let too_long = vec![0; 1 << 20];
        let sent = world
            .endpoint(A, 0)
            .send_lossy(link, &tell(), &key(), bytes(&too_long));
        match sent {
            Err(SendError::TooLarge { limit, .. }) => limit,
            _ => 0,
        }
    };
    world.until("the path is found to be wide", |world| {
        network.step();
        world.jump(Duration::from_millis(1));
        bound(world) > 8000
    });
    network.widest = 1300;
    let mut accepted = 0;
    world.until("the path is found to be narrow", |world| {
        network.step();
        world.jump(Duration::from_millis(1));
        let limit = bound(world);
        if limit > 8000 {
            // Several, so that some wait here and some in QUIC's buffer when it turns out.
            for _ in 0..5 {
                send(world, A, link, &vec![1; 8000]);
                accepted += 1;
            }
        }
        limit < 1300
    });
    std::mem::take(world.events(B, 0));
    world.until("small ones still arrive", |world| {
        network.step();
        world.jump(Duration::from_millis(1));
        send(world, A, link, b"small");
        accepted += 1;
        taken(world, B)
            .0
            .iter()
            .any(|frame| &frame.payload[..] == b"small")
    });
    world.until("each has left or is counted", |world| {
        network.step();
        world.jump(Duration::from_millis(1));
        let endpoint = world.endpoint(A, 0);
        while let Some(lost) = endpoint.poll_lost() {
            assert_ne!(lost.cause, LossCause::NoLink);
            accepted -= lost.count;
        }
        endpoint.counters().lossy_out == accepted
    });
}

/// A client of node A with B's certificate, through TLS, and a good link from C to A.
fn raw_peer(transport: TransportConfig) -> (World, LinkId, RawPeer) {
    let mut world = World::new(&[1, 1, 1]);
    let (good, _) = world.link((C, 0), (A, 0));
    let identity = Plan::of(&world.authority, B).identity;
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node_id(A));
    let tls = raw::tls(&identity, Some(&identity));
    let address = world.nodes[A].address;
    let mut peer = RawPeer::dial_with(
        Ipv4Addr::LOCALHOST,
        world.now(),
        (address, &name),
        (tls, transport),
    );
    world.until("TLS is done", |world| {
        peer.step(world.now());
        peer.connected
    });
    (world, good, peer)
}

fn greet(world: &mut World, peer: &mut RawPeer) -> LinkId {
    peer.write(&hello_frame(&hello(node_id(B))));
    world.until("the hellos are exchanged", |world| {
        peer.step(world.now());
        !peer.received.is_empty()
    });
    world.up(A, 0).0
}

fn datagram(payload: &[u8]) -> Bytes {
    let mut out = Default::default();
    write_lossy(&mut out, &tell(), &key(), 1000, bytes(payload)).unwrap();
    Bytes::copy_from_slice(&out)
}

#[test]
fn one_that_overtakes_the_hello_waits_for_it() {
    let (mut world, _, mut peer) = raw_peer(TransportConfig::default());
    let early = datagram(b"early");
    peer.connection.datagrams().send(early, false).unwrap();
    for _ in 0..50 {
        peer.step(world.now());
        world.step();
    }
    assert!(world.events(A, 0).is_empty());
    greet(&mut world, &mut peer);
    world.until("it is handed out", |world| !world.events(A, 0).is_empty());
    assert_eq!(&taken(&mut world, A).0[0].payload[..], b"early");
}

#[test]
fn a_peer_without_datagrams_is_sent_none() {
    let mut transport = TransportConfig::default();
    transport.datagram_receive_buffer_size(None);
    let (mut world, _, mut peer) = raw_peer(transport);
    let link = greet(&mut world, &mut peer);
    let sent = world
        .endpoint(A, 0)
        .send_lossy(link, &tell(), &key(), bytes(b"x"));
    assert!(matches!(sent, Err(SendError::Down)), "{sent:?}");
    // Frames it takes.
    world.tell((A, 0), link, b"x");
}

#[test]
fn a_datagram_that_is_no_lossy_tell_costs_its_link_and_no_other() {
    let good = datagram(b"good");
    let cases = [
        Bytes::new(),
        good.slice(..20),
        Bytes::from(vec![0xff; 1000]),
        Bytes::from([&[4], &good[1..]].concat()),
        Bytes::from([&good[..17], &[0xc3], &good[18..]].concat()),
    ];
    for bad in cases {
        let (mut world, other, mut peer) = raw_peer(TransportConfig::default());
        greet(&mut world, &mut peer);
        for datagram in [good.clone(), bad.clone(), good.clone()] {
            peer.connection.datagrams().send(datagram, false).unwrap();
        }
        world.until("the link is closed", |world| {
            peer.step(world.now());
            peer.lost.is_some()
        });
        let protocol = u64::from(CloseCode::Protocol.to_u32());
        assert_eq!(peer.close_code(), Some(protocol), "{bad:?}");
        let mut events = std::mem::take(world.events(A, 0));
        let first = events.pop_front();
        assert!(matches!(first, Some(Event::Lossy { .. })), "{first:?}");
        let malformed = LinkError::Refused {
            by: Party::Here,
            refusal: Refusal::Malformed,
        };
        match events.pop_front() {
            Some(Event::Down { reason, .. }) => assert_eq!(reason, malformed),
            event => panic!("{event:?}"),
        }
        assert!(events.is_empty(), "nothing behind the bad one is read");
        send(&mut world, C, other, b"unimpressed");
        world.until("the other link works", |world| {
            !world.events(A, 0).is_empty()
        });
        let counters = *world.endpoint(A, 0).counters();
        let refused = counters.refused.here(Refusal::Malformed);
        assert_eq!((counters.panics, refused), (0, 1));
    }
}

#[test]
fn a_datagram_beyond_the_buffer_ends_its_connection_only() {
    let (mut world, other, mut peer) = raw_peer(TransportConfig::default());
    greet(&mut world, &mut peer);
    // As many small ones as a peer can send, and A asks for none meanwhile.
    world.nodes[A].shards[0].appetite = 0;
    let small = datagram(b"");
    for _ in 0..200 {
        for _ in 0..100 {
            let sent = peer.connection.datagrams().send(small.clone(), true);
            sent.unwrap();
        }
        peer.step(world.now());
        world.step();
        world.jump(Duration::from_micros(200));
    }
    world.nodes[A].shards[0].appetite = usize::MAX;
    world.step();
    let got = taken(&mut world, A).0.len();
    assert!(got <= 1024, "{got} of at least 64 bytes each were kept");
    assert!(lost(&mut world, A, LossCause::NoRoom) > 1000);
    send(&mut world, C, other, b"unimpressed");
    world.until("the other link works", |world| {
        !taken(world, A).0.is_empty()
    });
}
