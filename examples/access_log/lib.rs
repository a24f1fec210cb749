//! Counts a web server's log with grains spread over nodes: a fire-and-forget pipeline.
//!
//! `cargo run --release --example access_log -- [FILE] [--nodes 2] [--shards 1] [--processes]
//! [--json]`; `--help` states the format and the exit codes.
//!
//! ```text
//! reader --hit--> client --hit--> path        one grain each, on whatever node and shard
//!                        --hit--> status      its name hashes to
//! ```
//!
//! In the order of reading: `lines` and `entry` read the log, `grains` count, `pump` tells,
//! `collect` asks, `report` sums up and `table` shows. `cluster` starts the nodes in this process,
//! `processes` in others. What was sent must have been handled in the end, by the sums of the
//! grains and by the counters of the nodes; if not, the program says what is missing and fails.

mod lines;
mod entry;
mod key;
mod source;
mod progress;
mod options;

mod grains;
mod counters;
mod member;
mod processes;
mod cluster;

mod pump;
mod collect;
mod report;
mod table;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser as _;

use crate::cluster::Cluster;
use crate::options::Options;
use crate::progress::Progress;
use crate::report::Report;
use crate::source::Source;

/// The whole program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    let options = Options::parse();
    if let (Some(node), Some(spec)) = (options.serve, &options.spec) {
        return processes::serve(node, spec, options.cpus);
    }
    match run(&options) {
        Ok(report) if report.losses.is_empty() => ExitCode::SUCCESS,
        Ok(report) => {
            for loss in report.losses {
                eprintln!("access_log: {loss}");
            }
            ExitCode::from(LOST)
        }
        Err(error) => {
            eprintln!("access_log: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<Report> {
    let mut source = Source::open(options.file.as_deref())?;
    if source.is_sample {
        eprintln!("access_log: no log was named, so this is a small sample that is made up");
    }
    let cluster = Cluster::start(options)?;
    let progress = Progress::new(source.size);
    let start = Instant::now();
    let read = pump::pump(&mut source.lines, cluster.entrance(), &progress)?;
    progress.doing("collecting");
    let tallies = collect::collect(cluster.entrance(), &read)?;
    let pumping = start.elapsed();
    drop(progress);
    let counters = cluster.stop()?;
    let report = Report::new(&read, tallies, counters, pumping);
    print(&report, options.json).context("the report cannot be printed")?;
    Ok(report)
}

fn print(report: &Report, as_json: bool) -> io::Result<()> {
    let text = if as_json {
        serde_json::to_string(report)? + "\n"
    } else {
        table::text(report)
    };
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        // Whoever reads it has seen enough, `head` for example.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// The exit code when something that was sent was not handled.
const LOST: u8 = 2;
