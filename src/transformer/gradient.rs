//! Backpropagation, as the yardstick: the gradient of an answer's log-probability by the residual at one place, and the descent
//! that finds the value a MEMIT-style edit would write there (Meng et al. 2023, arXiv 2210.07229). Nothing that sharpwave
//! learns with calls it. The layers are computed a second time on candle's tensors, on the decoder's own weights, uncopied.

use super::decoder::{Decoder, Layer, Logits, Output};
use super::hooks::{Recorder, Row};
use super::matmul;
use super::site::{Linear, Site};
use crate::error::{Error, Result};
use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Shape, Tensor, Var};
use std::sync::Arc;

/// How `value` descends. Lengths are in units of |h|, the norm of the residual that is changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// Steps of Adam at most.
    pub steps: usize,
    /// Largest change of a coordinate in a step, in units of the root mean square of h.
    pub rate: f64,
    /// The loss is -log p(answer) + decay |v|²/|h|².
    pub decay: f64,
    /// |v| <= bound |h|.
    pub bound: f64,
    /// Ends at this probability of the answer.
    pub enough: f64,
}

impl Default for Descent {
    fn default() -> Descent {
        Descent { steps: 15, rate: 0.2, decay: 0.1, bound: 1.5, enough: 0.95 }
    }
}

/// The vector (width numbers) which, added to the residual that enters `layer` at `position`, makes `answer` follow `prompt`,
/// and the probability of the answer with it. All tokens of `answer` count; give the first alone where only it matters.
///
/// # Errors
/// Those of `Objective::new`; settings that are not finite or leave nothing to do.
pub fn value(
    decoder: &Decoder,
    layer: usize,
    prompt: &[u32],
    position: usize,
    answer: &[u32],
    how: &Descent,
) -> Result<(Vec<f32>, f64)> {
    let sizes = [how.rate, how.bound, how.enough];
    if sizes.iter().any(|x| !(x.is_finite() && *x > 0.0)) || !(how.decay.is_finite() && how.decay >= 0.0) {
        let what = format!("rate, bound and enough must be above 0 and decay at least 0: {how:?}");
        return Err(Error::input(what, "give finite numbers in these ranges"));
    }
    let objective = Objective::new(decoder, layer, prompt, position, answer)?;
    let width = decoder.config.width;
    let unit = objective.length() / (width as f64).sqrt();
    // Adam (Kingma & Ba 2015) with its usual constants, on u = v / unit: the loss has no units, so its scale is that of u.
    let (fast, slow) = (0.9f64, 0.999f64);
    let (mut u, mut mean, mut square) = (vec![0f64; width], vec![0f64; width], vec![0f64; width]);
    let scaled = |u: &[f64]| u.iter().map(|x| (x * unit) as f32).collect::<Vec<f32>>();
    for step in 1..=how.steps {
        let v = scaled(&u);
        let (log_p, gradient) = objective.gradient(&v)?;
        if log_p.exp() >= how.enough {
            return Ok((v, log_p.exp()));
        }
        for i in 0..width {
            let g = 2.0 * how.decay * u[i] / width as f64 - gradient[i] as f64 * unit;
            mean[i] = fast * mean[i] + (1.0 - fast) * g;
            square[i] = slow * square[i] + (1.0 - slow) * g * g;
            let (m, s) = (mean[i] / (1.0 - fast.powi(step as i32)), square[i] / (1.0 - slow.powi(step as i32)));
            u[i] -= how.rate * m / (s.sqrt() + 1e-8);
        }
        let length = u.iter().map(|x| x * x).sum::<f64>().sqrt() / (width as f64).sqrt();
        if length > how.bound {
            u.iter_mut().for_each(|x| *x *= how.bound / length);
        }
    }
    let v = scaled(&u);
    let p = objective.log_probability(&v)?.exp();
    Ok((v, p))
}

/// log p(answer | prompt) as a function of v, a vector added to the residual that enters one layer at one position. What v
/// cannot change was computed once: the layers before, and the keys and values of the positions before.
pub struct Objective<'a> {
    decoder: &'a Decoder,
    layer: usize,
    answer: Vec<u32>,
    /// Enters `layer` from the position on: rows x width.
    residual: Tensor,
    length: f64,
    /// For each layer from `layer` on, keys and values of the positions before: kv_heads x positions x head_dim. None before
    /// the first position.
    before: Vec<Option<(Tensor, Tensor)>>,
    /// Of the rotation: rows x 1 x pairs.
    cos: Tensor,
    sin: Tensor,
    /// 0 where a row sees a position, minus infinity elsewhere: rows x all positions.
    mask: Tensor,
}

impl<'a> Objective<'a> {
    /// Computes the prompt and all tokens of the answer but the last, once.
    ///
    /// # Errors
    /// A layer or position that is not there, no answer, tokens beyond the vocabulary, more tokens than the context.
    pub fn new(decoder: &'a Decoder, layer: usize, prompt: &[u32], position: usize, answer: &[u32]) -> Result<Objective<'a>> {
        let c = &decoder.config;
        if layer >= c.layers || position >= prompt.len() {
            let (layers, n) = (c.layers, prompt.len());
            let what = format!("layer {layer} of {layers}, position {position} of {n} tokens: there is no such place");
            return Err(Error::input(what, "name a layer of the model and a position of the prompt, both from 0"));
        }
        let Some((last, fed)) = answer.split_last() else {
            return Err(Error::input("an empty answer has no probability", "give at least one token"));
        };
        if *last as usize >= c.vocabulary {
            let what = format!("token {last} is beyond the vocabulary of {}", c.vocabulary);
            return Err(Error::input(what, "use this model's tokenizer"));
        }
        let tokens = [prompt, fed].concat();
        let mut seen = Recorder::new(&[], &[layer]);
        let mut cache = [decoder.cache()];
        decoder.forward(&mut cache, &[&tokens], Logits::Skip, &mut seen)?;
        let residual = &seen.residuals[0].2[position * c.width..];
        let length = residual[..c.width].iter().map(|x| *x as f64 * *x as f64).sum::<f64>().sqrt();
        let rows: Vec<Row> =
            (position..tokens.len()).map(|position| Row { sequence: Some(0), position, token: Some(tokens[position]) }).collect();
        let (cos, sin): (Vec<f32>, Vec<f32>) = decoder.turns(&rows).into_iter().unzip();
        let sees = |row: &Row, other: usize| other <= row.position && c.window.is_none_or(|w| other + w > row.position);
        let mask = |row| (0..tokens.len()).map(move |other| if sees(row, other) { 0.0 } else { f32::NEG_INFINITY });
        let mask: Vec<f32> = rows.iter().flat_map(mask).collect();
        let build = || -> candle_core::Result<Objective<'a>> {
            let heads_first = |x: Vec<f32>| tensor(x, (position, c.kv_heads, c.head_dim))?.transpose(0, 1)?.contiguous();
            let before = |l: usize| {
                let (keys, values) = cache[0].first(l, position);
                Ok(if position == 0 { None } else { Some((heads_first(keys)?, heads_first(values)?)) })
            };
            let (n, pairs) = (rows.len(), c.head_dim / 2);
            Ok(Objective {
                decoder,
                layer,
                answer: answer.to_vec(),
                residual: tensor(residual.to_vec(), (n, c.width))?,
                length,
                before: (layer..c.layers).map(before).collect::<candle_core::Result<_>>()?,
                cos: tensor(cos, (n, 1, pairs))?,
                sin: tensor(sin, (n, 1, pairs))?,
                mask: tensor(mask, (n, tokens.len()))?,
            })
        };
        build().map_err(failed)
    }

    /// |h|: the norm of the residual that v is added to.
    pub fn length(&self) -> f64 {
        self.length
    }

    /// The logits from which the answer's tokens are drawn, one row for each of them.
    pub fn logits(&self, v: &[f32]) -> Result<Output> {
        let v = self.checked(v)?;
        let logits = self.forward(&v).and_then(|t| t.flatten_all()?.to_vec1()).map_err(failed)?;
        Ok(Output { logits, vocabulary: self.decoder.config.vocabulary })
    }

    /// log p(answer | prompt), natural.
    pub fn log_probability(&self, v: &[f32]) -> Result<f64> {
        let v = self.checked(v)?;
        let log_p = self.loss(&v).and_then(|loss| loss.to_scalar::<f32>()).map_err(failed)?;
        finite(-log_p as f64)
    }

    /// The same and its gradient by v: width numbers.
    pub fn gradient(&self, v: &[f32]) -> Result<(f64, Vec<f32>)> {
        let v = Var::from_tensor(&self.checked(v)?).map_err(failed)?;
        let run = || {
            let loss = self.loss(&v)?;
            let gradients = loss.backward()?;
            let by_v = gradients.get(&v).map_or_else(|| v.zeros_like(), |g| g.neg())?;
            Ok((loss.to_scalar::<f32>()?, by_v.to_vec1::<f32>()?))
        };
        let (loss, gradient) = run().map_err(failed)?;
        Ok((finite(-loss as f64)?, gradient))
    }

    fn checked(&self, v: &[f32]) -> Result<Tensor> {
        let width = self.decoder.config.width;
        if v.len() != width {
            let what = format!("a vector of {} numbers for a residual of {width}", v.len());
            return Err(Error::input(what, "give one number for each unit of the residual"));
        }
        tensor(v.to_vec(), width).map_err(failed)
    }

    /// -log p(answer).
    fn loss(&self, v: &Tensor) -> candle_core::Result<Tensor> {
        let logits = self.forward(v)?;
        let logits = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
        let all = logits.exp()?.sum_keepdim(D::Minus1)?.log()?;
        let answer = Tensor::from_slice(&self.answer, (self.answer.len(), 1), &Device::Cpu)?;
        (all - logits.gather(&answer, 1)?)?.sum_all()
    }

    /// Logits of the answer's rows: answer x vocabulary.
    fn forward(&self, v: &Tensor) -> candle_core::Result<Tensor> {
        let (n, width) = self.residual.dims2()?;
        let changed = (self.residual.narrow(0, 0, 1)? + v.reshape((1, width))?)?;
        let mut x = match n {
            1 => changed,
            _ => Tensor::cat(&[&changed, &self.residual.narrow(0, 1, n - 1)?], 0)?,
        };
        for l in self.layer..self.decoder.config.layers {
            let layer = &self.decoder.layers[l];
            let linear = |linear: Linear, x: &Tensor| self.linear(Site { layer: l, linear }, x);
            let mixed = self.attention(l, layer, &self.norm(&x, &layer.input_norm)?)?;
            x = (x + linear(Linear::O, &mixed)?)?;
            let normed = self.norm(&x, &layer.post_norm)?;
            let gate = (linear(Linear::Gate, &normed)?.silu()? * linear(Linear::Up, &normed)?)?;
            x = (x + linear(Linear::Down, &gate)?)?;
        }
        let drawn = self.answer.len();
        self.linear(Site::HEAD, &self.norm(&x.narrow(0, n - drawn, drawn)?, &self.decoder.norm)?)
    }

    /// What every head sees, from normed residuals: rows x (heads * head_dim).
    fn attention(&self, l: usize, layer: &Layer, normed: &Tensor) -> candle_core::Result<Tensor> {
        let c = &self.decoder.config;
        let (n, dim, kv, group) = (normed.dim(0)?, c.head_dim, c.kv_heads, c.heads / c.kv_heads);
        let split = |linear: Linear| {
            let heads = if linear == Linear::Q { c.heads } else { kv };
            self.linear(Site { layer: l, linear }, normed)?.reshape((n, heads, dim))
        };
        let (mut q, mut k, v) = (split(Linear::Q)?, split(Linear::K)?, split(Linear::V)?);
        if let Some((q_norm, k_norm)) = &layer.head_norms {
            (q, k) = (self.norm(&q, q_norm)?, self.norm(&k, k_norm)?);
        }
        // The queries that share a key/value head stand below each other.
        let q = self.rotate(&q)?.reshape((n, kv, group, dim))?.permute((1, 2, 0, 3))?.contiguous()?;
        let q = q.reshape((kv, group * n, dim))?;
        let mut k = self.rotate(&k)?.transpose(0, 1)?.contiguous()?;
        let mut v = v.transpose(0, 1)?.contiguous()?;
        if let Some((keys, values)) = &self.before[l - self.layer] {
            (k, v) = (Tensor::cat(&[keys, &k], 1)?, Tensor::cat(&[values, &v], 1)?);
        }
        let all = k.dim(1)?;
        let scores = (q.matmul(&k.t()?.contiguous()?)? / (dim as f64).sqrt())?;
        let scores = scores.reshape((kv * group, n, all))?.broadcast_add(&self.mask)?;
        let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
        let weights = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
        let mixed = weights.reshape((kv, group * n, all))?.matmul(&v)?;
        mixed.reshape((kv, group, n, dim))?.permute((2, 0, 1, 3))?.contiguous()?.reshape((n, c.heads * dim))
    }

    /// Turns the pairs (i, i + dim / 2) of every head: rows x heads x dim.
    fn rotate(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let pairs = x.dim(2)? / 2;
        let (low, high) = (x.narrow(2, 0, pairs)?, x.narrow(2, pairs, pairs)?);
        let turned_low = (low.broadcast_mul(&self.cos)? - high.broadcast_mul(&self.sin)?)?;
        let turned_high = (high.broadcast_mul(&self.cos)? + low.broadcast_mul(&self.sin)?)?;
        Tensor::cat(&[turned_low, turned_high], 2)
    }

    /// RMSNorm over the last dimension.
    fn norm(&self, x: &Tensor, weight: &[f32]) -> candle_core::Result<Tensor> {
        let square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let by = (square + self.decoder.config.norm_eps as f64)?.sqrt()?.recip()?;
        x.broadcast_mul(&by)?.broadcast_mul(&tensor(weight.to_vec(), weight.len())?)
    }

    fn linear(&self, site: Site, x: &Tensor) -> candle_core::Result<Tensor> {
        let matrix = self.decoder.matrix(site);
        let (outputs, inputs) = self.decoder.config.shape(site.linear);
        let y = x.contiguous()?.apply_op1(Product { weight: matrix.weight.clone(), outputs, inputs })?;
        match &matrix.bias {
            Some(bias) => y.broadcast_add(&tensor(bias.clone(), outputs)?),
            None => Ok(y),
        }
    }
}

/// `y = x Wᵀ` for a weight that is not a variable. candle's own product would copy the weight, and compute its gradient.
struct Product {
    weight: Arc<Vec<f32>>,
    outputs: usize,
    inputs: usize,
}

impl CustomOp1 for Product {
    fn name(&self) -> &'static str {
        "product with a fixed weight"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("rows that are not contiguous") };
        let x = &storage.as_slice::<f32>()?[start..end];
        let n = x.len() / self.inputs;
        let mut y = vec![0.0; n * self.outputs];
        matmul::by_rows(n, self.inputs, self.outputs, x, &self.weight, &mut y);
        Ok((CpuStorage::F32(y), Shape::from((n, self.outputs))))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, by_y: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let by_y = by_y.flatten_all()?.to_vec1::<f32>()?;
        let n = by_y.len() / self.outputs;
        let mut by_x = vec![0.0; n * self.inputs];
        matmul::by_columns(n, self.inputs, self.outputs, &by_y, &self.weight, &mut by_x);
        Ok(Some(tensor(by_x, (n, self.inputs))?))
    }
}

fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

fn finite(log_p: f64) -> Result<f64> {
    match log_p.is_finite() {
        true => Ok(log_p),
        false => Err(Error::Run {
            message: "the answer's log-probability is not finite".into(),
            remedy: "look for damaged weights, or for a change of the residual that is far too large".into(),
        }),
    }
}

fn failed(error: candle_core::Error) -> Error {
    let what = error.to_string();
    let message = format!("the gradient cannot be computed: {}", what.lines().next().unwrap_or(""));
    Error::Run { message, remedy: "check that the weights fit the model's configuration".into() }
}
