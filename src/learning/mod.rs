//! What acts on whole weight matrices or between tasks: orthogonal projection, weight posteriors, importance, and the local
//! supervised rule they protect. Knows matrices and spikes as numbers; no engine, no file format.
//!
//! The contract between a rule and what protects it: for one layer with weights `W` (outputs x inputs, row-major) a rule forms
//! steps dW = -rate * sum over the batch of d x', with x the presynaptic factor (an eligibility trace) and d the postsynaptic one
//! (learning signal times pseudo-derivative). A [`Protection`] may change x before the product, and the step after it.

pub mod local;

/// Weights of one layer, row-major: `weight[o * inputs + i]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    pub weight: Vec<f32>,
}

/// What stands between a rule and a layer's weights.
pub trait Protection: Send {
    /// Change the presynaptic factors of a batch (batch x inputs, row-major) before they meet the postsynaptic ones.
    fn presynaptic(&mut self, layer: usize, x: &mut [f32], inputs: usize);
    /// Apply a step (outputs x inputs; what an unprotected layer would add to its weights).
    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]);
    /// A task has ended; `samples(layer)` gives presynaptic factors of its inputs (count x inputs, row-major).
    fn end_of_task(&mut self, layers: &[Layer], samples: &mut dyn FnMut(usize) -> Vec<f32>);
}
