//! What generated code names. Not for people: it may change in any release.
//!
//! Generated code is kept small by calling into here, and free of anything that a user's lints
//! could object to.

use std::future::Future;

pub use rkyv;
pub use teff_wire::{MethodId, Status};

pub use crate::codec::{access, deserialize};
pub use crate::schema::{Argument, Field, Variant};

use crate::activation::Served;
use crate::payload::Payload;

/// The grain, for a handler that ends within its turn.
///
/// # Panics
///
/// When a handler that has not ended has it: two handlers of one activation overlap.
pub fn borrow_grain<T>(grain: &mut Option<Box<T>>) -> &mut T {
    grain.as_deref_mut().expect(AT_HOME)
}

/// The grain, for a handler that gives it back when it ends.
///
/// # Panics
///
/// As [`borrow_grain`].
pub fn take_grain<T>(grain: &mut Option<Box<T>>) -> Box<T> {
    grain.take().expect(AT_HOME)
}

/// A handler that may wait.
pub fn later<T, F>(handler: F) -> Served<T>
where
    F: Future<Output = (Box<T>, Result<Payload, Status>)> + 'static,
{
    Served::Later(Box::pin(handler))
}

const AT_HOME: &str = "a handler begins only after the one before has given the grain back";
