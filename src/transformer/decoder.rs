//! The forward pass of a Llama-family decoder in float32: several sequences at once, keys and values kept between calls, hooks
//! at every linear layer and at the residual entering every layer. Knows no file, no tokenizer and no text.

use super::config::Config;
use super::hooks::{Hooks, Row};
use super::matmul::{self, View};
use super::site::{Linear, Site};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Queries that look back together: bounds the memory of their scores.
const BLOCK: usize = 256;

/// A linear layer: `weight` outputs x inputs.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// outputs x inputs, row-major; shared where the embedding is also the output layer.
    pub weight: Arc<Vec<f32>>,
    /// outputs; None for a layer without one.
    pub bias: Option<Vec<f32>>,
}

/// The weights of one layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// RMSNorm before attention, and before the feed-forward.
    pub input_norm: Vec<f32>,
    /// RMSNorm before the feed-forward: width.
    pub post_norm: Vec<f32>,
    /// RMSNorm of each head of q and of k, where the architecture has them.
    pub head_norms: Option<(Vec<f32>, Vec<f32>)>,
    /// In the order of `Linear::IN_LAYER`.
    pub linears: [Matrix; 7],
}

/// A model ready to compute. The weights may be changed in place; their lengths must stay.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Sizes that all weights below keep to.
    pub config: Config,
    /// vocabulary x width; shared with `head` where the model ties them.
    pub embedding: Arc<Vec<f32>>,
    /// From the first to the last.
    pub layers: Vec<Layer>,
    /// RMSNorm after the last layer: width.
    pub norm: Vec<f32>,
    /// Output layer: vocabulary x width.
    pub head: Matrix,
    pub(super) frequencies: Vec<f32>,
}

/// Keys (after rotation) and values of some positions, a row of `kv_heads * head_dim` for each, by layer.
#[derive(Clone, Debug, Default)]
struct Segment {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

/// What a sequence computed so far. Clones share what `share` froze and copy the rest.
#[derive(Clone, Debug)]
pub struct Cache {
    shared: Vec<Arc<Segment>>,
    tail: Segment,
    row: usize,
}

impl Cache {
    /// Positions of a layer.
    fn len_at(&self, layer: usize) -> usize {
        self.shared_len() + self.tail.keys[layer].len() / self.row
    }

    fn shared_len(&self) -> usize {
        // The last layer holds something in every segment, see `above`.
        self.shared.iter().map(|s| s.keys.last().map_or(0, Vec::len) / self.row).sum()
    }

    /// Positions that every layer holds.
    pub fn positions(&self) -> usize {
        (0..self.tail.keys.len()).map(|l| self.len_at(l)).min().unwrap_or(0)
    }

    /// Freezes the positions so far, so that clones share their memory. Refused when layers hold different numbers of them.
    pub fn share(&mut self) -> Result<()> {
        let len = self.positions();
        if (0..self.tail.keys.len()).any(|l| self.len_at(l) != len) {
            return Err(Error::input(
                "layers of the cache hold different numbers of positions",
                "resume where it was rewound, first",
            ));
        }
        let layers = self.tail.keys.len();
        let empty = Segment { keys: vec![Vec::new(); layers], values: vec![Vec::new(); layers] };
        self.shared.push(Arc::new(std::mem::replace(&mut self.tail, empty)));
        Ok(())
    }

    /// Forgets positions from `len` on in the layers from `layer` on, so that `Decoder::resume` can compute them again.
    /// Shared positions cannot be forgotten.
    pub fn rewind(&mut self, layer: usize, len: usize) -> Result<()> {
        let shared = self.shared_len();
        if len < shared {
            let what = format!("position {len} lies in a prefix of {shared} positions that sequences share");
            return Err(Error::input(what, "compute the sequence without sharing"));
        }
        for (keys, values) in self.tail.keys.iter_mut().zip(&mut self.tail.values).skip(layer) {
            keys.truncate((len - shared) * self.row);
            values.truncate((len - shared) * self.row);
        }
        Ok(())
    }

    /// The same positions for the layers from `layer` on alone, to be resumed there and nowhere below; clones share the first `frozen`.
    pub fn above(&self, layer: usize, frozen: usize) -> Cache {
        let layers = self.tail.keys.len();
        let cut = |of: fn(&Segment) -> &Vec<Vec<f32>>, from: usize, to: usize| -> Vec<Vec<f32>> {
            let rows = |l: usize| {
                let pieces = self.rows(l, of, to).into_iter().flat_map(|(_, rows)| rows);
                pieces.skip(from * self.row).copied().collect()
            };
            (0..layers).map(|l| if l < layer { Vec::new() } else { rows(l) }).collect()
        };
        let all = self.len_at(layers - 1);
        let frozen = frozen.min(all);
        let segment = |from: usize, to: usize| Segment { keys: cut(|s| &s.keys, from, to), values: cut(|s| &s.values, from, to) };
        Cache { shared: vec![Arc::new(segment(0, frozen))], tail: segment(frozen, all), row: self.row }
    }

    /// Keys and values of a layer's first `seen` positions, each seen x (kv_heads * head_dim).
    pub(super) fn first(&self, layer: usize, seen: usize) -> (Vec<f32>, Vec<f32>) {
        let whole = |pieces: Vec<(usize, &[f32])>| pieces.into_iter().flat_map(|(_, rows)| rows).copied().collect();
        (whole(self.rows(layer, |s| &s.keys, seen)), whole(self.rows(layer, |s| &s.values, seen)))
    }

    /// The keys or values of a layer's first `seen` positions: pieces that are not empty, each with the position of its start.
    fn rows(&self, layer: usize, of: impl Fn(&Segment) -> &Vec<Vec<f32>>, seen: usize) -> Vec<(usize, &[f32])> {
        let mut start = 0;
        let mut pieces = Vec::new();
        for segment in self.shared.iter().map(|s| &**s).chain([&self.tail]) {
            let all = &of(segment)[layer];
            let n = (all.len() / self.row).min(seen - start);
            if n > 0 {
                pieces.push((start, &all[..n * self.row]));
            }
            start += n;
        }
        pieces
    }
}

/// Which positions' logits are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// None: keys, values and hooks only.
    Skip,
    /// The last position of each sequence.
    Last,
    /// As many last positions of each sequence.
    Tail(usize),
    /// Every position of this call.
    All,
}

/// Rows of logits: one a sequence (`Logits::Last`) or one a token of the call, sequence by sequence (`Logits::All`).
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// rows x vocabulary.
    pub logits: Vec<f32>,
    /// Logits of a row.
    pub vocabulary: usize,
}

impl Output {
    /// The logits of one row.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.logits[index * self.vocabulary..(index + 1) * self.vocabulary]
    }
}

impl Decoder {
    /// A cache with nothing in it.
    pub fn cache(&self) -> Cache {
        let empty = vec![Vec::new(); self.config.layers];
        let row = self.config.kv_heads * self.config.head_dim;
        Cache { shared: Vec::new(), tail: Segment { keys: empty.clone(), values: empty }, row }
    }

    /// The weight of a linear layer, outputs x inputs.
    pub fn matrix(&self, site: Site) -> &Matrix {
        match Linear::IN_LAYER.iter().position(|l| *l == site.linear) {
            Some(i) => &self.layers[site.layer].linears[i],
            None => &self.head,
        }
    }

    /// The same, to be changed. A tied lm_head parts from the embedding when it is written to.
    pub fn matrix_mut(&mut self, site: Site) -> &mut Matrix {
        match Linear::IN_LAYER.iter().position(|l| *l == site.linear) {
            Some(i) => &mut self.layers[site.layer].linears[i],
            None => &mut self.head,
        }
    }

    /// Appends `tokens[i]` to the sequence of `caches[i]`. What is refused leaves the caches as they were.
    pub fn forward(&self, caches: &mut [Cache], tokens: &[&[u32]], want: Logits, hooks: &mut dyn Hooks) -> Result<Output> {
        let sequences: Vec<Option<usize>> = (0..tokens.len()).map(Some).collect();
        self.append(caches, tokens, &sequences, self.config.layers, want, hooks)
    }

    /// The same, up to the residual entering `layer` (hooks see it) and no further; `resume` goes on from there.
    pub fn forward_until(&self, layer: usize, caches: &mut [Cache], tokens: &[&[u32]], hooks: &mut dyn Hooks) -> Result<()> {
        let sequences: Vec<Option<usize>> = (0..tokens.len()).map(Some).collect();
        self.append(caches, tokens, &sequences, layer.min(self.config.layers), Logits::Skip, hooks).map(|_| ())
    }

    fn append(
        &self,
        caches: &mut [Cache],
        tokens: &[&[u32]],
        sequences: &[Option<usize>],
        until: usize,
        want: Logits,
        hooks: &mut dyn Hooks,
    ) -> Result<Output> {
        let width = self.config.width;
        let counts: Vec<usize> = tokens.iter().map(|t| t.len()).collect();
        let mut rows = self.rows(caches, &counts, sequences, 0)?;
        let mut residual = Vec::with_capacity(rows.len() * width);
        for (row, &token) in rows.iter_mut().zip(tokens.iter().copied().flatten()) {
            row.token = Some(token);
            let at = token as usize * width;
            let row = self.embedding.get(at..at + width).ok_or_else(|| {
                let vocabulary = self.config.vocabulary;
                Error::input(format!("token {token} is beyond the vocabulary of {vocabulary}"), "use this model's tokenizer")
            })?;
            residual.extend_from_slice(row);
        }
        self.run(0..until, residual, caches, &counts, &rows, want, hooks)
    }

    /// Continues from residuals that enter `layer`: `counts[i]` positions for sequence i, rows x width in all, appended to the
    /// layers from `layer` on (see `Cache::rewind`). `layer` equal to the number of layers computes the logits alone.
    pub fn resume(
        &self,
        layer: usize,
        residual: &[f32],
        caches: &mut [Cache],
        counts: &[usize],
        want: Logits,
        hooks: &mut dyn Hooks,
    ) -> Result<Output> {
        let sequences: Vec<Option<usize>> = (0..counts.len()).map(Some).collect();
        if layer > self.config.layers {
            let what = format!("layer {layer} of {} cannot be resumed from", self.config.layers);
            return Err(Error::input(what, "name a layer of this model"));
        }
        let rows = self.rows(caches, counts, &sequences, layer)?;
        if residual.len() != rows.len() * self.config.width {
            let what = format!("a residual of {} numbers is not {} rows of {}", residual.len(), rows.len(), self.config.width);
            return Err(Error::input(what, "give one row of the model's width for each position"));
        }
        self.run(layer..self.config.layers, residual.to_vec(), caches, counts, &rows, want, hooks)
    }

    /// Computes prompts together, the tokens with which all of them begin once (at least one token of each is left for the
    /// batch). Gives a cache for each and the logits.
    pub fn prefill(&self, prompts: &[&[u32]], hooks: &mut dyn Hooks) -> Result<(Vec<Cache>, Output)> {
        let shortest = prompts.iter().map(|p| p.len()).min().unwrap_or(0);
        let common = |n: usize| prompts.iter().all(|p| p[n] == prompts[0][n]);
        let prefix = match prompts.len() {
            0 | 1 => 0,
            _ => (0..shortest.saturating_sub(1)).take_while(|&n| common(n)).count(),
        };
        if prompts.iter().any(|p| p.is_empty() || p.len() > self.config.context) {
            // Refused before the prefix is computed.
            let counts: Vec<usize> = prompts.iter().map(|p| p.len()).collect();
            let sequences = vec![None; counts.len()];
            self.rows(&vec![self.cache(); counts.len()], &counts, &sequences, 0)?;
        }
        let mut start = self.cache();
        if prefix > 0 {
            let shared = std::slice::from_mut(&mut start);
            self.append(shared, &[&prompts[0][..prefix]], &[None], self.config.layers, Logits::Skip, hooks)?;
            start.share()?;
        }
        let mut caches = vec![start; prompts.len()];
        let rest: Vec<&[u32]> = prompts.iter().map(|p| &p[prefix..]).collect();
        let output = self.forward(&mut caches, &rest, Logits::Last, hooks)?;
        Ok((caches, output))
    }

    /// Which position each row is, after checking that the call is possible.
    fn rows(&self, caches: &[Cache], counts: &[usize], sequences: &[Option<usize>], from: usize) -> Result<Vec<Row>> {
        let layers = self.config.layers;
        if caches.len() != counts.len() {
            return Err(Error::input(
                format!("{} caches for {} sequences", caches.len(), counts.len()),
                "give one cache a sequence",
            ));
        }
        let mut rows = Vec::new();
        for ((cache, &count), &sequence) in caches.iter().zip(counts).zip(sequences) {
            if cache.tail.keys.len() != layers || cache.row != self.config.kv_heads * self.config.head_dim {
                return Err(Error::input("a cache belongs to another model", "make caches with this model"));
            }
            if count == 0 {
                return Err(Error::input("an empty prompt: there is no token to compute", "give at least one token"));
            }
            // What is left to compute when all layers are done already starts where the last layer would have.
            let start = if from < layers { cache.len_at(from) } else { cache.positions().saturating_sub(count) };
            if (from..layers).any(|l| cache.len_at(l) != start) {
                let what = "layers of the cache hold different numbers of positions";
                return Err(Error::input(what, "resume from the layer where it was rewound, first"));
            }
            if start + count > self.config.context {
                let (all, context) = (start + count, self.config.context);
                return Err(Error::input(
                    format!("{all} tokens are beyond the context of {context} tokens"),
                    "shorten the prompt, or use a model with a longer context",
                ));
            }
            rows.extend((start..start + count).map(|position| Row { sequence, position, token: None }));
        }
        Ok(rows)
    }

    #[expect(clippy::too_many_arguments, reason = "the whole state of a pass")]
    fn run(
        &self,
        layers: Range<usize>,
        mut residual: Vec<f32>,
        caches: &mut [Cache],
        counts: &[usize],
        rows: &[Row],
        want: Logits,
        hooks: &mut dyn Hooks,
    ) -> Result<Output> {
        let c = &self.config;
        let turns = self.turns(rows);
        for (l, layer) in self.layers.iter().enumerate().take(layers.end).skip(layers.start) {
            hooks.residual(l, rows, &mut residual);
            let mut at = |linear: Linear, input: &[f32]| {
                let site = Site { layer: l, linear };
                self.linear(site, self.matrix(site), rows, input, hooks)
            };
            let normed = norm(&residual, &layer.input_norm, c.norm_eps);
            let (mut q, mut k, v) = (at(Linear::Q, &normed), at(Linear::K, &normed), at(Linear::V, &normed));
            if let Some((q_norm, k_norm)) = &layer.head_norms {
                (q, k) = (norm(&q, q_norm, c.norm_eps), norm(&k, k_norm, c.norm_eps));
            }
            rotate(&mut q, c.head_dim, rows.len(), &turns);
            rotate(&mut k, c.head_dim, rows.len(), &turns);
            let mut first = 0;
            for (cache, &count) in caches.iter_mut().zip(counts) {
                let span = first * cache.row..(first + count) * cache.row;
                cache.tail.keys[l].extend_from_slice(&k[span.clone()]);
                cache.tail.values[l].extend_from_slice(&v[span]);
                first += count;
            }
            let mixed = self.attention(l, &q, caches, counts);
            add(&mut residual, &at(Linear::O, &mixed));
            let normed = norm(&residual, &layer.post_norm, c.norm_eps);
            let (mut gate, up) = (at(Linear::Gate, &normed), at(Linear::Up, &normed));
            gate.iter_mut().zip(&up).for_each(|(g, u)| *g = *g / (1.0 + (-*g).exp()) * u);
            add(&mut residual, &at(Linear::Down, &gate));
        }
        hooks.residual(layers.end, rows, &mut residual);
        self.logits(&residual, counts, rows, want, hooks)
    }

    fn logits(&self, residual: &[f32], counts: &[usize], rows: &[Row], want: Logits, hooks: &mut dyn Hooks) -> Result<Output> {
        let width = self.config.width;
        let chosen: Vec<usize> = match want {
            Logits::Skip => Vec::new(),
            Logits::All => (0..rows.len()).collect(),
            Logits::Last => tails(counts, 1),
            Logits::Tail(n) => tails(counts, n),
        };
        let mut logits = Vec::new();
        if !chosen.is_empty() {
            let last: Vec<f32> = chosen.iter().flat_map(|r| &residual[r * width..(r + 1) * width]).copied().collect();
            let rows: Vec<Row> = chosen.iter().map(|r| rows[*r]).collect();
            let hidden = norm(&last, &self.norm, self.config.norm_eps);
            logits = self.linear(Site::HEAD, &self.head, &rows, &hidden, hooks);
            if logits.iter().any(|x| !x.is_finite()) {
                return Err(Error::Run {
                    message: "the transformer's logits are not finite".into(),
                    remedy: "look for damaged weights, or for an adapter or a perturbation that is far too large".into(),
                });
            }
        }
        Ok(Output { logits, vocabulary: self.config.vocabulary })
    }

    fn linear(&self, site: Site, matrix: &Matrix, rows: &[Row], input: &[f32], hooks: &mut dyn Hooks) -> Vec<f32> {
        let (outputs, inputs) = self.config.shape(site.linear);
        let mut y = vec![0.0; rows.len() * outputs];
        matmul::by_rows(rows.len(), inputs, outputs, input, &matrix.weight, &mut y);
        if let Some(bias) = &matrix.bias {
            y.chunks_exact_mut(outputs).for_each(|row| add(row, bias));
        }
        hooks.linear(site, rows, input, &mut y);
        y
    }

    /// Cosine and sine of each row's position times each frequency, times what the model multiplies them with: rows x pairs.
    pub(super) fn turns(&self, rows: &[Row]) -> Vec<(f32, f32)> {
        let by = self.config.rotary_factor();
        let turn = |row: &Row, f: &f32| {
            let (sin, cos) = (row.position as f32 * f).sin_cos();
            (by * cos, by * sin)
        };
        rows.iter().flat_map(|row| self.frequencies.iter().map(move |f| turn(row, f))).collect()
    }

    /// Every head of every sequence looks at the keys of its sequence up to its own position. Rows x (heads * head_dim).
    fn attention(&self, layer: usize, q: &[f32], caches: &[Cache], counts: &[usize]) -> Vec<f32> {
        let c = &self.config;
        let (row, dim) = (c.heads * c.head_dim, c.head_dim);
        let starts: Vec<usize> = counts
            .iter()
            .scan(0, |end, n| {
                *end += n;
                Some(*end - n)
            })
            .collect();
        let tasks: Vec<(usize, usize)> = (0..counts.len()).flat_map(|s| (0..c.heads).map(move |h| (s, h))).collect();
        let work = |&(s, h): &(usize, usize)| {
            let query = View { data: q, start: starts[s] * row + h * dim, rows: row, columns: 1 };
            self.head_attention(layer, query, counts[s], h / (c.heads / c.kv_heads), &caches[s])
        };
        let longest = caches.iter().map(|cache| cache.len_at(layer)).max().unwrap_or(0);
        let parts: Vec<Vec<f32>> = match q.len() * longest < 1 << 16 {
            true => tasks.iter().map(work).collect(),
            false => tasks.par_iter().map(work).collect(),
        };
        let mut mixed = vec![0.0; q.len()];
        for (&(s, h), part) in tasks.iter().zip(&parts) {
            for (t, values) in part.chunks_exact(dim).enumerate() {
                let at = (starts[s] + t) * row + h * dim;
                mixed[at..at + dim].copy_from_slice(values);
            }
        }
        mixed
    }

    /// One head of one sequence: `count` queries, the last of which stands at the cache's last position. count x head_dim.
    fn head_attention(&self, layer: usize, query: View, count: usize, kv_head: usize, cache: &Cache) -> Vec<f32> {
        let dim = self.config.head_dim;
        let before = cache.len_at(layer) - count;
        let scale = 1.0 / (dim as f32).sqrt();
        let mut mixed = vec![0.0; count * dim];
        for (block, mixed) in mixed.chunks_mut(BLOCK * dim).enumerate() {
            let (first, n) = (block * BLOCK, mixed.len() / dim);
            let seen = before + first + n;
            let query = View { start: query.start + first * query.rows, ..query };
            let mut scores = vec![0.0; n * seen];
            for (start, keys) in cache.rows(layer, |s| &s.keys, seen) {
                let here = View { data: keys, start: kv_head * dim, rows: 1, columns: cache.row };
                matmul::small(n, keys.len() / cache.row, dim, query, here, &mut scores, seen, start, false);
            }
            for (t, scores) in scores.chunks_exact_mut(seen).enumerate() {
                let end = before + first + t + 1;
                let begin = self.config.window.map_or(0, |w| end.saturating_sub(w));
                scores[..begin].fill(0.0);
                scores[end..].fill(0.0);
                softmax(&mut scores[begin..end], scale);
            }
            for (start, values) in cache.rows(layer, |s| &s.values, seen) {
                let weights = View { data: &scores, start, rows: seen, columns: 1 };
                let here = View { data: values, start: kv_head * dim, rows: cache.row, columns: 1 };
                matmul::small(n, dim, values.len() / cache.row, weights, here, mixed, dim, 0, true);
            }
        }
        mixed
    }
}

/// Rows of the last `n` positions of sequences of so many.
fn tails(counts: &[usize], n: usize) -> Vec<usize> {
    let mut end = 0;
    let mut rows = Vec::new();
    for count in counts {
        end += count;
        rows.extend(end - n.min(*count)..end);
    }
    rows
}

fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(x, y)| *x += y);
}

/// RMSNorm of every row of `weight.len()` numbers.
fn norm(rows: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(weight.len()) {
        let square = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
        let by = 1.0 / (square + eps).sqrt();
        out.extend(row.iter().zip(weight).map(|(x, w)| x * by * w));
    }
    out
}

/// Turns the pairs (i, i + dim / 2) of every head.
fn rotate(x: &mut [f32], dim: usize, rows: usize, turns: &[(f32, f32)]) {
    let (width, pairs) = (x.len() / rows, dim / 2);
    for (row, turns) in x.chunks_exact_mut(width).zip(turns.chunks_exact(pairs)) {
        for head in row.chunks_exact_mut(dim) {
            let (low, high) = head.split_at_mut(pairs);
            for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(turns) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

/// softmax(scale * x), in place.
fn softmax(x: &mut [f32], scale: f32) {
    let top = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in x.iter_mut() {
        *value = ((*value - top) * scale).exp();
        sum += *value;
    }
    x.iter_mut().for_each(|value| *value /= sum);
}
