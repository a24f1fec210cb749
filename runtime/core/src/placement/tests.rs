//! The table of owners: golden values, least movement, spread, weights.

use proptest::collection::btree_map;
use proptest::prelude::*;

use super::*;

fn owner(node: u16, shard: u16) -> Owner {
    Owner {
        node: NodeId(node),
        shard: ShardId(shard),
    }
}

fn candidate(node: u16, shard: u16, weight: f64) -> Candidate {
    Candidate {
        owner: owner(node, shard),
        weight,
    }
}

fn table(candidates: &[Candidate]) -> Table {
    Table::new(candidates.to_vec()).expect("there are candidates")
}

fn partitions() -> impl Iterator<Item = Partition> {
    (0..PARTITIONS as u16).map(Partition)
}

/// How many partitions each owner has, in the order of the owners.
fn counts(table: &Table) -> Vec<usize> {
    let mut counts = vec![0; table.owners().len()];
    for partition in partitions() {
        let place = table
            .owners()
            .binary_search(&table.owner_of_partition(partition))
            .unwrap();
        counts[place] += 1;
    }
    counts
}

/// Nodes of different weight and number of shards, the ids not in order.
fn uneven() -> Vec<Candidate> {
    vec![
        candidate(300, 0, 0.5 / 3.0),
        candidate(300, 1, 0.5 / 3.0),
        candidate(300, 2, 0.5 / 3.0),
        candidate(1, 0, 0.5),
        candidate(1, 1, 0.5),
        candidate(2, 0, 2.0),
    ]
}

/// The expected values come from another implementation, written for this test in Python: with
/// its own SipHash, the logarithm of the C library and no groups of equal weight.
#[test]
fn tables_never_change() {
    let table = table(&uneven());
    let start: Vec<usize> = partitions()
        .take(24)
        .map(|partition| {
            table
                .owners()
                .binary_search(&table.owner_of_partition(partition))
        })
        .map(Result::unwrap)
        .collect();
    let expected = [
        3, 1, 0, 1, 2, 2, 2, 1, 5, 0, 0, 1, 2, 2, 5, 2, 2, 2, 0, 5, 2, 2, 2, 2,
    ];
    assert_eq!(start, expected);
    assert_eq!(counts(&table), [2271, 2432, 9355, 780, 760, 786]);

    // FNV-1a over all owners.
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for partition in partitions() {
        let Owner { node, shard } = table.owner_of_partition(partition);
        for byte in [node.0.to_le_bytes(), shard.0.to_le_bytes()].concat() {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    assert_eq!(digest, 0xf57e_7d73_78ce_3bc6);
}

#[test]
fn nobody_owns_nothing() {
    assert!(Table::new(Vec::new()).is_none());
}

#[test]
fn draws_at_the_edges_have_finite_scores() {
    for weight in [1e-6 / 256.0, 1.0, 1e6] {
        let scores = [0, 1 << 12, u64::MAX / 2, u64::MAX].map(|drawn| score(weight, drawn));
        assert!(
            scores.iter().all(|score| score.is_finite() && *score > 0.0),
            "{scores:?}"
        );
        assert!(scores.is_sorted_by(|a, b| a < b), "{scores:?}");
    }
}

/// The share of an owner is binomial, because each partition is drawn on its own: n = 2^14 and p
/// = its part of the weight. A bound of 4.5 standard deviations is missed by a sound hash in one
/// of 150 000 shares; this test looks at 166, always the same.
///
/// The 5 % that the design asks for are 4.5 deviations only up to 3 equal owners (6.4 at 2, 4.5 at
/// 3, 2.4 at 8), so for more, no hash of independent draws can promise it; see
/// `tests/spread.rs` for the members of real clusters.
#[test]
fn shares_are_as_even_as_independent_draws_can_be() {
    let n = PARTITIONS as f64;
    for owners in [2, 3, 4, 5, 6, 7, 8, 16, 32_u16] {
        for first in [0, 1_000] {
            let candidates: Vec<_> = (0..owners).map(|i| candidate(first + i, 0, 1.0)).collect();
            let p = 1.0 / f64::from(owners);
            let bound = 4.5 * (n * p * (1.0 - p)).sqrt();
            for count in counts(&table(&candidates)) {
                assert!(
                    (count as f64 - n * p).abs() <= bound,
                    "{count} of {owners} from {first}"
                );
            }
        }
    }
}

#[test]
fn weights_are_respected() {
    let candidates: Vec<_> = [1.0, 2.0, 3.0, 4.0]
        .iter()
        .zip(1..)
        .map(|(&w, id)| candidate(id, 0, w))
        .collect();
    let n = PARTITIONS as f64;
    for (candidate, count) in candidates.iter().zip(counts(&table(&candidates))) {
        let p = candidate.weight / 10.0;
        let deviation = (n * p * (1.0 - p)).sqrt();
        assert!(
            (count as f64 - n * p).abs() <= 4.5 * deviation,
            "{candidate:?}: {count}"
        );
    }
    // Only ratios count. Powers of two, so that scores scale exactly.
    let scaled: Vec<_> = candidates
        .iter()
        .map(|c| Candidate {
            weight: c.weight * 1024.0,
            ..*c
        })
        .collect();
    assert_eq!(table(&candidates).entries, table(&scaled).entries);
}

fn clusters() -> impl Strategy<Value = Vec<Candidate>> {
    let weight = prop_oneof![Just(1.0), Just(0.25), 1e-3..1e3_f64];
    btree_map((0_u16..20, 0_u16..4), weight, 1..12).prop_map(|shards| {
        shards
            .into_iter()
            .map(|((node, shard), w)| candidate(node, shard, w))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_candidates_does_not_matter(
        (sorted, shuffled) in
            clusters().prop_flat_map(|c| (Just(c.clone()), Just(c).prop_shuffle()))
    ) {
        let (a, b) = (table(&sorted), table(&shuffled));
        prop_assert_eq!(a.owners(), b.owners());
        prop_assert_eq!(&a.entries, &b.entries);
    }

    /// Read from large to small it is the same about a shard that goes.
    #[test]
    fn a_shard_that_comes_takes_partitions_and_moves_no_other(
        (all, newcomer) in clusters().prop_flat_map(|c| { let n = c.len(); (Just(c), 0..n) })
    ) {
        let mut before = all.clone();
        let newcomer = before.remove(newcomer).owner;
        let after = table(&all);
        prop_assume!(!before.is_empty());
        let before = table(&before);
        for partition in partitions() {
            let old = before.owner_of_partition(partition);
            let new = after.owner_of_partition(partition);
            prop_assert!(new == old || new == newcomer, "{:?}: {:?} to {:?}", partition, old, new);
        }
    }

    #[test]
    fn more_weight_never_takes_a_partition_away(
        (all, chosen) in clusters().prop_flat_map(|c| { let n = c.len(); (Just(c), 0..n) }),
        factor in 1.0..8.0_f64
    ) {
        let before = table(&all);
        let mut heavier = all;
        heavier[chosen].weight *= factor;
        let chosen = heavier[chosen].owner;
        let after = table(&heavier);
        for partition in partitions() {
            let old = before.owner_of_partition(partition);
            let new = after.owner_of_partition(partition);
            prop_assert!(new == old || new == chosen);
        }
    }

    /// The groups of equal weight are only a short cut.
    #[test]
    fn the_winner_has_the_highest_score_of_all(all in clusters()) {
        let table = table(&all);
        for partition in partitions().step_by(97) {
            let scored = |c: &Candidate| score(c.weight, draw(partition.0, c.owner));
            let best = all.iter().map(scored).fold(0.0, f64::max);
            let owner = table.owner_of_partition(partition);
            let winner = all.iter().find(|c| c.owner == owner).unwrap();
            prop_assert_eq!(scored(winner), best);
        }
    }
}
