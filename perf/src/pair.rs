//! Two shards, each on a CPU of its own, and grains on one of them: the set-up that most workloads
//! share.

use std::sync::Arc;

use crate::grains::Target;
use crate::place::Driver;
use crate::raw;
use crate::rig::{Rig, Setup};
use crate::settings::Settings;
use crate::shuffle::shuffled;

/// Shard 0, which sends, shard 1, and the grains, in the order in which they are visited.
pub(crate) struct Pair<R> {
    /// The node.
    pub rig: Rig,
    /// The first driver of shard 0.
    pub near: Driver,
    /// The first driver of shard 1.
    pub far: Driver,
    /// Activated grains.
    pub targets: Arc<[R]>,
    /// Messages handled so far, and the sum of their numbers.
    handled: (u64, u64),
}

impl<R: Target> Pair<R> {
    /// Starts the node, and activates grains: as many on each of these shards, one shard's after
    /// the other's.
    pub(crate) fn start(settings: &Settings, shards: &[u16]) -> anyhow::Result<Self> {
        let mut rig = Rig::start::<R>(&Setup {
            cpus: settings.cpus.to_vec(),
            idle: settings.idle.into(),
            grains: settings.grains,
        })?;
        let (near, far) = (rig.driver(0), rig.driver(1));
        let mut targets = Vec::new();
        for shard in shards {
            let grains = rig.grains_on(*shard, settings.grains.div_ceil(shards.len()));
            targets.extend(shuffled(rig.activate(&near, grains)?));
        }
        let targets: Arc<[R]> = targets.into();
        Ok(Self {
            rig,
            near,
            far,
            handled: (targets.len() as u64, 0),
            targets,
        })
    }

    /// The number of the next message, if they are numbered from 0.
    pub(crate) fn next_number(&self) -> u64 {
        self.handled.0 - self.targets.len() as u64
    }

    /// So many messages more must have been handled, and the sum of their numbers is this.
    pub(crate) fn handled(&mut self, messages: u64, sum: u64) {
        self.handled.0 += messages;
        self.handled.1 = self.handled.1.wrapping_add(sum);
        self.rig.expect(messages);
    }

    /// Messages from the next number on.
    pub(crate) fn handled_in_order(&mut self, messages: u64) {
        let first = u128::from(self.next_number());
        let count = u128::from(messages);
        let sum = count * first + count * count.saturating_sub(1) / 2;
        self.handled(messages, sum as u64);
    }

    /// Nanoseconds of a cache line there and back.
    pub(crate) fn line(&self) -> anyhow::Result<Option<f64>> {
        raw::line_round_trip(&self.near, &self.far).map(Some)
    }

    /// Checks the books, of the grains and of the node.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.rig.check(&self.near, self.targets, self.handled)?;
        self.rig.finish::<R>()
    }
}
