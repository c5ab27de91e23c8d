//! What unit tests share.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use poolkeeper_core::Machine;
use poolkeeper_core::config::{Build, Config, ConnectionConfig, CredentialKind, Defences, PoolDefaults, RawConfig};
use poolkeeper_core::time::{Instant, Now};

use crate::config::{AwsSettings, CredentialSource, DaemonConfig, GitHubSettings, StatusSettings};

/// A config with one connection `main`.
pub(crate) fn config() -> Config {
    let connection = ConnectionConfig {
        url: "https://github.com".to_owned(),
        credential: CredentialKind::Pat,
        orgs: vec!["acme".to_owned()],
        runner_group: "default".to_owned(),
        force_ghes: false,
    };
    let raw = RawConfig {
        stack: "test".into(),
        owner: "here".to_owned(),
        build: Build::default(),
        connections: BTreeMap::from([("main".to_owned(), connection)]),
        orgs: BTreeMap::new(),
        pool: PoolDefaults::default(),
        pools: BTreeMap::new(),
        defences: Defences::default(),
    };
    Config::try_from(raw).unwrap()
}

/// A daemon's config whose connection `main` has the given credential.
pub(crate) fn daemon_config(credential: CredentialSource) -> DaemonConfig {
    let settings = GitHubSettings { credential, ca_file: None, proxy: None };
    DaemonConfig {
        core: config(),
        github: BTreeMap::from([("main".to_owned(), settings)]),
        aws: AwsSettings::default(),
        status: StatusSettings::default(),
        journal: None,
        state_dir: None,
        hints: Vec::new(),
    }
}

pub(crate) fn machine() -> Machine {
    Machine::new(config(), 1)
}

/// The moment `ms` milliseconds after a daemon's start.
pub(crate) fn at(ms: u64) -> Now {
    Now { mono: Instant::from_millis(ms), unix_ms: 1_700_000_000_000 + ms }
}

/// A fresh RSA key and its PEM.
pub(crate) fn rsa_key() -> (KeyPair, String) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let body = STANDARD.encode(der.as_ref());
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|c| str::from_utf8(c).unwrap()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    (pair, pem)
}
