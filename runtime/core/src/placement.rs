//! Which shard owns which partition: weighted rendezvous hashing over (node, shard).
//!
//! For every partition each shard draws a number from a hash of (partition, node, shard); the
//! best draw, scaled by weight, owns the partition. A draw depends on nothing but these three, so
//! when a shard comes or goes, only partitions that it wins or held move: the minimum possible.
//! Every node computes the same [`Table`] from the same candidates, in whatever order.
//!
//! The draw is public (a fixed key): knowing who owns a partition helps nobody to find grains in
//! it, because the way from a grain to its partition is keyed ([`PlacementKey`]).
//!
//! [`PlacementKey`]: crate::PlacementKey

use std::cmp::Ordering;

use siphasher::sip::SipHasher13;
use teff_wire::{NodeId, ShardId};

use crate::hash::{GrainHash, PARTITIONS, Partition};

/// The shard that owns a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The node.
    pub node: NodeId,
    /// The shard of that node.
    pub shard: ShardId,
}

/// A shard that may own partitions, and its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) owner: Owner,
    /// Positive and finite. Only ratios matter.
    pub(crate) weight: f64,
}

/// The owner of every partition, for one set of candidates.
///
/// 32 KiB of indexes, whatever the size of the cluster, so that the tables of a few kinds stay in
/// the second-level cache.
pub struct Table {
    /// For each partition the place of its owner in `owners`.
    entries: Box<[u16; PARTITIONS]>,
    /// In ascending order.
    owners: Box<[Owner]>,
}

impl Table {
    /// The most owners that one table can tell apart: as many as there are partitions, because
    /// more could not own one each.
    pub const MAX_OWNERS: usize = PARTITIONS;

    /// The table of these candidates; `None` when there are none.
    ///
    /// Takes [`PARTITIONS`] hashes per candidate: about 0.2 ms each in a release build.
    ///
    /// # Panics
    ///
    /// When there are more than [`Table::MAX_OWNERS`] candidates or two of one owner; the view
    /// has checked both.
    pub(crate) fn new(mut candidates: Vec<Candidate>) -> Option<Self> {
        assert!(
            candidates.len() <= Self::MAX_OWNERS,
            "a view bounds the number of its shards"
        );
        if candidates.is_empty() {
            return None;
        }
        candidates.sort_unstable_by_key(|candidate| candidate.owner);
        let owners: Box<[Owner]> = candidates.iter().map(|candidate| candidate.owner).collect();
        assert!(
            owners.windows(2).all(|pair| pair[0] < pair[1]),
            "a view names each shard once"
        );

        let groups = Group::of(&candidates);
        let entries: Vec<u16> = (0..PARTITIONS)
            .map(|partition| winner(partition as u16, &owners, &groups))
            .collect();
        let entries = entries
            .into_boxed_slice()
            .try_into()
            .expect("one entry per partition");
        Some(Self { entries, owners })
    }

    /// The owner of a grain.
    pub fn owner_of(&self, hash: GrainHash) -> Owner {
        self.owner_of_partition(hash.partition())
    }

    /// The owner of a partition.
    ///
    /// # Panics
    ///
    /// When there is no such partition.
    pub fn owner_of_partition(&self, partition: Partition) -> Owner {
        self.owners[usize::from(self.entries[usize::from(partition.0)])]
    }

    /// Every shard that may own partitions, in ascending order.
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("owners", &self.owners)
            .finish_non_exhaustive()
    }
}

/// Candidates of equal weight. Among them the highest draw has the highest score, so that the
/// logarithm is taken once per group and not once per candidate.
struct Group {
    weight: f64,
    /// Places in the sorted list of owners, ascending.
    members: Vec<u16>,
}

impl Group {
    /// In ascending order of weight.
    fn of(candidates: &[Candidate]) -> Vec<Self> {
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        order.sort_by(|&a, &b| candidates[a].weight.total_cmp(&candidates[b].weight));
        let mut groups: Vec<Self> = Vec::new();
        for index in order {
            let weight = candidates[index].weight;
            let member = u16::try_from(index).expect("fewer owners than partitions");
            match groups.last_mut() {
                Some(group) if group.weight == weight => group.members.push(member),
                _ => groups.push(Self {
                    weight,
                    members: vec![member],
                }),
            }
        }
        groups
    }

    /// The place of the best draw for a partition, and the draw. The lower place wins a tie.
    fn best(&self, partition: u16, owners: &[Owner]) -> (u16, u64) {
        let mut best = (
            self.members[0],
            draw(partition, owners[usize::from(self.members[0])]),
        );
        for &member in &self.members[1..] {
            let drawn = draw(partition, owners[usize::from(member)]);
            if drawn > best.1 {
                best = (member, drawn);
            }
        }
        best
    }
}

/// The place of the owner of a partition.
fn winner(partition: u16, owners: &[Owner], groups: &[Group]) -> u16 {
    groups
        .iter()
        .map(|group| {
            let (member, drawn) = group.best(partition, owners);
            (member, score(group.weight, drawn))
        })
        .max_by(
            |(a, score_a), (b, score_b)| match score_a.total_cmp(score_b) {
                // The lower place wins a tie, as within a group.
                Ordering::Equal => b.cmp(a),
                order => order,
            },
        )
        .expect("a table has candidates")
        .0
}

/// What a shard draws for a partition: SipHash-1-3 under a fixed key of partition, node and
/// shard, each as two bytes, little-endian.
fn draw(partition: u16, owner: Owner) -> u64 {
    let [p0, p1] = partition.to_le_bytes();
    let [n0, n1] = owner.node.0.to_le_bytes();
    let [s0, s1] = owner.shard.0.to_le_bytes();
    SipHasher13::new_with_key(DRAW_KEY).hash(&[p0, p1, n0, n1, s0, s1])
}

/// The score of a draw: `-w / ln(u)` with `u` the draw as a fraction strictly between 0 and 1.
///
/// The top 52 bits and a half are exact in an `f64`, so `u` is never 0 or 1. `libm` is plain
/// arithmetic and not the machine's own logarithm, so the result is the same everywhere.
fn score(weight: f64, drawn: u64) -> f64 {
    let u = ((drawn >> 12) as f64 + 0.5) * 2.0_f64.powi(-52);
    -weight / libm::log(u)
}

/// Changing it moves every grain of every cluster.
const DRAW_KEY: &[u8; 16] = b"teff placement 1";

#[cfg(test)]
mod tests;
