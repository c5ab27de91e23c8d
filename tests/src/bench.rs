//! Benchmarks of the real daemon, as a process of its own, against the sandbox in this one.

pub mod bare;
pub mod cpu;
pub mod daemon;
pub mod idle;
pub mod issue;
pub mod latency;
pub mod report;
pub mod stage;

use std::fmt;
use std::time::Duration;

/// Why a benchmark has no figures, or not the figures that are promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BenchError {
    /// It was started wrongly.
    Usage(String),
    /// It did not get to its end.
    Failed(String),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for BenchError {}

impl BenchError {
    /// What was tried, and why it failed.
    pub fn failed(tried: &str, cause: impl fmt::Display) -> Self {
        Self::Failed(format!("cannot {tried}: {cause}"))
    }
}

/// Lets the thread rest for the whole of a span.
pub fn pause(span: Duration) {
    let until = std::time::Instant::now() + span;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}
