//! How many shards a node has unless told otherwise, and which CPU each is pinned to.

use std::thread::available_parallelism;

use rustix::thread::{CpuSet, sched_getaffinity};

/// One shard per CPU that this process may use: the smaller of its affinity mask and its cgroup's
/// CPU quota.
pub(crate) fn default_shards() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// The CPUs that this process may use, in ascending order.
pub(crate) fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return vec![0];
    };
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}
