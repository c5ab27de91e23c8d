//! The store's calls as Systems Manager's JSON protocol has them, as far as configs need them.
//!
//! See <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>.

use poolkeeper_core::time::Instant;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ConfigStore;
use crate::aws::ApiError;
use crate::aws::query::check_signature;
use crate::http::{HttpRequest, HttpResponse};

const TARGET: &str = "x-amz-target";
const SERVICE: &str = "AmazonSSM.";
const JSON: &str = "application/x-amz-json-1.1";
/// The longest value of an advanced parameter; a standard one holds half of it.
const LONGEST_VALUE: usize = 8192;

/// The action a request names, for example `PutParameter`; none when it is for another service.
#[must_use]
pub fn action_name(request: &HttpRequest) -> Option<&str> {
    request.header(TARGET)?.strip_prefix(SERVICE)
}

/// What a request came to.
#[derive(Debug)]
pub struct Served {
    /// The reply.
    pub reply: HttpResponse,
    /// The instance that a config was stored for.
    pub stored_for: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    name: String,
    value: String,
    r#type: String,
    tier: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

impl ConfigStore {
    /// Serves one request as the endpoint `ssm.REGION.amazonaws.com` would.
    pub fn serve(&mut self, now: Instant, request: &HttpRequest, region: &str) -> Served {
        let mut stored_for = None;
        let answer = check_signature(request, "ssm", region).and_then(|()| match action_name(request) {
            Some("PutParameter") => {
                stored_for = Some(self.put_parameter(now, &read(request)?)?);
                Ok(json!({ "Version": 1, "Tier": "Advanced" }))
            }
            Some("GetParameter") => {
                let Named { name } = read(request)?;
                let value = self.get(now, instance_of(&name)?).ok_or_else(not_found)?;
                Ok(json!({ "Parameter": { "Name": name, "Type": "SecureString", "Value": value, "Version": 1 } }))
            }
            Some("DeleteParameter") => {
                let Named { name } = read(request)?;
                let instance = instance_of(&name)?;
                let was_there = self.get(now, instance).is_some();
                self.delete(now, instance)?;
                if was_there { Ok(json!({})) } else { Err(not_found()) }
            }
            Some(_) | None => Err(ApiError::new(400, "UnknownOperationException", "")),
        });
        let reply = match answer {
            Ok(body) => reply(200, &body),
            Err(error) => reply(error.status, &json!({ "__type": error.code, "message": error.message })),
        };
        Served { reply, stored_for }
    }

    fn put_parameter(&mut self, now: Instant, put: &Put) -> Result<String, ApiError> {
        let instance = instance_of(&put.name)?;
        let limit = if put.tier.as_deref() == Some("Advanced") { LONGEST_VALUE } else { LONGEST_VALUE / 2 };
        if put.r#type != "SecureString" || put.value.len() > limit {
            return Err(ApiError::validation("A config is encrypted, and no longer than its tier allows"));
        }
        if !put.tags.iter().any(|tag| tag.key == "InstanceId" && tag.value == instance) {
            let message = "The tag InstanceId does not name the parameter's instance: it could not read it";
            return Err(ApiError::new(400, "AccessDeniedException", message));
        }
        if self.get(now, instance).is_some() {
            return Err(ApiError::new(400, "ParameterAlreadyExists", "The parameter already exists."));
        }
        self.put(now, instance, put.value.clone())?;
        Ok(instance.to_owned())
    }
}

fn read<'a, T: Deserialize<'a>>(request: &'a HttpRequest) -> Result<T, ApiError> {
    let refusal = |error: serde_json::Error| ApiError::new(400, "SerializationException", error.to_string());
    serde_json::from_slice(&request.body).map_err(refusal)
}

/// The instance a parameter is for: the last part of its name.
fn instance_of(name: &str) -> Result<&str, ApiError> {
    let (place, instance) = name.rsplit_once('/').unwrap_or_default();
    if place.starts_with('/') && instance.starts_with("i-") {
        return Ok(instance);
    }
    Err(ApiError::validation(format!("{name} names no instance's parameter")))
}

fn not_found() -> ApiError {
    ApiError::new(400, "ParameterNotFound", "")
}

fn reply(status: u16, body: &Value) -> HttpResponse {
    let headers = vec![("content-type".into(), JSON.into())];
    HttpResponse { status, headers, body: body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(store: &mut ConfigStore, action: &str, body: &Value) -> (u16, Value) {
        let credential = "AWS4-HMAC-SHA256 Credential=id/20260501/eu-west-1/ssm/aws4_request";
        let authorization = format!("{credential}, SignedHeaders=host;x-amz-date, Signature={}", "0".repeat(64));
        let headers = vec![
            ("authorization".into(), authorization.into()),
            ("x-amz-date".into(), "20260501T000000Z".into()),
            (TARGET.into(), format!("{SERVICE}{action}").into()),
        ];
        let request = HttpRequest {
            method: "POST".into(),
            origin: "http://127.0.0.1".to_owned(),
            target: "/".to_owned(),
            headers,
            body: body.to_string().into_bytes(),
        };
        let reply = store.serve(Instant::default(), &request, "eu-west-1").reply;
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    fn put(instance: &str, tag: &str) -> Value {
        json!({
            "Name": format!("/poolkeeper/ci/{instance}"), "Value": "config", "Type": "SecureString", "Tier": "Advanced",
            "Tags": [{ "Key": "InstanceId", "Value": tag }],
        })
    }

    #[test]
    fn a_config_goes_in_once_and_out_once() {
        let mut store = ConfigStore::default();
        let name = json!({ "Name": "/poolkeeper/ci/i-1", "WithDecryption": true });
        assert_eq!(ask(&mut store, "PutParameter", &put("i-1", "i-1")).0, 200);
        assert_eq!(ask(&mut store, "PutParameter", &put("i-1", "i-1")).1["__type"], "ParameterAlreadyExists");
        assert_eq!(ask(&mut store, "GetParameter", &name).1["Parameter"]["Value"], "config");
        assert_eq!(ask(&mut store, "DeleteParameter", &name).0, 200);
        assert_eq!(ask(&mut store, "DeleteParameter", &name).1["__type"], "ParameterNotFound");
        assert_eq!(ask(&mut store, "GetParameter", &name).1["__type"], "ParameterNotFound");
    }

    #[test]
    fn what_would_not_do_at_aws_does_not_do_here() {
        let mut store = ConfigStore::default();
        assert_eq!(ask(&mut store, "PutParameter", &put("i-1", "i-2")).1["__type"], "AccessDeniedException");
        assert_eq!(ask(&mut store, "PutParameter", &put("web", "web")).0, 400);
        assert_eq!(ask(&mut store, "PutParameter", &json!({})).1["__type"], "SerializationException");
        assert_eq!(ask(&mut store, "ListParameters", &json!({})).1["__type"], "UnknownOperationException");
    }
}
