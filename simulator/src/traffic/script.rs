//! Recordings as a script: what was asked, what was answered, and when.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::Path;

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply};
use poolkeeper_core::config::Config;
use poolkeeper_core::event::{Effect, Event, Memory};
use poolkeeper_core::github::reply::{Reply, TransportError, TransportErrorKind};
use poolkeeper_core::github::request::RequestId;
use poolkeeper_core::recording::{Header, Step, Text};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Instant, Now};
use poolkeeper_shell::journal::{ReadError, Segment};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::fleet::{Fleet, query};
use super::key::{Key, Queues};

/// An answer of GitHub, as it was recorded.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// When it came, on the script's clock.
    pub(super) at_ms: u64,
    /// How long it took.
    pub(super) took_ms: u64,
    pub(super) result: Result<Reply, TransportError>,
}

/// An answer to a write, as it was recorded.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) took_ms: u64,
    pub(super) result: Result<AwsReply, AwsError>,
}

/// What the peers said in recordings, in order, and what came from outside.
#[derive(Clone, Debug)]
pub struct Script {
    /// The version that wrote the first recording.
    pub version: String,
    /// The config of the first recording.
    pub config: Config,
    /// Steps that were read.
    pub steps: u64,
    /// Exchanges with either peer.
    pub exchanges: u64,
    /// Writes of desired capacity that were recorded.
    pub writes: u64,
    pub(super) remembered: Vec<Memory>,
    pub(super) unix_ms: u64,
    pub(super) end_ms: u64,
    pub(super) answers: BTreeMap<Key, VecDeque<Answer>>,
    pub(super) written: BTreeMap<ShortText, VecDeque<Written>>,
    pub(super) fleet: Fleet,
    /// What the operator did: changes of the config, and at last a stop.
    pub(super) outside: VecDeque<(u64, Event)>,
}

/// Why there is no script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptError {
    /// A file is no recording, or not wholly one.
    Unreadable(ReadError),
    /// The files hold no step.
    Empty,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
            Self::Empty => f.write_str("there is no step in these recordings; record a daemon for a while first"),
        }
    }
}

impl std::error::Error for ScriptError {}

/// A call whose end was not read yet.
enum Asked {
    GitHub(Key, u64),
    Aws(AwsCall, u64),
}

/// Reads recordings, one after the other.
struct Reader {
    script: Script,
    queues: Queues,
    asked: BTreeMap<RequestId, Asked>,
    /// Where the present life begins: on the script's clock, and on its own.
    life: (u64, Instant),
    at_ms: u64,
    is_empty: bool,
}

impl Script {
    /// Reads segments of any version of this format, in the order in which they were written.
    ///
    /// # Errors
    /// When a file is no recording, is damaged, or none holds a step. A file that a crash cut short is none of these.
    pub fn read<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Self, ScriptError> {
        let mut reader: Option<Reader> = None;
        for file in files {
            let mut segment: Segment<IgnoredAny, Text> = Segment::open(file).map_err(ScriptError::Unreadable)?;
            let reader = reader.get_or_insert_with(|| Reader::new(&segment.header));
            let mut begins_life = segment.header.segment == 0;
            for step in segment.by_ref() {
                let step = step.map_err(ScriptError::Unreadable)?;
                if std::mem::take(&mut begins_life) || reader.is_empty {
                    reader.begin_life(step.now);
                }
                reader.step(step);
            }
            if let Some(cut) = segment.cut().filter(|_| segment.is_torn()) {
                let problem = cut.split_once(": ").map_or(cut, |(_, how)| how).to_owned();
                return Err(ScriptError::Unreadable(ReadError {
                    file: file.to_owned(),
                    line: segment.line(),
                    problem,
                }));
            }
        }
        reader.filter(|reader| !reader.is_empty).map(Reader::finish).ok_or(ScriptError::Empty)
    }

    /// How long the recordings are.
    #[must_use]
    pub const fn millis(&self) -> u64 {
        self.end_ms
    }
}

impl Reader {
    fn new(header: &Header<IgnoredAny>) -> Self {
        let script = Script {
            version: header.version.clone(),
            config: header.config.clone(),
            steps: 0,
            exchanges: 0,
            writes: 0,
            remembered: Vec::new(),
            unix_ms: 0,
            end_ms: 0,
            answers: BTreeMap::new(),
            written: BTreeMap::new(),
            fleet: Fleet::default(),
            outside: VecDeque::new(),
        };
        let life = (0, Instant::default());
        Self { script, queues: Queues::default(), asked: BTreeMap::new(), life, at_ms: 0, is_empty: true }
    }

    /// Another life's clock begins anew: the wall clock says how long the daemon was away.
    fn begin_life(&mut self, now: Now) {
        if std::mem::take(&mut self.is_empty) {
            self.script.unix_ms = now.unix_ms;
        } else {
            self.at_ms = now.unix_ms.saturating_sub(self.script.unix_ms).max(self.at_ms);
        }
        self.life = (self.at_ms, now.mono);
        self.asked.clear();
        self.script.outside.retain(|(_, event)| !matches!(event, Event::Stop));
    }

    fn step(&mut self, step: Step<Text>) {
        let (began_ms, began) = self.life;
        self.at_ms = (began_ms + step.now.mono.since(began).as_millis()).max(self.at_ms);
        self.script.steps += 1;
        self.script.end_ms = self.at_ms;
        self.event(step.event);
        // An effect that another version knows and this one does not is none that its peers would see.
        let effects = step.effects.and_then(|text| parts(&text).ok()).unwrap_or_default();
        for effect in effects {
            match effect {
                Effect::GitHub { id, call, request } => {
                    self.asked.insert(id, Asked::GitHub(self.queues.key(call, &request), self.at_ms));
                }
                Effect::Aws { id, call } => {
                    self.script.writes += u64::from(matches!(call, AwsCall::SetDesiredCapacity { .. }));
                    self.asked.insert(id, Asked::Aws(call, self.at_ms));
                }
                Effect::Cancel { .. }
                | Effect::Remember { .. }
                | Effect::Drop(_)
                | Effect::Note(_)
                | Effect::Exit(_) => {}
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::GitHubReply { id, result } => match self.asked.remove(&id) {
                Some(Asked::GitHub(key, since_ms)) => self.said(key, since_ms, result),
                Some(Asked::Aws(..)) | None => {}
            },
            Event::AwsReply { id, result } => match self.asked.remove(&id) {
                Some(Asked::Aws(call, since_ms)) => self.aws_said(&call, since_ms, result),
                Some(Asked::GitHub(..)) | None => {}
            },
            event @ (Event::Reconfigure(_) | Event::Stop) => self.script.outside.push_back((self.at_ms, event)),
            Event::Start { remembered } if self.script.steps == 1 => self.script.remembered = remembered,
            Event::Start { .. } | Event::Tick | Event::Remembered { .. } => {}
        }
    }

    fn said(&mut self, key: Key, since_ms: u64, result: Result<Reply, TransportError>) {
        let cancelled = |error: &TransportError| error.kind == TransportErrorKind::Cancelled;
        if result.as_ref().err().is_some_and(cancelled) {
            return;
        }
        self.queues.learn(&key, &result);
        self.script.exchanges += 1;
        let answer = Answer { at_ms: self.at_ms, took_ms: self.at_ms - since_ms, result };
        self.script.answers.entry(key).or_default().push_back(answer);
    }

    fn aws_said(&mut self, call: &AwsCall, since_ms: u64, result: Result<AwsReply, AwsError>) {
        self.script.exchanges += 1;
        if let Some((query, token)) = query(call) {
            return self.script.fleet.record(self.at_ms, query, token.is_none(), result);
        }
        if let AwsCall::SetDesiredCapacity { group, .. } = call {
            let written = Written { took_ms: self.at_ms - since_ms, result };
            self.script.written.entry(group.clone()).or_default().push_back(written);
        }
    }

    fn finish(self) -> Script {
        self.script
    }
}

fn parts(text: &Text) -> serde_json::Result<Vec<Effect>> {
    let parts: Vec<&RawValue> = serde_json::from_str(text.get())?;
    Ok(parts.iter().filter_map(|part| serde_json::from_str(part.get()).ok()).collect())
}
