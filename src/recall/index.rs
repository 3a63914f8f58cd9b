//! The index population: a cell an experience (or piece of one), with a synapse from each granule cell of its code. A cue is a volley of
//! graded spikes through the engine's synapse tables; what it leaves in a cell is the cell's drive, and a cell of constant drive u fires at
//! threshold / u, so that the first to fire are those of the largest drive. Promises exact deletion: a table is a function of the codes
//! that are there. Knows no text and no store.
//!
//! A cell has four ports: words and sense of its own, words and sense of what happened around it. Length inhibits: feed-forward inhibition
//! divides what words drive by how many they are (the divisor of BM25 at one occurrence).

use super::{codes, words};
use crate::engine::cpu::volley;
use crate::network::synapse_table::Table;
use rayon::prelude::*;
use std::collections::HashMap;

/// Ports of a cell.
pub const PORTS: usize = 4;
/// Words of its own.
pub const WORDS: usize = 0;
/// Words of it and its neighbours in time.
pub const AROUND: usize = 1;
/// The dense code of its own.
pub const SENSE: usize = 2;
/// The dense code of it and its neighbours.
pub const SENSE_AROUND: usize = 3;

/// Cells of a block, which has a table of its own: its accumulators stay in the cache of a core, and all that a new cell costs is its
/// block's table.
const BLOCK: usize = 4096;
/// Units of a synapse of weight 1 from a word's cell.
const UNIT: f32 = 32.0;
/// Units of an amplitude of 1.
const AMPLITUDE: f32 = 64.0;
/// Saturation of repeated words, and the share of the length that inhibits (k1 and b of BM25).
const SATURATION: f32 = 1.2;
const INHIBITION: f32 = 0.75;
/// Word cells of a code at most, the rarest first.
const MOST_WORDS: usize = 192;

/// The granule cells that drive a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// Cells of its own words, with how often each is said.
    pub words: Vec<(u16, u8)>,
    /// The same of it and its neighbours together.
    pub around: Vec<(u16, u8)>,
    /// Winners of the dense code; none without an encoder.
    pub sense: Vec<u16>,
    /// Winners of the dense code of it and its neighbours.
    pub sense_around: Vec<u16>,
}

/// Graded spikes of granule cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cue {
    /// Cells of words, with amplitudes.
    pub words: Vec<(u16, f32)>,
    /// Cells of the dense code, with amplitudes.
    pub sense: Vec<(u16, f32)>,
}

/// What a cue left.
#[derive(Clone, Debug, Default)]
pub struct Drive {
    /// By port, by cell; 0 of cells that are not there.
    pub ports: [Vec<f32>; PORTS],
    /// Synapses that were served.
    pub events: u64,
}

/// The population with its synapses.
#[derive(Debug, Default)]
pub struct Index {
    codes: Vec<Option<Code>>,
    /// Words of each cell, of its own and around; kept apart from the codes, which a volley does not look at.
    spans: Vec<[u32; 2]>,
    blocks: Vec<Block>,
    /// Cells that each word's cell drives: of their own words, and around.
    holding: [Vec<u32>; 2],
    /// Sum of the lengths, likewise.
    lengths: [u64; 2],
    alive: usize,
}

#[derive(Debug, Default)]
struct Block {
    table: Table,
    /// Whether codes changed since the table was made.
    stale: bool,
}

/// Words of a cell.
pub fn length(words: &[(u16, u8)]) -> u64 {
    words.iter().map(|(_, n)| u64::from(*n)).sum()
}

/// How much a word's cell tells: ln(1 + (n - df + 1/2) / (df + 1/2)), df of n cells being driven by it.
pub fn rarity(alive: usize, holding: u32) -> f32 {
    let (n, df) = (alive as f32, holding as f32);
    (1.0 + (n - df + 0.5) / (df + 0.5)).ln()
}

/// Integer weight of the synapse of a word that is said so often.
pub fn weight(n: u8) -> i32 {
    (UNIT * f32::from(n) * (1.0 + SATURATION) / (f32::from(n) + SATURATION)).round() as i32
}

/// Integer amplitude of a graded spike.
pub fn units(amplitude: f32) -> i32 {
    (amplitude * AMPLITUDE).round() as i32
}

/// What the integer sums of words and of the dense code are worth.
pub const WORTH: [f32; 2] = [1.0 / (UNIT * AMPLITUDE), 1.0 / AMPLITUDE];

/// What words drive is divided by the first number and, for each word of the cell, the second one: of cells whose words are `lengths`
/// together.
pub fn inhibition(lengths: u64, alive: usize) -> [f32; 2] {
    let mean = (lengths as f32 / alive.max(1) as f32).max(1e-6);
    let whole = 1.0 + SATURATION;
    [(1.0 + SATURATION * (1.0 - INHIBITION)) / whole, SATURATION * INHIBITION / mean / whole]
}

impl Index {
    /// A population without cells.
    pub fn new() -> Index {
        Index { holding: [0, 1].map(|_| vec![0; words::CELLS]), ..Index::default() }
    }

    /// Cells, those that were erased included.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether no cell is there.
    pub fn is_empty(&self) -> bool {
        self.alive == 0
    }

    /// Cells that are there.
    pub fn alive(&self) -> usize {
        self.alive
    }

    /// The code of a cell, where it is there.
    pub fn code(&self, cell: usize) -> Option<&Code> {
        self.codes.get(cell)?.as_ref()
    }

    /// Writes a cell, in the place of what it was; the next number makes a new one.
    pub fn write(&mut self, cell: usize, code: Code) {
        if cell >= self.codes.len() {
            self.codes.resize(cell + 1, None);
            self.spans.resize(cell + 1, [0, 0]);
            self.blocks.resize_with(self.codes.len().div_ceil(BLOCK), Block::default);
        }
        self.erase(cell);
        for (kind, words) in [&code.words, &code.around].into_iter().enumerate() {
            words.iter().for_each(|(word, _)| self.holding[kind][usize::from(*word)] += 1);
            self.lengths[kind] += length(words);
            self.spans[cell][kind] = length(words) as u32;
        }
        self.alive += 1;
        self.codes[cell] = Some(code);
        self.blocks[cell / BLOCK].stale = true;
    }

    /// Takes a cell and all its synapses out; returns how many there were.
    pub fn erase(&mut self, cell: usize) -> usize {
        let Some(code) = self.codes.get_mut(cell).and_then(Option::take) else { return 0 };
        for (kind, words) in [&code.words, &code.around].into_iter().enumerate() {
            words.iter().for_each(|(word, _)| self.holding[kind][usize::from(*word)] -= 1);
            self.lengths[kind] -= length(words);
        }
        self.alive -= 1;
        self.blocks[cell / BLOCK].stale = true;
        code.words.len() + code.around.len() + code.sense.len() + code.sense_around.len()
    }

    /// How much a word's cell tells.
    pub fn rarity(&self, word: u16) -> f32 {
        rarity(self.alive, self.holding(word))
    }

    /// Cells that a word's cell drives by their own words.
    pub fn holding(&self, word: u16) -> u32 {
        self.holding[0][usize::from(word)]
    }

    /// What a cell drives at full length, divided by this.
    fn divisor(&self, kind: usize, cell: usize) -> f32 {
        let [base, slope] = inhibition(self.lengths[kind], self.alive);
        base + slope * self.spans[cell][kind] as f32
    }

    /// Makes the tables of what changed.
    pub fn settle(&mut self) {
        let (codes, holding) = (&self.codes, &self.holding);
        self.blocks.par_iter_mut().enumerate().filter(|(_, block)| block.stale).for_each(|(b, block)| {
            let own = &codes[b * BLOCK..codes.len().min((b + 1) * BLOCK)];
            let mut synapses = Vec::with_capacity(own.len() * 160);
            for (local, code) in own.iter().enumerate() {
                let Some(code) = code else { continue };
                let address = |port: usize| (port * BLOCK + local) as u32;
                for (port, words) in [(WORDS, &code.words), (AROUND, &code.around)] {
                    let synapse = |(word, n): &(u16, u8)| (u32::from(*word), address(port), weight(*n));
                    if words.len() <= MOST_WORDS {
                        synapses.extend(words.iter().map(synapse));
                    } else {
                        let mut rarest = words.clone();
                        rarest.sort_by_key(|(word, _)| holding[port][usize::from(*word)]);
                        synapses.extend(rarest[..MOST_WORDS].iter().map(synapse));
                    }
                }
                for (port, sense) in [(SENSE, &code.sense), (SENSE_AROUND, &code.sense_around)] {
                    synapses.extend(sense.iter().map(|cell| (words::CELLS as u32 + u32::from(*cell), address(port), 1)));
                }
            }
            block.table = Table::given(words::CELLS + codes::CELLS, &synapses);
            block.stale = false;
        });
    }

    /// Delivers a cue to every cell. Call [`Index::settle`] after changes.
    pub fn volley(&self, cue: &Cue) -> Drive {
        let of_words = cue.words.iter().map(|(cell, a)| (u32::from(*cell), units(*a)));
        let of_sense = cue.sense.iter().map(|(cell, a)| (words::CELLS as u32 + u32::from(*cell), units(*a)));
        let spikes: Vec<(u32, i32)> = of_words.chain(of_sense).filter(|(_, a)| *a != 0).collect();
        let one = |(b, block): (usize, &Block)| {
            let mut sums = vec![0i32; PORTS * BLOCK];
            let events = if block.table.row.is_empty() { 0 } else { volley(&block.table, &spikes, &mut sums) };
            let first = b * BLOCK;
            let n = (self.codes.len() - first).min(BLOCK);
            // Nothing arrives at a cell that is not there.
            let ports: [Vec<f32>; PORTS] = std::array::from_fn(|port| {
                let sums = (0..).zip(&sums[port * BLOCK..][..n]);
                match port {
                    WORDS | AROUND => sums
                        .map(|(local, sum)| match sum {
                            0 => 0.0,
                            sum => *sum as f32 * WORTH[0] / self.divisor(port, first + local),
                        })
                        .collect(),
                    _ => sums.map(|(_, sum): (usize, &i32)| *sum as f32 * WORTH[1]).collect(),
                }
            });
            (ports, events)
        };
        let parts: Vec<([Vec<f32>; PORTS], u64)> = match self.blocks.len() {
            1 => vec![one((0, &self.blocks[0]))],
            _ => self.blocks.par_iter().enumerate().map(one).collect(),
        };
        let mut drive = Drive::default();
        for (ports, events) in parts {
            drive.events += events;
            drive.ports.iter_mut().zip(ports).for_each(|(all, own)| all.extend(own));
        }
        drive
    }

    /// What a cue leaves in every cell by port, computed from the codes one after another instead of by spikes: for comparing.
    pub fn scan(&self, cue: &Cue) -> [Vec<f32>; PORTS] {
        let of_words: HashMap<u16, f32> = cue.words.iter().copied().collect();
        let of_sense: HashMap<u16, f32> = cue.sense.iter().copied().collect();
        let mut ports: [Vec<f32>; PORTS] = std::array::from_fn(|_| vec![0.0; self.codes.len()]);
        for (cell, code) in self.codes.iter().enumerate() {
            let Some(code) = code else { continue };
            for (port, words) in [(WORDS, &code.words), (AROUND, &code.around)] {
                let of = |(word, n): &(u16, u8)| {
                    of_words.get(word).map_or(0.0, |a| a * f32::from(*n) * (1.0 + SATURATION) / (f32::from(*n) + SATURATION))
                };
                ports[port][cell] = words.iter().map(of).sum::<f32>() / self.divisor(port, cell);
            }
            for (port, sense) in [(SENSE, &code.sense), (SENSE_AROUND, &code.sense_around)] {
                ports[port][cell] = sense.iter().filter_map(|c| of_sense.get(c)).sum();
            }
        }
        ports
    }

    /// Synapses onto the population, and the bytes of their tables.
    pub fn size(&self) -> (u64, u64) {
        let sum = |of: fn(&Table) -> u64| self.blocks.iter().map(|b| of(&b.table)).sum();
        (sum(|t| t.synapses), sum(Table::bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream, key};

    fn codes(n: usize) -> Vec<Code> {
        let mut stream = Stream::new(key(8, 0), Purpose::Connect, 0, 0);
        let mut words = |k: u32| -> Vec<(u16, u8)> {
            let mut all: Vec<u16> = (0..k).map(|_| stream.below(300) as u16).collect();
            all.sort_unstable();
            all.dedup();
            all.into_iter().map(|w| (w, 1 + (w % 3) as u8)).collect()
        };
        let code = |_| Code {
            words: words(12),
            around: words(30),
            sense: words(40).into_iter().map(|w| w.0).collect(),
            sense_around: words(40).into_iter().map(|w| w.0).collect(),
        };
        (0..n).map(code).collect()
    }

    /// Spike delivery against the sums written out, over more than one block, and with cells erased.
    #[test]
    fn drives_against_the_sums_written_out() {
        let codes = codes(BLOCK + 70);
        let mut index = Index::new();
        codes.iter().enumerate().for_each(|(i, code)| index.write(i, code.clone()));
        let erased = [3, 77, BLOCK + 5];
        erased.iter().for_each(|i| assert!(index.erase(*i) > 0));
        assert_eq!((index.alive(), index.erase(3)), (BLOCK + 67, 0));
        index.settle();
        let cue = Cue { words: vec![(5, 2.0), (44, 1.5), (299, 0.25)], sense: vec![(1, 1.0), (7, 0.5), (250, 3.0)] };
        let drive = index.volley(&cue);
        let mut events = 0;
        for (i, code) in codes.iter().enumerate() {
            let there = !erased.contains(&i);
            for (port, words) in [(WORDS, &code.words), (AROUND, &code.around)] {
                let of = |(cell, n): &(u16, u8)| {
                    let amplitude = cue.words.iter().find(|(c, _)| c == cell).map(|c| c.1);
                    amplitude.map(|a| a * f32::from(*n) * 2.2 / (f32::from(*n) + 1.2))
                };
                let all: Vec<f32> = words.iter().filter_map(of).collect();
                let exact = if there { all.iter().sum::<f32>() / index.divisor(port, i) } else { 0.0 };
                events += if there { all.len() as u64 } else { 0 };
                assert!((drive.ports[port][i] - exact).abs() < 0.02 * exact.abs() + 1e-6, "{port} {i}");
            }
            for (port, sense) in [(SENSE, &code.sense), (SENSE_AROUND, &code.sense_around)] {
                let all: Vec<f32> = cue.sense.iter().filter(|(c, _)| sense.contains(c)).map(|c| c.1).collect();
                events += if there { all.len() as u64 } else { 0 };
                let exact = if there { all.iter().sum::<f32>() } else { 0.0 };
                assert!((drive.ports[port][i] - exact).abs() < 1e-6);
            }
        }
        assert_eq!(drive.events, events);
    }

    /// What was written and erased again leaves the population as it was.
    #[test]
    fn what_is_erased_was_never_there() {
        let codes = codes(50);
        let [mut one, mut other] = [Index::new(), Index::new()];
        codes[..40].iter().enumerate().for_each(|(i, code)| one.write(i, code.clone()));
        codes.iter().enumerate().for_each(|(i, code)| other.write(i, code.clone()));
        (40..50).for_each(|i| assert!(other.erase(i) > 0));
        one.settle();
        other.settle();
        let cue = Cue { words: vec![(5, 2.0), (44, 1.5)], sense: vec![(1, 1.0), (7, 0.5)] };
        let (a, b) = (one.volley(&cue), other.volley(&cue));
        assert!((0..PORTS).all(|p| a.ports[p][..40] == b.ports[p][..40] && b.ports[p][40..].iter().all(|x| *x == 0.0)));
        assert_eq!((one.rarity(5), one.size().0), (other.rarity(5), other.size().0));
    }
}
