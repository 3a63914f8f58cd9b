//! The run loop: a resolved plan to results. Promises that everything that can be refused is refused before anything is built
//! or written, that Ctrl-C and `--checkpoint-every` leave a state from which the run goes on bit for bit, and bounded memory.

use crate::engine::open::{self, Kind, open};
use crate::engine::{Counters, Engine, Snapshot};
use crate::error::{Error, Result};
use crate::io::output;
use crate::network::Network;
use crate::network::inputs::steps_between;
use crate::record::summary::{Statistics, Summary, Tee};
use crate::record::{Recorder, RunInfo, checkpoint};
use crate::scenario::Plan;
use crate::system::cpu_seconds;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Wall time of one slice of simulation between looks at the clock, the progress bar and Ctrl-C.
const SLICE: Duration = Duration::from_millis(150);

/// What a run takes beside its plan; everything may be left out.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Overrides the scenario's choice.
    pub engine: Option<Kind>,
    /// Threads of the cpu engine; None: the scenario's choice, else as many as pay.
    pub threads: Option<usize>,
    /// GPU by index or part of its name; None: the best there is.
    pub device: Option<String>,
    /// Who owns the accumulators on a GPU, as [`open::Options`] takes it.
    pub accumulators: Option<String>,
    /// HDF5 file of the recording; None: nothing is recorded.
    pub out: Option<PathBuf>,
    /// Whether to replace a recording and a checkpoint that are there.
    pub force: bool,
    /// ms of model time between checkpoints.
    pub checkpoint_every: Option<f64>,
    /// Where checkpoints go; beside the output when absent.
    pub checkpoint: Option<PathBuf>,
    /// Checkpoint to go on from.
    pub resume: Option<PathBuf>,
    /// The command line, for the recording.
    pub command: String,
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

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Engine and device in words.
    pub engine: String,
    /// Rates, irregularity, correlation and synchrony of every population.
    pub statistics: Statistics,
    /// What the engine did.
    pub counters: Counters,
    /// Wall seconds of construction and of simulation.
    pub build_s: f64,
    /// Wall seconds of simulation.
    pub simulate_s: f64,
    /// Processor seconds of simulation, all threads together (None where the system does not tell).
    pub cpu_s: Option<f64>,
    /// The same after the warm-up.
    pub cpu_counted_s: Option<f64>,
    /// ms simulated in this call.
    pub simulated: f64,
    /// The recording, where one was asked for.
    pub out: Option<PathBuf>,
    /// The checkpoint that was written last, if any was.
    pub checkpoint: Option<PathBuf>,
    /// The run was stopped before its end.
    pub interrupted: bool,
}

impl Outcome {
    /// Wall time over model time.
    pub fn real_time_factor(&self) -> f64 {
        if self.simulated > 0.0 { self.simulate_s * 1e3 / self.simulated } else { 0.0 }
    }

    /// Everything that there is to say about this run of a plan, as one JSON object.
    pub fn summary(&self, plan: &Plan) -> serde_json::Value {
        let published: Vec<_> = plan
            .published
            .iter()
            .map(|p| json!({"source": p.source, "population": p.population, "quantity": p.quantity, "value": p.value}))
            .collect();
        let c = &self.counters;
        json!({
            "title": plan.title, "citation": plan.citation, "scenario": plan.path, "variant": plan.variant,
            "overrides": plan.overrides, "seed": plan.network.seed,
            "stimulus_seed": plan.network.stimulus_seed, "dt_ms": plan.network.dt,
            "engine": self.engine, "interrupted": self.interrupted,
            "neurons": plan.network.neurons(), "synapses": c.synapses, "synapse_bytes": c.synapse_bytes,
            "simulated_ms": self.simulated, "build_s": self.build_s, "simulate_s": self.simulate_s, "cpu_s": self.cpu_s,
            "cpu_counted_s": self.cpu_counted_s,
            "real_time_factor": self.real_time_factor(),
            "spikes": c.spikes, "synaptic_events": c.synaptic_events, "neuron_updates": c.neuron_updates,
            "statistics": self.statistics, "published": published,
            "out": self.out, "checkpoint": self.checkpoint, "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

/// What is stored about a run of a plan beside its data; `engine` in words, as [`Engine::describe`] gives it.
pub fn info(plan: &Plan, engine: String, threads: usize) -> RunInfo {
    RunInfo {
        title: plan.title.clone(),
        scenario_path: plan.path.clone(),
        scenario_text: plan.text.to_string(),
        overrides: plan.overrides.clone(),
        variant: plan.variant.clone(),
        resolved: plan.resolved.clone(),
        models: plan.models.clone(),
        command: String::new(),
        seed: plan.network.seed,
        stimulus_seed: plan.network.stimulus_seed,
        engine,
        threads,
        duration: plan.duration,
        warmup: plan.warmup,
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// The plan with which a run goes on from a checkpoint, made by `plan` from overrides: the network is that of the checkpoint's seed, and
/// a seed that is asked for among `overrides` is that of the stimuli, which makes a branch.
pub fn resumed(origin: &RunInfo, overrides: &[String], plan: impl Fn(&[String]) -> Result<Plan>) -> Result<Plan> {
    let asked = plan(overrides)?;
    let seeded = overrides.iter().any(|o| o.split('=').next().is_some_and(|key| key.trim() == "simulation.seed"));
    let stimulus_seed = if seeded { asked.network.seed } else { origin.stimulus_seed };
    let mut plan = if origin.seed == asked.network.seed {
        asked
    } else {
        plan(&[overrides, &[format!("simulation.seed={}", origin.seed)]].concat())?
    };
    plan.network.stimulus_seed = stimulus_seed;
    plan.overrides = overrides.to_vec();
    Ok(plan)
}

/// Run a plan. `stop` may be set at any time (by Ctrl-C): the run then ends after the current slice with a checkpoint, if it
/// has a place for one.
pub fn run(plan: &Plan, options: &Options, progress: &dyn Progress, stop: &AtomicBool) -> Result<Outcome> {
    let net = Arc::new(plan.network.clone());
    let threads = open::threads(&net, options.threads.or(plan.threads))?;
    let kind = options.engine.unwrap_or(plan.engine).resolve(&net)?;
    let resumed = options.resume.as_deref().map(|path| checkpoint::read(path, &net)).transpose()?;
    if let Some((info, _)) = &resumed {
        continues(info, kind, &net)?;
    }
    let checkpoint_path = options.checkpoint.clone().or_else(|| options.out.as_ref().map(|o| o.with_extension("checkpoint")));
    refuse_overwriting(plan, options, checkpoint_path.as_deref())?;
    if let Some(out) = &options.out {
        output::check(out, options.force || options.resume.is_some())?;
    }
    if options.checkpoint_every.is_some() && checkpoint_path.is_none() {
        return Err(Error::input("--checkpoint-every has nowhere to write", "give --out FILE or --checkpoint FILE"));
    }
    if let Some(path) = checkpoint_path.as_deref() {
        let remedy = "go on from it with --resume, name another with --checkpoint, or pass --force to replace it";
        output::check_or(path, options.force || options.resume.as_deref() == Some(path), remedy)?;
    }

    let started = Instant::now();
    let (device, accumulators) = (options.device.clone(), options.accumulators.clone());
    let told = |phase: &str, done: f64| progress.phase(phase, done);
    let how = open::Options { threads: Some(threads), device, accumulators, progress: Some(&told) };
    let mut engine = open(kind, &net, &how)?;
    let build_s = started.elapsed().as_secs_f64();
    let (mut from, mut before) = (0, Totals::default());
    if let Some((_, snapshot)) = &resumed {
        engine.restore(snapshot)?;
        (from, before) = (snapshot.step, Totals::of(snapshot));
    }

    let steps = |ms: f64| (ms / net.dt).round() as u64;
    let end = steps(plan.warmup + plan.duration);
    if from >= end && resumed.is_some() {
        return Err(Error::input(
            format!("the checkpoint is at {:.1} ms, the run ends at {:.1} ms", from as f64 * net.dt, end as f64 * net.dt),
            "lengthen simulation.duration (--set simulation.duration=...)",
        ));
    }
    let info = RunInfo { command: options.command.clone(), ..info(plan, engine.describe(), threads) };
    let mut summary = Summary::new(&net, plan.warmup.max(from as f64 * net.dt), plan.warmup + plan.duration);
    let mut recorder = match &options.out {
        None => None,
        Some(out) if resumed.is_some() && out.exists() && !options.force => {
            Some(Recorder::resume(out, &net, &info, from as f64 * net.dt)?)
        }
        Some(out) => {
            // A recording of its own tells what happened in it.
            before = Totals::default();
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
    weights.due(&net, from, engine.as_mut(), recorder.as_mut())?;
    while now < end && !stop.load(Ordering::Relaxed) {
        let mut until = (now + slice).min(end).min(weights.next());
        if let Some(every) = every {
            until = until.min((now / every + 1) * every);
        }
        if now < warm {
            until = until.min(warm);
        }
        let (clock, cpu_before) = (Instant::now(), cpu_seconds());
        match &mut recorder {
            Some(recorder) => engine.advance(until - now, &mut Tee(&mut [recorder, &mut summary]))?,
            None => engine.advance(until - now, &mut summary)?,
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
        weights.due(&net, now, engine.as_mut(), recorder.as_mut())?;
        if every.is_some_and(|every| now % every == 0) && now < end {
            let totals = before.and(&engine.counters(), wall);
            saved = Some(save(engine.as_mut(), recorder.as_mut(), checkpoint_path.as_deref(), &net, &info, totals)?);
        }
        let rtf = wall * 1e3 / ((now - from) as f64 * net.dt);
        progress.simulated(now as f64 * net.dt, end as f64 * net.dt, rtf);
    }
    let interrupted = now < end;
    if (interrupted || every.is_some()) && checkpoint_path.is_some() {
        let totals = before.and(&engine.counters(), wall);
        saved = Some(save(engine.as_mut(), recorder.as_mut(), checkpoint_path.as_deref(), &net, &info, totals)?);
    }
    if !interrupted {
        weights.last(&net, now, engine.as_mut(), recorder.as_mut())?;
    }
    let counters = engine.counters();
    if let Some(recorder) = recorder {
        let all = before.and(&counters, wall);
        let Totals { spikes, synaptic_events, neuron_updates, wall } = all;
        recorder.finish(!interrupted, &Counters { spikes, synaptic_events, neuron_updates, ..counters }, wall)?;
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

/// Whether an engine of this kind goes on with a network from a checkpoint.
///
/// # Errors
/// The checkpoint is of the other kind of time, or of a network of another seed.
pub fn continues(info: &RunInfo, kind: Kind, net: &Network) -> Result<()> {
    if info.engine.starts_with("event") != (kind == Kind::Event) {
        return Err(Error::input(
            format!("the checkpoint was written by the engine `{}`: exact times and a grid do not mix", info.engine),
            if kind == Kind::Event { "resume it with --engine cpu or gpu" } else { "resume it with --engine event" },
        ));
    }
    if info.seed != net.seed {
        return Err(Error::input(
            format!("the checkpoint is of the network of seed {}, this one is of seed {}", info.seed, net.seed),
            "plan the network with the checkpoint's seed; a branch changes the seed of the stimuli only",
        ));
    }
    Ok(())
}

/// Steps of the next slice of a simulation, so that it takes about 150 ms: `steps` took that long.
pub fn next_slice(steps: u64, took: Duration) -> u64 {
    let ratio = SLICE.as_secs_f64() / took.as_secs_f64().max(1e-6);
    ((steps as f64 * ratio.clamp(0.25, 4.0)) as u64).max(1)
}

/// A file that this run reads, or writes for another purpose, is never its output, whatever `force` says.
fn refuse_overwriting(plan: &Plan, options: &Options, checkpoint: Option<&Path>) -> Result<()> {
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
            && output::same(a, b)
        {
            return Err(Error::input(format!("{what} would be one file, {}", a.display()), "give them different names"));
        }
    }
    Ok(())
}

fn save(
    engine: &mut dyn Engine,
    recorder: Option<&mut Recorder>,
    path: Option<&Path>,
    net: &Network,
    info: &RunInfo,
    totals: Totals,
) -> Result<PathBuf> {
    let path = path.expect("checked before the run");
    if let Some(recorder) = recorder {
        recorder.flush()?;
    }
    let mut snapshot = engine.snapshot()?;
    snapshot.notes.push(totals.note());
    checkpoint::write(path, net, info, &snapshot)?;
    Ok(path.to_path_buf())
}

/// What a recording has seen, over all runs that it was continued by.
#[derive(Clone, Copy, Default)]
struct Totals {
    spikes: u64,
    synaptic_events: u64,
    neuron_updates: u64,
    /// Seconds of simulation.
    wall: f64,
}

impl Totals {
    /// Their name in a checkpoint.
    const NOTE: &str = "totals";

    /// With what came since.
    fn and(self, counters: &Counters, wall: f64) -> Totals {
        Totals {
            spikes: self.spikes + counters.spikes,
            synaptic_events: self.synaptic_events + counters.synaptic_events,
            neuron_updates: self.neuron_updates + counters.neuron_updates,
            wall: self.wall + wall,
        }
    }

    fn note(self) -> (String, Vec<u64>) {
        (Self::NOTE.into(), vec![self.spikes, self.synaptic_events, self.neuron_updates, self.wall.to_bits()])
    }

    /// Of the runs up to a checkpoint; nothing where it does not tell.
    fn of(snapshot: &Snapshot) -> Totals {
        match snapshot.notes.iter().find(|note| note.0 == Self::NOTE).map(|note| &note.1[..]) {
            Some(&[spikes, synaptic_events, neuron_updates, wall]) => {
                Totals { spikes, synaptic_events, neuron_updates, wall: f64::from_bits(wall) }
            }
            _ => Totals::default(),
        }
    }
}

/// When the weights of which projection are due to be recorded.
struct WeightSchedule {
    entries: Vec<Reading>,
}

struct Reading {
    projection: usize,
    states: Vec<String>,
    /// Steps between two; None: at the start and the end only.
    every: Option<u64>,
    /// Steps at which the first and the last are due.
    start: u64,
    stop: u64,
    /// When the next is due; u64::MAX for never.
    next: u64,
}

impl Reading {
    /// When the next is due after step `now`.
    fn after(&self, now: u64) -> u64 {
        let regular = self.every.map_or(u64::MAX, |every| (now / every + 1) * every);
        match now {
            _ if now < self.start => self.start,
            _ if now < self.stop => regular.min(self.stop),
            _ => u64::MAX,
        }
    }
}

impl WeightSchedule {
    fn new(net: &Network, from: u64) -> Self {
        let entries = net.probes.iter().filter_map(|probe| match probe {
            crate::network::Probe::Weights { projection, states, interval, window } => {
                let every = interval.map(|ms| steps_between(ms, net.dt));
                let [start, stop] = [window.start, window.stop].map(|ms| (ms / net.dt).round().max(0.0) as u64);
                let reading = Reading { projection: *projection, states: states.clone(), every, start, stop, next: 0 };
                let next = if from <= start { start } else { reading.after(from) };
                Some(Reading { next, ..reading })
            }
            _ => None,
        });
        WeightSchedule { entries: entries.collect() }
    }

    fn next(&self) -> u64 {
        self.entries.iter().map(|e| e.next).min().unwrap_or(u64::MAX)
    }

    fn due(&mut self, net: &Network, now: u64, engine: &mut dyn Engine, recorder: Option<&mut Recorder>) -> Result<()> {
        let Some(recorder) = recorder else {
            self.entries.clear();
            return Ok(());
        };
        for reading in self.entries.iter_mut().filter(|e| e.next == now) {
            let (projection, time) = (reading.projection, now as f64 * net.dt);
            if reading.states.is_empty() {
                recorder.weights(projection, time, &engine.weights(projection)?, &[])?;
            } else {
                let synapses = engine.synapses(projection)?;
                let of = &net.projections[projection].synapse;
                let states = reading.states.iter().map(|name| synapses.record(of, name)).collect::<Result<Vec<_>>>()?;
                recorder.weights(projection, time, &synapses.edges, &states)?;
            }
            reading.next = reading.after(now);
        }
        Ok(())
    }

    /// The final reading, at the end of the run, of the projections whose end is not past, and that had none just now.
    fn last(&mut self, net: &Network, now: u64, engine: &mut dyn Engine, mut recorder: Option<&mut Recorder>) -> Result<()> {
        for entry in &mut self.entries {
            let had = entry.start == now || entry.every.is_some_and(|every| now % every == 0);
            if (entry.start..entry.stop).contains(&now) && !had {
                entry.next = now;
            }
        }
        self.due(net, now, engine, recorder.as_deref_mut())
    }
}
