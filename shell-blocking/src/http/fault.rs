//! Why an exchange ended without a reply.

use poolkeeper_core::github::reply::{TransportError, TransportErrorKind};
use poolkeeper_core::seal::Secret;
use poolkeeper_shell::transport::{redacted_text, too_large, words};
use ureq::{Error, Timeout};

use super::dial::NotConnected;

/// An exchange without a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: TransportErrorKind,
    pub(crate) detail: String,
    /// The status of a reply whose body did not come whole.
    pub(crate) status: Option<u16>,
}

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
        Self { kind: kind(&error), detail: words(&error), status: None }
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
