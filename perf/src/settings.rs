//! What a workload runs with, after defaults.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use teff::IdleStrategy;

/// What one workload runs with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Measured time, raw and measured slices together.
    pub seconds: f64,
    /// Bytes per message.
    pub payload: usize,
    /// Grains that are told or called.
    pub grains: usize,
    /// Tells between two turns of the shard, calls under way, or grains that send; by workload.
    pub window: Option<usize>,
    /// Messages per second of an open loop.
    pub rate: Option<f64>,
    /// Shards of each of two nodes, where there are two.
    pub shards: Option<u16>,
    /// What idle shards do.
    pub idle: Idle,
    /// The CPUs that take part.
    pub cpus: [usize; 2],
}

/// What shards do while they have nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Idle {
    /// Poll for ever
    Busy,
    /// Poll for a short while, then sleep: a node's default
    Spin,
    /// Sleep at once
    Park,
}

impl From<Idle> for IdleStrategy {
    fn from(idle: Idle) -> Self {
        match idle {
            Idle::Busy => Self::BusyPoll,
            Idle::Spin => Self::default(),
            Idle::Park => Self::Park,
        }
    }
}
