use std::io::{Read, Write};
use std::net::TcpStream;

use rcgen::generate_simple_self_signed;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::NamedTempFile;
use ureq::Proxy;

use super::*;

/// Answers every request the same over TLS; its port, and the file with its certificate.
fn server(reply: &'static [u8]) -> (u16, NamedTempFile) {
    let made = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            std::thread::spawn(move || {
                while head(&mut stream).is_some() {
                    stream.write_all(reply).unwrap();
                    stream.flush().unwrap();
                }
            });
        }
    });
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(made.cert.pem().as_bytes()).unwrap();
    (port, file)
}

fn head(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        bytes.extend_from_slice(&byte);
    }
    String::from_utf8(bytes).ok()
}

/// A proxy that makes tunnels to this host, and tells what it was asked for.
fn proxy() -> (Proxies, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, asked) = channel();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let head = head(&mut client).unwrap();
            let port: u16 = head.split([' ', ':']).nth(2).unwrap().parse().unwrap();
            tell.send(head).unwrap();
            let mut peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (mut back, mut from_peer) = (client.try_clone().unwrap(), peer.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_peer, &mut back));
            std::thread::spawn(move || std::io::copy(&mut client, &mut peer));
        }
    });
    let proxy = Proxy::new(&url).unwrap();
    (Proxies { http: Some(proxy.clone()), https: Some(proxy) }, asked)
}

#[test]
fn a_tls_connection_serves_one_request_after_another() {
    let (port, ca_file) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
    let wires = Wires { tls: tls_config(Some(ca_file.path())).unwrap(), ..wires() };
    let agent = wires.listener(true);

    for _ in 0..3 {
        let answer = fetch(&agent, &format!("https://localhost:{port}/"), LONG).unwrap();
        assert_eq!(answer.body, b"abc");
    }
}

#[test]
fn a_peer_that_no_authority_knows_is_a_failure_to_connect() {
    let (port, _ca_file) = server(b"");

    let fault = fetch(&wires().listener(true), &format!("https://localhost:{port}/"), LONG).unwrap_err();

    assert_eq!(fault.kind, TransportErrorKind::Connect);
    assert!(fault.detail.contains("certificate"), "{fault:?}");
}

#[test]
fn a_tls_reply_longer_than_the_first_buffer_is_read() {
    const BODY_BYTES: usize = 900;
    let long = "x".repeat(2 * LISTENER_INPUT_BYTES);
    let reply =
        format!("HTTP/1.1 200 OK\r\nlong: {long}\r\ncontent-length: {BODY_BYTES}\r\n\r\n{}", "y".repeat(BODY_BYTES));
    let (port, ca_file) = server(reply.leak().as_bytes());
    let wires = Wires { tls: tls_config(Some(ca_file.path())).unwrap(), ..wires() };

    let answer = fetch(&wires.listener(true), &format!("https://localhost:{port}/"), LONG).unwrap();

    assert_eq!((answer.headers["long"].len(), answer.body.len()), (long.len(), BODY_BYTES));
}

#[test]
fn a_proxy_makes_tunnels_with_tls_and_without() {
    let (proxies, asked) = proxy();
    let (port, ca_file) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
    let wires = Wires { tls: tls_config(Some(ca_file.path())).unwrap(), proxies, ..wires() };
    let agent = wires.listener(true);

    for _ in 0..2 {
        assert_eq!(fetch(&agent, &format!("https://localhost:{port}/"), LONG).unwrap().body, b"abc");
    }
    assert!(asked.recv_timeout(LONG).unwrap().starts_with(&format!("CONNECT localhost:{port} ")));

    let plain = Server::start();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| fetch(&wires.listener(false), &plain.url, LONG));
        plain.asked().answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nde");
        assert_eq!(answer.join().unwrap().unwrap().body, b"de");
    });
    assert!(asked.recv_timeout(LONG).unwrap().starts_with("CONNECT 127.0.0.1:"));
}
