//! `poolkeeper runner`.

use std::io::Write;

use clap::{Args, Subcommand};
use poolkeeper_core::github::answer::{Answer, Runner};
use poolkeeper_core::github::call::Call;
use poolkeeper_core::github::request::CallKind;

use super::service::{Service, ServiceArgs, unexpected};
use super::{Failure, runtime};
use crate::operator::Operator;

#[derive(Debug, Subcommand)]
pub(super) enum RunnerCommand {
    /// List the runners of an organization's scale sets.
    #[command(after_help = "Example:\n  poolkeeper runner list --org acme")]
    List(ListArgs),
    /// Show a runner.
    #[command(after_help = "Example:\n  poolkeeper runner get i-0123456789abcdef0 --org acme --json")]
    Get(NamedArgs),
    /// Remove a runner that is not at work: GitHub refuses to remove one that runs a job.
    #[command(after_help = "Example:\n  poolkeeper runner remove i-0123456789abcdef0 --org acme")]
    Remove(NamedArgs),
}

/// Options of `runner list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Print one line of JSON for each runner.
    #[arg(long)]
    json: bool,
}

/// Options of `runner get` and `runner remove`.
#[derive(Debug, Args)]
pub(super) struct NamedArgs {
    /// The runner's name: the id of its instance.
    name: String,
    #[command(flatten)]
    service: ServiceArgs,
    /// Print the runner as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: RunnerCommand) -> Result<(), Failure> {
    let service = match &command {
        RunnerCommand::List(args) => &args.service,
        RunnerCommand::Get(args) | RunnerCommand::Remove(args) => &args.service,
    };
    let config = service.load()?;
    runtime::block_on(async move {
        match command {
            RunnerCommand::List(args) => {
                let Service { mut operator, .. } = args.service.open(&config)?;
                print(&list(&mut operator).await?, args.json)
            }
            RunnerCommand::Get(args) => {
                let (_, runner) = find(args.service.open(&config)?, &args).await?;
                print(&[runner], args.json)
            }
            RunnerCommand::Remove(args) => {
                let (mut operator, runner) = find(args.service.open(&config)?, &args).await?;
                let Answer::Done = operator.call(Call::RemoveRunner { id: runner.id }).await? else {
                    return Err(unexpected(CallKind::RemoveRunner));
                };
                if !args.json {
                    writeln!(std::io::stdout().lock(), "removed:")?;
                }
                print(&[runner], args.json)
            }
        }
    })
}

async fn list(operator: &mut Operator) -> Result<Vec<Runner>, Failure> {
    let Answer::Runners(runners) = operator.call(Call::Runners).await? else {
        return Err(unexpected(CallKind::Runners));
    };
    Ok(runners)
}

async fn find(service: Service, args: &NamedArgs) -> Result<(Operator, Runner), Failure> {
    let Service { mut operator, name, .. } = service;
    let Answer::Runner(found) = operator.call(Call::RunnerByName { name: args.name.as_str().into() }).await? else {
        return Err(unexpected(CallKind::RunnerByName));
    };
    let Some(runner) = found else {
        let text = format!("no runner \"{}\" of {} on connection \"{name}\"", args.name, args.service.org);
        return Err(Failure::Failed(text));
    };
    Ok((operator, runner))
}

fn print(runners: &[Runner], json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    for runner in runners {
        if json {
            let text = serde_json::to_string(runner).map_err(|error| Failure::Failed(error.to_string()))?;
            writeln!(out, "{text}")?;
            continue;
        }
        let busy = match runner.busy {
            Some(true) => "busy",
            Some(false) => "idle",
            None => "perhaps busy",
        };
        let Runner { id, name, runner_scale_set_id, status, .. } = runner;
        writeln!(out, "{name}  id {id}  scale set {runner_scale_set_id}  {}  {busy}", status.as_str())?;
    }
    Ok(())
}
