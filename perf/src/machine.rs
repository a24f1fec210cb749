//! The machine under the figures: which CPUs take part, what they are, which build this is.

use std::fs;

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two CPUs that every workload runs on: the first two that this process may use.
pub(crate) fn two_cpus() -> anyhow::Result<[usize; 2]> {
    let allowed = sched_getaffinity(None).context("the CPUs of this process are not known")?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    match (cpus.next(), cpus.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => bail!("two CPUs are needed, and this process may use only one: see `taskset`"),
    }
}

/// Keeps the calling thread on one CPU.
pub(crate) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("CPU {cpu} cannot be had"))
}

/// What the kernel calls the CPU, where it says.
pub(crate) fn cpu_model() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    let (_, model) = line.split_once(':')?;
    Some(model.trim().to_owned())
}

/// The commit that this program was built from, with `-dirty` if files had changed since; unknown
/// where it was built without git.
pub(crate) fn commit() -> Option<&'static str> {
    option_env!("PERF_COMMIT")
}
