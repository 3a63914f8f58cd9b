//! Experiences in a network: writing, exact deletion, and recall from a hint. A cue drives the index population in one volley; the first
//! cells to fire pass some of it on along their links; late interaction rescores the first of them; one order comes out, with how sure it
//! is and why. Joins encoder, codes and index; what is to be kept on disk is handed out as plain data.

use super::codes::{ACTIVE, DRIVEN, Projection, Whitening, strongest};
use super::completion::{Completion, Rule};
use super::encoder::{Encoder, TokenCounts, Tokens, unit};
use super::episode::{Episode, Filter};
use super::fuse::{Mix, add_scores, confidence};
use super::index::{AROUND, Code, Cue, Drive, Index, PORTS, SENSE, SENSE_AROUND, WORDS};
use super::words;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};
use half::f16;
use jiff::Timestamp;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What neighbours weigh in the vector of an experience and what happened around it.
const AROUND_WEIGHT: f32 = 0.6;
/// Cells of the recurrent population, those of a code, and words that have cells in it.
const COMPLETION_CELLS: usize = 8192;
const COMPLETION_ACTIVE: usize = 64;
const COMPLETION_WORDS: usize = 16;
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
    projection: Projection,
    index: Index,
    slots: Vec<Option<Slot>>,
    cells: Vec<Option<Cell>>,
    ids: HashMap<String, u32>,
    /// The last cell of each session.
    ends: HashMap<(Option<String>, String), u32>,
    next: u64,
    /// Weights of what is summed.
    pub mix: Mix,
}

/// A question.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The hint.
    pub text: String,
    /// Experiences at most.
    pub k: usize,
    /// Tokens of all texts together at most, as the encoder counts them (a quarter of the bytes without one), 8 added for each.
    pub max_tokens: usize,
    /// What it is limited to.
    pub filter: Filter,
    /// What a good outcome adds to an experience's score, and a bad one takes away.
    pub by_outcome: f32,
    /// What being of now adds to the score; it falls by half every 30 days.
    pub by_recency: f32,
    /// Whether the reasons are wanted.
    pub explain: bool,
}

impl Ask {
    /// Ten experiences at most, of any size, from everything.
    pub fn new(text: impl Into<String>) -> Ask {
        let (k, max_tokens) = (10, usize::MAX);
        Ask { text: text.into(), k, max_tokens, filter: Filter::default(), by_outcome: 0.0, by_recency: 0.0, explain: false }
    }
}

/// An experience that was recalled.
#[derive(Clone, Debug, Serialize)]
pub struct Recalled {
    /// The experience itself.
    pub episode: Episode,
    /// By which it comes before others; z-scores, weighted and summed.
    pub score: f32,
    /// Tokens of its text.
    pub tokens: usize,
    /// Why, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// Why an experience was recalled.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Why {
    /// Words of the hint that it has, with their rarity (nats).
    pub words: Vec<(String, f32)>,
    /// Words of the hint that its neighbours in time have.
    pub words_around: Vec<(String, f32)>,
    /// Granule cells of the dense code that the hint drives in it.
    pub units: usize,
    /// Weighted z-scores: words, words around, sense, sense around, late interaction, links.
    pub parts: [f32; 6],
    /// The neighbour that passed on most, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<String>,
    /// When its cell fires after the volley, the first one firing at 1.
    pub fires_at: f32,
}

/// What came of a question.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The best one first.
    pub recalled: Vec<Recalled>,
    /// How sure it is that the first one answers, from 0 to 1.
    pub confidence: f32,
    /// Synapses that the volley was served by.
    pub events: u64,
    /// Cells that were allowed to fire.
    pub cells: usize,
}

/// An experience whose code was completed from a part of it.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// The experience.
    pub episode: Episode,
    /// Share of its code's cells that the part drove.
    pub given: f64,
    /// Share of them that fire in the end.
    pub restored: f64,
    /// Rounds of the recurrent population.
    pub rounds: usize,
    /// Synaptic events.
    pub events: u64,
}

/// How the index is asked, for controls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// Late interaction rescores where token vectors are at hand.
    #[default]
    On,
    /// The spikes alone.
    Off,
}

/// How cells of a session are linked, for controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// In the order in which they came.
    InOrder,
    /// Not at all.
    Off,
    /// As many links, between cells that were drawn by a seed.
    Shuffled(u64),
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
            projection: Projection::new(width, 0),
            encoder,
            index: Index::new(),
            slots: Vec::new(),
            cells: Vec::new(),
            ids: HashMap::new(),
            ends: HashMap::new(),
            next: 0,
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
        if let Some(whitening) = whitening.filter(|w| w.width() == own.whitening.width()) {
            own.whitening = whitening;
            own.counts = counts.unwrap_or_default();
        }
        for (order, episode, pieces) in kept {
            let slot = own.slots.len() as u32;
            own.ids.insert(episode.id.clone(), slot);
            own.next = own.next.max(order + 1);
            let instant = episode.instant();
            own.slots.push(Some(Slot { order, episode, cells: Vec::new(), instant }));
            for (piece, kept) in (0..).zip(pieces) {
                own.grow(slot, piece, kept);
            }
        }
        own.index.settle();
        own
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
    pub fn episodes(&self) -> impl Iterator<Item = &Episode> {
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
        let mut added = Added::default();
        let texts: Vec<Vec<String>> = fresh.iter().map(|(_, episode)| episode.pieces()).collect();
        let mut embeddings = self.embed(&texts.iter().flatten().map(String::as_str).collect::<Vec<_>>())?.into_iter();
        let mut touched: Vec<u32> = Vec::new();
        for ((order, episode), texts) in fresh.into_iter().zip(texts) {
            let (slot, instant) = (self.slots.len() as u32, episode.instant());
            self.next = order + 1;
            self.ids.insert(episode.id.clone(), slot);
            if let Some(old) = episode.supersedes.as_ref().and_then(|old| self.ids.get(old)).copied()
                && let Some(Some(old)) = self.slots.get_mut(old as usize)
            {
                old.episode.superseded_by = Some(episode.id.clone());
                added.episodes.push((old.order, old.episode.clone()));
            }
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

    fn embed(&self, texts: &[&str]) -> Result<Vec<super::encoder::Embedding>> {
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

    /// Links cells otherwise than they lived, for controls; all codes are made anew.
    pub fn rewire(&mut self, wiring: Wiring) {
        let mut sessions: HashMap<(Option<String>, String), Vec<u32>> = HashMap::new();
        for slot in self.slots.iter().flatten() {
            let Some(session) = &slot.episode.session else { continue };
            sessions.entry((slot.episode.user.clone(), session.clone())).or_default().extend(&slot.cells);
        }
        let mut chains: Vec<Vec<u32>> = sessions.into_values().collect();
        chains.sort_unstable();
        if let Wiring::Shuffled(seed) = wiring {
            let mut all: Vec<u32> = chains.iter().flatten().copied().collect();
            Stream::new(key(seed, 0), Purpose::Encoder, 0, 0).shuffle(&mut all);
            let mut all = all.into_iter();
            chains.iter_mut().for_each(|chain| chain.iter_mut().zip(&mut all).for_each(|(cell, drawn)| *cell = drawn));
        }
        self.cells.iter_mut().flatten().for_each(|cell| (cell.before, cell.after) = (None, None));
        for pair in chains.iter().filter(|_| wiring != Wiring::Off).flat_map(|chain| chain.windows(2)) {
            if let Some(Some(cell)) = self.cells.get_mut(pair[0] as usize) {
                cell.after = Some(pair[1]);
            }
            if let Some(Some(cell)) = self.cells.get_mut(pair[1] as usize) {
                cell.before = Some(pair[0]);
            }
        }
        self.recode();
    }

    /// Drives cues through another projection than the one that the codes were made by, for a control.
    pub fn estrange(&mut self, seed: u64) {
        self.projection = Projection::new(self.whitening.width(), seed);
    }

    /// Makes codes by the statistics of all that came, and brings the tables up to date.
    pub fn settle_all(&mut self) {
        if self.whitening.n > 0 && self.encoder.is_some() && self.whitening.is_stale() {
            self.whitening.refresh();
            self.recode();
        }
        self.index.settle();
    }

    /// What a text drives each cell by, by port, without spikes: the codes one after another.
    pub fn scan(&self, text: &str) -> Result<[Vec<f32>; PORTS]> {
        Ok(self.index.scan(&self.cue(text)?.0))
    }

    /// The first cells of experiences by their ids.
    pub fn named(&self, ids: &[&str]) -> Vec<usize> {
        ids.iter().filter_map(|id| Some(*self.slot(*self.ids.get(*id)?)?.cells.first()? as usize)).collect()
    }

    /// Brings the tables up to date with what was added or forgotten; recall expects it.
    pub fn settle(&mut self) {
        self.index.settle();
    }

    /// Forgets experiences: their cells, synapses, links and texts. Neighbours in time become each other's. What took its place stays; what
    /// it had superseded holds again. Returns receipts,
    /// the order of each, and what changed elsewhere.
    ///
    /// # Errors
    /// An id that is not there; nothing is forgotten then.
    pub fn forget(&mut self, ids: &[&str], shelf: &Shelf) -> Result<(Vec<Receipt>, Vec<u64>, Added)> {
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
            for other in self.slots.iter_mut().flatten().filter(|s| s.episode.superseded_by.as_deref() == Some(*id)) {
                other.episode.superseded_by = None;
                changed.episodes.push((other.order, other.episode.clone()));
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

    /// Whether any cell of an experience that is not there any more fires for a text: cells that fire by their own words or sense and have
    /// no experience. Proves a receipt.
    pub fn ghosts(&self, text: &str) -> Result<usize> {
        let (cue, _, _) = self.cue(text)?;
        let drive = self.index.volley(&cue);
        let fires = |cell: usize| (0..PORTS).any(|port| drive.ports[port][cell] != 0.0);
        Ok((0..self.index.len()).filter(|cell| self.cells[*cell].is_none() && fires(*cell)).count())
    }

    /// A change to an experience that codes do not depend on: validity, pin, tags, outcome. Returns it with its order.
    ///
    /// # Errors
    /// An id that is not there, and a change that breaks a rule.
    pub fn amend(&mut self, id: &str, change: impl FnOnce(&mut Episode)) -> Result<(u64, Episode)> {
        let slot = self.ids.get(id).copied().and_then(|at| self.slots[at as usize].as_mut());
        let slot = slot.ok_or_else(|| Error::input(format!("the memory has no experience {id:?}"), "check the id"))?;
        let mut changed = slot.episode.clone();
        change(&mut changed);
        (changed.id, changed.text) = (slot.episode.id.clone(), slot.episode.text.clone());
        changed.check()?;
        slot.instant = changed.instant();
        slot.episode = changed.clone();
        Ok((slot.order, changed))
    }

    /// A text as graded spikes, with its words and token vectors.
    fn cue(&self, text: &str) -> Result<(Cue, Vec<(String, u16)>, Tokens)> {
        let mut said = words::content(text);
        let mut seen = std::collections::HashSet::new();
        said.retain(|(_, cell)| seen.insert(*cell));
        let amplitudes = said.iter().map(|(_, cell)| (*cell, self.index.rarity(*cell)));
        let amplitudes = amplitudes.filter(|(cell, _)| self.index.holding(*cell) > 0).collect();
        let embedding = self.embed(&[text])?.pop().unwrap_or_default();
        let sense = match embedding.vector.is_empty() {
            true => Vec::new(),
            false => strongest(&self.projection.drive(1, &self.whitening.apply(&embedding.vector)), DRIVEN),
        };
        Ok((Cue { words: amplitudes, sense }, said, embedding.tokens))
    }

    /// Cells of a code for completion: half of them, about, of the dense code, the others of the rarest words, as often as there is room.
    fn pattern(&self, words: &[u16], sense: &[u16], room: usize) -> Vec<u16> {
        let half = (COMPLETION_CELLS / 2) as u16;
        let mut pattern: Vec<u16> = sense.iter().filter(|cell| **cell < half).map(|cell| half + cell).collect();
        let mut rarest = words.to_vec();
        rarest.sort_by(|a, b| self.index.holding(*a).cmp(&self.index.holding(*b)).then(a.cmp(b)));
        rarest.truncate(COMPLETION_WORDS);
        let mut round = 0u64;
        while !rarest.is_empty() && pattern.len() < room && round < 64 {
            for word in &rarest {
                let mut stream = Stream::new(key(round, 4), Purpose::Connect, u32::from(*word), 0);
                let cell = stream.below(u32::from(half)) as u16;
                if pattern.len() < room && !pattern.contains(&cell) {
                    pattern.push(cell);
                }
            }
            round += 1;
        }
        pattern.sort_unstable();
        pattern
    }

    /// Completes a part of an experience: its words and sense drive a recurrent population that holds the codes of all, until the code of
    /// one stands; whose it is tells the index. None where no cell of any is driven.
    ///
    /// # Errors
    /// A text that the encoder cannot take.
    pub fn complete(&self, part: &str, rule: Rule) -> Result<Option<Restored>> {
        let (cue, said, _) = self.cue(part)?;
        let mut population = Completion::new(COMPLETION_CELLS, COMPLETION_ACTIVE);
        let mut patterns: Vec<(u32, Vec<u16>)> = Vec::new();
        for cell in (0..self.cells.len() as u32).filter(|cell| self.cell(*cell).is_some()) {
            let Some(code) = self.index.code(cell as usize) else { continue };
            let words: Vec<u16> = code.words.iter().map(|(word, _)| *word).collect();
            let pattern = self.pattern(&words, &code.sense, COMPLETION_ACTIVE);
            population.write(&pattern);
            patterns.push((cell, pattern));
        }
        let words: Vec<u16> = said.iter().map(|(_, cell)| *cell).filter(|cell| self.index.holding(*cell) > 0).collect();
        let mut sense: Vec<u16> = cue.sense.iter().take(ACTIVE).map(|(cell, _)| *cell).collect();
        sense.sort_unstable();
        if words.is_empty() && sense.is_empty() {
            return Ok(None);
        }
        // As many cells of each word as one of an experience with a dozen of them has.
        let driven = self.pattern(&words, &sense, COMPLETION_ACTIVE.min(sense.len() / 2 + 4 * words.len().max(1)));
        let completed = population.complete(&driven, rule);
        let shared = |a: &[u16], b: &[u16]| a.iter().filter(|cell| b.binary_search(cell).is_ok()).count();
        let best = patterns.iter().max_by_key(|(cell, pattern)| (shared(pattern, &completed.code), std::cmp::Reverse(*cell)));
        let Some((cell, pattern)) = best else { return Ok(None) };
        let Some(slot) = self.cell(*cell).and_then(|c| self.slot(c.slot)) else { return Ok(None) };
        Ok(Some(Restored {
            episode: slot.episode.clone(),
            given: shared(pattern, &driven) as f64 / pattern.len().max(1) as f64,
            restored: shared(pattern, &completed.code) as f64 / pattern.len().max(1) as f64,
            rounds: completed.rounds,
            events: completed.events,
        }))
    }

    /// What a text leaves in each cell, for measuring.
    pub fn drive(&self, text: &str) -> Result<Drive> {
        Ok(self.index.volley(&self.cue(text)?.0))
    }

    /// What a hint brings to mind. `shelf` gives token vectors, for late interaction.
    pub fn recall(&self, ask: &Ask, late: Late, shelf: &Shelf) -> Result<Answer> {
        let (cue, said, tokens) = self.cue(&ask.text)?;
        self.answer(ask, late, shelf, &cue, &said, &tokens)
    }

    fn answer(&self, ask: &Ask, late: Late, shelf: &Shelf, cue: &Cue, said: &[(String, u16)], tokens: &Tokens) -> Result<Answer> {
        let now = Timestamp::now();
        let allowed: Vec<bool> = {
            let slots: Vec<bool> =
                self.slots.iter().map(|s| s.as_ref().is_some_and(|s| ask.filter.allows(&s.episode, now))).collect();
            self.cells.iter().map(|cell| cell.as_ref().is_some_and(|cell| slots[cell.slot as usize])).collect()
        };
        let drive = self.index.volley(cue);
        let mix = &self.mix;
        let mut total = vec![0.0f32; self.cells.len()];
        let weights: [f32; PORTS] = [mix.words, mix.around, mix.sense, mix.sense_around];
        for (values, weight) in drive.ports.iter().zip(weights) {
            add_scores(&mut total, values, &allowed, weight);
        }
        let fast = total.clone();
        let linked = |own: &[f32], cell: usize| -> (f32, Option<u32>) {
            let Some(Some(at)) = self.cells.get(cell) else { return (0.0, None) };
            let passed = [at.before, at.after].map(|n| n.filter(|n| allowed[*n as usize]).map(|n| (own[n as usize], n)));
            let best = passed.iter().flatten().filter(|(x, _)| *x > 0.0).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, n)| *n);
            (passed.iter().flatten().map(|(x, _)| x).sum::<f32>() * mix.links, best)
        };
        // The first to fire, what neighbours pass on included.
        let mut first: Vec<(u32, f32)> = (0..self.cells.len())
            .filter(|cell| allowed[*cell])
            .map(|cell| (cell as u32, fast[cell] + linked(&fast, cell).0))
            .collect();
        let count = mix.rescored.max(4 * ask.k.min(first.len()));
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if first.len() > count {
            first.select_nth_unstable_by(count, order);
            first.truncate(count);
        }
        first.sort_unstable_by(order);
        let mut late_score: HashMap<u32, f32> = HashMap::new();
        let mut best_late: Option<f32> = None;
        if late == Late::On && !tokens.is_empty() && mix.late != 0.0 {
            let weights: Vec<f32> = tokens.ids.iter().map(|id| self.counts.rarity(*id)).collect();
            let whole = weights.iter().sum::<f32>().max(1e-6);
            let beside = |cell: u32| self.beside(cell).filter(|n| allowed[*n as usize]);
            let looked_at = &first[..first.len().min(mix.rescored)];
            let mut wanted: Vec<u32> = looked_at.iter().map(|(cell, _)| *cell).collect();
            if mix.late_around != 0.0 {
                wanted.extend(looked_at.iter().flat_map(|(cell, _)| beside(*cell)));
                wanted.sort_unstable();
                wanted.dedup();
            }
            let best = |cell: &u32| -> Result<Option<(u32, Vec<f32>)>> {
                let Some(place) = self.cell(*cell).and_then(|own| Some((self.slot(own.slot)?.order, own.piece))) else {
                    return Ok(None);
                };
                Ok(shelf(place)?.and_then(|own| own.best(tokens)).map(|best| (*cell, best)))
            };
            let bests: Vec<Option<(u32, Vec<f32>)>> = wanted.par_iter().map(best).collect::<Result<_>>()?;
            let bests: HashMap<u32, Vec<f32>> = bests.into_iter().flatten().collect();
            let mean = |best: &[f32]| best.iter().zip(&weights).map(|(b, w)| b * w).sum::<f32>() / whole;
            let mut rescored: Vec<u32> = Vec::new();
            let (mut values, mut around) = (Vec::new(), Vec::new());
            for (cell, _) in looked_at {
                let Some(own) = bests.get(cell) else { continue };
                let mut joined = own.clone();
                for other in beside(*cell).filter_map(|n| bests.get(&n)) {
                    joined.iter_mut().zip(other).for_each(|(best, x)| *best = best.max(*x));
                }
                rescored.push(*cell);
                values.push(mean(own));
                around.push(mean(&joined));
            }
            let mut scores = vec![0.0; values.len()];
            let everyone = vec![true; values.len()];
            add_scores(&mut scores, &values, &everyone, mix.late);
            add_scores(&mut scores, &around, &everyone, mix.late_around);
            best_late = values.iter().copied().reduce(f32::max);
            // Who was not looked at has no more than the least of those who were.
            let least = scores.iter().copied().reduce(f32::min).unwrap_or(0.0);
            total.iter_mut().for_each(|x| *x += least);
            for (cell, score) in rescored.iter().zip(&scores) {
                total[*cell as usize] += score - least;
                late_score.insert(*cell, *score);
            }
        }
        let graded = |cell: u32| -> f32 {
            let Some(slot) = self.cell(cell).and_then(|c| self.slot(c.slot)) else { return 0.0 };
            let outcome = ask.by_outcome * slot.episode.outcome.unwrap_or(0.0) as f32;
            let age = slot.instant.map(|t| (now.as_second() - t.as_second()).max(0) as f32 / 86_400.0);
            outcome + ask.by_recency * age.map_or(0.0, |days| 0.5f32.powf(days / 30.0))
        };
        let mut ranked: Vec<(u32, f32)> = first
            .iter()
            .map(|(cell, _)| (*cell, total[*cell as usize] + linked(&total, *cell as usize).0 + graded(*cell)))
            .collect();
        ranked.sort_unstable_by(order);
        let weight_of: Vec<f32> = said.iter().map(|(_, cell)| self.index.rarity(*cell)).collect();
        let whole: f32 = weight_of.iter().sum();
        let holds = |words: &[(u16, u8)], cell: u16| words.binary_search_by_key(&cell, |(w, _)| *w).is_ok();
        let coverage = ranked.first().and_then(|(cell, _)| self.index.code(*cell as usize)).map_or(0.0, |code| {
            let held =
                said.iter().zip(&weight_of).filter(|((_, cell), _)| holds(&code.around, *cell)).map(|(_, w)| w).sum::<f32>();
            held / whole.max(1e-6)
        });
        let mut answer = Answer {
            recalled: Vec::new(),
            confidence: if ranked.is_empty() { 0.0 } else { confidence(coverage, best_late) },
            events: drive.events,
            cells: allowed.iter().filter(|allowed| **allowed).count(),
        };
        let silent = drive.ports.iter().all(|port| port.iter().zip(&allowed).all(|(x, allowed)| *x == 0.0 || !allowed));
        if silent {
            answer.confidence = 0.0;
            return Ok(answer);
        }
        let lead = first.first().map_or(1.0, |(_, x)| x.max(1e-6));
        let (mut met, mut left) = (std::collections::HashSet::new(), ask.max_tokens);
        for (cell, score) in ranked {
            if answer.recalled.len() == ask.k {
                break;
            }
            let Some(own) = self.cell(cell) else { continue };
            let Some(slot) = self.slot(own.slot).filter(|_| met.insert(own.slot)) else { continue };
            let size = slot.episode.said().len().div_ceil(4) + 8;
            if size > left {
                continue;
            }
            left -= size;
            let why = ask.explain.then(|| {
                let code = self.index.code(cell as usize).cloned().unwrap_or_default();
                let words = |held: &[(u16, u8)]| -> Vec<(String, f32)> {
                    let all = said.iter().zip(&weight_of).filter(|((_, cell), _)| holds(held, *cell));
                    all.map(|((word, _), w)| (word.clone(), *w)).collect()
                };
                let part = |port: usize, weight: f32| {
                    let mut own = [0.0];
                    let (mean, deviation) = super::fuse::moments(&drive.ports[port], &allowed);
                    if deviation > 0.0 {
                        own[0] = weight * (drive.ports[port][cell as usize] - mean) / deviation;
                    }
                    own[0]
                };
                let (passed, hop) = linked(&total, cell as usize);
                let hop = hop.and_then(|n| self.cell(n)).and_then(|n| self.slot(n.slot)).map(|s| s.episode.id.clone());
                let driven: std::collections::HashSet<u16> = cue.sense.iter().map(|(cell, _)| *cell).collect();
                Why {
                    words_around: words(&code.around).into_iter().filter(|w| !words(&code.words).contains(w)).collect(),
                    words: words(&code.words),
                    units: code.sense.iter().filter(|cell| driven.contains(cell)).count(),
                    parts: [
                        part(WORDS, mix.words),
                        part(AROUND, mix.around),
                        part(SENSE, mix.sense),
                        part(SENSE_AROUND, mix.sense_around),
                        late_score.get(&cell).copied().unwrap_or(0.0),
                        passed,
                    ],
                    hop,
                    fires_at: lead / (fast[cell as usize] + linked(&fast, cell as usize).0).max(1e-6),
                }
            });
            answer.recalled.push(Recalled { episode: slot.episode.clone(), score, tokens: size, why });
        }
        Ok(answer)
    }
}
