//! Points in time as data: microseconds since a moment that only the caller knows.
//!
//! Nothing in this crate reads a clock. All points of one shard count from the same moment (its
//! start, say); points of two shards or nodes must not be compared, which is why deadlines travel
//! as time left.

use std::time::Duration;

/// A point in time: microseconds since the caller's own zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub u64);

impl Micros {
    /// The deadline of what never expires. It is never due, whatever the time.
    pub const NEVER: Self = Self(u64::MAX);

    /// This point plus a duration, cut to whole microseconds; [`Micros::NEVER`] when that is more
    /// than can be counted.
    pub fn after(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// Whether a deadline at this point has passed at `now`. [`Micros::NEVER`] never has.
    pub fn is_due(self, now: Self) -> bool {
        self <= now && self != Self::NEVER
    }

    /// How long from `now` until this point; zero when it has passed, `None` for
    /// [`Micros::NEVER`].
    pub fn until(self, now: Self) -> Option<Duration> {
        (self != Self::NEVER).then(|| Duration::from_micros(self.0.saturating_sub(now.0)))
    }

    /// A deadline as a frame carries it: microseconds left at `now`, 0 when there is no deadline,
    /// and `None` when it has passed, because then there is nothing left to send.
    ///
    /// More than `u32::MAX` microseconds (71 minutes) are sent as `u32::MAX`.
    pub fn to_wire(self, now: Self) -> Option<u32> {
        match self {
            Self::NEVER => Some(0),
            due if due <= now => None,
            later => Some(u32::try_from(later.0 - now.0).unwrap_or(u32::MAX)),
        }
    }

    /// The inverse of [`to_wire`](Self::to_wire) at the receiver: the deadline of a frame that
    /// arrived at `now` with so many microseconds left.
    pub fn from_wire(left: u32, now: Self) -> Self {
        match left {
            0 => Self::NEVER,
            left => Self(now.0.saturating_add(u64::from(left))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_too_large_to_count_never_comes() {
        assert_eq!(Micros(5).after(Duration::from_micros(7)), Micros(12));
        assert_eq!(Micros(5).after(Duration::from_nanos(1_999)), Micros(6));
        assert_eq!(Micros(5).after(Duration::MAX), Micros::NEVER);
        assert!(!Micros::NEVER.is_due(Micros::NEVER));
    }

    #[test]
    fn a_deadline_is_due_at_its_very_microsecond() {
        assert!(!Micros(10).is_due(Micros(9)));
        assert!(Micros(10).is_due(Micros(10)));
        assert_eq!(Micros(10).until(Micros(4)), Some(Duration::from_micros(6)));
        assert_eq!(Micros(10).until(Micros(11)), Some(Duration::ZERO));
        assert_eq!(Micros::NEVER.until(Micros(11)), None);
    }

    #[test]
    fn a_deadline_travels_as_time_left() {
        let (here, there) = (Micros(1_000), Micros(77));
        assert_eq!(Micros(1_250).to_wire(here), Some(250));
        assert_eq!(Micros::from_wire(250, there), Micros(327));
        assert_eq!(Micros::NEVER.to_wire(here), Some(0));
        assert_eq!(Micros::from_wire(0, there), Micros::NEVER);
        assert_eq!(Micros(1_000).to_wire(here), None);
        assert_eq!(Micros(u64::MAX - 1).to_wire(here), Some(u32::MAX));
    }
}
