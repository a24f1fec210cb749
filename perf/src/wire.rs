//! Two nodes in two processes, mutual TLS between them, and grains on the far one: the set-up that
//! workloads between processes share. And beside it, in the threads of the two first shards, the
//! raw connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use teff::authority::Authority;
use teff::{Builder, Identity, Listener, Member, Node, NodeId, Reference};

use crate::control::{Answer, Counted, Far, Order, Papers, Start};
use crate::grains::Target;
use crate::machine;
use crate::place::{Driver, Held, PlainThread};
use crate::raw::{self, Quic, Reply};
use crate::rig::{PATIENCE, Rig, Setup};
use crate::sample::{Sample, Steering};
use crate::settings::Settings;
use crate::shuffle::shuffled;

/// The near node, the grains on the far one, and the line to the far process.
pub(crate) struct WirePair<R> {
    /// The near node.
    pub rig: Rig,
    /// The first driver of each near shard; the first of them is also the near end of raw limits.
    pub near: Vec<Driver>,
    /// Activated grains of the far node, in the order in which they are visited.
    pub targets: Arc<[R]>,
    far: Far,
    quic: Arc<Mutex<Quic>>,
    /// On the CPU of the first far shard.
    beside: PlainThread,
    /// Messages handled so far, and the sum of their numbers.
    handled: (u64, u64),
    /// The same of big payloads.
    handled_bulk: u64,
    /// What the far node had counted when last asked.
    counted: Counted,
}

impl<R: Target> WirePair<R> {
    /// Starts both nodes, and activates grains on the far one, as many on each shard.
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let shards = settings.shards.unwrap_or(1);
        let [near_cpus, far_cpus] = machine::cpus_of_sides(shards)?;
        let beside = PlainThread::start(far_cpus[0])?;
        let authority = Authority::new()?;
        let listener = Listener::bind(anywhere())?;
        let mut far = Far::spawn()?;
        let start = Order::Start(Box::new(Start {
            settings: settings.clone(),
            cpus: far_cpus,
            papers: papers(&authority, FAR)?,
            near: listener.local_addr(),
        }));
        let Answer::Started { node, raw } = far.ask(&start, Duration::ZERO)? else {
            bail!("the far side does not say where it listens");
        };
        let identity = papers(&authority, NEAR)?.identity()?;
        let name = format!("n{FAR}.{CLUSTER}.teff.internal");
        let quic = Quic::dial(&identity, (raw, &name))?;
        let setup = Setup {
            cpus: near_cpus,
            idle: settings.idle.into(),
            grains: settings.grains,
        };
        let addresses = [listener.local_addr(), node];
        let builder = builder(NEAR, addresses, setup.cpus.len(), listener, identity);
        let mut rig = Rig::start_as::<R>(builder, &setup)?;
        let near: Vec<_> = (0..shards).map(|shard| rig.driver(shard)).collect();
        let each = settings.grains.div_ceil(usize::from(shards));
        let grains = (0..shards).flat_map(|shard| rig.grains_of(FAR, shard, each));
        let targets: Arc<[R]> = rig.activate(&near[0], shuffled(grains.collect()))?.into();
        let mut this = Self {
            rig,
            near,
            far,
            quic: Arc::new(Mutex::new(quic)),
            beside,
            handled: (targets.len() as u64, 0),
            handled_bulk: 0,
            counted: Counted::default(),
            targets,
        };
        this.settle()?;
        Ok(this)
    }

    /// So many grains of a kind on the first far shard.
    pub(crate) fn far_grains<T: Reference>(&self, count: usize) -> Vec<T> {
        self.rig.grains_of(FAR, 0, count)
    }

    /// So many drivers, spread evenly over the near shards.
    pub(crate) fn drivers(&self, count: usize) -> Vec<Driver> {
        let shards = self.near.len();
        let each = count.div_ceil(shards);
        let of = |shard| self.rig.drivers(shard as u16, each);
        let by_shard: Vec<_> = (0..shards).map(of).collect();
        let nth = |n: usize| by_shard[n % shards][n / shards].clone();
        (0..count).map(nth).collect()
    }

    /// The number of the next message, if they are numbered from 0.
    pub(crate) fn next_number(&self) -> u64 {
        self.handled.0 - self.targets.len() as u64
    }

    /// So many messages more were sent, the sum of their numbers is this, and there were so many
    /// fences. Waits until the far node has handled them, which counts as time of the sample.
    pub(crate) fn handled(
        &mut self,
        sample: &mut Sample,
        (messages, sum): (u64, u64),
        fences: u64,
    ) -> anyhow::Result<()> {
        self.handled.0 += messages;
        self.handled.1 = self.handled.1.wrapping_add(sum);
        self.rig.expect(messages + fences);
        self.account(sample)
    }

    /// Messages from the next number on.
    pub(crate) fn handled_in_order(
        &mut self,
        sample: &mut Sample,
        messages: u64,
        fences: u64,
    ) -> anyhow::Result<()> {
        let first = u128::from(self.next_number());
        let count = u128::from(messages);
        let sum = count * first + count * count.saturating_sub(1) / 2;
        self.handled(sample, (messages, sum as u64), fences)
    }

    /// So many big payloads more were sent; fences included.
    pub(crate) fn handled_bulk(&mut self, messages: u64) {
        self.handled_bulk += messages;
    }

    fn account(&mut self, sample: &mut Sample) -> anyhow::Result<()> {
        let before = self.counted;
        sample.time += self.settle()?;
        let shards = self.near.len();
        sample.steering = (shards > 1).then(|| Steering {
            frames: self.counted.frames - before.frames,
            hops: self.counted.hops - before.hops,
        });
        Ok(())
    }

    /// Waits until the far node has handled everything. Gives how long that took: nothing if it
    /// had when it was asked first.
    fn settle(&mut self) -> anyhow::Result<Duration> {
        let asked = Instant::now();
        let mut waited = Duration::ZERO;
        loop {
            let Answer::Counted(counted) = self.far.ask(&Order::Count, Duration::ZERO)? else {
                bail!("the far side does not say what it has counted");
            };
            self.counted = counted;
            let wanted = (self.rig.expected(), self.handled_bulk);
            let handled = (counted.handled, counted.handled_bulk);
            if handled == wanted {
                return Ok(waited);
            }
            let is_hopeless = handled.0 > wanted.0 || handled.1 > wanted.1 || waited > PATIENCE;
            ensure!(
                !is_hopeless && counted.dropped == 0,
                "the books do not balance: {wanted:?} messages (small, big) were accepted, and the \
                 far node has handled {handled:?} and dropped {} of any kind",
                counted.dropped
            );
            waited = asked.elapsed();
        }
    }

    /// A raw exchange: a flood of frames of so many bytes.
    pub(crate) fn raw_flood(&mut self, frame: usize, time: Duration) -> anyhow::Result<Sample> {
        let near = move |quic: &mut Quic, is_over: &_| quic.flood(frame, time, is_over);
        self.exchange(Reply::Total, time, near)
    }

    /// A raw exchange: calls of one payload there and eight bytes back, so many at a time.
    pub(crate) fn raw_calls(
        &mut self,
        payload: usize,
        window: usize,
        time: Duration,
    ) -> anyhow::Result<Sample> {
        let (there, back) = (HEADER + payload, HEADER + 8);
        let near =
            move |quic: &mut Quic, is_over: &_| quic.ask((there, back), window, time, is_over);
        self.exchange(Reply::Each { there, back }, time, near)
    }

    fn exchange(
        &mut self,
        reply: Reply,
        time: Duration,
        near: impl FnOnce(&mut Quic, &AtomicBool) -> anyhow::Result<Sample> + Send + 'static,
    ) -> anyhow::Result<Sample> {
        let held = Held::hold(&self.near[1..])?;
        let Answer::Serving = self.far.ask(&Order::Serve { reply, time }, time)? else {
            bail!("the far side does not serve a raw exchange");
        };
        let (quic, is_over) = (Arc::clone(&self.quic), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&is_over);
        let begun = crate::place::Place::run(&self.near[0], move || {
            let mut quic = quic.lock().unwrap_or_else(PoisonError::into_inner);
            near(&mut quic, &over)
        })?;
        let done = self.far.answer(time);
        // Relaxed: nothing else is shared.
        is_over.store(true, Ordering::Relaxed);
        // If it went wrong here, the far side only knows that it waited in vain.
        let sample = begun.wait(time)??;
        held.release()?;
        match done? {
            Answer::Done => Ok(sample),
            other => bail!("the far side does not end a raw exchange: {other:?}"),
        }
    }

    /// Nanoseconds of a cache line between the CPUs of the two first shards, there and back.
    pub(crate) fn line(&mut self) -> anyhow::Result<Option<f64>> {
        self.far.order(&Order::Rest)?;
        let line = raw::line_round_trip(&self.near[0], &self.beside);
        self.far.order(&Order::Resume)?;
        line.map(Some)
    }

    /// Checks the books, of the grains and of both nodes.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.rig
            .check(&self.near[0], self.targets.clone(), self.handled)?;
        self.settle()?;
        self.rig.stop()?;
        let counters = self.rig.counters();
        let small = counters.kinds.get(R::NAME).cloned().unwrap_or_default();
        ensure!(
            (small.sent, counters.total().dropped_total()) == (self.rig.expected(), 0),
            "the books do not balance: {} messages were accepted; the near node says that it took \
             {} and dropped {} of any kind",
            self.rig.expected(),
            small.sent,
            counters.total().dropped_total()
        );
        self.far.end()
    }
}

/// A node of the pair. `addresses` are those of the near and the far node.
pub(crate) fn builder(
    node: NodeId,
    addresses: [SocketAddr; 2],
    shards: usize,
    listener: Listener,
    identity: Identity,
) -> Builder {
    let members = [NEAR, FAR].into_iter().zip(addresses);
    let members = members.map(|(node, address)| Member::new(node, address, shards as u16));
    Node::builder(CLUSTER, node.0)
        .listener(listener)
        .members(members)
        .identity(identity)
}

fn papers(authority: &Authority, node: NodeId) -> anyhow::Result<Papers> {
    let issued = authority.issue(CLUSTER, node)?;
    Ok(Papers {
        authority: authority.certificate_pem().to_owned(),
        certificate: issued.certificate_pem,
        key: issued.key_pem,
        secret: authority.secret().to_hex(),
    })
}

/// A free port of the loopback device.
pub(crate) fn anywhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

const CLUSTER: &str = "perf";

/// Who drives.
const NEAR: NodeId = NodeId(1);

/// Whose grains are told and called.
pub(crate) const FAR: NodeId = NodeId(2);

/// Bytes of a frame beyond its payload, at the least that the design allows.
pub(crate) const HEADER: usize = 16;
