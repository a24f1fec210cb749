//! When the receiver of packets acknowledges them, by QUIC's extension for acknowledgement
//! frequency: each end asks the other for what suits its own recovery from loss.
//!
//! What a peer asks of this node is its own affair: the fewer acknowledgements it wants, the later
//! it learns of what was lost.

use std::time::Duration;

use quinn_proto::{AckFrequencyConfig, VarInt};

/// When peers are to acknowledge the packets that a link sends.
///
/// The one that matters is `delay`. A packet that is lost and has none behind it is sent again
/// when the peer has been silent for a round trip and for as long as it may keep acknowledgements
/// back: by default in QUIC that is 25 ms, a hundred round trips within a data centre. Calls one
/// by one over loopback, 1 % of all packets lost, three runs of 3800 each:
///
/// | `delay`, `packets` | p50 | p99 | p99.9 | slowest |
/// |---|---|---|---|---|
/// | QUIC's own: 25 ms, 1 | 0.15 ms | 4 to 5 ms | 26 to 30 ms | 80 to 83 ms |
/// | 1 ms, 1 | 0.15 ms | 5 ms | 9 ms | 10 to 16 ms |
/// | 1 ms, 8 | 0.15 ms | 5 to 6 ms | 8 to 10 ms | 9 to 15 ms |
/// | 25 ms, 10 | 0.16 ms | 29 to 30 ms | 33 to 36 ms | 38 to 81 ms |
///
/// Where nothing is lost none of them makes a difference that could be measured. Medians of 7 to 9
/// interleaved rounds, as ratios to the raw limit, with QUIC's own, with 1 ms and `packets` 1, and
/// with 1 ms and 16: `wire-tell` 0.22, 0.22, 0.23; `wire-call` 1.41, 1.41, 1.43 (of the raw
/// latency); `wire-big` 0.38, 0.36, 0.40, while single rounds of each lay between 0.26 and 0.51.
/// What arrives in one batch is acknowledged once in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckPolicy {
    /// How long a peer may keep an acknowledgement back, 1 to 25 ms. Default: 1 ms, the least that
    /// QUIC's timers do.
    pub delay: Duration,
    /// How many packets a peer may leave unacknowledged whatever their age. Default: 1, as in QUIC:
    /// after a loss as few as two packets may be under way, and with more than that here each such
    /// pair would wait for `delay`.
    pub packets: u32,
    /// A packet that is this much later than one that is missing is acknowledged at once; 0 for
    /// never. Default: 2, which tells the sender as soon as it takes the missing one for lost.
    pub reordering: u32,
}

impl Default for AckPolicy {
    fn default() -> Self {
        Self {
            delay: SHORTEST,
            packets: 1,
            reordering: 2,
        }
    }
}

impl AckPolicy {
    /// Whether QUIC would do what it says.
    pub(crate) fn is_possible(&self) -> bool {
        (SHORTEST..=LONGEST).contains(&self.delay)
    }

    pub(crate) fn config(&self) -> AckFrequencyConfig {
        let mut config = AckFrequencyConfig::default();
        config
            .max_ack_delay(Some(self.delay))
            .ack_eliciting_threshold(VarInt::from_u32(self.packets))
            .reordering_threshold(VarInt::from_u32(self.reordering));
        config
    }
}

/// The granularity of quinn-proto's timers, and what it tells peers to ask for at least.
const SHORTEST: Duration = Duration::from_millis(1);

/// The default of QUIC, to which quinn-proto shortens whatever is longer than a round trip.
const LONGEST: Duration = Duration::from_millis(25);
