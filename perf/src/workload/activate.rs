//! `activate`: one message each to grains that do not exist yet.

use std::time::Duration;

use anyhow::Context as _;

use crate::allocation;
use crate::grains::{State, Target};
use crate::place::{Driver, Place as _};
use crate::raw;
use crate::rig::{Rig, Setup, tell_each};
use crate::sample::{Meter, Sample};
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::workload::tell::WINDOW;

/// The workload. Each repetition has a node of its own.
pub(super) struct Activate<R> {
    settings: Settings,
    fresh: Option<Fresh<R>>,
}

/// A node whose grains are not there yet.
struct Fresh<R> {
    rig: Rig,
    near: Driver,
    far: Driver,
    targets: Vec<R>,
}

impl<R: Target> Activate<R> {
    /// Starts nothing yet.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            fresh: None,
        }
    }

    fn fresh(&mut self) -> anyhow::Result<&Fresh<R>> {
        if self.fresh.is_none() {
            self.fresh = Some(Fresh::start(&self.settings)?);
        }
        self.fresh.as_ref().context("a node was just started")
    }
}

impl<R: Target> Fresh<R> {
    fn start(settings: &Settings) -> anyhow::Result<Self> {
        let rig = Rig::start::<R>(&Setup {
            cpus: settings.cpus.to_vec(),
            idle: settings.idle.into(),
            grains: settings.grains,
        })?;
        let (near, far) = (rig.driver(0), rig.driver(1));
        // The drivers' own activation is not what is measured.
        for driver in [&near, &far] {
            driver.run(|| ())?.wait(Duration::ZERO)?;
        }
        let targets = rig.grains_on(1, settings.grains);
        Ok(Self {
            rig,
            near,
            far,
            targets,
        })
    }
}

impl<R: Target> Scenario for Activate<R> {
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let grains = self.settings.grains;
        let far = self.fresh()?.far.clone();
        far.run(move || raw::fill_map(grains))?.wait(time)
    }

    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample> {
        self.fresh()?;
        let fresh = self.fresh.take().context("a node was just started")?;
        let Fresh {
            mut rig,
            near,
            targets,
            ..
        } = fresh;
        let window = self.settings.window.unwrap_or(WINDOW);
        let run = near.drive(move |_| activations(targets, window))?;
        let sample = run.wait(time)??;
        rig.expect(sample.messages + FENCES);
        rig.finish::<R>()?;
        Ok(sample)
    }

    fn line(&mut self) -> anyhow::Result<Option<f64>> {
        let Fresh { near, far, .. } = self.fresh()?;
        raw::line_round_trip(near, far).map(Some)
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        match self.fresh {
            Some(fresh) => fresh.rig.finish::<R>(),
            None => Ok(()),
        }
    }
}

async fn activations<R: Target>(targets: Vec<R>, window: usize) -> anyhow::Result<Sample> {
    let grains = targets.len() as f64;
    let keys: usize = targets
        .iter()
        .map(|target| target.as_grain().key().len())
        .sum();
    let before = allocation::bytes_in_use();
    let meter = Meter::start();
    tell_each(&targets, window).await?;
    let sample = meter.sample(targets.len() as u64);
    let taken = (allocation::bytes_in_use() - before) as f64;
    let own = size_of::<State>() as f64 + keys as f64 / grains;
    Ok(Sample {
        bytes_per_grain: Some(taken / grains - own),
        ..sample
    })
}

/// Calls at the end of a repetition.
const FENCES: u64 = 1;
