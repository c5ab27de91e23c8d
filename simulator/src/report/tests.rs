//! A report beside the recording it was made from.

use std::path::PathBuf;

use poolkeeper_core::Machine;
use poolkeeper_core::aws::AwsCall;
use poolkeeper_core::event::Effect;
use poolkeeper_core::github::message::JobMessageKind;
use poolkeeper_core::notice::{Notice, PoolFact};
use poolkeeper_core::view::PoolView;
use poolkeeper_shell::config::JournalSettings;
use poolkeeper_shell::journal::{Segment, files};
use serde_json::Value;

use super::*;
use crate::sample::{self, Sample};

fn recorded(dir: &tempfile::TempDir) -> Vec<PathBuf> {
    let sample = Sample { pools: 2, hours: 1, seed: 5 };
    sample::record(sample, JournalSettings::in_dir(dir.path()), |_| ()).unwrap();
    files(dir.path()).unwrap()
}

fn data(files: &[PathBuf]) -> Value {
    let mut reading = read(files, &|_, _| false);
    assert_eq!(reading.unreadable, None);
    serde_json::to_value(reading.report.data()).unwrap()
}

fn last(line: &Value) -> u64 {
    let deltas = line["v"].as_array().unwrap().iter().map(|delta| delta.as_i64().unwrap());
    u64::try_from(deltas.sum::<i64>()).unwrap()
}

#[test]
fn all_that_was_recorded_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let files = recorded(&dir);
    let data = data(&files);
    let (mut steps, mut github, mut aws, mut changes, mut started, mut waits) = (0, 0, 0, 0, 0, Vec::new());
    for file in &files {
        let segment: Segment = Segment::open(file).unwrap();
        for step in segment {
            steps += 1;
            for effect in step.unwrap().effects.unwrap() {
                github += u64::from(matches!(effect, Effect::GitHub { .. }));
                aws += u64::from(matches!(effect, Effect::Aws { .. }));
                changes += u64::from(matches!(effect, Effect::Aws { call: AwsCall::SetDesiredCapacity { .. }, .. }));
                let Effect::Note(Notice::Pool { fact: PoolFact::Message { jobs, .. }, .. }) = effect else { continue };
                for message in jobs.iter().filter(|message| message.kind == JobMessageKind::Started) {
                    started += 1;
                    let job = &message.job;
                    waits.push(job.runner_assigned_ms.unwrap() - job.scale_set_assigned_ms.unwrap());
                }
            }
        }
    }
    let total = |peer: &str| -> u64 {
        let rows = data["calls"].as_array().unwrap().iter().filter(|row| row["peer"] == peer);
        rows.map(|row| row["total"].as_u64().unwrap()).sum()
    };
    assert_eq!((&data["about"]["steps"], &data["about"]["lives"]), (&Value::from(steps), &Value::from(2)));
    assert_eq!((total("github"), total("aws")), (github, aws));
    let counted = &data["counted"];
    assert_eq!(counted["raises"].as_u64().unwrap() + counted["lowers"].as_u64().unwrap(), changes);
    assert!(started > 10);
    assert_eq!(counted["started"], Value::from(started));
    assert_eq!(data["waits"]["max"], Value::from(*waits.iter().max().unwrap()));
}

#[test]
fn lines_end_where_the_pools_do() {
    let dir = tempfile::tempdir().unwrap();
    let files = recorded(&dir);
    let data = data(&files);
    let segment: Segment = Segment::open(files.last().unwrap()).unwrap();
    let mut machine: Machine = segment.header.state.clone();
    for step in segment {
        let step = step.unwrap();
        machine.handle(step.now, step.event, &mut Vec::new());
    }
    let pools = data["pools"].as_array().unwrap();
    assert_eq!(pools.len(), 2);
    for view in machine.pools(None, 10) {
        let PoolView { group, desired, in_service, statistics, .. } = view;
        let pool = pools.iter().find(|pool| pool["name"] == group.as_str()).unwrap();
        assert_eq!((last(&pool["desired"]), last(&pool["in_service"])), (desired.into(), in_service.into()));
        assert_eq!(last(&pool["assigned"]), u64::from(statistics.unwrap().assigned));
    }
}

#[test]
fn the_time_between_two_lives_is_a_gap_and_an_outage_is_a_band() {
    let dir = tempfile::tempdir().unwrap();
    let data = data(&recorded(&dir));
    let down = data["daemon"]["down"]["len"].as_array().unwrap();
    assert_eq!(down.len(), 1);
    assert!((19_000..25_000).contains(&down[0].as_u64().unwrap()), "{down:?}");
    let longest = |peer: &str| data["daemon"][peer]["len"].as_array().unwrap().iter().filter_map(Value::as_u64).max();
    assert!(longest("github") > Some(60_000), "{:?}", longest("github"));
}
