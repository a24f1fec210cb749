//! What a shard does when there is nothing to do: poll on, or sleep.
//!
//! A wake-up costs some microseconds on either side, so polling a little before sleeping pays when
//! work comes back soon, and is a waste when it does not. [`Idler`] finds out which: its window
//! grows when work came within it, or soon after sleep began, and shrinks when it was waited out.

use std::time::{Duration, Instant};

/// What the shards of a node do while they have nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdleStrategy {
    /// Sleep at once: least CPU, and every message to an idle shard costs a wake-up.
    Park,
    /// Poll for at most this long, less when polling has not paid lately, then sleep.
    Spin(Duration),
    /// Poll for ever: least latency, and each shard takes a whole CPU all the time.
    BusyPoll,
}

impl Default for IdleStrategy {
    /// Polls for at most 50 us, about what going to sleep and being woken costs.
    fn default() -> Self {
        Self::Spin(Duration::from_micros(50))
    }
}

impl IdleStrategy {
    /// The longest time to poll that is still called polling.
    pub(crate) const SPIN_MAX: Duration = Duration::from_secs(1);
}

/// What to do in this idle turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Look again at once.
    Poll,
    /// Let other threads on this CPU run, then look again.
    Yield,
    /// Sleep until something happens.
    Park,
}

/// Decides what an idle shard does next. Sans I/O: it is told what happened and when.
#[derive(Debug)]
pub(crate) struct Idler {
    strategy: IdleStrategy,
    /// Whether other shards of the node have the same CPU, so that polling keeps them from it.
    crowded: bool,
    /// How long to poll before sleeping, between `max / SHRINK_LIMIT` and `max`.
    window: Duration,
    /// Since when there has been nothing to do.
    since: Option<Instant>,
    /// Since when it has slept, until the next work.
    parked: Option<Instant>,
    polls: u32,
}

impl Idler {
    pub(crate) fn new(strategy: IdleStrategy, crowded: bool) -> Self {
        let window = match strategy {
            IdleStrategy::Spin(max) => max,
            IdleStrategy::Park | IdleStrategy::BusyPoll => Duration::ZERO,
        };
        Self {
            strategy,
            crowded,
            window,
            since: None,
            parked: None,
            polls: 0,
        }
    }

    /// A turn found nothing to do.
    pub(crate) fn handle_idle(&mut self, now: Instant) -> Idle {
        let max = match self.strategy {
            IdleStrategy::Park => return Idle::Park,
            IdleStrategy::BusyPoll => return self.poll(),
            IdleStrategy::Spin(max) => max,
        };
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < self.window {
            return self.poll();
        }
        if self.parked.is_none() {
            self.parked = Some(now);
            self.window = (self.window / 2).max(max / SHRINK_LIMIT);
        }
        Idle::Park
    }

    /// A turn found work.
    pub(crate) fn handle_work(&mut self, now: Instant) {
        let Some(_) = self.since.take() else { return };
        let IdleStrategy::Spin(max) = self.strategy else {
            return;
        };
        match self.parked.take() {
            Some(parked) if now.saturating_duration_since(parked) > max => {}
            Some(_) => self.window = max,
            None => self.window = (self.window * 2).min(max),
        }
    }

    /// Whether it ever polls.
    pub(crate) fn may_poll(&self) -> bool {
        self.strategy != IdleStrategy::Park
    }

    /// Whether time matters to [`handle_work`](Self::handle_work) now.
    pub(crate) fn was_idle(&self) -> bool {
        self.since.is_some()
    }

    fn poll(&mut self) -> Idle {
        self.polls = self.polls.wrapping_add(1);
        let spinning = matches!(self.strategy, IdleStrategy::Spin(_));
        if self.crowded || (spinning && self.polls.is_multiple_of(POLLS_PER_YIELD)) {
            Idle::Yield
        } else {
            Idle::Poll
        }
    }
}

/// The window shrinks to this part of its longest, so that it can find out when times change.
const SHRINK_LIMIT: u32 = 16;

/// A shard that is to sleep soon lets others have its CPU now and then; looking takes some 50 ns
/// and yielding some 400.
const POLLS_PER_YIELD: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_micros(64);

    fn parks_after(idler: &mut Idler, from: Instant) -> Duration {
        for us in 0.. {
            let passed = Duration::from_micros(us);
            if idler.handle_idle(from + passed) == Idle::Park {
                return passed;
            }
        }
        unreachable!()
    }

    #[test]
    fn polling_that_does_not_pay_gets_shorter_down_to_a_limit() {
        let mut idler = Idler::new(IdleStrategy::Spin(MAX), false);
        let mut now = Instant::now();
        let mut times = Vec::new();
        for _ in 0..6 {
            times.push(parks_after(&mut idler, now).as_micros());
            now += Duration::from_secs(1);
            idler.handle_work(now);
        }
        assert_eq!(times, [64, 32, 16, 8, 4, 4]);
    }

    #[test]
    fn work_within_the_window_or_soon_after_makes_polling_longer() {
        let mut idler = Idler::new(IdleStrategy::Spin(MAX), false);
        let mut now = Instant::now();
        for _ in 0..6 {
            parks_after(&mut idler, now);
            now += Duration::from_secs(1);
            idler.handle_work(now);
        }
        idler.handle_idle(now);
        idler.handle_work(now + Duration::from_micros(1));
        assert_eq!(parks_after(&mut idler, now).as_micros(), 8);
        idler.handle_work(now + Duration::from_micros(20));
        assert_eq!(parks_after(&mut idler, now), MAX);
    }

    #[test]
    fn the_extremes_never_poll_and_never_park() {
        let now = Instant::now();
        let mut idler = Idler::new(IdleStrategy::Park, false);
        assert_eq!(idler.handle_idle(now), Idle::Park);
        let mut idler = Idler::new(IdleStrategy::BusyPoll, false);
        let later = now + Duration::from_secs(3600);
        assert!((0..1000).all(|_| idler.handle_idle(later) == Idle::Poll));
    }

    #[test]
    fn a_crowded_shard_yields_whenever_it_polls() {
        let now = Instant::now();
        for strategy in [IdleStrategy::BusyPoll, IdleStrategy::default()] {
            let mut idler = Idler::new(strategy, true);
            assert_eq!(idler.handle_idle(now), Idle::Yield);
        }
    }
}
