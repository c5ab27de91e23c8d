//! What is told of a managed pool: whole stories, as people read them.

use std::path::{Path, PathBuf};

use poolkeeper_shell::story::{Subject, tell};

use super::managed::{key, managed};
use super::*;
use crate::world::{FaultAction, Weather};

const JOB: Duration = Duration::from_secs(30);
/// The job that comes first.
const FIRST: &str = "00000000-0000-4000-8000-000000000001";
/// The job that comes when all places are taken.
const LAST: &str = "00000000-0000-4000-8000-000000000004";

/// A simulated managed pool whose journal is kept.
struct Kept {
    simulation: Simulation,
    dir: tempfile::TempDir,
}

impl Kept {
    fn new(idle: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut simulation = Simulation::recorded(managed(idle), 1, JournalSettings::in_dir(dir.path()));
        simulation.run_for(Duration::from_secs(5));
        Self { simulation, dir }
    }

    fn queue(&mut self, jobs: usize) {
        for _ in 0..jobs {
            self.simulation.act(|world, at| world.queue_job(at, &key(), JobPlan::success(JOB)).unwrap());
        }
    }

    /// Each call of a kind is refused for so long.
    fn refuse(&mut self, call: &str, code: u16, for_s: u64) {
        let action = FaultAction::Status { code, body: "AccessDenied".to_owned(), headers: BTreeMap::new() };
        let weather = Weather { call: call.to_owned(), per_mille: 1000, action };
        let span = Duration::from_secs(for_s);
        assert!(self.simulation.act(|world, at| world.set_weather(at.now.mono + span, weather)));
    }

    /// Runs on for ten minutes, and closes the journal.
    fn end(mut self) -> Journal {
        self.simulation.run_for(Duration::from_secs(600));
        self.simulation.close_journal().unwrap();
        let files = journal::files(self.dir.path()).unwrap();
        Journal { files, _dir: self.dir }
    }
}

struct Journal {
    files: Vec<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Journal {
    fn story(&self, name: &str) -> String {
        let told = tell(&self.files, &Subject::read(name), None);
        assert_eq!(told.bad, None);
        self.without_paths(told.story.unwrap().to_string())
    }

    fn without_paths(&self, text: String) -> String {
        let path = |path: &Path| path.display().to_string();
        text.replace(&path(&self.files[0]), "JOURNAL")
    }
}

/// The instance on which a job started.
fn runner_of(story: &str) -> &str {
    story.split("started on ").nth(1).unwrap().split(',').next().unwrap()
}

/// Four jobs for a group of three.
fn four_jobs() -> Journal {
    let mut kept = Kept::new("0");
    kept.queue(4);
    kept.end()
}

#[test]
fn a_job_that_waits_for_a_place_is_told_from_its_queue_to_its_end() {
    let told = four_jobs().story(LAST);
    assert_eq!(told, include_str!("story/job.txt"), "{told}");
}

#[test]
fn an_instance_is_told_from_its_first_sight_to_its_proven_end() {
    let journal = four_jobs();
    let told = journal.story(runner_of(&journal.story(LAST)));
    assert_eq!(told, include_str!("story/instance.txt"), "{told}");
}

#[test]
fn a_pool_is_told_with_its_numbers_and_how_it_stands() {
    let told = four_jobs().story("acme/linux");
    assert_eq!(told, include_str!("story/pool.txt"), "{told}");
    let terminations: Vec<_> = told.split("is asked to terminate").skip(1).collect();
    assert_eq!(terminations.len(), 4);
    assert!(terminations.iter().all(|rest| rest.lines().nth(1).unwrap().starts_with("    proof:  its job ended")));
}

#[test]
fn an_instance_that_is_one_too_many_is_ended_when_github_removed_its_runner() {
    let mut kept = Kept::new("1");
    kept.simulation.run_for(Duration::from_secs(60));
    kept.simulation.act(|world, at| {
        let name = world.aws_model().groups().next().unwrap().name.clone();
        let tag = Tag { key: "runs-on-idle".into(), value: "0".into() };
        world.aws_model_mut().set_tags(at.now, &[crate::aws::action::GroupTag { group: name, tag }]).unwrap();
    });
    let instance = kept.simulation.world().aws_model().groups().next().unwrap().instances[0].id.clone();
    let told = kept.end().story(&instance);
    for part in [
        "GitHub is asked to remove runner 1, as there is one too many",
        "GitHub removed runner 1: it does that only while no job runs on it",
        "AWS is asked to terminate it; desired capacity goes down with it\n    proof:  GitHub removed its runner",
        "gone: its group is described without it",
        "and was terminated on this proof: GitHub removed its runner, which it does only while no job runs on it (2026-",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn what_github_and_aws_refuse_is_told_in_their_words() {
    let mut kept = Kept::new("0");
    kept.refuse("jit_config", 503, 20);
    kept.refuse("SetDesiredCapacity", 403, 20);
    kept.queue(1);
    let journal = kept.end();
    let job = journal.story("1");
    assert!(job.contains("desired capacity could not be set to 1: AWS denies it"), "{job}");
    assert!(job.contains("until a runner took it"), "{job}");
    let instance = journal.story(runner_of(&job));
    assert!(instance.contains("gone: its group"), "{instance}");
}

#[test]
fn a_job_that_came_while_github_failed_is_told_why_it_was_heard_of_late() {
    let mut kept = Kept::new("0");
    kept.refuse("poll", 503, 120);
    kept.simulation.run_for(Duration::from_secs(60));
    kept.queue(1);
    let job = kept.end().story("1");
    let (before, after) = job.split_once("assigned to acme-linux").unwrap();
    assert!(before.contains("queued at GitHub") && before.contains("poll failed: server_error (HTTP 503)"), "{job}");
    assert!(after.contains("until poolkeeper heard of it"), "{job}");
}

#[test]
fn who_is_not_there_is_told_with_the_place_the_span_and_the_nearest() {
    let journal = four_jobs();
    for (name, nearest) in [("i-16d339d1740130ed", "i-16d339d1740130edd"), ("acme-linus", "acme-linux"), ("77", FIRST)]
    {
        let told = tell(&journal.files, &Subject::read(name), None).story.unwrap_err();
        let told = journal.without_paths(told);
        let subject = Subject::read(name);
        let span = "2026-05-01T10:00:00.000Z to 2026-05-01T10:10:00.059Z";
        assert!(
            told.starts_with(&format!("nothing is known of {subject} in JOURNAL: 200 steps from {span}")),
            "{told}"
        );
        assert!(told.contains(nearest), "{told}");
    }
}
