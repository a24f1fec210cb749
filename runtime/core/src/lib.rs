//! Every decision of a Teff node and no effect: who owns a grain, where an envelope goes next,
//! which calls are outstanding, what a cluster file means.
//!
//! Nothing here does I/O, reads a clock, starts a thread or waits. Time comes in as [`Micros`],
//! names are resolved by the caller, and a changed membership is a new [`View`]. So all of it can
//! be tested by calling it, and every node that is told the same decides the same.
//!
//! ```text
//!   GrainId --PlacementKey--> GrainHash --Partition--> Table --> Owner (node, shard) --> Hop
//!            (secret, SipHash)         (top 14 bits)   (one per set of members)
//! ```
//!
//! Read bottom-up: [`time`], [`dead_letter`] and [`hash`] stand alone, [`placement`] makes the
//! table of a set of members, [`view`] keeps one such table per set of members that some kind
//! needs, [`router`] compares an owner with the shard that asks, [`pairing`] says which link leads
//! there. [`call_table`] and [`spec`] are independent of all that.
#![forbid(unsafe_code)]

pub mod time;
pub mod dead_letter;
pub mod hash;
pub mod placement;
pub mod view;
pub mod router;
pub mod pairing;
pub mod call_table;
pub mod spec;

pub use call_table::{CallTable, Full};
pub use dead_letter::Reason;
pub use hash::{GrainHash, PARTITIONS, Partition, PlacementKey};
pub use pairing::Pairing;
pub use placement::{Owner, Table};
pub use router::{Hop, route};

pub use spec::{Spec, SpecError, SpecErrors, SpecNode};
pub use time::Micros;
pub use view::{Member, View, ViewError};
