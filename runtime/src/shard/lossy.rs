//! Tells that may get lost: where they leave for other nodes, where they come in, and the count of
//! those that this node drops.
//!
//! One that finds no room is dropped there and then, with a reason, and none ever waits. So a lossy
//! tell counts as sent once its sender was told `Ok`, and after that as handled, as dropped for a
//! reason on the node that dropped it, or, if the network lost it, as nothing.

use teff_contract::{Declined, Outgoing, Patience, Target};
use teff_core::dead_letter::Reason;
use teff_core::hash::GrainHash;
use teff_core::placement::Owner;
use teff_core::time::Micros;
use teff_transport::{LinkId, LossCause};
use teff_wire::{Frame, KindId};

use crate::envelope::{Content, Letter, LinkCall};
use crate::panics::drop_quietly;
use crate::shard::Shard;
use crate::shard::turn::Grains;

impl Shard {
    /// Sends a lossy tell to another node, or counts why not.
    #[inline(never)]
    pub(super) fn send_lossy(
        &self,
        owner: Owner,
        message: &mut Outgoing<'_>,
    ) -> Result<(), Declined> {
        let posted = match self.links.borrow_mut().as_mut() {
            Some(links) => links.post_lossy(message, owner, self.now.get()),
            // A node without a network is alone in its view.
            None => unreachable!("{owner:?} is not here, but there is no network"),
        };
        if let Some(reason) = posted? {
            self.drop_for(message.target, reason);
        }
        if !message.payload.is_inert() {
            drop_quietly(std::mem::take(message.payload));
        }
        Ok(())
    }

    /// Counts a lossy tell that found no room inside this node: sent, and dropped at once.
    pub(crate) fn lose(&self, target: &Target) {
        self.count_sent(target.contract);
        self.drop_for(target, Reason::LossyNoRoom);
    }

    /// Counts a lossy letter that its mailbox has no room for.
    #[cold]
    pub(super) fn lose_letter(&self, letter: &mut Letter) {
        let cell = self.kinds.borrow().cell_or_unknown(letter.kind);
        cell.drop_for(Reason::LossyNoRoom);
        letter.clear();
    }

    /// Counts what the links have sent, received and lost since the last time.
    pub(super) fn settle_lossy(&self) {
        let mut links = self.links.borrow_mut();
        let Some(links) = links.as_mut() else { return };
        let (counters, seen) = (self.counters(), links.endpoint.counters());
        counters.lossy_out.set(seen.lossy_out);
        counters.lossy_in.set(seen.lossy_in);
        while let Some(lost) = links.endpoint.poll_lost() {
            let reason = match lost.cause {
                LossCause::NoRoom => Reason::LossyNoRoom,
                LossCause::NoLink => Reason::LossyNoLink,
                LossCause::TooLarge => Reason::TooLarge,
            };
            // What nobody has read is of no kind.
            let kind = lost.kind.unwrap_or(KindId(0));
            let cell = self.kinds.borrow().cell_or_unknown(kind);
            cell.drop_many_for(reason, lost.count);
        }
    }
}

impl Grains {
    /// A lossy tell from a peer: for a grain here, on another shard, or sent here by mistake.
    pub(super) fn take_lossy(&mut self, link: LinkId, frame: Frame) {
        let Some(grain) = frame.grain else { return };
        let content = Content::Bytes {
            block: frame.payload,
            from: LinkCall {
                link,
                number: 0,
                shard: self.shard.id(),
            },
        };
        self.take_letter(Letter {
            hash: GrainHash(grain.hash),
            key: grain.key,
            kind: frame.header.kind,
            deadline: Micros::NEVER,
            method: frame.header.method,
            patient: Patience::Lossy,
            content,
        });
    }
}
