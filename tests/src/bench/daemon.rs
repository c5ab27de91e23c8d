//! The daemon as a process of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::BenchError;
use crate::programs::{self, Shell};

/// A running daemon. It is killed when it is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    started: Instant,
    log: PathBuf,
}

/// What the kernel says of a process's memory, in kB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub rss_kb: u64,
    /// The most that was ever resident.
    pub peak_kb: u64,
}

impl Daemon {
    /// Starts a daemon, the binary of the same build as this program, with nothing but the config to go by.
    ///
    /// # Errors
    /// When it does not start.
    ///
    /// # Panics
    /// When it was not built.
    pub fn spawn(shell: Shell, config: &Path, log: &Path) -> Result<Self, BenchError> {
        let file = File::create(log).map_err(|error| BenchError::failed(&format!("write {}", log.display()), error))?;
        let same = file.try_clone().map_err(|error| BenchError::failed("share the log file", error))?;
        let mut command = programs::daemon(shell);
        command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(file).stderr(same);
        let started = Instant::now();
        let child = command.spawn().map_err(|error| BenchError::failed("start the daemon", error))?;
        Ok(Self { child, started, log: log.to_owned() })
    }

    /// How long ago it was started.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its memory.
    ///
    /// # Errors
    /// When the process is gone, or the kernel does not say.
    pub fn memory(&self) -> Result<Memory, BenchError> {
        let path = format!("/proc/{}/status", self.child.id());
        let text =
            std::fs::read_to_string(&path).map_err(|error| BenchError::failed(&format!("read {path}"), error))?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok())
                .ok_or_else(|| BenchError::Failed(format!("{path} has no {name} line")))
        };
        Ok(Memory { rss_kb: field("VmRSS:")?, peak_kb: field("VmHWM:")? })
    }

    /// Ends with an error when the daemon has ended.
    ///
    /// # Errors
    /// When it is not running any more: the error ends with its last words.
    pub fn check(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.trouble(&format!("the daemon ended ({status})"))),
            Err(error) => Err(BenchError::failed("look at the daemon", error)),
        }
    }

    /// What went wrong, and the last line of the log.
    #[must_use]
    pub fn trouble(&self, what: &str) -> BenchError {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().next_back().unwrap_or("nothing");
        BenchError::Failed(format!("{what}; its last words: {last}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A process that has ended by itself cannot be killed, and is all the same to us.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
