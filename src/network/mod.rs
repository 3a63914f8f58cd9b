//! The network as plain data, resolved and checked: populations, projections, stimuli, probes, in ms, mV, pA, nS, Hz and f64.
//! Every engine starts from here. This module knows connectivity, and no neuron model's equations.

pub mod digits;
pub mod draw;
mod edges;
pub mod memory;
mod pages;
pub mod quantum;
pub mod rules;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;

use crate::error::Result;
use crate::model::{NeuronModel, SynapseModel};
use crate::stimulus::{Drive, SpikeSource};
use std::sync::Arc;

/// One value for all, or one an element.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Uniform(f64),
    Each(Arc<[f64]>),
}

impl Values {
    #[inline]
    pub fn get(&self, i: usize) -> f64 {
        match self {
            Values::Uniform(x) => *x,
            Values::Each(v) => v[i],
        }
    }
    pub fn is_uniform(&self) -> bool {
        matches!(self, Values::Uniform(_))
    }
}

/// A resolved network. Global neuron ids count through the populations in order.
#[derive(Clone, Debug)]
pub struct Network {
    /// Step in ms (the event engine uses it for probes and display only).
    pub dt: f64,
    /// Seed of everything that is drawn once: parameters, positions, connections.
    pub seed: u64,
    /// Seed of stimuli; another one than `seed` makes a branch of a run: the same network under other input.
    pub stimulus_seed: u64,
    pub populations: Vec<Population>,
    pub projections: Vec<Projection>,
    pub drives: Vec<Drive>,
    pub probes: Vec<Probe>,
    /// Global signals that gate plasticity.
    pub modulators: Vec<Modulator>,
    /// What acts on all weights onto a target at stated times.
    pub homeostasis: Vec<Homeostasis>,
}

#[derive(Clone, Debug)]
pub struct Population {
    pub name: String,
    /// Global id of its first neuron.
    pub first: u32,
    pub n: u32,
    pub cell: Cell,
    /// 2-D positions in mm where a projection needs them, and the extent (width, height) of the sheet.
    pub positions: Option<Arc<[[f32; 2]]>>,
    pub extent: [f64; 2],
    /// Spikes are recorded (all neurons, or the first k).
    pub record_spikes: Option<u32>,
}

#[derive(Clone, Debug)]
pub enum Cell {
    Neuron(NeuronInstance),
    /// Emits spikes without dynamics (Poisson sources, spike trains, encoded images).
    Source(SpikeSource),
}

/// A model with its parameters for one population.
#[derive(Clone, Debug)]
pub struct NeuronInstance {
    pub model: Arc<NeuronModel>,
    /// In the order of `model.params`.
    pub params: Vec<Values>,
    /// In the order of `model.derived`.
    pub derived: Vec<Values>,
    /// Initial state in the order of `model.states`.
    pub initial: Vec<Values>,
    pub substeps: u32,
}

#[derive(Clone, Debug)]
pub struct Projection {
    pub name: String,
    /// Indices into `Network::populations`.
    pub source: usize,
    pub target: usize,
    pub rule: Rule,
    /// Index into the target model's ports; None: by the sign of each weight.
    pub port: Option<usize>,
    pub weight: Draw,
    /// ms, rounded to whole steps (at least one) on a grid, exact in the event engine.
    pub delay: Draw,
    pub synapse: SynapseInstance,
    pub autapses: bool,
    pub multapses: bool,
    /// Index into `Network::modulators`: the signal that the synapse's code reads.
    pub modulator: Option<usize>,
}

/// A named global signal, for instance dopamine: it jumps at events and decays to 0 with `tau` between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Modulator {
    pub name: String,
    /// ms; infinite for a level that stays until the next jump.
    pub tau: f64,
    pub initial: f64,
    /// (ms, amount): given in the scenario, sorted by time. More may come while running, by [`crate::engine::Engine::jump`].
    pub jumps: Vec<(f64, f64)>,
    pub spikes: Option<ModulatorSpikes>,
}

/// Each spike of a population makes a signal jump by `amount`, `delay` ms (whole steps, at least one) later.
#[derive(Clone, Debug, PartialEq)]
pub struct ModulatorSpikes {
    pub population: usize,
    pub delay: f64,
    pub amount: f64,
}

/// At every whole multiple of `every` ms the weights of a plastic projection onto each target are multiplied by a common factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Homeostasis {
    pub projection: usize,
    pub every: f64,
    pub kind: HomeostasisKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HomeostasisKind {
    /// To this sum of weights onto each target (Diehl & Cook 2015); targets whose weights are all 0 are left alone.
    Normalise { sum: f64 },
    /// Synaptic scaling: factor 1 + gain * (target - rate), rate in Hz over the last interval (van Rossum, Bi & Turrigiano 2000).
    Scaling { target: f64, gain: f64 },
}

#[derive(Clone, Debug)]
pub struct SynapseInstance {
    pub model: Arc<SynapseModel>,
    /// In the order of `model.params` and `model.derived`; uniform in a projection.
    pub params: Vec<f64>,
    pub derived: Vec<f64>,
    pub initial: Vec<f64>,
}

/// Connectivity, NEST's names.
#[derive(Clone, Debug)]
pub enum Rule {
    OneToOne,
    AllToAll,
    PairwiseBernoulli {
        p: f64,
    },
    FixedIndegree {
        indegree: u32,
    },
    FixedOutdegree {
        outdegree: u32,
    },
    FixedTotalNumber {
        n: u64,
    },
    /// Probability `p(distance)` within `radius` mm on the sheet.
    Distance {
        profile: Profile,
        radius: f64,
        periodic: bool,
    },
    /// Explicit edges, sorted by source; local ids. Weights and delays given here replace the projection's draws.
    Explicit(Arc<Edges>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Profile {
    Constant { p: f64 },
    Gaussian { p0: f64, sigma: f64 },
    Exponential { p0: f64, lambda: f64 },
}

#[derive(Clone, Debug, Default)]
pub struct Edges {
    /// First edge of each source, length n_sources + 1.
    pub start: Vec<u64>,
    pub target: Vec<u32>,
    pub weight: Option<Vec<f32>>,
    /// ms, in f64: what lies halfway between two steps must be rounded as a constant delay is.
    pub delay: Option<Vec<f64>>,
}

impl Edges {
    /// Source and target (local ids) of an edge.
    pub fn ends(&self, edge: usize) -> (u32, u32) {
        let source = self.start.partition_point(|start| *start <= edge as u64).saturating_sub(1);
        (source as u32, self.target[edge])
    }
}

/// A value for every synapse.
#[derive(Clone, Debug, PartialEq)]
pub enum Draw {
    Constant(f64),
    Normal { mean: f64, std: f64, limits: Limits },
    Lognormal { mu: f64, sigma: f64, limits: Limits },
    Uniform { low: f64, high: f64 },
    Exponential { mean: f64, limits: Limits },
}

/// What happens to a draw outside [low, high].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub low: f64,
    pub high: f64,
    /// Draw again (a truncated distribution) instead of clipping to the limit.
    pub redraw: bool,
}

impl Limits {
    pub const NONE: Limits = Limits { low: f64::NEG_INFINITY, high: f64::INFINITY, redraw: false };
}

/// One synapse as the rules produce it, before any table format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    pub projection: u32,
    /// Local id within the target population.
    pub target: u32,
    pub weight: f64,
    /// ms, as drawn.
    pub delay: f64,
}

/// A recorder other than spikes.
#[derive(Clone, Debug)]
pub enum Probe {
    /// State variables of the first `n` neurons (or listed ids) of a population, every `interval` ms.
    State { population: usize, variables: Vec<String>, neurons: Vec<u32>, interval: f64 },
    /// Population rate in bins of `bin` ms.
    Rate { population: usize, bin: f64 },
    /// Weights of a projection, at the start, at the end and every `interval` ms when given.
    Weights { projection: usize, interval: Option<f64> },
}

impl Projection {
    /// Least and largest initial weight: of given edges, or as far as a distribution reaches in practice.
    pub fn weight_range(&self) -> (f64, f64) {
        if let Rule::Explicit(edges) = &self.rule
            && let Some(given) = &edges.weight
        {
            let ends = |(low, high): (f64, f64), w: &f32| (low.min(*w as f64), high.max(*w as f64));
            return if given.is_empty() { (0.0, 0.0) } else { given.iter().fold((f64::INFINITY, f64::NEG_INFINITY), ends) };
        }
        let moments = self.weight.moments();
        (moments.min, moments.max)
    }

    /// Indices in the target's model of the states that the synapse's code reads.
    ///
    /// # Errors
    /// The target has no such state.
    pub fn post_states(&self, net: &Network) -> Result<Vec<usize>> {
        let wanted = self.synapse.model.plasticity.iter().flat_map(|p| &p.post_states);
        let Cell::Neuron(target) = &net.populations[self.target].cell else { return Ok(vec![]) };
        wanted.map(|state| target.model.reads_state(&self.synapse.model.name, &state.name)).collect()
    }
}

impl Network {
    pub fn neurons(&self) -> u32 {
        self.populations.last().map_or(0, |p| p.first + p.n)
    }
    /// Population index that holds a global id.
    pub fn population_of(&self, id: u32) -> usize {
        self.populations.partition_point(|p| p.first + p.n <= id)
    }
}
