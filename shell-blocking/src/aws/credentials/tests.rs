//! Credentials from a metadata service that is not AWS's.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::http::{Dns, Proxies, tls_config};

const ROLE: &str = "/latest/meta-data/iam/security-credentials/ci-role";

/// Answers like the metadata service of an instance with a role, and like a container's endpoint.
struct Fake {
    url: String,
    given: Arc<AtomicU32>,
}

impl Fake {
    fn start(expires: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let given = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&given);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = Vec::new();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                head.extend(lines.take_while(|line| !line.is_empty()));
                let (status, body) = answer(&head, expires, &counted);
                let length = body.len();
                let _gone =
                    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            }
        });
        Self { url, given }
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

#[test]
fn an_instance_uses_its_role_and_keeps_what_it_got() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials = fake.credentials(&[]);

    let keys = credentials.current().unwrap();
    let again = credentials.current().unwrap();

    assert_eq!((keys.access_key_id(), keys.session_token()), ("ID0", Some("T")));
    assert_eq!(again.access_key_id(), "ID0");
    assert_eq!(fake.given.load(Ordering::Relaxed), 1);
    assert_eq!(credentials.region().as_deref(), Some("eu-north-1"));
}

#[test]
fn credentials_that_have_ended_are_renewed() {
    let fake = Fake::start("2001-01-01T00:00:00Z");
    let credentials = fake.credentials(&[]);

    credentials.current().unwrap();
    let renewed = credentials.current().unwrap();

    assert_eq!(renewed.access_key_id(), "ID1");
}

#[test]
fn credentials_are_renewed_before_they_end() {
    let soon = SystemTime::now() + RENEWED_EARLY + Duration::from_secs(60);

    let wait = renew_after(soon).saturating_duration_since(Instant::now());

    assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
}

#[test]
fn a_container_asks_its_endpoint_with_its_token() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let url = format!("{}/container", fake.url);
    let credentials = fake.credentials(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in"),
    ]);

    assert_eq!(credentials.current().unwrap().access_key_id(), "ID0");
}

#[test]
fn the_environment_goes_first() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials =
        fake.credentials(&[("AWS_ACCESS_KEY_ID", "own"), ("AWS_SECRET_ACCESS_KEY", "S"), ("AWS_REGION", "eu-west-1")]);

    assert_eq!(credentials.current().unwrap().access_key_id(), "own");
    assert_eq!(credentials.region().as_deref(), Some("eu-west-1"));
    assert_eq!(fake.given.load(Ordering::Relaxed), 0);
}

#[test]
fn where_nothing_is_found_the_message_says_where_was_looked() {
    let fake = Fake::start("2999-01-01T00:00:00Z");
    let credentials = fake.credentials(&[("AWS_EC2_METADATA_DISABLED", "true")]);

    let problem = credentials.current().unwrap_err();

    assert!(problem.contains("environment, profile or container"), "{problem}");
}
