//! Many facts in one memory, one at a time: what is known after so many of them, by the memory and by what it has to be compared with, all
//! behind the same gate. A fixed random sample of the facts is asked for each time. A run that was stopped goes on from its folder.

use super::metrics::{Scores, With, firsts};
use super::run::{Bench, median};
use super::text::{TextDamage, Untaught};
use super::{Case, cases};
use crate::error::{Error, Result};
use crate::io::output;
use crate::memory::Memory;
use crate::memory::context_target::{ends, look};
use crate::memory::exchange::{Exchange, Request};
use crate::memory::experience::Outcome;
use crate::memory::key_statistics::go_on;
use crate::memory::learner::{Composition, Learner, Part};
use crate::memory::settings::Coding;
use crate::rng::{Purpose, Stream, key};
use crate::transformer::decoder::Logits;
use crate::transformer::hooks::{Adapter, Hooks, Row};
use crate::transformer::sample::{log_softmax, top};
use crate::transformer::{Host, Source, joined};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

/// A way to answer behind the gate that says which experiences a question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The model as it is.
    Unedited,
    /// What the question asks for is composed into an adapter.
    Gated,
    /// All that fits together as one adapter for every question, as it is exported.
    OneAdapter,
    /// The facts that the question asks for stand before it.
    InPrompt,
    /// Control: the answer of the fact that is covered best is printed, with no model.
    LookUp,
    /// Control: the right fact is composed at its questions and at those about its subject, nothing at others.
    Oracle,
    /// Control: where the gate opens, a fact drawn at random is composed.
    Random,
    /// Control: what the context adds to the residual, 1.5 times, added whatever the key.
    Additive,
}

impl Way {
    /// Every way, in the order of tables.
    pub const ALL: [Way; 8] =
        [Way::Unedited, Way::Gated, Way::OneAdapter, Way::InPrompt, Way::LookUp, Way::Oracle, Way::Random, Way::Additive];

    /// As tables and the command line spell it.
    pub fn name(self) -> &'static str {
        match self {
            Way::Unedited => "unedited",
            Way::Gated => "gated",
            Way::OneAdapter => "one-adapter",
            Way::InPrompt => "in-prompt",
            Way::LookUp => "look-up",
            Way::Oracle => "oracle",
            Way::Random => "random",
            Way::Additive => "additive",
        }
    }
}

/// What is asked when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Numbers of facts after which is asked, rising.
    pub at: Vec<usize>,
    /// What answers then.
    pub ways: Vec<Way>,
    /// Facts that are asked for at most.
    pub sample: usize,
    /// Facts that are forgotten together in the end.
    pub forget: usize,
}

/// One way after so many facts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Point {
    /// What answered.
    pub way: Way,
    /// Facts that were told, and those of them that were asked for.
    pub facts: usize,
    /// Facts that were asked for.
    pub asked: usize,
    /// What came.
    pub scores: Scores,
    /// EA (%) of the first 1,000, as many of them as were asked for.
    pub first: f64,
    /// Other questions about the subjects: the part (%) whose likeliest answer is the unedited model's.
    pub other_kept: f64,
    /// Of them the part (%) that the fact itself answers, wrongly.
    pub other_said: f64,
    /// Texts that nobody taught; None for ways that leave them alone as the gate does.
    pub text: Option<TextDamage>,
    /// Milliseconds that finding and composing what a question asks for takes; median.
    pub gate_ms: f64,
}

/// What the memory took for so many facts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Facts that were told.
    pub facts: usize,
    /// Of them those that the memory refused.
    pub refused: usize,
    /// Wall seconds a fact.
    pub seconds: f64,
    /// Bytes a fact of what is composed.
    pub bytes: f64,
    /// Facts in the one adapter, where it was asked for.
    pub included: Option<usize>,
}

/// Some of many facts forgotten together.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Forgot {
    /// Facts before.
    pub facts: usize,
    /// Facts that went.
    pub forgotten: usize,
    /// Facts that stayed and were asked for.
    pub asked: usize,
    /// Largest change of a logit on prompts and paraphrases of those that stayed.
    pub others: f32,
    /// Of those that went the part (%) whose logits are the unedited model's to the last bit.
    pub gone: f64,
    /// EA (%) of those that went: before and after.
    pub ea: [f64; 2],
}

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sequence {
    /// Whether keys and values pass through spikes.
    pub coding: Coding,
    /// Chooses the cases and those that are asked for.
    pub seed: u64,
    /// Every way at every number of facts.
    pub points: Vec<Point>,
    /// The memory at every number of facts.
    pub loads: Vec<Load>,
    /// At the largest number.
    pub forgot: Option<Forgot>,
}

/// What is kept beside the memory, so that a run can go on.
#[derive(Serialize, Deserialize)]
struct State {
    /// What the results depend on.
    of: serde_json::Value,
    /// Facts whose time was taken, and seconds.
    timed: (usize, f64),
    done: Sequence,
}

/// Where a run is kept.
pub struct Place<'a> {
    /// Its folder.
    pub folder: &'a Path,
    /// The model, by which the memory is known again.
    pub source: &'a Source,
    /// What else the results depend on: the cases, what is protected.
    pub of: serde_json::Value,
}

/// Facts between two times that the state is kept.
const CHUNK: usize = 25;
/// The first facts, which are asked for again.
const FIRST: usize = 1000;
/// What the control adds, in units of what the context adds.
const ADDED: f32 = 1.5;

impl Bench<'_> {
    /// Facts awake, one at a time; after each number of them in the plan every way is asked. `tell` hears what goes on and the part done,
    /// `say` each result.
    ///
    /// # Errors
    /// A plan without numbers or with more than there are cases; a folder that holds another run.
    pub fn sequence(
        &self,
        all: &[Case],
        plan: &Plan,
        seed: u64,
        place: Option<&Place>,
        tell: &dyn Fn(&str, f64),
        say: &mut dyn FnMut(&Point),
    ) -> Result<Sequence> {
        let last = plan.at.iter().copied().max().unwrap_or(0);
        if last == 0 || plan.sample == 0 || plan.at.windows(2).any(|w| w[0] >= w[1]) || plan.at[0] == 0 {
            return Err(Error::input("numbers of facts that do not rise", "name some above 0, such as --at 100,300,1000"));
        }
        let chosen = cases::choose(all, last, seed)?;
        let mut run = Run::begin(self, plan, seed, place)?;
        let early = plan.at.iter().find(|n| **n < run.known() && plan.ways.iter().any(|way| !run.has(*way, **n)));
        if let Some(n) = early {
            return Err(Error::input(
                format!("the memory of this run holds {} facts already: what is known after {n} cannot be asked", run.known()),
                "ask for more facts, or name a new --out",
            ));
        }
        let mut asker = Asker::new(&self.host, all, self.settings.wake_layer);
        for &n in &plan.at {
            run.teach(&chosen[..n], last, self, tell)?;
            run.ask(&chosen[..n], plan, self, &mut asker, tell, say)?;
        }
        if plan.forget > 0 && run.state.done.forgot.is_none_or(|f| f.facts != last) {
            tell("forgetting", 0.0);
            let forgot = self.without(&run.memory, &chosen, plan, seed)?;
            run.state.done.forgot = Some(forgot);
            run.keep()?;
        }
        Ok(run.state.done)
    }

    /// What changes where some of the facts are gone.
    fn without(&self, memory: &Memory, chosen: &[Case], plan: &Plan, seed: u64) -> Result<Forgot> {
        let host = &*self.host;
        // Those that are asked for come first in this order.
        let order = sample(seed, chosen.len(), chosen.len());
        let count = plan.forget.min(chosen.len() / 2).max(1);
        let gone: Vec<&Case> = order[chosen.len() - count..].iter().map(|i| &chosen[*i]).collect();
        let stay: Vec<&Case> = order[..plan.sample.min(100).min(chosen.len() - count)].iter().map(|i| &chosen[*i]).collect();
        let ids: std::collections::HashSet<String> = gone.iter().map(|c| c.id()).collect();
        let mut learner = Learner::new(self.host.clone(), &self.settings, &self.statistics.texts)?;
        learner.study(self.statistics.clone())?;
        memory.learner().held().iter().filter(|h| !ids.contains(&h.id)).for_each(|h| learner.hold(h.clone()));
        let mut forgot =
            Forgot { facts: chosen.len(), forgotten: count, asked: stay.len(), others: 0.0, gone: 0.0, ea: [0.0; 2] };
        let logits = |learner: Option<&Learner>, prompt: &str| -> Result<Vec<f32>> {
            let request = Request::of_text(host, prompt)?;
            let composition = learner.map_or_else(|| Ok(Composition::default()), |l| With::Asked(l).composition(&request))?;
            let mut work = composition.at_work(request.tokens.len());
            let output = host.decoder.forward(&mut [host.decoder.cache()], &[&request.tokens], Logits::Last, &mut work)?;
            Ok(output.row(0).to_vec())
        };
        for case in stay {
            go_on(self.stop)?;
            for prompt in [&case.prompt, &case.rephrase_prompt] {
                let (before, after) = (logits(Some(memory.learner()), prompt)?, logits(Some(&learner), prompt)?);
                forgot.others = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(forgot.others, f32::max);
            }
        }
        let percent = 100.0 / count as f64;
        for case in gone {
            go_on(self.stop)?;
            let new = firsts(host, case)?[0][0];
            let [before, after] = [memory.learner(), &learner].map(|l| logits(Some(l), &case.prompt));
            let (before, after) = (before?, after?);
            forgot.gone += if after == logits(None, &case.prompt)? { percent } else { 0.0 };
            for (ea, row) in forgot.ea.iter_mut().zip([before, after]) {
                *ea += if top(&row) == new { percent } else { 0.0 };
            }
        }
        Ok(forgot)
    }
}

/// Which of the first `n` facts are asked for, at most so many: a function of the seed that a larger `n` changes little.
fn sample(seed: u64, n: usize, most: usize) -> Vec<usize> {
    let mut order: Vec<(u32, usize)> =
        (0..n).map(|i| (Stream::new(key(seed, i as u32), Purpose::Encoder, 0, 13).u32(), i)).collect();
    order.sort_unstable();
    order.into_iter().take(most).map(|(_, i)| i).collect()
}

/// A run at work.
struct Run<'a> {
    memory: Memory,
    state: State,
    place: Option<&'a Place<'a>>,
}

impl<'a> Run<'a> {
    fn begin(bench: &Bench, plan: &Plan, seed: u64, place: Option<&'a Place<'a>>) -> Result<Run<'a>> {
        let done = Sequence { coding: bench.settings.coding, seed, points: Vec::new(), loads: Vec::new(), forgot: None };
        let mut state = State { of: serde_json::Value::Null, timed: (0, 0.0), done };
        let Some(at) = place else {
            let memory = Memory::in_memory(bench.host.clone(), &bench.settings, bench.statistics)?;
            return Ok(Run { memory, state, place });
        };
        state.of = serde_json::json!({
            "model": at.source.fingerprint()?, "settings": bench.settings, "seed": seed, "sample": plan.sample, "of": at.of,
        });
        let (file, folder) = (file(at, seed), at.folder.join(format!("memory-{seed}")));
        if file.exists() {
            let text = std::fs::read_to_string(&file).map_err(|e| Error::file(&file, e))?;
            let kept: Option<State> = serde_json::from_str(&text).ok();
            let Some(kept) = kept.filter(|kept| kept.of == state.of) else {
                return Err(Error::input(
                    format!("{} is of another run", file.display()),
                    "name a new --out, or use the model, cases, settings and sample of that run",
                ));
            };
            state = kept;
        } else if folder.exists() {
            return Err(Error::input(format!("{} is there and not of such a run", folder.display()), "name a new --out"));
        }
        let mut memory = Memory::open_or_create(&folder, at.source, bench.host.clone(), &bench.settings)?;
        memory.prepare(|_| Ok(bench.statistics.clone()))?;
        let run = Run { memory, state, place };
        run.keep()?;
        Ok(run)
    }

    /// Facts that the memory was told.
    fn known(&self) -> usize {
        self.memory.entries().len()
    }

    fn has(&self, way: Way, facts: usize) -> bool {
        self.state.done.points.iter().any(|p| p.way == way && p.facts == facts)
    }

    fn keep(&self) -> Result<()> {
        let Some(place) = self.place else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.state).unwrap_or_default() + "\n";
        output::write(&file(place, self.state.done.seed), text, true)
    }

    /// Tells the memory what it does not know yet.
    fn teach(&mut self, cases: &[Case], last: usize, bench: &Bench, tell: &dyn Fn(&str, f64)) -> Result<()> {
        let entries = self.memory.entries();
        if entries.iter().zip(cases).any(|(entry, case)| entry.experience.id != case.id()) {
            return Err(Error::input("the memory of this run holds other facts", "name a new --out"));
        }
        for some in cases[self.known().min(cases.len())..].chunks(CHUNK) {
            for case in some {
                go_on(bench.stop)?;
                tell(&format!("learning, {} of {last}", self.known()), self.known() as f64 / last as f64);
                let started = Instant::now();
                self.memory.observe(&case.experience(Outcome::Success))?;
                let (count, seconds) = &mut self.state.timed;
                *count += 1;
                *seconds += started.elapsed().as_secs_f64();
            }
            self.keep()?;
        }
        Ok(())
    }

    /// Asks every way that was not asked yet after these facts.
    fn ask(
        &mut self,
        cases: &[Case],
        plan: &Plan,
        bench: &Bench,
        asker: &mut Asker,
        tell: &dyn Fn(&str, f64),
        say: &mut dyn FnMut(&Point),
    ) -> Result<()> {
        let (n, seed, host) = (cases.len(), self.state.done.seed, &*bench.host);
        let left: Vec<Way> = plan.ways.iter().copied().filter(|way| !self.has(*way, n)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let (count, seconds) = self.state.timed;
        let engrams = self.memory.learner().held().iter().flat_map(|h| &h.engrams);
        let numbers: usize = engrams.map(|e| e.key.len() + e.trace.len() + e.factor.len() + e.value.len()).sum();
        let refused = self.memory.entries().iter().filter(|e| !e.stage.is_written()).count();
        let mut load = Load {
            facts: n,
            refused,
            seconds: seconds / count.max(1) as f64,
            bytes: 4.0 * numbers as f64 / n as f64,
            included: self.state.done.loads.iter().find(|l| l.facts == n).and_then(|l| l.included),
        };
        let adapter = match left.contains(&Way::OneAdapter) {
            true => {
                tell("one adapter", 0.0);
                let (adapter, _) = self.memory.adapter()?;
                load.included = Some(self.memory.capacity()?.included);
                adapter
            }
            false => Adapter::default(),
        };
        self.state.done.loads.retain(|l| l.facts != n);
        self.state.done.loads.push(load);
        let learner = self.memory.learner();
        let (asked, first) = (sample(seed, n, plan.sample), sample(seed, n.min(FIRST), plan.sample));
        let mut points = Vec::new();
        for &way in &left {
            let with = Answering { way, learner, adapter: &adapter, cases, seed };
            let mut sums = Sums::default();
            for (i, &at) in asked.iter().enumerate() {
                go_on(bench.stop)?;
                tell(&format!("{} after {n}", way.name()), i as f64 / asked.len() as f64);
                sums.add(asker, &with, at)?;
            }
            // Up to a thousand facts they are those that were asked for.
            let (mut first_ea, others) = match first == asked {
                true => (100.0 * sums.scores.ea / asked.len() as f64, &[][..]),
                false => (0.0, &first[..]),
            };
            for &at in others {
                go_on(bench.stop)?;
                let new = firsts(host, &cases[at])?[0][0];
                first_ea += if asker.said(&with, at, 0)?.top == new { 100.0 / first.len() as f64 } else { 0.0 };
            }
            let text = match way {
                Way::Gated => Some(asker.untaught(seed)?.damage(host, With::Asked(learner))?),
                Way::OneAdapter => Some(asker.untaught(seed)?.damage(host, With::One(&adapter))?),
                _ => None,
            };
            let point = sums.point(way, n, first_ea, text);
            say(&point);
            points.push(point);
        }
        self.state.done.points.extend(points);
        self.keep()
    }
}

fn file(place: &Place, seed: u64) -> std::path::PathBuf {
    place.folder.join(format!("state-{seed}.json"))
}

/// What answers.
struct Answering<'a> {
    way: Way,
    learner: &'a Learner,
    adapter: &'a Adapter,
    cases: &'a [Case],
    seed: u64,
}

/// How one question is answered.
enum How {
    Bare,
    Composed(Composition),
    One,
    /// After these facts.
    Told(String),
    /// By this answer.
    Says(String),
    /// What the context of this experience adds.
    Added(String),
}

impl Answering<'_> {
    fn how(&self, asker: &mut Asker, at: usize, which: usize, request: &Request) -> Result<How> {
        let own = self.cases[at].id();
        match self.way {
            Way::Unedited => return Ok(How::Bare),
            Way::OneAdapter => return Ok(How::One),
            Way::Oracle if which == NEIGHBOUR => return Ok(How::Bare),
            Way::Oracle => return Ok(How::Composed(self.learner.compose_of(&[&own], which == 0)?)),
            _ => {}
        }
        let started = Instant::now();
        let composition = self.learner.compose(&request.asks())?;
        asker.gate_ms.push(started.elapsed().as_secs_f64() * 1e3);
        let parts = &composition.parts;
        // The first of those that are covered best.
        let best = parts.iter().rev().max_by(|a, b| a.coverage.total_cmp(&b.coverage));
        let Some(best) = best else { return Ok(How::Bare) };
        let held = self.learner.held();
        Ok(match self.way {
            Way::InPrompt => How::Told(parts.iter().map(|part| self.told(part)).collect()),
            Way::LookUp => How::Says(self.case(&best.id).map_or_else(String::new, |case| case.target_new.clone())),
            Way::Additive => How::Added(best.id.clone()),
            Way::Random => {
                let mut stream = Stream::new(key(self.seed, at as u32), Purpose::Encoder, which as u32, 14);
                let drawn = &held[stream.below(held.len() as u32) as usize].id;
                How::Composed(self.learner.compose_of(&[drawn], best.exact)?)
            }
            _ => How::Composed(composition),
        })
    }

    fn case(&self, id: &str) -> Option<&Case> {
        let number: Option<u64> = id.strip_prefix("case-").and_then(|n| n.parse().ok());
        self.cases.iter().find(|case| Some(case.case_id) == number)
    }

    fn told(&self, part: &Part) -> String {
        self.case(&part.id).map_or_else(String::new, |c| format!("{}{}.\n", c.prompt, joined(&c.prompt, &c.target_new)))
    }
}

/// Questions of a case: its prompt, the paraphrase, a neighbour's prompt, and another question about its subject.
const QUESTIONS: usize = 4;
const NEIGHBOUR: usize = 2;
const OTHER: usize = 3;

/// What came of one question.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Said {
    /// The likeliest first token.
    top: u32,
    /// Log-probabilities of the new answer's first token, and of the one that it competes with.
    log_p: [f32; 2],
    /// Greedy decoding says the whole answer and ends.
    whole: bool,
    /// Divergence of the unedited model's answers from these, nats; asked for at neighbours alone.
    kl: f64,
}

/// Asks, and remembers what was answered to the same question with the same help.
struct Asker<'a> {
    host: &'a Host,
    all: &'a [Case],
    layer: usize,
    known: HashMap<(u64, usize, String), Said>,
    untaught: Option<Untaught>,
    gate_ms: Vec<f64>,
}

impl<'a> Asker<'a> {
    fn new(host: &'a Host, all: &'a [Case], layer: usize) -> Asker<'a> {
        Asker { host, all, layer, known: HashMap::new(), untaught: None, gate_ms: Vec::new() }
    }

    fn untaught(&mut self, seed: u64) -> Result<&Untaught> {
        if self.untaught.is_none() {
            self.untaught = Some(Untaught::new(self.host, seed)?);
        }
        self.untaught.as_ref().ok_or_else(|| Error::input("no texts", "report this"))
    }

    /// Another question about the subject of a case: that of a fact of another answer, with its subject replaced. A function of the case;
    /// some of them are nonsense. The case's own prompt where there is none.
    fn other(&self, case: &Case) -> String {
        let mut stream = Stream::new(key(case.case_id, 1), Purpose::Encoder, 0, 15);
        for _ in 0..200 {
            let other = &self.all[stream.below(self.all.len() as u32) as usize];
            let asked = other.prompt.replace(&other.subject, &case.subject);
            let apart = other.target_new != case.target_new && other.ground_truth != case.ground_truth;
            if other.prompt.contains(&other.subject) && apart && asked != case.prompt {
                return asked;
            }
        }
        case.prompt.clone()
    }

    fn question(&self, case: &Case, which: usize) -> String {
        match which {
            0 => case.prompt.clone(),
            1 => case.rephrase_prompt.clone(),
            NEIGHBOUR => case.locality_prompt.clone(),
            _ => self.other(case),
        }
    }

    fn said(&mut self, with: &Answering, at: usize, which: usize) -> Result<Said> {
        let (host, case) = (self.host, &with.cases[at]);
        let question = self.question(case, which);
        let how = with.how(self, at, which, &Request::of_text(host, &question)?)?;
        let name = match &how {
            How::Bare => String::new(),
            How::Composed(c) => {
                c.parts.iter().fold("composed".into(), |name, p| format!("{name} {}{}", p.id, if p.exact { "" } else { "?" }))
            }
            How::Told(text) => format!("told {text}"),
            How::Says(text) => format!("says {text}"),
            How::Added(id) => format!("added {id}"),
            // Another one after every number of facts.
            How::One => return self.hear(with, case, which, &question, &how),
        };
        let name = (case.case_id, which, name);
        if let Some(said) = self.known.get(&name) {
            return Ok(*said);
        }
        let said = self.hear(with, case, which, &question, &how)?;
        self.known.insert(name, said);
        Ok(said)
    }

    fn hear(&mut self, with: &Answering, case: &Case, which: usize, question: &str, how: &How) -> Result<Said> {
        let host = self.host;
        let first = |answer: &str| host.exchange(question, answer).map(|(_, tokens)| tokens[0]);
        let rival = if which == NEIGHBOUR { &case.locality_ground_truth } else { &case.ground_truth };
        let pair = [first(&case.target_new)?, first(rival)?];
        let asked = match how {
            How::Told(facts) => format!("{facts}{question}"),
            _ => question.to_string(),
        };
        let rows = match how {
            How::Says(answer) => {
                let top = first(answer)?;
                let log_p = pair.map(|token| if token == top { 0.0 } else { f32::NEG_INFINITY });
                return Ok(Said { top, log_p, whole: *answer == case.target_new, kl: f64::NAN });
            }
            How::Composed(composition) => {
                self.rows(case, which, &asked, composition.at_work(Request::of_text(host, &asked)?.tokens.len()))?
            }
            How::One => self.rows(case, which, &asked, with.adapter)?,
            How::Added(id) => {
                let source = with.case(id).unwrap_or(case);
                let exchange = Exchange::of(host, &source.experience(Outcome::Success))?;
                let sight =
                    look(host, (), self.layer, &exchange, &[&[exchange.end][..], &host.tokenizer.encode_bare("\n")?].concat())?;
                let deltas = sight.tokens.iter().map(|t| t.value.iter().map(|v| ADDED * v).collect()).collect();
                let start = Request::of_text(host, &asked)?.tokens.len() - 1;
                self.rows(case, which, &asked, Added { layer: self.layer + 1, start, deltas })?
            }
            How::Bare | How::Told(_) => self.rows(case, which, &asked, ())?,
        };
        let mut said = rows.0;
        let log_p = &rows.1;
        said.log_p = pair.map(|token| log_p[token as usize]);
        if which == NEIGHBOUR && !matches!(how, How::Bare) {
            let (_, bare) = self.rows(case, which, question, ())?;
            said.kl = bare.iter().zip(log_p).map(|(p, q)| f64::from(*p).exp() * f64::from(p - q)).sum();
        }
        Ok(said)
    }

    /// The first token's log-probabilities, and whether the whole answer comes where one is wanted.
    fn rows(&self, case: &Case, which: usize, asked: &str, mut hooks: impl Hooks) -> Result<(Said, Vec<f32>)> {
        let (host, experience) = (self.host, Case { prompt: asked.into(), ..case.clone() }.experience(Outcome::Success));
        let Exchange { prompt, answer, end, .. } = Exchange::of(host, &experience)?;
        let answer = if which < NEIGHBOUR { answer } else { Vec::new() };
        let (n, all) = (answer.len() + 1, [&prompt[..], &answer].concat());
        let output = host.decoder.forward(&mut [host.decoder.cache()], &[&all], Logits::Tail(n), &mut hooks)?;
        let tops: Vec<u32> = (0..n).map(|t| top(output.row(t))).collect();
        let whole = which < NEIGHBOUR && tops[..n - 1] == answer[..] && ends(host, end).contains(&tops[n - 1]);
        let mut row = output.row(0).to_vec();
        log_softmax(&mut row);
        Ok((Said { top: tops[0], log_p: [0.0; 2], whole, kl: 0.0 }, row))
    }
}

/// Adds to the residual entering a layer, from one position on, a step each.
struct Added {
    layer: usize,
    start: usize,
    deltas: Vec<Vec<f32>>,
}

impl Hooks for Added {
    fn residual(&mut self, layer: usize, rows: &[Row], values: &mut [f32]) {
        if layer != self.layer {
            return;
        }
        let width = values.len() / rows.len().max(1);
        for (row, value) in rows.iter().zip(values.chunks_exact_mut(width)) {
            if let Some(delta) = row.position.checked_sub(self.start).and_then(|t| self.deltas.get(t)) {
                value.iter_mut().zip(delta).for_each(|(v, d)| *v += d);
            }
        }
    }
}

/// Answers, added up.
#[derive(Default)]
struct Sums {
    n: usize,
    scores: Scores,
    other: [f64; 2],
    gate_ms: Vec<f64>,
}

impl Sums {
    fn add(&mut self, asker: &mut Asker, with: &Answering, at: usize) -> Result<()> {
        let case = &with.cases[at];
        asker.gate_ms.clear();
        let bare = Answering { way: Way::Unedited, ..*with };
        let mut said = Vec::with_capacity(QUESTIONS);
        for which in 0..QUESTIONS {
            said.push((asker.said(with, at, which)?, asker.said(&bare, at, which)?));
        }
        self.gate_ms.append(&mut asker.gate_ms);
        let [asked, again, _] = firsts(asker.host, case)?;
        let new = asker.host.exchange(&asker.other(case), &case.target_new)?.1[0];
        let point = |yes: bool| f64::from(u8::from(yes));
        let likelier = |s: &Said| s.log_p[0] > s.log_p[1];
        let (own, para, near, other) = (said[0].0, said[1].0, said[NEIGHBOUR], said[OTHER]);
        let s = &mut self.scores;
        s.es += point(likelier(&own));
        s.ea += point(own.top == asked[0]);
        s.ps += point(likelier(&para));
        s.pa += point(para.top == again[0]);
        s.ns += point(!likelier(&near.0));
        s.nk += point(near.0.top == near.1.top);
        s.kl += near.0.kl;
        s.w += point(own.whole);
        s.wp += point(para.whole);
        s.log_p += f64::from(own.log_p[0]);
        self.other[0] += point(other.0.top == other.1.top);
        self.other[1] += point(other.0.top == new);
        self.n += 1;
        Ok(())
    }

    fn point(mut self, way: Way, facts: usize, first: f64, text: Option<TextDamage>) -> Point {
        let (n, s) = (self.n.max(1) as f64, &mut self.scores);
        for percent in [&mut s.es, &mut s.ea, &mut s.ps, &mut s.pa, &mut s.ns, &mut s.nk, &mut s.w, &mut s.wp] {
            *percent *= 100.0 / n;
        }
        (s.kl, s.log_p) = (s.kl / n, s.log_p / n);
        s.s = 3.0 / [s.es, s.ps, s.ns].iter().map(|x| 1.0 / x.max(1e-9)).sum::<f64>();
        let [other_kept, other_said] = self.other.map(|x| 100.0 * x / n);
        let gate_ms = median(&mut self.gate_ms);
        Point { way, facts, asked: self.n, scores: self.scores, first, other_kept, other_said, text, gate_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_of_the_facts_and_lasts() {
        let (few, more) = (sample(3, 50, 20), sample(3, 200, 20));
        assert!(few.len() == 20 && few.iter().all(|i| *i < 50) && more.iter().all(|i| *i < 200));
        // Of those that are in the larger choice the early ones were in the smaller one.
        assert!(more.iter().filter(|i| **i < 50).all(|i| few.contains(i)));
        assert!(sample(4, 50, 20) != few && sample(3, 5, 20).len() == 5);
    }
}
