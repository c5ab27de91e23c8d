//! Tokens: JWT-shaped where a client reads their claims, marked so that a search for leaks finds them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poolkeeper_core::time::{Duration, Instant, Now};
use serde::Serialize;

/// Stands in every secret the model hands out, in plain text, or under base64 in a JIT config.
pub const MARKER: &str = "SANDBOXSECRET";
/// The most tokens that are kept: those that end first make room.
const MAX_TOKENS: usize = 200_000;

/// Whom a token lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// An installation of the App: the account it is installed on.
    Installation(String),
    /// Runners may be registered in the scope.
    Registration(String),
    /// The Actions Service of the scope.
    Admin(String),
    /// The queue of a session of a scale set.
    Queue { set: u64, session: u64 },
}

/// All tokens that live.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    by_text: BTreeMap<String, (Grant, Instant)>,
    by_end: BTreeMap<(Instant, u64), String>,
    serial: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    jti: u64,
    iat: u64,
    nbf: u64,
    exp: u64,
    aud: &'a str,
}

impl Tokens {
    /// A plain token, as the REST API makes them.
    pub(super) fn opaque(&mut self, grant: Grant, now: Now, life: Duration, tail: u64) -> String {
        let text = match &grant {
            Grant::Installation(_) => format!("ghs_{MARKER}{tail:016x}"),
            Grant::Registration(_) | Grant::Admin(_) | Grant::Queue { .. } => {
                format!("AR{MARKER}{tail:016x}")
            }
        };
        self.keep(text, grant, now.mono, life)
    }

    /// A JWT-shaped token, as the Actions Service makes them.
    pub(super) fn jwt(&mut self, grant: Grant, now: Now, life: Duration, tail: u64) -> String {
        let iat = now.unix_ms / 1000;
        let claims = Claims { jti: self.serial + 1, iat, nbf: iat, exp: iat + life.as_secs(), aud: "actions-service" };
        let head = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"HS256"}"#);
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let text = format!("{head}.{payload}.{MARKER}{tail:016x}");
        self.keep(text, grant, now.mono, life)
    }

    fn keep(&mut self, text: String, grant: Grant, now: Instant, life: Duration) -> String {
        while let Some(entry) = self.by_end.first_entry()
            && (entry.key().0 <= now || self.by_text.len() >= MAX_TOKENS)
        {
            self.by_text.remove(&entry.remove());
        }
        self.serial += 1;
        let end = now + life;
        self.by_end.insert((end, self.serial), text.clone());
        self.by_text.insert(text.clone(), (grant, end));
        text
    }

    /// What a token grants now.
    pub(super) fn grant(&self, text: &str, now: Instant) -> Option<&Grant> {
        self.by_text.get(text).filter(|(_, end)| now < *end).map(|(grant, _)| grant)
    }

    pub(super) fn expire_all(&mut self) {
        self.by_text.clear();
        self.by_end.clear();
    }
}
