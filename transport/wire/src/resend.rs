//! Where in a run of written frames to go on, when those before were taken in.

use crate::{
    MAX_NAMES, MAX_PAYLOAD,
    header::Header,
    layout::{Bounds, Layout},
};

/// How many bytes at the start of `frames` belong to its first `count` data frames (tells, calls
/// and replies), whatever else stands between them. What follows is what a peer needs that has
/// taken in just those.
///
/// # Panics
///
/// When `frames` is not made of whole frames, or of fewer than `count` data frames: it is for what
/// a [`Writer`](crate::Writer) of this node has written.
pub fn after_frames(frames: &[u8], count: u64) -> usize {
    // All that the writer writes is within these.
    let bounds = Bounds {
        max_payload: MAX_PAYLOAD,
        names_max: MAX_NAMES,
        given: MAX_NAMES,
    };
    let mut at = 0;
    let mut left = count;
    while left > 0 {
        let header = frames[at..].first_chunk::<{ Header::LEN }>();
        let header = header.expect("the writer writes whole frames");
        let layout = Layout::of(header, bounds).expect("the writer writes frames");
        at += layout.frame_len();
        left -= u64::from(layout.is_data());
    }
    at
}
