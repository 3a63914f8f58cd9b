//! The episodic side of a memory folder: experiences come in without any language model, and are recalled from a hint, whoever brought
//! them. What the model learned from (the folder's journal), and the notes of earlier versions' agents, can be recalled as well: they are
//! taken over when the folder is opened. Every change is durable when the call returns; what was stopped goes on where it was. Joins the
//! network of `recall` and its store; knows no command line.

use super::experience::now;
use super::journal::{Entry, Stage};
use super::store::episodes::{Episodes, Gone, TokenTable, Writing, has_episodes};
use super::store::{Store, former};
use crate::error::{Error, Result};
use crate::recall::codes::Whitening;
use crate::recall::encoder::{Encoder, TokenCounts, Tokens};
use crate::recall::hippocampus::{Added, Answer, Late, Place, Receipt};
use crate::recall::{Ask, Episode, Hippocampus};
use crate::transformer::bert::Bert;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
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

/// An encoder to work with, or none; and why the memory's own is not at work, where it is not.
pub type Chosen = (Option<Arc<dyn Encoder>>, Option<String>);

/// A memory folder's experiences in a network.
pub struct Episodic {
    folder: PathBuf,
    store: Episodes,
    network: Hippocampus,
    /// What is left of those that were forgotten.
    forgotten: BTreeMap<String, Gone>,
    mark: Mark,
    /// Why the encoder that the memory was made with is not at work.
    without: Option<String>,
}

/// Experiences that are kept and recalled, wherever they lie: in a folder, or in a database. Every change is durable when the call returns,
/// or, after an error, was not made.
pub trait Recall {
    /// Why the encoder that the memory was made with is not at work; words alone are, then.
    fn without(&self) -> Option<&str>;

    /// Takes experiences in; those that are there already stay as they are. Returns ids, and whether each is new.
    ///
    /// # Errors
    /// Those of [`Hippocampus::add`], and those of the place.
    fn add(&mut self, episodes: Vec<Episode>) -> Result<Vec<(String, bool)>>;

    /// What a hint brings to mind, late interaction on or off.
    ///
    /// # Errors
    /// A text that the encoder cannot take, and those of the place.
    fn recall_by(&mut self, ask: &Ask, late: Late) -> Result<Answer>;

    /// What a hint brings to mind.
    ///
    /// # Errors
    /// Those of [`Recall::recall_by`].
    fn recall(&mut self, ask: &Ask) -> Result<Answer> {
        self.recall_by(ask, Late::On)
    }

    /// Forgets experiences, all of them or, where one id is unknown, none; their ids and times stay.
    ///
    /// # Errors
    /// An unknown id, and those of the place.
    fn forget(&mut self, ids: &[&str]) -> Result<Vec<Receipt>>;

    /// Changes what codes do not depend on, of experiences by their ids.
    ///
    /// # Errors
    /// Those of [`Hippocampus::amend`], and those of the place.
    fn amend(&mut self, ids: &[&str], change: &mut dyn FnMut(&mut Episode)) -> Result<()>;

    /// All experiences in the order in which they came.
    ///
    /// # Errors
    /// Those of the place.
    fn episodes(&mut self) -> Result<Vec<Episode>>;

    /// How many experiences there are.
    ///
    /// # Errors
    /// Those of the place.
    fn count(&mut self) -> Result<usize>;

    /// How large it is.
    ///
    /// # Errors
    /// Those of the place.
    fn size(&mut self) -> Result<Size>;
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

/// What the vectors of a memory are of, `kept` being what they were of: the encoder at work, or none, has to agree.
///
/// # Errors
/// An encoder whose vectors do not compare with those that are there.
pub(super) fn agreed(kept: Option<Mark>, encoder: Option<&Arc<dyn Encoder>>, memory: &str, remedy: &str) -> Result<Mark> {
    let own = mark(encoder);
    match kept.filter(|kept| kept.width > 0 || own.width == 0) {
        Some(kept) if own.width > 0 && kept.fingerprint != own.fingerprint => {
            let Mark { name, width, .. } = kept;
            let (other, its) = (own.name, own.width);
            let message =
                format!("the memory {memory} has vectors of the encoder {name} ({width} numbers), not of {other} ({its})");
            Err(Error::input(message, remedy))
        }
        Some(kept) => Ok(kept),
        None => Ok(own),
    }
}

pub(super) fn mark(encoder: Option<&Arc<dyn Encoder>>) -> Mark {
    match encoder {
        Some(e) => Mark { name: e.name().into(), fingerprint: e.fingerprint().into(), width: e.width() },
        None => Mark { name: String::new(), fingerprint: String::new(), width: 0 },
    }
}

/// Opens an encoder by name or path.
pub fn encoder(name: &str) -> Result<Arc<dyn Encoder>> {
    Ok(Arc::new(Bert::open(name)?))
}

impl With {
    pub(super) fn choose(&self, kept: Option<&Mark>) -> Result<Chosen> {
        match (self, kept) {
            (With::Words, _) => Ok((None, None)),
            (With::Named(name), _) => Ok((Some(encoder(name)?), None)),
            (With::Own, Some(kept)) if !kept.name.is_empty() => match encoder(&kept.name) {
                Ok(encoder) => Ok((Some(encoder), None)),
                Err(error) => Ok((None, Some(error.to_string()))),
            },
            (With::Own, _) => Ok((None, None)),
        }
    }
}

impl Episodic {
    /// Those of a memory folder, to write; begun where there are none.
    ///
    /// # Errors
    /// A folder that another process writes in, vectors of another encoder than the named one, and damaged files.
    pub fn open(folder: &Path, with: &With) -> Result<Episodic> {
        Episodic::open_choosing(folder, |kept| with.choose(kept))
    }

    /// The same with an encoder of the program's own.
    ///
    /// # Errors
    /// As [`Episodic::open`].
    pub fn open_with(folder: &Path, encoder: Arc<dyn Encoder>) -> Result<Episodic> {
        Episodic::open_choosing(folder, |_| Ok((Some(encoder), None)))
    }

    /// The same with the encoder that `choose` names, told what the memory's vectors are of.
    ///
    /// # Errors
    /// As [`Episodic::open`], and those of `choose`.
    pub fn open_choosing(folder: &Path, choose: impl FnOnce(Option<&Mark>) -> Result<Chosen>) -> Result<Episodic> {
        let mut own = Episodic::of(folder, Episodes::open(folder)?, choose)?;
        own.take_notes_over()?;
        own.take_over()?;
        Ok(own)
    }

    /// Those of a memory folder, for asking: beside a process that writes, as its last commit left them.
    pub fn read(folder: &Path, with: &With) -> Result<Episodic> {
        let learned = folder.join("memory.redb").is_file();
        if !has_episodes(folder) && !learned && !former::has_notes(folder) {
            let message = match folder.exists() {
                true => format!("the memory {} holds nothing that could be recalled", folder.display()),
                false => format!("there is no memory folder {}", folder.display()),
            };
            return Err(Error::input(message, "add something: sharpwave memory add --memory DIR FILE"));
        }
        let beside = || Episodic::of(folder, Episodes::read(folder)?, |kept| with.choose(kept));
        match Episodic::open(folder, with) {
            Err(Error::Input(fault)) if fault.message.contains("in use") => beside(),
            Err(Error::File { .. }) if has_episodes(folder) => beside(),
            opened => opened,
        }
    }

    /// Without a folder, gone when it is dropped.
    pub fn in_memory(encoder: Option<Arc<dyn Encoder>>) -> Result<Episodic> {
        Episodic::of(Path::new(""), Episodes::in_memory()?, |_| Ok((encoder, None)))
    }

    fn of(folder: &Path, store: Episodes, choose: impl FnOnce(Option<&Mark>) -> Result<Chosen>) -> Result<Episodic> {
        let kept: Option<Mark> = match store.about("encoder")? {
            Some(json) => Some(serde_json::from_slice(&json).map_err(|e| Error::file(folder, format!("its encoder: {e}")))?),
            None => None,
        };
        let (encoder, without) = choose(kept.as_ref())?;
        let remedy = "leave --encoder out, or code everything anew: sharpwave memory recode --memory DIR --encoder NAME";
        let mark = agreed(kept, encoder.as_ref(), &folder.display().to_string(), remedy)?;
        let (network, forgotten) = restored(&store, encoder)?;
        let mut own = Episodic { folder: folder.into(), store, network, forgotten, mark, without };
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
        self.write(&Writing { about: vec![("journal", stamp)], ..Writing::default() })
    }

    /// Takes over the notes of an earlier version's agents, and puts their file aside. What was stopped goes on from its beginning.
    fn take_notes_over(&mut self) -> Result<()> {
        if !former::has_notes(&self.folder) {
            return Ok(());
        }
        let former::Former { episodes, forgotten } = former::read(&self.folder)?;
        let (known, fresh): (Vec<Episode>, Vec<Episode>) = episodes.into_iter().partition(|e| self.network.get(&e.id).is_some());
        for batch in fresh.chunks(BATCH) {
            self.add(batch.to_vec())?;
        }
        // What the journal told already.
        let known: BTreeMap<String, Episode> = known.into_iter().map(|note| (note.id.clone(), note)).collect();
        let ids: Vec<&str> = known.keys().map(String::as_str).collect();
        self.amend(&ids, |there| {
            let superseded_by = there.superseded_by.take();
            *there = Episode { superseded_by, ..known[&there.id].clone() };
        })?;
        let forgotten = forgotten.into_iter().filter(|(id, _)| self.network.get(id).is_none());
        let forgotten: BTreeMap<String, Gone> = forgotten.collect();
        let told = forgotten.iter().map(|(id, gone)| (id.clone(), Some(gone.clone()))).collect();
        self.write(&Writing { forgotten: told, ..Writing::default() })?;
        self.forgotten.extend(forgotten);
        former::put_aside(&self.folder)
    }

    /// Writes a change. Where it cannot be written, the network is again what the last commit left.
    fn write(&mut self, change: &Writing) -> Result<()> {
        let written = self.store.write(change);
        if written.is_err()
            && self.store.reopen().is_ok()
            && let Ok((network, forgotten)) = restored(&self.store, self.network.encoder().cloned())
        {
            (self.network, self.forgotten) = (network, forgotten);
        }
        written
    }

    /// What is left of an experience that was forgotten.
    pub fn gone(&self, id: &str) -> Option<&Gone> {
        self.forgotten.get(id)
    }

    /// What is left of all that were forgotten, by id.
    pub fn all_gone(&self) -> &BTreeMap<String, Gone> {
        &self.forgotten
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
                (_, None) => fresh.push(episode(entry)),
                (_, Some(_)) => {}
            }
        }
        self.forget(&gone)?;
        for batch in fresh.chunks(BATCH) {
            self.add(batch.to_vec())?;
        }
        let journal: HashSet<&str> = entries.iter().map(|entry| entry.experience.id.as_str()).collect();
        let mut due: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for entry in entries {
            let by = match &entry.stage {
                Stage::Superseded { by } => Some(by.clone()),
                _ => None,
            };
            let id = entry.experience.id.as_str();
            let Some(there) = self.network.get(id).filter(|there| there.tags.iter().any(|tag| tag == LEARNED)) else { continue };
            // What took its place since, and is not the model's, keeps it.
            let own = by.is_some() || there.superseded_by.as_deref().is_some_and(|by| journal.contains(by));
            if own && there.superseded_by != by {
                due.insert(id, by);
            }
        }
        let ids: Vec<&str> = due.keys().copied().collect();
        self.amend(&ids, |episode| episode.superseded_by.clone_from(&due[episode.id.as_str()]))
    }

    /// Takes experiences in, in one commit; those that are there already stay as they are. Returns ids, and whether each is new.
    ///
    /// # Errors
    /// Those of [`Hippocampus::add`]; a disk that is full. Nothing is kept then.
    pub fn add(&mut self, mut episodes: Vec<Episode>) -> Result<Vec<(String, bool)>> {
        self.store.writable()?;
        let told = now();
        episodes.iter_mut().filter(|e| e.told.is_none()).for_each(|e| e.told = Some(told.clone()));
        let added = self.network.add(episodes)?;
        let ids = added.ids.clone();
        if !added.episodes.is_empty() {
            // Who comes again is not forgotten any more.
            let again: Vec<String> =
                ids.iter().map(|(id, _)| id).filter(|id| self.forgotten.contains_key(*id)).cloned().collect();
            let forgotten = again.iter().map(|id| (id.clone(), None)).collect();
            self.keep(added, Writing { forgotten, ..Writing::default() })?;
            self.forgotten.retain(|id, _| !again.contains(id));
        }
        Ok(ids)
    }

    /// Writes what an addition changed, with what else there is.
    fn keep(&mut self, added: Added, change: Writing) -> Result<()> {
        let Added { episodes, cells, tokens, .. } = added;
        let mut about = Vec::new();
        if self.network.whitening().width() > 0 {
            about.push(("whitening", self.network.whitening().to_bytes()));
            about.push(("tokens", self.network.counts().to_bytes()));
        }
        about.push(("encoder", self.mark_bytes()?));
        self.write(&Writing { episodes, cells, tokens, about, ..change })
    }

    fn mark_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.mark).map_err(|e| Error::input(e.to_string(), "name another encoder"))
    }

    /// What a hint brings to mind.
    pub fn recall(&mut self, ask: &Ask) -> Result<Answer> {
        self.recall_by(ask, Late::On)
    }

    /// The same, late interaction on or off.
    pub fn recall_by(&mut self, ask: &Ask, late: Late) -> Result<Answer> {
        self.settle();
        let tokens = self.store.tokens()?;
        self.asked(&tokens, ask, late)
    }

    /// Whether tables are up to date, as [`Episodic::asked`] expects them.
    pub fn is_settled(&self) -> bool {
        self.network.is_settled()
    }

    /// Brings tables up to date.
    pub fn settle(&mut self) {
        self.network.settle();
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

    /// Forgets experiences: their text, vectors, codes, synapses and links; their ids and times stay. All of them or, where one id is
    /// unknown, none. [`Episodic::compact`] takes their bytes out of the file.
    pub fn forget(&mut self, ids: &[&str]) -> Result<Vec<Receipt>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.store.writable()?;
        let when = now();
        let left = |id: &&str| Some((id.to_string(), Gone { told: self.network.get(id)?.told.clone(), when: when.clone() }));
        let left: Vec<(String, Gone)> = ids.iter().filter_map(left).collect();
        let mut logs = Vec::new();
        for id in ids.iter().filter(|_| ids.iter().all(|id| self.network.get(id).is_some())) {
            logs.push(former::forget(&self.folder, &[id])?);
        }
        let tokens = self.store.tokens()?;
        let (mut receipts, gone, changed) = self.network.forget(ids, &|place| tokens.get(place))?;
        receipts.iter_mut().zip(logs).for_each(|(receipt, logs)| receipt.logs = logs);
        drop(tokens);
        let forgotten = left.iter().map(|(id, gone)| (id.clone(), Some(gone.clone()))).collect();
        self.keep(changed, Writing { gone, forgotten, ..Writing::default() })?;
        self.forgotten.extend(left);
        self.settle();
        Ok(receipts)
    }

    /// Changes what codes do not depend on, of experiences by their ids, in one commit: validity, pin, tags, outcome, path, whether they
    /// are held back.
    ///
    /// # Errors
    /// Those of [`Hippocampus::amend`]; a disk that is full. Nothing is changed then.
    pub fn amend(&mut self, ids: &[&str], change: impl FnMut(&mut Episode)) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.store.writable()?;
        let episodes = self.network.amend(ids, change)?;
        self.write(&Writing { episodes, ..Writing::default() })
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
        let (whitening, tokens) = (self.network.whitening().to_bytes(), self.network.counts().to_bytes());
        let about = vec![("whitening", whitening), ("tokens", tokens), ("encoder", self.mark_bytes()?)];
        let Added { episodes, cells, tokens, .. } = added;
        self.store.write(&Writing { anew: true, episodes, cells, tokens, about, ..Writing::default() })?;
        self.settle();
        Ok(())
    }

    /// How large it is.
    pub fn size(&mut self) -> Size {
        self.settle();
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

impl Recall for Episodic {
    fn without(&self) -> Option<&str> {
        Episodic::without(self)
    }

    fn add(&mut self, episodes: Vec<Episode>) -> Result<Vec<(String, bool)>> {
        Episodic::add(self, episodes)
    }

    fn recall_by(&mut self, ask: &Ask, late: Late) -> Result<Answer> {
        Episodic::recall_by(self, ask, late)
    }

    fn forget(&mut self, ids: &[&str]) -> Result<Vec<Receipt>> {
        Episodic::forget(self, ids)
    }

    fn amend(&mut self, ids: &[&str], change: &mut dyn FnMut(&mut Episode)) -> Result<()> {
        Episodic::amend(self, ids, change)
    }

    fn episodes(&mut self) -> Result<Vec<Episode>> {
        Ok(self.network.episodes().cloned().collect())
    }

    fn count(&mut self) -> Result<usize> {
        Ok(self.network.len())
    }

    fn size(&mut self) -> Result<Size> {
        Ok(Episodic::size(self))
    }
}

/// The experiences and what is left of those that went, as a store has them.
fn restored(store: &Episodes, encoder: Option<Arc<dyn Encoder>>) -> Result<(Hippocampus, BTreeMap<String, Gone>)> {
    let whitening = store.about("whitening")?.and_then(|bytes| Whitening::from_bytes(&bytes));
    let counts = store.about("tokens")?.and_then(|bytes| TokenCounts::from_bytes(&bytes));
    Ok((Hippocampus::restore(encoder, whitening, counts, store.all()?), store.forgotten()?))
}

/// What a model learned from, as something to be recalled.
fn episode(entry: &Entry) -> Episode {
    let mut own = entry.experience.episode();
    own.user.clone_from(&entry.experience.user);
    own.told = Some(entry.told.clone()).filter(|told| !told.is_empty());
    own.tags.push(LEARNED.into());
    own.act.iter_mut().for_each(|act| act.learned = Some(entry.stage.name().into()));
    own
}
