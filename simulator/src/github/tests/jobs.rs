//! Jobs from queue to end.

use poolkeeper_core::time::Duration;
use serde_json::json;

use super::client::{Client, Held};
use crate::github::{Fact, GitHubConfig, JobResult, SetKey, Style};

fn listening(config: GitHubConfig) -> (Client, Held, SetKey) {
    let mut client = Client::connected_to(config, "acme");
    let set = client.create_set("linux");
    let session = client.open_session(set);
    (client, session, SetKey::new("acme", "linux"))
}

#[test]
fn a_job_is_assigned_started_and_completed() {
    let (mut client, session, key) = listening(GitHubConfig::default());
    let job = client.github.queue_job(&key).unwrap();
    assert!(client.github.connect_runner(&key, "i-1"));
    let message = client.poll_now(&session, 0, 5);
    assert_eq!(message.kinds(), ["JobAssigned", "JobStarted"]);
    let started = &message.elements()[1];
    assert_eq!((&started["runnerName"], &started["ownerName"]), (&json!("i-1"), &json!("acme")));
    let counts = &message.json()["statistics"];
    assert_eq!((&counts["totalRunningJobs"], &counts["totalBusyRunners"]), (&json!(1), &json!(1)));

    assert!(client.github.finish_job(job, JobResult::Succeeded));
    let message = client.poll_now(&session, 1, 5);
    let done = &message.elements()[0];
    assert_eq!((&done["messageType"], &done["result"]), (&json!("JobCompleted"), &json!("succeeded")));
    assert_eq!(done["runnerName"], json!("i-1"));
    assert_eq!(message.json()["statistics"]["totalRegisteredRunners"], json!(0));
    assert!(!client.github.finish_job(job, JobResult::Succeeded));
}

#[test]
fn each_runner_takes_one_job_and_each_job_has_one_runner() {
    let (mut client, session, key) = listening(GitHubConfig::default());
    for name in ["i-1", "i-2", "i-3"] {
        client.github.connect_runner(&key, name);
    }
    for _ in 0..2 {
        client.github.queue_job(&key).unwrap();
    }
    client.poll_now(&session, 0, 5);
    let state = client.github.set(&key).unwrap();
    assert_eq!((state.running, state.idle, state.runners), (2, 1, 3));
}

#[test]
fn an_enterprise_server_offers_jobs_and_assigns_what_is_acquired() {
    let config = GitHubConfig { style: Style::Enterprise, ..GitHubConfig::default() };
    let (mut client, session, key) = listening(config);
    let first = client.github.queue_job(&key).unwrap();
    client.github.queue_job(&key).unwrap();
    let message = client.poll_now(&session, 0, 5);
    assert_eq!(message.kinds(), ["JobAvailable", "JobAvailable"]);
    assert!(message.elements()[0]["acquireJobUrl"].as_str().unwrap().ends_with("/acquirejobs"));
    assert_eq!(message.json()["statistics"]["totalAvailableJobs"], json!(2));

    let path = format!("_apis/runtime/runnerscalesets/{}/acquirablejobs", session.set);
    assert_eq!(client.service("GET", &path, None).json()["count"], json!(2));
    let got = client.acquire(&session, &[first.0, 999]);
    assert_eq!(got.json(), json!({"count": 1, "value": [first.0]}));
    assert_eq!(client.acquire(&session, &[first.0]).json()["count"], json!(0));
    assert_eq!(client.poll_now(&session, 1, 5).kinds(), ["JobAssigned"]);
    client.acquire(&session, &[first.0 + 1]);
    assert_eq!(client.service("GET", &path, None).status, 204);
}

#[test]
fn acquiring_needs_the_token_of_the_queue() {
    let config = GitHubConfig { style: Style::Enterprise, ..GitHubConfig::default() };
    let (mut client, session, _) = listening(config);
    let admin = Held { token: client.admin.clone(), ..session };
    assert_eq!(client.acquire(&admin, &[1]).status, 401);
}

#[test]
fn a_job_that_nobody_picks_up_is_assigned_again_and_then_given_up() {
    let pickup = Duration::from_secs(10);
    let config = GitHubConfig { pickup, reassigns: 1, ..GitHubConfig::default() };
    let (mut client, session, key) = listening(config);
    let job = client.github.queue_job(&key).unwrap();
    assert_eq!(client.poll_now(&session, 0, 5).kinds(), ["JobAssigned"]);
    client.wait_ms(10_000);
    let message = client.poll_now(&session, 1, 5);
    assert_eq!(message.kinds(), ["JobCompleted", "JobAssigned"]);
    assert_eq!(message.elements()[0]["runnerName"], json!(""));
    client.wait_ms(10_000);
    assert_eq!(client.poll_now(&session, 2, 5).kinds(), ["JobCompleted"]);
    let ended = Fact::Ended { job, result: JobResult::Abandoned, runner: None };
    assert!(client.github.take_facts().contains(&ended));
}

#[test]
fn a_job_is_called_off_before_and_while_it_runs() {
    let (mut client, session, key) = listening(GitHubConfig::default());
    let waiting = client.github.queue_job(&key).unwrap();
    assert!(client.github.cancel_job(waiting));
    let message = client.poll_now(&session, 0, 5);
    let done = &message.elements()[1];
    assert_eq!((&done["result"], &done["runnerName"]), (&json!("canceled"), &json!("")));
    assert_eq!(message.json()["statistics"]["totalAssignedJobs"], json!(0));

    let running = client.github.queue_job(&key).unwrap();
    client.github.connect_runner(&key, "i-1");
    assert!(client.github.cancel_job(running));
    let message = client.poll_now(&session, 1, 5);
    let done = &message.elements()[2];
    assert_eq!((&done["result"], &done["runnerName"]), (&json!("canceled"), &json!("i-1")));
}

#[test]
fn a_busy_runner_cannot_be_removed_and_takes_its_job_down_when_it_dies() {
    let (mut client, _, key) = listening(GitHubConfig::default());
    let job = client.github.queue_job(&key).unwrap();
    client.github.connect_runner(&key, "i-1");
    let agents = "_apis/distributedtask/pools/0/agents";
    let shown = client.service("GET", &format!("{agents}?agentName=i-1"), None).json();
    assert_eq!(shown["value"][0]["busy"], json!(true));
    let id = &shown["value"][0]["id"];
    let refused = client.service("DELETE", &format!("{agents}/{id}"), None);
    assert!(refused.type_name().contains("JobStillRunningException"));
    client.github.lose_runner("acme", "i-1");
    let lost = Fact::Ended { job, result: JobResult::Lost, runner: Some("i-1".into()) };
    assert!(client.github.take_facts().contains(&lost));
}

#[test]
fn a_job_waits_for_a_scale_set_that_does_not_exist_yet() {
    let mut client = Client::connected("acme");
    client.github.queue_job(&SetKey::new("acme", "Later")).unwrap();
    let set = client.create_set("later");
    let session = client.open_session(set);
    assert_eq!(session.statistics["totalAssignedJobs"], json!(1));
}

#[test]
fn jobs_survive_the_deletion_of_their_scale_set() {
    let (mut client, session, key) = listening(GitHubConfig::default());
    client.hold(&session, 0, 5);
    client.github.queue_job(&key).unwrap();
    assert!(client.github.retire_set(&key));
    assert_eq!(client.github.open_jobs(), 1);
    let again = client.create_set("linux");
    assert_ne!(again, session.set);
    let second = client.open_session(again);
    assert_eq!(second.statistics["totalAssignedJobs"], json!(1));
}

#[test]
fn request_ids_can_be_zero() {
    let config = GitHubConfig { zero_request_ids: true, ..GitHubConfig::default() };
    let (mut client, session, key) = listening(config);
    client.github.queue_job(&key).unwrap();
    let message = client.poll_now(&session, 0, 5);
    assert_eq!(message.elements()[0]["runnerRequestId"], json!(0));
    assert_ne!(message.elements()[0]["jobId"], json!(""));
}
