//! Directions of keys in which what should count as different differs most, for as little as what should count as the same does: a linear
//! discriminant of pairs (Fisher 1936, Annals of Eugenics 7, 179). Closed form, no gradient. Knows keys as numbers.
//!
//! With S the second moment of differences within pairs that are the same, and D that of pairs that are not, they are the leading
//! eigenvectors of W D W' (W'W = (S + floor)^-1), seen through W.

use super::associative::Prior;
use super::local::outer;
use super::projection::{orthonormal, product};
use crate::error::Result;
use crate::rng::{Purpose, Stream, key};
use nalgebra::DMatrix;

/// Rounds of the subspace iteration. (Twelve give the directions of CounterFact's questions on SmolLM2 as a full decomposition does: the
/// area under the curve differs by 0.002.)
const ROUNDS: usize = 12;
/// Floor of S, in units of its mean diagonal. (0.1, 1 and 10 were tried on 1,200 of CounterFact's training questions.)
const FLOOR: f64 = 1.0;

/// `count` directions (count x inputs) from differences `same` and `other` (any numbers x inputs).
///
/// # Errors
/// Differences that are all zero, or not finite.
pub fn directions(same: &[f32], other: &[f32], inputs: usize, count: usize) -> Result<Vec<f32>> {
    let moment = outer(1.0, same, same, inputs, inputs);
    let moment = DMatrix::from_iterator(inputs, inputs, moment.into_iter().map(f64::from));
    let prior = Prior::new(&moment, FLOOR)?;
    let other = prior.whiten(other);
    let other = DMatrix::from_row_iterator(other.len() / inputs, inputs, other.into_iter().map(f64::from));
    let (back, nothing, count) = (other.transpose(), DMatrix::zeros(inputs, 0), count.min(inputs));
    let mut stream = Stream::new(key(0, 0), Purpose::Encoder, 0, 16);
    let mut found = DMatrix::from_fn(inputs, count, |_, _| stream.normal());
    for _ in 0..ROUNDS {
        found = orthonormal(product(&back, &product(&other, &found)), &nothing);
    }
    // Directions that there are not are 0.
    let rows: Vec<f32> = found.resize_horizontally(count, 0.0).iter().map(|x| *x as f32).collect();
    Ok(prior.factors(&rows))
}

#[cfg(test)]
mod tests {
    use super::super::associative::dot;
    use super::*;

    /// Pairs that are the same differ in the first two of six numbers, others in the third as well, and in the fourth a little.
    #[test]
    fn what_tells_apart_is_found() {
        let mut stream = Stream::new(key(1, 0), Purpose::Encoder, 0, 0);
        let mut draw = |scales: [f64; 6]| scales.map(|s| (s * stream.normal()) as f32);
        let same: Vec<f32> = (0..400).flat_map(|_| draw([1.0, 0.5, 0.1, 0.1, 0.1, 0.0])).collect();
        let other: Vec<f32> = (0..400).flat_map(|_| draw([1.0, 0.5, 2.0, 1.5, 0.1, 0.0])).collect();
        let found = directions(&same, &other, 6, 2).unwrap();
        let part = |row: &[f32], i: usize| row[i].abs() / dot(row, row).sqrt();
        assert!(part(&found[..6], 2) > 0.98 && part(&found[6..], 3) > 0.9, "{found:?}");
        // More than there are, or two of one direction, are no harm.
        let all = directions(&same[..6], &other[..12], 6, 9).unwrap();
        assert!(all.len() == 36 && all.iter().all(|x| x.is_finite()));
        assert!(directions(&[0.0; 6], &other, 6, 2).is_err() && directions(&[f32::NAN; 6], &other, 6, 2).is_err());
    }
}
