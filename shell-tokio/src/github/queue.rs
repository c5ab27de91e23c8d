//! Calls to message queues: polls, a connection each, with as little memory as a held one needs; and acknowledgements.
//!
//! A held poll is nearly all that a listener costs, and `reqwest` keeps a third of it in copies and large buffers. So
//! polls go through `hyper` itself, the layer below, unless a proxy is in the way. Acknowledgements are carried by a
//! connection that has just brought a message, until the next poll needs it.

mod connections;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper_util::client::proxy::matcher::Matcher;
use poolkeeper_core::github::reply::{TransportError, TransportErrorKind};
use poolkeeper_core::seal::{RawReply, Secret};
use poolkeeper_shell::transport::{redacted, too_large};

use super::clients::{CONNECT_TIMEOUT, IDLE_TIMEOUT, KEEPALIVE};
use super::{FIRST_BODY_BYTES, allowed};
use connections::{Connections, NoReply, Outgoing, Times};

const TIMES: Times = Times { connect: CONNECT_TIMEOUT, idle: IDLE_TIMEOUT, keepalive: KEEPALIVE };

/// The client of one connection's queues.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    connections: Arc<Connections>,
    proxies: Arc<Matcher>,
}

/// A poll or an acknowledgement that is ready to go.
pub(super) struct QueueCall {
    pub(super) request: Outgoing,
    pub(super) timeout: Duration,
    pub(super) max_body: u32,
    pub(super) sent: Secret,
}

impl Queue {
    pub(super) fn new(tls: rustls::ClientConfig) -> Self {
        Self { connections: Arc::new(Connections::new(tls, TIMES)), proxies: Arc::new(Matcher::from_env()) }
    }

    /// Whether the environment names no proxy for this address.
    pub(super) fn reaches(&self, uri: &hyper::Uri) -> bool {
        self.proxies.intercept(uri).is_none()
    }

    /// Carries a call there and its reply back.
    pub(super) async fn exchange(self, call: Box<QueueCall>) -> Result<RawReply, TransportError> {
        let QueueCall { request, timeout, max_body, sent } = *call;
        let whole = async {
            let sending = self.connections.send(request);
            let (response, lent) = sending.await.map_err(|no_reply| no_reply_fault(&no_reply, &sent))?;
            let raw = receive(response, max_body, &sent).await?;
            self.connections.keep(lent);
            Ok(raw)
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
        let frame = frame.map_err(|error| fault(TransportErrorKind::Broken, &error, sent))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(too_large(max_body));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawReply { status: head.status.as_u16(), headers: allowed(&head.headers), body })
}

fn no_reply_fault(no_reply: &NoReply, sent: &Secret) -> TransportError {
    match no_reply {
        NoReply::Connect(error) => fault(TransportErrorKind::Connect, error.as_ref(), sent),
        NoReply::Broken(error) => fault(TransportErrorKind::Broken, error, sent),
    }
}

fn fault(kind: TransportErrorKind, error: &dyn std::error::Error, sent: &Secret) -> TransportError {
    TransportError { kind, detail: redacted(error, sent) }
}
