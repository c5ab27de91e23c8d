//! A config that changes while the daemon runs: the new one is whole, or the old one stays.

use poolkeeper_core::event::Event;
use poolkeeper_shell::config::{self, ConfigProblem};
use poolkeeper_shell::start::warn_of_restart;
use poolkeeper_shell::systemd;
use poolkeeper_shell::vault::Vault;

use super::Daemon;

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
        let new = config::load(&self.config_file, config::environment())?;
        let vault = Vault::open(&new)?;
        let github = self.calls.github.reopened(&new.github).map_err(|problem| problem.in_config(&self.config_file))?;
        self.vault.replace_credentials(vault);
        self.calls.github = github;
        warn_of_restart(&self.config, &new, &self.config_file);
        let core = new.core.clone();
        self.config = new;
        self.take(Event::Reconfigure(Box::new(core)));
        Ok(())
    }
}
