//! What a caller and a grain agree on: kinds, generated stubs, calls, the codec and errors.
//!
//! `#[grain]` turns a trait (or an `impl` block) into a *typed reference* whose methods build
//! [`Request`]s, and into the dispatch that runs them on an activation. Both sides of a call, the
//! runtime's shards and an external client, stand on this crate; it knows neither glommio nor
//! tokio. What carries a message is behind [`Port`]; what an activation may ask of its shard is
//! behind [`Host`].
//!
//! A message inside a node is a [`Payload`], moved and never encoded. Between nodes it is an rkyv
//! archive ([`codec`]), validated once with a depth limit. A type can be a message only if it has
//! a [`Schema`], and only types without shared or recursive parts have one.
//!
//! Modules are listed bottom-up: a module uses only modules above it.

pub mod schema;
pub mod codec;
pub mod error;
pub mod payload;

pub mod port;
pub mod request;
pub mod reference;

pub mod context;
mod handler;
pub mod activation;
pub mod kind;

#[doc(hidden)]
pub mod generated;

pub use activation::{Activation, Step};
pub use codec::{Archived, Message};
pub use context::{Ctx, Home, Host, Sleep};
pub use error::{CallError, Doubt, Failure, LinkReason, Refusal, TellError};
pub use kind::{Kind, Serve};
pub use payload::{Arguments, Payload, Reply};
pub use port::{
    Channel, Declined, Outcome, Outgoing, Overload, Patience, Pending, Port, Target, Ticket, Way,
};
pub use reference::{Contract, GrainRef, Reference};
pub use request::{Call, Request, WhenRoom};
pub use schema::{Method, Schema, Type};
pub use teff_macros::{grain, message};
