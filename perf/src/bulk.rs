//! The grain that takes big payloads.
//!
//! They are read where they arrived, and sent from bytes that the sender keeps, as a program would
//! that has them from elsewhere.

// A reference knows more than every program asks for.
#![allow(dead_code, reason = "generated for all users of a contract")]

use teff::{Archived, Bytes, grain};

/// What the grain remembers.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    count: u64,
    sum: u64,
    bytes: u64,
}

/// Takes big payloads.
#[grain]
pub(crate) trait Bulk {
    /// Takes one, with its number.
    fn take(&mut self, number: u64, bytes: &Archived<Bytes>);

    /// How many there were, the sum of their numbers, and of their lengths.
    fn totals(&mut self) -> (u64, u64, u64);
}

impl Bulk for Sink {
    fn take(&mut self, number: u64, bytes: &Archived<Bytes>) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
        self.bytes += bytes.len() as u64;
    }

    fn totals(&mut self) -> (u64, u64, u64) {
        (self.count, self.sum, self.bytes)
    }
}

/// Bytes of a big payload.
pub(crate) const BIG: usize = 1024 * 1024;
