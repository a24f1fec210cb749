//! A whole frame, to be kept.

use crate::{block::Block, header::Header, names::Grain};

/// A whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the frame says about itself.
    pub header: Header,
    /// The addressed grain (tell, call), else `None`. Its kind stands in the header.
    pub grain: Option<Grain>,
    /// The bytes behind the header, without padding. None if they are detached.
    pub payload: Block,
    /// How many bytes of payload are to come on a stream of their own, if they do.
    pub detached: Option<u32>,
}
