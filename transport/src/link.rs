//! One link: a QUIC connection with one stream, from the first packet to the last.
//!
//! `Handshaking -> Greeting -> Up -> Ended`, and from anywhere to `Ended`; nothing leads back.
//! Frames of the application pass in `Up` only, which is entered when the peer's hello was found
//! in order. `Ended` is entered exactly once, when `Down` is reported; what is left then is to
//! send the connection's last packets.

use std::time::Instant;

use quinn_proto::{Connection, ConnectionHandle, Dir, StreamId};
use rustls_pki_types::CertificateDer;
use teff_wire::{NodeId, ShardId};

use crate::{
    error::LinkError,
    event::LinkId,
    link::{
        greeting::Target,
        inbox::{Inbox, Pull},
        outbox::Outbox,
    },
    settings::Settings,
};

pub(crate) mod greeting;
pub(crate) mod inbox;
pub(crate) mod outbox;

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// TLS is not done.
    Handshaking,
    /// The certificates are good; hellos are on their way.
    Greeting,
    /// Frames come and go.
    Up,
    /// `Down` was reported.
    Ended,
}

/// One link of an endpoint.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) connection: Connection,
    pub(crate) handle: ConnectionHandle,
    /// Whom this end dialled; `None` at the acceptor.
    pub(crate) dialled: Option<Target>,
    pub(crate) phase: Phase,
    /// The stream that all frames go through.
    pub(crate) stream: Option<StreamId>,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    /// When the link has to be up.
    pub(crate) hello_by: Instant,
    /// Who is at the other end, once it is known.
    pub(crate) peer: Option<NodeId>,
    /// The shard at the other end, once it is known.
    pub(crate) peer_shard: Option<ShardId>,
    /// Which announcement of kinds the peer knows.
    pub(crate) kinds: u64,
    /// The connection is lost; what had arrived is still handed out.
    pub(crate) lost: Option<(LinkError, String)>,
    /// QUIC has forgotten the connection; its handle may be in use for another.
    pub(crate) drained: bool,
    /// Whether the link stands in the endpoint's queue of this name.
    pub(crate) queued: Queued,
}

/// In which of the endpoint's queues a link stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queued {
    /// QUIC may have something to say.
    pub(crate) stirred: bool,
    /// There may be frames.
    pub(crate) readable: bool,
    /// There may be something to send.
    pub(crate) dirty: bool,
}

impl Link {
    pub(crate) fn new(
        id: LinkId,
        (handle, connection): (ConnectionHandle, Connection),
        dialled: Option<Target>,
        now: Instant,
        settings: &Settings,
    ) -> Self {
        let limits = settings.limits();
        Self {
            id,
            connection,
            handle,
            dialled,
            phase: Phase::Handshaking,
            stream: None,
            outbox: Outbox::new(limits.max_payload, limits.outbound),
            inbox: Inbox::new(limits.max_payload),
            hello_by: now + limits.hello,
            peer: dialled.map(|target| target.node),
            peer_shard: dialled.map(|target| target.shard),
            kinds: 0,
            lost: None,
            drained: false,
            queued: Queued::default(),
        }
    }

    /// Whether the hellos are still to come.
    pub(crate) fn is_early(&self) -> bool {
        matches!(self.phase, Phase::Handshaking | Phase::Greeting)
    }

    /// Whether anything was ever received from the peer. A link that was accepted began with that.
    pub(crate) fn heard(&self) -> bool {
        self.dialled.is_none() || self.connection.stats().udp_rx.datagrams > 0
    }

    /// The certificates are good. The dialler opens the stream; the acceptor waits for it.
    pub(crate) fn connected(&mut self) {
        if self.phase == Phase::Handshaking {
            self.phase = Phase::Greeting;
            if self.dialled.is_some() {
                self.stream = self.connection.streams().open(Dir::Bi);
            }
        }
    }

    /// The peer opened a stream. Links have one; QUIC's limit refuses more.
    pub(crate) fn opened(&mut self) {
        if let Some(stream) = self.connection.streams().accept(Dir::Bi) {
            self.stream.get_or_insert(stream);
        }
    }

    /// Reads a turn's worth of bytes.
    pub(crate) fn pull(&mut self) -> Pull {
        match self.stream {
            Some(stream) => self.inbox.pull(self.connection.recv_stream(stream)),
            None => Pull::Empty,
        }
    }

    /// Hands waiting frames to QUIC, then an acknowledgement if one is due.
    pub(crate) fn hand_over(&mut self, now: Instant) {
        let Some(stream) = self.stream.filter(|_| self.phase != Phase::Ended) else {
            return;
        };
        if self.phase == Phase::Up
            && let Some(taken_in) = self.inbox.ack(now)
            && self.outbox.acknowledge(taken_in)
        {
            self.inbox.acknowledged();
        }
        // A stream that takes nothing any more belongs to a connection that is lost or broken,
        // which comes to light by itself.
        let _ = self
            .outbox
            .hand_over(&mut self.connection.send_stream(stream));
    }

    /// When something has to be done if nothing else happens.
    pub(crate) fn timeout(&mut self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Handshaking | Phase::Greeting => Some(self.hello_by),
            // One that waits to be handed over is waited for by congestion control, not by time.
            Phase::Up if self.outbox.ack_waits() => None,
            Phase::Up => self.inbox.ack_due(),
            Phase::Ended => None,
        };
        match (own, self.connection.poll_timeout()) {
            (Some(own), Some(quic)) => Some(own.min(quic)),
            (own, quic) => own.or(quic),
        }
    }

    /// The peer's own certificate.
    pub(crate) fn certificate(&self) -> Option<CertificateDer<'static>> {
        let identity = self.connection.crypto_session().peer_identity()?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        chain.into_iter().next()
    }

    /// Lets go of frames that nobody will ask for.
    pub(crate) fn clear(&mut self) {
        self.outbox.clear();
        self.inbox = Inbox::new(0);
    }
}
