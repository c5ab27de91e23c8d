use std::fs;
use std::sync::mpsc::sync_channel;

use tempfile::TempDir;

use super::*;
use crate::config::JournalSettings;
use crate::journal::{Segment, files};
use crate::testing::{at, config, machine};

fn driver(journal: Option<Journal>) -> Driver {
    Driver::new(machine(), 1, journal, Arc::new(Telemetry::new("test")))
}

#[test]
fn steps_are_journalled_with_the_machines_own_effects() {
    let dir = TempDir::new().unwrap();
    let journal = Journal::new(JournalSettings::in_dir(dir.path()), 1);
    let mut driver = driver(Some(journal));
    let mut bare = machine();
    let events = [Event::Start { remembered: Vec::new() }, Event::Tick, Event::Stop];
    let mut expected = Vec::new();
    for (n, event) in (0..).zip(&events) {
        let (mut effects, mut mine) = (Vec::new(), Vec::new());
        driver.step(at(n), event.clone(), &mut effects);
        bare.handle(at(n), event.clone(), &mut mine);
        expected.push(mine.clone());
        mine.retain(|effect| !matches!(effect, Effect::Note(_)));
        assert_eq!(effects, mine);
    }
    assert!(driver.journal_path().is_some());
    driver.close();
    let segment: Segment = Segment::open(&files(dir.path()).unwrap()[0]).unwrap();
    let steps: Vec<_> = segment.map(Result::unwrap).collect();
    assert_eq!(steps.iter().map(|step| &step.event).collect::<Vec<_>>(), events.iter().collect::<Vec<_>>());
    let written: Vec<_> = steps.into_iter().map(|step| step.effects.unwrap()).collect();
    assert_eq!(written, expected);
}

#[test]
fn effects_already_in_the_buffer_stay() {
    let mut driver = driver(None);
    let mut effects = vec![Effect::Exit(poolkeeper_core::event::ExitReason::Stopped)];
    driver.step(at(0), Event::Start { remembered: Vec::new() }, &mut effects);
    assert_eq!(effects[0], Effect::Exit(poolkeeper_core::event::ExitReason::Stopped));
}

#[test]
fn a_journal_that_cannot_be_written_ends_and_the_daemon_goes_on() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let telemetry = Arc::new(Telemetry::new("test"));
    let journal = Journal::new(JournalSettings::in_dir(&file), 1);
    let mut driver = Driver::new(machine(), 1, Some(journal), Arc::clone(&telemetry));
    let mut effects = Vec::new();
    for n in 0..3 {
        driver.step(at(n), if n == 0 { Event::Start { remembered: Vec::new() } } else { Event::Tick }, &mut effects);
    }
    assert_eq!(driver.journal_path(), None);
    let mut metrics = String::new();
    telemetry.render(&mut metrics);
    assert!(metrics.contains("poolkeeper_journal_failures_total 1\n"), "{metrics}");
}

#[test]
fn queries_are_answered_and_lost_askers_ignored() {
    let driver = driver(None);
    let (reply, answer) = sync_channel(1);
    driver.answer(Query { after: None, limit: 10, reply }, at(5));
    let page = answer.recv().unwrap();
    assert_eq!((page.now, page.pools, page.next), (at(5), Vec::new(), None));
    let (reply, answer) = sync_channel(1);
    drop(answer);
    driver.answer(Query { after: None, limit: 10, reply }, at(5));
    assert_eq!(driver.machine().config(), &config());
}

#[test]
fn a_panic_is_caught_with_its_text() {
    let panic = guarded(|| panic!("pool 7: desired {} out of bounds", 9)).unwrap_err();
    assert_eq!(panic_text(panic.as_ref()), "pool 7: desired 9 out of bounds");
    let panic = guarded(|| panic!("plain")).unwrap_err();
    assert_eq!(panic_text(panic.as_ref()), "plain");
    let odd = guarded(|| std::panic::panic_any(3)).unwrap_err();
    assert_eq!(panic_text(odd.as_ref()), "no message");
}
