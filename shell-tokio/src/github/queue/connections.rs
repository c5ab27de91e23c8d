//! Connections of HTTP/1.1, each kept when its exchange is over and lent to the next request for the same origin.
//!
//! `hyper-util`'s client does the same and more; but who waits for a reply there holds all that it may yet need to
//! connect once more. Here whoever waits keeps little but its end of the connection: requests and all that goes on while
//! connecting are boxed, as a future is as large as its largest moment.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::HOST;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::service::Service;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::service::TowerToHyperService;
use tokio::time::{Instant, timeout};

/// Enough for the heads of nearly all replies; a message's body is read in as many pieces as it takes.
const READ_BUFFER_BYTES: usize = 2048;

type Body = Empty<Bytes>;
type Sender = SendRequest<Body>;
/// A request that is to be sent.
pub(super) type Outgoing = Box<Request<Body>>;

/// How connections are made and kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// How long connecting may take, TLS included; an origin's addresses share it, so that a dead one is passed over.
    pub(super) connect: Duration,
    /// How long a connection is kept that nobody uses: a little longer when no other one is kept after it.
    pub(super) idle: Duration,
    /// After so long without a byte the peer is asked whether it is still there.
    pub(super) keepalive: Duration,
}

/// Connections that are made, lent and kept.
#[derive(Debug)]
pub(super) struct Connections {
    connector: TowerToHyperService<HttpsConnector<HttpConnector>>,
    times: Times,
    /// A head was too long for [`READ_BUFFER_BYTES`], as a proxy's cookies and policies may make it.
    has_long_heads: AtomicBool,
    idle: Mutex<HashMap<Origin, VecDeque<Idle>>>,
}

/// Whom a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Origin {
    scheme: Scheme,
    authority: Authority,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    connection: Connection,
}

#[derive(Debug)]
struct Connection {
    sender: Sender,
    takes_long_heads: bool,
}

/// A connection that carries an exchange.
pub(super) struct Lent {
    origin: Origin,
    connection: Connection,
}

/// Why a request got no reply.
#[derive(Debug)]
pub(super) enum NoReply {
    /// No connection could be made.
    Connect(Box<dyn Error + Send + Sync>),
    /// It broke, and the request may have arrived.
    Broken(hyper::Error),
}

impl Connections {
    pub(super) fn new(tls: rustls::ClientConfig, times: Times) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(times.connect));
        http.set_keepalive(Some(times.keepalive));
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
        Self {
            connector: TowerToHyperService::new(https),
            times,
            has_long_heads: AtomicBool::new(false),
            idle: Mutex::default(),
        }
    }

    /// Sends a request and waits for the head of its reply. A kept connection that turns out to be closed is no
    /// failure, as long as the request did not leave; the last attempt is made on a new one.
    pub(super) async fn send(&self, request: Outgoing) -> Result<(Response<Incoming>, Lent), NoReply> {
        let (origin, mut request) =
            addressed(request).ok_or_else(|| NoReply::Connect("the URL names no host".into()))?;
        while let Some(mut connection) = self.take(&origin) {
            if connection.sender.ready().await.is_err() {
                continue;
            }
            match connection.sender.try_send_request(*request).await {
                Ok(response) => return Ok((response, Lent { origin, connection })),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => *request = unsent,
                    None => return Err(self.broken(failed.into_error())),
                },
            }
        }
        let mut connection = Box::pin(self.connect(&origin)).await?;
        let response = connection.sender.send_request(*request).await.map_err(|error| self.broken(error))?;
        Ok((response, Lent { origin, connection }))
    }

    /// Takes a connection back whose reply was read to its end.
    pub(super) fn keep(&self, lent: Lent) {
        let Lent { origin, connection } = lent;
        let is_too_small = !connection.takes_long_heads && self.has_long_heads.load(Ordering::Relaxed);
        if is_too_small || connection.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        for kept in idle.values_mut() {
            while kept.front().is_some_and(|oldest| !oldest.is_fit(now, self.times.idle)) {
                kept.pop_front();
            }
        }
        idle.retain(|_, kept| !kept.is_empty());
        idle.entry(origin).or_default().push_back(Idle { since: now, connection });
    }

    /// Once a head was too long, what is connected from then on has room for it, and nothing else is used again.
    fn broken(&self, error: hyper::Error) -> NoReply {
        if error.is_parse_too_large() && !self.has_long_heads.swap(true, Ordering::Relaxed) {
            self.idle().clear();
        }
        NoReply::Broken(error)
    }

    /// The connection that was used last.
    fn take(&self, origin: &Origin) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.idle();
        let kept = idle.get_mut(origin)?;
        while let Some(newest) = kept.pop_back() {
            if newest.is_fit(now, self.times.idle) {
                return Some(newest.connection);
            }
        }
        None
    }

    async fn connect(&self, Origin { scheme, authority }: &Origin) -> Result<Connection, NoReply> {
        let connecting = async {
            let uri = Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/").build()?;
            let stream = self.connector.call(uri).await?;
            let takes_long_heads = self.has_long_heads.load(Ordering::Relaxed);
            let mut builder = Builder::new();
            builder.read_buf_exact_size((!takes_long_heads).then_some(READ_BUFFER_BYTES));
            let (sender, connection) = builder.handshake(stream).await?;
            // Whoever sent the request hears of a connection that breaks.
            drop(tokio::spawn(connection));
            Ok(Connection { sender, takes_long_heads })
        };
        let connected = timeout(self.times.connect, connecting).await;
        connected.unwrap_or_else(|_| Err("connecting took too long".into())).map_err(NoReply::Connect)
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Origin, VecDeque<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn is_fit(&self, now: Instant, for_so_long: Duration) -> bool {
        !self.connection.sender.is_closed() && now.saturating_duration_since(self.since) < for_so_long
    }
}

/// The request as it goes over a connection: its host in a header of its own, and its path alone.
fn addressed(mut request: Outgoing) -> Option<(Origin, Outgoing)> {
    let parts = std::mem::take(request.uri_mut()).into_parts();
    let (scheme, authority) = (parts.scheme?, parts.authority?);
    let is_default = matches!((scheme.as_str(), authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
    let host = if is_default { authority.host() } else { authority.as_str() };
    let host = host.rsplit('@').next().unwrap_or(host).parse().ok()?;
    request.headers_mut().insert(HOST, host);
    *request.uri_mut() = Uri::from(parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Some((Origin { scheme, authority }, request))
}

#[cfg(test)]
mod tests;
