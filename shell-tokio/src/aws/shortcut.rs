//! `SetDesiredCapacity` without the SDK, once the SDK has shown the way.
//!
//! It is the call that jobs wait for. Between the call and its first byte the SDK's machinery takes a sixth of the time
//! from a message to its capacity, as little of it is in the processor's caches by then. So the call is written and
//! signed here, and sent over the SDK's own connections to where the SDK sent another call before, with the keys it was
//! given last. Whenever one of these is not known, or the keys end soon, the call is the SDK's; and so is one that was
//! denied, as the SDK knows more: how wrong this machine's clock is, for one.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_autoscaling::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_autoscaling::config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::config::{ConfigBag, HttpClient, Intercept, RuntimeComponents};
use aws_sdk_autoscaling::error::BoxError;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use http_body_util::{BodyExt, Limited};
use hyper::Request;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use poolkeeper_core::aws::{AwsError, AwsReply};
use poolkeeper_shell::aws::query::{FORM_TYPE, Form, Scope, USER_AGENT as POOLKEEPER, sign, xml};
use poolkeeper_shell::aws::{refused, unparsed};
use tokio::time::timeout;

use super::CALL_TIMEOUT;
use super::fault::unanswered;

const SERVICE: &str = "autoscaling";
/// The most bytes of a reply: it holds an identifier, or a refusal.
const BODY_MAX: usize = 64 << 10;
/// Keys that end so soon are the SDK's to renew.
const ENDS_SOON: Duration = Duration::from_secs(60);

/// What the SDK has shown so far.
#[derive(Clone, Debug)]
pub(super) struct Shortcut {
    region: Arc<str>,
    way: Arc<OnceLock<Way>>,
    keys: Arc<Mutex<Option<Credentials>>>,
}

/// Where calls go, and over what.
#[derive(Debug)]
struct Way {
    url: String,
    connector: SharedHttpConnector,
}

impl Shortcut {
    /// Nothing is known yet.
    pub(super) fn new(region: &str) -> Self {
        Self { region: region.into(), way: Arc::default(), keys: Arc::default() }
    }

    /// The same provider; what it gives is seen here.
    pub(super) fn watch(&self, provider: SharedCredentialsProvider) -> SharedCredentialsProvider {
        SharedCredentialsProvider::new(Watched { provider, keys: Arc::clone(&self.keys) })
    }

    /// Makes the call; none when it is for the SDK to make, as it is after a denial too.
    pub(super) async fn set_desired_capacity(&self, group: &str, desired: u32) -> Option<Result<AwsReply, AwsError>> {
        let way = self.way.get()?;
        let ends_soon = SystemTime::now() + ENDS_SOON;
        let keys = self.keys().clone().filter(|keys| keys.expiry().is_none_or(|end| end > ends_soon))?;
        let scope = Scope { region: &self.region, service: SERVICE };
        let asking = async {
            let (action, form) = Form::set_desired_capacity(group, desired)?.finish();
            way.post(sign(request(&way.url, form)?, &keys, scope)?, action).await
        };
        let result = timeout(CALL_TIMEOUT, asking)
            .await
            .unwrap_or_else(|_| Err(AwsError::Transport { message: "no answer in time".to_owned() }));
        if matches!(result, Err(AwsError::Denied { .. })) {
            self.forget(&keys);
        }
        Some(result.map(|()| AwsReply::Done))
    }

    /// These keys are not used again; the SDK's next ones are.
    fn forget(&self, used: &Credentials) {
        let mut keys = self.keys();
        if keys.as_ref() == Some(used) {
            *keys = None;
        }
    }

    fn keys(&self) -> MutexGuard<'_, Option<Credentials>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for Shortcut {
    fn name(&self) -> &'static str {
        "shortcut"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.way.get().is_none()
            && let Some(client) = components.http_client()
        {
            let mut settings = HttpConnectorSettings::builder();
            if let Some(timeouts) = config.load::<TimeoutConfig>() {
                settings.set_connect_timeout(timeouts.connect_timeout()).set_read_timeout(timeouts.read_timeout());
            }
            // The same settings get the same connections.
            let connector = client.http_connector(&settings.build(), components);
            let url = context.request().uri().to_owned();
            // Calls at once show the same.
            drop(self.way.set(Way { url, connector }));
        }
        Ok(())
    }
}

impl Way {
    async fn post(&self, request: Request<String>, action: &str) -> Result<(), AwsError> {
        let mut request = HttpRequest::try_from(request.map(Into::into)).map_err(|error| unanswered(&error))?;
        let used = CaptureSmithyConnection::new();
        request.add_extension(used.clone());
        let response = self.connector.call(request).await.map_err(|error| unanswered(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body.map_err(|_| unparsed(status.as_u16()))?.to_bytes();
        let text = str::from_utf8(&body).map_err(|_| unparsed(status.as_u16()))?;
        if status.is_success() {
            return xml::reply(text, action, |_, _| Ok(()));
        }
        let refusal = xml::refusal(text);
        let error = refused(status.as_u16(), &refusal.code, &refusal.message);
        if status.is_server_error()
            && error != AwsError::Throttled
            && let Some(connection) = used.get()
        {
            // Another one may lead to a server in better health.
            connection.poison();
        }
        Err(error)
    }
}

fn request(url: &str, form: String) -> Result<Request<String>, AwsError> {
    let head = Request::post(url).header(USER_AGENT, POOLKEEPER).header(CONTENT_TYPE, FORM_TYPE);
    head.body(form).map_err(|error| unanswered(&error))
}

/// Gives credentials, and keeps the newest.
#[derive(Debug)]
struct Watched {
    provider: SharedCredentialsProvider,
    keys: Arc<Mutex<Option<Credentials>>>,
}

impl ProvideCredentials for Watched {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let given = self.provider.provide_credentials().await?;
            *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(given.clone());
            Ok(given)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_denial_of_old_keys_leaves_newer_ones() {
        let keys = |id: &str| Credentials::new(id, "secret", None, None, "test");
        let shortcut = Shortcut::new("eu-west-1");
        *shortcut.keys() = Some(keys("new"));
        shortcut.forget(&keys("old"));
        assert_eq!(*shortcut.keys(), Some(keys("new")));
        shortcut.forget(&keys("new"));
        assert_eq!(*shortcut.keys(), None);
    }
}
