//! The instance metadata service, version 2, of one instance.
//!
//! See <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const TOKEN_PATH: &str = "/latest/api/token";
const VALUES: &str = "/latest/meta-data/";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// The longest life of a token, in seconds.
const TTL_MAX_S: u32 = 21_600;
const CLIENT_MAX: Duration = Duration::from_secs(5);
const HEADERS_MAX: usize = 100;

/// The service. It does not listen before [`Imds::open`].
#[derive(Debug)]
pub struct Imds {
    address: SocketAddr,
    facts: Arc<Mutex<Facts>>,
    server: Option<JoinHandle<()>>,
}

/// What the service knows and what it was asked.
#[derive(Debug, Default)]
struct Facts {
    instance: String,
    region: String,
    /// None: the value is not there.
    state: Option<String>,
    tokens: u64,
    /// Of the next requests so many find their token expired.
    expired: u32,
    refused: u32,
    state_looks: u32,
    closing: bool,
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Imds {
    /// A service that is still away, on a port that is free.
    ///
    /// # Errors
    /// When no port is.
    pub fn away(instance: &str, region: &str) -> io::Result<Self> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let facts = Facts { instance: instance.to_owned(), region: region.to_owned(), ..Facts::default() };
        Ok(Self { address, facts: Arc::new(Mutex::new(facts)), server: None })
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// When somebody else has taken the port.
    pub fn open(&mut self) -> io::Result<()> {
        self.close();
        let listener = TcpListener::bind(self.address)?;
        let facts = Arc::clone(&self.facts);
        self.server = Some(std::thread::spawn(move || serve(&listener, &facts)));
        Ok(())
    }

    /// Refuses connections from now on.
    pub fn close(&mut self) {
        let Some(server) = self.server.take() else { return };
        self.facts().closing = true;
        // It wakes the server; that it finds nobody there is as good.
        drop(TcpStream::connect(self.address));
        // A panic of the server was reported as it happened.
        drop(server.join());
        self.facts().closing = false;
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets `autoscaling/target-lifecycle-state`.
    pub fn set_state(&self, state: &str) {
        self.facts().state = Some(state.to_owned());
    }

    /// The tokens of the next so many requests have expired.
    pub fn expire_tokens(&self, times: u32) {
        self.facts().expired = times;
    }

    /// How many requests were refused for their token.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.facts().refused
    }

    /// How often the state was asked for, with an answer or none.
    #[must_use]
    pub fn state_looks(&self) -> u32 {
        self.facts().state_looks
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        lock(&self.facts)
    }
}

impl Drop for Imds {
    fn drop(&mut self) {
        self.close();
    }
}

fn lock(facts: &Mutex<Facts>) -> MutexGuard<'_, Facts> {
    facts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(listener: &TcpListener, facts: &Mutex<Facts>) {
    for stream in listener.incoming() {
        if lock(facts).closing {
            return;
        }
        // A client that went away gets no answer.
        drop(stream.and_then(|stream| answer(stream, facts)));
    }
}

fn answer(mut stream: TcpStream, facts: &Mutex<Facts>) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_MAX))?;
    let request = read(&stream)?;
    let (status, headers, body) = lock(facts).reply(&request);
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
}

fn read(stream: &TcpStream) -> io::Result<Request> {
    let mut lines = BufReader::new(stream).lines().take(HEADERS_MAX);
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Request { method, path, headers })
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Facts {
    fn reply(&mut self, request: &Request) -> (&'static str, String, String) {
        let plain = |status| (status, String::new(), String::new());
        match (request.method.as_str(), request.path.as_str()) {
            ("PUT", TOKEN_PATH) => {
                let ttl = request.header(TTL).and_then(|ttl| ttl.parse().ok());
                match ttl.filter(|ttl| (1..=TTL_MAX_S).contains(ttl)) {
                    Some(ttl) => {
                        self.tokens += 1;
                        ("200 OK", format!("{TTL}: {ttl}\r\n"), format!("token-{}", self.tokens))
                    }
                    None => plain("400 Bad Request"),
                }
            }
            ("GET", path) => match path.strip_prefix(VALUES) {
                Some(name) => self.value(name, request.header(TOKEN)),
                None => plain("404 Not Found"),
            },
            _ => plain("405 Method Not Allowed"),
        }
    }

    fn value(&mut self, name: &str, token: Option<&str>) -> (&'static str, String, String) {
        let issued = token.and_then(|token| token.strip_prefix("token-")?.parse().ok());
        let is_known = issued.is_some_and(|token: u64| (1..=self.tokens).contains(&token));
        if !is_known || self.expired > 0 {
            self.expired = self.expired.saturating_sub(1);
            self.refused += 1;
            return ("401 Unauthorized", String::new(), String::new());
        }
        let value = match name {
            "instance-id" => Some(&self.instance),
            "placement/region" => Some(&self.region),
            "autoscaling/target-lifecycle-state" => {
                self.state_looks += 1;
                self.state.as_ref()
            }
            _ => None,
        };
        match value {
            Some(value) => ("200 OK", String::new(), value.clone()),
            None => ("404 Not Found", String::new(), String::new()),
        }
    }
}
