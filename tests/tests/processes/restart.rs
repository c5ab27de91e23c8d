//! Ends and beginnings: kill -9, SIGTERM, a second daemon, a lost memory.

use std::time::{Duration, Instant};

use poolkeeper_core::time::Duration as Span;
use poolkeeper_simulator::github::GitHubConfig;
use poolkeeper_simulator::world::World;
use poolkeeper_tests::daemon::Daemon;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, Site};
use poolkeeper_tests::wait::{LONG, until};

poolkeeper_tests::on_both_shells!(
    killed_at_any_moment_it_polls_again_at_once_and_no_job_is_lost,
    killed_while_it_opens_sessions_it_waits_for_their_end_and_no_job_is_lost,
    without_its_memory_it_stands_by_until_the_old_session_ends,
    an_unreadable_memory_is_told_of_and_put_aside,
    a_second_daemon_on_the_same_state_directory_ends_with_2,
    sigterm_closes_every_session_and_leaves_groups_and_sets_alone,
);

const POOLS: usize = 4;
/// How long a restarted daemon may take until it polls for every set.
const POLLING_AGAIN: Duration = Duration::from_secs(3);

/// What was counted when the daemon was started.
struct Before {
    queued: u64,
    ended: u64,
    writes: u64,
}

impl Before {
    fn of(site: &Site) -> Self {
        let totals = site.totals();
        Self { queued: totals.queued, ended: totals.ended, writes: totals.capacity_writes }
    }
}

/// A moment worth dying at.
type Moment = fn(&World, &Before) -> bool;

const MOMENTS: [(&str, Moment); 5] = [
    ("as jobs are queued", |world, before| world.ledger().totals_ref().queued > before.queued),
    ("as capacity was set", |world, before| world.ledger().totals_ref().capacity_writes > before.writes),
    ("as a job runs", |world, _| world.ledger().pools().values().any(|pool| pool.running > 0)),
    ("as a job has ended", |world, before| world.ledger().totals_ref().ended > before.ended),
    ("as nothing happens", |_, _| true),
];

/// Waits until the newest session of every set is in the state directory: before that, a kill may cost a standby.
fn until_remembered(site: &Site, daemon: &Daemon) {
    let remembered = || {
        let log = daemon.log();
        let opened = log.lines().filter_map(|line| line.split_once("\"session ")?.1.split(' ').next());
        let newest: Vec<&str> = opened.collect::<Vec<_>>().into_iter().rev().take(site.sets.len()).collect();
        let kept = std::fs::read_to_string(site.path("state").join("state.json")).ok()?;
        (newest.len() == site.sets.len() && newest.iter().all(|id| kept.contains(id))).then_some(())
    };
    until("a memory of every session", LONG, remembered, || daemon.log());
}

fn killed_at_any_moment_it_polls_again_at_once_and_no_job_is_lost(shell: Shell) {
    let site = Plan { shell, ..Plan::new(POOLS) }.build();
    let mut daemon = site.listening_daemon();
    for (what, is_now) in MOMENTS {
        until_remembered(&site, &daemon);
        let before = Before::of(&site);
        site.queue(2);
        site.until(what, &daemon, |world| is_now(world, &before));
        daemon.kill();
        site.sandbox.with(|world, _| assert!(!world.is_quiet(), "{what}: jobs are left"));
        let sets = &site.sets;
        let gone = || site.sandbox.with(|world, _| (world.github_model().held_polls() == 0).then_some(()));
        until("the end of the dead daemon's polls", LONG, gone, || format!("{sets:?}"));

        let began = Instant::now();
        daemon = site.listening_daemon();

        let took = began.elapsed();
        assert!(took <= POLLING_AGAIN, "{what}: polling again after {took:?}\n{}", daemon.log());
    }
    site.until_jobs_end(&daemon);
    site.until_acknowledged(&daemon);
    assert_eq!(daemon.stop(), 0);
}

fn killed_while_it_opens_sessions_it_waits_for_their_end_and_no_job_is_lost(shell: Shell) {
    let github = GitHubConfig { session_idle: Span::from_secs(2), ..GitHubConfig::default() };
    let site = Plan { shell, github, ..Plan::new(POOLS) }.build();
    site.queue(1);
    let daemon = site.daemon();
    site.until("the first session", &daemon, |world| {
        world.ledger().totals_ref().calls_of("github", "create_session") > 0
    });
    daemon.kill();

    let daemon = site.listening_daemon();

    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
}

fn sessions(daemon: &Daemon) -> Vec<String> {
    let Some(page) = daemon.try_get("/api/pools") else { return Vec::new() };
    let pools = page.json()["pools"].as_array().cloned().unwrap_or_default();
    pools.iter().filter_map(|pool| Some(pool["session"].as_str()?.to_owned())).collect()
}

fn without_its_memory_it_stands_by_until_the_old_session_ends(shell: Shell) {
    let site = Plan { shell, state: false, ..Plan::new(2) }.build();
    site.listening_daemon().kill();
    let daemon = site.daemon();

    let all_stand_by = || {
        let sessions = sessions(&daemon);
        (sessions.len() == 2 && sessions.iter().all(|session| session == "standby")).then_some(())
    };
    until("standby", LONG, all_stand_by, || daemon.log());
    let ready = daemon.get("/readyz");
    assert_eq!((ready.status, ready.body.contains("standby")), (503, true), "{}", ready.body);
    assert!(daemon.log().contains("state_dir is not set"), "{}", daemon.log());
    site.queue(1);
    let asked = site.totals().calls_of("github", "create_session");
    site.until("another try", &daemon, |world| {
        world.ledger().totals_ref().calls_of("github", "create_session") > asked
    });
    assert_eq!(site.totals().capacity_writes, 0, "without a session nothing is written");

    site.sandbox.with(|world, at| {
        for set in &site.sets {
            assert!(world.end_session(at, set), "the old session was still there");
        }
    });
    site.until_listened_to(&daemon);
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
}

fn an_unreadable_memory_is_told_of_and_put_aside(shell: Shell) {
    let site = Plan { shell, ..Plan::new(1) }.build();
    assert_eq!(site.listening_daemon().stop(), 0);
    std::fs::write(site.path("state").join("state.json"), "{ not JSON").unwrap();

    let daemon = site.listening_daemon();

    assert!(daemon.log().contains("begins with an empty memory"), "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
}

fn a_second_daemon_on_the_same_state_directory_ends_with_2(shell: Shell) {
    let site = Plan { shell, ..Plan::new(1) }.build();
    let mut daemon = site.listening_daemon();

    let second = site.run(&["run"]);

    let message = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{message}");
    assert!(message.contains("another daemon is using it"), "{message}");
    assert!(message.contains("state_dir"), "{message}");
    assert!(daemon.is_running());
    site.queue(1);
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
}

fn sigterm_closes_every_session_and_leaves_groups_and_sets_alone(shell: Shell) {
    let site = Plan { shell, ..Plan::new(POOLS) }.build();
    let daemon = site.listening_daemon();
    site.queue(2);
    site.until("capacity", &daemon, |world| world.ledger().totals_ref().capacity_writes > 0);
    let writes = site.totals().capacity_writes;
    assert!(writes > 0);

    assert_eq!(daemon.stop(), 0);

    let state = site.state();
    assert_eq!(state.totals.calls_of("github", "delete_session"), u64::try_from(POOLS).unwrap());
    assert!(state.sets.iter().all(|set| set.session_owner.is_none()), "{:?}", state.sets);
    assert_eq!(state.sets.len(), POOLS);
    assert_eq!(state.totals.calls_of("github", "delete_scale_set"), 0);
    let again = site.listening_daemon();
    site.until_jobs_end(&again);
    assert_eq!(again.stop(), 0);
}
