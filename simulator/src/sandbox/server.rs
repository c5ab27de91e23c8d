//! HTTP/1.1 and HTTP/2 on sockets.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::host::{Host, Outcome, Port};
use super::reply::{self, Closed, ReplyBody};
use crate::http::Served;

/// How long a handshake or a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long accepting pauses when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// The most bytes a connection buffers while it reads a request.
const READ_BUFFER: usize = 64 * 1024;

/// The open ports and what stands behind them.
pub(crate) struct Doors {
    pub(crate) github: TcpListener,
    pub(crate) aws: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) aws_tls: Option<TlsAcceptor>,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) host: Arc<Host>,
}

impl Doors {
    /// Serves until told to stop.
    pub(crate) async fn serve(self, mut stopped: watch::Receiver<bool>) {
        let Self { github, aws, tls, aws_tls, max_concurrent_streams, host } = self;
        let door = |port, tls| Door { port, tls, max_concurrent_streams, host: Arc::clone(&host) };
        let (github_door, aws_door) = (door(Port::GitHub, tls), door(Port::Aws, aws_tls));
        tokio::select! {
            never = accept(github, github_door) => match never {},
            never = accept(aws, aws_door) => match never {},
            () = host.run_timers() => (),
            // An error means that the sandbox was dropped.
            _ = stopped.wait_for(|stop| *stop) => (),
        }
    }
}

#[derive(Clone)]
struct Door {
    port: Port,
    tls: Option<TlsAcceptor>,
    max_concurrent_streams: u32,
    host: Arc<Host>,
}

async fn accept(listener: TcpListener, door: Door) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => drop(tokio::spawn(door.clone().connection(socket))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

impl Door {
    /// Serves one connection until either side ends it. Its errors are the client's to notice.
    async fn connection(self, socket: TcpStream) {
        // A socket that refuses the option is slower, not wrong.
        drop(socket.set_nodelay(true));
        let Some(tls) = self.tls.clone() else {
            return self.http1("http", socket).await;
        };
        let handshake = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(socket)).await;
        let Ok(Ok(stream)) = handshake else { return };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Box::pin(self.http2(stream)).await;
        } else {
            Box::pin(self.http1("https", stream)).await;
        }
    }

    async fn http1<S>(self, scheme: &'static str, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |request| self.clone().answer(scheme, request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(READ_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        drop(connection.await);
    }

    async fn http2<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let streams = self.max_concurrent_streams;
        let service = service_fn(move |request| self.clone().answer("https", request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            .serve_connection(TokioIo::new(stream), service);
        drop(connection.await);
    }

    async fn answer(self, scheme: &'static str, request: Request<Incoming>) -> Result<Response<ReplyBody>, Closed> {
        let request = match reply::read(scheme, request).await {
            Ok(request) => request,
            Err(refusal) => return reply::whole(refusal),
        };
        match self.host.serve(self.port, request) {
            Outcome::Now(Served::Reply(response)) => reply::whole(response),
            Outcome::Now(Served::CutShort(response)) => reply::half(response),
            Outcome::Now(Served::Close | Served::Held(_)) => Err(Closed),
            Outcome::Later(held) => match held.reply().await {
                Some(response) => reply::whole(response),
                None => Err(Closed),
            },
        }
    }
}
