//! The program as its users meet it: every workload runs and fills in its line, the plots can be
//! read, mistakes are answered with a cure. No figure is compared with a clock: tests run on busy
//! machines.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

const WORKLOADS: [&str; 13] = [
    "local-tell",
    "local-call",
    "lane-tell",
    "lane-call",
    "lane-call-many",
    "ingest",
    "activate",
    "mixed",
    "wire-tell",
    "wire-call",
    "wire-call-many",
    "wire-big",
    "wire-mixed",
];

const KEYS: [&str; 19] = [
    "workload",
    "rate",
    "raw",
    "ratio",
    "p50_ns",
    "p99_ns",
    "p999_ns",
    "max_ns",
    "raw_p50_ns",
    "raw_p99_ns",
    "quiet_p50_ns",
    "quiet_p99_ns",
    "bytes_per_s",
    "raw_bytes_per_s",
    "own_shard",
    "bytes_per_grain",
    "allocs_per_msg",
    "line_ns",
    "with",
];

/// Held while the program runs: two at a time would only keep the CPUs from each other.
static CPUS: Mutex<()> = Mutex::new(());

fn cpus() -> MutexGuard<'static, ()> {
    CPUS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn perf(arguments: &str) -> Output {
    let _cpus = cpus();
    let program = env!("CARGO_BIN_EXE_perf");
    let arguments = arguments.split_whitespace();
    Command::new(program).args(arguments).output().unwrap()
}

/// What a run that must succeed prints.
fn printed(arguments: &str) -> String {
    let output = perf(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "perf {arguments}: {errors}");
    assert_eq!(errors, "", "no progress is drawn where nobody watches");
    String::from_utf8(output.stdout).unwrap()
}

/// What a run that must fail says.
fn refused(arguments: &str) -> String {
    let output = perf(arguments);
    assert!(!output.status.success(), "perf {arguments} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

/// The one line of a short run.
fn figures(workload: &str, more: &str) -> Value {
    let text = printed(&format!("{workload} --seconds 0.2 --json {more}"));
    assert_eq!(text.lines().count(), 1, "{text}");
    let line: Value = serde_json::from_str(&text).unwrap();
    let keys: BTreeSet<_> = line
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, BTreeSet::from(KEYS));
    assert_eq!(line["workload"], workload);
    line
}

fn number(line: &Value, key: &str) -> f64 {
    let value = line[key].as_f64();
    value.unwrap_or_else(|| panic!("{key} is no number: {line}"))
}

fn assert_absent(line: &Value, keys: &[&str]) {
    for key in keys {
        assert!(line[key].is_null(), "{key} has no meaning here: {line}");
    }
}

fn assert_throughput(line: &Value) {
    let (rate, raw) = (number(line, "rate"), number(line, "raw"));
    assert!(rate > 0.0 && raw > 0.0, "{line}");
    assert_about(number(line, "ratio"), rate / raw);
    assert!(number(line, "allocs_per_msg") >= 0.0, "{line}");
}

fn assert_latencies(line: &Value) {
    let keys = ["p50_ns", "p99_ns", "p999_ns", "max_ns"];
    let latencies = keys.map(|key| number(line, key));
    assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{line}");
}

fn assert_about(value: f64, expected: f64) {
    let near = (value - expected).abs() <= 0.01 * expected.abs() + 0.0001;
    assert!(near, "{value} is not about {expected}");
}

#[test]
fn tells_are_compared_by_rate() {
    for workload in ["local-tell", "lane-tell", "ingest", "wire-tell"] {
        let line = figures(workload, "--grains 100");
        assert_throughput(&line);
        assert_absent(
            &line,
            &["p50_ns", "max_ns", "raw_p50_ns", "bytes_per_grain"],
        );
        assert_eq!(
            line["line_ns"].is_null(),
            workload == "local-tell",
            "{line}"
        );
    }
}

#[test]
fn calls_are_compared_by_latency() {
    for workload in ["local-call", "lane-call", "wire-call"] {
        let line = figures(workload, "--grains 100");
        assert_latencies(&line);
        let ratio = number(&line, "p50_ns") / number(&line, "raw_p50_ns");
        assert_about(number(&line, "ratio"), ratio);
        assert!(
            number(&line, "rate") > 0.0 && number(&line, "raw") > 0.0,
            "{line}"
        );
        assert!(number(&line, "line_ns") > 0.0, "{line}");
    }
}

#[test]
fn a_sleeping_shard_is_compared_with_a_sleeping_thread() {
    let line = figures("lane-call", "--grains 10 --idle park");
    assert_latencies(&line);
    assert!(number(&line, "raw_p50_ns") > 0.0, "{line}");
    assert_eq!(line["with"]["idle"], "park");
}

#[test]
fn many_calls_have_a_rate_and_latencies() {
    for workload in ["lane-call-many", "wire-call-many"] {
        let line = figures(workload, "--grains 100 --window 32");
        assert_throughput(&line);
        assert_latencies(&line);
        assert_absent(&line, &["raw_p50_ns"]);
        assert_eq!(line["with"]["window"], 32);
    }
}

#[test]
fn activation_is_compared_with_a_map_and_says_what_a_grain_takes() {
    let line = figures("activate", "--grains 5000");
    assert_throughput(&line);
    assert!(number(&line, "bytes_per_grain") > 0.0, "{line}");
    assert!(number(&line, "allocs_per_msg") > 0.0, "{line}");
    assert_eq!(line["with"]["grains"], 5000);
}

#[test]
fn an_open_loop_keeps_its_rate_and_has_no_raw_one() {
    for workload in ["mixed", "wire-mixed"] {
        let line = figures(workload, "--grains 100 --rate 2000");
        assert_latencies(&line);
        assert_absent(&line, &["raw", "bytes_per_grain"]);
        // It never sends early; on a busy machine it may end late, nobody knows how late.
        let rate = number(&line, "rate");
        assert!(0.0 < rate && rate <= 2000.0 * MANY_DUE, "{line}");
        assert_eq!(line["with"]["rate"], 2000.0);
    }
}

#[test]
fn big_payloads_are_told_in_bytes_and_small_calls_with_and_without_them() {
    let line = figures("wire-big", "--grains 100");
    assert_throughput(&line);
    assert_latencies(&line);
    for (bytes, rate) in [("bytes_per_s", "rate"), ("raw_bytes_per_s", "raw")] {
        let mib = number(&line, bytes) / f64::from(1 << 20);
        // The rate of so few was rounded.
        assert!((mib - number(&line, rate)).abs() <= 1.0, "{line}");
    }
    let (p50, p99) = (number(&line, "quiet_p50_ns"), number(&line, "quiet_p99_ns"));
    assert!(0.0 < p50 && p50 <= p99, "{line}");
}

#[test]
fn several_shards_say_how_many_frames_found_their_own() {
    for workload in ["wire-tell", "wire-call-many"] {
        let line = figures(workload, "--grains 100 --shards 2 --window 32");
        let share = number(&line, "own_shard");
        // Whoever sends knows the shard, and the kernel steers: hops are rare.
        assert!((0.9..=1.0).contains(&share), "{line}");
        assert_eq!(line["with"]["shards"], 2);
    }
    let line = figures("wire-tell", "--grains 100");
    assert_absent(&line, &["own_shard", "quiet_p50_ns", "bytes_per_s"]);
}

/// The first process that this one has started, once there is one.
fn child_of(parent: u32) -> u32 {
    let file = format!("/proc/{parent}/task/{parent}/children");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let children = fs::read_to_string(&file).unwrap();
        if let Some(child) = children.split_whitespace().next() {
            return child.parse().unwrap();
        }
        assert!(Instant::now() < deadline, "no far side was started");
        std::thread::yield_now();
    }
}

/// Whether a process runs. One that nobody has waited for does not.
fn runs(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| {
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        !rest.starts_with(['Z', 'X'])
    })
}

#[test]
fn the_far_side_dies_with_a_near_side_that_is_killed() {
    let _cpus = cpus();
    let mut near = Command::new(env!("CARGO_BIN_EXE_perf"))
        .args(["wire-tell", "--seconds", "600", "--grains", "10"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let far = child_of(near.id());
    assert!(runs(far));
    near.kill().unwrap();
    near.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while runs(far) {
        assert!(Instant::now() < deadline, "the far side lives on");
        std::thread::yield_now();
    }
}

#[test]
fn a_far_side_that_dies_fails_the_run_and_says_so() {
    let _cpus = cpus();
    let near = Command::new(env!("CARGO_BIN_EXE_perf"))
        .args(["wire-call", "--seconds", "600", "--grains", "10"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let far = child_of(near.id()).to_string();
    let killed = Command::new("kill").args(["-9", &far]).status().unwrap();
    assert!(killed.success());
    let output = near.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.starts_with("error: wire-call failed"), "{said}");
}

#[test]
fn a_far_side_that_nobody_orders_about_ends() {
    let output = Command::new(env!("CARGO_BIN_EXE_perf"))
        .arg("far-side")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "{output:?}");
}

/// Longer than a process takes to start or to end on the busiest of machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// A slice of 10 ms holds 20 messages at that rate, and may end right after the last was due.
const MANY_DUE: f64 = 1.2;

#[test]
fn what_it_ran_with_is_told() {
    let line = figures(
        "lane-tell",
        "--grains 7 --payload 128 --idle spin --window 9",
    );
    let with = &line["with"];
    assert_eq!(with["seconds"], 0.2);
    assert_eq!(with["payload"], 128);
    assert_eq!(with["grains"], 7);
    assert_eq!(with["window"], 9);
    assert_eq!(with["idle"], "spin");
    assert_eq!(with["cpus"].as_array().unwrap().len(), 2);
    assert!(with["rate"].is_null(), "{line}");
    for key in ["commit", "cpu_model"] {
        assert!(with.get(key).is_some(), "{key} is missing: {line}");
    }
}

#[test]
fn all_sizes_of_payload_travel() {
    for size in [8, 16, 32, 256, 512, 1024, 4096] {
        let line = figures("lane-tell", &format!("--grains 10 --payload {size}"));
        assert_throughput(&line);
    }
}

#[test]
fn all_workloads_fit_one_table() {
    let text = printed("all --seconds 0.1 --grains 200 --rate 2000");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("workload"), "{text}");
    for (line, workload) in lines[1..].iter().zip(WORKLOADS) {
        assert!(line.starts_with(workload), "{text}");
        assert_eq!(line.len(), lines[0].len(), "columns are aligned:\n{text}");
    }
    assert!(
        lines.len() > WORKLOADS.len() + 1,
        "the machine is named:\n{text}"
    );
}

#[test]
fn the_list_explains_every_workload() {
    let text = printed("list");
    for workload in WORKLOADS {
        assert!(
            text.lines().any(|line| line.starts_with(workload)),
            "{text}"
        );
    }
    assert_eq!(text.matches("raw limit:").count(), WORKLOADS.len());
}

#[test]
fn plots_have_titles_axes_and_legends() {
    let folder = tempfile::tempdir().unwrap();
    let plot = |workload: &str| {
        let file = folder.path().join(format!("{workload}.svg"));
        printed(&format!(
            "{workload} --seconds 0.1 --grains 20 --plot {}",
            file.display()
        ));
        fs::read_to_string(file).unwrap()
    };
    let latencies = plot("lane-call");
    for text in [
        "lane-call: one grain",
        "percentile",
        "latency",
        "90 %",
        "raw limit, median",
    ] {
        assert!(latencies.contains(text), "{text} is missing:\n{latencies}");
    }
    let rates = plot("lane-tell");
    for text in [
        "lane-tell: one grain",
        "messages per second",
        "time measured",
        "raw limit",
    ] {
        assert!(rates.contains(text), "{text} is missing:\n{rates}");
    }
    assert!(latencies.trim_end().ends_with("</svg>") && rates.trim_end().ends_with("</svg>"));
}

#[test]
fn mistakes_are_answered_with_a_cure() {
    let sizes = refused("lane-tell --payload 65");
    assert!(
        sizes.contains("8, 16, 32, 64, 128, 256, 512, 1024, 4096"),
        "{sizes}"
    );
    let names = refused("lane-shout");
    assert!(
        WORKLOADS.iter().all(|workload| names.contains(workload)),
        "{names}"
    );
    assert!(!names.contains("far-side"), "{names}");
    let folder = refused("lane-tell --plot /nowhere/at/all.svg");
    assert!(folder.contains("its folder must exist"), "{folder}");
    let zero = refused("lane-tell --seconds 0");
    assert!(zero.contains("between"), "{zero}");
}
