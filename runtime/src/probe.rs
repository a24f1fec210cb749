//! What a shard needs of the machine, looked at before anything is started, and how to cure what
//! is missing.

use std::fs;
use std::io;

use rustix::process::{Resource, getrlimit};

use teff_wire::NodeId;

use crate::driver::{Chooser, Reactor};

/// Something that keeps shards from running on this machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// The kernel does not offer `io_uring` to this process.
    #[error(
        "io_uring is refused ({cause}): {cure}; or do not ask for it, the default reactor needs \
         none: leave out `.reactor(Reactor::IoUring)` and `TEFF_REACTOR=io_uring`"
    )]
    IoUring {
        /// What the kernel says.
        cause: io::Error,
        /// What to do.
        cure: &'static str,
    },
    /// The process may not lock enough memory.
    #[error(
        "only {} KiB of memory may be locked, a shard on io_uring needs {} KiB: raise it with \
         `ulimit -l 8192`, \
         `LimitMEMLOCK=8M` (systemd) or `--ulimit memlock=8388608` (Docker); or leave the reactor \
         at its default, which locks none",
        .limit / 1024,
        .needed / 1024
    )]
    LockedMemory {
        /// The limit in bytes.
        limit: u64,
        /// What is needed, in bytes.
        needed: u64,
    },
    /// The process may not open enough files.
    #[error(
        "only {limit} files may be open, {needed} are needed: raise it with `ulimit -n {needed}`, \
         or run fewer shards"
    )]
    OpenFiles {
        /// The limit.
        limit: u64,
        /// What is needed for so many shards.
        needed: u64,
    },
}

/// Looks for everything that would keep `shards` shards from running here.
pub(crate) fn obstacles(shards: u16, reactor: Reactor) -> Vec<Obstacle> {
    let files = getrlimit(Resource::Nofile).current;
    let mut obstacles = Vec::from_iter(open_files(files, shards));
    if reactor == Reactor::IoUring {
        let memory = getrlimit(Resource::Memlock).current;
        obstacles.extend(locked_memory(memory));
        obstacles.extend(io_uring());
    }
    obstacles
}

/// Says in the log what the shards of a node are going to sleep in, and why in that.
pub(crate) fn announce(node: NodeId, shards: u16, (reactor, chooser): (Reactor, Chooser)) {
    let why = match chooser {
        Chooser::Program => "as the program says",
        Chooser::Environment => "as TEFF_REACTOR says",
        Chooser::Nobody => "the default: it wakes up soonest, and needs no io_uring",
    };
    tracing::info!(%node, shards, %reactor, "shards sleep in {reactor}, {why}");
}

fn locked_memory(limit: Option<u64>) -> Option<Obstacle> {
    let limit = limit.filter(|limit| *limit < LOCKED_MEMORY)?;
    Some(Obstacle::LockedMemory {
        limit,
        needed: LOCKED_MEMORY,
    })
}

fn open_files(limit: Option<u64>, shards: u16) -> Option<Obstacle> {
    let needed = FILES_PER_NODE + FILES_PER_SHARD * u64::from(shards);
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(Obstacle::OpenFiles { limit, needed })
}

fn io_uring() -> Option<Obstacle> {
    let cause = io_uring::IoUring::new(PROBE_ENTRIES).err()?;
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let cure = cure(cause.kind(), cause.raw_os_error(), disabled.trim());
    Some(Obstacle::IoUring { cause, cure })
}

fn cure(kind: io::ErrorKind, code: Option<i32>, disabled: &str) -> &'static str {
    const ENOSYS: i32 = 38;
    const ENOMEM: i32 = 12;
    match (kind, code, disabled) {
        (_, _, "1" | "2") => "switch it on with `sysctl kernel.io_uring_disabled=0`",
        (io::ErrorKind::PermissionDenied, ..) => {
            "a container's seccomp profile forbids it; allow io_uring_setup, io_uring_enter and \
             io_uring_register there (Docker: `--security-opt seccomp=PROFILE.json`)"
        }
        (_, Some(ENOSYS), _) => "this kernel or sandbox has none; Linux 5.8 or later is needed",
        (_, Some(ENOMEM), _) => "too little memory may be locked; raise it with `ulimit -l 8192`",
        _ => "see `dmesg`, and whether Linux is 5.8 or later",
    }
}

/// glommio refuses to start below this.
const LOCKED_MEMORY: u64 = 512 << 10;

/// Standard streams, the program's own files, a node's bookkeeping.
const FILES_PER_NODE: u64 = 64;

/// Three rings and their event descriptors, a doorbell and its copy, a socket and its copy; a few
/// to spare.
const FILES_PER_SHARD: u64 = 16;

const PROBE_ENTRIES: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_limit_is_an_obstacle_and_none_is_not() {
        assert!(locked_memory(None).is_none());
        assert!(locked_memory(Some(LOCKED_MEMORY)).is_none());
        let text = locked_memory(Some(64 << 10)).unwrap().to_string();
        assert!(
            text.contains("64 KiB") && text.contains("ulimit -l"),
            "{text}"
        );
        assert!(open_files(Some(1024), 4).is_none());
        assert!(
            open_files(Some(128), 16)
                .unwrap()
                .to_string()
                .contains("ulimit -n 320")
        );
    }

    #[test]
    fn each_refusal_of_io_uring_has_its_own_cure() {
        use io::ErrorKind::{Other, PermissionDenied};
        assert!(cure(PermissionDenied, Some(1), "2").contains("sysctl"));
        assert!(cure(PermissionDenied, Some(1), "0").contains("seccomp"));
        assert!(cure(Other, Some(38), "").contains("5.8"));
        assert!(cure(Other, Some(12), "0").contains("ulimit -l"));
    }
}
