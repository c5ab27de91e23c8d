//! Blocking HTTP/1.1 through ureq: agents, and one exchange.

mod dial;
mod dns;
mod fault;
mod proxy;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use dial::Dial;
pub(crate) use dns::Dns;
pub(crate) use fault::Fault;
pub(crate) use proxy::{Proxies, of_config};
pub(crate) use tls::config as tls_config;

/// How long connecting may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the pause between two polls, shorter than servers keep idle connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// The most hosts that one agent keeps a connection to: a thread speaks to GitHub's API and to its Actions Service.
const IDLE_MAX: usize = 2;
/// What a thread reads into, which has to hold a reply's head.
pub(crate) const INPUT_BYTES: usize = 16 << 10;
/// The same for a listener: what a held poll costs is mostly this.
pub(crate) const LISTENER_INPUT_BYTES: usize = 8 << 10;
const OUTPUT_BUFFER_BYTES: usize = 4 << 10;
/// The most bytes of a reply's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What agents have in common.
#[derive(Clone, Debug)]
pub(crate) struct Wires {
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) dns: Dns,
    pub(crate) proxies: Proxies,
}

/// A reply, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// One exchange's bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) timeout: Duration,
    pub(crate) body_max: u32,
}

impl Wires {
    /// A new agent, with connections of its own.
    pub(crate) fn agent(&self, https: bool, input_bytes: usize) -> Agent {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .user_agent("")
            .accept("")
            .accept_encoding("")
            .proxy(self.proxies.for_scheme(https))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .max_idle_connections(IDLE_MAX)
            .max_idle_connections_per_host(1)
            .max_idle_age(IDLE_TIMEOUT)
            .max_response_header_size(HEAD_BYTES_MAX)
            .input_buffer_size(input_bytes)
            .output_buffer_size(OUTPUT_BUFFER_BYTES)
            .build();
        Agent::with_parts(config, Dial::connector(Arc::clone(&self.tls)), self.dns.clone())
    }
}

/// Carries one request there and its reply back.
///
/// # Errors
/// When no reply came, or it was longer than `bounds` allow.
pub(crate) fn exchange(agent: &Agent, request: Request<Option<Vec<u8>>>, bounds: Bounds) -> Result<Answer, Fault> {
    let (head, body) = request.into_parts();
    let sent = match body {
        Some(body) => send(agent, Request::from_parts(head, body), bounds.timeout),
        None => send(agent, Request::from_parts(head, ()), bounds.timeout),
    };
    let mut response = sent.map_err(Fault::from)?;
    let status = response.status().as_u16();
    let limit = u64::from(bounds.body_max);
    if response.body().content_length().is_some_and(|announced| announced > limit) {
        return Err(Fault::too_large(bounds.body_max));
    }
    let read = response.body_mut().with_config().limit(limit.saturating_add(1)).read_to_vec();
    let body = read.map_err(|error| {
        if matches!(error, ureq::Error::BodyExceedsLimit(_)) {
            Fault::too_large(bounds.body_max)
        } else {
            Fault::from(error).in_reply(status)
        }
    })?;
    if u64::try_from(body.len()).unwrap_or(u64::MAX) > limit {
        return Err(Fault::too_large(bounds.body_max));
    }
    Ok(Answer { status, headers: response.headers().clone(), body })
}

fn send(
    agent: &Agent,
    request: Request<impl ureq::AsSendBody>,
    timeout: Duration,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let request = agent.configure_request(request).timeout_global(Some(timeout)).build();
    agent.run(request)
}
