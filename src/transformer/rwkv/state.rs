//! What an RWKV-7 model knows of what it read: kept, branched (a copy goes its own way), and merged with another. Promises that a file is
//! read back bit for bit or refused, and that states of different models never meet.

use crate::error::{Error, Result};
use crate::transformer::matmul::by_columns;
use serde::{Deserialize, Serialize};
use std::path::Path;

const MAGIC: &[u8; 8] = b"SWSTATE1";

/// The head of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Shape {
    model: String,
    layers: usize,
    width: usize,
    heads: usize,
    tokens: u64,
    whole: bool,
}

/// A state.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    model: String,
    layers: usize,
    width: usize,
    heads: usize,
    /// Tokens that it has read.
    pub tokens: u64,
    /// layers x (time, channel) x width: the last inputs.
    last: Vec<f32>,
    /// layers x heads x size x size, values x keys.
    matrices: Vec<f32>,
    /// The product of all transitions since nothing was read, of the same shape.
    transitions: Vec<f32>,
    /// Whether it began with nothing, so that `transitions` says what its text does to any state.
    whole: bool,
}

impl State {
    pub(super) fn new(model: &str, layers: usize, width: usize, heads: usize) -> State {
        let size = width / heads;
        let unit = (0..size * size).map(|i| if i % (size + 1) == 0 { 1.0 } else { 0.0 });
        let unit: Vec<f32> = unit.collect();
        let transitions = unit.iter().copied().cycle().take(layers * heads * size * size).collect();
        let (last, matrices) = (vec![0.0; 2 * layers * width], vec![0.0; layers * width * size]);
        State { model: model.into(), layers, width, heads, tokens: 0, last, matrices, transitions, whole: true }
    }

    /// Fingerprint of its model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Layers, width and heads of its model.
    pub fn shape(&self) -> [usize; 3] {
        [self.layers, self.width, self.heads]
    }

    /// # Errors
    /// It belongs to another model.
    pub(super) fn check(&self, model: &str) -> Result<()> {
        if self.model != model {
            let what = format!("the state belongs to the model {}, not to {model}", self.model);
            return Err(Error::input(what, "name the model that made it; a state says nothing to another one"));
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.width / self.heads
    }

    pub(super) fn time(&self, layer: usize) -> &[f32] {
        &self.last[2 * layer * self.width..][..self.width]
    }

    pub(super) fn time_mut(&mut self, layer: usize) -> &mut [f32] {
        let width = self.width;
        &mut self.last[2 * layer * width..][..width]
    }

    pub(super) fn channel(&self, layer: usize) -> &[f32] {
        &self.last[(2 * layer + 1) * self.width..][..self.width]
    }

    pub(super) fn channel_mut(&mut self, layer: usize) -> &mut [f32] {
        let width = self.width;
        &mut self.last[(2 * layer + 1) * width..][..width]
    }

    pub(super) fn matrix(&self, layer: usize, head: usize) -> &[f32] {
        let size = self.size();
        &self.matrices[(layer * self.heads + head) * size * size..][..size * size]
    }

    /// What a token does to a head: S becomes S (diag(w) - q away') + v k', and the transitions the same without what is added.
    #[expect(clippy::too_many_arguments, reason = "the five vectors of the update, and whose it is")]
    pub(super) fn turn(&mut self, layer: usize, head: usize, w: &[f32], q: &[f32], away: &[f32], v: &[f32], k: &[f32]) {
        let size = self.size();
        let at = (layer * self.heads + head) * size * size;
        let turn = |matrix: &mut [f32], add: &dyn Fn(usize) -> f32| {
            for (i, row) in matrix.chunks_exact_mut(size).enumerate() {
                let met: f32 = row.iter().zip(q).map(|(s, q)| s * q).sum();
                let by = add(i);
                for (((s, w), away), k) in row.iter_mut().zip(w).zip(away).zip(k) {
                    *s = *s * w - met * away + by * k;
                }
            }
        };
        turn(&mut self.matrices[at..][..size * size], &|i| v[i]);
        turn(&mut self.transitions[at..][..size * size], &|_| 0.0);
    }

    /// As if what this one read had come after what `before` read: S = S_before P + S, exact in the first layer but for what
    /// its first token mixes in of the one before, and to first order above it, where the text would have been understood by what came
    /// before. The last inputs are this one's.
    ///
    /// # Errors
    /// States of different models; this one did not begin with nothing.
    pub fn after(&self, before: &State) -> Result<State> {
        before.check(&self.model)?;
        if !self.whole {
            return Err(Error::input("the later state went on from another one", "read its text from nothing: without --from"));
        }
        let size = self.size();
        let mut merged = State { tokens: before.tokens + self.tokens, whole: before.whole, ..self.clone() };
        let blocks = merged.matrices.chunks_exact_mut(size * size).zip(merged.transitions.chunks_exact_mut(size * size));
        let earlier = before.matrices.chunks_exact(size * size).zip(before.transitions.chunks_exact(size * size));
        for ((own, product), (state, first)) in blocks.zip(earlier) {
            let (mut carried, mut both) = (vec![0.0; size * size], vec![0.0; size * size]);
            by_columns(size, size, size, state, product, &mut carried);
            by_columns(size, size, size, first, product, &mut both);
            own.iter_mut().zip(carried).for_each(|(own, carried)| *own += carried);
            product.copy_from_slice(&both);
        }
        Ok(merged)
    }

    /// `part` of `before` and the rest of this one, number by number ("state soup"); the last inputs are this one's. It cannot come after
    /// another state any more.
    ///
    /// # Errors
    /// States of different models; a part outside of 0 to 1.
    pub fn mixed(&self, before: &State, part: f32) -> Result<State> {
        before.check(&self.model)?;
        if !(0.0..=1.0).contains(&part) {
            return Err(Error::input(format!("a part of {part}"), "give one from 0 to 1"));
        }
        let mut merged = State { tokens: before.tokens + self.tokens, whole: false, ..self.clone() };
        merged.matrices.iter_mut().zip(&before.matrices).for_each(|(own, before)| *own = part * before + (1.0 - part) * *own);
        Ok(merged)
    }

    /// The bytes of a file: a magic word, a head as JSON with its length, the numbers little-endian, a CRC-32 of all.
    pub fn to_bytes(&self) -> Vec<u8> {
        let shape = Shape {
            model: self.model.clone(),
            layers: self.layers,
            width: self.width,
            heads: self.heads,
            tokens: self.tokens,
            whole: self.whole,
        };
        let head = serde_json::to_vec(&shape).unwrap_or_default();
        let mut bytes = [&MAGIC[..], &(head.len() as u32).to_le_bytes(), &head].concat();
        for numbers in [&self.last, &self.matrices, &self.transitions] {
            numbers.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        }
        let sum = crc32fast::hash(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// The reverse; `file` is named in messages.
    ///
    /// # Errors
    /// Bytes that are not exactly what was written.
    pub fn from_bytes(bytes: &[u8], file: &Path) -> Result<State> {
        let wrong = |what: &str| Error::File {
            path: file.into(),
            message: what.into(),
            remedy: Some("bring it back from a copy, or read the text again: sharpwave state read".into()),
        };
        let rest = bytes.strip_prefix(&MAGIC[..]).ok_or_else(|| wrong("this is no state of sharpwave"))?;
        let (body, sum) = bytes.split_at_checked(bytes.len().saturating_sub(4)).ok_or_else(|| wrong("it is cut short"))?;
        if crc32fast::hash(body).to_le_bytes() != sum {
            return Err(wrong("it is damaged or cut short: its checksum does not fit"));
        }
        let length = rest.first_chunk::<4>().map(|n| u32::from_le_bytes(*n) as usize);
        let (head, numbers) = length
            .and_then(|n| Some((rest.get(4..4usize.checked_add(n)?)?, rest.get(4 + n..rest.len().checked_sub(4)?)?)))
            .ok_or_else(|| wrong("it is damaged: its head is longer than the file"))?;
        let shape: Shape = serde_json::from_slice(head).map_err(|e| wrong(&format!("its head cannot be read: {e}")))?;
        let (l, d, h) = (shape.layers, shape.width, shape.heads);
        let fits = h > 0 && d % h == 0 && l.checked_mul(d).is_some_and(|n| n < 1 << 32);
        let matrices = if fits { l * d * (d / h) } else { 0 };
        if !fits || numbers.len() != 4 * (2 * l * d + 2 * matrices) {
            return Err(wrong("it is damaged: its numbers do not fit its shape"));
        }
        let mut all: Vec<f32> = numbers.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let transitions = all.split_off(2 * l * d + matrices);
        let matrices = all.split_off(2 * l * d);
        let Shape { model, layers, width, heads, tokens, whole } = shape;
        Ok(State { model, layers, width, heads, tokens, last: all, matrices, transitions, whole })
    }
}
