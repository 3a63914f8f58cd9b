//! Recurrent networks of leaky and adaptive spiking neurons that learn by e-prop (Bellec et al. 2020, doi 10.1038/s41467-020-17236-y):
//! every synapse keeps a trace of how it moved its neuron, every neuron hears how wrong the outputs are, and their product is the
//! change. Nothing travels back through other neurons. Promises the same weights at any number of threads. Knows spikes and labels as
//! numbers; no task and no file.
//!
//! ```text
//! v_j(t) = alpha v_j(t-1) + sum_i W_ji x_i(t) - theta z_j(t-1)      x: input spikes at t, the network's own at t-1
//! a_j(t) = rho a_j(t-1) + z_j(t-1)                                  z_j(t) = [v_j(t) > theta + beta_j a_j(t)] unless refractory
//! y_k(t) = kappa y_k(t-1) + (1 - kappa) sum_j O_kj z_j(t)           p = softmax(y) where the outputs count
//! psi_j(t) = gamma / theta max(0, 1 - |v_j - theta - beta_j a_j| / theta), 0 while refractory
//! trace:  s_i(t) = alpha s_i(t-1) + x_i(t)                          m_ji(t+1) = psi_j s_i + (rho - beta_j psi_j) m_ji(t)
//!         e_ji(t) = psi_j(t) (s_i(t) - beta_j m_ji(t))
//! learn:  dW_ji ~ -sum_t L_j(t) F(e_ji)(t)                          L_j = sum_k B_jk (p_k - target_k), F the filter of the outputs
//!         dO_kj ~ -sum_t (p_k - target_k) F(z_j)(t)
//! ```
//!
//! The sums over time are taken in another order than a synapse would take them: m is linear in s, so the signals of one neuron can be
//! gathered along its own psi first, h_j(t), and dW_ji ~ -sum_t h_j(t) s_i(t) is one matrix product. It is the same sum. A cost of
//! rates away from a wanted one reaches every synapse through the same traces.

use super::Layer;
use super::local::{Moments, Optimiser, Outcome, errors, outer, times};
use super::state::State;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};
use rayon::prelude::*;

/// Owners of the random numbers of first weights and of random feedback.
const WEIGHTS: u32 = 13 << 16;
const FEEDBACK: u32 = 14 << 16;
/// Trials whose gradients one thread adds up.
const TOGETHER: usize = 4;

/// How a neuron hears that the outputs were wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Through the weights to the outputs.
    Symmetric,
    /// Through random weights that stay.
    Random,
}

/// Sizes, dynamics and rule. [`Options::new`] gives all but the sizes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Channels that spikes come in by.
    pub inputs: usize,
    /// Leaky neurons.
    pub plain: usize,
    /// Neurons with an adaptive threshold.
    pub adaptive: usize,
    /// Outputs, 2 to 256.
    pub classes: usize,
    /// Whether neurons hear each other.
    pub recurrent: bool,
    /// Length of a step, ms.
    pub dt: f64,
    /// Time constants of membranes, adaptation and outputs, ms.
    pub tau: [f64; 3],
    /// Of potentials.
    pub threshold: f32,
    /// What a spike adds to an adaptive neuron's threshold.
    pub adaptation: f32,
    /// Time after a spike before the next one may come, ms.
    pub refractory: f64,
    /// Height of the pseudo-derivative.
    pub dampening: f32,
    /// How errors reach neurons.
    pub feedback: Feedback,
    /// Only the outputs learn.
    pub frozen: bool,
    /// Mean rate that neurons should have, Hz.
    pub rate: f64,
    /// Cost of the squared distance from it, a (spike / ms)².
    pub cost: f64,
    /// What turns gradients into changes.
    pub optimiser: Optimiser,
    /// Of first weights and random feedback.
    pub seed: u64,
}

impl Options {
    /// What the authors' published program of the evidence task has: steps of 1 ms, 20 and 2,000 ms, Adam with 5e-3.
    pub fn new(inputs: usize, plain: usize, adaptive: usize, classes: usize, seed: u64) -> Options {
        Options {
            inputs,
            plain,
            adaptive,
            classes,
            recurrent: true,
            dt: 1.0,
            tau: [20.0, 2000.0, 20.0],
            threshold: 0.6,
            adaptation: 0.0174,
            refractory: 5.0,
            dampening: 0.3,
            feedback: Feedback::Symmetric,
            frozen: false,
            rate: 10.0,
            cost: 1.0,
            optimiser: Optimiser::Adam { rate: 5e-3 },
            seed,
        }
    }

    /// Refuses what is no network.
    ///
    /// # Errors
    /// No inputs or neurons, fewer than 2 or more than 256 outputs, constants that are not above 0 (adaptation, refractory time, wanted
    /// rate and cost: below 0).
    pub fn check(&self) -> Result<()> {
        if self.inputs == 0 || self.neurons() == 0 || !(2..=256).contains(&self.classes) {
            return Err(Error::input(
                format!("{} inputs, {} neurons, {} outputs are no network", self.inputs, self.neurons(), self.classes),
                "give at least 1 input and neuron and 2 to 256 outputs",
            ));
        }
        let [membrane, slow, out] = self.tau;
        let positive = [
            ("the step", self.dt),
            ("the membrane's time constant", membrane),
            ("the time constant of adaptation", slow),
            ("the outputs' time constant", out),
            ("the threshold", self.threshold.into()),
            ("the dampening", self.dampening.into()),
            ("the learning rate", self.optimiser.rate().into()),
        ];
        if let Some((name, x)) = positive.into_iter().find(|(_, x)| !(*x > 0.0 && x.is_finite())) {
            return Err(Error::input(format!("{name} is {x}"), "give a number above 0"));
        }
        let others = [
            ("the adaptation", self.adaptation.into()),
            ("the refractory time", self.refractory),
            ("the wanted rate", self.rate),
            ("the cost of rates", self.cost),
        ];
        if let Some((name, x)) = others.into_iter().find(|(_, x)| !(*x >= 0.0 && x.is_finite())) {
            return Err(Error::input(format!("{name} is {x}"), "give a number that is not below 0"));
        }
        Ok(())
    }

    fn neurons(&self) -> usize {
        self.plain + self.adaptive
    }

    /// Factors from step to step of membranes, adaptation and outputs.
    fn leaks(&self) -> [f32; 3] {
        self.tau.map(|tau| (-self.dt / tau).exp() as f32)
    }

    /// Steps after a spike in which there is none.
    fn silent(&self) -> u32 {
        ((self.refractory / self.dt).round() as u32).saturating_sub(1)
    }
}

/// One presentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// How long it is.
    pub steps: usize,
    /// Step and channel of every spike that comes in, in order of steps.
    pub spikes: Vec<(u32, u32)>,
    /// What should be said.
    pub label: u8,
    /// First step whose outputs count; all after it do.
    pub from: usize,
}

/// What a trial did in the network.
struct Response {
    /// Pseudo-derivatives, steps x neurons.
    slope: Vec<f32>,
    /// Step and neuron of every spike.
    spikes: Vec<(u32, u32)>,
    /// Softmax minus target over the steps that count, a mean over them.
    error: Vec<f32>,
    outcome: Outcome,
}

/// The network.
#[derive(Clone, Debug)]
pub struct Recurrent {
    options: Options,
    /// Onto neurons, from inputs and then from neurons.
    hidden: Layer,
    /// Onto outputs.
    readout: Layer,
    /// Outputs x neurons; empty where feedback is symmetric.
    feedback: Vec<f32>,
    moments: [Moments; 2],
}

impl Recurrent {
    /// A network that has seen nothing.
    ///
    /// # Errors
    /// What [`Options::check`] refuses.
    pub fn new(options: Options) -> Result<Recurrent> {
        options.check()?;
        let (n, inputs, classes) = (options.neurons(), options.inputs, options.classes);
        let columns = inputs + if options.recurrent { n } else { 0 };
        let mut random = Stream::new(key(options.seed, WEIGHTS), Purpose::Weight, 0, 0);
        let deviation = |i: usize| 1.0 / (if i < inputs { inputs as f64 } else { n as f64 }).sqrt();
        let mut weight: Vec<f32> = (0..n * columns).map(|at| (random.normal() * deviation(at % columns)) as f32).collect();
        clear_own(&mut weight, n, inputs, columns);
        let hidden = Layer { inputs: columns, outputs: n, weight };
        let mut random = Stream::new(key(options.seed, WEIGHTS), Purpose::Weight, 1, 0);
        let limit = (6.0 / (n + classes) as f64).sqrt();
        let weight = (0..n * classes).map(|_| ((2.0 * random.uniform() - 1.0) * limit) as f32).collect();
        let readout = Layer { inputs: n, outputs: classes, weight };
        let mut random = Stream::new(key(options.seed, FEEDBACK), Purpose::Weight, 0, 0);
        let feedback = match options.feedback {
            Feedback::Symmetric => vec![],
            Feedback::Random => (0..n * classes).map(|_| random.normal() as f32).collect(),
        };
        Ok(Recurrent { options, hidden, readout, feedback, moments: Default::default() })
    }

    /// Its options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Change the learning rate from the next batch on.
    pub fn set_rate(&mut self, new: f32) {
        match &mut self.options.optimiser {
            Optimiser::Sgd { rate, .. } | Optimiser::Adam { rate } => *rate = new,
        }
    }

    /// One step on a batch. The outcome is that before the step; its loss is a mean over the steps that count.
    ///
    /// # Errors
    /// A spike, label or first step that counts outside of a trial; a weight that is not a number any more, named.
    pub fn learn(&mut self, trials: &[Trial]) -> Result<Outcome> {
        let ([mut hidden, mut readout], outcome) = self.gradients(trials)?;
        let optimiser = self.options.optimiser;
        self.moments[1].step(&mut readout, optimiser);
        self.readout.add(&readout);
        self.readout.check_finite("outputs")?;
        if !self.options.frozen {
            self.moments[0].step(&mut hidden, optimiser);
            self.hidden.add(&hidden);
            self.hidden.check_finite("neurons")?;
        }
        Ok(outcome)
    }

    /// Hits on trials that are not learned.
    ///
    /// # Errors
    /// A spike, label or first step that counts outside of a trial.
    pub fn evaluate(&self, trials: &[Trial]) -> Result<Outcome> {
        self.check(trials)?;
        let columns = self.columns();
        let each: Vec<Outcome> = trials.par_iter().map(|trial| self.respond(trial, &columns).outcome).collect();
        Ok(each.iter().fold(Outcome::default(), |mut sum, one| {
            sum.add(one);
            sum
        }))
    }

    fn check(&self, trials: &[Trial]) -> Result<()> {
        let fits = |trial: &Trial| {
            let inside =
                |(step, channel): &(u32, u32)| (*step as usize) < trial.steps && (*channel as usize) < self.options.inputs;
            trial.from < trial.steps
                && (trial.label as usize) < self.options.classes
                && trial.spikes.iter().all(inside)
                && trial.spikes.is_sorted_by_key(|spike| spike.0)
        };
        match trials.iter().position(|trial| !fits(trial)) {
            None => Ok(()),
            Some(at) => Err(Error::input(
                format!(
                    "trial {at} has a spike, a label or a first step that counts outside of it or of the network, or spikes out of order"
                ),
                format!("give {} channels, {} classes, spikes in order of steps", self.options.inputs, self.options.classes),
            )),
        }
    }

    /// The weights onto neurons, a row an input.
    fn columns(&self) -> Vec<f32> {
        let Layer { inputs, outputs, weight } = &self.hidden;
        (0..inputs * outputs).map(|at| weight[at % outputs * inputs + at / outputs]).collect()
    }

    /// Runs a trial from rest.
    fn respond(&self, trial: &Trial, columns: &[f32]) -> Response {
        let Options { inputs, plain, threshold, adaptation, dampening, classes, recurrent, .. } = self.options;
        let (n, [alpha, rho, kappa], silent) = (self.options.neurons(), self.options.leaks(), self.options.silent());
        let (mut v, mut a, mut z, mut rest) = (vec![0.0f32; n], vec![0.0f32; n], vec![0.0f32; n], vec![0u32; n]);
        let mut slope = vec![0.0f32; trial.steps * n];
        let mut spikes: Vec<(u32, u32)> = vec![];
        let (mut y, mut scores) = (vec![0.0f32; classes], vec![]);
        let (mut coming, mut before) = (trial.spikes.iter().peekable(), 0..0);
        let beta = |j: usize| if j < plain { 0.0 } else { adaptation };
        for (t, slope) in slope.chunks_exact_mut(n).enumerate() {
            for ((v, a), z) in v.iter_mut().zip(&mut a).zip(&z) {
                *v = alpha * *v - threshold * z;
                *a = rho * *a + z;
            }
            let mut hear = |row: usize| v.iter_mut().zip(&columns[row * n..][..n]).for_each(|(v, w)| *v += w);
            while let Some((_, channel)) = coming.next_if(|spike| spike.0 as usize == t) {
                hear(*channel as usize);
            }
            if recurrent {
                spikes[before.clone()].iter().for_each(|(_, j)| hear(inputs + *j as usize));
            }
            y.iter_mut().for_each(|y| *y *= kappa);
            let first = spikes.len();
            for j in 0..n {
                z[j] = 0.0;
                if rest[j] > 0 {
                    rest[j] -= 1;
                    continue;
                }
                let above = (v[j] - threshold - beta(j) * a[j]) / threshold;
                slope[j] = dampening / threshold * (1.0 - above.abs()).max(0.0);
                if above > 0.0 {
                    (z[j], rest[j]) = (1.0, silent);
                    spikes.push((t as u32, j as u32));
                    y.iter_mut().enumerate().for_each(|(k, y)| *y += (1.0 - kappa) * self.readout.weight[k * n + j]);
                }
            }
            before = first..spikes.len();
            if t >= trial.from {
                scores.extend_from_slice(&y);
            }
        }
        let rows = trial.steps - trial.from;
        let mean = |c: usize| scores.iter().skip(c).step_by(classes).sum::<f32>();
        let said = (0..classes)
            .map(mean)
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (c, y)| if y > best.1 { (c, y) } else { best });
        let (mut error, each) = errors(scores, &vec![trial.label; rows], classes);
        error.iter_mut().for_each(|e| *e /= rows as f32);
        let outcome = Outcome {
            presentations: 1,
            correct: (said.0 == trial.label as usize) as usize,
            loss: each.loss / rows as f64,
            spikes: spikes.len() as u64,
        };
        Response { slope, spikes, error, outcome }
    }

    /// Gradients of the weights onto neurons and onto outputs, means over the trials, and the outcome.
    fn gradients(&self, trials: &[Trial]) -> Result<([Vec<f32>; 2], Outcome)> {
        self.check(trials)?;
        let (n, columns) = (self.options.neurons(), self.columns());
        let responses: Vec<Response> = trials.par_iter().map(|trial| self.respond(trial, &columns)).collect();
        // How a spike more changes the cost of its neuron's rate, a trial.
        let time = self.options.dt * trials.iter().map(|trial| trial.steps as f64).sum::<f64>();
        let mut push = vec![0.0; n];
        responses.iter().flat_map(|response| &response.spikes).for_each(|(_, j)| push[*j as usize] += 1.0 / time);
        let per_trial = 2.0 * self.options.cost * trials.len() as f64 / time;
        let push: Vec<f32> = push.iter().map(|rate| (per_trial * (rate - self.options.rate / 1000.0)) as f32).collect();
        let pieces = trials.par_chunks(TOGETHER).zip(responses.par_chunks(TOGETHER)).map(|(trials, responses)| {
            trials.iter().zip(responses).map(|(trial, response)| self.gradient(trial, response, &push)).reduce(|a, b| plus(a, &b))
        });
        let all = pieces.collect::<Vec<_>>().into_iter().flatten().reduce(|a, b| plus(a, &b));
        let mut all = all.unwrap_or_else(|| [vec![0.0; self.hidden.weight.len()], vec![0.0; self.readout.weight.len()]]);
        all.iter_mut().flatten().for_each(|g| *g /= trials.len() as f32);
        if !self.options.frozen {
            clear_own(&mut all[0], n, self.options.inputs, self.hidden.inputs);
        }
        let mut outcome = Outcome::default();
        responses.iter().for_each(|response| outcome.add(&response.outcome));
        Ok((all, outcome))
    }

    /// Those of one trial.
    fn gradient(&self, trial: &Trial, response: &Response, push: &[f32]) -> [Vec<f32>; 2] {
        let Options { inputs, plain, adaptation, classes, .. } = self.options;
        let (n, [alpha, rho, kappa]) = (self.options.neurons(), self.options.leaks());
        let mut seen = vec![0.0; trial.steps * n];
        put(&mut seen, &response.spikes, n, 0, 1.0 - kappa, 0);
        filter(&mut seen, n, kappa);
        let readout = outer(1.0, &response.error, &seen[trial.from * n..], classes, n);
        if self.options.frozen {
            return [vec![], readout];
        }
        let back = if self.feedback.is_empty() { &self.readout.weight } else { &self.feedback };
        let signal = times(&response.error, back, classes, n);
        // Backward along each neuron's own time: the signal as the outputs filter it, and what moves the slow trace.
        let mut gathered = vec![0.0; trial.steps * n];
        let (mut told, mut slow) = (vec![0.0f32; n], vec![0.0f32; n]);
        for t in (0..trial.steps).rev() {
            let signal = t.checked_sub(trial.from).map(|row| &signal[row * n..][..n]);
            for j in 0..n {
                told[j] = kappa * told[j] + signal.map_or(0.0, |signal| (1.0 - kappa) * signal[j]);
                let (psi, heard) = (response.slope[t * n + j], told[j] + push[j]);
                let beta = if j < plain { 0.0 } else { adaptation };
                gathered[t * n + j] = psi * (heard + slow[j]);
                slow[j] = (rho - beta * psi) * slow[j] - beta * psi * heard;
            }
        }
        let columns = self.hidden.inputs;
        let mut traces = vec![0.0; trial.steps * columns];
        put(&mut traces, &trial.spikes, columns, 0, 1.0, 0);
        if self.options.recurrent {
            put(&mut traces, &response.spikes, columns, inputs, 1.0, 1);
        }
        filter(&mut traces, columns, alpha);
        [outer(1.0, &gathered, &traces, n, columns), readout]
    }

    /// Everything that changes.
    pub fn state(&self) -> State {
        let mut state = State::default();
        for (name, layer, moments) in [("neurons", &self.hidden, &self.moments[0]), ("outputs", &self.readout, &self.moments[1])]
        {
            state.put(format!("{name}.weight"), &[layer.outputs, layer.inputs], &layer.weight);
            state.put_part(&format!("{name}.moments"), moments.state());
        }
        state
    }

    /// Takes back what [`Recurrent::state`] gave, into one that was made with the same options: it goes on bit for bit.
    ///
    /// # Errors
    /// An array that is missing, of another size or not finite; nothing is changed then.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let read = |name: &str, layer: &Layer| -> Result<_> {
            let count = layer.weight.len();
            let weight = state.get(&format!("{name}.weight"), count)?.to_vec();
            Ok((weight, Moments::restored(&state.part(&format!("{name}.moments")), count)?))
        };
        let (hidden, readout) = (read("neurons", &self.hidden)?, read("outputs", &self.readout)?);
        (self.hidden.weight, self.readout.weight) = (hidden.0, readout.0);
        self.moments = [hidden.1, readout.1];
        Ok(())
    }
}

/// No neuron hears itself.
fn clear_own(weights: &mut [f32], n: usize, inputs: usize, columns: usize) {
    if columns > inputs {
        (0..n).for_each(|j| weights[j * columns + inputs + j] = 0.0);
    }
}

/// Adds spikes to rows of steps, from column `first` on, so many steps later.
fn put(rows: &mut [f32], spikes: &[(u32, u32)], columns: usize, first: usize, height: f32, later: usize) {
    for (step, source) in spikes {
        if let Some(value) = rows.get_mut((*step as usize + later) * columns + first + *source as usize) {
            *value += height;
        }
    }
}

/// Each row gets a part of the one before.
fn filter(rows: &mut [f32], columns: usize, leak: f32) {
    for at in columns..rows.len() {
        rows[at] += leak * rows[at - columns];
    }
}

fn plus(mut sum: [Vec<f32>; 2], other: &[Vec<f32>; 2]) -> [Vec<f32>; 2] {
    sum.iter_mut().zip(other).for_each(|(sum, other)| sum.iter_mut().zip(other).for_each(|(s, o)| *s += o));
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(seed: u32, inputs: usize) -> Vec<Trial> {
        let trial = |k: u32| {
            let mut random = Stream::new(key(5, seed), Purpose::Encoder, k, 0);
            let steps = 60 + 10 * k as usize;
            let all = (0..steps as u32).flat_map(|t| (0..inputs as u32).map(move |i| (t, i)));
            let spikes = all.filter(|_| random.uniform() < 0.15).collect();
            Trial { steps, spikes, label: (k % 3) as u8, from: steps - 25 }
        };
        (0..3).map(trial).collect()
    }

    fn small(recurrent: bool, feedback: Feedback) -> Options {
        let tau = [20.0, 90.0, 15.0];
        Options { recurrent, feedback, tau, adaptation: 0.2, refractory: 3.0, cost: 400.0, ..Options::new(4, 3, 3, 3, 2) }
    }

    /// The derivative of loss and cost by one weight onto a neuron, in tangents that go forward in time with every state of the network,
    /// in f64. What a neuron's spikes do to others is followed too where `whole`. With the spikes.
    fn tangent(net: &Recurrent, trials: &[Trial], [row, column]: [usize; 2], whole: bool) -> (f64, u64) {
        let o = &net.options;
        let (n, weight) = (o.neurons(), |l: &Layer, r: usize, c: usize| l.weight[r * l.inputs + c] as f64);
        let [alpha, rho, kappa] = o.tau.map(|tau| (-o.dt / tau).exp());
        let (threshold, gamma) = (o.threshold as f64, o.dampening as f64);
        let back = |k: usize, j: usize| {
            if net.feedback.is_empty() { weight(&net.readout, k, j) } else { net.feedback[k * n + j] as f64 }
        };
        let (mut slope, mut fired, mut moved, mut count) = (0.0, vec![0.0; n], vec![0.0; n], 0);
        for trial in trials {
            let (mut v, mut a, mut z, mut rest) = (vec![0.0; n], vec![0.0; n], vec![0.0; n], vec![0; n]);
            let (mut dv, mut da, mut dz) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            let (mut y, mut dy) = (vec![0.0; o.classes], vec![0.0; o.classes]);
            for t in 0..trial.steps {
                let heard = |i: usize| trial.spikes.iter().filter(|s| **s == (t as u32, i as u32)).count() as f64;
                let mut x: Vec<f64> = (0..o.inputs).map(heard).collect();
                let mut dx = vec![0.0; o.inputs];
                if o.recurrent {
                    x.extend(&z);
                    dx.extend(&dz);
                }
                for j in 0..n {
                    (a[j], da[j]) = (rho * a[j] + z[j], rho * da[j] + dz[j]);
                    v[j] = alpha * v[j] - threshold * z[j] + (0..x.len()).map(|i| weight(&net.hidden, j, i) * x[i]).sum::<f64>();
                    dv[j] = alpha * dv[j] + if j == row { x[column] } else { 0.0 };
                    if whole {
                        dv[j] += (0..x.len()).map(|i| weight(&net.hidden, j, i) * dx[i]).sum::<f64>();
                    }
                }
                for j in 0..n {
                    (z[j], dz[j]) = (0.0, 0.0);
                    if rest[j] > 0 {
                        rest[j] -= 1;
                        continue;
                    }
                    let beta = if j < o.plain { 0.0 } else { o.adaptation as f64 };
                    let above = (v[j] - threshold - beta * a[j]) / threshold;
                    dz[j] = gamma / threshold * (1.0 - above.abs()).max(0.0) * (dv[j] - beta * da[j]);
                    if above > 0.0 {
                        (z[j], rest[j], count) = (1.0, 2, count + 1);
                    }
                    fired[j] += z[j];
                    moved[j] += dz[j];
                }
                for k in 0..o.classes {
                    y[k] = kappa * y[k] + (1.0 - kappa) * (0..n).map(|j| weight(&net.readout, k, j) * z[j]).sum::<f64>();
                    dy[k] = kappa * dy[k] + (1.0 - kappa) * (0..n).map(|j| back(k, j) * dz[j]).sum::<f64>();
                }
                if t >= trial.from {
                    let all: f64 = y.iter().map(|y| y.exp()).sum();
                    let error = |k: usize| y[k].exp() / all - (k == trial.label as usize) as u8 as f64;
                    let rows = (trials.len() * (trial.steps - trial.from)) as f64;
                    slope += (0..o.classes).map(|k| error(k) * dy[k] / rows).sum::<f64>();
                }
            }
        }
        let time = o.dt * trials.iter().map(|t| t.steps as f64).sum::<f64>();
        let push = |j: usize| 2.0 * o.cost * (fired[j] / time - o.rate / 1000.0) * moved[j] / time;
        (slope + (0..n).map(push).sum::<f64>(), count)
    }

    #[test]
    fn the_gradient_is_that_of_traces_kept_forward_and_without_recurrence_the_whole_one() {
        for (recurrent, feedback) in [(true, Feedback::Symmetric), (true, Feedback::Random), (false, Feedback::Symmetric)] {
            let net = Recurrent::new(small(recurrent, feedback)).unwrap();
            let trials = trials(1, 4);
            let ([hidden, _], outcome) = net.gradients(&trials).unwrap();
            let columns = net.hidden.inputs;
            let at = |i: usize| [i / columns, i % columns];
            let own = |i: usize| recurrent && i % columns == 4 + i / columns;
            let follow = |whole: bool| -> Vec<f64> {
                let one = |i: usize| if own(i) { 0.0 } else { tangent(&net, &trials, at(i), whole).0 };
                (0..hidden.len()).map(one).collect()
            };
            assert_eq!(outcome.spikes, tangent(&net, &trials, [0, 0], false).1);
            assert!(outcome.spikes > 30, "{}", outcome.spikes);
            let away = |exact: &[f64]| {
                let most = exact.iter().fold(0.0f64, |most, g| most.max(g.abs()));
                hidden.iter().zip(exact).fold(0.0f64, |worst, (g, e)| worst.max((*g as f64 - e).abs())) / most
            };
            let (kept, whole) = (away(&follow(false)), away(&follow(true)));
            assert!(kept < 1e-4, "{recurrent} {feedback:?}: {kept}");
            // What spikes do to other neurons is what e-prop leaves out.
            assert!((whole < 1e-4) != recurrent, "{recurrent} {feedback:?}: {whole}");
        }
    }

    #[test]
    fn the_step_of_the_outputs_is_the_gradient_of_the_loss() {
        let net = Recurrent::new(small(true, Feedback::Random)).unwrap();
        let trials = trials(2, 4);
        let ([_, readout], _) = net.gradients(&trials).unwrap();
        for (i, g) in readout.iter().enumerate() {
            let at = |h: f32| {
                let mut copy = net.clone();
                copy.readout.weight[i] += h;
                copy.evaluate(&trials).unwrap().loss / trials.len() as f64
            };
            let slope = (at(0.02) - at(-0.02)) / 0.04;
            assert!((slope - *g as f64).abs() < 1e-4, "{i}: {slope} {g}");
        }
    }

    #[test]
    fn a_restored_network_goes_on_and_what_is_wrong_is_refused() {
        let trials = trials(3, 4);
        let mut whole = Recurrent::new(small(true, Feedback::Symmetric)).unwrap();
        whole.learn(&trials).unwrap();
        let mut other = Recurrent::new(small(true, Feedback::Symmetric)).unwrap();
        other.restore(&whole.state()).unwrap();
        let first = whole.learn(&trials).unwrap();
        assert_eq!(other.learn(&trials).unwrap(), first);
        assert_eq!(other.state(), whole.state());
        let before = whole.state();
        for wrong in [
            Trial { label: 3, ..trials[0].clone() },
            Trial { from: trials[0].steps, ..trials[0].clone() },
            Trial { spikes: vec![(0, 4)], ..trials[0].clone() },
            Trial { spikes: vec![(5, 0), (4, 0)], ..trials[0].clone() },
        ] {
            let error = whole.learn(&[trials[1].clone(), wrong]).unwrap_err().to_string();
            assert!(error.contains("trial 1"), "{error}");
        }
        assert_eq!(whole.state(), before);
        let refused = |change: fn(&mut Options)| {
            let mut options = small(true, Feedback::Symmetric);
            change(&mut options);
            Recurrent::new(options).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(refused(|o| o.classes = 1).contains("1 outputs"));
        assert!(refused(|o| o.tau[1] = 0.0).contains("adaptation is 0"));
        assert!(refused(|o| o.cost = f64::NAN).contains("NaN"));
    }
}
