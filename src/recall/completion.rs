//! Completion of codes by recurrent synapses, as CA3 does it: a part of a code, with wrong cells among it, drives the population; the k
//! cells that receive most fire and drive it again, until the same ones fire. Promises exact deletion: a synapse counts the codes that
//! went through it, and is a function of its count. Knows numbers only.
//!
//! Willshaw (1969): a synapse is there where any code went through it. BCPNN (Lansner and Ekeberg 1989): its weight is
//! log(p_ij / (p_i p_j)), the bias of a cell log p_i. Delivery is by events: only the rows of cells that fire are looked at.

use crate::rng::{Purpose, Stream, key};
use crate::simd::{for_every_level, level};
use serde::Serialize;
use std::collections::HashMap;
use std::time::Instant;

/// Rounds at most.
const ROUNDS: usize = 12;

/// What a synapse makes of its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// 1 where any code went through it, 0 elsewhere.
    Willshaw,
    /// The logarithm of how much more often both its cells fired than chance says.
    Bcpnn,
}

/// A recurrent population.
pub struct Completion {
    cells: usize,
    active: usize,
    /// Codes through each synapse, row by row; 255 stands for more, which `more` counts.
    counts: Vec<u8>,
    more: HashMap<(u16, u16), u32>,
    /// Codes through each cell.
    single: Vec<u32>,
    patterns: u64,
}

/// A code that was completed.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// The cells that fire in the end, by number.
    pub code: Vec<u16>,
    /// Rounds until nothing changed.
    pub rounds: usize,
    /// Synaptic events.
    pub events: u64,
}

for_every_level! {
    /// Adds 1 for each synapse that is there.
    fn add_present(row: &[u8], sums: &mut [u16]) {
        row.iter().zip(sums).for_each(|(count, sum)| *sum += (*count > 0) as u16);
    }
}

impl Completion {
    /// Of so many cells, of which `active` fire together; at most 65,536 cells.
    pub fn new(cells: usize, active: usize) -> Completion {
        assert!(cells <= 1 << 16 && active <= cells, "a code beyond its population");
        Completion { cells, active, counts: vec![0; cells * cells], more: HashMap::new(), single: vec![0; cells], patterns: 0 }
    }

    /// Codes that are stored.
    pub fn patterns(&self) -> u64 {
        self.patterns
    }

    /// Stores a code: in one shot, by the synapses among its cells.
    pub fn write(&mut self, code: &[u16]) {
        self.patterns += 1;
        for &a in code {
            self.single[usize::from(a)] += 1;
            let row = &mut self.counts[usize::from(a) * self.cells..][..self.cells];
            for &b in code.iter().filter(|b| **b != a) {
                match row[usize::from(b)] {
                    u8::MAX => *self.more.entry((a, b)).or_insert(0) += 1,
                    _ => row[usize::from(b)] += 1,
                }
            }
        }
    }

    /// Takes a code out that was stored: every synapse is as if it had never been.
    pub fn erase(&mut self, code: &[u16]) {
        self.patterns -= 1;
        for &a in code {
            self.single[usize::from(a)] -= 1;
            let row = &mut self.counts[usize::from(a) * self.cells..][..self.cells];
            for &b in code.iter().filter(|b| **b != a) {
                match self.more.get_mut(&(a, b)) {
                    Some(1) => drop(self.more.remove(&(a, b))),
                    Some(n) => *n -= 1,
                    None => row[usize::from(b)] -= 1,
                }
            }
        }
    }

    /// Synapses that any code goes through.
    pub fn synapses(&self) -> u64 {
        self.counts.iter().filter(|count| **count > 0).count() as u64
    }

    /// Completes a code.
    pub fn complete(&self, cue: &[u16], rule: Rule) -> Completed {
        let mut firing: Vec<u16> = cue.to_vec();
        firing.sort_unstable();
        firing.dedup();
        let (mut before, mut events): (Vec<u16>, u64) = (Vec::new(), 0);
        // ln of what a count says, and what it takes off for each cell.
        let n = self.patterns.max(1) as f32;
        let table: Vec<f32> = (0..=255).map(|count| ((count as f32 + 0.01) / n).ln()).collect();
        let rare: Vec<f32> = match rule {
            Rule::Bcpnn => self.single.iter().map(|count| ((*count as f32 + 0.5) / (n + 1.0)).ln()).collect(),
            Rule::Willshaw => Vec::new(),
        };
        for round in 0..ROUNDS {
            events += (firing.len() * self.cells) as u64;
            let drive: Vec<f32> = match rule {
                Rule::Willshaw => {
                    let mut sums = vec![0u16; self.cells];
                    firing.iter().for_each(|cell| add_present(level(), self.row(*cell), &mut sums));
                    // A cell that fires drives itself: what is asked for stays where nothing speaks against it.
                    firing.iter().for_each(|cell| sums[usize::from(*cell)] += 1);
                    sums.into_iter().map(f32::from).collect()
                }
                Rule::Bcpnn => {
                    let mut sums = vec![0.0f32; self.cells];
                    for cell in &firing {
                        let row = self.row(*cell).iter().zip(&mut sums);
                        row.for_each(|(count, sum)| *sum += table[usize::from(*count)]);
                    }
                    // Cells have no synapse onto themselves.
                    firing.iter().for_each(|cell| sums[usize::from(*cell)] += rare[usize::from(*cell)] - table[0]);
                    let fired = firing.len() as f32;
                    sums.iter().zip(&rare).map(|(sum, rare)| sum + (1.0 - fired) * rare).collect()
                }
            };
            let mut order: Vec<u16> = (0..self.cells as u32).map(|cell| cell as u16).collect();
            let most = |a: &u16, b: &u16| drive[usize::from(*b)].total_cmp(&drive[usize::from(*a)]).then(a.cmp(b));
            if self.active < order.len() {
                order.select_nth_unstable_by(self.active, most);
                order.truncate(self.active);
            }
            order.sort_unstable();
            if order == firing || order == before {
                return Completed { code: order, rounds: round + 1, events };
            }
            before = std::mem::replace(&mut firing, order);
        }
        Completed { code: firing, rounds: ROUNDS, events }
    }

    fn row(&self, cell: u16) -> &[u8] {
        &self.counts[usize::from(cell) * self.cells..][..self.cells]
    }
}

/// What a population of random codes holds.
#[derive(Clone, Debug, Serialize)]
pub struct Capacity {
    /// The rule.
    pub rule: Rule,
    /// Cells, of which so many are active, and codes stored.
    pub size: [usize; 3],
    /// Cells of a cue that are right, and that are wrong.
    pub cue: [usize; 2],
    /// Percent of the codes tried that come out exactly.
    pub exact: f64,
    /// Percent of the right cells among those that fire in the end.
    pub overlap: f64,
    /// Rounds, on average.
    pub rounds: f64,
    /// Information in all codes over the synapses of the population, all to all; bits.
    pub bits_per_synapse: f64,
    /// Share of the synapses that any code goes through.
    pub load: f64,
    /// Median and 99th percentile of a completion, ms.
    pub ms: [f64; 2],
    /// Whether half the codes erased again leave the counts of the other half alone.
    pub erased_exactly: bool,
}

/// ln n!, for information.
fn ln_factorial(n: usize) -> f64 {
    (1..=n).map(|i| (i as f64).ln()).sum()
}

/// Stores random codes, then completes some of them from half their cells with a share of wrong ones beside.
pub fn capacity(
    cells: usize,
    active: usize,
    patterns: usize,
    wrong: f64,
    tried: usize,
    seed: u64,
    say: &dyn Fn(&str, f64),
) -> Vec<Capacity> {
    let code = |p: usize| -> Vec<u16> {
        let mut stream = Stream::new(key(seed, 1), Purpose::Connect, p as u32, 0);
        let mut code: Vec<u16> = Vec::with_capacity(active);
        while code.len() < active {
            let cell = stream.below(cells as u32) as u16;
            if !code.contains(&cell) {
                code.push(cell);
            }
        }
        code
    };
    let mut own = Completion::new(cells, active);
    for p in 0..patterns {
        own.write(&code(p));
        if p % 4096 == 0 {
            say("storing", p as f64 / patterns as f64);
        }
    }
    let information = (ln_factorial(cells) - ln_factorial(active) - ln_factorial(cells - active)) / std::f64::consts::LN_2;
    let false_cells = (wrong * active as f64).round() as usize;
    let mut all = Vec::new();
    let (load, tried) = (own.synapses() as f64 / (cells * cells) as f64, tried.min(patterns).max(1));
    for rule in [Rule::Willshaw, Rule::Bcpnn] {
        let (mut exact, mut overlap, mut rounds, mut times) = (0, 0, 0, Vec::new());
        for t in 0..tried {
            say(if rule == Rule::Willshaw { "willshaw" } else { "bcpnn" }, t as f64 / tried as f64);
            let code = code(t * (patterns / tried));
            let mut cue = code[..active.div_ceil(2)].to_vec();
            let mut stream = Stream::new(key(seed, 2), Purpose::Encoder, t as u32, 0);
            while cue.len() < active.div_ceil(2) + false_cells {
                let cell = stream.below(cells as u32) as u16;
                if !code.contains(&cell) && !cue.contains(&cell) {
                    cue.push(cell);
                }
            }
            let started = Instant::now();
            let completed = own.complete(&cue, rule);
            times.push(1e3 * started.elapsed().as_secs_f64());
            let right = completed.code.iter().filter(|cell| code.contains(cell)).count();
            exact += (right == active) as usize;
            overlap += right;
            rounds += completed.rounds;
        }
        times.sort_by(f64::total_cmp);
        all.push(Capacity {
            rule,
            size: [cells, active, patterns],
            cue: [active.div_ceil(2), false_cells],
            exact: 100.0 * exact as f64 / tried as f64,
            overlap: 100.0 * overlap as f64 / (tried * active) as f64,
            rounds: rounds as f64 / tried as f64,
            bits_per_synapse: patterns as f64 * information / (cells * cells) as f64,
            load,
            ms: [times[times.len() / 2], times[times.len() * 99 / 100]],
            erased_exactly: false,
        });
    }
    // Erased one after another, the rest is what it would be if the others had never come.
    (patterns / 2..patterns).for_each(|p| own.erase(&code(p)));
    let mut fresh = Completion::new(cells, active);
    (0..patterns / 2).for_each(|p| fresh.write(&code(p)));
    let same = own.counts == fresh.counts && own.single == fresh.single && own.more == fresh.more;
    all.iter_mut().for_each(|c| c.erased_exactly = same);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A load at which the closed form for Willshaw expects hardly any false cell.
    #[test]
    fn codes_come_back_from_half_of_them_and_go_without_a_trace() {
        for capacity in capacity(1024, 16, 800, 0.06, 60, 3, &|_, _| ()) {
            assert!(capacity.exact >= 98.0 && capacity.erased_exactly && capacity.cue == [8, 1], "{capacity:?}");
            let load = 1.0 - (1.0 - (16.0f64 * 15.0) / (1024.0 * 1023.0)).powi(800);
            assert!((capacity.load - load).abs() < 0.01, "{} {load}", capacity.load);
        }
    }

    /// Against the sums of both rules written out with numbers of their own.
    #[test]
    fn one_round_against_the_definition() {
        let mut own = Completion::new(12, 3);
        let codes = [[0, 1, 2], [0, 1, 3], [4, 5, 6], [0, 7, 8]];
        codes.iter().for_each(|code| own.write(code));
        let together = |a: u16, b: u16| codes.iter().filter(|c| c.contains(&a) && c.contains(&b)).count() as f32;
        assert!((0..12u16).all(|a| (0..12u16).all(|b| a == b || f32::from(own.row(a)[usize::from(b)]) == together(a, b))));
        assert_eq!(own.complete(&[4, 5], Rule::Willshaw).code, [4, 5, 6]);
        assert_eq!(own.complete(&[7], Rule::Bcpnn).code, [0, 7, 8]);
        // More than a byte holds comes and goes.
        (0..300).for_each(|_| own.write(&[9, 10, 11]));
        (0..300).for_each(|_| own.erase(&[9, 10, 11]));
        assert!(own.row(9).iter().all(|count| *count == 0) && own.more.is_empty() && own.patterns() == 4);
    }
}
