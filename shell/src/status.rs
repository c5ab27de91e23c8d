//! The status server: metrics, health, readiness and a page for people, over plain HTTP.
//!
//! | path | what |
//! |---|---|
//! | `/` | a page for people |
//! | `/metrics` | Prometheus's text format: ARC's names and our own |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 while GitHub is heard, else 503 and why |
//! | `/api/pools?after=ID&limit=N` | pools as JSON, page by page |

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use poolkeeper_core::notice::PoolId;
use poolkeeper_core::time::Now;
use poolkeeper_core::view::{PoolView, Summary};
use serde::{Deserialize, Serialize};

use self::pages::Pages;
use crate::telemetry::Telemetry;

mod http;
mod pages;
mod pool_metrics;
mod ready;
#[cfg(test)]
mod tests;

/// Threads that answer requests.
const WORKERS: usize = 2;
/// Connections that may wait for a thread; more are closed at once.
const MAX_WAITING: usize = 32;
/// The stack of each thread: nothing in here recurses.
const STACK_BYTES: usize = 256 << 10;
/// How long the listener rests after `accept` failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A question to the thread that owns the machine; [`Driver::answer`](crate::driver::Driver::answer) answers it.
#[derive(Debug)]
pub struct Query {
    /// Pools after this one.
    pub after: Option<PoolId>,
    /// At most this many pools.
    pub limit: usize,
    /// Where the answer goes.
    pub reply: SyncSender<Page>,
}

/// One page of pools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// When it was made.
    pub now: Now,
    /// The whole at a glance.
    pub summary: Summary,
    /// The pools, in order of their ids.
    pub pools: Vec<PoolView>,
    /// After which pool the next page begins; absent at the end.
    pub next: Option<PoolId>,
}

/// Hands a query to the machine's thread; `false` when that thread takes none.
pub type Ask = Box<dyn Fn(Query) -> bool + Send + Sync>;

/// A running status server; it ends when dropped.
pub struct StatusServer {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl fmt::Debug for StatusServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusServer({})", self.address)
    }
}

impl StatusServer {
    /// Binds and serves.
    ///
    /// # Errors
    /// When the address cannot be bound or no thread can be started.
    pub fn start(listen: SocketAddr, ask: Ask, telemetry: Arc<Telemetry>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let (sender, receiver) = sync_channel(MAX_WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        let pages = Arc::new(Pages::new(ask, telemetry));
        for _ in 0..WORKERS {
            let (receiver, pages) = (Arc::clone(&receiver), Arc::clone(&pages));
            thread("status").spawn(move || serve_all(&receiver, &pages))?;
        }
        let ending = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&ending);
        let accepting = thread("status-accept").spawn(move || accept_all(&listener, &sender, &theirs))?;
        Ok(Self { address, ending, accepting: Some(accepting) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        // The listener waits in `accept`: a connection wakes it.
        let woken = TcpStream::connect_timeout(&reachable(self.address), Duration::from_secs(1));
        if woken.is_ok()
            && let Some(Err(_)) = self.accepting.take().map(JoinHandle::join)
        {
            tracing::error!("the status server's listener panicked");
        }
    }
}

/// Where a server on this machine is reached that listens there: `0.0.0.0` and `[::]` are no places to connect to.
#[must_use]
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let ip = if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        address.set_ip(ip);
    }
    address
}

fn thread(name: &str) -> Builder {
    Builder::new().name(name.to_owned()).stack_size(STACK_BYTES)
}

fn accept_all(listener: &TcpListener, sender: &SyncSender<TcpStream>, ending: &AtomicBool) {
    while !ending.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) => match sender.try_send(stream) {
                Ok(()) | Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Disconnected(_)) => return,
            },
            Err(error) => {
                tracing::warn!(%error, "the status server cannot accept a connection");
                std::thread::park_timeout(ACCEPT_PAUSE);
            }
        }
    }
}

fn serve_all(receiver: &Mutex<Receiver<TcpStream>>, pages: &Pages) {
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(stream) = next else { return };
        // Whoever hangs up early misses an answer, and nobody else does.
        let _ = http::serve(&stream, |path, query| pages.answer(path, query));
    }
}
