//! One method with one seed: training on the tasks in turn, testing on all of them after each. Promises the same numbers whether or
//! not it was saved and restored on the way. Knows no files.

use super::course::{Course, Pause};
use super::data::{Data, View, permutation};
use super::learner::{Learner, PIECE};
use super::results::{Doubt, Outside, Run};
use super::{Method, Protocol, Tasks, Uncertain};
use crate::error::{Error, Result};
use crate::learning::local::{Outcome, Samples, order};
use crate::learning::metrics::TaskMatrix;
use crate::learning::posterior::{Uncertainty, auc, calibration_error, mean_prediction, uncertainty};
use crate::learning::state::State;
use std::time::Instant;

/// The number of a permutation that no task has.
const UNSEEN: usize = 1 << 20;
/// Test images of each task whose context is looked at.
const FEW: usize = 500;
/// What a falling rate falls to.
const LEAST: f32 = 0.01;

pub(super) struct Trainer<'a> {
    protocol: &'a Protocol,
    data: &'a Data,
    method: &'a Method,
    seed: u64,
    /// What each task shows, and what is learned in turn: the same, or for joint training all in one.
    views: Vec<View>,
    lessons: Vec<View>,
    learner: Learner,
    /// Images of earlier tasks that are kept: (task, image), whole tasks in turn.
    kept: Vec<(usize, u32)>,
    /// Tasks learned, and batches of the task under way.
    phase: usize,
    batch: usize,
    /// While learning the task under way.
    learned: Outcome,
    /// A row a task learned: accuracy on every task.
    rows: Vec<Vec<f64>>,
    /// Accuracy while learning, a number a task.
    learning: Vec<f64>,
    /// Images shown while learning and hidden spikes they took, earlier tasks.
    shown: [u64; 2],
    /// Seconds of training and of testing.
    seconds: [f64; 2],
}

impl<'a> Trainer<'a> {
    pub fn new(protocol: &'a Protocol, data: &'a Data, method: &'a Method, seed: u64) -> Result<Self> {
        let learner = Learner::new(protocol, method, seed)?;
        let views = data.views(protocol.tasks, seed)?;
        let lessons = match (method.joint, protocol.tasks) {
            (true, Tasks::Split { .. }) => vec![View::joined(&views)],
            _ => views.clone(),
        };
        Ok(Trainer {
            protocol,
            data,
            method,
            seed,
            views,
            lessons,
            learner,
            kept: vec![],
            phase: 0,
            batch: 0,
            learned: Outcome::default(),
            rows: vec![],
            learning: vec![],
            shown: [0; 2],
            seconds: [0.0; 2],
        })
    }

    /// Images of one pass, over all tasks for joint training.
    fn items(&self) -> usize {
        let of = |view: &View| view.train.labels.len();
        if self.method.joint {
            self.lessons.iter().map(of).sum()
        } else {
            of(&self.lessons[self.phase.min(self.lessons.len() - 1)])
        }
    }

    fn batches(&self) -> usize {
        self.items().div_ceil(self.method.training.batch)
    }

    fn to_learn<'b>(&'b self, view: &'b View) -> Samples<'b> {
        self.data.samples(&view.train, view.permutation.as_deref())
    }

    fn to_test<'b>(&'b self, view: &'b View) -> Samples<'b> {
        self.data.samples(&view.test, view.permutation.as_deref())
    }

    /// Inputs and labels of some items of a pass.
    fn gather(&self, items: &[u32]) -> (Vec<f32>, Vec<u8>) {
        if !self.method.joint {
            return self.to_learn(&self.lessons[self.phase]).gather(items);
        }
        // Lessons of a joint run are of one length.
        let count = self.lessons[0].train.labels.len() as u32;
        let (mut inputs, mut labels) = (vec![], vec![]);
        for item in items {
            let (own, label) = self.to_learn(&self.lessons[(item / count) as usize]).gather(&[item % count]);
            inputs.extend(own);
            labels.extend(label);
        }
        (inputs, labels)
    }

    /// The kept images that batch `batch` of the task under way shows among `new` ones: as many of each earlier task as of the new
    /// one where tasks are of other classes, otherwise as many as are new.
    fn rehearsed(&self, batch: usize, new: usize) -> (Vec<f32>, Vec<u8>) {
        let times = if matches!(self.protocol.tasks, Tasks::Split { .. }) { self.phase } else { self.phase.min(1) };
        let (mut inputs, mut labels) = (vec![], vec![]);
        let wanted = if self.kept.is_empty() { 0 } else { new * times };
        let begun = batch * self.method.training.batch * times;
        for k in begun..begun + wanted {
            let (task, image) = self.kept[k % self.kept.len()];
            let (own, label) = self.to_learn(&self.lessons[task]).gather(&[image]);
            inputs.extend(own);
            labels.extend(label);
        }
        (inputs, labels)
    }

    /// What is kept before task `phase`: an equal part of the bytes a task, interleaved. A function of the seed.
    fn keep(&mut self) {
        self.kept.clear();
        if self.method.rehearsal == 0 {
            return;
        }
        let room = self.method.rehearsal / self.protocol.data.inputs.max(1);
        let each = room / self.phase.max(1);
        let chosen = (0..self.phase).map(|task| {
            let count = self.lessons[task].train.labels.len();
            order(self.seed, (task << 16 | 0xfffe) as u32, count).into_iter().take(each).map(move |i| (task, i))
        });
        let mut chosen: Vec<_> = chosen.collect();
        for _ in 0..each {
            chosen.iter_mut().for_each(|task| self.kept.extend(task.next()));
        }
    }

    /// The task that begins shows the learner what it needs.
    fn begin_task(&mut self) -> Result<()> {
        self.keep();
        let lesson = self.lessons[self.phase.min(self.lessons.len() - 1)].clone();
        let mut own: Vec<u8> = lesson.train.labels.clone();
        own.sort_unstable();
        own.dedup();
        let (data, seed) = (self.data, self.seed);
        let images = |most: usize| {
            let mut chosen = order(seed, 0xfffd, lesson.train.labels.len());
            chosen.truncate(most);
            data.samples(&lesson.train, lesson.permutation.as_deref()).gather(&chosen).0
        };
        self.learner.begin_task(images, own)
    }

    /// Learning rate of batch `batch` of `total` in a task.
    fn rate(&self, batch: usize, total: usize) -> f32 {
        let training = self.method.training;
        let fallen = if training.falling { (1.0 - batch as f32 / total as f32).max(LEAST) } else { 1.0 };
        training.optimiser.rate() * fallen
    }

    /// Learn what is left of a pass, or as much until `pause` says so: then true.
    fn learn_on_gpu(&mut self, items: &[u32], total: usize, pause: &mut dyn FnMut(&dyn Course) -> bool) -> Result<bool> {
        let (data, lessons) = (self.data, self.lessons.clone());
        let seen = if self.method.joint { &lessons[..] } else { &lessons[self.phase..=self.phase] };
        let views: Vec<Samples> = seen.iter().map(|v| data.samples(&v.train, v.permutation.as_deref())).collect();
        let (begun, before, batch) = (self.batch, self.learned, self.method.training.batch);
        let rates: Vec<f32> = (begun..begun + items.len().div_ceil(batch)).map(|b| self.rate(b, total)).collect();
        let mut asked = false;
        let Some((mut gpu, mut guards)) = self.learner.lend()? else { return Ok(false) };
        let learned = gpu.learn(&views, items, batch, &|k| rates[k], guards.protection(), &mut |sum| {
            self.learned = before;
            self.learned.add(sum);
            self.batch = begun + sum.presentations.div_ceil(batch);
            asked = self.batch < total && pause(self);
            Ok(!asked)
        });
        self.learner.take_back(gpu, guards)?;
        learned.map(|_| asked)
    }

    fn end_task(&mut self) -> Result<()> {
        let mut chosen = order(self.seed, (self.phase << 16 | 0xffff) as u32, self.items());
        chosen.truncate(self.method.training.samples);
        let (inputs, labels) = self.gather(&chosen);
        self.learner.end_task(&inputs, &labels, self.method.training.optimiser.rate(), self.method.training.batch)?;
        self.learning.push(self.learned.accuracy());
        let learned = std::mem::take(&mut self.learned);
        self.shown = [self.shown[0] + learned.presentations as u64, self.shown[1] + learned.spikes];
        (self.phase, self.batch) = (self.phase + 1, 0);
        Ok(())
    }

    fn test(&mut self) -> Result<()> {
        if self.protocol.at_end && !self.finished() {
            return Ok(());
        }
        let start = Instant::now();
        let mut row = vec![];
        for (task, view) in self.views.clone().iter().enumerate() {
            let samples = self.data.samples(&view.test, view.permutation.as_deref());
            row.push(self.learner.evaluate(&samples, view.scores.as_ref(), task)?.accuracy());
        }
        self.rows.push(row);
        self.seconds[1] += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// How well single test images are assigned to the contexts of their tasks, and told from an unseen task's; empty where contexts
    /// are not inferred.
    fn contexts(&self) -> Vec<String> {
        let size = self.protocol.data.inputs;
        let images = |view: &View| {
            let samples = self.to_test(view);
            samples.gather(&(0..samples.labels.len().min(FEW) as u32).collect::<Vec<_>>()).0
        };
        let mut right = vec![];
        for (task, view) in self.views.iter().enumerate() {
            let Some(part) = self.learner.assigned(&images(view), task) else { return vec![] };
            right.push(part);
        }
        let familiar = |images: Vec<f32>| {
            images.chunks_exact(size).filter_map(|x| self.learner.familiarity(x)).map(|f| -f as f64).collect::<Vec<f64>>()
        };
        let known = self.views.iter().flat_map(|view| familiar(images(view))).collect::<Vec<f64>>();
        let unseen = View { permutation: permutation(self.seed, UNSEEN, size), ..self.views[0].clone() };
        let told = auc(&known, &familiar(images(&unseen))).map_or("-".into(), |a| format!("{a:.4}"));
        let mean = 100.0 * right.iter().sum::<f64>() / right.len() as f64;
        vec![format!(
            "contexts: {mean:.2} % of single test images assigned to their task's; AUC of familiarity against an unseen task {told}"
        )]
    }

    /// Uncertainty on the test images of one task, the first, or the last where all are tested at the end, and on others, under samples
    /// of the posterior; None where there is none.
    fn doubt(&self, how: &Uncertain) -> Result<Option<Doubt>> {
        let task = if self.protocol.at_end { self.views.len() - 1 } else { 0 };
        let classes = self.protocol.network.sizes[self.protocol.network.sizes.len() - 1];
        if self.learner.draws(&vec![0.0; self.protocol.data.inputs], 1, task).is_none() {
            return Ok(None);
        }
        let of = |samples: &Samples| -> Result<Vec<(Uncertainty, Vec<f64>)>> {
            let mut all = vec![];
            let chosen: Vec<u32> = (0..samples.labels.len().min(how.images) as u32).collect();
            for piece in chosen.chunks(PIECE) {
                let (inputs, _) = samples.gather(piece);
                let Some(each) = self.learner.draws(&inputs, how.draws, task).transpose()? else { continue };
                for i in 0..piece.len() {
                    let own: Vec<f32> = each.iter().flat_map(|p| &p[i * classes..(i + 1) * classes]).copied().collect();
                    all.push((uncertainty(&own, classes), mean_prediction(&own, classes)));
                }
            }
            Ok(all)
        };
        let inside = of(&self.to_test(&self.views[task]))?;
        let best = |p: &[f64]| p.iter().enumerate().fold((0, 0.0), |best, (c, &p)| if p > best.1 { (c, p) } else { best });
        let guesses: Vec<(usize, f64)> = inside.iter().map(|(_, p)| best(p)).collect();
        let right: Vec<bool> = guesses.iter().zip(&self.views[task].test.labels).map(|(g, l)| g.0 == *l as usize).collect();
        let confidence: Vec<f64> = guesses.iter().map(|g| g.1.min(1.0)).collect();
        let score =
            |all: &[(Uncertainty, Vec<f64>)], f: fn(&Uncertainty) -> f64| all.iter().map(|(u, _)| f(u)).collect::<Vec<f64>>();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let mut outside = vec![];
        for (name, set) in &self.data.outside {
            let Some(set) = set else { continue };
            // Another permutation than that of any task.
            let unseen = if name == "permuted" { permutation(self.seed, UNSEEN, self.protocol.data.inputs) } else { None };
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
        Ok(Some(Doubt {
            draws: how.draws,
            images: inside.len(),
            accuracy: right.iter().filter(|r| **r).count() as f64 / right.len().max(1) as f64,
            calibration_error: calibration_error(&confidence, &right, how.bins),
            epistemic: mean(score(&inside, |u| u.epistemic)),
            aleatoric: mean(score(&inside, |u| u.aleatoric)),
            outside,
        }))
    }
}

impl Course for Trainer<'_> {
    fn advance(&mut self, pause: &mut dyn FnMut(&dyn Course) -> bool) -> Result<Pause> {
        let mut start = Instant::now();
        let training = self.method.training;
        let per_pass = self.batches();
        let total = per_pass * training.passes;
        self.begin_task()?;
        let mut pass = (usize::MAX, vec![]);
        while self.batch < total {
            let now = self.batch / per_pass;
            if pass.0 != now {
                pass = (now, order(self.seed, (self.phase << 16 | now) as u32, self.items()));
            }
            let from = self.batch % per_pass * training.batch;
            if self.learner.is_on_gpu() {
                let asked = self.learn_on_gpu(&pass.1[from..], total, pause)?;
                self.seconds[0] += std::mem::replace(&mut start, Instant::now()).elapsed().as_secs_f64();
                if asked {
                    return Ok(Pause::Asked);
                }
                continue;
            }
            let (mut inputs, mut labels) = self.gather(&pass.1[from..pass.1.len().min(from + training.batch)]);
            let (old, of) = self.rehearsed(self.batch, labels.len());
            inputs.extend(old);
            labels.extend(of);
            let (rate, task) = (self.rate(self.batch, total), self.phase);
            self.learned.add(&self.learner.learn(&inputs, &labels, rate, task, now)?);
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

    fn phases(&self) -> usize {
        if self.method.joint { 1 } else { self.views.len() }
    }

    fn phase(&self) -> usize {
        self.phase
    }

    fn done(&self) -> f64 {
        let task = self.batch as f64 / (self.batches() * self.method.training.passes) as f64;
        (self.phase as f64 + task) / self.phases() as f64
    }

    fn accuracy(&self) -> f64 {
        self.learned.accuracy()
    }

    fn row(&self) -> &[f64] {
        self.rows.last().map_or(&[], |row| row)
    }

    fn reports(&self) -> Vec<String> {
        self.learner.reports()
    }

    fn state(&self) -> State {
        let mut state = self.learner.state();
        let tasks = self.views.len();
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

    fn restore(&mut self, state: &State) -> Result<()> {
        let tasks = self.views.len();
        let [phase, batch] = state.get::<u64>("position", 2)? else { unreachable!("two were asked for") };
        let phase = usize::try_from(*phase).ok().filter(|p| *p <= self.phases()).ok_or_else(damaged)?;
        self.phase = phase;
        let batch = usize::try_from(*batch).ok().filter(|b| *b < self.batches() * self.method.training.passes);
        let batch = batch.ok_or_else(damaged)?;
        let tested = if self.protocol.at_end { self.finished() as usize } else { phase };
        let rows = state.get::<f64>("matrix", tested * tasks)?;
        self.learning = state.get("learning", phase)?.to_vec();
        self.shown.copy_from_slice(state.get("shown", 2)?);
        self.seconds.copy_from_slice(state.get("seconds", 2)?);
        let learned = state.get::<u64>("learned", 3)?;
        let loss = state.get::<f64>("loss", 1)?[0];
        self.learned = Outcome { presentations: learned[0] as usize, correct: learned[1] as usize, loss, spikes: learned[2] };
        self.learner.restore(state)?;
        self.rows = rows.chunks(tasks).map(<[f64]>::to_vec).collect();
        (self.phase, self.batch) = (phase, batch);
        Ok(())
    }

    fn run(&self) -> Result<Run> {
        let mut matrix = TaskMatrix::default();
        let several = self.rows.len() > 1;
        if several {
            self.rows.iter().try_for_each(|row| matrix.push(row.clone()))?;
        }
        let last = self.rows.last().map_or(&[][..], |row| row);
        let mean = last.iter().sum::<f64>() / last.len().max(1) as f64;
        let uncertainty = self.protocol.uncertainty.as_ref().map(|how| self.doubt(how)).transpose()?.flatten();
        let mut reports = self.reports();
        reports.extend(self.contexts());
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
            layers: self.learner.layers(),
            reports,
            bytes: self.learner.bytes() + (self.kept.len() * self.protocol.data.inputs) as u64,
            uncertainty,
            curve: vec![],
        })
    }
}

fn damaged() -> Error {
    Error::input(
        "the checkpoint's position is outside of the protocol",
        "resume with the protocol it was made by, or start again",
    )
}
