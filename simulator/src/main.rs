//! `poolkeeper-sim`: the sandbox for any client, and replays of recordings.

mod cli;

use std::process::ExitCode;

/// Simulated steps are made of many small texts that come and go.
#[cfg(feature = "allocator")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::main()
}
