//! What peers, daemon and runners are like in a scenario.

use poolkeeper_core::config::{
    Config, ConnectionConfig, CredentialKind, Defences, OnGroupGone, OrgWalls, PoolDefaults, RawConfig, Runners,
};
use poolkeeper_core::time::Duration;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{PoolPlan, STACK};
use crate::aws::{AwsConfig, Rate};
use crate::github::{GitHubConfig, Style};
use crate::runners::RunnersConfig;
use crate::simulation::SimulationConfig;
use crate::world::WorldConfig;

/// The settings of a scenario. Written down, only those that are not as usual.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// Jobs are offered and acquired, as an Enterprise Server has it.
    pub enterprise: bool,
    /// The shortest and the longest time a reply is on its way.
    pub latency_ms: (u64, u64),
    /// The shortest and the longest time from launch to `InService`.
    pub boot_ms: (u64, u64),
    /// From the start of a termination until the instance has left.
    pub shutdown_ms: u64,
    /// After which a dead machine is found unhealthy.
    pub health_check_ms: u64,
    /// How far describes lag behind the truth.
    pub describe_lag_ms: u64,
    /// The most calls to AWS at once; 0: no limit.
    pub aws_burst: u32,
    /// Calls to AWS a second in the long run.
    pub aws_per_second: u32,
    /// How long a surplus lasts before capacity is lowered.
    pub idle_grace_ms: u64,
    /// Whether the daemon gives instances their runners.
    pub managed: bool,
    /// How long an instance may take to start.
    pub boot_deadline_ms: u64,
    /// Whether scale sets of groups that are gone are deleted.
    pub delete_sets: bool,
    /// The most instances of all pools of an organization; 0: no limit.
    pub max_runners: u32,
    /// The life of a registration token.
    pub registration_token_s: u64,
    /// The life of an admin token.
    pub admin_token_s: u64,
    /// The life of a queue token.
    pub queue_token_s: u64,
    /// REST calls an hour; 0: no limit.
    pub rest_calls_per_hour: u32,
    /// How long a poll is held.
    pub poll_hold_ms: u64,
    /// How long a session lives without a poll.
    pub session_idle_ms: u64,
    /// How long an assigned job waits for a runner before it is taken back.
    pub pickup_ms: u64,
    /// How often a job that nobody picked up is assigned again.
    pub reassigns: u32,
    /// Labels are taken at creation only.
    pub labels_create_only: bool,
    /// Job messages carry `runnerRequestId` 0.
    pub zero_request_ids: bool,
    /// How far GitHub's wall clock is ahead.
    pub clock_offset_ms: i64,
    /// From `InService` until the runner is online.
    pub register_ms: u64,
    /// From the end of a job until the instance terminates itself.
    pub leave_ms: u64,
    /// Runners that never come up, of a hundred.
    pub broken_percent: u64,
    /// After which an instance without a runner terminates itself.
    pub gives_up_ms: u64,
    /// The machine's defences.
    pub defences: Defences,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            enterprise: false,
            latency_ms: (5, 50),
            boot_ms: (15_000, 45_000),
            shutdown_ms: 5000,
            health_check_ms: 60_000,
            describe_lag_ms: 0,
            aws_burst: 0,
            aws_per_second: 0,
            idle_grace_ms: 90_000,
            managed: false,
            boot_deadline_ms: 600_000,
            delete_sets: false,
            max_runners: 0,
            registration_token_s: 3600,
            admin_token_s: 3600,
            queue_token_s: 3600,
            rest_calls_per_hour: 0,
            poll_hold_ms: 50_000,
            session_idle_ms: 60_000,
            pickup_ms: 600_000,
            reassigns: 3,
            labels_create_only: false,
            zero_request_ids: false,
            clock_offset_ms: 0,
            register_ms: 2000,
            leave_ms: 1000,
            broken_percent: 0,
            gives_up_ms: 300_000,
            defences: Defences::default(),
        }
    }
}

/// Knobs with every field written.
#[derive(Serialize)]
#[serde(remote = "Knobs")]
struct Whole {
    enterprise: bool,
    latency_ms: (u64, u64),
    boot_ms: (u64, u64),
    shutdown_ms: u64,
    health_check_ms: u64,
    describe_lag_ms: u64,
    aws_burst: u32,
    aws_per_second: u32,
    idle_grace_ms: u64,
    managed: bool,
    boot_deadline_ms: u64,
    delete_sets: bool,
    max_runners: u32,
    registration_token_s: u64,
    admin_token_s: u64,
    queue_token_s: u64,
    rest_calls_per_hour: u32,
    poll_hold_ms: u64,
    session_idle_ms: u64,
    pickup_ms: u64,
    reassigns: u32,
    labels_create_only: bool,
    zero_request_ids: bool,
    clock_offset_ms: i64,
    register_ms: u64,
    leave_ms: u64,
    broken_percent: u64,
    gives_up_ms: u64,
    defences: Defences,
}

impl Serialize for Knobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.unusual().serialize(serializer)
    }
}

impl Knobs {
    /// Whether all is as usual.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The settings that are not as usual, by name.
    #[must_use]
    pub fn unusual(&self) -> Map<String, Value> {
        let usual = Self::default().fields();
        self.fields().into_iter().filter(|(name, value)| usual.get(name) != Some(value)).collect()
    }

    /// The same with one setting as usual.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut fields = self.unusual();
        fields.remove(name);
        serde_json::from_value(Value::Object(fields)).unwrap_or_else(|_| self.clone())
    }

    fn fields(&self) -> Map<String, Value> {
        match Whole::serialize(self, serde_json::value::Serializer) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) | Err(_) => Map::new(),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let spans = [("latency_ms", self.latency_ms), ("boot_ms", self.boot_ms)];
        if let Some((name, _)) = spans.iter().find(|(_, (shortest, longest))| shortest > longest) {
            return Err(format!("knobs.{name}: the first number is above the second; swap them"));
        }
        self.daemon(&[]).map(drop)
    }

    /// What is run.
    pub(super) fn simulation(&self, pools: &[PoolPlan]) -> Result<SimulationConfig, String> {
        let ms = Duration::from_millis;
        let world = WorldConfig {
            github: self.github(),
            aws: AwsConfig {
                boot: (ms(self.boot_ms.0), ms(self.boot_ms.1)),
                shutdown: ms(self.shutdown_ms),
                health_check: ms(self.health_check_ms),
                lag: ms(self.describe_lag_ms),
                rate: self.aws_rate(),
                ..AwsConfig::default()
            },
            groups: pools.iter().map(PoolPlan::spec).collect(),
            store_rate: None,
            runners: RunnersConfig {
                managed: self.managed,
                register: ms(self.register_ms),
                leave: ms(self.leave_ms),
                broken_percent: self.broken_percent,
                gives_up: ms(self.gives_up_ms),
                ..RunnersConfig::default()
            },
        };
        let latency = (ms(self.latency_ms.0), ms(self.latency_ms.1));
        Ok(SimulationConfig { daemon: self.daemon(pools)?, world, latency })
    }

    /// AWS's limit of calls when nothing else is said.
    pub(super) fn aws_rate(&self) -> Option<Rate> {
        (self.aws_burst > 0).then(|| Rate { burst: self.aws_burst, per_second: self.aws_per_second.max(1) })
    }

    /// The daemon's config.
    pub(super) fn daemon(&self, pools: &[PoolPlan]) -> Result<Config, String> {
        let main = ConnectionConfig {
            url: "https://github.com".to_owned(),
            credential: CredentialKind::Pat,
            orgs: vec!["*".to_owned()],
            runner_group: "default".to_owned(),
            force_ghes: false,
        };
        let walls = OrgWalls { max_runners: Some(self.max_runners), ..OrgWalls::default() };
        let walled = pools.iter().filter(|_| self.max_runners > 0);
        let raw = RawConfig {
            stack: STACK.into(),
            owner: "sim-host".to_owned(),
            connections: [("main".to_owned(), main)].into(),
            orgs: walled.map(|pool| (pool.org.clone(), walls.clone())).collect(),
            pool: PoolDefaults {
                idle_grace: Duration::from_millis(self.idle_grace_ms),
                boot_deadline: Duration::from_millis(self.boot_deadline_ms),
                runners: if self.managed { Runners::Managed } else { Runners::External },
                on_group_gone: if self.delete_sets { OnGroupGone::Delete } else { OnGroupGone::Keep },
                ..PoolDefaults::default()
            },
            defences: self.defences,
            ..RawConfig::default()
        };
        Config::try_from(raw).map_err(|error| error.to_string())
    }

    fn github(&self) -> GitHubConfig {
        GitHubConfig {
            style: if self.enterprise { Style::Enterprise } else { Style::DotCom },
            poll_hold: Duration::from_millis(self.poll_hold_ms),
            session_idle: Duration::from_millis(self.session_idle_ms),
            pickup: Duration::from_millis(self.pickup_ms),
            reassigns: self.reassigns,
            registration_token_life: Duration::from_secs(self.registration_token_s),
            admin_token_life: Duration::from_secs(self.admin_token_s),
            queue_token_life: Duration::from_secs(self.queue_token_s),
            rest_calls_per_hour: (self.rest_calls_per_hour > 0).then_some(self.rest_calls_per_hour),
            clock_offset_ms: self.clock_offset_ms,
            labels_create_only: self.labels_create_only,
            zero_request_ids: self.zero_request_ids,
            ..GitHubConfig::default()
        }
    }
}
