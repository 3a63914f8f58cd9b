//! What the spike layers of a memory are made of: populations without synapses on an engine, and their spikes counted.

use crate::engine::{self, Engine, Kind, Sink, Spike};
use crate::error::{Error, Result};
use crate::model::library::Library;
use crate::network::{Cell, Network, NeuronInstance, Population};
use std::sync::Arc;

/// ms a step.
const DT: f64 = 1.0;

/// An engine with populations of so many cells each.
pub fn engine(kind: Kind, seed: u64, populations: Vec<(&str, usize, Cell)>) -> Result<Box<dyn Engine>> {
    let mut net = Network::new(DT, seed);
    for (name, n, cell) in populations {
        net.add(Population::new(name, n as u32, cell));
    }
    engine::open(kind, &Arc::new(net), &engine::Options::threads(1))
}

/// The neuron that codes a number as spikes (`if_soft_reset`), and the index of the state that drives it.
pub fn integrator() -> Result<(Cell, usize)> {
    let model = Library::built_in()?.neuron("if_soft_reset")?;
    let slope = model.states.iter().position(|s| s.name == "slope");
    let slope =
        slope.ok_or_else(|| Error::input("if_soft_reset has no state `slope`", "use the model that comes with sharpwave"))?;
    Ok((Cell::Neuron(NeuronInstance::new(&model, &[], DT)?), slope))
}

/// Spikes by cell.
pub struct Counts(pub Vec<u32>);

impl Sink for Counts {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        spikes.iter().for_each(|s| self.0[s.id as usize] += 1);
        Ok(())
    }
    fn sample(&mut self, _: usize, _: f64, _: &[f32]) -> Result<()> {
        Ok(())
    }
}
