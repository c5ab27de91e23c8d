//! The journal: what happened, step by step, in compressed files that replay.
//!
//! A file is a segment: JSON lines in zstd, the first a [`Header`] with the machine's state, then one
//! [`Step`](poolkeeper_core::recording::Step) a line. A step's event is on its way to the disk before the machine takes
//! it, so that a crash leaves its cause as the last line.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::recording::{FORMAT, Header, VERSION};
use poolkeeper_core::time::{Instant, Now};
use zstd::stream::write::Encoder;

use crate::config::JournalSettings;

pub use self::named::expand;
pub use self::reader::{Line, Lines, ReadError, Segment, read};
pub use self::until::{Until, until};

mod frame;
mod named;
mod reader;
#[cfg(test)]
mod tests;
mod until;

/// The fastest level: it takes 2 µs a step, and job messages repeat themselves enough for it.
const LEVEL: i32 = 1;
/// A buffer that one large event made larger than this is given back.
const KEPT_BUFFER_BYTES: usize = 256 << 10;
/// The most files that are kept, however small: a daemon that crashes at once leaves one each time.
const MAX_FILES: usize = 1_000;
const PREFIX: &str = "journal-";
const SUFFIX: &str = ".jsonl.zst";

/// The journal that a daemon writes.
pub struct Journal {
    settings: JournalSettings,
    life_ms: u64,
    segments: u32,
    open: Option<OpenSegment>,
    line: Vec<u8>,
}

struct OpenSegment {
    path: PathBuf,
    encoder: Encoder<'static, Counted>,
    since: Instant,
}

/// A file that knows how much was written to it.
struct Counted {
    file: File,
    bytes: u64,
    /// Up to here the file consists of whole blocks.
    whole: u64,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Journal {
    /// A journal whose first file appears with the first step; `unix_ms`, the daemon's start, names its files.
    #[must_use]
    pub const fn new(settings: JournalSettings, unix_ms: u64) -> Self {
        Self { settings, life_ms: unix_ms, segments: 0, open: None, line: Vec::new() }
    }

    /// The file being written.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.open.as_ref().map(|open| open.path.as_path())
    }

    /// Writes a step's first half, and hands it to the operating system.
    ///
    /// # Errors
    /// When a file cannot be made or written: the journal is of no more use then.
    pub fn begin(&mut self, now: Now, event: &Event, seed: u64, machine: &Machine) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|open| open.is_due(&self.settings, now)) {
            self.finish()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_segment(now, seed, machine)?,
        };
        self.line.clear();
        self.line.extend_from_slice(b"{\"now\":");
        serde_json::to_writer(&mut self.line, &now)?;
        self.line.extend_from_slice(b",\"event\":");
        serde_json::to_writer(&mut self.line, event)?;
        open.encoder.write_all(&self.line)?;
        open.encoder.flush()?;
        self.open = Some(open);
        Ok(())
    }

    /// Writes the step's second half; it reaches the disk with the next step, or when the journal is closed.
    ///
    /// # Errors
    /// When the file cannot be written: the journal is of no more use then.
    pub fn end(&mut self, effects: &[Effect]) -> io::Result<()> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        self.line.clear();
        self.line.extend_from_slice(b",\"effects\":");
        serde_json::to_writer(&mut self.line, effects)?;
        self.line.extend_from_slice(b"}\n");
        open.encoder.write_all(&self.line)?;
        self.line.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn close(mut self) -> io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        open.encoder.finish()?;
        Ok(())
    }

    fn open_segment(&mut self, now: Now, seed: u64, machine: &Machine) -> io::Result<OpenSegment> {
        let JournalSettings { dir, segment_bytes, total_bytes, .. } = &self.settings;
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        remove_oldest(dir, total_bytes.saturating_sub(*segment_bytes))?;
        let segment = self.segments;
        let path = dir.join(format!("{PREFIX}{}-{segment:06}{SUFFIX}", self.life_ms));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let mut encoder = Encoder::new(Counted { file, bytes: 0, whole: 0 }, LEVEL)?;
        let header = Header {
            format: FORMAT,
            version: VERSION.to_owned(),
            segment,
            seed,
            config: machine.config().clone(),
            state: machine,
        };
        let mut buffered = BufWriter::new(&mut encoder);
        serde_json::to_writer(&mut buffered, &header)?;
        buffered.write_all(b"\n")?;
        buffered.flush()?;
        drop(buffered);
        self.segments = self.segments.saturating_add(1);
        Ok(OpenSegment { path, encoder, since: now.mono })
    }
}

impl OpenSegment {
    fn is_due(&self, settings: &JournalSettings, now: Now) -> bool {
        let age = Duration::from_millis(now.mono.since(self.since).as_millis());
        self.encoder.get_ref().bytes >= settings.segment_bytes || age >= settings.segment_age
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Ok(written) => {
                self.bytes = self.bytes.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
                Ok(written)
            }
            Err(error) => {
                // The journal ends here. A file that cannot be cut back is read up to where it is torn.
                drop(self.file.set_len(self.whole));
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.whole = self.bytes;
        Ok(())
    }
}

/// The journal files in a directory, oldest first.
///
/// # Errors
/// When the directory cannot be read.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<(Order, PathBuf)> = Vec::new();
    for entry in dir.read_dir()? {
        let path = entry?.path();
        if let Some(order) = order(&path) {
            found.push((order, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The daemon's start, then the segment.
type Order = (u64, u32);

fn order(path: &Path) -> Option<Order> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (life, segment) = name.split_once('-')?;
    Some((life.parse().ok()?, segment.parse().ok()?))
}

fn remove_oldest(dir: &Path, budget_bytes: u64) -> io::Result<()> {
    let mut sizes = Vec::new();
    for path in files(dir)? {
        let bytes = path.metadata()?.len();
        sizes.push((path, bytes));
    }
    let mut total: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
    let mut count = sizes.len();
    for (path, bytes) in sizes {
        if total <= budget_bytes && count < MAX_FILES {
            break;
        }
        std::fs::remove_file(path)?;
        total = total.saturating_sub(bytes);
        count -= 1;
    }
    Ok(())
}
