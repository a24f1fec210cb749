//! A congestion controller that keeps queues short: it takes a growing round trip for congestion,
//! and does not wait until a queue is full and packets are lost.
//!
//! The idea is that of Swift (Kumar and others, SIGCOMM 2020) and of TCP Vegas before it. Between
//! nodes of one machine, and within a data centre, what is queued is nobody's gain: the kernel
//! buffers megabytes for a socket, and a small message behind them waits for milliseconds.
//!
//! Grows twofold per round trip until the first sign of a queue, then by some packets per round
//! trip; shrinks, at most once per round trip, by how far the round trip is beyond its target.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn_proto::{
    RttEstimator,
    congestion::{Controller, ControllerFactory},
};

/// Makes controllers for paths with datagrams of at most so many bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ShortQueues {
    pub(super) initial_window: u64,
}

impl ControllerFactory for ShortQueues {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(State {
            initial_window: self.initial_window,
            window: self.initial_window,
            mtu: mtu.into(),
            starting: true,
            reduced: now,
        })
    }
}

#[derive(Clone, Debug)]
struct State {
    initial_window: u64,
    window: u64,
    mtu: u64,
    /// Whether there was no sign of a queue yet.
    starting: bool,
    /// When the window was last reduced.
    reduced: Instant,
}

impl State {
    fn reduce(&mut self, now: Instant, factor: f64) {
        let window = (self.window as f64 * factor) as u64;
        self.window = window.max(self.least());
        self.starting = false;
        self.reduced = now;
    }

    fn least(&self) -> u64 {
        PACKETS_MIN * self.mtu
    }
}

impl Controller for State {
    fn on_ack(
        &mut self,
        now: Instant,
        _sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        let (measured, least) = (rtt.get(), rtt.min());
        let target = least + QUEUE.max(least);
        if measured > target {
            if now.saturating_duration_since(self.reduced) >= measured {
                let beyond = (measured - target).as_secs_f64() / measured.as_secs_f64();
                self.reduce(now, 1.0 - (0.5 * beyond).min(0.5));
            }
        } else if app_limited {
            // It would grow without ever having been tried.
        } else if self.starting {
            self.window += bytes;
        } else {
            self.window += (STEP * self.mtu * bytes / self.window.max(1)).max(1);
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        _lost_bytes: u64,
    ) {
        if is_persistent_congestion {
            self.reduce(now, 0.0);
        } else if sent > self.reduced {
            self.reduce(now, 0.7);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.window = self.window.max(self.least());
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// The queueing that is aimed at: about what a shard takes for one round of its loop, below which
/// its own pace would be taken for a queue.
const QUEUE: Duration = Duration::from_micros(150);

/// The least window in packets. QUIC sends nothing when not even a probe of the path's packet size
/// fits beside what is under way.
const PACKETS_MIN: u64 = 8;

/// Packets by which the window grows per round trip.
const STEP: u64 = 4;
