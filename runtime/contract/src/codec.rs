//! Messages to bytes and back, by rkyv: the one place where bytes from a peer become types.
//!
//! Bytes are always validated, with a bounded nesting depth (rkyv's default recurses until the
//! stack ends), and only types without shared pointers can be read at all: the `()` sharing
//! context below does not compile for others. The root of an archive is at the end of its bytes,
//! and the bytes must start 16-aligned, as [`teff_wire::Block`] guarantees.

use std::num::NonZeroUsize;

use rkyv::api::low::{LowDeserializer, LowSerializer, LowValidator, to_bytes_in_with_alloc};
use rkyv::api::{access_with_context, deserialize_using};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::{AlignedVec, with_arena};
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;
use rkyv::{Archive, Deserialize, Portable, Serialize};

use crate::schema::Schema;

/// A type that can be an argument or a reply. Implemented for every type with a [`Schema`] whose
/// parts rkyv can archive, deserialise and check.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in a message",
    note = "put `#[message]` on it if it is your own struct or enum, see `Schema`"
)]
pub trait Message:
    Schema
    + Sized
    + Send
    + 'static
    + Archive<
        Archived: Portable
                      + for<'a> CheckBytes<LowValidator<'a, Failure>>
                      + Deserialize<Self, LowDeserializer<Failure>>,
    >
    + for<'a> Serialize<LowSerializer<&'a mut AlignedVec<16>, ArenaHandle<'a>, Failure>>
{
}

// What is missing is told by `Schema`; the parts of rkyv mean nothing to whoever forgot it.
#[diagnostic::do_not_recommend]
impl<M> Message for M where
    M: Schema
        + Send
        + 'static
        + Archive<
            Archived: Portable
                          + for<'a> CheckBytes<LowValidator<'a, Failure>>
                          + Deserialize<M, LowDeserializer<Failure>>,
        >
        + for<'a> Serialize<LowSerializer<&'a mut AlignedVec<16>, ArenaHandle<'a>, Failure>>
{
}

/// A message as it lies in its bytes, for handlers that read it in place.
pub type Archived<M> = <M as Archive>::Archived;

/// The bytes are not a valid archive of the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a valid message of the expected type")]
pub struct Undecodable;

/// A value that rkyv cannot archive. With the types that have a schema this does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be encoded")]
pub struct Unencodable;

/// Nesting of archives beyond this is refused. Generous for people, harmless for the stack.
const DEPTH_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Appends the archive of `message` to `out`. Its scratch space is per thread and kept.
///
/// # Errors
///
/// [`Unencodable`]; `out` then holds a part of the archive, which the caller takes back.
pub fn encode<M: Message>(message: &M, out: &mut AlignedVec<16>) -> Result<(), Unencodable> {
    with_arena(|arena| {
        to_bytes_in_with_alloc::<_, _, Failure>(message, out, arena.acquire()).map(|_| ())
    })
    .map_err(|_| Unencodable)
}

/// Validates `bytes` and reads them in place.
///
/// # Errors
///
/// [`Undecodable`] when the bytes are not a valid archive, or not 16-aligned.
pub fn access<M: Message>(bytes: &[u8]) -> Result<&M::Archived, Undecodable> {
    let archive = ArchiveValidator::with_max_depth(bytes, Some(DEPTH_MAX));
    access_with_context::<M::Archived, _, Failure>(bytes, &mut Validator::new(archive, ()))
        .map_err(|_| Undecodable)
}

/// Validates `bytes` and takes an owned message out of them.
///
/// # Errors
///
/// As [`access`].
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, Undecodable> {
    access::<M>(bytes).and_then(deserialize::<M>)
}

/// Takes an owned message out of a validated archive, of which it may be a part.
///
/// # Errors
///
/// [`Undecodable`]; with the types that have a schema this does not happen.
pub fn deserialize<M: Message>(archived: &M::Archived) -> Result<M, Undecodable> {
    deserialize_using::<M, (), Failure>(archived, &mut ()).map_err(|_| Undecodable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<M: Message + PartialEq + std::fmt::Debug>(message: M) {
        let mut bytes = AlignedVec::new();
        encode(&message, &mut bytes).unwrap();
        assert_eq!(decode::<M>(&bytes).unwrap(), message);
    }

    #[test]
    fn what_is_encoded_can_be_decoded() {
        there_and_back(());
        there_and_back((7_u64,));
        there_and_back((String::from("key"), vec![Some(1_u8), None], -3_i64));
        there_and_back(Err::<u32, String>("no".repeat(40)));
        there_and_back(Box::new([1.5_f64, 2.5]));
    }

    #[test]
    fn truncated_and_flipped_bytes_are_refused_or_harmless() {
        let mut bytes = AlignedVec::<16>::new();
        encode(
            &(vec![String::from("a longer text than fits inline"); 3],),
            &mut bytes,
        )
        .unwrap();
        for len in 0..bytes.len() {
            let mut cut = AlignedVec::<16>::new();
            cut.extend_from_slice(&bytes[..len]);
            let _ = decode::<(Vec<String>,)>(&cut);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = decode::<(Vec<String>,)>(&flipped);
        }
        assert_eq!(decode::<(Vec<String>,)>(&[]), Err(Undecodable));
    }
}
