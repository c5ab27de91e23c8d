//! `poolkeeper explain`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use poolkeeper_core::notice::PoolId;
use poolkeeper_shell::journal::{Until, expand, until};
use poolkeeper_shell::status::{Page, reachable};
use poolkeeper_shell::story::{Names, Subject, is_named, standing, tell};
use serde::Serialize;

use super::{ConfigArgs, Failure, runtime};

/// How long the daemon may take for one page of pools.
const PAGE_DEADLINE: Duration = Duration::from_secs(10);
/// The most pages a walk over all pools takes.
const MAX_PAGES: usize = 1_000;

/// Options of `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// An instance's id; a pool's group, scale set or ORG/POOL; or a job's id.
    #[arg(value_name = "INSTANCE|POOL|JOB")]
    subject: String,
    /// Read this journal, a directory or a file, instead of the config's.
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    journal: Option<PathBuf>,
    /// Ask the daemon whose status server is there; it tells of pools alone.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Stop before this step of the journal, counted from 1, or before this time (RFC 3339); what cannot be read is then
    /// passed over.
    #[arg(long, value_name = "STEP|TIME", value_parser = until)]
    until: Option<Until>,
    /// Print one JSON object: the story with its entries, or the pool and the daemon's time as its /api/pools has them.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Where the story comes from.
enum Source {
    Journal(PathBuf),
    Daemon(String),
}

pub(super) fn run(args: ExplainArgs) -> Result<(), Failure> {
    let subject = Subject::read(&args.subject);
    match source(&args)? {
        Source::Journal(path) => from_journal(&path, &subject, &args),
        Source::Daemon(url) => {
            let Subject::Pool(name) = subject else {
                let mend = "add --journal PATH, or [journal] dir to the config";
                return Err(Failure::Config(format!(
                    "a running daemon tells of pools; {subject} is in its journal; {mend}"
                )));
            };
            runtime::block_on(async move { from_daemon(&url, &name, args.json).await })
        }
    }
}

/// What was asked for: else the journal of the config, or its status server where it keeps no journal.
fn source(args: &ExplainArgs) -> Result<Source, Failure> {
    if let Some(path) = &args.journal {
        return Ok(Source::Journal(path.clone()));
    }
    if let Some(url) = &args.url {
        return Ok(Source::Daemon(url.clone()));
    }
    let config = args.config.load()?;
    if let Some(journal) = config.journal {
        return Ok(Source::Journal(journal.dir));
    }
    let Some(listen) = config.status.listen else {
        let what = "the config has neither [journal] dir nor [status] listen";
        return Err(Failure::Config(format!("{what}; add --journal PATH or --url URL")));
    };
    Ok(Source::Daemon(format!("http://{}", reachable(listen))))
}

fn from_journal(path: &std::path::Path, subject: &Subject, args: &ExplainArgs) -> Result<(), Failure> {
    let ExplainArgs { until, json, .. } = *args;
    let files = expand(&[path.to_owned()]).map_err(Failure::Config)?;
    let told = tell(&files, subject, until);
    if let Some(error) = told.bad.as_ref().filter(|_| until.is_none()) {
        let mend = format!("what can be read is told with --until {}", told.steps + 1);
        return Err(Failure::Config(format!("{error}; {mend}")));
    }
    let unknown = match told.story {
        Ok(story) => {
            if json { say_json(&story) } else { say(&story) }?;
            None
        }
        Err(unknown) => Some(unknown),
    };
    match (told.bad, unknown) {
        (None, None) => Ok(()),
        (None, Some(unknown)) => Err(Failure::Failed(unknown)),
        (Some(error), None) => Err(Failure::Config(error.to_string())),
        (Some(error), Some(unknown)) => Err(Failure::Config(format!("{error}; {unknown}"))),
    }
}

/// Prints it all, or as much as the reader at the other end of a pipe wants.
fn say(text: &dyn std::fmt::Display) -> Result<(), Failure> {
    match write!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn say_json(what: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(what).map_err(|error| Failure::Failed(format!("no JSON: {error}")))?;
    say(&(text + "\n"))
}

async fn from_daemon(url: &str, name: &str, json: bool) -> Result<(), Failure> {
    let base = url.trim_end_matches('/');
    let client = reqwest::Client::builder().no_proxy().timeout(PAGE_DEADLINE).build();
    let client = client.map_err(|error| Failure::Failed(format!("no HTTP client: {error}")))?;
    let mut names = Names::default();
    let mut after = None;
    for _ in 0..MAX_PAGES {
        let page = page(&client, base, after).await?;
        if let Some(pool) = page.pools.iter().find(|pool| is_named(pool, name)) {
            if json {
                return say_json(&serde_json::json!({ "now": page.now, "pool": pool }));
            }
            return say(&(standing(pool, page.now.mono).join("\n") + "\n"));
        }
        page.pools.iter().for_each(|pool| names.meet_pool(pool));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Err(Failure::Failed(format!("the daemon at {base} knows no pool {name}{}", names.nearest(name))))
}

async fn page(client: &reqwest::Client, base: &str, after: Option<PoolId>) -> Result<Page, Failure> {
    let after = after.map(|PoolId(id)| format!("?after={id}")).unwrap_or_default();
    let url = format!("{base}/api/pools{after}");
    let failed = |what: &dyn std::fmt::Display| {
        let mend = "is that the [status] listen of a running daemon?";
        Failure::Failed(format!("{url}: {what}; {mend}"))
    };
    let reply = client.get(&url).send().await.map_err(|error| failed(&root(&error)))?;
    let status = reply.status();
    let body = reply.bytes().await.map_err(|error| failed(&root(&error)))?;
    if !status.is_success() {
        return Err(failed(&format!("HTTP {status}")));
    }
    serde_json::from_slice(&body).map_err(|error| failed(&format!("its answer does not parse: {error}")))
}

/// What is at the bottom of an error: the layers above it name the URL again.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
