//! Links whose frames wait because the shard has no place for the last one that it was given.
//!
//! What has not been handed out is not acknowledged and stays in QUIC, whose flow control then
//! stops the peer, so a held link takes no more memory than any other. Control frames are read
//! all the same: acknowledgements of what this end sends do not wait for what it cannot take. A
//! connection that is lost meanwhile is noticed once the link is let go and read to its end.

use super::Endpoint;
use crate::{event::LinkId, limits::READ_TURN, link::Phase};

impl Endpoint {
    /// Hands out no more frames of a link until it is [let go](Self::let_go). An id of a link that
    /// has ended is ignored.
    pub fn hold(&mut self, link: LinkId) {
        if let Some(slot) = self.find(link) {
            self.links[slot].held = true;
        }
    }

    /// Hands out the frames of a link again, in order, from the first that was not.
    pub fn let_go(&mut self, link: LinkId) {
        if let Some(slot) = self.find(link)
            && std::mem::take(&mut self.links[slot].held)
        {
            self.mark_readable(slot);
        }
    }

    /// Reads from a held link what is not held.
    pub(super) fn read_held(&mut self, slot: usize) {
        let link = &mut self.links[slot];
        let mut turn = READ_TURN;
        if link.phase == Phase::Up && link.control.pull(&mut link.connection, &mut turn) {
            return self.mark_dirty(slot);
        }
        self.readable.pop_front();
        link.queued.readable = false;
    }
}
