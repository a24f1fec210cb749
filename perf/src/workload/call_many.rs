//! `lane-call-many`: many grains of one shard call grains of the other, each one call at a time.
//!
//! Reading the clock for every call would be a good part of what a call costs here, so one call in
//! [`CALLS_PER_LOOK`] is timed, by count and not by chance of what it meets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use teff::Ctx;

use super::crowd::{Crowd, Job};
use crate::grains::{Payload as _, Target};
use crate::pair::Pair;
use crate::place::Driver;
use crate::raw::Ring;
use crate::sample::Sample;
use crate::scenario::Scenario;
use crate::settings::Settings;

/// The workload.
pub(super) struct CallMany<R: Target> {
    pair: Pair<R>,
    drivers: Vec<Driver>,
    ring: Ring<R::Payload>,
}

impl<R: Target> CallMany<R> {
    /// As many drivers as the window says.
    pub(super) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let pair = Pair::start(settings, &[1])?;
        let drivers = pair.rig.drivers(0, settings.window.unwrap_or(WINDOW));
        Ok(Self {
            pair,
            drivers,
            ring: Ring::new(settings.grains),
        })
    }
}

impl<R: Target> Scenario for CallMany<R> {
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample> {
        self.ring.slice(&self.pair.near, &self.pair.far, time)
    }

    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let targets = Arc::clone(&self.pair.targets);
        let job = job(targets, self.drivers.len(), time);
        let (sample, sum) = Crowd::run(&self.drivers, time, job)?;
        self.pair.handled(sample.messages, sum);
        Ok(sample)
    }

    fn line(&mut self) -> anyhow::Result<Option<f64>> {
        self.pair.line()
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.pair.finish()
    }
}

/// What each of so many drivers does in a slice.
pub(super) fn job<R: Target>(
    targets: Arc<[R]>,
    drivers: usize,
    time: Duration,
) -> impl Fn(Ctx, usize, Arc<Crowd>) -> Job + Clone + Send + 'static {
    // Where each begins: far from the others.
    let apart = (targets.len() / drivers).max(1);
    move |_, index, crowd| {
        let at = index * apart % targets.len();
        Box::pin(calls(Arc::clone(&targets), at, crowd, time))
    }
}

async fn calls<R: Target>(
    targets: Arc<[R]>,
    mut at: usize,
    crowd: Arc<Crowd>,
    time: Duration,
) -> anyhow::Result<()> {
    let (mut number, mut sum) = (0_u64, 0_u64);
    let begin = crowd.gather().await;
    let mut look = begin;
    while look - begin < time {
        for call in 0..CALLS_PER_LOOK {
            let reply = targets[at].echo(R::Payload::numbered(number)).await?;
            if call == 0 {
                crowd.record(look.elapsed());
            }
            ensure!(reply == number, "a call got the reply to another");
            sum = sum.wrapping_add(number);
            number += 1;
            at += 1;
            if at == targets.len() {
                at = 0;
            }
        }
        look = Instant::now();
    }
    crowd.leave(number, sum);
    Ok(())
}

/// Calls under way, unless told otherwise.
pub(super) const WINDOW: usize = 256;

/// Calls of one driver between two looks at the clock.
const CALLS_PER_LOOK: u32 = 16;
