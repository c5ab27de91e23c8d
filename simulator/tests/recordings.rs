//! Every stored recording: replayed by the version that wrote it, and run as traffic by any.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use poolkeeper_core::Machine;
use poolkeeper_core::recording::{Replay, Text, VERSION};
use poolkeeper_shell::journal::{self, Segment};
use serde::de::IgnoredAny;

fn sim(args: &[&str], recording: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_poolkeeper-sim")).args(args).arg(recording).output().expect("the binary runs")
}

fn recordings() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
    let entries = dir.read_dir().expect("the recordings are there");
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    found.retain(|path| path.is_dir());
    found
}

fn version(recording: &Path) -> String {
    let files = journal::files(recording).expect("a journal");
    let first: Segment<IgnoredAny> = Segment::open(files.first().expect("a segment")).expect("a recording");
    first.header.version
}

/// The state in a header has another shape with each change of the machine's insides: what counts are the effects.
#[test]
fn a_recording_replays_in_the_version_that_wrote_it() {
    for recording in recordings().iter().filter(|recording| version(recording) == VERSION) {
        let mut replay: Option<Replay> = None;
        for file in journal::files(recording).expect("a journal") {
            let mut segment: Segment<IgnoredAny, Text> = Segment::open(&file).expect("a segment");
            let fresh = || Replay::new(Machine::new(segment.header.config.clone(), segment.header.seed));
            let mut running = replay.take().filter(|_| segment.header.segment > 0).unwrap_or_else(fresh);
            while let Some(step) = segment.next() {
                if let Err(unlike) = running.step_text(step.expect("a step")) {
                    let (place, line) = (file.display(), segment.line());
                    panic!(
                        "{place}:{line}: {unlike:?}\nif the machine is meant to behave otherwise now, run \
                         simulator/recordings/record"
                    );
                }
            }
            assert!(running.steps() > 1_000, "{}", file.display());
            replay = Some(running);
        }
    }
}

#[test]
fn a_recording_is_traffic_for_any_version() {
    let recordings = recordings();
    assert!(!recordings.is_empty());
    for recording in recordings {
        for args in [&["traffic"][..], &["traffic", "--faults", "0..3"]] {
            let output = sim(args, &recording);
            let told = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{}: {told}", recording.display());
            assert!(told.ends_with("nobody objected\n"), "{told}");
        }
    }
}

#[test]
fn traffic_refuses_what_is_no_recording() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = sim(&["traffic"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    let file = dir.path().join("journal.jsonl");
    std::fs::write(&file, "no\n").expect("a file");
    let output = sim(&["traffic"], &file);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("journal.jsonl:1: "), "{output:?}");
}
