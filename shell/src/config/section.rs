//! One table of the config: each key is taken out by its type, and what is left over is unknown.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use super::ConfigProblem;

/// Keys that people try for a secret itself.
const INLINE_SECRETS: [&str; 5] = ["token", "private_key", "password", "secret", "pat"];

/// Where values come from.
#[derive(Debug)]
pub(super) struct Source {
    file: String,
    /// Environment variables by the dotted path of the key they override.
    pub(super) variables: BTreeMap<String, String>,
}

impl Source {
    pub(super) fn new(path: &Path) -> Self {
        Self { file: path.display().to_string(), variables: BTreeMap::new() }
    }

    /// A problem with the key at a dotted path.
    pub(super) fn problem(&self, path: &str, problem: impl Into<String>, mend: impl Into<String>) -> ConfigProblem {
        let place = self
            .variables
            .get(path)
            .map_or_else(|| self.file.clone(), |variable| format!("environment variable {variable}"));
        ConfigProblem { place, key: path.to_owned(), problem: problem.into(), mend: mend.into() }
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Section<'a> {
    source: &'a Source,
    path: String,
    table: Table,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) const fn root(source: &'a Source, table: Table) -> Self {
        Self { source, path: String::new(), table, known: Vec::new() }
    }

    /// The dotted path of a key in here.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn problem(&self, key: &str, problem: impl Into<String>, mend: impl Into<String>) -> ConfigProblem {
        self.source.problem(&self.path_of(key), problem, mend)
    }

    /// A problem with this section as a whole.
    pub(super) fn own_problem(&self, problem: impl Into<String>, mend: impl Into<String>) -> ConfigProblem {
        self.source.problem(&self.path, problem, mend)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, ConfigProblem> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(key, &other, "a text in quotes")),
        }
    }

    pub(super) fn number(&mut self, key: &'static str) -> Result<Option<u64>, ConfigProblem> {
        let parsed = match self.take(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => u64::try_from(number).ok(),
            Some(Value::String(text)) if self.is_override(key) => text.trim().parse().ok(),
            Some(other) => return Err(self.wrong_type(key, &other, "a whole number")),
        };
        parsed.map(Some).ok_or_else(|| self.problem(key, "is no number from 0 up", "write a whole number, such as 20"))
    }

    /// A number that counts machines.
    pub(super) fn count(&mut self, key: &'static str) -> Result<Option<u32>, ConfigProblem> {
        let Some(number) = self.number(key)? else { return Ok(None) };
        u32::try_from(number).map(Some).map_err(|_| self.problem(key, format!("{number} is too large"), "lower it"))
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, ConfigProblem> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(flag)),
            Some(Value::String(text)) if self.is_override(key) => match text.trim() {
                "true" => Ok(Some(true)),
                "false" => Ok(Some(false)),
                _ => Err(self.problem(key, "is neither true nor false", "write true or false")),
            },
            Some(other) => Err(self.wrong_type(key, &other, "true or false")),
        }
    }

    /// A list of texts; in an environment variable they stand between commas or spaces.
    pub(super) fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>, ConfigProblem> {
        const WANTED: &str = "a list of texts, such as [\"one\", \"two\"]";
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item.as_str() {
                    Some(text) => Ok(text.to_owned()),
                    None => Err(self.wrong_type(key, &item, WANTED)),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(Value::String(text)) if self.is_override(key) => {
                Ok(Some(text.split([',', ' ']).filter(|part| !part.is_empty()).map(str::to_owned).collect()))
            }
            Some(other) => Err(self.wrong_type(key, &other, WANTED)),
        }
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, ConfigProblem> {
        const MEND: &str = "write a number and a unit, such as \"90s\", \"10m\" or \"24h\"";
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => parse_duration(&text)
                .map(Some)
                .ok_or_else(|| self.problem(key, format!("\"{text}\" is no duration"), MEND)),
            Some(other) => Err(self.wrong_type(key, &other, "a duration, such as \"90s\"")),
        }
    }

    /// The section under a key, if it is there.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Option<Self>, ConfigProblem> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => self.subsection(key, value).map(Some),
        }
    }

    /// The sections under a key whose own names the operator chose.
    pub(super) fn named_sections(&mut self, key: &'static str) -> Result<Vec<(String, Self)>, ConfigProblem> {
        let Some(section) = self.section(key)? else { return Ok(Vec::new()) };
        let Section { source, path, table, .. } = section;
        let parent = Section { source, path, table: Table::new(), known: Vec::new() };
        table.into_iter().map(|(name, value)| parent.subsection(&name, value).map(|s| (name, s))).collect()
    }

    /// Ends the reading: whatever was not taken out is unknown.
    pub(super) fn end(self) -> Result<(), ConfigProblem> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        if INLINE_SECRETS.contains(&key.as_str()) {
            let mend = "name a file or an environment variable instead (token_file, token_env, \
                        private_key_file, private_key_env)";
            return Err(self.problem(key, "secrets are never written inline", mend));
        }
        let mend = nearest(key, &self.known)
            .map_or_else(|| format!("known here: {}", self.known.join(", ")), |near| format!("did you mean {near}?"));
        Err(self.problem(key, "unknown key", mend))
    }

    fn subsection(&self, key: &str, value: Value) -> Result<Self, ConfigProblem> {
        let Value::Table(table) = value else {
            return Err(self.wrong_type(key, &value, "a section with keys of its own"));
        };
        Ok(Section { source: self.source, path: self.path_of(key), table, known: Vec::new() })
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    fn is_override(&self, key: &str) -> bool {
        self.source.variables.contains_key(&self.path_of(key))
    }

    fn wrong_type(&self, key: &str, value: &Value, wanted: &str) -> ConfigProblem {
        self.problem(key, format!("is of type {}", value.type_str()), format!("write {wanted}"))
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms).map(Duration::from_millis)
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let within = 1 + key.len() / 3;
    known
        .iter()
        .map(|candidate| (strsim::osa_distance(key, candidate), *candidate))
        .filter(|(distance, _)| *distance <= within)
        .min()
        .map(|(_, candidate)| candidate)
}
