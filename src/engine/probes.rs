//! The probes of states as every engine takes them: whose states, how often, and how they become what is recorded. Knows networks; how
//! samples are taken is each engine's own.

use crate::error::{Error, Result};
use crate::model::Recorder;
use crate::network::inputs::steps_between;
use crate::network::{Cell, Network, Probe, Window};

/// At which steps something is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    every: u64,
    /// The first step that may be one lies after this, the last is `until` at most.
    after: u64,
    until: u64,
}

impl Sampling {
    /// Every `interval` ms from 0 on, within a window.
    pub fn new(interval: f64, window: Window, dt: f64) -> Sampling {
        let step = |ms: f64| (ms / dt + 1e-6).floor().max(0.0) as u64;
        Sampling { every: steps_between(interval, dt), after: step(window.start), until: step(window.stop) }
    }

    /// Whether there is a sample at the end of a step.
    pub fn due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every) && step > self.after && step <= self.until
    }

    /// The next step that has one; u64::MAX where none is left.
    pub fn next(&self, step: u64) -> u64 {
        let next = (step.max(self.after) / self.every + 1) * self.every;
        if next <= self.until { next } else { u64::MAX }
    }
}

/// A [`Probe::State`].
pub(crate) struct StateProbe {
    /// Index in `Network::probes`.
    pub probe: usize,
    pub population: usize,
    pub sampling: Sampling,
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
        Probe::State { population, variables, neurons, interval, window } => {
            Some((probe, *population, variables, neurons, Sampling::new(*interval, *window, net.dt)))
        }
        _ => None,
    });
    let resolve = |(probe, population, variables, neurons, sampling): (usize, usize, &Vec<String>, &Vec<u32>, Sampling)| {
        let Cell::Neuron(instance) = &net.populations[population].cell else {
            return Err(Error::input(
                format!("population `{}` emits spikes and has no state to record", net.populations[population].name),
                "record a population of neurons",
            ));
        };
        Ok(StateProbe {
            probe,
            population,
            sampling,
            neurons: neurons.clone(),
            variables: variables.iter().map(|name| instance.recorder(name)).collect::<Result<_>>()?,
        })
    };
    probes.map(resolve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every step by itself, for windows on and between steps, before, within and beyond the first sample.
    #[test]
    fn samples_lie_within_their_window() {
        let dt = 0.1;
        for interval in [0.1, 0.3, 2.0] {
            for (start, stop) in
                [(f64::NEG_INFINITY, f64::INFINITY), (0.3, 0.6), (0.35, 2.05), (1.9, 2.0), (2.0, 2.1), (0.1, 9.0)]
            {
                let window = Window { start, stop };
                let sampling = Sampling::new(interval, window, dt);
                let due = |step: &u64| step % (interval / dt).round() as u64 == 0 && window.holds(*step as f64 * dt);
                let wanted: Vec<u64> = (1..=100).filter(due).collect();
                assert_eq!((1..=100).filter(|step| sampling.due(*step)).collect::<Vec<u64>>(), wanted, "{window:?}");
                let mut found = vec![sampling.next(0)];
                while *found.last().unwrap() <= 100 {
                    found.push(sampling.next(found[found.len() - 1]));
                }
                found.pop();
                assert_eq!(found, wanted, "{interval} {window:?}");
            }
        }
    }
}
