//! Parcels and answers as frames of a link.

use teff_contract::{LinkReason, Payload, Target, TellError};
use teff_core::time::Micros;
use teff_transport::{Endpoint, LinkError, LinkId, SendError};
use teff_wire::{CallId, Epoch, FrameType, Header, KindId, MethodId, NodeId, Status, To};

use super::Parcel;
use super::peers::{Offer, Peer};
use crate::envelope::Settled;

/// A message that is to become a frame.
pub(super) struct Outbound<'a> {
    pub target: &'a Target,
    pub method: MethodId,
    pub payload: &'a Payload,
    pub call: Option<CallId>,
    pub deadline: Micros,
}

impl<'a> Outbound<'a> {
    // In one piece with who reads it: a header that is put together in memory and read again as a
    // whole waits for the stores.
    #[inline(always)]
    fn header(&self, epoch: Epoch, now: Micros) -> Header {
        Header {
            frame: if self.call.is_some() {
                FrameType::Call
            } else {
                FrameType::Tell
            },
            status: Status::Ok,
            method: self.method,
            kind: self.target.contract.kind,
            hops: 0,
            number: self.call.map_or(0, CallId::to_u64),
            // What waited is checked before; a call that is just being made has its time left.
            deadline_us: self.deadline.to_wire(now).unwrap_or(1),
            epoch,
        }
    }

    pub(super) fn of(parcel: &'a Parcel) -> Self {
        Self {
            target: &parcel.target,
            method: parcel.method,
            payload: &parcel.payload,
            call: parcel.call,
            deadline: parcel.deadline,
        }
    }
}

/// Sends a message and returns its frame's number, if the peer shares the contract.
pub(super) fn send(
    endpoint: &mut Endpoint,
    (link, peer): (LinkId, &mut Peer),
    epoch: Epoch,
    message: &Outbound<'_>,
    now: Micros,
) -> Result<u64, TellError> {
    let target = message.target;
    let contract = target.contract;
    let (kind, node) = (contract.name, peer.node);
    match peer.offer(contract) {
        Offer::Same => {}
        Offer::Other => return Err(TellError::InterfaceMismatch { kind, node }),
        Offer::None => return Err(TellError::UnknownKind { kind, node }),
    }
    let to = To {
        key: &target.key,
        hash: target.hash,
        spot: Some(&target.spot),
    };
    let header = message.header(epoch, now);
    let sent = endpoint.send_to(link, &header, Some(to), |out| message.payload.encode(out));
    let number = sent.map_err(|error| tell_error(&error, node))?;
    peer.note_letter(number, contract.kind);
    Ok(number)
}

/// Sends a message of which [`send`] has sent others, if nothing is in the way. In every other case
/// nothing happens.
#[inline(always)]
pub(super) fn express(
    endpoint: &mut Endpoint,
    (link, peer): (LinkId, &mut Peer),
    epoch: Epoch,
    message: &Outbound<'_>,
    now: Micros,
) -> Option<u64> {
    let target = message.target;
    if !peer.is_clear(target.contract) {
        return None;
    }
    let header = message.header(epoch, now);
    let number = endpoint.express(link, &header, &target.spot, |out| {
        message.payload.encode(out)
    })?;
    peer.note_letter(number, target.contract.kind);
    Some(number)
}

fn tell_error<E>(error: &SendError<E>, node: NodeId) -> TellError {
    match error {
        SendError::Busy => TellError::Busy,
        SendError::TooLarge { len, limit } => TellError::TooLarge {
            len: *len,
            limit: *limit,
        },
        // The encoder refuses nothing that has a schema.
        SendError::Payload(_) => TellError::TooLarge { len: 0, limit: 0 },
        SendError::Down => TellError::NodeUnreachable {
            node,
            reason: LinkReason::new(LinkError::Reset),
        },
    }
}

/// What became of an answer.
pub(super) enum Answered {
    /// It left.
    Sent,
    NoRoom,
    Lost,
}

/// Sends the answer to a call.
pub(super) fn answer(
    endpoint: &mut Endpoint,
    link: LinkId,
    epoch: Epoch,
    number: u64,
    settled: &Settled,
) -> Answered {
    let mut header = Header {
        frame: FrameType::Reply,
        status: Status::Ok,
        method: MethodId(0),
        kind: KindId(0),
        hops: 0,
        number,
        deadline_us: 0,
        epoch,
    };
    let sent = match settled {
        Ok(payload) => endpoint
            .send(link, &header, None, |out| payload.encode(out))
            .map_err(drop_payload),
        Err((status, text)) => {
            header.status = *status;
            let text = &text.as_bytes()[..text.len().min(TEXT_MAX)];
            send_text(endpoint, link, &header, text)
        }
    };
    let sent = match sent {
        Err(SendError::TooLarge { .. } | SendError::Payload(())) => {
            header.status = Status::ReplyTooLarge;
            send_text(endpoint, link, &header, &[])
        }
        sent => sent,
    };
    match sent {
        Ok(_) => Answered::Sent,
        Err(SendError::Busy) => Answered::NoRoom,
        Err(_) => Answered::Lost,
    }
}

fn send_text(
    endpoint: &mut Endpoint,
    link: LinkId,
    header: &Header,
    text: &[u8],
) -> Result<u64, SendError<()>> {
    endpoint.send(link, header, None, |out| {
        out.extend_from_slice(text);
        Ok(())
    })
}

fn drop_payload<E>(error: SendError<E>) -> SendError<()> {
    match error {
        SendError::Busy => SendError::Busy,
        SendError::Down => SendError::Down,
        SendError::TooLarge { len, limit } => SendError::TooLarge { len, limit },
        SendError::Payload(_) => SendError::Payload(()),
    }
}

/// More of a panic's message than this helps nobody.
const TEXT_MAX: usize = 1024;
