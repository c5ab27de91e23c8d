//! Config URLs: which GitHub, and which part of it the runners serve.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// All that RFC 3986 does not call unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as it may stand in a path segment or a query value.
pub(crate) fn encode(name: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(name, RESERVED)
}

/// The web address of a GitHub and the base of its REST API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServerUrl {
    /// Scheme, host and port, without a trailing `/`.
    pub web: String,
    /// The base of the REST API, without a trailing `/`.
    pub api: String,
}

/// Why a URL is no config URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeError {
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl core::error::Error for ScopeError {}

impl ServerUrl {
    /// Reads `https://HOST[:PORT]`; `force_ghes` makes any host an Enterprise Server.
    ///
    /// # Errors
    /// When the scheme is not http or https, the host is missing or illegal, or a path follows.
    pub fn parse(url: &str, force_ghes: bool) -> Result<Self, ScopeError> {
        let bad = |problem: &str| ScopeError { problem: format!("\"{url}\" {problem}") };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("has no scheme"))?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "https" && scheme != "http" {
            return Err(bad("is neither http nor https"));
        }
        let authority = rest.trim_end_matches('/').to_ascii_lowercase();
        if authority.contains(['/', '?', '#', '@']) || authority.contains(char::is_whitespace) {
            return Err(bad("has more than a host and a port"));
        }
        let host = host_of(&authority);
        if host.is_empty() {
            return Err(bad("has no host"));
        }
        let api = match host {
            _ if force_ghes => format!("{scheme}://{authority}/api/v3"),
            "github.com" | "www.github.com" => "https://api.github.com".to_owned(),
            "github.localhost" => format!("{scheme}://api.{authority}"),
            _ if host.ends_with(".ghe.com") => format!("{scheme}://api.{authority}"),
            _ => format!("{scheme}://{authority}/api/v3"),
        };
        Ok(Self { web: format!("{scheme}://{authority}"), api })
    }
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

/// What the runners serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All repositories of an organization.
    Organization(String),
    /// One repository.
    Repository {
        /// Its owner.
        owner: String,
        /// Its name.
        name: String,
    },
    /// All organizations of an enterprise.
    Enterprise(String),
}

impl Scope {
    /// Reads the path of a config URL: `ORG`, `OWNER/REPO` or `enterprises/NAME`; outer slashes are ignored.
    ///
    /// # Errors
    /// When it has no part or more than two.
    pub fn parse(path: &str) -> Result<Self, ScopeError> {
        let trimmed = path.trim_matches('/');
        let mut parts = trimmed.split('/');
        match (parts.next().filter(|p| !p.is_empty()), parts.next(), parts.next()) {
            (Some(org), None, _) => Ok(Self::Organization(org.to_owned())),
            (Some(first), Some(name), None) if !name.is_empty() => {
                if first.eq_ignore_ascii_case("enterprises") {
                    Ok(Self::Enterprise(name.to_owned()))
                } else {
                    Ok(Self::Repository { owner: first.to_owned(), name: name.to_owned() })
                }
            }
            _ => Err(ScopeError { problem: format!("\"{path}\" is no ORG, OWNER/REPO or enterprises/NAME") }),
        }
    }

    /// The path of the config URL, without outer slashes.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Organization(org) => format!("{}", encode(org)),
            Self::Repository { owner, name } => format!("{}/{}", encode(owner), encode(name)),
            Self::Enterprise(name) => format!("enterprises/{}", encode(name)),
        }
    }

    /// The path of the REST API that makes registration tokens.
    #[must_use]
    pub fn registration_token_path(&self) -> String {
        let collection = match self {
            Self::Organization(org) => format!("orgs/{}", encode(org)),
            Self::Repository { owner, name } => format!("repos/{}/{}", encode(owner), encode(name)),
            Self::Enterprise(name) => format!("enterprises/{}", encode(name)),
        };
        format!("{collection}/actions/runners/registration-token")
    }

    /// The path of the REST API that names the GitHub App's installation.
    #[must_use]
    pub fn installation_path(&self) -> String {
        match self {
            Self::Organization(org) => format!("orgs/{}/installation", encode(org)),
            Self::Repository { owner, name } => {
                format!("repos/{}/{}/installation", encode(owner), encode(name))
            }
            Self::Enterprise(name) => format!("enterprises/{}/installation", encode(name)),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(org) => f.write_str(org),
            Self::Repository { owner, name } => write!(f, "{owner}/{name}"),
            Self::Enterprise(name) => write!(f, "enterprises/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(url: &str) -> String {
        ServerUrl::parse(url, false).unwrap().api
    }

    #[test]
    fn each_kind_of_host_has_its_api() {
        assert_eq!(api("https://github.com"), "https://api.github.com");
        assert_eq!(api("https://www.GitHub.com/"), "https://api.github.com");
        assert_eq!(api("http://github.localhost"), "http://api.github.localhost");
        assert_eq!(api("https://sub.ghe.com"), "https://api.sub.ghe.com");
        assert_eq!(api("http://ghes.corp:8080/"), "http://ghes.corp:8080/api/v3");
        assert_eq!(ServerUrl::parse("https://github.com", true).unwrap().api, "https://github.com/api/v3");
    }

    #[test]
    fn what_is_no_server_is_refused() {
        for url in
            ["github.com", "ftp://github.com", "https://", "https://github.com/acme", "https://a b", "https://u@h"]
        {
            assert!(ServerUrl::parse(url, false).is_err(), "{url}");
        }
    }

    #[test]
    fn config_url_paths_say_the_scope() {
        assert_eq!(Scope::parse("/acme/").unwrap(), Scope::Organization("acme".into()));
        assert_eq!(
            Scope::parse("acme/web").unwrap().registration_token_path(),
            "repos/acme/web/actions/runners/registration-token"
        );
        assert_eq!(Scope::parse("/Enterprises/big").unwrap(), Scope::Enterprise("big".into()));
        for path in ["", "/", "a/b/c", "a//b"] {
            assert!(Scope::parse(path).is_err(), "{path}");
        }
    }
}
