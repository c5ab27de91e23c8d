//! The model answers as the protocol says.

mod client;
mod hostile;
mod jobs;
mod queue;
mod tokens;

use client::Client;
use serde_json::json;

#[test]
fn runner_groups_are_found_by_name() {
    let mut client = Client::connected("acme");
    let found = client.service("GET", "_apis/runtime/runnergroups/?groupName=Default", None);
    assert_eq!(found.status, 200);
    let body = found.json();
    assert_eq!((&body["count"], &body["value"][0]["name"]), (&json!(1), &json!("default")));
    assert_eq!(body["value"][0]["isDefaultGroup"], json!(true));
    let absent = client.service("GET", "_apis/runtime/runnergroups/?groupName=nope", None);
    assert_eq!(absent.json()["count"], json!(0));
}

#[test]
fn a_scale_set_lives_through_create_find_update_delete() {
    let mut client = Client::connected("acme");
    let id = client.create_set("Linux +&#% x");
    let found =
        client.service("GET", "_apis/runtime/runnerscalesets?runnerGroupId=1&name=linux%20%2B%26%23%25%20x", None);
    let set = &found.json()["value"][0];
    assert_eq!((&set["id"], &set["name"]), (&json!(id), &json!("Linux +&#% x")));
    assert_eq!(set["labels"], json!([{"type": "System", "name": "Linux +&#% x"}]));
    assert_eq!(set["RunnerSetting"], json!({"disableUpdate": false}));
    assert_eq!(set["statistics"]["totalAssignedJobs"], json!(0));

    let path = format!("_apis/runtime/runnerscalesets/{id}");
    let change = json!({"labels": [{"name": "a"}], "RunnerSetting": {"disableUpdate": true}});
    let updated = client.service("PATCH", &path, Some(change));
    assert_eq!(updated.status, 200);
    assert_eq!(updated.json()["labels"], json!([{"type": "System", "name": "a"}]));
    assert_eq!(updated.json()["RunnerSetting"]["disableUpdate"], json!(true));

    assert_eq!(client.service("DELETE", &path, None).status, 204);
    let gone = client.service("GET", &path, None);
    assert_eq!(gone.status, 404);
    assert!(gone.type_name().contains("RunnerScaleSetNotFoundException"));
}

#[test]
fn names_are_unique_in_a_runner_group() {
    let mut client = Client::connected("acme");
    client.create_set("linux");
    let body = json!({"name": "LINUX", "runnerGroupId": 1});
    let again = client.service("POST", "_apis/runtime/runnerscalesets", Some(body));
    assert_eq!(again.status, 409);
    let body = json!({"name": "linux", "runnerGroupId": 99});
    let nowhere = client.service("POST", "_apis/runtime/runnerscalesets", Some(body));
    assert_eq!(nowhere.status, 404);
    let nameless = client.service("POST", "_apis/runtime/runnerscalesets", Some(json!({})));
    assert_eq!(nameless.status, 400);
    let all = client.service("GET", "_apis/runtime/runnerscalesets", None);
    assert_eq!(all.json()["count"], json!(1));
}

#[test]
fn one_scope_does_not_see_the_sets_of_another() {
    let mut client = Client::connected("acme");
    let id = client.create_set("linux");
    client.connect("widgets");
    let foreign = client.service("GET", &format!("_apis/runtime/runnerscalesets/{id}"), None);
    assert_eq!(foreign.status, 404);
    let all = client.service("GET", "_apis/runtime/runnerscalesets", None);
    assert_eq!(all.json()["count"], json!(0));
}

#[test]
fn errors_have_the_shape_and_headers_that_support_asks_for() {
    let mut client = Client::connected("acme");
    let gone = client.service("GET", "_apis/runtime/runnerscalesets/77", None);
    let body = gone.json();
    assert_eq!((&body["$id"], &body["innerException"]), (&json!("1"), &json!(null)));
    assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()));
    for name in ["activityid", "x-github-request-id", "date"] {
        assert!(gone.header(name).is_some(), "{name}");
    }
}

#[test]
fn without_an_api_version_the_service_refuses() {
    let mut client = Client::connected("acme");
    let base = client.base.clone();
    let admin = client.admin.clone();
    let url = format!("{base}_apis/runtime/runnerscalesets");
    let reply = client.send("GET", &url, &[("authorization", &format!("Bearer {admin}"))], None);
    assert_eq!(reply.status, 400);
}

#[test]
fn a_jit_config_registers_a_runner_at_once() {
    let mut client = Client::connected("acme");
    let id = client.create_set("linux");
    let path = format!("_apis/runtime/runnerscalesets/{id}/generatejitconfig");
    let body = json!({"name": "i-1", "workFolder": "_work"});
    let made = client.service("POST", &path, Some(body.clone()));
    assert_eq!(made.status, 200);
    let runner = made.json()["runner"]["id"].as_u64().unwrap();
    assert!(made.json()["encodedJITConfig"].as_str().unwrap().len() > 4000);

    let again = client.service("POST", &path, Some(body));
    assert_eq!(again.status, 409);
    assert!(again.type_name().contains("AgentExistsException"));

    let agents = "_apis/distributedtask/pools/0/agents";
    let named = client.service("GET", &format!("{agents}?agentName=i-1"), None).json();
    assert_eq!(named["value"][0]["runnerScaleSetId"], json!(id));
    assert_eq!(named["value"][0]["status"], json!("offline"));
    assert_eq!(client.service("GET", agents, None).json()["count"], json!(1));
    let shown = client.service("GET", &format!("{agents}/{runner}"), None);
    assert_eq!(shown.json()["name"], json!("i-1"));
    assert_eq!(client.service("DELETE", &format!("{agents}/{runner}"), None).status, 204);
    let gone = client.service("DELETE", &format!("{agents}/{runner}"), None);
    assert!(gone.status == 404 && gone.type_name().contains("AgentNotFoundException"));
    let none = client.service("GET", &format!("{agents}?agentName=i-1"), None);
    assert_eq!(none.json()["count"], json!(0));
}
