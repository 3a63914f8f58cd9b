//! Poisson counts by inverse transform from one 32-bit word: a count is the number of thresholds at or below the word. Promises
//! the same counts on every engine, thread and instruction set, resolved to 2^-32 in probability. Knows no neuron and no engine.
//!
//! The word of element `e` (local id in its population) in step `s` is
//! `philox4x32([e >> 2, s, s >> 32, purpose], key(seed, owner))[e & 3]`, where purpose and owner are `PoissonDrive` and the index
//! of the drive, or `PoissonSource` and the index of the population. In WGSL:
//!
//! ```text
//! let u = min(word, 0xfffffffeu);            // 0xffffffff is the padding of a row and never counts
//! var k = 0; for (var i = 0u; i < width; i++) { if rows[row*width + i] > u { break; } k++; }
//! ```

use crate::error::{Error, Result};
use crate::simd::{Level, for_every_level, level};
use crate::network::Values;
use crate::rng::{self, Purpose, philox4x32};
use crate::stimulus::{Drive, DriveKind, active_steps};
use std::collections::HashMap;
use std::ops::Range;

/// Largest expected number of events a step.
pub const MAX_LAMBDA: f64 = 500.0;
/// Fills a row of a [`Table`] up to its width; no count ever reaches it.
pub const PADDING: u32 = u32::MAX;

/// Inverse transform of one Poisson distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<u32>);

impl Thresholds {
    /// Thresholds of mean `lambda` in 0..=[`MAX_LAMBDA`] (outside, and NaN, is clamped to that range; [`Table::new`] refuses it).
    /// P(count > k) = 1 - thresholds(k) / 2^32 to the nearest 2^-32.
    pub fn new(lambda: f64) -> Self {
        let lambda = lambda.max(0.0).min(MAX_LAMBDA);
        // Masses relative to the mode, which needs no factorial and cannot underflow where it matters.
        let mode = lambda.floor() as usize;
        let last = mode + (12.0 * lambda.sqrt()) as usize + 30;
        let mut mass = vec![0.0; last + 1];
        mass[mode] = 1.0;
        for k in (0..mode).rev() {
            mass[k] = mass[k + 1] * (k + 1) as f64 / lambda;
        }
        for k in mode + 1..=last {
            mass[k] = mass[k - 1] * lambda / k as f64;
        }
        // Tails from the small end upward, so that the rare large counts keep their probability.
        let mut above = vec![0.0; last + 1];
        for k in (0..last).rev() {
            above[k] = above[k + 1] + mass[k + 1];
        }
        let total = above[0] + mass[0];
        let words = above.iter().map(|tail| (tail / total * 2f64.powi(32)).round() as u64);
        // A tail of less than one word in 2^32 is cut; one of exactly one word would need PADDING itself and is cut with it.
        Thresholds(words.take_while(|&w| w > 1).map(|w| ((1u64 << 32) - w) as u32).collect())
    }

    /// Ascending; a word at or above the k-th stands for a count of k + 1 at least.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    /// The count that a uniform word stands for.
    #[inline]
    pub fn count(&self, word: u32) -> u32 {
        count(&self.0, word)
    }
}

/// Number of thresholds at or below `word`; `row` is ascending and may end in [`PADDING`].
#[inline(always)]
pub fn count(row: &[u32], word: u32) -> u32 {
    let word = word.min(PADDING - 1);
    if row.len() <= 8 {
        return row.iter().map(|&t| (t <= word) as u32).sum();
    }
    row.partition_point(|&t| t <= word) as u32
}

/// Thresholds of several means, one row each; equal means share a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// `width` thresholds a row, ascending, padded with [`PADDING`].
    pub rows: Vec<u32>,
    /// Thresholds a row.
    pub width: usize,
    /// Row of each element; None: all elements use row 0.
    pub row_of_element: Option<Vec<u32>>,
}

impl Table {
    /// For `n` elements with `rate` Hz in steps of `dt` ms.
    pub fn new(rate: &Values, n: usize, dt: f64) -> Result<Self> {
        match rate {
            Values::Uniform(rate) => Ok(Self::of_means(&[mean(*rate, dt)?])),
            Values::Each(rates) => {
                if rates.len() != n {
                    let message = format!("{} Poisson rates are given for {n} elements", rates.len());
                    return Err(Error::input(message, "give one rate, or one for each element"));
                }
                let (mut means, mut row_of, mut rows) = (Vec::new(), HashMap::new(), Vec::with_capacity(n));
                for &rate in rates.iter() {
                    let lambda = mean(rate, dt)?;
                    rows.push(*row_of.entry(lambda.to_bits()).or_insert_with(|| {
                        means.push(lambda);
                        means.len() as u32 - 1
                    }));
                }
                let mut table = Self::of_means(&means);
                table.row_of_element = (means.len() > 1).then_some(rows);
                Ok(table)
            }
        }
    }

    /// One row for each mean (events a step).
    pub fn of_means(means: &[f64]) -> Self {
        let each: Vec<Thresholds> = means.iter().map(|&lambda| Thresholds::new(lambda)).collect();
        let width = each.iter().map(|t| t.0.len()).max().unwrap_or(0);
        let padded = |t: Thresholds| t.0.into_iter().chain(std::iter::repeat(PADDING)).take(width);
        Table { rows: each.into_iter().flat_map(padded).collect(), width, row_of_element: None }
    }

    /// The thresholds of a row.
    #[inline]
    pub fn row(&self, row: usize) -> &[u32] {
        &self.rows[row * self.width..][..self.width]
    }

    /// Largest count a word can stand for: bounds what one step adds.
    pub fn max_count(&self) -> u32 {
        self.width as u32
    }
}

/// Events a step of `dt` ms at `rate` Hz.
pub(crate) fn mean(rate: f64, dt: f64) -> Result<f64> {
    let lambda = rate * dt * 1e-3;
    if !(rate >= 0.0 && rate.is_finite()) {
        return Err(Error::input(format!("a Poisson rate of {rate} Hz"), "rates must be finite and not negative"));
    }
    if lambda > MAX_LAMBDA {
        let most = MAX_LAMBDA / (dt * 1e-3);
        let message = format!(
            "a Poisson rate of {rate} Hz is {lambda:.0} events in a step of {dt} ms; at most {MAX_LAMBDA:.0} are supported"
        );
        return Err(Error::input(
            message,
            format!("split it into several drives of at most {most:.0} Hz each, or shorten the step"),
        ));
    }
    Ok(lambda)
}

/// Elements that are counted at once: 16 Philox blocks.
pub const CHUNK: usize = 64;
const BLOCKS: usize = CHUNK / 4;

/// The counter and key of a Poisson process: everything but the element.
#[derive(Clone, Copy, Debug)]
struct Words {
    key: [u32; 2],
    step: u64,
    purpose: u32,
}

impl Words {
    /// The word of one element.
    #[inline]
    fn one(&self, element: u32) -> u32 {
        philox4x32([element >> 2, self.step as u32, (self.step >> 32) as u32, self.purpose], self.key)[(element & 3) as usize]
    }

    /// The words of CHUNK elements from `4 * block` on.
    #[inline(always)]
    fn chunk(&self, block: u32) -> [u32; CHUNK] {
        const LOW: u64 = u32::MAX as u64;
        let first = std::array::from_fn(|i| block.wrapping_add(i as u32).into());
        let rest = [self.step & LOW, self.step >> 32, self.purpose.into()].map(|word| [word; BLOCKS]);
        let [c0, c1, c2, c3] = rng::philox_lanes([first, rest[0], rest[1], rest[2]], self.key);
        let mut pairs = [0u64; 2 * BLOCKS];
        let pair = |first: u64, second: u64| {
            if cfg!(target_endian = "little") { (first & LOW) | (second << 32) } else { (first << 32) | (second & LOW) }
        };
        for i in 0..BLOCKS {
            pairs[2 * i] = pair(c0[i], c1[i]);
            pairs[2 * i + 1] = pair(c2[i], c3[i]);
        }
        bytemuck::cast(pairs)
    }
}

/// Reduction by halves, which the compiler turns into wide operations.
#[inline(always)]
fn fold(words: &[u32; CHUNK], pick: impl Fn(u32, u32) -> u32) -> u32 {
    let mut left = *words;
    let mut n = CHUNK / 2;
    while n > 0 {
        for i in 0..n {
            left[i] = pick(left[i], left[i + n]);
        }
        n /= 2;
    }
    left[0]
}

/// Counts of the words by one row. Only the thresholds between the smallest and the largest word are looked at.
#[inline(always)]
fn count_chunk(words: &[u32; CHUNK], row: &[u32]) -> Option<[u32; CHUNK]> {
    let largest = fold(words, u32::max).min(PADDING - 1);
    if row.first().is_none_or(|&t| t > largest) {
        return None;
    }
    let mut first = 0;
    if row.len() > 32 {
        let smallest = fold(words, u32::min);
        first = count(row, smallest) as usize;
    }
    let mut counts = [first as u32; CHUNK];
    for &t in row[first..].iter().take_while(|&&t| t <= largest) {
        for i in 0..CHUNK {
            counts[i] += (words[i] >= t) as u32;
        }
    }
    Some(counts)
}

/// Calls `each(first_element, counts)` for stretches of at most CHUNK elements that cover first..first + n; stretches in which
/// all counts are zero may be left out.
#[inline(always)]
fn for_counts(words: Words, table: &Table, first: usize, n: usize, mut each: impl FnMut(usize, &[u32])) {
    if n == 0 || table.width == 0 {
        return;
    }
    let end = first + n;
    let mut base = first & !3;
    while base < end {
        let (from, to) = (base.max(first), (base + CHUNK).min(end));
        let chunk = words.chunk((base >> 2) as u32);
        let single = table.row_of_element.as_ref().map_or(Some(0), |rows| {
            let rows = &rows[from..to];
            rows.iter().all(|&r| r == rows[0]).then_some(rows[0])
        });
        match (single, &table.row_of_element) {
            (None, Some(rows)) => {
                let mut counts = [0; CHUNK];
                for element in from..to {
                    counts[element - base] = count(table.row(rows[element] as usize), chunk[element - base]);
                }
                each(from, &counts[from - base..to - base]);
            }
            (row, _) => {
                if let Some(counts) = count_chunk(&chunk, table.row(row.unwrap_or(0) as usize)) {
                    each(from, &counts[from - base..to - base]);
                }
            }
        }
        base += CHUNK;
    }
}

for_every_level! {
    /// Adds count * weight to `acc[i]` for element first + i.
    fn add_counts(words: Words, table: &Table, first: usize, acc: &mut [i32], weight: i32) {
        let n = acc.len();
        for_counts(words, table, first, n, |from, counts| {
            for (a, &k) in acc[from - first..].iter_mut().zip(counts) {
                *a = a.wrapping_add((k as i32).wrapping_mul(weight));
            }
        });
    }
}

for_every_level! {
    /// The elements of `range` by their counts.
    fn list_counts(words: Words, table: &Table, range: Range<u32>, out: &mut Vec<u32>) {
        for_counts(words, table, range.start as usize, range.len(), |from, counts| {
            for (i, &k) in counts.iter().enumerate() {
                for _ in 0..k {
                    out.push((from + i) as u32);
                }
            }
        });
    }
}

/// An independent Poisson train for every element of a population (NEST's poisson_generator).
#[derive(Clone, Debug)]
pub struct PoissonDrive {
    /// Thresholds of the events a step.
    pub table: Table,
    /// Steps in which it is active.
    pub active: Range<u64>,
    /// In the unit of the port, unscaled.
    pub weight: f64,
    /// Index into the target model's ports.
    pub port: usize,
    key: [u32; 2],
    level: Level,
}

impl PoissonDrive {
    /// A drive of a network: `n` is the size of its population, `dt` in ms, `owner` its index in the network.
    ///
    /// # Errors
    /// Rates that are negative, not finite or too high for the step, or as many as do not fit; a drive of another kind.
    pub fn new(drive: &Drive, n: u32, dt: f64, seed: u64, owner: u32) -> Result<Self> {
        let DriveKind::Poisson { rate, weight, port } = &drive.kind else {
            return Err(Error::input(format!("drive `{}` is a current", drive.name), "use it as one"));
        };
        let active = active_steps(drive.start, drive.stop, dt);
        let table = Table::new(rate, n as usize, dt)?;
        Ok(PoissonDrive { active, weight: *weight, port: *port, ..Self::with_table(table, seed, owner) })
    }

    /// A drive that is always active, with weight 1 on port 0.
    pub fn with_table(table: Table, seed: u64, owner: u32) -> Self {
        PoissonDrive { table, active: 0..u64::MAX, weight: 1.0, port: 0, key: rng::key(seed, owner), level: level() }
    }

    /// Philox key of the words.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// The count of one element: the definition that [`PoissonDrive::add`] vectorises.
    pub fn count(&self, step: u64, element: u32) -> u32 {
        if !self.active.contains(&step) {
            return 0;
        }
        let row = self.table.row_of_element.as_ref().map_or(0, |rows| rows[element as usize]);
        count(self.table.row(row as usize), self.words(step).one(element))
    }

    fn words(&self, step: u64) -> Words {
        Words { key: self.key, step, purpose: Purpose::PoissonDrive as u32 }
    }

    /// Adds count * weight to `acc[i]` for element first_element + i. Sums wrap: the caller keeps `max_count() * weight` in range.
    #[inline]
    pub fn add(&self, step: u64, first_element: usize, acc: &mut [i32], weight: i32) {
        if !self.active.contains(&step) {
            return;
        }
        add_counts(self.level, self.words(step), &self.table, first_element, acc, weight);
    }
}

/// Poisson sources: the elements of `range` that fire in `step`, ascending, repeated for multiplicity.
pub(crate) fn fire(key: [u32; 2], step: u64, table: &Table, range: Range<u32>, out: &mut Vec<u32>) {
    let words = Words { key, step, purpose: Purpose::PoissonSource as u32 };
    list_counts(level(), words, table, range, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::levels;
    use proptest::prelude::*;

    /// Poisson mass by the recursion from zero, independent of how the thresholds are made.
    fn pmf(lambda: f64, k: u32) -> f64 {
        (1..=k).fold((-lambda).exp(), |p, i| p * lambda / i as f64)
    }

    #[test]
    fn thresholds_hold_the_distribution_to_32_bits() {
        for lambda in [1e-6, 0.01, 0.5, 1.7, 8.0, 30.0, 120.0, 500.0] {
            let thresholds = Thresholds::new(lambda);
            let mut below = 0.0;
            for (k, &t) in thresholds.as_slice().iter().enumerate() {
                below += pmf(lambda, k as u32);
                let error = (below * 2f64.powi(32) - t as f64).abs();
                assert!(error < 0.6, "lambda {lambda}: P(count <= {k}) off by {error} words");
                assert!(t != PADDING);
                if t > 0 {
                    assert!(thresholds.count(t - 1) <= k as u32 && thresholds.count(t) > k as u32, "lambda {lambda}");
                }
            }
            below += pmf(lambda, thresholds.as_slice().len() as u32);
            assert!((1.0 - below) * 2f64.powi(32) < 1.6, "lambda {lambda}: the tail is cut too early");
        }
        assert!(Thresholds::new(0.0).as_slice().is_empty());
        assert_eq!(Thresholds::new(1.0).count(u32::MAX) as usize, Thresholds::new(1.0).as_slice().len());
    }

    /// Chi-square of drawn counts against the closed form, and mean = variance = lambda.
    #[test]
    fn counts_are_poisson() {
        for (lambda, seed) in [(0.02, 1), (0.6, 2), (1.7, 3), (40.0, 4)] {
            let drive = PoissonDrive::with_table(Table::of_means(&[lambda]), seed, 5);
            let (elements, steps) = (1000, 400);
            let mut seen = vec![0u32; 200];
            let (mut sum, mut square) = (0.0, 0.0);
            for step in 0..steps {
                let mut acc = vec![0i32; elements];
                drive.add(step, 0, &mut acc, 1);
                for k in acc {
                    seen[k as usize] += 1;
                    sum += k as f64;
                    square += (k * k) as f64;
                }
            }
            let n = (elements as u64 * steps) as f64;
            let (mean, variance) = (sum / n, square / n - (sum / n).powi(2));
            assert!((mean - lambda).abs() < 5.0 * (lambda / n).sqrt(), "mean {mean} for {lambda}");
            let spread = ((lambda + 2.0 * lambda * lambda) / n).sqrt();
            assert!((variance - lambda).abs() < 5.0 * spread, "variance {variance} for {lambda}");
            let (mut chi, mut cells) = (0.0, 0);
            for (k, &observed) in seen.iter().enumerate() {
                let expected = n * pmf(lambda, k as u32);
                if expected >= 5.0 {
                    chi += (observed as f64 - expected).powi(2) / expected;
                    cells += 1;
                }
            }
            let freedom = (cells - 1) as f64;
            assert!(chi < freedom + 5.0 * (2.0 * freedom).sqrt() + 5.0, "chi-square {chi} at {freedom} degrees, lambda {lambda}");
        }
    }

    /// Neighbouring elements, steps and owners are independent: the correlation of their counts vanishes.
    #[test]
    fn streams_are_uncorrelated() {
        let counts = |owner: u32, step: u64| {
            let mut acc = vec![0i32; 100_001];
            PoissonDrive::with_table(Table::of_means(&[1.0]), 9, owner).add(step, 0, &mut acc, 1);
            acc
        };
        let base = counts(0, 10);
        let shifted: Vec<i32> = base[1..].to_vec();
        for other in [shifted, counts(1, 10), counts(0, 11), counts(0, 10 + (1 << 32))] {
            let n = other.len();
            let r = base.iter().zip(&other).map(|(&a, &b)| (a - 1) * (b - 1)).sum::<i32>() as f64 / n as f64;
            assert!(r.abs() < 5.0 / (n as f64).sqrt(), "correlation {r}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_instruction_set_and_alignment_gives_the_definition(
            seed in any::<u64>(), owner in any::<u32>(), step in any::<u64>(), first in 0usize..200, n in 0usize..300,
            lambdas in proptest::collection::vec(prop_oneof![Just(0.0), 0.0..0.01f64, 0.0..4.0f64, 20.0..90.0f64], 1..4),
            weight in -1000i32..1000, stretch in 1usize..100,
        ) {
            let mut table = Table::of_means(&lambdas);
            if lambdas.len() > 1 {
                table.row_of_element = Some((0..first + n).map(|e| (e / stretch % lambdas.len()) as u32).collect());
            }
            let step = step.min(u64::MAX - 1);
            let drive = PoissonDrive::with_table(table, seed, owner);
            let expected: Vec<i32> = (first..first + n).map(|e| 7 + weight * drive.count(step, e as u32) as i32).collect();
            for level in levels() {
                let mut acc = vec![7i32; n];
                PoissonDrive { level, ..drive.clone() }.add(step, first, &mut acc, weight);
                prop_assert_eq!(&acc, &expected, "{:?}", level);
            }
        }
    }

    #[test]
    fn equal_rates_share_a_row_and_bad_rates_are_refused() {
        let rates = Values::Each([10.0, 20.0, 10.0, 0.0].into());
        let table = Table::new(&rates, 4, 0.1).unwrap();
        assert_eq!(table.row_of_element, Some(vec![0, 1, 0, 2]));
        assert_eq!(table.rows.len(), 3 * table.width);
        assert_eq!(table.row(0)[0], Thresholds::new(10.0 * 0.1 * 1e-3).as_slice()[0]);
        assert!(table.row(2).iter().all(|&t| t == PADDING) && count(table.row(2), u32::MAX) == 0);
        assert_eq!(Table::new(&Values::Each([5.0; 3].into()), 3, 0.1).unwrap().row_of_element, None);
        for bad in [-1.0, f64::NAN, f64::INFINITY, 6e6] {
            assert!(Table::new(&Values::Uniform(bad), 4, 0.1).is_err(), "{bad}");
        }
        let message = Table::new(&Values::Uniform(6e6), 4, 0.1).unwrap_err();
        assert!(message.remedy().unwrap().contains("5000000 Hz"), "{message}");
        assert!(Table::new(&rates, 5, 0.1).is_err());
    }

    #[test]
    fn active_from_start_to_stop() {
        let kind = DriveKind::Poisson { rate: Values::Uniform(5e5), weight: -2.5, port: 1 };
        let drive = Drive { name: "d".into(), population: 0, kind, start: 1.0, stop: 2.0 };
        let drive = PoissonDrive::new(&drive, 8, 0.1, 1, 1).unwrap();
        assert_eq!((drive.weight, drive.port), (-2.5, 1));
        let fires = |step| {
            let mut acc = [0; 8];
            drive.add(step, 0, &mut acc, 1);
            acc.iter().sum::<i32>() > 0
        };
        let steps: Vec<u64> = (0..40).filter(|&s| fires(s)).collect();
        assert_eq!(steps, (10..20).collect::<Vec<_>>());
    }

    #[test]
    fn sources_fire_as_often_as_they_count() {
        let table = Table::of_means(&[0.8]);
        let (mut out, key) = (Vec::new(), rng::key(3, 2));
        fire(key, 77, &table, 3..1003, &mut out);
        let words = Words { key, step: 77, purpose: Purpose::PoissonSource as u32 };
        let expected: Vec<u32> =
            (3..1003).flat_map(|e| std::iter::repeat_n(e, count(table.row(0), words.one(e)) as usize)).collect();
        assert_eq!(out, expected);
        assert!(out.len() > 600 && out.len() < 1000);
    }
}
