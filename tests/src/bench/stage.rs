//! A sandbox with pools, and the daemon that serves it.

use std::path::Path;
use std::time::Duration;

use poolkeeper_core::aws::Tag;
use poolkeeper_core::time::Now;
use poolkeeper_simulator::github::{GitHubConfig, SetKey};
use poolkeeper_simulator::runners::RunnersConfig;
use poolkeeper_simulator::sandbox::scenery::{DaemonFiles, Scenery, write_daemon_files};
use poolkeeper_simulator::sandbox::{Sandbox, SandboxConfig};
use poolkeeper_simulator::world::{World, WorldConfig};
use tempfile::TempDir;

use super::daemon::Daemon;
use super::{BenchError, pause};
use crate::programs::Shell;

/// Every pool can hold this many, so that capacity can go up with every sample.
const SIZE_MAX: u32 = 10_000;
/// AWS launches nothing: desired capacity goes up with every sample, no runner's messages come between two samples, and
/// the last sample is taken under the same load as the first.
const NO_ROOM: u32 = 0;
const SEED: u64 = 1;
/// How long the daemon may take until it polls for every pool.
const LISTENING_MAX: Duration = Duration::from_secs(120);
/// How closely the moment is watched at which all polls are held.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A sandbox in this process and a daemon in another.
#[derive(Debug)]
pub struct Stage {
    /// The sandbox.
    pub sandbox: Sandbox,
    /// The scale set of each pool.
    pub sets: Vec<SetKey>,
    shell: Shell,
    files: DaemonFiles,
    dir: TempDir,
}

impl Stage {
    /// Starts the sandbox and writes the config of its daemon.
    ///
    /// # Errors
    /// When ports, descriptors or files cannot be had.
    pub fn set(shell: Shell, pools: usize, tls: bool) -> Result<Self, BenchError> {
        Self::of(shell, pools, tls, false)
    }

    /// The same in plain HTTP, with managed pools: AWS launches instances, which wait for the daemon to give them their
    /// runners.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn managed(pools: usize) -> Result<Self, BenchError> {
        Self::of(Shell::Tokio, pools, false, true)
    }

    fn of(shell: Shell, pools: usize, tls: bool, managed: bool) -> Result<Self, BenchError> {
        let dir = tempfile::tempdir().map_err(|error| BenchError::failed("make a directory", error))?;
        let mut scenery = Scenery::new(pools);
        for group in &mut scenery.groups {
            group.max_size = SIZE_MAX;
            group.tags.push(Tag { key: "runs-on-size-max".into(), value: SIZE_MAX.to_string().into() });
        }
        let github = GitHubConfig::default();
        let pat = github.pat.clone().unwrap_or_default();
        let names: Vec<_> = scenery.groups.iter().map(|group| group.name.clone()).collect();
        let runners = RunnersConfig { managed, ..RunnersConfig::default() };
        let config = WorldConfig { github, groups: scenery.groups, runners, ..WorldConfig::default() };
        let mut world = World::new(config, SEED);
        for name in names.into_iter().filter(|_| !managed) {
            world.aws_model_mut().set_room(Now::default(), &name, Some(NO_ROOM));
        }
        let ca_file = tls.then(|| dir.path().join("ca.pem"));
        let sandbox = Sandbox::start(SandboxConfig { ca_file, ..SandboxConfig::default() }, world)
            .map_err(|error| BenchError::Failed(error.to_string()))?;
        let files = write_daemon_files(dir.path(), &sandbox, &pat)
            .map_err(|error| BenchError::failed(&format!("write into {}", dir.path().display()), error))?;
        Ok(Self { shell, sandbox, sets: scenery.sets, files, dir })
    }

    /// Where this stage keeps its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// When it does not start.
    ///
    /// # Panics
    /// When it was not built.
    pub fn daemon(&self) -> Result<Daemon, BenchError> {
        Daemon::spawn(self.shell, &self.files.config, &self.dir.path().join("daemon.log"))
    }

    /// Waits until a poll is held for every pool; how long after the daemon's start that was.
    ///
    /// # Errors
    /// When the daemon ends, or takes too long.
    pub fn all_polls_held(&self, daemon: &mut Daemon) -> Result<Duration, BenchError> {
        let asked = std::time::Instant::now();
        while asked.elapsed() < LISTENING_MAX {
            if self.sandbox.with(|world, _| world.github_model().held_polls()) >= self.sets.len() {
                return Ok(daemon.age());
            }
            daemon.check()?;
            pause(LOOK_EVERY);
        }
        let held = self.sandbox.with(|world, _| world.github_model().held_polls());
        let what = format!("{held} of {} polls are held after {} s", self.sets.len(), LISTENING_MAX.as_secs());
        Err(daemon.trouble(&what))
    }

    /// Waits until the daemon has let go of all polls, as after its end.
    ///
    /// # Errors
    /// When the sandbox still holds some after a long time.
    pub fn no_polls_held(&self) -> Result<(), BenchError> {
        let started = std::time::Instant::now();
        while started.elapsed() < LISTENING_MAX {
            if self.sandbox.with(|world, _| world.github_model().held_polls()) == 0 {
                return Ok(());
            }
            pause(LOOK_EVERY);
        }
        Err(BenchError::Failed("the sandbox holds polls of a daemon that is gone".to_owned()))
    }
}
