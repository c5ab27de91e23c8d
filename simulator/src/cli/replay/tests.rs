//! Replays of small recordings, whole and broken.

use std::fs;

use poolkeeper_core::config::Config;
use poolkeeper_core::event::{Event, ExitReason};
use poolkeeper_core::recording::FORMAT;
use poolkeeper_core::time::Instant;
use serde::Serialize;

use super::*;

mod bad_input;
mod told;

const CONFIG: &str = r#"{"stack":"prod","owner":"host","connections":{"main":{"url":"https://github.com",
    "credential":"pat","orgs":["acme"]}}}"#;
const SEED: u64 = 7;

fn at(ms: u64) -> Now {
    Now { mono: Instant::from_millis(ms), unix_ms: 1_777_629_600_000 + ms }
}

/// A recording of a daemon that starts and ticks, in segments of two steps.
struct Recording {
    dir: tempfile::TempDir,
    segments: Vec<(Header, Vec<Step>)>,
}

impl Recording {
    fn new() -> Self {
        let config: Config = serde_json::from_str(CONFIG).unwrap();
        let mut machine = Machine::new(config.clone(), SEED);
        let events = [Event::Start { remembered: Vec::new() }, Event::Tick, Event::Tick, Event::Stop];
        let mut segments: Vec<(Header, Vec<Step>)> = Vec::new();
        for (n, event) in (0_u32..).zip(events) {
            if n.is_multiple_of(2) {
                let header = Header {
                    format: FORMAT,
                    version: VERSION.to_owned(),
                    segment: n / 2,
                    seed: SEED,
                    config: config.clone(),
                    state: machine.clone(),
                };
                segments.push((header, Vec::new()));
            }
            let mut effects = Vec::new();
            let now = at(u64::from(n) * 60_000);
            machine.handle(now, event.clone(), &mut effects);
            segments.last_mut().unwrap().1.push(Step { now, event, effects: Some(effects) });
        }
        Self { dir: tempfile::tempdir().unwrap(), segments }
    }

    fn write(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for (header, steps) in &self.segments {
            let mut text = line(header) + "\n";
            for step in steps {
                text += &(line(step) + "\n");
            }
            let name = format!("journal-1000-{:06}.jsonl.zst", header.segment);
            files.push(self.dir.path().join(name));
            fs::write(files.last().unwrap(), text).unwrap();
        }
        files
    }
}

fn line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

fn options(files: Vec<PathBuf>) -> Options {
    Options { files, until: None, from: None, pool: None, explain: false, other_version: false, json: false }
}

/// The exit code, what was told, and what was complained of.
fn replay_as(options: &Options) -> (u8, String, String) {
    let mut out = Vec::new();
    let (code, complaint) = match run(options, &mut out) {
        Ok(code) => (code, String::new()),
        Err(Failure::Usage(complaint)) => (crate::cli::USAGE, complaint),
        Err(Failure::Failed(complaint)) => (FAILED, complaint),
    };
    (code, String::from_utf8(out).unwrap(), complaint)
}

fn replay(files: Vec<PathBuf>, until: Option<Until>) -> (u8, String) {
    let (code, told, complaint) = replay_as(&Options { until, ..options(files) });
    assert_eq!(complaint, "");
    (code, told)
}

#[test]
fn a_recording_replays_whole_and_by_segments() {
    let recording = Recording::new();
    let files = recording.write();
    let (code, told) = replay(vec![recording.dir.path().to_owned()], None);
    assert_eq!((code, told.as_str()), (0, "4 steps of 2 segments replayed: every effect as recorded\n"));
    for file in files {
        let (code, told) = replay(vec![file], None);
        assert_eq!((code, told.as_str()), (0, "2 steps of 1 segments replayed: every effect as recorded\n"));
    }
}

#[test]
fn the_first_difference_is_told_with_its_place() {
    let mut recording = Recording::new();
    let step = &mut recording.segments[1].1[0];
    step.effects.as_mut().unwrap().push(Effect::Exit(ExitReason::StoppedAtDeadline));
    let files = recording.write();
    let (code, told) = replay(files.clone(), None);
    assert_eq!(code, 1, "{told}");
    let place = format!("{}:2: step 3 at 2026-05-01T10:02:00.000Z: the effects differ", files[1].display());
    assert!(told.contains(&place), "{told}");
    assert!(told.contains("    - {\"exit\":\"stopped_at_deadline\"}\n    + (nothing)\n"), "{told}");
    assert!(told.contains("  event: \"tick\""), "{told}");
    assert!(told.ends_with("1 difference\n"), "{told}");
}

#[test]
fn a_segment_must_begin_where_the_last_one_ended() {
    let mut recording = Recording::new();
    let other = CONFIG.replace("acme", "widgets");
    let config: Config = serde_json::from_str(&other).unwrap();
    recording.segments[1].0.state = Machine::new(config, SEED);
    recording.segments[1].1.clear();
    let (code, told) = replay(recording.write(), None);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("the state is not as") && told.contains("    - \"widgets\"\n    + \"acme\"\n"), "{told}");
}

#[test]
fn a_life_must_begin_with_a_fresh_machine() {
    let mut recording = Recording::new();
    recording.segments.truncate(1);
    let config: Config = serde_json::from_str(&CONFIG.replace("acme", "widgets")).unwrap();
    recording.segments[0].0.state = Machine::new(config, SEED);
    recording.segments[0].1.clear();
    let (code, told) = replay(recording.write(), None);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("the state is not a fresh machine"), "{told}");
}

#[test]
fn a_step_without_effects_ends_a_recording_that_was_cut() {
    let mut recording = Recording::new();
    recording.segments[1].1[1].effects = None;
    let (code, told) = replay(recording.write(), None);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn until_stops_and_shows_the_machine() {
    let recording = Recording::new();
    let files = recording.write();
    let (code, told) = replay(files.clone(), Some(Until::Step(3)));
    assert_eq!(code, 0);
    let shown: Machine = serde_json::from_str(&told).unwrap();
    assert_eq!(shown, recording.segments[1].0.state);
    let time = until("2026-05-01T10:02:00Z").unwrap();
    assert_eq!(replay(files, Some(time)), (code, told));
    assert!(until("soon").is_err());
}
