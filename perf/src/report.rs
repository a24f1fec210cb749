//! Figures for people: one table, aligned, in units that are easy to compare.

use crate::outcome::Outcome;
use crate::units::{bytes_rate, duration, rate};

/// The table of these figures, empty if there are none.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let Some(first) = outcomes.first() else {
        return String::new();
    };
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    rows.extend(outcomes.iter().map(row));
    format!("{}\n{}", aligned(&rows), footer(outcomes, first))
}

const HEADS: [&str; 12] = [
    "workload",
    "rate",
    "raw",
    "ratio",
    "p50",
    "p99",
    "p99.9",
    "max",
    "raw p50",
    "raw p99",
    "bytes/grain",
    "allocs/msg",
];

fn row(outcome: &Outcome) -> Vec<String> {
    let time = |ns: Option<u64>| or_dash(ns, |ns| duration(ns as f64));
    vec![
        outcome.workload.name().to_owned(),
        rate(outcome.rate),
        or_dash(outcome.raw, rate),
        or_dash(outcome.ratio, ratio),
        time(outcome.p50_ns),
        time(outcome.p99_ns),
        time(outcome.p999_ns),
        time(outcome.max_ns),
        time(outcome.raw_p50_ns),
        time(outcome.raw_p99_ns),
        or_dash(outcome.bytes_per_grain, |bytes| format!("{bytes:.0} B")),
        format!("{:.3}", outcome.allocs_per_msg),
    ]
}

fn footer(outcomes: &[Outcome], first: &Outcome) -> String {
    let settings = &first.with.settings;
    let mut text: String = outcomes.iter().filter_map(note).collect();
    text += &format!(
        "{} B a message, idle {}, CPUs {} and {}",
        settings.payload,
        format!("{:?}", settings.idle).to_lowercase(),
        settings.cpus[0],
        settings.cpus[1],
    );
    if let Some(model) = &first.with.cpu_model {
        text.push_str(&format!(" ({model})"));
    }
    let mut lines: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.line_ns)
        .collect();
    lines.sort_by(f64::total_cmp);
    if let (Some(least), Some(most)) = (lines.first(), lines.last()) {
        let (least, most) = (duration(*least), duration(*most));
        text.push_str(&if least == most {
            format!(", a cache line there and back {least}")
        } else {
            format!(", a cache line there and back {least} to {most}")
        });
    }
    if let Some(commit) = first.with.commit {
        text.push_str(&format!(", commit {commit}"));
    }
    text.push('\n');
    text
}

/// A line about what has no column.
fn note(outcome: &Outcome) -> Option<String> {
    let mut parts = Vec::new();
    if let (Some(ours), Some(raw)) = (outcome.bytes_per_s, outcome.raw_bytes_per_s) {
        parts.push(format!("{}, raw {}", bytes_rate(ours), bytes_rate(raw)));
    }
    if let (Some(p50), Some(p99)) = (outcome.quiet_p50_ns, outcome.quiet_p99_ns) {
        let (p50, p99) = (duration(p50 as f64), duration(p99 as f64));
        parts.push(format!("small calls alone p50 {p50}, p99 {p99}"));
    }
    if let Some(share) = outcome.own_shard {
        let share = 100.0 * share;
        parts.push(format!(
            "{share:.2} % of frames arrived at the shard of their grain"
        ));
    }
    let name = outcome.workload.name();
    (!parts.is_empty()).then(|| format!("{name}: {}\n", parts.join("; ")))
}

/// A quotient, with three digits where it is near 1.
fn ratio(ratio: f64) -> String {
    let digits = match ratio {
        ratio if ratio < 10.0 => 3,
        ratio if ratio < 100.0 => 1,
        _ => 0,
    };
    format!("{ratio:.digits$}")
}

fn or_dash<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), text)
}

/// Columns, two spaces between them; the first to the left, the others to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(&match column {
                0 => format!("{cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            });
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let cells = |row: [&str; 3]| row.map(String::from).to_vec();
        let rows = [cells(["name", "x", "1.00 us"]), cells(["n", "100", "-"])];
        assert_eq!(aligned(&rows), "name    x  1.00 us\nn     100        -\n");
    }
}
