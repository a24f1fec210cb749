//! Every value that enters a lane is dropped exactly once: by the receiver that takes it, or by
//! whichever end leaves last, in every order of leaving and whoever panics. Meant to run under
//! valgrind and the address sanitizer too, which see what counting cannot.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // In tests an unwrap is an assertion.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use teff_lane::{PushError, Receiver, Sender, lane};

/// How often each of a number of values was dropped.
#[derive(Clone)]
struct Tally(Arc<[AtomicUsize]>);

impl Tally {
    fn of(values: usize) -> Self {
        Self((0..values).map(|_| AtomicUsize::new(0)).collect())
    }

    fn value(&self, number: usize) -> Value {
        self.value_or_bomb(number, false)
    }

    /// A bomb is a value whose drop panics, after it was counted.
    fn value_or_bomb(&self, number: usize, is_bomb: bool) -> Value {
        Value {
            number: Box::new(number),
            tally: self.clone(),
            is_bomb,
        }
    }

    fn counts(&self) -> Vec<usize> {
        self.0.iter().map(|count| count.load(SeqCst)).collect()
    }

    fn assert_all_dropped_once(&self) {
        assert!(
            self.0.iter().all(|count| count.load(SeqCst) == 1),
            "{:?}",
            self.counts()
        );
    }

    fn assert_dropped(&self, dropped: impl Fn(usize) -> bool) {
        let expected: Vec<_> = (0..self.0.len())
            .map(|number| dropped(number).into())
            .collect();
        assert_eq!(self.counts(), expected);
    }
}

struct Value {
    number: Box<usize>,
    tally: Tally,
    is_bomb: bool,
}

impl Drop for Value {
    fn drop(&mut self) {
        self.tally.0[*self.number].fetch_add(1, SeqCst);
        assert!(!self.is_bomb, "drop of value {}", self.number);
    }
}

/// A lane of capacity 8 that has gone round a few times already, with `published` and then
/// `unseen` values in it.
fn filled(published: usize, unseen: usize) -> (Sender<Value>, Receiver<Value>, Tally) {
    let (mut sender, mut receiver) = lane(8);
    let warm_up = Tally::of(13);
    for number in 0..13 {
        sender.try_push(warm_up.value(number)).ok().unwrap();
        sender.publish();
        assert!(receiver.pop().is_some());
    }
    warm_up.assert_all_dropped_once();
    let tally = Tally::of(published + unseen);
    for number in 0..published {
        sender.try_push(tally.value(number)).ok().unwrap();
    }
    sender.publish();
    for number in published..published + unseen {
        sender.try_push(tally.value(number)).ok().unwrap();
    }
    (sender, receiver, tally)
}

/// Calls `scene` with every filling of the lane.
fn for_all_fillings(scene: impl Fn(Sender<Value>, Receiver<Value>, &Tally)) {
    for published in 0..=8 {
        for unseen in 0..=8 - published {
            let (sender, receiver, tally) = filled(published, unseen);
            scene(sender, receiver, &tally);
            tally.assert_all_dropped_once();
        }
    }
}

#[test]
fn leftovers_go_with_the_receiver_when_the_sender_left_first() {
    for_all_fillings(|sender, receiver, tally| {
        drop(sender);
        tally.assert_dropped(|_| false);
        drop(receiver);
    });
}

#[test]
fn leftovers_go_with_the_sender_when_the_receiver_left_first() {
    for_all_fillings(|sender, receiver, tally| {
        drop(receiver);
        tally.assert_dropped(|_| false);
        drop(sender);
    });
}

#[test]
fn leftovers_go_once_when_both_ends_leave_at_the_same_moment() {
    for _ in 0..20 {
        for_all_fillings(|sender, receiver, _| {
            let together = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    together.wait();
                    drop(sender);
                });
                together.wait();
                drop(receiver);
            });
        });
    }
}

#[test]
fn values_taken_before_the_ends_leave_are_not_dropped_again() {
    for taken in 0..=8 {
        let (sender, mut receiver, tally) = filled(8, 0);
        receiver.drain(taken, drop);
        tally.assert_dropped(|number| number < taken);
        drop(receiver);
        tally.assert_dropped(|number| number < taken);
        drop(sender);
        tally.assert_all_dropped_once();
    }
}

#[test]
fn values_taken_after_the_sender_left_are_dropped_by_their_taker() {
    for_all_fillings(|sender, mut receiver, tally| {
        drop(sender);
        while let Some(value) = receiver.pop() {
            let number = *value.number;
            tally.assert_dropped(|earlier| earlier < number);
        }
        tally.assert_all_dropped_once();
        assert!(receiver.is_closed());
    });
}

#[test]
fn values_pushed_after_the_receiver_left_go_with_the_sender() {
    let tally = Tally::of(9);
    let (mut sender, receiver) = lane(8);
    drop(receiver);
    for number in 0..8 {
        sender.try_push(tally.value(number)).ok().unwrap();
    }
    match sender.try_push(tally.value(8)) {
        Err(PushError::Closed(back)) => assert_eq!(*back.number, 8),
        Err(PushError::Full(_)) => panic!("full, with the receiver gone"),
        Ok(()) => panic!("nine values in a lane of eight"),
    }
    tally.assert_dropped(|number| number == 8);
    drop(sender);
    tally.assert_all_dropped_once();
}

#[test]
fn a_panic_while_draining_loses_only_the_value_in_hand() {
    for fatal in 0..8 {
        let (mut sender, mut receiver, tally) = filled(8, 0);
        let drained = catch_unwind(AssertUnwindSafe(|| {
            receiver.drain(usize::MAX, |value| {
                assert_ne!(*value.number, fatal, "on purpose");
            });
        }));
        assert!(drained.is_err());
        tally.assert_dropped(|number| number <= fatal);
        assert_eq!(receiver.len(), 7 - fatal);
        assert_eq!(
            sender.free(),
            fatal + 1,
            "emptied slots were not handed back"
        );

        let mut rest = Vec::new();
        receiver.drain(usize::MAX, |value| rest.push(*value.number));
        assert!(rest.into_iter().eq(fatal + 1..8));
        tally.assert_all_dropped_once();
    }
}

#[test]
fn a_panic_while_draining_and_leaving_drops_the_rest_once() {
    for sender_first in [true, false] {
        let (sender, mut receiver, tally) = filled(5, 3);
        let sender = (!sender_first).then_some(sender);
        let drained = catch_unwind(AssertUnwindSafe(move || {
            receiver.drain(usize::MAX, |value| {
                assert_ne!(*value.number, 2, "on purpose");
            });
        }));
        assert!(drained.is_err());
        drop(sender);
        tally.assert_all_dropped_once();
    }
}

#[test]
fn a_value_whose_drop_panics_does_not_keep_the_others_from_being_dropped() {
    for bomb in 0..4 {
        let tally = Tally::of(4);
        let (mut sender, receiver) = lane(4);
        for number in 0..4 {
            let value = tally.value_or_bomb(number, number == bomb);
            sender.try_push(value).ok().unwrap();
        }
        drop(sender);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(receiver))).is_err());
        tally.assert_all_dropped_once();
    }
}

#[test]
fn values_without_a_size_are_counted_and_dropped_like_others() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Unit;
    impl Drop for Unit {
        fn drop(&mut self) {
            DROPS.fetch_add(1, SeqCst);
        }
    }
    let (mut sender, mut receiver) = lane(4);
    for _ in 0..4 {
        sender.try_push(Unit).ok().unwrap();
    }
    assert!(matches!(sender.try_push(Unit), Err(PushError::Full(Unit))));
    assert_eq!(DROPS.load(SeqCst), 1, "the refused one");
    sender.publish();
    assert_eq!(receiver.drain(3, drop), 3);
    drop(sender);
    drop(receiver);
    assert_eq!(DROPS.load(SeqCst), 5);
}
