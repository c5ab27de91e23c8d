//! What the model of GitHub is like.

use std::collections::BTreeSet;

use jsonwebtoken::DecodingKey;
use poolkeeper_core::time::Duration;

use super::token::MARKER;

/// What the model of GitHub is like.
#[derive(Clone, Debug)]
pub struct GitHubConfig {
    /// The personal access token that is accepted, if any.
    pub pat: Option<String>,
    /// The GitHub App that is accepted, if any.
    pub app: Option<AppConfig>,
    /// The organizations, `owner/repository` pairs and `enterprises/NAME` that exist, in lower case; `None`: any.
    pub scopes: Option<BTreeSet<String>>,
    /// Runner groups beside `default`, in every scope.
    pub runner_groups: Vec<String>,
    /// How jobs come to a scale set.
    pub style: Style,
    /// How long a poll is held.
    pub poll_hold: Duration,
    /// How long a session lives without a poll.
    pub session_idle: Duration,
    /// How long an assigned job waits for a runner before it is taken back.
    pub pickup: Duration,
    /// How often a job that nobody picked up is assigned again.
    pub reassigns: u32,
    /// The life of an installation access token.
    pub access_token_life: Duration,
    /// The life of a registration token.
    pub registration_token_life: Duration,
    /// The life of an admin token.
    pub admin_token_life: Duration,
    /// The life of a queue token.
    pub queue_token_life: Duration,
    /// REST calls an hour; `None`: unlimited.
    pub rest_calls_per_hour: Option<u32>,
    /// How far GitHub's wall clock is ahead of ours.
    pub clock_offset_ms: i64,
    /// Whether messages that were not acknowledged are delivered again although `lastMessageId` names them.
    pub redeliver: bool,
    /// Whether labels are taken at creation only.
    pub labels_create_only: bool,
    /// Whether job messages carry `runnerRequestId` 0, as github.com's do at times.
    pub zero_request_ids: bool,
}

/// How jobs come to a scale set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As on github.com: a job is assigned without being asked for.
    DotCom,
    /// As on an Enterprise Server: a job is offered, and assigned once acquired.
    Enterprise,
}

/// A GitHub App as GitHub knows it.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// Its client id.
    pub client_id: String,
    /// Its numeric id.
    pub app_id: u64,
    /// The public half of its key.
    pub(crate) key: DecodingKey,
}

impl AppConfig {
    /// An App whose JWTs verify against the RSA public key.
    ///
    /// # Errors
    /// When the PEM holds no RSA public key.
    pub fn new(client_id: &str, app_id: u64, public_key_pem: &[u8]) -> Result<Self, String> {
        let key =
            DecodingKey::from_rsa_pem(public_key_pem).map_err(|error| format!("the App's public key: {error}"))?;
        Ok(Self { client_id: client_id.to_owned(), app_id, key })
    }
}

impl Default for GitHubConfig {
    fn default() -> Self {
        Self {
            pat: Some(format!("ghp_{MARKER}0pat")),
            app: None,
            scopes: None,
            runner_groups: Vec::new(),
            style: Style::DotCom,
            poll_hold: Duration::from_secs(50),
            session_idle: Duration::from_secs(60),
            pickup: Duration::from_secs(600),
            reassigns: 3,
            access_token_life: Duration::from_secs(3600),
            registration_token_life: Duration::from_secs(3600),
            admin_token_life: Duration::from_secs(3600),
            queue_token_life: Duration::from_secs(3600),
            rest_calls_per_hour: None,
            clock_offset_ms: 0,
            redeliver: false,
            labels_create_only: false,
            zero_request_ids: false,
        }
    }
}
