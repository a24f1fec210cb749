//! Where the parts of a received frame stand, and whether they may stand there.
//!
//! The first 16 bytes are checked as a whole once they are there, the rest once the frame is: so
//! which error a stream yields depends on its bytes alone, never on how they were cut into
//! chunks. No sum here can overflow, because the lengths are bounded before they are added.

use std::ops::Range;

use crate::{
    header::{DETACHED, FrameType, Header, UNIT, padded},
    id::{Epoch, Key, KindId, MethodId},
    status::Status,
};

/// What is needed to find the parts of a frame whose first 16 bytes were checked.
///
/// Small enough for a register. The header is read when the frame is handed out: kept here, it
/// would be moved several times, and that cost more than reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    frame: FrameType,
    detached: bool,
    key: u16,
    /// Of a payload that is detached, how much is to come.
    payload: u32,
}

/// How many bytes the frame has that starts so, if it is one that a reader allows as far as its
/// length goes. All else is checked when its turn comes.
#[inline(always)]
pub(crate) fn frame_len(bytes: &[u8; Header::LEN], max_payload: usize) -> Option<usize> {
    let payload = u32_at(bytes, 0) as usize;
    // Nearly all frames are these.
    if bytes[4] == FrameType::Tell.to_u8() || bytes[4] == FrameType::Reply.to_u8() {
        return (payload <= max_payload).then(|| Header::LEN + padded(payload));
    }
    let detached = bytes[4] & DETACHED != 0;
    let frame = FrameType::from_u8(bytes[4] & !DETACHED)?;
    if payload > frame.payload_limit(max_payload) || (detached && !frame.is_data()) {
        return None;
    }
    let key = match frame {
        FrameType::Name if usize::from(u16_at(bytes, 6)) > Key::MAX_LEN => return None,
        FrameType::Name => u16_at(bytes, 6),
        _ => 0,
    };
    let payload = u32_at(bytes, 0);
    let layout = Layout {
        frame,
        detached,
        key,
        payload,
    };
    Some(layout.frame_len())
}

/// Whether the frame that starts so gives a number to a grain.
pub(crate) fn is_name(bytes: &[u8; Header::LEN]) -> bool {
    bytes[4] == FrameType::Name.to_u8()
}

/// What a reader allows, and how many grains have a number so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) max_payload: usize,
    pub(crate) names_max: u32,
    /// The numbers below this one were given.
    pub(crate) given: u32,
}

/// Why bytes are not a frame. The link that they came from cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame type is none of this version's, or one whose payload cannot be detached.
    #[error("frame type {value:#04x} is unknown, the peer does not speak this protocol version")]
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
        "a name frame declares a key of {len} bytes and {} are allowed",
        Key::MAX_LEN
    )]
    KeyTooLong {
        /// The declared length in bytes.
        len: u16,
    },
    /// Without a key there is no grain to give a number to.
    #[error("a name frame has no key")]
    KeyMissing,
    /// The key is not text.
    #[error("the key of a name frame is not UTF-8")]
    KeyNotUtf8,
    /// The grain number is beyond what the receiver remembers.
    #[error(
        "a {frame} frame has the grain number {number} and {limit} numbers are allowed, \
         set the same limit for names on all nodes"
    )]
    NumberTooLarge {
        /// The type of the frame.
        frame: FrameType,
        /// What stood in the header.
        number: u32,
        /// How many numbers are allowed; the first is 0.
        limit: u32,
    },
    /// Numbers are given in order, so that tables of them have no holes.
    #[error("a name frame gives the grain number {number} before {next}, which is the next one")]
    NumberSkipped {
        /// What stood in the header.
        number: u32,
        /// The least number that no grain was given yet.
        next: u32,
    },
    /// A tell or call is for a number that no name frame gave to a grain.
    #[error("a {frame} frame is for the grain number {number}, which no grain was given")]
    NumberUnknown {
        /// The type of the frame.
        frame: FrameType,
        /// What stood in the header.
        number: u32,
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

impl Layout {
    /// Checks everything that the first 16 bytes of a frame can tell.
    // Returned in a register instead of through memory: 6 ns less of 20 for each frame.
    #[inline(always)]
    pub(crate) fn of(bytes: &[u8; Header::LEN], bounds: Bounds) -> Result<Self, FrameError> {
        let detached = bytes[4] & DETACHED != 0;
        let frame = match FrameType::from_u8(bytes[4] & !DETACHED) {
            Some(frame) if !detached || frame.is_data() => frame,
            _ => return Err(FrameError::UnknownType { value: bytes[4] }),
        };
        check_fields(frame, bytes, bounds)?;
        let key = match frame {
            FrameType::Name => u16_at(bytes, 6),
            _ => 0,
        };
        let payload = u32_at(bytes, 0);
        let limit = frame.payload_limit(bounds.max_payload);
        // Compared as u64, so that no platform cuts the declared length before it is checked.
        if u64::from(payload) > limit as u64 {
            let len = payload;
            return Err(FrameError::PayloadTooLarge { frame, len, limit });
        }
        Ok(Self {
            frame,
            detached,
            key,
            payload,
        })
    }

    /// The same for a tell, call or reply that carries its payload and whose length was found
    /// allowed by [`frame_len`]; `None` for every other frame, and for one that is not sound.
    #[inline(always)]
    pub(crate) fn of_plain(bytes: &[u8; Header::LEN], given: usize) -> Option<Self> {
        let frame = if bytes[4] == FrameType::Tell.to_u8() {
            FrameType::Tell
        } else if bytes[4] == FrameType::Reply.to_u8() {
            FrameType::Reply
        } else if bytes[4] == FrameType::Call.to_u8() {
            FrameType::Call
        } else {
            return None;
        };
        let is_sound = match frame {
            FrameType::Reply => Status::from_u8(bytes[5]).is_some() && u16_at(bytes, 6) == 0,
            _ => (u32_at(bytes, 8) as usize) < given,
        };
        is_sound.then(|| Self {
            frame,
            detached: false,
            key: 0,
            payload: u32_at(bytes, 0),
        })
    }

    /// What the frame is.
    #[inline(always)]
    pub(crate) fn frame(self) -> FrameType {
        self.frame
    }

    /// Whether it is counted by acknowledgements.
    pub(crate) fn is_data(self) -> bool {
        self.frame.is_data()
    }

    /// How many bytes the frame has on the stream, header and padding included.
    #[inline(always)]
    pub(crate) fn frame_len(self) -> usize {
        self.payload_start() + padded(self.payload_here())
    }

    /// Where the payload stands within the frame; nowhere if it is detached.
    #[inline(always)]
    pub(crate) fn payload_range(self) -> Range<usize> {
        self.payload_start()..self.payload_start() + self.payload_here()
    }

    /// How many bytes of payload are to come on a stream of their own, if they are.
    pub(crate) fn detached(self) -> Option<u32> {
        self.detached.then_some(self.payload)
    }

    /// Whether this is a name frame.
    pub(crate) fn is_name(self) -> bool {
        self.frame == FrameType::Name
    }

    /// Checks what stands behind the first 16 bytes of a whole frame.
    ///
    /// # Panics
    ///
    /// When `frame` is not [`frame_len`](Self::frame_len) bytes long.
    #[inline]
    pub(crate) fn check_body(self, frame: &[u8]) -> Result<(), FrameError> {
        let (head, payload) = frame.split_at(self.payload_start());
        let frame = self.frame;
        match frame {
            FrameType::Name => self.check_key(head)?,
            FrameType::Call if head[28..32] != [0; 4] => {
                let field = "reserved";
                return Err(FrameError::NotZero { frame, field });
            }
            _ => {}
        }
        if !padding_is_zero(payload, self.payload_here()) {
            let after = "payload";
            return Err(FrameError::Padding { frame, after });
        }
        Ok(())
    }

    /// The method in a checked frame, if it is a tell or call, else 0.
    #[inline(always)]
    pub(crate) fn method(self, frame: &[u8]) -> MethodId {
        let addressed = self.frame.is_addressed();
        MethodId(if addressed {
            u16_at(first(frame), 6)
        } else {
            0
        })
    }

    /// The number and the deadline in a checked frame, if it is a call.
    #[inline(always)]
    pub(crate) fn call(self, frame: &[u8]) -> Option<(u64, u32)> {
        (self.frame == FrameType::Call).then(|| {
            let rest = first(&frame[Header::LEN..]);
            (u64_at(rest, 0), u32_at(rest, 8))
        })
    }

    /// The header of a frame that was checked, but for the kind, which its grain knows.
    #[inline(always)]
    pub(crate) fn header(self, frame: &[u8]) -> Header {
        let bytes = first(frame);
        let mut header = Header::new(self.frame);
        match self.frame {
            FrameType::Tell | FrameType::Call => {
                header.hops = bytes[5];
                header.method = MethodId(u16_at(bytes, 6));
                header.epoch = Epoch(u32_at(bytes, 12));
            }
            FrameType::Reply => {
                let status = Status::from_u8(bytes[5]);
                header.status = status.expect("the status was checked with the header");
                header.number = u64_at(bytes, 8);
            }
            FrameType::Ack | FrameType::Full | FrameType::Room => {
                header.number = u64_at(bytes, 8);
            }
            FrameType::Hello | FrameType::Kinds | FrameType::Name => {}
        }
        if self.frame == FrameType::Call {
            let rest = first(&frame[Header::LEN..]);
            header.number = u64_at(rest, 0);
            header.deadline_us = u32_at(rest, 8);
        }
        header
    }

    /// The grain number in a checked frame, if it is a tell or call.
    #[inline(always)]
    pub(crate) fn grain(self, frame: &[u8]) -> Option<u32> {
        let addressed = self.frame.is_addressed();
        addressed.then(|| u32_at(first(frame), 8))
    }

    /// The grain number in a checked frame, if it is a name frame.
    pub(crate) fn named(self, frame: &[u8]) -> Option<u32> {
        self.is_name().then(|| u32_at(first(frame), 8))
    }

    /// The grain that the number in a checked name frame stands for.
    pub(crate) fn name(self, frame: &[u8]) -> (KindId, Key) {
        let kind = KindId(u32_at(first(frame), 12));
        let text = str::from_utf8(self.key_of(frame)).expect("the key was checked to be UTF-8");
        (kind, Key::from_checked(text))
    }

    fn check_key(self, head: &[u8]) -> Result<(), FrameError> {
        if !padding_is_zero(head, self.key.into()) {
            let (frame, after) = (self.frame, "key");
            return Err(FrameError::Padding { frame, after });
        }
        if str::from_utf8(self.key_of(head)).is_err() {
            return Err(FrameError::KeyNotUtf8);
        }
        Ok(())
    }

    fn key_of(self, frame: &[u8]) -> &[u8] {
        &frame[Header::LEN..Header::LEN + usize::from(self.key)]
    }

    fn payload_start(self) -> usize {
        self.frame.header_len() + padded(self.key.into())
    }

    /// How many bytes of payload are in the frame itself.
    fn payload_here(self) -> usize {
        if self.detached {
            0
        } else {
            self.payload as usize
        }
    }
}

/// Checks bytes 5 to 15: those that mean something, and that the others are zero.
#[inline(always)]
fn check_fields(
    frame: FrameType,
    bytes: &[u8; Header::LEN],
    bounds: Bounds,
) -> Result<(), FrameError> {
    let not_zero = |field| Err(FrameError::NotZero { frame, field });
    match frame {
        FrameType::Tell | FrameType::Call => check_number(frame, u32_at(bytes, 8), bounds),
        FrameType::Reply if Status::from_u8(bytes[5]).is_none() => {
            Err(FrameError::UnknownStatus { value: bytes[5] })
        }
        FrameType::Hello
        | FrameType::Kinds
        | FrameType::Ack
        | FrameType::Name
        | FrameType::Full
        | FrameType::Room
            if bytes[5] != 0 =>
        {
            not_zero("status")
        }
        FrameType::Name => {
            match u16_at(bytes, 6) {
                0 => return Err(FrameError::KeyMissing),
                len if usize::from(len) > Key::MAX_LEN => {
                    return Err(FrameError::KeyTooLong { len });
                }
                _ => {}
            }
            check_number(frame, u32_at(bytes, 8), bounds)
        }
        _ if u16_at(bytes, 6) != 0 => not_zero("method"),
        FrameType::Hello | FrameType::Kinds if u64_at(bytes, 8) != 0 => not_zero("number"),
        FrameType::Hello
        | FrameType::Kinds
        | FrameType::Ack
        | FrameType::Reply
        | FrameType::Full
        | FrameType::Room => Ok(()),
    }
}

#[inline(always)]
fn check_number(frame: FrameType, number: u32, bounds: Bounds) -> Result<(), FrameError> {
    let (limit, given) = (bounds.names_max, bounds.given);
    if number < given {
        Ok(())
    } else if number >= limit {
        Err(FrameError::NumberTooLarge {
            frame,
            number,
            limit,
        })
    } else if frame != FrameType::Name {
        Err(FrameError::NumberUnknown { frame, number })
    } else if number > given {
        let next = given;
        Err(FrameError::NumberSkipped { number, next })
    } else {
        Ok(())
    }
}

/// Whether everything after the first `len` bytes of the last unit is zero.
fn padding_is_zero(padded: &[u8], len: usize) -> bool {
    let used = len % UNIT;
    // One shift instead of a loop over at most 15 bytes, for every message.
    used == 0
        || padded
            .last_chunk::<UNIT>()
            .is_some_and(|unit| u128::from_le_bytes(*unit) >> (used * 8) == 0)
}

fn first(frame: &[u8]) -> &[u8; Header::LEN] {
    frame.first_chunk().expect("a checked frame has a header")
}

#[inline(always)]
fn u16_at(bytes: &[u8; Header::LEN], at: usize) -> u16 {
    u16::from_le_bytes(*bytes[at..].first_chunk().expect(WITHIN))
}

#[inline(always)]
fn u32_at(bytes: &[u8; Header::LEN], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect(WITHIN))
}

#[inline(always)]
fn u64_at(bytes: &[u8; Header::LEN], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect(WITHIN))
}

const WITHIN: &str = "fields lie within the header";
