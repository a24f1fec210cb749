//! Panics of user code, caught where they are: what they said, and values and wakers that may
//! panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Drops a user's value; a panic of its destructor ends there.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        let text = text_of(panic);
        tracing::error!("a destructor panicked: {text}");
    }
}

/// Wakes what may belong to another executor; a panic of its waker ends there.
pub(crate) fn wake_quietly(waker: Waker) {
    if let Err(panic) = catch_unwind(|| waker.wake()) {
        let text = text_of(panic);
        tracing::error!("a waker panicked: {text}");
    }
}

/// What a panic said. To be called before logging, which asks for nothing that nobody reads.
pub(crate) fn text_of(panic: Box<dyn Any + Send>) -> String {
    let text = if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else if let Some(text) = panic.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else {
        UNSPOKEN.to_owned()
    };
    // A panic may carry any value, even one that panics when it is dropped, and again and again.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    text
}

const UNSPOKEN: &str = "(a panic without a text)";
