//! Marked secrets go in at every place a peer can put one, and must come out nowhere.
#![cfg(test)]

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders};
use poolkeeper_core::github::request::{Auth, CallKind, Method, Request, RequestId};
use poolkeeper_core::seal::{RawReply, Secret};
use poolkeeper_core::time::{Duration, Instant, Now};
use poolkeeper_shell::config::{self, DaemonConfig, JournalSettings};
use poolkeeper_shell::driver::Driver;
use poolkeeper_shell::journal::{self, Journal};
use poolkeeper_shell::state::State;
use poolkeeper_shell::status::StatusServer;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use tempfile::TempDir;
use tracing_subscriber::fmt::MakeWriter;

/// What every secret of these tests contains.
const MARK: &str = "MARKED-SECRET-c0ffee";
/// How deep encodings may be nested.
const MAX_DEPTH: u32 = 4;
/// Shorter runs of base64 cannot hold the mark.
const SHORTEST_RUN: usize = 16;
#[test]
fn no_secret_is_found_in_anything_written() {
    let run = Run::new();
    run.drive(|reply, _| reply);
    assert_eq!(run.leaks(), Vec::<String>::new());
}

#[test]
fn a_build_that_records_raw_bodies_is_caught() {
    let run = Run::new();
    run.drive(|mut reply, raw| {
        reply.body = Body::Raw(Bytes(raw.to_vec()));
        reply
    });
    let leaks = run.leaks();
    assert!(leaks.iter().any(|place| place.contains("journal-")), "{leaks:?}");
}

#[test]
fn a_build_that_records_the_authorization_in_base64_is_caught() {
    let run = Run::new();
    run.drive(|mut reply, _| {
        reply.headers.activity_id = Some(STANDARD.encode(format!("Bearer {}", secret(1))));
        reply
    });
    let leaks = run.leaks();
    assert!(leaks.iter().any(|place| place.contains("journal-")), "{leaks:?}");
}

#[test]
fn a_secret_is_found_behind_every_encoding() {
    let inner = secret(1);
    let twice = STANDARD_NO_PAD.encode(URL_SAFE_NO_PAD.encode(&inner));
    let packed = zstd::encode_all(format!("x{twice}y").as_bytes(), 1).unwrap();
    for text in [
        inner.as_bytes().to_vec(),
        STANDARD.encode(format!("ab{inner}")).into_bytes(),
        format!("{{\"jwt\":\"abc.{}.x\"}}", URL_SAFE_NO_PAD.encode(&inner)).into_bytes(),
        packed,
    ] {
        assert!(holds_mark(&text, 0));
    }
    assert!(!holds_mark(STANDARD.encode("nothing of interest in here").as_bytes(), 0));
}

/// One daemon's worth of places where something is written.
struct Run {
    dir: TempDir,
    logs: Logs,
}

impl Run {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), logs: Logs::default() }
    }

    /// Feeds every peer's reply through vault, driver, journal, state, logs and metrics.
    fn drive(&self, tamper: impl Fn(Reply, &[u8]) -> Reply) {
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(self.logs.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || self.drive_logged(&tamper));
    }

    fn drive_logged(&self, tamper: &impl Fn(Reply, &[u8]) -> Reply) {
        let config = self.config();
        let vault = Vault::open(&config).unwrap();
        let telemetry = Arc::new(Telemetry::new("test"));
        let journal = Journal::new(JournalSettings::in_dir(&self.written("journal")), 1);
        let machine = Machine::new(config.core, 1);
        let mut driver = Driver::new(machine, 1, Some(journal), Arc::clone(&telemetry));
        let state = State::open(Some(&self.written("state"))).unwrap();
        let keeper = state.start(|_, _| ()).unwrap();
        let mut effects = Vec::new();
        driver.step(now(0), Event::Start { remembered: Vec::new() }, &mut effects);
        let mut id = 1_000_000;
        for call in CallKind::ALL {
            for (status, body) in bodies(call) {
                id += 1;
                let authorization = vault.authorization(&request(), 1).unwrap();
                let sent = authorization.secret.clone();
                self.note(&format!("{authorization:?} {sent:?} {vault:?}"));
                let raw = RawReply { status, headers: headers(&sent), body: body.clone() };
                let reply = vault.seal(call, RequestId(id), "main", raw, &sent, 1);
                let reply = tamper(reply, &body);
                self.note(&format!("{reply:?}"));
                telemetry.github_call(call, "main", &status.to_string(), std::time::Duration::ZERO);
                let event = Event::GitHubReply { id: RequestId(id), result: Ok(reply) };
                driver.step(now(id), event, &mut effects);
                driver.tell();
            }
        }
        for effect in effects.drain(..) {
            self.note(&serde_json::to_string(&effect).unwrap());
            if let Effect::Remember { key, value } = effect {
                keeper.remember(key, value);
            }
        }
        assert!(vault.slots() > 0, "the vault took secrets out of replies");
        keeper.close();
        fs::write(self.written("status"), status_pages(driver, telemetry)).unwrap();
    }

    fn config(&self) -> DaemonConfig {
        let token = self.dir.path().join("token");
        fs::write(&token, secret(0)).unwrap();
        let toml = self.dir.path().join("poolkeeper.toml");
        let text = format!("stack = \"test\"\n[github.main]\ntoken_file = {token:?}\norgs = [\"acme\"]\n");
        fs::write(&toml, text).unwrap();
        let config = config::load(&toml, std::iter::empty()).unwrap();
        self.note(&format!("{config:?}"));
        config
    }

    fn written(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join("written");
        fs::create_dir_all(&dir).unwrap();
        dir.join(name)
    }

    fn note(&self, text: &str) {
        self.logs.keep(text.as_bytes());
    }

    /// The places in which the mark is found.
    fn leaks(&self) -> Vec<String> {
        fs::write(self.written("logs"), &*self.logs.0.lock().unwrap()).unwrap();
        let mut files = Vec::new();
        collect(&self.dir.path().join("written"), &mut files);
        for expected in ["journal-", "state", "status", "logs"] {
            let found = files.iter().any(|path| path.to_string_lossy().contains(expected));
            assert!(found, "{expected} was written");
        }
        let journals = journal::files(&self.written("journal")).unwrap();
        let lines = journals.iter().map(|path| journal::read(path).unwrap().count()).sum::<usize>();
        assert!(lines > CallKind::ALL.len(), "the journal has a line a reply");
        files
            .into_iter()
            .filter(|path| holds_mark(&fs::read(path).unwrap(), 0))
            .map(|path| path.display().to_string())
            .collect()
    }
}

/// All pages of a status server over the machine as it is.
fn status_pages(driver: Driver, telemetry: Arc<Telemetry>) -> String {
    let driver = Arc::new(Mutex::new(Some(driver)));
    let theirs = Arc::clone(&driver);
    let ask = Box::new(move |query| {
        let driver = theirs.lock().unwrap();
        driver.as_ref().is_some_and(|driver| {
            driver.answer(query, now(9_000_000));
            true
        })
    });
    let server = StatusServer::start("127.0.0.1:0".parse().unwrap(), ask, telemetry).unwrap();
    let mut pages = String::new();
    for path in ["/", "/metrics", "/readyz", "/healthz", "/api/pools"] {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        stream.read_to_string(&mut pages).unwrap();
    }
    driver.lock().unwrap().take().unwrap().close();
    pages
}

/// Bodies that hold marked secrets where the protocol puts them, and where it does not.
fn bodies(call: CallKind) -> Vec<(u16, Vec<u8>)> {
    let token = secret(2);
    let jwt = format!(
        "{}.{}.{token}",
        URL_SAFE_NO_PAD.encode("{\"alg\":\"none\"}"),
        URL_SAFE_NO_PAD.encode("{\"iat\":1,\"exp\":3601}")
    );
    let whole = match call {
        CallKind::AccessToken | CallKind::RegistrationToken => {
            format!(r#"{{"token":"{token}","expires_at":"2026-05-01T10:00:00Z","also":"{token}"}}"#)
        }
        CallKind::AdminConnection => {
            format!(r#"{{"url":"https://a.example/x/","token":"{jwt}","old":"{token}"}}"#)
        }
        CallKind::CreateSession | CallKind::RefreshSession => format!(
            r#"{{"sessionId":"s-1","messageQueueUrl":"https://q.example/m?x=1","messageQueueAccessToken":"{jwt}","runnerScaleSet":{{"token":"{token}"}}}}"#
        ),
        CallKind::JitConfig => {
            format!(r#"{{"runner":{{"id":1,"name":"i-1"}},"encodedJITConfig":"{}"}}"#, STANDARD.encode(&token))
        }
        CallKind::Installation
        | CallKind::RunnerGroup
        | CallKind::ScaleSets
        | CallKind::ScaleSetByName
        | CallKind::ScaleSet
        | CallKind::CreateScaleSet
        | CallKind::UpdateScaleSet
        | CallKind::DeleteScaleSet
        | CallKind::DeleteSession
        | CallKind::Poll
        | CallKind::Acknowledge
        | CallKind::Acquire
        | CallKind::AcquirableJobs
        | CallKind::RunnerByName
        | CallKind::Runner
        | CallKind::Runners
        | CallKind::RemoveRunner => return echoes(),
    };
    let whole = whole.into_bytes();
    let mut bodies = echoes();
    bodies.push((200, [b"\xef\xbb\xbf".as_slice(), &whole].concat()));
    bodies.push((200, whole[..whole.len() - 1].to_vec()));
    bodies.push((200, [b"<html>".as_slice(), &whole].concat()));
    bodies.push((500, whole.clone()));
    bodies.push((200, whole));
    bodies
}

/// A peer that sends back the token it was sent.
fn echoes() -> Vec<(u16, Vec<u8>)> {
    let sent = secret(0);
    vec![
        (401, format!(r#"{{"typeName":"X","message":"bad token {sent}"}}"#).into_bytes()),
        (200, sent.clone().into_bytes()),
        (400, [b"\xff\xfe".as_slice(), sent.as_bytes()].concat()),
    ]
}

fn headers(sent: &Secret) -> ReplyHeaders {
    ReplyHeaders {
        date: Some("Tue, 15 Nov 1994 08:12:31 GMT".to_owned()),
        activity_id: Some(format!("a {}", sent.reveal())),
        ..ReplyHeaders::default()
    }
}

fn secret(n: u32) -> String {
    format!("ghs_{MARK}-{n}-0123456789")
}

fn request() -> Request {
    Request {
        connection: "main".to_owned(),
        method: Method::Post,
        url: "https://api.github.com/".to_owned(),
        auth: Auth::Credential,
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(30),
        max_body: 1,
    }
}

fn now(ms: u64) -> Now {
    Now { mono: Instant::from_millis(ms), unix_ms: ms }
}

/// Whether the mark is in the bytes, as they are or behind zstd and base64.
fn holds_mark(bytes: &[u8], depth: u32) -> bool {
    if bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes()) {
        return true;
    }
    if depth >= MAX_DEPTH {
        return false;
    }
    if let Ok(mut decoder) = zstd::Decoder::new(bytes) {
        let mut decoded = Vec::new();
        let _ = decoder.read_to_end(&mut decoded);
        if !decoded.is_empty() && holds_mark(&decoded, depth + 1) {
            return true;
        }
    }
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_".contains(b);
    bytes
        .split(|b| !is_base64(b))
        .filter(|run| run.len() >= SHORTEST_RUN)
        .any(|run| (0..4).any(|skip| decode(&run[skip..]).any(|d| holds_mark(&d, depth + 1))))
}

/// A run of base64 in either alphabet, cut to whole groups.
fn decode(run: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let standard: Vec<u8> = run
        .iter()
        .map(|b| match b {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    let most = standard.len();
    (most.saturating_sub(3)..=most)
        .rev()
        .find_map(|length| STANDARD_NO_PAD.decode(&standard[..length]).ok())
        .into_iter()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// Log lines, kept.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl Logs {
    fn keep(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.keep(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
