//! `wire-tell`, `wire-call`, `wire-call-many` and `wire-mixed`: what `lane-tell`, `lane-call`,
//! `lane-call-many` and `mixed` do, to grains of a node in another process.

use std::sync::Arc;
use std::time::Duration;

use super::crowd::Crowd;
use super::{call, call_many, mixed, tell};
use crate::grains::Target;
use crate::place::Driver;
use crate::sample::Sample;
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::wire::{HEADER, WirePair};

/// Any of the four.
pub(super) struct Wire<R> {
    pair: WirePair<R>,
    what: What,
    payload: usize,
}

enum What {
    Tell {
        window: usize,
    },
    Call,
    CallMany(Vec<Driver>),
    Mixed {
        drivers: Vec<Driver>,
        rate: f64,
        slices: u64,
    },
}

impl<R: Target> Wire<R> {
    /// `wire-tell`.
    pub(super) fn tell(settings: &Settings) -> anyhow::Result<Self> {
        let window = settings.window.unwrap_or(tell::WINDOW);
        Self::start(settings, |_| What::Tell { window })
    }

    /// `wire-call`.
    pub(super) fn call(settings: &Settings) -> anyhow::Result<Self> {
        Self::start(settings, |_| What::Call)
    }

    /// `wire-call-many`: as many drivers as the window says.
    pub(super) fn call_many(settings: &Settings) -> anyhow::Result<Self> {
        let window = settings.window.unwrap_or(call_many::WINDOW);
        Self::start(settings, |pair| What::CallMany(pair.drivers(window)))
    }

    /// `wire-mixed`: as many drivers as the window says.
    pub(super) fn mixed(settings: &Settings) -> anyhow::Result<Self> {
        let window = settings.window.unwrap_or(mixed::WINDOW);
        Self::start(settings, |pair| What::Mixed {
            drivers: pair.drivers(window),
            rate: settings.rate.unwrap_or(mixed::RATE),
            slices: 0,
        })
    }

    fn start(settings: &Settings, what: impl FnOnce(&WirePair<R>) -> What) -> anyhow::Result<Self> {
        let pair = WirePair::start(settings)?;
        Ok(Self {
            what: what(&pair),
            payload: settings.payload,
            pair,
        })
    }
}

impl<R: Target> Scenario for Wire<R> {
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let window = match &self.what {
            What::Tell { .. } => return self.pair.raw_flood(HEADER + self.payload, time),
            What::CallMany(drivers) => drivers.len(),
            What::Call | What::Mixed { .. } => 1,
        };
        self.pair.raw_calls(self.payload, window, time)
    }

    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let targets = Arc::clone(&self.pair.targets);
        let (first, near) = (self.pair.next_number(), &self.pair.near[0]);
        match &mut self.what {
            What::Tell { window } => {
                let tells = tell::Tells {
                    targets,
                    number: first,
                    window: *window,
                };
                let mut sample = near.drive(move |_| tells.run(time))?.wait(time)??;
                let messages = sample.messages;
                self.pair
                    .handled_in_order(&mut sample, messages, tell::FENCES)?;
                Ok(sample)
            }
            What::Call => {
                let run = near.drive(move |_| call::calls(targets, first, time))?;
                let mut sample = run.wait(time)??;
                let messages = sample.messages;
                self.pair.handled_in_order(&mut sample, messages, 0)?;
                Ok(sample)
            }
            What::CallMany(drivers) => {
                let job = call_many::job(targets, drivers.len(), time);
                let (mut sample, sum) = Crowd::run(drivers, time, job)?;
                let messages = sample.messages;
                self.pair.handled(&mut sample, (messages, sum), 0)?;
                Ok(sample)
            }
            What::Mixed {
                drivers,
                rate,
                slices,
            } => {
                *slices += 1;
                let size = drivers.len();
                let job = mixed::job(targets, (size, *rate), *slices, time);
                let (mut sample, sum) = Crowd::run(drivers, time, job)?;
                let fences = mixed::FENCES * size as u64;
                let messages = sample.messages;
                self.pair.handled(&mut sample, (messages, sum), fences)?;
                Ok(sample)
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<Option<f64>> {
        self.pair.line()
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.pair.finish()
    }
}
