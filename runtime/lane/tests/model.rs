//! A lane behaves as two `VecDeque`s do, one of values published and one of values pushed but not
//! published, whatever the operations, their order, and where the caller's code panics. One thread;
//! `loom.rs` and `stress.rs` are about two.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // In tests an unwrap is an assertion.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use proptest::{collection::vec, prelude::*};
use teff_lane::{PushError, Receiver, Rest, Sender, lane};

#[derive(Clone, Debug)]
enum Operation {
    Push,
    PushMany(usize),
    PushWith,
    PushAndFinish,
    PanicInMake,
    PanicInFinish,
    Publish,
    Pop,
    Drain(usize),
    /// Says of each value whether it is left where it lies.
    DrainInPlace(usize, Vec<bool>),
    /// Panics at the value with this index, if there are so many.
    PanicInDrain(usize, bool),
    Peek(usize, usize),
    Ask,
    DropSender,
    DropReceiver,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => Just(Operation::Push),
        4 => (0..20_usize).prop_map(Operation::PushMany),
        6 => Just(Operation::PushWith),
        6 => Just(Operation::PushAndFinish),
        1 => Just(Operation::PanicInMake),
        1 => Just(Operation::PanicInFinish),
        8 => Just(Operation::Publish),
        8 => Just(Operation::Pop),
        6 => (0..12_usize).prop_map(Operation::Drain),
        6 => (0..12_usize, vec(any::<bool>(), 12))
            .prop_map(|(max, left)| Operation::DrainInPlace(max, left)),
        1 => (0..6_usize, any::<bool>())
            .prop_map(|(at, in_place)| Operation::PanicInDrain(at, in_place)),
        6 => (0..12_usize, 0..12_usize).prop_map(|(max, index)| Operation::Peek(max, index)),
        4 => Just(Operation::Ask),
        1 => Just(Operation::DropSender),
        1 => Just(Operation::DropReceiver),
    ]
}

/// A number in a box, so that a slot read twice, too early or not at all shows as a wrong number
/// here and as a memory error under valgrind; or what is left when the box was taken out.
type Value = Option<Box<u64>>;

fn value(number: u64) -> Value {
    Some(Box::new(number))
}

/// The lane beside its model. Values are numbered in sequence.
struct Pair {
    sender: Option<Sender<Value>>,
    receiver: Option<Receiver<Value>>,
    capacity: usize,
    next: u64,
    unseen: VecDeque<u64>,
    published: VecDeque<u64>,
    /// How many values the last `ready` counted, less those taken since.
    counted: usize,
}

impl Pair {
    fn new(capacity: usize) -> Self {
        let (sender, receiver) = lane(capacity);
        Self {
            sender: Some(sender),
            receiver: Some(receiver),
            capacity: capacity.max(2).next_power_of_two(),
            next: 0,
            unseen: VecDeque::new(),
            published: VecDeque::new(),
            counted: 0,
        }
    }

    fn free(&self) -> usize {
        self.capacity - self.unseen.len() - self.published.len()
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Push => self.push(),
            Operation::PushMany(count) => (0..count).for_each(|_| self.push()),
            Operation::PushWith => {
                self.push_in_place(|sender, number| sender.push_with(|| value(number)));
            }
            Operation::PushAndFinish => self.push_in_place(|sender, number| {
                sender.push_and_finish(|| value(u64::MAX), |slot| *slot = value(number))
            }),
            Operation::PanicInMake => self.panic_in_push(|sender| {
                sender.push_and_finish(|| panic_quietly(), |_| unreachable!("nothing was made"))
            }),
            Operation::PanicInFinish => self.panic_in_push(|sender| {
                // Made of nothing: it will not be dropped.
                sender.push_and_finish(|| None, |_| panic_quietly())
            }),
            Operation::Publish => self.publish(),
            Operation::Pop => self.pop(),
            Operation::Drain(max) => self.drain(max),
            Operation::DrainInPlace(max, ref left) => self.drain_in_place(max, left),
            Operation::PanicInDrain(at, in_place) => self.panic_in_drain(at, in_place),
            Operation::Peek(max, index) => self.peek(max, index),
            Operation::Ask => self.ask(),
            Operation::DropSender => {
                if self.sender.take().is_some() {
                    self.published.append(&mut self.unseen);
                }
            }
            Operation::DropReceiver => self.receiver = None,
        }
        self.compare();
    }

    fn push(&mut self) {
        let (free, open) = (self.free(), self.receiver.is_some());
        let Some(sender) = &mut self.sender else {
            return;
        };
        let expected = match (free, open) {
            (0, true) => Err(PushError::Full(value(self.next))),
            (0, false) => Err(PushError::Closed(value(self.next))),
            _ => Ok(()),
        };
        assert_eq!(sender.try_push(value(self.next)), expected);
        if expected.is_ok() {
            self.unseen.push_back(self.next);
        }
        self.next += 1;
    }

    fn publish(&mut self) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        assert_eq!(sender.publish(), !self.unseen.is_empty());
        self.published.append(&mut self.unseen);
    }

    fn push_in_place(&mut self, push: impl FnOnce(&mut Sender<Value>, u64) -> bool) {
        let has_room = self.free() > 0;
        let Some(sender) = &mut self.sender else {
            return;
        };
        assert_eq!(push(sender, self.next), has_room);
        if has_room {
            self.unseen.push_back(self.next);
        }
        self.next += 1;
    }

    /// Nothing is pushed, and nothing happens at all where there is no room.
    fn panic_in_push(&mut self, push: impl FnOnce(&mut Sender<Value>) -> bool) {
        let has_room = self.free() > 0;
        let Some(sender) = &mut self.sender else {
            return;
        };
        let pushed = catch_unwind(AssertUnwindSafe(|| push(sender)));
        assert_eq!(pushed.ok(), if has_room { None } else { Some(false) });
    }

    /// The model of a drain: what it takes.
    fn taken(&mut self, max: usize) -> Vec<u64> {
        let count = self.published.len().min(max);
        self.counted = self.counted.saturating_sub(count);
        self.published.drain(..count).collect()
    }

    fn pop(&mut self) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let got: Vec<_> = receiver
            .pop()
            .map(|value| *value.unwrap())
            .into_iter()
            .collect();
        assert_eq!(got, self.taken(1));
    }

    fn drain(&mut self, max: usize) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let mut got = Vec::new();
        let count = receiver.drain(max, |value| got.push(*value.unwrap()));
        assert_eq!(count, got.len());
        assert_eq!(got, self.taken(max));
    }

    fn drain_in_place(&mut self, max: usize, left: &[bool]) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let mut got = Vec::new();
        let count = receiver.drain_in_place(max, |value| {
            if left[got.len()] {
                got.push(**value.as_ref().unwrap());
                Rest::Value
            } else {
                got.push(*value.take().unwrap());
                Rest::Nothing
            }
        });
        assert_eq!(count, got.len());
        assert_eq!(got, self.taken(max));
    }

    /// The value in hand is gone, those after it stay.
    fn panic_in_drain(&mut self, at: usize, in_place: bool) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let mut got = Vec::new();
        let mut run = |number: u64| {
            got.push(number);
            if got.len() > at {
                panic_quietly();
            }
        };
        let drained = catch_unwind(AssertUnwindSafe(|| {
            if in_place {
                receiver.drain_in_place(usize::MAX, |value| {
                    run(**value.as_ref().unwrap());
                    Rest::Value
                })
            } else {
                receiver.drain(usize::MAX, |value| run(*value.unwrap()))
            }
        }));
        let count = got.len();
        assert_eq!(drained.ok(), if count > at { None } else { Some(count) });
        assert_eq!(got, self.taken(at + 1));
    }

    /// What was counted is there to be looked at. More may be, if it is published.
    fn peek(&mut self, max: usize, index: usize) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        if max > 0 {
            self.counted = self.published.len().min(max);
            assert_eq!(receiver.ready(max), self.counted);
        }
        let seen = receiver.peek(index, |value| **value.as_ref().unwrap());
        assert!(
            seen.is_some() || index >= self.counted,
            "counted, yet not there"
        );
        if seen.is_some() {
            assert_eq!(seen, self.published.get(index).copied());
        }
    }

    /// Questions whose answer is looked up at the other end. Not asked after every operation, for
    /// operations have to come by with what was looked up before.
    fn ask(&mut self) {
        let free = self.free();
        let closed = self.sender.is_none() && self.published.is_empty();
        if let Some(sender) = &mut self.sender {
            assert_eq!(sender.has_room(), free > 0);
            assert_eq!(sender.free(), free);
        }
        if let Some(receiver) = &mut self.receiver {
            assert_eq!(receiver.is_empty(), self.published.is_empty());
            assert_eq!(receiver.is_closed(), closed);
            assert_eq!(receiver.len(), self.published.len());
        }
    }

    /// The other questions have the model's answer after every operation.
    fn compare(&mut self) {
        if let Some(sender) = &self.sender {
            assert_eq!(sender.capacity(), self.capacity);
            assert_eq!(sender.is_closed(), self.receiver.is_none());
            assert_eq!(sender.unpublished(), self.unseen.len());
        }
    }
}

/// Unwinds without the message on the console, of which there would be thousands.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("on purpose"))
}

proptest! {
    #[test]
    fn a_lane_behaves_like_its_model(
        capacity in 0..20_usize,
        operations in vec(operation(), 1..200),
    ) {
        let mut pair = Pair::new(capacity);
        for operation in &operations {
            pair.apply(operation);
        }
    }
}
