//! Credentials and region: from the environment, a profile, the container's endpoint or the instance's role, in the
//! order in which AWS's own tools look.

mod environment;
mod fetched;
mod metadata;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials as Keys;

use super::profile::Profile;
use crate::http::Wires;
pub(super) use environment::Environment;
use metadata::Metadata;

/// Credentials are renewed this long before they end.
const RENEWED_EARLY: Duration = Duration::from_secs(5 * 60);
/// After a failed renewal of credentials that still hold, the next one waits.
const RETRY: Duration = Duration::from_secs(10);

/// Finds credentials, keeps them, and renews them in time.
pub(super) struct Credentials {
    environment: Environment,
    metadata: Metadata,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    keys: Keys,
    renew_after: Option<Instant>,
}

impl Credentials {
    /// Looks nowhere yet.
    pub(super) fn new(environment: Environment, wires: Wires) -> Self {
        let metadata = Metadata::new(environment.clone(), wires);
        Self { environment, metadata, kept: Mutex::new(None) }
    }

    /// Credentials that hold now.
    ///
    /// # Errors
    /// Where was looked, and what went wrong.
    pub(super) fn current(&self) -> Result<Keys, String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.renew_after.is_none_or(|at| Instant::now() < at)) {
            return Ok(kept.keys.clone());
        }
        match self.find() {
            Ok(keys) => {
                let renew_after = keys.expiry().map(renew_after);
                *kept = Some(Kept { keys: keys.clone(), renew_after });
                Ok(keys)
            }
            Err(problem) => match kept.as_mut().filter(|kept| holds(&kept.keys)) {
                Some(kept) => {
                    tracing::warn!("credentials of AWS cannot be renewed: {problem}");
                    kept.renew_after = Some(Instant::now() + RETRY);
                    Ok(kept.keys.clone())
                }
                None => Err(problem),
            },
        }
    }

    /// The region that environment, profile or instance name.
    pub(super) fn region(&self) -> Option<String> {
        self.environment
            .variable("AWS_REGION")
            .or_else(|| self.environment.variable("AWS_DEFAULT_REGION"))
            .or_else(|| Profile::read(&self.environment).region)
            .or_else(|| self.metadata.region())
    }

    fn find(&self) -> Result<Keys, String> {
        if let Some(keys) = self.of_environment() {
            return Ok(keys);
        }
        if let Some(keys) = Profile::read(&self.environment).keys()? {
            return Ok(keys);
        }
        if self.environment.variable("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() {
            return Err("AWS_WEB_IDENTITY_TOKEN_FILE: this daemon cannot take on a web identity's role; \
                        use `poolkeeper`, or another kind of credentials"
                .to_owned());
        }
        if let Some(found) = self.metadata.of_container() {
            return found;
        }
        self.metadata.of_instance()
    }

    fn of_environment(&self) -> Option<Keys> {
        let id = self.environment.variable("AWS_ACCESS_KEY_ID")?;
        let secret = self.environment.variable("AWS_SECRET_ACCESS_KEY")?;
        Some(Keys::new(id, secret, self.environment.variable("AWS_SESSION_TOKEN"), None, "environment"))
    }
}

fn renew_after(expiry: SystemTime) -> Instant {
    let left = expiry.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.saturating_sub(RENEWED_EARLY).max(RETRY.min(left))
}

fn holds(keys: &Keys) -> bool {
    keys.expiry().is_none_or(|expiry| expiry > SystemTime::now())
}

#[cfg(test)]
mod tests;
