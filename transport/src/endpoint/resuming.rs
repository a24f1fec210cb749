//! How a link goes on when its connection breaks.
//!
//! Both ends keep what the other has not taken in. The end that dialled dials again, and both say
//! in their hellos how much they have taken in; what lies behind that is sent again, and nothing
//! else, so that nothing is lost and nothing comes twice. A link is given up when the peer has
//! another incarnation or has given it up, when it refuses, or when time is over.

use std::{mem, time::Instant};

use quinn_proto::EndpointEvent;
use teff_wire::{Hello, Incarnation, NodeId};

use super::Endpoint;
use crate::{
    error::{LinkError, Refusal},
    event::Event,
    link::{Phase, greeting::Refused, resumption::Resumption},
    name::node_name,
};

impl Endpoint {
    /// Breaks the connections of all links that are up, without a word to the peers: what a crash
    /// of a router, or of a peer's machine, does.
    #[doc(hidden)]
    pub fn break_connections(&mut self, now: Instant) {
        self.advance_clock(now);
        for slot in self.places() {
            if self
                .links
                .get(slot)
                .is_some_and(|link| link.phase == Phase::Up)
            {
                self.guarded(slot, |this, slot| {
                    this.lose(slot, LinkError::Reset, "broken by a test".to_owned());
                });
            }
        }
    }

    /// The connection of a link is lost: the link is to be resumed, or it ends.
    pub(super) fn lose(&mut self, slot: usize, reason: LinkError, detail: String) {
        let (now, patience) = (self.now, self.settings.limits().resume);
        let link = &mut self.links[slot];
        let was_up = link.phase == Phase::Up || link.resumption.is_some();
        if !was_up || !is_passing(&reason) || self.closing {
            return self.end(slot, reason, detail);
        }
        if link.resumption.is_none() {
            tracing::info!(
                node = %self.settings.local().node,
                shard = %self.shard,
                peer = ?link.peer,
                detail,
                "link broken, to be resumed: {reason}"
            );
            self.counters.links_broken += 1;
        }
        self.forget_connection(slot);
        self.give_up_lossy(slot);
        let link = &mut self.links[slot];
        link.cut();
        let resumption = link
            .resumption
            .get_or_insert_with(|| Resumption::new(reason, detail, now + patience));
        if link.dialled.is_some() {
            resumption.plan(now);
        }
        let due = resumption.due();
        self.wake_at(Some(due));
    }

    /// Makes QUIC forget the connection of a link at once. Packets that still come for it are
    /// answered with a reset, which tells the peer.
    fn forget_connection(&mut self, slot: usize) {
        let link = &mut self.links[slot];
        if !mem::replace(&mut link.drained, true) {
            let handle = link.handle;
            self.slots[handle.0] = None;
            self.quic.handle_event(handle, EndpointEvent::drained());
        }
    }

    /// Does what is due for a link without a connection.
    pub(super) fn handle_broken(&mut self, now: Instant, slot: usize) {
        let Some(resumption) = &mut self.links[slot].resumption else {
            return;
        };
        if resumption.until <= now {
            let reason = resumption.reason.clone();
            let detail = mem::take(&mut resumption.detail);
            return self.end(slot, reason, detail);
        }
        if resumption.dial_at.is_some_and(|at| at <= now) {
            self.redial(now, slot);
        }
    }

    fn redial(&mut self, now: Instant, slot: usize) {
        let Some(dialled) = self.links[slot].dialled else {
            return;
        };
        let target = dialled.target;
        let config = self
            .settings
            .client(target.shard, self.dialling.to(dialled.address));
        let name = node_name(&self.settings.local().cluster, target.node);
        match self.quic.connect(now, config, dialled.address, &name) {
            Ok(connection) => {
                self.occupy(connection.0, slot);
                self.links[slot].restart(connection, now);
                self.say_hello(slot, target.shard);
                self.stir(slot);
                self.mark_dirty(slot);
            }
            // It worked before, so this passes: no room among the connections, say.
            Err(error) => self.lose(slot, LinkError::Unreachable, error.to_string()),
        }
    }

    /// A peer wants to resume a link: finds it, and gives it the connection of the link in `slot`,
    /// which is no more.
    pub(super) fn adopt(&mut self, slot: usize, hello: &Hello) -> Result<(), Refused> {
        if hello.resumes != self.settings.local().incarnation {
            return Err(Refused {
                refusal: Refusal::Restarted,
                detail: "the link was with an earlier start of this node".to_owned(),
            });
        }
        if self.closing {
            return Err(Refused {
                refusal: Refusal::Busy,
                detail: "this node is going down".to_owned(),
            });
        }
        if self.links[slot].inbox.goes_on() {
            return Err(Refused {
                refusal: Refusal::Malformed,
                detail: "frames came before this node said hello".to_owned(),
            });
        }
        let found = self
            .links
            .iter()
            .find(|(_, link)| link.is_resumed_by(hello))
            .map(|(found, _)| found);
        let Some(found) = found else {
            return Err(Refused {
                refusal: Refusal::Forgotten,
                detail: "this node has given the link up".to_owned(),
            });
        };
        if self.links[found].phase == Phase::Up {
            self.lose(
                found,
                LinkError::Reset,
                "the peer dials it again".to_owned(),
            );
        }
        let other = self.links.remove(slot);
        self.retire(slot);
        self.admission.end(other.connection.remote_address().ip());
        self.occupy(other.handle, found);
        self.links[found].take_over(other);
        if let Err(refused) = self.resume(found, hello) {
            self.refuse(found, refused);
        }
        Ok(())
    }

    /// The peer has said hello over the new connection of a link: it goes on.
    pub(super) fn resume(&mut self, slot: usize, hello: &Hello) -> Result<(), Refused> {
        let link = &mut self.links[slot];
        if !link.outbox.rewind(hello.taken_in) {
            return Err(Refused {
                refusal: Refusal::Malformed,
                detail: format!("{} frames cannot have been taken in", hello.taken_in),
            });
        }
        let (id, dialled) = (link.id, link.dialled.is_some());
        if !dialled {
            self.say_hello(slot, hello.from_shard);
        }
        let link = &mut self.links[slot];
        link.resumption = None;
        link.phase = Phase::Up;
        link.outbox.open();
        if link.kinds != self.announced {
            self.tell_kinds(slot);
        }
        self.counters.links_resumed += 1;
        tracing::info!(
            node = %self.settings.local().node,
            shard = %self.shard,
            peer = %hello.node,
            peer_shard = %hello.from_shard,
            dialled,
            "link resumed"
        );
        self.stir(slot);
        self.mark_dirty(slot);
        self.mark_readable(slot);
        self.events.push_back(Event::Resumed { link: id });
        self.events.push_back(Event::Kinds {
            link: id,
            kinds: hello.kinds.clone(),
        });
        Ok(())
    }

    /// Ends the links with earlier starts of a node: what they wait for will never come.
    pub(super) fn end_earlier(&mut self, node: NodeId, incarnation: Incarnation) {
        for slot in self.places() {
            let is_earlier = self.links.get(slot).is_some_and(|link| {
                link.peer == Some(node)
                    && link.incarnation.is_some_and(|theirs| theirs != incarnation)
                    && link.phase != Phase::Ended
            });
            if is_earlier {
                self.forget_connection(slot);
                self.end(slot, LinkError::TargetDied, String::new());
            }
        }
    }
}

/// Whether the link may work again over another connection.
fn is_passing(reason: &LinkError) -> bool {
    match reason {
        LinkError::Unreachable
        | LinkError::TimedOut
        | LinkError::Reset
        | LinkError::Quic { .. } => true,
        // What stands in its way may have passed by the next attempt.
        LinkError::Refused { refusal, .. } => {
            matches!(
                refusal,
                Refusal::Busy | Refusal::TooOften | Refusal::TooManyLinks | Refusal::HelloTimeout
            )
        }
        LinkError::Closed { .. }
        | LinkError::TargetDied
        | LinkError::UnknownCode { .. }
        | LinkError::InvalidAddress
        | LinkError::Internal => false,
    }
}
