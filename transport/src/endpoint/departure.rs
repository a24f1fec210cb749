//! The way out: from the links to the socket.
//!
//! Frames are handed to QUIC, QUIC makes packets of them, and packets go out in batches of one
//! size (GSO). A batch that the socket does not take is kept and goes first the next time.

use std::time::{Duration, Instant};

use quinn_proto::Transmit;

use super::Endpoint;
use crate::{
    limits::{BATCH_BYTES, BATCHES_PER_FLUSH},
    socket::Sent,
};

/// When to try again if the kernel's send buffer is full. The kernel empties 4 MiB at 10 Gbit/s
/// in 3 ms.
const RETRY: Duration = Duration::from_millis(1);

/// What sending the packets of one link came to.
enum Progress {
    /// There is nothing more to send for now.
    Done,
    /// There may be more.
    More,
    /// The socket takes no more.
    Blocked,
}

impl Endpoint {
    /// Sends what is to be sent: frames, acknowledgements, QUIC's own packets.
    ///
    /// Bounded: each link gets its share, and what is left makes
    /// [`poll_timeout`](Self::poll_timeout) ask for another round at once.
    pub fn flush(&mut self, now: Instant) {
        let now = self.advance_clock(now);
        self.advance_stirred();
        if !self.send_blocked() {
            self.wake_at(Some(now + RETRY));
            return;
        }
        for _ in 0..self.dirty.len() {
            let Some(slot) = self.dirty.pop_front() else {
                break;
            };
            let slot = slot as usize;
            let Some(link) = self.links.get_mut(slot) else {
                continue;
            };
            if !std::mem::take(&mut link.queued.dirty) {
                continue;
            }
            match self.guarded(slot, |this, slot| this.transmit(now, slot)) {
                None | Some(Progress::Done) => {}
                Some(Progress::More) => self.mark_dirty(slot),
                Some(Progress::Blocked) => {
                    self.mark_dirty(slot);
                    self.wake_at(Some(now + RETRY));
                    break;
                }
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and [`flush`](Self::flush) at the
    /// latest. A time that has passed means at once; `None` that only others can bring news.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.dirty.is_empty() && self.blocked.is_none() {
            return Some(self.now);
        }
        self.earliest
    }

    /// Sends the packets of one link.
    fn transmit(&mut self, now: Instant, slot: usize) -> Progress {
        let link = &mut self.links[slot];
        // Here and not for each frame.
        self.counters.frames_out += link.outbox.count();
        if link.drained {
            return Progress::Done;
        }
        link.hand_over(now);
        let is_lossy = !link.lossy.is_idle();
        if is_lossy {
            self.hand_over_lossy(slot);
        }
        let mut progress = Progress::More;
        for _ in 0..BATCHES_PER_FLUSH {
            let link = &mut self.links[slot];
            let mtu = usize::from(link.connection.current_mtu());
            let segments = self.socket.max_segments().min(BATCH_BYTES / mtu).max(1);
            self.departing.clear();
            let Some(transmit) = link
                .connection
                .poll_transmit(now, segments, &mut self.departing)
            else {
                progress = Progress::Done;
                break;
            };
            if !self.send_departing(&transmit) {
                self.blocked = Some(transmit);
                progress = Progress::Blocked;
                break;
            }
        }
        if is_lossy && self.settle_lossy(slot) && matches!(progress, Progress::Done) {
            progress = Progress::More;
        }
        let timeout = self.links[slot].timeout();
        self.wake_at(timeout);
        self.stir(slot);
        progress
    }

    /// Sends what the socket did not take before. Whether nothing of that is left.
    fn send_blocked(&mut self) -> bool {
        match self.blocked.take() {
            Some(transmit) if !self.send_departing(&transmit) => {
                self.blocked = Some(transmit);
                false
            }
            _ => true,
        }
    }

    /// Sends the packets in `departing`. `false` if the socket takes no more.
    fn send_departing(&mut self, transmit: &Transmit) -> bool {
        let sent = self.socket.send(&datagrams(transmit, &self.departing));
        self.count_out(transmit, sent);
        sent != Sent::Full
    }

    /// Sends the packet in `answer`. If the socket does not take it, it is lost: whoever wanted
    /// it asks again.
    pub(super) fn send_answer(&mut self, transmit: &Transmit) {
        let sent = self.socket.send(&datagrams(transmit, &self.answer));
        self.count_out(transmit, sent);
    }

    fn count_out(&mut self, transmit: &Transmit, sent: Sent) {
        let count = transmit
            .segment_size
            .map_or(1, |size| transmit.size.div_ceil(size)) as u64;
        match sent {
            Sent::Whole => {
                self.counters.datagrams_out += count;
                self.counters.bytes_out += transmit.size as u64;
            }
            Sent::Lost => self.counters.unsendable += count,
            Sent::Full => {}
        }
    }
}

fn datagrams<'a>(transmit: &Transmit, bytes: &'a [u8]) -> quinn_udp::Transmit<'a> {
    quinn_udp::Transmit {
        destination: transmit.destination,
        ecn: transmit
            .ecn
            .and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8)),
        contents: &bytes[..transmit.size],
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}
