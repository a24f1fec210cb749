//! Every byte that two Teff nodes agree on. No I/O, no clock, no unsafe code.
//!
//! A link between two shards is one stream of *frames* in either direction, streams of their
//! own for payloads that nothing is to queue behind, and datagrams for what may get lost. This
//! crate turns frames into bytes
//! ([`Writer`]) and bytes into frames ([`Reader`]), knows what nodes say first ([`Hello`],
//! [`KindOffer`]), and holds the numbers for how a call ended ([`Status`]) and why a link was
//! closed ([`CloseCode`]). What a payload means to a grain it does not know: for tells, calls and
//! replies that is an rkyv archive, written and validated above this crate.
//!
//! # Frame
//!
//! Numbers are little-endian. Every part fills a multiple of 16 bytes, so that payloads stay
//! 16-aligned wherever a frame starts.
//!
//! | offset | bytes | field | carried by (zero in all others) |
//! |-------:|------:|-------|---------------------------------|
//! | 0      | 4     | length of the payload, without padding | all but ack and name |
//! | 4      | 1     | frame type, see below, plus 128 if the payload is detached | all |
//! | 5      | 1     | how often the message was passed on | tell, call |
//! |        |       | [`Status`] | reply |
//! | 6      | 2     | method, counted from 0 in the contract | tell, call |
//! |        |       | length of the key, 1 to 256 | name |
//! | 8      | 4     | grain number | tell, call, name |
//! | 12     | 4     | epoch of the sender's view | tell, call |
//! |        |       | kind, FNV-1a of its name | name |
//! | 8      | 8     | data frames taken in since the link came up | ack |
//! |        |       | call: generation in the high half, slot in the low half | reply |
//! |        |       | placement hash of the grain | full, room |
//! | 16     | 8     | call: generation in the high half, slot in the low half | call |
//! | 24     | 4     | time left in microseconds, 0 for no deadline | call |
//! | 28     | 4     | reserved, 0 | call |
//! | 16     |       | key, UTF-8, zero-padded to a multiple of 16 | name |
//! |        |       | payload, padded likewise, unless it is detached | all but ack and name |
//!
//! So the payload starts at 16, and at 32 in a call.
//!
//! | type | frame | payload | longest payload |
//! |-----:|-------|---------|-----------------|
//! | 1 | hello: first in either direction, once | [`Hello`] | [`MAX_CONTROL_PAYLOAD`] |
//! | 2 | kinds: what is offered from here on | [`encode_kinds`] | [`MAX_CONTROL_PAYLOAD`] |
//! | 3 | ack: cumulative, counts tells, calls and replies | none | 0 |
//! | 4 | tell | archived arguments | agreed limit |
//! | 5 | call | archived arguments | agreed limit |
//! | 6 | reply | archived reply if the status is ok | agreed limit |
//! | 7 | name: gives a number to a grain | none | 0 |
//! | 8 | none: a [`Preamble`] | raw, what the frame would have carried | agreed limit |
//! | 9 | full: the mailbox of a grain is full | none | 0 |
//! | 10 | room: it has room again | none | 0 |
//!
//! The agreed limits, for payloads and for grain numbers, are configuration, the same on all
//! nodes, and never above [`MAX_PAYLOAD`] and [`MAX_NAMES`].
//!
//! # Names
//!
//! Tells and calls say whom they are for by a number. A name frame gives the number to a grain,
//! in one direction of one link: from that frame on, until another name frame gives it to another
//! grain. Numbers are given in order: each is 0, the one after the highest that was given, or one
//! that was given before. Which grain keeps its number is the sender's choice; a tell or call for
//! a number that was never given ends the link.
//!
//! Numbers outlive a stream that breaks within a link. The name frame in front of a tell or call
//! belongs to it: a sender who repeats what was not taken in repeats both, and so does no harm
//! if the name alone had arrived.
//!
//! # Detached payloads
//!
//! A tell, call or reply whose type has the high bit set declares the length of its payload and
//! does not carry it. The payload comes on a stream of its own, behind 16 bytes:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0      | 4     | length of the payload, the same as in the frame |
//! | 4      | 1     | 8 |
//! | 5      | 3     | reserved, 0 |
//! | 8      | 8     | number of the frame that it belongs to |
//! | 16     |       | payload, not padded |
//!
//! Frames are numbered by counting tells, calls and replies of one direction of a link from 0, as
//! acks do.
//!
//! # Lossy tells
//!
//! A QUIC datagram (RFC 9221) carries one tell, which may get lost, may overtake what is on the
//! streams, and is not counted by acknowledgements. A name frame may be behind it, so it names its
//! grain itself:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0      | 1     | 11 |
//! | 1      | 1     | how often the message was passed on |
//! | 2      | 2     | method, counted from 0 in the contract |
//! | 4      | 4     | kind, FNV-1a of its name |
//! | 8      | 4     | epoch of the sender's view |
//! | 12     | 2     | length of the key, 1 to 256 |
//! | 14     | 2     | reserved, 0 |
//! | 16     |       | key, UTF-8, zero-padded to a multiple of 16 |
//! |        |       | archived arguments, to the end of the datagram, not padded |
//!
//! That is 32 bytes in front of the arguments for keys of up to 16 bytes. Whether a peer takes
//! datagrams, and how large they may be, QUIC's transport parameters say: a node that sends none
//! towards peers that take none needs no word about it in the hello. One that overtakes the hello
//! waits for it.
//!
//! # Hello
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0      | 4     | `TEFF` |
//! | 4      | 2     | major version |
//! | 6      | 2     | minor version |
//! | 8      | 2     | length of the fixed part, counted from offset 0: 64 |
//! | 10     | 2     | length of the cluster's name, 1 to 63 |
//! | 12     | 2     | number of kinds, at most 1024 |
//! | 14     | 2     | length of the fixed part of a kind: 16 |
//! | 16     | 8     | incarnation |
//! | 24     | 8     | digest of members and placement key |
//! | 32     | 2     | node |
//! | 34     | 2     | number of shards, at least 1 |
//! | 36     | 2     | shard of the sender, less than their number |
//! | 38     | 2     | shard that the sender believes to speak to |
//! | 40     | 8     | the dialler's number for the link, repeated by the acceptor |
//! | 48     | 8     | to resume a link: the incarnation it is with, else 0 |
//! | 56     | 8     | data frames of this link that the sender has taken in |
//! | 64     |       | name of the cluster, not padded |
//! |        |       | the kinds, one behind the other, not padded |
//!
//! A kind, in a hello and in a kinds frame:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0      | 4     | kind |
//! | 4      | 2     | length of its name, 1 to 256 |
//! | 6      | 2     | reserved, 0 |
//! | 8      | 8     | fingerprint of its contract |
//! | 16     |       | name, not padded |
//!
//! The payload of a kinds frame:
//!
//! | offset | bytes | field |
//! |-------:|------:|-------|
//! | 0      | 2     | length of this head: 8 |
//! | 2      | 2     | length of the fixed part of a kind: 16 |
//! | 4      | 2     | number of kinds, at most 1024 |
//! | 6      | 2     | reserved, 0 |
//! | 8      |       | the kinds |
//!
//! Names are UTF-8 without control characters, since they end up in logs. No kind is listed twice.
//!
//! # Compatibility
//!
//! - `tests/golden.rs` holds one frame of each type, and a lossy tell, as bytes. They do not
//!   change within a major version; numbers of frame types, statuses and close codes are never
//!   used again.
//! - Magic and version keep their place in every version, so that nodes of different major
//!   versions can refuse each other by name ([`HelloError::Version`], [`CloseCode::Version`]).
//! - A later minor version may append fields to the fixed part of a hello, of a kind and to the
//!   head of a kinds frame, and sections behind the kinds of a hello. This version skips them. Of
//!   a hello of its own version it takes nothing but exactly the lengths above.
//! - New frame types, statuses, and meanings for fields that are zero are errors to this version:
//!   a later minor one uses them only towards peers whose hello says that they know them.
//! - The layout of archives is rkyv's, with the format features pinned in the workspace. A change
//!   to a contract changes the fingerprint of its kind, which refuses calls, not links.
//!
//! # What a peer cannot do
//!
//! Everything here may come from a hostile peer. By construction and by `tests/hostile.rs`,
//! `tests/allocations.rs` and the fuzz targets under `fuzz/`, it cannot
//!
//! - panic a node: lengths are bounded before they are added, and every slice is checked;
//! - make it allocate for what it merely declares: memory grows with the bytes that arrived, at
//!   most twofold, and a declared length over the limit is refused with the header;
//! - make it remember more grains than have numbers: a name frame has at least 32 bytes and takes
//!   up to 96 of a table that does not grow beyond the agreed limit, and its key if that has more
//!   than 23 bytes. Numbers come in order, so that a high one costs no more than a low one, and
//!   name frames without messages fill the table and nothing else;
//! - make it keep anything for a datagram that is no lossy tell: all of it is checked first;
//! - make it copy a byte more than a constant number of times, in chunks of any size;
//! - send one frame in two spellings: unused fields, reserved fields and padding are zero or
//!   the frame is refused. (What number a grain has, when it is named again, and which payloads
//!   are detached is up to the peer, and makes no difference to what the frame means.)
//!
//! Not checked here: the order of frames (hello first), whether a hello is true, how many frames
//! there are, whether a detached payload comes and is as long as its frame says, and anything
//! inside archives.
//!
//! # Copies
//!
//! A payload is serialised into the writer's buffer, which is handed to the transport as it is;
//! that of a lossy tell is copied once more, next to others.
//! A received byte is copied once, from the transport's chunk into an aligned block; a frame over
//! many chunks is copied once more on average while its block grows. Frames share their block:
//! a [`Block`] that is kept for long is better copied. The key of a name frame is copied into the
//! table, and from there into each frame for the grain: up to 23 bytes by value, longer ones by
//! reference.
//!
//! # Modules
//!
//! Bottom-up, each uses only those above it.
#![forbid(unsafe_code)]

pub mod id;

mod fields;

mod status;
mod close;
mod version;

mod pool;
mod block;
mod header;
mod preamble;
mod layout;
mod names;
mod numbers;
mod frame;
mod run;
mod reader;
mod writer;
mod resend;
mod lossy;

mod kinds;
mod hello;

pub use block::{Block, MisalignedError, Part};
pub use close::CloseCode;
pub use fields::NameError;
pub use frame::Frame;
pub use header::{FrameType, Header, MAX_CONTROL_PAYLOAD, MAX_PAYLOAD};
pub use hello::{Hello, HelloError};
pub use id::{
    CallId, Epoch, Fingerprint, GrainId, Incarnation, Key, KeyError, KindId, MethodId, NodeId,
    ShardId,
};
pub use kinds::{KindOffer, KindsError, decode_kinds, encode_kinds};
pub use layout::FrameError;
pub use lossy::{LossyError, lossy_room, read_lossy, write_lossy};
pub use names::{Grain, HashGrain};
pub use numbers::{DEFAULT_NAMES, MAX_NAMES, Spot};
pub use pool::take as take_buffer;
pub use preamble::{Preamble, PreambleError};
pub use reader::Reader;
pub use resend::after_frames;
pub use run::{FrameRef, Run};
pub use status::Status;
pub use version::Version;
pub use writer::{To, WriteError, Writer};
