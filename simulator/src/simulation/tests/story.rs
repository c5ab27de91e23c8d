//! What `explain` tells of a managed pool.

use poolkeeper_shell::story::{Subject, tell};

use super::managed::{KEY, managed};
use super::*;

const JOB: Duration = Duration::from_secs(30);

/// The journal of a managed pool that has served jobs.
fn recorded(jobs: usize) -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let mut simulation = Simulation::recorded(managed("0"), 1, JournalSettings::in_dir(dir.path()));
    simulation.run_for(Duration::from_secs(5));
    for _ in 0..jobs {
        let key = SetKey::new(KEY.0, KEY.1);
        simulation.act(|world, at| world.queue_job(at, &key, JobPlan::success(JOB)).unwrap());
    }
    simulation.run_for(Duration::from_secs(600));
    simulation.close_journal().unwrap();
    let files = journal::files(dir.path()).unwrap();
    (dir, files)
}

#[test]
fn show() {
    let (_dir, files) = recorded(4);
    let job = Subject::read("00000000-0000-4000-8000-000000000004");
    let text = tell(&files, &job, None).story.unwrap().to_string();
    println!("{text}");
    let job = Subject::read("00000000-0000-4000-8000-000000000001");
    let text = tell(&files, &job, None).story.unwrap().to_string();
    println!("{text}");
    let instance = text.split("started on ").nth(1).unwrap().split(',').next().unwrap();
    println!("{}", tell(&files, &Subject::read(instance), None).story.unwrap());
    println!("{}", tell(&files, &Subject::read("acme/linux"), None).story.unwrap());
    println!("{}", tell(&files, &Subject::read("i-77"), None).story.unwrap_err());
}
