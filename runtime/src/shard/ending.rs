//! The end of a shard: what is left is counted, handed back or dropped, and peers hear good-bye.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use teff_core::dead_letter::Reason;
use teff_lane::Receiver;
use teff_transport::Event;
use teff_wire::CloseCode;

use crate::envelope::Envelope;
use crate::panics::drop_quietly;
use crate::shard::ingress::OutsideLane;
use crate::shard::turn::Grains;
use crate::shard::{NOWHERE, Shard};

/// The node stops: counts what is left, and says good-bye to peers.
pub(crate) fn finish(
    shard: &Shard,
    grains: &mut Grains,
    lanes: Vec<Receiver<Envelope>>,
    outside: Vec<OutsideLane>,
) {
    shard.inside.set(NOWHERE);
    shard.settle_sent();
    shard.flush_lanes();
    await_others(shard);
    for mut lane in lanes {
        while let Some(envelope) = lane.pop() {
            shard.discard(envelope);
        }
    }
    let shared = shard.node.shard(shard.id());
    let mut lanes = Vec::new();
    for lane in outside {
        let (lane, stuck) = lane.into_parts();
        lanes.push(lane);
        if let Some(stuck) = stuck {
            stuck.discard(&shared.counters);
        }
    }
    shared.end(lanes, |outside| outside.discard(&shared.counters));
    shard.discard_queues();
    grains.discard();
    shard.close_links(CloseCode::Shutdown);
}

/// Waits until no shard of the node turns any more: what they have sent each other is then in the
/// lanes, and can be counted. A handler that does not return is not waited for.
fn await_others(shard: &Shard) {
    let node = &shard.node;
    // AcqRel: whoever counts all of them sees what each had pushed before.
    node.halted.fetch_add(1, Ordering::AcqRel);
    let until = Instant::now() + HALT_TIME;
    while node.halted.load(Ordering::Acquire) < node.shards.len() && Instant::now() < until {
        std::thread::yield_now();
    }
}

impl Shard {
    fn close_links(&self, code: CloseCode) {
        // Acknowledgements wait for company, and QUIC lets nothing leave that does not fit its
        // window, good-byes included. The acknowledgements of the last frames go first, which peers
        // would count as lost otherwise.
        let now = Instant::now();
        if let Some(links) = self.links.borrow_mut().as_mut() {
            links.linger();
            links.endpoint.close_all(now, code);
            links.linger();
            self.count_frames_out(links);
        }
        // Best effort: a peer that misses it notices by itself, only later.
        for _ in 0..CLOSE_ROUNDS {
            let event = match self.links.borrow_mut().as_mut() {
                Some(links) => {
                    links.endpoint.flush(now);
                    links.endpoint.poll_event()
                }
                None => None,
            };
            match event {
                Some(Event::Down {
                    link,
                    peer,
                    reason,
                    sent,
                }) => self.link_down(link, peer, &reason, sent),
                Some(other) => drop(other),
                None => break,
            }
        }
        self.settle_lossy();
    }

    pub(super) fn discard(&self, envelope: Envelope) {
        match envelope {
            Envelope::Letter(letter) => {
                let cell = self.kinds.borrow().cell_or_unknown(letter.kind);
                cell.drop_for(Reason::ShuttingDown);
                drop_quietly(letter);
            }
            other => drop_quietly(other),
        }
    }

    fn discard_queues(&self) {
        let queue = self.queue.take();
        for letter in queue {
            self.discard(Envelope::Letter(letter));
        }
        let waiting = self
            .links
            .borrow_mut()
            .as_mut()
            .map(super::links::Links::take_waiting);
        for parcel in waiting.into_iter().flatten() {
            self.undeliverable(parcel, teff_contract::TellError::ShuttingDown);
        }
    }
}

/// How long a stopping shard waits for the others to stop.
const HALT_TIME: Duration = Duration::from_secs(1);

/// More events than links: enough to hear of the end of each.
const CLOSE_ROUNDS: usize = 100_000;
