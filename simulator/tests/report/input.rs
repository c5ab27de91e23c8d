//! What cannot be read is named, and what can is reported when asked.

use std::fs;
use std::path::PathBuf;

use super::{Made, report};

/// The first segment of a small recording, as plain lines.
fn lines(made: &Made) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(made.journal()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let lines = poolkeeper_shell::journal::read(&files[0]).unwrap();
    lines.map(|line| line.unwrap().text).collect()
}

fn told(output: &std::process::Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_foreign_file_is_refused_with_line_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("journal.jsonl");
    fs::write(&file, "{\"hello\":1}\n").unwrap();
    let page = dir.path().join("report.html");
    let (code, error) = told(&report(&file, &page, &[]));
    assert_eq!(code, Some(2));
    assert!(error.contains("journal.jsonl:1: is no journal header"), "{error}");
    assert!(!page.exists());
}

#[test]
fn what_comes_before_a_broken_line_is_reported_when_asked() {
    let made = Made::new(1, 1);
    let mut lines = lines(&made);
    lines.truncate(400);
    lines[300] = "{\"now\":".to_owned();
    let file = made.dir.path().join("broken.jsonl");
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let page = made.dir.path().join("broken.html");
    let (code, error) = told(&report(&file, &page, &[]));
    assert_eq!(code, Some(2));
    assert!(error.contains("broken.jsonl:301: step does not parse") && error.contains("--until 300"), "{error}");
    assert!(!page.exists());
    let (code, _) = told(&report(&file, &page, &["--until", "299"]));
    assert_eq!(code, Some(0));
    assert!(fs::read_to_string(&page).unwrap().contains("\"steps\":298"));
    fs::remove_file(&page).unwrap();
    let (code, error) = told(&report(&file, &page, &["--until", "300"]));
    assert_eq!(code, Some(2));
    assert!(error.contains("broken.jsonl:301"), "{error}");
    assert!(fs::read_to_string(&page).unwrap().contains("\"steps\":299"));
}

#[test]
fn until_takes_a_time_too() {
    let made = Made::new(1, 1);
    let page = made.dir.path().join("early.html");
    assert!(report(&made.journal(), &page, &["--until", "2026-05-01T10:10:00Z"]).status.success());
    let text = fs::read_to_string(&page).unwrap();
    let span = text.split("\"span_ms\":").nth(1).unwrap().split(',').next().unwrap();
    assert!((590_000..600_000).contains(&span.parse::<u64>().unwrap()), "{span}");
}

#[test]
fn a_torn_file_is_refused_with_its_line() {
    let made = Made::new(1, 1);
    let mut text = lines(&made).join("\n");
    text.truncate(text.len() - 40);
    let file = made.dir.path().join("torn.jsonl");
    fs::write(&file, text).unwrap();
    let (code, error) = told(&report(&file, &made.dir.path().join("torn.html"), &[]));
    assert_eq!(code, Some(2));
    assert!(error.contains("torn.jsonl:") && error.contains("cut"), "{error}");
}
