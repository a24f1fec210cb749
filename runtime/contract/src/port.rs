//! What a reference sends through: a node's shards, or a client's connection.
//!
//! A port works on any thread. A message is lent to it and taken out by whoever accepts it, so a
//! message that finds no room is still with its sender. A call is a [`Pending`] that
//! [`Call`](crate::Call) polls; what it waits on depends on where it was made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use teff_wire::{GrainId, Key, KindId, MethodId, Spot};

use crate::error::{CallError, TellError};
use crate::payload::{Payload, Reply};
use crate::reference::Contract;

/// What became of a call.
pub type Outcome = Result<Reply, CallError>;

/// What becomes of a message when a queue on its way inside the node is full: the lane to the
/// grain's shard, the shard's own queue, or the grain's mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overload {
    /// Its sender gets `Busy` at once. What tells do unless told otherwise. A mailbox that fills
    /// while messages are on their way refuses those, too: a call learns it, a tell is counted as
    /// `mailbox_full`.
    Refuse,
    /// It waits for room until its timeout, 5 s by default. What calls do unless told otherwise. A
    /// tell can wait only where that stops no shard: on a thread outside the shards; in a handler
    /// it is `Busy`, and [`when_room`](crate::Request::when_room) waits.
    Wait,
    /// It is dropped and counted as `shed`: a tell says `Ok`, a call gets `Busy`.
    Shed,
}

/// What the sender of a message has said about a full queue on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// Nothing: it is as its kind says, or else calls wait and tells do not.
    #[default]
    Unsaid,
    /// It waits for room, so the message is taken in even where a race has let it arrive at a full
    /// mailbox.
    Patient,
    /// It does not wait.
    Impatient,
    /// It neither waits nor wants to know: the message is a tell that may get lost.
    Lossy,
}

impl From<Option<Overload>> for Patience {
    #[inline]
    fn from(overload: Option<Overload>) -> Self {
        match overload {
            None => Self::Unsaid,
            Some(Overload::Wait) => Self::Patient,
            Some(Overload::Refuse | Overload::Shed) => Self::Impatient,
        }
    }
}

/// A grain, and what its caller knows about it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its key.
    pub key: Key,
    /// Keyed hash of its id; see [`Port::hash`].
    pub hash: u64,
    /// The contract that the caller was built with.
    pub contract: &'static Contract,
    /// Where the port last found it.
    pub way: Way,
    /// Where the link to it has its name.
    pub spot: Spot,
}

/// Room for what a port wants to remember about the way to a grain. 0 says nothing. Not shared by
/// clones, and of no meaning to anyone but the port.
#[derive(Debug, Default)]
pub struct Way(AtomicU64);

/// A message on its way out, lent.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Who shall get it.
    pub target: &'a Target,
    /// Which method.
    pub method: MethodId,
    /// The arguments. Empty once they are accepted.
    pub payload: &'a mut Payload,
    /// What its sender does where there is no room.
    pub patient: Patience,
}

/// A call made on a shard: a number that its port understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// Why a message was not accepted. Small, because every message returns a result with it: a large
/// one is written in part and copied as a whole, which takes longer than sending the message.
#[derive(Debug)]
pub enum Declined {
    /// There was no room in the first queue on its way. The arguments are where they were.
    NoRoom,
    /// For another reason.
    Because(Box<TellError>),
}

/// A call that was made. Small for the same reason as [`Declined`].
#[derive(Debug)]
pub enum Pending {
    /// It waits in the call table of the shard that this thread is.
    Slot(Ticket),
    /// Its outcome comes through a channel, for threads outside the shards.
    Channel(Box<Channel>),
    /// It has an outcome already.
    Ready(Box<Outcome>),
    /// It was not made, for want of room in the first queue on its way. The arguments are where
    /// they were.
    NoRoom,
}

/// Where the outcome of a call arrives that a thread outside the shards made.
#[derive(Debug)]
pub struct Channel {
    /// Where the outcome arrives.
    pub reply: oneshot::Receiver<Outcome>,
    /// How long the caller was to wait.
    pub timeout: Duration,
}

/// Carries messages to grains.
pub trait Port: Send + Sync + 'static {
    /// The cluster's keyed hash of a grain id, taken once per reference.
    fn hash(&self, id: &GrainId) -> u64;

    /// Accepts a tell, or says at once why not. Who accepts it takes the arguments out; what it
    /// left of them would never be dropped. (What it leaves of a [lossy](Patience::Lossy) tell is
    /// dropped by the sender.)
    ///
    /// # Errors
    ///
    /// [`Declined`].
    fn tell(&self, message: &mut Outgoing<'_>) -> Result<(), Declined>;

    /// Asks to be woken when there may be room again.
    fn poll_room(&self, target: &Target, cx: &mut Context<'_>);

    /// Makes a call. `timeout` defaults to the node's.
    fn call(&self, message: &mut Outgoing<'_>, timeout: Option<Duration>) -> Pending;

    /// Puts the outcome of a call made on this shard into `outcome`, if it is there.
    fn poll_call(&self, ticket: Ticket, cx: &mut Context<'_>, outcome: &mut Outcome) -> Poll<()>;

    /// The caller has lost interest in a call made on this shard.
    fn forget(&self, ticket: Ticket);

    /// What messages of a kind do when there is no room, as far as the kind says. Asked only then.
    fn overload(&self, kind: KindId) -> Option<Overload>;

    /// Counts a message that its sender sheds, because there was no room for it.
    fn shed(&self, target: &Target);

    /// Counts a message that may get lost and has been, because there was no room for it.
    fn lose(&self, target: &Target);

    /// Whether this thread must not block, because it is one of the port's shards.
    fn is_shard(&self) -> bool;
}

impl From<TellError> for Declined {
    #[cold]
    fn from(error: TellError) -> Self {
        match error {
            TellError::Busy => Self::NoRoom,
            error => Self::Because(Box::new(error)),
        }
    }
}

impl From<Declined> for TellError {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::NoRoom => Self::Busy,
            Declined::Because(error) => *error,
        }
    }
}

impl Pending {
    /// It has this outcome already.
    pub fn ready(outcome: Outcome) -> Self {
        Self::Ready(Box::new(outcome))
    }
}

impl Target {
    /// The grain's id.
    pub fn id(&self) -> GrainId {
        GrainId::new(self.contract.kind, self.key.clone())
    }
}

impl Way {
    /// What was remembered.
    pub fn get(&self) -> u64 {
        // Relaxed: a hint that is checked, and complete in itself.
        self.0.load(Ordering::Relaxed)
    }

    /// Remembers.
    pub fn set(&self, way: u64) {
        self.0.store(way, Ordering::Relaxed);
    }
}

impl Clone for Way {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.get()))
    }
}
