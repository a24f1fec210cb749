//! What the benchmarks share: how long each one runs, and which CPUs the two threads of a
//! benchmark are pinned to. What is measured is said in each file of `benches/`.

use std::time::Duration;

use criterion::Criterion;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs of a benchmark of two threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuPair {
    /// Where the thread runs that criterion measures.
    pub near: usize,
    /// Where the other one runs.
    pub far: usize,
}

impl CpuPair {
    /// The first two CPUs that this process may use. When there is only one, says that `skipped`
    /// is not measured, because two threads that spin on one CPU measure the kernel's time slices.
    pub fn of_process(skipped: &str) -> Option<Self> {
        let allowed = sched_getaffinity(None).unwrap_or_default();
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
        let (Some(near), Some(far)) = (cpus.next(), cpus.next()) else {
            println!("{skipped}: skipped, it needs two CPUs and this process may use one");
            return None;
        };
        Some(Self { near, far })
    }
}

/// Keeps the calling thread on one CPU. Where that is refused, says so and goes on: the figures
/// are less steady then, not wrong.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        println!("not pinned to CPU {cpu}: {error}");
    }
}

/// Half a second to warm up and one to measure, unless the command line says otherwise. Short,
/// because most of these figures are compared with another one in the same run, and the less time
/// lies between the two the better.
pub fn config() -> Criterion {
    Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
}
