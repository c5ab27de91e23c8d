//! Scopes with their runner groups, and scale sets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use poolkeeper_core::short_text::ShortText;

use super::reply::{BAD_ARGUMENT, GROUP_NOT_FOUND, SET_EXISTS, SET_NOT_FOUND, empty, json, timestamp};
use super::session::Session;
use super::wire::{List, SetRequest, WireGroup, WireJob, WireLabel, WireSet, WireSetting, WireStatistics};
use super::{Fact, GitHub, JobId, queue};
use crate::http::{HttpRequest, HttpResponse};

pub(super) const DEFAULT_GROUP: u64 = 1;
const DEFAULT_GROUP_NAME: &str = "default";
/// The most scale sets one scope may have.
const MAX_SETS: usize = 20_000;
const MAX_NAME: usize = 256;
const MAX_LABELS: usize = 100;

/// What a scope owns.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) id: String,
    pub(super) groups: Vec<(u64, String)>,
    /// Scale sets by name in lower case and runner group.
    pub(super) sets: BTreeMap<(String, u64), u64>,
    pub(super) runners: BTreeMap<ShortText, u64>,
    /// Jobs whose scale set does not exist, by its name.
    pub(super) homeless: BTreeMap<String, BTreeSet<JobId>>,
}

#[derive(Debug)]
pub(super) struct ScaleSet {
    pub(super) id: u64,
    pub(super) scope: String,
    pub(super) name: String,
    /// Where clients reach us, for the URLs in messages.
    pub(super) origin: String,
    pub(super) group: u64,
    pub(super) group_name: String,
    pub(super) labels: Vec<String>,
    pub(super) disable_update: bool,
    pub(super) created_ms: u64,
    pub(super) session: Option<Session>,
    pub(super) last_session: u64,
    /// `X-ScaleSetMaxCapacity` of the newest poll.
    pub(super) capacity: Option<u64>,
    /// Jobs that wait for capacity, or to be acquired.
    pub(super) queued: BTreeSet<JobId>,
    /// Jobs that wait for a runner.
    pub(super) assigned: BTreeSet<JobId>,
    pub(super) running: BTreeSet<JobId>,
    pub(super) runners: BTreeSet<u64>,
    pub(super) idle: BTreeSet<u64>,
    /// Elements that are not yet in a message.
    pub(super) outbox: VecDeque<WireJob>,
    /// Messages that were not acknowledged.
    pub(super) queue: BTreeMap<u64, Vec<u8>>,
    pub(super) last_message: u64,
    pub(super) polls: VecDeque<queue::HeldPoll>,
    pub(super) acknowledged: u64,
    /// The counts as they were when they were last told.
    pub(super) told: WireStatistics,
}

impl ScaleSet {
    pub(super) fn statistics(&self, offers: bool) -> WireStatistics {
        WireStatistics {
            total_available_jobs: if offers { self.queued.len() } else { 0 },
            total_acquired_jobs: 0,
            total_assigned_jobs: self.assigned.len() + self.running.len(),
            total_running_jobs: self.running.len(),
            total_registered_runners: self.runners.len(),
            total_busy_runners: self.running.len(),
            total_idle_runners: self.idle.len(),
        }
    }

    /// The counts for a message or a session: those of the one before when they lag.
    pub(super) fn tell_statistics(&mut self, offers: bool, lag: bool) -> WireStatistics {
        let now = self.statistics(offers);
        let before = std::mem::replace(&mut self.told, now);
        if lag { before } else { now }
    }

    fn key(&self) -> (String, u64) {
        (self.name.to_lowercase(), self.group)
    }
}

impl GitHub {
    /// The URL part of a scope's Actions Service; a scope comes into being when it is first asked for.
    pub(super) fn tenant_of(&mut self, scope: &str) -> String {
        self.tenant_mut(scope).id.clone()
    }

    pub(super) fn tenant_mut(&mut self, scope: &str) -> &mut Tenant {
        let number = self.tenants.len() + 1;
        let more = &self.config.runner_groups;
        self.tenants.entry(scope.to_owned()).or_insert_with(|| {
            let names = std::iter::once(DEFAULT_GROUP_NAME).chain(more.iter().map(String::as_str));
            Tenant {
                id: format!("tenant{number:04}"),
                groups: (DEFAULT_GROUP..).zip(names.map(ToOwned::to_owned)).collect(),
                sets: BTreeMap::new(),
                runners: BTreeMap::new(),
                homeless: BTreeMap::new(),
            }
        })
    }

    pub(super) fn runner_groups(&mut self, scope: &str, name: Option<&str>) -> HttpResponse {
        let tenant = self.tenant_mut(scope);
        let groups = tenant
            .groups
            .iter()
            .filter(|(_, group)| name.is_none_or(|name| group.eq_ignore_ascii_case(name)))
            .map(|(id, group)| WireGroup {
                id: *id,
                name: group.clone(),
                size: tenant.sets.keys().filter(|(_, of)| of == id).count(),
                is_default_group: *id == DEFAULT_GROUP,
            })
            .collect();
        json(200, &List::of(groups))
    }

    pub(super) fn list_sets(
        &mut self,
        origin: &str,
        scope: &str,
        group: Option<u64>,
        name: Option<&str>,
    ) -> HttpResponse {
        let tenant = self.tenant_mut(scope);
        let wanted = name.map(str::to_lowercase);
        let ids: Vec<u64> = match &wanted {
            Some(name) => tenant
                .sets
                .range((name.clone(), 0)..=(name.clone(), u64::MAX))
                .map(|(key, id)| (key.1, *id))
                .filter(|(of, _)| group.is_none_or(|group| group == *of))
                .map(|(_, id)| id)
                .collect(),
            None => tenant
                .sets
                .iter()
                .filter(|((_, of), _)| group.is_none_or(|group| group == *of))
                .map(|(_, id)| *id)
                .collect(),
        };
        let sets: Vec<WireSet> =
            ids.iter().filter_map(|id| self.sets.get(id)).map(|s| self.wire_set(s, origin)).collect();
        json(200, &List::of(sets))
    }

    pub(super) fn create_set(&mut self, request: &HttpRequest, scope: &str) -> HttpResponse {
        let wanted = match set_request(request) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal,
        };
        let Some(name) = wanted.name.filter(|name| !name.is_empty() && name.len() <= MAX_NAME) else {
            return BAD_ARGUMENT.reply("The runner scale set needs a name.");
        };
        let group = wanted.runner_group_id.unwrap_or(DEFAULT_GROUP);
        let now_ms = self.now.unix_ms;
        let id = self.last_set + 1;
        let tenant = self.tenant_mut(scope);
        let Some((_, group_name)) = tenant.groups.iter().find(|(known, _)| *known == group) else {
            return GROUP_NOT_FOUND.reply(&format!("The runner group {group} was not found."));
        };
        let group_name = group_name.clone();
        let key = (name.to_lowercase(), group);
        if tenant.sets.contains_key(&key) || tenant.sets.len() >= MAX_SETS {
            return SET_EXISTS.reply(&format!("Runner scale set {name} already exists."));
        }
        let lower_name = key.0.clone();
        tenant.sets.insert(key, id);
        let waiting = tenant.homeless.remove(&lower_name).unwrap_or_default();
        self.last_set = id;
        let labels = wanted.labels.map_or_else(Vec::new, |l| l.into_iter().map(|l| l.name).collect());
        let set = ScaleSet {
            id,
            scope: scope.to_owned(),
            labels: if labels.is_empty() { vec![name.clone()] } else { labels },
            name,
            origin: request.origin.clone(),
            group,
            group_name,
            disable_update: wanted.runner_setting.unwrap_or_default().disable_update,
            created_ms: now_ms,
            session: None,
            last_session: 0,
            capacity: None,
            queued: BTreeSet::new(),
            assigned: BTreeSet::new(),
            running: BTreeSet::new(),
            runners: BTreeSet::new(),
            idle: BTreeSet::new(),
            outbox: VecDeque::new(),
            queue: BTreeMap::new(),
            last_message: 0,
            polls: VecDeque::new(),
            acknowledged: 0,
            told: WireStatistics::default(),
        };
        let reply = json(200, &self.wire_set(&set, &request.origin));
        self.facts.push(Fact::SetCreated { key: set.key_of() });
        self.sets.insert(id, set);
        for job in waiting {
            self.house(job, id);
        }
        reply
    }

    pub(super) fn show_set(&self, origin: &str, set: u64) -> HttpResponse {
        match self.sets.get(&set) {
            Some(set) => json(200, &self.wire_set(set, origin)),
            None => set_not_found(set),
        }
    }

    pub(super) fn update_set(&mut self, request: &HttpRequest, id: u64) -> HttpResponse {
        let wanted = match set_request(request) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal,
        };
        let Some(set) = self.sets.get(&id) else { return set_not_found(id) };
        let (scope, old_key) = (set.scope.clone(), set.key());
        let name = wanted.name.filter(|n| !n.is_empty()).unwrap_or_else(|| set.name.clone());
        let group = wanted.runner_group_id.unwrap_or(set.group);
        let new_key = (name.to_lowercase(), group);
        let create_only = self.config.labels_create_only;
        let tenant = self.tenant_mut(&scope);
        let Some((_, group_name)) = tenant.groups.iter().find(|(known, _)| *known == group) else {
            return GROUP_NOT_FOUND.reply(&format!("The runner group {group} was not found."));
        };
        let group_name = group_name.clone();
        if new_key != old_key && tenant.sets.contains_key(&new_key) {
            return SET_EXISTS.reply(&format!("Runner scale set {name} already exists."));
        }
        tenant.sets.remove(&old_key);
        tenant.sets.insert(new_key, id);
        if let Some(set) = self.sets.get_mut(&id) {
            (set.name, set.group, set.group_name) = (name, group, group_name);
            if let Some(labels) = wanted.labels.filter(|l| !create_only && !l.is_empty()) {
                set.labels = labels.into_iter().map(|label| label.name).collect();
            }
            if let Some(setting) = wanted.runner_setting {
                set.disable_update = setting.disable_update;
            }
        }
        self.show_set(&request.origin, id)
    }

    /// Deletes a scale set as a client's call does, or as GitHub's retention would.
    pub(super) fn delete_set(&mut self, id: u64) -> HttpResponse {
        self.drop_session(id);
        let Some(set) = self.sets.remove(&id) else { return set_not_found(id) };
        self.stirred.remove(&id);
        for runner in &set.runners {
            self.forget_runner(*runner);
        }
        let key = set.key();
        let tenant = self.tenant_mut(&set.scope);
        tenant.sets.remove(&key);
        let waiting: BTreeSet<JobId> = set.queued.union(&set.assigned).copied().collect();
        for job in &waiting {
            self.unhouse(*job);
        }
        self.tenant_mut(&set.scope).homeless.entry(key.0).or_default().extend(waiting);
        for job in &set.running {
            self.lose_job(*job);
        }
        self.facts.push(Fact::SetDeleted { key: set.key_of() });
        empty(204)
    }

    pub(super) fn wire_set(&self, set: &ScaleSet, origin: &str) -> WireSet {
        let tenant = self.tenants.get(&set.scope).map_or("", |tenant| tenant.id.as_str());
        let path = format!("_services/pipelines/{tenant}/_apis/runtime/runnerscalesets/{}", set.id);
        WireSet {
            id: set.id,
            name: set.name.clone(),
            runner_group_id: set.group,
            runner_group_name: set.group_name.clone(),
            labels: set.labels.iter().map(|name| WireLabel { kind: "System".to_owned(), name: name.clone() }).collect(),
            runner_setting: WireSetting { disable_update: set.disable_update },
            created_on: timestamp(set.created_ms),
            runner_jit_config_url: format!("{origin}/{path}/generatejitconfig"),
            statistics: set.statistics(self.offers()),
        }
    }
}

pub(super) fn set_not_found(id: u64) -> HttpResponse {
    SET_NOT_FOUND.reply(&format!("Runner scale set with identifier {id} was not found."))
}

fn set_request(request: &HttpRequest) -> Result<SetRequest, HttpResponse> {
    let wanted: SetRequest =
        serde_json::from_slice(&request.body).map_err(|_| BAD_ARGUMENT.reply("The body is no runner scale set."))?;
    if wanted.labels.as_ref().is_some_and(|labels| labels.len() > MAX_LABELS) {
        return Err(BAD_ARGUMENT.reply("Too many labels."));
    }
    Ok(wanted)
}
