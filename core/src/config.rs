//! What the operator wants, valid by construction: a [`Config`] only comes from a [`RawConfig`] that was checked.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::github::scope::{ScopeError, ServerUrl};
use crate::short_text::ShortText;
use crate::time::Duration;

mod defences;

pub use defences::Defences;

/// The largest group poolkeeper drives.
pub const MAX_POOL_SIZE: u32 = 10_000;
/// The label that allows any organization, and must be said.
pub const ANY_ORG: &str = "*";
const DEFAULT_NAME: &str = "{org}-{pool}";
const DEFAULT_RUNNER_GROUP: &str = "default";

/// The config of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawConfig", into = "RawConfig")]
pub struct Config {
    raw: RawConfig,
}

/// A config as it was written, before it was checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RawConfig {
    /// The stack this daemon serves: the value of the tag `runs-on-stack`.
    pub stack: ShortText,
    /// Who owns the sessions, in GitHub's eyes: usually the host's name.
    pub owner: String,
    /// Who we are, in the User-Agent.
    #[serde(default)]
    pub build: Build,
    /// The connections to GitHub by name.
    pub connections: BTreeMap<String, ConnectionConfig>,
    /// Walls around organizations, by name in lower case.
    #[serde(default)]
    pub orgs: BTreeMap<String, OrgWalls>,
    /// What pools are like unless their tags say otherwise.
    #[serde(default)]
    pub pool: PoolDefaults,
    /// Groups named in the config, by group name: they need no tags.
    #[serde(default)]
    pub pools: BTreeMap<ShortText, PoolOverrides>,
    /// Defences that tests switch off to see them matter.
    #[serde(default, skip_serializing_if = "Defences::all_on")]
    pub defences: Defences,
}

/// The build, as GitHub sees it in the User-Agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The daemon's version.
    pub version: String,
    /// The commit it was built from; empty when unknown.
    pub commit: String,
}

/// One GitHub and one credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionConfig {
    /// `https://github.com`, `https://SUB.ghe.com`, or the URL of an Enterprise Server.
    pub url: String,
    /// What the credential is; the credential itself stays in the shell.
    pub credential: CredentialKind,
    /// The organizations that may be served, in lower case; [`ANY_ORG`] allows all, `enterprises/NAME` an enterprise.
    pub orgs: Vec<String>,
    /// The runner group of sets whose tags name none.
    #[serde(default = "default_runner_group")]
    pub runner_group: String,
    /// Treat the host as an Enterprise Server whatever its name (`GITHUB_ACTIONS_FORCE_GHES`).
    #[serde(default)]
    pub force_ghes: bool,
}

/// The kinds of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A personal access token.
    Pat,
    /// A GitHub App.
    App {
        /// The installation; looked up for each organization when absent.
        installation: Option<u64>,
    },
}

/// Walls around one organization.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrgWalls {
    /// Names of the groups that may claim the organization, `*` standing for any run of characters; `None`: all.
    pub groups: Option<Vec<String>>,
    /// The runner groups its sets may be in; `None`: all.
    pub runner_groups: Option<Vec<String>>,
    /// The most instances all its pools may desire together.
    pub max_runners: Option<u32>,
}

/// What pools are like unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolDefaults {
    /// The least capacity.
    pub size_min: u32,
    /// The most capacity.
    pub size_max: u32,
    /// No pool may ask for more than this, whatever its tags say.
    pub size_max_limit: u32,
    /// How many runners stand by beyond the demand.
    pub idle: u32,
    /// How long a surplus lasts before capacity is lowered.
    pub idle_grace: Duration,
    /// How long an instance may take to start.
    pub boot_deadline: Duration,
    /// A job that runs for longer is told of; `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_job_time: Option<Duration>,
    /// Labels of the scale set; empty: its name.
    pub labels: Vec<String>,
    /// Template of the scale set's name, of `{org}` and `{pool}`.
    pub name: String,
    /// What becomes of the scale set when its group is gone.
    pub on_group_gone: OnGroupGone,
    /// Who gives runners their config.
    pub runners: Runners,
}

impl Default for PoolDefaults {
    fn default() -> Self {
        Self {
            size_min: 0,
            size_max: 20,
            size_max_limit: MAX_POOL_SIZE,
            idle: 0,
            idle_grace: Duration::from_secs(90),
            boot_deadline: Duration::from_secs(600),
            max_job_time: None,
            labels: Vec::new(),
            name: DEFAULT_NAME.to_owned(),
            on_group_gone: OnGroupGone::Keep,
            runners: Runners::External,
        }
    }
}

/// What one pool wants otherwise: its tags, or its `[[pools]]` entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the key of PoolDefaults, or the tag `runs-on-…`, of that name")]
pub struct PoolOverrides {
    pub org: Option<String>,
    pub pool: Option<String>,
    pub repo: Option<String>,
    pub enterprise: Option<String>,
    pub github: Option<String>,
    pub runner_group: Option<String>,
    pub labels: Option<Vec<String>>,
    pub size_min: Option<u32>,
    pub size_max: Option<u32>,
    pub idle: Option<u32>,
    pub boot_deadline: Option<Duration>,
    pub max_job_time: Option<Duration>,
    pub launch_hook: Option<ShortText>,
    pub paused: Option<bool>,
}

/// What becomes of a scale set when its group is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGroupGone {
    /// It stays, and its jobs wait.
    #[default]
    Keep,
    /// It is deleted, and its jobs fail.
    Delete,
}

/// Who gives runners their config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runners {
    /// The image does; poolkeeper sets capacity only.
    #[default]
    External,
    /// poolkeeper does: every instance gets the config of a runner that runs one job, and is ended once that is proven
    /// to have none.
    Managed,
}

/// What is wrong with a config, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, as a dotted path.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub mend: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.problem, self.mend)
    }
}

impl core::error::Error for ConfigError {}

impl TryFrom<RawConfig> for Config {
    type Error = ConfigError;

    fn try_from(mut raw: RawConfig) -> Result<Self, ConfigError> {
        raw.lower_case_orgs();
        raw.check_stack()?;
        raw.check_connections()?;
        raw.check_pool_defaults()?;
        raw.check_named_pools()?;
        Ok(Self { raw })
    }
}

impl From<Config> for RawConfig {
    fn from(config: Config) -> Self {
        config.raw
    }
}

impl core::ops::Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.raw
    }
}

impl Config {
    /// A daemon serves one stack for as long as it lives.
    pub(crate) fn keep_stack_of(&mut self, old: &Self) {
        self.raw.stack.clone_from(&old.raw.stack);
    }
}

impl RawConfig {
    /// GitHub's names are case-insensitive: one spelling makes them comparable.
    fn lower_case_orgs(&mut self) {
        for connection in self.connections.values_mut() {
            for org in &mut connection.orgs {
                org.make_ascii_lowercase();
            }
        }
        self.orgs = core::mem::take(&mut self.orgs).into_iter().map(|(k, v)| (k.to_ascii_lowercase(), v)).collect();
    }

    fn check_stack(&self) -> Result<(), ConfigError> {
        if self.stack.trim().is_empty() {
            return Err(error("stack", "is empty", "name the stack: the value of the tag runs-on-stack on its groups"));
        }
        if self.owner.is_empty() {
            return Err(error("owner", "is empty", "give the sessions an owner, for example the host's name"));
        }
        Ok(())
    }

    fn check_connections(&self) -> Result<(), ConfigError> {
        if self.connections.is_empty() {
            return Err(error("github", "no connection is configured", "add a section [github.main]"));
        }
        let mut served: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        for (name, connection) in &self.connections {
            let key = alloc::format!("github.{name}");
            ServerUrl::parse(&connection.url, connection.force_ghes).map_err(|e: ScopeError| {
                error(&alloc::format!("{key}.url"), &e.problem, "write it like https://github.com or https://ghes.corp")
            })?;
            if connection.orgs.is_empty() {
                let mend = "list the organizations that may be served, or say [\"*\"] for any";
                return Err(error(&alloc::format!("{key}.orgs"), "is empty", mend));
            }
            for org in &connection.orgs {
                if let Some(other) = served.insert((connection.url.as_str(), org), name) {
                    let problem = alloc::format!("\"{org}\" is also served by connection \"{other}\"");
                    return Err(error(&alloc::format!("{key}.orgs"), &problem, "leave it in one of the two"));
                }
            }
        }
        Ok(())
    }

    fn check_pool_defaults(&self) -> Result<(), ConfigError> {
        let pool = &self.pool;
        if pool.size_max_limit > MAX_POOL_SIZE {
            let problem = alloc::format!("{} is more than {MAX_POOL_SIZE}", pool.size_max_limit);
            return Err(error("pool.size_max_limit", &problem, "lower it"));
        }
        if pool.size_max > pool.size_max_limit {
            let problem = alloc::format!("{} is more than size_max_limit {}", pool.size_max, pool.size_max_limit);
            return Err(error("pool.size_max", &problem, "lower size_max or raise size_max_limit"));
        }
        if pool.size_min > pool.size_max {
            let problem = alloc::format!("{} is more than size_max {}", pool.size_min, pool.size_max);
            return Err(error("pool.size_min", &problem, "lower size_min or raise size_max"));
        }
        if pool.boot_deadline == Duration::ZERO {
            return Err(error("pool.boot_deadline", "is zero", "give instances time to start, for example \"10m\""));
        }
        if !pool.name.contains("{pool}") {
            let problem = alloc::format!("\"{}\" does not contain {{pool}}", pool.name);
            return Err(error("pool.name", &problem, "write a template like \"{org}-{pool}\""));
        }
        Ok(())
    }

    fn check_named_pools(&self) -> Result<(), ConfigError> {
        for (group, overrides) in &self.pools {
            let key = alloc::format!("pools.{group}");
            if overrides.pool.is_none()
                || (overrides.org.is_none() && overrides.repo.is_none() && overrides.enterprise.is_none())
            {
                return Err(error(&key, "does not say which pool of which organization it is", "add org and pool"));
            }
            if let Some(name) = overrides.github.as_ref().filter(|name| !self.connections.contains_key(*name)) {
                let problem = alloc::format!("connection \"{name}\" is not configured");
                return Err(error(&alloc::format!("{key}.github"), &problem, "name a section [github.NAME]"));
            }
            if let (Some(min), Some(max)) = (overrides.size_min, overrides.size_max)
                && min > max
            {
                let problem = alloc::format!("{min} is more than size_max {max}");
                return Err(error(&alloc::format!("{key}.size_min"), &problem, "lower size_min or raise size_max"));
            }
        }
        Ok(())
    }
}

fn error(key: &str, problem: &str, mend: &str) -> ConfigError {
    ConfigError { key: key.into(), problem: problem.into(), mend: mend.into() }
}

fn default_runner_group() -> String {
    DEFAULT_RUNNER_GROUP.to_owned()
}
