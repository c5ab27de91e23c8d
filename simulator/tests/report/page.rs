//! The page as a person uses it.

use std::fs;

use poolkeeper_core::aws::AwsCall;
use poolkeeper_core::event::Effect;
use poolkeeper_shell::journal::{self, Segment};
use serde::de::IgnoredAny;
use serde_json::json;

use super::browser::Browser;
use super::{Made, release_build, report};

/// A page of a day of fifty pools may be this large, and take this long until all is drawn.
const MAX_BYTES: u64 = 5_000_000;
const MAX_DRAWN_MS: f64 = 2_000.0;
const RUNS: usize = 5;

fn capacity_changes(made: &Made) -> u64 {
    let mut changes = 0;
    for file in journal::files(&made.journal()).unwrap() {
        let segment: Segment<IgnoredAny> = Segment::open(&file).unwrap();
        for effect in segment.flat_map(|step| step.unwrap().effects.unwrap()) {
            changes += u64::from(matches!(effect, Effect::Aws { call: AwsCall::SetDesiredCapacity { .. }, .. }));
        }
    }
    changes
}

/// Opens the page, holds it against the journal, and says how long it took to draw, in milliseconds.
fn opens_whole(browser: &mut Browser, made: &Made, pools: u64) -> f64 {
    browser.open(&made.page());
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(browser.value("document.documentElement.dataset.drawn"), json!((pools + 1).to_string()));
    assert_eq!(browser.value("rows.filter((row) => row.dirty).length"), json!(0));
    let marked = "rows.reduce((sum, row) => sum + row.markers.class.filter((of) => isCapacity(CLASSES[of])).length, 0)";
    assert_eq!(browser.value(marked), json!(capacity_changes(made)));
    browser.value("CLASSES.forEach((name) => view.classes.add(name)), redraw(), draw(true)");
    assert_eq!(browser.value("rows.every((row) => row.drawn === row.markers.t.length)"), json!(true));
    let painted = "rows.filter((row) => row.canvas.getContext('2d').getImageData(0, 0, row.canvas.width, \
                   row.canvas.height).data.some((byte) => byte > 0)).length";
    assert_eq!(browser.value(painted), json!(pools + 1));
    browser.value("performance.getEntriesByName('drawn')[0].startTime").as_f64().unwrap()
}

#[test]
fn a_page_opens_whole_with_one_pool_and_with_fifty() {
    let Some(mut browser) = Browser::start() else { return };
    for pools in [1, 50] {
        opens_whole(&mut browser, &Made::new(pools, 1), pools.into());
    }
}

#[test]
fn a_day_opens_whole() {
    let Some(mut browser) = Browser::start() else { return };
    opens_whole(&mut browser, &Made::new(1, 24), 1);
    if release_build().is_none() {
        eprintln!("\nNOT MEASURED: a day of fifty pools. Name a release build of poolkeeper-sim in POOLKEEPER_SIM.\n");
        return;
    }
    let made = Made::new(50, 24);
    let bytes = fs::metadata(made.page()).unwrap().len();
    let mut drawn_ms: Vec<f64> = (0..RUNS).map(|_| opens_whole(&mut browser, &made, 50)).collect();
    drawn_ms.sort_by(f64::total_cmp);
    println!("a day of 50 pools: {bytes} bytes; from navigation to drawn, ms, {RUNS} runs: {drawn_ms:.0?}");
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");
    assert!(drawn_ms[RUNS / 2] <= MAX_DRAWN_MS, "{drawn_ms:?}");
}

/// Where the first marker of a class stands on the screen, in the first pool that has one; a raise is one of jobs.
fn place_of(browser: &mut Browser, class: &str) -> (f64, f64) {
    let expression = format!(
        "(() => {{ const nth = CLASSES.indexOf('{class}'), low = isCapacity('{class}');
          const of = ({{ markers }}) => markers.class.findIndex((of, i) => of === nth && (!low || markers.jobs.has(i)));
          const row = rows.find((row) => row.pool && of(row) >= 0);
          row.element.scrollIntoView({{ block: 'center' }});
          const box = row.plot.getBoundingClientRect(), x = box.left + xOf(row.markers.t[of(row)], box.width);
          return [x, low ? box.bottom - STRIP - CAPACITY / 2 : box.top + LANE / 2]; }})()"
    );
    let place = browser.value(&expression);
    browser.settle();
    (place[0].as_f64().unwrap(), place[1].as_f64().unwrap())
}

fn panel(browser: &mut Browser) -> String {
    let text = browser.value("panel.hidden ? '' : panel.innerText");
    text.as_str().unwrap().to_owned()
}

#[test]
fn a_marker_opens_its_cause_by_click_and_by_key() {
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&Made::new(8, 1).page());
    let (x, y) = place_of(&mut browser, "raise");
    browser.click(x, y);
    let told = panel(&mut browser);
    for part in ["Desired capacity raised from", "GitHub sent message", "job", "jobs assigned", "--until"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    browser.key("Escape");
    assert_eq!(panel(&mut browser), "");
    browser.key("ArrowRight");
    let first = panel(&mut browser);
    browser.key("ArrowRight");
    let second = panel(&mut browser);
    assert!(!first.is_empty() && !second.is_empty() && first != second, "{first} / {second}");
    browser.key("ArrowLeft");
    assert_eq!(panel(&mut browser), first);
    let (x, y) = place_of(&mut browser, "error");
    browser.click(x, y);
    assert!(panel(&mut browser).contains("Error"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn pools_are_found_sorted_and_looked_at_closely() {
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&Made::new(8, 1).page());
    let shown = "[...document.querySelectorAll('#pools .row')].filter((e) => e.row.pool).map((e) => e.row.name)";
    browser.key("/");
    browser.write("globex");
    assert_eq!(browser.value(shown), json!(["ci-globex-pool-3", "ci-globex-pool-6"]));
    browser.write(" no such");
    assert_eq!(browser.value(shown), json!([]));
    assert!(browser.value("byId('empty').innerText").as_str().unwrap().contains("globex no such"));
    browser.value("byId('search').value = '', byId('search').dispatchEvent(new Event('input'))");
    browser.value("byId('sort').value = 'jobs', byId('sort').dispatchEvent(new Event('change'))");
    let jobs = "[...document.querySelectorAll('#pools .row')].filter((e) => e.row.pool).map((e) => e.row.pool.counted.completed)";
    let sorted = browser.value(jobs);
    let sorted: Vec<u64> = sorted.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert!(sorted.len() == 8 && sorted.is_sorted_by(|a, b| a >= b) && sorted[0] > sorted[7], "{sorted:?}");

    let place = browser.value("(() => { scrollTo(0, 0); const b = rows[0].plot.getBoundingClientRect(); return [b.left, b.top + 30, b.width]; })()");
    let [left, y, width] = [0, 1, 2].map(|nth| place[nth].as_f64().unwrap());
    browser.mouse("mouseMoved", left + width * 0.25, y);
    browser.mouse("mousePressed", left + width * 0.25, y);
    browser.mouse("mouseMoved", left + width * 0.5, y);
    browser.mouse("mouseReleased", left + width * 0.5, y);
    browser.settle();
    let part = browser.value("[view.from / SPAN, view.to / SPAN]");
    assert!(
        (part[0].as_f64().unwrap() - 0.25).abs() < 0.01 && (part[1].as_f64().unwrap() - 0.5).abs() < 0.01,
        "{part}"
    );
    browser.value("byId('all').click()");
    assert_eq!(browser.value("view.to - view.from === SPAN"), json!(true));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn names_from_peers_are_text_and_nothing_else() {
    const JOB: &str = "</script><img src=x onerror=window.caught=1>";
    const GROUP: &str = "ci-<b onfocus=window.caught=2>-&lt;!--";
    let Some(mut browser) = Browser::start() else { return };
    let made = Made::new(1, 1);
    let files = journal::files(&made.journal()).unwrap();
    let lines: Vec<String> = journal::read(&files[0]).unwrap().map(|line| line.unwrap().text).collect();
    let hostile = lines.join("\n").replace("build ", JOB).replace("ci-acme-pool-1", GROUP) + "\n";
    let journal = made.dir.path().join("hostile.jsonl");
    fs::write(&journal, hostile).unwrap();
    let reported = report(&journal, &made.page(), &[]);
    assert!(reported.status.success(), "{reported:?}");
    browser.open(&made.page());
    let (x, y) = place_of(&mut browser, "raise");
    browser.click(x, y);
    let told = panel(&mut browser);
    assert!(told.contains(JOB) && told.contains(GROUP), "{told}");
    assert_eq!(browser.value("[typeof window.caught, document.images.length]"), json!(["undefined", 0]));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
