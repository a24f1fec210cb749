//! How much a link may take: memory, time, numbers. Each with the reason for its size.
//!
//! A node's limits are checked once, when its settings are made, so that code below can rely on
//! how they relate.

use std::time::Duration;

use teff_wire::{DEFAULT_NAMES, MAX_NAMES, MAX_PAYLOAD};

use crate::{acks::AckPolicy, congestion::Congestion};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What links of a node may take. All nodes of a cluster should have the same `max_payload`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest payload of a frame, in bytes, sent and received. Default: 16 MiB, the most
    /// that a message may be; a frame is whole in memory at both ends.
    pub max_payload: usize,
    /// How many grains may have a number on one link, so that messages to them need not name them.
    /// All nodes of a cluster have to have the same. Default: 65 536, of about 100 bytes each at
    /// either end, which are taken as grains are named.
    pub names: u32,
    /// How many bytes of frames may wait on one link before they are handed to QUIC, payloads above
    /// 64 KiB not counted. Default: 8 MiB, as much again as QUIC holds unacknowledged. While fewer
    /// wait, one more frame is taken, whatever its size.
    pub outbound: usize,
    /// How many bytes of frames are kept on one link that QUIC has taken and the peer has not
    /// acknowledged: what is sent again when the connection breaks. Default: 32 MiB, 3 ms at
    /// 80 Gbit/s, of which one is the time that acknowledgements take.
    /// What was handed over at once counts for 1280 bytes more, which is what it takes.
    pub retained: usize,
    /// How many bytes of payloads above 64 KiB, which go on streams of their own, may wait on one
    /// link or be unacknowledged. Default: 16 MiB. While there are fewer, one more is taken. With
    /// more of them they leave from memory and no longer from the cache, which takes longer; with
    /// less, a link with a long round trip carries less: so much per round trip.
    pub large: usize,
    /// How many bytes of lossy tells may wait on one link before they leave, and after they came
    /// in; a few packets' worth that QUIC holds not counted. Default: 64 KiB, half a millisecond at
    /// 1 Gbit/s. More would not arrive in time to be worth anything.
    pub lossy: usize,
    /// How long a link whose connection broke is kept, and dialled again, before it is given up.
    /// Default: 5 s: what lasts longer than twice the time that `idle` takes to notice it is
    /// rather a dead node than a network that flaps.
    pub resume: Duration,
    /// How many bytes QUIC holds on one link until the peer acknowledges them. Default: 8 MiB,
    /// 5 ms at 13 Gbit/s, far more than a round trip within a data centre.
    pub send_window: u32,
    /// How many bytes a peer may send on one stream before this node has read them. Default: 4 MiB.
    /// At 0.3 ms round trip it allows 100 Gbit/s, at 30 ms still 1 Gbit/s.
    pub stream_window: u32,
    /// The same for a whole connection. Default: 24 MiB: for the stream of frames, four of large
    /// payloads, and control.
    pub receive_window: u32,
    /// How long a peer may be silent before it counts as dead. Default: 5 s. Faster detection is
    /// the task of the membership's probes; this is what ends the link.
    pub idle: Duration,
    /// How often a link without traffic shows that it lives. Default: 1 s, so that four in a row
    /// must get lost before `idle` runs out.
    pub keep_alive: Duration,
    /// How long a link may take from the first packet to the hello. Default: 4 s, long enough for
    /// a lost first packet (repeated after 1 s and 3 s) and short of `idle`.
    pub hello: Duration,
    /// How many handshakes from outside may be in progress at one shard. Default: 128, of about
    /// 30 KiB each.
    pub handshakes: usize,
    /// How many of them with one address (of IPv6, with one /64), so that diallers there that stop
    /// half way leave room for others. Default: 64.
    pub handshakes_per_address: usize,
    /// How many handshakes per second one address may begin with one shard in the long run, once
    /// it has proved that it is there. Beyond that they are refused before they cost more than one
    /// packet. Default: 64, of less than 1 ms each: at most 6 % of the shard.
    pub handshake_rate: u32,
    /// How many handshakes one address may begin at once, when it has not begun any for a while.
    /// Default: 1024: twice the links that 16 nodes of 16 shards make to one shard when each end
    /// of each dials at once, all behind one address.
    pub handshake_burst: u32,
    /// How many links one shard may have, those in progress and those closing included. Default:
    /// 4096.
    pub links: usize,
    /// How many links may be up between two shards. Default: 2, since one end may have given a link
    /// up, and dial again, before the other has noticed.
    pub links_per_pair: usize,
    /// What decides how much a link has under way. Default: CUBIC.
    pub congestion: Congestion,
    /// When peers are asked to acknowledge packets; `None` leaves it to QUIC. Default: within 1 ms,
    /// so that a lost packet is sent again within a few milliseconds and not within 30.
    pub acks: Option<AckPolicy>,
    /// The largest datagram that links try to send, in bytes. Default: 1452, what fits an
    /// Ethernet frame with IPv6. The path's real limit is found by probing from 1200 upwards.
    /// Between nodes on one machine it is 16 KiB in any case.
    pub max_datagram: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload: 16 * MIB,
            names: DEFAULT_NAMES,
            outbound: 8 * MIB,
            retained: 32 * MIB,
            large: 16 * MIB,
            lossy: 64 * KIB,
            resume: Duration::from_secs(5),
            send_window: 8 * MIB as u32,
            stream_window: 4 * MIB as u32,
            receive_window: 24 * MIB as u32,
            idle: Duration::from_secs(5),
            keep_alive: Duration::from_secs(1),
            hello: Duration::from_secs(4),
            handshakes: 128,
            handshakes_per_address: 64,
            handshake_rate: 64,
            handshake_burst: 1024,
            links: 4096,
            links_per_pair: 2,
            congestion: Congestion::default(),
            acks: Some(AckPolicy::default()),
            max_datagram: 1452,
        }
    }
}

/// The largest datagram between nodes on one machine, in bytes. The loopback device carries up to
/// 64 KiB, and the cost of a packet hardly depends on its size: 16 KiB bring 20 Gbit/s per core
/// instead of 8 with 1452 bytes, 32 KiB no more than that.
pub(crate) const LOOPBACK_DATAGRAM: u16 = 16 * KIB as u16;

/// How long a peer may take to say anything at all, and one attempt to resume a link to succeed.
/// Long enough for the three round trips of a handshake around the world.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(1);

/// How long to wait before the second attempt to resume a link; the first is made at once. Doubled
/// with every attempt, up to [`ATTEMPT_PAUSE_MAX`], and up to half of it taken off at random.
pub(crate) const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause between two attempts: traffic is to flow within a second of a peer's start.
pub(crate) const ATTEMPT_PAUSE_MAX: Duration = Duration::from_millis(300);

/// How many first packets of diallers are held before they are answered. Each is answered in the
/// call that receives it, so this is never reached unless a call fails half way.
pub(crate) const MAX_INCOMING: usize = 64;

/// How many bytes are held for one first packet that is not answered yet.
pub(crate) const INCOMING_BUFFER: u64 = 64 * KIB as u64;

/// The same for all of them together.
pub(crate) const INCOMING_BUFFER_TOTAL: u64 = MIB as u64;

/// How many data frames may be taken in before they are acknowledged. One acknowledgement of
/// 32 bytes per 1024 frames of at least 48 costs less than 0.1 % of the link.
pub(crate) const ACK_EVERY: u64 = 1024;

/// How long a data frame may stay unacknowledged. No single message waits for that, only the memory
/// of what may have to be sent again, so this is long against a round trip (a quick exchange is
/// acknowledged once per 100 messages, not once each) and short for a person or a shutdown.
pub(crate) const ACK_AFTER: Duration = Duration::from_millis(1);

/// Payloads of more bytes than this go on a stream of their own: at 10 Gbit/s one of this size
/// takes 50 us, which is what others may have to wait for it.
pub(crate) const LARGE: usize = 64 * KIB;

/// How many such payloads a peer may send at once on one link. Each is in memory at this end.
pub(crate) const LARGE_STREAMS: u32 = 4;

/// How many bytes are read from one link before it is the turn of the next: about what one
/// received batch holds, so that a busy link costs the others that much time and not more.
pub(crate) const READ_TURN: usize = 64 * KIB;

/// How many batches of datagrams one link sends in one flush before it is the turn of the next.
/// Four batches are up to 240 KiB, about 150 us of encryption and copying.
pub(crate) const BATCHES_PER_FLUSH: usize = 4;

/// How many bytes of datagrams are made for one batch. The kernel takes less than 64 KiB at once.
pub(crate) const BATCH_BYTES: usize = 60 * KIB;

/// How many packets' worth of lossy tells QUIC is given at once. It sends them before all else:
/// with a full window, this is what frames have to wait for.
pub(crate) const LOSSY_RATION: usize = 4;

/// How many lossy tells of one link are handed out before it is the turn of its frames, and of
/// other links: as many as frames of that size in a turn of 64 KiB, or fewer.
pub(crate) const LOSSY_TURN: usize = 64;

/// When the frames written since the last flush have reached this many bytes, they are sealed and
/// a new buffer is started, so that buffers stay small and no longer grow by copying.
pub(crate) const SEAL_AT: usize = 64 * KIB;

const _: () = assert!(INCOMING_BUFFER <= INCOMING_BUFFER_TOTAL);
const _: () = assert!(SEAL_AT <= MAX_PAYLOAD);

impl Limits {
    /// The limits that do not fit, alone or with the others, and what each has to be.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let rules = self.of_memory().into_iter().chain(self.of_time());
        let rules = rules.chain(self.of_links());
        let broken = rules.filter(|(holds, ..)| !holds);
        broken.map(|(_, name, rule)| (name, rule)).collect()
    }

    /// Whether each limit of memory holds, its name, and what it has to be.
    fn of_memory(&self) -> [Rule; 9] {
        [
            (
                self.max_payload >= 1 && self.max_payload <= MAX_PAYLOAD,
                "max_payload",
                "1 B to 1 GiB",
            ),
            (
                (1..=MAX_NAMES).contains(&self.names),
                "names",
                "1 to 1048576",
            ),
            (self.outbound >= 1, "outbound", "at least 1 B"),
            (self.retained >= 1, "retained", "at least 1 B"),
            (self.large >= 1, "large", "at least 1 B"),
            (
                (4 * KIB..=16 * MIB).contains(&self.lossy),
                "lossy",
                "4 KiB to 16 MiB",
            ),
            (
                self.send_window >= 64 * KIB as u32,
                "send_window",
                "at least 64 KiB",
            ),
            (
                self.stream_window >= 64 * KIB as u32,
                "stream_window",
                "at least 64 KiB",
            ),
            (
                self.receive_window >= self.stream_window,
                "receive_window",
                "at least stream_window",
            ),
        ]
    }

    /// The same for time and sizes of packets.
    fn of_time(&self) -> [Rule; 7] {
        [
            (
                self.resume <= Duration::from_secs(3600),
                "resume",
                "at most an hour",
            ),
            (
                self.keep_alive > Duration::ZERO,
                "keep_alive",
                "more than zero",
            ),
            (self.keep_alive < self.idle, "keep_alive", "less than idle"),
            (
                self.idle <= Duration::from_secs(3600),
                "idle",
                "at most an hour",
            ),
            (
                self.hello > Duration::ZERO && self.hello <= self.idle,
                "hello",
                "more than zero, at most idle",
            ),
            (
                self.acks.is_none_or(|acks| acks.is_possible()),
                "acks",
                "1 to 25 ms of delay",
            ),
            (
                (1200..=65_527).contains(&self.max_datagram),
                "max_datagram",
                "1200 to 65527 B",
            ),
        ]
    }

    /// The same for numbers of links and handshakes.
    fn of_links(&self) -> [Rule; 6] {
        [
            (self.handshakes >= 1, "handshakes", "at least 1"),
            (
                self.handshakes_per_address >= 1,
                "handshakes_per_address",
                "at least 1",
            ),
            (
                (1..=1_000_000).contains(&self.handshake_rate),
                "handshake_rate",
                "1 to 1000000 per second",
            ),
            (
                (1..=1_000_000).contains(&self.handshake_burst),
                "handshake_burst",
                "1 to 1000000",
            ),
            (
                self.links >= self.handshakes,
                "links",
                "at least handshakes",
            ),
            (self.links_per_pair >= 1, "links_per_pair", "at least 1"),
        ]
    }
}

/// Whether a limit holds, its name, and what it has to be.
type Rule = (bool, &'static str, &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_each_other() {
        assert_eq!(Limits::default().problems(), []);
    }

    #[test]
    fn a_limit_that_does_not_fit_is_named() {
        let check = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.problems()[0].0
        };
        assert_eq!(check(|l| l.max_payload = MAX_PAYLOAD + 1), "max_payload");
        assert_eq!(
            check(|l| l.receive_window = l.stream_window - 1),
            "receive_window"
        );
        assert_eq!(check(|l| l.keep_alive = l.idle), "keep_alive");
        assert_eq!(check(|l| l.hello = l.idle * 2), "hello");
        assert_eq!(check(|l| l.links = 1), "links");
        assert_eq!(check(|l| l.handshake_rate = 0), "handshake_rate");
        assert_eq!(check(|l| l.handshake_burst = 0), "handshake_burst");
        assert_eq!(check(|l| l.lossy = 1000), "lossy");
        assert_eq!(check(|l| l.max_datagram = 1000), "max_datagram");
        let late = Duration::from_secs(1);
        let acks = AckPolicy::default();
        let check = |delay| {
            let acks = Some(AckPolicy { delay, ..acks });
            Limits {
                acks,
                ..Limits::default()
            }
            .problems()
        };
        assert_eq!(check(late)[0].0, "acks");
        assert_eq!(check(Duration::ZERO)[0].0, "acks");
        assert_eq!(check(acks.delay), []);
    }
}
