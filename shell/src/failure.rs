//! Why a command failed, and the exit code that says so.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::ConfigProblem;
use crate::start::StartProblem;

/// The exit code when something failed that is no matter of the config.
pub const EXIT_FAILED: u8 = 1;
const EXIT_CONFIG: u8 = 2;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The config or the way it was called is wrong.
    Config(String),
    /// Something else went wrong.
    Failed(String),
    /// It failed, and has said why.
    Told,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(text) | Self::Failed(text) => f.write_str(text),
            Self::Told => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<ConfigProblem> for Failure {
    fn from(problem: ConfigProblem) -> Self {
        Self::Config(problem.to_string())
    }
}

impl From<StartProblem> for Failure {
    fn from(problem: StartProblem) -> Self {
        match problem {
            StartProblem::Config(problem) => problem.into(),
            StartProblem::Failed(what) => Self::Failed(what),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Failure {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => EXIT_CONFIG,
            Self::Failed(_) | Self::Told => EXIT_FAILED,
        }
    }
}

/// The exit code of a command of `program`, whose failure is told on standard error.
#[must_use]
pub fn exit(program: &str, done: Result<(), Failure>) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    let text = failure.to_string();
    if !text.is_empty() {
        let _nobody_to_tell = writeln!(io::stderr().lock(), "{program}: {text}");
    }
    ExitCode::from(failure.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_problems_exit_with_2_and_failures_with_1() {
        assert_eq!(Failure::Config(String::new()).exit_code(), 2);
        assert_eq!(Failure::Failed(String::new()).exit_code(), 1);
        assert_eq!(Failure::Told.exit_code(), 1);
    }
}
