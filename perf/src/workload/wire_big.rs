//! `wire-big`: big payloads to another process, and small calls beside them.
//!
//! In the first half of a slice there are only small calls, one at a time; in the second half
//! another grain of the same shard tells big payloads as fast as they are taken. The rate is that
//! of big payloads; the latencies are those of small calls, beside the big payloads and alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use futures_lite::future::yield_now;
use teff::{Bytes, TellError};

use super::call;
use crate::bulk::{BIG, BulkRef};
use crate::grains::Target;
use crate::place::Driver;
use crate::rig::PATIENCE;
use crate::sample::{Meter, Sample};
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::wire::{HEADER, WirePair};

/// The workload.
pub(super) struct WireBig<R> {
    pair: WirePair<R>,
    /// Who tells big payloads.
    teller: Driver,
    bulk: BulkRef,
    payload: Bytes,
    next: u64,
}

impl<R: Target> WireBig<R> {
    /// The grain that takes big payloads is on the shard of the grains that are called.
    pub(super) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let pair = WirePair::start(settings)?;
        Ok(Self {
            teller: pair.rig.drivers(0, 2).remove(1),
            bulk: pair.far_grains(1).remove(0),
            payload: vec![0; BIG].into(),
            next: 0,
            pair,
        })
    }

    fn small_calls(&mut self, time: Duration) -> anyhow::Result<crate::place::Awaited<Calls>> {
        let targets = Arc::clone(&self.pair.targets);
        let first = self.pair.next_number();
        self.pair.near[0].drive(move |_| call::calls(targets, first, time))
    }
}

type Calls = anyhow::Result<Sample>;

impl<R: Target> Scenario for WireBig<R> {
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample> {
        self.pair.raw_flood(HEADER + BIG, time)
    }

    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let half = time / 2;
        let mut alone = self.small_calls(half)?.wait(half)??;
        let messages = alone.messages;
        self.pair.handled_in_order(&mut alone, messages, 0)?;

        let (bulk, payload, first) = (self.bulk.clone(), self.payload.clone(), self.next);
        let telling = self
            .teller
            .drive(move |_| tells(bulk, payload, first, half))?;
        let beside = self.small_calls(half)?.wait(half)??;
        let mut sample = telling.wait(half)??;
        self.next += sample.messages;
        self.pair.handled_bulk(sample.messages + FENCES);
        self.pair
            .handled_in_order(&mut sample, beside.messages, 0)?;
        Ok(Sample {
            latencies: beside.latencies,
            quiet: alone.latencies,
            allocations: sample.allocations,
            ..sample
        })
    }

    fn line(&mut self) -> anyhow::Result<Option<f64>> {
        self.pair.line()
    }

    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        let (count, sum, bytes) = self.bulk.totals().timeout(PATIENCE).wait()?;
        self.pair.handled_bulk(1);
        let next = u128::from(self.next);
        let wanted = (next * next.saturating_sub(1) / 2) as u64;
        ensure!(
            (count, sum, bytes) == (self.next, wanted, self.next * BIG as u64),
            "the grain has taken {count} big payloads of {bytes} bytes with the sum {sum}, and \
             should have taken {} of {BIG} bytes each with the sum {wanted}",
            self.next
        );
        self.pair.finish()
    }
}

async fn tells(
    bulk: BulkRef,
    payload: Bytes,
    first: u64,
    time: Duration,
) -> anyhow::Result<Sample> {
    let mut number = first;
    let meter = Meter::start();
    while meter.begin().elapsed() < time {
        match bulk.take(number, payload.clone()).tell() {
            Ok(()) => {}
            Err(TellError::Busy) => {
                let take = bulk.take(number, payload.clone());
                take.timeout(PATIENCE).when_room().await?;
            }
            Err(error) => return Err(error.into()),
        }
        number += 1;
        yield_now().await;
    }
    bulk.totals().await?;
    Ok(meter.sample(number - first))
}

/// Calls at the end of a slice.
const FENCES: u64 = 1;
