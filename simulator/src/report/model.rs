//! The page's data, gathered step by step.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::message::JobMessage;
use poolkeeper_core::github::reply::{Reply, TransportError, TransportErrorKind};
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::machine::TimerKind;
use poolkeeper_core::notice::{Decision, Notice, PoolFact, PoolId};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_shell::notice_text;
use serde::Serialize;

use super::cause::{self, Cause, Ended};
use super::columns::Dictionary;
use super::daemon::Daemon;
use super::pool::{Marker, MarkerClass, Pool, numbers};
use super::summary::{CallRow, Calls, Counted, FailureRow, Spread};

/// The most points of all lines together: beyond that, lines are thinned.
const MAX_POINTS: usize = 600_000;

/// Gathers a report from the steps of a machine.
#[derive(Debug, Default)]
pub struct Collector {
    dictionary: Dictionary,
    decisions: Vec<[u32; 10]>,
    decision_places: BTreeMap<[u32; 10], u64>,
    pools: Vec<Pool>,
    by_arn: BTreeMap<String, usize>,
    by_group: BTreeMap<ShortText, usize>,
    by_id: BTreeMap<PoolId, usize>,
    daemon: Daemon,
    calls: Calls,
    github_flights: BTreeMap<RequestId, CallKind>,
    aws_flights: BTreeMap<RequestId, (AwsCall, Option<u64>)>,
    latencies_ms: Vec<u64>,
    notes: Vec<String>,
    pub(super) about: About,
}

/// What was recorded.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct About {
    pub(super) stack: ShortText,
    pub(super) owner: String,
    pub(super) versions: BTreeSet<String>,
    /// In milliseconds since 1970.
    pub(super) from_ms: u64,
    pub(super) span_ms: u64,
    pub(super) segments: u64,
    pub(super) steps: u64,
    pub(super) lives: u64,
}

/// One step, as it is told to the collector.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// Milliseconds since the recording began.
    pub(super) at: u64,
    pub(super) event: &'a Event,
    /// The timer that was due first before the step.
    pub(super) timer: Option<TimerKind>,
    pub(super) effects: &'a [Effect],
}

/// The data as the page reads it.
#[derive(Debug, Serialize)]
pub(super) struct Data<'a> {
    about: &'a About,
    notes: &'a [String],
    classes: [MarkerClass; 5],
    texts: &'a Dictionary,
    decisions: Vec<u32>,
    pools: &'a [Pool],
    daemon: &'a Daemon,
    counted: Counted,
    waits: Option<Spread>,
    latency: Option<Spread>,
    bucket_min: u64,
    calls: Vec<CallRow>,
    failures: Vec<FailureRow>,
    thinned: bool,
}

impl Collector {
    /// Something that the reader of the page should know of the recording itself.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// A life of the daemon begins; nothing is known of the time since the last one.
    pub(super) fn begin_life(&mut self, last_at: u64, at: u64, why: &str) {
        self.about.lives += 1;
        self.by_id.clear();
        self.github_flights.clear();
        self.aws_flights.clear();
        for pool in &mut self.pools {
            pool.lose_sight(last_at);
        }
        self.daemon.close(last_at);
        if self.about.lives > 1 {
            let what = self.dictionary.place(why);
            self.daemon.down.add(last_at, at, what);
        }
    }

    /// Looks at every pool: at the start of a segment.
    pub(super) fn look_at_all(&mut self, at: u64, machine: &Machine) {
        for view in machine.pools(None, usize::MAX) {
            self.look(at, view.id, machine);
        }
    }

    fn look(&mut self, at: u64, id: PoolId, machine: &Machine) {
        let Some(view) = machine.pool(id) else {
            if let Some(pool) = self.by_id.remove(&id).and_then(|place| self.pools.get_mut(place)) {
                pool.lose_sight(at);
            }
            return;
        };
        let place = *self.by_arn.entry(view.arn.clone()).or_insert(self.pools.len());
        if place == self.pools.len() {
            self.pools.push(Pool::default());
        }
        if self.by_id.insert(id, place).is_none() {
            self.by_group.insert(view.group.clone(), place);
        }
        if let Some(pool) = self.pools.get_mut(place) {
            pool.look(at, &view, &mut self.dictionary);
        }
    }

    /// Takes one step in, which `machine` has just taken.
    pub(super) fn step(&mut self, told: &Told<'_>, machine: &Machine) {
        self.about.steps += 1;
        self.about.span_ms = told.at;
        let ended = self.end_call(told.at, told.event);
        let cause = cause::tell(told.event, ended, told.timer);
        let settled: BTreeSet<PoolId> = machine.settled().iter().copied().collect();
        for id in &settled {
            self.look(told.at, *id, machine);
        }
        let mut messages: BTreeMap<PoolId, (Cause, &[JobMessage])> = BTreeMap::new();
        for effect in told.effects {
            if let Effect::Note(Notice::Pool { pool, fact: PoolFact::Message { message, jobs, .. }, .. }) = effect {
                messages.insert(*pool, (cause::tell_message(*message, jobs), jobs));
            }
        }
        for effect in told.effects {
            match effect {
                Effect::GitHub { id, call, .. } => {
                    self.calls.made(told.at, "github", call.as_str());
                    self.github_flights.insert(*id, *call);
                }
                Effect::Aws { id, call } => self.aws_called(told, *id, call),
                Effect::Note(Notice::Pool { pool, fact, .. }) => match messages.get(pool) {
                    Some((message, jobs)) => self.fact(told, *pool, fact, message, jobs),
                    None => self.fact(told, *pool, fact, &cause, &[]),
                },
                Effect::Note(notice) => self.notice(told.at, notice, &cause),
                Effect::Cancel { .. } | Effect::Remember { .. } | Effect::Drop(_) | Effect::Exit(_) => {}
            }
        }
        if let Event::Start { .. } = told.event {
            self.mark_daemon(told.at, MarkerClass::Info, "started", "the daemon started", &cause);
        }
        self.watch_wants(told.at, &settled);
    }

    /// Notes that a machine of this version broke on a step.
    pub(super) fn broke(&mut self, at: u64, event: &Event, timer: Option<TimerKind>) {
        self.about.steps += 1;
        self.about.span_ms = at;
        let ended = self.end_call(at, event);
        let cause = cause::tell(event, ended, timer);
        let what = "an assertion of the machine fails on this event: replay the recording and report it";
        self.mark_daemon(at, MarkerClass::Error, "panic", what, &cause);
    }

    /// Notes that the wall clock moved otherwise than time.
    pub(super) fn clock_jumped(&mut self, at: u64, by_ms: i64) {
        let what = format!("the wall clock jumped by {} s; times are told as before the jump", by_ms / 1000);
        self.mark_daemon(at, MarkerClass::Anomaly, "clock", &what, &Cause::new("somebody set the clock"));
    }

    fn end_call(&mut self, at: u64, event: &Event) -> Ended {
        match event {
            Event::GitHubReply { id, result } => {
                let call = self.github_flights.remove(id);
                self.github_ended(at, call, result);
                Ended { github: call, aws: None }
            }
            Event::AwsReply { id, result } => {
                let flight = self.aws_flights.remove(id);
                let name = flight.as_ref().map(|(call, _)| call.action());
                self.aws_ended(at, name.unwrap_or("unknown"), flight.and_then(|(_, since)| since), result);
                Ended { github: None, aws: name }
            }
            Event::Start { .. } | Event::Tick | Event::Remembered { .. } | Event::Reconfigure(_) | Event::Stop => {
                Ended::default()
            }
        }
    }

    fn github_ended(&mut self, at: u64, call: Option<CallKind>, result: &Result<Reply, TransportError>) {
        let (failure, is_outage) = match result {
            Ok(reply) if reply.status < 400 => (None, false),
            Ok(reply) => (Some(format!("HTTP {}", reply.status)), reply.status >= 500),
            Err(TransportError { kind: TransportErrorKind::Cancelled, .. }) => return,
            Err(error) => {
                (Some(cause::transport_words(error.kind).to_owned()), error.kind != TransportErrorKind::NotSent)
            }
        };
        if let Some(what) = &failure {
            self.calls.failed("github", call.map_or("unknown", CallKind::as_str), what);
        }
        let outage = failure.filter(|_| is_outage);
        self.daemon.github_ended(at, outage.as_deref(), &mut self.dictionary);
    }

    fn aws_ended(&mut self, at: u64, call: &'static str, since: Option<u64>, result: &Result<AwsReply, AwsError>) {
        match result {
            Ok(_) => {
                self.latencies_ms.extend(since.map(|since| at - since));
                self.daemon.aws_ended(at, None, &mut self.dictionary);
            }
            Err(error) => {
                let what = cause::aws_words(error);
                self.calls.failed("aws", call, what);
                self.daemon.aws_ended(at, Some(what), &mut self.dictionary);
            }
        }
    }

    fn aws_called(&mut self, told: &Told<'_>, id: RequestId, call: &AwsCall) {
        self.calls.made(told.at, "aws", call.action());
        let since = match call {
            AwsCall::DescribeGroups { .. } | AwsCall::Instances { .. } => None,
            AwsCall::SetDesiredCapacity { group, .. } => {
                let pool = self.by_group.get(group).and_then(|place| self.pools.get_mut(*place));
                let heard = matches!(told.event, Event::GitHubReply { .. }).then_some(told.at);
                pool.and_then(|pool| pool.wanting_since.take()).or(heard)
            }
        };
        self.aws_flights.insert(id, (call.clone(), since));
    }

    /// Pools that want more than they could ask for: their wait begins with the word from GitHub.
    fn watch_wants(&mut self, at: u64, settled: &BTreeSet<PoolId>) {
        for id in settled {
            let Some(pool) = self.by_id.get(id).and_then(|place| self.pools.get_mut(*place)) else { continue };
            if !pool.below_target {
                pool.wanting_since = None;
            } else if pool.wanting_since.is_none() {
                pool.wanting_since = Some(at);
            }
        }
    }

    fn fact(&mut self, told: &Told<'_>, id: PoolId, fact: &PoolFact, cause: &Cause, jobs: &[JobMessage]) {
        if let PoolFact::Message { jobs, unknown, .. } = fact {
            if let Some(pool) = self.by_id.get(&id).and_then(|place| self.pools.get_mut(*place)) {
                pool.counted.messages += 1;
                pool.count_jobs(jobs);
            }
            if *unknown == 0 {
                return;
            }
        }
        let said = notice_text::tell(&Notice::Pool { pool: id, group: ShortText::default(), fact: fact.clone() });
        let class = class_of_fact(fact, said.level);
        let pool = self.by_id.get(&id).and_then(|place| self.pools.get(*place));
        let waited = pool.and_then(|pool| pool.surplus_before).filter(|_| class == MarkerClass::Lower);
        let after_surplus = waited.map(|since| cause.after_surplus(told.at - since));
        let what = match scaling(fact) {
            Some(decision) => self.decision(decision),
            None => self.dictionary.place(&said.text),
        };
        let marker = self.marker(told.at, class, said.kind, what, after_surplus.as_ref().unwrap_or(cause));
        let Some(pool) = self.by_id.get(&id).and_then(|place| self.pools.get_mut(*place)) else { return };
        match class {
            MarkerClass::Raise => pool.counted.raises += 1,
            MarkerClass::Lower => pool.counted.lowers += 1,
            MarkerClass::Error => pool.counted.errors += 1,
            MarkerClass::Anomaly => pool.counted.anomalies += 1,
            MarkerClass::Info => {}
        }
        pool.markers.push(marker);
        if matches!(class, MarkerClass::Raise | MarkerClass::Lower) {
            pool.markers.name_jobs(jobs, &mut self.dictionary);
        }
    }

    fn notice(&mut self, at: u64, notice: &Notice, cause: &Cause) {
        let said = notice_text::tell(notice);
        let text = match notice {
            Notice::Connection { connection, scope, .. } => format!("{connection}, {scope}: {}", said.text),
            Notice::Pool { .. }
            | Notice::Aws(_)
            | Notice::StrayReply { .. }
            | Notice::NotRemembered { .. }
            | Notice::Reconfigured
            | Notice::Stopping => said.text,
        };
        self.mark_daemon(at, class_of(said.level), said.kind, &text, cause);
    }

    fn mark_daemon(&mut self, at: u64, class: MarkerClass, kind: &str, text: &str, cause: &Cause) {
        let what = self.dictionary.place(text);
        let marker = self.marker(at, class, kind, what, cause);
        self.daemon.markers.push(marker);
    }

    fn marker(&mut self, at: u64, class: MarkerClass, kind: &str, what: u64, cause: &Cause) -> Marker {
        let kind = self.dictionary.place(kind);
        let words = self.dictionary.place(&cause.words);
        Marker { at, class, step: self.about.steps, kind, what, cause: words, number: cause.number }
    }

    fn decision(&mut self, decision: &Decision) -> u64 {
        let numbers = numbers(decision);
        if let Some(place) = self.decision_places.get(&numbers) {
            return *place;
        }
        let place = u64::try_from(self.decisions.len()).unwrap_or(u64::MAX);
        self.decisions.push(numbers);
        self.decision_places.insert(numbers, place);
        place
    }

    /// Ends what is open, and gives the data out.
    pub(super) fn data(&mut self) -> Data<'_> {
        let end = self.about.span_ms;
        self.daemon.close(end);
        let (mut counted, mut waits_ms) = (Counted::default(), Vec::new());
        let points: usize = self.pools.iter().map(Pool::points).sum();
        let most_a_line = MAX_POINTS / (self.pools.len() * 4).max(1);
        for pool in &mut self.pools {
            pool.close(end);
            if points > MAX_POINTS {
                pool.thin(most_a_line);
            }
            pool.waits = Spread::of(&mut pool.waits_ms);
            waits_ms.extend_from_slice(&pool.waits_ms);
            counted.add(&pool.counted);
        }
        let daemon = &self.daemon.markers;
        counted.errors += u64::try_from(daemon.count(MarkerClass::Error)).unwrap_or(0);
        counted.anomalies += u64::try_from(daemon.count(MarkerClass::Anomaly)).unwrap_or(0);
        Data {
            about: &self.about,
            notes: &self.notes,
            classes: MarkerClass::ALL,
            texts: &self.dictionary,
            decisions: self.decisions.concat(),
            pools: &self.pools,
            daemon: &self.daemon,
            counted,
            waits: Spread::of(&mut waits_ms),
            latency: Spread::of(&mut self.latencies_ms),
            bucket_min: Calls::minutes_a_bucket(end),
            calls: self.calls.rows(end),
            failures: self.calls.failure_rows(),
            thinned: points > MAX_POINTS,
        }
    }
}

const fn scaling(fact: &PoolFact) -> Option<&Decision> {
    if let PoolFact::Scaling(decision) = fact { Some(decision) } else { None }
}

fn class_of_fact(fact: &PoolFact, level: tracing::Level) -> MarkerClass {
    if let Some(decision) = scaling(fact) {
        return if decision.to > decision.from { MarkerClass::Raise } else { MarkerClass::Lower };
    }
    if let PoolFact::Message { .. } = fact {
        return MarkerClass::Anomaly;
    }
    let failed =
        matches!(fact, PoolFact::CallFailed { .. } | PoolFact::SessionLost(_) | PoolFact::ScalingFailed { .. });
    if failed { MarkerClass::Error } else { class_of(level) }
}

fn class_of(level: tracing::Level) -> MarkerClass {
    match level {
        tracing::Level::ERROR => MarkerClass::Error,
        tracing::Level::WARN => MarkerClass::Anomaly,
        _ => MarkerClass::Info,
    }
}
