//! A message in memory, its type erased: what lanes and mailboxes carry.
//!
//! Values up to 64 bytes lie inside the [`Payload`], larger ones in a box. A payload is encoded
//! only when its hop is a link; inside a node it is moved from the caller to the handler.

use std::any::Any;
use std::fmt;
use std::mem;

use rkyv::util::AlignedVec;
use smallbox::{SmallBox, smallbox};
use teff_wire::Block;

use crate::codec::{self, Message, Undecodable, Unencodable};

/// A message of any type.
pub struct Payload(SmallBox<dyn Body, Inline>);

/// What a handler is run with: a value from this node, or bytes from another.
#[derive(Debug)]
pub enum Arguments {
    /// Moved here from the caller.
    Value(Payload),
    /// Arrived on a link, not yet validated.
    Bytes(Block),
}

/// What a handler answered: a value from this node, or bytes from another.
#[derive(Debug)]
pub enum Reply {
    /// Moved here from the handler.
    Value(Payload),
    /// Arrived on a link, not yet validated.
    Bytes(Block),
}

// 64 bytes of message and its presence flag: with the two words of the box itself a payload takes
// 88 bytes, which leaves 40 of a 128-byte lane slot.
type Inline = [u64; 9];

trait Body: Send {
    fn encode(&self, out: &mut AlignedVec<16>) -> Result<(), Unencodable>;

    /// Moves the message into `slot`, an `Option` of its type; says whether the type was right.
    fn take(&mut self, slot: &mut dyn Any) -> bool;
}

impl<M: Message> Body for Option<M> {
    fn encode(&self, out: &mut AlignedVec<16>) -> Result<(), Unencodable> {
        self.as_ref()
            .map_or(Err(Unencodable), |message| codec::encode(message, out))
    }

    fn take(&mut self, slot: &mut dyn Any) -> bool {
        slot.downcast_mut::<Self>()
            .map(|slot| *slot = mem::take(self))
            .is_some()
    }
}

impl Payload {
    /// Wraps a message.
    pub fn new<M: Message>(message: M) -> Self {
        Self(smallbox!(Some(message)))
    }

    /// Takes the message out.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when it is of another type: caller and handler disagree.
    pub fn take<M: Message>(mut self) -> Result<M, Undecodable> {
        let mut slot = None::<M>;
        self.0.take(&mut slot);
        slot.ok_or(Undecodable)
    }

    /// Appends the archive of the message to `out`.
    ///
    /// # Errors
    ///
    /// See [`codec::encode`].
    pub fn encode(&self, out: &mut AlignedVec<16>) -> Result<(), Unencodable> {
        self.0.encode(out)
    }
}

impl Arguments {
    /// Takes them as an owned value; bytes are validated and deserialised.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when they are not an `M`.
    pub fn take<M: Message>(self) -> Result<M, Undecodable> {
        match self {
            Self::Value(payload) => payload.take(),
            Self::Bytes(block) => codec::decode(&block),
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
            Self::Bytes(block) => Ok(block),
        }
    }
}

impl Reply {
    /// Takes the reply as an owned value.
    ///
    /// # Errors
    ///
    /// [`Undecodable`] when it is not an `M`.
    pub fn take<M: Message>(self) -> Result<M, Undecodable> {
        match self {
            Self::Value(payload) => payload.take(),
            Self::Bytes(block) => codec::decode(&block),
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Payload")
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
    }

    #[test]
    fn sixty_four_bytes_lie_inside_the_payload() {
        assert!(!SmallBox::is_heap(&Payload::new([0_u64; 8]).0));
        assert!(SmallBox::is_heap(&Payload::new([0_u64; 9]).0));
        assert_eq!(size_of::<Payload>(), 88);
    }

    #[test]
    fn borrowed_arguments_read_the_same_from_a_value_and_from_bytes() {
        let value = Arguments::Value(Payload::new((5_u32, String::from("five"))));
        let block = value.into_block().unwrap();
        let archived = codec::access::<(u32, String)>(&block).unwrap();
        assert_eq!((archived.0.to_native(), archived.1.as_str()), (5, "five"));
        let again = Arguments::Bytes(block).take::<(u32, String)>();
        assert_eq!(again, Ok((5, String::from("five"))));
    }
}
