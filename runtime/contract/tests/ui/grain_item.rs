//! `#[grain]` where it does not belong.

use teff_contract::grain;

#[grain]
struct Counter;

trait Count {
    fn add(&mut self, n: u64);
}

#[grain]
impl Count for Counter {
    fn add(&mut self, _n: u64) {}
}

struct Generic<T>(T);

#[grain]
impl<T> Generic<T> {
    fn add(&mut self, _n: u64) {}
}

fn main() {}
