//! From many rank-1 terms of a linear layer to few: singular values, the best term of a given rank, what of the change it keeps
//! and how well it keeps single outputs. Float64 inside; knows neither models nor files.

use super::config::Config;
use super::hooks::{Adapter, LowRank};
use super::site::Site;
use crate::error::{Error, Result};
use nalgebra::{DMatrix, DVector, SVD};
use std::collections::BTreeMap;

/// The term of n events: `a` holds what each reacts to (n x inputs), `b` what each adds (n x outputs), so that
/// `dW = sum b_i a_i'`. Refused when the lengths do not fit.
pub fn events(inputs: usize, outputs: usize, a: &[f32], b: &[f32]) -> Result<LowRank> {
    let n = a.len() / inputs.max(1);
    if n == 0 || a.len() != n * inputs || b.len() != n * outputs {
        return Err(Error::input(
            format!(
                "{} and {} numbers are not the same number of events of {inputs} inputs and {outputs} outputs",
                a.len(),
                b.len()
            ),
            "give one row of inputs and one row of outputs an event, at least one",
        ));
    }
    let b = (0..outputs).flat_map(|o| (0..n).map(move |i| b[i * outputs + o])).collect();
    Ok(LowRank { rank: n, a: a.to_vec(), b, scale: 1.0 })
}

/// The change of one linear layer taken apart: `dW = U diag(s) V'`, U and V with orthonormal columns, s descending.
#[derive(Clone, Debug)]
pub struct Factors {
    term: LowRank,
    /// outputs x k.
    u: DMatrix<f64>,
    values: Vec<f64>,
    /// inputs x k.
    v: DMatrix<f64>,
}

impl Factors {
    /// QR of both factors and the singular values of the small matrix between them, so dW itself is never formed. Refused
    /// when the factors do not fit their rank or are not finite.
    pub fn new(term: &LowRank) -> Result<Factors> {
        let n = term.rank;
        let (inputs, outputs) = (term.a.len() / n.max(1), term.b.len() / n.max(1));
        if inputs == 0 || outputs == 0 || term.a.len() != n * inputs || term.b.len() != n * outputs {
            let what = format!("factors of {} and {} numbers are not of rank {n}", term.a.len(), term.b.len());
            return Err(Error::input(what, "give factors of rank x inputs and outputs x rank"));
        }
        if !term.scale.is_finite() || term.a.iter().chain(&term.b).any(|x| !x.is_finite()) {
            return Err(Error::input("the factors hold values that are not finite", "make the adapter again"));
        }
        let a = DMatrix::from_iterator(inputs, n, term.a.iter().map(|x| *x as f64));
        let b = DMatrix::from_row_iterator(outputs, n, term.b.iter().map(|x| *x as f64 * term.scale as f64));
        let ((qa, ra), (qb, rb)) = (a.qr().unpack(), b.qr().unpack());
        let middle = rb * ra.transpose();
        let (size, sweeps) = (middle.norm(), 100 * (n + 1));
        let failed = || Error::Run {
            message: format!("the singular values of {n} terms could not be computed"),
            remedy: "look for terms that differ by many orders of magnitude".into(),
        };
        let svd = SVD::try_new(middle.clone(), true, true, f64::EPSILON, sweeps).ok_or_else(failed)?;
        let (Some(u), Some(v)) = (&svd.u, &svd.v_t) else { return Err(failed()) };
        let again = u * DMatrix::from_diagonal(&svd.singular_values) * v;
        if (again - middle).norm() > 1e-10 * size {
            return Err(failed());
        }
        let values = svd.singular_values.iter().copied().collect();
        Ok(Factors { term: term.clone(), u: qb * u, values, v: qa * v.transpose() })
    }

    /// Descending; as many as the smallest of events, inputs and outputs.
    pub fn singular_values(&self) -> &[f64] {
        &self.values
    }

    /// Part of the sum of squares of dW that `rank` terms keep, from 0 to 1.
    pub fn energy(&self, rank: usize) -> f64 {
        let all: f64 = self.values.iter().map(|s| s * s).sum();
        let lost: f64 = self.values.iter().skip(rank).map(|s| s * s).sum();
        if self.term.rank <= rank || all == 0.0 { 1.0 } else { 1.0 - lost / all }
    }

    /// The term of at most this rank nearest to dW, both factors of equal length. Terms that already fit stay as they are.
    pub fn to_rank(&self, rank: usize) -> LowRank {
        if self.term.rank <= rank {
            return self.term.clone();
        }
        let kept = rank.min(self.values.len());
        let root = |i: usize| self.values[i].sqrt();
        let a = (0..kept).flat_map(|i| self.v.column(i).iter().map(move |x| (x * root(i)) as f32).collect::<Vec<f32>>());
        let b = (0..self.u.nrows()).flat_map(|o| (0..kept).map(move |i| (self.u[(o, i)] * root(i)) as f32));
        LowRank { rank: kept, a: a.collect(), b: b.collect(), scale: 1.0 }
    }

    /// `|dW_r k - dW k| / |dW k|` of every key (any number x inputs): 0 is kept, 1 is lost. 0 where dW k is 0.
    pub fn errors(&self, rank: usize, keys: &[f32]) -> Vec<f64> {
        self.outputs(keys)
            .map(|squares| {
                let (all, lost): (f64, f64) = (squares.iter().sum(), squares.iter().skip(rank).sum());
                if self.term.rank <= rank || all == 0.0 { 0.0 } else { (lost / all).sqrt() }
            })
            .collect()
    }

    /// The smallest rank at which no key's error (see `errors`) is above `limit`.
    pub fn sufficient(&self, keys: &[f32], limit: f64) -> usize {
        let needed = |squares: Vec<f64>| {
            let allowed = limit * limit * squares.iter().sum::<f64>();
            let mut lost = 0.0;
            let dropped = squares.iter().rev().take_while(|s| {
                lost += **s;
                lost <= allowed
            });
            squares.len() - dropped.count()
        };
        self.outputs(keys).map(needed).max().unwrap_or(0).min(self.term.rank)
    }

    /// For every key the squares of what each singular value contributes to dW k.
    fn outputs<'a>(&'a self, keys: &'a [f32]) -> impl Iterator<Item = Vec<f64>> + 'a {
        keys.chunks_exact(self.v.nrows()).map(|key| {
            let key = DVector::from_iterator(key.len(), key.iter().map(|x| *x as f64));
            self.v.tr_mul(&key).iter().zip(&self.values).map(|(x, s)| (x * s).powi(2)).collect()
        })
    }
}

/// One adapter that does what several do together, each times its factor. Factors are stacked, so nothing is lost and ranks
/// add up. Refused when a part does not fit the model.
pub fn combined(config: &Config, parts: &[(&Adapter, f32)]) -> Result<Adapter> {
    let mut by_site: BTreeMap<Site, Vec<(&LowRank, f32)>> = BTreeMap::new();
    for (adapter, factor) in parts {
        adapter.terms().for_each(|(site, term)| by_site.entry(site).or_default().push((term, factor * term.scale)));
    }
    let mut all = Adapter::default();
    for (site, terms) in by_site {
        all.insert(config, site, stacked(config.shape(site.linear).0, &terms))?;
    }
    Ok(all)
}

/// The sum of terms of one linear layer, each with the scale beside it in place of its own.
fn stacked(outputs: usize, terms: &[(&LowRank, f32)]) -> LowRank {
    if let [(term, scale)] = terms {
        return LowRank { scale: *scale, ..(*term).clone() };
    }
    let a = terms.iter().flat_map(|(term, _)| term.a.iter().copied()).collect();
    let row = |o: usize| {
        terms.iter().flat_map(move |(term, scale)| {
            let row = term.b.get(o * term.rank..(o + 1) * term.rank).unwrap_or_default();
            row.iter().map(move |x| x * scale)
        })
    };
    LowRank { rank: terms.iter().map(|(term, _)| term.rank).sum(), a, b: (0..outputs).flat_map(row).collect(), scale: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream, key};

    fn drawn(n: usize, sub: u32) -> Vec<f32> {
        let mut stream = Stream::new(key(3, 0), Purpose::Weight, 0, sub);
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    /// The whole dW, outputs x inputs, as the sum is written.
    fn dense(term: &LowRank) -> DMatrix<f64> {
        let (inputs, outputs) = (term.a.len() / term.rank, term.b.len() / term.rank);
        DMatrix::from_fn(outputs, inputs, |o, j| {
            let products = (0..term.rank).map(|i| term.b[o * term.rank + i] as f64 * term.a[i * inputs + j] as f64);
            products.sum::<f64>() * term.scale as f64
        })
    }

    /// Fewer and more events than inputs and outputs, equal ones among them.
    #[test]
    fn against_the_singular_values_of_the_whole_matrix() {
        for (inputs, outputs, n) in [(12, 7, 5), (7, 12, 5), (9, 6, 30), (1, 4, 3), (8, 1, 2), (40, 30, 1)] {
            let (mut a, b) = (drawn(n * inputs, 1), drawn(n * outputs, 2));
            if n > 2 {
                a.copy_within(0..inputs, inputs);
            }
            let mut term = events(inputs, outputs, &a, &b).unwrap();
            term.scale = -0.5;
            let whole = dense(&term);
            let svd = whole.clone().svd(true, true);
            let factors = Factors::new(&term).unwrap();
            let expected = svd.singular_values.as_slice();
            for (i, s) in factors.singular_values().iter().enumerate() {
                assert!((s - expected.get(i).copied().unwrap_or(0.0)).abs() < 1e-10 * expected[0], "{inputs} {outputs} {n}: {i}");
            }
            let all: f64 = expected.iter().map(|s| s * s).sum();
            for rank in 1..n {
                let kept: f64 = expected.iter().take(rank).map(|s| s * s).sum();
                assert!((factors.energy(rank) - kept / all).abs() < 1e-10);
                let near = factors.to_rank(rank);
                assert!(near.rank <= rank);
                let difference = (dense(&near) - &whole).norm_squared();
                assert!((difference - (all - kept)).abs() < 1e-5 * all, "rank {rank}: {difference} and {}", all - kept);
            }
            assert_eq!((factors.to_rank(n), factors.energy(n)), (term, 1.0));
        }
    }

    #[test]
    fn errors_of_outputs_against_the_sum_written_out() {
        let (inputs, outputs, n) = (20, 15, 10);
        let term = events(inputs, outputs, &drawn(n * inputs, 3), &drawn(n * outputs, 4)).unwrap();
        let factors = Factors::new(&term).unwrap();
        let whole = dense(&term);
        for rank in 1..=n {
            let near = dense(&factors.to_rank(rank));
            let errors = factors.errors(rank, &term.a);
            for (key, error) in term.a.chunks(inputs).zip(&errors) {
                let key = DVector::from_iterator(inputs, key.iter().map(|x| *x as f64));
                let expected = (&near * &key - &whole * &key).norm() / (&whole * &key).norm();
                assert!((error - expected).abs() < 1e-5, "rank {rank}: {error} and {expected}");
            }
            let enough = factors.sufficient(&term.a, errors.iter().copied().fold(0.0, f64::max) + 1e-12);
            assert_eq!(enough, rank);
        }
        assert_eq!(factors.sufficient(&[], 0.5), 0);
        assert_eq!(factors.errors(2, &vec![0.0; inputs]), [0.0]);
    }

    #[test]
    fn both_factors_have_the_same_length() {
        let term = events(20, 15, &drawn(10 * 20, 5), &drawn(10 * 15, 6).iter().map(|x| x * 1e3).collect::<Vec<f32>>()).unwrap();
        let near = Factors::new(&term).unwrap().to_rank(4);
        for i in 0..4 {
            let a: f32 = near.a[i * 20..(i + 1) * 20].iter().map(|x| x * x).sum();
            let b: f32 = (0..15).map(|o| near.b[o * 4 + i].powi(2)).sum();
            assert!((a / b - 1.0).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn a_change_of_nothing_keeps_everything() {
        let term = LowRank { rank: 3, a: vec![0.0; 12], b: vec![0.0; 15], scale: 1.0 };
        let factors = Factors::new(&term).unwrap();
        assert_eq!((factors.energy(1), factors.errors(1, &[1.0; 4])), (1.0, vec![0.0]));
        assert_eq!(dense(&factors.to_rank(2)).norm(), 0.0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(events(4, 3, &[1.0; 8], &[1.0; 5]).is_err());
        assert!(events(4, 3, &[], &[]).is_err());
        let term = |rank, a: &[f32]| LowRank { rank, a: a.to_vec(), b: vec![1.0; 6], scale: 1.0 };
        for bad in [term(0, &[1.0; 8]), term(3, &[1.0; 8]), term(2, &[f32::NAN; 8]), term(2, &[])] {
            assert_eq!(Factors::new(&bad).unwrap_err().exit_code(), 2);
        }
    }
}
