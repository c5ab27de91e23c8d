use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::channel;

use tempfile::TempDir;

use super::*;

fn memories(dir: &Path) -> Vec<(String, String)> {
    let state = State::open(Some(dir)).unwrap();
    state.memories().into_iter().map(|m| (m.key, m.value)).collect()
}

#[test]
fn what_is_remembered_outlives_the_daemon() {
    let dir = TempDir::new().unwrap();
    let (sender, receiver) = channel();
    let state = State::open(Some(dir.path())).unwrap();
    assert_eq!(state.memories(), []);
    let keeper = state.start(move |key, ok| sender.send((key, ok)).unwrap()).unwrap();
    keeper.remember("a".to_owned(), Some("1".to_owned()));
    keeper.remember("b".to_owned(), Some("2".to_owned()));
    keeper.remember("a".to_owned(), Some("3".to_owned()));
    keeper.remember("b".to_owned(), None);
    keeper.close();
    let answers: Vec<_> = receiver.iter().collect();
    assert_eq!(answers, ["a", "b", "a", "b"].map(|key| (key.to_owned(), true)));
    assert_eq!(memories(dir.path()), [("a".to_owned(), "3".to_owned())]);
    let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_second_daemon_is_refused_until_the_first_is_gone() {
    let dir = TempDir::new().unwrap();
    let first = State::open(Some(dir.path())).unwrap();
    let message = State::open(Some(dir.path())).unwrap_err().to_string();
    assert!(message.contains("another daemon is using it"), "{message}");
    assert!(message.contains("state_dir") && message.contains("stop the other"), "{message}");
    drop(first);
    assert!(State::open(Some(dir.path())).is_ok());
}

#[test]
fn an_unreadable_file_is_put_aside_and_told() {
    for bad in ["{\"format\":1,\"memo", "{\"format\":99,\"memories\":{}}", ""] {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join(FILE), bad).unwrap();
        let state = State::open(Some(dir.path())).unwrap();
        assert_eq!(state.memories(), []);
        let warning = state.warning().unwrap();
        assert!(warning.contains("state.json.unreadable"), "{warning}");
        assert_eq!(std::fs::read_to_string(dir.path().join(ASIDE)).unwrap(), bad);
    }
}

#[test]
fn unknown_fields_of_a_newer_version_are_passed_over() {
    let dir = TempDir::new().unwrap();
    let text = r#"{"format":1,"memories":{"k":"v"},"shiny":[1]}"#;
    std::fs::write(dir.path().join(FILE), text).unwrap();
    assert_eq!(memories(dir.path()), [("k".to_owned(), "v".to_owned())]);
}

#[test]
fn without_a_directory_memories_are_answered_and_a_warning_is_given() {
    let (sender, receiver) = channel();
    let state = State::open(None).unwrap();
    assert!(state.warning().unwrap().contains("state_dir"));
    let keeper = state.start(move |key, ok| sender.send((key, ok)).unwrap()).unwrap();
    keeper.remember("a".to_owned(), Some("1".to_owned()));
    assert_eq!(receiver.recv().unwrap(), ("a".to_owned(), true));
}

#[test]
fn a_write_that_fails_is_answered_as_such() {
    let dir = TempDir::new().unwrap();
    let (sender, receiver) = channel();
    let state = State::open(Some(dir.path())).unwrap();
    std::fs::create_dir(dir.path().join(NEW_FILE)).unwrap();
    let keeper = state.start(move |key, ok| sender.send((key, ok)).unwrap()).unwrap();
    keeper.remember("a".to_owned(), Some("1".to_owned()));
    assert_eq!(receiver.recv().unwrap(), ("a".to_owned(), false));
}
