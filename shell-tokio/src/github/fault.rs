//! Why an exchange ended without a reply, in words that hold no secret.

use std::error::Error;
use std::fmt::Write;

use poolkeeper_core::github::reply::{TransportError, TransportErrorKind};
use poolkeeper_core::seal::Secret;

/// The most characters of an HTTP client's words that are kept.
const DETAIL_CHARS: usize = 300;
/// The most causes that are told.
const CAUSES_MAX: usize = 6;
/// Shorter texts are no secrets.
const SHORTEST_SECRET: usize = 8;

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

/// An error's words, without what was sent.
pub(super) fn redacted(error: &dyn Error, sent: &Secret) -> String {
    let detail = words(error);
    if sent.reveal().len() < SHORTEST_SECRET { detail } else { detail.replace(sent.reveal(), "[redacted]") }
}

pub(super) fn too_large(max_body: u32) -> TransportError {
    TransportError { kind: TransportErrorKind::TooLarge, detail: format!("the body is longer than {max_body} bytes") }
}

pub(super) fn not_sent(detail: impl Into<String>) -> TransportError {
    TransportError { kind: TransportErrorKind::NotSent, detail: detail.into() }
}

/// An error and its causes in one line, cut short.
pub(crate) fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(inner) = cause else { break };
        let said = inner.to_string();
        if !text.ends_with(&said) {
            let _infallible = write!(text, ": {said}");
        }
        cause = inner.source();
    }
    text.chars().take(DETAIL_CHARS).collect()
}
