//! The programs under test, as cargo built them beside the test.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Variables of the caller that would change how a program behaves.
const MEDDLING: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL",
    "NOTIFY_SOCKET",
    "GITHUB_ACTIONS_FORCE_GHES",
];

/// The daemon, with credentials for the sandbox's AWS.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn poolkeeper() -> Command {
    let mut command = Command::new(path("poolkeeper"));
    for name in MEDDLING {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POOLKEEPER_")) {
        command.env_remove(name);
    }
    command.env("AWS_ACCESS_KEY_ID", "sandbox").env("AWS_SECRET_ACCESS_KEY", "sandbox");
    command
}

/// The simulator's program.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn poolkeeper_sim() -> Command {
    Command::new(path("poolkeeper-sim"))
}

/// What stands in for the AWS CLI on an instance.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn instance_aws() -> PathBuf {
    path("instance-aws")
}

/// Where cargo put a program of this workspace: beside the running one, or beside the directory of test programs.
fn path(name: &str) -> PathBuf {
    let own = env::current_exe().expect("the running program has a path");
    let beside = own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    let Some(path) = beside else {
        panic!("there is no program {name} beside {}: run `cargo build --workspace` first", own.display());
    };
    path
}
