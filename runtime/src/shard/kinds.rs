//! The kinds that a shard knows: those it hosts, and those it only sends to.

use std::sync::Arc;

use hashbrown::HashTable;
use teff_contract::Kind;
use teff_wire::{KindId, KindOffer};

use crate::counters::{KindCell, ShardCounters};

/// By kind: the counters, and the factory where this node hosts it.
pub(crate) struct Kinds {
    table: HashTable<Known>,
    /// Counts what peers send for kinds that nobody here has heard of. One cell for all of them:
    /// a peer can make up as many kinds as it likes.
    unknown: Arc<KindCell>,
    /// The kind that was sent last.
    last: (KindId, Arc<KindCell>),
    hosted: usize,
}

struct Known {
    id: KindId,
    cell: Arc<KindCell>,
    hosted: Option<Kind>,
    /// Its number among the kinds that were ever hosted here, in order.
    place: usize,
}

impl Kinds {
    /// Knows nothing yet.
    pub(crate) fn new(counters: &ShardCounters) -> Self {
        let unknown = counters.kind_or_unnamed(KindId(0));
        Self {
            table: HashTable::new(),
            last: (KindId(0), Arc::clone(&unknown)),
            unknown,
            hosted: 0,
        }
    }

    /// The counters of a kind, or of all unknown ones.
    pub(crate) fn cell_or_unknown(&self, id: KindId) -> Arc<KindCell> {
        let known = self.table.find(spread(id), |known| known.id == id);
        Arc::clone(known.map_or(&self.unknown, |known| &known.cell))
    }

    /// Hosts a kind from here on. A later registration of the same name replaces the factory for
    /// activations to come, and comes back to be dropped.
    pub(crate) fn host(&mut self, kind: Kind, counters: &ShardCounters) -> Option<Kind> {
        // Until now it may have counted among the unknown.
        self.last = (KindId(0), Arc::clone(&self.unknown));
        let place = self.hosted;
        let entry = self.entry(kind.id(), kind.name(), counters);
        let replaced = entry.hosted.replace(kind);
        if replaced.is_none() {
            entry.place = place;
            self.hosted += 1;
        }
        replaced
    }

    /// The counters of a kind, made when it is first seen.
    pub(crate) fn cell(
        &mut self,
        id: KindId,
        name: &str,
        counters: &ShardCounters,
    ) -> &Arc<KindCell> {
        &self.entry(id, name, counters).cell
    }

    /// The factory, the counters and the place of a kind that this node hosts.
    pub(crate) fn hosted(&self, id: KindId) -> Option<(Kind, Arc<KindCell>, usize)> {
        let known = self.table.find(spread(id), |known| known.id == id)?;
        let kind = known.hosted.clone()?;
        Some((kind, Arc::clone(&known.cell), known.place))
    }

    /// Counts a message that a thread outside has sent to a grain of this shard.
    pub(crate) fn count_sent_to(&mut self, kind: KindId) {
        if self.last.0 != kind {
            self.last = (kind, self.cell_or_unknown(kind));
        }
        self.last.1.sent.add(1);
    }

    /// What to tell peers about the hosted kinds.
    pub(crate) fn offers(&self) -> Vec<KindOffer> {
        self.table
            .iter()
            .filter_map(|known| known.hosted.as_ref())
            .map(offer)
            .collect()
    }

    fn entry(&mut self, id: KindId, name: &str, counters: &ShardCounters) -> &mut Known {
        self.table
            .entry(spread(id), |known| known.id == id, |known| spread(known.id))
            .or_insert_with(|| Known {
                id,
                cell: counters.kind(id, name),
                hosted: None,
                place: usize::MAX,
            })
            .into_mut()
    }
}

/// What peers are told of a kind.
pub(crate) fn offer(kind: &Kind) -> KindOffer {
    KindOffer {
        kind: kind.id(),
        fingerprint: kind.fingerprint(),
        name: kind.name().to_owned(),
    }
}

// A kind id is a hash already, but of 32 bits, and the table wants entropy in the top bits.
fn spread(id: KindId) -> u64 {
    u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
