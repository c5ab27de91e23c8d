//! What the instances' agent refuses to start with, and who can see a config, under both shells. The programs it calls,
//! `aws` and `curl`, are stood in for by scripts that answer from files and write down what they were asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use poolkeeper_shell::PROTOCOL;
use poolkeeper_tests::instance::AGENT;
use poolkeeper_tests::programs;
use tempfile::TempDir;

const SHELLS: [&str; 2] = ["dash", "bash"];
const CONFIG: &str = "eyJjb25maWctb2YtdGhlLWFnZW50cy10ZXN0Ijoxfg==";
const CURL: &str = r#"#!/bin/sh
for last; do :; done
case $last in
    */api/token) echo token ;;
    */instance-id) echo i-0123456789abcdef0 ;;
    */placement/region) echo eu-west-1 ;;
    *) cat >/dev/null; echo InService ;;
esac
"#;
const AWS: &str = r#"#!/bin/sh
echo "$*" >>"$SCENE/aws"
case "$*" in
    *get-parameter*)
        [ -e "$SCENE/parameter" ] || { echo 'An error occurred (ParameterNotFound) when calling' >&2; exit 254; }
        cat "$SCENE/parameter" ;;
    *delete-parameter*) rm "$SCENE/parameter" ;;
esac
"#;
const RUNNER: &str = r#"#!/bin/sh
env >"$SCENE/environment"
tr '\0' ' ' </proc/$$/cmdline >"$SCENE/arguments"
"#;

/// An instance's files, and the programs that are stood in for.
struct Scene {
    dir: TempDir,
    shell: &'static str,
}

impl Scene {
    fn new(shell: &'static str) -> Self {
        let scene = Self { dir: TempDir::new().unwrap(), shell };
        for (program, text) in [("bin/curl", CURL), ("bin/aws", AWS), ("runner/run.sh", RUNNER)] {
            let path = scene.path(program);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir(scene.path("tmp")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn run(&self, settings: &[(&str, &str)]) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        Command::new(self.shell)
            .arg(AGENT)
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("SCENE", self.dir.path())
            .env("TMPDIR", self.path("tmp"))
            .env("POOLKEEPER_AGENT_CONF", self.path("none"))
            .env("POOLKEEPER_STACK", "prod")
            .env("POOLKEEPER_RUNNER_DIR", self.path("runner"))
            .env("POOLKEEPER_RUNNER_USER", String::from_utf8(user).unwrap().trim())
            .env("POOLKEEPER_SHUTDOWN", "touch \"$SCENE/down\"")
            .env("POOLKEEPER_TERMINATION_WAIT_S", "0")
            .env("POOLKEEPER_CONFIG_DEADLINE_S", "1")
            .envs(settings.iter().copied())
            .output()
            .unwrap()
    }
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_config_is_taken_and_deleted_its_runner_runs_and_the_instance_ends_with_its_place() {
    for shell in SHELLS {
        let scene = Scene::new(shell);
        scene.write("parameter", CONFIG);
        let output = scene.run(&[]);
        assert!(output.status.success(), "{shell}: {}", log(&output));
        let environment = scene.read("environment");
        let has = |line: &str| environment.lines().any(|variable| variable == line);
        assert!(has(&format!("ACTIONS_RUNNER_INPUT_JITCONFIG={CONFIG}")), "{environment}");
        assert!(has("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1"), "{environment}");
        assert_eq!(environment.matches(CONFIG).count(), 1, "no other variable holds the config");
        let asked = scene.read("aws");
        let of_config = "ssm get-parameter --name /poolkeeper/prod/i-0123456789abcdef0 --with-decryption";
        assert!(asked.contains(of_config) && asked.contains("ssm delete-parameter"), "{asked}");
        let end = "terminate-instance-in-auto-scaling-group --instance-id i-0123456789abcdef0 --should-decrement";
        assert_eq!(asked.matches(end).count(), 1, "{asked}");
        for told in [&scene.read("arguments"), &asked, &log(&output)] {
            assert!(!told.contains(CONFIG), "{shell}: everybody may read {told}");
        }
        assert!(!scene.path("parameter").exists() && !scene.path("down").exists());
        assert_eq!(fs::read_dir(scene.path("tmp")).unwrap().count(), 0, "no file is left");
    }
}

#[test]
fn what_is_set_wrongly_is_named_and_nothing_is_started() {
    for shell in SHELLS {
        for (name, value, told) in [
            ("POOLKEEPER_STACK", "a b", "the stack is 'a b'"),
            ("POOLKEEPER_PREFIX", "x", "the prefix is 'x'"),
            ("POOLKEEPER_RUNNER_DIR", "/nowhere", "there is no runner in /nowhere"),
            ("POOLKEEPER_RUNNER_USER", "no-such-user", "there is no user no-such-user"),
        ] {
            let scene = Scene::new(shell);
            let output = scene.run(&[(name, value)]);
            assert_eq!(output.status.code(), Some(2), "{shell}: {}", log(&output));
            assert!(log(&output).contains(told), "{shell}: {}", log(&output));
            assert_eq!(scene.read("aws"), "");
        }
    }
}

#[test]
fn agent_and_daemon_state_the_same_protocol() {
    let protocol = format!("(protocol {PROTOCOL})");
    let daemon = programs::poolkeeper().arg("--version").output().unwrap();
    let agents = SHELLS.map(|shell| Command::new(shell).arg(AGENT).arg("--version").output().unwrap());
    for output in agents.into_iter().chain([daemon]) {
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.trim().ends_with(&protocol), "{text}");
    }
}
