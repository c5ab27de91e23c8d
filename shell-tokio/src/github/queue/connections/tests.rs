use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use http_body_util::BodyExt;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

use super::*;

const TIMES: Times =
    Times { connect: Duration::from_secs(10), idle: Duration::from_secs(60), keepalive: Duration::from_secs(60) };
const KEEPS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const CLOSES: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";

/// A server that answers each request with the same reply, and counts its connections.
struct Server {
    base: String,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// After `a_connection` replies it closes each connection without a word.
    async fn start(reply: &'static str, a_connection: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let server = Self { base, connections: Arc::clone(&connections), heads: Arc::clone(&heads) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(answer(stream, reply, a_connection, Arc::clone(&heads)));
            }
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn answer(mut stream: TcpStream, reply: &'static str, times: usize, heads: Arc<Mutex<Vec<String>>>) {
    for _ in 0..times {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        heads.lock().expect("no test fails in it").push(String::from_utf8_lossy(&head).into_owned());
        stream.write_all(reply.as_bytes()).await.expect("the client reads");
    }
}

fn connections(times: Times) -> Connections {
    Connections::new(poolkeeper_shell::tls::config(None).expect("roots"), times)
}

fn get(url: &str) -> Outgoing {
    Box::new(Request::get(url).body(Body::new()).expect("a request"))
}

async fn exchange(connections: &Connections, url: &str) -> Result<String, NoReply> {
    let (response, lent) = connections.send(get(url)).await?;
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    connections.keep(lent);
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_connection_serves_one_exchange_after_the_other() {
    let server = Server::start(KEEPS, usize::MAX).await;
    let connections = connections(TIMES);
    for _ in 0..3 {
        assert_eq!(exchange(&connections, &format!("{}/a?b=c", server.base)).await.expect("a reply"), "hi");
    }
    assert_eq!(server.connections(), 1);
    let heads = server.heads.lock().expect("no test fails in it").clone();
    let host = server.base.trim_start_matches("http://");
    for head in heads {
        assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {host}\r\n")), "{head}");
    }
}

/// The exchange that meets it is lost, and a poll is made again.
#[tokio::test]
async fn a_long_head_is_met_on_connections_that_were_made_before_and_not_again() {
    let reply: &str =
        format!("HTTP/1.1 200 OK\r\nset-cookie: {}\r\ncontent-length: 2\r\n\r\nhi", "c".repeat(60_000)).leak();
    for kept in [0, 2] {
        let (long, short) = (Server::start(reply, usize::MAX).await, Server::start(KEEPS, usize::MAX).await);
        let connections = connections(TIMES);
        for _ in 0..kept {
            let (origin, _) = addressed(get(&long.base)).expect("a host");
            let Ok(connection) = connections.connect(&origin).await else { panic!("the server listens") };
            connections.keep(Lent { origin, connection });
        }
        let (response, in_use) = connections.send(get(&short.base)).await.expect("a reply");
        response.into_body().collect().await.expect("a body");
        exchange(&connections, &short.base).await.expect("a reply");
        let Err(NoReply::Broken(error)) = exchange(&connections, &long.base).await else {
            panic!("60 kB fit into {READ_BUFFER_BYTES}")
        };
        assert!(error.is_parse_too_large(), "{error}");
        connections.keep(in_use);
        for base in [&long.base, &long.base, &short.base, &short.base] {
            assert_eq!(exchange(&connections, base).await.expect("a reply"), "hi");
        }
        assert_eq!(
            (long.connections(), short.connections()),
            (1 + kept.max(1), 3),
            "none that is too small is used again"
        );
    }
}

#[tokio::test]
async fn exchanges_at_once_have_a_connection_each() {
    let server = Server::start(KEEPS, usize::MAX).await;
    let connections = connections(TIMES);
    let (first, second) = tokio::join!(connections.send(get(&server.base)), connections.send(get(&server.base)));
    drop((first.expect("a reply"), second.expect("a reply")));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_the_server_closed_is_replaced() {
    for (reply, a_connection) in [(CLOSES, usize::MAX), (KEEPS, 1)] {
        let server = Server::start(reply, a_connection).await;
        let connections = connections(TIMES);
        for _ in 0..20 {
            assert_eq!(exchange(&connections, &server.base).await.expect("a reply"), "hi");
            while connections.idle().values().flatten().any(|kept| !kept.connection.sender.is_closed()) {
                yield_now().await;
            }
        }
        assert_eq!(server.connections(), 20);
    }
}

/// Whether the connection dies once it takes requests, or before.
#[tokio::test]
async fn a_request_that_did_not_leave_goes_over_a_new_connection() {
    for takes_requests in [true, false] {
        let server = Server::start(KEEPS, usize::MAX).await;
        let connections = connections(TIMES);
        let (ours, _theirs) = tokio::io::duplex(64);
        let (sender, mut connection) = handshake(TokioIo::new(ours)).await.expect("a connection");
        if takes_requests {
            let waits = poll_fn(|cx| Poll::Ready(Pin::new(&mut connection).poll(cx).is_pending())).await;
            assert!(waits);
        }
        let (origin, _) = addressed(get(&server.base)).expect("a host");
        connections.keep(Lent { origin, connection: Connection { sender, takes_long_heads: false } });
        let dies = async {
            yield_now().await;
            drop(connection);
        };
        let (reply, ()) = tokio::join!(exchange(&connections, &server.base), dies);
        assert_eq!(reply.expect("a reply"), "hi");
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn an_idle_connection_is_let_go_in_time() {
    let (server, other) = (Server::start(KEEPS, usize::MAX).await, Server::start(KEEPS, usize::MAX).await);
    let connections = connections(Times { idle: Duration::ZERO, ..TIMES });
    exchange(&connections, &other.base).await.expect("a reply");
    let (first, second) = tokio::join!(connections.send(get(&server.base)), connections.send(get(&server.base)));
    for (response, lent) in [first.expect("a reply"), second.expect("a reply")] {
        response.into_body().collect().await.expect("a body");
        connections.keep(lent);
    }
    let kept: Vec<usize> = connections.idle().values().map(VecDeque::len).collect();
    assert_eq!(kept, [1], "only the one that was kept last");
    exchange(&connections, &server.base).await.expect("a reply");
    assert_eq!(server.connections(), 3, "that one is too old as well");
}

#[tokio::test]
async fn connecting_ends_in_time_where_the_other_side_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let connections = connections(Times { connect: Duration::from_millis(50), ..TIMES });
    let failed = timeout(Duration::from_secs(30), exchange(&connections, &url)).await.expect("an end");
    assert!(matches!(failed, Err(NoReply::Connect(_))), "{failed:?}");
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let failed = exchange(&connections(TIMES), &base).await;
    assert!(matches!(failed, Err(NoReply::Connect(_))), "{failed:?}");
}

#[tokio::test]
async fn a_connection_that_closes_in_the_middle_is_broken() {
    let server = Server::start("", 1).await;
    let failed = exchange(&connections(TIMES), &server.base).await;
    assert!(matches!(failed, Err(NoReply::Broken(_))), "{failed:?}");
}

#[test]
fn a_request_names_its_host_as_the_origin_does() {
    for (url, host, path) in [
        ("http://ghes.corp", "ghes.corp", "/"),
        ("https://ghes.corp:443/a", "ghes.corp", "/a"),
        ("http://ghes.corp:80/a?b", "ghes.corp", "/a?b"),
        ("https://user@ghes.corp:8443/a", "ghes.corp:8443", "/a"),
        ("http://[::1]:8080/", "[::1]:8080", "/"),
    ] {
        let (_, request) = addressed(get(url)).expect("a host");
        assert_eq!(request.headers()[HOST], host, "{url}");
        assert_eq!(*request.uri(), path, "{url}");
    }
    assert!(addressed(get("/a")).is_none());
}
