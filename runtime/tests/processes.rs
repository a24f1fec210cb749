//! Nodes in processes of their own, started from a spec file; one is killed.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod process;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use process::{Papers, Process, free_ports, obey, say};
use teff::{CallError, Ctx, Doubt, LinkError, Node, Refusal, TellError, grain};

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
    let Some(spec) = process::role() else {
        return;
    };
    let node = Node::from_spec_file(spec, 1)
        .kind(ClerkRef::kind::<Clerk>())
        .start()
        .unwrap();
    say("ready");
    obey();
    node.shutdown().unwrap();
}

fn start_peer(spec: &Path) -> Process {
    let peer = Process::start("child", &spec.display().to_string());
    assert_eq!(peer.hear(), "ready");
    peer
}

/// A spec of two nodes on free ports, with certificates; node 2 hosts nothing.
fn write_spec() -> (Papers, PathBuf) {
    let papers = Papers::issue("processes");
    let ports = free_ports();
    let known = [
        ports[0].to_string(),
        format!("localhost:{}", ports[1].port()),
    ];
    let spec = papers.spec("cluster.json", (known, ports), [1.0, 0.0]);
    (papers, spec)
}

#[test]
fn a_killed_process_is_told_from_a_refusal_and_its_successor_is_found() {
    let (_papers, spec) = write_spec();
    let mut peer = start_peer(&spec);
    let node = Node::from_spec_file(&spec, 2).start().unwrap();
    let clerk: ClerkRef = node.grain("clerk");
    assert_eq!(clerk.process().wait().unwrap(), peer.id());
    assert_eq!(clerk.file().wait().unwrap(), 1);

    // One call is being handled when the process dies.
    let handle = node.clone();
    let dawdling = thread::spawn(move || {
        let clerk: ClerkRef = handle.grain("other clerk");
        clerk.dawdle().timeout(Duration::from_secs(30)).wait()
    });
    let busy: ClerkRef = node.grain("third clerk");
    busy.file().wait().unwrap();
    while node.counters().kinds["Clerk"].sent < 4 {
        thread::yield_now();
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
    let peer = start_peer(&spec);
    let deadline = Instant::now() + Duration::from_secs(30);
    let filed = loop {
        match clerk.file().wait() {
            Ok(filed) => break filed,
            Err(CallError::Refused(Refusal::NodeUnreachable { .. })) => {
                assert!(Instant::now() < deadline, "the new process was never found");
                thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(filed, 1);
    assert_eq!(clerk.process().wait().unwrap(), peer.id());
    node.shutdown().unwrap();
}

#[test]
fn a_tell_to_a_node_that_was_just_found_absent_is_refused_at_once() {
    let (_papers, spec) = write_spec();
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

#[test]
fn what_is_under_way_when_a_process_is_killed_ends_in_time_and_is_counted() {
    let (_papers, spec) = write_spec();
    let mut peer = start_peer(&spec);
    let node = Node::from_spec_file(&spec, 2).start().unwrap();
    let clerk: ClerkRef = node.grain("clerk");
    for _ in 0..TELLS {
        clerk.file().when_room().wait().unwrap();
    }
    assert_eq!(clerk.file().wait().unwrap(), TELLS + 1);

    // Calls that are being handled: some with a deadline before the end of the link, some after.
    let timeouts = [Duration::from_secs(1), Duration::from_secs(60)];
    let calls: Vec<_> = (0..CALLS)
        .map(|n| {
            let (node, timeout) = (node.clone(), timeouts[n as usize % 2]);
            thread::spawn(move || {
                let clerk: ClerkRef = node.grain(format!("clerk {n}"));
                let error = clerk.dawdle().timeout(timeout).wait().unwrap_err();
                (timeout, Instant::now(), error)
            })
        })
        .collect();
    while node.counters().total().sent < TELLS + 1 + CALLS {
        thread::yield_now();
    }
    // Frames arrive in order: when this has, those have.
    clerk.file().wait().unwrap();
    let handled = TELLS + 2;

    peer.kill();
    let killed = Instant::now();
    let mut accepted = 0;
    while accepted < TELLS && killed.elapsed() < timeouts[0] {
        match clerk.file().tell() {
            Ok(()) => accepted += 1,
            Err(TellError::Busy | TellError::NodeUnreachable { .. }) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(accepted > 0, "nobody knows of the end yet");
    for call in calls {
        let (timeout, ended, error) = call.join().unwrap();
        let lost = matches!(error, CallError::Unknown(Doubt::LinkLost { .. }));
        let late = matches!(error, CallError::Unknown(Doubt::Timeout(_)));
        assert!(lost || (late && timeout == timeouts[0]), "{error}");
        let limit = timeout.min(LINK_IDLE) + SLACK;
        assert!(
            ended - killed < limit,
            "after {:?}: {error}",
            ended - killed
        );
    }
    node.shutdown().unwrap();
    let total = node.counters().total();
    let reasons: Vec<_> = total.dropped.keys().copied().collect();
    assert!(
        reasons
            .iter()
            .all(|reason| ["link_lost", "node_unreachable"].contains(reason)),
        "{total:?}"
    );
    // What was sent after the end was lost; of what was being handled, the peer may or may not
    // have said in time that it had arrived.
    assert_eq!(total.sent, handled + CALLS + accepted);
    let lost = total.dropped_total();
    assert!((accepted..=accepted + CALLS).contains(&lost), "{total:?}");
}

/// Kills and restarts the far process, away for each of these times, under a stream of calls.
fn restart_under_calls(absences: &[u64]) {
    let (_papers, spec) = write_spec();
    let mut peer = start_peer(&spec);
    let node = Node::from_spec_file(&spec, 2).start().unwrap();
    let clerk: ClerkRef = node.grain("clerk");
    clerk.file().wait().unwrap();
    let ask = || clerk.process().timeout(Duration::from_millis(200)).wait();
    for absence in absences.iter().copied().map(Duration::from_millis) {
        peer.kill();
        let killed = Instant::now();
        while killed.elapsed() < absence {
            ask().unwrap_err();
        }
        peer = start_peer(&spec);
        let started = Instant::now();
        let answered = loop {
            match ask() {
                Ok(process) => break process,
                Err(error) => assert!(started.elapsed() < LINK_IDLE, "{error}"),
            }
        };
        let back = started.elapsed();
        println!("away for {absence:?}, answers {back:?} after its start");
        assert_eq!(answered, peer.id());
        assert!(back < Duration::from_secs(1), "away {absence:?}: {back:?}");
    }
    node.shutdown().unwrap();
}

#[test]
fn traffic_flows_within_a_second_of_a_restart_at_once() {
    restart_under_calls(&[0, 100, 300]);
}

#[test]
fn traffic_flows_within_a_second_of_a_restart_after_a_while() {
    restart_under_calls(&[2000, 2000, 6000, 9500, 15_000]);
}

/// How many tells, and how many calls, are under way.
const TELLS: u64 = 500;
const CALLS: u64 = 20;

/// How long a link outlives a silent peer: 5 s until that is noticed, 5 s of attempts to go on.
const LINK_IDLE: Duration = Duration::from_secs(10);

/// What a busy machine may take on top.
const SLACK: Duration = Duration::from_secs(2);
