//! The dentate code of a vector: whitened by the statistics of all vectors so far, projected at random, k winners. Promises that equal
//! vectors have equal codes as long as the version stands, and that codes of correlated vectors overlap no more than their meaning does.
//!
//! Mean and covariance are kept online (Welford 1962). Search wants a whitening of power 0.5 to 0.75: of full whitening (power 1) a cue
//! that is not the text itself finds less than of none (notes of the measurements in README).

use super::encoder::unit;
use crate::learning::associative::dot;
use crate::rng::{Purpose, Stream, key};
use crate::transformer::matmul::by_rows;
use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Granule cells of the dense code.
pub const CELLS: usize = 8192;
/// Of them, those that are active.
pub const ACTIVE: usize = 64;
/// Cells that a cue drives at most; the code of what is searched has `ACTIVE`.
pub const DRIVEN: usize = 512;
/// Vectors that are projected together.
const TOGETHER: usize = 64;
/// Power of the whitening for search.
pub const POWER: f64 = 0.6;
/// As many vectors as weigh like what is known before the first: that all directions are alike.
const PRIOR: f64 = 64.0;
/// Seed of the projection.
const SEED: u64 = 1971;

/// Mean and covariance of vectors as they come, and the whitening made of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whitening {
    /// Vectors taken in.
    pub n: u64,
    /// Changes whenever the whitening does; codes carry it.
    pub version: u32,
    /// Of the vectors: width.
    mean: Vec<f64>,
    /// Sum of the products of deviations, upper triangle by rows.
    products: Vec<f64>,
    /// Of the version that stands: its mean and its matrix, width x width; empty for none (vectors are taken as they are).
    centre: Vec<f32>,
    matrix: Vec<f32>,
    /// Vectors taken in when the version was made.
    made_of: u64,
}

impl Whitening {
    /// Of vectors of a width, none taken in.
    pub fn new(width: usize) -> Whitening {
        let (mean, products) = (vec![0.0; width], vec![0.0; width * (width + 1) / 2]);
        Whitening { n: 0, version: 0, mean, products, centre: vec![0.0; width], matrix: Vec::new(), made_of: 0 }
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Takes a vector in.
    pub fn add(&mut self, vector: &[f32]) {
        self.n += 1;
        let before: Vec<f64> = vector.iter().zip(&self.mean).map(|(x, m)| f64::from(*x) - m).collect();
        let n = self.n as f64;
        self.mean.iter_mut().zip(&before).for_each(|(m, d)| *m += d / n);
        self.accumulate(&before, (n - 1.0) / n);
    }

    /// Takes out a vector that was taken in.
    pub fn remove(&mut self, vector: &[f32]) {
        if self.n <= 1 {
            let (version, made_of) = (self.version, self.made_of);
            let (centre, matrix) = (std::mem::take(&mut self.centre), std::mem::take(&mut self.matrix));
            *self = Whitening { version, made_of, centre, matrix, ..Whitening::new(self.width()) };
            return;
        }
        let n = self.n as f64;
        let after: Vec<f64> = vector.iter().zip(&self.mean).map(|(x, m)| (f64::from(*x) - m) * n / (n - 1.0)).collect();
        self.mean.iter_mut().zip(&after).for_each(|(m, d)| *m -= d / n);
        self.accumulate(&after, -(n - 1.0) / n);
        self.n -= 1;
    }

    /// As bytes, to be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + 8 * self.products.len() + 4 * self.matrix.len());
        bytes.extend((self.mean.len() as u32).to_le_bytes());
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.n.to_le_bytes());
        bytes.extend(self.made_of.to_le_bytes());
        bytes.extend((!self.matrix.is_empty() as u64).to_le_bytes());
        self.mean.iter().chain(&self.products).for_each(|x| bytes.extend(x.to_le_bytes()));
        self.centre.iter().chain(&self.matrix).for_each(|x| bytes.extend(x.to_le_bytes()));
        bytes
    }

    /// The reverse of [`Whitening::to_bytes`]; None for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Whitening> {
        let (head, mut rest) = bytes.split_at_checked(32)?;
        let four = |at: usize| head[at..at + 4].try_into().ok().map(u32::from_le_bytes);
        let eight = |at: usize| head[at..at + 8].try_into().ok().map(u64::from_le_bytes);
        let (width, has_matrix) = (four(0)? as usize, eight(24)? == 1);
        let of = if has_matrix { width * width } else { 0 };
        if width > 1 << 14 || rest.len() != 8 * (width + width * (width + 1) / 2) + 4 * (width + of) {
            return None;
        }
        let mut doubles = |n: usize| -> Vec<f64> {
            let (own, more) = rest.split_at(8 * n);
            rest = more;
            own.chunks_exact(8).map(|b| f64::from_le_bytes(std::array::from_fn(|i| b[i]))).collect()
        };
        let (mean, products) = (doubles(width), doubles(width * (width + 1) / 2));
        let mut singles = rest.chunks_exact(4).map(|b| f32::from_le_bytes(std::array::from_fn(|i| b[i])));
        let centre = singles.by_ref().take(width).collect();
        let matrix = singles.collect();
        Some(Whitening { n: eight(8)?, version: four(4)?, mean, products, centre, matrix, made_of: eight(16)? })
    }

    fn accumulate(&mut self, deviation: &[f64], factor: f64) {
        let mut at = 0;
        for (i, d) in deviation.iter().enumerate() {
            let rest = &deviation[i..];
            self.products[at..at + rest.len()].iter_mut().zip(rest).for_each(|(p, e)| *p += factor * d * e);
            at += rest.len();
        }
    }

    /// Whether so many vectors came since the version was made that another is due: twice as many, up to 16,384, after which a version
    /// stands until `refresh` is asked for.
    pub fn is_due(&self) -> bool {
        self.is_due_with(0)
    }

    /// Whether it would be with so many more.
    pub fn is_due_with(&self, more: u64) -> bool {
        let n = self.n + more;
        n >= 16 && n >= 2 * self.made_of && self.made_of < 1 << 14
    }

    /// Whether vectors came or went since the version was made.
    pub fn is_stale(&self) -> bool {
        self.n != self.made_of
    }

    /// Makes the next version of what was taken in.
    pub fn refresh(&mut self) {
        let (width, n) = (self.width(), self.n as f64);
        self.version += 1;
        self.made_of = self.n;
        if self.n == 0 {
            self.matrix.clear();
            return;
        }
        let mut covariance = DMatrix::<f64>::zeros(width, width);
        let mut at = 0;
        for i in 0..width {
            for j in i..width {
                covariance[(i, j)] = self.products[at];
                covariance[(j, i)] = self.products[at];
                at += 1;
            }
        }
        let alike = covariance.trace() / n / width as f64;
        covariance /= n + PRIOR;
        for i in 0..width {
            covariance[(i, i)] += alike * PRIOR / (n + PRIOR);
        }
        let eigen = SymmetricEigen::new(covariance);
        let largest = eigen.eigenvalues.max().max(f64::MIN_POSITIVE);
        // s^-p of the standard deviations, the largest one's being 1.
        let gains = eigen.eigenvalues.map(|e| (e.max(1e-9 * largest) / largest).powf(-0.5 * POWER));
        let whitener = &eigen.eigenvectors * DMatrix::from_diagonal(&gains) * eigen.eigenvectors.transpose();
        self.matrix = (0..width * width).map(|at| whitener[(at / width, at % width)] as f32).collect();
        let shrink = n / (n + 8.0);
        self.centre = self.mean.iter().map(|m| (m * shrink) as f32).collect();
    }

    /// A vector whitened by the version that stands, of length 1.
    pub fn apply(&self, vector: &[f32]) -> Vec<f32> {
        let centred: Vec<f32> = vector.iter().zip(&self.centre).map(|(x, c)| x - c).collect();
        let mut white = match self.matrix.is_empty() {
            true => centred,
            false => self.matrix.chunks_exact(centred.len()).map(|row| dot(row, &centred)).collect(),
        };
        unit(&mut white);
        white
    }
}

/// The random projection onto granule cells.
pub struct Projection {
    /// Cells x width.
    weights: Vec<f32>,
    width: usize,
}

/// Projections that are at work, which all memories of a width share: one of 384 numbers has 13 MB.
static USUAL: Mutex<Vec<(usize, Weak<Projection>)>> = Mutex::new(Vec::new());

impl Projection {
    /// The usual one of a width, made where nobody has it yet.
    pub fn usual(width: usize) -> Arc<Projection> {
        let mut all = USUAL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.iter().find(|(w, _)| *w == width).and_then(|(_, own)| own.upgrade()) {
            return own;
        }
        all.retain(|(w, _)| *w != width);
        let own = Arc::new(Projection::new(width, 0));
        all.push((width, Arc::downgrade(&own)));
        own
    }

    /// Normal weights of vectors of a width; another `seed` (0 is the usual one) is another projection.
    pub fn new(width: usize, seed: u64) -> Projection {
        let row = |cell: usize| {
            let mut stream = Stream::new(key(SEED + seed, 0), Purpose::Weight, cell as u32, 0);
            (0..width).map(move |_| stream.normal() as f32).collect::<Vec<f32>>()
        };
        Projection { weights: (0..CELLS).into_par_iter().flat_map_iter(row).collect(), width }
    }

    /// What vectors drive each cell by: n x cells, of n x width; nothing without a width.
    pub fn drive(&self, n: usize, vectors: &[f32]) -> Vec<f32> {
        if self.width == 0 || n == 0 {
            return Vec::new();
        }
        let mut drive = vec![0.0; n * CELLS];
        by_rows(n, self.width, CELLS, vectors, &self.weights, &mut drive);
        drive
    }

    /// For each vector the cells that win under lateral inhibition, in order of their numbers.
    pub fn winners(&self, vectors: &[Vec<f32>]) -> Vec<Vec<u16>> {
        let winners = |drive: &[f32]| {
            let mut winners: Vec<u16> = strongest(drive, ACTIVE).into_iter().map(|(cell, _)| cell).collect();
            winners.sort_unstable();
            winners
        };
        let part = |part: &[Vec<f32>]| {
            let drive = self.drive(part.len(), &part.concat());
            drive.chunks_exact(CELLS).map(winners).collect::<Vec<_>>()
        };
        vectors.chunks(TOGETHER).flat_map(part).collect()
    }
}

/// The `k` cells that are driven most, with their drives, all above 0; the most driven first.
pub fn strongest(drive: &[f32], k: usize) -> Vec<(u16, f32)> {
    let mut all: Vec<(u16, f32)> = (0..).zip(drive).filter(|(_, d)| **d > 0.0).map(|(cell, d)| (cell, *d)).collect();
    let order = |a: &(u16, f32), b: &(u16, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if all.len() > k {
        all.select_nth_unstable_by(k, order);
        all.truncate(k);
    }
    all.sort_unstable_by(order);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(n: usize, width: usize) -> Vec<Vec<f32>> {
        let mut stream = Stream::new(key(3, 0), Purpose::Weight, 0, 0);
        // Correlated: a common direction, and axes of unequal length.
        let one = |stream: &mut Stream| -> Vec<f32> {
            let common = stream.normal();
            (0..width).map(|i| (1.0 + common + stream.normal() / (1 + i) as f64) as f32).collect()
        };
        (0..n).map(|_| one(&mut stream)).collect()
    }

    #[test]
    fn moments_online_are_those_of_all_at_once() {
        let all = drawn(40, 5);
        let mut online = Whitening::new(5);
        all.iter().for_each(|x| online.add(x));
        let mean: Vec<f64> = (0..5).map(|i| all.iter().map(|x| f64::from(x[i])).sum::<f64>() / 40.0).collect();
        let mut at = 0;
        for i in 0..5 {
            assert!((online.mean[i] - mean[i]).abs() < 1e-12);
            for j in i..5 {
                let exact: f64 = all.iter().map(|x| (f64::from(x[i]) - mean[i]) * (f64::from(x[j]) - mean[j])).sum();
                assert!((online.products[at] - exact).abs() < 1e-9);
                at += 1;
            }
        }
        assert_eq!(Whitening::from_bytes(&online.to_bytes()).as_ref(), Some(&online));
        assert!(Whitening::from_bytes(&online.to_bytes()[1..]).is_none());
        // What is taken out was never there.
        let mut less = Whitening::new(5);
        all[..39].iter().for_each(|x| less.add(x));
        online.remove(&all[39]);
        assert!(online.n == 39 && online.products.iter().zip(&less.products).all(|(a, b)| (a - b).abs() < 1e-9));
    }

    /// With a power below 1 the axes come nearer to each other, and codes of different vectors overlap less.
    #[test]
    fn whitening_parts_what_is_correlated() {
        let all = drawn(600, 24);
        let projection = Projection::new(24, 0);
        let mut whitening = Whitening::new(24);
        let overlap = |whitening: &Whitening| {
            let codes = projection.winners(&all[..40].iter().map(|x| whitening.apply(x)).collect::<Vec<_>>());
            let shared = |a: &[u16], b: &[u16]| a.iter().filter(|cell| b.contains(cell)).count();
            let pairs = (0..40).flat_map(|i| (0..i).map(move |j| (i, j)));
            pairs.map(|(i, j)| shared(&codes[i], &codes[j])).sum::<usize>()
        };
        let before = overlap(&whitening);
        all.iter().for_each(|x| whitening.add(x));
        assert!(whitening.is_due());
        whitening.refresh();
        assert!(!whitening.is_due() && whitening.version == 1);
        let after = overlap(&whitening);
        assert!(3 * after < before, "{after} of {before}");
    }

    #[test]
    fn the_strongest_are_those_of_a_full_sort() {
        let drive: Vec<f32> = (0..300).map(|i| ((i * i) as f32).sin()).collect();
        let mut all: Vec<(u16, f32)> = (0..).zip(drive.iter().copied()).filter(|(_, d)| *d > 0.0).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(strongest(&drive, 20), all[..20]);
        assert_eq!(strongest(&drive[..3], 20).len(), drive[..3].iter().filter(|d| **d > 0.0).count());
    }
}
