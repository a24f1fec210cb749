//! Steering: the kernel brings datagrams to the shard that they are for, and what goes astray is
//! passed on, not lost and never answered.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::UdpSocket;

use common::{A, B, C, Plan, World};
use teff_transport::{Datagram, Refusal, shard_of};
use teff_wire::ShardId;

#[test]
fn links_to_every_shard_of_a_node_land_on_its_socket() {
    let mut world = World::new(&[3, 3]);
    for from in 0..3 {
        for to in 0..3 {
            let (dialled, accepted) = world.link((A, from), (B, to));
            world.tell((A, from), dialled, b"ping");
            let (link, frame) = world.frame(B, to);
            assert_eq!((link, &frame.payload[..]), (accepted, &b"ping"[..]));
            world.tell((B, to), accepted, b"pong");
            assert_eq!(&world.frame(A, from).1.payload[..], b"pong");
        }
    }
    for node in [A, B] {
        for shard in 0..3 {
            let counters = world.endpoint(node, shard).counters();
            assert_eq!(counters.misrouted, 0);
            assert_eq!(counters.links_up, 3);
            assert_eq!(counters.garbage, 0);
        }
    }
}

#[test]
fn a_link_works_although_every_datagram_arrives_at_the_wrong_shard() {
    let mut world = World::new(&[1]);
    let plan = Plan::of(&world.authority, B).shards(2);
    world.add_swapped(plan);
    let (dialled, accepted) = world.link((A, 0), (B, 1));
    world.tell((A, 0), dialled, b"the long way");
    assert_eq!(&world.frame(B, 1).1.payload[..], b"the long way");
    world.tell((B, 1), accepted, b"and back");
    assert_eq!(&world.frame(A, 0).1.payload[..], b"and back");
    world.acknowledged((A, 0), dialled);
    let wrong = *world.endpoint(B, 0).counters();
    assert!(wrong.misrouted >= 4, "{wrong:?}");
    assert_eq!(
        (wrong.answered, wrong.datagrams_out, wrong.links_up),
        (0, 0, 0)
    );
    let right = *world.endpoint(B, 1).counters();
    assert_eq!((right.rerouted, right.datagrams_in), (wrong.misrouted, 0));
}

#[test]
fn a_misrouted_packet_is_never_answered_with_a_reset() {
    let mut world = World::new(&[2]);
    let address = world.nodes[A].address;
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    noise.set_nonblocking(true).unwrap();
    // A short header for shard 1, brought to shard 0 by hand.
    let mut datagram = vec![0x40; 60];
    datagram[1..9].copy_from_slice(&[1, 2, 3, 4, 1, 2, 3, 5]);
    assert_eq!(shard_of(&datagram, 2), ShardId(1));
    let now = world.now();
    let remote = noise.local_addr().unwrap();
    world
        .endpoint(A, 0)
        .handle_datagram(now, Datagram::new(remote, &datagram));
    world.step();
    assert_eq!(world.endpoint(A, 0).counters().garbage, 1);
    assert!(noise.recv(&mut [0; 100]).is_err(), "shard 0 kept silent");
    // Where it belongs, an unknown connection id is answered: the peer may know an older process.
    noise.send_to(&datagram, address).unwrap();
    world.until("a reset", |_| noise.recv(&mut [0; 100]).is_ok());
    assert_eq!(world.endpoint(A, 1).counters().answered, 1);
}

#[test]
fn a_shard_that_the_node_does_not_have_is_refused() {
    let mut world = World::new(&[1, 2]);
    world.dial((A, 0), (B, 5));
    // 5 modulo 2 shards is shard 1, which is not whom the dialler wants.
    let refused = |by| teff_transport::LinkError::Refused {
        by,
        refusal: Refusal::WrongTarget,
    };
    assert_eq!(
        world.down(A, 0).reason,
        refused(teff_transport::Party::Peer)
    );
    assert_eq!(
        world.down(B, 1).reason,
        refused(teff_transport::Party::Here)
    );
}

#[test]
fn nodes_of_different_numbers_of_shards_understand_each_other() {
    let mut world = World::empty();
    for (node, shards) in [(A, 1), (B, 3), (C, 7)] {
        let plan = Plan::of(&world.authority, node).shards(shards);
        world.add(plan);
    }
    for (from, to) in [((A, 0), (C, 6)), ((C, 5), (B, 2)), ((B, 1), (A, 0))] {
        world.link(from, to);
    }
    for node in &world.nodes {
        for shard in &node.shards {
            assert_eq!(shard.endpoint.counters().misrouted, 0);
        }
    }
}
