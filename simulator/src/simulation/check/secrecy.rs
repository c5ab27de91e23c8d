//! Secrets.

use std::sync::LazyLock;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memmem::Finder;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::Body;

use super::{Checker, Heard, Moment};
use crate::github::MARKER;

/// Shorter runs of base64 characters cannot hold the mark.
const SHORTEST_RUN: usize = 18;
/// How often base64 within base64 is looked into.
const MAX_DEPTH: usize = 3;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// How often a whole step is searched, under base64 too; the parts in which a leak is likeliest are searched in each.
const SEARCH_ALL_EVERY: u64 = 256;

/// No secret is anywhere but in the shell's vault.
#[derive(Debug, Default)]
pub struct NoSecret {
    steps: u64,
    buffer: Vec<u8>,
}

impl Checker for NoSecret {
    fn name(&self) -> &'static str {
        "no_secret"
    }

    fn contract(&self) -> &'static str {
        "no secret is in any event, effect or state"
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        if let Event::GitHubReply { result: Ok(reply), .. } = heard.event
            && let Body::Raw(body) = &reply.body
            && is_in(&body.0)
        {
            return Err("a reply holds a secret".to_owned());
        }
        self.steps += 1;
        if self.steps.is_multiple_of(SEARCH_ALL_EVERY) && holds_secret(self.written(heard.event)?) {
            return Err("an event holds a secret".to_owned());
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        self.buffer.clear();
        for effect in moment.effects {
            gather(effect, &mut self.buffer)?;
        }
        if is_in(&self.buffer) {
            let leaks: Vec<_> = moment.effects.iter().filter(|effect| leaks(effect)).map(kind).collect();
            return Err(format!("an effect holds a secret: {}", leaks.join(", ")));
        }
        if self.steps.is_multiple_of(SEARCH_ALL_EVERY) { self.search_all(moment) } else { Ok(()) }
    }
}

impl NoSecret {
    fn search_all(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        if holds_secret(self.written(&moment.effects)?) {
            return Err("an effect holds a secret".to_owned());
        }
        let Some(machine) = moment.observed.machine else { return Ok(()) };
        // The whole state is searched in plain text and under one layer of base64 only: it is large.
        if self.steps.is_multiple_of(SEARCH_ALL_EVERY * SEARCH_ALL_EVERY / 8) && is_in(self.written(machine)?) {
            return Err("the machine's state holds a secret".to_owned());
        }
        Ok(())
    }

    fn written(&mut self, value: &impl serde::Serialize) -> Result<&[u8], String> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, value).map_err(|error| error.to_string())?;
        Ok(&self.buffer)
    }
}

/// Appends the texts of an effect in which a leak is likeliest, apart from each other.
fn gather(effect: &Effect, to: &mut Vec<u8>) -> Result<(), String> {
    let mut add = |text: &str| {
        to.extend_from_slice(text.as_bytes());
        to.push(b'\n');
    };
    match effect {
        Effect::GitHub { request, .. } => {
            add(&request.url);
            request.headers.iter().for_each(|header| add(&header.value));
            request.body.iter().for_each(|body| add(body));
        }
        Effect::Remember { value, .. } => value.iter().for_each(|value| add(value)),
        Effect::Note(notice) => serde_json::to_writer(to, notice).map_err(|error| error.to_string())?,
        Effect::Aws { .. } | Effect::Cancel { .. } | Effect::Drop(_) | Effect::Exit(_) => {}
    }
    Ok(())
}

fn leaks(effect: &Effect) -> bool {
    let mut texts = Vec::new();
    gather(effect, &mut texts).is_ok() && is_in(&texts)
}

const fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::GitHub { call, .. } => call.as_str(),
        Effect::Aws { .. } => "a call to AWS",
        Effect::Cancel { .. } => "a cancellation",
        Effect::Remember { .. } => "a memory",
        Effect::Drop(_) => "the end of a secret",
        Effect::Note(_) => "a notice",
        Effect::Exit(_) => "the end",
    }
}

/// Whether bytes hold the mark, in plain text or under one layer of base64.
///
/// Base64 writes the mark in three ways, by where it begins; of each the part that its neighbours do not change is
/// looked for.
fn is_in(bytes: &[u8]) -> bool {
    static FORMS: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| {
        [MARKER.to_owned(), encoded(0), encoded(1), encoded(2)].map(|form| Finder::new(form.as_bytes()).into_owned())
    });
    FORMS.iter().any(|form| form.find(bytes).is_some())
}

/// How the mark looks under base64 when it begins `skip` bytes after a whole group of three.
fn encoded(skip: usize) -> String {
    let padded = [vec![0; skip], MARKER.as_bytes().to_vec()].concat();
    let text = STANDARD_NO_PAD.encode(&padded);
    // The first characters hold bits of what stands before, the last one of what follows.
    let from = [0, 2, 3].get(skip).copied().unwrap_or(0);
    let to = padded.len() * 8 / 6;
    text.get(from..to).unwrap_or_default().to_owned()
}

/// Whether bytes hold one of the model's secrets, in plain text or under base64.
#[must_use]
pub fn holds_secret(bytes: &[u8]) -> bool {
    search(bytes, MAX_DEPTH)
}

fn search(bytes: &[u8], depth: usize) -> bool {
    static PLAIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARKER));
    if PLAIN.find(bytes).is_some() {
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
        assert!(holds_secret(leak.as_bytes()) && is_in(leak.as_bytes()));
        for skip in 0..6 {
            let shifted = STANDARD.encode(format!("{}{leak}", "~".repeat(skip)));
            assert!(is_in(shifted.as_bytes()), "{skip}: {shifted}");
        }
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
