use poolkeeper_core::event::Effect;
use poolkeeper_core::notice::{Notice, PoolFact};
use poolkeeper_shell::journal::{Segment, files};

use super::*;

#[test]
fn an_hour_has_jobs_and_troubles() {
    let dir = tempfile::tempdir().unwrap();
    let sample = Sample { pools: 3, hours: 1, seed: 1 };
    let mut hours = Vec::new();
    let recorded = record(sample, JournalSettings::in_dir(dir.path()), |hour| hours.push(hour)).unwrap();
    assert_eq!(hours, [1]);
    assert!(recorded.jobs > 20 && recorded.capacity_writes > 20, "{recorded:?}");
    let mut notices = Vec::new();
    for file in files(dir.path()).unwrap() {
        let segment: Segment = Segment::open(&file).unwrap();
        for effect in segment.flat_map(|step| step.unwrap().effects.unwrap()) {
            if let Effect::Note(Notice::Pool { fact, .. }) = effect {
                notices.push(fact);
            }
        }
    }
    let has = |wanted: fn(&PoolFact) -> bool| notices.iter().any(wanted);
    assert!(has(|fact| matches!(fact, PoolFact::Standby { .. })));
    assert!(has(|fact| matches!(fact, PoolFact::CallFailed { .. })));
    assert!(has(|fact| matches!(fact, PoolFact::SessionLost(_))));
}
