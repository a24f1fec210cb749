//! The scenes of `loom.rs` at full size on real threads: a million messages in order, through small
//! lanes (which fill and wrap all the time) and large ones, polled and parked. Every scene must end
//! in bounded time, so a lost wake-up fails instead of hanging.
//!
//! On a busy machine a sender and a receiver that both poll wait for their turn on the CPU at each
//! filling of the lane, up to a millisecond. So the smaller the lane, the fewer the messages.
//!
//! The doorbell with a barrier is only tested here with the kernel's: `loom.rs` takes for granted
//! what `membarrier` does to other threads.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // In tests an unwrap is an assertion.

mod common;

use std::{
    env,
    hint::{black_box, spin_loop},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use common::{Arc, Bed, Scale, Style};
use rustix::thread::{MembarrierCommand, membarrier};
use teff_lane::Doorbell;

const FULL: Scale = Scale {
    capacity: 1024,
    messages: 1_000_000,
    batch: 64,
    style: Style::Moved,
};

/// Scenes run one at a time, to have the CPUs for themselves.
static STAGE: Mutex<()> = Mutex::new(());

/// Runs a scene on a thread of its own and fails when it does not end: alone on two CPUs it takes
/// less than a second. `TEFF_STRESS_DIVISOR` makes scenes smaller, for valgrind.
fn within_a_minute(scene: fn(Scale), scale: Scale) {
    let divisor = env::var("TEFF_STRESS_DIVISOR").map_or(1, |divisor| divisor.parse().unwrap());
    let scale = Scale {
        messages: scale.messages / divisor,
        ..scale
    };
    // Poisoned by a scene that failed, which is no reason to fail the others.
    let _stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let (done, finished) = mpsc::channel();
    let running = thread::spawn(move || {
        scene(scale);
        done.send(()).unwrap();
    });
    match finished.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("no end after a minute: stuck"),
        // Ended, well or with a panic, which the join passes on.
        Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => running.join().unwrap(),
    }
}

#[test]
fn a_million_messages_arrive_in_order() {
    within_a_minute(common::messages_arrive_in_order, FULL);
}

#[test]
fn messages_arrive_in_order_through_the_smallest_lane() {
    let scale = Scale {
        capacity: 2,
        messages: 10_000,
        batch: 1,
        ..FULL
    };
    within_a_minute(common::messages_arrive_in_order, scale);
}

#[test]
fn batches_larger_than_the_lane_arrive_in_order() {
    let scale = Scale {
        capacity: 16,
        messages: 100_000,
        batch: 64,
        ..FULL
    };
    within_a_minute(common::messages_arrive_in_order, scale);
}

#[test]
fn a_million_messages_made_and_lent_in_place_arrive_in_order() {
    let scale = Scale {
        style: Style::InPlace,
        ..FULL
    };
    within_a_minute(common::messages_arrive_in_order, scale);
}

#[test]
fn messages_made_and_lent_in_place_arrive_in_order_through_a_small_lane() {
    let scale = Scale {
        capacity: 16,
        messages: 100_000,
        batch: 5,
        style: Style::InPlace,
    };
    within_a_minute(common::messages_arrive_in_order, scale);
}

#[test]
fn a_million_messages_are_popped_in_order() {
    within_a_minute(common::popped_messages_arrive_in_order, FULL);
}

#[test]
fn a_parking_receiver_gets_a_million_messages() {
    within_a_minute(common::a_parking_receiver_gets_every_message, FULL);
}

#[test]
fn a_parking_receiver_misses_no_wake_up_when_rung_for_each_message() {
    let scale = Scale {
        capacity: 4,
        messages: 100_000,
        batch: 1,
        ..FULL
    };
    within_a_minute(common::a_parking_receiver_gets_every_message, scale);
}

#[test]
fn two_senders_share_a_doorbell() {
    let scale = Scale {
        capacity: 8,
        messages: 100_000,
        batch: 3,
        ..FULL
    };
    within_a_minute(common::two_senders_share_a_doorbell, scale);
}

#[test]
fn a_receiver_that_leaves_stops_the_sender() {
    within_a_minute(common::a_receiver_that_leaves_stops_the_sender, FULL);
}

/// A doorbell whose owner fences for its ringers, or an ordinary one where the kernel has no
/// barrier: the promises are the same.
fn bell_with_barrier() -> (Arc<Doorbell>, Arc<Bed>) {
    common::bell_and_bed_with(|bell| {
        if membarrier(MembarrierCommand::RegisterPrivateExpedited).is_err() {
            println!("without a barrier: this kernel has none");
            return bell;
        }
        bell.with_barrier(|| {
            membarrier(MembarrierCommand::PrivateExpedited).expect("it has been registered");
        })
    })
}

fn a_receiver_that_parks_with_a_barrier_gets_every_message(scale: Scale) {
    common::a_receiver_that_parks_with_this_bell_gets_every_message(bell_with_barrier(), scale);
}

#[test]
fn a_receiver_that_parks_with_a_barrier_gets_a_million_messages() {
    within_a_minute(
        a_receiver_that_parks_with_a_barrier_gets_every_message,
        FULL,
    );
}

#[test]
fn a_receiver_that_parks_with_a_barrier_misses_no_wake_up_when_rung_for_each_message() {
    let scale = Scale {
        capacity: 4,
        messages: 100_000,
        batch: 1,
        style: Style::InPlace,
    };
    within_a_minute(
        a_receiver_that_parks_with_a_barrier_gets_every_message,
        scale,
    );
}

/// One ring and one park per message, started at the same moment, with every distance of a few
/// hundred nanoseconds between them: each side looks at what the other has just written.
fn a_ring_and_a_park_at_the_same_moment(scale: Scale) {
    let (bell, bed) = bell_with_barrier();
    let start = Arc::new(AtomicU64::new(0));
    let work = Arc::new(AtomicU64::new(0));
    let ringer = {
        let (bell, start, work) = (Arc::clone(&bell), Arc::clone(&start), Arc::clone(&work));
        thread::spawn(move || {
            for round in 1..=scale.messages {
                wait_for(&start, round);
                dawdle(round % 61);
                // Brings the flag into this CPU's cache, so that a look at it need not wait until
                // the store below has left the CPU.
                black_box(bell.is_parked());
                // Relaxed, so that all ordering is the doorbell's.
                work.store(round, Relaxed);
                bell.ring();
            }
        })
    };
    let mut parks = 0;
    for round in 1..=scale.messages {
        start.store(round, Relaxed);
        dawdle(round % 67);
        while work.load(Relaxed) < round {
            parks += 1;
            if bell.park(|| work.load(Relaxed) < round) {
                bed.sleep();
                bell.awake();
            }
        }
    }
    ringer.join().unwrap();
    let wakes = bed.wakes();
    assert!(wakes <= parks, "{wakes} wake-ups for {parks} parks");
    assert!(!bell.is_parked());
}

fn wait_for(start: &AtomicU64, round: u64) {
    let mut looks = 0_u32;
    while start.load(Relaxed) < round {
        looks += 1;
        if looks.is_multiple_of(1000) {
            thread::yield_now();
        }
        spin_loop();
    }
}

fn dawdle(steps: u64) {
    for step in 0..steps {
        black_box(step);
    }
}

#[test]
fn no_wake_up_is_lost_to_a_barrier() {
    let scale = Scale {
        messages: 300_000,
        ..FULL
    };
    within_a_minute(a_ring_and_a_park_at_the_same_moment, scale);
}

/// What a shard does that ends: it says so, fences, and looks for what was sent; who sends, rings,
/// and looks whether it has ended. At the same moment, round after round: one of them must see.
fn a_fence_and_a_ring_at_the_same_moment(bell: &Arc<Doorbell>, rounds: u64) {
    let start = Arc::new(AtomicU64::new(0));
    let (work, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let ringer = {
        let (bell, start) = (Arc::clone(bell), Arc::clone(&start));
        let (work, ended) = (Arc::clone(&work), Arc::clone(&ended));
        thread::spawn(move || {
            let mut missed = Vec::new();
            for round in 1..=rounds {
                wait_for(&start, round);
                dawdle(round % 61);
                // As above: the look must not have to wait for the store.
                black_box(ended.load(Relaxed));
                work.store(round, Relaxed);
                bell.ring();
                if ended.load(Relaxed) < round {
                    missed.push(round);
                }
            }
            missed
        })
    };
    let mut missed_here = Vec::new();
    for round in 1..=rounds {
        start.store(round, Relaxed);
        dawdle(round % 67);
        black_box(work.load(Relaxed));
        ended.store(round, Relaxed);
        bell.fence();
        if work.load(Relaxed) < round {
            missed_here.push(round);
            wait_for(&work, round);
        }
    }
    let missed_there = ringer.join().unwrap();
    let by_both = missed_here
        .iter()
        .filter(|round| missed_there.binary_search(round).is_ok());
    assert_eq!(by_both.count(), 0, "rounds in which neither saw the other");
}

#[test]
fn either_a_fence_or_a_ring_sees_what_the_other_wrote() {
    let scale = Scale {
        messages: 300_000,
        ..FULL
    };
    within_a_minute(
        |scale| a_fence_and_a_ring_at_the_same_moment(&common::bell_and_bed().0, scale.messages),
        scale,
    );
    within_a_minute(
        |scale| a_fence_and_a_ring_at_the_same_moment(&bell_with_barrier().0, scale.messages),
        scale,
    );
}
