//! Frames on their way out of one link: from the application to QUIC.
//!
//! Frames are appended to a buffer; buffers are sealed into batches and handed to QUIC, which may
//! take a batch in parts. The hello goes first and alone: nothing else passes until the peer's
//! hello was found in order. Numbers only grow: acknowledged <= handed <= written.

use std::collections::VecDeque;

use bytes::Bytes;
use quinn_proto::{SendStream, WriteError as QuicError};
use rkyv::util::AlignedVec;
use teff_wire::{Header, Key, WriteError, Writer};

use crate::{error::SendError, event::Sent, limits::SEAL_AT};

/// The outbound side of a link.
pub(crate) struct Outbox {
    writer: Writer,
    /// Data frames in the writer.
    writing: u64,
    hello: Bytes,
    open: bool,
    batches: VecDeque<Batch>,
    /// Bytes in `batches` that QUIC has not taken.
    sealed: usize,
    limit: usize,
    sent: Sent,
    /// Whether an acknowledgement is on its way through the batches. There is at most one, so
    /// that a blocked link does not pile them up.
    ack: Ack,
}

struct Batch {
    bytes: Bytes,
    /// Data frames in it that do not count as handed over yet: all of them or none.
    frames: u64,
    ack: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ack {
    None,
    Writing,
    Sealed,
}

impl Outbox {
    /// An outbox that passes nothing but a hello until it is opened.
    pub(crate) fn new(max_payload: usize, limit: usize) -> Self {
        Self {
            writer: Writer::new(max_payload),
            writing: 0,
            hello: Bytes::new(),
            open: false,
            batches: VecDeque::new(),
            sealed: 0,
            limit,
            sent: Sent::default(),
            ack: Ack::None,
        }
    }

    /// Puts the hello in front of everything.
    pub(crate) fn greet<E>(
        &mut self,
        header: &Header,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<(), WriteError<E>> {
        let mut writer = Writer::new(0);
        writer.frame(header, None, payload)?;
        self.hello = writer.take();
        Ok(())
    }

    /// Lets the frames behind the hello pass.
    pub(crate) fn open(&mut self) {
        self.open = true;
    }

    /// Appends a data frame and returns its number.
    pub(crate) fn send<E>(
        &mut self,
        header: &Header,
        key: Option<&Key>,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<u64, SendError<E>> {
        assert!(
            header.frame.is_data(),
            "{} frames are not for applications",
            header.frame
        );
        if self.buffered() >= self.limit {
            return Err(SendError::Busy);
        }
        self.writer
            .frame(header, key, payload)
            .map_err(|error| match error {
                WriteError::TooLarge { len, limit } => SendError::TooLarge { len, limit },
                WriteError::Payload(error) => SendError::Payload(error),
            })?;
        let number = self.sent.written;
        self.sent.written += 1;
        self.writing += 1;
        if self.writer.len() >= SEAL_AT {
            self.seal();
        }
        Ok(number)
    }

    /// Appends a frame of the link itself. Not counted, not refused.
    pub(crate) fn control<E>(
        &mut self,
        header: &Header,
        payload: impl FnOnce(&mut AlignedVec<16>) -> Result<(), E>,
    ) -> Result<(), WriteError<E>> {
        self.writer.frame(header, None, payload).map(drop)
    }

    /// Appends an acknowledgement, unless one waits already. Returns whether it did.
    pub(crate) fn acknowledge(&mut self, taken_in: u64) -> bool {
        if self.ack != Ack::None {
            return false;
        }
        let written = self.writer.frame(&Header::ack(taken_in), None, |_| {
            Ok::<_, std::convert::Infallible>(())
        });
        debug_assert!(
            written.is_ok(),
            "an acknowledgement has no payload that could fail"
        );
        self.ack = Ack::Writing;
        true
    }

    /// Whether an acknowledgement waits to be handed over.
    pub(crate) fn ack_waits(&self) -> bool {
        self.ack != Ack::None
    }

    /// Hands over as much as QUIC takes.
    pub(crate) fn hand_over(&mut self, stream: &mut SendStream<'_>) -> Result<(), QuicError> {
        if !self.hello.is_empty() && !write(stream, &mut self.hello)? {
            return Ok(());
        }
        while self.open {
            if self.batches.is_empty() {
                self.seal();
            }
            let Some(batch) = self.batches.front_mut() else {
                break;
            };
            let before = batch.bytes.len();
            let whole = write(stream, &mut batch.bytes)?;
            let taken = before - batch.bytes.len();
            self.sealed -= taken;
            if taken > 0 {
                self.sent.handed += std::mem::take(&mut batch.frames);
            }
            if !whole {
                break;
            }
            if batch.ack {
                self.ack = Ack::None;
            }
            self.batches.pop_front();
        }
        Ok(())
    }

    /// Notes how many data frames the peer says it has taken in. `false` if that cannot be.
    #[must_use]
    pub(crate) fn acknowledged(&mut self, taken_in: u64) -> bool {
        if !(self.sent.acknowledged..=self.sent.handed).contains(&taken_in) {
            return false;
        }
        self.sent.acknowledged = taken_in;
        true
    }

    /// How many bytes wait for QUIC.
    pub(crate) fn buffered(&self) -> usize {
        self.sealed + self.writer.len()
    }

    /// How far the data frames got.
    pub(crate) fn sent(&self) -> Sent {
        self.sent
    }

    /// Lets go of everything that waits; the counts stay.
    pub(crate) fn clear(&mut self) {
        self.writer = Writer::new(0);
        self.hello = Bytes::new();
        self.batches = VecDeque::new();
        self.sealed = 0;
    }

    fn seal(&mut self) {
        if self.writer.is_empty() {
            return;
        }
        let bytes = self.writer.take();
        self.sealed += bytes.len();
        let frames = std::mem::take(&mut self.writing);
        let ack = self.ack == Ack::Writing;
        if ack {
            self.ack = Ack::Sealed;
        }
        self.batches.push_back(Batch { bytes, frames, ack });
    }
}

/// Whether QUIC took all of it. What it did not take stays in `bytes`.
fn write(stream: &mut SendStream<'_>, bytes: &mut Bytes) -> Result<bool, QuicError> {
    match stream.write_chunks(std::slice::from_mut(bytes)) {
        Ok(_) => Ok(bytes.is_empty()),
        Err(QuicError::Blocked) => Ok(false),
        Err(error) => Err(error),
    }
}
