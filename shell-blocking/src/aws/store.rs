//! Carries runner configs to their instances, through the Parameter Store of Systems Manager.
//!
//! One parameter for each instance, encrypted, tagged with the instance so that a policy can let each read its own
//! alone. It expires by itself should nobody delete it.

use std::sync::Arc;
use std::time::Instant;

use poolkeeper_core::aws::AwsError;
use poolkeeper_core::github::request::Slot;
use poolkeeper_core::seal::Secret;
use poolkeeper_shell::aws::{INSTANCE_TAG, STACK_TAG, expiration, parameter_place, unparsed};
use poolkeeper_shell::clock;
use poolkeeper_shell::transport::redacted_text;
use poolkeeper_shell::vault::Vault;
use serde::Serialize;
use serde_json::{Map, Value};
use ureq::Agent;
use ureq::http::{HeaderName, header};

use super::signed::Client;

const JSON: &str = "application/x-amz-json-1.1";
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const PUT: &str = "AmazonSSM.PutParameter";
const DELETE: &str = "AmazonSSM.DeleteParameter";
const EXISTS: &str = "ParameterAlreadyExists";
const NOT_FOUND: &str = "ParameterNotFound";
const OK: u16 = 200;

/// Where configs are kept for instances.
pub(super) struct Store {
    client: Client,
    vault: Arc<Vault>,
    /// What the names of parameters begin with.
    place: String,
    stack: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutParameter<'a> {
    name: String,
    value: &'a str,
    r#type: &'static str,
    tier: &'static str,
    policies: String,
    tags: [Tag<'a>; 2],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Tag<'a> {
    key: &'static str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteParameter {
    name: String,
}

/// An error's own code and words.
#[derive(Debug, Default, PartialEq, Eq)]
struct Objection {
    code: String,
    message: String,
}

/// Why a request was refused.
struct Refusal {
    code: String,
    error: AwsError,
}

impl Store {
    pub(super) fn new(client: Client, vault: Arc<Vault>, prefix: &str, stack: &str) -> Self {
        Self { client, vault, place: parameter_place(prefix, stack), stack: stack.to_owned() }
    }

    /// A new agent for it.
    pub(super) fn agent(&self) -> Agent {
        self.client.agent()
    }

    /// Keeps a config for an instance, in place of one that is there.
    ///
    /// # Errors
    /// When AWS refused, answered nonsense, or nothing came.
    pub(super) fn put(&self, agent: &Agent, instance: &str, config: Slot, deadline: Instant) -> Result<(), AwsError> {
        match self.put_new(agent, instance, config, deadline) {
            // Tags cannot go with a value that is written over.
            Err(refusal) if refusal.code == EXISTS => {
                self.delete(agent, instance, deadline)?;
                self.put_new(agent, instance, config, deadline)
                    .map_err(|refusal| if refusal.code == EXISTS { AwsError::Contention } else { refusal.error })
            }
            result => result.map_err(|refusal| refusal.error),
        }
    }

    /// Deletes an instance's config; that there is none is as good.
    ///
    /// # Errors
    /// When AWS refused, answered nonsense, or nothing came.
    pub(super) fn delete(&self, agent: &Agent, instance: &str, deadline: Instant) -> Result<(), AwsError> {
        let nothing = Secret::new(String::new());
        match self.post(agent, DELETE, &DeleteParameter { name: self.name(instance) }, &nothing, deadline) {
            Err(refusal) if refusal.code == NOT_FOUND => Ok(()),
            result => result.map_err(|refusal| refusal.error),
        }
    }

    fn put_new(&self, agent: &Agent, instance: &str, config: Slot, deadline: Instant) -> Result<(), Refusal> {
        let secret = self.vault.jit_config(config).map_err(|message| AwsError::Validation { message })?;
        let put = PutParameter {
            name: self.name(instance),
            value: secret.reveal(),
            r#type: "SecureString",
            tier: "Advanced",
            policies: expiration(clock::unix_s()),
            tags: [Tag { key: INSTANCE_TAG, value: instance }, Tag { key: STACK_TAG, value: &self.stack }],
        };
        self.post(agent, PUT, &put, &secret, deadline)
    }

    fn post(
        &self,
        agent: &Agent,
        target: &'static str,
        body: &impl Serialize,
        sent: &Secret,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let body = serde_json::to_string(body).map_err(|error| AwsError::Validation { message: error.to_string() })?;
        let headers = [(header::CONTENT_TYPE, JSON), (TARGET, target)];
        let reply = self.client.post(agent, &headers, body, deadline)?;
        let answer = &reply.answer;
        if answer.status == OK {
            let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body);
            return parsed.map(drop).map_err(|_| unparsed(OK).into());
        }
        let header = answer.headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
        let Objection { code, message } = objection(header, &answer.body);
        let error = self.client.refused(&reply, &code, redacted_text(message, sent));
        Err(Refusal { code, error })
    }

    fn name(&self, instance: &str) -> String {
        format!("{}/{instance}", self.place)
    }
}

/// Reads an error as leniently as AWS's SDKs do: the header goes before the body, and what is no text is passed over.
fn objection(header: Option<&str>, body: &[u8]) -> Objection {
    let fields: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    let code = header.or_else(|| text("code")).or_else(|| text("__type")).unwrap_or_default();
    let code = code.split_once(':').map_or(code, |(code, _)| code);
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    let message = text("message").or_else(|| text("Message")).or_else(|| text("errorMessage")).unwrap_or_default();
    Objection { code: code.to_owned(), message: message.to_owned() }
}

impl From<AwsError> for Refusal {
    fn from(error: AwsError) -> Self {
        Self { code: String::new(), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_code_is_found_however_it_is_written() {
        let cases: [(Option<&str>, &str, &str, &str); 8] = [
            (None, r#"{"__type":"ParameterNotFound"}"#, "ParameterNotFound", ""),
            (None, r#"{"__type":"ParameterNotFound","message":null}"#, "ParameterNotFound", ""),
            (None, r#"{"__type":"a.b#ParameterNotFound","message":"m","Message":"M"}"#, "ParameterNotFound", "m"),
            (None, r#"{"__type":"Throttling:http://x/y#z","Message":"M"}"#, "Throttling", "M"),
            (None, r#"{"__type":"A","code":"B","errorMessage":"E"}"#, "B", "E"),
            (None, r#"{"__type":"A","message":{"a":1}}"#, "A", ""),
            (Some("ParameterNotFound:http://x"), r#"{"__type":"A"}"#, "ParameterNotFound", ""),
            (Some("ParameterNotFound"), "<html>", "ParameterNotFound", ""),
        ];

        for (header, body, code, message) in cases {
            let wanted = Objection { code: code.to_owned(), message: message.to_owned() };
            assert_eq!(objection(header, body.as_bytes()), wanted, "{body}");
        }
        assert_eq!(objection(None, b""), Objection::default());
    }
}
