//! A machine that panics over a reply ends the process, names the step, and gives no secret away: in a child process,
//! for each kind of call, because a panic of the machine is the end of its process.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use poolkeeper_core::Machine;
use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::ReplyHeaders;
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::seal::{RawReply, Secret};
use poolkeeper_core::time::{Instant, Now};
use poolkeeper_shell::config::{self, JournalSettings};
use poolkeeper_shell::driver::Driver;
use poolkeeper_shell::journal::Journal;
use poolkeeper_shell::logging;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use poolkeeper_tests::leaks::Search;

const MARK: &str = "MARKEDSECRET0123456789";
const CHILD: &str = "POOLKEEPER_TEST_PANIC_IN";
const CALL: &str = "POOLKEEPER_TEST_PANIC_OVER";
const LEAK: &str = "POOLKEEPER_TEST_PANIC_LEAK";

/// What each call that brings a secret answers, and what the others echo of the one that was sent.
fn body(call: CallKind) -> String {
    match call {
        CallKind::AccessToken | CallKind::RegistrationToken => format!(r#"{{"token":"{MARK}"}}"#),
        CallKind::AdminConnection => format!(r#"{{"url":"https://service.test/","token":"{MARK}"}}"#),
        CallKind::CreateSession | CallKind::RefreshSession => {
            format!(r#"{{"sessionId":"s","messageQueueUrl":"https://q.test/","messageQueueAccessToken":"{MARK}"}}"#)
        }
        CallKind::JitConfig => format!(r#"{{"runner":{{"id":1,"name":"i-1"}},"encodedJITConfig":"{MARK}"}}"#),
        CallKind::Installation
        | CallKind::RunnerGroup
        | CallKind::ScaleSets
        | CallKind::ScaleSetByName
        | CallKind::ScaleSet
        | CallKind::CreateScaleSet
        | CallKind::UpdateScaleSet
        | CallKind::DeleteScaleSet
        | CallKind::DeleteSession
        | CallKind::Poll
        | CallKind::Acknowledge
        | CallKind::Acquire
        | CallKind::AcquirableJobs
        | CallKind::RunnerByName
        | CallKind::Runner
        | CallKind::Runners
        | CallKind::RemoveRunner => format!(r#"{{"message":"you sent {MARK}"}}"#),
    }
}

/// Takes a reply at a time before the last one, which breaks the machine's contract.
fn panic_over(call: CallKind, dir: &Path) {
    let config_file = dir.join("poolkeeper.toml");
    fs::write(dir.join("token"), format!("{MARK}\n")).unwrap();
    let text = format!(
        "stack = \"prod\"\n[github.main]\ntoken_file = \"{}\"\norgs = [\"acme\"]\n[aws]\nregion = \"eu-west-1\"\n",
        dir.join("token").display()
    );
    fs::write(&config_file, text).unwrap();
    logging::init().unwrap();
    let config = config::load(&config_file, std::iter::empty()).unwrap();
    let vault = Vault::open(&config).unwrap();
    let journal = Journal::new(JournalSettings::in_dir(&dir.join("journal")), 0);
    let telemetry = Arc::new(Telemetry::new("prod"));
    let mut driver = Driver::new(Machine::new(config.core, 1), 1, Some(journal), telemetry);
    let at = |ms| Now { mono: Instant::from_millis(ms), unix_ms: ms };
    driver.step(at(10), Event::Start { remembered: Vec::new() }, &mut Vec::new());
    let raw = RawReply { status: 200, headers: ReplyHeaders::default(), body: body(call).into_bytes() };
    let id = RequestId(7);
    let reply = vault.seal(call, id, "main", raw, &Secret::new(MARK.to_owned()), 0);
    if env::var_os(LEAK).is_some() {
        fs::write(dir.join("journal").join("leaked"), body(call)).unwrap();
    }
    driver.step(at(1), Event::GitHubReply { id, result: Ok(reply) }, &mut Vec::new());
}

/// Not a test of its own: what the others run in a process of its own.
#[test]
fn child() {
    let (Some(dir), Ok(name)) = (env::var_os(CHILD), env::var(CALL)) else { return };
    let call = CallKind::ALL.into_iter().find(|call| call.as_str() == name).expect("a call of that name");
    panic_over(call, Path::new(&dir));
    unreachable!("the process has ended");
}

fn run_child(call: CallKind, dir: &Path, leak: bool) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CHILD, dir).env(CALL, call.as_str());
    if leak {
        command.env(LEAK, "1");
    }
    command.env("RUST_BACKTRACE", "full").output().unwrap()
}

fn leaks(output: &Output, dir: &Path) -> bool {
    let search = Search::new(&[MARK.as_bytes()]);
    search.finds(&output.stdout) || search.finds(&output.stderr) || !search.files_below(&dir.join("journal")).is_empty()
}

#[test]
fn a_panic_over_any_reply_ends_the_process_and_gives_no_secret_away() {
    for call in CallKind::ALL {
        let dir = tempfile::tempdir().unwrap();
        let output = run_child(call, dir.path(), false);
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{call:?}: {told}");
        assert!(told.contains("monotonic clock"), "{call:?}: {told}");
        assert!(!leaks(&output, dir.path()), "{call:?}: {told}");
        assert!(dir.path().join("journal").read_dir().unwrap().count() > 0, "{call:?}: the cause is in the journal");
    }
}

#[test]
fn a_leak_beside_a_panic_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let output = run_child(CallKind::JitConfig, dir.path(), true);
    assert!(leaks(&output, dir.path()));
}
