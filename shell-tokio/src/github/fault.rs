//! What the HTTP client's errors mean.

use poolkeeper_core::github::reply::{TransportError, TransportErrorKind};
use poolkeeper_core::seal::Secret;
use poolkeeper_shell::transport::redacted;

/// What the HTTP client's error means; its words name no URL, and not what was sent.
pub(super) fn transport_error(error: reqwest::Error, sent: &Secret) -> TransportError {
    let kind = if error.is_connect() {
        TransportErrorKind::Connect
    } else if error.is_builder() {
        TransportErrorKind::NotSent
    } else if error.is_timeout() {
        TransportErrorKind::TimedOut
    } else {
        TransportErrorKind::Broken
    };
    TransportError { kind, detail: redacted(&error.without_url(), sent) }
}
