//! Instances that get their runners from us: what the machine is told of them, and what it asks.

use std::collections::BTreeSet;

use poolkeeper_core::aws::{AwsReply, LifecycleState};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Bytes};
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::time::Instant;

use super::Saboteur;

/// Says of every instance in service that it is protected.
#[derive(Debug)]
pub(super) struct Vouches;

impl Saboteur for Vouches {
    fn event(&mut self, _: Instant, event: &mut Event) -> bool {
        if let Event::AwsReply { result: Ok(AwsReply::Groups { groups, .. }), .. } = event {
            let instances = groups.iter_mut().flat_map(|group| &mut group.instances);
            instances.filter(|i| i.state == LifecycleState::InService).for_each(|i| i.protected = true);
        }
        true
    }
}

/// Says that every runner was removed that was to be: the gate is open.
#[derive(Debug, Default)]
pub(super) struct OpensTheGate {
    asked: BTreeSet<RequestId>,
}

impl Saboteur for OpensTheGate {
    fn event(&mut self, _: Instant, event: &mut Event) -> bool {
        if let Event::GitHubReply { id, result: Ok(reply) } = event
            && self.asked.remove(id)
        {
            (reply.status, reply.body) = (204, Body::Raw(Bytes(Vec::new())));
        }
        true
    }

    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        for effect in effects.iter() {
            if let Effect::GitHub { id, call: CallKind::RemoveRunner, .. } = effect {
                self.asked.insert(*id);
            }
        }
    }
}

pub(super) const fn is_removal(effect: &Effect) -> bool {
    matches!(effect, Effect::GitHub { call: CallKind::RemoveRunner, .. })
}
