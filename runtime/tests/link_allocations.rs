//! A tell to another node allocates nothing of its own, neither where it is sent nor where it is
//! handled. QUIC allocates for its packets, so the same bytes are sent twice: as many small tells,
//! and as few larger ones. The allocator of this program counts for all threads.
#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod cluster;

use std::alloc::System;
use std::time::Duration;

use cluster::{Cluster, finish, remote_key};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use teff::{Archived, Bytes, Ctx, IdleStrategy, NodeId, Reactor, grain};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn count() -> u64 {
    let stats = GLOBAL.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// Grains of the far node.
const GRAINS: usize = 64;

/// Small tells between two waits for the far node to have them: some packets full.
const WINDOW: u64 = 2048;

/// Windows of a measurement.
const WINDOWS: u64 = 100;

/// One larger tell has as many bytes on the wire as so many small ones, which have 80 each.
const FEWER: u64 = 8;

/// Bytes of its payload: 640 less the header and what the archive of a list takes.
const LARGER: usize = 640 - 16 - 16;

/// Adds up what it is told.
#[derive(Default)]
struct Sink(u64);

#[grain]
impl Sink {
    fn hit(&mut self, bytes: [u8; 64]) {
        self.0 += u64::from(bytes[0]);
    }

    fn hit_hard(&mut self, bytes: &Archived<Bytes>) {
        self.0 += u64::from(bytes[0]);
    }

    fn sum(&mut self) -> u64 {
        self.0
    }
}

/// Tells from its shard.
#[derive(Default)]
struct Driver {
    sinks: Vec<SinkRef>,
}

#[grain]
impl Driver {
    fn prepare(&mut self, ctx: &Ctx, keys: Vec<String>) {
        self.sinks = keys.iter().map(|key| ctx.grain(key)).collect();
    }

    /// So many windows of small tells.
    async fn tell(&mut self, windows: u64) {
        for _ in 0..windows {
            for number in 0..WINDOW {
                let sink = &self.sinks[number as usize % GRAINS];
                sink.hit([1; 64]).when_room().await.unwrap();
            }
            self.sinks[0].sum().await.unwrap();
        }
    }

    /// The same bytes in fewer tells.
    async fn tell_larger(&mut self, windows: u64) {
        let bytes = Bytes::from(vec![1; LARGER]);
        for _ in 0..windows {
            for number in 0..WINDOW / FEWER {
                let sink = &self.sinks[number as usize % GRAINS];
                sink.hit_hard(bytes.clone()).when_room().await.unwrap();
            }
            self.sinks[0].sum().await.unwrap();
        }
    }
}

#[test]
fn a_tell_over_a_link_allocates_nothing_of_its_own() {
    let nodes = Cluster::new("frugal", 2, 1).start(|_, builder| {
        builder
            .reactor(Reactor::Epoll)
            .idle(IdleStrategy::default())
            .kind(SinkRef::kind::<Sink>())
            .kind(DriverRef::kind::<Driver>())
    });
    let near = &nodes[0];
    let key = |n| {
        let owner = |key: &str| near.owner_of::<SinkRef>(&near.grain(key));
        remote_key(n, owner, NodeId(2))
    };
    let keys: Vec<String> = (0..GRAINS).map(key).collect();
    let driver: DriverRef = {
        let owner = |key: &str| near.owner_of::<DriverRef>(&near.grain(key));
        near.grain(remote_key(0, owner, NodeId(1)))
    };
    driver.prepare(keys).timeout(LONG).wait().unwrap();
    let small = |windows| driver.tell(windows).timeout(LONG).wait().unwrap();
    let larger = |windows| driver.tell_larger(windows).timeout(LONG).wait().unwrap();
    let measure = |run: &dyn Fn(u64)| {
        // Pools, tables and names are filled by then.
        run(20);
        let before = count();
        run(WINDOWS);
        count() - before
    };
    assert_eq!(
        measure(&|_| drop(std::hint::black_box(vec![0_u8; 1]))),
        1,
        "the allocator does not count"
    );

    let (for_small, for_larger) = (measure(&small), measure(&larger));
    let tells = WINDOWS * (WINDOW - WINDOW / FEWER);
    // Acknowledgements go by the number of messages: one for 1024, which costs both ends some.
    let per_tell = (for_small as f64 - for_larger as f64) / tells as f64;
    assert!(
        per_tell < 0.05,
        "{for_small} allocations for small tells, {for_larger} for larger ones: {per_tell:.4} for \
         each tell more"
    );
    // Both are what QUIC takes for its packets: one of 16 KiB holds 200 small tells.
    assert!(for_small < tells / 8, "{for_small} for {tells} tells");
    finish(nodes);
}

const LONG: Duration = Duration::from_secs(120);
