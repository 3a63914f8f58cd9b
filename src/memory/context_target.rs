//! What a model's state would be if the experience stood in its context: the values that the wake memory writes, and what the layers
//! above make of them. One forward, no gradient. Knows the decoder; no memory.
//!
//! Without the experience in context, key k and residual h are read where the answer's tokens, and the token that ends it, are
//! predicted; with it (prompt, answer and end, then prompt and answer again), the residual h+. What a layer should add there is h+ - h (a
//! block's response to its context equals a low-rank change of its weights: Dherin et al. 2025, arXiv:2507.16003). Keys and residuals at
//! the layer do not depend on what is written there, so whatever is written, only the layers above are computed again.

use super::exchange::Exchange;
use crate::error::{Error, Result};
use crate::transformer::Host;
use crate::transformer::decoder::{Cache, Logits, Output};
use crate::transformer::hooks::{Hooks, Recorder};
use crate::transformer::site::{Linear, Site};

/// What an experience says about one token of its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Contrast {
    /// Index in the vocabulary.
    pub token: u32,
    /// Digest of the tokens before it.
    pub place: u64,
    /// -log p of it without the experience, nats.
    pub surprise: f32,
    /// What the context adds to the residual: width.
    pub value: Vec<f32>,
}

/// An experience as the model sees it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// One a token of the answer, and one for its end.
    pub tokens: Vec<Contrast>,
    /// Tokens that end a text as well as the last of `tokens` does.
    ends: Vec<u32>,
    /// Positions of the prompt; the first token of the answer is predicted at the last of them.
    pub start: usize,
    /// Digest of the tokens up to each position of prompt and answer.
    pub places: Vec<u64>,
    /// Inputs of the written layer at each position: positions x inputs.
    pub keys: Vec<f32>,
    /// Residuals after that layer: positions x width.
    residuals: Vec<f32>,
    layer: usize,
    width: usize,
    /// What the layers above make of it without any change.
    pub bare: Pass,
}

/// What the layers above make of changes of the residual.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Change at each position: positions x width.
    deltas: Vec<f32>,
    cache: Cache,
    /// Logits where each token of the answer and its end are predicted.
    output: Output,
}

/// How one token fares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    /// Its logit less the largest other one: above 0 where greedy decoding says it.
    pub margin: f32,
    /// -log p of it, nats.
    pub surprise: f32,
}

impl Told {
    /// Of a row of logits, at a token.
    pub fn of(logits: &[f32], token: u32) -> Told {
        Told::of_any(logits, &[token])
    }

    /// The same where one of several tokens is as good as another.
    pub fn of_any(logits: &[f32], tokens: &[u32]) -> Told {
        let (mut own, mut other) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for (i, x) in logits.iter().enumerate() {
            let best = if tokens.contains(&(i as u32)) { &mut own } else { &mut other };
            *best = best.max(*x);
        }
        Told { margin: own - other, surprise: least_surprise(logits, tokens) }
    }
}

/// -log of the softmax of a row of logits, at a token.
pub fn surprise(logits: &[f32], token: u32) -> f32 {
    least_surprise(logits, &[token])
}

/// The least of it at some tokens; the sum is that of all.
fn least_surprise(logits: &[f32], tokens: &[u32]) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    tokens.iter().map(|t| (sum.ln() - f64::from(logits[*t as usize] - top)) as f32).fold(f32::INFINITY, f32::min)
}

/// The down projection of a layer: what memories write to.
pub fn site(layer: usize) -> Site {
    Site { layer, linear: Linear::Down }
}

/// Digest of every beginning of a text (FNV-1a over its tokens).
pub fn places(tokens: &[u32]) -> Vec<u64> {
    let next = |digest: &mut u64, token: &u32| {
        token.to_le_bytes().iter().for_each(|byte| *digest = (*digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        Some(*digest)
    };
    tokens.iter().scan(0xcbf2_9ce4_8422_2325, next).collect()
}

/// Reads at `layer` what the tokens of an answer and its end say after their prompt, through `hooks`. `between` parts the experience
/// from its repetition in the context.
///
/// # Errors
/// No tokens, a text beyond the context, activations that are not finite.
pub fn look(host: &Host, mut hooks: impl Hooks, layer: usize, exchange: &Exchange, between: &[u32]) -> Result<Sight> {
    let Exchange { prompt, answer, end, .. } = exchange;
    if prompt.is_empty() || answer.is_empty() {
        return Err(Error::input(
            "an empty prompt or answer: there is nothing to learn",
            "give the text that follows the prompt",
        ));
    }
    let n = answer.len() + 1;
    let asked = [&prompt[..], answer].concat();
    // What begins every text of the model begins the context once.
    let first = host.begin("")?.first().copied();
    let again = if first.is_some() && prompt.first().copied() == first && prompt.len() > 1 { &prompt[1..] } else { &prompt[..] };
    let told = [&prompt[..], answer, between, again, answer].concat();
    let decoder = &host.decoder;

    // What is asked is how the told text begins, so that one forward sees both.
    let mut seen = Recorder::new(&[site(layer)], &[layer + 1]);
    decoder.forward_until(layer + 1, &mut [decoder.cache()], &[&told], &mut (&mut hooks, &mut seen))?;
    let record = seen.linears.pop().ok_or_else(unseen)?;
    let (_, _, after) = seen.residuals.pop().ok_or_else(unseen)?;
    if record.input.iter().chain(&after).any(|x| !x.is_finite()) {
        return Err(Error::Run {
            message: format!("activations of layer {layer} are not finite"),
            remedy: "look for damaged weights, or for an adapter that is far too large".into(),
        });
    }
    let (mut keys, mut residuals) = (record.input, after.clone());
    keys.truncate(keys.len() / told.len() * asked.len());
    residuals.truncate(decoder.config.width * asked.len());
    let mut cache = [decoder.cache()];
    let output = decoder.resume(layer + 1, &residuals, &mut cache, &[asked.len()], Logits::Tail(n), &mut hooks)?;
    let (width, places) = (decoder.config.width, places(&asked));
    let row = |data: &[f32], i: usize| data[i * width..(i + 1) * width].to_vec();
    let tokens = answer.iter().copied().chain([*end]).enumerate().map(|(t, token)| {
        let (here, there) = (asked.len() - n + t, told.len() - n + t);
        let (residual, wanted) = (row(&residuals, here), row(&after, there));
        Contrast {
            token,
            place: places[here],
            surprise: surprise(output.row(t), token),
            value: wanted.iter().zip(&residual).map(|(w, r)| w - r).collect(),
        }
    });
    let tokens: Vec<Contrast> = tokens.collect();
    let [cache] = cache;
    let bare = Pass { deltas: vec![0.0; residuals.len()], cache: cache.above(layer + 1, prompt.len() - 1), output };
    let ends = ends(host, *end);
    Ok(Sight { tokens, ends, start: prompt.len(), places, keys, residuals, layer, width, bare })
}

/// Tokens that end a text as well as `end` does: all at which generation stops.
pub fn ends(host: &Host, end: u32) -> Vec<u32> {
    let mut ends = host.decoder.config.eos.clone();
    if !ends.contains(&end) {
        ends.push(end);
    }
    ends
}

/// Input of a layer's down projection at one position of a text.
pub fn key_at(host: &Host, mut hooks: impl Hooks, layer: usize, tokens: &[u32], position: usize) -> Result<Vec<f32>> {
    let mut seen = Recorder::new(&[site(layer)], &[]);
    let decoder = &host.decoder;
    decoder.forward_until(layer + 1, &mut [decoder.cache()], &[tokens], &mut (&mut hooks, &mut seen))?;
    let record = seen.linears.pop().ok_or_else(unseen)?;
    let inputs = record.input.len() / tokens.len();
    Ok(record.input[position * inputs..(position + 1) * inputs].to_vec())
}

/// A hook that was not called.
pub(super) fn unseen() -> Error {
    Error::Run { message: "the decoder passed a layer without a word".into(), remedy: "report this".into() }
}

impl Pass {
    /// How token `t` of the answer (or its end) fares.
    pub fn told(&self, sight: &Sight, t: usize) -> Told {
        sight.judge(t, self.output.row(t))
    }
}

impl Sight {
    fn judge(&self, t: usize, logits: &[f32]) -> Told {
        match t + 1 == self.tokens.len() {
            true => Told::of_any(logits, &self.ends),
            false => Told::of(logits, self.tokens[t].token),
        }
    }

    /// Position where token `t` is predicted.
    pub fn position(&self, t: usize) -> usize {
        self.start - 1 + t
    }

    /// Length of the residual where token `t` is predicted.
    pub fn length(&self, t: usize) -> f32 {
        size(self.residual(self.position(t)))
    }

    fn residual(&self, position: usize) -> &[f32] {
        &self.residuals[position * self.width..(position + 1) * self.width]
    }

    /// How much each position's residual changes, in units of its length.
    pub fn changes(&self, deltas: &[f32]) -> Vec<f32> {
        let parts = deltas.chunks_exact(self.width).zip(self.residuals.chunks_exact(self.width));
        parts.map(|(delta, residual)| size(delta) / size(residual).max(f32::MIN_POSITIVE)).collect()
    }

    /// The layers above, with the residual changed by `deltas` (positions x width).
    pub fn pass(&self, host: &Host, deltas: Vec<f32>) -> Result<Pass> {
        let rows: Vec<f32> = self.residuals.iter().zip(&deltas).map(|(r, d)| r + d).collect();
        let mut cache = [host.decoder.cache()];
        let (count, want) = ([self.places.len()], Logits::Tail(self.tokens.len()));
        let output = host.decoder.resume(self.layer + 1, &rows, &mut cache, &count, want, &mut ())?;
        let [cache] = cache;
        Ok(Pass { deltas, cache: cache.above(self.layer + 1, self.start - 1), output })
    }

    /// The same where all changes of a pass are so many times as large.
    pub fn stronger(&self, host: &Host, pass: &Pass, times: f32) -> Result<Pass> {
        self.pass(host, pass.deltas.iter().map(|d| times * d).collect())
    }

    /// How tokens fare when the residual where they are predicted changes by so much more than in `pass`; each alone, all in one call
    /// of the layers above.
    pub fn tries(&self, host: &Host, pass: &Pass, tried: &[(usize, Vec<f32>)]) -> Result<Vec<Told>> {
        let mut all = Vec::with_capacity(tried.len());
        for some in tried.chunks(TOGETHER) {
            let mut rows = Vec::with_capacity(some.len() * self.width);
            let mut caches = Vec::with_capacity(some.len());
            for (t, more) in some {
                let at = self.position(*t);
                let delta = &pass.deltas[at * self.width..(at + 1) * self.width];
                rows.extend(self.residual(at).iter().zip(delta).zip(more).map(|((r, d), m)| r + d + m));
                let mut cache = pass.cache.clone();
                cache.rewind(self.layer + 1, at)?;
                caches.push(cache);
            }
            let counts = vec![1; some.len()];
            let output = host.decoder.resume(self.layer + 1, &rows, &mut caches, &counts, Logits::Last, &mut ())?;
            all.extend(some.iter().enumerate().map(|(i, (t, _))| self.judge(*t, output.row(i))));
        }
        Ok(all)
    }

    /// The error that the readout itself sees at token `t`, as a direction of the residual, of the residual's length: the token's row
    /// of lm_head less the mean of all rows under the model's probabilities, through the final norm's weights. Local to the readout:
    /// nothing travels back through a layer.
    pub fn readout_error(&self, host: &Host, pass: &Pass, t: usize) -> Vec<f32> {
        let decoder = &host.decoder;
        let (width, head, logits) = (self.width, &decoder.head.weight, pass.output.row(t));
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|x| (x - top).exp()).sum();
        let row = |token: usize| &head[token * width..(token + 1) * width];
        let end = || self.ends.iter().copied().max_by(|a, b| logits[*a as usize].total_cmp(&logits[*b as usize]));
        let wanted = if t + 1 == self.tokens.len() { end() } else { None };
        let mut error = row(wanted.unwrap_or(self.tokens[t].token) as usize).to_vec();
        for (token, logit) in logits.iter().enumerate() {
            let p = (logit - top).exp() / sum;
            if p > 1e-4 {
                error.iter_mut().zip(row(token)).for_each(|(e, w)| *e -= p * w);
            }
        }
        error.iter_mut().zip(&decoder.norm).for_each(|(e, w)| *e *= w);
        let by = self.length(t) / size(&error).max(f32::MIN_POSITIVE);
        error.iter_mut().for_each(|e| *e *= by);
        error
    }
}

/// Candidates that are computed together.
const TOGETHER: usize = 64;

/// Euclidean length.
pub(super) fn size(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>().sqrt()
}
