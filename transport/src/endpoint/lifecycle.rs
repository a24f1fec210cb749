//! How links begin and end.
//!
//! Every link is reported as down exactly once, by `end`; its place is used again, under a new
//! generation, when QUIC has forgotten its connection as well. A panic while a link is handled
//! ends that link and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use quinn_proto::{Connection, ConnectionHandle, EndpointEvent};
use teff_wire::NodeId;

use super::{Endpoint, quic_code};
use crate::{
    error::{LinkError, Party},
    event::{Event, LinkId, Sent},
    link::{Dialled, Link, Phase, greeting::Refused},
};

impl Endpoint {
    pub(super) fn insert(
        &mut self,
        connection: (ConnectionHandle, Connection),
        dialled: Option<Dialled>,
    ) -> LinkId {
        let handle = connection.0;
        let id = self.next_id();
        let slot = self
            .links
            .insert(Link::new(id, connection, dialled, self.now, &self.settings));
        self.occupy(handle, slot);
        self.stir(slot);
        self.mark_dirty(slot);
        id
    }

    /// Notes which link a connection belongs to.
    pub(super) fn occupy(&mut self, handle: ConnectionHandle, slot: usize) {
        if self.slots.len() <= handle.0 {
            self.slots.resize(handle.0 + 1, None);
        }
        self.slots[handle.0] = u32::try_from(slot).ok();
    }

    fn next_id(&mut self) -> LinkId {
        let slot = self.links.vacant_key();
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, 0);
        }
        let generation = self.generations[slot];
        LinkId {
            slot: u32::try_from(slot).expect("links are limited to far fewer"),
            generation,
        }
    }

    /// An id for a link that ended before it began.
    pub(super) fn stillborn(&mut self, peer: NodeId, reason: LinkError) -> LinkId {
        let link = self.next_id();
        self.retire(link.slot as usize);
        self.count_down(&reason);
        if !reason.is_crossed() {
            tracing::warn!(node = %self.settings.local().node, %peer, "no link: {reason}");
        }
        self.events.push_back(Event::Down {
            link,
            peer: Some(peer),
            reason,
            sent: Sent::default(),
        });
        link
    }

    /// Makes ids of this place that are out there meaningless.
    pub(super) fn retire(&mut self, slot: usize) {
        self.generations[slot] = self.generations[slot].wrapping_add(1);
    }

    /// Runs one step for one link. A panic in it costs that link and nothing else.
    pub(super) fn guarded<T>(
        &mut self,
        slot: usize,
        step: impl FnOnce(&mut Self, usize) -> T,
    ) -> Option<T> {
        // A step touches one link and queues whose entries may be stale at any time. The link is
        // thrown away, so nobody sees a state that the panic left behind.
        match catch_unwind(AssertUnwindSafe(|| step(self, slot))) {
            Ok(result) => Some(result),
            Err(_) => {
                self.discard(slot);
                None
            }
        }
    }

    /// Throws a link away whose state cannot be trusted.
    fn discard(&mut self, slot: usize) {
        self.counters.panics += 1;
        if !self.links.contains(slot) {
            return;
        }
        if self.links[slot].phase != Phase::Ended {
            self.end(slot, LinkError::Internal, String::new());
        }
        let Some(link) = self.links.try_remove(slot) else {
            return;
        };
        self.retire(slot);
        if !link.drained {
            self.slots[link.handle.0] = None;
            let handle = link.handle;
            // QUIC's endpoint keeps its own state of the connection, which was not involved.
            self.quic.handle_event(handle, EndpointEvent::drained());
        }
        let _ = catch_unwind(AssertUnwindSafe(|| drop(link)));
    }

    /// Closes a link that this node does not want.
    pub(super) fn refuse(&mut self, slot: usize, Refused { refusal, detail }: Refused) {
        let code = quic_code(refusal.close_code());
        let reason = Bytes::copy_from_slice(detail.as_bytes());
        self.links[slot].connection.close(self.now, code, reason);
        self.end(
            slot,
            LinkError::Refused {
                by: Party::Here,
                refusal,
            },
            detail,
        );
    }

    /// Reports the end of a link. Its connection may have to say so to the peer still.
    pub(super) fn end(&mut self, slot: usize, reason: LinkError, detail: String) {
        let link = &mut self.links[slot];
        debug_assert_ne!(link.phase, Phase::Ended, "a link ends once");
        if link.is_early() && link.dialled.is_none() {
            self.admission.end(link.connection.remote_address().ip());
        }
        link.phase = Phase::Ended;
        self.give_up_lossy(slot);
        let link = &mut self.links[slot];
        let (id, peer, sent) = (link.id, link.peer, link.outbox.sent());
        self.counters.frames_out += link.outbox.count();
        link.clear();
        let remote = link.connection.remote_address();
        let node = self.settings.local().node;
        let shard = self.shard;
        let is_planned = matches!(reason, LinkError::Closed { .. }) || reason.is_crossed();
        if is_planned {
            tracing::debug!(%node, %shard, ?peer, %remote, "link closed: {reason}");
        } else {
            tracing::warn!(%node, %shard, ?peer, %remote, detail, "link down: {reason}");
        }
        self.count_down(&reason);
        self.events.push_back(Event::Down {
            link: id,
            peer,
            reason,
            sent,
        });
        self.mark_dirty(slot);
        self.free_if_over(slot);
    }

    /// Frees the place of a link that was reported as down and that QUIC has forgotten.
    pub(super) fn free_if_over(&mut self, slot: usize) {
        let link = &self.links[slot];
        if link.drained && link.phase == Phase::Ended {
            self.links.remove(slot);
            self.retire(slot);
        }
    }

    fn count_down(&mut self, reason: &LinkError) {
        self.counters.links_down += 1;
        if let LinkError::Refused { by, refusal } = reason {
            self.counters.refused.count(*by, *refusal);
        }
    }
}
