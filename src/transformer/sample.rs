//! The choice of the next token: greedy, or drawn at a temperature by the project's counter-based random numbers.

use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};

/// Chooses tokens of one text.
#[derive(Clone, Debug)]
pub struct Sampler {
    temperature: f64,
    stream: Stream,
}

impl Sampler {
    /// Temperature 0 is greedy; the seed matters otherwise. Refuses a temperature that is negative or not finite.
    pub fn new(temperature: f64, seed: u64) -> Result<Sampler> {
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(Error::input(
                format!("a temperature of {temperature} is not possible"),
                "give 0 (greedy) or a number above",
            ));
        }
        Ok(Sampler { temperature, stream: Stream::new(key(seed, 0), Purpose::Token, 0, 0) })
    }

    /// The most probable token, always.
    pub fn greedy() -> Sampler {
        Sampler { temperature: 0.0, stream: Stream::new(key(0, 0), Purpose::Token, 0, 0) }
    }

    /// A token by its logits; of equal ones the first.
    pub fn next(&mut self, logits: &[f32]) -> u32 {
        let (best, top) =
            logits.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, &x)| if x > best.1 { (i, x) } else { best });
        if self.temperature == 0.0 {
            return best as u32;
        }
        let weight = |x: f32| ((x as f64 - top as f64) / self.temperature).exp();
        let mut left = self.stream.uniform() * logits.iter().map(|x| weight(*x)).sum::<f64>();
        for (i, &x) in logits.iter().enumerate() {
            left -= weight(x);
            if left < 0.0 {
                return i as u32;
            }
        }
        best as u32
    }
}

/// log-probabilities of a row of logits, in place.
pub(crate) fn log_softmax(logits: &mut [f32]) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    let shift = top + sum.ln() as f32;
    logits.iter_mut().for_each(|x| *x -= shift);
}

/// The likeliest token of a row.
pub(crate) fn top(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frequencies of 20,000 draws within 0.02 of softmax(logits / 2).
    #[test]
    fn draws_follow_the_softmax() {
        let logits = [1.0f32, 3.0, -2.0, 2.0];
        let weights = logits.map(|x| (x as f64 / 2.0).exp());
        let sum: f64 = weights.iter().sum();
        let mut sampler = Sampler::new(2.0, 3).unwrap();
        let mut counts = [0; 4];
        (0..20_000).for_each(|_| counts[sampler.next(&logits) as usize] += 1);
        for (count, weight) in counts.iter().zip(weights) {
            assert!((*count as f64 / 20_000.0 - weight / sum).abs() < 0.02, "{counts:?}");
        }
    }

    #[test]
    fn the_seed_decides_and_zero_is_greedy() {
        let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let draw = |seed| {
            let mut sampler = Sampler::new(1.0, seed).unwrap();
            (0..20).map(|_| sampler.next(&logits)).collect::<Vec<u32>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(Sampler::greedy().next(&[1.0, 4.0, 4.0, 2.0]), 1);
        assert_eq!(Sampler::new(1e-6, 9).unwrap().next(&[1.0, 4.0, 3.0]), 1);
        assert!(Sampler::new(-1.0, 0).is_err() && Sampler::new(f64::NAN, 0).is_err());
    }
}
