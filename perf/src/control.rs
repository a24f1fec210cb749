//! What the two processes of a workload say to each other besides what is measured: one line of
//! JSON per order on the far side's standard input, one per answer on its standard output.
//!
//! The near side orders, the far side answers each order once, in order ([`Order::Serve`] twice).
//! A far side never outlives the near one: the kernel kills it when its parent dies, and it ends
//! when its standard input does.

use std::io::{BufRead as _, BufReader, Write as _, stdin, stdout};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use teff::{ClusterSecret, Identity};

use crate::raw::Reply;
use crate::settings::Settings;

/// What the near side wants.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Start a node. The first order, and only the first.
    Start(Box<Start>),
    /// Be the far end of one raw exchange that should take this long. [`Answer::Serving`] comes
    /// when the shard polls, [`Answer::Done`] when the exchange is over.
    Serve { reply: Reply, time: Duration },
    /// Let all shards wait without using their CPUs.
    Rest,
    /// Let them go on.
    Resume,
    /// Say what was counted.
    Count,
    /// Stop the node, and end.
    End,
}

/// What a far side needs to know to start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub settings: Settings,
    /// One shard on each.
    pub cpus: Vec<usize>,
    pub papers: Papers,
    /// Where the near node listens.
    pub near: SocketAddr,
}

/// An identity as texts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Papers {
    pub authority: String,
    pub certificate: String,
    pub key: String,
    pub secret: String,
}

/// What the far side answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The node runs, and listens here; so does the raw end.
    Started { node: SocketAddr, raw: SocketAddr },
    /// The raw end polls.
    Serving,
    /// The order was carried out.
    Done,
    /// What was counted.
    Counted(Counted),
    /// What kept the order from being carried out. The far side has ended.
    Failed(String),
}

/// What a far node has counted since it started.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Messages to measured grains that were handled.
    pub handled: u64,
    /// The same for the grain that takes big payloads.
    pub handled_bulk: u64,
    /// Messages of any kind that were dropped.
    pub dropped: u64,
    /// Frames that arrived.
    pub frames: u64,
    /// What went from shard to shard: each is a frame, or a datagram, that arrived elsewhere than
    /// at the shard of its grain.
    pub hops: u64,
}

impl Papers {
    /// The identity that they describe.
    pub(crate) fn identity(&self) -> anyhow::Result<Identity> {
        let parts = [&self.authority, &self.certificate, &self.key];
        let [authority, certificate, key] = parts.map(String::as_bytes);
        let secret = ClusterSecret::from_hex(&self.secret)?;
        Ok(Identity::from_pem(authority, certificate, key)?.with_secret(secret))
    }
}

/// The far side, as the near side knows it. It ends with this value.
pub(crate) struct Far {
    process: Child,
    orders: ChildStdin,
    answers: mpsc::Receiver<Answer>,
}

impl Far {
    /// Starts this program again.
    pub(crate) fn spawn() -> anyhow::Result<Self> {
        // Not the path: the file may have been built anew by now.
        let mut process = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the process of the far side cannot be started")?;
        let orders = process.stdin.take().expect("it is piped");
        let answered = BufReader::new(process.stdout.take().expect("it is piped"));
        let (give, answers) = mpsc::channel();
        let read = move || {
            let lines = answered.lines().map_while(Result::ok);
            let answers = lines.map(|line| {
                let answer = serde_json::from_str(&line);
                answer.unwrap_or_else(|error| Answer::Failed(format!("{line}: {error}")))
            });
            for answer in answers {
                if give.send(answer).is_err() {
                    break;
                }
            }
        };
        thread::spawn(read);
        Ok(Self {
            process,
            orders,
            answers,
        })
    }

    /// Gives an order, and waits for the answer, which should take about this long.
    pub(crate) fn ask(&mut self, order: &Order, about: Duration) -> anyhow::Result<Answer> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        let told = self.orders.write_all(&line);
        told.context("the far side takes no orders: its process has ended")?;
        self.answer(about)
    }

    /// Gives an order that only has to be carried out.
    pub(crate) fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        match self.ask(order, Duration::ZERO)? {
            Answer::Done => Ok(()),
            other => bail!("the far side was given {order:?} and answered {other:?}"),
        }
    }

    /// Waits for one more answer.
    pub(crate) fn answer(&self, about: Duration) -> anyhow::Result<Answer> {
        match self.answers.recv_timeout(about * 3 + PATIENCE) {
            Ok(Answer::Failed(why)) => bail!("on the far side {why}"),
            Ok(answer) => Ok(answer),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("the process of the far side has ended")
            }
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("the far side does not answer"),
        }
    }

    /// Lets it end by itself.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.order(&Order::End)?;
        self.process
            .wait()
            .context("the far side cannot be waited for")?;
        Ok(())
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The near side, as the far side knows it.
pub(crate) struct Near(mpsc::Receiver<Order>);

impl Near {
    /// Listens to whoever started this process, and ends the process when that has ended.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let bound = set_parent_process_death_signal(Some(Signal::KILL));
        bound.context("this process cannot be bound to its parent")?;
        let (give, orders) = mpsc::channel();
        // A thread of its own, because whoever carries out an order would not see the end.
        thread::spawn(move || {
            for line in stdin().lines().map_while(Result::ok) {
                match serde_json::from_str(&line) {
                    Ok(order) => drop(give.send(order)),
                    Err(error) => eprintln!("an order cannot be read: {line}: {error}"),
                }
            }
            std::process::exit(1);
        });
        Ok(Self(orders))
    }

    /// The next order.
    pub(crate) fn order(&self) -> anyhow::Result<Order> {
        self.0.recv().context("there are no more orders")
    }

    /// Answers one.
    pub(crate) fn answer(&self, answer: &Answer) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        let mut out = stdout().lock();
        out.write_all(&line)?;
        Ok(out.flush()?)
    }
}

/// The argument that makes a process of this program a far side.
pub(crate) const ARGUMENT: &str = "far-side";

/// Beyond the time that an order should take: longer than a job may take, whose error says more.
const PATIENCE: Duration = Duration::from_secs(200);
