//! The binary `poolkeeper`.

use std::process::ExitCode;

fn main() -> ExitCode {
    poolkeeper::cli::main()
}
