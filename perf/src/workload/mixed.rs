//! `mixed`: an open loop. Messages are due at a rate, whether the ones before were answered or not.
//!
//! Grains of shard 0 share the rate evenly. Of what each sends, a fifth are calls and the rest are
//! tells; half goes to grains of its own shard and half to the other. The latency of a call counts
//! from when it was due: a driver that is late, because a call took long or its shard was busy,
//! sends at once, and its lateness counts. Nothing is left out for being late: a rate that the node
//! cannot keep is an error. Each slice begins without a backlog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use teff::Ctx;

use super::crowd::{Crowd, Job};
use crate::grains::{Payload as _, Target};
use crate::pair::Pair;
use crate::place::Driver;
use crate::raw;
use crate::rig::{fence, tell};
use crate::sample::Sample;
use crate::scenario::Scenario;
use crate::settings::Settings;

/// The workload.
pub(super) struct Mixed<R> {
    pair: Pair<R>,
    drivers: Vec<Driver>,
    rate: f64,
    slices: u64,
}

impl<R: Target> Mixed<R> {
    /// As many drivers as the window says.
    pub(super) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let pair = Pair::start(settings, &[0, 1])?;
        let drivers = pair.rig.drivers(0, settings.window.unwrap_or(WINDOW));
        Ok(Self {
            pair,
            drivers,
            rate: settings.rate.unwrap_or(RATE),
            slices: 0,
        })
    }
}

impl<R: Target> Scenario for Mixed<R> {
    fn raw(&mut self, time: Duration) -> anyhow::Result<Sample> {
        raw::ping_pong::<R::Payload>(&self.pair.near, &self.pair.far, time)
    }

    fn measured(&mut self, time: Duration) -> anyhow::Result<Sample> {
        self.slices += 1;
        let size = self.drivers.len();
        let targets = Arc::clone(&self.pair.targets);
        let job = job(targets, (size, self.rate), self.slices, time);
        let (sample, sum) = Crowd::run(&self.drivers, time, job)?;
        self.pair.handled(sample.messages, sum);
        self.pair.rig.expect(FENCES * size as u64);
        Ok(sample)
    }

    fn line(&mut self) -> anyhow::Result<Option<f64>> {
        self.pair.line()
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        self.pair.finish()
    }
}

/// What each of so many drivers does in a slice, so that together they keep this rate.
pub(super) fn job<R: Target>(
    targets: Arc<[R]>,
    (size, rate): (usize, f64),
    slice: u64,
    time: Duration,
) -> impl Fn(Ctx, usize, Arc<Crowd>) -> Job + Clone + Send + 'static {
    let interval = size as f64 / rate;
    let seed = slice * size as u64;
    move |ctx, index, crowd| {
        let sender = Sender {
            targets: Arc::clone(&targets),
            random: fastrand::Rng::with_seed(seed + index as u64),
            // Even, all drivers together.
            offset: interval * index as f64 / size as f64,
            interval,
            time,
        };
        Box::pin(sender.run(ctx, crowd))
    }
}

/// One driver's share.
struct Sender<R> {
    targets: Arc<[R]>,
    random: fastrand::Rng,
    /// When the first message is due, in seconds, and how far apart they are.
    offset: f64,
    interval: f64,
    time: Duration,
}

impl<R: Target> Sender<R> {
    async fn run(mut self, ctx: Ctx, crowd: Arc<Crowd>) -> anyhow::Result<()> {
        let (near, far) = self.targets.split_at(self.targets.len() / 2);
        let (mut number, mut sum) = (0_u64, 0_u64);
        let begin = crowd.gather().await;
        let patience = self.time * HOPELESS + STALL;
        let give_up = begin + patience;
        loop {
            let due = Duration::from_secs_f64(self.offset + self.interval * number as f64);
            let due = begin + due;
            if due >= begin + self.time {
                break;
            }
            // To leave out what is later still would make the figures look better than they are.
            ensure!(
                wait_until(&ctx, due).await < give_up,
                "the node cannot keep this rate: after {:?} it had not sent what was due in {:?}; \
                 ask for a lower --rate",
                patience,
                self.time,
            );
            let grains = if self.random.bool() { near } else { far };
            let target = &grains[self.random.usize(..grains.len())];
            if self.random.u32(..CALL_ONE_IN) == 0 {
                let reply = target.echo(R::Payload::numbered(number)).await?;
                crowd.record(due.elapsed());
                ensure!(reply == number, "a call got the reply to another");
            } else {
                tell(target, R::Payload::numbered(number)).await?;
            }
            sum = sum.wrapping_add(number);
            number += 1;
        }
        fence(near).await?;
        fence(far).await?;
        crowd.leave(number, sum);
        Ok(())
    }
}

/// Sleeps until then, if it is not past. Gives the time that it is.
async fn wait_until(ctx: &Ctx, due: Instant) -> Instant {
    loop {
        let now = Instant::now();
        if now >= due {
            return now;
        }
        ctx.sleep(due - now).await;
    }
}

/// Grains that send, unless told otherwise.
pub(super) const WINDOW: usize = 16;

/// Messages per second, unless told otherwise.
pub(super) const RATE: f64 = 200_000.0;

/// One message in so many is a call.
const CALL_ONE_IN: u32 = 5;

/// A slice that takes so many times longer than it should will never catch up with its rate.
const HOPELESS: u32 = 3;

/// A machine that did something else for so long says nothing about the rate, even if the slice was
/// short.
const STALL: Duration = Duration::from_secs(2);

/// Calls at the end of a slice, of each driver.
pub(super) const FENCES: u64 = 2;
