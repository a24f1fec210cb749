//! Mailboxes: the letters that wait for a grain whose handler waits, and who is told that there are
//! too many.
//!
//! A mailbox is bounded. Senders on this node see the mark of a full one before they send; peers
//! are told over the links that their letters came by, and hold theirs back. What was on its way
//! meanwhile is taken in beyond the capacity, so nothing that was accepted is dropped for it.

use teff_contract::{Overload, Patience};
use teff_core::hash::GrainHash;
use teff_wire::Status;

use crate::envelope::{Letter, LinkCall, Pressure};
use crate::shard::Shard;
use crate::shard::catalog::NONE;
use crate::shard::turn::{Grains, OCCUPIED};
use crate::shard::wakers::{Ready, What};

impl Grains {
    /// Keeps a letter in the mailbox of a grain that cannot take it now.
    pub(crate) fn keep(&mut self, slot: u32, mut letter: Letter) {
        let capacity = self.shard.node.limits.mailbox_capacity;
        let place = self.catalog.entry(slot).suspension;
        let suspension = self.suspensions.get_mut(place).expect(OCCUPIED);
        if letter.is_lossy() && suspension.mailbox.len() + 1 >= capacity {
            // It leaves the last place to others, so that it never is what makes anyone wait.
            return self.shard.lose_letter(&mut letter);
        }
        let congestion = self.shard.congestion();
        if suspension.mailbox.len() + 1 >= capacity {
            if suspension.marked {
                congestion.set(letter.hash);
            } else {
                suspension.marked = true;
                congestion.mark(letter.hash);
            }
        }
        if let Some(from) = letter.link() {
            let len = suspension.mailbox.len() + 1;
            // Again at every multiple: what was said before may have got lost with a connection.
            if len >= capacity && (len.is_multiple_of(capacity) || !suspension.was_told(from)) {
                if !suspension.was_told(from) {
                    suspension.told.push(from);
                }
                let hash = letter.hash;
                self.shard.press(from, Pressure { hash, full: true });
            }
        }
        let capacity = match letter.link() {
            None => capacity,
            Some(_) => capacity + UNDER_WAY_MAX,
        };
        if suspension.mailbox.len() >= capacity && !self.shard.is_patient(&letter) {
            let refused = (Status::Busy, "the grain's mailbox is full".to_owned());
            return self.shard.refuse(&mut letter, refused);
        }
        suspension.mailbox.push_back(letter);
    }

    /// Runs letters that have waited, until a handler waits itself or others must get their turn.
    pub(super) fn run_mailbox(&mut self, slot: u32, place: u32) {
        let most = if self.shard.paces.ready.is_slow() {
            1
        } else {
            MAILBOX_BATCH
        };
        for _ in 0..most {
            let suspension = self.suspensions.get_mut(place).expect(OCCUPIED);
            if suspension.handler.is_some() {
                return;
            }
            let Some(mut letter) = suspension.mailbox.pop_front() else {
                return self.leave(slot, place);
            };
            let half = self.shard.node.limits.mailbox_capacity / 2;
            if suspension.marked && suspension.mailbox.len() <= half {
                suspension.marked = false;
                self.shard.relieve(&mut suspension.told, letter.hash);
                self.shard.congestion().unmark(letter.hash);
            }
            if self.catalog.entry(slot).activation.is_some() || self.revive(slot, &mut letter) {
                self.begin(slot, &mut letter);
            }
        }
        let suspension = self.suspensions.get_mut(place).expect(OCCUPIED);
        if suspension.handler.is_none() && !suspension.queued {
            suspension.queued = true;
            self.shard.ready(Ready::Now(What::Suspension(place)));
        }
    }

    /// Makes a new activation in the place of one that panicked, for the next letter.
    #[cold]
    fn revive(&mut self, slot: u32, letter: &mut Letter) -> bool {
        let ctx = self.catalog.entry(slot).ctx.clone();
        match self.make(&ctx) {
            Ok((activation, kind)) => {
                let entry = self.catalog.entry_mut(slot);
                entry.activation = Some(activation);
                entry.kind = kind;
                true
            }
            Err(refused) => {
                self.shard.refuse(letter, refused);
                false
            }
        }
    }

    /// The mailbox is empty and no handler waits: the grain is at rest again, or gone.
    fn leave(&mut self, slot: u32, place: u32) {
        let suspension = self.suspensions.get_mut(place).expect(OCCUPIED);
        let marked = std::mem::take(&mut suspension.marked);
        let mut told = std::mem::take(&mut suspension.told);
        self.suspensions.vacate(place);
        let entry = self.catalog.entry_mut(slot);
        entry.suspension = NONE;
        if marked {
            let hash = self.shard.node.placement_key.hash(entry.ctx.id());
            self.shard.congestion().unmark(hash);
            self.shard.relieve(&mut told, hash);
        }
        if self.catalog.entry(slot).activation.is_none() {
            self.forget(slot);
        }
    }
}

impl Shard {
    /// Whether a letter from this node was promised room, by its sender or its kind. For letters
    /// from peers there is a limit of its own.
    #[cold]
    fn is_patient(&self, letter: &Letter) -> bool {
        if letter.link().is_some() {
            return false;
        }
        let by_kind = || {
            self.node
                .overload
                .of(letter.kind)
                .map(|policy| policy == Overload::Wait)
        };
        let by_nature = !letter.is_tell();
        match letter.patient {
            Patience::Patient => true,
            Patience::Impatient | Patience::Lossy => false,
            Patience::Unsaid => by_kind().unwrap_or(by_nature),
        }
    }

    /// Lets peers know that a mailbox has room again which they were told is full.
    fn relieve(&self, told: &mut Vec<LinkCall>, hash: GrainHash) {
        for to in told.drain(..) {
            self.press(to, Pressure { hash, full: false });
        }
    }
}

/// Letters from peers that a mailbox takes beyond its capacity: those that were on their way when
/// it filled. As many as the windows of a link hold when they are small.
const UNDER_WAY_MAX: usize = 1 << 18;

/// Letters of one mailbox that run before others get their turn.
const MAILBOX_BATCH: usize = 64;
