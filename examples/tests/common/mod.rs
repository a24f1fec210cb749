//! Runs the examples as a user does: as programs, each within a bounded time.

use std::env;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long any program here may take, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a program that has ended has left.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// An example, which cargo builds together with the tests of its package.
pub(crate) fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let build: PathBuf = test.ancestors().nth(2).unwrap().into();
    let program = build.join("examples").join(name);
    assert!(
        program.exists(),
        "{} is missing: `cargo test -p teff-examples` builds it, `--test` alone does not",
        program.display(),
    );
    Command::new(program)
}

/// Waits until a program ends. Its output must be piped, and is read meanwhile.
pub(crate) fn end(mut child: Child) -> Ended {
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let stdout = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let stderr = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let mut status = None;
    let in_time = within(PATIENCE, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if !in_time {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (stdout, stderr) = (
        stdout.join().unwrap().unwrap(),
        stderr.join().unwrap().unwrap(),
    );
    let status = status.unwrap_or_else(|| {
        panic!("a program took longer than {PATIENCE:?}; it said\n{stdout}\n{stderr}")
    });
    Ended {
        status,
        stdout,
        stderr,
    }
}

/// Whether something comes true in time.
pub(crate) fn within(time: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_true() {
            return true;
        }
        if start.elapsed() > time {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
