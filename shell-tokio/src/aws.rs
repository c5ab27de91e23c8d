//! Carries typed calls to EC2 Auto Scaling, and configs to their instances.

mod fault;
mod group;
mod https;
mod instances;
mod region;
mod shortcut;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::StalledStreamProtectionConfig;
use aws_sdk_autoscaling::config::retry::RetryConfig;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::types::Filter;
use aws_smithy_http_client::Builder;
use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, GROUPS_A_PAGE, GroupQuery};
use poolkeeper_core::event::Event;
use poolkeeper_core::github::request::RequestId;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_shell::aws;
use poolkeeper_shell::config::AwsSettings;
use poolkeeper_shell::start::StartProblem;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;

use crate::inbox::Promise;
use shortcut::Shortcut;
use store::Store;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The client of one account and region.
#[derive(Clone, Debug)]
pub struct Aws {
    client: Client,
    shortcut: Shortcut,
    store: Store,
    telemetry: Arc<Telemetry>,
}

impl Aws {
    /// Makes the client. Region and credentials that are not given are found as the SDK finds them, credentials with
    /// the first call.
    ///
    /// # Errors
    /// When there is no region; `source` is where the config was read from.
    pub async fn open(
        settings: &AwsSettings,
        source: &Path,
        stack: &str,
        vault: Arc<Vault>,
        credentials: Option<SharedCredentialsProvider>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, StartProblem> {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(https::client())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts);
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let found = loader.load().await;
        let Some(region) = found.region() else { return Err(region::problem(source).await) };
        let shortcut = Shortcut::new(region.as_ref());
        let found = match found.credentials_provider() {
            Some(provider) => found.to_builder().credentials_provider(shortcut.watch(provider)).build(),
            None => found,
        };
        let mut config = aws_sdk_autoscaling::config::Builder::from(&found).interceptor(shortcut.clone());
        let mut ssm = aws_sdk_ssm::config::Builder::from(&found);
        if let Some(url) = &settings.endpoint_url {
            (config, ssm) = (config.endpoint_url(url), ssm.endpoint_url(url));
            if url.starts_with("http://") {
                config = config.http_client(Builder::new().build_http());
                ssm = ssm.http_client(Builder::new().build_http());
            }
        }
        let ssm = aws_sdk_ssm::Client::from_conf(ssm.build());
        let store = Store::new(ssm, vault, &settings.parameter_prefix, stack);
        Ok(Self { client: Client::from_conf(config.build()), shortcut, store, telemetry })
    }

    /// Starts a call whose answer keeps the promise.
    pub fn start(&self, id: RequestId, call: AwsCall, promise: Promise) {
        let aws = self.clone();
        tokio::spawn(async move {
            let result = aws.call(call).await;
            promise.keep(Event::AwsReply { id, result });
        });
    }

    /// Makes one call.
    ///
    /// # Errors
    /// When AWS refused, answered nonsense, or nothing came.
    pub async fn call(&self, call: AwsCall) -> Result<AwsReply, AwsError> {
        let started = Instant::now();
        let name = call.action();
        let result = match call {
            AwsCall::DescribeGroups { query, next_token } => self.describe(query, next_token).await,
            AwsCall::SetDesiredCapacity { group, desired } => self.set_desired_capacity(group, desired).await,
            AwsCall::Instances { group, call } => self.about_instances(group, call).await,
        };
        let outcome = result.as_ref().map_or_else(aws::kind, |_| "ok");
        self.telemetry.aws_call(name, outcome, started.elapsed());
        result
    }

    async fn describe(&self, query: GroupQuery, next_token: Option<String>) -> Result<AwsReply, AwsError> {
        let page = i32::try_from(GROUPS_A_PAGE).unwrap_or(i32::MAX);
        let call = self.client.describe_auto_scaling_groups().max_records(page).set_next_token(next_token);
        let call = match query {
            GroupQuery::Tagged { key, value } => {
                call.filters(Filter::builder().name(format!("tag:{key}")).values(value).build())
            }
            GroupQuery::Named(names) => {
                call.set_auto_scaling_group_names(Some(names.into_iter().map(Into::into).collect()))
            }
        };
        let output = call.send().await.map_err(fault::aws_error)?;
        let groups =
            output.auto_scaling_groups.unwrap_or_default().into_iter().map(group::group).collect::<Result<_, _>>()?;
        Ok(AwsReply::Groups { groups, next_token: output.next_token.filter(|t| !t.is_empty()) })
    }

    async fn set_desired_capacity(&self, group: ShortText, desired: u32) -> Result<AwsReply, AwsError> {
        let started = Instant::now();
        match self.shortcut.set_desired_capacity(&group, desired).await {
            Some(Err(denied @ AwsError::Denied { .. })) => {
                self.telemetry.aws_call("SetDesiredCapacity", aws::kind(&denied), started.elapsed());
            }
            Some(result) => return result,
            None => {}
        }
        let desired = i32::try_from(desired)
            .map_err(|_| AwsError::Validation { message: format!("{desired} is more than AWS can count") })?;
        self.client
            .set_desired_capacity()
            .auto_scaling_group_name(group)
            .desired_capacity(desired)
            .honor_cooldown(false)
            .send()
            .await
            .map_err(fault::aws_error)?;
        Ok(AwsReply::Done)
    }
}
