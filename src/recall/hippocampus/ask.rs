//! A question and what comes of it: a volley, what the first to fire pass on, late interaction, one order, and the reasons.

use super::{Hippocampus, Shelf, Slot};
use crate::error::Result;
use crate::recall::codes::{DRIVEN, strongest};
use crate::recall::encoder::Tokens;
use crate::recall::episode::{Episode, Filter};
use crate::recall::fuse::{add_normal, add_scores, confidence, moments};
use crate::recall::index::{AROUND, Cue, Drive, PORTS, SENSE, SENSE_AROUND, WORDS};
use crate::recall::words;
use jiff::Timestamp;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

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
    /// How well it fits by itself, whatever else there is, from 0 to 1; as sure as the answer would be with this one as the first.
    pub fit: f32,
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

/// How the index is asked, for controls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// Late interaction rescores where token vectors are at hand.
    #[default]
    On,
    /// The spikes alone.
    Off,
}

impl Hippocampus {
    /// A text as graded spikes, with its words and token vectors.
    pub(super) fn cue(&self, text: &str) -> Result<(Cue, Vec<(String, u16)>, Tokens)> {
        let mut said = words::content(text);
        let mut seen = HashSet::new();
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
        let allowed: Vec<bool> = match self.plain.as_ref().filter(|_| ask.filter.is_open()) {
            Some(plain) => plain.clone(),
            None => {
                let asked_for = |slot: &Option<Slot>| slot.as_ref().is_some_and(|s| ask.filter.allows(&s.episode, now));
                let slots: Vec<bool> = self.slots.iter().map(asked_for).collect();
                self.cells.iter().map(|cell| cell.as_ref().is_some_and(|cell| slots[cell.slot as usize])).collect()
            }
        };
        let drive = self.index.volley(cue);
        let mix = &self.mix;
        let mut total = vec![0.0f32; self.cells.len()];
        let weights: [f32; PORTS] = [mix.words, mix.around, mix.sense, mix.sense_around];
        let normal = drive.ports.each_ref().map(|values| moments(values, &allowed));
        for ((values, normal), weight) in drive.ports.iter().zip(normal).zip(weights) {
            add_normal(&mut total, values, normal, weight);
        }
        let fast = total.clone();
        let linked = |own: &[f32], cell: usize| -> (f32, Option<u32>) {
            let Some(Some(at)) = self.cells.get(cell) else { return (0.0, None) };
            let passed = [at.before, at.after].map(|n| n.filter(|n| allowed[*n as usize]).map(|n| (own[n as usize], n)));
            let best = passed.iter().flatten().filter(|(x, _)| *x > 0.0).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, n)| *n);
            (passed.iter().flatten().map(|(x, _)| x).sum::<f32>() * mix.links, best)
        };
        // The first to fire, what neighbours pass on included: of those that fire early by themselves, and of their neighbours.
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let first_of = |mut all: Vec<(u32, f32)>, count: usize| {
            if all.len() > count {
                all.select_nth_unstable_by(count, order);
                all.truncate(count);
            }
            all
        };
        let alone: Vec<(u32, f32)> = (0..).zip(&fast).filter(|(cell, _)| allowed[*cell as usize]).map(|(c, x)| (c, *x)).collect();
        let count = mix.rescored.max(4 * ask.k.min(alone.len()));
        let mut early: Vec<u32> = first_of(alone, 2 * count).into_iter().map(|(cell, _)| cell).collect();
        let beside_early: Vec<u32> = early.iter().flat_map(|cell| self.beside(*cell)).filter(|n| allowed[*n as usize]).collect();
        early.extend(beside_early);
        early.sort_unstable();
        early.dedup();
        let passed = |cell: u32| (cell, fast[cell as usize] + linked(&fast, cell as usize).0);
        let mut first = first_of(early.into_iter().map(passed).collect(), count);
        first.sort_unstable_by(order);
        let mut late_score: HashMap<u32, f32> = HashMap::new();
        let mut late_own: HashMap<u32, f32> = HashMap::new();
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
            late_own = rescored.iter().copied().zip(values).collect();
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
        // The share of the hint's words, by their rarity, that an experience has, and that it has or that happened around it.
        let coverage = |cell: u32| -> [f32; 2] {
            let Some(code) = self.index.code(cell as usize) else { return [0.0; 2] };
            [&code.words, &code.around].map(|held| {
                let all = said.iter().zip(&weight_of).filter(|((_, cell), _)| holds(held, *cell));
                all.map(|(_, w)| w).sum::<f32>() / whole.max(1e-6)
            })
        };
        let covered = ranked.first().map_or(0.0, |(cell, _)| coverage(*cell)[1]);
        let mut answer = Answer {
            recalled: Vec::new(),
            confidence: if ranked.is_empty() { 0.0 } else { confidence(covered, best_late) },
            events: drive.events,
            cells: allowed.iter().filter(|allowed| **allowed).count(),
        };
        let silent = drive.ports.iter().all(|port| port.iter().zip(&allowed).all(|(x, allowed)| *x == 0.0 || !allowed));
        if silent {
            answer.confidence = 0.0;
            return Ok(answer);
        }
        let lead = first.first().map_or(1.0, |(_, x)| x.max(1e-6));
        let (mut met, mut left) = (HashSet::new(), ask.max_tokens);
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
                    add_normal(&mut own, &drive.ports[port][cell as usize..=cell as usize], normal[port], weight);
                    own[0]
                };
                let (passed, hop) = linked(&total, cell as usize);
                let hop = hop.and_then(|n| self.cell(n)).and_then(|n| self.slot(n.slot)).map(|s| s.episode.id.clone());
                let driven: HashSet<u16> = cue.sense.iter().map(|(cell, _)| *cell).collect();
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
            let [own, around] = coverage(cell);
            // What only its neighbours say is said half as much.
            let fit = confidence(0.5 * (own + around), late_own.get(&cell).copied());
            answer.recalled.push(Recalled { episode: slot.episode.clone(), score, fit, tokens: size, why });
        }
        Ok(answer)
    }
}
