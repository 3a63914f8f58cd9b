//! The evaluations: methods against each other on the same cases, with time and memory. Everything but the clock is a function of
//! the seed.

use super::metrics::{Answers, Scores, score, top};
use super::{Case, cases};
use crate::bridge::Host;
use crate::bridge::gradient::{self, Descent};
use crate::bridge::hooks::Adapter;
use crate::error::{Error, Result};
use crate::memory::area::Fact;
use crate::memory::contrast;
use crate::memory::experience::{Experience, Outcome};
use crate::memory::learner::Learner;
use crate::memory::protect::{Statistics, go_on, subject_end};
use crate::memory::settings::{Coding, Settings};
use crate::rng::{Purpose, Stream, key};
use serde::Serialize;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A way to make a model know facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    Unedited,
    /// The fact stands before the question.
    InPrompt,
    ExactWake,
    SpikingWake,
    Sleep,
    WakeAndSleep,
    /// Values by gradient descent through the layers above, written as sleep writes.
    Backprop,
    /// Control: sleep whose rewards are shuffled among its moves.
    ShuffledReward,
    /// Control: wake whose values are written at random keys.
    RandomKeys,
}

impl Method {
    pub const ALL: [Method; 9] = [
        Method::Unedited,
        Method::InPrompt,
        Method::ExactWake,
        Method::SpikingWake,
        Method::Sleep,
        Method::WakeAndSleep,
        Method::Backprop,
        Method::ShuffledReward,
        Method::RandomKeys,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Method::Unedited => "unedited",
            Method::InPrompt => "in-prompt",
            Method::ExactWake => "exact-wake",
            Method::SpikingWake => "spiking-wake",
            Method::Sleep => "sleep",
            Method::WakeAndSleep => "wake-and-sleep",
            Method::Backprop => "backprop",
            Method::ShuffledReward => "shuffled-reward",
            Method::RandomKeys => "random-keys",
        }
    }
}

/// One method on one choice of cases.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub method: &'static str,
    pub seed: u64,
    pub scores: Scores,
    /// Wall seconds a fact, all of it.
    pub seconds: f64,
    /// Milliseconds a write, key and value given; median. 0 where nothing is written awake.
    pub write_ms: f64,
    /// Rank of the adapter in the layer that has most.
    pub rank: usize,
    /// Facts that were refused.
    pub refused: usize,
}

/// Many facts, one at a time.
#[derive(Clone, Debug, Serialize)]
pub struct Sequence {
    pub coding: Coding,
    pub seed: u64,
    pub facts: usize,
    pub all: Scores,
    /// Of the first 50, at the end.
    pub first: Scores,
    /// NS of the unedited model on the same cases.
    pub unedited_ns: f64,
    /// Facts learned, and EA of the first 50 of them then.
    pub curve: Vec<(usize, f64)>,
    pub refused: usize,
    /// Directions of the layer that are taken, of how many.
    pub taken: (usize, usize),
    pub seconds: f64,
}

/// One fact forgotten among others.
#[derive(Clone, Debug, Serialize)]
pub struct Forget {
    pub seed: u64,
    pub facts: usize,
    /// Facts that were forgotten, one at a time, each from the full memory.
    pub forgotten: usize,
    /// Largest change of a logit on the prompts of all others.
    pub others: f32,
    /// The same on the forgotten one's own prompt, against the model that never learned it.
    pub own: f32,
    /// EA (%) of the forgotten ones: before, after, and unedited.
    pub ea: [f64; 3],
}

/// Actions that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub seed: u64,
    pub actions: usize,
    /// How many times less likely each action became: the least, and the median.
    pub least: f64,
    pub median: f64,
    /// Part of the actions (%) that are at least 10 times less likely.
    pub tenfold: f64,
    /// NS before and after.
    pub ns: [f64; 2],
    pub kl: f64,
}

/// What the evaluations share.
pub struct Bench<'a> {
    pub host: &'a Host,
    pub settings: Settings,
    pub statistics: &'a Statistics,
    pub stop: &'a AtomicBool,
}

/// What was taught, and what it took.
struct Taught {
    adapter: Adapter,
    write_ms: Vec<f64>,
    refused: usize,
}

impl<'a> Bench<'a> {
    fn learner(&self, coding: Coding, shuffled: bool) -> Result<Learner<'a>> {
        let mut settings = Settings { coding, ..self.settings.clone() };
        settings.sleep.shuffled = shuffled;
        Learner::new(self.host, &settings, self.statistics)
    }

    /// Every method on `n` cases chosen by a seed.
    pub fn edits(&self, all: &[Case], n: usize, seed: u64, methods: &[Method], tell: &mut dyn FnMut(&Row)) -> Result<Vec<Row>> {
        let chosen = cases::choose(all, n, seed)?;
        let unedited = Answers::of(self.host, (), &chosen, false)?;
        let mut rows = Vec::new();
        for &method in methods {
            let started = Instant::now();
            let mut taught = self.teach(method, &chosen, seed)?;
            let seconds = started.elapsed().as_secs_f64() / n as f64;
            let answers = match method {
                Method::Unedited => unedited.clone(),
                Method::InPrompt => Answers::of(self.host, (), &chosen, true)?,
                _ => Answers::of(self.host, &taught.adapter, &chosen, false)?,
            };
            let row = Row {
                method: method.name(),
                seed,
                scores: score(self.host, &chosen, &answers, &unedited)?,
                seconds,
                write_ms: median(&mut taught.write_ms),
                rank: taught.adapter.terms().map(|(_, t)| t.rank).max().unwrap_or(0),
                refused: taught.refused,
            };
            tell(&row);
            rows.push(row);
        }
        Ok(rows)
    }

    fn teach(&self, method: Method, chosen: &[Case], seed: u64) -> Result<Taught> {
        let mut taught = Taught { adapter: Adapter::default(), write_ms: Vec::new(), refused: 0 };
        let coding = match method {
            Method::Unedited | Method::InPrompt => return Ok(taught),
            Method::ExactWake => Coding::Exact,
            Method::SpikingWake => Coding::Spiking,
            _ => self.settings.coding,
        };
        let mut learner = self.learner(coding, method == Method::ShuffledReward)?;
        for case in chosen {
            go_on(self.stop)?;
            let experience = case.experience(Outcome::Success);
            let done = match method {
                Method::Sleep | Method::WakeAndSleep | Method::ShuffledReward => {
                    let (key, found) = learner.dream(&experience, self.stop)?;
                    learner.consolidate(&experience, &key, &found.value).map(|_| ())
                }
                Method::Backprop => self.descend(&mut learner, case, &experience),
                Method::RandomKeys => self.at_random(&mut learner, &experience, seed),
                _ => learner.wake(&experience).map(|lesson| {
                    if !lesson.engrams.is_empty() {
                        taught.write_ms.push(lesson.write_s * 1e3 / lesson.engrams.len() as f64);
                    }
                }),
            };
            taught.refused += usize::from(refused(done)?);
        }
        if method == Method::WakeAndSleep {
            for case in chosen {
                let lesson = learner.wake(&case.experience(Outcome::Success));
                taught.refused += usize::from(refused(lesson.map(|_| ()))?);
            }
        }
        taught.adapter = learner.adapter()?;
        Ok(taught)
    }

    /// Backpropagation finds the value; the first token of the answer counts, as in the scores.
    fn descend(&self, learner: &mut Learner, case: &Case, experience: &Experience) -> Result<()> {
        let (tokens, answer) = self.host.exchange(&case.prompt, &case.target_new)?;
        let position = subject_end(self.host, &case.prompt, &case.subject)?.unwrap_or(tokens.len() - 1);
        let layer = self.settings.sleep_layer;
        let key = contrast::key_at(self.host, (), layer, &tokens, position)?;
        let (value, _) = gradient::value(&self.host.decoder, layer + 1, &tokens, position, &answer, &Descent::default())?;
        learner.consolidate(experience, &key, &value).map(|_| ())
    }

    /// The values of wake at keys of the same length that mean nothing.
    fn at_random(&self, learner: &mut Learner, experience: &Experience, seed: u64) -> Result<()> {
        let layer = self.settings.wake_layer;
        let sight = contrast::look(self.host, (), layer, &experience.prompt, &experience.answer)?;
        let first = &sight.tokens[0];
        let number = experience.id.bytes().fold(0u32, |n, b| n.wrapping_mul(31).wrapping_add(u32::from(b)));
        let mut stream = Stream::new(key(seed, number), Purpose::Encoder, 0, 9);
        let mut random: Vec<f32> = first.key.iter().map(|_| stream.normal() as f32).collect();
        let size = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        let by = size(&first.key) / size(&random);
        random.iter_mut().for_each(|x| *x *= by);
        let fact = Fact { experience: &experience.id, key: &random, value: &first.value, adds: false };
        learner.late.write(fact, None).map(|_| ())
    }

    /// `n` facts awake, one at a time; what is left of them at the end.
    pub fn sequence(&self, all: &[Case], n: usize, seed: u64, tell: &mut dyn FnMut(usize)) -> Result<Sequence> {
        let chosen = cases::choose(all, n, seed)?;
        let first = &chosen[..n.min(50)];
        let unedited = Answers::of(self.host, (), &chosen, false)?;
        let mut learner = self.learner(self.settings.coding, false)?;
        let (mut curve, mut refusals) = (Vec::new(), 0);
        let started = Instant::now();
        let mut pause = 0.0;
        for (i, case) in chosen.iter().enumerate() {
            go_on(self.stop)?;
            refusals += usize::from(refused(learner.wake(&case.experience(Outcome::Success)).map(|_| ()))?);
            tell(i + 1);
            if (i + 1) % 50 == 0 || i + 1 == n {
                let asked = Instant::now();
                let known = &first[..first.len().min(i + 1)];
                let answers = Answers::of(self.host, &learner.adapter()?, known, false)?;
                let ea = score(self.host, known, &answers, &answers)?.ea;
                curve.push((i + 1, ea));
                pause += asked.elapsed().as_secs_f64();
            }
        }
        let seconds = (started.elapsed().as_secs_f64() - pause) / n as f64;
        let answers = Answers::of(self.host, &learner.adapter()?, &chosen, false)?;
        Ok(Sequence {
            coding: self.settings.coding,
            seed,
            facts: n,
            all: score(self.host, &chosen, &answers, &unedited)?,
            // Answers come in the order of cases, so those of the first are the first.
            first: score(self.host, first, &answers, &unedited)?,
            unedited_ns: score(self.host, &chosen, &unedited, &unedited)?.ns,
            curve,
            refused: refusals,
            taken: learner.late.load(),
            seconds,
        })
    }

    /// `n` facts; some of them are forgotten, each alone.
    pub fn forget(&self, all: &[Case], n: usize, seed: u64, forgotten: usize) -> Result<Forget> {
        let chosen = cases::choose(all, n, seed)?;
        let unedited = Answers::logits(self.host, (), &chosen, false)?;
        let mut learner = self.learner(self.settings.coding, false)?;
        for case in &chosen {
            go_on(self.stop)?;
            refused(learner.wake(&case.experience(Outcome::Success)).map(|_| ()))?;
        }
        let before = Answers::logits(self.host, &learner.adapter()?, &chosen, false)?;
        let engrams = learner.late.engrams().to_vec();
        let forgotten = forgotten.clamp(1, n);
        let mut report = Forget { seed, facts: n, forgotten, others: 0.0, own: 0.0, ea: [0.0; 3] };
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        for i in (0..forgotten).map(|f| f * n / forgotten) {
            go_on(self.stop)?;
            let id = chosen[i].experience(Outcome::Success).id;
            learner.forget(&id)?;
            let after = Answers::logits(self.host, &learner.adapter()?, &chosen, false)?;
            for other in (0..n).filter(|other| *other != i) {
                report.others = report.others.max(apart(before.row(other, 0), after.row(other, 0)));
            }
            report.own = report.own.max(apart(unedited.row(i, 0), after.row(i, 0)));
            let wanted = self.host.exchange(&chosen[i].prompt, &chosen[i].target_new)?.1[0];
            for (ea, answers) in report.ea.iter_mut().zip([&before, &after, &unedited]) {
                *ea += if top(answers.row(i, 0)) == wanted { 100.0 / forgotten as f64 } else { 0.0 };
            }
            learner.replace(engrams.clone())?;
        }
        Ok(report)
    }

    /// `n` actions that the model would take, each told to have failed.
    pub fn failure(&self, all: &[Case], n: usize, seed: u64) -> Result<Failure> {
        let chosen = cases::choose(all, n, seed)?;
        let unedited = Answers::of(self.host, (), &chosen, false)?;
        let mut learner = self.learner(self.settings.coding, false)?;
        let mut actions = Vec::new();
        for (i, case) in chosen.iter().enumerate() {
            go_on(self.stop)?;
            let action = top(unedited.row(i, 0));
            let answer = self.host.tokenizer.decode(&[action])?;
            let experience = Experience { answer, ..case.experience(Outcome::Failure) };
            if !experience.answer.trim().is_empty() && !refused(learner.wake(&experience).map(|_| ()))? {
                actions.push((i, action));
            }
        }
        let answers = Answers::of(self.host, &learner.adapter()?, &chosen, false)?;
        let mut times: Vec<f64> = actions
            .iter()
            .map(|&(i, a)| f64::from(unedited.row(i, 0)[a as usize] - answers.row(i, 0)[a as usize]).exp())
            .collect();
        times.sort_by(f64::total_cmp);
        let (before, after) = (score(self.host, &chosen, &unedited, &unedited)?, score(self.host, &chosen, &answers, &unedited)?);
        Ok(Failure {
            seed,
            actions: times.len(),
            least: times.first().copied().unwrap_or(0.0),
            median: median(&mut times),
            tenfold: 100.0 * times.iter().filter(|t| **t >= 10.0).count() as f64 / times.len().max(1) as f64,
            ns: [before.ns, after.ns],
            kl: after.kl,
        })
    }
}

/// Whether input was refused; other errors stay errors.
fn refused(done: Result<()>) -> Result<bool> {
    match done {
        Ok(()) => Ok(false),
        Err(Error::Input(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}
