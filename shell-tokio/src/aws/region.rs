//! Why no region was found.

use std::path::Path;

use aws_config::imds::Client;
use aws_config::imds::client::error::ImdsError;
use aws_config::provider_config::ProviderConfig;
use poolkeeper_shell::config;
use poolkeeper_shell::start::StartProblem;
use poolkeeper_shell::transport::words;

use super::https;

const REGION: &str = "/latest/meta-data/placement/region";
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// The SDK does not tell a metadata service that has no region from one that does not answer, which at boot may pass:
/// it is asked once more. `source` is where the config was read from.
pub(super) async fn problem(source: &Path) -> StartProblem {
    if config::environment().any(|(name, value)| name == DISABLED && value.eq_ignore_ascii_case("true")) {
        return StartProblem::no_region(source);
    }
    let http = ProviderConfig::without_region().with_http_client(https::client());
    match Client::builder().configure(&http).max_attempts(1).build().get(REGION).await {
        Ok(_late) => StartProblem::region_unknown(source, "instance metadata answers only now"),
        Err(ImdsError::ErrorResponse(_)) => StartProblem::no_region(source),
        Err(ImdsError::FailedToLoadToken(error)) if !error.is_dispatch_failure() => StartProblem::no_region(source),
        Err(error) => StartProblem::region_unknown(source, &format!("instance metadata: {}", words(&error))),
    }
}
