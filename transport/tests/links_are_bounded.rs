//! How many links there can be, and what it takes to begin one.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{
    A, B, CLUSTER, Plan, World, node_id,
    raw::{self, RawPeer},
};
use teff_transport::{ClusterName, Event, LinkError, Party, Refusal, node_name};

fn refused(by: Party, refusal: Refusal) -> LinkError {
    LinkError::Refused { by, refusal }
}

/// A client of node A with B's certificate.
fn raw_peer(world: &World) -> RawPeer {
    let identity = Plan::of(&world.authority, B).identity;
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node_id(A));
    let tls = raw::tls(&identity, Some(&identity));
    RawPeer::dial(world.now(), world.nodes[A].address, &name, tls)
}

#[test]
fn both_ends_may_dial_at_once() {
    let mut world = World::new(&[1, 1]);
    let from_a = world.dial((A, 0), (B, 0));
    let from_b = world.dial((B, 0), (A, 0));
    world.until("both links are up at both ends", |world| {
        world.events(A, 0).len() == 2 && world.events(B, 0).len() == 2
    });
    for (node, own) in [(A, from_a), (B, from_b)] {
        let mut dialled_ones = 0;
        for event in world.events(node, 0).drain(..) {
            let Event::Up { link, dialled, .. } = event else {
                panic!("{event:?}")
            };
            assert_eq!(dialled, link == own);
            dialled_ones += usize::from(dialled);
        }
        assert_eq!(dialled_ones, 1);
    }
    world.tell((A, 0), from_a, b"one");
    assert_eq!(&world.frame(B, 0).1.payload[..], b"one");
}

#[test]
fn a_third_link_between_two_shards_is_refused() {
    let mut world = World::new(&[1, 2]);
    world.link((A, 0), (B, 0));
    let (second, _) = world.link((B, 0), (A, 0));
    world.dial((A, 0), (B, 0));
    let (a, b) = (world.down(A, 0), world.down(B, 0));
    assert_eq!(a.reason, refused(Party::Peer, Refusal::TooManyLinks));
    assert_eq!(b.reason, refused(Party::Here, Refusal::TooManyLinks));
    assert_eq!(b.peer, Some(node_id(A)));
    // Another shard is another matter, and so is a place that became free.
    world.link((A, 0), (B, 1));
    let now = world.now();
    world
        .endpoint(B, 0)
        .close(now, second, teff_wire::CloseCode::Idle);
    world.down(A, 0);
    world.down(B, 0);
    world.link((A, 0), (B, 0));
}

#[test]
fn handshakes_in_progress_are_bounded() {
    let mut world = World::empty();
    for node in [A, B] {
        let plan = Plan::of(&world.authority, node).limits(|limits| limits.handshakes = 1);
        world.add(plan);
    }
    let mut silent = raw_peer(&world);
    world.until("a handshake without a hello", |world| {
        silent.step(world.now());
        silent.connected
    });
    world.dial((B, 0), (A, 0));
    assert_eq!(world.down(B, 0).reason, refused(Party::Peer, Refusal::Busy));
    assert_eq!(
        world.endpoint(A, 0).counters().refused.here(Refusal::Busy),
        1
    );
    // The silent one runs out of time, and there is room again.
    world.until("the silent one is dropped", |world| {
        world.jump(Duration::from_millis(20));
        silent.step(world.now());
        silent.lost.is_some()
    });
    world.down(A, 0);
    world.link((B, 0), (A, 0));
}

#[test]
fn links_altogether_are_bounded() {
    let mut world = World::empty();
    for node in [A, B] {
        let plan = Plan::of(&world.authority, node).limits(|limits| {
            limits.handshakes = 1;
            limits.links = 1;
        });
        world.add(plan);
    }
    let plan = Plan::of(&world.authority, common::C);
    world.add(plan);
    world.link((A, 0), (B, 0));
    world.dial((A, 0), (common::C, 0));
    assert_eq!(
        world.down(A, 0).reason,
        refused(Party::Here, Refusal::TooManyLinks)
    );
    world.dial((common::C, 0), (A, 0));
    assert_eq!(
        world.down(common::C, 0).reason,
        refused(Party::Peer, Refusal::Busy)
    );
}

#[test]
fn every_dialler_has_to_prove_its_address_every_time() {
    let mut world = World::new(&[1, 1]);
    for time in 1..=3 {
        let (a, _) = world.link((A, 0), (B, 0));
        let b = *world.endpoint(B, 0).counters();
        assert_eq!(
            (b.answered, b.accepted),
            (time, time),
            "one retry each, no token is kept"
        );
        let now = world.now();
        world
            .endpoint(A, 0)
            .close(now, a, teff_wire::CloseCode::Idle);
        world.down(A, 0);
        world.down(B, 0);
    }
}

#[test]
fn a_dialler_that_does_not_prove_its_address_costs_nothing() {
    let mut world = World::new(&[1]);
    let name = node_name(&ClusterName::new(CLUSTER).unwrap(), node_id(A));
    let identity = Plan::of(&world.authority, B).identity;
    let (now, address) = (world.now(), world.nodes[A].address);
    // Their first packets arrive; they never look at the answer.
    for _ in 0..200 {
        let tls = raw::tls(&identity, Some(&identity));
        let mut peer = RawPeer::dial(now, address, &name, tls);
        peer.send(now);
        world.step();
    }
    let counters = *world.endpoint(A, 0).counters();
    assert_eq!((counters.answered, counters.accepted), (200, 0));
    assert!(world.endpoint(A, 0).is_idle());
    assert!(counters.bytes_out < counters.bytes_in, "no amplification");
}

#[test]
fn an_address_that_cannot_be_dialled_is_told_at_once() {
    let mut world = World::new(&[1]);
    let now = world.now();
    for address in ["127.0.0.1:0", "0.0.0.0:99", "[::1]:99"] {
        let endpoint = world.endpoint(A, 0);
        let link = endpoint.dial(
            now,
            node_id(B),
            address.parse().unwrap(),
            teff_wire::ShardId(0),
        );
        let Some(Event::Down {
            link: down,
            reason,
            peer,
            ..
        }) = endpoint.poll_event()
        else {
            panic!("{address} is told");
        };
        assert_eq!((down, reason), (link, LinkError::InvalidAddress));
        assert_eq!(peer, Some(node_id(B)));
    }
    assert!(world.endpoint(A, 0).is_idle());
}

#[test]
fn nobody_at_the_address_is_known_after_a_second() {
    let mut world = World::new(&[1, 1]);
    let address = world.nodes.pop().unwrap().address;
    let start = world.now();
    let link = world
        .endpoint(A, 0)
        .dial(start, node_id(B), address, teff_wire::ShardId(0));
    world.tell((A, 0), link, b"hello?");
    world.until("the dial fails", |world| {
        world.jump(Duration::from_millis(20));
        !world.events(A, 0).is_empty()
    });
    let after = world.now() - start;
    let down = world.down(A, 0);
    assert_eq!((down.link, down.reason), (link, LinkError::Unreachable));
    assert_eq!((down.sent.unsent(), down.sent.doubtful()), (1, 0));
    assert!(
        (Duration::from_secs(1)..Duration::from_millis(1500)).contains(&after),
        "{after:?}"
    );
    world.until("it is forgotten", |world| {
        world.jump(Duration::from_millis(20));
        world.endpoint(A, 0).is_idle()
    });
}

#[test]
fn a_node_that_listens_for_ipv6_can_be_dialled_and_dials_by_ipv4() {
    let mut world = World::empty();
    let plan = Plan::of(&world.authority, A);
    world.add(plan);
    let plan = Plan::of(&world.authority, B);
    let any = "[::]:0".parse().unwrap();
    if teff_transport::Listener::bind(any).is_err() {
        return; // This machine has no IPv6.
    }
    world.add_at(plan, any);
    let port = world.nodes[B].address.port();
    world.nodes[B].address = ([127, 0, 0, 1], port).into();
    world.link((A, 0), (B, 0));
    world.link((B, 0), (A, 0));
}
