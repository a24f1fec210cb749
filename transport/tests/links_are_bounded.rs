//! How many links there can be, and what it takes to begin one.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{
    A, B, CLUSTER, Plan, World, node_id,
    raw::{self, RawPeer},
};
use teff_transport::{ClusterName, Event, LinkError, Party, Refusal, node_name};
use teff_wire::ShardId;

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
fn of_two_links_that_cross_the_one_from_the_lower_node_stays() {
    // Whoever dials first, and however far its link has come when the other dials.
    for first in [A, B] {
        for steps in 0..12 {
            let mut world = World::new(&[1, 1]);
            let second = A + B - first;
            let early = world.dial((first, 0), (second, 0));
            (0..steps).for_each(|_| world.step());
            if world.events(second, 0).iter().any(is_up) {
                // Who has a link to a shard does not dial it.
                continue;
            }
            let late = world.dial((second, 0), (first, 0));
            let from_a = if first == A { early } else { late };
            let is_up_at_a =
                |event: &Event| matches!(event, Event::Up { link, .. } if *link == from_a);
            world.until("the link from A", |world| {
                world.events(A, 0).iter().any(is_up_at_a)
            });
            world.idle_for(Duration::from_millis(50));
            let mut stayed = Vec::new();
            for node in [A, B] {
                let mut up = Vec::new();
                for event in world.events(node, 0).drain(..) {
                    match event {
                        Event::Up { link, .. } => up.push(link),
                        Event::Down { link, .. } => up.retain(|other| *other != link),
                        event => panic!("{event:?}"),
                    }
                }
                assert_eq!(up.len(), 1, "at node {node}");
                stayed.push(up[0]);
            }
            assert_eq!(stayed[0], from_a);
            world.tell((A, 0), stayed[0], b"one");
            assert_eq!(&world.frame(B, 0).1.payload[..], b"one");
            world.tell((B, 0), stayed[1], b"two");
            assert_eq!(&world.frame(A, 0).1.payload[..], b"two");
        }
    }
}

#[test]
fn a_link_that_is_up_stays_when_its_shard_dials_before_it_has_heard_of_it() {
    let mut world = World::new(&[1, 1]);
    world.link((A, 0), (B, 0));
    // B starts anew and dials: A is told of the end of the old link first.
    let plan = Plan {
        start: 8,
        ..Plan::of(&world.authority, B)
    };
    let reborn = world.add(plan);
    let from_b = world.dial((reborn, 0), (A, 0));
    world.nodes[A].shards[0].appetite = 1;
    let mut from_a = None;
    world.until("the end of the old link", |world| {
        let ended = matches!(world.events(A, 0).front(), Some(Event::Down { .. }));
        if ended {
            let (now, address) = (world.now(), world.nodes[reborn].address);
            let endpoint = world.endpoint(A, 0);
            from_a = Some(endpoint.dial(now, node_id(B), address, ShardId(0)));
        }
        ended
    });
    world.down(A, 0);
    let (theirs, _, dialled) = world.up(A, 0);
    let down = world.down(A, 0);
    assert_eq!((Some(down.link), dialled), (from_a, false));
    assert_eq!(down.reason, refused(Party::Here, Refusal::Crossed));
    assert!(down.reason.is_crossed());
    let (ours, ..) = world.up(reborn, 0);
    assert_eq!(ours, from_b);
    world.tell((A, 0), theirs, b"one");
    assert_eq!(&world.frame(reborn, 0).1.payload[..], b"one");
}

#[test]
fn a_dial_that_nobody_answers_does_not_keep_the_peer_out_for_long() {
    let mut world = World::new(&[1, 1]);
    // What A believes to be B says nothing.
    let silence = std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let (now, nowhere) = (world.now(), silence.local_addr().unwrap());
    let endpoint = world.endpoint(A, 0);
    let unanswered = endpoint.dial(now, node_id(B), nowhere, ShardId(0));

    let early = world.dial((B, 0), (A, 0));
    let down = world.down(B, 0);
    assert_eq!((down.link, down.reason.is_crossed()), (early, true));
    assert!(world.down(A, 0).reason.is_crossed());

    world.jump(Duration::from_millis(250));
    let late = world.dial((B, 0), (A, 0));
    assert_eq!(world.up(B, 0).0, late);
    let (link, _, dialled) = world.up(A, 0);
    assert!(!dialled);
    world.tell((A, 0), link, b"one");
    assert_eq!(&world.frame(B, 0).1.payload[..], b"one");
    world.jump(Duration::from_secs(1));
    let down = world.down(A, 0);
    assert_eq!(
        (down.link, down.reason),
        (unanswered, LinkError::Unreachable)
    );
}

fn is_up(event: &Event) -> bool {
    matches!(event, Event::Up { .. })
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
        let link = endpoint.dial(now, node_id(B), address.parse().unwrap(), ShardId(0));
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
        .dial(start, node_id(B), address, ShardId(0));
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
