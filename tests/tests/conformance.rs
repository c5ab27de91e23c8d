//! What both daemons do alike, beyond what other tests ask of each: over TLS, with managed runners, and write for write.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use poolkeeper_core::aws::{AwsCall, InstanceCall};
use poolkeeper_core::event::Effect;
use poolkeeper_core::github::request::{CallKind, Method};
use poolkeeper_core::recording::Step;
use poolkeeper_shell::journal;
use poolkeeper_simulator::sandbox::scenery::Scenery;
use poolkeeper_tests::daemon::Daemon;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, Site};

poolkeeper_tests::on_both_shells!(
    jobs_run_over_tls_with_few_streams_a_connection,
    managed_instances_get_their_configs_with_warm_pools_and_hooks,
    a_session_of_somebody_else_is_waited_for,
);

const POOLS: usize = 6;
/// The most connections for calls that are no polls.
const OTHER_CONNECTIONS_MAX: usize = 8;

fn run_jobs(site: &Site, jobs: usize) -> Daemon {
    let daemon = site.listening_daemon();
    site.queue(jobs);
    site.until_jobs_end(&daemon);
    site.until_acknowledged(&daemon);
    daemon
}

fn until_empty(site: &Site, daemon: &Daemon) {
    site.until("empty groups", daemon, |world| {
        world.state().groups.iter().all(|group| group.desired == 0 && group.in_service == 0)
    });
}

fn jobs_run_over_tls_with_few_streams_a_connection(shell: Shell) {
    let site = Plan { shell, tls: true, app: true, max_concurrent_streams: 4, ..Plan::new(POOLS) }.build();

    let daemon = run_jobs(&site, 2);

    until_empty(&site, &daemon);
    site.until_listened_to(&daemon);
    let connections = daemon.connections_to(site.github_port());
    assert!((POOLS..=POOLS + OTHER_CONNECTIONS_MAX).contains(&connections), "{connections}");
    assert_eq!(daemon.stop(), 0);
}

fn managed_instances_get_their_configs_with_warm_pools_and_hooks(shell: Shell) {
    let Scenery { groups, sets } = Scenery::new(2).prepared();
    let mut plan = Plan { shell, groups, sets, ..Plan::new(2) };
    plan.runners.managed = true;
    let site = plan.build();

    let daemon = run_jobs(&site, 2);

    let totals = site.totals();
    for call in ["PutParameter", "DescribeWarmPool", "CompleteLifecycleAction"] {
        assert!(totals.calls_of("aws", call) > 0, "{call}: {:?}", totals.calls);
    }
    assert_eq!(totals.killed, 0);
    assert_eq!(daemon.stop(), 0);
}

fn a_session_of_somebody_else_is_waited_for(shell: Shell) {
    let site = Plan { shell, ..Plan::new(1) }.build();
    let other = site.listening_daemon();
    let mut command = site.command(&["run"]);
    command.env("POOLKEEPER_STATE_DIR", site.path("other-state")).env("POOLKEEPER_OWNER", "host-b");
    command.env("POOLKEEPER_JOURNAL__DIR", site.path("other-journal"));
    let daemon = Daemon::spawn(command, &site.path("other-log"));
    site.until("a refused session", &daemon, |world| {
        world.ledger().totals_ref().calls_of("github", "create_session") > 1
    });

    assert_eq!(other.stop(), 0);

    site.until_listened_to(&daemon);
    site.queue(1);
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
}

/// What a pool's daemon wrote, in order: to GitHub, and to AWS.
#[derive(Debug, Default, PartialEq, Eq)]
struct Writes {
    github: Vec<CallKind>,
    aws: Vec<String>,
}

fn writes(site: &Site) -> Writes {
    let mut writes = Writes::default();
    for file in site.journals() {
        for line in journal::read(&file).unwrap().map(Result::unwrap) {
            let Ok(step) = serde_json::from_str::<Step>(&line.text) else { continue };
            for effect in step.effects.unwrap_or_default() {
                writes.absorb(&effect);
            }
        }
    }
    writes
}

impl Writes {
    fn absorb(&mut self, effect: &Effect) {
        if let Effect::GitHub { call, request, .. } = effect
            && request.method != Method::Get
        {
            self.github.push(*call);
        }
        if let Effect::Aws { call, .. } = effect
            && !matches!(
                call,
                AwsCall::DescribeGroups { .. } | AwsCall::Instances { call: InstanceCall::WarmMembers { .. }, .. }
            )
        {
            self.aws.push(serde_json::to_string(call).unwrap());
        }
    }
}

/// Serves one job at a time, each message long after the one before.
fn write_all(shell: Shell, tls: bool) -> Writes {
    let site = Plan { shell, tls, ..Plan::new(1) }.build();
    let daemon = site.listening_daemon();
    for _ in 0..3 {
        site.queue(1);
        site.until_jobs_end(&daemon);
        site.until_acknowledged(&daemon);
        until_empty(&site, &daemon);
        site.until_listened_to(&daemon);
    }
    assert_eq!(daemon.stop(), 0);
    writes(&site)
}

#[test]
fn one_message_at_a_time_both_write_the_same() {
    for tls in [false, true] {
        let [tokio, blocking] = Shell::ALL.map(|shell| write_all(shell, tls));

        assert!(tokio.github.contains(&CallKind::Acknowledge) && tokio.aws.len() >= 3, "{tokio:?}");
        assert_eq!(tokio, blocking, "tls: {tls}");
    }
}

#[test]
fn the_blocking_daemon_runs_no_runtime_and_a_thread_for_each_listener() {
    let site = Plan { shell: Shell::Blocking, tls: true, ..Plan::new(POOLS) }.build();
    let daemon = run_jobs(&site, 1);
    site.until_listened_to(&daemon);

    let threads = threads(&daemon);

    let known = [
        "poolkeeper-bloc",
        "aws",
        "dns",
        "github",
        "journal",
        "listener",
        "signals",
        "state",
        "status",
        "status-accept",
        "tls",
    ];
    let strange: BTreeSet<_> = threads.keys().filter(|name| !known.contains(&name.as_str())).collect();
    assert!(strange.is_empty(), "{threads:?}");
    assert_eq!(threads["listener"], POOLS, "{threads:?}");
    assert!(threads["github"] <= OTHER_CONNECTIONS_MAX, "{threads:?}");
    assert_eq!(daemon.stop(), 0);
}

/// How many threads of each name there are.
fn threads(daemon: &Daemon) -> BTreeMap<String, usize> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
        let name = fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
        *threads.entry(name.trim().to_owned()).or_default() += 1;
    }
    threads
}
