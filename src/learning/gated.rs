//! A Gaussian posterior of the weights of one hidden layer and a readout, of which each image sees the units that its context opens.
//! Noise is drawn at the membranes instead of at the weights: the input of a unit is Gaussian with the mean and the variance that the
//! weights' posterior gives it, so a synapse needs its presynaptic input, its neuron's error and its neuron's own noise, and nothing
//! else. Promises numbers that are functions of the seed and the images in their order, on any vector unit. Knows no task and no file.
//!
//! Rules: MESU (Bonnet et al. 2025, doi 10.1038/s41467-025-64601-w, eqs. of the update with a window of N images), BGD (Zeno et al.
//! 2018, arXiv:1803.10123), or plain gradient steps. Local reparameterisation: Kingma, Salimans & Welling (2015, arXiv:1506.02557).

use super::contexts::{self, Contexts, open_units};
use super::local::{Outcome, softmax};
use super::posterior::normals_from;
use super::state::State;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};
use crate::simd::{Level, for_every_level, level};

/// Owners of random numbers: first weights, noise while learning, noise in tests.
const WEIGHTS: u32 = 9 << 16;
const NOISE: u32 = 10 << 16;
const TEST: u32 = 11 << 16;
/// Deviations do not fall below.
const LEAST: f32 = 1e-5;
/// Keeps divisions by a deviation finite.
const TINY: f32 = 1e-12;
/// Sums that a dot product keeps side by side.
const LANES: usize = 16;

/// What is learned from an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Metaplasticity from synaptic uncertainty: forgets over a window of so many images of a synapse.
    Mesu {
        /// Images.
        window: f32,
    },
    /// Bayesian gradient descent: keeps all it learned.
    Bgd,
    /// Means alone, without noise.
    Sgd {
        /// Learning rate.
        rate: f32,
    },
}

/// Which context opens the units of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// All units are open.
    None,
    /// As context cells infer it.
    Inferred,
    /// As the task says: the upper yardstick.
    Oracle,
    /// Drawn for each image anew: the control.
    Random,
}

/// Sizes, gate and rule. [`Options::new`] gives all but the sizes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Inputs, hidden units, classes.
    pub sizes: [usize; 3],
    /// Hidden units that a context opens.
    pub open: usize,
    /// Who says the context.
    pub gate: Gate,
    /// How context cells are recruited.
    pub contexts: contexts::Options,
    /// What is learned.
    pub rule: Rule,
    /// Deviation of the prior and at the start, of the inputs' weights and of the readout's.
    pub deviation: [f32; 2],
    /// Draws of noise an image.
    pub draws: usize,
    /// No step exceeds so many deviations.
    pub clip: f32,
    /// Of everything that is drawn.
    pub seed: u64,
}

impl Options {
    /// 50 open units, MESU over 1.5 million images, ten draws: what a prototype chose on 20 tasks.
    pub fn new(sizes: [usize; 3], seed: u64) -> Options {
        Options {
            sizes,
            open: 50,
            gate: Gate::Inferred,
            contexts: contexts::Options::new(),
            rule: Rule::Mesu { window: 1.5e6 },
            deviation: [0.06, 0.2],
            draws: 10,
            clip: 0.1,
            seed,
        }
    }

    /// Refuses what cannot learn.
    ///
    /// # Errors
    /// Sizes of 0, more open units than there are, deviations, windows or rates that are not above 0, no draws.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String, remedy: &str| Err(Error::input(what, remedy));
        if self.sizes.contains(&0) || self.sizes[2] > 256 {
            return refuse(format!("sizes {:?} are no network", self.sizes), "give inputs, hidden units and 1 to 256 classes");
        }
        if self.open == 0 || self.open > self.sizes[1] {
            return refuse(
                format!("{} open units of {}", self.open, self.sizes[1]),
                "open at least one and at most all hidden units",
            );
        }
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let of_rule = match self.rule {
            Rule::Mesu { window } => window,
            Rule::Sgd { rate } => rate,
            Rule::Bgd => 1.0,
        };
        if !(positive(of_rule) && self.deviation.into_iter().all(positive) && positive(self.clip)) {
            return refuse(
                format!("deviation {:?}, clip {}, {:?}", self.deviation, self.clip, self.rule),
                "set deviations, clip, and window or rate above 0",
            );
        }
        if self.draws == 0 || self.draws > 1000 {
            return refuse(format!("{} draws", self.draws), "set draws from 1 to 1000");
        }
        self.contexts.check()
    }

    fn draws(&self) -> usize {
        if matches!(self.rule, Rule::Sgd { .. }) { 1 } else { self.draws }
    }
}

/// Means and deviations of weights, a row a hidden unit.
#[derive(Clone, Debug, PartialEq)]
struct Weights {
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Weights {
    /// Uniform within sqrt(3 / fan-in).
    fn new(seed: u64, layer: u32, rows: usize, columns: usize, inputs: usize, deviation: f32) -> Weights {
        let bound = (3.0 / inputs as f64).sqrt();
        let mut random = Stream::new(key(seed, WEIGHTS + layer), Purpose::Weight, 0, 0);
        let mean = (0..rows * columns).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32).collect();
        Weights { mean, deviation: vec![deviation; rows * columns] }
    }
}

/// The network, its contexts, and what was shown.
#[derive(Clone, Debug)]
pub struct Gated {
    options: Options,
    contexts: Contexts,
    /// hidden x inputs, hidden x classes.
    below: Weights,
    above: Weights,
    /// Images learned.
    shown: u64,
    /// By context, where made: its open units.
    gates: Vec<Vec<u32>>,
    /// While learning the task under way: the context that won most, with the images of each.
    votes: Vec<u64>,
    /// By task learned, the context that most of its images had; images that had another.
    own: Vec<u64>,
    astray: u64,
    level: Level,
}

/// What one image needs while it is learned: open units x draws and the like.
#[derive(Default)]
struct Scratch {
    noise: Vec<f32>,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    hidden: Vec<f32>,
    scores: Vec<f32>,
    spread: Vec<f32>,
    back: Vec<f32>,
    /// Errors of the hidden units, and those times their noise, summed over draws.
    error: Vec<f32>,
    noisy: Vec<f32>,
    /// Of the readout: open x classes, gradients by mean and by noise.
    by_mean: Vec<f32>,
    by_noise: Vec<f32>,
}

impl Gated {
    /// A network that has seen nothing.
    ///
    /// # Errors
    /// What [`Options::check`] refuses.
    pub fn new(options: Options) -> Result<Gated> {
        options.check()?;
        let ([inputs, hidden, classes], seed) = (options.sizes, options.seed);
        Ok(Gated {
            contexts: Contexts::new(options.contexts, inputs)?,
            below: Weights::new(seed, 0, hidden, inputs, inputs, options.deviation[0]),
            above: Weights::new(seed, 1, hidden, classes, hidden, options.deviation[1]),
            shown: 0,
            gates: vec![],
            votes: vec![],
            own: vec![],
            astray: 0,
            level: level(),
            options,
        })
    }

    /// Learns images (count x inputs) one after the other; `task` is what the oracle says. The outcome is that before each step.
    ///
    /// # Errors
    /// A weight that is not a number any more, named.
    pub fn learn(&mut self, images: &[f32], labels: &[u8], task: usize) -> Result<Outcome> {
        let [inputs, hidden, _] = self.options.sizes;
        let mut outcome = Outcome::default();
        let mut scratch = Scratch::default();
        for (image, label) in images.chunks_exact(inputs).zip(labels) {
            let context = match self.options.gate {
                Gate::None => 0,
                Gate::Inferred => self.contexts.observe(image),
                Gate::Oracle => task,
                Gate::Random => self.random_context(self.shown, 0),
            };
            if self.votes.len() <= context {
                self.votes.resize(context + 1, 0);
            }
            self.votes[context] += 1;
            let units = self.units(context);
            let (right, loss, active) = self.one(image, *label as usize, &units, &mut scratch);
            self.shown += 1;
            outcome.presentations += 1;
            outcome.correct += right as usize;
            outcome.loss += loss;
            outcome.spikes += active;
        }
        let sound = |w: &Weights| w.mean.iter().chain(&w.deviation).position(|x| !x.is_finite());
        for (name, weights, columns) in [("inputs", &self.below, inputs), ("readout", &self.above, self.options.sizes[2])] {
            if let Some(at) = sound(weights) {
                let (at, unit) = (at % (hidden * columns), at % (hidden * columns) / columns);
                return Err(Error::Run {
                    message: format!("the {name}' weight {} of hidden unit {unit} became not a number", at % columns),
                    remedy: "lower clip or the deviations; the last checkpoint is kept".into(),
                });
            }
        }
        Ok(outcome)
    }

    /// A task has ended: which context its images had.
    pub fn end_task(&mut self) {
        let most = (0..self.votes.len()).max_by_key(|c| (self.votes[*c], usize::MAX - c)).unwrap_or(0);
        self.astray += self.votes.iter().enumerate().filter(|(c, _)| *c != most).map(|(_, n)| n).sum::<u64>();
        self.own.push(most as u64);
        self.votes.clear();
    }

    /// Class probabilities of images under every draw of the noise (draws x images x classes); `task` is what the oracle says.
    pub fn predict(&self, images: &[f32], task: usize, draws: usize) -> Vec<Vec<f32>> {
        let [inputs, hidden, classes] = self.options.sizes;
        let noisy = !matches!(self.options.rule, Rule::Sgd { .. });
        let draws = if noisy { draws } else { 1 };
        let mut all = vec![Vec::with_capacity(images.len() / inputs * classes); draws];
        for (index, image) in images.chunks_exact(inputs).enumerate() {
            let units = self.units_of(self.context(image, task, index as u64), hidden);
            let open = units.len();
            let moments: Vec<(f32, f32)> = units
                .iter()
                .map(|u| {
                    let at = *u as usize * inputs;
                    let (mean, variance) =
                        moments(self.level, &self.below.mean[at..at + inputs], &self.below.deviation[at..at + inputs], image);
                    (mean, variance.sqrt())
                })
                .collect();
            let mut noise = vec![0.0; draws * (open + classes)];
            if noisy {
                normals_from(self.options.seed, TEST, index as u64, 0, &mut noise);
            }
            for (out, noise) in all.iter_mut().zip(noise.chunks_exact(open + classes)) {
                let mut scores = vec![0.0; classes];
                let mut spread = vec![0.0f32; classes];
                for ((unit, (mean, deviation)), e) in units.iter().zip(&moments).zip(noise) {
                    let h = (mean + deviation * e).max(0.0);
                    let row = *unit as usize * classes;
                    for c in 0..classes {
                        scores[c] += self.above.mean[row + c] * h;
                        spread[c] += (self.above.deviation[row + c] * h).powi(2);
                    }
                }
                (0..classes).for_each(|c| scores[c] += spread[c].sqrt() * noise[open + c]);
                softmax(&mut scores);
                out.extend(scores);
            }
        }
        all
    }

    /// The context of a test image.
    fn context(&self, image: &[f32], task: usize, index: u64) -> usize {
        match self.options.gate {
            Gate::None => 0,
            Gate::Inferred => self.contexts.infer(image).map_or(0, |c| c.0),
            Gate::Oracle => task,
            Gate::Random => self.random_context(index, 1),
        }
    }

    fn random_context(&self, index: u64, sub: u32) -> usize {
        Stream::new(key(self.options.seed, TEST), Purpose::Connect, index as u32, sub).below(1 << 20) as usize
    }

    /// Draws of noise that it learns with; 1 without noise.
    pub fn draws(&self) -> usize {
        self.options.draws()
    }

    /// Highest cosine of an image with a context, where contexts are inferred.
    pub fn familiarity(&self, image: &[f32]) -> Option<f32> {
        (self.options.gate == Gate::Inferred).then(|| self.contexts.infer(image).map(|c| c.1)).flatten()
    }

    /// Part of a task's test images that are taken for the task's own context; None where nothing is inferred.
    pub fn assigned(&self, images: &[f32], task: usize) -> Option<f64> {
        let own = *self.own.get(task)? as usize;
        if self.options.gate != Gate::Inferred {
            return None;
        }
        let each = images.chunks_exact(self.options.sizes[0]);
        let (mut right, mut all) = (0, 0);
        each.for_each(|image| {
            right += self.contexts.infer(image).is_some_and(|c| c.0 == own) as usize;
            all += 1;
        });
        Some(right as f64 / (all as f64).max(1.0))
    }

    /// Bytes of the network and of its contexts, in single precision.
    pub fn bytes(&self) -> usize {
        let kinds = if matches!(self.options.rule, Rule::Sgd { .. }) { 1 } else { 2 };
        4 * kinds * (self.below.mean.len() + self.above.mean.len()) + self.contexts.bytes()
    }

    /// What stands after the tasks so far, a line each.
    pub fn report(&self) -> Vec<String> {
        let mean = |w: &Weights| w.deviation.iter().map(|d| *d as f64).sum::<f64>() / w.deviation.len() as f64;
        let mut lines = vec![];
        if self.options.gate == Gate::Inferred {
            let distinct = self.own.iter().collect::<std::collections::BTreeSet<_>>().len();
            lines.push(format!(
                "contexts: {} recruited, {distinct} for {} tasks; {:.3} % of the images learned in another",
                self.contexts.count(),
                self.own.len(),
                100.0 * self.astray as f64 / self.shown.max(1) as f64
            ));
        }
        if !matches!(self.options.rule, Rule::Sgd { .. }) {
            lines.push(format!("posterior: mean deviation {:.4} below, {:.4} above", mean(&self.below), mean(&self.above)));
        }
        lines
    }

    /// Everything that changes, as named arrays.
    pub fn state(&self) -> State {
        let mut state = State::default();
        for (name, weights) in [("below", &self.below), ("above", &self.above)] {
            state.put(format!("{name}.mean"), &[weights.mean.len()], &weights.mean);
            state.put(format!("{name}.deviation"), &[weights.deviation.len()], &weights.deviation);
        }
        state.put_part("contexts", self.contexts.state());
        state.put("votes", &[self.votes.len()], &self.votes);
        state.put("own", &[self.own.len()], &self.own);
        state.put("shown", &[2], &[self.shown, self.astray]);
        state
    }

    /// Takes back what [`Gated::state`] gave.
    ///
    /// # Errors
    /// Arrays that are missing, of another size or not finite.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let read = |name: &str, n: usize| -> Result<Weights> {
            let part = state.part(name);
            Ok(Weights { mean: part.get("mean", n)?.to_vec(), deviation: part.get("deviation", n)?.to_vec() })
        };
        let (below, above) = (read("below", self.below.mean.len())?, read("above", self.above.mean.len())?);
        let shown = state.get::<u64>("shown", 2)?;
        let (votes, own) = (state.any::<u64>("votes")?.to_vec(), state.any::<u64>("own")?.to_vec());
        self.contexts.restore(&state.part("contexts"))?;
        (self.below, self.above, self.votes, self.own) = (below, above, votes, own);
        (self.shown, self.astray) = (shown[0], shown[1]);
        Ok(())
    }

    /// The open units of a context, kept.
    fn units(&mut self, context: usize) -> Vec<u32> {
        let hidden = self.options.sizes[1];
        if self.options.gate == Gate::Random {
            return self.units_of(context, hidden);
        }
        while self.gates.len() <= context {
            self.gates.push(self.units_of(self.gates.len(), hidden));
        }
        self.gates[context].clone()
    }

    fn units_of(&self, context: usize, hidden: usize) -> Vec<u32> {
        match self.options.gate {
            Gate::None => (0..hidden as u32).collect(),
            _ => match self.gates.get(context) {
                Some(units) => units.clone(),
                None => open_units(self.options.seed, context, hidden, self.options.open),
            },
        }
    }

    /// One image: whether it was told right before the step, the loss, and the units that were active.
    fn one(&mut self, x: &[f32], label: usize, units: &[u32], s: &mut Scratch) -> (bool, f64, u64) {
        let [inputs, _, classes] = self.options.sizes;
        let (open, draws, rule) = (units.len(), self.options.draws(), self.options.rule);
        let noisy = !matches!(rule, Rule::Sgd { .. });
        let level = self.level;
        for sums in [&mut s.mean, &mut s.deviation, &mut s.error, &mut s.noisy] {
            sums.clear();
            sums.resize(open, 0.0);
        }
        for ((unit, mean), deviation) in units.iter().zip(&mut s.mean).zip(&mut s.deviation) {
            let at = *unit as usize * inputs;
            let variance;
            (*mean, variance) = moments(level, &self.below.mean[at..at + inputs], &self.below.deviation[at..at + inputs], x);
            *deviation = variance.sqrt() + TINY;
        }
        s.noise.clear();
        s.noise.resize(draws * (open + classes), 0.0);
        if noisy {
            normals_from(self.options.seed, NOISE, self.shown, 0, &mut s.noise);
        }
        for sums in [&mut s.by_mean, &mut s.by_noise] {
            sums.clear();
            sums.resize(open * classes, 0.0);
        }
        s.hidden.resize(open, 0.0);
        s.back.resize(open, 0.0);
        s.scores.resize(classes, 0.0);
        s.spread.resize(classes, 0.0);
        let (mut votes, mut loss, mut active) = (vec![0.0f32; classes], 0.0f64, 0u64);
        for noise in s.noise.chunks_exact(open + classes) {
            s.scores.fill(0.0);
            s.spread.fill(0.0);
            for (k, unit) in units.iter().enumerate() {
                let h = (s.mean[k] + if noisy { s.deviation[k] * noise[k] } else { 0.0 }).max(0.0);
                s.hidden[k] = h;
                active += (h > 0.0) as u64;
                let row = *unit as usize * classes;
                for c in 0..classes {
                    s.scores[c] += self.above.mean[row + c] * h;
                    let spread = self.above.deviation[row + c] * h;
                    s.spread[c] += spread * spread;
                }
            }
            if noisy {
                for c in 0..classes {
                    s.spread[c] = s.spread[c].sqrt() + TINY;
                    s.scores[c] += s.spread[c] * noise[open + c];
                }
            }
            softmax(&mut s.scores);
            loss -= (s.scores[label].max(f32::MIN_POSITIVE) as f64).ln() / draws as f64;
            s.back.fill(0.0);
            for c in 0..classes {
                votes[c] += s.scores[c];
                let error = (s.scores[c] - (c == label) as u8 as f32) / draws as f32;
                let noisy_error = if noisy { error * noise[open + c] / s.spread[c] } else { 0.0 };
                for (k, unit) in units.iter().enumerate() {
                    let (h, at) = (s.hidden[k], *unit as usize * classes + c);
                    s.by_mean[k * classes + c] += error * h;
                    s.by_noise[k * classes + c] += noisy_error * h * h;
                    let deviation = self.above.deviation[at];
                    s.back[k] += error * self.above.mean[at] + noisy_error * deviation * deviation * h;
                }
            }
            for k in (0..open).filter(|k| s.hidden[*k] > 0.0) {
                s.error[k] += s.back[k];
                s.noisy[k] += s.back[k] * noise[k];
            }
        }
        let [below, above] = self.options.deviation;
        let step = |prior: f32| match rule {
            Rule::Mesu { window } => Step { rule: 0, prior: prior * prior, pull: 1.0 / (window * prior * prior), rate: 1.0 },
            Rule::Bgd => Step { rule: 1, prior: prior * prior, pull: 0.0, rate: 1.0 },
            Rule::Sgd { rate } => Step { rule: 2, prior: prior * prior, pull: 0.0, rate },
        };
        let (low, high, clip) = (step(below), step(above), self.options.clip);
        for (k, unit) in units.iter().enumerate() {
            let at = *unit as usize * inputs;
            let (mean, deviation) = (&mut self.below.mean[at..at + inputs], &mut self.below.deviation[at..at + inputs]);
            inputs_step(level, low, clip, mean, deviation, x, s.error[k], s.noisy[k] / s.deviation[k]);
            let at = *unit as usize * classes;
            let (mean, deviation) = (&mut self.above.mean[at..at + classes], &mut self.above.deviation[at..at + classes]);
            let own = k * classes..(k + 1) * classes;
            readout_step(level, high, clip, mean, deviation, &s.by_mean[own.clone()], &s.by_noise[own]);
        }
        let best = (0..classes).fold(0, |best, c| if votes[c] > votes[best] { c } else { best });
        (best == label, loss, active / draws as u64)
    }
}

/// A rule with what it needs: 0 MESU, 1 BGD, 2 plain.
#[derive(Clone, Copy)]
struct Step {
    rule: u32,
    /// Variance of the prior, and 1 / (window * that).
    prior: f32,
    pull: f32,
    rate: f32,
}

for_every_level! {
    /// Mean and variance of the input of a unit.
    fn moments(mean: &[f32], deviation: &[f32], x: &[f32]) -> (f32, f32) {
        let (mut sums, mut squares) = ([0.0f32; LANES], [0.0f32; LANES]);
        let whole = x.len() / LANES * LANES;
        for at in (0..whole).step_by(LANES) {
            let (m, d, x) = (&mean[at..at + LANES], &deviation[at..at + LANES], &x[at..at + LANES]);
            for l in 0..LANES {
                sums[l] += m[l] * x[l];
                let noise = d[l] * x[l];
                squares[l] += noise * noise;
            }
        }
        for i in whole..x.len() {
            sums[i - whole] += mean[i] * x[i];
            let noise = deviation[i] * x[i];
            squares[i - whole] += noise * noise;
        }
        (sums.iter().sum(), squares.iter().sum())
    }
}

for_every_level! {
    /// A unit's input weights after one image: `error` of the unit, `noisy` its error times its noise by its deviation.
    fn inputs_step(step: Step, clip: f32, mean: &mut [f32], deviation: &mut [f32], x: &[f32], error: f32, noisy: f32) {
        let inputs = mean.iter_mut().zip(deviation.iter_mut()).zip(x);
        match step.rule {
            0 => inputs.for_each(|((m, s), x)| mesu(step, clip, m, s, error * x, *s * x * x * noisy)),
            1 => inputs.for_each(|((m, s), x)| bgd(clip, m, s, error * x, *s * x * x * noisy)),
            _ => inputs.for_each(|((m, _), x)| *m -= step.rate * error * x),
        }
    }
}

for_every_level! {
    /// A unit's weights onto the readout after one image.
    fn readout_step(step: Step, clip: f32, mean: &mut [f32], deviation: &mut [f32], by_mean: &[f32], by_noise: &[f32]) {
        let all = mean.iter_mut().zip(deviation.iter_mut()).zip(by_mean.iter().zip(by_noise));
        match step.rule {
            0 => all.for_each(|((m, s), (g, q))| mesu(step, clip, m, s, *g, *s * q)),
            1 => all.for_each(|((m, s), (g, q))| bgd(clip, m, s, *g, *s * q)),
            _ => all.for_each(|((m, _), (g, _))| *m -= step.rate * g),
        }
    }
}

/// MESU: `gradient` by the mean and `widening` by the deviation, of the loss of this image.
#[inline(always)]
fn mesu(step: Step, clip: f32, mean: &mut f32, deviation: &mut f32, gradient: f32, widening: f32) {
    let (s, v) = (*deviation, *deviation * *deviation);
    let most = clip * s;
    let dm = -v * (gradient + *mean * step.pull);
    let ds = -0.5 * (v * widening + s * (v - step.prior) * step.pull);
    *mean += dm.max(-most).min(most);
    *deviation = (s + ds.max(-most).min(most)).max(LEAST);
}

/// BGD: the deviation in closed form.
#[inline(always)]
fn bgd(clip: f32, mean: &mut f32, deviation: &mut f32, gradient: f32, widening: f32) {
    let (s, v) = (*deviation, *deviation * *deviation);
    let most = clip * s;
    let dm = -v * gradient;
    let ds = -0.5 * v * widening + s * ((1.0 + 0.25 * v * widening * widening).sqrt() - 1.0);
    *mean += dm.max(-most).min(most);
    *deviation = (s + ds.max(-most).min(most)).max(LEAST);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;

    /// Two noisy patterns, of task `task`.
    fn images(task: u32, seed: u32, count: usize) -> (Vec<f32>, Vec<u8>) {
        let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
        let mut noise = Stream::new(key(9, seed), Purpose::Encoder, task, 0);
        let pattern = |label: u32| {
            let mut pattern = Stream::new(key(9, 77), Purpose::Encoder, task, label);
            (0..40).map(|_| pattern.normal()).collect::<Vec<f64>>()
        };
        let (shared, own) = (pattern(99), [0, 1, 2].map(pattern));
        let image =
            |l: &u8| (0..40).map(|i| (shared[i] + own[*l as usize][i] + 0.7 * noise.normal()) as f32 * 0.6).collect::<Vec<f32>>();
        (labels.iter().flat_map(image).collect(), labels)
    }

    fn options(gate: Gate, rule: Rule) -> Options {
        Options { open: 12, gate, rule, deviation: [0.1, 0.2], ..Options::new([40, 60, 3], 4) }
    }

    fn accuracy(net: &Gated, task: u32) -> f64 {
        let (x, y) = images(task, 2, 300);
        let draws = net.predict(&x, task as usize, 10);
        let right = |(i, l): (usize, &u8)| {
            let sum = |c: usize| draws.iter().map(|d| d[i * 3 + c]).sum::<f32>();
            (0..3).fold(0, |best, c| if sum(c) > sum(best) { c } else { best }) == *l as usize
        };
        y.iter().enumerate().filter(|p| right(*p)).count() as f64 / 300.0
    }

    /// The gradient by a weight's mean, and by its deviation, against finite differences of the loss under the same noise.
    #[test]
    fn steps_follow_the_loss() {
        let mut net = Gated::new(Options { draws: 3, clip: 1e9, ..options(Gate::None, Rule::Bgd) }).unwrap();
        let (x, _) = images(0, 1, 1);
        let loss = |net: &Gated| {
            let mut copy = net.clone();
            let units: Vec<u32> = (0..60).collect();
            copy.one(&x, 1, &units, &mut Scratch::default()).1
        };
        let before = net.clone();
        let units: Vec<u32> = (0..60).collect();
        net.one(&x, 1, &units, &mut Scratch::default());
        for (which, at) in [(0, 3), (0, 17 * 40 + 8), (0, 59 * 40 + 39), (1, 5), (1, 17 * 3 + 1), (1, 30 * 3 + 2)] {
            let of = |net: &Gated| if which == 0 { net.below.clone() } else { net.above.clone() };
            let (old, new) = (of(&before), of(&net));
            let variance = old.deviation[at].powi(2);
            let by_mean = (old.mean[at] - new.mean[at]) / variance;
            let h = 2e-3f32;
            let slope = |change: fn(&mut Weights, usize, f32)| {
                let moved = |h: f32| {
                    let mut copy = before.clone();
                    change(if which == 0 { &mut copy.below } else { &mut copy.above }, at, h);
                    loss(&copy)
                };
                ((moved(h) - moved(-h)) / (2.0 * h as f64)) as f32
            };
            let wanted = slope(|w, at, h| w.mean[at] += h);
            assert!((by_mean - wanted).abs() < 2e-3 + 0.05 * wanted.abs(), "{which} {at}: {by_mean} {wanted}");
            // The step of the deviation, solved for the gradient that BGD's closed form took.
            let wanted = slope(|w, at, h| w.deviation[at] += h);
            let s = old.deviation[at];
            let ds = -0.5 * variance * wanted + s * ((1.0 + 0.25 * variance * wanted * wanted).sqrt() - 1.0);
            let got = new.deviation[at] - s;
            assert!((got - ds).abs() < 2e-5 + 0.05 * ds.abs(), "{which} {at}: {got} {ds}");
        }
    }

    #[test]
    fn gated_posteriors_keep_old_tasks_and_know_their_context() {
        let tasks = 6;
        let rule = Rule::Mesu { window: 1e5 };
        let mut nets: Vec<Gated> = [(Gate::Inferred, rule), (Gate::None, Rule::Sgd { rate: 0.05 }), (Gate::Oracle, Rule::Bgd)]
            .map(|(gate, rule)| Gated::new(options(gate, rule)).unwrap())
            .into();
        for task in 0..tasks {
            let (x, y) = images(task, 1, 600);
            for net in &mut nets {
                net.learn(&x, &y, task as usize).unwrap();
                net.end_task();
            }
        }
        let old = |net: &Gated| (0..tasks).map(|t| accuracy(net, t)).sum::<f64>() / tasks as f64;
        let [inferred, plain, oracle] = [old(&nets[0]), old(&nets[1]), old(&nets[2])];
        assert!(inferred > 0.9 && oracle > 0.9 && inferred > plain + 0.02, "{inferred} {plain} {oracle}");
        let assigned = nets[0].assigned(&images(3, 2, 100).0, 3).unwrap();
        assert!(assigned > 0.95 && nets[2].assigned(&images(3, 2, 100).0, 3).is_none(), "{assigned}");
        assert!(nets[0].report()[0].contains("6 for 6 tasks"), "{:?}", nets[0].report());
        // Doubt is larger for images of no task.
        let doubt = |task: u32| {
            let draws = nets[0].predict(&images(task, 2, 60).0, 0, 10);
            (0..60)
                .map(|i| {
                    let own: Vec<f32> = draws.iter().flat_map(|d| d[i * 3..i * 3 + 3].to_vec()).collect();
                    super::super::posterior::uncertainty(&own, 3).epistemic
                })
                .sum::<f64>()
        };
        assert!(doubt(50) > 1.5 * doubt(5), "{} {}", doubt(50), doubt(5));
    }

    #[test]
    fn a_restored_network_goes_on() {
        let (x, y) = images(0, 1, 200);
        for gate in [Gate::Inferred, Gate::Random, Gate::None] {
            let make = || Gated::new(options(gate, Rule::Mesu { window: 1e4 })).unwrap();
            let mut whole = make();
            whole.learn(&x, &y, 0).unwrap();
            let (mut half, mut other) = (make(), make());
            half.learn(&x[..80 * 40], &y[..80], 0).unwrap();
            other.restore(&half.state()).unwrap();
            other.learn(&x[80 * 40..], &y[80..], 0).unwrap();
            assert_eq!(other.state(), whole.state());
        }
    }

    #[test]
    fn every_vector_unit_gives_the_same() {
        let (x, y) = images(1, 1, 60);
        let of = |level: Level| {
            let mut net = Gated::new(options(Gate::Inferred, Rule::Bgd)).unwrap();
            net.level = level;
            net.learn(&x, &y, 0).unwrap();
            net.state()
        };
        let all: Vec<State> = levels().into_iter().map(of).collect();
        assert!(all.windows(2).all(|w| w[0] == w[1]));
    }

    #[test]
    fn what_cannot_learn_is_refused() {
        let message = |change: fn(&mut Options)| {
            let mut options = options(Gate::Inferred, Rule::Bgd);
            change(&mut options);
            Gated::new(options).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(message(|o| o.open = 61).contains("61 open units of 60"));
        assert!(message(|o| o.open = 0).contains("0 open units"));
        assert!(message(|o| o.contexts.budget = 0).contains("budget of 0"));
        assert!(message(|o| o.deviation[1] = 0.0).contains("deviation"));
        assert!(message(|o| o.rule = Rule::Mesu { window: -1.0 }).contains("-1"));
        assert!(message(|o| o.draws = 0).contains("0 draws"));
        let mut net = Gated::new(options(Gate::None, Rule::Sgd { rate: 1e30 })).unwrap();
        let (x, y) = images(0, 1, 50);
        assert!(net.learn(&x, &y, 0).unwrap_err().to_string().contains("not a number"));
    }
}
