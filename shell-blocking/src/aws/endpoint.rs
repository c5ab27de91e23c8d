//! Where a service of a region is.

use super::credentials::Environment;

/// EC2 Auto Scaling.
pub(super) const AUTO_SCALING: Service = Service { name: "autoscaling", variable: "AWS_ENDPOINT_URL_AUTO_SCALING" };
/// Systems Manager.
pub(super) const SSM: Service = Service { name: "ssm", variable: "AWS_ENDPOINT_URL_SSM" };

/// What regions begin with whose services have another domain.
const DOMAINS: [(&str, &str); 5] = [
    ("cn-", "amazonaws.com.cn"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
];
const DOMAIN: &str = "amazonaws.com";

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
    pub(super) fn new(service: Service, region: &str, configured: Option<&str>, environment: &Environment) -> Self {
        let elsewhere = configured
            .map(str::to_owned)
            .or_else(|| environment.variable(service.variable))
            .or_else(|| environment.variable("AWS_ENDPOINT_URL"));
        let url = elsewhere.unwrap_or_else(|| {
            let domain = DOMAINS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or(DOMAIN, |(_, it)| it);
            format!("https://{}.{region}.{domain}", service.name)
        });
        Self { service: service.name, url: format!("{}/", url.trim_end_matches('/')) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(region: &str, configured: Option<&str>, variables: &[(&str, &str)]) -> String {
        Endpoint::new(AUTO_SCALING, region, configured, &Environment::of(variables)).url
    }

    #[test]
    fn a_region_has_its_host() {
        assert_eq!(url("eu-west-1", None, &[]), "https://autoscaling.eu-west-1.amazonaws.com/");
        assert_eq!(url("cn-north-1", None, &[]), "https://autoscaling.cn-north-1.amazonaws.com.cn/");
        assert_eq!(url("us-gov-west-1", None, &[]), "https://autoscaling.us-gov-west-1.amazonaws.com/");
    }

    #[test]
    fn the_config_is_heard_before_the_environment() {
        let variables = [("AWS_ENDPOINT_URL", "http://all"), ("AWS_ENDPOINT_URL_AUTO_SCALING", "http://one")];

        assert_eq!(url("eu-west-1", Some("http://own:1"), &variables), "http://own:1/");
        assert_eq!(url("eu-west-1", None, &variables), "http://one/");
        assert_eq!(url("eu-west-1", None, &variables[..1]), "http://all/");
    }
}
