//! The binary `poolkeeper-blocking`: the poolkeeper daemon on threads and blocking sockets, for minimal hosts.

mod aws;
mod cli;
mod crew;
mod daemon;
mod github;
mod http;
mod inbox;
#[cfg(test)]
mod testing;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
