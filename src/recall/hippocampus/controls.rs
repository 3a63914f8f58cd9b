//! Controls and proofs: links otherwise than lived, another projection, codes looked at one after another, cells that should be gone.

use super::Hippocampus;
use crate::error::Result;
use crate::recall::codes::Projection;
use crate::recall::index::PORTS;
use crate::rng::{Purpose, Stream, key};
use std::collections::HashMap;
use std::sync::Arc;

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

impl Hippocampus {
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
        self.projection = Arc::new(Projection::new(self.whitening.width(), seed));
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
        Ok(self.index.scan(&self.cue(text)?.cue))
    }

    /// The first cells of experiences by their ids.
    pub fn named(&self, ids: &[&str]) -> Vec<usize> {
        ids.iter().filter_map(|id| Some(*self.slot(*self.ids.get(*id)?)?.cells.first()? as usize)).collect()
    }

    /// Whether any cell of an experience that is not there any more fires for a text: cells that fire by their own words or sense and have
    /// no experience. Proves a receipt.
    pub fn ghosts(&self, text: &str) -> Result<usize> {
        let drive = self.drive(text)?;
        let fires = |cell: usize| (0..PORTS).any(|port| drive.ports[port][cell] != 0.0);
        Ok((0..self.index.len()).filter(|cell| self.cells[*cell].is_none() && fires(*cell)).count())
    }
}
