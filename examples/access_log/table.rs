//! The report for people: aligned tables. Numbers come first and names last, so that names of any
//! length and script disturb nothing. What a log contains is shown, never obeyed: characters that
//! would control a terminal are escaped.

use std::collections::BTreeMap;

use crate::report::Report;

/// The whole report as text.
pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut section = |title: &str, rows: Vec<Vec<String>>| {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{title}\n{}", aligned(&rows)));
    };
    section("The log", totals(report));
    section(
        "Requests by status",
        counts(report.by_status.iter().map(|(s, n)| (s.as_str(), *n))),
    );
    section("Busiest paths", named(&report.top_paths));
    section("Busiest clients", named(&report.top_clients));
    section("Where the grains lived", places(report));
    section("Messages", messages(report));
    text
}

fn totals(report: &Report) -> Vec<Vec<String>> {
    let rows = [
        ("lines", report.lines),
        ("unparsable lines", report.unparsable),
        ("clients", report.clients),
        ("requests", report.requests),
        ("bytes", report.bytes),
    ];
    counts(rows)
}

fn messages(report: &Report) -> Vec<Vec<String>> {
    let counters = &report.counters;
    let per_second = report.messages as f64 / report.seconds.max(f64::MIN_POSITIVE);
    let mut rows = counts([
        ("hits told to clients, paths and statuses", report.messages),
        ("of them per second", per_second as u64),
        ("messages sent in all, with the questions", counters.sent),
        ("handled", counters.handled),
        ("dropped", counters.dropped_total()),
    ]);
    rows.extend(counts(
        counters
            .dropped
            .iter()
            .map(|(reason, n)| (reason.as_str(), *n)),
    ));
    rows.extend(counts([
        (
            "crossings between shards of a node",
            counters.lane_envelopes,
        ),
        ("frames sent to other nodes", counters.frames_out),
        ("frames received", counters.frames_in),
    ]));
    let rare = [
        ("datagrams that met the wrong shard", counters.misrouted),
        (
            "frames that a broken link did not send",
            counters.frames_unsent,
        ),
        (
            "frames that a broken link may have sent",
            counters.frames_doubtful,
        ),
        ("replies that nobody waited for", counters.replies_dropped),
    ];
    rows.extend(counts(rare.into_iter().filter(|(_, n)| *n > 0)));
    rows
}

fn places(report: &Report) -> Vec<Vec<String>> {
    let heads = ["node", "shard", "clients", "paths", "statuses", "grains"];
    let mut rows = vec![heads.map(String::from).to_vec()];
    for place in &report.placement {
        let counts = [place.clients, place.paths, place.statuses, place.grains];
        let mut row = vec![place.node.to_string(), place.shard.to_string()];
        row.extend(counts.map(grouped));
        rows.push(row);
    }
    rows
}

fn named(list: &[(String, u64)]) -> Vec<Vec<String>> {
    counts(list.iter().map(|(name, count)| (name.as_str(), *count)))
}

fn counts<'a>(rows: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<Vec<String>> {
    rows.into_iter()
        .map(|(name, count)| vec![grouped(count), shown(name)])
        .collect()
}

/// Columns, two spaces between them; what looks like a number is aligned to the right.
fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
    for (column, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        let width = widths.entry(column).or_default();
        *width = cell.len().max(*width);
    }
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let is_name = row.len() == NAMED && column + 1 == NAMED;
            let width = if is_name { 0 } else { widths[&column] };
            text.push_str(&format!("  {cell:>width$}"));
        }
        text.push('\n');
    }
    text
}

/// A number with a comma before every third digit.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A name as it can be printed: on one line, not too long, and without power over the terminal.
fn shown(name: &str) -> String {
    let mut text = String::new();
    for (at, char) in name.chars().enumerate() {
        if at == SHOWN_MAX {
            text.push_str("...");
            break;
        }
        match char {
            '"' | '\'' | '\\' => text.push(char),
            char => text.extend(char.escape_debug()),
        }
    }
    text
}

/// Cells in a row of a number and a name.
const NAMED: usize = 2;

/// Characters of a name that are shown.
const SHOWN_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn names_have_no_power_over_the_terminal() {
        assert_eq!(shown("/a\"b'c\\d \u{e9}"), "/a\"b'c\\d \u{e9}");
        assert_eq!(
            shown("/\u{1b}[2J\r\u{202e}x\u{9b}"),
            "/\\u{1b}[2J\\r\\u{202e}x\\u{9b}"
        );
        let long = shown(&"x".repeat(1000));
        assert_eq!(long, format!("{}...", "x".repeat(SHOWN_MAX)));
    }

    #[test]
    fn columns_are_aligned() {
        let cells = |row: [&str; 2]| row.map(String::from).to_vec();
        let rows = [cells(["1,000", "a long name"]), cells(["7", "b"])];
        assert_eq!(aligned(&rows), "  1,000  a long name\n      7  b\n");
    }
}
