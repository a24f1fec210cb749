//! The raw limits: what the machine does when there is no runtime, in the same threads.
//!
//! - [`Ring`]: messages through one lane to a hash look-up and a call through a function pointer.
//! - [`ping_pong()`]: there and back over two lanes, both ends polling.
//! - [`eventfd`](eventfd_ping_pong): there and back through the kernel, both ends sleeping.
//! - [`Quic`]: one end of a connection between two processes.
//! - [`fill_map`]: boxed states into a hash map.
//! - [`line_round_trip`]: one cache line there and back, which nothing here can beat.

mod eventfd;
mod line;
mod map;
mod ping_pong;
mod quic;
mod ring;

pub(crate) use self::eventfd::ping_pong as eventfd_ping_pong;
pub(crate) use self::line::round_trip as line_round_trip;
pub(crate) use self::map::fill as fill_map;
pub(crate) use self::ping_pong::ping_pong;
pub(crate) use self::quic::{Quic, Reply};
pub(crate) use self::ring::{LocalRing, Ring};
