//! A config that changes while the daemon runs: the new one is whole, or the old one stays.

use std::sync::Arc;

use poolkeeper_core::event::Event;
use poolkeeper_shell::config::{self, ConfigProblem, DaemonConfig};
use poolkeeper_shell::systemd;
use poolkeeper_shell::vault::Vault;

use super::Daemon;
use super::open::at_connection;
use crate::github::GitHub;

impl Daemon {
    pub(super) fn reload(&mut self) {
        systemd::reloading();
        match self.read_again() {
            Ok(()) => tracing::info!("config {} read again", self.config_file.display()),
            Err(problem) => tracing::error!("{problem}; the old config stays in force"),
        }
        systemd::ready();
    }

    fn read_again(&mut self) -> Result<(), ConfigProblem> {
        let new = config::load(&self.config_file, std::env::vars())?;
        let vault = Vault::open(&new)?;
        let github = GitHub::open(&new.github, Arc::clone(&self.vault), Arc::clone(&self.telemetry))
            .map_err(|problem| at_connection(&self.config_file, &problem))?;
        self.vault.replace_credentials(vault);
        self.calls.github = github;
        for key in needs_restart(&self.config, &new) {
            tracing::warn!("{}: [{key}] changed: restart the daemon to use it", self.config_file.display());
        }
        let core = new.core.clone();
        self.config = new;
        self.step(Event::Reconfigure(Box::new(core)));
        Ok(())
    }
}

/// The keys that are read at the start only.
fn needs_restart(old: &DaemonConfig, new: &DaemonConfig) -> Vec<&'static str> {
    let changed = [
        ("stack", old.core.stack != new.core.stack),
        ("aws", old.aws != new.aws),
        ("status", old.status != new.status),
        ("journal", old.journal != new.journal),
        ("state_dir", old.state_dir != new.state_dir),
    ];
    changed.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
