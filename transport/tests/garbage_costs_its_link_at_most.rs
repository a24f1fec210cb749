//! Bytes that make no sense: datagrams of nobody only count; those of a peer cost its link, with
//! a reason, and no other link.
#![allow(clippy::unwrap_used)]

mod common;

use std::{net::UdpSocket, time::Duration};

use common::{
    A, B, C, CLUSTER, Plan, World, node_id,
    raw::{self, RawPeer, frame, hello, hello_frame},
};
use quinn_proto::{Dir, VarInt};
use teff_transport::{ClusterName, Event, LinkError, LinkId, Party, Refusal, node_name};
use teff_wire::{CallId, CloseCode, FrameType, Header, Status};

/// A client of node A with B's certificate.
fn raw_peer(world: &World) -> RawPeer {
    let identity = Plan::of(&world.authority, B).identity;
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node_id(A));
    let tls = raw::tls(&identity, Some(&identity));
    RawPeer::dial(world.now(), world.nodes[A].address, &name, tls)
}

/// A world with a good link from C to A, and a raw peer of A that is through TLS.
fn connected() -> (World, LinkId, RawPeer) {
    let mut world = World::new(&[1, 1, 1]);
    let (good, _) = world.link((C, 0), (A, 0));
    let mut peer = raw_peer(&world);
    world.until("TLS is done", |world| {
        peer.step(world.now());
        peer.connected
    });
    (world, good, peer)
}

/// The same, after the hellos.
fn greeted() -> (World, LinkId, RawPeer) {
    let (mut world, good, mut peer) = connected();
    peer.write(&hello_frame(&hello(node_id(B))));
    world.until("the hellos are exchanged", |world| {
        peer.step(world.now());
        !peer.received.is_empty()
    });
    assert_eq!(world.up(A, 0).1.node, node_id(B));
    (world, good, peer)
}

/// The peer's link ends as malformed at both ends, and the good link works on.
#[track_caller]
fn costs_the_link((mut world, good, mut peer): (World, LinkId, RawPeer)) {
    world.until("the link is closed", |world| {
        peer.step(world.now());
        peer.lost.is_some()
    });
    assert_eq!(
        peer.close_code(),
        Some(u64::from(CloseCode::Protocol.to_u32()))
    );
    let down = world.down(A, 0);
    let malformed = LinkError::Refused {
        by: Party::Here,
        refusal: Refusal::Malformed,
    };
    assert_eq!(down.reason, malformed);
    world.tell((C, 0), good, b"unimpressed");
    assert_eq!(&world.frame(A, 0).1.payload[..], b"unimpressed");
    let counters = *world.endpoint(A, 0).counters();
    assert_eq!(
        (counters.panics, counters.refused.here(Refusal::Malformed)),
        (0, 1)
    );
}

#[test]
fn datagrams_of_nobody_only_count() {
    let mut world = World::new(&[2, 1]);
    let (link, _) = world.link((B, 0), (A, 1));
    let before: u64 = (0..2)
        .map(|shard| world.endpoint(A, shard).counters().datagrams_in)
        .sum();
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = world.nodes[A].address;
    let mut sent = 0;
    for round in 0..200_usize {
        let mut random = vec![0; 1 + round * 7];
        getrandom::fill(&mut random).unwrap();
        let mut initial = random.clone();
        initial[0] = 0xc3;
        initial.splice(
            1..,
            [0, 0, 0, 1, 8]
                .into_iter()
                .chain(random[1..].iter().copied()),
        );
        let mut short = random.clone();
        short[0] = 0x40 | short[0] & 0x3f;
        for datagram in [&[][..], &random, &initial, &short, &[0xff; 1200], &[0; 1]] {
            noise.send_to(datagram, address).unwrap();
            sent += 1;
        }
        world.step();
    }
    world.until("all of it is received", |world| {
        let count: u64 = (0..2)
            .map(|shard| world.endpoint(A, shard).counters().datagrams_in)
            .sum();
        // The link's own traffic comes on top.
        count >= before + sent
    });
    for shard in 0..2 {
        let counters = *world.endpoint(A, shard).counters();
        assert_eq!((counters.panics, counters.misrouted), (0, 0));
        assert!(counters.garbage > 100, "{counters:?}");
        assert!(
            world
                .events(A, shard)
                .iter()
                .all(|event| matches!(event, Event::Up { .. }))
        );
    }
    world.events(A, 1).clear();
    world.tell((B, 0), link, b"unimpressed");
    assert_eq!(&world.frame(A, 1).1.payload[..], b"unimpressed");
}

#[test]
fn a_first_frame_that_is_no_hello() {
    let (world, good, mut peer) = connected();
    peer.write(&frame(&Header::ack(0), |_| ()));
    costs_the_link((world, good, peer));
}

#[test]
fn a_data_frame_in_place_of_the_hello() {
    let (world, good, mut peer) = connected();
    let reply = Header::reply(
        CallId {
            slot: 0,
            generation: 0,
        },
        Status::Ok,
    );
    peer.write(&frame(&reply, |out| out.extend_from_slice(b"early")));
    costs_the_link((world, good, peer));
}

#[test]
fn bytes_that_are_not_frames() {
    let (world, good, mut peer) = connected();
    peer.write(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n");
    costs_the_link((world, good, peer));
    let (world, good, mut peer) = greeted();
    peer.write(&[0xff; 64]);
    costs_the_link((world, good, peer));
}

#[test]
fn a_frame_that_declares_more_than_is_allowed() {
    let (world, good, mut peer) = greeted();
    let mut huge = frame(
        &Header::reply(
            CallId {
                slot: 0,
                generation: 0,
            },
            Status::Ok,
        ),
        |_| (),
    );
    huge[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    peer.write(&huge);
    costs_the_link((world, good, peer));
}

#[test]
fn a_long_frame_before_the_hello_is_not_waited_for() {
    let (mut world, good, mut peer) = connected();
    let mut long = frame(
        &Header::reply(
            CallId {
                slot: 0,
                generation: 0,
            },
            Status::Ok,
        ),
        |_| (),
    );
    long[..4].copy_from_slice(&(8_u32 << 20).to_le_bytes());
    long.resize(1 << 20, 0);
    peer.write(&long);
    world.until("the link is closed", |world| {
        peer.step(world.now());
        peer.lost.is_some()
    });
    costs_the_link((world, good, peer));
}

#[test]
fn frames_before_a_broken_one_are_handed_out() {
    let (mut world, good, mut peer) = greeted();
    let reply = Header::reply(
        CallId {
            slot: 1,
            generation: 2,
        },
        Status::Busy,
    );
    let mut bytes = frame(&reply, |out| out.extend_from_slice(b"good"));
    bytes.extend_from_slice(&[0xff; 32]);
    peer.write(&bytes);
    world.until("the good frame", |world| {
        peer.step(world.now());
        !world.events(A, 0).is_empty()
    });
    let (_, frame) = world.frame(A, 0);
    assert_eq!((frame.header, &frame.payload[..]), (reply, &b"good"[..]));
    costs_the_link((world, good, peer));
}

#[test]
fn a_second_hello() {
    let (world, good, mut peer) = greeted();
    peer.write(&hello_frame(&hello(node_id(B))));
    costs_the_link((world, good, peer));
}

#[test]
fn an_acknowledgement_of_frames_that_were_never_sent() {
    let (world, good, mut peer) = greeted();
    peer.write(&frame(&Header::ack(1), |_| ()));
    costs_the_link((world, good, peer));
}

#[test]
fn kinds_that_make_no_sense() {
    let (world, good, mut peer) = greeted();
    peer.write(&frame(&Header::new(FrameType::Kinds), |out| {
        out.extend_from_slice(b"kinds");
    }));
    costs_the_link((world, good, peer));
}

#[test]
fn the_end_of_the_stream() {
    let (world, good, mut peer) = greeted();
    let stream = peer.stream.unwrap();
    peer.connection.send_stream(stream).finish().unwrap();
    costs_the_link((world, good, peer));
}

#[test]
fn a_stream_that_is_reset() {
    let (world, good, mut peer) = greeted();
    let stream = peer.stream.unwrap();
    peer.connection
        .send_stream(stream)
        .reset(VarInt::from_u32(1))
        .unwrap();
    costs_the_link((world, good, peer));
}

#[test]
fn a_stream_that_the_peer_does_not_read() {
    let (world, good, mut peer) = greeted();
    let stream = peer.stream.unwrap();
    peer.connection
        .recv_stream(stream)
        .stop(VarInt::from_u32(1))
        .unwrap();
    peer.stream = None;
    costs_the_link((world, good, peer));
}

#[test]
fn more_streams_than_a_link_has_are_not_to_be_had() {
    let (_world, _, mut peer) = greeted();
    assert_eq!(peer.connection.streams().open(Dir::Bi), None);
    // One for control and four for payloads.
    for _ in 0..5 {
        assert!(peer.connection.streams().open(Dir::Uni).is_some());
    }
    assert_eq!(peer.connection.streams().open(Dir::Uni), None);
}

#[test]
fn a_peer_that_never_says_hello_is_closed_in_time() {
    let (mut world, good, mut peer) = connected();
    let start = world.now();
    world.until("the link is closed", |world| {
        world.jump(Duration::from_millis(20));
        peer.step(world.now());
        peer.lost.is_some()
    });
    let after = world.now() - start;
    assert!(after < Duration::from_millis(4500), "{after:?}");
    assert_eq!(
        peer.close_code(),
        Some(u64::from(CloseCode::HelloTimeout.to_u32()))
    );
    let timeout = LinkError::Refused {
        by: Party::Here,
        refusal: Refusal::HelloTimeout,
    };
    assert_eq!(world.down(A, 0).reason, timeout);
    world.tell((C, 0), good, b"unimpressed");
    world.frame(A, 0);
}

#[test]
fn a_handshake_that_stops_half_way_is_given_up_in_time() {
    let mut world = World::new(&[1]);
    let mut peer = raw_peer(&world);
    world.until("the handshake begins", |world| {
        let accepted = world.endpoint(A, 0).counters().accepted;
        if accepted == 0 {
            peer.step(world.now());
        }
        accepted == 1
    });
    let start = world.now();
    world.until("it is given up", |world| {
        world.jump(Duration::from_millis(20));
        !world.events(A, 0).is_empty()
    });
    assert!(world.now() - start < Duration::from_millis(4500));
    let timeout = LinkError::Refused {
        by: Party::Here,
        refusal: Refusal::HelloTimeout,
    };
    assert_eq!(world.down(A, 0).reason, timeout);
    world.until("it is forgotten", |world| {
        world.jump(Duration::from_millis(20));
        world.endpoint(A, 0).is_idle()
    });
}

#[test]
fn a_close_code_of_a_later_version_is_told_as_it_is() {
    let (mut world, _, mut peer) = greeted();
    let now = world.now();
    peer.close(now, 999);
    world.until("the link is down", |world| {
        peer.step(world.now());
        !world.events(A, 0).is_empty()
    });
    assert_eq!(
        world.down(A, 0).reason,
        LinkError::UnknownCode { code: 999 }
    );
}

#[test]
fn control_frames_without_end_keep_no_other_link_waiting() {
    /// Frames of 64 KiB, which is a turn.
    const TURN: usize = 4096;
    let (mut world, good, mut peer) = greeted();
    world.nodes[A].shards[0].appetite = TURN / 2;
    let control = peer.connection.streams().open(Dir::Uni).unwrap();
    let frames = frame(&Header::pressure(7, true), |_| ()).repeat(64 * TURN);
    let (mut sent, mut pressed, mut others, mut longest) = (0, 0, 0, 0);
    world.until("a hundred turns have passed", |world| {
        // A frame may have been cut.
        let rest = &frames[sent % 16..];
        if let Ok(written) = peer.connection.send_stream(control).write(rest) {
            sent += written;
        }
        peer.step(world.now());
        world.tell((C, 0), good, b"unimpressed");
        for event in std::mem::take(world.events(A, 0)) {
            match event {
                Event::Pressure { .. } => {
                    pressed += 1;
                    others += 1;
                    longest = longest.max(others);
                }
                Event::Frame { .. } => others = 0,
                event => panic!("{event:?}"),
            }
        }
        pressed > 100 * TURN
    });
    assert!(longest <= 3 * TURN, "{longest} control frames in a row");
}
