//! Every byte that two Teff nodes agree on. No I/O, no unsafe code.
#![forbid(unsafe_code)]

pub mod id;

pub use id::{
    CallId, Epoch, Fingerprint, GrainId, Incarnation, Key, KeyError, KindId, MethodId, NodeId,
    ShardId,
};
