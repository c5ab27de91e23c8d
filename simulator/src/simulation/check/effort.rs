//! Effort: how much is wanted in a step, in a minute, and kept for good.

use std::collections::BTreeMap;

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Reply};
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};
use serde::Deserialize;

use super::{Asked, Checker, Heard, Moment, Observed};

/// Effects a step may have, beside those for each pool.
const EFFECTS_A_STEP: usize = 64;
/// Effects a step may have for each pool.
const EFFECTS_A_POOL: usize = 8;
/// Effects a step may have for each instance that there was at once: a describe may show that all of them are gone.
const EFFECTS_AN_INSTANCE: usize = 2;
/// Secrets that may be kept, beside those of each pool: each scope's chain of tokens has three.
const SECRETS: usize = 16;
/// Secrets that may be kept for each pool: its queue's token, a new one while the old one dies, and its scope's chain.
const SECRETS_A_POOL: usize = 5;
/// Secrets that may be kept for each instance: its config, until it is stored.
const SECRETS_AN_INSTANCE: usize = 1;
/// Bytes the machine's state may take, beside those for each pool, connection and instance.
const STATE: usize = 64 * 1024;
const STATE_A_POOL: usize = 12 * 1024;
/// A managed one, and what is left of another that has gone while its config waits to be deleted.
const STATE_AN_INSTANCE: usize = 2 * 1024;
/// How often the machine's whole state is measured.
const MEASURE_EVERY: u64 = 8192;

/// A step wants few things, and nothing piles up.
#[derive(Debug, Default)]
pub struct Bounded {
    steps: u64,
    most_groups: usize,
    most_instances: usize,
}

impl Checker for Bounded {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn contract(&self) -> &'static str {
        "effects a step, secrets, memories and state are bounded by the number of pools and instances"
    }

    fn started(&mut self) {
        self.steps = 0;
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        self.most_groups = self.most_groups.max(moment.wire.groups());
        let instances = moment.wire.instances();
        self.most_instances = self.most_instances.max(instances);
        let pools = self.most_groups;
        let effects = moment.effects.len();
        if effects > EFFECTS_A_STEP + EFFECTS_A_POOL * pools + EFFECTS_AN_INSTANCE * self.most_instances {
            let most = self.most_instances;
            return Err(format!("{effects} effects in one step, with {pools} pools and {most} instances"));
        }
        let secrets = moment.observed.secrets;
        if secrets > SECRETS + SECRETS_A_POOL * pools + SECRETS_AN_INSTANCE * instances {
            return Err(format!("{secrets} secrets are kept, with {pools} pools and {instances} instances"));
        }
        self.steps += 1;
        if self.steps.is_multiple_of(MEASURE_EVERY) { self.measure(moment) } else { Ok(()) }
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        // A session and a binding for each group there ever was: what a dead daemon left is not looked through.
        let groups = observed.world?.aws_model().groups().count().max(self.most_groups);
        (observed.memories > 2 * groups).then(|| format!("{} memories for {groups} groups", observed.memories))
    }
}

impl Bounded {
    fn measure(&self, moment: &Moment<'_>) -> Result<(), String> {
        let Some(machine) = moment.observed.machine else { return Ok(()) };
        let state = serde_json::to_vec(machine).map_err(|error| error.to_string())?.len();
        let most = STATE + STATE_A_POOL * self.most_groups + STATE_AN_INSTANCE * moment.wire.instances();
        if state > most {
            return Err(format!("the machine's state takes {state} bytes, more than {most}"));
        }
        Ok(())
    }
}

/// How many calls of a kind a minute may hold.
struct Budget {
    /// For each set, or each group for what is about none.
    each: u32,
    /// More for each message that came.
    a_message: u32,
}

/// The most jobs that one message offers.
const OFFERS_A_MESSAGE: u32 = 50;

/// The bound of each kind of call to GitHub.
///
/// A poll that brings nothing lasts a second or is followed by a growing rest, so a minute holds 60 and a few more. What
/// fails is repeated after waits that double: up to 10 times in a minute where success ends the row, up to 70 where two
/// calls take turns in failing and succeeding, each round half a second or more. What a message asks for comes on top.
const fn budget(call: CallKind) -> Budget {
    let (each, a_message) = match call {
        CallKind::Poll => (80, 2),
        CallKind::Acknowledge | CallKind::AcquirableJobs => (40, 2),
        // Where there is room for one, each offer of a message or a list is asked for on its own until one is had.
        CallKind::Acquire => (40, OFFERS_A_MESSAGE),
        CallKind::RefreshSession => (70, 2),
        CallKind::CreateSession | CallKind::DeleteSession => (40, 0),
        CallKind::ScaleSet => (60, 1),
        CallKind::Installation
        | CallKind::AccessToken
        | CallKind::RegistrationToken
        | CallKind::AdminConnection
        | CallKind::RunnerGroup
        | CallKind::ScaleSets
        | CallKind::ScaleSetByName
        | CallKind::CreateScaleSet
        | CallKind::UpdateScaleSet
        | CallKind::DeleteScaleSet => (70, 0),
        // For each instance there is a row of its own, bounded there.
        CallKind::JitConfig | CallKind::RunnerByName | CallKind::RemoveRunner => (u32::MAX, 0),
        CallKind::Runners => (20, 0),
        CallKind::Runner => (0, 0),
    };
    Budget { each, a_message }
}

/// Describes a minute: every 2 s those in motion, and a listing that may fail some times.
const DESCRIBES: u32 = 60;
/// Calls of a kind about one instance in a minute: what fails is repeated after waits that double.
const CALLS_AN_INSTANCE: u32 = 12;
/// Calls that protect instances of a group in a minute: one every 2 s as new ones are seen.
const PROTECTIONS: u32 = 40;
/// Pages a minute of one warm pool: it is listed once a minute, and again after a restart.
const WARM_PAGES: u32 = 12;
/// Writes a minute of one group: each follows from a message, a describe or a wait that grows.
const WRITES: u32 = 60;
const MINUTE_MS: u64 = 60_000;

/// Nothing is asked in a loop.
#[derive(Debug, Default)]
pub struct Effort {
    minute: u64,
    github: BTreeMap<(CallKind, u64), u32>,
    messages: BTreeMap<u64, u32>,
    /// Jobs in lists of those that wait to be acquired.
    listed: BTreeMap<u64, u32>,
    writes: BTreeMap<ShortText, u32>,
    describes: u32,
    instances: BTreeMap<(&'static str, ShortText), u32>,
}

impl Checker for Effort {
    fn name(&self) -> &'static str {
        "effort"
    }

    fn contract(&self) -> &'static str {
        "the calls of each kind in a minute are bounded for each scale set and group"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        self.begin_minute(heard.observed.at);
        if let Event::GitHubReply { result: Ok(reply), .. } = heard.event
            && let Some(Asked::GitHub { set, call: CallKind::AcquirableJobs }) =
                heard.wire.ended().map(|flight| &flight.asked)
        {
            *self.listed.entry(*set).or_default() += jobs_in(reply);
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        self.begin_minute(moment.observed.at);
        if let (Some(_), Some(Asked::GitHub { set, .. })) =
            (moment.wire.message(), moment.wire.ended().map(|flight| &flight.asked))
        {
            *self.messages.entry(*set).or_default() += 1;
        }
        for effect in moment.effects {
            match effect {
                Effect::GitHub { call, request, .. } => {
                    let set = super::wire::set_in(&request.url).unwrap_or(0);
                    self.asked(*call, set, moment)?;
                }
                Effect::Aws { call, .. } => self.asked_aws(call, moment)?,
                Effect::Cancel { .. }
                | Effect::Remember { .. }
                | Effect::Drop(_)
                | Effect::Note(_)
                | Effect::Exit(_) => {}
            }
        }
        Ok(())
    }
}

impl Effort {
    fn begin_minute(&mut self, at: Instant) {
        let minute = at.as_millis() / MINUTE_MS;
        if minute != self.minute {
            *self = Self { minute, ..Self::default() };
        }
    }

    fn asked(&mut self, call: CallKind, set: u64, moment: &Moment<'_>) -> Result<(), String> {
        let calls = self.github.entry((call, set)).or_default();
        *calls += 1;
        let Budget { each, a_message } = budget(call);
        let groups = if set == 0 { count(moment.wire.groups()).max(1) } else { 1 };
        let messages = self.messages.get(&set).copied().unwrap_or(0);
        let listed = self.listed.get(&set).copied().filter(|_| call == CallKind::Acquire).unwrap_or(0);
        let most = each.saturating_mul(groups).saturating_add(a_message * messages).saturating_add(listed);
        if *calls > most {
            return Err(format!("{calls} of {} in a minute, of set {set}, with {messages} messages", call.as_str()));
        }
        Ok(())
    }

    fn asked_aws(&mut self, call: &poolkeeper_core::aws::AwsCall, moment: &Moment<'_>) -> Result<(), String> {
        use poolkeeper_core::aws::{AwsCall, GROUPS_A_PAGE, InstanceCall};
        match call {
            AwsCall::DescribeGroups { .. } => {
                self.describes += 1;
                let pages = count(moment.wire.groups() / GROUPS_A_PAGE) + 1;
                if self.describes > DESCRIBES * pages {
                    return Err(format!("{} describes in a minute", self.describes));
                }
            }
            AwsCall::SetDesiredCapacity { group, .. } => {
                let writes = match self.writes.get_mut(group) {
                    Some(writes) => writes,
                    None => self.writes.entry(group.clone()).or_default(),
                };
                *writes += 1;
                let set = moment.wire.group(group).map_or(0, |seen| seen.set);
                let messages = self.messages.get(&set).copied().unwrap_or(0);
                if *writes > WRITES + messages {
                    return Err(format!("{writes} writes to {group} in a minute, with {messages} messages"));
                }
            }
            AwsCall::Instances { group, call: about } => {
                let (name, most) = match about {
                    InstanceCall::Protect { .. } => (group, PROTECTIONS),
                    InstanceCall::WarmMembers { .. } => (group, WARM_PAGES),
                    InstanceCall::Terminate { instance, .. }
                    | InstanceCall::CompleteHook { instance, .. }
                    | InstanceCall::PutConfig { instance, .. }
                    | InstanceCall::DeleteConfig { instance } => (instance, CALLS_AN_INSTANCE),
                };
                let calls = self.instances.entry((call.action(), name.clone())).or_default();
                *calls += 1;
                if *calls > most {
                    return Err(format!("{calls} of {} in a minute, of {name}", call.action()));
                }
            }
        }
        Ok(())
    }
}

/// How many jobs a list brings.
fn jobs_in(reply: &Reply) -> u32 {
    #[derive(Deserialize)]
    struct List {
        value: Vec<serde::de::IgnoredAny>,
    }
    let Body::Raw(body) = &reply.body else { return 0 };
    serde_json::from_slice::<List>(super::wire::without_mark(&body.0)).map_or(0, |list| count(list.value.len()))
}

/// GitHub's wish to be left alone is kept.
#[derive(Debug, Default)]
pub struct Patient {
    /// Until when nothing is to be sent, by connection.
    until: BTreeMap<String, Instant>,
    /// The connection of each call.
    asked: BTreeMap<RequestId, String>,
}

impl Checker for Patient {
    fn name(&self) -> &'static str {
        "patient"
    }

    fn contract(&self) -> &'static str {
        "after a 429 with Retry-After nothing but polls is sent on that connection until then"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, result } = heard.event
            && let Some(connection) = self.asked.remove(id)
            && let Ok(Reply { status: 429, headers, .. }) = result
            && let Some(wait_s) = headers.retry_after.as_ref().and_then(|text| text.parse().ok())
        {
            let until = heard.observed.at + Duration::from_secs(wait_s);
            let kept = self.until.entry(connection).or_insert(until);
            *kept = until.max(*kept);
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let at = moment.observed.at;
        for effect in moment.effects {
            let Effect::GitHub { id, call, request } = effect else { continue };
            if let Some(until) = self.until.get(&request.connection)
                && !call.is_poll()
                && at < *until
            {
                let early = until.since(at).as_millis();
                return Err(format!("{} is sent {early} ms early on {}", call.as_str(), request.connection));
            }
            self.asked.insert(*id, request.connection.clone());
        }
        Ok(())
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
