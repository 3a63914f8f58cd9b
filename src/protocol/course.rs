//! All runs of a protocol, one after the other, with a folder for what comes out: results.json (every finished run), a file
//! METHOD_seedN.h5 a run with what was learned as named arrays, checkpoint.h5 of the run under way. Promises that each file is
//! whole whenever the process ends, and that a resumed protocol gives what an uninterrupted one gives. Knows files and runs as courses;
//! not what they learn.

use super::Event;
use super::results::{Results, Run};
use crate::error::{Error, Result};
use crate::io::output;
use crate::learning::state::State;
use crate::scenario::read::suggest;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two checkpoints within a task.
const EVERY: Duration = Duration::from_secs(60);
/// Between two tellings of progress.
const TELL: Duration = Duration::from_millis(100);

/// Where a protocol's data are, where its results go, and what of it is run. [`Options::new`] makes one; its fields may be changed.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Folder for the output; made if absent.
    pub out: PathBuf,
    /// Replace what is there.
    pub force: bool,
    /// Go on with what is there.
    pub resume: bool,
    /// Instead of the file's.
    pub seeds: Option<Vec<u64>>,
    /// Instead of all.
    pub methods: Option<Vec<String>>,
    /// Where data sets are looked for.
    pub data: Vec<PathBuf>,
}

impl Options {
    /// The whole protocol, into a folder that holds no results yet; no data set but those that are computed.
    pub fn new(out: impl Into<PathBuf>) -> Options {
        Options { out: out.into(), ..Options::default() }
    }
}

/// Where a call of [`Course::advance`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Within a task, when asked to.
    Asked,
    /// After a task (joint training is one).
    Task,
}

/// One method with one seed, under way. Gives the same numbers whether or not it was saved and restored on the way.
pub(super) trait Course {
    /// Learns on, to the end of the task or until `pause` (asked after every batch) says so.
    fn advance(&mut self, pause: &mut dyn FnMut(&dyn Course) -> bool) -> Result<Pause>;
    /// Tasks that are learned one after the other.
    fn phases(&self) -> usize;
    /// Tasks learned.
    fn phase(&self) -> usize;
    /// Part of this run that is done.
    fn done(&self) -> f64;
    /// Accuracy while learning the task under way.
    fn accuracy(&self) -> f64;
    /// Accuracy on every task after the last one that was tested.
    fn row(&self) -> &[f64];
    /// What stands now, a line each.
    fn reports(&self) -> Vec<String>;
    /// Everything that changes on the way.
    fn state(&self) -> State;
    /// Takes back what [`Course::state`] gave.
    fn restore(&mut self, state: &State) -> Result<()>;
    /// What came out, once all is learned.
    fn run(&self) -> Result<Run>;

    fn finished(&self) -> bool {
        self.phase() >= self.phases()
    }
}

/// Runs every method and seed that `new` asks for and the folder does not have. `all` are the names of the protocol's methods; `begin` gets
/// one's index there and a seed. The results are complete unless it was stopped.
pub(super) fn each<'a>(
    new: Results,
    all: &[&str],
    options: &Options,
    begin: &mut dyn FnMut(usize, u64) -> Result<Box<dyn Course + 'a>>,
    tell: &mut dyn FnMut(Event),
    stop: &AtomicBool,
) -> Result<Results> {
    let folder = Folder(options.out.clone());
    let asked: Vec<String> = new.methods.iter().map(|m| m.0.clone()).collect();
    let mut results = folder.begin(new, options)?;
    let wanted = results.wanted();
    for (run, (seed, name)) in wanted.iter().enumerate() {
        let index = all.iter().position(|m| m == name).filter(|_| asked.contains(name) && !results.has(*seed, name));
        let Some(index) = index else { continue };
        let mut course = begin(index, *seed)?;
        let own = [index as u64, *seed];
        if options.resume && folder.checkpoint().exists() {
            let state = State::load(folder.checkpoint())?;
            if state.get::<u64>("run", 2)? == own {
                course.restore(&state)?;
            }
        }
        let at = At { run, runs: wanted.len(), method: name, seed: *seed };
        if !follow(&mut *course, at, &own, &folder, tell, stop)? {
            return Ok(results);
        }
        course.state().save(folder.learned(name, *seed))?;
        results.runs.push(rounded(course.run()?));
        results.complete = wanted.iter().all(|(seed, name)| results.has(*seed, name));
        folder.write(&results)?;
        output::remove(&folder.checkpoint());
    }
    results.complete = wanted.iter().all(|(seed, name)| results.has(*seed, name));
    folder.write(&results)?;
    Ok(results)
}

/// Where in the protocol a run stands.
#[derive(Clone, Copy)]
struct At<'a> {
    run: usize,
    runs: usize,
    method: &'a str,
    seed: u64,
}

/// One run to its end; false where it was stopped.
fn follow(
    course: &mut dyn Course,
    At { run, runs, method, seed }: At,
    own: &[u64],
    folder: &Folder,
    tell: &mut dyn FnMut(Event),
    stop: &AtomicBool,
) -> Result<bool> {
    let (mut saved, mut told) = (Instant::now(), Instant::now() - TELL);
    while !course.finished() {
        let pause = course.advance(&mut |course| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                let (task, tasks) = (course.phase(), course.phases());
                tell(Event::Trained { run, runs, method, seed, task, tasks, done: course.done(), accuracy: course.accuracy() });
            }
            stop.load(Ordering::Relaxed) || saved.elapsed() >= EVERY
        })?;
        if pause == Pause::Task {
            let (row, reports) = (course.row(), course.reports());
            let (task, tasks) = (course.phase() - 1, course.phases());
            tell(Event::Task { method, seed, task, tasks, row, reports: &reports });
        }
        let mut state = course.state();
        state.put("run", &[2], own);
        state.save(folder.checkpoint())?;
        saved = Instant::now();
        if stop.load(Ordering::Relaxed) && !course.finished() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// So that numbers read from the JSON are those written to it.
fn rounded(mut run: Run) -> Run {
    let round = |x: &mut f64| *x = (*x * 1e9).round() / 1e9;
    run.matrix.iter_mut().flatten().chain(&mut run.learning).chain(run.curve.iter_mut().map(|c| &mut c.1)).for_each(round);
    [&mut run.acc, &mut run.spikes_per_image, &mut run.train_s, &mut run.test_s].into_iter().for_each(round);
    run.bwt.iter_mut().chain(&mut run.forgetting).for_each(round);
    run.layers.iter_mut().for_each(|l| [&mut l.rank, &mut l.energy, &mut l.free].into_iter().for_each(round));
    if let Some(doubt) = &mut run.uncertainty {
        [&mut doubt.accuracy, &mut doubt.epistemic, &mut doubt.aleatoric].into_iter().for_each(round);
        doubt.calibration_error.iter_mut().for_each(round);
        for o in &mut doubt.outside {
            [&mut o.epistemic, &mut o.aleatoric].into_iter().for_each(round);
            o.auc_epistemic.iter_mut().chain(&mut o.auc_aleatoric).chain(&mut o.auc_total).for_each(round);
        }
    }
    run
}

/// Of a protocol's methods (name and title) those asked for, and the seeds, each once.
pub(super) fn asked(
    protocol: &str,
    methods: &[(&str, &str)],
    seeds: &[u64],
    options: &Options,
) -> Result<(Vec<(String, String)>, Vec<u64>)> {
    let mut named: Vec<(String, String)> = vec![];
    let names = options.methods.clone().unwrap_or_else(|| methods.iter().map(|m| m.0.to_string()).collect());
    for name in &names {
        let Some((_, title)) = methods.iter().find(|m| m.0 == name) else {
            let all: Vec<&str> = methods.iter().map(|m| m.0).collect();
            return Err(Error::input(format!("{protocol} has no method `{name}`"), suggest(name, all)));
        };
        if named.iter().all(|(known, _)| known != name) {
            named.push((name.clone(), title.to_string()));
        }
    }
    let mut once: Vec<u64> = vec![];
    for seed in options.seeds.as_deref().unwrap_or(seeds) {
        if !once.contains(seed) {
            once.push(*seed);
        }
    }
    Ok((named, once))
}

/// The output folder.
struct Folder(PathBuf);

impl Folder {
    fn results(&self) -> PathBuf {
        self.0.join("results.json")
    }
    fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.h5")
    }
    fn learned(&self, method: &str, seed: u64) -> PathBuf {
        self.0.join(format!("{method}_seed{seed}.h5"))
    }

    /// Take the folder: with the runs that are there when resuming.
    fn begin(&self, mut new: Results, options: &Options) -> Result<Results> {
        let there = self.results().exists();
        if options.resume {
            let old = Results::read(&self.results())?;
            same(&self.results(), &old, &new)?;
            // Runs that are not asked for this time stay; what is asked for comes to what was.
            for method in old.methods {
                if new.methods.iter().all(|m| m.0 != method.0) && old.runs.iter().any(|r| r.method == method.0) {
                    new.methods.push(method);
                }
            }
            new.runs = old.runs;
            return Ok(new);
        }
        let files = new.wanted().into_iter().map(|(seed, method)| self.learned(&method, seed));
        for path in files.chain([self.results(), self.checkpoint()]) {
            output::check_or(&path, options.force, super::AGAIN)?;
        }
        if there && let Ok(old) = Results::read(&self.results()) {
            old.runs.iter().for_each(|run| output::remove(&self.learned(&run.method, run.seed)));
        }
        output::remove(&self.checkpoint());
        self.write(&new)?;
        Ok(new)
    }

    /// results.json, in place of the old one once it is whole.
    fn write(&self, results: &Results) -> Result<()> {
        output::write(&self.results(), results.json(), true)
    }
}

/// Refuse to go on with results of something else.
fn same(path: &Path, old: &Results, new: &Results) -> Result<()> {
    let differs = [
        ("protocol's text", old.protocol != new.protocol),
        ("settings (--set, --quick)", old.settings != new.settings),
        ("data", old.data != new.data),
    ];
    match differs.iter().find(|d| d.1) {
        Some((what, _)) => Err(Error::File {
            path: path.to_path_buf(),
            message: format!("is of another run: the {what} differ"),
            remedy: Some("resume with what it was begun with (seeds and methods may differ), or choose another --out".into()),
        }),
        None => Ok(()),
    }
}
