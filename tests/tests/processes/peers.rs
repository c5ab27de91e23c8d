//! What broken peers get: they are counted and tried again; nothing crashes, spins, or loses a message.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use poolkeeper_core::time::Duration as Span;
use poolkeeper_simulator::github::{GitHubConfig, Style};
use poolkeeper_simulator::workload::JobPlan;
use poolkeeper_simulator::world::{FaultAction, Totals, Weather};
use poolkeeper_tests::daemon::Daemon;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, Site, status};
use poolkeeper_tests::wait::{LONG, until};
use rustix::process::Signal;

poolkeeper_tests::on_both_shells!(
    refused_token_calls_are_tried_again,
    garbage_for_tokens_is_tried_again,
    refused_pool_calls_lose_no_message,
    garbage_in_pool_calls_loses_no_message,
    replies_that_are_lost_lose_no_message,
    unknown_message_types_and_zero_counts_lose_no_message,
    a_broken_aws_is_tried_again,
    a_longer_outage_of_either_peer_is_waited_out,
    a_peer_that_fails_for_ever_is_asked_ever_less_often,
    retry_after_is_kept,
    a_hung_poll_holds_up_nobody_else_and_a_stop_does_not_wait_for_it,
    a_stop_does_not_wait_for_a_hung_call,
    evicted_sessions_are_replaced,
);

/// The calls that lead to an admin connection.
const TOKEN_CALLS: [&str; 4] = ["installation", "access_token", "registration_token", "admin_connection"];
/// The calls of a pool that serves jobs, in the order in which they come.
const POOL_CALLS: [&str; 9] = [
    "runner_group",
    "scale_set_by_name",
    "create_scale_set",
    "create_session",
    "acquirable_jobs",
    "acquire",
    "poll",
    "acknowledge",
    "refresh_session",
];
const AWS_CALLS: [&str; 2] = ["DescribeAutoScalingGroups", "SetDesiredCapacity"];
/// Longer than the first waits between two tries together.
const OUTAGE: Span = Span::from_secs(6);
/// No daemon of these tests makes as many calls, unless it spins.
const MOST_CALLS: u64 = 400;

/// A site whose jobs are acquired, as on an Enterprise Server, so that every call there is gets made.
fn site(shell: Shell, pools: usize) -> Site {
    let github = GitHubConfig {
        style: Style::Enterprise,
        session_idle: Span::from_secs(3),
        poll_hold: Span::from_secs(3),
        ..GitHubConfig::default()
    };
    Plan { shell, github, app: true, ..Plan::new(pools) }.build()
}

/// Where a fault is counted.
#[derive(Clone, Copy, Debug)]
enum Counted {
    /// As the outcome of the call to GitHub.
    Outcome(&'static str),
    /// As the outcome of the call to AWS.
    Aws(&'static str),
    /// As a failure of the call, in spite of its status.
    Failure,
    /// In the log, with the message's number.
    Log(&'static str),
    /// Nowhere: the call succeeds all the same.
    Nowhere,
}

impl Counted {
    /// How often.
    fn metric(self, daemon: &Daemon, call: &str) -> f64 {
        let label = format!("call=\"{call}\"");
        let by_outcome = |name, outcome| daemon.metric(name, &[&label, &format!("outcome=\"{outcome}\"")]);
        match self {
            Self::Outcome(outcome) => by_outcome("poolkeeper_github_calls_total", outcome),
            Self::Aws(outcome) => by_outcome("poolkeeper_aws_calls_total", outcome),
            Self::Failure if TOKEN_CALLS.contains(&call) => {
                daemon.metric("poolkeeper_notices_total", &["kind=\"token_failed\""])
            }
            Self::Failure => daemon.metric("poolkeeper_failed_calls_total", &[&label]),
            Self::Log(text) if daemon.log().contains(text) => 1.0,
            Self::Log(_) => 0.0,
            Self::Nowhere => 1.0,
        }
    }
}

/// Whether a fault makes a reply that counts as a failure.
fn harms(action: &FaultAction, call: &str) -> bool {
    let garbage = matches!(action, FaultAction::EmptyOk | FaultAction::Html | FaultAction::Truncated);
    let cut = matches!(action, FaultAction::Truncated | FaultAction::CutShort);
    match call {
        // An empty reply means that there is no message.
        "poll" => !matches!(action, FaultAction::EmptyOk),
        // Its reply has no body that could be cut.
        "acknowledge" => !cut,
        // The list is an extra: what it would tell comes by messages too.
        "acquirable_jobs" => !garbage,
        _ => true,
    }
}

/// Breaks each of the calls once, from the daemon's very start, and sees every job through all the same.
fn survives(shell: Shell, action: &FaultAction, calls: &[&str], counted: Counted) {
    let site = site(shell, 1);
    for call in calls {
        site.inject(call, 1, action);
    }
    let refreshes = calls.contains(&"refresh_session");
    if refreshes {
        // A queue token that is refused is renewed: that is what makes the call.
        site.inject("poll", 1, &status(401, "", &[]));
    }
    site.queue(2);
    let mut daemon = site.daemon();

    site.until_listened_to(&daemon);
    site.queue(2);
    site.until_jobs_end(&daemon);
    let injected = u64::try_from(calls.len()).unwrap() + u64::from(refreshes);
    site.until("each fault's hit", &daemon, |world| world.fault_hits() == injected);
    site.until_listened_to(&daemon);
    site.queue(1);
    site.until_jobs_end(&daemon);

    let forgotten = matches!(action, FaultAction::Status { code: 404, .. });
    if !(forgotten && calls.contains(&"acknowledge")) {
        // A message that GitHub says it does not know counts as acknowledged.
        site.until_acknowledged(&daemon);
    }
    let harmed = calls.iter().filter(|call| harms(action, call));
    let missed: Vec<_> = harmed.filter(|call| counted.metric(&daemon, call) < 1.0).collect();
    assert!(missed.is_empty(), "{action:?} is not counted for {missed:?}: {}", daemon.get("/metrics").body);
    let totals = site.totals();
    assert!(totals.calls_to("github") + totals.calls_to("aws") < MOST_CALLS, "{action:?}: {:?}", totals.calls);
    assert!(daemon.is_running());
    assert_eq!(daemon.get("/readyz").status, 200, "{action:?}");
    assert!(!daemon.log().contains("panicked"), "{action:?}: {}", daemon.log());
    assert_eq!(daemon.stop(), 0, "{action:?}");
}

/// Runs the same for several faults side by side: each is mostly a wait for the next try.
fn survive_all(shell: Shell, actions: &[(FaultAction, Counted)], calls: &[&str]) {
    std::thread::scope(|scope| {
        for (action, counted) in actions {
            scope.spawn(move || survives(shell, action, calls, *counted));
        }
    });
}

fn refusals() -> [(FaultAction, Counted); 7] {
    [
        (status(401, "Bad credentials", &[]), Counted::Outcome("401")),
        (status(403, "Forbidden", &[]), Counted::Outcome("403")),
        (status(404, "Not Found", &[]), Counted::Outcome("404")),
        (status(409, "Conflict", &[]), Counted::Outcome("409")),
        (status(429, "Too Many Requests", &[("retry-after", "1")]), Counted::Outcome("429")),
        (status(500, "Oops", &[]), Counted::Outcome("500")),
        (status(503, "<html>Unicorn!</html>", &[]), Counted::Outcome("503")),
    ]
}

fn garbage() -> [(FaultAction, Counted); 7] {
    [
        (FaultAction::EmptyOk, Counted::Failure),
        (FaultAction::Html, Counted::Failure),
        (FaultAction::Truncated, Counted::Failure),
        (FaultAction::Bom, Counted::Nowhere),
        (FaultAction::Big, Counted::Outcome("too_large")),
        (FaultAction::Close, Counted::Outcome("broken")),
        (FaultAction::CutShort, Counted::Outcome("broken")),
    ]
}

fn refused_token_calls_are_tried_again(shell: Shell) {
    survive_all(shell, &refusals(), &TOKEN_CALLS);
}

fn garbage_for_tokens_is_tried_again(shell: Shell) {
    survive_all(shell, &garbage(), &TOKEN_CALLS);
}

fn refused_pool_calls_lose_no_message(shell: Shell) {
    survive_all(shell, &refusals(), &POOL_CALLS);
}

fn garbage_in_pool_calls_loses_no_message(shell: Shell) {
    survive_all(shell, &garbage(), &POOL_CALLS);
}

fn replies_that_are_lost_lose_no_message(shell: Shell) {
    survive_all(shell, &[(FaultAction::LoseReply, Counted::Outcome("broken"))], &POOL_CALLS);
}

fn unknown_message_types_and_zero_counts_lose_no_message(shell: Shell) {
    survive_all(
        shell,
        &[
            (FaultAction::UnknownMessageType, Counted::Log("1 of unknown type")),
            (FaultAction::ZeroStatistics, Counted::Nowhere),
        ],
        &["poll"],
    );
}

fn a_broken_aws_is_tried_again(shell: Shell) {
    let actions = [
        (status(400, "Throttling", &[]), Counted::Aws("throttled")),
        (status(403, "AccessDenied", &[]), Counted::Aws("denied")),
        (status(500, "ResourceContention", &[]), Counted::Aws("contention")),
        (status(400, "ValidationError", &[]), Counted::Aws("validation")),
        (status(500, "InternalFailure", &[]), Counted::Aws("misbehaved")),
        (FaultAction::EmptyOk, Counted::Aws("misbehaved")),
        (FaultAction::Html, Counted::Aws("misbehaved")),
        (FaultAction::CutShort, Counted::Aws("misbehaved")),
        (FaultAction::Close, Counted::Aws("transport")),
        (FaultAction::LoseReply, Counted::Aws("transport")),
    ];
    survive_all(shell, &actions, &AWS_CALLS);
}

fn a_longer_outage_of_either_peer_is_waited_out(shell: Shell) {
    let cases: [(&str, FaultAction); 3] =
        [("github", FaultAction::Close), ("aws", FaultAction::Close), ("aws", status(400, "Throttling", &[]))];
    std::thread::scope(|scope| {
        for (peer, action) in &cases {
            scope.spawn(move || outlasts(shell, peer, action));
        }
    });
}

/// Lets every call to a peer fail for some seconds, while jobs come and end.
fn outlasts(shell: Shell, peer: &str, action: &FaultAction) {
    let site = site(shell, 2);
    let mut daemon = site.listening_daemon();
    site.queue(1);
    site.until("jobs that run", &daemon, |world| world.ledger().pools().values().any(|pool| pool.running > 0));
    let before = site.totals().calls_to(peer);
    let weather = Weather { call: peer.to_owned(), per_mille: 1000, action: action.clone() };
    let hits = site.fault_hits();
    site.sandbox.with(|world, at| assert!(world.set_weather(at.now.mono + OUTAGE, weather)));
    site.queue(2);
    site.until("failed calls", &daemon, |world| world.fault_hits() >= hits + 4);
    assert!(daemon.is_running());
    assert_eq!(daemon.get("/healthz").status, 200);

    site.until_jobs_end(&daemon);

    site.until_acknowledged(&daemon);
    site.until_listened_to(&daemon);
    let calls = site.totals().calls_to(peer) - before;
    assert!(calls < MOST_CALLS, "{peer} {action:?}: {:?}", site.totals().calls);
    assert_eq!(site.totals().killed, 0, "{peer} {action:?}");
    assert_eq!(daemon.get("/readyz").status, 200, "{peer} {action:?}");
    assert!(!daemon.log().contains("panicked"), "{peer} {action:?}: {}", daemon.log());
    assert_eq!(daemon.stop(), 0, "{peer} {action:?}");
}

/// When each of the first calls of a kind came, as seen from here.
fn moments(site: &Site, daemon: &Daemon, count: u64, of: impl Fn(&Totals) -> u64) -> Vec<Instant> {
    let (before, mut seen) = (of(&site.totals()), Vec::new());
    until(
        "enough calls",
        LONG,
        || {
            let made = of(&site.totals()) - before;
            while u64::try_from(seen.len()).unwrap() < made {
                seen.push(Instant::now());
            }
            (made >= count).then_some(())
        },
        || daemon.log(),
    );
    seen
}

fn a_peer_that_fails_for_ever_is_asked_ever_less_often(shell: Shell) {
    let cases: [(&str, FaultAction); 5] = [
        ("poll", status(500, "", &[])),
        ("poll", FaultAction::EmptyOk),
        ("poll", FaultAction::Close),
        ("create_session", FaultAction::Html),
        ("registration_token", status(401, "", &[])),
    ];
    std::thread::scope(|scope| {
        for (call, action) in &cases {
            scope.spawn(move || {
                let site = site(shell, 1);
                site.inject(call, 1000, action);
                let daemon = site.daemon();

                let at = moments(&site, &daemon, 4, |totals| totals.calls_of("github", call));

                // Waits of 1, 2 and 4 s, of which chance takes up to a half; the shortest begins at 0.5 s.
                let took = at[3] - at[0];
                assert!(took >= Duration::from_millis(1500), "{call} {action:?}: four calls in {took:?}");
                let calls = site.totals().calls_to("github");
                assert!(calls < 60, "{call} {action:?}: {:?}", site.totals().calls);
                site.sandbox.with(|world, _| world.heal());
                site.until_listened_to(&daemon);
                site.queue(1);
                site.until_jobs_end(&daemon);
                assert_eq!(daemon.stop(), 0, "{call} {action:?}");
            });
        }
    });
}

fn retry_after_is_kept(shell: Shell) {
    let site = site(shell, 1);
    site.inject("registration_token", 1, &status(429, "", &[("retry-after", "3")]));
    let daemon = site.daemon();

    let at = moments(&site, &daemon, 2, |totals| totals.calls_of("github", "registration_token"));

    let waited = at[1] - at[0];
    assert!(waited >= Duration::from_millis(2900), "{waited:?}");
    assert_eq!(daemon.metric("poolkeeper_notices_total", &["rate_limited"]), 1.0);
    site.until_listened_to(&daemon);
    assert_eq!(daemon.stop(), 0);
}

fn a_hung_poll_holds_up_nobody_else_and_a_stop_does_not_wait_for_it(shell: Shell) {
    let site = site(shell, 3);
    let daemon = site.listening_daemon();
    site.inject("poll", 1, &FaultAction::Hang);
    let [deaf, others @ ..] = site.sets.as_slice() else { panic!("three sets") };
    let plan = JobPlan::success(Span::from_millis(2200));
    // The poll after this job's message hangs.
    site.sandbox.with(|world, at| world.queue_job(at, deaf, plan).unwrap());
    site.until("the hang", &daemon, |world| world.fault_hits() == 1);

    for _ in 0..2 {
        site.sandbox.with(|world, at| {
            for set in others {
                world.queue_job(at, set, plan).unwrap();
            }
        });
        site.until("the others' jobs", &daemon, |world| {
            let ended = |set| world.ledger().pools().get(set).is_some_and(|pool| pool.running + pool.waiting == 0);
            others.iter().all(ended)
        });
    }

    let began = Instant::now();
    assert_eq!(daemon.stop(), 0);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

fn a_stop_does_not_wait_for_a_hung_call(shell: Shell) {
    let calls = ["registration_token", "create_session", "delete_session", "DescribeAutoScalingGroups"];
    std::thread::scope(|scope| {
        for call in calls {
            scope.spawn(move || stops_in_spite_of_a_hung(shell, call));
        }
    });
}

fn stops_in_spite_of_a_hung(shell: Shell, call: &str) {
    let site = site(shell, 1);
    site.inject(call, 1000, &FaultAction::Hang);
    let mut daemon = site.daemon();
    if call == "delete_session" {
        site.until_listened_to(&daemon);
    } else {
        site.until("the hang", &daemon, |world| world.fault_hits() > 0);
    }

    let began = Instant::now();
    daemon.signal(Signal::TERM);

    assert_eq!(daemon.wait().code(), Some(0), "{call}");
    assert!(began.elapsed() < Duration::from_secs(12), "{call}: {:?}", began.elapsed());
}

fn evicted_sessions_are_replaced(shell: Shell) {
    let site = site(shell, 2);
    let daemon = site.listening_daemon();
    for _ in 0..2 {
        let sessions: BTreeMap<_, _> = site.state().sets.into_iter().map(|set| (set.key, set.sessions)).collect();
        site.sandbox.with(|world, at| {
            for set in &site.sets {
                assert!(world.end_session(at, set));
            }
        });
        site.until("a new session for each set", &daemon, |world| {
            let sets = &site.sets;
            let renewed = |set| world.github_model().set(set).is_some_and(|state| state.sessions > sessions[set]);
            sets.iter().all(renewed) && world.is_listened_to(sets)
        });
    }
    site.queue(2);
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
}
