//! A lane to another shard, as its sender sees it: batches, and what may not be refused.

use std::collections::VecDeque;
use std::sync::Arc;

use teff_core::hash::GrainHash;
use teff_lane::Sender;

use crate::congestion::Congestion;
use crate::counters::Cell;
use crate::envelope::Envelope;
use crate::shard::shares::Shares;

/// The sending end of a lane.
pub(crate) struct LaneOut {
    sender: Sender<Envelope>,
    /// What the receiving shard says about its mailboxes.
    congestion: Arc<Congestion>,
    /// The turn that was given a share of the room last.
    shared_with: u64,
    /// Answers that found the lane full, at most one per outstanding call of the receiving shard.
    overflow: VecDeque<Envelope>,
    /// Envelopes that were published and are not counted yet.
    uncounted: u64,
    /// Whether something was published whose receiver was not rung.
    unrung: bool,
}

impl LaneOut {
    pub(crate) fn new(sender: Sender<Envelope>, congestion: Arc<Congestion>) -> Self {
        Self {
            sender,
            congestion,
            shared_with: 0,
            overflow: VecDeque::new(),
            uncounted: 0,
            unrung: false,
        }
    }

    /// Whether this turn can push a letter to this grain now.
    #[inline]
    pub(crate) fn is_clear(&mut self, hash: GrainHash, shares: &Shares) -> bool {
        self.overflow.is_empty()
            && (self.sender.known_room() > 0 || self.find_share(shares))
            && !self.congestion.is_marked(hash)
    }

    /// Gives a turn its share of the room. What it leaves is for whoever comes next.
    #[cold]
    fn find_share(&mut self, shares: &Shares) -> bool {
        if self.shared_with == shares.turn() {
            return false;
        }
        self.shared_with = shares.turn();
        self.sender.look_for_room(|room| shares.of(room)) > 0
    }

    /// Whether there is room for what takes no part in the sharing.
    #[inline]
    pub(crate) fn has_room(&mut self) -> bool {
        self.overflow.is_empty() && self.knows_room()
    }

    fn knows_room(&mut self) -> bool {
        self.sender.known_room() > 0 || self.sender.look_for_room(|room| room.min(ANSWERS)) > 0
    }

    /// Pushes into a lane that has room.
    #[inline]
    pub(crate) fn push_with(&mut self, make: impl FnOnce() -> Envelope) {
        self.push_and_finish(make, |_| {});
    }

    /// The same with a value that is finished in its slot.
    #[inline(always)]
    pub(crate) fn push_and_finish(
        &mut self,
        make: impl FnOnce() -> Envelope,
        finish: impl FnOnce(&mut Envelope),
    ) {
        self.sender.push_and_finish(make, finish);
        // A long turn must not let its receiver starve.
        if self.sender.unpublished() >= PUBLISH_AFTER {
            self.publish();
        }
    }

    pub(crate) fn push(&mut self, envelope: Envelope) {
        if self.has_room() {
            self.push_with(|| envelope);
        } else {
            self.overflow.push_back(envelope);
        }
    }

    /// Keeps an envelope that may not be refused until there is room.
    pub(crate) fn push_later(&mut self, envelope: Envelope) {
        self.overflow.push_back(envelope);
    }

    fn publish(&mut self) {
        self.uncounted += self.sender.unpublished() as u64;
        self.unrung |= self.sender.publish();
    }

    /// Publishes everything, and counts what was. Says whether the receiver must be rung.
    #[inline]
    pub(crate) fn flush(&mut self, pushed: &Cell) -> bool {
        let has_something = self.sender.unpublished() > 0 || self.uncounted > 0;
        if !self.overflow.is_empty() {
            self.empty_overflow();
        } else if !has_something {
            return false;
        }
        self.publish();
        pushed.add(std::mem::take(&mut self.uncounted));
        std::mem::take(&mut self.unrung)
    }

    #[cold]
    fn empty_overflow(&mut self) {
        while !self.overflow.is_empty() && self.knows_room() {
            if let Some(envelope) = self.overflow.pop_front() {
                self.push_with(|| envelope);
            }
        }
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.overflow.is_empty()
    }
}

/// Envelopes that a turn may push before it publishes them.
const PUBLISH_AFTER: usize = 64;

/// Slots that answers find in one look. The rest is left to be shared.
const ANSWERS: usize = 64;
