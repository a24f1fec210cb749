//! Many drivers on one shard that work as one: they begin together, keep one book, and what they
//! did is read when the last has left.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_lite::future::yield_now;
use hdrhistogram::Histogram;
use teff::Ctx;

use crate::place::Driver;
use crate::sample::{Meter, Sample, histogram, record};

/// What one driver does in a slice.
pub(super) type Job = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// What the drivers of one slice share. They are all in one thread, or in two, so
/// its lock is nearly always free.
pub(super) struct Crowd {
    size: usize,
    gathered: AtomicUsize,
    book: Mutex<Book>,
}

struct Book {
    meter: Option<Meter>,
    latencies: Histogram<u64>,
    messages: u64,
    sum: u64,
    left: usize,
    sample: Option<Sample>,
}

impl Crowd {
    /// Runs one job per driver, each with its context and index. Gives what all of them did: the
    /// sample, and the sum of the messages' numbers.
    pub(super) fn run<F>(
        drivers: &[Driver],
        time: Duration,
        job: impl Fn(Ctx, usize, Arc<Self>) -> F + Clone + Send + 'static,
    ) -> anyhow::Result<(Sample, u64)>
    where
        F: Future<Output = anyhow::Result<()>> + 'static,
    {
        let crowd = Arc::new(Self::new(drivers.len()));
        let mut running = Vec::with_capacity(drivers.len());
        for (index, driver) in drivers.iter().enumerate() {
            let (job, crowd) = (job.clone(), Arc::clone(&crowd));
            running.push(driver.drive(move |ctx| job(ctx, index, crowd))?);
        }
        for job in running {
            job.wait(time)??;
        }
        let mut book = crowd.book();
        let sample = book.sample.take().context("a driver has not left")?;
        let latencies = std::mem::replace(&mut book.latencies, histogram());
        Ok((sample.with(latencies), book.sum))
    }

    fn new(size: usize) -> Self {
        Self {
            size,
            gathered: AtomicUsize::new(0),
            book: Mutex::new(Book {
                meter: None,
                latencies: histogram(),
                messages: 0,
                sum: 0,
                left: 0,
                sample: None,
            }),
        }
    }

    /// Waits until all drivers are there. Gives the time at which they began.
    pub(super) async fn gather(&self) -> Instant {
        // Relaxed: what is shared is behind the lock.
        self.gathered.fetch_add(1, Ordering::Relaxed);
        while self.gathered.load(Ordering::Relaxed) < self.size {
            yield_now().await;
        }
        self.book().meter.get_or_insert_with(Meter::start).begin()
    }

    /// Counts one latency.
    pub(super) fn record(&self, latency: Duration) {
        record(&mut self.book().latencies, latency);
    }

    /// A driver has sent so many messages, with this sum of numbers, and all have been handled.
    pub(super) fn leave(&self, messages: u64, sum: u64) {
        let mut book = self.book();
        book.messages += messages;
        book.sum = book.sum.wrapping_add(sum);
        book.left += 1;
        if book.left == self.size {
            book.sample = book.meter.map(|meter| meter.sample(book.messages));
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
