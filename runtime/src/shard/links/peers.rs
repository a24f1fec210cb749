//! The shards at the other ends of the links that are up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use teff_contract::Contract;
use teff_core::hash::GrainHash;
use teff_transport::LinkId;
use teff_wire::{Fingerprint, KindId, KindOffer, NodeId, ShardId};

use super::waiting::Waiting;

/// The peer of a link.
pub(super) struct Peer {
    pub node: NodeId,
    pub shard: ShardId,
    kinds: HashMap<KindId, Fingerprint>,
    /// Contracts that were found to be shared with the peer, to be found without hashing.
    shared: Vec<&'static Contract>,
    /// Grains whose mailboxes the peer says are full.
    full: HashSet<GrainHash>,
    /// Answers that wait for room on the link.
    pub answers: Waiting,
    /// The letters that may not have arrived, oldest first, but for those that left last.
    unacknowledged: VecDeque<Letters>,
    last: Letters,
    /// Whether it stands among those with something under way.
    is_listed: bool,
}

/// Letters to one kind that left one behind the other.
struct Letters {
    kind: KindId,
    numbers: Range<u64>,
}

/// What a peer has of a contract.
pub(super) enum Offer {
    Same,
    Other,
    None,
}

impl Peer {
    pub(super) fn new(node: NodeId, shard: ShardId, kinds: &[KindOffer]) -> Self {
        Self {
            node,
            shard,
            kinds: fingerprints(kinds),
            shared: Vec::new(),
            full: HashSet::new(),
            answers: Waiting::default(),
            unacknowledged: VecDeque::new(),
            last: Letters {
                kind: KindId(0),
                numbers: 0..0,
            },
            is_listed: false,
        }
    }

    /// Whether it is [listed](Peers::list).
    #[inline]
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// The peer hosts these kinds from here on.
    pub(super) fn learn_kinds(&mut self, kinds: &[KindOffer]) {
        self.kinds = fingerprints(kinds);
        self.shared.clear();
    }

    /// Whether nothing stands in the way of a message: it was found before that the contract is
    /// shared, and no mailbox is full.
    #[inline(always)]
    pub(super) fn is_clear(&self, contract: &'static Contract) -> bool {
        self.full.is_empty()
            && self
                .shared
                .iter()
                .any(|known| std::ptr::eq(*known, contract))
    }

    /// Whether the peer has the same contract for a kind.
    pub(super) fn offer(&mut self, contract: &'static Contract) -> Offer {
        if self
            .shared
            .iter()
            .any(|known| std::ptr::eq(*known, contract))
        {
            return Offer::Same;
        }
        self.look_up(contract)
    }

    #[cold]
    fn look_up(&mut self, contract: &'static Contract) -> Offer {
        match self.kinds.get(&contract.kind) {
            Some(fingerprint) if *fingerprint == contract.fingerprint => {
                // So few that looking at all of them is quicker than hashing one.
                if self.shared.len() == SHARED_MAX {
                    self.shared.remove(0);
                }
                self.shared.push(contract);
                Offer::Same
            }
            Some(_) => Offer::Other,
            None => Offer::None,
        }
    }

    /// The peer says of a mailbox that it is full, or has room again.
    pub(super) fn learn_pressure(&mut self, hash: GrainHash, full: bool) {
        if !full {
            self.full.remove(&hash);
        } else if self.full.len() < FULL_MAX {
            self.full.insert(hash);
        }
    }

    /// What the peer has said of its mailboxes is void.
    pub(super) fn forget_pressure(&mut self) {
        self.full.clear();
    }

    /// Whether the peer says that the mailbox of a grain is full.
    #[inline]
    pub(super) fn is_full(&self, hash: GrainHash) -> bool {
        !self.full.is_empty() && self.full.contains(&hash)
    }

    /// A letter left as the frame of this number.
    #[inline(always)]
    pub(super) fn note_letter(&mut self, number: u64, kind: KindId) {
        if self.last.kind == kind && self.last.numbers.end == number {
            self.last.numbers.end = number + 1;
        } else {
            self.note_first_letter(number, kind);
        }
    }

    #[inline(never)]
    fn note_first_letter(&mut self, number: u64, kind: KindId) {
        let numbers = number..number + 1;
        let before = std::mem::replace(&mut self.last, Letters { kind, numbers });
        if !before.numbers.is_empty() {
            self.unacknowledged.push_back(before);
        }
    }

    /// Forgets the letters that the peer has: those with lower numbers than this.
    #[inline]
    pub(super) fn forget(&mut self, acknowledged: u64) {
        while let Some(letters) = self.unacknowledged.front_mut() {
            if letters.numbers.end > acknowledged {
                letters.numbers.start = letters.numbers.start.max(acknowledged);
                return;
            }
            self.unacknowledged.pop_front();
        }
        let last = &mut self.last.numbers;
        last.start = last.start.max(acknowledged).min(last.end);
    }

    /// Whether any letter may not have arrived.
    fn is_in_doubt(&self) -> bool {
        !self.unacknowledged.is_empty() || !self.last.numbers.is_empty()
    }

    /// Number and kind of each letter that may not have arrived, oldest first.
    pub(super) fn unacknowledged(&self) -> impl Iterator<Item = (u64, KindId)> {
        let each = |letters: &Letters| {
            let kind = letters.kind;
            letters.numbers.clone().map(move |number| (number, kind))
        };
        self.unacknowledged
            .iter()
            .chain([&self.last])
            .flat_map(each)
    }
}

fn fingerprints(kinds: &[KindOffer]) -> HashMap<KindId, Fingerprint> {
    kinds
        .iter()
        .map(|offer| (offer.kind, offer.fingerprint))
        .collect()
}

const SHARED_MAX: usize = 8;

/// More full mailboxes than that no honest peer has, and a dishonest one is not to fill our memory.
const FULL_MAX: usize = 1 << 16;

/// Peers by link, found without hashing.
#[derive(Default)]
pub(super) struct Peers {
    places: Vec<Option<(LinkId, Peer)>>,
    /// The links of all peers with answers that wait or letters that are not acknowledged, and of
    /// some that have none any more.
    listed: Vec<LinkId>,
}

impl Peers {
    pub(super) fn insert(&mut self, link: LinkId, peer: Peer) {
        let place = link.place();
        if self.places.len() <= place {
            self.places.resize_with(place + 1, || None);
        }
        self.places[place] = Some((link, peer));
    }

    #[inline]
    pub(super) fn get(&self, link: LinkId) -> Option<&Peer> {
        match self.places.get(link.place()) {
            Some(Some((id, peer))) if *id == link => Some(peer),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Peer> {
        match self.places.get_mut(link.place()) {
            Some(Some((id, peer))) if *id == link => Some(peer),
            _ => None,
        }
    }

    /// Notes that a peer has something under way.
    #[inline]
    pub(super) fn list(&mut self, link: LinkId) {
        if let Some(peer) = self.get_mut(link)
            && !std::mem::replace(&mut peer.is_listed, true)
        {
            self.listed.push(link);
        }
    }

    /// Lets `look` have every peer that has something under way.
    pub(super) fn for_each_listed(&mut self, mut look: impl FnMut(LinkId, &mut Peer)) {
        let places = &mut self.places;
        self.listed.retain(|&link| match &mut places[link.place()] {
            Some((id, peer)) if *id == link => {
                look(link, peer);
                peer.is_listed = !peer.answers.is_empty() || peer.is_in_doubt();
                peer.is_listed
            }
            _ => false,
        });
    }

    pub(super) fn remove(&mut self, link: LinkId) -> Option<Peer> {
        self.get(link)?;
        self.places[link.place()].take().map(|(_, peer)| peer)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// How many there are. Looks at every place.
    pub(super) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Peer)> {
        self.places
            .iter()
            .flatten()
            .map(|(link, peer)| (*link, peer))
    }
}
