//! Routes whose dial has given way to the peer's own: they wait for that link, and dial again if it
//! does not come.

use std::time::Instant;

use teff_core::placement::Owner;
use teff_core::view::View;
use teff_transport::{Endpoint, LinkError};

use super::Links;
use super::backoff::backoff;
use super::routes::{Route, State};

impl Links {
    /// When there is something to do even if nothing comes in.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let quic = self.endpoint.poll_timeout();
        quic.into_iter().chain(self.redial_at).min()
    }

    /// Dials again where the peer's link has not come.
    pub(super) fn redial(&mut self, now: Instant) {
        if self.redial_at.is_none_or(|at| at > now) {
            return;
        }
        self.redial_at = None;
        for (end, route) in self.routes.iter_mut() {
            match route.state {
                State::Yielding { until } if until <= now => {
                    route.state = dial(&mut self.endpoint, &self.view, end, now);
                }
                State::Yielding { until } => wake_at(&mut self.redial_at, until),
                _ => {}
            }
        }
    }
}

/// Whether a route whose dial has failed waits for the peer's link. Not for ever: who is refused
/// for it again and again is refused for another reason.
pub(super) fn yields(route: &Route, error: &LinkError) -> bool {
    error.is_crossed() && route.failures <= YIELDS_MAX
}

/// Lets a route wait.
pub(super) fn begin(route: &mut Route, redial_at: &mut Option<Instant>, now: Instant) {
    let until = now + backoff(route.failures);
    route.state = State::Yielding { until };
    wake_at(redial_at, until);
}

/// Dials the shard that a route ends at.
pub(super) fn dial(endpoint: &mut Endpoint, view: &View, end: Owner, now: Instant) -> State {
    let address = view.member(end.node).expect(MEMBER).address;
    State::Dialling(endpoint.dial(now, end.node, address, end.shard))
}

fn wake_at(redial_at: &mut Option<Instant>, until: Instant) {
    *redial_at = Some(redial_at.map_or(until, |at| at.min(until)));
}

/// Why a member must be found.
pub(super) const MEMBER: &str = "an owner is a member";

/// Together about a second: as long as an attempt of the peer's may take to fail.
const YIELDS_MAX: u32 = 5;

#[cfg(test)]
mod tests {
    use teff_transport::{Party, Refusal};

    use super::*;

    #[test]
    fn a_route_waits_for_the_link_that_crossed_its_own_and_not_for_ever() {
        let now = Instant::now();
        let error = |refusal| LinkError::Refused {
            by: Party::Peer,
            refusal,
        };
        let mut route = Route::new(State::Yielding { until: now });
        let mut redial_at = None;
        let mut waited = 0;
        loop {
            route.failures += 1;
            assert!(!yields(&route, &error(Refusal::TooManyLinks)));
            assert!(!yields(&route, &LinkError::Unreachable));
            if !yields(&route, &error(Refusal::Crossed)) {
                break;
            }
            begin(&mut route, &mut redial_at, now);
            let State::Yielding { until } = route.state else {
                panic!("it waits")
            };
            assert!(until > now);
            waited += 1;
            assert!(waited < 100);
        }
        assert!(waited > 1);
        assert!(redial_at.is_some_and(|at| at > now));
    }
}
