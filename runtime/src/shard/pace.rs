//! How long a stage of the loop may go on: until its queue is empty, or some number of messages
//! have run, or a time has passed.
//!
//! Reading the clock takes longer than a quick handler does. So while handlers are quick, a stage
//! asks only the coarse clock, every 32 messages, and is bounded by their number. Once that clock
//! has ticked in the middle of a stage, the stage reads the real one after each message; how long
//! they take decides how the next stage begins.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// What one kind of stage has found out about its handlers.
#[derive(Default)]
pub(crate) struct Pace {
    is_slow: Cell<bool>,
}

/// A stage under way.
pub(crate) struct Stage<'a> {
    pace: &'a Pace,
    /// Since when it is timed, and how many messages it has run since.
    timed: Option<(Instant, u32)>,
}

impl Pace {
    /// Begins a stage.
    #[inline]
    pub(crate) fn begin(&self) -> Stage<'_> {
        Stage {
            pace: self,
            timed: self.is_slow.get().then(|| (Instant::now(), 0)),
        }
    }

    /// Whether handlers of this kind of stage took long when they were looked at last.
    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow.get()
    }
}

impl Stage<'_> {
    /// How many messages to run before the next question whether it [is over](Self::is_over).
    #[inline]
    pub(crate) fn batch(&self) -> usize {
        if self.timed.is_some() { 1 } else { BATCH }
    }

    /// Whether its time is up, after a [batch](Self::batch). `has_ticked` asks the coarse clock.
    #[inline]
    pub(crate) fn is_over(&mut self, has_ticked: impl FnOnce() -> bool) -> bool {
        match &mut self.timed {
            None => {
                if has_ticked() {
                    self.timed = Some((Instant::now(), 0));
                }
                false
            }
            Some((since, messages)) => {
                *messages += 1;
                since.elapsed() >= BUDGET
            }
        }
    }
}

impl Drop for Stage<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some((since, messages @ 1..)) = self.timed {
            self.pace.is_slow.set(since.elapsed() / messages >= SLOW);
        }
    }
}

/// Messages between two looks at the coarse clock.
pub(crate) const BATCH: usize = 32;

/// What a stage may take; its last message may take it over.
const BUDGET: Duration = Duration::from_micros(100);

/// A message that takes so long can bear a look at the clock.
const SLOW: Duration = Duration::from_micros(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(time: Duration) {
        let since = Instant::now();
        while since.elapsed() < time {}
    }

    #[test]
    fn slow_messages_end_a_stage_in_time_and_quick_ones_do_not() {
        let pace = Pace::default();
        let mut stage = pace.begin();
        assert_eq!(stage.batch(), BATCH);
        assert!(!stage.is_over(|| false) && !stage.is_over(|| true));
        assert_eq!(stage.batch(), 1, "the coarse clock has ticked");
        let mut messages = 0;
        let over = loop {
            busy(Duration::from_micros(40));
            messages += 1;
            if stage.is_over(|| false) {
                break messages;
            }
        };
        assert!(over <= 3, "{over} messages of 40 us");
        drop(stage);
        assert!(pace.is_slow());
        assert_eq!(pace.begin().batch(), 1);
    }

    #[test]
    fn a_tick_among_quick_messages_is_soon_forgotten() {
        let pace = Pace::default();
        let mut stage = pace.begin();
        stage.is_over(|| true);
        let since = Instant::now();
        let mut messages = 0_u32;
        while messages < 1000 {
            stage.is_over(|| false);
            messages += 1;
        }
        let average = since.elapsed() / messages;
        drop(stage);
        // A loaded machine may stop us in the middle.
        assert!(!pace.is_slow() || average >= SLOW / 2);
    }
}
