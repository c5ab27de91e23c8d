//! Proxies: the config's, else the environment's. ureq asks them for a tunnel, also towards a peer without TLS.

use std::net::IpAddr;

use ureq::{Proxy, ProxyProtocol};

/// The proxies for the two schemes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    pub(super) http: Option<Proxy>,
    pub(super) https: Option<Proxy>,
}

impl Proxies {
    /// Those that the environment names, hosts in `NO_PROXY` aside.
    pub(crate) fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let (proxies, problems) = Self::named_by(&variable);
        for problem in problems {
            tracing::warn!("{problem}; it is passed over");
        }
        proxies
    }

    /// What variables name, and which of them name no proxy that can be used.
    fn named_by(variable: &dyn Fn(&str) -> Option<String>) -> (Self, Vec<String>) {
        let either = |lower: &str| {
            let upper = lower.to_ascii_uppercase();
            variable(lower).map(|text| (lower.to_owned(), text)).or_else(|| variable(&upper).map(|text| (upper, text)))
        };
        let except = either("no_proxy").map(|(_, text)| text).unwrap_or_default();
        let mut problems = Vec::new();
        let mut proxy = |name: &str| {
            let (name, url) = either(name).or_else(|| either("all_proxy"))?;
            match usable(&url) {
                Ok(proxy) => with_exceptions(&proxy, &except),
                Err(problem) => {
                    problems.push(format!("environment variable {name}: {problem}"));
                    None
                }
            }
        };
        let proxies = Self { http: proxy("http_proxy"), https: proxy("https_proxy") };
        problems.dedup();
        (proxies, problems)
    }

    pub(crate) fn for_scheme(&self, https: bool) -> Option<Proxy> {
        if https { self.https.clone() } else { self.http.clone() }
    }
}

/// The proxy that a connection's config names, else the environment's.
///
/// # Errors
/// When it is no URL that is known.
pub(crate) fn of_config(proxy: Option<&str>) -> Result<Proxies, String> {
    let Some(url) = proxy else { return Ok(Proxies::of_environment()) };
    let proxy = usable(url)?;
    Ok(Proxies { http: Some(proxy.clone()), https: Some(proxy) })
}

/// A proxy, unless it speaks what is not built in: ureq would go past it.
fn usable(url: &str) -> Result<Proxy, String> {
    let proxy = Proxy::new(url).map_err(|error| format!("the proxy is no URL: {error}"))?;
    if matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https) {
        Ok(proxy)
    } else {
        Err("the proxy speaks SOCKS, and only http:// and https:// proxies can be used".to_owned())
    }
}

fn with_exceptions(proxy: &Proxy, except: &str) -> Option<Proxy> {
    let mut builder = Proxy::builder(proxy.protocol()).host(proxy.host()).port(proxy.port());
    if let Some(name) = proxy.username() {
        builder = builder.username(name);
    }
    if let Some(password) = proxy.password() {
        builder = builder.password(password);
    }
    for host in except.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
        if let Some(more) = also_meant(host) {
            builder = builder.no_proxy(&more);
        }
    }
    builder.build().ok()
}

/// `example.com` and `.example.com` both mean the host and all below it, as in the other daemon.
fn also_meant(host: &str) -> Option<String> {
    match host.strip_prefix('.') {
        Some(bare) => Some(bare.to_owned()),
        None if host.contains('*') || host.parse::<IpAddr>().is_ok() => None,
        None => Some(format!(".{host}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(variables: &[(&str, &str)]) -> (Proxies, Vec<String>) {
        Proxies::named_by(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn no_proxy_means_a_host_and_all_below_it() {
        let except = "example.com, .corp.test,10.0.0.1";
        let (proxies, problems) = named(&[("HTTPS_PROXY", "http://proxy:3128"), ("no_proxy", except)]);

        assert!(problems.is_empty());
        let proxy = proxies.for_scheme(true).unwrap();
        let passed_by = |host: &str| proxy.is_no_proxy(&format!("https://{host}/").parse().unwrap());
        for host in ["example.com", "api.example.com", "corp.test", "ghes.corp.test", "10.0.0.1"] {
            assert!(passed_by(host), "{host}");
        }
        for host in ["anexample.com", "example.com.test", "github.com", "10.0.0.11"] {
            assert!(!passed_by(host), "{host}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_of() {
        let (proxies, problems) = named(&[("ALL_PROXY", "socks5://proxy:1080")]);
        assert!(proxies.for_scheme(true).is_none());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("ALL_PROXY") && problems[0].contains("SOCKS"), "{problems:?}");

        let (proxies, problems) = named(&[("https_proxy", "http://"), ("http_proxy", "http://proxy")]);
        assert!(proxies.for_scheme(true).is_none() && proxies.for_scheme(false).is_some());
        assert!(problems[0].contains("https_proxy"), "{problems:?}");
    }

    #[test]
    fn a_proxy_of_the_config_that_cannot_be_used_is_a_problem() {
        assert!(of_config(Some("socks5://proxy:1080")).is_err());
        assert!(of_config(Some("http://proxy:3128")).unwrap().for_scheme(false).is_some());
    }
}
