//! Products of row-major float32 matrices on the threads of rayon's pool. The result does not depend on what else runs.

use gemm::Parallelism;

/// A matrix inside a slice: element (i, j) lies at `start + i * rows + j * columns`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub data: &'a [f32],
    pub start: usize,
    pub rows: usize,
    pub columns: usize,
}

impl View<'_> {
    fn check(&self, m: usize, n: usize) {
        if m > 0 && n > 0 {
            assert!(self.start + (m - 1) * self.rows + (n - 1) * self.columns < self.data.len(), "a matrix beyond its slice");
        }
    }
}

/// Fewer products than this are not worth other threads.
const ALONE: usize = 1 << 16;

/// `y = x Wᵀ`: x is n x inputs, `weight` outputs x inputs, y n x outputs.
pub(crate) fn by_rows(n: usize, inputs: usize, outputs: usize, x: &[f32], weight: &[f32], y: &mut [f32]) {
    assert!(x.len() == n * inputs && weight.len() == outputs * inputs && y.len() == n * outputs, "shapes that do not fit");
    if n == 1 && inputs * outputs > ALONE {
        // A row alone is limited by the memory that the weights come from: a part of the outputs for each task.
        use rayon::prelude::*;
        let part = outputs.div_ceil(rayon::current_num_threads() * 4).max(16);
        y.par_chunks_mut(part).zip(weight.par_chunks(part * inputs)).for_each(|(y, weight)| {
            let (lhs, rhs) = (View { data: x, start: 0, rows: inputs, columns: 1 }, transposed(weight, inputs));
            into(1, y.len(), inputs, lhs, rhs, 1.0, y, y.len(), 0, false, Parallelism::None);
        });
        return;
    }
    let threads = if n * inputs * outputs > ALONE { Parallelism::Rayon(0) } else { Parallelism::None };
    let lhs = View { data: x, start: 0, rows: inputs, columns: 1 };
    into(n, outputs, inputs, lhs, transposed(weight, inputs), 1.0, y, outputs, 0, false, threads);
}

/// `y += scale * x Wᵀ`, shapes as in `by_rows`.
pub(super) fn add_by_rows(n: usize, inputs: usize, outputs: usize, scale: f32, x: &[f32], weight: &[f32], y: &mut [f32]) {
    assert!(x.len() == n * inputs && weight.len() == outputs * inputs && y.len() == n * outputs, "shapes that do not fit");
    let lhs = View { data: x, start: 0, rows: inputs, columns: 1 };
    into(n, outputs, inputs, lhs, transposed(weight, inputs), scale, y, outputs, 0, true, Parallelism::None);
}

/// `x = y W`, the way back through `by_rows`: y is n x outputs, `weight` outputs x inputs, x n x inputs.
pub(super) fn by_columns(n: usize, inputs: usize, outputs: usize, y: &[f32], weight: &[f32], x: &mut [f32]) {
    assert!(x.len() == n * inputs && weight.len() == outputs * inputs && y.len() == n * outputs, "shapes that do not fit");
    let threads = if n * inputs * outputs > ALONE { Parallelism::Rayon(0) } else { Parallelism::None };
    let lhs = View { data: y, start: 0, rows: outputs, columns: 1 };
    let rhs = View { data: weight, start: 0, rows: inputs, columns: 1 };
    into(n, inputs, outputs, lhs, rhs, 1.0, x, inputs, 0, false, threads);
}

/// `y (+)= lhs rhs` on this thread: lhs is m x k, rhs k x n; y's rows start at `start` and are `stride` apart.
#[expect(clippy::too_many_arguments, reason = "two matrices and where the third goes")]
pub(super) fn small(m: usize, n: usize, k: usize, lhs: View, rhs: View, y: &mut [f32], stride: usize, start: usize, add: bool) {
    into(m, n, k, lhs, rhs, 1.0, y, stride, start, add, Parallelism::None);
}

fn transposed(weight: &[f32], inputs: usize) -> View<'_> {
    View { data: weight, start: 0, rows: 1, columns: inputs }
}

#[expect(clippy::too_many_arguments, reason = "the one call of the library")]
fn into(
    m: usize,
    n: usize,
    k: usize,
    lhs: View,
    rhs: View,
    scale: f32,
    y: &mut [f32],
    stride: usize,
    start: usize,
    add: bool,
    threads: Parallelism,
) {
    if m == 0 || n == 0 {
        return;
    }
    lhs.check(m, k);
    rhs.check(k, n);
    assert!(stride >= n && start + (m - 1) * stride + n <= y.len(), "a result beyond its slice");
    // SAFETY: every element that the strides reach was checked to lie inside its slice, and y is borrowed alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr().add(start),
            1,
            stride as isize,
            add,
            lhs.data.as_ptr().add(lhs.start),
            lhs.columns as isize,
            lhs.rows as isize,
            rhs.data.as_ptr().add(rhs.start),
            rhs.columns as isize,
            rhs.rows as isize,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream, key};

    fn drawn(n: usize, sub: u32) -> Vec<f32> {
        let mut stream = Stream::new(key(5, 0), Purpose::Weight, 0, sub);
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    /// Against the sum written out, for one row and for several, alone and on threads.
    #[test]
    fn products_against_the_sum_written_out() {
        for (n, inputs, outputs) in [(1, 3, 5), (1, 300, 401), (4, 33, 17), (7, 200, 130)] {
            let (x, w) = (drawn(n * inputs, 1), drawn(inputs * outputs, 2));
            let start = drawn(n * outputs, 3);
            let mut y = start.clone();
            by_rows(n, inputs, outputs, &x, &w, &mut y);
            let mut sum = start.clone();
            add_by_rows(n, inputs, outputs, -0.5, &x, &w, &mut sum);
            let mut back = vec![0.0; n * inputs];
            by_columns(n, inputs, outputs, &y, &w, &mut back);
            for (at, back) in back.iter().enumerate() {
                let (i, k) = (at / inputs, at % inputs);
                let exact: f64 = (0..outputs).map(|j| y[i * outputs + j] as f64 * w[j * inputs + k] as f64).sum();
                assert!((*back as f64 - exact).abs() < 1e-5 * exact.abs().max(100.0));
            }
            for i in 0..n {
                for j in 0..outputs {
                    let exact: f64 = (0..inputs).map(|k| x[i * inputs + k] as f64 * w[j * inputs + k] as f64).sum();
                    assert!((y[i * outputs + j] as f64 - exact).abs() < 1e-4);
                    assert!((sum[i * outputs + j] as f64 - start[i * outputs + j] as f64 + 0.5 * exact).abs() < 1e-4);
                }
            }
        }
    }
}
