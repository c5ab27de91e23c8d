//! Figures, their bounds, and how they are shown.

use std::fmt;

use serde::Serialize;

/// Percentiles of a set of samples, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many samples there are.
    pub samples: usize,
    /// The median.
    pub p50_us: u64,
    /// 95 of a hundred are no longer.
    pub p95_us: u64,
    /// 99 of a hundred are no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Spread {
    /// The percentiles of samples, each the smallest sample that so many of a hundred do not exceed.
    #[must_use]
    pub fn of(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        let nearest = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1);
            samples.get(rank - 1).copied().unwrap_or(0)
        };
        Self {
            samples: samples.len(),
            p50_us: nearest(50),
            p95_us: nearest(95),
            p99_us: nearest(99),
            max_us: nearest(100),
        }
    }
}

/// A figure that misses its bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Miss {
    /// Which figure.
    pub figure: String,
    /// What it is.
    pub is: String,
    /// What it may be at the most.
    pub at_most: String,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, and may be {} at the most", self.figure, self.is, self.at_most)
    }
}

/// Finds the figures that miss their bounds.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    misses: Vec<Miss>,
}

impl Judge {
    /// A figure, its bound, and how both are written.
    pub fn at_most(&mut self, figure: &str, is: u64, bound: u64, written: impl Fn(u64) -> String) {
        if is > bound {
            self.misses.push(Miss { figure: figure.to_owned(), is: written(is), at_most: written(bound) });
        }
    }

    /// What was found.
    #[must_use]
    pub fn verdict(self) -> Vec<Miss> {
        self.misses
    }
}

/// Microseconds as milliseconds.
#[must_use]
pub fn ms(us: u64) -> String {
    format!("{}.{:03} ms", us / 1000, us % 1000)
}

/// The kernel's kB, which have 1024 bytes, as megabytes of a million bytes.
#[must_use]
pub fn mb(kb: u64) -> String {
    let tenths = kb.saturating_mul(1024) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// Hundredths as a factor.
#[must_use]
pub fn times(hundredths: u64) -> String {
    format!("{}.{:02} x", hundredths / 100, hundredths % 100)
}

/// How many hundredths of one figure another is; the most where that figure is 0.
#[must_use]
pub const fn ratio(is: u64, of: u64) -> u64 {
    match is.saturating_mul(100).checked_div(of) {
        Some(hundredths) => hundredths,
        None => u64::MAX,
    }
}

/// Lines of cells, in columns as wide as their widest cell, the first to the left and the others to the right.
#[must_use]
pub fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|l| l.get(column)).map(|c| c.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            if column == 0 {
                text.push_str(&format!("{cell:<width$}"));
            } else {
                text.push_str(&format!("  {cell:>width$}"));
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_that_occurred() {
        let spread = Spread::of((1..=200).rev().collect());

        assert_eq!((spread.p50_us, spread.p95_us, spread.p99_us, spread.max_us), (100, 190, 198, 200));
        assert_eq!(Spread::of(vec![7]), Spread { samples: 1, p50_us: 7, p95_us: 7, p99_us: 7, max_us: 7 });
        assert_eq!(Spread::of(Vec::new()), Spread::default());
    }

    #[test]
    fn only_a_figure_above_its_bound_is_a_miss() {
        let mut judge = Judge::default();
        judge.at_most("p50", 1200, 1200, ms);
        judge.at_most("p99", 4001, 4000, ms);

        let misses = judge.verdict();

        assert_eq!(misses.len(), 1);
        assert_eq!(misses[0].to_string(), "p99 is 4.001 ms, and may be 4.000 ms at the most");
    }

    #[test]
    fn figures_are_written_with_their_units() {
        assert_eq!(ms(1234), "1.234 ms");
        assert_eq!(mb(45_678), "46.7 MB");
        assert_eq!(times(ratio(900, 400)), "2.25 x");
        assert_eq!(ratio(1, 0), u64::MAX);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let line = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();

        assert_eq!(table(&[line(["pools", "ms"]), line(["1", "12.5"])]), "pools    ms\n1      12.5\n");
    }
}
