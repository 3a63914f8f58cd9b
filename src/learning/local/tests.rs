//! Local learning against finite differences, naive sums and small tasks; what a protection is shown.

use super::*;

fn settings(sizes: &[usize], signal: Signal) -> Settings {
    Settings { signal, leak: 0.9, ..Settings::new(sizes.to_vec(), 3) }
}

fn uniform(seed: u64, count: usize) -> Vec<f32> {
    let mut random = Stream::new(key(seed, 99), Purpose::Encoder, 0, 0);
    (0..count).map(|_| random.uniform() as f32).collect()
}

/// Noisy copies of one random pattern a class, as bytes, with their labels.
fn patterns(seed: u64, count: usize, size: usize, classes: usize) -> (Vec<u8>, Vec<u8>) {
    let clean = uniform(1, classes * size);
    let noise = uniform(seed, count * size);
    let labels: Vec<u8> = (0..count).map(|i| (i % classes) as u8).collect();
    let pixel = |i: usize| {
        let (sample, p) = (i / size, i % size);
        (255.0 * (0.45 * clean[labels[sample] as usize * size + p] + 0.55 * noise[i])) as u8
    };
    ((0..count * size).map(pixel).collect(), labels)
}

const SIGNALS: [Signal; 4] =
    [Signal::Broadcast, Signal::Symmetric, Signal::LocalReadouts { trained: false }, Signal::LocalReadouts { trained: true }];

/// Cross-entropy, summed over the batch, in f64 and plain loops.
fn cross_entropy(readout: &[f64], rate: &[f64], labels: &[u8], classes: usize) -> f64 {
    let n = rate.len() / labels.len();
    labels.iter().enumerate().fold(0.0, |loss, (b, &label)| {
        let score = |c: usize| (0..n).map(|i| readout[c * n + i] * rate[b * n + i]).sum::<f64>();
        loss + (0..classes).map(|c| score(c).exp()).sum::<f64>().ln() - score(label as usize)
    })
}

/// The readout's step is the gradient of the cross-entropy of its leaky potential; the hidden layer's under symmetric feedback is
/// that of the closed form rate = spikes now + clamp(drive) - clamp(drive now), both by central differences.
#[test]
fn steps_are_the_gradients_of_the_closed_forms() {
    let (inputs, hidden, classes, batch) = (12, 9, 3, 5);
    for signal in [Signal::Symmetric, Signal::LocalReadouts { trained: true }] {
        let network = Network::new(settings(&[inputs, hidden, classes], signal)).unwrap();
        let x: Vec<f32> = uniform(5, batch * inputs);
        let labels = [0, 1, 2, 1, 0];
        let (outcome, factors, _) = network.factors(&x, &labels).unwrap();
        let wide = |v: &[f32]| v.iter().map(|x| *x as f64).collect::<Vec<f64>>();
        let rate = wide(&network.forward(&x).unwrap()[0].rate);
        let (first, readout) = (wide(&network.layers()[0].weight), wide(&network.layers()[1].weight));
        assert!((cross_entropy(&readout, &rate, &labels, classes) - outcome.loss).abs() < 1e-5);

        let clamped = |weight: &[f64]| -> Vec<f64> {
            let drive = |b: usize, o: usize| (0..inputs).map(|i| weight[o * inputs + i] * x[b * inputs + i] as f64).sum::<f64>();
            (0..batch * hidden).map(|k| drive(k / hidden, k % hidden).clamp(0.0, 1.0)).collect()
        };
        let now = clamped(&first);
        let of_first = |weight: &[f64]| {
            let moved: Vec<f64> =
                clamped(weight).iter().zip(&now).zip(&rate).map(|((new, old), rate)| rate + new - old).collect();
            cross_entropy(&readout, &moved, &labels, classes)
        };
        let of_readout = |weight: &[f64]| cross_entropy(weight, &rate, &labels, classes);
        let compare = |loss: &dyn Fn(&[f64]) -> f64, weight: &[f64], gradient: &[f32]| {
            assert!(gradient.iter().any(|g| g.abs() > 0.01));
            for k in 0..weight.len() {
                let at = |shift: f64| {
                    let mut moved = weight.to_vec();
                    moved[k] += shift;
                    loss(&moved)
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!(
                    (difference - gradient[k] as f64).abs() < 1e-4 * (1.0 + difference.abs()),
                    "{k}: {difference} {}",
                    gradient[k]
                );
            }
        };
        compare(&of_first, &first, &outer(1.0, &factors[0].d, &factors[0].x, hidden, inputs));
        compare(&of_readout, &readout, &outer(1.0, &factors[1].d, &factors[1].x, classes, hidden));
    }
}

/// The step-wise factors against the sum over steps and synapses as it reads.
#[test]
fn step_wise_eligibility_is_the_sum_over_steps() {
    let s = Settings { eligibility: Eligibility::Step, steps: 6, ..settings(&[10, 20, 15, 3], Signal::Broadcast) };
    let network = Network::new(s).unwrap();
    let (x, labels) = (uniform(2, 40), [0, 1, 2, 2]);
    let (_, factors, _) = network.factors(&x, &labels).unwrap();
    let activities = network.forward(&x).unwrap();
    let (error, _) = errors(network.predict(&x).unwrap(), &labels, 3);
    let sum: f64 = (0..6).map(|t| 0.9f64.powi(t)).sum();
    for (l, n, m) in [(0, 20, 10), (1, 15, 20)] {
        let gradient = outer(1.0, &factors[l].d, &factors[l].x, n, m);
        let mut largest = 0f64;
        for o in 0..n {
            for i in 0..m {
                let mut naive = 0.0;
                for b in 0..4 {
                    let signal: f32 = (0..3).map(|c| network.feedback[l].weight[o * 3 + c] * error[b * 3 + c]).sum();
                    let mut trace = 0.0;
                    for t in 0..6 {
                        let input = match l {
                            0 => x[b * 10 + i] as f64,
                            _ => activities[0].spikes.active(b, t).any(|j| j == i) as u8 as f64,
                        };
                        trace = 0.9 * trace + 0.1 * input;
                        let slope = activities[l].slope[(b * 6 + t) * n + o] as f64;
                        naive += 0.9f64.powi(5 - t as i32) / sum * signal as f64 * slope * trace;
                    }
                }
                assert!((naive - gradient[o * m + i] as f64).abs() < 1e-5, "{naive} {}", gradient[o * m + i]);
                largest = largest.max(naive.abs());
            }
        }
        assert!(largest > 1e-3, "layer {l}: nothing to learn");
    }
}

fn pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

#[test]
fn weights_do_not_depend_on_threads() {
    let (pixels, labels) = patterns(4, 300, 30, 3);
    let samples = Samples::new(&pixels, 30, &labels);
    for (signal, eligibility) in SIGNALS.into_iter().zip([Eligibility::Step, Eligibility::Presentation].into_iter().cycle()) {
        let learn = || {
            let mut network = Network::new(Settings { eligibility, ..settings(&[30, 150, 70, 3], signal) }).unwrap();
            let outcome = network.train(&samples, &order(1, 0, 300), 100, None, &mut |_| Ok(())).unwrap();
            (network, outcome)
        };
        let (one, two) = (pool(1, learn), pool(2, learn));
        assert_eq!(one.1, two.1);
        assert_eq!(one.0.layers(), two.0.layers());
        let other = Network::new(Settings { seed: 4, ..one.0.settings().clone() }).unwrap();
        assert_ne!(other.layers(), Network::new(one.0.settings().clone()).unwrap().layers());
    }
}

/// Every signal, eligibility and optimiser learns three noisy patterns; one third is chance.
#[test]
fn noisy_patterns_are_learnt() {
    let (size, classes) = (40, 3);
    let (pixels, labels) = patterns(7, 1200, size, classes);
    let (unseen, their) = patterns(8, 300, size, classes);
    let train = Samples::new(&pixels, size, &labels);
    let test = Samples::new(&unseen, size, &their);
    for signal in SIGNALS {
        for (eligibility, optimiser) in [
            (Eligibility::Presentation, Optimiser::Sgd { rate: 0.03, momentum: 0.9 }),
            (Eligibility::Step, Optimiser::Sgd { rate: 0.03, momentum: 0.9 }),
            (Eligibility::Presentation, Optimiser::Adam { rate: 0.003 }),
        ] {
            let mut network =
                Network::new(Settings { eligibility, optimiser, ..settings(&[size, 64, 48, classes], signal) }).unwrap();
            let before = network.evaluate(&test).unwrap();
            for epoch in 0..6 {
                network.train(&train, &order(1, epoch, 1200), 30, None, &mut |_| Ok(())).unwrap();
            }
            let after = network.evaluate(&test).unwrap();
            assert!(
                after.accuracy() > 0.95,
                "{signal:?} {eligibility:?} {optimiser:?}: {} -> {}",
                before.accuracy(),
                after.accuracy()
            );
            assert!(after.loss < 0.5 * before.loss && after.spikes > 0);
        }
    }
}

#[test]
fn a_restored_network_goes_on_bit_for_bit() {
    let (pixels, labels) = patterns(4, 120, 30, 3);
    let samples = Samples::new(&pixels, 30, &labels);
    for optimiser in [Optimiser::Sgd { rate: 0.03, momentum: 0.9 }, Optimiser::Adam { rate: 0.003 }] {
        let signal = Signal::LocalReadouts { trained: true };
        let new = || Network::new(Settings { optimiser, ..settings(&[30, 40, 20, 3], signal) }).unwrap();
        let learn = |network: &mut Network, from: usize| {
            network.train(&samples, &order(1, 0, 120)[from..from + 60], 30, None, &mut |_| Ok(())).unwrap();
        };
        let (mut one, mut two) = (new(), new());
        learn(&mut one, 0);
        one.set_rate(0.01);
        let saved = one.state();
        assert!(two.restore(&saved.part("layer")).is_err() && two.state() == new().state());
        two.restore(&saved).unwrap();
        learn(&mut one, 60);
        learn(&mut two, 60);
        assert!(one.state() == two.state() && one.state() != saved);
        assert_eq!(one.predict(&uniform(1, 30)).unwrap(), two.predict(&uniform(1, 30)).unwrap());
    }
}

/// Fisher diagonals against one presentation and label at a time, squared weight by weight.
#[test]
fn fisher_is_the_mean_square_of_the_rules_own_gradients() {
    let (x, labels) = (uniform(2, 40), [0, 1, 2, 2]);
    for (eligibility, signal) in [Eligibility::Presentation, Eligibility::Step].into_iter().zip([SIGNALS[3], SIGNALS[1]]) {
        let network = Network::new(Settings { eligibility, ..settings(&[10, 20, 15, 3], signal) }).unwrap();
        let mut naive: [Vec<Vec<f64>>; 2] =
            std::array::from_fn(|_| network.layers().iter().map(|l| vec![0.0; l.weight.len()]).collect());
        for (x, &label) in x.chunks(10).zip(&labels) {
            let scores: Vec<f64> = network.predict(x).unwrap().iter().map(|s| (*s as f64).exp()).collect();
            for class in 0..3u8 {
                let (_, factors, _) = network.factors(x, &[class]).unwrap();
                let p = [scores[class as usize] / scores.iter().sum::<f64>(), (class == label) as u8 as f64];
                for (l, f) in factors.iter().enumerate() {
                    let (n, m) = (network.layers()[l].outputs, network.layers()[l].inputs);
                    for k in 0..n * m {
                        let rows = f.d.chunks(n).zip(f.x.chunks(m));
                        let gradient: f64 = rows.map(|(d, x)| d[k / m] as f64 * x[k % m] as f64).sum();
                        naive.iter_mut().zip(p).for_each(|(sum, p)| sum[l][k] += p * gradient * gradient / 4.0);
                    }
                }
            }
        }
        for (kind, naive, tolerance) in [
            (Fisher::Exact, &naive[0], 1e-4),
            (Fisher::Empirical, &naive[1], 1e-4),
            (Fisher::Sampled { draws: 20_000, seed: 1 }, &naive[0], 0.05),
        ] {
            for (got, expected) in network.fisher(kind, &x, &labels).unwrap().iter().zip(naive) {
                let largest = expected.iter().fold(0.0, |a: f64, b| a.max(*b));
                assert!(largest > 1e-6 && got.iter().zip(expected).all(|(g, e)| (*g as f64 - e).abs() < tolerance * largest));
            }
        }
    }
}

/// With the readout alone untouched by the hidden layers' learning, hidden layers must have changed too, by every signal.
#[test]
fn hidden_layers_learn() {
    let (pixels, labels) = patterns(4, 60, 30, 3);
    let samples = Samples::new(&pixels, 30, &labels);
    for signal in SIGNALS {
        let mut network = Network::new(settings(&[30, 40, 20, 3], signal)).unwrap();
        let old = network.layers().to_vec();
        network.train(&samples, &order(1, 0, 60), 30, None, &mut |_| Ok(())).unwrap();
        for (old, new) in old.iter().zip(network.layers()) {
            assert!(old.weight.iter().zip(&new.weight).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) > 1e-5, "{signal:?}");
        }
    }
}

/// Projects onto the complement of what was shown, by an orthonormal basis (Gram-Schmidt, twice, in f64).
#[derive(Default)]
struct Complement {
    bases: Vec<Vec<Vec<f64>>>,
    seen: Vec<(usize, usize, usize)>,
    applied: Vec<(usize, usize)>,
}

fn remove(basis: &[Vec<f64>], row: &mut [f64]) {
    for _ in 0..2 {
        for direction in basis {
            let along: f64 = direction.iter().zip(&*row).map(|(d, r)| d * r).sum();
            row.iter_mut().zip(direction).for_each(|(r, d)| *r -= along * d);
        }
    }
}

impl Protection for Complement {
    fn presynaptic(&mut self, layer: usize, x: &mut [f32], inputs: usize) {
        self.seen.push((layer, x.len(), inputs));
        let Some(basis) = self.bases.get(layer) else { return };
        for row in x.chunks_exact_mut(inputs) {
            let mut wide: Vec<f64> = row.iter().map(|x| *x as f64).collect();
            remove(basis, &mut wide);
            row.iter_mut().zip(wide).for_each(|(x, w)| *x = w as f32);
        }
    }
    fn apply(&mut self, layer: usize, weights: &mut Layer, step: &[f32]) {
        self.applied.push((layer, step.len()));
        weights.weight.iter_mut().zip(step).for_each(|(w, s)| *w += s);
    }
    fn end_of_task(&mut self, layers: &[Layer], samples: &mut dyn FnMut(usize) -> Vec<f32>) -> Result<()> {
        for (l, layer) in layers.iter().enumerate() {
            let mut basis: Vec<Vec<f64>> = vec![];
            for row in samples(l).chunks_exact(layer.inputs) {
                let mut row: Vec<f64> = row.iter().map(|x| *x as f64).collect();
                let before = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                remove(&basis, &mut row);
                let after = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                if after > 1e-5 * before {
                    basis.push(row.iter().map(|x| x / after).collect());
                }
            }
            self.bases.push(basis);
        }
        Ok(())
    }
}

#[test]
fn protection_is_called_and_a_spanning_projection_keeps_old_outputs() {
    let (size, steps, batch) = (30, 5, 20);
    for eligibility in [Eligibility::Step, Eligibility::Presentation] {
        let s = Settings { eligibility, steps, ..settings(&[size, 64, 48, 3], Signal::LocalReadouts { trained: true }) };
        let mut network = Network::new(s).unwrap();
        let old = uniform(20, 4 * size);
        let mut protection = Complement::default();
        // Whatever the rule's own trace, spikes of every step must be spanned for unchanged spikes.
        network.settings.eligibility = Eligibility::Step;
        network.end_task(&old, &mut protection).unwrap();
        network.settings.eligibility = eligibility;
        assert!(
            protection.bases[0].len() == 4 && (5..=20).contains(&protection.bases[1].len()) && protection.bases[2].len() == 4
        );
        let before = network.predict(&old).unwrap();
        let weights = network.layers().to_vec();

        let (pixels, labels) = patterns(4, batch * 5, size, 3);
        let samples = Samples::new(&pixels, size, &labels);
        let learnt = |network: &Network| network.evaluate(&samples).unwrap().loss;
        let loss = learnt(&network);
        network.train(&samples, &order(1, 0, batch * 5), batch, Some(&mut protection), &mut |_| Ok(())).unwrap();
        let rows = if eligibility == Eligibility::Step { steps } else { 1 };
        assert_eq!(protection.seen[..3], [(0, batch * size, size), (1, rows * batch * 64, 64), (2, batch * 48, 48)]);
        assert_eq!(protection.applied[..3], [(0, size * 64), (1, 64 * 48), (2, 48 * 3)]);
        assert_eq!((protection.seen.len(), protection.applied.len()), (15, 15));

        let worst = |after: &[f32]| after.iter().zip(&before).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let protected = worst(&network.predict(&old).unwrap());
        assert!(protected < 1e-5, "old outputs moved by {protected}");
        assert!(learnt(&network) < 0.98 * loss, "{loss} -> {}", learnt(&network));
        network.layers_mut().clone_from_slice(&weights);
        network.reset_optimiser();
        network.train(&samples, &order(1, 0, batch * 5), batch, None, &mut |_| Ok(())).unwrap();
        let unprotected = worst(&network.predict(&old).unwrap());
        assert!(unprotected > 1e-2, "old outputs moved by {unprotected} without protection");
    }
}

#[test]
fn a_permutation_reads_the_pixels_in_its_order() {
    let pixels = [0, 51, 255, 102, 153, 204];
    let samples = Samples { permutation: Some(&[2, 0, 1]), ..Samples::new(&pixels, 3, &[1, 0]) };
    assert_eq!(samples.gather(&[1, 0]), (vec![0.8, 0.4, 0.6, 1.0, 0.0, 0.2], vec![0, 1]));
    let mut shuffled = order(1, 0, 1000);
    assert_ne!(shuffled, order(1, 1, 1000));
    assert_eq!(shuffled, order(1, 0, 1000));
    shuffled.sort();
    assert!(shuffled.into_iter().eq(0..1000));
}

#[test]
fn bad_input_is_refused_with_a_remedy() {
    let good = settings(&[4, 3, 2], Signal::Symmetric);
    let refused = |change: &dyn Fn(&mut Settings), part: &str| {
        let mut s = good.clone();
        change(&mut s);
        let error = Network::new(s).unwrap_err();
        assert!(error.to_string().contains(part) && error.remedy().is_some(), "{error} (wanted: {part})");
    };
    refused(&|s| s.sizes = vec![4, 2], "sizes");
    refused(&|s| s.sizes[1] = 0, "sizes");
    refused(&|s| s.sizes[2] = 300, "300 classes");
    refused(&|s| s.steps = 0, "0 steps");
    refused(&|s| s.leak = 1.5, "leak 1.5");
    refused(&|s| s.leak = f32::NAN, "leak NaN");
    refused(&|s| s.threshold = 0.0, "threshold 0");
    refused(&|s| s.gain = -1.0, "gain -1");
    refused(&|s| s.optimiser = Optimiser::Sgd { rate: 0.0, momentum: 0.5 }, "rate 0");
    refused(&|s| s.optimiser = Optimiser::Sgd { rate: 1.0, momentum: 1.0 }, "momentum 1");
    refused(&|s| s.optimiser = Optimiser::Adam { rate: f32::INFINITY }, "rate inf");

    let mut network = Network::new(good.clone()).unwrap();
    let said = |error: Error, part: &str| assert!(error.to_string().contains(part), "{error} (wanted: {part})");
    said(network.learn(&[0.5; 4], &[2], None).unwrap_err(), "label 2 of presentation 0 is none of 2 classes");
    said(network.learn(&[0.5; 4], &[0, 1], None).unwrap_err(), "2 labels for 1");
    said(network.learn(&[0.5; 5], &[0], None).unwrap_err(), "5 values");
    said(network.predict(&[]).unwrap_err(), "0 values");
    said(network.predict(&[0.0, 0.0, f32::NAN, 0.0]).unwrap_err(), "input 2 of presentation 0");
    said(network.presynaptic(3, &[0.5; 4], Eligibility::Step).unwrap_err(), "layer 3 of 2");
    let data = Samples::new(&[0; 8], 4, &[0, 1]);
    said(network.evaluate(&Samples { size: 8, ..data }).unwrap_err(), "8 pixels");
    said(network.evaluate(&Samples { labels: &[0], ..data }).unwrap_err(), "1 labels");
    said(network.evaluate(&Samples { labels: &[0, 7], ..data }).unwrap_err(), "label 7");
    said(network.evaluate(&Samples { permutation: Some(&[0, 1, 2, 4]), ..data }).unwrap_err(), "permutation");
    said(network.train(&data, &[2], 1, None, &mut |_| Ok(())).unwrap_err(), "sample 2 of 2");
    let stop = &mut |_: &Outcome| Err(Error::input("stop", "go"));
    said(network.train(&data, &[0, 1], 1, None, stop).unwrap_err(), "stop");
}

#[test]
fn a_weight_that_overflows_is_named() {
    let mut network = Network::new(settings(&[4, 3, 2], Signal::Symmetric)).unwrap();
    network.layers_mut()[1].weight[4] = f32::INFINITY;
    let error = network.learn(&[1.0; 4], &[0], None).unwrap_err().to_string();
    assert!(error.contains(": the weight from source"), "{error}");
}

/// The short version of examples/mnist_local.rs: one pass over a tenth of the digits.
#[test]
fn a_tenth_of_mnist_is_learnt() {
    use crate::dataset::idx::{Images, shared_data};
    let Some(folder) = shared_data("mnist") else { return };
    let read = |part: &str| {
        let labels = folder.join(format!("{part}-labels-idx1-ubyte.gz"));
        Images::read(folder.join(format!("{part}-images-idx3-ubyte.gz")), Some(&labels)).unwrap()
    };
    let (train, test) = (read("train"), read("t10k"));
    let (labels, their) = (train.labels.unwrap(), test.labels.unwrap());
    let centred = |samples| Samples { offset: 0.13, scale: 1.6, ..samples };
    let mut network = Network::new(settings(&[784, 200, 200, 10], Signal::LocalReadouts { trained: true })).unwrap();
    let train = centred(Samples::new(&train.pixels, 784, &labels));
    for (k, chosen) in order(1, 0, 6000).chunks(600).enumerate() {
        network.set_rate(0.1 * (1.0 - k as f32 / 10.0));
        network.train(&train, chosen, 30, None, &mut |_| Ok(())).unwrap();
    }
    let tested = network.evaluate(&centred(Samples::new(&test.pixels[..784 * 2000], 784, &their[..2000]))).unwrap();
    assert!(tested.accuracy() > 0.85, "{tested:?}");
}

/// What a weight remembers of gradients that it no longer has ends at 0, not among the denormal numbers.
#[test]
fn moments_without_gradients_end() {
    for optimiser in [Optimiser::Sgd { rate: 0.1, momentum: 0.9 }, Optimiser::Adam { rate: 0.1 }] {
        let mut moments = Moments::default();
        moments.step(&mut [1.0, -2.0, 0.0], optimiser);
        assert!(moments.first[0] != 0.0);
        for _ in 0..80_000 {
            moments.step(&mut [0.0; 3], optimiser);
            assert!(moments.first.iter().chain(&moments.second).all(|m| !m.is_subnormal()));
        }
        assert!(moments.first.iter().chain(&moments.second).all(|m| *m == 0.0), "{moments:?}");
    }
}

/// The gradient that a teacher adds, against finite differences of strength * temperature² * KL(told, own) among the classes it knows.
#[test]
fn a_teacher_adds_the_gradient_of_its_divergence() {
    let network = Network::new(settings(&[4, 3, 4], Signal::Broadcast)).unwrap();
    let teacher = Teacher { network, known: vec![true, false, true, true], strength: 0.7, temperature: 2.0 };
    let (own, told) = ([0.3f32, 5.0, -1.0, 0.8], [1.5f32, -9.0, 0.2, -0.4]);
    let divergence = |own: &[f32]| {
        let soft = |scores: &[f32]| {
            let e: Vec<f64> = [0, 2, 3].iter().map(|c| (scores[*c] as f64 / 2.0).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.into_iter().map(move |e| e / sum).collect::<Vec<f64>>()
        };
        0.7 * 4.0 * soft(&told).iter().zip(soft(own)).map(|(t, o)| t * (t / o).ln()).sum::<f64>()
    };
    let mut error = vec![0.0; 4];
    teacher.add(&mut error, &own, &told, 4);
    for c in 0..4 {
        let at = |h: f32| {
            let mut moved = own;
            moved[c] += h;
            divergence(&moved)
        };
        let wanted = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!((error[c] as f64 - wanted).abs() < 1e-4, "{c}: {} {wanted}", error[c]);
    }
}

/// Sensitivity of the readout, whose gradient is exact, against finite differences of the squared norm of the scores.
#[test]
fn sensitivity_is_that_of_the_norm_of_the_scores() {
    let network = Network::new(settings(&[6, 5, 3], Signal::Symmetric)).unwrap();
    let inputs: Vec<f32> = uniform(5, 12).iter().map(|x| 2.0 * x).collect();
    let of = network.sensitivity(&inputs).unwrap();
    let norms = |network: &Network| {
        network.predict(&inputs).unwrap().chunks(3).map(|row| row.iter().map(|s| (*s as f64).powi(2)).sum()).collect::<Vec<f64>>()
    };
    for at in 0..15 {
        let moved = |h: f32| {
            let mut copy = network.clone();
            copy.layers_mut()[1].weight[at] += h;
            norms(&copy)
        };
        let slopes = moved(1e-2).into_iter().zip(moved(-1e-2)).map(|(a, b)| ((a - b) / 2e-2).abs());
        let wanted = slopes.sum::<f64>() / 2.0;
        assert!((of[1][at] as f64 - wanted).abs() < 1e-3 + 1e-2 * wanted, "{at}: {} {wanted}", of[1][at]);
    }
}
