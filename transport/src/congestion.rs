//! How fast a link sends into a network that it shares with others.

use std::{str::FromStr, sync::Arc};

use quinn_proto::congestion::{BbrConfig, ControllerFactory, CubicConfig};

use self::short_queues::ShortQueues;

mod short_queues;

/// What decides how much a link has under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Congestion {
    /// Grows until packets are lost, then backs off, RFC 9438. What TCP does, and fair to it. The
    /// default.
    #[default]
    Cubic,
    /// Takes a growing round trip for congestion, so that small messages do not wait behind large
    /// ones in full queues: calls beside payloads of 1 MiB to another process took half as long as
    /// with CUBIC (p50), and the slowest of a hundred a tenth. Gives way to everything that fills
    /// queues, and takes a machine whose CPUs are oversubscribed for a congested one: a flood of
    /// small messages went at half the rate.
    ShortQueues,
    /// Measures bandwidth and round trip, and does not take lost packets for congestion: for paths
    /// that lose some anyway. Experimental in quinn-proto.
    Bbr,
}

impl Congestion {
    /// A controller for datagrams of at most so many bytes.
    pub(crate) fn factory(self, max_datagram: u16) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Cubic => Arc::new(cubic(max_datagram)),
            Self::ShortQueues => Arc::new(ShortQueues {
                initial_window: initial_window(max_datagram),
            }),
            Self::Bbr => Arc::new(BbrConfig::default()),
        }
    }
}

/// Begins with what fits the receive buffers of the kernel by default, not with ten packets: within
/// a data centre the first burst of a link should not have to wait for round trips.
/// But at least 16 of the largest datagrams: a probe of the path's packet size takes one of them
/// for as long as it is not answered, and QUIC sends nothing when not even one more fits.
fn cubic(max_datagram: u16) -> CubicConfig {
    let mut config = CubicConfig::default();
    config.initial_window(initial_window(max_datagram));
    config
}

fn initial_window(max_datagram: u16) -> u64 {
    INITIAL_WINDOW.max(16 * u64::from(max_datagram))
}

/// Bytes under way before anything was acknowledged. Half of what Linux grants a socket to receive
/// unless told otherwise (208 KiB, of which its own overhead takes a half).
const INITIAL_WINDOW: u64 = 100 * 1024;

/// A congestion controller has no such name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no congestion controller called {0:?}, take cubic, short-queues or bbr")]
pub struct UnknownCongestion(String);

impl FromStr for Congestion {
    type Err = UnknownCongestion;

    fn from_str(name: &str) -> Result<Self, UnknownCongestion> {
        match name {
            "cubic" => Ok(Self::Cubic),
            "short-queues" => Ok(Self::ShortQueues),
            "bbr" => Ok(Self::Bbr),
            _ => Err(UnknownCongestion(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_found_by_name() {
        assert_eq!("cubic".parse(), Ok(Congestion::Cubic));
        assert_eq!("bbr".parse(), Ok(Congestion::Bbr));
        let error = "reno".parse::<Congestion>().unwrap_err();
        assert!(error.to_string().contains("\"reno\""));
    }
}
