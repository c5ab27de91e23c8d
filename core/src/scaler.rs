//! How many instances a group should desire, and when it may be told so.
//!
//! OUT raises desired capacity at once. LOWER takes it back after a grace, and only where that can pick no victim:
//! while nothing is pending, and all that is in service is protected from scale-in.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aws::{AwsError, Group, LifecycleState};
use crate::backoff::Backoff;
use crate::config::Defences;
use crate::notice::Decision;
use crate::rng::Rng;
use crate::runners::Judgement;
use crate::short_text::ShortText;
use crate::time::{Duration, Instant};

/// How long our own write is trusted over a describe that says otherwise.
const TRUST_OWN_WRITE: Duration = Duration::from_secs(30);
/// Capacity is lowered only on a describe younger than this.
const FRESH: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(60);

/// What GitHub and the operator want of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Jobs assigned to the set.
    pub assigned: u32,
    /// Runners that are to stand by.
    pub idle: u32,
    /// The least capacity.
    pub size_min: u32,
    /// The most capacity.
    pub size_max: u32,
    /// What the organization's wall leaves: not even broken instances are replaced beyond it.
    pub room: u32,
    /// How long a surplus lasts before capacity is lowered.
    pub idle_grace: Duration,
    /// How long an instance may take to start.
    pub boot_deadline: Duration,
    /// Whether capacity may be raised.
    pub may_raise: bool,
    /// Whether capacity may be lowered.
    pub may_lower: bool,
    /// Whether we give the instances their runners: then only proof ends one.
    #[serde(default)]
    pub is_managed: bool,
}

/// What a describe shows of a group's instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// In service.
    pub in_service: u32,
    /// Of those, able to serve.
    #[serde(default)]
    pub ready: u32,
    /// Of those, not protected from scale-in.
    pub unprotected: u32,
    /// On their way into service.
    pub pending: u32,
    /// Cannot serve: unhealthy, or pending for too long.
    pub unusable: u32,
    /// On their way out.
    pub terminating: u32,
}

/// What a group has been seen to be, what we wrote to it, and what is to be written next.
///
/// Getters: [`Self::desired`], [`Self::counts`], [`Self::bounds`], [`Self::poll_timeout`]; in: [`Self::described`],
/// [`Self::wrote`], [`Self::refused`]; out: [`Self::decide`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    desired: u32,
    group_min: u32,
    group_max: u32,
    counts: Counts,
    described_at: Option<Instant>,
    trusted_until: Option<Instant>,
    wrote_at: Option<Instant>,
    /// What desired was before the write in flight.
    writing: Option<u32>,
    /// How many writes went out.
    #[serde(default)]
    writes_made: u64,
    /// An instance left, or is about to, while a write was in flight: what we wrote may be old once it is taken.
    left_while_writing: bool,
    doubtful_since: Option<Instant>,
    surplus_since: Option<Instant>,
    pending_since: BTreeMap<ShortText, Instant>,
    retry_at: Instant,
    backoff: Backoff,
}

/// A describe of a group.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// What it shows.
    pub group: &'a Group,
    /// When it was asked for.
    pub asked_at: Instant,
    /// Whether an instance that was in service left, or is about to.
    pub member_left: bool,
    /// How many instances it shows as alive that we end, and that take desired capacity along.
    pub unseen_decrements: u32,
}

/// What a describe changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// What we took desired capacity to be.
    pub from: u32,
    /// What it is.
    pub to: u32,
}

impl Default for Scaler {
    fn default() -> Self {
        Self {
            desired: 0,
            group_min: 0,
            group_max: 0,
            counts: Counts::default(),
            described_at: None,
            trusted_until: None,
            wrote_at: None,
            writing: None,
            writes_made: 0,
            left_while_writing: false,
            doubtful_since: None,
            surplus_since: None,
            pending_since: BTreeMap::new(),
            retry_at: Instant::default(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_CAP),
        }
    }
}

impl Scaler {
    /// Desired capacity, our own writes included.
    #[must_use]
    pub const fn desired(&self) -> u32 {
        self.desired
    }

    /// How many writes went out.
    #[must_use]
    pub const fn writes_made(&self) -> u64 {
        self.writes_made
    }

    /// `MinSize` and `MaxSize`.
    #[must_use]
    pub const fn group_bounds(&self) -> (u32, u32) {
        (self.group_min, self.group_max)
    }

    /// What the last describe showed.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// When the group was last described.
    #[must_use]
    pub const fn described_at(&self) -> Option<Instant> {
        self.described_at
    }

    /// Since when desired capacity is above what is wanted.
    #[must_use]
    pub const fn surplus_since(&self) -> Option<Instant> {
        self.surplus_since
    }

    /// Where OUT goes to, and LOWER stops.
    #[must_use]
    pub fn goal(&self, wanted: &Wanted) -> u32 {
        self.out(wanted)
    }

    /// The bounds of the target. The group's own bounds are stronger than ours, and `MinSize` is the strongest.
    #[must_use]
    pub fn bounds(&self, wanted: &Wanted) -> (u32, u32) {
        let hi = wanted.size_max.min(self.group_max).max(self.group_min);
        let lo = wanted.size_min.max(self.group_min).min(hi);
        (lo, hi)
    }

    /// How many instances should be able to serve.
    #[must_use]
    pub fn target(&self, wanted: &Wanted) -> u32 {
        let (lo, hi) = self.bounds(wanted);
        wanted.assigned.saturating_add(wanted.idle).min(hi).max(lo)
    }

    /// Takes in a describe, beside [`Self::count`]: what it changed, if anybody but us changed desired.
    pub fn described(&mut self, now: Instant, shown: &Shown<'_>, defences: Defences) -> Option<Changed> {
        let Shown { group, asked_at, member_left, unseen_decrements } = *shown;
        let desired = group.desired.saturating_sub(unseen_decrements);
        let bounds = (group.min_size, group.max_size);
        (self.group_min, self.group_max) = if defences.keep_to_group_bounds { bounds } else { (0, u32::MAX) };
        let first = self.described_at.is_none();
        self.described_at = Some(asked_at);
        if member_left {
            self.instance_leaves();
        }
        if self.wrote_at.is_some_and(|at| asked_at < at) {
            return None;
        }
        let trusted = defences.trust_own_writes && self.trusted_until.is_some_and(|until| now < until);
        if let Some(before) = &mut self.writing {
            if !trusted {
                *before = desired;
            }
            return None;
        }
        if self.doubtful_since.is_some_and(|since| asked_at >= since) {
            self.doubtful_since = None;
            self.trusted_until = None;
        }
        if desired == self.desired {
            self.trusted_until = None;
            return None;
        }
        if trusted {
            return None;
        }
        self.trusted_until = None;
        let from = core::mem::replace(&mut self.desired, desired);
        (!first).then_some(Changed { from, to: desired })
    }

    /// What to write now, if anything; a decision to write counts as made only by [`Self::writes`].
    #[must_use]
    pub fn decide(&self, now: Instant, wanted: &Wanted) -> Option<Decision> {
        let described_at = self.described_at?;
        if self.writing.is_some() || self.doubtful_since.is_some() || now < self.retry_at {
            return None;
        }
        let out = self.out(wanted);
        if wanted.may_raise && self.desired < out && (self.is_protected(wanted) || now.since(described_at) < FRESH) {
            return Some(self.decision(wanted, out));
        }
        let floor = self.floor(wanted);
        if !wanted.may_lower || self.desired <= floor {
            return None;
        }
        let since = self.surplus_since?;
        let fresh = now.since(described_at) < FRESH;
        if now.since(since) >= wanted.idle_grace && fresh && self.may_pick_no_victim() {
            return Some(self.decision(wanted, floor));
        }
        None
    }

    /// Whether capacity is missing that may be had.
    #[must_use]
    pub fn lacks(&self, wanted: &Wanted) -> bool {
        wanted.may_raise && self.desired < self.out(wanted)
    }

    /// Starts or ends the grace of a surplus, after anything changed.
    pub fn watch_surplus(&mut self, now: Instant, wanted: &Wanted) {
        if wanted.may_lower && self.described_at.is_some() && self.desired > self.floor(wanted) {
            self.surplus_since.get_or_insert(now);
        } else {
            self.surplus_since = None;
        }
    }

    /// When [`Self::decide`] may say something new by the passage of time alone.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant, wanted: &Wanted) -> Option<Instant> {
        if self.writing.is_some() || self.doubtful_since.is_some() {
            return None;
        }
        let lower_at = self.surplus_since.map(|since| since + wanted.idle_grace);
        let out_at = (wanted.may_raise && self.desired < self.out(wanted)).then_some(self.retry_at);
        [lower_at, out_at].into_iter().flatten().map(|at| at.max(self.retry_at)).filter(|at| *at > now).min()
    }

    /// A call goes out that ends an instance and takes desired capacity down with it.
    pub const fn shrinks(&mut self) {
        self.desired = self.desired.saturating_sub(1);
    }

    /// AWS refused to take desired capacity down.
    pub const fn shrink_refused(&mut self) {
        let desired = match &mut self.writing {
            Some(before) => before,
            None => &mut self.desired,
        };
        *desired = desired.saturating_add(1);
    }

    /// Whether AWS took desired capacity down is unknown: a newer describe decides.
    pub const fn shrink_in_doubt(&mut self, now: Instant) {
        self.instance_leaves();
        self.wrote_at = Some(now);
        self.doubtful_since = Some(now);
    }

    /// Whether desired capacity is known, with no write of it on its way.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        self.writing.is_none() && self.doubtful_since.is_none()
    }

    /// Whether the newest describe is young enough to end anything by it.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.described_at.is_some_and(|at| now.since(at) < FRESH)
    }

    /// Whether the next describe may change what is done, even if it shows what the last one did.
    #[must_use]
    pub const fn waits_for_describe(&self) -> bool {
        self.trusted_until.is_some() || self.doubtful_since.is_some() || self.surplus_since.is_some()
    }

    /// Whether the group changes, or is about to: then it is described often. Jobs that run change nothing.
    #[must_use]
    pub fn in_motion(&self, wanted: &Wanted) -> bool {
        self.described_at.is_none()
            || self.writing.is_some()
            || self.trusted_until.is_some()
            || self.doubtful_since.is_some()
            || self.counts.pending > 0
            || self.counts.terminating > 0
            || self.counts.in_service != self.desired
            || self.desired != self.out(wanted)
    }

    /// An instance leaves by itself, as its job ended, and takes desired with it, perhaps before a describe shows
    /// either: the next describe is believed.
    pub const fn instance_leaves(&mut self) {
        self.trusted_until = None;
        self.left_while_writing = self.writing.is_some();
    }

    /// A decision goes out to AWS.
    pub fn writes(&mut self, decision: Decision) {
        assert!(self.writing.is_none(), "one write at a time");
        self.writing = Some(self.desired);
        self.writes_made += 1;
        self.left_while_writing = false;
        self.desired = decision.to;
    }

    /// AWS took the write; whether that raised capacity.
    pub fn wrote(&mut self, now: Instant) -> bool {
        let before = self.writing.take();
        assert!(before.is_some(), "a write ends once");
        self.wrote_at = Some(now);
        self.trusted_until = (!self.left_while_writing).then(|| now + TRUST_OWN_WRITE);
        self.surplus_since = None;
        self.backoff.reset();
        before.is_some_and(|before| before < self.desired)
    }

    /// AWS did not take the write, or nobody knows: then a newer describe decides what desired is.
    pub fn refused(&mut self, now: Instant, error: &AwsError, rng: &mut Rng) {
        let before = self.writing.take();
        assert!(before.is_some(), "a write ends once");
        self.trusted_until = None;
        match error {
            AwsError::Throttled | AwsError::Denied { .. } | AwsError::Contention => {
                self.desired = before.unwrap_or(self.desired);
            }
            AwsError::Validation { .. } | AwsError::Misbehaved { .. } | AwsError::Transport { .. } => {
                self.wrote_at = Some(now);
                self.doubtful_since = Some(now);
            }
        }
        self.retry_at = now + self.backoff.fail(rng, None);
    }

    /// Where OUT goes to, and LOWER stops.
    fn out(&self, wanted: &Wanted) -> u32 {
        self.target(wanted)
            .saturating_add(self.counts.unusable)
            .min(self.group_max.min(wanted.room).max(self.group_min))
    }

    /// Whether a capacity set on an old view can kill nobody.
    const fn is_protected(&self, wanted: &Wanted) -> bool {
        wanted.may_lower && self.counts.unprotected == 0
    }

    /// Where LOWER stops: managed instances that are able to serve are not its business.
    fn floor(&self, wanted: &Wanted) -> u32 {
        let out = self.out(wanted);
        if !wanted.is_managed {
            return out;
        }
        out.max(self.counts.ready.saturating_add(self.counts.unusable)).max(self.group_min)
    }

    const fn may_pick_no_victim(&self) -> bool {
        self.counts.pending == 0 && self.counts.unprotected == 0
    }

    fn decision(&self, wanted: &Wanted, to: u32) -> Decision {
        let (lo, hi) = self.bounds(wanted);
        Decision {
            from: self.desired,
            to,
            assigned: wanted.assigned,
            idle: wanted.idle,
            lo,
            hi,
            target: self.target(wanted),
            unusable: self.counts.unusable,
            in_service: self.counts.in_service,
            pending: self.counts.pending,
        }
    }

    /// Counts what the newest describe shows, as each instance is judged by now.
    pub fn count(&mut self, now: Instant, group: &Group, boot_deadline: Duration, judge: impl Fn(&str) -> Judgement) {
        let mut counts = Counts::default();
        for instance in &group.instances {
            let judgement = judge(&instance.id);
            match &instance.state {
                LifecycleState::Pending | LifecycleState::InService if judgement == Judgement::Leaves => {
                    // As long as AWS shows it, AWS may pick it, or another in its place.
                    let exposed = instance.state == LifecycleState::InService && !instance.protected;
                    counts.unprotected += u32::from(exposed);
                    counts.terminating += 1;
                }
                LifecycleState::Pending => {
                    counts.pending += 1;
                    let since = self.pending_since.get(&instance.id).copied().unwrap_or_else(|| {
                        self.pending_since.insert(instance.id.clone(), now);
                        now
                    });
                    let is_late = now.since(since) >= boot_deadline.times(2);
                    let comes = !is_late && judgement == Judgement::Serves;
                    counts.unusable += u32::from(!comes);
                }
                LifecycleState::InService => {
                    let is_ready = instance.healthy && judgement == Judgement::Serves;
                    counts.in_service += 1;
                    counts.ready += u32::from(is_ready);
                    counts.unprotected += u32::from(!instance.protected);
                    counts.unusable += u32::from(!is_ready);
                }
                LifecycleState::Terminating => counts.terminating += 1,
                LifecycleState::Other(_) => {}
            }
        }
        // Each that is pending has its place by now; whatever is left over has gone on, or is told to leave.
        if self.pending_since.len() > usize::try_from(counts.pending).unwrap_or(usize::MAX) {
            let pending =
                |id: &ShortText| group.instances.iter().any(|i| i.id == *id && i.state == LifecycleState::Pending);
            self.pending_since.retain(|id, _| pending(id));
        }
        self.counts = counts;
    }
}

#[cfg(test)]
mod tests;
