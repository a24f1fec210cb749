//! What a link takes of the heap: little at rest, and under load no more than its limits say.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use allocation_counter::measure;
use common::{A, B, Plan, World, bytes, key, tell};
use teff_transport::{Limits, LinkId};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn world(change: impl Fn(&mut Limits)) -> World {
    let mut world = World::empty();
    for node in [A, B] {
        let plan = Plan::of(&world.authority, node).limits(|limits| change(limits));
        world.add(plan);
    }
    world
}

/// Bytes of the heap that one end of a link takes on which nothing happens any more, after so many
/// messages of 1000 bytes.
fn at_rest(messages: usize) -> usize {
    const LINKS: usize = 60;
    let mut world = world(|limits| limits.links_per_pair = LINKS + 1);
    // What an endpoint takes once, it has taken.
    let (first, _) = world.link((A, 0), (B, 0));
    world.tell((A, 0), first, &[7; 1000]);
    world.frame(B, 0);
    let taken = measure(|| {
        for _ in 0..LINKS {
            let (link, _) = world.link((A, 0), (B, 0));
            for _ in 0..messages {
                world.tell((A, 0), link, &[7; 1000]);
                world.frame(B, 0);
            }
            world.acknowledged((A, 0), link);
        }
        world.idle_for(Duration::from_secs(3));
    });
    usize::try_from(taken.bytes_current).unwrap() / LINKS / 2
}

/// Sends payloads of these sizes in turns until no more are taken. Whether any was.
fn fill(world: &mut World, link: LinkId, payloads: &[Vec<u8>]) -> bool {
    let mut any = false;
    let endpoint = world.endpoint(A, 0);
    let mut turns = payloads.iter().cycle();
    while endpoint
        .send(
            link,
            &tell(),
            Some((&key(), 0)),
            bytes(turns.next().unwrap()),
        )
        .is_ok()
    {
        any = true;
    }
    any
}

/// The most bytes that both ends of a link take together while one sends and the other does not
/// read.
fn under_load(limits: impl Fn(&mut Limits), sizes: &[usize]) -> usize {
    let mut world = world(limits);
    let (link, _) = world.link((A, 0), (B, 0));
    world.nodes[B].shards[0].appetite = 0;
    let payloads: Vec<_> = sizes.iter().map(|&size| vec![7; size]).collect();
    let taken = measure(|| {
        let mut quiet = 0;
        while quiet < 100 {
            quiet = if fill(&mut world, link, &payloads) {
                0
            } else {
                quiet + 1
            };
            world.step();
            world.jump(Duration::from_millis(1));
        }
    });
    usize::try_from(taken.bytes_max).unwrap()
}

#[test]
fn a_link_at_rest_takes_little() {
    let (fresh, used) = (at_rest(0), at_rest(100));
    println!("fresh {fresh} B, used {used} B");
    assert!(fresh < 40 * KIB, "{fresh} B");
    assert!(used < 44 * KIB, "{used} B");
}

#[test]
fn a_link_under_load_takes_no_more_than_its_limits_say() {
    let small = |limits: &mut Limits| {
        limits.outbound = MIB;
        limits.retained = 2 * MIB;
        limits.large = 2 * MIB;
        limits.send_window = MIB as u32;
        limits.stream_window = MIB as u32;
        limits.receive_window = 2 * MIB as u32;
    };
    let mut limits = Limits::default();
    small(&mut limits);
    // As in the crate's documentation, for both ends.
    let bound = 4 * (limits.outbound + limits.retained)
        + 2 * (limits.large + limits.receive_window as usize)
        + MIB;
    let mixed = [10, 100_000, 1000, 30_000, 60_000, 0, 300_000];
    for sizes in [&[0][..], &[100], &[1000], &[33_000], &[100_000], &mixed] {
        let taken = under_load(small, sizes);
        println!("{sizes:?}: {} KiB of {}", taken / KIB, bound / KIB);
        assert!(taken <= bound, "{sizes:?}: {taken} B of {bound} B");
        assert!(taken >= limits.outbound, "{sizes:?}: there is no load");
    }
}
