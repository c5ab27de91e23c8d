//! HTTPS for AWS's clients, through the environment's proxy where it names one.

use aws_sdk_autoscaling::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use poolkeeper_shell::config;

const TLS: Provider = Provider::Rustls(CryptoMode::AwsLc);

/// The client for AWS's services. What is asked in the clear, such as an instance's metadata service, is near, and no
/// proxy stands in between.
pub(super) fn client() -> SharedHttpClient {
    let variable = |name: &str| config::environment().find(|(other, value)| other == name && !value.is_empty());
    match proxy(&|name| variable(name).map(|(_, value)| value)) {
        None => Builder::new().tls_provider(TLS).build_https(),
        Some(proxy) => Builder::new().build_with_connector_fn(move |settings, components| {
            let mut builder = Connector::builder().proxy_config(proxy.clone());
            builder.set_connector_settings(settings.cloned());
            builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            builder.tls_provider(TLS).build()
        }),
    }
}

/// The proxy for HTTPS that the environment names, hosts in `NO_PROXY` aside.
fn proxy(variable: &dyn Fn(&str) -> Option<String>) -> Option<ProxyConfig> {
    let either = |name: &str| variable(&name.to_ascii_lowercase()).or_else(|| variable(name));
    let url = either("HTTPS_PROXY").or_else(|| either("ALL_PROXY"))?;
    let url = if url.contains("://") { url } else { format!("http://{url}") };
    match ProxyConfig::https(url) {
        Ok(proxy) => Some(proxy.no_proxy(either("NO_PROXY").unwrap_or_default())),
        Err(_unusable) => {
            tracing::warn!("HTTPS_PROXY names no proxy that can be used: AWS is reached without one");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_a_proxy(variables: &[(&str, &str)]) -> bool {
        let find =
            |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        proxy(&find).is_some()
    }

    #[test]
    fn the_environment_names_the_proxy() {
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
            assert!(names_a_proxy(&[(name, "http://proxy.test:3128")]), "{name}");
        }
        assert!(names_a_proxy(&[("HTTPS_PROXY", "proxy.test:3128")]));
        assert!(!names_a_proxy(&[("HTTP_PROXY", "http://proxy.test:3128")]));
        assert!(!names_a_proxy(&[("HTTPS_PROXY", "socks5://proxy.test:1080")]));
    }
}
