//! Asks the grains what they have counted, once everything that was told has been handled.
//!
//! When is that? A call to a client's grain comes after all hits that this thread has told it, so
//! its answer counts all of them and says how many messages it has told on. Those are from another
//! sender than this thread, so a call to a path's grain may well arrive before them. But each of
//! them is counted there once, so it is enough to ask again until the sums agree: first the few
//! statuses, which every client tells last, then the paths. A sum that stops growing short of
//! what was told means that messages are lost, and is reported instead of waited for.

use std::fmt;
use std::future::IntoFuture as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_lite::future;
use teff::{Call, CallError, Node, Reference, Request};

use crate::grains::{ClientRef, ClientTally, PATIENCE, PathRef, StatusRef, Tally, status_key};
use crate::pump::Read;

/// What all grains have counted.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub clients: Vec<Tally>,
    pub paths: Vec<Tally>,
    pub statuses: Vec<Tally>,
    /// Messages from clients to paths and statuses.
    pub told: u64,
    /// Where the sums do not agree.
    pub losses: Vec<Loss>,
}

/// Messages that were sent, or should have been, and were not handled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Loss {
    /// Grains were told less than they should have been, or have not handled all of it.
    #[error("{missing} of {expected} messages to {kind} are missing")]
    Missing {
        kind: Kind,
        expected: u64,
        missing: u64,
    },
    /// Grains have handled more than there was.
    #[error("{kind} have handled {surplus} messages more than the {expected} that were sent")]
    Surplus {
        kind: Kind,
        expected: u64,
        surplus: u64,
    },
    /// Grains of clients could not tell on.
    #[error("clients could not send {count} messages, the last because {error}")]
    Untold { count: u64, error: String },
    /// Counters of the nodes do not add up.
    #[error("the nodes have sent {sent} messages, handled {handled} and dropped {dropped}")]
    Counters {
        sent: u64,
        handled: u64,
        dropped: u64,
    },
}

/// A kind of grain, in the plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Clients,
    Paths,
    Statuses,
}

/// Asks every grain that was told something.
pub(crate) fn collect(node: &Node, read: &Read) -> anyhow::Result<Tallies> {
    let mut all = Tallies::default();
    let clients: Vec<ClientTally> =
        ask(&read.clients, ClientRef::tally).context("asking the clients failed")?;
    let (mut paths_told, mut statuses_told, mut untold, mut error) = (0, 0, 0, None);
    for client in clients {
        paths_told += client.paths_told;
        statuses_told += client.statuses_told;
        untold += client.untold;
        error = client.error.or(error);
        all.clients.push(client.tally);
    }
    all.told = paths_told + statuses_told;
    let statuses: Vec<StatusRef> = read
        .statuses
        .iter()
        .map(|status| node.grain(status_key(*status)))
        .collect();
    all.statuses = ask_until(statuses_told, || ask(&statuses, StatusRef::tally))
        .context("asking the statuses failed")?;
    let paths: Vec<PathRef> = read.path_keys.iter().map(|key| node.grain(key)).collect();
    all.paths =
        ask_until(paths_told, || ask(&paths, PathRef::tally)).context("asking the paths failed")?;
    all.losses.extend(error.map(|error| Loss::Untold {
        count: untold,
        error,
    }));
    all.losses
        .extend(compare(Kind::Clients, read.requests, &all.clients));
    all.losses
        .extend(compare(Kind::Paths, paths_told, &all.paths));
    all.losses
        .extend(compare(Kind::Statuses, statuses_told, &all.statuses));
    Ok(all)
}

/// Asks until the sum of requests is `told`, or has not grown for too long.
fn ask_until(
    told: u64,
    ask: impl Fn() -> Result<Vec<Tally>, CallError>,
) -> Result<Vec<Tally>, CallError> {
    let mut most = 0;
    let mut grown = Instant::now();
    let mut pause = PAUSE_MIN;
    loop {
        let tallies = ask()?;
        let sum = requests(&tallies);
        if sum >= told || (sum <= most && grown.elapsed() > PATIENCE) {
            return Ok(tallies);
        }
        if sum > most {
            (most, grown, pause) = (sum, Instant::now(), PAUSE_MIN);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Calls many grains, with many calls under way at a time.
fn ask<R: Reference, T: teff::Message>(
    grains: &[R],
    question: impl Fn(&R) -> Request<'_, (), T>,
) -> Result<Vec<T>, CallError> {
    let mut answers = Vec::with_capacity(grains.len());
    for grains in grains.chunks(CALLS_UNDER_WAY) {
        let mut calls: Vec<Call<'_, T>> = grains
            .iter()
            .map(|grain| question(grain).timeout(PATIENCE).into_future())
            .collect();
        future::block_on(async {
            // A call is sent when it is first polled.
            let mut early = Vec::with_capacity(calls.len());
            for call in &mut calls {
                early.push(future::poll_once(call).await);
            }
            for (call, early) in calls.into_iter().zip(early) {
                answers.push(match early {
                    Some(answer) => answer?,
                    None => call.await?,
                });
            }
            Ok::<_, CallError>(())
        })?;
    }
    Ok(answers)
}

fn compare(kind: Kind, expected: u64, tallies: &[Tally]) -> Option<Loss> {
    let handled = requests(tallies);
    if handled < expected {
        Some(Loss::Missing {
            kind,
            expected,
            missing: expected - handled,
        })
    } else if handled > expected {
        Some(Loss::Surplus {
            kind,
            expected,
            surplus: handled - expected,
        })
    } else {
        None
    }
}

fn requests(tallies: &[Tally]) -> u64 {
    tallies.iter().map(|tally| tally.requests).sum()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clients => "clients",
            Self::Paths => "paths",
            Self::Statuses => "statuses",
        })
    }
}

/// Enough to keep every shard busy, and far fewer than a lane holds.
const CALLS_UNDER_WAY: usize = 512;

/// Between two questions while the sums do not agree.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_that_do_not_agree_are_a_loss() {
        let tally = |requests| Tally {
            name: "/".into(),
            requests,
            bytes: 0,
            node: 1,
            shard: 0,
        };
        let tallies = [tally(3), tally(4)];
        assert_eq!(compare(Kind::Paths, 7, &tallies), None);
        let loss = |expected| {
            compare(Kind::Paths, expected, &tallies)
                .unwrap()
                .to_string()
        };
        assert_eq!(loss(10), "3 of 10 messages to paths are missing");
        assert_eq!(
            loss(5),
            "paths have handled 2 messages more than the 5 that were sent"
        );
    }

    #[test]
    fn grains_are_asked_until_they_have_handled_everything() {
        let asked = std::cell::Cell::new(0);
        let tallies = ask_until(3, || {
            asked.set(asked.get() + 1);
            let name = String::from("200");
            Ok(vec![Tally {
                name,
                requests: asked.get(),
                bytes: 0,
                node: 1,
                shard: 0,
            }])
        });
        assert_eq!((tallies.unwrap()[0].requests, asked.get()), (3, 3));
    }
}
