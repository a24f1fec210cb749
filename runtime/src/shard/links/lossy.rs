//! Lossy tells as datagrams of a link. None waits for its link, for room on it, or behind what
//! does; but one that finds no link starts one, or there would never be any.

use std::time::Instant;

use teff_contract::{Outgoing, TellError};
use teff_core::dead_letter::Reason;
use teff_core::hash::GrainHash;
use teff_core::placement::Owner;
use teff_transport::SendError;
use teff_wire::Header;

use super::peers::Offer;
use super::routes::State;
use super::yielding::dial;
use super::{Links, PEER};

impl Links {
    /// Sends a lossy tell over the link to its destination if that is up, and otherwise dials it.
    /// Returns why the tell was dropped, if it was.
    ///
    /// # Errors
    ///
    /// What makes it pointless to send such a tell again: [`TellError::TooLarge`],
    /// [`TellError::UnknownKind`], [`TellError::InterfaceMismatch`].
    pub(crate) fn post_lossy(
        &mut self,
        message: &Outgoing<'_>,
        to: Owner,
        now: Instant,
    ) -> Result<Option<Reason>, TellError> {
        let place = self.way(to, now);
        let (end, route) = self.routes.at(place);
        let link = match &route.state {
            State::Up(link) => *link,
            State::Down { until, .. } if *until <= now => {
                route.state = dial(&mut self.endpoint, &self.view, end, now);
                return Ok(Some(Reason::LossyNoLink));
            }
            _ => return Ok(Some(Reason::LossyNoLink)),
        };
        let peer = self.peers.get_mut(link).expect(PEER);
        let (target, node) = (message.target, peer.node);
        let kind = target.contract.name;
        match peer.offer(target.contract) {
            Offer::Same => {}
            Offer::Other => return Err(TellError::InterfaceMismatch { kind, node }),
            Offer::None => return Err(TellError::UnknownKind { kind, node }),
        }
        if peer.is_full(GrainHash(target.hash)) {
            return Ok(Some(Reason::LossyNoRoom));
        }
        let mut header = Header::tell(target.contract.kind, message.method);
        header.epoch = self.epoch;
        let encode = |out: &mut _| message.payload.encode(out);
        let sent = self.endpoint.send_lossy(link, &header, &target.key, encode);
        match sent {
            Ok(()) => Ok(None),
            // Broken, and to be resumed; or the peer takes no datagrams.
            Err(SendError::Down) => Ok(Some(Reason::LossyNoLink)),
            Err(SendError::Busy) => Ok(Some(Reason::LossyNoRoom)),
            Err(SendError::TooLarge { len, limit }) => Err(TellError::TooLarge { len, limit }),
            // The encoder refuses nothing that has a schema.
            Err(SendError::Payload(_)) => Err(TellError::TooLarge { len: 0, limit: 0 }),
        }
    }
}
