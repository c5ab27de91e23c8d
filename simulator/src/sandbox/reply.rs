//! Between the models' requests and replies and those of the HTTP library.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::time::Sleep;

use crate::http::{HttpRequest, HttpResponse};

/// The most bytes of a request's body: no call of either API comes near.
const MAX_BODY: usize = 1024 * 1024;

/// The connection is closed on purpose.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

/// How long a reply that breaks off stays open, so that its first half is on the wire by then.
const BREAK_AFTER: Duration = Duration::from_millis(20);

/// A reply's body, which may break off.
pub(crate) struct ReplyBody {
    data: Bytes,
    breaks_off: Option<Pin<Box<Sleep>>>,
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        match &mut self.breaks_off {
            Some(sleep) => sleep.as_mut().poll(cx).map(|()| Some(Err(Closed))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.breaks_off.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.breaks_off.is_some() {
            return SizeHint::new();
        }
        SizeHint::with_exact(u64::try_from(self.data.len()).unwrap_or(u64::MAX))
    }
}

/// The request with its whole body, or the reply that refuses it.
pub(crate) async fn read(scheme: &str, request: Request<Incoming>) -> Result<HttpRequest, HttpResponse> {
    let (head, mut incoming) = request.into_parts();
    let host = head.headers.get(HOST).and_then(|value| value.to_str().ok());
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let origin = format!("{scheme}://{}", authority.or(host).unwrap_or_default());
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string().into(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()));
    let headers = headers.collect();
    let mut body = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
        let Ok(frame) = frame else { return Err(refusal(400, "the body broke off")) };
        let Some(data) = frame.data_ref() else { continue };
        if body.len() + data.len() > MAX_BODY {
            return Err(refusal(413, "the body is too long"));
        }
        body.extend_from_slice(data);
    }
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    Ok(HttpRequest { method: head.method.as_str().to_owned().into(), origin, target, headers, body })
}

pub(crate) fn whole(response: HttpResponse) -> Result<Response<ReplyBody>, Closed> {
    build(response, None)
}

/// The head promises the whole body, half of it follows, then the connection breaks.
pub(crate) fn half(mut response: HttpResponse) -> Result<Response<ReplyBody>, Closed> {
    let promised = response.body.len().max(1);
    response.body.truncate(promised / 2);
    build(response, Some(promised))
}

fn build(response: HttpResponse, promised: Option<usize>) -> Result<Response<ReplyBody>, Closed> {
    let HttpResponse { status, headers, body } = response;
    let breaks_off = promised.map(|_| Box::pin(tokio::time::sleep(BREAK_AFTER)));
    let body = ReplyBody { data: Bytes::from(body), breaks_off };
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(status).map_err(|_| Closed)?;
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Closed)?;
        let value = HeaderValue::from_str(&value).map_err(|_| Closed)?;
        reply.headers_mut().append(name, value);
    }
    if let Some(promised) = promised {
        reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(promised));
    }
    Ok(reply)
}

fn refusal(status: u16, text: &str) -> HttpResponse {
    HttpResponse { status, headers: vec![("content-type".into(), "text/plain".into())], body: text.as_bytes().to_vec() }
}
