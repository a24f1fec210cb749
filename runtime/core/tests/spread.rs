//! Grains spread evenly over the members, and only those move that must.

use std::collections::BTreeMap;

use teff_core::{GrainHash, Member, Owner, PlacementKey, View};
use teff_wire::{Epoch, GrainId, Key, KindId, NodeId};

const ROOM: KindId = KindId::of("room");

/// Hashes of a quarter of a million grains with names as people give them.
fn grains() -> Vec<GrainHash> {
    let key = PlacementKey::new(*b"sixteen bytes ok");
    (0..250_000)
        .map(|n| key.hash(&GrainId::new(ROOM, key_of(n))))
        .collect()
}

fn key_of(n: u32) -> Key {
    Key::new(format!("room-{n}")).expect("a short key")
}

fn view(members: impl IntoIterator<Item = (u16, f64)>) -> View {
    let members = members.into_iter().map(|(node, weight)| Member {
        weight,
        ..Member::new(NodeId(node), ([127, 0, 0, 1], 4_000 + node).into(), 1)
    });
    View::new(Epoch(1), members.collect()).expect("sound members")
}

fn counts(view: &View, grains: &[GrainHash]) -> BTreeMap<Owner, usize> {
    let mut counts = BTreeMap::new();
    for &hash in grains {
        *counts
            .entry(view.place(ROOM, hash).expect("an owner"))
            .or_default() += 1;
    }
    counts
}

/// The fullest member over the mean. With 2^14 partitions drawn on their own the share of one of
/// n members deviates by `sqrt(n - 1) / 128`, 2.1 % at 8 members, and its grains by another 0.5 %.
/// So 5 % is what the numbers below show for clusters numbered from 1, as most are; for any ids it
/// is promised up to 3 members, and what is promised beyond (4.5 deviations) is asserted in
/// `placement/tests.rs`.
#[test]
fn the_fullest_member_holds_at_most_5_percent_more_than_the_mean() {
    let grains = grains();
    for members in 2..=8_u16 {
        let counts = counts(&view((1..=members).map(|node| (node, 1.0))), &grains);
        assert_eq!(counts.len(), usize::from(members));
        let max = *counts.values().max().unwrap() as f64;
        let spread = max / (grains.len() as f64 / f64::from(members));
        println!("{members} members: {spread:.3}");
        assert!(spread <= 1.05, "{members} members: {spread:.3}");
    }
}

#[test]
fn members_hold_grains_by_weight() {
    let grains = grains();
    let weights = [(1, 1.0), (2, 2.0), (3, 0.5), (4, 4.5)];
    let counts = counts(&view(weights), &grains);
    for ((node, weight), (owner, count)) in weights.into_iter().zip(counts) {
        assert_eq!(owner.node, NodeId(node));
        let expected = grains.len() as f64 * weight / 8.0;
        let off = (count as f64 / expected - 1.0).abs();
        // The smallest share, one sixteenth, deviates by 3.0 % and its grains by another 0.8 %.
        let bound = if weight < 1.0 { 0.10 } else { 0.06 };
        assert!(
            off <= bound,
            "node {node} of weight {weight}: {:.1} % off",
            off * 100.0
        );
    }
}

#[test]
fn grains_move_only_to_a_member_that_comes_and_from_one_that_goes() {
    let grains = grains();
    let before = view((1..=4).map(|node| (node, 1.0)));
    let after = view((1..=5).map(|node| (node, 1.0)));
    let mut moved = 0;
    for &hash in &grains {
        let (old, new) = (
            before.place(ROOM, hash).unwrap(),
            after.place(ROOM, hash).unwrap(),
        );
        if old != new {
            assert_eq!(new.node, NodeId(5));
            moved += 1;
        }
    }
    let part = f64::from(moved) / grains.len() as f64;
    assert!(
        (part - 0.2).abs() <= 0.015,
        "{part:.3} of all grains moved, a fifth had to"
    );
}
