//! Threads that run what they are given: shards of a node, and a plain thread beside it.
//!
//! Raw loops and measured drivers run in the very same threads, which is what makes them
//! comparable. A shard is reached through a grain of the kind `Stage` that lives on it: a job is
//! left on a [`Board`], the grain is told its number, takes it, and becomes it. A job that does
//! not suspend has its shard to itself until it ends.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use teff::{Ctx, Kind, Node, grain};

use crate::machine;

/// Whatever runs jobs one at a time.
pub(crate) trait Place {
    /// Begins a job. It may block its thread.
    fn run<T, W>(&self, work: W) -> anyhow::Result<Awaited<T>>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static;
}

/// The grain that becomes the jobs of its shard.
#[grain]
pub(crate) trait Stage {
    /// Runs the job of this number.
    async fn run(&mut self, ctx: &Ctx, job: u64);
}

type Job = Box<dyn FnOnce(Ctx) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Where jobs wait for the grains that run them.
#[derive(Default)]
pub(crate) struct Board {
    next: AtomicU64,
    jobs: Mutex<HashMap<u64, Job>>,
}

struct Actor(Arc<Board>);

impl Stage for Actor {
    async fn run(&mut self, ctx: &Ctx, job: u64) {
        // Nobody else knows the number, so a job that is not there was lost or came twice.
        let job = self.0.take(job).expect("a job runs once");
        job(ctx.clone()).await;
    }
}

impl Board {
    /// The kind of the grains that run its jobs.
    pub(crate) fn kind(self: &Arc<Self>) -> Kind {
        let board = Arc::clone(self);
        StageRef::kind_with(move |_| Actor(Arc::clone(&board)))
    }

    fn post(&self, job: Job) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(number, job);
        number
    }

    fn take(&self, number: u64) -> Option<Job> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.remove(&number)
    }
}

/// A grain that runs jobs, and with it a shard.
#[derive(Clone)]
pub(crate) struct Driver {
    node: Node,
    board: Arc<Board>,
    stage: StageRef,
}

impl Driver {
    /// The driver that is this grain.
    pub(crate) fn new(node: &Node, board: &Arc<Board>, stage: StageRef) -> Self {
        Self {
            node: node.clone(),
            board: Arc::clone(board),
            stage,
        }
    }

    /// Begins an asynchronous job, as the handler of this grain.
    pub(crate) fn drive<T, F, W>(&self, work: W) -> anyhow::Result<Awaited<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
        W: FnOnce(Ctx) -> F + Send + 'static,
    {
        // One place, so that handing the result over allocates nothing.
        let (give, result) = mpsc::sync_channel(1);
        let job = self.board.post(Box::new(move |ctx| {
            let work = work(ctx);
            Box::pin(async move {
                // Who does not wait for it any more does not want it.
                drop(give.try_send(work.await));
            })
        }));
        let told = self.stage.run(job).when_room().wait();
        told.context("a shard of the node takes no job")?;
        Ok(Awaited {
            result,
            node: Some(self.node.clone()),
        })
    }
}

impl Place for Driver {
    fn run<T, W>(&self, work: W) -> anyhow::Result<Awaited<T>>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        self.drive(|_| async { work() })
    }
}

/// A thread that is no shard, on a CPU of its own.
pub(crate) struct PlainThread {
    jobs: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

impl PlainThread {
    /// Starts it. It ends with this value, after the job that it is at.
    pub(crate) fn start(cpu: usize) -> anyhow::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (give, pinned) = mpsc::sync_channel(1);
        let body = move || {
            drop(give.send(machine::pin(cpu)));
            queue.iter().for_each(|job| job());
        };
        let named = thread::Builder::new().name("plain thread".to_owned());
        named.spawn(body).context("a thread cannot be started")?;
        pinned.recv().context("the plain thread has ended")??;
        Ok(Self { jobs })
    }
}

impl Place for PlainThread {
    fn run<T, W>(&self, work: W) -> anyhow::Result<Awaited<T>>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (give, result) = mpsc::sync_channel(1);
        let job = Box::new(move || drop(give.try_send(work())));
        if self.jobs.send(job).is_err() {
            bail!("the plain thread has ended");
        }
        Ok(Awaited { result, node: None })
    }
}

/// Shards that wait in the kernel, so that their CPUs are free for others.
pub(crate) struct Held {
    releases: Vec<mpsc::Sender<()>>,
    jobs: Vec<Awaited<()>>,
}

impl Held {
    /// Holds the shards of these drivers. When it returns, all of them wait.
    pub(crate) fn hold(drivers: &[Driver]) -> anyhow::Result<Self> {
        let mut held = Self {
            releases: Vec::new(),
            jobs: Vec::new(),
        };
        for driver in drivers {
            let (release, released) = mpsc::channel();
            let (give, begun) = mpsc::sync_channel(1);
            held.releases.push(release);
            held.jobs.push(driver.run(move || {
                // Who does not wait for it any more does not want it.
                let _ = give.try_send(());
                // Ends when the other end is dropped.
                let _ = released.recv();
            })?);
            let waits = begun.recv_timeout(PATIENCE);
            waits.context("a shard cannot be held: the node hangs, or the machine is very busy")?;
        }
        Ok(held)
    }

    /// Lets them go on.
    pub(crate) fn release(self) -> anyhow::Result<()> {
        drop(self.releases);
        self.jobs
            .into_iter()
            .try_for_each(|job| job.wait(Duration::ZERO))
    }
}

/// A job under way.
#[must_use = "a job whose end nobody awaits disturbs what comes after"]
pub(crate) struct Awaited<T> {
    result: mpsc::Receiver<T>,
    node: Option<Node>,
}

impl<T> Awaited<T> {
    /// Blocks until the job has ended, which should take about this long.
    pub(crate) fn wait(self, about: Duration) -> anyhow::Result<T> {
        match self.result.recv_timeout(about * 3 + PATIENCE) {
            Ok(value) => Ok(value),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("a job ended without a result: it panicked, or its message was lost")
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // Stopping the node would wait for the job. Kept for ever, it ends with the
                // process.
                std::mem::forget(self.node);
                bail!("a job did not end in time: the node hangs, or the machine is very busy")
            }
        }
    }
}

/// Beyond the time that a job should take. Calls and waits for room give up sooner, so this is for
/// what should be impossible.
const PATIENCE: Duration = Duration::from_secs(150);
