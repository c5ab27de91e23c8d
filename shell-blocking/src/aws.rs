//! Carries typed calls to EC2 Auto Scaling, and configs to their instances: the query protocol and JSON, signed.

mod credentials;
mod endpoint;
mod groups;
mod profile;
mod query;
mod signed;
mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply};
use poolkeeper_core::event::Event;
use poolkeeper_core::github::request::RequestId;
use poolkeeper_core::limiter;
use poolkeeper_shell::aws::kind;
use poolkeeper_shell::config::DaemonConfig;
use poolkeeper_shell::start::StartProblem;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use ureq::Agent;

use crate::crew::{Crew, Worker};
use crate::http::{Dns, Proxies, Wires, tls_config};
use crate::inbox::Promise;
use credentials::{Credentials, Environment};
use endpoint::{AUTO_SCALING, Endpoint, SSM, Service};
use signed::Client;
use store::Store;

/// How long one call may take, however many requests it needs.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The way to one account and region.
pub(crate) struct Aws {
    crew: Crew<Call>,
}

struct Call {
    id: RequestId,
    call: AwsCall,
    promise: Promise,
}

/// What the threads share.
struct Services {
    auto_scaling: Client,
    store: Store,
    telemetry: Arc<Telemetry>,
}

impl Aws {
    /// Finds the region; credentials are found with the first call.
    ///
    /// # Errors
    /// When there is no region, or an endpoint is no URL.
    pub(crate) fn open(
        config: &DaemonConfig,
        source: &Path,
        dns: &Dns,
        vault: &Arc<Vault>,
        telemetry: &Arc<Telemetry>,
    ) -> Result<Self, StartProblem> {
        let tls = tls_config(None).map_err(StartProblem::Failed)?;
        let direct = Wires { tls, dns: dns.clone(), proxies: Proxies::default() };
        let account = Account::find(config, source, direct, Environment::of_process())?;
        let store = Store::new(
            account.client(SSM, config, source)?,
            Arc::clone(vault),
            &config.aws.parameter_prefix,
            &config.core.stack,
        );
        let auto_scaling = account.client(AUTO_SCALING, config, source)?;
        Ok(Self::staffed(Services { auto_scaling, store, telemetry: Arc::clone(telemetry) }))
    }

    fn staffed(services: Services) -> Self {
        let services = Arc::new(services);
        let crew = Crew::new("aws", workers_max(), move || Box::new(Caller::new(&services)));
        Self { crew }
    }

    /// Starts a call whose answer keeps the promise.
    pub(crate) fn start(&self, id: RequestId, call: AwsCall, promise: Promise) {
        if let Err(unmanned) = self.crew.take(Call { id, call, promise }) {
            unmanned.job.promise.refuse(&format!("no thread for the call: {}", unmanned.error));
        }
    }
}

/// Threads for calls to AWS: as many as the core has under way there, so that no call waits for a slow store.
fn workers_max() -> usize {
    let in_flight: u32 = [limiter::AWS, limiter::SSM, limiter::SSM_DELETES].iter().map(|limits| limits.in_flight).sum();
    usize::try_from(in_flight).unwrap_or(usize::MAX)
}

/// What the clients of all services have in common.
struct Account {
    environment: Environment,
    credentials: Arc<Credentials>,
    region: String,
    /// Without a proxy.
    direct: Wires,
}

impl Account {
    fn find(
        config: &DaemonConfig,
        source: &Path,
        direct: Wires,
        environment: Environment,
    ) -> Result<Self, StartProblem> {
        let credentials = Arc::new(Credentials::new(environment.clone(), direct.clone()));
        let region = match config.aws.region.clone() {
            Some(region) => region,
            None => match credentials.region() {
                Ok(found) => found.ok_or_else(|| StartProblem::no_region(source))?,
                Err(silence) => return Err(StartProblem::region_unknown(source, &silence)),
            },
        };
        Ok(Self { environment, credentials, region, direct })
    }

    /// The client of a service. Over TLS it may go through the environment's proxy.
    fn client(&self, service: Service, config: &DaemonConfig, source: &Path) -> Result<Client, StartProblem> {
        let Self { environment, credentials, region, direct } = self;
        let endpoint = Endpoint::new(service, region, config.aws.endpoint_url.as_deref(), environment)
            .map_err(|problem| problem.in_config(source))?;
        let proxies = if endpoint.is_https() { Proxies::of_environment() } else { Proxies::default() };
        let wires = Wires { proxies, ..direct.clone() };
        Ok(Client { endpoint, region: region.clone(), credentials: Arc::clone(credentials), wires })
    }
}

/// One thread's end of the services.
struct Caller {
    services: Arc<Services>,
    auto_scaling: Agent,
    store: Agent,
}

impl Caller {
    fn new(services: &Arc<Services>) -> Self {
        let (auto_scaling, store) = (services.auto_scaling.agent(), services.store.agent());
        Self { services: Arc::clone(services), auto_scaling, store }
    }
}

impl Worker<Call> for Caller {
    fn carry(&mut self, Call { id, call, promise }: Call) {
        let started = Instant::now();
        let name = call.action();
        let result = self.call(call, started + CALL_TIMEOUT);
        let outcome = result.as_ref().map_or_else(kind, |_| "ok");
        self.services.telemetry.aws_call(name, outcome, started.elapsed());
        promise.keep(Event::AwsReply { id, result });
    }
}

impl Caller {
    fn call(&self, call: AwsCall, deadline: Instant) -> Result<AwsReply, AwsError> {
        match query::of_call(call)? {
            query::Wanted::Query(query) => {
                let reply = self.services.auto_scaling.query(&self.auto_scaling, &query.body, deadline)?;
                query.read(&reply)
            }
            query::Wanted::Put { instance, config } => {
                self.services.store.put(&self.store, &instance, config, deadline)?;
                Ok(AwsReply::Done)
            }
            query::Wanted::Delete { instance } => {
                self.services.store.delete(&self.store, &instance, deadline)?;
                Ok(AwsReply::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests;
