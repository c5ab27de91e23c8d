//! Starting a daemon, and giving it another config: what both daemons do alike.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use poolkeeper_core::Machine;

use crate::clock;
use crate::config::{ConfigProblem, DaemonConfig};
use crate::driver::Driver;
use crate::journal::Journal;
use crate::telemetry::Telemetry;

const SET_REGION: &str = "set region in [aws], for example \"eu-west-1\"";

/// Why a daemon cannot start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartProblem {
    /// The operator's config is wrong.
    Config(ConfigProblem),
    /// Something else failed.
    Failed(String),
}

impl fmt::Display for StartProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(problem) => write!(f, "{problem}"),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for StartProblem {}

impl From<ConfigProblem> for StartProblem {
    fn from(problem: ConfigProblem) -> Self {
        Self::Config(problem)
    }
}

impl StartProblem {
    /// Something failed that is no matter of the config.
    #[must_use]
    pub fn failed(what: &str, error: &dyn std::error::Error) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }

    /// The status server cannot listen.
    #[must_use]
    pub fn no_status_server(listen: std::net::SocketAddr, error: &std::io::Error) -> Self {
        Self::failed(&format!("the status server cannot listen on {listen}"), error)
    }

    /// No region is configured in `source`, and none was found.
    #[must_use]
    pub fn no_region(source: &Path) -> Self {
        Self::Config(ConfigProblem {
            place: source.display().to_string(),
            key: "aws.region".to_owned(),
            problem: "no region is configured, and none was found in AWS_REGION, the profile or the instance's \
                      metadata"
                .to_owned(),
            mend: SET_REGION.to_owned(),
        })
    }

    /// No region is configured in `source`, and who may know one did not answer: that may pass.
    #[must_use]
    pub fn region_unknown(source: &Path, silence: &str) -> Self {
        let source = source.display();
        Self::Failed(format!(
            "{source}: aws.region: no region is configured, and none is known: {silence}; {SET_REGION}"
        ))
    }
}

/// A fresh machine with its journal, if it keeps one.
#[must_use]
pub fn driver(config: &DaemonConfig, seed: u64, journalled: bool, telemetry: &Arc<Telemetry>) -> Driver {
    let machine = Machine::new(config.core.clone(), seed);
    let journal =
        config.journal.clone().filter(|_| journalled).map(|settings| Journal::new(settings, clock::unix_ms()));
    Driver::new(machine, seed, journal, Arc::clone(telemetry))
}

/// Random enough for jitter; the journal keeps it.
#[must_use]
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// Warns of keys that changed and are read at the start only.
pub fn warn_of_restart(old: &DaemonConfig, new: &DaemonConfig, source: &Path) {
    let changed = [
        ("stack", old.core.stack != new.core.stack),
        ("aws", old.aws != new.aws),
        ("status", old.status != new.status),
        ("journal", old.journal != new.journal),
        ("state_dir", old.state_dir != new.state_dir),
    ];
    for (key, _) in changed.into_iter().filter(|(_, differs)| *differs) {
        tracing::warn!("{}: [{key}] changed: restart the daemon to use it", source.display());
    }
}
