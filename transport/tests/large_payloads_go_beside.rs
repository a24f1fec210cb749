//! Large payloads: nothing for others waits behind them, and everything for the same grain does.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{A, B, World, bytes, hash, tell};
use teff_transport::{Event, LinkId, SendError};
use teff_wire::{Frame, Header, Key, Status};

const LARGE: usize = 8 << 20;

/// What is sent while connections break, and after how many that have arrived they do.
const COUNT: usize = 250;
const SIZE: usize = 200_000;
const BREAK_EVERY: usize = 40;

fn send(world: &mut World, link: LinkId, grain: &str, payload: &[u8]) {
    let key = Key::new(grain).unwrap();
    let to = Some((&key, hash(&key)));
    let sent = world.endpoint(A, 0).send(link, &tell(), to, bytes(payload));
    sent.unwrap();
}

fn frames(world: &mut World) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(event) = world.events(B, 0).pop_front() {
        match event {
            Event::Frame { frame, .. } => frames.push(frame),
            Event::Kinds { .. } | Event::Resumed { .. } => {}
            event => panic!("{event:?}"),
        }
    }
    frames
}

fn arrived(world: &mut World, count: usize) -> Vec<(String, usize, u8)> {
    let mut got = Vec::new();
    world.until("all frames", |world| {
        world.jump(Duration::from_micros(100));
        got.extend(frames(world).into_iter().map(|frame| {
            let grain = frame.grain.unwrap().key.as_str().to_owned();
            assert!(frame.detached.is_none());
            assert!(frame.payload.iter().all(|byte| *byte == frame.payload[0]));
            (grain, frame.payload.len(), frame.payload[0])
        }));
        got.len() >= count
    });
    got
}

#[test]
fn small_messages_to_other_grains_overtake_a_large_one() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    send(&mut world, a, "slow", &vec![1; LARGE]);
    for number in 0..100 {
        send(&mut world, a, "quick", &[number]);
    }
    let got = arrived(&mut world, 101);
    let place = got.iter().position(|(grain, ..)| grain == "slow").unwrap();
    assert_eq!(place, 100, "the large one was last");
    assert_eq!(got[place], ("slow".to_owned(), LARGE, 1));
    let quick: Vec<u8> = got[..100].iter().map(|(_, _, first)| *first).collect();
    assert_eq!(quick, (0..100).collect::<Vec<_>>());
    world.acknowledged((A, 0), a);
}

#[test]
fn messages_to_the_same_grain_wait_for_a_large_one() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let sizes = [1, LARGE, 1, 70_000, 2, 100_000, LARGE, 3];
    for (number, size) in sizes.into_iter().enumerate() {
        send(&mut world, a, "one", &vec![number as u8; size]);
    }
    let got = arrived(&mut world, sizes.len());
    let order: Vec<(usize, u8)> = got.iter().map(|(_, len, first)| (*len, *first)).collect();
    let expected: Vec<(usize, u8)> = sizes.into_iter().zip(0..).collect();
    assert_eq!(order, expected);
    world.acknowledged((A, 0), a);
    assert_eq!(world.endpoint(A, 0).buffered(a), 0);
}

#[test]
fn replies_wait_for_nobody() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let reply = |number| {
        let mut header = Header::reply(teff_wire::CallId::from_u64(number), Status::Ok);
        header.number = number;
        header
    };
    let endpoint = world.endpoint(A, 0);
    let large = vec![1; LARGE];
    endpoint.send(a, &reply(1), None, bytes(&large)).unwrap();
    endpoint.send(a, &reply(2), None, bytes(b"small")).unwrap();
    let mut got = Vec::new();
    world.until("both replies", |world| {
        got.extend(
            frames(world)
                .into_iter()
                .map(|f| (f.header.number, f.payload.len())),
        );
        got.len() == 2
    });
    assert_eq!(got, [(2, 5), (1, LARGE)]);
}

#[test]
fn large_payloads_survive_broken_connections_whole_and_once() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let (mut got, mut sent) = (Vec::new(), 0_u8);
    let start = Instant::now();
    let mut breaks = 0;
    while got.len() < COUNT {
        let time = start.elapsed();
        assert!(time < Duration::from_secs(60), "{} of {sent}", got.len());
        if usize::from(sent) < COUNT && world.endpoint(A, 0).buffered(a) < 1 << 20 {
            let grain = ["even", "odd"][usize::from(sent % 2)];
            let size = if sent.is_multiple_of(5) { 10 } else { SIZE };
            send(&mut world, a, grain, &vec![sent; size]);
            sent += 1;
        }
        if got.len() > BREAK_EVERY * (breaks + 1) {
            breaks += 1;
            let (now, who) = (world.now(), [A, B][breaks % 2]);
            world.endpoint(who, 0).break_connections(now);
        }
        world.step();
        got.extend(
            frames(&mut world)
                .into_iter()
                .map(|f| (f.payload[0], f.payload.len())),
        );
    }
    let counters = *world.endpoint(A, 0).counters();
    assert_eq!((breaks, counters.links_broken), (6, 6));
    for parity in 0..2 {
        let of: Vec<u8> = got
            .iter()
            .map(|g| g.0)
            .filter(|n| n % 2 == parity)
            .collect();
        assert!(of.is_sorted() && of.len() == COUNT / 2, "{of:?}");
    }
    for (number, size) in got {
        let expected = if number.is_multiple_of(5) { 10 } else { SIZE };
        assert_eq!(size, expected);
    }
    world.acknowledged((A, 0), a);
}

#[test]
fn what_is_larger_than_allowed_is_refused_where_it_is_sent() {
    let mut world = World::new(&[1, 1]);
    let (a, _) = world.link((A, 0), (B, 0));
    let key = common::key();
    let payload = vec![0; (16 << 20) + 1];
    let sent = world
        .endpoint(A, 0)
        .send(a, &tell(), Some((&key, 1)), bytes(&payload));
    assert!(matches!(sent, Err(SendError::TooLarge { .. })), "{sent:?}");
}
