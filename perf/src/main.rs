//! The load generator: each workload beside the raw limit of the machine, in the same run, in the
//! same threads, in turns. `perf list` explains the workloads; the README how to read the figures.
//!
//! Modules are listed bottom-up: a module uses only modules above it.

mod machine;
mod allocation;
mod shuffle;
mod units;
mod settings;

// What is measured, and where it runs.
mod grains;
mod bulk;
mod place;
mod sample;
mod rig;
mod raw;

// The other process.
mod control;
mod wire;
mod far;

// The workloads.
mod scenario;
mod pair;
mod workload;

// What comes out of them.
mod measure;
mod outcome;
mod report;
mod plot;
mod progress;

mod args;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::args::{Args, What};
use crate::measure::{Plan, measure};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::workload::Workload;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.what {
        What::List => list(),
        What::All => run_all(&args, &Workload::ALL),
        What::One(workload) => run_all(&args, &[workload]),
        What::FarSide => far::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A backtrace would not help whoever has made a mistake.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures these workloads, and shows what came out of them: up to the first that fails, because
/// its node may still keep the CPUs busy.
fn run_all(args: &Args, workloads: &[Workload]) -> anyhow::Result<()> {
    if let Some(file) = &args.plot {
        plot::check(file)?;
    }
    let cpus = machine::two_cpus()?;
    let progress = Progress::new(workloads.len());
    let mut out = std::io::stdout();
    let mut outcomes = Vec::new();
    let mut failure = None;
    for (index, &workload) in workloads.iter().enumerate() {
        let progress = |done| progress.at(index, workload, done);
        match run(args, workload, cpus, progress) {
            Ok(outcome) => {
                if args.json {
                    writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
                }
                outcomes.push(outcome);
            }
            Err(error) => {
                failure = Some(error.context(format!("{} failed", workload.name())));
                break;
            }
        }
    }
    drop(progress);
    if !args.json {
        write!(out, "{}", report::table(&outcomes))?;
    }
    failure.map_or(Ok(()), Err)
}

/// Measures one workload.
fn run(
    args: &Args,
    workload: Workload,
    cpus: [usize; 2],
    progress: impl Fn(f64),
) -> anyhow::Result<Outcome> {
    progress(0.0);
    let settings = args.settings(workload, cpus)?;
    let plan = Plan {
        time: Duration::from_secs_f64(settings.seconds),
        is_sliced: workload.is_sliced(),
    };
    let measured = measure(workload.open(&settings)?, plan, progress)?;
    if let Some(file) = &args.plot {
        match args.what {
            What::All => plot::draw(&plot::file_for(file, workload), workload, &measured)?,
            _ => plot::draw(file, workload, &measured)?,
        }
    }
    Ok(Outcome::new(workload, &settings, &measured))
}

/// Explains the workloads.
fn list() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for workload in Workload::ALL {
        writeln!(out, "{:16}{}", workload.name(), workload.about())?;
        writeln!(out, "{:16}raw limit: {}", "", workload.limit())?;
    }
    Ok(())
}
