//! Reading journal files, also those that a crash cut short.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::recording::{FORMAT, Header, Step, VERSION};
use poolkeeper_core::time::Now;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use zstd::stream::read::Decoder;

use super::frame;

/// The longest line that is read: the state of 10,000 pools is a tenth of it.
const MAX_LINE_BYTES: u64 = 256 << 20;
/// Lines longer than this are rare.
const KEPT_LINE_BYTES: usize = 4 << 10;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What is wrong with a journal file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.problem)
    }
}

impl std::error::Error for ReadError {}

/// One line of a journal file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// Its text, without the line break.
    pub text: String,
    /// Whether its line break was there: a cut line is the file's last.
    pub complete: bool,
}

/// The lines of a journal file.
pub struct Lines {
    file: PathBuf,
    input: BufReader<Box<dyn Read + Send>>,
    number: u64,
    /// The room that the next line is given at once.
    longest: usize,
    ended: bool,
    cut: Option<String>,
    torn: bool,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({}:{})", self.file.display(), self.number)
    }
}

/// Opens a journal file, compressed or plain, to read its lines.
///
/// # Errors
/// When it cannot be opened.
pub fn read(path: &Path) -> Result<Lines, ReadError> {
    let failed = |e: io::Error| ReadError { file: path.to_owned(), line: 0, problem: e.to_string() };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let compressed = file.fill_buf().map_err(failed)?.starts_with(&ZSTD_MAGIC);
    let input: Box<dyn Read + Send> =
        if compressed { Box::new(Decoder::with_buffer(file).map_err(failed)?) } else { Box::new(file) };
    Ok(Lines {
        file: path.to_owned(),
        input: BufReader::new(input),
        number: 0,
        longest: 0,
        ended: false,
        cut: None,
        torn: false,
    })
}

impl Lines {
    /// How the file ends, when it was cut short: known once the last line was read.
    #[must_use]
    pub fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// Whether it was cut where no crash of a daemon cuts it: known once the last line was read.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.torn
    }

    fn error(&self, problem: impl Into<String>) -> ReadError {
        ReadError { file: self.file.clone(), line: self.number, problem: problem.into() }
    }

    fn next_line(&mut self) -> Result<Option<Line>, ReadError> {
        self.number += 1;
        let mut bytes = Vec::with_capacity(self.longest);
        let read = (&mut self.input).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes);
        self.longest = self.longest.max(bytes.len()).min(KEPT_LINE_BYTES);
        let mut is_compressed = false;
        match read {
            Ok(length) if u64::try_from(length).is_ok_and(|length| length >= MAX_LINE_BYTES) => {
                return Err(self.error(format!("is longer than {MAX_LINE_BYTES} bytes")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                is_compressed = true;
                self.ended = true;
                self.torn = !frame::ends_between_blocks(&self.file).unwrap_or(false);
                self.cut = Some(format!("line {}: the compressed file was cut here", self.number));
            }
            Err(error) => return Err(self.error(format!("cannot be decompressed: {error}"))),
        }
        let complete = bytes.pop_if(|last| *last == b'\n').is_some();
        if bytes.is_empty() && !complete {
            return Ok(None);
        }
        if !complete {
            self.ended = true;
            self.torn |= !is_compressed;
            self.cut.get_or_insert_with(|| format!("line {}: the line was cut", self.number));
        }
        let text = if complete {
            String::from_utf8(bytes).map_err(|_| self.error("is not UTF-8"))?
        } else {
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Ok(Some(Line { number: self.number, text, complete }))
    }
}

impl Iterator for Lines {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_line().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.ended = true;
        }
        next
    }
}

/// A journal file as a header and its steps. `State` and `Effects` are what is read of a machine's state and of what
/// it wanted done: who needs neither reads faster, and reads what other versions wrote.
#[derive(Debug)]
pub struct Segment<State = Machine, Effects = Vec<Effect>> {
    /// The first line.
    pub header: Header<State>,
    lines: Lines,
    effects: PhantomData<fn() -> Effects>,
}

impl<State: DeserializeOwned, Effects> Segment<State, Effects> {
    /// Opens a journal file and reads its header.
    ///
    /// # Errors
    /// When it cannot be opened, is empty, or begins with no header of a known format.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let mut lines = read(path)?;
        let line =
            lines.next().ok_or_else(|| lines.error(if lines.cut.is_some() { CUT_HEADER } else { "is empty" }))??;
        let format: FormatOnly = serde_json::from_str(&line.text).map_err(|e| match &lines.cut {
            Some(_) if line.text.starts_with('{') => lines.error(CUT_HEADER),
            Some(_) | None => lines.error(format!("is no journal header: {e}")),
        })?;
        if format.format != FORMAT {
            let problem = format!("is of format {}, and this version reads {FORMAT}", format.format);
            return Err(lines.error(problem));
        }
        let header = serde_json::from_str(&line.text).map_err(|e| lines.error(no_header(&format, &e)))?;
        Ok(Self { header, lines, effects: PhantomData })
    }
}

const CUT_HEADER: &str = "the file was cut within its header";

#[derive(serde::Deserialize)]
struct FormatOnly {
    format: u32,
    #[serde(default)]
    version: String,
}

fn no_header(format: &FormatOnly, error: &serde_json::Error) -> String {
    let version = &format.version;
    if version.is_empty() || version == VERSION {
        return format!("header does not parse: {error}");
    }
    format!("the header was written by version {version}, and this is {VERSION}, which cannot read it: {error}")
}

impl<State, Effects: DeserializeOwned> Segment<State, Effects> {
    /// How the file ends, when it was cut short: known once the last step was read.
    #[must_use]
    pub fn cut(&self) -> Option<&str> {
        self.lines.cut()
    }

    /// Whether it was cut where no crash of a daemon cuts it: known once the last step was read.
    #[must_use]
    pub const fn is_torn(&self) -> bool {
        self.lines.is_torn()
    }

    /// Once the last step was read: how the file ends, when a crash cut it short.
    ///
    /// # Errors
    /// When it was cut where no crash of a daemon cuts it.
    pub fn end(&self) -> Result<Option<&str>, ReadError> {
        let Some(cut) = self.cut().filter(|_| self.is_torn()) else { return Ok(self.cut()) };
        let how = cut.split_once(": ").map_or(cut, |(_, how)| how);
        Err(self.lines.error(format!("{how}, where no crash of the daemon cuts it; copy it again")))
    }

    /// The number of the line read last.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.lines.number
    }

    fn step(&self, line: &Line) -> Option<Result<Step<Effects>, ReadError>> {
        if line.complete {
            let parsed = serde_json::from_str(&line.text);
            return Some(parsed.map_err(|e| self.lines.error(format!("step does not parse: {e}"))));
        }
        first_half(&line.text).map(Ok)
    }
}

impl<State, Effects: DeserializeOwned> Iterator for Segment<State, Effects> {
    type Item = Result<Step<Effects>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.lines.next()? {
            Ok(line) => self.step(&line),
            Err(error) => Some(Err(error)),
        }
    }
}

/// The clocks and the event of a step whose line was cut behind them.
fn first_half<Effects>(text: &str) -> Option<Step<Effects>> {
    let mut half = FirstHalf::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // The error that a cut line ends with says nothing new: what counts is what came before it.
    let _ = half.deserialize(&mut deserializer);
    Some(Step { now: half.now?, event: half.event?, effects: None })
}

#[derive(Default)]
struct FirstHalf {
    now: Option<Now>,
    event: Option<Event>,
}

impl<'de> DeserializeSeed<'de> for &mut FirstHalf {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut FirstHalf {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "now" => self.now = Some(map.next_value()?),
                "event" => self.event = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}
