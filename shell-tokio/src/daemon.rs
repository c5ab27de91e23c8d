//! The loop: one task owns the machine, one task carries each call, and one queue brings the ends back.

mod calls;
mod open;
mod plan;
mod reload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use poolkeeper_core::event::{Effect, Event, ExitReason, Memory};
use poolkeeper_shell::clock::Clock;
use poolkeeper_shell::config::DaemonConfig;
use poolkeeper_shell::control::{BATCH_MAX, Control};
use poolkeeper_shell::driver::Driver;
use poolkeeper_shell::status::{Query, StatusServer};
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use calls::Calls;
use plan::Withheld;
pub use plan::{Plan, PlannedPool, Standing};

/// When no timer is set: how long the loop sleeps unless something happens.
const FAR_AWAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reaches a running daemon.
#[derive(Clone, Debug)]
pub struct Handle {
    controls: mpsc::Sender<Control>,
    stop: Arc<Notify>,
    status: Option<SocketAddr>,
}

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the config was read from, and is read again.
    pub config_file: PathBuf,
    /// Where the machine's random numbers begin.
    pub seed: u64,
    /// Read only, and end with a plan.
    pub dry_run: bool,
    /// AWS credentials to use instead of those the SDK finds.
    pub credentials: Option<SharedCredentialsProvider>,
}

/// How the daemon ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped.
    Stopped(ExitReason),
    /// It was a dry run, and this is what it found.
    Planned(Plan),
}

/// A daemon that is ready to run.
pub struct Daemon {
    config: DaemonConfig,
    config_file: PathBuf,
    driver: Driver,
    calls: Calls,
    vault: Arc<Vault>,
    telemetry: Arc<Telemetry>,
    remembered: Vec<Memory>,
    clock: Clock,
    events: mpsc::Receiver<Event>,
    controls: mpsc::Receiver<Control>,
    /// Beside the queue of controls, where a request to stop might find no room.
    stop: Arc<Notify>,
    effects: Vec<Effect>,
    ended: Option<Ended>,
    status: Option<StatusServer>,
}

impl Handle {
    /// Asks the daemon to end in order; `false` when it is gone.
    #[must_use]
    pub fn stop(&self) -> bool {
        self.stop.notify_one();
        !self.controls.is_closed()
    }

    /// Asks the daemon to read its config file again; `false` when it is gone or swamped.
    #[must_use]
    pub fn reload(&self) -> bool {
        self.controls.try_send(Control::Reload).is_ok()
    }

    /// Asks for a page of pools; `false` when the daemon is gone or swamped.
    #[must_use]
    pub fn query(&self, query: Query) -> bool {
        self.controls.try_send(Control::Query(query)).is_ok()
    }

    /// Where the status server listens, if there is one.
    #[must_use]
    pub const fn status_addr(&self) -> Option<SocketAddr> {
        self.status
    }
}

impl Daemon {
    /// Runs until it is stopped, or until its plan is complete.
    pub async fn run(mut self) -> Ended {
        let remembered = std::mem::take(&mut self.remembered);
        self.step(Event::Start { remembered });
        let timer = tokio::time::sleep(FAR_AWAY);
        tokio::pin!(timer);
        while self.ended.is_none() {
            let wanted = self.wanted_at();
            if timer.deadline() != wanted {
                timer.as_mut().reset(wanted);
            }
            tokio::select! {
                Some(event) = self.events.recv() => self.absorb(event).await,
                Some(control) = self.controls.recv() => self.obey(control),
                () = self.stop.notified() => self.obey(Control::Stop),
                () = &mut timer => self.ring(),
            }
        }
        self.close()
    }

    /// Takes an answer, and those that come before all tasks that are ready have had their turn. Capacity is what
    /// somebody waits for: what goes to AWS is on its way before any acknowledge or poll of the batch.
    async fn absorb(&mut self, first: Event) {
        self.take(first);
        let mut taken = 1;
        while taken < BATCH_MAX {
            tokio::task::yield_now().await;
            let Ok(event) = self.events.try_recv() else { break };
            self.take(event);
            taken += 1;
            while taken < BATCH_MAX
                && let Ok(event) = self.events.try_recv()
            {
                self.take(event);
                taken += 1;
            }
        }
        self.follow_up();
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Stop => self.step(Event::Stop),
            Control::Reload => self.reload(),
            Control::Query(query) => self.driver.answer(query, self.clock.now()),
        }
    }

    fn ring(&mut self) {
        let now = self.clock.now();
        if self.driver.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.step(Event::Tick);
        }
    }

    /// One step of the machine, and all that follows from it.
    fn step(&mut self, event: Event) {
        self.take(event);
        self.follow_up();
    }

    /// One step of the machine; what goes to AWS is sent, the other effects wait in order.
    fn take(&mut self, event: Event) {
        if self.ended.is_some() {
            return;
        }
        self.calls.ended(&event);
        let before = self.effects.len();
        self.driver.step(self.clock.now(), event, &mut self.effects);
        for call in self.effects.extract_if(before.., |effect| matches!(effect, Effect::Aws { .. })) {
            self.calls.carry_out(call);
        }
    }

    /// Carries out what waits; then there is time for logs and metrics.
    fn follow_up(&mut self) {
        loop {
            for effect in self.effects.drain(..) {
                if let Some(reason) = self.calls.carry_out(effect) {
                    self.ended = Some(Ended::Stopped(reason));
                }
            }
            match self.calls.unsent() {
                Some(event) => self.take(event),
                None => break,
            }
        }
        self.driver.tell();
        if let Some(plan) = self.calls.plan(self.driver.machine()) {
            self.ended = Some(Ended::Planned(plan));
        }
    }

    fn wanted_at(&self) -> Instant {
        self.driver.poll_timeout().map_or_else(|| Instant::now() + FAR_AWAY, |at| self.clock.at(at).into())
    }

    fn close(self) -> Ended {
        let Self { driver, calls, events, controls, status, ended, .. } = self;
        drop((events, controls, status));
        driver.close();
        calls.close();
        ended.unwrap_or(Ended::Stopped(ExitReason::StoppedAtDeadline))
    }
}
