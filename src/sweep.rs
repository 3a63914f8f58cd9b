//! Runs of one scenario over seeds and values: every combination once, several at a time, each on its own thread. Promises that all
//! combinations are checked before the first runs, that a finished run is known again by what was simulated and not run twice, and
//! that whatever is stopped leaves the finished ones. Knows no display and no drawing.
//!
//! ```text
//! scenario, axes, seeds -> Case (one combination, planned) -> run::run, `jobs` at a time -> Run (statistics) -> Table
//! ```
//! In the folder: `NAME.h5`, the recording of each run (`NAME.part.h5` until it is whole), and `sweep.json`, what came of them.

use crate::engine::Kind;
use crate::error::{Error, Result};
use crate::io::output;
use crate::model::library::Library;
use crate::network::footprint::{self, Estimate};
use crate::record::summary::{PopulationStatistics, Statistics};
use crate::run::{self, Progress};
use crate::scenario::{Plan, Scenario};
use crate::system::cores;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A key of the scenario and the values that it takes in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Dotted path, as `--set` takes it; `variant` stands for the named settings.
    pub key: String,
    /// As they would be written behind `--set KEY=`.
    pub values: Vec<String>,
}

impl std::str::FromStr for Axis {
    type Err = Error;

    /// `key=a,b,c`; commas within brackets, braces and quotes belong to a value.
    fn from_str(text: &str) -> Result<Axis> {
        let wrong = |message: &str| Error::input(format!("--sweep {text}: {message}"), "write --sweep variables.g=4,5,6");
        let (key, rest) = text.split_once('=').ok_or_else(|| wrong("a key and its values are needed"))?;
        let (mut values, mut depth, mut quote) = (vec![String::new()], 0, None);
        for c in rest.chars() {
            match (c, quote) {
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open => quote = None,
                ('[' | '{' | '(', None) => depth += 1,
                (']' | '}' | ')', None) => depth -= 1,
                (',', None) if depth == 0 => {
                    values.push(String::new());
                    continue;
                }
                _ => {}
            }
            values.last_mut().expect("one value at least").push(c);
        }
        let values: Vec<String> = values.iter().map(|v| v.trim().to_string()).collect();
        if key.trim().is_empty() || values.iter().any(String::is_empty) {
            return Err(wrong("a key or a value is empty"));
        }
        if let Some(twice) = values.iter().enumerate().find_map(|(i, v)| values[..i].contains(v).then_some(v)) {
            return Err(wrong(&format!("the value {twice} is given twice")));
        }
        Ok(Axis { key: key.trim().into(), values })
    }
}

/// Seeds as they are written: `1-5`, `1,3,7`, `1-3,10`.
///
/// # Errors
/// What is no list of whole numbers, a seed that is named twice, more than 100,000 seeds.
pub fn seeds(text: &str) -> Result<Vec<u64>> {
    let wrong = |part: &str| Error::input(format!("--seeds {text}: `{part}` is no seed"), "write --seeds 1-5, or 1,3,7");
    let mut seeds: Vec<u64> = vec![];
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |word: &str| word.trim().parse::<u64>().map_err(|_| wrong(part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last - first >= 100_000 {
            return Err(wrong(part));
        }
        for seed in first..=last {
            if seeds.contains(&seed) {
                return Err(Error::input(format!("--seeds {text}: {seed} is named twice"), "name every seed once"));
            }
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

/// What is run: a scenario under every combination of seeds and values.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// A file, or the name of a scenario that is part of the program.
    pub scenario: PathBuf,
    /// Overrides of all runs, as `--set` takes them.
    pub overrides: Vec<String>,
    /// Named settings of all runs.
    pub variant: Option<String>,
    /// What changes from run to run; the last changes fastest.
    pub axes: Vec<Axis>,
    /// None: the scenario's own.
    pub seeds: Vec<u64>,
    /// None: the scenario's own.
    pub engine: Option<Kind>,
}

/// How it is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder for recordings and results; None: nothing is kept.
    pub out: Option<PathBuf>,
    /// Runs at a time, each on one thread; None: as many as there are cores and as fit memory, and one on a GPU.
    pub jobs: Option<usize>,
    /// Runs everything anew, in place of what is there.
    pub force: bool,
}

/// One run of a sweep, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// `g=4.5_seed=1`: how its recording is called.
    pub name: String,
    /// The value of each axis.
    pub values: Vec<String>,
    /// Of every random number.
    pub seed: u64,
    /// SHA-256 of the network and the times that were simulated, and of the engine's kind and this program's version.
    pub identity: String,
    /// The engine in words.
    pub engine: String,
    /// Synapses of the network.
    pub synapses: u64,
    /// Wall seconds of construction and of simulation.
    pub build_s: f64,
    /// Wall seconds of simulation.
    pub simulate_s: f64,
    /// Rates and irregularity by population.
    pub statistics: Statistics,
    /// The recording, within the folder.
    pub recording: Option<String>,
}

/// What came of a sweep.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// What the scenario calls itself.
    pub title: String,
    /// As it was named.
    pub scenario: String,
    /// What changed.
    pub axes: Vec<Axis>,
    /// A run each, for every combination of values.
    pub seeds: Vec<u64>,
    /// Those that finished, in order of the axes and seeds; in `sweep.json` also earlier ones of other values.
    pub runs: Vec<Run>,
    /// How many of them were there already.
    #[serde(skip)]
    pub found: usize,
    /// Stopped before the last.
    #[serde(skip)]
    pub interrupted: bool,
}

/// Told while a sweep runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// So many runs are to be made, so many of them are there already, and so many run at a time.
    Start {
        /// All runs.
        runs: usize,
        /// Finished before.
        found: usize,
        /// At a time.
        jobs: usize,
    },
    /// Runs done, with parts of those that run, of `runs`.
    Progress {
        /// From 0 to `runs`.
        done: f64,
        /// Of these, finished before.
        found: usize,
        /// All runs.
        runs: usize,
    },
    /// A run has ended.
    Done {
        /// What came of it.
        run: &'a Run,
        /// Finished now.
        done: usize,
        /// All runs.
        runs: usize,
    },
}

/// A combination, checked.
struct Case {
    name: String,
    values: Vec<String>,
    seed: u64,
    identity: String,
}

/// Hashes what is formatted.
struct Hash(Sha256);

impl std::fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// What makes two runs the same: everything that is simulated.
fn identity(plan: &Plan, kind: Kind) -> String {
    use std::fmt::Write;
    let mut hash = Hash(Sha256::new());
    let what = (&plan.network, plan.duration, plan.warmup, kind.name(), env!("CARGO_PKG_VERSION"));
    write!(hash, "{what:?}").expect("hashing does not fail");
    hash.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sweep {
    /// The plan of a combination; the seed of None is the scenario's own.
    fn plan(&self, library: &Library, values: &[&str], seed: Option<u64>) -> Result<Plan> {
        let mut overrides = self.overrides.clone();
        let mut variant = self.variant.clone();
        for (axis, value) in self.axes.iter().zip(values) {
            match axis.key.as_str() {
                "variant" => variant = Some(value.to_string()),
                key => overrides.push(format!("{key}={value}")),
            }
        }
        overrides.extend(seed.map(|seed| format!("simulation.seed={seed}")));
        Scenario::load(&self.scenario, &overrides, variant.as_deref())?.on(self.engine).plan(library)
    }

    /// Every combination of values, the last axis fastest.
    fn combinations(&self) -> Vec<Vec<&str>> {
        self.axes.iter().fold(vec![vec![]], |all, axis| {
            all.iter().flat_map(|head| axis.values.iter().map(|v| [&head[..], &[v.as_str()]].concat())).collect()
        })
    }

    /// The last part of each key, or all of it where that is that of another too.
    fn short_keys(&self) -> Vec<&str> {
        let last = |axis: &'_ Axis| axis.key.rfind('.').map_or(0, |i| i + 1);
        let short: Vec<&str> = self.axes.iter().map(|axis| &axis.key[last(axis)..]).collect();
        let alone = |word: &str| word.parse::<u64>().is_err() && short.iter().filter(|s| **s == word).count() == 1;
        self.axes.iter().zip(&short).map(|(axis, short)| if alone(short) { short } else { axis.key.as_str() }).collect()
    }

    fn name(&self, values: &[&str], seed: u64) -> String {
        let clean = |text: &str| {
            let kept = |c: char| c.is_alphanumeric() || ['.', '-', '+'].contains(&c);
            text.chars().map(|c| if kept(c) { c } else { '_' }).collect::<String>()
        };
        let parts = self.short_keys().into_iter().zip(values).map(|(key, value)| format!("{}={}", clean(key), clean(value)));
        parts.chain([format!("seed={seed}")]).collect::<Vec<_>>().join("_")
    }
}

/// Runs every combination of a sweep. `stop` may be set at any time: runs that are not finished are then dropped.
///
/// # Errors
/// A scenario, key, value or seed that is refused; a recording that is there and is not that of this run, without `force`; a folder
/// that cannot be written; a run that fails (those that finished before it stay).
pub fn run(
    sweep: &Sweep,
    library: &Library,
    options: &Options,
    told: &(dyn Fn(Event<'_>) + Sync),
    stop: &AtomicBool,
) -> Result<Table> {
    if let Some((i, axis)) = sweep.axes.iter().enumerate().find(|(i, a)| sweep.axes[..*i].iter().any(|b| b.key == a.key)) {
        return Err(Error::input(format!("`{}` is swept twice", axis.key), format!("drop one of the {} sweeps", i + 1)));
    }
    if !sweep.seeds.is_empty() && sweep.axes.iter().any(|axis| axis.key == "simulation.seed") {
        return Err(Error::input("the seed is swept twice", "drop --sweep simulation.seed or --seeds"));
    }
    let mut table = Table { axes: sweep.axes.clone(), scenario: sweep.scenario.display().to_string(), ..Table::default() };
    let (mut cases, mut most, mut gpu) = (vec![], 0, false);
    for values in sweep.combinations() {
        let seeds: Vec<Option<u64>> = sweep.seeds.iter().copied().map(Some).collect();
        for seed in if seeds.is_empty() { vec![None] } else { seeds } {
            let plan = sweep.plan(library, &values, seed)?;
            let kind = sweep.engine.unwrap_or(plan.engine).resolve(&plan.network)?;
            let estimate = footprint::estimate(&plan.network, 1);
            footprint::check(&estimate)?;
            (most, gpu) = (estimate.peak_bytes.max(most), gpu || kind == Kind::Gpu);
            let seed = plan.network.seed;
            if !table.seeds.contains(&seed) {
                table.seeds.push(seed);
            }
            table.title = plan.title.clone();
            let mut name = sweep.name(&values, seed);
            // Values that differ only in what no file name holds.
            while cases.iter().any(|c: &Case| c.name == name) {
                name += "+";
            }
            let values = values.iter().map(|v| v.to_string()).collect();
            cases.push(Case { name, values, seed, identity: identity(&plan, kind) });
        }
    }
    let mut known = known(&cases, options)?;
    let found: Vec<Option<Run>> = cases.iter().map(|case| known.remove(&case.name)).collect();
    table.found = found.iter().flatten().count();
    let jobs = jobs(options, gpu, most, cases.len() - table.found);
    told(Event::Start { runs: cases.len(), found: table.found, jobs });

    let others: Vec<Run> = known.into_values().collect();
    let results = Mutex::new(found);
    let (next, failed, ended) = (AtomicUsize::new(0), Mutex::new(None), AtomicBool::new(false));
    let parts: Vec<AtomicUsize> = cases.iter().map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) && !ended.load(Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { break };
                    if results.lock().expect("no worker panics")[at].is_some() {
                        continue;
                    }
                    let share = Share { parts: &parts, at, runs: cases.len(), found: table.found, results: &results, told };
                    match one(sweep, library, case, options, &share, stop) {
                        Ok(None) => break,
                        Ok(Some(run)) => {
                            let mut all = results.lock().expect("no worker panics");
                            parts[at].store(0, Ordering::Relaxed);
                            all[at] = Some(run);
                            let kept = || all.iter().flatten().chain(&others).cloned().collect();
                            if let Err(error) = keep(&table, kept, options) {
                                failed.lock().expect("no worker panics").get_or_insert(error);
                                ended.store(true, Ordering::Relaxed);
                            }
                            let done = all.iter().flatten().count();
                            told(Event::Done { run: all[at].as_ref().expect("just put there"), done, runs: cases.len() });
                        }
                        Err(error) => {
                            failed.lock().expect("no worker panics").get_or_insert(error);
                            ended.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().expect("no worker panics") {
        return Err(error);
    }
    table.runs = results.into_inner().expect("no worker panics").into_iter().flatten().collect();
    table.interrupted = table.runs.len() < cases.len();
    Ok(table)
}

/// How many runs at a time.
fn jobs(options: &Options, gpu: bool, most: u64, left: usize) -> usize {
    let mut jobs = options.jobs.unwrap_or(if gpu { 1 } else { cores() }).min(left.max(1)).max(1);
    let fits =
        |jobs: usize| footprint::check(&Estimate { peak_bytes: most.saturating_mul(jobs as u64), ..Default::default() }).is_ok();
    while options.jobs.is_none() && jobs > 1 && !fits(jobs) {
        jobs -= 1;
    }
    jobs
}

/// Where one run stands among all.
struct Share<'a> {
    /// Thousandths of each run.
    parts: &'a [AtomicUsize],
    at: usize,
    runs: usize,
    found: usize,
    results: &'a Mutex<Vec<Option<Run>>>,
    told: &'a (dyn Fn(Event<'_>) + Sync),
}

impl Progress for Share<'_> {
    fn phase(&self, _: &str, _: f64) {}
    fn simulated(&self, now: f64, total: f64, _: f64) {
        self.parts[self.at].store((now / total * 1000.0) as usize, Ordering::Relaxed);
        let whole = self.results.lock().map_or(0, |all| all.iter().flatten().count());
        let parts: usize = self.parts.iter().map(|p| p.load(Ordering::Relaxed)).sum();
        (self.told)(Event::Progress { done: whole as f64 + parts as f64 / 1000.0, found: self.found, runs: self.runs });
    }
}

/// One run; None where it was stopped.
fn one(
    sweep: &Sweep,
    library: &Library,
    case: &Case,
    options: &Options,
    share: &Share<'_>,
    stop: &AtomicBool,
) -> Result<Option<Run>> {
    let values: Vec<&str> = case.values.iter().map(String::as_str).collect();
    let plan = sweep.plan(library, &values, Some(case.seed))?;
    let file = |ending: &str| options.out.as_ref().map(|folder| folder.join(format!("{}{ending}", case.name)));
    let part = file(".part.h5");
    // What an ended program left half written.
    part.iter().for_each(|part| drop(std::fs::remove_file(part)));
    let how = run::Options { engine: sweep.engine, threads: Some(1), out: part.clone(), force: true, ..Default::default() };
    let outcome = run::run(&plan, &how, share, stop);
    let whole = outcome.as_ref().is_ok_and(|outcome| !outcome.interrupted);
    if !whole {
        for rest in [part.clone(), part.as_ref().map(|p| p.with_extension("checkpoint"))].into_iter().flatten() {
            let _ = std::fs::remove_file(rest);
        }
        return outcome.map(|_| None);
    }
    let outcome = outcome?;
    if let (Some(part), Some(end)) = (part, file(".h5")) {
        output::put(&part, &end, true)?;
    }
    Ok(Some(Run {
        name: case.name.clone(),
        values: case.values.clone(),
        seed: case.seed,
        identity: case.identity.clone(),
        engine: outcome.engine,
        synapses: outcome.counters.synapses,
        build_s: outcome.build_s,
        simulate_s: outcome.simulate_s,
        statistics: outcome.statistics,
        recording: options.out.as_ref().map(|_| format!("{}.h5", case.name)),
    }))
}

const RESULTS: &str = "sweep.json";

/// The finished runs in the folder by name: those of this sweep that are the same, and those of other values. What is there and is
/// another run's is refused.
fn known(cases: &[Case], options: &Options) -> Result<BTreeMap<String, Run>> {
    let Some(folder) = &options.out else { return Ok(BTreeMap::new()) };
    std::fs::create_dir_all(folder).map_err(|e| Error::File {
        path: folder.clone(),
        message: format!("the folder of the sweep cannot be made: {e}"),
        remedy: Some("choose another --out".into()),
    })?;
    let path = folder.join(RESULTS);
    let mut known: BTreeMap<String, Run> = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
        Err(e) => return Err(Error::file(&path, e)),
        Ok(text) => match serde_json::from_str::<Table>(&text) {
            Ok(table) => table.runs.into_iter().map(|run| (run.name.clone(), run)).collect(),
            Err(_) if options.force => BTreeMap::new(),
            Err(e) => {
                let message = format!("{} is not what a sweep leaves: {e}", path.display());
                return Err(Error::input(message, "choose another --out, or pass --force to replace it"));
            }
        },
    };
    // A run whose recording is gone is to be made again.
    known.retain(|_, run| run.recording.as_ref().is_some_and(|file| folder.join(file).is_file()));
    for case in cases {
        let same = known.get(&case.name).is_some_and(|run| run.identity == case.identity);
        if same && !options.force {
            continue;
        }
        let file = folder.join(format!("{}.h5", case.name));
        if file.exists() && !options.force {
            let message = format!("{} is there, and is not what this sweep would record under that name", file.display());
            return Err(Error::input(message, "choose another --out, or pass --force to run all anew"));
        }
        known.remove(&case.name);
    }
    Ok(known)
}

/// Writes the results, whole or not at all.
fn keep(table: &Table, runs: impl Fn() -> Vec<Run>, options: &Options) -> Result<()> {
    let Some(folder) = &options.out else { return Ok(()) };
    let all = Table { runs: runs(), ..table.clone() };
    output::write(&folder.join(RESULTS), serde_json::to_string_pretty(&all).unwrap_or_default() + "\n", true)
}

/// Mean and standard deviation (that of a sample, n - 1) over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// None for one value.
    pub sd: Option<f64>,
}

/// What is told of a population: name, unit, and how it is read.
pub type Quantity = (&'static str, &'static str, fn(&PopulationStatistics) -> Option<f64>);

/// What a sweep tells of every population.
pub const QUANTITIES: [Quantity; 4] = [
    ("rate", "Hz", |p| Some(p.rate)),
    ("CV ISI", "", |p| p.cv_isi),
    ("correlation", "", |p| p.correlation),
    ("synchrony", "", |p| p.synchrony),
];

impl Table {
    /// The combinations of values that have finished runs, in order, each with its runs.
    pub fn points(&self) -> Vec<(&[String], Vec<&Run>)> {
        let mut points: Vec<(&[String], Vec<&Run>)> = vec![];
        for run in &self.runs {
            match points.iter_mut().find(|(values, _)| *values == run.values) {
                Some((_, runs)) => runs.push(run),
                None => points.push((&run.values, vec![run])),
            }
        }
        points
    }

    /// The populations of all runs, by name.
    pub fn populations(&self) -> Vec<&str> {
        let mut names: Vec<&str> = vec![];
        for name in self.runs.iter().flat_map(|run| &run.statistics.populations).filter(|p| p.n > 0).map(|p| p.name.as_str()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// A row for every combination of values and population, over seeds: header first.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let head = self.axes.iter().map(|a| a.key.clone()).chain(["population".into(), "seeds".into()]);
        let title = |(name, unit, _): &Quantity| if unit.is_empty() { name.to_string() } else { format!("{name} ({unit})") };
        let mut rows = vec![head.chain(QUANTITIES.iter().map(title)).collect::<Vec<_>>()];
        for (values, runs) in self.points() {
            for name in self.populations() {
                let of: Vec<&PopulationStatistics> = population(&runs, name).collect();
                if of.is_empty() {
                    continue;
                }
                let mut row: Vec<String> = values.iter().cloned().chain([name.into(), of.len().to_string()]).collect();
                row.extend(QUANTITIES.iter().map(|(_, _, read)| {
                    spread(of.iter().filter_map(|p| read(p))).map_or("-".into(), |s| match s.sd {
                        Some(sd) => format!("{:.3} ± {sd:.3}", s.mean),
                        None => format!("{:.3}", s.mean),
                    })
                }));
                rows.push(row);
            }
        }
        rows
    }

    /// The rows as a Markdown table.
    pub fn markdown(&self) -> String {
        let rows = self.rows();
        let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells =
                row.iter().zip(&widths).map(|(cell, width)| format!("{}{cell}", " ".repeat(width - cell.chars().count())));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = widths.iter().map(|width| format!("{}:", "-".repeat(width + 1))).collect::<Vec<_>>().join("|");
        format!("{}|{rule}|\n{}", line(&rows[0]), rows[1..].iter().map(line).collect::<String>())
    }

    /// A line for every run and population, as CSV.
    pub fn csv(&self) -> String {
        let quoted = |text: &str| match text.contains([',', '"', '\n']) {
            true => format!("\"{}\"", text.replace('"', "\"\"")),
            false => text.to_string(),
        };
        let head = self.axes.iter().map(|a| quoted(&a.key)).collect::<Vec<_>>();
        let mut text = format!(
            "{},recording\n",
            head.into_iter()
                .chain(["seed,population,n,spikes,rate_hz,rate_sd_hz,cv_isi,correlation,synchrony,simulate_s".into()])
                .collect::<Vec<_>>()
                .join(",")
        );
        for run in &self.runs {
            for p in run.statistics.populations.iter().filter(|p| p.n > 0) {
                let some = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
                let values = run.values.iter().map(|v| quoted(v));
                let own = [
                    run.seed.to_string(),
                    quoted(&p.name),
                    p.n.to_string(),
                    p.spikes.to_string(),
                    p.rate.to_string(),
                    p.rate_sd.to_string(),
                    some(p.cv_isi),
                    some(p.correlation),
                    some(p.synchrony),
                    run.simulate_s.to_string(),
                    quoted(run.recording.as_deref().unwrap_or("")),
                ];
                text += &(values.chain(own).collect::<Vec<_>>().join(",") + "\n");
            }
        }
        text
    }

    /// Writes the lines of [`Table::csv`] as `sweep.csv` into a folder, in place of earlier ones. Gives the file.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write_csv(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("sweep.csv");
        output::write(&path, self.csv(), true)?;
        Ok(path)
    }
}

/// The statistics of one population in runs.
pub fn population<'a>(runs: &'a [&'a Run], name: &'a str) -> impl Iterator<Item = &'a PopulationStatistics> {
    runs.iter().filter_map(move |run| run.statistics.populations.iter().find(|p| p.name == name && p.n > 0))
}

/// None of no values.
pub fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let values: Vec<f64> = values.collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (!values.is_empty()).then(|| Spread { mean, sd: (values.len() > 1).then(|| variance.sqrt()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_and_seeds_as_they_are_written() {
        let axis: Axis = "populations.E.params={ a = 1, b = 2 },\"x, y\", [1,2] ".parse().unwrap();
        assert_eq!(axis.key, "populations.E.params");
        assert_eq!(axis.values, ["{ a = 1, b = 2 }", "\"x, y\"", "[1,2]"]);
        assert_eq!(seeds("1-3,10").unwrap(), [1, 2, 3, 10]);
        for wrong in ["", "3-1", "1,1", "1-", "x", "1-9999999"] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
        for wrong in ["g", "g=", "g=1,,2", "=1", "g=1,1"] {
            assert!(wrong.parse::<Axis>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn runs_have_telling_names() {
        let axes = ["variables.g=4.5", "a.n=10 s", "b.n=1", "projections.0=x"].map(|a| a.parse().unwrap()).to_vec();
        let sweep = Sweep { axes, ..Default::default() };
        assert_eq!(sweep.name(&["4.5", "10 s", "1", "x"], 3), "g=4.5_a.n=10_s_b.n=1_projections.0=x_seed=3");
        assert_eq!(sweep.combinations(), [["4.5", "10 s", "1", "x"]]);
    }

    #[test]
    fn spreads_over_seeds() {
        assert_eq!(spread([2.0, 4.0].into_iter()), Some(Spread { mean: 3.0, sd: Some(2f64.sqrt()) }));
        assert_eq!(spread([2.0].into_iter()), Some(Spread { mean: 2.0, sd: None }));
        assert_eq!(spread([].into_iter()), None);
    }
}
