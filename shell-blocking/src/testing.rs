//! What unit tests share: a server on loopback whose answers the test writes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use poolkeeper_core::config::{Config, ConnectionConfig, CredentialKind, RawConfig};
use poolkeeper_core::github::request::{Auth, Method, Request};
use poolkeeper_shell::config::{AwsSettings, CredentialSource, DaemonConfig, GitHubSettings, StatusSettings};

/// No test waits longer than this for anything.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Hands each request to the test.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Receiver<Asked>,
}

/// A request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) head: String,
    stream: TcpStream,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/queue", listener.local_addr().unwrap());
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, tell) = (stream.unwrap(), tell.clone());
                std::thread::spawn(move || {
                    while let Some(head) = head(&mut stream) {
                        let _test_is_over = tell.send(Asked { head, stream: stream.try_clone().unwrap() });
                    }
                });
            }
        });
        Self { url, asked }
    }

    pub(crate) fn asked(&self) -> Asked {
        self.asked.recv_timeout(LONG).unwrap()
    }
}

impl Asked {
    pub(crate) fn answer(&mut self, reply: &[u8]) {
        self.stream.write_all(reply).unwrap();
    }
}

/// The next request's head; none when the client has ended.
fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        bytes.extend_from_slice(&byte);
    }
    String::from_utf8(bytes).ok()
}

/// A request to connection `main`.
pub(crate) fn get(url: &str, auth: Auth) -> Box<Request> {
    Box::new(Request {
        connection: "main".to_owned(),
        method: Method::Get,
        url: url.to_owned(),
        auth,
        headers: Vec::new(),
        body: None,
        timeout: poolkeeper_core::time::Duration::from_secs(20),
        max_body: 1000,
    })
}

/// A config with one connection `main`.
pub(crate) fn config() -> DaemonConfig {
    let connection = ConnectionConfig {
        url: "http://127.0.0.1".to_owned(),
        credential: CredentialKind::Pat,
        orgs: vec!["acme".to_owned()],
        runner_group: "default".to_owned(),
        force_ghes: false,
    };
    let raw = RawConfig {
        stack: "test".into(),
        owner: "test".to_owned(),
        connections: BTreeMap::from([("main".to_owned(), connection)]),
        ..RawConfig::default()
    };
    let credential = CredentialSource::TokenEnv("TOKEN".to_owned());
    DaemonConfig {
        core: Config::try_from(raw).unwrap(),
        github: BTreeMap::from([("main".to_owned(), GitHubSettings { credential, ca_file: None, proxy: None })]),
        aws: AwsSettings::default(),
        status: StatusSettings::default(),
        journal: None,
        state_dir: None,
        hints: Vec::new(),
    }
}
