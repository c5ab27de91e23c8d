//! What is measured of a run, from events and effects alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use poolkeeper_core::aws::{AwsCall, AwsError, InstanceCall};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::notice::{Notice, PoolFact, RunnerFact};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};

use crate::simulation::check::{Asked, Checker, Heard, Moment, runner_in};

const MINUTE_MS: u64 = 60_000;

/// Percentiles of spans in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    samples: usize,
    p50: u64,
    p95: u64,
    p99: u64,
    max: u64,
}

impl Spread {
    pub(super) fn of(mut ms: Vec<u64>) -> Self {
        ms.sort_unstable();
        let nearest = |percent: usize| {
            let rank = (ms.len() * percent).div_ceil(100).max(1);
            ms.get(rank - 1).copied().unwrap_or(0)
        };
        Self { samples: ms.len(), p50: nearest(50), p95: nearest(95), p99: nearest(99), max: nearest(100) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |ms: u64| format!("{}.{:02} s", ms / 1000, ms % 1000 / 10);
        let Self { samples, p50, p95, p99, max } = *self;
        write!(f, "p50 {}, p95 {}, p99 {}, max {} of {samples}", s(p50), s(p95), s(p99), s(max))
    }
}

/// Calls of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    made: u64,
    throttled: u64,
}

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// From the reply with a config until AWS has taken it.
    queued_ms: Vec<u64>,
    /// By action.
    calls: BTreeMap<&'static str, Calls>,
    /// Of Auto Scaling and of the store, by minute.
    minutes: BTreeMap<(bool, u64), Calls>,
    /// Calls to GitHub, by kind.
    github: BTreeMap<&'static str, u64>,
    /// Instances that were proven free, and those whose end AWS has taken.
    free: u64,
    ended: u64,
}

impl Figures {
    /// How many instances are proven free and wait for their end.
    pub(super) const fn waiting_for_their_end(&self) -> u64 {
        self.free.saturating_sub(self.ended)
    }

    /// The longest that a config waited for the store.
    pub(super) fn longest_wait(&self) -> Duration {
        Duration::from_millis(self.queued_ms.iter().copied().max().unwrap_or(0))
    }

    /// An API of which more than a quarter of all calls was throttled.
    pub(super) fn storm(&self) -> Option<&'static str> {
        [("Auto Scaling", false), ("the store", true)].into_iter().find_map(|(name, of_store)| {
            let minutes = self.minutes.iter().filter(|((store, _), _)| *store == of_store);
            let (made, throttled) =
                minutes.fold((0, 0), |(made, throttled), (_, calls)| (made + calls.made, throttled + calls.throttled));
            (throttled * 4 > made).then_some(name)
        })
    }

    pub(super) fn calls_to_github(&self, call: &str) -> u64 {
        self.github.get(call).copied().unwrap_or(0)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  a config waits for the store {}", Spread::of(self.queued_ms.clone()))?;
        for (name, of_store) in [("Auto Scaling", false), ("the store", true)] {
            let minutes = self.minutes.iter().filter(|((store, _), _)| *store == of_store);
            let busiest = minutes.map(|(_, calls)| *calls).max_by_key(|calls| calls.made).unwrap_or_default();
            writeln!(f, "  the busiest minute of {name}: {} calls, {} throttled", busiest.made, busiest.throttled)?;
        }
        for (action, Calls { made, throttled }) in &self.calls {
            writeln!(f, "  {action}: {made}, {throttled} throttled")?;
        }
        write!(f, "  GitHub:")?;
        self.github.iter().try_for_each(|(call, made)| write!(f, " {call} {made}"))
    }
}

/// Measures, and objects to nothing.
#[derive(Debug)]
pub(super) struct Meter {
    figures: Arc<Mutex<Figures>>,
    asked: BTreeMap<RequestId, ShortText>,
    issued: BTreeMap<ShortText, Instant>,
}

impl Meter {
    pub(super) fn new(figures: Arc<Mutex<Figures>>) -> Self {
        Self { figures, asked: BTreeMap::new(), issued: BTreeMap::new() }
    }
}

impl Checker for Meter {
    fn name(&self) -> &'static str {
        "meter"
    }

    fn contract(&self) -> &'static str {
        "all is measured"
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        let at = heard.observed.at;
        let mut figures = self.figures.lock().map_err(|poisoned| poisoned.to_string())?;
        match heard.event {
            Event::GitHubReply { id, result } => {
                if let (Some(instance), Ok(reply)) = (self.asked.remove(id), result)
                    && reply.status == 200
                {
                    self.issued.insert(instance, at);
                }
            }
            Event::AwsReply { result, .. } => {
                let Some(asked) = heard.wire.ended().map(|flight| &flight.asked) else { return Ok(()) };
                if result == &Err(AwsError::Throttled) {
                    let (action, of_store) = action_of(asked);
                    figures.calls.entry(action).or_default().throttled += 1;
                    figures.minutes.entry((of_store, at.as_millis() / MINUTE_MS)).or_default().throttled += 1;
                }
                if let Asked::Instances { call: InstanceCall::Terminate { .. }, .. } = asked {
                    figures.ended += u64::from(result.is_ok());
                }
                if let Asked::Instances { call: InstanceCall::PutConfig { instance, .. }, .. } = asked
                    && result.is_ok()
                    && let Some(issued) = self.issued.remove(instance)
                {
                    figures.queued_ms.push(at.since(issued).as_millis());
                }
            }
            Event::Start { .. } | Event::Tick | Event::Remembered { .. } | Event::Reconfigure(_) | Event::Stop => {}
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let mut figures = self.figures.lock().map_err(|poisoned| poisoned.to_string())?;
        for effect in moment.effects {
            match effect {
                Effect::GitHub { id, call, request } => {
                    *figures.github.entry(call.as_str()).or_default() += 1;
                    if *call == CallKind::JitConfig {
                        self.asked.extend(runner_in(request).map(|instance| (*id, instance)));
                    }
                }
                Effect::Aws { call, .. } => {
                    let minute = moment.observed.at.as_millis() / MINUTE_MS;
                    figures.calls.entry(call.action()).or_default().made += 1;
                    figures.minutes.entry((is_of_store(call), minute)).or_default().made += 1;
                }
                Effect::Note(Notice::Pool { fact: PoolFact::Runner(RunnerFact::Free { .. }), .. }) => figures.free += 1,
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

fn is_of_store(call: &AwsCall) -> bool {
    call.action().ends_with("Parameter")
}

fn action_of(asked: &Asked) -> (&'static str, bool) {
    match asked {
        Asked::Describe { .. } => ("DescribeAutoScalingGroups", false),
        Asked::Write { .. } => ("SetDesiredCapacity", false),
        Asked::Instances { group, call } => {
            let call = AwsCall::Instances { group: group.clone(), call: call.clone() };
            (call.action(), is_of_store(&call))
        }
        Asked::GitHub { .. } => ("none", false),
    }
}
