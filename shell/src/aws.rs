//! What an answer of AWS means, and where configs are kept for instances: the same for every AWS client.

#[cfg(feature = "aws-query")]
pub mod query;

use std::time::Duration;

use poolkeeper_core::aws::AwsError;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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
const DENIED: [&str; 16] = [
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// What a completed launch hook is told: the instance may go on.
pub const CONTINUE: &str = "CONTINUE";
/// The tag that names the instance a parameter is for.
pub const INSTANCE_TAG: &str = "InstanceId";
/// The tag that names the stack.
pub const STACK_TAG: &str = "runs-on-stack";
/// A parameter that nobody deletes expires after this.
const EXPIRES_AFTER: Duration = Duration::from_secs(30 * 60);

/// The name of an error in metrics.
#[must_use]
pub const fn kind(error: &AwsError) -> &'static str {
    match error {
        AwsError::Throttled => "throttled",
        AwsError::Denied { .. } => "denied",
        AwsError::Contention => "contention",
        AwsError::Validation { .. } => "validation",
        AwsError::Misbehaved { .. } => "misbehaved",
        AwsError::Transport { .. } => "transport",
    }
}

/// What a refusal means, from its status and AWS's own code and words. Of the words the first line is kept: after it a
/// refused signature brings what should have been signed, credentials included.
#[must_use]
pub fn refused(status: u16, code: &str, message: &str) -> AwsError {
    let message = message.lines().next().unwrap_or_default();
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

/// A reply that does not parse.
#[must_use]
pub fn unparsed(status: u16) -> AwsError {
    AwsError::Misbehaved { message: format!("HTTP {status}: the reply does not parse") }
}

/// What the names of a stack's parameters begin with.
#[must_use]
pub fn parameter_place(prefix: &str, stack: &str) -> String {
    format!("{}/{stack}", prefix.trim_end_matches('/'))
}

/// The policy by which a parameter that is stored now ends by itself.
#[must_use]
pub fn expiration(unix_s: u64) -> String {
    let at = unix_s.saturating_add(EXPIRES_AFTER.as_secs());
    let at = i64::try_from(at).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let at = at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    format!(r#"[{{"Type":"Expiration","Version":"1.0","Attributes":{{"Timestamp":"{at}"}}}}]"#)
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

    #[test]
    fn what_should_have_been_signed_is_not_kept() {
        let words = "The request signature does not match.\n\nThe Canonical String should have been\n\
                     'POST\nx-amz-security-token:TOKEN\n'";

        let error = refused(403, "SignatureDoesNotMatch", words);

        let message = "SignatureDoesNotMatch: The request signature does not match.".to_owned();
        assert_eq!(error, AwsError::Denied { message });
    }

    #[test]
    fn a_parameter_expires_half_an_hour_later() {
        let wanted = r#"[{"Type":"Expiration","Version":"1.0","Attributes":{"Timestamp":"1970-01-01T00:30:00Z"}}]"#;
        assert_eq!(expiration(0), wanted);
    }
}
