//! The two dense products of a local rule, row-major f32. Promises results that do not depend on the number of threads: rows of
//! the result are cut into fixed pieces, each computed by one thread in a fixed order. Knows no neuron.

use rayon::prelude::*;

/// Rows of a result that one thread computes at a time.
const ROWS: usize = 32;

/// `a b'`: rows x columns, from `a` (rows x inner) and `b` (columns x inner).
pub fn times_transposed(a: &[f32], b: &[f32], inner: usize, columns: usize) -> Vec<f32> {
    assert!(inner > 0 && columns > 0 && a.len() % inner == 0 && b.len() == inner * columns);
    let mut c = vec![0.0; a.len() / inner * columns];
    c.par_chunks_mut(ROWS * columns).zip(a.par_chunks(ROWS * inner)).for_each(|(c, a)| {
        let rows = c.len() / columns;
        // SAFETY: a holds rows x inner, b columns x inner (read transposed) and c rows x columns values; c is borrowed mutably.
        unsafe { sgemm(rows, inner, columns, 1.0, (a, inner, 1), (b, 1, inner), c) }
    });
    c
}

/// `a b`: rows x columns, from `a` (rows x inner) and `b` (inner x columns).
pub fn times(a: &[f32], b: &[f32], inner: usize, columns: usize) -> Vec<f32> {
    assert!(inner > 0 && columns > 0 && a.len() % inner == 0 && b.len() == inner * columns);
    let mut c = vec![0.0; a.len() / inner * columns];
    c.par_chunks_mut(ROWS * columns).zip(a.par_chunks(ROWS * inner)).for_each(|(c, a)| {
        let rows = c.len() / columns;
        // SAFETY: a holds rows x inner, b inner x columns and c rows x columns values; c is borrowed mutably.
        unsafe { sgemm(rows, inner, columns, 1.0, (a, inner, 1), (b, columns, 1), c) }
    });
    c
}

/// `scale d' x`: outputs x inputs, the sum over rows of the outer products of `d` (rows x outputs) and `x` (rows x inputs).
pub fn outer(scale: f32, d: &[f32], x: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    assert!(
        outputs > 0 && inputs > 0 && d.len() / outputs == x.len() / inputs && d.len() % outputs == 0 && x.len() % inputs == 0
    );
    let rows = d.len() / outputs;
    let mut c = vec![0.0; outputs * inputs];
    c.par_chunks_mut(ROWS * inputs).enumerate().for_each(|(piece, c)| {
        let some = c.len() / inputs;
        // SAFETY: the columns from piece * ROWS, `some` of them, lie within d (read transposed); x holds rows x inputs, c some x inputs.
        unsafe { sgemm(some, rows, inputs, scale, (&d[piece * ROWS..], 1, outputs), (x, inputs, 1), c) }
    });
    c
}

/// c (m x n, row-major) = alpha a b with a (m x k) and b (k x n) given as (values, row stride, column stride).
///
/// # Safety
/// Every a[i, l] and b[l, j] must lie within its slice, and c must hold m x n values.
unsafe fn sgemm(m: usize, k: usize, n: usize, alpha: f32, a: (&[f32], usize, usize), b: (&[f32], usize, usize), c: &mut [f32]) {
    let (a, ra, ca) = (a.0.as_ptr(), a.1 as isize, a.2 as isize);
    let (b, rb, cb) = (b.0.as_ptr(), b.1 as isize, b.2 as isize);
    // SAFETY: the caller's promise.
    unsafe { matrixmultiply::sgemm(m, k, n, alpha, a, ra, ca, b, rb, cb, 0.0, c.as_mut_ptr(), n as isize, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_the_definition() {
        let (rows, inner, columns) = (131, 7, 70);
        let a: Vec<f32> = (0..rows * inner).map(|i| (i % 13) as f32 - 6.0).collect();
        let b: Vec<f32> = (0..columns * inner).map(|i| (i % 11) as f32 - 5.0).collect();
        let c = times_transposed(&a, &b, inner, columns);
        let bt: Vec<f32> = (0..inner * columns).map(|i| b[i % columns * inner + i / columns]).collect();
        assert_eq!(c, times(&a, &bt, inner, columns));
        for (r, k) in [(0, 0), (130, 69), (64, 3), (63, 69)] {
            assert_eq!(c[r * columns + k], (0..inner).map(|i| a[r * inner + i] * b[k * inner + i]).sum::<f32>());
        }
        let d = outer(2.0, &c, &a, columns, inner);
        for (k, i) in [(0, 0), (69, 6), (64, 2)] {
            assert_eq!(d[k * inner + i], 2.0 * (0..rows).map(|r| c[r * columns + k] * a[r * inner + i]).sum::<f32>());
        }
    }
}
