//! The ways to shards of peers: which link leads there, and what waits for one.

use std::collections::VecDeque;
use std::time::Instant;

use teff_contract::LinkReason;
use teff_core::placement::Owner;
use teff_transport::LinkId;
use teff_wire::{NodeId, ShardId};

use super::Parcel;

/// The way to one shard of a peer.
pub(super) struct Route {
    pub state: State,
    /// Parcels that wait for the link, or for room on it, in order.
    pub waiting: VecDeque<Parcel>,
    /// Attempts that failed since the link was last up.
    pub failures: u32,
}

pub(super) enum State {
    Dialling(LinkId),
    Up(LinkId),
    Down { until: Instant, reason: LinkReason },
}

impl Route {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            waiting: VecDeque::new(),
            failures: 0,
        }
    }
}

/// Routes by node and shard, found without hashing.
#[derive(Default)]
pub(super) struct Routes {
    /// Places in `routes`, by node and shard, of all that were ever used.
    places: Vec<Vec<Option<u32>>>,
    routes: Vec<(Owner, Route)>,
}

impl Routes {
    #[inline(always)]
    fn find(&self, to: Owner) -> Option<usize> {
        let shards = self.places.get(usize::from(to.node.0))?;
        let place = shards.get(usize::from(to.shard.0)).copied().flatten()?;
        Some(place as usize)
    }

    /// The link to a shard, if it is up and nothing waits for it.
    #[inline(always)]
    pub(super) fn clear(&self, to: Owner) -> Option<LinkId> {
        match &self.routes[self.find(to)?].1 {
            Route {
                state: State::Up(link),
                waiting,
                ..
            } if waiting.is_empty() => Some(*link),
            _ => None,
        }
    }

    /// The route to a shard, which begins as `state` says if there was none.
    #[inline]
    pub(super) fn entry(&mut self, to: Owner, state: impl FnOnce() -> State) -> &mut Route {
        let place = match self.find(to) {
            Some(place) => place,
            None => self.add(to, state()),
        };
        &mut self.routes[place].1
    }

    #[cold]
    fn add(&mut self, to: Owner, state: State) -> usize {
        let (NodeId(node), ShardId(shard)) = (to.node, to.shard);
        let (node, shard) = (usize::from(node), usize::from(shard));
        if self.places.len() <= node {
            self.places.resize(node + 1, Vec::new());
        }
        let shards = &mut self.places[node];
        if shards.len() <= shard {
            shards.resize(shard + 1, None);
        }
        let place = self.routes.len();
        shards[shard] = u32::try_from(place).ok();
        self.routes.push((to, Route::new(state)));
        place
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|(_, route)| route)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Owner, &mut Route)> {
        self.routes.iter_mut().map(|(to, route)| (*to, route))
    }
}
