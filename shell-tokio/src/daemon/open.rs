//! Makes a daemon of its config.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use poolkeeper_core::event::Event;
use poolkeeper_shell::clock::Clock;
use poolkeeper_shell::config::DaemonConfig;
use poolkeeper_shell::control::{CONTROLS_MAX, Control};
use poolkeeper_shell::start::{self, StartProblem};
use poolkeeper_shell::state::State;
use poolkeeper_shell::status::{Query, StatusServer};
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use tokio::sync::{Notify, mpsc};

use super::calls::Calls;
use super::{Daemon, Handle, Options, Withheld};
use crate::aws::Aws;
use crate::github::GitHub;
use crate::inbox::Inbox;

impl Daemon {
    /// Opens all that the daemon needs; nothing is sent to anyone yet.
    ///
    /// # Errors
    /// When the config asks for what is not there, or the status server's address is taken.
    pub async fn open(config: DaemonConfig, options: Options) -> Result<(Self, Handle), StartProblem> {
        let telemetry = Arc::new(Telemetry::new(&config.core.stack));
        let vault = Arc::new(Vault::open(&config)?);
        let github = GitHub::open(&config.github, Arc::clone(&vault), Arc::clone(&telemetry))
            .map_err(|problem| problem.in_config(&options.config_file))?;
        let aws = Aws::open(
            &config.aws,
            &options.config_file,
            &config.core.stack,
            Arc::clone(&vault),
            options.credentials.clone(),
            Arc::clone(&telemetry),
        )
        .await?;
        let (inbox, events) = Inbox::new();
        let kept_dir = if options.dry_run { None } else { config.state_dir.as_deref() };
        let state = State::open(kept_dir)?;
        warn(&config, &state, &options);
        let remembered = state.memories();
        let answers = inbox.events();
        let keeper = state
            .start(move |key, ok| {
                let _loop_is_gone = answers.blocking_send(Event::Remembered { key, ok });
            })
            .map_err(|error| StartProblem::failed("no thread for the state directory", &error))?;
        let (controls, obeyed) = mpsc::channel(CONTROLS_MAX);
        let status = status(&config, &options, &controls, &telemetry)?;
        let stop = Arc::<Notify>::default();
        let status_addr = status.as_ref().map(StatusServer::local_addr);
        let handle = Handle { controls, stop: Arc::clone(&stop), status: status_addr };
        let driver = start::driver(&config, options.seed, !options.dry_run, &telemetry);
        let calls = Calls {
            github,
            aws,
            vault: Arc::clone(&vault),
            keeper,
            inbox,
            in_flight: BTreeMap::new(),
            unsent: VecDeque::new(),
            withheld: options.dry_run.then(Withheld::default),
        };
        let daemon = Self {
            config,
            config_file: options.config_file,
            driver,
            calls,
            vault,
            telemetry,
            remembered,
            clock: Clock::start(),
            events,
            controls: obeyed,
            stop,
            effects: Vec::new(),
            ended: None,
            status,
        };
        Ok((daemon, handle))
    }
}

fn status(
    config: &DaemonConfig,
    options: &Options,
    controls: &mpsc::Sender<Control>,
    telemetry: &Arc<Telemetry>,
) -> Result<Option<StatusServer>, StartProblem> {
    let Some(listen) = config.status.listen.filter(|_| !options.dry_run) else {
        return Ok(None);
    };
    let controls = controls.clone();
    let ask = move |query: Query| controls.try_send(Control::Query(query)).is_ok();
    let server = StatusServer::start(listen, Box::new(ask), Arc::clone(telemetry))
        .map_err(|error| StartProblem::no_status_server(listen, &error))?;
    tracing::info!("status, metrics and API on http://{}", server.local_addr());
    Ok(Some(server))
}

fn warn(config: &DaemonConfig, state: &State, options: &Options) {
    for hint in &config.hints {
        tracing::warn!("{hint}");
    }
    if let Some(warning) = state.warning().filter(|_| !options.dry_run) {
        tracing::warn!("{warning}");
    }
}
