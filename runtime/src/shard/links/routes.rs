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
    /// Whether it stands among those with parcels.
    is_listed: bool,
}

pub(super) enum State {
    Dialling(LinkId),
    Up(LinkId),
    /// The peer has dialled as well and keeps its own link. If that does not come up by then, this
    /// end dials again.
    Yielding {
        until: Instant,
    },
    Down {
        until: Instant,
        reason: LinkReason,
    },
}

impl Route {
    pub(super) fn new(state: State) -> Self {
        Self {
            state,
            waiting: VecDeque::new(),
            failures: 0,
            is_listed: false,
        }
    }
}

/// Routes by node and shard, found without hashing.
#[derive(Default)]
pub(super) struct Routes {
    /// Places in `routes` of the ways to grains, by node and shard of the grain. A way never
    /// changes, or messages would overtake each other.
    ways: Vec<Vec<Option<u32>>>,
    /// Every route that was ever used, and where it ends: at the shard of the grain, or at another
    /// that passes on what is not its own.
    routes: Vec<(Owner, Route)>,
    /// Places in `routes` of all where parcels wait, and some where none do any more.
    listed: Vec<usize>,
}

impl Routes {
    #[inline(always)]
    fn find(&self, to: Owner) -> Option<usize> {
        let shards = self.ways.get(usize::from(to.node.0))?;
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

    /// The place of the route to the grains of a shard. If there was none, `end` says where it
    /// ends, and it begins as `state` says.
    #[inline]
    pub(super) fn way(
        &mut self,
        to: Owner,
        end: impl FnOnce() -> Owner,
        state: impl FnOnce(Owner) -> State,
    ) -> usize {
        match self.find(to) {
            Some(place) => place,
            None => self.add_way(to, end(), state),
        }
    }

    /// The route in a place, and where it ends.
    #[inline]
    pub(super) fn at(&mut self, place: usize) -> (Owner, &mut Route) {
        let (end, route) = &mut self.routes[place];
        (*end, route)
    }

    /// Lets a parcel wait for a link, or for room on it.
    pub(super) fn let_wait(&mut self, place: usize, parcel: Parcel) {
        let route = &mut self.routes[place].1;
        route.waiting.push_back(parcel);
        if !std::mem::replace(&mut route.is_listed, true) {
            self.listed.push(place);
        }
    }

    /// Lets `send` have every route where parcels wait.
    pub(super) fn for_each_waiting(&mut self, mut send: impl FnMut(&mut Route)) {
        self.listed.retain(|&place| {
            let route = &mut self.routes[place].1;
            send(route);
            route.is_listed = !route.waiting.is_empty();
            route.is_listed
        });
    }

    #[cold]
    fn add_way(&mut self, to: Owner, end: Owner, state: impl FnOnce(Owner) -> State) -> usize {
        let (NodeId(node), ShardId(shard)) = (to.node, to.shard);
        let (node, shard) = (usize::from(node), usize::from(shard));
        if self.ways.len() <= node {
            self.ways.resize(node + 1, Vec::new());
        }
        if self.ways[node].len() <= shard {
            self.ways[node].resize(shard + 1, None);
        }
        let place = self.place_of_end(end, || state(end));
        self.ways[node][shard] = u32::try_from(place).ok();
        place
    }

    /// The route that ends at a shard, which begins as `state` says if there was none.
    pub(super) fn ending_at(&mut self, end: Owner, state: impl FnOnce() -> State) -> &mut Route {
        let place = self.place_of_end(end, state);
        &mut self.routes[place].1
    }

    fn place_of_end(&mut self, end: Owner, state: impl FnOnce() -> State) -> usize {
        let known = self.routes.iter().position(|(other, _)| *other == end);
        known.unwrap_or_else(|| {
            self.routes.push((end, Route::new(state())));
            self.routes.len() - 1
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|(_, route)| route)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Owner, &mut Route)> {
        self.routes.iter_mut().map(|(end, route)| (*end, route))
    }
}
