//! What does it cost to ring the doorbell of an owner that is awake, by the batch it is amortised
//! over?
//!
//! A ring is a full fence and a read. The fence waits until the stores before it have reached the
//! cache, so what it costs depends on them: nothing much when the lane's lines are in this CPU's
//! cache (`one_thread`), up to the way of a line when the owner has just read them
//! (`two_threads`). Each batch of 64-byte messages is therefore measured with the ring and without
//! it; the difference is the ring's, and may be none, where the sender would have waited for the
//! owner anyway. `alone` is a ring with no store to wait for.

use std::{
    hint::{black_box, spin_loop},
    thread,
    time::Instant,
};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main, measurement::WallTime,
};
use teff_bench::{CpuPair, config, pin};
use teff_lane::{Doorbell, Receiver, Sender};

const CAPACITY: usize = 1024;

const BATCHES: [usize; 4] = [1, 4, 16, 64];

/// The most that the owner takes at once.
const BUDGET: usize = 64;

type Message = [u64; 8];

/// Whether the sender rings after it has published a batch.
#[derive(Clone, Copy)]
enum After {
    Nothing,
    Ring,
}

impl After {
    const BOTH: [Self; 2] = [Self::Nothing, Self::Ring];

    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "publish",
            Self::Ring => "publish_and_ring",
        }
    }
}

fn alone(c: &mut Criterion) {
    let bell = bell();
    c.bench_function("doorbell_ring/alone", |b| {
        b.iter(|| {
            black_box(&bell).ring();
        });
    });
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("doorbell_ring/one_thread");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        for after in After::BOTH {
            let bell = bell();
            let (mut sender, mut receiver) = teff_lane::lane(CAPACITY);
            let mut next = 0;
            group.bench_function(BenchmarkId::new(after.name(), batch), |b| {
                b.iter(|| {
                    next = send(black_box(&mut sender), next, batch);
                    if matches!(after, After::Ring) {
                        bell.ring();
                    }
                    take(black_box(&mut receiver))
                });
            });
        }
    }
    group.finish();
}

fn two_threads(c: &mut Criterion) {
    let Some(cpus) = CpuPair::of_process("doorbell_ring/two_threads") else {
        return;
    };
    pin(cpus.near);
    let mut group = c.benchmark_group("doorbell_ring/two_threads");
    // As in `lane_push_pop`: the median of many short samples survives other processes.
    group.sampling_mode(SamplingMode::Flat).sample_size(200);
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        for after in After::BOTH {
            measure_two_threads(&mut group, batch, after, cpus);
        }
    }
    group.finish();
}

fn measure_two_threads(
    group: &mut BenchmarkGroup<'_, WallTime>,
    batch: usize,
    after: After,
    cpus: CpuPair,
) {
    let bell = bell();
    let (sender, mut receiver) = teff_lane::lane(CAPACITY);
    thread::scope(|scope| {
        // The owner. It never parks: it polls its lane, as a shard does that has work.
        scope.spawn(move || {
            pin(cpus.far);
            let mut sum = 0_u64;
            while !receiver.is_closed() {
                sum = sum.wrapping_add(take(black_box(&mut receiver)));
                if receiver.is_empty() {
                    spin_loop();
                }
            }
            black_box(sum);
        });
        // In here, so that it is dropped, which ends the other thread, before the scope waits.
        let mut sender = sender;
        let mut next = 0;
        group.bench_function(BenchmarkId::new(after.name(), batch), |b| {
            b.iter_custom(|iterations| {
                let start = Instant::now();
                for _ in 0..iterations {
                    next = send(black_box(&mut sender), next, batch);
                    if matches!(after, After::Ring) {
                        bell.ring();
                    }
                }
                while sender.free() < sender.capacity() {
                    spin_loop();
                }
                start.elapsed()
            });
        });
    });
}

/// A doorbell whose owner is awake and stays so: what a wake-up costs is another question.
fn bell() -> Doorbell {
    Doorbell::new(|| panic!("the owner never parks"))
}

/// Pushes messages `next` to `next + batch`, publishes them at once, and returns the number of the
/// one after them.
fn send(sender: &mut Sender<Message>, next: u64, batch: usize) -> u64 {
    let end = next + batch as u64;
    for number in next..end {
        while sender.try_push([number; 8]).is_err() {
            assert!(!sender.is_closed(), "the owner has gone before the sender");
            sender.publish();
            spin_loop();
        }
    }
    sender.publish();
    end
}

fn take(receiver: &mut Receiver<Message>) -> u64 {
    let mut sum = 0_u64;
    receiver.drain(BUDGET, |message| {
        sum = message
            .iter()
            .fold(sum, |sum, word| sum.wrapping_add(*word));
    });
    sum
}

criterion_group! {
    name = benches;
    config = config();
    targets = alone, one_thread, two_threads
}
criterion_main!(benches);
