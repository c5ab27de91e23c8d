//! HTTP as data: what the models are asked and what they answer.

/// One request as it came from the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// Scheme, host and port by which the client reached us, for example `http://127.0.0.1:8080`.
    pub origin: String,
    /// Path and query.
    pub target: String,
    /// Headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// One reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Headers beside `Content-Length` and `Date`.
    pub headers: Vec<(String, String)>,
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
}
