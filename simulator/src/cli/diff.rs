//! What differs between two values, field by field.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

/// The most differences that are shown.
const MAX_SHOWN: usize = 20;
/// The most characters of a value that are shown.
const MAX_CHARS: usize = 160;
/// Characters shown before the place where two long texts part.
const LEAD: usize = 40;

/// One place at which two values differ: a path, and what is there, if anything is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<Value>,
}

/// Where two values differ; `name` is what the paths begin with.
pub(crate) fn between(name: &str, recorded: &impl Serialize, replayed: &impl Serialize) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(name, &value(recorded), &value(replayed), &mut found);
    found
}

/// Writes what [`between`] found: `-` is recorded, `+` is replayed.
pub(crate) fn write(out: &mut dyn Write, differences: &[Difference]) -> io::Result<()> {
    for Difference { path, recorded, replayed } in differences.iter().take(MAX_SHOWN) {
        writeln!(out, "  {path}")?;
        let (left, right) = (recorded.as_ref().map(Value::to_string), replayed.as_ref().map(Value::to_string));
        let same = match (&left, &right) {
            (Some(left), Some(right)) => left.chars().zip(right.chars()).take_while(|(a, b)| a == b).count(),
            (Some(_) | None, None) | (None, Some(_)) => 0,
        };
        for (sign, text) in [('-', left), ('+', right)] {
            match text {
                Some(text) => writeln!(out, "    {sign} {}", cut(&text, same))?,
                None => writeln!(out, "    {sign} (nothing)")?,
            }
        }
    }
    if differences.len() > MAX_SHOWN {
        writeln!(out, "  … and {} more", differences.len() - MAX_SHOWN)?;
    }
    Ok(())
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_else(|e| Value::String(format!("does not serialise: {e}")))
}

fn compare(path: &str, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    match (left, right) {
        _ if left == right => {}
        (Value::Object(left), Value::Object(right)) if share_a_key(left, right) => {
            for (key, value) in left {
                let path = format!("{path}.{key}");
                match right.get(key) {
                    Some(other) => compare(&path, value, other, found),
                    None => found.push(Difference { path, recorded: Some(value.clone()), replayed: None }),
                }
            }
            for (key, value) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
                let path = format!("{path}.{key}");
                found.push(Difference { path, recorded: None, replayed: Some(value.clone()) });
            }
        }
        (Value::Array(left), Value::Array(right)) => lists(path, left, right, found),
        (left, right) => {
            let (recorded, replayed) = (Some(left.clone()), Some(right.clone()));
            found.push(Difference { path: path.to_owned(), recorded, replayed });
        }
    }
}

/// Enums are objects of one key: two variants have nothing to compare.
fn share_a_key(left: &serde_json::Map<String, Value>, right: &serde_json::Map<String, Value>) -> bool {
    left.keys().any(|key| right.contains_key(key))
}

/// Compares two lists past what they begin and end with alike, so that one element more does not move all others.
fn lists(path: &str, left: &[Value], right: &[Value], found: &mut Vec<Difference>) {
    let head = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    let shorter = left.len().min(right.len()) - head;
    let tail = left.iter().rev().zip(right.iter().rev()).take_while(|(a, b)| a == b).count().min(shorter);
    let middle = |list: &[Value]| list.get(head..list.len() - tail).unwrap_or_default().to_vec();
    let (mut left, mut right) = (middle(left).into_iter(), middle(right).into_iter());
    for n in head.. {
        let path = format!("{path}[{n}]");
        match (left.next(), right.next()) {
            (Some(left), Some(right)) => compare(&path, &left, &right, found),
            (None, None) => return,
            (recorded, replayed) => found.push(Difference { path, recorded, replayed }),
        }
    }
}

/// A text around the place where it parts from another.
fn cut(text: &str, parts_at: usize) -> String {
    if text.chars().count() <= MAX_CHARS {
        return text.to_owned();
    }
    let skipped = parts_at.saturating_sub(LEAD);
    let shown: String = text.chars().skip(skipped).take(MAX_CHARS).collect();
    let before = if skipped > 0 { "…" } else { "" };
    let after = if text.chars().count() > skipped + MAX_CHARS { "…" } else { "" };
    format!("{before}{shown}{after}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{between, write};

    fn diff(left: &serde_json::Value, right: &serde_json::Value) -> String {
        let mut out = Vec::new();
        write(&mut out, &between("effects", left, right)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_nested_field_is_named_by_its_path() {
        let left =
            json!([{"drop": 1}, {"aws": {"id": 7, "call": {"SetDesiredCapacity": {"group": "g", "desired": 3}}}}]);
        let right =
            json!([{"drop": 1}, {"aws": {"id": 7, "call": {"SetDesiredCapacity": {"group": "g", "desired": 4}}}}]);
        assert_eq!(diff(&left, &right), "  effects[1].aws.call.SetDesiredCapacity.desired\n    - 3\n    + 4\n");
    }

    #[test]
    fn one_effect_more_does_not_move_the_others() {
        let left = json!([{"drop": 1}, {"drop": 3}]);
        let right = json!([{"drop": 1}, {"exit": "stopped"}, {"drop": 3}]);
        assert_eq!(diff(&left, &right), "  effects[1]\n    - (nothing)\n    + {\"exit\":\"stopped\"}\n");
        assert_eq!(diff(&json!([1, 1]), &json!([1, 1, 1])), "  effects[2]\n    - (nothing)\n    + 1\n");
    }

    #[test]
    fn another_effect_is_shown_whole() {
        let told = diff(&json!([{"drop": 1}]), &json!([{"exit": "stopped"}]));
        assert_eq!(told, "  effects[0]\n    - {\"drop\":1}\n    + {\"exit\":\"stopped\"}\n");
    }

    #[test]
    fn long_texts_are_shown_where_they_part() {
        let (left, right) = ("x".repeat(5000) + "a", "x".repeat(5000) + "b");
        let told = diff(&json!({"body": left}), &json!({"body": right}));
        assert!(told.contains("effects.body\n    - …xxx"), "{told}");
        assert!(told.contains("xa\"\n") && told.contains("xb\"\n") && told.len() < 500, "{told}");
    }

    #[test]
    fn many_differences_are_counted() {
        let many = |n: i32| json!((0..50).map(|i| i * n).collect::<Vec<_>>());
        assert!(diff(&many(1), &many(2)).ends_with("  … and 29 more\n"), "{}", diff(&many(1), &many(2)));
    }
}
