//! Buffers that are used again: each thread keeps some of those that it was done with.
//!
//! A buffer of a megabyte that is taken from the operating system costs as much in page faults as
//! in copying a message into it, and small ones cost an allocation per flush. What a thread keeps
//! is bounded in number and size. Whoever drops the last reference to the bytes keeps the buffer,
//! which is nearly always the shard that made it.

use std::{cell::RefCell, mem};

use bytes::Bytes;
use rkyv::util::AlignedVec;

/// A buffer that goes back into the pool when the last reference to its bytes is dropped.
struct Pooled(AlignedVec<16>);

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        give_back(mem::take(&mut self.0));
    }
}

/// The bytes of a buffer, to be shared. They start 16-aligned.
pub(crate) fn share(buffer: AlignedVec<16>) -> Bytes {
    Bytes::from_owner(Pooled(buffer))
}

/// An empty buffer with room for so many bytes: one that this thread has kept, if there is one.
pub fn take(capacity: usize) -> AlignedVec<16> {
    let kept = POOL.try_with(|pool| pool.try_borrow_mut().ok()?.find(capacity));
    match kept {
        Ok(Some(buffer)) => buffer,
        // None fits, or the thread is ending.
        _ => AlignedVec::with_capacity(capacity),
    }
}

/// A copy of these bytes.
pub(crate) fn copy(bytes: &[u8]) -> AlignedVec<16> {
    let mut copy = take(bytes.len());
    copy.extend_from_slice(bytes);
    copy
}

/// Keeps a buffer that nobody needs any more, if there is room for it.
pub(crate) fn give_back(mut buffer: AlignedVec<16>) {
    if buffer.capacity() < SMALLEST {
        return;
    }
    buffer.clear();
    // Without a pool, because the thread is ending, it is freed.
    let _ = POOL.try_with(|pool| {
        if let Ok(mut pool) = pool.try_borrow_mut() {
            pool.keep(buffer);
        }
    });
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// Buffers by size: each class is for capacities up to twice those of the one before, so that less
/// than half of a buffer that is found is more than was asked for.
struct Pool {
    classes: [Vec<AlignedVec<16>>; CLASSES],
}

impl Pool {
    const fn new() -> Self {
        Self {
            classes: [const { Vec::new() }; CLASSES],
        }
    }

    fn find(&mut self, capacity: usize) -> Option<AlignedVec<16>> {
        let kept = self.classes.get_mut(class_of(capacity))?;
        // The last was used last: it is the likeliest to be in the cache.
        let at = kept
            .iter()
            .rposition(|buffer| buffer.capacity() >= capacity)?;
        Some(kept.swap_remove(at))
    }

    fn keep(&mut self, buffer: AlignedVec<16>) {
        let class = class_of(buffer.capacity());
        if let Some(kept) = self.classes.get_mut(class)
            && kept.len() < KEPT[class]
        {
            kept.push(buffer);
        }
    }
}

/// The class of a buffer; beyond the last for one that is too large to be kept.
fn class_of(capacity: usize) -> usize {
    (capacity.max(SMALLEST) / SMALLEST).ilog2() as usize
}

/// Buffers of less are quicker made than kept.
const SMALLEST: usize = 1024;

const CLASSES: usize = 13;

/// How many buffers of each class a thread keeps: of 1 KiB, 2 KiB and so on to 4 MiB, and up to
/// twice as much. At most 100 MiB in all, if all sizes are in use at once.
const KEPT: [usize; CLASSES] = [64, 64, 64, 64, 64, 64, 64, 32, 16, 8, 8, 4, 2];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nobody_refers_to_it() {
        let mut buffer = take(5000);
        buffer.extend_from_slice(&[7; 5000]);
        let address = buffer.as_ptr();
        let bytes = share(buffer);
        let part = bytes.slice(16..32);
        drop(bytes);
        assert_ne!(take(5000).as_ptr(), address, "a part is still referred to");
        drop(part);
        let again = take(5000);
        assert_eq!(again.as_ptr(), address);
        assert!(again.is_empty() && again.capacity() >= 5000);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut pool = Pool::new();
        for _ in 0..1000 {
            for size in [1 << 10, 1 << 16, 1 << 20, 1 << 24] {
                pool.keep(AlignedVec::with_capacity(size));
            }
        }
        let kept = pool.classes.iter().flatten();
        let bytes: usize = kept.map(AlignedVec::capacity).sum();
        assert!(bytes <= 100 << 20, "{bytes}");
        assert!(pool.find(1 << 25).is_none());
    }

    #[test]
    fn a_buffer_is_found_only_where_it_is_large_enough() {
        let mut pool = Pool::new();
        pool.keep(AlignedVec::with_capacity(5 << 10));
        assert!(pool.find(15 << 10).is_none());
        assert!(pool.find(5 << 10).is_some());
        assert!(pool.find(5 << 10).is_none());
    }
}
