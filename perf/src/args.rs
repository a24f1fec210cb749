//! The command line.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum};

use crate::grains::SIZES;
use crate::settings::{Idle, Settings};
use crate::workload::Workload;
use crate::{control, machine};

/// Measures Teff beside the raw limits of the machine, in the same run, in turns.
#[derive(Debug, Parser)]
#[command(name = "perf")]
pub(crate) struct Args {
    /// What to run
    #[arg(
        value_name = "WORKLOAD",
        hide_possible_values = true,
        help = "`list` explains the workloads, `all` runs them in turn, a name runs that one"
    )]
    pub what: What,

    /// Measured time per workload: raw and measured slices together
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub seconds: f64,

    /// Bytes per message
    #[arg(long, default_value_t = 64, value_parser = payload)]
    pub payload: usize,

    /// Grains to send to [default: 1000; activate: 1000000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    grains: Option<u32>,

    /// Tells between two turns of the sending shard [default: 512], calls under way in
    /// *-call-many [default: 256], grains that send in mixed and wire-mixed [default: 16]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4000))]
    window: Option<u32>,

    /// Messages per second in mixed and wire-mixed
    #[arg(long, default_value_t = 200_000.0, value_parser = rate)]
    rate: f64,

    /// What shards do while they have nothing to do [default: busy; spin where shards of one node
    /// share a CPU]
    #[arg(long, value_enum)]
    idle: Option<Idle>,

    /// Shards of each node in wire-*
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    shards: u16,

    /// Print one JSON object per workload, one per line, instead of a table
    #[arg(long)]
    pub json: bool,

    /// Draw latencies by percentile, or rates over time, as SVG; with `all`, a file per workload
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// Nothing, but explain.
    List,
    /// Everything.
    All,
    /// One workload.
    One(Workload),
    /// The other process of a workload that takes two. Not for users.
    FarSide,
}

impl Args {
    /// What this workload runs with.
    pub(crate) fn settings(
        &self,
        workload: Workload,
        cpus: [usize; 2],
    ) -> anyhow::Result<Settings> {
        let window = workload.default_window();
        let shards = workload.is_between_processes().then_some(self.shards);
        // Who polls on a CPU keeps the other shards from it.
        let may_poll = shards.map_or(Ok(true), machine::has_cpus_for_sides)?;
        let idle = if may_poll { Idle::Busy } else { Idle::Spin };
        Ok(Settings {
            seconds: self.seconds,
            payload: self.payload,
            grains: self
                .grains
                .map_or(workload.default_grains(), |grains| grains as usize),
            window: window.map(|default| self.window.map_or(default, |window| window as usize)),
            rate: workload.has_rate().then_some(self.rate),
            shards,
            idle: self.idle.unwrap_or(idle),
            cpus,
        })
    }
}

impl What {
    const VARIANTS: [Self; Workload::ALL.len() + 3] = {
        let mut variants = [Self::FarSide; Workload::ALL.len() + 3];
        variants[0] = Self::List;
        variants[1] = Self::All;
        let mut i = 0;
        while i < Workload::ALL.len() {
            variants[i + 2] = Self::One(Workload::ALL[i]);
            i += 1;
        }
        variants
    };
}

impl ValueEnum for What {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::VARIANTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::List => PossibleValue::new("list"),
            Self::All => PossibleValue::new("all"),
            Self::One(workload) => PossibleValue::new(workload.name()),
            Self::FarSide => PossibleValue::new(control::ARGUMENT).hide(true),
        })
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.01..=3600.0)
}

fn rate(text: &str) -> Result<f64, String> {
    within(text, 1.0..=1e9)
}

fn within(text: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(format!("not between {} and {}", range.start(), range.end()))
    }
}

fn payload(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if SIZES.contains(&bytes) => Ok(bytes),
        _ => {
            let sizes: Vec<_> = SIZES.iter().map(ToString::to_string).collect();
            Err(format!("there are payloads of {} bytes", sizes.join(", ")))
        }
    }
}
