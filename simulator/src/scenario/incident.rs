//! What went wrong for others, as a scenario: with its defence it ends well, and without it a checker objects.

use poolkeeper_core::config::Defences;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Scenario;
use crate::simulation::{check, sabotage};

/// What a scenario shows of the world outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// What was seen.
    pub seen: String,
    /// Where: `OWNER/REPO`, mostly with `#NUMBER` of an issue.
    pub issues: Vec<String>,
    /// What poolkeeper does about it.
    pub here: String,
    /// What makes the difference.
    pub defence: Defence,
    /// The checker that objects when it is missing.
    pub checker: String,
}

/// What makes the difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Defence {
    /// A rule of the machine that can be switched off: a field of [`Defences`].
    Switch(String),
    /// Something that the machine never does, so that somebody beside it has to: a name of [`sabotage::by_name`].
    UndoneBy(String),
}

impl Incident {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.seen.is_empty() || self.issues.is_empty() || self.here.is_empty() {
            return Err("incident: say what was seen, in which issues, and what is done here".to_owned());
        }
        let all = check::all();
        let mut names = all.iter().map(|checker| checker.name()).chain([check::Frugal::NAME]);
        if !names.any(|name| name == self.checker) {
            return Err(format!("incident.checker: there is no checker \"{}\"; name one of check::all", self.checker));
        }
        match &self.defence {
            Defence::Switch(name) => without(Defences::default(), name).map(drop),
            Defence::UndoneBy(name) => sabotage::by_name(name)
                .map(drop)
                .ok_or_else(|| format!("incident.defence: nobody is called \"{name}\"; see sabotage::by_name")),
        }
    }
}

impl Scenario {
    /// The same story for a machine that lacks the defence it is about.
    ///
    /// # Errors
    /// When it is about none.
    pub fn without_defence(&self) -> Result<Self, String> {
        let Some(Incident { defence, .. }) = &self.incident else {
            return Err("it names no defence that could be left out; run one of the stored incidents".to_owned());
        };
        let mut lacking = self.clone();
        lacking.incident = None;
        match defence {
            Defence::Switch(name) => lacking.knobs.defences = without(self.knobs.defences, name)?,
            Defence::UndoneBy(name) => lacking.sabotage = Some(name.clone()),
        }
        Ok(lacking)
    }
}

/// The names of all defences that can be switched off.
#[must_use]
pub fn switches() -> Vec<String> {
    match serde_json::to_value(Defences::default()) {
        Ok(Value::Object(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn without(defences: Defences, name: &str) -> Result<Defences, String> {
    let unknown = || format!("incident.defence: there is no switch \"{name}\"; name one of {}", switches().join(", "));
    let mut fields = serde_json::to_value(defences).map_err(|error| error.to_string())?;
    *fields.get_mut(name).ok_or_else(unknown)? = Value::Bool(false);
    serde_json::from_value(fields).map_err(|error| error.to_string())
}
