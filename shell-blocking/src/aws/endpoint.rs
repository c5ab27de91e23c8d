//! Where a service of a region is.

use std::path::Path;

use poolkeeper_shell::config::ConfigProblem;
use ureq::http::Uri;

use super::credentials::Environment;

/// EC2 Auto Scaling.
pub(super) const AUTO_SCALING: Service = Service { name: "autoscaling", variable: "AWS_ENDPOINT_URL_AUTO_SCALING" };
/// Systems Manager.
pub(super) const SSM: Service = Service { name: "ssm", variable: "AWS_ENDPOINT_URL_SSM" };

/// What regions begin with whose services have another domain.
const DOMAINS: [(&str, &str); 6] = [
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
];
const DOMAIN: &str = "amazonaws.com";
/// The environment variable that places all services elsewhere.
const VARIABLE: &str = "AWS_ENDPOINT_URL";

/// A service of AWS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// Its name in host names and signatures.
    pub(super) name: &'static str,
    /// The environment variable that places it elsewhere.
    variable: &'static str,
}

/// Where a service is.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) service: &'static str,
    pub(super) url: String,
}

impl Endpoint {
    /// The configured address, else the environment's, else the region's own.
    ///
    /// # Errors
    /// When it is no URL with a host: the name of what says so, and the URL.
    pub(super) fn new(
        service: Service,
        region: &str,
        configured: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Unusable> {
        let named_by = |name: &'static str| Some((name, environment.variable(name)?));
        let (name, url) = configured
            .map(|url| ("aws.endpoint_url", url.to_owned()))
            .or_else(|| named_by(service.variable))
            .or_else(|| named_by(VARIABLE))
            .unwrap_or_else(|| ("aws.region", region_url(service, region)));
        if is_usable(&url) {
            Ok(Self { service: service.name, url: format!("{}/", url.trim_end_matches('/')) })
        } else {
            Err(Unusable { name, url })
        }
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.starts_with("https:")
    }
}

/// An endpoint that is no URL.
#[derive(Debug)]
pub(super) struct Unusable {
    /// The key of the config, or the environment variable, that it comes from.
    name: &'static str,
    url: String,
}

impl Unusable {
    /// The same as a problem of the config that was read from `source`.
    pub(super) fn in_config(self, source: &Path) -> ConfigProblem {
        let Self { name, url } = self;
        let is_variable = name.starts_with("AWS_");
        ConfigProblem {
            place: if is_variable { name.to_owned() } else { source.display().to_string() },
            key: if is_variable { String::new() } else { name.to_owned() },
            problem: format!("{url} is no http or https URL with a host"),
            mend: "write an endpoint like https://host:8080, and a region like eu-west-1".to_owned(),
        }
    }
}

fn region_url(service: Service, region: &str) -> String {
    let domain = DOMAINS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or(DOMAIN, |(_, it)| it);
    format!("https://{}.{region}.{domain}", service.name)
}

fn is_usable(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(region: &str, configured: Option<&str>, variables: &[(&str, &str)]) -> String {
        Endpoint::new(AUTO_SCALING, region, configured, &Environment::of(variables)).unwrap().url
    }

    #[test]
    fn a_region_has_its_host() {
        assert_eq!(url("eu-west-1", None, &[]), "https://autoscaling.eu-west-1.amazonaws.com/");
        assert_eq!(url("cn-north-1", None, &[]), "https://autoscaling.cn-north-1.amazonaws.com.cn/");
        assert_eq!(url("us-gov-west-1", None, &[]), "https://autoscaling.us-gov-west-1.amazonaws.com/");
        assert_eq!(url("eusc-de-east-1", None, &[]), "https://autoscaling.eusc-de-east-1.amazonaws.eu/");
    }

    #[test]
    fn what_is_no_url_is_told_with_the_name_of_its_setting() {
        let of = |configured, variables: &[(&str, &str)]| {
            Endpoint::new(AUTO_SCALING, "eu-west-1", configured, &Environment::of(variables)).unwrap_err().name
        };

        for url in ["localhost:4566", "http://", "https:///path", "ftp://host", "http://a b"] {
            assert_eq!(of(None, &[("AWS_ENDPOINT_URL", url)]), "AWS_ENDPOINT_URL", "{url}");
        }
        assert_eq!(of(Some("http://"), &[]), "aws.endpoint_url");
    }

    #[test]
    fn the_config_is_heard_before_the_environment() {
        let variables = [("AWS_ENDPOINT_URL", "http://all"), ("AWS_ENDPOINT_URL_AUTO_SCALING", "http://one")];

        assert_eq!(url("eu-west-1", Some("http://own:1"), &variables), "http://own:1/");
        assert_eq!(url("eu-west-1", None, &variables), "http://one/");
        assert_eq!(url("eu-west-1", None, &variables[..1]), "http://all/");
    }
}
