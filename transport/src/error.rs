//! Why links end and what peers refuse each other for.
//!
//! Every cause has a value of its own, and [`Party`] says who found it: a node learns both what it
//! holds against a peer and what a peer holds against it. The texts say what to do.

use std::fmt;

use teff_wire::CloseCode;

pub(crate) mod quic;

/// One of the two ends of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// This node.
    Here,
    /// The node at the other end.
    Peer,
}

/// Why a link ended, or never came up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nothing at all was heard from the address.
    #[error(
        "no answer from the address in time: is the node running, is UDP let through to its port?"
    )]
    Unreachable,
    /// The peer fell silent.
    #[error("the peer has been silent for too long: it died, hangs, or the network is cut")]
    TimedOut,
    /// The peer does not know this connection any more.
    #[error("the peer does not know this connection any more: its process was restarted")]
    Reset,
    /// The start of the peer that the link was with is no more.
    #[error("the peer's process was restarted: what it had not taken in is lost")]
    TargetDied,
    /// One party does not want to talk to the other.
    #[error("{}", refusal.text(*by))]
    Refused {
        /// Who refuses.
        by: Party,
        /// What for.
        refusal: Refusal,
    },
    /// One party ended the link as planned.
    #[error("{} closed the link: {code}", side(*by))]
    Closed {
        /// Who closed.
        by: Party,
        /// What for.
        code: CloseCode,
    },
    /// The peer closed the link with a code that this version does not know.
    #[error("the peer closed the link with the unknown code {code:#x}, it runs a later version")]
    UnknownCode {
        /// The code.
        code: u64,
    },
    /// Nobody can be reached at this address from this socket.
    #[error(
        "the address cannot be dialled: it needs a port, an address and the socket's address family"
    )]
    InvalidAddress,
    /// One party found the other's QUIC or TLS broken.
    #[error("{} found an error in the QUIC connection: {cause}", side(*by))]
    Quic {
        /// Who found it.
        by: Party,
        /// What QUIC says about it.
        cause: String,
    },
    /// The code that handled this link panicked. Other links are not affected.
    #[error("handling the link panicked, which is a bug in Teff or in quinn-proto: report it")]
    Internal,
}

impl LinkError {
    /// Whether the link went because another between the same two shards stays, which both nodes
    /// had dialled at once. That one is up, or about to be.
    pub fn is_crossed(&self) -> bool {
        let crossed = Refusal::Crossed;
        matches!(self, Self::Refused { refusal, .. } if *refusal == crossed)
    }
}

/// Why one node does not want a link with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The certificate was issued by an authority that is not trusted.
    WrongAuthority,
    /// The dialler showed no certificate.
    NoCertificate,
    /// The certificate is expired or not valid yet.
    CertificateExpired,
    /// The certificate cannot be used for another reason.
    BadCertificate,
    /// The certificate of the node that was reached names another node than the one dialled.
    WrongName,
    /// The other end of the connection is not a Teff node.
    NotTeff,
    /// No cipher suite is permitted by both nodes.
    CipherSuites,
    /// The major protocol versions differ.
    Version,
    /// The nodes belong to different clusters.
    Cluster,
    /// The certificate does not name the node that the hello claims.
    Identity,
    /// Not the node or shard that was dialled.
    WrongTarget,
    /// The members or the placement keys differ.
    Placement,
    /// The node is not a member.
    UnknownNode,
    /// The hello did not arrive in time.
    HelloTimeout,
    /// There already are as many links between these two shards as are of use, or as many links
    /// altogether as a shard may have.
    TooManyLinks,
    /// Too many handshakes are in progress, altogether or with the dialler's address.
    Busy,
    /// The dialler's address begins handshakes too fast. The dialler sees [`Busy`](Self::Busy).
    TooOften,
    /// A frame, or the order of frames, breaks the protocol.
    Malformed,
    /// The link to be resumed was with an earlier start of the node.
    Restarted,
    /// The link to be resumed was given up.
    Forgotten,
    /// Both nodes dialled each other between these two shards, and the other link stays.
    Crossed,
}

impl Refusal {
    /// All refusals, in the order of [`index`](Self::index).
    pub const ALL: [Self; 21] = [
        Self::WrongAuthority,
        Self::NoCertificate,
        Self::CertificateExpired,
        Self::BadCertificate,
        Self::WrongName,
        Self::NotTeff,
        Self::CipherSuites,
        Self::Version,
        Self::Cluster,
        Self::Identity,
        Self::WrongTarget,
        Self::Placement,
        Self::UnknownNode,
        Self::HelloTimeout,
        Self::TooManyLinks,
        Self::Busy,
        Self::TooOften,
        Self::Malformed,
        Self::Restarted,
        Self::Forgotten,
        Self::Crossed,
    ];

    /// The position in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The code by which the peer is told, for refusals after the TLS handshake.
    pub(crate) fn close_code(self) -> CloseCode {
        match self {
            Self::Version => CloseCode::Version,
            Self::Cluster => CloseCode::Cluster,
            Self::WrongTarget => CloseCode::WrongTarget,
            Self::Placement => CloseCode::Placement,
            Self::UnknownNode => CloseCode::UnknownNode,
            Self::HelloTimeout => CloseCode::HelloTimeout,
            Self::TooManyLinks | Self::Busy | Self::TooOften => CloseCode::TooManyLinks,
            Self::Malformed => CloseCode::Protocol,
            Self::Restarted => CloseCode::Restarted,
            Self::Forgotten => CloseCode::Forgotten,
            Self::Crossed => CloseCode::Crossed,
            Self::Identity
            | Self::WrongAuthority
            | Self::NoCertificate
            | Self::CertificateExpired
            | Self::BadCertificate
            | Self::WrongName
            | Self::NotTeff
            | Self::CipherSuites => CloseCode::Identity,
        }
    }

    fn text(self, by: Party) -> &'static str {
        match by {
            Party::Here => self.text_here(),
            Party::Peer => self.text_peer(),
        }
    }

    /// What this node holds against the peer.
    fn text_here(self) -> &'static str {
        match self {
            Self::WrongAuthority => {
                "the peer's certificate is not from an authority that this node trusts: issue it \
                 with the cluster's authority"
            }
            Self::NoCertificate => "the peer showed no certificate: give it one",
            Self::CertificateExpired => {
                "the peer's certificate is expired or not valid yet: renew it, check both clocks"
            }
            Self::BadCertificate => {
                "the peer's certificate cannot be used: issue it with `teff certs init`"
            }
            Self::WrongName => {
                "the peer's certificate names another node or cluster than the one dialled: \
                 check the address"
            }
            Self::NotTeff => "the peer is not a Teff node: check the address",
            Self::CipherSuites => "the peer permits no cipher suite that this node permits",
            Self::Version => "the peer speaks another protocol version: update the older node",
            Self::Cluster => "the peer belongs to another cluster: check addresses and names",
            Self::Identity => {
                "the peer claims to be a node that its certificate does not name: give it its own \
                 certificate"
            }
            Self::WrongTarget => {
                "the peer is not the node and shard that was dialled: check addresses and shards"
            }
            Self::Placement => {
                "the peer has other members or another placement key: give all nodes one \
                 specification and one secret"
            }
            Self::UnknownNode => "the peer is not a member of this cluster: add it first",
            Self::HelloTimeout => "the peer did not say hello in time: it hangs or is overloaded",
            Self::TooManyLinks => "there are already enough links with the peer's shard",
            Self::Busy => "too many handshakes are in progress: let the peer try again later",
            Self::TooOften => {
                "the peer's address begins too many handshakes per second: stop what dials from \
                 there, or raise `handshake_rate`"
            }
            Self::Malformed => "the peer broke the protocol: update the older node",
            Self::Restarted => "the peer resumes a link with an earlier start of this node",
            Self::Forgotten => "the peer resumes a link that this node has given up",
            Self::Crossed => "this node keeps the other link between these two shards",
        }
    }

    /// What the peer holds against this node.
    fn text_peer(self) -> &'static str {
        match self {
            Self::WrongAuthority => {
                "the peer does not trust the authority of this node's certificate: issue it with \
                 the cluster's authority"
            }
            Self::NoCertificate => "the peer wants a certificate: give this node one",
            Self::CertificateExpired => {
                "the peer says this node's certificate is expired or not valid yet: renew it, \
                 check both clocks"
            }
            Self::BadCertificate => {
                "the peer cannot use this node's certificate: issue it with `teff certs init`"
            }
            Self::WrongName => {
                "the peer dialled another node or cluster than this node's certificate names: \
                 check the address it has"
            }
            Self::NotTeff => "the peer does not speak Teff: check the address",
            Self::CipherSuites => "this node permits no cipher suite that the peer permits",
            Self::Version => "the peer needs another protocol version: update the older node",
            Self::Cluster => "the peer belongs to another cluster: check addresses and names",
            Self::Identity => {
                "the peer says this node's certificate does not name it: give it its own \
                 certificate"
            }
            Self::WrongTarget => {
                "the peer says it is not the node or shard that was dialled: check addresses and \
                 shards"
            }
            Self::Placement => {
                "the peer has other members or another placement key: give all nodes one \
                 specification and one secret"
            }
            Self::UnknownNode => "the peer does not know this node as a member: add it there",
            Self::HelloTimeout => "the peer got no hello from this node in time",
            Self::TooManyLinks => "the peer has enough links with this shard",
            Self::Busy => "the peer has too many handshakes in progress: try again later",
            Self::TooOften => "this node dials the peer too often: try again later",
            Self::Malformed => "the peer says this node broke the protocol: update the older node",
            Self::Restarted => "the peer was restarted: what it had not taken in is lost",
            Self::Forgotten => {
                "the peer has given the link up, which was broken for too long: what it had not \
                 taken in is lost"
            }
            Self::Crossed => "the peer keeps the link between these two shards that it dials",
        }
    }

    /// What a close code of the peer means, if it means a refusal.
    pub(crate) fn of_code(code: CloseCode) -> Option<Self> {
        Some(match code {
            CloseCode::Shutdown | CloseCode::Idle | CloseCode::Internal => return None,
            CloseCode::Protocol => Self::Malformed,
            CloseCode::Version => Self::Version,
            CloseCode::Cluster => Self::Cluster,
            CloseCode::Identity => Self::Identity,
            CloseCode::WrongTarget => Self::WrongTarget,
            CloseCode::Placement => Self::Placement,
            CloseCode::UnknownNode => Self::UnknownNode,
            CloseCode::HelloTimeout => Self::HelloTimeout,
            CloseCode::TooManyLinks => Self::TooManyLinks,
            CloseCode::Restarted => Self::Restarted,
            CloseCode::Forgotten => Self::Forgotten,
            CloseCode::Crossed => Self::Crossed,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text_here())
    }
}

/// Why a frame was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError<E> {
    /// The link has ended or never existed.
    #[error("the link is down")]
    Down,
    /// As many bytes wait on this link as may. There is room again once the peer takes some in.
    #[error("the link is busy: its outbound buffer is full")]
    Busy,
    /// The payload is longer than a frame may carry.
    #[error("the payload is {len} bytes long and {limit} are allowed, send less at a time")]
    TooLarge {
        /// Length of the payload in bytes.
        len: usize,
        /// The longest payload allowed, in bytes.
        limit: usize,
    },
    /// Serialising the payload failed.
    #[error("the payload could not be serialised")]
    Payload(#[source] E),
}

fn side(party: Party) -> &'static str {
    match party {
        Party::Here => "this node",
        Party::Peer => "the peer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_stands_at_its_index() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.index(), index);
        }
    }

    #[test]
    fn a_refusal_after_the_hello_survives_the_way_through_its_code() {
        for refusal in [
            Refusal::Version,
            Refusal::Cluster,
            Refusal::Identity,
            Refusal::WrongTarget,
            Refusal::Placement,
            Refusal::UnknownNode,
            Refusal::HelloTimeout,
            Refusal::TooManyLinks,
            Refusal::Malformed,
            Refusal::Restarted,
            Refusal::Forgotten,
            Refusal::Crossed,
        ] {
            assert_eq!(Refusal::of_code(refusal.close_code()), Some(refusal));
        }
    }

    #[test]
    fn the_two_parties_read_different_texts() {
        for refusal in [
            Refusal::WrongAuthority,
            Refusal::UnknownNode,
            Refusal::Malformed,
        ] {
            let [here, peer] =
                [Party::Here, Party::Peer].map(|by| LinkError::Refused { by, refusal }.to_string());
            assert_ne!(here, peer);
        }
    }
}
