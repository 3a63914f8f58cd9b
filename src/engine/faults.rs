//! What ends a run on any engine, in the same words: a weight beyond its bound, a neuron that can no longer be computed. Promises names instead
//! of numbers of populations and projections, and times in ms.

use crate::error::{Error, Result};
use crate::network::{Cell, Network};

/// A dynamic synapse transmits more than `limit`, which is among `weights` (source, target, weight) of its projection; found at `at` ms.
pub(crate) fn beyond_bound(net: &Network, projection: usize, weights: &[(u32, u32, f32)], limit: f32, at: f64) -> Error {
    let what = match weights.iter().find(|w| !(w.2.abs() <= limit)) {
        Some((source, target, w)) => format!("the weight of the synapse from neuron {source} to neuron {target} is {w}"),
        None => "a synapse transmits more than it may".to_string(),
    };
    let (name, model) = (&net.projections[projection].name, &net.projections[projection].synapse.model.name);
    Error::Run {
        message: format!("projection `{name}`: {what}, beyond the bound {limit} of {model}, at {at:.3} ms"),
        remedy: match net.projections[projection].synapse.model.plasticity {
            Some(_) => "lower the learning rate, or clip the weight in the code of the rule".into(),
            None => "give larger weights, so that the code of the synapse need not multiply them as much".into(),
        },
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

/// The error of a neuron whose states can no longer be computed. `id` is global, `states` its words, found after `step` steps;
/// `exact`: at that step and not in one before.
pub(crate) fn broken_neuron(net: &Network, id: u32, states: &[u32], step: u64, exact: bool) -> Error {
    let population = &net.populations[net.population_of(id)];
    let (neuron, at) = (id - population.first, step as f64 * net.dt);
    let when = if exact { format!("at {at:.3} ms") } else { format!("at {at:.3} ms or before") };
    let whose = format!("neuron {neuron} in population `{}`", population.name);
    let Cell::Neuron(instance) = &population.cell else {
        return Error::Run { message: format!("{whose} failed {when}"), remedy: "check its input".into() };
    };
    let model = &instance.model;
    let broken = model.states.iter().zip(states).find(|(state, word)| !state.is_sound(**word));
    if let (Some(stable), true) = (&model.stable, broken.is_none_or(|(_, word)| f32::from_bits(*word).is_nan())) {
        let h = net.dt / instance.substeps as f64;
        return Error::Run {
            message: format!(
                "{whose} can no longer be integrated {when}: {} needs {stable}, here with steps of {h} ms",
                model.name
            ),
            remedy: "take a shorter step (simulation.dt), or lower the weights and conductances of its inputs".into(),
        };
    }
    let what = match broken {
        Some((state, word)) if f32::from_bits(*word).is_nan() => format!("state `{}` of {whose} is not a number", state.name),
        Some((state, word)) => format!("state `{}` of {whose} is {:e} {}", state.name, f32::from_bits(*word), state.unit),
        None => format!("a state of {whose} is not a number"),
    };
    Error::Run {
        message: format!("{what} {when}"),
        remedy: "take a shorter step (simulation.dt), or check the parameters and weights of this population".into(),
    }
}

/// The same on an engine without a grid, of a neuron by its local id.
pub(crate) fn not_a_number(population: &str, neuron: usize, at: f64) -> Error {
    Error::Run {
        message: format!("the state of neuron {neuron} in population `{population}` is not a number at {at:.3} ms"),
        remedy: "check the parameters, weights and currents of this population".into(),
    }
}
