//! One QUIC connection through the relay: the socket that stands for its dialler, what the relay
//! has learnt of its ids, and whether it has been cut.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use crate::relay::headers::Header;
use crate::relay::weather::Stream;

pub(crate) struct Connection {
    /// Which node was dialled.
    pub(crate) acceptor: usize,
    /// Where the dialler sends from.
    pub(crate) dialler: SocketAddr,
    /// What the acceptor takes for the dialler.
    pub(crate) socket: UdpSocket,
    /// The id that the dialler began with. Nobody can reset by it: it has no token.
    first_id: Vec<u8>,
    /// Whom the dialler wrote to last, and whom the acceptor, by ids that have reset tokens.
    pub(crate) to_acceptor: Option<Vec<u8>>,
    pub(crate) to_dialler: Option<Vec<u8>>,
    pub(crate) cut: bool,
    pub(crate) streams: [Stream; 2],
    /// When anything last came from either end.
    pub(crate) heard: Instant,
}

impl Connection {
    pub(crate) fn new(
        (acceptor, dialler, first_id): (usize, SocketAddr, &[u8]),
        socket: UdpSocket,
        seed: u64,
        now: Instant,
    ) -> Self {
        Self {
            acceptor,
            dialler,
            socket,
            first_id: first_id.to_vec(),
            to_acceptor: None,
            to_dialler: None,
            cut: false,
            streams: [seed, !seed].map(Stream::new),
            heard: now,
        }
    }

    /// Whether both ends have what it takes to understand a reset.
    pub(crate) fn is_up(&self) -> bool {
        self.to_acceptor.is_some() && self.to_dialler.is_some() && !self.cut
    }

    /// Notes whom the dialler writes to.
    pub(crate) fn learn_from_dialler(&mut self, header: &Header<'_>) {
        if let Header::Short { to } = header {
            self.to_acceptor = Some(to.to_vec());
        }
    }

    /// Notes whom the acceptor writes to.
    pub(crate) fn learn_from_acceptor(&mut self, header: &Header<'_>) {
        if let Header::Short { to } = header
            && *to != self.first_id
        {
            self.to_dialler = Some(to.to_vec());
        }
    }
}
