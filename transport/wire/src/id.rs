//! The names of things: nodes, shards, kinds, grains, methods, calls.
//!
//! Every identifier is a newtype, so that a shard cannot be passed where a node is meant. A
//! [`Key`] is never longer than [`Key::MAX_LEN`] bytes: whoever holds one may put it on the wire.

use std::fmt;

use smol_str::SmolStr;

/// A member of the cluster, as its certificate and the membership name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u16);

/// One start of a node. Drawn at random when the node starts, so that peers can tell a restarted
/// process from the one they knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub u64);

/// A shard of a node, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// The version of a membership view. Grows by at least one with every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// A kind of grain: the 32-bit FNV-1a hash of its name, the same in every build.
///
/// Two names with one hash are refused when the second one is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub u32);

/// A method of a kind: its position in the contract, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodId(pub u16);

/// A call that waits for its reply at the shard that made it: a slot and the slot's generation.
///
/// The receiver hands it back untouched. A reply whose generation is over is dropped, so a slot
/// can be used again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId {
    /// Index into the caller's call table.
    pub slot: u32,
    /// How often the slot had been used when the call was made.
    pub generation: u32,
}

/// A hash of everything a caller and a grain must agree on: method names, argument and reply
/// schemas, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

/// The name of a grain within its kind: 1 to 256 bytes of UTF-8.
///
/// Up to 23 bytes are stored in place; longer keys are shared, so cloning never copies them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(SmolStr);

/// A grain: its kind and its key. Always addressable, whether or not it is active anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrainId {
    /// What it is.
    pub kind: KindId,
    /// Which one it is.
    pub key: Key,
}

/// Why a text cannot be a [`Key`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key names something; the empty text does not.
    #[error("the key of a grain is empty, give it at least one byte")]
    Empty,
    /// Longer than a frame header can carry.
    #[error(
        "the key of a grain is {len} bytes long, at most {} are allowed",
        Key::MAX_LEN
    )]
    TooLong {
        /// Length in bytes of the refused text.
        len: usize,
    },
}

impl KindId {
    /// The kind of this name. Usable in constants.
    pub const fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut hash = 0x811c_9dc5_u32;
        let mut i = 0;
        while i < bytes.len() {
            hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
            i += 1;
        }
        Self(hash)
    }
}

impl CallId {
    /// As one number: generation in the high half, slot in the low half.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The inverse of [`to_u64`](Self::to_u64).
    pub const fn from_u64(value: u64) -> Self {
        Self {
            slot: value as u32,
            generation: (value >> 32) as u32,
        }
    }
}

impl Key {
    /// The longest key, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Checks and keeps a key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the text is empty or longer than [`Key::MAX_LEN`].
    pub fn new(text: impl AsRef<str>) -> Result<Self, KeyError> {
        let text = text.as_ref();
        match text.len() {
            0 => Err(KeyError::Empty),
            len if len > Self::MAX_LEN => Err(KeyError::TooLong { len }),
            _ => Ok(Self(SmolStr::new(text))),
        }
    }

    /// A key whose length was checked.
    pub(crate) fn from_checked(text: &str) -> Self {
        debug_assert!((1..=Self::MAX_LEN).contains(&text.len()));
        Self(SmolStr::new(text))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text lies in the key itself, so that dropping the key does nothing.
    #[inline]
    pub fn is_inline(&self) -> bool {
        !self.0.is_heap_allocated()
    }
}

impl GrainId {
    /// The grain of this kind with this key.
    pub fn new(kind: KindId, key: Key) -> Self {
        Self { kind, key }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_ids_are_the_same_in_every_build() {
        assert_eq!(KindId::of(""), KindId(0x811c_9dc5));
        assert_eq!(KindId::of("a"), KindId(0xe40c_292c));
        assert_eq!(KindId::of("foobar"), KindId(0xbf9c_f968));
    }

    #[test]
    fn call_ids_survive_the_way_through_a_number() {
        let call = CallId {
            slot: 7,
            generation: u32::MAX,
        };
        assert_eq!(CallId::from_u64(call.to_u64()), call);
        assert_eq!(call.to_u64(), 0xffff_ffff_0000_0007);
    }

    #[test]
    fn keys_are_neither_empty_nor_endless() {
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert_eq!(
            Key::new("x".repeat(257)),
            Err(KeyError::TooLong { len: 257 })
        );
        assert_eq!(Key::new("x".repeat(256)).unwrap().as_str().len(), 256);
    }
}
