//! The raw limit of telling: one lane, and at its far end one look-up and one typed call through a
//! function pointer per message. Nothing is prefetched.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use teff_lane::{Receiver, Rest, Sender, lane};

use super::map::{States, hashes, states};
use crate::grains::{Payload, State};
use crate::place::Place;
use crate::sample::{Meter, Sample};
use crate::shuffle::shuffled;

/// A message: which state, which handler, what. Whole cache lines, so that two messages never
/// share one.
#[repr(align(64))]
struct Slot<P> {
    hash: u64,
    call: fn(&mut State, &P),
    payload: P,
}

/// A lane from one place to another that keeps its memory from slice to slice.
pub(crate) struct Ring<P> {
    source: Arc<Mutex<Source<P>>>,
    sink: Arc<Mutex<Sink<P>>>,
    /// How many messages the source has sent in this slice, once it has stopped.
    sent: Arc<AtomicU64>,
}

/// The same with both ends in one thread.
pub(crate) struct LocalRing<P>(Arc<Mutex<(Source<P>, Sink<P>)>>);

struct Source<P> {
    lane: Sender<Slot<P>>,
    /// Whom to send to, in this order, round and round.
    order: Vec<u64>,
    at: usize,
    number: u64,
}

struct Sink<P> {
    lane: Receiver<Slot<P>>,
    states: States,
}

fn ends<P: Payload>(grains: usize) -> (Source<P>, Sink<P>) {
    let (sender, receiver) = lane(CAPACITY);
    let hashes = hashes(grains);
    let states = states(&hashes);
    let source = Source {
        lane: sender,
        order: shuffled(hashes),
        at: 0,
        number: 0,
    };
    let sink = Sink {
        lane: receiver,
        states,
    };
    (source, sink)
}

impl<P: Payload> Ring<P> {
    /// A ring to so many states.
    pub(crate) fn new(grains: usize) -> Self {
        let (source, sink) = ends(grains);
        Self {
            source: Arc::new(Mutex::new(source)),
            sink: Arc::new(Mutex::new(sink)),
            sent: Arc::default(),
        }
    }

    /// Sends for this long from one place to the other.
    pub(crate) fn slice(
        &self,
        from: &impl Place,
        to: &impl Place,
        time: Duration,
    ) -> anyhow::Result<Sample> {
        // Jobs are handed over by locks, so that both ends see this.
        self.sent.store(SENDING, Ordering::Relaxed);
        let (sink, sent) = (Arc::clone(&self.sink), Arc::clone(&self.sent));
        let taken = to.run(move || lock(&sink).take_until(&sent))?;
        let (source, sent) = (Arc::clone(&self.source), Arc::clone(&self.sent));
        let begun = from.run(move || lock(&source).send_for(time, &sent))?;
        let meter = begun.wait(time)?;
        let (taken, end) = taken.wait(time)?;
        ensure!(
            taken == self.sent.load(Ordering::Relaxed),
            "the raw ring lost messages"
        );
        Ok(Sample {
            time: end - meter.begin(),
            ..meter.sample(taken)
        })
    }
}

impl<P: Payload> LocalRing<P> {
    /// A ring to so many states.
    pub(crate) fn new(grains: usize) -> Self {
        Self(Arc::new(Mutex::new(ends(grains))))
    }

    /// Sends for this long, within one place.
    pub(crate) fn slice(&self, place: &impl Place, time: Duration) -> anyhow::Result<Sample> {
        let ends = Arc::clone(&self.0);
        let run = place.run(move || {
            let (source, sink) = &mut *lock(&ends);
            let meter = Meter::start();
            let mut taken = 0;
            while meter.begin().elapsed() < time {
                for _ in 0..LOOK / BATCH {
                    source.send_batch();
                    taken += sink.take_batch() as u64;
                }
            }
            meter.sample(taken)
        })?;
        run.wait(time)
    }
}

impl<P: Payload> Source<P> {
    fn send_for(&mut self, time: Duration, sent: &AtomicU64) -> Meter {
        let meter = Meter::start();
        let first = self.number;
        while meter.begin().elapsed() < time {
            for _ in 0..LOOK / BATCH {
                self.send_batch();
            }
        }
        // Release: whoever reads the number finds all messages published.
        sent.store(self.number - first, Ordering::Release);
        meter
    }

    fn send_batch(&mut self) {
        for _ in 0..BATCH {
            let mut slot = Slot {
                hash: self.order[self.at],
                call: State::hit::<P>,
                payload: P::numbered(self.number),
            };
            self.number += 1;
            self.at += 1;
            if self.at == self.order.len() {
                self.at = 0;
            }
            while let Err(full) = self.lane.try_push(slot) {
                slot = full.into_inner();
                self.lane.publish();
                spin_loop();
            }
        }
        self.lane.publish();
    }
}

impl<P: Payload> Sink<P> {
    fn take_until(&mut self, sent: &AtomicU64) -> (u64, Instant) {
        let mut taken = 0;
        loop {
            match self.take_batch() {
                // Acquire: pairs with the Release above.
                0 if sent.load(Ordering::Acquire) == taken => return (taken, Instant::now()),
                0 => spin_loop(),
                some => taken += some as u64,
            }
        }
    }

    fn take_batch(&mut self) -> usize {
        let Self { lane, states } = self;
        lane.drain_in_place(BATCH, |slot| {
            let state = states
                .get_mut(&slot.hash)
                .expect("every hash has its state");
            (slot.call)(state, &slot.payload);
            Rest::Nothing
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Messages that the ring holds: as many as a lane of the runtime does by default.
const CAPACITY: usize = 4096;

/// Messages between two publications, and taken at a time.
const BATCH: usize = 64;

/// Messages between two looks at the clock.
const LOOK: usize = 1024;

/// No number of messages: the source has not stopped.
const SENDING: u64 = u64::MAX;
