//! How long to wait before dialling again.

use std::time::Duration;

/// 100 ms, doubled with every failure up to 400 ms, and up to half of it taken off at random, so
/// that the shards of a cluster do not dial a restarted node all at once.
pub(super) fn backoff(failures: u32) -> Duration {
    let full = BACKOFF_MIN
        .saturating_mul(1 << failures.saturating_sub(1).min(7))
        .min(BACKOFF_MAX);
    let mut random = [0; 2];
    // Without randomness there is no jitter, which is no reason to fail.
    let _ = getrandom::fill(&mut random);
    full - full.mul_f64(0.5 * f64::from(u16::from_le_bytes(random)) / 65_536.0)
}

const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// So short that traffic flows within a second of a peer's start. An attempt is one datagram or
/// a few.
const BACKOFF_MAX: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_and_stays_within_its_bounds() {
        for failures in 1..20 {
            let full = (100_u64 << (failures - 1).min(7)).min(400);
            let pause = backoff(failures);
            assert!(
                pause >= Duration::from_millis(full / 2),
                "{failures}: {pause:?}"
            );
            assert!(
                pause <= Duration::from_millis(full),
                "{failures}: {pause:?}"
            );
        }
    }
}
