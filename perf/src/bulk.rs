//! The grain that takes big payloads.
//!
//! They are read where they arrived, and cost the sender one copy: a message is made for each
//! tell, as a program would that has it from elsewhere.

// A reference knows more than every program asks for.
#![allow(dead_code, reason = "generated for all users of a contract")]

use teff::{Archived, grain};

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
    fn take(&mut self, number: u64, bytes: &Archived<Vec<u8>>);

    /// How many there were, the sum of their numbers, and of their lengths.
    fn totals(&mut self) -> (u64, u64, u64);
}

impl Bulk for Sink {
    fn take(&mut self, number: u64, bytes: &Archived<Vec<u8>>) {
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
