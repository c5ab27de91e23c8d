//! The world behind real HTTP servers on loopback: one port for GitHub, one for AWS.
//!
//! The servers run on threads of their own, so that what is tested against them shares no runtime with them.

pub mod admin;
mod host;
mod reply;
pub mod scenery;
mod server;
mod tls;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub use host::{Host, Port};

use crate::world::{World, WorldNow};

/// The streams a client may have open at once on one HTTP/2 connection, as GitHub's front door allows.
pub const MAX_CONCURRENT_STREAMS: u32 = 100;
/// Connections that wait to be accepted: thousands of listeners may come at once.
const BACKLOG: u32 = 8192;

/// How the sandbox is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxConfig {
    /// The address of the GitHub port; port 0 takes a free one.
    pub github: SocketAddr,
    /// The address of the AWS port; port 0 takes a free one.
    pub aws: SocketAddr,
    /// Speak TLS on the GitHub port, and write the certificate authority to this file.
    pub ca_file: Option<PathBuf>,
    /// Speak TLS on the AWS port too, where there is a `ca_file`.
    pub aws_tls: bool,
    /// The streams a client may have open at once on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Threads that serve.
    pub threads: usize,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            github: any,
            aws: any,
            ca_file: None,
            aws_tls: false,
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            threads: 1,
        }
    }
}

/// Why the sandbox did not start.
#[derive(Debug)]
pub struct SandboxError {
    /// What was tried.
    pub tried: String,
    /// Why it failed.
    pub cause: io::Error,
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.tried, self.cause)
    }
}

impl std::error::Error for SandboxError {}

/// A running sandbox. It stops when it is dropped.
#[derive(Debug)]
pub struct Sandbox {
    /// The config URL's server: what goes into `[github.NAME] url`.
    pub github_url: String,
    /// What goes into `[aws] endpoint_url`.
    pub aws_url: String,
    /// The certificate authority's file, when the sandbox speaks TLS.
    pub ca_file: Option<PathBuf>,
    host: Arc<Host>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Sandbox {
    /// Serves a world. When this returns, both ports accept.
    ///
    /// # Errors
    /// When an address cannot be bound, or the certificate authority's file cannot be written.
    pub fn start(config: SandboxConfig, world: World) -> Result<Self, SandboxError> {
        let tls = match &config.ca_file {
            Some(path) => {
                Some(tls::acceptor(path, config.github.ip()).map_err(failed(&format!("write {}", path.display())))?)
            }
            None => None,
        };
        let runtime = runtime(config.threads).map_err(failed("start the servers' threads"))?;
        let (github, aws) = {
            let _inside = runtime.enter();
            (listen(config.github)?, listen(config.aws)?)
        };
        let url = |scheme: &str, listener: &TcpListener| {
            let address = listener.local_addr().map_err(failed("read the bound address"))?;
            Ok(format!("{scheme}://{address}"))
        };
        let github_url = url(if tls.is_some() { "https" } else { "http" }, &github)?;
        let aws_tls = tls.clone().filter(|_| config.aws_tls);
        let aws_url = url(if aws_tls.is_some() { "https" } else { "http" }, &aws)?;
        let host = Arc::new(Host::new(world));
        let (stop, stopped) = watch::channel(false);
        let doors = server::Doors {
            github,
            aws,
            tls,
            aws_tls,
            max_concurrent_streams: config.max_concurrent_streams,
            host: Arc::clone(&host),
        };
        let thread = std::thread::Builder::new()
            .name("sandbox".to_owned())
            .spawn(move || {
                runtime.block_on(doors.serve(stopped));
                runtime.shutdown_background();
            })
            .map_err(failed("start the servers' threads"))?;
        Ok(Self { github_url, aws_url, ca_file: config.ca_file, host, stop, thread: Some(thread) })
    }

    /// Looks at the world, or changes it; polls that the change answers are answered at once.
    pub fn with<R>(&self, act: impl FnOnce(&mut World, WorldNow) -> R) -> R {
        self.host.with(act)
    }

    /// Closes all connections and ends the servers.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic of a server thread was reported as it happened.
            drop(thread.join());
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end();
    }
}

fn runtime(threads: usize) -> io::Result<Runtime> {
    let mut builder = match threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads.max(1)).thread_name("sandbox-worker").enable_all().build()
}

fn listen(address: SocketAddr) -> Result<TcpListener, SandboxError> {
    let open = || {
        let socket = match address {
            SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
            SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(failed(&format!("listen on {address}")))
}

fn failed(tried: &str) -> impl FnOnce(io::Error) -> SandboxError {
    let tried = tried.to_owned();
    move |cause| SandboxError { tried, cause }
}

#[cfg(test)]
mod tests;
