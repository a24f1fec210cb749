//! The progress bar: on standard error, and only where that is a terminal.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far the program is, for whoever watches.
pub(crate) struct Progress {
    bar: ProgressBar,
    counts_bytes: bool,
}

impl Progress {
    /// A bar for an input of this many bytes, or a spinner where nobody knows how many.
    pub(crate) fn new(size: Option<u64>) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let template = if size.is_some() { BAR } else { SPINNER };
        let style = ProgressStyle::with_template(template).expect("the templates are valid");
        let bar = ProgressBar::with_draw_target(size, target).with_style(style);
        bar.enable_steady_tick(TICK);
        Self {
            bar,
            counts_bytes: size.is_some(),
        }
    }

    /// So many bytes and lines have been read.
    pub(crate) fn reading(&self, bytes: u64, lines: u64) {
        self.bar
            .set_position(if self.counts_bytes { bytes } else { lines });
    }

    /// What is done after the reading.
    pub(crate) fn doing(&self, what: &'static str) {
        self.bar.set_message(what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

const BAR: &str = "{wide_bar} {percent:>3} %  {bytes} of {total_bytes}, {bytes_per_sec}  {msg}";
const SPINNER: &str = "{spinner} {human_pos} lines, {per_sec}  {msg}";

/// Between two drawings while nothing is reported.
const TICK: Duration = Duration::from_millis(100);
