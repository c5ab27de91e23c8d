//! Carries typed calls to EC2 Auto Scaling, and configs to their instances: the query protocol and JSON, signed.

mod credentials;
mod endpoint;
mod groups;
mod profile;
mod query;
mod signed;
mod store;
mod xml;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply};
use poolkeeper_core::event::Event;
use poolkeeper_core::github::request::RequestId;
use poolkeeper_shell::aws::kind;
use poolkeeper_shell::config::AwsSettings;
use poolkeeper_shell::start::StartProblem;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use ureq::Agent;

use crate::crew::{Crew, Worker};
use crate::http::{Dns, INPUT_BYTES, Proxies, Wires, tls_config};
use crate::inbox::Promise;
use credentials::{Credentials, Environment};
use endpoint::{AUTO_SCALING, Endpoint, SSM};
use signed::Line;
use store::Store;

/// Threads for calls to AWS: as many as the core has under way there.
const WORKERS_MAX: usize = 32;
/// How long one call may take, however many requests it needs.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The way to one account and region.
pub(crate) struct Aws {
    crew: Crew<Call>,
}

/// Why AWS cannot be spoken to.
pub(crate) enum AwsProblem {
    /// No region was found.
    NoRegion,
    /// Something else.
    Failed(String),
}

impl AwsProblem {
    pub(crate) fn at_start(self, source: &Path) -> StartProblem {
        match self {
            Self::NoRegion => StartProblem::no_region(source),
            Self::Failed(what) => StartProblem::Failed(what),
        }
    }
}

struct Call {
    id: RequestId,
    call: AwsCall,
    promise: Promise,
}

/// What the threads share.
struct Services {
    wires: Wires,
    auto_scaling: Line,
    store: Store,
    telemetry: Arc<Telemetry>,
}

impl Aws {
    /// Finds the region; credentials are found with the first call.
    ///
    /// # Errors
    /// When there is no region.
    pub(crate) fn open(
        settings: &AwsSettings,
        stack: &str,
        dns: &Dns,
        vault: &Arc<Vault>,
        telemetry: &Arc<Telemetry>,
    ) -> Result<Self, AwsProblem> {
        let tls = tls_config(None).map_err(AwsProblem::Failed)?;
        let wires = Wires { tls: Arc::clone(&tls), dns: dns.clone(), proxies: Proxies::of_environment() };
        let direct = Wires { tls, dns: dns.clone(), proxies: Proxies::default() };
        let environment = Environment::of_process();
        let credentials = Arc::new(Credentials::new(environment.clone(), direct));
        let region = settings.region.clone().or_else(|| credentials.region()).ok_or(AwsProblem::NoRegion)?;
        let line = |service| {
            let endpoint = Endpoint::new(service, &region, settings.endpoint_url.as_deref(), &environment);
            Line { endpoint, region: region.clone(), credentials: Arc::clone(&credentials) }
        };
        let store = Store::new(line(SSM), Arc::clone(vault), &settings.parameter_prefix, stack);
        let services =
            Arc::new(Services { wires, auto_scaling: line(AUTO_SCALING), store, telemetry: Arc::clone(telemetry) });
        let crew = Crew::new("aws", WORKERS_MAX, move || {
            Box::new(Envoy { services: Arc::clone(&services), agent: services.agent() })
        });
        Ok(Self { crew })
    }

    /// Starts a call whose answer keeps the promise.
    pub(crate) fn start(&self, id: RequestId, call: AwsCall, promise: Promise) {
        if let Err(unmanned) = self.crew.take(Call { id, call, promise }) {
            unmanned.job.promise.refuse(&format!("no thread for the call: {}", unmanned.error));
        }
    }
}

impl Services {
    fn agent(&self) -> Agent {
        self.wires.agent(self.auto_scaling.endpoint.url.starts_with("https:"), INPUT_BYTES)
    }
}

/// One thread's end of the services.
struct Envoy {
    services: Arc<Services>,
    agent: Agent,
}

impl Worker<Call> for Envoy {
    fn carry(&mut self, Call { id, call, promise }: Call) {
        let started = Instant::now();
        let name = call.action();
        let result = self.call(call, started + CALL_TIMEOUT);
        let outcome = result.as_ref().map_or_else(kind, |_| "ok");
        self.services.telemetry.aws_call(name, outcome, started.elapsed());
        promise.keep(Event::AwsReply { id, result });
    }
}

impl Envoy {
    fn call(&self, call: AwsCall, deadline: Instant) -> Result<AwsReply, AwsError> {
        match query::of_call(call)? {
            query::Wanted::Query(query) => {
                let reply = self.services.auto_scaling.query(&self.agent, &query.body, deadline)?;
                query.read(&reply)
            }
            query::Wanted::Put { instance, config } => {
                self.services.store.put(&self.agent, &instance, config, deadline)?;
                Ok(AwsReply::Done)
            }
            query::Wanted::Delete { instance } => {
                self.services.store.delete(&self.agent, &instance, deadline)?;
                Ok(AwsReply::Done)
            }
        }
    }
}
