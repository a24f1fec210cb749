//! Where in a lane something is: arithmetic on positions, without memory and without atomics.
//!
//! A `Position` counts slots since the lane was made and wraps with `usize`. It is never reduced
//! to the capacity, so a full lane and an empty one differ, and no slot is wasted to tell them
//! apart. A `Capacity` is a power of two, so that the slot of a position is a mask away and stays
//! the right one when positions wrap.

/// The largest capacity that a lane may have: 2^30 slots.
pub const MAX_CAPACITY: usize = 1 << 30;

/// How many slots a lane has: a power of two between 2 and [`MAX_CAPACITY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity(usize);

impl Capacity {
    /// The smallest capacity that holds `slots` values.
    ///
    /// # Panics
    ///
    /// When `slots` is above [`MAX_CAPACITY`].
    pub(crate) fn at_least(slots: usize) -> Self {
        assert!(
            slots <= MAX_CAPACITY,
            "a lane of {slots} slots was asked for, and {MAX_CAPACITY} is the most",
        );
        Self(slots.max(2).next_power_of_two())
    }

    pub(crate) const fn slots(self) -> usize {
        self.0
    }

    /// Which slot a position stands for.
    pub(crate) const fn slot_of(self, position: Position) -> usize {
        position.0 & (self.0 - 1)
    }
}

/// A place in the endless sequence of values that pass through a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(usize);

impl Position {
    /// Where a new lane starts: one lap before positions wrap.
    ///
    /// Starting at 0 would be as right, and would put off the first wrap by years, to a day when
    /// nobody looks. Starting here makes every lane wrap at its second lap, in every test.
    pub(crate) const fn start(capacity: Capacity) -> Self {
        Self(0_usize.wrapping_sub(capacity.0))
    }

    pub(crate) const fn from_bits(bits: usize) -> Self {
        Self(bits)
    }

    pub(crate) const fn to_bits(self) -> usize {
        self.0
    }

    /// The position `slots` further on.
    pub(crate) const fn plus(self, slots: usize) -> Self {
        Self(self.0.wrapping_add(slots))
    }

    /// How many slots further on this position is than an `earlier` one.
    pub(crate) const fn since(self, earlier: Self) -> usize {
        self.0.wrapping_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capacity_is_rounded_up_to_a_power_of_two() {
        let rounded = [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (5, 8), (1000, 1024)];
        for (asked, got) in rounded {
            assert_eq!(Capacity::at_least(asked).slots(), got, "asked for {asked}");
        }
        assert_eq!(Capacity::at_least(MAX_CAPACITY).slots(), MAX_CAPACITY);
    }

    #[test]
    #[should_panic(expected = "is the most")]
    fn a_capacity_beyond_the_limit_is_refused() {
        Capacity::at_least(MAX_CAPACITY + 1);
    }

    #[test]
    fn positions_visit_the_slots_in_turn_across_the_wrap() {
        for slots in [2, 4, 64] {
            let capacity = Capacity::at_least(slots);
            let start = Position::start(capacity);
            for step in 0..4 * slots {
                assert_eq!(capacity.slot_of(start.plus(step)), step % slots);
            }
            assert!(
                start.plus(slots).to_bits() < start.to_bits(),
                "never wrapped"
            );
        }
    }

    #[test]
    fn distance_is_counted_across_the_wrap() {
        let before = Position::from_bits(usize::MAX - 1);
        assert_eq!(before.plus(5).since(before), 5);
        assert_eq!(before.since(before), 0);
    }
}
