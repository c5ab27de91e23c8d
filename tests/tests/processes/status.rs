//! What the daemon tells of itself, and what a dry run tells.

use poolkeeper_core::time::Duration;
use poolkeeper_simulator::github::JobResult;
use poolkeeper_simulator::workload::JobPlan;
use poolkeeper_simulator::world::FaultAction;
use poolkeeper_tests::daemon::sum_of;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, status};
use poolkeeper_tests::wait::{LONG, until};

poolkeeper_tests::on_both_shells!(
    readiness_follows_what_the_daemon_hears,
    the_pools_are_told_page_by_page,
    metrics_carry_the_names_that_people_graph_and_true_counts,
);

fn readiness_follows_what_the_daemon_hears(shell: Shell) {
    let site = Plan { shell, ..Plan::new(2) }.build();
    site.inject("DescribeAutoScalingGroups", 1000, &status(403, "AccessDenied", &[]));
    let daemon = site.daemon();

    assert_eq!(daemon.get("/healthz").status, 200);
    site.until("a denied listing", &daemon, |world| world.fault_hits() > 0);
    let deaf = daemon.get("/readyz");
    assert_eq!((deaf.status, deaf.body.contains("listing")), (503, true), "{}", deaf.body);

    site.sandbox.with(|world, _| world.heal());
    site.until_listened_to(&daemon);
    let ready = || daemon.try_get("/readyz").filter(|page| page.status == 200);
    let ready = until("readiness", LONG, ready, || daemon.log());
    assert!(ready.body.contains("2 of 2 pools hear GitHub"), "{}", ready.body);
    assert_eq!(daemon.stop(), 0);
}

fn the_pools_are_told_page_by_page(shell: Shell) {
    let site = Plan { shell, ..Plan::new(3) }.build();
    let daemon = site.listening_daemon();
    site.queue(1);
    site.until_jobs_end(&daemon);

    let mut groups = Vec::new();
    let mut path = "/api/pools?limit=1".to_owned();
    while groups.len() <= site.sets.len() {
        let page = daemon.get(&path).json();
        let pools = page["pools"].as_array().unwrap();
        assert_eq!(pools.len(), 1, "{page}");
        let pool = &pools[0];
        assert_eq!((pool["verdict"].as_str(), pool["session"].as_str()), (Some("driven"), Some("open")), "{pool}");
        assert!(pool["scale_set_id"].as_u64().is_some() && pool["polls"].as_u64() >= Some(1), "{pool}");
        groups.push(pool["group"].as_str().unwrap().to_owned());
        match page["next"].as_u64() {
            Some(next) => path = format!("/api/pools?limit=1&after={next}"),
            None => break,
        }
    }
    groups.sort();
    let mut expected: Vec<_> = site.state().groups.into_iter().map(|group| group.name).collect();
    expected.sort();
    assert_eq!(groups, expected);
    assert_eq!(daemon.get("/api/pools?color=red").status, 400);
    assert_eq!(daemon.get("/nowhere").status, 404);
    assert_eq!(daemon.stop(), 0);
}

fn metrics_carry_the_names_that_people_graph_and_true_counts(shell: Shell) {
    let site = Plan { shell, ..Plan::new(2) }.build();
    let daemon = site.listening_daemon();
    site.queue(2);
    site.until_jobs_end(&daemon);
    site.until_acknowledged(&daemon);

    let acknowledged = site.totals().calls_of("github", "acknowledge").to_string();
    let told = || {
        let page = daemon.try_get("/metrics")?.body;
        let labels = ["call=\"acknowledge\"", "outcome=\"204\""];
        let counted = sum_of(&page, "poolkeeper_github_calls_total", &labels).to_string();
        (sum_of(&page, "gha_completed_jobs_total", &[]) >= 4.0 && counted == acknowledged).then_some(page)
    };
    let metrics = until("four completed jobs and every acknowledge", LONG, told, || daemon.log());
    for name in [
        "gha_assigned_jobs",
        "gha_running_jobs",
        "gha_registered_runners",
        "gha_busy_runners",
        "gha_min_runners",
        "gha_max_runners",
        "gha_desired_runners",
        "gha_idle_runners",
        "gha_started_jobs_total",
        "gha_completed_jobs_total",
        "gha_job_startup_duration_seconds_count",
        "gha_job_execution_duration_seconds_count",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} in {metrics}");
    }
    assert_eq!(sum_of(&metrics, "gha_started_jobs_total", &[]), 4.0);
    assert_eq!(sum_of(&metrics, "gha_max_runners", &["name=\"acme-pool-1\"", "namespace=\"sandbox\""]), 20.0);
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_dry_run_prints_one_plan_and_writes_nothing() {
    let mut plan = Plan::new(3);
    plan.groups[2].tags.retain(|tag| tag.key != "runs-on-org");
    plan.sets.truncate(2);
    let site = plan.build();

    let before = site.run(&["run", "--dry-run"]);
    let text = String::from_utf8_lossy(&before.stdout).into_owned();
    assert_eq!(before.status.code(), Some(0), "{}", String::from_utf8_lossy(&before.stderr));
    assert!(text.contains("ci-acme-pool-1: driven, scale set acme-pool-1 to be created, desired 0 now"), "{text}");
    assert!(text.contains("ci-globex-pool-3: refused: it has no tag runs-on-org"), "{text}");
    assert!(text.contains("3 groups; nothing was changed."), "{text}");
    assert!(site.state().sets.is_empty());
    let writes = ["create_scale_set", "create_session", "poll"];
    assert!(writes.iter().all(|call| site.totals().calls_of("github", call) == 0), "{:?}", site.totals());
    assert_eq!(site.totals().capacity_writes, 0);
    assert!(!site.path("state").exists() && !site.path("journal").exists());

    assert_eq!(site.listening_daemon().stop(), 0);
    let after = site.run(&["run", "--dry-run"]);
    let text = String::from_utf8_lossy(&after.stdout).into_owned();
    assert!(text.contains("scale set acme-pool-1 exists (id "), "{text}");
}

#[test]
fn a_scale_set_is_looked_up_through_a_connection() {
    let site = Plan { app: true, ..Plan::new(1) }.build();
    assert_eq!(site.listening_daemon().stop(), 0);
    site.inject("scale_set", 1, &FaultAction::Bom);

    let found = site.run(&["scale-set", "get", "acme-pool-1", "--org", "acme", "--json"]);

    let set: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(set["name"], "acme-pool-1");
    assert_eq!(site.run(&["scale-set", "get", "nothing", "--org", "acme"]).status.code(), Some(1));
}

#[test]
fn runners_are_listed_and_one_at_work_is_not_removed() {
    let site = Plan::new(1).build();
    let daemon = site.listening_daemon();
    let plan = JobPlan { duration: Duration::from_secs(3600), result: JobResult::Succeeded, cancel: None };
    site.queue_plan(1, plan);
    site.until("a job that runs", &daemon, |world| world.state().sets.iter().any(|set| set.running == 1));

    let listed = site.run(&["runner", "list", "--org", "acme", "--json"]);
    let runner: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&runner["status"], &runner["busy"]), (&"online".into(), &true.into()));

    let name = runner["name"].as_str().unwrap();
    let refused = site.run(&["runner", "remove", name, "--org", "acme"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!((refused.status.code(), told.contains("job_still_running")), (Some(1), true), "{told}");
    let found = site.run(&["runner", "get", name, "--org", "acme"]);
    assert!(String::from_utf8_lossy(&found.stdout).contains("busy"));
    assert_eq!(site.run(&["runner", "get", "nothing", "--org", "acme"]).status.code(), Some(1));
    assert_eq!(daemon.stop(), 0);
}
