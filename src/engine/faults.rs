//! What ends a run on any engine, in the same words: a weight beyond its bound, a state that is not a number. Promises names instead
//! of numbers of populations and projections, and times in ms.

use crate::error::{Error, Result};
use crate::network::Network;

/// A plastic synapse transmits more than `limit`, which is among `weights` (source, target, weight) of its projection; found at `at` ms.
pub(crate) fn beyond_bound(net: &Network, projection: usize, weights: &[(u32, u32, f32)], limit: f32, at: f64) -> Error {
    let what = match weights.iter().find(|w| !(w.2.abs() <= limit)) {
        Some((source, target, w)) => format!("the weight of the synapse from neuron {source} to neuron {target} is {w}"),
        None => "a synapse transmits more than it may".to_string(),
    };
    let (name, model) = (&net.projections[projection].name, &net.projections[projection].synapse.model.name);
    Error::Run {
        message: format!("projection `{name}`: {what}, beyond the bound {limit} of {model}, at {at:.3} ms"),
        remedy: "lower the learning rate, or clip the weight in the code of the rule".into(),
    }
}

/// Plastic weights that were read at `at` ms, unless one is beyond what its rule lets a weight reach.
pub(crate) fn within_bound(
    net: &Network,
    projection: usize,
    weights: Vec<(u32, u32, f32)>,
    limit: f32,
    at: f64,
) -> Result<Vec<(u32, u32, f32)>> {
    match weights.iter().all(|w| w.2.abs() <= limit) {
        true => Ok(weights),
        false => Err(beyond_bound(net, projection, &weights, limit, at)),
    }
}

/// A neuron (local id) of a population has a state that is not a number at `at` ms; the name of the state, where it is known.
pub(crate) fn not_a_number(population: &str, neuron: usize, state: Option<&str>, at: f64) -> Error {
    let state = state.map_or("the state".into(), |name| format!("state `{name}`"));
    Error::Run {
        message: format!("{state} of neuron {neuron} in population `{population}` is not a number at {at:.3} ms"),
        remedy: "check the parameters, weights and currents of this population; on a grid take a shorter step (simulation.dt)"
            .into(),
    }
}
