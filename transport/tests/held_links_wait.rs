//! A link that is held: its frames wait, all else goes on, and nothing is lost for it.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{A, B, World};
use teff_transport::{Event, LinkId, SendError};

const FRAMES: u32 = 2000;

/// Takes the frames that a node got on a link; they carry the numbers from `next` on.
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

fn send_all(world: &mut World, node: usize, link: LinkId) {
    for number in 0..FRAMES {
        world.tell((node, 0), link, &number.to_le_bytes());
    }
}

/// A link of which B has taken one frame of many and holds the rest.
fn held() -> (World, LinkId, LinkId) {
    let mut world = World::new(&[1, 1]);
    let (a, b) = world.link((A, 0), (B, 0));
    send_all(&mut world, A, a);
    world.nodes[B].shards[0].appetite = 1;
    let mut next = 0;
    world.until("the first frame", |world| {
        take(world, B, &mut next);
        next == 1
    });
    world.endpoint(B, 0).hold(b);
    world.nodes[B].shards[0].appetite = usize::MAX;
    world.idle_for(Duration::from_millis(50));
    take(&mut world, B, &mut next);
    assert_eq!(next, 1, "frames of a held link wait");
    (world, a, b)
}

fn all_come(world: &mut World, b: LinkId) {
    world.endpoint(B, 0).let_go(b);
    let mut next = 1;
    world.until("the rest", |world| {
        world.jump(Duration::from_millis(1));
        take(world, B, &mut next);
        next == FRAMES
    });
}

#[test]
fn frames_of_a_held_link_come_in_order_when_it_is_let_go() {
    let (mut world, a, b) = held();
    assert_eq!(
        world.endpoint(A, 0).unacknowledged(a),
        u64::from(FRAMES) - 1,
        "what is held is not acknowledged"
    );
    all_come(&mut world, b);
    world.acknowledged((A, 0), a);
}

#[test]
fn a_held_link_goes_on_sending_and_hears_acknowledgements() {
    let (mut world, _, b) = held();
    send_all(&mut world, B, b);
    let mut at_a = 0;
    world.until("the other way", |world| {
        take(world, A, &mut at_a);
        at_a == FRAMES
    });
    world.acknowledged((B, 0), b);
    all_come(&mut world, b);
}

#[test]
fn other_links_of_the_shard_are_read_meanwhile() {
    let (mut world, _, b) = held();
    let (other, _) = world.link((A, 0), (B, 0));
    for number in 0..100_u32 {
        world.tell((A, 0), other, &number.to_le_bytes());
    }
    let mut next = 0;
    world.until("the other link's frames", |world| {
        take(world, B, &mut next);
        next == 100
    });
    all_come(&mut world, b);
}

#[test]
fn a_held_link_that_breaks_is_resumed_and_stays_held() {
    for who in [A, B] {
        let (mut world, a, b) = held();
        let now = world.now();
        world.endpoint(who, 0).break_connections(now);
        world.idle_for(Duration::from_millis(200));
        assert_eq!(world.endpoint(A, 0).counters().links_resumed, 1);
        let mut next = 1;
        take(&mut world, B, &mut next);
        assert_eq!(next, 1, "it is held over another connection as well");
        all_come(&mut world, b);
        world.acknowledged((A, 0), a);
        assert_eq!(world.endpoint(B, 0).counters().frames_in, u64::from(FRAMES));
    }
}

#[test]
fn a_peer_cannot_send_without_end_to_a_held_link() {
    let (mut world, a, b) = held();
    let payload = vec![0; 60_000];
    let mut taken = 0;
    let busy = (0..10_000).any(|_| {
        world.step();
        let header = common::tell();
        let grain = common::key();
        let sent =
            world
                .endpoint(A, 0)
                .send(a, &header, Some((&grain, 0)), common::bytes(&payload));
        taken += usize::from(sent.is_ok());
        matches!(sent, Err(SendError::Busy))
    });
    assert!(busy, "{taken} frames of 60 kB found room");
    world.endpoint(B, 0).let_go(b);
    let mut come = 0;
    world.until("all of them", |world| {
        come += world.events(B, 0).drain(..).count();
        come == taken + FRAMES as usize - 1
    });
}
