//! QUIC links between the shards of Teff nodes, driven by the shard itself.
//!
//! No runtime, no threads, no locks: the caller owns an endpoint per shard and says when to
//! receive, when time has passed and when to send.

mod name;
mod identity;

#[cfg(feature = "authority")]
pub mod authority;

pub use identity::{ClusterSecret, Identity, IdentityError, IdentityProblem, Part, SecretError};
pub use name::{ClusterName, ClusterNameError, node_name};
