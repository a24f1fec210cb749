//! The far side of a workload between processes: a node whose grains are told and called, and the
//! far end of the raw limit, in the same thread as its first shard.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use teff::{Listener, Reference as _};

use crate::bulk::BulkRef;
use crate::control::{Answer, Counted, Near, Order, Start};
use crate::grains::{Target, WithTarget, with_payload_of};
use crate::place::{Driver, Held, Place as _};
use crate::raw::{Quic, Reply};
use crate::rig::{Rig, Setup};
use crate::wire::{FAR, anywhere, builder};

/// Runs the far side until the near side has had enough.
pub(crate) fn run() -> anyhow::Result<()> {
    let near = Near::listen()?;
    let served = match near.order()? {
        Order::Start(start) => {
            let payload = start.settings.payload;
            with_payload_of(payload, Serve(*start, &near)).and_then(|served| served)
        }
        other => bail!("the first order is not to start: {other:?}"),
    };
    match served {
        Ok(()) => Ok(()),
        // The near side says it to whoever looks.
        Err(error) => near.answer(&Answer::Failed(format!("{error:#}"))),
    }
}

struct Serve<'a>(Start, &'a Near);

impl WithTarget for Serve<'_> {
    type Output = anyhow::Result<()>;

    fn with<R: Target>(self) -> Self::Output {
        let Self(start, near) = self;
        let mut far = FarNode::start::<R>(&start, near)?;
        loop {
            match near.order()? {
                Order::Start(_) => bail!("the node runs already"),
                Order::Serve { reply, time } => far.serve(near, reply, time)?,
                Order::Rest => far.rest()?,
                Order::Resume => far.resume()?,
                Order::Count => {
                    near.answer(&Answer::Counted(far.count::<R>()))?;
                    continue;
                }
                Order::End => {
                    far.rig.stop()?;
                    return near.answer(&Answer::Done);
                }
            }
            near.answer(&Answer::Done)?;
        }
    }
}

/// A far node, and its end of the raw limit.
struct FarNode {
    rig: Rig,
    /// One for each shard.
    drivers: Vec<Driver>,
    quic: Arc<Mutex<Quic>>,
    held: Option<Held>,
}

impl FarNode {
    fn start<R: Target>(start: &Start, near: &Near) -> anyhow::Result<Self> {
        let identity = start.papers.identity()?;
        let quic = Quic::listen(&identity)?;
        let listener = Listener::bind(anywhere())?;
        let answer = Answer::Started {
            node: listener.local_addr(),
            raw: quic.address()?,
        };
        let addresses = [start.near, listener.local_addr()];
        let setup = Setup {
            cpus: start.cpus.clone(),
            idle: start.settings.idle.into(),
            grains: start.settings.grains,
        };
        let builder = builder(FAR, addresses, setup.cpus.len(), listener, identity);
        let rig = Rig::start_as::<R>(builder, &setup)?;
        let shards = 0..setup.cpus.len() as u16;
        let drivers = shards.map(|shard| rig.driver(shard)).collect();
        near.answer(&answer)?;
        Ok(Self {
            rig,
            drivers,
            quic: Arc::new(Mutex::new(quic)),
            held: None,
        })
    }

    fn serve(&self, near: &Near, reply: Reply, time: Duration) -> anyhow::Result<()> {
        // The other shards would poll, and may share its CPU.
        let held = Held::hold(&self.drivers[1..])?;
        let quic = Arc::clone(&self.quic);
        let (give, begun) = mpsc::sync_channel(1);
        let served = self.drivers[0].run(move || {
            let mut quic = quic.lock().unwrap_or_else(PoisonError::into_inner);
            // Who does not wait for it any more does not want it.
            let _ = give.try_send(());
            quic.serve(reply, time)
        })?;
        begun.recv().context("a shard has ended")?;
        near.answer(&Answer::Serving)?;
        served.wait(time)??;
        held.release()
    }

    fn rest(&mut self) -> anyhow::Result<()> {
        ensure!(self.held.is_none(), "the shards rest already");
        self.held = Some(Held::hold(&self.drivers)?);
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        let held = self.held.take().context("the shards do not rest")?;
        held.release()
    }

    fn count<R: Target>(&self) -> Counted {
        let counters = self.rig.counters();
        let handled = |name: &str| counters.kinds.get(name).map_or(0, |kind| kind.handled);
        Counted {
            handled: handled(R::NAME),
            handled_bulk: handled(BulkRef::NAME),
            dropped: counters.total().dropped_total(),
            frames: counters.frames_in,
            hops: counters.frames_hopped + counters.misrouted,
        }
    }
}
