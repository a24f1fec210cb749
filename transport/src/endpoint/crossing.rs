//! Two shards that dial each other at the same time need one link, not two.
//!
//! The link that the node with the lower id dials stays. That node refuses the other link before it
//! says hello on it; the node with the higher id gives its own dial up as soon as the other link is
//! there. So neither end ever sends on the one that goes, and neither is left without the one that
//! stays, unless that fails by itself: then the node that was refused dials again. A link that is
//! up keeps its place against any dial, whoever made it.

use teff_wire::{NodeId, ShardId};

use super::Endpoint;
use crate::{error::Refusal, event::Event, link::greeting::Refused};

impl Endpoint {
    /// Decides between a link that a peer has dialled, whose hello is in order, and one that this
    /// end is dialling between the same two shards.
    ///
    /// # Errors
    ///
    /// The refusal of the peer's link, if this end's own is the one that stays.
    pub(super) fn settle_crossing(&mut self, slot: usize) -> Result<(), Refused> {
        while let Some(ours) = self.crossing(slot) {
            let refused = Refused {
                refusal: Refusal::Crossed,
                detail: "both nodes have dialled".to_owned(),
            };
            if Some(self.settings.local().node) < self.links[slot].peer {
                return Err(refused);
            }
            self.refuse(ours, refused);
        }
        Ok(())
    }

    /// Whether the shard has not been told yet that a peer has dialled it from the shard that it is
    /// about to dial itself. The peer may have frames for that link already, so it is the one that
    /// stays.
    pub(super) fn is_just_met(&self, node: NodeId, shard: ShardId) -> bool {
        self.events.iter().any(|event| match event {
            Event::Up { hello, .. } => (hello.node, hello.from_shard) == (node, shard),
            _ => false,
        })
    }

    /// A link that this end dials, and that was never up, between the same shards as one that the
    /// peer has dialled.
    fn crossing(&self, slot: usize) -> Option<usize> {
        let theirs = &self.links[slot];
        if theirs.dialled.is_some() {
            return None;
        }
        let ends = (theirs.peer, theirs.peer_shard);
        let mut links = self.links.iter();
        let found = links.find(|(_, ours)| {
            let is_new = ours.is_early() && ours.resumption.is_none();
            ours.dialled.is_some() && is_new && (ours.peer, ours.peer_shard) == ends
        });
        found.map(|(slot, _)| slot)
    }
}
