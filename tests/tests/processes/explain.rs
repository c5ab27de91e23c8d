//! `poolkeeper explain`, as a process: from a journal, and from a running daemon, whichever of the two it is.

use std::fs;
use std::process::Output;

use poolkeeper_tests::programs::{self, Shell};
use poolkeeper_tests::site::{Plan, Site};

poolkeeper_tests::on_both_shells!(
    a_job_its_instance_and_its_pool_are_told_from_the_configs_journal,
    a_running_daemon_tells_how_a_pool_stands_and_why,
);

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command is one of the program `poolkeeper`; it reads the site's config.
fn explain(site: &Site, arguments: &[&str]) -> Output {
    let mut command = programs::poolkeeper();
    command.arg("explain").args(arguments).arg("--config").arg(&site.config);
    command.output().expect("the program starts")
}

/// What the command tells, which it must.
fn told(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    stdout(output)
}

/// A site whose daemon has served jobs and ended.
fn served(shell: Shell) -> Site {
    let site = Plan { shell, ..Plan::new(1) }.build();
    let daemon = site.listening_daemon();
    site.queue(2);
    site.until_jobs_end(&daemon);
    assert_eq!(daemon.stop(), 0);
    site
}

fn a_job_its_instance_and_its_pool_are_told_from_the_configs_journal(shell: Shell) {
    let site = served(shell);

    let job = told(&explain(&site, &["1"]));
    assert!(job.contains("queued at GitHub") && job.contains("completed: succeeded, after it ran for "), "{job}");
    let instance = job.split("started on ").nth(1).and_then(|rest| rest.split(',').next()).expect("an instance");

    let json: serde_json::Value = serde_json::from_str(&told(&explain(&site, &["1", "--json"]))).expect("JSON");
    let first = &json["entries"][0];
    assert!(first["text"].as_str().is_some_and(|text| text.starts_with("queued at GitHub")), "{json}");
    assert!(first["at"].as_str().is_some_and(|at| job.contains(at)), "{json}");
    assert_eq!(json["left_out"], 0, "{json}");

    let life = told(&explain(&site, &[instance]));
    assert!(life.contains("first seen in a describe: ") && life.contains(" ended: succeeded"), "{life}");

    let set = &site.sets[0].name;
    let pool = told(&explain(&site, &[set]));
    assert!(pool.contains("    rule:   OUT: ") && pool.contains("the session was closed"), "{pool}");
}

#[test]
fn who_is_unknown_exits_with_1_and_who_is_asked_for_wrongly_with_2() {
    let site = served(Shell::Tokio);

    let unknown = explain(&site, &["i-00000000000000000"]);
    assert_eq!(unknown.status.code(), Some(1));
    let text = stderr(&unknown);
    assert!(text.contains("nothing is known of instance i-00000000000000000 in "), "{text}");
    assert!(text.contains("the nearest names there are i-"), "{text}");

    for wrong in [
        &["explain", "1", "--journal", "/nonexistent"][..],
        &["explain", "1", "--until", "tomorrow"],
        &["explain", "1", "--url", "http://127.0.0.1:1"],
        &["explain", "1", "--url", "http://127.0.0.1:1", "--journal", "/tmp"],
        &["explain"],
    ] {
        assert_eq!(site.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_cut_file_exits_with_2_and_is_told_up_to_there_with_until() {
    let site = served(Shell::Tokio);
    let [file] = site.journals().try_into().expect("one file");
    let whole = fs::read(&file).expect("a file");
    let cut = site.path("cut.jsonl.zst");
    let path = cut.display().to_string();
    let explain = |more: &[&str]| {
        let mut command = programs::poolkeeper();
        command.args(["explain", "acme-pool-1", "--journal", &path]).args(more);
        command.output().expect("the program starts")
    };
    // Three bytes in a row are not all ends of blocks, which is where a crash cuts.
    let is_refused = |length: &usize| {
        fs::write(&cut, &whole[..*length]).expect("a file");
        explain(&[]).status.code() == Some(2)
    };
    let half = whole.len() / 2;
    let length = (half..half + 3).find(is_refused).expect("a cut in a block is refused");
    fs::write(&cut, &whole[..length]).expect("a file");

    let refused = explain(&[]);
    assert_eq!(stdout(&refused), "");
    let text = stderr(&refused);
    assert!(text.contains("cut.jsonl.zst:") && text.contains("what can be read is told with --until "), "{text}");
    let shown = explain(&["--until", "1000000"]);
    assert_eq!(shown.status.code(), Some(2));
    assert!(stdout(&shown).starts_with("pool acme-pool-1 of group "), "{}", stdout(&shown));
    assert!(stderr(&shown).contains("where no crash of the daemon cuts it"), "{}", stderr(&shown));
}

fn a_running_daemon_tells_how_a_pool_stands_and_why(shell: Shell) {
    let site = Plan { shell, ..Plan::new(2) }.build();
    let daemon = site.listening_daemon();
    let url = format!("http://{}", daemon.status_addr());

    let set = &site.sets[0].name;
    let text = told(&explain(&site, &[set, "--url", &url]));
    assert!(text.contains(" is driven: capacity follows demand."), "{text}");
    assert!(text.contains("It listens to GitHub: ") && text.contains("The target is 0: 0 jobs assigned"), "{text}");

    let json: serde_json::Value =
        serde_json::from_str(&told(&explain(&site, &[set, "--url", &url, "--json"]))).expect("JSON");
    assert_eq!(json["pool"]["scale_set"], set.as_str(), "{json}");
    assert!(json["now"]["mono"].as_u64() >= json["pool"]["polled_at"].as_u64(), "{json}");

    let live = told(&explain(&site, &[set]));
    assert!(live.contains(" is open: the pool listens"), "the journal of a running daemon is read: {live}");

    let unknown = explain(&site, &["nobody", "--url", &url]);
    assert_eq!(unknown.status.code(), Some(1), "{}", stderr(&unknown));
    assert!(stderr(&unknown).contains("the nearest names there are "), "{}", stderr(&unknown));
    let instance = explain(&site, &["i-0", "--url", &url]);
    assert_eq!(instance.status.code(), Some(2));
    assert!(stderr(&instance).contains("instance i-0 is in its journal"), "{}", stderr(&instance));
    assert_eq!(daemon.stop(), 0);
}
