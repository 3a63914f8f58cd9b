//! The probes of states as every engine takes them: whose states, how often, and how they become what is recorded. Knows networks; how
//! samples are taken is each engine's own.

use crate::error::{Error, Result};
use crate::model::Recorder;
use crate::network::inputs::steps_between;
use crate::network::{Cell, Network, Probe};

/// A [`Probe::State`].
pub(crate) struct StateProbe {
    /// Index in `Network::probes`.
    pub probe: usize,
    pub population: usize,
    /// Steps between two samples.
    pub every: u64,
    /// Local ids.
    pub neurons: Vec<u32>,
    pub variables: Vec<Recorder>,
}

/// All of a network.
///
/// # Errors
/// A population of sources is probed, or a variable that its model does not record.
pub(crate) fn state_probes(net: &Network) -> Result<Vec<StateProbe>> {
    let probes = net.probes.iter().enumerate().filter_map(|(probe, p)| match p {
        Probe::State { population, variables, neurons, interval } => Some((probe, *population, variables, neurons, *interval)),
        _ => None,
    });
    let resolve = |(probe, population, variables, neurons, interval): (usize, usize, &Vec<String>, &Vec<u32>, f64)| {
        let Cell::Neuron(instance) = &net.populations[population].cell else {
            return Err(Error::input(
                format!("population `{}` emits spikes and has no state to record", net.populations[population].name),
                "record a population of neurons",
            ));
        };
        Ok(StateProbe {
            probe,
            population,
            every: steps_between(interval, net.dt),
            neurons: neurons.clone(),
            variables: variables.iter().map(|name| instance.recorder(name)).collect::<Result<_>>()?,
        })
    };
    probes.map(resolve).collect()
}
