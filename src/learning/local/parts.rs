//! What an engine that learns elsewhere takes along from a network and brings back: matrices, moments, fixed feedback. Knows no engine.

use super::{Layer, Moments, Network, Result, Samples, spikes};

/// A matrix that learns and its optimiser's memory: moments are empty before the first step.
pub(crate) struct Learned<'a> {
    pub name: String,
    pub layer: &'a mut Layer,
    pub first: &'a mut Vec<f32>,
    pub second: &'a mut Vec<f32>,
    pub steps: &'a mut i32,
}

impl Network {
    /// The layers, then the local readouts.
    pub(crate) fn learned(&mut self) -> Vec<Learned<'_>> {
        let name = |m: usize| match m.checked_sub(self.layers.len()) {
            None => format!("layer {m}"),
            Some(l) => format!("local readout {l}"),
        };
        let names: Vec<String> = (0..self.layers.len() + self.readouts.len()).map(name).collect();
        let layers = self.layers.iter_mut().chain(&mut self.readouts);
        let moments = self.moments.iter_mut().chain(&mut self.readout_moments);
        let all = names.into_iter().zip(layers).zip(moments);
        all.map(|((name, layer), Moments { first, second, steps })| Learned { name, layer, first, second, steps }).collect()
    }

    /// Steps that Adam has taken.
    pub(crate) fn adam_steps(&self) -> i32 {
        self.moments[0].steps
    }

    /// Fixed random feedback of every hidden layer: neurons x classes.
    pub(crate) fn feedback(&self) -> &[Layer] {
        &self.feedback
    }

    /// The kernel of rates and readout divided by its sum, and that sum.
    pub(crate) fn kernel(&self) -> (Vec<f32>, f32) {
        spikes::kernel(self.settings.steps, self.settings.leak)
    }

    /// Refuse samples that do not fit, labels that are not classes.
    pub(crate) fn check_samples(&self, samples: &Samples) -> Result<()> {
        samples.check(self)?;
        self.check_labels(samples.labels, samples.labels.len())
    }
}
