//! Numbers and texts as they take the least room in a page: differences, and each text once.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

/// Numbers that are written as what each adds to the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deltas(pub(super) Vec<u64>);

impl Deltas {
    pub(super) fn push(&mut self, value: u64) {
        self.0.push(value);
    }
}

impl Serialize for Deltas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut before = 0_i128;
        serializer.collect_seq(self.0.iter().map(|value| {
            let value = i128::from(*value);
            let delta = value - before;
            before = value;
            i64::try_from(delta).unwrap_or(i64::MAX)
        }))
    }
}

/// A number over time: a point wherever it changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    t: Deltas,
    v: Deltas,
}

impl Line {
    /// The number is this from `at` on.
    pub(super) fn set(&mut self, at: u64, value: u64) {
        if self.v.0.last() == Some(&value) {
            return;
        }
        if self.t.0.last() == Some(&at) {
            self.t.0.pop();
            self.v.0.pop();
            return self.set(at, value);
        }
        self.t.push(at);
        self.v.push(value);
    }

    pub(super) const fn len(&self) -> usize {
        self.t.0.len()
    }

    /// Leaves about `most` points: of each stretch of time its first, least, greatest and last.
    pub(super) fn thin(&mut self, most: usize) {
        let (Some(first), Some(last)) = (self.t.0.first().copied(), self.t.0.last().copied()) else { return };
        if self.len() <= most {
            return;
        }
        let stretches = u64::try_from(most / 4).unwrap_or(u64::MAX).max(1);
        let stretch = ((last - first) / stretches).max(1);
        let points: Vec<(u64, u64)> = self.t.0.iter().copied().zip(self.v.0.iter().copied()).collect();
        let mut thinned = Self::default();
        for chunk in points.chunk_by(|a, b| (a.0 - first) / stretch == (b.0 - first) / stretch) {
            let mut kept: Vec<(u64, u64)> = [
                chunk.first(),
                chunk.iter().min_by_key(|(_, value)| *value),
                chunk.iter().max_by_key(|(_, value)| *value),
                chunk.last(),
            ]
            .into_iter()
            .flatten()
            .copied()
            .collect();
            kept.sort_by_key(|(at, _)| *at);
            for (at, value) in kept {
                thinned.set(at, value);
            }
        }
        *self = thinned;
    }
}

/// Texts, each kept once and named by its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Dictionary {
    texts: Vec<String>,
    places: BTreeMap<String, u64>,
}

impl Dictionary {
    pub(super) fn place(&mut self, text: &str) -> u64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = u64::try_from(self.texts.len()).unwrap_or(u64::MAX);
        self.texts.push(text.to_owned());
        self.places.insert(text.to_owned(), place);
        place
    }
}

impl Serialize for Dictionary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.texts.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_differences() {
        let deltas = Deltas(vec![5, 7, 7, 2]);
        assert_eq!(serde_json::to_string(&deltas).unwrap(), "[5,2,0,-5]");
    }

    #[test]
    fn a_line_has_a_point_where_it_changed() {
        let mut line = Line::default();
        for (at, value) in [(1, 0), (2, 0), (3, 4), (3, 5), (4, 6), (4, 5)] {
            line.set(at, value);
        }
        assert_eq!((line.t.0, line.v.0), (vec![1, 3], vec![0, 5]));
    }

    #[test]
    fn a_thinned_line_keeps_its_extremes() {
        let mut line = Line::default();
        for at in 0..10_000 {
            let peak = if at == 4_321 { 900 } else { 0 };
            line.set(at, 50 + at % 2 + peak);
        }
        line.thin(100);
        assert!(line.len() <= 110, "{}", line.len());
        assert!(line.t.0.contains(&4_321) && line.v.0.contains(&951));
        assert_eq!(line.t.0.last(), Some(&9_999));
        assert!(line.t.0.is_sorted());
    }

    #[test]
    fn a_text_is_kept_once() {
        let mut dictionary = Dictionary::default();
        assert_eq!([dictionary.place("a"), dictionary.place("b"), dictionary.place("a")], [0, 1, 0]);
        assert_eq!(serde_json::to_string(&dictionary).unwrap(), r#"["a","b"]"#);
    }
}
