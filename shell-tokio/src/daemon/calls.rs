//! Carries out what the machine wants done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event, ExitReason};
use poolkeeper_core::github::request::RequestId;
use poolkeeper_shell::state::Keeper;
use poolkeeper_shell::vault::Vault;
use tokio::task::AbortHandle;

use super::{Plan, Withheld};
use crate::aws::Aws;
use crate::github::GitHub;
use crate::inbox::Inbox;

pub(super) struct Calls {
    pub(super) github: GitHub,
    pub(super) aws: Aws,
    pub(super) vault: Arc<Vault>,
    pub(super) keeper: Keeper,
    pub(super) inbox: Inbox,
    pub(super) in_flight: BTreeMap<RequestId, AbortHandle>,
    /// Answers to calls that were not sent at all.
    pub(super) unsent: VecDeque<Event>,
    /// In a dry run: what was not carried out.
    pub(super) withheld: Option<Withheld>,
}

impl Calls {
    /// Notes that a call is over.
    pub(super) fn ended(&mut self, event: &Event) {
        if let Event::GitHubReply { id, .. } = event {
            self.in_flight.remove(id);
        }
    }

    /// The next answer to a call that was not sent.
    pub(super) fn unsent(&mut self) -> Option<Event> {
        self.unsent.pop_front()
    }

    /// Carries out one effect; the reason when it is the last one.
    pub(super) fn carry_out(&mut self, effect: Effect) -> Option<ExitReason> {
        let effect = match &mut self.withheld {
            Some(withheld) => withheld.admit(effect, &mut self.unsent)?,
            None => effect,
        };
        match effect {
            Effect::GitHub { id, call, request } => match self.inbox.github(id) {
                Ok(promise) => {
                    let handle = self.github.start(id, call, request, promise);
                    self.in_flight.insert(id, handle);
                }
                Err(answer) => self.unsent.push_back(*answer),
            },
            Effect::Aws { id, call } => match self.inbox.aws(id) {
                Ok(promise) => self.aws.start(id, call, promise),
                Err(answer) => self.unsent.push_back(*answer),
            },
            Effect::Cancel { id } => {
                if let Some(call) = self.in_flight.get(&id) {
                    call.abort();
                }
            }
            Effect::Remember { key, value } => self.keeper.remember(key, value),
            Effect::Drop(slot) => self.vault.drop_slot(slot),
            Effect::Note(_) => {}
            Effect::Exit(reason) => return Some(reason),
        }
        None
    }

    /// In a dry run: the plan, once it is complete.
    pub(super) fn plan(&self, machine: &Machine) -> Option<Plan> {
        self.withheld.as_ref()?.plan(machine)
    }

    pub(super) fn close(self) {
        for call in self.in_flight.values() {
            call.abort();
        }
        self.keeper.close();
    }
}
