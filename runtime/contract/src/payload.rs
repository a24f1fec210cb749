//! A message in memory, its type erased: what lanes and mailboxes carry.
//!
//! Values up to 64 bytes lie inside the [`Payload`], larger ones in a box. A payload is encoded
//! only when its hop is a link; inside a node it is moved from the caller to the handler.

mod inline;

use std::fmt;

use rkyv::util::AlignedVec;
use teff_wire::{Block, Part};

use self::inline::Inline;
use crate::codec::{self, Message, Undecodable, Unencodable};

/// A message of any type, or nothing once it was taken out.
pub struct Payload(Inline);

/// What a handler is run with: a value from this node, or bytes from another.
#[derive(Debug)]
pub enum Arguments<'a> {
    /// Moved here from the caller.
    Value(&'a mut Payload),
    /// Arrived on a link, not yet validated.
    Bytes(Part<'a>),
}

/// What a handler answered: a value from this node, or bytes from another.
#[derive(Debug)]
pub enum Reply {
    /// Moved here from the handler.
    Value(Payload),
    /// Arrived on a link, not yet validated.
    Bytes(Block),
}

impl Payload {
    /// Bytes of a message that lie in place. Larger ones take an allocation.
    pub const INLINE: usize = inline::INLINE;

    /// Wraps a message.
    pub fn new<M: Message>(message: M) -> Self {
        Self(Inline::new(message))
    }

    /// Nothing.
    pub const fn empty() -> Self {
        Self(Inline::empty())
    }

    /// Whether there is no message in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether dropping it does nothing, so that nobody needs to guard against it.
    pub fn is_inert(&self) -> bool {
        self.0.is_inert()
    }

    /// Puts a message in, in the place of what was there.
    pub fn set<M: Message>(&mut self, message: M) {
        self.0.set(message);
    }

    /// Moves the message out, whatever its type, and leaves nothing. Faster than
    /// [`std::mem::take`] right after the message was put in.
    #[inline]
    pub fn lift(&mut self) -> Self {
        Self(self.0.lift())
    }

    /// Moves the message to where it stays, in the place of what was there. As fast as
    /// [`lift`](Self::lift), and with nothing in between.
    #[inline]
    pub fn move_to(&mut self, other: &mut Self) {
        self.0.move_to(&mut other.0);
    }

    /// Drops the message, if there is one.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes the message out and leaves nothing.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when it is of another type (caller and handler disagree), or was taken.
    pub fn take<M: Message>(&mut self) -> Result<M, Undecodable> {
        self.0.take().ok_or(Undecodable)
    }

    /// Appends the archive of the message to `out`.
    ///
    /// # Errors
    ///
    /// See [`codec::encode`]; also when there is none.
    pub fn encode(&self, out: &mut AlignedVec<16>) -> Result<(), Unencodable> {
        self.0.encode(out)
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::empty()
    }
}

impl Arguments<'_> {
    /// Takes them as an owned value; bytes are validated and deserialised.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when they are not an `M`.
    pub fn take<M: Message>(self) -> Result<M, Undecodable> {
        match self {
            Self::Value(payload) => payload.take(),
            Self::Bytes(part) => codec::decode(part.bytes()),
        }
    }

    /// Takes them as bytes to be read in place, for handlers that borrow. A value from this node
    /// is archived first: such handlers pay on the local path, where nothing else encodes.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when the value cannot be archived.
    pub fn into_block(self) -> Result<Block, Undecodable> {
        match self {
            Self::Value(payload) => {
                let mut bytes = AlignedVec::new();
                payload.encode(&mut bytes).map_err(|_| Undecodable)?;
                Ok(Block::from(bytes))
            }
            Self::Bytes(part) => Ok(part.to_block()),
        }
    }
}

impl Reply {
    /// Takes the reply as an owned value. Of a value, nothing is left.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when it is not an `M`.
    pub fn take<M: Message>(&mut self) -> Result<M, Undecodable> {
        match self {
            Self::Value(payload) => payload.take(),
            Self::Bytes(block) => codec::decode(block),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() {
            "Payload(empty)"
        } else {
            "Payload(..)"
        })
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn a_payload_gives_back_what_it_was_given() {
        assert_eq!(
            Payload::new((1_u64, String::from("x"))).take(),
            Ok((1_u64, String::from("x")))
        );
        assert_eq!(
            Payload::new(vec![7_u8; 1 << 20]).take(),
            Ok(vec![7_u8; 1 << 20])
        );
    }

    #[test]
    fn a_payload_of_another_type_is_refused() {
        assert_eq!(Payload::new(1_u64).take::<u32>(), Err(Undecodable));
        assert_eq!(Payload::empty().take::<()>(), Err(Undecodable));
    }

    #[test]
    fn sixty_four_bytes_lie_inside_the_payload() {
        assert!(!Inline::is_boxed::<[u64; 8]>());
        assert!(Inline::is_boxed::<[u64; 9]>());
        // With its table a payload takes 72 bytes, which leaves 56 of a 128-byte lane slot.
        assert_eq!(
            (size_of::<Payload>(), size_of::<Option<Payload>>()),
            (72, 72)
        );
        assert_eq!(
            size_of::<Result<Payload, (teff_wire::Status, String)>>(),
            72
        );
    }

    #[test]
    fn borrowed_arguments_read_the_same_from_a_value_and_from_bytes() {
        let mut payload = Payload::new((5_u32, String::from("five")));
        let block = Arguments::Value(&mut payload).into_block().unwrap();
        let archived = codec::access::<(u32, String)>(&block).unwrap();
        assert_eq!((archived.0.to_native(), archived.1.as_str()), (5, "five"));
        let again = Arguments::Bytes((&block).into()).take::<(u32, String)>();
        assert_eq!(again, Ok((5, String::from("five"))));
    }
}
