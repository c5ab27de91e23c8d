//! Sessions and message queues.

use serde_json::json;

use super::client::{Client, held};
use crate::github::{GitHubConfig, SetKey};

fn listening() -> (Client, super::client::Held, SetKey) {
    let mut client = Client::connected("acme");
    let set = client.create_set("linux");
    let session = client.open_session(set);
    (client, session, SetKey::new("acme", "linux"))
}

#[test]
fn an_idle_poll_is_held_and_ends_with_a_202() {
    let (mut client, session, _) = listening();
    let ticket = client.hold(&session, 0, 10);
    assert!(client.wait_ms(49_999).is_empty());
    let replies = client.wait_ms(1);
    assert_eq!(replies.len(), 1);
    assert_eq!((replies[0].0, replies[0].1.status), (ticket, 202));
    assert!(replies[0].1.body.is_empty());
}

#[test]
fn a_held_poll_hears_of_a_job_at_once() {
    let (mut client, session, key) = listening();
    let ticket = client.hold(&session, 0, 10);
    client.github.queue_job(&key).unwrap();
    let replies = client.wait_ms(0);
    assert_eq!(replies[0].0, ticket);
    let message = &replies[0].1;
    assert_eq!((message.status, message.kinds()), (200, vec!["JobAssigned".to_owned()]));
    assert_eq!(message.json()["messageType"], json!("RunnerScaleSetJobMessages"));
    assert_eq!(message.json()["statistics"]["totalAssignedJobs"], json!(1));
}

#[test]
fn a_message_comes_again_until_it_is_acknowledged() {
    let (mut client, session, key) = listening();
    client.github.queue_job(&key).unwrap();
    let first = client.poll_now(&session, 0, 10);
    let again = client.poll_now(&session, 0, 10);
    assert_eq!(first.body, again.body);
    let id = first.json()["messageId"].as_u64().unwrap();
    assert_eq!(client.acknowledge(&session, id).status, 204);
    client.hold(&session, 0, 10);
}

#[test]
fn last_message_id_passes_over_what_was_processed() {
    let (mut client, session, key) = listening();
    client.github.queue_job(&key).unwrap();
    let first = client.poll_now(&session, 0, 10).json()["messageId"].as_u64().unwrap();
    client.github.queue_job(&key).unwrap();
    let second = client.poll_now(&session, first, 10).json()["messageId"].as_u64().unwrap();
    assert!(second > first);
    client.hold(&session, second, 10);
    assert_eq!(client.poll_now(&session, 0, 10).json()["messageId"], json!(first));
}

#[test]
fn with_redelivery_an_old_message_comes_although_it_was_named() {
    let config = GitHubConfig { redeliver: true, ..GitHubConfig::default() };
    let mut client = Client::connected_to(config, "acme");
    let set = client.create_set("linux");
    let session = client.open_session(set);
    client.github.queue_job(&SetKey::new("acme", "linux")).unwrap();
    let first = client.poll_now(&session, 0, 10).json()["messageId"].as_u64().unwrap();
    assert_eq!(client.poll_now(&session, first, 10).json()["messageId"], json!(first));
}

#[test]
fn a_message_holds_at_most_fifty_elements() {
    let (mut client, session, key) = listening();
    for _ in 0..120 {
        client.github.queue_job(&key).unwrap();
    }
    let mut last = 0;
    let sizes: Vec<_> = (0..3)
        .map(|_| {
            let message = client.poll_now(&session, last, 1000);
            last = message.json()["messageId"].as_u64().unwrap();
            message.elements().len()
        })
        .collect();
    assert_eq!(sizes, [50, 50, 20]);
}

#[test]
fn capacity_limits_what_is_assigned() {
    let (mut client, session, key) = listening();
    let ticket = client.hold(&session, 0, 2);
    for _ in 0..5 {
        client.github.queue_job(&key).unwrap();
    }
    let replies = client.wait_ms(0);
    assert_eq!(replies[0].0, ticket);
    assert_eq!(replies[0].1.json()["statistics"]["totalAssignedJobs"], json!(2));
    let more = client.poll_now(&session, 1, 4);
    assert_eq!(more.json()["statistics"]["totalAssignedJobs"], json!(4));
    client.hold(&session, 2, 0);
}

#[test]
fn a_second_session_conflicts_until_the_first_ends() {
    let (mut client, first, _) = listening();
    let refused = client.create_session(first.set);
    assert_eq!(refused.status, 409);
    assert!(refused.type_name().contains("RunnerScaleSetSessionConflictException"));
    assert_eq!(client.delete_session(&first).status, 204);
    assert_eq!(client.create_session(first.set).status, 200);
}

#[test]
fn a_session_without_polls_ends_by_itself() {
    let (mut client, first, _) = listening();
    client.hold(&first, 0, 1);
    client.wait_ms(50_000);
    client.wait_ms(59_999);
    assert_eq!(client.create_session(first.set).status, 409);
    client.wait_ms(1);
    assert_eq!(client.create_session(first.set).status, 200);
    assert_eq!(client.poll_now(&first, 0, 1).status, 401);
    let refreshed = client.refresh_session(&first);
    assert_eq!(refreshed.status, 404);
}

#[test]
fn a_session_that_is_evicted_refuses_its_held_poll() {
    let (mut client, session, key) = listening();
    let ticket = client.hold(&session, 0, 1);
    assert!(client.github.end_session(&key));
    let replies = client.wait_ms(0);
    assert_eq!((replies[0].0, replies[0].1.status), (ticket, 401));
}

#[test]
fn a_refresh_brings_a_new_token_when_the_old_one_has_ended() {
    let (mut client, session, _) = listening();
    let renew = client.refresh_session(&session);
    let renewed = held(session.set, &renew.json());
    assert_ne!(renewed.token, session.token);
    assert_eq!(renewed.id, session.id);
    client.github.expire_tokens();
    assert_eq!(client.poll_now(&renewed, 0, 1).status, 401);
    client.connect("acme");
    let again = client.refresh_session(&session);
    let again = held(session.set, &again.json());
    client.hold(&again, 0, 1);
}

#[test]
fn a_new_session_tells_what_is_assigned_already() {
    let (mut client, first, key) = listening();
    client.github.queue_job(&key).unwrap();
    client.delete_session(&first);
    let second = client.open_session(first.set);
    assert_eq!(second.statistics["totalAssignedJobs"], json!(1));
    assert_eq!(client.poll_now(&second, 0, 9).kinds(), ["JobAssigned"]);
}

#[test]
fn a_cancelled_poll_takes_no_message_with_it() {
    let (mut client, session, key) = listening();
    let ticket = client.hold(&session, 0, 1);
    client.github.queue_job(&key).unwrap();
    client.github.cancel(ticket);
    assert!(client.wait_ms(0).is_empty());
    assert_eq!(client.poll_now(&session, 0, 1).status, 200);
}

#[test]
fn of_ten_thousand_held_polls_only_the_one_concerned_is_answered() {
    let mut client = Client::connected("acme");
    let mut sessions = Vec::new();
    for n in 0..10_000 {
        let set = client.create_set(&format!("s{n}"));
        let session = client.open_session(set);
        client.hold(&session, 0, 1);
        sessions.push(session);
    }
    assert_eq!(client.github.held_polls(), 10_000);
    client.github.queue_job(&SetKey::new("acme", "s5000")).unwrap();
    assert_eq!(client.wait_ms(0).len(), 1);
}
