//! A connection's own credential: a token that goes out as it is, or a key that signs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use poolkeeper_core::seal::Secret;
use serde::Serialize;

use crate::config::{ConfigProblem, CredentialSource, KeySource};

/// The most bytes of a token or key file.
const MAX_CREDENTIAL_BYTES: u64 = 64 << 10;
/// How far back a JWT is dated, for clocks that differ.
const JWT_BACKDATED_S: u64 = 60;
/// How long a JWT lives; GitHub allows 10 minutes.
const JWT_LIFE_S: u64 = 9 * 60;

/// A connection's credential, ready for use.
pub(super) enum Credential {
    Pat(Secret),
    App { client_id: String, key: EncodingKey },
}

/// <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app>
#[derive(Serialize)]
struct Claims<'a> {
    iat: u64,
    exp: u64,
    iss: &'a str,
}

impl Credential {
    /// Reads the credential of a connection, and makes sure that it works.
    pub(super) fn read(
        connection: &str,
        source: &CredentialSource,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigProblem> {
        let at = |key: &str| format!("github.{connection}.{key}");
        match source {
            CredentialSource::TokenFile(file) => token(&at("token_file"), from_file(&at("token_file"), file)?),
            CredentialSource::TokenEnv(name) => {
                token(&at("token_env"), from_variable(&at("token_env"), name, variable)?)
            }
            CredentialSource::App { client_id, private_key } => {
                let pem = match private_key {
                    KeySource::File(file) => from_file(&at("app.private_key_file"), file)?,
                    KeySource::Env(name) => from_variable(&at("app.private_key_env"), name, variable)?,
                };
                app(&at("app"), client_id, pem)
            }
        }
    }

    /// What goes out: the token itself, or a fresh JWT dated by `github_s`, GitHub's clock.
    pub(super) fn secret(&self, github_s: u64) -> Result<Secret, String> {
        match self {
            Self::Pat(token) => Ok(token.clone()),
            Self::App { client_id, key } => {
                let iat = github_s.saturating_sub(JWT_BACKDATED_S);
                let claims = Claims { iat, exp: iat.saturating_add(JWT_LIFE_S), iss: client_id };
                jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, key)
                    .map(Secret::new)
                    .map_err(|_| "the app's private key cannot sign".to_owned())
            }
        }
    }
}

/// A text from a file or a variable, and what to call its place.
struct Found {
    place: String,
    text: String,
}

fn token(key: &str, Found { place, text }: Found) -> Result<Credential, ConfigProblem> {
    let token = text.trim();
    if token.is_empty() {
        return Err(problem(&place, key, "is empty", "put the personal access token there"));
    }
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        let mend = "put the personal access token there, alone on one line";
        return Err(problem(&place, key, "holds what no token can", mend));
    }
    Ok(Credential::Pat(Secret::new(token.to_owned())))
}

fn app(key: &str, client_id: &str, Found { place, text }: Found) -> Result<Credential, ConfigProblem> {
    const MEND: &str = "put the app's RSA private key there, as GitHub gave it (PEM)";
    if !text.contains("-----BEGIN") {
        return Err(problem(&place, key, "the private key is not PEM", MEND));
    }
    let unusable = |_| problem(&place, key, "the private key is no RSA key in PEM", MEND);
    let encoding = EncodingKey::from_rsa_pem(text.as_bytes()).map_err(unusable)?;
    let credential = Credential::App { client_id: client_id.to_owned(), key: encoding };
    match credential.secret(JWT_BACKDATED_S) {
        Ok(_) => Ok(credential),
        Err(_) => Err(problem(&place, key, "the private key cannot sign", MEND)),
    }
}

fn from_file(key: &str, file: &Path) -> Result<Found, ConfigProblem> {
    let place = file.display().to_string();
    let mut text = String::new();
    let read = File::open(file).and_then(|f| f.take(MAX_CREDENTIAL_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(Found { place, text }),
        Err(error) => {
            let what = format!("cannot be read: {error}");
            Err(problem(&place, key, &what, "put the credential there, readable for the daemon"))
        }
    }
}

fn from_variable(key: &str, name: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<Found, ConfigProblem> {
    let place = format!("environment variable {name}");
    match variable(name) {
        Some(text) => Ok(Found { place, text }),
        None => Err(problem(&place, key, "is not set", "set it to the credential")),
    }
}

fn problem(place: &str, key: &str, problem: &str, mend: &str) -> ConfigProblem {
    ConfigProblem { place: place.to_owned(), key: key.to_owned(), problem: problem.to_owned(), mend: mend.to_owned() }
}
