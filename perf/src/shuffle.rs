//! The order in which grains are visited: without pattern, and the same in every run.

/// The same things in another order.
pub(crate) fn shuffled<T>(mut things: Vec<T>) -> Vec<T> {
    fastrand::Rng::with_seed(SEED).shuffle(&mut things);
    things
}

/// Any number would do.
const SEED: u64 = 42;
