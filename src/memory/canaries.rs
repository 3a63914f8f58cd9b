//! What writing does to everything else: some texts whose next tokens are known, asked again with a layer changed at every position. Only
//! the layers above run; keys and residuals at the layer are computed once. Knows the decoder; no memory.

use super::context_target::{places, site, unseen};
use crate::bridge::Host;
use crate::bridge::decoder::Logits;
use crate::bridge::hooks::{Hooks, Recorder};
use crate::error::Result;
use crate::learning::associative::Prior;
use serde::{Deserialize, Serialize};

/// What a change of a model does to texts that it should leave alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Damage {
    /// Mean divergence of the next token's distribution from the unchanged model's, nats.
    pub kl: f32,
    /// Part of the texts whose likeliest next token is another one.
    pub changed: f32,
}

/// Texts, and what the unchanged model makes of their ends.
pub struct Canaries {
    layer: usize,
    texts: Vec<Vec<u32>>,
    /// Digest of each text: a place that is taught itself is no canary.
    places: Vec<u64>,
    /// Whitened keys of the layer at all positions of all texts: positions x inputs.
    pub whitened: Vec<f32>,
    /// Residuals after it: positions x width.
    residuals: Vec<f32>,
    /// Log-probabilities after the last positions of each text (at most `TAIL`): rows x vocabulary.
    unchanged: Vec<f32>,
}

impl Canaries {
    /// Of texts at a layer whose keys `prior` whitens. Empty texts, and those beyond the context, are left out.
    pub fn new(host: &Host, prior: &Prior, layer: usize, texts: &[Vec<u32>]) -> Result<Canaries> {
        let texts: Vec<Vec<u32>> = texts.iter().filter(|t| !t.is_empty() && t.len() <= host.decoder.config.context).cloned().collect();
        let mut all = Canaries {
            layer,
            places: texts.iter().filter_map(|t| places(t).last().copied()).collect(),
            texts,
            whitened: Vec::new(),
            residuals: Vec::new(),
            unchanged: Vec::new(),
        };
        let mut keys = Vec::new();
        for some in all.texts.chunks(TOGETHER) {
            let slices: Vec<&[u32]> = some.iter().map(|t| &t[..]).collect();
            let mut caches = vec![host.decoder.cache(); some.len()];
            let mut seen = Recorder::new(&[site(layer)], &[layer + 1]);
            let output = host.decoder.forward(&mut caches, &slices, Logits::Tail(TAIL), &mut seen)?;
            let record = seen.linears.pop().ok_or_else(unseen)?;
            let (_, _, residuals) = seen.residuals.pop().ok_or_else(unseen)?;
            keys.extend(record.input);
            all.residuals.extend(residuals);
            (0..some.iter().map(|t| tail(t)).sum()).for_each(|i| all.unchanged.extend(log_softmax(output.row(i))));
        }
        all.whitened = prior.whiten(&keys);
        Ok(all)
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// What changes of the residual after the layer (positions x width) do, to all texts but those taught themselves.
    pub fn damage(&self, host: &Host, deltas: &[f32], taught: &dyn Fn(u64) -> bool) -> Result<Damage> {
        let width = host.decoder.config.width;
        let asked: Vec<usize> = (0..self.len()).filter(|i| !taught(self.places[*i])).collect();
        if asked.is_empty() {
            return Ok(Damage::default());
        }
        let starts: Vec<usize> = self.texts.iter().scan(0, |end, t| Some(std::mem::replace(end, *end + t.len()))).collect();
        let span = |i: usize| starts[i] * width..(starts[i] + self.texts[i].len()) * width;
        let rows: Vec<f32> =
            asked.iter().flat_map(|&i| self.residuals[span(i)].iter().zip(&deltas[span(i)]).map(|(r, d)| r + d)).collect();
        let mut caches = vec![host.decoder.cache(); asked.len()];
        let counts: Vec<usize> = asked.iter().map(|i| self.texts[*i].len()).collect();
        let output = host.decoder.resume(self.layer + 1, &rows, &mut caches, &counts, Logits::Tail(TAIL), &mut ())?;
        Ok(self.compare(&asked, |i| output.row(i)))
    }

    /// The same for a change anywhere: every text is computed whole, through `hooks`; every `step`th text.
    pub fn damage_through(&self, host: &Host, mut hooks: impl Hooks, step: usize, taught: &dyn Fn(u64) -> bool) -> Result<Damage> {
        let asked: Vec<usize> = (0..self.len()).step_by(step.max(1)).filter(|i| !taught(self.places[*i])).collect();
        if asked.is_empty() {
            return Ok(Damage::default());
        }
        let slices: Vec<&[u32]> = asked.iter().map(|i| &self.texts[*i][..]).collect();
        let mut caches = vec![host.decoder.cache(); asked.len()];
        let output = host.decoder.forward(&mut caches, &slices, Logits::Tail(TAIL), &mut hooks)?;
        Ok(self.compare(&asked, |i| output.row(i)))
    }

    fn compare<'a>(&self, asked: &[usize], row: impl Fn(usize) -> &'a [f32]) -> Damage {
        let mut damage = Damage::default();
        let firsts: Vec<usize> = self.texts.iter().scan(0, |end, t| Some(std::mem::replace(end, *end + tail(t)))).collect();
        let rows: Vec<usize> = asked.iter().flat_map(|i| firsts[*i]..firsts[*i] + tail(&self.texts[*i])).collect();
        for (at, &i) in rows.iter().enumerate() {
            let now = log_softmax(row(at));
            let before = &self.unchanged[i * now.len()..(i + 1) * now.len()];
            let kl: f64 = before.iter().zip(&now).map(|(p, q)| f64::from(*p).exp() * f64::from(p - q)).sum();
            damage.kl += kl.max(0.0) as f32 / rows.len() as f32;
            damage.changed += if top(before) == top(&now) { 0.0 } else { 1.0 / rows.len() as f32 };
        }
        damage
    }
}

/// Positions at the end of a text that are asked at most.
const TAIL: usize = 3;

fn tail(text: &[u32]) -> usize {
    text.len().min(TAIL)
}

/// Texts that are computed together.
const TOGETHER: usize = 16;

fn top(row: &[f32]) -> usize {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0)
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    let shift = top + sum.ln() as f32;
    logits.iter().map(|x| x - shift).collect()
}
