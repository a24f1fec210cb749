//! One link: two counted sequences of frames, one in either direction, over one QUIC connection
//! after the other.
//!
//! `Handshaking -> Greeting -> Up`, and when the connection breaks, `Broken -> Handshaking` or
//! (where a peer dialled) `Broken -> Up`; from anywhere to `Ended`, from which nothing leads back.
//! Frames of the application pass in `Up` only, which is entered when the peer's hello was found
//! in order. `Ended` is entered exactly once, when `Down` is reported; what is left then is to
//! send the connection's last packets.

use std::{net::SocketAddr, time::Instant};

use quinn_proto::{Connection, ConnectionHandle, Dir, StreamId};
use rustls_pki_types::CertificateDer;
use teff_wire::{Hello, Incarnation, NodeId, ShardId};

use crate::{
    error::LinkError,
    event::LinkId,
    limits::ATTEMPT,
    link::{
        control::Control,
        greeting::Target,
        inbox::{Inbox, Pull},
        lossy::Lossy,
        outbox::Outbox,
        resumption::Resumption,
    },
    settings::Settings,
};

pub(crate) mod arriving;
pub(crate) mod control;
pub(crate) mod departing;
pub(crate) mod greeting;
pub(crate) mod inbox;
pub(crate) mod lossy;
pub(crate) mod outbox;
pub(crate) mod resumption;

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// TLS is not done.
    Handshaking,
    /// The certificates are good; hellos are on their way.
    Greeting,
    /// Frames come and go.
    Up,
    /// The link was up, and has no connection.
    Broken,
    /// `Down` was reported.
    Ended,
}

/// One link of an endpoint.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) connection: Connection,
    pub(crate) handle: ConnectionHandle,
    /// Whom this end dialled, and where; `None` at the acceptor.
    pub(crate) dialled: Option<Dialled>,
    /// The dialler's number for the link; 0 until the acceptor has read it.
    pub(crate) number: u64,
    pub(crate) phase: Phase,
    /// The stream that all data frames go through.
    pub(crate) stream: Option<StreamId>,
    pub(crate) control: Control,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) lossy: Lossy,
    /// When the link has to be up.
    pub(crate) hello_by: Instant,
    /// When anything at all has to have been heard.
    pub(crate) heard_by: Instant,
    /// Who is at the other end, once it is known.
    pub(crate) peer: Option<NodeId>,
    /// The shard at the other end, once it is known.
    pub(crate) peer_shard: Option<ShardId>,
    /// Which start of the peer it is, once the link was up.
    pub(crate) incarnation: Option<Incarnation>,
    /// The link was up, and is to be so again.
    pub(crate) resumption: Option<Resumption>,
    /// Which announcement of kinds the peer knows.
    pub(crate) kinds: u64,
    /// The connection is lost; what had arrived is still handed out.
    pub(crate) lost: Option<(LinkError, String)>,
    /// QUIC has forgotten the connection; its handle may be in use for another.
    pub(crate) drained: bool,
    /// Its frames are not to be handed out now.
    pub(crate) held: bool,
    /// Whether the link stands in the endpoint's queue of this name.
    pub(crate) queued: Queued,
}

/// Where a link leads that this end dialled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialled {
    pub(crate) target: Target,
    pub(crate) address: SocketAddr,
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
        dialled: Option<Dialled>,
        now: Instant,
        settings: &Settings,
    ) -> Self {
        let limits = settings.limits();
        Self {
            id,
            connection,
            handle,
            dialled,
            number: 0,
            phase: Phase::Handshaking,
            stream: None,
            control: Control::new(),
            outbox: Outbox::new(limits),
            inbox: Inbox::new(limits, settings.hash()),
            lossy: Lossy::new(limits.lossy),
            hello_by: now + limits.hello,
            heard_by: now + ATTEMPT,
            peer: dialled.map(|dialled| dialled.target.node),
            peer_shard: dialled.map(|dialled| dialled.target.shard),
            incarnation: None,
            resumption: None,
            kinds: 0,
            lost: None,
            drained: false,
            held: false,
            queued: Queued::default(),
        }
    }

    /// Whether the hellos are still to come.
    pub(crate) fn is_early(&self) -> bool {
        matches!(self.phase, Phase::Handshaking | Phase::Greeting)
    }

    /// Why there will be no more frames over this connection, once all whole ones are taken.
    pub(crate) fn broken(&self) -> Option<String> {
        let data = self.inbox.broken().map(|broken| broken.to_string());
        data.or_else(|| self.control.broken().map(|broken| broken.to_string()))
    }

    /// Whether it goes on with this peer, which dials it again.
    pub(crate) fn is_resumed_by(&self, hello: &Hello) -> bool {
        let same_peer = (self.peer, self.peer_shard) == (Some(hello.node), Some(hello.from_shard));
        same_peer
            && self.incarnation == Some(hello.incarnation)
            && self.dialled.is_none()
            && self.number == hello.link
            && matches!(self.phase, Phase::Up | Phase::Broken)
    }

    /// Whether it has frames to hand out that are to wait.
    pub(crate) fn is_held(&self) -> bool {
        self.held && matches!(self.phase, Phase::Up | Phase::Broken)
    }

    /// The connection is no more; what the link has to send and was sent stays.
    pub(crate) fn cut(&mut self) {
        self.phase = Phase::Broken;
        self.stream = None;
        self.lost = None;
        self.control = Control::new();
        self.outbox.shut();
        self.inbox.cut();
        self.lossy = self.lossy.anew();
    }

    /// Begins another attempt to come up again.
    pub(crate) fn restart(&mut self, connection: (ConnectionHandle, Connection), now: Instant) {
        (self.handle, self.connection) = connection;
        self.drained = false;
        self.phase = Phase::Handshaking;
        self.hello_by = now + ATTEMPT;
        self.heard_by = self.hello_by;
        if let Some(resumption) = &mut self.resumption {
            resumption.dial_at = None;
        }
    }

    /// Goes on over the connection of another, which has only just said hello.
    pub(crate) fn take_over(&mut self, other: Self) {
        self.handle = other.handle;
        self.connection = other.connection;
        self.stream = other.stream;
        self.control = other.control;
        self.lossy = other.lossy;
        self.drained = other.drained;
        self.lost = other.lost;
    }

    /// Whether the peer is too late with its first answer, or with its hello.
    pub(crate) fn is_late(&self, now: Instant) -> bool {
        let mute = self.heard_by <= now && !self.heard();
        self.is_early() && self.lost.is_none() && (mute || self.hello_by <= now)
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

    /// The peer opened streams: one for frames in both directions; then one for control and some
    /// for payloads. QUIC's limits refuse more.
    pub(crate) fn opened(&mut self) {
        if let Some(stream) = self.connection.streams().accept(Dir::Bi) {
            self.stream.get_or_insert(stream);
        }
        while let Some(stream) = self.connection.streams().accept(Dir::Uni) {
            match stream.index() {
                0 => self.control.opened(stream),
                _ => self.inbox.opened(stream),
            }
        }
    }

    /// Whether a stream that this end sends on has to stay open as long as the connection.
    pub(crate) fn needs(&self, stream: StreamId) -> bool {
        self.stream == Some(stream) || self.control.is_outbound(stream)
    }

    /// Reads a turn's worth of bytes.
    pub(crate) fn pull(&mut self) -> Pull {
        if self.phase == Phase::Up {
            let turn = self.inbox.turn();
            let control = self.control.pull(&mut self.connection, turn);
            if self.inbox.pull_payloads(&mut self.connection) || control {
                return Pull::Some;
            }
        }
        match self.stream {
            Some(stream) => self.inbox.pull(self.connection.recv_stream(stream)),
            None => Pull::Empty,
        }
    }

    /// Hands what waits to QUIC: an acknowledgement if one is due, then frames.
    pub(crate) fn hand_over(&mut self, now: Instant) {
        let Some(stream) = self.stream.filter(|_| self.phase != Phase::Ended) else {
            return;
        };
        if self.phase == Phase::Up {
            self.control.open(&mut self.connection);
            if let Some(taken_in) = self.inbox.ack(now)
                && self.control.acknowledge(taken_in)
            {
                self.inbox.acknowledged();
            }
            self.control.hand_over(&mut self.connection);
        }
        // A stream that takes nothing any more belongs to a connection that is lost or broken,
        // which comes to light by itself.
        let _ = self
            .outbox
            .hand_over(&mut self.connection.send_stream(stream));
        self.outbox.hand_over_payloads(&mut self.connection);
    }

    /// When something has to be done if nothing else happens.
    pub(crate) fn timeout(&mut self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Handshaking if !self.heard() => Some(self.hello_by.min(self.heard_by)),
            Phase::Handshaking | Phase::Greeting => Some(self.hello_by),
            // One that waits to be handed over is waited for by congestion control, not by time.
            Phase::Up if self.control.is_waiting() => None,
            Phase::Up => self.inbox.ack_due(),
            Phase::Broken => return self.resumption.as_ref().map(Resumption::due),
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
        self.inbox.clear();
    }
}
