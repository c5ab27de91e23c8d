//! Buffers that take no memory while nothing is in them: what a held poll costs is mostly these.

use ureq::unversioned::transport::Buffers;

use super::HEAD_BYTES_MAX;

const OUTPUT_BYTES: usize = 4064;
/// The most that is read ahead. A reply's head has to fit, and one that is too long has to be seen as such.
const INPUT_BYTES_MAX: usize = 2 * HEAD_BYTES_MAX;

/// What is about to be sent, and what was read and not yet used.
pub(super) struct LateBuffers {
    output: Vec<u8>,
    input: Vec<u8>,
    /// What of the input is filled and not yet used.
    used: usize,
    filled: usize,
    /// How much input is asked for at first.
    input_bytes: usize,
    /// Whether the last use of the input took anything of it.
    progress: bool,
}

impl LateBuffers {
    pub(super) const fn new(input_bytes: usize) -> Self {
        Self { output: Vec::new(), input: Vec::new(), used: 0, filled: 0, input_bytes, progress: false }
    }

    /// The output's first bytes, and the output with them, which is gone afterwards.
    pub(super) fn take_output(&mut self, amount: usize) -> Vec<u8> {
        let mut output = std::mem::take(&mut self.output);
        output.truncate(amount);
        output
    }

    /// Lets go of the input if all of it was used.
    pub(super) fn shed(&mut self) {
        if self.used == self.filled {
            (self.input, self.used, self.filled) = (Vec::new(), 0, 0);
        }
    }

    /// Makes room for more input behind what is not yet used.
    fn make_room(&mut self) {
        if self.used > 0 {
            self.input.copy_within(self.used..self.filled, 0);
            (self.used, self.filled) = (0, self.filled - self.used);
        }
        if self.input.is_empty() {
            self.input.resize(self.input_bytes, 0);
        } else if self.filled == self.input.len() {
            let doubled = self.input.len().saturating_mul(2);
            self.input.resize(doubled.min(INPUT_BYTES_MAX), 0);
        }
    }
}

impl Buffers for LateBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.output.resize(OUTPUT_BYTES, 0);
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        self.input.get(self.used..self.filled).unwrap_or_default()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room();
        self.input.get_mut(self.filled..).unwrap_or_default()
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled = self.filled.saturating_add(amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.used = self.used.saturating_add(amount).min(self.filled);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_room();
        self.output.resize(OUTPUT_BYTES, 0);
        (self.input.get_mut(self.filled..).unwrap_or_default(), &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.used < self.filled && self.progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffers: &mut LateBuffers, bytes: &[u8]) {
        let room = buffers.input_append_buf();
        let amount = bytes.len().min(room.len());
        room[..amount].copy_from_slice(&bytes[..amount]);
        buffers.input_appended(amount);
    }

    #[test]
    fn nothing_is_kept_while_nothing_is_in_them() {
        let mut buffers = LateBuffers::new(8);
        buffers.output()[..2].copy_from_slice(b"hi");
        assert_eq!(buffers.take_output(2), b"hi");
        fill(&mut buffers, b"abc");
        buffers.shed();
        assert_eq!(buffers.input(), b"abc");

        buffers.input_consume(3);
        buffers.shed();

        assert_eq!((buffers.output.capacity(), buffers.input.capacity()), (0, 0));
    }

    #[test]
    fn input_that_cannot_be_used_yet_gets_more_room_up_to_a_bound() {
        let mut buffers = LateBuffers::new(8);
        fill(&mut buffers, b"abcdefgh");
        buffers.input_consume(3);
        assert!(buffers.can_use_input());
        fill(&mut buffers, b"ijk");
        buffers.input_consume(0);
        assert!(!buffers.can_use_input());
        assert_eq!(buffers.input(), b"defghijk");

        fill(&mut buffers, b"lm");
        assert_eq!(buffers.input(), b"defghijklm");

        while !buffers.input_append_buf().is_empty() {
            let amount = buffers.input_append_buf().len();
            buffers.input_appended(amount);
        }
        assert_eq!(buffers.input().len(), INPUT_BYTES_MAX);
    }
}
