//! Every pass of local learning on a device and in Rust, with the same numbers. On a driver that computes on the processor they must come
//! out the same bit for bit, but for divisions, which drivers round as they like; elsewhere within the rounding of f32.

use super::super::device::Device;
use super::super::twins::{agree, near};
use super::record::{Batch, Kernels, List, Pass, PosteriorOp, RunOp, SignalOp, StepOp, View};
use super::words;
use crate::learning::importance::{Form, Options, held};
use crate::learning::local::spikes::{Neuron, Source, kernel, run};
use crate::learning::local::{Moments, Optimiser, Samples, at_the_end, errors, outer, spread, times, times_transposed};
use crate::learning::posterior::{self, Gaussian, Posterior, Rule};
use crate::learning::{Layer, Protection, metaplastic};
use crate::rng::{self, Purpose, Stream};

struct Stage {
    device: Device,
    kernels: Kernels,
}

impl Stage {
    /// The buffers as a pass leaves them, `op` its numbers.
    fn after(&self, pass: Pass, batch: Batch, buffers: &[&[u32]], op: &[u32]) -> Vec<Vec<u32>> {
        self.kernels.set_batches(&self.device, &[batch]).unwrap();
        let all: Vec<wgpu::Buffer> = buffers.iter().map(|words| self.device.storage("twin", words).unwrap()).collect();
        let mut list = List::new(&self.device, &self.kernels).unwrap();
        list.each(pass, &all.iter().collect::<Vec<_>>(), op).unwrap();
        self.finish(list, buffers, &all)
    }

    fn finish(&self, list: List, buffers: &[&[u32]], all: &[wgpu::Buffer]) -> Vec<Vec<u32>> {
        list.finish().unwrap().run(&self.device, &self.kernels, 0);
        let parts: Vec<(&wgpu::Buffer, u64, u64)> = all.iter().zip(buffers).map(|(b, w)| (b, 0, w.len() as u64)).collect();
        self.device.read(&parts).unwrap()
    }
}

fn normals(owner: u32, count: usize) -> Vec<f32> {
    let mut random = Stream::new(rng::key(5, owner), Purpose::Encoder, 0, 0);
    (0..count).map(|_| random.normal() as f32).collect()
}

/// Numbers of a signal pass.
fn signal_op(count: usize, width: usize, steps: usize, mode: u32) -> SignalOp {
    SignalOp { count: count as u32, width: width as u32, steps: steps as u32, mode }
}

/// Numbers of a step pass.
fn step_op(count: usize, mode: u32, x: f32, y: f32) -> StepOp {
    StepOp { count: count as u32, mode, x, y }
}

#[test]
fn every_pass_is_the_hosts() {
    let Some(device) = Device::for_tests() else { return };
    let stage = Stage { kernels: Kernels::new(&device).unwrap(), device };
    for pass in Pass::ALL {
        let twin = match pass {
            Pass::Product => product,
            Pass::Run => layers,
            Pass::Gather => gather,
            Pass::Errors => softmax_errors,
            Pass::Gate => gate,
            Pass::Spread => spread_factors,
            Pass::Optimise => optimise,
            Pass::Metaplastic => hold_back,
            Pass::Hold => hold,
            Pass::Apply => apply,
            Pass::Posterior => learn_and_draw,
        };
        twin(&stage);
    }
}

/// Of whole numbers, whose sums are exact in any order.
fn product(stage: &Stage) {
    let (rows, inner, columns) = (70, 45, 67);
    let whole = |n: usize, m: usize| (0..n).map(|i| (i * i % m) as f32 - (m / 2) as f32).collect::<Vec<f32>>();
    let (a, b, c) = (whole(rows * inner, 13), whole(inner * columns, 11), whole(rows * columns, 7));
    let turned: Vec<f32> = (0..columns * inner).map(|i| b[i % inner * columns + i / inner]).collect();
    let tall: Vec<f32> = (0..inner * rows).map(|i| a[i % rows * inner + i / rows]).collect();
    let buffers = [words(&a), words(&b), words(&c), words(&turned), words(&tall)];
    let after = |pick: &dyn Fn(&[wgpu::Buffer]) -> ([View; 2], [f32; 2])| {
        let all: Vec<wgpu::Buffer> = buffers.iter().map(|words| stage.device.storage("twin", words).unwrap()).collect();
        let mut list = List::new(&stage.device, &stage.kernels).unwrap();
        let (ab, scales) = pick(&all);
        list.product([rows, inner, columns], ab, View::new(&all[2], columns), scales).unwrap();
        stage.finish(list, &buffers, &all).swap_remove(2)
    };
    let plain = after(&|all| ([View::new(&all[0], inner), View::new(&all[1], columns)], [1.0, 0.0]));
    assert_eq!(plain, words(&times(&a, &b, inner, columns)));
    let transposed = after(&|all| ([View::new(&all[0], inner), View::new(&all[3], inner).transposed()], [1.0, 0.0]));
    assert_eq!(transposed, words(&times_transposed(&a, &turned, inner, columns)));
    let outer_product = after(&|all| ([View::new(&all[4], rows).transposed(), View::new(&all[1], columns)], [0.5, 0.0]));
    assert_eq!(outer_product, words(&outer(0.5, &tall, &b, rows, columns)));
    let added = after(&|all| ([View::new(&all[0], inner), View::new(&all[1], columns)], [-2.0, 3.0]));
    let expected: Vec<f32> = times(&a, &b, inner, columns).iter().zip(&c).map(|(ab, c)| -2.0 * ab + 3.0 * c).collect();
    assert_eq!(added, words(&expected));
}

/// A layer of constant currents, and one that hears it through weights: potentials that are no dyadic numbers.
fn layers(stage: &Stage) {
    let (presentations, steps, inputs, neurons) = (5, 9, 70, 41);
    let neuron = Neuron { leak: 0.9, threshold: 0.7 };
    let currents: Vec<f32> = normals(1, presentations * inputs).iter().map(|x| 0.5 * x).collect();
    let weight: Vec<f32> = normals(2, neurons * inputs).iter().map(|x| 0.3 * x).collect();
    let layer = Layer { inputs, outputs: neurons, weight };
    let below = run(&Source::Constant(&currents, inputs), steps, neuron, true);
    let above = run(&Source::Spikes(&layer, &below.spikes), steps, neuron, true);
    let (_, total) = kernel(steps, neuron.leak);
    let mut heard = vec![];
    for (activity, n, keep) in [(&below, inputs, 14), (&above, neurons, 15)] {
        let currents: &[f32] = if keep == 15 { &heard } else { &currents };
        let (many, one) = (vec![0; presentations * steps * n], vec![0; presentations * n]);
        let buffers = [words(currents), &many, &one, &one, &many, &many, &[0]];
        let (leak, threshold, count) = (neuron.leak, neuron.threshold, (presentations * n) as u32);
        let op = RunOp { count, neurons: n as u32, steps: steps as u32, keep, leak, threshold, total, unused: 0 };
        let found = stage.after(Pass::Run, Batch::default(), &buffers, op.words());
        let mut spikes = vec![0.0f32; presentations * steps * n];
        for (row, spikes) in spikes.chunks_mut(n).enumerate() {
            activity.spikes.active(row / steps, row % steps).for_each(|i| spikes[i] = 1.0);
        }
        let device = &stage.device;
        // A fused product can move a potential over the threshold.
        if !device.info.real {
            assert_eq!(found[1], words(&spikes), "spikes, keep {keep}");
            assert_eq!(u64::from(found[6][0]), activity.spikes.count());
            agree(device, "rates", 2, 0, &found[2], &activity.rate);
            near(device, "drives", 1e-6, &found[3], &activity.drive);
            near(device, "slopes", 1e-6, &found[4], &activity.slope);
            agree(device, "traces", 0, 0, &found[5], &activity.spikes.traces(neuron.leak));
        }
        assert!(activity.spikes.count() > 50);
        if keep == 14 {
            // The product of spikes and weights is the sum over those that fired.
            let buffers = [words(&spikes), words(&layer.weight), &vec![0; presentations * steps * neurons]];
            let all: Vec<wgpu::Buffer> = buffers.iter().map(|words| device.storage("twin", words).unwrap()).collect();
            let mut list = List::new(device, &stage.kernels).unwrap();
            let ab = [View::new(&all[0], inputs), View::new(&all[1], inputs).transposed()];
            list.product([presentations * steps, inputs, neurons], ab, View::new(&all[2], neurons), [1.0, 0.0]).unwrap();
            heard = bytemuck::cast_slice(&stage.finish(list, &buffers, &all)[2]).to_vec();
        }
    }
}

fn gather(stage: &Stage) {
    let (size, images) = (10, 6);
    let pixels: Vec<u8> = (0..size * images).map(|i| (i * 37 % 256) as u8).collect();
    let labels = vec![0; images];
    let permutation = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7];
    let plain_view = Samples::new(&pixels, size, &labels);
    let views = [plain_view, Samples { permutation: Some(&permutation), scale: 0.7, offset: 0.3, ..plain_view }];
    let chosen = [(4, 1), (0, 0), (5, 1), (2, 0)];
    let expected: Vec<f32> = chosen.iter().flat_map(|&(image, view)| views[view].gather(&[image]).0).collect();
    let packed: Vec<u32> = pixels.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let items: Vec<u32> = [(9, 9)].iter().chain(&chosen).flat_map(|&(image, view)| [image, view as u32]).collect();
    let permutations: Vec<u32> = (0..size as u32).chain(permutation).collect();
    let shades: Vec<f32> = views.iter().flat_map(|view| (0..=255).map(|p| view.current(p))).collect();
    let buffers = [&packed[..], &items, &permutations, words(&shades), &vec![0; expected.len()]];
    // The batch begins at the second presentation of those uploaded.
    let second = Batch { first: 1, ..Batch::default() };
    let found = stage.after(Pass::Gather, second, &buffers, signal_op(expected.len(), size, 0, 0).words());
    assert_eq!(found[4], words(&expected));
}

fn softmax_errors(stage: &Stage) {
    let (rows, classes) = (30, 7);
    let mut scores: Vec<f32> = normals(3, rows * classes).iter().map(|x| 4.0 * x).collect();
    // A tie, which counts for the first, and scores far apart.
    scores[..classes].fill(1.5);
    scores[classes] = 200.0;
    let labels: Vec<u32> = (0..rows as u32).map(|i| i % classes as u32).collect();
    let buffers = [&labels[..], words(&scores), &vec![0; 2 * rows]];
    let found = stage.after(Pass::Errors, Batch::default(), &buffers, signal_op(rows, classes, 0, 1).words());
    let own: Vec<u8> = labels.iter().map(|l| *l as u8).collect();
    let (expected, outcome) = errors(scores, &own, classes);
    near(&stage.device, "errors", 1e-6, &found[1], &expected);
    let told: &[f32] = bytemuck::cast_slice(&found[2]);
    let (loss, hits) = told.chunks(2).fold((0.0, 0), |(loss, hits), t| (loss + t[0] as f64, hits + (t[1] == 1.0) as usize));
    assert!((loss - outcome.loss).abs() < 1e-5 * outcome.loss && hits == outcome.correct, "{loss} {hits} {outcome:?}");
}

fn gate(stage: &Stage) {
    let (currents, n) = ([-0.3, 0.0, 0.2, 0.999, 1.0, 7.0, 0.5], 7);
    let neuron = Neuron { leak: 0.5, threshold: 1.0 };
    let mut activity = run(&Source::Constant(&currents, n), 4, neuron, false);
    activity.drive.copy_from_slice(&currents);
    let signal = normals(4, n);
    let buffers = [words(&activity.drive), words(&signal)];
    let found = stage.after(Pass::Gate, Batch::default(), &buffers, signal_op(n, n, 0, 0).words());
    let as_numbers = |words: &[u32]| words.iter().map(|w| f32::from_bits(*w)).collect::<Vec<_>>();
    assert_eq!(as_numbers(&found[1]), at_the_end(signal, &activity));
}

fn spread_factors(stage: &Stage) {
    let (presentations, steps, n, leak) = (6, 8, 11, 0.8);
    let (slope, signal) = (normals(5, presentations * steps * n), normals(6, presentations * n));
    let (kernel, _) = kernel(steps, leak);
    let rises: Vec<f32> = kernel.iter().enumerate().map(|(t, k)| k * (1.0 - leak.powi(t as i32 + 1))).collect();
    for (weights, sums) in [(&kernel, false), (&rises, true)] {
        let expected = spread(steps, leak, n, sums, &signal, &slope);
        let buffers = [words(&slope), words(&signal), words(weights), &vec![0; expected.len()]];
        let op = signal_op(presentations * n, n, steps, sums as u32);
        let found = stage.after(Pass::Spread, Batch::default(), &buffers, op.words());
        near(&stage.device, "factors", 1e-6, &found[3], &expected);
        if !sums {
            agree(&stage.device, "factors", 0, 2, &found[3], &expected);
        }
    }
}

/// Several steps, some without a gradient and one far below the others.
fn optimise(stage: &Stage) {
    let n = 100;
    for (mode, optimiser) in [(0, Optimiser::Sgd { rate: 0.05, momentum: 0.9 }), (1, Optimiser::Adam { rate: 0.002 })] {
        let mut moments = Moments::default();
        let (mut first, mut second) = (vec![0; n], vec![0; n]);
        for step in 1..5 {
            let mut gradient = normals(6 + step as u32, n);
            gradient[..10].fill(0.0);
            gradient[10] = 1e-28;
            let [first_part, second_part] = [1.0 - 0.9f32.powi(step), 1.0 - 0.999f32.powi(step)];
            let batch = Batch { rate: optimiser.rate(), first_part, second_part, ..Batch::default() };
            let op = step_op(n, mode, if mode == 0 { 0.9 } else { 0.0 }, 0.0);
            let found = stage.after(Pass::Optimise, batch, &[words(&gradient), &first, &second], op.words());
            moments.step(&mut gradient, optimiser);
            agree(&stage.device, "first moments", 0, 8, &found[1], &moments.first);
            if mode == 1 {
                agree(&stage.device, "second moments", 0, 8, &found[2], &moments.second);
            }
            agree(&stage.device, "steps", 4, 16, &found[0], &gradient);
            (first, second) = (found[1].clone(), found[2].clone());
        }
        assert!(moments.first[..10].iter().all(|m| *m == 0.0));
    }
}

fn hold_back(stage: &Stage) {
    let n = 300;
    let (m, old, change) = (1.7f32, normals(11, n), normals(12, n));
    let found = stage.after(Pass::Metaplastic, Batch::default(), &[words(&change), words(&old)], step_op(n, 0, m, 0.0).words());
    let expected: Vec<f32> = change.iter().zip(&old).map(|(s, w)| s * metaplastic::passes(m, *w, *s)).collect();
    near(&stage.device, "steps held back", 1e-6, &found[0], &expected);
}

fn hold(stage: &Stage) {
    let n = 200;
    let (change, old, anchor) = (normals(13, n), normals(14, n), normals(15, n));
    let importance: Vec<f32> = normals(16, n).iter().map(|x| x * x).collect();
    for (mode, form) in [(0, Form::Penalty), (1, Form::Limit)] {
        let options = Options { strength: 3.0, rate: 0.1, form };
        let buffers = [words(&change), words(&old), words(&importance), words(&anchor)];
        let op = step_op(n, mode, options.strength, options.rate);
        let found = stage.after(Pass::Hold, Batch::default(), &buffers, op.words());
        let expected: Vec<f32> = (0..n).map(|i| held(&options, change[i], old[i], importance[i], anchor[i])).collect();
        near(&stage.device, "held steps", 1e-6, &found[0], &expected);
    }
}

fn apply(stage: &Stage) {
    let (change, mut weight) = (normals(17, 99), normals(18, 99));
    let expected: Vec<f32> = weight.iter().zip(&change).map(|(w, s)| w + s).collect();
    let after = |weight: &[f32]| {
        stage.after(Pass::Apply, Batch::default(), &[words(&change), words(weight), &[0]], step_op(99, 0, 0.0, 0.0).words())
    };
    let found = after(&weight);
    assert_eq!((&found[1][..], found[2][0]), (words(&expected), 0));
    weight[7] = f32::NAN;
    assert_eq!(after(&weight)[2][0], 1);
}

/// The noise is the host's also where the low word of the time overflows; each rule moves the posterior as the host does in f64.
fn learn_and_draw(stage: &Stage) {
    let n = 103;
    let one = vec![1.0f32; n];
    let op = |owner: u32| {
        let [key_low, key_high] = rng::key(77, owner);
        PosteriorOp { count: n.div_ceil(4) as u32, weights: n as u32, key_low, key_high, ..PosteriorOp::default() }
    };
    let at =
        |time: u64, updates: u32| Batch { time_low: time as u32, time_high: (time >> 32) as u32, updates, ..Batch::default() };
    for time in [0, 5, u64::from(u32::MAX), 3 << 32] {
        let zeros = vec![0; n];
        let buffers = [&zeros[..], &zeros, &zeros, words(&one), &zeros, &zeros, &[0]];
        let found = stage.after(Pass::Posterior, at(time, 0), &buffers, op(2).words());
        let mut noise = vec![0.0; n];
        posterior::normals(77, 2, time + 1, &mut noise);
        if stage.device.info.real {
            near(&stage.device, "noise", 1e-6, &found[1], &noise);
        } else {
            agree(&stage.device, "noise", 0, 0, &found[1], &noise);
        }
    }
    let (mean, step) = (normals(19, n), normals(20, n));
    let deviation: Vec<f32> = normals(21, n).iter().map(|x| 0.02 + x.abs() * 0.3).collect();
    let mesu = |second_order| Rule::Mesu { window: 50.0, rate_mean: 1.0, rate_deviation: 0.5, second_order };
    for (rule, number) in [(Rule::Bgd { rate: 0.7 }, 0), (mesu(false), 1), (mesu(true), 3)] {
        let gaussian = Gaussian {
            inputs: n,
            outputs: 1,
            mean: mean.clone(),
            deviation: deviation.clone(),
            prior_mean: 0.1,
            prior_deviation: 0.6,
        };
        let options = posterior::Options { clip: Some(0.4), seed: 77, observations: 2.0, ..posterior::Options::new(rule, 0.5) };
        let mut host = Posterior::new(vec![gaussian], options).unwrap();
        let mut layer = Layer { inputs: n, outputs: 1, weight: vec![0.0; n] };
        host.draw(0, &mut layer);
        let (pull, [rate_mean, rate_deviation]) = if number == 0 { (0.0, [0.7, 0.0]) } else { (1.0 / (50.0 * 0.36), [1.0, 0.5]) };
        let (prior_mean, prior_variance) = (0.1, 0.36);
        let op = PosteriorOp {
            rule: number,
            scale: -4.0,
            rate_mean,
            rate_deviation,
            pull,
            prior_mean,
            prior_variance,
            clip: 0.4,
            ..op(0)
        };
        let zeros = vec![0; n];
        let buffers = [words(&step), words(&layer.weight), words(&mean), words(&deviation), &zeros, &zeros, &[0]];
        let found = stage.after(Pass::Posterior, at(0, 1), &buffers, op.words());
        host.apply(0, &mut layer, &step);
        near(&stage.device, "means", 2e-6, &found[2], &host.layers[0].mean);
        near(&stage.device, "deviations", 2e-6, &found[3], &host.layers[0].deviation);
        near(&stage.device, "samples", 4e-6, &found[1], &layer.weight);
        assert!(host.layers[0].mean.iter().zip(&mean).any(|(a, b)| (a - b).abs() > 1e-2));
    }
}
