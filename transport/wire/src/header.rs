//! The 32 bytes in front of every frame, and how far the frame reaches.
//!
//! A header is checked as a whole: a field that its frame type does not carry is zero, or the
//! frame is refused. Writing puts zero there, so what was written can always be read. Lengths
//! stay inside the crate; nobody else computes with them.

use std::{fmt, ops::Range};

use crate::{
    id::{CallId, Epoch, Key, KindId, MethodId},
    status::Status,
};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameType {
    /// The first frame in either direction: who speaks, and what it offers.
    Hello = 1,
    /// The kinds that the sender offers from here on.
    Kinds = 2,
    /// How many data frames the sender has taken in.
    Ack = 3,
    /// A message without a reply.
    Tell = 4,
    /// A message with a reply.
    Call = 5,
    /// The reply to a call.
    Reply = 6,
}

/// What a frame says about itself, without its lengths.
///
/// Fields that the frame type does not carry are zero when a frame is read, and written as zero
/// whatever they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub frame: FrameType,
    /// How the call ended (reply).
    pub status: Status,
    /// The method to run (tell, call).
    pub method: MethodId,
    /// The kind of the grain (tell, call).
    pub kind: KindId,
    /// How often the message was passed on between nodes.
    pub hops: u8,
    /// The call's id (call, reply), or the number of data frames taken in (ack).
    pub number: u64,
    /// Time left in microseconds, 0 for no deadline (call).
    pub deadline_us: u32,
    /// The sender's view of the cluster.
    pub epoch: Epoch,
}

/// Why bytes are not a frame. The link that they came from cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame type is none of this version's.
    #[error("frame type {value} is unknown, the peer does not speak this protocol version")]
    UnknownType {
        /// What stood in the header.
        value: u8,
    },
    /// The status is none of this version's.
    #[error("reply status {value} is unknown, the peer does not speak this protocol version")]
    UnknownStatus {
        /// What stood in the header.
        value: u8,
    },
    /// A field that this frame type does not carry, or a reserved one, is not zero.
    #[error("the field {field} of a {frame} frame is not zero as it has to be")]
    NotZero {
        /// The type of the frame.
        frame: FrameType,
        /// The name of the field.
        field: &'static str,
    },
    /// The payload is longer than the receiver allows.
    #[error(
        "a {frame} frame declares {len} bytes of payload and {limit} are allowed, \
         set the same payload limit on all nodes"
    )]
    PayloadTooLarge {
        /// The type of the frame.
        frame: FrameType,
        /// The declared length in bytes.
        len: u32,
        /// The longest payload allowed, in bytes.
        limit: usize,
    },
    /// The key is longer than [`Key::MAX_LEN`].
    #[error(
        "a frame declares a key of {len} bytes and {} are allowed",
        Key::MAX_LEN
    )]
    KeyTooLong {
        /// The declared length in bytes.
        len: u16,
    },
    /// A tell or call without a key addresses no grain.
    #[error("a {frame} frame has no key")]
    KeyMissing {
        /// The type of the frame.
        frame: FrameType,
    },
    /// Only tells and calls have a key.
    #[error("a {frame} frame has a key of {len} bytes, which only tells and calls have")]
    KeyUnexpected {
        /// The type of the frame.
        frame: FrameType,
        /// The declared length in bytes.
        len: u16,
    },
    /// The key is not text.
    #[error("the key of a {frame} frame is not UTF-8")]
    KeyNotUtf8 {
        /// The type of the frame.
        frame: FrameType,
    },
    /// The bytes between the parts of a frame are zero.
    #[error("the padding after the {after} of a {frame} frame is not zero")]
    Padding {
        /// The type of the frame.
        frame: FrameType,
        /// The part of the frame: `"key"` or `"payload"`.
        after: &'static str,
    },
}

/// The longest payload that any limit allows, in bytes: 1 GiB.
///
/// Far below the 4 GiB that the field could say, so that no sum of lengths can overflow on any
/// platform.
pub const MAX_PAYLOAD: usize = 1 << 30;

/// The longest payload of a hello or kinds frame, in bytes, whatever the limit for messages is.
///
/// Nearly twice the longest hello of version 1.0; the rest is room for later minor versions.
pub const MAX_CONTROL_PAYLOAD: usize = 512 * 1024;

/// A header that was checked, and the lengths that stood in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) header: Header,
    key: usize,
    payload: usize,
}

impl FrameType {
    /// As it stands in a frame header.
    pub const fn to_u8(self) -> u8 {
        self as u8
    }

    /// The inverse of [`to_u8`](Self::to_u8); `None` for numbers that this version does not know.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Hello,
            2 => Self::Kinds,
            3 => Self::Ack,
            4 => Self::Tell,
            5 => Self::Call,
            6 => Self::Reply,
            _ => return None,
        })
    }

    /// Whether an [`Ack`](Self::Ack) counts frames of this type: tells, calls and replies.
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Tell | Self::Call | Self::Reply)
    }

    /// Whether frames of this type name a grain (kind, key and method): tells and calls.
    pub const fn is_addressed(self) -> bool {
        matches!(self, Self::Tell | Self::Call)
    }

    /// Whether the field at offset 16 means something.
    const fn has_number(self) -> bool {
        matches!(self, Self::Ack | Self::Call | Self::Reply)
    }

    /// The longest payload of this type of frame when messages may have `max_payload` bytes.
    pub(crate) fn payload_limit(self, max_payload: usize) -> usize {
        match self {
            Self::Hello | Self::Kinds => MAX_CONTROL_PAYLOAD,
            Self::Ack => 0,
            Self::Tell | Self::Call | Self::Reply => max_payload.min(MAX_PAYLOAD),
        }
    }
}

impl Header {
    /// How many bytes a header has.
    pub const LEN: usize = 32;

    /// A header of this type with every other field zero.
    pub const fn new(frame: FrameType) -> Self {
        Self {
            frame,
            status: Status::Ok,
            method: MethodId(0),
            kind: KindId(0),
            hops: 0,
            number: 0,
            deadline_us: 0,
            epoch: Epoch(0),
        }
    }

    /// The header of an acknowledgement: `taken_in` data frames since the link came up.
    pub const fn ack(taken_in: u64) -> Self {
        let mut header = Self::new(FrameType::Ack);
        header.number = taken_in;
        header
    }

    /// The header of a message without a reply.
    pub const fn tell(kind: KindId, method: MethodId) -> Self {
        let mut header = Self::new(FrameType::Tell);
        header.kind = kind;
        header.method = method;
        header
    }

    /// The header of a message with a reply; without a deadline.
    pub const fn call(kind: KindId, method: MethodId, call: CallId) -> Self {
        let mut header = Self::new(FrameType::Call);
        header.kind = kind;
        header.method = method;
        header.number = call.to_u64();
        header
    }

    /// The header of the reply to a call.
    pub const fn reply(call: CallId, status: Status) -> Self {
        let mut header = Self::new(FrameType::Reply);
        header.number = call.to_u64();
        header.status = status;
        header
    }

    /// The call that a call or reply frame belongs to.
    pub const fn call_id(&self) -> CallId {
        CallId::from_u64(self.number)
    }

    /// The bytes of this header for a key of `key` bytes and a payload of none.
    pub(crate) fn to_bytes(self, key: u16) -> [u8; Self::LEN] {
        let addressed = self.frame.is_addressed();
        let status = if self.frame == FrameType::Reply {
            self.status
        } else {
            Status::Ok
        };
        let method = if addressed { self.method.0 } else { 0 };
        let kind = if addressed { self.kind.0 } else { 0 };
        let number = if self.frame.has_number() {
            self.number
        } else {
            0
        };
        let deadline = if self.frame == FrameType::Call {
            self.deadline_us
        } else {
            0
        };

        let mut bytes = [0; Self::LEN];
        bytes[4] = self.frame.to_u8();
        bytes[5] = status.to_u8();
        bytes[6..8].copy_from_slice(&method.to_le_bytes());
        bytes[8..12].copy_from_slice(&kind.to_le_bytes());
        bytes[12..14].copy_from_slice(&key.to_le_bytes());
        bytes[14] = self.hops;
        bytes[16..24].copy_from_slice(&number.to_le_bytes());
        bytes[24..28].copy_from_slice(&deadline.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes
    }
}

impl Layout {
    /// Checks everything that the first 32 bytes of a frame can tell.
    pub(crate) fn parse(bytes: &[u8; Header::LEN], max_payload: usize) -> Result<Self, FrameError> {
        let payload = u32_at(bytes, 0);
        let Some(frame) = FrameType::from_u8(bytes[4]) else {
            return Err(FrameError::UnknownType { value: bytes[4] });
        };
        let Some(status) = Status::from_u8(bytes[5]) else {
            return Err(FrameError::UnknownStatus { value: bytes[5] });
        };
        let header = Header {
            frame,
            status,
            method: MethodId(u16_at(bytes, 6)),
            kind: KindId(u32_at(bytes, 8)),
            hops: bytes[14],
            number: u64_at(bytes, 16),
            deadline_us: u32_at(bytes, 24),
            epoch: Epoch(u32_at(bytes, 28)),
        };
        let key = u16_at(bytes, 12);
        check_unused(&header, bytes[15])?;
        check_key_length(frame, key)?;

        let limit = frame.payload_limit(max_payload);
        match usize::try_from(payload) {
            Ok(len) if len <= limit => Ok(Self {
                header,
                key: key.into(),
                payload: len,
            }),
            _ => Err(FrameError::PayloadTooLarge {
                frame,
                len: payload,
                limit,
            }),
        }
    }

    /// How many bytes the frame has on the stream, header and padding included.
    pub(crate) fn frame_len(&self) -> usize {
        self.payload_start() + padded(self.payload)
    }

    /// Where the payload stands within the frame.
    pub(crate) fn payload_range(&self) -> Range<usize> {
        self.payload_start()..self.payload_start() + self.payload
    }

    /// Checks what stands behind the header of a whole frame.
    ///
    /// # Panics
    ///
    /// When `frame` is not [`frame_len`](Self::frame_len) bytes long.
    pub(crate) fn check_body(&self, frame: &[u8]) -> Result<Option<Key>, FrameError> {
        let (head, payload) = frame.split_at(self.payload_start());
        let kind = self.header.frame;
        let key = match self.key {
            0 => None,
            len => Some(read_key(kind, &head[Header::LEN..], len)?),
        };
        if !padding_is_zero(payload, self.payload) {
            return Err(FrameError::Padding {
                frame: kind,
                after: "payload",
            });
        }
        Ok(key)
    }

    fn payload_start(&self) -> usize {
        Header::LEN + padded(self.key)
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "hello",
            Self::Kinds => "kinds",
            Self::Ack => "ack",
            Self::Tell => "tell",
            Self::Call => "call",
            Self::Reply => "reply",
        })
    }
}

/// Rounded up to the granularity of frames.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(UNIT)
}

fn check_unused(header: &Header, reserved: u8) -> Result<(), FrameError> {
    let frame = header.frame;
    let addressed = frame.is_addressed();
    let refused = if reserved != 0 {
        "reserved"
    } else if frame != FrameType::Reply && header.status != Status::Ok {
        "status"
    } else if !addressed && header.method.0 != 0 {
        "method"
    } else if !addressed && header.kind.0 != 0 {
        "kind"
    } else if !frame.has_number() && header.number != 0 {
        "number"
    } else if frame != FrameType::Call && header.deadline_us != 0 {
        "deadline"
    } else {
        return Ok(());
    };
    Err(FrameError::NotZero {
        frame,
        field: refused,
    })
}

fn check_key_length(frame: FrameType, len: u16) -> Result<(), FrameError> {
    if usize::from(len) > Key::MAX_LEN {
        return Err(FrameError::KeyTooLong { len });
    }
    match (frame.is_addressed(), len) {
        (true, 0) => Err(FrameError::KeyMissing { frame }),
        (false, 1..) => Err(FrameError::KeyUnexpected { frame, len }),
        _ => Ok(()),
    }
}

fn read_key(frame: FrameType, padded: &[u8], len: usize) -> Result<Key, FrameError> {
    if !padding_is_zero(padded, len) {
        return Err(FrameError::Padding {
            frame,
            after: "key",
        });
    }
    let text = str::from_utf8(&padded[..len]).map_err(|_| FrameError::KeyNotUtf8 { frame })?;
    Ok(Key::new(text).expect("the length of a key is checked with the header"))
}

/// Whether everything after the first `len` bytes of the last unit is zero.
fn padding_is_zero(padded: &[u8], len: usize) -> bool {
    let used = len % UNIT;
    // One shift instead of a loop over at most 15 bytes: this runs twice for every message.
    used == 0
        || padded
            .last_chunk::<UNIT>()
            .is_some_and(|unit| u128::from_le_bytes(*unit) >> (used * 8) == 0)
}

fn u16_at(bytes: &[u8; Header::LEN], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8; Header::LEN], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8; Header::LEN], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Header, key and payload each fill a multiple of this, so that a payload that is copied
/// together with its header stays aligned for rkyv.
const UNIT: usize = 16;
