//! Proxies: the config's, else the environment's.

use ureq::Proxy;

/// The proxies for the two schemes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
}

impl Proxies {
    /// Those that the environment names, hosts in `NO_PROXY` aside.
    pub(crate) fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self::named_by(&variable)
    }

    fn named_by(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let either = |lower: &str| variable(lower).or_else(|| variable(&lower.to_ascii_uppercase()));
        let except = either("no_proxy").unwrap_or_default();
        let proxy = |name: &str| {
            let url = either(name).or_else(|| either("all_proxy"))?;
            with_exceptions(&Proxy::new(&url).ok()?, &except)
        };
        Self { http: proxy("http_proxy"), https: proxy("https_proxy") }
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
    let proxy = Proxy::new(url).map_err(|error| format!("the proxy is no URL: {error}"))?;
    Ok(Proxies { http: Some(proxy.clone()), https: Some(proxy) })
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
    }
    builder.build().ok()
}
