//! QUIC links between the shards of Teff nodes, driven by the shard itself.
//!
//! No runtime, no threads, no locks: the caller owns an endpoint per shard and says when to
//! receive, when time has passed and when to send.

mod name;
mod identity;
mod steering;
mod socket;
mod limits;
mod error;
mod event;
mod tls;
mod settings;
mod counters;
mod link;
mod endpoint;

#[cfg(feature = "authority")]
pub mod authority;

pub use counters::{Counters, Refused};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{LinkError, Party, Refusal, SendError};
pub use event::{Datagram, Event, Fate, LinkId, Sent};
pub use identity::{ClusterSecret, Identity, IdentityError, IdentityProblem, Part, SecretError};
pub use limits::Limits;
pub use name::{ClusterName, ClusterNameError, node_name};
pub use settings::{LocalNode, Settings, SettingsError};
pub use socket::{BUFFER_SIZE, ListenError, Listener, Socket};
pub use steering::shard_of;
pub use tls::{ALPN, CipherSuite};
