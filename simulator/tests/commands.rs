//! The command line of `poolkeeper-sim`, as a person meets it.

use std::process::{Command, Output};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_poolkeeper-sim")).args(args).output().expect("the binary runs")
}

#[test]
fn help_names_the_commands() {
    let output = sim(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("serve") && text.contains("replay"), "{text}");
}

#[test]
fn a_recording_that_is_not_there_is_a_usage_error() {
    let output = sim(&["replay", "no-such-journal.jsonl.zst"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-journal.jsonl.zst"));
}

#[test]
fn a_foreign_file_is_refused_with_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("journal.jsonl");
    std::fs::write(&file, "{\"hello\":1}\n").expect("a file");
    let output = sim(&["replay", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("journal.jsonl"), "{output:?}");
}

fn incident(name: &str) -> String {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("incidents");
    dir.join(format!("{name}.json")).display().to_string()
}

#[test]
fn an_incident_is_run_with_its_defence_and_without() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, keep) = (incident("empty-success"), dir.path().display().to_string());
    let output = sim(&["fuzz", &file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = sim(&["fuzz", "--without-defence", "--keep", &keep, &file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("without its defence: stays_up"), "{told}");
    let kept = dir.path().join("empty-success.json").display().to_string();
    assert!(told.contains(&format!("shrink {kept}")), "{told}");
    assert_eq!(sim(&["fuzz", "--keep", &keep, &kept]).status.code(), Some(1), "what was kept fails again");
}

#[test]
fn what_tells_of_no_incident_cannot_be_run_without_its_defence() {
    let file = incident("../scenarios/late-writes");
    for args in [&["fuzz", "--without-defence"][..], &["fuzz", "--without-defence", &file]] {
        assert_eq!(sim(args).status.code(), Some(2), "{args:?}");
    }
}
