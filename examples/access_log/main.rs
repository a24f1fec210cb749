//! Counts a web server's log with grains spread over nodes.
//!
//! `cargo run --release --example access_log -- [FILE] [--nodes 2] [--shards 1] [--processes]
//! [--json]`; what there is to read is in `lib.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    access_log::main()
}
