//! What the two ends do with each other: a flood one way, or requests and replies.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Quic;
use crate::sample::{Meter, Sample, histogram, record};

/// What the far end says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// In the end, how many bytes there were.
    Total,
    /// So many bytes for each frame of so many.
    Each { there: usize, back: usize },
}

impl Quic {
    /// Sends frames of this size for this long, and comes back when the far end has them and
    /// `is_over` was set, because until then it has to be listened to.
    pub(crate) fn flood(
        &mut self,
        frame: usize,
        time: Duration,
        is_over: &AtomicBool,
    ) -> anyhow::Result<Sample> {
        let frames = (BLOCK / frame).max(1);
        let block = Bytes::from(vec![0; frames * frame]);
        self.begin(time);
        let stream = self.open()?;
        let (mut rest, mut blocks) = (Bytes::new(), 0_u64);
        let mut is_sending = true;
        let mut said = Vec::with_capacity(size_of::<u64>());
        let meter = Meter::start();
        loop {
            let now = self.take_in()?;
            while is_sending {
                if rest.is_empty() && now - meter.begin() >= time {
                    self.finish(stream)?;
                    is_sending = false;
                } else if rest.is_empty() {
                    rest = block.clone();
                    blocks += 1;
                }
                self.write(stream, &mut rest)?;
                if !rest.is_empty() {
                    break;
                }
            }
            let read = self.read(stream, |bytes| said.extend_from_slice(bytes))?;
            if read.is_over {
                break;
            }
            self.flush(now);
        }
        let sample = meter.sample(blocks * frames as u64);
        let sent = blocks * block.len() as u64;
        ensure!(
            said == sent.to_le_bytes(),
            "the raw connection carried {sent} bytes and delivered others: {said:?}"
        );
        self.listen_until(is_over)?;
        Ok(sample)
    }

    /// Sends requests for this long, so many at a time, and takes the replies. Each is timed if
    /// there is only one at a time.
    pub(crate) fn ask(
        &mut self,
        (there, back): (usize, usize),
        window: usize,
        time: Duration,
        is_over: &AtomicBool,
    ) -> anyhow::Result<Sample> {
        let requests = Bytes::from(vec![0; there * window]);
        self.begin(time);
        let stream = self.open()?;
        let mut latencies = histogram();
        let (mut sent, mut bytes, mut rest) = (0_u64, 0, Bytes::new());
        let mut is_finished = false;
        let meter = Meter::start();
        let mut last = meter.begin();
        loop {
            let now = self.take_in()?;
            let read = self.read(stream, |_| {})?;
            bytes += read.bytes;
            if read.is_over {
                break;
            }
            let answered = bytes / back as u64;
            if window == 1 && read.bytes > 0 && answered == sent {
                let now = Instant::now();
                record(&mut latencies, now - last);
                last = now;
            }
            let room = window - (sent - answered) as usize;
            if now - meter.begin() < time {
                if rest.is_empty() && room > 0 {
                    rest = requests.slice(..room * there);
                    sent += room as u64;
                }
            } else if room == window && rest.is_empty() && !is_finished {
                self.finish(stream)?;
                is_finished = true;
            }
            self.write(stream, &mut rest)?;
            self.flush(now);
        }
        let sample = meter.sample(sent);
        ensure!(
            bytes == sent * back as u64,
            "{sent} raw requests got {bytes} bytes of replies of {back} bytes each"
        );
        self.listen_until(is_over)?;
        Ok(if window == 1 {
            sample.with(latencies)
        } else {
            sample
        })
    }

    /// The far end of an exchange that should take this long.
    pub(crate) fn serve(&mut self, reply: Reply, time: Duration) -> anyhow::Result<()> {
        let replies = match reply {
            Reply::Each { back, .. } => Bytes::from(vec![0; back * REPLIES]),
            Reply::Total => Bytes::new(),
        };
        self.begin(time);
        let stream = self.accept()?;
        let (mut bytes, mut answered, mut rest) = (0_u64, 0_u64, Bytes::new());
        let (mut is_read, mut is_finished) = (false, false);
        while self.finished != Some(stream) {
            let now = self.take_in()?;
            if !is_read {
                let read = self.read(stream, |_| {})?;
                bytes += read.bytes;
                is_read = read.is_over;
                if is_read && reply == Reply::Total {
                    rest = Bytes::copy_from_slice(&bytes.to_le_bytes());
                }
            }
            if let Reply::Each { there, back } = reply
                && rest.is_empty()
            {
                let count = (bytes / there as u64 - answered).min(REPLIES as u64);
                rest = replies.slice(..count as usize * back);
                answered += count;
            }
            self.write(stream, &mut rest)?;
            let is_answered = match reply {
                Reply::Each { there, .. } => answered == bytes / there as u64,
                Reply::Total => true,
            };
            if is_read && rest.is_empty() && is_answered && !is_finished {
                self.finish(stream)?;
                is_finished = true;
            }
            self.flush(now);
        }
        Ok(())
    }

    fn listen_until(&mut self, is_over: &AtomicBool) -> anyhow::Result<()> {
        // Relaxed: nothing else is shared.
        while !is_over.load(Ordering::Relaxed) {
            let now = self.take_in()?;
            self.flush(now);
        }
        Ok(())
    }
}

/// Bytes that are written at a time.
const BLOCK: usize = 256 * 1024;

/// Replies that are written at a time, at most.
const REPLIES: usize = 4096;
