//! Credentials and region: from the environment, a profile, the container's endpoint or the instance's role, in the
//! order in which AWS's own tools look.

mod environment;
mod fetched;
mod kept;
mod metadata;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_credential_types::Credentials as Keys;

use super::profile::Profile;
use crate::http::Wires;
pub(super) use environment::Environment;
use kept::{Kept, Moment, Next};
use metadata::{BETWEEN_TRIES, Metadata};

/// Finds credentials, keeps them, and renews them in time.
pub(super) struct Credentials {
    environment: Environment,
    metadata: Metadata,
    kept: Mutex<Kept>,
    search_ended: Condvar,
}

impl Credentials {
    /// Looks nowhere yet.
    pub(super) fn new(environment: Environment, wires: Wires) -> Self {
        let metadata = Metadata::new(environment.clone(), wires);
        Self { environment, metadata, kept: Mutex::default(), search_ended: Condvar::new() }
    }

    /// Credentials that hold now. One caller at a time looks for new ones, which takes a few seconds at most; the others
    /// use those that still hold, else wait until the deadline.
    ///
    /// # Errors
    /// Where was looked, and what went wrong.
    pub(super) fn current(&self, deadline: Instant) -> Result<Keys, String> {
        let mut kept = self.lock();
        loop {
            match kept.next(Moment::now()) {
                Next::Use(keys) => return Ok(keys),
                Next::Failed(problem) => return Err(problem),
                Next::Search => break,
                Next::Wait => {}
            }
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err("no credentials in time".to_owned());
            }
            kept = self.search_ended.wait_timeout(kept, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(kept);
        let _ends = Search(self);
        let found = self.find();
        self.lock().found(found, Moment::now())
    }

    /// AWS does not take these credentials: they are looked up again.
    pub(super) fn refused(&self, keys: &Keys) {
        self.lock().refused(keys.access_key_id(), Moment::now());
    }

    /// The region that environment, profile or instance name; none when none of them does.
    ///
    /// # Errors
    /// When the instance's metadata service did not answer.
    pub(super) fn region(&self) -> Result<Option<String>, String> {
        let named = self
            .environment
            .variable("AWS_REGION")
            .or_else(|| self.environment.variable("AWS_DEFAULT_REGION"))
            .or_else(|| Profile::read(&self.environment).region);
        match named {
            Some(region) => Ok(Some(region)),
            None => self.metadata.region(BETWEEN_TRIES),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As if what is kept were not new any more.
    #[cfg(test)]
    pub(super) fn age(&self) {
        self.lock().age(kept::RETRY);
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

/// The one look-up under way: dropped, in a panic too, it lets the next caller look.
struct Search<'a>(&'a Credentials);

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.0.lock().search_ended();
        self.0.search_ended.notify_all();
    }
}

#[cfg(test)]
mod tests;
