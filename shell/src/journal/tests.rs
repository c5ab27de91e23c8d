use std::fs;
use std::os::unix::fs::PermissionsExt;

use poolkeeper_core::event::ExitReason;
use poolkeeper_core::recording::Step;
use tempfile::TempDir;

use super::*;
use crate::testing::{at, machine};

fn settings(dir: &Path) -> JournalSettings {
    JournalSettings::in_dir(dir)
}

fn remembered(n: u64) -> Event {
    Event::Remembered { key: format!("key-{n}-{}", "x".repeat(40)), ok: true }
}

fn effects(n: u64) -> Vec<Effect> {
    let reason = if n.is_multiple_of(2) { ExitReason::Stopped } else { ExitReason::StoppedAtDeadline };
    vec![Effect::Exit(reason)]
}

fn write_steps(journal: &mut Journal, steps: std::ops::Range<u64>) {
    let machine = machine();
    for n in steps {
        journal.begin(at(n), &remembered(n), 7, &machine).unwrap();
        journal.end(&effects(n)).unwrap();
    }
}

fn steps(path: &Path) -> (Vec<Step>, Option<String>) {
    let mut segment: Segment = Segment::open(path).unwrap();
    let steps = segment.by_ref().collect::<Result<_, _>>().unwrap();
    (steps, segment.cut().map(str::to_owned))
}

fn one_file(dir: &Path) -> PathBuf {
    let found = files(dir).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn what_was_written_is_read_again() {
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join("made/on/demand");
    let mut journal = Journal::new(settings(&inner), 1_700_000_000_000);
    write_steps(&mut journal, 0..100);
    journal.close().unwrap();
    let path = inner.join("journal-1700000000000-000000.jsonl.zst");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let segment: Segment = Segment::open(&path).unwrap();
    let header = &segment.header;
    assert_eq!((header.format, header.segment, header.seed), (FORMAT, 0, 7));
    assert_eq!((&header.config, &header.state), (machine().config(), &machine()));
    let (read, cut) = steps(&path);
    let expected: Vec<_> =
        (0..100).map(|n| Step { now: at(n), event: remembered(n), effects: Some(effects(n)) }).collect();
    assert_eq!((read, cut), (expected, None));
}

#[test]
fn a_line_is_the_steps_own_json() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::new(settings(dir.path()), 1);
    write_steps(&mut journal, 3..4);
    journal.close().unwrap();
    let lines: Vec<_> = read(&one_file(dir.path())).unwrap().map(Result::unwrap).collect();
    let step = Step { now: at(3), event: remembered(3), effects: Some(effects(3)) };
    assert_eq!(lines[1].text, serde_json::to_string(&step).unwrap());
    assert_eq!((lines.len(), lines[1].number), (2, 2));
}

#[test]
fn a_crash_in_a_step_leaves_its_event_as_the_last_line() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::new(settings(dir.path()), 1);
    write_steps(&mut journal, 0..3);
    journal.begin(at(3), &remembered(3), 7, &machine()).unwrap();
    let (read, cut) = steps(&one_file(dir.path()));
    assert_eq!(read.len(), 4);
    assert_eq!(read[3], Step { now: at(3), event: remembered(3), effects: None });
    assert_eq!(read[2].effects, Some(effects(2)));
    assert!(cut.unwrap().starts_with("line 5"));
}

#[test]
fn a_file_cut_anywhere_yields_what_is_whole() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::new(settings(dir.path()), 1);
    write_steps(&mut journal, 0..50);
    journal.close().unwrap();
    let whole = fs::read(one_file(dir.path())).unwrap();
    let path = dir.path().join("cut");
    let (mut most, mut cuts) = (0, 0);
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        let Ok(mut segment) = Segment::<Machine>::open(&path) else { continue };
        let read: Vec<_> = segment.by_ref().collect::<Result<_, _>>().unwrap();
        assert!(segment.cut().is_some(), "{length} of {}", whole.len());
        for (n, step) in (0..).zip(&read) {
            assert_eq!((step.now, &step.event), (at(n), &remembered(n)));
        }
        assert!(read.len() >= most, "more bytes never hold fewer steps");
        (most, cuts) = (read.len(), cuts + 1);
    }
    assert!(most >= 49 && cuts > 10, "{most} steps, {cuts} cuts");
}

#[test]
fn a_broken_line_is_named_by_file_and_number() {
    let dir = TempDir::new().unwrap();
    let mut journal = Journal::new(settings(dir.path()), 1);
    write_steps(&mut journal, 0..1);
    journal.close().unwrap();
    let mut lines: Vec<_> = read(&one_file(dir.path())).unwrap().map(|line| line.unwrap().text).collect();
    lines.push("{\"now\":3}".to_owned());
    let path = dir.path().join("plain.jsonl");
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let segment: Segment = Segment::open(&path).unwrap();
    let error = segment.last().unwrap().unwrap_err();
    assert_eq!(error.line, 3);
    assert!(error.to_string().contains("plain.jsonl:3: "), "{error}");
}

#[test]
fn another_format_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("new.jsonl");
    fs::write(&path, "{\"format\":9999,\"shape\":\"unknown\"}\n").unwrap();
    let error = Segment::<Machine>::open(&path).unwrap_err();
    assert!(error.problem.contains("format 9999"), "{error}");
}

#[test]
fn segments_end_by_size_and_the_oldest_go_when_there_are_too_many() {
    let dir = TempDir::new().unwrap();
    let small = JournalSettings { segment_bytes: 2_000, total_bytes: 9_000, ..settings(dir.path()) };
    let mut journal = Journal::new(small, 5);
    write_steps(&mut journal, 0..2_000);
    journal.close().unwrap();
    let files = files(dir.path()).unwrap();
    let total: u64 = files.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!((2..10).contains(&files.len()), "{files:?}");
    assert!(total <= 10_000, "{total}");
    let segments: Vec<Segment> = files.iter().map(|path| Segment::open(path).unwrap()).collect();
    let first = segments[0].header.segment;
    assert!(first > 0, "the oldest was removed");
    for (n, segment) in (first..).zip(segments) {
        assert_eq!(segment.header.segment, n);
    }
}

#[test]
fn lives_that_ended_at_once_do_not_pile_up() {
    let dir = TempDir::new().unwrap();
    for life in 1..=MAX_FILES + 10 {
        fs::write(dir.path().join(format!("journal-{life}-000000.jsonl.zst")), "").unwrap();
    }
    let mut journal = Journal::new(settings(dir.path()), 9_000_000);
    write_steps(&mut journal, 0..1);
    let kept = files(dir.path()).unwrap();
    assert_eq!(kept.len(), MAX_FILES);
    assert!(kept[0].ends_with("journal-12-000000.jsonl.zst"), "{:?}", kept[0]);
    assert_eq!(kept.last().map(PathBuf::as_path), journal.path());
}

#[test]
fn a_segment_ends_by_age() {
    let dir = TempDir::new().unwrap();
    let aging = JournalSettings { segment_age: Duration::from_secs(1), ..settings(dir.path()) };
    let mut journal = Journal::new(aging, 5);
    write_steps(&mut journal, 0..2_500);
    journal.close().unwrap();
    let found = files(dir.path()).unwrap();
    let counts: Vec<_> = found.iter().map(|path| steps(path).0.len()).collect();
    assert_eq!(counts, [1_000, 1_000, 500]);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let mut journal = Journal::new(settings(&file.join("inside")), 1);
    assert!(journal.begin(at(0), &Event::Tick, 1, &machine()).is_err());
}
