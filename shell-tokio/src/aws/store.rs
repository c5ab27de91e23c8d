//! Carries runner configs to their instances, through the Parameter Store of Systems Manager.
//!
//! One parameter for each instance, encrypted, tagged with the instance so that a policy can let each read its own
//! alone. It expires by itself should nobody delete it.

use std::sync::Arc;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{ParameterTier, ParameterType, Tag};
use poolkeeper_core::aws::AwsError;
use poolkeeper_core::github::request::Slot;
use poolkeeper_shell::aws::{INSTANCE_TAG, STACK_TAG, expiration, parameter_place};
use poolkeeper_shell::clock;
use poolkeeper_shell::vault::Vault;

use super::fault;

/// Where configs are kept for instances.
#[derive(Clone, Debug)]
pub(super) struct Store {
    client: Client,
    vault: Arc<Vault>,
    /// What the names of parameters begin with.
    place: String,
    stack: String,
}

impl Store {
    pub(super) fn new(client: Client, vault: Arc<Vault>, prefix: &str, stack: &str) -> Self {
        let place = parameter_place(prefix, stack);
        Self { client, vault, place, stack: stack.to_owned() }
    }

    /// Keeps a config for an instance, in place of one that is there.
    pub(super) async fn put(&self, instance: &str, config: Slot) -> Result<(), AwsError> {
        match self.put_new(instance, config).await {
            // Tags cannot go with a value that is written over.
            Err(Refusal::Exists) => {
                self.delete(instance).await?;
                self.put_new(instance, config).await.map_err(Refusal::into_error)
            }
            result => result.map_err(Refusal::into_error),
        }
    }

    async fn put_new(&self, instance: &str, config: Slot) -> Result<(), Refusal> {
        let secret =
            self.vault.jit_config(config).map_err(|message| Refusal::Other(AwsError::Validation { message }))?;
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let tags = [tag(INSTANCE_TAG, instance), tag(STACK_TAG, &self.stack)].into_iter().collect::<Result<_, _>>();
        let tags = tags.map_err(|error| Refusal::Other(AwsError::Validation { message: error.to_string() }))?;
        let put = self
            .client
            .put_parameter()
            .name(self.name(instance))
            .value(secret.reveal())
            .r#type(ParameterType::SecureString)
            .tier(ParameterTier::Advanced)
            .policies(expiration(clock::unix_s()))
            .set_tags(Some(tags));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_parameter_already_exists()) => {
                Err(Refusal::Exists)
            }
            Err(error) => Err(Refusal::Other(fault::aws_error(error))),
        }
    }

    /// Deletes an instance's config; that there is none is as good.
    pub(super) async fn delete(&self, instance: &str) -> Result<(), AwsError> {
        match self.client.delete_parameter().name(self.name(instance)).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_parameter_not_found()) => Ok(()),
            Err(error) => Err(fault::aws_error(error)),
        }
    }

    fn name(&self, instance: &str) -> String {
        format!("{}/{instance}", self.place)
    }
}

/// Why a config was not stored.
enum Refusal {
    Exists,
    Other(AwsError),
}

impl Refusal {
    fn into_error(self) -> AwsError {
        match self {
            Self::Exists => AwsError::Contention,
            Self::Other(error) => error,
        }
    }
}
