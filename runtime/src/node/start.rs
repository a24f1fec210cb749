//! From a plan without mistakes to running shards.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{MembarrierCommand, membarrier};
use teff_contract::Kind;
use teff_core::hash::PlacementKey;
use teff_core::view::View;
use teff_lane::{Doorbell, Receiver, lane};
use teff_transport::{Endpoint, LocalNode, Settings, Socket, shard_of};
use teff_wire::{Incarnation, NodeId, ShardId};

use crate::driver::{Driver, Epoll, IoUring, Reactor, Readable, Sources};
use crate::envelope::Envelope;
use crate::error::{ConfigError, StartError};
use crate::idle::Idler;
use crate::node::Node;
use crate::node::plan::{Network, Plan};
use crate::node::port::NodePort;
use crate::overload::Policies;
use crate::shard::event_loop::EventLoop;
use crate::shard::kinds::{Kinds, offer};
use crate::shard::lane_out::LaneOut;
use crate::shard::links::{Bounds, Links};
use crate::shard::{Parts, Shard};
use crate::shared::{Command, NodeShared, ShardShared};

/// What one shard's thread is given.
struct Cradle {
    node: Arc<NodeShared>,
    id: ShardId,
    cpu: usize,
    /// Whether another shard has the same CPU.
    crowded: bool,
    kinds: Vec<Kind>,
    outgoing: Vec<Option<LaneOut>>,
    incoming: Vec<Receiver<Envelope>>,
    bell: OwnedFd,
    network: Option<(Arc<Settings>, Socket)>,
    /// Told once: that the shard runs, or why it does not.
    ready: mpsc::Sender<Told>,
}

/// Starts every shard and waits until all of them run.
pub(super) fn start(plan: Plan) -> Result<Node, StartError> {
    let Plan {
        node: id,
        view,
        cpus,
        kinds,
        limits,
        network,
        ..
    } = plan;
    let count = cpus.len();
    let (placement_key, address, networks) = match network {
        None => (
            random_key()?,
            None,
            std::iter::repeat_with(|| None).take(count).collect(),
        ),
        Some(network) => {
            let (key, address, networks) = open_network(network, id, &view, &kinds)?;
            (key, Some(address), networks)
        }
    };
    let (bells, shards): (Vec<_>, Vec<_>) = (0..count)
        .map(|shard| shard_shared().map_err(|cause| failed(shard, cause)))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .unzip();
    let node = Arc::new(NodeShared {
        id,
        epoch: view.epoch().0,
        view: Arc::new(view),
        placement_key,
        limits,
        shards,
        started: Instant::now(),
        accepting: AtomicBool::new(true),
        refusing_peers: AtomicBool::new(false),
        halted: AtomicUsize::new(0),
        overload: Policies::new(&kinds),
    });
    let lanes = mesh(&node.shards, node.limits.lane_capacity);
    let (ready, readies) = mpsc::channel();
    let crowded = |cpu| cpus.iter().filter(|other| **other == cpu).count() > 1;
    let cpus: Vec<_> = cpus.iter().map(|cpu| (*cpu, crowded(*cpu))).collect();
    let places = lanes
        .into_iter()
        .zip(bells)
        .zip(networks)
        .zip(cpus)
        .enumerate();
    let cradles = places.map(
        |(index, ((((outgoing, incoming), bell), network), (cpu, crowded)))| Cradle {
            node: Arc::clone(&node),
            id: ShardId(index as u16),
            cpu,
            crowded,
            kinds: kinds.clone(),
            outgoing,
            incoming,
            bell,
            network,
            ready: ready.clone(),
        },
    );
    let threads = spawn(cradles.collect(), &node)?;
    drop(ready);
    match await_shards(count, &readies) {
        Ok(()) => Ok(Node::new(node, address, &kinds, threads)),
        Err(error) => Err(abandon(&node, threads, error)),
    }
}

/// Waits until every shard runs.
fn await_shards(count: usize, readies: &mpsc::Receiver<Told>) -> Result<(), StartError> {
    for _ in 0..count {
        let told = readies
            .recv()
            .unwrap_or((ShardId(0), Err(io::ErrorKind::BrokenPipe.into())));
        if let (shard, Err(cause)) = told {
            return Err(failed(shard.0.into(), cause));
        }
    }
    Ok(())
}

/// Which shard runs, or why it does not.
type Told = (ShardId, io::Result<()>);

fn spawn(cradles: Vec<Cradle>, node: &NodeShared) -> Result<Vec<JoinHandle<()>>, StartError> {
    let mut threads = Vec::with_capacity(cradles.len());
    for cradle in cradles {
        let shard = cradle.id;
        let builder = thread::Builder::new().name(format!("teff-{}-{shard}", node.id));
        match builder.spawn(move || run(cradle)) {
            Ok(thread) => threads.push(thread),
            Err(cause) => return Err(abandon(node, threads, failed(shard.0.into(), cause))),
        }
    }
    Ok(threads)
}

fn failed(shard: usize, cause: io::Error) -> StartError {
    StartError::Shard {
        shard: shard as u16,
        cause,
    }
}

// The shards that do run are told to end, so that nothing is left of a node that did not start.
fn abandon(node: &NodeShared, threads: Vec<JoinHandle<()>>, error: StartError) -> StartError {
    for shard in &node.shards {
        shard.command(Command::Stop);
    }
    for thread in threads {
        // A thread that panicked has aborted the process.
        drop(thread.join());
    }
    error
}

// Nobody outside knows ids of a node without a network, but a fixed key would be a habit.
fn random_key() -> Result<PlacementKey, StartError> {
    let mut key = [0; 16];
    fill_random(&mut key)?;
    Ok(PlacementKey::new(key))
}

fn fill_random(bytes: &mut [u8]) -> Result<(), StartError> {
    getrandom::fill(bytes).map_err(|error| failed(0, io::Error::other(error.to_string())))
}

type Networks = Vec<Option<(Arc<Settings>, Socket)>>;

fn open_network(
    network: Network,
    id: NodeId,
    view: &View,
    kinds: &[Kind],
) -> Result<(PlacementKey, SocketAddr, Networks), StartError> {
    let Network {
        cluster,
        listener,
        identity,
        suites,
        version,
        links,
    } = network;
    let config = |error| StartError::Config(vec![error]);
    let key = PlacementKey::new(identity.placement_key(&cluster));
    let shards = view.member(id).map_or(1, |own| own.shards);
    let mut incarnation = [0; 8];
    fill_random(&mut incarnation)?;
    let local = LocalNode {
        cluster,
        node: id,
        incarnation: Incarnation(u64::from_le_bytes(incarnation)),
        shards,
        placement: view.digest(&key),
    };
    let members: Vec<NodeId> = view.members().iter().map(|member| member.node).collect();
    let is_peer = move |node| node != id && members.contains(&node);
    let hasher = key.clone();
    let settings = Settings::new(local, &identity, is_peer)
        .and_then(|settings| settings.with_limits(links))
        .and_then(|settings| settings.with_cipher_suites(&identity, &suites))
        .and_then(|settings| settings.with_kinds(kinds.iter().map(offer).collect()))
        .map_err(|error| config(ConfigError::Settings(error)))?
        .with_version(version)
        .with_hash(Arc::new(move |kind, key| hasher.hash_parts(kind, key).0));
    let settings = Arc::new(settings);
    let address = listener.local_addr();
    let sockets = listener.into_sockets(shards)?;
    let networks = sockets
        .into_iter()
        .map(|socket| Some((Arc::clone(&settings), socket)));
    Ok((key, address, networks.collect()))
}

/// A shard's doorbell: the descriptor that the shard sleeps on, and what others share.
fn shard_shared() -> io::Result<(OwnedFd, ShardShared)> {
    // Blocking, because the shard's kernel-side read is to wait. A write blocks only when the
    // counter is full, and at most one write is under way per sleep.
    let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
    let hand = bell.try_clone()?;
    let doorbell = Doorbell::new(move || {
        // A doorbell that cannot be rung would be a lost wake-up; the only error left is a signal.
        while rustix::io::write(&hand, &1_u64.to_ne_bytes()) == Err(rustix::io::Errno::INTR) {}
    });
    let doorbell = match membarrier(MembarrierCommand::RegisterPrivateExpedited) {
        Ok(()) => doorbell.with_barrier(barrier),
        // Old kernels and strict sandboxes: ringers fence for themselves.
        Err(_) => doorbell,
    };
    Ok((bell, ShardShared::new(doorbell)))
}

/// A memory fence on every thread of this process.
fn barrier() {
    membarrier(MembarrierCommand::PrivateExpedited).expect("it has been registered");
}

type Lanes = (Vec<Option<LaneOut>>, Vec<Receiver<Envelope>>);

/// A lane from every shard to every other.
fn mesh(shards: &[ShardShared], capacity: usize) -> Vec<Lanes> {
    let count = shards.len();
    let mut ends: Vec<Lanes> = (0..count).map(|_| (Vec::new(), Vec::new())).collect();
    for from in 0..count {
        for (to, shard) in shards.iter().enumerate() {
            let out = (from != to).then(|| {
                let (sender, receiver) = lane(capacity);
                ends[to].1.push(receiver);
                LaneOut::new(sender, Arc::clone(&shard.congestion))
            });
            ends[from].0.push(out);
        }
    }
    ends
}

/// A shard's thread, from its first line to its last. It must not end unless the node stops: its
/// grains would be unreachable and its peers would wait, so anything else ends the process.
fn run(cradle: Cradle) {
    let _guard = AbortOnPanic;
    let Cradle {
        node,
        id,
        cpu,
        crowded,
        kinds,
        outgoing,
        incoming,
        bell,
        network,
        ready,
    } = cradle;
    let (socket, endpoint) = match network.map(|(settings, socket)| endpoint(settings, id, socket))
    {
        None => (None, None),
        Some(Ok((socket, endpoint))) => (Some(socket), Some(endpoint)),
        Some(Err(cause)) => {
            drop(ready.send((id, Err(cause))));
            return;
        }
    };
    let bounds = Bounds {
        queue: node.limits.dial_queue,
        mesh: node.limits.mesh_max,
    };
    let shards = node.shards.len() as u16;
    let links =
        endpoint.map(|endpoint| Links::new(endpoint, Arc::clone(&node.view), shards, bounds));
    let mut hosted = Kinds::new(&node.shard(id).counters);
    for kind in kinds {
        hosted.host(kind, &node.shard(id).counters);
    }
    let port = Arc::new(NodePort(Arc::clone(&node)));
    let parts = Parts {
        id,
        port,
        lanes: outgoing,
        links,
        kinds: hosted,
    };
    let idler = Idler::new(node.limits.idle, crowded);
    let reactor = node.limits.reactor;
    let life = Life {
        node,
        parts,
        idler,
        incoming,
        ready: ready.clone(),
    };
    let sources = Sources { bell, socket };
    let ended = match reactor {
        Reactor::Epoll => Epoll::run(cpu, sources, |driver| life.live(driver)),
        Reactor::IoUring => IoUring::run(cpu, sources, |driver| life.live(driver)),
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(panic)) => {
            tracing::error!(
                shard = id.0,
                "a shard panicked, which is a bug in Teff: {panic}"
            );
            eprintln!("teff: shard {id} panicked, which is a bug in Teff: {panic}");
            std::process::abort();
        }
        Err(cause) => drop(ready.send((id, Err(cause)))),
    }
}

/// What a shard has once everything is made and only the driver is missing.
struct Life {
    node: Arc<NodeShared>,
    parts: Parts,
    idler: Idler,
    incoming: Vec<Receiver<Envelope>>,
    ready: mpsc::Sender<Told>,
}

impl Life {
    async fn live<D: Driver>(self, driver: D) {
        let Self {
            node,
            parts,
            idler,
            incoming,
            ready,
        } = self;
        // Whoever waits for it is gone only if another shard has failed, and will say so.
        drop(ready.send((parts.id, Ok(()))));
        Shard::enter(node, parts, move |shard| {
            EventLoop::new(shard, driver, idler, incoming).run()
        })
        .await;
    }
}

/// Ends the process when the thread unwinds: what the shard itself panics with is caught and told
/// above, so this is for the reactor's own panics.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("teff: a shard's reactor panicked, its grains are lost: ending the process");
            std::process::abort();
        }
    }
}

fn endpoint(
    settings: Arc<Settings>,
    id: ShardId,
    socket: Socket,
) -> io::Result<(Readable, Endpoint)> {
    let copy = std::net::UdpSocket::from(socket.as_fd().try_clone_to_owned()?);
    let poke = poke(id, settings.local().shards);
    let endpoint =
        Endpoint::new(settings, id, socket).map_err(|error| io::Error::other(error.to_string()))?;
    Ok((Readable { socket: copy, poke }, endpoint))
}

/// A datagram that is steered to this shard and is no QUIC: its first byte says a short header
/// without the bit that every QUIC packet has.
fn poke(id: ShardId, shards: u16) -> Vec<u8> {
    let candidates = (0..=u32::from(u16::MAX)).map(|n| {
        let mut datagram = vec![0; POKE_LEN];
        datagram[POKE_LEN - 4..].copy_from_slice(&n.to_be_bytes());
        datagram
    });
    let mut steered = candidates.filter(|datagram| shard_of(datagram, shards) == id);
    steered.next().unwrap_or_default()
}

/// A first byte and a connection id of eight.
const POKE_LEN: usize = 9;
