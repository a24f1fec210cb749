//! What can go wrong with a call or a tell.
//!
//! A [`CallError`] answers one question first: did the handler run? [`Refused`](CallError::Refused)
//! says no, so the call may be repeated; [`Failed`](CallError::Failed) says yes;
//! [`Unknown`](CallError::Unknown) says that nobody here can tell.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use teff_wire::{KeyError, NodeId};

/// Why a call has no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The handler did not run: the call may safely be made again.
    #[error("refused, the handler did not run: {0}")]
    Refused(#[from] Refusal),
    /// The handler ran, and there is no usable reply.
    #[error("failed, the handler ran: {0}")]
    Failed(#[from] Failure),
    /// The handler may or may not have run, or may still.
    #[error("unknown, the handler may have run: {0}")]
    Unknown(#[from] Doubt),
}

/// Why a handler surely did not run.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The key cannot name a grain.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The node that the grain belongs to has no factory for its kind.
    #[error("node {node} has no kind {kind}, register it there with `.kind(..)`")]
    UnknownKind {
        /// Name of the kind.
        kind: &'static str,
        /// The grain's node.
        node: NodeId,
    },
    /// The two builds have different contracts under one name.
    #[error("node {node} has another contract under the name {kind}, build both from the same one")]
    InterfaceMismatch {
        /// Name of the kind.
        kind: &'static str,
        /// The grain's node.
        node: NodeId,
    },
    /// No member of the cluster offers the kind.
    #[error("no member of the cluster offers the kind {kind}")]
    Unplaced {
        /// Name of the kind.
        kind: &'static str,
    },
    /// There is no link to the grain's node, and none could be made.
    #[error("node {node} cannot be reached: {reason}")]
    NodeUnreachable {
        /// The grain's node.
        node: NodeId,
        /// What became of the attempt.
        reason: LinkReason,
    },
    /// The arguments did not arrive as a valid message.
    #[error("the grain's node could not decode the arguments")]
    Undecodable,
    /// The contract has no such method.
    #[error("the grain has no such method")]
    UnknownMethod,
    /// The deadline was over before the handler could start.
    #[error("the deadline was over before the handler could start")]
    Expired,
    /// A queue on the way is full.
    #[error("a queue on the way to the grain is full, try again later or slow down")]
    Busy,
    /// The arguments are larger than a frame may be.
    #[error("the arguments take {len} bytes, a message has at most {limit}")]
    TooLarge {
        /// Encoded size in bytes.
        len: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// The node is stopping.
    #[error("the node is shutting down")]
    ShuttingDown,
    /// `.wait()` on a shard's own thread would stop the shard.
    #[error("`.wait()` inside a handler would stop its shard, use `.await`")]
    WouldBlockShard,
    /// The factory of the kind panicked.
    #[error("the grain could not be activated: {0}")]
    ActivationFailed(String),
    /// The grain belongs to another node by now.
    #[error("the grain has moved to another node")]
    NotOwner,
}

/// What went wrong after or while the handler ran.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The handler panicked; its activation is gone, the next message makes a new one.
    #[error("the handler panicked: {0}")]
    Panicked(String),
    /// The handler answered, but the reply did not arrive as a valid message.
    #[error("the reply cannot be decoded")]
    Undecodable,
    /// The handler answered, but the reply is larger than a frame may be.
    #[error("the reply is larger than a message may be")]
    ReplyTooLarge,
}

/// Why nobody here knows whether the handler ran.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Doubt {
    /// No reply in time.
    #[error("no reply within {0:?}")]
    Timeout(Duration),
    /// The link broke while the call was on its way or being handled.
    #[error("the link to node {node} broke: {reason}")]
    LinkLost {
        /// The grain's node.
        node: NodeId,
        /// What became of the link.
        reason: LinkReason,
    },
    /// This node stopped before the reply came.
    #[error("this node stopped before the reply came")]
    NodeStopped,
}

/// Why a tell was not accepted. The message was not sent; nothing will be handled.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TellError {
    /// The key cannot name a grain.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A queue on the way is full.
    #[error("a queue on the way to the grain is full, use `.when_room()` to wait")]
    Busy,
    /// The arguments are larger than a frame may be, or, in a lossy tell, a datagram.
    #[error("the arguments take {len} bytes, a message has at most {limit}")]
    TooLarge {
        /// Encoded size in bytes.
        len: usize,
        /// The largest allowed.
        limit: usize,
    },
    /// No member of the cluster offers the kind.
    #[error("no member of the cluster offers the kind {kind}")]
    Unplaced {
        /// Name of the kind.
        kind: &'static str,
    },
    /// The two builds have different contracts under one name.
    #[error("node {node} has another contract under the name {kind}, build both from the same one")]
    InterfaceMismatch {
        /// Name of the kind.
        kind: &'static str,
        /// The grain's node.
        node: NodeId,
    },
    /// The grain's node has no factory for its kind.
    #[error("node {node} has no kind {kind}, register it there with `.kind(..)`")]
    UnknownKind {
        /// Name of the kind.
        kind: &'static str,
        /// The grain's node.
        node: NodeId,
    },
    /// There is no link to the grain's node, and the last attempt to make one is too recent.
    #[error("node {node} cannot be reached: {reason}")]
    NodeUnreachable {
        /// The grain's node.
        node: NodeId,
        /// What became of the last attempt.
        reason: LinkReason,
    },
    /// The node is stopping.
    #[error("the node is shutting down")]
    ShuttingDown,
}

/// Why a link could not be made or broke: the transport's own error, kept typed.
#[derive(Clone)]
pub struct LinkReason(Arc<dyn Error + Send + Sync>);

impl LinkReason {
    /// Keeps an error of the transport.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// The error, if it is an `E`.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl CallError {
    /// Whether the handler surely did not run, so that the call may be made again.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    /// What the transport said, where a link was the cause.
    pub fn link_reason(&self) -> Option<&LinkReason> {
        match self {
            Self::Refused(Refusal::NodeUnreachable { reason, .. })
            | Self::Unknown(Doubt::LinkLost { reason, .. }) => Some(reason),
            _ => None,
        }
    }
}

impl From<TellError> for CallError {
    fn from(error: TellError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<TellError> for Refusal {
    fn from(error: TellError) -> Self {
        match error {
            TellError::Key(error) => Self::Key(error),
            TellError::Busy => Self::Busy,
            TellError::TooLarge { len, limit } => Self::TooLarge { len, limit },
            TellError::Unplaced { kind } => Self::Unplaced { kind },
            TellError::InterfaceMismatch { kind, node } => Self::InterfaceMismatch { kind, node },
            TellError::UnknownKind { kind, node } => Self::UnknownKind { kind, node },
            TellError::NodeUnreachable { node, reason } => Self::NodeUnreachable { node, reason },
            TellError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

impl fmt::Debug for LinkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for LinkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
