//! Lossy tells of all links: written side by side, and what this node has lost of them.

use bytes::{Bytes, BytesMut};
use rkyv::util::AlignedVec;
use teff_wire::{Header, Key, WriteError, lossy_room, read_lossy, write_lossy};

use super::Endpoint;
use crate::{
    error::{Refusal, SendError},
    event::{Event, LinkId, Lost},
    link::{Phase, greeting::Refused, lossy::Losses},
};

/// What the lossy tells of all links share.
#[derive(Default)]
pub(super) struct LossyTells {
    /// Where each is written, to be measured.
    scratch: AlignedVec<16>,
    /// Where they wait, so that they share allocations.
    arena: BytesMut,
    pub(super) losses: Losses,
}

impl Endpoint {
    /// Sends a tell that may get lost, in a datagram of its own: it is not numbered, not
    /// acknowledged and never sent again, and neither waits for frames nor they for it. Nothing
    /// goes out before the next [`flush`](Self::flush).
    ///
    /// While as many bytes of such tells wait as may, a new one pushes out the oldest:
    /// [`poll_lost`](Self::poll_lost) tells. Arguments are as for [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`SendError::Down`] when the link is not up, or its connection is broken right now, or the
    /// peer takes no datagrams. [`SendError::TooLarge`] when the tell does not fit into a datagram
    /// of the path as it is known so far: 1 KiB, with a key of up to 64 bytes, always does.
    /// [`SendError::Payload`]. Never [`SendError::Busy`].
    ///
    /// # Panics
    ///
    /// When `header` is not that of a tell.
    pub fn send_lossy<E>(
        &mut self,
        link: LinkId,
        header: &Header,
        key: &Key,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<(), SendError<E>> {
        let Some(slot) = self.find(link) else {
            return Err(SendError::Down);
        };
        let link = &mut self.links[slot];
        let room = match link.phase {
            Phase::Up => link.lossy.room(&mut link.connection),
            _ => None,
        };
        let Some(datagram) = room else {
            return Err(SendError::Down);
        };
        let limit = lossy_room(datagram, key).min(self.settings.limits().max_payload);
        let LossyTells {
            scratch,
            arena,
            losses,
        } = &mut self.lossy;
        let written = write_lossy(scratch, header, key, limit, payload);
        let len = scratch.len();
        let result = match written {
            // Not even the key may fit into what a peer is ready to take.
            Ok(()) if len > datagram => Err(SendError::TooLarge { len, limit }),
            Ok(()) => {
                if arena.capacity() < len {
                    arena.reserve(len.max(ARENA));
                }
                arena.extend_from_slice(scratch);
                link.lossy.push(header.kind, arena.split().freeze(), losses);
                Ok(())
            }
            Err(WriteError::TooLarge { len, limit }) => Err(SendError::TooLarge { len, limit }),
            Err(WriteError::Payload(error)) => Err(SendError::Payload(error)),
        };
        if scratch.capacity() > SCRATCH_MAX {
            // The memory of one that was far too large must not stay.
            *scratch = AlignedVec::new();
        }
        if result.is_ok() {
            self.mark_dirty(slot);
        }
        result
    }

    /// What this node has lost of lossy tells since it was asked last: those pushed out by newer
    /// ones, those that waited on a connection that broke, those that came faster than they were
    /// taken. One sum at a time, until `None`. What the network loses nobody sees.
    #[inline]
    pub fn poll_lost(&mut self) -> Option<Lost> {
        self.lossy.losses.take()
    }

    /// Reads a datagram that came on a link.
    pub(super) fn take_lossy(&mut self, slot: usize, datagram: &Bytes) -> Option<Event> {
        let settings = &self.settings;
        let hash = |kind, key: &Key| settings.hash_of(kind, key);
        match read_lossy(datagram, settings.limits().max_payload, &hash) {
            Ok(frame) => {
                self.counters.lossy_in += 1;
                let link = self.links[slot].id;
                Some(Event::Lossy { link, frame })
            }
            Err(error) => {
                let refused = Refused {
                    refusal: Refusal::Malformed,
                    detail: error.to_string(),
                };
                self.refuse(slot, refused);
                None
            }
        }
    }

    /// Gives QUIC what it may have of a link's lossy tells.
    pub(super) fn hand_over_lossy(&mut self, slot: usize) {
        let link = &mut self.links[slot];
        if link.phase == Phase::Up {
            let losses = &mut self.lossy.losses;
            link.lossy.hand_over(&mut link.connection, losses);
        }
    }

    /// Looks what QUIC has sent of a link's lossy tells. Whether it may be given more.
    pub(super) fn settle_lossy(&mut self, slot: usize) -> bool {
        let link = &mut self.links[slot];
        let losses = &mut self.lossy.losses;
        self.counters.lossy_out += link.lossy.settle(&mut link.connection, losses);
        link.lossy.has_more()
    }

    /// The connection of a link is over, and what waited for it is lost.
    pub(super) fn give_up_lossy(&mut self, slot: usize) {
        if !self.links[slot].lossy.is_idle() {
            self.settle_lossy(slot);
            self.links[slot].lossy.give_up(&mut self.lossy.losses);
        }
    }
}

/// How much memory is taken at once for tells that wait; used again as soon as none of them does.
const ARENA: usize = 16 * 1024;

/// Twice as much as the largest datagram between nodes on one machine.
const SCRATCH_MAX: usize = 32 * 1024;
