//! A client of the model, for tests.

use poolkeeper_core::time::{Instant, Now};
use serde_json::{Value, json};

use crate::github::{GitHub, GitHubConfig};
use crate::http::{HttpRequest, HttpResponse, Served, Ticket};

const ORIGIN: &str = "http://127.0.0.1:8080";
const START_UNIX_MS: u64 = 1_777_629_600_000;

pub(super) struct Client {
    pub(super) github: GitHub,
    pub(super) base: String,
    pub(super) admin: String,
    ms: u64,
}

/// A session as the client holds it.
pub(super) struct Held {
    pub(super) set: u64,
    pub(super) id: String,
    pub(super) url: String,
    pub(super) token: String,
    pub(super) statistics: Value,
}

impl HttpResponse {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(super) fn type_name(&self) -> String {
        self.json()["typeName"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_ref())
    }

    /// The elements of a message's body.
    pub(super) fn elements(&self) -> Vec<Value> {
        serde_json::from_str(self.json()["body"].as_str().unwrap()).unwrap()
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        let kind = |element: &Value| element["messageType"].as_str().unwrap().to_owned();
        self.elements().iter().map(kind).collect()
    }
}

impl Client {
    pub(super) fn new(config: GitHubConfig) -> Self {
        let github = GitHub::new(config, 7);
        Self { github, base: String::new(), admin: String::new(), ms: 0 }
    }

    pub(super) fn connected(scope: &str) -> Self {
        Self::connected_to(GitHubConfig::default(), scope)
    }

    pub(super) fn connected_to(config: GitHubConfig, scope: &str) -> Self {
        let mut client = Self::new(config);
        client.connect(scope);
        client
    }

    pub(super) fn now(&self) -> Now {
        Now { mono: Instant::from_millis(self.ms), unix_ms: START_UNIX_MS + self.ms }
    }

    pub(super) fn wait_ms(&mut self, ms: u64) -> Vec<(Ticket, HttpResponse)> {
        self.ms += ms;
        self.github.advance(self.now())
    }

    /// Goes through the token chain with the PAT.
    pub(super) fn connect(&mut self, scope: &str) {
        let pat = self.github.config().pat.clone().unwrap();
        let registration = self.registration_token(scope, &pat);
        let connection = self.admin_connection(scope, &registration);
        assert_eq!(connection.status, 200, "{}", String::from_utf8_lossy(&connection.body));
        let text = |key: &str| connection.json()[key].as_str().unwrap().to_owned();
        (self.base, self.admin) = (text("url"), text("token"));
    }

    pub(super) fn registration_token(&mut self, scope: &str, credential: &str) -> String {
        let path = format!("{ORIGIN}/api/v3/orgs/{scope}/actions/runners/registration-token");
        let reply = self.send("POST", &path, &[("authorization", &format!("Bearer {credential}"))], None);
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        reply.json()["token"].as_str().unwrap().to_owned()
    }

    pub(super) fn admin_connection(&mut self, scope: &str, registration: &str) -> HttpResponse {
        let body = json!({"url": format!("{ORIGIN}/{scope}"), "runner_event": "register"});
        let auth = format!("RemoteAuth {registration}");
        let url = format!("{ORIGIN}/api/v3/actions/runner-registration");
        self.send("POST", &url, &[("authorization", &auth)], Some(body))
    }

    /// A call to the Actions Service.
    pub(super) fn service(&mut self, method: &str, path: &str, body: Option<Value>) -> HttpResponse {
        let joint = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}{path}{joint}api-version=6.0-preview", self.base);
        let auth = format!("Bearer {}", self.admin);
        self.send(method, &url, &[("authorization", &auth)], body)
    }

    pub(super) fn create_set(&mut self, name: &str) -> u64 {
        let body = json!({"name": name, "runnerGroupId": 1});
        let made = self.service("POST", "_apis/runtime/runnerscalesets", Some(body));
        assert_eq!(made.status, 200);
        made.json()["id"].as_u64().unwrap()
    }

    pub(super) fn open_session(&mut self, set: u64) -> Held {
        let made = self.create_session(set);
        assert_eq!(made.status, 200);
        held(set, &made.json())
    }

    pub(super) fn create_session(&mut self, set: u64) -> HttpResponse {
        let path = format!("_apis/runtime/runnerscalesets/{set}/sessions");
        self.service("POST", &path, Some(json!({"ownerName": "host"})))
    }

    pub(super) fn refresh_session(&mut self, session: &Held) -> HttpResponse {
        let path = format!("_apis/runtime/runnerscalesets/{}/sessions/{}", session.set, session.id);
        self.service("PATCH", &path, None)
    }

    pub(super) fn delete_session(&mut self, session: &Held) -> HttpResponse {
        let path = format!("_apis/runtime/runnerscalesets/{}/sessions/{}", session.set, session.id);
        self.service("DELETE", &path, None)
    }

    pub(super) fn poll(&mut self, session: &Held, last: u64, capacity: u64) -> Served {
        let url = match last {
            0 => session.url.clone(),
            last => format!("{}&lastMessageId={last}", session.url),
        };
        let auth = format!("Bearer {}", session.token);
        let capacity = capacity.to_string();
        let headers = [
            ("authorization", auth.as_str()),
            ("accept", "application/json; api-version=6.0-preview"),
            ("x-scalesetmaxcapacity", &capacity),
        ];
        self.serve("GET", &url, &headers, None)
    }

    pub(super) fn poll_now(&mut self, session: &Held, last: u64, capacity: u64) -> HttpResponse {
        match self.poll(session, last, capacity) {
            Served::Reply(reply) => reply,
            other @ (Served::Held(_) | Served::Close | Served::CutShort(_)) => {
                panic!("expected a reply at once: {other:?}")
            }
        }
    }

    pub(super) fn hold(&mut self, session: &Held, last: u64, capacity: u64) -> Ticket {
        match self.poll(session, last, capacity) {
            Served::Held(ticket) => ticket,
            other @ (Served::Reply(_) | Served::Close | Served::CutShort(_)) => {
                panic!("expected the poll to be held: {other:?}")
            }
        }
    }

    pub(super) fn acknowledge(&mut self, session: &Held, message: u64) -> HttpResponse {
        let url = session.url.replace("/messages?", &format!("/messages/{message}?"));
        let auth = format!("Bearer {}", session.token);
        self.send("DELETE", &url, &[("authorization", &auth)], None)
    }

    pub(super) fn acquire(&mut self, session: &Held, ids: &[u64]) -> HttpResponse {
        let path = format!("_apis/runtime/runnerscalesets/{}/acquirejobs", session.set);
        let url = format!("{}{path}?api-version=6.0-preview", self.base);
        let auth = format!("Bearer {}", session.token);
        self.send("POST", &url, &[("authorization", &auth)], Some(json!(ids)))
    }

    pub(super) fn send(
        &mut self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> HttpResponse {
        match self.serve(method, url, headers, body) {
            Served::Reply(reply) => reply,
            other @ (Served::Held(_) | Served::Close | Served::CutShort(_)) => {
                panic!("expected a reply: {other:?}")
            }
        }
    }

    fn serve(&mut self, method: &str, url: &str, headers: &[(&str, &str)], body: Option<Value>) -> Served {
        let request = HttpRequest {
            method: method.to_owned().into(),
            origin: ORIGIN.to_owned(),
            target: url.strip_prefix(ORIGIN).unwrap().to_owned(),
            headers: headers.iter().map(|(k, v)| ((*k).to_owned().into(), (*v).to_owned().into())).collect(),
            body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        };
        self.github.serve(self.now(), &request)
    }
}

pub(super) fn held(set: u64, session: &Value) -> Held {
    let text = |key: &str| session[key].as_str().unwrap().to_owned();
    Held {
        set,
        id: text("sessionId"),
        url: text("messageQueueUrl"),
        token: text("messageQueueAccessToken"),
        statistics: session["statistics"].clone(),
    }
}
