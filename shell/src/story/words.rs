//! Times, spans and errors as stories tell them.

use poolkeeper_core::notice::Proof;
use time::OffsetDateTime;

use crate::notice_text::proof_words;

/// A moment of the wall clock, to the millisecond.
#[must_use]
pub fn utc(unix_ms: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000);
    let Ok(at) = moment else { return format!("{unix_ms} ms since 1970") };
    let (date, month, ms) = (at.date(), u8::from(at.month()), at.millisecond());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", date.year(), date.day())
}

/// A span for people: short ones to a tenth of a second.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        120_000..7_200_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        7_200_000.. => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A number of things, by their name in the singular.
pub(super) fn count(n: u64, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {thing}{plural}")
}

/// A termination that is asked for, and the proof that it ends no job.
pub(super) fn termination(instance: &str, decrement: bool, proof: Option<(Proof, u64)>) -> String {
    let desired = if decrement { "desired capacity goes down with it" } else { "another one takes its place" };
    format!("AWS is asked to terminate {instance}; {desired}\nproof:  {}", proof_told(proof))
}

/// The proof that no job runs on an instance, and when it was there.
pub(super) fn proof_told(proof: Option<(Proof, u64)>) -> String {
    proof.map_or_else(
        || "it came before this journal begins, or in another life of the daemon".to_owned(),
        |(proof, at_ms)| format!("{} ({})", proof_words(proof), utc(at_ms)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_to_the_millisecond() {
        assert_eq!(utc(1_777_629_600_007), "2026-05-01T10:00:00.007Z");
        assert_eq!(utc(u64::MAX), "18446744073709551615 ms since 1970");
    }

    #[test]
    fn spans_are_as_fine_as_they_are_short() {
        let told = [999, 61_250, 131_000, 7_500_000].map(span);
        assert_eq!(told, ["999 ms", "61.2 s", "2 min 11 s", "2 h 5 min"]);
    }
}
