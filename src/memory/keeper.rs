//! A memory folder at work: what is learned is kept as it is learned, and what was kept is taken up again. Every experience is one
//! commit, asleep as well, so that a stop at any moment keeps what is done. Joins store and learner; knows no command line.

use super::contrast::site;
use super::entry::{Change, Entry, Stage};
use super::experience::{Experience, now};
use super::learner::Learner;
use super::protect::Statistics;
use super::replay::{Cue, Replay};
use super::settings::Settings;
use super::store::{Meta, Store, VERSION};
use crate::bridge::{Host, Source};
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Times that a fact is replayed before sleep leaves it to the wake memory.
const TRIALS: u32 = 2;

/// Names of what is kept about the keys of a layer.
const MOMENT: &str = "moment";
const FIRST: &str = "first";
const CODES: &str = "codes";

/// An open memory.
pub struct Keeper<'a> {
    pub store: Store,
    pub learner: Learner<'a>,
}

/// What came of an experience that was brought to a memory.
#[derive(Clone, Debug, PartialEq)]
pub enum Learned {
    /// Learned now.
    Yes(Entry),
    /// In the memory already, in whatever stage.
    Before(Entry),
    /// Not learned; it is kept with the reason.
    Refused(Entry),
}

/// What sleep did with one experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Slept {
    pub entry: Entry,
    /// Probability of the answer, before and after, without the wake memory.
    pub before: f32,
    pub after: f32,
    pub seconds: f64,
}

/// What a memory of a model starts from.
pub fn meta(source: &Source, settings: &Settings) -> Result<Meta> {
    let c = &source.config;
    Ok(Meta {
        version: VERSION,
        model: source.name.clone(),
        fingerprint: source.fingerprint()?,
        architecture: c.architecture.name().into(),
        layers: c.layers,
        width: c.width,
        feed_forward: c.feed_forward,
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

impl<'a> Keeper<'a> {
    /// Takes up the memory of `store`, whose model `host` is. `collect` gives statistics for a memory that has none yet.
    pub fn new(store: Store, host: &'a Host, collect: impl FnOnce(&Settings) -> Result<Statistics>) -> Result<Keeper<'a>> {
        let settings = settings(&store)?;
        let statistics = match kept_statistics(&store, &settings)? {
            Some(statistics) => statistics,
            None => {
                let statistics = collect(&settings)?;
                for (which, layer) in statistics.layers.into_iter().enumerate() {
                    store.put_statistics(site(layer), FIRST, &statistics.first[which])?;
                    if which == 1 {
                        store.put_statistics(site(layer), CODES, &statistics.codes)?;
                    }
                    store.put_statistics(site(layer), MOMENT, statistics.moment(which))?;
                }
                statistics
            }
        };
        let mut learner = Learner::new(host, &settings, &statistics)?;
        learner.restore(store.engrams()?)?;
        Ok(Keeper { store, learner })
    }

    /// Learns an experience, or says why not; either way it is kept. One that is there already is left as it is.
    pub fn learn(&mut self, experience: &Experience) -> Result<Learned> {
        if let Some(entry) = self.store.entry(&experience.id)?
            && entry.stage != Stage::Pending
        {
            return Ok(Learned::Before(entry));
        }
        let mut entry = Entry::new(experience.clone());
        let mut change = Change::default();
        if let Some(old) = &experience.supersedes {
            let old = self.store.find(old)?;
            change.erase = self.store.sites(&old.experience.id)?.into_iter().map(|s| (old.experience.id.clone(), s)).collect();
            self.learner.forget(&old.experience.id)?;
            change.entries.push(Entry { stage: Stage::Superseded { by: experience.id.clone() }, ..old });
        }
        match self.learner.wake(experience) {
            Ok(lesson) => {
                entry.stage = Stage::Awake;
                entry.surprise = lesson.signals.surprise;
                entry.note = lesson.note;
                change.write = lesson.engrams;
                change.entries.push(entry.clone());
                self.store.commit(&change)?;
                Ok(Learned::Yes(entry))
            }
            Err(error @ Error::Input(_)) => {
                entry.stage = Stage::Refused { reason: error.to_string() };
                if !change.erase.is_empty() {
                    // What was to make room stays.
                    let engrams = self.store.engrams()?;
                    self.learner.replace(engrams)?;
                }
                self.store.commit(&Change { entries: vec![entry.clone()], ..Change::default() })?;
                Ok(Learned::Refused(entry))
            }
            Err(error) => Err(error),
        }
    }

    /// Replays what was learned awake and moves it to the early layer, in the order in which the spike layer brings it back, until all
    /// are tried, `until` is past, or `stop` is set. An experience leaves the wake memory only when the model answers it without.
    pub fn sleep(&mut self, until: Option<Instant>, stop: &AtomicBool, tell: &mut dyn FnMut(&Slept, usize)) -> Result<usize> {
        let all = self.store.entries()?;
        let arrived = all.len();
        let fit = |e: &Entry| e.stage == Stage::Awake && e.experience.outcome.reward() > 0.0 && e.experience.subject.is_some();
        let mut entries: Vec<Entry> = all.into_iter().filter(|e| fit(e) && e.replays < TRIALS).collect();
        let cue = |e: &Entry| Cue {
            surprise: e.surprise,
            reward: e.experience.outcome.reward() as f32,
            age: arrived - 1 - (e.arrived as usize).min(arrived - 1),
        };
        let mut replay = Replay::new(&entries.iter().map(cue).collect::<Vec<_>>())?;
        let mut moved = 0;
        let mut left = entries.len();
        while let Some(i) = replay.next()? {
            if stop.load(Ordering::Relaxed) || until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
            let slept = self.replay(&mut entries[i], stop)?;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let entry = &entries[i];
            if entry.stage == Stage::Asleep || entry.replays >= TRIALS {
                replay.silence(i)?;
                left -= 1;
            }
            moved += usize::from(entry.stage == Stage::Asleep);
            tell(&slept, left);
        }
        Ok(moved)
    }

    fn replay(&mut self, entry: &mut Entry, stop: &AtomicBool) -> Result<Slept> {
        let started = Instant::now();
        let experience = entry.experience.clone();
        let before = self.learner.probability(&experience)?;
        let (key, found) = self.learner.dream(&experience, stop)?;
        let mut slept = Slept { entry: entry.clone(), before, after: before, seconds: 0.0 };
        if stop.load(Ordering::Relaxed) {
            return Ok(slept);
        }
        entry.replays += 1;
        let mut change = Change::default();
        match self.learner.consolidate(&experience, &key, &found.value) {
            Ok(engram) => {
                slept.after = self.learner.probability(&experience)?;
                if slept.after >= 0.5 {
                    entry.stage = Stage::Asleep;
                    entry.note = None;
                    let late = self.learner.late.site;
                    let wake = self.store.sites(&experience.id)?.into_iter().filter(|s| *s == late);
                    change.erase = wake.map(|s| (experience.id.clone(), s)).collect();
                    change.write.push(engram);
                    self.learner.late.drop(&experience.id);
                } else {
                    entry.note = Some(format!("sleep reached p = {:.2}; it stays in the wake memory", slept.after));
                    self.learner.wake_from(&experience.id)?;
                }
            }
            Err(error @ Error::Input(_)) => {
                entry.replays = TRIALS;
                entry.note = Some(format!("sleep left it: {error}"));
            }
            Err(error) => return Err(error),
        }
        change.entries.push(entry.clone());
        self.store.commit(&change)?;
        slept.entry = entry.clone();
        slept.seconds = started.elapsed().as_secs_f64();
        Ok(slept)
    }
}

fn kept_statistics(store: &Store, settings: &Settings) -> Result<Option<Statistics>> {
    let layers = settings.layers();
    let numbers = |layer: usize, name: &str| store.statistics(site(layer), name);
    let (Some(late), Some(early)) = (numbers(layers[0], MOMENT)?, numbers(layers[1], MOMENT)?) else { return Ok(None) };
    let first = [numbers(layers[0], FIRST)?.unwrap_or_default(), numbers(layers[1], FIRST)?.unwrap_or_default()];
    let codes = numbers(layers[1], CODES)?.unwrap_or_default();
    Statistics::from_parts(layers, [late, early], first, codes).map(Some)
}
