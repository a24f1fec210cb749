//! Teff: a thread-per-core runtime for virtual actors.
//!
//! A *grain* is an object with a name that always exists: send it a message and it is there,
//! activated on the one shard of the one node that its name hashes to. Each *shard* is one thread
//! pinned to one CPU. Inside a node messages are moved through lock-free lanes; between nodes they
//! travel as rkyv archives over QUIC with mutual TLS.
//!
//! ```
//! use teff::{Node, grain};
//!
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! #[grain]
//! impl Counter {
//!     fn add(&mut self, n: u64) {
//!         self.0 += n;
//!     }
//!     fn total(&mut self) -> u64 {
//!         self.0
//!     }
//! }
//!
//! fn main() -> teff::Result {
//!     let node = Node::single().shards(1).kind(CounterRef::kind::<Counter>()).start()?;
//!     let counter: CounterRef = node.grain("apples");
//!     counter.add(2).tell()?;
//!     assert_eq!(counter.total().wait()?, 2);
//!     Ok(node.shutdown()?)
//! }
//! ```
//!
//! # Promises
//!
//! * A *tell* is handled at most once, and in order with others from the same sender to the same
//!   grain. A sender is a grain, or a thread outside the shards.
//! * A tell that may get lost ([`tell_lossy`](Request::tell_lossy)) is handled at most once, in no
//!   order, and makes nobody wait.
//! * A *call* is handled at most once. Its error says whether the handler ran: see [`CallError`].
//! * One handler of a grain runs at a time. A panic in it ends that activation and nothing else.
//! * Every queue is bounded (in messages), and whoever finds one full is told. A tell that was on
//!   its way when a mailbox filled is counted as `mailbox_full`; where its sender waits for room,
//!   it is taken in.
//! * Every message that was accepted is handled or counted with a reason: see [`Counters`]. Lossy
//!   tells that the network loses are the exception.
//!
//! # What differs from the design, and why
//!
//! * `Driver` has three methods: `park`, `turn` and `close`. Timers and tasks are the shard's own,
//!   because a timer of the reactor would need a task of the reactor, whose wakers must not be had.
//! * `driver/io_uring.rs` has one unsafe block: glommio takes an eventfd in no safe way.
//! * A thread outside has a lane to each shard that it sends to, not one into the node: a message
//!   then crosses one lane, not two, and one slow shard does not hold up the others.
//! * The default reactor is `poll(2)` on two descriptors (`driver/epoll.rs`) and not glommio: a
//!   parked shard answers in less than half the time (`perf lane-call --idle park`), and the
//!   wake-up of glommio allocates besides. [`Reactor::IoUring`] selects glommio; shards use nothing
//!   of it but its sleep.
//! * A payload and the futures of handlers have unsafe code of their own in `teff-contract`
//!   (`payload/inline.rs`, `handler.rs`): a lane slot is two cache lines instead of three, and an
//!   `async` handler costs no allocation.
//! * One turn of a handler may take half of the room in a lane or in its shard's own queue, or
//!   less when many wait: grains of a shard share its lanes, and one of them could fill them.
//! * The catalog's index is an own table of 64-bit buckets, because hashbrown does not say where a
//!   bucket is, which prefetching must know.
//! * A deadline of a call of a second or more may be up to 4 ms early: reading the exact clock for
//!   each call takes a tenth of the call.
//!
//! Modules are listed bottom-up: a module uses only modules above it.
#![deny(unsafe_code)]

mod probe;
mod panics;
mod error;
mod counters;
mod congestion;
mod overload;
mod envelope;
mod status;
mod idle;
mod driver;
mod shared;
mod shard;
mod node;

pub use counters::{Counters, KindCounters};
pub use driver::Reactor;
pub use error::{ConfigError, Error, RegisterError, ShutdownError, StartError};
pub use idle::IdleStrategy;
pub use node::{Builder, Node};
pub use probe::Obstacle;

#[doc(hidden)]
pub use bytes::Bytes;
pub use teff_contract::generated;
pub use teff_contract::{
    Archived, Arguments, Call, CallError, Ctx, Doubt, Failure, GrainRef, Kind, LinkReason, Message,
    Method, Overload, Payload, Reference, Refusal, Request, Schema, Serve, Sleep, TellError, Type,
    WhenRoom, grain, message,
};
pub use teff_core::view::Member;
#[cfg(feature = "authority")]
pub use teff_transport::authority;
pub use teff_transport::{
    ClusterSecret, Congestion, Identity, Limits as LinkLimits, LinkError, ListenError, Listener,
    Party, Refusal as LinkRefusal,
};
pub use teff_wire::{GrainId, Key, KeyError, KindId, NodeId, ShardId};

/// What a `main` may return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;
