//! What a reference sends through: a node's shards, or a client's connection.
//!
//! A port works on any thread. A call is a [`Pending`] that [`Call`](crate::Call) polls; what it
//! waits on depends on where it was made.

use std::task::{Context, Poll};
use std::time::Duration;

use teff_wire::{Fingerprint, GrainId, MethodId};

use crate::error::{CallError, TellError};
use crate::payload::{Payload, Reply};

/// What became of a call.
pub type Outcome = Result<Reply, CallError>;

/// A grain, and what its caller believes about it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The grain.
    pub id: GrainId,
    /// Keyed hash of the id; see [`Port::hash`].
    pub hash: u64,
    /// Name of the kind, for messages to people.
    pub kind: &'static str,
    /// The contract that the caller was built with.
    pub fingerprint: Fingerprint,
}

/// A message on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// Who shall get it.
    pub target: Target,
    /// Which method.
    pub method: MethodId,
    /// The arguments.
    pub payload: Payload,
}

/// A call made on a shard: a number that its port understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// A call that was made.
#[derive(Debug)]
pub enum Pending {
    /// It waits in the call table of the shard that this thread is.
    Slot(Ticket),
    /// Its outcome comes through a channel, for threads outside the shards.
    Channel {
        /// Where the outcome arrives.
        reply: oneshot::Receiver<Outcome>,
        /// How long the caller was to wait.
        timeout: Duration,
    },
    /// It has an outcome already.
    Ready(Outcome),
    /// It was not made, for want of room in the first queue on its way.
    NoRoom(Outgoing),
}

/// Carries messages to grains.
pub trait Port: Send + Sync + 'static {
    /// The cluster's keyed hash of a grain id, taken once per reference.
    fn hash(&self, id: &GrainId) -> u64;

    /// Accepts a tell, or says at once why not.
    ///
    /// # Errors
    ///
    /// [`TellError`], with the message when there was merely no room for it.
    fn tell(&self, message: Outgoing) -> Result<(), (TellError, Option<Outgoing>)>;

    /// Asks to be woken when there may be room again.
    fn poll_room(&self, message: &Outgoing, cx: &mut Context<'_>);

    /// Makes a call. `timeout` defaults to the node's.
    fn call(&self, message: Outgoing, timeout: Option<Duration>) -> Pending;

    /// The outcome of a call made on this shard, if it is there.
    fn poll_call(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Outcome>;

    /// The caller has lost interest in a call made on this shard.
    fn forget(&self, ticket: Ticket);

    /// Whether this thread must not block, because it is one of the port's shards.
    fn is_shard(&self) -> bool;
}
