//! HTTP as data: what the models are asked and what they answer.

use std::borrow::Cow;

/// A header's name, in lower case, and its value.
pub type Header = (Cow<'static, str>, Cow<'static, str>);

/// One request as it came from the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: Cow<'static, str>,
    /// Scheme, host and port by which the client reached us, for example `http://127.0.0.1:8080`.
    pub origin: String,
    /// Path and query.
    pub target: String,
    /// Headers.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

/// One reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Headers beside `Content-Length`. GitHub's have a `date`, by the model's clock.
    pub headers: Vec<Header>,
    /// The body.
    pub body: Vec<u8>,
}

/// Names a request whose reply is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is answered at once.
    Reply(HttpResponse),
    /// It is held, as a long poll is: `advance` hands out the reply when there is one.
    Held(Ticket),
    /// The connection is closed without a reply.
    Close,
    /// The reply's head promises the whole body, half of it follows, then the connection is closed.
    CutShort(HttpResponse),
}

impl HttpRequest {
    /// The first header of that name, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// Path and query, apart.
    #[must_use]
    pub fn path_and_query(&self) -> (&str, &str) {
        self.target.split_once('?').unwrap_or((&self.target, ""))
    }
}
