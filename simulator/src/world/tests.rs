//! The world without a daemon: what it counts, and how it breaks.

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, GroupQuery, Tag};
use poolkeeper_core::time::Duration;

use super::*;
use crate::github::JobResult;
use crate::workload::Cancel;

fn at(ms: u64) -> WorldNow {
    WorldNow::virtual_time(Now { mono: Instant::from_millis(ms), unix_ms: 1_777_629_600_000 + ms })
}

fn key() -> SetKey {
    SetKey::new("acme", "acme-linux")
}

/// A world with one group, and a scale set that is made by hand.
fn world() -> World {
    let tag = |key: &str, value: &str| Tag { key: key.into(), value: value.into() };
    let group = GroupSpec {
        name: "asg".into(),
        max_size: 5,
        new_instances_protected: true,
        tags: vec![tag("runs-on-org", "acme"), tag("runs-on-pool", "linux")],
        ..GroupSpec::default()
    };
    let mut world = World::new(WorldConfig { groups: vec![group], ..WorldConfig::default() }, 1);
    let token = rest(&mut world, "orgs/acme/actions/runners/registration-token", "Bearer", None);
    let body = r#"{"url":"http://x/acme","runner_event":"register"}"#;
    let connection = rest(&mut world, "actions/runner-registration", "RemoteAuth", Some((&token.1, body)));
    let url = connection.0.replace("http://x", "");
    let target = format!("{url}_apis/runtime/runnerscalesets?api-version=6.0-preview");
    let body = r#"{"name":"acme-linux","runnerGroupId":1}"#;
    let made = reply(world.github(at(0), request(&target, "Bearer", &connection.1, body)));
    assert_eq!(made.status, 200);
    world
}

fn request(target: &str, scheme: &str, secret: &str, body: &str) -> HttpRequest {
    HttpRequest {
        method: "POST".into(),
        origin: "http://x".to_owned(),
        target: target.to_owned(),
        headers: vec![("authorization".into(), format!("{scheme} {secret}").into())],
        body: body.as_bytes().to_vec(),
    }
}

/// A REST call; the `url` and `token` of its reply.
fn rest(world: &mut World, path: &str, scheme: &str, with: Option<(&str, &str)>) -> (String, String) {
    let pat = world.github_model().config().pat.clone().unwrap();
    let (secret, body) = with.unwrap_or((&pat, ""));
    let request = request(&format!("/api/v3/{path}"), scheme, secret, body);
    let reply = reply(world.github(at(0), request));
    let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    (text("url"), text("token"))
}

fn reply(served: Served) -> HttpResponse {
    match served {
        Served::Reply(reply) => reply,
        other @ (Served::Held(_) | Served::Close | Served::CutShort(_)) => {
            panic!("expected a reply: {other:?}")
        }
    }
}

fn set_desired(world: &mut World, ms: u64, desired: u32) -> Result<AwsReply, AwsError> {
    world.aws_call(at(ms), &AwsCall::SetDesiredCapacity { group: "asg".into(), desired })
}

fn describe(world: &mut World, ms: u64) -> Result<AwsReply, AwsError> {
    let query = GroupQuery::Named(vec!["asg".into()]);
    world.aws_call(at(ms), &AwsCall::DescribeGroups { query, next_token: None })
}

/// Runs the world until `ms`, waking it whenever it wants.
fn run(world: &mut World, ms: u64) {
    while let Some(next) = world.next_wakeup().filter(|next| next.as_millis() <= ms) {
        world.advance(at(next.as_millis()));
    }
    world.advance(at(ms));
}

fn queue(world: &mut World, ms: u64, plan: JobPlan) -> JobId {
    world.queue_job(at(ms), &key(), plan).unwrap()
}

#[test]
fn a_job_gets_an_instance_runs_and_takes_the_instance_with_it() {
    let mut world = world();
    let job = queue(&mut world, 100, JobPlan::success(Duration::from_secs(2)));
    set_desired(&mut world, 150, 1).unwrap();
    run(&mut world, 60_000);
    let record = world.ledger().job(job).unwrap();
    assert_eq!(record.result, Some(JobResult::Succeeded));
    let ran_us = record.ended_us.unwrap() - record.started_us.unwrap();
    assert_eq!(ran_us, 2_000_000);
    assert!(record.wait().unwrap() >= Duration::from_secs(1));
    let group = world.aws_model().group("asg").unwrap();
    assert_eq!((group.desired, group.instances.len()), (0, 0));
    assert!(world.is_quiet());
    assert_eq!(world.ledger().pools()[&key()], PoolCounts { waiting: 0, running: 0, ended: 1 });
}

#[test]
fn latency_runs_from_the_job_to_the_write_that_covers_it() {
    let mut world = world();
    let plan = JobPlan::success(Duration::from_secs(9));
    queue(&mut world, 100, plan);
    queue(&mut world, 110, plan);
    assert_eq!(world.ledger().uncovered(), 2);
    set_desired(&mut world, 130, 1).unwrap();
    set_desired(&mut world, 150, 2).unwrap();
    assert_eq!(world.take_latencies_us(), [30_000, 40_000]);
    assert!(world.take_latencies_us().is_empty());
}

#[test]
fn no_latency_is_measured_where_capacity_is_there_or_cannot_be() {
    let mut world = world();
    set_desired(&mut world, 0, 5).unwrap();
    for _ in 0..8 {
        queue(&mut world, 100, JobPlan::success(Duration::from_secs(1)));
    }
    assert_eq!(world.ledger().uncovered(), 0);
}

#[test]
fn a_job_that_is_called_off_wants_no_capacity() {
    let mut world = world();
    let cancel = Some(Cancel::Queued(Duration::from_millis(50)));
    let plan = JobPlan { cancel, ..JobPlan::success(Duration::from_secs(1)) };
    let job = queue(&mut world, 100, plan);
    run(&mut world, 1000);
    assert_eq!(world.ledger().uncovered(), 0);
    let record = world.ledger().job(job).unwrap();
    assert!(record.ended_well() && record.result == Some(JobResult::Canceled));
}

#[test]
fn an_instance_at_the_least_size_is_replaced_when_its_job_has_ended() {
    let mut world = world();
    let change = aws::action::GroupChange { name: "asg".into(), min_size: Some(1), ..Default::default() };
    world.aws_model_mut().update_group(at(0).now, &change).unwrap();
    set_desired(&mut world, 0, 1).unwrap();
    queue(&mut world, 0, JobPlan::success(Duration::from_secs(1)));
    run(&mut world, 60_000);
    let group = world.aws_model().group("asg").unwrap();
    assert_eq!((group.desired, group.instances.len()), (1, 1));
    assert_eq!(world.ledger().totals().ended_well, 1);
}

#[test]
fn a_job_on_an_instance_that_somebody_terminates_is_lost() {
    let mut world = world();
    let job = queue(&mut world, 0, JobPlan::success(Duration::from_secs(60)));
    set_desired(&mut world, 0, 1).unwrap();
    run(&mut world, 10_000);
    let runner = world.ledger().job(job).unwrap().runner.clone().unwrap();
    world.aws_model_mut().terminate_instance(at(10_000).now, &runner, true).unwrap();
    run(&mut world, 11_000);
    let record = world.ledger().job(job).unwrap();
    assert!(record.result == Some(JobResult::Lost) && !record.ended_well());
}

#[test]
fn faults_hit_as_often_as_they_are_told_to() {
    let mut world = world();
    let status = |code, body: &str| FaultAction::Status { code, body: body.to_owned(), headers: BTreeMap::new() };
    let call = "DescribeAutoScalingGroups".to_owned();
    for (action, error) in [
        (status(400, "Throttling"), "Throttled"),
        (status(403, "AccessDenied"), "Denied"),
        (status(500, ""), "Misbehaved"),
        (FaultAction::Close, "Transport"),
    ] {
        assert!(world.inject(Fault { call: call.clone(), times: 2, action }));
        for _ in 0..2 {
            let seen = format!("{:?}", describe(&mut world, 0).unwrap_err());
            assert!(seen.starts_with(error), "{seen}");
        }
        assert!(describe(&mut world, 0).is_ok());
    }
    assert_eq!(world.fault_hits(), 8);
    let counted = world.ledger().totals().calls_of("aws", "DescribeAutoScalingGroups");
    assert_eq!(counted, 12);
}

#[test]
fn a_lost_reply_is_of_a_call_that_was_carried_out() {
    let mut world = world();
    let call = "SetDesiredCapacity".to_owned();
    world.inject(Fault { call, times: 1, action: FaultAction::LoseReply });
    assert!(matches!(set_desired(&mut world, 0, 3), Err(AwsError::Transport { .. })));
    assert_eq!(world.aws_model().group("asg").unwrap().desired, 3);
}

#[test]
fn github_breaks_in_every_way_there_is() {
    let target = "/api/v3/orgs/acme/actions/runners/registration-token";
    let serve = |action: FaultAction| {
        let mut world = world();
        world.inject(Fault { call: "registration_token".to_owned(), times: 1, action });
        let pat = world.github_model().config().pat.clone().unwrap();
        world.github(at(0), request(target, "Bearer", &pat, ""))
    };
    assert_eq!(reply(serve(FaultAction::EmptyOk)).body, b"");
    assert!(reply(serve(FaultAction::Html)).body.starts_with(b"<!DOCTYPE"));
    assert!(reply(serve(FaultAction::Bom)).body.starts_with(b"\xef\xbb\xbf{"));
    assert_eq!(reply(serve(FaultAction::Big)).body.len(), 10 * 1024 * 1024);
    let cut = reply(serve(FaultAction::Truncated)).body;
    assert!(serde_json::from_slice::<serde_json::Value>(&cut).is_err() && !cut.is_empty());
    assert!(matches!(serve(FaultAction::Hang), Served::Held(_)));
    assert_eq!(serve(FaultAction::Close), Served::Close);
    assert_eq!(serve(FaultAction::LoseReply), Served::Close);
    assert!(matches!(serve(FaultAction::CutShort), Served::CutShort(_)));
}

#[test]
fn faults_are_plain_data() {
    let text = r#"{"call":"poll","times":2,"action":{"status":{"code":429,"headers":{"retry-after":"3"}}}}"#;
    let fault: Fault = serde_json::from_str(text).unwrap();
    let headers = [("retry-after".to_owned(), "3".to_owned())].into();
    let action = FaultAction::Status { code: 429, body: String::new(), headers };
    assert_eq!(fault, Fault { call: "poll".to_owned(), times: 2, action });
    assert!(serde_json::from_str::<Fault>(r#"{"call":"poll","times":1,"action":"hang"}"#).is_ok());
}
