//! What is told of a recording in which something goes on.

use std::sync::OnceLock;

use poolkeeper_shell::config::JournalSettings;
use poolkeeper_simulator::sample::{self, Recorded, Sample};
use serde_json::Value;

use super::*;

/// The journal of an hour of two pools.
fn sample() -> &'static (tempfile::TempDir, Recorded) {
    static SAMPLE: OnceLock<(tempfile::TempDir, Recorded)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let settings = JournalSettings::in_dir(dir.path());
        let recorded = sample::record(Sample { pools: 2, hours: 1, seed: 3 }, settings, |_| ()).unwrap();
        (dir, recorded)
    })
}

fn sampled() -> Options {
    options(vec![sample().0.path().to_owned()])
}

fn told(options: &Options) -> String {
    let (code, told, complaint) = replay_as(options);
    assert_eq!((code, complaint.as_str()), (0, ""), "{told}");
    told
}

fn changes(options: &Options) -> Vec<Value> {
    let told = told(options);
    told.lines().filter_map(|line| serde_json::from_str::<Value>(line).unwrap().get("change").cloned()).collect()
}

fn explained() -> Vec<Value> {
    changes(&Options { explain: true, json: true, ..sampled() })
}

#[test]
fn every_capacity_write_is_explained_with_its_numbers() {
    let changes = explained();
    let files = journal::files(sample().0.path()).unwrap();
    let lines = files.iter().flat_map(|file| journal::read(file).unwrap());
    let writes: usize = lines.map(|line| line.unwrap().text.matches("\"SetDesiredCapacity\"").count()).sum();
    assert_eq!(changes.len(), writes);
    assert!(u64::try_from(writes).unwrap() >= sample().1.capacity_writes, "some may not have reached AWS");
    let number = |change: &Value, key: &str| change[key].as_u64().unwrap();
    for change in &changes {
        let n = |key| number(change, key);
        let target = (n("assigned") + n("idle")).min(n("hi")).max(n("lo"));
        assert_eq!(n("target"), target, "{change}");
        let goal = (target + n("unusable")).min(n("group_max"));
        assert_eq!(n("to"), goal, "{change}");
        match change["rule"].as_str().unwrap() {
            "OUT" => assert!(n("from") < n("to"), "{change}"),
            "LOWER" => {
                assert!(n("from") > n("to") && n("surplus_ms") >= n("idle_grace_ms"), "{change}");
                assert!(n("pending") == 0 && n("unprotected") == 0 && n("described_ms_ago") < 10_000, "{change}");
            }
            other => panic!("{other}"),
        }
    }
    let of = |kind: &str| changes.iter().filter(|change| change["cause"]["kind"] == kind).count();
    assert!(of("message") > 0, "{changes:?}");
}

#[test]
fn a_message_is_named_with_its_counts() {
    let change = explained().into_iter().find(|change| change["cause"]["kind"] == "message").unwrap();
    let cause = &change["cause"];
    assert_eq!(cause["statistics"]["totalAssignedJobs"], change["assigned"], "{change}");
    assert!(cause["message"].as_u64().unwrap() > 0);
}

#[test]
fn words_say_what_the_numbers_say() {
    let told = told(&Options { explain: true, ..sampled() });
    assert!(told.contains("  rule:   OUT: ") && told.contains("  cause:  message "), "{told}");
    assert!(told.contains("  cause:  message ") && told.contains("assigned + 0 idle, within 0 to"), "{told}");
    assert!(told.ends_with("every effect as recorded\n"), "{told}");
}

#[test]
fn one_pool_is_told_of_alone() {
    let all = explained();
    let group = all[0]["group"].as_str().unwrap().to_owned();
    let mut own = all.clone();
    own.retain(|change| change["group"] == group.as_str());
    assert!(!own.is_empty() && own.len() < all.len(), "{all:?}");
    let (set, id) = (own[0]["scale_set"].as_str().unwrap().to_owned(), own[0]["pool"].to_string());
    for name in [group, set, id] {
        let pool = Some(name);
        assert_eq!(changes(&Options { explain: true, json: true, pool: pool.clone(), ..sampled() }), own);
        let shown = told(&Options { until: Some(Until::Step(200)), pool, ..sampled() });
        let pools: Vec<poolkeeper_core::view::PoolView> = serde_json::from_str(&shown).unwrap();
        assert_eq!(pools.len(), 1);
    }
    let (code, _, complaint) = replay_as(&Options { pool: Some("none".to_owned()), ..sampled() });
    assert_eq!(code, crate::cli::USAGE);
    assert!(complaint.starts_with("--pool none: no pool"), "{complaint}");
}

#[test]
fn from_and_until_leave_out_what_is_before_and_after() {
    let all = explained();
    let step = all[all.len() / 2]["step"].as_u64().unwrap();
    let from = changes(&Options { explain: true, json: true, from: Some(Until::Step(step)), ..sampled() });
    assert_eq!(from, all[all.len() / 2..]);
    let until = Some(Until::Step(step));
    let told = told(&Options { explain: true, json: true, until, ..sampled() });
    assert_eq!(told.lines().count(), all.len() / 2 + 1, "and the machine");
}

/// The sample as one plain file, changed by `edit`.
fn edited(edit: impl Fn(usize, String) -> String) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("edited.jsonl");
    let files = journal::files(sample().0.path()).unwrap();
    let lines = journal::read(&files[0]).unwrap().map(|line| line.unwrap().text);
    let text: String = lines.enumerate().map(|(n, line)| edit(n, line) + "\n").collect();
    fs::write(&path, text).unwrap();
    (dir, path)
}

/// Replays the sample as a machine would that waits for another while than the one that was recorded.
fn with_other_grace(ms: u64) -> (u8, String) {
    let (_dir, file) = edited(|n, line| {
        if n > 0 {
            return line;
        }
        assert!(line.contains("\"idle_grace\":90000"));
        line.replace("\"idle_grace\":90000", &format!("\"idle_grace\":{ms}"))
    });
    let (code, told, complaint) = replay_as(&options(vec![file]));
    assert_eq!(complaint, "");
    (code, told)
}

#[test]
fn a_changed_constant_is_told_of_at_its_first_effect() {
    let lower = explained().into_iter().find(|change| change["rule"] == "LOWER").expect("something was lowered");
    let (code, told) = with_other_grace(80_000);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("the effects differ (- recorded, + replayed)\n  event: "), "{told}");
    let step: u64 = told.split("step ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let recorded = lower["step"].as_u64().unwrap();
    assert!(step <= recorded, "{step} is not before the recorded LOWER in {recorded}: {told}");
    assert!(told.contains("SetDesiredCapacity"), "{told}");
    assert!(told.ends_with(": 1 difference\n"), "{told}");
    let (code, told) = with_other_grace(90_000);
    assert_eq!(code, 0, "{told}");
}

#[test]
fn differences_of_other_pools_are_of_no_concern() {
    let changes = explained();
    let (mine, other) = (&changes[0]["group"], changes.iter().find(|c| c["group"] != changes[0]["group"]).unwrap());
    let line = usize::try_from(other["step"].as_u64().unwrap()).unwrap();
    let desired = format!("\"desired\":{}}}", other["to"]);
    let (_dir, file) = edited(|n, text| if n == line { text.replacen(&desired, "\"desired\":29}", 1) } else { text });
    let of = |pool: &Value| {
        let pool = pool.as_str().map(str::to_owned);
        replay_as(&Options { pool, json: true, ..options(vec![file.clone()]) })
    };
    let (code, told, _) = of(&other["group"]);
    assert_eq!(code, 1, "{told}");
    let difference: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    let difference = &difference["difference"];
    assert_eq!(difference["step"], other["step"]);
    assert_eq!(difference["differences"][0]["recorded"], 29, "{told}");
    assert_eq!(of(mine).0, 0);
}
