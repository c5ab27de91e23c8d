//! The loop: one thread owns the machine, other threads carry calls, and one queue brings their ends back.

mod calls;
mod open;
mod reload;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use poolkeeper_core::event::{Effect, Event, ExitReason, Memory};
use poolkeeper_shell::clock::Clock;
use poolkeeper_shell::config::DaemonConfig;
use poolkeeper_shell::control::{BATCH_MAX, Control};
use poolkeeper_shell::driver::Driver;
use poolkeeper_shell::status::StatusServer;
use poolkeeper_shell::vault::Vault;

use crate::inbox::{Inbox, Message};
use calls::Calls;

/// When no timer is set: how long the loop sleeps unless something happens.
const FAR_AWAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A daemon that is ready to run.
pub(crate) struct Daemon {
    config: DaemonConfig,
    config_file: PathBuf,
    driver: Driver,
    calls: Calls,
    vault: Arc<Vault>,
    remembered: Vec<Memory>,
    clock: Clock,
    inbox: Inbox,
    messages: Receiver<Message>,
    effects: Vec<Effect>,
    ended: Option<ExitReason>,
    status: Option<StatusServer>,
}

impl Daemon {
    /// Runs until it is stopped.
    pub(crate) fn run(mut self) -> ExitReason {
        let remembered = std::mem::take(&mut self.remembered);
        self.take(Event::Start { remembered });
        self.follow_up();
        while self.ended.is_none() {
            match self.messages.recv_timeout(self.patience()) {
                Ok(message) => self.absorb(message),
                Err(RecvTimeoutError::Timeout) => self.ring(),
                // The daemon holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close()
    }

    /// Takes a message, and those that wait behind it. Capacity is what somebody waits for: what goes to AWS is on its
    /// way before any acknowledge or poll of the batch.
    fn absorb(&mut self, first: Message) {
        let mut next = Some(first);
        for _ in 0..BATCH_MAX {
            let Some(message) = next.or_else(|| self.messages.try_recv().ok()) else { break };
            next = None;
            match message {
                Message::Event(event) => self.take(*event),
                Message::Control(control) => self.obey(control),
            }
        }
        self.follow_up();
        self.ring();
    }

    fn obey(&mut self, control: Control) {
        self.inbox.heard();
        match control {
            Control::Stop => self.take(Event::Stop),
            Control::Reload => self.reload(),
            Control::Query(query) => self.driver.answer(query, self.clock.now()),
        }
    }

    /// A timer that is due; a queue that never empties must not hold it up.
    fn ring(&mut self) {
        let now = self.clock.now();
        if self.driver.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.take(Event::Tick);
            self.follow_up();
        }
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
                    self.ended = Some(reason);
                }
            }
            match self.calls.unsent() {
                Some(event) => self.take(event),
                None => break,
            }
        }
        self.driver.tell();
    }

    fn patience(&self) -> Duration {
        let wanted = self.driver.poll_timeout().map(|at| self.clock.at(at));
        wanted.map_or(FAR_AWAY, |at| at.saturating_duration_since(Instant::now()))
    }

    fn close(self) -> ExitReason {
        let Self { driver, calls, messages, status, ended, .. } = self;
        drop((messages, status));
        driver.close();
        calls.close();
        ended.unwrap_or(ExitReason::StoppedAtDeadline)
    }
}
