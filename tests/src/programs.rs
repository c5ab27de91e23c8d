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

/// One of the two daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// `poolkeeper`.
    Tokio,
    /// `poolkeeper-blocking`.
    Blocking,
}

impl Shell {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tokio, Self::Blocking];

    /// The name of its program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Tokio => "poolkeeper",
            Self::Blocking => "poolkeeper-blocking",
        }
    }
}

/// Makes two tests of each function that takes a [`Shell`].
#[macro_export]
macro_rules! on_both_shells {
    ($($test:ident),+ $(,)?) => {
        mod tokio {
            $(#[test] fn $test() { super::$test($crate::programs::Shell::Tokio); })+
        }
        mod blocking {
            $(#[test] fn $test() { super::$test($crate::programs::Shell::Blocking); })+
        }
    };
}

/// The daemon `poolkeeper`, with credentials for the sandbox's AWS.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn poolkeeper() -> Command {
    daemon(Shell::Tokio)
}

/// A daemon, with credentials for the sandbox's AWS.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn daemon(shell: Shell) -> Command {
    let mut command = Command::new(path(shell.program()));
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
