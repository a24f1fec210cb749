//! `teff`, the operator's tool. It hosts no grains: it makes what a cluster needs to start.
//!
//! Exit codes: 0 when all is well, 1 when something could not be done, 2 when the command line
//! makes no sense.
#![forbid(unsafe_code)]

mod args;
mod certs;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use args::{Args, CertsCommand, Command, InitArgs};

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Certs {
            command: CertsCommand::Init(args),
        } => init(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn init(args: InitArgs) -> Result<()> {
    // Indicatif draws on standard error, and only when that is a terminal.
    let bar = ProgressBar::new(args.nodes.into());
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} nodes");
    bar.set_style(style.context("the progress bar's template")?);
    let report = certs::init(&args.into_plan(), &mut || bar.inc(1));
    bar.finish_and_clear();
    write!(io::stdout(), "{}", report?).context("cannot write the summary")
}
