//! The receiving end: takes values one by one or in batches. Safe code over the read half, which
//! hands its emptied slots back and closes by itself when it is dropped.

use std::fmt;

use crate::slots::{ReadHalf, Rest};

/// The receiving end of a lane, made by [`lane`](crate::lane).
///
/// Dropping the receiver closes the lane. The values left in it are dropped with the sender, or
/// right away when the sender is already gone.
pub struct Receiver<T> {
    half: ReadHalf<T>,
}

impl<T> Receiver<T> {
    pub(crate) fn new(half: ReadHalf<T>) -> Self {
        Self { half }
    }

    /// Takes the oldest published value and hands its slot back to the sender.
    pub fn pop(&mut self) -> Option<T> {
        if self.half.available() == 0 {
            self.half.refresh();
        }
        let value = self.half.take();
        self.half.release();
        value
    }

    /// Takes up to `max` published values, oldest first, passes each to `f`, and returns how many
    /// there were.
    ///
    /// Looks at the sender's side of the lane at most once, before the first value, and hands all
    /// the slots back at once, after the last: values published meanwhile wait for the next call.
    /// When `f` panics, the value it was given is gone and those after it stay in the lane.
    pub fn drain(&mut self, max: usize, mut f: impl FnMut(T)) -> usize {
        if self.half.available() < max {
            self.half.refresh();
        }
        let batch = Batch(&mut self.half);
        let mut taken = 0;
        while taken < max
            && let Some(value) = batch.0.take()
        {
            taken += 1;
            f(value);
        }
        taken
    }

    /// How many published values wait here. The sender may publish more at any time.
    pub fn len(&mut self) -> usize {
        self.half.refresh();
        self.half.available()
    }

    /// Whether no published value waits here.
    pub fn is_empty(&mut self) -> bool {
        if self.half.available() == 0 {
            self.half.refresh();
        }
        self.half.available() == 0
    }

    /// Whether the sender is gone and nothing is left: no value will ever come again.
    pub fn is_closed(&mut self) -> bool {
        // In this order: the sender publishes before it leaves, so what is not there after it was
        // seen to be gone was never sent.
        self.half.writer_is_gone() && self.is_empty()
    }

    /// How many values the lane holds at most, published or not.
    pub fn capacity(&self) -> usize {
        self.half.capacity().slots()
    }
}

impl<T> Receiver<T> {
    /// How many values can be [peeked](Self::peek) at and drained now, at most `max`. Looks at the
    /// sender's line only if fewer are known to be there.
    pub fn ready(&mut self, max: usize) -> usize {
        if self.half.available() < max {
            self.half.refresh();
        }
        self.half.available().min(max)
    }

    /// Lends the value `index` places behind the next one, if [`ready`](Self::ready) counted it:
    /// for whoever wants to fetch what a batch will need before running it.
    pub fn peek<R>(&self, index: usize, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.half.peek(index, look)
    }

    /// As [`drain`](Self::drain), but lends the values where they lie, which saves a move. What
    /// `f` leaves of a value is dropped after it, unless it says that there is nothing to drop.
    #[inline]
    pub fn drain_in_place(&mut self, max: usize, mut f: impl FnMut(&mut T) -> Rest) -> usize {
        self.ready(max);
        let batch = Batch(&mut self.half);
        let mut taken = 0;
        while taken < max && batch.0.take_in_place(&mut f) {
            taken += 1;
        }
        taken
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// A drain under way: hands the emptied slots back when it ends, also by a panic.
struct Batch<'a, T>(&'a mut ReadHalf<T>);

impl<T> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        self.0.release();
    }
}
