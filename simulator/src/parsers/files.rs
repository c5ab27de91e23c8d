//! Files that an operator writes, or that a crash left behind.

use std::fs;
use std::io;
use std::path::Path;

use poolkeeper_core::Machine;
use poolkeeper_core::event::Event;
use poolkeeper_core::time::{Instant, Now};
use poolkeeper_shell::config::{self, JournalSettings};
use poolkeeper_shell::journal::{self, Journal, Segment};
use poolkeeper_shell::state::State;

use super::{Parser, length};

const CONFIG: &str = r#"stack = "prod"
state_dir = "/var/lib/poolkeeper"
[github.main]
url = "https://github.com"
app = { client_id = "Iv1.abc", private_key_file = "/etc/poolkeeper/app.pem" }
orgs = ["acme", "Widgets"]
[orgs.acme]
groups = ["ci-*"]
max_runners = 600
[aws]
region = "eu-west-1"
[pool]
size_max = 40
idle_grace = "2m"
labels = ["linux", "x64"]
[status]
listen = "127.0.0.1:9464"
[journal]
dir = "/var/lib/poolkeeper/journal"
segment_age = "1h"
[[pools]]
group = "ci-linux"
org = "acme"
pool = "linux"
boot_deadline = "90s"
"#;
const VARIABLES: [&str; 3] = [
    "POOLKEEPER_POOL__SIZE_MAX=9\nPOOLKEEPER_AWS__REGION=us-east-1",
    "POOLKEEPER_STATUS__LISTEN=[::1]:80\nPOOLKEEPER_GITHUB__MAIN__ORGS=[\"a\",\"b\"]\nGITHUB_ACTIONS_FORCE_GHES=1",
    "POOLKEEPER_POOL__IDLE_GRACE=2m\nPOOLKEEPER_JOURNAL__SEGMENT_BYTES=1000000",
];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const STATE: [&str; 2] = [r#"{"format":1,"memories":{"session/main/acme/default/acme-linux":"3b2d"}}"#, "{}"];

pub(super) fn all(dir: &Path) -> Result<Vec<Parser>, String> {
    let failed = |error: io::Error| format!("cannot write to {}: {error}; name another directory", dir.display());
    let samples = recordings(&dir.join("sample")).map_err(failed)?;
    let (toml, steady) = (dir.join("fuzzed.toml"), dir.join("steady.toml"));
    fs::write(&steady, CONFIG).map_err(failed)?;
    let state_dir = dir.join("state");
    fs::create_dir_all(&state_dir).map_err(failed)?;
    let journal = dir.join("fuzzed.jsonl");
    Ok(vec![
        Parser::new("config file", &[CONFIG], move |bytes| {
            written(&toml, bytes, |path| length(&config::load(path, std::iter::empty())))
        }),
        Parser::new("environment", &VARIABLES, move |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let variables = text.lines().filter_map(|line| line.split_once('='));
            let variables: Vec<_> = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            length(&config::load(&steady, variables.into_iter()))
        }),
        Parser::new("state file", &STATE, move |bytes| {
            written(&state_dir.join("state.json"), bytes, |_| {
                let state = State::open(Some(&state_dir));
                state.map_or_else(|problem| length(&problem), |state| length(&(state.memories(), state.warning())))
            })
        }),
        Parser {
            name: "journal file".to_owned(),
            samples,
            feed: Box::new(move |bytes| written(&journal, bytes, read_journal)),
        },
    ])
}

/// Lets a file of these bytes be read.
fn written(path: &Path, bytes: &[u8], read: impl FnOnce(&Path) -> usize) -> usize {
    let write = fs::write(path, bytes);
    assert!(write.is_ok(), "the directory that was made for it can be written to: {write:?}");
    read(path)
}

/// How long the longest part is: a journal is read step by step. What was compressed has no bound but a line's.
fn read_journal(path: &Path) -> usize {
    let compressed = fs::read(path).is_ok_and(|bytes| bytes.starts_with(&ZSTD_MAGIC));
    let segment = match Segment::<Machine>::open(path) {
        Ok(segment) => segment,
        Err(error) => return length(&error),
    };
    let header = length(&segment.header);
    let longest = segment.map(|step| length(&step)).max().unwrap_or(0).max(header);
    if compressed { 0 } else { longest }
}

/// One journal file as it is, and the same without compression.
fn recordings(dir: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut machine = super::texts::listing();
    let mut journal = Journal::new(JournalSettings::in_dir(dir), 1);
    for n in 0..4 {
        let now = Now { mono: Instant::from_millis(1000 + n), unix_ms: n };
        let event = Event::Remembered { key: format!("session/{n}"), ok: n % 2 == 0 };
        journal.begin(now, &event, 7, &machine)?;
        let mut effects = Vec::new();
        machine.handle(now, event, &mut effects);
        journal.end(&effects)?;
    }
    journal.close()?;
    let file = journal::files(dir)?.into_iter().next().ok_or(io::ErrorKind::NotFound)?;
    let lines = journal::read(&file).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(io::Error::other)?;
    let plain: String = lines.into_iter().map(|line| line.text + "\n").collect();
    let compressed = fs::read(&file)?;
    fs::remove_dir_all(dir)?;
    Ok(vec![compressed, plain.into_bytes()])
}
