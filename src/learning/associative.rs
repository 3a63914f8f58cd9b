//! A linear memory of facts: dW k = v for each fact (k, v), written at once, in any number, each deletable, with everything that a
//! prior protects disturbed as little as the facts allow. Knows keys and values as numbers; no model, no spikes.
//!
//! The prior is the second moment C of keys whose outputs should stay. With M = (C + floor)^-1 = W'W the memory works on whitened
//! keys z = W k: a fact's write direction is z less its projection on the keys before it (orthogonal projection; the posterior
//! covariance of a Bayesian linear memory with prior covariance M is W'(I - H'H)W, H the orthonormal span of what was written).
//! Terms are kept as a dual basis: u_i'z_j is 1 for i = j and 0 else, so dW = sum of v_i (W'u_i)' gives every fact its own value,
//! and deleting one leaves the outputs at the keys of all others.

use super::projection::Basis;
use crate::error::{Error, Result};
use crate::model::vector::{for_every_level, level};
use nalgebra::{Cholesky, DMatrix};
use rayon::prelude::*;
use std::sync::Arc;

/// A key of which less than this part is new cannot be told from those before it.
pub const NOVEL: f32 = 0.01;
/// Keys with a cosine above this are one.
const SAME: f32 = 0.99;
/// A guard of which less than this part is new is guarded already.
const GUARDED: f32 = 1e-6;
/// A fact's ridge, in units of its key's whitened energy.
const RIDGE: f32 = 1e-3;

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
    /// C is not positive, or holds what is no number.
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

/// A key as the memory sees it before writing.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// W k.
    pub whitened: Vec<f32>,
    /// What is new in it: the whitened key less its projection on those before it.
    pub new: Vec<f32>,
    /// Its part of the energy, 0 to 1: the posterior variance left at this key, over the prior's.
    pub novelty: f32,
}

/// One fact, as it stands in the dual basis.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// u, whitened: inputs.
    pub dual: Vec<f32>,
    /// v: outputs.
    pub value: Vec<f32>,
    /// The whitened key.
    key: Vec<f32>,
}

/// The facts of one layer.
#[derive(Clone, Debug)]
pub struct LinearMemory {
    pub prior: Arc<Prior>,
    outputs: usize,
    known: Basis,
    terms: Vec<Term>,
}

impl LinearMemory {
    pub fn new(prior: Arc<Prior>, outputs: usize) -> LinearMemory {
        let known = Basis::new(prior.inputs);
        LinearMemory { prior, outputs, known, terms: Vec::new() }
    }

    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Directions taken by facts and guards, of as many as there are inputs.
    pub fn taken(&self) -> usize {
        self.known.rank()
    }

    /// How a key looks from here.
    pub fn read(&self, key: &[f32]) -> Reading {
        let whitened = self.prior.whiten(key);
        let mut new = whitened.clone();
        let novelty = self.part_new(&whitened, &mut new, 0);
        Reading { whitened, new, novelty }
    }

    /// Leaves of a whitened trace what no earlier key has.
    pub fn project(&self, trace: &mut [f32]) {
        (0..2).for_each(|_| self.known.project_rows(trace, 0));
    }

    /// dW k, by the whitened key.
    pub fn recall(&self, whitened: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.outputs];
        self.terms.iter().for_each(|term| add(&mut out, dot(&term.dual, whitened), &term.value));
        out
    }

    /// The fact whose key is most like this one, and the cosine of the whitened keys.
    pub fn nearest(&self, whitened: &[f32]) -> Option<(usize, f32)> {
        let cosine = |k: &[f32]| dot(k, whitened) / (dot(k, k) * dot(whitened, whitened)).sqrt().max(f32::MIN_POSITIVE);
        self.terms.iter().enumerate().map(|(i, t)| (i, cosine(&t.key))).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The fact that was written at this very key.
    pub fn twin(&self, reading: &Reading) -> Option<usize> {
        let near = (reading.novelty < NOVEL).then(|| self.nearest(&reading.whitened)).flatten();
        near.filter(|(i, cosine)| *cosine > SAME && dot(&self.terms[*i].dual, &reading.whitened) > 0.5).map(|(i, _)| i)
    }

    /// From now on no fact changes the output at these keys (any number x inputs); those written so far are turned away from them.
    /// Guards take at most half of all directions; beyond that, none is added.
    pub fn guard(&mut self, keys: &[f32]) {
        let n = self.prior.inputs;
        let whitened = self.prior.whiten(keys);
        let (old, mut new) = (self.known.rank(), whitened.clone());
        // Twice: what one pass leaves by rounding, the next removes.
        (0..2).for_each(|_| self.known.project_rows(&mut new, 0));
        for (key, new) in whitened.chunks_exact(n).zip(new.chunks_exact_mut(n)) {
            if self.part_new(key, new, old) > GUARDED && self.known.rank() < n / 2 {
                let direction = scaled(new, 1.0 / dot(new, key));
                self.turn(key, &direction);
                self.known.append(new);
            }
        }
    }

    /// Projects `new` on what is known from direction `first` on; the part of the key's energy that is left.
    fn part_new(&self, key: &[f32], new: &mut [f32], first: usize) -> f32 {
        (0..2).for_each(|_| self.known.project_rows(new, first));
        dot(new, new) / dot(key, key).max(f32::MIN_POSITIVE)
    }

    /// Writes a fact: afterwards dW k is `value` (but for a ridge of a thousandth), and dW k of every other fact is what it was.
    /// `trace` is the presynaptic trace that stands for what is new in the key, such as spikes coded it; None: that itself. At the
    /// key of an earlier fact, what is missing there is added along that fact's direction.
    ///
    /// # Errors
    /// Less than [`NOVEL`] of the key is new and it is no earlier fact's, or something is no number; nothing is changed then.
    pub fn write(&mut self, reading: &Reading, trace: Option<&[f32]>, value: &[f32]) -> Result<()> {
        assert_eq!(value.len(), self.outputs, "a value has the layer's outputs");
        let Reading { whitened, new, novelty } = reading;
        if let Some(twin) = self.twin(reading)
            && value.iter().all(|v| v.is_finite())
        {
            let known = self.recall(whitened);
            let missing = value.iter().zip(&known).map(|(v, k)| v - k).collect();
            let there = dot(&self.terms[twin].dual, whitened);
            let dual = scaled(&self.terms[twin].dual, 1.0 / there);
            self.terms.push(Term { dual, value: missing, key: whitened.clone() });
            return Ok(());
        }
        let mut direction = trace.unwrap_or(new).to_vec();
        self.project(&mut direction);
        let along = dot(&direction, whitened);
        if !(*novelty >= NOVEL && along > 0.0 && along.is_finite() && value.iter().all(|v| v.is_finite())) {
            return Err(Error::input(
                format!("only {:.1} % of the key is new: it cannot be told from those of facts before it", 100.0 * novelty),
                "supersede the fact that has this key, or say the prompt in other words",
            ));
        }
        direction.iter_mut().for_each(|x| *x /= along);
        self.turn(whitened, &direction);
        self.known.append(new);
        let shrink = novelty / (novelty + RIDGE);
        self.terms.push(Term { dual: direction, value: scaled(value, shrink), key: whitened.clone() });
        Ok(())
    }

    /// Turns the duals so far away from a key, along a direction that is 1 there and 0 at all keys before.
    fn turn(&mut self, whitened: &[f32], direction: &[f32]) {
        self.terms.par_iter_mut().for_each(|term| {
            let there = dot(&term.dual, whitened);
            add(&mut term.dual, -there, direction);
        });
    }

    /// Takes a fact out, as it stands: the outputs at the keys of all others stay what they are.
    pub fn remove(&mut self, index: usize) -> Term {
        self.terms.remove(index)
    }

    /// dW = B A: A (facts x inputs) and B (outputs x facts), row-major.
    pub fn factors(&self) -> (Vec<f32>, Vec<f32>) {
        let n = self.terms.len();
        let duals: Vec<f32> = self.terms.iter().flat_map(|t| &t.dual).copied().collect();
        let a = if n == 0 { Vec::new() } else { self.prior.factors(&duals) };
        let b = (0..self.outputs).flat_map(|o| self.terms.iter().map(move |t| t.value[o])).collect();
        (a, b)
    }
}

fn scaled(x: &[f32], by: f32) -> Vec<f32> {
    x.iter().map(|x| x * by).collect()
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

    fn product(memory: &LinearMemory, k: &[f32]) -> Vec<f32> {
        let (a, b) = memory.factors();
        let n = memory.terms().len();
        let inner: Vec<f32> = (0..n).map(|i| dot(&a[i * INPUTS..(i + 1) * INPUTS], k)).collect();
        (0..OUTPUTS).map(|o| dot(&b[o * n..(o + 1) * n], &inner)).collect()
    }

    fn near(a: &[f32], b: &[f32], tolerance: f32) {
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < tolerance, "{worst}");
    }

    fn taught(facts: usize) -> (LinearMemory, Vec<Vec<f32>>, Vec<Vec<f32>>) {
        let mut memory = LinearMemory::new(Arc::new(prior().0), OUTPUTS);
        let keys = keys(facts, 1);
        let values: Vec<Vec<f32>> = (0..facts).map(|i| normals(OUTPUTS, 500 + i as u32)).collect();
        for (k, v) in keys.iter().zip(&values) {
            let reading = memory.read(k);
            memory.write(&reading, None, v).unwrap();
        }
        (memory, keys, values)
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

    /// Recursive least squares with the explicit posterior covariance, in double precision, at a small ridge.
    #[test]
    fn it_is_recursive_least_squares_under_the_prior() {
        let (memory, keys, values) = taught(9);
        let mut explicit = Recursive::from_covariance(prior().1, 1e-9).unwrap();
        let mut weight = DMatrix::<f64>::zeros(OUTPUTS, INPUTS);
        for (k, v) in keys.iter().zip(&values) {
            let key = DVector::from_iterator(INPUTS, k.iter().map(|&x| x as f64));
            let missing = DVector::from_iterator(OUTPUTS, v.iter().map(|&x| x as f64)) - &weight * key;
            weight.ger(1.0, &missing, &explicit.add(k).unwrap(), 1.0);
        }
        for i in 0..20 {
            let probe = normals(INPUTS, 700 + i);
            let exact = &weight * DVector::from_iterator(INPUTS, probe.iter().map(|&x| x as f64));
            let exact: Vec<f32> = exact.iter().map(|&x| x as f32).collect();
            let size = dot(&exact, &exact).sqrt();
            near(&product(&memory, &probe), &exact, 1e-2 * size);
        }
        let reading = memory.read(&keys[0]);
        near(&memory.recall(&reading.whitened), &product(&memory, &keys[0]), 1e-4);
    }

    #[test]
    fn a_fact_leaves_and_the_others_stay() {
        let (mut memory, keys, values) = taught(9);
        let before: Vec<Vec<f32>> = keys.iter().map(|k| product(&memory, k)).collect();
        keys.iter().zip(&values).zip(&before).for_each(|((_, v), out)| near(out, v, 2e-2));
        memory.remove(4);
        for (i, k) in keys.iter().enumerate() {
            match i {
                4 => near(&product(&memory, k), &[0.0; OUTPUTS], 1e-4),
                _ => near(&product(&memory, k), &before[i], 1e-4),
            }
        }
    }

    #[test]
    fn guards_see_nothing_of_facts_before_and_after() {
        let (mut memory, keys, values) = taught(5);
        let guarded = normals(INPUTS, 900);
        memory.guard(&guarded);
        let taken = memory.taken();
        memory.guard(&guarded);
        assert_eq!(memory.taken(), taken);
        let late = normals(INPUTS, 901);
        let reading = memory.read(&late);
        memory.write(&reading, None, &values[0]).unwrap();
        near(&product(&memory, &guarded), &[0.0; OUTPUTS], 1e-4);
        keys.iter().zip(&values).for_each(|(k, v)| near(&product(&memory, k), v, 2e-2));
    }

    /// A noisy trace gives the fact its value and the others theirs all the same.
    #[test]
    fn coding_noise_stays_away_from_other_facts() {
        let (mut memory, keys, values) = taught(5);
        let before: Vec<Vec<f32>> = keys.iter().map(|k| product(&memory, k)).collect();
        let late = normals(INPUTS, 901);
        let reading = memory.read(&late);
        let noise = normals(INPUTS, 902);
        let trace: Vec<f32> = reading.new.iter().zip(&noise).map(|(x, n)| x + 0.2 * n).collect();
        memory.write(&reading, Some(&trace), &values[0]).unwrap();
        near(&product(&memory, &late), &values[0], 1e-2);
        keys.iter().zip(&before).for_each(|(k, v)| near(&product(&memory, k), v, 1e-3));
    }

    #[test]
    fn the_same_key_again_changes_what_is_there_and_a_mixture_is_refused() {
        let (mut memory, keys, values) = taught(3);
        let taken = memory.taken();
        let reading = memory.read(&keys[1]);
        assert!(reading.novelty < 1e-4);
        assert_eq!(memory.twin(&reading), Some(1));
        memory.write(&reading, None, &values[0]).unwrap();
        assert_eq!((memory.terms().len(), memory.taken()), (4, taken));
        near(&product(&memory, &keys[1]), &values[0], 1e-2);
        near(&product(&memory, &keys[2]), &values[2], 1e-2);
        memory.remove(3);
        near(&product(&memory, &keys[1]), &values[1], 1e-2);
        let mixture: Vec<f32> = keys[0].iter().zip(&keys[1]).map(|(a, b)| a + b).collect();
        let reading = memory.read(&mixture);
        assert!(memory.write(&reading, None, &values[0]).unwrap_err().to_string().contains("new"));
        let fresh = memory.read(&normals(INPUTS, 77));
        assert!(memory.write(&fresh, None, &[f32::NAN; OUTPUTS]).is_err());
        assert_eq!(memory.terms().len(), 3);
    }
}
