//! The episodic side of a memory folder: experiences come in without any language model, and are recalled from a hint. What the model
//! learned from (the folder's journal) can be recalled as well: it is taken over when the folder is opened. Every addition is durable when
//! the call returns; what was stopped goes on where it was. Joins the network of `recall` and its store; knows no command line.

use super::experience::{Experience, Outcome};
use super::journal::{Entry, Stage};
use super::store::Store;
use super::store::episodes::{Episodes, TokenTable, Writing, has_episodes};
use crate::error::{Error, Result};
use crate::recall::codes::Whitening;
use crate::recall::encoder::{Encoder, TokenCounts, Tokens};
use crate::recall::hippocampus::{Added, Answer, Late, Place, Receipt};
use crate::recall::{Ask, Episode, Hippocampus};
use crate::transformer::bert::Bert;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Experiences of one commit.
pub const BATCH: usize = 256;
/// Tag of experiences that a model learned.
pub const LEARNED: &str = "learned";

/// What vectors are of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// What the encoder can be opened by; empty for none.
    pub name: String,
    /// Of its weights and tokenizer.
    pub fingerprint: String,
    /// Numbers of a vector.
    pub width: usize,
}

/// Which encoder to work with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum With {
    /// The one that the memory was made with; none in a new one, or where it cannot be opened any more.
    #[default]
    Own,
    /// Words alone.
    Words,
    /// The one of this name or path.
    Named(String),
}

/// A memory folder's experiences in a network.
pub struct Episodic {
    folder: PathBuf,
    store: Episodes,
    network: Hippocampus,
    mark: Mark,
    /// Why the encoder that the memory was made with is not at work.
    without: Option<String>,
}

/// How large a memory is.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// Experiences.
    pub experiences: usize,
    /// Of them, those that are history: superseded, or beyond their validity.
    pub history: usize,
    /// Of them, pinned ones.
    pub pinned: usize,
    /// Sessions.
    pub sessions: usize,
    /// Index cells.
    pub cells: usize,
    /// Synapses onto them.
    pub synapses: u64,
    /// Bytes of the synapse tables.
    pub table_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// What vectors are of.
    pub encoder: Mark,
    /// Version of the whitening.
    pub version: u32,
}

fn mark(encoder: Option<&Arc<dyn Encoder>>) -> Mark {
    match encoder {
        Some(e) => Mark { name: e.name().into(), fingerprint: e.fingerprint().into(), width: e.width() },
        None => Mark { name: String::new(), fingerprint: String::new(), width: 0 },
    }
}

/// Opens an encoder by name or path.
pub fn encoder(name: &str) -> Result<Arc<dyn Encoder>> {
    Ok(Arc::new(Bert::open(name)?))
}

impl Episodic {
    /// Those of a memory folder, to write; begun where there are none.
    ///
    /// # Errors
    /// A folder that another process writes in, vectors of another encoder than the named one, and damaged files.
    pub fn open(folder: &Path, with: &With) -> Result<Episodic> {
        let mut own = Episodic::of(folder, Episodes::open(folder)?, with)?;
        own.take_over()?;
        Ok(own)
    }

    /// Those of a memory folder, for asking: beside a process that writes, as its last commit left them.
    pub fn read(folder: &Path, with: &With) -> Result<Episodic> {
        let learned = folder.join("memory.redb").is_file();
        if !has_episodes(folder) && !learned {
            let message = match folder.exists() {
                true => format!("the memory {} holds nothing that could be recalled", folder.display()),
                false => format!("there is no memory folder {}", folder.display()),
            };
            return Err(Error::input(message, "add something: sharpwave memory add --memory DIR FILE"));
        }
        match Episodic::open(folder, with) {
            Err(Error::Input(fault)) if fault.message.contains("in use") => Episodic::of(folder, Episodes::read(folder)?, with),
            Err(Error::File { .. }) if has_episodes(folder) => Episodic::of(folder, Episodes::read(folder)?, with),
            opened => opened,
        }
    }

    /// Without a folder, gone when it is dropped.
    pub fn in_memory(encoder: Option<Arc<dyn Encoder>>) -> Result<Episodic> {
        let mark = mark(encoder.as_ref());
        let (store, network) = (Episodes::in_memory()?, Hippocampus::new(encoder));
        Ok(Episodic { folder: PathBuf::new(), store, network, mark, without: None })
    }

    /// Those of a folder, to write, with an encoder of the program's own.
    ///
    /// # Errors
    /// As [`Episodic::open`].
    pub fn open_with(folder: &Path, encoder: Arc<dyn Encoder>) -> Result<Episodic> {
        Episodic::by(folder, Episodes::open(folder)?, Some(encoder), None)
    }

    fn of(folder: &Path, store: Episodes, with: &With) -> Result<Episodic> {
        let kept: Option<Mark> = Episodic::kept_mark(folder, &store)?;
        let mut without = None;
        let encoder = match (with, &kept) {
            (With::Words, _) => None,
            (With::Named(name), _) => Some(self::encoder(name)?),
            (With::Own, None) => None,
            (With::Own, Some(kept)) if kept.name.is_empty() => None,
            (With::Own, Some(kept)) => match self::encoder(&kept.name) {
                Ok(encoder) => Some(encoder),
                Err(error) => {
                    without = Some(error.to_string());
                    None
                }
            },
        };
        Episodic::by(folder, store, encoder, without)
    }

    fn kept_mark(folder: &Path, store: &Episodes) -> Result<Option<Mark>> {
        match store.about("encoder")? {
            Some(json) => Ok(Some(serde_json::from_slice(&json).map_err(|e| Error::file(folder, format!("its encoder: {e}")))?)),
            None => Ok(None),
        }
    }

    fn by(folder: &Path, store: Episodes, encoder: Option<Arc<dyn Encoder>>, without: Option<String>) -> Result<Episodic> {
        let kept = Episodic::kept_mark(folder, &store)?;
        let own = mark(encoder.as_ref());
        if let Some(kept) = kept.as_ref().filter(|kept| kept.width > 0 && own.width > 0 && kept.fingerprint != own.fingerprint) {
            let message = format!(
                "the memory {} has vectors of the encoder {} ({} numbers), not of {} ({})",
                folder.display(),
                kept.name,
                kept.width,
                own.name,
                own.width
            );
            let remedy = "leave --encoder out, or code everything anew: sharpwave memory recode --memory DIR --encoder NAME";
            return Err(Error::input(message, remedy));
        }
        let all = store.all()?;
        let whitening = store.about("whitening")?.and_then(|bytes| Whitening::from_bytes(&bytes));
        let counts = store.about("tokens")?.and_then(|bytes| TokenCounts::from_bytes(&bytes));
        let network = Hippocampus::restore(encoder, whitening, counts, all);
        let mark = kept.filter(|kept| kept.width > 0 || own.width == 0).unwrap_or(own);
        let mut own = Episodic { folder: folder.into(), store, network, mark, without };
        // Words came before the encoder did.
        if own.store.is_writable() && own.network.lacks_vectors() {
            own.recode_by(&mut |_, _| ControlFlow::Continue(()))?;
        }
        Ok(own)
    }

    /// Why the encoder that the memory was made with is not at work; words alone are, then.
    pub fn without(&self) -> Option<&str> {
        self.without.as_deref()
    }

    /// The network.
    pub fn network(&self) -> &Hippocampus {
        &self.network
    }

    /// The network, for controls: nothing of it is kept.
    pub fn network_mut(&mut self) -> &mut Hippocampus {
        &mut self.network
    }

    /// Takes over what changed in the folder's journal since the last time.
    fn take_over(&mut self) -> Result<()> {
        let path = self.folder.join("memory.redb");
        let Ok(found) = std::fs::metadata(&path) else { return Ok(()) };
        let when = found.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |d| d.as_nanos());
        let stamp = format!("{} {when}", found.len()).into_bytes();
        if self.store.about("journal")?.as_deref() == Some(&stamp) {
            return Ok(());
        }
        self.learned(&Store::read(&self.folder)?.entries()?)?;
        self.store.write(&Writing { about: vec![("journal", stamp)], ..Writing::default() })
    }

    /// Takes over what a model learned from, and lets go what it was told to forget.
    pub fn learned(&mut self, entries: &[Entry]) -> Result<()> {
        let mut fresh = Vec::new();
        let mut gone = Vec::new();
        for entry in entries {
            let id = entry.experience.id.as_str();
            match (&entry.stage, self.network.get(id)) {
                (Stage::Forgotten, Some(there)) if there.tags.iter().any(|tag| tag == LEARNED) => gone.push(id),
                (Stage::Forgotten, _) => {}
                (_, None) => fresh.push(episode(&entry.experience, &entry.told)),
                (_, Some(_)) => {}
            }
        }
        self.forget(&gone)?;
        for batch in fresh.chunks(BATCH) {
            self.add(batch.to_vec())?;
        }
        let mut changed = Vec::new();
        for entry in entries {
            let by = match &entry.stage {
                Stage::Superseded { by } => Some(by.clone()),
                _ => None,
            };
            let there = self.network.get(&entry.experience.id);
            if there.is_some_and(|there| there.superseded_by != by && there.tags.iter().any(|tag| tag == LEARNED)) {
                changed.push(self.network.amend(&entry.experience.id, |episode| episode.superseded_by = by)?);
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        self.store.write(&Writing { episodes: changed, ..Writing::default() })
    }

    /// Takes experiences in, in one commit; those that are there already stay as they are. Returns ids, and whether each is new.
    ///
    /// # Errors
    /// Those of [`Hippocampus::add`]; a disk that is full. Nothing is kept then, and the memory is to be opened again.
    pub fn add(&mut self, episodes: Vec<Episode>) -> Result<Vec<(String, bool)>> {
        let added = self.network.add(episodes)?;
        let ids = added.ids.clone();
        if !added.episodes.is_empty() {
            self.keep(added, Vec::new())?;
        }
        Ok(ids)
    }

    fn keep(&mut self, added: Added, gone: Vec<u64>) -> Result<()> {
        let Added { episodes, cells, tokens, .. } = added;
        let mut about = Vec::new();
        if self.network.whitening().width() > 0 {
            about.push(("whitening", self.network.whitening().to_bytes()));
            about.push(("tokens", self.network.counts().to_bytes()));
        }
        let json = serde_json::to_vec(&self.mark).map_err(|e| Error::input(e.to_string(), "name another encoder"))?;
        about.push(("encoder", json));
        self.store.write(&Writing { anew: false, gone, episodes, cells, tokens, about })
    }

    /// What a hint brings to mind.
    pub fn recall(&mut self, ask: &Ask) -> Result<Answer> {
        self.recall_by(ask, Late::On)
    }

    /// The same, late interaction on or off.
    pub fn recall_by(&mut self, ask: &Ask, late: Late) -> Result<Answer> {
        self.network.settle();
        let tokens = self.store.tokens()?;
        self.asked(&tokens, ask, late)
    }

    /// The token vectors that are kept; for many questions, to be opened once.
    pub fn tokens(&self) -> Result<TokenTable> {
        self.store.tokens()
    }

    /// Recalls with token vectors that were opened before. Tables are to be settled.
    pub fn asked(&self, tokens: &TokenTable, ask: &Ask, late: Late) -> Result<Answer> {
        let shelf = |place: Place| -> Result<Option<Tokens>> { tokens.get(place) };
        self.network.recall(ask, late, &shelf)
    }

    /// Forgets experiences: their text, vectors, codes, synapses and links. All of them or, where one id is unknown, none.
    pub fn forget(&mut self, ids: &[&str]) -> Result<Vec<Receipt>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let tokens = self.store.tokens()?;
        let (receipts, gone, changed) = self.network.forget(ids, &|place| tokens.get(place))?;
        drop(tokens);
        self.keep(changed, gone)?;
        self.network.settle();
        Ok(receipts)
    }

    /// Changes what codes do not depend on: validity, pin, tags, outcome.
    pub fn amend(&mut self, id: &str, change: impl FnOnce(&mut Episode)) -> Result<()> {
        let changed = self.network.amend(id, change)?;
        self.store.write(&Writing { episodes: vec![changed], ..Writing::default() })
    }

    /// Codes everything anew by an encoder (or words alone), in one commit: until then everything is as it was.
    pub fn recode(&mut self, with: &With, each: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Result<()> {
        let encoder = match with {
            With::Named(name) => Some(self::encoder(name)?),
            With::Words => None,
            With::Own => self.network.encoder().cloned(),
        };
        self.network = {
            let all: Vec<(u64, Episode)> = self.store.all()?.into_iter().map(|(order, episode, _)| (order, episode)).collect();
            Hippocampus::restore(encoder, None, None, all.into_iter().map(|(order, episode)| (order, episode, Vec::new())))
        };
        self.without = None;
        self.recode_by(each)
    }

    fn recode_by(&mut self, each: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Result<()> {
        let added = self.network.encode_again(each)?;
        self.mark = mark(self.network.encoder());
        let json = serde_json::to_vec(&self.mark).map_err(|e| Error::input(e.to_string(), "name another encoder"))?;
        let (whitening, tokens) = (self.network.whitening().to_bytes(), self.network.counts().to_bytes());
        let about = vec![("whitening", whitening), ("tokens", tokens), ("encoder", json)];
        let Added { episodes, cells, tokens, .. } = added;
        self.store.write(&Writing { anew: true, gone: Vec::new(), episodes, cells, tokens, about })?;
        self.network.settle();
        Ok(())
    }

    /// How large it is.
    pub fn size(&mut self) -> Size {
        self.network.settle();
        let now = jiff::Timestamp::now();
        let (synapses, table_bytes) = self.network.index().size();
        let count = |of: &dyn Fn(&Episode) -> bool| self.network.episodes().filter(|e| of(e)).count();
        let sessions: std::collections::HashSet<_> = self.network.episodes().filter_map(|e| e.session.as_ref()).collect();
        Size {
            experiences: self.network.len(),
            history: count(&|e| e.is_history(now)),
            pinned: count(&|e| e.pinned),
            sessions: sessions.len(),
            cells: self.network.index().alive(),
            synapses,
            table_bytes,
            file_bytes: self.store.bytes(),
            encoder: self.mark.clone(),
            version: self.network.whitening().version,
        }
    }

    /// Writes the file without the bytes of what is gone.
    pub fn compact(&mut self) -> Result<()> {
        self.store.compact()
    }

    /// The store.
    pub fn store(&self) -> &Episodes {
        &self.store
    }
}

/// What a model learned from, as something to be recalled.
fn episode(experience: &Experience, told: &str) -> Episode {
    let outcome = match experience.outcome {
        Outcome::Success => 1.0,
        Outcome::Failure => -1.0,
        Outcome::Reward(reward) => reward,
    };
    let mut tags = experience.tags.clone();
    tags.push(LEARNED.into());
    Episode {
        id: experience.id.clone(),
        text: format!("{} → {}", experience.asked().trim(), experience.answer.trim()),
        user: experience.user.clone(),
        time: experience.time.clone().or_else(|| Some(told.to_string()).filter(|told| !told.is_empty())),
        tags,
        outcome: Some(outcome),
        ..Episode::default()
    }
}
