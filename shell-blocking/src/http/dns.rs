//! Name look-ups: a thread for each name that is being looked up, up to a few, and answers remembered for a while.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

use super::fault::NotConnected;
use crate::crew::{Crew, Worker};

/// The most addresses of a host that are tried.
const ADDRESSES_MAX: usize = 8;
/// How long a look-up holds.
const KEPT: Duration = Duration::from_secs(30);
/// How long a failure holds: a thousand listeners of a host whose name is gone make one look-up in this time.
const FAILURE_KEPT: Duration = Duration::from_secs(3);
/// The most hosts that are remembered.
const HOSTS_MAX: usize = 256;
/// The most names that are looked up at once. A name whose servers do not answer takes one for half a minute.
const LOOK_UPS_MAX: usize = 4;

/// Answers name look-ups; clones share what they know.
#[derive(Clone)]
pub(crate) struct Dns {
    names: Arc<Names>,
    crew: Arc<Crew<LookUp>>,
}

#[derive(Default)]
struct Names {
    known: Mutex<BTreeMap<String, Known>>,
    news: Condvar,
}

enum Known {
    /// Somebody has asked, and the answer is on its way.
    Asked,
    Told {
        answer: Answer,
        until: Instant,
    },
}

/// The addresses, or the system's words why there are none.
type Answer = Result<Vec<SocketAddr>, String>;

/// A look-up under way. Dropped without an answer, as in a panic, it has failed.
struct LookUp {
    host: String,
    names: Arc<Names>,
}

impl Dns {
    /// Asks the system.
    pub(crate) fn new() -> Self {
        Self::asking(|host| Ok(host.to_socket_addrs()?.take(ADDRESSES_MAX).collect()))
    }

    fn asking(ask: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Clone + Send + Sync + 'static) -> Self {
        let crew = Crew::new("dns", LOOK_UPS_MAX, move || Box::new(Asker(ask.clone())));
        Self { names: Arc::default(), crew: Arc::new(crew) }
    }

    fn look_up(&self, host: &str, within: Duration) -> Result<Vec<SocketAddr>, Error> {
        if self.names.wants_look_up(host)? {
            let look_up = LookUp { host: host.to_owned(), names: Arc::clone(&self.names) };
            if let Err(unmanned) = self.crew.take(look_up) {
                unmanned.job.settle(Err(unmanned.error));
            }
        }
        self.names.wait(host, within)
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dns")
    }
}

impl Resolver for Dns {
    fn resolve(&self, uri: &Uri, _config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or_else(|| Error::BadUri(uri.to_string()))?;
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let found = match host.trim_matches(['[', ']']).parse() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_is_a_name) => self.look_up(&format!("{host}:{port}"), *timeout.after)?,
        };
        let mut addresses = self.empty();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            addresses.push(address);
        }
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

impl Names {
    /// Whether nothing is known of a host; it then counts as asked for.
    fn wants_look_up(&self, host: &str) -> Result<bool, Error> {
        let now = Instant::now();
        let mut known = self.lock();
        known.retain(|_, known| match known {
            Known::Asked => true,
            Known::Told { until, .. } => *until > now,
        });
        if known.contains_key(host) {
            return Ok(false);
        }
        if known.len() >= HOSTS_MAX {
            return Err(NotConnected::because("more names are looked up than can be remembered"));
        }
        known.insert(host.to_owned(), Known::Asked);
        Ok(true)
    }

    fn wait(&self, host: &str, within: Duration) -> Result<Vec<SocketAddr>, Error> {
        let asked = |known: &mut BTreeMap<_, _>| matches!(known.get(host), Some(Known::Asked));
        let (known, _) =
            self.news.wait_timeout_while(self.lock(), within, asked).unwrap_or_else(PoisonError::into_inner);
        match known.get(host) {
            Some(Known::Told { answer, .. }) => answer.clone().map_err(|error| NotConnected::because(error.as_str())),
            Some(Known::Asked) | None => Err(Error::Timeout(Timeout::Resolve)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LookUp {
    fn settle(&self, answer: io::Result<Vec<SocketAddr>>) {
        let kept = if answer.is_ok() { KEPT } else { FAILURE_KEPT };
        let answer = answer.map_err(|error| error.to_string());
        let told = Known::Told { answer, until: Instant::now() + kept };
        self.names.lock().insert(self.host.clone(), told);
        self.names.news.notify_all();
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        let open = matches!(self.names.lock().get(&self.host), Some(Known::Asked));
        if open {
            self.settle(Err(io::Error::other("the look-up failed")));
        }
    }
}

struct Asker<F>(F);

impl<F: Fn(&str) -> io::Result<Vec<SocketAddr>> + Send> Worker<LookUp> for Asker<F> {
    fn carry(&mut self, look_up: LookUp) {
        look_up.settle((self.0)(&look_up.host));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);
    const HERE: &str = "127.0.0.1:443";

    fn here() -> Vec<SocketAddr> {
        vec![HERE.parse().unwrap()]
    }

    #[test]
    fn a_name_whose_servers_do_not_answer_holds_up_no_other() {
        let (release, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let dns = Dns::asking(move |host| {
            if host == "dead:443" {
                let _released = held.lock().unwrap().recv();
            }
            Ok(here())
        });

        for _ in 0..LOOK_UPS_MAX * 2 {
            assert!(matches!(dns.look_up("dead:443", SHORT), Err(Error::Timeout(Timeout::Resolve))));
        }

        assert_eq!(dns.look_up("alive:443", LONG).unwrap(), here());
        drop(release);
        assert_eq!(dns.look_up("dead:443", LONG).unwrap(), here());
    }

    #[test]
    fn an_answer_is_remembered_and_so_is_a_failure() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let dns = Dns::asking(move |host| {
            count.fetch_add(1, Ordering::Relaxed);
            if host == "gone:443" { Err(io::Error::other("no such name")) } else { Ok(here()) }
        });

        for _ in 0..3 {
            assert_eq!(dns.look_up("here:443", LONG).unwrap(), here());
            let error = dns.look_up("gone:443", LONG).unwrap_err();
            assert!(error.to_string().contains("no such name"), "{error}");
        }

        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_panic_is_a_failed_look_up_and_no_more() {
        let dns = Dns::asking(|host| {
            assert!(host != "bad:443", "on purpose");
            Ok(here())
        });

        assert!(dns.look_up("bad:443", LONG).is_err());

        assert_eq!(dns.look_up("good:443", LONG).unwrap(), here());
    }
}
