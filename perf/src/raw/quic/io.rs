//! The socket of one end: batches of datagrams in (recvmmsg and GRO) and out (GSO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use anyhow::Context as _;
use bytes::BytesMut;
use quinn_proto::{Connection, EcnCodepoint, Transmit};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};

/// A socket and the memory for what passes it.
pub(super) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    inbound: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
    /// What was received is copied here, as quinn-proto must own it.
    arena: BytesMut,
    outbound: Vec<u8>,
    answer: Vec<u8>,
    /// A batch in `outbound` that the kernel did not take.
    blocked: Option<Transmit>,
}

/// Where datagrams came from, and how long each is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub address: SocketAddr,
    pub local_ip: Option<IpAddr>,
    pub ecn: Option<EcnCodepoint>,
    pub stride: usize,
}

impl Udp {
    /// A socket on the loopback device.
    pub(super) fn bind() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let socket = socket.context("there is no UDP port for the raw limit")?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        state.set_recv_buffer_size(UdpSockRef::from(&socket), BUFFER_SIZE)?;
        state.set_send_buffer_size(UdpSockRef::from(&socket), BUFFER_SIZE)?;
        Ok(Self {
            socket,
            state,
            inbound: vec![0; BATCH_SIZE * MAX_GRO].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH_SIZE],
            arena: BytesMut::new(),
            outbound: Vec::new(),
            answer: Vec::new(),
            blocked: None,
        })
    }

    pub(super) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.socket
            .local_addr()
            .context("the socket has no address")
    }

    /// Room for an answer of the endpoint itself.
    pub(super) fn answer(&mut self) -> &mut Vec<u8> {
        self.answer.clear();
        &mut self.answer
    }

    /// Takes what the kernel has, up to one full system call: so many batches.
    pub(super) fn receive(&mut self) -> anyhow::Result<usize> {
        let mut buffers = self.inbound.chunks_exact_mut(MAX_GRO).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| buffers.next().expect("a batch has BATCH_SIZE buffers"));
        let socket = UdpSockRef::from(&self.socket);
        match self.state.recv(socket, &mut slices, &mut self.metas) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error).context("the raw socket cannot be read"),
        }
    }

    /// One of the batches that were received last.
    pub(super) fn batch(&mut self, index: usize) -> (Origin, BytesMut) {
        let meta = &self.metas[index];
        let start = index * MAX_GRO;
        let bytes = &self.inbound[start..start + meta.len];
        if self.arena.capacity() < bytes.len() {
            self.arena.reserve(ARENA);
        }
        self.arena.extend_from_slice(bytes);
        let from = Origin {
            address: meta.addr,
            local_ip: meta.dst_ip,
            ecn: meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
            stride: meta.stride.max(1),
        };
        (from, self.arena.split())
    }

    /// Sends what the connection has to send, up to a few batches.
    pub(super) fn flush(&mut self, now: Instant, connection: &mut Connection) {
        if let Some(transmit) = self.blocked.take()
            && !self.send(&transmit)
        {
            self.blocked = Some(transmit);
            return;
        }
        for _ in 0..BATCHES_PER_FLUSH {
            let mtu = usize::from(connection.current_mtu());
            let segments = self.state.max_gso_segments().min(BATCH_BYTES / mtu).max(1);
            self.outbound.clear();
            let Some(transmit) = connection.poll_transmit(now, segments, &mut self.outbound) else {
                return;
            };
            if !self.send(&transmit) {
                self.blocked = Some(transmit);
                return;
            }
        }
    }

    /// Whether the kernel took what is in `outbound`. What it cannot send QUIC sends again.
    fn send(&self, transmit: &Transmit) -> bool {
        let datagrams = datagrams(transmit, &self.outbound);
        let sent = self
            .state
            .try_send(UdpSockRef::from(&self.socket), &datagrams);
        !sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends what is in `answer`. What is lost is asked for again.
    pub(super) fn send_answer(&self, transmit: &Transmit) {
        let datagrams = datagrams(transmit, &self.answer);
        drop(
            self.state
                .try_send(UdpSockRef::from(&self.socket), &datagrams),
        );
    }
}

fn datagrams<'a>(transmit: &Transmit, bytes: &'a [u8]) -> quinn_udp::Transmit<'a> {
    quinn_udp::Transmit {
        destination: transmit.destination,
        ecn: transmit
            .ecn
            .and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
        contents: &bytes[..transmit.size],
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}

/// What the kernel is asked to buffer in each direction, as for links.
const BUFFER_SIZE: usize = 4 * 1024 * 1024;

/// The largest batch that the kernel hands over as one.
const MAX_GRO: usize = 64 * 1024;

/// Memory taken at once for received bytes.
const ARENA: usize = 128 * 1024;

/// Bytes of one batch to the kernel, which takes less than 64 KiB.
const BATCH_BYTES: usize = 60 * 1024;

/// Batches between two looks at what has arrived.
const BATCHES_PER_FLUSH: usize = 4;
