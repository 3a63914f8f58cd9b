//! Orthogonal projection: the presynaptic factor x of a rule becomes x - H'(Hx), so that inputs in the span of H keep their
//! outputs. Three ways to obtain H: Hebbian subspace learning, recursive least squares, singular vectors. Knows presynaptic
//! factors as numbers; no rule, no engine.
//!
//! What bypasses the projected weights has to be projected or frozen as well: give a bias to the layer as one more input that is
//! constantly 1, and let thresholds and readouts that stay plastic stand as layers of their own.

use super::associative::{add, dot};
use super::local::{times, times_transposed};
use super::{Link, Projector, Protection, state};
use crate::error::{Error, Result};
use crate::rng::{self, Purpose, Stream};
use nalgebra::{Cholesky, DMatrix, DMatrixView, DVector, SymmetricEigen};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows of H stay this near to orthonormal (Frobenius norm of HH' - I).
pub const ORTHONORMAL: f64 = 1e-4;
/// Directions with less than this part of the whole energy are noise of the arithmetic.
const NOTHING: f64 = 1e-12;
/// Samples of a batch that one thread projects at a time.
const CHUNK: usize = 64;

/// Second moment of presynaptic factors, mean x x' (inputs x inputs), of `x` (count x inputs, row-major).
pub fn second_moment(x: &[f32], inputs: usize) -> Result<DMatrix<f64>> {
    let samples = columns(x, inputs)?;
    Ok(&samples * samples.transpose() / samples.ncols() as f64)
}

/// Samples as columns in double precision; refused where they are none, do not fit, or are not numbers.
fn columns(x: &[f32], inputs: usize) -> Result<DMatrix<f64>> {
    if inputs == 0 || x.is_empty() || !x.len().is_multiple_of(inputs) {
        let message = format!("projection: {} numbers are no samples of {inputs} inputs", x.len());
        return Err(Error::input(message, "give count x inputs presynaptic factors, count at least 1"));
    }
    if let Some(at) = x.iter().position(|v| !v.is_finite()) {
        let message = format!("projection: input {} of sample {} is {}", at % inputs, at / inputs, x[at]);
        return Err(Error::Run { message, remedy: "lower the learning rate, or look at what drives that input".into() });
    }
    Ok(DMatrix::from_iterator(inputs, x.len() / inputs, x.iter().map(|&v| v as f64)))
}

/// How Hebbian subspace learning goes (HLOP; Xiao et al. 2024, "Hebbian learning based orthogonal projection", eq. 5).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hebbian {
    /// Learning rate in units of 1 / norm of mean(y y'); below 2.
    pub eta: f64,
    /// Inner iterations a block of new rows at most.
    pub iterations: usize,
    /// Rows learned together; blocks are added until the energy is kept.
    pub block: usize,
    /// Seed of the rows' beginnings.
    pub seed: u64,
}

impl Default for Hebbian {
    fn default() -> Self {
        Hebbian { eta: 1.0, iterations: 50, block: 64, seed: 0 }
    }
}

/// Orthonormal rows H (rank x inputs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    inputs: usize,
    rows: Vec<f32>,
}

impl Basis {
    /// The empty basis: projecting changes nothing.
    pub fn new(inputs: usize) -> Self {
        Basis { inputs, rows: Vec::new() }
    }

    /// Rows as saved (rank x inputs); refused where they are not orthonormal.
    pub fn from_rows(inputs: usize, rows: Vec<f32>) -> Result<Self> {
        let basis = Basis { inputs, rows };
        if inputs == 0
            || !basis.rows.len().is_multiple_of(inputs)
            || basis.deviation().is_nan()
            || basis.deviation() > ORTHONORMAL
        {
            let message = format!("projection: {} numbers are no orthonormal rows of {inputs} inputs", basis.rows.len());
            return Err(Error::input(message, "restore the rows that were saved, for the same layer"));
        }
        Ok(basis)
    }

    /// Length of a row: inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of rows.
    pub fn rank(&self) -> usize {
        self.rows.len() / self.inputs.max(1)
    }

    /// H, rank x inputs, row-major.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// ‖HH' - I‖ (Frobenius).
    pub fn deviation(&self) -> f64 {
        deviation(&self.matrix())
    }

    /// Part of the energy of `moment` that lies in the span: trace(H C H') / trace(C); 1 where there is none.
    pub fn energy(&self, moment: &DMatrix<f64>) -> f64 {
        let total = moment.trace();
        if total > 0.0 { inner(&self.matrix(), moment).trace() / total } else { 1.0 }
    }

    /// x - H'(Hx) for every row of `x` (batch x inputs, row-major), in place.
    pub fn project(&self, x: &mut [f32]) {
        let (n, rank) = (self.inputs, self.rank());
        if rank == 0 {
            return;
        }
        assert_eq!(x.len() % n, 0, "rows of the batch have the layer's inputs");
        let y = times_transposed(x, &self.rows, n, rank);
        x.iter_mut().zip(times(&y, &self.rows, rank, n)).for_each(|(x, known)| *x -= known);
    }

    /// The same for a few rows of `x`, by the rows of H from `first` on; H is read twice in all.
    pub fn project_rows(&self, x: &mut [f32], first: usize) {
        let (n, h) = (self.inputs, &self.rows[first * self.inputs..]);
        let (rank, count) = (h.len() / n, x.len() / n);
        if rank == 0 || count == 0 {
            return;
        }
        if count == 1 {
            // One thread is enough, and row after row the more exact way.
            return h.chunks_exact(n).for_each(|h| add(x, -dot(h, x), h));
        }
        let mut y = vec![0.0f32; rank * count];
        let seen = &*x;
        y.par_chunks_mut(32 * count).zip(h.par_chunks(32 * n)).for_each(|(y, h)| {
            for (y, h) in y.chunks_exact_mut(count).zip(h.chunks_exact(n)) {
                y.iter_mut().zip(seen.chunks_exact(n)).for_each(|(y, x)| *y = dot(h, x));
            }
        });
        let share = count.div_ceil(rayon::current_num_threads());
        x.par_chunks_mut(share * n).enumerate().for_each(|(part, x)| {
            for (h, y) in h.chunks_exact(n).zip(y.chunks_exact(count)) {
                x.chunks_exact_mut(n).zip(&y[part * share..]).for_each(|(x, y)| add(x, -y, h));
            }
        });
    }

    /// Add the direction of x, which must be orthogonal to the rows so far, as one more row. A zero adds none.
    pub fn append(&mut self, x: &[f32]) {
        let norm = dot(x, x).sqrt();
        if norm > 0.0 {
            self.rows.extend(x.iter().map(|x| x / norm));
        }
    }

    /// One inner iteration of Hebbian learning on a batch: dH = eta mean(y (x - H'y)'), y = Hx over all rows; rows before
    /// `frozen` stay. The rows are re-orthonormalised, old ones first, before they leave [`ORTHONORMAL`]; a row that the others
    /// span already is dropped.
    pub fn hebbian_step(&mut self, x: &[f32], frozen: usize, eta: f64) -> Result<()> {
        let x = columns(x, self.inputs)?;
        let h = self.matrix();
        let y = h.transpose() * &x;
        let change = (&x - &h * &y) * y.transpose() * (eta / x.ncols() as f64);
        let mut next = h;
        let rank = next.ncols();
        let frozen = frozen.min(rank);
        let mut learned = next.columns_mut(frozen, rank - frozen);
        learned += change.columns(frozen, rank - frozen);
        self.settle(next, frozen);
        Ok(())
    }

    /// The rows after a Hebbian step that was taken elsewhere (rank x inputs), those before `frozen` unchanged: re-orthonormalised as by
    /// [`Basis::hebbian_step`].
    pub fn become_rows(&mut self, rows: &[f32], frozen: usize) {
        assert_eq!(rows.len(), self.rows.len(), "a step keeps the rank");
        self.rows.copy_from_slice(rows);
        self.settle(self.matrix(), frozen.min(self.rank()));
    }

    fn settle(&mut self, mut next: DMatrix<f64>, frozen: usize) {
        let rank = next.ncols();
        if deviation(&next) > ORTHONORMAL / 2.0 {
            let old = next.columns(0, frozen).into_owned();
            let new = orthonormal(next.columns(frozen, rank - frozen).into_owned(), &old);
            next = next.resize_horizontally(frozen + new.ncols(), 0.0);
            next.columns_mut(frozen, new.ncols()).copy_from(&new);
        }
        self.set(&next);
    }

    /// Add rows by Hebbian subspace learning until `energy` of the trace of `moment` is kept or there are `budget` rows; old rows
    /// are frozen. The batch mean of y (x - H'y)' is taken through the second moment, which is the same number. Returns the rows added.
    pub fn extend_hebbian(&mut self, moment: &DMatrix<f64>, energy: f64, budget: usize, how: &Hebbian) -> usize {
        let (before, total) = (self.rank(), moment.trace());
        let budget = budget.min(self.inputs);
        let mut residual = deflated(moment, &self.matrix());
        while self.rank() < budget && residual.trace() > total * (1.0 - energy).max(NOTHING) {
            let (old, rank) = (self.matrix(), self.rank());
            let width = how.block.clamp(1, budget - rank);
            let mut h = orthonormal(product(&residual, &beginnings(self.inputs, width, how.seed, rank)), &old);
            for _ in 0..how.iterations {
                let drive = product(&residual, &h); // mean x y', orthogonal to the old rows
                let square = h.transpose() * &drive; // mean y y'
                let change = (drive - &h * &square) * (how.eta / square.norm().max(f64::MIN_POSITIVE));
                h += &change;
                if deviation(&h) > ORTHONORMAL / 10.0 {
                    h = orthonormal(h, &DMatrix::zeros(self.inputs, 0));
                }
                if change.norm() < 1e-7 {
                    break;
                }
            }
            if self.append_principal(&orthonormal(h, &old), &residual, energy, total) == 0 {
                break;
            }
            residual = deflated(&residual, &self.matrix().columns(rank, self.rank() - rank).into_owned());
        }
        self.rank() - before
    }

    /// Add the principal directions of what the basis leaves of `moment`, until `energy` of its trace is kept or there are `budget`
    /// rows (GPM; Saha et al. 2021, "Gradient projection memory", eq. 9). Returns the rows added.
    pub fn extend_svd(&mut self, moment: &DMatrix<f64>, energy: f64, budget: usize) -> usize {
        let before = self.rank();
        let room = budget.min(self.inputs).saturating_sub(before);
        if room > 0 && self.energy(moment) < energy {
            let old = self.matrix();
            let residual = deflated(moment, &old);
            let (_, vectors) = principal(residual.clone());
            let h = orthonormal(vectors.columns(0, room).into_owned(), &old);
            self.append_principal(&h, &residual, energy, moment.trace());
        }
        self.rank() - before
    }

    /// Turn orthonormal columns `h` to their principal axes and append as many, strongest first, as keep `energy`; none that carry nothing.
    /// `residual` is what the rows so far leave of a moment with trace `total`.
    fn append_principal(&mut self, h: &DMatrix<f64>, residual: &DMatrix<f64>, energy: f64, total: f64) -> usize {
        if h.ncols() == 0 {
            return 0;
        }
        let (strengths, turn) = principal(inner(h, residual));
        let mut kept = total - residual.trace();
        let mut take = 0;
        while take < strengths.len() && kept < energy * total && strengths[take] > NOTHING * total {
            kept += strengths[take];
            take += 1;
        }
        let new = h * turn.columns(0, take);
        self.rows.extend(new.iter().map(|&v| v as f32));
        take
    }

    /// H' (inputs x rank).
    fn matrix(&self) -> DMatrix<f64> {
        DMatrix::from_iterator(self.inputs, self.rank(), self.rows.iter().map(|&v| v as f64))
    }

    fn set(&mut self, columns: &DMatrix<f64>) {
        self.rows = columns.iter().map(|&v| v as f32).collect();
    }
}

/// ‖H'H - I‖ of columns.
fn deviation(h: &DMatrix<f64>) -> f64 {
    (h.transpose() * h - DMatrix::identity(h.ncols(), h.ncols())).norm()
}

/// A product, its columns computed by pieces in parallel: the same at any number of threads.
pub(super) fn product(a: &DMatrix<f64>, b: &DMatrix<f64>) -> DMatrix<f64> {
    const PIECE: usize = 32;
    let (rows, inner) = (a.nrows(), b.nrows());
    let mut all = DMatrix::zeros(rows, b.ncols());
    if rows > 0 && inner > 0 {
        let pieces = all.as_mut_slice().par_chunks_mut(rows * PIECE).zip(b.as_slice().par_chunks(inner * PIECE));
        pieces.for_each(|(c, b)| {
            let count = b.len() / inner;
            nalgebra::DMatrixViewMut::from_slice(c, rows, count).gemm(1.0, a, &DMatrixView::from_slice(b, inner, count), 0.0);
        });
    }
    all
}

/// H' C H of columns.
fn inner(h: &DMatrix<f64>, c: &DMatrix<f64>) -> DMatrix<f64> {
    product(&h.transpose(), &product(c, h))
}

/// (I - HH') C (I - HH') of orthonormal columns.
fn deflated(c: &DMatrix<f64>, h: &DMatrix<f64>) -> DMatrix<f64> {
    let back = h.transpose();
    let left = c - product(h, &product(&back, c));
    let both = &left - product(&product(&left, h), &back);
    (&both + both.transpose()) * 0.5
}

/// Orthonormal columns with the span of `h` outside that of `old` (orthonormal): Gram-Schmidt, twice; columns that the ones
/// before them span already are left out.
pub(super) fn orthonormal(h: DMatrix<f64>, old: &DMatrix<f64>) -> DMatrix<f64> {
    let norms: Vec<f64> = h.column_iter().map(|c| c.norm()).collect();
    let (mut h, back) = (h, old.transpose());
    for _ in 0..2 * old.ncols().min(1) {
        h -= product(old, &product(&back, &h));
    }
    let mut taken = 0;
    for (i, norm) in norms.into_iter().enumerate() {
        let mut v = h.column(i).into_owned();
        for _ in 0..2 {
            let known = h.columns(0, taken);
            v -= known * known.tr_mul(&v);
        }
        let left = v.norm();
        if left > 1e-6 * norm {
            h.set_column(taken, &(v / left));
            taken += 1;
        }
    }
    h.resize_horizontally(taken, 0.0)
}

/// Eigenvalues of a symmetric matrix from the largest, and their vectors as columns.
fn principal(c: DMatrix<f64>) -> (Vec<f64>, DMatrix<f64>) {
    let eigen = SymmetricEigen::new(c);
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    (order.iter().map(|&i| eigen.eigenvalues[i]).collect(), eigen.eigenvectors.select_columns(&order))
}

fn beginnings(inputs: usize, width: usize, seed: u64, row: usize) -> DMatrix<f64> {
    let mut stream = Stream::new(rng::key(seed, inputs as u32), Purpose::Initial, row as u32, 0);
    DMatrix::from_fn(inputs, width, |_, _| stream.normal())
}

/// The recursive update g = P k, P -= g g' / (mu + k'g), with exact removal. P is at once the projection of OWM (Zeng et al. 2019),
/// the posterior covariance of a linear memory with noise variance mu, and the inverse of EWC's precision there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Saved", try_from = "Saved")]
pub struct Recursive {
    covariance: DMatrix<f64>,
    mu: f64,
    /// P in single precision for [`Recursive::apply`]; empty when P has changed since.
    single: Vec<f32>,
}

impl Recursive {
    /// P starts as the identity.
    pub fn new(inputs: usize, mu: f64) -> Result<Self> {
        Self::from_covariance(DMatrix::identity(inputs, inputs), mu)
    }

    /// P starts as a prior covariance (symmetric, inputs x inputs).
    pub fn from_covariance(covariance: DMatrix<f64>, mu: f64) -> Result<Self> {
        if !(mu.is_finite() && mu > 0.0) {
            return Err(Error::input(format!("projection: mu = {mu}"), "give mu above 0"));
        }
        if !covariance.is_square() || covariance.is_empty() || covariance.iter().any(|v| !v.is_finite()) {
            return Err(Error::input(
                "projection: the covariance is no square matrix of numbers",
                "give inputs x inputs finite values",
            ));
        }
        Ok(Recursive { covariance, mu, single: Vec::new() })
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.covariance.nrows()
    }

    /// P, inputs x inputs.
    pub fn covariance(&self) -> &DMatrix<f64> {
        &self.covariance
    }

    /// Put one key into P; returns g / (mu + k'g), the direction in which a linear memory writes.
    pub fn add(&mut self, key: &[f32]) -> Result<DVector<f64>> {
        let k = self.key(key)?;
        let g = &self.covariance * &k;
        let scale = 1.0 / (self.mu + k.dot(&g));
        self.covariance.ger(-scale, &g, &g, 1.0);
        self.single.clear();
        Ok(g * scale)
    }

    /// Take one key that was added out of P again, exactly and in any order; returns g / (mu - k'g). Refused where P never held it.
    pub fn remove(&mut self, key: &[f32]) -> Result<DVector<f64>> {
        let k = self.key(key)?;
        let g = &self.covariance * &k;
        let left = self.mu - k.dot(&g);
        if left <= 1e-12 * self.mu {
            return Err(Error::input(
                "linear memory: the key to delete was never written",
                "delete only keys that were added, once each",
            ));
        }
        self.covariance.ger(1.0 / left, &g, &g, 1.0);
        self.single.clear();
        Ok(g / left)
    }

    /// Put many keys (columns) into P, a block at a time: P -= PK (mu I + K'PK)^-1 K'P.
    fn add_columns(&mut self, keys: &DMatrix<f64>) -> Result<()> {
        for start in (0..keys.ncols()).step_by(128) {
            let k = keys.columns(start, 128.min(keys.ncols() - start));
            let g = &self.covariance * k;
            let mut s = k.transpose() * &g;
            (0..s.nrows()).for_each(|i| s[(i, i)] += self.mu);
            let s = Cholesky::new((&s + s.transpose()) * 0.5).ok_or_else(|| Error::Run {
                message: "projection: P is no longer positive definite".into(),
                remedy: "raise mu".into(),
            })?;
            self.covariance -= &g * s.solve(&g.transpose());
        }
        self.covariance = (&self.covariance + self.covariance.transpose()) * 0.5;
        self.single.clear();
        Ok(())
    }

    /// P in single precision.
    fn single(&mut self) -> &[f32] {
        if self.single.is_empty() {
            self.single = self.covariance.iter().map(|&v| v as f32).collect();
        }
        &self.single
    }

    /// P x for every row of `x` (batch x inputs, row-major), in place.
    pub fn apply(&mut self, x: &mut [f32]) {
        let n = self.inputs();
        assert_eq!(x.len() % n, 0, "rows of the batch have the layer's inputs");
        let p = DMatrixView::from_slice(self.single(), n, n);
        x.par_chunks_mut(n * CHUNK).for_each(|chunk| {
            let y = p * DMatrixView::from_slice(chunk, n, chunk.len() / n);
            chunk.copy_from_slice(y.as_slice());
        });
    }

    fn key(&self, key: &[f32]) -> Result<DVector<f64>> {
        if key.len() != self.inputs() || key.iter().any(|v| !v.is_finite()) {
            let message = format!("linear memory: a key of {} numbers for {} inputs", key.len(), self.inputs());
            return Err(Error::input(message, "give one finite number an input"));
        }
        Ok(DVector::from_iterator(key.len(), key.iter().map(|&v| v as f64)))
    }
}

/// A [`Recursive`] as it is saved.
#[derive(Serialize, Deserialize)]
struct Saved {
    inputs: usize,
    mu: f64,
    covariance: Vec<f64>,
}

impl From<Recursive> for Saved {
    fn from(r: Recursive) -> Self {
        Saved { inputs: r.inputs(), mu: r.mu, covariance: r.covariance.as_slice().to_vec() }
    }
}

impl TryFrom<Saved> for Recursive {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        if saved.inputs.checked_mul(saved.inputs) != Some(saved.covariance.len()) {
            let message = format!("projection: {} numbers for {} inputs squared", saved.covariance.len(), saved.inputs);
            return Err(Error::input(message, "restore the whole matrix that was saved"));
        }
        Recursive::from_covariance(DMatrix::from_vec(saved.inputs, saved.inputs, saved.covariance), saved.mu)
    }
}

/// How H is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Local: rows learn from the inputs by a Hebbian rule.
    Hebbian(Hebbian),
    /// mu in units of the task's mean energy an input: a direction with s times that energy keeps mu / (mu + s) of a step.
    Recursive {
        /// Above 0; smaller protects more.
        mu: f64,
    },
    /// Exact: singular vectors of all inputs of the task.
    Svd,
}

/// How projections are made; [`Options::hebbian`], [`Options::svd`] and [`Options::recursive`] give what is usual of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Options {
    /// How the protected directions are found.
    pub method: Method,
    /// Energy to keep, per layer; the last one serves the layers above (0.95 for a wide input layer, 0.99 above).
    pub energy: Vec<f64>,
    /// Rows at most, per layer (the last serves the layers above); empty: as many as inputs.
    pub budget: Vec<usize>,
    /// Warn when less than this part of the dimension is free.
    pub low: f64,
    /// Project steps as well: for rules whose steps are not a sum of d x' (momentum and adaptive rates of single weights, decay).
    pub steps: bool,
}

impl Options {
    /// Rows without a budget, energies as given, steps left alone.
    pub fn new(method: Method, energy: Vec<f64>) -> Self {
        Options { method, energy, budget: Vec::new(), low: 0.05, steps: false }
    }

    /// Rows that learn by [`Hebbian::default`]; `energy` to keep, per layer.
    pub fn hebbian(energy: Vec<f64>) -> Self {
        Self::new(Method::Hebbian(Hebbian::default()), energy)
    }

    /// Rows by singular value decomposition; `energy` to keep, per layer.
    pub fn svd(energy: Vec<f64>) -> Self {
        Self::new(Method::Svd, energy)
    }

    /// Recursive least squares with this `mu` (see [`Method::Recursive`]); the budget of rows is without effect.
    pub fn recursive(mu: f64) -> Self {
        Self::new(Method::Recursive { mu }, vec![1.0])
    }
}

/// What a layer has left after a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Index of the layer, from the input on.
    pub layer: usize,
    /// Tasks protected so far, this one included.
    pub tasks: usize,
    /// Dimensions taken: rows of H; for recursive least squares inputs - trace(P).
    pub rank: f64,
    /// Part of the last task's input energy that is protected.
    pub energy: f64,
    /// Dimensions left.
    pub free: f64,
    /// What the user should hear; None where all is well.
    pub warning: Option<Warning>,
}

/// Something a user should hear about after a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// The budget of rows ended before the energy was kept: old tasks are protected in part only.
    Budget {
        /// Part of the energy that was asked for.
        wanted: f64,
        /// Part of the energy that the rows keep.
        kept: f64,
    },
    /// Hardly a direction is left for later tasks.
    Free {
        /// Dimensions left.
        free: f64,
        /// Dimensions in all.
        inputs: usize,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Warning::Budget { wanted, kept } => {
                write!(
                    f,
                    "the rank budget ended at {:.1} % of the energy, {:.1} % were asked for; raise `budget`",
                    kept * 100.0,
                    wanted * 100.0
                )
            }
            Warning::Free { free, inputs } => {
                write!(f, "only {free:.0} of {inputs} dimensions are free for later tasks; lower `energy` or widen the layer")
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Basis(Basis),
    Recursive(Recursive),
}

/// Orthogonal projection of every layer that has inputs; see [`Method`]. Plain data: save and restore it whole (serde), and call
/// [`Projection::check`] on what was restored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Projection {
    options: Options,
    layers: Vec<State>,
    tasks: usize,
    reports: Vec<Report>,
}

impl Projection {
    /// One layer for each of `inputs`. Refused: energies outside (0, 1], a budget above the inputs, mu or eta out of range.
    pub fn new(inputs: &[usize], options: Options) -> Result<Self> {
        if options.energy.is_empty() || options.energy.iter().any(|e| !(*e > 0.0 && *e <= 1.0)) {
            return Err(Error::input(format!("projection: energy = {:?}", options.energy), "give a part in (0, 1] a layer"));
        }
        for (layer, &n) in inputs.iter().enumerate() {
            if n == 0 || options.budget(layer, n) > n {
                let message = format!("projection: rank {} for layer {layer} of {n} inputs", options.budget(layer, n));
                return Err(Error::input(message, "lower `budget` to at most the layer's inputs"));
            }
        }
        if let Method::Hebbian(h) = options.method
            && !(h.eta > 0.0 && h.eta < 2.0 && h.iterations > 0 && h.block > 0)
        {
            return Err(Error::input(
                format!("projection: {h:?}"),
                "give eta in (0, 2) and at least one iteration and one row a block",
            ));
        }
        let layers = inputs.iter().map(|&n| match options.method {
            Method::Recursive { mu } => Ok(State::Recursive(Recursive::new(n, mu)?)),
            _ => Ok(State::Basis(Basis::new(n))),
        });
        Ok(Projection { layers: layers.collect::<Result<_>>()?, options, tasks: 0, reports: Vec::new() })
    }

    /// Refuse a restored projection whose rows are not orthonormal.
    pub fn check(&self) -> Result<()> {
        self.layers.iter().try_for_each(|layer| match layer {
            State::Basis(basis) => Basis::from_rows(basis.inputs, basis.rows.clone()).map(|_| ()),
            State::Recursive(_) => Ok(()),
        })
    }

    /// One report a layer and task, in that order.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// H of a layer (none for recursive least squares).
    pub fn basis(&self, layer: usize) -> Option<&Basis> {
        match self.layers.get(layer)? {
            State::Basis(basis) => Some(basis),
            State::Recursive(_) => None,
        }
    }

    fn inputs(&self, layer: usize) -> usize {
        match &self.layers[layer] {
            State::Basis(basis) => basis.inputs,
            State::Recursive(recursive) => recursive.inputs(),
        }
    }

    fn project(&mut self, layer: usize, x: &mut [f32], inputs: usize) {
        match self.layers.get_mut(layer) {
            Some(State::Basis(basis)) => {
                assert_eq!(basis.inputs, inputs, "a layer keeps its inputs");
                basis.project(x);
            }
            Some(State::Recursive(recursive)) if self.tasks > 0 => {
                assert_eq!(recursive.inputs(), inputs, "a layer keeps its inputs");
                recursive.apply(x);
            }
            _ => {}
        }
    }

    /// Protect what spans these samples (count x inputs, row-major) in one layer; returns (rank, energy kept).
    fn protect(&mut self, layer: usize, samples: &[f32]) -> Result<(f64, f64)> {
        let energy = *of_layer(&self.options.energy, layer).unwrap_or(&1.0);
        match &mut self.layers[layer] {
            State::Basis(basis) => {
                let moment = second_moment(samples, basis.inputs)?;
                let budget = self.options.budget(layer, basis.inputs);
                match &self.options.method {
                    Method::Hebbian(how) => basis.extend_hebbian(&moment, energy, budget, how),
                    _ => basis.extend_svd(&moment, energy, budget),
                };
                Ok((basis.rank() as f64, basis.energy(&moment)))
            }
            State::Recursive(recursive) => {
                let mut keys = columns(samples, recursive.inputs())?;
                let total = keys.norm_squared();
                if total == 0.0 {
                    return Ok((recursive.inputs() as f64 - recursive.covariance.trace(), 1.0));
                }
                keys *= (recursive.inputs() as f64 / total).sqrt();
                recursive.add_columns(&keys)?;
                let left = (&recursive.covariance * &keys).norm_squared() / keys.norm_squared();
                Ok((recursive.inputs() as f64 - recursive.covariance.trace(), 1.0 - left))
            }
        }
    }

    fn warning(&self, layer: usize, inputs: usize, rank: f64, kept: f64) -> Option<Warning> {
        let wanted = *of_layer(&self.options.energy, layer)?;
        let free = inputs as f64 - rank;
        if self.basis(layer).is_some() && kept < wanted - 1e-6 && rank as usize >= self.options.budget(layer, inputs) {
            return Some(Warning::Budget { wanted, kept });
        }
        (free < self.options.low * inputs as f64).then_some(Warning::Free { free, inputs })
    }
}

impl Options {
    fn budget(&self, layer: usize, inputs: usize) -> usize {
        of_layer(&self.budget, layer).copied().unwrap_or(inputs)
    }
}

/// A layer's value; the last one serves the layers above.
fn of_layer<T>(values: &[T], layer: usize) -> Option<&T> {
    values.get(layer).or(values.last())
}

impl Protection for Projection {
    fn presynaptic(&mut self, layer: usize, x: &mut [f32], inputs: usize) {
        self.project(layer, x, inputs);
    }

    fn step(&mut self, layer: usize, weights: &super::Layer, step: &mut [f32]) {
        if self.options.steps {
            self.project(layer, step, weights.inputs);
        }
    }

    fn links(&mut self, layer: usize) -> Result<Vec<Link<'_>>> {
        let projector = match self.layers.get_mut(layer) {
            Some(State::Basis(basis)) if basis.rank() > 0 => Projector::Basis(basis),
            Some(State::Recursive(recursive)) if self.tasks > 0 => Projector::Matrix(recursive.single()),
            _ => return Ok(vec![]),
        };
        let mut links = vec![Link::Factors(projector)];
        links.extend(self.options.steps.then_some(Link::Steps(projector)));
        Ok(links)
    }

    fn end_of_task(&mut self, _layers: &[super::Layer], samples: &mut dyn FnMut(usize) -> Vec<f32>) -> Result<()> {
        let mut reports = Vec::new();
        for layer in 0..self.layers.len() {
            let inputs = self.inputs(layer);
            let (rank, energy) = self.protect(layer, &samples(layer))?;
            let warning = self.warning(layer, inputs, rank, energy);
            reports.push(Report { layer, tasks: self.tasks + 1, rank, energy, free: inputs as f64 - rank, warning });
        }
        self.tasks += 1;
        self.reports.extend(reports);
        Ok(())
    }

    fn state(&self) -> state::State {
        let mut saved = state::State::default();
        for (l, layer) in self.layers.iter().enumerate() {
            match layer {
                State::Basis(b) => saved.put(format!("{l}.rows"), &[b.rank(), b.inputs], &b.rows),
                State::Recursive(r) => saved.put(format!("{l}.covariance"), &[r.inputs(); 2], r.covariance.as_slice()),
            }
        }
        let reports: Vec<f64> =
            self.reports.iter().flat_map(|r| [r.layer as f64, r.tasks as f64, r.rank, r.energy, r.free]).collect();
        saved.put("reports", &[self.reports.len(), 5], &reports);
        saved.put("tasks", &[1], &[self.tasks as u64]);
        saved
    }

    fn bytes(&self) -> usize {
        let of = |layer: &State| match layer {
            State::Basis(b) => size_of_val(&b.rows[..]),
            State::Recursive(r) => size_of_val(r.covariance.as_slice()),
        };
        self.layers.iter().map(of).sum::<usize>() + 8 * (5 * self.reports.len() + 1)
    }

    fn restore(&mut self, saved: &state::State) -> Result<()> {
        let mut layers = vec![];
        for (l, layer) in self.layers.iter().enumerate() {
            layers.push(match layer {
                State::Basis(b) => State::Basis(Basis::from_rows(b.inputs, saved.any(&format!("{l}.rows"))?.to_vec())?),
                State::Recursive(r) => {
                    let n = r.inputs();
                    let covariance = saved.get(&format!("{l}.covariance"), n * n)?.to_vec();
                    State::Recursive(Recursive::from_covariance(DMatrix::from_vec(n, n, covariance), r.mu)?)
                }
            });
        }
        let tasks = saved.get::<u64>("tasks", 1)?[0] as usize;
        let rows = saved.get::<f64>("reports", tasks.saturating_mul(5 * layers.len()))?;
        let reports = rows.chunks_exact(5).enumerate().map(|(i, row)| {
            let layer = i % layers.len();
            let warning = self.warning(layer, self.inputs(layer), row[2], row[3]);
            Report { layer, tasks: row[1] as usize, rank: row[2], energy: row[3], free: row[4], warning }
        });
        (self.reports, self.tasks, self.layers) = (reports.collect(), tasks, layers);
        Ok(())
    }

    fn report(&self) -> Vec<String> {
        let last = &self.reports[self.reports.len() - self.layers.len().min(self.reports.len())..];
        let line = |r: &Report| {
            let kept = 100.0 * r.energy;
            let one =
                format!("projection, layer {}: rank {:.0}, {:.0} free, {kept:.1} % of the energy kept", r.layer, r.rank, r.free);
            let warning = r.warning.map(|w| format!("warning: projection, layer {}: {w}", r.layer));
            std::iter::once(one).chain(warning)
        };
        last.iter().flat_map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layer;
    use super::*;

    fn normals(count: usize, owner: u32) -> Vec<f32> {
        let mut stream = Stream::new(rng::key(5, owner), Purpose::Initial, 0, 0);
        (0..count).map(|_| stream.normal() as f32).collect()
    }

    /// Samples whose energy falls by `fall` from one hidden axis to the next.
    fn samples(count: usize, inputs: usize, fall: f64, owner: u32) -> Vec<f32> {
        let mixing = orthonormal(
            DMatrix::from_iterator(inputs, inputs, normals(inputs * inputs, owner).iter().map(|&v| v as f64)),
            &DMatrix::zeros(inputs, 0),
        );
        let mut hidden = DMatrix::from_iterator(inputs, count, normals(count * inputs, owner + 1).iter().map(|&v| v as f64));
        for mut column in hidden.column_iter_mut() {
            column.iter_mut().enumerate().for_each(|(i, v)| *v *= fall.powi(i as i32));
        }
        (mixing * hidden).iter().map(|&v| v as f32).collect()
    }

    fn output(weights: &Layer, x: &[f32]) -> Vec<f64> {
        let rows = weights.weight.chunks(weights.inputs);
        rows.map(|w| w.iter().zip(x).map(|(w, x)| *w as f64 * *x as f64).sum()).collect()
    }

    /// Learn random steps behind a projection; the largest change of an old input's output against the same steps unprotected.
    fn change_of_old(options: Options, old: &[f32], inputs: usize) -> (f64, f64) {
        let outputs = 7;
        let start = Layer { inputs, outputs, weight: normals(inputs * outputs, 90) };
        let mut projection = Projection::new(&[inputs], options).unwrap();
        projection.end_of_task(std::slice::from_ref(&start), &mut |_| old.to_vec()).unwrap();
        let (mut guarded, mut plain) = (start.clone(), start.clone());
        for t in 0..20 {
            let (x, d) = (normals(5 * inputs, 100 + t), normals(5 * outputs, 200 + t));
            let mut x_projected = x.clone();
            projection.presynaptic(0, &mut x_projected, inputs);
            for (layer, x, guard) in [(&mut guarded, &x_projected, true), (&mut plain, &x, false)] {
                let mut step = vec![0.0; inputs * outputs];
                for (d, x) in d.chunks(outputs).zip(x.chunks(inputs)) {
                    step.chunks_mut(inputs)
                        .zip(d)
                        .for_each(|(row, d)| row.iter_mut().zip(x).for_each(|(s, x)| *s -= 0.01 * d * x));
                }
                if guard { projection.apply(0, layer, &step) } else { layer.add(&step) }
            }
        }
        let change = |layer: &Layer| {
            let moved = |x| output(layer, x).into_iter().zip(output(&start, x)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            old.chunks(inputs).map(moved).fold(0.0, f64::max)
        };
        (change(&guarded), change(&plain))
    }

    #[test]
    fn outputs_of_old_inputs_stay() {
        let (inputs, old) = (30, samples(12, 30, 0.9, 1)); // 12 samples span at most 12 of 30 dimensions
        for options in [Options::svd(vec![1.0]), Options::hebbian(vec![1.0])] {
            let (guarded, plain) = change_of_old(options.clone(), &old, inputs);
            assert!(guarded < 1e-5 && plain > 0.1, "{options:?}: {guarded} against {plain}");
        }
        let (guarded, plain) = change_of_old(Options::recursive(1e-7), &old, inputs);
        assert!(guarded < 1e-5 * plain.max(1.0), "recursive: {guarded} against {plain}");
    }

    #[test]
    fn steps_are_projected_too_where_asked() {
        let old = samples(3, 8, 0.9, 40);
        let mut projection = Projection::new(&[8], Options { steps: true, ..Options::svd(vec![1.0]) }).unwrap();
        let start = Layer { inputs: 8, outputs: 2, weight: normals(16, 41) };
        projection.end_of_task(std::slice::from_ref(&start), &mut |_| old.clone()).unwrap();
        let mut layer = start.clone();
        projection.apply(0, &mut layer, &normals(16, 42));
        assert!(layer != start);
        for x in old.chunks(8) {
            assert!(output(&layer, x).iter().zip(output(&start, x)).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn hebbian_learning_finds_the_principal_subspace() {
        let (inputs, rank) = (24, 6);
        let moment = second_moment(&samples(400, inputs, 0.75, 7), inputs).unwrap();
        let mut hebbian = Basis::new(inputs);
        assert_eq!(
            hebbian.extend_hebbian(&moment, 1.0, rank, &Hebbian { block: rank, iterations: 3000, ..Hebbian::default() }),
            rank
        );
        let mut svd = Basis::new(inputs);
        svd.extend_svd(&moment, 1.0, rank);
        // the cosines of the principal angles are the singular values of H1 H2'
        let cosines = (hebbian.matrix().transpose() * svd.matrix()).singular_values();
        assert!(cosines.iter().all(|c| *c > 1.0 - 1e-6), "{cosines}");
        assert!(hebbian.deviation() < ORTHONORMAL && svd.deviation() < ORTHONORMAL);
    }

    /// The batch form and the form through the second moment are one update.
    #[test]
    fn batch_step_is_the_step_through_the_second_moment() {
        let (inputs, rank) = (9, 3);
        let x = samples(50, inputs, 0.8, 17);
        let moment = second_moment(&x, inputs).unwrap();
        let start = orthonormal(beginnings(inputs, rank, 1, 0), &DMatrix::zeros(inputs, 0));
        let mut basis = Basis::new(inputs);
        basis.set(&start);
        basis.hebbian_step(&x, 1, 1e-3).unwrap();
        let h = start.map(|v| v as f32 as f64);
        let expected = &h + (&moment * &h - &h * inner(&h, &moment)) * 1e-3;
        let got = basis.matrix();
        assert!((got.column(0) - h.column(0)).norm() < 1e-12, "frozen rows stay");
        assert!((got.columns(1, 2) - expected.columns(1, 2)).norm() < 1e-6);
        for _ in 0..4000 {
            basis.hebbian_step(&x, 0, 0.3).unwrap();
            assert!(basis.deviation() < ORTHONORMAL);
        }
        let mut svd = Basis::new(inputs);
        svd.extend_svd(&moment, 1.0, rank);
        let cosines = (basis.matrix().transpose() * svd.matrix()).singular_values();
        assert!(cosines.iter().all(|c| *c > 1.0 - 1e-5), "{cosines}");
    }

    #[test]
    fn old_rows_are_frozen_and_new_ones_orthogonal() {
        let inputs = 40;
        let mut projection = Projection::new(&[inputs], Options::hebbian(vec![0.95])).unwrap();
        let layer = Layer { inputs, outputs: 1, weight: vec![0.0; inputs] };
        let mut svd = Projection::new(&[inputs], Options::svd(vec![0.95])).unwrap();
        let mut before = Vec::new();
        for task in 0..3 {
            for projection in [&mut projection, &mut svd] {
                projection.end_of_task(std::slice::from_ref(&layer), &mut |_| samples(200, inputs, 0.8, 50 + 2 * task)).unwrap();
            }
            let basis = projection.basis(0).unwrap();
            assert_eq!(&basis.rows()[..before.len()], &before[..]);
            assert!(basis.deviation() < ORTHONORMAL);
            before = basis.rows().to_vec();
        }
        // the Hebbian rows are as few as the singular vectors, give or take one a task
        for (task, (hebbian, svd)) in projection.reports().iter().zip(svd.reports()).enumerate() {
            assert!(hebbian.rank <= svd.rank + task as f64 + 1.0, "{hebbian:?} {svd:?}");
        }
        let ranks: Vec<f64> = projection.reports().iter().map(|r| r.rank).collect();
        assert!(ranks.windows(2).all(|w| w[0] < w[1]) && projection.reports().iter().all(|r| r.energy >= 0.95), "{ranks:?}");
    }

    #[test]
    fn svd_keeps_just_the_energy_asked_for() {
        // energies 8, 4, 2, 1, 1 of 16 along the axes
        let energies = [8.0f64, 4.0, 2.0, 1.0, 1.0];
        let x: Vec<f32> =
            (0..5).flat_map(|i| (0..5).map(move |j| if i == j { (5.0 * energies[i]).sqrt() as f32 } else { 0.0 })).collect();
        let moment = second_moment(&x, 5).unwrap();
        for (energy, rank) in [(0.4, 1), (0.6, 2), (0.76, 3), (0.9, 4), (0.95, 5)] {
            let mut svd = Basis::new(5);
            let mut hebbian = Basis::new(5);
            assert_eq!(svd.extend_svd(&moment, energy, 5), rank, "{energy}");
            assert_eq!(hebbian.extend_hebbian(&moment, energy, 5, &Hebbian::default()), rank, "{energy}");
            let kept = energies[..rank].iter().sum::<f64>() / 16.0;
            assert!((svd.energy(&moment) - kept).abs() < 1e-6 && (hebbian.energy(&moment) - kept).abs() < 1e-6);
        }
        // a second task adds only what the first left over
        let mut svd = Basis::new(5);
        svd.extend_svd(&moment, 0.6, 5);
        assert_eq!(svd.extend_svd(&second_moment(&[1.0, 1.0, 0.0, 0.0, 3.0], 5).unwrap(), 0.99, 5), 1);
        assert!(svd.deviation() < 1e-6);
        assert!((svd.rows()[14].abs() - 1.0).abs() < 1e-6, "{:?}", svd.rows());
    }

    #[test]
    fn what_runs_out_is_reported() {
        let layer = Layer { inputs: 4, outputs: 1, weight: vec![0.0; 4] };
        let x = samples(20, 4, 1.0, 30);
        let mut tight = Projection::new(&[4], Options { budget: vec![2], ..Options::svd(vec![0.99]) }).unwrap();
        tight.end_of_task(std::slice::from_ref(&layer), &mut |_| x.clone()).unwrap();
        assert!(matches!(tight.reports()[0].warning, Some(Warning::Budget { wanted: 0.99, kept }) if kept < 0.99));
        let mut full = Projection::new(&[4], Options::svd(vec![1.0])).unwrap();
        full.end_of_task(std::slice::from_ref(&layer), &mut |_| x.clone()).unwrap();
        assert!(matches!(full.reports()[0].warning, Some(Warning::Free { free: 0.0, inputs: 4 })));
    }

    #[test]
    fn saved_and_restored_it_projects_alike() {
        let layer = Layer { inputs: 6, outputs: 1, weight: vec![0.0; 6] };
        for options in [Options::hebbian(vec![0.9]), Options::recursive(0.1)] {
            let mut projection = Projection::new(&[6], options).unwrap();
            projection.end_of_task(std::slice::from_ref(&layer), &mut |_| samples(9, 6, 0.8, 70)).unwrap();
            let text = serde_json::to_string(&projection).unwrap();
            let mut restored: Projection = serde_json::from_str(&text).unwrap();
            restored.check().unwrap();
            let start = normals(12, 71);
            let (mut a, mut b) = (start.clone(), start.clone());
            projection.presynaptic(0, &mut a, 6);
            restored.presynaptic(0, &mut b, 6);
            assert!(a != start && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6));
            assert_eq!(projection.reports().len(), restored.reports().len());
            let mut exact = Projection::new(&[6], projection.options.clone()).unwrap();
            exact.restore(&projection.state()).unwrap();
            let (mut a, mut b) = (start.clone(), start.clone());
            projection.presynaptic(0, &mut a, 6);
            exact.presynaptic(0, &mut b, 6);
            assert!(a == b && exact == projection, "named arrays give back every bit");
            assert!(exact.report()[0].contains("layer 0: rank"));
            let broken = projection.state().part("0");
            assert!(exact.restore(&broken).is_err() && exact == projection);
        }
        assert!(serde_json::from_str::<Recursive>(r#"{"inputs":2,"mu":0.1,"covariance":[1.0]}"#).is_err());
        let crooked: Basis = serde_json::from_str(r#"{"inputs":2,"rows":[1.0,1.0]}"#).unwrap();
        assert!(Basis::from_rows(crooked.inputs(), crooked.rows().to_vec()).is_err());
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(Projection::new(&[4], Options::svd(vec![1.5])).is_err());
        assert!(Projection::new(&[4], Options { budget: vec![5], ..Options::svd(vec![0.9]) }).is_err());
        assert!(Projection::new(&[4], Options::recursive(0.0)).is_err());
        assert!(second_moment(&[1.0; 5], 2).is_err() && second_moment(&[f32::NAN; 2], 2).is_err());
        assert!(Basis::from_rows(2, vec![1.0, 0.1]).is_err() && Basis::from_rows(2, vec![0.6, 0.8]).is_ok());
        let mut posterior = Recursive::new(2, 0.1).unwrap();
        assert!(posterior.add(&[1.0]).is_err() && posterior.add(&[1.0, f32::NAN]).is_err());
        posterior.add(&[1.0, 0.0]).unwrap();
        assert!(posterior.remove(&[10.0, 0.0]).is_err());
    }

    /// Bayesian linear regression (Bishop 2006, eq. 3.54): posterior covariance (S0^-1 + K K'/mu)^-1.
    #[test]
    fn recursive_is_the_bayesian_posterior_and_deletes_exactly() {
        let (inputs, facts, mu) = (12, 9, 0.3);
        let root = DMatrix::from_iterator(inputs, inputs, normals(inputs * inputs, 60).iter().map(|&v| v as f64));
        let prior = &root * root.transpose() + DMatrix::identity(inputs, inputs);
        let keys = normals(inputs * facts, 61);
        let key = |i: usize| &keys[i * inputs..(i + 1) * inputs];
        let closed = |kept: &[usize]| {
            let mut precision = prior.clone().try_inverse().unwrap();
            for &i in kept {
                let k = DVector::from_iterator(inputs, key(i).iter().map(|&v| v as f64));
                precision += &k * k.transpose() / mu;
            }
            precision.try_inverse().unwrap()
        };
        let mut posterior = Recursive::from_covariance(prior.clone(), mu).unwrap();
        (0..facts).for_each(|i| assert!(posterior.add(key(i)).is_ok()));
        let check = |posterior: &Recursive, kept: &[usize]| assert!((posterior.covariance() - closed(kept)).norm() < 1e-9);
        check(&posterior, &(0..facts).collect::<Vec<_>>());
        for (deleted, kept) in [(4, &[0, 1, 2, 3, 5, 6, 7, 8][..]), (0, &[1, 2, 3, 5, 6, 7, 8])] {
            posterior.remove(key(deleted)).unwrap();
            check(&posterior, kept);
        }
        let mut block = Recursive::from_covariance(prior.clone(), mu).unwrap();
        block.add_columns(&columns(&keys, inputs).unwrap()).unwrap();
        check(&block, &(0..facts).collect::<Vec<_>>());
    }
}
