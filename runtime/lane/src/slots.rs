//! The slots of a lane and the two halves that own them. Safe to use from outside: no sequence of
//! calls on the halves can read a slot that holds nothing or write one that holds something.
//!
//! Positions divide the slots among the halves at every moment (`head <= tail <= next`, and
//! `next - head <= capacity`, all modulo the wrap of positions):
//!
//! - `head .. tail` hold values and belong to the read half. Only it stores `head`. Its own cursor
//!   `ReadHalf::next` says how far it has moved values out; `head` follows it on `release`.
//! - `tail .. head + capacity` belong to the write half. Only it stores `tail`. Those before its
//!   own cursor `WriteHalf::next` hold values too; `tail` follows it on `publish`.
//!
//! A half acts on a copy of the other's position that may be old. Positions only move forward, so
//! an old copy shows fewer slots than the half owns, never more.

// The one home of lock-free unsafe: two threads share an array of which the compiler cannot see
// who owns what part. Everything built on the halves is safe code.
#![allow(unsafe_code)]

use std::{cell::Cell, marker::PhantomData, mem::MaybeUninit};

use crate::{
    cursor::{Capacity, Position},
    prefetch::prefetch_to_write,
    sync::{Arc, AtomicBool, AtomicUsize, Ordering, Padded, UnsafeCell},
};

/// Indexing the slots stays checked: leaving the check out measured no faster.
type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// Makes the two halves of a new, empty lane.
pub(crate) fn halves<T: Send>(capacity: Capacity) -> (WriteHalf<T>, ReadHalf<T>) {
    let start = Position::start(capacity);
    let shared = Arc::new(Shared {
        tail: Padded::new(AtomicUsize::new(start.to_bits())),
        head: Padded::new(AtomicUsize::new(start.to_bits())),
        sender_gone: AtomicBool::new(false),
        receiver_gone: AtomicBool::new(false),
        capacity,
        slots: (0..capacity.slots())
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect(),
    });
    let writer = WriteHalf {
        shared: Arc::clone(&shared),
        capacity,
        next: start,
        published: start,
        limit: start.plus(capacity.slots()),
        not_sync: PhantomData,
    };
    let reader = ReadHalf {
        shared,
        capacity,
        next: start,
        released: start,
        limit: start,
        not_sync: PhantomData,
    };
    (writer, reader)
}

/// How many slots ahead of the next one are fetched from the reader's CPU. Stores leave a CPU in
/// order and some dozens at a time, so with other work between two pushes only two or three lines
/// would be on their way at once. Any distance from 2 to 16 measured alike: a tenth faster.
const AHEAD: usize = 16;

/// The half that fills slots.
pub(crate) struct WriteHalf<T> {
    shared: Arc<Shared<T>>,
    /// A copy of the shared one, which a store into a slot does not force the CPU to load again.
    capacity: Capacity,
    /// The first slot without a value.
    next: Position,
    /// What `tail` was last set to.
    published: Position,
    /// The first slot that is not known to be free: the last seen `head` plus the capacity.
    limit: Position,
    not_sync: PhantomData<Cell<()>>,
}

impl<T> WriteHalf<T> {
    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// How many more values there is known to be a slot for.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.limit.since(self.next)
    }

    /// Looks up how far the reader has come.
    pub(crate) fn refresh(&mut self) {
        // Pairs with the Release store in `ReadHalf::release`: the values were moved out of the
        // slots before new ones are written there.
        let head = Position::from_bits(self.shared.head.load(Ordering::Acquire));
        self.limit = head.plus(self.capacity.slots());
    }

    /// Knows of `room` slots at most from here on.
    pub(crate) fn limit_room(&mut self, room: usize) {
        self.limit = self.next.plus(room.min(self.room()));
    }

    /// Fills the next slot with what `make` makes, for which it must be known to be free, and lets
    /// `finish` see to it there. The reader sees it after [`publish`](Self::publish).
    ///
    /// # Panics
    ///
    /// When no slot is known to be free, and where `make` or `finish` does; the slot then counts
    /// as empty, and what `make` may have left in it is not dropped.
    #[inline(always)]
    pub(crate) fn write_with(&mut self, make: impl FnOnce() -> T, finish: impl FnOnce(&mut T)) {
        assert!(
            self.next != self.limit,
            "a value was written without room for it"
        );
        // SAFETY: `next` lies before `limit`, so it is in `tail .. head + capacity`, which belongs
        // to this half: the reader takes nothing from there before `publish`, and it has moved out
        // what the slot held before (the Acquire load in `refresh` saw its `head`).
        self.shared.slots[self.capacity.slot_of(self.next)].with_mut(|slot| unsafe {
            finish((*slot).write(make()));
        });
        prefetch_to_write(&self.shared.slots[self.capacity.slot_of(self.next.plus(AHEAD))]);
        self.next = self.next.plus(1);
    }

    /// Hands everything written so far to the reader; false if there was nothing.
    pub(crate) fn publish(&mut self) -> bool {
        if self.published == self.next {
            return false;
        }
        // Pairs with the Acquire load in `ReadHalf::refresh`: the values are in their slots before
        // the reader may take them.
        self.shared
            .tail
            .store(self.next.to_bits(), Ordering::Release);
        self.published = self.next;
        true
    }

    /// How many values are written and not published.
    #[inline]
    pub(crate) fn unpublished(&self) -> usize {
        self.next.since(self.published)
    }

    pub(crate) fn reader_is_gone(&self) -> bool {
        // Pairs with the Release store where `ReadHalf` drops: whoever sees the lane closed sees
        // all that the receiver's thread did before.
        self.shared.receiver_gone.load(Ordering::Acquire)
    }
}

impl<T> Drop for WriteHalf<T> {
    fn drop(&mut self) {
        self.publish();
        // Pairs with the Acquire load in `ReadHalf::writer_is_gone`: the last publish is seen by
        // whoever sees the lane closed.
        self.shared.sender_gone.store(true, Ordering::Release);
    }
}

/// What whoever was lent a value leaves of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// A value, to be dropped.
    Value,
    /// Nothing whose drop would do anything. It is forgotten, which spares asking it; what it owns
    /// after all leaks.
    Nothing,
}

/// The half that empties slots.
pub(crate) struct ReadHalf<T> {
    shared: Arc<Shared<T>>,
    /// A copy of the shared one, which a store into a slot does not force the CPU to load again.
    capacity: Capacity,
    /// The first slot that may still hold a value.
    next: Position,
    /// What `head` was last set to.
    released: Position,
    /// The first slot that is not known to hold a value: the last seen `tail`.
    limit: Position,
    not_sync: PhantomData<Cell<()>>,
}

impl<T> ReadHalf<T> {
    pub(crate) fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// How many slots are known to hold a value.
    pub(crate) fn available(&self) -> usize {
        self.limit.since(self.next)
    }

    /// Looks up how far the writer has come.
    pub(crate) fn refresh(&mut self) {
        // Pairs with the Release store in `WriteHalf::publish`: the values are in their slots.
        self.limit = Position::from_bits(self.shared.tail.load(Ordering::Acquire));
    }

    /// Moves the next known value out. Its slot is free for the writer after
    /// [`release`](Self::release).
    pub(crate) fn take(&mut self) -> Option<T> {
        if self.next == self.limit {
            return None;
        }
        // SAFETY: `next` lies before `limit`, so it is in `head .. tail`: it holds a value, whose
        // writing the Acquire load in `refresh` saw, and it belongs to this half. The value is
        // read once, because `next` moves past it and never back.
        let value = self.shared.slots[self.capacity.slot_of(self.next)]
            .with(|slot| unsafe { (*slot).assume_init_read() });
        self.next = self.next.plus(1);
        Some(value)
    }

    /// Lends the value `index` places after the next one, if it is known to be there.
    pub(crate) fn peek<R>(&self, index: usize, look: impl FnOnce(&T) -> R) -> Option<R> {
        if index >= self.available() {
            return None;
        }
        let slot = &self.shared.slots[self.capacity.slot_of(self.next.plus(index))];
        // SAFETY: the place lies in `next .. limit`, so it holds a value that the writer published
        // (the Acquire load in `refresh` saw its `tail`) and does not touch before `release`. The
        // borrow of `self` keeps it from being taken while it is looked at.
        Some(slot.with(|slot| look(unsafe { (*slot).assume_init_ref() })))
    }

    /// Lends the next value where it lies, then drops what is left of it. Says whether there was
    /// one.
    #[inline]
    pub(crate) fn take_in_place(&mut self, f: impl FnOnce(&mut T) -> Rest) -> bool {
        if self.next == self.limit {
            return false;
        }
        let slot = &self.shared.slots[self.capacity.slot_of(self.next)];
        // Before anything can panic: whatever happens to this value, it is not found again.
        self.next = self.next.plus(1);
        slot.with_mut(|slot| {
            // SAFETY: as in `take`, with the difference that the value stays where it is; it is
            // dropped once at most, by the guard, because `next` has moved past it. The writer does
            // not touch the slot before `release`, which the borrow of `self` keeps from happening.
            let taken = InPlace(unsafe { (*slot).assume_init_mut() });
            if f(taken.0) == Rest::Nothing {
                std::mem::forget(taken);
            }
        });
        true
    }

    /// Hands the emptied slots back to the writer.
    pub(crate) fn release(&mut self) {
        if self.released == self.next {
            return;
        }
        // Pairs with the Acquire load in `WriteHalf::refresh`: the values are out of their slots
        // before the writer may fill them again.
        self.shared
            .head
            .store(self.next.to_bits(), Ordering::Release);
        self.released = self.next;
    }

    pub(crate) fn writer_is_gone(&self) -> bool {
        // Pairs with the Release store where `WriteHalf` drops.
        self.shared.sender_gone.load(Ordering::Acquire)
    }
}

/// A value that is dropped where it lies, also when whoever it was lent to panics.
struct InPlace<'a, T>(&'a mut T);

impl<T> Drop for InPlace<'_, T> {
    fn drop(&mut self) {
        // SAFETY: only `take_in_place` makes one, of a value that nobody reaches afterwards.
        unsafe { std::ptr::drop_in_place(self.0) };
    }
}

impl<T> Drop for ReadHalf<T> {
    fn drop(&mut self) {
        // Not only a courtesy to the writer: `Shared` drops what is in `head .. tail`.
        self.release();
        // Pairs with the Acquire load in `WriteHalf::reader_is_gone`.
        self.shared.receiver_gone.store(true, Ordering::Release);
    }
}

/// What the halves have in common. The two positions are each alone on their cache lines; the rest
/// is written at most once and is shared by both caches.
struct Shared<T> {
    /// End of the published values. Stored by the write half.
    tail: Padded<AtomicUsize>,
    /// Start of the values not yet released. Stored by the read half.
    head: Padded<AtomicUsize>,
    sender_gone: AtomicBool,
    receiver_gone: AtomicBool,
    capacity: Capacity,
    slots: Box<[Slot<T>]>,
}

// SAFETY: the halves share the slots, but each slot belongs to exactly one of them at a time (see
// the top of this file) and changes hands through the Release and Acquire of `tail` and `head`.
// Values cross from thread to thread, hence `T: Send`; no two threads ever look at the same value,
// hence no `T: Sync`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed suffices: both halves are gone, and the reference count of `Arc` ordered all
        // they did before this.
        let mut leftovers = Leftovers {
            next: Position::from_bits(self.head.load(Ordering::Relaxed)),
            tail: Position::from_bits(self.tail.load(Ordering::Relaxed)),
            shared: self,
        };
        leftovers.drop_all();
    }
}

/// The values that nobody took, while they are being dropped.
struct Leftovers<'a, T> {
    next: Position,
    tail: Position,
    shared: &'a mut Shared<T>,
}

impl<T> Leftovers<'_, T> {
    fn drop_all(&mut self) {
        while self.next != self.tail {
            let slot = &self.shared.slots[self.shared.capacity.slot_of(self.next)];
            self.next = self.next.plus(1);
            // SAFETY: `head .. tail` hold values, no half is left to touch them, and each is
            // dropped once, because `next` has already moved past it.
            slot.with_mut(|slot| unsafe { (*slot).assume_init_drop() });
        }
    }
}

impl<T> Drop for Leftovers<'_, T> {
    /// Goes on with the rest when the drop of a value panicked; otherwise nothing is left.
    fn drop(&mut self) {
        self.drop_all();
    }
}

/// The ends never do what these tests do: the halves are safe even so.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn filled(values: usize) -> (Arc<()>, WriteHalf<Arc<()>>, ReadHalf<Arc<()>>) {
        let value = Arc::new(());
        let (mut writer, mut reader) = halves(Capacity::at_least(4));
        for _ in 0..values {
            writer.write_with(|| Arc::clone(&value), |_| {});
        }
        writer.publish();
        reader.refresh();
        (value, writer, reader)
    }

    #[test]
    fn values_taken_but_not_released_are_not_dropped_again() {
        let (value, writer, mut reader) = filled(3);
        let taken = [reader.take(), reader.take()];
        drop(reader);
        drop(writer);
        assert_eq!(
            Arc::strong_count(&value),
            3,
            "the two taken and the original"
        );
        drop(taken);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn values_written_but_not_published_are_dropped() {
        let (value, mut writer, reader) = filled(1);
        writer.write_with(|| Arc::clone(&value), |_| {});
        drop(reader);
        drop(writer);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn nothing_is_taken_that_was_not_looked_up() {
        let (value, mut writer, mut reader) = filled(1);
        writer.write_with(|| value, |_| {});
        assert!(reader.take().is_some());
        assert!(reader.take().is_none(), "not published");
        writer.publish();
        assert!(reader.take().is_none(), "not looked up");
        reader.refresh();
        assert!(reader.take().is_some());
    }

    #[test]
    #[should_panic(expected = "without room")]
    fn a_value_without_room_is_not_written() {
        let (value, mut writer, _reader) = filled(4);
        writer.write_with(|| value, |_| {});
    }

    #[test]
    #[should_panic(expected = "without room")]
    fn a_slot_is_not_refilled_before_it_is_released_and_looked_up() {
        let (value, mut writer, mut reader) = filled(4);
        assert!(reader.take().is_some());
        writer.refresh();
        writer.write_with(|| value, |_| {});
    }
}
