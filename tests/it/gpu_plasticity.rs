//! Plastic synapses on the gpu engine against those of the cpu engine, every rule of the library: random trains with coincident
//! spikes, delays that differ from synapse to synapse, recurrent; spikes that change with the weights; checkpoints; bounds.

use crate::common::{Collected, device_there, plan};
use crate::plasticity::{lively, recurrent};
use sharpwave::engine::cpu::CpuEngine;
use sharpwave::engine::gpu::{GpuEngine, GpuOptions};
use sharpwave::engine::{Engine, Own, Snapshot};
use sharpwave::model::SynapseModel;
use sharpwave::model::library::Library;
use sharpwave::network::Network;
use sharpwave::network::connectivity::Rows;
use sharpwave::network::synapse_table::build;
use sharpwave::rng::{Purpose, Stream};
use std::sync::Arc;

fn gpu(net: &Arc<Network>, options: GpuOptions) -> GpuEngine {
    let rows = Arc::new(Rows::prepare(net, &|_| ()).unwrap());
    let tables = build(net, &rows, 1, &|_| ()).unwrap();
    GpuEngine::new(net.clone(), rows, tables, options).unwrap_or_else(|e| panic!("{e}"))
}

fn cpu(net: &Arc<Network>) -> CpuEngine {
    let rows = Arc::new(Rows::prepare(net, &|_| ()).unwrap());
    let tables = build(net, &rows, 2, &|_| ()).unwrap();
    CpuEngine::new(net.clone(), rows, tables).unwrap()
}

/// Short histories: many passes over all synapses.
fn tight() -> GpuOptions {
    GpuOptions { history_room: Some(1), ..Default::default() }
}

fn go(engine: &mut dyn Engine, steps: u64) -> Collected {
    let mut sink = Collected::default();
    engine.advance(steps, &mut sink).unwrap_or_else(|e| panic!("{e}"));
    sink
}

/// The trains of `n` sources, ms: random, dense here and there, some spikes shared by all.
fn trains(n: u32, seed: u32, last: f64) -> String {
    let mut draw = Stream::new([seed, 3], Purpose::Connect, 0, 0);
    let mut text = String::new();
    for _ in 0..n {
        let mut steps: Vec<u32> = (0..25).map(|_| 10 + draw.below(1400)).collect();
        let burst = 10 + draw.below(1300);
        steps.extend((0..12).map(|k| burst + 8 * k));
        steps.extend([300, 700, 708, (last * 10.0) as u32]);
        steps.sort_unstable();
        steps.dedup();
        let times: Vec<String> = steps.iter().map(|s| format!("{:?}", *s as f64 / 10.0)).collect();
        text += &format!("[{}], ", times.join(", "));
    }
    text
}

/// All have spiked last at this time (ms), and the longest delay after it everything has arrived.
const LAST: f64 = 160.0;
const LONGEST: u64 = 90;

/// A signal that jumps at given times and at the spikes of S.
const REWARD: &str = "[modulators]\nreward = { tau = \"40 ms\", initial = 0.3, jumps = { times = [\"20 ms\", \"55.5 ms\", \"70 ms\", \"90 ms\"], \
     amounts = [1.0, -0.4, 0.2, 0.8] }, spikes = { population = \"S\", delay = \"1.2 ms\", amount = 0.05 } }\n";

/// Targets that spike as they are told, connected to each other and to sources through a synapse: its table but for the braces.
fn told_in(library: &Library, synapse: &str) -> Arc<Network> {
    let weight = if synapse.contains("Wmax = -") { ("-70 pA", "-5 pA") } else { ("5 pA", "70 pA") };
    let projection = |source: &str| {
        format!(
            "[[projections]]\nsource = \"{source}\"\ntarget = \"X\"\nrule = {{ name = \"fixed_indegree\", indegree = 9 }}\n\
             weight = {{ distribution = \"uniform\", low = \"{}\", high = \"{}\" }}\n\
             delay = {{ distribution = \"uniform\", low = \"0.1 ms\", high = \"9 ms\" }}\nsynapse = {{ {synapse} }}\n",
            weight.0, weight.1
        )
    };
    let text = format!(
        "title = \"told when to spike\"\n[simulation]\ndt = 0.1\nduration = 200.0\nseed = 3\n{REWARD}[populations.X]\nmodel = \"iaf_psc_exp\"\n\
         n = 11\nparams = {{ V_th = 1e7, t_ref = 0.1, C_m = 1.0, tau_syn_ex = 0.1, tau_m = 0.1 }}\n[populations.T]\nmodel = \"spike_generator\"\n\
         times = [{}]\n[populations.S]\nmodel = \"spike_generator\"\ntimes = [{}]\n[[projections]]\nsource = \"T\"\ntarget = \"X\"\n\
         rule = \"one_to_one\"\nweight = 1e9\ndelay = 0.1\n{}{}",
        trains(11, 1, LAST - 0.3),
        trains(7, 2, LAST),
        projection("S"),
        projection("X"),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scenario.toml");
    std::fs::write(&path, text).unwrap();
    let plan = sharpwave::scenario::Scenario::load(&path, &[], None).and_then(|s| s.plan(library));
    Arc::new(plan.unwrap_or_else(|e| panic!("{e}")).network.clone())
}

fn told(synapse: &str) -> Arc<Network> {
    told_in(Library::built_in().unwrap(), synapse)
}

/// A rule of the library with parameters under which it moves weights by some pA.
fn moving(rule: &str) -> String {
    let params = match rule {
        "stdp_dopamine_synapse" => "modulator = \"reward\", A_plus = 0.2, A_minus = 0.15, tau_c = 100.0, b = 0.1, Wmax = 90.0",
        "rstdp_synapse" => "modulator = \"reward\", eta = 6.0, tau_e = 80.0, Wmax = 90.0",
        "bcm_synapse" => "eta = 0.01, tau_theta = 100.0, Wmax = 90.0",
        "oja_synapse" => "eta = 0.5, alpha = 0.02, Wmax = 90.0",
        "covariance_synapse" => "eta = 0.005, tau_mean = 200.0, Wmax = 90.0",
        "soft_wta_synapse" => "w_scale = 20.0, Wmax = 90.0",
        "diehl_cook_synapse" => "nu_pre = 2.0, nu_post = 3.0, Wmax = 90.0",
        known => lively(known),
    };
    format!("model = \"{rule}\", {params}")
}

/// Brings both engines' weights up to the same time.
fn settle(engine: &mut dyn Engine) {
    (1..3).for_each(|p| engine.scale_weights(p, &|_, _| 1.0).unwrap());
}

/// Largest difference of weights, relative to the weight or a tenth of the largest, or to a twentieth of the way a weight has gone where
/// that is known and more. A step is a product of traces, exponentials and powers, each rounded in f32, and of the same trace for many
/// steps: some 8 roundings of 6e-8 that do not average out, so that 5e-7 of the way is what f32 can keep, however small the weight is.
fn difference(a: &mut dyn Engine, b: &mut dyn Engine, projections: std::ops::Range<usize>, gone: &[Vec<f32>]) -> f32 {
    let mut worst = 0.0f32;
    for p in projections {
        let way = |k: usize| gone.get(p - 1).map_or(0.0, |list| list[k]);
        let (a, b) = (a.weights(p).unwrap(), b.weights(p).unwrap());
        assert_eq!(a.len(), b.len());
        let least = 0.1 * b.iter().fold(0.0f32, |m, w| m.max(w.2.abs()));
        for (k, (x, y)) in a.iter().zip(&b).enumerate() {
            assert_eq!((x.0, x.1), (y.0, y.1));
            worst = worst.max((x.2 - y.2).abs() / y.2.abs().max(least).max(0.05 * way(k)));
        }
    }
    worst
}

/// How far each weight has gone, up and down, on the cpu: looked at every millisecond.
fn ways(net: &Arc<Network>, steps: u64) -> Vec<Vec<f32>> {
    let mut engine = cpu(net);
    let weights = |engine: &mut CpuEngine| -> Vec<Vec<f32>> {
        (1..3).map(|p| engine.weights(p).unwrap().iter().map(|w| w.2).collect()).collect()
    };
    let mut last = weights(&mut engine);
    let mut gone: Vec<Vec<f32>> = last.iter().map(|list| vec![0.0; list.len()]).collect();
    for _ in 0..steps / 10 {
        go(&mut engine, 10);
        settle(&mut engine);
        let now = weights(&mut engine);
        for ((gone, now), last) in gone.iter_mut().flatten().zip(now.iter().flatten()).zip(last.iter().flatten()) {
            *gone += (now - last).abs();
        }
        last = now;
    }
    gone
}

/// The same spikes, and weights within `tolerance`; `least` of them moved by more than 0.1 pA.
fn assert_follows(net: &Arc<Network>, what: &str, least: usize, tolerance: f32) {
    let (mut ours, mut theirs) = (gpu(net, tight()), cpu(net));
    let steps = (LAST * 10.0) as u64 + LONGEST;
    let first = theirs.weights(1).unwrap();
    let (a, b) = (go(&mut ours, steps), go(&mut theirs, steps));
    assert!(b.spikes.iter().filter(|s| s.id < 11).count() > 300, "{} spikes", b.spikes.len());
    assert!(a == b, "{what}: spikes");
    settle(&mut ours);
    settle(&mut theirs);
    let moved = theirs.weights(1).unwrap().iter().zip(&first).filter(|(a, b)| (a.2 - b.2).abs() > 0.1).count();
    let way = ways(net, steps);
    let longest = way.iter().flatten().fold(0.0f32, |m, w| m.max(*w));
    let (plain, worst) = (difference(&mut ours, &mut theirs, 1..3, &[]), difference(&mut ours, &mut theirs, 1..3, &way));
    println!(
        "{what}: {moved} weights moved, by {longest:.0} pA up and down at most, largest difference {worst:.1e} ({plain:.1e} of the weight)"
    );
    assert!(moved >= least && worst < tolerance, "{what}: {moved} moved, {worst:e}");
}

#[test]
fn weights_are_those_of_the_cpu_under_every_rule() {
    if !device_there() {
        return;
    }
    let plain = |m: &SynapseModel| m.plasticity.as_ref().is_some_and(|p| p.post_states.is_empty());
    let library = Library::built_in().unwrap();
    for rule in library.synapses().filter(|m| plain(m)).map(|m| &m.name) {
        assert_follows(&told(&moving(rule)), rule, 50, 1e-5);
    }
}

/// Each modifier of the library on top of a rule, gated by a signal as well.
#[test]
fn modifiers_do_as_on_the_cpu() {
    if !device_there() {
        return;
    }
    let base = format!("model = \"stdp_synapse\", {}", lively("stdp_synapse"));
    assert_follows(&told(&format!("{base}, gate = \"reward\"")), "gate", 50, 1e-5);
    for modifier in Library::built_in().unwrap().modifiers().filter(|m| m.name != "gate") {
        let params = match modifier.name.as_str() {
            "consolidation" => ", m = 0.02",
            "fusi_cascade" => ", weak = 5.0, strong = 70.0",
            _ => "",
        };
        let synapse = format!("{base}, gate = \"reward\", metaplasticity = {{ model = \"{}\"{params} }}", modifier.name);
        assert_follows(&told(&synapse), &modifier.name, 5, 1e-5);
    }
}

/// Reads the target's potential when the source spikes, and at events that are not spikes: the steps of its refractory time.
const WATCHING: &str = r#"
name = "watching"
kind = "synapse"
doc = "test"
bound = "Wmax"
post_event = "r"
[params]
Wmax = { default = 90.0, unit = "1", doc = "bound" }
[state]
x = { init = "0", unit = "1", doc = "trace of the source" }
[post_states]
v = { doc = "potential" }
i_ex = { doc = "current" }
[post_traces]
y = { tau = "Wmax", doc = "events" }
[code]
on_post = "w = clamp(w + 0.4 * r * x * exp(-since_pre * 0.1) + 0.01 * min(i_ex, 3.0) + 0.001 * since_event, 0.0, Wmax);"
on_pre = """
w = clamp(w - 0.02 * y - clamp(v, -0.5, 0.5), 0.0, Wmax);
x = x * exp(-since_pre * 0.1) + 1.0;
"""
"#;

#[test]
fn states_of_targets_are_those_of_the_moment() {
    if !device_there() {
        return;
    }
    let mut library = Library::built_in().unwrap().clone();
    library.add("watching.toml", WATCHING).unwrap();
    let net = told_in(&library, "model = \"watching\"");
    assert_follows(&net, "watching", 50, 1e-5);
    let (mut whole, mut other) = (gpu(&net, tight()), gpu(&net, GpuOptions::default()));
    go(&mut whole, 333);
    other.restore(&whole.snapshot().unwrap()).unwrap();
    assert!(go(&mut whole, 400) == go(&mut other, 400) && bits(&mut whole) == bits(&mut other));
    let mut library = Library::built_in().unwrap().clone();
    library.add("forgetful.toml", &WATCHING.replace("watching", "forgetful").replace("y - clamp", "elapsed - clamp")).unwrap();
    assert_follows(&told_in(&library, "model = \"forgetful\""), "forgetful", 50, 1e-5);
}

/// What a running host tells: jumps of a signal, a pause, factors; as on the cpu wherever no spike is on its way meanwhile.
#[test]
fn a_host_tells_both_engines_the_same() {
    if !device_there() {
        return;
    }
    for rule in ["stdp_dopamine_synapse", "rstdp_synapse"] {
        let net = told(&moving(rule));
        let run = |engine: &mut dyn Engine, pause: bool| {
            let mut all = go(engine, 433).spikes;
            engine.jump(0, 0.7).unwrap();
            all.extend(go(engine, 200).spikes);
            if pause {
                engine.set_learning(1, false).unwrap();
                all.extend(go(engine, 120).spikes);
                engine.jump(0, -0.2).unwrap();
                all.extend(go(engine, 100).spikes);
                engine.set_learning(1, true).unwrap();
            }
            all.extend(go(engine, 1690 - 633 - if pause { 220 } else { 0 }).spikes);
            settle(engine);
            all
        };
        let (mut ours, mut theirs) = (gpu(&net, tight()), cpu(&net));
        assert!(run(&mut ours, false) == run(&mut theirs, false));
        let worst = difference(&mut ours, &mut theirs, 1..3, &[]);
        println!("{rule}: largest difference {worst:.1e}");
        assert!(worst < 1e-5, "{rule}: {worst:e}");
        // Spikes on their way when a pause begins count here, and not on the cpu: only the other projection is the same.
        let (mut ours, mut theirs) = (gpu(&net, tight()), cpu(&net));
        assert!(run(&mut ours, true) == run(&mut theirs, true));
        assert!(difference(&mut ours, &mut theirs, 2..3, &[]) < 1e-5);
        // A signal and what it counts survive a checkpoint.
        let mut first = gpu(&net, tight());
        go(&mut first, 303);
        first.jump(0, 0.4).unwrap();
        let mut second = gpu(&net, GpuOptions::default());
        second.restore(&first.snapshot().unwrap()).unwrap();
        assert!(go(&mut first, 500) == go(&mut second, 500) && bits(&mut first) == bits(&mut second), "{rule}");
        assert!(first.jump(1, 0.1).is_err() && first.jump(0, f64::INFINITY).is_err());
    }
}

fn bits(engine: &mut dyn Engine) -> Vec<Vec<u32>> {
    (1..3).map(|p| engine.weights(p).unwrap().iter().map(|w| w.2.to_bits()).collect()).collect()
}

/// How often synapses are brought up to date, how steps fall into calls, how tables are cut: no bit depends on it.
#[test]
fn weights_do_not_depend_on_histories_batches_or_shards() {
    if !device_there() {
        return;
    }
    let net = told(&moving("stdp_triplet_synapse"));
    let mut whole = gpu(&net, GpuOptions::default());
    let spikes = go(&mut whole, 1500);
    let expected = (bits(&mut whole), whole.snapshot().unwrap());
    let cut = GpuOptions { shard_bytes: Some(400), ..tight() };
    for (options, parts) in [(tight(), &[1500][..]), (cut, &[1, 700, 6, 793])] {
        let mut other = gpu(&net, options);
        let mut found = Collected::default();
        for &steps in parts {
            let part = go(&mut other, steps);
            found.spikes.extend(part.spikes);
            other.weights(1).unwrap();
        }
        assert!(found == spikes);
        assert!(bits(&mut other) == expected.0);
        assert!(other.snapshot().unwrap() == expected.1);
    }
}

#[test]
fn a_resumed_run_equals_the_uninterrupted() {
    if !device_there() {
        return;
    }
    for rule in ["stdp_synapse", "stdp_nn_restr_synapse", "stdp_triplet_synapse"] {
        let net = Arc::new(plan(&recurrent(rule), &[]).network.clone());
        let mut whole = gpu(&net, tight());
        let first = go(&mut whole, 411);
        assert!(first.spikes.len() > 50, "{} spikes", first.spikes.len());
        let snapshot = whole.snapshot().unwrap();
        let rest = go(&mut whole, 300);
        let mut other = gpu(&net, tight());
        go(&mut other, 37);
        other.restore(&snapshot).unwrap();
        assert!(other.snapshot().unwrap() == snapshot, "{rule}: restoring loses nothing");
        assert!(go(&mut other, 300) == rest, "{rule}");
        assert!(other.snapshot().unwrap() == whole.snapshot().unwrap(), "{rule}");
        let mut without: Snapshot = snapshot.clone();
        without.own = Own::Nothing;
        assert!(other.restore(&without).unwrap_err().remedy().unwrap().contains("engine that wrote it"));
        let from = cpu(&net).restore(&snapshot).unwrap_err();
        assert!(from.remedy().unwrap().contains("--engine gpu"), "{from}");
    }
}

/// Weights that spikes depend on: the same spikes while rounding has not grown.
#[test]
fn a_network_spikes_as_on_the_cpu() {
    if !device_there() {
        return;
    }
    for rule in ["stdp_synapse", "vogels_sprekeler_synapse"] {
        let net = Arc::new(plan(&recurrent(rule), &[]).network.clone());
        let (mut ours, mut theirs) = (gpu(&net, GpuOptions::default()), cpu(&net));
        let (a, b) = (go(&mut ours, 800), go(&mut theirs, 800));
        assert!(b.spikes.len() > 100, "{} spikes", b.spikes.len());
        assert!(a == b, "{rule}: {} spikes, {} on the cpu", a.spikes.len(), b.spikes.len());
    }
}

const POISSON: &str = r#"
title = "sources and targets"
[simulation]
dt = 0.1
duration = 100.0
seed = 4
[populations.P]
model = "poisson"
n = 40
rate = "50 Hz"
[populations.E]
model = "iaf_psc_exp"
n = 12
params = { I_e = 450.0 }
[[projections]]
source = "P"
target = "E"
rule = "all_to_all"
weight = "20 pA"
delay = "1.5 ms"
synapse = { model = "stdp_synapse", lambda = 0.05, Wmax = 60.0 }
[[projections]]
source = "P"
target = "E"
rule = "all_to_all"
weight = "1 pA"
"#;

#[test]
fn rates_learning_and_weights_change_while_running() {
    if !device_there() {
        return;
    }
    let net = Arc::new(plan(POISSON, &[]).network.clone());
    let rates: Vec<f64> = (0..40).map(|i| 20.0 * f64::from(i % 9)).collect();
    let mut given = (*net).clone();
    let cell = |rates: Vec<f64>| {
        let rate = sharpwave::network::Values::Each(rates.into());
        sharpwave::network::Cell::Source(sharpwave::stimulus::SpikeSource::Poisson { rate, start: 0.0, stop: f64::INFINITY })
    };
    given.populations[0].cell = cell(rates.clone());
    let (mut engine, mut other) = (gpu(&net, GpuOptions::default()), gpu(&Arc::new(given), GpuOptions::default()));
    engine.set_rates(0, &rates).unwrap();
    // 40 sources at 75 Hz in the mean, for 100 ms: some 300 spikes.
    let (a, b) = (go(&mut engine, 1000), go(&mut other, 1000));
    assert!(a == b, "{} and {} spikes", a.spikes.len(), b.spikes.len());
    assert!(a.spikes.len() > 200, "{} spikes", a.spikes.len());
    let weights = |engine: &mut GpuEngine| engine.weights(0).unwrap();
    assert!(weights(&mut engine) == weights(&mut other));
    // Nothing is learned meanwhile, and what was comes back.
    engine.set_learning(0, false).unwrap();
    let before = weights(&mut engine);
    assert!(before.iter().any(|w| w.2 != 20.0));
    go(&mut engine, 300);
    assert!(weights(&mut engine) == before);
    let snapshot = engine.snapshot().unwrap();
    let mut resumed = gpu(&net, GpuOptions::default());
    resumed.restore(&snapshot).unwrap();
    for engine in [&mut engine, &mut resumed] {
        engine.set_learning(0, true).unwrap();
    }
    assert!(go(&mut engine, 300) == go(&mut resumed, 300));
    let after = weights(&mut engine);
    assert!(after != before && after == weights(&mut resumed));
    // To a sum of 500 pA onto each target, and within the bound.
    engine.scale_weights(0, &|_, sum| 500.0 / sum).unwrap();
    let mut sums = [0.0; 12];
    weights(&mut engine).iter().for_each(|w| sums[w.1 as usize - 40] += f64::from(w.2));
    assert!(sums.iter().all(|s| (s - 500.0).abs() < 1e-3), "{sums:?}");
    engine.scale_weights(0, &|target, _| if target == 3 { 1e9 } else { 1.0 }).unwrap();
    assert!(weights(&mut engine).iter().all(|w| (w.2 == 60.0 || w.2 == 0.0) == (w.1 == 43) || w.1 != 43));
    go(&mut engine, 50);
    for refused in [
        engine.scale_weights(0, &|_, _| f64::NAN),
        engine.scale_weights(1, &|_, _| 1.0),
        engine.set_learning(1, false),
        engine.set_rates(1, &[1.0; 12]),
        engine.set_rates(0, &[1.0; 12]),
        engine.set_rates(0, &[-1.0; 40]),
        engine.jump(0, 1.0),
    ] {
        assert!(refused.unwrap_err().remedy().is_some());
    }
}

/// A rule that does not clip stops the run, and the message names the synapse.
#[test]
fn a_weight_beyond_its_bound_stops_the_run() {
    if !device_there() {
        return;
    }
    for (growth, said) in [("w = w * 3.0;", "is 270"), ("w = sqrt(-w);", "is NaN")] {
        let mut library = Library::built_in().unwrap().clone();
        let rule = format!("name = \"wild\"\nkind = \"synapse\"\nbound = 100\n[code]\non_pre = \"{growth}\"\n");
        library.add("wild.toml", &rule).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let scenario = folder.path().join("s.toml");
        let text = POISSON.replace("stdp_synapse\", lambda = 0.05, Wmax = 60.0", "wild\"").replace("20 pA", "10 pA");
        std::fs::write(&scenario, text).unwrap();
        let plan = sharpwave::scenario::Scenario::load(&scenario, &[], None).unwrap().plan(&library).unwrap();
        let error =
            gpu(&Arc::new(plan.network.clone()), tight()).advance(1000, &mut Collected::default()).unwrap_err().to_string();
        assert!(error.contains("the weight of the synapse from neuron ") && error.contains(said), "{error}");
    }
}
