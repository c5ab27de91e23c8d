//! How AWS refuses.

use std::fmt;

use poolkeeper_core::aws::AwsError;

/// An error as the Auto Scaling API reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The error's code, for example `ValidationError`.
    pub code: &'static str,
    /// The error's text.
    pub message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationError", message)
    }

    pub(crate) fn throttling() -> Self {
        Self::new(400, "Throttling", "Rate exceeded")
    }

    pub(crate) fn no_group(name: &str) -> Self {
        Self::validation(format!("AutoScalingGroup name not found - AutoScalingGroup: {name} not found"))
    }

    pub(crate) fn no_instance(id: &str) -> Self {
        Self::validation(format!("Instance Id not found - No managed instance found for instance ID: {id}"))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}

impl From<ApiError> for AwsError {
    fn from(error: ApiError) -> Self {
        let ApiError { status, code, message } = error;
        match code {
            "Throttling" => Self::Throttled,
            "ResourceContention" | "ScalingActivityInProgress" => Self::Contention,
            "AccessDenied"
            | "MissingAuthenticationToken"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch" => Self::Denied { message },
            _ if status >= 500 => Self::Misbehaved { message },
            _ => Self::Validation { message },
        }
    }
}
