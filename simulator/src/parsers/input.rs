//! Inputs: a sample, and what was done to it.

use poolkeeper_core::rng::Rng;

/// No input is longer than this.
pub const MAX_INPUT: usize = 1 << 20;
/// What breaks parsers, if anything does: ends of numbers, escapes, nesting, halves of things.
const TOKENS: [&[u8]; 40] = [
    b"null",
    b"true",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b",",
    b":",
    b"0",
    b"-1",
    b"1e999",
    b"1e-999",
    b"0.5",
    b"4294967295",
    b"4294967296",
    b"9223372036854775808",
    b"18446744073709551615",
    b"18446744073709551616",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3\x28",
    b"\xf0\x9f\x98\x80",
    b"\0",
    b"\n",
    b"\r\n",
    b"=",
    b"&",
    b"%",
    b"%00",
    b"%zz",
    b"\"messageId\":",
    b"9999-12-31T23:59:59Z",
    b"0000-00-00T99:99:99+99:99",
    b"{\"a\":{\"a\":",
    b"\x28\xb5\x2f\xfd",
];

/// One thing done to an input. Places are taken modulo the input's length, so that each fits every input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// One bit is turned over.
    Flip {
        /// Which byte.
        at: usize,
        /// Which bit.
        bit: u8,
    },
    /// One byte becomes another.
    Set {
        /// Which byte.
        at: usize,
        /// What it becomes.
        byte: u8,
    },
    /// A token of those that break parsers is put in.
    Insert {
        /// Where.
        at: usize,
        /// Which token.
        token: usize,
    },
    /// Bytes are taken out.
    Remove {
        /// From where.
        at: usize,
        /// How many.
        len: usize,
    },
    /// Bytes are said again and again.
    Repeat {
        /// From where.
        at: usize,
        /// How many bytes.
        len: usize,
        /// How often.
        times: usize,
    },
    /// The rest is cut off.
    Cut {
        /// From where.
        at: usize,
    },
    /// The rest is that of another sample.
    Splice {
        /// From where.
        at: usize,
        /// Which sample.
        sample: usize,
    },
}

impl Change {
    /// Makes the change.
    pub fn apply(&self, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
        let place = |at: usize| at.checked_rem(bytes.len()).unwrap_or(0);
        match self {
            Self::Flip { at, bit } => {
                let at = place(*at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Set { at, byte } => {
                let at = place(*at);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Self::Insert { at, token } => {
                let at = place(*at);
                let token = TOKENS.get(token % TOKENS.len()).copied().unwrap_or_default();
                bytes.splice(at..at, token.iter().copied());
            }
            Self::Remove { at, len } => {
                let at = place(*at);
                bytes.drain(at..at.saturating_add(*len).min(bytes.len()));
            }
            Self::Repeat { at, len, times } => {
                let at = place(*at);
                let part: Vec<u8> = bytes.iter().skip(at).take(*len).copied().collect();
                let room = MAX_INPUT.saturating_sub(bytes.len());
                let times = (*times).min(room.checked_div(part.len()).unwrap_or(0));
                bytes.splice(at..at, part.repeat(times));
            }
            Self::Cut { at } => bytes.truncate(place(*at)),
            Self::Splice { at, sample } => {
                let at = place(*at);
                let other = sample.checked_rem(samples.len()).and_then(|n| samples.get(n));
                let rest = other.and_then(|other| other.get(at..)).unwrap_or_default();
                bytes.truncate(at);
                bytes.extend_from_slice(rest);
            }
        }
        bytes.truncate(MAX_INPUT);
    }
}

/// One input: arbitrary bytes, or a sample with changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Anything.
    Bytes(Vec<u8>),
    /// What is expected, changed.
    Changed {
        /// Which sample.
        sample: usize,
        /// What is done to it, in order.
        changes: Vec<Change>,
    },
}

impl Input {
    /// The input's bytes, given the parser's samples.
    #[must_use]
    pub fn bytes(&self, samples: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Changed { sample, changes } => {
                let sample = sample.checked_rem(samples.len()).and_then(|n| samples.get(n));
                let mut bytes = sample.cloned().unwrap_or_default();
                for change in changes {
                    change.apply(&mut bytes, samples);
                }
                bytes
            }
        }
    }

    /// Draws an input: mostly a sample with a few changes, now and then bytes without any sense, seldom a very long one.
    pub fn draw(rng: &mut Rng) -> Self {
        if rng.below(6) == 0 {
            let most = [16, 200, 2_000].get(place(rng, 3)).copied().unwrap_or(16);
            let len = place(rng, most);
            return Self::Bytes((0..len).map(|_| byte(rng)).collect());
        }
        let changes = 1 + rng.below(6);
        Self::Changed { sample: place(rng, 1 << 20), changes: (0..changes).map(|_| draw_change(rng)).collect() }
    }
}

fn draw_change(rng: &mut Rng) -> Change {
    let at = place(rng, 1 << 20);
    match rng.below(16) {
        0..4 => Change::Flip { at, bit: byte(rng) },
        4..7 => Change::Set { at, byte: byte(rng) },
        7..11 => Change::Insert { at, token: place(rng, TOKENS.len()) },
        11..13 => Change::Remove { at, len: 1 + place(rng, 40) },
        13 => {
            let many = if rng.below(200) == 0 { 20_000 } else { 40 };
            Change::Repeat { at, len: 1 + place(rng, 60), times: 1 + place(rng, many) }
        }
        14 => Change::Cut { at },
        _ => Change::Splice { at, sample: place(rng, 1 << 20) },
    }
}

fn place(rng: &mut Rng, below: usize) -> usize {
    let below = u64::try_from(below).unwrap_or(u64::MAX);
    usize::try_from(rng.below(below)).unwrap_or(usize::MAX)
}

fn byte(rng: &mut Rng) -> u8 {
    let [first, ..] = rng.next().to_le_bytes();
    first
}
