//! The scenes of `loom.rs` at full size on real threads: a million messages in order, through small
//! lanes (which fill and wrap all the time) and large ones, polled and parked. Every scene must end
//! in bounded time, so a lost wake-up fails instead of hanging.
//!
//! On a busy machine a sender and a receiver that both poll wait for their turn on the CPU at each
//! filling of the lane, up to a millisecond. So the smaller the lane, the fewer the messages.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // In tests an unwrap is an assertion.

mod common;

use std::{
    env,
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use common::Scale;

const FULL: Scale = Scale {
    capacity: 1024,
    messages: 1_000_000,
    batch: 64,
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
    };
    within_a_minute(common::messages_arrive_in_order, scale);
}

#[test]
fn batches_larger_than_the_lane_arrive_in_order() {
    let scale = Scale {
        capacity: 16,
        messages: 100_000,
        batch: 64,
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
    };
    within_a_minute(common::a_parking_receiver_gets_every_message, scale);
}

#[test]
fn two_senders_share_a_doorbell() {
    let scale = Scale {
        capacity: 8,
        messages: 100_000,
        batch: 3,
    };
    within_a_minute(common::two_senders_share_a_doorbell, scale);
}

#[test]
fn a_receiver_that_leaves_stops_the_sender() {
    within_a_minute(common::a_receiver_that_leaves_stops_the_sender, FULL);
}
