//! Consolidation by magnitude: the larger a weight has grown, the less of a step that would shrink it passes. Knows weights and
//! steps as numbers; needs no task boundaries.

use super::state::State;
use super::{Layer, Link, Protection};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// Steps that shrink |w| are multiplied by 1 - tanh²(m w), others pass whole (Laborieux et al. 2021, "Synaptic metaplasticity in
/// binarized neural networks", eq. 3).
#[derive(Clone, Debug, PartialEq)]
pub struct Metaplastic {
    /// m per layer, 1 / weight unit; the last one serves the layers above.
    m: Vec<f32>,
}

impl Metaplastic {
    /// `m` per layer (the last serves the layers above); refused where negative or no number.
    pub fn new(m: Vec<f32>) -> Result<Self> {
        if m.is_empty() || m.iter().any(|m| !(m.is_finite() && *m >= 0.0)) {
            return Err(Error::input(format!("metaplasticity: m = {m:?}"), "give one number of at least 0 a layer"));
        }
        Ok(Metaplastic { m })
    }

    fn of(&self, layer: usize) -> f32 {
        self.m[layer.min(self.m.len() - 1)]
    }
}

fn hold_back(m: f32, weights: &[f32], step: &mut [f32]) {
    let pieces = step.par_chunks_mut(super::PIECE).zip(weights.par_chunks(super::PIECE));
    pieces.for_each(|(step, weight)| step.iter_mut().zip(weight).for_each(|(s, &w)| *s *= passes(m, w, *s)));
}

/// What passes of a step at a weight: 1 for steps away from zero, 1 - tanh²(m w) for steps towards it.
#[inline]
pub fn passes(m: f32, weight: f32, step: f32) -> f32 {
    if weight * step < 0.0 { 1.0 - (m * weight).tanh().powi(2) } else { 1.0 }
}

/// Binarised weights over hidden ones, as in the original: the network is shown ±scale by the sign of a hidden weight, and steps
/// go to the hidden weight, held back by its magnitude. So that a synapse can become harder to change without changing.
#[derive(Clone, Debug, PartialEq)]
pub struct Binarised {
    rule: Metaplastic,
    layers: Vec<Hidden>,
}

/// Hidden weights of a layer, and what it shows.
#[derive(Clone, Debug, PartialEq)]
struct Hidden {
    weight: Vec<f32>,
    scale: f32,
}

impl Binarised {
    /// The layers' weights become hidden weights, times `start`; their root mean square times the layer's factor of `gain` (the last one
    /// serves the layers above) is the scale, and ±scale is left in `layers`.
    pub fn new(m: Vec<f32>, start: f32, gain: &[f32], layers: &mut [Layer]) -> Result<Self> {
        let rule = Metaplastic::new(m)?;
        if gain.is_empty() || gain.iter().chain([&start]).any(|g| !(g.is_finite() && *g > 0.0)) {
            let message = format!("metaplasticity: start {start}, gain {gain:?}");
            return Err(Error::input(message, "give numbers above 0, one gain a layer"));
        }
        let hide = |(l, layer): (usize, &mut Layer)| {
            let square = layer.weight.iter().map(|w| (*w as f64).powi(2)).sum::<f64>() / layer.weight.len().max(1) as f64;
            let hidden = Hidden {
                weight: layer.weight.iter().map(|w| w * start).collect(),
                scale: square.sqrt() as f32 * gain[l.min(gain.len() - 1)],
            };
            hidden.show(&mut layer.weight);
            hidden
        };
        Ok(Binarised { layers: layers.iter_mut().enumerate().map(hide).collect(), rule })
    }
}

impl Hidden {
    fn show(&self, shown: &mut [f32]) {
        let pieces = shown.par_chunks_mut(super::PIECE).zip(self.weight.par_chunks(super::PIECE));
        pieces.for_each(|(shown, hidden)| shown.iter_mut().zip(hidden).for_each(|(w, h)| *w = self.scale.copysign(*h)));
    }
}

impl Protection for Binarised {
    fn step(&mut self, layer: usize, _weights: &Layer, step: &mut [f32]) {
        let (Some(hidden), m) = (self.layers.get(layer), self.rule.of(layer)) else { return };
        hold_back(m, &hidden.weight, step);
    }

    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]) {
        let m = self.rule.of(layer);
        let Some(hidden) = self.layers.get_mut(layer) else { return weights.add(step) };
        let pieces = hidden.weight.par_chunks_mut(super::PIECE).zip(step.par_chunks(super::PIECE));
        pieces.for_each(|(hidden, step)| hidden.iter_mut().zip(step).for_each(|(h, &s)| *h += s * passes(m, *h, s)));
        hidden.show(&mut weights.weight);
    }

    fn state(&self) -> State {
        let mut state = State::default();
        for (l, hidden) in self.layers.iter().enumerate() {
            state.put(format!("{l}.hidden"), &[hidden.weight.len()], &hidden.weight);
            state.put(format!("{l}.scale"), &[1], &[hidden.scale]);
        }
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let mut layers = vec![];
        for (l, hidden) in self.layers.iter().enumerate() {
            let weight = state.get(&format!("{l}.hidden"), hidden.weight.len())?.to_vec();
            layers.push(Hidden { weight, scale: state.get::<f32>(&format!("{l}.scale"), 1)?[0] });
        }
        self.layers = layers;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.layers.iter().map(|hidden| size_of_val(&hidden.weight[..]) + size_of_val(&hidden.scale)).sum()
    }

    fn report(&self) -> Vec<String> {
        let line = |(l, hidden): (usize, &Hidden)| {
            let m = self.rule.of(l);
            let held = hidden.weight.iter().filter(|h| passes(m, **h, -**h) < 0.1).count();
            format!(
                "metaplasticity, layer {l}: {:.1} % of the weights pass less than a tenth of a step towards 0",
                100.0 * held as f64 / hidden.weight.len().max(1) as f64
            )
        };
        self.layers.iter().enumerate().map(line).collect()
    }
}

impl Protection for Metaplastic {
    fn step(&mut self, layer: usize, weights: &Layer, step: &mut [f32]) {
        hold_back(self.of(layer), &weights.weight, step);
    }

    fn links(&mut self, layer: usize) -> Result<Vec<Link<'_>>> {
        Ok(vec![Link::Metaplastic(self.of(layer))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shrinking_steps_are_held_back() {
        let mut layer = Layer { inputs: 4, outputs: 1, weight: vec![0.8, 0.8, -0.8, 0.0] };
        Metaplastic::new(vec![1.5]).unwrap().apply(0, &mut layer, &[0.1, -0.1, 0.1, -0.1]);
        let held = 0.1 / (1.5f32 * 0.8).cosh().powi(2);
        for (got, expected) in layer.weight.iter().zip([0.9, 0.8 - held, -0.8 + held, -0.1]) {
            assert!((got - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn binarised_weights_flip_with_their_hidden_ones() {
        let start = Layer { inputs: 4, outputs: 1, weight: vec![0.5, -0.5, 0.5, -0.5] };
        let new = |layer: &mut Layer| Binarised::new(vec![1.5], 2.0, &[3.0], std::slice::from_mut(layer)).unwrap();
        let mut layer = start.clone();
        let mut binarised = new(&mut layer);
        assert_eq!(layer.weight, [1.5, -1.5, 1.5, -1.5]);
        // hidden: ±1; what passes of a step towards 0 is 1 - tanh²(1.5)
        let held = 1.0 / 1.5f32.cosh().powi(2);
        binarised.apply(0, &mut layer, &[0.25, 0.25, -1.01 / held, -0.25]);
        assert_eq!(layer.weight, [1.5, -1.5, -1.5, -1.5]);
        let hidden = |b: &Binarised| b.layers[0].weight.clone();
        for (got, expected) in hidden(&binarised).iter().zip([1.25, -1.0 + 0.25 * held, -0.01, -1.25]) {
            assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        }
        assert!(binarised.report()[0].contains("layer 0"));
        let mut other = start.clone();
        let mut restored = new(&mut other);
        assert!(restored.restore(&State::default()).is_err());
        restored.restore(&binarised.state()).unwrap();
        assert_eq!(restored, binarised);
        restored.apply(0, &mut other, &[0.0; 4]);
        assert_eq!(other, layer);
        assert!(
            Binarised::new(vec![1.0], 0.0, &[1.0], &mut []).is_err() && Binarised::new(vec![1.0], 1.0, &[], &mut []).is_err()
        );
    }

    #[test]
    fn bad_m_is_refused() {
        assert!(
            Metaplastic::new(vec![]).is_err()
                && Metaplastic::new(vec![-1.0]).is_err()
                && Metaplastic::new(vec![f32::NAN]).is_err()
        );
    }

    /// A weight that alternates between equal pushes drifts outwards only as far as the m of its layer says: m = 0 is plain.
    #[test]
    fn m_of_zero_is_plain() {
        let mut layer = Layer { inputs: 1, outputs: 1, weight: vec![1.0] };
        Metaplastic::new(vec![0.0]).unwrap().apply(3, &mut layer, &[-0.25]);
        assert_eq!(layer.weight, [0.75]);
    }
}
