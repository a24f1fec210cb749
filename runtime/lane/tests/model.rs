//! A lane behaves as two `VecDeque`s do, one of values published and one of values pushed but not
//! published, whatever the operations and their order. One thread; `loom.rs` and `stress.rs` are
//! about two.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)] // In tests an unwrap is an assertion.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*};
use teff_lane::{PushError, Receiver, Sender, lane};

#[derive(Clone, Debug)]
enum Operation {
    Push,
    PushMany(usize),
    Publish,
    Pop,
    Drain(usize),
    Ask,
    DropSender,
    DropReceiver,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => Just(Operation::Push),
        4 => (0..20_usize).prop_map(Operation::PushMany),
        8 => Just(Operation::Publish),
        8 => Just(Operation::Pop),
        6 => (0..12_usize).prop_map(Operation::Drain),
        4 => Just(Operation::Ask),
        1 => Just(Operation::DropSender),
        1 => Just(Operation::DropReceiver),
    ]
}

/// The lane beside its model. Values are boxed numbers in sequence, so a slot read twice, too early
/// or not at all shows as a wrong number here and as a memory error under valgrind.
struct Pair {
    sender: Option<Sender<Box<u64>>>,
    receiver: Option<Receiver<Box<u64>>>,
    capacity: usize,
    next: u64,
    unseen: VecDeque<u64>,
    published: VecDeque<u64>,
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
        }
    }

    fn free(&self) -> usize {
        self.capacity - self.unseen.len() - self.published.len()
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Push => self.push(),
            Operation::PushMany(count) => (0..count).for_each(|_| self.push()),
            Operation::Publish => self.publish(),
            Operation::Pop => self.pop(),
            Operation::Drain(max) => self.drain(max),
            Operation::Ask => {}
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
            (0, true) => Err(PushError::Full(Box::new(self.next))),
            (0, false) => Err(PushError::Closed(Box::new(self.next))),
            _ => Ok(()),
        };
        assert_eq!(sender.try_push(Box::new(self.next)), expected);
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

    fn pop(&mut self) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        assert_eq!(
            receiver.pop().map(|value| *value),
            self.published.pop_front()
        );
    }

    fn drain(&mut self, max: usize) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        let mut got = Vec::new();
        let count = receiver.drain(max, |value| got.push(*value));
        let expected = self.published.len().min(max);
        assert_eq!(count, expected);
        assert!(got.into_iter().eq(self.published.drain(..expected)));
    }

    /// Every question has the model's answer after every operation.
    fn compare(&mut self) {
        let (free, open) = (self.free(), self.receiver.is_some());
        let closed = self.sender.is_none() && self.published.is_empty();
        if let Some(sender) = &mut self.sender {
            assert_eq!(sender.free(), free);
            assert_eq!(sender.capacity(), self.capacity);
            assert_eq!(sender.is_closed(), !open);
        }
        if let Some(receiver) = &mut self.receiver {
            assert_eq!(receiver.is_empty(), self.published.is_empty());
            assert_eq!(receiver.is_closed(), closed);
            assert_eq!(receiver.len(), self.published.len());
        }
    }
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
