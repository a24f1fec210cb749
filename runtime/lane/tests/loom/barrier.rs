//! Scenes of a doorbell whose owner fences: for itself, or by a barrier for its ringers, too.

use loom::sync::{
    Arc,
    atomic::{
        AtomicUsize,
        Ordering::{Acquire, Relaxed, Release, SeqCst},
        fence,
    },
};
use teff_lane::{Doorbell, lane};

use crate::{
    all,
    common::{Bed, thread},
};

/// Each side writes, one of them fences and the other rings, and then each looks at what the other
/// wrote.
#[test]
fn either_a_fence_or_a_ring_sees_what_the_other_wrote() {
    all(|| {
        let (work, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let bell = Arc::new(Doorbell::new(|| unreachable!("nobody parks")));
        let (remote_work, remote_ended) = (Arc::clone(&work), Arc::clone(&ended));
        let remote_bell = Arc::clone(&bell);
        let ringer = thread::spawn(move || {
            remote_work.store(1, Relaxed);
            remote_bell.ring();
            remote_ended.load(Relaxed)
        });
        ended.store(1, Relaxed);
        bell.fence();
        let seen = work.load(Relaxed);
        assert!(seen + ringer.join().unwrap() >= 1, "neither saw the other");
    });
}

/// Where in its program the barrier of an owner that parks catches a ringer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caught {
    BeforeItsWrite,
    BeforeItsLook,
    AfterItsLook,
    WhileItWakes,
}

/// A barrier for all threads of which there is one other: that one stops at a point of its program
/// until the owner calls for it, runs its fence, and says so. This is what the kernel promises of
/// `membarrier`, taken for granted; whether the doorbell may rest on it is what is examined. A
/// real one catches the ringer where it happens to be. Here the point is chosen beforehand, so the
/// ringer waits there: of all interleavings those in which it is caught at that point.
#[derive(Default)]
struct Barrier {
    called: AtomicUsize,
    passed: AtomicUsize,
}

impl Barrier {
    fn call(&self) {
        self.called.store(1, Release);
        while self.passed.load(Acquire) == 0 {
            thread::yield_now();
        }
        fence(SeqCst);
    }

    /// Passes through it, unless that was done before.
    fn pass(&self) {
        if self.passed.load(Relaxed) == 1 {
            return;
        }
        while self.called.load(Acquire) == 0 {
            thread::yield_now();
        }
        fence(SeqCst);
        self.passed.store(1, Release);
    }
}

fn no_wake_up_is_lost_to_a_barrier(caught: Caught) {
    all(move || {
        let work = Arc::new(AtomicUsize::new(0));
        let barrier = Arc::new(Barrier::default());
        let bed = Arc::new(Bed::default());
        let (remote_work, remote_barrier) = (Arc::clone(&work), Arc::clone(&barrier));
        let (waken, catching) = (Arc::clone(&bed), Arc::clone(&barrier));
        let bell = Doorbell::new(move || {
            if caught == Caught::WhileItWakes {
                catching.pass();
            }
            waken.wake();
        });
        let bell = Arc::new(bell.with_barrier(move || barrier.call()));
        let remote_bell = Arc::clone(&bell);
        let ringer = thread::spawn(move || {
            let pass_at = |point| {
                if caught == point {
                    remote_barrier.pass();
                }
            };
            pass_at(Caught::BeforeItsWrite);
            // Relaxed, so that all ordering is the doorbell's.
            remote_work.store(1, Relaxed);
            pass_at(Caught::BeforeItsLook);
            remote_bell.ring();
            pass_at(Caught::AfterItsLook);
            // If it woke nobody.
            pass_at(Caught::WhileItWakes);
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
fn no_wake_up_is_lost_to_a_barrier_before_the_ringer_writes() {
    no_wake_up_is_lost_to_a_barrier(Caught::BeforeItsWrite);
}

#[test]
fn no_wake_up_is_lost_to_a_barrier_between_the_ringers_write_and_its_look() {
    no_wake_up_is_lost_to_a_barrier(Caught::BeforeItsLook);
}

#[test]
fn no_wake_up_is_lost_to_a_barrier_while_the_ringer_wakes() {
    no_wake_up_is_lost_to_a_barrier(Caught::WhileItWakes);
}

#[test]
fn no_wake_up_is_lost_to_a_barrier_after_the_ringer_looked() {
    no_wake_up_is_lost_to_a_barrier(Caught::AfterItsLook);
}

/// Here a barrier would have nothing to do, because the owner has parked before the ringer starts.
#[test]
fn a_woken_owner_sees_the_message_even_if_the_ringer_has_no_fence() {
    all(|| {
        let woken = Arc::new(AtomicUsize::new(0));
        let remote_woken = Arc::clone(&woken);
        let bell = Doorbell::new(move || remote_woken.store(1, Relaxed)).with_barrier(|| ());
        let bell = Arc::new(bell);
        let (mut sender, mut receiver) = lane(2);
        assert!(bell.park(|| receiver.is_empty()));
        let ringer = Arc::clone(&bell);
        let sending = thread::spawn(move || {
            sender.try_push(1).unwrap();
            sender.publish();
            ringer.ring();
        });
        while woken.load(Relaxed) == 0 {
            thread::yield_now();
        }
        bell.awake();
        assert_eq!(receiver.pop(), Some(1));
        sending.join().unwrap();
    });
}
