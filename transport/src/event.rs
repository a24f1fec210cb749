//! What an endpoint tells its shard, and the values in it.
//!
//! Per link the order is: `Up`, then any number of `Frame`, `Lossy` and `Kinds`, then one `Down`.
//! A link that never came up has only its `Down`.

use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use quinn_proto::EcnCodepoint;
use teff_wire::{Frame, Hello, KindId, KindOffer, NodeId, ShardId};

use crate::error::LinkError;

/// A link of one endpoint. Once the link is gone its id means nothing, for ever: the place may be
/// used again, but under another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl LinkId {
    /// A small number that no other link of the endpoint has as long as this one lives, for tables
    /// of links. It is given to another afterwards: compare the ids.
    pub fn place(self) -> usize {
        self.slot as usize
    }
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Both hellos are in order: frames may come and go.
    Up {
        /// The link.
        link: LinkId,
        /// What the peer says of itself, checked against its certificate and the settings.
        hello: Hello,
        /// Whether this endpoint dialled.
        dialled: bool,
    },
    /// A data frame (tell, call, reply). Taking this event is what acknowledges it.
    Frame {
        /// The link that it came on.
        link: LinkId,
        /// The frame.
        frame: Frame,
    },
    /// A tell that may have got lost, and may have overtaken frames or been overtaken by them. It
    /// is not acknowledged and has no number.
    Lossy {
        /// The link that it came on.
        link: LinkId,
        /// The tell, as if it had come in a frame.
        frame: Frame,
    },
    /// The connection of a link broke, and the link goes on over another. What the peer said of its
    /// mailboxes is void.
    Resumed {
        /// The link.
        link: LinkId,
    },
    /// The peer says of the mailbox of one of its grains that it is full, or has room again.
    Pressure {
        /// The link.
        link: LinkId,
        /// The placement hash of the grain.
        hash: u64,
        /// Whether it is full.
        full: bool,
    },
    /// The kinds that the peer offers from here on, all of them.
    Kinds {
        /// The link.
        link: LinkId,
        /// The peer's kinds.
        kinds: Vec<KindOffer>,
    },
    /// The link has ended. Every frame that arrived whole came before this.
    Down {
        /// The link.
        link: LinkId,
        /// Whose link it was: the node that was dialled, or that said hello. `None` when a dialler
        /// did not get that far.
        peer: Option<NodeId>,
        /// Why.
        reason: LinkError,
        /// What became of the data frames that were sent on it.
        sent: Sent,
    },
    /// A datagram for another shard of this node. Bring it there, to
    /// [`Endpoint::handle_datagram`](crate::Endpoint::handle_datagram).
    Misrouted {
        /// The shard that it is for, less than the node's number of shards.
        shard: ShardId,
        /// The datagram.
        datagram: Datagram,
    },
}

/// How far the data frames got that were sent on a link. Counts from the start of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many were accepted by `send`.
    pub written: u64,
    /// Of these, how many were handed to QUIC, whole or in part.
    pub handed: u64,
    /// Of these, how many the peer has acknowledged.
    pub acknowledged: u64,
}

/// What became of one data frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The peer's shard took it in.
    Delivered,
    /// It was on its way. The peer may have taken it in or not.
    Doubtful,
    /// It never left this node.
    Unsent,
}

impl Sent {
    /// How many data frames surely were not delivered.
    pub fn unsent(&self) -> u64 {
        self.written - self.handed
    }

    /// How many data frames may or may not have been delivered.
    pub fn doubtful(&self) -> u64 {
        self.handed - self.acknowledged
    }

    /// What became of the data frame with this number, as `send` returned it.
    pub fn fate(&self, number: u64) -> Fate {
        if number < self.acknowledged {
            Fate::Delivered
        } else if number < self.handed {
            Fate::Doubtful
        } else {
            Fate::Unsent
        }
    }
}

/// Lossy tells that this node has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What kind they were for; `None` for those that came in and were never read.
    pub kind: Option<KindId>,
    /// Why.
    pub cause: LossCause,
    /// How many.
    pub count: u64,
}

/// Why lossy tells were lost that a link had accepted, or that had come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// Newer ones took their place: at the sender before they left, or at the receiver before they
    /// were asked for.
    NoRoom,
    /// The connection that they waited on is over.
    NoLink,
    /// The path has become too narrow for them.
    TooLarge,
}

/// A datagram as it was received, on its way to the shard that it is for.
#[derive(Debug)]
pub struct Datagram {
    pub(crate) remote: SocketAddr,
    pub(crate) local_ip: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) bytes: BytesMut,
}

impl Datagram {
    /// A datagram that was received elsewhere.
    pub fn new(remote: SocketAddr, bytes: &[u8]) -> Self {
        Self {
            remote,
            local_ip: None,
            ecn: None,
            bytes: BytesMut::from(bytes),
        }
    }

    /// Who sent it, as far as UDP knows.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Its payload.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_has_one_fate() {
        let sent = Sent {
            written: 9,
            handed: 7,
            acknowledged: 4,
        };
        let fates: Vec<_> = (0..9).map(|number| sent.fate(number)).collect();
        let count = |fate| fates.iter().filter(|f| **f == fate).count() as u64;
        assert_eq!(count(Fate::Delivered), sent.acknowledged);
        assert_eq!(count(Fate::Doubtful), sent.doubtful());
        assert_eq!(count(Fate::Unsent), sent.unsent());
    }

    #[test]
    fn a_datagram_can_cross_threads() {
        fn is_send<T: Send>() {}
        is_send::<Datagram>();
        is_send::<Event>();
    }
}
