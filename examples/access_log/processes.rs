//! Nodes as processes of their own: how they are started, what they say, how they end.
//!
//! The parent writes certificates and a spec file into a folder of its own, starts this very
//! program once per node (`--serve`), and joins the cluster as one more member of weight 0, which
//! owns no grains. A child prints [`READY`] when its node runs; when its standard input ends,
//! because the parent has closed it or is gone, it stops, and prints its counters as one line of
//! JSON. A child never outlives its parent, nor the value that stands for it.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use teff::authority::Authority;
use teff::{ListenError, Node, NodeId, StartError};
use tempfile::TempDir;

use crate::counters::Counters;
use crate::grains;
use crate::member::{self, CLUSTER};

/// Nodes in processes, and the one here that reaches them.
pub(crate) struct Processes {
    entrance: Node,
    served: Vec<Served>,
    // Its certificates are needed for as long as nodes start.
    _folder: TempDir,
}

/// A node in a process of its own. Dropping it kills the process.
struct Served {
    id: u16,
    process: Child,
    /// Open for as long as it is to run.
    input: Option<ChildStdin>,
    /// What it prints, line by line.
    output: mpsc::Receiver<String>,
}

/// Why an attempt to start everything failed.
enum Failure {
    /// Another program was given a port between our looking and our listening.
    PortTaken,
    Other(anyhow::Error),
}

impl Processes {
    /// Starts so many nodes with so many shards each.
    pub(crate) fn start(nodes: u16, shards: u16) -> anyhow::Result<Self> {
        for _ in 0..ATTEMPTS {
            match Self::attempt(nodes, shards) {
                Ok(processes) => return Ok(processes),
                Err(Failure::PortTaken) => {}
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        bail!("other programs took the nodes' ports, {ATTEMPTS} times in a row")
    }

    fn attempt(nodes: u16, shards: u16) -> Result<Self, Failure> {
        let own = nodes + 1;
        let folder = tempfile::Builder::new().prefix("access_log.").tempdir();
        let folder = folder.context("there is no place for certificates")?;
        let spec = write_cluster(folder.path(), nodes, shards)
            .with_context(|| format!("{} cannot be filled", folder.path().display()))?;
        // All are started before any is waited for.
        let served = (1..=nodes)
            .map(|id| Served::start(id, &spec, &member::cpus(id - 1, shards)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut processes = Vec::with_capacity(served.len());
        for mut node in served {
            node.await_ready()?;
            processes.push(node);
        }
        let entrance = Node::from_spec_file(&spec, own)
            .cpus(member::cpus(nodes, 1))
            .start()?;
        Ok(Self {
            entrance,
            served: processes,
            _folder: folder,
        })
    }

    /// The node here.
    pub(crate) fn entrance(&self) -> &Node {
        &self.entrance
    }

    /// Stops every node, and says what all of them have counted.
    pub(crate) fn stop(mut self) -> anyhow::Result<Counters> {
        member::stop(&self.entrance);
        for served in &mut self.served {
            served.input = None;
        }
        let mut counters = vec![self.entrance.counters().into()];
        for served in &self.served {
            counters.push(served.counters()?);
        }
        Ok(Counters::sum(counters))
    }
}

impl Served {
    fn start(id: u16, spec: &Path, cpus: &[usize]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program does not find itself")?;
        let cpus: Vec<_> = cpus.iter().map(ToString::to_string).collect();
        let mut process = Command::new(program)
            .args([
                "--serve",
                &id.to_string(),
                "--cpus",
                &cpus.join(","),
                "--spec",
            ])
            .arg(spec)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("the process of node {id} does not start"))?;
        let input = process.stdin.take();
        let printed = process
            .stdout
            .take()
            .expect("standard output was asked to be a pipe");
        let (lines, output) = mpsc::channel();
        // A thread of its own, so that waiting for a line can end without one.
        thread::spawn(move || {
            for line in BufReader::new(printed).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            id,
            process,
            input,
            output,
        })
    }

    fn await_ready(&mut self) -> Result<(), Failure> {
        let id = self.id;
        match self.output.recv_timeout(START_TIME) {
            Ok(line) if line == READY => Ok(()),
            Ok(line) => Err(anyhow!("node {id} should be ready, but says {line:?}").into()),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(anyhow!("node {id} was not ready after {START_TIME:?}").into())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = self.process.wait().context("waiting for a node failed")?;
                match status.code() {
                    Some(code) if code == i32::from(PORT_TAKEN) => Err(Failure::PortTaken),
                    _ => Err(anyhow!("node {id} did not start ({status})").into()),
                }
            }
        }
    }

    /// What it has counted; it must have been told to stop.
    fn counters(&self) -> anyhow::Result<Counters> {
        let id = self.id;
        let line = self.output.recv_timeout(STOP_TIME);
        let line = line.map_err(|_| anyhow!("node {id} ended without its counters"))?;
        serde_json::from_str(&line).with_context(|| format!("node {id} says {line:?}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Fails only if the process is gone already, which is as well.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Be a node until standard input ends: what a child process does.
pub(crate) fn serve(id: u16, spec: &Path, cpus: Vec<usize>) -> ExitCode {
    let builder = grains::host(Node::from_spec_file(spec, id)).cpus(cpus);
    let node = match builder.start() {
        Ok(node) => node,
        Err(StartError::Listen(ListenError::InUse { .. })) => return PORT_TAKEN.into(),
        Err(error) => {
            eprintln!("access_log: node {id}: {error}");
            return ExitCode::FAILURE;
        }
    };
    match serve_until_input_ends(&node) {
        Ok(()) => ExitCode::SUCCESS,
        // The parent is gone, and nobody is left to be told.
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve_until_input_ends(node: &Node) -> io::Result<()> {
    say(READY)?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    member::stop(node);
    let counters = Counters::from(node.counters());
    say(&serde_json::to_string(&counters).expect("counters are JSON"))
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// Writes certificates, keys and the spec; only this user can read them. The authority's own key
/// is not among them. Returns the path of the spec.
fn write_cluster(folder: &Path, nodes: u16, shards: u16) -> anyhow::Result<PathBuf> {
    let authority = Authority::new()?;
    let write = |name: &str, text: &str| -> io::Result<PathBuf> {
        let path = folder.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    };
    write("ca.crt", authority.certificate_pem())?;
    write("cluster.secret", &authority.secret().to_hex())?;
    let own = nodes + 1;
    for id in 1..=own {
        let issued = authority.issue(CLUSTER, NodeId(id))?;
        write(&format!("node.{id}.crt"), &issued.certificate_pem)?;
        write(&format!("node.{id}.key"), &issued.key_pem)?;
    }
    // All ports are held until all are known, so that no two are the same.
    let listeners = (1..=own)
        .map(|_| member::listener())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let entries = listeners.iter().zip(1..=own).map(|(listener, id)| {
        let shards = if id == own { 1 } else { shards };
        entry(id, listener.local_addr(), shards, id != own)
    });
    let spec = json!({
        "cluster": CLUSTER,
        "nodes": entries.collect::<Vec<_>>(),
        "cluster_cert_path": "ca.crt",
        "cluster_secret_path": "cluster.secret",
        "node_cert_path": "node.%d.crt",
        "node_key_path": "node.%d.key",
    });
    Ok(write("cluster.json", &format!("{spec:#}\n"))?)
}

fn entry(id: u16, address: SocketAddr, shards: u16, owns_grains: bool) -> Value {
    let weight = if owns_grains { 1.0 } else { 0.0 };
    json!({"id": id, "address": address.to_string(), "shards": shards, "weight": weight})
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen(ListenError::InUse { .. }) => Self::PortTaken,
            error => Self::Other(error.into()),
        }
    }
}

/// What a child says when its node runs.
const READY: &str = "ready";

/// The exit code of a child whose port another program has.
const PORT_TAKEN: u8 = 3;

/// How often ports are chosen anew.
const ATTEMPTS: u32 = 3;

/// How long a child may take to start, on a machine that is busy with other things.
const START_TIME: Duration = Duration::from_secs(30);

/// How long it may take to stop: longer than its node's own limit of 10 s.
const STOP_TIME: Duration = Duration::from_secs(20);
