//! What a model's state would be if the experience stood in its context: the values that the wake memory writes. Two forwards, no
//! gradient. Knows the decoder; no memory.
//!
//! Without the experience in context, key k and residual h are read where the answer's tokens are predicted; with it
//! ("prompt answer.\nprompt", then the answer), the residual h+. What a layer should add there is h+ - h (a block's response to its
//! context equals a low-rank change of its weights: Dherin et al. 2025, arXiv:2507.16003).

use crate::bridge::decoder::{Cache, Logits};
use crate::bridge::hooks::{Hooks, Linear, Recorder, Site};
use crate::bridge::{Host, joined};
use crate::error::{Error, Result};

/// What an experience says about one token of its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Contrast {
    /// The token, and -log p of it without the experience, nats.
    pub token: u32,
    pub surprise: f32,
    /// Input of the written layer where the token is predicted: inputs.
    pub key: Vec<f32>,
    /// Residual after that layer there: width.
    pub residual: Vec<f32>,
    /// What the context adds to it: width.
    pub value: Vec<f32>,
}

/// An experience as the model sees it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// One a token of the answer, at most [`LONGEST`].
    pub tokens: Vec<Contrast>,
    /// Keys of the prompt's other positions: any number x inputs.
    pub others: Vec<f32>,
    /// Where the answer starts: logits of the next token.
    logits: Vec<f32>,
    layer: usize,
    /// What was computed up to the prompt's last token, and before `layer` of that one too.
    cache: Cache,
}

/// Tokens of an answer that are learned.
pub const LONGEST: usize = 16;

/// -log of the softmax of a row of logits, at a token.
pub fn surprise(logits: &[f32], token: u32) -> f32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    (sum.ln() - f64::from(logits[token as usize] - top)) as f32
}

/// The down projection of a layer: what memories write to.
pub fn site(layer: usize) -> Site {
    Site { layer, linear: Linear::Down }
}

/// Reads an experience at `layer`, through `hooks` (what the model has learned already and keeps).
///
/// # Errors
/// An empty answer, a text beyond the context, activations that are no numbers.
pub fn look(host: &Host, mut hooks: impl Hooks, layer: usize, prompt: &str, answer: &str) -> Result<Sight> {
    let (start, mut answer_tokens) = host.exchange(prompt, answer)?;
    answer_tokens.truncate(LONGEST);
    let n = answer_tokens.len();
    let asked = [&start[..], &answer_tokens[..n - 1]].concat();
    let told = host.begin(&format!("{prompt}{}.\n{prompt}", joined(prompt, answer)))?;
    let told = [&told[..], &answer_tokens[..n - 1]].concat();
    let decoder = &host.decoder;

    let mut seen = Recorder::new(&[site(layer)], &[layer + 1]);
    let mut cache = [decoder.cache()];
    let output = decoder.forward(&mut cache, &[&asked], Logits::Tail(n), &mut (&mut hooks, &mut seen))?;
    let mut context = Recorder::new(&[], &[layer + 1]);
    decoder.forward_until(layer + 1, &mut [decoder.cache()], &[&told], &mut (&mut hooks, &mut context))?;

    let record = seen.linears.pop().ok_or_else(unseen)?;
    let (_, _, before) = seen.residuals.pop().ok_or_else(unseen)?;
    let (_, _, after) = context.residuals.pop().ok_or_else(unseen)?;
    if record.input.iter().chain(&before).chain(&after).any(|x| !x.is_finite()) {
        return Err(Error::Run {
            message: format!("activations of layer {layer} are not finite"),
            remedy: "look for damaged weights, or for an adapter that is far too large".into(),
        });
    }
    let (inputs, width) = (record.input.len() / asked.len(), decoder.config.width);
    let row = |data: &[f32], i: usize, n: usize| data[i * n..(i + 1) * n].to_vec();
    let tokens = (0..n).map(|t| {
        let (here, there) = (asked.len() - n + t, told.len() - n + t);
        let (residual, wanted) = (row(&before, here, width), row(&after, there, width));
        Contrast {
            token: answer_tokens[t],
            surprise: surprise(output.row(t), answer_tokens[t]),
            key: row(&record.input, here, inputs),
            value: wanted.iter().zip(&residual).map(|(w, r)| w - r).collect(),
            residual,
        }
    });
    let [mut cache] = cache;
    cache.rewind(layer + 1, start.len() - 1)?;
    let logits = output.row(0).to_vec();
    Ok(Sight { tokens: tokens.collect(), others: record.input[..(start.len() - 1) * inputs].to_vec(), logits, layer, cache })
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

impl Sight {
    /// The error that the readout itself sees at the answer's first token, as a direction of the residual, of the residual's length:
    /// the token's row of lm_head less the mean of all rows under the model's probabilities, through the final norm's weights.
    /// Local to the readout: nothing travels back through a layer.
    pub fn readout_error(&self, host: &Host) -> Vec<f32> {
        let decoder = &host.decoder;
        let (width, head) = (decoder.config.width, &decoder.head.weight);
        let first = &self.tokens[0];
        let top = self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = self.logits.iter().map(|x| (x - top).exp()).sum();
        let row = |token: usize| &head[token * width..(token + 1) * width];
        let mut error = row(first.token as usize).to_vec();
        for (token, logit) in self.logits.iter().enumerate() {
            let p = (logit - top).exp() / sum;
            if p > 1e-6 {
                error.iter_mut().zip(row(token)).for_each(|(e, w)| *e -= p * w);
            }
        }
        error.iter_mut().zip(&decoder.norm).for_each(|(e, w)| *e *= w);
        let size = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        let by = size(&first.residual) / size(&error).max(f32::MIN_POSITIVE);
        error.iter_mut().for_each(|e| *e *= by);
        error
    }

    /// What follows the prompt when the residual there changes by each of `deltas`: the surprise of the answer's first token.
    pub fn surprises(&self, host: &Host, mut hooks: impl Hooks, deltas: &[Vec<f32>]) -> Result<Vec<f32>> {
        let first = &self.tokens[0];
        let rows: Vec<f32> = deltas.iter().flat_map(|delta| first.residual.iter().zip(delta).map(|(r, d)| r + d)).collect();
        let mut caches = vec![self.cache.clone(); deltas.len()];
        let counts = vec![1; deltas.len()];
        let output = host.decoder.resume(self.layer + 1, &rows, &mut caches, &counts, Logits::Last, &mut hooks)?;
        Ok((0..deltas.len()).map(|i| surprise(output.row(i), first.token)).collect())
    }
}
