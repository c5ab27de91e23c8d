//! Blocking HTTP/1.1 through ureq: agents, and one exchange.

mod buffers;
mod dial;
mod dns;
mod fault;
mod handshake;
mod proxy;
mod socket;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use poolkeeper_shell::tls;
use ureq::Agent;
use ureq::http::{HeaderMap, Request};

use dial::Dial;
pub(crate) use dns::Dns;
pub(crate) use fault::Fault;
pub(crate) use handshake::Tls;
pub(crate) use proxy::{Proxies, of_config};

/// How long a name's look-up may take, and how long connecting may take after it, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the pause between two polls, shorter than servers keep idle connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// The most hosts that one agent keeps a connection to: a thread speaks to GitHub's API and to its Actions Service.
const IDLE_MAX: usize = 2;
/// The same for a listener, which speaks to the Actions Service alone.
const LISTENER_IDLE_MAX: usize = 1;
/// What a thread reads into at first; a longer head gets more. This fills one of the size classes of musl's allocator.
pub(crate) const INPUT_BYTES: usize = 16_352;
/// The same for a listener, whose replies are mostly empty.
const LISTENER_INPUT_BYTES: usize = 8160;
/// The most bytes of a reply's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What agents have in common.
#[derive(Clone, Debug)]
pub(crate) struct Wires {
    pub(crate) tls: Arc<Tls>,
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
        self.new_agent(https, input_bytes, IDLE_MAX)
    }

    /// A new agent for one listener.
    pub(crate) fn listener(&self, https: bool) -> Agent {
        self.new_agent(https, LISTENER_INPUT_BYTES, LISTENER_IDLE_MAX)
    }

    fn new_agent(&self, https: bool, input_bytes: usize, idle_max: usize) -> Agent {
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
            .max_idle_connections(idle_max)
            .max_idle_connections_per_host(1)
            .max_idle_age(IDLE_TIMEOUT)
            .max_response_header_size(HEAD_BYTES_MAX)
            .input_buffer_size(input_bytes)
            .build();
        Agent::with_parts(config, Dial::new(Arc::clone(&self.tls)), self.dns.clone())
    }
}

/// TLS with the system's certificate authorities and those of a `ca_file`.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub(crate) fn tls_config(ca_file: Option<&Path>) -> Result<Arc<Tls>, String> {
    Ok(Arc::new(Tls::new(tls::config(ca_file)?)))
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
    let (head, mut body) = sent.map_err(Fault::from)?.into_parts();
    let status = head.status.as_u16();
    let limit = u64::from(bounds.body_max);
    if body.content_length().is_some_and(|announced| announced > limit) {
        return Err(Fault::too_large(bounds.body_max));
    }
    let read = body.with_config().limit(limit).read_to_vec();
    let body = read.map_err(|error| {
        if matches!(error, ureq::Error::BodyExceedsLimit(_)) {
            Fault::too_large(bounds.body_max)
        } else {
            Fault::from(error).in_reply(status)
        }
    })?;
    Ok(Answer { status, headers: head.headers, body })
}

fn send(
    agent: &Agent,
    request: Request<impl ureq::AsSendBody>,
    timeout: Duration,
) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    let request = agent.configure_request(request).timeout_global(Some(timeout)).build();
    agent.run(request)
}
