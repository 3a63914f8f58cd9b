//! Local learning on the gpu against the cpu, on whatever device there is (software Vulkan will do). With dyadic weights, leak and
//! inputs every potential is exact, so spikes must be the same ones; elsewhere sums differ in their rounding.

use crate::common::device_there;
use sharpwave::engine::gpu::{GpuNetwork, Projections};
use sharpwave::error::{Error, Result};
use sharpwave::learning::importance::{self, Form, Importance, Kind};
use sharpwave::learning::local::{Eligibility, Network, Optimiser, Outcome, Samples, Settings, Signal, order};
use sharpwave::learning::metaplastic::Metaplastic;
use sharpwave::learning::posterior::{self, Gaussian, Posterior, Rule};
use sharpwave::learning::projection::{self, Basis, Projection};
use sharpwave::learning::{Chain, Layer, Protection};
use sharpwave::rng::{Purpose, Stream, key};

fn stream(owner: u32) -> Stream {
    Stream::new(key(11, owner), Purpose::Encoder, 0, 0)
}

fn normals(owner: u32, count: usize) -> Vec<f32> {
    let mut random = stream(owner);
    (0..count).map(|_| random.normal() as f32).collect()
}

/// Noisy black and white copies of a random pattern a class: currents are 0 or 1.
fn patterns(owner: u32, count: usize, size: usize, classes: usize) -> (Vec<u8>, Vec<u8>) {
    let mut random = stream(1);
    let clean: Vec<bool> = (0..classes * size).map(|_| random.below(2) == 1).collect();
    let mut random = stream(owner);
    let labels: Vec<u8> = (0..count).map(|i| (i % classes) as u8).collect();
    let pixel = |i: usize| clean[labels[i / size] as usize * size + i % size] ^ (random.below(6) == 0);
    ((0..count * size).map(pixel).map(|on| 255 * on as u8).collect(), labels)
}

const SIZES: [usize; 4] = [37, 70, 41, 3];

fn settings(signal: Signal, eligibility: Eligibility, optimiser: Optimiser) -> Settings {
    let mut settings = Settings::new(SIZES.to_vec(), 5);
    (settings.signal, settings.eligibility, settings.optimiser) = (signal, eligibility, optimiser);
    (settings.leak, settings.steps) = (0.5, 8);
    settings
}

fn plain() -> Settings {
    settings(Signal::LocalReadouts { trained: true }, Eligibility::Presentation, SGD)
}

const SGD: Optimiser = Optimiser::Sgd { rate: 0.05, momentum: 0.9 };

/// Hidden weights rounded to 32nds: with leak 1/2, 8 steps and inputs of 0 or 1 no potential needs more than 24 bits.
fn dyadic(settings: Settings) -> Network {
    let mut network = Network::new(settings).unwrap();
    network.layers_mut().iter_mut().for_each(|l| l.weight.iter_mut().for_each(|w| *w = (*w * 32.0).round() / 32.0));
    network
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn gpu(network: &Network) -> GpuNetwork {
    GpuNetwork::new(network.clone(), None).unwrap()
}

fn quiet(_: &Outcome) -> Result<()> {
    Ok(())
}

#[test]
fn projections_are_the_cpus() {
    if !device_there() {
        return;
    }
    let device = Projections::new(None).unwrap();
    for (inputs, samples, rows) in [(150, 40, 131), (64, 7, 64), (5, 5, 1)] {
        let moment = projection::second_moment(&normals(2, samples * inputs), inputs).unwrap();
        let mut basis = Basis::new(inputs);
        let mut x = normals(3, rows * inputs);
        let untouched = x.clone();
        device.project(&basis, &mut x).unwrap();
        assert_eq!(x, untouched);
        basis.extend_svd(&moment, 0.9, inputs);
        let mut expected = x.clone();
        basis.project(&mut expected);
        device.project(&basis, &mut x).unwrap();
        assert!(distance(&x, &expected) < 1e-5, "{}", distance(&x, &expected));
        assert!(distance(&x, &untouched) > 0.1 || basis.rank() == 0);
        assert!(device.project(&basis, &mut [0.0; 3]).is_err());
    }
}

#[test]
fn hebbian_steps_are_the_cpus() {
    if !device_there() {
        return;
    }
    let device = Projections::new(None).unwrap();
    let (inputs, rows) = (40, 90);
    let x = normals(4, rows * inputs);
    let mut cpu = Basis::new(inputs);
    cpu.extend_svd(&projection::second_moment(&normals(5, 12 * inputs), inputs).unwrap(), 1.0, 9);
    let (mut gpu, before) = (cpu.clone(), cpu.clone());
    for _ in 0..5 {
        cpu.hebbian_step(&x, 3, 0.2).unwrap();
        device.hebbian_step(&mut gpu, &x, 3, 0.2).unwrap();
    }
    assert_eq!(gpu.rows()[..3 * inputs], before.rows()[..3 * inputs]);
    assert!(distance(gpu.rows(), before.rows()) > 0.05 && gpu.rank() == 9);
    assert!(distance(gpu.rows(), cpu.rows()) < 1e-5, "{}", distance(gpu.rows(), cpu.rows()));
    assert!(gpu.deviation() < projection::ORTHONORMAL);
    let refused = device.hebbian_step(&mut gpu, &[f32::NAN; 40], 3, 0.2).unwrap_err().to_string();
    assert!(refused.contains("input 0 of sample 0 is NaN"), "{refused}");
}

/// Presentation by presentation, so that the numbers of spikes tell them apart.
#[test]
fn exact_potentials_make_the_same_spikes() {
    if !device_there() {
        return;
    }
    let network = dyadic(plain());
    let mut gpu = gpu(&network);
    let (pixels, labels) = patterns(6, 20, SIZES[0], 3);
    let mut counts = std::collections::BTreeSet::new();
    for i in 0..20 {
        let one = Samples::new(&pixels[i * SIZES[0]..][..SIZES[0]], SIZES[0], &labels[i..=i]);
        let (here, there) = (network.evaluate(&one).unwrap(), gpu.evaluate(&one).unwrap());
        assert_eq!((here.correct, here.spikes), (there.correct, there.spikes));
        assert!((here.loss - there.loss).abs() < 1e-5 * here.loss.max(1.0));
        counts.insert(here.spikes);
    }
    assert!(counts.len() > 10 && counts.first() > Some(&20), "{counts:?}");
}

/// One batch from exact potentials: every weight moves as on the cpu, by every signal, eligibility and optimiser.
#[test]
fn a_step_is_the_cpus() {
    if !device_there() {
        return;
    }
    let (pixels, labels) = patterns(7, 30, SIZES[0], 3);
    let samples = Samples::new(&pixels, SIZES[0], &labels);
    let signals =
        [Signal::Broadcast, Signal::Symmetric].into_iter().chain([true, false].map(|trained| Signal::LocalReadouts { trained }));
    for (k, signal) in signals.enumerate() {
        let adam = Optimiser::Adam { rate: 0.002 };
        for (eligibility, optimiser) in [
            (Eligibility::Presentation, if k % 2 == 0 { SGD } else { adam }),
            (Eligibility::Step, if k % 2 == 0 { adam } else { SGD }),
        ] {
            let mut cpu = dyadic(settings(signal, eligibility, optimiser));
            let before = cpu.layers().to_vec();
            let mut gpu = gpu(&cpu);
            let here = cpu.train(&samples, &order(1, 0, 30), 30, None, &mut quiet).unwrap();
            let there = gpu.train(&samples, &order(1, 0, 30), 30, None, &mut quiet).unwrap();
            assert_eq!((here.correct, here.spikes, here.presentations), (there.correct, there.spikes, there.presentations));
            assert!((here.loss - there.loss).abs() < 1e-5 * here.loss);
            let gpu = gpu.into_network().unwrap();
            for (l, old) in before.iter().enumerate() {
                let step = distance(&cpu.layers()[l].weight, &old.weight);
                let apart = distance(&cpu.layers()[l].weight, &gpu.layers()[l].weight);
                // Adam divides by the gradient's own size: where that is near its 1e-8, rounding shows.
                let tolerance = if optimiser == SGD { 1e-5 } else { 1e-2 };
                assert!(step > 1e-4 && apart <= tolerance * step + 1e-7, "{signal:?} {eligibility:?} {l}: {apart} of {step}");
            }
        }
    }
}

/// The trait object with a lifetime as short as the call.
fn lent(protection: &mut Option<Box<dyn Protection>>) -> Option<&mut dyn Protection> {
    match protection {
        Some(protection) => Some(&mut **protection),
        None => None,
    }
}

/// Epochs on the cpu and on the gpu, batches of 32: networks and losses.
fn trained(
    mut cpu: Network,
    samples: &Samples,
    epochs: u32,
    mut protection: impl FnMut() -> Option<Box<dyn Protection>>,
) -> (Network, Network, Vec<f64>, Vec<f64>) {
    let mut gpu = gpu(&cpu);
    let n = samples.labels.len();
    let (mut here, mut there) = (protection(), protection());
    let (mut losses, mut theirs) = (vec![], vec![]);
    for epoch in 0..epochs {
        let order = order(2, epoch, n);
        losses.push(cpu.train(samples, &order, 32, lent(&mut here), &mut quiet).unwrap().loss);
        theirs.push(gpu.train(samples, &order, 32, lent(&mut there), &mut quiet).unwrap().loss);
    }
    (cpu, gpu.into_network().unwrap(), losses, theirs)
}

/// Loss curves of the two stay together and both learn, with batches that do not divide the samples and permuted grey pixels.
#[test]
fn training_goes_the_same_way() {
    if !device_there() {
        return;
    }
    let (mut pixels, labels) = patterns(8, 300, SIZES[0], 3);
    let mut random = stream(9);
    pixels.iter_mut().for_each(|p| *p = *p / 2 + random.below(128) as u8);
    let permutation: Vec<u32> = order(3, 0, SIZES[0]);
    let samples =
        Samples { permutation: Some(&permutation), offset: 0.3, scale: 1.7, ..Samples::new(&pixels, SIZES[0], &labels) };
    for eligibility in [Eligibility::Presentation, Eligibility::Step] {
        let mut settings = plain();
        (settings.eligibility, settings.leak) = (eligibility, 0.9);
        let network = Network::new(settings).unwrap();
        let (cpu, gpu, losses, theirs) = trained(network, &samples, 5, || None);
        for (a, b) in losses.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-3 * losses[0], "{losses:?} {theirs:?}");
        }
        assert!(losses[4] < 0.3 * losses[0], "{losses:?}");
        let (here, there) = (cpu.evaluate(&samples).unwrap(), gpu.evaluate(&samples).unwrap());
        assert!((here.accuracy() - there.accuracy()).abs() < 0.01 && here.accuracy() > 0.95);
    }
}

/// A posterior of every layer, already drawn into the network.
fn posterior(network: &mut Network, rule: Rule, samples: u32) -> Posterior {
    let layers = network.layers().iter().map(|l| Gaussian::new(l, 0.05, 0.2).unwrap()).collect();
    let mut options = posterior::Options::new(rule, 0.05);
    (options.samples, options.observations, options.clip, options.seed) = (samples, 20.0, Some(0.3), 3);
    let posterior = Posterior::new(layers, options).unwrap();
    network.layers_mut().iter_mut().enumerate().for_each(|(l, layer)| posterior.draw(l, layer));
    posterior
}

#[test]
fn protections_act_as_on_the_cpu() {
    if !device_there() {
        return;
    }
    let (pixels, labels) = patterns(10, 64, SIZES[0], 3);
    let samples = Samples::new(&pixels, SIZES[0], &labels);
    let (old, _) = patterns(12, 9, SIZES[0], 3);
    let old: Vec<f32> = old.iter().map(|p| *p as f32 / 255.0).collect();
    let spanned = |network: &Network, options: projection::Options| {
        let mut projection = Projection::new(&SIZES[..3], options).unwrap();
        network.clone().end_task(&old, &mut projection).unwrap();
        Box::new(projection)
    };
    let held = |network: &Network, kind, form| {
        let mut held = Importance::new(kind, importance::Options::new(3.0, 0.05, form)).unwrap();
        let moved: Vec<Layer> =
            network.layers().iter().map(|l| Layer { weight: l.weight.iter().map(|w| w + 0.1).collect(), ..*l }).collect();
        for (l, layer) in moved.iter().enumerate() {
            held.give(l, layer.weight.iter().map(|w| w.abs()).collect()).unwrap();
        }
        held.end_of_task(&moved, &mut |_| vec![]).unwrap();
        Box::new(held)
    };
    for eligibility in [Eligibility::Presentation, Eligibility::Step] {
        let network = dyadic(settings(Signal::Symmetric, eligibility, SGD));
        let svd = || projection::Options::svd(vec![0.95, 0.99]);
        let steps = |mut options: projection::Options| {
            options.steps = true;
            options
        };
        let protections: [(&str, &dyn Fn() -> Box<dyn Protection>); 6] = [
            ("svd", &|| spanned(&network, svd())),
            ("steps", &|| spanned(&network, steps(svd()))),
            ("recursive", &|| spanned(&network, steps(projection::Options::recursive(0.1)))),
            ("metaplastic", &|| Box::new(Metaplastic::new(vec![3.0, 5.0]).unwrap())),
            ("penalty", &|| held(&network, Kind::Ewc, Form::Penalty)),
            ("chain", &|| {
                let metaplastic = Box::new(Metaplastic::new(vec![3.0]).unwrap());
                let twice = projection::Options::hebbian(vec![0.5]);
                let limit = held(&network, Kind::L2, Form::Limit);
                let links: Vec<Box<dyn Protection>> =
                    vec![spanned(&network, svd()), metaplastic, spanned(&network, twice), limit];
                Box::new(Chain(links))
            }),
        ];
        let (free, _, _, _) = trained(network.clone(), &samples, 1, || None);
        for (name, protection) in protections {
            let (cpu, gpu, ..) = trained(network.clone(), &samples, 1, || Some(protection()));
            for (l, layer) in cpu.layers().iter().enumerate() {
                let apart = distance(&layer.weight, &gpu.layers()[l].weight);
                let effect = distance(&layer.weight, &free.layers()[l].weight);
                assert!(apart < 1e-5 && effect > 1e-4, "{name} {eligibility:?} layer {l}: {apart} apart, effect {effect}");
            }
        }
    }
}

/// The same Philox bits, moved within f32: the cpu keeps its sums in f64.
#[test]
fn posteriors_learn_as_on_the_cpu() {
    if !device_there() {
        return;
    }
    let (pixels, labels) = patterns(13, 96, SIZES[0], 3);
    let samples = Samples::new(&pixels, SIZES[0], &labels);
    let rules = [Rule::Bgd { rate: 1.0 }, Rule::mesu(500.0)];
    for (rule, averaged) in rules.into_iter().zip([1, 2]) {
        let mut cpu = dyadic(settings(Signal::Symmetric, Eligibility::Presentation, SGD));
        let mut one = posterior(&mut cpu, rule, averaged);
        let (mut two, before) = (one.clone(), one.clone());
        let mut gpu = gpu(&cpu);
        // Three batches: with two averaged the third is pending.
        let order = order(2, 0, 96);
        cpu.train(&samples, &order, 32, Some(&mut one), &mut quiet).unwrap();
        gpu.train(&samples, &order, 32, Some(&mut two), &mut quiet).unwrap();
        two.check().unwrap();
        assert_eq!((&one.presentation, vec![3; 3]), (&two.presentation, vec![3; 3]));
        for l in 0..3 {
            let [a, b, old] = [&one, &two, &before].map(|p| &p.layers[l]);
            let (mean, deviation) = (distance(&a.mean, &b.mean), distance(&a.deviation, &b.deviation));
            assert!(mean < 1e-5 && deviation < 1e-5, "{rule:?} layer {l}: {mean} {deviation}");
            assert!(distance(&a.mean, &old.mean) > 1e-4 && distance(&a.deviation, &old.deviation) > 1e-5);
            let drawn = distance(&cpu.layers()[l].weight, &gpu.network().unwrap().layers()[l].weight);
            assert!(drawn < 1e-5, "{drawn}");
        }
        // What was brought back goes on, on either.
        cpu.train(&samples, &order[..32], 32, Some(&mut one), &mut quiet).unwrap();
        gpu.train(&samples, &order[..32], 32, Some(&mut two), &mut quiet).unwrap();
        assert!(distance(&one.layers[0].mean, &two.layers[0].mean) < 1e-5);
    }
}

/// A network goes to the device and back at any time, its momentum with it.
#[test]
fn host_and_device_hand_over() {
    if !device_there() {
        return;
    }
    let (pixels, labels) = patterns(14, 64, SIZES[0], 3);
    let samples = Samples::new(&pixels, SIZES[0], &labels);
    for optimiser in [SGD, Optimiser::Adam { rate: 0.002 }] {
        let mut cpu = dyadic(settings(Signal::LocalReadouts { trained: true }, Eligibility::Presentation, optimiser));
        let mut gpu = gpu(&cpu);
        let order = order(1, 0, 64);
        let train = |network: &mut Network, chosen: &[u32]| network.train(&samples, chosen, 16, None, &mut quiet).unwrap();
        train(&mut cpu, &order);
        cpu.set_rate(0.001);
        train(&mut cpu, &order[..32]);
        gpu.train(&samples, &order[..32], 16, None, &mut quiet).unwrap();
        train(gpu.network().unwrap(), &order[32..]);
        gpu.set_rate(0.001);
        gpu.train(&samples, &order[..32], 16, None, &mut quiet).unwrap();
        let back = gpu.into_network().unwrap();
        for (a, b) in cpu.layers().iter().zip(back.layers()) {
            assert!(distance(&a.weight, &b.weight) < 2e-4, "{}", distance(&a.weight, &b.weight));
        }
    }
}

/// Two tasks that share their images, mixed, at a rate that falls from batch to batch; stopped and gone on with.
#[test]
fn tasks_are_mixed_at_a_falling_rate() {
    if !device_there() {
        return;
    }
    let (pixels, labels) = patterns(15, 50, SIZES[0], 3);
    let (others, theirs) = patterns(16, 30, SIZES[0], 3);
    let permutation: Vec<u32> = order(3, 0, SIZES[0]);
    let plain_view = Samples::new(&pixels, SIZES[0], &labels);
    let tasks = [
        plain_view,
        Samples::new(&others, SIZES[0], &theirs),
        Samples { permutation: Some(&permutation), scale: 0.5, ..plain_view },
    ];
    let order = order(4, 0, 130);
    let rate = |k: usize| 0.1 / (k + 1) as f32;
    let mut cpu = dyadic(plain());
    let mut gpu = gpu(&cpu);
    let mut expected = Outcome::default();
    for (k, chosen) in order.chunks(20).enumerate() {
        let (mut inputs, mut own) = (vec![], vec![]);
        for &i in chosen {
            let (task, first) = [(2, 80), (1, 50), (0, 0)].into_iter().find(|(_, first)| *first <= i).unwrap();
            let (input, label) = tasks[task].gather(&[i - first]);
            inputs.extend(input);
            own.extend(label);
        }
        cpu.set_rate(rate(k));
        expected.add(&cpu.learn(&inputs, &own, None).unwrap());
    }
    let first = gpu.learn(&tasks, &order, 20, &rate, None, &mut |_| Ok(false)).unwrap();
    let done = first.presentations / 20;
    assert!(done * 20 == first.presentations && first.presentations < 130);
    let later = |k: usize| rate(k + done);
    let mut sum = gpu.learn(&tasks, &order[done * 20..], 20, &later, None, &mut |_| Ok(true)).unwrap();
    sum.add(&first);
    assert_eq!(sum.presentations, 130);
    assert!((sum.loss - expected.loss).abs() < 1e-4 * expected.loss, "{sum:?} {expected:?}");
    let learnt = gpu.network().unwrap();
    assert_eq!(learnt.settings(), cpu.settings());
    for (a, b) in cpu.layers().iter().zip(learnt.layers()) {
        assert!(distance(&a.weight, &b.weight) < 1e-4, "{}", distance(&a.weight, &b.weight));
    }
    let narrow = Network::new(Settings::new(vec![4, 3, 2], 0)).unwrap();
    assert!(gpu.set(narrow).is_err());
    gpu.set(dyadic(plain())).unwrap();
    assert_eq!(gpu.evaluate(&tasks[0]).unwrap().correct, dyadic(plain()).evaluate(&tasks[0]).unwrap().correct);
}

#[test]
fn bad_input_is_refused_before_anything_is_learnt() {
    if !device_there() {
        return;
    }
    struct Unknown;
    impl Protection for Unknown {}

    let network = dyadic(plain());
    let mut gpu = gpu(&network);
    let (pixels, labels) = patterns(6, 4, SIZES[0], 3);
    let samples = Samples::new(&pixels, SIZES[0], &labels);
    let said = |error: Error, part: &str| {
        assert!(error.to_string().contains(part) && error.remedy().is_some(), "{error} (wanted: {part})")
    };
    let mut train = |samples: &Samples, order: &[u32], protection: Option<&mut dyn Protection>| {
        gpu.train(samples, order, 2, protection, &mut quiet).unwrap_err()
    };
    said(train(&samples, &[4], None), "sample 4 of 4");
    said(train(&Samples { labels: &[0, 1, 2, 3], ..samples }, &[0, 3], None), "label 3");
    said(train(&Samples { size: 36, ..samples }, &[0], None), "36 pixels");
    said(train(&samples, &[0], Some(&mut Unknown)), "Unknown does not learn on the gpu");
    let options = importance::Options::new(1.0, 1.0, Form::Limit);
    let mut si = Importance::new(Kind::Si { damping: 0.1 }, options).unwrap();
    said(train(&samples, &[0], Some(&mut si)), "synaptic intelligence");
    let mut narrow = Projection::new(&[5, 5, 5], projection::Options::svd(vec![0.9])).unwrap();
    narrow.end_of_task(&[], &mut |_| vec![1.0; 5]).unwrap();
    said(train(&samples, &[0], Some(&mut narrow)), "for layer 0, which has 37");
    assert_eq!(gpu.network().unwrap().layers(), network.layers());
    assert!(GpuNetwork::new(network.clone(), Some("no such device")).is_err());
    let mut long = plain();
    long.steps = 40_000;
    let long = Network::new(long).unwrap();
    said(GpuNetwork::new(long, None).err().unwrap(), "40000 steps");
}

#[test]
fn a_weight_that_overflows_is_named_and_progress_may_end_the_run() {
    if !device_there() {
        return;
    }
    let (pixels, labels) = patterns(6, 90, SIZES[0], 3);
    let samples = Samples::new(&pixels, SIZES[0], &labels);
    let order = order(0, 0, 90);
    let mut one = gpu(&dyadic(plain()));
    let (mut cpu, mut told) = (dyadic(plain()), 0);
    let stop = &mut |sum: &Outcome| {
        told = sum.presentations;
        if told >= 20 { Err(Error::input("stop", "go")) } else { Ok(()) }
    };
    assert!(one.train(&samples, &order, 10, None, stop).unwrap_err().to_string().contains("stop"));
    assert!((20..90).contains(&told) && told % 10 == 0);
    cpu.train(&samples, &order[..told], 10, None, &mut quiet).unwrap();
    let learnt = one.network().unwrap();
    assert!(distance(&cpu.layers()[0].weight, &learnt.layers()[0].weight) < 1e-4);

    learnt.layers_mut()[1].weight[2 * 70 + 4] = f32::INFINITY;
    let named = one.train(&samples, &order, 10, None, &mut quiet).unwrap_err().to_string();
    assert!(named.contains("layer") && named.contains("the weight from source"), "{named}");
}

const PROTOCOL: &str = r#"
title = "Small"
kind = "permuted"
[data]
set = "patterns"
noise = 0.3
train = 200
test = 100
offset = 0.5
scale = 1.6
[tasks]
count = 2
[network]
sizes = [64, 60, 50, 5]
[training]
batch = 20
samples = 100
passes = 2
[methods.joint]
joint = true
[methods.sequential]
[methods.svd]
projection = { method = "svd", energy = [0.95, 0.99] }
[methods.ewc]
importance = { kind = "ewc", strength = 30 }
[methods.mesu]
momentum = 0
posterior = { rule = "mesu", window = 20000, prior = 0.1, observations = 200, samples = 3 }
[methods.si]
importance = { kind = "si", strength = 10 }
"#;

/// Every method that the gpu knows comes to what it comes to on the cpu; stopped again and again, to the same bits.
#[test]
fn protocols_learn_on_the_gpu() {
    use sharpwave::protocol::{Event, Options, file, run};
    use std::sync::atomic::{AtomicBool, Ordering};
    if !device_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let read = |engine: &str| file::read(&file::source("small.toml", PROTOCOL, &[format!("engine={engine}")], false)?);
    let (cpu, gpu) = (read("\"cpu\"").unwrap(), read("\"gpu\"").unwrap());
    let methods = ["joint", "sequential", "svd", "ewc", "mesu"].map(str::to_string).to_vec();
    let options = |out: &str, methods: &[String]| {
        let mut options = Options::new(folder.path().join(out));
        options.methods = Some(methods.to_vec());
        options
    };
    let never = AtomicBool::new(false);
    let here = run(&cpu, &options("cpu", &methods), &mut |_| (), &never).unwrap();
    let there = run(&gpu, &options("gpu", &methods), &mut |_| (), &never).unwrap();
    for (a, b) in here.runs.iter().zip(&there.runs) {
        for (a_row, b_row) in a.matrix.iter().zip(&b.matrix) {
            for (x, y) in a_row.iter().zip(b_row) {
                assert!((x - y).abs() < 0.04, "{}: {:?} {:?}", a.method, a.matrix, b.matrix);
            }
        }
        assert!((a.spikes_per_image / b.spikes_per_image - 1.0).abs() < 0.01 && b.matrix[0][0] > 0.8, "{}", a.method);
    }
    let (mut parts, mut calls) = (options("parts", &methods), 0);
    let stopped = loop {
        let stop = AtomicBool::new(false);
        let tell = &mut |event: Event| match event {
            Event::Trained { .. } if calls % 2 == 0 => stop.store(true, Ordering::Relaxed),
            Event::Task { .. } => stop.store(true, Ordering::Relaxed),
            _ => {}
        };
        let results = run(&gpu, &parts, tell, &stop).unwrap();
        (parts.resume, calls) = (true, calls + 1);
        assert!(calls < 100);
        if results.complete {
            break results;
        }
    };
    assert!(calls > 10, "only {calls} calls");
    for (a, b) in stopped.runs.iter().zip(&there.runs) {
        assert_eq!((&a.method, &a.matrix, &a.learning), (&b.method, &b.matrix, &b.learning));
    }
    let refused = run(&gpu, &options("si", &["si".to_string()]), &mut |_| (), &never).unwrap_err();
    assert!(refused.to_string().contains("synaptic intelligence") && refused.remedy().is_some(), "{refused}");
    assert!(read("\"tpu\"").unwrap_err().to_string().contains("tpu"));
}
