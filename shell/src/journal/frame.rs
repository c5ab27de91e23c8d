//! Whether a compressed file that ends too soon ends where a crash leaves it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

const MAGIC_BYTES: u64 = 4;
const BLOCK_HEADER_BYTES: u64 = 3;
/// A block that repeats one byte stores it once.
const RUN_LENGTH: u32 = 1;

/// Whether the file ends between two blocks of its frame.
///
/// The journal flushes whole blocks, so a crash cuts nowhere else; a copy that was cut does.
/// The layout is that of [RFC 8878](https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1).
pub(super) fn ends_between_blocks(path: &Path) -> io::Result<bool> {
    let mut file = BufReader::new(File::open(path)?);
    let end = file.get_ref().metadata()?.len();
    file.seek(SeekFrom::Start(MAGIC_BYTES))?;
    let mut descriptor = [0];
    if file.read_exact(&mut descriptor).is_err() {
        return Ok(false);
    }
    let mut at = MAGIC_BYTES + header_bytes(descriptor[0]);
    while at < end {
        file.seek(SeekFrom::Start(at))?;
        let mut block = [0; 4];
        if file.read_exact(block.get_mut(..3).unwrap_or_default()).is_err() {
            return Ok(false);
        }
        let header = u32::from_le_bytes(block);
        let stored = if (header >> 1) & 3 == RUN_LENGTH { 1 } else { u64::from(header >> 3) };
        at += BLOCK_HEADER_BYTES + stored;
    }
    Ok(at == end)
}

/// The length of a frame's header, its magic number aside, as the descriptor tells it.
const fn header_bytes(descriptor: u8) -> u64 {
    let is_single_segment = descriptor & 0x20 != 0;
    let window: u64 = if is_single_segment { 0 } else { 1 };
    let dictionary: u64 = match descriptor & 3 {
        0 => 0,
        1 => 1,
        2 => 2,
        _ => 4,
    };
    let content_size: u64 = match descriptor >> 6 {
        0 if is_single_segment => 1,
        0 => 0,
        1 => 2,
        2 => 4,
        _ => 8,
    };
    1 + window + dictionary + content_size
}
