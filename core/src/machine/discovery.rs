//! Finding groups: a listing of all every minute, and of those in motion every two seconds.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::capacity::Describe;
use super::{MOST_IDS, Machine, TimerKind};
use crate::aws::{AwsError, GROUPS_A_PAGE, Group, GroupQuery};
use crate::backoff::Backoff;
use crate::event::Effect;
use crate::notice::{AwsFact, Notice, PoolId};
use crate::pool::Pool;
use crate::short_text::ShortText;
use crate::spec::STACK_TAG;
use crate::time::{Duration, Instant};

const LIST_EVERY: Duration = Duration::from_secs(60);
const DESCRIBE_MOVING_EVERY: Duration = Duration::from_secs(2);
/// A listing of more pages than this is taken for a peer's fault.
const MOST_PAGES: u32 = 500;
/// The most groups one daemon looks after.
const MOST_POOLS: usize = 20_000;
/// A group is gone when this many complete listings in a row lacked it…
const GONE_AFTER: u32 = 3;
/// …over at least this long.
const GONE_FOR: Duration = Duration::from_secs(120);
/// When more than one in this many vanish at once, nothing is closed.
const BRAKE_SHARE: u32 = 5;
/// One group alone is no mass.
const BRAKE_LEAST: u32 = 2;

/// What is known of the listings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Discovery {
    listing: u64,
    running: bool,
    pages: u32,
    named: Vec<ShortText>,
    complete: bool,
    /// How many complete listings there were, up to the number that proves that a group is gone.
    #[serde(default)]
    listings: u32,
    groups: u32,
    braked: u32,
    generation: u64,
    moving_in_flight: u32,
    moved_at: Instant,
    backoff: Backoff,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            listing: 0,
            running: false,
            pages: 0,
            named: Vec::new(),
            complete: false,
            listings: 0,
            groups: 0,
            braked: 0,
            generation: 1,
            moving_in_flight: 0,
            moved_at: Instant::default(),
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
        }
    }
}

impl Discovery {
    /// Whether a complete listing was seen.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// What was refused before may be served now: every group is looked at again.
    pub(super) const fn resolve_all(&mut self) {
        self.generation += 1;
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }
}

impl Machine {
    pub(super) fn begin_listing(&mut self) {
        if self.stopping.is_some() || self.discovery.running {
            return;
        }
        let discovery = &mut self.discovery;
        discovery.running = true;
        discovery.listing += 1;
        discovery.pages = 0;
        discovery.groups = 0;
        discovery.named = self.config.pools.keys().cloned().collect();
        let query = GroupQuery::Tagged { key: STACK_TAG.into(), value: self.config.stack.clone() };
        self.aws.describe(Describe::Listing { query, next_token: None });
    }

    pub(super) fn describe_moving(&mut self) {
        if self.stopping.is_some() || self.discovery.moving_in_flight > 0 || self.moving.is_empty() {
            return;
        }
        let mut moving = self.moving.iter().filter_map(|id| self.pools.get(*id));
        loop {
            let names: Vec<_> = moving.by_ref().take(GROUPS_A_PAGE).map(|pool| pool.group.name.clone()).collect();
            if names.is_empty() {
                break;
            }
            self.discovery.moving_in_flight += 1;
            self.aws.describe(Describe::Moving { names });
        }
        self.discovery.moved_at = self.now;
    }

    /// Keeps the timer of the groups in motion.
    pub(super) fn set_moving(&mut self, id: PoolId, moving: bool) {
        let Some(pool) = self.pools.get_mut(id).filter(|pool| pool.is_moving != moving) else { return };
        pool.is_moving = moving;
        if moving {
            if self.moving.is_empty() && !pool.needs_describe(self.now) {
                // What set the group in motion was just seen or written: a describe at once would show nothing newer.
                self.discovery.moved_at = self.now;
            }
            self.moving.insert(id);
        } else {
            self.moving.remove(&id);
        }
        self.rearm_motion();
    }

    /// One page, or the end of a describe.
    pub(super) fn described(
        &mut self,
        describe: Describe,
        asked_at: Instant,
        result: Result<(Vec<Group>, Option<String>), AwsError>,
        effects: &mut Vec<Effect>,
    ) {
        match (describe, result) {
            (Describe::Moving { .. }, Ok((groups, _))) => {
                self.discovery.moving_in_flight -= 1;
                self.observe_all(groups, asked_at, None, effects);
                self.rearm_motion();
            }
            (Describe::Moving { .. }, Err(error)) => {
                self.discovery.moving_in_flight -= 1;
                effects.push(describe_failed(error, DESCRIBE_MOVING_EVERY));
                self.rearm_motion();
            }
            (Describe::Listing { query, .. }, Ok((groups, next_token))) => {
                self.discovery.pages += 1;
                self.discovery.groups += u32::try_from(groups.len()).unwrap_or(u32::MAX);
                if let GroupQuery::Named(names) = &query {
                    report_missing(names, &groups, effects);
                }
                self.observe_all(groups, asked_at, Some(self.discovery.listing), effects);
                self.continue_listing(query, next_token, effects);
            }
            (Describe::Listing { .. }, Err(error)) => {
                self.discovery.running = false;
                let retry_in = self.discovery.backoff.fail(&mut self.rng, None);
                effects.push(describe_failed(error, retry_in));
                self.schedule_listing(retry_in);
            }
        }
    }

    fn rearm_motion(&mut self) {
        let due = self.discovery.moved_at + DESCRIBE_MOVING_EVERY;
        let wanted = !self.moving.is_empty() && self.discovery.moving_in_flight == 0 && self.stopping.is_none();
        self.timers.set(TimerKind::Motion, wanted.then(|| due.max(self.now)));
    }

    fn schedule_listing(&mut self, wait: Duration) {
        if self.stopping.is_none() {
            self.timers.set(TimerKind::Listing, Some(self.now + wait));
        }
    }

    fn continue_listing(&mut self, query: GroupQuery, next_token: Option<String>, effects: &mut Vec<Effect>) {
        if next_token.is_some() {
            if self.discovery.pages >= MOST_PAGES {
                let message = alloc::format!("the listing of groups has more than {MOST_PAGES} pages");
                let page = Describe::Listing { query, next_token };
                return self.described(page, self.now, Err(AwsError::Misbehaved { message }), effects);
            }
            return self.aws.describe(Describe::Listing { query, next_token });
        }
        let named = &mut self.discovery.named;
        if !named.is_empty() {
            let rest = named.split_off(named.len().min(GROUPS_A_PAGE));
            let names = core::mem::replace(named, rest);
            return self.aws.describe(Describe::Listing { query: GroupQuery::Named(names), next_token: None });
        }
        self.listing_complete(effects);
    }

    fn listing_complete(&mut self, effects: &mut Vec<Effect>) {
        let first = !self.discovery.complete;
        self.discovery.running = false;
        self.discovery.complete = true;
        self.discovery.backoff.reset();
        self.schedule_listing(LIST_EVERY);
        self.remember_again(effects);
        if first {
            effects.push(Effect::Note(Notice::Aws(AwsFact::Listed { groups: self.discovery.groups })));
            self.resolve_the_refused(effects);
        }
        self.look_for_the_missing(effects);
        self.list_warm_pools();
        if self.discovery.braked > 0 {
            return;
        }
        let listings = self.discovery.listings + 1;
        self.discovery.listings = listings.min(GONE_AFTER);
        if listings == GONE_AFTER || (listings > GONE_AFTER && self.remembers_strangers()) {
            self.forget_strangers(effects);
        }
    }

    /// Groups are listed once a minute, and behind them the warm pools of those that are there.
    fn list_warm_pools(&mut self) {
        let Self { pools, aws, .. } = self;
        for pool in pools.values_mut().filter(|pool| !pool.gone && pool.missed == 0 && pool.spec.is_some()) {
            if pool.group.warm_pool.is_some() && pool.warm.begins() {
                aws.list_warm(pool.id, None);
            }
        }
    }

    /// A set that was kept for the group it belonged to in an earlier life is free if that group is gone.
    fn resolve_the_refused(&mut self, effects: &mut Vec<Effect>) {
        let refused: Vec<_> = self.pools.values().filter(|pool| pool.spec.is_none()).map(|pool| pool.id).collect();
        for id in refused {
            let Some(pool) = self.pools.get(id) else { continue };
            if let Ok(spec) = crate::spec::resolve(&pool.group, &self.config) {
                self.claim(id, crate::pool::Claim::Wants(Box::new(spec)), effects);
                self.touched.insert(id);
            }
        }
    }

    fn look_for_the_missing(&mut self, effects: &mut Vec<Effect>) {
        let (listing, now) = (self.discovery.listing, self.now);
        let of = u32::try_from(self.pools.len()).unwrap_or(u32::MAX);
        let mut missing = 0;
        for pool in self.pools.values_mut() {
            if pool.listed_in == listing {
                pool.missed = 0;
                continue;
            }
            missing += 1;
            if pool.missed == 0 {
                pool.missed_since = now;
            }
            pool.missed += 1;
        }
        let brake = self.config.defences.brake_on_mass_disappearance
            && missing >= BRAKE_LEAST
            && missing.saturating_mul(BRAKE_SHARE) > of;
        if brake {
            if self.discovery.braked != missing {
                effects.push(Effect::Note(Notice::Aws(AwsFact::MassDisappearance { missing, of })));
            }
            self.discovery.braked = missing;
            return self.resolve_the_refused(effects);
        }
        self.discovery.braked = 0;
        for pool in self.pools.values_mut().filter(|pool| is_lost(pool, now)) {
            pool.gone = true;
            self.touched.insert(pool.id);
        }
    }

    fn observe_all(&mut self, groups: Vec<Group>, asked_at: Instant, listing: Option<u64>, effects: &mut Vec<Effect>) {
        for group in groups {
            self.observe(group, asked_at, listing, effects);
        }
    }

    fn observe(&mut self, group: Group, asked_at: Instant, listing: Option<u64>, effects: &mut Vec<Effect>) {
        let known = self.pool_of(&group);
        if known.is_none() {
            self.let_go_of_namesake(&group, asked_at);
        }
        let id = match known {
            Some(id) => id,
            None if listing.is_none() || !self.may_add_pool() => return,
            None => self.add_pool(group.clone()),
        };
        let generation = self.discovery.generation;
        let config = &self.config;
        let Some(pool) = self.pools.get_mut(id) else { return };
        if let Some(listing) = listing {
            pool.listed_in = listing;
            pool.missed = 0;
        }
        if pool.is_outdated(asked_at) {
            return;
        }
        let must_resolve = pool.resolved_in != generation || pool.retag.is_some();
        pool.resolved_in = generation;
        let same = pool.group == group;
        let unchanged = same && !must_resolve && pool.is_settled(self.now);
        let mut out = Vec::new();
        let claim = pool.described(self.now, asked_at, (!same).then_some(group), config, must_resolve, &mut out);
        for effect in out {
            self.carry_out_for_pool(id, effect, effects);
        }
        self.claim(id, claim, effects);
        if !unchanged {
            self.touched.insert(id);
        }
    }

    /// The hash of the name finds the pool, and the ARN proves it.
    fn pool_of(&self, group: &Group) -> Option<PoolId> {
        let named = self.by_name.get(&hash(&group.name)).and_then(|id| self.pools.get(*id));
        match named.filter(|pool| pool.group.arn == group.arn) {
            Some(pool) => Some(pool.id),
            None => self.by_arn.get(&group.arn).copied(),
        }
    }

    /// A name is one group's at a time: a pool that had it before would write to a group that is not its own.
    fn let_go_of_namesake(&mut self, group: &Group, asked_at: Instant) {
        let namesake = self.by_name.get(&hash(&group.name)).and_then(|id| self.pools.get_mut(*id));
        if let Some(pool) = namesake.filter(|pool| pool.group.name == group.name && !pool.is_outdated(asked_at)) {
            pool.replaced();
            self.touched.insert(pool.id);
        }
    }

    fn may_add_pool(&self) -> bool {
        self.stopping.is_none() && self.pools.len() < MOST_POOLS && self.next_pool + 1 < MOST_IDS
    }

    fn add_pool(&mut self, group: Group) -> PoolId {
        self.next_pool += 1;
        let id = PoolId(self.next_pool);
        self.by_arn.insert(group.arn.clone(), id);
        self.by_name.insert(hash(&group.name), id);
        self.pools.insert(id, Box::new(Pool::new(id, group, &self.config.owner)));
        id
    }
}

/// FNV-1a.
pub(super) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a group was missing for so long that it is gone.
pub(super) fn is_lost(pool: &Pool, now: Instant) -> bool {
    pool.missed >= GONE_AFTER && now.since(pool.missed_since) >= GONE_FOR
}

fn describe_failed(error: AwsError, retry_in: Duration) -> Effect {
    Effect::Note(Notice::Aws(AwsFact::DescribeFailed { error, retry_in }))
}

fn report_missing(names: &[ShortText], groups: &[Group], effects: &mut Vec<Effect>) {
    for name in names.iter().filter(|name| !groups.iter().any(|group| group.name == **name)) {
        effects.push(Effect::Note(Notice::Aws(AwsFact::NamedGroupMissing { group: name.clone() })));
    }
}
