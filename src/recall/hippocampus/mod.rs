//! Experiences in a network: writing, exact deletion, and recall from a hint. A cue drives the index population in one volley; the first
//! cells to fire pass some of it on along their links; late interaction rescores the first of them; one order comes out, with how sure it
//! is and why. Joins encoder, codes and index; what is to be kept on disk is handed out as plain data.

mod ask;
mod complete;
mod controls;
mod population;

pub use ask::{Answer, Ask, Late, Recalled, Why};
pub use complete::Restored;
pub use controls::Wiring;
pub use population::{Best, Fired, Population, Struck, Volley};

use super::codes::{Projection, Whitening};
use super::encoder::{Embedding, Encoder, TokenCounts, Tokens, unit};
use super::episode::Episode;
use super::fuse::Mix;
use super::index::{Code, Index};
use super::words;
use crate::error::{Error, Result};
use half::f16;
use jiff::Timestamp;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What neighbours weigh in the vector of an experience and what happened around it.
const AROUND_WEIGHT: f32 = 0.6;
/// Texts that are encoded together.
const BATCH: usize = 128;

/// A piece of an experience: what its cell is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The encoder's vector; empty without an encoder.
    pub vector: Vec<f16>,
    /// The granule cells that drive it.
    pub code: Code,
    /// Version of the whitening that its dense codes are of.
    pub version: u32,
}

/// A cell's place: order of the experience, piece of it.
pub type Place = (u64, u32);

/// What an addition changed, to be kept.
#[derive(Debug, Default)]
pub struct Added {
    /// For each experience its id, and whether it was not known before.
    pub ids: Vec<(String, bool)>,
    /// Experiences that are new or changed, with their order.
    pub episodes: Vec<(u64, Episode)>,
    /// Cells that are new or changed.
    pub cells: Vec<(Place, Kept)>,
    /// Token vectors of the new ones.
    pub tokens: Vec<(Place, Tokens)>,
    /// Whether the whitening has a new version, by which all cells were coded anew.
    pub recoded: bool,
}

/// What went when experiences were forgotten.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Receipt {
    /// `id` of the experience.
    pub id: String,
    /// Index cells that are gone.
    pub cells: usize,
    /// Synapses onto them that are gone.
    pub synapses: usize,
    /// Links to neighbours in time that are gone.
    pub links: usize,
    /// Bytes of its text, of its vectors, and of its token vectors that are gone.
    pub bytes: [usize; 3],
    /// Files of earlier versions that had lines about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<String>,
}

struct Slot {
    order: u64,
    episode: Episode,
    cells: Vec<u32>,
    instant: Option<Timestamp>,
}

struct Cell {
    slot: u32,
    piece: u32,
    vector: Vec<f16>,
    version: u32,
    before: Option<u32>,
    after: Option<u32>,
}

/// The network with what it holds.
pub struct Hippocampus {
    encoder: Option<Arc<dyn Encoder>>,
    whitening: Whitening,
    counts: TokenCounts,
    projection: Arc<Projection>,
    index: Index,
    slots: Vec<Option<Slot>>,
    cells: Vec<Option<Cell>>,
    ids: HashMap<String, u32>,
    /// The last cell of each session.
    ends: HashMap<(Option<String>, String), u32>,
    next: u64,
    /// Whether the tables know all that came and went.
    settled: bool,
    /// Whether each cell is in force, where that is the same at every time; None after changes, until tables are settled.
    plain: Option<Vec<bool>>,
    /// Weights of what is summed.
    pub mix: Mix,
}

/// Token vectors by the cell's place.
pub type Shelf<'a> = dyn Fn(Place) -> Result<Option<Tokens>> + Sync + 'a;

impl Hippocampus {
    /// Without experiences. Without an encoder it knows words alone.
    pub fn new(encoder: Option<Arc<dyn Encoder>>) -> Hippocampus {
        let width = encoder.as_ref().map_or(0, |e| e.width());
        Hippocampus {
            whitening: Whitening::new(width),
            counts: TokenCounts::default(),
            projection: Projection::usual(width),
            encoder,
            index: Index::new(),
            slots: Vec::new(),
            cells: Vec::new(),
            ids: HashMap::new(),
            ends: HashMap::new(),
            next: 0,
            settled: false,
            plain: None,
            mix: Mix::default(),
        }
    }

    /// Takes up what was kept, experiences in their order. Cells whose vectors or codes the encoder did not make are to be brought anew
    /// (`missing`).
    pub fn restore(
        encoder: Option<Arc<dyn Encoder>>,
        whitening: Option<Whitening>,
        counts: Option<TokenCounts>,
        kept: impl IntoIterator<Item = (u64, Episode, Vec<Kept>)>,
    ) -> Hippocampus {
        let mut own = Hippocampus::new(encoder);
        own.remember(whitening, counts);
        own.take_up(kept.into_iter().map(|(order, episode, pieces)| (order, episode, (0..).zip(pieces).collect())));
        own.index.settle();
        own
    }

    /// Statistics that were kept, where they are of this encoder's width; those of the tokens go with those of the vectors.
    pub fn remember(&mut self, whitening: Option<Whitening>, counts: Option<TokenCounts>) {
        if let Some(whitening) = whitening.filter(|w| w.width() == self.whitening.width()) {
            self.whitening = whitening;
            self.counts = counts.unwrap_or_default();
        }
    }

    /// Lets go of all experiences and takes up a part of those that are kept elsewhere, in their order, each with some of its pieces: for a
    /// change to them. Statistics stay those of the whole; `next` is the order of the next one to come. Cells of a session that follow each
    /// other in the part are taken for neighbours: what is to be coded anew needs its neighbours, and their neighbours, in it.
    pub fn take_part(&mut self, next: u64, part: impl IntoIterator<Item = (u64, Episode, Vec<(u32, Kept)>)>) {
        let empty = Hippocampus {
            encoder: self.encoder.clone(),
            whitening: std::mem::take(&mut self.whitening),
            counts: std::mem::take(&mut self.counts),
            projection: self.projection.clone(),
            index: Index::new(),
            slots: Vec::new(),
            cells: Vec::new(),
            ids: HashMap::new(),
            ends: HashMap::new(),
            next,
            settled: false,
            plain: None,
            mix: self.mix.clone(),
        };
        *self = empty;
        self.take_up(part);
    }

    fn take_up(&mut self, kept: impl IntoIterator<Item = (u64, Episode, Vec<(u32, Kept)>)>) {
        for (order, episode, pieces) in kept {
            let slot = self.slots.len() as u32;
            self.ids.insert(episode.id.clone(), slot);
            self.next = self.next.max(order + 1);
            let instant = episode.instant();
            self.slots.push(Some(Slot { order, episode, cells: Vec::new(), instant }));
            for (piece, kept) in pieces {
                self.grow(slot, piece, kept);
            }
        }
    }

    /// The place of each cell, with those of its neighbours in time, before and after.
    pub fn links(&self) -> impl Iterator<Item = (Place, [Option<Place>; 2])> + '_ {
        let place = |cell: u32| self.cell(cell).and_then(|own| Some((self.slot(own.slot)?.order, own.piece)));
        let own = move |(at, cell): (u32, &Option<Cell>)| {
            let own = cell.as_ref()?;
            Some((place(at)?, [own.before.and_then(place), own.after.and_then(place)]))
        };
        (0..).zip(&self.cells).filter_map(own)
    }

    /// Order of the experience that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Experiences that are there.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The encoder.
    pub fn encoder(&self) -> Option<&Arc<dyn Encoder>> {
        self.encoder.as_ref()
    }

    /// Statistics of the vectors, to be kept.
    pub fn whitening(&self) -> &Whitening {
        &self.whitening
    }

    /// In how many cells each token occurs, to be kept.
    pub fn counts(&self) -> &TokenCounts {
        &self.counts
    }

    /// The population.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// An experience by its id.
    pub fn get(&self, id: &str) -> Option<&Episode> {
        self.slot(*self.ids.get(id)?).map(|slot| &slot.episode)
    }

    /// All experiences in the order in which they came.
    pub fn episodes(&self) -> impl DoubleEndedIterator<Item = &Episode> {
        self.slots.iter().flatten().map(|slot| &slot.episode)
    }

    /// Ids of the experiences before and after one in its session.
    pub fn neighbours(&self, id: &str) -> [Option<&str>; 2] {
        let own = self.ids.get(id).copied();
        let slot = own.and_then(|slot| self.slot(slot));
        let Some((slot, own)) = slot.zip(own) else { return [None, None] };
        let step = |cell: Option<&u32>, forward: bool| {
            let mut cell = self.cell(*cell?)?;
            loop {
                cell = self.cell(if forward { cell.after? } else { cell.before? })?;
                if cell.slot != own {
                    return self.slot(cell.slot).map(|slot| slot.episode.id.as_str());
                }
            }
        };
        [step(slot.cells.first(), false), step(slot.cells.last(), true)]
    }

    fn unsettle(&mut self) {
        (self.settled, self.plain) = (false, None);
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn cell(&self, cell: u32) -> Option<&Cell> {
        self.cells.get(cell as usize)?.as_ref()
    }

    /// A new cell at the end of its session.
    fn grow(&mut self, slot: u32, piece: u32, kept: Kept) -> u32 {
        let cell = self.cells.len() as u32;
        let mut before = None;
        if let Some(Some(of)) = self.slots.get_mut(slot as usize) {
            // Pieces of one text are neighbours too.
            before = of.cells.last().copied();
            if let Some(session) = &of.episode.session {
                let end = self.ends.insert((of.episode.user.clone(), session.clone()), cell);
                before = before.or(end);
            }
            of.cells.push(cell);
        }
        if let Some(Some(before)) = before.map(|before| &mut self.cells[before as usize]) {
            before.after = Some(cell);
        }
        self.cells.push(Some(Cell { slot, piece, vector: kept.vector, version: kept.version, before, after: None }));
        self.index.write(cell as usize, kept.code);
        cell
    }

    /// Takes experiences in, whole or not at all. One that is there already, by its id or by what it says, stays as it is.
    ///
    /// # Errors
    /// One that breaks a rule, whose id is another one's, or that supersedes one that is not there.
    pub fn add(&mut self, mut episodes: Vec<Episode>) -> Result<Added> {
        let mut added = Added::default();
        let mut fresh: Vec<Episode> = Vec::new();
        let mut met: HashMap<String, usize> = HashMap::new();
        for episode in &mut episodes {
            episode.check()?;
            if episode.id.is_empty() {
                episode.id = episode.derived_id();
            }
            let there = self.get(&episode.id).or_else(|| met.get(&episode.id).map(|at| &fresh[*at]));
            let known = there.map(|there| there.said() == episode.said() && there.user == episode.user);
            if known == Some(false) {
                let message = format!("the id {:?} is another experience's already", episode.id);
                return Err(Error::input(message, "give it an id of its own, or leave `id` out"));
            }
            if let Some(old) = &episode.supersedes
                && self.get(old).is_none()
                && !met.contains_key(old)
            {
                let message = format!("experience {:?} supersedes {old:?}, which is not in the memory", episode.id);
                return Err(Error::input(message, "add that one first, or leave `supersedes` out"));
            }
            added.ids.push((episode.id.clone(), known.is_none()));
            if known.is_none() {
                met.insert(episode.id.clone(), fresh.len());
                fresh.push(episode.clone());
            }
        }
        let fresh = (self.next..).zip(fresh).collect();
        let taken = self.take_in(fresh)?;
        Ok(Added { ids: added.ids, ..taken })
    }

    /// Takes in what was checked, by its order.
    fn take_in(&mut self, fresh: Vec<(u64, Episode)>) -> Result<Added> {
        self.unsettle();
        let mut added = Added::default();
        let texts: Vec<Vec<String>> = fresh.iter().map(|(_, episode)| episode.pieces()).collect();
        let mut embeddings = self.embed(&texts.iter().flatten().map(String::as_str).collect::<Vec<_>>())?.into_iter();
        let mut touched: Vec<u32> = Vec::new();
        for ((order, episode), texts) in fresh.into_iter().zip(texts) {
            let (slot, instant) = (self.slots.len() as u32, episode.instant());
            self.next = order + 1;
            self.ids.insert(episode.id.clone(), slot);
            added.episodes.extend(self.supersede(&episode));
            added.episodes.push((order, episode.clone()));
            self.slots.push(Some(Slot { order, episode, cells: Vec::new(), instant }));
            for (piece, text) in (0..).zip(texts) {
                let embedding = embeddings.next().unwrap_or_default();
                if !embedding.vector.is_empty() {
                    self.whitening.add(&embedding.vector);
                    self.counts.add(&embedding.tokens);
                    added.tokens.push(((order, piece), embedding.tokens));
                }
                let vector = embedding.vector.iter().map(|x| f16::from_f32(*x)).collect();
                let code = Code { words: words::cells(&text), ..Code::default() };
                let cell = self.grow(slot, piece, Kept { vector, code, version: 0 });
                touched.extend(self.cell(cell).and_then(|c| c.before));
                touched.push(cell);
            }
        }
        if self.whitening.is_due() {
            self.whitening.refresh();
            self.recode();
            added.recoded = true;
            touched = (0..self.cells.len() as u32).collect();
        } else {
            touched.sort_unstable();
            touched.dedup();
            self.code(&touched);
        }
        added.cells = touched.iter().filter_map(|cell| self.kept(*cell)).collect();
        Ok(added)
    }

    /// Gives an experience the place of the one that it names, where it is not held back; returns that one with its order.
    fn supersede(&mut self, episode: &Episode) -> Option<(u64, Episode)> {
        let old = episode.supersedes.as_ref().filter(|_| episode.quarantine.is_none());
        let at = *self.ids.get(old?)?;
        let old = self.slots[at as usize].as_mut()?;
        old.episode.superseded_by = Some(episode.id.clone());
        Some((old.order, old.episode.clone()))
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let Some(encoder) = &self.encoder else { return Ok(Vec::new()) };
        let mut all = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            all.extend(encoder.encode(batch)?);
        }
        Ok(all)
    }

    /// Whether experiences are there that the encoder has not seen.
    pub fn lacks_vectors(&self) -> bool {
        self.encoder.is_some() && self.cells.iter().flatten().any(|cell| cell.vector.is_empty())
    }

    /// Encodes and codes everything anew, in the order in which it came; `each` hears how many of how many are done, and may stop it.
    ///
    /// # Errors
    /// Being stopped: the network is not whole then.
    pub fn encode_again(&mut self, each: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Result<Added> {
        let slots: Vec<Slot> = std::mem::take(&mut self.slots).into_iter().flatten().collect();
        let mut fresh = Hippocampus::new(self.encoder.clone());
        fresh.mix = self.mix.clone();
        let mut all = Added::default();
        for (done, batch) in slots.chunks(BATCH).enumerate() {
            if each(done * BATCH, slots.len()).is_break() {
                return Err(Error::Run { message: "stopped".into(), remedy: "nothing was changed; start it again".into() });
            }
            let own = batch.iter().map(|slot| (slot.order, slot.episode.clone())).collect();
            all.tokens.extend(fresh.take_in(own)?.tokens);
        }
        if fresh.whitening.n > 0 {
            fresh.whitening.refresh();
        }
        fresh.recode();
        all.episodes = fresh.slots.iter().flatten().map(|slot| (slot.order, slot.episode.clone())).collect();
        all.cells = fresh.all_kept().collect();
        *self = fresh;
        Ok(all)
    }

    /// What is to be kept of a cell.
    fn kept(&self, cell: u32) -> Option<(Place, Kept)> {
        let own = self.cell(cell)?;
        let order = self.slot(own.slot)?.order;
        let code = self.index.code(cell as usize)?.clone();
        Some(((order, own.piece), Kept { vector: own.vector.clone(), code, version: own.version }))
    }

    /// All that is to be kept of cells, after codes were made anew.
    pub fn all_kept(&self) -> impl Iterator<Item = (Place, Kept)> + '_ {
        (0..self.cells.len() as u32).filter_map(|cell| self.kept(cell))
    }

    /// Makes the codes of all cells anew.
    pub fn recode(&mut self) {
        let all: Vec<u32> = (0..self.cells.len() as u32).filter(|cell| self.cell(*cell).is_some()).collect();
        // Whatever version they are of.
        self.cells.iter_mut().flatten().for_each(|cell| cell.version = u32::MAX);
        self.code(&all);
    }

    /// Makes the codes of cells, of their own and of what is around them.
    fn code(&mut self, cells: &[u32]) {
        self.unsettle();
        let version = self.whitening.version;
        for part in cells.chunks(BATCH) {
            let begun: Vec<(u32, Code, Vec<Vec<f32>>)> = part.par_iter().filter_map(|cell| self.begun(*cell)).collect();
            let vectors: Vec<Vec<f32>> = begun.iter().flat_map(|(_, _, vectors)| vectors.iter().cloned()).collect();
            let mut winners = self.projection.winners(&vectors).into_iter();
            for (cell, mut code, vectors) in begun {
                let mut own: Vec<Vec<u16>> = winners.by_ref().take(vectors.len()).collect();
                if self.cells[cell as usize].as_ref().is_some_and(|c| !c.vector.is_empty()) {
                    let beside = self.beside(cell).next().is_some();
                    let around = if beside { own.pop() } else { None };
                    code.sense = own.pop().unwrap_or(code.sense);
                    code.sense_around = around.unwrap_or_else(|| code.sense.clone());
                }
                self.index.write(cell as usize, code);
                if let Some(Some(own)) = self.cells.get_mut(cell as usize) {
                    own.version = version;
                }
            }
        }
    }

    /// Neighbours of a cell in time.
    fn beside(&self, cell: u32) -> impl Iterator<Item = u32> + '_ {
        let own = self.cell(cell);
        [own.and_then(|c| c.before), own.and_then(|c| c.after)].into_iter().flatten()
    }

    /// The words of a cell's code, and the whitened vectors that are to be projected for the rest of it: its own, where that has no code of
    /// this version, and the one of what is around it, where anything is.
    fn begun(&self, cell: u32) -> Option<(u32, Code, Vec<Vec<f32>>)> {
        let own = self.cell(cell)?;
        let before = self.index.code(cell as usize)?;
        let words = before.words.clone();
        let mut around = words.clone();
        for other in self.beside(cell) {
            for (word, n) in self.index.code(other as usize).map_or(&[][..], |code| &code.words) {
                match around.binary_search_by_key(word, |(w, _)| *w) {
                    Ok(at) => around[at].1 = around[at].1.saturating_add(*n),
                    Err(at) => around.insert(at, (*word, *n)),
                }
            }
        }
        let mut code = Code { words, around, ..Code::default() };
        let mut vectors = Vec::new();
        if !own.vector.is_empty() && own.vector.len() == self.whitening.width() {
            let vector: Vec<f32> = own.vector.iter().map(|x| x.to_f32()).collect();
            match own.version == self.whitening.version && !before.sense.is_empty() {
                true => code.sense = before.sense.clone(),
                false => vectors.push(self.whitening.apply(&vector)),
            }
            let beside: Vec<&Cell> = self.beside(cell).filter_map(|other| self.cell(other)).collect();
            if !beside.is_empty() {
                let mut mean = vector;
                for other in beside.iter().filter(|o| o.vector.len() == own.vector.len()) {
                    mean.iter_mut().zip(&other.vector).for_each(|(m, x)| *m += AROUND_WEIGHT * x.to_f32());
                }
                unit(&mut mean);
                vectors.push(self.whitening.apply(&mean));
            }
        }
        Some((cell, code, vectors))
    }

    /// Whether the tables are up to date.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Brings the tables up to date with what was added or forgotten; recall expects it.
    pub fn settle(&mut self) {
        if self.settled {
            return;
        }
        self.index.settle();
        self.settled = true;
        // Where one of them needs a look at the clock, all are looked at.
        let timeless = self.slots.iter().flatten().all(|slot| slot.episode.until.is_none());
        self.plain = timeless.then(|| {
            let holds = |slot: &Slot| slot.episode.holds(Timestamp::MAX);
            self.cells.iter().map(|cell| cell.as_ref().and_then(|c| self.slot(c.slot)).is_some_and(holds)).collect()
        });
    }

    /// Forgets experiences: their cells, synapses, links and texts. Neighbours in time become each other's. What took its place stays; what
    /// it had superseded holds again, or is the one's that took its place before. Returns receipts, the order of each, and what changed
    /// elsewhere.
    ///
    /// # Errors
    /// An id that is not there; nothing is forgotten then.
    pub fn forget(&mut self, ids: &[&str], shelf: &Shelf) -> Result<(Vec<Receipt>, Vec<u64>, Added)> {
        self.unsettle();
        if let Some(id) = ids.iter().find(|id| !self.ids.contains_key(**id)) {
            let near = crate::error::nearest(id, self.ids.keys().map(String::as_str));
            let remedy = near.map_or("`sharpwave memory notes` shows the ids".into(), |near| format!("did you mean {near:?}?"));
            return Err(Error::input(format!("the memory has no experience {id:?}"), remedy));
        }
        let (mut receipts, mut gone, mut changed, mut touched) = (Vec::new(), Vec::new(), Added::default(), Vec::new());
        for id in ids {
            let Some(slot) = self.ids.remove(*id).and_then(|at| self.slots[at as usize].take()) else { continue };
            gone.push(slot.order);
            let mut receipt = Receipt { id: id.to_string(), bytes: [slot.episode.text.len(), 0, 0], ..Receipt::default() };
            for cell in &slot.cells {
                let Some(own) = self.cells[*cell as usize].take() else { continue };
                receipt.cells += 1;
                receipt.synapses += self.index.erase(*cell as usize);
                receipt.links += own.before.is_some() as usize + own.after.is_some() as usize;
                receipt.bytes[1] += 2 * own.vector.len();
                if let Some(tokens) = shelf((slot.order, own.piece))? {
                    receipt.bytes[2] += tokens.values.len() + 8 * tokens.len();
                    self.counts.remove(&tokens);
                }
                if !own.vector.is_empty() && own.vector.len() == self.whitening.width() {
                    self.whitening.remove(&own.vector.iter().map(|x| x.to_f32()).collect::<Vec<_>>());
                }
                if let Some(Some(before)) = own.before.map(|before| &mut self.cells[before as usize]) {
                    before.after = own.after;
                }
                if let Some(Some(after)) = own.after.map(|after| &mut self.cells[after as usize]) {
                    after.before = own.before;
                }
                if let Some(session) = &slot.episode.session {
                    let key = (slot.episode.user.clone(), session.clone());
                    if self.ends.get(&key) == Some(cell) {
                        match own.before {
                            Some(before) => drop(self.ends.insert(key, before)),
                            None => drop(self.ends.remove(&key)),
                        }
                    }
                }
                touched.extend(own.before);
                touched.extend(own.after);
            }
            let freed = |slot: &&mut Slot| slot.episode.superseded_by.as_deref() == Some(*id);
            let mut others: Vec<(u64, Episode)> = Vec::new();
            for other in self.slots.iter_mut().flatten().filter(freed) {
                other.episode.superseded_by = None;
                others.push((other.order, other.episode.clone()));
            }
            for (order, mut other) in others {
                let takes = |e: &&Episode| e.quarantine.is_none() && e.supersedes.as_ref() == Some(&other.id);
                if let Some(last) = self.slots.iter().rev().flatten().map(|s| &s.episode).find(takes).cloned() {
                    self.supersede(&last);
                    other.superseded_by = Some(last.id);
                }
                changed.episodes.push((order, other));
            }
            receipts.push(receipt);
        }
        touched.retain(|cell| self.cells[*cell as usize].is_some());
        touched.sort_unstable();
        touched.dedup();
        self.code(&touched);
        changed.cells = touched.iter().filter_map(|cell| self.kept(*cell)).collect();
        changed.episodes.retain(|(_, episode)| self.ids.contains_key(&episode.id));
        Ok((receipts, gone, changed))
    }

    /// A change to experiences that codes do not depend on: validity, pin, tags, outcome, whether it is held back. Returns those that are
    /// changed by it with their order: what is released takes the place of what it supersedes.
    ///
    /// # Errors
    /// An id that is not there, and a change that breaks a rule; nothing is changed then.
    pub fn amend(&mut self, ids: &[&str], mut change: impl FnMut(&mut Episode)) -> Result<Vec<(u64, Episode)>> {
        let mut changes = Vec::new();
        for id in ids {
            let unknown = || Error::input(format!("the memory has no experience {id:?}"), "check the id");
            let at = *self.ids.get(*id).ok_or_else(unknown)?;
            let slot = self.slot(at).ok_or_else(unknown)?;
            let mut changed = slot.episode.clone();
            change(&mut changed);
            (changed.id, changed.text) = (slot.episode.id.clone(), slot.episode.text.clone());
            changed.check()?;
            changes.push((at, slot.order, changed));
        }
        self.unsettle();
        let mut all = Vec::new();
        for (at, order, changed) in changes {
            let Some(slot) = &mut self.slots[at as usize] else { continue };
            let released = slot.episode.quarantine.is_some() && changed.quarantine.is_none();
            slot.instant = changed.instant();
            slot.episode = changed.clone();
            if released {
                all.extend(self.supersede(&changed));
            }
            all.push((order, changed));
        }
        Ok(all)
    }
}
