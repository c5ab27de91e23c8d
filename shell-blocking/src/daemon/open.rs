//! Makes a daemon of its config.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use poolkeeper_core::event::Event;
use poolkeeper_shell::clock::Clock;
use poolkeeper_shell::config::DaemonConfig;
use poolkeeper_shell::control::Control;
use poolkeeper_shell::start::{self, StartProblem};
use poolkeeper_shell::state::State;
use poolkeeper_shell::status::{Query, StatusServer};
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;

use super::Daemon;
use super::calls::Calls;
use crate::aws::Aws;
use crate::github::GitHub;
use crate::http::Dns;
use crate::inbox::Inbox;

impl Daemon {
    /// Opens all that the daemon needs; nothing is sent to GitHub yet. The second value asks things of it.
    ///
    /// # Errors
    /// When the config asks for what is not there, or the status server's address is taken.
    pub(crate) fn open(config: DaemonConfig, config_file: PathBuf) -> Result<(Self, Inbox), StartProblem> {
        let telemetry = Arc::new(Telemetry::new(&config.core.stack));
        let vault = Arc::new(Vault::open(&config)?);
        let dns = Dns::new();
        let github = GitHub::open(&config.github, &dns, &vault, &telemetry)
            .map_err(|problem| problem.in_config(&config_file))?;
        let aws = Aws::open(&config, &config_file, &dns, &vault, &telemetry)?;
        let (inbox, messages) = Inbox::new();
        let state = State::open(config.state_dir.as_deref())?;
        for hint in &config.hints {
            tracing::warn!("{hint}");
        }
        if let Some(warning) = state.warning() {
            tracing::warn!("{warning}");
        }
        let remembered = state.memories();
        let answers = inbox.clone();
        let keeper = state
            .start(move |key, ok| answers.tell(Event::Remembered { key, ok }))
            .map_err(|error| StartProblem::failed("no thread for the state directory", &error))?;
        let status = status(&config, &inbox, &telemetry)?;
        let driver = start::driver(&config, start::seed(), true, &telemetry);
        let calls = Calls {
            github,
            aws,
            vault: Arc::clone(&vault),
            keeper,
            inbox: inbox.clone(),
            in_flight: BTreeMap::new(),
            unsent: VecDeque::new(),
        };
        let daemon = Self {
            config,
            config_file,
            driver,
            calls,
            vault,
            remembered,
            clock: Clock::start(),
            inbox: inbox.clone(),
            messages,
            effects: Vec::new(),
            ended: None,
            status,
        };
        Ok((daemon, inbox))
    }
}

fn status(
    config: &DaemonConfig,
    inbox: &Inbox,
    telemetry: &Arc<Telemetry>,
) -> Result<Option<StatusServer>, StartProblem> {
    let Some(listen) = config.status.listen else { return Ok(None) };
    let inbox = inbox.clone();
    let ask = move |query: Query| inbox.ask(Control::Query(query));
    let server = StatusServer::start(listen, Box::new(ask), Arc::clone(telemetry))
        .map_err(|error| StartProblem::no_status_server(listen, &error))?;
    tracing::info!("status, metrics and API on http://{}", server.local_addr());
    Ok(Some(server))
}
