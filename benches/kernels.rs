//! What the inner loops cost: one update of each neuron model in both forms of its code, projection, posterior, philox. Why: the CPU engine
//! spends most of its time in the first, learning in the others. `cargo bench --bench kernels [FILTER]`; times are of a whole block
//! (1,024 neurons, 64 presentations), items a second are printed beside them.
//!
//! Last result (2026-11-28, one core of an AMD EPYC, Zen 3, AVX2): see the rows "update" and "learning" of `make bench` in the README.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use sharpwave::bench::parts::Cells;
use sharpwave::learning::Layer;
use sharpwave::learning::posterior::{Gaussian, Rule};
use sharpwave::learning::projection::Basis;
use sharpwave::model::NeuronModel;
use sharpwave::model::kernel::{BLOCK, Kernel};
use sharpwave::model::library::Library;
use sharpwave::rng::{Purpose, Stream, key};
use std::sync::Arc;

fn main() {
    divan::main();
}

fn models() -> Vec<String> {
    Library::built_in().map_or_else(|_| Vec::new(), |library| library.neurons().map(|m| m.name.clone()).collect())
}

fn drawn(n: usize) -> Vec<f32> {
    let mut stream = Stream::new(key(1, 0), Purpose::Weight, 0, 0);
    (0..n).map(|_| stream.normal() as f32).collect()
}

/// One step of a block of neurons.
fn update(bencher: Bencher, name: &str, kernel: fn(&NeuronModel) -> Arc<dyn Kernel>) {
    let model = Library::built_in().and_then(|library| library.neuron(name)).expect("a built-in model");
    let mut cells = Cells::new(&model, kernel(&model)).expect("default parameters");
    bencher.counter(ItemsCount::new(BLOCK)).bench_local(|| cells.step());
}

#[divan::bench(args = models())]
fn compiled(bencher: Bencher, name: &str) {
    update(bencher, name, NeuronModel::kernel);
}

#[divan::bench(args = models())]
fn interpreted(bencher: Bencher, name: &str) {
    update(bencher, name, NeuronModel::interpreter);
}

/// x - H'(Hx) for 64 presentations of 784 inputs.
#[divan::bench(args = [10, 100, 400])]
fn projection(bencher: Bencher, rank: usize) {
    let mut basis = Basis::new(784);
    for row in drawn(rank * 784).chunks_mut(784) {
        basis.project(row);
        basis.append(row);
    }
    let mut batch = drawn(64 * 784);
    bencher.counter(ItemsCount::new(64usize)).bench_local(|| basis.project(black_box(&mut batch)));
}

/// MESU over 784 x 800 weights.
#[divan::bench]
fn posterior(bencher: Bencher) {
    let weight: Vec<f32> = drawn(784 * 800).iter().map(|x| 0.05 * x).collect();
    let mut gaussian = Gaussian::new(&Layer { inputs: 784, outputs: 800, weight }, 0.05, 0.1).expect("a layer");
    let gradient: Vec<f64> = drawn(784 * 800).iter().map(|x| 1e-3 * f64::from(*x)).collect();
    bencher
        .counter(ItemsCount::new(784 * 800usize))
        .bench_local(|| gaussian.update(&Rule::mesu(1e5), None, black_box(&gradient), &gradient));
}

#[divan::bench]
fn philox_normals(bencher: Bencher) {
    bencher.counter(ItemsCount::new(4096usize)).bench(|| drawn(4096));
}
