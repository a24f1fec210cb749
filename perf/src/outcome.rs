//! Slices become figures: medians of rates, percentiles of all latencies together.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::machine;
use crate::measure::Measured;
use crate::sample::{Sample, Steering};
use crate::settings::Settings;
use crate::workload::Workload;

/// The figures of one workload. What does not apply is absent.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub workload: Workload,
    /// Messages per second: the median over the slices.
    pub rate: f64,
    /// The same of the raw limit.
    pub raw: Option<f64>,
    /// How near the limit is: of rates where the limit is one, else of medians of latency.
    pub ratio: Option<f64>,
    pub p50_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub p999_ns: Option<u64>,
    pub max_ns: Option<u64>,
    pub raw_p50_ns: Option<u64>,
    pub raw_p99_ns: Option<u64>,
    /// Latencies without the load that the others are measured under.
    pub quiet_p50_ns: Option<u64>,
    pub quiet_p99_ns: Option<u64>,
    /// Bytes of payload per second, where that says more than messages.
    pub bytes_per_s: Option<f64>,
    pub raw_bytes_per_s: Option<f64>,
    /// The share of frames that arrived at the shard of their grain, where there are several.
    pub own_shard: Option<f64>,
    /// What a grain takes beyond its state and its key.
    pub bytes_per_grain: Option<f64>,
    pub allocs_per_msg: f64,
    /// A cache line between the two CPUs, there and back.
    pub line_ns: Option<f64>,
    pub with: With,
}

/// What it ran with.
#[derive(Debug, Serialize)]
pub(crate) struct With {
    #[serde(flatten)]
    pub settings: Settings,
    pub commit: Option<&'static str>,
    pub cpu_model: Option<String>,
}

impl Outcome {
    /// The figures of these slices.
    pub(crate) fn new(workload: Workload, settings: &Settings, measured: &Measured) -> Self {
        let Measured { slices, lines } = measured;
        let rate = median(slices.iter().map(|(_, sample)| sample.rate())).unwrap_or_default();
        let raw = median(slices.iter().map(|(raw, _)| raw.rate()));
        // What is sent at a rate has no limit to that rate but its own.
        let raw = raw.filter(|_| !workload.has_rate());
        let latencies = merged(slices.iter().map(|(_, sample)| sample));
        let raw_latencies = merged(slices.iter().map(|(raw, _)| raw));
        let at = |quantile: f64| {
            latencies
                .as_ref()
                .map(|all| all.value_at_quantile(quantile))
        };
        let p50_ns = at(0.5);
        let raw_at = |quantile| {
            raw_latencies
                .as_ref()
                .map(|all| all.value_at_quantile(quantile))
        };
        let raw_p50_ns = raw_at(0.5);
        let quiet = merged_of(
            slices
                .iter()
                .filter_map(|(_, sample)| sample.quiet.as_ref()),
        );
        let quiet_at = |quantile| quiet.as_ref().map(|all| all.value_at_quantile(quantile));
        let bytes = |rate| Some(rounded(rate * workload.big_payload()? as f64, 0));
        let ratio = match (p50_ns, raw_p50_ns, raw) {
            (Some(p50), Some(raw), _) => Some(p50 as f64 / raw as f64),
            (_, _, Some(raw)) => Some(rate / raw),
            (_, _, None) => None,
        };
        let (allocations, messages) = slices.iter().fold((0, 0), |sum, (_, sample)| {
            (sum.0 + sample.allocations, sum.1 + sample.messages)
        });
        Self {
            workload,
            rate: rounded_rate(rate),
            raw: raw.map(rounded_rate),
            ratio: ratio.map(|ratio| rounded(ratio, 4)),
            p50_ns,
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: at(1.0),
            raw_p50_ns,
            raw_p99_ns: raw_at(0.99),
            quiet_p50_ns: quiet_at(0.5),
            quiet_p99_ns: quiet_at(0.99),
            bytes_per_s: bytes(rate),
            raw_bytes_per_s: raw.and_then(bytes),
            own_shard: own_shard(slices.iter().filter_map(|(_, sample)| sample.steering)),
            bytes_per_grain: median(
                slices
                    .iter()
                    .filter_map(|(_, sample)| sample.bytes_per_grain),
            )
            .map(|bytes| rounded(bytes, 1)),
            allocs_per_msg: rounded(allocations as f64 / messages.max(1) as f64, 6),
            line_ns: median(lines.iter().copied()).map(|line| rounded(line, 1)),
            with: With {
                settings: settings.clone(),
                commit: machine::commit(),
                cpu_model: machine::cpu_model(),
            },
        }
    }
}

/// All latencies of these samples together, if they have any.
pub(crate) fn merged<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<Histogram<u64>> {
    merged_of(samples.filter_map(|sample| sample.latencies.as_ref()))
}

/// All of these together, if there is anything in them.
pub(crate) fn merged_of<'a>(
    histograms: impl Iterator<Item = &'a Histogram<u64>>,
) -> Option<Histogram<u64>> {
    let mut histograms = histograms.filter(|histogram| !histogram.is_empty());
    let mut all = histograms.next()?.clone();
    for histogram in histograms {
        all.add(histogram).expect("all have the same bounds");
    }
    Some(all)
}

/// The share of frames that needed no hop. A datagram that hopped counts as one frame, whatever
/// was in it.
fn own_shard(slices: impl Iterator<Item = Steering>) -> Option<f64> {
    let sum = slices.reduce(|sum, slice| Steering {
        frames: sum.frames + slice.frames,
        hops: sum.hops + slice.hops,
    })?;
    let hops = sum.hops.min(sum.frames) as f64;
    (sum.frames > 0).then(|| rounded(1.0 - hops / sum.frames as f64, 6))
}

/// The value in the middle, or between the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// A whole number, unless it is so small that this would be a tenth of a per mille.
fn rounded_rate(rate: f64) -> f64 {
    rounded(rate, if rate < 10_000.0 { 2 } else { 0 })
}

fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        let of = |values: &[f64]| median(values.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some(3.0));
        assert_eq!(of(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(of(&[9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }

    #[test]
    fn figures_are_rounded() {
        assert_eq!(rounded(0.123_456, 4), 0.1235);
        assert_eq!(rounded(1234.5, 0), 1235.0);
        assert_eq!(rounded_rate(9.876), 9.88);
        assert_eq!(rounded_rate(12_345.6), 12_346.0);
    }
}
