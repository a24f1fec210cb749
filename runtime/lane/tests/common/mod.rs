//! Scenes of two or three threads that run both natively (`stress.rs`, at full size) and under
//! loom (`loom.rs`, tiny, in every interleaving). Threads, locks and atomics come from loom there
//! and from `std` otherwise. Every scene asserts its promise itself and ends by itself.
#![allow(dead_code)] // Each test file uses its own part.

#[cfg(loom)]
pub(crate) use loom::{
    sync::{Arc, Condvar, Mutex},
    thread,
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

use teff_lane::{Doorbell, PushError, Receiver, Rest, Sender, lane};

/// How big a scene is.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) capacity: usize,
    pub(crate) messages: u64,
    /// Pushes per publish, and values per drain.
    pub(crate) batch: usize,
    pub(crate) style: Style,
}

/// How values get into their slots and out again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `try_push` and `drain`.
    Moved,
    /// `push_with` and `push_and_finish` in turn, `peek` and `drain_in_place`.
    InPlace,
}

/// Where an owner sleeps. Remembers wake-ups that come early, as an eventfd does, and counts them.
#[derive(Default)]
pub(crate) struct Bed {
    state: Mutex<Wakes>,
    changed: Condvar,
}

#[derive(Default)]
struct Wakes {
    pending: u64,
    total: u64,
}

impl Bed {
    pub(crate) fn wake(&self) {
        let mut state = self.state.lock().unwrap();
        state.pending += 1;
        state.total += 1;
        self.changed.notify_one();
    }

    /// Sleeps until there is a wake-up, and consumes all there are.
    pub(crate) fn sleep(&self) {
        let mut state = self.state.lock().unwrap();
        while state.pending == 0 {
            state = self.changed.wait(state).unwrap();
        }
        state.pending = 0;
    }

    pub(crate) fn wakes(&self) -> u64 {
        self.state.lock().unwrap().total
    }
}

pub(crate) fn bell_and_bed() -> (Arc<Doorbell>, Arc<Bed>) {
    bell_and_bed_with(|bell| bell)
}

/// The same with a doorbell that `finish` adds something to.
pub(crate) fn bell_and_bed_with(
    finish: impl FnOnce(Doorbell) -> Doorbell,
) -> (Arc<Doorbell>, Arc<Bed>) {
    let bed = Arc::new(Bed::default());
    let sleeper = Arc::clone(&bed);
    (Arc::new(finish(Doorbell::new(move || sleeper.wake()))), bed)
}

/// Pushes one value; publishes and waits as long as the lane is full.
fn push(sender: &mut Sender<Box<u64>>, bell: Option<&Doorbell>, number: u64, style: Style) {
    if style == Style::InPlace {
        while !push_in_place(sender, number) {
            assert!(!sender.is_closed(), "the receiver left before {number}");
            publish(sender, bell);
            thread::yield_now();
        }
        return;
    }
    let mut value = Box::new(number);
    loop {
        match sender.try_push(value) {
            Ok(()) => return,
            Err(PushError::Closed(_)) => panic!("the receiver left before message {number}"),
            Err(PushError::Full(back)) => {
                assert_eq!(*back, number, "another value came back");
                value = back;
                publish(sender, bell);
                thread::yield_now();
            }
        }
    }
}

fn push_in_place(sender: &mut Sender<Box<u64>>, number: u64) -> bool {
    if number.is_multiple_of(2) {
        sender.push_with(|| Box::new(number))
    } else {
        sender.push_and_finish(|| Box::new(u64::MAX), |value| **value = number)
    }
}

fn publish(sender: &mut Sender<Box<u64>>, bell: Option<&Doorbell>) {
    if sender.publish()
        && let Some(bell) = bell
    {
        bell.ring();
    }
}

/// Pushes `0..messages` in batches.
fn send_all(sender: &mut Sender<Box<u64>>, bell: Option<&Doorbell>, scale: Scale) {
    for number in 0..scale.messages {
        push(sender, bell, number, scale.style);
        if (number + 1).is_multiple_of(scale.batch as u64) {
            publish(sender, bell);
        }
    }
}

/// Takes what is there and checks that it continues the sequence.
fn take_some(receiver: &mut Receiver<Box<u64>>, expected: &mut u64, scale: Scale) -> usize {
    if scale.style == Style::InPlace {
        return take_some_in_place(receiver, expected, scale);
    }
    receiver.drain(scale.batch, |value| {
        assert_eq!(*value, *expected, "out of order, lost or twice");
        *expected += 1;
    })
}

/// The same, after a look at all of it.
fn take_some_in_place(
    receiver: &mut Receiver<Box<u64>>,
    expected: &mut u64,
    scale: Scale,
) -> usize {
    let ready = receiver.ready(scale.batch);
    for index in 0..ready {
        let seen = receiver.peek(index, |value| **value);
        assert_eq!(seen, Some(*expected + index as u64), "at place {index}");
    }
    let taken = receiver.drain_in_place(ready, |value| {
        assert_eq!(**value, *expected, "out of order, lost or twice");
        *expected += 1;
        Rest::Value
    });
    assert_eq!(taken, ready, "what was counted was not there");
    taken
}

/// Every message arrives, in order, and the lane closes after the last.
pub(crate) fn messages_arrive_in_order(scale: Scale) {
    let (mut sender, mut receiver) = lane::<Box<u64>>(scale.capacity);
    let sending = thread::spawn(move || send_all(&mut sender, None, scale));
    let mut expected = 0;
    while !receiver.is_closed() {
        if take_some(&mut receiver, &mut expected, scale) == 0 {
            thread::yield_now();
        }
    }
    assert_eq!(expected, scale.messages);
    sending.join().unwrap();
}

/// The same with `pop`, and with `len` and `is_empty` never promising too much.
pub(crate) fn popped_messages_arrive_in_order(scale: Scale) {
    let (mut sender, mut receiver) = lane::<Box<u64>>(scale.capacity);
    let sending = thread::spawn(move || send_all(&mut sender, None, scale));
    for expected in 0..scale.messages {
        while receiver.is_empty() {
            assert!(!receiver.is_closed(), "closed before message {expected}");
            thread::yield_now();
        }
        assert_ne!(receiver.len(), 0, "not empty, yet nothing there");
        let value = receiver.pop().expect("len said that a value is there");
        assert_eq!(*value, expected, "out of order, lost or twice");
    }
    sending.join().unwrap();
    assert!(receiver.is_closed());
}

/// A receiver that parks whenever it finds nothing gets every message, is woken for the close,
/// and is woken at most once per park.
pub(crate) fn a_parking_receiver_gets_every_message(scale: Scale) {
    a_receiver_that_parks_with_this_bell_gets_every_message(bell_and_bed(), scale);
}

pub(crate) fn a_receiver_that_parks_with_this_bell_gets_every_message(
    (bell, bed): (Arc<Doorbell>, Arc<Bed>),
    scale: Scale,
) {
    let (mut sender, mut receiver) = lane::<Box<u64>>(scale.capacity);
    let ringer = Arc::clone(&bell);
    let sending = thread::spawn(move || {
        send_all(&mut sender, Some(&ringer), scale);
        drop(sender);
        ringer.ring();
    });
    let (mut expected, mut parks) = (0, 0);
    while !receiver.is_closed() {
        if take_some(&mut receiver, &mut expected, scale) > 0 {
            continue;
        }
        parks += 1;
        if bell.park(|| receiver.is_empty() && !receiver.is_closed()) {
            bed.sleep();
            bell.awake();
        }
    }
    assert_eq!(expected, scale.messages);
    sending.join().unwrap();
    assert!(
        bed.wakes() <= parks,
        "{} wake-ups for {parks} parks",
        bed.wakes()
    );
}

/// Two senders ring one parking owner: nothing is missed, nobody wakes it twice for one park.
pub(crate) fn two_senders_share_a_doorbell(scale: Scale) {
    let (bell, bed) = bell_and_bed();
    let (mut receivers, mut sending) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (mut sender, receiver) = lane::<Box<u64>>(scale.capacity);
        receivers.push((receiver, 0_u64));
        let ringer = Arc::clone(&bell);
        sending.push(thread::spawn(move || {
            send_all(&mut sender, Some(&ringer), scale);
            publish(&mut sender, Some(&ringer));
        }));
    }
    let mut parks = 0;
    while receivers.iter().any(|(_, seen)| *seen < scale.messages) {
        let mut taken = 0;
        for (receiver, expected) in &mut receivers {
            taken += take_some(receiver, expected, scale);
        }
        if taken > 0 {
            continue;
        }
        parks += 1;
        if bell.park(|| {
            receivers
                .iter_mut()
                .all(|(receiver, _)| receiver.is_empty())
        }) {
            bed.sleep();
            bell.awake();
        }
    }
    for thread in sending {
        thread.join().unwrap();
    }
    assert!(
        bed.wakes() <= parks,
        "{} wake-ups for {parks} parks",
        bed.wakes()
    );
}

/// A receiver that leaves early closes the lane for the sender, and what it did before is seen.
pub(crate) fn a_receiver_that_leaves_stops_the_sender(scale: Scale) {
    let (mut sender, mut receiver) = lane::<Box<u64>>(scale.capacity);
    let receiving = thread::spawn(move || {
        let mut expected = 0;
        while expected < scale.messages {
            if take_some(&mut receiver, &mut expected, scale) == 0 {
                thread::yield_now();
            }
        }
    });
    let mut number = 0;
    loop {
        match sender.try_push(Box::new(number)) {
            Ok(()) => number += 1,
            Err(PushError::Closed(back)) => {
                assert_eq!(*back, number, "another value came back");
                break;
            }
            Err(PushError::Full(back)) => {
                assert_eq!(*back, number, "another value came back");
                sender.publish();
                thread::yield_now();
            }
        }
    }
    assert!(sender.is_closed());
    assert!(
        number >= scale.messages,
        "closed after {number}, before it took its share"
    );
    receiving.join().unwrap();
}
