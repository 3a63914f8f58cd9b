//! The spike layer that learns: a presynaptic population that codes a key, a postsynaptic one that codes what is still missing of
//! the value there, and synapses between them under a reward-gated rule. Runs on the engines; knows no transformer.
//!
//! Both populations hold an ON and an OFF neuron a number (`if_soft_reset`), driven by its positive or negative part: the key's first,
//! then the value's. The synapses follow `rstdp_synapse` with windows longer than an episode: each pair of a source's spike and a
//! later one of a target adds one to the eligibility, which at the end is the product of the two spike counts, and the reward signal
//! writes its multiple into the weight. The matrix of weights is therefore kept by its factors, the traces, and never as a matrix
//! (tests/it/learning.rs lets the engine's own synapses learn and finds the same weights). Neither population hears the other, so their
//! spikes do not depend on when they are driven, and both phases are simulated at once. In every presentation both populations see what
//! their code still misses, so that coding noise falls with each one (a delta rule). What is coded depends on nothing but the key and the
//! value: no other memory leaves a mark on it.

use super::cells::{self, Counts};
use crate::engine::{Engine, Kind, Snapshot};
use crate::error::Result;

/// The two populations on an engine.
pub struct SpikingCode {
    engine: Box<dyn Engine>,
    /// The state an episode starts from; the drives of the numbers at hand are put into it.
    start: Snapshot,
    slope: usize,
    counts: Counts,
    inputs: usize,
    outputs: usize,
    steps: u64,
    /// Spikes of all episodes so far.
    pub spikes: u64,
}

impl SpikingCode {
    /// Populations for keys of `inputs` and values of `outputs` numbers; `steps` ms an episode, which is also the number of
    /// levels that a number's size is told by.
    pub fn new(inputs: usize, outputs: usize, steps: usize, engine: Kind) -> Result<SpikingCode> {
        let (cell, slope) = cells::integrator()?;
        let mut engine = cells::engine(engine, 0, vec![("pre", 2 * inputs, cell.clone()), ("post", 2 * outputs, cell)])?;
        let start = engine.snapshot()?;
        let counts = Counts(vec![0; 2 * (inputs + outputs)]);
        Ok(SpikingCode { engine, start, slope, counts, inputs, outputs, steps: steps as u64, spikes: 0 })
    }

    /// A key and a value as the two populations tell them after so many presentations.
    pub fn code(&mut self, key: &[f32], value: &[f32], presentations: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        let less = |x: &[f32], coded: &[f32]| x.iter().zip(coded).map(|(x, c)| x - c).collect::<Vec<f32>>();
        let (mut trace, mut learned) = (vec![0.0f32; self.inputs], vec![0.0f32; self.outputs]);
        for _ in 0..presentations {
            let (pre, post) = self.present(&less(key, &trace), &less(value, &learned))?;
            trace.iter_mut().zip(pre).for_each(|(t, p)| *t += p);
            learned.iter_mut().zip(post).for_each(|(l, p)| *l += p);
        }
        Ok((trace, learned))
    }

    /// One episode: two vectors as the spike counts of their ON and OFF neurons tell them.
    pub fn present(&mut self, pre: &[f32], post: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let largest = |x: &[f32]| x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let scales = [largest(pre), largest(post)];
        for ((states, x), scale) in self.start.states.iter_mut().zip([pre, post]).zip(scales) {
            let by = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            let (on, off) = states[self.slope].split_at_mut(x.len());
            for ((on, off), x) in on.iter_mut().zip(off).zip(x) {
                *on = (x * by).max(0.0).to_bits();
                *off = (-x * by).max(0.0).to_bits();
            }
        }
        self.counts.0.fill(0);
        self.engine.restore(&self.start)?;
        self.engine.advance(self.steps, &mut self.counts)?;
        self.spikes += self.counts.0.iter().map(|n| *n as u64).sum::<u64>();
        let (pre, post) = self.counts.0.split_at(2 * self.inputs);
        let decode = |counts: &[u32], n: usize, scale: f32| -> Vec<f32> {
            let unit = scale / self.steps as f32;
            counts[..n].iter().zip(&counts[n..]).map(|(on, off)| (*on as f32 - *off as f32) * unit).collect()
        };
        Ok((decode(pre, self.inputs, scales[0]), decode(post, self.outputs, scales[1])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream, key};

    fn normals(n: usize, sub: u32) -> Vec<f32> {
        let mut stream = Stream::new(key(4, 0), Purpose::Encoder, 0, sub);
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    #[test]
    fn counts_are_the_numbers_to_half_a_level() {
        let mut layer = SpikingCode::new(30, 20, 32, Kind::Cpu).unwrap();
        for trial in 0..3 {
            let (pre, post) = (normals(30, trial), normals(20, 10 + trial));
            let (x, y) = layer.present(&pre, &post).unwrap();
            for (coded, exact) in [(x, pre), (y, post)] {
                let level = exact.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 32.0;
                let worst = coded.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 0.51 * level, "{worst} {level}");
                assert!(coded.iter().zip(&exact).any(|(a, b)| a != b));
            }
        }
        let (zero, _) = layer.present(&[0.0; 30], &[0.0; 20]).unwrap();
        assert!(zero.iter().all(|x| *x == 0.0));
        assert!(layer.spikes > 100);
    }

    #[test]
    fn presentations_teach_what_is_missing_whatever_came_before() {
        let mut layer = SpikingCode::new(30, 20, 16, Kind::Cpu).unwrap();
        let (k, v) = (normals(30, 1), normals(20, 2));
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
        let mut errors = [[0.0; 2]; 3];
        for (n, error) in errors.iter_mut().enumerate() {
            let (trace, learned) = layer.code(&k, &v, n + 1).unwrap();
            *error = [apart(&trace, &k), apart(&learned, &v)];
        }
        for which in 0..2 {
            assert!((0..2).all(|n| errors[n + 1][which] < errors[n][which] / 8.0), "{errors:?}");
        }
        let once = layer.code(&k, &v, 2).unwrap();
        layer.code(&normals(30, 3), &normals(20, 4), 3).unwrap();
        assert_eq!(layer.code(&k, &v, 2).unwrap(), once);
        assert_eq!(layer.code(&[0.0; 30], &[0.0; 20], 2).unwrap(), (vec![0.0; 30], vec![0.0; 20]));
    }
}
