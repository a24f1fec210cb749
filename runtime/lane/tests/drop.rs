//! Every value that enters a lane is dropped exactly once: by the receiver that takes it, or by
//! whichever end leaves last, in every order of leaving and whoever panics. Meant to run under
//! valgrind and the address sanitizer too, which see what counting cannot.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // In tests an unwrap is an assertion.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use teff_lane::{PushError, Receiver, Rest, Sender, lane};

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

/// A value that owns no memory, so that one that is forgotten leaks nothing but its drop.
struct Mark<'a>(&'a AtomicUsize);

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Pushes a value in one of the ways that there are; they mix within each lane.
fn push(sender: &mut Sender<Value>, tally: &Tally, number: usize) {
    match number % 3 {
        0 => sender.try_push(tally.value(number)).ok().unwrap(),
        1 => assert!(sender.push_with(|| tally.value(number))),
        // Dropped without its second step, it would be no number of the tally.
        _ => assert!(
            sender.push_and_finish(|| tally.value(usize::MAX), |value| *value.number = number,)
        ),
    }
}

/// Unwinds without the message on the console.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("on purpose"))
}

/// A lane of capacity 8 that has gone round a few times already, with `published` and then
/// `unseen` values in it.
fn filled(published: usize, unseen: usize) -> (Sender<Value>, Receiver<Value>, Tally) {
    let (mut sender, mut receiver) = lane(8);
    let warm_up = Tally::of(13);
    for number in 0..13 {
        push(&mut sender, &warm_up, number);
        sender.publish();
        assert!(receiver.pop().is_some());
    }
    warm_up.assert_all_dropped_once();
    let tally = Tally::of(published + unseen);
    for number in 0..published {
        push(&mut sender, &tally, number);
    }
    sender.publish();
    for number in published..published + unseen {
        push(&mut sender, &tally, number);
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
fn values_lent_are_dropped_each_before_the_next_and_not_again_with_the_ends() {
    for receiver_first in [true, false] {
        for lent in 0..=8 {
            let (mut sender, mut receiver, tally) = filled(8, 0);
            let mut before = 0;
            let taken = receiver.drain_in_place(lent, |value| {
                tally.assert_dropped(|number| number < before);
                assert_eq!(*value.number, before);
                before += 1;
                Rest::Value
            });
            assert_eq!((taken, sender.free()), (lent, lent));
            tally.assert_dropped(|number| number < lent);
            let (sender, receiver) = if receiver_first {
                drop(receiver);
                (Some(sender), None)
            } else {
                drop(sender);
                (None, Some(receiver))
            };
            tally.assert_dropped(|number| number < lent);
            drop((sender, receiver));
            tally.assert_all_dropped_once();
        }
    }
}

#[test]
fn a_look_drops_nothing() {
    let (_sender, mut receiver, tally) = filled(8, 0);
    assert_eq!(receiver.ready(8), 8);
    for index in 0..8 {
        assert_eq!(receiver.peek(index, |value| *value.number), Some(index));
    }
    tally.assert_dropped(|_| false);
}

#[test]
fn what_is_put_in_the_place_of_a_lent_value_is_dropped_in_its_stead() {
    let (_sender, mut receiver, tally) = filled(4, 0);
    let replacements = Tally::of(4);
    let mut taken = Vec::new();
    receiver.drain_in_place(4, |value| {
        let number = *value.number;
        taken.push(std::mem::replace(value, replacements.value(number)));
        Rest::Value
    });
    replacements.assert_all_dropped_once();
    tally.assert_dropped(|_| false);
    drop(taken);
    tally.assert_all_dropped_once();
}

#[test]
fn a_value_of_which_nothing_is_left_is_forgotten() {
    let drops = AtomicUsize::new(0);
    let (mut sender, mut receiver) = lane(4);
    for _ in 0..4 {
        assert!(sender.push_with(|| Mark(&drops)));
    }
    sender.publish();
    let mut number = 0;
    receiver.drain_in_place(4, |_| {
        number += 1;
        if number % 2 == 0 {
            Rest::Nothing
        } else {
            Rest::Value
        }
    });
    assert_eq!(drops.load(SeqCst), 2, "every other");
    // Its slot is as good as any: what is written there overwrites what was forgotten.
    assert_eq!(sender.free(), 4);
    for _ in 0..4 {
        assert!(sender.push_with(|| Mark(&drops)));
    }
    assert_eq!(drops.load(SeqCst), 2, "neither now");
    drop(receiver);
    drop(sender);
    assert_eq!(drops.load(SeqCst), 6, "nor with the ends");
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
fn a_panic_while_lending_drops_the_value_in_hand_once_and_no_other() {
    for fatal in 0..8 {
        let (mut sender, mut receiver, tally) = filled(8, 0);
        let drained = catch_unwind(AssertUnwindSafe(|| {
            receiver.drain_in_place(usize::MAX, |value| {
                if *value.number == fatal {
                    panic_quietly();
                }
                Rest::Value
            });
        }));
        assert!(drained.is_err());
        tally.assert_dropped(|number| number <= fatal);
        assert_eq!((receiver.len(), sender.free()), (7 - fatal, fatal + 1));

        let mut rest = Vec::new();
        receiver.drain_in_place(usize::MAX, |value| {
            rest.push(*value.number);
            Rest::Value
        });
        assert!(rest.into_iter().eq(fatal + 1..8));
        tally.assert_all_dropped_once();
    }
}

#[test]
fn a_panic_while_lending_and_leaving_drops_the_rest_once() {
    for sender_first in [true, false] {
        let (sender, mut receiver, tally) = filled(5, 3);
        let sender = (!sender_first).then_some(sender);
        let drained = catch_unwind(AssertUnwindSafe(move || {
            receiver.drain_in_place(usize::MAX, |value| {
                if *value.number == 2 {
                    panic_quietly();
                }
                Rest::Value
            });
        }));
        assert!(drained.is_err());
        drop(sender);
        tally.assert_all_dropped_once();
    }
}

#[test]
fn a_lent_value_whose_drop_panics_is_dropped_once_and_the_others_stay() {
    for bomb in 0..4 {
        let tally = Tally::of(4);
        let (mut sender, mut receiver) = lane(4);
        for number in 0..4 {
            assert!(sender.push_with(|| tally.value_or_bomb(number, number == bomb)));
        }
        sender.publish();
        let drained = catch_unwind(AssertUnwindSafe(|| {
            receiver.drain_in_place(4, |_| Rest::Value);
        }));
        assert!(drained.is_err());
        tally.assert_dropped(|number| number <= bomb);
        assert_eq!((receiver.len(), sender.free()), (3 - bomb, bomb + 1));
        drop(receiver);
        drop(sender);
        tally.assert_all_dropped_once();
    }
}

#[test]
fn a_panic_while_making_leaves_the_lane_as_it_was() {
    for before in 0..8 {
        let (mut sender, mut receiver, tally) = filled(0, before);
        let pushed = catch_unwind(AssertUnwindSafe(|| {
            sender.push_and_finish(|| panic_quietly(), |_| unreachable!("nothing was made"));
        }));
        assert!(pushed.is_err());
        tally.assert_dropped(|_| false);
        assert_eq!((sender.unpublished(), sender.free()), (before, 8 - before));

        let more = Tally::of(8 - before);
        for number in 0..8 - before {
            push(&mut sender, &more, number);
        }
        sender.publish();
        let mut got = Vec::new();
        receiver.drain(8, |value| got.push(*value.number));
        assert!(got.into_iter().eq((0..before).chain(0..8 - before)));
        tally.assert_all_dropped_once();
        more.assert_all_dropped_once();
    }
}

#[test]
fn a_panic_while_finishing_forgets_that_value_only() {
    let (drops, forgotten) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for after in 0..2 {
        drops.store(0, SeqCst);
        let (mut sender, mut receiver) = lane(4);
        assert!(sender.push_with(|| Mark(&drops)));
        let pushed = catch_unwind(AssertUnwindSafe(|| {
            sender.push_and_finish(|| Mark(&forgotten), |_| panic_quietly());
        }));
        assert!(pushed.is_err());
        assert_eq!((sender.unpublished(), sender.free()), (1, 3));
        // The first of these takes the slot of the one that failed.
        for _ in 0..after {
            assert!(sender.push_with(|| Mark(&drops)));
        }
        sender.publish();
        assert_eq!(receiver.drain(1, drop), 1);
        drop(sender);
        drop(receiver);
        assert_eq!(drops.load(SeqCst), 1 + after, "those that were sent");
        assert_eq!(forgotten.load(SeqCst), 0, "the one that was not");
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
    assert!(!sender.push_with(|| Unit));
    assert_eq!(DROPS.load(SeqCst), 1, "a refused one is not even made");
    sender.publish();
    assert_eq!(receiver.drain(1, drop), 1);
    let mut rests = [Rest::Value, Rest::Nothing].into_iter();
    assert_eq!(receiver.drain_in_place(2, |_| rests.next().unwrap()), 2);
    assert_eq!(DROPS.load(SeqCst), 3, "and one is forgotten");
    drop(sender);
    drop(receiver);
    assert_eq!(DROPS.load(SeqCst), 4);
}
