//! Every byte that two Teff nodes agree on. No I/O, no unsafe code.
#![forbid(unsafe_code)]

pub mod id;

mod fields;

mod status;
mod close;
mod version;

mod block;
mod header;
mod layout;
mod reader;
mod writer;

mod kinds;
mod hello;

pub use block::{Block, MisalignedError};
pub use close::CloseCode;
pub use fields::NameError;
pub use header::{FrameType, Header, MAX_CONTROL_PAYLOAD, MAX_PAYLOAD};
pub use hello::{Hello, HelloError};
pub use id::{
    CallId, Epoch, Fingerprint, GrainId, Incarnation, Key, KeyError, KindId, MethodId, NodeId,
    ShardId,
};
pub use kinds::{KindOffer, KindsError, decode_kinds, encode_kinds};
pub use layout::FrameError;
pub use reader::{Frame, Reader};
pub use status::Status;
pub use version::Version;
pub use writer::{WriteError, Writer};
