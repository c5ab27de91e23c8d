use std::path::{Path, PathBuf};

use poolkeeper_shell::config::JournalSettings;
use poolkeeper_shell::journal::{Segment, files};
use serde_json::{Value, json};

use super::*;

fn stored() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut found: Vec<_> = dir.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn every_stored_scenario_ends_well_and_has_a_story() {
    assert!(stored().len() >= 4);
    for path in stored() {
        let scenario = Scenario::load(&path).unwrap();
        assert!(!scenario.story.is_empty(), "{}", path.display());
        let verdict = run(&scenario);
        assert_eq!(verdict.failure, None, "{}", path.display());
        assert!(verdict.stats.simulated_ms >= scenario.span_ms && verdict.stats.jobs > 0, "{verdict:?}");
    }
}

#[test]
fn a_run_repeats_and_its_recording_has_all_its_steps() {
    let path = stored().into_iter().find(|path| path.ends_with("second-daemon.json")).unwrap();
    let scenario = Scenario::load(&path).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let recorded = record(&scenario, JournalSettings::in_dir(dir.path()));
    assert_eq!(recorded, run(&scenario));
    let first = files(dir.path()).unwrap();
    let second = files(&dir.path().join("second")).unwrap();
    assert_eq!((first.len(), second.len()), (2, 1));
    let steps = |path: &PathBuf| -> Segment { Segment::open(path).unwrap() };
    let count: usize = first.iter().chain(&second).map(|path| steps(path).count()).sum();
    assert_eq!(u64::try_from(count).unwrap(), recorded.stats.steps);
}

#[test]
fn what_is_no_scenario_is_refused_with_its_line() {
    for (text, told) in [
        ("{}", "line 1"),
        ("{\n\"format\": 1, \"sead\": 2}", "line 2"),
        ("{\"format\": 9, \"seed\": 1, \"span_ms\": 1, \"pools\": [], \"events\": []}", "format 9"),
        ("no json", "line 1"),
        (&quiet_with("sabotage", json!("nobody_known")), "nobody_known"),
        (&incident("no_such_switch", "jobs_end"), "no_such_switch"),
        (&incident("keep_waits", "no_such_checker"), "no_such_checker"),
    ] {
        let problem = Scenario::parse(text.as_bytes()).unwrap_err();
        assert!(problem.contains(told), "{problem}");
    }
}

#[test]
fn what_is_no_incident_has_no_defence_to_lack() {
    let quiet = Scenario::quiet(1, 1000, Vec::new());
    assert!(quiet.without_defence().unwrap_err().contains("no defence"));
    let incident = Scenario::parse(incident("keep_waits", "patient").as_bytes()).unwrap();
    let lacking = incident.without_defence().unwrap();
    assert!(!lacking.knobs.defences.keep_waits);
    assert_eq!(Scenario::parse(lacking.to_json().as_bytes()).as_ref(), Ok(&lacking));
}

fn quiet_with(key: &str, value: Value) -> String {
    let mut scenario = serde_json::to_value(Scenario::quiet(1, 1000, Vec::new())).unwrap();
    scenario.as_object_mut().unwrap().insert(key.to_owned(), value);
    scenario.to_string()
}

fn incident(switch: &str, checker: &str) -> String {
    let defence = json!({ "switch": switch });
    let issues = ["acme/tool#1"];
    quiet_with(
        "incident",
        json!({ "seen": "a", "issues": issues, "here": "b", "defence": defence, "checker": checker }),
    )
}
