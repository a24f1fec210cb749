//! What a frame says about itself, and the 32 bytes that say it.
//!
//! A field that a frame type does not carry is written as zero whatever it holds, so what was
//! written can always be read. Lengths are no part of a [`Header`]: reader and writer know them.

use std::fmt;

use crate::{
    id::{CallId, Epoch, KindId, MethodId},
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

/// The longest payload that any limit allows, in bytes: 1 GiB.
///
/// Far below the 4 GiB that the field could say, so that no sum of lengths can overflow on any
/// platform.
pub const MAX_PAYLOAD: usize = 1 << 30;

/// The longest payload of a hello or kinds frame, in bytes, whatever the limit for messages is.
///
/// Nearly twice the longest hello of version 1.0; the rest is room for later minor versions.
pub const MAX_CONTROL_PAYLOAD: usize = 512 * 1024;

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
    pub(crate) const fn has_number(self) -> bool {
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

/// Header, key and payload each fill a multiple of this, so that a payload that is copied
/// together with its header stays aligned for rkyv.
pub(crate) const UNIT: usize = 16;
