//! Digits learned without labels by spike-timing dependent plasticity (Diehl & Cook 2015, doi 10.3389/fncom.2015.00099): Poisson
//! sources, one a pixel, onto excitatory neurons through plastic synapses; a spike of one of them inhibits all the others, directly
//! or through an inhibitory neuron of its own. Labels only say afterwards which class each neuron stands for. Promises that a stopped run goes on
//! bit for bit, and that what is measured does not depend on the number of threads. Knows engines through their trait; no drawing.

pub mod file;
mod run;

pub use run::{Outcome, Results, Told, run};

use super::data::Wanted;
use crate::error::Result;
use crate::network::{Cell, Draw, Edges, Network, NeuronInstance, Population, Projection, Rule, SynapseInstance, Values};
use crate::scenario::tree::Spot;
use crate::stimulus::SpikeSource;
use std::sync::Arc;

/// Indices of the populations and of the plastic projection in the networks that are built here.
pub const INPUT: usize = 0;
/// Index of the excitatory population, which learns.
pub const EXCITATORY: usize = 1;
/// Index of the projection from the input to the excitatory population.
pub const PLASTIC: usize = 0;

/// What a file of kind "diehl_cook" asks for, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the file calls itself.
    pub title: String,
    /// The paper that the network is from.
    pub citation: String,
    /// The file as named.
    pub name: String,
    /// The file's text.
    pub text: Arc<str>,
    /// `--quick` and `--set`s.
    pub overrides: Vec<String>,
    /// The digits to learn and to test on.
    pub(crate) data: Wanted,
    /// Inputs, excitatory neurons, classes.
    pub sizes: [usize; 3],
    pub(crate) sizes_spot: Spot,
    /// Of everything that is drawn.
    pub seed: u64,
    /// The network that learns, and the same with thresholds that stay.
    pub network: Network,
    /// The network of the test: its thresholds and weights stay.
    pub frozen: Network,
    /// Steps that a digit is shown, and of rest after it.
    pub shown: u64,
    /// Steps of rest after each digit, without input.
    pub rest: u64,
    /// Hz of a white pixel, and how much more at each repetition.
    pub max_rate: f64,
    /// Hz that each repetition adds to `max_rate`.
    pub more: f64,
    /// A digit that fewer spikes answer is shown again, so often at most.
    pub least_spikes: u64,
    /// Repetitions of a digit at most.
    pub repeats: u64,
    /// Sum of the weights onto each neuron before each digit.
    pub normalise: f64,
    /// Digits shown while learning, in the order of the training set, from its start again after its end.
    pub digits: u64,
    /// Weights change while learning; without, the control.
    pub learning: bool,
    /// After so many digits the classes of the neurons are judged anew, and a checkpoint is written.
    pub every: u64,
    /// Digits, the last ones learned, whose answers say which class a neuron stands for.
    pub labelling: usize,
}

/// What makes the network.
pub(crate) struct Parts {
    pub sizes: [usize; 3],
    pub dt: f64,
    pub seed: u64,
    pub excitatory: NeuronInstance,
    /// None: excitatory neurons inhibit each other directly.
    pub inhibitory: Option<NeuronInstance>,
    pub plastic: SynapseInstance,
    pub fixed: SynapseInstance,
    pub initial: Draw,
    /// ms, of every synapse.
    pub delay: f64,
    /// Receptor ports of the excitatory neuron (excitatory, inhibitory) and of the inhibitory one (excitatory).
    pub ports: [usize; 3],
    /// Weights onto the inhibitory neuron and from it.
    pub excite: f64,
    pub inhibit: f64,
}

impl Parts {
    pub fn network(&self, excitatory: NeuronInstance) -> Network {
        let [inputs, n, _] = self.sizes.map(|n| n as u32);
        let population = |name: &str, first, n, cell| Population {
            name: name.into(),
            first,
            n,
            cell,
            positions: None,
            extent: [0.0; 2],
            record_spikes: None,
        };
        let silent =
            SpikeSource::Poisson { rate: Values::Each(vec![0.0; inputs as usize].into()), start: 0.0, stop: f64::INFINITY };
        let mut populations = vec![
            population("input", 0, inputs, Cell::Source(silent)),
            population("excitatory", inputs, n, Cell::Neuron(excitatory)),
        ];
        if let Some(inhibitory) = &self.inhibitory {
            populations.push(population("inhibitory", inputs + n, n, Cell::Neuron(inhibitory.clone())));
        }
        let projection = |source: usize, target: usize, rule, port, weight, synapse: &SynapseInstance| Projection {
            name: format!("{}->{}", populations[source].name, populations[target].name),
            source,
            target,
            rule,
            port: Some(port),
            weight,
            delay: Draw::Constant(self.delay),
            synapse: synapse.clone(),
            autapses: true,
            multapses: true,
            axonal: 0.0,
            modulator: None,
        };
        let [driven, inhibited, relayed] = self.ports;
        let mut projections = vec![projection(INPUT, EXCITATORY, Rule::AllToAll, driven, self.initial.clone(), &self.plastic)];
        let inhibiting = match self.inhibitory {
            None => EXCITATORY,
            Some(_) => {
                let excite = Draw::Constant(self.excite);
                projections.push(projection(EXCITATORY, 2, Rule::OneToOne, relayed, excite, &self.fixed));
                2
            }
        };
        let inhibit = Draw::Constant(-self.inhibit);
        projections.push(projection(inhibiting, EXCITATORY, others(n), inhibited, inhibit, &self.fixed));
        Network {
            dt: self.dt,
            seed: self.seed,
            stimulus_seed: self.seed,
            populations,
            projections,
            drives: vec![],
            probes: vec![],
            modulators: vec![],
            homeostasis: vec![],
        }
    }
}

/// From each of n neurons to all of n others but the one with its own number.
fn others(n: u32) -> Rule {
    let start = (0..=n as u64).map(|i| i * (n as u64 - 1)).collect();
    let target = (0..n).flat_map(|i| (0..n).filter(move |j| *j != i)).collect();
    Rule::Explicit(Arc::new(Edges { start, target, weight: None, delay: None }))
}

/// How often neurons answered the digits of each class.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// classes x neurons
    spikes: Vec<u64>,
    /// Digits of each class.
    digits: Vec<u64>,
    neurons: usize,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(classes: usize, neurons: usize) -> Tally {
        Tally { spikes: vec![0; classes * neurons], digits: vec![0; classes], neurons }
    }

    /// A digit of class `label` was answered by so many spikes of each neuron.
    pub fn add(&mut self, label: u8, answer: &[u32]) {
        let row = label as usize * self.neurons;
        self.spikes[row..row + self.neurons].iter_mut().zip(answer).for_each(|(sum, n)| *sum += *n as u64);
        self.digits[label as usize] += 1;
    }

    /// Spikes of a neuron a digit of a class.
    fn rate(&self, class: usize, neuron: usize) -> f64 {
        self.spikes[class * self.neurons + neuron] as f64 / self.digits[class].max(1) as f64
    }

    /// Gives every neuron the class that it answered most, and the share of its answer that this class has.
    pub fn readout(&self) -> Readout {
        let classes = self.digits.len();
        let mut readout = Readout { class: vec![None; self.neurons], share: vec![0.0; self.spikes.len()], classes };
        for neuron in 0..self.neurons {
            let rates: Vec<f64> = (0..classes).map(|c| self.rate(c, neuron)).collect();
            let total: f64 = rates.iter().sum();
            if total > 0.0 {
                readout.class[neuron] = (0..classes).reduce(|best, c| if rates[c] > rates[best] { c } else { best });
                rates.iter().enumerate().for_each(|(c, rate)| readout.share[neuron * classes + c] = rate / total);
            }
        }
        readout
    }
}

/// What neurons stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Readout {
    /// The class that each neuron answered most, a digit; None where it answered none.
    pub class: Vec<Option<usize>>,
    /// neurons x classes: how its answers, a digit of each class, are shared among the classes.
    pub share: Vec<f64>,
    classes: usize,
}

impl Readout {
    /// The class whose neurons spike most on average (the rule of the paper).
    pub fn vote(&self, answer: &[u32]) -> usize {
        let (mut spikes, mut members) = (vec![0.0; self.classes], vec![0.0f64; self.classes]);
        for (class, n) in self.class.iter().zip(answer).filter_map(|(c, n)| c.map(|c| (c, *n))) {
            spikes[class] += n as f64;
            members[class] += 1.0;
        }
        spikes.iter_mut().zip(members).for_each(|(s, m)| *s /= m.max(1.0));
        largest(&spikes)
    }

    /// The class with the largest sum of spikes, each shared among the classes as its neuron's answers are.
    pub fn weighted(&self, answer: &[u32]) -> usize {
        let mut sums = vec![0.0; self.classes];
        for (share, n) in self.share.chunks(self.classes).zip(answer).filter(|(_, n)| **n > 0) {
            sums.iter_mut().zip(share).for_each(|(sum, s)| *sum += *n as f64 * s);
        }
        largest(&sums)
    }
}

fn largest(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// Refuses what cannot be built, with the place of the sizes.
pub(crate) fn check_sizes(sizes: [usize; 3], spot: &Spot) -> Result<()> {
    let [inputs, n, classes] = sizes;
    if n < 2 || inputs == 0 || !(1..=256).contains(&classes) {
        return Err(spot.error(
            format!("a network of {inputs} inputs, {n} neurons and {classes} classes"),
            "give at least 1 input, 2 neurons, 1 to 256 classes: sizes = [784, 400, 10]",
        ));
    }
    if inputs.saturating_mul(n) > 1 << 28 || n.saturating_mul(n) > 1 << 28 {
        return Err(spot.error(format!("{inputs} inputs to {n} neurons are too many synapses"), "write smaller sizes"));
    }
    Ok(())
}
