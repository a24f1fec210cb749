//! QUIC links between the shards of Teff nodes, driven by the shards themselves.
//!
//! No runtime, no threads, no locks, no clock: a shard owns one [`Endpoint`] and calls it in a
//! loop. A [`Listener`] holds the node's UDP port and gives every shard a [`Socket`] on it; the
//! kernel steers each datagram to the shard in its connection id, so links of different shards
//! share nothing. [`Settings`] say who the node is and what it demands of peers, an [`Identity`]
//! holds its certificates.
//!
//! # What a link is
//!
//! Two counted sequences of frames, one in either direction, between one shard here and one shard
//! of a peer, over one QUIC connection after the other. It comes up when both ends have checked
//! each other: TLS 1.3 with certificates on both sides, then a hello with protocol version,
//! cluster, node, shard, membership and placement. Whoever does not fit is refused with a reason
//! that both sides get ([`LinkError`], [`Refusal`]) and log once. Of two links that cross, because
//! both ends dialled at the same time, the one dialled by the node with the lower id stays, unless
//! it is slow to be answered; the other ends before anything was sent on it
//! ([`LinkError::is_crossed`]).
//!
//! When the connection breaks, the link stays: the end that dialled dials again, at once and then
//! with growing, jittered pauses; both say how much they have taken in, and send again what lies
//! behind that. So frames arrive once and in order as long as both processes live. A link ends
//! when the peer was restarted ([`LinkError::TargetDied`]), refuses, closes it, or is not back
//! within [`Limits::resume`]; then [`Event::Down`] says of each data frame whether it was
//! delivered, may have been, or surely was not ([`Sent::fate`]). Dialling anew is up to the shard.
//!
//! # What goes on which stream
//!
//! - One stream in both directions: the hello, then names and data frames, in order.
//! - One in each direction for control, sent before all else: acknowledgements, kinds, and which
//!   mailboxes are full. Its contents do not outlive a connection; the next hello says what
//!   matters.
//! - One for each payload above 64 KiB, four at a time, sent in turns with the others. Its frame
//!   keeps its place among the others; messages behind it to the same grain wait for it at the
//!   receiver, all others pass.
//! - None for tells that may get lost ([`Endpoint::send_lossy`]): each has a datagram of QUIC's,
//!   goes before all else, and is neither numbered nor acknowledged nor ever sent again. Of those
//!   that wait too long a newer one takes the place.
//!
//! # What is bounded
//!
//! Bytes that wait for a peer ([`Limits::outbound`], then [`SendError::Busy`]) or were sent and are
//! not acknowledged ([`Limits::retained`]), large payloads ([`Limits::large`]), lossy tells
//! ([`Limits::lossy`]), bytes that a peer may send before they are asked for (QUIC's flow control:
//! nothing is read ahead of [`Endpoint::poll_event`] by more than 64 KiB, and a shard that has no
//! place for what one link brings may [hold](Endpoint::hold) that link), links, handshakes and the
//! time they take; and with each address how many handshakes are in progress and how fast it
//! begins them ([`Limits::handshakes_per_address`], [`Limits::handshake_rate`]). Nothing is kept
//! for a dialler that has not proved its address. Whatever a peer sends costs its link at most:
//! even a panic in the handling of a link ends that link only.
//!
//! Of the heap, each end of a link at rest takes 21 KiB, and 24 KiB when it was used, plus about
//! 100 bytes for each grain that was named in either direction. Under load it takes at most
//!
//! ```text
//! 4 * (outbound + retained) + 2 * (large + receive_window) + 1 MiB
//! ```
//!
//! and one frame more: 241 MiB with the limits as they are by default. The factors are for buffers
//! that are larger than what is in them: four times at most for frames, twice for what grew by
//! doubling. A peer that does not read took 13 to 84 MiB of that at both ends together, depending
//! on the size of the messages, because it has to let QUIC take bytes before any are retained.
//! (`tests/links_take_bounded_memory.rs`; what a thread keeps of buffers to use them again, at most
//! 100 MiB, is not counted for any link.)
//!
//! # What is not here
//!
//! The maximum age of a link, and revocation. The identity of a running node does not change. A
//! large payload is sent again from its start after a break, so one that takes longer than
//! connections live does not arrive until they live longer.
//!
//! # The loop
//!
//! ```
//! # use std::{convert::Infallible, sync::Arc, time::{Duration, Instant}};
//! # use teff_transport::*;
//! # use teff_transport::authority::Authority;
//! # use teff_wire::{Header, Incarnation, Key, KindId, MethodId, NodeId, ShardId};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let authority = Authority::new()?;
//! let node = |node| -> Result<Endpoint, Box<dyn std::error::Error>> {
//!     let identity = authority.issue("docs", node)?.identity(&authority);
//!     let local = LocalNode {
//!         cluster: ClusterName::new("docs")?,
//!         node,
//!         incarnation: Incarnation(1), // random in real life
//!         shards: 1,
//!         placement: 7,
//!     };
//!     let settings = Settings::new(local, &identity, |_| true)?;
//!     let listener = Listener::bind("127.0.0.1:0".parse()?)?;
//!     let socket = listener.into_sockets(1)?.remove(0);
//!     Ok(Endpoint::new(Arc::new(settings), ShardId(0), socket)?)
//! };
//! let (mut here, mut there) = (node(NodeId(1))?, node(NodeId(2))?);
//!
//! let address = there.socket().local_addr();
//! let link = here.dial(Instant::now(), NodeId(2), address, ShardId(0));
//! let (header, key) = (Header::tell(KindId::of("greeter"), MethodId(0)), Key::new("alice")?);
//! here.send(link, &header, Some((&key, 4711)), |out| {
//!     out.extend_from_slice(b"hello");
//!     Ok::<_, Infallible>(())
//! })?;
//!
//! let payload = 'arrived: loop {
//!     for endpoint in [&mut here, &mut there] {
//!         let now = Instant::now();
//!         endpoint.receive(now)?;
//!         endpoint.handle_timeout(now);
//!         while let Some(event) = endpoint.poll_event() {
//!             match event {
//!                 Event::Frame { frame, .. } => break 'arrived frame.payload,
//!                 Event::Down { reason, .. } => return Err(reason.into()),
//!                 _ => {}
//!             }
//!         }
//!         endpoint.flush(now);
//!         // A real shard now does other work, or waits for `socket()` until `poll_timeout()`.
//!     }
//! };
//! assert_eq!(&payload[..], b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! # Copies
//!
//! A payload is written once, into the buffer that becomes QUIC's stream data. QUIC encrypts it
//! into packets. On the way in the kernel's copy is copied into memory that packets share,
//! decrypted in place, and copied once more into aligned blocks, where it is read.

mod name;
mod identity;
mod steering;
mod socket;
mod congestion;
mod acks;
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

pub use acks::AckPolicy;
pub use congestion::{Congestion, UnknownCongestion};
pub use counters::{Counters, Refused};
pub use endpoint::{Endpoint, EndpointError};
pub use error::{LinkError, Party, Refusal, SendError};
pub use event::{Datagram, Event, Fate, LinkId, LossCause, Lost, Sent};
pub use identity::{ClusterSecret, Identity, IdentityError, IdentityProblem, Part, SecretError};
pub use limits::Limits;
pub use name::{ClusterName, ClusterNameError, node_name};
pub use settings::{LocalNode, Settings, SettingsError};
pub use socket::{BUFFER_SIZE, ListenError, Listener, Socket};
pub use steering::shard_of;
pub use tls::{ALPN, CipherSuite};
