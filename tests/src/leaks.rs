//! The search for secrets in what was written: as they are, and behind zstd and base64.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// How deep encodings may be nested.
const MAX_DEPTH: u32 = 4;
/// Shorter runs of base64 cannot hold a mark.
const SHORTEST_RUN: usize = 16;
/// The most bytes that one compressed text may become.
const MAX_DECODED: u64 = 256 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What is searched for.
#[derive(Clone, Debug, Default)]
pub struct Search {
    marks: Vec<Vec<u8>>,
}

impl Search {
    /// A search for any of the marks.
    ///
    /// # Panics
    /// When a mark is so short that it may be found by chance.
    #[must_use]
    pub fn new(marks: &[&[u8]]) -> Self {
        assert!(marks.iter().all(|mark| mark.len() >= 8), "a mark is not found by chance");
        Self { marks: marks.iter().map(|mark| mark.to_vec()).collect() }
    }

    /// Whether a mark is in the bytes, however it is encoded.
    #[must_use]
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.finds_at(bytes, 0)
    }

    /// The files below a directory in which a mark is.
    ///
    /// # Panics
    /// When one cannot be read.
    #[must_use]
    pub fn files_below(&self, dir: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        collect(dir, &mut files);
        files.retain(|path| self.finds(&fs::read(path).expect("what was written can be read")));
        files
    }

    fn finds_at(&self, bytes: &[u8], depth: u32) -> bool {
        if self.marks.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == mark.as_slice())) {
            return true;
        }
        if depth >= MAX_DEPTH {
            return false;
        }
        if bytes.starts_with(&ZSTD_MAGIC) && self.finds_at(&decompress(bytes), depth + 1) {
            return true;
        }
        bytes
            .split(|byte| !is_base64(*byte))
            .filter(|run| run.len() >= SHORTEST_RUN)
            .any(|run| (0..4).filter_map(|skip| decode(run.get(skip..)?)).any(|inner| self.finds_at(&inner, depth + 1)))
    }
}

/// As much as can be had of a compressed text that may have been cut.
fn decompress(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(decoder) = zstd::Decoder::new(bytes) {
        // What came before a cut is in the text.
        drop(decoder.take(MAX_DECODED).read_to_end(&mut text));
    }
    text
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// A run of base64 in either alphabet, cut to what decodes.
fn decode(run: &[u8]) -> Option<Vec<u8>> {
    let standard: Vec<u8> = run
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        })
        .collect();
    let whole = standard.len() - standard.len() % 4;
    let ends = [standard.len(), standard.len() - 1, whole];
    ends.into_iter().find_map(|end| STANDARD_NO_PAD.decode(standard.get(..end)?).ok())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in dir.read_dir().expect("the directory can be read") {
        let path = entry.expect("the directory can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    const MARK: &[u8] = b"MARKEDSECRET";

    #[test]
    fn a_mark_is_found_behind_every_encoding() {
        let search = Search::new(&[MARK]);
        let inner = b"ghs_MARKEDSECRET0123456789abcdef".as_slice();
        let twice = STANDARD.encode(URL_SAFE_NO_PAD.encode(inner));
        for text in [
            inner.to_vec(),
            format!("{{\"jwt\":\"ab.{}.x\"}}", URL_SAFE_NO_PAD.encode(inner)).into_bytes(),
            format!("ab{twice}=").into_bytes(),
            zstd::encode_all(twice.as_bytes(), 1).unwrap(),
        ] {
            assert!(search.finds(&text), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn a_mark_is_found_before_the_cut_of_a_compressed_file() {
        let search = Search::new(&[MARK]);
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        std::io::Write::write_all(&mut encoder, MARK).unwrap();
        std::io::Write::flush(&mut encoder).unwrap();
        assert!(search.finds(encoder.get_ref()));
    }

    #[test]
    fn what_holds_no_mark_is_clean() {
        let search = Search::new(&[MARK]);
        let harmless = STANDARD.encode("there is nothing of interest in this text");
        assert!(!search.finds(harmless.as_bytes()));
        assert!(!search.finds(&zstd::encode_all(harmless.as_bytes(), 1).unwrap()));
    }
}
