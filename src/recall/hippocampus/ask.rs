//! A question and what comes of it: a volley, what the first to fire pass on, late interaction, one order, and the reasons. The one way of
//! all populations, wherever their cells lie.

use super::population::{Own, Population, Volley, earlier, first_of};
use super::{Hippocampus, Shelf};
use crate::error::Result;
use crate::recall::codes::{DRIVEN, strongest};
use crate::recall::encoder::Tokens;
use crate::recall::episode::{Episode, Filter};
use crate::recall::fuse::{add_scores, confidence, score};
use crate::recall::index::{AROUND, Cue, Drive, SENSE, SENSE_AROUND, WORDS, rarity};
use crate::recall::words;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Experiences that are fetched together at least, and at most.
const FETCHED: (usize, usize) = (16, 256);

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

/// A text as it reaches a population.
pub(super) struct Heard {
    /// The graded spikes.
    pub cue: Cue,
    /// Its content words, each with its cell and rarity (nats).
    pub said: Vec<(String, u16, f32)>,
    /// Its token vectors.
    pub tokens: Tokens,
}

impl Hippocampus {
    /// The network's own cells, without token vectors.
    fn own(&self) -> Own<'_> {
        Own { network: self, shelf: &|_| Ok(None) }
    }

    /// A text as it reaches the network's own cells.
    pub(super) fn cue(&self, text: &str) -> Result<Heard> {
        self.heard(&self.own(), text)
    }

    fn heard(&self, population: &dyn Population, text: &str) -> Result<Heard> {
        let mut said = words::content(text);
        let mut seen = HashSet::new();
        said.retain(|(_, cell)| seen.insert(*cell));
        let (alive, holding) = population.holding(&said.iter().map(|(_, cell)| *cell).collect::<Vec<_>>())?;
        let said = said.into_iter().zip(&holding).map(|((word, cell), n)| (word, cell, rarity(alive, *n)));
        let said: Vec<(String, u16, f32)> = said.collect();
        let known = said.iter().zip(&holding).filter(|(_, n)| **n > 0);
        let words = known.map(|((_, cell, amplitude), _)| (*cell, *amplitude)).collect();
        let embedding = self.embed(&[text])?.pop().unwrap_or_default();
        let sense = match embedding.vector.is_empty() {
            true => Vec::new(),
            false => strongest(&self.projection.drive(1, &self.whitening.apply(&embedding.vector)), DRIVEN),
        };
        Ok(Heard { cue: Cue { words, sense }, said, tokens: embedding.tokens })
    }

    /// What a text leaves in each cell, for measuring.
    pub fn drive(&self, text: &str) -> Result<Drive> {
        Ok(self.index.volley(&self.cue(text)?.cue))
    }

    /// What a hint brings to mind. `shelf` gives token vectors, for late interaction.
    pub fn recall(&self, ask: &Ask, late: Late, shelf: &Shelf) -> Result<Answer> {
        self.recall_from(&Own { network: self, shelf }, ask, late)
    }

    /// The same from a population elsewhere, whose codes were made by this network's encoder and whitening.
    ///
    /// # Errors
    /// A text that the encoder cannot take, and those of the population.
    pub fn recall_from(&self, population: &dyn Population, ask: &Ask, late: Late) -> Result<Answer> {
        let Heard { cue, said, tokens } = self.heard(population, &ask.text)?;
        let (mix, now) = (&self.mix, Timestamp::now());
        let weights = [mix.words, mix.around, mix.sense, mix.sense_around];
        let volley = Volley { cue: &cue, filter: &ask.filter, now, weights, rescored: mix.rescored, k: ask.k };
        let fired = population.volley(&volley)?;
        let (cells, normal) = (&fired.cells, fired.normal);
        let mut answer = Answer { recalled: Vec::new(), confidence: 0.0, events: fired.events, cells: fired.allowed };
        // Nothing arrived at any of them: no drive is below 0.
        if cells.is_empty() || normal.iter().all(|(mean, _)| *mean == 0.0) {
            return Ok(answer);
        }
        let part = |at: u32, port: usize| score(cells[at as usize].drives[port], normal[port], weights[port]);
        let all = 0..cells.len() as u32;
        let fast: Vec<f32> = all.clone().map(|at| (0..weights.len()).map(|port| part(at, port)).sum()).collect();
        let mut total = fast.clone();
        let beside = |at: u32| cells[at as usize].beside.into_iter().flatten();
        let linked = |own: &[f32], at: u32| -> (f32, Option<u32>) {
            let passed = || beside(at).map(|n| (own[n as usize], n));
            let best = passed().filter(|(x, _)| *x > 0.0).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, n)| n);
            (passed().map(|(x, _)| x).sum::<f32>() * mix.links, best)
        };
        // The first to fire, what neighbours pass on included: of those that fire early by themselves, and of their neighbours.
        let count = volley.ranked(fired.allowed);
        let alone = all.map(|at| (at, fast[at as usize])).collect();
        let mut early: Vec<u32> = first_of(alone, 2 * count).into_iter().map(|(at, _)| at).collect();
        let beside_early: Vec<u32> = early.iter().flat_map(|at| beside(*at)).collect();
        early.extend(beside_early);
        early.sort_unstable();
        early.dedup();
        let passed = |at: u32| (at, fast[at as usize] + linked(&fast, at).0);
        let mut first = first_of(early.into_iter().map(passed).collect(), count);
        first.sort_unstable_by(earlier);
        let mut late_score: HashMap<u32, f32> = HashMap::new();
        let mut late_own: HashMap<u32, f32> = HashMap::new();
        let mut best_late: Option<f32> = None;
        if late == Late::On && !tokens.is_empty() && mix.late != 0.0 {
            let weights: Vec<f32> = tokens.ids.iter().map(|id| self.counts.rarity(*id)).collect();
            let whole = weights.iter().sum::<f32>().max(1e-6);
            let looked_at = &first[..first.len().min(mix.rescored)];
            let mut wanted: Vec<u32> = looked_at.iter().map(|(at, _)| *at).collect();
            if mix.late_around != 0.0 {
                wanted.extend(looked_at.iter().flat_map(|(at, _)| beside(*at)));
                wanted.sort_unstable();
                wanted.dedup();
            }
            let names: Vec<u64> = wanted.iter().map(|at| cells[*at as usize].cell).collect();
            let bests = population.late(&names, &|own| own.best(&tokens))?;
            let bests: HashMap<u32, Vec<f32>> =
                wanted.into_iter().zip(bests).filter_map(|(at, best)| Some((at, best?))).collect();
            let mean = |best: &[f32]| best.iter().zip(&weights).map(|(b, w)| b * w).sum::<f32>() / whole;
            let mut rescored: Vec<u32> = Vec::new();
            let (mut values, mut around) = (Vec::new(), Vec::new());
            for (at, _) in looked_at {
                let Some(own) = bests.get(at) else { continue };
                let mut joined = own.clone();
                for other in beside(*at).filter_map(|n| bests.get(&n)) {
                    joined.iter_mut().zip(other).for_each(|(best, x)| *best = best.max(*x));
                }
                rescored.push(*at);
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
            for (at, score) in rescored.iter().zip(&scores) {
                total[*at as usize] += score - least;
                late_score.insert(*at, *score);
            }
        }
        let graded = |at: u32| -> f32 {
            let outcome = ask.by_outcome * cells[at as usize].outcome.unwrap_or(0.0) as f32;
            let age = cells[at as usize].instant.map(|t| (now.as_second() - t.as_second()).max(0) as f32 / 86_400.0);
            outcome + ask.by_recency * age.map_or(0.0, |days| 0.5f32.powf(days / 30.0))
        };
        let score_of = |at: u32| (at, total[at as usize] + linked(&total, at).0 + graded(at));
        let mut ranked: Vec<(u32, f32)> = first.iter().map(|(at, _)| score_of(*at)).collect();
        ranked.sort_unstable_by(earlier);
        // An experience comes once, by the first of its pieces.
        let mut met = HashSet::new();
        ranked.retain(|(at, _)| met.insert(cells[*at as usize].experience));
        let whole: f32 = said.iter().map(|(_, _, w)| w).sum();
        let holds = |held: &[(u16, u8)], cell: u16| held.binary_search_by_key(&cell, |(w, _)| *w).is_ok();
        // The share of the hint's words, by their rarity, that an experience has.
        let coverage = |held: &[(u16, u8)]| -> f32 {
            said.iter().filter(|(_, cell, _)| holds(held, *cell)).map(|(_, _, w)| w).sum::<f32>() / whole.max(1e-6)
        };
        let lead = first.first().map_or(1.0, |(_, x)| x.max(1e-6));
        let driven: HashSet<u16> = cue.sense.iter().map(|(cell, _)| *cell).collect();
        let (mut left, mut hops) = (ask.max_tokens, Vec::new());
        for (turn, some) in ranked.chunks(ask.k.clamp(FETCHED.0, FETCHED.1)).enumerate() {
            let names: Vec<u64> = some.iter().map(|(at, _)| cells[*at as usize].cell).collect();
            let found = population.experiences(&names)?;
            if turn == 0 {
                let around = found.first().and_then(Option::as_ref).map_or(0.0, |(_, code)| coverage(&code.around));
                answer.confidence = confidence(around, best_late);
            }
            for ((at, score), found) in some.iter().zip(found) {
                if answer.recalled.len() == ask.k {
                    break;
                }
                let Some((episode, code)) = found else { continue };
                let size = episode.said().len().div_ceil(4) + 8;
                if size > left {
                    continue;
                }
                left -= size;
                let (passed, hop) = linked(&total, *at);
                let why = ask.explain.then(|| {
                    hops.extend(hop.map(|hop| (answer.recalled.len(), cells[hop as usize].cell)));
                    let words = |held: &[(u16, u8)]| -> Vec<(String, f32)> {
                        said.iter().filter(|(_, cell, _)| holds(held, *cell)).map(|(word, _, w)| (word.clone(), *w)).collect()
                    };
                    let [own, around] = [words(&code.words), words(&code.around)];
                    Why {
                        words_around: around.into_iter().filter(|w| !own.contains(w)).collect(),
                        words: own,
                        units: code.sense.iter().filter(|cell| driven.contains(cell)).count(),
                        parts: [
                            part(*at, WORDS),
                            part(*at, AROUND),
                            part(*at, SENSE),
                            part(*at, SENSE_AROUND),
                            late_score.get(at).copied().unwrap_or(0.0),
                            passed,
                        ],
                        hop: None,
                        fires_at: lead / (fast[*at as usize] + linked(&fast, *at).0).max(1e-6),
                    }
                });
                // What only its neighbours say is said half as much.
                let covered = 0.5 * (coverage(&code.words) + coverage(&code.around));
                let fit = confidence(covered, late_own.get(at).copied());
                answer.recalled.push(Recalled { episode, score: *score, fit, tokens: size, why });
            }
            if answer.recalled.len() == ask.k {
                break;
            }
        }
        let names: Vec<u64> = hops.iter().map(|(_, cell)| *cell).collect();
        for ((at, _), found) in hops.iter().zip(population.experiences(&names)?) {
            if let Some(why) = &mut answer.recalled[*at].why {
                why.hop = found.map(|(episode, _)| episode.id);
            }
        }
        Ok(answer)
    }
}
