//! States in a hash map, by a key that is a hash already.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::grains::State;
use crate::sample::{Meter, Sample};

/// States by hash. Boxed, as a runtime that knows nothing of their type would keep them.
pub(super) type States = HashMap<u64, Box<State>, BuildHasherDefault<Hashed>>;

/// Passes on what is a hash already.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }
}

/// The hashes of so many grains.
pub(super) fn hashes(count: usize) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(HASHES);
    std::iter::repeat_with(|| random.u64(..))
        .take(count)
        .collect()
}

/// A state for each hash.
pub(super) fn states(hashes: &[u64]) -> States {
    let mut states = States::default();
    for hash in hashes {
        states.insert(*hash, Box::default());
    }
    states
}

/// Puts so many boxed states into a map that grows: the raw limit of activation.
pub(crate) fn fill(count: usize) -> Sample {
    let hashes = hashes(count);
    let meter = Meter::start();
    let states = states(&hashes);
    let sample = meter.sample(states.len() as u64);
    drop(states);
    sample
}

/// Any number would do; the same in every run.
const HASHES: u64 = 0x7eff;
