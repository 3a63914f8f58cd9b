//! The run loop: a resolved plan to results. Promises that everything that can be refused is refused before anything is built
//! or written, that Ctrl-C and `--checkpoint-every` leave a state from which the run goes on bit for bit, and bounded memory.

use crate::engine::cpu::CpuEngine;
use crate::engine::event::EventEngine;
use crate::engine::{Counters, Engine, Sink, Snapshot, Spike};
use crate::error::{Error, Result};
use crate::network::rules::Rows;
use crate::network::{HomeostasisKind, Network, memory, table};
use crate::record::recorder::check_free;
use crate::record::summary::{Statistics, Summary, Tee};
use crate::record::{Recorder, RunInfo, checkpoint};
use crate::scenario::Plan;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Neurons from which `auto` prefers a real GPU: below, one step is shorter than a GPU's latency.
const GPU_WORTHWHILE: u32 = 20_000;
/// Below so many neurons a thread, meeting at the barrier costs more than the work saved.
const NEURONS_A_THREAD: usize = 2_000;
/// Wall time of one slice of simulation between looks at the clock, the progress bar and Ctrl-C.
const SLICE: Duration = Duration::from_millis(150);

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Overrides the scenario's choice: "auto", "cpu", "gpu", "event".
    pub engine: Option<String>,
    pub threads: Option<usize>,
    pub device: Option<String>,
    /// Whose the accumulators are on a GPU: "chosen" (what should pay), "shared", or the number of neurons that a workgroup owns.
    pub accumulators: Option<String>,
    pub out: Option<PathBuf>,
    pub force: bool,
    /// ms of model time between checkpoints.
    pub checkpoint_every: Option<f64>,
    /// Where checkpoints go; beside the output when absent.
    pub checkpoint: Option<PathBuf>,
    pub resume: Option<PathBuf>,
}

/// Told about what goes on; every method may do nothing.
pub trait Progress: Sync {
    /// A phase before the simulation ("connect", "tables"), `done` in 0..=1.
    fn phase(&self, name: &str, done: f64);
    /// Model time `now` of `total` ms; wall seconds per model second so far.
    fn simulated(&self, now: f64, total: f64, real_time_factor: f64);
}

/// No display.
pub struct Silent;
impl Progress for Silent {
    fn phase(&self, _: &str, _: f64) {}
    fn simulated(&self, _: f64, _: f64, _: f64) {}
}

#[derive(Clone, Debug)]
pub struct Outcome {
    pub engine: String,
    pub statistics: Statistics,
    pub counters: Counters,
    /// Wall seconds of construction and of simulation.
    pub build_s: f64,
    pub simulate_s: f64,
    /// Processor seconds of simulation, all threads together (None where the system does not tell).
    pub cpu_s: Option<f64>,
    /// The same after the warm-up.
    pub cpu_counted_s: Option<f64>,
    /// ms simulated in this call.
    pub simulated: f64,
    pub out: Option<PathBuf>,
    pub checkpoint: Option<PathBuf>,
    /// The run was stopped before its end.
    pub interrupted: bool,
}

impl Outcome {
    /// Wall time over model time.
    pub fn real_time_factor(&self) -> f64 {
        if self.simulated > 0.0 { self.simulate_s * 1e3 / self.simulated } else { 0.0 }
    }
}

/// Run a plan. `stop` may be set at any time (by Ctrl-C): the run then ends after the current slice with a checkpoint, if it
/// has a place for one.
pub fn run(plan: &Plan, options: &Options, progress: &dyn Progress, stop: &AtomicBool) -> Result<Outcome> {
    let net = Arc::new(plan.network.clone());
    let threads = threads(plan, options)?;
    let kind = choose_engine(plan, options, &net)?;
    let resumed = options.resume.as_deref().map(|path| checkpoint::read(path, &net)).transpose()?;
    if let Some((info, _)) = &resumed
        && info.engine.starts_with("event") != (kind == "event")
    {
        return Err(Error::input(
            format!("the checkpoint was written by the engine `{}`: exact times and a grid do not mix", info.engine),
            if kind == "event" { "resume it with --engine cpu or gpu" } else { "resume it with --engine event" },
        ));
    }
    if let Some((info, _)) = &resumed
        && info.seed != net.seed
    {
        return Err(Error::input(
            format!("the checkpoint is of the network of seed {}, this one is of seed {}", info.seed, net.seed),
            "plan the network with the checkpoint's seed; a branch changes the seed of the stimuli only",
        ));
    }
    let checkpoint_path = options.checkpoint.clone().or_else(|| options.out.as_ref().map(|o| o.with_extension("checkpoint")));
    refuse_overwriting(plan, options, checkpoint_path.as_deref())?;
    if let Some(out) = &options.out {
        refuse_existing(out, options)?;
    }
    if options.checkpoint_every.is_some() && checkpoint_path.is_none() {
        return Err(Error::input("--checkpoint-every has nowhere to write", "give --out FILE or --checkpoint FILE"));
    }
    if let Some(path) = checkpoint_path.as_deref()
        && path.exists()
        && !options.force
        && options.resume.as_deref() != Some(path)
    {
        return Err(Error::input(
            format!("the checkpoint {} exists", path.display()),
            "go on from it with --resume, name another with --checkpoint, or pass --force to replace it",
        ));
    }
    let blocks = if kind == "cpu" { threads } else { 1 };
    memory::check(&memory::estimate(&net, blocks))?;

    let started = Instant::now();
    let mut engine = engine(&net, kind, blocks, options, progress)?;
    let build_s = started.elapsed().as_secs_f64();
    let mut from = 0;
    if let Some((_, snapshot)) = &resumed {
        engine.restore(snapshot)?;
        from = snapshot.step;
    }
    let mut balance = Balance::new(&net, engine.as_mut(), resumed.as_ref().map(|(_, snapshot)| snapshot))?;

    let steps = |ms: f64| (ms / net.dt).round() as u64;
    let end = steps(plan.warmup + plan.duration);
    if from >= end && resumed.is_some() {
        return Err(Error::input(
            format!("the checkpoint is at {:.1} ms, the run ends at {:.1} ms", from as f64 * net.dt, end as f64 * net.dt),
            "lengthen simulation.duration (--set simulation.duration=...)",
        ));
    }
    let info = RunInfo {
        title: plan.title.clone(),
        scenario_path: plan.path.clone(),
        scenario_text: plan.text.to_string(),
        overrides: plan.overrides.clone(),
        seed: net.seed,
        stimulus_seed: net.stimulus_seed,
        engine: engine.describe(),
        threads,
        duration: plan.duration,
        warmup: plan.warmup,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    let mut summary = Summary::new(&net, plan.warmup.max(from as f64 * net.dt), plan.warmup + plan.duration);
    let mut recorder = match &options.out {
        None => None,
        Some(out) if resumed.is_some() && out.exists() && !options.force => {
            Some(Recorder::resume(out, &net, &info, from as f64 * net.dt)?)
        }
        Some(out) => {
            let mut recorder = Recorder::create(out, &net, &info, options.force)?;
            if from > 0 {
                recorder.start_at(from as f64 * net.dt)?;
            }
            Some(recorder)
        }
    };

    let every = options.checkpoint_every.map(|ms| steps(ms).max(1));
    let mut weights = WeightSchedule::new(&net, from);
    let (mut now, mut wall, mut slice) = (from, 0.0, steps(1.0).max(1));
    let (mut cpu, mut cpu_counted) = (Some(0.0), Some(0.0));
    let warm = steps(plan.warmup);
    let mut saved = None;
    if from == 0 {
        weights.due(&net, 0, engine.as_mut(), recorder.as_mut())?;
    }
    while now < end && !stop.load(Ordering::Relaxed) {
        let mut until = (now + slice).min(end).min(weights.next()).min(balance.next());
        if let Some(every) = every {
            until = until.min((now / every + 1) * every);
        }
        if now < warm {
            until = until.min(warm);
        }
        let (clock, cpu_before) = (Instant::now(), cpu_seconds());
        match &mut recorder {
            Some(recorder) => engine.advance(until - now, &mut Tee(&mut [recorder, &mut summary, &mut balance]))?,
            None => engine.advance(until - now, &mut Tee(&mut [&mut summary, &mut balance]))?,
        }
        let took = clock.elapsed();
        wall += took.as_secs_f64();
        let used = cpu_before.zip(cpu_seconds()).map(|(before, after)| after - before);
        cpu = cpu.zip(used).map(|(sum, used)| sum + used);
        if now >= warm {
            cpu_counted = cpu_counted.zip(used).map(|(sum, used)| sum + used);
        }
        slice = next_slice(until - now, took);
        now = until;
        if let Some(recorder) = &mut recorder {
            recorder.progress(now as f64 * net.dt)?;
        }
        balance.due(&net, now, engine.as_mut())?;
        weights.due(&net, now, engine.as_mut(), recorder.as_mut())?;
        if every.is_some_and(|every| now % every == 0) && now < end {
            saved = Some(save(engine.as_mut(), &balance, recorder.as_mut(), checkpoint_path.as_deref(), &net, &info)?);
        }
        let rtf = wall * 1e3 / ((now - from) as f64 * net.dt);
        progress.simulated(now as f64 * net.dt, end as f64 * net.dt, rtf);
    }
    let interrupted = now < end;
    if (interrupted || every.is_some()) && checkpoint_path.is_some() {
        saved = Some(save(engine.as_mut(), &balance, recorder.as_mut(), checkpoint_path.as_deref(), &net, &info)?);
    }
    if !interrupted {
        weights.last(&net, now, engine.as_mut(), recorder.as_mut())?;
    }
    let counters = engine.counters();
    if let Some(recorder) = recorder {
        recorder.finish(!interrupted, &counters, wall)?;
    }
    Ok(Outcome {
        engine: info.engine,
        statistics: summary.finish_at(now as f64 * net.dt),
        counters,
        build_s,
        simulate_s: wall,
        cpu_s: cpu,
        cpu_counted_s: cpu_counted,
        simulated: (now - from) as f64 * net.dt,
        out: options.out.clone(),
        checkpoint: saved,
        interrupted,
    })
}

/// Bytes of the largest resident set of this process so far (None where the system does not tell).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Lets `peak_memory` start anew from what is in use now, where the system can do that.
pub(crate) fn reset_peak_memory() {
    if cfg!(target_os = "linux") {
        // Without permission the peak stays that of the whole process, which is said wherever it is told.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }
}

/// Processor time this process has used, all threads together.
pub(crate) fn cpu_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the call writes to the given structure and nothing else.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
        (failed == 0).then(|| time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
    }
    #[cfg(not(unix))]
    None
}

/// Steps of the next slice, so that it takes about [`SLICE`].
fn next_slice(steps: u64, took: Duration) -> u64 {
    let ratio = SLICE.as_secs_f64() / took.as_secs_f64().max(1e-6);
    ((steps as f64 * ratio.clamp(0.25, 4.0)) as u64).max(1)
}

/// Threads that this machine runs at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

fn threads(plan: &Plan, options: &Options) -> Result<usize> {
    let useful = cores().min(plan.network.neurons() as usize / NEURONS_A_THREAD).max(1);
    match options.threads.or(plan.threads).unwrap_or(useful) {
        0 => {
            Err(Error::input("0 threads cannot simulate anything", "give --threads 1 or more, or leave it out to use every core"))
        }
        n if n > 1024 => Err(Error::input(format!("{n} threads are more than any machine has"), "give at most 1024")),
        n => Ok(n.min(plan.network.neurons().max(1) as usize)),
    }
}

/// The engine's name: "cpu", "gpu" or "event".
fn choose_engine(plan: &Plan, options: &Options, net: &Network) -> Result<&'static str> {
    match options.engine.as_deref().unwrap_or(&plan.engine) {
        "cpu" => Ok("cpu"),
        "event" => Ok("event"),
        "gpu" if cfg!(feature = "gpu") => Ok("gpu"),
        "gpu" => Err(Error::input(
            "this binary was built without the gpu engine",
            "build with the default features, or use --engine cpu",
        )),
        "auto" if net.neurons() >= GPU_WORTHWHILE && real_gpu() => Ok("gpu"),
        "auto" => Ok("cpu"),
        other => {
            let hint = crate::error::nearest(other, ["auto", "cpu", "gpu", "event"])
                .map_or(String::new(), |n| format!("did you mean `{n}`? "));
            Err(Error::input(format!("unknown engine `{other}`"), format!("{hint}choose auto, cpu, gpu or event")))
        }
    }
}

#[cfg(feature = "gpu")]
pub(crate) fn real_gpu() -> bool {
    crate::engine::gpu::devices().iter().any(|d| d.real && d.usable.is_ok())
}
#[cfg(not(feature = "gpu"))]
pub(crate) fn real_gpu() -> bool {
    false
}

/// Connect the network and set up the engine `kind` ("cpu", "gpu", "event"); `blocks` is the number of threads on the CPU.
pub fn engine(
    net: &Arc<Network>,
    kind: &str,
    blocks: usize,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Box<dyn Engine>> {
    if kind == "event" {
        return Ok(Box::new(EventEngine::new(net, &|done| progress.phase("connect", done))?));
    }
    let rows = Arc::new(Rows::prepare(net, &|done| progress.phase("connect", done))?);
    let tables = table::build(net, &rows, blocks, &|done| progress.phase("synapse tables", done))?;
    match kind {
        #[cfg(feature = "gpu")]
        "gpu" => {
            use crate::engine::gpu::{GpuEngine, GpuOptions};
            let accumulators = options.accumulators.as_deref().map_or(Ok(Default::default()), str::parse)?;
            let options = GpuOptions { device: options.device.clone(), accumulators, ..Default::default() };
            Ok(Box::new(GpuEngine::new(net.clone(), rows, tables, options)?))
        }
        _ => {
            let _ = options;
            Ok(Box::new(CpuEngine::new(net.clone(), rows, tables)?))
        }
    }
}

/// A file that this run reads, or writes for another purpose, is never its output, whatever `force` says.
fn refuse_overwriting(plan: &Plan, options: &Options, checkpoint: Option<&Path>) -> Result<()> {
    let same = |a: &Path, b: &Path| a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    let scenario = Path::new(&plan.path);
    let (out, resume) = (options.out.as_deref(), options.resume.as_deref());
    let pairs = [
        (out, checkpoint, "the recording and the checkpoint"),
        (out, resume, "the recording and the checkpoint to resume from"),
        (out, Some(scenario), "the recording and the scenario"),
        (checkpoint, Some(scenario), "the checkpoint and the scenario"),
    ];
    for (a, b, what) in pairs {
        if let (Some(a), Some(b)) = (a, b)
            && same(a, b)
        {
            return Err(Error::input(format!("{what} would be one file, {}", a.display()), "give them different names"));
        }
    }
    Ok(())
}

fn refuse_existing(out: &Path, options: &Options) -> Result<()> {
    if let Some(folder) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::File {
            path: folder.to_path_buf(),
            message: format!("the folder of the output cannot be made: {e}"),
            remedy: Some("choose another --out".into()),
        })?;
    }
    check_free(out, options.force || options.resume.is_some())
}

fn save(
    engine: &mut dyn Engine,
    balance: &Balance,
    recorder: Option<&mut Recorder>,
    path: Option<&Path>,
    net: &Network,
    info: &RunInfo,
) -> Result<PathBuf> {
    let path = path.expect("checked before the run");
    if let Some(recorder) = recorder {
        recorder.flush()?;
    }
    let mut snapshot = engine.snapshot()?;
    balance.store(&mut snapshot);
    checkpoint::write(path, net, info, &snapshot)?;
    Ok(path.to_path_buf())
}

/// Homeostasis: when it is due, and the spikes of the targets since it last was.
struct Balance {
    /// For each of `Network::homeostasis`: steps between, next stamp, ids of the target population, spikes of each since the last time.
    entries: Vec<(u64, u64, Range<u32>, Vec<u64>)>,
}

/// Spikes counted so far, in a checkpoint.
const BALANCE: &str = "homeostasis";

impl Balance {
    /// Refuses what the engine cannot do before anything is simulated.
    fn new(net: &Network, engine: &mut dyn Engine, resumed: Option<&Snapshot>) -> Result<Self> {
        let from = resumed.map_or(0, |s| s.step);
        let mut entries = vec![];
        for homeostasis in &net.homeostasis {
            engine.scale_weights(homeostasis.projection, &|_, _| 1.0)?;
            let every = ((homeostasis.every / net.dt).round() as u64).max(1);
            let target = &net.populations[net.projections[homeostasis.projection].target];
            let counts = vec![0; target.n as usize];
            entries.push((every, (from / every + 1) * every, target.first..target.first + target.n, counts));
        }
        let mut balance = Balance { entries };
        if let Some(snapshot) = resumed.filter(|_| !net.homeostasis.is_empty()) {
            let stored = snapshot.extra(BALANCE).unwrap_or_default();
            if stored.len() != balance.entries.iter().map(|e| e.3.len()).sum::<usize>() {
                return Err(Error::input(
                    "the checkpoint does not hold the spike counts that [[homeostasis]] needs",
                    "resume with the scenario that wrote it",
                ));
            }
            balance.entries.iter_mut().flat_map(|e| &mut e.3).zip(stored).for_each(|(count, word)| *count = *word);
        }
        Ok(balance)
    }

    fn next(&self) -> u64 {
        self.entries.iter().map(|e| e.1).min().unwrap_or(u64::MAX)
    }

    fn due(&mut self, net: &Network, now: u64, engine: &mut dyn Engine) -> Result<()> {
        for (homeostasis, (every, next, _, counts)) in net.homeostasis.iter().zip(&mut self.entries) {
            if *next != now {
                continue;
            }
            let seconds = *every as f64 * net.dt / 1e3;
            let factor = |target: u32, sum: f64| match homeostasis.kind {
                HomeostasisKind::Normalise { sum: _ } if sum == 0.0 => 1.0,
                HomeostasisKind::Normalise { sum: wanted } => wanted / sum,
                HomeostasisKind::Scaling { target: wanted, gain } => {
                    (1.0 + gain * (wanted - counts[target as usize] as f64 / seconds)).max(0.0)
                }
            };
            engine.scale_weights(homeostasis.projection, &factor)?;
            *next += *every;
            counts.fill(0);
        }
        Ok(())
    }

    fn store(&self, snapshot: &mut Snapshot) {
        if !self.entries.is_empty() {
            snapshot.extra.push((BALANCE.into(), self.entries.iter().flat_map(|e| e.3.iter().copied()).collect()));
        }
    }
}

impl Sink for Balance {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        for (_, _, ids, counts) in &mut self.entries {
            spikes.iter().filter(|s| ids.contains(&s.id)).for_each(|s| counts[(s.id - ids.start) as usize] += 1);
        }
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

/// When the weights of which projection are due to be recorded.
struct WeightSchedule {
    /// (projection, steps between readings; None: start and end only, next stamp)
    entries: Vec<(usize, Option<u64>, u64)>,
}

impl WeightSchedule {
    fn new(net: &Network, from: u64) -> Self {
        let entries = net.probes.iter().filter_map(|probe| match probe {
            crate::network::Probe::Weights { projection, interval } => {
                let every = interval.map(|ms| ((ms / net.dt).round() as u64).max(1));
                let next = if from == 0 { 0 } else { every.map_or(u64::MAX, |every| (from / every + 1) * every) };
                Some((*projection, every, next))
            }
            _ => None,
        });
        WeightSchedule { entries: entries.collect() }
    }

    fn next(&self) -> u64 {
        self.entries.iter().map(|e| e.2).min().unwrap_or(u64::MAX)
    }

    fn due(&mut self, net: &Network, now: u64, engine: &mut dyn Engine, recorder: Option<&mut Recorder>) -> Result<()> {
        let Some(recorder) = recorder else {
            self.entries.clear();
            return Ok(());
        };
        for (projection, every, next) in self.entries.iter_mut().filter(|e| e.2 == now) {
            recorder.weights(*projection, now as f64 * net.dt, &engine.weights(*projection)?)?;
            *next = every.map_or(u64::MAX, |every| now + every);
        }
        Ok(())
    }

    /// The final reading of the projections that had none just now.
    fn last(&mut self, net: &Network, now: u64, engine: &mut dyn Engine, mut recorder: Option<&mut Recorder>) -> Result<()> {
        for entry in &mut self.entries {
            if entry.1.is_none_or(|every| now % every != 0) {
                entry.2 = now;
            }
        }
        self.due(net, now, engine, recorder.as_deref_mut())
    }
}
