//! Whose handshakes are begun: what one address may cost a shard.
//!
//! A handshake costs its acceptor signatures and memory before it is known who dials, so it is the
//! address that is counted, once the dialler has proved that it is there (whoever makes addresses
//! up gets no further than a Retry, and never enters these tables). An address has a share of the
//! handshakes in progress, so that diallers that stop half way keep places from themselves only;
//! and a rate with a burst, so that those that hurry cost only so much time.
//!
//! Both tables have a fixed size. An address of IPv6 stands for its /64, which is what one machine
//! is usually given.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use crate::{error::Refusal, limits::Limits};

/// For how many sources the rate is kept: 40 bytes each, searched in less than a microsecond,
/// against the better part of a millisecond that a handshake takes.
const SOURCES: usize = 256;

/// The handshakes in progress at one shard, and how fast each source began them.
#[derive(Debug)]
pub(super) struct Admission {
    /// The source of each handshake in progress.
    in_progress: Vec<IpAddr>,
    sources: Vec<Source>,
    most: usize,
    share: usize,
    interval: Duration,
    tolerance: Duration,
}

/// A bucket of tokens, by the time at which it is full again: one token earlier for each interval.
#[derive(Clone, Copy, Debug)]
struct Source {
    address: IpAddr,
    full_at: Instant,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        let interval = Duration::from_secs(1) / limits.handshake_rate;
        Self {
            in_progress: Vec::new(),
            sources: Vec::new(),
            most: limits.handshakes,
            share: limits.handshakes_per_address,
            interval,
            tolerance: interval * (limits.handshake_burst - 1),
        }
    }

    /// Begins a handshake with a dialler at this address, which is not made up, or says why not.
    /// What is refused costs the address nothing.
    pub(super) fn begin(&mut self, now: Instant, address: IpAddr) -> Result<(), Refusal> {
        let address = source(address);
        if self.in_progress.len() >= self.most || self.share_of(address) >= self.share {
            return Err(Refusal::Busy);
        }
        let bucket = self.bucket(now, address);
        let full_at = self.sources[bucket].full_at.max(now);
        if full_at - now > self.tolerance {
            return Err(Refusal::TooOften);
        }
        self.sources[bucket] = Source {
            address,
            full_at: full_at + self.interval,
        };
        self.in_progress.push(address);
        Ok(())
    }

    /// A handshake that was begun with this address is over, whatever came of it.
    pub(super) fn end(&mut self, address: IpAddr) {
        let address = source(address);
        let begun = self.in_progress.iter().position(|&begun| begun == address);
        debug_assert!(begun.is_some(), "a handshake that ends was begun");
        if let Some(begun) = begun {
            self.in_progress.swap_remove(begun);
        }
    }

    fn share_of(&self, address: IpAddr) -> usize {
        let begun = self.in_progress.iter();
        begun.filter(|&&begun| begun == address).count()
    }

    /// Which bucket an address takes from. When there are no more, a new one takes the fullest, as
    /// full as it is: however many addresses there are, together they get no more than all buckets
    /// hold, and no one gets a full one by being forgotten.
    fn bucket(&mut self, now: Instant, address: IpAddr) -> usize {
        let mut known = self.sources.iter();
        if let Some(known) = known.position(|known| known.address == address) {
            return known;
        }
        if self.sources.len() < SOURCES {
            let full_at = now;
            self.sources.push(Source { address, full_at });
            return self.sources.len() - 1;
        }
        let all = self.sources.iter().enumerate();
        let fullest = all.min_by_key(|(_, source)| source.full_at);
        fullest.map_or(0, |(at, _)| at)
    }
}

/// What is counted as one source.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const RATE: u32 = 10;
    const BURST: u32 = 5;

    fn admission(share: usize) -> Admission {
        let limits = Limits {
            handshakes: 8,
            handshakes_per_address: share,
            handshake_rate: RATE,
            handshake_burst: BURST,
            ..Limits::default()
        };
        Admission::new(&limits)
    }

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    /// How many of so many tries at one time begin a handshake, which ends at once.
    fn begun(admission: &mut Admission, now: Instant, addresses: &[IpAddr]) -> usize {
        let tries = addresses.iter().filter(|&&address| {
            let begun = admission.begin(now, address);
            if begun.is_ok() {
                admission.end(address);
            }
            assert!(
                matches!(begun, Ok(()) | Err(Refusal::TooOften)),
                "{begun:?}"
            );
            begun.is_ok()
        });
        tries.count()
    }

    #[test]
    fn an_address_gets_its_burst_and_then_its_rate() {
        let (mut admission, start) = (admission(8), Instant::now());
        let many = [v4(1); 100];
        assert_eq!(begun(&mut admission, start, &many), BURST as usize);
        assert_eq!(begun(&mut admission, start, &many), 0);
        assert_eq!(begun(&mut admission, start, &[v4(2); 100]), BURST as usize);
        let mut later = 0;
        for tenth in 1..=100 {
            let now = start + Duration::from_millis(100 * tenth);
            later += begun(&mut admission, now, &many);
        }
        assert_eq!(later, 100, "as many in ten seconds as the rate says");
        let rested = start + Duration::from_secs(3600);
        assert_eq!(begun(&mut admission, rested, &many), BURST as usize);
    }

    #[test]
    fn an_address_has_its_share_of_those_in_progress() {
        let (mut admission, now) = (admission(3), Instant::now());
        for _ in 0..3 {
            admission.begin(now, v4(1)).unwrap();
        }
        assert_eq!(admission.begin(now, v4(1)), Err(Refusal::Busy));
        admission.begin(now, v4(2)).unwrap();
        admission.end(v4(1));
        admission.begin(now, v4(1)).unwrap();
        assert_eq!(admission.begin(now, v4(1)), Err(Refusal::Busy));
        // All of them together have a bound as well.
        for number in 3..7 {
            admission.begin(now, v4(number)).unwrap();
        }
        assert_eq!(admission.begin(now, v4(7)), Err(Refusal::Busy));
    }

    #[test]
    fn those_that_are_refused_for_want_of_a_place_are_not_counted_against_the_rate() {
        let (mut admission, now) = (admission(1), Instant::now());
        admission.begin(now, v4(1)).unwrap();
        for _ in 0..100 {
            assert_eq!(admission.begin(now, v4(1)), Err(Refusal::Busy));
        }
        admission.end(v4(1));
        assert_eq!(
            begun(&mut admission, now, &[v4(1); 100]),
            BURST as usize - 1
        );
    }

    #[test]
    fn more_addresses_than_buckets_get_no_more_than_the_buckets_hold() {
        let (mut admission, now) = (admission(8), Instant::now());
        let many: Vec<_> = (0..10_000).map(v4).collect();
        let first = begun(&mut admission, now, &many);
        assert_eq!(first, SOURCES * BURST as usize);
        assert_eq!(begun(&mut admission, now, &many), 0);
        assert_eq!(admission.sources.len(), SOURCES);
        // A stranger does not wait longer than one interval.
        let later = now + Duration::from_secs(1) / RATE;
        assert_eq!(begun(&mut admission, later, &[v4(20_000)]), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source_and_mapped_addresses_are_those_they_map() {
        let (mut admission, now) = (admission(8), Instant::now());
        let within = |host: u128| IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | host));
        let hosts: Vec<_> = (0..100).map(within).collect();
        assert_eq!(begun(&mut admission, now, &hosts), BURST as usize);
        assert_eq!(begun(&mut admission, now, &[within(1 << 64)]), 1);
        let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into();
        assert_eq!(begun(&mut admission, now, &[mapped; 100]), BURST as usize);
        assert_eq!(begun(&mut admission, now, &[v4(1)]), 0);
    }
}
