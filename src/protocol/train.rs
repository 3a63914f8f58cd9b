//! One method with one seed: training on the tasks in turn, testing on all of them after each. Promises the same numbers whether or
//! not it was saved and restored on the way. Knows no files.

use super::data::{Data, Set, permutation};
use super::gpu::Gpu;
use super::guard::Guards;
use super::results::{Doubt, Outside, Run};
use super::{Engine, Method, Protocol, Uncertain};
use crate::error::{Error, Result};
use crate::learning::local::{Network, Outcome, Samples, Settings, order};
use crate::learning::metrics::TaskMatrix;
use crate::learning::posterior::{Posterior, Uncertainty, auc, calibration_error, mean_prediction, uncertainty};
use crate::learning::state::State;
use crate::learning::{Chain, Protection};
use std::time::Instant;

/// Images that are predicted at a time.
const PIECE: usize = 256;
/// What a falling rate falls to.
const LEAST: f32 = 0.01;

/// Where a call of [`Trainer::advance`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// Within a task, when asked to.
    Asked,
    /// After a task (joint training is one).
    Task,
}

pub(super) struct Trainer<'a> {
    protocol: &'a Protocol,
    data: &'a Data,
    pub method: &'a Method,
    pub seed: u64,
    permutations: Vec<Option<Vec<u32>>>,
    network: Network,
    guards: Guards,
    /// Where it learns and is tested instead; what it learned there is brought back whenever `advance` returns.
    gpu: Option<Gpu>,
    /// Tasks learned, and batches of the task under way.
    phase: usize,
    batch: usize,
    /// While learning the task under way.
    learned: Outcome,
    /// A row a task learned: accuracy on every task.
    pub rows: Vec<Vec<f64>>,
    /// Accuracy while learning, a number a task.
    learning: Vec<f64>,
    /// Images shown while learning and hidden spikes they took, earlier tasks.
    shown: [u64; 2],
    /// Seconds of training and of testing.
    seconds: [f64; 2],
}

impl<'a> Trainer<'a> {
    pub fn new(protocol: &'a Protocol, data: &'a Data, method: &'a Method, seed: u64) -> Result<Self> {
        let settings = Settings { seed, optimiser: method.training.optimiser, ..protocol.network.clone() };
        let mut network = Network::new(settings)?;
        let guards = Guards::make(&method.guards, &mut network, &method.training, seed)?;
        let gpu = match &protocol.engine {
            Engine::Cpu => None,
            Engine::Gpu { device } => Some(Gpu::new(network.clone(), device.as_deref())?),
        };
        let permutations = (0..protocol.tasks.count()).map(|t| permutation(seed, t, protocol.data.inputs)).collect();
        Ok(Trainer {
            protocol,
            data,
            method,
            seed,
            permutations,
            network,
            guards,
            gpu,
            phase: 0,
            batch: 0,
            learned: Outcome::default(),
            rows: vec![],
            learning: vec![],
            shown: [0; 2],
            seconds: [0.0; 2],
        })
    }

    /// Tasks that are learned one after the other.
    pub fn phases(&self) -> usize {
        if self.method.joint { 1 } else { self.permutations.len() }
    }

    pub fn phase(&self) -> usize {
        self.phase
    }

    pub fn finished(&self) -> bool {
        self.phase >= self.phases()
    }

    /// Images of one pass, over all tasks for joint training.
    fn items(&self) -> usize {
        self.data.train.labels.len() * if self.method.joint { self.permutations.len() } else { 1 }
    }

    fn batches(&self) -> usize {
        self.items().div_ceil(self.method.training.batch)
    }

    /// Part of this run that is done.
    pub fn done(&self) -> f64 {
        let task = self.batch as f64 / (self.batches() * self.method.training.passes) as f64;
        (self.phase as f64 + task) / self.phases() as f64
    }

    /// Accuracy while learning the task under way.
    pub fn accuracy(&self) -> f64 {
        self.learned.accuracy()
    }

    fn samples<'b>(&'b self, set: &'b Set, task: usize) -> Samples<'b> {
        self.data.samples(set, self.permutations[task].as_deref())
    }

    /// Inputs and labels of some items of a pass.
    fn gather(&self, items: &[u32]) -> (Vec<f32>, Vec<u8>) {
        if !self.method.joint {
            return self.samples(&self.data.train, self.phase).gather(items);
        }
        let count = self.data.train.labels.len() as u32;
        let (mut inputs, mut labels) = (vec![], vec![]);
        for item in items {
            let (own, label) = self.samples(&self.data.train, (item / count) as usize).gather(&[item % count]);
            inputs.extend(own);
            labels.extend(label);
        }
        (inputs, labels)
    }

    /// Learn on, to the end of the task or until `pause` (asked after every batch) says so.
    pub fn advance(&mut self, pause: &mut dyn FnMut(&Self) -> bool) -> Result<Pause> {
        let mut start = Instant::now();
        let training = self.method.training;
        let per_pass = self.batches();
        let total = per_pass * training.passes;
        let mut pass = (usize::MAX, vec![]);
        while self.batch < total {
            let now = self.batch / per_pass;
            if pass.0 != now {
                pass = (now, order(self.seed, (self.phase << 16 | now) as u32, self.items()));
            }
            let from = self.batch % per_pass * training.batch;
            if self.gpu.is_some() {
                let asked = self.learn_on_gpu(&pass.1[from..], total, pause)?;
                self.seconds[0] += std::mem::replace(&mut start, Instant::now()).elapsed().as_secs_f64();
                if asked {
                    return Ok(Pause::Asked);
                }
                continue;
            }
            let (inputs, labels) = self.gather(&pass.1[from..pass.1.len().min(from + training.batch)]);
            self.network.set_rate(self.rate(self.batch, total));
            let chain = &mut self.guards.0;
            let protection: Option<&mut dyn Protection> = if chain.0.is_empty() { None } else { Some(chain) };
            self.learned.add(&self.network.learn(&inputs, &labels, protection)?);
            self.batch += 1;
            self.seconds[0] += std::mem::replace(&mut start, Instant::now()).elapsed().as_secs_f64();
            if self.batch < total && pause(self) {
                return Ok(Pause::Asked);
            }
        }
        self.end_task()?;
        self.seconds[0] += start.elapsed().as_secs_f64();
        self.test()?;
        Ok(Pause::Task)
    }

    /// Learning rate of batch `batch` of `total` in a task.
    fn rate(&self, batch: usize, total: usize) -> f32 {
        let training = self.method.training;
        let fallen = if training.falling { (1.0 - batch as f32 / total as f32).max(LEAST) } else { 1.0 };
        training.optimiser.rate() * fallen
    }

    /// Learn what is left of a pass, or as much until `pause` says so: then true.
    fn learn_on_gpu(&mut self, items: &[u32], total: usize, pause: &mut dyn FnMut(&Self) -> bool) -> Result<bool> {
        let Some(mut gpu) = self.gpu.take() else { return Ok(false) };
        let mut guards = std::mem::replace(&mut self.guards, Guards(Chain(vec![])));
        let (data, permutations) = (self.data, self.permutations.clone());
        let seen = if self.method.joint { &permutations[..] } else { &permutations[self.phase..=self.phase] };
        let views: Vec<Samples> = seen.iter().map(|p| data.samples(&data.train, p.as_deref())).collect();
        let (begun, before, batch) = (self.batch, self.learned, self.method.training.batch);
        let rates: Vec<f32> = (begun..begun + items.len().div_ceil(batch)).map(|b| self.rate(b, total)).collect();
        let protection: Option<&mut dyn Protection> = if guards.0.0.is_empty() { None } else { Some(&mut guards.0) };
        let mut asked = false;
        gpu.set(self.network.clone())?;
        gpu.learn(&views, items, batch, &|k| rates[k], protection, &mut |sum| {
            self.learned = before;
            self.learned.add(sum);
            self.batch = begun + sum.presentations.div_ceil(batch);
            asked = self.batch < total && pause(self);
            Ok(!asked)
        })?;
        self.network.clone_from(gpu.network()?);
        (self.gpu, self.guards) = (Some(gpu), guards);
        Ok(asked)
    }

    fn end_task(&mut self) -> Result<()> {
        let mut chosen = order(self.seed, (self.phase << 16 | 0xffff) as u32, self.items());
        chosen.truncate(self.method.training.samples);
        let (inputs, labels) = self.gather(&chosen);
        self.guards.end_task(&mut self.network, &inputs, &labels)?;
        self.learning.push(self.learned.accuracy());
        let learned = std::mem::take(&mut self.learned);
        self.shown = [self.shown[0] + learned.presentations as u64, self.shown[1] + learned.spikes];
        (self.phase, self.batch) = (self.phase + 1, 0);
        Ok(())
    }

    fn test(&mut self) -> Result<()> {
        let start = Instant::now();
        let settled = self.guards.settled(&self.network);
        let mut gpu = self.gpu.take();
        let mut row = vec![];
        for task in 0..self.permutations.len() {
            let samples = self.samples(&self.data.test, task);
            let outcome = match &mut gpu {
                None => settled.evaluate(&samples)?,
                Some(gpu) => {
                    gpu.set(settled.clone())?;
                    gpu.evaluate(&samples)?
                }
            };
            row.push(outcome.accuracy());
        }
        self.gpu = gpu;
        self.rows.push(row);
        self.seconds[1] += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// What the protections say.
    pub fn reports(&self) -> Vec<String> {
        self.guards.0.report()
    }

    /// Everything that changes on the way.
    pub fn state(&self) -> State {
        let mut state = self.guards.state();
        state.put_part("network", self.network.state());
        let tasks = self.permutations.len();
        state.put("matrix", &[self.rows.len(), tasks], &self.rows.concat());
        state.put("learning", &[self.learning.len()], &self.learning);
        state.put("shown", &[2], &self.shown);
        state.put("seconds", &[2], &self.seconds);
        state.put("position", &[2], &[self.phase as u64, self.batch as u64]);
        let Outcome { presentations, correct, loss, spikes } = self.learned;
        state.put("learned", &[3], &[presentations as u64, correct as u64, spikes]);
        state.put("loss", &[1], &[loss]);
        state
    }

    /// Take back what [`Trainer::state`] gave.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let tasks = self.permutations.len();
        let [phase, batch] = state.get::<u64>("position", 2)? else { unreachable!("two were asked for") };
        let phase = usize::try_from(*phase).ok().filter(|p| *p <= self.phases()).ok_or_else(damaged)?;
        let batch = usize::try_from(*batch).ok().filter(|b| *b < self.batches() * self.method.training.passes);
        let batch = batch.ok_or_else(damaged)?;
        let rows = state.get::<f64>("matrix", phase * tasks)?;
        self.learning = state.get("learning", phase)?.to_vec();
        self.shown.copy_from_slice(state.get("shown", 2)?);
        self.seconds.copy_from_slice(state.get("seconds", 2)?);
        let learned = state.get::<u64>("learned", 3)?;
        let loss = state.get::<f64>("loss", 1)?[0];
        self.learned = Outcome { presentations: learned[0] as usize, correct: learned[1] as usize, loss, spikes: learned[2] };
        self.network.restore(&state.part("network"))?;
        self.guards.restore(state)?;
        self.rows = rows.chunks(tasks).map(<[f64]>::to_vec).collect();
        (self.phase, self.batch) = (phase, batch);
        Ok(())
    }

    /// What came out, once all is learned.
    pub fn run(&self) -> Result<Run> {
        let mut matrix = TaskMatrix::default();
        self.rows.iter().try_for_each(|row| matrix.push(row.clone()))?;
        let last = self.rows.last().map_or(&[][..], |row| row);
        let mean = last.iter().sum::<f64>() / last.len().max(1) as f64;
        let several = matrix.tasks() > 1;
        let uncertainty = match (self.guards.posterior(), &self.protocol.uncertainty) {
            (Some(posterior), Some(how)) => Some(self.doubt(posterior, how)?),
            _ => None,
        };
        Ok(Run {
            method: self.method.name.clone(),
            seed: self.seed,
            joint: self.method.joint,
            acc: mean,
            bwt: several.then(|| matrix.bwt()),
            forgetting: several.then(|| matrix.forgetting()),
            matrix: self.rows.clone(),
            learning: self.learning.clone(),
            spikes_per_image: self.shown[1] as f64 / self.shown[0].max(1) as f64,
            train_s: self.seconds[0],
            test_s: self.seconds[1],
            layers: self.guards.projection().map_or(vec![], |p| p.reports().to_vec()),
            reports: self.reports(),
            uncertainty,
        })
    }

    /// Uncertainty on the first task's test images and on others, under samples of the posterior.
    fn doubt(&self, posterior: &Posterior, how: &Uncertain) -> Result<Doubt> {
        let sampled: Vec<Network> = (0..how.draws)
            .map(|draw| {
                let mut network = self.network.clone();
                network.layers_mut().iter_mut().enumerate().for_each(|(l, layer)| posterior.draw_test(l, draw, layer));
                network
            })
            .collect();
        let classes = self.protocol.data.classes;
        let of = |samples: &Samples| -> Result<Vec<(Uncertainty, Vec<f64>)>> {
            let mut all = vec![];
            let chosen: Vec<u32> = (0..samples.labels.len().min(how.images) as u32).collect();
            for piece in chosen.chunks(PIECE) {
                let (inputs, _) = samples.gather(piece);
                let each = sampled.iter().map(|n| n.predict(&inputs).map(|s| softmax(s, classes))).collect::<Result<Vec<_>>>()?;
                for i in 0..piece.len() {
                    let own: Vec<f32> = each.iter().flat_map(|p| &p[i * classes..(i + 1) * classes]).copied().collect();
                    all.push((uncertainty(&own, classes), mean_prediction(&own, classes)));
                }
            }
            Ok(all)
        };
        let inside = of(&self.samples(&self.data.test, 0))?;
        let best = |p: &[f64]| p.iter().enumerate().fold((0, 0.0), |best, (c, &p)| if p > best.1 { (c, p) } else { best });
        let guesses: Vec<(usize, f64)> = inside.iter().map(|(_, p)| best(p)).collect();
        let right: Vec<bool> = guesses.iter().zip(&self.data.test.labels).map(|(g, l)| g.0 == *l as usize).collect();
        let confidence: Vec<f64> = guesses.iter().map(|g| g.1.min(1.0)).collect();
        let score =
            |all: &[(Uncertainty, Vec<f64>)], f: fn(&Uncertainty) -> f64| all.iter().map(|(u, _)| f(u)).collect::<Vec<f64>>();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut outside = vec![];
        for (name, set) in &self.data.outside {
            let Some(set) = set else { continue };
            // Another permutation than that of any task.
            let unseen = if name == "permuted" { permutation(self.seed, 1 << 20, self.protocol.data.inputs) } else { None };
            let theirs = of(&self.data.samples(set, unseen.as_deref()))?;
            let auc = |f| auc(&score(&inside, f), &score(&theirs, f));
            outside.push(Outside {
                set: name.clone(),
                epistemic: mean(score(&theirs, |u| u.epistemic)),
                aleatoric: mean(score(&theirs, |u| u.aleatoric)),
                auc_epistemic: auc(|u| u.epistemic),
                auc_aleatoric: auc(|u| u.aleatoric),
                auc_total: auc(|u| u.total),
            });
        }
        Ok(Doubt {
            draws: how.draws,
            images: inside.len(),
            accuracy: right.iter().filter(|r| **r).count() as f64 / right.len().max(1) as f64,
            calibration_error: calibration_error(&confidence, &right, how.bins),
            epistemic: mean(score(&inside, |u| u.epistemic)),
            aleatoric: mean(score(&inside, |u| u.aleatoric)),
            outside,
        })
    }
}

fn damaged() -> Error {
    Error::input(
        "the checkpoint's position is outside of the protocol",
        "resume with the protocol it was made by, or start again",
    )
}

/// Probabilities in place of scores.
fn softmax(mut scores: Vec<f32>, classes: usize) -> Vec<f32> {
    for row in scores.chunks_exact_mut(classes) {
        let top = row.iter().fold(f32::NEG_INFINITY, |top, s| top.max(*s));
        row.iter_mut().for_each(|s| *s = (*s - top).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|s| *s /= sum);
    }
    scores
}
