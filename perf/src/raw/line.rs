//! The floor under everything between two CPUs: how long one cache line takes there and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::place::Place;

/// Alone on its lines, also those that the CPU fetches along.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

/// Nanoseconds for a line to be written at one place, seen and written at the other, and seen.
pub(crate) fn round_trip(near: &impl Place, far: &impl Place) -> anyhow::Result<f64> {
    let here = Arc::new(Line::default());
    let there = Arc::clone(&here);
    // Even numbers wait for the far end, odd ones for the near. Relaxed: nothing else is shared.
    let far = far.run(move || {
        for round in 0..ROUNDS {
            while there.0.load(Ordering::Relaxed) != 2 * round + 1 {}
            there.0.store(2 * round + 2, Ordering::Relaxed);
        }
    })?;
    let near = near.run(move || {
        // The first rounds wait for the far end to begin.
        let mut begin = Instant::now();
        for round in 0..ROUNDS {
            here.0.store(2 * round + 1, Ordering::Relaxed);
            while here.0.load(Ordering::Relaxed) != 2 * round + 2 {}
            if round == WARM_UP {
                begin = Instant::now();
            }
        }
        begin.elapsed().as_nanos() as f64 / (ROUNDS - WARM_UP - 1) as f64
    })?;
    let time = near.wait(Duration::from_secs(1))?;
    far.wait(Duration::from_secs(1))?;
    Ok(time)
}

const ROUNDS: u64 = 3000;
const WARM_UP: u64 = 1000;
