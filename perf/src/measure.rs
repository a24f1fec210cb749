//! Runs a scenario beside its raw limit, in turns, so that both meet the same machine.

use std::time::{Duration, Instant};

use crate::sample::Sample;
use crate::scenario::Scenario;

/// How a scenario is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// For how long, raw and measured together.
    pub time: Duration,
    /// Whether the scenario can be cut into slices; if not, it is repeated.
    pub is_sliced: bool,
}

/// What came out, slice by slice.
pub(crate) struct Measured {
    /// Raw and measured.
    pub slices: Vec<(Sample, Sample)>,
    /// Nanoseconds of a cache line there and back, where two CPUs took part.
    pub lines: Vec<f64>,
}

/// Measures. Says now and then how much is done, from 0 to 1.
pub(crate) fn measure(
    mut scenario: Box<dyn Scenario>,
    plan: Plan,
    mut progress: impl FnMut(f64),
) -> anyhow::Result<Measured> {
    let mut measured = Measured {
        slices: Vec::new(),
        lines: Vec::new(),
    };
    let slices = SLICES.max((plan.time / 2).div_duration_f64(SLICE_MAX).ceil() as u32);
    let slice = plan.time / (2 * slices);
    if plan.is_sliced {
        // Warms caches, pools and the branch predictor; what it yields is thrown away.
        scenario.raw(slice)?;
        scenario.measured(slice)?;
    }
    let begin = Instant::now();
    for round in 1.. {
        measured.lines.extend(scenario.line()?);
        let raw = scenario.raw(slice)?;
        measured.slices.push((raw, scenario.measured(slice)?));
        let done = if plan.is_sliced {
            f64::from(round) / f64::from(slices)
        } else {
            begin.elapsed().as_secs_f64() / plan.time.as_secs_f64()
        };
        progress(done.min(1.0));
        if done >= 1.0 {
            break;
        }
    }
    scenario.finish()?;
    Ok(measured)
}

/// Slices of each sort, where there are slices; more where they would be too long.
const SLICES: u32 = 10;

/// The longest slice. While raw limits run, nobody drives the links of a node, and they must not
/// be given up for that.
const SLICE_MAX: Duration = Duration::from_secs(1);
