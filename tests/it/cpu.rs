//! The CPU engine against an independent, naive simulation of the same schedule; threads; checkpoints.

use crate::common::{Collected, plan, simulate};
use sharpwave::engine::{Engine, Spike};
use sharpwave::network::connectivity::Rows;
use sharpwave::network::{Cell, Network, synapse_table};
use sharpwave::rng::{Purpose, key, philox4x32};
use sharpwave::stimulus::poisson::Thresholds;
use std::sync::Arc;

const BALANCED: &str = r#"
title = "A small balanced network"
citation = "none"
[simulation]
dt = "0.1 ms"
duration = "200 ms"
seed = 11
[populations.E]
model = "iaf_psc_exp"
n = 160
params = { tau_syn_ex = "0.5 ms", tau_syn_in = "1.5 ms", V_m = { distribution = "normal", mean = "-60 mV", std = "4 mV" } }
record = { states = ["V_m"], neurons = 3, interval = "1 ms" }
[populations.I]
model = "iaf_psc_exp"
n = 40
params = { tau_m = "8 ms" }
[[projections]]
source = "E"
target = ["E", "I"]
rule = { name = "fixed_indegree", indegree = 16 }
weight = { distribution = "normal", mean = "120 pA", relative_std = 0.1, low = 0.0, redraw = true }
delay = { distribution = "normal", mean = "1.5 ms", relative_std = 0.5, low = "0.1 ms", redraw = true }
[[projections]]
source = "I"
target = ["E", "I"]
rule = { name = "fixed_indegree", indegree = 4 }
weight = "-500 pA"
delay = "0.8 ms"
[[drives]]
target = ["E", "I"]
type = "poisson_generator"
rate = "8000 Hz"
weight = "60 pA"
"#;

/// One step at a time, an accumulator for every future step, one loop a neuron; formulas written out again.
fn naive(net: &Network, steps: u64) -> Vec<Spike> {
    let rows = Rows::prepare(net, &|_| {}).unwrap();
    let tables = synapse_table::build(net, &rows, 1, &|_| {}).unwrap();
    let n = net.neurons() as usize;
    let horizon = tables.max_delay as usize + 1;
    let mut pending = vec![vec![[0i32; 2]; n]; horizon];
    let mut edges = Vec::new();
    let row_of: Vec<Vec<(usize, usize, usize, i32)>> = (0..n as u32)
        .map(|id| {
            edges.clear();
            rows.row(id, &mut edges);
            edges
                .iter()
                .map(|e| {
                    let target = net.projections[e.projection as usize].target;
                    let port = usize::from(e.weight < 0.0);
                    let units = (e.weight / tables.quantum[target][port]).round() as i32;
                    let delay = ((e.delay / net.dt).round() as usize).max(1);
                    (net.populations[target].first as usize + e.target as usize, port, delay, units)
                })
                .collect()
        })
        .collect();
    struct Neuron {
        v: f32,
        ex: f32,
        inh: f32,
        hold: u32,
        p: [f32; 6],
        theta: f32,
        population: usize,
        local: u32,
    }
    let mut neurons = Vec::new();
    for (index, population) in net.populations.iter().enumerate() {
        let Cell::Neuron(instance) = &population.cell else { panic!() };
        let get = |name: &str, i: usize| instance.params[instance.model.param(name).unwrap()].get(i);
        for i in 0..population.n {
            let g = |name: &str| get(name, i as usize);
            let (tau_m, c_m, dt) = (g("tau_m"), g("C_m"), net.dt);
            let response = |tau: f64| {
                let beta = 1.0 / tau - 1.0 / tau_m;
                (-dt / tau_m).exp() / c_m * -(-beta * dt).exp_m1() / beta
            };
            let p = [
                (-dt / tau_m).exp_m1() as f32,
                response(g("tau_syn_ex")) as f32,
                response(g("tau_syn_in")) as f32,
                (-(-dt / tau_m).exp_m1() * tau_m / c_m) as f32,
                (-dt / g("tau_syn_ex")).exp() as f32,
                (-dt / g("tau_syn_in")).exp() as f32,
            ];
            let theta = (g("V_th") - g("E_L")) as f32;
            neurons.push(Neuron {
                v: (g("V_m") - g("E_L")) as f32,
                ex: 0.0,
                inh: 0.0,
                hold: 0,
                p,
                theta,
                population: index,
                local: i,
            });
        }
    }
    let thresholds = Thresholds::new(8000.0 * 1e-3 * net.dt);
    let mut spikes = Vec::new();
    for step in 0..steps {
        let slot = (step as usize + 1) % horizon;
        let arrived = std::mem::replace(&mut pending[slot], vec![[0i32; 2]; n]);
        for (id, neuron) in neurons.iter_mut().enumerate() {
            let drive = neuron.population as u32;
            let words = philox4x32([neuron.local >> 2, step as u32, 0, Purpose::PoissonDrive as u32], key(net.seed, drive));
            let count = thresholds.count(words[(neuron.local & 3) as usize]) as i32;
            let q = &tables.quantum[neuron.population];
            let units = (60.0 / q[0]).round() as i32;
            let ex = (arrived[id][0] + count * units) as f32 * q[0] as f32;
            let inh = arrived[id][1] as f32 * q[1] as f32;
            let p = &neuron.p;
            if neuron.hold == 0 {
                neuron.v += neuron.v * p[0] + neuron.ex * p[1] + neuron.inh * p[2] + (0.0 + 0.0) * p[3];
            } else {
                neuron.hold -= 1;
            }
            neuron.ex = neuron.ex * p[4] + ex;
            neuron.inh = neuron.inh * p[5] + inh;
            if neuron.v >= neuron.theta {
                neuron.v = 0.0;
                neuron.hold = 20;
                spikes.push(Spike { time: (step + 1) as f64 * net.dt, id: id as u32 });
                for &(target, port, delay, units) in &row_of[id] {
                    pending[(step as usize + 1 + delay) % horizon][target][port] += units;
                }
            }
        }
    }
    spikes
}

#[test]
fn equals_a_naive_simulation_bit_for_bit() {
    let plan = plan(BALANCED, &[]);
    let ours = simulate(&plan, "cpu", 1);
    let theirs = naive(&plan.network, 2000);
    assert!(theirs.len() > 200, "the network must be active: {} spikes", theirs.len());
    assert_eq!(ours.spikes, theirs);
}

#[test]
fn any_number_of_threads_gives_the_same_spikes_and_samples() {
    let plan = plan(BALANCED, &[]);
    let one = simulate(&plan, "cpu", 1);
    assert!(one.samples.len() == 200);
    for threads in [2, 3, 7] {
        assert_eq!(simulate(&plan, "cpu", threads), one, "{threads} threads");
    }
}

fn engine(net: &Arc<Network>, threads: usize) -> Box<dyn Engine> {
    crate::common::open(net, "cpu", threads).unwrap()
}

/// Stop at any step, go on in a fresh engine (other threads too): the same spikes, also with synapses that have state.
#[test]
fn a_restored_engine_goes_on_bit_for_bit() {
    let dynamic = BALANCED.replace(
        "weight = \"-500 pA\"",
        "synapse = { model = \"tsodyks2_synapse\", U = 0.4, tau_rec = \"200 ms\", tau_fac = \"50 ms\" }\nweight = \"-900 pA\"",
    );
    for text in [BALANCED, &dynamic] {
        let plan = plan(text, &[]);
        let net = Arc::new(plan.network.clone());
        let mut whole = Collected::default();
        engine(&net, 2).advance(2000, &mut whole).unwrap();
        let mut parts = Collected::default();
        let mut first = engine(&net, 2);
        first.advance(777, &mut parts).unwrap();
        let snapshot = first.snapshot().unwrap();
        for threads in [1, 2, 3] {
            let mut rest = parts.clone();
            let mut second = engine(&net, threads);
            second.restore(&snapshot).unwrap();
            assert_eq!(second.snapshot().unwrap(), snapshot, "restoring loses nothing");
            second.advance(1223, &mut rest).unwrap();
            assert_eq!(rest, whole, "{threads} threads");
        }
    }
}
