//! What a stream begins with that carries the payload of one frame.
//!
//! A payload that is detached from its frame follows these 16 bytes, raw and without padding, to
//! the end of its stream.

use crate::header::MAX_PAYLOAD;

/// The start of a stream that carries one payload.
///
/// ```
/// use teff_wire::Preamble;
///
/// let preamble = Preamble { len: 1 << 20, frame: 4711 };
/// let bytes = preamble.to_bytes();
/// assert_eq!(Preamble::from_bytes(&bytes, 1 << 20), Ok(preamble));
/// assert!(Preamble::from_bytes(&bytes, 1 << 19).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// How many bytes of payload follow.
    pub len: u32,
    /// The number on its link of the data frame (tell, call, reply) that the payload belongs to.
    pub frame: u64,
}

/// Why bytes are not the preamble of a payload. The link that they belong to cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreambleError {
    /// Streams of their own carry payloads, and nothing else.
    #[error(
        "a stream of its own starts with type {value:#04x} instead of a payload, \
         the peer does not speak this protocol version"
    )]
    NotPayload {
        /// What stood in the place of the frame type.
        value: u8,
    },
    /// A reserved byte is not zero.
    #[error("the reserved bytes of a payload's preamble are not zero as they have to be")]
    Reserved,
    /// The payload is longer than the receiver allows.
    #[error(
        "a payload of {len} bytes is announced and {limit} are allowed, \
         set the same payload limit on all nodes"
    )]
    TooLarge {
        /// The announced length in bytes.
        len: u32,
        /// The longest payload allowed, in bytes.
        limit: usize,
    },
}

impl Preamble {
    /// How many bytes a preamble has.
    pub const LEN: usize = 16;

    /// As it stands at the start of a stream.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = PAYLOAD;
        bytes[8..].copy_from_slice(&self.frame.to_le_bytes());
        bytes
    }

    /// The inverse of [`to_bytes`](Self::to_bytes), for payloads of at most `max_payload` bytes
    /// (cut to [`MAX_PAYLOAD`]).
    ///
    /// Whether there is a frame of that number, and whether it declared the same length, is for
    /// the caller to check.
    ///
    /// # Errors
    ///
    /// [`PreambleError`] when the bytes are no preamble, or the payload is too long.
    pub fn from_bytes(bytes: &[u8; Self::LEN], max_payload: usize) -> Result<Self, PreambleError> {
        let [l0, l1, l2, l3, value, r0, r1, r2, number @ ..] = *bytes;
        if value != PAYLOAD {
            return Err(PreambleError::NotPayload { value });
        }
        if [r0, r1, r2] != [0; 3] {
            return Err(PreambleError::Reserved);
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let limit = max_payload.min(MAX_PAYLOAD);
        // Compared as u64, so that no platform cuts the length before it is checked.
        if u64::from(len) > limit as u64 {
            return Err(PreambleError::TooLarge { len, limit });
        }
        let frame = u64::from_le_bytes(number);
        Ok(Self { len, frame })
    }
}

/// The type of a preamble. No frame has it, so that neither can be taken for the other.
const PAYLOAD: u8 = 8;
