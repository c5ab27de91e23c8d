//! Carries out what the machine wants done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use poolkeeper_core::event::{Effect, Event, ExitReason};
use poolkeeper_core::github::request::RequestId;
use poolkeeper_shell::state::Keeper;
use poolkeeper_shell::transport::Peer;
use poolkeeper_shell::vault::Vault;

use crate::aws::Aws;
use crate::github::GitHub;
use crate::inbox::{Inbox, Recall};

pub(super) struct Calls {
    pub(super) github: GitHub,
    pub(super) aws: Aws,
    pub(super) vault: Arc<Vault>,
    pub(super) keeper: Keeper,
    pub(super) inbox: Inbox,
    pub(super) in_flight: BTreeMap<RequestId, Recall>,
    /// Answers to calls that were not sent at all.
    pub(super) unsent: VecDeque<Event>,
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
        match effect {
            Effect::GitHub { id, call, request } => match self.inbox.promise(Peer::GitHub(id)) {
                Ok((promise, recall)) => {
                    self.in_flight.insert(id, recall);
                    self.github.start(id, call, request, promise);
                }
                Err(answer) => self.unsent.push_back(*answer),
            },
            Effect::Aws { id, call } => match self.inbox.promise(Peer::Aws(id)) {
                Ok((promise, _never_called_off)) => self.aws.start(id, call, promise),
                Err(answer) => self.unsent.push_back(*answer),
            },
            Effect::Cancel { id } => {
                if let Some(recall) = self.in_flight.remove(&id) {
                    recall.call_off();
                }
            }
            Effect::Remember { key, value } => self.keeper.remember(key, value),
            Effect::Drop(slot) => self.vault.drop_slot(slot),
            Effect::Note(_) => {}
            Effect::Exit(reason) => return Some(reason),
        }
        None
    }

    pub(super) fn close(self) {
        for (_, recall) in self.in_flight {
            recall.call_off();
        }
        self.keeper.close();
    }
}
