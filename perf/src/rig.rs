//! A node set up for a measurement: grains where they are wanted, and an end that checks the books.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_lite::future::yield_now;
use teff::{Builder, Counters, IdleStrategy, Node, NodeId, Reference, ShardId, TellError};

use crate::bulk::{BulkRef, Sink};
use crate::grains::{Payload as _, Target};
use crate::place::{Board, Driver};

/// What a node is set up with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// One shard on each.
    pub cpus: Vec<usize>,
    /// What idle shards do.
    pub idle: IdleStrategy,
    /// How many grains will be activated on a shard.
    pub grains: usize,
}

/// A running node.
pub(crate) struct Rig {
    node: Node,
    board: Arc<Board>,
    /// Messages to measured grains that must have been handled in the end.
    expected: u64,
}

impl Rig {
    /// Starts a node that hosts grains of `R`.
    pub(crate) fn start<R: Target>(setup: &Setup) -> anyhow::Result<Self> {
        Self::start_as::<R>(Node::single(), setup)
    }

    /// Starts this node, and hosts grains of `R` on it, and those that take big payloads.
    pub(crate) fn start_as<R: Target>(builder: Builder, setup: &Setup) -> anyhow::Result<Self> {
        let board = Arc::new(Board::default());
        let node = builder
            .shards(setup.cpus.len())
            .cpus(setup.cpus.iter().copied())
            .idle(setup.idle)
            .activations_max(setup.grains + STAGES_MAX)
            .call_timeout(PATIENCE)
            .kind(R::hosted())
            .kind(BulkRef::kind::<Sink>())
            .kind(board.kind())
            .start()
            .context("the node cannot be started")?;
        Ok(Self {
            node,
            board,
            expected: 0,
        })
    }

    /// References to so many grains that live on this shard, in the order of their keys.
    pub(crate) fn grains_on<R: Reference>(&self, shard: u16, count: usize) -> Vec<R> {
        self.grains_of(self.node.id(), shard, count)
    }

    /// The same for a shard of any node.
    pub(crate) fn grains_of<R: Reference>(&self, node: NodeId, shard: u16, count: usize) -> Vec<R> {
        let mut grains = Vec::with_capacity(count);
        let named = (0_u64..).map(|number| self.node.grain(number.to_string()));
        let owner = Some((node, ShardId(shard)));
        let here = |grain: &R| self.node.owner_of(grain) == owner;
        grains.extend(named.filter(here).take(count));
        grains
    }

    /// So many drivers on this shard; the first is the same every time.
    pub(crate) fn drivers(&self, shard: u16, count: usize) -> Vec<Driver> {
        self.grains_on(shard, count)
            .into_iter()
            .map(|stage| Driver::new(&self.node, &self.board, stage))
            .collect()
    }

    /// A driver on this shard, the same every time.
    pub(crate) fn driver(&self, shard: u16) -> Driver {
        self.drivers(shard, 1).remove(0)
    }

    /// Tells each grain one message from a driver, so that all are activated, in this order.
    pub(crate) fn activate<R: Target>(
        &mut self,
        from: &Driver,
        grains: Vec<R>,
    ) -> anyhow::Result<Vec<R>> {
        let count = grains.len();
        let told = from.drive(move |_| async move {
            tell_each(&grains, WINDOW).await?;
            anyhow::Ok(grains)
        })?;
        self.expect(count as u64 + 1);
        told.wait(Duration::from_micros(20) * count as u32)?
    }

    /// Checks that these grains have handled so many messages whose numbers have this sum.
    pub(crate) fn check<R: Target>(
        &mut self,
        from: &Driver,
        grains: Arc<[R]>,
        (count, sum): (u64, u64),
    ) -> anyhow::Result<()> {
        if grains.len() > ASKED_MAX {
            return Ok(());
        }
        self.expect(grains.len() as u64);
        let asked = from.drive(move |_| async move {
            let mut all = (0, 0_u64);
            for grain in &*grains {
                let (count, sum) = grain.totals().await?;
                all = (all.0 + count, all.1.wrapping_add(sum));
            }
            anyhow::Ok(all)
        })?;
        let (handled, total) = asked.wait(Duration::ZERO)??;
        ensure!(
            (handled, total) == (count, sum),
            "the grains have handled {handled} messages with the sum {total}, and should have \
             handled {count} with the sum {sum}"
        );
        Ok(())
    }

    /// So many messages more have been accepted.
    pub(crate) fn expect(&mut self, messages: u64) {
        self.expected += messages;
    }

    /// How many messages have been accepted.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    /// What the node has counted.
    pub(crate) fn counters(&self) -> Counters {
        self.node.counters()
    }

    /// Ends the node.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        let stopped = self.node.shutdown();
        stopped.context("the node does not come to rest")
    }

    /// Ends the node, and checks that every message was handled, once.
    pub(crate) fn finish<R: Target>(self) -> anyhow::Result<()> {
        self.stop()?;
        let counters = self.node.counters();
        let ours = counters.kinds.get(R::NAME).cloned().unwrap_or_default();
        let (sent, handled, dropped) = (ours.sent, ours.handled, ours.dropped_total());
        ensure!(
            (sent, handled, dropped) == (self.expected, self.expected, 0),
            "the books do not balance: {} messages were accepted; the node says that it took \
             {sent}, handled {handled}, dropped {dropped}",
            self.expected
        );
        Ok(())
    }
}

/// Tells each grain the payload 0, waiting for room, and comes back when all have handled it.
pub(crate) async fn tell_each<R: Target>(grains: &[R], window: usize) -> anyhow::Result<()> {
    for window in grains.chunks(window) {
        for grain in window {
            tell(grain, R::Payload::numbered(0)).await?;
        }
        yield_now().await;
    }
    fence(grains).await
}

/// Tells a grain, waiting for room.
pub(crate) async fn tell<R: Target>(grain: &R, payload: R::Payload) -> anyhow::Result<()> {
    match grain.hit(payload).tell() {
        Err(TellError::Busy) => Ok(grain.hit(payload).timeout(PATIENCE).when_room().await?),
        told => Ok(told?),
    }
}

/// Comes back when every message that was told before has been handled, if all the grains live on
/// one shard: what goes to one shard arrives in order.
pub(crate) async fn fence<R: Target>(grains: &[R]) -> anyhow::Result<()> {
    let first = grains.first().context("there are no grains")?;
    first
        .totals()
        .await
        .context("the last message got no answer")?;
    Ok(())
}

/// How long a call waits for its reply and a tell for room. Long, because a machine that was
/// stopped for a while has lost nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Tells between two turns of the shard while grains are activated.
const WINDOW: usize = 512;

/// More drivers than any workload has on a shard.
pub(crate) const STAGES_MAX: usize = 4096;

/// The most grains that are asked one by one; of more only the node's counters are checked.
const ASKED_MAX: usize = 10_000;
