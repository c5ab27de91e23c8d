//! `poolkeeper scale-set`.

use std::io::Write;

use clap::{Args, Subcommand};
use poolkeeper_core::github::answer::{Answer, ScaleSet};
use poolkeeper_core::github::call::Call;
use poolkeeper_core::github::request::CallKind;
use poolkeeper_shell::config::DaemonConfig;

use super::service::{Service, ServiceArgs, unexpected};
use super::{Failure, runtime};
use crate::operator::Operator;

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
    #[command(flatten)]
    service: ServiceArgs,
    /// The runner group it is in; the connection's default when not given.
    #[arg(long, value_name = "GROUP")]
    runner_group: Option<String>,
    /// Print the scale set as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: ScaleSetCommand) -> Result<(), Failure> {
    match command {
        ScaleSetCommand::Get(args) => {
            let config = args.service.load()?;
            runtime::block_on(async move { get(args, config).await })
        }
    }
}

async fn get(args: GetArgs, config: DaemonConfig) -> Result<(), Failure> {
    let Service { mut operator, name, runner_group } = args.service.open(&config)?;
    let runner_group = args.runner_group.clone().unwrap_or(runner_group);
    let found = find(&mut operator, &runner_group, &args.name).await?;
    let Some(set) = found else {
        return Err(Failure::Failed(format!(
            "no scale set \"{}\" of {} in runner group \"{runner_group}\" on connection \"{name}\"",
            args.name, args.service.org
        )));
    };
    print(&set, args.json)
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
