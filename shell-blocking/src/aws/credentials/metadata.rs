//! The container's credential endpoint, and the instance's metadata service (version 2).

use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use aws_credential_types::Credentials as Keys;
use ureq::http::{HeaderValue, Request, Uri, header};

use super::{Environment, fetched};
use crate::http::{Answer, Bounds, INPUT_BYTES, Wires, exchange};

const CONTAINER: &str = "http://169.254.170.2";
/// Hosts besides loopback that may be asked for credentials without TLS: those of ECS and of EKS.
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
const INSTANCE: &str = "http://169.254.169.254";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const REGION: &str = "/latest/meta-data/placement/region";
const TOKEN: &str = "/latest/api/token";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// One token serves one look-up.
const TOKEN_TTL_S: &str = "60";
/// Both are a hop away, or not there at all.
const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(2), body_max: 64 << 10 };
const OK: u16 = 200;
const TOO_MANY: u16 = 429;
const SERVER_ERROR: u16 = 500;
/// How often an instance is asked for its region: at boot its metadata service may not answer yet.
const REGION_TRIES: u32 = 4;
/// How long to wait between two of these tries.
pub(super) const BETWEEN_TRIES: Duration = Duration::from_millis(500);
const NOWHERE_ELSE: &str = "no credentials in environment, profile or container";

/// Why something was not found.
enum Miss {
    /// It is not there, and will not be.
    Absent(String),
    /// Nobody answered, or not now.
    Silent(String),
}

impl Miss {
    fn into_text(self) -> String {
        match self {
            Self::Absent(text) | Self::Silent(text) => text,
        }
    }
}

/// Asks both.
pub(super) struct Metadata {
    environment: Environment,
    wires: Wires,
}

impl Metadata {
    pub(super) fn new(environment: Environment, wires: Wires) -> Self {
        Self { environment, wires }
    }

    /// The container's credentials; none when it has no endpoint.
    pub(super) fn of_container(&self) -> Option<Result<Keys, String>> {
        let relative = self.environment.variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let full = self.environment.variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let url = relative.map(|path| format!("{CONTAINER}{path}")).or(full)?;
        Some(self.ask_container(&url))
    }

    fn ask_container(&self, url: &str) -> Result<Keys, String> {
        const SOURCE: &str = "container endpoint";
        if !may_be_asked(url) {
            return Err(format!("{SOURCE}: neither https nor a host of this machine: {url}"));
        }
        let mut request = Request::builder().uri(url);
        if let Some(token) = self.container_token()? {
            let mut token = HeaderValue::from_str(&token).map_err(|_| format!("{SOURCE}: the token is no header"))?;
            token.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, token);
        }
        let answer = self.ask(request, SOURCE).map_err(Miss::into_text)?;
        fetched::read(&answer.body, SOURCE)
    }

    fn container_token(&self) -> Result<Option<String>, String> {
        let Some(file) = self.environment.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") else {
            return Ok(self.environment.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"));
        };
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{file} cannot be read: {error}"))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// The credentials of the instance's role.
    ///
    /// # Errors
    /// When there is no metadata service, or the instance has no role.
    pub(super) fn of_instance(&self) -> Result<Keys, String> {
        const SOURCE: &str = "instance metadata";
        let token = self.token().map_err(|miss| format!("{NOWHERE_ELSE}; {}", miss.into_text()))?;
        let roles = self.look_up(ROLES, &token).map_err(Miss::into_text)?;
        let role = roles.lines().next().map(str::trim).filter(|role| !role.is_empty());
        let role = role.ok_or_else(|| format!("{SOURCE}: the instance has no role"))?;
        let found = self.look_up(&format!("{ROLES}{role}"), &token).map_err(Miss::into_text)?;
        fetched::read(found.as_bytes(), SOURCE)
    }

    /// The instance's region, if this is one; `between` is the wait between two tries.
    ///
    /// # Errors
    /// When nobody answered, tried several times.
    pub(super) fn region(&self, between: Duration) -> Result<Option<String>, String> {
        let (_never, pause) = mpsc::channel::<()>();
        let mut problem = String::new();
        for n in 0..REGION_TRIES {
            if n > 0 {
                // Nobody ever sends: the channel is a pause.
                let _never_sent = pause.recv_timeout(between);
            }
            match self.token().and_then(|token| self.look_up(REGION, &token)) {
                Ok(region) => return Ok(Some(region.trim().to_owned()).filter(|region| !region.is_empty())),
                Err(Miss::Absent(_)) => return Ok(None),
                Err(Miss::Silent(what)) => problem = what,
            }
        }
        Err(problem)
    }

    fn token(&self) -> Result<String, Miss> {
        if self.environment.variable("AWS_EC2_METADATA_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Err(Miss::Absent("AWS_EC2_METADATA_DISABLED is set".to_owned()));
        }
        let request =
            Request::builder().method("PUT").uri(self.instance_url(TOKEN)).header(TOKEN_TTL_HEADER, TOKEN_TTL_S);
        text(self.ask(request, "instance metadata")?)
    }

    fn look_up(&self, path: &str, token: &str) -> Result<String, Miss> {
        let mut secret = HeaderValue::from_str(token)
            .map_err(|_| Miss::Silent("instance metadata: the token is no header".to_owned()))?;
        secret.set_sensitive(true);
        let request = Request::builder().uri(self.instance_url(path)).header(TOKEN_HEADER, secret);
        text(self.ask(request, "instance metadata")?)
    }

    fn instance_url(&self, path: &str) -> String {
        let place = self.environment.variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        let place = place.unwrap_or_else(|| INSTANCE.to_owned());
        format!("{}{path}", place.trim_end_matches('/'))
    }

    fn ask(&self, request: ureq::http::request::Builder, source: &str) -> Result<Answer, Miss> {
        let puts = request.method_ref().is_some_and(|method| method == "PUT");
        let request = request.body(puts.then(Vec::new)).map_err(|error| Miss::Absent(format!("{source}: {error}")))?;
        let https = request.uri().scheme_str() == Some("https");
        let answer = exchange(&self.wires.agent(https, INPUT_BYTES), request, BOUNDS)
            .map_err(|fault| Miss::Silent(format!("{source}: {}", fault.detail)))?;
        match answer.status {
            OK => Ok(answer),
            status @ (TOO_MANY | SERVER_ERROR..) => Err(Miss::Silent(format!("{source}: HTTP {status}"))),
            status => Err(Miss::Absent(format!("{source}: HTTP {status}"))),
        }
    }
}

fn text(answer: Answer) -> Result<String, Miss> {
    String::from_utf8(answer.body).map_err(|_| Miss::Silent("instance metadata: the reply is no text".to_owned()))
}

/// Whether a container's endpoint may be asked: over TLS any, else only what cannot be far away.
fn may_be_asked(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_near = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    uri.scheme_str() == Some("https") || is_near || CONTAINER_HOSTS.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::may_be_asked;

    #[test]
    fn credentials_do_not_go_over_the_network_in_the_clear() {
        for url in ["https://any.example/x", "http://127.0.0.1:9/x", "http://169.254.170.23/v1", "http://[::1]/"] {
            assert!(may_be_asked(url), "{url}");
        }
        for url in ["http://example.com/x", "http://10.0.0.1/", "file:///etc/passwd", ""] {
            assert!(!may_be_asked(url), "{url}");
        }
    }
}
