//! The futures of `async` handlers, in memory that is used again.
//!
//! A handler that never waits is a future that is ready at its first poll: it should cost a copy
//! of its arguments and no allocation. Futures cannot be moved once polled, so they are made where
//! they may have to stay: in blocks of a pool that each thread keeps. The pool hands a block back
//! out as soon as a future of about that size has ended.
//!
//! Invariant: every block of class `n` was allocated with `layout_of(n)` and is freed with it,
//! whether it goes through the pool or, when its thread ends, past it.
//!
//! Unsafe code: an allocator is an unsafe trait; everything that is made in its memory is made by
//! the box of `allocator-api2`, which mirrors that of the standard library.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator, Global};
use allocator_api2::boxed::Box as PoolBox;
use allocator_api2::unsize_box;

/// A future on the heap of its thread's pool.
pub(crate) type Pooled<T> = Pin<PoolBox<dyn Future<Output = T>, Pool>>;

/// Moves a future into the pool.
pub(crate) fn pooled<F: Future + 'static>(future: F) -> Pooled<F::Output> {
    let sized = PoolBox::new_in(future, Pool);
    let erased: PoolBox<dyn Future<Output = F::Output>, Pool> = unsize_box!(sized);
    PoolBox::into_pin(erased)
}

/// The pool of the current thread.
#[derive(Clone, Copy)]
pub(crate) struct Pool;

/// Blocks come in multiples of this many bytes, and at this alignment.
const STEP: usize = 64;
/// The largest pooled block is this many steps: 2 KiB. Larger futures are allocated.
const CLASSES: usize = 32;
/// As many free blocks of a class as a thread keeps: together at most 34 MiB, after a thousand
/// handlers of every size were suspended at once.
const KEPT: usize = 1024;

struct Free([Vec<NonNull<u8>>; CLASSES]);

thread_local! {
    static FREE: RefCell<Free> = const { RefCell::new(Free([const { Vec::new() }; CLASSES])) };
}

/// The class of blocks for a layout, if the pool has one.
fn class_of(layout: Layout) -> Option<usize> {
    let class = layout.size().checked_sub(1)? / STEP;
    (class < CLASSES && layout.align() <= STEP).then_some(class)
}

fn layout_of(class: usize) -> Layout {
    Layout::from_size_align((class + 1) * STEP, STEP).expect("a few kilobytes, evenly aligned")
}

// SAFETY: a block is handed out until it is given back, and no longer: it comes out of the list of
// free ones or from the global allocator, and goes back into the list or to that allocator. Blocks
// are at least as large and as aligned as asked for (`class_of`, `layout_of`). `Pool` is one per
// thread; a block that is given back on another thread goes to that thread's list, which is as
// good, because all lists are made of memory of the one global allocator.
unsafe impl Allocator for Pool {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let Some(class) = class_of(layout) else {
            return Global.allocate(layout);
        };
        let kept = FREE.try_with(|free| free.borrow_mut().0[class].pop());
        let block = match kept {
            Ok(Some(block)) => block,
            // SAFETY: the layout of a class is not empty.
            _ => NonNull::new(unsafe { alloc(layout_of(class)) }).ok_or(AllocError)?,
        };
        Ok(NonNull::slice_from_raw_parts(
            block,
            layout_of(class).size(),
        ))
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: what has no class came from there, with this layout.
            return unsafe { Global.deallocate(block, layout) };
        };
        let kept = FREE.try_with(|free| {
            let list = &mut free.borrow_mut().0[class];
            let keep = list.len() < KEPT;
            if keep {
                list.push(block);
            }
            keep
        });
        if !kept.unwrap_or(false) {
            // SAFETY: every block of this class was allocated with this layout.
            unsafe { dealloc(block.as_ptr(), layout_of(class)) };
        }
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        for (class, list) in self.0.iter_mut().enumerate() {
            for block in list.drain(..) {
                // SAFETY: as in `deallocate`; the list is gone, so nobody else has the block.
                unsafe { dealloc(block.as_ptr(), layout_of(class)) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn run<T>(mut future: Pooled<T>) -> T {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
                return value;
            }
        }
    }

    fn address<T>(future: &Pooled<T>) -> usize {
        std::ptr::from_ref(&**future).cast::<()>().addr()
    }

    #[test]
    fn a_future_gets_the_memory_of_one_that_has_ended() {
        let first = pooled(async { [1_u8; 100] });
        let place = address(&first);
        assert_eq!(run(first), [1; 100]);
        let second = pooled(async { [2_u8; 90] });
        assert_eq!(address(&second), place);
        let third = pooled(async { [3_u8; 90] });
        assert_ne!(address(&third), place);
    }

    #[test]
    fn futures_of_every_size_end_and_own_what_they_hold() {
        for len in [0, 1, 64, 2000, 5000] {
            let text = "x".repeat(len);
            let future = pooled(async move {
                futures_lite::future::yield_now().await;
                text.len()
            });
            assert_eq!(run(future), len);
        }
        let large = [7_u64; 1000];
        let future = pooled(async move {
            futures_lite::future::yield_now().await;
            large[999]
        });
        assert_eq!(run(future), 7);
    }

    #[test]
    fn a_future_that_never_ended_gives_its_memory_back() {
        let place = {
            let mut future = pooled(async {
                let text = String::from("dropped with the future");
                std::future::pending::<()>().await;
                drop(text);
            });
            let mut cx = Context::from_waker(Waker::noop());
            assert!(future.as_mut().poll(&mut cx).is_pending());
            address(&future)
        };
        let next = pooled(async {
            let text = String::from("dropped with the future");
            std::future::pending::<()>().await;
            drop(text);
        });
        assert_eq!(address(&next), place);
    }

    #[test]
    fn a_thread_frees_what_it_kept() {
        // Counted by the address sanitizer and by valgrind.
        let thread = std::thread::spawn(|| drop(pooled(async { [0_u8; 500] })));
        thread.join().unwrap();
    }
}
