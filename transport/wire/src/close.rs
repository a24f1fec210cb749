//! Why a link was closed on purpose: the application error code of a QUIC close.
//!
//! Below 0x10 a running link ended; from 0x10 on it never came up. The numbers are protocol and
//! never change their meaning. A code that this version does not know is not an error: the link
//! is closed either way.

use std::fmt;

/// The reason that one side gives for closing a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum CloseCode {
    /// The node is going down in good order.
    Shutdown = 0,
    /// The other side sent bytes that are no frame, or a frame out of turn.
    Protocol = 1,
    /// Nothing was to be said for a long time. The link comes back when it is needed.
    Idle = 2,
    /// The protocol's major versions differ.
    Version = 0x10,
    /// The names of the clusters differ.
    Cluster = 0x11,
    /// The certificate does not name the node that its holder claims to be.
    Identity = 0x12,
    /// The dialled address belongs to another node or shard than the one dialled.
    WrongTarget = 0x13,
    /// The members or the placement key differ: both sides would look for grains elsewhere.
    Placement = 0x14,
    /// The node that dialled is no member.
    UnknownNode = 0x15,
    /// The hello did not arrive in time.
    HelloTimeout = 0x16,
    /// The node has as many links as it allows.
    TooManyLinks = 0x17,
    /// The closing side is at fault.
    Internal = 0x18,
    /// The link that the dialler wants to resume was with an earlier start of this node.
    Restarted = 0x19,
    /// The link that the dialler wants to resume was given up by this node.
    Forgotten = 0x1a,
    /// Both nodes have dialled each other between the same two shards, and the other link stays:
    /// that of the node with the lower id.
    Crossed = 0x1b,
}

impl CloseCode {
    /// As QUIC carries it.
    pub const fn to_u32(self) -> u32 {
        self as u32
    }

    /// The inverse of [`to_u32`](Self::to_u32); `None` for codes that this version does not know.
    pub const fn from_u32(value: u32) -> Option<Self> {
        Some(match value {
            0 => Self::Shutdown,
            1 => Self::Protocol,
            2 => Self::Idle,
            0x10 => Self::Version,
            0x11 => Self::Cluster,
            0x12 => Self::Identity,
            0x13 => Self::WrongTarget,
            0x14 => Self::Placement,
            0x15 => Self::UnknownNode,
            0x16 => Self::HelloTimeout,
            0x17 => Self::TooManyLinks,
            0x18 => Self::Internal,
            0x19 => Self::Restarted,
            0x1a => Self::Forgotten,
            0x1b => Self::Crossed,
            _ => return None,
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shutdown => "shutting down",
            Self::Protocol => "protocol violation",
            Self::Idle => "idle",
            Self::Version => "incompatible protocol version",
            Self::Cluster => "another cluster",
            Self::Identity => "the certificate does not name the claimed node",
            Self::WrongTarget => "not the node or shard that was dialled",
            Self::Placement => "members or placement key differ",
            Self::UnknownNode => "not a member",
            Self::HelloTimeout => "the hello did not arrive in time",
            Self::TooManyLinks => "too many links",
            Self::Internal => "internal error",
            Self::Restarted => "the link was with an earlier start of the node",
            Self::Forgotten => "the link was given up",
            Self::Crossed => "the nodes dialled each other at the same time",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_way_through_a_number() {
        let known: Vec<u32> = (0..=0xffff)
            .filter(|&value| CloseCode::from_u32(value).is_some())
            .collect();
        assert_eq!(
            known,
            [
                0, 1, 2, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b
            ],
            "a close code appeared or vanished"
        );
        for value in known {
            assert_eq!(
                CloseCode::from_u32(value).map(CloseCode::to_u32),
                Some(value)
            );
        }
        assert_eq!(CloseCode::from_u32(u32::MAX), None);
    }
}
