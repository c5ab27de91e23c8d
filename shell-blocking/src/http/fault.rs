//! Why an exchange ended without a reply.

use std::fmt;

use poolkeeper_core::github::reply::{TransportError, TransportErrorKind};
use poolkeeper_core::seal::Secret;
use poolkeeper_shell::transport::{all_words, redacted_text, too_large};
use ureq::{Error, Timeout};

/// Why there is no connection: nothing was sent.
#[derive(Debug)]
pub(super) struct NotConnected(Error);

/// An exchange without a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: TransportErrorKind,
    /// The HTTP client's words, which may hold what was sent until [`Self::into_error`] has seen them.
    pub(crate) detail: String,
    /// The status of a reply whose body did not come whole.
    pub(crate) status: Option<u16>,
}

impl NotConnected {
    pub(super) fn error(cause: Error) -> Error {
        Error::Other(Box::new(Self(cause)))
    }

    pub(super) fn because(what: &str) -> Error {
        Self::error(Error::Io(std::io::Error::other(what)))
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect: {}", self.0)
    }
}

impl std::error::Error for NotConnected {}

impl Fault {
    pub(crate) fn too_large(body_max: u32) -> Self {
        let TransportError { kind, detail } = too_large(body_max);
        Self { kind, detail, status: None }
    }

    /// The same of a reply that had begun.
    pub(super) fn in_reply(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    /// The same for the machine, without what was sent.
    pub(crate) fn into_error(self, sent: &Secret) -> TransportError {
        TransportError { kind: self.kind, detail: redacted_text(self.detail, sent) }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { kind: kind(&error), detail: all_words(&error), status: None }
    }
}

fn kind(error: &Error) -> TransportErrorKind {
    let is_unconnected = matches!(error, Error::Other(cause) if cause.is::<NotConnected>());
    let is_unresolved = matches!(
        error,
        Error::Timeout(Timeout::Connect | Timeout::Resolve) | Error::HostNotFound | Error::ConnectionFailed
    );
    if is_unconnected || is_unresolved {
        TransportErrorKind::Connect
    } else if matches!(error, Error::Timeout(_)) {
        TransportErrorKind::TimedOut
    } else if matches!(error, Error::Http(_) | Error::BadUri(_) | Error::InvalidProxyUrl) {
        TransportErrorKind::NotSent
    } else {
        TransportErrorKind::Broken
    }
}
