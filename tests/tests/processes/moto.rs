//! The real daemon between the sandbox's GitHub and moto's AWS.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_autoscaling::Client;
use aws_sdk_autoscaling::config::{BehaviorVersion, Region};
use aws_sdk_autoscaling::types::{AutoScalingGroup, LifecycleState, Tag};
use aws_sdk_ssm::types::{ParameterType, ResourceTypeForTagging};
use poolkeeper_core::time::Duration as CoreDuration;
use poolkeeper_simulator::github::{GitHubConfig, JobId, SetKey};
use poolkeeper_simulator::runners::RunnersConfig;
use poolkeeper_simulator::sandbox::scenery::{REGION, STACK, write_daemon_files};
use poolkeeper_simulator::sandbox::{Sandbox, SandboxConfig};
use poolkeeper_simulator::workload::JobPlan;
use poolkeeper_simulator::world::{World, WorldConfig};
use poolkeeper_tests::bench::daemon::Daemon;
use poolkeeper_tests::bench::pause;
use poolkeeper_tests::moto::Moto;
use poolkeeper_tests::programs::Shell;
use tempfile::TempDir;

poolkeeper_tests::on_both_shells!(
    the_right_groups_become_pools_and_their_capacity_follows_demand,
    groups_beyond_the_first_page_are_found,
    a_managed_instance_gets_its_config_and_ends_with_everything_it_had,
    an_instance_whose_runner_never_comes_up_is_ended_and_its_place_is_kept,
);

const LONG: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// More than fit into one page of a describe.
const MANY: usize = 103;
const LAUNCH_CONFIGURATION: &str = "runner";

fn the_right_groups_become_pools_and_their_capacity_follows_demand(shell: Shell) {
    let Some(moto) = moto() else { return };
    let groups = Groups::of(&moto);
    groups.create("ci-acme-linux", &pool_tags(STACK, "acme", "linux"));
    groups.create("ci-acme-arm", &pool_tags(STACK, "acme", "arm"));
    groups.create("ci-widgets-gpu", &pool_tags(STACK, "widgets", "gpu"));
    groups.create("ci-of-another-stack", &pool_tags("another", "acme", "windows"));
    groups.create("web", &[]);
    let (linux, gpu) = (SetKey::new("acme", "acme-linux"), SetKey::new("widgets", "widgets-gpu"));
    let sets = vec![linux.clone(), SetKey::new("acme", "acme-arm"), gpu.clone()];

    let mut scene = Scene::start(shell, &moto);
    scene.wait_until("every set has its poll", |sandbox| sandbox.with(|world, _| world.is_listened_to(&sets)));
    assert_eq!(scene.sets(), sets.iter().map(ToString::to_string).collect());

    let jobs: Vec<JobId> = (0..3).map(|_| scene.queue(&linux)).collect();
    scene.queue(&gpu);
    scene.wait_until("capacity goes up", |_| {
        groups.desired("ci-acme-linux") == 3 && groups.desired("ci-widgets-gpu") == 1
    });
    let instances = groups.group("ci-acme-linux").instances.unwrap();
    assert_eq!(instances.len(), 3);
    assert!(instances.iter().all(|instance| {
        instance.lifecycle_state == Some(LifecycleState::InService) && instance.protected_from_scale_in == Some(true)
    }));

    for job in jobs.iter().take(2) {
        assert!(scene.sandbox.with(|world, at| world.cancel_job(at, *job)));
    }
    scene.wait_until("capacity goes down", |_| groups.desired("ci-acme-linux") == 1);

    assert_eq!(groups.group("ci-acme-linux").instances.unwrap().len(), 3, "protected instances stay");
    assert_eq!(groups.desired("ci-widgets-gpu"), 1);
    for untouched in ["ci-acme-arm", "ci-of-another-stack", "web"] {
        assert_eq!(groups.desired(untouched), 0, "{untouched}");
    }
}

fn groups_beyond_the_first_page_are_found(shell: Shell) {
    let Some(moto) = moto() else { return };
    let groups = Groups::of(&moto);
    let pools: Vec<String> = (1..=MANY).map(|n| format!("pool-{n:03}")).collect();
    for pool in &pools {
        groups.create(&format!("ci-{pool}"), &pool_tags(STACK, "acme", pool));
    }
    let sets: Vec<SetKey> = pools.iter().map(|pool| SetKey::new("acme", &format!("acme-{pool}"))).collect();

    let mut scene = Scene::start(shell, &moto);
    scene.wait_until("every set has its poll", |sandbox| sandbox.with(|world, _| world.is_listened_to(&sets)));
    scene.queue(sets.last().unwrap());

    let last = format!("ci-{}", pools.last().unwrap());
    scene.wait_until("capacity goes up", |_| groups.desired(&last) == 1);
    assert_eq!(scene.sets().len(), MANY);
}

fn a_managed_instance_gets_its_config_and_ends_with_everything_it_had(shell: Shell) {
    let Some(moto) = moto() else { return };
    let groups = Groups::of(&moto);
    groups.create("ci-acme-linux", &pool_tags(STACK, "acme", "linux"));
    let linux = SetKey::new("acme", "acme-linux");
    let mut scene = Scene::start_with(shell, &moto, true);
    scene.wait_until("the set has its poll", |sandbox| {
        sandbox.with(|world, _| world.is_listened_to(std::slice::from_ref(&linux)))
    });

    let job = scene.queue(&linux);
    scene.wait_until("an instance has its config", |_| groups.parameter("ci-acme-linux").is_some());
    let Parameter { instance, kind, tags } = groups.parameter("ci-acme-linux").unwrap();
    assert_eq!(kind, ParameterType::SecureString);
    assert!(tags.contains(&("InstanceId".to_owned(), instance.clone())), "{tags:?}");
    assert!(tags.contains(&("runs-on-stack".to_owned(), STACK.to_owned())), "{tags:?}");
    let named = |name: &str| scene.sandbox.with(|world, _| world.github_model().runners_named(name).count());
    assert_eq!(named(&instance), 1, "its runner has its name");

    assert!(scene.sandbox.with(|world, at| world.cancel_job(at, job)));
    scene.wait_until("the instance is gone, and its place", |_| {
        groups.desired("ci-acme-linux") == 0 && groups.group("ci-acme-linux").instances.unwrap_or_default().is_empty()
    });
    scene.wait_until("its config is gone", |_| groups.parameter_of(&instance).is_none());
    assert_eq!(scene.sandbox.with(|world, _| world.github_model().runners_named(&instance).count()), 0);
}

fn an_instance_whose_runner_never_comes_up_is_ended_and_its_place_is_kept(shell: Shell) {
    let Some(moto) = moto() else { return };
    let groups = Groups::of(&moto);
    let mut tags = pool_tags(STACK, "acme", "linux").to_vec();
    tags.push(("runs-on-boot-deadline", "2s".to_owned()));
    groups.create("ci-acme-linux", &tags);
    let linux = SetKey::new("acme", "acme-linux");
    let mut scene = Scene::start_with(shell, &moto, true);
    scene.wait_until("the set has its poll", |sandbox| {
        sandbox.with(|world, _| world.is_listened_to(std::slice::from_ref(&linux)))
    });

    scene.queue(&linux);
    scene.wait_until("an instance has its config", |_| groups.parameter("ci-acme-linux").is_some());
    let Parameter { instance, .. } = groups.parameter("ci-acme-linux").unwrap();
    scene.wait_until("another one is in its place", |_| {
        let now = groups.group("ci-acme-linux").instances.unwrap_or_default();
        now.first().is_some_and(|other| other.instance_id.as_ref() != Some(&instance))
    });
    assert_eq!(groups.desired("ci-acme-linux"), 1, "the job waits for it");
    scene.wait_until("its config is gone", |_| groups.parameter_of(&instance).is_none());
}

/// A server, or nothing where it cannot be had and need not be.
fn moto() -> Option<Moto> {
    Moto::unless_left_out(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// Moto's groups, by way of AWS's own client.
struct Groups {
    client: Client,
    ssm: aws_sdk_ssm::Client,
    runtime: ::tokio::runtime::Runtime,
}

impl Groups {
    fn of(moto: &Moto) -> Self {
        let config = aws_sdk_autoscaling::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&moto.url)
            .build();
        let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ssm = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(&moto.url)
            .build();
        let groups = Self { client: Client::from_conf(config), ssm: aws_sdk_ssm::Client::from_conf(ssm), runtime };
        let launch = groups.client.create_launch_configuration();
        let launch =
            launch.launch_configuration_name(LAUNCH_CONFIGURATION).image_id("ami-12c6146b").instance_type("t3.micro");
        groups.runtime.block_on(launch.send()).unwrap();
        groups
    }

    fn create(&self, name: &str, tags: &[(&str, String)]) {
        let tag =
            |(key, value): &(&str, String)| Tag::builder().key(*key).value(value).propagate_at_launch(false).build();
        let create = self
            .client
            .create_auto_scaling_group()
            .auto_scaling_group_name(name)
            .launch_configuration_name(LAUNCH_CONFIGURATION)
            .availability_zones(format!("{REGION}a"))
            .min_size(0)
            .max_size(10)
            .new_instances_protected_from_scale_in(true)
            .set_tags(Some(tags.iter().map(tag).collect()));
        let suspend = self.client.suspend_processes().auto_scaling_group_name(name).scaling_processes("AZRebalance");
        self.runtime.block_on(async {
            create.send().await.unwrap();
            suspend.send().await.unwrap();
        });
    }

    fn group(&self, name: &str) -> AutoScalingGroup {
        let describe = self.client.describe_auto_scaling_groups().auto_scaling_group_names(name);
        let found = self.runtime.block_on(describe.send()).unwrap().auto_scaling_groups.unwrap();
        found.into_iter().next().unwrap()
    }

    /// The parameter that carries the config of a group's first instance.
    fn parameter(&self, name: &str) -> Option<Parameter> {
        let instance = self.group(name).instances?.into_iter().next()?.instance_id?;
        let (name, kind) = self.parameter_of(&instance)?;
        let tags = self.ssm.list_tags_for_resource().resource_type(ResourceTypeForTagging::Parameter).resource_id(name);
        let tags = self.runtime.block_on(tags.send()).unwrap().tag_list.unwrap_or_default();
        Some(Parameter { instance, kind, tags: tags.into_iter().map(|tag| (tag.key, tag.value)).collect() })
    }

    fn parameter_of(&self, instance: &str) -> Option<(String, ParameterType)> {
        let name = format!("/poolkeeper/{STACK}/{instance}");
        let get = self.ssm.get_parameter().name(&name).with_decryption(true);
        Some((name, self.runtime.block_on(get.send()).ok()?.parameter?.r#type?))
    }

    fn desired(&self, name: &str) -> i32 {
        self.group(name).desired_capacity.unwrap()
    }
}

struct Parameter {
    instance: String,
    kind: ParameterType,
    tags: Vec<(String, String)>,
}

fn pool_tags(stack: &str, org: &str, pool: &str) -> [(&'static str, String); 3] {
    [("runs-on-stack", stack.to_owned()), ("runs-on-org", org.to_owned()), ("runs-on-pool", pool.to_owned())]
}

/// A sandbox whose AWS nobody asks, and the daemon that asks moto instead.
struct Scene {
    sandbox: Sandbox,
    daemon: Daemon,
    _dir: TempDir,
}

impl Scene {
    fn start(shell: Shell, moto: &Moto) -> Self {
        Self::start_with(shell, moto, false)
    }

    fn start_with(shell: Shell, moto: &Moto, managed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let github = GitHubConfig::default();
        let pat = github.pat.clone().unwrap();
        let runners = RunnersConfig { managed, ..RunnersConfig::default() };
        let world = World::new(WorldConfig { github, runners, ..WorldConfig::default() }, 1);
        let sandbox = Sandbox::start(SandboxConfig::default(), world).unwrap();
        let files = write_daemon_files(dir.path(), &sandbox, &pat).unwrap();
        let config = std::fs::read_to_string(&files.config).unwrap();
        let grace = if managed { "" } else { "\n[pool]\nidle_grace = \"1s\"\n" };
        let config = config.replace(&sandbox.aws_url, &moto.url) + grace;
        std::fs::write(&files.config, config).unwrap();
        let daemon = Daemon::spawn(shell, &files.config, &dir.path().join("daemon.log")).unwrap();
        Self { sandbox, daemon, _dir: dir }
    }

    fn sets(&self) -> BTreeSet<String> {
        self.sandbox.with(|world, _| world.state().sets.iter().map(|set| set.key.to_string()).collect())
    }

    fn queue(&self, set: &SetKey) -> JobId {
        let plan = JobPlan::success(CoreDuration::from_secs(3600));
        self.sandbox.with(|world, at| world.queue_job(at, set, plan).unwrap())
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Sandbox) -> bool) {
        let started = Instant::now();
        while !is_so(&self.sandbox) {
            self.daemon.check().unwrap();
            assert!(started.elapsed() < LONG, "not in {} s: {}", LONG.as_secs(), self.daemon.trouble(what));
            pause(LOOK_EVERY);
        }
    }
}
