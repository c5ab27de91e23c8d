//! Name look-ups: on one thread, and remembered for a while.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

/// The most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 8;
/// How long a look-up holds.
const KEPT: Duration = Duration::from_secs(30);
/// The most hosts that are remembered.
const HOSTS_MAX: usize = 64;
/// The most questions that wait.
const QUESTIONS_MAX: usize = 4096;
/// The system's resolver is deeper than all else in here.
const STACK_BYTES: usize = 256 << 10;

/// Answers name look-ups; clones ask the same thread.
#[derive(Clone, Debug)]
pub(crate) struct Dns {
    questions: SyncSender<Question>,
}

#[derive(Debug)]
struct Question {
    host: String,
    answer: SyncSender<io::Result<Vec<SocketAddr>>>,
}

struct Known {
    addresses: Vec<SocketAddr>,
    until: Instant,
}

impl Dns {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        let (questions, asked) = sync_channel(QUESTIONS_MAX);
        Builder::new().name("dns".to_owned()).stack_size(STACK_BYTES).spawn(move || answer_all(&asked))?;
        Ok(Self { questions })
    }

    fn ask(&self, host: String, within: Duration) -> Result<Vec<SocketAddr>, Error> {
        let (answer, answered) = sync_channel(1);
        self.questions.try_send(Question { host, answer }).map_err(|_| Error::HostNotFound)?;
        match answered.recv_timeout(within) {
            Ok(found) => Ok(found?),
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout(Timeout::Resolve)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::HostNotFound),
        }
    }
}

impl Resolver for Dns {
    fn resolve(&self, uri: &Uri, _config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or_else(|| Error::BadUri(uri.to_string()))?;
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let found = match host.trim_matches(['[', ']']).parse() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_is_a_name) => self.ask(format!("{host}:{port}"), *timeout.after)?,
        };
        let mut addresses = self.empty();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            addresses.push(address);
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

fn answer_all(asked: &Receiver<Question>) {
    let mut known = BTreeMap::new();
    while let Ok(Question { host, answer }) = asked.recv() {
        let _gave_up_waiting = answer.try_send(look_up(&mut known, host));
    }
}

fn look_up(known: &mut BTreeMap<String, Known>, host: String) -> io::Result<Vec<SocketAddr>> {
    let now = Instant::now();
    known.retain(|_, known| known.until > now);
    if let Some(known) = known.get(&host) {
        return Ok(known.addresses.clone());
    }
    let addresses: Vec<_> = host.to_socket_addrs()?.take(ADDRESSES_MAX).collect();
    if known.len() < HOSTS_MAX {
        known.insert(host, Known { addresses: addresses.clone(), until: now + KEPT });
    }
    Ok(addresses)
}
