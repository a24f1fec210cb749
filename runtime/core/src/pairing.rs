//! Which links two nodes have between them: one for every two shards, or, where those would be too
//! many, one for each shard of the larger node.
//!
//! Both ends decide alike without asking each other, because both know how many shards either has.
//! A shard sends everything for one shard of the peer over one link, always the same, so messages
//! of one sender to one grain stay in order; what arrives at another shard than the grain's takes
//! one lane there.
//!
//! ```text
//!   mesh: 2 x 3           pairs: 2 x 3          pairs: 3 x 2
//!   0 --- 0, 1, 2         0 --- 0, 2            0 --- 0
//!   1 --- 0, 1, 2         1 --- 1               1 --- 1
//!                                               2 --- 0
//! ```

use teff_wire::ShardId;

/// The links between a node and one of its peers, as the node sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairing {
    here: u16,
    there: u16,
    is_mesh: bool,
}

impl Pairing {
    /// The links between a node of `here` shards and a peer of `there`, of which every shard has
    /// one to every shard of the other as long as those are at most `mesh_max`. A node has at
    /// least one shard.
    pub fn new(here: u16, there: u16, mesh_max: usize) -> Self {
        let (here, there) = (here.max(1), there.max(1));
        Self {
            here,
            there,
            is_mesh: usize::from(here) * usize::from(there) <= mesh_max,
        }
    }

    /// Whether every shard has a link to every shard of the peer.
    pub fn is_mesh(&self) -> bool {
        self.is_mesh
    }

    /// How many links there are when every shard has sent to every shard of the peer.
    pub fn links(&self) -> usize {
        let (here, there) = (usize::from(self.here), usize::from(self.there));
        if self.is_mesh {
            here * there
        } else {
            here.max(there)
        }
    }

    /// Where the link ends over which the shard `from` sends to grains on the peer's shard `to`.
    ///
    /// A pair is two shards whose numbers are equal modulo the shards of the smaller node. On the
    /// smaller node a shard has several partners. It sends straight to `to` if that is one of them,
    /// else to the one that stands where `to` stands among the partners of its own shard, so that
    /// none has much more to pass on than others.
    pub fn via(&self, from: ShardId, to: ShardId) -> ShardId {
        let Self { here, there, .. } = *self;
        if self.is_mesh {
            return to;
        }
        if here >= there {
            return ShardId(from.0 % there);
        }
        let first = from.0 % here;
        let partners = (there - first).div_ceil(here);
        ShardId(first + to.0 / here % partners * here)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Every link that either end would dial, as (shard here, shard there).
    fn links(here: u16, there: u16, mesh_max: usize) -> BTreeSet<(u16, u16)> {
        let (ours, theirs) = (
            Pairing::new(here, there, mesh_max),
            Pairing::new(there, here, mesh_max),
        );
        let each = |a: u16, b: u16| (0..a).flat_map(move |a| (0..b).map(move |b| (a, b)));
        let out = each(here, there).map(|(s, t)| (s, ours.via(ShardId(s), ShardId(t)).0));
        let back = each(there, here).map(|(t, s)| (theirs.via(ShardId(t), ShardId(s)).0, t));
        out.chain(back).collect()
    }

    #[test]
    fn both_ends_agree_on_the_links_and_every_shard_has_one() {
        for here in 1..=17 {
            for there in 1..=17 {
                let full = usize::from(here) * usize::from(there);
                for mesh_max in [1, full - 1, full] {
                    let pairing = Pairing::new(here, there, mesh_max);
                    let links = links(here, there, mesh_max);
                    assert_eq!(pairing.is_mesh(), full <= mesh_max);
                    assert_eq!(links.len(), pairing.links(), "{here} x {there}");
                    for shard in 0..here {
                        assert!(links.iter().any(|(ours, _)| *ours == shard));
                    }
                    for shard in 0..there {
                        assert!(links.iter().any(|(_, theirs)| *theirs == shard));
                    }
                }
            }
        }
    }

    #[test]
    fn pairs_are_as_many_as_the_larger_node_has_shards() {
        assert_eq!(Pairing::new(3, 2, 5).links(), 3);
        assert_eq!(Pairing::new(2, 5, 9).links(), 5);
        assert_eq!(Pairing::new(256, 256, 64).links(), 256);
        assert_eq!(Pairing::new(8, 8, 64).links(), 64);
        assert_eq!(Pairing::new(1, 256, 64).links(), 256);
    }

    #[test]
    fn a_partner_is_reached_directly() {
        for (here, there) in [(3, 2), (2, 3), (2, 5), (4, 4), (1, 7), (7, 1)] {
            let pairing = Pairing::new(here, there, 0);
            for (ours, theirs) in links(here, there, 0) {
                let (from, to) = (ShardId(ours), ShardId(theirs));
                assert_eq!(pairing.via(from, to), to, "{here} x {there}");
            }
        }
    }

    #[test]
    fn no_shard_has_much_more_to_pass_on_than_others() {
        for (here, there) in [(2, 5), (3, 8), (4, 4), (5, 3), (8, 64)] {
            let pairing = Pairing::new(here, there, 0);
            let mut arriving = BTreeMap::new();
            for from in 0..here {
                for to in 0..there {
                    *arriving
                        .entry(pairing.via(ShardId(from), ShardId(to)))
                        .or_insert(0_u32) += 1;
                }
            }
            assert_eq!(arriving.len(), usize::from(there));
            let (least, most) = (arriving.values().min(), arriving.values().max());
            assert!(
                *most.unwrap() <= 2 * least.unwrap() + 1,
                "{here} x {there}: {arriving:?}"
            );
        }
    }
}
