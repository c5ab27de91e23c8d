//! Long polls, a connection each, with as little memory as a held one needs.
//!
//! A held poll is nearly all that a listener costs, and `reqwest` keeps a third of it in copies and large buffers. So
//! polls go through the client below it, `hyper-util`'s, unless a proxy is in the way.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use poolkeeper_core::github::reply::{TransportError, TransportErrorKind};
use poolkeeper_core::seal::{RawReply, Secret};
use poolkeeper_shell::transport::{redacted, too_large};

use super::clients::{CONNECT_TIMEOUT, IDLE_TIMEOUT, KEEPALIVE};
use super::{FIRST_BODY_BYTES, allowed};

/// Enough for a reply's head; a message's body is read in as many pieces as it takes.
const READ_BUFFER_BYTES: usize = 2048;

/// The client of one connection's polls.
#[derive(Clone, Debug)]
pub(super) struct Polls {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    proxies: Arc<Matcher>,
}

/// A poll that is ready to go.
pub(super) struct Poll {
    pub(super) request: Request<Empty<Bytes>>,
    pub(super) timeout: Duration,
    pub(super) max_body: u32,
    pub(super) sent: Secret,
}

impl Polls {
    pub(super) fn new(tls: rustls::ClientConfig) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(KEEPALIVE));
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_read_buf_exact_size(READ_BUFFER_BYTES)
            .build(https);
        Self { client, proxies: Arc::new(Matcher::from_env()) }
    }

    /// Whether the environment names no proxy for this address.
    pub(super) fn reaches(&self, uri: &hyper::Uri) -> bool {
        self.proxies.intercept(uri).is_none()
    }

    /// Carries a poll there and its reply back.
    pub(super) async fn exchange(self, poll: Poll) -> Result<RawReply, TransportError> {
        let Poll { request, timeout, max_body, sent } = poll;
        let held = self.client.request(request);
        drop(self);
        let whole = async {
            let response = held.await.map_err(|error| fault(error.is_connect(), &error, &sent))?;
            receive(response, max_body, &sent).await
        };
        tokio::time::timeout(timeout, whole).await.unwrap_or_else(|_| {
            let detail = format!("no reply within {} s", timeout.as_secs());
            Err(TransportError { kind: TransportErrorKind::TimedOut, detail })
        })
    }
}

async fn receive(response: Response<Incoming>, max_body: u32, sent: &Secret) -> Result<RawReply, TransportError> {
    let limit = usize::try_from(max_body).unwrap_or(usize::MAX);
    let (head, mut incoming) = response.into_parts();
    let announced = hyper::body::Body::size_hint(&incoming).lower();
    let announced = usize::try_from(announced).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large(max_body));
    }
    let mut body = Vec::with_capacity(announced.min(FIRST_BODY_BYTES));
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| fault(false, &error, sent))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(too_large(max_body));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawReply { status: head.status.as_u16(), headers: allowed(&head.headers), body })
}

fn fault(connecting: bool, error: &dyn std::error::Error, sent: &Secret) -> TransportError {
    let kind = if connecting { TransportErrorKind::Connect } else { TransportErrorKind::Broken };
    TransportError { kind, detail: redacted(error, sent) }
}
