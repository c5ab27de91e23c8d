//! The policies of `deploy/iam` in force, as moto judges them: each action the daemon and the agent call is allowed, and
//! others are denied.
//!
//! Moto (5.2) compares the action of a call with the actions of its caller's policies. It does not look at what the call
//! is about, and a statement about an ARN grants nothing: here each is about `*`. Conditions on tags and on the instance
//! that calls hold for everybody. So this shows that the names of actions are right and complete; `iam.rs` that each
//! statement which changes something names the stack. Whether AWS limits them to the stack as meant is shown by neither.

use std::path::Path;

use aws_credential_types::Credentials;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::{BehaviorVersion, Region};
use aws_sdk_autoscaling::error::SdkError;
use aws_sdk_ssm::types::{ParameterTier, ParameterType, ResourceTypeForTagging, Tag};
use poolkeeper_simulator::sandbox::scenery::{REGION, STACK};
use poolkeeper_tests::moto::Moto;
use serde_json::Value;
use tokio::runtime::Runtime;

const DAEMON: &str = include_str!("../../../deploy/iam/daemon.json");
const INSTANCE: &str = include_str!("../../../deploy/iam/instance.json");
const GROUP: &str = "ci";
const LAUNCH_CONFIGURATION: &str = "runner";

#[test]
fn the_daemons_policy_allows_its_calls_and_no_others() {
    let Some(cloud) = Cloud::new() else { return };
    let daemon = cloud.user("daemon", DAEMON);
    let (denied, calls) = (true, daemon.calls(&cloud.instance));
    assert_eq!(
        calls,
        [
            ("DescribeAutoScalingGroups", !denied),
            ("DescribeWarmPool", !denied),
            ("SetDesiredCapacity", !denied),
            ("SetInstanceProtection", !denied),
            ("CompleteLifecycleAction", !denied),
            ("PutParameter", !denied),
            ("AddTagsToResource", !denied),
            ("GetParameter", denied),
            ("DeleteParameter", !denied),
            ("TerminateInstanceInAutoScalingGroup", !denied),
            ("UpdateAutoScalingGroup", denied),
            ("DeleteAutoScalingGroup", denied),
        ]
    );
}

#[test]
fn an_instances_policy_allows_its_agents_calls_and_no_others() {
    let Some(cloud) = Cloud::new() else { return };
    let instance = cloud.user("instance", INSTANCE);
    let calls = instance.calls(&cloud.instance);
    let allowed: Vec<_> = calls.into_iter().filter(|(_, denied)| !denied).map(|(action, _)| action).collect();
    assert_eq!(allowed, ["GetParameter", "DeleteParameter", "TerminateInstanceInAutoScalingGroup"]);
}

#[test]
fn a_policy_for_something_else_allows_none_of_it() {
    let Some(cloud) = Cloud::new() else { return };
    let statement = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}"#;
    let user = cloud.user("somebody", &format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#));
    assert!(user.calls(&cloud.instance).into_iter().all(|(_, denied)| denied));
}

/// Moto with a group of two instances.
struct Cloud {
    moto: Moto,
    runtime: Runtime,
    instance: String,
}

/// Somebody's clients.
struct User<'a> {
    runtime: &'a Runtime,
    groups: aws_sdk_autoscaling::Client,
    store: aws_sdk_ssm::Client,
}

impl Cloud {
    fn new() -> Option<Self> {
        let moto = Moto::unless_left_out(Path::new(env!("CARGO_TARGET_TMPDIR")))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let cloud = Self { moto, runtime, instance: String::new() };
        let User { groups, .. } = cloud.user_of(Credentials::new("sandbox", "sandbox", None, None, "test"));
        let instance = cloud.runtime.block_on(async {
            let launch = groups.create_launch_configuration().launch_configuration_name(LAUNCH_CONFIGURATION);
            launch.image_id("ami-12c6146b").instance_type("t3.micro").send().await.unwrap();
            let create = groups.create_auto_scaling_group().auto_scaling_group_name(GROUP);
            let create =
                create.launch_configuration_name(LAUNCH_CONFIGURATION).availability_zones(format!("{REGION}a"));
            create.min_size(0).max_size(3).desired_capacity(2).send().await.unwrap();
            let found = groups.describe_auto_scaling_groups().send().await.unwrap().auto_scaling_groups.unwrap();
            found.first().unwrap().instances().first().unwrap().instance_id.clone().unwrap()
        });
        Some(Self { instance, ..cloud })
    }

    /// A new user with a policy; from then on moto asks what each caller may do.
    fn user(&self, name: &str, policy: &str) -> User<'_> {
        let policy = about_everything(policy);
        let told = self.runtime.block_on(async {
            self.iam(&[("Action", "CreateUser"), ("UserName", name)]).await;
            let put =
                [("Action", "PutUserPolicy"), ("UserName", name), ("PolicyName", "it"), ("PolicyDocument", &policy)];
            self.iam(&put).await;
            let told = self.iam(&[("Action", "CreateAccessKey"), ("UserName", name)]).await;
            let reset = reqwest::Client::new().post(format!("{}/moto-api/reset-auth", self.moto.url));
            let reset = reset.header("content-type", "text/plain").body("0").send().await.unwrap();
            assert!(reset.status().is_success(), "{reset:?}");
            told
        });
        let told = |tag: &str| {
            let text = told.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once("</")).unwrap().0;
            text.replace("&amp;", "&")
        };
        self.user_of(Credentials::new(told("AccessKeyId"), told("SecretAccessKey"), None, None, "test"))
    }

    fn user_of(&self, credentials: Credentials) -> User<'_> {
        let http = || aws_smithy_http_client::Builder::new().build_http();
        let groups = aws_sdk_autoscaling::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(credentials.clone())
            .retry_config(RetryConfig::disabled())
            .http_client(http())
            .endpoint_url(&self.moto.url);
        let store = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(credentials)
            .retry_config(RetryConfig::disabled())
            .http_client(http())
            .endpoint_url(&self.moto.url);
        User {
            runtime: &self.runtime,
            groups: aws_sdk_autoscaling::Client::from_conf(groups.build()),
            store: aws_sdk_ssm::Client::from_conf(store.build()),
        }
    }

    /// One call to IAM, while nobody's signature is looked at.
    async fn iam(&self, fields: &[(&str, &str)]) -> String {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let scope = format!("Credential=sandbox/20260501/{REGION}/iam/aws4_request");
        let call = reqwest::Client::new()
            .post(&self.moto.url)
            .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("{}&Version=2010-05-08", fields.join("&")));
        let reply = call.send().await.unwrap();
        let is_ok = reply.status().is_success();
        let text = reply.text().await.unwrap();
        assert!(is_ok, "{text}");
        text
    }
}

impl User<'_> {
    /// Makes calls, and says for each whether it was denied. That moto cannot carry one out is as good as that it does:
    /// the user was asked for his rights first.
    fn calls(&self, instance: &str) -> Vec<(&'static str, bool)> {
        let Self { groups, store, .. } = self;
        let parameter = format!("/poolkeeper/{STACK}/{instance}");
        let tag = Tag::builder().key("InstanceId").value(instance).build().unwrap();
        self.runtime.block_on(async {
            let describe = groups.describe_auto_scaling_groups().send();
            let warm = groups.describe_warm_pool().auto_scaling_group_name(GROUP).send();
            let set = groups.set_desired_capacity().auto_scaling_group_name(GROUP).desired_capacity(3).send();
            let protect = groups.set_instance_protection().auto_scaling_group_name(GROUP).instance_ids(instance);
            let protect = protect.protected_from_scale_in(true).send();
            let hook = groups.complete_lifecycle_action().auto_scaling_group_name(GROUP).instance_id(instance);
            let hook = hook.lifecycle_hook_name("launch").lifecycle_action_result("CONTINUE").send();
            let put = store.put_parameter().name(&parameter).value("config").r#type(ParameterType::SecureString);
            let put = put.tier(ParameterTier::Advanced).tags(tag.clone()).send();
            let tags = store.add_tags_to_resource().resource_type(ResourceTypeForTagging::Parameter);
            let tags = tags.resource_id(&parameter).tags(tag).send();
            let get = store.get_parameter().name(&parameter).with_decryption(true).send();
            let delete = store.delete_parameter().name(&parameter).send();
            let end = groups.terminate_instance_in_auto_scaling_group().instance_id(instance);
            let end = end.should_decrement_desired_capacity(true).send();
            let update = groups.update_auto_scaling_group().auto_scaling_group_name(GROUP).max_size(9).send();
            let remove = groups.delete_auto_scaling_group().auto_scaling_group_name(GROUP).force_delete(true).send();
            vec![
                ("DescribeAutoScalingGroups", is_denied(describe.await)),
                ("DescribeWarmPool", is_denied(warm.await)),
                ("SetDesiredCapacity", is_denied(set.await)),
                ("SetInstanceProtection", is_denied(protect.await)),
                ("CompleteLifecycleAction", is_denied(hook.await)),
                ("PutParameter", is_denied(put.await)),
                ("AddTagsToResource", is_denied(tags.await)),
                ("GetParameter", is_denied(get.await)),
                ("DeleteParameter", is_denied(delete.await)),
                ("TerminateInstanceInAutoScalingGroup", is_denied(end.await)),
                ("UpdateAutoScalingGroup", is_denied(update.await)),
                ("DeleteAutoScalingGroup", is_denied(remove.await)),
            ]
        })
    }
}

fn is_denied<T, E>(answer: Result<T, SdkError<E, HttpResponse>>) -> bool {
    let Err(error) = answer else { return false };
    let reply = error.raw_response().unwrap();
    let text = String::from_utf8_lossy(reply.body().bytes().unwrap_or_default()).into_owned();
    assert!(!text.contains("InvalidClientTokenId") && !text.contains("SignatureDoesNotMatch"), "{text}");
    reply.status().as_u16() == 403 && text.contains("is not authorized to perform")
}

/// A policy with names in their places, each statement about all resources.
fn about_everything(policy: &str) -> String {
    let mut policy: Value =
        serde_json::from_str(&policy.replace("STACK", STACK).replace("PREFIX", "poolkeeper")).unwrap();
    for statement in policy.pointer_mut("/Statement").unwrap().as_array_mut().unwrap() {
        statement["Resource"] = "*".into();
    }
    policy.to_string()
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
