//! Panics of user code, caught where they are: what they said, and values whose destructor may
//! panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops a user's value; a panic of its destructor ends there.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        tracing::error!("a destructor panicked: {}", text_of(panic));
    }
}

/// What a panic said.
pub(crate) fn text_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&'static str>()
            .map_or_else(|_| UNSPOKEN.to_owned(), |t| (*t).to_owned()),
    }
}

const UNSPOKEN: &str = "(a panic without a text)";
