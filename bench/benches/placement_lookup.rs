//! What does it cost to find out where a grain lives, by the size of the cluster?
//!
//! - `hash`: an id under the cluster's key, once per message, by the length of the grain's key.
//! - `owner`: from the hash to the shard that owns it. The table has 32 KiB whatever the cluster,
//!   so this should hardly depend on its size.
//! - `route`: the same, and from there to the next hop.
//! - `view`: checks the members and makes the table, once per change of membership, on no
//!   message's way. Expected to grow with the number of shards.
//!
//! Clusters are written nodes x shards. Ids follow each other without waiting for one another, as
//! those of a batch do: these are figures of throughput, not of the latency of a single look-up.

use std::{hint::black_box, time::Duration};

use criterion::{
    BatchSize, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use teff_bench::config;
use teff_core::{GrainHash, Member, Owner, PlacementKey, View, route};
use teff_wire::{Epoch, GrainId, Key, KindId, NodeId, ShardId};

/// Enough to touch nearly every line of a table, and few enough to stay in the first-level cache.
const IDS: u32 = 1024;

/// Nodes and the shards of each.
const CLUSTERS: [(u16, u16); 3] = [(1, 2), (10, 16), (100, 16)];

/// Bytes of a grain's key: a number, the longest one stored in place, a UUID, a path.
const KEYS: [usize; 4] = [8, 23, 36, 100];

const ROOM: KindId = KindId::of("room");

const ME: Owner = Owner {
    node: NodeId(1),
    shard: ShardId(0),
};

fn hash(c: &mut Criterion) {
    let secret = secret();
    let mut group = c.benchmark_group("placement_lookup/hash");
    group.throughput(Throughput::Elements(u64::from(IDS)));
    for len in KEYS {
        let ids = ids(len);
        group.bench_function(BenchmarkId::new("key", len), |b| {
            b.iter(|| {
                for id in &ids {
                    black_box(secret.hash(black_box(id)));
                }
            });
        });
    }
    group.finish();
}

fn owner(c: &mut Criterion) {
    let hashes = hashes();
    let mut group = c.benchmark_group("placement_lookup/owner");
    group.throughput(Throughput::Elements(u64::from(IDS)));
    for cluster in CLUSTERS {
        let view = view_of(members(cluster));
        group.bench_function(name(cluster), |b| {
            b.iter(|| {
                for &hash in &hashes {
                    black_box(view.place(ROOM, hash));
                }
            });
        });
    }
    group.finish();
}

fn next_hop(c: &mut Criterion) {
    let hashes = hashes();
    let mut group = c.benchmark_group("placement_lookup/route");
    group.throughput(Throughput::Elements(u64::from(IDS)));
    for cluster in CLUSTERS {
        let view = view_of(members(cluster));
        group.bench_function(name(cluster), |b| {
            b.iter(|| {
                for &hash in &hashes {
                    black_box(route(&view, ME, ROOM, hash));
                }
            });
        });
    }
    group.finish();
}

fn view(c: &mut Criterion) {
    let mut group = c.benchmark_group("placement_lookup/view");
    // The largest takes a good part of a second.
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.measurement_time(Duration::from_secs(3));
    for cluster in CLUSTERS {
        let members = members(cluster);
        group.bench_function(name(cluster), |b| {
            b.iter_batched(|| members.clone(), view_of, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn view_of(members: Vec<Member>) -> View {
    View::new(Epoch(1), members).expect("the members of a benchmark are sound")
}

fn members((nodes, shards): (u16, u16)) -> Vec<Member> {
    (1..=nodes)
        .map(|node| Member::new(NodeId(node), ([10, 0, 0, 1], 4000 + node).into(), shards))
        .collect()
}

fn name((nodes, shards): (u16, u16)) -> String {
    format!("{nodes}x{shards}")
}

fn hashes() -> Vec<GrainHash> {
    let secret = secret();
    ids(KEYS[0]).iter().map(|id| secret.hash(id)).collect()
}

/// Grains whose keys have `len` bytes.
fn ids(len: usize) -> Vec<GrainId> {
    (0..IDS)
        .map(|number| {
            let key = Key::new(format!("{number:0len$}")).expect("keys may be this long");
            GrainId::new(ROOM, key)
        })
        .collect()
}

fn secret() -> PlacementKey {
    PlacementKey::new(*b"sixteen bytes ok")
}

criterion_group! {
    name = benches;
    config = config();
    targets = hash, owner, next_hop, view
}
criterion_main!(benches);
