use poolkeeper_core::notice::{Decision, PoolId};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Duration as Span;

use super::*;
use crate::testing::at;

fn notice(fact: PoolFact) -> Notice {
    Notice::Pool { pool: PoolId(1), group: "ci-linux".into(), fact }
}

fn job(kind: JobMessageKind, result: &str) -> JobMessage {
    let job = Job {
        repository: "acme/we\"b".to_owned(),
        event_name: "push".into(),
        scale_set_assigned_ms: Some(10_000),
        runner_assigned_ms: Some(13_500),
        finished_ms: Some(20_000),
        ..Job::default()
    };
    JobMessage { kind, job, result: result.into(), ..JobMessage::default() }
}

fn rendered(telemetry: &Telemetry) -> String {
    let mut out = String::new();
    telemetry.render(&mut out);
    out
}

#[test]
fn jobs_are_counted_under_arcs_names() {
    let telemetry = Telemetry::new("prod");
    let jobs = vec![
        job(JobMessageKind::Assigned, ""),
        job(JobMessageKind::Started, ""),
        job(JobMessageKind::Completed, "succeeded"),
    ];
    telemetry.notice(&notice(PoolFact::Message { message: 3, jobs, unknown: 0 }), at(0));
    let out = rendered(&telemetry);
    let labels = "enterprise=\"\",organization=\"acme\",repository=\"we\\\"b\",event_name=\"push\"";
    for line in [
        format!("gha_started_jobs_total{{{labels}}} 1\n"),
        format!("gha_completed_jobs_total{{{labels},job_result=\"succeeded\"}} 1\n"),
        format!("gha_job_startup_duration_seconds_bucket{{{labels},le=\"3\"}} 0\n"),
        format!("gha_job_startup_duration_seconds_bucket{{{labels},le=\"4\"}} 1\n"),
        format!("gha_job_startup_duration_seconds_sum{{{labels}}} 3.5\n"),
        format!("gha_job_execution_duration_seconds_count{{{labels},job_result=\"succeeded\"}} 1\n"),
        "poolkeeper_messages_total{group=\"ci-linux\"} 1\n".to_owned(),
        "poolkeeper_notices_total{kind=\"message\"} 1\n".to_owned(),
    ] {
        assert!(out.contains(&line), "{line} in {out}");
    }
}

#[test]
fn starts_configs_and_ends_of_managed_instances_are_counted() {
    let telemetry = Telemetry::new("prod");
    let instance = || ShortText::from("i-1");
    for fact in [
        RunnerFact::Up { instance: instance(), warm: true, took: Span::from_secs(7) },
        RunnerFact::Up { instance: instance(), warm: false, took: Span::from_secs(45) },
        RunnerFact::Served { instance: instance(), runner: 3 },
        RunnerFact::Free { instance: instance(), proof: Proof::Ended },
    ] {
        telemetry.notice(&notice(PoolFact::Runner(fact)), at(0));
    }
    let out = rendered(&telemetry);
    for line in [
        "poolkeeper_instance_start_duration_seconds_sum{group=\"ci-linux\",start=\"warm\"} 7\n",
        "poolkeeper_instance_start_duration_seconds_bucket{group=\"ci-linux\",start=\"cold\",le=\"40\"} 0\n",
        "poolkeeper_instance_start_duration_seconds_bucket{group=\"ci-linux\",start=\"cold\",le=\"50\"} 1\n",
        "poolkeeper_runner_configs_total{group=\"ci-linux\"} 1\n",
        "poolkeeper_instances_freed_total{group=\"ci-linux\",proof=\"ended\"} 1\n",
    ] {
        assert!(out.contains(line), "{line} in {out}");
    }
}

#[test]
fn jobs_without_times_have_no_duration() {
    let telemetry = Telemetry::new("prod");
    let mut message = job(JobMessageKind::Completed, "canceled");
    message.job.runner_assigned_ms = None;
    let fact = PoolFact::Message { message: 3, jobs: vec![message], unknown: 0 };
    telemetry.notice(&notice(fact), at(0));
    let out = rendered(&telemetry);
    assert!(out.contains("job_result=\"canceled\"} 1\n"), "{out}");
    assert!(!out.contains("gha_job_execution_duration_seconds_count{"), "{out}");
}

#[test]
fn capacity_changes_are_counted_by_direction() {
    let telemetry = Telemetry::new("prod");
    for (from, to) in [(0, 3), (3, 5), (5, 1)] {
        let decision = Decision {
            from,
            to,
            assigned: 0,
            idle: 0,
            lo: 0,
            hi: 0,
            target: 0,
            unusable: 0,
            in_service: 0,
            pending: 0,
        };
        telemetry.notice(&notice(PoolFact::Scaling(decision)), at(0));
    }
    let out = rendered(&telemetry);
    assert!(out.contains("changes_total{group=\"ci-linux\",direction=\"out\"} 2\n"), "{out}");
    assert!(out.contains("changes_total{group=\"ci-linux\",direction=\"in\"} 1\n"), "{out}");
}

#[test]
fn calls_are_counted_and_polls_have_no_duration() {
    let telemetry = Telemetry::new("prod");
    telemetry.github_call(CallKind::Poll, "main", "202", Duration::from_secs(50));
    telemetry.github_call(CallKind::Acquire, "main", "200", Duration::from_millis(3));
    telemetry.aws_call("set_desired_capacity", "ok", Duration::from_micros(900));
    let out = rendered(&telemetry);
    for line in [
        "poolkeeper_github_calls_total{connection=\"main\",call=\"poll\",outcome=\"202\"} 1\n",
        "poolkeeper_github_call_duration_seconds_bucket{call=\"acquire\",le=\"0.005\"} 1\n",
        "poolkeeper_aws_call_duration_seconds_bucket{call=\"set_desired_capacity\",le=\"0.001\"} 1\n",
        "poolkeeper_aws_calls_total{call=\"set_desired_capacity\",outcome=\"ok\"} 1\n",
    ] {
        assert!(out.contains(line), "{line} in {out}");
    }
    assert!(!out.contains("duration_seconds_bucket{call=\"poll\""), "{out}");
}

#[test]
fn series_are_bounded() {
    let telemetry = Telemetry::new("prod");
    for n in 0..10_050 {
        telemetry.github_call(CallKind::Poll, &format!("c{n}"), "202", Duration::ZERO);
    }
    let out = rendered(&telemetry);
    assert_eq!(out.matches("poolkeeper_github_calls_total{").count(), 10_000);
    assert!(out.contains("poolkeeper_metrics_dropped_total 50\n"));
}
