//! Time as plain numbers: the core owns no clock, so every moment comes in as an argument.

use core::ops::{Add, Sub};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

/// A moment on the monotonic clock, in milliseconds since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(u64);

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(u64);

/// What the clocks say as an event is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Now {
    /// The monotonic clock: it never goes back.
    pub mono: Instant,
    /// The wall clock in milliseconds since 1970: it may jump and serves timestamps only.
    pub unix_ms: u64,
}

impl Instant {
    /// The moment `ms` milliseconds after the daemon started.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the daemon started.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `ms` milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// A span of `s` seconds.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1000))
    }

    /// The span in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The span in whole seconds, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Reads a span like `90s`, `10m`, `2h`, `1d` or `250ms`; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at_checked(digits)?;
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(unit_ms).map(Self)
    }

    /// The span `n` times over.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }
}

impl Add for Duration {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Duration {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// Seconds since 1970 of an RFC 3339 timestamp; `None` when it does not parse or stands for "unset" (year 1).
#[must_use]
pub fn unix_s_from_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp()).ok()
}

/// Milliseconds since 1970 of an RFC 3339 timestamp; `None` when it does not parse or stands for "unset" (year 1).
#[must_use]
pub fn unix_ms_from_rfc3339(text: &str) -> Option<u64> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let seconds = u64::try_from(moment.unix_timestamp()).ok()?;
    seconds.checked_mul(1000)?.checked_add(u64::from(moment.millisecond()))
}

/// Seconds since 1970 of an HTTP `Date` header; `None` when it does not parse.
#[must_use]
pub fn unix_s_from_http_date(text: &str) -> Option<u64> {
    u64::try_from(OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_and_timestamps_parse() {
        assert_eq!(unix_s_from_http_date("Tue, 15 Nov 1994 08:12:31 GMT"), Some(784_887_151));
        assert_eq!(unix_s_from_rfc3339("2026-05-01T10:00:00Z"), Some(1_777_629_600));
        assert_eq!(unix_ms_from_rfc3339("2026-05-01T10:00:00.1234567Z"), Some(1_777_629_600_123));
    }

    #[test]
    fn spans_parse_with_their_unit() {
        assert_eq!(Duration::parse("90s"), Some(Duration::from_secs(90)));
        assert_eq!(Duration::parse("250ms"), Some(Duration::from_millis(250)));
        for text in ["", "90", "s", "-1s", "1.5h", "99999999999999999999d", "18446744073709551615h"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_unset_year_and_garbage_are_no_time() {
        assert_eq!(unix_s_from_rfc3339("0001-01-01T00:00:00Z"), None);
        assert_eq!(unix_s_from_rfc3339("yesterday"), None);
        assert_eq!(unix_s_from_http_date("\u{feff}"), None);
    }
}
