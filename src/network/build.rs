//! Networks in a program, piece by piece: what a piece needs is given, everything else is as usual and can be set afterwards. Promises
//! that ids count through the populations in the order in which they were added. Knows no scenario.

use super::inputs::{Drive, DriveKind};
use super::{Cell, Draw, Network, NeuronInstance, Population, Projection, Rule, SynapseInstance, Values};
use crate::error::Result;
use crate::model::NeuronModel;
use crate::model::library::Library;
use std::sync::Arc;

/// The same value for every synapse.
impl From<f64> for Draw {
    fn from(value: f64) -> Draw {
        Draw::Constant(value)
    }
}

impl Cell {
    /// Neurons of a model for steps of `dt` ms; parameters that are not given have the model's defaults.
    ///
    /// # Errors
    /// A parameter that the model has not, or a value that it does not take.
    pub fn neuron(model: &Arc<NeuronModel>, given: &[(&str, f64)], dt: f64) -> Result<Cell> {
        let given: Vec<(String, Values)> = given.iter().map(|(name, x)| (name.to_string(), Values::Uniform(*x))).collect();
        Ok(Cell::Neuron(NeuronInstance::new(model, &given, dt)?))
    }
}

impl Population {
    /// `n` cells; no positions, and no spikes recorded.
    pub fn new(name: impl Into<String>, n: u32, cell: Cell) -> Population {
        Population { name: name.into(), first: 0, n, cell, positions: None, extent: [1.0, 1.0], record_spikes: None }
    }
}

impl Projection {
    /// Static synapses from one population to another (indices into [`Network::populations`]); `weight` in the unit of the target's port,
    /// `delay` in ms. Each weight goes to the port of its sign; synapses of a cell onto itself and several between the same two occur.
    pub fn new(
        name: impl Into<String>,
        source: usize,
        target: usize,
        rule: Rule,
        weight: impl Into<Draw>,
        delay: impl Into<Draw>,
    ) -> Result<Projection> {
        let synapse = SynapseInstance::new(&Library::built_in()?.synapse("static_synapse")?, &[], 1.0)?;
        let (weight, delay) = (weight.into(), delay.into());
        Ok(Projection {
            name: name.into(),
            source,
            target,
            rule,
            port: None,
            weight,
            delay,
            axonal: 0.0,
            synapse,
            autapses: true,
            multapses: true,
            modulator: None,
        })
    }
}

impl Drive {
    /// What a population (index into [`Network::populations`]) receives all the time.
    pub fn new(name: impl Into<String>, population: usize, kind: DriveKind) -> Drive {
        Drive { name: name.into(), population, kind, start: 0.0, stop: f64::INFINITY }
    }
}

impl Network {
    /// An empty network with steps of `dt` ms, and the seed of all that is drawn.
    pub fn new(dt: f64, seed: u64) -> Network {
        Network {
            dt,
            seed,
            stimulus_seed: seed,
            populations: vec![],
            projections: vec![],
            drives: vec![],
            probes: vec![],
            modulators: vec![],
            homeostasis: vec![],
        }
    }

    /// Adds a population, whose ids follow those of the populations before it; its index.
    pub fn add(&mut self, population: Population) -> usize {
        let first = self.neurons();
        self.populations.push(Population { first, ..population });
        self.populations.len() - 1
    }

    /// Adds a projection; its index.
    pub fn connect(&mut self, projection: Projection) -> usize {
        self.projections.push(projection);
        self.projections.len() - 1
    }

    /// Adds a drive; its index.
    pub fn drive(&mut self, drive: Drive) -> usize {
        self.drives.push(drive);
        self.drives.len() - 1
    }
}
