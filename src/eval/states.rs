//! How well two states of a recurrent model are merged: by the product of transitions, and by interpolation, against running on. Promises
//! the same pieces of text for all ways. Knows the model and texts; no file.

use crate::error::{Error, Result};
use crate::memory::key_statistics::go_on;
use crate::rng::{Purpose, Stream, key};
use crate::transformer::rwkv::{Rwkv, State};
use serde::Serialize;
use std::sync::atomic::AtomicBool;

/// Parts of the earlier state that interpolation is tried with; the best on the same pieces is reported, in its favour.
pub const PARTS: [f32; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];
/// Tokens after both pieces at which answers are compared.
const PROBE: usize = 16;

/// How far from running on, in nats a token (KL divergence of its next tokens from those that running on gives).
#[derive(Clone, Debug, Serialize)]
pub struct Merging {
    /// Pairs of pieces.
    pub pairs: usize,
    /// Tokens of a piece.
    pub tokens: usize,
    /// Chooses the pieces.
    pub seed: u64,
    /// Merged by the product of transitions.
    pub products: f64,
    /// By interpolation, with the best of [`PARTS`], and which that was.
    pub interpolation: f64,
    /// Part of the earlier state in that interpolation.
    pub part: f32,
    /// The later piece alone, and the earlier alone.
    pub later: f64,
    /// The earlier piece alone.
    pub earlier: f64,
}

/// Merges `pairs` pairs of pieces of `length` tokens each, drawn from a text; what is asked afterwards is what follows the second piece.
///
/// # Errors
/// A text that is too short.
pub fn merging(
    model: &Rwkv,
    text: &[u32],
    pairs: usize,
    length: usize,
    seed: u64,
    tell: &mut dyn FnMut(usize),
    stop: &AtomicBool,
) -> Result<Merging> {
    if pairs == 0 || length == 0 || text.len() < 2 * length + PROBE {
        let what = format!("a text of {} tokens for pieces of {length}", text.len());
        return Err(Error::input(what, format!("give at least {} tokens, or ask for shorter pieces", 2 * length + PROBE)));
    }
    let mut stream = Stream::new(key(seed, 0), Purpose::Token, 1, 0);
    let mut sums = vec![0.0; 3 + PARTS.len()];
    for pair in 0..pairs {
        go_on(stop)?;
        let first = stream.below((text.len() - length) as u32) as usize;
        let second = stream.below((text.len() - length - PROBE) as u32) as usize;
        let (first, rest) = (&text[first..first + length], &text[second..second + length + PROBE]);
        let (second, probe) = rest.split_at(length);
        let state = |parts: &[&[u32]]| -> Result<State> {
            let mut state = model.state();
            parts.iter().try_for_each(|part| model.read(part, &mut state).map(drop))?;
            Ok(state)
        };
        let (earlier, later) = (state(&[first])?, state(&[second])?);
        let expected = answers(model, state(&[first, second])?, probe)?;
        let mut merged = vec![later.after(&earlier)?, later.clone(), earlier.clone()];
        merged.extend(PARTS.iter().map(|part| later.mixed(&earlier, *part)).collect::<Result<Vec<_>>>()?);
        for (sum, state) in sums.iter_mut().zip(merged) {
            *sum += divergence(&expected, &answers(model, state, probe)?);
        }
        tell(pair + 1);
    }
    sums.iter_mut().for_each(|sum| *sum /= pairs as f64);
    let best = (0..PARTS.len()).min_by(|a, b| sums[3 + a].total_cmp(&sums[3 + b])).unwrap_or(0);
    Ok(Merging {
        pairs,
        tokens: length,
        seed,
        products: sums[0],
        interpolation: sums[3 + best],
        part: PARTS[best],
        later: sums[1],
        earlier: sums[2],
    })
}

/// log-probabilities after each token of the probe.
fn answers(model: &Rwkv, mut state: State, probe: &[u32]) -> Result<Vec<Vec<f64>>> {
    let one = |token: &u32| {
        let logits = model.read(&[*token], &mut state)?;
        let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let shift = top + logits.iter().map(|x| (f64::from(*x) - top).exp()).sum::<f64>().ln();
        Ok(logits.iter().map(|x| f64::from(*x) - shift).collect())
    };
    probe.iter().map(one).collect()
}

fn divergence(expected: &[Vec<f64>], found: &[Vec<f64>]) -> f64 {
    let of = |(p, q): (&Vec<f64>, &Vec<f64>)| p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
    expected.iter().zip(found).map(of).sum::<f64>() / expected.len() as f64
}
