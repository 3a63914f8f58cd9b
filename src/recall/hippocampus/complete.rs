//! The whole from a part: codes of all experiences in a recurrent population, a part of one as the cue.

use super::Hippocampus;
use super::ask::Heard;
use crate::error::Result;
use crate::recall::codes::ACTIVE;
use crate::recall::completion::{Completion, Rule};
use crate::recall::episode::Episode;
use crate::rng::{Purpose, Stream, key};
use serde::Serialize;

/// Cells of the recurrent population, those of a code, and words that have cells in it.
const COMPLETION_CELLS: usize = 8192;
const COMPLETION_ACTIVE: usize = 64;
const COMPLETION_WORDS: usize = 16;
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

impl Hippocampus {
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
        let Heard { cue, said, .. } = self.cue(part)?;
        let mut population = Completion::new(COMPLETION_CELLS, COMPLETION_ACTIVE);
        let mut patterns: Vec<(u32, Vec<u16>)> = Vec::new();
        for cell in (0..self.cells.len() as u32).filter(|cell| self.cell(*cell).is_some()) {
            let Some(code) = self.index.code(cell as usize) else { continue };
            let words: Vec<u16> = code.words.iter().map(|(word, _)| *word).collect();
            let pattern = self.pattern(&words, &code.sense, COMPLETION_ACTIVE);
            population.write(&pattern);
            patterns.push((cell, pattern));
        }
        let words: Vec<u16> = said.iter().map(|(_, cell, _)| *cell).filter(|cell| self.index.holding(*cell) > 0).collect();
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
}
