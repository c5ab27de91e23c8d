//! What the commands that ask GitHub something have in common.

use std::sync::Arc;

use clap::Args;
use poolkeeper_core::config::{ANY_ORG, ConnectionConfig};
use poolkeeper_core::connection::Connection;
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::github::scope::Scope;
use poolkeeper_shell::config::DaemonConfig;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;

use super::{ConfigArgs, Failure};
use crate::github::GitHub;
use crate::operator::{Operator, OperatorError};
use poolkeeper_shell::start::seed;

/// Whom to ask.
#[derive(Debug, Args)]
pub(super) struct ServiceArgs {
    /// Whose it is: an organization, OWNER/REPO or enterprises/NAME.
    #[arg(long)]
    pub(super) org: String,
    /// The connection, by its name in the config; needed when several serve the organization.
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The service that was chosen.
pub(super) struct Service {
    pub(super) operator: Operator,
    /// The connection's name in the config.
    pub(super) name: String,
    /// The runner group that the connection takes where none is named.
    pub(super) runner_group: String,
}

impl ServiceArgs {
    pub(super) fn load(&self) -> Result<DaemonConfig, Failure> {
        self.config.load()
    }

    /// Opens the one connection that serves whom to ask.
    pub(super) fn open(&self, config: &DaemonConfig) -> Result<Service, Failure> {
        let scope = Scope::parse(&self.org).map_err(|error| Failure::Config(format!("--org: {error}")))?;
        let (name, connection) = choose(config, &scope, self.connection.as_deref())?;
        let operator = operator(config, name, connection, scope)?;
        Ok(Service { operator, name: name.to_owned(), runner_group: connection.runner_group.clone() })
    }
}

/// The connection that serves a scope: the one named, or the only one that may.
fn choose<'a>(
    config: &'a DaemonConfig,
    scope: &Scope,
    named: Option<&str>,
) -> Result<(&'a str, &'a ConnectionConfig), Failure> {
    let wall = match scope {
        Scope::Organization(org) => org.to_ascii_lowercase(),
        Scope::Repository { owner, .. } => owner.to_ascii_lowercase(),
        Scope::Enterprise(_) => scope.to_string().to_ascii_lowercase(),
    };
    let any = !matches!(scope, Scope::Enterprise(_));
    let serves =
        |connection: &ConnectionConfig| connection.orgs.iter().any(|org| *org == wall || (any && org == ANY_ORG));
    let mut able = config
        .core
        .connections
        .iter()
        .filter(|(name, connection)| named.is_none_or(|n| n == name.as_str()) && serves(connection))
        .map(|(name, connection)| (name.as_str(), connection));
    let problem = |what: &str, mend: &str| Err(Failure::Config(format!("github: {what}; {mend}")));
    match (able.next(), able.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            problem(&format!("several connections serve \"{wall}\""), "say which one with --connection")
        }
        (None, _) => match named {
            Some(name) => problem(
                &format!("there is no connection \"{name}\" that serves \"{wall}\""),
                "name one that lists it in orgs",
            ),
            None => problem(&format!("no connection serves \"{wall}\""), "add it to the orgs of one of them"),
        },
    }
}

fn operator(
    config: &DaemonConfig,
    name: &str,
    connection: &ConnectionConfig,
    scope: Scope,
) -> Result<Operator, Failure> {
    let telemetry = Arc::new(Telemetry::new(&config.core.stack));
    let vault = Arc::new(Vault::open(config)?);
    let github = GitHub::open(&config.github, Arc::clone(&vault), telemetry)
        .map_err(|problem| Failure::Config(problem.to_string()))?;
    let connection = Connection::new(name, connection, scope, &config.core.build)
        .map_err(|error| Failure::Config(format!("github.{name}.url: {error}")))?;
    Ok(Operator::new(connection, github, vault, seed()))
}

/// An answer that belongs to another call.
pub(super) fn unexpected(call: CallKind) -> Failure {
    Failure::Failed(format!("{}: answered as if it had been another call", call.as_str()))
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        Self::Failed(error.to_string())
    }
}
