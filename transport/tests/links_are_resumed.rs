//! A broken connection between living nodes: nothing is lost, nothing comes twice, the order stays.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{A, B, Plan, World, bytes, key, tell};
use teff_transport::{Event, LinkError, LinkId, SendError};
use teff_wire::{Fingerprint, KindId, KindOffer};

/// Takes the frames that a node got; they carry the numbers from `next` on.
fn take(world: &mut World, node: usize, next: &mut u32) {
    while let Some(event) = world.events(node, 0).pop_front() {
        match event {
            Event::Frame { frame, .. } => {
                let number = u32::from_le_bytes(frame.payload[..4].try_into().unwrap());
                assert_eq!(number, *next, "at node {node}");
                *next += 1;
            }
            Event::Kinds { .. } | Event::Resumed { .. } => {}
            event => panic!("node {node} got {event:?}"),
        }
    }
}

fn send(world: &mut World, node: usize, link: LinkId, number: u32) {
    // From small ones to some that take several packets.
    let mut payload = vec![number as u8; 4 + (number as usize * 7919) % 40_000];
    payload[..4].copy_from_slice(&number.to_le_bytes());
    world.tell((node, 0), link, &payload);
}

/// Sends in both directions while `disturb` does what it does in every step.
fn survives(rounds: u32, mut disturb: impl FnMut(&mut World, u32)) -> World {
    let mut world = World::new(&[1, 1]);
    let (a, b) = world.link((A, 0), (B, 0));
    let (mut at_a, mut at_b) = (0, 0);
    for round in 0..rounds {
        send(&mut world, A, a, round);
        send(&mut world, B, b, round);
        disturb(&mut world, round);
        world.step();
        take(&mut world, A, &mut at_a);
        take(&mut world, B, &mut at_b);
    }
    world.until("everything has arrived", |world| {
        world.jump(Duration::from_millis(1));
        take(world, A, &mut at_a);
        take(world, B, &mut at_b);
        (at_a, at_b) == (rounds, rounds)
    });
    world.acknowledged((A, 0), a);
    world.acknowledged((B, 0), b);
    world
}

fn break_at(world: &mut World, node: usize) {
    let now = world.now();
    world.endpoint(node, 0).break_connections(now);
}

#[test]
fn frames_arrive_once_and_in_order_whichever_end_loses_its_connection() {
    for who in [vec![A], vec![B], vec![A, B]] {
        let mut world = survives(600, |world, round| {
            if round % 20 == 10 {
                who.iter().for_each(|&node| break_at(world, node));
            }
        });
        for node in [A, B] {
            let counters = *world.endpoint(node, 0).counters();
            assert!(counters.links_resumed >= 20, "{who:?}: {counters:?}");
            assert_eq!((counters.links_up, counters.links_down), (1, 0));
            assert_eq!(counters.frames_in, 600);
        }
    }
}

#[test]
fn a_link_that_breaks_again_before_it_is_resumed_loses_nothing() {
    survives(300, |world, round| match round % 10 {
        3 => break_at(world, A),
        4..=6 => break_at(world, if round % 2 == 0 { A } else { B }),
        _ => {}
    });
}

#[test]
fn frames_that_were_read_and_not_asked_for_are_not_sent_again() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let mut next = 0;
    for round in 0..50 {
        world.nodes[B].shards[0].appetite = 3;
        for number in 0..20 {
            send(&mut world, A, a, round * 20 + number);
        }
        world.idle_for(Duration::from_millis(30));
        break_at(&mut world, A);
        world.idle_for(Duration::from_millis(60));
        take(&mut world, B, &mut next);
    }
    world.nodes[B].shards[0].appetite = usize::MAX;
    world.until("everything has arrived", |world| {
        take(world, B, &mut next);
        next == 1000
    });
    assert_eq!(world.endpoint(B, 0).counters().frames_in, 1000);
}

#[test]
fn frames_that_were_read_before_a_break_are_acknowledged_as_they_are_taken() {
    for who in [A, B] {
        let mut world = World::new(&[1, 1]);
        let (a, _) = world.link((A, 0), (B, 0));
        world.nodes[B].shards[0].appetite = 1;
        for number in 0..500_u32 {
            world.tell((A, 0), a, &number.to_le_bytes());
        }
        let mut next = 0;
        world.until("a few have come", |world| {
            take(world, B, &mut next);
            next >= 5
        });
        break_at(&mut world, who);
        // Each step takes one frame at most, and acknowledgements are due in between.
        world.until("all have come", |world| {
            world.jump(Duration::from_millis(1));
            take(world, B, &mut next);
            let unacknowledged = world.endpoint(A, 0).unacknowledged(a);
            assert!(unacknowledged >= u64::from(500 - next), "{next} taken");
            next == 500
        });
        world.acknowledged((A, 0), a);
        let counters = *world.endpoint(B, 0).counters();
        assert_eq!((counters.frames_in, counters.links_down), (500, 0));
    }
}

#[test]
fn a_link_without_a_connection_takes_as_much_as_one_with_and_no_more() {
    let mut world = World::empty();
    for node in [A, B] {
        let plan = Plan::of(&world.authority, node).limits(|limits| limits.outbound = 1 << 20);
        world.add(plan);
    }
    let (a, _) = world.link((A, 0), (B, 0));
    break_at(&mut world, A);
    let payload = vec![0; 64 << 10];
    let mut taken = 0;
    loop {
        let sent = world
            .endpoint(A, 0)
            .send(a, &tell(), Some((&key(), 0)), bytes(&payload));
        match sent {
            Ok(_) => taken += 1,
            Err(error) => {
                assert_eq!(error, SendError::Busy);
                break;
            }
        }
    }
    assert!((15..=17).contains(&taken), "{taken}");
    for _ in 0..taken {
        world.until("a frame", |world| {
            world.jump(Duration::from_millis(1));
            matches!(world.events(B, 0).pop_front(), Some(Event::Frame { .. }))
        });
    }
    world.acknowledged((A, 0), a);
    world.tell((A, 0), a, b"there is room again");
}

#[test]
fn what_is_retained_for_a_peer_that_does_not_read_is_bounded() {
    let mut world = World::empty();
    for node in [A, B] {
        let plan = Plan::of(&world.authority, node).limits(|limits| limits.retained = 256 << 10);
        world.add(plan);
    }
    let (a, _) = world.link((A, 0), (B, 0));
    world.nodes[B].shards[0].appetite = 0;
    let payload = vec![0; 1 << 10];
    let mut taken = 0;
    // QUIC would take 4 MiB from it.
    while world
        .endpoint(A, 0)
        .send(a, &tell(), Some((&key(), 0)), bytes(&payload))
        .is_ok()
    {
        taken += 1;
        world.step();
    }
    // Each was handed over alone, and counts for more than twice its length.
    assert!((100..200).contains(&taken), "{taken}");
    world.nodes[B].shards[0].appetite = usize::MAX;
    world.acknowledged((A, 0), a);
    world.tell((A, 0), a, b"there is room again");
}

#[test]
fn kinds_that_were_announced_meanwhile_are_known_when_the_link_goes_on() {
    let mut world = World::new(&[1, 1]);
    world.link((A, 0), (B, 0));
    let kind = KindOffer {
        kind: KindId::of("late"),
        fingerprint: Fingerprint(1),
        name: "late".to_owned(),
    };
    break_at(&mut world, B);
    let offers = std::slice::from_ref(&kind);
    world.endpoint(B, 0).announce_kinds(offers).unwrap();
    break_at(&mut world, A);
    world.until("the kind is known", |world| {
        world.jump(Duration::from_millis(1));
        world.events(A, 0).pop_front().is_some_and(
            |event| matches!(event, Event::Kinds { kinds, .. } if kinds == [kind.clone()]),
        )
    });
}

#[test]
fn a_link_that_was_given_up_at_one_end_is_not_resumed_by_the_other() {
    let mut world = World::empty();
    for (node, patience) in [(A, 20), (B, 1)] {
        let plan = Plan::of(&world.authority, node)
            .limits(|limits| limits.resume = Duration::from_secs(patience));
        world.add(plan);
    }
    let (a, b) = world.link((A, 0), (B, 0));
    // Only the acceptor notices; the dialler has nothing to send for a while.
    break_at(&mut world, B);
    world.jump(Duration::from_millis(1100));
    let now = world.now();
    world.endpoint(B, 0).handle_timeout(now);
    let number = world.tell((A, 0), a, b"still there?");
    let down = world.down(B, 0);
    assert_eq!((down.link, &down.reason), (b, &LinkError::Reset));
    let down = world.down(A, 0);
    assert_eq!(down.sent.written, number + 1);
    assert!(
        matches!(down.reason, LinkError::Refused { .. }),
        "{:?}",
        down.reason
    );
    // The attempt itself was a link at that end.
    assert!(matches!(world.down(B, 0).reason, LinkError::Refused { .. }));
    world.link((A, 0), (B, 0));
}
