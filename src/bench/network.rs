//! A published network as a row: built, warmed up, timed in several stretches of model time, and believed only when its populations fire
//! as they should.

use super::machine::Machine;
use super::report::{Figures, Row, Spread};
use super::{Options, Place};
use crate::engine::{self, Counters, Sink, Spike};
use crate::error::{Error, Result};
use crate::model::library::Library;
use crate::network::inputs::steps_between;
use crate::network::{Cell, Network};
use crate::scenario::{Plan, Scenario};
use crate::system;
use std::sync::Arc;
use std::time::Instant;

/// A network and what to time of it.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub name: String,
    /// Name of the scenario and its text.
    pub scenario: (String, String),
    pub variant: Option<&'static str>,
    /// Overrides, as `--set` takes them.
    pub set: Vec<String>,
    /// ms before the first stretch, and of a stretch.
    pub warmup: f64,
    pub stretch: f64,
    /// A step of it is shorter than a meeting of threads.
    pub one_thread: bool,
    /// Rates that the populations have in long runs, and how far they may be off in so short a time, Hz.
    pub rates: Vec<(&'static str, f64, f64)>,
}

/// Spikes by population.
struct Count {
    population: Vec<u16>,
    spikes: Vec<u64>,
}

impl Count {
    fn new(net: &Network) -> Self {
        let ids = net.populations.iter().enumerate().flat_map(|(p, own)| std::iter::repeat_n(p as u16, own.n as usize));
        Count { population: ids.collect(), spikes: vec![0; net.populations.len()] }
    }
}

impl Sink for Count {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        spikes.iter().for_each(|s| self.spikes[self.population[s.id as usize] as usize] += 1);
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

impl Case {
    pub fn plan(&self, seed: u64) -> Result<Plan> {
        let mut overrides = self.set.clone();
        overrides.push(format!("simulation.seed={seed}"));
        let (name, text) = &self.scenario;
        Scenario::parse(name, text, &overrides, self.variant)?.plan(Library::built_in()?)
    }

    /// The row of this network on an engine.
    pub fn measure(&self, place: &Place, options: &Options, machine: &Machine) -> Row {
        let mut row = Row {
            part: "network".into(),
            name: self.name.clone(),
            engine: engine_name(place),
            unit: "s per s".into(),
            runs: options.runs,
            ..Default::default()
        };
        match self.figures(place, options, machine) {
            Ok((engine, times, figures)) => {
                (row.engine, row.figures) = (engine, figures);
                match self.wrong(&row.figures.rates) {
                    None => row.time = Spread::of(times),
                    Some(wrong) => row.reason = Some(format!("wrong, so no time is told: {wrong}")),
                }
            }
            Err(error) => {
                row.left_out = matches!(error, Error::Memory { .. });
                row.reason = Some(error.to_string());
            }
        }
        row
    }

    fn figures(&self, place: &Place, options: &Options, machine: &Machine) -> Result<(String, Vec<f64>, Figures)> {
        let plan = self.plan(options.seed)?;
        let net = Arc::new(plan.network);
        let blocks = if let Place::Cpu(threads) = place { *threads } else { 1 };
        system::reset_peak_memory();
        let begin = Instant::now();
        let device = if let Place::Gpu(device) = place { device.clone() } else { None };
        let accumulators = options.accumulators.clone();
        let how = engine::Options { threads: Some(blocks), device, accumulators, progress: None };
        let mut engine = engine::open(place.kind(), &net, &how)?;
        let build_s = begin.elapsed().as_secs_f64();

        let steps = |ms: f64| steps_between(ms, net.dt);
        let mut count = Count::new(&net);
        engine.advance(steps(self.warmup), &mut count)?;
        count.spikes.fill(0);
        let before = engine.counters();
        // The host's part of a device's work is told of every run; it is timed once a batch, which costs nothing.
        engine.time_phases(options.profile || matches!(place, Place::Gpu(_)));
        let (stretch, mut times, mut cpu) = (steps(self.stretch), Vec::new(), Vec::new());
        for _ in 0..options.runs.max(1) {
            let (begin, used) = (Instant::now(), system::cpu_seconds());
            engine.advance(stretch, &mut count)?;
            times.push(begin.elapsed().as_secs_f64());
            cpu.extend(used.zip(system::cpu_seconds()).map(|(a, b)| b - a));
        }
        let (wall, n): (f64, u64) = (times.iter().sum(), times.len() as u64 * stretch);
        let model_s = n as f64 * net.dt * 1e-3;
        let done = since(&before, &engine.counters());
        let phases = engine.phases();
        let whole: f64 = phases.iter().filter(|p| p.0 != "device").map(|p| p.1).sum();
        let recording = phases.iter().find(|p| p.0 == "record" && done.submissions > 0);
        let bytes_per_synapse = (done.synapses > 0).then(|| done.synapse_bytes as f64 / done.synapses as f64);
        // A grid moves every state and sum in every step, and every synapse of a source that spiked.
        let moved = (*place != Place::Event).then(|| {
            done.synaptic_events as f64 * bytes_per_synapse.unwrap_or(0.0) + done.neuron_updates as f64 * bytes_per_update(&net)
        });
        let bandwidth = moved.map(|bytes| bytes / wall);
        let model_times = |seconds: Vec<f64>| seconds.iter().map(|s| s / (self.stretch * 1e-3)).collect::<Vec<f64>>();
        let figures = Figures {
            neurons: Some(u64::from(net.neurons())),
            synapses: Some(done.synapses),
            build_s: Some(build_s),
            cpu_s: Spread::of(model_times(cpu)).map(|s| s.median),
            ns_per_update: (done.neuron_updates > 0).then(|| wall * 1e9 / done.neuron_updates as f64),
            events_per_s: (done.synaptic_events > 0).then(|| done.synaptic_events as f64 / wall),
            bytes_per_synapse,
            peak_bytes: system::peak_memory(),
            bandwidth,
            of_copy: bandwidth.zip(machine.copies(place)).map(|(own, copy)| own / copy),
            dispatches_per_step: (done.dispatches > 0).then(|| done.dispatches as f64 / n as f64),
            us_per_step: (*place != Place::Event).then(|| wall * 1e6 / n as f64),
            record_us_per_step: recording.map(|(_, s)| s * 1e6 / n as f64),
            rates: rates(&net, &count.spikes, model_s),
            phases: phases.iter().map(|(name, s)| (name.to_string(), s / whole)).filter(|p| p.1 > 0.0).collect(),
        };
        Ok((engine.describe(), model_times(times), figures))
    }

    /// What is wrong with the rates, if anything is.
    fn wrong(&self, rates: &[(String, f64)]) -> Option<String> {
        self.rates.iter().find_map(|(name, expected, off)| {
            let found = rates.iter().find(|r| r.0 == *name).map_or(f64::NAN, |r| r.1);
            (!((found - expected).abs() <= *off)).then(|| format!("{name} fires at {found:.3} Hz, expected {expected} ± {off}"))
        })
    }
}

/// As the engine describes itself, where none could be made.
fn engine_name(place: &Place) -> String {
    match place {
        Place::Cpu(threads) => format!("cpu, {threads} thread{}", if *threads == 1 { "" } else { "s" }),
        other => other.kind().to_string(),
    }
}

fn since(before: &Counters, now: &Counters) -> Counters {
    Counters {
        spikes: now.spikes - before.spikes,
        synaptic_events: now.synaptic_events - before.synaptic_events,
        neuron_updates: now.neuron_updates - before.neuron_updates,
        dispatches: now.dispatches - before.dispatches,
        submissions: now.submissions - before.submissions,
        ..now.clone()
    }
}

fn rates(net: &Network, spikes: &[u64], model_s: f64) -> Vec<(String, f64)> {
    let rate = |(p, n): (&crate::network::Population, &u64)| (p.name.clone(), *n as f64 / f64::from(p.n.max(1)) / model_s);
    net.populations.iter().zip(spikes).map(rate).collect()
}

/// Bytes that one update of a neuron reads and writes, in the mean: states and sums of inputs both, constants of its own once.
fn bytes_per_update(net: &Network) -> f64 {
    let (mut bytes, mut neurons) = (0.0, 0.0);
    for population in &net.populations {
        let Cell::Neuron(instance) = &population.cell else { continue };
        let own = instance.constants().iter().filter(|c| matches!(c, crate::model::Words::Each(_))).count();
        let words = 2 * (instance.model.states.len() + instance.model.ports.len()) + own;
        bytes += 4.0 * words as f64 * f64::from(population.n);
        neurons += f64::from(population.n);
    }
    if neurons > 0.0 { bytes / neurons } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(rates: Vec<(&'static str, f64, f64)>) -> Case {
        let text = r#"
[simulation]
dt = "0.1 ms"
duration = "1 s"
[populations.E]
model = "iaf_psc_exp"
n = 200
[[projections]]
source = "E"
target = "E"
rule = { name = "fixed_indegree", indegree = 20 }
weight = "5 pA"
delay = "1 ms"
[[drives]]
target = "E"
type = "poisson_generator"
rate = "10 Hz"
weight = "4000 pA"
"#;
        let scenario = ("small.toml".to_string(), text.to_string());
        Case { name: "small".into(), scenario, warmup: 50.0, stretch: 500.0, rates, ..Default::default() }
    }

    /// On every engine the same network is timed; with rates that it does not have, it is not.
    #[test]
    fn a_wrong_network_gets_no_time() {
        let options = Options { runs: 2, seed: 1, profile: true, ..Default::default() };
        let machine = Machine { copy_bandwidth: 1e10, copy_bandwidth_one: 1e10, ..Default::default() };
        for place in [Place::Cpu(1), Place::Cpu(2), Place::Event] {
            let row = case(vec![("E", 10.0, 2.0)]).measure(&place, &options, &machine);
            let time = row.time.unwrap_or_else(|| panic!("{:?}", row.reason));
            assert!(time.least > 0.0 && time.least <= time.median, "{time:?}");
            let f = &row.figures;
            assert_eq!((f.neurons, f.synapses), (Some(200), Some(4000)));
            assert_eq!(f.rates.len(), 1);
            if let Place::Cpu(_) = place {
                let sum: f64 = f.phases.iter().map(|p| p.1).sum();
                assert!((sum - 1.0).abs() < 1e-9 && f.phases.iter().any(|p| p.0 == "deliver"), "{:?}", f.phases);
                // Every spike reaches 20 synapses in the mean, each of 4 bytes and a little; a step moves 200 neurons.
                assert!(f.us_per_step.unwrap() > 0.0 && f.bandwidth.unwrap() > 0.0);
            }
        }
        for (rates, said) in [(("E", 20.0, 2.0), "expected 20 ± 2"), (("X", 1.0, 1.0), "X fires at NaN")] {
            let row = case(vec![rates]).measure(&Place::Cpu(1), &options, &machine);
            assert!(row.failed() && row.reason.as_ref().is_some_and(|r| r.contains(said)), "{:?}", row.reason);
        }
    }

    #[test]
    fn what_does_not_fit_into_memory_is_left_out() {
        let mut case = case(vec![]);
        case.set = vec!["populations.E.n=4000000000".into()];
        let row = case.measure(&Place::Cpu(1), &Options { runs: 1, ..Default::default() }, &Machine::default());
        assert!(row.left_out && !row.failed() && row.time.is_none(), "{:?}", row.reason);
    }
}
