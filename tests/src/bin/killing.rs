//! Kills the daemon again and again while jobs run, and checks that it polls again at once and that no job is lost.
//!
//! `cargo run --release -p poolkeeper-tests --bin killing -- [ROUNDS]`: the sandbox is one process, the daemon another.
//! Exit code 0 when all went as it should, 1 when not.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use poolkeeper_tests::daemon::{Daemon, ask};
use poolkeeper_tests::programs;
use poolkeeper_tests::wait::until;
use serde_json::Value;

const ROUNDS: u32 = 50;
const POOLS: usize = 8;
/// Mean time between two jobs.
const GAP_MS: u32 = 100;
/// Jobs for each round: they come for about as long as a round takes.
const JOBS_A_ROUND: u32 = 15;
/// How long a restarted daemon may take until it polls for every set.
const POLLING_AGAIN: Duration = Duration::from_secs(3);
/// A daemon lives from none to this long after it polls again: each round a little longer.
const LONGEST_LIFE_MS: u32 = 1500;
/// How long the last jobs may take.
const THE_END: Duration = Duration::from_secs(120);
/// How long the old session may stand in the way of a daemon that forgot it.
const STANDBY: Duration = Duration::from_secs(60);
/// How long a session lives without a poll, where the daemon forgets.
const SESSION_IDLE_S: u32 = 5;

fn main() -> ExitCode {
    let rounds = match std::env::args().nth(1).map(|text| text.parse()) {
        None => ROUNDS,
        Some(Ok(rounds)) => rounds,
        Some(Err(_)) => {
            say("usage: killing [ROUNDS]");
            return ExitCode::from(2);
        }
    };
    let good = with_memory(rounds) & without_memory();
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The sandbox as a process of its own, which does not outlive this value.
struct Serve {
    child: Child,
    /// Kept open: the sandbox says how its workload went.
    out: BufReader<ChildStdout>,
    github: SocketAddr,
    config: PathBuf,
}

impl Serve {
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let mut command = programs::poolkeeper_sim();
        command.args(["serve", "--json", "--pools", &POOLS.to_string(), "--write-config"]).arg(dir).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the sandbox starts");
        let mut out = BufReader::new(child.stdout.take().expect("its output is ours"));
        let mut line = String::new();
        out.read_line(&mut line).expect("the sandbox says where it is");
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let text = |key: &str| told.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let github = text("github_url").rsplit('/').next().and_then(|address| address.parse().ok());
        let config = PathBuf::from(text("config"));
        Self { child, out, github: github.expect("the sandbox has an address"), config }
    }

    fn state(&self) -> Value {
        ask(self.github, "/_sandbox/state").map(|page| page.json()).unwrap_or_default()
    }

    /// Whether a poll is held for every set.
    fn is_listened_to(&self) -> bool {
        let state = self.state();
        let sets = state.get("sets").and_then(Value::as_array);
        sets.is_some_and(|sets| {
            sets.len() == POOLS && sets.iter().all(|set| set.get("polls").and_then(Value::as_u64) > Some(0))
        })
    }

    fn daemon(&self, log: &Path) -> Daemon {
        let mut command: Command = programs::poolkeeper();
        command.args(["run", "--config"]).arg(&self.config);
        Daemon::spawn(command, log)
    }

    /// Waits until every set is listened to, and says how long it took.
    fn until_listened_to(&self, daemon: &Daemon, deadline: Duration) -> Duration {
        let began = Instant::now();
        let look = || self.is_listened_to().then_some(());
        until("a poll for every set", deadline, look, || format!("{:#}\n{}", self.state(), daemon.log()));
        began.elapsed()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn with_memory(rounds: u32) -> bool {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (jobs, gap) = ((rounds * JOBS_A_ROUND).to_string(), GAP_MS.to_string());
    let mut serve = Serve::start(dir.path(), &["--workload", "--jobs", &jobs, "--gap-ms", &gap, "--once"]);
    let log = dir.path().join("log");
    let mut daemon = serve.daemon(&log);
    serve.until_listened_to(&daemon, POLLING_AGAIN);
    let mut took: Vec<Duration> = Vec::new();
    for round in 1..=rounds {
        live(round * LONGEST_LIFE_MS / rounds);
        daemon.kill();
        // Until the sandbox has noticed, the dead daemon's polls look like the new one's.
        until("the end of its polls", POLLING_AGAIN, || (!serve.is_listened_to()).then_some(()), String::new);
        daemon = serve.daemon(&log);
        took.push(serve.until_listened_to(&daemon, STANDBY));
    }
    took.sort();
    let worst = took.last().copied().unwrap_or_default();
    let median = took.get(took.len() / 2).copied().unwrap_or_default();
    let child = &mut serve.child;
    let ended = || child.try_wait().expect("a child can be asked for");
    let status = until("the workload's end", THE_END, ended, || daemon.log());
    let stopped = daemon.stop();
    let last = (&mut serve.out).lines().map_while(Result::ok).last().unwrap_or_default();
    let good = worst <= POLLING_AGAIN && status.success() && stopped == 0;
    let verdict = if good { "good" } else { "BAD" };
    say(&format!(
        "{verdict}: {rounds} kills, polling again after {median:.0?} in the middle and {worst:.0?} at worst \
         (bound {POLLING_AGAIN:?}); {jobs} jobs, sandbox {status}: {last}"
    ));
    let replayed = replays(&dir.path().join("journal"));
    good && replayed
}

fn without_memory() -> bool {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let idle = SESSION_IDLE_S.to_string();
    let serve = Serve::start(dir.path(), &["--session-idle-s", &idle]);
    let config = fs::read_to_string(&serve.config).expect("the sandbox wrote a config");
    let forgetful: Vec<&str> = config.lines().filter(|line| !line.starts_with("state_dir")).collect();
    fs::write(&serve.config, forgetful.join("\n")).expect("the config can be written");
    let log = dir.path().join("log");
    let daemon = serve.daemon(&log);
    serve.until_listened_to(&daemon, POLLING_AGAIN);
    daemon.kill();
    until("the end of its polls", POLLING_AGAIN, || (!serve.is_listened_to()).then_some(()), String::new);
    let daemon = serve.daemon(&log);
    let took = serve.until_listened_to(&daemon, STANDBY);
    let stood_by = daemon.log().contains("another session lives");
    let good = stood_by & (daemon.stop() == 0);
    let verdict = if good { "good" } else { "BAD" };
    say(&format!(
        "{verdict}: without a state directory: standby seen: {stood_by}, polling again after {took:.1?}, when the \
         old sessions had ended ({SESSION_IDLE_S} s without a poll)"
    ));
    good
}

/// Whether every life's journal replays, cut as they are.
fn replays(journal: &Path) -> bool {
    let done = programs::poolkeeper_sim().arg("replay").arg(journal).output().expect("the simulator starts");
    let text = String::from_utf8_lossy(&done.stdout);
    let verdict = if done.status.success() { "good" } else { "BAD" };
    say(&format!("{verdict}: journals: {}", text.lines().last().unwrap_or_default()));
    done.status.success()
}

/// Lets a daemon live.
fn live(ms: u32) {
    let (_never, pause) = mpsc::channel::<()>();
    // Nobody ever sends: the channel is a pause.
    let _never_sent = pause.recv_timeout(Duration::from_millis(u64::from(ms)));
}

fn say(text: &str) {
    // Who does not listen misses it.
    drop(writeln!(io::stdout().lock(), "{text}"));
}
