//! Nodes in processes of their own, started from a spec file; one is killed.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use teff::authority::Authority;
use teff::{CallError, Ctx, Doubt, LinkError, Listener, Node, NodeId, Refusal, TellError, grain};

#[derive(Default)]
struct Clerk(u64);

#[grain]
impl Clerk {
    fn file(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    fn process(&mut self) -> u32 {
        std::process::id()
    }

    async fn dawdle(&mut self, ctx: &Ctx) {
        ctx.sleep(Duration::from_secs(60)).await;
    }
}

/// What a child process runs: node 1 of the spec, until its standard input ends.
#[test]
fn child() {
    let Ok(spec) = env::var("TEFF_TEST_SPEC") else {
        return;
    };
    let node = Node::from_spec_file(spec, 1)
        .kind(ClerkRef::kind::<Clerk>())
        .start()
        .unwrap();
    println!("\nready");
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    node.shutdown().unwrap();
}

struct Peer(Child);

impl Peer {
    fn start(spec: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env("TEFF_TEST_SPEC", spec)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let ready = out
            .lines()
            .map_while(Result::ok)
            .any(|line| line == "ready");
        assert!(ready, "the child did not start");
        Self(child)
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A spec of two nodes on free ports, with certificates; node 2 hosts nothing.
fn write_spec(folder: &Path) -> PathBuf {
    let ports: Vec<_> = (0..2)
        .map(|_| Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap())
        .map(|listener| listener.local_addr().port())
        .collect();
    let authority = Authority::new().unwrap();
    fs::write(folder.join("ca.crt"), authority.certificate_pem()).unwrap();
    fs::write(folder.join("secret"), authority.secret().to_hex()).unwrap();
    for node in [1, 2] {
        let issued = authority.issue("processes", NodeId(node)).unwrap();
        fs::write(folder.join(format!("{node}.crt")), issued.certificate_pem).unwrap();
        fs::write(folder.join(format!("{node}.key")), issued.key_pem).unwrap();
    }
    let spec = folder.join("cluster.json");
    let text = format!(
        r#"{{
            "cluster": "processes",
            "nodes": [
                {{"id": 1, "address": "127.0.0.1:{}"}},
                {{"id": 2, "address": "localhost:{}", "listen_address": "127.0.0.1:{}",
                  "weight": 0.0}}
            ],
            "node_cert_path": "%d.crt",
            "node_key_path": "%d.key",
            "cluster_cert_path": "ca.crt",
            "cluster_secret_path": "secret"
        }}"#,
        ports[0], ports[1], ports[1]
    );
    fs::write(&spec, text).unwrap();
    spec
}

#[test]
fn a_killed_process_is_told_from_a_refusal_and_its_successor_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let spec = write_spec(folder.path());
    let mut peer = Peer::start(&spec);
    let node = Node::from_spec_file(&spec, 2).start().unwrap();
    let clerk: ClerkRef = node.grain("clerk");
    assert_eq!(clerk.process().wait().unwrap(), peer.0.id());
    assert_eq!(clerk.file().wait().unwrap(), 1);

    // One call is being handled when the process dies.
    let handle = node.clone();
    let dawdling = std::thread::spawn(move || {
        let clerk: ClerkRef = handle.grain("other clerk");
        clerk.dawdle().timeout(Duration::from_secs(30)).wait()
    });
    let busy: ClerkRef = node.grain("third clerk");
    busy.file().wait().unwrap();
    while node.counters().kinds["Clerk"].sent < 4 {
        std::thread::yield_now();
    }
    let killed = Instant::now();
    peer.kill();
    let error = dawdling.join().unwrap().unwrap_err();
    assert!(
        matches!(error, CallError::Unknown(Doubt::LinkLost { .. })),
        "{error}"
    );
    assert!(
        killed.elapsed() < Duration::from_secs(20),
        "the link's own timers end the call"
    );
    let reason = error.link_reason().unwrap().downcast_ref::<LinkError>();
    assert!(
        matches!(reason, Some(LinkError::TimedOut | LinkError::Reset)),
        "{reason:?}"
    );

    // While nobody is there nothing is in doubt: the handler surely did not run.
    let error = clerk.file().wait().unwrap_err();
    assert!(
        matches!(error, CallError::Refused(Refusal::NodeUnreachable { .. })),
        "{error}"
    );

    // A new process is another incarnation: it is found, and remembers nothing.
    let peer = Peer::start(&spec);
    let deadline = Instant::now() + Duration::from_secs(30);
    let filed = loop {
        match clerk.file().wait() {
            Ok(filed) => break filed,
            Err(CallError::Refused(Refusal::NodeUnreachable { .. })) => {
                assert!(Instant::now() < deadline, "the new process was never found");
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(filed, 1);
    assert_eq!(clerk.process().wait().unwrap(), peer.0.id());
    node.shutdown().unwrap();
}

#[test]
fn a_tell_to_a_node_that_was_just_found_absent_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let spec = write_spec(folder.path());
    let node = Node::from_spec_file(&spec, 2).start().unwrap();
    let clerk: ClerkRef = node.grain("clerk");
    let error = clerk.file().wait().unwrap_err();
    assert!(
        matches!(error, CallError::Refused(Refusal::NodeUnreachable { .. })),
        "{error}"
    );
    // From outside the shards it is accepted first and then counted as lost.
    let told = clerk.file().tell();
    assert!(
        matches!(told, Ok(()) | Err(TellError::NodeUnreachable { .. })),
        "{told:?}"
    );
    node.shutdown().unwrap();
    let total = node.counters().total();
    assert_eq!(
        total.sent,
        total.handled + total.dropped_total(),
        "{total:?}"
    );
}
