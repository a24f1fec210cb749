//! A node: the handle that programs hold.

mod cpu;
mod kinds;
mod spec;
mod outside;
mod port;
mod builder;
mod plan;
mod start;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use teff_contract::{GrainRef, Kind, Reference};
use teff_core::hash::GrainHash;
use teff_core::placement::Owner;
use teff_wire::{NodeId, ShardId};

use self::builder::{Mode, Static};
use self::kinds::Registry;
use self::port::NodePort;
use self::spec::Source;
use crate::counters::Counters;
use crate::driver::Reactor;
use crate::error::{RegisterError, ShutdownError};
use crate::shard::is_shard_thread;
use crate::shared::{Command, NodeShared, ShardShared};

pub use self::builder::Builder;

/// A running node. Clones are handles to the same node, usable on every thread and in every async
/// runtime. When the last handle goes, the node stops without waiting for what is under way; use
/// [`shutdown`](Self::shutdown) to finish first.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    shared: Arc<NodeShared>,
    port: Arc<NodePort>,
    address: Option<SocketAddr>,
    registry: Mutex<Registry>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Node {
    /// A node without company: no address, no certificate, no network. Everything that grains can
    /// do, they can do here.
    pub fn single() -> Builder {
        Builder::new(Mode::Single)
    }

    /// A node of a cluster whose members are named in the program. Give it at least
    /// [`identity`](Builder::identity) and [`listen`](Builder::listen) or
    /// [`members`](Builder::members).
    pub fn builder(cluster: impl Into<String>, node: u16) -> Builder {
        Builder::new(Mode::Static(Box::new(Static::new(
            cluster.into(),
            NodeId(node),
        ))))
    }

    /// A node of a cluster that a JSON file describes; paths in it are relative to its folder.
    /// [`Spec`](teff_core::spec::Spec) lists the fields. `teff certs init --spec` writes one.
    pub fn from_spec_file(path: impl Into<PathBuf>, node: u16) -> Builder {
        Builder::new(Mode::Spec {
            source: Source::File(path.into()),
            node: NodeId(node),
        })
    }

    /// As [`from_spec_file`](Self::from_spec_file), from the JSON text itself.
    pub fn from_spec(json: impl Into<String>, node: u16) -> Builder {
        Builder::new(Mode::Spec {
            source: Source::Text(json.into()),
            node: NodeId(node),
        })
    }

    fn new(
        shared: Arc<NodeShared>,
        address: Option<SocketAddr>,
        kinds: &[Kind],
        threads: Vec<JoinHandle<()>>,
    ) -> Self {
        let mut registry = Registry::default();
        for kind in kinds {
            registry
                .add(kind)
                .expect("the kinds were checked before the start");
        }
        let port = Arc::new(NodePort(Arc::clone(&shared)));
        let (registry, threads) = (Mutex::new(registry), Mutex::new(threads));
        Self(Arc::new(Inner {
            shared,
            port,
            address,
            registry,
            threads,
        }))
    }

    /// A reference to a grain. Makes no traffic and activates nothing.
    pub fn grain<R: Reference>(&self, key: impl AsRef<str>) -> R {
        R::from_grain(GrainRef::to::<R>(Arc::clone(&self.0.port) as _, key))
    }

    /// Hosts one more kind. When this returns every shard of this node knows it; peers are told at
    /// once. A kind with the name and contract of one that is there replaces its factory for
    /// activations to come.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] when the name is taken by another contract, or the node is stopping.
    pub fn register(&self, kind: Kind) -> Result<(), RegisterError> {
        if is_shard_thread() {
            return Err(RegisterError::OnShard);
        }
        if !self.0.shared.accepting.load(Ordering::Acquire) {
            return Err(RegisterError::ShuttingDown);
        }
        // Held until every shard knows, so that two registrations of one name reach all shards in
        // one order.
        let mut registry = lock(&self.0.registry);
        registry.add(&kind)?;
        self.0.shared.overload.set(&kind);
        let known: Vec<_> = self
            .0
            .shared
            .shards
            .iter()
            .map(|shard| {
                let (done, known) = oneshot::channel();
                shard.command(Command::Kind(kind.clone(), done));
                known
            })
            .collect();
        for known in known {
            known.recv().map_err(|_| RegisterError::ShuttingDown)?;
        }
        Ok(())
    }

    /// This node's id; 0 for a [`single`](Self::single) one.
    pub fn id(&self) -> NodeId {
        self.0.shared.id
    }

    /// Where it listens, with the port that was chosen; `None` without a network.
    pub fn address(&self) -> Option<SocketAddr> {
        self.0.address
    }

    /// How many shards it has.
    pub fn shards(&self) -> usize {
        self.0.shared.shards.len()
    }

    /// What its shards sleep in: see [`Builder::reactor`].
    pub fn reactor(&self) -> Reactor {
        self.0.shared.limits.reactor
    }

    /// Where a grain lives, or would live: a pure function of its id and the members. `None` when
    /// no member offers its kind, or its key is no key.
    pub fn owner_of<R: Reference>(&self, grain: &R) -> Option<(NodeId, ShardId)> {
        let target = grain.as_grain().target().ok()?;
        let owner = self
            .0
            .shared
            .view
            .place(target.contract.kind, GrainHash(target.hash))?;
        let Owner { node, shard } = owner;
        Some((node, shard))
    }

    /// What this node has counted so far, over all its shards.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        for shard in &self.0.shared.shards {
            counters.add(&shard.counters);
        }
        counters.add(&self.0.shared.overload.counters());
        counters
    }

    /// How many grains each shard holds in memory.
    pub fn activations(&self) -> Vec<u64> {
        self.0
            .shared
            .shards
            .iter()
            .map(|shard| shard.counters.activations.get())
            .collect()
    }

    /// Finishes what was accepted, then stops: messages from outside are refused at once, queued
    /// messages run, suspended handlers end, links deliver. Tasks that handlers spawned are not
    /// waited for. Blocks for up to 10 s; see
    /// [`shutdown_within`](Self::shutdown_within). Idempotent.
    ///
    /// # Errors
    ///
    /// [`ShutdownError`] when something was still under way after that time.
    pub fn shutdown(&self) -> Result<(), ShutdownError> {
        self.shutdown_within(SHUTDOWN_TIME)
    }

    /// As [`shutdown`](Self::shutdown), with this much time. After half of it calls and tells of
    /// peers are refused, so that those do not keep the node alive. A handler that never returns
    /// cannot be stopped, and is waited for.
    ///
    /// # Errors
    ///
    /// See [`shutdown`](Self::shutdown).
    pub fn shutdown_within(&self, time: Duration) -> Result<(), ShutdownError> {
        if is_shard_thread() {
            return Err(ShutdownError::OnShard);
        }
        self.0.shared.accepting.store(false, Ordering::Release);
        let clean = self.0.come_to_rest(time);
        self.0.stop();
        if clean {
            Ok(())
        } else {
            Err(ShutdownError::NotAtRest(time))
        }
    }
}

impl Inner {
    /// Waits until no shard has anything to do. Shards pass work to each other, so they must all
    /// have said so, and not have moved in between. What a shard said counts only if it has made a
    /// whole turn since the look before.
    fn come_to_rest(&self, time: Duration) -> bool {
        let start = Instant::now();
        let shards = &self.shared.shards;
        let mut quiet = 0;
        let mut before = None;
        let mut marks = vec![u64::MAX; shards.len()];
        while !lock(&self.threads).is_empty() {
            // Acquire: pairs with the Release of the turn's count, so the report is of that turn.
            let turns = shards
                .iter()
                .map(|shard| shard.status.turns.load(Ordering::Acquire));
            let turns: Vec<u64> = turns.collect();
            let looked = turns
                .iter()
                .zip(&marks)
                .all(|(now, mark)| *now >= mark.saturating_add(2));
            let crossing = self.crossing();
            if looked {
                let at_rest = |shard: &ShardShared| shard.status.at_rest.load(Ordering::Relaxed);
                let unmoved = crossing.is_some() && crossing == before;
                quiet = if unmoved && shards.iter().all(at_rest) {
                    quiet + 1
                } else {
                    0
                };
            }
            if quiet >= QUIET_LOOKS {
                return true;
            }
            let passed = start.elapsed();
            if passed >= time {
                return false;
            }
            self.shared
                .refusing_peers
                .store(passed >= time / 2, Ordering::Relaxed);
            if looked || before.is_none() {
                (before, marks) = (crossing, turns);
            }
            // A shard that sleeps makes no turns by itself.
            for shard in shards {
                shard.doorbell.ring();
            }
            thread::sleep(LOOK_INTERVAL);
        }
        true
    }

    /// Envelopes that have crossed between shards, if none is on its way.
    fn crossing(&self) -> Option<u64> {
        let shards = &self.shared.shards;
        let taken: u64 = shards
            .iter()
            .map(|shard| shard.counters.lane_in.get())
            .sum();
        let pushed: u64 = shards
            .iter()
            .map(|shard| shard.counters.lane_out.get())
            .sum();
        (taken == pushed).then_some(taken)
    }

    fn stop(&self) {
        self.shared.accepting.store(false, Ordering::Release);
        let threads = std::mem::take(&mut *lock(&self.threads));
        for shard in &self.shared.shards {
            shard.command(Command::Stop);
        }
        let own = thread::current().id();
        for thread in threads
            .into_iter()
            .filter(|thread| thread.thread().id() != own)
        {
            // A shard that panicked has aborted the process.
            drop(thread.join());
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id())
            .field("address", &self.address())
            .field("shards", &self.shards())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a shutdown waits for what is under way.
const SHUTDOWN_TIME: Duration = Duration::from_secs(10);

/// Between two looks at whether the shards have come to rest.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// So many looks in a row must find everything at rest and nothing moved.
const QUIET_LOOKS: u32 = 3;
