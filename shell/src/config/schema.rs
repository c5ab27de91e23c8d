//! Which keys there are, and what they mean.

use std::collections::BTreeMap;
use std::path::PathBuf;

use poolkeeper_core::config::{
    Build, Config, ConnectionConfig, CredentialKind, Defences, OnGroupGone, OrgWalls, PoolDefaults, PoolOverrides,
    RawConfig, Runners,
};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Duration;
use toml::{Table, Value};

use super::environment::{self, Environment};
use super::section::{Section, Source};
use super::{
    AwsSettings, ConfigProblem, CredentialSource, DaemonConfig, GitHubSettings, JournalSettings, KeySource,
    StatusSettings,
};

const DEFAULT_URL: &str = "https://github.com";
const DEFAULT_RUNNER_GROUP: &str = "default";
/// The commit, where the build knows it.
const COMMIT: Option<&str> = option_env!("POOLKEEPER_COMMIT");
/// AWS takes names of about a thousand characters: the rest is the stack's and the instance's.
const LONGEST_PREFIX: usize = 500;
/// Smaller segments would spend more on headers than on steps.
const LEAST_SEGMENT_BYTES: u64 = 64 << 10;

/// Reads a whole config.
pub(super) fn read(
    mut source: Source,
    mut table: Table,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<DaemonConfig, ConfigProblem> {
    name_pools(&source, &mut table)?;
    let mut environment = environment::apply(variables, &mut source, &mut table)?;
    let mut root = Section::root(&source, table);
    let stack = root.text("stack")?.map(ShortText::from).unwrap_or_default();
    let owner = root.text("owner")?.unwrap_or_else(host_name);
    let state_dir = path(&mut root, "state_dir")?;
    let (connections, github) = read_connections(&mut root, environment.force_ghes)?;
    let orgs = read_orgs(&mut root)?;
    let aws = read_aws(&mut root)?;
    let pool = read_pool(&mut root)?;
    let status = read_status(&mut root)?;
    let journal = read_journal(&mut root)?;
    let pools = read_pools(&mut root)?;
    root.end()?;
    let raw = RawConfig { stack, owner, build: build(), connections, orgs, pool, pools, defences: Defences::default() };
    let core = Config::try_from(raw).map_err(|e| source.problem(&e.key, e.problem, e.mend))?;
    environment.ignored.retain(|name| !github.values().any(|g| g.credential.is_in_variable(name)));
    let hints = hints(&core, &environment, state_dir.is_none());
    Ok(DaemonConfig { core, github, aws, status, journal, state_dir, hints })
}

fn build() -> Build {
    Build { version: env!("CARGO_PKG_VERSION").to_owned(), commit: COMMIT.unwrap_or_default().to_owned() }
}

fn host_name() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

/// Turns `[[pools]]` into sections by group name, so that paths and variables can name them.
fn name_pools(source: &Source, table: &mut Table) -> Result<(), ConfigProblem> {
    const MEND: &str = "write [[pools]], then group = \"NAME-OF-THE-AUTO-SCALING-GROUP\"";
    let Some(value) = table.get_mut("pools") else { return Ok(()) };
    let Value::Array(entries) = std::mem::replace(value, Value::Boolean(false)) else {
        return Err(source.problem("pools", "is no list of sections", MEND));
    };
    let mut named = Table::new();
    for entry in entries {
        let Value::Table(mut keys) = entry else {
            return Err(source.problem("pools", "has an entry without keys", MEND));
        };
        let Some(Value::String(group)) = keys.remove("group").filter(|g| g.as_str() != Some("")) else {
            return Err(source.problem("pools.group", "is missing or no text", MEND));
        };
        if named.contains_key(&group) {
            let problem = format!("group \"{group}\" has two entries");
            return Err(source.problem("pools", problem, "keep one"));
        }
        named.insert(group, Value::Table(keys));
    }
    *value = Value::Table(named);
    Ok(())
}

type Connections = (BTreeMap<String, ConnectionConfig>, BTreeMap<String, GitHubSettings>);

fn read_connections(root: &mut Section<'_>, force_ghes: bool) -> Result<Connections, ConfigProblem> {
    let mut connections = BTreeMap::new();
    let mut settings = BTreeMap::new();
    for (name, mut section) in root.named_sections("github")? {
        let (kind, credential) = read_credential(&mut section)?;
        let connection = ConnectionConfig {
            url: section.text("url")?.unwrap_or_else(|| DEFAULT_URL.to_owned()),
            credential: kind,
            orgs: section.texts("orgs")?.unwrap_or_default(),
            runner_group: section.text("runner_group")?.unwrap_or_else(|| DEFAULT_RUNNER_GROUP.to_owned()),
            force_ghes,
        };
        let ca_file = path(&mut section, "ca_file")?;
        let proxy = http_url(&mut section, "proxy")?;
        section.end()?;
        connections.insert(name.clone(), connection);
        settings.insert(name, GitHubSettings { credential, ca_file, proxy });
    }
    Ok((connections, settings))
}

fn read_credential(section: &mut Section<'_>) -> Result<(CredentialKind, CredentialSource), ConfigProblem> {
    let app = section.section("app")?;
    let token_file = path(section, "token_file")?;
    let token_env = section.text("token_env")?;
    match (app, token_file, token_env) {
        (Some(app), None, None) => read_app(app),
        (None, Some(file), None) => Ok((CredentialKind::Pat, CredentialSource::TokenFile(file))),
        (None, None, Some(name)) => Ok((CredentialKind::Pat, CredentialSource::TokenEnv(name))),
        (None, None, None) => {
            let mend = "add token_file = \"FILE\", token_env = \"VARIABLE\", or \
                        app = { client_id = \"…\", private_key_file = \"FILE\" }";
            Err(section.own_problem("has no credential", mend))
        }
        (app, file, env) => {
            let given: Vec<_> = [app.map(|_| "app"), file.map(|_| "token_file"), env.map(|_| "token_env")]
                .into_iter()
                .flatten()
                .collect();
            let problem = format!("has {} credentials: {}", given.len(), given.join(" and "));
            Err(section.own_problem(problem, "keep one"))
        }
    }
}

fn read_app(mut app: Section<'_>) -> Result<(CredentialKind, CredentialSource), ConfigProblem> {
    let client_id = app.text("client_id")?.filter(|id| !id.is_empty()).ok_or_else(|| {
        let mend = "write the app's client id, as its settings page shows it";
        app.problem("client_id", "is missing or empty", mend)
    })?;
    let file = path(&mut app, "private_key_file")?;
    let env = app.text("private_key_env")?;
    let private_key = match (file, env) {
        (Some(file), None) => KeySource::File(file),
        (None, Some(name)) => KeySource::Env(name),
        (Some(_), Some(_)) => {
            let problem = "has two credentials: private_key_file and private_key_env";
            return Err(app.own_problem(problem, "keep one"));
        }
        (None, None) => {
            let mend = "add private_key_file = \"FILE\" or private_key_env = \"VARIABLE\"";
            return Err(app.own_problem("has no credential: the private key is missing", mend));
        }
    };
    let installation = app.number("installation")?;
    app.end()?;
    Ok((CredentialKind::App { installation }, CredentialSource::App { client_id, private_key }))
}

fn read_orgs(root: &mut Section<'_>) -> Result<BTreeMap<String, OrgWalls>, ConfigProblem> {
    let mut orgs = BTreeMap::new();
    for (name, mut section) in root.named_sections("orgs")? {
        let walls = OrgWalls {
            groups: section.texts("groups")?,
            runner_groups: section.texts("runner_groups")?,
            max_runners: section.count("max_runners")?,
        };
        section.end()?;
        orgs.insert(name, walls);
    }
    Ok(orgs)
}

fn read_aws(root: &mut Section<'_>) -> Result<AwsSettings, ConfigProblem> {
    let Some(mut section) = root.section("aws")? else { return Ok(AwsSettings::default()) };
    let settings = AwsSettings {
        region: section.text("region")?,
        endpoint_url: http_url(&mut section, "endpoint_url")?,
        parameter_prefix: parameter_prefix(&mut section)?,
    };
    section.end()?;
    Ok(settings)
}

fn parameter_prefix(section: &mut Section<'_>) -> Result<String, ConfigProblem> {
    const MEND: &str = "write a path like \"/poolkeeper\": letters, digits and any of / . _ - after a first /";
    let Some(prefix) = section.text("parameter_prefix")? else { return Ok(AwsSettings::default().parameter_prefix) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let reserved = ["/aws", "/ssm"].iter().any(|word| prefix.to_ascii_lowercase().starts_with(word));
    if !prefix.starts_with('/') || !prefix.chars().all(allowed) || prefix.len() > LONGEST_PREFIX || reserved {
        let problem = format!("\"{prefix}\" cannot begin the name of a parameter");
        return Err(section.problem("parameter_prefix", problem, MEND));
    }
    Ok(prefix)
}

fn read_pool(root: &mut Section<'_>) -> Result<PoolDefaults, ConfigProblem> {
    let mut pool = PoolDefaults::default();
    let Some(mut section) = root.section("pool")? else { return Ok(pool) };
    or_keep(&mut pool.size_min, section.count("size_min")?);
    or_keep(&mut pool.size_max, section.count("size_max")?);
    or_keep(&mut pool.size_max_limit, section.count("size_max_limit")?);
    or_keep(&mut pool.idle, section.count("idle")?);
    or_keep(&mut pool.idle_grace, span(&mut section, "idle_grace")?);
    or_keep(&mut pool.boot_deadline, span(&mut section, "boot_deadline")?);
    pool.max_job_time = span(&mut section, "max_job_time")?;
    or_keep(&mut pool.labels, section.texts("labels")?);
    or_keep(&mut pool.name, section.text("name")?);
    or_keep(&mut pool.on_group_gone, on_group_gone(&mut section)?);
    or_keep(&mut pool.runners, runners(&mut section)?);
    section.end()?;
    Ok(pool)
}

fn on_group_gone(section: &mut Section<'_>) -> Result<Option<OnGroupGone>, ConfigProblem> {
    match section.text("on_group_gone")?.as_deref() {
        None => Ok(None),
        Some("keep") => Ok(Some(OnGroupGone::Keep)),
        Some("delete") => Ok(Some(OnGroupGone::Delete)),
        Some(other) => {
            Err(section.problem("on_group_gone", format!("\"{other}\" is unknown"), "write \"keep\" or \"delete\""))
        }
    }
}

fn runners(section: &mut Section<'_>) -> Result<Option<Runners>, ConfigProblem> {
    const MEND: &str = "write \"managed\", and each instance gets the config of a one-job runner, or \"external\", and \
                        the image gets its own";
    match section.text("runners")?.as_deref() {
        None => Ok(None),
        Some("external") => Ok(Some(Runners::External)),
        Some("managed") => Ok(Some(Runners::Managed)),
        Some(other) => Err(section.problem("runners", format!("\"{other}\" is unknown"), MEND)),
    }
}

fn read_status(root: &mut Section<'_>) -> Result<StatusSettings, ConfigProblem> {
    let Some(mut section) = root.section("status")? else {
        return Ok(StatusSettings::default());
    };
    let listen = section
        .text("listen")?
        .map(|text| {
            text.parse().map_err(|_| {
                let mend = "write an address and a port, such as \"127.0.0.1:9464\"";
                section.problem("listen", format!("\"{text}\" is no address"), mend)
            })
        })
        .transpose()?;
    section.end()?;
    Ok(StatusSettings { listen })
}

fn read_journal(root: &mut Section<'_>) -> Result<Option<JournalSettings>, ConfigProblem> {
    let Some(mut section) = root.section("journal")? else { return Ok(None) };
    let dir = path(&mut section, "dir")?
        .ok_or_else(|| section.problem("dir", "is missing", "name the directory, or leave [journal] out"))?;
    let mut settings = JournalSettings::in_dir(&dir);
    or_keep(&mut settings.segment_bytes, section.number("segment_bytes")?);
    or_keep(&mut settings.segment_age, section.duration("segment_age")?);
    or_keep(&mut settings.total_bytes, section.number("total_bytes")?);
    if settings.segment_bytes < LEAST_SEGMENT_BYTES {
        let problem = format!("{} is less than {LEAST_SEGMENT_BYTES}", settings.segment_bytes);
        return Err(section.problem("segment_bytes", problem, "raise it"));
    }
    if settings.total_bytes < settings.segment_bytes.saturating_mul(2) {
        let problem = format!("{} is less than two segments", settings.total_bytes);
        return Err(section.problem("total_bytes", problem, "raise it or lower segment_bytes"));
    }
    section.end()?;
    Ok(Some(settings))
}

fn read_pools(root: &mut Section<'_>) -> Result<BTreeMap<ShortText, PoolOverrides>, ConfigProblem> {
    let mut pools = BTreeMap::new();
    for (group, mut section) in root.named_sections("pools")? {
        let overrides = PoolOverrides {
            org: section.text("org")?,
            pool: section.text("pool")?,
            repo: section.text("repo")?,
            enterprise: section.text("enterprise")?,
            github: section.text("github")?,
            runner_group: section.text("runner_group")?,
            labels: section.texts("labels")?,
            size_min: section.count("size_min")?,
            size_max: section.count("size_max")?,
            idle: section.count("idle")?,
            boot_deadline: span(&mut section, "boot_deadline")?,
            max_job_time: span(&mut section, "max_job_time")?,
            launch_hook: section.text("launch_hook")?.map(ShortText::from),
            paused: section.flag("paused")?,
        };
        section.end()?;
        pools.insert(group.into(), overrides);
    }
    Ok(pools)
}

fn hints(core: &Config, environment: &Environment, forgets: bool) -> Vec<String> {
    let mut hints = Vec::new();
    if forgets {
        hints.push(
            "state_dir is not set: open sessions are forgotten at a restart, which then waits \
             for them to end; name a directory"
                .to_owned(),
        );
    }
    for (name, connection) in &core.connections {
        if plain_text_to_afar(&connection.url) {
            hints.push(format!("github.{name}.url is plain http: tokens travel readable; use https"));
        }
    }
    hints.extend(
        environment.ignored.iter().map(|v| format!("environment variable {v} names no key and is ignored; unset it")),
    );
    hints
}

fn plain_text_to_afar(url: &str) -> bool {
    let Some(authority) = url.strip_prefix("http://") else { return false };
    !["localhost", "127.", "[::1]"].iter().any(|near| authority.starts_with(near))
}

fn or_keep<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn path(section: &mut Section<'_>, key: &'static str) -> Result<Option<PathBuf>, ConfigProblem> {
    match section.text(key)? {
        Some(text) if text.is_empty() => Err(section.problem(key, "is empty", "name a path, or leave the key out")),
        other => Ok(other.map(PathBuf::from)),
    }
}

fn http_url(section: &mut Section<'_>, key: &'static str) -> Result<Option<String>, ConfigProblem> {
    match section.text(key)? {
        Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err(section.problem(key, "is no http or https URL", "write it like http://host:8080"))
        }
        other => Ok(other),
    }
}

fn span(section: &mut Section<'_>, key: &'static str) -> Result<Option<Duration>, ConfigProblem> {
    Ok(section.duration(key)?.map(|span| Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))))
}
