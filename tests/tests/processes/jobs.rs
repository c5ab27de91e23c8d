//! The main job: tagged groups in, capacity out, jobs run to their end.

use poolkeeper_tests::daemon::Daemon;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, Site};

poolkeeper_tests::on_both_shells!(
    groups_follow_demand_up_and_down_with_a_personal_access_token,
    groups_follow_demand_with_a_github_app,
);

const POOLS: usize = 6;
const JOBS_A_POOL: usize = 3;

/// Runs jobs through every pool, and waits until the groups are empty again.
fn run_jobs(site: &Site) -> Daemon {
    let daemon = site.listening_daemon();
    site.queue(JOBS_A_POOL);
    site.until_jobs_end(&daemon);
    site.until_acknowledged(&daemon);
    site.until("empty groups", &daemon, |world| {
        world.state().groups.iter().all(|group| group.desired == 0 && group.in_service == 0)
    });
    daemon
}

fn groups_follow_demand_up_and_down_with_a_personal_access_token(shell: Shell) {
    let site = Plan { shell, ..Plan::new(POOLS) }.build();
    let daemon = run_jobs(&site);

    let totals = site.totals();
    assert_eq!(totals.ended_well, u64::try_from(POOLS * JOBS_A_POOL).unwrap());
    assert_eq!(totals.calls_of("github", "access_token"), 0);
    assert!(totals.capacity_writes >= u64::try_from(POOLS).unwrap());
    let capacity_changes = |direction| daemon.metric("poolkeeper_capacity_changes_total", &[direction]);
    assert!(capacity_changes("direction=\"out\"") >= 1.0);
    assert_eq!(daemon.stop(), 0);
}

fn groups_follow_demand_with_a_github_app(shell: Shell) {
    let site = Plan { shell, app: true, ..Plan::new(POOLS) }.build();
    let daemon = run_jobs(&site);

    let totals = site.totals();
    assert_eq!(totals.calls_of("github", "installation"), 3, "one an organization");
    assert_eq!(totals.calls_of("github", "access_token"), 3);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn over_tls_polls_take_a_connection_each_and_what_is_not_of_the_queue_shares_one() {
    let site = Plan { tls: true, app: true, max_concurrent_streams: 4, ..Plan::new(POOLS) }.build();
    let daemon = run_jobs(&site);

    site.until_listened_to(&daemon);
    let connections = daemon.connections_to(site.github_port());
    assert_eq!(
        connections,
        POOLS + 1,
        "a connection for each poll and its acknowledgements by HTTP/1.1, and one by HTTP/2"
    );
    assert_eq!(daemon.stop(), 0);
}
