//! What one slice of time gave, raw or measured.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::allocation;

/// The yield of a slice.
pub(crate) struct Sample {
    /// Messages handled.
    pub messages: u64,
    /// From the first being sent to the last being handled.
    pub time: Duration,
    /// How long each took, in nanoseconds, where that was measured.
    pub latencies: Option<Histogram<u64>>,
    /// Allocations meanwhile.
    pub allocations: u64,
    /// Latencies without the load that `latencies` are measured under, where both were.
    pub quiet: Option<Histogram<u64>>,
    /// Where frames arrived, if they could arrive at a wrong shard.
    pub steering: Option<Steering>,
    /// Bytes that a grain takes beyond its state and its key, where that was measured.
    pub bytes_per_grain: Option<f64>,
}

/// Where frames from another node arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steering {
    /// Frames that arrived.
    pub frames: u64,
    /// Frames, or datagrams of frames, that went on to another shard.
    pub hops: u64,
}

impl Sample {
    /// Messages per second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Reads clock and allocator at the beginning of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    begin: Instant,
    allocations: u64,
}

impl Meter {
    /// Begins.
    pub(crate) fn start() -> Self {
        let allocations = allocation::count();
        Self {
            begin: Instant::now(),
            allocations,
        }
    }

    /// When it began.
    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    /// Ends, now.
    pub(crate) fn sample(self, messages: u64) -> Sample {
        let time = self.begin.elapsed();
        Sample {
            messages,
            time,
            latencies: None,
            quiet: None,
            steering: None,
            allocations: allocation::count() - self.allocations,
            bytes_per_grain: None,
        }
    }
}

impl Sample {
    /// Adds latencies.
    pub(crate) fn with(self, latencies: Histogram<u64>) -> Self {
        Self {
            latencies: Some(latencies),
            ..self
        }
    }
}

/// An empty histogram of nanoseconds, up to a minute, exact to three digits. What is longer counts
/// as a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MINUTE, 3).expect("the bounds are valid")
}

/// Counts one latency.
pub(crate) fn record(latencies: &mut Histogram<u64>, time: Duration) {
    latencies.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(MINUTE));
}

const MINUTE: u64 = 60_000_000_000;
