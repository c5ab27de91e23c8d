//! Credentials from a metadata service that is not AWS's.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::http::{Dns, Proxies, tls_config};

const ROLE: &str = "/latest/meta-data/iam/security-credentials/ci-role";

/// Answers like the metadata service of an instance with a role, and like a container's endpoint.
struct Fake {
    url: String,
    given: Arc<AtomicU32>,
    /// Connections, answered or not.
    asked: Arc<AtomicU32>,
    /// While it is locked, nothing is answered.
    gate: Arc<Mutex<()>>,
}

impl Fake {
    fn start(expires: &'static str) -> Self {
        Self::start_after_errors(0, expires)
    }

    /// Answers the first requests with an error.
    fn start_after_errors(errors: usize, expires: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let given = Arc::new(AtomicU32::new(0));
        let gate = Arc::new(Mutex::new(()));
        let asked = Arc::new(AtomicU32::new(0));
        let (counted, opened, passed) = (Arc::clone(&given), Arc::clone(&asked), Arc::clone(&gate));
        std::thread::spawn(move || {
            for (n, mut stream) in listener.incoming().map_while(Result::ok).enumerate() {
                opened.fetch_add(1, Ordering::Relaxed);
                let mut head = Vec::new();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                head.extend(lines.take_while(|line| !line.is_empty()));
                drop(passed.lock().unwrap());
                let (status, body) = if n < errors {
                    ("503 Service Unavailable", String::new())
                } else {
                    answer(&head, expires, &counted)
                };
                let length = body.len();
                let _gone =
                    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            }
        });
        Self { url, given, asked, gate }
    }

    fn given(&self) -> u32 {
        self.given.load(Ordering::Relaxed)
    }

    fn credentials(&self, variables: &[(&str, &str)]) -> Credentials {
        let mut all = vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.url.as_str())];
        all.extend(variables);
        let wires = Wires { tls: tls_config(None).unwrap(), dns: Dns::new(), proxies: Proxies::default() };
        Credentials::new(Environment::of(&all), wires)
    }
}

fn answer(head: &[String], expires: &str, given: &AtomicU32) -> (&'static str, String) {
    let has = |wanted: &str| head.iter().skip(1).any(|line| line.eq_ignore_ascii_case(wanted));
    let mut line = head[0].split(' ');
    let (method, path) = (line.next().unwrap(), line.next().unwrap());
    let keys = || {
        let n = given.fetch_add(1, Ordering::Relaxed);
        format!(
            r#"{{"Code":"Success","AccessKeyId":"ID{n}","SecretAccessKey":"S","Token":"T","Expiration":"{expires}"}}"#
        )
    };
    match (method, path) {
        ("PUT", "/latest/api/token") if has("x-aws-ec2-metadata-token-ttl-seconds: 60") => ("200 OK", "tok".into()),
        ("GET", "/container") if has("authorization: let me in") => ("200 OK", keys()),
        ("GET", _) if !has("x-aws-ec2-metadata-token: tok") => ("401 Unauthorized", String::new()),
        ("GET", ROLE) => ("200 OK", keys()),
        ("GET", "/latest/meta-data/iam/security-credentials/") => ("200 OK", "ci-role".into()),
        ("GET", "/latest/meta-data/placement/region") => ("200 OK", "eu-north-1".into()),
        _ => ("404 Not Found", String::new()),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn an_instance_uses_its_role_and_keeps_what_it_got() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials = fake.credentials(&[]);

    let keys = credentials.current(soon()).unwrap();
    let again = credentials.current(soon()).unwrap();

    assert_eq!((keys.access_key_id(), keys.session_token()), ("ID0", Some("T")));
    assert_eq!(again.access_key_id(), "ID0");
    assert_eq!(fake.given(), 1);
    assert_eq!(credentials.region(), Ok(Some("eu-north-1".to_owned())));
}

#[test]
fn one_caller_asks_while_the_others_wait_for_what_it_gets() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials = fake.credentials(&[]);
    let gate = fake.gate.lock().unwrap();

    let ids: Vec<String> = std::thread::scope(|scope| {
        let current = || credentials.current(soon()).unwrap().access_key_id().to_owned();
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(current)).collect();
        drop(gate);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });

    assert_eq!(ids, ["ID0"; 8]);
    assert_eq!(fake.given(), 1);
}

#[test]
fn who_waits_for_credentials_waits_until_the_deadline() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials = fake.credentials(&[]);
    let gate = fake.gate.lock().unwrap();

    std::thread::scope(|scope| {
        let first = scope.spawn(|| credentials.current(soon()));
        while fake.asked.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        let late = credentials.current(Instant::now() + Duration::from_millis(20));
        drop(gate);

        assert_eq!(late.unwrap_err(), "no credentials in time");
        assert_eq!(first.join().unwrap().unwrap().access_key_id(), "ID0");
    });
}

#[test]
fn credentials_that_aws_refuses_are_looked_up_again_once_they_are_not_new() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials = fake.credentials(&[]);

    let keys = credentials.current(soon()).unwrap();
    credentials.refused(&keys);

    assert_eq!(credentials.current(soon()).unwrap().access_key_id(), "ID0");
    assert_eq!(fake.given(), 1);
}

#[test]
fn a_metadata_service_that_does_not_answer_at_first_is_asked_again() {
    let fake = Fake::start_after_errors(3, "2999-01-01T00:00:00Z");
    let credentials = fake.credentials(&[]);

    assert_eq!(credentials.metadata.region(Duration::ZERO), Ok(Some("eu-north-1".to_owned())));
}

#[test]
fn no_answer_is_told_from_no_region() {
    let silent = Fake::start_after_errors(usize::MAX, "2999-01-01T00:00:00Z").credentials(&[]);
    let disabled = Fake::start("2999-01-01T00:00:00Z").credentials(&[("AWS_EC2_METADATA_DISABLED", "true")]);

    assert!(silent.metadata.region(Duration::ZERO).unwrap_err().contains("HTTP 503"));
    assert_eq!(disabled.region(), Ok(None));
}

#[test]
fn a_container_asks_its_endpoint_with_its_token() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let url = format!("{}/container", fake.url);
    let credentials = fake.credentials(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in"),
    ]);

    assert_eq!(credentials.current(soon()).unwrap().access_key_id(), "ID0");
}

#[test]
fn the_environment_goes_first() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials =
        fake.credentials(&[("AWS_ACCESS_KEY_ID", "own"), ("AWS_SECRET_ACCESS_KEY", "S"), ("AWS_REGION", "eu-west-1")]);

    assert_eq!(credentials.current(soon()).unwrap().access_key_id(), "own");
    assert_eq!(credentials.region(), Ok(Some("eu-west-1".to_owned())));
    assert_eq!(fake.given(), 0);
}

#[test]
fn where_nothing_is_found_the_message_says_where_was_looked() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials = fake.credentials(&[("AWS_EC2_METADATA_DISABLED", "true")]);

    let problem = credentials.current(soon()).unwrap_err();

    assert!(problem.contains("environment, profile or container"), "{problem}");
}
