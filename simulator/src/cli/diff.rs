//! What differs between two texts, line by line.

use std::io::{self, Write};

/// Lines of agreement shown before and after what differs.
const CONTEXT: usize = 3;
/// Lines shown of either side.
const MAX_LINES: usize = 60;

/// Writes the lines in which two texts differ, `-` for the left and `+` for the right, with a little around them.
pub(crate) fn write(out: &mut dyn Write, left: &str, right: &str) -> io::Result<()> {
    let (left, right): (Vec<&str>, Vec<&str>) = (left.lines().collect(), right.lines().collect());
    let head = left.iter().zip(&right).take_while(|(a, b)| a == b).count();
    let shorter = left.len().min(right.len()) - head;
    let tail = left.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| a == b).count().min(shorter);
    let common = left.get(head.saturating_sub(CONTEXT)..head).unwrap_or_default();
    let after = left.get(left.len() - tail..).unwrap_or_default();
    let differing = |lines: &[&str]| -> Vec<String> {
        let middle = lines.get(head..lines.len() - tail).unwrap_or_default();
        let mut shown: Vec<String> = middle.iter().take(MAX_LINES).map(|line| (*line).to_owned()).collect();
        if middle.len() > MAX_LINES {
            shown.push(format!("… {} lines more", middle.len() - MAX_LINES));
        }
        shown
    };
    for line in common {
        writeln!(out, "    {line}")?;
    }
    for line in differing(&left) {
        writeln!(out, "  - {line}")?;
    }
    for line in differing(&right) {
        writeln!(out, "  + {line}")?;
    }
    for line in after.iter().take(CONTEXT) {
        writeln!(out, "    {line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::write;

    fn diff(left: &str, right: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, left, right).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_what_differs_is_marked() {
        let told = diff("a\nb\nc\nd\ne\nf", "a\nb\nc\nd\nX\nf");
        assert_eq!(told, "    b\n    c\n    d\n  - e\n  + X\n    f\n");
    }

    #[test]
    fn additions_and_repetitions_do_not_overlap() {
        assert_eq!(diff("a\na", "a\na\na"), "    a\n    a\n  + a\n");
        assert_eq!(diff("", "x"), "  + x\n");
    }
}
