//! Predictive coding in spikes: every layer predicts the state of the next one, error units hold what the prediction missed, and both
//! tell others only when their value has moved, by a spike of either sign. States settle between what is predicted from below and what
//! would explain the error above; then each synapse changes by its error unit times its presynaptic rate. Promises the same weights at
//! any number of threads. Knows no task and no file.
//!
//! Energy and relaxation: Rao & Ballard (1999, doi 10.1038/4580), Whittington & Bogacz (2017, doi 10.1162/NECO_a_00949); ternary spikes
//! on change with a falling threshold: DiffPC (ICLR 2026, OpenReview iu9dbz2lB9). With states x, rates r = max(x, 0), thresholds th_t:
//!
//! ```text
//! mu_l = W_l r_(l-1) + b_l        e_l = x_l - mu_l        e_L = y - softmax(mu_L)
//! relax:  x_l += g (-e_l + [x_l > 0] W_(l+1)' e_(l+1))    learn:  dW_l ~ e_l r_(l-1)'
//! tell:   where |v - told| >= th_t a spike of sign(v - told), and told += th_t * sign
//! ```

use super::Layer;
use super::local::{Moments, Optimiser, Outcome, errors as misses, outer, times, times_transposed};
use super::state::State;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};

/// Owner of the random numbers of first weights.
const WEIGHTS: u32 = 12 << 16;
/// First weights of the readout, as a part of the usual ones.
const READOUT: f32 = 0.3;
/// A bias moves by its rate times this mean error, at most by its rate.
const BIAS: f32 = 10.0;

/// Sizes and dynamics. [`Options::new`] gives all but the sizes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Inputs, hidden layers, classes: at least one hidden layer.
    pub sizes: Vec<usize>,
    /// Steps in which a layer tells its rates, and of relaxation.
    pub steps: usize,
    /// Part of the way that a state goes in a step of relaxation.
    pub gain: f32,
    /// First and last threshold of rates; they fall geometrically between.
    pub thresholds: [f32; 2],
    /// Thresholds of errors, as a part of those of rates.
    pub errors: f32,
    /// What turns steps into changes.
    pub optimiser: Optimiser,
    /// Of the first weights.
    pub seed: u64,
}

impl Options {
    /// 8 steps, thresholds from 0.5 to 0.01, Adam with 1e-3.
    pub fn new(sizes: Vec<usize>, seed: u64) -> Options {
        Options {
            sizes,
            steps: 8,
            gain: 0.3,
            thresholds: [0.5, 0.01],
            errors: 0.5,
            optimiser: Optimiser::Adam { rate: 1e-3 },
            seed,
        }
    }

    /// Refuses what cannot settle.
    ///
    /// # Errors
    /// No hidden layer, sizes of 0, fewer steps than layers, thresholds that do not fall or are not above 0.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String, remedy: &str| Err(Error::input(what, remedy));
        if self.sizes.len() < 3 || self.sizes.contains(&0) || self.sizes[self.sizes.len() - 1] > 256 {
            return refuse(format!("sizes {:?} are no network", self.sizes), "give inputs, hidden layers and 1 to 256 classes");
        }
        if self.steps < self.sizes.len() - 1 {
            return refuse(
                format!("{} steps for {} layers", self.steps, self.sizes.len() - 1),
                "an error needs a step a layer to reach the input: set steps higher",
            );
        }
        let [first, last] = self.thresholds;
        if !(last > 0.0 && first >= last && first.is_finite()) {
            return refuse(format!("thresholds {first} to {last}"), "let thresholds fall, above 0: thresholds = [0.5, 0.01]");
        }
        if !(self.gain > 0.0 && self.gain <= 1.0 && self.errors > 0.0 && self.errors.is_finite()) {
            return refuse(
                format!("gain {}, errors {}", self.gain, self.errors),
                "set gain above 0 and at most 1, errors above 0",
            );
        }
        Ok(())
    }

    /// Of every step.
    fn falling(&self) -> Vec<f32> {
        let [first, last] = self.thresholds;
        let ratio = last / first;
        (0..self.steps).map(|t| first * ratio.powf(t as f32 / (self.steps.max(2) - 1) as f32)).collect()
    }
}

/// What units have told, and the spikes that it took.
#[derive(Clone, Debug)]
struct Told {
    value: Vec<f32>,
    spikes: u64,
}

impl Told {
    fn new(count: usize) -> Told {
        Told { value: vec![0.0; count], spikes: 0 }
    }

    /// Units whose value has moved by the threshold tell it.
    fn tell(&mut self, values: &[f32], threshold: f32) {
        for (told, value) in self.value.iter_mut().zip(values) {
            let away = value - *told;
            if away.abs() >= threshold {
                *told += threshold.copysign(away);
                self.spikes += 1;
            }
        }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct Coder {
    options: Options,
    layers: Vec<Layer>,
    bias: Vec<Vec<f32>>,
    moments: Vec<Moments>,
    /// Largest rate that is to be told: thresholds grow with it, so that they add up to it.
    range: f32,
    /// Images learned, spikes of rates and of errors meanwhile.
    shown: u64,
    spikes: [u64; 2],
}

impl Coder {
    /// A network that has seen nothing.
    ///
    /// # Errors
    /// What [`Options::check`] refuses.
    pub fn new(options: Options) -> Result<Coder> {
        options.check()?;
        let last = options.sizes.len() - 2;
        let layer = |(l, ends): (usize, &[usize])| {
            let deviation = (2.0 / ends[0] as f64).sqrt() * if l == last { READOUT as f64 } else { 1.0 };
            let mut random = Stream::new(key(options.seed, WEIGHTS + l as u32), Purpose::Weight, 0, 0);
            let weight = (0..ends[0] * ends[1]).map(|_| (random.normal() * deviation) as f32).collect();
            Layer { inputs: ends[0], outputs: ends[1], weight }
        };
        let layers: Vec<Layer> = options.sizes.windows(2).enumerate().map(layer).collect();
        let bias = layers.iter().map(|l| vec![0.0; l.outputs]).collect();
        let moments = vec![Moments::default(); layers.len()];
        let range = options.falling().iter().sum();
        Ok(Coder { options, layers, bias, moments, range, shown: 0, spikes: [0; 2] })
    }

    /// Change the learning rate from the next batch on.
    pub fn set_rate(&mut self, new: f32) {
        match &mut self.options.optimiser {
            Optimiser::Sgd { rate, .. } | Optimiser::Adam { rate } => *rate = new,
        }
    }

    /// One step on one batch: `inputs` presentations x inputs, a label each. The outcome is that before the step.
    ///
    /// # Errors
    /// A weight that is not a number any more, named; a rate that spikes can no longer tell.
    pub fn learn(&mut self, inputs: &[f32], labels: &[u8]) -> Result<Outcome> {
        let thresholds = self.thresholds();
        let (least, part) = (thresholds[thresholds.len() - 1], self.options.errors);
        let (mut rates, mut states) = self.sweep(inputs, &thresholds);
        let (batch, hidden, gain) = (labels.len(), rates.len(), self.options.gain);
        let classes = self.layers[hidden].outputs;
        let below = self.predict_layer(0, inputs);
        let (_, outcome) = misses(self.predict_layer(hidden, &rates[hidden - 1].value), labels, classes);
        // Errors as they are told: of hidden layers from the second on, and of the readout.
        let mut errors: Vec<Told> = self.layers[1..].iter().map(|l| Told::new(batch * l.outputs)).collect();
        for threshold in &thresholds {
            let mut held: Vec<Vec<f32>> = vec![];
            for l in 0..hidden {
                let own = if l == 0 { below.clone() } else { self.predict_layer(l, &rates[l - 1].value) };
                held.push(states[l].iter().zip(&own).map(|(x, mu)| x - mu).collect());
            }
            let (mut top, _) = misses(self.predict_layer(hidden, &rates[hidden - 1].value), labels, classes);
            top.iter_mut().for_each(|e| *e = -*e);
            for (l, told) in errors.iter_mut().enumerate() {
                told.tell(if l + 1 < hidden { &held[l + 1] } else { &top }, part * threshold);
            }
            for l in 0..hidden {
                let above = &self.layers[l + 1];
                let back = times(&errors[l].value, &above.weight, above.outputs, above.inputs);
                for ((x, e), b) in states[l].iter_mut().zip(&held[l]).zip(&back) {
                    *x += gain * (if *x > 0.0 { *b } else { 0.0 } - e);
                }
                let moved: Vec<f32> = states[l].iter().map(|x| x.max(0.0)).collect();
                rates[l].tell(&moved, least);
            }
        }
        for l in 0..=hidden {
            let (error, from) = match l {
                0 => (states[0].iter().zip(&below).map(|(x, mu)| x - mu).collect(), inputs),
                l if l < hidden => {
                    let own = self.predict_layer(l, &rates[l - 1].value);
                    (states[l].iter().zip(&own).map(|(x, mu)| x - mu).collect::<Vec<f32>>(), &rates[l - 1].value[..])
                }
                _ => (errors[hidden - 1].value.clone(), &rates[hidden - 1].value[..]),
            };
            let layer = &mut self.layers[l];
            let mut step = outer(-1.0 / batch as f32, &error, from, layer.outputs, layer.inputs);
            self.moments[l].step(&mut step, self.options.optimiser);
            layer.add(&step);
            layer.check_finite(&format!("layer {l}"))?;
            let rate = self.options.optimiser.rate();
            for (o, b) in self.bias[l].iter_mut().enumerate() {
                let mean = error.iter().skip(o).step_by(layer.outputs).sum::<f32>() / batch as f32;
                *b += rate * (BIAS * mean).clamp(-1.0, 1.0);
            }
        }
        let spikes = [rates.iter().map(|r| r.spikes).sum::<u64>(), errors.iter().map(|e| e.spikes).sum()];
        self.spikes = [self.spikes[0] + spikes[0], self.spikes[1] + spikes[1]];
        self.shown += batch as u64;
        self.range = states.iter().flatten().fold(self.range, |most, x| most.max(*x));
        Ok(Outcome { spikes: spikes[0] + spikes[1], ..outcome })
    }

    /// Class scores (presentations x classes) by one sweep of spikes, and those spikes.
    pub fn predict(&self, inputs: &[f32]) -> (Vec<f32>, u64) {
        let (rates, _) = self.sweep(inputs, &self.thresholds());
        let hidden = rates.len();
        (self.predict_layer(hidden, &rates[hidden - 1].value), rates.iter().map(|r| r.spikes).sum())
    }

    /// Spikes a rate unit and an error unit for each image learned.
    pub fn spikes(&self) -> [f64; 2] {
        let sizes = &self.options.sizes;
        let hidden: usize = sizes[1..sizes.len() - 1].iter().sum();
        let errors = hidden - sizes[1] + sizes[sizes.len() - 1];
        let shown = self.shown.max(1) as f64;
        [self.spikes[0] as f64 / shown / hidden as f64, self.spikes[1] as f64 / shown / errors as f64]
    }

    /// A task has ended: momentum is forgotten.
    pub fn end_task(&mut self) {
        self.moments.iter_mut().for_each(|m| *m = Moments::default());
    }

    /// Everything that changes, as named arrays.
    pub fn state(&self) -> State {
        let mut state = State::default();
        for (l, layer) in self.layers.iter().enumerate() {
            state.put(format!("layer.{l}.weight"), &[layer.outputs, layer.inputs], &layer.weight);
            state.put(format!("layer.{l}.bias"), &[layer.outputs], &self.bias[l]);
            state.put_part(&format!("layer.{l}.moments"), self.moments[l].state());
        }
        state.put("range", &[1], &[self.range]);
        state.put("shown", &[3], &[self.shown, self.spikes[0], self.spikes[1]]);
        state
    }

    /// Takes back what [`Coder::state`] gave.
    ///
    /// # Errors
    /// Arrays that are missing, of another size or not finite; then nothing has changed.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let mut new = self.clone();
        for (l, layer) in new.layers.iter_mut().enumerate() {
            let part = state.part(&format!("layer.{l}"));
            layer.weight = part.get("weight", layer.weight.len())?.to_vec();
            new.bias[l] = part.get("bias", layer.outputs)?.to_vec();
            new.moments[l] = Moments::restored(&part.part("moments"), layer.weight.len())?;
        }
        new.range = state.get::<f32>("range", 1)?[0];
        let shown = state.get::<u64>("shown", 3)?;
        (new.shown, new.spikes) = (shown[0], [shown[1], shown[2]]);
        *self = new;
        Ok(())
    }

    /// Thresholds that add up to the largest rate.
    fn thresholds(&self) -> Vec<f32> {
        let all = self.options.falling();
        let scale = (self.range / all.iter().sum::<f32>()).max(1.0);
        all.into_iter().map(|th| th * scale).collect()
    }

    fn predict_layer(&self, l: usize, rates: &[f32]) -> Vec<f32> {
        let layer = &self.layers[l];
        let mut mu = times_transposed(rates, &layer.weight, layer.inputs, layer.outputs);
        mu.chunks_exact_mut(layer.outputs).for_each(|row| row.iter_mut().zip(&self.bias[l]).for_each(|(m, b)| *m += b));
        mu
    }

    /// From the input up, each hidden layer tells its rates in turn: what was told, and the states.
    fn sweep(&self, inputs: &[f32], thresholds: &[f32]) -> (Vec<Told>, Vec<Vec<f32>>) {
        let (mut rates, mut states): (Vec<Told>, Vec<Vec<f32>>) = (vec![], vec![]);
        for l in 0..self.layers.len() - 1 {
            let state = self.predict_layer(l, rates.last().map_or(inputs, |r| &r.value));
            let rate: Vec<f32> = state.iter().map(|x| x.max(0.0)).collect();
            let mut told = Told::new(rate.len());
            thresholds.iter().for_each(|th| told.tell(&rate, *th));
            rates.push(told);
            states.push(state);
        }
        (rates, states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes of noisy patterns.
    fn images(seed: u32, count: usize) -> (Vec<f32>, Vec<u8>) {
        let labels: Vec<u8> = (0..count).map(|i| (i % 5) as u8).collect();
        let mut noise = Stream::new(key(2, seed), Purpose::Encoder, 0, 0);
        let pattern = |l: &u8| {
            let mut own = Stream::new(key(2, 1000), Purpose::Encoder, *l as u32, 0);
            (0..50).map(|_| own.uniform()).collect::<Vec<f64>>()
        };
        let image = |l: &u8| pattern(l).into_iter().map(|p| (0.5 * p + 0.5 * noise.uniform()) as f32).collect::<Vec<f32>>();
        (labels.iter().flat_map(image).collect(), labels)
    }

    #[test]
    fn what_is_told_comes_within_the_last_threshold() {
        let options = Options::new(vec![4, 3, 2], 1);
        let thresholds = options.falling();
        assert_eq!((thresholds[0], thresholds.len()), (0.5, 8));
        assert!((thresholds[7] - 0.01).abs() < 1e-7);
        let values: Vec<f32> = (0..=100).map(|i| i as f32 * 0.01).collect();
        let mut told = Told::new(values.len());
        thresholds.iter().for_each(|th| told.tell(&values, *th));
        // Each threshold is smaller than the sum of those after it, so that what is left is below the largest gap.
        let worst = values.iter().zip(&told.value).fold(0.0f32, |worst, (v, t)| worst.max((v - t).abs()));
        assert!(worst < 0.13, "{worst}");
        assert_eq!(told.value[0], 0.0);
        // Values that do not move cost nothing more.
        let before = told.spikes;
        let still = told.value.clone();
        told.tell(&still, 0.01);
        assert_eq!(told.spikes, before);
    }

    #[test]
    fn relaxed_errors_point_along_the_gradient() {
        // With fine thresholds and one small step of relaxation, the step of every layer is the gradient of the cross-entropy.
        let options = Options {
            thresholds: [0.01, 1e-6],
            steps: 4000,
            gain: 2e-5,
            errors: 1.0,
            optimiser: Optimiser::Sgd { rate: 1e-3, momentum: 0.0 },
            ..Options::new(vec![6, 5, 4, 3], 3)
        };
        let mut coder = Coder::new(options).unwrap();
        let (inputs, labels): (Vec<f32>, Vec<u8>) = ((0..12).map(|i| (i * 7 % 12) as f32 / 12.0).collect(), vec![2, 0]);
        let loss = |coder: &Coder| {
            let mut x = inputs.clone();
            for l in 0..3 {
                x = coder.predict_layer(l, &x);
                if l < 2 {
                    x.iter_mut().for_each(|x| *x = x.max(0.0));
                }
            }
            misses(x, &labels, 3).1.loss / 2.0
        };
        let before = coder.clone();
        coder.learn(&inputs, &labels).unwrap();
        for l in 0..3 {
            let moved: Vec<f32> = coder.layers[l].weight.iter().zip(&before.layers[l].weight).map(|(a, b)| a - b).collect();
            let gradient: Vec<f32> = (0..moved.len())
                .map(|i| {
                    let at = |h: f32| {
                        let mut copy = before.clone();
                        copy.layers[l].weight[i] += h;
                        loss(&copy)
                    };
                    ((at(1e-3) - at(-1e-3)) / 2e-3) as f32
                })
                .collect();
            let dot: f32 = moved.iter().zip(&gradient).map(|(m, g)| -m * g).sum();
            let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
            let cosine = dot / (length(&moved) * length(&gradient));
            assert!(cosine > 0.95, "layer {l}: {cosine} {moved:?} {gradient:?}");
        }
    }

    #[test]
    fn patterns_are_learned_by_spikes_and_a_restored_network_goes_on() {
        let (x, y) = images(1, 400);
        let make =
            || Coder::new(Options { optimiser: Optimiser::Adam { rate: 3e-3 }, ..Options::new(vec![50, 40, 30, 5], 7) }).unwrap();
        let (mut whole, mut half, mut other) = (make(), make(), make());
        for pass in 0..6 {
            for (batch, (x, y)) in x.chunks(50 * 40).zip(y.chunks(40)).enumerate() {
                whole.learn(x, y).unwrap();
                if (pass, batch) < (2, 5) {
                    half.learn(x, y).unwrap();
                } else {
                    if (pass, batch) == (2, 5) {
                        other.restore(&half.state()).unwrap();
                    }
                    other.learn(x, y).unwrap();
                }
            }
        }
        assert_eq!(other.state(), whole.state());
        let (x, y) = images(2, 200);
        let (scores, spikes) = whole.predict(&x);
        let right = misses(scores, &y, 5).1.correct;
        assert!(right >= 180, "{right} of 200");
        assert!(spikes > 0 && spikes < 200 * 70 * 8);
        let [rates, errors] = whole.spikes();
        assert!(rates > 0.0 && rates < 8.0 && errors > 0.0 && errors < rates, "{rates} {errors}");
    }

    #[test]
    fn what_cannot_settle_is_refused() {
        let message = |change: fn(&mut Options)| {
            let mut options = Options::new(vec![4, 3, 2], 1);
            change(&mut options);
            Coder::new(options).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(message(|o| o.sizes = vec![4, 2]).contains("no network"));
        assert!(message(|o| o.steps = 1).contains("1 steps for 2 layers"));
        assert!(message(|o| o.thresholds = [0.1, 0.5]).contains("0.1 to 0.5"));
        assert!(message(|o| o.gain = f32::NAN).contains("NaN"));
    }
}
