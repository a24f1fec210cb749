//! Frames: whatever size, whichever direction, each once and in order, with bounded memory.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{A, B, Plan, World, bytes, key, tell};
use teff_transport::{Event, LinkId, SendError};
use teff_wire::{Fingerprint, KindId, KindOffer};

/// Sends `count` numbered frames both ways at once and checks what arrives.
fn exchange(world: &mut World, (a, b): (LinkId, LinkId), count: u64, len: usize) {
    let mut sent = [0; 2];
    let mut received = [0; 2];
    let links = [a, b];
    let mut payload = vec![0; len.max(8)];
    world.until("all frames", |world| {
        for node in [A, B] {
            while sent[node] < count {
                payload[..8].copy_from_slice(&u64::to_le_bytes(sent[node]));
                let endpoint = world.endpoint(node, 0);
                match endpoint.send(links[node], &tell(), Some((&key(), 0)), bytes(&payload)) {
                    Ok(number) => assert_eq!(number, sent[node]),
                    Err(SendError::Busy) => break,
                    Err(error) => panic!("{error}"),
                }
                sent[node] += 1;
            }
            while let Some(event) = world.events(node, 0).pop_front() {
                let Event::Frame { link, frame } = event else {
                    panic!("{event:?}")
                };
                assert_eq!(link, links[node]);
                assert_eq!(frame.payload.len(), payload.len());
                let number = u64::from_le_bytes(*frame.payload.first_chunk().unwrap());
                assert_eq!(number, received[node], "once and in order");
                received[node] += 1;
            }
        }
        received == [count; 2]
    });
    world.acknowledged((A, 0), a);
    world.acknowledged((B, 0), b);
}

#[test]
fn a_hundred_thousand_small_frames_both_ways() {
    let mut world = World::new(&[1, 1]);
    let links = world.link((A, 0), (B, 0));
    exchange(&mut world, links, 100_000, 16);
    let (sent, received) = (
        *world.endpoint(A, 0).counters(),
        *world.endpoint(B, 0).counters(),
    );
    assert_eq!((sent.frames_out, received.frames_in), (100_000, 100_000));
    assert_eq!((sent.garbage, sent.misrouted, sent.panics), (0, 0, 0));
}

#[test]
fn large_payloads_arrive_whole_and_leave_order_alone() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    // The longest comes last: behind it the link is busy.
    let sizes = [1 << 20, 3, 70_000, 0, 16 << 20];
    for (byte, size) in (1..).zip(sizes) {
        world.tell((A, 0), a, &vec![byte; size]);
    }
    for (byte, size) in (1_u8..).zip(sizes) {
        let (_, frame) = world.frame(B, 0);
        assert_eq!(frame.payload.len(), size);
        assert!(frame.payload.iter().all(|b| *b == byte));
        assert_eq!(frame.grain.map(|grain| grain.key), Some(key()));
        assert_eq!(frame.header, tell());
    }
    world.acknowledged((A, 0), a);
}

#[test]
fn a_payload_above_the_limit_is_refused_and_leaves_no_trace() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let large = vec![0; (16 << 20) + 1];
    let refused = world
        .endpoint(A, 0)
        .send(a, &tell(), Some((&key(), 0)), bytes(&large));
    assert_eq!(
        refused,
        Err(SendError::TooLarge {
            len: large.len(),
            limit: 16 << 20
        })
    );
    let failed = world
        .endpoint(A, 0)
        .send(a, &tell(), Some((&key(), 0)), |out| {
            out.extend_from_slice(b"half");
            Err("no more")
        });
    assert_eq!(failed, Err(SendError::Payload("no more")));
    assert_eq!(world.tell((A, 0), a, b"fine"), 0, "neither was counted");
    assert_eq!(&world.frame(B, 0).1.payload[..], b"fine");
}

#[test]
fn a_full_outbound_buffer_is_busy_until_the_peer_reads() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    world.nodes[B].shards[0].appetite = 0;
    let payload = vec![7; 64 << 10];
    let mut accepted = 0_u64;
    // The peer takes nothing: the windows of QUIC fill up (4 MiB), then the buffer (8 MiB).
    let mut busy_steps = 0;
    world.until("a link that stays busy", |world| {
        while world
            .endpoint(A, 0)
            .send(a, &tell(), Some((&key(), 0)), bytes(&payload))
            .is_ok()
        {
            accepted += 1;
            busy_steps = 0;
        }
        world.jump(Duration::from_millis(1));
        busy_steps += 1;
        busy_steps > 200
    });
    let waiting = accepted * payload.len() as u64;
    assert!(
        (12 << 20..16 << 20).contains(&waiting),
        "{waiting} bytes were accepted"
    );
    assert!(world.endpoint(A, 0).buffered(a) >= 8 << 20);
    assert_eq!(world.endpoint(A, 0).unacknowledged(a), accepted);

    world.nodes[B].shards[0].appetite = usize::MAX;
    for _ in 0..accepted {
        assert_eq!(world.frame(B, 0).1.payload.len(), payload.len());
    }
    world.acknowledged((A, 0), a);
    world.tell((A, 0), a, b"room again");
    assert_eq!(&world.frame(B, 0).1.payload[..], b"room again");
}

#[test]
fn frames_sent_before_the_link_is_up_wait_for_it() {
    let mut world = World::new(&[1, 1]);
    let a = world.dial((A, 0), (B, 0));
    for number in 0..10 {
        assert_eq!(world.tell((A, 0), a, &[number]), u64::from(number));
    }
    world.up(B, 0);
    for number in 0..10 {
        assert_eq!(&world.frame(B, 0).1.payload[..], [number]);
    }
    world.acknowledged((A, 0), a);
}

#[test]
fn a_busy_link_does_not_starve_another() {
    let mut world = World::new(&[1, 1, 1]);
    let (busy, _) = world.link((A, 0), (B, 0));
    let (quiet, at_b) = world.link((common::C, 0), (B, 0));
    world.nodes[B].shards[0].appetite = 0;
    for _ in 0..64 {
        world.tell((A, 0), busy, &[0; 16 << 10]);
    }
    world.idle_for(Duration::from_millis(200));
    world.tell((common::C, 0), quiet, b"me too");
    world.idle_for(Duration::from_millis(200));
    // Both are readable now; 1 MiB waits on one of them. The other gets its turn after 64 KiB.
    world.nodes[B].shards[0].appetite = 6;
    world.step();
    let ahead = world
        .events(B, 0)
        .iter()
        .position(|event| matches!(event, Event::Frame { link, .. } if *link == at_b));
    assert!(
        ahead.is_some_and(|ahead| ahead <= 5),
        "{ahead:?} frames came first"
    );
}

#[test]
fn quiet_links_are_acknowledged_after_a_millisecond() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    world.tell((A, 0), a, b"one");
    world.frame(B, 0);
    assert_eq!(world.endpoint(A, 0).unacknowledged(a), 1);
    let due = world
        .endpoint(B, 0)
        .poll_timeout()
        .expect("the acknowledgement is due");
    assert!(due <= world.now() + Duration::from_millis(1));
    world.acknowledged((A, 0), a);
}

#[test]
fn kinds_are_told_in_the_hello_and_whenever_they_change() {
    let offer = |name: &str| KindOffer {
        kind: KindId::of(name),
        fingerprint: Fingerprint(9),
        name: name.to_owned(),
    };
    let mut world = World::empty();
    let first = vec![offer("first")];
    let plan = Plan {
        kinds: first.clone(),
        ..Plan::of(&world.authority, A)
    };
    world.add(plan);
    let plan = Plan::of(&world.authority, B);
    world.add(plan);
    world.dial((A, 0), (B, 0));
    // While the link is coming up: the hello is written already.
    let second = vec![offer("first"), offer("second")];
    world.endpoint(A, 0).announce_kinds(&second).unwrap();
    world.up(A, 0);
    assert_eq!(world.up(B, 0).1.kinds, first);
    assert_eq!(world.kinds(B, 0), second);
    // While it is up.
    world.endpoint(B, 0).announce_kinds(&first).unwrap();
    assert_eq!(world.kinds(A, 0), first);
    // Twice the same kind is refused here, not at the peers.
    let twice = vec![offer("x"), offer("x")];
    assert!(world.endpoint(A, 0).announce_kinds(&twice).is_err());
    // Links to come know it from the start.
    world.dial((A, 0), (B, 0));
    world.up(A, 0);
    assert_eq!(world.up(B, 0).1.kinds, second);
}
