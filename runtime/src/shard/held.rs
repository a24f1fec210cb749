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
#[derive(Default)]
pub(super) struct Held {
    /// With the shards of their grains, in the order of their arrival.
    letters: VecDeque<(ShardId, Letter)>,
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

impl Grains {
    /// Hands a letter of a peer to the shard of its grain.
    pub(super) fn pass_on(&mut self, owner: ShardId, letter: Letter) {
        self.shard.counters().frames_hopped.add(1);
        let letter = if self.held.wanted.contains(owner) {
            letter
        } else {
            match self.shard.try_push(owner, Envelope::Letter(letter)) {
                Err(Envelope::Letter(letter)) => letter,
                Ok(()) | Err(_) => return,
            }
        };
        let Some(from) = letter.link().filter(|_| self.held.letters.len() < HELD_MAX) else {
            let cell = self.shard.kinds.borrow().cell_or_unknown(letter.kind);
            cell.drop_for(Reason::LaneFull);
            let busy = (Status::Busy, String::new());
            return self.shard.reply(letter.reply_to(), Err(busy));
        };
        if let Some(links) = self.shard.links.borrow_mut().as_mut() {
            links.endpoint.hold(from.link);
        }
        self.held.wanted.insert(owner);
        self.held.letters.push_back((owner, letter));
    }

    /// Lets held letters go on as far as there is room, and reads on from their links. Returns how
    /// many went.
    pub(super) fn release_held(&mut self) -> usize {
        let mut full = Shards::default();
        let mut released = 0;
        for _ in 0..self.held.letters.len() {
            let Some((owner, letter)) = self.held.letters.pop_front() else {
                break;
            };
            let from = letter.link();
            let pushed = if full.contains(owner) {
                Err(Envelope::Letter(letter))
            } else {
                self.shard.try_push(owner, Envelope::Letter(letter))
            };
            match pushed {
                Ok(()) => {
                    released += 1;
                    if let (Some(links), Some(from)) =
                        (self.shard.links.borrow_mut().as_mut(), from)
                    {
                        links.endpoint.let_go(from.link);
                    }
                }
                Err(Envelope::Letter(letter)) => {
                    full.insert(owner);
                    self.held.letters.push_back((owner, letter));
                }
                Err(_) => {}
            }
        }
        self.held.wanted = full;
        released
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
