//! A memory folder at work: experiences come in, requests are answered, sleep, forgetting, history and export, each durable when the call
//! returns. Every experience is one commit, asleep as well, so that a stop at any moment keeps what is done. What the folder holds after
//! any history is what a folder would hold that never met what is gone. Joins store and learner; knows no command line.

use super::Engram;
use super::canaries::Damage;
use super::context_target::{places, site};
use super::coverage::Topic;
use super::episodic::{Episodic, With};
use super::exchange::{Exchange, Request};
use super::experience::{Experience, Outcome, now};
use super::journal::{Change, Entry, Stage};
use super::key_statistics::{Statistics, flat, unflat};
use super::learner::{Capacity, Composition, Counted, Held, Learner};
use super::relation::Relations;
use super::settings::Settings;
use super::standing::{Standing, question, standings};
use super::store::{Compaction, Left, Meta, Store, VERSION};
use super::wake::{self, Check};
use crate::error::{Error, Result};
use crate::export::{self, Base};
use crate::recall::replay::{Priority, Rest, Trace, recency};
use crate::recall::{Ask, Episode, hippocampus as recall};
use crate::transformer::config::Config;
use crate::transformer::hooks::Adapter;
use crate::transformer::sample::Sampler;
use crate::transformer::{Ending, Host, Source};
use serde::Serialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Nights in which a fact is replayed before sleep leaves it to the wake memory, where others stand in its way; one otherwise.
const TRIALS: u32 = 3;

/// Names of what is kept about the keys of a layer.
const MOMENT: &str = "moment";
const CODES: &str = "codes";
const TEXTS: &str = "texts";
const CANARIES: &str = "canaries";
const RELATIONS: &str = "relations";

/// An open memory.
pub struct Memory {
    store: Store,
    learner: Learner,
    /// In order of arrival, as the store has them.
    entries: Vec<Entry>,
    /// What can be recalled, once it was asked for.
    episodic: Option<Episodic>,
}

/// What came of an experience that was brought to a memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// Learned: its whole answer comes out, its end included (of a failure: its action became unlikely).
    Learned(Entry),
    /// In the memory already, and in effect.
    Before(Entry),
    /// Not learned; it is kept in the journal with the reason.
    Refused(Entry),
}

impl Observed {
    /// The experience with its stage and note, whatever came of it.
    pub fn entry(&self) -> &Entry {
        match self {
            Observed::Learned(entry) | Observed::Before(entry) | Observed::Refused(entry) => entry,
        }
    }
}

/// What sleep did with one experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Slept {
    /// The experience with its stage afterwards: asleep where it moved, with a note where it did not.
    pub entry: Entry,
    /// Probability of a token of the answer by what the early layer was taught (mean of the mean and the worst, as a logarithm).
    pub probability: f32,
    /// Wall time of its replay, s.
    pub seconds: f64,
}

/// What a memory said to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Everything that was said, without the token that ended it.
    pub text: String,
    /// Why it ended.
    pub ending: Ending,
    /// The experiences that spoke.
    pub composition: Composition,
}

/// What was exported.
#[derive(Clone, Debug, Serialize)]
pub struct Exported {
    /// What was written where, and how far what is read back differs.
    #[serde(flatten)]
    pub report: export::Report,
    /// Experiences that the one adapter leaves out.
    pub left_out: Vec<String>,
    /// What it does to the canaries.
    pub damage: Damage,
}

/// What checking a memory found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// Experiences that stand, and those of them whose answer does not come out.
    pub standing: usize,
    /// Ids of those that stand and whose answer does not come out.
    pub wrong: Vec<String>,
    /// Experiences that are not in the one adapter.
    pub left_out: Vec<String>,
    /// What the one adapter does to the canaries.
    pub damage: Damage,
    /// The decisions about the one adapter, made anew, are those that are kept.
    pub agrees: bool,
}

/// What a memory of a model starts from.
pub fn meta(source: &Source, settings: &Settings) -> Result<Meta> {
    Ok(Meta { model: source.name.clone(), fingerprint: source.fingerprint()?, ..meta_of(&source.config, settings)? })
}

/// The same of a model without a name.
fn meta_of(config: &Config, settings: &Settings) -> Result<Meta> {
    Ok(Meta {
        version: VERSION,
        model: String::new(),
        fingerprint: String::new(),
        architecture: config.architecture.name().into(),
        layers: config.layers,
        width: config.width,
        feed_forward: config.feed_forward,
        created: now(),
        user: None,
        settings: serde_json::to_value(settings).map_err(|e| Error::input(e.to_string(), "give numbers where numbers stand"))?,
    })
}

/// The settings that a memory was made with.
pub fn settings(store: &Store) -> Result<Settings> {
    serde_json::from_value(store.meta().settings.clone())
        .map_err(|e| Error::input(format!("settings of the memory: {e}"), "make a new memory, with this version of sharpwave"))
}

/// The model of a memory: as asked for, or as the memory has it.
///
/// # Errors
/// A model that is not there, or is not the memory's.
pub fn model_of(store: &Store, asked: Option<&str>) -> Result<Source> {
    store.check_version()?;
    let name = asked.unwrap_or(&store.meta().model);
    let path = Path::new(name);
    if asked.is_none() && !path.exists() && (path.is_absolute() || name.starts_with('.')) {
        let what = format!("the model of this memory is no longer at {name}");
        return Err(Error::input(what, "name where it is now: --model PATH"));
    }
    let source = Source::open(name)?;
    store.check_model(&source.fingerprint()?)?;
    Ok(source)
}

/// Forgets experiences, with no model at hand: their engrams and their text. What one of them had replaced stands again. All of them or,
/// where one id is unknown, none.
pub fn forget(store: &Store, ids: &[&str]) -> Result<Vec<Left>> {
    let mut entries = store.entries()?;
    // A memory that cannot say where sleep writes has not slept.
    let early = settings(store).ok().map(|s| site(s.sleep_layer));
    let asleep =
        |entry: &Entry| Ok(early.is_some_and(|early| store.sites(&entry.experience.id).is_ok_and(|s| s.contains(&early))));
    for entry in entries.iter_mut().filter(|e| ids.contains(&e.experience.id.as_str())) {
        entry.stage = Stage::Forgotten;
    }
    let standings = standings(&entries);
    let changed = settle(&mut entries, &standings, asleep)?;
    store.forget(ids, &Change { entries: changed, ..Change::default() })
}

/// What was told about the same question as an experience, in order of time.
pub fn history(store: &Store, id: &str) -> Result<Vec<Entry>> {
    let asked = question(&store.find(id)?.experience);
    let mut all = store.entries()?;
    all.retain(|e| question(&e.experience) == asked);
    all.sort_by_key(|e| (e.instant(), e.arrived));
    Ok(all)
}

/// Gives entries the stages that their standings ask for; those that changed come back. `asleep` says whether sleep wrote one.
fn settle(entries: &mut [Entry], standings: &[Standing], asleep: impl Fn(&Entry) -> Result<bool>) -> Result<Vec<Entry>> {
    let mut changed = Vec::new();
    for (entry, standing) in entries.iter_mut().zip(standings) {
        let stage = match standing {
            Standing::Apart => continue,
            Standing::Replaced { by } => Stage::Superseded { by: by.clone() },
            Standing::Stands | Standing::Double { .. } | Standing::Answered { .. }
                if matches!(entry.stage, Stage::Superseded { .. }) =>
            {
                if asleep(entry)? {
                    Stage::Asleep
                } else {
                    Stage::Awake
                }
            }
            Standing::Stands | Standing::Double { .. } | Standing::Answered { .. } => continue,
        };
        if entry.stage != stage {
            entry.stage = stage;
            changed.push(entry.clone());
        }
    }
    Ok(changed)
}

impl Memory {
    /// Takes up the memory of a store, whose model `host` is. A memory that learned nothing yet needs [`Memory::prepare`] first.
    pub fn new(store: Store, host: Arc<Host>) -> Result<Memory> {
        let settings = settings(&store)?;
        let late = site(settings.wake_layer);
        let texts = store.statistics(late, TEXTS)?.map_or_else(|| Ok(Vec::new()), |t| unflat(&t))?;
        let mut learner = Learner::new(host, &settings, &texts)?;
        if let Some(numbers) = store.statistics(late, RELATIONS)? {
            learner.relate(Relations::from_numbers(&numbers)?);
        }
        let entries = store.entries()?;
        let mut engrams: HashMap<String, Vec<Engram>> = HashMap::new();
        for engram in store.engrams()? {
            engrams.entry(engram.experience.clone()).or_default().push(engram);
        }
        let standing = standings(&entries);
        for (entry, standing) in entries.iter().zip(standing).filter(|(e, _)| e.stage.may_have_engrams()) {
            let own = engrams.remove(&entry.experience.id).unwrap_or_default();
            let asleep = own.iter().any(|e| e.site == learner.early());
            let (topic, answer) = asked(&learner.host, &entry.experience, asleep);
            let stands = standing == Standing::Stands;
            learner.hold(Held { id: entry.experience.id.clone(), topic, stands, gain: entry.gain, answer, engrams: own });
        }
        if let Some(plan) = store.plan()? {
            let counted: Vec<Counted> = serde_json::from_value(plan)
                .map_err(|e| Error::input(format!("the memory's plan: {e}"), "use the version of sharpwave that made it"))?;
            learner.set_counted(counted);
        }
        Ok(Memory { store, learner, entries, episodic: None })
    }

    /// The memory in a folder.
    ///
    /// # Errors
    /// No memory there, one in use by another process, or one of another model.
    pub fn open(folder: &Path, source: &Source, host: Arc<Host>) -> Result<Memory> {
        let store = Store::open(folder)?;
        store.check_model(&source.fingerprint()?)?;
        Memory::new(store, host)
    }

    /// The memory in a folder, made where there is none.
    pub fn open_or_create(folder: &Path, source: &Source, host: Arc<Host>, settings: &Settings) -> Result<Memory> {
        Memory::new(Store::open_or_create(folder, &meta(source, settings)?)?, host)
    }

    /// A memory without a folder, gone when it is dropped: for measuring, and for what need not last.
    pub fn in_memory(host: Arc<Host>, settings: &Settings, statistics: &Statistics) -> Result<Memory> {
        let meta = meta_of(&host.decoder.config, settings)?;
        let store = Store::in_memory(&meta)?;
        let mut memory = Memory::new(store, host)?;
        memory.prepare(|_| Ok(statistics.clone()))?;
        Ok(memory)
    }

    /// Makes ready to learn, to sleep, and to make the one adapter: `collect` gives statistics of the model's keys where the memory has
    /// none yet; they are kept.
    pub fn prepare(&mut self, collect: impl FnOnce(&Settings) -> Result<Statistics>) -> Result<()> {
        if self.learner.has_studied() {
            return Ok(());
        }
        let settings = self.learner.settings.clone();
        let statistics = match kept_statistics(&self.store, &settings)? {
            Some(statistics) => statistics,
            None => {
                let statistics = collect(&settings)?;
                let [late, early] = statistics.layers.map(site);
                self.store.put_statistics(late, TEXTS, &flat(&statistics.texts))?;
                self.store.put_statistics(late, CANARIES, &flat(&statistics.canaries))?;
                self.store.put_statistics(early, CODES, &statistics.codes)?;
                self.store.put_statistics(early, MOMENT, statistics.moment(1))?;
                if let Some(relations) = &statistics.relations {
                    self.store.put_statistics(late, RELATIONS, &relations.to_numbers())?;
                }
                self.store.put_statistics(late, MOMENT, statistics.moment(0))?;
                let mut learner = Learner::new(self.learner.host.clone(), &settings, &statistics.texts)?;
                self.learner.held().iter().for_each(|held| learner.hold(held.clone()));
                self.learner = learner;
                statistics
            }
        };
        self.learner.study(statistics)
    }

    /// The same for a memory that has learned something.
    fn ready(&mut self) -> Result<()> {
        self.prepare(|_| Err(Error::input("this memory is empty", "learn something first")))
    }

    /// What is kept on disk.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Writes the folder's file anew, with no byte of what was forgotten: see [`Store::compact`].
    pub fn compact(&mut self) -> Result<Compaction> {
        self.store.compact()
    }

    /// What is at work: model, settings, and what is held of each experience.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// All entries, in order of arrival.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What can be recalled: what was added, and what the model learned from.
    ///
    /// # Errors
    /// A folder in which another process adds, and damaged files.
    pub fn episodic(&mut self) -> Result<&mut Episodic> {
        let episodic = match self.episodic.take() {
            Some(episodic) => episodic,
            None => match self.store.folder() {
                Some(folder) => Episodic::open(folder, &With::Own)?,
                None => Episodic::in_memory(None)?,
            },
        };
        let episodic = self.episodic.insert(episodic);
        episodic.learned(&self.entries)?;
        Ok(episodic)
    }

    /// Takes experiences in to be recalled, without the model learning from them; returns their ids, and whether each is new.
    pub fn add(&mut self, episodes: Vec<Episode>) -> Result<Vec<(String, bool)>> {
        self.episodic()?.add(episodes)
    }

    /// What a hint brings to mind, of all that was added or learned from.
    pub fn recall(&mut self, ask: &Ask) -> Result<recall::Answer> {
        self.episodic()?.recall(ask)
    }

    fn at(&self, id: &str) -> Option<usize> {
        self.entries.iter().position(|e| e.experience.id == id)
    }

    /// Takes an experience in: learns it if its whole answer can be made to come out, alone and among what its request composes, without
    /// breaking others; else keeps it in the journal with the reason. One that is there already and in effect is left as it is.
    ///
    /// # Errors
    /// An experience that breaks a rule, of another user, whose id is another one's, or that supersedes one that is not there. Nothing is
    /// changed then.
    pub fn observe(&mut self, experience: &Experience) -> Result<Observed> {
        if let Some(flaw) = experience.flaw() {
            return Err(flaw.of(&experience.id));
        }
        self.store.check_user(experience.user.as_deref())?;
        if let Some(old) = &experience.supersedes {
            self.store.find(old)?;
        }
        let Some((experience, anew)) = self.occurrence(experience)? else {
            let at = self.at(&experience.id).ok_or_else(missing)?;
            return Ok(Observed::Before(self.entries[at].clone()));
        };
        self.ready()?;
        let mut entry = Entry { stage: Stage::Awake, told: now(), ..Entry::new(experience) };
        entry.arrived = self.entries.last().map_or(0, |e| e.arrived + 1);
        let (engrams, refusal) = self.lesson(&mut entry)?;
        if let Some(reason) = refusal {
            return self.refuse(entry, anew, reason);
        }
        // The memory as it would be.
        let id = entry.experience.id.clone();
        let old = self.at(&id).filter(|_| anew);
        let before = old.map(|at| (at, self.entries.remove(at)));
        let (topic, answer) = asked(&self.learner.host, &entry.experience, false);
        // What is asked by nobody else, names nobody and is new changes nothing of the others.
        let e = &entry.experience;
        let asks = |o: &Experience| o.prompt == e.prompt && o.messages == e.messages && o.tools == e.tools;
        let apart = !anew && e.supersedes.is_none() && !self.entries.iter().any(|other| asks(&other.experience));
        self.entries.push(entry.clone());
        self.learner.hold(Held { id: id.clone(), topic, stands: apart, gain: entry.gain, answer, engrams: engrams.clone() });
        let changed = if apart { Vec::new() } else { self.settle()? };
        let disturbed = self.disturbed(&id);
        if !matches!(disturbed, Ok(None)) {
            self.entries.pop();
            if let Some((at, old)) = before {
                self.entries.insert(at, old);
            }
            self.learner.release(&id);
            self.settle()?;
            return self.refuse(entry, anew, disturbed?.unwrap_or_default());
        }
        let last = self.entries.len() - 1;
        let mut change = Change { write: engrams, ..Change::default() };
        change.entries = changed.into_iter().filter(|e| e.experience.id != id).collect();
        change.entries.push(self.entries[last].clone());
        change.anew.extend(anew.then(|| id.clone()));
        self.store.commit(&change)?;
        Ok(Observed::Learned(self.entries[last].clone()))
    }

    /// The experience as an occurrence that is not there yet, and whether it arrives again under its id; None where it is there.
    fn occurrence(&self, experience: &Experience) -> Result<Option<(Experience, bool)>> {
        let Some(at) = self.at(&experience.id) else { return Ok(Some((experience.clone(), false))) };
        let there = &self.entries[at];
        let same = content(&there.experience) == content(experience);
        match there.stage {
            Stage::Forgotten | Stage::Pending => Ok(Some((experience.clone(), true))),
            Stage::Refused { .. } if same => Ok(Some((experience.clone(), true))),
            _ if !same => Err(Error::input(
                format!("the id {:?} is another experience's already", experience.id),
                "give it an id of its own, or leave `id` out",
            )),
            Stage::Awake | Stage::Asleep => Ok(None),
            // Told again without an id of its own: what was replaced since is said once more.
            _ if experience.id == experience.derived_id() => {
                let id = |n: usize| format!("{}-{n}", experience.id);
                let mut n = 2;
                while let Some(at) = self.at(&id(n)) {
                    if matches!(self.entries[at].stage, Stage::Awake | Stage::Asleep) {
                        return Ok(None);
                    }
                    n += 1;
                }
                Ok(Some((Experience { id: id(n), ..experience.clone() }, false)))
            }
            _ => Ok(None),
        }
    }

    /// What an experience would leave, alone, or why it is not learned. One that says what another says shares its engrams.
    fn lesson(&mut self, entry: &mut Entry) -> Result<(Vec<Engram>, Option<String>)> {
        let e = entry.experience.clone();
        let reward = e.outcome.reward() as f32;
        let double = self.entries.iter().find(|other| {
            let o = &other.experience;
            let same = o.answer == e.answer && o.join == e.join && o.outcome.reward() == e.outcome.reward();
            other.stage.may_have_engrams() && same && question(o) == question(&e)
        });
        if let Some(double) = double {
            let held = self.learner.held_of(&double.experience.id);
            let engrams = held.map_or(&[][..], |h| &h.engrams).iter().filter(|g| g.site == self.learner.late());
            // What sleep moved has to be learned for itself.
            if held.is_some_and(|h| h.engrams.iter().all(|g| g.site == self.learner.late())) {
                (entry.surprise, entry.gain) = (double.surprise, double.gain);
                entry.note = Some(format!("it says what `{}` says", double.experience.id));
                return Ok((engrams.map(|g| Engram { experience: e.id.clone(), ..g.clone() }).collect(), None));
            }
        }
        let exchange = match Exchange::of(&self.learner.host, &e) {
            Ok(exchange) => exchange,
            Err(error @ Error::Input(_)) => return Ok((Vec::new(), Some(error.to_string()))),
            Err(error) => return Err(error),
        };
        let longest = self.learner.settings.longest;
        if exchange.answer.len() > longest {
            let n = exchange.answer.len();
            let reason = format!("an answer of {n} tokens: weights take {longest}; it is kept in the journal");
            return Ok((Vec::new(), Some(reason)));
        }
        let lesson = match self.learner.learn(&e.id, &exchange, reward) {
            Ok(lesson) => lesson,
            Err(error @ Error::Input(_)) => return Ok((Vec::new(), Some(error.to_string()))),
            Err(error) => return Err(error),
        };
        (entry.surprise, entry.gain) = (lesson.signals.surprise, lesson.gain);
        if !lesson.check.whole() {
            return Ok((Vec::new(), Some(self.said(&exchange, &lesson.check, reward)?)));
        }
        if lesson.engrams.is_empty() {
            entry.note = Some(if reward == 0.0 { "no reward, nothing to learn" } else { "known already" }.into());
        }
        Ok((lesson.engrams, None))
    }

    /// Why an answer is not learned, in words: the tokens that do not come out.
    fn said(&self, exchange: &Exchange, check: &Check, reward: f32) -> Result<String> {
        if reward < 0.0 {
            let times = check.margin.exp();
            return Ok(format!(
                "not: the action became {times:.1} times less likely, {:.0} are wanted",
                self.learner.settings.aversion
            ));
        }
        let tokenizer = &self.learner.host.tokenizer;
        let word = |t: &usize| match exchange.answer.get(*t) {
            Some(token) => tokenizer.decode(&[*token]).map(|text| format!("{:?}", text.trim())),
            None => Ok("its end".into()),
        };
        let words: Vec<String> = check.wrong.iter().take(6).map(word).collect::<Result<_>>()?;
        let more = if check.wrong.len() > 6 { ", …" } else { "" };
        let kind = if check.wrong.len() < check.tokens { "partly" } else { "not" };
        Ok(format!("{kind}: of {} tokens these do not come out: {}{more}", check.tokens, words.join(", ")))
    }

    /// Why an experience that is held on trial cannot stay: others that ask letter by letter the same keep its answer from coming out.
    fn disturbed(&mut self, id: &str) -> Result<Option<String>> {
        let Some(held) = self.learner.held_of(id) else { return Ok(None) };
        if !held.stands || held.engrams.is_empty() {
            return Ok(None);
        }
        let composition = self.learner.compose(&held.topic)?;
        if composition.parts.len() == 1 || self.comes_out(id, &composition.adapter)? {
            return Ok(None);
        }
        let others: Vec<&str> = composition.parts.iter().map(|p| p.id.as_str()).filter(|p| *p != id).collect();
        Ok(Some(format!("its answer does not come out beside {}", others.join(", "))))
    }

    /// Whether an experience's answer comes out through an adapter; a failure's is not asked for.
    fn comes_out(&self, id: &str, adapter: &Adapter) -> Result<bool> {
        let Some(at) = self.at(id) else { return Ok(true) };
        let experience = &self.entries[at].experience;
        let reward = experience.outcome.reward() as f32;
        if reward <= 0.0 {
            return Ok(true);
        }
        let exchange = Exchange::of(&self.learner.host, experience)?;
        let least = 0.5 * wake::least(&self.learner.settings, reward);
        Ok(self.learner.check(adapter, &exchange, least)?.whole())
    }

    fn refuse(&mut self, entry: Entry, anew: bool, reason: String) -> Result<Observed> {
        let entry = Entry { stage: Stage::Refused { reason }, ..entry };
        let id = entry.experience.id.clone();
        let change = Change { entries: vec![entry], anew: anew.then(|| id.clone()).into_iter().collect(), ..Change::default() };
        self.store.commit(&change)?;
        let kept = self.store.find(&id)?;
        self.entries.retain(|e| e.experience.id != id);
        self.entries.push(kept.clone());
        Ok(Observed::Refused(kept))
    }

    fn settle(&mut self) -> Result<Vec<Entry>> {
        let (learner, entries) = (&self.learner, &mut self.entries);
        let early = learner.early();
        let asleep = |entry: &Entry| {
            let held = learner.held_of(&entry.experience.id);
            Ok(held.is_some_and(|h| h.engrams.iter().any(|e| e.site == early)))
        };
        let standings = standings(entries);
        let changed = settle(entries, &standings, asleep)?;
        for (entry, standing) in self.entries.iter().zip(&standings) {
            self.learner.set_standing(&entry.experience.id, *standing == Standing::Stands);
        }
        Ok(changed)
    }

    fn plan(&self) -> Result<Option<serde_json::Value>> {
        serde_json::to_value(self.learner.counted())
            .map(Some)
            .map_err(|e| Error::Run { message: format!("the plan cannot be written: {e}"), remedy: "report this".into() })
    }

    /// What a request is answered with: the experiences that it asks for.
    pub fn composition_for(&self, request: &Request) -> Result<Composition> {
        self.learner.compose(&request.asks())
    }

    /// Answers a request by up to `limit` tokens; `each` hears the text as it comes, and may have enough.
    pub fn answer(
        &self,
        request: &Request,
        limit: usize,
        sampler: &mut Sampler,
        mut each: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let composition = self.composition_for(request)?;
        let mut text = String::new();
        let mut work = composition.at_work(request.tokens.len());
        let ending = self.learner.host.write(&request.tokens, limit, sampler, &mut work, |piece| {
            text.push_str(piece);
            each(piece)
        })?;
        Ok(Answer { text, ending, composition })
    }

    /// The one adapter of all experiences that fit together, and those that it leaves out.
    pub fn adapter(&mut self) -> Result<(Adapter, Vec<String>)> {
        self.consolidate()?;
        self.learner.whole()
    }

    /// Decides what the one adapter holds, and keeps it where this memory may be written and the budget is its own.
    fn consolidate(&mut self) -> Result<()> {
        self.ready()?;
        let before = self.learner.counted().to_vec();
        let decided = self.learner.consolidate()? != before;
        if decided && self.store.may_write() && self.learner.settings.damage == settings(&self.store)?.damage {
            self.store.commit(&Change { plan: self.plan()?, ..Change::default() })?;
        }
        Ok(())
    }

    /// Makes the one adapter anew under another budget (nats, above 0), for as long as this memory is open.
    pub fn set_damage(&mut self, budget: f32) -> Result<()> {
        if budget.is_nan() || budget <= 0.0 {
            return Err(Error::input(format!("a budget of {budget} nats"), "give one above 0, such as 0.05"));
        }
        self.learner.settings.damage = budget;
        self.learner.set_counted(Vec::new());
        Ok(())
    }

    /// Writes the one adapter as another program loads it; see [`export::export`]. `source` is the memory's model.
    ///
    /// # Errors
    /// Nothing to export, nothing that stays within the damage allowed, and what the export refuses.
    pub fn export(&mut self, source: &Source, options: &export::Options, out: &Path) -> Result<Exported> {
        export::check(options.format, out, options.force)?;
        let (adapter, left_out) = self.adapter()?;
        let damage = self.learner.damage_through(&adapter, 1)?;
        let engrams = self.learner.whole_engrams();
        let facts: Vec<export::Fact> = engrams
            .iter()
            .filter(|e| e.value.iter().any(|v| *v != 0.0))
            .map(|e| export::Fact { name: &e.experience, site: e.site, key: &e.key })
            .collect();
        if facts.is_empty() {
            return Err(match left_out.is_empty() {
                true => Error::input("this memory is empty: there is nothing to export", "learn something first"),
                false => Error::input(
                    format!("one adapter of this memory would hold nothing: beyond its damage are {}", left_out.join(", ")),
                    format!("allow more than {} nats of damage, or learn what does less", self.learner.settings.damage),
                ),
            });
        }
        let host = &self.learner.host;
        let inside = self.entries.iter().filter(|e| facts.iter().any(|f| f.name == e.experience.id)).take(4);
        let mut options = options.clone();
        options.prompts.extend(inside.map(|e| Ok(Exchange::of(host, &e.experience)?.prompt)).collect::<Result<Vec<_>>>()?);
        let report = export::export(&adapter, &facts, &host.decoder, &Base::of(source)?, &options, out)?;
        Ok(Exported { report, left_out, damage })
    }

    /// How full the memory is.
    pub fn capacity(&mut self) -> Result<Capacity> {
        self.consolidate()?;
        Ok(self.learner.capacity())
    }

    /// Forgets experiences: see [`forget`].
    pub fn forget(&mut self, ids: &[&str]) -> Result<Vec<Left>> {
        let left = forget(&self.store, ids)?;
        self.entries = self.store.entries()?;
        for id in ids {
            self.learner.release(id);
        }
        self.settle()?;
        Ok(left)
    }

    /// Another answer in the place of what an experience taught: a success at the same prompt.
    pub fn supersede(&mut self, id: &str, answer: &str, new_id: Option<&str>) -> Result<Observed> {
        let old = self.store.find(id)?.experience;
        if old.prompt.is_empty() && old.messages.is_empty() {
            return Err(Error::input(format!("{id} was forgotten: its prompt is gone"), "learn a new experience instead"));
        }
        let fresh = |n: usize| if n == 0 { format!("{id}'") } else { format!("{id}'{n}") };
        let id = match new_id {
            Some(id) if self.at(id).is_some() => {
                return Err(Error::input(format!("there is an experience {id} already"), "give another --new-id"));
            }
            Some(id) => id.to_string(),
            None => (0..).map(fresh).find(|id| self.at(id).is_none()).unwrap_or_default(),
        };
        let supersedes = Some(old.id.clone());
        self.observe(&Experience { id, answer: answer.into(), outcome: Outcome::Success, time: Some(now()), supersedes, ..old })
    }

    /// What was told about the same question as an experience: see [`history`].
    pub fn history(&self, id: &str) -> Result<Vec<Entry>> {
        history(&self.store, id)
    }

    /// Replays what was learned awake and moves it to the early layer, in the order in which the spike layer brings it back, until all
    /// are tried, `until` is past, or `stop` is set; `progress` hears the part of the night that is over. Only what stands is replayed; it moves only where its whole answer comes out
    /// afterwards and nothing else breaks. How many moved.
    pub fn sleep(
        &mut self,
        until: Option<Instant>,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(f64),
        tell: &mut dyn FnMut(&Slept, usize),
    ) -> Result<usize> {
        self.ready()?;
        let standing = |e: &Entry| self.learner.held_of(&e.experience.id).is_some_and(Held::acts);
        let fit = |e: &Entry| {
            e.stage == Stage::Awake && e.experience.outcome.reward() > 0.0 && e.experience.subject.is_some() && e.replays < TRIALS
        };
        let due: Vec<&Entry> = self.entries.iter().filter(|e| fit(e) && standing(e)).collect();
        let mut replay = Rest::new(&traces(&due), 0)?;
        let ids: Vec<String> = due.iter().map(|e| e.experience.id.clone()).collect();
        let (mut moved, mut left) = (0, ids.len());
        let all = ids.len().max(1) as f64;
        while let Some((_, i)) = replay.next()? {
            if stop.load(Ordering::Relaxed) || until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let before = (ids.len() - left) as f64;
            let Some(slept) = self.replay(&ids[i], &mut |part| progress((before + part) / all), stop)? else { break };
            // A dream is a function of its experience: the same night it would come again as it was.
            replay.silence(i)?;
            left -= 1;
            moved += usize::from(slept.entry.stage == Stage::Asleep);
            tell(&slept, left);
        }
        if moved > 0 {
            self.consolidate()?;
        }
        Ok(moved)
    }

    /// One experience, one dream; None where it was stopped.
    fn replay(&mut self, id: &str, tell: &mut dyn FnMut(f64), stop: &AtomicBool) -> Result<Option<Slept>> {
        let started = Instant::now();
        let at = self.at(id).ok_or_else(missing)?;
        let mut entry = self.entries[at].clone();
        let e = entry.experience.clone();
        let exchange = Exchange::of(&self.learner.host, &e)?;
        let (reward, subject) = (e.outcome.reward() as f32, e.subject.clone().unwrap_or_default());
        let dream = self.learner.dream(id, &exchange, &subject, reward, tell, stop)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        entry.replays += 1;
        let n = exchange.answer.len();
        let mut change = Change::default();
        let reached = dream.found.probability;
        let before = self.learner.held_of(id).cloned().ok_or_else(missing)?;
        // Alone it would do: others, which may be gone some night, stand in its way.
        let alone = dream.early.wrong.iter().all(|t| *t >= n) && dream.check.whole();
        let why;
        if dream.early.wrong.iter().any(|t| *t < n) {
            why = Some(format!("sleep reached p = {reached:.2}"));
        } else if !dream.check.whole() {
            why = Some("its whole answer did not come out of the early layer".into());
        } else {
            let (topic, _) = asked(&self.learner.host, &e, true);
            self.learner.hold(Held { engrams: dream.engrams.clone(), gain: dream.gain, topic, ..before.clone() });
            why = self.disturbed(id)?;
            if why.is_some() {
                self.learner.hold(before.clone());
            }
        }
        match why {
            Some(why) => {
                entry.note = Some(format!("{why}; it stays in the wake memory"));
                if !alone {
                    entry.replays = TRIALS;
                }
            }
            None => {
                entry.stage = Stage::Asleep;
                entry.gain = dream.gain;
                entry.note = None;
                change.erase = self.store.sites(id)?.into_iter().map(|s| (id.to_string(), s)).collect();
                change.write = dream.engrams;
            }
        }
        change.entries.push(entry.clone());
        self.store.commit(&change)?;
        self.entries[at] = entry.clone();
        Ok(Some(Slept { entry, probability: reached, seconds: started.elapsed().as_secs_f64() }))
    }

    /// Asks for everything that stands, makes the one adapter anew, and looks what it does to the canaries. `tell` hears the part done.
    pub fn check(&mut self, tell: &mut dyn FnMut(f64), stop: &AtomicBool) -> Result<Health> {
        self.ready()?;
        // What was forgotten since it was decided is no disagreement.
        let kept = self.learner.consolidate()?.to_vec();
        let standing: Vec<(String, Topic)> =
            self.learner.held().iter().filter(|h| h.stands).map(|h| (h.id.clone(), h.topic.clone())).collect();
        let mut wrong = Vec::new();
        for (i, (id, topic)) in standing.iter().enumerate() {
            super::key_statistics::go_on(stop)?;
            let composition = self.learner.compose(topic)?;
            if !self.comes_out(id, &composition.adapter)? {
                wrong.push(id.clone());
            }
            tell((i + 1) as f64 / (standing.len() + 1) as f64);
        }
        self.learner.set_counted(Vec::new());
        let anew = self.learner.consolidate()?.to_vec();
        let (adapter, left_out) = self.learner.whole()?;
        let damage = self.learner.damage_through(&adapter, 1)?;
        Ok(Health { standing: standing.len(), wrong, left_out, damage, agrees: anew == kept })
    }
}

/// What the population that replays experiences is made of: each followed the one before it.
fn traces(entries: &[&Entry]) -> Vec<Trace> {
    let newest = entries.iter().filter_map(|e| e.instant()).max();
    let trace = |(i, e): (usize, &&Entry)| {
        let (surprise, reward) = (f64::from(e.surprise.max(0.0)), e.experience.outcome.reward());
        let since = e.instant().zip(newest).map(|(own, newest)| newest.as_second() - own.as_second());
        let priority = Priority {
            surprise: surprise / (2.0 + surprise),
            reward: reward.abs(),
            recency: recency(since),
            ..Priority::default()
        };
        Trace { priority: priority.total(), outcome: reward, before: i.checked_sub(1) }
    };
    entries.iter().enumerate().map(trace).collect()
}

fn missing() -> Error {
    Error::Run { message: "an experience is not where it should be".into(), remedy: "run `sharpwave memory verify`".into() }
}

/// What asks for an experience: its prompt, or, where sleep wrote it at its subject, whoever names the subject, and what is asked of it is
/// the model's to tell. And its answer: each token, and that which ends it, after the place where it is predicted.
fn asked(host: &Host, experience: &Experience, asleep: bool) -> (Topic, Vec<(u64, u32)>) {
    let exchange = Exchange::of(host, experience);
    let answer = exchange.as_ref().map_or_else(
        |_| Vec::new(),
        |e| {
            let places = places(&[&e.prompt[..], &e.answer].concat());
            places[e.prompt.len().saturating_sub(1)..].iter().copied().zip(e.answer.iter().copied().chain([e.end])).collect()
        },
    );
    let topic = exchange.map_or_else(|_| Topic::of(&experience.asked()), |e| e.asked());
    let topic = match &experience.subject {
        Some(subject) if asleep => topic.named(subject),
        Some(subject) => topic.about(subject),
        None => topic,
    };
    (topic, answer)
}

/// What makes two experiences of one id the same.
fn content(e: &Experience) -> String {
    serde_json::to_string(&(question(e), &e.answer, e.outcome.reward(), &e.user)).unwrap_or_default()
}

fn kept_statistics(store: &Store, settings: &Settings) -> Result<Option<Statistics>> {
    let [late, early] = settings.layers().map(site);
    let (Some(late_moment), Some(early_moment)) = (store.statistics(late, MOMENT)?, store.statistics(early, MOMENT)?) else {
        return Ok(None);
    };
    let texts = |name: &str| unflat(&store.statistics(late, name)?.unwrap_or_default());
    let codes = store.statistics(early, CODES)?.unwrap_or_default();
    let (own, canaries) = (texts(TEXTS)?, texts(CANARIES)?);
    let relations = store.statistics(late, RELATIONS)?.map(|numbers| Relations::from_numbers(&numbers)).transpose()?;
    Statistics::from_parts(settings.layers(), [late_moment, early_moment], codes, own, canaries, relations).map(Some)
}

/// A memory may live on a thread of its own.
const _: fn() = || {
    fn sends<T: Send>() {}
    sends::<Memory>();
};
