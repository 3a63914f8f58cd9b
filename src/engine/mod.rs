//! The schedule, one for all engines. One step covers (t, t + dt]:
//!
//!  1. spikes that arrive at t + dt reach their synapses: one with dynamics updates its state and sets what it transmits, a plastic one
//!     first sees, in order of time, all that has happened to it since its source's spike before (at equal times: `on_modulator` for a
//!     jump of its signal, `on_post` for an event of its target, `on_pre` for the spike);
//!  2. what they transmit is summed, as scaled integers, into each target's ports;
//!  3. direct drives (Poisson counts, currents) are added;
//!  4. every neuron is updated: integrate, then the arrived input jumps, then threshold and reset;
//!  5. a neuron at threshold emits a spike stamped t + dt; source populations emit theirs, stamped alike;
//!  6. histories keep what plastic synapses will ask for: events of their targets with the traces just after them, states of their
//!     targets after the step, and jumps of the signals at t + dt, which the scenario, the host or spikes a delay earlier caused;
//!  7. probes sample the state at t + dt;
//!  8. where t + dt is a multiple of its interval, homeostasis multiplies the weights onto each target (homeostasis.rs);
//!  9. the host reads weights, lets signals jump, changes rates and switches learning between two steps.
//!
//! A spike stamped s reaches a synapse of delay d (whole steps, at least one) in the step that ends at s + d. On the clock of a
//! plastic synapse the whole delay is dendritic: a spike of its source counts at s, one of its target at s + d, a jump of its signal at
//! its own time; so a synapse may be brought up to date at any time, and is when something needs it. Where a share a of the delay is
//! axonal (Morrison, Diesmann & Gerstner 2008), a spike of the source counts at s + a, one of the target at s + d - a, and a synapse that
//! is read is that of the latest time on this clock until which everything is known: min(a, d - a) after that of the reading.
//!
//! These are NEST's conventions. Engines differ in how they carry them out: the event engine keeps them without a grid, times and delays
//! are real numbers; on the gpu engine a synapse with dynamics acts when its source emits, and what it transmits waits.

pub mod cpu;
pub mod event;
mod faults;
#[cfg(feature = "gpu")]
pub mod gpu;
mod homeostasis;
pub mod open;
pub mod phases;
mod plasticity;
mod probes;
mod snapshot;

use crate::error::{Error, Result};
use crate::model::number;
use crate::network::{Network, SynapseInstance};
pub use open::{Kind, Options, open};
use phases::Phases;
pub use snapshot::{Exact, Own, Snapshot};
use std::collections::BTreeMap;

/// A spike of neuron `id` (global) at `time` ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    /// ms; on a grid, the end of the step in which the neuron crossed its threshold.
    pub time: f64,
    /// Global id: neurons count through the populations in order.
    pub id: u32,
}

/// All spikes, in the order in which they come; samples are passed over.
impl Sink for Vec<Spike> {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        self.extend_from_slice(spikes);
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}

/// Receives what the engine produces: spikes in order of time (of one time, in order of id), samples in order of time. A batch of
/// spikes may be handed over before the samples of the same stretch of time.
pub trait Sink {
    /// Spikes of a stretch of time. An error ends the run.
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()>;
    /// One sample of probe `probe` (index into `Network::probes`, a `Probe::State`) at `time`: for each variable in order, one
    /// value for each probed neuron.
    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()>;
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

/// Keeps note of the step at which a projection stopped learning: until it goes on, its weights are those of then.
pub(crate) fn note_learning(stopped: &mut BTreeMap<usize, u64>, projection: usize, on: bool, step: u64) {
    if on {
        stopped.remove(&projection);
    } else {
        stopped.entry(projection).or_insert(step);
    }
}

/// Whether the weights of a projection change by a rule.
pub(crate) fn is_plastic(net: &Network, projection: usize) -> Result<bool> {
    match net.projections.get(projection) {
        Some(p) => Ok(p.synapse.model.plasticity.is_some()),
        None => Err(Error::input(
            format!("there is no projection {projection}"),
            format!("name one of the {} projections by its number, the first is 0", net.projections.len()),
        )),
    }
}

/// What an engine did and holds, counted since it was made.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Spikes of neurons and sources.
    pub spikes: u64,
    /// Spikes times the synapses that they reached.
    pub synaptic_events: u64,
    /// Neurons times steps; on the event engine, advances of a neuron to a time.
    pub neuron_updates: u64,
    /// Synapses of the network.
    pub synapses: u64,
    /// Memory of the synapse tables.
    pub synapse_bytes: u64,
    /// Kernels started on a device, and command buffers handed to it.
    pub dispatches: u64,
    /// Command buffers handed to a device.
    pub submissions: u64,
}

/// What the synapses of a projection hold at a time, in canonical edge order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Synapses {
    /// (source global id, target global id, weight), as [`Engine::weights`] gives them.
    pub edges: Vec<(u32, u32, f32)>,
    /// Each state of the model, a word a synapse; brought up to date as the weight is.
    pub states: Vec<Vec<u32>>,
    /// ms since the last spike of the source, infinite before its first.
    pub elapsed: Vec<f64>,
}

impl Synapses {
    /// What the model records under a name, of every synapse, at this time.
    ///
    /// # Errors
    /// The model records nothing of that name.
    pub fn record(&self, synapse: &SynapseInstance, name: &str) -> Result<Vec<f32>> {
        let recorder = synapse.recorder(name)?;
        let value = |k: usize| recorder.value_with(0, |s, ty| number(self.states[s][k], ty), &[self.elapsed[k]]) as f32;
        Ok((0..self.edges.len()).map(value).collect())
    }

    /// Of edges and states, by the steps at which sources spiked last (u64::MAX: never).
    fn new(edges: Vec<(u32, u32, f32)>, states: Vec<Vec<u32>>, last_spike: &[u64], now: u64, dt: f64) -> Synapses {
        let since = |edge: &(u32, u32, f32)| match last_spike.get(edge.0 as usize) {
            Some(&last) if last != u64::MAX => (now - last) as f64 * dt,
            _ => f64::INFINITY,
        };
        Synapses { elapsed: edges.iter().map(since).collect(), edges, states }
    }
}

/// Refuses to read the states of synapses of a projection that does not learn, whose clock stands still.
fn readable(net: &Network, stopped: &BTreeMap<usize, u64>, projection: usize) -> Result<()> {
    match stopped.contains_key(&projection) {
        false => Ok(()),
        true => Err(Error::input(
            format!("the states of projection `{}` cannot be read while it does not learn", net.projections[projection].name),
            "read its weights, or its states while it learns",
        )),
    }
}

/// A network in motion: every engine keeps the schedule at the head of this module.
pub trait Engine: Send {
    /// Engine and device in words, for the summary.
    fn describe(&self) -> String;
    /// Advance by whole steps (the event engine: by that much time), with all the rules of the network, its homeostasis included.
    fn advance(&mut self, steps: u64, sink: &mut dyn Sink) -> Result<()>;
    /// The state between two steps, from which any engine of the same kind of time goes on.
    fn snapshot(&mut self) -> Result<Snapshot>;
    /// Goes on from a snapshot.
    ///
    /// # Errors
    /// A snapshot of another network.
    fn restore(&mut self, snapshot: &Snapshot) -> Result<()>;
    /// Weights of a projection in canonical edge order: (source global id, target global id, weight). Plastic ones are those of now,
    /// though synapses are brought up to date only when something needs it: everything until now on the clock of each synapse is
    /// in them (spikes of its source when they are emitted, those of its target the delay later, jumps at their time, and what
    /// `on_read` of its model lets it follow); while it does not learn, everything until it stopped. Nothing that comes later
    /// depends on whether weights were read.
    ///
    /// # Errors
    /// There is no such projection; a weight has left its rule's bound.
    fn weights(&mut self, projection: usize) -> Result<Vec<(u32, u32, f32)>>;
    /// The same with the states of the synapses: what has happened to each by now, spikes of its source that are still on their way
    /// included, and what `on_read` of its model lets it follow.
    ///
    /// # Errors
    /// Those of [`Engine::weights`]; the projection does not learn at present.
    fn synapses(&mut self, projection: usize) -> Result<Synapses>;
    /// What was done so far.
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

    /// Bring the plastic weights of a projection up to date, as far as spikes cannot be on their way any more (all but the last
    /// longest delay), and multiply those onto each target by `factor(local id of the target, sum of its weights)`; what leaves
    /// the rule's bound is clipped to it. What is on its way acts on the weights that this leaves.
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
