//! What does it cost to make a call known and to complete it, by the number of calls that are
//! outstanding?
//!
//! One iteration completes a call and makes another, so the number stays what it is. Entries of 8
//! bytes show what the table costs, those of 128 bytes (about what a shard keeps: a waker, an
//! outcome, the link) what it costs to move them in and out besides.
//!
//! - `oldest`: calls complete in the order in which they were made, as those to one grain do; the
//!   next one to complete is where the CPU expects it.
//! - `any`: they complete in no order; with many outstanding, each is a walk to memory that is
//!   not in the cache.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use teff_bench::config;
use teff_core::{CallTable, Micros};
use teff_wire::CallId;

const OUTSTANDING: [usize; 3] = [1, 256, 60_000];

/// How long a call may take, in microseconds.
const PATIENCE: u64 = 5_000_000;

fn insert_remove(c: &mut Criterion) {
    insert_remove_with::<1>(c);
    insert_remove_with::<16>(c);
}

fn insert_remove_with<const WORDS: usize>(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("call_table/{}B", size_of::<Entry<WORDS>>()));
    group.throughput(Throughput::Elements(1));
    for outstanding in OUTSTANDING {
        let mut calls = Calls::<WORDS>::new(outstanding);
        let mut next = 0;
        group.bench_function(BenchmarkId::new("oldest", outstanding), |b| {
            b.iter(|| {
                next = if next + 1 == outstanding { 0 } else { next + 1 };
                calls.complete_and_make(next)
            });
        });
        let mut calls = Calls::<WORDS>::new(outstanding);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        group.bench_function(BenchmarkId::new("any", outstanding), |b| {
            b.iter(|| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // The high half, scaled: a division would cost more than what is measured.
                let at = ((random >> 32) * outstanding as u64) >> 32;
                calls.complete_and_make(at as usize)
            });
        });
    }
    group.finish();
}

/// What completes a call.
type Entry<const WORDS: usize> = [u64; WORDS];

/// A table and the ids of all calls that are outstanding in it.
struct Calls<const WORDS: usize> {
    table: CallTable<Entry<WORDS>>,
    ids: Vec<CallId>,
    now: u64,
}

impl<const WORDS: usize> Calls<WORDS> {
    fn new(outstanding: usize) -> Self {
        let mut calls = Self {
            table: CallTable::new(CallTable::<Entry<WORDS>>::DEFAULT_CAPACITY),
            ids: Vec::new(),
            now: 0,
        };
        calls.ids = (0..outstanding).map(|_| calls.make()).collect();
        calls
    }

    /// Completes the call whose id is at this place, and puts a new one there.
    fn complete_and_make(&mut self, at: usize) -> Option<Entry<WORDS>> {
        let entry = self.table.remove(self.ids[at]);
        debug_assert!(entry.is_some(), "it was outstanding");
        self.ids[at] = self.make();
        entry
    }

    fn make(&mut self) -> CallId {
        self.now += 1;
        let entry = black_box([self.now; WORDS]);
        let made = self.table.insert(entry, Micros(self.now + PATIENCE));
        made.expect("the table has room for more than are outstanding")
    }
}

criterion_group! {
    name = benches;
    config = config();
    targets = insert_remove
}
criterion_main!(benches);
