//! Environment variables that stand for keys: `POOLKEEPER_POOL__SIZE_MAX` is `size_max` in `[pool]`.

use toml::{Table, Value};

use super::ConfigProblem;
use super::section::Source;

/// What the names of all our variables begin with.
const PREFIX: &str = "POOLKEEPER_";
/// What stands between a section and its key.
const SEPARATOR: &str = "__";
/// The most parts of a name that stands for a key: no key lies that deep, and a table that did could not even be dropped.
const MOST_PARTS: usize = 8;
/// Keys outside any section.
const TOP_LEVEL: [&str; 3] = ["stack", "owner", "state_dir"];
/// Variables of ours that are no keys.
const RESERVED: [&str; 1] = ["log"];
/// Makes every host an Enterprise Server, as in GitHub's own client.
const FORCE_GHES: &str = "GITHUB_ACTIONS_FORCE_GHES";

/// What the environment said beside overriding keys.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) force_ghes: bool,
    /// Variables of our prefix that mean nothing.
    pub(super) ignored: Vec<String>,
}

/// Writes overrides into the table, and notes in the source which keys they stand for.
pub(super) fn apply(
    variables: impl Iterator<Item = (String, String)>,
    source: &mut Source,
    table: &mut Table,
) -> Result<Environment, ConfigProblem> {
    let mut environment = Environment::default();
    for (variable, value) in variables {
        if variable == FORCE_GHES {
            environment.force_ghes = true;
        }
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let keys: Vec<String> = name.split(SEPARATOR).map(normal).collect();
        match keys.as_slice() {
            [key] if RESERVED.contains(&key.as_str()) => {}
            [key] if !TOP_LEVEL.contains(&key.as_str()) => environment.ignored.push(variable),
            keys if keys.len() > MOST_PARTS || keys.iter().any(String::is_empty) => environment.ignored.push(variable),
            [sections @ .., key] => {
                set(source, table, (sections, key), (variable, value))?;
            }
            [] => {}
        }
    }
    Ok(environment)
}

fn set(
    source: &mut Source,
    root: &mut Table,
    (sections, key): (&[String], &str),
    (variable, value): (String, String),
) -> Result<(), ConfigProblem> {
    let mut table = root;
    let mut path = String::new();
    for section in sections {
        let name = spelling(table, section);
        path.push_str(&name);
        let child = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = child else {
            let problem = format!("is no section, as {variable} takes it to be");
            return Err(source.problem(&path, problem, "unset the variable or mend the key"));
        };
        table = inner;
        path.push('.');
    }
    let key = spelling(table, key);
    path.push_str(&key);
    source.variables.insert(path, variable);
    table.insert(key, Value::String(value));
    Ok(())
}

/// The key as the file spells it: variables know neither small letters nor dashes.
fn spelling(table: &Table, wanted: &str) -> String {
    table.keys().find(|key| normal(key) == wanted).map_or_else(|| wanted.to_owned(), Clone::clone)
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
}
