//! Real sockets on loopback, each wait with a deadline.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;

use super::scenery::Scenery;
use super::*;
use crate::github::{GitHubConfig, SetKey};
use crate::world::WorldConfig;

/// No test waits longer than this for what must happen.
const DEADLINE: Duration = Duration::from_secs(10);

fn sandbox_with(config: SandboxConfig) -> Sandbox {
    let groups = Scenery::new(2).groups;
    let world = World::new(WorldConfig { groups, ..WorldConfig::default() }, 1);
    Sandbox::start(config, world).unwrap()
}

fn sandbox() -> Sandbox {
    sandbox_with(SandboxConfig::default())
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {text}"))
    }
}

fn connect(url: &str) -> TcpStream {
    let stream = TcpStream::connect(url.split_once("://").unwrap().1).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn send(stream: &mut impl Write, method: &str, target: &str, auth: &str, body: &str) {
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\naccept: application/json; api-version=6.0-preview\r\ncontent-length: {length}\r\n"
    );
    let auth = if auth.is_empty() { String::new() } else { format!("authorization: {auth}\r\n") };
    stream.write_all(format!("{head}{auth}\r\n{body}").as_bytes()).unwrap();
}

fn receive(stream: &mut impl Read) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A connection that breaks still shows what came before.
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: bytes[end + 4..].to_vec() })
}

fn call(url: &str, method: &str, target: &str, auth: &str, body: &str) -> Option<Answer> {
    let mut stream = connect(url);
    send(&mut stream, method, target, auth, body);
    receive(&mut stream)
}

fn admin(sandbox: &Sandbox, call_name: &str, body: &str) -> Value {
    let target = format!("/_sandbox/{call_name}");
    let answer = call(&sandbox.github_url, "POST", &target, "", body).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Waits until something about the world is so.
fn until(sandbox: &Sandbox, what: &str, is_so: impl Fn(&World) -> bool) {
    let (_keep, pause) = mpsc::channel::<()>();
    let started = Instant::now();
    while !sandbox.with(|world, _| is_so(world)) {
        assert!(started.elapsed() < DEADLINE, "{what} did not come to pass");
        let _ = pause.recv_timeout(Duration::from_millis(2));
    }
}

fn path_of(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split_once('/').map(|(_, path)| format!("/{path}")).unwrap()
}

/// The queue's path and token of a fresh session on a fresh set.
fn open_session(sandbox: &Sandbox) -> (String, String) {
    let url = &sandbox.github_url;
    let pat = format!("Bearer {}", GitHubConfig::default().pat.unwrap());
    let post = |target: &str, auth: &str, body: &str| {
        let answer = call(url, "POST", target, auth, body).unwrap();
        assert!((200..300).contains(&answer.status), "{target}: {answer:?}");
        answer.json()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let token = post("/api/v3/orgs/acme/actions/runners/registration-token", &pat, "");
    let remote = format!("RemoteAuth {}", text(&token["token"]));
    let register = format!(r#"{{"url":"{url}/acme","runner_event":"register"}}"#);
    let admin = post("/api/v3/actions/runner-registration", &remote, &register);
    let base = path_of(&text(&admin["url"]));
    let base = base.trim_end_matches('/');
    let bearer = format!("Bearer {}", text(&admin["token"]));
    let set = r#"{"name":"acme-pool-1","runnerGroupId":1,"labels":[{"type":"System","name":"acme-pool-1"}]}"#;
    let version = "?api-version=6.0-preview";
    let sets = format!("{base}/_apis/runtime/runnerscalesets");
    let set = post(&format!("{sets}{version}"), &bearer, set);
    let sessions = format!("{sets}/{}/sessions{version}", set["id"]);
    let session = post(&sessions, &bearer, r#"{"ownerName":"test"}"#);
    let queue_token = format!("Bearer {}", text(&session["messageQueueAccessToken"]));
    (path_of(&text(&session["messageQueueUrl"])), queue_token)
}

#[test]
fn both_ports_answer() {
    let sandbox = sandbox();
    let ping = call(&sandbox.github_url, "GET", "/_sandbox/ping", "", "").unwrap();
    assert_eq!((ping.status, ping.json()["ok"].as_bool()), (200, Some(true)));
    let state = call(&sandbox.github_url, "GET", "/_sandbox/state", "", "").unwrap().json();
    assert_eq!(state["groups"].as_array().unwrap().len(), 2);
    let unknown = call(&sandbox.github_url, "GET", "/_sandbox/moon", "", "").unwrap();
    assert_eq!(unknown.status, 404);
    let bad = call(&sandbox.github_url, "POST", "/_sandbox/jobs", "", "{").unwrap();
    assert_eq!(bad.status, 400);
    let unsigned = call(&sandbox.aws_url, "POST", "/", "", "Action=DescribeAutoScalingGroups").unwrap();
    assert_eq!(unsigned.status, 403);
    assert!(unsigned.head.contains("text/xml"), "{}", unsigned.head);
}

#[test]
fn a_queued_job_answers_the_held_poll_at_once() {
    let sandbox = sandbox();
    let (queue, token) = open_session(&sandbox);
    let mut poll = connect(&sandbox.github_url);
    send(&mut poll, "GET", &queue, &token, "");
    until(&sandbox, "a held poll", |world| world.github_model().held_polls() == 1);
    let queued = admin(&sandbox, "jobs", r#"{"sets":["acme:acme-pool-1"],"duration_ms":1000}"#);
    assert_eq!(queued["jobs"].as_array().unwrap().len(), 1);
    let answer = receive(&mut poll).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["statistics"]["totalAssignedJobs"], 1);
}

#[test]
fn a_client_that_goes_away_leaves_no_poll_behind() {
    let sandbox = sandbox();
    let (queue, token) = open_session(&sandbox);
    let mut poll = connect(&sandbox.github_url);
    send(&mut poll, "GET", &queue, &token, "");
    until(&sandbox, "a held poll", |world| world.github_model().held_polls() == 1);
    drop(poll);
    until(&sandbox, "its end", |world| world.github_model().held_polls() == 0);
}

#[test]
fn the_written_config_is_one_the_daemon_takes() {
    let sandbox = sandbox();
    let dir = tempfile::tempdir().unwrap();
    let files = scenery::write_daemon_files(dir.path(), &sandbox, "ghp_example").unwrap();
    let config = poolkeeper_shell::config::load(&files.config, std::iter::empty()).unwrap();
    assert_eq!(config.core.stack, scenery::STACK);
    assert_eq!(config.core.connections["main"].url, sandbox.github_url);
    assert_eq!(config.aws.endpoint_url.as_deref(), Some(sandbox.aws_url.as_str()));
    assert_eq!(files.token.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn polls_end_by_the_clock() {
    let github =
        GitHubConfig { poll_hold: poolkeeper_core::time::Duration::from_millis(50), ..GitHubConfig::default() };
    let world = World::new(WorldConfig { github, ..WorldConfig::default() }, 1);
    let sandbox = Sandbox::start(SandboxConfig::default(), world).unwrap();
    let (queue, token) = open_session(&sandbox);
    let answer = call(&sandbox.github_url, "GET", &queue, &token, "").unwrap();
    assert_eq!(answer.status, 202);
}

#[test]
fn faults_break_the_wire_as_told() {
    let sandbox = sandbox();
    let (queue, token) = open_session(&sandbox);
    let fault = |action: &str| {
        let body = format!(r#"{{"call":"poll","times":1,"action":"{action}"}}"#);
        assert_eq!(admin(&sandbox, "faults", &body)["ok"], true);
    };
    fault("close");
    assert!(call(&sandbox.github_url, "GET", &queue, &token, "").is_none());

    admin(&sandbox, "jobs", r#"{"sets":["acme:acme-pool-1"]}"#);
    fault("cut_short");
    let cut = call(&sandbox.github_url, "GET", &queue, &token, "").unwrap();
    let promised: usize = cut.head.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
    assert!(cut.body.len() < promised && !cut.body.is_empty(), "{cut:?}");

    fault("hang");
    let mut hung = connect(&sandbox.github_url);
    hung.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    send(&mut hung, "GET", &queue, &token, "");
    assert!(receive(&mut hung).is_none());
}

#[test]
fn stopping_closes_what_is_held() {
    let sandbox = sandbox();
    let (queue, token) = open_session(&sandbox);
    let mut poll = connect(&sandbox.github_url);
    send(&mut poll, "GET", &queue, &token, "");
    until(&sandbox, "a held poll", |world| world.github_model().held_polls() == 1);
    let url = sandbox.github_url.clone();
    sandbox.stop();
    assert!(receive(&mut poll).is_none());
    assert!(TcpStream::connect(url.split_once("://").unwrap().1).is_err());
}

#[test]
fn the_in_process_door_wakes_polls_too() {
    let sandbox = sandbox();
    let (queue, token) = open_session(&sandbox);
    let mut poll = connect(&sandbox.github_url);
    send(&mut poll, "GET", &queue, &token, "");
    until(&sandbox, "a held poll", |world| world.github_model().held_polls() == 1);
    let plan = crate::workload::JobPlan::success(poolkeeper_core::time::Duration::from_secs(1));
    let key = SetKey::new("acme", "acme-pool-1");
    sandbox.with(|world, at| world.queue_job(at, &key, plan).unwrap());
    assert_eq!(receive(&mut poll).unwrap().status, 200);
}

#[test]
fn tls_comes_with_its_own_authority_and_speaks_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    let config = SandboxConfig { ca_file: Some(ca_file.clone()), ..SandboxConfig::default() };
    let sandbox = sandbox_with(config);
    assert_eq!(ca_file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(sandbox.github_url.starts_with("https://"));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&ca_file).unwrap()).unwrap();
    let client = |protocols: &[&[u8]]| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        rustls::StreamOwned::new(connection, connect(&sandbox.github_url))
    };
    let mut http1 = client(&[b"http/1.1"]);
    send(&mut http1, "GET", "/_sandbox/ping", "", "");
    assert_eq!(receive(&mut http1).unwrap().status, 200);

    let mut http2 = client(&[b"h2", b"http/1.1"]);
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut frame = [0; 9];
    http2.read_exact(&mut frame).unwrap();
    assert_eq!(http2.conn.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(frame[3], 4, "the server's first frame is its settings");
}
