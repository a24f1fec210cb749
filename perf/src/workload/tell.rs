//! `lane-tell` and `local-tell`: one grain tells many, as fast as they take it.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::yield_now;
use teff::TellError;

use crate::grains::{Payload as _, Target};
use crate::pair::Pair;
use crate::raw::{LocalRing, Ring};
use crate::rig::{PATIENCE, fence};
use crate::sample::{Meter, Sample};
use crate::scenario::Scenario;
use crate::settings::Settings;

/// Either workload.
pub(super) struct Tell<R: Target> {
    pair: Pair<R>,
    limit: Limit<R::Payload>,
    window: usize,
}

/// The raw ring, between the places where the workload runs.
enum Limit<P> {
    Lane(Ring<P>),
    Local(LocalRing<P>),
}

impl<R: Target> Tell<R> {
    /// To grains on the other shard.
    pub(super) fn lane(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            pair: Pair::start(settings, &[1])?,
            limit: Limit::Lane(Ring::new(settings.grains)),
            window: settings.window.unwrap_or(WINDOW),
        })
    }

    /// To grains on the driver's own shard.
    pub(super) fn local(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self {
            pair: Pair::start(settings, &[0])?,
            limit: Limit::Local(LocalRing::new(settings.grains)),
            window: settings.window.unwrap_or(WINDOW),
        })
    }
}

impl<R: Target> Scenario for Tell<R> {
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample> {
        match &self.limit {
            Limit::Lane(ring) => ring.slice(&self.pair.near, &self.pair.far, time),
            Limit::Local(ring) => ring.slice(&self.pair.near, time),
        }
    }

    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let tells = Tells {
            targets: Arc::clone(&self.pair.targets),
            number: self.pair.next_number(),
            window: self.window,
        };
        let run = self.pair.near.drive(move |_| tells.run(time))?;
        let sample = run.wait(time)??;
        self.pair.handled_in_order(sample.messages);
        self.pair.rig.expect(FENCES);
        Ok(sample)
    }

    fn line(&mut self) -> anyhow::Result<Option<f64>> {
        match self.limit {
            Limit::Lane(_) => self.pair.line(),
            Limit::Local(_) => Ok(None),
        }
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.pair.finish()
    }
}

/// A slice of tells.
pub(super) struct Tells<R> {
    pub targets: Arc<[R]>,
    pub number: u64,
    pub window: usize,
}

impl<R: Target> Tells<R> {
    pub(super) async fn run(self, time: Duration) -> anyhow::Result<Sample> {
        let Self {
            targets,
            number: first,
            window,
        } = self;
        let targets = &*targets;
        let windows_per_look = LOOK.div_ceil(window);
        let mut number = first;
        let mut at = (number % targets.len() as u64) as usize;
        let meter = Meter::start();
        while meter.begin().elapsed() < time {
            for _ in 0..windows_per_look {
                for _ in 0..window {
                    let (target, payload) = (&targets[at], R::Payload::numbered(number));
                    match target.hit(payload).tell() {
                        Ok(()) => {}
                        Err(TellError::Busy) => {
                            target.hit(payload).timeout(PATIENCE).when_room().await?;
                        }
                        Err(error) => return Err(error.into()),
                    }
                    number += 1;
                    at += 1;
                    if at == targets.len() {
                        at = 0;
                    }
                }
                yield_now().await;
            }
        }
        fence(targets).await?;
        Ok(meter.sample(number - first))
    }
}

/// Tells between two turns of the driver's shard, unless told otherwise.
pub(super) const WINDOW: usize = 512;

/// Tells between two looks at the clock, at least.
const LOOK: usize = 256;

/// Calls at the end of a slice.
pub(super) const FENCES: u64 = 1;
