//! A model's memory at work, without a file: awake it writes experiences into a late layer, asleep it moves them to an early one; for a
//! request it composes an adapter of the experiences that the request asks for, and at any time it is one adapter of all that fit
//! together. Everything is a function of what is held, in its order. Knows host, layers and spikes; nothing of how they are kept on disk.

use super::Engram;
use super::canaries::{Canaries, Damage};
use super::composition::Others;
pub use super::composition::{Composition, Part};
use super::context_target::{self, Told, look, places, site};
use super::coverage::{self, Topic, Vocabulary};
use super::exchange::Exchange;
pub use super::held::Held;
use super::held::Holdings;
use super::key_statistics::Statistics;
use super::layer_memory::LayerMemory;
use super::questions::built_in_questions;
use super::relation::Relations;
use super::settings::{Coding, Settings};
use super::spiking_code::SpikingCode;
use super::value_search::{self, Found, Noise, Stage};
use super::wake::{self, Check, Lesson, Teacher};
use crate::error::{Error, Result};
use crate::learning::associative::{Prior, RIDGE};
use crate::transformer::Host;
use crate::transformer::decoder::Logits;
use crate::transformer::hooks::{Adapter, Hooks};
use crate::transformer::site::{Linear, Site};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Whether an experience is in the one adapter of all: its answer, without the end that was written after it. (An end asks for two or
/// three times the length of other values, and every value reaches other texts by the part of the layer's directions that it takes.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// `id` of the experience.
    pub id: String,
    /// Of its engrams: a decision about others does not count.
    digest: u64,
    /// Whether the adapter holds it; otherwise it would exceed the budget or the room.
    pub included: bool,
}

/// What sleep found for an experience.
#[derive(Clone, Debug)]
pub struct Dream {
    /// The value at the subject, and how likely it makes the answer.
    pub found: Found,
    /// What it writes: into the early layer, and into the late one what the early one leaves open, such as the answer's end.
    pub engrams: Vec<Engram>,
    /// How many times what it writes into the late layer a request composes.
    pub gain: f32,
    /// How the answer comes out with the early layer alone, and with all that it writes.
    pub early: Check,
    /// How the answer comes out with all that it writes.
    pub check: Check,
}

/// How full a memory is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Capacity {
    /// Experiences that stand, and those of them in the one adapter.
    pub standing: usize,
    /// Experiences in the one adapter.
    pub included: usize,
    /// Directions of the late layer's input that the one adapter takes, and that it may take.
    pub taken: usize,
    /// Directions that it may take: half of the layer's inputs.
    pub most: usize,
    /// Damage of the one adapter at the canaries, and the budget.
    pub damage: Damage,
    /// Divergence that the one adapter may cause there at most, nats.
    pub budget: f32,
}

/// What learning needs beside the model.
struct Studied {
    statistics: Statistics,
    /// Of the late and the early layer, each made when it is first needed.
    priors: [Option<Arc<Prior>>; 2],
    canaries: Option<Canaries>,
}

/// What learns.
pub struct Learner {
    /// The model; learning never changes it.
    pub host: Arc<Host>,
    /// How this memory learns.
    pub settings: Settings,
    studied: Option<Studied>,
    spikes: Option<SpikingCode>,
    /// Of the model's own texts: what is held changes no word's weight, so that no experience changes what others are asked by.
    vocabulary: Vocabulary,
    /// What tells whether a request in other words asks for the same.
    relations: Option<Arc<Relations>>,
    held: Holdings,
    /// The late layer of the one adapter, where it is in step with what was decided about each experience.
    whole: Option<LayerMemory>,
    counted: Vec<Counted>,
    damage: Damage,
}

/// Of the canaries every so many is asked where all layers are computed.
const STEP: usize = 3;
/// Experiences in a row that do not fit into the one adapter: after them it takes no more.
const PATIENCE: usize = 32;
/// Directions of a layer's input that one adapter may take, as a part of all.
const MOST: f64 = 0.5;

impl Learner {
    /// Of a model; `texts` are the model's own, by which a word's rarity is told (see [`Statistics::texts`]).
    pub fn new(host: Arc<Host>, settings: &Settings, texts: &[Vec<u32>]) -> Result<Learner> {
        settings.check(&host.decoder.config)?;
        let mut vocabulary = Vocabulary::default();
        built_in_questions().iter().for_each(|q| vocabulary.add(&Topic::of(q)));
        for text in texts {
            vocabulary.add(&Topic::of(&host.tokenizer.decode(text)?));
        }
        Ok(Learner {
            whole: None,
            host,
            settings: settings.clone(),
            studied: None,
            spikes: None,
            vocabulary,
            relations: None,
            held: Holdings::new(settings.coverage),
            counted: Vec::new(),
            damage: Damage::default(),
        })
    }

    /// Takes up what is known of the model's keys: it is needed to learn, to sleep and to make the one adapter.
    pub fn study(&mut self, statistics: Statistics) -> Result<()> {
        if statistics.layers != self.settings.layers() {
            return Err(Error::input("statistics of other layers than those that learn", "collect them for these settings"));
        }
        self.relations = statistics.relations.clone();
        self.studied = Some(Studied { statistics, priors: [None, None], canaries: None });
        Ok(())
    }

    /// Takes up what tells whether requests ask for the same, without all other statistics.
    pub(crate) fn relate(&mut self, relations: Relations) {
        self.relations = Some(Arc::new(relations));
    }

    /// Whether statistics of the model's keys were taken up.
    pub fn has_studied(&self) -> bool {
        self.studied.is_some()
    }

    fn studied(&mut self) -> Result<&mut Studied> {
        self.studied.as_mut().ok_or_else(|| Error::input("nothing is known of the model's keys", "give statistics of them first"))
    }

    /// The prior of the late (0) or early (1) layer.
    fn prior(&mut self, which: usize) -> Result<Arc<Prior>> {
        let floor = self.settings.floor;
        let studied = self.studied()?;
        if studied.priors[which].is_none() {
            studied.priors[which] = Some(studied.statistics.prior(which, floor)?);
        }
        studied.priors[which].clone().ok_or_else(context_target::unseen)
    }

    fn prepare_canaries(&mut self) -> Result<()> {
        let (prior, host, layer) = (self.prior(0)?, self.host.clone(), self.settings.wake_layer);
        let studied = self.studied()?;
        if studied.canaries.is_none() {
            studied.canaries = Some(Canaries::new(&host, &prior, layer, &studied.statistics.canaries)?);
        }
        Ok(())
    }

    fn prepare_spikes(&mut self) -> Result<()> {
        if self.settings.coding == Coding::Spiking && self.spikes.is_none() {
            let (outputs, inputs) = self.host.decoder.config.shape(Linear::Down);
            self.spikes = Some(SpikingCode::new(inputs, outputs, self.settings.steps, self.settings.engine)?);
        }
        Ok(())
    }

    /// Spikes of the spike layer so far.
    pub fn spikes(&self) -> u64 {
        self.spikes.as_ref().map_or(0, |s| s.spikes)
    }

    /// What one experience would leave, learned awake and alone. `reward` from -1 to 1. Nothing is held yet.
    ///
    /// # Errors
    /// An empty answer, a text beyond the context.
    pub(crate) fn learn(&mut self, id: &str, exchange: &Exchange, reward: f32) -> Result<Lesson> {
        self.learn_upon(id, exchange, reward, &Adapter::default())
    }

    fn learn_upon(&mut self, id: &str, exchange: &Exchange, reward: f32, upon: &Adapter) -> Result<Lesson> {
        self.prepare_spikes()?;
        let (prior, layer) = (self.prior(0)?, self.settings.wake_layer);
        let mut first: Option<Lesson> = None;
        for between in self.between(exchange)? {
            let sight = look(&self.host, upon, layer, exchange, &between)?;
            let mut teacher =
                Teacher { host: &self.host, layer, prior: &prior, spikes: self.spikes.as_mut(), settings: &self.settings };
            let lesson = teacher.learn(id, &sight, reward)?;
            // What another context could mend is the end of the answer.
            let only_end = lesson.check.wrong == [exchange.answer.len()];
            if lesson.check.whole() || !only_end {
                return Ok(first.filter(|_| !lesson.check.whole()).unwrap_or(lesson));
            }
            first.get_or_insert(lesson);
        }
        first.ok_or_else(context_target::unseen)
    }

    /// What may part an experience from its repetition in the context: the token that ends it, with and without a line's end, and what
    /// else ends a text.
    fn between(&self, exchange: &Exchange) -> Result<Vec<Vec<u32>>> {
        let line = self.host.tokenizer.encode_bare("\n")?;
        let mut ends = context_target::ends(&self.host, exchange.end);
        ends.retain(|end| *end != exchange.end);
        ends.insert(0, exchange.end);
        Ok(ends.into_iter().take(2).flat_map(|end| [[&[end][..], &line].concat(), vec![end]]).collect())
    }

    /// How an answer, with its end, comes out through `hooks`: every token under those before it, which is what greedy decoding meets as
    /// long as it says the answer.
    pub(crate) fn check(&self, hooks: impl Hooks, exchange: &Exchange, least: f32) -> Result<Check> {
        let mut hooks = hooks;
        let all = [&exchange.prompt[..], &exchange.answer[..]].concat();
        let (n, decoder) = (exchange.answer.len() + 1, &self.host.decoder);
        let output = decoder.forward(&mut [decoder.cache()], &[&all], Logits::Tail(n), &mut hooks)?;
        let mut told: Vec<Told> = exchange.answer.iter().enumerate().map(|(t, token)| Told::of(output.row(t), *token)).collect();
        told.push(Told::of_any(output.row(n - 1), &context_target::ends(&self.host, exchange.end)));
        Ok(Check::of(&told, least))
    }

    /// Holds what an experience left, in the place of what is held of it already, or after all others.
    pub(crate) fn hold(&mut self, held: Held) {
        self.held.put(held, &self.vocabulary);
    }

    /// Lets go of an experience; whether it was held.
    pub(crate) fn release(&mut self, id: &str) -> bool {
        self.held.remove(id, &self.vocabulary)
    }

    /// Lets an experience take effect, or rest.
    pub(crate) fn set_standing(&mut self, id: &str, stands: bool) {
        self.held.set_standing(id, stands);
    }

    /// What is held, in order of arrival.
    pub fn held(&self) -> &[Held] {
        self.held.all()
    }

    /// What is held of one experience.
    pub fn held_of(&self, id: &str) -> Option<&Held> {
        self.held.get(id)
    }

    /// The experiences that a request asks for: those whose prompts it covers and that none of the others outdoes, the best covered ones,
    /// as many as the settings allow. Of a request that asks for none it changes nothing.
    pub fn compose(&self, request: &Topic) -> Result<Composition> {
        let held = self.held.all();
        let found: Vec<(usize, coverage::Found)> = self
            .held
            .candidates(request)
            .filter(|i| held[*i].acts())
            .map(|i| (i, held[i].topic.found_in(request, &self.vocabulary)))
            .filter(|(_, found)| found.coverage >= self.settings.coverage)
            .collect();
        let outdone = |own: &coverage::Found| found.iter().any(|(_, other)| own.outdone_by(other));
        let mut asked: Vec<&(usize, coverage::Found)> = found.iter().filter(|(_, own)| !outdone(own)).collect();
        asked.sort_by(|(i, a), (j, b)| b.coverage.total_cmp(&a.coverage).then(j.cmp(i)));
        asked.truncate(self.settings.composed);
        asked.sort_unstable_by_key(|(i, _)| *i);
        let part = |(i, found): &&(usize, coverage::Found)| Part {
            id: held[*i].id.clone(),
            coverage: found.coverage,
            exact: found.exact(),
        };
        self.composed(asked.iter().map(part).collect(), request.is_text())
    }

    /// Some experiences, whatever is asked: in their own words, or for a request in others. Unknown ones are passed over.
    pub fn compose_of(&self, ids: &[&str], exact: bool) -> Result<Composition> {
        let part = |id: &&str| self.held_of(id).map(|held| Part { id: held.id.clone(), coverage: 1.0, exact });
        self.composed(ids.iter().filter_map(part).collect(), true)
    }

    /// `text`: of a request that is continued. (What a chat asks for is not told by the keys that end it.)
    fn composed(&self, parts: Vec<Part>, text: bool) -> Result<Composition> {
        let (late, settings) = (self.late(), &self.settings);
        let relations = self.relations.clone().filter(|_| text && settings.relation > 0.0 && !parts.iter().any(|p| p.exact));
        let mut others = relations.map(|relations| {
            let least = relations.threshold(settings.relation);
            Others::new(late, relations, least)
        });
        let mut engrams: Vec<Cow<Engram>> = Vec::new();
        for held in parts.iter().filter_map(|part| self.held_of(&part.id)) {
            let listens = held.topic.is_text() && others.as_mut().is_some_and(|others| others.add(held, settings.transfer));
            engrams.extend(held.composed(late).filter(|engram| !listens || engram.site != late));
        }
        let adapter = self.adapter_of(engrams.iter().map(|engram| &**engram))?;
        Ok(Composition { adapter, parts, others: others.filter(|others| !others.is_empty()) })
    }

    /// The adapter of some engrams: a rank a fact.
    pub fn adapter_of<'a>(&self, engrams: impl IntoIterator<Item = &'a Engram>) -> Result<Adapter> {
        let engrams: Vec<&Engram> = engrams.into_iter().collect();
        let (config, mut adapter) = (&self.host.decoder.config, Adapter::default());
        let (outputs, inputs) = config.shape(Linear::Down);
        for layer in self.settings.layers() {
            let own = engrams.iter().copied();
            if let Some(change) = LayerMemory::of(site(layer), inputs, outputs, own)?.change() {
                adapter.insert(config, site(layer), change)?;
            }
        }
        Ok(adapter)
    }

    /// One adapter of all experiences that fit together: each in its order of arrival, as long as the canaries stay within the budget
    /// and there is room; once 32 in a row did not fit, it is full. What was decided before is kept for as long as what it was
    /// decided upon is.
    pub fn consolidate(&mut self) -> Result<&[Counted]> {
        let standing: Vec<usize> = (0..self.held().len()).filter(|i| self.held()[*i].acts()).collect();
        let now: Vec<Counted> = standing
            .iter()
            .map(|i| &self.held()[*i])
            .map(|held| Counted { id: held.id.clone(), digest: digest(&held.engrams), included: false })
            .collect();
        let same = self.counted.iter().zip(&now).take_while(|(a, b)| a.id == b.id && a.digest == b.digest).count();
        if same < self.counted.len() {
            self.counted.truncate(same);
            self.whole = None;
        }
        if same == now.len() && self.whole.is_some() {
            return Ok(&self.counted);
        }
        self.prepare_canaries()?;
        if self.whole.is_none() {
            let whole = self.layer_of(self.included())?;
            self.damage = self.damage_of(&whole)?;
            self.whole = Some(whole);
        }
        for (&at, mut counted) in standing.iter().zip(now).skip(same) {
            let refused = self.counted.iter().rev().take_while(|c| !c.included).take(PATIENCE).count();
            counted.included = refused < PATIENCE && self.include(at)?;
            self.counted.push(counted);
        }
        Ok(&self.counted)
    }

    /// The late layer of some engrams.
    fn layer_of<'a>(&self, engrams: impl IntoIterator<Item = &'a Engram>) -> Result<LayerMemory> {
        let (outputs, inputs) = self.host.decoder.config.shape(Linear::Down);
        LayerMemory::of(self.late(), inputs, outputs, engrams)
    }

    fn included(&self) -> impl Iterator<Item = &Engram> {
        let counted = self.counted.iter().filter(|c| c.included);
        counted.filter_map(|c| self.held_of(&c.id)).flat_map(Held::inner)
    }

    /// Takes an experience into the one adapter if it may.
    fn include(&mut self, at: usize) -> Result<bool> {
        let Some(mut whole) = self.whole.take() else { return Ok(false) };
        let (before, engrams): (usize, Vec<Engram>) = (whole.len(), self.held()[at].inner().cloned().collect());
        let joined = match whole.extend(&engrams)? {
            true => None,
            false => Some(self.layer_of(self.included().chain(&engrams))?),
        };
        let layer = joined.as_ref().unwrap_or(&whole);
        let room = layer.len() <= self.most();
        let damage = match engrams.iter().any(|e| e.site == self.early()) {
            _ if !room => Damage::default(),
            // What sleep wrote changes what the late layer sees: every layer is computed, of some canaries.
            true => {
                let adapter = self.adapter_of(self.included().chain(&engrams))?;
                self.damage_through(&adapter, STEP)?
            }
            false => self.damage_of(layer)?,
        };
        let fits = room && damage.kl <= self.settings.damage;
        if fits {
            self.damage = damage;
            whole = joined.unwrap_or(whole);
        } else if joined.is_none() {
            whole.truncate(before);
        }
        self.whole = Some(whole);
        Ok(fits)
    }

    /// Directions of the late layer's input that the one adapter may take.
    fn most(&self) -> usize {
        (self.host.decoder.config.feed_forward as f64 * MOST) as usize
    }

    fn damage_of(&self, layer: &LayerMemory) -> Result<Damage> {
        let Some(canaries) = self.studied.as_ref().and_then(|s| s.canaries.as_ref()) else { return Ok(Damage::default()) };
        canaries.damage(&self.host, &layer.recall(&canaries.whitened), &|place| layer.holds(place))
    }

    /// What was decided about the one adapter.
    pub fn counted(&self) -> &[Counted] {
        &self.counted
    }

    /// Takes up what was decided about the one adapter before.
    pub(crate) fn set_counted(&mut self, counted: Vec<Counted>) {
        (self.counted, self.whole) = (counted, None);
    }

    /// The one adapter, after [`Learner::consolidate`], and the experiences that are not in it.
    pub fn whole(&self) -> Result<(Adapter, Vec<String>)> {
        let out = self.counted.iter().filter(|c| !c.included).map(|c| c.id.clone()).collect();
        Ok((self.adapter_of(self.included())?, out))
    }

    /// Engrams of the one adapter.
    pub(crate) fn whole_engrams(&self) -> Vec<&Engram> {
        self.included().collect()
    }

    /// What an adapter does to the canaries, all layers computed; every `step`th of them.
    pub(crate) fn damage_through(&mut self, adapter: &Adapter, step: usize) -> Result<Damage> {
        self.prepare_canaries()?;
        let all = self.layer_of(self.held().iter().flat_map(|h| &h.engrams))?;
        let host = self.host.clone();
        match &self.studied()?.canaries {
            Some(canaries) => canaries.damage_through(&host, adapter, step, &|place| all.holds(place)),
            None => Ok(Damage::default()),
        }
    }

    /// How full the one adapter is, as last consolidated.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            standing: self.held().iter().filter(|h| h.acts()).count(),
            included: self.counted.iter().filter(|c| c.included).count(),
            taken: self.whole.as_ref().map_or(0, LayerMemory::len),
            most: self.most(),
            damage: self.damage,
            budget: self.settings.damage,
        }
    }

    /// Looks for a value at the subject that makes the answer likely, and makes engrams of it: one in the early layer, and in the late
    /// one those for what it leaves open. A function of the experience alone; nothing is held yet.
    pub fn dream(
        &mut self,
        id: &str,
        exchange: &Exchange,
        subject: &str,
        reward: f32,
        tell: &mut dyn FnMut(f64),
        stop: &AtomicBool,
    ) -> Result<Dream> {
        self.prepare_spikes()?;
        let (prior, layer) = (self.prior(1)?, self.settings.sleep_layer);
        let last = exchange.prompt.len() - 1;
        let position = exchange.subject_end(&self.host, subject)?.unwrap_or(last).min(last);
        let host = self.host.clone();
        let (stage, keys) = Stage::new(&host, (), layer, &exchange.prompt, position, &exchange.answer)?;
        let places = places(&exchange.prompt);
        let seed = self.settings.seed ^ places[last] ^ context_target::places(&exchange.answer).last().copied().unwrap_or(0);
        let codes = &self.studied()?.statistics.codes.clone();
        let mut noise = Noise::new(codes, self.host.decoder.config.width, seed)?;
        let found = value_search::explore(&stage, (), &mut noise, &self.settings.sleep, tell, stop)?;
        let n = prior.inputs();
        let key = |at: usize| keys[at * n..(at + 1) * n].to_vec();
        let mut engrams = Vec::new();
        if position > 0 {
            // The first position's key is the same in every text that begins so, and far larger than others.
            engrams.push(self.engram(id, self.early(), places[0], key(0), &vec![0.0; found.value.len()])?);
        }
        engrams.push(self.engram(id, self.early(), places[position], key(position), &found.value)?);
        let upon = self.adapter_of(&engrams)?;
        let least = wake::least(&self.settings, reward);
        let early = self.check(&upon, exchange, least)?;
        let lesson = self.learn_upon(id, exchange, reward, &upon)?;
        engrams.extend(lesson.engrams);
        Ok(Dream { found, engrams, gain: lesson.gain, early, check: lesson.check })
    }

    /// A value at a key of one of the two layers, as the spike layer codes it.
    pub(crate) fn engram(&mut self, id: &str, site: Site, place: u64, key: Vec<f32>, value: &[f32]) -> Result<Engram> {
        self.prepare_spikes()?;
        let prior = self.prior(usize::from(site == self.early()))?;
        let z = prior.whiten(&key);
        let (trace, value) = match &mut self.spikes {
            None => (z, value.to_vec()),
            Some(layer) => layer.code(&z, value, self.settings.presentations)?,
        };
        let factor = prior.factors(&trace);
        Ok(Engram { experience: id.to_string(), site, place, key, trace, factor, value, ridge: RIDGE })
    }

    /// Where sleep writes, and where wake does.
    pub fn early(&self) -> Site {
        site(self.settings.sleep_layer)
    }

    /// The layer that is written awake.
    pub fn late(&self) -> Site {
        site(self.settings.wake_layer)
    }
}

/// Of engrams, for telling whether they are the same.
fn digest(engrams: &[Engram]) -> u64 {
    let mut digest: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |word: u64| digest = (digest ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(23);
    for e in engrams {
        add(e.place);
        add(u64::from(e.ridge.to_bits()));
        e.trace.iter().chain(&e.value).for_each(|x| add(u64::from(x.to_bits())));
    }
    digest
}
