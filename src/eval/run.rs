//! The evaluations: methods against each other on the same cases, with time and memory. Everything but the clock is a function of
//! the seed.

use super::metrics::{Answers, Scores, With, score};
use super::text::{TextDamage, Untaught};
use super::{Case, cases};
use crate::error::Result;
use crate::memory::context_target::{key_at, places};
use crate::memory::exchange::{Exchange, Request};
use crate::memory::experience::{Experience, Outcome};
use crate::memory::facade::Observed;
use crate::memory::journal::Stage;
use crate::memory::key_statistics::{Statistics, go_on, subject_end};
use crate::memory::learner::Learner;
use crate::memory::settings::{Coding, Settings};
use crate::memory::{Engram, Memory};
use crate::rng::{Purpose, Stream, key};
use crate::transformer::Host;
use crate::transformer::gradient::{self, Descent};
use crate::transformer::hooks::Adapter;
use crate::transformer::sample::top;
use serde::Serialize;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A way to make a model know facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The model as it is.
    Unedited,
    /// The fact stands before the question.
    InPrompt,
    /// Learned awake, keys and values written as they are.
    ExactWake,
    /// Learned awake, keys and values written through spikes.
    SpikingWake,
    /// Spiking wake, all that fits together as one adapter for every question, as it is exported.
    OneAdapter,
    /// Wake, then sleep.
    Sleep,
    /// Values by gradient descent through the layers above, written where sleep writes, one adapter for every question.
    Backprop,
    /// Control: sleep whose rewards are shuffled among its moves, without wake.
    ShuffledReward,
    /// Control: wake whose values are written at random keys, one adapter for every question.
    RandomKeys,
}

impl Method {
    /// Every method, in the order of tables.
    pub const ALL: [Method; 9] = [
        Method::Unedited,
        Method::InPrompt,
        Method::ExactWake,
        Method::SpikingWake,
        Method::OneAdapter,
        Method::Sleep,
        Method::Backprop,
        Method::ShuffledReward,
        Method::RandomKeys,
    ];

    /// As tables and the command line spell it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Unedited => "unedited",
            Method::InPrompt => "in-prompt",
            Method::ExactWake => "exact-wake",
            Method::SpikingWake => "spiking-wake",
            Method::OneAdapter => "one-adapter",
            Method::Sleep => "sleep",
            Method::Backprop => "backprop",
            Method::ShuffledReward => "shuffled-reward",
            Method::RandomKeys => "random-keys",
        }
    }
}

/// One method on one choice of cases.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// [`Method::name`].
    pub method: &'static str,
    /// Chooses the cases.
    pub seed: u64,
    /// What the model answered then.
    pub scores: Scores,
    /// Wall seconds a fact, all of it.
    pub seconds: f64,
    /// Milliseconds a write, key and value given; median. 0 where nothing is written awake.
    pub write_ms: f64,
    /// Rank of the adapter in the layer that has most.
    pub rank: usize,
    /// Facts that were refused.
    pub refused: usize,
    /// Facts that sleep moved.
    pub moved: usize,
    /// Facts that the one adapter leaves out.
    pub left_out: usize,
}

/// Experiences as an agent has them: whole answers, and what becomes of everything else.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Of what is drawn.
    pub seed: u64,
    /// Experiences that were told.
    pub experiences: usize,
    /// Experiences that the memory said it learned, and those that it refused, with its reasons.
    pub learned: usize,
    /// `id` and reason of each that it refused.
    pub refused: Vec<(String, String)>,
    /// Successes whose whole answer greedy decoding says, its end included.
    pub whole: usize,
    /// Successes among the experiences.
    pub successes: usize,
    /// Successes about which the memory told the truth: learned where the answer comes, refused where it does not.
    pub truly: usize,
    /// Texts that nobody taught, with what each asks for, and with one adapter of all.
    pub composed: TextDamage,
    /// Texts that nobody taught, with the one adapter.
    pub one: TextDamage,
    /// Experiences in the one adapter.
    pub included: usize,
    /// Milliseconds an experience, all of it; median.
    pub ms: f64,
}

/// One fact forgotten among others.
#[derive(Clone, Debug, Serialize)]
pub struct Forget {
    /// Chooses the facts.
    pub seed: u64,
    /// Facts in the memory.
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
    /// Chooses the actions.
    pub seed: u64,
    /// Failures that were told.
    pub actions: usize,
    /// How many times less likely each action became: the least, and the median.
    pub least: f64,
    /// Median over the actions of how many times less likely each became.
    pub median: f64,
    /// Part of the actions (%) that are at least 10 times less likely.
    pub tenfold: f64,
    /// NS before and after.
    pub ns: [f64; 2],
    /// Mean divergence at neighbours' prompts, nats.
    pub kl: f64,
}

/// What the evaluations share.
#[non_exhaustive]
pub struct Bench<'a> {
    /// The model that all methods start from.
    pub host: std::sync::Arc<Host>,
    /// How memories learn, where the method does not say it.
    pub settings: Settings,
    /// What is protected; collected once, for these settings.
    pub statistics: &'a Statistics,
    /// When true, the evaluation ends with an error at the next opportunity.
    pub stop: &'a AtomicBool,
}

/// What was taught, and what it took.
struct Taught {
    with: Model,
    write_ms: Vec<f64>,
    refused: usize,
    moved: usize,
    left_out: usize,
}

/// What answers.
enum Model {
    Bare,
    Told,
    Memory(Box<Memory>),
    Adapter(Adapter),
}

impl<'a> Bench<'a> {
    /// Of a model; `statistics` were collected for these settings.
    pub fn new(host: std::sync::Arc<Host>, settings: Settings, statistics: &'a Statistics, stop: &'a AtomicBool) -> Bench<'a> {
        Bench { host, settings, statistics, stop }
    }
}

impl Bench<'_> {
    fn settings(&self, coding: Coding, shuffled: bool) -> Settings {
        let mut settings = Settings { coding, ..self.settings.clone() };
        settings.sleep.shuffled = shuffled;
        settings
    }

    fn memory(&self, coding: Coding) -> Result<Memory> {
        Memory::in_memory(self.host.clone(), &self.settings(coding, false), self.statistics)
    }

    fn learner(&self, shuffled: bool) -> Result<Learner> {
        let mut learner =
            Learner::new(self.host.clone(), &self.settings(self.settings.coding, shuffled), &self.statistics.texts)?;
        learner.study(self.statistics.clone())?;
        Ok(learner)
    }

    /// Every method on `n` cases chosen by a seed.
    pub fn edits(&self, all: &[Case], n: usize, seed: u64, methods: &[Method], tell: &mut dyn FnMut(&Row)) -> Result<Vec<Row>> {
        let chosen = cases::choose(all, n, seed)?;
        let (host, nothing) = (&*self.host, Adapter::default());
        let unedited = Answers::of(host, With::One(&nothing), &chosen, false)?;
        let mut rows = Vec::new();
        for &method in methods {
            let started = Instant::now();
            let mut taught = self.teach(method, &chosen, seed)?;
            let seconds = started.elapsed().as_secs_f64() / n as f64;
            let answers = match &taught.with {
                Model::Bare => unedited.clone(),
                Model::Told => Answers::of(host, With::One(&nothing), &chosen, true)?,
                Model::Memory(memory) => Answers::of(host, With::Asked(memory.learner()), &chosen, false)?,
                Model::Adapter(adapter) => Answers::of(host, With::One(adapter), &chosen, false)?,
            };
            let rank = |adapter: &Adapter| adapter.terms().map(|(_, t)| t.rank).max().unwrap_or(0);
            let row = Row {
                method: method.name(),
                seed,
                scores: score(host, &chosen, &answers, &unedited)?,
                seconds,
                write_ms: median(&mut taught.write_ms),
                rank: match &mut taught.with {
                    Model::Memory(memory) => rank(&memory.adapter()?.0),
                    Model::Adapter(adapter) => rank(adapter),
                    Model::Bare | Model::Told => 0,
                },
                refused: taught.refused,
                moved: taught.moved,
                left_out: taught.left_out,
            };
            tell(&row);
            rows.push(row);
        }
        Ok(rows)
    }

    fn teach(&self, method: Method, chosen: &[Case], seed: u64) -> Result<Taught> {
        let mut taught = Taught { with: Model::Bare, write_ms: Vec::new(), refused: 0, moved: 0, left_out: 0 };
        match method {
            Method::Unedited => {}
            Method::InPrompt => taught.with = Model::Told,
            Method::ExactWake | Method::SpikingWake | Method::OneAdapter | Method::Sleep => {
                let mut memory = self.memory(if method == Method::ExactWake { Coding::Exact } else { Coding::Spiking })?;
                taught.refused = self.observe(&mut memory, chosen)?;
                taught.write_ms = self.writes(chosen)?;
                if method == Method::Sleep {
                    taught.moved = memory.sleep(None, self.stop, &mut |_| (), &mut |_, _| ())?;
                }
                taught.with = match method {
                    Method::OneAdapter => {
                        let (adapter, out) = memory.adapter()?;
                        taught.left_out = out.len();
                        Model::Adapter(adapter)
                    }
                    _ => Model::Memory(Box::new(memory)),
                };
            }
            Method::ShuffledReward | Method::Backprop | Method::RandomKeys => {
                let mut learner = self.learner(method == Method::ShuffledReward)?;
                let mut engrams = Vec::new();
                for case in chosen {
                    go_on(self.stop)?;
                    let exchange = Exchange::of(&self.host, &case.experience(Outcome::Success))?;
                    engrams.extend(match method {
                        Method::ShuffledReward => learner
                            .dream(&case.id(), &exchange, &case.subject, 1.0, &mut |_| (), self.stop)?
                            .engrams
                            .into_iter()
                            .take(2)
                            .collect(),
                        Method::Backprop => vec![self.descend(&mut learner, case, &exchange)?],
                        _ => self.at_random(&mut learner, case, &exchange, seed)?,
                    });
                }
                taught.with = Model::Adapter(learner.adapter_of(&engrams)?);
            }
        }
        Ok(taught)
    }

    /// Brings cases to a memory; how many it refused.
    fn observe(&self, memory: &mut Memory, chosen: &[Case]) -> Result<usize> {
        let mut refused = 0;
        for case in chosen {
            go_on(self.stop)?;
            refused += usize::from(matches!(memory.observe(&case.experience(Outcome::Success))?, Observed::Refused(_)));
        }
        Ok(refused)
    }

    /// Milliseconds that writing a token takes, keys and values given, over the first cases.
    fn writes(&self, chosen: &[Case]) -> Result<Vec<f64>> {
        let mut learner = self.learner(false)?;
        let mut times = Vec::new();
        for case in &chosen[..chosen.len().min(8)] {
            let lesson = learner.learn(&case.id(), &Exchange::of(&self.host, &case.experience(Outcome::Success))?, 1.0)?;
            if !lesson.engrams.is_empty() {
                times.push(lesson.write_s * 1e3 / lesson.engrams.len() as f64);
            }
        }
        Ok(times)
    }

    /// Backpropagation finds the value; the first token of the answer counts, as in the scores.
    fn descend(&self, learner: &mut Learner, case: &Case, exchange: &Exchange) -> Result<Engram> {
        let tokens = &exchange.prompt;
        let position = subject_end(&self.host, &case.prompt, &case.subject)?.unwrap_or(tokens.len() - 1);
        let layer = self.settings.sleep_layer;
        let key = key_at(&self.host, (), layer, tokens, position)?;
        let decoder = &self.host.decoder;
        let (value, _) = gradient::value(decoder, layer + 1, tokens, position, &exchange.answer, &Descent::default())?;
        learner.engram(&case.id(), learner.early(), places(tokens)[position], key, &value)
    }

    /// The values of wake at keys of the same length that mean nothing.
    fn at_random(&self, learner: &mut Learner, case: &Case, exchange: &Exchange, seed: u64) -> Result<Vec<Engram>> {
        let lesson = learner.learn(&case.id(), exchange, 1.0)?;
        let size = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
        let mut random = Vec::new();
        for engram in lesson.engrams.into_iter().filter(|e| e.value.iter().any(|v| *v != 0.0)) {
            let mut stream = Stream::new(key(seed, engram.place as u32), Purpose::Encoder, 0, 9);
            let mut key: Vec<f32> = engram.key.iter().map(|_| stream.normal() as f32).collect();
            let by = size(&engram.key) / size(&key);
            key.iter_mut().for_each(|x| *x *= by);
            random.push(learner.engram(&engram.experience, engram.site, engram.place, key, &engram.value)?);
        }
        Ok(random)
    }

    /// Brings experiences to a memory, then asks for each.
    pub fn told(&self, experiences: &[Experience], seed: u64, tell: &mut dyn FnMut(usize)) -> Result<Told> {
        let host = &*self.host;
        let mut memory = self.memory(self.settings.coding)?;
        let (mut times, mut observed) = (Vec::new(), Vec::new());
        for (i, experience) in experiences.iter().enumerate() {
            go_on(self.stop)?;
            let started = Instant::now();
            observed.push(memory.observe(experience)?);
            times.push(started.elapsed().as_secs_f64() * 1e3);
            tell(i + 1);
        }
        let (mut whole, mut truly, mut successes, mut refused) = (0, 0, 0, Vec::new());
        for (experience, observed) in experiences.iter().zip(&observed) {
            let learned = !matches!(observed, Observed::Refused(_));
            if let Stage::Refused { reason } = &observed.entry().stage {
                refused.push((experience.id.clone(), reason.clone()));
            }
            if experience.outcome.reward() > 0.0 {
                let exchange = Exchange::of(host, experience)?;
                let request =
                    Request { tokens: exchange.prompt.clone(), text: exchange.text.clone(), topic: exchange.topic.clone() };
                let said = super::metrics::says(host, &memory.composition_for(&request)?, &request, &exchange)?;
                successes += 1;
                whole += usize::from(said);
                truly += usize::from(said == learned);
            }
        }
        let untaught = Untaught::new(host, seed)?;
        let composed = untaught.damage(host, With::Asked(memory.learner()))?;
        let one = untaught.damage(host, With::One(&memory.adapter()?.0))?;
        let capacity = memory.capacity()?;
        Ok(Told {
            seed,
            experiences: experiences.len(),
            learned: experiences.len() - refused.len(),
            refused,
            whole,
            successes,
            truly,
            composed,
            one,
            included: capacity.included,
            ms: median(&mut times),
        })
    }

    /// `n` facts, each question with what it asks for; some of them are forgotten, each alone.
    pub fn forget(&self, all: &[Case], n: usize, seed: u64, forgotten: usize) -> Result<Forget> {
        let chosen = cases::choose(all, n, seed)?;
        let (host, nothing) = (&*self.host, Adapter::default());
        let unedited = Answers::logits(host, With::One(&nothing), &chosen, false)?;
        let mut memory = self.memory(self.settings.coding)?;
        self.observe(&mut memory, &chosen)?;
        let before = Answers::logits(host, With::Asked(memory.learner()), &chosen, false)?;
        let forgotten = forgotten.clamp(1, n);
        let mut report = Forget { seed, facts: n, forgotten, others: 0.0, own: 0.0, ea: [0.0; 3] };
        let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        for i in (0..forgotten).map(|f| f * n / forgotten) {
            go_on(self.stop)?;
            let mut learner = self.learner(false)?;
            let id = chosen[i].id();
            memory.learner().held().iter().filter(|h| h.id != id).for_each(|h| learner.hold(h.clone()));
            let after = Answers::logits(host, With::Asked(&learner), &chosen, false)?;
            for other in (0..n).filter(|other| *other != i) {
                report.others = report.others.max(apart(before.row(other, 0), after.row(other, 0)));
            }
            report.own = report.own.max(apart(unedited.row(i, 0), after.row(i, 0)));
            let wanted = Exchange::of(host, &chosen[i].experience(Outcome::Success))?.answer[0];
            for (ea, answers) in report.ea.iter_mut().zip([&before, &after, &unedited]) {
                *ea += if top(answers.row(i, 0)) == wanted { 100.0 / forgotten as f64 } else { 0.0 };
            }
        }
        Ok(report)
    }

    /// `n` actions that the model would take, each told to have failed.
    pub fn failure(&self, all: &[Case], n: usize, seed: u64) -> Result<Failure> {
        let chosen = cases::choose(all, n, seed)?;
        let (host, nothing) = (&*self.host, Adapter::default());
        let unedited = Answers::of(host, With::One(&nothing), &chosen, false)?;
        let mut memory = self.memory(self.settings.coding)?;
        let mut actions = Vec::new();
        for (i, case) in chosen.iter().enumerate() {
            go_on(self.stop)?;
            let action = top(unedited.row(i, 0));
            let answer = host.tokenizer.decode(&[action])?;
            let experience = Experience { answer, ..case.experience(Outcome::Failure) };
            if !experience.answer.trim().is_empty() && memory.observe(&experience)?.entry().stage == Stage::Awake {
                actions.push((i, action));
            }
        }
        let answers = Answers::of(host, With::Asked(memory.learner()), &chosen, false)?;
        let mut times: Vec<f64> = actions
            .iter()
            .map(|&(i, a)| f64::from(unedited.row(i, 0)[a as usize] - answers.row(i, 0)[a as usize]).exp())
            .collect();
        times.sort_by(f64::total_cmp);
        let (before, after) = (score(host, &chosen, &unedited, &unedited)?, score(host, &chosen, &answers, &unedited)?);
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

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}
