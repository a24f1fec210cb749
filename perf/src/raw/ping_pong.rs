//! The raw limit of calling: a payload there, eight bytes back, one at a time, over two lanes
//! whose ends poll without rest.

use std::time::{Duration, Instant};

use teff_lane::lane;

use crate::grains::Payload;
use crate::place::Place;
use crate::sample::{Meter, Sample, histogram, record};

/// A payload on cache lines of its own.
#[repr(align(64))]
struct Ping<P>(P);

/// Calls for this long from one place to the other.
pub(crate) fn ping_pong<P: Payload>(
    from: &impl Place,
    to: &impl Place,
    time: Duration,
) -> anyhow::Result<Sample> {
    let (mut pings, mut pinged) = lane::<Ping<P>>(CAPACITY);
    let (mut pongs, mut ponged) = lane::<u64>(CAPACITY);
    let far = to.run(move || {
        // The near end leaves when it has had enough.
        let mut polls = 0_u32;
        while polls < POLLS_PER_LOOK || !pinged.is_closed() {
            polls = if polls < POLLS_PER_LOOK { polls + 1 } else { 0 };
            if let Some(Ping(payload)) = pinged.pop() {
                let pushed = pongs.try_push(payload.number());
                assert!(pushed.is_ok(), "there is room for what is waited for");
                pongs.publish();
            }
        }
    })?;
    let near = from.run(move || {
        let mut latencies = histogram();
        let meter = Meter::start();
        let (mut last, mut number) = (meter.begin(), 0);
        while last - meter.begin() < time {
            let pushed = pings.try_push(Ping(P::numbered(number)));
            assert!(pushed.is_ok(), "there is room for one");
            pings.publish();
            while ponged.pop().is_none() {}
            let now = Instant::now();
            record(&mut latencies, now - last);
            (last, number) = (now, number + 1);
        }
        meter.sample(number).with(latencies)
    })?;
    let sample = near.wait(time)?;
    far.wait(time)?;
    Ok(sample)
}

/// One is under way at a time; more keeps the two ends off each other's lines.
const CAPACITY: usize = 64;

/// Polls between two looks at whether the near end has left.
const POLLS_PER_LOOK: u32 = 1024;
