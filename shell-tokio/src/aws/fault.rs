//! Why AWS gave no answer, or refused.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use poolkeeper_core::aws::AwsError;
use poolkeeper_shell::aws::{refused, unparsed};
use poolkeeper_shell::transport::words;

pub(super) fn aws_error<E>(error: SdkError<E, HttpResponse>) -> AwsError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    if let SdkError::ServiceError(refusal) = &error {
        refused(
            refusal.raw().status().as_u16(),
            refusal.err().code().unwrap_or_default(),
            refusal.err().message().unwrap_or_default(),
        )
    } else if let SdkError::ResponseError(response) = &error {
        unparsed(response.raw().status().as_u16())
    } else {
        unanswered(&error)
    }
}

pub(super) fn unanswered(error: &(dyn Error + 'static)) -> AwsError {
    let message = words(error);
    if lacks_credentials(error) { AwsError::Denied { message } } else { AwsError::Transport { message } }
}

fn lacks_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.is::<CredentialsError>() {
            return true;
        }
        cause = inner.source();
    }
    false
}
