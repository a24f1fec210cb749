//! The one place where a status on the wire, a reason for a dropped message and an error for a
//! caller are translated into each other.

use teff_contract::{CallError, Failure, Outcome, Payload, Refusal, Reply, TellError};
use teff_core::dead_letter::Reason;
use teff_wire::{Block, NodeId, Status};

use crate::envelope::Settled;

/// The outcome for the caller of a call that ended on this node.
pub(crate) fn outcome(settled: Settled, kind: &'static str, node: NodeId) -> Outcome {
    settled
        .map(Reply::Value)
        .map_err(|(status, text)| error(status, text, kind, node))
}

/// The outcome for the caller of a call that was answered by a peer.
pub(crate) fn outcome_of_frame(
    status: Status,
    payload: Block,
    kind: &'static str,
    node: NodeId,
) -> Outcome {
    match status {
        Status::Ok => Ok(Reply::Bytes(payload)),
        status => {
            let text = String::from_utf8_lossy(&payload).into_owned();
            Err(error(status, text, kind, node))
        }
    }
}

fn error(status: Status, text: String, kind: &'static str, node: NodeId) -> CallError {
    match status {
        Status::UnknownKind => Refusal::UnknownKind { kind, node }.into(),
        Status::InterfaceMismatch => Refusal::InterfaceMismatch { kind, node }.into(),
        Status::Undecodable => Refusal::Undecodable.into(),
        Status::UnknownMethod => Refusal::UnknownMethod.into(),
        Status::Expired => Refusal::Expired.into(),
        Status::Busy => Refusal::Busy.into(),
        Status::ShuttingDown => Refusal::ShuttingDown.into(),
        Status::ActivationFailed => Refusal::ActivationFailed(text).into(),
        Status::NotOwner => Refusal::NotOwner.into(),
        Status::Panicked => Failure::Panicked(text).into(),
        Status::ReplyTooLarge => Failure::ReplyTooLarge.into(),
        // A peer that calls success a failure has not told us what happened.
        Status::Ok => Failure::Undecodable.into(),
    }
}

/// Why a message that ended with this status was not handled; `None` when it was.
pub(crate) fn reason(settled: &Settled) -> Option<Reason> {
    match settled
        .as_ref()
        .map(|_: &Payload| ())
        .map_err(|(status, _)| status)
    {
        Ok(()) | Err(Status::Ok | Status::ReplyTooLarge) => None,
        Err(Status::UnknownKind) => Some(Reason::UnknownKind),
        Err(Status::InterfaceMismatch) => Some(Reason::InterfaceMismatch),
        Err(Status::Undecodable) => Some(Reason::Undecodable),
        Err(Status::UnknownMethod) => Some(Reason::UnknownMethod),
        Err(Status::Expired) => Some(Reason::Expired),
        Err(Status::Busy) => Some(Reason::MailboxFull),
        Err(Status::ShuttingDown) => Some(Reason::ShuttingDown),
        Err(Status::Panicked) => Some(Reason::HandlerPanicked),
        Err(Status::ActivationFailed) => Some(Reason::ActivationFailed),
        Err(Status::NotOwner) => Some(Reason::NotOwner),
    }
}

/// Why a message was dropped that could not be sent for this error.
pub(crate) fn reason_of(error: &TellError) -> Reason {
    match error {
        TellError::Busy => Reason::LinkBusy,
        TellError::TooLarge { .. } => Reason::TooLarge,
        TellError::Unplaced { .. } | TellError::UnknownKind { .. } => Reason::UnknownKind,
        TellError::InterfaceMismatch { .. } => Reason::InterfaceMismatch,
        TellError::NodeUnreachable { .. } => Reason::NodeUnreachable,
        // A key is checked before anything is sent.
        TellError::Key(_) | TellError::ShuttingDown | _ => Reason::ShuttingDown,
    }
}
