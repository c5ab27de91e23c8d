//! Calls about instances of a group.

use poolkeeper_core::aws::{AwsError, AwsReply, InstanceCall};

use super::{Aws, CALL_TIMEOUT, fault};

impl Aws {
    pub(super) async fn about_instances(&self, group: String, call: InstanceCall) -> Result<AwsReply, AwsError> {
        match call {
            InstanceCall::Protect { instances } => {
                let call = self.client.set_instance_protection().auto_scaling_group_name(group);
                let call = call.set_instance_ids(Some(instances)).protected_from_scale_in(true);
                call.send().await.map_err(fault::aws_error)?;
            }
            InstanceCall::Terminate { instance, decrement } => {
                let call = self.client.terminate_instance_in_auto_scaling_group().instance_id(instance);
                call.should_decrement_desired_capacity(decrement).send().await.map_err(fault::aws_error)?;
            }
            InstanceCall::PutConfig { instance, config } => within(self.store.put(&instance, config)).await?,
            InstanceCall::DeleteConfig { instance } => within(self.store.delete(&instance)).await?,
        }
        Ok(AwsReply::Done)
    }
}

/// Several calls in a row take no longer than one may.
async fn within(calls: impl Future<Output = Result<(), AwsError>>) -> Result<(), AwsError> {
    let late = |_| Err(AwsError::Transport { message: "no answer in time".to_owned() });
    tokio::time::timeout(CALL_TIMEOUT, calls).await.unwrap_or_else(late)
}
