//! The secrets: credentials from files and the environment, and tokens from sealed replies.
//!
//! **Invariant:** nothing in here prints, logs or serialises a secret; it only goes out in an [`Authorization`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use poolkeeper_core::github::reply::Reply;
use poolkeeper_core::github::request::{Auth, CallKind, Request, RequestId, Slot};
use poolkeeper_core::seal::{RawReply, Secret, seal};
use poolkeeper_core::time::unix_s_from_http_date;

use self::credential::Credential;
use crate::config::{ConfigProblem, DaemonConfig};

mod credential;
#[cfg(test)]
mod tests;

/// The most secrets kept at once: far more than pools can open, so reaching it means a leak.
const MAX_SLOTS: usize = 100_000;

/// All secrets of a daemon; share it in an `Arc`. By default it is empty.
#[derive(Default)]
pub struct Vault {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    credentials: BTreeMap<String, Arc<Credential>>,
    slots: HashMap<Slot, Secret>,
    /// What GitHub's clock says beyond ours, in seconds, by connection.
    ahead_s: BTreeMap<String, i64>,
}

/// The `Authorization` header of one request.
pub struct Authorization {
    /// The header's whole value, for example `Bearer …`.
    pub header: String,
    /// The secret in it, which [`Vault::seal`] needs to redact the reply.
    pub secret: Secret,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authorization([redacted])")
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault([redacted])")
    }
}

impl Authorization {
    fn new(scheme: &str, secret: Secret) -> Self {
        Self { header: format!("{scheme} {}", secret.reveal()), secret }
    }
}

impl Vault {
    /// Reads every connection's credential.
    ///
    /// # Errors
    /// When a file or variable cannot be read, a token cannot be one, or a key is no PEM.
    pub fn open(config: &DaemonConfig) -> Result<Self, ConfigProblem> {
        Self::open_with(config, |variable| std::env::var(variable).ok())
    }

    /// As [`Vault::open`], with another environment than the process's.
    ///
    /// # Errors
    /// As [`Vault::open`].
    pub fn open_with(config: &DaemonConfig, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigProblem> {
        let mut credentials = BTreeMap::new();
        for (name, settings) in &config.github {
            let credential = Credential::read(name, &settings.credential, &variable)?;
            credentials.insert(name.clone(), Arc::new(credential));
        }
        Ok(Self { inner: Mutex::new(Inner { credentials, ..Inner::default() }) })
    }

    /// The header a request goes out with. Signing an App JWT takes about a millisecond.
    ///
    /// # Errors
    /// When the slot is empty or the connection unknown; the text holds no secret.
    pub fn authorization(&self, request: &Request, unix_s: u64) -> Result<Authorization, String> {
        match self.kept_authorization(request)? {
            Some(kept) => Ok(kept),
            None => Ok(Authorization::new("Bearer", self.credential(&request.connection, unix_s)?)),
        }
    }

    /// The same for a request that goes out with a secret that is kept in a slot; none for one that goes out with the
    /// connection's credential. A call that waits takes it along: its slot may be dropped before its turn comes.
    ///
    /// # Errors
    /// When the slot is empty.
    pub fn kept_authorization(&self, request: &Request) -> Result<Option<Authorization>, String> {
        let (scheme, slot) = match request.auth {
            Auth::Credential => return Ok(None),
            Auth::Bearer(slot) => ("Bearer", slot),
            Auth::RemoteAuth(slot) => ("RemoteAuth", slot),
        };
        Ok(Some(Authorization::new(scheme, self.slot(slot)?)))
    }

    /// Seals a reply and keeps its secret under the slot that the call names.
    #[must_use]
    pub fn seal(
        &self,
        call: CallKind,
        id: RequestId,
        connection: &str,
        raw: RawReply,
        sent: &Secret,
        unix_s: u64,
    ) -> Reply {
        let slot = Slot(id);
        let (reply, secret) = seal(call, slot, raw, sent);
        let date_s = reply.headers.date.as_deref().and_then(unix_s_from_http_date);
        if secret.is_some() || date_s.is_some() {
            let mut inner = self.lock();
            if let Some(date_s) = date_s {
                inner.learn_clock(connection, date_s, unix_s);
            }
            if let Some(secret) = secret
                && inner.slots.len() < MAX_SLOTS
            {
                inner.slots.insert(slot, secret);
            }
        }
        reply
    }

    /// Forgets a secret.
    pub fn drop_slot(&self, slot: Slot) {
        self.lock().slots.remove(&slot);
    }

    /// How many secrets are kept beside the credentials.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.lock().slots.len()
    }

    /// Takes the credentials of a newly opened vault and keeps its own slots, as after SIGHUP.
    pub fn replace_credentials(&self, other: Self) {
        let other = other.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.lock().credentials = other.credentials;
    }

    /// The config that a slot holds for an instance.
    ///
    /// # Errors
    /// When the slot is empty.
    pub fn jit_config(&self, slot: Slot) -> Result<Secret, String> {
        self.slot(slot)
    }

    fn slot(&self, slot: Slot) -> Result<Secret, String> {
        let missing = || format!("slot {} of the vault is empty", slot.0);
        self.lock().slots.get(&slot).cloned().ok_or_else(missing)
    }

    fn credential(&self, connection: &str, unix_s: u64) -> Result<Secret, String> {
        let (credential, ahead_s) = {
            let inner = self.lock();
            let credential = inner.credentials.get(connection).cloned();
            (credential, inner.ahead_s.get(connection).copied().unwrap_or_default())
        };
        let credential = credential.ok_or_else(|| format!("connection \"{connection}\" has no credential"))?;
        credential.secret(unix_s.saturating_add_signed(ahead_s))
    }

    /// No step leaves the maps half changed, so a thread that panicked with the lock spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn learn_clock(&mut self, connection: &str, date_s: u64, unix_s: u64) {
        let ahead = i128::from(date_s) - i128::from(unix_s);
        let ahead = i64::try_from(ahead).unwrap_or_default();
        match self.ahead_s.get_mut(connection) {
            Some(known) => *known = ahead,
            None if self.credentials.contains_key(connection) => {
                self.ahead_s.insert(connection.to_owned(), ahead);
            }
            None => {}
        }
    }
}
