//! The daemon's config: a TOML file, overridden by environment variables.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use poolkeeper_core::config::Config;

use self::section::Source;

mod environment;
mod schema;
mod section;
#[cfg(test)]
mod tests;

/// Where the config is unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/poolkeeper/poolkeeper.toml";

/// The most bytes of a config file that are read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// All that a daemon is told.
#[derive(Clone, Debug, PartialEq)]
pub struct DaemonConfig {
    /// What the machine is told.
    pub core: Config,
    /// The connections to GitHub, by the names they have in `core.connections`.
    pub github: BTreeMap<String, GitHubSettings>,
    /// How AWS is reached.
    pub aws: AwsSettings,
    /// The status server.
    pub status: StatusSettings,
    /// The journal, if one is kept.
    pub journal: Option<JournalSettings>,
    /// The state directory, if there is one.
    pub state_dir: Option<PathBuf>,
    /// What the operator should know about this config, though it works.
    pub hints: Vec<String>,
}

/// The shell's side of one connection to GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHubSettings {
    /// Where the credential is.
    pub credential: CredentialSource,
    /// A PEM file of certificate authorities to trust beside the built-in ones.
    pub ca_file: Option<PathBuf>,
    /// The proxy, if not the environment's.
    pub proxy: Option<String>,
}

/// Where a connection's credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A personal access token in a file.
    TokenFile(PathBuf),
    /// A personal access token in an environment variable.
    TokenEnv(String),
    /// A GitHub App.
    App {
        /// The app's client id (its app id works too).
        client_id: String,
        /// Its private key.
        private_key: KeySource,
    },
}

impl CredentialSource {
    fn is_in_variable(&self, variable: &str) -> bool {
        match self {
            Self::TokenEnv(name) | Self::App { private_key: KeySource::Env(name), .. } => name == variable,
            Self::TokenFile(_) | Self::App { private_key: KeySource::File(_), .. } => false,
        }
    }
}

/// Where a private key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a PEM file.
    File(PathBuf),
    /// In an environment variable, as PEM.
    Env(String),
}

/// How AWS is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsSettings {
    /// The region; the SDK's own search when absent.
    pub region: Option<String>,
    /// Another endpoint than the region's.
    pub endpoint_url: Option<String>,
    /// What the names of parameters begin with that carry configs to instances.
    pub parameter_prefix: String,
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self { region: None, endpoint_url: None, parameter_prefix: "/poolkeeper".to_owned() }
    }
}

/// The status server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusSettings {
    /// Where it listens; absent: there is none.
    pub listen: Option<SocketAddr>,
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// The directory of its files.
    pub dir: PathBuf,
    /// A segment ends when it has this many bytes.
    pub segment_bytes: u64,
    /// A segment ends at this age.
    pub segment_age: Duration,
    /// All files together have at most this many bytes: the oldest are removed.
    pub total_bytes: u64,
}

impl JournalSettings {
    /// A journal in a directory, with the built-in limits.
    #[must_use]
    pub fn in_dir(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(24 * 60 * 60),
            total_bytes: 1 << 30,
        }
    }
}

/// What is wrong with a config, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The file, or the environment variable.
    pub place: String,
    /// The key as a dotted path; empty when the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub mend: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.problem, self.mend)
    }
}

impl std::error::Error for ConfigProblem {}

/// The process's environment, without variables that are no UTF-8: none of ours is.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Reads the config file, and the environment variables that override its keys.
///
/// # Errors
/// One message that names file or variable, key and mend.
pub fn load(path: &Path, environment: impl Iterator<Item = (String, String)>) -> Result<DaemonConfig, ConfigProblem> {
    let source = Source::new(path);
    let table = read_table(path, &source)?;
    schema::read(source, table, environment)
}

fn read_table(path: &Path, source: &Source) -> Result<toml::Table, ConfigProblem> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text)).map_err(|error| {
        let mend = "write a config there, or name another with --config FILE";
        source.problem("", format!("cannot be read: {error}"), mend)
    })?;
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let what = error.message().replace('\n', " ");
        source.problem("", format!("line {line}: not TOML: {what}"), "mend the line")
    })
}
