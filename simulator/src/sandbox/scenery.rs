//! Ready-made pools, and the config of a daemon that serves them.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use poolkeeper_core::aws::{Tag, WarmPool};

use super::Sandbox;
use crate::aws::GroupSpec;
use crate::github::SetKey;

/// The value of the tag `runs-on-stack` on every group here.
pub const STACK: &str = "sandbox";
/// The organizations that pools belong to, in turn.
pub const ORGS: [&str; 3] = ["acme", "widgets", "globex"];
/// The region that requests to AWS must be signed for.
pub const REGION: &str = "eu-west-1";
/// What each group can hold.
const MAX_SIZE: u32 = 20;
/// How many instances stand by in a warm pool.
const WARM_SIZE: u32 = 3;
const LAUNCH_HOOK: &str = "prepared";

/// Groups tagged for poolkeeper, and the scale sets that belong to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenery {
    /// The groups.
    pub groups: Vec<GroupSpec>,
    /// The scale set of each group.
    pub sets: Vec<SetKey>,
}

impl Scenery {
    /// `pools` groups of the three organizations in turn, empty, protected, and as poolkeeper wants them.
    #[must_use]
    pub fn new(pools: usize) -> Self {
        let owners = ORGS.iter().cycle();
        let named: Vec<(&str, String)> = owners.zip(1..=pools).map(|(org, n)| (*org, format!("pool-{n}"))).collect();
        Self {
            groups: named.iter().map(|(org, pool)| group(org, pool)).collect(),
            sets: named.iter().map(|(org, pool)| SetKey::new(org, &format!("{org}-{pool}"))).collect(),
        }
    }
}

impl Scenery {
    /// The first group gets a warm pool, and the second one a launch hook that the daemon completes.
    #[must_use]
    pub fn prepared(mut self) -> Self {
        if let Some(group) = self.groups.first_mut() {
            group.warm_pool = Some(WarmPool::default());
            group.warm_size = WARM_SIZE;
        }
        if let Some(group) = self.groups.get_mut(1) {
            group.launch_hook = Some(LAUNCH_HOOK.into());
            group.tags.push(Tag { key: "runs-on-launch-hook".into(), value: LAUNCH_HOOK.into() });
        }
        self
    }
}

fn group(org: &str, pool: &str) -> GroupSpec {
    let tag = |key: &str, value: &str| Tag { key: key.into(), value: value.into() };
    GroupSpec {
        name: format!("ci-{org}-{pool}").into(),
        max_size: MAX_SIZE,
        new_instances_protected: true,
        tags: vec![tag("runs-on-stack", STACK), tag("runs-on-org", org), tag("runs-on-pool", pool)],
        suspended_processes: vec!["AZRebalance".into()],
        ..GroupSpec::default()
    }
}

/// The files of a daemon that serves a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonFiles {
    /// The config.
    pub config: PathBuf,
    /// The file of the personal access token, for the owner's eyes only.
    pub token: PathBuf,
    /// Where the daemon keeps its journal.
    pub journal: PathBuf,
}

/// Writes config and token of a daemon that serves the sandbox; its state and journal will be beside them.
///
/// # Errors
/// When the directory cannot be made or written.
pub fn write_daemon_files(dir: &Path, sandbox: &Sandbox, pat: &str) -> io::Result<DaemonFiles> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let dir = dir.canonicalize()?;
    let files =
        DaemonFiles { config: dir.join("poolkeeper.toml"), token: dir.join("token"), journal: dir.join("journal") };
    write_private(&files.token, pat)?;
    write_private(&files.config, &config(&dir, sandbox, &files))?;
    Ok(files)
}

fn config(dir: &Path, sandbox: &Sandbox, files: &DaemonFiles) -> String {
    let mut text = format!("stack = {}\nstate_dir = {}\n", quoted(STACK), path(&dir.join("state")));
    let orgs: Vec<String> = ORGS.iter().map(|org| quoted(org)).collect();
    let mut line = |args: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let _ = text.write_fmt(args);
        text.push('\n');
    };
    line(format_args!("\n[github.main]\nurl = {}", quoted(&sandbox.github_url)));
    line(format_args!("token_file = {}\norgs = [{}]", path(&files.token), orgs.join(", ")));
    if let Some(ca_file) = &sandbox.ca_file {
        let ca_file = ca_file.canonicalize().unwrap_or_else(|_| ca_file.clone());
        line(format_args!("ca_file = {}", path(&ca_file)));
    }
    line(format_args!("\n[aws]\nregion = {}", quoted(REGION)));
    line(format_args!("endpoint_url = {}", quoted(&sandbox.aws_url)));
    if sandbox.with(|world, _| world.is_managed()) {
        // Here a job takes seconds: what is one too many need not stay for long.
        line(format_args!("\n[pool]\nrunners = \"managed\"\nidle_grace = \"10s\""));
    }
    line(format_args!("\n[journal]\ndir = {}", path(&files.journal)));
    text
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A TOML basic string: JSON's escapes are among TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
