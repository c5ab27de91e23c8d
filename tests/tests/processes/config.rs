//! What bad configs get: one message that names file, key and mend; exit code 2; nothing started.

use std::fs;
use std::process::Output;

use poolkeeper_core::time::Duration as Span;
use poolkeeper_simulator::github::GitHubConfig;
use poolkeeper_tests::programs::Shell;
use poolkeeper_tests::site::{Plan, Site, edit};
use poolkeeper_tests::wait::{LONG, until};
use rustix::process::Signal;

poolkeeper_tests::on_both_shells!(
    a_bad_config_gets_one_message_and_exit_code_2_and_nothing_starts,
    a_config_that_turns_bad_leaves_the_old_one_in_force,
    a_good_config_is_taken_on_sighup,
    variables_stand_for_keys,
);

/// A way to spoil a good config, and what the message must say.
struct Spoiled {
    what: &'static str,
    spoil: fn(&Site),
    says: &'static [&'static str],
}

const SPOILED: [Spoiled; 12] = [
    Spoiled {
        what: "bad TOML",
        spoil: |site| edit(&site.config, "[aws]", "[aws"),
        says: &["poolkeeper.toml", "line", "not TOML", "mend the line"],
    },
    Spoiled {
        what: "unknown key",
        spoil: |site| edit(&site.config, "idle_grace", "idle_grase"),
        says: &["poolkeeper.toml", "pool.idle_grase", "did you mean idle_grace?"],
    },
    Spoiled {
        what: "wrong type",
        spoil: |site| edit(&site.config, "idle_grace = \"1s\"", "idle_grace = 1"),
        says: &["poolkeeper.toml", "pool.idle_grace", "\"90s\""],
    },
    Spoiled {
        what: "empty stack",
        spoil: |site| edit(&site.config, "stack = \"sandbox\"", "stack = \"\""),
        says: &["poolkeeper.toml", "stack", "is empty", "runs-on-stack"],
    },
    Spoiled {
        what: "key that is not PEM",
        spoil: |site| {
            edit(&site.config, "token_file", "app = { client_id = \"Iv1.x\", private_key_file");
            edit(&site.config, "/token\"", "/token\" }");
        },
        says: &["/token: ", "github.main.app", "not PEM", "put the app's RSA private key there"],
    },
    Spoiled {
        what: "two credentials",
        spoil: |site| edit(&site.config, "token_file", "token_env = \"T\"\ntoken_file"),
        says: &["poolkeeper.toml", "github.main", "2 credentials", "keep one"],
    },
    Spoiled {
        what: "missing token file",
        spoil: |site| fs::remove_file(site.path("token")).unwrap(),
        says: &["github.main.token_file", "token"],
    },
    Spoiled {
        what: "org in two connections",
        spoil: |site| {
            let second = "[github.two]\nurl = \"URL\"\ntoken_file = \"FILE\"\norgs = [\"acme\"]\n[aws]"
                .replace("URL", &site.sandbox.github_url)
                .replace("FILE", &site.path("token").to_string_lossy());
            edit(&site.config, "[aws]", &second);
        },
        says: &["poolkeeper.toml", "github.two.orgs", "\"acme\"", "leave it in one"],
    },
    Spoiled {
        what: "least size over most",
        spoil: |site| edit(&site.config, "[pool]", "[pool]\nsize_min = 5\nsize_max = 3"),
        says: &["poolkeeper.toml", "pool.size_min", "more than size_max 3", "lower size_min"],
    },
    Spoiled {
        what: "missing ca_file",
        spoil: |site| edit(&site.config, "token_file", "ca_file = \"/nowhere/ca.pem\"\ntoken_file"),
        says: &["poolkeeper.toml", "github.main", "/nowhere/ca.pem"],
    },
    Spoiled {
        what: "unknown runners",
        spoil: |site| edit(&site.config, "[pool]", "[pool]\nrunners = \"mine\""),
        says: &["poolkeeper.toml", "pool.runners", "external"],
    },
    Spoiled {
        what: "missing file",
        spoil: |site| fs::remove_file(&site.config).unwrap(),
        says: &["poolkeeper.toml", "cannot be read", "--config"],
    },
];

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn a_bad_config_gets_one_message_and_exit_code_2_and_nothing_starts(shell: Shell) {
    for Spoiled { what, spoil, says } in SPOILED {
        let site = Plan { shell, ..Plan::new(1) }.build();
        spoil(&site);

        let done = site.run(&["run"]);

        let message = stderr(&done);
        assert_eq!(done.status.code(), Some(2), "{what}: {message}");
        assert_eq!(message.lines().count(), 1, "{what}: one message: {message}");
        for part in says {
            assert!(message.contains(part), "{what}: {part:?} in {message}");
        }
        assert!(done.stdout.is_empty(), "{what}");
        let totals = site.totals();
        assert_eq!((totals.calls_to("github"), totals.calls_to("aws")), (0, 0), "{what}");
        assert!(!site.path("state").exists() && !site.path("journal").exists(), "{what}");
    }
}

fn a_config_that_turns_bad_leaves_the_old_one_in_force(shell: Shell) {
    let site = Plan { shell, ..Plan::new(2) }.build();
    let mut daemon = site.listening_daemon();
    let good = fs::read_to_string(&site.config).unwrap();
    let token = fs::read_to_string(site.path("token")).unwrap();

    for (nth, Spoiled { what, spoil, says }) in SPOILED.iter().enumerate() {
        spoil(&site);
        daemon.signal(Signal::HUP);
        let kept = || {
            let log = daemon.log();
            (log.matches("the old config stays").count() > nth).then_some(log)
        };
        let log = until(what, LONG, kept, || daemon.log());
        let line = log.lines().rfind(|line| line.contains("the old config stays")).unwrap();
        let message = line.replace("\\\"", "\"");
        for part in *says {
            assert!(message.contains(part), "{what}: {part:?} in {message}");
        }
        fs::write(&site.config, &good).unwrap();
        fs::write(site.path("token"), &token).unwrap();
    }

    assert!(daemon.is_running());
    site.queue(1);
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
}

fn a_good_config_is_taken_on_sighup(shell: Shell) {
    let github = GitHubConfig { poll_hold: Span::from_millis(500), ..GitHubConfig::default() };
    let site = Plan { shell, github, ..Plan::new(3) }.build();
    let daemon = site.listening_daemon();

    edit(&site.config, "[pool]", "[pool]\nsize_max = 7");
    edit(&site.config, ", \"globex\"", "");
    daemon.signal(Signal::HUP);

    site.until("a capacity of 7 for those that are still served, and none for the one that drains", &daemon, |world| {
        let capacity = |set| world.github_model().set(set).and_then(|set| set.capacity);
        site.sets.iter().map(capacity).eq([Some(7), Some(7), Some(0)])
    });
    assert_eq!(daemon.stop(), 0);
}

fn variables_stand_for_keys(shell: Shell) {
    let site = Plan { shell, ..Plan::new(1) }.build();
    let mut command = site.command(&["run"]);
    command.env("POOLKEEPER_POOL__SIZE_MAX", "many");

    let done = command.output().unwrap();

    assert_eq!(done.status.code(), Some(2));
    assert!(stderr(&done).contains("POOLKEEPER_POOL__SIZE_MAX"), "{}", stderr(&done));
}
