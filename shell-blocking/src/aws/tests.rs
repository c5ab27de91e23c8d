//! Calls to an AWS on loopback, in the clear and over TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use poolkeeper_core::aws::InstanceCall;
use poolkeeper_shell::config;
use poolkeeper_shell::transport::Peer;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::*;
use crate::inbox::Inbox;

const STEP: Duration = Duration::from_secs(10);
const RESULT: &str = "<SetDesiredCapacityResponse/>";

/// A request as the other side reads it: its head, and its body.
type Seen = String;

/// How a request is answered; without an answer its connection stays open.
type Answers = dyn Fn(&Seen) -> Option<(u16, String)> + Send + Sync;

/// An AWS on loopback. It tells of each request before it answers.
struct Fake {
    url: String,
    seen: Receiver<Seen>,
}

impl Fake {
    fn start(answer: impl Fn(&Seen) -> Option<(u16, String)> + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(answer))
    }

    fn serve(tls: Option<Arc<ServerConfig>>, answer: Arc<Answers>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = if tls.is_some() { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        let (tell, seen) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (tell, answer, tls) = (tell.clone(), Arc::clone(&answer), tls.clone());
                let tell = move |seen| tell.send(seen).unwrap_or_default();
                std::thread::spawn(move || match tls {
                    None => talk(stream, tell, &*answer),
                    Some(tls) => {
                        talk(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream), tell, &*answer);
                    }
                });
            }
        });
        Self { url, seen }
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(STEP).unwrap()
    }
}

fn talk(stream: impl Read + Write, tell: impl Fn(Seen), answer: &Answers) {
    let mut stream = BufReader::new(stream);
    let mut seen = String::new();
    while !seen.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut seen).unwrap() > 0, "{seen}");
    }
    let length = seen.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    seen.push_str(str::from_utf8(&body).unwrap());
    let answer = answer(&seen);
    tell(seen);
    match answer {
        Some((status, body)) => {
            let length = body.len();
            write!(
                stream.get_mut(),
                "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
        // Ends once the other side has given up.
        None => drop(stream.read_to_end(&mut Vec::new())),
    }
}

/// A daemon's config whose AWS is elsewhere, and its directory.
struct Place {
    dir: TempDir,
    source: PathBuf,
    config: DaemonConfig,
}

impl Place {
    fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (source, token) = (dir.path().join("poolkeeper.toml"), dir.path().join("token"));
        std::fs::write(&token, "ghp_test\n").unwrap();
        let text = format!(
            "stack = \"test\"\n[github.main]\ntoken_file = \"{}\"\norgs = [\"acme\"]\n\
             [aws]\nregion = \"eu-west-1\"\nendpoint_url = \"{url}\"\n",
            token.display()
        );
        std::fs::write(&source, text).unwrap();
        let config = config::load(&source, std::iter::empty()).unwrap();
        Self { dir, source, config }
    }

    fn client(&self, service: Service, ca_file: Option<&Path>, variables: &[(&str, &str)]) -> Client {
        let direct = Wires { tls: tls_config(ca_file).unwrap(), dns: Dns::new(), proxies: Proxies::default() };
        let account = Account::find(&self.config, &self.source, direct.clone(), Environment::of(variables));
        let client = account.and_then(|account| account.client(service, &self.config, &self.source)).unwrap();
        Client { wires: direct, ..client }
    }

    fn services(&self) -> Services {
        let vault = Arc::new(Vault::open(&self.config).unwrap());
        let store = Store::new(self.client(SSM, None, &KEYS), vault, "/poolkeeper", "test");
        let telemetry = Arc::new(Telemetry::new("test"));
        Services { auto_scaling: self.client(AUTO_SCALING, None, &KEYS), store, telemetry }
    }
}

const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "S")];

fn query(client: &Client) -> Result<String, AwsError> {
    client.query(&client.agent(), "Action=SetDesiredCapacity", Instant::now() + STEP)
}

fn refusal(code: &str, message: &str) -> String {
    format!("<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>")
}

#[test]
fn calls_wait_for_no_slow_store() {
    let fake = Fake::start(|_| None);
    let place = Place::new(&fake.url);
    let aws = Aws::staffed(place.services());
    let (inbox, _messages) = Inbox::new();
    let stored = limiter::SSM.in_flight + limiter::SSM_DELETES.in_flight;

    let mut id = 0;
    let mut start = |call| {
        let (promise, _recall) = inbox.promise(Peer::Aws(RequestId(id))).unwrap();
        aws.start(RequestId(id), call, promise);
        id += 1;
    };
    for n in 0..stored {
        start(AwsCall::Instances {
            group: "ci".into(),
            call: InstanceCall::DeleteConfig { instance: format!("i-{n}").into() },
        });
    }
    for _ in 0..limiter::AWS.in_flight {
        start(AwsCall::SetDesiredCapacity { group: "ci".into(), desired: 1 });
    }

    let under_way: Vec<_> = (0..stored + limiter::AWS.in_flight).map(|_| fake.next()).collect();
    assert!(under_way.iter().any(|seen| seen.contains("Action=SetDesiredCapacity")));
}

#[test]
fn aws_is_spoken_to_over_tls() {
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(authority.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![authority.cert.der().clone()], key)
        .unwrap();
    let fake = Fake::serve(Some(Arc::new(server)), Arc::new(|_: &Seen| Some((200, RESULT.to_owned()))));
    let place = Place::new(&fake.url);
    let ca_file = place.dir.path().join("ca.pem");
    std::fs::write(&ca_file, authority.cert.pem()).unwrap();

    assert_eq!(query(&place.client(AUTO_SCALING, Some(&ca_file), &KEYS)).unwrap(), RESULT);
    assert!(query(&place.client(AUTO_SCALING, None, &KEYS)).is_err(), "nobody vouches for the certificate");
}

#[test]
fn requests_are_signed_and_say_who_sends_them() {
    let fake = Fake::start(|_| Some((200, RESULT.to_owned())));

    query(&Place::new(&fake.url).client(AUTO_SCALING, None, &KEYS)).unwrap();

    let seen = fake.next();
    assert!(seen.contains(concat!("\r\nuser-agent: poolkeeper/", env!("CARGO_PKG_VERSION"), "\r\n")), "{seen}");
    assert!(seen.contains("\r\nauthorization: AWS4-HMAC-SHA256 Credential=A/"), "{seen}");
}

#[test]
fn a_refusal_does_not_give_the_session_token_away() {
    let fake = Fake::start(|_| Some((403, refusal("SignatureDoesNotMatch", "of x-amz-security-token:TOKEN-0123"))));
    let variables = [KEYS[0], KEYS[1], ("AWS_SESSION_TOKEN", "TOKEN-0123")];

    let refused = query(&Place::new(&fake.url).client(AUTO_SCALING, None, &variables)).unwrap_err();

    let message = "SignatureDoesNotMatch: of x-amz-security-token:[redacted]".to_owned();
    assert_eq!(refused, AwsError::Denied { message });
}

#[test]
fn credentials_that_aws_does_not_take_are_looked_up_again() {
    let is_first = Mutex::new(true);
    let fake = Fake::start(move |_| {
        let first = std::mem::replace(&mut *is_first.lock().unwrap(), false);
        Some(if first { (403, refusal("ExpiredToken", "")) } else { (200, RESULT.to_owned()) })
    });
    let place = Place::new(&fake.url);
    let profile = place.dir.path().join("credentials");
    let write = |id: &str| {
        let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = S\n");
        std::fs::write(&profile, text).unwrap();
    };
    write("OLD");
    let client = place.client(AUTO_SCALING, None, &[("AWS_SHARED_CREDENTIALS_FILE", &profile.display().to_string())]);
    client.credentials.current(Instant::now()).unwrap();
    client.credentials.age();
    write("NEW");

    assert!(query(&client).is_err());
    query(&client).unwrap();

    assert!(fake.next().contains("Credential=OLD/"));
    assert!(fake.next().contains("Credential=NEW/"));
}

#[test]
fn an_endpoint_that_is_no_url_is_a_problem_of_the_config() {
    let place = Place::new("http://127.0.0.1:1");
    let direct = Wires { tls: tls_config(None).unwrap(), dns: Dns::new(), proxies: Proxies::default() };
    let mut config = place.config.clone();
    config.aws.endpoint_url = None;
    let account =
        Account::find(&config, &place.source, direct, Environment::of(&[("AWS_ENDPOINT_URL", "localhost:4566")]));

    let problem = account.and_then(|account| account.client(SSM, &config, &place.source)).err().unwrap();

    assert!(matches!(&problem, StartProblem::Config(_)), "{problem}");
    assert!(problem.to_string().starts_with("AWS_ENDPOINT_URL: localhost:4566 is no "), "{problem}");
}
