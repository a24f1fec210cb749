//! What the ends of a lane say about it, and what the compiler lets one do with them: each may move
//! to another thread, neither may be shared or copied. A doorbell may be shared.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // In tests an unwrap is an assertion.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use teff_lane::{Doorbell, MAX_CAPACITY, PushError, Receiver, Rest, Sender, lane};

/// Compiles only if the type does *not* have the trait: with it, `refuse` would be ambiguous.
macro_rules! assert_not_impl {
    ($type:ty: $bound:path) => {{
        trait Ambiguous<A> {
            fn refuse() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + $bound> Ambiguous<u8> for T {}
        <$type as Ambiguous<_>>::refuse();
    }};
}

fn assert_send<T: Send>() {}
fn assert_sync<T: Sync>() {}

#[test]
fn an_end_moves_between_threads_but_is_neither_shared_nor_copied() {
    // A `Cell` is Send and not Sync: values need no more than a lane gives.
    assert_send::<Sender<Cell<u8>>>();
    assert_send::<Receiver<Cell<u8>>>();
    assert_not_impl!(Sender<u8>: Sync);
    assert_not_impl!(Receiver<u8>: Sync);
    assert_not_impl!(Sender<u8>: Clone);
    assert_not_impl!(Receiver<u8>: Clone);
    assert_not_impl!(Sender<Rc<u8>>: Send);
    assert_not_impl!(Receiver<Rc<u8>>: Send);
    assert_send::<Doorbell>();
    assert_sync::<Doorbell>();
}

#[test]
fn capacity_is_rounded_up_to_a_power_of_two_and_all_of_it_is_usable() {
    for (asked, given) in [(0, 2), (1, 2), (2, 2), (3, 4), (64, 64), (65, 128)] {
        let (mut sender, receiver) = lane::<usize>(asked);
        assert_eq!((sender.capacity(), receiver.capacity()), (given, given));
        for value in 0..given {
            assert_eq!(sender.free(), given - value);
            assert_eq!(sender.try_push(value), Ok(()));
        }
        assert_eq!(sender.free(), 0);
        assert_eq!(sender.try_push(given), Err(PushError::Full(given)));
    }
}

#[test]
fn an_absurd_capacity_panics_before_anything_is_allocated() {
    assert!(catch_unwind(|| lane::<u8>(MAX_CAPACITY + 1)).is_err());
    assert!(catch_unwind(|| lane::<u8>(usize::MAX)).is_err());
}

#[test]
fn a_full_lane_hands_the_value_back() {
    let (mut sender, mut receiver) = lane(2);
    sender.try_push(1).unwrap();
    sender.try_push(2).unwrap();
    let refused = sender.try_push(3).unwrap_err();
    assert_eq!(refused, PushError::Full(3));
    assert_eq!(refused.into_inner(), 3);
    sender.publish();
    assert_eq!(receiver.pop(), Some(1));
    assert_eq!(sender.try_push(3), Ok(()));
}

#[test]
fn a_full_lane_without_a_receiver_is_closed() {
    let (mut sender, receiver) = lane(2);
    assert!(!sender.is_closed());
    drop(receiver);
    assert!(sender.is_closed());
    assert_eq!((sender.try_push(1), sender.try_push(2)), (Ok(()), Ok(())));
    assert_eq!(sender.try_push(3), Err(PushError::Closed(3)));
}

#[test]
fn nothing_is_made_for_a_full_lane_whether_its_receiver_is_there_or_gone() {
    let (mut sender, mut receiver) = lane(2);
    assert!(sender.has_room());
    assert!(sender.push_with(|| 1));
    assert!(sender.push_and_finish(|| 10, |value| *value += 1));
    assert!(!sender.has_room());
    assert!(!sender.push_with(|| panic!("made without room")));
    assert!(!sender.push_and_finish(|| panic!("made without room"), |_| ()));
    sender.publish();
    assert!(!sender.has_room(), "seen is not taken");
    assert_eq!(receiver.pop(), Some(1));
    assert!(sender.has_room(), "room made since it was last looked for");
    assert!(sender.push_with(|| 3));
    drop(receiver);
    assert!(!sender.has_room());
    assert!(!sender.push_with(|| panic!("made without room")));
    assert!(sender.is_closed());
}

#[test]
fn what_is_finished_in_the_slot_is_what_arrives() {
    let (mut sender, mut receiver) = lane(2);
    let mut steps = Vec::new();
    assert!(sender.push_and_finish(
        || {
            steps.push("make");
            [1, 0]
        },
        |value| {
            assert_eq!(*value, [1, 0]);
            value[1] = 2;
        },
    ));
    assert_eq!(steps, ["make"]);
    assert_eq!(receiver.ready(1), 0, "not published yet");
    sender.publish();
    assert_eq!(receiver.pop(), Some([1, 2]));
}

#[test]
fn what_is_not_published_is_counted() {
    let (mut sender, mut receiver) = lane(4);
    assert_eq!(sender.unpublished(), 0);
    for pushed in 1..=4 {
        assert!(sender.push_with(|| pushed));
        assert_eq!(sender.unpublished(), pushed);
    }
    assert!(!sender.push_with(|| 5));
    assert_eq!(sender.unpublished(), 4, "a refused push is none");
    sender.publish();
    assert_eq!(sender.unpublished(), 0);
    assert_eq!(receiver.drain(2, drop), 2);
    assert!(sender.push_with(|| 5));
    assert_eq!(sender.unpublished(), 1);
}

#[test]
fn nothing_is_seen_before_it_is_published_and_publish_says_whether_anything_was() {
    let (mut sender, mut receiver) = lane(4);
    assert!(!sender.publish());
    sender.try_push(1).unwrap();
    assert!(receiver.is_empty());
    assert_eq!((receiver.len(), receiver.pop()), (0, None));
    assert!(sender.publish());
    assert!(!sender.publish());
    assert_eq!((receiver.len(), receiver.pop()), (1, Some(1)));
}

#[test]
fn a_sender_that_leaves_publishes_and_the_lane_is_closed_when_it_is_empty() {
    let (mut sender, mut receiver) = lane(4);
    sender.try_push(1).unwrap();
    drop(sender);
    assert!(!receiver.is_closed());
    assert_eq!(receiver.pop(), Some(1));
    assert!(receiver.is_closed());
    assert_eq!(receiver.drain(9, |_| panic!("nothing is left")), 0);
}

#[test]
fn a_drain_takes_no_more_than_asked() {
    let (mut sender, mut receiver) = lane(8);
    for value in 0..8 {
        sender.try_push(value).unwrap();
    }
    sender.publish();
    let mut got = Vec::new();
    assert_eq!(receiver.drain(0, |value| got.push(value)), 0);
    assert_eq!(receiver.drain(3, |value| got.push(value)), 3);
    assert_eq!(got, [0, 1, 2]);
    assert_eq!(sender.free(), 3);
    assert_eq!(receiver.drain(usize::MAX, |value| got.push(value)), 5);
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_drain_takes_what_was_there_at_its_start_and_hands_the_slots_back_at_its_end() {
    let (mut sender, mut receiver) = lane(4);
    for value in 0..3 {
        sender.try_push(value).unwrap();
    }
    sender.publish();
    let taken = receiver.drain(usize::MAX, |value| {
        assert_eq!(
            sender.free(),
            usize::from(value == 0),
            "a slot came back during the drain"
        );
        if value == 0 {
            sender.try_push(3).unwrap();
            sender.publish();
        }
    });
    assert_eq!(taken, 3);
    assert_eq!((sender.free(), receiver.len()), (3, 1));
}

#[test]
fn what_is_ready_can_be_looked_at_and_nothing_behind_it() {
    let (mut sender, mut receiver) = lane(4);
    assert_eq!(
        (receiver.ready(4), receiver.peek(0, |value| *value)),
        (0, None)
    );
    // So that what is looked at lies across the end of the slots.
    for value in 0..3 {
        sender.try_push(value).unwrap();
    }
    sender.publish();
    assert_eq!(receiver.drain(3, drop), 3);
    for value in 0..3 {
        sender.try_push(value).unwrap();
    }
    sender.publish();
    sender.try_push(3).unwrap();

    assert_eq!(receiver.peek(0, |value| *value), None, "not counted yet");
    assert_eq!(
        (receiver.ready(0), receiver.ready(2), receiver.ready(9)),
        (0, 2, 3)
    );
    let looks = [0, 1, 2, 3, 4, usize::MAX].map(|index| receiver.peek(index, |value| *value));
    assert_eq!(looks, [Some(0), Some(1), Some(2), None, None, None]);
    assert_eq!(sender.free(), 0, "a look takes nothing");
    assert_eq!(receiver.pop(), Some(0));
    assert_eq!(
        receiver.peek(0, |value| *value),
        Some(1),
        "counted from the next one on"
    );
    assert_eq!(receiver.peek(2, |value| *value), None);
}

#[test]
fn what_was_ready_is_known_without_another_look_at_the_sender() {
    let (mut sender, mut receiver) = lane(4);
    sender.try_push(0).unwrap();
    sender.publish();
    assert_eq!(receiver.ready(1), 1);
    sender.try_push(1).unwrap();
    sender.publish();
    assert_eq!(receiver.ready(1), 1);
    assert_eq!(
        receiver.peek(1, |value| *value),
        None,
        "nobody looked for it"
    );
    assert_eq!(receiver.ready(2), 2);
    assert_eq!(receiver.peek(1, |value| *value), Some(1));
}

#[test]
fn a_drain_in_place_takes_what_was_there_at_its_start_and_hands_the_slots_back_at_its_end() {
    let (mut sender, mut receiver) = lane(4);
    for value in 0..3 {
        sender.try_push(value).unwrap();
    }
    sender.publish();
    let mut lend = |max, receiver: &mut Receiver<usize>| {
        let mut got = Vec::new();
        let taken = receiver.drain_in_place(max, |value| {
            got.push(*value);
            assert_eq!(
                sender.free(),
                usize::from(*value == 0),
                "a slot came back during the drain"
            );
            if *value == 0 {
                sender.try_push(3).unwrap();
                sender.publish();
            }
            Rest::Value
        });
        assert_eq!(taken, got.len());
        got
    };
    assert!(lend(0, &mut receiver).is_empty());
    assert_eq!(lend(9, &mut receiver), [0, 1, 2]);
    assert_eq!((sender.free(), receiver.len()), (3, 1));
}

#[test]
fn a_drain_in_place_takes_no_more_than_asked() {
    let (mut sender, mut receiver) = lane(8);
    for value in 0..8 {
        sender.try_push(value).unwrap();
    }
    sender.publish();
    let mut got = Vec::new();
    for (max, taken, free) in [(0, 0, 0), (3, 3, 3), (usize::MAX, 5, 8), (1, 0, 8)] {
        let lend = |value: &mut i32| {
            got.push(*value);
            Rest::Nothing
        };
        assert_eq!(receiver.drain_in_place(max, lend), taken);
        assert_eq!(sender.free(), free);
    }
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_doorbell_wakes_once_per_park_and_not_at_all_when_awake() {
    wakes_once_per_park_and_not_at_all_when_awake(|bell| bell);
    wakes_once_per_park_and_not_at_all_when_awake(|bell| bell.with_barrier(|| ()));
}

fn wakes_once_per_park_and_not_at_all_when_awake(finish: impl Fn(Doorbell) -> Doorbell) {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let bell = finish(Doorbell::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    }));
    let wakes = || wakes.load(Ordering::Relaxed);

    bell.ring();
    assert_eq!((wakes(), bell.is_parked()), (0, false), "nobody slept");

    assert!(!bell.park(|| false));
    bell.ring();
    assert_eq!(
        (wakes(), bell.is_parked()),
        (0, false),
        "the park was withdrawn"
    );

    assert!(bell.park(|| true));
    assert!(bell.is_parked());
    bell.ring();
    bell.ring();
    assert_eq!(
        (wakes(), bell.is_parked()),
        (1, false),
        "one ring was enough"
    );

    assert!(bell.park(|| true));
    bell.awake();
    bell.ring();
    assert_eq!((wakes(), bell.is_parked()), (1, false), "it woke by itself");
}

#[test]
fn a_barrier_runs_once_per_park_between_the_announcement_and_the_look_and_never_for_a_ring() {
    static BARRIERS: AtomicUsize = AtomicUsize::new(0);
    static ANNOUNCED: AtomicUsize = AtomicUsize::new(0);
    static BELL: LazyLock<Doorbell> = LazyLock::new(|| {
        Doorbell::new(|| ()).with_barrier(|| {
            BARRIERS.fetch_add(1, Ordering::Relaxed);
            ANNOUNCED.fetch_add(BELL.is_parked().into(), Ordering::Relaxed);
        })
    });
    let barriers = || {
        (
            BARRIERS.load(Ordering::Relaxed),
            ANNOUNCED.load(Ordering::Relaxed),
        )
    };

    BELL.ring();
    assert_eq!(barriers(), (0, 0), "a ring to an owner that is awake");
    for (park, sleep) in [(1, true), (2, false)] {
        let slept = BELL.park(|| {
            assert_eq!(barriers(), (park, park), "not just before the look");
            sleep
        });
        assert_eq!((slept, BELL.is_parked()), (sleep, sleep));
        BELL.ring();
        BELL.awake();
        assert_eq!(barriers(), (park, park), "a ring, or waking up");
    }
    BELL.fence();
    assert_eq!(barriers(), (3, 2), "a fence announces nothing");
}

#[test]
fn a_park_whose_look_panics_costs_one_wake_up_and_no_more() {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let bell = Doorbell::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let parked = catch_unwind(AssertUnwindSafe(|| {
        bell.park(|| resume_unwind(Box::new(())))
    }));
    assert!(parked.is_err());
    assert!(bell.is_parked(), "until it says that it is awake");
    bell.ring();
    bell.ring();
    assert_eq!(
        (wakes.load(Ordering::Relaxed), bell.is_parked()),
        (1, false)
    );
}

#[test]
fn a_ring_during_the_last_look_still_wakes() {
    let wakes = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&wakes);
    let bell = Doorbell::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let sleep = bell.park(|| {
        bell.ring();
        true
    });
    assert!(sleep, "the closure decides");
    assert_eq!(
        wakes.load(Ordering::Relaxed),
        1,
        "or the owner would sleep through it"
    );
}

#[test]
fn ends_and_refusals_can_be_printed_without_printing_values() {
    struct Opaque;
    let (mut sender, receiver) = lane::<Opaque>(2);
    assert_eq!(
        format!("{sender:?}"),
        "Sender { capacity: 2, is_closed: false, .. }"
    );
    assert_eq!(format!("{receiver:?}"), "Receiver { capacity: 2, .. }");
    assert_eq!(
        format!("{:?}", Doorbell::new(|| ())),
        "Doorbell { is_parked: false, .. }"
    );
    sender.try_push(Opaque).unwrap();
    sender.try_push(Opaque).unwrap();
    let refused = sender.try_push(Opaque).unwrap_err();
    assert_eq!(format!("{refused:?}"), "Full(..)");
    assert!(refused.to_string().contains("publish"));
    drop(receiver);
    let refused = sender.try_push(Opaque).unwrap_err();
    assert_eq!(format!("{refused:?}"), "Closed(..)");
    assert!(refused.to_string().contains("receiver is gone"));
}
