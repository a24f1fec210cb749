//! All interleavings of small scenes, and all values that the orderings of the crate permit a load
//! to see. `RUSTFLAGS="--cfg loom" cargo test -p teff-lane --release --test loom`
//!
//! Capacity 2 is the smallest there is, so three messages already wrap, fill and refill. A lost
//! wake-up shows as loom's deadlock report, a slot touched by two threads as its access report.
#![cfg(loom)]
#![allow(clippy::unwrap_used)] // In tests an unwrap is an assertion.

mod common;

#[path = "loom/barrier.rs"]
mod barrier;

use common::{Bed, Scale, Style, thread};
use loom::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use teff_lane::{Doorbell, PushError, Rest, lane};

const TINY: Scale = Scale {
    capacity: 2,
    messages: 3,
    batch: 1,
    style: Style::Moved,
};

const IN_PLACE: Scale = Scale {
    style: Style::InPlace,
    ..TINY
};

/// Explores all interleavings.
fn all(scene: impl Fn() + Send + Sync + 'static) {
    loom::model(scene);
}

/// Explores those with few preemptions, where all would take minutes. Loom's authors found 2 or 3
/// enough for most faults; each constant here was chosen to end within seconds.
fn bounded(preemptions: usize, scene: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(scene);
}

/// Counts its own drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn messages_arrive_in_order_one_by_one() {
    all(|| common::messages_arrive_in_order(TINY));
}

#[test]
fn messages_arrive_in_order_in_batches() {
    all(|| common::messages_arrive_in_order(Scale { batch: 2, ..TINY }));
}

#[test]
fn messages_made_and_lent_in_place_arrive_in_order() {
    all(|| common::messages_arrive_in_order(IN_PLACE));
}

#[test]
fn messages_made_and_lent_in_place_arrive_in_order_in_batches() {
    all(|| {
        common::messages_arrive_in_order(Scale {
            batch: 2,
            ..IN_PLACE
        });
    });
}

#[test]
fn popped_messages_arrive_in_order() {
    all(|| common::popped_messages_arrive_in_order(TINY));
}

#[test]
fn a_batch_becomes_visible_as_a_whole() {
    all(|| {
        let (mut sender, mut receiver) = lane(2);
        let sending = thread::spawn(move || {
            sender.try_push(1).unwrap();
            sender.try_push(2).unwrap();
            assert!(sender.publish());
            assert!(!sender.publish(), "there was nothing new");
        });
        let mut got = Vec::new();
        receiver.drain(8, |value| got.push(value));
        assert!(got.is_empty() || got == [1, 2], "half a batch: {got:?}");
        sending.join().unwrap();
    });
}

#[test]
fn a_slot_is_refilled_only_after_it_was_emptied() {
    all(|| {
        let (mut sender, mut receiver) = lane(2);
        for value in 0..2 {
            sender.try_push(Box::new(value)).unwrap();
        }
        sender.publish();
        let sending = thread::spawn(move || match sender.try_push(Box::new(2)) {
            Ok(()) => assert!(sender.free() <= 1),
            Err(PushError::Full(back)) => assert_eq!(*back, 2),
            Err(PushError::Closed(_)) => panic!("the receiver is still there"),
        });
        assert_eq!(receiver.pop().as_deref(), Some(&0));
        assert_eq!(receiver.pop().as_deref(), Some(&1));
        assert!(matches!(receiver.pop().as_deref(), None | Some(&2)));
        sending.join().unwrap();
    });
}

#[test]
fn a_value_is_lent_while_the_sender_fills_the_slot_beside_it() {
    all(|| {
        let (mut sender, mut receiver) = lane(2);
        assert!(sender.push_with(|| Box::new(0)));
        sender.publish();
        let sending = thread::spawn(move || {
            assert!(sender.push_with(|| Box::new(1)), "one of two slots");
            sender.publish();
            // There is room only once the lent value is gone and its slot was handed back.
            if sender.push_with(|| Box::new(2)) {
                sender.publish();
            }
        });
        assert!(receiver.ready(2) >= 1);
        assert_eq!(receiver.peek(0, |value| **value), Some(0));
        assert!(matches!(receiver.peek(1, |value| **value), None | Some(1)));
        let mut got = Vec::new();
        let mut lend = |value: &mut Box<i32>| {
            got.push(std::mem::replace(&mut **value, 9));
            Rest::Value
        };
        assert_eq!(receiver.drain_in_place(1, &mut lend), 1);
        receiver.drain_in_place(9, &mut lend);
        receiver.drain_in_place(9, &mut lend);
        sending.join().unwrap();
        receiver.drain_in_place(9, &mut lend);
        assert!(got == [0, 1] || got == [0, 1, 2], "{got:?}");
    });
}

#[test]
fn a_look_at_a_value_ends_before_its_slot_is_refilled() {
    all(|| {
        let (mut sender, mut receiver) = lane(2);
        for value in 0..2 {
            assert!(sender.push_with(|| Box::new(value)));
        }
        sender.publish();
        let sending = thread::spawn(move || {
            if sender.has_room() {
                assert!(sender.push_with(|| Box::new(2)), "it said that it has room");
            }
            assert!(sender.unpublished() <= 1);
        });
        assert_eq!(receiver.ready(1), 1);
        assert_eq!(receiver.peek(0, |value| **value), Some(0));
        assert_eq!(receiver.peek(1, |value| **value), Some(1));
        assert_eq!(receiver.pop().as_deref(), Some(&0));
        assert_eq!(receiver.peek(0, |value| **value), Some(1));
        assert!(receiver.peek(1, |value| **value).is_none(), "not looked up");
        sending.join().unwrap();
    });
}

#[test]
fn a_receiver_that_leaves_stops_the_sender() {
    all(|| {
        common::a_receiver_that_leaves_stops_the_sender(Scale {
            messages: 1,
            ..TINY
        });
    });
}

#[test]
fn what_an_end_did_before_it_left_is_seen_by_the_other() {
    all(|| {
        let (sender, receiver) = lane::<u8>(2);
        let done = Arc::new(AtomicUsize::new(0));
        let remote_done = Arc::clone(&done);
        let leaving = thread::spawn(move || {
            remote_done.store(1, Relaxed);
            drop(receiver);
        });
        if sender.is_closed() {
            assert_eq!(done.load(Relaxed), 1);
        }
        leaving.join().unwrap();
    });
}

#[test]
fn a_sender_that_leaves_has_published_everything() {
    all(|| {
        let (mut sender, mut receiver) = lane(2);
        let sending = thread::spawn(move || {
            sender.try_push(1).unwrap();
            sender.publish();
            sender.try_push(2).unwrap();
        });
        let mut sum = 0;
        receiver.drain(8, |value| sum += value);
        if receiver.is_closed() {
            assert_eq!(sum, 3, "closed with something left or lost");
        }
        sending.join().unwrap();
        receiver.drain(8, |value| sum += value);
        assert_eq!(sum, 3);
        assert!(receiver.is_closed());
    });
}

#[test]
fn leftovers_are_dropped_once_whoever_leaves_last() {
    all(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let (mut sender, mut receiver) = lane(2);
        sender.try_push(Counted(Arc::clone(&drops))).ok().unwrap();
        sender.publish();
        sender.try_push(Counted(Arc::clone(&drops))).ok().unwrap();
        let sending = thread::spawn(move || drop(sender));
        drop(receiver.pop());
        drop(receiver);
        sending.join().unwrap();
        assert_eq!(drops.load(Relaxed), 2);
    });
}

#[test]
fn no_wake_up_is_lost() {
    all(|| {
        let work = Arc::new(AtomicUsize::new(0));
        let (bell, bed) = common::bell_and_bed();
        let (remote_work, remote_bell) = (Arc::clone(&work), Arc::clone(&bell));
        let ringer = thread::spawn(move || {
            // Relaxed, so that all ordering is the doorbell's.
            remote_work.store(1, Relaxed);
            remote_bell.ring();
        });
        if bell.park(|| work.load(Relaxed) == 0) {
            bed.sleep();
            bell.awake();
        }
        assert_eq!(work.load(Relaxed), 1, "neither seen nor woken for");
        ringer.join().unwrap();
        assert!(bed.wakes() <= 1, "{} wake-ups for one park", bed.wakes());
        assert!(!bell.is_parked());
    });
}

#[test]
fn no_wake_up_is_lost_and_two_ringers_wake_once() {
    bounded(4, || {
        let work: Arc<[AtomicUsize; 2]> = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let (bell, bed) = common::bell_and_bed();
        let ringers: Vec<_> = (0..2)
            .map(|ringer| {
                let (work, bell) = (Arc::clone(&work), Arc::clone(&bell));
                thread::spawn(move || {
                    // Relaxed, so that all ordering is the doorbell's.
                    work[ringer].store(1, Relaxed);
                    bell.ring();
                })
            })
            .collect();
        if bell.park(|| work.iter().all(|work| work.load(Relaxed) == 0)) {
            bed.sleep();
            bell.awake();
        }
        assert!(
            work.iter().any(|work| work.load(Relaxed) == 1),
            "woken for nothing"
        );
        for ringer in ringers {
            ringer.join().unwrap();
        }
        assert!(bed.wakes() <= 1, "{} wake-ups for one park", bed.wakes());
        assert!(!bell.is_parked());
    });
}

#[test]
fn a_late_wake_up_does_not_hide_the_next() {
    bounded(5, || {
        let work = Arc::new(AtomicUsize::new(0));
        let (bell, bed) = common::bell_and_bed();
        let (remote_work, remote_bell) = (Arc::clone(&work), Arc::clone(&bell));
        let ringer = thread::spawn(move || {
            for done in 1..=2 {
                remote_work.store(done, Relaxed);
                remote_bell.ring();
            }
        });
        let mut parks = 0;
        for seen in 0..2 {
            while work.load(Relaxed) <= seen {
                parks += 1;
                if bell.park(|| work.load(Relaxed) <= seen) {
                    bed.sleep();
                    bell.awake();
                }
            }
        }
        ringer.join().unwrap();
        assert!(
            bed.wakes() <= parks,
            "{} wake-ups for {parks} parks",
            bed.wakes()
        );
    });
}

#[test]
fn a_woken_owner_sees_the_message_even_if_its_bed_orders_nothing() {
    all(|| {
        let woken = Arc::new(AtomicUsize::new(0));
        let remote_woken = Arc::clone(&woken);
        let bell = Arc::new(Doorbell::new(move || remote_woken.store(1, Relaxed)));
        let (mut sender, mut receiver) = lane(2);
        let ringer = Arc::clone(&bell);
        let sending = thread::spawn(move || {
            sender.try_push(1).unwrap();
            sender.publish();
            ringer.ring();
        });
        if bell.park(|| receiver.is_empty()) {
            while woken.load(Relaxed) == 0 {
                thread::yield_now();
            }
            bell.awake();
        }
        assert_eq!(receiver.pop(), Some(1));
        sending.join().unwrap();
    });
}

#[test]
fn a_parking_receiver_gets_every_message() {
    bounded(3, || {
        common::a_parking_receiver_gets_every_message(Scale {
            messages: 2,
            ..TINY
        });
    });
}

#[test]
fn a_parking_receiver_gets_every_batch() {
    bounded(4, || {
        common::a_parking_receiver_gets_every_message(Scale { batch: 2, ..TINY });
    });
}

#[test]
fn a_parking_receiver_gets_every_message_in_place() {
    bounded(3, || {
        common::a_parking_receiver_gets_every_message(Scale {
            messages: 2,
            ..IN_PLACE
        });
    });
}

#[test]
fn two_senders_share_a_doorbell() {
    bounded(3, || {
        common::two_senders_share_a_doorbell(Scale {
            messages: 1,
            ..TINY
        });
    });
}

#[test]
fn a_bed_remembers_an_early_wake_up() {
    // The scenes rest on this; without it a deadlock could be the bed's fault.
    all(|| {
        let bed = Arc::new(Bed::default());
        let waker = Arc::clone(&bed);
        let waking = thread::spawn(move || waker.wake());
        bed.sleep();
        waking.join().unwrap();
    });
}
