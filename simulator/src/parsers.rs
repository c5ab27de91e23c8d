//! All that reads what a peer or a user wrote, and inputs to throw at it.
//!
//! [`all`] hands out every parser with samples of what it expects; [`Input`] makes anything from a sample.
//! A parser may refuse its input. It must not panic, and what it keeps of an input is bounded by the input's length.

use std::fmt;
use std::path::Path;

mod files;
pub mod input;
mod replies;
mod requests;
mod texts;

#[cfg(test)]
mod tests;

pub use input::Input;

/// A parser keeps at most so many bytes, as JSON or debug text, for each byte of its input…
pub const KEPT_PER_BYTE: usize = 16;
/// …and so many beside.
pub const KEPT_ANYWAY: usize = 16 << 10;

type Feed = Box<dyn FnMut(&[u8]) -> usize + Send>;

/// Something that reads bytes of a peer or a user.
pub struct Parser {
    /// Its name, for example `reply of create_session`.
    pub name: String,
    /// Inputs it takes.
    pub samples: Vec<Vec<u8>>,
    feed: Feed,
}

/// A parser kept more of an input than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The input's length.
    pub given: usize,
    /// The length of what was kept of it.
    pub kept: usize,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes were kept of an input of {}", self.kept, self.given)
    }
}

impl std::error::Error for Excess {}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parser({})", self.name)
    }
}

impl Parser {
    fn new(name: impl Into<String>, samples: &[&str], feed: impl FnMut(&[u8]) -> usize + Send + 'static) -> Self {
        let samples = samples.iter().map(|sample| sample.as_bytes().to_vec()).collect();
        Self { name: name.into(), samples, feed: Box::new(feed) }
    }

    /// Lets it read an input, and says how many bytes it kept.
    ///
    /// # Errors
    /// When it kept more than a bounded share of the input.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, Excess> {
        let kept = (self.feed)(bytes);
        let most = bytes.len().saturating_mul(KEPT_PER_BYTE).saturating_add(KEPT_ANYWAY);
        if kept > most { Err(Excess { given: bytes.len(), kept }) } else { Ok(kept) }
    }
}

/// Every parser; those that read files read them in `dir`.
///
/// # Errors
/// When `dir` cannot be written to, or a sample is not taken by its parser.
pub fn all(dir: &Path) -> Result<Vec<Parser>, String> {
    let mut parsers = replies::all()?;
    parsers.extend(texts::all());
    parsers.extend(requests::all());
    parsers.extend(files::all(dir)?);
    Ok(parsers)
}

/// The length of a value as debug text: a measure of what was kept.
fn length(value: &impl fmt::Debug) -> usize {
    struct Counter(usize);
    impl fmt::Write for Counter {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.saturating_add(text.len());
            Ok(())
        }
    }
    let mut counter = Counter(0);
    let counted = fmt::write(&mut counter, format_args!("{value:?}"));
    assert!(counted.is_ok(), "counting never fails");
    counter.0
}
