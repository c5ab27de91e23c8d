//! The environment that AWS's tools read.

use std::collections::BTreeMap;
use std::sync::Arc;

use poolkeeper_shell::config;

/// Variables of the process, as they were at the start.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    variables: Arc<BTreeMap<String, String>>,
}

impl Environment {
    /// Those that AWS's tools share, and the home directory.
    pub(crate) fn of_process() -> Self {
        let read = |(name, _): &(String, String)| name.starts_with("AWS_") || name == "HOME";
        Self { variables: Arc::new(config::environment().filter(read).collect()) }
    }

    /// A variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).filter(|value| !value.is_empty()).cloned()
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { variables: Arc::new(owned.collect()) }
    }
}
