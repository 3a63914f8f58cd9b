//! Sweeps: every combination gives what a run of its own gives, finished runs are not run again, and what is stopped leaves the
//! finished ones.

use sharpwave::model::library::Library;
use sharpwave::record::read::Recording;
use sharpwave::run::{self, Silent};
use sharpwave::scenario::Scenario;
use sharpwave::sweep::{self, Event, Options, Sweep};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const NETWORK: &str = r#"title = "Noise"
[simulation]
duration = "100 ms"
[variables]
rate = 9000
[populations.E]
model = "iaf_psc_exp"
n = 50
[populations.I]
model = "iaf_psc_exp"
n = 10
[[drives]]
target = ["E", "I"]
type = "poisson_generator"
rate = "rate Hz"
weight = "60 pA"
"#;

fn network(folder: &Path) -> Sweep {
    let scenario = folder.join("net.toml");
    std::fs::write(&scenario, NETWORK).unwrap();
    let axes = vec!["variables.rate=7000,9000,11000".parse().unwrap()];
    Sweep { scenario, axes, seeds: vec![1, 2], ..Sweep::default() }
}

fn quiet(_: Event<'_>) {}

#[test]
fn a_sweep_gives_what_single_runs_give_and_knows_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = network(folder.path());
    let library = Library::built_in().unwrap();
    let out = folder.path().join("out");
    let options = Options { out: Some(out.clone()), jobs: Some(2), force: false };
    let never = AtomicBool::new(false);
    let table = sweep::run(&sweep, library, &options, &quiet, &never).unwrap();
    assert_eq!((table.runs.len(), table.found, table.interrupted), (6, 0, false));
    assert_eq!(table.runs[3].name, "rate=9000_seed=2");
    for run in &table.runs {
        let overrides = [format!("variables.rate={}", run.values[0]), format!("simulation.seed={}", run.seed)];
        let plan = Scenario::load(&sweep.scenario, &overrides, None).unwrap().plan(library).unwrap();
        let alone = run::run(&plan, &Default::default(), &Silent, &never).unwrap();
        assert_eq!(alone.statistics, run.statistics, "{}", run.name);
        let recording = Recording::open(out.join(run.recording.as_ref().unwrap())).unwrap();
        assert!(recording.ending.complete && recording.info.seed == run.seed);
        assert_eq!(recording.spikes("E").unwrap().times.len() as u64, run.statistics.populations[0].spikes);
    }
    let left = || std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    assert_eq!(left().len(), 7, "{:?}", left());

    // Again: nothing runs. More seeds: those alone run.
    let ran = AtomicUsize::new(0);
    let count = |event: Event<'_>| {
        if matches!(event, Event::Done { .. }) {
            ran.fetch_add(1, Ordering::Relaxed);
        }
    };
    let again = sweep::run(&sweep, library, &options, &count, &never).unwrap();
    assert_eq!((&again.runs, again.found, ran.load(Ordering::Relaxed)), (&table.runs, 6, 0));
    let more = Sweep { seeds: vec![1, 2, 3], ..sweep.clone() };
    assert_eq!(sweep::run(&more, library, &options, &count, &never).unwrap().found, 6);
    assert_eq!(ran.swap(0, Ordering::Relaxed), 3);
    // A recording that is gone is made again, the others stay known.
    std::fs::remove_file(out.join("rate=7000_seed=1.h5")).unwrap();
    assert_eq!(sweep::run(&more, library, &options, &count, &never).unwrap().found, 8);
    assert_eq!(ran.swap(0, Ordering::Relaxed), 1);
    // Another network under the same names is refused, and by force runs in their place.
    let other = Sweep { overrides: vec!["populations.I.n=12".into()], ..sweep.clone() };
    let refused = sweep::run(&other, library, &options, &count, &never).unwrap_err();
    assert!(refused.to_string().contains("rate=7000_seed=1.h5") && refused.remedy().unwrap().contains("--force"), "{refused}");
    let forced = sweep::run(&other, library, &Options { force: true, ..options.clone() }, &count, &never).unwrap();
    assert_eq!((forced.runs[0].statistics.populations[1].n, ran.load(Ordering::Relaxed)), (12, 6));
    // That of the seed which was not asked for is still known.
    assert_eq!(sweep::run(&Sweep { seeds: vec![3], ..sweep.clone() }, library, &options, &quiet, &never).unwrap().found, 3);
}

#[test]
fn a_stopped_sweep_leaves_the_finished_runs() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = network(folder.path());
    let out = folder.path().join("out");
    let options = Options { out: Some(out.clone()), jobs: Some(1), force: false };
    let stop = AtomicBool::new(false);
    let after_two = |event: Event<'_>| {
        if matches!(event, Event::Done { done: 2, .. }) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let library = Library::built_in().unwrap();
    let table = sweep::run(&sweep, library, &options, &after_two, &stop).unwrap();
    assert!(table.interrupted && table.runs.len() == 2);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3);
    let rest = sweep::run(&sweep, library, &options, &quiet, &AtomicBool::new(false)).unwrap();
    assert_eq!((rest.found, rest.runs.len(), rest.interrupted), (2, 6, false));
}

#[test]
fn mistakes_are_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = network(folder.path());
    let out = folder.path().join("out");
    let options = Options { out: Some(out.clone()), ..Options::default() };
    let refusal = |axes: &[&str]| {
        let axes = axes.iter().map(|a| a.parse().unwrap()).collect();
        let sweep = Sweep { axes, ..sweep.clone() };
        let error = sweep::run(&sweep, Library::built_in().unwrap(), &options, &quiet, &AtomicBool::new(false)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    assert!(refusal(&["variables.rate=7000,x"]).contains("x"));
    assert!(refusal(&["variables.rats=1"]).contains("did you mean `rate`?"));
    assert!(refusal(&["variables.rate=1", "variables.rate=2"]).contains("swept twice"));
    assert!(refusal(&["simulation.seed=1,2"]).contains("the seed is swept twice"));
    assert!(refusal(&["variant=a"]).contains("there is no variant `a`"));
    assert!(!out.exists(), "nothing was written");
}

/// Figures and tables of a sweep over two keys, one of words.
#[test]
fn sweeps_are_tabulated_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let mut sweep = network(folder.path());
    sweep.axes.push("populations.I.model=iaf_psc_exp,iaf_psc_alpha".parse().unwrap());
    let table = sweep::run(&sweep, Library::built_in().unwrap(), &Options::default(), &quiet, &AtomicBool::new(false)).unwrap();
    assert_eq!(table.runs.len(), 12);
    let (rows, csv) = (table.markdown(), table.csv());
    assert_eq!(rows.lines().count(), 2 + 6 * 2, "{rows}");
    assert!(rows.lines().next().unwrap().contains("variables.rate") && rows.contains('±'), "{rows}");
    assert_eq!(csv.lines().count(), 1 + 12 * 2, "{csv}");
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns), "{csv}");
    let out = folder.path().join("figures");
    let files = sharpwave::plot::sweep(&out, &table).unwrap();
    assert!(files.iter().any(|f| f.ends_with("sweep_rate.svg")) && files.iter().any(|f| f.ends_with("sweep.html")), "{files:?}");
    let svg = std::fs::read_to_string(out.join("sweep_rate.svg")).unwrap();
    // A mean for every point and population, and a dot for every run besides.
    assert_eq!(svg.matches("r=\"3.2\"").count(), 12);
    assert_eq!(svg.matches("r=\"1.8\"").count(), 24);
    if let Some(keep) = std::env::var_os("SHARPWAVE_KEEP_FIGURES") {
        for file in &files {
            std::fs::copy(file, Path::new(&keep).join(file.file_name().unwrap())).unwrap();
        }
    }
}

/// Ctrl-C ends with 130, and leaves what is finished.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_sweep_with_130() {
    let folder = tempfile::tempdir().unwrap();
    network(folder.path());
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_sharpwave"))
        .args(["run", "net.toml", "--seeds", "1-200", "--jobs", "2", "--out", "out", "--set", "simulation.duration=500 ms"])
        .current_dir(folder.path())
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !folder.path().join("out/sweep.json").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // SAFETY: a signal to our own child.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let output = child.wait_with_output().unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("200 runs, 2 at a time") && told.contains("the same command makes the rest"), "{told}");
    assert!(said.contains("| population |") && said.contains("sweep.csv"), "{said}");
    let names = std::fs::read_dir(folder.path().join("out")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let recordings: Vec<String> = names.filter(|n| n.ends_with(".h5")).collect();
    assert!(!recordings.is_empty() && recordings.iter().all(|n| !n.contains("part")), "{recordings:?}");
    let lines = std::fs::read_to_string(folder.path().join("out/sweep.csv")).unwrap().lines().count();
    assert_eq!(lines, 1 + 2 * recordings.len());
}
