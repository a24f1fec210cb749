//! What the kinds of a node say about messages that find no room, and the count of those that
//! threads outside the shards have shed.
//!
//! Asked only when a queue is full, so locks do.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use teff_contract::{Contract, Kind, Overload};
use teff_core::dead_letter::Reason;
use teff_wire::KindId;

use crate::counters::ShardCounters;

/// The policies of a node.
pub(crate) struct Policies {
    kinds: RwLock<HashMap<KindId, Overload>>,
    /// Of all threads outside, which take turns with the lock.
    counters: Mutex<ShardCounters>,
}

impl Policies {
    pub(crate) fn new(kinds: &[Kind]) -> Self {
        let policies = Self {
            kinds: RwLock::default(),
            counters: Mutex::default(),
        };
        for kind in kinds {
            policies.set(kind);
        }
        policies
    }

    /// Notes the policy of a kind that is hosted from now on.
    pub(crate) fn set(&self, kind: &Kind) {
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        match kind.overload() {
            Some(overload) => kinds.insert(kind.id(), overload),
            None => kinds.remove(&kind.id()),
        };
    }

    /// The policy of a kind, if it has one.
    pub(crate) fn of(&self, kind: KindId) -> Option<Overload> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.get(&kind).copied()
    }

    /// Counts a message that was dropped for a thread outside, before any shard had it.
    pub(crate) fn count_dropped(&self, contract: &Contract, reason: Reason) {
        let counters = self.counters();
        let cell = counters.kind(contract.kind, contract.name);
        cell.sent.add(1);
        cell.drop_for(reason);
    }

    /// What threads outside have counted. Nobody counts while this is held.
    pub(crate) fn counters(&self) -> MutexGuard<'_, ShardCounters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
