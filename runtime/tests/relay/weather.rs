//! What becomes of datagrams on a bad network, drawn from a seed: the n-th datagram of the m-th
//! connection in one direction has the same fate in every run.

use std::time::{Duration, Instant};

/// How bad the network is, each from 0.0 (never) to 1.0 (every datagram).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weather {
    pub(crate) loss: f64,
    pub(crate) reorder: f64,
    pub(crate) duplicate: f64,
}

/// What the weather did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) lost: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicated: u64,
}

/// One direction of one connection.
pub(crate) struct Stream {
    random: Random,
    /// A datagram that others overtake: how many still may, and until when it waits for them.
    held: Option<(Vec<u8>, u32, Instant)>,
}

impl Stream {
    pub(crate) fn new(seed: u64) -> Self {
        let (random, held) = (Random(seed), None);
        Self { random, held }
    }

    /// Takes a datagram, and appends to `out` what arrives because of it.
    pub(crate) fn pass(
        &mut self,
        datagram: &[u8],
        (weather, now): (Weather, Instant),
        damage: &mut Damage,
        out: &mut Vec<Vec<u8>>,
    ) {
        // Always as many numbers, so that the fate of one datagram does not change that of others.
        let [lost, held, twice] = [weather.loss, weather.reorder, weather.duplicate]
            .map(|chance| self.random.fraction() < chance);
        let overtakers = 1 + (self.random.next() % u64::from(OVERTAKERS_MAX)) as u32;
        if lost {
            damage.lost += 1;
        } else if held && self.held.is_none() {
            damage.reordered += 1;
            self.held = Some((datagram.to_vec(), overtakers, now + HOLD));
            return;
        } else {
            out.push(datagram.to_vec());
            if twice {
                damage.duplicated += 1;
                out.push(datagram.to_vec());
            }
        }
        if let Some((_, overtakers, _)) = &mut self.held {
            *overtakers -= 1;
            if *overtakers == 0 {
                out.extend(self.held.take().map(|(datagram, ..)| datagram));
            }
        }
    }

    /// The datagram that has been held long enough, if there is one.
    pub(crate) fn release(&mut self, now: Instant) -> Option<Vec<u8>> {
        let held = self.held.take_if(|(_, _, until)| *until <= now);
        held.map(|(datagram, ..)| datagram)
    }
}

/// How many datagrams may overtake one.
const OVERTAKERS_MAX: u32 = 8;

/// How long a datagram waits to be overtaken where nothing follows it.
const HOLD: Duration = Duration::from_millis(5);

/// `SplitMix64`: small, and good enough to roll dice.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, but not including, 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
