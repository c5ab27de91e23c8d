use std::fs;

use poolkeeper_core::config::{CredentialKind, Runners};
use poolkeeper_core::time::Duration as Span;
use tempfile::TempDir;

use super::*;

const EXAMPLE: &str = r#"
stack = "prod"
state_dir = "/var/lib/poolkeeper"
[github.main]
url  = "https://github.com"
app  = { client_id = "Iv1.abc", private_key_file = "/etc/poolkeeper/app.pem" }
orgs = ["acme", "Widgets"]
[github.ghes]
url = "https://ghes.corp"
token_file = "/etc/poolkeeper/token"
orgs = ["*"]
runner_group = "trusted"
proxy = "http://proxy:3128"
ca_file = "/etc/ssl/corp.pem"
[orgs.Acme]
groups = ["ci-*"]
runner_groups = ["default", "trusted"]
max_runners = 600
[aws]
region = "eu-west-1"
[pool]
size_max = 40
idle_grace = "2m"
labels = ["linux", "x64"]
runners = "external"
[status]
listen = "127.0.0.1:9464"
[journal]
dir = "/var/lib/poolkeeper/journal"
segment_age = "1h"
[[pools]]
group = "ci-linux"
org = "acme"
pool = "linux"
size_max = 5
boot_deadline = "90s"
paused = true
"#;

fn written(text: &str) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("poolkeeper.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<DaemonConfig, ConfigProblem> {
    let (_dir, path) = written(text);
    load(&path, variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

#[test]
fn a_whole_config_is_read() {
    let config = load_with(EXAMPLE, &[]).unwrap();
    let core = &config.core;
    assert_eq!(core.stack, "prod");
    assert!(!core.owner.is_empty());
    assert_eq!(core.connections["main"].credential, CredentialKind::App { installation: None });
    assert_eq!(core.connections["main"].orgs, ["acme", "widgets"]);
    assert_eq!(core.connections["ghes"].runner_group, "trusted");
    assert_eq!(core.orgs["acme"].max_runners, Some(600));
    assert_eq!((core.pool.size_max, core.pool.idle_grace), (40, Span::from_secs(120)));
    assert_eq!((core.pool.size_min, core.pool.boot_deadline), (0, Span::from_secs(600)));
    assert_eq!(core.pool.runners, Runners::External);
    assert_eq!(core.pools["ci-linux"].boot_deadline, Some(Span::from_secs(90)));
    assert_eq!(core.pools["ci-linux"].paused, Some(true));
    assert_eq!(config.github["ghes"].proxy.as_deref(), Some("http://proxy:3128"));
    let key = PathBuf::from("/etc/poolkeeper/app.pem");
    let app = CredentialSource::App { client_id: "Iv1.abc".to_owned(), private_key: KeySource::File(key) };
    assert_eq!(config.github["main"].credential, app);
    assert_eq!(config.journal.unwrap().segment_age, Duration::from_secs(3600));
    assert_eq!(config.status.listen, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(config.hints, Vec::<String>::new());
}

#[test]
fn variables_override_keys_of_every_type() {
    let config = load_with(
        EXAMPLE,
        &[
            ("POOLKEEPER_STACK", "test"),
            ("POOLKEEPER_POOL__SIZE_MAX", "7"),
            ("POOLKEEPER_POOL__IDLE_GRACE", "5s"),
            ("POOLKEEPER_POOL__LABELS", "a, b c"),
            ("POOLKEEPER_GITHUB__MAIN__URL", "http://127.0.0.1:8080"),
            ("POOLKEEPER_GITHUB__MAIN__APP__INSTALLATION", "12"),
            ("POOLKEEPER_ORGS__ACME__MAX_RUNNERS", "3"),
            ("POOLKEEPER_POOLS__CI_LINUX__PAUSED", "false"),
            ("POOLKEEPER_AWS__ENDPOINT_URL", "http://127.0.0.1:5000"),
            ("POOLKEEPER_LOG", "debug"),
            ("GITHUB_ACTIONS_FORCE_GHES", "1"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    let core = &config.core;
    assert_eq!((core.stack.as_str(), core.pool.size_max), ("test", 7));
    assert_eq!(core.pool.idle_grace, Span::from_secs(5));
    assert_eq!(core.pool.labels, ["a", "b", "c"]);
    assert_eq!(core.connections["main"].url, "http://127.0.0.1:8080");
    assert_eq!(core.connections["main"].credential, CredentialKind::App { installation: Some(12) });
    assert!(core.connections["main"].force_ghes);
    assert_eq!(core.orgs["acme"].max_runners, Some(3));
    assert_eq!(core.pools["ci-linux"].paused, Some(false));
    assert_eq!(config.aws.endpoint_url.as_deref(), Some("http://127.0.0.1:5000"));
    assert_eq!(config.hints, Vec::<String>::new());
}

#[test]
fn what_works_badly_is_hinted_at() {
    let text = "stack = \"s\"\n[github.main]\nurl = \"http://ghes.corp\"\norgs = [\"a\"]\n\
                token_env = \"POOLKEEPER_TOKEN\"";
    let hints =
        load_with(text, &[("POOLKEEPER_PORT", "tcp://1"), ("POOLKEEPER_TOKEN", "hush")]).unwrap().hints.join("\n");
    for part in ["state_dir is not set", "github.main.url is plain http", "POOLKEEPER_PORT"] {
        assert!(hints.contains(part), "{part} in {hints}");
    }
    assert!(!hints.contains("POOLKEEPER_TOKEN") && !hints.contains("hush"), "{hints}");
}

/// A minimal config with a line put before it and lines put behind it.
fn minimal(top: &str, bottom: &str) -> String {
    format!("{top}\nstack = \"s\"\n[github.main]\ntoken_file = \"t\"\norgs = [\"acme\"]\n{bottom}")
}

#[test]
fn bad_configs_get_one_message_with_file_key_and_mend() {
    let no_stack = "[github.main]\ntoken_file = \"t\"\norgs = [\"acme\"]";
    let cases: &[(&str, String, &[&str])] = &[
        ("bad TOML", "stack = \"s\"\n[github".into(), &["line 2", "not TOML"]),
        ("empty stack", no_stack.into(), &["stack", "is empty", "runs-on-stack"]),
        ("unknown key", minimal("", "url_ = \"x\""), &["github.main.url_", "did you mean url?"]),
        ("unknown section", minimal("", "[pol]"), &["pol: unknown key", "did you mean pool?"]),
        ("far-off key", minimal("frobnicate = 1", ""), &["frobnicate", "known here: stack"]),
        ("number as text", minimal("", "[pool]\nsize_max = \"20\""), &["pool.size_max", "of type string", "whole number"]),
        ("negative", minimal("", "[pool]\nidle = -1"), &["pool.idle", "write a whole number"]),
        ("too large", minimal("", "[pool]\nidle = 99999999999"), &["pool.idle", "lower it"]),
        ("text as number", minimal("", "[aws]\nregion = 3"), &["aws.region", "of type integer", "text in quotes"]),
        ("list as text", minimal("", "[pool]\nlabels = \"a\""), &["pool.labels", "list of texts"]),
        ("section as text", minimal("pool = 3", ""), &["pool", "of type integer", "section"]),
        ("bare duration", minimal("", "[pool]\nidle_grace = 90"), &["pool.idle_grace", "\"90s\""]),
        ("bad duration", minimal("", "[pool]\nidle_grace = \"soon\""), &["pool.idle_grace", "no duration", "\"90s\""]),
        ("two credentials", minimal("", "token_env = \"T\""), &["github.main", "2 credentials: token_file and token_env", "keep one"]),
        ("two keys", "stack=\"s\"\n[github.main]\norgs=[\"a\"]\napp={client_id=\"c\",private_key_file=\"f\",private_key_env=\"E\"}".into(), &["github.main.app", "private_key_file and private_key_env", "keep one"]),
        ("no credential", "stack=\"s\"\n[github.main]\norgs=[\"acme\"]".into(), &["github.main", "no credential", "token_file"]),
        ("no connection", "stack=\"s\"".into(), &["github", "[github.main]"]),
        ("inline secret", minimal("", "token = \"ghp_hush\""), &["github.main.token", "never written inline", "token_file"]),
        ("org twice", minimal("", "[github.two]\ntoken_file = \"t\"\norgs = [\"ACME\"]"), &["github.two.orgs", "\"acme\"", "leave it in one"]),
        ("min over max", minimal("", "[pool]\nsize_min = 5\nsize_max = 3"), &["pool.size_min", "more than size_max 3", "lower size_min"]),
        ("runners", minimal("", "[pool]\nrunners = \"mine\""), &["pool.runners", "unknown", "managed", "external"]),
        (
            "prefix",
            minimal("", "[aws]\nparameter_prefix = \"poolkeeper\""),
            &["aws.parameter_prefix", "cannot begin", "/poolkeeper"],
        ),
        ("reserved", minimal("", "[aws]\nparameter_prefix = \"/aws/x\""), &["aws.parameter_prefix", "cannot begin"]),
        ("unnamed pool", minimal("", "[[pools]]\norg = \"acme\""), &["pools.group", "group = "]),
        ("pool twice", minimal("", "[[pools]]\ngroup=\"g\"\n[[pools]]\ngroup=\"g\""), &["pools", "\"g\" has two entries"]),
        ("bad address", minimal("", "[status]\nlisten = \"9464\""), &["status.listen", "127.0.0.1:9464"]),
        ("no journal dir", minimal("", "[journal]"), &["journal.dir", "is missing"]),
        ("tiny journal", minimal("", "[journal]\ndir=\"d\"\ntotal_bytes=1"), &["journal.total_bytes", "raise it"]),
        ("bad proxy", minimal("", "proxy = \"corp\""), &["github.main.proxy", "http://host:8080"]),
    ];
    for (case, text, parts) in cases {
        let message = load_with(text, &[]).map(|_| ()).expect_err(case).to_string();
        assert!(message.contains("poolkeeper.toml: "), "{case}: {message}");
        for part in *parts {
            assert!(message.contains(part), "{case}: {part:?} in {message}");
        }
        assert!(!message.contains('\n') && !message.contains("hush"), "{case}: {message}");
    }
}

#[test]
fn a_missing_file_is_named_with_the_mend() {
    let message = load(Path::new("/nowhere/pk.toml"), std::iter::empty()).unwrap_err().to_string();
    assert!(message.starts_with("/nowhere/pk.toml: cannot be read"), "{message}");
    assert!(message.contains("--config"), "{message}");
}

#[test]
fn a_bad_variable_is_named_instead_of_the_file() {
    let cases = [
        ("POOLKEEPER_POOL__SIZE_MAX", "many", "pool.size_max"),
        ("POOLKEEPER_POOL__SIZE_MIN", "21", "pool.size_min"),
        ("POOLKEEPER_POOL__SIZE_MXA", "1", "did you mean size_max?"),
        ("POOLKEEPER_STACK__NAME", "x", "is no section"),
    ];
    for (variable, value, part) in cases {
        let message = load_with(&minimal("", ""), &[(variable, value)]).unwrap_err().to_string();
        assert!(message.contains(variable) && message.contains(part), "{message}");
    }
}

#[test]
fn a_variable_of_very_many_parts_means_nothing() {
    let variable = format!("POOLKEEPER_POOL{}", "__A".repeat(100_000));
    let config = load_with(EXAMPLE, &[(&variable, "1")]).unwrap();
    assert!(config.hints.iter().any(|hint| hint.contains("POOLKEEPER_POOL__A")), "{:?}", config.hints);
}
