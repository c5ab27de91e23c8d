//! Every stored incident: it ends well with the defence it is about, and does not without.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use poolkeeper_simulator::scenario::{Defence, Incident, Scenario, run, switches};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("incidents")
}

/// All files of the directory but its README, each with what it shows.
fn incidents() -> Vec<(String, Scenario, Incident)> {
    let entries = dir().read_dir().expect("the incidents are there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| !path.ends_with("README.md"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let scenario = Scenario::load(&path).unwrap_or_else(|problem| panic!("{problem}"));
        let incident = scenario.incident.clone().unwrap_or_else(|| panic!("{name} tells of no incident"));
        (name, scenario, incident)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn an_incident_ends_well_with_its_defence() {
    for (name, scenario, _) in incidents() {
        let verdict = run(&scenario);
        assert_eq!(verdict.failure, None, "{name}");
        assert!(verdict.stats.simulated_ms >= scenario.span_ms && verdict.stats.jobs > 0, "{name}: {verdict:?}");
    }
}

#[test]
fn without_its_defence_the_checker_objects_that_it_names() {
    for (name, scenario, incident) in incidents() {
        let lacking = scenario.without_defence().unwrap_or_else(|problem| panic!("{name}: {problem}"));
        let failure = run(&lacking).failure.unwrap_or_else(|| panic!("{name} ends well without its defence"));
        assert_eq!(failure.checker, incident.checker, "{name}: {failure:?}");
    }
}

#[test]
fn every_defence_that_can_be_switched_off_is_shown_by_an_incident() {
    let shown: BTreeSet<String> = incidents()
        .into_iter()
        .filter_map(|(_, _, incident)| match incident.defence {
            Defence::Switch(name) => Some(name),
            Defence::UndoneBy(_) => None,
        })
        .collect();
    assert_eq!(shown, switches().into_iter().collect());
}

#[test]
fn every_incident_has_a_story_and_is_listed_with_its_defence() {
    let readme = fs::read_to_string(dir().join("README.md")).expect("the list of incidents");
    let all = incidents();
    for (name, scenario, incident) in &all {
        assert!(!scenario.story.is_empty(), "{name}");
        let (Defence::Switch(defence) | Defence::UndoneBy(defence)) = &incident.defence;
        let row = readme.lines().find(|line| line.starts_with(&format!("| [`{name}`]({name}.json) |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not listed"));
        assert!(row.contains(&format!("`{defence}`")) && row.contains(&format!("`{}`", incident.checker)), "{row}");
    }
    assert_eq!(readme.matches(".json) |").count(), all.len(), "a file that is listed is not there");
}
