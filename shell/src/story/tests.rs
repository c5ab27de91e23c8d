//! Stories of a stored recording, and of journals that are not as a daemon wrote them.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::journal::{Until, expand, read};

/// The job that waited while the daemon was not there yet.
const EARLY: &str = "00000000-0000-4000-8000-000000000002";
/// Beyond the end of every file.
const BEYOND: Option<Until> = Some(Until::Step(1_000_000));

/// The journal of an hour of two pools whose instances end themselves.
fn recording() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulator/recordings/two-pools");
    expand(&[dir]).unwrap()
}

fn story(name: &str) -> String {
    let told = tell(&recording(), &Subject::read(name), None);
    assert_eq!(told.bad, None);
    told.story.unwrap().to_string()
}

#[test]
fn a_job_is_told_by_any_of_its_ids() {
    let told = story(EARLY);
    assert_eq!(told, story("2"));
    let entries = told.split("\n\n").nth(1).unwrap();
    let expected = "\
2026-05-01T10:00:14.954Z  queued at GitHub
2026-05-01T10:01:00.262Z  capacity follows demand
2026-05-01T10:01:00.884Z  session 03c980e6-f248-4607-b4b7-b0a07a9ef66f is open: the pool listens
2026-05-01T10:01:00.989Z  assigned to acme-pool-1 (message 1)
2026-05-01T10:01:00.989Z  capacity as it came: desired 1, 0 in service, 0 pending, group 0 to 20, for 1 job assigned, it \
among them, and 0 running; no more are wanted
2026-05-01T10:01:00.989Z  it waits: 0 of 1 instances are in service, 0 pending
2026-05-01T10:02:01.421Z  started on i-1272028bc848180e6, runner 1 (message 4), after 106.4 s
2026-05-01T10:03:06.971Z  completed: canceled, after it ran for 65.5 s (message 9)";
    assert_eq!(entries, expected, "{told}");
    let closing = "It waited for 106.4 s: 45.6 s until GitHub assigned it, 406 ms until poolkeeper heard of it, 60.4 s until \
                   a runner took it.\nIt ran on i-1272028bc848180e6 for 65.5 s: canceled.\n";
    assert!(told.ends_with(closing), "{told}");
}

#[test]
fn a_pool_is_told_by_any_of_its_names() {
    let told = story("acme/pool-1");
    assert_eq!([story("acme-pool-1"), story("ci-acme-pool-1")], [told.clone(), told.clone()]);
    let is_write = |line: &&str| line.contains("Z  desired capacity ") && line.contains(" -> ");
    let writes = told.lines().filter(is_write).count();
    assert!(writes > 10, "{told}");
    for part in ["    cause:  ", "    wanted: ", "    there:  ", "    rule:   "] {
        assert_eq!(told.matches(part).count(), writes, "{part}");
    }
    assert!(told.contains("\n  acme-pool-1 (group ci-acme-pool-1, acme on connection main) is driven"), "{told}");
    assert!(told.contains("the daemon starts again"), "the journal is of two lives");
}

#[test]
fn an_instance_that_ends_itself_is_told_as_such() {
    let told = story("i-1272028bc848180e6");
    assert!(told.contains("first seen in a describe: Pending; desired capacity went 0 -> 1, "), "{told}");
    assert!(told.contains(&format!("runner 1 is up and started job {EARLY}")), "{told}");
    assert!(told.ends_with("; poolkeeper did not ask for its termination.\n"), "{told}");
}

#[test]
fn until_ends_the_story_there() {
    let at = crate::journal::until("2026-05-01T10:01:30Z").unwrap();
    let told = tell(&recording(), &Subject::read(EARLY), Some(at));
    let text = told.story.unwrap().to_string();
    assert!(told.steps < 1_000 && text.contains("to 2026-05-01T10:01:2"), "{text}");
    assert!(text.contains("\n\nAs the journal ends it has waited for 7"), "{text}");
}

#[test]
fn an_unknown_pool_is_told_with_the_nearest_names() {
    let told = tell(&recording(), &Subject::read("acme-pool-2"), None).story.unwrap_err();
    assert!(told.starts_with("nothing is known of pool acme-pool-2 in "), "{told}");
    assert!(told.contains("from 2026-05-01T10:00:00.000Z to 2026-05-01T11:00:18.168Z"), "{told}");
    assert!(told.ends_with("the nearest names there are acme-pool-1, ci-acme-pool-1, widgets-pool-2"), "{told}");
}

/// The first file of the recording as plain text, changed.
fn edited(edit: impl Fn(Vec<String>) -> Vec<String>) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("journal-1-000000.jsonl.zst");
    let lines = read(&recording()[0]).unwrap().map(|line| line.unwrap().text).collect();
    fs::write(&file, edit(lines).join("\n") + "\n").unwrap();
    (dir, file)
}

fn bad(file: &Path) -> (String, Result<Story, String>) {
    let told = tell(&[file.to_owned()], &Subject::read(EARLY), BEYOND);
    (told.bad.unwrap().to_string().replace(&file.display().to_string(), "FILE"), told.story)
}

#[test]
fn a_file_that_was_cut_is_named_with_line_and_reason_and_told_up_to_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.jsonl.zst");
    let whole = fs::read(&recording()[0]).unwrap();
    let half = whole.len() / 2;
    // Three bytes in a row are not all ends of blocks, which is where a crash cuts.
    let cuts: Vec<String> = (half..half + 3)
        .filter_map(|length| {
            fs::write(&file, &whole[..length]).unwrap();
            let told = tell(std::slice::from_ref(&file), &Subject::read(EARLY), None);
            assert!(told.story.unwrap().to_string().contains("started on i-1272028bc848180e6"));
            Some(told.bad?.to_string())
        })
        .collect();
    let error = cuts.first().expect("a cut in a block is found");
    assert!(error.contains("cut.jsonl.zst:") && error.contains("where no crash of the daemon cuts it"), "{error}");
}

#[test]
fn an_edited_line_is_named_and_what_came_before_is_told() {
    let (_dir, file) = edited(|mut lines| {
        let line = lines.iter().position(|line| line.contains("JobStarted")).unwrap();
        lines[line] = lines[line].replacen("\"effects\":[", "\"effects\":[{\"cancel\":{\"id\":7}},", 1);
        lines
    });
    let (error, story) = bad(&file);
    assert!(error.contains("the effects are not what the machine makes of this event"), "{error}");
    let story = story.unwrap().to_string();
    assert!(story.contains("assigned to acme-pool-1") && !story.contains("started on"), "{story}");
    let (_dir, file) = edited(|mut lines| {
        lines[3] = lines[3].replacen("\"now\"", "\"n\\w\"", 1);
        lines
    });
    assert!(bad(&file).0.starts_with("FILE:4: step does not parse: "));
}

#[test]
fn what_is_no_journal_is_named_with_the_reason() {
    let (_dir, file) = edited(|_| vec!["Dear diary".to_owned()]);
    let (error, story) = bad(&file);
    assert!(error.starts_with("FILE:1: is no journal header"), "{error}");
    assert!(story.unwrap_err().ends_with(": no step"));
}

#[test]
fn what_another_version_wrote_is_told_by_what_it_recorded() {
    let (_dir, file) = edited(|mut lines| {
        lines[0] = lines[0].replacen(
            &format!("\"version\":\"{}\"", poolkeeper_core::recording::VERSION),
            "\"version\":\"9.9.9\"",
            1,
        );
        let line = lines.iter().position(|line| line.contains("\"session_opened\"")).unwrap();
        lines[line] = lines[line].replace("\"session\":\"03c980e6", "\"session\":\"another6");
        lines
    });
    let told = tell(&[file], &Subject::read("acme-pool-1"), None);
    assert_eq!(told.bad, None);
    let story = told.story.unwrap().to_string();
    assert!(story.contains("session another6"), "{story}");
}
