//! Plastic synapses on the gpu engine against those of the cpu engine, every rule of the library: random trains with coincident
//! spikes, delays that differ from synapse to synapse, recurrent; spikes that change with the weights; checkpoints; bounds.

use crate::common::{Collected, plan};
use crate::gpu::device_there;
use crate::plasticity::{lively, recurrent, rules};
use sharpwave::engine::cpu::CpuEngine;
use sharpwave::engine::gpu::{GpuEngine, GpuOptions};
use sharpwave::engine::{Engine, Snapshot};
use sharpwave::model::library::Library;
use sharpwave::network::Network;
use sharpwave::network::rules::Rows;
use sharpwave::network::table::build;
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

/// Targets that spike as they are told, connected to each other and to sources through a rule.
fn told(rule: &str, params: &str) -> Arc<Network> {
    let weight = if params.contains("Wmax = -") { ("-70 pA", "-5 pA") } else { ("5 pA", "70 pA") };
    let projection = |source: &str| {
        format!(
            "[[projections]]\nsource = \"{source}\"\ntarget = \"X\"\nrule = {{ name = \"fixed_indegree\", indegree = 9 }}\n\
             weight = {{ distribution = \"uniform\", low = \"{}\", high = \"{}\" }}\n\
             delay = {{ distribution = \"uniform\", low = \"0.1 ms\", high = \"9 ms\" }}\nsynapse = {{ model = \"{rule}\", {params} }}\n",
            weight.0, weight.1
        )
    };
    let text = format!(
        "title = \"told when to spike\"\n[simulation]\ndt = 0.1\nduration = 200.0\nseed = 3\n[populations.X]\nmodel = \"iaf_psc_exp\"\n\
         n = 11\nparams = {{ V_th = 1e7, t_ref = 0.1, C_m = 1.0, tau_syn_ex = 0.1, tau_m = 0.1 }}\n[populations.T]\nmodel = \"spike_generator\"\n\
         times = [{}]\n[populations.S]\nmodel = \"spike_generator\"\ntimes = [{}]\n[[projections]]\nsource = \"T\"\ntarget = \"X\"\n\
         rule = \"one_to_one\"\nweight = 1e9\ndelay = 0.1\n{}{}",
        trains(11, 1, LAST - 0.3),
        trains(7, 2, LAST),
        projection("S"),
        projection("X"),
    );
    Arc::new(plan(&text, &[]).network.clone())
}

/// Largest difference of weights, relative to the weight or a tenth of the largest: drivers compute exp and pow to some 1e-6.
fn difference(a: &mut dyn Engine, b: &mut dyn Engine, projections: std::ops::Range<usize>) -> f32 {
    let mut worst = 0.0f32;
    for p in projections {
        let (a, b) = (a.weights(p).unwrap(), b.weights(p).unwrap());
        assert_eq!(a.len(), b.len());
        let least = 0.1 * b.iter().fold(0.0f32, |m, w| m.max(w.2.abs()));
        for (x, y) in a.iter().zip(&b) {
            assert_eq!((x.0, x.1), (y.0, y.1));
            worst = worst.max((x.2 - y.2).abs() / y.2.abs().max(least));
        }
    }
    worst
}

#[test]
fn weights_are_those_of_the_cpu_under_every_rule() {
    if !device_there() {
        return;
    }
    for rule in rules() {
        let net = told(&rule, lively(&rule));
        let (mut ours, mut theirs) = (gpu(&net, tight()), cpu(&net));
        let steps = (LAST * 10.0) as u64 + LONGEST;
        let first = theirs.weights(1).unwrap();
        let (a, b) = (go(&mut ours, steps), go(&mut theirs, steps));
        assert!(b.spikes.iter().filter(|s| s.id < 11).count() > 300, "{} spikes", b.spikes.len());
        assert!(a == b, "{rule}: spikes");
        let moved = theirs.weights(1).unwrap().iter().zip(&first).filter(|(a, b)| (a.2 - b.2).abs() > 1.0).count();
        let worst = difference(&mut ours, &mut theirs, 1..3);
        println!("{rule}: {moved} weights moved by more than 1 pA, largest difference {worst:.1e}");
        assert!(moved > 50 && worst < 1e-5, "{rule}: {moved} moved, {worst:e}");
    }
}
