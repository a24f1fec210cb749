//! Large payloads on their way out, each on a stream of its own, so that frames for other grains
//! never wait behind them.
//!
//! Some are sent at a time, side by side; the others wait. A payload stays here until the peer has
//! acknowledged its frame: when the connection breaks, it is sent again from its start. So one that
//! takes longer than connections live does not arrive until they live longer.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{Connection, Dir, StreamId};
use teff_wire::Preamble;

use super::outbox::write;

/// Payloads that are detached from their frames, in the order of these.
#[derive(Default)]
pub(crate) struct Departing {
    payloads: VecDeque<Payload>,
    /// Bytes that QUIC has not taken.
    waiting: usize,
    /// Bytes that QUIC has taken and the peer has not acknowledged.
    retained: usize,
}

struct Payload {
    /// The number of its frame.
    frame: u64,
    bytes: Bytes,
    /// What QUIC has not taken of it.
    rest: Bytes,
    preamble: Bytes,
    stream: Option<StreamId>,
}

impl Payload {
    fn rewind(&mut self) {
        let len = u32::try_from(self.bytes.len()).expect("payloads are shorter than MAX_PAYLOAD");
        let frame = self.frame;
        self.preamble = Bytes::copy_from_slice(&Preamble { len, frame }.to_bytes());
        self.rest = self.bytes.clone();
        self.stream = None;
    }

    fn is_sent(&self) -> bool {
        self.preamble.is_empty() && self.rest.is_empty()
    }
}

impl Departing {
    pub(crate) fn push(&mut self, frame: u64, bytes: Bytes) {
        self.waiting += bytes.len();
        let mut payload = Payload {
            frame,
            rest: Bytes::new(),
            bytes,
            preamble: Bytes::new(),
            stream: None,
        };
        payload.rewind();
        self.payloads.push_back(payload);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Bytes that QUIC has not taken.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes that the peer has not acknowledged.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting + self.retained
    }

    /// Lets go of the payloads of frames before this one.
    pub(crate) fn acknowledged(&mut self, taken_in: u64) {
        while let Some(payload) = self
            .payloads
            .pop_front_if(|payload| payload.frame < taken_in)
        {
            self.retained -= payload.bytes.len() - payload.rest.len();
            self.waiting -= payload.rest.len();
        }
    }

    /// The connection is another one: all is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.payloads.iter_mut().for_each(Payload::rewind);
        self.waiting += std::mem::take(&mut self.retained);
    }

    /// Hands over as much as QUIC takes. Only payloads of frames before `handed` go.
    pub(crate) fn hand_over(&mut self, connection: &mut Connection, handed: u64) {
        let unsent = self
            .payloads
            .iter_mut()
            .filter(|payload| !payload.is_sent());
        for payload in unsent.take_while(|payload| payload.frame < handed) {
            let stream = match payload.stream {
                Some(stream) => stream,
                // As many as the peer allows are under way.
                None => match connection.streams().open(Dir::Uni) {
                    Some(stream) => *payload.stream.insert(stream),
                    None => return,
                },
            };
            let mut stream = connection.send_stream(stream);
            let before = payload.rest.len();
            let written = write(&mut stream, &mut payload.preamble)
                .and_then(|whole| Ok(whole && write(&mut stream, &mut payload.rest)?));
            let taken = before - payload.rest.len();
            self.waiting -= taken;
            self.retained += taken;
            match written {
                // The peer may have had the payload before the connection broke, and stop it.
                Ok(true) => drop(stream.finish()),
                Ok(false) => {}
                // Stopped, or the connection is lost, which comes to light by itself.
                Err(_) => {
                    self.waiting -= payload.rest.len();
                    self.retained += payload.rest.len();
                    payload.rest = Bytes::new();
                    payload.preamble = Bytes::new();
                }
            }
        }
    }
}
