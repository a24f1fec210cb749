//! Processes that a test starts from its own binary, and talks to by lines.
//!
//! The binary has a test of some name that returns at once unless [`role`] says otherwise: that is
//! what the child runs. It takes lines on its standard input, and says lines that begin with a
//! mark, because the test harness writes to the same stream.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, io, thread};

use teff::authority::Authority;
use teff::{ClusterSecret, Identity, Listener, NodeId};

/// A child, killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    said: mpsc::Receiver<String>,
}

impl Process {
    /// Starts this binary's test `name`, with `role` for it to find.
    pub(crate) fn start(name: &str, role: &str) -> Self {
        Self::start_with(name, role, |_| ())
    }

    /// As [`start`](Self::start), after `adjust` has had the command.
    pub(crate) fn start_with(name: &str, role: &str, adjust: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        adjust(&mut command);
        let mut child = command
            .args(["--exact", name, "--nocapture", "--include-ignored"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (saying, said) = mpsc::channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let Some((_, line)) = line.split_once(MARK) else {
                    continue;
                };
                if saying.send(line.to_owned()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            orders,
            said,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn order(&mut self, line: &str) {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{line}").unwrap();
        orders.flush().unwrap();
    }

    /// The next line that it says.
    pub(crate) fn hear(&self) -> String {
        let line = self.said.recv_timeout(PATIENCE);
        line.expect("a process says its next line in time")
    }

    /// All lines up to the one that is `last`, which is left out.
    pub(crate) fn hear_until(&self, last: &str) -> Vec<String> {
        std::iter::repeat_with(|| self.hear())
            .take_while(|line| line != last)
            .collect()
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, and says whether that was one without a failure.
    pub(crate) fn ends_well(mut self) -> bool {
        // The child reads the end of its input.
        self.orders = None;
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What this process was started for; `None` in the test itself.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Says a line to the process that started this one.
pub(crate) fn say(line: &str) {
    println!("{MARK}{line}");
    io::stdout().flush().unwrap();
}

/// The next line of the process that started this one; empty when there is none any more.
pub(crate) fn obey() -> String {
    let mut line = String::new();
    io::stdin().read_line(&mut line).unwrap();
    line.truncate(line.trim_end().len());
    line
}

/// The certificates of nodes, two unless told otherwise, in a folder of their own, and specs that name them.
pub(crate) struct Papers {
    pub(crate) folder: tempfile::TempDir,
    cluster: &'static str,
}

impl Papers {
    pub(crate) fn issue(cluster: &'static str) -> Self {
        Self::issue_for(cluster, &[1, 2])
    }

    pub(crate) fn issue_for(cluster: &'static str, nodes: &[u16]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("ca.crt", authority.certificate_pem());
        write("secret", &authority.secret().to_hex());
        for &node in nodes {
            let issued = authority.issue(cluster, NodeId(node)).unwrap();
            write(&format!("{node}.crt"), &issued.certificate_pem);
            write(&format!("{node}.key"), &issued.key_pem);
        }
        Self { folder, cluster }
    }

    pub(crate) fn key_pem(&self, node: u16) -> String {
        fs::read_to_string(self.folder.path().join(format!("{node}.key"))).unwrap()
    }

    /// What a child process shows to its peer, from the folder that it was told.
    pub(crate) fn identity(folder: &Path, node: u16) -> Identity {
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let (certificate, key) = (read(&format!("{node}.crt")), read(&format!("{node}.key")));
        let secret = String::from_utf8(read("secret")).unwrap();
        Identity::from_pem(&read("ca.crt"), &certificate, &key)
            .unwrap()
            .with_secret(ClusterSecret::from_hex(&secret).unwrap())
    }

    /// A spec in which the two nodes listen at `listen` and are known at `known`.
    pub(crate) fn spec(
        &self,
        name: &str,
        (known, listen): ([String; 2], [SocketAddr; 2]),
        weights: [f64; 2],
    ) -> PathBuf {
        let node = |node: usize| {
            format!(
                r#"{{"id": {}, "address": "{}", "listen_address": "{}", "weight": {:.1}}}"#,
                node + 1,
                known[node],
                listen[node],
                weights[node]
            )
        };
        let text = format!(
            r#"{{
                "cluster": "{}",
                "nodes": [{}, {}],
                "node_cert_path": "%d.crt",
                "node_key_path": "%d.key",
                "cluster_cert_path": "ca.crt",
                "cluster_secret_path": "secret"
            }}"#,
            self.cluster,
            node(0),
            node(1)
        );
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

/// Ports that are free now. Nobody holds them, so that other processes can take them, one
/// after the other.
pub(crate) fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let listeners =
        [(); N].map(|()| Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap());
    listeners.map(|listener| listener.local_addr())
}

const ROLE: &str = "TEFF_TEST_ROLE";

/// What a line begins with that is not the test harness's own.
const MARK: &str = "\u{1}";

/// Longer than anything takes on a busy machine, so that a hang is told from a failure.
const PATIENCE: Duration = Duration::from_secs(90);
