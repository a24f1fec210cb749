//! The shards at the other ends of the links that are up.

use std::collections::{HashMap, HashSet, VecDeque};

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
    /// How many data frames were sent on the link: letters and answers.
    pub written: u64,
    /// Number and kind of each letter that may not have arrived, oldest first.
    pub unacknowledged: VecDeque<(u64, KindId)>,
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
            written: 0,
            unacknowledged: VecDeque::new(),
        }
    }

    /// The peer hosts these kinds from here on.
    pub(super) fn learn_kinds(&mut self, kinds: &[KindOffer]) {
        self.kinds = fingerprints(kinds);
        self.shared.clear();
    }

    /// Whether the peer has the same contract for a kind.
    #[inline]
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

    /// `unacknowledged` is how many data frames the link says were not acknowledged.
    pub(super) fn forget_acknowledged(&mut self, unacknowledged: u64) {
        let acknowledged = self.written.saturating_sub(unacknowledged);
        while let Some((number, _)) = self.unacknowledged.front()
            && *number < acknowledged
        {
            self.unacknowledged.pop_front();
        }
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
pub(super) struct Peers(Vec<Option<(LinkId, Peer)>>);

impl Peers {
    pub(super) fn insert(&mut self, link: LinkId, peer: Peer) {
        let place = link.place();
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place] = Some((link, peer));
    }

    #[inline]
    pub(super) fn get(&self, link: LinkId) -> Option<&Peer> {
        match self.0.get(link.place()) {
            Some(Some((id, peer))) if *id == link => Some(peer),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, link: LinkId) -> Option<&mut Peer> {
        match self.0.get_mut(link.place()) {
            Some(Some((id, peer))) if *id == link => Some(peer),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, link: LinkId) -> Option<Peer> {
        self.get(link)?;
        self.0[link.place()].take().map(|(_, peer)| peer)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Peer)> {
        self.0.iter().flatten().map(|(link, peer)| (*link, peer))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (LinkId, &mut Peer)> {
        let places = self.0.iter_mut().flatten();
        places.map(|(link, peer)| (*link, peer))
    }
}
