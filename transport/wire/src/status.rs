//! How a call ended, as a reply says it: one byte.
//!
//! The numbers are protocol and never change their meaning; a later minor version may add some,
//! and sends them only to peers that know them. What a status means for a caller (may the
//! handler have run? is a retry safe?) is decided above this crate.

use std::fmt;

/// The outcome that a reply frame carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The handler ran; the payload is its reply.
    #[default]
    Ok = 0,
    /// No such kind is registered at the node that was asked.
    UnknownKind = 1,
    /// The kind is known, but caller and grain were built from different contracts.
    InterfaceMismatch = 2,
    /// The arguments did not validate.
    Undecodable = 3,
    /// The deadline passed before the handler was started.
    Expired = 4,
    /// A bounded queue was full.
    Busy = 5,
    /// The node is shutting down and takes no new work.
    ShuttingDown = 6,
    /// The handler panicked; its activation is gone.
    Panicked = 7,
    /// The grain could not be activated.
    ActivationFailed = 8,
    /// The node that was asked does not own the grain.
    NotOwner = 9,
    /// The kind has no method of this number.
    UnknownMethod = 10,
    /// The handler ran, but its reply does not fit into a frame.
    ReplyTooLarge = 11,
}

impl Status {
    /// As it stands in a frame header.
    pub const fn to_u8(self) -> u8 {
        self as u8
    }

    /// The inverse of [`to_u8`](Self::to_u8); `None` for numbers that this version does not know.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Ok,
            1 => Self::UnknownKind,
            2 => Self::InterfaceMismatch,
            3 => Self::Undecodable,
            4 => Self::Expired,
            5 => Self::Busy,
            6 => Self::ShuttingDown,
            7 => Self::Panicked,
            8 => Self::ActivationFailed,
            9 => Self::NotOwner,
            10 => Self::UnknownMethod,
            11 => Self::ReplyTooLarge,
            _ => return None,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::UnknownKind => "unknown kind",
            Self::InterfaceMismatch => "interface mismatch",
            Self::Undecodable => "undecodable arguments",
            Self::Expired => "expired before it was started",
            Self::Busy => "busy",
            Self::ShuttingDown => "shutting down",
            Self::Panicked => "the handler panicked",
            Self::ActivationFailed => "activation failed",
            Self::NotOwner => "not the owner",
            Self::UnknownMethod => "unknown method",
            Self::ReplyTooLarge => "reply too large",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_numbers_0_to_11_are_a_status() {
        for value in 0..=u8::MAX {
            let status = Status::from_u8(value);
            assert_eq!(status.is_some(), value <= 11, "{value}");
            assert!(
                status.is_none_or(|status| status.to_u8() == value),
                "{value}"
            );
        }
    }
}
