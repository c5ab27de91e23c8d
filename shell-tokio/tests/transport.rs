//! The transport to GitHub against small servers that behave, and that do not.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use poolkeeper::github::GitHub;
use poolkeeper::inbox::Inbox;
use poolkeeper_core::config::{Config, ConnectionConfig, CredentialKind, RawConfig};
use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders, TransportError, TransportErrorKind};
use poolkeeper_core::github::request::{Auth, CallKind, Header, HeaderName, Method, Request, RequestId, Slot};
use poolkeeper_core::seal::{RawReply, Secret};
use poolkeeper_core::time::Duration;
use poolkeeper_shell::config::{AwsSettings, CredentialSource, DaemonConfig, GitHubSettings};
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const TOKEN: &str = "ghp_marked0secret0marked0secret0";
const LONG: StdDuration = StdDuration::from_secs(20);
const MAX_BODY: u32 = 1000;

#[tokio::test]
async fn the_cores_headers_and_the_credential_go_out_and_nothing_else() {
    let mut server = Server::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;

    let reply = fetch(post(&server.url)).await.unwrap();

    assert_eq!(reply.status, 200);
    let seen = server.seen().await.to_lowercase();
    let mut lines: Vec<&str> = seen.split("\r\n").filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.remove(0), "post /queue?a=b http/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept: application/json",
            &format!("authorization: bearer {TOKEN}"),
            "content-length: 0",
            &format!("host: {}", server.url.split('/').nth(2).unwrap()),
            "user-agent: {\"kind\":\"scaleset\"}",
        ]
    );
}

#[tokio::test]
async fn status_allowed_headers_and_bytes_come_back_as_they_are() {
    let server = Server::answering(
        b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nActivityId: abc\r\nSet-Cookie: x=y\r\n\
          content-length: 5\r\n\r\n\xef\xbb\xbf\xff{",
    )
    .await;

    let reply = fetch(get(&server.url)).await.unwrap();

    assert_eq!(reply.status, 429);
    assert_eq!(reply.headers.retry_after.as_deref(), Some("7"));
    assert_eq!(reply.headers.activity_id.as_deref(), Some("abc"));
    assert_eq!(reply.body, Body::Raw(Bytes(b"\xef\xbb\xbf\xff{".to_vec())));
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let server =
        Server::answering(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            .await;

    let reply = fetch(get(&server.url)).await.unwrap();

    assert_eq!(reply.body, Body::Raw(Bytes(b"abcde".to_vec())));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let server =
        Server::answering(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;

    assert_eq!(fetch(get(&server.url)).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_body_announced_too_long_is_not_read() {
    let server = Server::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n").await;

    assert_eq!(kind(fetch(get(&server.url)).await), TransportErrorKind::TooLarge);
}

#[tokio::test]
async fn a_body_that_grows_too_long_is_left() {
    let mut reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..3 {
        reply.extend_from_slice(b"190\r\n");
        reply.extend_from_slice(&[b'x'; 0x190]);
        reply.extend_from_slice(b"\r\n");
    }
    let server = Server::answering(&reply).await;

    assert_eq!(kind(fetch(get(&server.url)).await), TransportErrorKind::TooLarge);
}

#[tokio::test]
async fn what_is_no_http_or_ends_early_is_a_broken_exchange() {
    for reply in [
        &b""[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let server = Server::answering(reply).await;

        let result = fetch(get(&server.url)).await;

        assert_eq!(kind(result), TransportErrorKind::Broken, "{}", reply.escape_ascii());
    }
}

#[tokio::test]
async fn nobody_there_is_a_failure_to_connect() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/queue", listener.local_addr().unwrap())
    };

    assert_eq!(kind(fetch(get(&closed)).await), TransportErrorKind::Connect);
}

#[tokio::test]
async fn a_hung_reply_and_a_hung_body_time_out() {
    for reply in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"] {
        let server = Server::hanging_after(reply).await;
        let request = Request { timeout: Duration::from_millis(150), ..get(&server.url) };

        assert_eq!(kind(fetch(request).await), TransportErrorKind::TimedOut);
    }
}

#[tokio::test]
async fn a_cancelled_call_ends_once() {
    let mut server = Server::hanging_after(b"").await;
    let (inbox, mut events) = Inbox::new();
    let call =
        github().start(RequestId(7), CallKind::Poll, Box::new(get(&server.url)), inbox.github(RequestId(7)).unwrap());
    server.seen().await;

    call.abort();

    let ended = tokio::time::timeout(LONG, events.recv()).await.unwrap().unwrap();
    let Event::GitHubReply { id: RequestId(7), result } = ended else { panic!("{ended:?}") };
    assert_eq!(kind(result), TransportErrorKind::Cancelled);
    call.abort();
    drop(inbox);
    assert_eq!(tokio::time::timeout(LONG, events.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn every_held_poll_has_a_connection_of_its_own() {
    let mut server = Server::hanging_after(b"").await;
    let (inbox, _events) = Inbox::new();
    let github = github();

    for id in 1..=20 {
        let promise = inbox.github(RequestId(id)).unwrap();
        let _call = github.start(RequestId(id), CallKind::Poll, Box::new(get(&server.url)), promise);
    }

    for _ in 1..=20 {
        server.seen().await;
    }
}

#[tokio::test]
async fn a_message_is_acknowledged_over_the_connection_that_brought_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/queue", listener.local_addr().unwrap());
    let one_connection = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        for reply in ["200 OK\r\ncontent-length: 2\r\n\r\nhi", "204 No Content\r\n\r\n", "202 Accepted\r\n\r\n"] {
            asked.push(head(&mut stream).await);
            stream.write_all(format!("HTTP/1.1 {reply}").as_bytes()).await.unwrap();
        }
        asked
    });
    let (inbox, mut events) = Inbox::new();
    let github = github();
    let calls = [(CallKind::Poll, Method::Get, 200), (CallKind::Acknowledge, Method::Delete, 204)];
    for (id, (call, method, status)) in (1..).map(RequestId).zip(calls) {
        let request = Request { method, ..get(&url) };
        let _call = github.start(id, call, Box::new(request), inbox.github(id).unwrap());
        let ended = tokio::time::timeout(LONG, events.recv()).await.unwrap().unwrap();
        let Event::GitHubReply { result: Ok(reply), .. } = ended else { panic!("{ended:?}") };
        assert_eq!(reply.status, status);
    }
    let next = RequestId(3);
    let _call = github.start(next, CallKind::Poll, Box::new(get(&url)), inbox.github(next).unwrap());
    let asked = tokio::time::timeout(LONG, one_connection).await.unwrap().unwrap();
    let methods: Vec<_> = asked.iter().map(|head| head.split(' ').next().unwrap()).collect();
    assert_eq!(methods, ["GET", "DELETE", "GET"]);
    assert!(asked.iter().all(|head| head.contains(TOKEN)), "{asked:?}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_sent_and_says_why_without_the_secret() {
    let unknown = Request { connection: "other".into(), ..get("http://127.0.0.1:1/") };
    let header = Header { name: HeaderName::Accept, value: "a\nb".into() };
    let illegal = Request { headers: vec![header], ..get("http://127.0.0.1:1/") };
    let no_url = get("queue");

    for request in [unknown, illegal, no_url] {
        let error = fetch(request).await.unwrap_err();
        assert_eq!(error.kind, TransportErrorKind::NotSent, "{error:?}");
        assert!(!error.detail.contains(TOKEN));
    }
}

#[tokio::test]
async fn no_failure_tells_the_secret_or_the_url() {
    let server = Server::answering(format!("HTTP/1.1 {TOKEN}\r\n\r\n").as_bytes()).await;

    let error = fetch(get(&server.url)).await.unwrap_err();

    assert!(!error.detail.is_empty());
    assert!(!error.detail.contains(TOKEN) && !error.detail.contains("a=b"), "{}", error.detail);
}

#[tokio::test]
async fn a_call_goes_out_with_its_token_though_the_slot_was_dropped_before_its_turn() {
    for call in [CallKind::ScaleSet, CallKind::Poll, CallKind::Acknowledge] {
        let mut server = Server::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        let vault = vault();
        let id = RequestId(1000);
        let body = br#"{"token":"ghs_KEPT0123456789","expires_at":"2099-01-01T00:00:00Z"}"#.to_vec();
        let raw = RawReply { status: 201, headers: ReplyHeaders::default(), body };
        let _reply = vault.seal(CallKind::AccessToken, id, "main", raw, &Secret::new(String::new()), 0);
        let request = Request { auth: Auth::Bearer(Slot(id)), ..get(&server.url) };
        let (inbox, _answers) = Inbox::new();
        let promise = inbox.github(RequestId(1)).unwrap();

        // The task has its first turn at the next await.
        let _call = github_with(&vault).start(RequestId(1), call, Box::new(request), promise);
        vault.drop_slot(Slot(id));

        let seen = server.seen().await;
        assert!(seen.contains("Bearer ghs_KEPT0123456789"), "{seen}");
    }
}

/// A server that says the same to everyone, and tells what it was asked.
struct Server {
    url: String,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn answering(reply: &[u8]) -> Self {
        Self::start(reply, false).await
    }

    async fn hanging_after(reply: &[u8]) -> Self {
        Self::start(reply, true).await
    }

    async fn start(reply: &[u8], hang: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/queue?a=b", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::unbounded_channel();
        let reply = reply.to_vec();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tell, reply) = (tell.clone(), reply.clone());
                tokio::spawn(async move {
                    tell.send(head(&mut stream).await).ok();
                    stream.write_all(&reply).await.ok();
                    if hang {
                        stream.read_u8().await.ok();
                    } else {
                        stream.shutdown().await.ok();
                    }
                });
            }
        });
        Self { url, asked }
    }

    async fn seen(&mut self) -> String {
        tokio::time::timeout(LONG, self.asked.recv()).await.unwrap().unwrap()
    }
}

async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

fn get(url: &str) -> Request {
    Request {
        connection: "main".into(),
        method: Method::Get,
        url: url.into(),
        auth: Auth::Credential,
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(20),
        max_body: MAX_BODY,
    }
}

fn post(url: &str) -> Request {
    let header = |name, value: &'static str| Header { name, value: value.into() };
    Request {
        method: Method::Post,
        headers: vec![
            header(HeaderName::Accept, "application/json"),
            header(HeaderName::UserAgent, r#"{"kind":"scaleset"}"#),
            header(HeaderName::ContentLength, "0"),
        ],
        ..get(url)
    }
}

async fn fetch(request: Request) -> Result<Reply, TransportError> {
    let exchange = github().exchange(RequestId(1), CallKind::ScaleSet, Box::new(request)).await;
    if let Err(error) = &exchange {
        assert!(!error.detail.contains(TOKEN), "{error:?}");
    }
    exchange
}

fn kind(result: Result<Reply, TransportError>) -> TransportErrorKind {
    result.unwrap_err().kind
}

fn github() -> GitHub {
    github_with(&vault())
}

fn github_with(vault: &Arc<Vault>) -> GitHub {
    let settings = config(CredentialSource::TokenEnv(String::new())).github;
    GitHub::open(&settings, Arc::clone(vault), Arc::new(Telemetry::new("test"))).unwrap()
}

fn vault() -> Arc<Vault> {
    let mut token = NamedTempFile::new().unwrap();
    writeln!(token, "{TOKEN}").unwrap();
    Arc::new(Vault::open(&config(CredentialSource::TokenFile(token.path().to_owned()))).unwrap())
}

fn config(credential: CredentialSource) -> DaemonConfig {
    let connection = ConnectionConfig {
        url: "http://127.0.0.1".into(),
        credential: CredentialKind::Pat,
        orgs: vec!["acme".into()],
        runner_group: "default".into(),
        force_ghes: false,
    };
    let raw = RawConfig {
        stack: "test".into(),
        owner: "test".into(),
        connections: BTreeMap::from([("main".into(), connection)]),
        ..RawConfig::default()
    };
    DaemonConfig {
        core: Config::try_from(raw).unwrap(),
        github: BTreeMap::from([("main".into(), GitHubSettings { credential, ca_file: None, proxy: None })]),
        aws: AwsSettings::default(),
        status: poolkeeper_shell::config::StatusSettings::default(),
        journal: None,
        state_dir: None,
        hints: Vec::new(),
    }
}
