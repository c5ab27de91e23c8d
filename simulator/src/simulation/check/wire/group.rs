//! An Auto Scaling group, as seen on the wire.

use std::collections::BTreeSet;

use poolkeeper_core::aws::{Group, Instance, LifecycleState, Tag};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Instant;

/// An Auto Scaling group, as seen on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSeen {
    /// Its ARN: a group of the same name may have been another one.
    arn: String,
    /// When the newest describe was asked for.
    pub asked: Instant,
    /// `MinSize`.
    pub min_size: u32,
    /// `MaxSize`.
    pub max_size: u32,
    /// Instances that run or come up.
    pub live: u32,
    /// Of those, not yet in service.
    pub pending: u32,
    /// Of those in service, not protected from scale-in.
    pub unprotected: u32,
    /// Of those in service, not healthy.
    pub unhealthy: u32,
    /// Those that the newest describe shows.
    instances: Vec<Instance>,
    /// Those that were ever seen in service, healthy and protected.
    ready: BTreeSet<ShortText>,
    /// Those that are being ended and take desired capacity along, while describes still show them as alive.
    ending: BTreeSet<ShortText>,
    /// What desired capacity may be: as described, and as written.
    pub plausible: Vec<u32>,
    /// The tags.
    pub tags: Vec<Tag>,
    /// The scale set that it was last tied to; 0 before.
    pub set: u64,
    /// The newest write, and when it was asked for or, once it has ended, when that was.
    last_write: Option<(Instant, u32)>,
    /// Writes that have not ended.
    writing: u32,
}

/// The most values that are kept as plausible.
const MOST_PLAUSIBLE: usize = 32;

impl GroupSeen {
    pub(super) fn new(asked: Instant, group: &Group) -> Self {
        let mut seen = Self { arn: group.arn.clone(), ..Self::default() };
        seen.described(asked, group);
        seen
    }

    /// The ARN of the group that had the name last.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    pub(super) fn described(&mut self, asked: Instant, group: &Group) {
        if asked < self.asked {
            return;
        }
        if self.arn != group.arn {
            let ready = std::mem::take(&mut self.ready);
            *self = Self { arn: group.arn.clone(), set: self.set, ready, ..Self::default() };
        }
        self.asked = asked;
        (self.min_size, self.max_size) = (group.min_size, group.max_size);
        if self.instances != group.instances {
            self.shows(&group.instances);
        }
        if self.tags != group.tags {
            self.tags.clone_from(&group.tags);
        }
        self.look_for_endings(group);
        match self.last_write {
            Some((at, _)) if asked < at => self.may_be(group.desired),
            Some((_, written)) => {
                self.plausible.clear();
                self.plausible.push(group.desired);
                // A describe may lag behind a write, so the write stays plausible until a describe agrees, and shows none
                // as alive that took desired capacity along.
                if written == group.desired && self.ending.is_empty() {
                    self.last_write = None;
                } else {
                    self.may_be(written);
                }
            }
            None => {
                self.plausible.clear();
                self.plausible.push(group.desired);
            }
        }
        for desired in self.plausible.clone() {
            for unseen in 1..=u32::try_from(self.ending.len()).unwrap_or(u32::MAX) {
                self.may_be(desired.saturating_sub(unseen));
            }
        }
    }

    fn shows(&mut self, instances: &[Instance]) {
        (self.live, self.pending, self.unprotected, self.unhealthy) = (0, 0, 0, 0);
        for instance in instances {
            match instance.state {
                LifecycleState::Pending => {
                    self.live += 1;
                    self.pending += 1;
                }
                LifecycleState::InService => {
                    self.live += 1;
                    self.unprotected += u32::from(!instance.protected);
                    self.unhealthy += u32::from(!instance.healthy);
                    if instance.healthy && instance.protected && !self.ready.contains(&instance.id) {
                        self.ready.insert(instance.id.clone());
                    }
                }
                LifecycleState::Terminating | LifecycleState::Other(_) => {}
            }
        }
        instances.clone_into(&mut self.instances);
    }

    /// A describe that shows an instance as alive that is being ended may be older than that.
    fn look_for_endings(&mut self, group: &Group) {
        if self.ending.is_empty() {
            return;
        }
        let lives = |i: &&Instance| matches!(i.state, LifecycleState::Pending | LifecycleState::InService);
        let live: BTreeSet<&str> = group.instances.iter().filter(lives).map(|i| i.id.as_str()).collect();
        self.ending.retain(|id| live.contains(id.as_str()));
    }

    /// Those in service and healthy, as the newest describe shows them.
    pub fn in_service(&self) -> impl Iterator<Item = &str> {
        let serves = |i: &&Instance| i.state == LifecycleState::InService && i.healthy;
        self.instances.iter().filter(serves).map(|instance| instance.id.as_str())
    }

    pub(super) fn writes(&mut self, at: Instant, desired: u32) {
        self.last_write = Some((at, desired));
        self.writing += 1;
        self.may_be(desired);
    }

    pub(super) fn wrote(&mut self, at: Instant, desired: u32, accepted: bool) {
        let Some(writing) = self.writing.checked_sub(1) else {
            // It was written to the group that had the name before.
            return;
        };
        self.writing = writing;
        if accepted {
            self.plausible.clear();
            self.last_write = Some((at, desired));
        }
        self.may_be(desired);
    }

    /// Instances were protected.
    pub(super) fn protected(&mut self, instances: &[ShortText]) {
        for id in instances {
            if self.in_service().any(|instance| instance == id) {
                self.ready.insert(id.clone());
            }
        }
    }

    pub(super) fn is_ready(&self, instance: &str) -> bool {
        self.ready.contains(instance)
    }

    /// An instance is being ended, and takes desired capacity along.
    pub(super) fn shrinks(&mut self, instance: &str) {
        self.ending.insert(instance.into());
        for desired in self.plausible.clone() {
            self.may_be(desired.saturating_sub(1));
        }
    }

    /// An instance was not ended, or nobody knows.
    pub(super) fn did_not_shrink(&mut self, instance: &str, surely: bool) {
        if surely {
            self.ending.remove(instance);
        }
    }

    fn may_be(&mut self, desired: u32) {
        if self.plausible.contains(&desired) {
            return;
        }
        if self.plausible.len() == MOST_PLAUSIBLE {
            self.plausible.remove(0);
        }
        self.plausible.push(desired);
    }
}
