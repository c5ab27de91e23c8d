//! The binary, from outside: how it ends when it cannot begin. What it does beyond that, `tests/` asks of both daemons.

use std::process::{Command, Output};

#[test]
fn wrong_usage_and_wrong_config_exit_with_2() {
    let missing = run(&["run", "--config", "/nonexistent/poolkeeper.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    let told = String::from_utf8_lossy(&missing.stderr);
    assert!(told.contains("/nonexistent/poolkeeper.toml"), "{told}");

    assert_eq!(run(&["run", "--no-such-option"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_poolkeeper-blocking")).args(args).output().expect("the binary can be started")
}
