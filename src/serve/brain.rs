//! The model that all users share, and what a user's weights do with it: pending experiences are learned, sleep moves them, a request gets
//! the adapter of what it asks for. One writer a user; whoever waits to be answered wakes a sleeper.

use super::notes::waits;
use super::user::User;
use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::memory::exchange::Request;
use crate::memory::experience::Experience;
use crate::memory::facade::{self, Observed, Slept};
use crate::memory::journal::Stage;
use crate::memory::key_statistics::{Statistics, cache_folder};
use crate::memory::learner::Composition;
use crate::memory::questions::built_in_prompts;
use crate::memory::settings::Settings;
use crate::memory::store::{Meta, Store};
use crate::transformer::{Host, Source};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// A model at work, the same for all users.
pub struct Brain {
    /// Name of the model.
    pub name: String,
    /// Weights, tokenizer, template.
    pub host: Arc<Host>,
    meta: Meta,
    statistics: Statistics,
}

/// What learning or sleep did for one user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// Experiences that were learned.
    pub learned: usize,
    /// Experiences that were not, each with the reason.
    pub refused: Vec<(String, String)>,
}

impl Brain {
    /// Reads a model, and what of it is to be protected, from the cache where that is there.
    ///
    /// # Errors
    /// A model that is not there or cannot be used.
    pub fn open(model: &str, settings: &[String], stop: &AtomicBool) -> Result<Brain> {
        let source = Source::open(model)?;
        let settings = Settings::new(&source.config).with(settings, &source.config)?;
        let meta = facade::meta(&source, &settings)?;
        let host = Arc::new(source.load()?);
        let prompts = built_in_prompts();
        let statistics = Statistics::cached(&cache_folder(), &meta.fingerprint, &host, &settings, &prompts, &mut |_| (), stop)?;
        Ok(Brain { name: source.name.clone(), host, meta, statistics })
    }

    /// The weights of a user, opened; made where there are none and `make` says so.
    fn memory<'a>(&self, user: &'a User, make: bool) -> Result<Option<MutexGuard<'a, Option<Memory>>>> {
        let mut memory = user.memory();
        if memory.is_none() {
            if !make && !has_weights(&user.folder) {
                return Ok(None);
            }
            let meta = Meta { user: Some(user.name.clone()), ..self.meta.clone() };
            *memory = Some(Memory::new(Store::open_or_create(&user.folder, &meta)?, self.host.clone())?);
        }
        Ok(Some(memory))
    }

    /// Learns experiences of a user that wait, up to `most`, until `stop` is set: each is one commit, and the next request has it.
    ///
    /// # Errors
    /// What a disk refuses, and a memory of another model.
    pub fn learn(&self, user: &User, most: usize, stop: &AtomicBool) -> Result<Done> {
        let mut done = Done::default();
        while done.learned + done.refused.len() < most && !stop.load(Ordering::Relaxed) {
            // Whoever waits for the weights goes first.
            if user.wake.swap(false, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let Some(note) = user.notes().all().find(|note| waits(note)).cloned() else { break };
            let Some(experience) = Experience::of_episode(&note, Some(&user.name)) else { break };
            let id = note.id;
            let observed = {
                let Some(mut memory) = self.memory(user, true)? else { break };
                let learn = |memory: &mut Memory| {
                    memory.prepare(|_| Ok(self.statistics.clone()))?;
                    memory.observe(&experience)
                };
                memory.as_mut().map(learn)
            };
            let (learned, refusal) = match observed {
                Some(Ok(Observed::Refused(entry))) => match entry.stage {
                    Stage::Refused { reason } => (format!("not learned: {reason}"), Some(reason)),
                    other => (other.name().to_string(), None),
                },
                Some(Ok(observed)) => (observed.entry().stage.name().to_string(), None),
                // The experience is at fault, not the memory.
                Some(Err(error @ Error::Input(_))) => (format!("not learned: {error}"), Some(error.to_string())),
                Some(Err(error)) => return Err(error),
                None => break,
            };
            match refusal {
                Some(reason) => done.refused.push((id.clone(), reason)),
                None => done.learned += 1,
            }
            // What was corrected, or failed, is not said again, whether or not the weights take what came instead.
            if done.refused.last().is_some_and(|(last, _)| *last == id) {
                let mut before = user.notes().chain(&id)?;
                before.truncate(before.iter().position(|other| *other == id).unwrap_or(0));
                forget(user, &before)?;
                let mut notes = user.notes_mut();
                let there: Vec<&str> = before.iter().map(String::as_str).filter(|old| notes.find(old).is_ok()).collect();
                // Should they hold again, they wait to be learned again.
                notes.amend(&there, |old| old.act.iter_mut().for_each(|act| act.learned = None))?;
            }
            let mut notes = user.notes_mut();
            // It may have been forgotten meanwhile.
            if notes.find(&id).is_ok() {
                notes.amend(&[&id], |note| note.act.iter_mut().for_each(|act| act.learned = Some(learned.clone())))?;
            }
        }
        Ok(done)
    }

    /// Replays what a user's weights learned awake, until `budget` is over or a request wants the memory; what moved, and of each one
    /// that was replayed what became of it.
    ///
    /// # Errors
    /// What a disk refuses.
    pub fn sleep(&self, user: &User, budget: Duration) -> Result<(usize, Vec<Slept>)> {
        let Some(mut memory) = self.memory(user, false)? else { return Ok((0, Vec::new())) };
        let Some(memory) = memory.as_mut() else { return Ok((0, Vec::new())) };
        if memory.entries().is_empty() {
            return Ok((0, Vec::new()));
        }
        user.wake.store(false, Ordering::Relaxed);
        let mut slept = Vec::new();
        let moved =
            memory.sleep(Some(Instant::now() + budget), &user.wake, &mut |_| (), &mut |one, _| slept.push(one.clone()))?;
        Ok((moved, slept))
    }

    /// What a request asks for among a user's weights. A sleeper is woken.
    ///
    /// # Errors
    /// A memory of another model, or one that is damaged.
    pub fn compose(&self, user: &User, request: &Request) -> Result<Composition> {
        user.wake.store(true, Ordering::Relaxed);
        let memory = self.memory(user, false)?;
        match memory.as_ref().and_then(|memory| memory.as_ref()) {
            Some(memory) => memory.composition_for(request),
            None => Ok(Composition::default()),
        }
    }
}

/// Whether a folder holds weights.
pub fn has_weights(folder: &Path) -> bool {
    folder.join("memory.redb").exists()
}

/// Takes experiences out of a user's weights, with no model at hand too; where each one's engrams were. Those that the weights never met
/// are passed over.
///
/// # Errors
/// What a disk refuses.
pub fn forget(user: &User, ids: &[String]) -> Result<Vec<(String, Vec<String>)>> {
    if !has_weights(&user.folder) {
        return Ok(Vec::new());
    }
    user.wake.store(true, Ordering::Relaxed);
    let mut memory = user.memory();
    let known = |store: &Store| -> Result<Vec<String>> {
        let mut known = Vec::new();
        for id in ids {
            if store.entry(id)?.is_some_and(|entry| entry.stage != Stage::Forgotten) {
                known.push(id.clone());
            }
        }
        Ok(known)
    };
    let left = match memory.as_mut() {
        Some(memory) => {
            let known = known(memory.store())?;
            let left = memory.forget(&known.iter().map(String::as_str).collect::<Vec<_>>())?;
            memory.compact()?;
            left
        }
        None => {
            let mut store = Store::open(&user.folder)?;
            let known = known(&store)?;
            let left = facade::forget(&store, &known.iter().map(String::as_str).collect::<Vec<_>>())?;
            store.compact()?;
            left
        }
    };
    Ok(left.into_iter().map(|left| (left.id, left.engrams)).collect())
}
