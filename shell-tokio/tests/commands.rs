//! The binary, from outside: exit codes, a dry run, the daemon, and single calls, against the sandbox.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use poolkeeper_simulator::github::GitHubConfig;
use poolkeeper_simulator::sandbox::scenery::{Scenery, write_daemon_files};
use poolkeeper_simulator::sandbox::{Sandbox, SandboxConfig};
use poolkeeper_simulator::world::{World, WorldConfig};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const POOLS: usize = 12;

#[test]
fn wrong_usage_and_wrong_config_exit_with_2() {
    let missing = run(&["run", "--config", "/nonexistent/poolkeeper.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("/nonexistent/poolkeeper.toml"), "{}", stderr(&missing));

    assert_eq!(run(&["run", "--no-such-option"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_dry_run_plans_and_changes_nothing() {
    let scene = Scene::start();

    let done = scene.run(&["run", "--dry-run"]);

    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let plan = stdout(&done);
    assert_eq!(plan.matches("to be created, desired 0 now").count(), POOLS, "{plan}");
    assert!(plan.contains(&format!("{POOLS} groups; nothing was changed.")), "{plan}");
    let state = scene.sandbox.with(|world, _| world.state());
    assert!(state.sets.is_empty());
    assert_eq!(state.totals.calls_of("github", "create_session"), 0);
    assert!(!scene.dir.path().join("state").exists());
    assert!(!scene.dir.path().join("journal").exists());
}

#[test]
fn the_daemon_listens_stops_in_order_and_leaves_sets_that_can_be_looked_up() {
    let scene = Scene::start();
    let mut daemon = scene.daemon();

    scene.wait_until(|scene| scene.sandbox.with(|world, _| world.is_listened_to(&scene.sets)));
    let second = scene.run(&["run"]);
    assert_eq!(second.status.code(), Some(2), "{}", stderr(&second));
    signal(&daemon.0, "TERM");

    assert_eq!(daemon.wait().code(), Some(0));
    let state = scene.sandbox.with(|world, _| world.state());
    assert!(state.sets.iter().all(|set| set.session_owner.is_none()), "{:?}", state.sets);

    let text = stdout(&scene.run(&["scale-set", "get", "acme-pool-1", "--org", "acme"]));
    assert!(text.contains("acme-pool-1"), "{text}");
    let json = scene.run(&["scale-set", "get", "acme-pool-1", "--org", "acme", "--json"]);
    let set: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(set["name"], "acme-pool-1");
    let absent = scene.run(&["scale-set", "get", "nope", "--org", "acme"]);
    assert_eq!(absent.status.code(), Some(1));
    let stranger = scene.run(&["scale-set", "get", "nope", "--org", "stranger"]);
    assert_eq!(stranger.status.code(), Some(2), "{}", stderr(&stranger));
    let plan = stdout(&scene.run(&["run", "--dry-run"]));
    assert_eq!(plan.matches(" exists (id ").count(), POOLS, "{plan}");
}

#[test]
fn a_bad_config_on_sighup_leaves_the_old_one_and_a_good_one_is_taken() {
    let scene = Scene::start();
    let mut daemon = scene.daemon();
    scene.wait_until(|scene| scene.sandbox.with(|world, _| world.is_listened_to(&scene.sets)));
    let good = std::fs::read_to_string(&scene.config).unwrap();

    std::fs::write(&scene.config, "stack = 7\n").unwrap();
    signal(&daemon.0, "HUP");
    scene.wait_until(|scene| scene.log().contains("the old config stays in force"));
    std::fs::write(&scene.config, good + "\n[pool]\nsize_max = 7\n").unwrap();
    signal(&daemon.0, "HUP");

    scene.wait_until(|scene| {
        let sets = scene.sandbox.with(|world, _| world.state()).sets;
        scene.log().contains("read again") && sets.iter().all(|set| set.session_owner.is_some())
    });
    signal(&daemon.0, "TERM");
    assert_eq!(daemon.wait().code(), Some(0), "{}", scene.log());
}

#[test]
fn a_refused_credential_fails_at_once_and_names_what_to_check() {
    let scene = Scene::start();
    std::fs::write(scene.dir.path().join("token"), "ghp_wrong0wrong0wrong0\n").unwrap();

    let done = scene.run(&["scale-set", "get", "x", "--org", "acme"]);

    assert_eq!(done.status.code(), Some(1));
    assert!(stderr(&done).contains("check the connection's credential"), "{}", stderr(&done));
    assert!(!stderr(&done).contains("ghp_wrong"), "{}", stderr(&done));
}

/// A sandbox and the files of a daemon that serves it.
struct Scene {
    dir: TempDir,
    config: PathBuf,
    sandbox: Sandbox,
    sets: Vec<poolkeeper_simulator::github::SetKey>,
}

/// A daemon that does not outlive its test.
struct Daemon(Child);

impl Scene {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let scenery = Scenery::new(POOLS);
        let github = GitHubConfig::default();
        let pat = github.pat.clone().unwrap();
        let world = WorldConfig { github, groups: scenery.groups, ..WorldConfig::default() };
        let sandbox = Sandbox::start(SandboxConfig::default(), World::new(world, 1)).unwrap();
        let files = write_daemon_files(dir.path(), &sandbox, &pat).unwrap();
        Self { dir, config: files.config, sandbox, sets: scenery.sets }
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn daemon(&self) -> Daemon {
        let log = std::fs::File::create(self.log_file()).unwrap();
        Daemon(self.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.arg("--config").arg(&self.config);
        command
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    fn wait_until(&self, holds: impl Fn(&Self) -> bool) {
        wait_until(|| holds(self).then_some(()), || self.log());
    }
}

impl Daemon {
    fn wait(&mut self) -> std::process::ExitStatus {
        wait_until(|| self.0.try_wait().unwrap(), String::new)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn wait_until<T>(mut holds: impl FnMut() -> Option<T>, why_not: impl Fn() -> String) -> T {
    let (_never, pause) = std::sync::mpsc::channel::<()>();
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(held) = holds() {
            return held;
        }
        assert!(Instant::now() < deadline, "not in time\n{}", why_not());
        pause.recv_timeout(LOOK_EVERY).unwrap_err();
    }
}

fn signal(daemon: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(daemon.id().to_string()).status();
    assert!(sent.unwrap().success());
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_poolkeeper")));
    command
        .args(args)
        .env("AWS_ACCESS_KEY_ID", "sandbox")
        .env("AWS_SECRET_ACCESS_KEY", "sandbox")
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy");
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
