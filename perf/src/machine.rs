//! The machine under the figures: which CPUs take part, what they are, which build this is.

use std::fs;

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two CPUs that every workload runs on: the first two that this process may use.
pub(crate) fn two_cpus() -> anyhow::Result<[usize; 2]> {
    match allowed_cpus()?[..] {
        [first, second, ..] => Ok([first, second]),
        _ => bail!("two CPUs are needed, and this process may use only one: see `taskset`"),
    }
}

/// The CPUs of so many shards on each of two sides, the near side's first. The first shards have
/// the two CPUs of every workload; where there are too few, the shards of a side share.
pub(crate) fn cpus_of_sides(shards: u16) -> anyhow::Result<[Vec<usize>; 2]> {
    let cpus = allowed_cpus()?;
    let pairs = (cpus.len() / 2).max(1);
    let side = |side: usize| {
        let shards = 0..usize::from(shards);
        let cpu = |shard: usize| cpus.get(2 * (shard % pairs) + side).copied();
        shards.map(cpu).collect::<Option<Vec<_>>>()
    };
    match (side(0), side(1)) {
        (Some(near), Some(far)) => Ok([near, far]),
        _ => bail!("two CPUs are needed, and this process may use only one: see `taskset`"),
    }
}

/// Whether so many shards on each of two sides have a CPU each.
pub(crate) fn has_cpus_for_sides(shards: u16) -> anyhow::Result<bool> {
    Ok(allowed_cpus()?.len() >= 2 * usize::from(shards))
}

fn allowed_cpus() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("the CPUs of this process are not known")?;
    let cpus = 0..CpuSet::MAX_CPU;
    Ok(cpus.filter(|cpu| allowed.is_set(*cpu)).collect())
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
