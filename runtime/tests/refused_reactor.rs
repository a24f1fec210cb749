//! Machines that refuse `io_uring`, as Docker's and Kubernetes' default profiles and gVisor do:
//! nodes work there, say what they sleep in, and say how to cure it where they were told to sleep
//! in what there is not.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;
mod process;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::{Cluster, remote_key};
use process::{Process, say};
use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use teff::{Ctx, Node, Obstacle, Reactor, StartError, grain};

#[derive(Default)]
struct Counter(u64);

#[grain]
impl Counter {
    fn add(&mut self, n: u64) {
        self.0 += n;
    }

    fn total(&mut self) -> u64 {
        self.0
    }
}

#[grain]
trait Hello {
    async fn say_hello(&mut self, ctx: &Ctx, book: String) -> u64;
}

#[derive(Default)]
struct Greeter;

impl Hello for Greeter {
    async fn say_hello(&mut self, ctx: &Ctx, book: String) -> u64 {
        ctx.sleep(Duration::from_millis(1)).await;
        let book: CounterRef = ctx.grain(book);
        book.add(1).tell().unwrap();
        book.total().await.unwrap()
    }
}

/// What the machine of a child process refuses.
#[derive(Clone, Copy, Debug)]
enum Refused {
    /// `io_uring_setup` and its kin fail with this error.
    IoUring(u32),
    /// No more memory than this, in bytes, may be locked.
    LockedMemory(u64),
}

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `io_uring_setup`, `_enter` and `_register` have these numbers on every architecture.
const IO_URING_CALLS: [i64; 3] = [425, 426, 427];

impl Refused {
    fn to_role(self) -> String {
        match self {
            Self::IoUring(error) => format!("io_uring {error}"),
            Self::LockedMemory(bytes) => format!("memory {bytes}"),
        }
    }

    fn of_role(words: [&str; 2]) -> Self {
        match words {
            ["io_uring", error] => Self::IoUring(error.parse().unwrap()),
            ["memory", bytes] => Self::LockedMemory(bytes.parse().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// Takes it away from this thread and from all that it starts.
    fn apply(self) {
        match self {
            Self::IoUring(error) => {
                let rules = IO_URING_CALLS.map(|call| (call, Vec::new()));
                let filter = SeccompFilter::new(
                    rules.into(),
                    SeccompAction::Allow,
                    SeccompAction::Errno(error),
                    std::env::consts::ARCH.try_into().unwrap(),
                );
                let program: BpfProgram = filter.unwrap().try_into().unwrap();
                seccompiler::apply_filter(&program).unwrap();
            }
            Self::LockedMemory(bytes) => {
                let (current, maximum) = (Some(bytes), Some(bytes));
                setrlimit(Resource::Memlock, Rlimit { current, maximum }).unwrap();
            }
        }
    }
}

/// What a child process does on its poor machine. It says what it was refused, and how long it
/// took to be told.
#[test]
fn child() {
    let Some(role) = process::role() else {
        return;
    };
    let words: Vec<&str> = role.splitn(4, ' ').collect();
    let [what, how, task, log] = words[..] else {
        panic!("{role}")
    };
    Refused::of_role([what, how]).apply();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(Arc::new(File::create(log).unwrap()))
        .init();
    match task {
        "work" => {
            count();
            greet();
            say("worked");
        }
        "ask" => {
            let asked = Node::single().shards(1).reactor(Reactor::IoUring);
            refusal(asked.start());
        }
        // The environment asks.
        _ => refusal(Node::single().shards(1).start()),
    }
}

fn refusal(started: Result<Node, StartError>) {
    let Err(error) = started else {
        panic!("what is refused cannot be had")
    };
    let StartError::Machine(obstacles) = &error else {
        panic!("{error}")
    };
    let names = obstacles.iter().map(|obstacle| match obstacle {
        Obstacle::IoUring { .. } => "io_uring",
        Obstacle::LockedMemory { .. } => "memory",
        _ => "other",
    });
    say(&names.collect::<Vec<_>>().join(" "));
    say(&error.to_string().replace('\n', " "));
}

/// The counter example.
fn count() {
    let kind = CounterRef::kind::<Counter>();
    let node = Node::single().shards(2).kind(kind).start().unwrap();
    assert_eq!(node.reactor(), Reactor::Epoll);
    for n in 0..10 {
        let apples: CounterRef = node.grain(format!("apples {n}"));
        apples.add(2).tell().unwrap();
        assert_eq!(apples.total().wait().unwrap(), 2);
    }
    node.shutdown().unwrap();
}

/// The hello example: two nodes, and a handler that sleeps and asks on.
fn greet() {
    let nodes = Cluster::new("refused", 2, 1).start(|_, builder| {
        builder
            .kind(CounterRef::kind::<Counter>())
            .kind(HelloRef::kind::<Greeter>())
    });
    for (here, there) in [(0, 1), (1, 0)] {
        let node = &nodes[here];
        assert_eq!(node.reactor(), Reactor::Epoll);
        let owner = |key: &str| node.owner_of::<HelloRef>(&node.grain(key));
        let hello: HelloRef = node.grain(remote_key(0, owner, nodes[there].id()));
        let owner = |key: &str| node.owner_of::<CounterRef>(&node.grain(key));
        let book = remote_key(0, owner, node.id());
        for visit in 1..=5 {
            assert_eq!(hello.say_hello(book.clone()).wait().unwrap(), visit);
        }
    }
    cluster::finish(nodes);
}

/// Runs a task on a poor machine. Hands back what it said, and its log.
fn run(refused: Refused, task: &str, reactor: Option<&str>) -> (Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let role = format!("{} {task} {}", refused.to_role(), log.display());
    let start = Instant::now();
    let child = Process::start_with("child", &role, |command| {
        match reactor {
            Some(reactor) => command.env("TEFF_REACTOR", reactor),
            None => command.env_remove("TEFF_REACTOR"),
        };
    });
    let lines = if task == "work" { 1 } else { 2 };
    let said: Vec<_> = (0..lines).map(|_| child.hear()).collect();
    if task != "work" {
        assert!(start.elapsed() < AT_ONCE, "{:?}: {said:?}", start.elapsed());
    }
    assert!(child.ends_well(), "{refused:?} {task}");
    (said, fs::read_to_string(log).unwrap())
}

const MACHINES: [Refused; 3] = [
    Refused::IoUring(EPERM),
    Refused::IoUring(ENOSYS),
    Refused::LockedMemory(256 << 10),
];

/// A new process on a busy machine, and nothing besides.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn counters_and_greeters_work_where_io_uring_is_refused_and_say_in_what_they_sleep() {
    for refused in MACHINES {
        let (said, log) = run(refused, "work", None);
        assert_eq!(said, ["worked"]);
        let starts = log.lines().filter(|line| line.contains("shards sleep in"));
        let starts: Vec<_> = starts.collect();
        assert_eq!(starts.len(), 3, "{log}");
        for line in starts {
            let told = [
                "INFO",
                "shards sleep in epoll, the default",
                "reactor=epoll",
            ];
            assert!(told.iter().all(|told| line.contains(told)), "{line}");
        }
    }
}

#[test]
fn asking_for_io_uring_where_it_is_refused_is_an_error_that_says_the_cure() {
    let switched_off = ["1", "2"].map(|off| {
        let setting = fs::read_to_string(Path::new("/proc/sys/kernel/io_uring_disabled"));
        setting.is_ok_and(|setting| setting.trim() == off)
    });
    let cure = |cure| match switched_off {
        [false, false] => cure,
        _ => "sysctl kernel.io_uring_disabled=0",
    };
    let told = [
        (
            "io_uring",
            cure("seccomp profile forbids it; allow io_uring_setup"),
        ),
        ("io_uring", cure("Linux 5.8 or later")),
        ("memory", "ulimit -l 8192"),
    ];
    for (refused, (obstacle, cure)) in MACHINES.into_iter().zip(told) {
        for (task, reactor) in [("ask", None), ("start", Some("io_uring"))] {
            let (said, log) = run(refused, task, reactor);
            assert_eq!(said[0], obstacle, "{said:?}");
            assert!(said[1].contains(cure), "{said:?}");
            assert!(!log.contains("shards sleep in"), "{log}");
            assert!(said[1].contains("default"), "{said:?}");
        }
    }
}
