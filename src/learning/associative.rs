//! A linear memory of facts: dW k = v for each fact (k, v), any number of them, with everything that a prior protects disturbed as
//! little as the facts allow. Knows keys and values as numbers; no model, no spikes.
//!
//! The prior is the second moment C of keys whose outputs should stay. With M = (C + floor)^-1 = W'W the memory works on whitened
//! keys z = W k, and dW is the regularised least-squares solution
//! ```text
//! dW = V (Z Z' + D)^-1 Z W      Z: a whitened key a row, V: a value a column, D: diagonal, each key's ridge times its own energy
//! ```
//! which is what recursive least squares (OWM), the posterior mean of a Bayesian linear memory with prior covariance M, and EWC with
//! precision C all give. It is a function of the rows alone: there is no state besides them that what is gone could have left its mark
//! on, and no key that cannot be written (two values at one key share it). The Cholesky factor of Z Z' + D grows by a row with each
//! fact, so that one more fact costs one product with the keys before it.

use crate::error::{Error, Result};
use crate::simd::{for_every_level, level};
use nalgebra::{Cholesky, DMatrix};
use rayon::prelude::*;

/// A fact's ridge, in units of its key's whitened energy.
pub const RIDGE: f32 = 1e-3;
/// Columns that are solved for together.
const TOGETHER: usize = 64;

/// What keys look like whose outputs should stay: a whitening matrix W, lower triangular, with W'W = (C + floor)^-1.
#[derive(Clone, Debug, PartialEq)]
pub struct Prior {
    inputs: usize,
    /// inputs x inputs, row-major; zeros above the diagonal.
    whitener: Vec<f32>,
}

impl Prior {
    /// Every direction alike.
    pub fn flat(inputs: usize) -> Prior {
        let whitener = (0..inputs * inputs).map(|i| if i % (inputs + 1) == 0 { 1.0 } else { 0.0 }).collect();
        Prior { inputs, whitener }
    }

    /// From a second moment C (inputs x inputs); `floor` in units of its mean diagonal, above 0. The scale of C does not matter.
    ///
    /// # Errors
    /// C is not positive, or holds what is not a number.
    pub fn new(moment: &DMatrix<f64>, floor: f64) -> Result<Prior> {
        let inputs = moment.nrows();
        let mean = moment.trace() / inputs.max(1) as f64;
        let refuse = || Error::Run {
            message: "the second moment of the keys to protect is not positive".into(),
            remedy: "collect it again, from text that the model can read".into(),
        };
        if !(mean > 0.0 && mean.is_finite() && floor > 0.0) {
            return Err(refuse());
        }
        let mut c = moment / mean;
        (0..inputs).for_each(|i| c[(i, i)] += floor);
        let lower = Cholesky::new(c).ok_or_else(refuse)?.unpack();
        Ok(Prior { inputs, whitener: inverse_lower(&lower) })
    }

    /// From what [`Prior::whitener`] gave.
    pub fn from_whitener(inputs: usize, whitener: Vec<f32>) -> Result<Prior> {
        if whitener.len() != inputs * inputs || inputs == 0 || whitener.iter().any(|w| !w.is_finite()) {
            let what = format!("{} numbers are no whitening matrix of {inputs} inputs", whitener.len());
            return Err(Error::input(what, "collect the statistics of the keys again"));
        }
        Ok(Prior { inputs, whitener })
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// W, inputs x inputs, row-major.
    pub fn whitener(&self) -> &[f32] {
        &self.whitener
    }

    /// z = W k for every row k of `keys` (any number x inputs): the rows z. Reads W once.
    pub fn whiten(&self, keys: &[f32]) -> Vec<f32> {
        let n = self.inputs;
        assert_eq!(keys.len() % n, 0, "a key has the layer's inputs");
        let count = keys.len() / n;
        // By rows of W first, so that each is read once; turned afterwards.
        let mut columns = vec![0.0; count * n];
        columns.par_chunks_mut(32 * count.max(1)).enumerate().for_each(|(piece, some)| {
            for (i, column) in (piece * 32..).zip(some.chunks_exact_mut(count)) {
                let row = &self.whitener[i * n..=i * n + i];
                column.iter_mut().zip(keys.chunks_exact(n)).for_each(|(z, key)| *z = dot(row, &key[..=i]));
            }
        });
        (0..count).flat_map(|k| (0..n).map(move |i| (i, k))).map(|(i, k)| columns[i * count + k]).collect()
    }

    /// W'u for rows u (any number x inputs): whitened write directions as factors on keys.
    pub fn factors(&self, rows: &[f32]) -> Vec<f32> {
        super::local::times(rows, &self.whitener, self.inputs, self.inputs)
    }
}

/// The inverse of a lower triangular matrix, row-major. Rows by substitution, in order: row i needs those above it.
fn inverse_lower(lower: &DMatrix<f64>) -> Vec<f32> {
    let n = lower.nrows();
    // Column j of the inverse solves L x = e_j; columns are independent of each other.
    let columns: Vec<Vec<f64>> = (0..n)
        .into_par_iter()
        .map(|j| {
            let mut x = vec![0.0; n];
            x[j] = 1.0;
            for i in j..n {
                x[i] /= lower[(i, i)];
                let (value, column) = (x[i], lower.column(i));
                x[i + 1..].iter_mut().zip(&column.as_slice()[i + 1..]).for_each(|(x, l)| *x -= value * l);
            }
            x
        })
        .collect();
    let mut rows = vec![0.0; n * n];
    for (j, column) in columns.iter().enumerate() {
        (j..n).for_each(|i| rows[i * n + j] = column[i] as f32);
    }
    rows
}

/// Sum of products, in sixteen lanes: the same at every level of vector instructions.
#[inline(always)]
fn lanes(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a_blocks, b_blocks) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        (0..16).for_each(|i| lanes[i] += a[i] * b[i]);
    }
    lanes.iter().sum::<f32>() + rest
}

for_every_level! {
    fn dot_at(a: &[f32], b: &[f32]) -> f32 {
        lanes(a, b)
    }
}

for_every_level! {
    fn add_at(y: &mut [f32], scale: f32, x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x);
    }
}

/// Sum of products.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_at(level(), a, b)
}

/// y += scale x.
pub(crate) fn add(y: &mut [f32], scale: f32, x: &[f32]) {
    add_at(level(), y, scale, x);
}

/// The facts of one layer.
#[derive(Clone, Debug)]
pub struct LinearMemory {
    inputs: usize,
    outputs: usize,
    /// Z: facts x inputs.
    traces: Vec<f32>,
    /// Rows of the lower Cholesky factor L of Z Z' + D, row i with i + 1 numbers.
    lower: Vec<f64>,
    /// Wanted values: facts x outputs.
    values: Vec<f32>,
    /// V L'^-1, transposed: facts x outputs. dW z is its product with L^-1 Z z.
    steps: Vec<f64>,
}

impl LinearMemory {
    /// A layer that nothing was written to.
    pub fn new(inputs: usize, outputs: usize) -> LinearMemory {
        LinearMemory { inputs, outputs, traces: Vec::new(), lower: Vec::new(), values: Vec::new(), steps: Vec::new() }
    }

    /// Inputs of the layer.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Facts and guards held.
    pub fn len(&self) -> usize {
        self.traces.len() / self.inputs.max(1)
    }

    fn row(&self, i: usize) -> &[f64] {
        let start = i * (i + 1) / 2;
        &self.lower[start..start + i + 1]
    }

    fn trace(&self, i: usize) -> &[f32] {
        &self.traces[i * self.inputs..(i + 1) * self.inputs]
    }

    /// L^-1 Z z of a whitened key.
    fn read(&self, z: &[f32]) -> Vec<f64> {
        let n = self.len();
        let mut y: Vec<f64> = match n * self.inputs < 1 << 18 {
            true => (0..n).map(|i| f64::from(dot(self.trace(i), z))).collect(),
            false => self.traces.par_chunks(self.inputs).map(|trace| f64::from(dot(trace, z))).collect(),
        };
        for i in 0..n {
            let (row, known) = (self.row(i), &y[..i]);
            let sum: f64 = row.iter().zip(known).map(|(l, y)| l * y).sum();
            y[i] = (y[i] - sum) / row[i];
        }
        y
    }

    /// The part of a whitened key's energy that the facts so far leave, 0 to 1: the posterior variance at this key over the prior's.
    #[cfg(test)]
    pub fn novelty(&self, z: &[f32]) -> f32 {
        let energy = f64::from(dot(z, z));
        let known: f64 = self.read(z).iter().map(|y| y * y).sum();
        if energy > 0.0 { ((energy - known) / energy).clamp(0.0, 1.0) as f32 } else { 0.0 }
    }

    /// Holds one more fact: at the whitened key `trace` dW gives `value`, as exactly as `ridge` (in units of the key's energy, above 0)
    /// and the keys before it allow. A value of zeros is a guard. Gives the part of the key that was new, 0 to 1.
    ///
    /// # Errors
    /// Lengths that do not fit, a ridge that is not above 0, or something that is not a finite number; nothing is changed then.
    pub fn push(&mut self, trace: &[f32], ridge: f32, value: &[f32]) -> Result<f32> {
        let energy = f64::from(dot(trace, trace));
        let fits = trace.len() == self.inputs && value.len() == self.outputs && ridge > 0.0 && ridge.is_finite();
        if !(fits && energy.is_finite() && value.iter().all(|v| v.is_finite())) {
            return Err(Error::input(
                format!("{} and {} numbers with a ridge of {ridge} cannot be held", trace.len(), value.len()),
                format!("give {} and {} finite numbers and a ridge above 0", self.inputs, self.outputs),
            ));
        }
        let mut row = self.read(trace);
        let known: f64 = row.iter().map(|y| y * y).sum();
        // A key of zeros holds nothing and disturbs nothing.
        let least = energy.max(f64::from(f32::MIN_POSITIVE)) * f64::from(ridge);
        let pivot = ((energy - known).max(0.0) + least).sqrt();
        let mut step: Vec<f64> = value.iter().map(|v| f64::from(*v)).collect();
        for (l, before) in row.iter().zip(self.steps.chunks_exact(self.outputs)) {
            step.iter_mut().zip(before).for_each(|(s, b)| *s -= l * b);
        }
        self.steps.extend(step.iter().map(|s| s / pivot));
        row.push(pivot);
        self.lower.extend(row);
        self.traces.extend_from_slice(trace);
        self.values.extend_from_slice(value);
        Ok(if energy > 0.0 { ((energy - known) / energy).clamp(0.0, 1.0) as f32 } else { 0.0 })
    }

    /// Lets go of all but the first `len` facts: the memory is what it was before the others came.
    pub fn truncate(&mut self, len: usize) {
        let len = len.min(self.len());
        self.traces.truncate(len * self.inputs);
        self.values.truncate(len * self.outputs);
        self.steps.truncate(len * self.outputs);
        self.lower.truncate(len * (len + 1) / 2);
    }

    /// dW k, by whitened keys (any number x inputs): as many x outputs.
    pub fn recall(&self, whitened: &[f32]) -> Vec<f32> {
        let one = |z: &[f32]| {
            let mut out = vec![0.0f64; self.outputs];
            for (y, step) in self.read(z).iter().zip(self.steps.chunks_exact(self.outputs)) {
                out.iter_mut().zip(step).for_each(|(o, s)| *o += y * s);
            }
            out.into_iter().map(|o| o as f32)
        };
        whitened.chunks_exact(self.inputs.max(1)).flat_map(one).collect()
    }

    /// dW = B A with a rank a fact, guards left out: A (facts x inputs) and B (outputs x facts), row-major. `factors` are the rows W'z
    /// of all that is held (facts and guards x inputs).
    pub fn factors(&self, factors: &[f32]) -> (Vec<f32>, Vec<f32>) {
        assert_eq!(factors.len(), self.traces.len(), "a factor has the layer's inputs, and there is one a row");
        let facts: Vec<usize> = (0..self.len()).filter(|i| self.value(*i).iter().any(|v| *v != 0.0)).collect();
        let solved = self.solve(factors);
        let a = facts.iter().flat_map(|i| &solved[i * self.inputs..(i + 1) * self.inputs]).copied().collect();
        let b = (0..self.outputs).flat_map(|o| facts.iter().map(move |i| self.value(*i)[o])).collect();
        (a, b)
    }

    fn value(&self, i: usize) -> &[f32] {
        &self.values[i * self.outputs..(i + 1) * self.outputs]
    }

    /// (Z Z' + D)^-1 times rows (as many as are held x inputs), in double precision.
    fn solve(&self, rows: &[f32]) -> Vec<f32> {
        let (n, columns) = (self.len(), self.inputs);
        let starts: Vec<usize> = (0..columns).step_by(TOGETHER).collect();
        let parts: Vec<Vec<f64>> =
            starts.par_iter().map(|&start| self.solve_columns(rows, start, TOGETHER.min(columns - start))).collect();
        let mut out = vec![0.0f32; n * columns];
        for (&start, part) in starts.iter().zip(&parts) {
            let width = TOGETHER.min(columns - start);
            for (i, row) in part.chunks_exact(width).enumerate() {
                out[i * columns + start..][..width].iter_mut().zip(row).for_each(|(o, x)| *o = *x as f32);
            }
        }
        out
    }

    fn solve_columns(&self, rows: &[f32], start: usize, width: usize) -> Vec<f64> {
        let n = self.len();
        let mut x: Vec<f64> =
            (0..n).flat_map(|i| rows[i * self.inputs + start..][..width].iter().map(|r| f64::from(*r))).collect();
        let less = |x: &mut [f64], by: f64, other: &[f64]| x.iter_mut().zip(other).for_each(|(x, o)| *x -= by * o);
        for i in 0..n {
            let (before, here) = x.split_at_mut(i * width);
            let (row, here) = (self.row(i), &mut here[..width]);
            row.iter().zip(before.chunks_exact(width)).for_each(|(l, other)| less(here, *l, other));
            here.iter_mut().for_each(|x| *x /= row[i]);
        }
        for i in (0..n).rev() {
            let (before, here) = x.split_at_mut(i * width);
            let (row, here) = (self.row(i), &mut here[..width]);
            here.iter_mut().for_each(|x| *x /= row[i]);
            row.iter().zip(before.chunks_exact_mut(width)).for_each(|(l, other)| less(other, *l, here));
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learning::projection::{Recursive, second_moment};
    use crate::rng::{Purpose, Stream, key};
    use nalgebra::DVector;

    fn normals(n: usize, sub: u32) -> Vec<f32> {
        let mut stream = Stream::new(key(9, 0), Purpose::Weight, 0, sub);
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    const INPUTS: usize = 40;
    const OUTPUTS: usize = 7;

    /// Keys that live mostly in few directions, as a transformer's do.
    fn keys(n: usize, sub: u32) -> Vec<Vec<f32>> {
        let strength: Vec<f32> = (0..INPUTS).map(|i| 3.0 / (1.0 + i as f32 * 0.3)).collect();
        (0..n).map(|i| normals(INPUTS, sub + i as u32).iter().zip(&strength).map(|(x, s)| x * s).collect()).collect()
    }

    fn prior() -> (Prior, DMatrix<f64>) {
        let moment = second_moment(&keys(300, 1000).concat(), INPUTS).unwrap();
        let mean = moment.trace() / INPUTS as f64;
        let inverse = (&moment / mean + DMatrix::identity(INPUTS, INPUTS) * 0.01).try_inverse().unwrap();
        (Prior::new(&moment, 0.01).unwrap(), inverse)
    }

    fn near(a: &[f32], b: &[f32], tolerance: f32) {
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < tolerance, "{worst}");
    }

    struct Taught {
        prior: Prior,
        memory: LinearMemory,
        keys: Vec<Vec<f32>>,
        values: Vec<Vec<f32>>,
    }

    impl Taught {
        fn new(facts: usize) -> Taught {
            let keys = keys(facts, 1);
            let values: Vec<Vec<f32>> = (0..facts).map(|i| normals(OUTPUTS, 500 + i as u32)).collect();
            let mut taught = Taught { prior: prior().0, memory: LinearMemory::new(INPUTS, OUTPUTS), keys, values };
            for i in 0..facts {
                let (k, v) = (taught.keys[i].clone(), taught.values[i].clone());
                taught.push(&k, RIDGE, &v);
            }
            taught
        }

        fn push(&mut self, key: &[f32], ridge: f32, value: &[f32]) -> f32 {
            self.memory.push(&self.prior.whiten(key), ridge, value).unwrap()
        }

        /// dW k by the factors that leave the program.
        fn product(&self, k: &[f32]) -> Vec<f32> {
            let (a, b) = self.memory.factors(&self.prior.factors(&self.memory.traces));
            let n = a.len() / INPUTS;
            let inner: Vec<f32> = (0..n).map(|i| dot(&a[i * INPUTS..(i + 1) * INPUTS], k)).collect();
            (0..OUTPUTS).map(|o| dot(&b[o * n..(o + 1) * n], &inner)).collect()
        }
    }

    #[test]
    fn the_whitener_is_a_root_of_the_inverse() {
        let (prior, inverse) = prior();
        let w = DMatrix::from_row_iterator(INPUTS, INPUTS, prior.whitener().iter().map(|&x| x as f64));
        assert!((w.transpose() * &w - &inverse).norm() < 1e-5 * inverse.norm());
        let k = normals(INPUTS, 3);
        let z = w * DVector::from_iterator(INPUTS, k.iter().map(|&x| x as f64));
        near(&prior.whiten(&k), &z.iter().map(|&x| x as f32).collect::<Vec<_>>(), 1e-4);
        assert!(Prior::new(&DMatrix::zeros(3, 3), 0.1).is_err());
    }

    /// The batch solution written out with explicit inverses in double precision, more facts than inputs among them.
    #[test]
    fn it_is_regularised_least_squares_under_the_prior() {
        for facts in [1, 9, 60] {
            let taught = Taught::new(facts);
            let m = prior().1;
            let k = DMatrix::from_fn(facts, INPUTS, |i, j| f64::from(taught.keys[i][j]));
            let v = DMatrix::from_fn(OUTPUTS, facts, |o, i| f64::from(taught.values[i][o]));
            let mut gram = &k * &m * k.transpose();
            (0..facts).for_each(|i| gram[(i, i)] *= 1.0 + f64::from(RIDGE));
            let weight = v * gram.try_inverse().unwrap() * &k * &m;
            for i in 0..20 {
                let probe = normals(INPUTS, 700 + i);
                let exact = &weight * DVector::from_iterator(INPUTS, probe.iter().map(|&x| f64::from(x)));
                let exact: Vec<f32> = exact.iter().map(|&x| x as f32).collect();
                let size = dot(&exact, &exact).sqrt();
                near(&taught.product(&probe), &exact, 2e-3 * size);
                near(&taught.memory.recall(&taught.prior.whiten(&probe)), &exact, 2e-3 * size);
            }
        }
    }

    /// Recursive least squares with the explicit posterior covariance, at a small ridge.
    #[test]
    fn at_a_small_ridge_it_is_recursive_least_squares() {
        let taught = Taught::new(9);
        let mut explicit = Recursive::from_covariance(prior().1, 1e-9).unwrap();
        let mut weight = DMatrix::<f64>::zeros(OUTPUTS, INPUTS);
        for (k, v) in taught.keys.iter().zip(&taught.values) {
            let key = DVector::from_iterator(INPUTS, k.iter().map(|&x| x as f64));
            let missing = DVector::from_iterator(OUTPUTS, v.iter().map(|&x| x as f64)) - &weight * key;
            weight.ger(1.0, &missing, &explicit.add(k).unwrap(), 1.0);
        }
        for i in 0..20 {
            let probe = normals(INPUTS, 700 + i);
            let exact = &weight * DVector::from_iterator(INPUTS, probe.iter().map(|&x| x as f64));
            let exact: Vec<f32> = exact.iter().map(|&x| x as f32).collect();
            near(&taught.product(&probe), &exact, 1e-2 * dot(&exact, &exact).sqrt());
        }
    }

    #[test]
    fn what_is_let_go_leaves_no_bit_behind() {
        let mut taught = Taught::new(9);
        let long = taught.memory.clone();
        taught.memory.truncate(4);
        let short = Taught::new(4);
        let probe = taught.prior.whiten(&normals(INPUTS, 3));
        assert_eq!(taught.memory.recall(&probe), short.memory.recall(&probe));
        assert_eq!(taught.product(&normals(INPUTS, 5)), short.product(&normals(INPUTS, 5)));
        for i in 4..9 {
            let (k, v) = (taught.keys[i].clone(), taught.values[i].clone());
            taught.push(&k, RIDGE, &v);
        }
        assert_eq!(taught.memory.recall(&probe), long.recall(&probe));
    }

    #[test]
    fn guards_hold_softly_and_cost_no_rank() {
        let mut taught = Taught::new(5);
        let guarded = normals(INPUTS, 900);
        let size = |x: &[f32]| dot(x, x).sqrt();
        let before = size(&taught.product(&guarded));
        let mut last = before;
        for ridge in [1.0, 0.1, 1e-3] {
            let mut held = Taught::new(5);
            held.push(&guarded, ridge, &[0.0; OUTPUTS]);
            let now = size(&held.product(&guarded));
            assert!(now < last, "{ridge}: {last} -> {now}");
            last = now;
            held.keys.iter().zip(&held.values).for_each(|(k, v)| near(&held.product(k), v, 2e-2));
            assert_eq!(held.memory.factors(&held.prior.factors(&held.memory.traces)).0.len(), 5 * INPUTS);
        }
        assert!(last < 1e-2 * before, "{before} {last}");
        taught.push(&guarded, RIDGE, &[0.0; OUTPUTS]);
        assert!(taught.memory.novelty(&taught.prior.whiten(&guarded)) < 2.0 * RIDGE);
    }

    /// Two values at one key share it; nothing is refused, nothing grows without bound.
    #[test]
    fn the_same_key_twice_gives_the_mean() {
        let mut taught = Taught::new(3);
        let (k, other) = (taught.keys[1].clone(), taught.values[0].clone());
        assert!(taught.push(&k, RIDGE, &other) < 2.0 * RIDGE);
        let mean: Vec<f32> = other.iter().zip(&taught.values[1]).map(|(a, b)| 0.5 * (a + b)).collect();
        near(&taught.product(&k), &mean, 1e-2);
        near(&taught.product(&taught.keys[2]), &taught.values[2], 2e-2);
        assert!(taught.memory.push(&[f32::NAN; INPUTS], RIDGE, &other).is_err());
        assert!(taught.memory.push(&k, 0.0, &other).is_err());
        assert!(taught.memory.push(&k, RIDGE, &[f32::INFINITY; OUTPUTS]).is_err());
        assert!(taught.memory.push(&k[1..], RIDGE, &other).is_err());
        assert_eq!(taught.memory.len(), 4);
        taught.push(&[0.0; INPUTS], RIDGE, &other);
        assert!(taught.product(&k).iter().all(|x| x.is_finite()));
    }
}
