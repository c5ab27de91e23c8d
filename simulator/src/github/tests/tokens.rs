//! The token chain.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::client::Client;
use crate::github::{AppConfig, GitHubConfig, MARKER};
use crate::http::HttpResponse;

const API: &str = "http://127.0.0.1:8080/api/v3";

struct App {
    client: Client,
    key: EncodingKey,
}

impl App {
    fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let app = AppConfig::new("Iv1.client", 42, pair.public_key_pem().as_bytes()).unwrap();
        let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
        let config = GitHubConfig { pat: None, app: Some(app), ..GitHubConfig::default() };
        Self { client: Client::new(config), key }
    }

    fn jwt(&self, iss: Value, iat_s: i64, life_s: i64) -> String {
        let now = i64::try_from(self.client.now().unix_ms / 1000).unwrap();
        let claims = json!({"iss": iss, "iat": now + iat_s, "exp": now + iat_s + life_s});
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key).unwrap()
    }

    fn installation(&mut self, jwt: &str) -> HttpResponse {
        let auth = format!("Bearer {jwt}");
        let url = format!("{API}/orgs/Acme/installation");
        self.client.send("GET", &url, &[("authorization", &auth)], None)
    }
}

#[test]
fn an_app_gets_in_by_its_installation() {
    let mut app = App::new();
    let jwt = app.jwt(json!("Iv1.client"), -60, 540);
    let found = app.installation(&jwt);
    assert_eq!((found.status, &found.json()["account"]["login"]), (200, &json!("acme")));
    let url = format!("{API}/app/installations/{}/access_tokens", found.json()["id"]);
    let made = app.client.send("POST", &url, &[("authorization", &format!("Bearer {jwt}"))], None);
    assert_eq!(made.status, 201);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert!(token.contains(MARKER));
    let registration = app.client.registration_token("acme", &token);
    assert_eq!(app.client.admin_connection("acme", &registration).status, 200);
    assert_eq!(app.client.admin_connection("widgets", &registration).status, 403);

    let url = format!("{API}/orgs/widgets/actions/runners/registration-token");
    let auth = format!("Bearer {token}");
    let foreign = app.client.send("POST", &url, &[("authorization", &auth)], None);
    assert_eq!(foreign.status, 403);
}

#[test]
fn a_jwt_that_is_wrong_in_any_way_is_refused() {
    let mut app = App::new();
    for (what, iss, iat, life) in [("numeric id", json!(42), -60, 540), ("id as text", json!("42"), -60, 540)] {
        let jwt = app.jwt(iss, iat, life);
        assert_eq!(app.installation(&jwt).status, 200, "{what}");
    }
    for (what, iss, iat, life) in [
        ("foreign issuer", json!("Iv1.other"), -60, 540),
        ("issued in the future", json!("Iv1.client"), 30, 300),
        ("too long a life", json!("Iv1.client"), 0, 601),
        ("ended", json!("Iv1.client"), -600, 600),
    ] {
        let jwt = app.jwt(iss, iat, life);
        assert_eq!(app.installation(&jwt).status, 401, "{what}");
    }
    let other = App::new().jwt(json!("Iv1.client"), -60, 540);
    assert_eq!(app.installation(&other).status, 401, "another key");
    assert_eq!(app.installation("a.b.c").status, 401, "garbage");
}

#[test]
fn a_wrong_pat_is_refused_in_plain_text() {
    let mut client = Client::new(GitHubConfig::default());
    let url = format!("{API}/orgs/acme/actions/runners/registration-token");
    for auth in ["Bearer nope", "Basic x", "Bearer"] {
        let reply = client.send("POST", &url, &[("authorization", auth)], None);
        assert_eq!(reply.status, 401, "{auth}");
        assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    }
}

#[test]
fn only_known_scopes_exist() {
    let scopes = Some(["acme".to_owned(), "enterprises/big".to_owned()].into());
    let mut client = Client::new(GitHubConfig { scopes, ..GitHubConfig::default() });
    let auth = format!("Bearer {}", client.github.config().pat.clone().unwrap());
    for (path, status) in [
        ("orgs/ACME", 201),
        ("repos/acme/web", 201),
        ("enterprises/big", 201),
        ("orgs/widgets", 404),
        ("enterprises/small", 404),
    ] {
        let url = format!("{API}/{path}/actions/runners/registration-token");
        assert_eq!(client.send("POST", &url, &[("authorization", &auth)], None).status, status, "{path}");
    }
}

#[test]
fn tokens_end_with_their_life() {
    let mut client = Client::connected("acme");
    assert_eq!(client.service("GET", "_apis/runtime/runnerscalesets", None).status, 200);
    client.wait_ms(3_600_000);
    assert_eq!(client.service("GET", "_apis/runtime/runnerscalesets", None).status, 401);
}

#[test]
fn rest_calls_are_limited_by_the_hour() {
    let config = GitHubConfig { rest_calls_per_hour: Some(2), ..GitHubConfig::default() };
    let mut client = Client::connected_to(config, "acme");
    let url = format!("{API}/orgs/acme/actions/runners/registration-token");
    let refused = client.send("POST", &url, &[], None);
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (403, Some("0")));
    let reset: u64 = refused.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!(reset > client.now().unix_ms / 1000);
    client.wait_ms(3_600_000);
    client.connect("acme");
}
