//! The program's allocator, which counts: what a message allocates, and what a grain takes.
//!
//! It counts all threads together. What is measured therefore allocates on no thread but those
//! that are being measured. Each allocation costs two locked additions more than it would
//! otherwise, in raw and measured alike.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often memory was asked for since the program began; growing a block counts.
pub(crate) fn count() -> u64 {
    let stats = GLOBAL.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Bytes that are allocated now, as asked for.
pub(crate) fn bytes_in_use() -> i64 {
    let stats = GLOBAL.stats();
    stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
}
