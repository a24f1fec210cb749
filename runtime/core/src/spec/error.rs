//! What can be wrong with a cluster file, and where.

use std::fmt;

use teff_wire::{KindOffer, NodeId};

use super::CipherSuite;
use super::address::AddressError;
use crate::placement::Table;
use crate::view::Member;

/// Everything that is wrong with a cluster file, one problem a line. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct SpecErrors(Vec<SpecError>);

/// One problem of a cluster file.
#[derive(Clone, Debug, PartialEq)]
pub struct SpecError {
    /// Where: `nodes[2].address`, for example. Empty for the file as a whole.
    pub path: String,
    /// What.
    pub problem: Problem,
}

/// What can be wrong at one place of a cluster file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not JSON.
    #[error("this is not JSON: {0}")]
    Syntax(String),
    /// No such field.
    #[error("there is no such field, there are {}", known.join(", "))]
    UnknownField {
        /// The fields there are.
        known: &'static [&'static str],
    },
    /// Which of them should count?
    #[error("the field is given more than once")]
    RepeatedField,
    /// A required field.
    #[error("the field is missing, give {expected}")]
    MissingField {
        /// What to give.
        expected: &'static str,
    },
    /// A field of the wrong type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// An empty text or list where it cannot be meant.
    #[error("must not be empty{hint}")]
    Empty {
        /// What to do about it.
        hint: &'static str,
    },
    /// A number out of range.
    #[error("{found} is out of range, give a number from {min} to {max}")]
    OutOfRange {
        /// What is there.
        found: f64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// Not a weight.
    #[error(
        "{found} is not a weight, give 0 or a number from {} to {}",
        Member::MIN_WEIGHT,
        Member::MAX_WEIGHT
    )]
    BadWeight {
        /// What is there.
        found: f64,
    },
    /// Not the name of a cluster.
    #[error("{0:?} is not a cluster name, use 1 to 63 of a-z, 0-9 and, inside, -")]
    BadClusterName(String),
    /// Not `host:port`.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// An address that no peer could dial.
    #[error("{0} cannot be dialled, give the address where the other nodes reach this one")]
    NotDialable(String),
    /// The port could not be found by anybody.
    #[error("port 0 would be a different port at every start, give a fixed one")]
    NoFixedPort,
    /// Sending from elsewhere than listening.
    #[error(
        "a node sends from the socket it listens on, {listen}, and not from {local}; leave \
         local_address out, or make it the listen_address"
    )]
    OtherLocalAddress {
        /// Where the node listens.
        listen: String,
        /// Where it was to send from.
        local: String,
    },
    /// Must be unique and is not.
    #[error("the same as {other}, each must be different")]
    SameAs {
        /// Where the other one is.
        other: String,
    },
    /// A kind name that does not fit on the wire.
    #[error(
        "the name is {len} bytes long, at most {} are allowed",
        KindOffer::MAX_NAME_LEN
    )]
    NameTooLong {
        /// Its length.
        len: usize,
    },
    /// Two kind names with one id.
    #[error("{name:?} has the same id as the kind {other:?}, rename one of them")]
    KindCollision {
        /// The name here.
        name: String,
        /// The name elsewhere.
        other: String,
    },
    /// Nobody could own a grain.
    #[error("no node owns grains, give at least one of them a weight above 0")]
    NoOwner,
    /// More shards than there are partitions to own.
    #[error(
        "there are {shards} shards in all, at most {} can own grains",
        Table::MAX_OWNERS
    )]
    TooManyShards {
        /// All shards of nodes that own grains.
        shards: usize,
    },
    /// An unknown or forbidden cipher suite.
    #[error("{name:?} cannot be permitted, there are {}", suites())]
    IllegalCipher {
        /// What is there.
        name: String,
    },
    /// A path and the text itself.
    #[error("both {path} and {pem} are given, keep one of them")]
    PathAndPem {
        /// The one field.
        path: &'static str,
        /// The other.
        pem: &'static str,
    },
    /// Not PEM. What is there is not repeated, because it may be a secret.
    #[error("this is not PEM of a {label}; if it is the name of a file, use {path}")]
    NotPem {
        /// What it should contain.
        label: &'static str,
        /// The field for file names.
        path: &'static str,
    },
    /// A cluster of several nodes without what they show each other.
    #[error("several nodes must prove who they are, give {path} or {pem}")]
    MissingCredential {
        /// The one field.
        path: &'static str,
        /// The other.
        pem: &'static str,
    },
    /// Some of key, certificate and authority, but not all.
    #[error("key, certificate and cluster certificate belong together, give {path} or {pem} too")]
    IncompleteCredentials {
        /// The one field.
        path: &'static str,
        /// The other.
        pem: &'static str,
    },
    /// The node to be started is not in the file.
    #[error("node {id} is not listed, there are {}", list(listed))]
    UndefinedNode {
        /// The node.
        id: NodeId,
        /// The nodes there are.
        listed: Vec<NodeId>,
    },
    /// The name of a host leads nowhere.
    #[error("cannot resolve {address}: {reason}")]
    Unresolved {
        /// The address.
        address: String,
        /// What the resolver said.
        reason: String,
    },
}

impl SpecErrors {
    /// The problems, if there are any.
    pub(super) fn unless_empty(errors: Vec<SpecError>) -> Option<Self> {
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// Each problem, in the order of the file where that is possible. At least one.
    pub fn problems(&self) -> &[SpecError] {
        &self.0
    }
}

impl SpecError {
    pub(super) fn new(path: impl Into<String>, problem: impl Into<Problem>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for SpecErrors {}

impl std::error::Error for SpecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Its text is part of this one's.
        None
    }
}

fn suites() -> String {
    CipherSuite::ALL.map(CipherSuite::name).join(", ")
}

fn list(nodes: &[NodeId]) -> String {
    const SHOWN: usize = 16;
    let mut text: Vec<String> = nodes.iter().take(SHOWN).map(NodeId::to_string).collect();
    if nodes.len() > SHOWN {
        text.push(format!("{} more", nodes.len() - SHOWN));
    }
    text.join(", ")
}
