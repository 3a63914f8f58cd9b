//! Importance of single weights to old tasks, and what it does to later steps: EWC, online EWC, SI, MAS and plain L2, as penalty or
//! as step limit. Knows weights, steps and per-sample gradients as numbers.

use super::{Layer, Link, PIECE, Protection, state};
use crate::error::{Error, Result};
use crate::model::math::flush;
use crate::rng::{self, Purpose, Stream};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Over which labels the squared gradient of log p(label) is averaged (Kunstner et al. 2019 on why the names matter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fisher {
    /// Every class, weighed by the model's probability.
    Exact,
    /// Labels drawn from the model's probabilities.
    Sampled {
        /// Labels drawn a sample, above 0.
        draws: u32,
        /// Of the draws.
        seed: u64,
    },
    /// The data's labels.
    Empirical,
}

impl Fisher {
    /// (class, weight) pairs for one sample.
    pub(super) fn classes(self, sample: usize, probability: &[f32], label: usize) -> Vec<(usize, f64)> {
        match self {
            Fisher::Exact => probability.iter().enumerate().filter(|(_, p)| **p > 0.0).map(|(c, &p)| (c, p as f64)).collect(),
            Fisher::Empirical => vec![(label, 1.0)],
            Fisher::Sampled { draws, seed } => {
                let mut stream = Stream::new(rng::key(seed, 0), Purpose::Posterior, sample as u32, 1);
                let total: f64 = probability.iter().map(|&p| p as f64).sum();
                let mut weights = vec![0.0; probability.len()];
                for _ in 0..draws {
                    let mut left = stream.uniform() * total;
                    let class = probability.iter().position(|&p| {
                        left -= p as f64;
                        left < 0.0
                    });
                    weights[class.unwrap_or(probability.len() - 1)] += 1.0 / draws as f64;
                }
                weights.into_iter().enumerate().filter(|(_, w)| *w > 0.0).collect()
            }
        }
    }
}

/// What a model said on the samples that importance is taken from.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// Class probabilities, samples x classes, row-major.
    pub probabilities: &'a [f32],
    /// Columns of `probabilities`.
    pub classes: usize,
    /// One label a sample; needed by the empirical Fisher only.
    pub labels: &'a [usize],
}

impl Predictions<'_> {
    fn samples(&self, kind: Fisher) -> Result<usize> {
        if self.classes == 0 || self.probabilities.is_empty() || !self.probabilities.len().is_multiple_of(self.classes) {
            let message = format!("importance: {} probabilities of {} classes", self.probabilities.len(), self.classes);
            return Err(Error::input(message, "give samples x classes probabilities, at least one sample"));
        }
        if let Some(p) = self.probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            return Err(Error::input(format!("importance: a probability of {p}"), "give probabilities in 0..=1"));
        }
        let samples = self.probabilities.len() / self.classes;
        if kind == Fisher::Empirical && (self.labels.len() != samples || self.labels.iter().any(|l| *l >= self.classes)) {
            let message = format!("importance: {} labels for {samples} samples of {} classes", self.labels.len(), self.classes);
            return Err(Error::input(message, "give one label below the number of classes a sample"));
        }
        if matches!(kind, Fisher::Sampled { draws: 0, .. }) {
            return Err(Error::input("importance: no draws", "draw at least one label a sample"));
        }
        Ok(samples)
    }

    fn classes_of(&self, kind: Fisher, sample: usize) -> Vec<(usize, f64)> {
        let row = &self.probabilities[sample * self.classes..(sample + 1) * self.classes];
        kind.classes(sample, row, self.labels.get(sample).copied().unwrap_or(0))
    }
}

/// Diagonal of the Fisher information of `size` weights: mean over samples and labels of (d log p(label) / dw)²;
/// `gradient(sample, class, out)` gives those derivatives.
pub fn fisher_diagonal(
    kind: Fisher,
    predictions: Predictions,
    size: usize,
    gradient: &mut dyn FnMut(usize, usize, &mut [f32]),
) -> Result<Vec<f32>> {
    let samples = predictions.samples(kind)?;
    let (mut sum, mut out) = (vec![0.0f64; size], vec![0.0f32; size]);
    for sample in 0..samples {
        for (class, weight) in predictions.classes_of(kind, sample) {
            gradient(sample, class, &mut out);
            sum.iter_mut().zip(&out).for_each(|(s, &g)| *s += weight * (g as f64) * (g as f64));
        }
    }
    Ok(sum.into_iter().map(|s| (s / samples as f64) as f32).collect())
}

/// The same for a layer whose gradients are products d x': `x` are its presynaptic factors (samples x inputs), and
/// `post(sample, class, out)` gives d (outputs). For a softmax readout d = onehot(class) - p. Result: outputs x inputs.
pub fn fisher_of_factors(
    kind: Fisher,
    predictions: Predictions,
    x: &[f32],
    outputs: usize,
    post: &mut dyn FnMut(usize, usize, &mut [f32]),
) -> Result<Vec<f32>> {
    let samples = predictions.samples(kind)?;
    let inputs = rows_of(x, samples)?;
    let (mut sum, mut d) = (vec![0.0f64; outputs * inputs], vec![0.0f32; outputs]);
    for (sample, x) in x.chunks_exact(inputs).enumerate() {
        let mut square = vec![0.0f64; outputs];
        for (class, weight) in predictions.classes_of(kind, sample) {
            post(sample, class, &mut d);
            square.iter_mut().zip(&d).for_each(|(s, &d)| *s += weight * (d as f64) * (d as f64));
        }
        for (row, s) in sum.chunks_exact_mut(inputs).zip(&square).filter(|(_, s)| **s > 0.0) {
            row.iter_mut().zip(x).for_each(|(f, &x)| *f += s * (x as f64) * (x as f64));
        }
    }
    Ok(sum.into_iter().map(|s| (s / samples as f64) as f32).collect())
}

/// Memory aware synapses (Aljundi et al. 2018, eq. 2) for a layer whose gradients are products: mean |d| |x|', with d the
/// derivative of the squared norm of the network's output (samples x outputs), x the presynaptic factors (samples x inputs).
pub fn sensitivity_of_factors(d: &[f32], outputs: usize, x: &[f32]) -> Result<Vec<f32>> {
    if outputs == 0 || d.is_empty() || !d.len().is_multiple_of(outputs) {
        return Err(Error::input(
            format!("importance: {} factors of {outputs} outputs", d.len()),
            "give samples x outputs factors",
        ));
    }
    let samples = d.len() / outputs;
    let inputs = rows_of(x, samples)?;
    let mut sum = vec![0.0f64; outputs * inputs];
    for (d, x) in d.chunks_exact(outputs).zip(x.chunks_exact(inputs)) {
        for (row, &d) in sum.chunks_exact_mut(inputs).zip(d) {
            row.iter_mut().zip(x).for_each(|(f, &x)| *f += (d as f64 * x as f64).abs());
        }
    }
    Ok(sum.into_iter().map(|s| (s / samples as f64) as f32).collect())
}

fn rows_of(x: &[f32], samples: usize) -> Result<usize> {
    if x.is_empty() || !x.len().is_multiple_of(samples) {
        let message = format!("importance: {} presynaptic factors for {samples} samples", x.len());
        return Err(Error::input(message, "give samples x inputs factors"));
    }
    Ok(x.len() / samples)
}

/// What importance does to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// The penalty strength/2 sum importance (w - anchor)², its step taken implicitly: with r = rate strength importance,
    /// step = (step - r (w - anchor)) / (1 + r). Stable however large r is.
    Penalty,
    /// No pull back; steps are divided by 1 + strength importance.
    Limit,
}

/// How strongly importance acts, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Options {
    /// lambda.
    pub strength: f32,
    /// The learning rate inside the steps the rule hands over (gradient = -step / rate).
    pub rate: f32,
    /// Held or slowed.
    pub form: Form,
}

impl Options {
    /// `strength` is lambda, `rate` the learning rate of the base rule; both above 0.
    pub fn new(strength: f32, rate: f32, form: Form) -> Options {
        Options { strength, rate, form }
    }
}

/// Where importance comes from and how tasks add up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One quadratic a task around its own end (Kirkpatrick et al. 2017, eq. 3): kept as their sum, which is again a quadratic.
    Ewc,
    /// F = decay F + F_task around the latest end (Schwarz et al. 2018, eq. 9).
    OnlineEwc {
        /// Part of the importance so far that is left after a task, 0 to 1.
        decay: f32,
    },
    /// Synaptic intelligence (Zenke et al. 2017, eqs. 3-5): Omega += path integral / (change² + damping), where positive.
    Si {
        /// Added to the squared change, so that a weight that did not move has a finite importance; above 0.
        damping: f32,
    },
    /// Memory aware synapses: importances add up around the latest end.
    Mas,
    /// The same importance, 1, for every weight, around the latest end.
    L2,
}

/// Importance of every weight of every layer, plain data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// Where importance comes from.
    pub kind: Kind,
    /// How it acts.
    pub options: Options,
    layers: Vec<State>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    /// Empty before the first end of a task.
    importance: Vec<f32>,
    anchor: Vec<f32>,
    /// What [`Importance::give`] brought for the task that ends.
    given: Option<Vec<f32>>,
    path: Path,
}

impl State {
    fn arrays(&self) -> [(&'static str, &Vec<f32>); 6] {
        let Path { start, last, step, integral } = &self.path;
        [
            ("importance", &self.importance),
            ("anchor", &self.anchor),
            ("start", start),
            ("last", last),
            ("step", step),
            ("integral", integral),
        ]
    }
}

/// Synaptic intelligence's running integral: weights at the task's start and at the last step, that step, the integral so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Path {
    start: Vec<f32>,
    last: Vec<f32>,
    step: Vec<f32>,
    integral: Vec<f32>,
}

impl Path {
    /// The weights have come to `now` by the last step and whatever else acted on it: integral -= gradient (now - last).
    fn arrive(&mut self, now: &[f32], rate: f32) {
        if self.start.len() != now.len() {
            *self = Path { start: now.to_vec(), last: now.to_vec(), step: vec![0.0; now.len()], integral: vec![0.0; now.len()] };
        }
        let moved = self.last.iter_mut().zip(now).zip(&self.step);
        self.integral.iter_mut().zip(moved).for_each(|(i, ((last, &now), &step))| {
            *i += step / rate * (now - *last);
            *last = now;
        });
    }
}

impl Importance {
    /// Refused: a strength below 0, a rate or damping not above 0, a decay outside 0..=1.
    pub fn new(kind: Kind, options: Options) -> Result<Self> {
        let kind_fits = match kind {
            Kind::OnlineEwc { decay } => (0.0..=1.0).contains(&decay),
            Kind::Si { damping } => damping.is_finite() && damping > 0.0,
            _ => true,
        };
        let Options { strength, rate, .. } = options;
        if !(kind_fits && strength.is_finite() && strength >= 0.0 && rate.is_finite() && rate > 0.0) {
            let remedy = "give strength at least 0, rate and damping above 0, decay in 0..=1";
            return Err(Error::input(format!("importance: {kind:?}, {options:?}"), remedy));
        }
        Ok(Importance { kind, options, layers: Vec::new() })
    }

    /// Importance of the task that is about to end for a layer's weights (a Fisher diagonal, a sensitivity): before `end_of_task`.
    pub fn give(&mut self, layer: usize, importance: Vec<f32>) -> Result<()> {
        if let Some(v) = importance.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
            return Err(Error::input(
                format!("importance: {v} for a weight of layer {layer}"),
                "give finite numbers of at least 0",
            ));
        }
        self.state(layer).given = Some(importance);
        Ok(())
    }

    /// Importance and anchor of a layer's weights; none before the first end of a task.
    pub fn layer(&self, layer: usize) -> Option<(&[f32], &[f32])> {
        self.layers.get(layer).filter(|s| !s.importance.is_empty()).map(|s| (&s.importance[..], &s.anchor[..]))
    }

    /// Synaptic intelligence's path integral of the task under way, up to the last step seen.
    pub fn path(&self, layer: usize) -> Option<&[f32]> {
        self.layers.get(layer).map(|s| &s.path.integral[..])
    }

    fn state(&mut self, layer: usize) -> &mut State {
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, State::default);
        }
        &mut self.layers[layer]
    }

    fn consolidate(&mut self, layer: usize, weights: &Layer) -> Result<()> {
        let (kind, rate, n) = (self.kind, self.options.rate, weights.weight.len());
        let state = self.state(layer);
        let new = match kind {
            Kind::L2 => vec![1.0; n],
            Kind::Si { damping } => {
                state.path.arrive(&weights.weight, rate);
                let path = std::mem::take(&mut state.path);
                let ends = path.start.iter().zip(&weights.weight);
                path.integral.iter().zip(ends).map(|(i, (s, w))| i.max(0.0) / ((w - s).powi(2) + damping)).collect()
            }
            _ => state.given.take().unwrap_or_default(),
        };
        if new.len() != n {
            let message = format!("importance: {} numbers for the {n} weights of layer {layer}", new.len());
            return Err(Error::input(message, "give the task's importances, one a weight, before the task ends"));
        }
        if state.importance.len() != n {
            (state.importance, state.anchor) = (vec![0.0; n], weights.weight.clone());
        }
        let weights = weights.weight.iter().zip(&new);
        for ((f, anchor), (&w, &new)) in state.importance.iter_mut().zip(&mut state.anchor).zip(weights) {
            let old = match kind {
                Kind::OnlineEwc { decay } => flush(*f * decay),
                Kind::L2 => 0.0,
                _ => *f,
            };
            *f = old + new;
            *anchor = match kind {
                Kind::Ewc if *f > 0.0 => *anchor + (w - *anchor) * (new / *f),
                _ => w,
            };
        }
        Ok(())
    }
}

/// What is left of the step of a weight of importance `f`.
#[inline]
pub(crate) fn held(options: &Options, step: f32, weight: f32, f: f32, anchor: f32) -> f32 {
    match options.form {
        Form::Penalty => {
            let r = options.rate * options.strength * f;
            (step - r * (weight - anchor)) / (1.0 + r)
        }
        Form::Limit => step / (1.0 + options.strength * f),
    }
}

impl Protection for Importance {
    fn step(&mut self, layer: usize, weights: &Layer, step: &mut [f32]) {
        let (kind, options) = (self.kind, self.options);
        let state = self.state(layer);
        if matches!(kind, Kind::Si { .. }) {
            state.path.arrive(&weights.weight, options.rate);
            state.path.step.copy_from_slice(step);
        }
        let old = (&weights.weight, &state.importance, &state.anchor);
        let old = old.0.par_chunks(PIECE).zip(old.1.par_chunks(PIECE)).zip(old.2.par_chunks(PIECE));
        step.par_chunks_mut(PIECE).zip(old).for_each(|(step, ((w, f), anchor))| {
            for (s, ((w, f), anchor)) in step.iter_mut().zip(w.iter().zip(f).zip(anchor)) {
                *s = held(&options, *s, *w, *f, *anchor);
            }
        });
    }

    fn links(&mut self, layer: usize) -> Result<Vec<Link<'_>>> {
        let options = self.options;
        if matches!(self.kind, Kind::Si { .. }) {
            return Err(Error::input(
                "synaptic intelligence does not learn on the gpu",
                "set engine = \"cpu\", or use online EWC",
            ));
        }
        let held = self.layer(layer).map(|(importance, anchor)| Link::Hold { options, importance, anchor });
        Ok(held.into_iter().collect())
    }

    fn end_of_task(&mut self, layers: &[Layer], _samples: &mut dyn FnMut(usize) -> Vec<f32>) -> Result<()> {
        layers.iter().enumerate().try_for_each(|(i, layer)| self.consolidate(i, layer))
    }

    fn state(&self) -> state::State {
        let mut saved = state::State::default();
        saved.put("layers", &[1], &[self.layers.len() as u64]);
        for (l, layer) in self.layers.iter().enumerate() {
            let given = layer.given.iter().map(|g| ("given", g));
            for (name, values) in layer.arrays().into_iter().chain(given) {
                saved.put(format!("{l}.{name}"), &[values.len()], values);
            }
        }
        saved
    }

    fn restore(&mut self, saved: &state::State) -> Result<()> {
        let mut layers = vec![];
        for l in 0..saved.get::<u64>("layers", 1)?[0] {
            let part = saved.part(&l.to_string());
            let mut layer = State { importance: part.any("importance")?.to_vec(), ..State::default() };
            layer.anchor = part.get("anchor", layer.importance.len())?.to_vec();
            let path = &mut layer.path;
            path.start = part.any("start")?.to_vec();
            let n = path.start.len();
            let of_path = |name: &str| part.get(name, n).map(<[f32]>::to_vec);
            (path.last, path.step, path.integral) = (of_path("last")?, of_path("step")?, of_path("integral")?);
            if part.has("given") {
                layer.given = Some(part.any("given")?.to_vec());
            }
            layers.push(layer);
        }
        self.layers = layers;
        Ok(())
    }

    fn bytes(&self) -> usize {
        let of = |layer: &State| {
            layer.arrays().into_iter().map(|a| a.1).chain(&layer.given).map(|v| size_of_val(&v[..])).sum::<usize>()
        };
        8 + self.layers.iter().map(of).sum::<usize>()
    }

    fn report(&self) -> Vec<String> {
        let line = |(l, layer): (usize, &State)| {
            let largest = layer.importance.iter().fold(0.0, |a: f32, b| a.max(*b));
            let mean = layer.importance.iter().map(|f| *f as f64).sum::<f64>() / layer.importance.len().max(1) as f64;
            format!("importance, layer {l}: mean {mean:.3e}, largest {largest:.3e}")
        };
        self.layers.iter().enumerate().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(form: Form) -> Options {
        Options { strength: 2.0, rate: 0.1, form }
    }

    fn layer(weight: &[f32]) -> Layer {
        Layer { inputs: weight.len(), outputs: 1, weight: weight.to_vec() }
    }

    fn end(importance: &mut Importance, layer: &Layer) -> Result<()> {
        importance.end_of_task(std::slice::from_ref(layer), &mut |_| Vec::new())
    }

    fn log_softmax(w: &[f64], x: &[f32], classes: usize) -> Vec<f64> {
        let z: Vec<f64> = w.chunks(x.len()).map(|w| w.iter().zip(x).map(|(w, x)| w * *x as f64).sum()).collect();
        let norm = z.iter().map(|z| z.exp()).sum::<f64>().ln();
        (0..classes).map(|c| z[c] - norm).collect()
    }

    /// Softmax regression: against central differences of the log-likelihood, and for the exact one against the curvature as well.
    #[test]
    fn fisher_diagonals_of_softmax_regression() {
        let (inputs, classes, samples) = (3, 4, 6);
        let mut stream = Stream::new(rng::key(8, 0), Purpose::Initial, 0, 0);
        let w: Vec<f64> = (0..inputs * classes).map(|_| stream.normal()).collect();
        let x: Vec<f32> = (0..inputs * samples).map(|_| stream.normal() as f32).collect();
        let labels: Vec<usize> = (0..samples).map(|i| i % classes).collect();
        let rows: Vec<&[f32]> = x.chunks(inputs).collect();
        let probabilities: Vec<f32> = rows.iter().flat_map(|x| log_softmax(&w, x, classes)).map(|l| l.exp() as f32).collect();
        let predictions = Predictions { probabilities: &probabilities, classes, labels: &labels };

        let (mut exact, mut curvature, mut empirical) = (vec![0.0; w.len()], vec![0.0; w.len()], vec![0.0; w.len()]);
        for i in 0..w.len() {
            let (mut up, mut down) = (w.clone(), w.clone());
            (up[i], down[i]) = (w[i] + 1e-4, w[i] - 1e-4);
            for (s, x) in rows.iter().enumerate() {
                let (u, m, d) = (log_softmax(&up, x, classes), log_softmax(&w, x, classes), log_softmax(&down, x, classes));
                for c in 0..classes {
                    let (slope, p) = ((u[c] - d[c]) / 2e-4, m[c].exp());
                    exact[i] += p * slope * slope / samples as f64;
                    curvature[i] -= p * (u[c] - 2.0 * m[c] + d[c]) / 1e-8 / samples as f64;
                    empirical[i] += if labels[s] == c { slope * slope / samples as f64 } else { 0.0 };
                }
            }
        }
        let mut post = |sample: usize, class: usize, d: &mut [f32]| {
            d.iter_mut().enumerate().for_each(|(o, d)| *d = (o == class) as u8 as f32 - probabilities[sample * classes + o]);
        };
        let near = |got: &[f32], expected: &[f64], tolerance: f64| {
            assert!(got.iter().zip(expected).all(|(g, e)| (*g as f64 - e).abs() < tolerance), "{got:?}\n{expected:?}");
        };
        let got = fisher_of_factors(Fisher::Exact, predictions, &x, classes, &mut post).unwrap();
        near(&got, &exact, 1e-5);
        near(&got, &curvature, 1e-5);
        near(&fisher_of_factors(Fisher::Empirical, predictions, &x, classes, &mut post).unwrap(), &empirical, 1e-5);
        assert!(exact.iter().zip(&empirical).any(|(a, b)| (a - b).abs() > 0.01), "exact and empirical are different things");
        let sampled = Fisher::Sampled { draws: 20_000, seed: 1 };
        near(&fisher_of_factors(sampled, predictions, &x, classes, &mut post).unwrap(), &exact, 0.03);
        // whole gradients instead of factors
        let mut gradient = |sample: usize, class: usize, g: &mut [f32]| {
            let mut d = vec![0.0; classes];
            post(sample, class, &mut d);
            g.chunks_mut(inputs).zip(d).for_each(|(g, d)| g.iter_mut().zip(rows[sample]).for_each(|(g, x)| *g = d * x));
        };
        near(&fisher_diagonal(Fisher::Exact, predictions, w.len(), &mut gradient).unwrap(), &exact, 1e-5);
    }

    /// f = W x, ‖f‖² has the derivative 2 f x'.
    #[test]
    fn sensitivity_by_hand() {
        let (x, w) = ([1.0, -2.0, 0.5, 1.0], [1.0, 1.0, 0.0, -1.0]);
        let f = |x: &[f32]| [w[0] * x[0] + w[1] * x[1], w[2] * x[0] + w[3] * x[1]];
        let d: Vec<f32> = x.chunks(2).flat_map(f).map(|f| 2.0 * f).collect();
        // d = (-2, 4), (3, -2)
        assert_eq!(
            sensitivity_of_factors(&d, 2, &x).unwrap(),
            [(2.0 + 1.5) / 2.0, (4.0 + 3.0) / 2.0, (4.0 + 1.0) / 2.0, (8.0 + 2.0) / 2.0]
        );
    }

    /// Plain gradient descent on a/2 (w - c)²: the integral is a geometric sum, and for small steps the fall of the loss.
    #[test]
    fn si_integrates_the_path_on_a_quadratic() {
        let (a, c, rate, steps) = ([0.5f64, 2.0], [1.0f64, -0.5], 0.01f64, 300);
        let off = Options { strength: 0.0, rate: rate as f32, form: Form::Penalty };
        let mut si = Importance::new(Kind::Si { damping: 0.1 }, off).unwrap();
        let mut w = layer(&[0.0, 0.0]);
        for _ in 0..steps {
            let step: Vec<f32> = (0..2).map(|i| (-rate * a[i] * (w.weight[i] as f64 - c[i])) as f32).collect();
            si.apply(0, &mut w, &step);
        }
        end(&mut si, &w).unwrap();
        let (omega, anchor) = si.layer(0).unwrap();
        assert_eq!(anchor, w.weight);
        for i in 0..2 {
            let q = 1.0 - rate * a[i];
            let integral = rate * (a[i] * c[i]).powi(2) * (1.0 - q.powi(2 * steps)) / (1.0 - q * q);
            let change = c[i] * (1.0 - q.powi(steps));
            let fall = 0.5 * a[i] * (c[i] * c[i] - (change - c[i]).powi(2));
            assert!((omega[i] as f64 / (integral / (change * change + 0.1)) - 1.0).abs() < 1e-4, "{omega:?}");
            assert!((integral / fall - 1.0).abs() < 0.02);
        }
    }

    /// The sum of two tasks' quadratics, descended by the penalty alone, ends at their common minimum.
    #[test]
    fn ewc_keeps_every_task_and_online_ewc_the_latest() {
        let mut ewc = Importance::new(Kind::Ewc, options(Form::Penalty)).unwrap();
        let mut online = Importance::new(Kind::OnlineEwc { decay: 0.5 }, options(Form::Penalty)).unwrap();
        for importance in [&mut ewc, &mut online] {
            for (f, w) in [([3.0, 0.0], [1.0, 5.0]), ([1.0, 2.0], [-1.0, 4.0])] {
                importance.give(0, f.to_vec()).unwrap();
                end(importance, &layer(&w)).unwrap();
            }
        }
        assert_eq!(ewc.layer(0).unwrap(), (&[4.0, 2.0][..], &[0.5, 4.0][..]));
        assert_eq!(online.layer(0).unwrap(), (&[2.5, 2.0][..], &[-1.0, 4.0][..]));
        let mut w = layer(&[7.0, -7.0]);
        (0..200).for_each(|_| ewc.apply(0, &mut w, &[0.0, 0.0]));
        assert!((w.weight[0] - 0.5).abs() < 1e-4 && (w.weight[1] - 4.0).abs() < 1e-4);
        // against a loss with gradient g the minimum moves to anchor - g / (strength F)
        (0..400).for_each(|_| ewc.apply(0, &mut w, &[-0.1 * 0.4, 0.0]));
        assert!((w.weight[0] - (0.5 - 0.4 / 8.0)).abs() < 1e-4, "{w:?}");
    }

    #[test]
    fn forms_by_hand() {
        let mut importance = Importance::new(Kind::Mas, options(Form::Penalty)).unwrap();
        let mut w = layer(&[1.0]);
        importance.apply(0, &mut w, &[0.25]);
        assert_eq!(w.weight, [1.25]); // no task yet
        importance.give(0, vec![5.0]).unwrap();
        end(&mut importance, &layer(&[1.0])).unwrap();
        importance.apply(0, &mut w, &[0.25]); // r = 0.1 * 2 * 5 = 1
        assert_eq!(w.weight, [1.25]);
        importance.options.form = Form::Limit;
        importance.apply(0, &mut w, &[0.22]); // / 11
        assert!((w.weight[0] - 1.27).abs() < 1e-6);
    }

    /// Saved in the middle of a second task, every kind goes on bit for bit.
    #[test]
    fn restored_it_goes_on() {
        for kind in [Kind::Ewc, Kind::OnlineEwc { decay: 0.5 }, Kind::Si { damping: 0.1 }, Kind::Mas, Kind::L2] {
            let mut one = Importance::new(kind, options(Form::Penalty)).unwrap();
            let mut w = layer(&[1.0, -2.0]);
            one.apply(0, &mut w, &[0.1, 0.3]);
            one.give(0, vec![1.0, 0.5]).unwrap();
            end(&mut one, &w).unwrap();
            one.apply(0, &mut w, &[0.2, -0.1]);
            one.give(0, vec![0.5, 0.25]).unwrap();
            let mut two = Importance::new(kind, options(Form::Penalty)).unwrap();
            assert!(two.restore(&state::State::default()).is_err());
            two.restore(&one.state()).unwrap();
            assert_eq!(one, two);
            let mut other = w.clone();
            for (importance, w) in [(&mut one, &mut w), (&mut two, &mut other)] {
                importance.apply(0, w, &[-0.3, 0.1]);
                end(importance, w).unwrap();
                importance.apply(0, w, &[-0.3, 0.1]);
            }
            assert_eq!((&one, &w), (&two, &other));
            assert_eq!(one.report().len(), 1);
        }
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(Importance::new(Kind::OnlineEwc { decay: 1.5 }, options(Form::Limit)).is_err());
        assert!(Importance::new(Kind::Si { damping: 0.0 }, options(Form::Limit)).is_err());
        let mut ewc = Importance::new(Kind::Ewc, options(Form::Limit)).unwrap();
        assert!(ewc.give(0, vec![-1.0]).is_err());
        assert!(end(&mut ewc, &layer(&[1.0])).is_err(), "no importance was given");
        ewc.give(0, vec![1.0, 1.0]).unwrap();
        assert!(end(&mut ewc, &layer(&[1.0])).is_err(), "of another size");
        let bad = |probabilities: &[f32], labels: &[usize]| {
            fisher_of_factors(Fisher::Empirical, Predictions { probabilities, classes: 2, labels }, &[1.0], 2, &mut |_, _, _| {})
                .is_err()
        };
        assert!(bad(&[0.5, 0.5], &[2]) && bad(&[0.5, 0.5], &[]) && bad(&[0.5], &[0]) && bad(&[1.5, 0.5], &[0]));
    }
}
