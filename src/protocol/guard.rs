//! What protects old tasks in a method: made from the file's settings, told about the end of a task, saved, and out of the way while
//! the network is tested. Knows each protection; no data and no files.

use super::Training;
use crate::error::Result;
use crate::learning::cascade::Cascade;
use crate::learning::importance::{self, Fisher, Form, Importance, Kind};
use crate::learning::local::{Network, Optimiser};
use crate::learning::metaplastic::{Binarised, Metaplastic};
use crate::learning::posterior::{self, Gaussian, Posterior};
use crate::learning::projection::{self, Projection};
use crate::learning::state::State;
use crate::learning::{self, Chain, Layer, Protection};

/// A protection as the file describes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Guard {
    /// Steps are kept off the inputs of old tasks.
    Projection(projection::Options),
    /// With `binarised`, the network is shown signs of hidden weights (their start and scale, see [`Binarised`]).
    Metaplasticity {
        /// Strength of consolidation, a number a layer (the last serves the layers above).
        m: Vec<f32>,
        /// Start and scale of the hidden weights; None leaves the weights real.
        binarised: Option<(f32, Vec<f32>)>,
    },
    /// Chains of slower variables behind every weight.
    Cascade {
        /// Variables a chain.
        levels: usize,
        /// How fast they flow, 0 to 1.
        coupling: f32,
    },
    /// Important weights are held or slowed.
    Importance {
        /// Where importance comes from.
        kind: Kind,
        /// Factor on importance (lambda).
        strength: f32,
        /// Held by a penalty, or limited in their steps.
        form: Form,
        /// How a Fisher information is taken, for kinds that use one.
        fisher: Fisher,
    },
    /// `deviation` and `prior` per layer (the last serves the layers above); `observations`: those a step stands for, by default
    /// the batch. The rate and seed of `options` are set when it is made.
    Posterior {
        /// Initial deviation of the weights.
        deviation: Vec<f64>,
        /// Deviation of the prior.
        prior: Vec<f64>,
        /// Observations that a step stands for; None: the batch.
        observations: Option<f64>,
        /// Rule, samples and clipping.
        options: posterior::Options,
    },
}

fn of_layer(values: &[f64], layer: usize) -> f64 {
    values[layer.min(values.len() - 1)]
}

impl Guard {
    /// Make it for a network, whose weights it may change.
    ///
    /// # Errors
    /// Options that do not fit the network: a rank above a layer's inputs, a deviation that is not above 0.
    pub(super) fn make(&self, network: &mut Network, training: &Training, seed: u64) -> Result<Link> {
        // What a lasting gradient moves a weight by, momentum included.
        let rate = match training.optimiser {
            Optimiser::Sgd { rate, momentum } => rate / (1.0 - momentum),
            Optimiser::Adam { rate } => rate,
        };
        Ok(match self {
            Guard::Projection(options) => {
                let inputs: Vec<usize> = network.layers().iter().map(|l| l.inputs).collect();
                Link::Projection(Projection::new(&inputs, options.clone())?)
            }
            Guard::Metaplasticity { m, binarised: None } => Link::Metaplasticity(Metaplastic::new(m.clone())?),
            Guard::Metaplasticity { m, binarised: Some((start, gain)) } => {
                Link::Binarised(Binarised::new(m.clone(), *start, gain, network.layers_mut())?)
            }
            Guard::Cascade { levels, coupling } => Link::Cascade(Cascade::new(*levels, *coupling, network.layers())?),
            Guard::Importance { kind, strength, form, fisher } => {
                let options = importance::Options { strength: *strength, rate, form: *form };
                let fisher = match *fisher {
                    Fisher::Sampled { draws, .. } => Fisher::Sampled { draws, seed },
                    other => other,
                };
                Link::Importance(Importance::new(*kind, options)?, fisher)
            }
            Guard::Posterior { deviation, prior, observations, options } => {
                let gaussian = |(l, layer)| Gaussian::new(layer, of_layer(deviation, l), of_layer(prior, l));
                let layers = network.layers().iter().enumerate().map(gaussian).collect::<Result<Vec<_>>>()?;
                let observations = observations.unwrap_or(training.batch as f64);
                let options =
                    posterior::Options { rate: training.optimiser.rate() as f64, observations, seed, ..options.clone() };
                let posterior = Posterior::new(layers, options)?;
                network.layers_mut().iter_mut().enumerate().for_each(|(l, layer)| posterior.draw(l, layer));
                Link::Posterior(posterior)
            }
        })
    }
}

/// A protection at work.
pub(super) enum Link {
    Projection(Projection),
    Metaplasticity(Metaplastic),
    Binarised(Binarised),
    Cascade(Cascade),
    /// With the labels its Fisher information is taken over.
    Importance(Importance, Fisher),
    Posterior(Posterior),
}

impl Link {
    /// Its key in the file, and the name of its arrays.
    pub fn name(&self) -> &'static str {
        match self {
            Link::Projection(_) => "projection",
            Link::Metaplasticity(_) | Link::Binarised(_) => "metaplasticity",
            Link::Cascade(_) => "cascade",
            Link::Importance(..) => "importance",
            Link::Posterior(_) => "posterior",
        }
    }

    fn own(&self) -> &dyn Protection {
        match self {
            Link::Projection(p) => p,
            Link::Metaplasticity(p) => p,
            Link::Binarised(p) => p,
            Link::Cascade(p) => p,
            Link::Importance(p, _) => p,
            Link::Posterior(p) => p,
        }
    }

    fn own_mut(&mut self) -> &mut dyn Protection {
        match self {
            Link::Projection(p) => p,
            Link::Metaplasticity(p) => p,
            Link::Binarised(p) => p,
            Link::Cascade(p) => p,
            Link::Importance(p, _) => p,
            Link::Posterior(p) => p,
        }
    }
}

impl Protection for Link {
    fn presynaptic(&mut self, layer: usize, x: &mut [f32], inputs: usize) {
        self.own_mut().presynaptic(layer, x, inputs);
    }
    fn step(&mut self, layer: usize, weights: &Layer, step: &mut [f32]) {
        self.own_mut().step(layer, weights, step);
    }
    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]) {
        self.own_mut().apply(layer, weights, step);
    }
    fn links(&mut self, layer: usize) -> Result<Vec<learning::Link<'_>>> {
        self.own_mut().links(layer)
    }
    fn end_of_task(&mut self, layers: &[Layer], samples: &mut dyn FnMut(usize) -> Vec<f32>) -> Result<()> {
        self.own_mut().end_of_task(layers, samples)
    }
    fn state(&self) -> State {
        self.own().state()
    }
    fn restore(&mut self, state: &State) -> Result<()> {
        self.own_mut().restore(state)
    }
    fn bytes(&self) -> usize {
        self.own().bytes()
    }
    fn report(&self) -> Vec<String> {
        self.own().report()
    }
}

/// All that protects a method's network.
pub(super) struct Guards(pub Chain<Link>);

impl Guards {
    pub fn make(guards: &[Guard], network: &mut Network, training: &Training, seed: u64) -> Result<Guards> {
        guards.iter().map(|g| g.make(network, training, seed)).collect::<Result<Vec<_>>>().map(|links| Guards(Chain(links)))
    }

    /// A task has ended: `inputs` and `labels` are some of its images.
    pub fn end_task(&mut self, network: &mut Network, inputs: &[f32], labels: &[u8]) -> Result<()> {
        for link in &mut self.0.0 {
            let Link::Importance(importance, fisher) = link else { continue };
            let given = match importance.kind {
                Kind::Ewc | Kind::OnlineEwc { .. } => network.fisher(*fisher, inputs, labels)?,
                Kind::Mas => network.sensitivity(inputs)?,
                Kind::Si { .. } | Kind::L2 => vec![],
            };
            for (layer, own) in given.into_iter().enumerate() {
                importance.give(layer, own)?;
            }
        }
        network.end_task(inputs, &mut self.0)
    }

    /// What stands between a rule and the weights; None where nothing does.
    pub fn protection(&mut self) -> Option<&mut dyn Protection> {
        if self.0.0.is_empty() { None } else { Some(&mut self.0) }
    }

    pub fn posterior(&self) -> Option<&Posterior> {
        self.0.0.iter().find_map(|link| if let Link::Posterior(p) = link { Some(p) } else { None })
    }

    pub fn projection(&self) -> Option<&Projection> {
        self.0.0.iter().find_map(|link| if let Link::Projection(p) = link { Some(p) } else { None })
    }

    /// The network as it is tested: with the posterior's means, where there is one.
    pub fn settled(&self, network: &Network) -> Network {
        let mut settled = network.clone();
        if let Some(posterior) = self.posterior() {
            settled.layers_mut().iter_mut().enumerate().for_each(|(l, layer)| posterior.mean(l, layer));
        }
        settled
    }

    /// Bytes that they remember.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// What all of them remember, each under its name.
    pub fn state(&self) -> State {
        let mut state = State::default();
        self.0.0.iter().for_each(|link| state.put_part(link.name(), link.state()));
        state
    }

    pub fn restore(&mut self, state: &State) -> Result<()> {
        self.0.0.iter_mut().try_for_each(|link| {
            let part = state.part(link.name());
            link.restore(&part)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::local::Settings;
    use crate::learning::state::Values;

    #[test]
    fn bytes_are_those_of_what_is_remembered() {
        let training =
            Training { optimiser: Optimiser::Sgd { rate: 0.1, momentum: 0.0 }, falling: false, batch: 2, passes: 1, samples: 2 };
        let projection = |method| Guard::Projection(projection::Options::new(method, vec![0.9]));
        let importance = |kind| Guard::Importance { kind, strength: 1.0, form: Form::Penalty, fisher: Fisher::Exact };
        let mut options = posterior::Options::new(posterior::Rule::Bgd { rate: 1.0 }, 1.0);
        options.samples = 2;
        let all = [
            projection(projection::Method::Svd),
            projection(projection::Method::Recursive { mu: 0.1 }),
            Guard::Metaplasticity { m: vec![1.0], binarised: None },
            Guard::Metaplasticity { m: vec![1.0], binarised: Some((1.0, vec![1.0])) },
            Guard::Cascade { levels: 3, coupling: 0.1 },
            importance(Kind::Ewc),
            importance(Kind::Si { damping: 0.1 }),
            Guard::Posterior { deviation: vec![0.1], prior: vec![0.1], observations: None, options },
        ];
        let (inputs, labels): (Vec<f32>, _) = ((0..12).map(|i| (i % 5) as f32 / 5.0).collect(), [2, 0]);
        for guard in all {
            let mut network = Network::new(Settings::new(vec![6, 5, 4, 3], 1)).unwrap();
            let mut guards = Guards::make(std::slice::from_ref(&guard), &mut network, &training, 1).unwrap();
            network.learn(&inputs, &labels, guards.protection()).unwrap();
            guards.end_task(&mut network, &inputs, &labels).unwrap();
            network.learn(&inputs, &labels, guards.protection()).unwrap();
            let of = |values: &Values| values.len() * if let Values::F32(_) = values { 4 } else { 8 };
            let held: usize = guards.state().0.values().map(|array| of(&array.values)).sum();
            assert_eq!(guards.bytes(), held, "{guard:?}");
        }
    }
}
