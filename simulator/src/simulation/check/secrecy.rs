//! Secrets.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Checker, Moment};
use crate::github::MARKER;

/// Shorter runs of base64 characters cannot hold the mark.
const SHORTEST_RUN: usize = 18;
/// How often base64 within base64 is looked into.
const MAX_DEPTH: usize = 3;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// No secret is in any event or effect, in plain text or under base64.
#[derive(Debug)]
pub struct NoSecret;

impl Checker for NoSecret {
    fn contract(&self) -> &'static str {
        "no secret is in any event or effect"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let event = serde_json::to_vec(moment.event).map_err(|error| error.to_string())?;
        if holds_secret(&event) {
            return Err("an event holds a secret".to_owned());
        }
        for effect in moment.effects {
            let effect = serde_json::to_vec(effect).map_err(|error| error.to_string())?;
            if holds_secret(&effect) {
                return Err("an effect holds a secret".to_owned());
            }
        }
        Ok(())
    }
}

/// Whether bytes hold one of the model's secrets, in plain text or under base64.
#[must_use]
pub fn holds_secret(bytes: &[u8]) -> bool {
    search(bytes, MAX_DEPTH)
}

fn search(bytes: &[u8], depth: usize) -> bool {
    if String::from_utf8_lossy(bytes).contains(MARKER) {
        return true;
    }
    if depth == 0 {
        return false;
    }
    let in_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    bytes
        .split(|byte| !in_base64(byte))
        .filter(|run| run.len() >= SHORTEST_RUN)
        .any(|run| (0..4).filter_map(|skip| run.get(skip..)).any(|run| decoded(run, depth)))
}

fn decoded(run: &[u8], depth: usize) -> bool {
    // A run need not begin or end where the encoded text does: whole groups of four are enough.
    let whole = run.len() - run.len() % 4;
    let standard: Vec<u8> = run.iter().take(whole).map(|byte| standard_digit(*byte)).collect();
    GeneralPurpose::new(&alphabet::STANDARD, LENIENT).decode(&standard).is_ok_and(|plain| search(&plain, depth - 1))
}

/// The digit of the standard alphabet for one of either alphabet.
const fn standard_digit(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    #[test]
    fn a_leak_is_found_in_plain_text_and_under_base64() {
        let leak = format!("{{\"token\":\"AR{MARKER}00\"}}");
        assert!(holds_secret(leak.as_bytes()));
        let once = STANDARD.encode(&leak);
        assert!(holds_secret(format!("x {once} y").as_bytes()));
        assert!(holds_secret(format!("abc{once}").as_bytes()));
        let url_safe = URL_SAFE_NO_PAD.encode(format!("??>>{leak}"));
        assert!(holds_secret(format!("a-{url_safe}").as_bytes()));
        let twice = STANDARD.encode(format!("{{\"jit\":\"{once}\"}}"));
        assert!(holds_secret(twice.as_bytes()));
        assert!(!holds_secret(b"nothing to see, SANDBOX SECRET included, aGVsbG8gd29ybGQgaGVsbG8="));
    }
}
