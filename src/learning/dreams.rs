//! Internal replay: of every class learned a mean and a covariance of latents is kept, and later classes are learned among dreams
//! drawn from them, so that no example is stored. Latents are made by a fixed path: filters that learned from the images of the
//! first task by soft competition, competing spiking cells at every place, and the principal directions of the first task. Promises
//! that what is kept does not grow with the images seen, and dreams that are functions of the seed. Knows images as numbers; no task
//! and no file.
//!
//! Filters: SoftHebb, y = softmax(u / temperature), dw = rate * y (p - u w) on patches without their mean (Moraitis et al. 2022,
//! doi 10.1088/2634-4386/aca710). Latents and class Gaussians: running means and covariances as in streaming discriminant analysis
//! (Hayes & Kanan 2020, arXiv:1909.01520); dreams balanced by class, and shrunk covariances (Goswami et al. 2023, arXiv:2309.14062).

use super::local::{times, times_transposed};
use super::state::State;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};
use nalgebra::{Cholesky, DMatrix, DVector, SymmetricEigen};
use rayon::prelude::*;

/// Owners of random numbers: patches, first filters, dreams.
const PATCHES: u32 = 5 << 16;
const FILTERS: u32 = 6 << 16;
const DREAMS: u32 = 7 << 16;
/// Patches that filters learn from, and those of a step.
const LEARNED_PATCHES: usize = 60_000;
const STEP: usize = 100;
/// Softness of the filters' competition; how far a filter that wins its share of a step's patches goes towards them at the end, and how
/// many times that at the start.
const TEMPERATURE: f32 = 0.15;
const RATE: f32 = 0.047;
const FIRST_RATE: f32 = 10.0;
/// Deviation below which a patch is empty.
const EMPTY: f32 = 0.1;
/// Images that one thread encodes at a time.
const PIECE: usize = 8;
/// Orthogonal iterations, and directions beside those wanted.
const TURNS: usize = 30;
const SPARE: usize = 16;
/// What is added to the diagonal of a covariance, in units of a latent's variance.
const FLOOR: f64 = 1e-3;

/// How latents are made and dreamt. [`Options::new`] gives what did best in a prototype on MNIST.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Principal directions that are kept.
    pub latents: usize,
    /// Filters, and the side of the square patch that each sees.
    pub filters: usize,
    /// Side of a patch.
    pub patch: usize,
    /// Cells at a place that may spike: those with the highest currents.
    pub winners: usize,
    /// Steps of the cells, hence the most spikes of one.
    pub steps: usize,
    /// Regions along each side in which the spikes of a filter are averaged.
    pub regions: usize,
    /// Part of the mean covariance in that of a class.
    pub shrink: f64,
    /// Images of the first task that filters and directions learn from, at most.
    pub images: usize,
}

impl Options {
    /// 120 directions of 64 filters of 7 x 7 pixels in 4 x 4 regions.
    pub fn new() -> Options {
        Options { latents: 120, filters: 64, patch: 7, winners: 8, steps: 20, regions: 4, shrink: 0.1, images: 12_000 }
    }

    fn features(&self) -> usize {
        self.filters * self.regions * self.regions
    }

    /// Refuses what no path can be made of; `side`: pixels along each side of an image.
    ///
    /// # Errors
    /// Counts of 0, a patch larger than the image, more winners than filters, more directions than features.
    pub fn check(&self, side: usize) -> Result<()> {
        let refuse = |what: String, remedy: String| Err(Error::input(what, remedy));
        for (name, value) in [
            ("latents", self.latents),
            ("filters", self.filters),
            ("patch", self.patch),
            ("winners", self.winners),
            ("steps", self.steps),
            ("regions", self.regions),
            ("images", self.images),
        ] {
            if value == 0 {
                return refuse(format!("{name} is 0"), format!("set {name} to 1 or more"));
            }
        }
        if self.patch + self.regions > side + 1 {
            return refuse(
                format!(
                    "patches of {0} x {0} in {1} x {1} regions do not fit images of {side} x {side}",
                    self.patch, self.regions
                ),
                "lower patch or regions".into(),
            );
        }
        if self.winners > self.filters {
            return refuse(format!("{} winners of {} filters", self.winners, self.filters), "lower winners".into());
        }
        if self.latents > self.features() {
            return refuse(
                format!("{} latents of {} features", self.latents, self.features()),
                "lower latents, or give more filters or regions".into(),
            );
        }
        if !(0.0..=1.0).contains(&self.shrink) {
            return refuse(format!("shrink {}", self.shrink), "set shrink from 0 to 1".into());
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

/// What is kept of a class: count, mean and the sum of squares about it.
#[derive(Clone, Debug, PartialEq)]
struct Class {
    count: f64,
    mean: DVector<f64>,
    scatter: DMatrix<f64>,
}

impl Class {
    fn new(latents: usize) -> Class {
        Class { count: 0.0, mean: DVector::zeros(latents), scatter: DMatrix::zeros(latents, latents) }
    }

    /// Takes in a batch (Chan et al. 1983, "Algorithms for computing the sample variance").
    fn add(&mut self, rows: &[&[f32]]) {
        let (n, latents) = (rows.len(), self.mean.len());
        let batch = DMatrix::from_fn(n, latents, |i, j| rows[i][j] as f64);
        let mean = DVector::from_fn(latents, |j, _| batch.column(j).mean());
        let centred = DMatrix::from_fn(n, latents, |i, j| batch[(i, j)] - mean[j]);
        let (own, new) = (self.count, n as f64);
        let apart = &mean - &self.mean;
        self.scatter.gemm_tr(1.0, &centred, &centred, 1.0);
        self.scatter.ger(own * new / (own + new), &apart, &apart, 1.0);
        self.mean += apart * (new / (own + new));
        self.count += new;
    }

    fn covariance(&self) -> DMatrix<f64> {
        &self.scatter / (self.count - 1.0).max(1.0)
    }
}

/// A class as it is dreamt and recognised: its mean, the root of its covariance, and the logarithm of that root's determinant.
#[derive(Clone, Debug)]
struct Dream {
    mean: DVector<f64>,
    root: DMatrix<f64>,
    volume: f64,
}

/// The path from images to latents, and the classes seen on it.
#[derive(Clone, Debug)]
pub struct Dreams {
    options: Options,
    side: usize,
    seed: u64,
    /// filters x patch²; empty before the first task.
    filters: Vec<f32>,
    /// Mean of the features of the first task.
    mean: Vec<f32>,
    /// latents x features, divided by the deviation of a latent in the first task.
    basis: Vec<f32>,
    classes: Vec<Class>,
    /// By class, as of the last [`Dreams::settle`]; None for one that was not seen.
    settled: Vec<Option<Dream>>,
    /// Dreams drawn so far.
    drawn: u64,
}

impl Dreams {
    /// A path for square images of `pixels`, before its first task.
    ///
    /// # Errors
    /// Images that are not square, and what [`Options::check`] refuses.
    pub fn new(options: Options, pixels: usize, classes: usize, seed: u64) -> Result<Dreams> {
        let side = pixels.isqrt();
        if side * side != pixels {
            return Err(Error::input(
                format!("images of {pixels} pixels are not square"),
                "internal replay sees patches: give square images",
            ));
        }
        options.check(side)?;
        let classes = vec![Class::new(options.latents); classes];
        Ok(Dreams {
            settled: vec![None; classes.len()],
            options,
            side,
            seed,
            filters: vec![],
            mean: vec![],
            basis: vec![],
            classes,
            drawn: 0,
        })
    }

    /// Latents that [`Dreams::encode`] gives.
    pub fn latents(&self) -> usize {
        self.options.latents
    }

    /// Whether the path was made.
    pub fn ready(&self) -> bool {
        !self.basis.is_empty()
    }

    /// Images that [`Dreams::begin`] looks at, at most.
    pub fn images(&self) -> usize {
        self.options.images
    }

    /// Makes the path from images of the first task (count x pixels, from 0 to about 1).
    ///
    /// # Errors
    /// Images that are all alike.
    pub fn begin(&mut self, images: &[f32]) -> Result<()> {
        self.filters = self.learn_filters(images)?;
        let features = self.options.features();
        let seen = self.features(images).0;
        let count = seen.len() / features;
        let mut mean = vec![0.0f64; features];
        seen.chunks_exact(features).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += *x as f64 / count as f64));
        let mut covariance = DMatrix::<f64>::zeros(features, features);
        for rows in seen.chunks(1024 * features) {
            let centred = DMatrix::from_fn(rows.len() / features, features, |i, j| rows[i * features + j] as f64 - mean[j]);
            covariance.gemm_tr(1.0 / count as f64, &centred, &centred, 1.0);
        }
        let (directions, variances) = leading(&covariance, self.options.latents, self.seed);
        let variance = variances.iter().sum::<f64>() / variances.len() as f64;
        if variance <= 0.0 {
            return Err(Error::input("the images of the first task are all alike", "give a first task with different images"));
        }
        let scale = 1.0 / variance.sqrt();
        self.basis = directions.iter().map(|x| (x * scale) as f32).collect();
        self.mean = mean.into_iter().map(|m| m as f32).collect();
        Ok(())
    }

    /// Latents of images (count x latents), and the spikes that their cells sent.
    pub fn encode(&self, images: &[f32]) -> (Vec<f32>, u64) {
        let features = self.options.features();
        let (mut seen, spikes) = self.features(images);
        seen.chunks_exact_mut(features).for_each(|row| row.iter_mut().zip(&self.mean).for_each(|(x, m)| *x -= m));
        (times_transposed(&seen, &self.basis, features, self.options.latents), spikes)
    }

    /// Takes latents (count x latents) into their classes.
    pub fn observe(&mut self, latents: &[f32], labels: &[u8]) {
        let size = self.options.latents;
        for (class, own) in self.classes.iter_mut().enumerate() {
            let rows: Vec<&[f32]> =
                latents.chunks_exact(size).zip(labels).filter(|(_, l)| **l as usize == class).map(|(row, _)| row).collect();
            if !rows.is_empty() {
                own.add(&rows);
            }
        }
    }

    /// A task has ended: dreams and recognition follow what was observed until here.
    ///
    /// # Errors
    /// A covariance that is not positive.
    pub fn settle(&mut self) -> Result<()> {
        let size = self.options.latents;
        let seen: f64 = self.classes.iter().map(|c| c.count).sum();
        let mut shared = DMatrix::zeros(size, size);
        self.classes.iter().filter(|c| c.count > 0.0).for_each(|c| shared += c.covariance() * (c.count / seen));
        let shrink = self.options.shrink;
        let settle = |(class, own): (usize, &Class)| {
            if own.count == 0.0 {
                return Ok(None);
            }
            let floor = DMatrix::from_diagonal_element(size, size, FLOOR);
            let covariance = own.covariance() * (1.0 - shrink) + &shared * shrink + floor;
            let root = Cholesky::new(covariance).ok_or_else(|| Error::Run {
                message: format!("the covariance of class {class} is not positive: its latents are not numbers any more"),
                remedy: "lower the contrast of the images (scale); the last checkpoint is kept".into(),
            })?;
            let root = root.unpack();
            let volume = root.diagonal().iter().map(|x| x.ln()).sum();
            Ok(Some(Dream { mean: own.mean.clone(), root, volume }))
        };
        self.settled = self.classes.par_iter().enumerate().map(settle).collect::<Result<_>>()?;
        Ok(())
    }

    /// Classes that can be dreamt of.
    pub fn known(&self) -> Vec<u8> {
        (0u8..).zip(&self.settled).filter(|(_, d)| d.is_some()).map(|(class, _)| class).collect()
    }

    /// So many dreams of classes in turn: latents (count x latents) and labels; None before the first task has ended.
    pub fn dream(&mut self, count: usize, of: &[u8]) -> Option<(Vec<f32>, Vec<u8>)> {
        let size = self.options.latents;
        let known: Vec<(u8, &Dream)> = of.iter().filter_map(|c| Some((*c, self.settled.get(*c as usize)?.as_ref()?))).collect();
        if known.is_empty() || count == 0 {
            return None;
        }
        let first = self.drawn;
        let one = |k: usize| {
            let index = first + k as u64;
            let mut random = Stream::new(key(self.seed, DREAMS), Purpose::Encoder, index as u32, (index >> 32) as u32);
            let (class, dream) = known[(index % known.len() as u64) as usize];
            let noise = DVector::from_fn(size, |_, _| random.normal());
            let latent = &dream.mean + &dream.root * noise;
            (latent.iter().map(|x| *x as f32).collect::<Vec<f32>>(), class)
        };
        let all: Vec<(Vec<f32>, u8)> = (0..count).into_par_iter().map(one).collect();
        self.drawn += count as u64;
        let labels = all.iter().map(|d| d.1).collect();
        Some((all.into_iter().flat_map(|d| d.0).collect(), labels))
    }

    /// Scores of the classes by their Gaussians alone (count x classes): log-densities, of classes that were not seen the least
    /// number.
    pub fn classify(&self, latents: &[f32]) -> Vec<f32> {
        let size = self.options.latents;
        let row = |row: &[f32]| {
            let x = DVector::from_fn(size, |j, _| row[j] as f64);
            let score = |dream: &Option<Dream>| {
                let Some(dream) = dream else { return f32::MIN };
                let away = dream.root.solve_lower_triangular(&(&x - &dream.mean)).map_or(f64::MAX, |y| y.norm_squared());
                (-0.5 * away - dream.volume) as f32
            };
            self.settled.iter().map(score).collect::<Vec<f32>>()
        };
        latents.par_chunks_exact(size).flat_map_iter(row).collect()
    }

    /// Bytes that are kept of the classes seen: mean and one half of the covariance, 4 bytes a number.
    pub fn bytes(&self) -> usize {
        let size = self.options.latents;
        4 * (size + size * (size + 1) / 2) * self.classes.iter().filter(|c| c.count > 0.0).count()
    }

    /// Everything that changes, as named arrays.
    pub fn state(&self) -> State {
        let mut state = State::default();
        state.put("filters", &[self.filters.len()], &self.filters);
        state.put("mean", &[self.mean.len()], &self.mean);
        state.put("basis", &[self.basis.len()], &self.basis);
        for (c, class) in self.classes.iter().enumerate() {
            state.put(format!("class.{c}.count"), &[1], &[class.count]);
            state.put(format!("class.{c}.mean"), &[class.mean.len()], class.mean.as_slice());
            state.put(format!("class.{c}.scatter"), &[class.scatter.len()], class.scatter.as_slice());
        }
        let settled: Vec<u64> = self.settled.iter().map(|d| d.is_some() as u64).collect();
        state.put("settled", &[settled.len()], &settled);
        for (c, dream) in self.settled.iter().enumerate() {
            let Some(dream) = dream else { continue };
            state.put(format!("dream.{c}.mean"), &[dream.mean.len()], dream.mean.as_slice());
            state.put(format!("dream.{c}.root"), &[dream.root.len()], dream.root.as_slice());
        }
        state.put("drawn", &[1], &[self.drawn]);
        state
    }

    /// Takes back what [`Dreams::state`] gave.
    ///
    /// # Errors
    /// Arrays that are missing, of another size or not finite; then nothing has changed.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let (size, features) = (self.options.latents, self.options.features());
        let whole = |name: &str, count: usize| -> Result<Vec<f32>> {
            match state.any::<f32>(name)? {
                [] => Ok(vec![]),
                _ => state.get(name, count).map(<[f32]>::to_vec),
            }
        };
        let filters = whole("filters", self.options.filters * self.options.patch * self.options.patch)?;
        let (mean, basis) = (whole("mean", features)?, whole("basis", size * features)?);
        let matrix = |name: String| Ok(DMatrix::from_column_slice(size, size, state.get::<f64>(&name, size * size)?));
        let vector = |name: String| -> Result<DVector<f64>> { Ok(DVector::from_column_slice(state.get::<f64>(&name, size)?)) };
        let mut classes = vec![];
        for c in 0..self.classes.len() {
            let count = state.get::<f64>(&format!("class.{c}.count"), 1)?[0];
            classes.push(Class {
                count,
                mean: vector(format!("class.{c}.mean"))?,
                scatter: matrix(format!("class.{c}.scatter"))?,
            });
        }
        let mut settled = vec![];
        for (c, there) in state.get::<u64>("settled", self.classes.len())?.iter().enumerate() {
            settled.push(if *there == 0 {
                None
            } else {
                let root: DMatrix<f64> = matrix(format!("dream.{c}.root"))?;
                let volume = root.diagonal().iter().map(|x| x.ln()).sum();
                Some(Dream { mean: vector(format!("dream.{c}.mean"))?, root, volume })
            });
        }
        let drawn = state.get::<u64>("drawn", 1)?[0];
        (self.filters, self.mean, self.basis, self.classes, self.settled, self.drawn) =
            (filters, mean, basis, classes, settled, drawn);
        Ok(())
    }

    /// Filters of unit length that competed for patches of the images.
    fn learn_filters(&self, images: &[f32]) -> Result<Vec<f32>> {
        let Options { filters, patch, .. } = self.options;
        let (pixels, area, places) = (self.side * self.side, patch * patch, self.side - patch + 1);
        let count = images.len() / pixels;
        let mut random = Stream::new(key(self.seed, PATCHES), Purpose::Encoder, 0, 0);
        let mut patches = Vec::with_capacity(LEARNED_PATCHES * area);
        for _ in 0..4 * LEARNED_PATCHES {
            if patches.len() == LEARNED_PATCHES * area {
                break;
            }
            let image = &images[random.below(count as u32) as usize * pixels..][..pixels];
            let (y, x) = (random.below(places as u32) as usize, random.below(places as u32) as usize);
            let start = patches.len();
            (y..y + patch).for_each(|row| patches.extend_from_slice(&image[row * self.side + x..][..patch]));
            let own = &mut patches[start..];
            let mean = own.iter().sum::<f32>() / area as f32;
            own.iter_mut().for_each(|p| *p -= mean);
            let square: f32 = own.iter().map(|p| p * p).sum();
            if (square / area as f32).sqrt() <= EMPTY {
                patches.truncate(start);
            } else {
                own.iter_mut().for_each(|p| *p /= square.sqrt());
            }
        }
        if patches.is_empty() {
            return Err(Error::input("the images of the first task are empty", "give images with contrast: scale them to 0..1"));
        }
        let mut random = Stream::new(key(self.seed, FILTERS), Purpose::Weight, 0, 0);
        let mut weights: Vec<f32> = (0..filters * area).map(|_| random.normal() as f32).collect();
        let unit = |weights: &mut [f32]| {
            weights.chunks_exact_mut(area).for_each(|w| {
                let length = w.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
                w.iter_mut().for_each(|x| *x /= length);
            });
        };
        unit(&mut weights);
        let steps = patches.len().div_ceil(STEP * area);
        for (step, batch) in patches.chunks(STEP * area).enumerate() {
            let currents = times_transposed(batch, &weights, area, filters);
            let mut shares = currents.clone();
            for row in shares.chunks_exact_mut(filters) {
                let top = row.iter().fold(f32::MIN, |top, u| top.max(*u));
                row.iter_mut().for_each(|u| *u = ((*u - top) / TEMPERATURE).exp());
                let sum: f32 = row.iter().sum();
                row.iter_mut().for_each(|u| *u /= sum);
            }
            // Transposed shares, so that a row is a filter's.
            let n = batch.len() / area;
            let turned: Vec<f32> = (0..filters * n).map(|i| shares[i % n * filters + i / n]).collect();
            let towards = times(&turned, batch, n, area);
            let fallen = RATE * FIRST_RATE / (1.0 + (FIRST_RATE - 1.0) * step as f32 / steps as f32);
            let rate = fallen * filters as f32 / n as f32;
            for (f, (w, towards)) in weights.chunks_exact_mut(area).zip(towards.chunks_exact(area)).enumerate() {
                let leak: f32 = (0..n).map(|i| shares[i * filters + f] * currents[i * filters + f]).sum();
                w.iter_mut().zip(towards).for_each(|(w, t)| *w += rate * (t - leak * *w));
            }
        }
        unit(&mut weights);
        Ok(weights)
    }

    /// Roots of the mean spikes a step of every filter in every region (count x features), and all spikes: at each place the cells
    /// with the highest currents integrate from half a threshold and may spike at every step.
    fn features(&self, images: &[f32]) -> (Vec<f32>, u64) {
        let Options { filters, patch, winners, steps, regions, .. } = self.options;
        let (pixels, area, places) = (self.side * self.side, patch * patch, self.side - patch + 1);
        let edge = |r: usize| r * places / regions;
        let region: Vec<usize> = (0..places).map(|p| (0..regions).rfind(|r| edge(*r) <= p).unwrap_or(0)).collect();
        let features = self.options.features();
        let mut out = vec![0.0; images.len() / pixels * features];
        let piece = |(images, out): (&[f32], &mut [f32])| {
            let (mut spikes, mut sorted) = (0u64, vec![0.0f32; filters]);
            let mut patches = Vec::with_capacity(places * places * area);
            for (image, out) in images.chunks_exact(pixels).zip(out.chunks_exact_mut(features)) {
                patches.clear();
                for y in 0..places {
                    for x in 0..places {
                        let start = patches.len();
                        (y..y + patch).for_each(|row| patches.extend_from_slice(&image[row * self.side + x..][..patch]));
                        let mean = patches[start..].iter().sum::<f32>() / area as f32;
                        patches[start..].iter_mut().for_each(|p| *p -= mean);
                    }
                }
                let currents = times_transposed(&patches, &self.filters, area, filters);
                for (place, row) in currents.chunks_exact(filters).enumerate() {
                    sorted.copy_from_slice(row);
                    let (_, least, _) = sorted.select_nth_unstable_by(filters - winners, f32::total_cmp);
                    let least = least.max(0.0);
                    let own = &mut out[(region[place / places] * regions + region[place % places]) * filters..][..filters];
                    for (sum, current) in own.iter_mut().zip(row).filter(|(_, c)| **c >= least && **c > 0.0) {
                        let count = (current * steps as f32 + 0.5).floor().min(steps as f32);
                        *sum += count;
                        spikes += count as u64;
                    }
                }
                for (r, own) in out.chunks_exact_mut(filters).enumerate() {
                    let cells = (edge(r / regions + 1) - edge(r / regions)) * (edge(r % regions + 1) - edge(r % regions));
                    own.iter_mut().for_each(|x| *x = (*x / (cells * steps) as f32).sqrt());
                }
            }
            spikes
        };
        let spikes = images.par_chunks(PIECE * pixels).zip(out.par_chunks_mut(PIECE * features)).map(piece).sum();
        (out, spikes)
    }
}

/// The directions of greatest variance (columns) and their variances, the greatest first: orthogonal iteration, what Oja's subspace rule
/// settles at (Oja 1989, doi 10.1142/S0129065789000475), and a rotation within the subspace.
fn leading(covariance: &DMatrix<f64>, count: usize, seed: u64) -> (DMatrix<f64>, Vec<f64>) {
    let size = covariance.nrows();
    let wide = (count + SPARE).min(size);
    let mut random = Stream::new(key(seed, FILTERS), Purpose::Initial, 0, 0);
    let mut basis = DMatrix::from_fn(size, wide, |_, _| random.normal());
    for _ in 0..TURNS {
        basis = (covariance * &basis).qr().q();
    }
    let within = SymmetricEigen::new(basis.transpose() * (covariance * &basis));
    let mut order: Vec<usize> = (0..wide).collect();
    order.sort_by(|a, b| within.eigenvalues[*b].total_cmp(&within.eigenvalues[*a]));
    order.truncate(count);
    let variances = order.iter().map(|k| within.eigenvalues[*k].max(0.0)).collect();
    (&basis * within.eigenvectors.select_columns(&order), variances)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_directions_are_those_of_the_whole_decomposition() {
        let mut random = Stream::new(key(4, 0), Purpose::Initial, 0, 0);
        let spread = DMatrix::from_fn(60, 60, |i, _| random.normal() / (1.0 + i as f64));
        let covariance = &spread * spread.transpose();
        let (directions, variances) = leading(&covariance, 5, 1);
        let mut whole: Vec<f64> = SymmetricEigen::new(covariance.clone()).eigenvalues.iter().copied().collect();
        whole.sort_by(|a, b| b.total_cmp(a));
        for (k, (got, wanted)) in variances.iter().zip(&whole).enumerate() {
            assert!((got - wanted).abs() < 1e-6 * wanted, "{k}: {got} {wanted}");
            let direction = directions.column(k);
            assert!(
                (&covariance * direction - direction * *wanted).norm() < 1e-3 * wanted && (direction.norm() - 1.0).abs() < 1e-9
            );
        }
    }

    /// Bars at two places and angles, with noise: four classes of 12 x 12 pixels.
    fn bars(seed: u64, count: usize) -> (Vec<f32>, Vec<u8>) {
        let mut random = Stream::new(key(seed, 1), Purpose::Encoder, 0, 0);
        let labels: Vec<u8> = (0..count).map(|i| (i % 4) as u8).collect();
        let mut images = vec![];
        for label in &labels {
            let shift = random.below(3) as usize;
            for y in 0..12usize {
                for x in 0..12usize {
                    let at = if label % 2 == 0 { y } else { x };
                    let bar = if label / 2 == 0 { 2 + shift } else { 7 + shift };
                    let on = at == bar || at == bar + 1;
                    images.push(on as u8 as f32 * 0.9 + 0.1 * random.uniform() as f32);
                }
            }
        }
        (images, labels)
    }

    fn options() -> Options {
        Options { latents: 12, filters: 8, patch: 5, winners: 2, images: 400, regions: 2, ..Options::new() }
    }

    #[test]
    fn classes_are_recognised_and_dreamt_without_their_images() {
        let (images, labels) = bars(1, 400);
        let mut dreams = Dreams::new(options(), 144, 4, 5).unwrap();
        dreams.begin(&images).unwrap();
        let (latents, spikes) = dreams.encode(&images);
        assert!(spikes > 0 && latents.len() == 400 * 12);
        assert!(dreams.dream(4, &[0, 1]).is_none(), "nothing was learned");
        // In two batches or at once, the same is kept.
        let mut whole = dreams.clone();
        whole.observe(&latents, &labels);
        dreams.observe(&latents[..100 * 12], &labels[..100]);
        dreams.observe(&latents[100 * 12..], &labels[100..]);
        for (a, b) in whole.classes.iter().zip(&dreams.classes) {
            assert!((&a.scatter - &b.scatter).norm() < 1e-9 * a.scatter.norm() && (&a.mean - &b.mean).norm() < 1e-12);
        }
        // The covariance is that of the definition.
        let own: Vec<&[f32]> = latents.chunks(12).zip(&labels).filter(|(_, l)| **l == 2).map(|(row, _)| row).collect();
        let mean = |j: usize| own.iter().map(|row| row[j] as f64).sum::<f64>() / own.len() as f64;
        let cov = own.iter().map(|r| (r[0] as f64 - mean(0)) * (r[3] as f64 - mean(3))).sum::<f64>() / (own.len() - 1) as f64;
        assert!((dreams.classes[2].covariance()[(0, 3)] - cov).abs() < 1e-9);
        dreams.settle().unwrap();
        let (test, truth) = bars(2, 200);
        let right = |scores: &[f32], truth: &[u8]| {
            let best = |row: &[f32]| (0..4).fold(0, |best, c| if row[c] > row[best] { c } else { best });
            scores.chunks(4).zip(truth).filter(|(row, l)| best(row) == **l as usize).count()
        };
        assert!(right(&dreams.classify(&dreams.encode(&test).0), &truth) >= 190);
        let (dreamt, of) = dreams.dream(400, &[0, 1, 2, 3]).unwrap();
        assert_eq!([0, 1, 2, 3].map(|c| of.iter().filter(|l| **l == c).count()), [100; 4]);
        assert!(right(&dreams.classify(&dreamt), &of) >= 380);
        assert_eq!(dreams.bytes(), 4 * 4 * (12 + 78));
    }

    #[test]
    fn a_restored_path_dreams_on() {
        let (images, labels) = bars(3, 120);
        let mut dreams = Dreams::new(options(), 144, 5, 6).unwrap();
        dreams.begin(&images).unwrap();
        let latents = dreams.encode(&images).0;
        dreams.observe(&latents, &labels);
        dreams.settle().unwrap();
        dreams.dream(7, &[1, 2]);
        let mut other = Dreams::new(options(), 144, 5, 6).unwrap();
        other.restore(&dreams.state()).unwrap();
        assert_eq!(other.known(), [0, 1, 2, 3], "class 4 was not seen");
        assert_eq!(other.dream(9, &[0, 3]), dreams.dream(9, &[0, 3]));
        assert_eq!(other.encode(&images), dreams.encode(&images));
        assert_eq!(other.classify(&latents), dreams.classify(&latents));
        let mut damaged = dreams.state();
        damaged.0.remove("dream.1.root");
        assert!(other.restore(&damaged).is_err());
    }

    #[test]
    fn what_cannot_be_a_path_is_refused() {
        let message = |change: fn(&mut Options), pixels: usize| {
            let mut options = options();
            change(&mut options);
            Dreams::new(options, pixels, 2, 1).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(message(|_| (), 143).contains("not square"));
        assert!(message(|o| o.patch = 13, 144).contains("do not fit"));
        assert!(message(|o| o.winners = 9, 144).contains("9 winners of 8"));
        assert!(message(|o| o.latents = 33, 144).contains("33 latents of 32"));
        assert!(message(|o| o.steps = 0, 144).contains("steps is 0"));
        let mut flat = Dreams::new(options(), 144, 2, 1).unwrap();
        assert!(flat.begin(&[0.5; 1440]).unwrap_err().to_string().contains("empty"));
    }
}
