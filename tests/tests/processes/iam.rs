//! The policies in `deploy/iam` allow what is called, and nothing else.

use std::collections::BTreeSet;

use poolkeeper_core::aws::{AwsCall, GroupQuery, InstanceCall};
use poolkeeper_core::github::request::{RequestId, Slot};
use poolkeeper_core::short_text::ShortText;
use serde_json::Value;

const DAEMON: &str = include_str!("../../../deploy/iam/daemon.json");
const INSTANCE: &str = include_str!("../../../deploy/iam/instance.json");
const AGENT: &str = include_str!("../../../deploy/instance/poolkeeper-agent");

/// The actions that a policy allows; each that changes something only where the stack is named.
fn allowed(policy: &str) -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(policy).unwrap();
    let mut actions = BTreeSet::new();
    for statement in policy["Statement"].as_array().unwrap() {
        assert_eq!(statement["Effect"], "Allow");
        let text = |action: &Value| action.as_str().unwrap().to_owned();
        let own: Vec<String> = match statement["Action"].as_array() {
            Some(actions) => actions.iter().map(text).collect(),
            None => vec![text(&statement["Action"])],
        };
        let reads = own.iter().all(|action| action.contains(":Describe"));
        let limits = format!("{}{}", statement["Resource"], statement["Condition"]);
        assert!(reads || limits.contains("STACK"), "{own:?} is not limited to the stack");
        actions.extend(own);
    }
    actions
}

#[test]
fn the_daemon_may_do_what_it_calls_and_nothing_else() {
    let instance = || ShortText::from("i-1");
    let of_instances = [
        InstanceCall::Protect { instances: vec![] },
        InstanceCall::Terminate { instance: instance(), decrement: true },
        InstanceCall::PutConfig { instance: instance(), config: Slot(RequestId(1)) },
        InstanceCall::DeleteConfig { instance: instance() },
        InstanceCall::CompleteHook { instance: instance(), hook: ShortText::default() },
        InstanceCall::WarmMembers { next_token: None },
    ];
    let mut calls: Vec<_> =
        of_instances.into_iter().map(|call| AwsCall::Instances { group: ShortText::default(), call }).collect();
    calls.push(AwsCall::DescribeGroups { query: GroupQuery::Named(vec![]), next_token: None });
    calls.push(AwsCall::SetDesiredCapacity { group: ShortText::default(), desired: 0 });
    let service = |action: &str| if action.ends_with("Parameter") { "ssm" } else { "autoscaling" };
    let mut called: BTreeSet<_> =
        calls.iter().map(|call| format!("{}:{}", service(call.action()), call.action())).collect();
    // A parameter's tags come with it.
    called.insert("ssm:AddTagsToResource".to_owned());
    assert_eq!(allowed(DAEMON), called);
}

#[test]
fn an_instance_may_do_what_its_agent_calls_and_nothing_else() {
    let called = [
        ("ssm get-parameter", "ssm:GetParameter"),
        ("ssm delete-parameter", "ssm:DeleteParameter"),
        ("autoscaling terminate-instance", "autoscaling:TerminateInstanceInAutoScalingGroup"),
    ];
    for (command, _) in called {
        assert!(AGENT.contains(&format!("call_aws {command}")), "the agent does not call {command}");
    }
    assert_eq!(AGENT.matches("call_aws ").count(), called.len(), "another call needs another permission");
    assert_eq!(allowed(INSTANCE), called.iter().map(|(_, action)| (*action).to_owned()).collect());
}
