//! Bayesian weights: every synapse carries mean and deviation of a Gaussian; a rule learns on samples of it, and the posterior
//! learns from the rule's steps. Also what a predictive distribution says about its own doubt. Knows numbers only.

use super::{Layer, Link, Protection, state};
use crate::error::{Error, Result};
use crate::model::math;
use crate::rng::{self, Purpose};
use crate::simd::{for_every_level, level};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How the posterior learns. g = E[dC/dw], s = E[dC/dw e] with w = mean + deviation e: the gradients in mean and deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Bayesian gradient descent (Zeno et al. 2018, eqs. 11, 12): mean -= rate v g;
    /// deviation = deviation sqrt(1 + (deviation s / 2)²) - v s / 2, v the variance.
    Bgd {
        /// Step of the means, in units of the variance.
        rate: f64,
    },
    /// Metaplasticity from synaptic uncertainty (Bonnet et al. 2025): with p = 1 / (window prior variance),
    /// mean -= rate_mean v (g + p (mean - prior mean)) / q, deviation -= rate_deviation (v s + deviation p (v - prior variance)) / q;
    /// q = 1 + deviation |s| in the second-order form, else 1.
    Mesu {
        /// Memory window N, presentations.
        window: f64,
        /// Step of the means.
        rate_mean: f64,
        /// Step of the deviations.
        rate_deviation: f64,
        /// Whether the curvature along the deviation divides the steps.
        second_order: bool,
    },
}

impl Rule {
    /// MESU with the paper's rates (1 and 1/2), second order.
    pub fn mesu(window: f64) -> Self {
        Rule::Mesu { window, rate_mean: 1.0, rate_deviation: 0.5, second_order: true }
    }
}

/// How a posterior learns; [`Options::new`] gives what is usual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Options {
    /// How mean and deviation move.
    pub rule: Rule,
    /// The learning rate inside the steps the base rule hands over: gradient = -step / rate.
    pub rate: f64,
    /// Observations that the base rule's mean gradient stands for.
    pub observations: f64,
    /// Weight samples averaged before the posterior moves.
    pub samples: u32,
    /// Changes of mean and deviation are clipped to this part of the deviation (none: not at all).
    pub clip: Option<f64>,
    /// Of the weight samples.
    pub seed: u64,
}

impl Options {
    /// One observation a step and one sample an update, nothing clipped, seed 0. `rate` is the base rule's learning rate.
    pub fn new(rule: Rule, rate: f64) -> Self {
        Options { rule, rate, observations: 1.0, samples: 1, clip: None, seed: 0 }
    }

    fn check(&self) -> Result<()> {
        let positive = |v: f64| v.is_finite() && v > 0.0;
        let rule = match self.rule {
            Rule::Bgd { rate } => positive(rate),
            Rule::Mesu { window, rate_mean, rate_deviation, .. } => {
                window > 0.0 && positive(rate_mean) && positive(rate_deviation)
            }
        };
        let clip = self.clip.is_none_or(|c| c > 0.0 && c < 1.0);
        if rule && clip && positive(self.rate) && positive(self.observations) && self.samples > 0 {
            return Ok(());
        }
        Err(Error::input(format!("posterior: {self:?}"), "give rates, window, observations and samples above 0, clip in (0, 1)"))
    }
}

/// Gaussian weights of one layer: means and deviations are outputs x inputs, row-major; the prior is one Gaussian for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gaussian {
    /// Columns.
    pub inputs: usize,
    /// Rows.
    pub outputs: usize,
    /// outputs x inputs.
    pub mean: Vec<f32>,
    /// outputs x inputs, above 0.
    pub deviation: Vec<f32>,
    /// Mean of the prior.
    pub prior_mean: f64,
    /// Standard deviation of the prior, above 0.
    pub prior_deviation: f64,
}

impl Gaussian {
    /// Means as the layer has them, one deviation for all, the prior N(0, prior_deviation²).
    pub fn new(layer: &Layer, deviation: f64, prior_deviation: f64) -> Result<Self> {
        let (mean, deviation) = (layer.weight.clone(), vec![deviation as f32; layer.weight.len()]);
        let gaussian =
            Gaussian { inputs: layer.inputs, outputs: layer.outputs, mean, deviation, prior_mean: 0.0, prior_deviation };
        gaussian.check()?;
        Ok(gaussian)
    }

    /// Refuse sizes that do not fit, means that are not numbers, deviations not above 0.
    pub fn check(&self) -> Result<()> {
        let n = self.inputs * self.outputs;
        if self.mean.len() != n || self.deviation.len() != n {
            let message = format!("posterior: {} means and {} deviations", self.mean.len(), self.deviation.len());
            return Err(Error::input(message, format!("give {} x {} of each", self.outputs, self.inputs)));
        }
        let bad = |v: &f32| !(v.is_finite() && *v > 0.0);
        if let Some(at) = self.deviation.iter().position(bad) {
            return Err(self.refused(at, format!("the deviation is {}", self.deviation[at])));
        }
        if let Some(at) = self.mean.iter().position(|v| !v.is_finite()) {
            return Err(self.refused(at, format!("the mean is {}", self.mean[at])));
        }
        if !(self.prior_deviation.is_finite() && self.prior_deviation > 0.0 && self.prior_mean.is_finite()) {
            let message = format!("posterior: prior N({}, {}²)", self.prior_mean, self.prior_deviation);
            return Err(Error::input(message, "give the prior a finite mean and a deviation above 0"));
        }
        Ok(())
    }

    fn refused(&self, at: usize, what: String) -> Error {
        let (source, target) = (at % self.inputs, at / self.inputs);
        Error::input(
            format!("posterior: from source {source} to target {target} {what}"),
            "give finite means and deviations above 0",
        )
    }

    /// Move by the mean gradients in mean and deviation (see [`Rule`]).
    pub fn update(&mut self, rule: &Rule, clip: Option<f64>, gradient_mean: &[f64], gradient_deviation: &[f64]) {
        let prior = (self.prior_mean, self.prior_deviation);
        update(rule, clip, prior, &mut self.mean, &mut self.deviation, (gradient_mean, gradient_deviation));
    }

    /// Weights mean + deviation e, e standard normal: a pure function of (seed, layer, presentation).
    pub fn sample(&self, seed: u64, layer: u32, presentation: u64, weight: &mut [f32]) {
        normals(seed, layer, presentation, weight);
        let parameters = self.mean.iter().zip(&self.deviation);
        weight.iter_mut().zip(parameters).for_each(|(w, (m, d))| *w = m + d * *w);
    }

    /// Divergence KL(posterior || prior), nats.
    pub fn divergence(&self) -> f64 {
        let prior = self.prior_deviation;
        let each = self.mean.iter().zip(&self.deviation).map(|(&m, &d)| {
            let (z, r) = ((m as f64 - self.prior_mean) / prior, d as f64 / prior);
            0.5 * (r * r + z * z - 1.0) - r.ln()
        });
        each.sum()
    }
}

/// Move some means and deviations (see [`Rule`]); `prior` is its mean and deviation, the gradients those in mean and deviation.
fn update(rule: &Rule, clip: Option<f64>, prior: (f64, f64), mean: &mut [f32], deviation: &mut [f32], (g, s): (&[f64], &[f64])) {
    let (prior_mean, prior_variance) = (prior.0, prior.1 * prior.1);
    let parameters = mean.iter_mut().zip(deviation).zip(g.iter().zip(s));
    let clip = clip.unwrap_or(f64::INFINITY);
    let moved = |m: &mut f32, d: &mut f32, change: (f64, f64)| {
        let limit = clip * *d as f64;
        *m = (*m as f64 + change.0.clamp(-limit, limit)) as f32;
        *d = ((*d as f64 + change.1.clamp(-limit, limit)) as f32).max(f32::MIN_POSITIVE);
    };
    match *rule {
        Rule::Bgd { rate } => parameters.for_each(|((mean, deviation), (&g, &s))| {
            let d = *deviation as f64;
            let half = 0.5 * d * s;
            // sqrt(1 + half²) - half, without cancellation for large half
            let factor = if half > 0.0 { 1.0 / (half.hypot(1.0) + half) } else { half.hypot(1.0) - half };
            moved(mean, deviation, (-rate * d * d * g, d * (factor - 1.0)));
        }),
        Rule::Mesu { window, rate_mean, rate_deviation, second_order } => {
            let pull = 1.0 / (window * prior_variance);
            let second = second_order as u8 as f64;
            parameters.for_each(|((mean, deviation), (&g, &s))| {
                let (m, d) = (*mean as f64, *deviation as f64);
                let v = d * d;
                let q = 1.0 / (1.0 + second * d * s.abs());
                let dm = -rate_mean * v * (g + pull * (m - prior_mean)) * q;
                moved(mean, deviation, (dm, -rate_deviation * (v * s + d * pull * (v - prior_variance)) * q));
            });
        }
    }
}

/// Weights that one thread treats at a time: the numbers of [`normals`] do not depend on it.
const PIECE: usize = 4096;

/// Standard normals, each a pure function of (seed, owner, time, its index): Philox4x32 and Box-Muller, four a block.
pub fn normals(seed: u64, owner: u32, time: u64, out: &mut [f32]) {
    out.par_chunks_mut(PIECE).enumerate().for_each(|(piece, out)| normals_from(seed, owner, time, piece * PIECE, out));
}

/// Those from index `first` (a multiple of 4) on.
pub(super) fn normals_from(seed: u64, owner: u32, time: u64, first: usize, out: &mut [f32]) {
    let key = rng::key(seed, owner);
    let (purpose, level) = (Purpose::Posterior as u32 | ((time >> 32) as u32) << 8, level());
    for (i, some) in out.chunks_mut(4 * LANES).enumerate() {
        let block = [(first / 4 + i * LANES) as u32, time as u32, purpose];
        let mut all = [0.0; 4 * LANES];
        blocks(level, key, block, &mut all);
        some.copy_from_slice(&all[..some.len()]);
    }
}

/// Blocks of four normals side by side.
const LANES: usize = 16;

for_every_level! {
    /// [`LANES`] blocks from (element, time, purpose) on; no step of it rounds differently at another width.
    fn blocks(key: [u32; 2], from: [u32; 3], out: &mut [f32; 4 * LANES]) {
        let [element, time, purpose] = from;
        let mut counters = [[0; LANES], [time.into(); LANES], [0; LANES], [purpose.into(); LANES]];
        (0..LANES).for_each(|l| counters[0][l] = element.wrapping_add(l as u32).into());
        let words = rng::philox_lanes(counters, key);
        for pair in [0, 2] {
            for l in 0..LANES {
                let [a, b] = normal_pair(unit(words[pair][l] as u32), unit(words[pair + 1][l] as u32));
                out[4 * l + pair] = a;
                out[4 * l + pair + 1] = b;
            }
        }
    }
}

/// Within (0, 1), exactly: 23 bits and a half.
#[inline(always)]
pub(crate) fn unit(bits: u32) -> f32 {
    ((bits >> 9) as i32 as f32 + 0.5) * (1.0 / (1 << 23) as f32)
}

/// Two standard normals from two numbers within (0, 1) (Box & Muller).
#[inline(always)]
pub(crate) fn normal_pair(u: f32, v: f32) -> [f32; 2] {
    let radius = (-2.0 * math::log_normal(u)).sqrt();
    let (sine, cosine) = turn(v);
    [radius * cosine, radius * sine]
}

/// Sine and cosine of 2 pi u, u in 0..=1.
#[inline(always)]
pub(crate) fn turn(u: f32) -> (f32, f32) {
    let quarter = (4.0 * u + 0.5) as i32;
    let r = (u - 0.25 * quarter as f32) * std::f32::consts::TAU;
    let z = r * r;
    let s = r + r * z * (-1.666_665_5e-1 + z * (8.332_161e-3 - z * 1.951_529_6e-4));
    let c = 1.0 - 0.5 * z + z * z * (4.166_664_6e-2 + z * (-1.388_731_6e-3 + z * 2.443_315_7e-5));
    let (a, b) = if quarter & 1 == 1 { (c, s) } else { (s, c) };
    let flip = |v: f32, on: bool| if on { -v } else { v };
    (flip(a, quarter & 2 == 2), flip(b, (quarter + 1) & 2 == 2))
}

/// The posterior of every layer. As a [`Protection`] it writes samples: the base rule sees one sample of the weights at a
/// presentation, its step tells the gradient there, and `apply` leaves the next sample in the layer. So it stands last in a chain;
/// anywhere before it scales steps by variance / prior variance (the deviation as learning rate).
/// Plain data: save and restore it whole (serde), and call [`Posterior::check`] on what was restored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Posterior {
    /// How it learns.
    pub options: Options,
    /// In the order of the network's layers.
    pub layers: Vec<Gaussian>,
    /// Presentations drawn so far, per layer.
    pub presentation: Vec<u64>,
    /// Sums over the samples since the last update, per layer: gradient, gradient x e.
    pending: Vec<Pending>,
    #[serde(skip)]
    noise: Noise,
}

/// e of the present presentation, per layer, where drawn already: follows from the rest, so it is neither saved nor compared.
#[derive(Clone, Debug, Default)]
struct Noise(Vec<Vec<f32>>);

impl PartialEq for Noise {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Pending {
    count: u32,
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Posterior {
    /// A posterior that learned nothing yet. Refuses what [`Posterior::check`] refuses.
    pub fn new(layers: Vec<Gaussian>, options: Options) -> Result<Self> {
        let count = layers.len();
        let (presentation, pending) = (vec![0; count], vec![Pending::default(); count]);
        let posterior = Posterior { options, layers, presentation, pending, noise: Noise::default() };
        posterior.check()?;
        Ok(posterior)
    }

    /// Refuse a posterior (made or restored) that cannot be right.
    pub fn check(&self) -> Result<()> {
        self.options.check()?;
        self.layers.iter().try_for_each(Gaussian::check)?;
        let fits = self
            .pending
            .iter()
            .zip(&self.layers)
            .all(|(p, l)| p.count == 0 || (p.mean.len() == l.mean.len() && p.deviation.len() == l.mean.len()));
        if self.presentation.len() != self.layers.len() || self.pending.len() != self.layers.len() || !fits {
            return Err(Error::input("posterior: the saved layers do not fit together", "restore one whole saved posterior"));
        }
        Ok(())
    }

    /// Put the sample of the present presentation into a layer: before the first step, and after a test changed the weights.
    pub fn draw(&self, layer: usize, weights: &mut Layer) {
        self.layers[layer].sample(self.options.seed, layer as u32, self.presentation[layer], &mut weights.weight);
    }

    /// Put test sample `index` into a layer; test samples never meet those of learning.
    pub fn draw_test(&self, layer: usize, index: u32, weights: &mut Layer) {
        self.layers[layer].sample(self.options.seed ^ 0x7E57 << 32, layer as u32, index as u64, &mut weights.weight);
    }

    /// Put the means into a layer.
    pub fn mean(&self, layer: usize, weights: &mut Layer) {
        weights.weight.copy_from_slice(&self.layers[layer].mean);
    }
}

#[cfg(feature = "gpu")]
impl Posterior {
    /// Sums of a layer since its last update: samples in them, gradients, gradients times e (empty where there are none).
    pub(crate) fn pending(&self, layer: usize) -> (u32, [&[f64]; 2]) {
        let Pending { count, mean, deviation } = &self.pending[layer];
        (*count, [mean, deviation])
    }

    /// A layer as an engine that learns elsewhere leaves it: means and deviations, presentations drawn, sums as in `pending`.
    pub(crate) fn take_back(
        &mut self,
        layer: usize,
        [mean, deviation]: [&[f32]; 2],
        time: u64,
        (count, sums): (u32, [Vec<f64>; 2]),
    ) {
        self.layers[layer].mean.copy_from_slice(mean);
        self.layers[layer].deviation.copy_from_slice(deviation);
        self.presentation[layer] = time;
        let [mean, deviation] = sums;
        self.pending[layer] = Pending { count, mean, deviation };
        self.noise = Noise::default();
    }
}

impl Protection for Posterior {
    fn step(&mut self, layer: usize, _weights: &Layer, step: &mut [f32]) {
        let Some(gaussian) = self.layers.get(layer) else { return };
        let prior = gaussian.prior_deviation as f32;
        step.iter_mut().zip(&gaussian.deviation).for_each(|(s, d)| *s *= (d / prior).powi(2));
    }

    fn links(&mut self, layer: usize) -> Result<Vec<Link<'_>>> {
        Ok(if layer < self.layers.len() { vec![Link::Posterior(self)] } else { vec![] })
    }

    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]) {
        let Some(gaussian) = self.layers.get_mut(layer) else { return weights.add(step) };
        assert_eq!(step.len(), gaussian.mean.len(), "a step has the shape of its layer");
        let Options { rule, rate, observations, samples, clip, seed } = self.options;
        self.noise.0.resize(self.presentation.len(), vec![]);
        let (noise, pending, time) = (&mut self.noise.0[layer], &mut self.pending[layer], &mut self.presentation[layer]);
        if noise.len() != step.len() {
            noise.resize(step.len(), 0.0);
            normals(seed, layer as u32, *time, noise);
        }
        if pending.count == 0 {
            let sums = if samples > 1 { step.len() } else { 0 };
            (pending.mean, pending.deviation) = (vec![0.0; sums], vec![0.0; sums]);
        }
        pending.count = (pending.count + 1) % samples;
        *time += 1;
        let (moves, time) = (pending.count == 0, *time);
        let prior = (gaussian.prior_mean, gaussian.prior_deviation);
        let scale = -observations / rate / samples as f64;
        let mut sums: Vec<(&mut [f64], &mut [f64])> =
            pending.mean.chunks_mut(PIECE).zip(pending.deviation.chunks_mut(PIECE)).collect();
        sums.resize_with(step.len().div_ceil(PIECE), Default::default);
        let parameters = gaussian.mean.par_chunks_mut(PIECE).zip(gaussian.deviation.par_chunks_mut(PIECE));
        let shown = weights.weight.par_chunks_mut(PIECE).zip(noise.par_chunks_mut(PIECE)).zip(step.par_chunks(PIECE));
        parameters.zip(shown).zip(sums).enumerate().for_each(|(piece, (((mean, deviation), ((w, e), step)), sums))| {
            let (mut g, mut s) = ([0.0; PIECE], [0.0; PIECE]);
            for (i, (&step, &e)) in step.iter().zip(&*e).enumerate() {
                g[i] = step as f64 * scale;
                s[i] = g[i] * e as f64;
            }
            if samples > 1 {
                sums.0.iter_mut().zip(&mut g).for_each(|(sum, g)| (*sum, *g) = (*sum + *g, *sum + *g));
                sums.1.iter_mut().zip(&mut s).for_each(|(sum, s)| (*sum, *s) = (*sum + *s, *sum + *s));
            }
            if moves {
                update(&rule, clip, prior, mean, deviation, (&g, &s));
            }
            normals_from(seed, layer as u32, time, piece * PIECE, e);
            w.iter_mut().zip(e).zip(mean.iter().zip(deviation)).for_each(|((w, e), (m, d))| *w = *m + *d * *e);
        });
    }

    fn state(&self) -> state::State {
        let mut saved = state::State::default();
        saved.put("presentation", &[self.layers.len()], &self.presentation);
        let counts: Vec<u64> = self.pending.iter().map(|p| p.count as u64).collect();
        saved.put("pending", &[counts.len()], &counts);
        for (l, (g, p)) in self.layers.iter().zip(&self.pending).enumerate() {
            let shape = [g.outputs, g.inputs];
            saved.put(format!("{l}.mean"), &shape, &g.mean);
            saved.put(format!("{l}.deviation"), &shape, &g.deviation);
            if p.count > 0 {
                saved.put(format!("{l}.pending_mean"), &shape, &p.mean);
                saved.put(format!("{l}.pending_deviation"), &shape, &p.deviation);
            }
        }
        saved
    }

    fn bytes(&self) -> usize {
        let weights = self.layers.iter().map(|g| size_of_val(&g.mean[..]) + size_of_val(&g.deviation[..])).sum::<usize>();
        let of = |p: &Pending| size_of_val(&p.mean[..]) + size_of_val(&p.deviation[..]);
        let pending = self.pending.iter().filter(|p| p.count > 0).map(of).sum::<usize>();
        weights + pending + 8 * self.pending.len() + size_of_val(&self.presentation[..])
    }

    fn restore(&mut self, saved: &state::State) -> Result<()> {
        let mut next = self.clone();
        next.presentation = saved.get("presentation", self.layers.len())?.to_vec();
        let counts = saved.get::<u64>("pending", self.layers.len())?;
        for (l, ((g, p), &count)) in next.layers.iter_mut().zip(&mut next.pending).zip(counts).enumerate() {
            let n = g.inputs * g.outputs;
            g.mean = saved.get(&format!("{l}.mean"), n)?.to_vec();
            g.deviation = saved.get(&format!("{l}.deviation"), n)?.to_vec();
            *p = Pending { count: count as u32, ..Pending::default() };
            if count > 0 {
                p.mean = saved.get(&format!("{l}.pending_mean"), n)?.to_vec();
                p.deviation = saved.get(&format!("{l}.pending_deviation"), n)?.to_vec();
            }
        }
        next.noise = Noise::default();
        next.check()?;
        *self = next;
        Ok(())
    }

    fn report(&self) -> Vec<String> {
        let line = |(l, g): (usize, &Gaussian)| {
            let mean = g.deviation.iter().map(|d| *d as f64).sum::<f64>() / g.deviation.len().max(1) as f64;
            let prior = g.prior_deviation;
            format!("posterior, layer {l}: mean deviation {mean:.4} of a prior {prior:.4}, {:.0} nats learned", g.divergence())
        };
        self.layers.iter().enumerate().map(line).collect()
    }
}

/// Doubt of a predictive distribution, nats (Depeweg et al. 2018): total = aleatoric + epistemic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uncertainty {
    /// Entropy of the mean distribution.
    pub total: f64,
    /// Mean entropy of the sampled distributions: doubt in the data.
    pub aleatoric: f64,
    /// The rest, the mutual information of label and weights: doubt in the weights.
    pub epistemic: f64,
}

/// Mean over the samples of class probabilities (samples x classes, row-major).
pub fn mean_prediction(probabilities: &[f32], classes: usize) -> Vec<f64> {
    let samples = (probabilities.len() / classes.max(1)).max(1) as f64;
    (0..classes).map(|c| probabilities.iter().skip(c).step_by(classes).map(|&p| p as f64).sum::<f64>() / samples).collect()
}

/// Uncertainty of one input from class probabilities under weight samples (samples x classes, row-major).
pub fn uncertainty(probabilities: &[f32], classes: usize) -> Uncertainty {
    let samples = (probabilities.len() / classes.max(1)).max(1) as f64;
    let total = entropy(mean_prediction(probabilities, classes));
    let rows = probabilities.chunks_exact(classes.max(1));
    let aleatoric = rows.map(|row| entropy(row.iter().map(|&p| p as f64))).sum::<f64>() / samples;
    Uncertainty { total, aleatoric, epistemic: (total - aleatoric).max(0.0) }
}

fn entropy(p: impl IntoIterator<Item = f64>) -> f64 {
    p.into_iter().filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
}

/// Area under the receiver operating curve: the chance that an outside score exceeds an inside one, ties half; None where one
/// side is empty or a score is not a number.
pub fn auc(inside: &[f64], outside: &[f64]) -> Option<f64> {
    if inside.is_empty() || outside.is_empty() || inside.iter().chain(outside).any(|v| v.is_nan()) {
        return None;
    }
    let mut all: Vec<(f64, bool)> = inside.iter().map(|&v| (v, false)).chain(outside.iter().map(|&v| (v, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0usize, 0.0);
    for ties in all.chunk_by(|a, b| a.0 == b.0) {
        let out = ties.iter().filter(|t| t.1).count();
        let within = ties.len() - out;
        wins += out as f64 * (below as f64 + 0.5 * within as f64);
        below += within;
    }
    Some(wins / (inside.len() as f64 * outside.len() as f64))
}

/// Expected calibration error over equal bins of confidence in 0..=1 (Guo et al. 2017, eq. 3); None where nothing is given or `bins` is 0.
pub fn calibration_error(confidence: &[f64], correct: &[bool], bins: usize) -> Option<f64> {
    if confidence.is_empty()
        || confidence.len() != correct.len()
        || bins == 0
        || confidence.iter().any(|c| !(0.0..=1.0).contains(c))
    {
        return None;
    }
    let mut gap = vec![0.0; bins];
    for (&c, &right) in confidence.iter().zip(correct) {
        // bins are open below: (i/bins, (i+1)/bins]
        let bin = ((c * bins as f64).ceil() as usize).clamp(1, bins) - 1;
        gap[bin] += right as u8 as f64 - c;
    }
    Some(gap.iter().map(|g| g.abs()).sum::<f64>() / confidence.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;

    fn one(mean: f32, deviation: f64, prior: f64) -> Gaussian {
        Gaussian::new(&Layer { inputs: 1, outputs: 1, weight: vec![mean] }, deviation, prior).unwrap()
    }

    /// Exact gradients of the quadratic a/2 (w - c)²: E[dC/dw] = a (mean - c), E[dC/dw e] = a deviation.
    fn on_quadratic(gaussian: &mut Gaussian, rule: Rule, a: f64, c: f64, steps: usize) {
        for _ in 0..steps {
            let (m, d) = (gaussian.mean[0] as f64, gaussian.deviation[0] as f64);
            gaussian.update(&rule, None, &[a * (m - c)], &[a * d]);
        }
    }

    /// Zeno's factor is exp(-asinh(a v / 2)); the mean goes to the minimum, the precision gains a each step once a v is small.
    #[test]
    fn bgd_on_a_quadratic() {
        let (a, c) = (3.0, 0.7);
        let mut g = one(-0.2, 0.5, 1.0);
        on_quadratic(&mut g, Rule::Bgd { rate: 1.0 }, a, c, 1);
        assert!((g.deviation[0] as f64 - 0.5 * (-(a * 0.25 / 2.0f64).asinh()).exp()).abs() < 1e-7);
        assert!((g.mean[0] as f64 - (-0.2 - 0.25 * a * (-0.2 - c))).abs() < 1e-7);
        on_quadratic(&mut g, Rule::Bgd { rate: 1.0 }, a, c, 4000);
        let precision = (g.deviation[0] as f64).powi(-2);
        assert!((g.mean[0] as f64 - c).abs() < 1e-3, "{g:?}");
        assert!((precision / (4000.0 * a) - 1.0).abs() < 0.01, "{precision}");
        // the minimum is a fixed point of the mean, and only there
        let mut at = one(c as f32, 0.5, 1.0);
        on_quadratic(&mut at, Rule::Bgd { rate: 1.0 }, a, c as f32 as f64, 10);
        assert_eq!(at.mean[0], c as f32);
        // a negative curvature widens
        let mut wide = one(0.0, 0.5, 1.0);
        wide.update(&Rule::Bgd { rate: 1.0 }, None, &[0.0], &[-2.0]);
        assert!((wide.deviation[0] as f64 - 0.5 * (1.25f64.sqrt() + 0.5)).abs() < 1e-7);
    }

    /// With window N the fixed point is the exact posterior of N copies of the data: precision N a + 1/prior variance.
    #[test]
    fn mesu_settles_at_the_posterior_of_its_window() {
        let (a, c, prior, window) = (2.0, 0.7, 0.4, 50.0);
        let precision = window * a + 1.0 / (prior * prior);
        let mean = window * a * c / precision;
        for second_order in [false, true] {
            let mut g = one(0.0, 0.3, prior);
            on_quadratic(&mut g, Rule::Mesu { window, rate_mean: 1.0, rate_deviation: 0.5, second_order }, a, c, 3000);
            assert!((g.mean[0] as f64 / mean - 1.0).abs() < 1e-4, "{} {mean}", g.mean[0]);
            assert!(((g.deviation[0] as f64).powi(-2) / precision - 1.0).abs() < 1e-3, "{g:?} {precision}");
        }
    }

    #[test]
    fn mesu_limits() {
        // no data: relaxation to the prior, from both sides
        for deviation in [0.1, 0.9] {
            let mut g = one(1.0, deviation, 0.4);
            on_quadratic(&mut g, Rule::mesu(10.0), 0.0, 0.0, 2000);
            assert!(g.mean[0].abs() < 1e-4 && (g.deviation[0] - 0.4).abs() < 1e-4, "{g:?}");
        }
        // no forgetting and small steps: BGD
        let (mut mesu, mut bgd) = (one(0.3, 0.01, 1.0), one(0.3, 0.01, 1.0));
        on_quadratic(
            &mut mesu,
            Rule::Mesu { window: 1e30, rate_mean: 1.0, rate_deviation: 0.5, second_order: false },
            1.0,
            1.0,
            100,
        );
        on_quadratic(&mut bgd, Rule::Bgd { rate: 1.0 }, 1.0, 1.0, 100);
        assert!((mesu.mean[0] - bgd.mean[0]).abs() < 1e-6 && (mesu.deviation[0] / bgd.deviation[0] - 1.0).abs() < 1e-5);
        // second order by hand: q = 1 + 0.5 * 4 = 3
        let mut g = one(0.0, 0.5, 0.5);
        g.update(&Rule::mesu(1e30), None, &[1.0], &[4.0]);
        assert!((g.mean[0] + 0.25 / 3.0).abs() < 1e-6 && (g.deviation[0] - (0.5 - 0.5 / 3.0)).abs() < 1e-6);
        // clipped
        let mut g = one(0.0, 0.5, 0.5);
        g.update(&Rule::mesu(1e30), Some(0.1), &[100.0], &[4.0]);
        assert!((g.mean[0] + 0.05).abs() < 1e-6 && (g.deviation[0] - 0.45).abs() < 1e-6);
    }

    /// The whole way, with sampled weights: a rule that only knows its gradient at the weights it is shown.
    #[test]
    fn as_protection_it_learns_from_steps_at_samples() {
        let n = 64;
        let (a, c, prior, window, rate) = (2.0f32, 0.5f32, 0.5, 40.0, 0.1f32);
        let mut layer = Layer { inputs: n, outputs: 1, weight: vec![0.0; n] };
        let rule = Rule::Mesu { window, rate_mean: 1.0, rate_deviation: 0.5, second_order: false };
        let options = Options { samples: 4, clip: Some(0.5), ..Options::new(rule, rate as f64) };
        let mut posterior = Posterior::new(vec![Gaussian::new(&layer, 0.2, prior).unwrap()], options).unwrap();
        posterior.draw(0, &mut layer);
        let (mut mean, mut variance, mut seen) = (0.0, 0.0, 0.0);
        for t in 0..6000 {
            let step: Vec<f32> = layer.weight.iter().map(|w| -rate * a * (w - c)).collect();
            posterior.apply(0, &mut layer, &step);
            if t > 1500 {
                let g = &posterior.layers[0];
                mean += g.mean.iter().map(|&m| m as f64).sum::<f64>();
                variance += g.deviation.iter().map(|&d| (d as f64).powi(2)).sum::<f64>();
                seen += n as f64;
            }
        }
        let precision = window * a as f64 + 1.0 / (prior * prior);
        let expected = window * a as f64 * c as f64 / precision;
        assert!((mean / seen / expected - 1.0).abs() < 0.02, "{} {expected}", mean / seen);
        assert!((variance / seen * precision - 1.0).abs() < 0.05, "{} {}", variance / seen, 1.0 / precision);
        // saved in the middle and restored, it goes on bit for bit
        let mut restored: Posterior = serde_json::from_str(&serde_json::to_string(&posterior).unwrap()).unwrap();
        restored.check().unwrap();
        let mut named = Posterior::new(vec![Gaussian::new(&layer, 0.2, prior).unwrap()], posterior.options.clone()).unwrap();
        let saved = Protection::state(&posterior);
        assert!(named.restore(&saved.part("0")).is_err());
        named.restore(&saved).unwrap();
        assert!(Protection::state(&named) == saved);
        let mut other = Layer { weight: vec![0.0; n], ..layer.clone() };
        restored.draw(0, &mut other);
        assert_eq!(layer, other);
        for _ in 0..10 {
            let step: Vec<f32> = layer.weight.iter().map(|w| -rate * a * (w - c)).collect();
            posterior.apply(0, &mut layer, &step);
            restored.apply(0, &mut other, &step);
        }
        assert_eq!((&posterior, &layer), (&restored, &other));
    }

    #[test]
    fn normals_are_box_muller_of_philox() {
        let mut all = vec![0.0; 20_003];
        normals(9, 4, (3 << 32) + 7, &mut all);
        for (block, four) in all.chunks(4).enumerate() {
            let bits = rng::philox4x32([block as u32, 7, 0, Purpose::Posterior as u32 | 3 << 8], rng::key(9, 4));
            let unit = |b: u32| ((b >> 9) as f64 + 0.5) / (1 << 23) as f64;
            for (i, got) in four.iter().enumerate() {
                let (a, b) = (unit(bits[i & 2]), unit(bits[(i & 2) + 1]));
                let radius = (-2.0 * a.ln()).sqrt();
                let angle = std::f64::consts::TAU * b;
                let expected = radius * if i & 1 == 0 { angle.cos() } else { angle.sin() };
                assert!((*got as f64 - expected).abs() < 2e-6, "{block} {i}: {got} {expected}");
            }
        }
        let mut portable = [0.0; 4 * LANES];
        blocks(Level::Portable, rng::key(9, 4), [0, 7, Purpose::Posterior as u32 | 3 << 8], &mut portable);
        assert_eq!(portable, all[..4 * LANES]);
    }

    #[test]
    fn samples_have_the_moments_and_depend_on_nothing_else() {
        let n = 100_001;
        let (mut a, mut b, mut head) = (vec![0.0; n], vec![0.0; n], vec![0.0; 10]);
        normals(3, 1, 5, &mut a);
        normals(3, 1, 6, &mut b);
        normals(3, 1, 5, &mut head);
        assert_eq!(a[..10], head[..]);
        let moment = |p: i32| a.iter().map(|&v| (v as f64).powi(p)).sum::<f64>() / n as f64;
        assert!(moment(1).abs() < 0.015 && (moment(2) - 1.0).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.15);
        let correlation = a.iter().zip(&b).map(|(a, b)| (a * b) as f64).sum::<f64>() / n as f64;
        let next = a.windows(2).map(|w| (w[0] * w[1]) as f64).sum::<f64>() / n as f64;
        assert!(correlation.abs() < 0.015 && next.abs() < 0.015);
    }

    #[test]
    fn the_deviation_scales_the_steps_of_any_rule() {
        let mut layer = Layer { inputs: 2, outputs: 1, weight: vec![0.0; 2] };
        let mut g = Gaussian::new(&layer, 0.5, 0.5).unwrap();
        g.deviation[1] = 0.05;
        let posterior = Posterior::new(vec![g], Options::new(Rule::mesu(10.0), 1.0)).unwrap();
        super::super::Chain::<Box<dyn super::super::Protection>>(vec![Box::new(posterior), Box::new(super::super::Unprotected)])
            .apply(0, &mut layer, &[1.0, 1.0]);
        assert!((layer.weight[0] - 1.0).abs() < 1e-6 && (layer.weight[1] - 0.01).abs() < 1e-6);
    }

    #[test]
    fn doubt_by_hand() {
        let ln2 = 2f64.ln();
        let sure = uncertainty(&[1.0, 0.0, 1.0, 0.0], 2);
        assert_eq!((sure.total, sure.epistemic), (0.0, 0.0));
        let noisy = uncertainty(&[0.5, 0.5, 0.5, 0.5], 2);
        assert!((noisy.aleatoric - ln2).abs() < 1e-9 && noisy.epistemic < 1e-9);
        let torn = uncertainty(&[1.0, 0.0, 0.0, 1.0], 2);
        assert!((torn.epistemic - ln2).abs() < 1e-9 && torn.aleatoric == 0.0);
        assert_eq!(mean_prediction(&[1.0, 0.0, 0.0, 1.0], 2), [0.5, 0.5]);
    }

    #[test]
    fn auc_and_calibration_by_hand() {
        assert_eq!(auc(&[0.1, 0.2], &[0.3, 0.4]), Some(1.0));
        assert_eq!(auc(&[0.3, 0.4], &[0.1, 0.2]), Some(0.0));
        assert_eq!(auc(&[1.0, 1.0, 1.0], &[1.0, 1.0]), Some(0.5));
        assert_eq!(auc(&[1.0, 3.0], &[2.0, 3.0]), Some(0.625)); // 1 + 0 + 1 + half of four pairs
        assert_eq!((auc(&[], &[1.0]), auc(&[f64::NAN], &[1.0])), (None, None));
        // bin (0.5, 1]: confidence 0.8 and 0.6, one right: |0.5 - 0.7| * 2/3; bin (0, 0.5]: 0.4, wrong: 0.4 / 3
        let error = calibration_error(&[0.8, 0.6, 0.4], &[true, false, false], 2).unwrap();
        assert!((error - (0.4 + 0.4) / 3.0).abs() < 1e-12);
        assert_eq!(calibration_error(&[1.0, 1.0], &[true, true], 10), Some(0.0));
        assert_eq!((calibration_error(&[], &[], 10), calibration_error(&[1.5], &[true], 10)), (None, None));
    }

    #[test]
    fn bad_posteriors_are_refused() {
        let layer = Layer { inputs: 1, outputs: 2, weight: vec![0.0; 2] };
        assert!(Gaussian::new(&layer, 0.0, 1.0).is_err() && Gaussian::new(&layer, 0.1, -1.0).is_err());
        let mut g = Gaussian::new(&layer, 0.1, 1.0).unwrap();
        g.deviation[1] = -0.1;
        let message = g.check().unwrap_err().to_string();
        assert!(message.contains("target 1"), "{message}");
        let good = Gaussian::new(&layer, 0.1, 1.0).unwrap();
        assert!((good.divergence() - 2.0 * (0.5 * (0.01 - 1.0) - 0.1f64.ln())).abs() < 1e-5);
        assert!(Posterior::new(vec![good], Options::new(Rule::mesu(0.0), 1.0)).is_err());
    }
}
