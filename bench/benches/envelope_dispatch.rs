//! What does it take from a letter in hand to its handler having run?
//!
//! A letter is what a shard has taken out of a lane: the hash of a grain's id, a method, and a
//! payload of 64 bytes whose type is no longer known. Handlers add its eight words to their grain.
//!
//! - `function`: a hash map finds a state and a function pointer, which is called with the words
//!   themselves. What a program would do that knows all its messages.
//! - `letter/Plain`: the same hash map finds an activation, which is begun with the letter. It
//!   tells methods apart, checks the type of the payload, moves it out, runs the handler and leaves
//!   a reply. The difference to `function` is what the contract costs.
//! - `letter/Patient`: the same with an `async` handler that does not wait: it is made a future
//!   that takes the grain along, and polled once.
//! - `one_grain`: the same two without the hash map, all letters to one grain.
//!
//! Letters are made where no clock runs, in batches, by the stub that callers use. Hashes are taken
//! by the map as they are. Grains are few enough to lie in the cache: what it costs to wait for
//! memory is asked by `grain_lookup`, and what it costs to get a letter by `lane_push_pop`.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    hint::black_box,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use teff_bench::config;
use teff_contract::{
    Activation, Arguments, Ctx, Declined, GrainRef, Home, Host, Kind, Message, Outcome, Outgoing,
    Overload, Payload, Pending, Port, Reference, Request, Step, Target, Ticket, context::Task,
    grain,
};
use teff_wire::{GrainId, Key, KindId, MethodId, NodeId, ShardId};

const GRAINS: usize = 1000;

/// Letters of a batch, which is one iteration: enough for the clock not to be noticed.
const LETTERS: usize = 256;

type Words = [u64; 8];

/// A message to a grain in this node, as a lane delivers it.
struct Letter {
    hash: u64,
    method: MethodId,
    payload: Payload,
}

#[derive(Default)]
struct Plain(u64);

#[grain]
impl Plain {
    fn include(&mut self, words: [u64; 8]) {
        include(&mut self.0, &words);
    }
}

#[derive(Default)]
struct Patient(u64);

#[grain]
impl Patient {
    async fn include(&mut self, words: [u64; 8]) {
        include(&mut self.0, &words);
    }
}

/// What all handlers do.
fn include(sum: &mut u64, words: &Words) {
    *sum = words.iter().fold(*sum, |sum, word| sum.wrapping_add(*word));
}

fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope_dispatch/64B");
    group.throughput(Throughput::Elements(LETTERS as u64));
    functions(&mut group);
    let office = Arc::new(Office::default());
    let plain: PlainRef = office.reference();
    let patient: PatientRef = office.reference();
    let to_plain = |words| office.letter(plain.include(words));
    let to_patient = |words| office.letter(patient.include(words));
    for one in [false, true] {
        letters(&mut group, one, &PlainRef::kind::<Plain>(), to_plain);
        letters(&mut group, one, &PatientRef::kind::<Patient>(), to_patient);
    }
    group.finish();
}

fn functions(group: &mut BenchmarkGroup<'_, WallTime>) {
    type Handler = fn(&mut u64, &Words);
    let mut sums: HashMap<u64, (Handler, Box<u64>), BuildHasherDefault<Hashed>> = hashes()
        .map(|hash| (hash, (include as Handler, Box::default())))
        .collect();
    group.bench_function("function", |b| {
        b.iter_custom(|batches| {
            let make = |hash, words| (hash, words);
            timed(batches, make, |(hash, words)| {
                let (handler, sum) = sums.get_mut(hash).expect(KNOWN);
                handler(sum, words);
            })
        });
    });
}

/// A grain in memory, as a shard keeps it.
struct Resident {
    activation: Box<dyn Activation>,
    ctx: Ctx,
}

impl Resident {
    fn new(kind: &Kind, hash: u64, home: &Rc<Home>) -> Self {
        let key = Key::new(hash.to_string()).expect("a short key");
        let ctx = Ctx::new(GrainId::new(kind.id(), key), Rc::clone(home));
        Self {
            activation: kind.activate(&ctx),
            ctx,
        }
    }

    /// Runs the handler of a letter to its end.
    fn take_in(&mut self, letter: &mut Letter, reply: &mut Payload) {
        let arguments = Arguments::Value(&mut letter.payload);
        let mut step = self
            .activation
            .begin(&self.ctx, letter.method, arguments, reply);
        if step == Step::Suspended {
            let mut cx = Context::from_waker(Waker::noop());
            step = self.activation.resume(&mut cx, reply);
        }
        assert_eq!(step, Step::Done);
    }
}

/// Letters to all grains or, to leave out the look-up, to `one`.
fn letters(
    group: &mut BenchmarkGroup<'_, WallTime>,
    one: bool,
    kind: &Kind,
    make: impl Fn(Words) -> (MethodId, Payload),
) {
    let home = Rc::new(Home {
        host: Rc::new(Nowhere),
        port: Arc::new(Office::default()),
    });
    let mut residents: HashMap<u64, Resident, BuildHasherDefault<Hashed>> = hashes()
        .map(|hash| (hash, Resident::new(kind, hash, &home)))
        .collect();
    let make = |hash, words| {
        let (method, payload) = make(words);
        Letter {
            hash,
            method,
            payload,
        }
    };
    let mut reply = Payload::empty();
    let name = if one { "one_grain" } else { "letter" };
    group.bench_function(BenchmarkId::new(name, kind.name()), |b| {
        b.iter_custom(|batches| {
            if one {
                let resident = residents.values_mut().next().expect(KNOWN);
                let resident = black_box(resident);
                timed(batches, make, |letter| resident.take_in(letter, &mut reply))
            } else {
                timed(batches, make, |letter| {
                    let resident = residents.get_mut(&letter.hash).expect(KNOWN);
                    resident.take_in(letter, &mut reply);
                })
            }
        });
    });
}

/// Runs batches of messages to random grains and says how long that took, without making them.
fn timed<M>(batches: u64, make: impl Fn(u64, Words) -> M, mut run: impl FnMut(&mut M)) -> Duration {
    let hashes: Vec<_> = hashes().collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut messages = Vec::with_capacity(LETTERS);
    let mut took = Duration::ZERO;
    for _ in 0..batches {
        messages.clear();
        messages.extend((0..LETTERS).map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            make(hashes[random as usize % GRAINS], [random; 8])
        }));
        let messages = black_box(&mut messages);
        let start = Instant::now();
        for message in messages {
            run(message);
        }
        took += start.elapsed();
    }
    took
}

/// The hashes of all grains.
fn hashes() -> impl Iterator<Item = u64> {
    (1..=GRAINS as u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

const KNOWN: &str = "all messages are to grains that there are";

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

/// Where letters are posted: keeps the one that was posted last.
#[derive(Default)]
struct Office(Mutex<Option<(MethodId, Payload)>>);

impl Office {
    /// A reference to any grain.
    fn reference<R: Reference>(self: &Arc<Self>) -> R {
        R::from_grain(GrainRef::to::<R>(Arc::clone(self) as Arc<dyn Port>, "any"))
    }

    /// What a request becomes.
    fn letter<A: Message, R: Message>(&self, request: Request<'_, A, R>) -> (MethodId, Payload) {
        request.tell().expect("all letters are accepted");
        let posted = self.0.lock().expect("nothing panics with it").take();
        posted.expect("it was just posted")
    }
}

impl Port for Office {
    fn hash(&self, _: &GrainId) -> u64 {
        0
    }

    fn tell(&self, message: &mut Outgoing<'_>) -> Result<(), Declined> {
        let letter = (message.method, message.payload.lift());
        *self.0.lock().expect("nothing panics with it") = Some(letter);
        Ok(())
    }

    fn poll_room(&self, _: &Target, _: &mut Context<'_>) {
        unreachable!("{TELLS_ONLY}")
    }

    fn call(&self, _: &mut Outgoing<'_>, _: Option<Duration>) -> Pending {
        unreachable!("{TELLS_ONLY}")
    }

    fn poll_call(&self, _: Ticket, _: &mut Context<'_>, _: &mut Outcome) -> Poll<()> {
        unreachable!("{TELLS_ONLY}")
    }

    fn forget(&self, _: Ticket) {
        unreachable!("{TELLS_ONLY}")
    }

    fn overload(&self, _: KindId) -> Option<Overload> {
        unreachable!("{TELLS_ONLY}")
    }

    fn shed(&self, _: &Target) {
        unreachable!("{TELLS_ONLY}")
    }

    fn lose(&self, _: &Target) {
        unreachable!("{TELLS_ONLY}")
    }

    fn is_shard(&self) -> bool {
        true
    }
}

const TELLS_ONLY: &str = "letters are told, and there is always room";

/// A shard that handlers ask nothing of.
struct Nowhere;

impl Host for Nowhere {
    fn node(&self) -> NodeId {
        NodeId(1)
    }

    fn shard(&self) -> ShardId {
        ShardId(0)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn start_timer(&self, _: Instant, _: Waker) -> u64 {
        unreachable!("no handler sleeps")
    }

    fn cancel_timer(&self, _: u64) {
        unreachable!("no handler sleeps")
    }

    fn spawn(&self, _: Task) {
        unreachable!("no handler has tasks")
    }
}

criterion_group! {
    name = benches;
    config = config();
    targets = dispatch
}
criterion_main!(benches);
