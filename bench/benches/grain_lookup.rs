//! What does the memory let through when messages find their grains in random order, by the number
//! of grains?
//!
//! - `map_of_boxes`: a hash map of boxed states, one after the other. The raw limit that `perf`
//!   measures `lane-tell` against.
//! - `index`: an open-addressed index alone, prefetched for a batch.
//! - `index_entry`: the same, and one line of a slab each, as a catalog keeps what a message to a
//!   grain at rest needs.
//! - `index_entry_state`: the same, and the state that the entry points to. Every message of a node
//!   touches all three, so no lane can carry messages to that many grains faster than this.
//!
//! No messages, no handlers, no other CPU: what is left is waiting for memory. Prefetching goes in
//! passes over a batch, as the shard loop does it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use teff_bench::config;
use teff_lane::prefetch;

/// Fits the first-level cache with its states, the second, and neither.
const GRAINS: [usize; 3] = [1_000, 20_000, 1_000_000];

/// Messages of a batch.
const BATCH: usize = 32;

/// A state and what else an allocator puts on its line.
type State = [u64; 2];

/// Passes on what is a hash already.
#[derive(Default)]
struct Hashed(u64);

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

/// One line of a slab.
#[repr(align(64))]
struct Entry {
    hash: u64,
    state: Box<State>,
}

/// An index of hash and place over a slab.
struct Slab {
    buckets: Vec<(u32, u32)>,
    entries: Vec<Entry>,
}

const VACANT: u32 = u32::MAX;

impl Slab {
    fn new(hashes: &[u64]) -> Self {
        let mut slab = Self {
            buckets: vec![(0, VACANT); (hashes.len() * 4 / 3).next_power_of_two()],
            entries: Vec::with_capacity(hashes.len()),
        };
        for (place, hash) in hashes.iter().enumerate() {
            let mut at = slab.home(*hash);
            while slab.buckets[at].1 != VACANT {
                at = (at + 1) % slab.buckets.len();
            }
            slab.buckets[at] = (*hash as u32, place as u32);
            slab.entries.push(Entry {
                hash: *hash,
                state: Box::default(),
            });
        }
        slab
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    fn find(&self, hash: u64) -> usize {
        let mut at = self.home(hash);
        while self.buckets[at].0 != hash as u32 {
            at = (at + 1) & (self.buckets.len() - 1);
        }
        self.buckets[at].1 as usize
    }

    /// Finds the places of a batch; their entries are asked for if `ahead`.
    fn places(&self, batch: &[u64], ahead: bool) -> [usize; BATCH] {
        for hash in batch {
            prefetch(&self.buckets[self.home(*hash)]);
        }
        let mut places = [0; BATCH];
        for (place, hash) in places.iter_mut().zip(batch) {
            *place = self.find(*hash);
            if ahead {
                prefetch(&self.entries[*place]);
            }
        }
        places
    }

    fn check_entries(&self, batch: &[u64]) -> u64 {
        let places = self.places(batch, true);
        let entries = places[..batch.len()]
            .iter()
            .map(|place| &self.entries[*place]);
        entries.map(|entry| entry.hash).fold(0, u64::wrapping_add)
    }

    fn hit_states(&mut self, batch: &[u64]) {
        let places = self.places(batch, true);
        for place in &places[..batch.len()] {
            prefetch(&*self.entries[*place].state);
        }
        for (place, hash) in places.iter().zip(batch) {
            let entry = &mut self.entries[*place];
            if entry.hash == *hash {
                hit(&mut entry.state);
            }
        }
    }
}

fn hit(state: &mut State) {
    state[0] += 1;
    state[1] = state[1].wrapping_add(state[0]);
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("grain_lookup");
    for grains in GRAINS {
        let hashes = hashes(grains);
        let order = shuffled(&hashes);
        group.throughput(Throughput::Elements(grains as u64));
        let mut map: HashMap<u64, Box<State>, BuildHasherDefault<Hashed>> = HashMap::default();
        map.extend(hashes.iter().map(|hash| (*hash, Box::default())));
        group.bench_function(BenchmarkId::new("map_of_boxes", grains), |b| {
            b.iter(|| {
                for hash in &order {
                    hit(map.get_mut(hash).expect("every hash has its state"));
                }
            });
        });
        drop(map);
        let mut slab = Slab::new(&hashes);
        group.bench_function(BenchmarkId::new("index", grains), |b| {
            b.iter(|| {
                for batch in order.chunks(BATCH) {
                    black_box(slab.places(batch, false));
                }
            });
        });
        group.bench_function(BenchmarkId::new("index_entry", grains), |b| {
            b.iter(|| {
                for batch in order.chunks(BATCH) {
                    black_box(slab.check_entries(batch));
                }
            });
        });
        group.bench_function(BenchmarkId::new("index_entry_state", grains), |b| {
            b.iter(|| {
                for batch in order.chunks(BATCH) {
                    slab.hit_states(batch);
                }
            });
        });
    }
    group.finish();
}

/// Numbers without a pattern, no two of which agree in their lower half.
fn hashes(count: usize) -> Vec<u64> {
    (1..=count as u64)
        .map(|n| {
            let low = (n as u32).wrapping_mul(0x9e37_79b1);
            u64::from(low ^ low >> 15) | n << 32
        })
        .collect()
}

/// The same in another order, which no prefetcher of the hardware can guess.
fn shuffled(hashes: &[u64]) -> Vec<u64> {
    let mut order = hashes.to_vec();
    let mut random = 88_172_645_463_325_252_u64;
    for last in (1..order.len()).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(last, (random % (last as u64 + 1)) as usize);
    }
    order
}

criterion_group! {
    name = benches;
    config = config();
    targets = lookup
}
criterion_main!(benches);
