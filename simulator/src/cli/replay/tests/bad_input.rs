//! Files that are no recordings, or not wholly.

use poolkeeper_shell::config::JournalSettings;
use poolkeeper_shell::journal::Journal;

use super::*;
use crate::cli::USAGE;

/// A journal as the daemon writes it, of a machine that ticks, and how many steps it has.
struct Written {
    dir: tempfile::TempDir,
    file: PathBuf,
    bytes: Vec<u8>,
}

const STEPS: u64 = 300;

impl Written {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config: Config = serde_json::from_str(CONFIG).unwrap();
        let mut machine = Machine::new(config, SEED);
        let mut journal = Journal::new(JournalSettings::in_dir(dir.path()), 1000);
        for n in 0..STEPS {
            let (now, event) =
                (at(n * 1000), if n == 0 { Event::Start { remembered: Vec::new() } } else { Event::Tick });
            journal.begin(now, &event, SEED, &machine).unwrap();
            let mut effects = Vec::new();
            machine.handle(now, event, &mut effects);
            journal.end(&effects).unwrap();
        }
        journal.close().unwrap();
        let file = dir.path().join("journal-1000-000000.jsonl.zst");
        let bytes = fs::read(&file).unwrap();
        Self { dir, file, bytes }
    }

    /// Its lines, unpacked.
    fn lines(&self) -> Vec<String> {
        journal::read(&self.file).unwrap().map(|line| line.unwrap().text).collect()
    }

    fn put(&self, bytes: impl AsRef<[u8]>) {
        fs::write(&self.file, bytes).unwrap();
    }

    /// Replays it and sees that it is refused, with its place and this reason; what was told of it.
    fn refused(&self, until: Option<Until>, line: u64, reason: &str) -> String {
        let (code, told, complaint) = replay_as(&Options { until, ..options(vec![self.file.clone()]) });
        assert_eq!(code, USAGE, "{told}{complaint}");
        assert!(complaint.starts_with(&format!("{}:{line}: ", self.file.display())), "{complaint}");
        assert!(complaint.contains(reason), "{complaint}");
        told
    }
}

const BEYOND: Option<Until> = Some(Until::Step(STEPS * 2));

#[test]
fn the_whole_file_is_good() {
    let written = Written::new();
    let (code, told) = replay(vec![written.dir.path().to_owned()], None);
    assert_eq!((code, told.as_str()), (0, "300 steps of 1 segments replayed: every effect as recorded\n"));
}

#[test]
fn a_file_cut_in_a_frame_is_refused_and_what_is_there_is_shown() {
    let written = Written::new();
    let half = written.bytes.len() / 2;
    // A cut that hits a block's end is what a crash leaves: no three bytes in a row are such ends.
    let cuts = (half..half + 3).filter(|length| {
        written.put(&written.bytes[..*length]);
        let (code, ..) = replay_as(&options(vec![written.file.clone()]));
        code == USAGE
    });
    let length = cuts.max().expect("a cut in a block is refused");
    written.put(&written.bytes[..length]);
    let (_, _, complaint) = replay_as(&options(vec![written.file.clone()]));
    assert!(complaint.contains("where no crash of the daemon cuts it"), "{complaint}");
    let line: u64 = complaint.rsplit_once("zst:").unwrap().1.split(':').next().unwrap().parse().unwrap();
    assert!((2..STEPS).contains(&line), "{complaint}");
    let shown = written.refused(BEYOND, line, "cut");
    let machine: Machine = serde_json::from_str(&shown).unwrap();
    assert!(machine.poll_timeout().is_some());
}

#[test]
fn a_line_that_is_cut_is_refused_and_what_is_there_is_shown() {
    let written = Written::new();
    let lines = written.lines();
    let cut = &lines[3][..lines[3].len() - 10];
    written.put([&lines[0], &lines[1], &lines[2], cut].map(|line| line.to_owned() + "\n").concat().trim_end());
    let told = written.refused(None, 4, "the line was cut");
    assert!(told.contains("3 steps of 1 segments replayed: every effect as recorded"), "{told}");
    assert!(written.refused(BEYOND, 4, "the line was cut").contains("\"steps\": 3"));
}

#[test]
fn a_crash_is_no_bad_input() {
    let written = Written::new();
    let config: Config = serde_json::from_str(CONFIG).unwrap();
    let dir = written.dir.path().join("crashed");
    let mut journal = Journal::new(JournalSettings::in_dir(&dir), 7);
    let mut machine = Machine::new(config, SEED);
    let event = Event::Start { remembered: Vec::new() };
    journal.begin(at(0), &event, SEED, &machine).unwrap();
    let mut effects = Vec::new();
    machine.handle(at(0), event, &mut effects);
    journal.end(&effects).unwrap();
    journal.begin(at(1), &Event::Tick, SEED, &machine).unwrap();
    let left = fs::read(journal.path().unwrap()).unwrap();
    drop(journal);
    written.put(left);
    let (code, told, complaint) = replay_as(&options(vec![written.file]));
    assert_eq!((code, complaint.as_str()), (0, ""), "{told}");
    assert!(told.contains("line 3: the compressed file was cut here"), "{told}");
    assert!(told.contains("2 steps of 1 segments replayed: every effect as recorded"), "{told}");
}

#[test]
fn an_edited_byte_is_found() {
    let written = Written::new();
    let lines = written.lines();
    let broken = lines[5].replacen("\"now\"", "\"n\\w\"", 1);
    let pack = |nth: usize, line: &str| {
        let mut lines = lines.clone();
        line.clone_into(&mut lines[nth]);
        zstd::encode_all((lines.join("\n") + "\n").as_bytes(), 3).unwrap()
    };
    written.put(pack(5, &broken));
    let told = written.refused(None, 6, "step does not parse");
    assert!(told.starts_with("4 steps"), "{told}");
    assert!(written.refused(BEYOND, 6, "step does not parse").contains("\"steps\": 4"));
    written.put(pack(1, &lines[1].replacen("\"effects\":[", "\"effects\":[7,", 1)));
    written.refused(None, 2, "the effects do not parse");
    written.put(pack(1, &lines[1].replacen("\"id\":1", "\"id\":9", 1)));
    let (code, told) = replay(vec![written.file], None);
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("zst:2: step 1 at ") && told.contains("  effects[0].aws.id\n    - 9\n    + 1\n"), "{told}");
}

#[test]
fn a_byte_edited_in_the_frame_is_found() {
    let written = Written::new();
    let mut bytes = written.bytes.clone();
    let last = bytes.len() - 4;
    bytes[last / 3] ^= 0x5a;
    written.put(bytes);
    let (code, told, complaint) = replay_as(&options(vec![written.file]));
    assert_ne!(code, 0, "{told}{complaint}");
}

#[test]
fn another_format_is_refused() {
    let written = Written::new();
    let mut lines = written.lines();
    lines[0] = lines[0].replacen("\"format\":1", "\"format\":2", 1);
    written.put(lines.join("\n") + "\n");
    written.refused(None, 1, "is of format 2, and this version reads 1");
}

#[test]
fn another_version_is_replayed_only_when_told_to() {
    let written = Written::new();
    let mut lines = written.lines();
    let version = format!("\"version\":\"{VERSION}\"");
    lines[0] = lines[0].replacen(&version, "\"version\":\"9.9.9\"", 1);
    written.put(lines.join("\n") + "\n");
    let told = written.refused(None, 1, "was written by version 9.9.9");
    assert!(told.starts_with("0 steps"), "{told}");
    assert!(written.refused(BEYOND, 1, "--other-version").contains("\"steps\": 300"));
    let (code, told, _) = replay_as(&Options { other_version: true, ..options(vec![written.file.clone()]) });
    assert_eq!((code, told.as_str()), (0, "300 steps of 1 segments replayed: every effect as recorded\n"));
    lines[0] = lines[0].replacen("\"state\":{", "\"state\":{\"x\":1},\"other\":{", 1);
    written.put(lines.join("\n") + "\n");
    written.refused(None, 1, "the header was written by version 9.9.9");
}

#[test]
fn what_is_no_recording_is_refused() {
    let written = Written::new();
    let whole = written.bytes.clone();
    for (bytes, reason) in [
        (&b"Dear diary,\ntoday nothing happened.\n"[..], "is no journal header"),
        (b"", "is empty"),
        (b"{}\n", "is no journal header"),
        (b"\x7fELF\x02\x01\x01\0\0\0\xff\xfe\n\0\0\x80", "is not UTF-8"),
        (b"\x7fELF\x02\x01\x01\0\0\0\xff\xfe\0\0\x80", "is no journal header"),
        (b"\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "cut within its header"),
        (&whole[..whole.len() / 20], "cut within its header"),
    ] {
        written.put(bytes);
        written.refused(None, 1, reason);
        written.refused(BEYOND, 1, reason);
    }
}

#[test]
fn a_place_without_journals_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, complaint) = replay_as(&options(vec![dir.path().to_owned()]));
    assert_eq!(code, USAGE);
    assert!(complaint.contains("there is no journal file"), "{complaint}");
    let (code, _, complaint) = replay_as(&options(vec![dir.path().join("none")]));
    assert_eq!(code, USAGE);
    assert!(complaint.contains("none"), "{complaint}");
}

#[test]
fn one_bad_file_does_not_hide_the_others() {
    let recording = Recording::new();
    let mut files = recording.write();
    let bad = recording.dir.path().join("bad");
    fs::write(&bad, "no").unwrap();
    files.insert(0, bad);
    let (code, told, complaint) = replay_as(&options(files));
    assert_eq!(code, USAGE);
    assert!(told.starts_with("4 steps of 3 segments replayed: every effect"), "{told}");
    assert!(complaint.contains("bad:1: "), "{complaint}");
}
