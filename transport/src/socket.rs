//! The UDP sockets of a node: one per shard, all on one port.
//!
//! The kernel steers each datagram to the socket of the shard that it is for, by the program of
//! [`steering`](crate::steering). Positions in the kernel's group are the order of binding, so the
//! sockets of a node live and end together: if one is closed before the others, the kernel moves
//! the last one to its place and datagrams arrive at wrong shards (which pass them on).
//!
//! Unsafe code: one `setsockopt` that no library offers (`SO_ATTACH_REUSEPORT_CBPF`).
#![allow(unsafe_code)]

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::Once,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Type};

use crate::steering::program;

/// What the kernel is asked to buffer in each direction. A shard that is away for a millisecond
/// at 10 Gbit/s finds 1.25 MB, and the kernel counts its own overhead in; it grants no more than
/// `net.core.rmem_max` and `net.core.wmem_max`.
pub const BUFFER_SIZE: usize = 4 * 1024 * 1024;

/// The largest batch of datagrams that the kernel hands over as one (GRO).
const MAX_GRO: usize = 64 * 1024;

/// The port of a node, held but not yet in use.
///
/// Holding it excludes every other process, although the sockets share the port among
/// themselves.
#[derive(Debug)]
pub struct Listener {
    socket: socket2::Socket,
    address: SocketAddr,
    steered: bool,
}

/// The UDP socket of one shard.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
}

/// Why a port cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Somebody else has the port, this user's other processes included.
    #[error("{address} is in use: stop the other process or choose another port")]
    InUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The operating system does not give out this address.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        cause: io::Error,
    },
    /// A node has at least one shard.
    #[error("a node needs at least one shard")]
    NoShards,
    /// The kernel does not take the program that steers datagrams to shards.
    #[error("the kernel refuses to steer datagrams to shards (SO_ATTACH_REUSEPORT_CBPF): {cause}")]
    Steering {
        /// What the operating system says.
        cause: io::Error,
    },
}

impl Listener {
    /// Takes a UDP port for a node. Port 0 takes any that is free.
    ///
    /// `[::]` listens for IPv4 as well.
    ///
    /// # Errors
    ///
    /// [`ListenError::InUse`] when another socket has the port, [`ListenError::Bind`] for what
    /// else keeps the operating system from giving it out.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { address },
            _ => ListenError::Bind { address, cause },
        };
        // The first bind does not share, so it fails if anyone else is there; sharing is switched
        // on afterwards, which leaves no moment at which another process could slip in.
        let socket = open(address).map_err(failed)?;
        socket.bind(&address.into()).map_err(failed)?;
        socket.set_reuse_port(true).map_err(failed)?;
        let address = local_address(&socket).map_err(failed)?;
        Ok(Self {
            socket,
            address,
            steered: true,
        })
    }

    /// The same port without steering: the kernel spreads datagrams as it likes, to test that they
    /// are passed on.
    #[doc(hidden)]
    pub fn without_steering(mut self) -> Self {
        self.steered = false;
        self
    }

    /// The address that was taken, with its port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The sockets of the node's shards, in order. From here on datagrams are steered.
    ///
    /// # Errors
    ///
    /// [`ListenError`] when there are no shards, or the kernel has no more sockets or does not
    /// know how to steer.
    pub fn into_sockets(self, shards: u16) -> Result<Vec<Socket>, ListenError> {
        let address = self.address;
        let failed = |cause| ListenError::Bind { address, cause };
        if shards == 0 {
            return Err(ListenError::NoShards);
        }
        let mut sockets = vec![self.socket];
        for _ in 1..shards {
            let socket = open(address).map_err(failed)?;
            socket.set_reuse_port(true).map_err(failed)?;
            socket.bind(&address.into()).map_err(failed)?;
            sockets.push(socket);
        }
        // One socket is no group; there is nothing to steer between.
        if shards > 1 && self.steered {
            steer(&sockets[0], shards).map_err(|cause| ListenError::Steering { cause })?;
        }
        sockets
            .into_iter()
            .map(|socket| Socket::new(socket, address).map_err(failed))
            .collect()
    }
}

impl Socket {
    fn new(socket: socket2::Socket, address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The kernel grants what its limits allow without calling that an error.
        state.set_recv_buffer_size(UdpSockRef::from(&socket), BUFFER_SIZE)?;
        state.set_send_buffer_size(UdpSockRef::from(&socket), BUFFER_SIZE)?;
        let socket = Self {
            socket,
            state,
            address,
        };
        socket.check_buffers()?;
        Ok(socket)
    }

    /// Says, once per process, that the kernel grants too little, and how to change that.
    fn check_buffers(&self) -> io::Result<()> {
        static SAID: Once = Once::new();
        // Doubled, for its own overhead.
        let (received, sent) = self.buffer_sizes()?;
        if received.min(sent) / 2 < BUFFER_SIZE {
            SAID.call_once(|| {
                tracing::warn!(
                    "the kernel grants UDP sockets {} KiB to receive and {} KiB to send, of \
                     {} KiB asked for: bursts will be lost and sent again. \
                     Set with sysctl -w: net.core.rmem_max={BUFFER_SIZE} \
                     net.core.wmem_max={BUFFER_SIZE}",
                    received / 2048,
                    sent / 2048,
                    BUFFER_SIZE / 1024,
                );
            });
        }
        Ok(())
    }

    /// The address of the node.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes the kernel granted to buffer, received and to be sent, its own overhead
    /// included (it doubles what it grants).
    ///
    /// # Errors
    ///
    /// Whatever the operating system says.
    pub fn buffer_sizes(&self) -> io::Result<(usize, usize)> {
        let socket = UdpSockRef::from(&self.socket);
        let received = self.state.recv_buffer_size(socket)?;
        Ok((
            received,
            self.state
                .send_buffer_size(UdpSockRef::from(&self.socket))?,
        ))
    }

    /// Whether datagrams may be fragmented on their way: then packet sizes cannot be probed.
    pub(crate) fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// How many datagrams of one size may be sent at once. 1 after the device refused more.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Receives one batch. 0 when nothing is there.
    pub(crate) fn receive(&self, batch: &mut Batch) -> io::Result<usize> {
        let mut buffers = batch.buffers.chunks_exact_mut(MAX_GRO).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| buffers.next().expect("a batch has BATCH_SIZE buffers"));
        let socket = UdpSockRef::from(&self.socket);
        match self.state.recv(socket, &mut slices, &mut batch.metas) {
            Ok(received) => Ok(received),
            Err(error) if is_empty_or_icmp(&error) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Sends one datagram, or several of one size.
    pub(crate) fn send(&self, transmit: &quinn_udp::Transmit<'_>) -> Sent {
        match self
            .state
            .try_send(UdpSockRef::from(&self.socket), transmit)
        {
            Ok(()) => Sent::Whole,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Full,
            Err(error) => {
                // Some devices refuse batches (EIO, EINVAL); quinn-udp then stops offering them,
                // but this batch still has to go out.
                let refused = matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL));
                if refused && transmit.segment_size.is_some() {
                    self.send_each(transmit)
                } else {
                    // Too large is the answer to a probe of the path's packet size; anything else
                    // (unreachable, refused, no memory) is a lost datagram, which QUIC repairs.
                    Sent::Lost
                }
            }
        }
    }

    /// Sends the datagrams of a batch one by one. What the socket does not take is lost.
    fn send_each(&self, transmit: &quinn_udp::Transmit<'_>) -> Sent {
        let size = transmit
            .segment_size
            .unwrap_or(transmit.contents.len())
            .max(1);
        let mut sent = Sent::Whole;
        for contents in transmit.contents.chunks(size) {
            let single = quinn_udp::Transmit {
                contents,
                segment_size: None,
                ..transmit.clone()
            };
            if self
                .state
                .try_send(UdpSockRef::from(&self.socket), &single)
                .is_err()
            {
                sent = Sent::Lost;
            }
        }
        sent
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The kernel took it.
    Whole,
    /// The kernel's buffer is full: try again.
    Full,
    /// The kernel refused it, or part of it; it will not go out.
    Lost,
}

/// Room for one batch of received datagrams. The kernel fills only what it needs, so the memory
/// beyond that is never touched.
pub(crate) struct Batch {
    buffers: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; BATCH_SIZE * MAX_GRO].into_boxed_slice(),
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }

    /// The datagrams in one buffer, back to back, and what is known about them.
    pub(crate) fn get(&self, index: usize) -> (&RecvMeta, &[u8]) {
        let meta = &self.metas[index];
        let start = index * MAX_GRO;
        (meta, &self.buffers[start..start + meta.len])
    }
}

fn open(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

fn local_address(socket: &socket2::Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Nothing there, or the echo of an earlier datagram that nobody wanted: QUIC does not trust
/// ICMP, which anyone can forge, and finds out by itself.
fn is_empty_or_icmp(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

/// Makes the kernel run the steering program for the group that `socket` belongs to.
fn steer(socket: &socket2::Socket, shards: u16) -> io::Result<()> {
    let mut filter = program(shards).map(|instruction| libc::sock_filter {
        code: instruction.code,
        jt: instruction.jump_true,
        jf: instruction.jump_false,
        k: instruction.k,
    });
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("the program has 12 instructions"),
        filter: filter.as_mut_ptr(),
    };
    let size = libc::socklen_t::try_from(size_of::<libc::sock_fprog>())
        .expect("the structure has 16 bytes");
    // SAFETY: the descriptor is open as long as `socket` is borrowed. The option's value is a
    // `sock_fprog` of the size given; it and the `len` instructions behind its pointer live on this
    // stack frame until the call returns, and the kernel copies them before that.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests;
