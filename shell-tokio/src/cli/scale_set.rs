//! `poolkeeper scale-set`.

use std::io::Write;
use std::sync::Arc;

use clap::{Args, Subcommand};
use poolkeeper_core::config::{ANY_ORG, ConnectionConfig};
use poolkeeper_core::connection::Connection;
use poolkeeper_core::github::answer::{Answer, ScaleSet};
use poolkeeper_core::github::call::Call;
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::github::scope::Scope;
use poolkeeper_shell::config::DaemonConfig;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;

use super::run::seed;
use super::{ConfigArgs, Failure, runtime};
use crate::github::GitHub;
use crate::operator::{Operator, OperatorError};

#[derive(Debug, Subcommand)]
pub(super) enum ScaleSetCommand {
    /// Show a scale set.
    #[command(after_help = "Example:\n  poolkeeper scale-set get acme-linux --org acme --json")]
    Get(GetArgs),
}

/// Options of `scale-set get`.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The scale set's name.
    name: String,
    /// Whose it is: an organization, OWNER/REPO or enterprises/NAME.
    #[arg(long)]
    org: String,
    /// The connection, by its name in the config; needed when several serve the organization.
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// The runner group it is in; the connection's default when not given.
    #[arg(long, value_name = "GROUP")]
    runner_group: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the scale set as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: ScaleSetCommand) -> Result<(), Failure> {
    match command {
        ScaleSetCommand::Get(args) => {
            let config = args.config.load()?;
            runtime::block_on(async move { get(args, config).await })
        }
    }
}

async fn get(args: GetArgs, config: DaemonConfig) -> Result<(), Failure> {
    let scope = Scope::parse(&args.org).map_err(|error| Failure::Config(format!("--org: {error}")))?;
    let (name, connection) = choose(&config, &scope, args.connection.as_deref())?;
    let runner_group = args.runner_group.clone().unwrap_or_else(|| connection.runner_group.clone());
    let mut operator = operator(&config, name, connection, scope)?;
    let found = find(&mut operator, &runner_group, &args.name).await?;
    let Some(set) = found else {
        return Err(Failure::Failed(format!(
            "no scale set \"{}\" of {} in runner group \"{runner_group}\" on connection \"{name}\"",
            args.name, args.org
        )));
    };
    print(&set, args.json)
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

/// Looks the set up by its name, then by its id, which tells its counts too.
async fn find(operator: &mut Operator, runner_group: &str, name: &str) -> Result<Option<ScaleSet>, Failure> {
    let by_group_name = Call::RunnerGroup { name: runner_group.to_owned() };
    let Answer::RunnerGroup(group) = operator.call(by_group_name).await? else {
        return Err(unexpected(CallKind::RunnerGroup));
    };
    let Some(group) = group else {
        return Err(Failure::Failed(format!("there is no runner group \"{runner_group}\"")));
    };
    let by_name = Call::ScaleSetByName { runner_group_id: group.id, name: name.to_owned() };
    let Some(set) = scale_set(operator.call(by_name).await?)? else { return Ok(None) };
    scale_set(operator.call(Call::ScaleSet { id: set.id }).await?)
}

fn scale_set(answer: Answer) -> Result<Option<ScaleSet>, Failure> {
    let Answer::ScaleSet(set) = answer else { return Err(unexpected(CallKind::ScaleSet)) };
    Ok(set)
}

fn unexpected(call: CallKind) -> Failure {
    Failure::Failed(format!("{}: answered as if it had been another call", call.as_str()))
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn print(set: &ScaleSet, json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if json {
        let text = serde_json::to_string(set).map_err(|error| Failure::Failed(error.to_string()))?;
        return Ok(writeln!(out, "{text}")?);
    }
    let labels: Vec<&str> = set.labels.iter().map(|label| label.name.as_str()).collect();
    writeln!(out, "name          {}", set.name)?;
    writeln!(out, "id            {}", set.id)?;
    writeln!(out, "runner group  {} ({})", set.runner_group_name, set.runner_group_id)?;
    writeln!(out, "labels        {}", labels.join(" "))?;
    if let Some(counts) = &set.statistics {
        writeln!(
            out,
            "jobs          {} assigned, {} running, {} available",
            counts.assigned, counts.running, counts.available
        )?;
        writeln!(out, "runners       {} registered, {} busy, {} idle", counts.registered, counts.busy, counts.idle)?;
    }
    Ok(())
}
