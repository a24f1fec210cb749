//! What does a message cost on its way through a lane, by the size of a slot and the batch that is
//! published and drained at once?
//!
//! - `one_thread`: one thread pushes a batch, publishes it and drains it: instructions and the
//!   move of the value, no cache line ever changes its CPU.
//! - `two_threads`: a thread on another CPU drains while this one pushes: throughput, with the
//!   lines of slots and positions going to and fro. Ends when all that was pushed is taken.
//!
//! Each figure stands beside that of `rtrb`, the raw limit, used the way that is fastest: one by
//! one for a batch of 1, uninitialised chunks for more. A lane is used as a shard uses it: one
//! `try_push` per message, one `publish` and one `drain` per batch. The ends of both are kept in
//! memory, where a shard has them: a compiler that may keep positions in registers for the length
//! of a benchmark makes a lane look more than twice as fast as it can be in use.

use std::{
    hint::{black_box, spin_loop},
    thread,
    time::Instant,
};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main, measurement::WallTime,
};
use rtrb::chunks::ChunkError;
use teff_bench::{CpuPair, config, pin};

/// Slots of every queue: far more than a batch, so that the sender seldom finds it full, and not
/// more than the second-level cache holds at the largest slot.
const CAPACITY: usize = 1024;

const BATCHES: [usize; 3] = [1, 16, 64];

fn one_thread(c: &mut Criterion) {
    one_thread_with::<Quarter>(c);
    one_thread_with::<Lines<1>>(c);
    one_thread_with::<Lines<2>>(c);
    one_thread_with::<Lines<3>>(c);
}

fn two_threads(c: &mut Criterion) {
    let Some(cpus) = CpuPair::of_process("lane_push_pop/two_threads") else {
        return;
    };
    pin(cpus.near);
    two_threads_with::<Quarter>(c, cpus);
    two_threads_with::<Lines<1>>(c, cpus);
    two_threads_with::<Lines<2>>(c, cpus);
    two_threads_with::<Lines<3>>(c, cpus);
}

fn one_thread_with<M: Message>(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("lane_push_pop/one_thread/{}B", size_of::<M>()));
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        measure_one_thread::<Lane, M>(&mut group, batch);
        measure_one_thread::<Rtrb, M>(&mut group, batch);
    }
    group.finish();
}

fn two_threads_with<M: Message>(c: &mut Criterion, cpus: CpuPair) {
    let mut group = c.benchmark_group(format!("lane_push_pop/two_threads/{}B", size_of::<M>()));
    // Many samples of equal length: where another process takes a CPU away, a few of them show it
    // and not the median.
    group.sampling_mode(SamplingMode::Flat).sample_size(200);
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        measure_two_threads::<Lane, M>(&mut group, batch, cpus);
        measure_two_threads::<Rtrb, M>(&mut group, batch, cpus);
    }
    group.finish();
}

fn measure_one_thread<Q: Queue, M: Message>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    batch: usize,
) {
    let (mut sender, mut receiver) = Q::new::<M>();
    let mut next = 0;
    group.bench_function(BenchmarkId::new(Q::NAME, batch), |b| {
        b.iter(|| {
            next = Q::push::<M>(black_box(&mut sender), next, batch);
            let mut sum = 0_u64;
            let taken = Q::take(black_box(&mut receiver), batch, |message: M| {
                sum = sum.wrapping_add(message.sum());
            });
            debug_assert_eq!(taken, batch, "all that was pushed is there");
            sum
        });
    });
}

fn measure_two_threads<Q: Queue, M: Message>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    batch: usize,
    cpus: CpuPair,
) {
    let (sender, receiver) = Q::new::<M>();
    thread::scope(|scope| {
        scope.spawn(move || {
            pin(cpus.far);
            receive_until_closed::<Q, M>(receiver, batch);
        });
        // In here, so that it is dropped, which ends the other thread, before the scope waits.
        let mut sender = sender;
        let mut next = 0;
        group.bench_function(BenchmarkId::new(Q::NAME, batch), |b| {
            b.iter_custom(|iterations| {
                let start = Instant::now();
                for _ in 0..iterations {
                    next = Q::push::<M>(black_box(&mut sender), next, batch);
                }
                while !Q::is_drained(&mut sender) {
                    spin_loop();
                }
                start.elapsed()
            });
        });
    });
}

fn receive_until_closed<Q: Queue, M: Message>(mut receiver: Q::Receiver<M>, batch: usize) {
    let mut sum = 0_u64;
    loop {
        let taken = Q::take(black_box(&mut receiver), batch, |message: M| {
            sum = sum.wrapping_add(message.sum());
        });
        if taken == 0 {
            if Q::is_closed(&mut receiver) {
                break;
            }
            spin_loop();
        }
    }
    black_box(sum);
}

/// What is sent. Every byte is written by the sender and read by the receiver.
trait Message: Copy + Send + 'static {
    fn of(number: u64) -> Self;
    fn sum(&self) -> u64;
}

/// A quarter of a cache line.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Quarter([u64; 2]);

/// Whole cache lines. Aligned, or the slots of one queue might straddle lines and those of the
/// other not, as the allocator pleases.
#[derive(Clone, Copy)]
struct Lines<const N: usize>([Line; N]);

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

impl Message for Quarter {
    fn of(number: u64) -> Self {
        Self([number; 2])
    }

    fn sum(&self) -> u64 {
        sum(&self.0)
    }
}

impl<const N: usize> Message for Lines<N> {
    fn of(number: u64) -> Self {
        Self([Line([number; 8]); N])
    }

    fn sum(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |total, line| total.wrapping_add(sum(&line.0)))
    }
}

fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// A bounded queue of one sender and one receiver.
trait Queue {
    const NAME: &'static str;
    type Sender<M: Message>: Send;
    type Receiver<M: Message>: Send;

    fn new<M: Message>() -> (Self::Sender<M>, Self::Receiver<M>);

    /// Sends messages `next` to `next + batch`, with one publication if there is room, and returns
    /// the number of the one after them.
    fn push<M: Message>(sender: &mut Self::Sender<M>, next: u64, batch: usize) -> u64;

    /// Takes at most `batch` messages and returns how many there were.
    fn take<M: Message>(receiver: &mut Self::Receiver<M>, batch: usize, f: impl FnMut(M)) -> usize;

    /// Whether the receiver has taken everything.
    fn is_drained<M: Message>(sender: &mut Self::Sender<M>) -> bool;

    /// Whether the sender is gone and nothing is left.
    fn is_closed<M: Message>(receiver: &mut Self::Receiver<M>) -> bool;
}

struct Lane;

impl Queue for Lane {
    const NAME: &'static str = "lane";
    type Sender<M: Message> = teff_lane::Sender<M>;
    type Receiver<M: Message> = teff_lane::Receiver<M>;

    fn new<M: Message>() -> (Self::Sender<M>, Self::Receiver<M>) {
        teff_lane::lane(CAPACITY)
    }

    fn push<M: Message>(sender: &mut Self::Sender<M>, next: u64, batch: usize) -> u64 {
        let end = next + batch as u64;
        for number in next..end {
            // Made anew for each try, so that the compiler may make it in its slot: what it costs
            // to get a message there from elsewhere is another question.
            while sender.try_push(M::of(number)).is_err() {
                assert!(!sender.is_closed(), "the receiver has gone first");
                sender.publish();
                spin_loop();
            }
        }
        sender.publish();
        end
    }

    fn take<M: Message>(receiver: &mut Self::Receiver<M>, batch: usize, f: impl FnMut(M)) -> usize {
        receiver.drain(batch, f)
    }

    fn is_drained<M: Message>(sender: &mut Self::Sender<M>) -> bool {
        sender.free() == sender.capacity()
    }

    fn is_closed<M: Message>(receiver: &mut Self::Receiver<M>) -> bool {
        receiver.is_closed()
    }
}

struct Rtrb;

impl Queue for Rtrb {
    const NAME: &'static str = "rtrb";
    type Sender<M: Message> = rtrb::Producer<M>;
    type Receiver<M: Message> = rtrb::Consumer<M>;

    fn new<M: Message>() -> (Self::Sender<M>, Self::Receiver<M>) {
        rtrb::RingBuffer::new(CAPACITY)
    }

    fn push<M: Message>(sender: &mut Self::Sender<M>, next: u64, batch: usize) -> u64 {
        if batch == 1 {
            while sender.push(M::of(next)).is_err() {
                assert!(!sender.is_abandoned(), "the receiver has gone first");
                spin_loop();
            }
            return next + 1;
        }
        loop {
            if let Ok(chunk) = sender.write_chunk_uninit(batch) {
                chunk.fill_from_iter((next..).map(M::of));
                return next + batch as u64;
            }
            assert!(!sender.is_abandoned(), "the receiver has gone first");
            spin_loop();
        }
    }

    fn take<M: Message>(
        receiver: &mut Self::Receiver<M>,
        batch: usize,
        mut f: impl FnMut(M),
    ) -> usize {
        if batch == 1 {
            return receiver.pop().map_or(0, |message| {
                f(message);
                1
            });
        }
        // Asking for a whole batch first spares rtrb a look at the sender's line when it knows of
        // as many.
        let available = match receiver.read_chunk(batch) {
            Ok(chunk) => {
                chunk.into_iter().for_each(f);
                return batch;
            }
            Err(ChunkError::TooFewSlots(available)) => available,
        };
        if let Ok(chunk) = receiver.read_chunk(available) {
            chunk.into_iter().for_each(f);
        }
        available
    }

    fn is_drained<M: Message>(sender: &mut Self::Sender<M>) -> bool {
        sender.slots() == CAPACITY
    }

    fn is_closed<M: Message>(receiver: &mut Self::Receiver<M>) -> bool {
        receiver.is_abandoned() && receiver.is_empty()
    }
}

criterion_group! {
    name = benches;
    config = config();
    targets = one_thread, two_threads
}
criterion_main!(benches);
