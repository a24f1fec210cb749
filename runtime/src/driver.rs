//! The seam between a shard and the reactor it sleeps in.
//!
//! A shard polls its lanes and its socket itself; it needs the reactor only to sleep until there
//! is something to poll again. Nothing but the module below names glommio.

mod io_uring;

use std::time::Instant;

pub(crate) use self::io_uring::{IoUring, Readable, Sources};

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
