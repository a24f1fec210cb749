//! The seam between a shard and the reactor it sleeps in.
//!
//! A shard polls its lanes and its socket itself; it needs the reactor only to sleep until there
//! is something to poll again. Nothing but the module below names glommio.

mod epoll;
mod io_uring;

use std::fmt;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::Instant;

pub(crate) use self::epoll::Epoll;
pub(crate) use self::io_uring::IoUring;

/// What the shards of a node sleep in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reactor {
    /// `poll(2)`: works on every Linux and wakes up soonest, so it is the default.
    #[default]
    Epoll,
    /// glommio's `io_uring`. Needs a kernel that offers it to this process, and 512 KiB of locked
    /// memory.
    IoUring,
}

/// Who has chosen the reactor of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chooser {
    Program,
    Environment,
    /// Nobody has: it is the default.
    Nobody,
}

impl fmt::Display for Reactor {
    /// As `TEFF_REACTOR` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoll => "epoll",
            Self::IoUring => "io_uring",
        })
    }
}

/// What a driver wakes up for.
pub(crate) struct Sources {
    /// The eventfd that the doorbell writes to. Blocking, or the kernel would not wait on it.
    pub bell: OwnedFd,
    /// The shard's socket, if the node has a network.
    pub socket: Option<Readable>,
}

/// A socket to wake up for.
pub(crate) struct Readable {
    /// A descriptor of its own.
    pub socket: UdpSocket,
    /// What to send to the socket's own address so that this very socket receives it, and ignores
    /// it.
    pub poke: Vec<u8>,
}

/// A reactor that a shard sleeps in.
pub(crate) trait Driver {
    /// Sleeps until the doorbell rings, the socket is readable, or the deadline has come; without
    /// a deadline, until one of the others. May return early.
    fn park(&mut self, deadline: Option<Instant>) -> impl Future<Output = ()>;

    /// Ends what is in flight in the kernel, so that nothing is written to after this.
    fn close(self) -> impl Future<Output = ()>;

    /// Gives the reactor its turn while the shard is busy.
    fn turn(&mut self) -> impl Future<Output = ()>;
}
