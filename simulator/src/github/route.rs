//! From method, path and query to the call that is meant.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::reply::{NO_SUCH_METHOD, NO_SUCH_PATH, text};
use crate::http::{HttpRequest, HttpResponse};

/// The longest target that is looked at.
const MAX_TARGET: usize = 8 * 1024;

/// A call by its kind: for counting, and for choosing what a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the call of that name in the protocol")]
pub enum Call {
    Installation,
    AccessToken,
    RegistrationToken,
    AdminConnection,
    RunnerGroup,
    ScaleSets,
    ScaleSetByName,
    ScaleSet,
    CreateScaleSet,
    UpdateScaleSet,
    DeleteScaleSet,
    CreateSession,
    RefreshSession,
    DeleteSession,
    Poll,
    Acknowledge,
    Acquire,
    AcquirableJobs,
    JitConfig,
    Runner,
    RunnerByName,
    Runners,
    RemoveRunner,
    /// What is no call at all.
    Unknown,
}

impl Call {
    /// The name in counts and faults, for example `create_session`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Installation => "installation",
            Self::AccessToken => "access_token",
            Self::RegistrationToken => "registration_token",
            Self::AdminConnection => "admin_connection",
            Self::RunnerGroup => "runner_group",
            Self::ScaleSets => "scale_sets",
            Self::ScaleSetByName => "scale_set_by_name",
            Self::ScaleSet => "scale_set",
            Self::CreateScaleSet => "create_scale_set",
            Self::UpdateScaleSet => "update_scale_set",
            Self::DeleteScaleSet => "delete_scale_set",
            Self::CreateSession => "create_session",
            Self::RefreshSession => "refresh_session",
            Self::DeleteSession => "delete_session",
            Self::Poll => "poll",
            Self::Acknowledge => "acknowledge",
            Self::Acquire => "acquire",
            Self::AcquirableJobs => "acquirable_jobs",
            Self::JitConfig => "jit_config",
            Self::Runner => "runner",
            Self::RunnerByName => "runner_by_name",
            Self::Runners => "runners",
            Self::RemoveRunner => "remove_runner",
            Self::Unknown => "unknown",
        }
    }

    /// Which call a request is, whether or not it will succeed.
    pub(crate) const fn of(route: &Result<Route, HttpResponse>) -> Self {
        match route {
            Ok(Route::Rest(RestCall::Installation { .. })) => Self::Installation,
            Ok(Route::Rest(RestCall::AccessToken { .. })) => Self::AccessToken,
            Ok(Route::Rest(RestCall::RegistrationToken { .. })) => Self::RegistrationToken,
            Ok(Route::Rest(RestCall::AdminConnection)) => Self::AdminConnection,
            Ok(Route::Service { call, .. }) => call.kind(),
            Ok(Route::Poll { .. }) => Self::Poll,
            Ok(Route::Acknowledge { .. }) => Self::Acknowledge,
            Err(_) => Self::Unknown,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Rest(RestCall),
    Service { tenant: String, call: ServiceCall },
    Poll { set: u64 },
    Acknowledge { set: u64, message: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RestCall {
    Installation { account: String },
    AccessToken { installation: u64 },
    RegistrationToken { scope: String },
    AdminConnection,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServiceCall {
    RunnerGroups { name: Option<String> },
    ScaleSets { group: Option<u64>, name: Option<String> },
    CreateScaleSet,
    ScaleSet { set: u64 },
    UpdateScaleSet { set: u64 },
    DeleteScaleSet { set: u64 },
    JitConfig { set: u64 },
    CreateSession { set: u64 },
    RefreshSession { set: u64, session: String },
    DeleteSession { set: u64, session: String },
    Acquire { set: u64 },
    AcquirableJobs { set: u64 },
    Runners { name: Option<String> },
    Runner { runner: u64 },
    RemoveRunner { runner: u64 },
}

impl ServiceCall {
    const fn kind(&self) -> Call {
        match self {
            Self::RunnerGroups { .. } => Call::RunnerGroup,
            Self::ScaleSets { name: Some(_), .. } => Call::ScaleSetByName,
            Self::ScaleSets { name: None, .. } => Call::ScaleSets,
            Self::CreateScaleSet => Call::CreateScaleSet,
            Self::ScaleSet { .. } => Call::ScaleSet,
            Self::UpdateScaleSet { .. } => Call::UpdateScaleSet,
            Self::DeleteScaleSet { .. } => Call::DeleteScaleSet,
            Self::JitConfig { .. } => Call::JitConfig,
            Self::CreateSession { .. } => Call::CreateSession,
            Self::RefreshSession { .. } => Call::RefreshSession,
            Self::DeleteSession { .. } => Call::DeleteSession,
            Self::Acquire { .. } => Call::Acquire,
            Self::AcquirableJobs { .. } => Call::AcquirableJobs,
            Self::Runners { name: Some(_) } => Call::RunnerByName,
            Self::Runners { name: None } => Call::Runners,
            Self::Runner { .. } => Call::Runner,
            Self::RemoveRunner { .. } => Call::RemoveRunner,
        }
    }
}

impl Route {
    /// # Errors
    /// With the reply that refuses what is no call.
    pub(crate) fn parse(request: &HttpRequest) -> Result<Self, HttpResponse> {
        if request.target.len() > MAX_TARGET {
            return Err(text(414, "URI Too Long"));
        }
        let (path, query) = request.path_and_query();
        let segments: Vec<Cow<'_, str>> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| if segment.contains('%') { decoded(segment) } else { Cow::Borrowed(segment) })
            .collect();
        let parts: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        let method = request.method.as_ref();
        match parts.as_slice() {
            ["_services", "pipelines", tenant, rest @ ..] => {
                service(method, rest, query).map(|call| Self::Service { tenant: (*tenant).to_owned(), call })
            }
            ["_services", "queue", set, rest @ ..] => queue(method, set, rest),
            ["api", "v3", rest @ ..] => rest_call(method, rest).map(Self::Rest),
            rest if is_api_host(&request.origin) => rest_call(method, rest).map(Self::Rest),
            _ => Err(text(404, "Not Found")),
        }
    }
}

/// github.com and data residency serve the REST API on a host of its own, Enterprise Server under a path.
fn is_api_host(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| host.starts_with("api."))
}

fn rest_call(method: &str, parts: &[&str]) -> Result<RestCall, HttpResponse> {
    let (expected, call) = match parts {
        ["orgs" | "users", account, "installation"] => {
            ("GET", RestCall::Installation { account: (*account).to_owned() })
        }
        ["repos", owner, _, "installation"] => ("GET", RestCall::Installation { account: (*owner).to_owned() }),
        ["enterprises", name, "installation"] => {
            ("GET", RestCall::Installation { account: format!("enterprises/{name}") })
        }
        ["app", "installations", id, "access_tokens"] => {
            let installation = id.parse().map_err(|_| text(404, "Not Found"))?;
            ("POST", RestCall::AccessToken { installation })
        }
        ["orgs", org, "actions", "runners", "registration-token"] => {
            ("POST", RestCall::RegistrationToken { scope: (*org).to_owned() })
        }
        ["repos", owner, repo, "actions", "runners", "registration-token"] => {
            ("POST", RestCall::RegistrationToken { scope: format!("{owner}/{repo}") })
        }
        ["enterprises", name, "actions", "runners", "registration-token"] => {
            ("POST", RestCall::RegistrationToken { scope: format!("enterprises/{name}") })
        }
        ["actions", "runner-registration"] => ("POST", RestCall::AdminConnection),
        _ => return Err(text(404, "Not Found")),
    };
    if method == expected { Ok(call) } else { Err(text(404, "Not Found")) }
}

fn service(method: &str, parts: &[&str], query: &str) -> Result<ServiceCall, HttpResponse> {
    match parts {
        ["_apis", "runtime", "runnergroups"] => match method {
            "GET" => Ok(ServiceCall::RunnerGroups { name: query_value(query, "groupName") }),
            _ => Err(wrong_method(method)),
        },
        ["_apis", "runtime", "runnerscalesets", rest @ ..] => scale_sets(method, rest, query),
        ["_apis", "distributedtask", "pools", "0", "agents", rest @ ..] => agents(method, rest, query),
        _ => Err(no_such_path()),
    }
}

fn scale_sets(method: &str, parts: &[&str], query: &str) -> Result<ServiceCall, HttpResponse> {
    let [id, rest @ ..] = parts else {
        return match method {
            "GET" => {
                let group = match query_value(query, "runnerGroupId") {
                    Some(id) => Some(number(&id)?),
                    None => None,
                };
                Ok(ServiceCall::ScaleSets { group, name: query_value(query, "name") })
            }
            "POST" => Ok(ServiceCall::CreateScaleSet),
            _ => Err(wrong_method(method)),
        };
    };
    let set = number(id)?;
    match (method, rest) {
        ("GET", []) => Ok(ServiceCall::ScaleSet { set }),
        ("PATCH", []) => Ok(ServiceCall::UpdateScaleSet { set }),
        ("DELETE", []) => Ok(ServiceCall::DeleteScaleSet { set }),
        ("POST", ["generatejitconfig"]) => Ok(ServiceCall::JitConfig { set }),
        ("POST", ["sessions"]) => Ok(ServiceCall::CreateSession { set }),
        ("PATCH", ["sessions", session]) => Ok(ServiceCall::RefreshSession { set, session: (*session).to_owned() }),
        ("DELETE", ["sessions", session]) => Ok(ServiceCall::DeleteSession { set, session: (*session).to_owned() }),
        ("POST", ["acquirejobs"]) => Ok(ServiceCall::Acquire { set }),
        ("GET", ["acquirablejobs"]) => Ok(ServiceCall::AcquirableJobs { set }),
        (_, [] | ["generatejitconfig" | "sessions" | "acquirejobs" | "acquirablejobs"] | ["sessions", _]) => {
            Err(wrong_method(method))
        }
        _ => Err(no_such_path()),
    }
}

fn agents(method: &str, parts: &[&str], query: &str) -> Result<ServiceCall, HttpResponse> {
    match (method, parts) {
        ("GET", []) => Ok(ServiceCall::Runners { name: query_value(query, "agentName") }),
        ("GET", [id]) => Ok(ServiceCall::Runner { runner: number(id)? }),
        ("DELETE", [id]) => Ok(ServiceCall::RemoveRunner { runner: number(id)? }),
        (_, [] | [_]) => Err(wrong_method(method)),
        _ => Err(no_such_path()),
    }
}

fn queue(method: &str, set: &str, parts: &[&str]) -> Result<Route, HttpResponse> {
    let set = number(set)?;
    match (method, parts) {
        ("GET", ["messages"]) => Ok(Route::Poll { set }),
        ("DELETE", ["messages", id]) => Ok(Route::Acknowledge { set, message: number(id)? }),
        (_, ["messages"] | ["messages", _]) => Err(wrong_method(method)),
        _ => Err(no_such_path()),
    }
}

fn decoded(segment: &str) -> Cow<'_, str> {
    percent_decode_str(segment).decode_utf8_lossy()
}

/// The decoded value of a query parameter.
pub(super) fn query_value(query: &str, key: &str) -> Option<String> {
    if !query.contains(['%', '+']) {
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        return pairs.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.to_owned());
    }
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value.into_owned())
}

fn number(text: &str) -> Result<u64, HttpResponse> {
    text.parse().map_err(|_| no_such_path())
}

fn no_such_path() -> HttpResponse {
    NO_SUCH_PATH.reply("The resource does not exist.")
}

fn wrong_method(method: &str) -> HttpResponse {
    let shown: String = method.chars().take(16).collect();
    NO_SUCH_METHOD.reply(&format!("The resource does not support the HTTP method '{shown}'."))
}
