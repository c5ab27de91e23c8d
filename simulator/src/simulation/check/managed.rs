//! Instances that get their runners from us: what they need before they get one, and what must be so before they are
//! ended.

use std::collections::BTreeSet;

use poolkeeper_core::aws::{AwsCall, InstanceCall, LifecycleState};
use poolkeeper_core::event::Effect;
use poolkeeper_core::github::request::{CallKind, Request};
use poolkeeper_core::short_text::ShortText;

use super::{Checker, Moment, Observed, Wire, model};
use crate::world::World;

/// Only a protected instance may have a job.
#[derive(Debug)]
pub struct ProtectedFirst;

impl Checker for ProtectedFirst {
    fn name(&self) -> &'static str {
        "protected_first"
    }

    fn contract(&self) -> &'static str {
        "a config is made only for an instance that was seen in service, healthy and protected from scale-in"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for effect in moment.effects {
            let Effect::GitHub { call: CallKind::JitConfig, request, .. } = effect else { continue };
            let Some(instance) = runner_in(request) else {
                return Err("a config is asked for without a name".to_owned());
            };
            if !moment.wire.is_ready(&instance) {
                return Err(format!("{instance} gets a config, and was never seen to be ready for one"));
            }
        }
        Ok(())
    }
}

/// Nobody is ended who may have a job.
#[derive(Debug)]
pub struct ProvenFree;

impl Checker for ProvenFree {
    fn name(&self) -> &'static str {
        "proven_free"
    }

    fn contract(&self) -> &'static str {
        "an instance is ended only when its scale set has no runner of its name that works, or may yet start"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let Some(world) = moment.observed.world else { return Ok(()) };
        for effect in moment.effects {
            if let Effect::Aws { call: AwsCall::Instances { group, call }, .. } = effect
                && let InstanceCall::Terminate { instance, .. } = call
                && may_work(world, moment.wire, group, instance)
            {
                return Err(format!("{instance} is ended, and its runner is registered"));
            }
        }
        Ok(())
    }
}

/// Nothing is left behind.
#[derive(Debug)]
pub struct NothingLeft;

impl Checker for NothingLeft {
    fn name(&self) -> &'static str {
        "nothing_left"
    }

    fn contract(&self) -> &'static str {
        "in the end each instance has a runner, and no runner is there without its instance: configs expire by themselves"
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let (world, machine) = (observed.world?, observed.machine?);
        if !world.is_managed() {
            return None;
        }
        let aws = world.aws_model();
        let lives = |id: &str| aws.group_of(id).is_some();
        for (group, key, wish) in model::driven(world, machine.config()) {
            let runners = world.github_model().runners_of(&key);
            if let Some((name, _)) = runners.iter().find(|(name, _)| !lives(name)) {
                return Some(format!("a runner of {name} is registered, which is gone"));
            }
            let with_runner: BTreeSet<_> =
                runners.iter().filter(|(_, online)| *online).map(|(name, _)| *name).collect();
            let serves = |id: &str| with_runner.contains(id);
            let mut in_service = group.instances.iter().filter(|i| i.state == LifecycleState::InService && i.healthy);
            if !wish.paused
                && let Some(bare) = in_service.find(|i| !serves(&i.id))
            {
                return Some(format!("{} has no runner", bare.id));
            }
        }
        None
    }
}

/// Whether the runner of an instance may have a job, or get one. One that was made when the instance had taken another's
/// config never starts: a second daemon may do that before it knows that it is not in charge any more.
fn may_work(world: &World, wire: &Wire, group: &str, instance: &str) -> bool {
    let set = wire.group(group).map_or(0, |seen| seen.set);
    let may_start = !world.has_taken_a_config(instance);
    world.github_model().runners_named(instance).any(|(of, online)| of == set && (online || may_start))
}

/// The runner that a config is asked for.
pub(in crate::simulation) fn runner_in(request: &Request) -> Option<ShortText> {
    let body: serde_json::Value = serde_json::from_str(request.body.as_deref()?).ok()?;
    Some(body.get("name")?.as_str()?.into())
}
