//! The sending end: buffers pushes and publishes them in batches. Safe code over the write half,
//! which publishes and closes by itself when it is dropped.

use std::{error::Error, fmt};

use crate::slots::WriteHalf;

/// The sending end of a lane, made by [`lane`](crate::lane).
///
/// What is pushed has its slot at once, but the receiver sees it only after
/// [`publish`](Self::publish), together with all that was pushed before.
///
/// Dropping the sender publishes what was pushed and then closes the lane. As after any publish,
/// a receiver that may be parked has to be [rung](crate::Doorbell::ring) afterwards.
pub struct Sender<T> {
    half: WriteHalf<T>,
}

impl<T> Sender<T> {
    pub(crate) fn new(half: WriteHalf<T>) -> Self {
        Self { half }
    }

    /// Appends a value, unseen by the receiver until [`publish`](Self::publish).
    ///
    /// Looks at the receiver's side of the lane only when all the room known of is used up, so a
    /// lane whose receiver is gone may take values until it is full: those are dropped with the
    /// sender. [`is_closed`](Self::is_closed) tells earlier.
    ///
    /// # Errors
    ///
    /// Gives the value back when the lane is full, and says whether the receiver is gone. The lane
    /// may be full of values that are not yet published: publish before waiting for room.
    pub fn try_push(&mut self, value: T) -> Result<(), PushError<T>> {
        if self.half.room() == 0 && !self.find_room() {
            return Err(if self.is_closed() {
                PushError::Closed(value)
            } else {
                PushError::Full(value)
            });
        }
        self.half.write_with(|| value, |_| {});
        Ok(())
    }

    /// Makes everything pushed so far visible to the receiver, with one atomic store.
    ///
    /// True if anything became visible; then it is time to [ring](crate::Doorbell::ring) the
    /// receiver's doorbell.
    pub fn publish(&mut self) -> bool {
        self.half.publish()
    }

    /// How many pushes are certain to find room. The receiver may make more at any time.
    pub fn free(&mut self) -> usize {
        self.half.refresh();
        self.half.room()
    }

    /// How many values the lane holds at most, published or not.
    pub fn capacity(&self) -> usize {
        self.half.capacity().slots()
    }

    /// Whether the receiver is gone. Whoever reads true also sees everything that the receiver's
    /// thread did before it dropped the receiver.
    pub fn is_closed(&self) -> bool {
        self.half.reader_is_gone()
    }

    /// Pushes what `make` makes, if there is room for it; says whether. What is made for a slot is
    /// made in it, where a value that is pushed is moved there.
    #[inline]
    pub fn push_with(&mut self, make: impl FnOnce() -> T) -> bool {
        self.push_and_finish(make, |_| {})
    }

    /// As [`push_with`](Self::push_with), for values that are made in two steps: what `finish`
    /// writes goes straight into the slot, where parts of a value that `make` returns may be
    /// collected on the stack first. If `finish` panics, the value is neither sent nor dropped.
    #[inline(always)]
    pub fn push_and_finish(
        &mut self,
        make: impl FnOnce() -> T,
        finish: impl FnOnce(&mut T),
    ) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.half.write_with(make, finish);
        }
        has_room
    }

    /// Whether a push would be accepted. Looks at the receiver's line only if no slot is known to
    /// be free.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        self.half.room() > 0 || self.find_room()
    }

    /// How many pushes are known to find room, without a look at the receiver's line.
    #[inline]
    pub fn known_room(&self) -> usize {
        self.half.room()
    }

    /// Looks how much room there is, and knows of `share` of that much at most until it looks
    /// again: for who divides the room among several. Returns what it knows of.
    #[cold]
    pub fn look_for_room(&mut self, share: impl FnOnce(usize) -> usize) -> usize {
        self.half.refresh();
        self.half.limit_room(share(self.half.room()));
        self.half.room()
    }

    /// How many values were pushed and not published yet.
    pub fn unpublished(&self) -> usize {
        self.half.unpublished()
    }

    #[cold]
    fn find_room(&mut self) -> bool {
        self.half.refresh();
        self.half.room() > 0
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("capacity", &self.capacity())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// Why a push was refused, with the value that was not taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// Every slot holds a value that the receiver has not taken. Publish, and try again later.
    Full(T),
    /// The same, and the receiver is gone: there will never be room again.
    Closed(T),
}

impl<T> PushError<T> {
    /// The value that was not taken.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

// By hand, as in `std::sync::mpsc::SendError`: values need not be printable.
impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the lane is full: publish, then try again when there is room",
            Self::Closed(_) => "the lane is closed: its receiver is gone, so stop sending",
        })
    }
}

impl<T> Error for PushError<T> {}
