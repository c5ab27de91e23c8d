//! The signature's form: whether a request was signed with Signature Version 4 for this service and region.
//!
//! The signature itself is not recomputed: a sandbox has no secret to keep.

use crate::aws::ApiError;
use crate::http::HttpRequest;

const ALGORITHM: &str = "AWS4-HMAC-SHA256 ";
/// Whether a request was signed in that form.
///
/// # Errors
/// As AWS refuses.
pub(crate) fn check(request: &HttpRequest, service: &str, region: &str) -> Result<(), ApiError> {
    let header = |name: &str| request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref());
    let Some(authorization) = header("authorization") else {
        let message = "Missing Authentication Token";
        return Err(ApiError::new(403, "MissingAuthenticationToken", message));
    };
    let Some(fields) = authorization.strip_prefix(ALGORITHM) else {
        return Err(incomplete("Unsupported authorization scheme: sign with AWS4-HMAC-SHA256"));
    };
    let field = |name: &str| {
        let mut parts = fields.split(',').map(str::trim);
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    };
    let credential =
        field("Credential").ok_or_else(|| incomplete("Authorization header requires 'Credential' parameter."))?;
    let signed =
        field("SignedHeaders").ok_or_else(|| incomplete("Authorization header requires 'SignedHeaders' parameter."))?;
    let signature =
        field("Signature").ok_or_else(|| incomplete("Authorization header requires 'Signature' parameter."))?;
    let Some(date) = header("x-amz-date") else {
        return Err(incomplete("Authorization header requires existence of 'X-Amz-Date' header."));
    };
    if !signed.split(';').any(|name| name == "host") {
        return Err(mismatch("'Host' must be a 'SignedHeader' in the AWS Authorization."));
    }
    if signature.len() != 64 || !signature.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(mismatch("The request signature we calculated does not match the signature you provided."));
    }
    check_scope(credential, date, (service, region))
}

/// `KEY-ID/DATE/REGION/SERVICE/aws4_request`.
fn check_scope(credential: &str, date: &str, (wanted, region): (&str, &str)) -> Result<(), ApiError> {
    let mut parts = credential.rsplit('/');
    let scope = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    let (Some("aws4_request"), Some(service), Some(named_region), Some(day), Some(key)) = scope else {
        return Err(incomplete("Credential must have the form KEY/DATE/REGION/SERVICE/aws4_request"));
    };
    if key.is_empty() {
        let message = "The security token included in the request is invalid.";
        return Err(ApiError::new(403, "InvalidClientTokenId", message));
    }
    if service != wanted {
        return Err(mismatch(&format!("Credential should be scoped to correct service: '{wanted}'.")));
    }
    if named_region != region {
        return Err(mismatch(&format!("Credential should be scoped to a valid region, not '{named_region}'.")));
    }
    if !date.starts_with(day) || day.len() != 8 {
        return Err(mismatch(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP",
        ));
    }
    Ok(())
}

fn incomplete(message: &str) -> ApiError {
    ApiError::new(400, "IncompleteSignature", message)
}

fn mismatch(message: &str) -> ApiError {
    ApiError::new(403, "SignatureDoesNotMatch", message)
}
