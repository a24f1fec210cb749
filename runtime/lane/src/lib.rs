//! Bounded lock-free lanes between shards, and the doorbell that wakes a sleeping shard.
//!
//! A lane carries values from one thread to one other, in order. It promises:
//!
//! - **Bounded**: [`lane`] allocates all slots at once, and nothing allocates after that. A push
//!   into a full lane is refused and gives the value back.
//! - **Wait-free on both sides**: every call ends after a bounded number of steps, whatever the
//!   other side does or fails to do. There are no locks, no loops that retry, no system calls.
//! - **Batched**: a push is a few comparisons and a move. Any number of pushes becomes visible with
//!   one store ([`Sender::publish`]), any number of values is taken with one load and one store
//!   ([`Receiver::drain`]).
//! - **Nothing lost, nothing twice**: a value comes out once, or is given back by the push, or is
//!   dropped once with the second end of its lane. Panics in the caller's code do not change that,
//!   but a value is forgotten whose making panics in its second step.
//!
//! It cannot block, wait, grow, overwrite, or serve several senders or receivers: a shard has one
//! lane per shard that sends to it, and sleeps with a [`Doorbell`] common to all of them. It wakes
//! nobody by itself, and nothing pushed is seen before it is published. Pages of a big lane are
//! first touched when the sender first comes round to them.
//!
//! ```
//! use teff_lane::{PushError, lane};
//!
//! let (mut sender, mut receiver) = lane::<u32>(2);
//! sender.try_push(1)?;
//! sender.try_push(2)?;
//! assert_eq!(sender.try_push(3), Err(PushError::Full(3)));
//! assert_eq!(receiver.pop(), None, "not published yet");
//!
//! sender.publish();
//! let mut got = Vec::new();
//! assert_eq!(receiver.drain(64, |value| got.push(value)), 2);
//! assert_eq!(got, [1, 2]);
//! # Ok::<(), PushError<u32>>(())
//! ```
//!
//! Values that are large for a move can do without one. They are made in their slot, in one step
//! ([`Sender::push_with`]) or in two ([`Sender::push_and_finish`]), and nothing is made for a full
//! lane. The receiver looks at a batch ([`Receiver::ready`], [`Receiver::peek`]) to fetch what it
//! will need, and then takes the values where they lie ([`Receiver::drain_in_place`]), saying of
//! each what [`Rest`] is to be dropped:
//!
//! ```
//! use teff_lane::{Rest, lane};
//!
//! let (mut sender, mut receiver) = lane::<(u8, [u64; 8])>(2);
//! assert!(sender.push_with(|| (1, [7; 8])));
//! assert!(sender.push_and_finish(|| (2, [0; 8]), |(_, words)| words[7] = 9));
//! assert!(!sender.has_room());
//! assert!(!sender.push_with(|| unreachable!("there is no room")));
//! assert_eq!(sender.unpublished(), 2);
//!
//! sender.publish();
//! let ready = receiver.ready(64);
//! assert_eq!(ready, 2);
//! assert_eq!(receiver.peek(1, |(number, _)| *number), Some(2));
//! let mut sum = 0;
//! receiver.drain_in_place(ready, |(_, words)| {
//!     sum += words[7];
//!     Rest::Nothing // Numbers need no drop; `Rest::Value` has what is left dropped.
//! });
//! assert_eq!((sum, sender.free()), (7 + 9, 2));
//! ```
//!
//! # Memory
//!
//! ```text
//!   Sender                       one allocation, common to both                     Receiver
//!  +-----------+     +---------------------+---------------------+------------+   +----------+
//!  | next      |     | tail      128 bytes | head      128 bytes | both gone? |   | next     |
//!  | published |     | sender stores,      | receiver stores,    | stored     |   | released |
//!  | limit     |     | receiver loads when | sender loads when   | once each  |   | limit    |
//!  +-----------+     | out of values       | out of room         |            |   +----------+
//!                    +---------------------+---------------------+------------+
//!   slots, another allocation of `capacity` (a power of two) times the size of T:
//!
//!         free           published values        pushed, unseen          free
//!     +----+----+----+----+----+----+----+----+----+----+----+----+----+----+----+----+
//!     |    |    |    | v  | v  | v  | v  | v  | v  | v  | v  | v  |    |    |    |    |
//!     +----+----+----+----+----+----+----+----+----+----+----+----+----+----+----+----+
//!                     ^ head                        ^ tail         ^ Sender::next
//!                     `---- the receiver's ---------'`---- the sender's, up to head + capacity ->
//! ```
//!
//! Positions only move forward and wrap with `usize`; the slot of a position is its low bits. Both
//! ends keep private copies (`limit`) of how far they may go without looking at the other's line,
//! so a line moves between the two CPUs once per batch, not once per value.
//!
//! # Who may touch what
//!
//! | what | written by | read by |
//! |---|---|---|
//! | `tail` | the sender | the receiver |
//! | `head` | the receiver | the sender |
//! | slots in `head .. tail` | the receiver | the receiver, which takes each value once |
//! | slots in `tail .. head + capacity` | the sender | nobody |
//! | all of it, when both ends are gone | the end that was dropped last | the same |
//!
//! # Orderings
//!
//! | atomic | stored in | loaded in | so that |
//! |---|---|---|---|
//! | `tail` | `publish`, Release | `ReadHalf::refresh`, Acquire | values are there when taken |
//! | `head` | `release`, Release | `WriteHalf::refresh`, Acquire | slots are empty when filled |
//! | `sender_gone` | drop, Release | `writer_is_gone`, Acquire | its last publish is seen |
//! | `receiver_gone` | drop, Release | `reader_is_gone`, Acquire | what it did last is seen |
//! | `parked` | `ring`, Release swap | `awake`, Acquire swap | a woken owner sees for what |
//! | count of `Arc` | drop, Release | last drop, Acquire | both ends are done with the slots |
//!
//! Two SeqCst fences face each other: `Doorbell::ring` has one between the message and its look at
//! `parked`, `Doorbell::park` one between setting `parked` and its look for messages, so that at
//! least one of them sees what the other wrote. All other accesses are Relaxed, each with its
//! reason beside it. [`Doorbell::fence`] is the owner's fence without the parking, for another flag
//! of the owner's that ringers look at after ringing. [With a barrier](Doorbell::with_barrier) that
//! the owner runs on all threads at its fence, `ring` has none but for the compiler.
//!
//! # How to read the modules
//!
//! Bottom-up, as listed: `sync` (std or loom), `cursor` (arithmetic), `prefetch` and `slots` (the
//! memory, and all unsafe code of the crate), then the two ends and the doorbell, which are safe
//! code. Tests:
//! `tests/loom.rs` runs all interleavings of small scenes
//! (`RUSTFLAGS="--cfg loom" cargo test -p teff-lane --release --test loom`), `tests/model.rs`
//! compares with a `VecDeque`, `tests/stress.rs` runs the scenes at full size on real threads, and
//! `tests/drop.rs` counts what is dropped.

// The seam to loom, and plain arithmetic.
mod sync;

mod cursor;

// The only unsafe code.
mod prefetch;
mod slots;

// The two ends, and the bell.
mod sender;

mod receiver;

mod doorbell;

pub use crate::{
    cursor::MAX_CAPACITY,
    doorbell::Doorbell,
    prefetch::prefetch,
    receiver::Receiver,
    sender::{PushError, Sender},
    slots::Rest,
};

/// Makes a lane that holds `capacity` values, rounded up to a power of two and to at least 2.
///
/// Both ends may be moved to other threads.
///
/// # Panics
///
/// When `capacity` is above [`MAX_CAPACITY`] or the slots would take more than `isize::MAX` bytes:
/// both are mistakes in a unit, not sizes of a lane.
pub fn lane<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (writer, reader) = slots::halves(cursor::Capacity::at_least(capacity));
    (Sender::new(writer), Receiver::new(reader))
}
