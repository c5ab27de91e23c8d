//! Warm pools and launch hooks: instances that stand by, and those that are held on their way into service.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poolkeeper_core::aws::{LifecycleState, WARM_MEMBERS_A_PAGE, WarmMember};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Instant, Now};

use super::fleet::Step;
use super::groups::name_of_token;
use super::{ApiError, Aws, Cause};

const PENDING: &str = "Warmed:Pending";
const STOPPED: &str = "Warmed:Stopped";

/// A group's warm pool.
#[derive(Clone, Debug)]
pub(super) struct WarmPoolModel {
    size: u32,
    members: BTreeMap<ShortText, &'static str>,
    /// Those that left the pool and are not in service yet.
    leaving: BTreeSet<ShortText>,
}

impl WarmPoolModel {
    pub(super) const fn new(size: u32) -> Self {
        Self { size, members: BTreeMap::new(), leaving: BTreeSet::new() }
    }

    /// An instance has come into service; whether it came from here.
    pub(super) fn lets_go(&mut self, id: &str) -> bool {
        self.leaving.remove(id)
    }
}

impl Aws {
    /// A prepared instance of the group's warm pool, which leaves it.
    pub(super) fn take_warm(&mut self, name: &str) -> Option<ShortText> {
        let pool = self.warm.get_mut(name)?;
        let id = pool.members.iter().find(|(_, state)| **state == STOPPED)?.0.clone();
        pool.members.remove(&id);
        pool.leaving.insert(id.clone());
        Some(id)
    }

    /// Launches into the warm pool what it lacks.
    pub(super) fn refill(&mut self, at: Instant, name: &str) {
        let Some(pool) = self.warm.get(name) else { return };
        let size = usize::try_from(pool.size).unwrap_or(usize::MAX);
        for _ in pool.members.len()..size {
            let (id, ready) = (self.fresh_id(), at + self.boot_time());
            if let Some(pool) = self.warm.get_mut(name) {
                pool.members.insert(id.clone(), PENDING);
            }
            self.schedule(ready, name, &id, Step::Warm);
        }
    }

    pub(super) fn warmed(&mut self, name: &str, id: &str) {
        if let Some(state) = self.warm.get_mut(name).and_then(|pool| pool.members.get_mut(id)) {
            *state = STOPPED;
        }
    }

    /// A page of the members of a group's warm pool.
    pub(super) fn warm_members(
        &self,
        name: &str,
        max_records: Option<usize>,
        next_token: Option<&str>,
    ) -> Result<(Vec<WarmMember>, Option<String>), ApiError> {
        let n = max_records.unwrap_or(WARM_MEMBERS_A_PAGE);
        if !(1..=WARM_MEMBERS_A_PAGE).contains(&n) {
            return Err(ApiError::validation(format!("MaxRecords must be between 1 and {WARM_MEMBERS_A_PAGE}")));
        }
        if self.truth.group(name).is_none() {
            return Err(ApiError::no_group(name));
        }
        let after = next_token.map(name_of_token).transpose()?;
        let all = self.warm.get(name).into_iter().flat_map(|pool| &pool.members);
        let later = all.filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after));
        let mut members: Vec<WarmMember> =
            later.take(n + 1).map(|(id, state)| WarmMember { id: id.clone(), state: (*state).into() }).collect();
        let more = members.len() > n;
        members.truncate(n);
        let next_token = members.last().filter(|_| more).map(|last| STANDARD.encode(last.id.as_bytes()));
        Ok((members, next_token))
    }

    /// Lets an instance go on that a launch hook holds.
    pub(super) fn complete_hook(&mut self, now: Now, name: &str, hook: &str, id: &str) -> Result<(), ApiError> {
        let known = self.hooks.get(name).is_some_and(|known| known == hook);
        let Some(group) = self.truth.group_mut(name).filter(|_| known) else {
            let message = format!("No active Lifecycle Action found with hook {hook} of group {name}");
            return Err(ApiError::validation(message));
        };
        let protected = group.new_instances_protected;
        let Some(instance) = group.instances.iter_mut().find(|instance| instance.id == id && instance.waits) else {
            return Err(ApiError::validation(format!("No active Lifecycle Action found with instance ID {id}")));
        };
        instance.waits = false;
        instance.state = LifecycleState::InService;
        instance.protected = protected;
        self.came_up(now.mono, name, id);
        Ok(())
    }

    /// Nobody completed the hook: its instance is given up, and another one launched.
    pub(super) fn give_up_hook(&mut self, at: Instant, name: &str, id: &str) {
        let Some(group) = self.truth.group_mut(name) else { return };
        let Some(instance) = group.instances.iter_mut().find(|instance| instance.id == id && instance.waits) else {
            return;
        };
        instance.waits = false;
        self.start_termination(at, name, id, Cause::FailedBoot);
        self.reconcile(at, name);
        self.publish(at, name);
    }
}
