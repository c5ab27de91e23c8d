//! The instances' agent against an instance metadata service and the sandbox's AWS, over HTTP and with real `curl`,
//! under both shells.

use poolkeeper_core::aws::{LifecycleState, Tag};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Duration;
use poolkeeper_simulator::aws::{AwsConfig, GroupSpec};
use poolkeeper_simulator::runners::RunnersConfig;
use poolkeeper_simulator::sandbox::scenery::{REGION, STACK};
use poolkeeper_simulator::sandbox::{Sandbox, SandboxConfig};
use poolkeeper_simulator::world::{Fault, FaultAction, WaitHeader, World, WorldConfig};
use poolkeeper_tests::instance::{Agent, Instance};
use poolkeeper_tests::site::{Plan, Site, status};
use poolkeeper_tests::wait::{LONG, until};

const SHELLS: [&str; 2] = ["dash", "bash"];
const GROUP: &str = "ci";
const CONFIG: &str = "eyJjb25maWctb2YtYW4taW5zdGFuY2UiOjF9";

/// A group with one instance in service, and no daemon.
struct Scene {
    sandbox: Sandbox,
    id: ShortText,
    instance: Instance,
}

impl Scene {
    fn new(shell: &'static str, min_size: u32) -> Self {
        let group = GroupSpec {
            name: GROUP.into(),
            min_size,
            max_size: 1,
            desired: Some(1),
            new_instances_protected: true,
            tags: vec![Tag { key: "runs-on-stack".into(), value: STACK.into() }],
            ..GroupSpec::default()
        };
        let soon = Duration::from_millis(50);
        let aws = AwsConfig { boot: (soon, soon), shutdown: soon, ..AwsConfig::default() };
        let config = WorldConfig { aws, groups: vec![group], runners: nobody_on_instances(), ..WorldConfig::default() };
        let sandbox = Sandbox::start(SandboxConfig::default(), World::new(config, 1)).unwrap();
        let id = until("an instance in service", LONG, || in_service(&sandbox), String::new);
        let mut instance = Instance::new(shell, &id, (REGION, STACK), &sandbox.aws_url);
        instance.imds.open().unwrap();
        instance.imds.set_state("InService");
        Self { sandbox, id, instance }
    }

    fn store_config(&self) {
        self.sandbox.with(|world, at| world.store_mut().put(at.now.mono, &self.id, CONFIG.to_owned())).unwrap();
    }

    fn has_config(&self) -> bool {
        self.sandbox.with(|world, at| world.store().get(at.now.mono, &self.id).is_some())
    }

    fn is_there(&self) -> bool {
        self.sandbox.with(|world, _| world.aws_model().group_of(&self.id).is_some())
    }

    fn desired(&self) -> u32 {
        self.sandbox.with(|world, _| world.aws_model().group(GROUP).unwrap().desired)
    }

    fn calls(&self, action: &str) -> u64 {
        self.sandbox.with(|world, _| world.ledger().totals().calls_of("aws", action))
    }

    fn refuse(&self, call: &str, action: FaultAction) {
        let fault = Fault { call: call.to_owned(), times: 1, action };
        assert!(self.sandbox.with(|world, _| world.inject(fault)));
    }

    fn until(&self, what: &str, agent: &Agent, is_so: impl Fn() -> bool) {
        until(what, LONG, || is_so().then_some(()), || agent.log());
    }

    fn assert_ended_with_its_place(&self, log: &str) {
        assert_eq!(self.calls("TerminateInstanceInAutoScalingGroup"), 1, "{log}");
        assert_eq!(self.desired(), 0, "{log}");
        until("the instance is gone", LONG, || (!self.is_there()).then_some(()), || log.to_owned());
        assert!(!self.instance.is_down(), "{log}");
        assert_eq!(self.instance.litter(), 0, "no file is left");
    }
}

#[test]
fn a_config_that_comes_late_starts_one_runner() {
    for shell in SHELLS {
        let scene = Scene::new(shell, 0);
        let agent = scene.instance.boot(&[]);
        scene.until("it asks", &agent, || scene.calls("GetParameter") >= 3);
        assert!(scene.instance.ran().is_empty(), "{shell}: {}", agent.log());
        scene.store_config();
        let log = agent.end();
        assert_eq!(scene.instance.ran(), [CONFIG], "{shell}: {log}");
        assert!(!scene.has_config() && scene.calls("DeleteParameter") == 1, "{shell}: {log}");
        assert!(log.contains("exit code is 0: it ended") && !log.contains(CONFIG), "{shell}: {log}");
        scene.assert_ended_with_its_place(&log);
    }
}

#[test]
fn a_config_that_was_taken_starts_no_second_runner() {
    for shell in SHELLS {
        let scene = Scene::new(shell, 0);
        scene.store_config();
        let log = scene.instance.boot(&[]).end();
        scene.assert_ended_with_its_place(&log);
        let log = scene.instance.boot(&[("CONFIG_DEADLINE_S", "1")]).end();
        assert_eq!(scene.instance.ran(), [CONFIG], "{shell}: {log}");
        assert!(log.contains("no config within 1 s"), "{shell}: {log}");
        assert!(log.contains("Instance Id not found") && scene.instance.is_down(), "no group has it: {log}");
    }
}

#[test]
fn without_a_config_in_time_the_instance_ends_with_its_place() {
    for shell in SHELLS {
        let scene = Scene::new(shell, 0);
        let log = scene.instance.boot(&[("CONFIG_DEADLINE_S", "1")]).end();
        assert!(log.contains("no config within 1 s"), "{shell}: {log}");
        assert!(scene.instance.ran().is_empty() && scene.calls("DeleteParameter") == 0, "{shell}: {log}");
        scene.assert_ended_with_its_place(&log);
    }
}

#[test]
fn a_member_of_a_warm_pool_asks_for_nothing_until_it_is_to_be_in_service() {
    for shell in SHELLS {
        let scene = Scene::new(shell, 0);
        scene.store_config();
        let imds = &scene.instance.imds;
        imds.set_state("Warmed:Pending");
        let agent = scene.instance.boot(&[]);
        for state in ["Warmed:Pending", "Warmed:Stopped", "Pending"] {
            imds.set_state(state);
            agent.until_logged(&format!("to be {state}: waiting"));
        }
        let looks = imds.state_looks();
        scene.until("it looks again", &agent, || imds.state_looks() > looks + 1);
        assert_eq!(scene.calls("GetParameter"), 0, "{shell}: {}", agent.log());
        imds.set_state("InService");
        let log = agent.end();
        assert_eq!(scene.instance.ran(), [CONFIG], "{shell}: {log}");
    }
}

#[test]
fn a_metadata_service_that_is_away_or_refuses_tokens_is_waited_for() {
    for shell in SHELLS {
        let mut scene = Scene::new(shell, 0);
        scene.store_config();
        scene.instance.imds.close();
        scene.instance.imds.set_state("Pending");
        let agent = scene.instance.boot(&[]);
        agent.until_logged("to be unknown: waiting");
        scene.instance.imds.open().unwrap();
        agent.until_logged("to be Pending: waiting");
        let (imds, looks) = (&mut scene.instance.imds, agent.log().matches("unknown").count());
        imds.close();
        let unknown_again = || (agent.log().matches("unknown").count() > looks).then_some(());
        until("unknown again", LONG, unknown_again, || agent.log());
        imds.expire_tokens(3);
        imds.set_state("InService");
        imds.open().unwrap();
        let log = agent.end();
        assert_eq!(scene.instance.imds.refused(), 3, "{shell}: {log}");
        assert_eq!(scene.instance.ran(), [CONFIG], "{shell}: {log}");
        scene.assert_ended_with_its_place(&log);
    }
}

#[test]
fn refusals_to_tell_the_config_are_named_and_waited_out() {
    for shell in SHELLS {
        let scene = Scene::new(shell, 0);
        scene.store_config();
        let throttled = FaultAction::RateLimit { code: 400, wait_s: 0, header: WaitHeader::None };
        for action in [throttled, status(400, "AccessDenied", &[]), FaultAction::Close, FaultAction::Html] {
            scene.refuse("GetParameter", action);
        }
        let log = scene.instance.boot(&[]).end();
        for told in [
            "Throttling: asking for",
            "AccessDenied: the role may not read",
            "Could not connect",
            "an answer without a value",
        ] {
            assert!(log.contains(told), "{shell}: {told} is not in {log}");
        }
        assert_eq!(scene.calls("GetParameter"), 5, "{shell}: {log}");
        assert_eq!(scene.instance.ran(), [CONFIG], "{shell}: {log}");
        scene.assert_ended_with_its_place(&log);
    }
}

#[test]
fn a_role_that_may_neither_delete_nor_terminate_runs_its_job_and_shuts_down() {
    for shell in SHELLS {
        let scene = Scene::new(shell, 0);
        scene.store_config();
        for call in ["DeleteParameter", "TerminateInstanceInAutoScalingGroup"] {
            scene.refuse(call, status(403, "AccessDenied", &[]));
        }
        let log = scene.instance.boot(&[]).end();
        assert_eq!(scene.instance.ran(), [CONFIG], "{shell}: {log}");
        assert!(log.contains("its parameter was not deleted (AccessDenied)"), "{shell}: {log}");
        assert!(log.contains("the role may not call TerminateInstance"), "{shell}: {log}");
        assert!(scene.instance.is_down() && scene.is_there(), "{shell}: {log}");
    }
}

#[test]
fn at_the_least_size_the_instance_ends_and_its_place_stays() {
    for shell in SHELLS {
        let scene = Scene::new(shell, 1);
        scene.store_config();
        let throttled = FaultAction::RateLimit { code: 400, wait_s: 0, header: WaitHeader::None };
        scene.refuse("TerminateInstanceInAutoScalingGroup", throttled);
        let log = scene.instance.boot(&[]).end();
        assert!(log.contains("Throttling: trying again"), "{shell}: {log}");
        assert!(log.contains("min size constraint"), "{shell}: {log}");
        assert_eq!(scene.desired(), 1, "{shell}: {log}");
        until("the instance is gone", LONG, || (!scene.is_there()).then_some(()), || log.clone());
        assert!(!scene.instance.is_down(), "{shell}: {log}");
    }
}

#[test]
fn the_exit_codes_of_the_runner_are_named() {
    for shell in SHELLS {
        for (code, meaning) in [
            ("1", "terminated by an error that no retry mends"),
            ("5", "session conflict"),
            ("7", "the runner is too old"),
            ("42", "a code nobody knows"),
        ] {
            let scene = Scene::new(shell, 0);
            scene.store_config();
            scene.instance.write("code", code);
            let log = scene.instance.boot(&[]).end();
            assert!(log.contains(&format!("exit code is {code}: {meaning}")), "{shell}: {log}");
            scene.assert_ended_with_its_place(&log);
        }
    }
}

#[test]
fn daemon_and_agent_run_a_job_between_them_under_dash() {
    daemon_and_agent_run_a_job("dash");
}

#[test]
fn daemon_and_agent_run_a_job_between_them_under_bash() {
    daemon_and_agent_run_a_job("bash");
}

fn daemon_and_agent_run_a_job(shell: &'static str) {
    let site = Plan { runners: nobody_on_instances(), ..Plan::new(1) }.build();
    let daemon = site.listening_daemon();
    site.queue(1);
    site.until("an instance", &daemon, |world| first_instance(world).is_some());
    let (id, _) = site.sandbox.with(|world, _| first_instance(world)).unwrap();
    let mut instance = Instance::new(shell, &id, (REGION, STACK), &site.sandbox.aws_url);
    instance.imds.set_state("InService");
    instance.imds.open().unwrap();
    instance.write("job", "");
    let agent = instance.boot(&[("TERMINATION_WAIT_S", "600")]);
    let why = || format!("{}\n{}\n{:#?}", agent.log(), daemon.log(), site.state());

    let config = until("a runner", LONG, || instance.ran().pop(), why);
    let started = site.sandbox.with(|world, _| world.github_model_mut().start_runner(&config));
    assert_eq!(started.as_ref(), site.sets.first(), "{shell}: the config is of the instance's set");
    assert!(site.sandbox.with(|world, _| world.github_model().runners_named(&id).all(|(_, online)| online)));
    assert!(site.sandbox.with(|world, at| world.store().instances(at.now.mono).count()) == 0, "it is taken");
    site.until_jobs_end(&daemon);
    std::fs::remove_file(instance.path("job")).unwrap();
    agent.until_logged("exit code is 0");

    until("the daemon ends the instance", LONG, || is_gone(&site, &id).then_some(()), why);
    assert_eq!(instance.ran().len(), 1, "{shell}: {}", agent.log());
    assert!(!agent.log().contains("told the group"), "{shell}: {}", agent.log());
    assert_eq!(site.state().groups[0].desired, 0);
}

/// Instances whose runners are left to the test.
fn nobody_on_instances() -> RunnersConfig {
    RunnersConfig {
        managed: true,
        broken_percent: 100,
        gives_up: Duration::from_secs(3600),
        ..RunnersConfig::default()
    }
}

fn first_instance(world: &World) -> Option<(ShortText, LifecycleState)> {
    let group = world.aws_model().groups().next()?;
    let instance = group.instances.first()?;
    Some((instance.id.clone(), instance.state.clone()))
}

fn in_service(sandbox: &Sandbox) -> Option<ShortText> {
    let found = sandbox.with(|world, _| first_instance(world));
    found.filter(|(_, state)| *state == LifecycleState::InService).map(|(id, _)| id)
}

fn is_gone(site: &Site, id: &str) -> bool {
    site.sandbox.with(|world, _| world.aws_model().group_of(id).is_none())
}
