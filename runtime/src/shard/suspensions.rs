//! Grains whose handler waits, and the messages that wait for them: the part of a grain that only
//! a busy one needs, in places that are used again.
//!
//! A place has a waker of its own, made once and kept. A late wake-up for a handler that has left
//! its place finds the place vacant, or polls the next occupant for nothing; both are harmless.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use teff_wire::ShardId;

use crate::envelope::{Letter, LinkCall, ReplyTo};
use crate::shard::wakers::{Token, What};
use crate::shared::NodeShared;

/// The suspended grains of a shard.
pub(crate) struct Suspensions {
    places: Vec<Place>,
    vacant: Vec<u32>,
    node: Arc<NodeShared>,
    shard: ShardId,
}

struct Place {
    waker: Waker,
    occupant: Option<Suspension>,
    /// Kept empty for the next occupant, so that its first message allocates nothing.
    spare: VecDeque<Letter>,
}

/// A grain that cannot take its next message yet.
pub(crate) struct Suspension {
    /// Its place in the catalog.
    pub grain: u32,
    /// Where the outcome of the suspended handler goes; `None` when messages merely wait for their
    /// turn.
    pub handler: Option<ReplyTo>,
    /// Messages that came meanwhile, oldest first.
    pub mailbox: VecDeque<Letter>,
    /// Whether senders were told that the mailbox is full.
    pub marked: bool,
    /// Links whose peers were told so.
    pub told: Vec<LinkCall>,
    /// Whether it is queued to go on, because its mailbox is to be run.
    pub queued: bool,
}

impl Suspension {
    /// Whether the peer at the other end of a link was told that the mailbox is full.
    pub(crate) fn was_told(&self, link: LinkCall) -> bool {
        let same = |told: &LinkCall| (told.shard, told.link) == (link.shard, link.link);
        self.told.iter().any(same)
    }
}

impl Suspensions {
    pub(crate) fn new(node: Arc<NodeShared>, shard: ShardId) -> Self {
        Self {
            places: Vec::new(),
            vacant: Vec::new(),
            node,
            shard,
        }
    }

    /// The waker that the next occupant will have, and its place: a handler is polled with it
    /// once, before it is known to need the place.
    pub(crate) fn next(&mut self) -> (u32, &Waker) {
        let place = match self.vacant.last() {
            Some(place) => *place,
            None => self.add(),
        };
        (place, &self.places[place as usize].waker)
    }

    /// The waker of an occupied place.
    pub(crate) fn waker(&self, place: u32) -> &Waker {
        &self.places[place as usize].waker
    }

    /// Occupies the place that [`next`](Self::next) gave.
    pub(crate) fn occupy(&mut self, grain: u32, handler: ReplyTo) -> u32 {
        let (place, _) = self.next();
        self.vacant.pop();
        let vacated = &mut self.places[place as usize];
        vacated.occupant = Some(Suspension {
            grain,
            handler: Some(handler),
            mailbox: std::mem::take(&mut vacated.spare),
            marked: false,
            told: Vec::new(),
            queued: false,
        });
        place
    }

    /// Who is at a place.
    pub(crate) fn get_mut(&mut self, place: u32) -> Option<&mut Suspension> {
        self.places.get_mut(place as usize)?.occupant.as_mut()
    }

    /// Leaves a place whose mailbox is empty.
    pub(crate) fn vacate(&mut self, place: u32) {
        let vacated = &mut self.places[place as usize];
        let Some(mut left) = vacated.occupant.take() else {
            return;
        };
        left.mailbox.shrink_to(SPARE_MAX);
        vacated.spare = left.mailbox;
        self.vacant.push(place);
    }

    /// How many places are occupied.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.vacant.len()
    }

    /// Takes everyone out, when the shard ends.
    pub(crate) fn clear(&mut self) -> Vec<Suspension> {
        self.vacant.clear();
        let places = std::mem::take(&mut self.places);
        places
            .into_iter()
            .filter_map(|place| place.occupant)
            .collect()
    }

    #[cold]
    fn add(&mut self) -> u32 {
        let place = self.places.len() as u32;
        let token = Token::new(What::Suspension(place), &self.node, self.shard);
        self.places.push(Place {
            waker: Waker::from(token),
            occupant: None,
            spare: VecDeque::new(),
        });
        self.vacant.push(place);
        place
    }
}

/// Letters that an empty mailbox keeps memory for: 8 KiB.
const SPARE_MAX: usize = 64;
