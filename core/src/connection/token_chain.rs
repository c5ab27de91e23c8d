//! The chain of tokens: App JWT → installation token → registration token → admin connection.
//!
//! Lifetimes are counted on the monotonic clock from the moment a token came, so a wall clock that jumps or is wrong
//! neither loops nor starves the renewal.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::ConnectionEffect;
use crate::backoff::Backoff;
use crate::config::CredentialKind;
use crate::context::Context;
use crate::github::call::content_length;
use crate::github::error::{CallError, CallErrorKind, misbehaved};
use crate::github::reply::{Body, Reply};
use crate::github::request::{Auth, CallKind, Header, HeaderName, Method, RequestId, Slot};
use crate::github::scope::{Scope, ServerUrl};
use crate::notice::ConnectionFact;
use crate::seal::{Sealed, SealedSecret};
use crate::time::{Duration, Instant};

pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
pub(super) const MAX_BODY: u32 = 1 << 20;
/// No token is asked for again sooner than this.
const RENEW_AT_MOST_EVERY: Duration = Duration::from_secs(30);
/// Taken when a reply does not tell how long its token lives.
const UNTOLD_LIFETIME: Duration = Duration::from_secs(600);
/// A fresh registration token is not known everywhere at once: it is tried this often before a new one is made.
const REGISTRATION_TRIES: u32 = 4;
/// A token that claims a shorter life is tried all the same: a refusal tells the truth.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(60);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);
const GITHUB_ACCEPT: &str = "application/vnd.github.v3+json";

/// What to send next.
pub(super) struct ChainStep {
    pub(super) kind: CallKind,
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) auth: Auth,
    pub(super) headers: Vec<Header>,
    pub(super) body: Option<String>,
}

/// The token that opens the Actions Service, and where that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Admin {
    pub(super) url: String,
    pub(super) slot: Slot,
    since: Instant,
    lifetime: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Token {
    slot: Slot,
    since: Instant,
    lifetime: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TokenChain {
    server: ServerUrl,
    config_url: String,
    registration_url: String,
    installation_url: String,
    credential: CredentialKind,
    installation: Option<u64>,
    access: Option<Token>,
    registration: Option<(Slot, u32)>,
    admin: Option<Admin>,
    in_flight: bool,
    retry_at: Instant,
    backoff: Backoff,
}

impl TokenChain {
    pub(super) fn new(server: ServerUrl, scope: &Scope, credential: CredentialKind) -> Self {
        let installation = match credential {
            CredentialKind::Pat => None,
            CredentialKind::App { installation } => installation,
        };
        Self {
            config_url: format!("{}/{}", server.web, scope.path()),
            registration_url: format!("{}/{}", server.api, scope.registration_token_path()),
            installation_url: format!("{}/{}", server.api, scope.installation_path()),
            server,
            credential,
            installation,
            access: None,
            registration: None,
            admin: None,
            in_flight: false,
            retry_at: Instant::default(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_CAP),
        }
    }

    /// The admin token, while it lives.
    pub(super) fn admin(&self, now: Instant) -> Option<&Admin> {
        self.admin.as_ref().filter(|admin| now.since(admin.since) < admin.lifetime)
    }

    /// When the chain wants to go on. An idle connection lets its token end.
    pub(super) fn poll_timeout(&self, wanted: bool) -> Option<Instant> {
        if self.in_flight || !wanted {
            return None;
        }
        let due = self.admin.as_ref().map_or(Instant::default(), |admin| admin.since + early(admin.lifetime));
        Some(due.max(self.retry_at))
    }

    /// The next step of the chain, when one is due. It counts as sent only after [`Self::sent`].
    pub(super) fn next_step(&self, now: Instant, wanted: bool) -> Option<ChainStep> {
        let due = self.poll_timeout(wanted)?;
        if now < due {
            return None;
        }
        let auth = match self.credential {
            CredentialKind::Pat => Auth::Credential,
            CredentialKind::App { .. } => match (self.installation, self.usable_access(now)) {
                (None, _) => return Some(self.installation_step()),
                (Some(id), None) => return Some(self.access_step(id)),
                (Some(_), Some(slot)) => Auth::Bearer(slot),
            },
        };
        Some(match self.registration {
            None => self.registration_step(auth),
            Some((slot, _)) => self.admin_step(slot),
        })
    }

    pub(super) const fn sent(&mut self) {
        self.in_flight = true;
    }

    /// No token is needed any more.
    pub(super) fn drop_all(&mut self, effects: &mut Vec<ConnectionEffect>) {
        let access = self.access.take().map(|token| token.slot);
        let registration = self.registration.take().map(|(slot, _)| slot);
        let admin = self.admin.take().map(|admin| admin.slot);
        effects.extend([access, registration, admin].into_iter().flatten().map(ConnectionEffect::Drop));
    }

    /// GitHub refused the admin token: whether a new one will be asked for.
    pub(super) fn refused(&mut self, now: Instant, slot: Slot, effects: &mut Vec<ConnectionEffect>) -> bool {
        match &self.admin {
            Some(admin) if admin.slot == slot => {
                if now.since(admin.since) < RENEW_AT_MOST_EVERY {
                    return false;
                }
                effects.push(ConnectionEffect::Drop(slot));
                self.admin = None;
                true
            }
            Some(_) | None => true,
        }
    }

    pub(super) fn replied(
        &mut self,
        cx: &mut Context<'_>,
        step: CallKind,
        id: RequestId,
        result: Result<Reply, CallError>,
        effects: &mut Vec<ConnectionEffect>,
    ) {
        assert!(self.in_flight, "a step ends once");
        self.in_flight = false;
        match result.and_then(|reply| self.absorb(cx.now, step, id, &reply, effects)) {
            Ok(()) => self.backoff.reset(),
            Err(error) => self.failed(cx, step, error, effects),
        }
    }

    fn absorb(
        &mut self,
        now: Instant,
        step: CallKind,
        id: RequestId,
        reply: &Reply,
        effects: &mut Vec<ConnectionEffect>,
    ) -> Result<(), CallError> {
        match (step, &reply.body) {
            (CallKind::Installation, Body::Raw(bytes)) => {
                #[derive(Deserialize)]
                struct Installation {
                    id: u64,
                }
                let found: Installation = serde_json::from_slice(&bytes.0)
                    .map_err(|_| misbehaved(reply.status, "an installation that does not parse"))?;
                self.installation = Some(found.id);
            }
            (CallKind::AccessToken, Body::Sealed(Sealed::Token { token })) => {
                let old = self.access.replace(Token { slot: token.slot, since: now, lifetime: lifetime(token) });
                effects.extend(old.map(|token| ConnectionEffect::Drop(token.slot)));
            }
            (CallKind::RegistrationToken, Body::Sealed(Sealed::Token { token })) => {
                self.registration = Some((token.slot, 0));
            }
            (CallKind::AdminConnection, Body::Sealed(Sealed::AdminConnection { url, token })) => {
                let admin = Admin { url: url.clone(), slot: token.slot, since: now, lifetime: lifetime(token) };
                effects.push(ConnectionEffect::Note(ConnectionFact::Connected { lifetime: admin.lifetime }));
                let old = self.admin.replace(admin).map(|old| old.slot);
                let used = self.registration.take().map(|(slot, _)| slot);
                effects.extend([old, used].into_iter().flatten().map(ConnectionEffect::Drop));
                self.retry_at = now + RENEW_AT_MOST_EVERY;
            }
            (_, Body::Raw(_) | Body::Sealed(_)) => {
                effects.push(ConnectionEffect::Drop(Slot(id)));
                return Err(misbehaved(reply.status, "a token that does not parse"));
            }
        }
        Ok(())
    }

    fn failed(&mut self, cx: &mut Context<'_>, step: CallKind, error: CallError, effects: &mut Vec<ConnectionEffect>) {
        let refused = matches!(error.kind, CallErrorKind::Denied | CallErrorKind::NotFound);
        if step == CallKind::AdminConnection {
            if let Some((slot, tries)) = self.registration {
                let again = refused && tries + 1 < REGISTRATION_TRIES;
                self.registration = again.then_some((slot, tries + 1));
                if !again {
                    effects.push(ConnectionEffect::Drop(slot));
                }
            }
        } else if step == CallKind::RegistrationToken && refused {
            effects.extend(self.access.take().map(|token| ConnectionEffect::Drop(token.slot)));
        } else if step == CallKind::AccessToken && refused {
            self.installation = match self.credential {
                CredentialKind::Pat => None,
                CredentialKind::App { installation } => installation,
            };
        }
        let retry_in = self.backoff.fail(cx.rng, error.retry_after);
        self.retry_at = cx.now + retry_in;
        effects.push(ConnectionEffect::Note(ConnectionFact::TokenFailed { call: step, error, retry_in }));
    }

    fn usable_access(&self, now: Instant) -> Option<Slot> {
        self.access.as_ref().filter(|token| now.since(token.since) < early(token.lifetime)).map(|token| token.slot)
    }

    fn installation_step(&self) -> ChainStep {
        ChainStep {
            kind: CallKind::Installation,
            method: Method::Get,
            url: self.installation_url.clone(),
            auth: Auth::Credential,
            headers: [accept()].into(),
            body: None,
        }
    }

    fn access_step(&self, installation: u64) -> ChainStep {
        ChainStep {
            kind: CallKind::AccessToken,
            method: Method::Post,
            url: format!("{}/app/installations/{installation}/access_tokens", self.server.api),
            auth: Auth::Credential,
            headers: [accept(), content_length(None)].into(),
            body: None,
        }
    }

    fn registration_step(&self, auth: Auth) -> ChainStep {
        ChainStep {
            kind: CallKind::RegistrationToken,
            method: Method::Post,
            url: self.registration_url.clone(),
            auth,
            headers: [json_type(GITHUB_ACCEPT), content_length(None)].into(),
            body: None,
        }
    }

    fn admin_step(&self, registration: Slot) -> ChainStep {
        #[derive(Serialize)]
        struct Wire<'a> {
            url: &'a str,
            runner_event: &'a str,
        }
        let wire = Wire { url: &self.config_url, runner_event: "register" };
        let body = serde_json::to_string(&wire).unwrap_or_else(|e| unreachable!("two strings serialise: {e}"));
        ChainStep {
            kind: CallKind::AdminConnection,
            method: Method::Post,
            url: format!("{}/actions/runner-registration", self.server.api),
            auth: Auth::RemoteAuth(registration),
            headers: [json_type("application/json"), content_length(Some(&body))].into(),
            body: Some(body),
        }
    }
}

/// When a token is renewed: at four fifths of its life.
const fn early(lifetime: Duration) -> Duration {
    Duration::from_millis(lifetime.as_millis() / 5 * 4)
}

fn lifetime(token: &SealedSecret) -> Duration {
    token.lifetime_s.map_or(UNTOLD_LIFETIME, Duration::from_secs).max(SHORTEST_LIFETIME)
}

const fn accept() -> Header {
    Header { name: HeaderName::Accept, value: Cow::Borrowed(GITHUB_ACCEPT) }
}

const fn json_type(kind: &'static str) -> Header {
    Header { name: HeaderName::ContentType, value: Cow::Borrowed(kind) }
}
