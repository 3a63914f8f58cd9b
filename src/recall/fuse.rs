//! One order from several: z-scores of what each port of a cell received, summed with weights, and how sure the first one is. Knows
//! numbers only.

use serde::{Deserialize, Serialize};

/// Weights of what is summed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// Words of an experience's own.
    pub words: f32,
    /// Words of it and its neighbours in time.
    pub around: f32,
    /// Its dense code.
    pub sense: f32,
    /// The dense code of it and its neighbours.
    pub sense_around: f32,
    /// Late interaction of token vectors, among the first `rescored`.
    pub late: f32,
    /// The same, each token of the hint at its best in an experience or a neighbour of it in time.
    pub late_around: f32,
    /// What neighbours in time pass on of theirs.
    pub links: f32,
    /// How many late interaction looks at.
    pub rescored: usize,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { words: 0.5, around: 0.7, sense: 0.2, sense_around: 0.3, late: 2.0, late_around: 1.0, links: 0.1, rescored: 200 }
    }
}

/// Mean and standard deviation of the values of the cells that are allowed.
pub fn moments(values: &[f32], allowed: &[bool]) -> (f32, f32) {
    let (mut n, mut sum, mut squares) = (0.0f64, 0.0f64, 0.0f64);
    for (x, _) in values.iter().zip(allowed).filter(|(_, allowed)| **allowed) {
        n += 1.0;
        sum += f64::from(*x);
        squares += f64::from(*x).powi(2);
    }
    let mean = sum / n.max(1.0);
    (mean as f32, (squares / n.max(1.0) - mean * mean).max(0.0).sqrt() as f32)
}

/// Adds `weight` times the z-score of each value.
pub fn add_scores(total: &mut [f32], values: &[f32], allowed: &[bool], weight: f32) {
    add_normal(total, values, moments(values, allowed), weight);
}

/// The same of values whose mean and standard deviation are known.
pub fn add_normal(total: &mut [f32], values: &[f32], normal: (f32, f32), weight: f32) {
    if weight != 0.0 && normal.1 > 0.0 {
        total.iter_mut().zip(values).for_each(|(total, x)| *total += score(*x, normal, weight));
    }
}

/// `weight` times the z-score of a value; what is the same everywhere says nothing.
pub fn score(x: f32, (mean, deviation): (f32, f32), weight: f32) -> f32 {
    if weight != 0.0 && deviation > 0.0 { weight * (x - mean) / deviation } else { 0.0 }
}

/// How sure it is that the first one answers, from 0 to 1: a logistic function of the mean best cosine of late interaction, tokens weighted
/// by their rarity (fitted on half of LoCoMo: questions about a conversation against questions about another one); without an encoder, of
/// the share of the question's words, by their rarity, that it has or that happened around it.
pub fn confidence(coverage: f32, late: Option<f32>) -> f32 {
    let x = match late {
        Some(late) => 29.5 * (late - 0.49),
        None => 5.0 * (coverage - 0.5),
    };
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_look_at_what_is_allowed() {
        let (values, allowed) = ([1.0, 3.0, 100.0, 5.0], [true, true, false, true]);
        let (mean, deviation) = moments(&values, &allowed);
        assert!((mean - 3.0).abs() < 1e-6 && (deviation - (8.0f32 / 3.0).sqrt()).abs() < 1e-6);
        let mut total = [0.0; 4];
        add_scores(&mut total, &values, &allowed, 2.0);
        assert!((total[3] - 4.0 / deviation).abs() < 1e-6 && (total[0] + total[3]).abs() < 1e-6);
        // What is the same everywhere says nothing.
        let before = total;
        add_scores(&mut total, &[2.0; 4], &allowed, 1.0);
        assert_eq!(total, before);
        assert!(confidence(1.0, Some(0.8)) > 0.9 && confidence(0.0, Some(0.2)) < 0.05 && confidence(0.0, None) < 0.1);
    }
}
