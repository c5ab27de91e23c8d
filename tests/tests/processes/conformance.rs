//! What both daemons do alike, beyond what other tests ask of each: over TLS, with managed runners, and write for write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

use poolkeeper_core::aws::{AwsCall, InstanceCall};
use poolkeeper_core::event::Effect;
use poolkeeper_core::github::request::{CallKind, Method};
use poolkeeper_core::recording::Step;
use poolkeeper_core::time::Duration as Span;
use poolkeeper_shell::journal;
use poolkeeper_simulator::github::GitHubConfig;
use poolkeeper_simulator::sandbox::MAX_CONCURRENT_STREAMS;
use poolkeeper_simulator::sandbox::scenery::{REGION, Scenery};
use poolkeeper_tests::daemon::Daemon;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, Site, edit};

poolkeeper_tests::on_both_shells!(
    jobs_run_over_tls_with_few_streams_a_connection,
    more_pools_are_served_than_a_connection_has_streams,
    aws_is_reached_over_tls,
    aws_is_reached_through_the_proxy_of_the_environment,
    tokens_that_end_are_renewed,
    no_region_is_a_wrong_config_unless_the_metadata_service_is_silent,
    managed_instances_get_their_configs_with_warm_pools_and_hooks,
    a_session_of_somebody_else_is_waited_for,
);

const POOLS: usize = 6;
/// The most connections for calls that are no polls.
const OTHER_CONNECTIONS_MAX: usize = 8;

/// No daemon makes as many calls to renew its tokens for some seconds, unless it spins.
const TOKEN_CALLS_MAX: u64 = 400;

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

fn more_pools_are_served_than_a_connection_has_streams(shell: Shell) {
    let pools = usize::try_from(MAX_CONCURRENT_STREAMS).unwrap() + 4;
    let site = Plan { shell, tls: true, ..Plan::new(pools) }.build();

    let daemon = run_jobs(&site, 1);

    assert_eq!(daemon.stop(), 0);
}

fn aws_is_reached_over_tls(shell: Shell) {
    let mut plan = Plan { shell, tls: true, aws_tls: true, ..Plan::new(2) };
    plan.runners.managed = true;
    let site = plan.build();

    let daemon = run_jobs(&site, 1);

    assert!(site.sandbox.aws_url.starts_with("https:"), "{}", site.sandbox.aws_url);
    assert!(site.totals().calls_of("aws", "PutParameter") > 0);
    assert_eq!(daemon.stop(), 0);
}

fn aws_is_reached_through_the_proxy_of_the_environment(shell: Shell) {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = Plan { shell, ..Plan::new(1) }.build();
    let mut command = site.command(&["run"]);
    command.env("HTTPS_PROXY", format!("http://{}", proxy.local_addr().unwrap()));
    command.env("POOLKEEPER_AWS__ENDPOINT_URL", "https://aws.test");

    let daemon = Daemon::spawn(command, &site.path("log"));

    let (stream, _) = proxy.accept().unwrap();
    let mut asked = String::new();
    BufReader::new(stream).read_line(&mut asked).unwrap();
    assert_eq!(asked.trim_end(), "CONNECT aws.test:443 HTTP/1.1", "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
}

fn tokens_that_end_are_renewed(shell: Shell) {
    let github =
        GitHubConfig { poll_hold: Span::from_secs(1), queue_token_life: Span::from_secs(2), ..GitHubConfig::default() };
    let site = Plan { shell, github, app: true, ..Plan::new(2) }.build();

    let daemon = run_jobs(&site, 1);

    site.until("renewals", &daemon, |world| world.ledger().totals_ref().calls_of("github", "refresh_session") >= 2);
    site.queue(1);
    site.until_jobs_end(&daemon);
    site.until_acknowledged(&daemon);
    assert!(site.totals().calls_to("github") < TOKEN_CALLS_MAX, "{:?}", site.totals().calls);
    assert_eq!(daemon.stop(), 0);
}

fn no_region_is_a_wrong_config_unless_the_metadata_service_is_silent(shell: Shell) {
    let site = Plan { shell, ..Plan::new(1) }.build();
    edit(&site.config, &format!("region = \"{REGION}\"\n"), "");
    let exit_code = |variable: (&str, &str)| {
        let mut command = site.command(&["run"]);
        for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
            command.env_remove(name);
        }
        command.env("AWS_CONFIG_FILE", "/dev/null").env(variable.0, variable.1);
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("aws.region: no region is configured") && told.contains("set region in [aws]"), "{told}");
        output.status.code()
    };

    assert_eq!(exit_code(("AWS_EC2_METADATA_DISABLED", "true")), Some(2));
    assert_eq!(exit_code(("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")), Some(1));
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

/// What a daemon wrote, in order: for each scale set to GitHub, for each group to AWS; under no name what is for no pool.
#[derive(Debug, Default, PartialEq, Eq)]
struct Writes(BTreeMap<String, Vec<String>>);

fn writes(site: &Site) -> Writes {
    let names = site.state().sets.into_iter().map(|set| (set.id.to_string(), set.key.to_string())).collect();
    let mut writes = Writes::default();
    for file in site.journals() {
        for line in journal::read(&file).unwrap().map(Result::unwrap) {
            let Ok(step) = serde_json::from_str::<Step>(&line.text) else { continue };
            for effect in step.effects.unwrap_or_default() {
                writes.absorb(&effect, &names);
            }
        }
    }
    // Organizations are asked side by side.
    writes.0.entry(String::new()).or_default().sort_unstable();
    writes
}

impl Writes {
    /// `names` are those of the sets, by their ids.
    fn absorb(&mut self, effect: &Effect, names: &BTreeMap<String, String>) {
        if let Effect::GitHub { call, request, .. } = effect
            && request.method != Method::Get
        {
            let name = names.get(set_id(&request.url)).cloned().unwrap_or_default();
            self.0.entry(name).or_default().push(call.as_str().to_owned());
        }
        if let Effect::Aws { call, .. } = effect
            && let Some(group) = changed_group(call)
        {
            self.0.entry(group.to_owned()).or_default().push(serde_json::to_string(call).unwrap());
        }
    }

    fn to(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

fn changed_group(call: &AwsCall) -> Option<&str> {
    match call {
        AwsCall::DescribeGroups { .. } | AwsCall::Instances { call: InstanceCall::WarmMembers { .. }, .. } => None,
        AwsCall::SetDesiredCapacity { group, .. } | AwsCall::Instances { group, .. } => Some(group),
    }
}

/// The id of the scale set that a URL is about; empty when it is about none.
fn set_id(url: &str) -> &str {
    let after = ["/runnerscalesets/", "/queue/"].iter().find_map(|before| Some(url.split_once(before)?.1));
    after.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default()
}

/// Serves one job at a time in each pool, each message long after the one before.
fn write_all(shell: Shell, tls: bool, pools: usize) -> Writes {
    let site = Plan { shell, tls, ..Plan::new(pools) }.build();
    let daemon = site.listening_daemon();
    for _ in 0..3 {
        site.queue(1);
        site.until_jobs_end(&daemon);
        site.until_acknowledged(&daemon);
        until_empty(&site, &daemon);
        site.until_listened_to(&daemon);
    }
    assert_eq!(daemon.stop(), 0);
    let writes = writes(&site);
    let acknowledge = CallKind::Acknowledge.as_str();
    for set in &site.sets {
        assert!(writes.to(&set.to_string()).iter().any(|call| call == acknowledge), "{set}: {writes:?}");
    }
    for group in site.state().groups {
        assert!(writes.to(&group.name).len() >= 3, "{}: {writes:?}", group.name);
    }
    writes
}

#[test]
fn one_message_at_a_time_both_write_the_same_for_each_pool() {
    for (tls, pools) in [(false, 1), (true, 5)] {
        let [tokio, blocking] = Shell::ALL.map(|shell| write_all(shell, tls, pools));

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
