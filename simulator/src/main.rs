//! `poolkeeper-sim`: the sandbox for any client, and replays of recordings.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
