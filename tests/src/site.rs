//! A sandbox in this process, and the files of a daemon that serves it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use poolkeeper_core::time::Duration;
use poolkeeper_simulator::aws::{AwsConfig, GroupSpec};
use poolkeeper_simulator::github::{AppConfig, GitHubConfig, JobId, SetKey};
use poolkeeper_simulator::runners::RunnersConfig;
use poolkeeper_simulator::sandbox::scenery::{ORGS, REGION, STACK, Scenery};
use poolkeeper_simulator::sandbox::{MAX_CONCURRENT_STREAMS, Sandbox, SandboxConfig};
use poolkeeper_simulator::workload::JobPlan;
use poolkeeper_simulator::world::{Fault, FaultAction, Totals, World, WorldConfig};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::programs::{self, Shell};
use crate::wait::{LONG, until};

/// The client id of the sandbox's GitHub App.
pub const APP_CLIENT_ID: &str = "Iv1.sandbox";
const APP_ID: u64 = 7;
/// Jobs of these tests are short, and longer than the two seconds between describes of a group in motion.
const JOB: Duration = Duration::from_millis(2200);

/// What a [`Site`] is made of.
#[derive(Debug)]
pub struct Plan {
    /// The daemon.
    pub shell: Shell,
    /// The groups.
    pub groups: Vec<GroupSpec>,
    /// The scale sets that should be listened to.
    pub sets: Vec<SetKey>,
    /// What GitHub is like.
    pub github: GitHubConfig,
    /// What runs on instances; the config names its kind when it is managed.
    pub runners: RunnersConfig,
    /// Authenticate as a GitHub App instead of by a personal access token.
    pub app: bool,
    /// Speak TLS on the GitHub port.
    pub tls: bool,
    /// Speak TLS on the AWS port too, where there is `tls`; the daemon finds the authority by `SSL_CERT_FILE`.
    pub aws_tls: bool,
    /// The streams a client may have open at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Keep a state directory.
    pub state: bool,
    /// The keys of `[journal]` beside `dir`.
    pub journal: String,
    /// More sections of the config.
    pub more: String,
}

impl Plan {
    /// As many pools as said, of the sandbox's three organizations in turn.
    #[must_use]
    pub fn new(pools: usize) -> Self {
        let Scenery { groups, sets } = Scenery::new(pools);
        Self {
            shell: Shell::Tokio,
            groups,
            sets,
            github: GitHubConfig::default(),
            runners: RunnersConfig {
                register: Duration::from_millis(50),
                leave: Duration::from_millis(50),
                retry: Duration::from_millis(500),
                ..RunnersConfig::default()
            },
            app: false,
            tls: false,
            aws_tls: false,
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            state: true,
            journal: String::new(),
            more: String::new(),
        }
    }

    /// Starts the sandbox and writes the files.
    ///
    /// # Panics
    /// When one of the two cannot be done.
    #[must_use]
    pub fn build(mut self) -> Site {
        let dir = TempDir::new().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name);
        let key_pem = self.app.then(|| self.register_app());
        let pat = self.github.pat.clone().unwrap_or_default();
        let boot = (Duration::from_millis(200), Duration::from_millis(400));
        let aws = AwsConfig { boot, shutdown: Duration::from_millis(200), ..AwsConfig::default() };
        let world = WorldConfig {
            github: self.github.clone(),
            aws,
            groups: self.groups.clone(),
            runners: self.runners.clone(),
            store_rate: None,
        };
        let sandbox = SandboxConfig {
            ca_file: self.tls.then(|| path("ca.pem")),
            aws_tls: self.aws_tls,
            max_concurrent_streams: self.max_concurrent_streams,
            ..SandboxConfig::default()
        };
        let sandbox = Sandbox::start(sandbox, World::new(world, 1)).expect("the sandbox starts");
        write_private(&path("token"), &pat);
        write_private(&path("app.pem"), key_pem.as_deref().unwrap_or_default());
        let config = path("poolkeeper.toml");
        write_private(&config, &self.config(dir.path(), &sandbox));
        Site { shell: self.shell, trusts_file: self.aws_tls, dir, config, sandbox, sets: self.sets, key_pem }
    }

    /// Gives the sandbox an App, and returns the App's private key.
    fn register_app(&mut self) -> String {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("an RSA key");
        let app = AppConfig::new(APP_CLIENT_ID, APP_ID, key.public_key_pem().as_bytes());
        self.github.app = Some(app.expect("an RSA key is what Apps have"));
        self.github.pat = None;
        key.serialize_pem()
    }

    fn config(&self, dir: &Path, sandbox: &Sandbox) -> String {
        let file = |name: &str| quoted(&dir.join(name).to_string_lossy());
        let credential = if self.app {
            format!("app = {{ client_id = \"{APP_CLIENT_ID}\", private_key_file = {} }}", file("app.pem"))
        } else {
            format!("token_file = {}", file("token"))
        };
        let state_dir = if self.state { format!("state_dir = {}", file("state")) } else { String::new() };
        let ca_file = if self.tls { format!("ca_file = {}", file("ca.pem")) } else { String::new() };
        let managed = if self.runners.managed { "runners = \"managed\"\n" } else { "" };
        let orgs = ORGS.map(quoted).join(", ");
        let Self { journal, more, .. } = self;
        format!(
            "stack = \"{STACK}\"\nowner = \"host-a\"\n{state_dir}\n\
             [github.main]\nurl = \"{}\"\n{credential}\norgs = [{orgs}]\n{ca_file}\n\
             [aws]\nregion = \"{REGION}\"\nendpoint_url = \"{}\"\n\
             [pool]\nidle_grace = \"1s\"\n{managed}\
             [status]\nlisten = \"127.0.0.1:0\"\n\
             [journal]\ndir = {}\n{journal}\n{more}\n",
            sandbox.github_url,
            sandbox.aws_url,
            file("journal")
        )
    }
}

/// A sandbox, and the files of a daemon that serves it.
#[derive(Debug)]
pub struct Site {
    shell: Shell,
    trusts_file: bool,
    dir: TempDir,
    /// The daemon's config.
    pub config: PathBuf,
    /// The sandbox.
    pub sandbox: Sandbox,
    /// The scale sets that should be listened to.
    pub sets: Vec<SetKey>,
    /// The private key of the App, if there is one.
    pub key_pem: Option<String>,
}

impl Site {
    /// A file or directory of the site.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The port of the sandbox's GitHub.
    ///
    /// # Panics
    /// When the sandbox's URL has none.
    #[must_use]
    pub fn github_port(&self) -> u16 {
        let port = self.sandbox.github_url.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.expect("the sandbox's URL has a port")
    }

    /// A command of the daemon's program, with the site's config.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = programs::daemon(self.shell);
        command.args(arguments).arg("--config").arg(&self.config);
        if self.trusts_file {
            command.env("SSL_CERT_FILE", self.path("ca.pem"));
        }
        command
    }

    /// Runs a command of the daemon's program to its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Starts the daemon.
    #[must_use]
    pub fn daemon(&self) -> Daemon {
        Daemon::spawn(self.command(&["run"]), &self.path("log"))
    }

    /// Starts the daemon, and waits until a poll is held for every set.
    #[must_use]
    pub fn listening_daemon(&self) -> Daemon {
        let daemon = self.daemon();
        self.until_listened_to(&daemon);
        daemon
    }

    /// Waits until a poll is held for every set.
    pub fn until_listened_to(&self, daemon: &Daemon) {
        let sets = &self.sets;
        self.until("a poll for every set", daemon, |world| world.is_listened_to(sets));
    }

    /// Waits until something about the world is so.
    ///
    /// # Panics
    /// When it is not so in time.
    pub fn until(&self, what: &str, daemon: &Daemon, is_so: impl Fn(&World) -> bool) {
        let look = || self.sandbox.with(|world, _| is_so(world).then_some(()));
        until(what, LONG, look, || format!("{:#?}\n{}", self.state(), daemon.log()));
    }

    /// Queues so many jobs for every set.
    ///
    /// # Panics
    /// When the sandbox takes no more.
    pub fn queue(&self, jobs_a_set: usize) -> Vec<JobId> {
        self.queue_plan(jobs_a_set, JobPlan::success(JOB))
    }

    /// Queues so many jobs of a plan for every set.
    ///
    /// # Panics
    /// When the sandbox takes no more.
    pub fn queue_plan(&self, jobs_a_set: usize, plan: JobPlan) -> Vec<JobId> {
        let all = self.sets.iter().flat_map(|set| std::iter::repeat_n(set, jobs_a_set));
        self.sandbox
            .with(|world, at| all.map(|set| world.queue_job(at, set, plan).expect("the sandbox takes jobs")).collect())
    }

    /// Waits until every message was acknowledged.
    pub fn until_acknowledged(&self, daemon: &Daemon) {
        self.until("every acknowledge", daemon, |world| world.github_model().sets().all(|set| set.unacknowledged == 0));
    }

    /// Waits until every job has ended, then checks that each ended as it should.
    ///
    /// # Panics
    /// When one did not.
    pub fn until_jobs_end(&self, daemon: &Daemon) {
        self.until("every job's end", daemon, World::is_quiet);
        let totals = self.totals();
        assert_eq!(totals.ended_well, totals.queued, "jobs that ended as they should");
    }

    /// What was counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.sandbox.with(|world, _| world.ledger().totals())
    }

    /// Sets and groups as they are.
    #[must_use]
    pub fn state(&self) -> poolkeeper_simulator::world::WorldState {
        self.sandbox.with(|world, _| world.state())
    }

    /// Breaks the next calls of a kind.
    ///
    /// # Panics
    /// When too many faults wait.
    pub fn inject(&self, call: &str, times: u32, action: &FaultAction) {
        let fault = Fault { call: call.to_owned(), times, action: action.clone() };
        assert!(self.sandbox.with(|world, _| world.inject(fault)), "the sandbox takes faults");
    }

    /// Calls that faults have hit.
    #[must_use]
    pub fn fault_hits(&self) -> u64 {
        self.sandbox.with(|world, _| world.fault_hits())
    }

    /// The journal's files, oldest first.
    ///
    /// # Panics
    /// When there is no journal.
    #[must_use]
    pub fn journals(&self) -> Vec<PathBuf> {
        poolkeeper_shell::journal::files(&self.path("journal")).expect("there is a journal")
    }
}

/// Replaces a text in a file; it must be there.
///
/// # Panics
/// When it is not, or the file cannot be written.
pub fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("the file can be read");
    assert!(text.contains(from), "{from:?} in {text}");
    fs::write(file, text.replacen(from, to, 1)).expect("the file can be written");
}

/// A refusal with a status code.
#[must_use]
pub fn status(code: u16, body: &str, headers: &[(&str, &str)]) -> FaultAction {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    FaultAction::Status { code, body: body.to_owned(), headers }
}

/// A TOML basic string: JSON's escapes are among TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_private(path: &Path, text: &str) {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
