//! What nodes have counted of their messages, in a form that can pass between processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The counters of one node, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub sent: u64,
    pub handled: u64,
    /// By reason.
    pub dropped: BTreeMap<String, u64>,
    pub lane_envelopes: u64,
    pub frames_out: u64,
    pub frames_in: u64,
    pub misrouted: u64,
    pub frames_unsent: u64,
    pub frames_doubtful: u64,
    pub replies_dropped: u64,
}

impl Counters {
    /// What all these nodes have counted together.
    pub(crate) fn sum(nodes: impl IntoIterator<Item = Self>) -> Self {
        nodes.into_iter().fold(Self::default(), Self::plus)
    }

    pub(crate) fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    fn plus(mut self, other: Self) -> Self {
        self.sent += other.sent;
        self.handled += other.handled;
        for (reason, count) in other.dropped {
            *self.dropped.entry(reason).or_default() += count;
        }
        self.lane_envelopes += other.lane_envelopes;
        self.frames_out += other.frames_out;
        self.frames_in += other.frames_in;
        self.misrouted += other.misrouted;
        self.frames_unsent += other.frames_unsent;
        self.frames_doubtful += other.frames_doubtful;
        self.replies_dropped += other.replies_dropped;
        self
    }
}

impl From<teff::Counters> for Counters {
    fn from(counters: teff::Counters) -> Self {
        let total = counters.total();
        let dropped = total
            .dropped
            .iter()
            .map(|(reason, count)| ((*reason).to_owned(), *count));
        Self {
            sent: total.sent,
            handled: total.handled,
            dropped: dropped.collect(),
            lane_envelopes: counters.lane_envelopes,
            frames_out: counters.frames_out,
            frames_in: counters.frames_in,
            misrouted: counters.misrouted,
            frames_unsent: counters.frames_unsent,
            frames_doubtful: counters.frames_doubtful,
            replies_dropped: counters.replies_dropped,
        }
    }
}
