//! The smallest programs stay small, and do what they show.

#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod common;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{PATIENCE, end, example, within};
use teff::NodeId;
use teff::authority::Authority;

#[test]
fn a_grain_a_tell_and_a_call_take_twenty_lines() {
    assert_at_most(20, include_str!("../counter.rs"));
}

#[test]
fn a_second_process_makes_it_twenty_eight() {
    assert_at_most(28, include_str!("../counter_remote.rs"));
}

#[test]
fn lines_are_counted_from_the_first_use_to_the_end_of_main() {
    let source = "//! Doc.\n\nuse a;\n// Why.\n\nfn main() {\n    b();\n}\n\nfn more() {}\n";
    assert_eq!(lines(source), ["use a;", "fn main() {", "    b();", "}"]);
}

#[test]
fn the_counter_counts() {
    assert_eq!(run(example("counter").current_dir("/")), "2 apples\n");
}

#[test]
fn hello_greets_over_quic_and_without() {
    let said = run(&mut example("hello"));
    let answers = |way: &str| said.lines().filter(|line| line.contains(way)).count();
    assert_eq!(
        (answers("over QUIC"), answers("without leaving")),
        (2, 2),
        "{said}"
    );
    assert!(said.contains("guest 4"), "{said}");
    let dropped: Vec<_> = said
        .lines()
        .filter(|line| line.contains("dropped 0 mess"))
        .collect();
    assert_eq!(dropped.len(), 2, "{said}");
}

#[test]
fn positions_arrive_or_are_accounted_for() {
    let said = run(&mut example("positions"));
    let numbers = |line: &str| -> Vec<u64> {
        let words = line.split(|c: char| !c.is_ascii_digit());
        words.filter_map(|word| word.parse().ok()).collect()
    };
    let lines: Vec<_> = said.lines().map(numbers).collect();
    assert_eq!(lines.len(), 3, "{said}");
    let (last, sent) = (lines[0][0], lines[0][1]);
    assert!(last > sent / 2 && last <= sent, "{said}");
    // Sent, early, what became of these, left; came in, heard, lost.
    let (early, left) = (lines[1][1], lines[1].last().unwrap());
    assert_eq!((lines[1][0], early + left), (sent, sent), "{said}");
    assert_eq!(early > 0, said.contains("lossy_no_link"), "{said}");
    let (came, heard, lost) = (lines[2][0], lines[2][1], lines[2][2]);
    assert!(came + lost == *left && heard <= came && heard > 0, "{said}");
}

#[test]
fn the_counter_counts_from_a_second_process() {
    let folder = tempfile::tempdir().unwrap();
    let address = write_cluster(folder.path());
    let mut server = example("counter_remote")
        .arg("serve")
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = server.stdin.take();
    let listens = within(PATIENCE, || {
        server.try_wait().unwrap().is_some() || somebody_listens_on(address.port())
    });
    assert!(listens, "node 1 does not listen");
    for apples in ["2 apples\n", "4 apples\n"] {
        assert_eq!(run(example("counter_remote").current_dir(&folder)), apples);
    }
    drop(input);
    let server = end(server);
    assert!(server.status.success(), "{}", server.stderr);
}

fn assert_at_most(limit: usize, source: &str) {
    let lines = lines(source);
    assert!(
        lines.len() <= limit,
        "{} lines:\n{}",
        lines.len(),
        lines.join("\n")
    );
}

/// What somebody has to type: no comments, no blank lines.
fn lines(source: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut in_main = false;
    for line in source.lines().skip_while(|line| !line.starts_with("use ")) {
        in_main |= line.starts_with("fn main()");
        if !line.trim().is_empty() && !line.trim().starts_with("//") {
            lines.push(line);
        }
        if in_main && line == "}" {
            return lines;
        }
    }
    panic!("there is no main function");
}

fn run(program: &mut Command) -> String {
    let child = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = end(child.spawn().unwrap());
    assert!(ended.status.success(), "{}", ended.stderr);
    ended.stdout
}

/// What `teff certs init` writes, with node 2 as one that only calls. Returns where node 1 listens.
fn write_cluster(folder: &Path) -> SocketAddr {
    let authority = Authority::new().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("ca.crt", authority.certificate_pem());
    let ports = [1, 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [one, two] = ports.each_ref().map(|port| port.local_addr().unwrap());
    for node in [1, 2] {
        let issued = authority.issue("teff", NodeId(node)).unwrap();
        write(&format!("node.{node}.crt"), &issued.certificate_pem);
        write(&format!("node.{node}.key"), &issued.key_pem);
    }
    let spec = format!(
        r#"{{
            "nodes": [
                {{"id": 1, "address": "{one}"}},
                {{"id": 2, "address": "{two}", "weight": 0}}
            ],
            "cluster_cert_path": "ca.crt",
            "node_cert_path": "node.%d.crt",
            "node_key_path": "node.%d.key"
        }}"#
    );
    write("cluster.json", &spec);
    one
}

/// Looked up in the kernel's table, because trying the port would take it from the node.
fn somebody_listens_on(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    table.lines().any(|line| {
        let local = line.split_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(&format!(":{port:04X}")))
    })
}
