//! Examples in learning order, each run with one command from the root of the repository:
//!
//! | example | shows | run |
//! |---|---|---|
//! | `counter` | a grain, a tell, a call | `cargo run --example counter` |
//! | `counter_remote` | the same from a second process | see the top of `counter_remote.rs` |
//! | `hello` | a contract, two nodes, QUIC between them | `cargo run --example hello` |
//! | `access_log` | a pipeline over a web server's log | `cargo run --release --example access_log` |
//!
//! This library is empty: it exists because a package of examples alone is none.
