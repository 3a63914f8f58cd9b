//! All runs of a protocol, one after the other, with a folder for what comes out: results.json (every finished run), a file
//! METHOD_seedN.h5 a run with what was learned as named arrays, checkpoint.h5 of the run under way. Promises that each file is
//! whole whenever the process ends, and that a resumed protocol gives what an uninterrupted one gives. Knows files; no drawing.

use super::data::Data;
use super::results::{Results, Run, Source};
use super::train::{Pause, Trainer};
use super::{Event, Method, Protocol};
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

/// Run a protocol. `tell` hears progress; when `stop` becomes true the run ends after the batch under way, saved.
/// The results are complete unless it was stopped.
///
/// # Errors
/// Data that are absent or do not fit, unknown methods, an output that exists (without `force` or `resume`) or is of another
/// protocol; a weight that is not a number any more: the last checkpoint then stands.
pub fn run(protocol: &Protocol, options: &Options, tell: &mut dyn FnMut(Event), stop: &AtomicBool) -> Result<Results> {
    let methods = chosen(protocol, options)?;
    let against = protocol.uncertainty.as_ref().map_or(&[][..], |u| &u.against);
    let data = Data::load(&protocol.data, against, &options.data, &protocol.sizes)?;
    for (name, _) in data.outside.iter().filter(|o| o.1.is_none()) {
        tell(Event::Note(&format!("the data set {name} was not found: no uncertainty is measured against it")));
    }
    let folder = Folder(options.out.clone());
    let mut results = folder.begin(empty(protocol, options, &methods, &data), options)?;
    let wanted = results.wanted();
    for (run, (seed, name)) in wanted.iter().enumerate() {
        let Some(method) = methods.iter().find(|m| m.name == *name).filter(|_| !results.has(*seed, name)) else { continue };
        let at = At { run, runs: wanted.len(), index: protocol.methods.iter().position(|m| m.name == *name).unwrap_or(0) };
        let Some(trainer) = train(protocol, &data, method, *seed, &folder, options.resume, at, tell, stop)? else {
            return Ok(results);
        };
        trainer.state().save(folder.learned(name, *seed))?;
        results.runs.push(rounded(trainer.run()?));
        results.complete = wanted.iter().all(|(seed, name)| results.has(*seed, name));
        folder.write(&results)?;
        output::remove(&folder.checkpoint());
    }
    results.complete = wanted.iter().all(|(seed, name)| results.has(*seed, name));
    folder.write(&results)?;
    Ok(results)
}

/// Where in the protocol a run stands; `index` is the method's in the file.
#[derive(Clone, Copy)]
struct At {
    run: usize,
    runs: usize,
    index: usize,
}

/// One run to its end; none where it was stopped.
#[allow(clippy::too_many_arguments)]
fn train<'a>(
    protocol: &'a Protocol,
    data: &'a Data,
    method: &'a Method,
    seed: u64,
    folder: &Folder,
    resume: bool,
    At { run, runs, index }: At,
    tell: &mut dyn FnMut(Event),
    stop: &AtomicBool,
) -> Result<Option<Trainer<'a>>> {
    let own = [index as u64, seed];
    let mut trainer = Trainer::new(protocol, data, method, seed)?;
    if resume && folder.checkpoint().exists() {
        let state = State::load(folder.checkpoint())?;
        if state.get::<u64>("run", 2)? == own {
            trainer.restore(&state)?;
        }
    }
    let save = |trainer: &Trainer| {
        let mut state = trainer.state();
        state.put("run", &[2], &own);
        state.save(folder.checkpoint())
    };
    let (mut saved, mut told) = (Instant::now(), Instant::now() - TELL);
    while !trainer.finished() {
        let pause = trainer.advance(&mut |trainer| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                tell(Event::Trained {
                    run,
                    runs,
                    method: &method.name,
                    seed,
                    task: trainer.phase(),
                    tasks: trainer.phases(),
                    done: trainer.done(),
                    accuracy: trainer.accuracy(),
                });
            }
            stop.load(Ordering::Relaxed) || saved.elapsed() >= EVERY
        })?;
        if pause == Pause::Task {
            let (row, reports) = (trainer.rows.last().map_or(&[][..], |row| row), trainer.reports());
            let (task, tasks) = (trainer.phase() - 1, trainer.phases());
            tell(Event::Task { method: &method.name, seed, task, tasks, row, reports: &reports });
        }
        save(&trainer)?;
        saved = Instant::now();
        if stop.load(Ordering::Relaxed) && !trainer.finished() {
            return Ok(None);
        }
    }
    Ok(Some(trainer))
}

/// So that numbers read from the JSON are those written to it.
fn rounded(mut run: Run) -> Run {
    let round = |x: &mut f64| *x = (*x * 1e9).round() / 1e9;
    run.matrix.iter_mut().flatten().chain(&mut run.learning).for_each(round);
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

fn chosen(protocol: &Protocol, options: &Options) -> Result<Vec<Method>> {
    let Some(names) = &options.methods else { return Ok(protocol.methods.clone()) };
    let find = |name: &String| {
        protocol.methods.iter().find(|m| m.name == *name).cloned().ok_or_else(|| {
            let all: Vec<&str> = protocol.methods.iter().map(|m| m.name.as_str()).collect();
            Error::input(format!("{} has no method `{name}`", protocol.name), suggest(name, all))
        })
    };
    names.iter().map(find).collect()
}

fn empty(protocol: &Protocol, options: &Options, methods: &[Method], data: &Data) -> Results {
    let mut seeds = options.seeds.clone().unwrap_or(protocol.seeds.clone());
    let mut seen = vec![];
    seeds.retain(|seed| {
        !seen.contains(seed) && {
            seen.push(*seed);
            true
        }
    });
    let mut named: Vec<(String, String)> = vec![];
    for method in methods {
        if named.iter().all(|(name, _)| *name != method.name) {
            named.push((method.name.clone(), method.title.clone()));
        }
    }
    Results {
        title: protocol.title.clone(),
        citation: protocol.citation.clone(),
        kind: protocol.tasks.name().into(),
        tasks: protocol.tasks.count(),
        sizes: protocol.network.sizes.clone(),
        data: Source {
            set: protocol.data.set.clone(),
            train: data.train.labels.len(),
            test: data.test.labels.len(),
            checksum: data.checksum(),
        },
        methods: named,
        seeds,
        complete: false,
        runs: vec![],
        version: env!("CARGO_PKG_VERSION").into(),
        threads: rayon::current_num_threads(),
        file: protocol.name.clone(),
        settings: protocol.settings.clone(),
        protocol: protocol.text.to_string(),
    }
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
