//! Prometheus's text format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{self, Display, Write};

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the two lines that begin a family.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    put(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

/// Writes one sample.
pub(crate) fn sample<'a>(
    out: &mut String,
    name: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    value: impl Display,
) {
    out.push_str(name);
    let mut separator = '{';
    for (label, value) in labels {
        out.push(separator);
        put(out, format_args!("{label}=\"{}\"", Escaped(value)));
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    put(out, format_args!(" {value}\n"));
}

/// A label's value as it may stand between quotes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Microseconds, written as seconds.
pub(crate) struct Seconds(pub(crate) u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if micros == 0 {
            return write!(f, "{whole}");
        }
        let text = format!("{whole}.{micros:06}");
        f.write_str(text.trim_end_matches('0'))
    }
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut out = String::new();
        sample(&mut out, "x", [("a", "say \"hi\"\n\\o/"), ("b", "é")], 3);
        assert_eq!(out, "x{a=\"say \\\"hi\\\"\\n\\\\o/\",b=\"é\"} 3\n");
    }

    #[test]
    fn a_sample_without_labels_has_no_braces() {
        let mut out = String::new();
        sample(&mut out, "x", [], 1);
        assert_eq!(out, "x 1\n");
    }

    #[test]
    fn seconds_are_written_without_trailing_zeros() {
        let shown: Vec<_> = [0, 1, 250_000, 3_000_000, 61_500_000].map(|us| Seconds(us).to_string()).into();
        assert_eq!(shown, ["0", "0.000001", "0.25", "3", "61.5"]);
    }
}
