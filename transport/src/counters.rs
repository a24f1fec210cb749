//! What one endpoint has seen and done, as plain numbers.

use crate::error::{Party, Refusal};

/// Counts of one endpoint since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams received by this shard's socket, misrouted ones included.
    pub datagrams_in: u64,
    /// Bytes in them.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes in them.
    pub bytes_out: u64,
    /// Datagrams that the kernel refused to send (too large, unreachable, no memory).
    pub unsendable: u64,
    /// Datagrams received here that were for another shard.
    pub misrouted: u64,
    /// Datagrams that another shard received for this one.
    pub rerouted: u64,
    /// Datagrams that belong to no link and start none: garbage, or late.
    pub garbage: u64,
    /// Datagrams that were answered without keeping any state (address validation, version
    /// negotiation, stateless reset).
    pub answered: u64,
    /// Links that this endpoint dialled.
    pub dialled: u64,
    /// Handshakes that peers with a valid address began.
    pub accepted: u64,
    /// Links that came up.
    pub links_up: u64,
    /// Links whose connection broke, to be resumed.
    pub links_broken: u64,
    /// Links that were resumed.
    pub links_resumed: u64,
    /// Links that ended, those that never came up included.
    pub links_down: u64,
    /// Data frames accepted for sending, as of the last flush.
    pub frames_out: u64,
    /// Data frames taken in.
    pub frames_in: u64,
    /// Lossy tells that left in a packet, and those that were handed out. What is missing of the
    /// former at the peers was lost in the network, or there for want of room.
    pub lossy_out: u64,
    /// See [`lossy_out`](Self::lossy_out).
    pub lossy_in: u64,
    /// Panics in the handling of a link, each of which cost that link.
    pub panics: u64,
    /// Links that this node refused or that peers refused, by reason.
    pub refused: Refused,
}

/// Counts of refusals by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    here: [u64; Refusal::ALL.len()],
    peer: [u64; Refusal::ALL.len()],
}

impl Refused {
    /// How many links this node refused for this reason.
    pub fn here(&self, refusal: Refusal) -> u64 {
        self.here[refusal.index()]
    }

    /// How many links peers refused for this reason.
    pub fn by_peers(&self, refusal: Refusal) -> u64 {
        self.peer[refusal.index()]
    }

    pub(crate) fn count(&mut self, by: Party, refusal: Refusal) {
        match by {
            Party::Here => self.here[refusal.index()] += 1,
            Party::Peer => self.peer[refusal.index()] += 1,
        }
    }
}
