//! A value of any type behind one pointer to its type: in place up to 64 bytes, in a box above.
//!
//! Invariant: `room` holds a live value of the type that `table` describes, laid out as
//! [`Table::of`] decided for that type; `EMPTY` describes a room that holds nothing. Every change
//! of one changes the other before anything can panic.
//!
//! Unsafe code: no safe container moves a value of an erased type out of a buffer that is not its
//! own allocation. The safe one we had (a small box around a trait object, taken apart through
//! `Any`) made a message 88 bytes and a lane slot three cache lines; this one makes it 72 and the
//! slot two, and a message is copied once on its way in and once on its way out.
#![allow(unsafe_code)]

use std::any::TypeId;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, align_of, size_of};

use rkyv::util::AlignedVec;

use crate::codec::{self, Message, Unencodable};

/// Bytes that lie in place.
pub(crate) const INLINE: usize = size_of::<Room>();

type Room = [Word; 8];

/// Bytes that may be padding.
type Word = MaybeUninit<u64>;

const EMPTY_ROOM: Room = [Word::uninit(); 8];

/// A message, or nothing.
pub(crate) struct Inline {
    table: &'static Table,
    room: Room,
    /// What is inside may be of a type that only one thread at a time may look at.
    not_sync: PhantomData<Cell<()>>,
}

/// What can be done with a value whose type is no longer known.
struct Table {
    type_id: TypeId,
    encode: unsafe fn(&Room, &mut AlignedVec<16>) -> Result<(), Unencodable>,
    /// `None` where dropping does nothing.
    drop: Option<unsafe fn(&mut Room)>,
}

/// The type of nothing: no message has it.
struct Nothing;

static EMPTY: Table = Table {
    type_id: TypeId::of::<Nothing>(),
    encode: |_, _| Err(Unencodable),
    drop: None,
};

impl Table {
    const fn lies_in_place<M>() -> bool {
        size_of::<M>() <= size_of::<Room>() && align_of::<M>() <= align_of::<Room>()
    }

    const fn of<M: Message>() -> &'static Self {
        const {
            &Self {
                type_id: TypeId::of::<M>(),
                encode: encode::<M>,
                drop: if std::mem::needs_drop::<M>() || !Self::lies_in_place::<M>() {
                    Some(drop::<M>)
                } else {
                    None
                },
            }
        }
    }
}

/// # Safety
///
/// `room` holds an `M` as `Table::of::<M>` lays it out.
unsafe fn encode<M: Message>(room: &Room, out: &mut AlignedVec<16>) -> Result<(), Unencodable> {
    let message: &M = if Table::lies_in_place::<M>() {
        // SAFETY: the caller promises an `M` in place, for which size and alignment suffice.
        unsafe { &*room.as_ptr().cast::<M>() }
    } else {
        // SAFETY: the caller promises a pointer from `Box::into_raw` in place, which is live.
        unsafe { &**room.as_ptr().cast::<*const M>() }
    };
    codec::encode(message, out)
}

/// # Safety
///
/// `room` holds an `M` as `Table::of::<M>` lays it out, and is not looked at again.
unsafe fn drop<M: Message>(room: &mut Room) {
    if Table::lies_in_place::<M>() {
        // SAFETY: the caller promises an `M` in place, and that nobody looks at it again.
        unsafe { room.as_mut_ptr().cast::<M>().drop_in_place() };
    } else {
        // SAFETY: as in `read`. But not read: what is large may be too large for this stack.
        std::mem::drop(unsafe { Box::from_raw(room.as_ptr().cast::<*mut M>().read()) });
    }
}

/// # Safety
///
/// `room` holds an `M` as `Table::of::<M>` lays it out, and is not looked at again.
unsafe fn read<M: Message>(room: &Room) -> M {
    if Table::lies_in_place::<M>() {
        // SAFETY: the caller promises an `M` in place, and that this is its last reading.
        unsafe { room.as_ptr().cast::<M>().read() }
    } else {
        // SAFETY: the caller promises a pointer from `Box::into_raw` in place, and that this is
        // its last reading, so the box is made once.
        *unsafe { Box::from_raw(room.as_ptr().cast::<*mut M>().read()) }
    }
}

impl Inline {
    pub(crate) const fn empty() -> Self {
        Self {
            table: &EMPTY,
            room: EMPTY_ROOM,
            not_sync: PhantomData,
        }
    }

    pub(crate) fn new<M: Message>(message: M) -> Self {
        let mut inline = Self::empty();
        inline.fill(message);
        inline
    }

    /// Puts a message in, in the place of what was there.
    pub(crate) fn set<M: Message>(&mut self, message: M) {
        self.clear();
        self.fill(message);
    }

    /// Only called when empty; otherwise what was there would leak.
    fn fill<M: Message>(&mut self, message: M) {
        let mut room = EMPTY_ROOM;
        if Table::lies_in_place::<M>() {
            // SAFETY: size and alignment of a room suffice, and this one holds nothing.
            unsafe { room.as_mut_ptr().cast::<M>().write(message) };
        } else {
            let pointer = Box::into_raw(Box::new(message));
            // SAFETY: a pointer fits a room, and this one holds nothing.
            unsafe { room.as_mut_ptr().cast::<*mut M>().write(pointer) };
        }
        let words = size_of::<M>()
            .div_ceil(size_of::<Word>())
            .clamp(1, room.len());
        for (to, from) in self.room.iter_mut().zip(room).take(words) {
            // SAFETY: a reference is valid for writes. Volatile: see `lift`.
            unsafe { std::ptr::write_volatile(to, from) };
        }
        self.table = Table::of::<M>();
    }

    /// Moves the message into another container, which is to be used at once.
    ///
    /// Word by word, and written word by word in `fill`: a load that takes in more than one recent
    /// store has to wait until those have left the store buffer, behind everything that was sent
    /// to other CPUs before, and so made sending a message take twice as long. The compiler would
    /// copy in larger pieces than the message was written in; volatile accesses keep it from that.
    #[inline]
    pub(crate) fn lift(&mut self) -> Self {
        // SAFETY: a reference is valid for reads, and a word may be uninitialised.
        let word = |index: usize| unsafe { std::ptr::read_volatile(&self.room[index]) };
        // Spelt out, because the compiler keeps what it loops over in memory.
        let room = [
            word(0),
            word(1),
            word(2),
            word(3),
            word(4),
            word(5),
            word(6),
            word(7),
        ];
        Self {
            table: std::mem::replace(&mut self.table, &EMPTY),
            room,
            not_sync: PhantomData,
        }
    }

    /// Moves the message into another container in the same way, in the place of what was there.
    #[inline]
    pub(crate) fn move_to(&mut self, other: &mut Self) {
        other.clear();
        for (to, from) in other.room.iter_mut().zip(&self.room) {
            // SAFETY: references are valid for reads and writes, and a word may be uninitialised.
            unsafe { std::ptr::write_volatile(to, std::ptr::read_volatile(from)) };
        }
        other.table = std::mem::replace(&mut self.table, &EMPTY);
    }

    /// Takes the message out if it is an `M`; leaves nothing.
    pub(crate) fn take<M: Message>(&mut self) -> Option<M> {
        if self.table.type_id != TypeId::of::<M>() {
            return None;
        }
        self.table = &EMPTY;
        // SAFETY: the table said that the room holds an `M`; now it says that it holds nothing.
        Some(unsafe { read::<M>(&self.room) })
    }

    /// Drops the message, if there is one.
    pub(crate) fn clear(&mut self) {
        let table = std::mem::replace(&mut self.table, &EMPTY);
        if let Some(drop) = table.drop {
            // SAFETY: the room held what the table said; now it is said to hold nothing.
            unsafe { drop(&mut self.room) };
        }
    }

    pub(crate) fn is_inert(&self) -> bool {
        self.table.drop.is_none()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.type_id == EMPTY.type_id
    }

    pub(crate) fn encode(&self, out: &mut AlignedVec<16>) -> Result<(), Unencodable> {
        // SAFETY: the room holds what the table says.
        unsafe { (self.table.encode)(&self.room, out) }
    }

    /// Whether the message lies in a box.
    #[cfg(test)]
    pub(crate) fn is_boxed<M: Message>() -> bool {
        !Table::lies_in_place::<M>()
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_size_are_dropped_once() {
        // Counted by the address sanitizer and by valgrind: texts own memory.
        for take in [false, true] {
            let mut small = Inline::new(String::from("in place, owns a block"));
            let mut large = Inline::new((String::from("boxed"), [String::new(), String::new()]));
            if take {
                assert_eq!(small.take::<String>().unwrap(), "in place, owns a block");
                assert_eq!(large.take::<(String, [String; 2])>().unwrap().0, "boxed");
                assert!(small.is_empty() && large.is_empty());
                assert_eq!(small.take::<String>(), None);
            }
        }
    }

    #[test]
    fn a_large_message_is_dropped_where_it_lies() {
        type Large = [u64; 1 << 16];
        let with_stack = |bytes| std::thread::Builder::new().stack_size(bytes);
        let made = with_stack(64 * size_of::<Large>()).spawn(|| Inline::new::<Large>([7; 1 << 16]));
        let message = made.unwrap().join().unwrap();
        // Who drops a message, perhaps because it is too much, needs no stack to hold it.
        let dropped = with_stack(size_of::<Large>() / 2).spawn(|| std::mem::drop(message));
        dropped.unwrap().join().unwrap();
    }

    /// What holds `value` after it was lifted or moved. Nothing is left of it where it was.
    fn moved<M: Message>(value: M, other: Option<Inline>) -> Inline {
        let mut from = Inline::new(value);
        let to = if let Some(mut to) = other {
            from.move_to(&mut to);
            to
        } else {
            from.lift()
        };
        assert!(from.is_empty() && from.is_inert());
        assert!(from.take::<M>().is_none());
        to
    }

    #[test]
    fn values_of_every_size_are_lifted_and_moved_whole() {
        fn check<const LEN: usize>() {
            let bytes: [u8; LEN] = std::array::from_fn(|at| at as u8 + 1);
            let texts = || (bytes, String::from("owned"));
            let old = Inline::new(vec![String::from("in the way")]);
            for other in [None, Some(Inline::empty()), Some(old)] {
                let replaces = other.is_some();
                assert_eq!(moved(bytes, other).take(), Some(bytes));
                let other = replaces.then(|| Inline::new(texts()));
                assert_eq!(moved(texts(), other).take(), Some(texts()));
            }
        }
        check::<0>();
        check::<1>();
        check::<7>();
        check::<8>();
        check::<9>();
        check::<39>();
        check::<40>();
        check::<41>();
        check::<63>();
        check::<64>();
        check::<65>();
        check::<200>();
    }

    #[test]
    fn another_type_leaves_the_value_where_it_is() {
        let mut inline = Inline::new(7_u64);
        assert_eq!(inline.take::<i64>(), None);
        assert_eq!(inline.take::<u64>(), Some(7));
    }

    #[test]
    fn a_new_value_takes_the_place_of_the_old() {
        let mut inline = Inline::new(String::from("old"));
        inline.set([9_u8; 64]);
        inline.set(vec![1_u8]);
        assert_eq!(inline.take::<Vec<u8>>(), Some(vec![1]));
        let mut out = AlignedVec::new();
        assert_eq!(inline.encode(&mut out), Err(Unencodable));
    }

    #[test]
    fn values_without_size_and_values_that_need_much_alignment_come_back() {
        assert_eq!(Inline::new(()).take::<()>(), Some(()));
        assert!(Inline::is_boxed::<u128>() == (align_of::<u128>() > 8));
        assert_eq!(Inline::new(1_u128 << 99).take::<u128>(), Some(1 << 99));
    }
}
