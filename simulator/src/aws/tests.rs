//! The model's behaviour over its typed calls.

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, Group, GroupQuery, LifecycleState, Tag};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant, Now};

use super::action::{Action, Describe, Filter, GroupChange, GroupTag, Outcome};
use super::*;

fn at(ms: u64) -> Now {
    Now { mono: Instant::from_millis(ms), unix_ms: 1_767_225_600_000 + ms }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.into(), value: value.into() }
}

fn spec(name: &str, min_size: u32, max_size: u32) -> GroupSpec {
    GroupSpec {
        name: name.into(),
        min_size,
        max_size,
        new_instances_protected: true,
        tags: vec![tag("runs-on-stack", "prod")],
        ..GroupSpec::default()
    }
}

fn config() -> AwsConfig {
    AwsConfig {
        boot: (Duration::from_secs(1), Duration::from_secs(3)),
        shutdown: Duration::from_secs(1),
        ..AwsConfig::default()
    }
}

fn aws_with(specs: impl IntoIterator<Item = GroupSpec>) -> Aws {
    let mut aws = Aws::new(config(), 1);
    for spec in specs {
        aws.create_group(at(0), spec).unwrap();
    }
    aws
}

fn states(group: &Group) -> Vec<LifecycleState> {
    group.instances.iter().map(|i| i.state.clone()).collect()
}

fn set(group: &str, desired: u32) -> AwsCall {
    AwsCall::SetDesiredCapacity { group: group.into(), desired }
}

fn list(aws: &mut Aws, now: Now, next_token: Option<String>) -> (Vec<Group>, Option<String>) {
    let query = GroupQuery::Tagged { key: "runs-on-stack".into(), value: "prod".into() };
    match aws.call(now, &AwsCall::DescribeGroups { query, next_token }).unwrap() {
        AwsReply::Groups { groups, next_token } => (groups, next_token),
        AwsReply::Done | AwsReply::WarmMembers { .. } => panic!("a describe answers with groups"),
    }
}

#[test]
fn instances_boot_within_the_range_and_come_protected() {
    let mut aws = aws_with([spec("a", 0, 5)]);
    aws.call(at(100), &set("a", 3)).unwrap();
    assert_eq!(states(aws.group("a").unwrap()), vec![LifecycleState::Pending; 3]);
    assert_eq!(aws.advance(at(100)), [AwsEvent::DesiredCapacitySet { group: "a".into(), from: 0, desired: 3 }]);
    assert!(aws.next_wakeup().unwrap() >= Instant::from_millis(1100));
    assert!(aws.advance(at(1099)).is_empty());

    let up = aws.advance(at(3100));

    assert_eq!(up.len(), 3);
    assert!(up.iter().all(|event| matches!(event, AwsEvent::InstanceInService { .. })));
    let group = aws.group("a").unwrap();
    assert!(group.instances.iter().all(|i| i.protected && i.id.len() == 19));
    assert_eq!(aws.next_wakeup(), None);
}

#[test]
fn lowering_desired_kills_no_protected_instance() {
    let mut aws = aws_with([spec("a", 0, 5)]);
    aws.call(at(0), &set("a", 2)).unwrap();
    aws.advance(at(5000));
    aws.call(at(5000), &set("a", 0)).unwrap();
    assert_eq!(states(aws.group("a").unwrap()), vec![LifecycleState::InService; 2]);

    let id = aws.group("a").unwrap().instances[0].id.clone();
    aws.set_protection(at(6000), "a", std::slice::from_ref(&id), false).unwrap();

    let events = aws.advance(at(8000));
    let of_id = |event: &AwsEvent| match event {
        AwsEvent::InstanceTerminating { id: i, .. } | AwsEvent::InstanceGone { id: i, .. } => *i == id,
        AwsEvent::InstanceInService { .. } | AwsEvent::InstanceShown { .. } => false,
        AwsEvent::DesiredCapacitySet { .. } => true,
    };
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(of_id), "{events:?}");
    assert_eq!(aws.group("a").unwrap().instances.len(), 1);
}

#[test]
fn unprotected_instances_are_fair_game() {
    let mut aws = aws_with([GroupSpec { new_instances_protected: false, ..spec("a", 0, 5) }]);
    aws.call(at(0), &set("a", 3)).unwrap();
    aws.advance(at(5000));
    aws.call(at(5000), &set("a", 1)).unwrap();
    aws.advance(at(7000));
    assert_eq!(states(aws.group("a").unwrap()), [LifecycleState::InService]);
}

#[test]
fn termination_with_decrement_shrinks_and_without_replaces() {
    let mut aws = aws_with([spec("a", 1, 5)]);
    aws.call(at(0), &set("a", 2)).unwrap();
    aws.advance(at(5000));
    let ids: Vec<ShortText> = aws.group("a").unwrap().instances.iter().map(|i| i.id.clone()).collect();

    assert_eq!(aws.terminate_instance(at(5000), &ids[0], true).unwrap(), "a");
    assert_eq!(aws.group("a").unwrap().desired, 1);
    let refused = aws.terminate_instance(at(5000), &ids[1], true).unwrap_err();
    assert_eq!(refused.code, "ValidationError");
    assert!(refused.message.contains("desiredSize equals minSize (1)"));
    aws.terminate_instance(at(5000), &ids[1], false).unwrap();

    aws.advance(at(10_000));
    let group = aws.group("a").unwrap();
    assert_eq!((group.desired, states(group)), (1, vec![LifecycleState::InService]));
    assert!(!ids.contains(&group.instances[0].id));
    let unknown = aws.terminate_instance(at(10_000), &ids[0], true).unwrap_err();
    assert!(unknown.message.contains("No managed instance found"));
}

#[test]
fn terminating_twice_decrements_once() {
    let mut aws = aws_with([spec("a", 0, 5)]);
    aws.call(at(0), &set("a", 2)).unwrap();
    let id = aws.group("a").unwrap().instances[0].id.clone();
    aws.terminate_instance(at(1), &id, true).unwrap();
    aws.terminate_instance(at(2), &id, true).unwrap();
    assert_eq!(aws.group("a").unwrap().desired, 1);
}

#[test]
fn bounds_hold_and_move_desired_with_them() {
    let mut aws = aws_with([spec("a", 1, 3)]);
    let above = aws.call(at(0), &set("a", 4)).unwrap_err();
    let below = aws.call(at(0), &set("a", 0)).unwrap_err();
    assert!(matches!(above, AwsError::Validation { message } if message.contains("above max value 3")));
    assert!(matches!(below, AwsError::Validation { message } if message.contains("below min value 1")));

    let change = GroupChange { name: "a".into(), min_size: Some(2), ..GroupChange::default() };
    aws.update_group(at(0), &change).unwrap();
    assert_eq!(aws.group("a").unwrap().desired, 2);
    let change = GroupChange { name: "a".into(), min_size: Some(4), ..GroupChange::default() };
    assert!(aws.update_group(at(0), &change).is_err());
}

#[test]
fn suspended_launch_starts_nothing_until_it_resumes() {
    let mut aws = aws_with([spec("a", 0, 5)]);
    aws.suspend(at(0), "a", &["Launch".into()]).unwrap();
    aws.call(at(0), &set("a", 2)).unwrap();
    assert!(aws.group("a").unwrap().instances.is_empty());
    aws.resume(at(1), "a", &[]).unwrap();
    assert_eq!(aws.group("a").unwrap().instances.len(), 2);
}

#[test]
fn without_room_desired_rises_and_instances_come_later() {
    let mut aws = aws_with([spec("a", 0, 5)]);
    aws.set_room(at(0), "a", Some(1));
    aws.call(at(0), &set("a", 3)).unwrap();
    assert_eq!(aws.group("a").unwrap().instances.len(), 1);
    aws.set_room(at(1), "a", None);
    assert_eq!(aws.group("a").unwrap().instances.len(), 3);
}

#[test]
fn a_dead_machine_stays_in_service_until_the_health_check() {
    let mut aws = aws_with([spec("a", 0, 5)]);
    aws.call(at(0), &set("a", 1)).unwrap();
    aws.advance(at(5000));
    let id = aws.group("a").unwrap().instances[0].id.clone();
    aws.fail_instance(at(5000), &id);
    assert!(aws.advance(at(64_999)).is_empty());
    assert_eq!(states(aws.group("a").unwrap()), [LifecycleState::InService]);
    aws.advance(at(70_000));
    let group = aws.group("a").unwrap();
    assert_eq!(group.desired, 1);
    assert_ne!(group.instances[0].id, id);
}

#[test]
fn listings_are_paged_by_tag() {
    let other = |n| GroupSpec { tags: vec![tag("runs-on-stack", "dev")], ..spec(&format!("b{n}"), 0, 1) };
    let ours = (0..250).map(|n| spec(&format!("a{n:03}"), 0, 1));
    let mut aws = aws_with(ours.chain((0..3).map(other)));
    let mut sizes = Vec::new();
    let mut token = None;
    loop {
        let (groups, next) = list(&mut aws, at(0), token);
        assert!(groups.iter().all(|g| g.name.starts_with('a')));
        sizes.push(groups.len());
        token = next;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn filters_join_and_follow_changes_of_tags() {
    let mut aws = aws_with((0..4).map(|n| spec(&format!("g{n}"), 0, 1)));
    let on = |group: &str, key: &str, value: &str| GroupTag { group: group.into(), tag: tag(key, value) };
    aws.set_tags(at(0), &[on("g1", "team", "red"), on("g2", "team", "blue"), on("g3", "runs-on-stack", "dev")])
        .unwrap();
    let mut names = |filters: Vec<Filter>| -> Vec<ShortText> {
        let describe = Describe { filters, ..Describe::default() };
        match aws.act(at(0), Action::Describe(describe)).unwrap() {
            Outcome::Groups { groups, .. } => groups.iter().map(|g| g.name.clone()).collect(),
            Outcome::Done | Outcome::Terminating { .. } | Outcome::WarmMembers { .. } => Vec::new(),
        }
    };
    let stack = |values: &[&str]| Filter::Tag {
        key: "runs-on-stack".into(),
        values: values.iter().map(|v| (*v).into()).collect(),
    };
    assert_eq!(names(vec![stack(&["prod"])]), ["g0", "g1", "g2"]);
    assert_eq!(names(vec![stack(&["prod", "dev"])]), ["g0", "g1", "g2", "g3"]);
    assert_eq!(names(vec![stack(&["prod"]), Filter::TagKey(vec!["team".into()])]), ["g1", "g2"]);
    assert_eq!(names(vec![Filter::TagValue(vec!["blue".into()])]), ["g2"]);
    aws.delete_tags(at(0), &[on("g1", "runs-on-stack", "")]).unwrap();
    assert_eq!(list(&mut aws, at(0), None).0.len(), 2);
}

#[test]
fn describes_lag_behind_writes() {
    let mut aws = Aws::new(AwsConfig { lag: Duration::from_secs(5), ..config() }, 1);
    aws.create_group(at(0), spec("a", 0, 5)).unwrap();
    assert!(list(&mut aws, at(4999), None).0.is_empty());
    assert_eq!(list(&mut aws, at(5000), None).0[0].desired, 0);
    aws.call(at(6000), &set("a", 2)).unwrap();
    assert_eq!(list(&mut aws, at(10_999), None).0[0].desired, 0);
    let seen = list(&mut aws, at(11_000), None).0;
    assert_eq!((seen[0].desired, states(&seen[0])), (2, vec![LifecycleState::Pending; 2]));
    aws.delete_group(at(20_000), "a", true).unwrap();
    assert_eq!(list(&mut aws, at(24_999), None).0.len(), 1);
    assert!(list(&mut aws, at(25_000), None).0.is_empty());
}

#[test]
fn the_account_throttles_and_recovers() {
    let rate = Some(Rate { burst: 2, per_second: 1 });
    let mut aws = Aws::new(AwsConfig { rate, ..config() }, 1);
    aws.create_group(at(0), spec("a", 0, 5)).unwrap();
    aws.call(at(0), &set("a", 1)).unwrap();
    aws.call(at(0), &set("a", 2)).unwrap();
    assert_eq!(aws.call(at(999), &set("a", 3)), Err(AwsError::Throttled));
    aws.call(at(1000), &set("a", 3)).unwrap();
}

#[test]
fn a_group_with_instances_is_deleted_by_force_only() {
    let mut aws = aws_with([spec("a", 0, 5)]);
    aws.call(at(0), &set("a", 1)).unwrap();
    assert_eq!(aws.delete_group(at(1), "a", false).unwrap_err().code, "ResourceInUse");
    aws.delete_group(at(1), "a", true).unwrap();
    assert!(aws.group("a").is_none());
    let events = aws.advance(at(10_000));
    assert!(matches!(events.last(), Some(AwsEvent::InstanceGone { .. })), "{events:?}");
    assert_eq!(aws.next_wakeup(), None);
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = || {
        let mut aws = aws_with([spec("a", 0, 5)]);
        aws.call(at(0), &set("a", 4)).unwrap();
        (aws.advance(at(9000)), aws.group("a").cloned())
    };
    assert_eq!(story(), story());
}
