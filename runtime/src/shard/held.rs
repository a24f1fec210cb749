//! Letters of peers that have arrived beside their grain's shard and found the lane to it full.
//!
//! They were accepted, so they are not dropped: each waits here, and its link
//! [is held](teff_transport::Endpoint::hold) until it has gone on, so at most one letter per link
//! waits and the peer feels it. Letters for one shard go on in the order in which they came, also
//! those of different links, because a peer that has lost its link sends on over the next.
//!
//! Nobody waits in a circle. A lane is full only while its receiver has not taken what is in it,
//! and taking it needs no room anywhere: what does not fit a mailbox is counted and refused,
//! answers queue at their sender, and handlers are told that a lane is full. A shard that holds
//! letters goes on draining its own lanes, so of two shards whose lanes to each other are full
//! both find room after a turn. Replies behind a held letter wait for that lane and for nothing
//! else.

use std::collections::VecDeque;

use teff_core::dead_letter::Reason;
use teff_wire::{ShardId, Status};

use crate::envelope::{Envelope, Letter};
use crate::shard::turn::Grains;

/// The letters that wait.
pub(super) struct Held<L = Letter> {
    /// With the shards of their grains, in the order of their arrival.
    letters: VecDeque<(ShardId, L)>,
    /// The shards that any of them waits for.
    wanted: Shards,
}

/// Some shards of this node.
#[derive(Default)]
struct Shards([u64; 4]);

impl Shards {
    fn bit(shard: ShardId) -> (usize, u64) {
        let place = usize::from(shard.0);
        (place / 64 % 4, 1 << (place % 64))
    }

    fn contains(&self, shard: ShardId) -> bool {
        let (word, bit) = Self::bit(shard);
        self.0[word] & bit != 0
    }

    fn insert(&mut self, shard: ShardId) {
        let (word, bit) = Self::bit(shard);
        self.0[word] |= bit;
    }
}

impl<L> Held<L> {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether a letter for this shard has to wait behind others.
    fn is_wanted(&self, owner: ShardId) -> bool {
        self.wanted.contains(owner)
    }

    fn push(&mut self, owner: ShardId, letter: L) {
        self.wanted.insert(owner);
        self.letters.push_back((owner, letter));
    }

    /// Offers the letters in order, for each shard until it has no room. Returns how many went.
    fn release(&mut self, mut offer: impl FnMut(ShardId, L) -> Result<(), L>) -> usize {
        let before = self.letters.len();
        let mut full = Shards::default();
        for _ in 0..before {
            let Some((owner, letter)) = self.letters.pop_front() else {
                break;
            };
            let refused = match full.contains(owner) {
                true => Some(letter),
                false => offer(owner, letter).err(),
            };
            if let Some(letter) = refused {
                full.insert(owner);
                self.letters.push_back((owner, letter));
            }
        }
        self.wanted = full;
        before - self.letters.len()
    }
}

impl<L> Default for Held<L> {
    fn default() -> Self {
        Self {
            letters: VecDeque::new(),
            wanted: Shards::default(),
        }
    }
}

impl Grains {
    /// Hands a letter of a peer to the shard of its grain.
    pub(super) fn pass_on(&mut self, owner: ShardId, letter: Letter) {
        self.shard.counters().frames_hopped.add(1);
        let letter = if self.held.is_wanted(owner) {
            letter
        } else {
            match self.shard.try_push(owner, Envelope::Letter(letter)) {
                Err(Envelope::Letter(letter)) => letter,
                Ok(()) | Err(_) => return,
            }
        };
        if letter.is_lossy() {
            let cell = self.shard.kinds.borrow().cell_or_unknown(letter.kind);
            return cell.drop_for(Reason::LossyNoRoom);
        }
        let Some(from) = letter.link().filter(|_| self.held.letters.len() < HELD_MAX) else {
            let cell = self.shard.kinds.borrow().cell_or_unknown(letter.kind);
            cell.drop_for(Reason::LaneFull);
            let busy = (Status::Busy, String::new());
            return self.shard.reply(letter.reply_to(), Err(busy));
        };
        if let Some(links) = self.shard.links.borrow_mut().as_mut() {
            links.endpoint.hold(from.link);
        }
        self.held.push(owner, letter);
    }

    /// Lets held letters go on as far as there is room, and reads on from their links. Returns how
    /// many went.
    pub(super) fn release_held(&mut self) -> usize {
        if !self.is_holding() {
            return 0;
        }
        let shard = &self.shard;
        self.held.release(|owner, letter| {
            let from = letter.link();
            if let Err(Envelope::Letter(letter)) = shard.try_push(owner, Envelope::Letter(letter)) {
                return Err(letter);
            }
            if let (Some(links), Some(from)) = (shard.links.borrow_mut().as_mut(), from) {
                links.endpoint.let_go(from.link);
            }
            Ok(())
        })
    }

    /// Whether letters wait for room in a lane.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.letters.is_empty()
    }

    /// The shard ends: counts what still waits.
    pub(super) fn discard_held(&mut self) {
        for (_, letter) in std::mem::take(&mut self.held).letters {
            self.shard.discard(Envelope::Letter(letter));
        }
    }
}

/// More links than a shard may have at once: only a peer that dials again and again, and sends one
/// letter each time, has more letters waiting. Then they are refused.
const HELD_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_for_one_shard_keep_their_order_and_do_not_wait_for_other_shards() {
        let (slow, quick) = (ShardId(3), ShardId(200));
        let mut held = Held::default();
        for (owner, letter) in [(slow, 1), (quick, 10), (slow, 2), (quick, 11), (slow, 3)] {
            held.push(owner, letter);
        }
        let mut room = 1;
        let mut gone = Vec::new();
        let released = held.release(|owner, letter| {
            let fits = owner == quick || room > 0;
            if owner == slow && fits {
                room -= 1;
            }
            fits.then(|| gone.push(letter)).ok_or(letter)
        });
        assert_eq!((released, &gone[..]), (3, &[1, 10, 11][..]));
        assert!(held.is_wanted(slow), "two more wait for it");
        assert!(!held.is_wanted(quick));

        // What comes now goes behind those that wait.
        held.push(slow, 4);
        gone.clear();
        held.release(|_, letter| {
            gone.push(letter);
            Ok(())
        });
        assert_eq!(gone, [2, 3, 4]);
        assert!(!held.is_wanted(slow));
    }

    #[test]
    fn a_full_lane_is_asked_once_per_look() {
        let mut held = Held::default();
        (0..100).for_each(|letter| held.push(ShardId(0), letter));
        let mut asked = 0;
        let released = held.release(|_, letter| {
            asked += 1;
            Err(letter)
        });
        assert_eq!((asked, released, held.letters.len()), (1, 0, 100));
    }
}
