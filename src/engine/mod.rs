//! The schedule, one for all engines. One step covers (t, t + dt]:
//!
//! 1. spikes that arrive at t + dt are summed, as scaled integers, into each target's ports;
//! 2. direct drives (Poisson counts, currents) are added;
//! 3. every neuron is updated: integrate, then the arrived input jumps, then threshold and reset;
//! 4. a neuron at threshold emits a spike stamped t + dt; source populations emit theirs, stamped alike;
//! 5. probes sample the state at t + dt;
//! 6. a spike stamped s reaches a synapse of delay d (whole steps, at least one) in the step that ends at s + d.
//!
//! These are NEST's conventions. The event engine keeps 6 without a grid: times and delays are real numbers.

pub mod cpu;
pub mod event;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod phases;

use crate::error::{Error, Result};
use crate::network::{Cell, Network};
use phases::Phases;

/// A spike of neuron `id` (global) at `time` ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    pub time: f64,
    pub id: u32,
}

/// Receives what the engine produces: spikes in order of time (of one time, in order of id), samples in order of time. A batch of
/// spikes may be handed over before the samples of the same stretch of time.
pub trait Sink {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()>;
    /// One sample of probe `probe` (index into `Network::probes`, a `Probe::State`) at `time`: for each variable in order, one
    /// value for each probed neuron.
    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()>;
}

/// The complete dynamic state, independent of engine, threads and table format.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Steps done; time = step * dt on a grid.
    pub step: u64,
    /// For each population, each state variable: 32-bit words, one a neuron (empty for sources; f64 halves on the event engine).
    pub states: Vec<Vec<Vec<u32>>>,
    /// Spikes not yet delivered everywhere: (stamp step, global id), sorted.
    pub recent: Vec<(u64, u32)>,
    /// Last spike step of every source that has dynamic synapses (u64::MAX: never), by global id; empty without such synapses.
    pub last_spike: Vec<u64>,
    /// Per projection with dynamic synapses: per state variable (weight first), in canonical edge order; integers by their bits.
    pub synapses: Vec<Vec<Vec<f32>>>,
    /// What only one engine understands (the event engine's clocks and exact states), by name.
    pub extra: Vec<(String, Vec<u64>)>,
}

/// By bits: a random word may look like a NaN, which no comparison of numbers finds equal to itself.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Snapshot) -> bool {
        let rest = |s: &Snapshot| (s.step, s.synapses.iter().map(Vec::len).collect::<Vec<_>>());
        let same =
            |(a, b): (&Vec<f32>, &Vec<f32>)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
        rest(self) == rest(other)
            && (&self.states, &self.recent, &self.last_spike, &self.extra)
                == (&other.states, &other.recent, &other.last_spike, &other.extra)
            && self.synapses.iter().flatten().zip(other.synapses.iter().flatten()).all(same)
    }
}

/// Steps since a source's previous spike, at its first.
pub(crate) const NEVER: u32 = u32::MAX;

/// Steps since the previous spike of source `id`, whose last stamp (u64::MAX: none) the one at `stamp` now replaces. `NEVER` also
/// where stamps are not kept (an empty slice).
#[inline]
pub(crate) fn since_last(last_spike: &mut [u64], stamp: u64, id: u32) -> u32 {
    let Some(last) = last_spike.get_mut(id as usize) else { return NEVER };
    let previous = std::mem::replace(last, stamp);
    if previous == u64::MAX { NEVER } else { (stamp - previous).min(NEVER as u64 - 1) as u32 }
}

/// The error of a dynamic synapse that transmits more than `limit`, among `weights` of its projection; found after `step` steps.
pub(crate) fn beyond_bound(net: &Network, projection: usize, weights: &[(u32, u32, f32)], limit: f32, step: u64) -> Error {
    let what = match weights.iter().find(|w| !(w.2.abs() <= limit)) {
        Some((source, target, w)) => format!("the weight of the synapse from neuron {source} to neuron {target} is {w}"),
        None => "a synapse transmits more than it may".to_string(),
    };
    let (name, model) = (&net.projections[projection].name, &net.projections[projection].synapse.model.name);
    let at = step as f64 * net.dt;
    let remedy = match net.projections[projection].synapse.model.plasticity {
        Some(_) => "lower the learning rate, or clip the weight in the code of the rule",
        None => "give larger weights, so that the code of the synapse need not multiply them as much",
    };
    Error::Run {
        message: format!("projection `{name}`: {what}, beyond the bound {limit} of {model}, at {at:.3} ms"),
        remedy: remedy.into(),
    }
}

impl Snapshot {
    /// What is stored under a name that only some engines understand.
    pub(crate) fn extra(&self, wanted: &str) -> Option<&[u64]> {
        self.extra.iter().find(|(name, _)| name == wanted).map(|(_, values)| values.as_slice())
    }

    /// The spikes in flight with the steps since their source's previous spike: (stamp, id, elapsed).
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = (u64, u32, u32)> + '_ {
        let elapsed = self.extra("elapsed").unwrap_or_default();
        (0..).zip(&self.recent).map(move |(i, &(stamp, id))| (stamp, id, elapsed.get(i).map_or(NEVER, |&e: &u64| e as u32)))
    }

    /// Refuses a snapshot whose populations, models or ids are not those of the network (one state word a neuron, as the engines
    /// on a grid keep them).
    pub fn check(&self, net: &Network) -> Result<()> {
        let fits = self.states.len() == net.populations.len()
            && net.populations.iter().zip(&self.states).all(|(p, states)| match &p.cell {
                Cell::Neuron(i) => states.len() == i.model.states.len() && states.iter().all(|s| s.len() == p.n as usize),
                Cell::Source(_) => true,
            })
            && self.recent.iter().all(|r| r.1 < net.neurons());
        match fits {
            true => Ok(()),
            false => Err(Error::input(
                "the checkpoint holds other populations or models than the scenario",
                "resume with the scenario that wrote it; parameters may change, sizes and models may not",
            )),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub spikes: u64,
    pub synaptic_events: u64,
    pub neuron_updates: u64,
    pub synapses: u64,
    pub synapse_bytes: u64,
    /// Kernels started on a device, and command buffers handed to it.
    pub dispatches: u64,
    pub submissions: u64,
}

pub trait Engine: Send {
    /// Engine and device in words, for the summary.
    fn describe(&self) -> String;
    /// Advance by whole steps (the event engine: by that much time).
    fn advance(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()>;
    fn snapshot(&mut self) -> Result<Snapshot>;
    fn restore(&mut self, snapshot: &Snapshot) -> Result<()>;
    /// Weights of a projection in canonical edge order: (source global id, target global id, weight).
    fn weights(&mut self, projection: usize) -> Result<Vec<(u32, u32, f32)>>;
    fn counters(&self) -> Counters;

    /// Start to time phases, or stop.
    fn time_phases(&mut self, _on: bool) {}

    /// Seconds by phase since timing started; empty while it is off, and where an engine has no phases.
    fn phases(&self) -> Phases {
        Vec::new()
    }

    /// Let a signal (index into `Network::modulators`) jump by `amount` now: spikes emitted from the next step on see it.
    ///
    /// # Errors
    /// The engine has no such signals.
    fn jump(&mut self, _modulator: usize, _amount: f64) -> Result<()> {
        Err(self.lacks("modulators"))
    }

    /// Bring the plastic weights of a projection up to date and multiply those onto each target by
    /// `factor(local id of the target, sum of its weights)`; what leaves the rule's bound is clipped to it.
    ///
    /// # Errors
    /// The projection is not plastic, a factor is no number, or the engine cannot do this.
    fn scale_weights(&mut self, _projection: usize, _factor: &dyn Fn(u32, f64) -> f64) -> Result<()> {
        Err(self.lacks("homeostasis"))
    }

    /// Rates (Hz, one a source) of a population of Poisson sources from the next step on.
    ///
    /// # Errors
    /// The population is none of Poisson sources, the number of rates is not its size, a rate is negative or no number.
    fn set_rates(&mut self, _population: usize, _rates: &[f64]) -> Result<()> {
        Err(self.lacks("changes of rates"))
    }

    /// Whether the plastic weights of a projection change. While they do not, spikes leave no trace at its synapses and
    /// transmit the weight as it stands. When they do again, the spikes of sources that arrived meanwhile, and those of targets
    /// that were emitted meanwhile, count as if they had not occurred; a target's spike from before still reaches the synapse.
    ///
    /// # Errors
    /// The projection is not plastic, or the engine cannot do this.
    fn set_learning(&mut self, _projection: usize, _on: bool) -> Result<()> {
        Err(self.lacks("learning that can be switched off"))
    }

    /// The refusal of what an engine does not have.
    fn lacks(&self, what: &str) -> Error {
        Error::input(format!("{} has no {what}", self.describe()), "use --engine cpu")
    }
}
