//! The `io_uring` driver: a glommio executor per shard.
//!
//! glommio 0.9 has faults that cannot be reached from here: exactly one future runs on the
//! executor, and it is wrapped in `catch_unwind`; no glommio waker, task or channel leaves this
//! file, let alone this thread; other threads wake the shard through one eventfd. It has no way to
//! wait for a descriptor as such, so the shard waits for what makes one readable: a read of the
//! eventfd, and a peek of one byte at the socket. Both stay in flight from one sleep to the next.
//!
//! Unsafe code: glommio adopts an eventfd only through `FromRawFd`, an unsafe trait function. The
//! safe ways in (a UDP or a Unix socket pair as the doorbell) need a network or two more
//! descriptors and a larger message per wake-up.
#![allow(unsafe_code)]

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket as StdUdpSocket};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;
use glommio::io::BufferedFile;
use glommio::net::UdpSocket;
use glommio::{LocalExecutorBuilder, Placement};

use crate::driver::{Driver, Readable, Sources};
use crate::panics::text_of;

/// A shard's glommio executor, seen from inside.
pub(crate) struct IoUring {
    bell: Rc<BufferedFile>,
    socket: Option<Rc<UdpSocket>>,
    /// To ring the bell and to poke the socket ourselves, at the end.
    hand: OwnedFd,
    poke: Option<Readable>,
    rung: Option<Wait>,
    readable: Option<Wait>,
}

type Wait = Pin<Box<dyn Future<Output = ()>>>;

impl IoUring {
    /// Makes an executor on this thread, pinned to `cpu`, and runs `f` on it to its end.
    ///
    /// # Errors
    ///
    /// What glommio says when it cannot set up its rings, or `Err(text)` of a panic in `f`.
    pub(crate) fn run<F>(
        cpu: usize,
        sources: Sources,
        f: impl FnOnce(Self) -> F + 'static,
    ) -> io::Result<Result<(), String>>
    where
        F: Future<Output = ()>,
    {
        let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu))
            .io_memory(IO_MEMORY)
            .ring_depth(RING_DEPTH)
            .make()
            .map_err(|error| io::Error::other(error.to_string()))?;
        let sources = sources.doubled()?;
        Ok(executor.run(async move {
            let driver = Self::new(sources);
            let run = AssertUnwindSafe(async move { f(driver).await });
            let ended = run.catch_unwind().await.map_err(text_of);
            // A driver that could not be closed in order has at least asked for its reads to be
            // cancelled, which glommio submits in its next turns.
            for _ in 0..REAPING_TURNS {
                glommio::timer::sleep(REAPING_TIME).await;
            }
            ended
        }))
    }

    fn new(sources: Doubled) -> Self {
        let fd = sources.bell.into_raw_fd();
        // SAFETY: `fd` was just given up by its `OwnedFd`, so it is open and nobody else will
        // close it; the `BufferedFile` becomes its only owner.
        let bell = unsafe { BufferedFile::from_raw_fd(fd) };
        let socket = sources
            .socket
            .map(|socket| UdpSocket::from(socket2_04::Socket::from(socket)));
        Self {
            bell: Rc::new(bell),
            socket: socket.map(Rc::new),
            hand: sources.hand,
            poke: sources.poke,
            rung: None,
            readable: None,
        }
    }

    /// Makes whatever is in flight complete.
    fn provoke(&self) {
        // If these fail, the time limit of `close` remains.
        let _ = rustix::io::write(&self.hand, &1_u64.to_ne_bytes());
        if let Some(Readable { socket, poke }) = &self.poke
            && let Ok(mut address) = socket.local_addr()
        {
            match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            let _ = socket.send_to(poke, address);
        }
    }

    fn arm(&mut self) {
        if self.rung.is_none() {
            let bell = Rc::clone(&self.bell);
            self.rung = Some(Box::pin(async move {
                // Whatever the outcome, the shard looks at its lanes. A failing read would make it
                // spin, which is loud but not wrong.
                drop(bell.read_at(0, size_of::<u64>()).await);
            }));
        }
        if let (None, Some(socket)) = (&self.readable, &self.socket) {
            let socket = Rc::clone(socket);
            self.readable = Some(Box::pin(async move {
                drop(socket.peek_from(&mut [0]).await);
            }));
        }
    }
}

impl Sources {
    fn doubled(self) -> io::Result<Doubled> {
        let hand = self.bell.try_clone()?;
        let socket = match &self.socket {
            Some(readable) => Some(readable.socket.try_clone()?),
            None => None,
        };
        Ok(Doubled {
            bell: self.bell,
            hand,
            socket,
            poke: self.socket,
        })
    }
}

/// Sources with a second descriptor of each: glommio keeps one, the driver the other.
struct Doubled {
    bell: OwnedFd,
    hand: OwnedFd,
    socket: Option<StdUdpSocket>,
    poke: Option<Readable>,
}

impl Driver for IoUring {
    // The kernel writes into buffers that glommio frees when it ends, in flight or not. So both
    // reads are made to complete, and waited for.
    async fn close(mut self) {
        self.provoke();
        let mut limit: Wait = Box::pin(glommio::timer::sleep(CLOSE_TIME));
        let (rung, readable) = (&mut self.rung, &mut self.readable);
        poll_fn(|cx| {
            for source in [&mut *rung, &mut *readable] {
                if source
                    .as_mut()
                    .is_some_and(|wait| wait.as_mut().poll(cx).is_ready())
                {
                    *source = None;
                }
            }
            let late = limit.as_mut().poll(cx).is_ready();
            if late || (rung.is_none() && readable.is_none()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    async fn park(&mut self, deadline: Option<Instant>) {
        self.arm();
        let mut timer: Option<Wait> = deadline.map(|deadline| {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .max(SHORTEST_SLEEP);
            Box::pin(glommio::timer::sleep(left)) as Wait
        });
        let (rung, readable) = (&mut self.rung, &mut self.readable);
        poll_fn(|cx| {
            let mut ready = false;
            for source in [&mut *rung, &mut *readable, &mut timer] {
                if source
                    .as_mut()
                    .is_some_and(|wait| wait.as_mut().poll(cx).is_ready())
                {
                    *source = None;
                    ready = true;
                }
            }
            if ready {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    async fn turn(&mut self) {
        glommio::executor().yield_now().await;
    }
}

/// Registered buffers per executor. We do no file I/O; glommio's default pins 30 MB.
const IO_MEMORY: usize = 64 << 10;

/// A shard has at most three operations in flight.
const RING_DEPTH: usize = 64;

/// How long to wait for reads that were made to complete; they take microseconds.
const CLOSE_TIME: Duration = Duration::from_millis(200);

/// One turn submits the cancellations, the next collects them; each ends after at least this time.
const REAPING_TURNS: u32 = 3;
const REAPING_TIME: Duration = Duration::from_micros(200);

/// glommio takes a zero timer for "at once" and a shorter one costs more than it waits.
const SHORTEST_SLEEP: Duration = Duration::from_micros(1);
