//! The journal of a run replays bit for bit: whole, each segment alone, and after kill -9.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use poolkeeper_shell::journal;
use poolkeeper_tests::daemon::Daemon;
use poolkeeper_tests::programs;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, Site};

poolkeeper_tests::on_both_shells!(
    a_journal_replays_whole_and_each_segment_alone,
    a_journal_cut_by_kill_9_replays_and_so_does_the_next_life,
    a_journal_that_was_tampered_with_does_not_replay,
    journal_and_state_are_for_the_owners_eyes_only,
    a_journal_that_cannot_be_made_is_told_of_and_the_daemon_goes_on,
    a_disk_that_fills_up_closes_the_journal_and_the_daemon_goes_on,
);

fn replay(files: &[PathBuf]) -> Output {
    programs::poolkeeper_sim().arg("replay").args(files).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_replays(files: &[PathBuf]) {
    let done = replay(files);
    let text = stdout(&done);
    assert_eq!(done.status.code(), Some(0), "{files:?}: {text}");
    assert!(text.contains("every effect as recorded"), "{text}");
    assert!(!text.starts_with("0 steps"), "{text}");
}

/// Runs jobs until the journal has so many segments.
fn run_until_segments(site: &Site, count: usize) -> Daemon {
    let daemon = site.listening_daemon();
    for _ in 0..10 * count {
        site.queue(2);
        site.until_jobs_end(&daemon);
        if site.journals().len() >= count {
            break;
        }
    }
    assert!(site.journals().len() >= count, "{:?}", site.journals());
    daemon
}

fn a_journal_replays_whole_and_each_segment_alone(shell: Shell) {
    let site = Plan { shell, journal: "segment_age = \"1s\"".to_owned(), ..Plan::new(3) }.build();
    assert_eq!(run_until_segments(&site, 3).stop(), 0);

    let files = site.journals();
    assert_replays(&files);
    for file in files {
        assert_replays(&[file]);
    }
}

fn a_journal_cut_by_kill_9_replays_and_so_does_the_next_life(shell: Shell) {
    let site = Plan { shell, ..Plan::new(2) }.build();
    let daemon = site.listening_daemon();
    site.queue(3);
    site.until("jobs that run", &daemon, |world| world.ledger().pools().values().any(|pool| pool.running > 0));
    daemon.kill();
    let first = site.journals();
    assert_eq!(first.len(), 1, "{first:?}");
    let text = stdout(&replay(&first));
    assert!(text.contains("cut"), "the kill cut it short: {text}");
    assert_replays(&first);

    let daemon = site.listening_daemon();
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
    assert_eq!(site.journals().len(), 2);
    assert_replays(&site.journals());
}

fn a_journal_that_was_tampered_with_does_not_replay(shell: Shell) {
    let site = Plan { shell, ..Plan::new(1) }.build();
    let daemon = site.listening_daemon();
    site.queue(2);
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
    let [file] = site.journals().try_into().unwrap();

    let tampered = site.path("tampered.jsonl");
    let lines: Vec<String> = journal::read(&file).unwrap().map(|line| line.unwrap().text).collect();
    let whole = lines.join("\n") + "\n";
    fs::write(&tampered, &whole).unwrap();
    assert_replays(std::slice::from_ref(&tampered));
    let (before, after) = whole.split_once("\"SetDesiredCapacity\"").expect("capacity was set");
    let changed = after.replacen("\"desired\":", "\"desired\":1", 1);
    fs::write(&tampered, format!("{before}\"SetDesiredCapacity\"{changed}")).unwrap();

    let done = replay(&[tampered]);

    assert_eq!(done.status.code(), Some(1), "{}", stdout(&done));
    assert!(stdout(&done).contains("tampered.jsonl:"), "{}", stdout(&done));
}

fn journal_and_state_are_for_the_owners_eyes_only(shell: Shell) {
    use std::os::unix::fs::PermissionsExt;
    let site = Plan { shell, ..Plan::new(1) }.build();
    assert_eq!(site.listening_daemon().stop(), 0);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;

    let mut files = site.journals();
    files.push(site.path("state").join("state.json"));
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    for dir in ["journal", "state"] {
        assert_eq!(mode(&site.path(dir)), 0o700, "{dir}");
    }
}

/// Runs jobs with a journal that cannot go on, and sees that the daemon does.
fn goes_on_without(site: &Site, daemon: &mut Daemon) {
    site.until_listened_to(daemon);
    for _ in 0..2 {
        site.queue(3);
        site.until_jobs_end(daemon);
    }
    assert_eq!(daemon.metric("poolkeeper_journal_failures_total", &[]), 1.0, "told once: {}", daemon.log());
    assert!(daemon.is_running());
    assert_eq!(daemon.get("/readyz").status, 200);
}

fn a_journal_that_cannot_be_made_is_told_of_and_the_daemon_goes_on(shell: Shell) {
    let site = Plan { shell, ..Plan::new(2) }.build();
    fs::write(site.path("journal"), "a file where the directory should be").unwrap();
    let mut daemon = site.daemon();

    goes_on_without(&site, &mut daemon);

    let log = daemon.log();
    assert_eq!(log.matches("the journal cannot be written").count(), 1, "{log}");
    assert_eq!(daemon.stop(), 0);
}

/// A command under which no file grows beyond a few kilobytes, as on a full disk: writing fails, nobody is killed.
fn on_a_full_disk(command: &Command) -> Command {
    /// In blocks of 512 bytes.
    const LARGEST_FILE: &str = "16";
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\" 2>/dev/null", LARGEST_FILE]);
    limited.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

fn a_disk_that_fills_up_closes_the_journal_and_the_daemon_goes_on(shell: Shell) {
    let site = Plan { shell, ..Plan::new(2) }.build();
    let mut daemon = Daemon::spawn(on_a_full_disk(&site.command(&["run"])), &site.path("log"));

    goes_on_without(&site, &mut daemon);

    assert_eq!(daemon.stop(), 0);
    let files = site.journals();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].metadata().unwrap().len() <= 16 * 512);
    assert_replays(&files);
}
