//! What generated code names. Not for people: it may change in any release.
//!
//! Generated code is kept small by calling into here, and free of anything that a user's lints
//! could object to.

pub use rkyv;
pub use teff_wire::{MethodId, Status};

pub use crate::activation::{Keep, Leaves, Stays, Step};
pub use crate::codec::{access, deserialize};
pub use crate::schema::{Argument, Field, Variant};
