//! The raw limit of calling a shard that sleeps: there and back over two eventfds, each read by a
//! thread that blocks in the kernel.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};

use crate::place::Place;
use crate::sample::{Meter, Sample, histogram, record};

/// Wakes for this long from one place to the other.
pub(crate) fn ping_pong(
    from: &impl Place,
    to: &impl Place,
    time: Duration,
) -> anyhow::Result<Sample> {
    let event = || eventfd(0, EventfdFlags::CLOEXEC).context("an eventfd cannot be had");
    let (ping, pong) = (event()?, event()?);
    let (pinged, ponged) = (ping.try_clone()?, pong.try_clone()?);
    let far = to.run(move || -> anyhow::Result<()> {
        while take(&pinged)? < STOP {
            give(&pong, 1)?;
        }
        Ok(())
    })?;
    let near = from.run(move || -> anyhow::Result<Sample> {
        let mut latencies = histogram();
        let meter = Meter::start();
        let (mut last, mut count) = (meter.begin(), 0);
        while last - meter.begin() < time {
            give(&ping, 1)?;
            take(&ponged)?;
            let now = Instant::now();
            record(&mut latencies, now - last);
            (last, count) = (now, count + 1);
        }
        let sample = meter.sample(count).with(latencies);
        give(&ping, STOP)?;
        Ok(sample)
    })?;
    let sample = near.wait(time)?;
    far.wait(time)??;
    sample
}

fn give(event: &impl AsFd, value: u64) -> anyhow::Result<()> {
    write(event, &value.to_ne_bytes()).context("an eventfd cannot be written")?;
    Ok(())
}

/// Sleeps until somebody has given something.
fn take(event: &impl AsFd) -> anyhow::Result<u64> {
    let mut value = [0; 8];
    loop {
        match read(event, &mut value) {
            Ok(_) => return Ok(u64::from_ne_bytes(value)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("an eventfd cannot be read"),
        }
    }
}

/// The value that ends the far end.
const STOP: u64 = 1 << 32;
