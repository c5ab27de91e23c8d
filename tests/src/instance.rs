//! An instance: its metadata service, its runner, and the agent as a process, with AWS behind a URL.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::imds::Imds;
use crate::programs;
use crate::wait::{LONG, until};

/// The agent's file.
pub const AGENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/instance/poolkeeper-agent");
/// Writes its config down, runs for as long as there is a file `job`, and ends as the file `code` says.
const RUNNER: &str = r#"#!/bin/sh
printf '%s\n' "$ACTIONS_RUNNER_INPUT_JITCONFIG" >>"$SCENE/ran"
while [ -e "$SCENE/job" ]; do sleep 0.05; done
exit "$(cat "$SCENE/code")"
"#;
/// The agent's waits, each as short as its order among the others allows.
const SETTINGS: [(&str, &str); 6] = [
    ("QUICK_POLL_S", "0.05"),
    ("SLOW_POLL_MIN_S", "0"),
    ("SLOW_POLL_MAX_S", "0"),
    ("TERMINATION_WAIT_S", "0"),
    ("CONFIG_DEADLINE_S", "20"),
    ("SHUTDOWN", "touch \"$SCENE/down\""),
];

/// An instance that has not booted.
#[derive(Debug)]
pub struct Instance {
    /// Its metadata service.
    pub imds: Imds,
    dir: TempDir,
    shell: &'static str,
    aws_url: String,
    stack: String,
}

/// The agent at work. It is killed when it is dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Instance {
    /// An instance whose agent runs under a shell, with the sandbox's AWS.
    ///
    /// # Panics
    /// When its files cannot be made.
    #[must_use]
    pub fn new(shell: &'static str, id: &str, (region, stack): (&str, &str), aws_url: &str) -> Self {
        let imds = Imds::away(id, region).expect("a port is free");
        let dir = TempDir::new().expect("a temporary directory");
        let instance = Self { imds, dir, shell, aws_url: aws_url.to_owned(), stack: stack.to_owned() };
        for name in ["bin", "runner", "tmp"] {
            fs::create_dir(instance.path(name)).expect("a directory can be made");
        }
        symlink(programs::instance_aws(), instance.path("bin/aws")).expect("a link can be made");
        instance.write("runner/run.sh", RUNNER);
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(instance.path("runner/run.sh"), executable).expect("the runner is made executable");
        instance.write("code", "0");
        instance
    }

    /// A file of the instance.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the instance.
    ///
    /// # Panics
    /// When it cannot.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the file can be written");
    }

    /// The configs that runners were started with.
    #[must_use]
    pub fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("ran")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the instance was shut down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.path("down").exists()
    }

    /// What the agent has left in its temporary directory.
    ///
    /// # Panics
    /// When that cannot be read.
    #[must_use]
    pub fn litter(&self) -> usize {
        fs::read_dir(self.path("tmp")).expect("the directory can be read").count()
    }

    /// Starts the agent with settings beside the usual ones.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn boot(&self, settings: &[(&str, &str)]) -> Agent {
        let log = self.path("log");
        let user = Command::new("id").arg("-un").output().expect("there is `id`").stdout;
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(self.shell);
        command
            .arg(AGENT)
            .env_clear()
            .env("PATH", path)
            .env("SCENE", self.dir.path())
            .env("TMPDIR", self.path("tmp"))
            .env("AWS_ENDPOINT_URL", &self.aws_url)
            .env("POOLKEEPER_AGENT_CONF", self.path("none"))
            .env("POOLKEEPER_STACK", &self.stack)
            .env("POOLKEEPER_IMDS", self.imds.url())
            .env("POOLKEEPER_RUNNER_DIR", self.path("runner"))
            .env("POOLKEEPER_RUNNER_USER", String::from_utf8_lossy(&user).trim());
        for (name, value) in SETTINGS.iter().chain(settings) {
            command.env(format!("POOLKEEPER_{name}"), value);
        }
        let file = File::create(&log).expect("the log can be made");
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        Agent { child: spawned.expect("the agent starts"), log }
    }
}

impl Agent {
    /// What it has logged.
    ///
    /// # Panics
    /// When the log cannot be read.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// Waits until it has logged something.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn until_logged(&self, text: &str) {
        until(text, LONG, || self.log().contains(text).then_some(()), || self.log());
    }

    /// Waits for its end, and returns what it has logged.
    ///
    /// # Panics
    /// When it does not end in time, or badly.
    #[must_use]
    pub fn end(mut self) -> String {
        let mut ended: Option<ExitStatus> = None;
        until(
            "the agent's end",
            LONG,
            || {
                ended = self.child.try_wait().expect("the process can be asked");
                ended.map(|_| ())
            },
            || fs::read_to_string(&self.log).unwrap_or_default(),
        );
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}: {}", self.log());
        self.log()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A process that has ended by itself cannot be killed, and is all the same to us.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
