//! Why a message was not handled: the one closed list.
//!
//! Every place that drops a message names its reason from here and counts it, so that at rest
//! `sent = handled + the sum over all reasons`, but for lossy tells that the network lost. The
//! list is deliberately not `#[non_exhaustive]`: whoever counts or reports must handle each reason.

use std::fmt;

/// Why a message (a tell, or a call on its way there) ended without having been handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// No member of the view, or not the node it reached, offers the kind.
    UnknownKind,
    /// The kind is there, but built from another contract.
    InterfaceMismatch,
    /// The payload is not a valid archive of the method's argument.
    Undecodable,
    /// The kind has no method of that number.
    UnknownMethod,
    /// Its deadline passed before the handler started.
    Expired,
    /// The mailbox of the activation was full.
    MailboxFull,
    /// The lane to the owner's shard was full, and more letters of peers waited for one than peers
    /// have links: only for a peer that makes and drops links for it.
    LaneFull,
    /// The link to the owner's node had too many bytes waiting.
    LinkBusy,
    /// No link to the owner's node could be made.
    NodeUnreachable,
    /// The link was given up after the message was accepted and before the peer acknowledged it.
    LinkLost,
    /// The owner's process was restarted before it acknowledged the message.
    TargetDied,
    /// The handler panicked; the message was started.
    HandlerPanicked,
    /// The grain could not be activated.
    ActivationFailed,
    /// The node is shutting down.
    ShuttingDown,
    /// It reached a shard that does not own the grain and may not pass it on again.
    NotOwner,
    /// It does not fit into a frame.
    TooLarge,
    /// There was no room for it, and its sender or its kind had said to drop it then.
    Shed,
    /// It was a lossy tell, and there was no room for it, or a newer one took its place.
    LossyNoRoom,
    /// It was a lossy tell, and there was no link to the owner's node that was up and takes such,
    /// or the link broke before it left.
    LossyNoLink,
}

impl Reason {
    /// Every reason, in the order of [`index`](Self::index).
    pub const ALL: [Self; 19] = [
        Self::UnknownKind,
        Self::InterfaceMismatch,
        Self::Undecodable,
        Self::UnknownMethod,
        Self::Expired,
        Self::MailboxFull,
        Self::LaneFull,
        Self::LinkBusy,
        Self::NodeUnreachable,
        Self::LinkLost,
        Self::TargetDied,
        Self::HandlerPanicked,
        Self::ActivationFailed,
        Self::ShuttingDown,
        Self::NotOwner,
        Self::TooLarge,
        Self::Shed,
        Self::LossyNoRoom,
        Self::LossyNoLink,
    ];

    /// A stable name for metrics and logs: lower-case words joined by `_`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownKind => "unknown_kind",
            Self::InterfaceMismatch => "interface_mismatch",
            Self::Undecodable => "undecodable",
            Self::UnknownMethod => "unknown_method",
            Self::Expired => "expired",
            Self::MailboxFull => "mailbox_full",
            Self::LaneFull => "lane_full",
            Self::LinkBusy => "link_busy",
            Self::NodeUnreachable => "node_unreachable",
            Self::LinkLost => "link_lost",
            Self::TargetDied => "target_died",
            Self::HandlerPanicked => "handler_panicked",
            Self::ActivationFailed => "activation_failed",
            Self::ShuttingDown => "shutting_down",
            Self::NotOwner => "not_owner",
            Self::TooLarge => "too_large",
            Self::Shed => "shed",
            Self::LossyNoRoom => "lossy_no_room",
            Self::LossyNoLink => "lossy_no_link",
        }
    }

    /// Its place in [`Reason::ALL`], for arrays of counters of that length.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// A reason that is added to the enum but not to the list would be counted outside of it.
const _: () = {
    let mut i = 0;
    while i < Reason::ALL.len() {
        assert!(
            Reason::ALL[i].index() == i,
            "Reason::ALL is not in the order of the enum"
        );
        i += 1;
    }
    assert!(
        Reason::LossyNoLink.index() + 1 == Reason::ALL.len(),
        "Reason::ALL is not complete"
    );
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for name in names {
            assert!(
                name.bytes()
                    .all(|byte| byte == b'_' || byte.is_ascii_lowercase()),
                "{name}"
            );
        }
        assert_eq!(Reason::LinkLost.to_string(), "link_lost");
    }
}
