//! Synapses that remember on many time scales: behind every weight stands a chain of hidden variables, each slower and larger than the
//! one before, and what was learned flows down the chain and back up (Benna & Fusi 2016, doi 10.1038/nn.4401, eq. 1). Needs no task
//! boundaries. Knows weights and steps as numbers.
//!
//! ```text
//! C_k du_k = g_(k-1) (u_(k-1) - u_k) + g_k (u_(k+1) - u_k),   C_k = 2^k,  g_k = coupling * 2^-(k+1),  u_0 the weight
//! ```

use super::state::State;
use super::{Layer, PIECE, Protection};
use crate::error::{Error, Result};
use rayon::prelude::*;

/// A chain of `levels` hidden variables behind every weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Cascade {
    levels: usize,
    coupling: f32,
    /// By layer, weights x levels.
    hidden: Vec<Vec<f32>>,
}

impl Cascade {
    /// Chains that start where the weights are.
    ///
    /// # Errors
    /// No level or more than 20, a coupling that is not above 0 and at most 1.
    pub fn new(levels: usize, coupling: f32, layers: &[Layer]) -> Result<Cascade> {
        if !(1..=20).contains(&levels) || !(coupling > 0.0 && coupling <= 1.0) {
            return Err(Error::input(
                format!("a cascade of {levels} levels with coupling {coupling}"),
                "give 1 to 20 levels and a coupling above 0 and at most 1",
            ));
        }
        let start = |layer: &Layer| layer.weight.iter().flat_map(|w| std::iter::repeat_n(*w, levels)).collect();
        Ok(Cascade { levels, coupling, hidden: layers.iter().map(start).collect() })
    }
}

/// One step of a chain.
#[inline(always)]
fn flow(weight: &mut f32, chain: &mut [f32], coupling: f32) {
    let mut above = *weight;
    let mut conductance = coupling * 0.5;
    let mut capacity = 1.0f32;
    for k in 0..chain.len() {
        let current = conductance * (above - chain[k]);
        if k == 0 {
            *weight -= current / capacity
        } else {
            chain[k - 1] -= current / capacity
        }
        above = chain[k];
        capacity *= 2.0;
        chain[k] += current / capacity;
        conductance *= 0.5;
    }
}

impl Protection for Cascade {
    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]) {
        weights.add(step);
        let (levels, coupling) = (self.levels, self.coupling);
        let Some(hidden) = self.hidden.get_mut(layer) else { return };
        let pieces = weights.weight.par_chunks_mut(PIECE).zip(hidden.par_chunks_mut(PIECE * levels));
        pieces.for_each(|(w, chains)| {
            w.iter_mut().zip(chains.chunks_exact_mut(levels)).for_each(|(w, chain)| flow(w, chain, coupling));
        });
    }

    fn state(&self) -> State {
        let mut state = State::default();
        self.hidden.iter().enumerate().for_each(|(l, hidden)| state.put(l.to_string(), &[hidden.len()], hidden));
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let read = |(l, hidden): (usize, &Vec<f32>)| state.get(&l.to_string(), hidden.len()).map(<[f32]>::to_vec);
        self.hidden = self.hidden.iter().enumerate().map(read).collect::<Result<_>>()?;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.hidden.iter().map(|hidden| size_of_val(&hidden[..])).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_flows_is_kept_and_old_weights_come_back() {
        let layer = |w: f32| Layer { inputs: 1, outputs: 1, weight: vec![w] };
        let mut weights = layer(0.0);
        let mut cascade = Cascade::new(5, 0.5, std::slice::from_ref(&weights)).unwrap();
        // The sum over the chain by capacity is what was added.
        let total = |w: &Layer, c: &Cascade| {
            w.weight[0] as f64
                + c.hidden[0].iter().enumerate().map(|(k, u)| *u as f64 * f64::from(2u32.pow(k as u32 + 1))).sum::<f64>()
        };
        for _ in 0..2000 {
            cascade.apply(0, &mut weights, &[0.01]);
        }
        assert!((total(&weights, &cascade) - 20.0).abs() < 1e-2, "{}", total(&weights, &cascade));
        // A short excursion is undone by what the chain holds; without one it would stay.
        let held = weights.weight[0];
        cascade.apply(0, &mut weights, &[-2.0 * held]);
        (0..200).for_each(|_| cascade.apply(0, &mut weights, &[0.0]));
        assert!((weights.weight[0] - held).abs() < 0.5 * held, "{held} {}", weights.weight[0]);
        let mut other = Cascade::new(5, 0.5, &[layer(0.0)]).unwrap();
        other.restore(&cascade.state()).unwrap();
        assert_eq!(other, cascade);
        assert!(
            Cascade::new(0, 0.5, &[]).is_err() && Cascade::new(3, 0.0, &[]).is_err() && Cascade::new(3, f32::NAN, &[]).is_err()
        );
    }
}
