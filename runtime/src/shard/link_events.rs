//! What links report: replies, links that come up and break, and what waited for them.

use std::time::Instant;

use teff_contract::{Refusal, TellError};
use teff_core::dead_letter::Reason;
use teff_core::hash::GrainHash;
use teff_core::time::Micros;
use teff_transport::{Event, Fate, LinkError, LinkId, Sent};
use teff_wire::{Block, CallId, Header, NodeId};

use crate::envelope::Envelope;
use crate::panics::drop_quietly;
use crate::shard::Shard;
use crate::shard::links::Parcel;

impl Shard {
    pub(super) fn take_reply(&self, link: LinkId, header: &Header, payload: Block) {
        let peer = self
            .links
            .borrow()
            .as_ref()
            .and_then(|links| links.peer(link));
        if let Some(node) = peer {
            let call = CallId::from_u64(header.number);
            self.complete_remote(call, (link, node), header.status, payload);
        }
    }

    pub(super) fn take_event(&self, event: Event) {
        match event {
            Event::Up { link, hello, .. } => {
                let now = Instant::now();
                if let Some(links) = self.links.borrow_mut().as_mut() {
                    links.up(link, &hello, now);
                    self.counters().links.set(links.count() as u64);
                }
                self.pump_links();
            }
            Event::Resumed { link } => {
                if let Some(links) = self.links.borrow_mut().as_mut() {
                    links.resumed(link);
                }
            }
            Event::Pressure { link, hash, full } => {
                if let Some(links) = self.links.borrow_mut().as_mut() {
                    links.learn_pressure(link, GrainHash(hash), full);
                }
            }
            Event::Kinds { link, kinds } => {
                if let Some(links) = self.links.borrow_mut().as_mut() {
                    links.learn_kinds(link, &kinds);
                }
            }
            Event::Down {
                link,
                peer,
                reason,
                sent,
            } => self.link_down(link, peer, &reason, sent),
            Event::Misrouted { shard, datagram } => {
                self.counters().misrouted.add(1);
                // Without room it is lost, as datagrams may be: its sender sends it again.
                drop(self.try_push(shard, Envelope::Datagram(Box::new(datagram))));
            }
            // The transport may learn to tell more; what it tells now is all above.
            _ => {}
        }
    }

    // Counted from now: the turn may have begun a while ago.
    pub(super) fn deadline_from(&self, left_us: u32) -> Micros {
        match left_us {
            0 => Micros::NEVER,
            left => Micros::from_wire(left, self.node.micros(Instant::now())),
        }
    }

    pub(crate) fn link_down(
        &self,
        link: LinkId,
        peer: Option<NodeId>,
        reason: &LinkError,
        sent: Sent,
    ) {
        let wreck = match self.links.borrow_mut().as_mut() {
            Some(links) => {
                let wreck = links.down(link, reason, sent, self.now.get());
                self.counters().links.set(links.count() as u64);
                wreck
            }
            None => return,
        };
        self.counters().frames_unsent.add(sent.unsent());
        self.counters().frames_doubtful.add(sent.doubtful());
        self.counters()
            .replies_dropped
            .add(wreck.answers.len() as u64);
        drop_quietly(wreck.answers);
        for (kind, fate) in wreck.letters {
            let reason = match (fate, reason) {
                (Fate::Delivered, _) => continue,
                (_, LinkError::TargetDied) => Reason::TargetDied,
                (Fate::Doubtful, _) => Reason::LinkLost,
                (Fate::Unsent, _) => Reason::NodeUnreachable,
            };
            self.kinds.borrow().cell_or_unknown(kind).drop_for(reason);
        }
        if let Some(node) = peer {
            self.fail_calls_via(link, sent, node, &wreck.reason);
            for parcel in wreck.parcels {
                let reason = wreck.reason.clone();
                self.undeliverable(parcel, TellError::NodeUnreachable { node, reason });
            }
        }
    }

    /// Sends what waited for a link or for room on it.
    pub(crate) fn pump_links(&self) {
        if self.links.borrow().is_none() {
            return;
        }
        let now = Instant::now();
        let now = (now, self.node.micros(now));
        let pumped = self
            .links
            .borrow_mut()
            .as_mut()
            .map(|links| links.pump(now));
        let Some(pumped) = pumped else { return };
        drop_quietly(pumped.answers);
        for (parcel, link, number) in pumped.sent {
            if let Some(call) = parcel.call {
                self.note_via(call, link, number);
            }
            drop_quietly(parcel);
        }
        for parcel in pumped.expired {
            self.expire_parcel(parcel);
        }
        for (parcel, error) in pumped.refused {
            self.undeliverable(parcel, error);
        }
    }

    // Its call has ended or is about to: nobody waits for what it would do.
    fn expire_parcel(&self, parcel: Parcel) {
        self.drop_for(&parcel.target, Reason::Expired);
        if let Some(call) = parcel.call {
            self.refuse_call(call, Refusal::Expired);
        }
        drop_quietly(parcel);
    }
}
