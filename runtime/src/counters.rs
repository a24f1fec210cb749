//! Conservation: every message that was accepted is handled, dropped for a named reason, or still
//! on its way, and the counters add up.
//!
//! Each shard counts for itself in cells that only it writes, so counting is a plain store; anyone
//! may read them at any time. Over a whole cluster at rest `sent` equals `handled` plus the sum of
//! `dropped`, but for lossy tells that the network lost. A message from a thread outside the shards
//! counts as sent when the first shard takes it off that thread's lane.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use teff_core::dead_letter::Reason;
use teff_wire::KindId;

/// A number that one thread writes and every thread may read.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

/// What a shard counts.
#[derive(Debug, Default)]
pub(crate) struct ShardCounters {
    /// Messages by kind. The list grows when a kind is first seen; a shard keeps its own `Arc` of
    /// each entry, so the lock is never taken on the warm path.
    kinds: Mutex<Vec<Arc<KindCell>>>,
    /// Grains in memory.
    pub activations: Cell,
    /// Envelopes pushed into lanes to other shards, and taken off such lanes.
    pub lane_out: Cell,
    pub lane_in: Cell,
    /// Frames on links, and datagrams that another shard's socket had received.
    pub frames_out: Cell,
    pub frames_in: Cell,
    /// Frames for grains of other shards.
    pub frames_hopped: Cell,
    /// Links that are up.
    pub links: Cell,
    pub misrouted: Cell,
    /// Lossy tells that left in a packet, and that came in one.
    pub lossy_out: Cell,
    pub lossy_in: Cell,
    /// Frames lost with a link: never sent, and sent without an answer.
    pub frames_unsent: Cell,
    pub frames_doubtful: Cell,
    /// Replies that nobody waited for any more, or that could not be sent.
    pub replies_dropped: Cell,
}

/// What a shard counts of one kind.
#[derive(Debug)]
pub(crate) struct KindCell {
    kind: KindId,
    name: String,
    pub sent: Cell,
    pub handled: Cell,
    dropped: [Cell; Reason::ALL.len()],
}

/// A node's counters at one moment, summed over its shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages by name of kind.
    pub kinds: BTreeMap<String, KindCounters>,
    /// Grains in memory.
    pub activations: u64,
    /// Envelopes that crossed from shard to shard.
    pub lane_envelopes: u64,
    /// Frames sent and received on links: messages and replies.
    pub frames_out: u64,
    /// See [`frames_out`](Self::frames_out).
    pub frames_in: u64,
    /// Those of the frames received that took a lane from the shard of their link to the shard of
    /// their grain. None do where links form a mesh: see [`Builder::mesh_max`].
    ///
    /// [`Builder::mesh_max`]: crate::Builder::mesh_max
    pub frames_hopped: u64,
    /// Links to shards of other nodes that are up.
    pub links: u64,
    /// Lossy tells that left this node in a packet. What of them does not show in
    /// [`lossy_in`](Self::lossy_in) of the other nodes, when all is at rest, was lost in the
    /// network, or counted there as `lossy_no_room`.
    pub lossy_out: u64,
    /// Lossy tells that came to this node and were read.
    pub lossy_in: u64,
    /// Datagrams that the kernel had given to another shard's socket.
    pub misrouted: u64,
    /// Frames that a breaking link had not yet sent.
    pub frames_unsent: u64,
    /// Frames that a breaking link had sent, but whose arrival was not acknowledged.
    pub frames_doubtful: u64,
    /// Replies that nobody waited for any more, or that could not be sent.
    pub replies_dropped: u64,
}

/// Messages of one kind, or their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindCounters {
    /// Tells and calls accepted on this node.
    pub sent: u64,
    /// Tells and calls whose handler ended on this node.
    pub handled: u64,
    /// Those that this node dropped, by name of the reason; reasons that never occurred are left
    /// out.
    pub dropped: BTreeMap<&'static str, u64>,
}

impl Cell {
    /// Adds to the number. Only the owning thread may: it is not a read-modify-write, which would
    /// cost a locked instruction per message.
    pub(crate) fn add(&self, n: u64) {
        // Relaxed: a reader needs a recent value, and orders nothing by it.
        self.0
            .store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// Sets the number. Only the owning thread may.
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl ShardCounters {
    /// The cell of a kind, made if need be. Cold: the shard keeps what it gets.
    pub(crate) fn kind(&self, kind: KindId, name: &str) -> Arc<KindCell> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = kinds.iter().find(|cell| cell.kind == kind) {
            return Arc::clone(cell);
        }
        let cell = Arc::new(KindCell {
            kind,
            name: name.to_owned(),
            sent: Cell::default(),
            handled: Cell::default(),
            dropped: Default::default(),
        });
        kinds.push(Arc::clone(&cell));
        cell
    }
}

impl ShardCounters {
    /// The cell of a kind that is known by now, or else of all those that nobody here has heard of.
    pub(crate) fn kind_or_unnamed(&self, kind: KindId) -> Arc<KindCell> {
        {
            let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(cell) = kinds.iter().find(|cell| cell.kind == kind) {
                return Arc::clone(cell);
            }
        }
        self.kind(KindId(0), "(unknown)")
    }
}

impl KindCell {
    pub(crate) fn drop_for(&self, reason: Reason) {
        self.drop_many_for(reason, 1);
    }

    pub(crate) fn drop_many_for(&self, reason: Reason, count: u64) {
        self.dropped[reason.index()].add(count);
    }
}

impl Counters {
    pub(crate) fn add(&mut self, shard: &ShardCounters) {
        self.activations += shard.activations.get();
        self.lane_envelopes += shard.lane_out.get();
        self.frames_out += shard.frames_out.get();
        self.frames_in += shard.frames_in.get();
        self.frames_hopped += shard.frames_hopped.get();
        self.links += shard.links.get();
        self.lossy_out += shard.lossy_out.get();
        self.lossy_in += shard.lossy_in.get();
        self.misrouted += shard.misrouted.get();
        self.frames_unsent += shard.frames_unsent.get();
        self.frames_doubtful += shard.frames_doubtful.get();
        self.replies_dropped += shard.replies_dropped.get();
        let kinds = shard.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        for cell in kinds.iter() {
            self.kinds
                .entry(cell.name.clone())
                .or_default()
                .add_cell(cell);
        }
    }

    /// How many of the [frames received](Self::frames_in) arrived where they were for: a message
    /// on the shard of its grain, a reply on the shard that had called.
    pub fn frames_on_own_shard(&self) -> u64 {
        self.frames_in.saturating_sub(self.frames_hopped)
    }

    /// The sum over all kinds.
    pub fn total(&self) -> KindCounters {
        let mut total = KindCounters::default();
        for kind in self.kinds.values() {
            total.add(kind);
        }
        total
    }
}

impl KindCounters {
    /// Everything that was dropped, whatever the reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Adds another node's or kind's numbers to these.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.handled += other.handled;
        for (reason, count) in &other.dropped {
            *self.dropped.entry(reason).or_default() += count;
        }
    }

    fn add_cell(&mut self, cell: &KindCell) {
        self.sent += cell.sent.get();
        self.handled += cell.handled.get();
        for reason in Reason::ALL {
            let count = cell.dropped[reason.index()].get();
            if count > 0 {
                *self.dropped.entry(reason.name()).or_default() += count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_run_over_shards_and_kinds() {
        let (a, b) = (ShardCounters::default(), ShardCounters::default());
        let kind = KindId::of("Hit");
        a.kind(kind, "Hit").sent.add(3);
        b.kind(kind, "Hit").handled.add(2);
        b.kind(kind, "Hit").drop_for(Reason::Expired);
        b.kind(KindId::of("Other"), "Other").sent.add(1);
        let mut counters = Counters::default();
        counters.add(&a);
        counters.add(&b);
        let total = counters.total();
        assert_eq!(
            (total.sent, total.handled, total.dropped_total()),
            (4, 2, 1)
        );
        assert_eq!(counters.kinds["Hit"].dropped["expired"], 1);
    }
}
