//! The network as plain data, resolved and checked: populations, projections, stimuli, probes, in ms, mV, pA, nS, Hz and f64.
//! Every engine starts from here. This module knows connectivity, and no neuron model's equations.

mod build;
pub mod connectivity;
pub mod digits;
pub mod distribution;
mod edges;
pub mod fixed_point;
pub mod footprint;
mod huge_pages;
pub mod inputs;
pub mod synapse_table;
#[cfg(test)]
pub(crate) mod testing;

use crate::error::Result;
pub use crate::model::{NeuronInstance, SynapseInstance, Values};
use inputs::{Drive, SpikeSource};
use std::sync::Arc;

/// A resolved network. Global neuron ids count through the populations in order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Network {
    /// Step in ms (the event engine uses it for probes and display only).
    pub dt: f64,
    /// Seed of everything that is drawn once: parameters, positions, connections.
    pub seed: u64,
    /// Seed of stimuli; another one than `seed` makes a branch of a run: the same network under other input.
    pub stimulus_seed: u64,
    /// In the order in which global ids count through them.
    pub populations: Vec<Population>,
    /// Their indices are the owners of what is drawn for their synapses.
    pub projections: Vec<Projection>,
    /// Inputs without synapses.
    pub drives: Vec<Drive>,
    /// What is recorded beside spikes.
    pub probes: Vec<Probe>,
    /// Global signals that gate plasticity.
    pub modulators: Vec<Modulator>,
    /// What acts on all weights onto a target at stated times.
    pub homeostasis: Vec<Homeostasis>,
}

/// Neurons of one model, or sources.
#[derive(Clone, Debug)]
pub struct Population {
    /// Unique in a network.
    pub name: String,
    /// Global id of its first neuron.
    pub first: u32,
    /// Neurons in it.
    pub n: u32,
    /// What they are.
    pub cell: Cell,
    /// 2-D positions in mm where a projection needs them, and the extent (width, height) of the sheet.
    pub positions: Option<Arc<[[f32; 2]]>>,
    /// Width and height of the sheet, mm; 0 without positions.
    pub extent: [f64; 2],
    /// Whose spikes are recorded, and when.
    pub record_spikes: Option<SpikeRecord>,
}

/// Some neurons' spikes of a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct SpikeRecord {
    /// Whose.
    pub neurons: Chosen,
    /// When.
    pub window: Window,
}

impl SpikeRecord {
    /// All spikes of the first `n` neurons.
    pub fn first(n: u32) -> SpikeRecord {
        SpikeRecord { neurons: Chosen::First(n), window: Window::ALWAYS }
    }

    /// Whether a spike at `time` ms of the neuron with this local id is recorded.
    pub fn holds(&self, id: u32, time: f64) -> bool {
        self.neurons.rank(id).is_some() && self.window.holds(time)
    }
}

/// Neurons of a population, by local ids.
#[derive(Clone, Debug, PartialEq)]
pub enum Chosen {
    /// The first so many.
    First(u32),
    /// These, ascending.
    Listed(Arc<[u32]>),
}

impl Chosen {
    /// How many.
    pub fn count(&self) -> u32 {
        match self {
            Chosen::First(n) => *n,
            Chosen::Listed(ids) => ids.len() as u32,
        }
    }

    /// Where a neuron stands among them; None where it is not one of them.
    pub fn rank(&self, id: u32) -> Option<u32> {
        match self {
            Chosen::First(n) => (id < *n).then_some(id),
            Chosen::Listed(ids) => ids.binary_search(&id).ok().map(|rank| rank as u32),
        }
    }
}

/// A stretch of time, ms: what is stamped after `start`, and at `stop` at the latest, as a step that ends at t covers (t - dt, t].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Left out itself; -infinity for from the very beginning.
    pub start: f64,
    /// Still in it.
    pub stop: f64,
}

impl Window {
    /// All of a run, a spike at 0 ms included.
    pub const ALWAYS: Window = Window { start: f64::NEG_INFINITY, stop: f64::INFINITY };
    /// What rounding may do to a time, ms.
    const SLACK: f64 = 1e-9;

    /// From one time to another; 0 ms is the very beginning.
    pub fn new(start: f64, stop: f64) -> Window {
        Window { start: if start > 0.0 { start } else { f64::NEG_INFINITY }, stop }
    }

    /// Whether what is stamped `time` lies within.
    pub fn holds(&self, time: f64) -> bool {
        time > self.start + Self::SLACK && time <= self.stop + Self::SLACK
    }
}

/// What a population consists of.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Neurons of a model.
    Neuron(NeuronInstance),
    /// Emits spikes without dynamics (Poisson sources, spike trains, encoded images).
    Source(SpikeSource),
}

/// Synapses from one population to another, made by one rule.
#[derive(Clone, Debug)]
pub struct Projection {
    /// For messages and recordings; unique in a network.
    pub name: String,
    /// Indices into `Network::populations`.
    pub source: usize,
    /// Whom the synapses reach.
    pub target: usize,
    /// Who is connected to whom.
    pub rule: Rule,
    /// Index into the target model's ports; None: by the sign of each weight.
    pub port: Option<usize>,
    /// Of each synapse, in the unit of the port.
    pub weight: Draw,
    /// ms, rounded to whole steps (at least one) on a grid, exact in the event engine.
    pub delay: Draw,
    /// The share of every delay, ms, after which a spike of the source counts at a plastic synapse; an event of the target counts there
    /// after the rest, which is at least a step. 0: the whole delay is dendritic.
    pub axonal: f64,
    /// Static, or with a rule of plasticity.
    pub synapse: SynapseInstance,
    /// Whether a neuron may project to itself.
    pub autapses: bool,
    /// Whether two neurons may have several synapses.
    pub multapses: bool,
    /// Index into `Network::modulators`: the signal that the synapse's code reads.
    pub modulator: Option<usize>,
}

/// A named global signal, for instance dopamine: it jumps at events and decays to 0 with `tau` between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Modulator {
    /// Unique in a network.
    pub name: String,
    /// ms; infinite for a level that stays until the next jump.
    pub tau: f64,
    /// Level at 0 ms.
    pub initial: f64,
    /// (ms, amount): given in the scenario, sorted by time. More may come while running, by [`crate::engine::Engine::jump`].
    pub jumps: Vec<(f64, f64)>,
    /// The population whose spikes make it jump, if any.
    pub spikes: Option<ModulatorSpikes>,
}

/// Each spike of a population makes a signal jump by `amount`, `delay` ms (whole steps, at least one) later.
#[derive(Clone, Debug, PartialEq)]
pub struct ModulatorSpikes {
    /// Index into [`Network::populations`].
    pub population: usize,
    /// ms from a spike to its effect.
    pub delay: f64,
    /// What each spike adds to the level.
    pub amount: f64,
}

/// At every whole multiple of `every` ms the weights of a plastic projection onto each target are multiplied by a common factor.
#[derive(Clone, Debug, PartialEq)]
pub struct Homeostasis {
    /// Index into [`Network::projections`]; it must be plastic.
    pub projection: usize,
    /// ms between two times.
    pub every: f64,
    /// The common factor of a target.
    pub kind: HomeostasisKind,
}

/// Where the factor of a target comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HomeostasisKind {
    /// To this sum of weights onto each target (Diehl & Cook 2015); targets whose weights are all 0 are left alone.
    Normalise {
        /// In the unit of the weights.
        sum: f64,
    },
    /// Synaptic scaling: factor 1 + gain * (target - rate), rate in Hz over the last interval (van Rossum, Bi & Turrigiano 2000).
    Scaling {
        /// Rate to reach, Hz.
        target: f64,
        /// Change of the factor for each Hz that is missing.
        gain: f64,
    },
}

/// Connectivity, NEST's names.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Each source to the target of the same number; both populations have one size.
    OneToOne,
    /// Each source to each target.
    AllToAll,
    /// Each pair on its own.
    PairwiseBernoulli {
        /// Probability of a synapse, 0 to 1.
        p: f64,
    },
    /// Each target draws its sources.
    FixedIndegree {
        /// Synapses onto each target.
        indegree: u32,
    },
    /// Each source draws its targets.
    FixedOutdegree {
        /// Synapses of each source.
        outdegree: u32,
    },
    /// Pairs are drawn.
    FixedTotalNumber {
        /// Synapses of the projection.
        n: u64,
    },
    /// Probability `p(distance)` within `radius` mm on the sheet.
    Distance {
        /// Probability by distance.
        profile: Profile,
        /// mm; there is no synapse beyond it.
        radius: f64,
        /// Whether the sheet's opposite edges are neighbours.
        periodic: bool,
    },
    /// Explicit edges, sorted by source; local ids. Weights and delays given here replace the projection's draws.
    Explicit(Arc<Edges>),
}

/// Probability of a synapse by the distance of its neurons.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Profile {
    /// The same everywhere within the radius.
    Constant {
        /// 0 to 1.
        p: f64,
    },
    /// p0 exp(-distance² / (2 sigma²)).
    Gaussian {
        /// Probability at distance 0.
        p0: f64,
        /// mm.
        sigma: f64,
    },
    /// p0 exp(-distance / lambda).
    Exponential {
        /// Probability at distance 0.
        p0: f64,
        /// mm.
        lambda: f64,
    },
}

/// Edges that are given, as rows by source.
#[derive(Clone, Debug, Default)]
pub struct Edges {
    /// First edge of each source, length n_sources + 1.
    pub start: Vec<u64>,
    /// Local id within the target population, an edge each.
    pub target: Vec<u32>,
    /// In the unit of the port, an edge each; None: the projection draws them.
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
    /// The same for all.
    Constant(f64),
    /// Gaussian.
    Normal {
        /// Before limits.
        mean: f64,
        /// Standard deviation before limits.
        std: f64,
        /// Where it ends.
        limits: Limits,
    },
    /// exp of a Gaussian.
    Lognormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// Where it ends.
        limits: Limits,
    },
    /// All values between two alike.
    Uniform {
        /// The smallest.
        low: f64,
        /// The largest.
        high: f64,
    },
    /// Density exp(-x / mean) / mean, x from 0.
    Exponential {
        /// Before limits.
        mean: f64,
        /// Where it ends.
        limits: Limits,
    },
}

/// What happens to a draw outside [low, high].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The smallest value; may be -infinity.
    pub low: f64,
    /// The largest value; may be infinity.
    pub high: f64,
    /// Draw again (a truncated distribution) instead of clipping to the limit.
    pub redraw: bool,
}

impl Limits {
    /// No limits.
    pub const NONE: Limits = Limits { low: f64::NEG_INFINITY, high: f64::INFINITY, redraw: false };
}

/// One synapse as the rules produce it, before any table format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Index into [`Network::projections`].
    pub projection: u32,
    /// Local id within the target population.
    pub target: u32,
    /// As drawn, in the unit of the port.
    pub weight: f64,
    /// ms, as drawn.
    pub delay: f64,
}

/// A recorder other than spikes.
#[derive(Clone, Debug)]
pub enum Probe {
    /// State variables of some neurons of a population, every `interval` ms.
    State {
        /// Index into [`Network::populations`].
        population: usize,
        /// Names of states in the population's model.
        variables: Vec<String>,
        /// Local ids.
        neurons: Vec<u32>,
        /// ms, a whole number of steps on a grid.
        interval: f64,
        /// When.
        window: Window,
    },
    /// Population rate in bins of `bin` ms.
    Rate {
        /// Index into [`Network::populations`].
        population: usize,
        /// ms.
        bin: f64,
        /// Of the bins, those that lie within.
        window: Window,
    },
    /// Weights of a projection, and beside them what its synapse model records, at the start of a window, at its end (that of the run, if it is earlier), and at every multiple of
    /// `interval` ms between when given.
    Weights {
        /// Index into [`Network::projections`].
        projection: usize,
        /// Names of recordables of the synapse model.
        states: Vec<String>,
        /// ms.
        interval: Option<f64>,
        /// When, its start included.
        window: Window,
    },
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

    /// Least and largest delay, ms: of given edges, or as far as a distribution reaches.
    pub fn delay_range(&self) -> (f64, f64) {
        let moments = self.delay.moments();
        match &self.rule {
            Rule::Explicit(edges) => edges.delay.as_ref().map_or((moments.min, moments.max), |given| {
                given.iter().fold((f64::INFINITY, 0.0), |(low, high), d| (low.min(*d), high.max(*d)))
            }),
            _ => (moments.min, moments.max),
        }
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
    /// Neurons and sources of all populations.
    pub fn neurons(&self) -> u32 {
        self.populations.last().map_or(0, |p| p.first + p.n)
    }
    /// Population index that holds a global id.
    pub fn population_of(&self, id: u32) -> usize {
        self.populations.partition_point(|p| p.first + p.n <= id)
    }
}
