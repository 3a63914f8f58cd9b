//! What acts on whole weight matrices or between tasks: orthogonal projection, weight posteriors, importance, and the local
//! supervised rule they protect; networks of their own kind: context cells that gate a posterior, internal replay, predictive
//! coding, recurrent networks with eligibility traces. Knows matrices and spikes as numbers; no engine, no file format.
//!
//! The contract between a rule and what protects it: for one layer with weights `W` (outputs x inputs, row-major) a rule forms
//! steps dW = -rate * sum over the batch of d x', with x the presynaptic factor (an eligibility trace) and d the postsynaptic one
//! (learning signal times pseudo-derivative). A [`Protection`] may change x before the product, and the step after it.

use crate::error::{Error, Result};
use state::State;

pub(crate) mod associative;
pub mod cascade;
pub mod contexts;
pub(crate) mod discriminant;
pub mod dreams;
pub mod eprop;
pub mod gated;
pub mod importance;
pub mod local;
pub mod metaplastic;
pub mod metrics;
pub mod posterior;
pub mod predictive;
pub mod projection;
pub mod state;

/// Weights that one thread changes at a time.
const PIECE: usize = 1 << 14;

/// Weights of one layer, row-major: `weight[o * inputs + i]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// Columns.
    pub inputs: usize,
    /// Rows.
    pub outputs: usize,
    /// outputs x inputs.
    pub weight: Vec<f32>,
}

impl Layer {
    /// Add a step of the same shape.
    pub fn add(&mut self, step: &[f32]) {
        assert_eq!(step.len(), self.weight.len(), "a step has the shape of its layer");
        self.weight.iter_mut().zip(step).for_each(|(w, s)| *w += s);
    }

    /// Refuse a weight that is not a number any more, naming the synapse (`name` is the projection's).
    pub fn check_finite(&self, name: &str) -> Result<()> {
        match self.weight.iter().position(|w| !w.is_finite()) {
            None => Ok(()),
            Some(at) => Err(Error::Run {
                message: format!(
                    "{name}: the weight from source {} to target {} became {}",
                    at % self.inputs.max(1),
                    at / self.inputs.max(1),
                    self.weight[at]
                ),
                remedy: "lower the learning rate or bound the weights; the last checkpoint is kept".into(),
            }),
        }
    }
}

/// What stands between a rule and a layer's weights.
pub trait Protection: Send {
    /// Change the presynaptic factors of a batch (batch x inputs, row-major) before they meet the postsynaptic ones.
    fn presynaptic(&mut self, _layer: usize, _x: &mut [f32], _inputs: usize) {}
    /// Change a step (outputs x inputs; what an unprotected layer would add to its weights) before it is applied.
    fn step(&mut self, _layer: usize, _weights: &Layer, _step: &mut [f32]) {}
    /// Apply a step.
    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]) {
        let mut step = step.to_vec();
        self.step(layer, weights, &mut step);
        weights.add(&step);
    }
    /// What it does to a layer until the next end of a task, for an engine that keeps the weights elsewhere; refused by protections
    /// that only know the way through [`Protection::apply`].
    fn links(&mut self, _layer: usize) -> Result<Vec<Link<'_>>> {
        let name = std::any::type_name::<Self>().rsplit("::").next().unwrap_or_default();
        Err(Error::input(format!("{name} does not learn on the gpu"), "set engine = \"cpu\" for this protection"))
    }
    /// A task has ended; `samples(layer)` gives presynaptic factors of its inputs (count x inputs, row-major).
    fn end_of_task(&mut self, _layers: &[Layer], _samples: &mut dyn FnMut(usize) -> Vec<f32>) -> Result<()> {
        Ok(())
    }
    /// Everything it remembers, as named arrays; options stay outside.
    fn state(&self) -> State {
        State::default()
    }
    /// Take back what [`Protection::state`] gave, into one that was made with the same options: it goes on bit for bit. Refused where
    /// an array is missing, of another size or not finite; what was refused is left unchanged (in a chain, its later links too).
    fn restore(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
    /// Bytes of what [`Protection::state`] gives.
    fn bytes(&self) -> usize {
        0
    }
    /// How it stands after the last task, a line each: what is used up, what is left; a line that starts with "warning:" is one.
    fn report(&self) -> Vec<String> {
        vec![]
    }
}

/// Nothing between a rule and its weights: plain sequential learning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unprotected;

impl Protection for Unprotected {
    fn links(&mut self, _layer: usize) -> Result<Vec<Link<'_>>> {
        Ok(vec![])
    }
}

/// One thing that a protection does to a layer, as plain data; several are done in order.
#[derive(Debug)]
pub enum Link<'a> {
    /// To the presynaptic factors.
    Factors(Projector<'a>),
    /// To the rows of a step.
    Steps(Projector<'a>),
    /// Steps times [`metaplastic::passes`] at this m.
    Metaplastic(f32),
    /// Penalty or limit by importance (outputs x inputs) around an anchor of the same shape.
    Hold {
        /// Strength, rate and form.
        options: importance::Options,
        /// outputs x inputs.
        importance: &'a [f32],
        /// outputs x inputs.
        anchor: &'a [f32],
    },
    /// The posterior learns from the step and leaves its next sample in the layer. Stands last; what it learned is written here.
    Posterior(&'a mut posterior::Posterior),
}

/// A linear map of rows of a layer's inputs.
#[derive(Clone, Copy, Debug)]
pub enum Projector<'a> {
    /// x - H'(Hx).
    Basis(&'a projection::Basis),
    /// P x, P symmetric (inputs x inputs).
    Matrix(&'a [f32]),
}

impl Protection for Box<dyn Protection> {
    fn presynaptic(&mut self, layer: usize, x: &mut [f32], inputs: usize) {
        (**self).presynaptic(layer, x, inputs);
    }
    fn step(&mut self, layer: usize, weights: &Layer, step: &mut [f32]) {
        (**self).step(layer, weights, step);
    }
    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]) {
        (**self).apply(layer, weights, step);
    }
    fn links(&mut self, layer: usize) -> Result<Vec<Link<'_>>> {
        (**self).links(layer)
    }
    fn end_of_task(&mut self, layers: &[Layer], samples: &mut dyn FnMut(usize) -> Vec<f32>) -> Result<()> {
        (**self).end_of_task(layers, samples)
    }
    fn state(&self) -> State {
        (**self).state()
    }
    fn restore(&mut self, state: &State) -> Result<()> {
        (**self).restore(state)
    }
    fn bytes(&self) -> usize {
        (**self).bytes()
    }
    fn report(&self) -> Vec<String> {
        (**self).report()
    }
}

/// Several protections, in order: each sees the factors and steps that its predecessors left; the last one writes the weights.
#[derive(Default)]
pub struct Chain<P = Box<dyn Protection>>(pub Vec<P>);

impl<P: Protection> Protection for Chain<P> {
    fn presynaptic(&mut self, layer: usize, x: &mut [f32], inputs: usize) {
        self.0.iter_mut().for_each(|p| p.presynaptic(layer, x, inputs));
    }

    fn step(&mut self, layer: usize, weights: &Layer, step: &mut [f32]) {
        self.0.iter_mut().for_each(|p| p.step(layer, weights, step));
    }

    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]) {
        let Some((last, before)) = self.0.split_last_mut() else { return weights.add(step) };
        let mut step = step.to_vec();
        before.iter_mut().for_each(|p| p.step(layer, weights, &mut step));
        last.apply(layer, weights, &step);
    }

    fn links(&mut self, layer: usize) -> Result<Vec<Link<'_>>> {
        let mut links = vec![];
        for protection in &mut self.0 {
            if let Some(Link::Posterior(_)) = links.last() {
                return Err(Error::input(
                    "a posterior before another protection does not learn on the gpu",
                    "put it last in the chain, or set engine = \"cpu\"",
                ));
            }
            links.extend(protection.links(layer)?);
        }
        Ok(links)
    }

    fn end_of_task(&mut self, layers: &[Layer], samples: &mut dyn FnMut(usize) -> Vec<f32>) -> Result<()> {
        self.0.iter_mut().try_for_each(|p| p.end_of_task(layers, samples))
    }

    fn state(&self) -> State {
        let mut state = State::default();
        self.0.iter().enumerate().for_each(|(i, p)| state.put_part(&i.to_string(), p.state()));
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.0.iter_mut().enumerate().try_for_each(|(i, p)| p.restore(&state.part(&i.to_string())))
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|p| p.bytes()).sum()
    }

    fn report(&self) -> Vec<String> {
        self.0.iter().flat_map(|p| p.report()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::importance::{Form, Importance, Kind, Options};
    use super::metaplastic::Metaplastic;
    use super::projection::{self, Projection};
    use super::*;

    #[test]
    fn a_chain_is_its_links_one_after_the_other() {
        let inputs = 3;
        let sample = vec![1.0, 1.0, 0.0];
        let mut layer = Layer { inputs, outputs: 1, weight: vec![0.5, -0.5, 2.0] };
        let projection = Projection::new(&[inputs], projection::Options::svd(vec![0.99])).unwrap();
        let limit = Importance::new(Kind::L2, Options { strength: 2.0, rate: 0.5, form: Form::Limit }).unwrap();
        let mut chain: Chain = Chain(vec![Box::new(projection), Box::new(Metaplastic::new(vec![1.3]).unwrap()), Box::new(limit)]);
        chain.end_of_task(std::slice::from_ref(&layer), &mut |_| vec![]).unwrap_err();
        chain.end_of_task(std::slice::from_ref(&layer), &mut |_| sample.clone()).unwrap();

        let mut x = vec![2.0, 0.0, 1.0];
        chain.presynaptic(0, &mut x, inputs);
        let expected = [1.0, -1.0, 1.0];
        assert!(x.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{x:?}");

        let before = layer.weight.clone();
        chain.apply(0, &mut layer, &[-0.1, -0.1, 0.2]);
        // the first step shrinks |w|: times 1 - tanh(1.3 * 0.5)²; then every step is divided by 1 + strength
        let shrink = 1.0 - (1.3f32 * 0.5).tanh().powi(2);
        let moved: Vec<f32> = layer.weight.iter().zip(&before).map(|(a, b)| a - b).collect();
        let expected = [-0.1 * shrink / 3.0, -0.1 / 3.0, 0.2 / 3.0];
        assert!(moved.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{moved:?} {expected:?}");
    }

    #[test]
    fn a_weight_that_is_no_number_is_named() {
        let layer = Layer { inputs: 2, outputs: 2, weight: vec![0.0, 1.0, f32::NAN, 0.0] };
        let message = layer.check_finite("in_out").unwrap_err().to_string();
        assert!(message.contains("source 0 to target 1"), "{message}");
    }
}
