//! Credentials as container endpoints and instance metadata write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials as Keys;
use poolkeeper_core::time::unix_s_from_rfc3339;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fetched {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

/// Reads credentials; what is said of a body that holds none is nothing of its content.
///
/// # Errors
/// When it holds none.
pub(super) fn read(body: &[u8], source: &'static str) -> Result<Keys, String> {
    let fetched: Fetched =
        serde_json::from_slice(body).map_err(|_| format!("{source}: the reply is no credentials"))?;
    let expiry = fetched.expiration.as_deref().and_then(unix_s_from_rfc3339);
    let expiry: Option<SystemTime> = expiry.map(|s| UNIX_EPOCH + Duration::from_secs(s));
    Ok(Keys::new(fetched.access_key_id, fetched.secret_access_key, fetched.token, expiry, source))
}
