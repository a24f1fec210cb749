//! The progress line: on standard error, and only where that is a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::workload::Workload;

/// How far the program is, for whoever watches. It is drawn between slices only, so that drawing
/// disturbs none.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A line for so many workloads.
    pub(crate) fn new(workloads: usize) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is valid");
        let steps = workloads as u64 * STEPS;
        Self(ProgressBar::with_draw_target(Some(steps), target).with_style(style))
    }

    /// This workload, the `index`-th, is done to this part, from 0 to 1.
    pub(crate) fn at(&self, index: usize, workload: Workload, done: f64) {
        self.0.set_message(workload.name());
        let steps = index as f64 + done;
        self.0.set_position((steps * STEPS as f64) as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

const TEMPLATE: &str = "{msg:14} {wide_bar} {percent:>3} %  {elapsed}";

/// Steps of the bar per workload.
const STEPS: u64 = 100;
