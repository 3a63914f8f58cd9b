//! What makes vectors of texts, behind one trait: a mean vector for the dense code, and int8 vectors of the tokens for late interaction.
//! Recall works without one, on words alone. Knows no store.

use crate::error::Result;
use crate::simd::{for_every_level, level};
use crate::transformer::bert::{Bert, Piece};
use std::collections::HashMap;

/// An encoder of texts.
pub trait Encoder: Send + Sync {
    /// What it can be opened by.
    fn name(&self) -> &str;
    /// Of its weights and tokenizer: vectors of another fingerprint do not compare.
    fn fingerprint(&self) -> &str;
    /// Numbers of a vector.
    fn width(&self) -> usize;
    /// An embedding for each text, in their order.
    ///
    /// # Errors
    /// A text that the tokenizer cannot take.
    fn encode(&self, texts: &[&str]) -> Result<Vec<Embedding>>;
}

/// What an encoder makes of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embedding {
    /// The mean of the vectors of all tokens, of length 1: width.
    pub vector: Vec<f32>,
    /// The vectors of the tokens, marks left out.
    pub tokens: Tokens,
}

/// Vectors of tokens, each of length 1 but for rounding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens {
    /// Numbers of a vector.
    pub width: usize,
    /// The tokens by their numbers in the vocabulary.
    pub ids: Vec<u32>,
    /// What a unit of the integers is worth, by token.
    pub scales: Vec<f32>,
    /// Tokens x width.
    pub values: Vec<i8>,
}

/// In how many cells each token occurs: what it tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenCounts {
    cells: u32,
    holding: HashMap<u32, u32>,
}

impl TokenCounts {
    /// Takes a cell's tokens in.
    pub fn add(&mut self, tokens: &Tokens) {
        self.cells += 1;
        distinct(tokens).for_each(|id| *self.holding.entry(id).or_insert(0) += 1);
    }

    /// Takes them out again.
    pub fn remove(&mut self, tokens: &Tokens) {
        self.cells = self.cells.saturating_sub(1);
        for id in distinct(tokens) {
            match self.holding.get_mut(&id) {
                Some(n) if *n > 1 => *n -= 1,
                _ => drop(self.holding.remove(&id)),
            }
        }
    }

    /// ln(1 + (n - df + 1/2) / (df + 1/2)), df of n cells having it.
    pub fn rarity(&self, id: u32) -> f32 {
        let (n, df) = (self.cells as f32, self.holding.get(&id).copied().unwrap_or(0) as f32);
        (1.0 + (n - df + 0.5).max(0.0) / (df + 0.5)).ln()
    }

    /// As bytes, to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut all: Vec<(u32, u32)> = self.holding.iter().map(|(id, n)| (*id, *n)).collect();
        all.sort_unstable();
        let words = [self.cells].into_iter().chain(all.into_iter().flat_map(|(id, n)| [id, n]));
        words.flat_map(u32::to_le_bytes).collect()
    }

    /// The reverse of [`TokenCounts::to_bytes`]; None for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<TokenCounts> {
        let mut words = bytes.chunks_exact(4).map(|b| u32::from_le_bytes(std::array::from_fn(|i| b[i])));
        let cells = words.next()?;
        let words: Vec<u32> = words.collect();
        let holding = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        (bytes.len() % 8 == 4).then_some(TokenCounts { cells, holding })
    }
}

fn distinct(tokens: &Tokens) -> impl Iterator<Item = u32> {
    let mut ids = tokens.ids.clone();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
}

impl Tokens {
    /// Takes a vector in, brought to length 1.
    pub fn push(&mut self, id: u32, vector: &[f32]) {
        self.width = vector.len();
        let most = vector.iter().fold(0.0f32, |m, x| m.max(x.abs())).max(f32::MIN_POSITIVE);
        let start = self.values.len();
        self.values.extend(vector.iter().map(|x| (x / most * 127.0).round() as i8));
        let length: i32 = self.values[start..].iter().map(|x| i32::from(*x).pow(2)).sum();
        self.scales.push(1.0 / (length.max(1) as f32).sqrt());
        self.ids.push(id);
    }

    /// Tokens in it.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Late interaction: for each token of `cue` its best cosine with a token of this text. None without tokens or of another width.
    pub fn best(&self, cue: &Tokens) -> Option<Vec<f32>> {
        if self.is_empty() || cue.is_empty() || self.width != cue.width {
            return None;
        }
        let mut best = vec![f32::NEG_INFINITY; cue.len()];
        for (t, vector) in self.values.chunks_exact(self.width).enumerate() {
            for (q, of_cue) in cue.values.chunks_exact(self.width).enumerate() {
                let cosine = dot(level(), vector, of_cue) as f32 * self.scales[t] * cue.scales[q];
                best[q] = best[q].max(cosine);
            }
        }
        Some(best)
    }
}

for_every_level! {
    /// The sum of products, exact.
    pub fn dot(a: &[i8], b: &[i8]) -> i32 {
        a.iter().zip(b).fold(0i32, |sum, (a, b)| sum.wrapping_add(i32::from(*a).wrapping_mul(i32::from(*b))))
    }
}

impl Encoder for Bert {
    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> &str {
        Bert::fingerprint(self)
    }

    fn width(&self) -> usize {
        Bert::width(self)
    }

    fn encode(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let cut: Vec<Vec<Piece>> = texts.iter().map(|text| self.pieces(text)).collect::<Result<_>>()?;
        let pieces: Vec<Piece> = cut.iter().flatten().cloned().collect();
        let vectors = Bert::encode(self, &pieces);
        let mut done = pieces.iter().zip(&vectors);
        Ok(cut.iter().map(|own| embedding(Bert::width(self), done.by_ref().take(own.len()))).collect())
    }
}

/// The pieces of a text as one.
fn embedding<'a>(width: usize, pieces: impl Iterator<Item = (&'a Piece, &'a Vec<f32>)>) -> Embedding {
    let mut embedding = Embedding { vector: vec![0.0; width], tokens: Tokens { width, ..Tokens::default() } };
    for (piece, vectors) in pieces {
        let rows = || vectors.chunks_exact(width);
        rows().for_each(|row| embedding.vector.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
        let inner = piece.ids.len().saturating_sub(2);
        piece.ids.iter().zip(rows()).skip(1).take(inner).for_each(|(id, row)| embedding.tokens.push(*id, row));
    }
    unit(&mut embedding.vector);
    embedding
}

/// Brings a vector to length 1; zeros stay.
pub fn unit(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_interaction_against_the_sum_written_out() {
        let vector = |seed: usize| -> Vec<f32> { (0..48).map(|i| ((i * 7 + seed * 13) as f32).sin()).collect() };
        let (mut text, mut cue) = (Tokens::default(), Tokens::default());
        (0..5).for_each(|i| text.push(i as u32, &vector(i)));
        (3..8).for_each(|i| cue.push(i as u32, &vector(i)));
        let best = text.best(&cue).unwrap();
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        for (q, best) in best.iter().enumerate() {
            let exact = (0..5).map(|t| cosine(&vector(q + 3), &vector(t))).fold(f32::NEG_INFINITY, f32::max);
            assert!((best - exact).abs() < 0.02, "{best} {exact}");
        }
        let mut counts = TokenCounts::default();
        [&text, &cue, &text].into_iter().for_each(|tokens| counts.add(tokens));
        assert!(counts.rarity(7) > counts.rarity(4) && counts.rarity(99) > counts.rarity(7));
        assert_eq!(TokenCounts::from_bytes(&counts.to_bytes()), Some(counts.clone()));
        [&text, &cue, &text].into_iter().for_each(|tokens| counts.remove(tokens));
        assert_eq!(counts, TokenCounts::default());
        assert!(best[0] > 0.999 && text.best(&Tokens::default()).is_none());
    }
}
