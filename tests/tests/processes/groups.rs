//! Groups that cannot be served are refused by name with the mend, and the others run.

use poolkeeper_core::aws::Tag;
use poolkeeper_simulator::aws::GroupSpec;
use poolkeeper_tests::daemon::Daemon;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::Plan;
use poolkeeper_tests::wait::{LONG, until};
use serde_json::Value;

poolkeeper_tests::on_both_shells!(
    a_group_that_cannot_be_served_is_refused_with_the_mend_and_the_others_run,
    an_unprotected_group_is_scaled_out_and_never_in,
);

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.into(), value: value.into() }
}

/// A group of our stack with other tags, and otherwise as it should be.
fn group(name: &str, tags: &[(&str, &str)]) -> GroupSpec {
    let ours = Plan::new(1).groups.remove(0);
    let stack = ours.tags.iter().find(|tag| tag.key == "runs-on-stack").unwrap().clone();
    let tags = std::iter::once(stack).chain(tags.iter().map(|(k, v)| tag(k, v))).collect();
    GroupSpec { name: name.into(), tags, ..ours }
}

/// Waits until the group is in `/api/pools`, and returns what is told of it.
fn pools(daemon: &Daemon, count: usize) -> Vec<Value> {
    let look = || {
        let page = daemon.try_get("/api/pools")?.json();
        let pools = page["pools"].as_array()?.clone();
        (pools.len() == count).then_some(pools)
    };
    until("all groups in /api/pools", LONG, look, || daemon.log())
}

fn a_group_that_cannot_be_served_is_refused_with_the_mend_and_the_others_run(shell: Shell) {
    let mut plan = Plan { shell, ..Plan::new(2) };
    let in_order = |name: &str, pool: &str| group(name, &[("runs-on-org", "acme"), ("runs-on-pool", pool)]);
    let refused: [(GroupSpec, &str, &str); 8] = [
        (group("no-org", &[("runs-on-pool", "a")]), "no tag runs-on-org", "tag it with the organization"),
        (group("no-pool", &[("runs-on-org", "acme")]), "no tag runs-on-pool", "add the tag"),
        (in_order("bad-name", "a b/c"), "runs-on-pool", "letters"),
        (
            group("stranger", &[("runs-on-org", "stranger"), ("runs-on-pool", "a")]),
            "no connection may serve \"stranger\"",
            "add it to orgs",
        ),
        (
            group("bad-size", &[("runs-on-org", "acme"), ("runs-on-pool", "s"), ("runs-on-size-max", "lots")]),
            "tag runs-on-size-max is \"lots\"",
            "write a whole number",
        ),
        (GroupSpec { weighted: true, ..in_order("weighted", "w") }, "weights", "remove the weights"),
        (
            GroupSpec {
                warm_pool: Some(poolkeeper_core::aws::WarmPool { reuse_on_scale_in: true }),
                ..in_order("reuse", "r")
            },
            "ReuseOnScaleIn",
            "set InstanceReusePolicy.ReuseOnScaleIn to false",
        ),
        (in_order("zz-second", "pool-1"), "already belongs to group \"ci-acme-pool-1\"", "another runs-on-pool"),
    ];
    plan.groups.extend(refused.iter().map(|(group, _, _)| group.clone()));
    let count = plan.groups.len();
    let site = plan.build();
    let daemon = site.listening_daemon();

    let pools = pools(&daemon, count);

    for (group, problem, mend) in &refused {
        let told = pools.iter().find(|pool| pool["group"] == group.name.as_str());
        let verdict = &told.unwrap_or_else(|| panic!("{} is told of", group.name))["verdict"]["refused"];
        let text = |key: &str| verdict[key].as_str().unwrap_or_default();
        assert!(text("problem").contains(problem), "{}: {problem:?} in {verdict}", group.name);
        assert!(text("mend").contains(mend), "{}: {mend:?} in {verdict}", group.name);
        assert!(daemon.log().contains(group.name.as_str()), "{} is in the log", group.name);
    }
    site.queue(2);
    site.until_jobs_end(&daemon);
    let state = site.state();
    assert_eq!(state.sets.len(), site.sets.len(), "no scale set for a refused group: {:?}", state.sets);
    for (group, _, _) in &refused {
        let group = state.groups.iter().find(|g| g.name == group.name).unwrap();
        assert_eq!(group.desired, 0, "{} was left alone", group.name);
    }
    let ready = daemon.get("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert_eq!(daemon.stop(), 0);
}

fn an_unprotected_group_is_scaled_out_and_never_in(shell: Shell) {
    let mut plan = Plan { shell, ..Plan::new(2) };
    plan.groups[0].new_instances_protected = false;
    let unprotected = plan.groups[0].name.clone();
    let site = plan.build();
    let daemon = site.listening_daemon();

    let verdicts = pools(&daemon, 2);
    let told = verdicts.iter().find(|pool| pool["group"] == unprotected.as_str()).unwrap();
    let verdict = &told["verdict"]["scale_out_only"];
    assert!(verdict["mend"].as_str().unwrap().contains("NewInstancesProtectedFromScaleIn"), "{told}");

    site.queue(2);
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.metric("poolkeeper_capacity_changes_total", &[&unprotected, "direction=\"in\""]), 0.0);
    assert!(daemon.metric("poolkeeper_capacity_changes_total", &[&unprotected]) >= 1.0);
    assert_eq!(daemon.stop(), 0);
}
