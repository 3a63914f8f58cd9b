//! Consolidation by magnitude: the larger a weight has grown, the less of a step that would shrink it passes. Knows weights and
//! steps as numbers; needs no task boundaries.

use super::{Layer, Protection};
use crate::error::{Error, Result};

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
}

/// What passes of a step at a weight: 1 for steps away from zero, 1 - tanh²(m w) for steps towards it.
#[inline]
pub fn passes(m: f32, weight: f32, step: f32) -> f32 {
    if weight * step < 0.0 { 1.0 - (m * weight).tanh().powi(2) } else { 1.0 }
}

impl Protection for Metaplastic {
    fn step(&mut self, layer: usize, weights: &Layer, step: &mut [f32]) {
        let m = self.m[layer.min(self.m.len() - 1)];
        step.iter_mut().zip(&weights.weight).for_each(|(s, &w)| *s *= passes(m, w, *s));
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
