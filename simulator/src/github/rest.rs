//! The REST calls that lead to the Actions Service: App and PAT, installation, registration token, admin connection.

use jsonwebtoken::{Algorithm, Validation};
use poolkeeper_core::github::scope::Scope;
use poolkeeper_core::time::{Duration, Instant};
use serde::{Deserialize, Serialize};

use super::GitHub;
use super::reply::{json, text, timestamp};
use super::route::RestCall;
use super::token::Grant;
use crate::http::{HttpRequest, HttpResponse};

/// The longest time an App's JWT may have ahead of it.
const MAX_JWT_LIFE_S: u64 = 600;
const RATE_WINDOW: Duration = Duration::from_secs(3600);
const DEFAULT_RATE: u32 = 5000;
const FIRST_INSTALLATION: u64 = 1000;

/// How many REST calls were made in the current hour.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RateWindow {
    began: Instant,
    used: u32,
}

#[derive(Deserialize)]
struct AppClaims {
    iss: serde_json::Value,
    iat: u64,
    exp: u64,
}

#[derive(Deserialize)]
struct RegisterRunner {
    url: String,
    runner_event: String,
}

#[derive(Serialize)]
struct Installation<'a> {
    id: u64,
    app_id: u64,
    account: Account<'a>,
    repository_selection: &'static str,
}

#[derive(Serialize)]
struct Account<'a> {
    login: &'a str,
}

#[derive(Serialize)]
struct TokenBody {
    token: String,
    expires_at: String,
}

#[derive(Serialize)]
struct AdminConnection {
    url: String,
    token: String,
}

impl GitHub {
    pub(super) fn rest(&mut self, request: &HttpRequest, call: RestCall) -> HttpResponse {
        if let Err(refusal) = self.take_rate() {
            return self.with_rate(refusal);
        }
        let reply = match call {
            RestCall::Installation { account } => self.installation(request, &account),
            RestCall::AccessToken { installation } => self.access_token(request, installation),
            RestCall::RegistrationToken { scope } => self.registration_token(request, &scope),
            RestCall::AdminConnection => self.admin_connection(request),
        };
        self.with_rate(reply.unwrap_or_else(|refusal| refusal))
    }

    fn installation(&mut self, request: &HttpRequest, account: &str) -> Result<HttpResponse, HttpResponse> {
        let app_id = self.check_app(request)?;
        let login = account.to_lowercase();
        if !self.account_exists(&login) {
            return Err(text(404, "Not Found"));
        }
        let id = self.installation_of(&login);
        let account = Account { login: &login };
        Ok(json(200, &Installation { id, app_id, account, repository_selection: "all" }))
    }

    fn access_token(&mut self, request: &HttpRequest, installation: u64) -> Result<HttpResponse, HttpResponse> {
        self.check_app(request)?;
        let account = self
            .installations
            .iter()
            .find(|(_, id)| **id == installation)
            .map(|(account, _)| account.clone())
            .ok_or_else(|| text(404, "Not Found"))?;
        let life = self.config.access_token_life;
        Ok(self.token_reply(Grant::Installation(account), life))
    }

    fn registration_token(&mut self, request: &HttpRequest, scope: &str) -> Result<HttpResponse, HttpResponse> {
        let bearer = bearer(request).ok_or_else(|| text(401, "Requires authentication"))?;
        let scope = scope.to_lowercase();
        let installed_on = match self.tokens.grant(bearer, self.now.mono) {
            Some(Grant::Installation(account)) => Some(account.clone()),
            _ if self.config.pat.as_deref() == Some(bearer) => None,
            _ => return Err(text(401, "Bad credentials")),
        };
        if !self.scope_exists(&scope) {
            return Err(text(404, "Not Found"));
        }
        if installed_on.is_some_and(|account| account != account_of(&scope)) {
            return Err(text(403, "Resource not accessible by integration"));
        }
        let life = self.config.registration_token_life;
        Ok(self.token_reply(Grant::Registration(scope), life))
    }

    fn admin_connection(&mut self, request: &HttpRequest) -> Result<HttpResponse, HttpResponse> {
        let token = credential(request, "RemoteAuth").ok_or_else(|| text(401, "Requires authentication"))?;
        let Some(Grant::Registration(scope)) = self.tokens.grant(token, self.now.mono).cloned() else {
            return Err(text(401, "Bad credentials"));
        };
        let body: RegisterRunner =
            serde_json::from_slice(&request.body).map_err(|_| text(400, "Problems parsing JSON"))?;
        if body.runner_event != "register" || scope_of_url(&body.url).as_ref() != Some(&scope) {
            return Err(text(403, "The token does not match the url"));
        }
        let tenant = self.tenant_of(&scope);
        let tail = self.rng.next();
        let life = self.config.admin_token_life;
        let token = self.tokens.jwt(Grant::Admin(scope), self.now, life, tail);
        let url = format!("{}/_services/pipelines/{tenant}/", request.origin);
        Ok(json(200, &AdminConnection { url, token }))
    }

    fn token_reply(&mut self, grant: Grant, life: Duration) -> HttpResponse {
        let tail = self.rng.next();
        let token = self.tokens.opaque(grant, self.now, life, tail);
        let expires_at = timestamp((self.unix_s() + life.as_secs()) * 1000);
        json(201, &TokenBody { token, expires_at })
    }

    /// Verifies the JWT of the App, by the model's own clock.
    fn check_app(&self, request: &HttpRequest) -> Result<u64, HttpResponse> {
        let refused = |why: &str| text(401, why);
        let app = self.config.app.as_ref().ok_or_else(|| refused("Bad credentials"))?;
        let jwt = bearer(request).ok_or_else(|| refused("Requires authentication"))?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<AppClaims>(jwt, &app.key, &validation)
            .map_err(|_| refused("A JSON web token could not be decoded"))?
            .claims;
        let issuer_fits = match &claims.iss {
            serde_json::Value::String(iss) => *iss == app.client_id || *iss == app.app_id.to_string(),
            serde_json::Value::Number(iss) => iss.as_u64() == Some(app.app_id),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => false,
        };
        let now = self.unix_s();
        if !issuer_fits {
            Err(refused("'Issuer' claim ('iss') must be the App's id"))
        } else if claims.exp <= now {
            Err(refused("'Expiration time' claim ('exp') must be a future time"))
        } else if claims.exp > now + MAX_JWT_LIFE_S {
            Err(refused("'Expiration time' claim ('exp') is too far in the future"))
        } else if claims.iat > now {
            Err(refused("'Issued at' claim ('iat') must be a time in the past"))
        } else {
            Ok(app.app_id)
        }
    }

    fn installation_of(&mut self, account: &str) -> u64 {
        let next = FIRST_INSTALLATION + u64::try_from(self.installations.len()).unwrap_or(0);
        *self.installations.entry(account.to_owned()).or_insert(next)
    }

    fn scope_exists(&self, scope: &str) -> bool {
        self.config.scopes.as_ref().is_none_or(|known| known.contains(scope) || known.contains(account_of(scope)))
    }

    fn account_exists(&self, account: &str) -> bool {
        self.config.scopes.as_ref().is_none_or(|known| known.iter().any(|scope| account_of(scope) == account))
    }

    fn take_rate(&mut self) -> Result<(), HttpResponse> {
        if self.now.mono.since(self.rate.began) >= RATE_WINDOW {
            self.rate = RateWindow { began: self.now.mono, used: 0 };
        }
        if self.rate_limit().is_some_and(|limit| self.rate.used >= limit) {
            return Err(text(403, "API rate limit exceeded"));
        }
        self.rate.used = self.rate.used.saturating_add(1);
        Ok(())
    }

    const fn rate_limit(&self) -> Option<u32> {
        self.config.rest_calls_per_hour
    }

    fn with_rate(&self, mut reply: HttpResponse) -> HttpResponse {
        let limit = self.rate_limit().unwrap_or(DEFAULT_RATE);
        let remaining = match self.rate_limit() {
            Some(limit) => limit.saturating_sub(self.rate.used),
            None => DEFAULT_RATE,
        };
        let spent = self.now.mono.since(self.rate.began);
        let reset = self.unix_s() + (RATE_WINDOW - spent).as_secs() + 1;
        reply.headers.extend([
            ("x-ratelimit-limit".into(), limit.to_string().into()),
            ("x-ratelimit-remaining".into(), remaining.to_string().into()),
            ("x-ratelimit-reset".into(), reset.to_string().into()),
        ]);
        reply
    }
}

/// The secret of an `Authorization` header of that scheme.
pub(super) fn credential<'a>(request: &'a HttpRequest, scheme: &str) -> Option<&'a str> {
    let (name, secret) = request.header("authorization")?.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then_some(secret.trim())
}

pub(super) fn bearer(request: &HttpRequest) -> Option<&str> {
    credential(request, "Bearer").or_else(|| credential(request, "token"))
}

/// The account the App is installed on to serve a scope.
fn account_of(scope: &str) -> &str {
    if scope.starts_with("enterprises/") {
        return scope;
    }
    scope.split_once('/').map_or(scope, |(owner, _)| owner)
}

/// The scope a config URL names, in lower case.
fn scope_of_url(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    Some(Scope::parse(&path).ok()?.to_string().to_lowercase())
}
