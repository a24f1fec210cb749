//! `ingest`: a plain thread tells the grains of a one-shard node, as fast as they take it.

use std::sync::Arc;
use std::time::Duration;

use teff::TellError;

use crate::grains::{Payload as _, Target};
use crate::place::{Driver, Place as _, PlainThread};
use crate::raw::{self, Ring};
use crate::rig::{PATIENCE, Rig, Setup};
use crate::sample::{Meter, Sample};
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::shuffle::shuffled;

/// The workload. Numbers run on from slice to slice.
pub(super) struct Ingest<R: Target> {
    rig: Rig,
    thread: PlainThread,
    shard: Driver,
    targets: Arc<[R]>,
    ring: Ring<R::Payload>,
    next: u64,
}

impl<R: Target> Ingest<R> {
    /// The thread has the first CPU, the shard the second.
    pub(super) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let [first, second] = settings.cpus;
        let mut rig = Rig::start::<R>(&Setup {
            cpus: vec![second],
            idle: settings.idle.into(),
            grains: settings.grains,
        })?;
        let shard = rig.driver(0);
        let targets = rig.grains_on(0, settings.grains);
        let targets = shuffled(rig.activate(&shard, targets)?).into();
        Ok(Self {
            rig,
            thread: PlainThread::start(first)?,
            shard,
            targets,
            ring: Ring::new(settings.grains),
            next: 0,
        })
    }
}

impl<R: Target> Scenario for Ingest<R> {
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample> {
        self.ring.slice(&self.thread, &self.shard, time)
    }

    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let (targets, first) = (Arc::clone(&self.targets), self.next);
        let run = self.thread.run(move || tells(&targets, first, time))?;
        let sample = run.wait(time)??;
        self.next += sample.messages;
        self.rig.expect(sample.messages + FENCES);
        Ok(sample)
    }

    fn line(&mut self) -> anyhow::Result<Option<f64>> {
        raw::line_round_trip(&self.thread, &self.shard).map(Some)
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        let sum = u128::from(self.next) * u128::from(self.next.saturating_sub(1)) / 2;
        let handled = (self.targets.len() as u64 + self.next, sum as u64);
        self.rig.check(&self.shard, self.targets, handled)?;
        self.rig.finish::<R>()
    }
}

fn tells<R: Target>(targets: &[R], first: u64, time: Duration) -> anyhow::Result<Sample> {
    let mut number = first;
    let mut at = (number % targets.len() as u64) as usize;
    let meter = Meter::start();
    while meter.begin().elapsed() < time {
        for _ in 0..LOOK {
            let (target, payload) = (&targets[at], R::Payload::numbered(number));
            match target.hit(payload).tell() {
                Ok(()) => {}
                Err(TellError::Busy) => {
                    target.hit(payload).timeout(PATIENCE).when_room().wait()?;
                }
                Err(error) => return Err(error.into()),
            }
            number += 1;
            at += 1;
            if at == targets.len() {
                at = 0;
            }
        }
    }
    // What one thread sends to one shard arrives in order.
    targets[at].totals().wait()?;
    Ok(meter.sample(number - first))
}

/// Tells between two looks at the clock.
const LOOK: usize = 256;

/// Calls at the end of a slice.
const FENCES: u64 = 1;
