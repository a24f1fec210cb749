//! When a link whose connection broke is dialled again, and when it is given up.

use std::time::{Duration, Instant};

use crate::{
    error::LinkError,
    limits::{ATTEMPT_PAUSE, ATTEMPT_PAUSE_MAX},
};

/// A link without a connection, or with one that is not up yet.
#[derive(Debug)]
pub(crate) struct Resumption {
    /// When to give up.
    pub(crate) until: Instant,
    /// Why the connection broke, and what a log should say about it.
    pub(crate) reason: LinkError,
    pub(crate) detail: String,
    /// When to dial again; `None` while that is under way, and at the end that was dialled.
    pub(crate) dial_at: Option<Instant>,
    attempts: u32,
}

impl Resumption {
    pub(crate) fn new(reason: LinkError, detail: String, until: Instant) -> Self {
        Self {
            until,
            reason,
            detail,
            dial_at: None,
            attempts: 0,
        }
    }

    /// Plans the next attempt: the first at once, later ones with growing pauses.
    pub(crate) fn plan(&mut self, now: Instant) {
        let pause = match self.attempts {
            0 => Duration::ZERO,
            attempts => jittered(
                ATTEMPT_PAUSE
                    .saturating_mul(1 << (attempts - 1).min(8))
                    .min(ATTEMPT_PAUSE_MAX),
            ),
        };
        self.attempts += 1;
        self.dial_at = Some(now + pause);
    }

    /// When something has to be done.
    pub(crate) fn due(&self) -> Instant {
        self.dial_at.map_or(self.until, |at| at.min(self.until))
    }
}

/// Up to half less, at random, so that links which broke together are not dialled together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness there is no jitter, which is no reason to fail.
    let _ = getrandom::fill(&mut random);
    pause - pause.mul_f64(0.5 * f64::from(u16::from_le_bytes(random)) / 65_536.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_is_made_at_once_and_later_ones_with_bounded_pauses() {
        let now = Instant::now();
        let mut resumption = Resumption::new(LinkError::Reset, String::new(), now);
        resumption.plan(now);
        assert_eq!(resumption.dial_at, Some(now));
        for _ in 0..40 {
            resumption.plan(now);
            let pause = resumption.dial_at.unwrap() - now;
            assert!(pause >= ATTEMPT_PAUSE / 2 && pause <= ATTEMPT_PAUSE_MAX);
        }
        assert!(resumption.dial_at.unwrap() - now >= ATTEMPT_PAUSE_MAX / 2);
    }
}
