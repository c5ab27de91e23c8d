//! Recorded traffic, and judges that can object.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use poolkeeper_core::github::request::{CallKind, Request, RequestId};
use poolkeeper_core::notice::{Decision, Notice, PoolFact, PoolId};
use poolkeeper_core::view::SessionView;
use poolkeeper_shell::journal;
use proptest::prelude::*;

use super::*;
use crate::github::MARKER;

fn recordings() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let mut found: Vec<PathBuf> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    assert!(!found.is_empty());
    found
}

fn scripts() -> &'static [Script] {
    static SCRIPTS: OnceLock<Vec<Script>> = OnceLock::new();
    SCRIPTS.get_or_init(|| {
        let read = |dir: &PathBuf| {
            let files = journal::files(dir).unwrap();
            Script::read(files.iter().map(PathBuf::as_path)).unwrap()
        };
        recordings().iter().map(read).collect()
    })
}

#[test]
fn what_was_recorded_is_taken_well() {
    for (script, dir) in scripts().iter().zip(recordings()) {
        let verdict = run(script, None);
        assert_eq!(verdict.violations, [], "{}", dir.display());
        assert!(verdict.answered > 300 && verdict.made_up < verdict.answered / 4, "{verdict:?}");
        assert!(verdict.writes * 2 > script.writes && verdict.writes < script.writes * 2, "{verdict:?}");
        assert_eq!(verdict, run(script, None), "the same script gives the same verdict");
    }
}

#[test]
fn a_segment_alone_is_a_script_too() {
    for dir in recordings() {
        for file in journal::files(&dir).unwrap() {
            let script = Script::read([file.as_path()]).unwrap();
            assert_eq!(run(&script, None).violations, [], "{}", file.display());
        }
    }
}

#[test]
fn a_state_that_nobody_can_read_is_no_hindrance() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other.jsonl");
    let first = journal::files(&recordings()[0]).unwrap().remove(0);
    let mut lines: Vec<String> = journal::read(&first).unwrap().map(|line| line.unwrap().text).collect();
    let (head, _) = lines[0].split_once("\"state\":").unwrap();
    lines[0] = format!("{}\"state\":\"another shape\"}}", head.replace("\"version\":\"", "\"version\":\"9."));
    lines[20] = lines[20].replacen("\"effects\":[", "\"effects\":[{\"teleport\":{\"to\":\"Mars\"}},", 1);
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let script = Script::read([file.as_path()]).unwrap();
    assert!(script.version.starts_with("9."));
    let verdict = run(&script, None);
    assert_eq!(verdict.violations, []);
    assert!(verdict.answered > 300, "{verdict:?}");
}

#[test]
fn what_is_no_recording_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("foreign");
    for (text, line) in [("hello\n", 1), ("", 1), ("{\"format\":1}\n", 1), ("{\"format\":7}\n", 1)] {
        std::fs::write(&file, text).unwrap();
        let error = Script::read([file.as_path()]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}:{line}: ", file.display())), "{error}");
    }
    let whole = std::fs::read(&journal::files(&recordings()[0]).unwrap()[0]).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(Script::read([file.as_path()]), Err(ScriptError::Unreadable(error)) if error.line > 1));
    assert_eq!(Script::read([]).unwrap_err(), ScriptError::Empty);
}

/// Runs a recording with a saboteur, and says which contracts were broken.
fn broken_by(sabotage: impl FnMut(&Machine, &mut Vec<Effect>) + 'static) -> Vec<&'static str> {
    let script = &scripts()[0];
    let mut run = Run::new(script, None);
    run.saboteur = Some(Box::new(sabotage));
    let verdict = catch_unwind(AssertUnwindSafe(|| run.finish(script, None))).unwrap();
    verdict.violations.iter().map(|violation| violation.contract).collect()
}

fn request(effect: &mut Effect, wanted: CallKind) -> Option<(&mut RequestId, &mut CallKind, &mut Request)> {
    if let Effect::GitHub { id, call, request } = effect
        && *call == wanted
    {
        return Some((id, call, request));
    }
    None
}

fn decision(effect: &mut Effect) -> Option<&mut Decision> {
    if let Effect::Note(Notice::Pool { fact: PoolFact::Scaling(decision), .. }) = effect {
        return Some(decision);
    }
    None
}

fn is(effect: &Effect, wanted: CallKind) -> bool {
    matches!(effect, Effect::GitHub { call, .. } if *call == wanted)
}

fn polls_again(effects: &mut Vec<Effect>, times: usize) {
    let polls: Vec<Effect> = effects.iter().filter(|effect| is(effect, CallKind::Poll)).cloned().collect();
    for _ in 0..times {
        effects.extend(polls.iter().cloned());
    }
}

#[test]
fn each_judge_can_object() {
    let mut caught: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sabotage =
        |contracts: Vec<&'static str>| contracts.into_iter().for_each(|c| *caught.entry(c).or_default() += 1);
    sabotage(broken_by(|_, effects| polls_again(effects, 1)));
    sabotage(broken_by(|_, effects| polls_again(effects, 500)));
    sabotage(broken_by(|_, effects| {
        effects.push(Effect::Remember { key: format!("session/{MARKER}"), value: None });
    }));
    sabotage(broken_by(|_, effects| {
        effects.iter_mut().filter_map(decision).for_each(|decision| decision.to = 10_000);
    }));
    sabotage(broken_by(|_, effects| {
        let decisions = effects.iter_mut().filter_map(decision).filter(|decision| decision.from > 0);
        decisions.for_each(|decision| decision.to = decision.from - 1);
    }));
    sabotage(broken_by(|machine, effects| {
        let resting = machine.pool(PoolId(1)).filter(|pool| pool.session != SessionView::Open);
        effects.extend(resting.map(|pool| {
            let fact = PoolFact::Scaling(Decision { from: 0, to: 1, ..NOTHING });
            Effect::Note(Notice::Pool { pool: pool.id, group: pool.group, fact })
        }));
    }));
    sabotage(broken_by(|_, effects| {
        for (_, _, request) in effects.iter_mut().filter_map(|effect| request(effect, CallKind::Acknowledge)) {
            request.url = request.url.replace("/messages/", "/messages/7");
        }
    }));
    sabotage(broken_by(|_, effects| {
        for (_, call, request) in effects.iter_mut().filter_map(|effect| request(effect, CallKind::Poll)) {
            *call = CallKind::Acquire;
            request.body = Some(format!("{:?}", (1..100).collect::<Vec<u64>>()));
        }
    }));
    let mut first = None;
    sabotage(broken_by(move |_, effects| {
        let asked = effects.iter().find(|effect| is(effect, CallKind::AdminConnection));
        first = first.take().or(asked.cloned());
        let again = first.clone().filter(|_| effects.iter().any(|effect| is(effect, CallKind::Poll)));
        effects.extend(again);
    }));
    let mut all: Vec<&str> = judge::all().iter().map(|judge| judge.contract()).collect();
    all.retain(|contract| !caught.contains_key(contract));
    assert_eq!(all, Vec::<&str>::new(), "nothing makes these judges object; caught: {caught:#?}");
}

const NOTHING: Decision =
    Decision { from: 0, to: 0, assigned: 0, idle: 0, lo: 0, hi: 0, target: 0, unusable: 0, in_service: 0, pending: 0 };

#[test]
fn a_machine_that_panics_is_found() {
    let mut script = scripts()[0].clone();
    script.outside.push_front((60_000, Event::Start { remembered: Vec::new() }));
    assert_eq!(run(&script, None).violations, [], "a second start is none of these");
    let mut run = Run::new(&scripts()[0], None);
    run.step(Event::Tick);
    assert_eq!(run.violations[0].contract, "the machine does not panic", "nothing may come before the start");
}

/// Answers that are taken out of a script: each names one by its place among all of a call's.
fn without(script: &Script, taken: &[(usize, prop::sample::Index)]) -> Script {
    let mut script = script.clone();
    for (call, nth) in taken {
        let calls = script.answers.len();
        if let Some(answers) = script.answers.values_mut().nth(call % calls)
            && !answers.is_empty()
        {
            answers.remove(nth.index(answers.len()));
        }
    }
    script
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_objects_whatever_befalls_the_answers(
        recording in any::<prop::sample::Index>(),
        faults in any::<u64>(),
        lost in prop::collection::vec((any::<usize>(), any::<prop::sample::Index>()), 0..30),
    ) {
        let script = without(recording.get(scripts()), &lost);
        prop_assert_eq!(run(&script, Some(faults)).violations, []);
    }
}
