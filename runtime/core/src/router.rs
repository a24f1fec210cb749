//! Where the next hop of an envelope is: the only place that asks "here, another shard, or
//! another node?".

use teff_wire::{KindId, NodeId, ShardId};

use crate::hash::GrainHash;
use crate::placement::Owner;
use crate::view::View;

/// Where an envelope goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// The grain lives on the shard that asks.
    Here,
    /// It lives on another shard of this node.
    Lane(ShardId),
    /// It lives on another node.
    Link {
        /// That node.
        node: NodeId,
        /// Its shard.
        shard: ShardId,
    },
}

impl Hop {
    /// The way from one shard to the one that owns the grain.
    pub fn between(me: Owner, owner: Owner) -> Self {
        if owner.node != me.node {
            Self::Link {
                node: owner.node,
                shard: owner.shard,
            }
        } else if owner.shard != me.shard {
            Self::Lane(owner.shard)
        } else {
            Self::Here
        }
    }
}

/// The next hop of an envelope for a grain of this kind and hash, seen from the shard `me`; `None`
/// when no member of the view offers the kind.
pub fn route(view: &View, me: Owner, kind: KindId, hash: GrainHash) -> Option<Hop> {
    view.place(kind, hash).map(|owner| Hop::between(me, owner))
}

#[cfg(test)]
mod tests {
    use teff_wire::Epoch;

    use super::*;
    use crate::view::Member;

    #[test]
    fn an_envelope_stays_or_takes_a_lane_or_a_link() {
        let members = [(1, 4001), (2, 4002)]
            .map(|(node, port)| Member::new(NodeId(node), ([127, 0, 0, 1], port).into(), 2));
        let view = View::new(Epoch(1), members.to_vec()).unwrap();
        let me = Owner {
            node: NodeId(1),
            shard: ShardId(0),
        };
        let kind = KindId::of("any");

        let mut seen = [false; 3];
        for hash in (0..64).map(|n| GrainHash(n << 50)) {
            let owner = view.place(kind, hash).unwrap();
            let hop = route(&view, me, kind, hash).unwrap();
            let (index, back) = match hop {
                Hop::Here => (0, me),
                Hop::Lane(shard) => (
                    1,
                    Owner {
                        node: me.node,
                        shard,
                    },
                ),
                Hop::Link { node, shard } => (2, Owner { node, shard }),
            };
            assert_eq!(back, owner);
            assert!(!matches!(
                hop,
                Hop::Lane(ShardId(0))
                    | Hop::Link {
                        node: NodeId(1),
                        ..
                    }
            ));
            seen[index] = true;
        }
        assert_eq!(seen, [true; 3]);
    }
}
