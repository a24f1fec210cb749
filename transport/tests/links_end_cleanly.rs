//! The end of a link: both sides learn why, every frame has one fate, old ids mean nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{A, B, Plan, World, bytes, key, node_id, tell};
use teff_transport::{Event, Fate, LinkError, Party, SendError};
use teff_wire::CloseCode;

fn closed(by: Party, code: CloseCode) -> LinkError {
    LinkError::Closed { by, code }
}

/// Drives until an endpoint has forgotten all links.
fn forgotten(world: &mut World, node: usize) {
    world.until("nothing is left of the links", |world| {
        world.jump(Duration::from_millis(10));
        world.endpoint(node, 0).is_idle()
    });
}

#[test]
fn a_close_reaches_the_peer_with_its_code() {
    let mut world = World::new(&[1, 1]);
    for code in [CloseCode::Shutdown, CloseCode::Idle] {
        let (a, b) = world.link((A, 0), (B, 0));
        let now = world.now();
        world.endpoint(A, 0).close(now, a, code);
        let (at_a, at_b) = (world.down(A, 0), world.down(B, 0));
        assert_eq!((at_a.link, at_a.reason), (a, closed(Party::Here, code)));
        assert_eq!((at_b.link, at_b.reason), (b, closed(Party::Peer, code)));
        assert_eq!((at_a.peer, at_b.peer), (Some(node_id(B)), Some(node_id(A))));
        forgotten(&mut world, A);
        forgotten(&mut world, B);
    }
}

#[test]
fn frames_that_were_acknowledged_are_delivered_and_nothing_is_in_doubt() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let number = world.tell((A, 0), a, b"done");
    world.frame(B, 0);
    world.acknowledged((A, 0), a);
    let now = world.now();
    world.endpoint(A, 0).close(now, a, CloseCode::Shutdown);
    let sent = world.down(A, 0).sent;
    assert_eq!((sent.unsent(), sent.doubtful(), sent.written), (0, 0, 1));
    assert_eq!(sent.fate(number), Fate::Delivered);
}

#[test]
fn frames_that_arrived_are_handed_out_before_the_end() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    world.nodes[B].shards[0].appetite = 0;
    for number in 0..100 {
        world.tell((A, 0), a, &[number]);
    }
    world.idle_for(Duration::from_millis(300));
    let now = world.now();
    world.endpoint(A, 0).close(now, a, CloseCode::Shutdown);
    let sent = world.down(A, 0).sent;
    assert_eq!(
        (sent.unsent(), sent.doubtful()),
        (0, 100),
        "sent, but nobody took them in"
    );
    // Long enough for QUIC to forget the connection.
    world.idle_for(Duration::from_secs(6));
    world.nodes[B].shards[0].appetite = usize::MAX;
    for number in 0..100 {
        assert_eq!(&world.frame(B, 0).1.payload[..], [number]);
    }
    assert_eq!(
        world.down(B, 0).reason,
        closed(Party::Peer, CloseCode::Shutdown)
    );
    forgotten(&mut world, B);
}

#[test]
fn frames_that_quic_never_got_are_known_to_be_lost() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    world.nodes[B].shards[0].appetite = 0;
    let payload = vec![0; 32 << 10];
    while world
        .endpoint(A, 0)
        .send(a, &tell(), Some((&key(), 0)), bytes(&payload))
        .is_ok()
    {
        world.step();
    }
    world.idle_for(Duration::from_millis(500));
    let now = world.now();
    world.endpoint(A, 0).close(now, a, CloseCode::Shutdown);
    let sent = world.down(A, 0).sent;
    assert_eq!(sent.acknowledged, 0);
    // 4 MiB fit the peer's window; the frame at its edge is handed over in part.
    assert!((124..=132).contains(&sent.doubtful()), "{sent:?}");
    assert!(sent.unsent() >= 254, "{sent:?}");
    assert_eq!(sent.fate(0), Fate::Doubtful);
    assert_eq!(sent.fate(sent.handed - 1), Fate::Doubtful);
    assert_eq!(sent.fate(sent.handed), Fate::Unsent);
}

#[test]
fn frames_on_a_link_that_never_came_up_are_known_to_be_lost() {
    let mut world = World::empty();
    let plan = Plan::of(&world.authority, A);
    world.add(plan);
    let plan = Plan {
        placement: 1,
        ..Plan::of(&world.authority, B)
    };
    world.add(plan);
    let a = world.dial((A, 0), (B, 0));
    world.tell((A, 0), a, b"one");
    world.tell((A, 0), a, b"two");
    let sent = world.down(A, 0).sent;
    assert_eq!((sent.unsent(), sent.doubtful()), (2, 0));
    assert_eq!(world.endpoint(B, 0).counters().frames_in, 0);
}

#[test]
fn an_old_id_means_nothing_when_its_place_is_used_again() {
    let mut world = World::new(&[1, 1]);
    let (old, _) = world.link((A, 0), (B, 0));
    let now = world.now();
    world.endpoint(A, 0).close(now, old, CloseCode::Shutdown);
    world.down(A, 0);
    world.down(B, 0);
    forgotten(&mut world, A);
    forgotten(&mut world, B);
    let (new, _) = world.link((A, 0), (B, 0));
    assert_ne!(old, new);

    let now = world.now();
    let endpoint = world.endpoint(A, 0);
    endpoint.close(now, old, CloseCode::Internal);
    let sent = endpoint.send(old, &tell(), Some((&key(), 0)), bytes(b"lost"));
    assert_eq!(sent, Err(SendError::Down));
    assert_eq!(
        (endpoint.unacknowledged(old), endpoint.buffered(old)),
        (0, 0)
    );
    assert_eq!(endpoint.acknowledged(old), None, "its `Down` has told");
    world.tell((A, 0), new, b"alive");
    assert_eq!(&world.frame(B, 0).1.payload[..], b"alive");
}

#[test]
fn an_id_is_dead_from_the_moment_its_link_is_closed() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let now = world.now();
    let endpoint = world.endpoint(A, 0);
    endpoint.close(now, a, CloseCode::Shutdown);
    let sent = endpoint.send(a, &tell(), Some((&key(), 0)), bytes(b""));
    assert_eq!(sent, Err(SendError::Down));
    endpoint.close(now, a, CloseCode::Shutdown);
    world.down(A, 0);
    world.down(B, 0);
    forgotten(&mut world, A);
    assert!(world.events(A, 0).is_empty(), "down is told once");
    assert_eq!(world.endpoint(A, 0).counters().links_down, 1);
}

#[test]
fn close_all_ends_every_link_and_lets_nobody_in() {
    let mut world = World::new(&[1, 1, 1]);
    world.link((A, 0), (B, 0));
    world.link((common::C, 0), (A, 0));
    let now = world.now();
    world.endpoint(A, 0).close_all(now, CloseCode::Shutdown);
    world.dial((B, 0), (A, 0));
    forgotten(&mut world, A);
    let downs = world
        .events(A, 0)
        .drain(..)
        .filter(|e| matches!(e, Event::Down { .. }))
        .count();
    assert_eq!(downs, 2);
    assert_eq!(
        world.down(B, 0).reason,
        closed(Party::Peer, CloseCode::Shutdown)
    );
    let busy = teff_transport::Refusal::Busy;
    let refused = LinkError::Refused {
        by: Party::Peer,
        refusal: busy,
    };
    assert_eq!(world.down(B, 0).reason, refused);
    assert_eq!(
        world.down(common::C, 0).reason,
        closed(Party::Peer, CloseCode::Shutdown)
    );
}

#[test]
fn a_peer_that_vanishes_is_given_up_after_the_idle_time_and_the_patience() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    world.nodes.truncate(1);
    world.tell((A, 0), a, b"anyone?");
    let start = world.now();
    world.until("the link is down", |world| {
        world.jump(Duration::from_millis(20));
        !world.events(A, 0).is_empty()
    });
    let after = world.now() - start;
    let down = world.down(A, 0);
    assert_eq!(down.reason, LinkError::TimedOut);
    assert_eq!((down.sent.unsent(), down.sent.doubtful()), (0, 1));
    // 5 s of silence, and 5 s of attempts to reach it again.
    assert!(after > Duration::from_secs(9), "{after:?}");
    assert!(after < Duration::from_secs(12), "{after:?}");
}

#[test]
fn a_quiet_link_stays_up() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    world.idle_for(Duration::from_secs(30));
    assert!(world.events(A, 0).is_empty() && world.events(B, 0).is_empty());
    world.tell((A, 0), a, b"still there");
    world.frame(B, 0);
}

#[test]
fn a_restarted_peer_is_noticed_at_its_first_answer() {
    let mut world = World::empty();
    let plan = Plan::of(&world.authority, A);
    world.add(plan);
    // The new process has the old one's certificate, key and port, but none of its memory.
    let identity = Plan::of(&world.authority, B).identity;
    let process = |world: &World, start| Plan {
        identity: identity.clone(),
        start,
        ..Plan::of(&world.authority, B)
    };
    let plan = process(&world, 1);
    world.add(plan);
    let (a, _) = world.link((A, 0), (B, 0));
    let address = world.nodes.pop().unwrap().address;
    let plan = process(&world, 2);
    world.add_at(plan, address);

    let start = world.now();
    world.tell((A, 0), a, b"who are you?");
    let down = world.down(A, 0);
    assert_eq!(down.reason, LinkError::TargetDied);
    assert_eq!(down.sent.doubtful(), 1);
    assert!(
        world.now() - start < Duration::from_secs(4),
        "not by the idle time"
    );
    // The attempt to resume was a link at the new process.
    assert!(matches!(world.down(B, 0).reason, LinkError::Refused { .. }));
    world.link((A, 0), (B, 0));
}
