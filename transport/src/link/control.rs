//! What the two ends of a link say about themselves: acknowledgements, kinds, full mailboxes.
//!
//! Each end has a stream for that, which is sent before everything else, so that a link full of
//! data still learns what has arrived. Nothing of it outlives a connection: the hello of the next
//! one says all that matters.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use quinn_proto::{Connection, Dir, StreamId};
use teff_wire::{Frame, FrameError, Header, KindOffer, KindsError, Reader, WriteError, Writer};

use super::outbox::write;

/// Both directions of control, over one connection.
pub(crate) struct Control {
    writer: Writer,
    /// Bytes that QUIC has not taken.
    waiting: Bytes,
    outbound: Option<StreamId>,
    inbound: Option<StreamId>,
    reader: Reader,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            writer: Writer::new(0, 1),
            waiting: Bytes::new(),
            outbound: None,
            inbound: None,
            reader: Reader::new(0, 1, Arc::new(|_, _| 0)),
        }
    }

    /// The peer opened its stream.
    pub(crate) fn opened(&mut self, stream: StreamId) {
        self.inbound = Some(stream);
    }

    /// Tells how many data frames were taken in, unless something waits still: then a later count
    /// will say more. Whether it did.
    pub(crate) fn acknowledge(&mut self, taken_in: u64) -> bool {
        if self.is_waiting() {
            return false;
        }
        let header = Header::ack(taken_in);
        let written = self
            .writer
            .frame(&header, None, |_| Ok::<_, Infallible>(()));
        debug_assert!(written.is_ok(), "there is no payload that could fail");
        true
    }

    /// Tells the peer whether the mailbox of a grain is full.
    pub(crate) fn press(&mut self, hash: u64, full: bool) {
        let header = Header::pressure(hash, full);
        let written = self
            .writer
            .frame(&header, None, |_| Ok::<_, Infallible>(()));
        debug_assert!(written.is_ok(), "there is no payload that could fail");
    }

    /// Tells the kinds that this node offers from here on.
    pub(crate) fn tell_kinds(&mut self, kinds: &[KindOffer]) -> Result<(), WriteError<KindsError>> {
        let header = Header::new(teff_wire::FrameType::Kinds);
        self.writer
            .frame(&header, None, |out| teff_wire::encode_kinds(kinds, out))
            .map(drop)
    }

    /// Whether something waits to be handed over.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.writer.is_empty()
    }

    /// Opens this end's stream, unless it is open. It has to be the first of its direction: that is
    /// how the peer knows it.
    pub(crate) fn open(&mut self, connection: &mut Connection) {
        if self.outbound.is_none() {
            self.outbound = connection.streams().open(Dir::Uni);
            if let Some(stream) = self.outbound {
                // A stream that was just opened has a priority.
                let _ = connection.send_stream(stream).set_priority(URGENT);
            }
        }
    }

    /// Whether this is this end's stream.
    pub(crate) fn is_outbound(&self, stream: StreamId) -> bool {
        self.outbound == Some(stream)
    }

    /// Hands over as much as QUIC takes.
    pub(crate) fn hand_over(&mut self, connection: &mut Connection) {
        let Some(stream) = self.outbound else {
            return;
        };
        while self.is_waiting() {
            if self.waiting.is_empty() {
                self.waiting = self.writer.take();
            }
            // A stream that takes nothing any more belongs to a connection that is lost.
            match write(&mut connection.send_stream(stream), &mut self.waiting) {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Reads what has come in, at most what is left of the link's turn. Whether there was anything.
    pub(crate) fn pull(&mut self, connection: &mut Connection, turn: &mut usize) -> bool {
        let Some(stream) = self.inbound.filter(|_| self.broken().is_none()) else {
            return false;
        };
        let mut stream = connection.recv_stream(stream);
        let Ok(mut chunks) = stream.read(true) else {
            self.inbound = None;
            return false;
        };
        let mut any = false;
        // The end of the stream comes with the end of the connection, which says why.
        while *turn > 0
            && let Ok(Some(chunk)) = chunks.next(*turn)
        {
            any = true;
            *turn -= chunk.bytes.len();
            if self.reader.push(&chunk.bytes).is_err() {
                break;
            }
        }
        let _ = chunks.finalize();
        any
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        self.reader.next()
    }

    /// Whether no whole frame waits.
    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        !self.reader.has_whole()
    }

    /// Why there will be no more frames.
    pub(crate) fn broken(&self) -> Option<FrameError> {
        self.reader.failed()
    }
}

/// Streams are sent by priority; all others have 0.
const URGENT: i32 = 1;
