//! Two shards that dial each other at the same time need one link, not two.
//!
//! The link that the node with the lower id dials stays. That node refuses the other link before it
//! says hello on it; the node with the higher id gives its own dial up if it has not said hello
//! when the other link is there. So nothing was sent on the link that goes. Where neither is
//! possible, two links are up, and both are of use: a dial that is slow to be answered may never
//! be, and must not keep the peer's link out for long. A link that is up keeps its place against
//! any dial, whoever made it.

use std::time::Duration;

use teff_wire::{NodeId, ShardId};

use super::Endpoint;
use crate::{
    error::Refusal,
    event::Event,
    link::{Phase, greeting::Refused},
};

impl Endpoint {
    /// Decides between a link that a peer has dialled, whose hello is in order, and one that this
    /// end is dialling between the same two shards.
    ///
    /// # Errors
    ///
    /// The refusal of the peer's link, if this end's own is the one that stays.
    pub(super) fn settle_crossing(&mut self, slot: usize) -> Result<(), Refused> {
        let is_lower = Some(self.settings.local().node) < self.links[slot].peer;
        while let Some(ours) = self.crossing(slot, is_lower) {
            let refused = Refused {
                refusal: Refusal::Crossed,
                detail: "both nodes have dialled".to_owned(),
            };
            if is_lower {
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
    /// peer has dialled: one that may still be answered soon if it is to stay, else one on which
    /// this end has said nothing.
    fn crossing(&self, slot: usize, stays: bool) -> Option<usize> {
        let theirs = &self.links[slot];
        if theirs.dialled.is_some() {
            return None;
        }
        let ends = (theirs.peer, theirs.peer_shard);
        let time = self.settings.limits().hello;
        let mut links = self.links.iter();
        let found = links.find(|(_, ours)| {
            let is_new = ours.is_early() && ours.resumption.is_none();
            let is_dialled = ours.dialled.is_some() && (ours.peer, ours.peer_shard) == ends;
            is_new
                && is_dialled
                && match stays {
                    true => self.now + time < ours.hello_by + ANSWERED_WITHIN,
                    false => ours.phase == Phase::Handshaking,
                }
        });
        found.map(|(slot, _)| slot)
    }
}

/// How long a dial keeps out the peer's own. Three round trips around the world are longer, but
/// then two links are no harm.
const ANSWERED_WITHIN: Duration = Duration::from_millis(200);
