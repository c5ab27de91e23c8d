use std::fs;

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poolkeeper_core::github::reply::{Body, ReplyHeaders};
use poolkeeper_core::github::request::Method;
use poolkeeper_core::seal::Sealed;
use poolkeeper_core::time::Duration;
use tempfile::TempDir;

use super::*;
use crate::config::{CredentialSource, KeySource};
use crate::testing::{daemon_config, rsa_key};

const TOKEN: &str = "ghp_MARKED0123456789";
/// `Date: Tue, 15 Nov 1994 08:12:31 GMT`.
const DATE_S: u64 = 784_887_151;

fn request(auth: Auth) -> Request {
    Request {
        connection: "main".to_owned(),
        method: Method::Get,
        url: "https://api.github.com/".to_owned(),
        auth,
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(30),
        max_body: 1,
    }
}

fn open(credential: CredentialSource, value: &str) -> Result<Vault, ConfigProblem> {
    Vault::open_with(&daemon_config(credential), |name| (name == "SECRET").then(|| value.to_owned()))
}

fn pat() -> Vault {
    open(CredentialSource::TokenEnv("SECRET".to_owned()), TOKEN).unwrap()
}

fn app(pem: &str) -> Result<Vault, ConfigProblem> {
    let client_id = "Iv1.app".to_owned();
    let private_key = KeySource::Env("SECRET".to_owned());
    open(CredentialSource::App { client_id, private_key }, pem)
}

fn reply(body: &str, date: Option<&str>) -> RawReply {
    let headers = ReplyHeaders { date: date.map(str::to_owned), ..ReplyHeaders::default() };
    RawReply { status: 201, headers, body: body.as_bytes().to_vec() }
}

fn header(vault: &Vault, auth: Auth, unix_s: u64) -> Result<String, String> {
    vault.authorization(&request(auth), unix_s).map(|authorization| authorization.header)
}

/// The claims of a JWT whose signature holds.
fn verified_claims(header: &str, key: &KeyPair) -> serde_json::Value {
    let jwt = header.strip_prefix("Bearer ").unwrap();
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
        .verify(signed.as_bytes(), &signature)
        .unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let head: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap();
    assert_eq!(head["alg"], "RS256");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[test]
fn a_token_goes_out_as_it_is() {
    let vault = open(CredentialSource::TokenEnv("SECRET".to_owned()), &format!(" {TOKEN}\n"));
    let header = header(&vault.unwrap(), Auth::Credential, 0).unwrap();
    assert_eq!(header, format!("Bearer {TOKEN}"));
}

#[test]
fn an_app_signs_a_jwt_dated_by_the_clock() {
    let (key, pem) = rsa_key();
    let header = header(&app(&pem).unwrap(), Auth::Credential, 1_000_000).unwrap();
    let claims = verified_claims(&header, &key);
    assert_eq!(claims["iss"], "Iv1.app");
    assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(999_940), Some(1_000_480)));
}

#[test]
fn a_jwt_follows_githubs_clock_once_a_date_was_seen() {
    let (key, pem) = rsa_key();
    let vault = app(&pem).unwrap();
    let unix_s = DATE_S + 7_200;
    let date = "Tue, 15 Nov 1994 08:12:31 GMT";
    let _ = vault.seal(
        CallKind::Installation,
        RequestId(1),
        "main",
        reply("{}", Some(date)),
        &Secret::new(String::new()),
        unix_s,
    );
    let header = header(&vault, Auth::Credential, unix_s + 5).unwrap();
    assert_eq!(verified_claims(&header, &key)["iat"].as_u64(), Some(DATE_S + 5 - 60));
}

#[test]
fn a_sealed_reply_fills_the_slot_that_later_requests_name() {
    let vault = pat();
    let sent = Secret::new(TOKEN.to_owned());
    let body = r#"{"token":"REG_TOKEN_1","expires_at":"2026-05-01T10:00:00Z"}"#;
    let reply = vault.seal(CallKind::RegistrationToken, RequestId(7), "main", reply(body, None), &sent, 0);
    assert!(matches!(reply.body, Body::Sealed(Sealed::Token { .. })), "{reply:?}");
    let slot = Slot(RequestId(7));
    assert_eq!(header(&vault, Auth::RemoteAuth(slot), 0).unwrap(), "RemoteAuth REG_TOKEN_1");
    assert_eq!(header(&vault, Auth::Bearer(slot), 0).unwrap(), "Bearer REG_TOKEN_1");
    assert_eq!(vault.slots(), 1);
    vault.drop_slot(slot);
    assert_eq!(vault.slots(), 0);
    assert!(header(&vault, Auth::Bearer(slot), 0).unwrap_err().contains("slot 7"));
}

#[test]
fn new_credentials_leave_the_slots_alone() {
    let vault = pat();
    let sent = Secret::new(String::new());
    let body = r#"{"token":"REG_TOKEN_1"}"#;
    let _ = vault.seal(CallKind::RegistrationToken, RequestId(7), "main", reply(body, None), &sent, 0);
    let newer = open(CredentialSource::TokenEnv("SECRET".to_owned()), "ghp_newer").unwrap();
    vault.replace_credentials(newer);
    assert_eq!(header(&vault, Auth::Credential, 0).unwrap(), "Bearer ghp_newer");
    assert_eq!(header(&vault, Auth::Bearer(Slot(RequestId(7))), 0).unwrap(), "Bearer REG_TOKEN_1");
}

#[test]
fn an_unknown_connection_is_an_error_without_a_secret() {
    let mut request = request(Auth::Credential);
    request.connection = "other".to_owned();
    let error = pat().authorization(&request, 0).unwrap_err();
    assert!(error.contains("\"other\"") && !error.contains(TOKEN), "{error}");
}

#[test]
fn unusable_credentials_are_config_problems_that_keep_the_secret() {
    let dir = TempDir::new().unwrap();
    let empty = dir.path().join("empty");
    fs::write(&empty, "\n").unwrap();
    let (_, pem) = rsa_key();
    let broken = pem.replacen('M', "!", 3);
    let spaced = format!("{TOKEN} {TOKEN}");
    let variable = || CredentialSource::TokenEnv("SECRET".to_owned());
    let cases = [
        ("missing file", open(CredentialSource::TokenFile(dir.path().join("none")), ""), "token_file: cannot be read"),
        ("empty file", open(CredentialSource::TokenFile(empty), ""), "token_file: is empty"),
        (
            "unset",
            open(CredentialSource::TokenEnv("OTHER".to_owned()), ""),
            "variable OTHER: github.main.token_env: is not set",
        ),
        ("two tokens", open(variable(), &spaced), "holds what no token can"),
        ("no PEM", app(TOKEN), "github.main.app: the private key is not PEM"),
        ("broken PEM", app(&broken), "github.main.app: the private key is no RSA key"),
    ];
    for (case, opened, part) in cases {
        let message = opened.expect_err(case).to_string();
        assert!(message.contains(part) && message.contains("; "), "{case}: {message}");
        assert!(!message.contains(TOKEN), "{case}: {message}");
    }
}

#[test]
fn nothing_here_prints_a_secret() {
    let vault = pat();
    let authorization = vault.authorization(&request(Auth::Credential), 0).unwrap();
    let printed = format!("{vault:?} {authorization:?}");
    assert!(!printed.contains(TOKEN), "{printed}");
}
