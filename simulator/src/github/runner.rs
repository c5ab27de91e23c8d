//! Runners: registered by a JIT config or by an instance, busy with one job, gone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poolkeeper_core::short_text::ShortText;

use super::reply::{AGENT_EXISTS, AGENT_NOT_FOUND, BAD_ARGUMENT, JOB_STILL_RUNNING, empty, json};
use super::scale_set::set_not_found;
use super::token::MARKER;
use super::view::SetKey;
use super::wire::{JitRequest, List, WireJitConfig, WireRunner};
use super::{Fact, GitHub, JobId};
use crate::http::{HttpRequest, HttpResponse};

const RUNNER_VERSION: &str = "2.330.0";
const MAX_NAME: usize = 128;
/// A JIT config is a few kilobytes: this much filler makes the model's as long.
const JIT_FILLER: usize = 3000;

#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) id: u64,
    pub(super) name: ShortText,
    pub(super) scope: String,
    pub(super) set: u64,
    pub(super) online: bool,
    pub(super) job: Option<JobId>,
}

impl Runner {
    fn wire(&self) -> WireRunner {
        WireRunner {
            id: self.id,
            name: self.name.clone(),
            runner_scale_set_id: self.set,
            status: if self.online { "online" } else { "offline" },
            busy: self.job.is_some(),
            version: RUNNER_VERSION,
        }
    }
}

impl GitHub {
    /// An instance comes up with a runner of its own: registered under its name, online, ready for one job.
    ///
    /// False when the scale set does not exist, or a runner of that name belongs to another one.
    pub fn connect_runner(&mut self, key: &SetKey, name: &str) -> bool {
        let Some(set_id) = self.find_set(key) else { return false };
        let id = match self.tenant_mut(&key.scope).runners.get(name).copied() {
            Some(id) => id,
            None => self.register(set_id, name),
        };
        let Some(runner) = self.runners.get_mut(&id).filter(|runner| runner.set == set_id) else {
            return false;
        };
        if !runner.online {
            runner.online = true;
            if let Some(set) = self.sets.get_mut(&set_id) {
                set.idle.insert(id);
            }
            self.start_jobs(set_id);
        }
        true
    }

    /// The machine of a runner is gone: its job is lost, and it is deregistered.
    pub fn lose_runner(&mut self, scope: &str, name: &str) {
        let Some(id) = self.tenant_mut(scope).runners.get(name).copied() else { return };
        match self.runners.get(&id).and_then(|runner| runner.job) {
            Some(job) => self.lose_job(job),
            None => self.forget_runner(id),
        }
    }

    /// The machine of a runner with a config of its own is gone: its job is lost. One that has no job stays registered.
    pub fn lose_machine(&mut self, scope: &str, name: &str) {
        let Some(id) = self.tenant_mut(scope).runners.get(name).copied() else { return };
        let Some(runner) = self.runners.get_mut(&id) else { return };
        runner.online = false;
        if let Some(set) = self.sets.get_mut(&runner.set) {
            set.idle.remove(&id);
        }
        if let Some(job) = runner.job {
            self.lose_job(job);
        }
    }

    /// A runner starts with the config it was given, online and ready for one job: the set it is of. None when the
    /// runner is not registered any more.
    pub fn start_runner(&mut self, config: &str) -> Option<SetKey> {
        let id = runner_of(config)?;
        let runner = self.runners.get_mut(&id).filter(|runner| !runner.online)?;
        runner.online = true;
        let set_id = runner.set;
        let set = self.sets.get_mut(&set_id)?;
        set.idle.insert(id);
        let key = set.key_of();
        self.start_jobs(set_id);
        Some(key)
    }

    /// The runners of that name: the scale set of each, and whether it is online.
    pub fn runners_named(&self, name: &str) -> impl Iterator<Item = (u64, bool)> {
        let ids = self.tenants.values().filter_map(move |tenant| tenant.runners.get(name));
        ids.filter_map(|id| self.runners.get(id)).map(|runner| (runner.set, runner.online))
    }

    /// The names of all runners.
    pub fn runner_names(&self) -> impl Iterator<Item = &str> {
        self.runners.values().map(|runner| runner.name.as_str())
    }

    /// The names of the runners of a scale set, and whether each is online.
    #[must_use]
    pub fn runners_of(&self, key: &SetKey) -> Vec<(&str, bool)> {
        let Some(set) = self.find_set(key) else { return Vec::new() };
        let of_set = self.runners.values().filter(|runner| runner.set == set);
        of_set.map(|runner| (runner.name.as_str(), runner.online)).collect()
    }

    pub(super) fn generate_jit_config(&mut self, request: &HttpRequest, id: u64) -> HttpResponse {
        let Ok(wanted) = serde_json::from_slice::<JitRequest>(&request.body) else {
            return BAD_ARGUMENT.reply("The body is no request for a JIT config.");
        };
        if wanted.name.is_empty() || wanted.name.len() > MAX_NAME {
            return BAD_ARGUMENT.reply("The runner needs a name.");
        }
        let Some(scope) = self.sets.get(&id).map(|set| set.scope.clone()) else {
            return set_not_found(id);
        };
        if self.tenant_mut(&scope).runners.contains_key(&wanted.name) {
            return AGENT_EXISTS.reply(&format!("The runner {} already exists.", wanted.name));
        }
        let runner_id = self.register(id, &wanted.name);
        let tail = self.rng.next();
        let folder = wanted.work_folder.unwrap_or_else(|| "_work".to_owned());
        let secret = serde_json::json!({
            ".runner": STANDARD.encode(format!("{{\"agentId\":{runner_id},\"workFolder\":{folder:?}}}")),
            ".credentials": format!("{MARKER}{tail:016x}"),
            ".credentials_rsaparams": "r".repeat(JIT_FILLER),
        });
        let Some(runner) = self.runners.get(&runner_id) else { return set_not_found(id) };
        let encoded_jit_config = STANDARD.encode(secret.to_string());
        json(200, &WireJitConfig { runner: runner.wire(), encoded_jit_config })
    }

    pub(super) fn list_runners(&mut self, scope: &str, name: Option<&str>) -> HttpResponse {
        let known = &self.tenant_mut(scope).runners;
        let ids: Vec<u64> = match name {
            Some(name) => known.get(name).copied().into_iter().collect(),
            None => known.values().copied().collect(),
        };
        let runners = ids.iter().filter_map(|id| self.runners.get(id)).map(Runner::wire).collect();
        json(200, &List::of(runners))
    }

    pub(super) fn show_runner(&self, scope: &str, id: u64) -> HttpResponse {
        match self.runners.get(&id).filter(|runner| runner.scope == scope) {
            Some(runner) => json(200, &runner.wire()),
            None => runner_not_found(id),
        }
    }

    /// Removes a runner unless it is at work: decided together with the assignment of jobs.
    pub(super) fn delete_runner(&mut self, scope: &str, id: u64) -> HttpResponse {
        let Some(runner) = self.runners.get(&id).filter(|runner| runner.scope == scope) else {
            return runner_not_found(id);
        };
        if runner.job.is_some() {
            let message = format!("The runner {} is still running a job.", runner.name);
            return JOB_STILL_RUNNING.reply(&message);
        }
        let runner = runner.name.clone();
        self.forget_runner(id);
        self.facts.push(Fact::RunnerRemoved { runner });
        empty(204)
    }

    pub(super) fn forget_runner(&mut self, id: u64) {
        let Some(runner) = self.runners.remove(&id) else { return };
        self.tenant_mut(&runner.scope).runners.remove(&runner.name);
        if let Some(set) = self.sets.get_mut(&runner.set) {
            set.runners.remove(&id);
            set.idle.remove(&id);
        }
    }

    fn register(&mut self, set_id: u64, name: &str) -> u64 {
        let Some(set) = self.sets.get_mut(&set_id) else { return 0 };
        self.last_runner += 1;
        let id = self.last_runner;
        set.runners.insert(id);
        let scope = set.scope.clone();
        let name = ShortText::from(name);
        self.tenant_mut(&scope).runners.insert(name.clone(), id);
        let runner = Runner { id, name, scope, set: set_id, online: false, job: None };
        self.runners.insert(id, runner);
        id
    }
}

/// The runner that a config is for.
fn runner_of(config: &str) -> Option<u64> {
    let json = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).ok();
    let config = json(&STANDARD.decode(config).ok()?)?;
    let runner = json(&STANDARD.decode(config.get(".runner")?.as_str()?).ok()?)?;
    runner.get("agentId")?.as_u64()
}

fn runner_not_found(id: u64) -> HttpResponse {
    AGENT_NOT_FOUND.reply(&format!("The runner with identifier {id} was not found."))
}
