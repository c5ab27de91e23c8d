//! The HTTP clients of one connection.

use std::time::Duration;

use poolkeeper_shell::config::GitHubSettings;
use poolkeeper_shell::tls;
use poolkeeper_shell::transport::words;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, retry};

use super::queue::Queue;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the pause between two polls, shorter than servers keep idle connections.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
pub(super) const KEEPALIVE: Duration = Duration::from_secs(20);
/// The most idle connections kept for other calls than polls and acknowledgements, to one host.
const IDLE_CALLS_MAX: usize = 8;

/// What one connection speaks through.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// Polls and acknowledgements over HTTP/1.1, a connection for each: over HTTP/2 polls would share one and use up its
    /// streams.
    pub(super) queue: Option<Queue>,
    /// Polls through a proxy.
    pub(super) proxied_polls: Client,
    /// All other calls, and acknowledgements through a proxy, over HTTP/2 where the server offers it.
    pub(super) calls: Client,
}

impl Clients {
    pub(super) fn build(settings: &GitHubSettings) -> Result<Self, String> {
        let tls = tls::config(settings.ca_file.as_deref())?;
        let build = |builder: ClientBuilder| {
            builder.build().map_err(|error| format!("no HTTP client can be made: {}", words(&error)))
        };
        let queue = settings.proxy.is_none().then(|| Queue::new(tls.clone()));
        let proxied_polls = build(builder(settings, tls.clone(), &[b"http/1.1"])?.http1_only())?;
        let calls = build(
            builder(settings, tls, &[b"h2", b"http/1.1"])?
                .pool_max_idle_per_host(IDLE_CALLS_MAX)
                .http2_keep_alive_interval(KEEPALIVE)
                .http2_keep_alive_timeout(CONNECT_TIMEOUT),
        )?;
        Ok(Self { queue, proxied_polls, calls })
    }
}

fn builder(
    settings: &GitHubSettings,
    mut tls: rustls::ClientConfig,
    protocols: &[&[u8]],
) -> Result<ClientBuilder, String> {
    tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .retry(retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tcp_keepalive(KEEPALIVE);
    match &settings.proxy {
        None => Ok(builder),
        Some(proxy) => {
            let proxy = Proxy::all(proxy).map_err(|error| format!("the proxy is no URL: {}", words(&error)))?;
            Ok(builder.proxy(proxy))
        }
    }
}
