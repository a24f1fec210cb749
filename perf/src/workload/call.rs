//! `lane-call` and `local-call`: one grain calls many, one call at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::grains::{Payload as _, Target};
use crate::pair::Pair;
use crate::raw;
use crate::sample::{Meter, Sample, histogram, record};
use crate::scenario::Scenario;
use crate::settings::{Idle, Settings};

/// Either workload.
pub(super) struct Call<R> {
    pair: Pair<R>,
    /// Whether the raw limit is to be woken, not to be polled.
    sleeps: bool,
}

impl<R: Target> Call<R> {
    /// To grains on the other shard.
    pub(super) fn lane(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            pair: Pair::start(settings, &[1])?,
            sleeps: settings.idle == Idle::Park,
        })
    }

    /// To grains on the driver's own shard. The limit is a call to the other all the same: a call
    /// that stays should not cost more than one that crosses.
    pub(super) fn local(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            pair: Pair::start(settings, &[0])?,
            sleeps: false,
        })
    }
}

impl<R: Target> Scenario for Call<R> {
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let (near, far) = (&self.pair.near, &self.pair.far);
        if self.sleeps {
            raw::eventfd_ping_pong(near, far, time)
        } else {
            raw::ping_pong::<R::Payload>(near, far, time)
        }
    }

    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let targets = Arc::clone(&self.pair.targets);
        let first = self.pair.next_number();
        let run = self.pair.near.drive(move |_| calls(targets, first, time))?;
        let sample = run.wait(time)??;
        self.pair.handled_in_order(sample.messages);
        Ok(sample)
    }

    fn line(&mut self) -> anyhow::Result<Option<f64>> {
        self.pair.line()
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.pair.finish()
    }
}

/// Calls one grain after the other for this long.
pub(super) async fn calls<R: Target>(
    targets: Arc<[R]>,
    first: u64,
    time: Duration,
) -> anyhow::Result<Sample> {
    let mut at = (first % targets.len() as u64) as usize;
    let mut number = first;
    let mut latencies = histogram();
    let meter = Meter::start();
    let mut last = meter.begin();
    while last - meter.begin() < time {
        let reply = targets[at].echo(R::Payload::numbered(number)).await?;
        let now = Instant::now();
        record(&mut latencies, now - last);
        ensure!(reply == number, "a call got the reply to another");
        last = now;
        number += 1;
        at += 1;
        if at == targets.len() {
            at = 0;
        }
    }
    Ok(meter.sample(number - first).with(latencies))
}
