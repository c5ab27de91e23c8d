mod tls;

use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Instant;

use poolkeeper_core::github::reply::TransportErrorKind;

use super::*;
use crate::testing::{LONG, Server};

fn wires() -> Wires {
    Wires { tls: tls_config(None).unwrap(), dns: Dns::new(), proxies: Proxies::default() }
}

fn get(url: &str) -> Request<Option<Vec<u8>>> {
    Request::builder().uri(url).body(None).unwrap()
}

fn fetch(agent: &Agent, url: &str, timeout: Duration) -> Result<Answer, Fault> {
    exchange(agent, get(url), Bounds { timeout, body_max: 1000 })
}

/// Fetches once, with the server's reply.
fn fetched(reply: &[u8]) -> Result<Answer, Fault> {
    let server = Server::start();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| fetch(&wires().listener(false), &server.url, LONG));
        server.asked().answer(reply);
        answer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let server = Server::start();
    let url = server.url.clone();
    let (tell, answers) = channel();
    std::thread::spawn(move || {
        let agent = wires().listener(false);
        for _ in 0..2 {
            tell.send(fetch(&agent, &url, LONG)).unwrap();
        }
    });

    server.asked().answer(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(answers.recv_timeout(LONG).unwrap().unwrap().body, b"abc");
    server.asked().answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n");
    assert_eq!(answers.recv_timeout(LONG).unwrap().unwrap().body, b"def");
}

#[test]
fn a_head_longer_than_the_first_buffer_is_read() {
    let long = "x".repeat(2 * LISTENER_INPUT_BYTES);
    let reply = format!("HTTP/1.1 200 OK\r\nlong: {long}\r\ncontent-length: 0\r\n\r\n");

    let answer = fetched(reply.as_bytes()).unwrap();

    assert_eq!(answer.headers["long"].len(), long.len());
}

#[test]
fn a_head_without_end_is_said_to_be_too_long() {
    let reply = format!("HTTP/1.1 200 OK\r\nlong: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));

    let fault = fetched(reply.as_bytes()).unwrap_err();

    assert!(fault.detail.contains("header"), "{fault:?}");
}

#[test]
fn a_body_of_just_the_limit_is_read_and_a_longer_one_is_not() {
    let reply = |bytes: usize| {
        let body = "x".repeat(bytes);
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n")
    };

    assert_eq!(fetched(reply(1000).as_bytes()).unwrap().body.len(), 1000);
    assert_eq!(fetched(reply(1001).as_bytes()).unwrap_err().kind, TransportErrorKind::TooLarge);
}

#[test]
fn a_peer_that_says_nothing_in_time_is_a_time_out() {
    let server = Server::start();

    let fault = fetch(&wires().listener(false), &server.url, Duration::from_millis(50)).unwrap_err();

    assert_eq!(fault.kind, TransportErrorKind::TimedOut);
}

#[test]
fn a_tls_peer_that_says_nothing_ends_within_the_time_for_connecting() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let timeout = Duration::from_millis(200);
    let started = Instant::now();

    let fault = fetch(&wires().listener(true), &url, timeout).unwrap_err();

    assert_eq!(fault.kind, TransportErrorKind::Connect, "{fault:?}");
    assert!(started.elapsed() >= timeout);
    drop(listener);
}

#[test]
fn no_peer_and_a_peer_without_tls_are_failures_to_connect() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let agent = wires().agent(false, INPUT_BYTES);
    assert_eq!(fetch(&agent, &format!("http://{closed}/"), LONG).unwrap_err().kind, TransportErrorKind::Connect);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _hello = stream.read(&mut [0; 1000]);
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    assert_eq!(fetch(&wires().agent(true, INPUT_BYTES), &url, LONG).unwrap_err().kind, TransportErrorKind::Connect);
}
