//! The engine against 30-digit references, an independent re-implementation and a fine grid.

use super::*;
use crate::model::library::Library;
use crate::network::{Draw, Limits, NeuronInstance, Population, Probe, Rule, SynapseInstance, Window};
use crate::rng::{Stream, key};
use crate::stimulus::{Drive, Trains};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

const DT: f64 = 0.1;

/// What an engine hands over, kept.
#[derive(Default)]
struct Kept {
    spikes: Vec<Spike>,
    samples: Vec<(usize, f64, Vec<f32>)>,
}

impl Sink for Kept {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        self.spikes.extend_from_slice(spikes);
        Ok(())
    }
    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()> {
        self.samples.push((probe, time, values.to_vec()));
        Ok(())
    }
}

fn neuron(model: &str, given: &[(&str, f64)]) -> Cell {
    let given: Vec<(String, Values)> = given.iter().map(|(k, x)| (k.to_string(), Values::Uniform(*x))).collect();
    let model = Library::built_in().unwrap().neuron(model).unwrap();
    Cell::Neuron(NeuronInstance::new(&model, &given, DT).unwrap())
}

fn synapse(model: &str, given: &[(&str, f64)]) -> SynapseInstance {
    let given: Vec<(String, f64)> = given.iter().map(|(k, x)| (k.to_string(), *x)).collect();
    SynapseInstance::new(&Library::built_in().unwrap().synapse(model).unwrap(), &given, DT).unwrap()
}

fn trains(spikes: &[(f64, u32)]) -> Cell {
    let (time, source) = spikes.iter().copied().unzip();
    Cell::Source(SpikeSource::Trains(Arc::new(Trains { time, source })))
}

fn network(populations: Vec<(&str, u32, Cell)>) -> Network {
    let mut net = Network::new(DT, 11);
    for (name, n, cell) in populations {
        net.add(Population::new(name, n, cell));
    }
    net
}

fn project(net: &mut Network, source: usize, target: usize, rule: Rule, weight: Draw, delay: Draw) -> usize {
    net.projections.push(Projection {
        name: format!("p{}", net.projections.len()),
        source,
        target,
        rule,
        port: None,
        weight,
        delay,
        synapse: synapse("static_synapse", &[]),
        autapses: false,
        multapses: true,
        axonal: 0.0,
        modulator: None,
    });
    net.projections.len() - 1
}

fn drive(net: &mut Network, population: usize, kind: DriveKind, start: f64, stop: f64) {
    net.drives.push(Drive { name: format!("d{}", net.drives.len()), population, kind, start, stop });
}

fn engine(net: &Network) -> EventEngine {
    EventEngine::new(net, &|_| {}).unwrap()
}

fn run(engine: &mut EventEngine, ms: f64) -> Kept {
    let mut kept = Kept::default();
    engine.advance((ms / DT).round() as u64, &mut kept).unwrap();
    kept
}

fn spikes_of(kept: &Kept, net: &Network, population: usize) -> Vec<Spike> {
    let p = &net.populations[population];
    kept.spikes.iter().filter(|s| (p.first..p.first + p.n).contains(&s.id)).copied().collect()
}

/// Every spike time within 1e-9 ms of mpmath's, for every model with closed forms.
#[test]
fn golden_spike_times() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../../../tests/golden/event.json")).unwrap();
    let number = |v: &serde_json::Value| v.as_f64().unwrap();
    let mut worst = 0f64;
    for case in golden["cases"].as_array().unwrap() {
        let params: Vec<(&str, f64)> = case["params"].as_object().unwrap().iter().map(|(k, v)| (k.as_str(), number(v))).collect();
        let inputs: Vec<(f64, u64, f64)> =
            case["spikes"].as_array().unwrap().iter().map(|s| (number(&s[0]), s[1].as_u64().unwrap(), number(&s[2]))).collect();
        let times: Vec<(f64, u32)> = inputs.iter().enumerate().map(|(k, s)| (s.0, k as u32)).collect();
        let n = inputs.len() as u32;
        let mut net = network(vec![("in", n, trains(&times)), ("cell", 1, neuron(case["model"].as_str().unwrap(), &params))]);
        // One projection a port, so that its port can be named.
        for port in 0..2 {
            let p = project(&mut net, 0, 1, Rule::AllToAll, Draw::Constant(1.0), Draw::Constant(1.0));
            let Cell::Neuron(instance) = &net.populations[1].cell else { unreachable!() };
            net.projections[p].port = Some(port.min(instance.model.ports.len() - 1));
        }
        let steps: Vec<(f64, f64)> = case["steps"].as_array().unwrap().iter().map(|s| (number(&s[0]), number(&s[1]))).collect();
        if !steps.is_empty() {
            drive(&mut net, 1, DriveKind::Step { changes: steps }, 0.0, 1e9);
        }
        let delay = number(&case["delay"]);
        let rows = Box::new(move |source: u32, out: &mut Vec<Edge>| {
            if let Some((_, port, weight)) = inputs.get(source as usize) {
                out.push(Edge { projection: *port as u32, target: 0, weight: *weight, delay });
            }
        });
        let mut engine = EventEngine::build(&net, rows, vec![None, None], &|_| {}).unwrap();
        let kept = run(&mut engine, number(&case["duration"]));
        let got: Vec<f64> = spikes_of(&kept, &net, 1).iter().map(|s| s.time).collect();
        let wanted: Vec<f64> =
            case["expected"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().parse().unwrap()).collect();
        assert_eq!(got.len(), wanted.len(), "{}: {got:?} for {wanted:?}", case["name"]);
        assert!(wanted.len() >= 5, "{} says too little", case["name"]);
        for (a, b) in got.iter().zip(&wanted) {
            assert!((a - b).abs() < 1e-9, "{}: {a} for {b}", case["name"]);
            worst = worst.max((a - b).abs());
        }
    }
    println!("largest deviation {worst:.1e} ms");
}

const TAU_M: f64 = 10.0;
const TAU_EX: f64 = 2.0;
const TAU_IN: f64 = 5.0;
const C_M: f64 = 250.0;
const THETA: f64 = 15.0;
const T_REF: f64 = 2.0;

fn lif(i_e: f64) -> Cell {
    neuron("iaf_psc_exp", &[("tau_syn_ex", TAU_EX), ("tau_syn_in", TAU_IN), ("I_e", i_e)])
}

/// A recurrent network of iaf_psc_exp neurons with a current step; random rows.
fn recurrent(n: u32) -> (Network, Vec<Vec<Edge>>) {
    let mut net = network(vec![("cells", n, lif(370.0))]);
    project(&mut net, 0, 0, Rule::AllToAll, Draw::Constant(1.0), Draw::Constant(1.0));
    drive(&mut net, 0, DriveKind::Dc { amplitude: Values::Each((0..n).map(|i| i as f64 * 40.0 / n as f64).collect()) }, 0.0, 1e9);
    drive(&mut net, 0, DriveKind::Step { changes: vec![(40.0, 30.0), (80.0, 0.0)] }, 0.0, 1e9);
    let mut draw = Stream::new(key(5, 0), Purpose::Connect, n, 0);
    let rows = (0..n)
        .map(|source| {
            let excites = source % 5 != 0;
            (0..10.min(2 * n))
                .map(|_| {
                    let target = (source + 1 + draw.below(n - 1)) % n;
                    let weight = (0.5 + draw.uniform()) * if excites { 150.0 } else { -400.0 };
                    // Some delays are equal, so that arrivals coincide.
                    let delay = if draw.below(3) == 0 { 1.5 } else { 0.8 + 3.0 * draw.uniform() };
                    Edge { projection: 0, target, weight, delay }
                })
                .collect()
        })
        .collect();
    (net, rows)
}

fn row_fn(rows: Vec<Vec<Edge>>) -> Box<RowFn> {
    Box::new(move |source, out: &mut Vec<Edge>| out.extend_from_slice(&rows[source as usize]))
}

/// One neuron as a textbook has it.
#[derive(Clone, Copy)]
struct Naive {
    t: f64,
    held: f64,
    v: f64,
    e: f64,
    i: f64,
    current: f64,
}

impl Naive {
    fn at(self, t: f64) -> Naive {
        let mut next = self;
        let free_from = self.held.max(self.t).min(t);
        let decay = |x: f64, s: f64, tau: f64| x * (-s / tau).exp();
        (next.e, next.i) = (decay(self.e, free_from - self.t, TAU_EX), decay(self.i, free_from - self.t, TAU_IN));
        let s = t - free_from;
        let psp = |tau: f64| TAU_M * tau / (C_M * (TAU_M - tau)) * ((-s / TAU_M).exp() - (-s / tau).exp());
        let rest = self.current * TAU_M / C_M;
        next.v = rest + (self.v - rest) * (-s / TAU_M).exp() + next.e * psp(TAU_EX) + next.i * psp(TAU_IN);
        (next.e, next.i) = (decay(next.e, s, TAU_EX), decay(next.i, s, TAU_IN));
        next.t = t;
        next
    }

    /// First crossing up to `end`, by sampling and bisection.
    fn crossing(self, end: f64) -> Option<f64> {
        let mut a = self.held.max(self.t);
        while a < end {
            let b = (a + 0.02).min(end);
            if self.at(b).v >= THETA {
                let (mut low, mut high) = (a, b);
                while high - low > 1e-13 * high.max(1.0) {
                    let mid = 0.5 * (low + high);
                    if mid <= low || mid >= high {
                        break;
                    }
                    if self.at(mid).v >= THETA { high = mid } else { low = mid }
                }
                return Some(high);
            }
            a = b;
        }
        None
    }
}

/// One heap entry a synapse, every neuron looked at after every arrival.
fn naive(n: u32, rows: &[Vec<Edge>], end: f64) -> Vec<Spike> {
    let current = |i: u32, t: f64| 370.0 + i as f64 * 40.0 / n as f64 + if (40.0..80.0).contains(&t) { 30.0 } else { 0.0 };
    let mut cells: Vec<Naive> =
        (0..n).map(|i| Naive { t: 0.0, held: 0.0, v: 0.0, e: 0.0, i: 0.0, current: current(i, 0.0) }).collect();
    // Times as bits: for positive numbers their order is the order of the numbers. Target n stands for a change of current or
    // a mere look at everybody.
    let mut heap: BinaryHeap<Reverse<(u64, u32, u64)>> = BinaryHeap::new();
    for k in 1..=(end / 10.0) as u32 {
        heap.push(Reverse(((k as f64 * 10.0).to_bits(), n, 0)));
    }
    let mut spikes = Vec::new();
    let mut crossing: Vec<Option<f64>> = vec![None; n as usize];
    let mut dirty: Vec<u32> = (0..n).collect();
    let mut horizon = 10.0;
    loop {
        for i in dirty.drain(..) {
            crossing[i as usize] = cells[i as usize].crossing(horizon);
        }
        let first = (0..n).filter_map(|i| crossing[i as usize].map(|t| (t.to_bits(), i))).min();
        let arrival = heap.peek().map(|Reverse(a)| *a);
        match (first, arrival) {
            (Some((t, i)), a) if a.is_none_or(|a| t <= a.0) => {
                let time = f64::from_bits(t);
                spikes.push(Spike { time, id: i });
                let cell = &mut cells[i as usize];
                *cell = cell.at(time);
                (cell.v, cell.held) = (0.0, time + T_REF);
                for edge in &rows[i as usize] {
                    heap.push(Reverse(((time + edge.delay).to_bits(), edge.target, edge.weight.to_bits())));
                }
                dirty.push(i);
            }
            (_, Some((t, target, weight))) => {
                heap.pop();
                let time = f64::from_bits(t);
                if target == n {
                    horizon = time + 10.0;
                    for i in 0..n {
                        let cell = &mut cells[i as usize];
                        *cell = cell.at(time);
                        cell.current = current(i, time);
                        dirty.push(i);
                    }
                    continue;
                }
                let cell = &mut cells[target as usize];
                *cell = cell.at(time);
                let weight = f64::from_bits(weight);
                if weight >= 0.0 {
                    cell.e += weight
                } else {
                    cell.i += weight
                }
                dirty.push(target);
            }
            _ => break,
        }
    }
    spikes.sort_by(|a, b| a.time.total_cmp(&b.time).then(a.id.cmp(&b.id)));
    spikes.retain(|s| s.time <= end);
    spikes
}

#[test]
fn recurrent_networks_agree_with_a_naive_implementation() {
    for (n, end) in [(2, 300.0), (50, 150.0)] {
        let (net, rows) = recurrent(n);
        let mut engine = EventEngine::build(&net, row_fn(rows.clone()), vec![None], &|_| {}).unwrap();
        let got = run(&mut engine, end).spikes;
        let wanted = naive(n, &rows, end);
        assert!(wanted.len() > 10 * n as usize / 4, "{} spikes say too little", wanted.len());
        assert_eq!(got.len(), wanted.len());
        let worst = got.iter().zip(&wanted).map(|(a, b)| (a.time - b.time).abs()).fold(0.0, f64::max);
        assert!(got.iter().zip(&wanted).all(|(a, b)| a.id == b.id) && worst < 1e-9, "{n} neurons: {worst}");
        println!(
            "{n} neurons, {} spikes, {} arrivals: largest deviation {worst:.1e} ms",
            got.len(),
            engine.counters.synaptic_events
        );
    }
}

/// Spike times of a grid simulation with exact propagators; spikes and delays rounded to steps.
fn on_a_grid(n: u32, rows: &[Vec<Edge>], end: f64, h: f64) -> Vec<Spike> {
    let psp = |tau: f64| TAU_M * tau / (C_M * (TAU_M - tau)) * ((-h / TAU_M).exp() - (-h / tau).exp());
    let (p_m, p_e, p_i, k_e, k_i) = ((-h / TAU_M).exp(), (-h / TAU_EX).exp(), (-h / TAU_IN).exp(), psp(TAU_EX), psp(TAU_IN));
    let steps = (end / h).round() as u64;
    let mut cells = vec![(0.0, 0.0, 0.0, 0u64); n as usize];
    let ring = (6.0 / h) as usize;
    let mut arrivals: Vec<Vec<(u32, f64)>> = vec![Vec::new(); ring];
    let mut spikes = Vec::new();
    for step in 1..=steps {
        let time = step as f64 * h;
        let lit = (40.0..80.0).contains(&(time - h / 2.0));
        for (i, (v, e, inh, held)) in cells.iter_mut().enumerate() {
            let rest = (370.0 + i as f64 * 40.0 / n as f64 + if lit { 30.0 } else { 0.0 }) * TAU_M / C_M;
            if *held == 0 {
                *v = rest + (*v - rest) * p_m + *e * k_e + *inh * k_i;
            } else {
                *held -= 1;
            }
            (*e, *inh) = (*e * p_e, *inh * p_i);
        }
        for (target, weight) in std::mem::take(&mut arrivals[step as usize % ring]) {
            let cell = &mut cells[target as usize];
            if weight >= 0.0 { cell.1 += weight } else { cell.2 += weight }
        }
        for (i, cell) in cells.iter_mut().enumerate() {
            if cell.0 >= THETA {
                (cell.0, cell.3) = (0.0, (T_REF / h).round() as u64);
                spikes.push(Spike { time, id: i as u32 });
                for edge in &rows[i] {
                    let due = step + (edge.delay / h).round() as u64;
                    arrivals[due as usize % ring].push((edge.target, edge.weight));
                }
            }
        }
    }
    spikes
}

#[test]
fn agrees_with_a_fine_grid_to_its_own_error() {
    let (n, end) = (4, 300.0);
    let (net, rows) = recurrent(n);
    let mut engine = EventEngine::build(&net, row_fn(rows.clone()), vec![None], &|_| {}).unwrap();
    let mut exact = run(&mut engine, end).spikes;
    exact.sort_by(|a, b| a.id.cmp(&b.id).then(a.time.total_cmp(&b.time)));
    let mean_error = |h: f64| {
        let mut grid = on_a_grid(n, &rows, end, h);
        grid.sort_by(|a, b| a.id.cmp(&b.id).then(a.time.total_cmp(&b.time)));
        assert_eq!(grid.iter().map(|s| s.id).collect::<Vec<_>>(), exact.iter().map(|s| s.id).collect::<Vec<_>>());
        let errors: Vec<f64> = grid.iter().zip(&exact).map(|(a, b)| (a.time - b.time).abs()).collect();
        // Each spike and delay is off by less than a step; errors add up along the run.
        assert!(errors.iter().all(|e| *e < 20.0 * h), "{}", errors.iter().copied().fold(0.0, f64::max));
        errors.iter().sum::<f64>() / errors.len() as f64
    };
    // First order: the deviation shrinks with the grid's step, down to 1e-4 ms, so that it is the grid's.
    let errors = [1.6e-3, 4e-4, 1e-4].map(mean_error);
    assert!(errors[1] < 0.5 * errors[0] && errors[2] < 0.5 * errors[1] && errors[2] < 3e-4, "{errors:?}");
    assert!(exact.len() >= 16, "{}", exact.len());
}

/// A mixed network: Poisson sources and drives, short-term plasticity, distributed parameters, weights and delays, noise.
fn mixed() -> Network {
    let thresholds = Values::Each((0..30).map(|i| -55.0 + 0.1 * i as f64).collect());
    let model = Library::built_in().unwrap().neuron("iaf_psc_exp").unwrap();
    let given = [("V_th".to_string(), thresholds), ("I_e".to_string(), Values::Uniform(340.0))];
    let cells = Cell::Neuron(NeuronInstance::new(&model, &given, DT).unwrap());
    let noisy = SpikeSource::Poisson { rate: Values::Uniform(40.0), start: 5.0, stop: 150.0 };
    let mut net = network(vec![
        ("noise", 20, Cell::Source(noisy)),
        ("cells", 30, cells),
        ("others", 10, neuron("iaf_psc_delta", &[("I_e", 360.0)])),
        ("beat", 2, trains(&[(20.0, 0), (60.0, 1), (60.0, 0), (130.0, 1)])),
    ]);
    let delays = Draw::Uniform { low: 0.3, high: 6.0 };
    let weights = Draw::Normal { mean: 120.0, std: 40.0, limits: Limits { low: 0.0, high: 1e9, redraw: false } };
    project(&mut net, 0, 1, Rule::FixedIndegree { indegree: 6 }, weights, delays.clone());
    project(&mut net, 1, 2, Rule::PairwiseBernoulli { p: 0.4 }, Draw::Constant(1.5), delays.clone());
    project(&mut net, 2, 1, Rule::PairwiseBernoulli { p: 0.3 }, Draw::Constant(-120.0), Draw::Constant(1.5));
    project(&mut net, 3, 1, Rule::AllToAll, Draw::Constant(200.0), Draw::Constant(1.5));
    net.projections[1].synapse = synapse("tsodyks2_synapse", &[("tau_rec", 200.0), ("tau_fac", 50.0)]);
    drive(&mut net, 2, DriveKind::Poisson { rate: Values::Uniform(300.0), weight: 1.0, port: 0 }, 0.0, 1e9);
    drive(&mut net, 1, DriveKind::Noise { mean: 10.0, std: 40.0, interval: 1.0 }, 10.0, 120.0);
    net.probes.push(Probe::State {
        population: 1,
        variables: vec!["V_m".into()],
        neurons: vec![0, 7, 29],
        interval: 0.7,
        window: Window::ALWAYS,
    });
    net
}

#[test]
fn a_run_cut_into_pieces_or_restored_is_the_same_run() {
    let net = mixed();
    let whole = run(&mut engine(&net), 200.0);
    assert!(whole.spikes.len() > 200, "{}", whole.spikes.len());
    assert!((1..net.populations.len()).all(|p| spikes_of(&whole, &net, p).len() >= 4));
    let sorted = |s: &[Spike]| s.windows(2).all(|w| (w[0].time, w[0].id) < (w[1].time, w[1].id));
    assert!(sorted(&whole.spikes));

    let mut pieces = engine(&net);
    let mut kept = Kept::default();
    for steps in [1, 2, 500, 7, 490, 1000] {
        let snapshot = pieces.snapshot().unwrap();
        pieces.advance(steps, &mut kept).unwrap();
        // Back and once more, in a fresh engine: the same spikes, and the same state after.
        let mut again = engine(&net);
        again.restore(&snapshot).unwrap();
        assert_eq!(again.snapshot().unwrap(), snapshot);
        let mut second = Kept::default();
        again.advance(steps, &mut second).unwrap();
        assert_eq!(second.spikes, kept.spikes[kept.spikes.len() - second.spikes.len()..]);
        assert_eq!(again.snapshot().unwrap(), pieces.snapshot().unwrap());
    }
    assert_eq!(kept.spikes, whole.spikes);
    assert_eq!(kept.samples, whole.samples);
    assert_eq!(whole.samples.len(), (200.0f64 / 0.7) as usize);
}

#[test]
fn a_branch_takes_changed_parameters_from_its_start() {
    let net = mixed();
    let mut first = engine(&net);
    run(&mut first, 100.0);
    let snapshot = first.snapshot().unwrap();
    // Nothing excites any more: all currents gone, the drive silent.
    let mut branch = net.clone();
    let Cell::Neuron(instance) = &mut branch.populations[1].cell else { unreachable!() };
    *instance = NeuronInstance::new(&instance.model.clone(), &[("I_e".into(), Values::Uniform(-500.0))], DT).unwrap();
    branch.drives.retain(|d| d.population != 1);
    let mut second = engine(&branch);
    second.restore(&snapshot).unwrap();
    let (a, b) = (run(&mut first, 40.0), run(&mut second, 40.0));
    assert!(spikes_of(&a, &net, 1).len() > 5);
    assert!(spikes_of(&b, &branch, 1).iter().all(|s| s.time < 105.0));
    assert_eq!(spikes_of(&a, &net, 0), spikes_of(&b, &branch, 0));
    // The potential goes on from where it was.
    let v = b.samples[0].2[0];
    assert!(v < -50.0 && v > -90.0, "{v}");
}

#[test]
fn checkpoints_that_do_not_fit_are_refused() {
    let net = mixed();
    let snapshot = engine(&net).snapshot().unwrap();
    let mut smaller = net.clone();
    smaller.populations[3].n = 1;
    smaller.populations[3].cell = trains(&[]);
    smaller.populations[2].cell = neuron("qif_psc_delta", &[]);
    assert!(engine(&smaller).restore(&Snapshot::default()).unwrap_err().to_string().contains("not written by the event engine"));
    let mut other = network(vec![("cells", 3, lif(0.0))]);
    other.dt = DT;
    assert!(engine(&other).restore(&snapshot).unwrap_err().to_string().contains("other than the scenario's"));
}

#[test]
fn arrivals_of_one_moment_are_received_together() {
    let mut net = network(vec![("in", 2, trains(&[(1.0, 0), (1.0, 1), (20.0, 0)])), ("cell", 1, neuron("iaf_psc_delta", &[]))]);
    project(&mut net, 0, 1, Rule::AllToAll, Draw::Constant(1.0), Draw::Constant(1.0));
    let rows = vec![
        vec![Edge { projection: 0, target: 0, weight: 20.0, delay: 2.0 }],
        vec![Edge { projection: 0, target: 0, weight: -10.0, delay: 2.0 }],
        vec![],
    ];
    let mut engine = EventEngine::build(&net, row_fn(rows), vec![None], &|_| {}).unwrap();
    let kept = run(&mut engine, 50.0);
    // At 3 ms the sum is 10 mV; at 22 ms 20 mV and what is left.
    assert_eq!(spikes_of(&kept, &net, 1), [Spike { time: 22.0, id: 2 }]);
}

/// A probe between events gives the closed form.
#[test]
fn probes_sample_without_disturbing() {
    let mut net = network(vec![("cell", 1, lif(300.0))]);
    net.probes.push(Probe::State {
        population: 0,
        variables: vec!["V_m".into(), "I_syn_ex".into()],
        neurons: vec![0],
        interval: 2.5,
        window: Window::ALWAYS,
    });
    let with = run(&mut engine(&net), 50.0);
    assert_eq!(with.samples.len(), 20);
    for (k, (probe, time, values)) in with.samples.iter().enumerate() {
        assert_eq!((*probe, *time), (0, (25 * (k + 1)) as f64 * DT));
        let wanted = -70.0 + 12.0 * (1.0 - (-time / TAU_M).exp());
        assert!((values[0] as f64 - wanted).abs() < 1e-5 && values[1] == 0.0, "{values:?} for {wanted}");
    }
    net.probes = vec![Probe::State {
        population: 0,
        variables: vec!["V_n".into()],
        neurons: vec![0],
        interval: 1.0,
        window: Window::ALWAYS,
    }];
    let message = EventEngine::new(&net, &|_| {}).err().unwrap().to_string();
    assert!(message.contains("V_n"), "{message}");
}

/// tsodyks2: the jumps of a delta neuron against the recursion in f64.
#[test]
fn short_term_plasticity() {
    let times: Vec<(f64, u32)> = [10.0, 13.3, 17.0, 40.0, 41.0, 250.0].map(|t| (t, 0)).to_vec();
    let mut net =
        network(vec![("in", 1, trains(&times)), ("cell", 2, neuron("iaf_psc_delta", &[("tau_m", 1e9), ("V_th", 1e6)]))]);
    project(&mut net, 0, 1, Rule::AllToAll, Draw::Constant(8.0), Draw::Constant(1.25));
    let (u_0, tau_rec, tau_fac) = (0.3, 90.0, 40.0);
    net.projections[0].synapse =
        synapse("tsodyks2_synapse", &[("U", u_0), ("u", u_0), ("tau_rec", tau_rec), ("tau_fac", tau_fac)]);
    net.probes.push(Probe::State {
        population: 1,
        variables: vec!["V_m".into()],
        neurons: vec![0, 1],
        interval: DT,
        window: Window::ALWAYS,
    });
    let mut engine = engine(&net);
    let kept = run(&mut engine, 300.0);
    let (mut x, mut u, mut total) = (1.0, u_0, 0.0);
    for (k, &(t, _)) in times.iter().enumerate() {
        if k > 0 {
            let gap = t - times[k - 1].0;
            x = 1.0 + (x - x * u - 1.0) * (-gap / tau_rec as f64).exp();
            u = u_0 + u * (1.0 - u_0) * (-gap / tau_fac as f64).exp();
        }
        total += 8.0 * x * u;
        let sample = kept.samples.iter().find(|s| s.1 > t + 1.25 + 1e-9).unwrap();
        assert!(sample.2.iter().all(|v| (*v as f64 + 70.0 - total).abs() < 2e-4), "{:?} for {total} at {t}", sample.2);
    }
    assert_eq!(engine.counters().synaptic_events, 12);
}

/// Noise is the step current that its numbers say.
#[test]
fn noise_is_a_step_current() {
    let mut net = network(vec![("cells", 3, lif(380.0))]);
    drive(&mut net, 0, DriveKind::Noise { mean: 20.0, std: 100.0, interval: 0.5 }, 3.0, 203.0);
    let noisy = run(&mut engine(&net), 250.0);
    let currents = Currents::of(&net, 0).unwrap();
    for i in 0..3 {
        let mut single = network(vec![("cells", 1, lif(380.0))]);
        let (mut changes, mut t) = (vec![], 0.0);
        while currents.next_change(t) < f64::INFINITY {
            t = currents.next_change(t);
            changes.push((t, currents.value(i, t)));
        }
        drive(&mut single, 0, DriveKind::Step { changes }, 0.0, 1e9);
        let alone = run(&mut engine(&single), 250.0);
        let same: Vec<f64> = noisy.spikes.iter().filter(|s| s.id == i as u32).map(|s| s.time).collect();
        assert_eq!(same, alone.spikes.iter().map(|s| s.time).collect::<Vec<_>>());
        assert!(same.len() > 5);
    }
}

#[test]
fn what_has_no_closed_form_is_refused_by_name() {
    let net = network(vec![("cortex", 1, neuron("hh_psc_alpha", &[]))]);
    let error = EventEngine::new(&net, &|_| {}).err().unwrap();
    let (message, remedy) = (error.to_string(), error.remedy().unwrap().to_string());
    assert!(message.contains("cortex") && message.contains("hh_psc_alpha"), "{message}");
    assert!(remedy.contains("iaf_psc_delta") && remedy.contains("iaf_psc_exp") && remedy.contains("qif_psc_delta"), "{remedy}");
    let mut net = network(vec![("cells", 1, lif(0.0))]);
    drive(&mut net, 0, DriveKind::Ac { amplitude: 1.0, frequency: 10.0, phase: 0.0, offset: 0.0 }, 0.0, 1e9);
    assert!(EventEngine::new(&net, &|_| {}).err().unwrap().to_string().contains("`d0`"));
    // Firing without pause is an error, not an endless loop, also of a model that does not refuse such a reset itself.
    let text = Library::built_in().unwrap().neuron("iaf_psc_delta").unwrap().place.text.replace("require = ", "# ");
    let mut library = Library::default();
    library.add("iaf_psc_delta.toml", &text).unwrap();
    let given = [("t_ref", 0.0), ("V_reset", -50.0), ("I_e", 500.0)].map(|(k, x)| (k.to_string(), Values::Uniform(x)));
    let unguarded = NeuronInstance::new(&library.neuron("iaf_psc_delta").unwrap(), &given, DT).unwrap();
    let net = network(vec![("cells", 1, Cell::Neuron(unguarded))]);
    let mut kept = Kept::default();
    let error = engine(&net).advance(1000, &mut kept).unwrap_err();
    assert!(error.to_string().contains("without pause"), "{error}");
}

/// Poisson drive: a neuron that every arrival brings to threshold copies the train; rates and independence of other elements.
#[test]
fn poisson_drive() {
    let mut net = network(vec![("cells", 50, neuron("iaf_psc_delta", &[("t_ref", 0.0)]))]);
    drive(&mut net, 0, DriveKind::Poisson { rate: Values::Uniform(100.0), weight: 30.0, port: 0 }, 100.0, 2100.0);
    let kept = run(&mut engine(&net), 3000.0);
    assert!(kept.spikes.iter().all(|s| s.time > 100.0 && s.time <= 2100.0));
    // 50 neurons, 2 s, 100 Hz: 10,000 with a deviation of 100.
    assert!((kept.spikes.len() as f64 - 10_000.0).abs() < 400.0, "{}", kept.spikes.len());
    let mut fewer = net.clone();
    fewer.populations[0].n = 7;
    let few = run(&mut engine(&fewer), 3000.0);
    let shared: Vec<Spike> = kept.spikes.iter().filter(|s| s.id < 7).copied().collect();
    assert_eq!(few.spikes, shared);
}

#[test]
fn weights_in_canonical_order() {
    let net = mixed();
    let mut engine = engine(&net);
    let weights = engine.weights(2).unwrap();
    assert!(!weights.is_empty() && weights.iter().all(|w| (50..60).contains(&w.0) && (20..50).contains(&w.1) && w.2 == -120.0));
    assert!(weights.windows(2).all(|w| w[0].0 <= w[1].0));
    let total: usize = (0..4).map(|p| engine.weights(p).unwrap().len()).sum();
    assert_eq!(total as u64, engine.counters().synapses);
    assert!(engine.weights(9).is_err());
}

/// Samples shown one after another: rate-coded counts by pixel and time, latencies exactly; both continue after a restore.
#[test]
fn presentations() {
    use crate::dataset::idx::Images;
    use crate::stimulus::encode::{Coding, Order, Presentation};
    let images = Arc::new(Images::from_intensities(&[0.0, 0.5, 1.0, 0.25], 4).unwrap());
    let shown = |coding| {
        let schedule = Presentation::new(images.clone(), coding, 350.0, 150.0, Order::Sequential, Some(40)).unwrap();
        let cell = Cell::Source(SpikeSource::Presentation(Arc::new(schedule.clone())));
        (network(vec![("retina", 4, cell)]), schedule)
    };
    let (net, schedule) = shown(Coding::Rate { max_rate: 100.0 });
    let whole = run(&mut engine(&net), 21_000.0);
    for s in &whole.spikes {
        let k = (s.time / 500.0).floor();
        assert!(s.time - k * 500.0 <= 350.0 && s.time <= 20_000.0 && s.id != 0);
    }
    for pixel in 0..4 {
        let expected = schedule.rate(schedule.pixels(0)[pixel]) * 0.35 * 40.0;
        let count = whole.spikes.iter().filter(|s| s.id == pixel as u32).count() as f64;
        assert!((count - expected).abs() <= 4.0 * expected.sqrt(), "pixel {pixel}: {count} for {expected}");
    }

    let (late, schedule) = shown(Coding::Latency { window: 300.0 });
    let wanted: Vec<Spike> = (0..40).flat_map(|i| schedule.latency_spikes(i)).map(|(time, id)| Spike { time, id }).collect();
    assert_eq!(run(&mut engine(&late), 21_000.0).spikes, wanted);
    assert_eq!(wanted.len(), 120);

    for (net, spikes) in [(&net, &whole.spikes), (&late, &wanted)] {
        let mut first = engine(net);
        let before = run(&mut first, 7_777.7).spikes.len();
        let mut second = engine(net);
        second.restore(&first.snapshot().unwrap()).unwrap();
        assert_eq!(run(&mut second, 13_000.0).spikes, spikes[before..]);
    }
}

/// Spikes given at time 0 are played, once.
#[test]
fn trains_from_time_zero() {
    let net = network(vec![("in", 2, trains(&[(-1.0, 0), (0.0, 1), (0.0, 0), (5.0, 1)]))]);
    let mut first = engine(&net);
    let start = first.snapshot().unwrap();
    let kept = run(&mut first, 10.0);
    let wanted = [(0.0, 0), (0.0, 1), (5.0, 1)].map(|(time, id)| Spike { time, id });
    assert_eq!(kept.spikes, wanted);
    first.restore(&start).unwrap();
    assert_eq!(run(&mut first, 4.0).spikes, wanted[..2]);
    assert_eq!(run(&mut first, 4.0).spikes, wanted[2..]);
}

#[test]
fn what_does_not_fit_into_memory_is_refused_before_it_is_built() {
    let mut net = network(vec![("cells", 4_000_000, lif(0.0))]);
    project(&mut net, 0, 0, Rule::FixedOutdegree { outdegree: 1_000_000 }, Draw::Constant(1.0), Draw::Constant(1.0));
    let error = EventEngine::new(&net, &|_| {}).err().unwrap();
    assert!(matches!(error, Error::Memory { .. }), "{error}");
}

/// However few spikes of targets are held, weights are the same to the last bit; and no more are held than asked for. Sources and
/// targets spike all the time, so that synapses are brought up to date while spikes are on their way, and learn on; those of the
/// last sources have nothing to ask for after 130 ms.
#[test]
fn forgetting_changes_nothing() {
    let mut net = mixed();
    net.populations[0].cell = Cell::Source(SpikeSource::Poisson { rate: Values::Uniform(40.0), start: 5.0, stop: 1e9 });
    net.populations[1].cell = lif(500.0);
    net.projections[0].synapse = synapse("stdp_triplet_synapse", &[("Aplus", 2.0), ("Aminus", 1.0), ("Wmax", 1e3)]);
    net.projections[3].synapse = synapse("stdp_synapse", &[("lambda", 0.1), ("Wmax", 1e3)]);
    let run_with = |most: usize| {
        let mut engine = engine(&net);
        engine.most_kept = most;
        engine.enough = most / 2;
        let start = [0, 3].map(|p| engine.weights(p).unwrap());
        let spikes = run(&mut engine, 1000.0).spikes;
        // Bringing all weights up to date, as scaling does, leaves nothing to ask for.
        let kept = engine.synapses.kept;
        [0, 3].into_iter().for_each(|p| engine.scale_weights(p, &|_, _| 1.0).unwrap());
        (spikes, start, [0, 3].map(|p| engine.weights(p).unwrap()), kept)
    };
    let (all, few) = (run_with(1 << 20), run_with(200));
    assert!(all.3 > 1000 && few.3 <= 400, "{} {}", all.3, few.3);
    assert!(all.0 == few.0, "spikes");
    for (k, (all, few)) in all.2.iter().zip(&few.2).enumerate() {
        assert!(all == few, "weights {k}: {:?}", all.iter().zip(few).find(|(a, b)| a != b));
    }
    for (start, end) in all.1.iter().zip(&all.2) {
        let moved = start.iter().zip(end).filter(|(a, b)| (a.2 - b.2).abs() > 1.0 && b.2 > 0.0 && b.2 < 1e3).count();
        assert!(2 * moved > start.len(), "{moved} of {} weights moved", start.len());
    }
}

/// A weight beyond its bound stops the run and names its neurons; delays too short to be told apart are refused.
#[test]
fn plastic_weights_are_watched() {
    let mut library = Library::built_in().unwrap().clone();
    library.add("wild.toml", "name = \"wild\"\nkind = \"synapse\"\nbound = 100\n[code]\non_pre = \"w = w * 3.0;\"\n").unwrap();
    let times: Vec<(f64, u32)> = (1..9).map(|k| (k as f64 * 1.7, 1)).collect();
    let mut net = network(vec![("in", 2, trains(&times)), ("cell", 3, lif(0.0))]);
    project(&mut net, 0, 1, Rule::AllToAll, Draw::Constant(10.0), Draw::Constant(1.25));
    net.projections[0].synapse = SynapseInstance::new(&library.synapse("wild").unwrap(), &[], DT).unwrap();
    let error = engine(&net).advance(1000, &mut Kept::default()).unwrap_err().to_string();
    assert!(error.contains("from neuron 1 to neuron 2 is 270") && error.contains("at 6.350 ms"), "{error}");
    net.projections[0].delay = Draw::Constant(1e-7);
    assert!(EventEngine::new(&net, &|_| {}).err().unwrap().to_string().contains("apart"));
    net.projections[0].delay = Draw::Constant(1.0);
    net.projections[0].weight = Draw::Constant(-10.0);
    assert!(EventEngine::new(&net, &|_| {}).err().unwrap().to_string().contains("negative"));
}
