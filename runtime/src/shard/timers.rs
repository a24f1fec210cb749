//! The timers of one shard: wakers and when to wake them.
//!
//! A heap orders deadlines; a slab holds the wakers. Cancelling empties the slab's slot and leaves
//! the heap's entry, which is recognised as stale by its generation. When stale entries outnumber
//! live ones the heap is rebuilt, so its size stays within twice the number of live timers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::Waker;
use std::time::Instant;

use slab::Slab;

/// Pending timers.
#[derive(Default)]
pub(crate) struct Timers {
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    wakers: Slab<(u32, Waker)>,
    generation: u32,
}

impl Timers {
    /// Wakes `waker` once `deadline` has come. The number cancels it.
    pub(crate) fn start(&mut self, deadline: Instant, waker: Waker) -> u64 {
        self.generation = self.generation.wrapping_add(1);
        let slot = self.wakers.insert((self.generation, waker));
        let id = u64::from(self.generation) << 32 | slot as u64;
        self.due.push(Reverse((deadline, id)));
        id
    }

    /// Forgets a timer. One that has fired is ignored.
    pub(crate) fn cancel(&mut self, id: u64) -> Option<Waker> {
        let waker = self.take(id);
        if self.due.len() > 2 * self.wakers.len() + SLACK {
            let wakers = &self.wakers;
            self.due.retain(|Reverse((_, id))| is_live(wakers, *id));
        }
        waker
    }

    /// When the next timer is due.
    pub(crate) fn next(&mut self) -> Option<Instant> {
        while let Some(Reverse((deadline, id))) = self.due.peek() {
            if is_live(&self.wakers, *id) {
                return Some(*deadline);
            }
            self.due.pop();
        }
        None
    }

    /// Takes one waker whose time has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Waker> {
        while self.next().is_some_and(|deadline| deadline <= now) {
            let Reverse((_, id)) = self.due.pop()?;
            if let Some(waker) = self.take(id) {
                return Some(waker);
            }
        }
        None
    }

    fn take(&mut self, id: u64) -> Option<Waker> {
        if !is_live(&self.wakers, id) {
            return None;
        }
        Some(self.wakers.remove(slot_of(id)).1)
    }
}

fn slot_of(id: u64) -> usize {
    (id & u64::from(u32::MAX)) as usize
}

fn is_live(wakers: &Slab<(u32, Waker)>, id: u64) -> bool {
    wakers
        .get(slot_of(id))
        .is_some_and(|(generation, _)| u64::from(*generation) == id >> 32)
}

/// Stale entries below this number are not worth a rebuild.
const SLACK: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timers_fire_in_order_of_their_deadlines() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for ms in [30, 10, 20] {
            timers.start(start + Duration::from_millis(ms), Waker::noop().clone());
        }
        assert_eq!(timers.next(), Some(start + Duration::from_millis(10)));
        assert!(timers.pop_due(start).is_none());
        let later = start + Duration::from_millis(20);
        assert!(timers.pop_due(later).is_some());
        assert!(timers.pop_due(later).is_some());
        assert!(timers.pop_due(later).is_none());
        assert_eq!(timers.next(), Some(start + Duration::from_millis(30)));
    }

    #[test]
    fn a_cancelled_timer_neither_fires_nor_piles_up() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for _ in 0..10_000 {
            let id = timers.start(start + Duration::from_secs(60), Waker::noop().clone());
            assert!(timers.cancel(id).is_some());
            assert!(timers.cancel(id).is_none());
        }
        assert!(timers.due.len() <= SLACK + 1);
        assert_eq!(timers.next(), None);
    }
}
