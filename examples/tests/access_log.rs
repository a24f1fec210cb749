//! `access_log` counts what is in the log, whatever the nodes and shards, and loses nothing.

#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use common::{Ended, PATIENCE, end, example, within};
use serde_json::{Value, json};

const SAMPLE: &[u8] = include_bytes!("../access_log/sample.log");

#[test]
fn the_sample_is_counted_whatever_the_nodes_and_shards() {
    let expected = count(SAMPLE);
    assert!(
        expected.requests > 150 && expected.unparsable > 5,
        "the sample shows something"
    );
    for options in [
        "--nodes 1",
        "--nodes 1 --shards 2",
        "--nodes 2",
        "--nodes 2 --shards 2",
    ] {
        let (report, stderr) = report(access_log(options), b"");
        expected.assert_equal(&report);
        assert!(stderr.contains("made up"), "{stderr}");
        let places = report["placement"].as_array().unwrap().len();
        let shards = options
            .split(' ')
            .filter_map(|word| word.parse::<usize>().ok());
        assert_eq!(
            places,
            shards.product::<usize>(),
            "grains live on every shard"
        );
    }
}

#[test]
fn the_sample_is_counted_by_processes() {
    let expected = count(SAMPLE);
    for options in [
        "--processes",
        "--processes --nodes 1 --shards 2",
        "--processes --nodes 3",
    ] {
        let (report, _) = report(access_log(options), b"");
        expected.assert_equal(&report);
        assert!(report["counters"]["frames_in"].as_u64().unwrap() > 0);
        for place in report["placement"].as_array().unwrap() {
            assert_ne!(
                place["node"],
                json!(4),
                "the node that only sends owns nothing"
            );
        }
    }
}

#[test]
fn a_client_in_a_hurry_loses_nothing() {
    let mut log = String::new();
    for hit in 0..30_000 {
        let page = hit % 7;
        log += &format!("192.0.2.1 - - [now] \"GET /page/{page} HTTP/1.1\" 200 {hit}\n");
    }
    for options in ["--nodes 2 -", "--nodes 1 --shards 2 -", "--processes -"] {
        let (report, stderr) = report(access_log(options), log.as_bytes());
        count(log.as_bytes()).assert_equal(&report);
        assert_eq!(stderr, "");
    }
}

#[test]
fn many_clients_and_paths_lose_nothing() {
    let mut log = String::new();
    for hit in 0_u32..20_000 {
        let [_, b, c, d] = hit.wrapping_mul(2_654_435_761).to_be_bytes();
        let status = 200 + hit % 3;
        log += &format!("2001:db8::{b:x}{c:02x} - - [now] \"GET /{d}/{b} X\" {status} 1\n");
    }
    for options in ["--nodes 3 -", "--nodes 2 --processes -"] {
        let (report, _) = report(access_log(options), log.as_bytes());
        count(log.as_bytes()).assert_equal(&report);
    }
}

#[test]
fn names_and_lines_may_be_long() {
    let mut log = Vec::new();
    let long = "\u{e4}/".repeat(100_000);
    for end in ["one", "one", "two"] {
        let request = format!("GET /{long}{end} HTTP/1.1");
        log.extend(format!("{}.example - - [now] \"{request}\" 200 5\n", &long[..999]).bytes());
    }
    log.extend(vec![b'x'; 3 << 20]);
    log.extend(b"\nfc00::1 - - [now] \"GET / X\" 200 -");
    let (report, _) = report(access_log("--nodes 2 -"), &log);
    count(&log).assert_equal(&report);
    assert_eq!(report["top_paths"][0], json!([format!("/{long}one"), 2]));
    assert_eq!(
        (&report["clients"], &report["unparsable"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn a_log_of_nothing_has_a_report_of_nothing() {
    for log in ["", "\n\n\n"] {
        let (report, _) = report(access_log("-"), log.as_bytes());
        count(b"").assert_equal(&report);
        assert_eq!(report["placement"], json!([]));
    }
}

#[test]
fn tables_say_the_same_as_json() {
    let ended = run(&mut access_log("--nodes 2"), b"");
    assert!(ended.status.success(), "{}", ended.stderr);
    let expected = count(SAMPLE);
    let row = |count: u64, name: &str| {
        let is_row =
            |line: &str| line.trim().split_once("  ") == Some((count.to_string().as_str(), name));
        assert!(
            ended.stdout.lines().any(is_row),
            "{count} {name}:\n{}",
            ended.stdout
        );
    };
    row(expected.unparsable, "unparsable lines");
    row(expected.requests, "requests");
    row(0, "dropped");
    for list in [
        expected.top(&expected.paths),
        expected.top(&expected.clients),
    ] {
        for (name, count) in list {
            row(count, &name);
        }
    }
}

#[test]
fn a_log_that_cannot_be_read_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no.log");
    for path in [folder.path(), &missing] {
        let ended = run(example("access_log").arg(path), b"");
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""));
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&path.display().to_string()),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains("cannot be read"), "{}", ended.stderr);
    }
}

#[test]
fn wrong_options_are_told_apart_from_failures() {
    for options in [
        "--nodes 0",
        "--nodes 17",
        "--shards 0",
        "--shards 17",
        "--frobnicate",
    ] {
        let ended = run(&mut access_log(options), b"");
        assert_eq!(
            (ended.status.code(), ended.stdout.as_str()),
            (Some(2), ""),
            "{options}"
        );
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = start(&mut access_log("--nodes 1"));
    drop(child.stdout.take());
    let mut status = None;
    let ended = within(PATIENCE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(ended && status.unwrap().success(), "{status:?}");
}

#[test]
fn no_process_outlives_the_program() {
    let (mut program, nodes) = start_on_a_log_without_end();
    program.kill().unwrap();
    program.wait().unwrap();
    let gone = within(PATIENCE, || nodes.iter().all(|node| !is_running(*node)));
    assert!(gone, "the nodes {nodes:?} still run");
}

#[test]
fn the_death_of_a_node_is_a_failure_and_not_a_wait() {
    let (mut program, nodes) = start_on_a_log_without_end();
    let killed = Command::new("kill")
        .args(["-9", &nodes[0].to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    // The program may end before it has read everything.
    drop(program.stdin.take().unwrap().write_all(SAMPLE));
    let ended = end(program);
    assert_eq!(
        ended.status.code(),
        Some(1),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    assert!(!ended.stderr.is_empty());
    assert!(
        within(PATIENCE, || !is_running(nodes[1])),
        "the other node still runs"
    );
}

/// What should come out, by other means than the program's.
#[derive(Default)]
struct Count {
    lines: u64,
    unparsable: u64,
    requests: u64,
    bytes: u64,
    clients: HashMap<String, u64>,
    paths: HashMap<String, u64>,
    statuses: BTreeMap<String, u64>,
}

fn count(log: &[u8]) -> Count {
    let mut count = Count::default();
    for line in log
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        count.lines += 1;
        let fields = String::from_utf8(line.to_vec())
            .ok()
            .and_then(|line| fields(&line));
        let Some([client, path, status, bytes]) = fields else {
            count.unparsable += 1;
            continue;
        };
        count.requests += 1;
        count.bytes += bytes.parse::<u64>().unwrap_or(0);
        *count.clients.entry(client).or_default() += 1;
        *count.paths.entry(path).or_default() += 1;
        *count.statuses.entry(status).or_default() += 1;
    }
    count
}

/// Client, path, status and bytes. Good enough for the logs here, which have no tricks but these.
fn fields(line: &str) -> Option<[String; 4]> {
    const QUOTE: &str = "\u{1}";
    if line.ends_with('\r') || line.len() > 1 << 20 {
        return None;
    }
    let line = line.replace("\\\"", QUOTE);
    let parts: Vec<&str> = line.split('"').collect();
    // Common, combined, and combined with the end of the agent cut off.
    if ![3, 7, 6].contains(&parts.len()) {
        return None;
    }
    let client = parts[0].split(' ').next()?;
    let path = parts[1].split(' ').nth(1)?;
    let (status, bytes) = parts[2].trim().split_once(' ')?;
    Some([client, path, status, bytes].map(|field| field.replace(QUOTE, "\\\"")))
}

impl Count {
    fn top(&self, names: &HashMap<String, u64>) -> Vec<(String, u64)> {
        let mut names: Vec<_> = names.clone().into_iter().collect();
        names.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.as_bytes().cmp(b.as_bytes())));
        names.truncate(10);
        names
    }

    fn assert_equal(&self, report: &Value) {
        let expected = json!({
            "lines": self.lines,
            "unparsable": self.unparsable,
            "clients": self.clients.len(),
            "requests": self.requests,
            "bytes": self.bytes,
            "by_status": self.statuses,
            "top_paths": self.top(&self.paths),
            "top_clients": self.top(&self.clients),
            "messages": 3 * self.requests,
        });
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&report[field], value, "{field}");
        }
        let grains = self.clients.len() + self.paths.len() + self.statuses.len();
        let places = report["placement"].as_array().unwrap();
        let placed: u64 = places
            .iter()
            .map(|place| place["grains"].as_u64().unwrap())
            .sum();
        assert_eq!(placed, grains as u64);
        let counters = &report["counters"];
        assert_eq!(counters["dropped"], json!({}));
        assert_eq!(counters["sent"], counters["handled"]);
        // Every hit, and at least one question to every grain.
        let sent = counters["sent"].as_u64().unwrap();
        assert!(
            sent >= 3 * self.requests + grains as u64,
            "{sent} messages sent"
        );
        assert!(report["seconds"].as_f64().unwrap() > 0.0);
    }
}

fn access_log(options: &str) -> Command {
    let mut program = example("access_log");
    program.args(options.split(' '));
    program
}

fn start(program: &mut Command) -> Child {
    program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a program to its end, with this on its standard input.
fn run(program: &mut Command, input: &[u8]) -> Ended {
    let mut child = start(program);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that fails may not read it all.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let ended = end(child);
    writer.join().unwrap();
    ended
}

/// The JSON object that the program prints, and what it says besides.
fn report(mut program: Command, input: &[u8]) -> (Value, String) {
    let ended = run(program.arg("--json"), input);
    assert!(
        ended.status.success(),
        "{:?}\n{}{}",
        ended.status,
        ended.stdout,
        ended.stderr
    );
    (
        serde_json::from_str(&ended.stdout).expect("nothing but one JSON object"),
        ended.stderr,
    )
}

/// A program that has read a line and waits for more, and its two nodes.
fn start_on_a_log_without_end() -> (Child, Vec<u32>) {
    let mut program = start(&mut access_log("--processes --nodes 2 -"));
    // It starts nothing before there is something to read.
    program
        .stdin
        .as_mut()
        .unwrap()
        .write_all(&SAMPLE[..200])
        .unwrap();
    let mut nodes = Vec::new();
    let started = within(PATIENCE, || {
        nodes = children(program.id());
        // A node has a thread per shard besides its first.
        nodes.len() == 2 && nodes.iter().all(|node| threads(*node) > 1)
    });
    assert!(started, "the program has started {nodes:?}");
    (program, nodes)
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| stat(*id).is_some_and(|(_, of)| of == parent))
        .collect()
}

fn threads(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count)
}

/// Whether a process is there and more than an entry that nobody has asked about.
fn is_running(process: u32) -> bool {
    stat(process).is_some_and(|(state, _)| state != "Z")
}

/// State and parent of a process.
fn stat(process: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before the parenthesis may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
