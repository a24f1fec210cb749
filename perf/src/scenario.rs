//! What a workload must be able to do to be measured.

use std::time::Duration;

use crate::sample::Sample;

/// A workload that is set up.
pub(crate) trait Scenario {
    /// Runs the raw limit for about this long.
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample>;

    /// Runs the workload for about this long. When it returns, everything sent has been handled.
    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample>;

    /// Nanoseconds of a cache line there and back, where two CPUs take part.
    fn line(&mut self) -> anyhow::Result<Option<f64>>;

    /// Checks that no message was lost, and ends.
    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}
