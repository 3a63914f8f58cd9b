//! Supervised learning by local rules: a feed-forward spiking network, shown batches of constant inputs for some time steps, whose
//! synapses see their own presynaptic trace, their neuron's pseudo-derivative and a learning signal that reaches the neuron in one
//! step. No error travels back through layers of neurons or through time. Promises the same weights at any number of threads.
//! Knows no engine, no file format and no task; what protects old weights comes in as a [`Protection`].
//!
//! Layers are leaky integrate-and-fire with reset by subtraction, without biases; the readout is a leaky integrator with the
//! same leak, whose last potential, divided by the sum of its kernel, is the class score. For one synapse
//! dW = -rate * mean over the batch of (learning signal * pseudo-derivative) * (presynaptic trace); the readout's own step
//! (error times trace) is the exact gradient of the cross-entropy.

mod matrix;
#[cfg(feature = "gpu")]
mod parts;
pub(crate) mod spikes;

pub use matrix::{outer, times, times_transposed};
pub use spikes::{Activity, Neuron, Spikes};

use super::importance::Fisher;
use super::state::State;
use super::{Layer, PIECE, Protection};
use crate::error::{Error, Result};
use crate::model::math::flush;
use crate::rng::{Purpose, Stream, key};
use rayon::prelude::*;
use spikes::{Source, kernel, run};

/// How a neuron learns that the output was wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Signal {
    /// Output error through fixed random weights, straight to every layer (direct feedback alignment, Nøkland 2016; the random
    /// e-prop of Bellec 2020).
    Broadcast,
    /// Output error through the transposed weights that lead to the readout (their product, without the derivatives in between;
    /// for the last hidden layer this is symmetric e-prop, Bellec 2020).
    Symmetric,
    /// Every layer has a readout and an error of its own: random and fixed (DECOLLE, Kaiser 2020) or learning by the same delta
    /// rule (Nøkland & Eidnes 2019). The last hidden layer's is the network's readout, which always learns.
    LocalReadouts {
        /// Whether the readouts of the layers below the last learn.
        trained: bool,
    },
}

/// What a synapse remembers of a presentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Eligibility {
    /// Presynaptic rate (kernel mean of its spikes) times the derivative of the rate's closed form clamp(drive, 0, 1), both read at
    /// the end (the closed form of DSR, Meng 2022). One row a presentation.
    Presentation,
    /// Presynaptic trace times the pseudo-derivative of the potential, summed over all steps (e-prop, Bellec 2020; OTTT, Xiao 2022).
    /// One row a presentation and step, except for the constant inputs of the first layer.
    Step,
}

/// What turns summed local steps into changes. Each weight is treated alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// Gradient steps with momentum. Steps stay within the span of the presynaptic factors, as projection needs.
    Sgd {
        /// Learning rate, above 0.
        rate: f32,
        /// Part of the last change that is added to the next, 0 to below 1.
        momentum: f32,
    },
    /// Adam (Kingma & Ba 2015; 0.9, 0.999, 1e-8). Its division weight by weight leaves the span of the factors: not for projection.
    Adam {
        /// Learning rate, above 0.
        rate: f32,
    },
}

impl Optimiser {
    /// Learning rate.
    pub fn rate(self) -> f32 {
        let (Optimiser::Sgd { rate, .. } | Optimiser::Adam { rate }) = self;
        rate
    }
}

/// Sizes, dynamics and rule of a network. [`Settings::new`] gives all that but the sizes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Settings {
    /// Inputs, hidden layers, classes: at least one hidden layer.
    pub sizes: Vec<usize>,
    /// Time steps of a presentation.
    pub steps: usize,
    /// Factor on potentials and traces from step to step, above 0, at most 1.
    pub leak: f32,
    /// Of the hidden layers.
    pub threshold: f32,
    /// Initial weights have deviation gain * sqrt(2 / inputs).
    pub gain: f32,
    /// Which error every layer learns from.
    pub signal: Signal,
    /// Which trace of a presentation a step multiplies it with.
    pub eligibility: Eligibility,
    /// What turns steps into changes.
    pub optimiser: Optimiser,
    /// Of initial weights, feedback and local readouts.
    pub seed: u64,
}

impl Settings {
    /// 20 steps, and what learned MNIST best among the settings tried.
    pub fn new(sizes: Vec<usize>, seed: u64) -> Self {
        Settings {
            sizes,
            steps: 20,
            leak: 0.95,
            threshold: 1.0,
            gain: 1.0,
            signal: Signal::LocalReadouts { trained: true },
            eligibility: Eligibility::Presentation,
            optimiser: Optimiser::Sgd { rate: 0.1, momentum: 0.9 },
            seed,
        }
    }

    fn check(&self) -> Result<()> {
        let refuse = |what: String, remedy: &str| Err(Error::input(what, remedy));
        let positive = |x: f32| x > 0.0 && x.is_finite();
        if self.sizes.len() < 3 || self.sizes.contains(&0) {
            return refuse(
                format!("sizes {:?} are no network", self.sizes),
                "give inputs, hidden layers and classes, all above 0",
            );
        }
        if self.sizes[self.sizes.len() - 1] > 256 {
            return refuse(format!("{} classes", self.sizes[self.sizes.len() - 1]), "labels are bytes: give at most 256 classes");
        }
        if self.steps == 0 {
            return refuse("a presentation of 0 steps".into(), "set steps to 1 or more");
        }
        if !(positive(self.leak) && self.leak <= 1.0) {
            return refuse(format!("leak {}", self.leak), "set leak above 0 and at most 1 (exp(-dt / tau_m))");
        }
        for (name, value) in [("threshold", self.threshold), ("gain", self.gain)] {
            if !positive(value) {
                return refuse(format!("{name} {value}"), &format!("set {name} above 0"));
            }
        }
        let (rate, momentum) = match self.optimiser {
            Optimiser::Sgd { rate, momentum } => (rate, momentum),
            Optimiser::Adam { rate } => (rate, 0.0),
        };
        if !positive(rate) || !(0.0..1.0).contains(&momentum) {
            return refuse(format!("rate {rate}, momentum {momentum}"), "set rate above 0 and momentum from 0 to below 1");
        }
        Ok(())
    }
}

/// A network as it was before a task: what it said of the old classes is kept while the task is learned (learning without forgetting,
/// Li & Hoiem 2016, arXiv:1606.09282).
#[derive(Clone, Debug)]
pub struct Teacher {
    /// The network.
    pub network: Network,
    /// Classes that it knows.
    pub known: Vec<bool>,
    /// Weight of its answers beside that of the labels.
    pub strength: f32,
    /// Scores are divided by it before answers are compared.
    pub temperature: f32,
}

impl Teacher {
    /// Adds the gradient of strength * temperature² * KL(told, own), among the classes known, to errors of the scores.
    fn add(&self, error: &mut [f32], own: &[f32], told: &[f32], classes: usize) {
        let softened = |scores: &[f32]| {
            let known = |c: usize| if self.known[c] { scores[c] / self.temperature } else { f32::NEG_INFINITY };
            let mut soft: Vec<f32> = (0..classes).map(known).collect();
            softmax(&mut soft);
            soft
        };
        if !self.known.contains(&true) {
            return;
        }
        let rows = own.chunks_exact(classes).zip(told.chunks_exact(classes));
        for (error, (own, told)) in error.chunks_exact_mut(classes).zip(rows) {
            let apart = softened(own).into_iter().zip(softened(told)).map(|(own, told)| own - told);
            error.iter_mut().zip(apart).for_each(|(e, d)| *e += self.strength * self.temperature * d);
        }
    }
}

/// What the scores should be.
#[derive(Clone, Copy)]
enum Wanted<'a> {
    /// High at the labels, and as the teacher said.
    Labels(&'a [u8], Option<&'a Teacher>),
    /// Small: for the sensitivity of their norm.
    Norm,
}

/// What a batch showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Presentations in it.
    pub presentations: usize,
    /// Presentations whose highest score was their label's (before the step).
    pub correct: usize,
    /// Cross-entropy of the scores, summed over presentations, nats.
    pub loss: f64,
    /// Spikes of the hidden layers.
    pub spikes: u64,
}

impl Outcome {
    /// Counts another batch too.
    pub fn add(&mut self, other: &Outcome) {
        self.presentations += other.presentations;
        self.correct += other.correct;
        self.loss += other.loss;
        self.spikes += other.spikes;
    }

    /// Part that was right, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.presentations.max(1) as f64
    }
}

/// The two factors of a layer's gradient over a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Postsynaptic: rows x outputs.
    pub d: Vec<f32>,
    /// Presynaptic: rows x inputs.
    pub x: Vec<f32>,
}

/// Images and labels of a task, pixels read through an optional permutation.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// count x size, 0 to 255.
    pub pixels: &'a [u8],
    /// Pixels an image.
    pub size: usize,
    /// Class of each image, from 0: count.
    pub labels: &'a [u8],
    /// Input i sees pixel `permutation[i]`.
    pub permutation: Option<&'a [u32]>,
    /// A pixel p becomes the current scale * (p / 255 - offset).
    pub offset: f32,
    /// Factor of that current.
    pub scale: f32,
}

impl<'a> Samples<'a> {
    /// Pixels as they are, currents from 0 to 1.
    pub fn new(pixels: &'a [u8], size: usize, labels: &'a [u8]) -> Self {
        Samples { pixels, size, labels, permutation: None, offset: 0.0, scale: 1.0 }
    }

    /// The current of a pixel.
    pub fn current(&self, pixel: u8) -> f32 {
        self.scale * (pixel as f32 / 255.0 - self.offset)
    }

    /// Currents (chosen x size) and labels of some samples.
    pub fn gather(&self, chosen: &[u32]) -> (Vec<f32>, Vec<u8>) {
        let mut inputs = Vec::with_capacity(chosen.len() * self.size);
        for &i in chosen {
            let image = &self.pixels[i as usize * self.size..][..self.size];
            match self.permutation {
                Some(permutation) => inputs.extend(permutation.iter().map(|p| self.current(image[*p as usize]))),
                None => inputs.extend(image.iter().map(|p| self.current(*p))),
            }
        }
        (inputs, chosen.iter().map(|i| self.labels[*i as usize]).collect())
    }

    fn check(&self, network: &Network) -> Result<()> {
        let inputs = network.settings.sizes[0];
        if self.size != inputs {
            return Err(Error::input(
                format!("images of {} pixels for {inputs} inputs", self.size),
                "set the first of sizes to the pixels",
            ));
        }
        if self.labels.is_empty() || self.pixels.len() != self.labels.len() * self.size {
            let message =
                format!("{} pixels and {} labels do not make images of {}", self.pixels.len(), self.labels.len(), self.size);
            return Err(Error::input(message, "give one label an image, at least one image"));
        }
        match self.permutation {
            Some(p) if p.len() != self.size || p.iter().any(|p| *p as usize >= self.size) => {
                Err(Error::input(format!("a permutation of {} pixels", p.len()), format!("give {} indices below {0}", self.size)))
            }
            _ => Ok(()),
        }
    }
}

/// A random order of 0..count, a function of seed and epoch.
pub fn order(seed: u64, epoch: u32, count: usize) -> Vec<u32> {
    let mut random = Stream::new(key(seed, ORDER), Purpose::Encoder, epoch, 0);
    let mut order: Vec<u32> = (0..count as u32).collect();
    random.shuffle(&mut order);
    order
}

/// Owners of random numbers beside the layers' own (0, 1, …).
const FEEDBACK: u32 = 1 << 16;
const READOUT: u32 = 2 << 16;
const ORDER: u32 = 3 << 16;

/// Memory of an optimiser for one matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
    steps: i32,
}

/// A network of spiking layers that learns by a local three-factor rule, with batches computed on the CPU.
#[derive(Clone, Debug)]
pub struct Network {
    settings: Settings,
    layers: Vec<Layer>,
    /// Per hidden layer: random feedback (neurons x classes).
    feedback: Vec<Layer>,
    /// Per hidden layer but the last: its own readout (classes x neurons).
    readouts: Vec<Layer>,
    moments: Vec<Moments>,
    readout_moments: Vec<Moments>,
}

impl Network {
    /// A network with random weights: functions of the seed.
    pub fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        let (sizes, seed) = (&settings.sizes, settings.seed);
        let classes = sizes[sizes.len() - 1];
        let deviation = |inputs: usize| settings.gain * (2.0 / inputs as f32).sqrt();
        let hidden = sizes.len() - 2;
        let layers: Vec<Layer> =
            (0..=hidden).map(|l| random(seed, l as u32, sizes[l], sizes[l + 1], deviation(sizes[l]))).collect();
        let feedback = (0..hidden).map(|l| random(seed, FEEDBACK + l as u32, classes, sizes[l + 1], deviation(sizes[l + 1])));
        let readouts: Vec<Layer> =
            (0..hidden - 1).map(|l| random(seed, READOUT + l as u32, sizes[l + 1], classes, deviation(sizes[l + 1]))).collect();
        Ok(Network {
            feedback: feedback.collect(),
            moments: vec![Moments::default(); layers.len()],
            readout_moments: vec![Moments::default(); readouts.len()],
            layers,
            readouts,
            settings,
        })
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Hidden layers from the input on, then the readout.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The same, to be changed between batches (weights drawn from a posterior, a restored state); shapes must stay.
    pub fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    /// Change the learning rate from the next batch on.
    pub fn set_rate(&mut self, new: f32) {
        match &mut self.settings.optimiser {
            Optimiser::Sgd { rate, .. } | Optimiser::Adam { rate } => *rate = new,
        }
    }

    /// Forget momentum: at a task's end, so that no step of the old task is taken in the new one.
    pub fn reset_optimiser(&mut self) {
        self.moments.iter_mut().chain(&mut self.readout_moments).for_each(|m| *m = Moments::default());
    }

    fn neuron(&self) -> Neuron {
        Neuron { leak: self.settings.leak, threshold: self.settings.threshold }
    }

    fn hidden(&self) -> usize {
        self.layers.len() - 1
    }

    /// Run the hidden layers. `inputs`: presentations x inputs, currents in thresholds at weight 1, constant over the steps.
    pub fn forward(&self, inputs: &[f32]) -> Result<Vec<Activity>> {
        self.check_inputs(inputs)?;
        Ok(self.run(inputs, self.settings.eligibility == Eligibility::Step))
    }

    fn run(&self, inputs: &[f32], with_slope: bool) -> Vec<Activity> {
        let (neuron, steps) = (self.neuron(), self.settings.steps);
        let mut activities: Vec<Activity> = vec![];
        for layer in &self.layers[..self.hidden()] {
            let next = match activities.last() {
                None => {
                    let current = times_transposed(inputs, &layer.weight, layer.inputs, layer.outputs);
                    run(&Source::Constant(&current, layer.outputs), steps, neuron, with_slope)
                }
                Some(below) => run(&Source::Spikes(layer, &below.spikes), steps, neuron, with_slope),
            };
            activities.push(next);
        }
        activities
    }

    /// Class scores (presentations x classes) of inputs (presentations x inputs).
    pub fn predict(&self, inputs: &[f32]) -> Result<Vec<f32>> {
        self.check_inputs(inputs)?;
        Ok(self.scores(&self.run(inputs, false)))
    }

    fn scores(&self, activities: &[Activity]) -> Vec<f32> {
        scores(&self.layers[self.hidden()], &activities[activities.len() - 1].rate)
    }

    /// Loss and accuracy on all samples, without learning.
    pub fn evaluate(&self, samples: &Samples) -> Result<Outcome> {
        samples.check(self)?;
        let mut total = Outcome::default();
        let all: Vec<u32> = (0..samples.labels.len() as u32).collect();
        for chosen in all.chunks(256) {
            let (inputs, labels) = samples.gather(chosen);
            self.check_labels(&labels, chosen.len())?;
            let activities = self.run(&inputs, false);
            let (_, outcome) = errors(self.scores(&activities), &labels, self.classes());
            total.add(&Outcome { spikes: activities.iter().map(|a| a.spikes.count()).sum(), ..outcome });
        }
        Ok(total)
    }

    /// Learn samples once in the given order, `batch` at a time. `progress` is called after every batch with the sum so far and
    /// may end the run with an error.
    pub fn train(
        &mut self,
        samples: &Samples,
        order: &[u32],
        batch: usize,
        mut protection: Option<&mut dyn Protection>,
        progress: &mut dyn FnMut(&Outcome) -> Result<()>,
    ) -> Result<Outcome> {
        samples.check(self)?;
        if let Some(i) = order.iter().find(|i| **i as usize >= samples.labels.len()) {
            return Err(Error::input(
                format!("sample {i} of {}", samples.labels.len()),
                "give an order of the samples there are",
            ));
        }
        let mut total = Outcome::default();
        for chosen in order.chunks(batch.max(1)) {
            let (inputs, labels) = samples.gather(chosen);
            // The trait object's lifetime is shortened for the call.
            let protection = protection.as_mut().map(|p| &mut **p as &mut dyn Protection);
            total.add(&self.learn(&inputs, &labels, protection)?);
            progress(&total)?;
        }
        Ok(total)
    }

    /// One step on one batch: `inputs` presentations x inputs, a label each. The outcome is that before the step.
    pub fn learn(&mut self, inputs: &[f32], labels: &[u8], protection: Option<&mut dyn Protection>) -> Result<Outcome> {
        self.learn_from(inputs, labels, None, protection)
    }

    /// The same beside a teacher, whose answers to the inputs are kept as well.
    pub fn learn_from(
        &mut self,
        inputs: &[f32],
        labels: &[u8],
        teacher: Option<&Teacher>,
        mut protection: Option<&mut dyn Protection>,
    ) -> Result<Outcome> {
        let (outcome, factors, local) = self.all_factors(inputs, Wanted::Labels(labels, teacher))?;
        let scale = 1.0 / labels.len() as f32;
        for (l, Factors { d, mut x }) in factors.into_iter().enumerate() {
            let (outputs, inputs) = (self.layers[l].outputs, self.layers[l].inputs);
            if let Some(protection) = &mut protection {
                protection.presynaptic(l, &mut x, inputs);
            }
            let mut step = outer(scale, &d, &x, outputs, inputs);
            self.moments[l].step(&mut step, self.settings.optimiser);
            match &mut protection {
                Some(protection) => protection.apply(l, &mut self.layers[l], &step),
                None => add(&mut self.layers[l].weight, &step),
            }
            finite(&self.layers[l], l)?;
        }
        for (l, Factors { d, x }) in local.into_iter().enumerate() {
            let readout = &mut self.readouts[l];
            let mut step = outer(scale, &d, &x, readout.outputs, readout.inputs);
            self.readout_moments[l].step(&mut step, self.settings.optimiser);
            add(&mut readout.weight, &step);
        }
        Ok(outcome)
    }

    /// The factors of every layer's gradient for a batch (the readout last), and those of the local readouts that learn. The step of
    /// a layer is -rate / presentations * d' x.
    pub fn factors(&self, inputs: &[f32], labels: &[u8]) -> Result<(Outcome, Vec<Factors>, Vec<Factors>)> {
        self.all_factors(inputs, Wanted::Labels(labels, None))
    }

    fn all_factors(&self, inputs: &[f32], wanted: Wanted) -> Result<(Outcome, Vec<Factors>, Vec<Factors>)> {
        self.check_inputs(inputs)?;
        let presentations = inputs.len() / self.settings.sizes[0];
        if let Wanted::Labels(labels, _) = wanted {
            self.check_labels(labels, presentations)?;
        }
        let taught = match wanted {
            Wanted::Labels(_, Some(teacher)) => Some((teacher, teacher.network.predict(inputs)?)),
            _ => None,
        };
        let classes = self.classes();
        let errors = |scores: Vec<f32>| match wanted {
            Wanted::Norm => (scores.into_iter().map(|s| 2.0 * s).collect(), Outcome { presentations, ..Outcome::default() }),
            Wanted::Labels(labels, _) => {
                let own = taught.as_ref().map(|_| scores.clone());
                let (mut error, outcome) = errors(scores, labels, classes);
                if let (Some((teacher, told)), Some(own)) = (&taught, own) {
                    teacher.add(&mut error, &own, told, classes);
                }
                (error, outcome)
            }
        };
        let step_wise = self.settings.eligibility == Eligibility::Step;
        let hidden = self.hidden();
        let activities = self.run(inputs, step_wise);
        let (error, outcome) = errors(self.scores(&activities));
        let mut local = vec![];
        // Learning signals, presentations x neurons.
        let signals: Vec<Vec<f32>> = match self.settings.signal {
            Signal::Broadcast => self.feedback.iter().map(|b| times_transposed(&error, &b.weight, classes, b.outputs)).collect(),
            Signal::Symmetric => {
                let mut signals: Vec<Vec<f32>> = vec![];
                for layer in self.layers[1..].iter().rev() {
                    let above = signals.last().unwrap_or(&error);
                    signals.push(times(above, &layer.weight, layer.outputs, layer.inputs));
                }
                signals.reverse();
                signals
            }
            Signal::LocalReadouts { trained } => {
                let mut signals: Vec<Vec<f32>> = vec![];
                for (readout, activity) in self.readouts.iter().zip(&activities) {
                    let (error, _) = errors(scores(readout, &activity.rate));
                    signals.push(times(&error, &readout.weight, classes, readout.inputs));
                    if trained {
                        local.push(Factors { d: error, x: activity.rate.clone() });
                    }
                }
                signals.push(times(&error, &self.layers[hidden].weight, classes, self.layers[hidden].inputs));
                signals
            }
        };
        let mut factors: Vec<Factors> = signals
            .into_iter()
            .enumerate()
            .map(|(l, signal)| Factors {
                d: if step_wise { self.spread(l, &signal, &activities[l]) } else { at_the_end(signal, &activities[l]) },
                x: if l == 0 { inputs.to_vec() } else { self.trace(&activities[l - 1], self.settings.eligibility) },
            })
            .collect();
        factors.push(Factors { d: error, x: activities[hidden - 1].rate.clone() });
        let spikes = activities.iter().map(|a| a.spikes.count()).sum();
        Ok((Outcome { spikes, ..outcome }, factors, local))
    }

    /// Postsynaptic factors of every step; for the constant inputs, of all steps.
    fn spread(&self, l: usize, signal: &[f32], activity: &Activity) -> Vec<f32> {
        spread(self.settings.steps, self.settings.leak, self.layers[l].outputs, l == 0, signal, &activity.slope)
    }

    fn trace(&self, below: &Activity, eligibility: Eligibility) -> Vec<f32> {
        match eligibility {
            Eligibility::Presentation => below.rate.clone(),
            Eligibility::Step => below.spikes.traces(self.settings.leak),
        }
    }

    /// Presynaptic factors of a layer for some inputs (rows x the layer's inputs), as rates at the end of presentations or as traces of
    /// every step (for the first layer the inputs, for the readout always rates): what a [`Protection`] learns its old inputs from.
    pub fn presynaptic(&self, layer: usize, inputs: &[f32], eligibility: Eligibility) -> Result<Vec<f32>> {
        self.check_inputs(inputs)?;
        if layer == 0 {
            return Ok(inputs.to_vec());
        }
        if layer > self.hidden() {
            return Err(Error::input(format!("layer {layer} of {}", self.layers.len()), "count layers from 0"));
        }
        let activities = self.run(inputs, false);
        let eligibility = if layer == self.hidden() { Eligibility::Presentation } else { eligibility };
        Ok(self.trace(&activities[layer - 1], eligibility))
    }

    /// Fisher diagonal of every layer (outputs x inputs), the readout last, from the rule's own gradients: mean over presentations and
    /// labels of (d' x)², with labels as `kind` says. For the readout it is the Fisher information of the scores; below, that of
    /// what the rule takes for their gradient.
    pub fn fisher(&self, kind: Fisher, inputs: &[f32], labels: &[u8]) -> Result<Vec<Vec<f32>>> {
        self.check_inputs(inputs)?;
        let (size, classes) = (self.settings.sizes[0], self.classes());
        let presentations = inputs.len() / size;
        self.check_labels(labels, presentations)?;
        let mut sums: Vec<Vec<f32>> = self.layers.iter().map(|l| vec![0.0; l.weight.len()]).collect();
        for (piece, (inputs, labels)) in inputs.chunks(size * PIECE_OF_FISHER).zip(labels.chunks(PIECE_OF_FISHER)).enumerate() {
            let mut scores = self.predict(inputs)?;
            for row in scores.chunks_exact_mut(classes) {
                softmax(row);
            }
            let draws: Vec<Vec<(usize, f64)>> = scores
                .chunks_exact(classes)
                .zip(labels)
                .enumerate()
                .map(|(i, (row, &label))| kind.classes(piece * PIECE_OF_FISHER + i, row, label as usize))
                .collect();
            // One label of every presentation at a time.
            for turn in 0..draws.iter().map(Vec::len).max().unwrap_or(0) {
                let (chosen, weight): (Vec<u8>, Vec<f32>) =
                    draws.iter().map(|d| d.get(turn).map_or((0, 0.0), |(class, p)| (*class as u8, *p as f32))).unzip();
                let (_, factors, _) = self.factors(inputs, &chosen)?;
                for (sum, (layer, factors)) in sums.iter_mut().zip(self.layers.iter().zip(factors)) {
                    add(sum, &squares(&factors, layer, &weight, presentations));
                }
            }
        }
        Ok(sums)
    }

    /// How much the squared norm of the scores depends on each weight (outputs x inputs, the readout last): mean over presentations of
    /// |d' x|, by the rule's own signals (memory aware synapses, Aljundi et al. 2018, eq. 2).
    pub fn sensitivity(&self, inputs: &[f32]) -> Result<Vec<Vec<f32>>> {
        self.check_inputs(inputs)?;
        let size = self.settings.sizes[0];
        let presentations = inputs.len() / size;
        let mut sums: Vec<Vec<f32>> = self.layers.iter().map(|l| vec![0.0; l.weight.len()]).collect();
        for inputs in inputs.chunks(size * PIECE_OF_FISHER) {
            let some = inputs.len() / size;
            let (_, factors, _) = self.all_factors(inputs, Wanted::Norm)?;
            for (sum, (layer, factors)) in sums.iter_mut().zip(self.layers.iter().zip(factors)) {
                let rows = factors.d.len() / layer.outputs / some;
                let each = factors.d.chunks_exact(rows * layer.outputs).zip(factors.x.chunks_exact(rows * layer.inputs));
                for (d, x) in each {
                    let mut own = outer(1.0 / presentations as f32, d, x, layer.outputs, layer.inputs);
                    own.iter_mut().for_each(|g| *g = g.abs());
                    add(sum, &own);
                }
            }
        }
        Ok(sums)
    }

    /// A task has ended: show the protection the presynaptic factors of `inputs` and forget momentum.
    pub fn end_task(&mut self, inputs: &[f32], protection: &mut dyn Protection) -> Result<()> {
        self.check_inputs(inputs)?;
        let eligibility = self.settings.eligibility;
        let mut samples = |layer: usize| self.presynaptic(layer, inputs, eligibility).unwrap_or_default();
        protection.end_of_task(&self.layers, &mut samples)?;
        self.reset_optimiser();
        Ok(())
    }

    /// Weights, local readouts, what the optimiser remembers and its present rate. Settings and fixed feedback stay outside: they are
    /// given again to [`Network::new`].
    pub fn state(&self) -> State {
        let mut state = State::default();
        for (name, layers, moments) in
            [("layer", &self.layers, &self.moments), ("readout", &self.readouts, &self.readout_moments)]
        {
            for (l, (layer, m)) in layers.iter().zip(moments).enumerate() {
                state.put(format!("{name}.{l}.weight"), &[layer.outputs, layer.inputs], &layer.weight);
                state.put_part(&format!("{name}.{l}"), m.state());
            }
        }
        state.put("rate", &[1], &[self.settings.optimiser.rate()]);
        state
    }

    /// Take back what [`Network::state`] gave, into a network of the same settings: it goes on bit for bit. Refused where an array is
    /// missing, of another size or not finite; then nothing has changed.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let read = |name: &str, layers: &[Layer]| -> Result<(Vec<Layer>, Vec<Moments>)> {
            let mut all = (vec![], vec![]);
            for (l, layer) in layers.iter().enumerate() {
                let part = state.part(&format!("{name}.{l}"));
                let n = layer.weight.len();
                all.0.push(Layer { weight: part.get("weight", n)?.to_vec(), ..layer.clone() });
                all.1.push(Moments::restored(&part, n)?);
            }
            Ok(all)
        };
        let (layers, readouts) = (read("layer", &self.layers)?, read("readout", &self.readouts)?);
        let rate = state.get::<f32>("rate", 1)?[0];
        self.set_rate(rate);
        (self.layers, self.moments) = layers;
        (self.readouts, self.readout_moments) = readouts;
        Ok(())
    }

    fn classes(&self) -> usize {
        self.layers[self.hidden()].outputs
    }

    fn check_inputs(&self, inputs: &[f32]) -> Result<()> {
        let size = self.settings.sizes[0];
        if inputs.is_empty() || inputs.len() % size != 0 {
            let message = format!("{} values are no presentations of {size} inputs", inputs.len());
            return Err(Error::input(message, "give whole presentations, at least one"));
        }
        match inputs.iter().position(|x| !x.is_finite()) {
            Some(i) => {
                Err(Error::input(format!("input {} of presentation {} is {}", i % size, i / size, inputs[i]), "give numbers"))
            }
            None => Ok(()),
        }
    }

    fn check_labels(&self, labels: &[u8], presentations: usize) -> Result<()> {
        if labels.len() != presentations {
            return Err(Error::input(
                format!("{} labels for {presentations} presentations", labels.len()),
                "give one label each",
            ));
        }
        match labels.iter().position(|l| *l as usize >= self.classes()) {
            Some(i) => {
                let message = format!("label {} of presentation {i} is none of {} classes", labels[i], self.classes());
                Err(Error::input(message, "set the last of sizes to the number of classes"))
            }
            None => Ok(()),
        }
    }
}

/// Normal weights, each row from its own stream.
fn random(seed: u64, owner: u32, inputs: usize, outputs: usize, deviation: f32) -> Layer {
    let mut weight = vec![0.0; inputs * outputs];
    weight.par_chunks_mut(inputs).enumerate().for_each(|(o, row)| {
        let mut stream = Stream::new(key(seed, owner), Purpose::Weight, o as u32, 0);
        row.iter_mut().for_each(|w| *w = deviation * stream.normal() as f32);
    });
    Layer { inputs, outputs, weight }
}

fn scores(readout: &Layer, rate: &[f32]) -> Vec<f32> {
    times_transposed(rate, &readout.weight, readout.inputs, readout.outputs)
}

/// Postsynaptic factors of `n` neurons: kernel(t) * slope(t) * signal, step by step; or their `sums`, each with the rise of a constant
/// input's trace up to its step. `signal` is presentations x neurons, `slope` presentations x steps x neurons.
pub(crate) fn spread(steps: usize, leak: f32, n: usize, sums: bool, signal: &[f32], slope: &[f32]) -> Vec<f32> {
    let (kernel, _) = kernel(steps, leak);
    let mut d = vec![0.0; if sums { signal.len() } else { slope.len() }];
    let rows = if sums { 1 } else { steps };
    d.par_chunks_mut(rows * n).enumerate().for_each(|(b, d)| {
        for (t, k) in kernel.iter().enumerate() {
            let rise = if sums { 1.0 - leak.powi(t as i32 + 1) } else { 1.0 };
            let row = &mut d[t % rows * n..][..n];
            let slope = &slope[(b * steps + t) * n..][..n];
            for ((d, slope), signal) in row.iter_mut().zip(slope).zip(&signal[b * n..]) {
                *d += k * rise * slope * signal;
            }
        }
    });
    d
}

/// Softmax minus the label's one, in place of the scores; loss and hits.
pub(crate) fn errors(mut scores: Vec<f32>, labels: &[u8], classes: usize) -> (Vec<f32>, Outcome) {
    let mut outcome = Outcome { presentations: labels.len(), ..Outcome::default() };
    for (row, &label) in scores.chunks_exact_mut(classes).zip(labels) {
        let label = label as usize;
        let top = row.iter().fold(f32::NEG_INFINITY, |top, s| top.max(*s));
        // A tie counts for the first of the equal classes.
        outcome.correct += (row.iter().position(|s| *s == top) == Some(label)) as usize;
        let own = row[label];
        outcome.loss += (softmax(row) - own) as f64;
        row[label] -= 1.0;
    }
    (scores, outcome)
}

/// Probabilities in place of scores; the logarithm of the sum of the scores' exponentials.
pub(crate) fn softmax(scores: &mut [f32]) -> f32 {
    let top = scores.iter().fold(f32::NEG_INFINITY, |top, s| top.max(*s));
    scores.iter_mut().for_each(|s| *s = (*s - top).exp());
    let sum: f32 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
    sum.ln() + top
}

/// Presentations whose squared gradients are summed at a time.
const PIECE_OF_FISHER: usize = 256;

/// Sum over presentations of weight / count * (d' x)², each presentation's rows taken together.
fn squares(factors: &Factors, layer: &Layer, weight: &[f32], count: usize) -> Vec<f32> {
    let Layer { inputs, outputs, .. } = *layer;
    let square = |v: &[f32]| v.iter().map(|v| v * v).collect::<Vec<f32>>();
    if factors.d.len() == weight.len() * outputs {
        let mut d = square(&factors.d);
        d.chunks_exact_mut(outputs).zip(weight).for_each(|(d, w)| d.iter_mut().for_each(|d| *d *= w));
        return outer(1.0 / count as f32, &d, &square(&factors.x), outputs, inputs);
    }
    let rows = factors.d.len() / outputs / weight.len();
    let mut sum = vec![0.0; outputs * inputs];
    let each = factors.d.chunks_exact(rows * outputs).zip(factors.x.chunks_exact(rows * inputs));
    for ((d, x), weight) in each.zip(weight).filter(|(_, w)| **w > 0.0) {
        let mut own = outer(1.0, d, x, outputs, inputs);
        own.iter_mut().for_each(|g| *g = weight / count as f32 * *g * *g);
        add(&mut sum, &own);
    }
    sum
}

/// Signal times the derivative of clamp(drive, 0, 1).
pub(crate) fn at_the_end(mut signal: Vec<f32>, activity: &Activity) -> Vec<f32> {
    signal.iter_mut().zip(&activity.drive).for_each(|(s, u)| *s *= (*u > 0.0 && *u < 1.0) as u8 as f32);
    signal
}

fn add(weights: &mut [f32], step: &[f32]) {
    weights.par_chunks_mut(PIECE).zip(step.par_chunks(PIECE)).for_each(|(w, s)| w.iter_mut().zip(s).for_each(|(w, s)| *w += s));
}

fn finite(layer: &Layer, l: usize) -> Result<()> {
    // As integers, magnitudes are ordered and everything not finite is at least infinity.
    let sound = |w: &[f32]| w.iter().fold(0, |top, w| top.max(w.to_bits() & !(1 << 31))) < f32::INFINITY.to_bits();
    if layer.weight.par_chunks(PIECE).all(sound) {
        return Ok(());
    }
    layer.check_finite(&format!("layer {l}"))
}

impl Moments {
    /// As named arrays.
    pub(crate) fn state(&self) -> State {
        let mut state = State::default();
        state.put("first", &[self.first.len()], &self.first);
        state.put("second", &[self.second.len()], &self.second);
        state.put("steps", &[1], &[self.steps as u64]);
        state
    }

    /// Those of a matrix of `count` weights; empty ones have not stepped yet.
    pub(crate) fn restored(state: &State, count: usize) -> Result<Moments> {
        let moment = |name: &str| match state.any::<f32>(name)? {
            [] => Ok(vec![]),
            _ => state.get(name, count).map(<[f32]>::to_vec),
        };
        let steps = state.get::<u64>("steps", 1)?[0] as i32;
        Ok(Moments { first: moment("first")?, second: moment("second")?, steps })
    }

    /// A gradient becomes a step.
    pub(crate) fn step(&mut self, gradient: &mut [f32], optimiser: Optimiser) {
        self.first.resize(gradient.len(), 0.0);
        match optimiser {
            Optimiser::Sgd { rate, momentum } => {
                gradient.par_chunks_mut(PIECE).zip(self.first.par_chunks_mut(PIECE)).for_each(|(gradient, first)| {
                    for (g, m) in gradient.iter_mut().zip(first) {
                        *m = flush(momentum * *m + *g);
                        *g = -rate * *m;
                    }
                });
            }
            Optimiser::Adam { rate } => {
                self.second.resize(gradient.len(), 0.0);
                self.steps = self.steps.saturating_add(1);
                let (a, b) = (1.0 - 0.9f32.powi(self.steps), 1.0 - 0.999f32.powi(self.steps));
                let moments = self.first.par_chunks_mut(PIECE).zip(self.second.par_chunks_mut(PIECE));
                gradient.par_chunks_mut(PIECE).zip(moments).for_each(|(gradient, (first, second))| {
                    for ((g, m), v) in gradient.iter_mut().zip(first).zip(second) {
                        *m = flush(*m + 0.1 * (*g - *m));
                        *v = flush(*v + 0.001 * (*g * *g - *v));
                        *g = -rate * (*m / a) / ((*v / b).sqrt() + 1e-8);
                    }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
