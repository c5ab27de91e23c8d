//! Why AWS gave no answer, or refused.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use poolkeeper_core::aws::AwsError;

use crate::github::words;

/// The most characters of AWS's words that are kept.
const MESSAGE_CHARS: usize = 300;
const SERVER_ERROR: u16 = 500;
const THROTTLED: [&str; 6] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "RequestThrottled",
];
const CONTENTION: [&str; 3] = ["ResourceContention", "ResourceContentionFault", "ScalingActivityInProgress"];
const DENIED: [&str; 12] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// The name of an error in metrics.
pub(super) const fn kind(error: &AwsError) -> &'static str {
    match error {
        AwsError::Throttled => "throttled",
        AwsError::Denied { .. } => "denied",
        AwsError::Contention => "contention",
        AwsError::Validation { .. } => "validation",
        AwsError::Misbehaved { .. } => "misbehaved",
        AwsError::Transport { .. } => "transport",
    }
}

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
        let status = response.raw().status().as_u16();
        AwsError::Misbehaved { message: format!("HTTP {status}: the reply does not parse") }
    } else {
        unanswered(&error)
    }
}

fn refused(status: u16, code: &str, message: &str) -> AwsError {
    let told: String = if message.is_empty() { format!("HTTP {status} {code}") } else { format!("{code}: {message}") };
    let message = told.chars().take(MESSAGE_CHARS).collect();
    if THROTTLED.contains(&code) {
        AwsError::Throttled
    } else if CONTENTION.contains(&code) {
        AwsError::Contention
    } else if DENIED.contains(&code) {
        AwsError::Denied { message }
    } else if status >= SERVER_ERROR || code.is_empty() {
        AwsError::Misbehaved { message }
    } else {
        AwsError::Validation { message }
    }
}

fn unanswered(error: &(dyn Error + 'static)) -> AwsError {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_kind() {
        let cases = [
            (400, "Throttling", "throttled"),
            (503, "RequestLimitExceeded", "throttled"),
            (500, "ResourceContention", "contention"),
            (400, "ScalingActivityInProgress", "contention"),
            (403, "AccessDenied", "denied"),
            (403, "ExpiredToken", "denied"),
            (403, "SignatureDoesNotMatch", "denied"),
            (400, "ValidationError", "validation"),
            (500, "InternalFailure", "misbehaved"),
            (200, "", "misbehaved"),
            (404, "", "misbehaved"),
        ];

        for (status, code, expected) in cases {
            assert_eq!(kind(&refused(status, code, "words")), expected, "{status} {code}");
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let AwsError::Validation { message } = refused(400, "ValidationError", &"x".repeat(9000)) else {
            panic!("a validation error");
        };

        assert_eq!(message.chars().count(), MESSAGE_CHARS);
    }
}
