//! Calls about instances of a group.

use poolkeeper_core::aws::{AwsError, AwsReply, InstanceCall, WARM_MEMBERS_A_PAGE};
use poolkeeper_core::short_text::ShortText;

use poolkeeper_shell::aws::CONTINUE;

use super::{Aws, CALL_TIMEOUT, fault, group};

impl Aws {
    pub(super) async fn about_instances(&self, group: ShortText, call: InstanceCall) -> Result<AwsReply, AwsError> {
        match call {
            InstanceCall::Protect { instances } => {
                let call = self.client.set_instance_protection().auto_scaling_group_name(group);
                let instances = instances.into_iter().map(Into::into).collect();
                let call = call.set_instance_ids(Some(instances)).protected_from_scale_in(true);
                call.send().await.map_err(fault::aws_error)?;
            }
            InstanceCall::Terminate { instance, decrement } => {
                let call = self.client.terminate_instance_in_auto_scaling_group().instance_id(instance);
                call.should_decrement_desired_capacity(decrement).send().await.map_err(fault::aws_error)?;
            }
            InstanceCall::CompleteHook { instance, hook } => {
                let call = self.client.complete_lifecycle_action().auto_scaling_group_name(group).instance_id(instance);
                let call = call.lifecycle_hook_name(hook).lifecycle_action_result(CONTINUE);
                call.send().await.map_err(fault::aws_error)?;
            }
            InstanceCall::WarmMembers { next_token } => return self.warm_members(group, next_token).await,
            InstanceCall::PutConfig { instance, config } => within(self.store.put(&instance, config)).await?,
            InstanceCall::DeleteConfig { instance } => within(self.store.delete(&instance)).await?,
        }
        Ok(AwsReply::Done)
    }

    async fn warm_members(&self, name: ShortText, next_token: Option<String>) -> Result<AwsReply, AwsError> {
        let page = i32::try_from(WARM_MEMBERS_A_PAGE).unwrap_or(i32::MAX);
        let call = self.client.describe_warm_pool().auto_scaling_group_name(name).max_records(page);
        let output = call.set_next_token(next_token).send().await.map_err(fault::aws_error)?;
        let members = output.instances.unwrap_or_default().into_iter().filter_map(group::warm_member).collect();
        Ok(AwsReply::WarmMembers { members, next_token: output.next_token.filter(|token| !token.is_empty()) })
    }
}

/// Several calls in a row take no longer than one may.
async fn within(calls: impl Future<Output = Result<(), AwsError>>) -> Result<(), AwsError> {
    let late = |_| Err(AwsError::Transport { message: "no answer in time".to_owned() });
    tokio::time::timeout(CALL_TIMEOUT, calls).await.unwrap_or_else(late)
}
