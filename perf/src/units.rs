//! Figures with units, for people: three digits each.

/// Messages per second.
pub(crate) fn rate(per_second: f64) -> String {
    scaled(per_second, &["/s", "k/s", "M/s", "G/s"])
}

/// Bytes per second.
pub(crate) fn bytes_rate(per_second: f64) -> String {
    scaled(per_second, &["B/s", "kB/s", "MB/s", "GB/s"])
}

/// A time.
pub(crate) fn duration(ns: f64) -> String {
    scaled(ns, &["ns", "us", "ms", "s"])
}

/// Each unit is a thousand of the one before.
fn scaled(value: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next().unwrap_or(&"");
    // From here on three digits would be written as four.
    while value >= 999.5
        && let Some(larger) = units.next()
    {
        (value, unit) = (value / 1000.0, larger);
    }
    let digits = match value {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let cases = [
            (0.0, "0 ns"),
            (1.0, "1.00 ns"),
            (99.94, "99.9 ns"),
            (99.96, "100 ns"),
            (140.0, "140 ns"),
            (999.4, "999 ns"),
            (999.9, "1.00 us"),
            (12_345.0, "12.3 us"),
            (5_000_000_000.0, "5.00 s"),
            (60_000_000_000.0, "60.0 s"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text);
        }
        assert_eq!(rate(240_123_456.0), "240 M/s");
    }
}
