//! The demo as a newcomer runs it, only smaller.

#![cfg(feature = "demo")]

use std::process::Command;

use serde_json::Value;

#[test]
fn a_small_demo_ends_every_job_and_leaves_a_journal() {
    let journal = tempfile::tempdir().unwrap();

    let done = Command::new(env!("CARGO_BIN_EXE_poolkeeper"))
        .args(["demo", "--pools", "3", "--jobs", "6", "--seed", "7", "--json", "--journal"])
        .arg(journal.path())
        .output()
        .unwrap();

    let stdout = String::from_utf8(done.stdout).unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{stdout}{stderr}");
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["pools"], 3);
    assert_eq!(last["jobs"], serde_json::json!({ "total": 6, "completed": 6 }));
    assert!(last["wait_ms"]["p50"].as_u64().unwrap() >= 1000, "boots take a second: {last}");
    assert!(last["capacity_latency_ms"]["p99"].as_f64().unwrap() > 0.0, "{last}");
    assert!(last["api_calls_per_min"]["github"].as_u64().unwrap() > 0, "{last}");
    assert_eq!(last["journal"].as_str(), journal.path().to_str());
    assert_eq!(journal.path().read_dir().unwrap().count(), 1);
}
