//! Secrets go in at every place where a peer or an operator puts one, and are found nowhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poolkeeper::github::GitHub;
use poolkeeper::operator::Operator;
use poolkeeper_core::connection::Connection;
use poolkeeper_core::github::answer::Answer;
use poolkeeper_core::github::call::Call;
use poolkeeper_core::github::request::{Auth, Method, Request};
use poolkeeper_core::github::scope::Scope;
use poolkeeper_core::time::Duration;
use poolkeeper_shell::config;
use poolkeeper_shell::telemetry::Telemetry;
use poolkeeper_shell::vault::Vault;
use poolkeeper_simulator::github::{GitHubConfig, MARKER, Style};
use poolkeeper_simulator::world::FaultAction;
use poolkeeper_tests::daemon::Daemon;
use poolkeeper_tests::leaks::Search;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, Site, status};

poolkeeper_tests::on_both_shells!(
    a_run_with_a_personal_access_token_leaves_no_secret_anywhere,
    a_run_with_an_app_over_tls_leaves_no_secret_anywhere,
    a_leak_is_caught_wherever_it_is,
);

/// What the secrets for AWS contain.
const AWS_MARK: &str = "AWSMARKEDSECRET0123456789";

/// Replies with secrets in them that are not quite what they should be.
const BENT: [(&str, FaultAction); 4] = [
    ("registration_token", FaultAction::Bom),
    ("admin_connection", FaultAction::Truncated),
    ("create_session", FaultAction::CutShort),
    ("refresh_session", FaultAction::Truncated),
];

/// A run in which every secret is used, renewed and refused, at the loudest level of every library.
fn run(plan: Plan) -> Site {
    let session_idle = Duration::from_secs(2);
    let github = GitHubConfig { style: Style::Enterprise, session_idle, ..plan.github.clone() };
    let site = Plan { github, ..plan }.build();
    for (call, action) in BENT {
        site.inject(call, 1, &action);
    }
    site.inject("poll", 1, &status(401, r#"{"typeName":"Unauthorized","message":"bad token"}"#, &[]));
    let mut command = site.command(&["run"]);
    command.env("POOLKEEPER_LOG", "trace,poolkeeper=trace");
    command.env("AWS_SECRET_ACCESS_KEY", AWS_MARK);
    let daemon = Daemon::spawn(command, &site.path("log"));
    site.until_listened_to(&daemon);
    site.queue(2);
    site.until_jobs_end(&daemon);
    gather(&site, &daemon);
    assert_eq!(daemon.stop(), 0);
    for name in ["log", "journal", "state"] {
        copy(&site.path(name), &found_in(&site).join(name));
    }
    site
}

/// Where everything is that may be searched.
fn found_in(site: &Site) -> PathBuf {
    site.path("searched")
}

/// Keeps what only a running daemon shows.
fn gather(site: &Site, daemon: &Daemon) {
    let dir = found_in(site);
    fs::create_dir(&dir).unwrap();
    for (name, path) in [
        ("page", "/"),
        ("metrics", "/metrics"),
        ("pools", "/api/pools"),
        ("ready", "/readyz"),
        ("health", "/healthz"),
        ("missing", "/nothing"),
    ] {
        fs::write(dir.join(name), daemon.get(path).body).unwrap();
    }
    for name in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{}/{name}", daemon.pid())).unwrap();
        // The operator's own secret for AWS came in the environment.
        let told = String::from_utf8_lossy(&bytes).replace(AWS_MARK, "");
        fs::write(dir.join(name), told).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in from.read_dir().unwrap() {
            let path = entry.unwrap().path();
            copy(&path, &to.join(path.file_name().unwrap()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Searches for every secret of a site, and for nothing else.
fn search(site: &Site) -> Search {
    let key = site.key_pem.clone().unwrap_or_default();
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(lines.concat()).unwrap();
    let mut marks: Vec<&[u8]> = vec![MARKER.as_bytes(), AWS_MARK.as_bytes()];
    if let Some(line) = lines.get(10) {
        marks.push(line.as_bytes());
        // Far inside, where numbers are that nobody but the key's owner knows.
        marks.push(&der[600..640]);
    }
    Search::new(&marks)
}

fn assert_clean(site: &Site) {
    let dir = found_in(site);
    for expected in ["log", "metrics", "pools", "cmdline", "state/state.json"] {
        let bytes = fs::read(dir.join(expected)).unwrap();
        assert!(!bytes.is_empty(), "{expected} holds something");
    }
    assert!(dir.join("journal").read_dir().unwrap().count() > 0);
    assert_eq!(search(site).files_below(&dir), Vec::<PathBuf>::new());
}

fn a_run_with_a_personal_access_token_leaves_no_secret_anywhere(shell: Shell) {
    let site = run(Plan { shell, ..Plan::new(2) });
    assert_clean(&site);
}

fn a_run_with_an_app_over_tls_leaves_no_secret_anywhere(shell: Shell) {
    let site = run(Plan { shell, app: true, tls: true, ..Plan::new(2) });
    assert_clean(&site);
}

fn a_leak_is_caught_wherever_it_is(shell: Shell) {
    let site = run(Plan { shell, app: true, ..Plan::new(1) });
    assert_clean(&site);
    let dir = found_in(&site);
    let token = format!("ghs_{MARKER}0123456789abcdef");
    let key = site.key_pem.clone().unwrap();
    let in_journal = zstd::encode_all(format!("{{\"body\":\"{}\"}}", STANDARD.encode(&token)).as_bytes(), 1).unwrap();
    for (place, bytes) in [
        ("log", [fs::read(dir.join("log")).unwrap(), format!("Bearer {token}").into_bytes()].concat()),
        ("journal/leak.zst", in_journal),
        ("metrics", format!("gha_x{{token=\"{}\"}} 1", STANDARD.encode(&token)).into_bytes()),
        ("state/state.json", format!("{{\"aws\":\"{AWS_MARK}\"}}").into_bytes()),
        ("pools", key.into_bytes()),
    ] {
        let path = dir.join(place);
        let kept = fs::read(&path).ok();
        fs::write(&path, bytes).unwrap();
        assert_eq!(search(&site).files_below(&dir), std::slice::from_ref(&path), "a leak in {place}");
        match kept {
            Some(kept) => fs::write(&path, kept).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
    assert_clean(&site);
}

#[test]
fn a_jit_config_goes_into_the_vault_and_nowhere_else() {
    let site = Plan::new(1).build();
    assert_eq!(site.listening_daemon().stop(), 0);
    let config = config::load(&site.config, std::iter::empty()).unwrap();
    let vault = Arc::new(Vault::open(&config).unwrap());
    let telemetry = Arc::new(Telemetry::new("sandbox"));
    let github = GitHub::open(&config.github, Arc::clone(&vault), Arc::clone(&telemetry)).unwrap();
    let scope = Scope::parse("acme").unwrap();
    let connection = Connection::new("main", &config.core.connections["main"], scope, &config.core.build).unwrap();
    let mut operator = Operator::new(connection, github, Arc::clone(&vault), 1);
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scale_set = site.state().sets[0].id;

    let call = Call::JitConfig { scale_set, runner: "i-0123456789abcdef0".into() };
    let answer = runtime.block_on(operator.call(call.clone())).unwrap();

    let Answer::JitConfig { runner, config: slot } = &answer else { panic!("{answer:?}") };
    assert_eq!(runner.name, "i-0123456789abcdef0");
    let search = search(&site);
    let again = runtime.block_on(operator.call(call)).unwrap_err();
    for told in [format!("{answer:?}"), format!("{vault:?}"), format!("{again:?} {again}")] {
        assert!(!search.finds(told.as_bytes()), "{told}");
    }
    let request = Request {
        connection: "main".to_owned(),
        method: Method::Get,
        url: site.sandbox.github_url.clone(),
        auth: Auth::Bearer(*slot),
        headers: Vec::new(),
        body: None,
        timeout: Duration::from_secs(1),
        max_body: 1,
    };
    let held = vault.authorization(&request, 1).unwrap();
    assert!(search.finds(held.header.as_bytes()), "the vault holds the config, and the search would find it");
    assert!(!search.finds(format!("{held:?}").as_bytes()));
}
