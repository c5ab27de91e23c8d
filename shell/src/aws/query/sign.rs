//! Signatures, version 4.

use std::error::Error;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign as signature};
use aws_sigv4::sign::v4;
use http::Request;
use poolkeeper_core::aws::AwsError;

/// Who asks.
pub const USER_AGENT: &str = concat!("poolkeeper/", env!("CARGO_PKG_VERSION"));

/// What a signature is good for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region.
    pub region: &'a str,
    /// The name that the service signs with.
    pub service: &'a str,
}

/// Signs a request.
///
/// # Errors
/// When that cannot be: a header is no text, the keys are none.
pub fn sign(mut request: Request<String>, keys: &Credentials, scope: Scope<'_>) -> Result<Request<String>, AwsError> {
    let unsigned = |error: &dyn Error| AwsError::Denied { message: format!("cannot sign: {error}") };
    let identity = keys.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsigned(&error))?;
    let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(request.body().as_bytes());
    let signable = SignableRequest::new(request.method().as_str(), request.uri().to_string(), headers, body)
        .map_err(|error| unsigned(&error))?;
    let signed = signature(signable, &SigningParams::V4(params)).map_err(|error| unsigned(&error))?;
    let (instructions, _signature) = signed.into_parts();
    instructions.apply_to_request_http1x(&mut request);
    Ok(request)
}
