//! What a frame says about itself, and the 16 or 32 bytes that say it.
//!
//! A field that a frame type does not carry is written as zero whatever it holds, so what was
//! written can always be read. Lengths and grain numbers are no part of a [`Header`]: reader and
//! writer know them.

use std::fmt;

use rkyv::util::AlignedVec;

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
    /// The number that a grain goes by in the tells and calls behind it.
    ///
    /// A matter between [`Writer`](crate::Writer) and [`Reader`](crate::Reader): the one is not
    /// given such frames to write, the other hands none out.
    Name = 7,
    /// The mailbox of a grain at the sender of this is full.
    Full = 9,
    /// It has room again.
    Room = 10,
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
    /// The kind of the grain (tell, call). On the wire it stands in the name frame.
    pub kind: KindId,
    /// How often the message was passed on between nodes (tell, call).
    pub hops: u8,
    /// The call's id (call, reply), or the number of data frames taken in (ack).
    pub number: u64,
    /// Time left in microseconds, 0 for no deadline (call).
    pub deadline_us: u32,
    /// The sender's view of the cluster (tell, call).
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
            7 => Self::Name,
            9 => Self::Full,
            10 => Self::Room,
            _ => return None,
        })
    }

    /// Whether an [`Ack`](Self::Ack) counts frames of this type: tells, calls and replies.
    pub const fn is_data(self) -> bool {
        matches!(self, Self::Tell | Self::Call | Self::Reply)
    }

    /// Whether frames of this type are for a grain (kind, key and method): tells and calls.
    pub const fn is_addressed(self) -> bool {
        matches!(self, Self::Tell | Self::Call)
    }

    /// How many bytes the header of such a frame has.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            Self::Call => Header::CALL_LEN,
            _ => Header::LEN,
        }
    }

    /// The longest payload of this type of frame when messages may have `max_payload` bytes.
    pub(crate) fn payload_limit(self, max_payload: usize) -> usize {
        match self {
            Self::Hello | Self::Kinds => MAX_CONTROL_PAYLOAD,
            Self::Ack | Self::Name | Self::Full | Self::Room => 0,
            Self::Tell | Self::Call | Self::Reply => max_payload.min(MAX_PAYLOAD),
        }
    }
}

impl Header {
    /// How many bytes the header of every frame but a call has.
    pub const LEN: usize = 16;

    /// How many bytes the header of a call has.
    pub const CALL_LEN: usize = 32;

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

    /// The header that tells senders whether the grain of this placement hash has room.
    pub const fn pressure(hash: u64, full: bool) -> Self {
        let frame = if full {
            FrameType::Full
        } else {
            FrameType::Room
        };
        let mut header = Self::new(frame);
        header.number = hash;
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

    /// Appends the bytes of this header: for the grain of this number if its frame is for one,
    /// with a payload of `len` bytes that is `detached` or follows.
    #[inline(always)]
    pub(crate) fn append_to(
        &self,
        out: &mut AlignedVec<16>,
        grain: u32,
        (len, detached): (u32, bool),
    ) {
        let frame = u64::from(self.frame.to_u8() | if detached { DETACHED } else { 0 });
        let (mut low, mut high) = (u64::from(len) | frame << 32, 0);
        match self.frame {
            FrameType::Tell | FrameType::Call => {
                low |= u64::from(self.hops) << 40 | u64::from(self.method.0) << 48;
                high = u64::from(grain) | u64::from(self.epoch.0) << 32;
            }
            FrameType::Reply => {
                low |= u64::from(self.status.to_u8()) << 40;
                high = self.number;
            }
            FrameType::Ack | FrameType::Full | FrameType::Room => high = self.number,
            FrameType::Hello | FrameType::Kinds | FrameType::Name => {}
        }
        // Room first, then two words: what is put together elsewhere and copied as a whole waits
        // for the stores, and that took longer than all the rest.
        let at = out.len();
        out.extend_from_slice(&[0; Self::LEN]);
        out[at..at + 8].copy_from_slice(&low.to_le_bytes());
        out[at + 8..at + 16].copy_from_slice(&high.to_le_bytes());
        if self.frame == FrameType::Call {
            let mut rest = [0; Self::CALL_LEN - Self::LEN];
            rest[..8].copy_from_slice(&self.number.to_le_bytes());
            rest[8..12].copy_from_slice(&self.deadline_us.to_le_bytes());
            out.extend_from_slice(&rest);
        }
    }
}

/// Appends a name frame: from here on `number` stands for the grain of this kind and key.
pub(crate) fn append_name(out: &mut AlignedVec<16>, number: u32, (kind, key): (KindId, &Key)) {
    let key = key.as_str().as_bytes();
    let len = u16::try_from(key.len()).expect("a key has at most 256 bytes");
    let mut bytes = [0; Header::LEN];
    bytes[4] = FrameType::Name.to_u8();
    bytes[6..8].copy_from_slice(&len.to_le_bytes());
    bytes[8..12].copy_from_slice(&number.to_le_bytes());
    bytes[12..].copy_from_slice(&kind.0.to_le_bytes());
    out.extend_from_slice(&bytes);
    out.extend_from_slice(key);
    out.resize(padded(out.len()), 0);
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hello => "hello",
            Self::Kinds => "kinds",
            Self::Ack => "ack",
            Self::Full => "full",
            Self::Room => "room",
            Self::Tell => "tell",
            Self::Call => "call",
            Self::Reply => "reply",
            Self::Name => "name",
        })
    }
}

/// Rounded up to the granularity of frames.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(UNIT)
}

/// Set in the byte of the frame type when the payload comes on a stream of its own.
pub(crate) const DETACHED: u8 = 0x80;

/// Header, key and payload each fill a multiple of this, so that a payload that is copied
/// together with its header stays aligned for rkyv.
pub(crate) const UNIT: usize = 16;
