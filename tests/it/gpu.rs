//! The gpu engine against a naive host implementation of the schedule, on whatever device there is (software Vulkan will do).
//! The test network is integer throughout, so every spike must agree.

use sharpwave::engine::gpu::{GpuEngine, GpuOptions, devices};
use sharpwave::engine::{Engine, Sink, Spike};
use sharpwave::error::{Error, Place, Result};
use sharpwave::model::expr::Expr;
use sharpwave::model::{Constant, NeuronModel, Param, Port, Recordable, Sign, State, SynapseModel, Ty};
use sharpwave::network::table::{Block, Dynamic, Form, Group, NO_ROW, Table, Tables, header};
use sharpwave::network::{Cell, Network, NeuronInstance, Population, Probe, Projection, Rule, SynapseInstance, Values};
use sharpwave::rng::{Purpose, Stream};
use sharpwave::stimulus::poisson::Table as Thresholds;
use sharpwave::stimulus::{Drive, DriveKind, SpikeSource, Trains};
use std::sync::Arc;

/// False, with the reason printed, on a machine without any device.
fn device_there() -> bool {
    let all = devices();
    let usable = all.iter().any(|d| d.usable.is_ok());
    if !usable {
        println!("skipped: no Vulkan, Metal or DX12 device is usable here: {all:?}");
    }
    usable
}

#[derive(Default)]
struct Collect {
    spikes: Vec<(u64, u32)>,
    samples: Vec<(u64, usize, Vec<f32>)>,
}

const DT: f64 = 0.5;

impl Sink for Collect {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        let found: Vec<(u64, u32)> = spikes.iter().map(|s| ((s.time / DT).round() as u64, s.id)).collect();
        assert!(found.is_sorted() && self.spikes.last() <= found.first());
        self.spikes.extend(found);
        Ok(())
    }
    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()> {
        let step = (time / DT).round() as u64;
        assert!(self.spikes.last().is_none_or(|s| s.0 <= step));
        self.samples.push((step, probe, values.to_vec()));
        Ok(())
    }
}

// ---- the test network ------------------------------------------------------------------------------------------------------

fn place() -> Place {
    Place { file: "test".into(), text: "".into(), span: 0..0 }
}

fn param(name: &str, default: f64) -> Param {
    Param { name: name.into(), unit: "1".into(), doc: String::new(), default: Expr::number(default), above: None, at_least: None, at_most: None }
}

/// Counts what arrives, weighs the second port double, fires at `theta`.
fn counting_model() -> Arc<NeuronModel> {
    let wgsl = "
        var<private> theta: i32;
        var<private> leak: i32;
        var<private> v: i32;
        var<private> fired: u32;
        var<private> ex: f32;
        var<private> inh: f32;
        var<private> I: f32;
        var<private> spike: bool;
        fn integrate() { v = v - leak; }
        fn update() {
            v = v + i32(ex) + 2 * i32(inh) + i32(I);
            if v >= theta { spike = true; v = 0; fired = fired + 1u; }
            if v < -1000 { v = -1000; }
        }";
    let state = |name: &str, ty| State { name: name.into(), ty, unit: "1".into(), doc: String::new(), init: Expr::number(0.0) };
    let port = |name: &str, sign| Port { name: name.into(), receptor: name.into(), unit: "1".into(), doc: String::new(), sign, charge: None };
    Arc::new(NeuronModel {
        name: "counting".into(),
        doc: String::new(),
        source: String::new(),
        place: place(),
        params: vec![param("theta", 10.0), param("leak", 1.0)],
        derived: vec![],
        states: vec![state("v", Ty::I32), state("fired", Ty::U32)],
        ports: vec![port("ex", Sign::Positive), port("inh", Sign::Negative { absolute: false })],
        current: Some(("I".into(), "pA".into())),
        recordables: vec![Recordable { name: "twice".into(), unit: "1".into(), doc: String::new(), value: Expr::parse("2*v + theta").unwrap() }],
        substeps: None,
        refractory: None,
        constants: vec![Constant { name: "theta".into(), ty: Ty::I32 }, Constant { name: "leak".into(), ty: Ty::I32 }],
        program: Default::default(),
        wgsl: wgsl.into(),
        event: None,
    })
}

fn neurons(n: u32, theta: Values, leak: f64, substeps: u32) -> (u32, Cell) {
    let model = counting_model();
    let zero = Values::Uniform(0.0);
    let instance = NeuronInstance { model, params: vec![theta, Values::Uniform(leak)], derived: vec![], initial: vec![zero.clone(), zero], substeps };
    (n, Cell::Neuron(instance))
}

fn network(cells: Vec<(u32, Cell)>) -> Network {
    let mut first = 0;
    let mut populations = Vec::new();
    for (i, (n, cell)) in cells.into_iter().enumerate() {
        populations.push(Population { name: format!("p{i}"), first, n, cell, positions: None, extent: [1.0; 2], record_spikes: None });
        first += n;
    }
    Network { dt: DT, seed: 0x1234_5678_9abc_def0, populations, projections: vec![], drives: vec![], probes: vec![] }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Synapse {
    source: u32,
    population: usize,
    target: u32,
    port: u32,
    weight: i32,
    delay: u32,
    form: Form,
}

/// A table of one block, written here once more from its description.
fn tables(net: &Network, synapses: &[Synapse], dynamics: Vec<Dynamic>) -> Tables {
    let (mut offset, mut at, mut slices) = (vec![], 0u32, vec![]);
    for p in &net.populations {
        offset.push(at);
        let neurons = if matches!(p.cell, Cell::Neuron(_)) { p.n } else { 0 };
        slices.push(0..neurons);
        at += neurons.next_multiple_of(16);
    }
    let block = Block { slices, offset: offset.clone(), stride: at, ports: 2 };
    let address = |s: &Synapse| s.port * at + offset[s.population] + s.target;
    // Two narrow groups, so that bases are used; then wide; then one for each of the dynamics.
    let mut groups = vec![Group { base: 0, form: Form::Narrow }, Group { base: at, form: Form::Narrow }, Group { base: 0, form: Form::Wide }];
    groups.extend((0..dynamics.len() as u32).map(|d| Group { base: 0, form: Form::Dynamic(d) }));
    let group = |s: &Synapse| match s.form {
        Form::Narrow => s.port,
        Form::Wide => 2,
        Form::Dynamic(d) => 3 + d,
    };
    let mut table = Table { shards: vec![vec![], vec![]], row: vec![], groups, dynamics, synapses: synapses.len() as u64 };
    let mut next = vec![0u32; table.dynamics.len()];
    for source in 0..net.neurons() {
        let mut own: Vec<&Synapse> = synapses.iter().filter(|s| s.source == source).collect();
        if own.is_empty() {
            table.row.push(NO_ROW);
            continue;
        }
        own.sort_by_key(|s| (s.delay, group(s)));
        let shard = (source % 2) as usize;
        let stream = &mut table.shards[shard];
        table.row.push((shard as u64) << 32 | stream.len() as u64);
        let mut delay = 0;
        for same in own.chunk_by(|a, b| a.delay == b.delay && group(a) == group(b)) {
            let mut step = same[0].delay - delay;
            delay = same[0].delay;
            while step > 1023 {
                stream.push(header(0, 0, 1000));
                step -= 1000;
            }
            stream.push(header(same.len() as u32, group(same[0]), step));
            match same[0].form {
                Form::Narrow => stream.extend(same.iter().map(|s| (address(s) - s.port * at) | (s.weight as u32) << 16)),
                Form::Wide => stream.extend(same.iter().flat_map(|s| [address(s), s.weight as u32])),
                Form::Dynamic(d) => {
                    stream.push(next[d as usize]);
                    next[d as usize] += same.len() as u32;
                    stream.extend(same.iter().map(|s| address(s)));
                }
            }
        }
        stream.push(0);
    }
    let delays = || synapses.iter().map(|s| s.delay);
    Tables {
        blocks: vec![block],
        tables: vec![table],
        quantum: net.populations.iter().map(|p| if matches!(p.cell, Cell::Neuron(_)) { vec![1.0, 1.0] } else { vec![] }).collect(),
        min_delay: delays().min().unwrap_or(1),
        max_delay: delays().max().unwrap_or(1),
    }
}

/// The schedule, naively: a map of what arrives when.
struct Reference<'a> {
    net: &'a Network,
    synapses: &'a [Synapse],
    v: Vec<i32>,
    fired: Vec<u32>,
    arriving: std::collections::HashMap<(u64, usize, u32, u32), i32>,
    spikes: Vec<(u64, u32)>,
    step: u64,
}

impl<'a> Reference<'a> {
    fn new(net: &'a Network, synapses: &'a [Synapse]) -> Self {
        let n = net.neurons() as usize;
        Reference { net, synapses, v: vec![0; n], fired: vec![0; n], arriving: Default::default(), spikes: vec![], step: 0 }
    }

    fn advance(&mut self, steps: u64) {
        for _ in 0..steps {
            let stamp = self.step + 1;
            let before = self.spikes.len();
            for (p, population) in self.net.populations.iter().enumerate() {
                match &population.cell {
                    Cell::Neuron(instance) => {
                        for i in 0..population.n {
                            let units = |port: u32| self.arriving.get(&(stamp, p, i, port)).copied().unwrap_or(0) + self.poisson(p, i, port);
                            let input = units(0) + 2 * units(1) + self.current(p, i);
                            let id = (population.first + i) as usize;
                            let mut v = self.v[id] - instance.substeps as i32 * instance.params[1].get(i as usize) as i32 + input;
                            if v >= instance.params[0].get(i as usize) as i32 {
                                v = 0;
                                self.fired[id] += 1;
                                self.spikes.push((stamp, id as u32));
                            }
                            self.v[id] = v.max(-1000);
                        }
                    }
                    Cell::Source(SpikeSource::Trains(trains)) => {
                        for (&time, &source) in trains.time.iter().zip(&trains.source) {
                            if time == stamp as f64 * DT {
                                self.spikes.push((stamp, population.first + source));
                            }
                        }
                    }
                    Cell::Source(SpikeSource::Poisson { rate, start, stop }) => {
                        let time = self.step as f64 * DT;
                        for i in 0..population.n {
                            if time >= *start && time < *stop {
                                let key = sharpwave::rng::key(self.net.seed, p as u32);
                                for _ in 0..count(rate.get(i as usize), self.step, i, key, Purpose::PoissonSource) {
                                    self.spikes.push((stamp, population.first + i));
                                }
                            }
                        }
                    }
                    Cell::Source(SpikeSource::Presentation(_)) => unreachable!("not in these tests"),
                }
            }
            self.spikes[before..].sort();
            for &(s, id) in &self.spikes[before..] {
                for synapse in self.synapses.iter().filter(|x| x.source == id) {
                    let key = (s + u64::from(synapse.delay), synapse.population, synapse.target, synapse.port);
                    *self.arriving.entry(key).or_default() += synapse.weight;
                }
            }
            self.step += 1;
        }
    }

    fn poisson(&self, p: usize, i: u32, wanted: u32) -> i32 {
        let mut sum = 0;
        for (owner, drive) in self.net.drives.iter().enumerate().filter(|(_, d)| d.population == p) {
            if let DriveKind::Poisson { rate, weight, port } = &drive.kind {
                let time = self.step as f64 * DT;
                if *port as u32 == wanted && time >= drive.start && time < drive.stop {
                    let key = sharpwave::rng::key(self.net.seed, owner as u32);
                    sum += count(rate.get(i as usize), self.step, i, key, Purpose::PoissonDrive) as i32 * *weight as i32;
                }
            }
        }
        sum
    }

    fn current(&self, p: usize, i: u32) -> i32 {
        let time = self.step as f64 * DT;
        let active = self.net.drives.iter().filter(|d| d.population == p && time >= d.start && time < d.stop);
        active
            .map(|d| match &d.kind {
                DriveKind::Dc { amplitude } => amplitude.get(i as usize) as i32,
                DriveKind::Step { changes } => changes.iter().rfind(|c| c.0 <= time).map_or(0, |c| c.1 as i32),
                _ => 0,
            })
            .sum()
    }
}

/// Philox and thresholds by their definition.
fn count(rate: f64, step: u64, element: u32, key: [u32; 2], purpose: Purpose) -> u32 {
    let words = sharpwave::rng::philox4x32([element >> 2, step as u32, (step >> 32) as u32, purpose as u32], key);
    let table = Thresholds::new(&Values::Uniform(rate), 1, DT).unwrap();
    table.rows.iter().filter(|&&t| t != u32::MAX && t <= words[(element & 3) as usize]).count() as u32
}

fn random_synapses(net: &Network, n: usize, delays: std::ops::RangeInclusive<u32>, seed: u64) -> Vec<Synapse> {
    let mut draw = Stream::new([seed as u32, 7], Purpose::Connect, 0, 0);
    let targets: Vec<usize> = (0..net.populations.len()).filter(|&p| matches!(net.populations[p].cell, Cell::Neuron(_))).collect();
    let span = delays.end() - delays.start() + 1;
    (0..n)
        .map(|_| {
            let population = targets[draw.below(targets.len() as u32) as usize];
            let port = draw.below(2);
            Synapse {
                source: draw.below(net.neurons()),
                population,
                target: draw.below(net.populations[population].n),
                port,
                weight: if port == 0 { 1 + draw.below(4) as i32 } else { -1 - draw.below(2) as i32 },
                delay: delays.start() + draw.below(span),
                form: if draw.below(3) == 0 { Form::Wide } else { Form::Narrow },
            }
        })
        .collect()
}

/// A network with every kind of drive and source; about one spike a neuron every ten steps.
fn busy_network() -> Network {
    let each = Values::Each((0..70).map(|i| 8.0 + (i % 7) as f64).collect());
    let trains = Trains { time: (1..200).flat_map(|k| [k as f64 * 1.5; 2]).collect(), source: (1..200).flat_map(|k| [k % 5, (k + 1) % 5]).collect() };
    let mut net = network(vec![
        neurons(70, each, 1.0, 1),
        (5, Cell::Source(SpikeSource::Trains(Arc::new(trains)))),
        neurons(130, Values::Uniform(12.0), 1.0, 2),
        (9, Cell::Source(SpikeSource::Poisson { rate: Values::Uniform(900.0), start: 3.0, stop: 90.0 })),
        (6, Cell::Source(SpikeSource::Poisson { rate: Values::Each((0..6).map(|i| 100.0 * i as f64).collect()), start: 0.0, stop: 1e9 })),
    ]);
    let drive = |population, kind, start, stop| Drive { name: "d".into(), population, kind, start, stop };
    let rates = Values::Each((0..130).map(|i| 2000.0 + 30.0 * (i % 9) as f64).collect());
    net.drives = vec![
        drive(0, DriveKind::Poisson { rate: Values::Uniform(5000.0), weight: 1.0, port: 0 }, 0.0, 1e9),
        drive(2, DriveKind::Poisson { rate: rates, weight: 2.0, port: 0 }, 5.0, 1e9),
        drive(2, DriveKind::Poisson { rate: Values::Uniform(300.0), weight: -1.0, port: 1 }, 0.0, 60.0),
        drive(2, DriveKind::Dc { amplitude: Values::Uniform(1.0) }, 10.0, 50.0),
        drive(0, DriveKind::Dc { amplitude: Values::Each((0..70).map(|i| (i % 3) as f64).collect()) }, 0.0, 1e9),
        drive(2, DriveKind::Step { changes: vec![(20.0, 1.0), (40.0, -1.0), (70.0, 2.0)] }, 0.0, 1e9),
    ];
    net
}

fn assert_agrees(net: &Network, synapses: &[Synapse], options: GpuOptions, steps: &[u64]) -> Collect {
    let mut reference = Reference::new(net, synapses);
    let mut engine = GpuEngine::new(net, &tables(net, synapses, vec![]), options).unwrap();
    let mut sink = Collect::default();
    for &n in steps {
        reference.advance(n);
        engine.advance(n, &mut sink).unwrap();
        assert_eq!(sink.spikes.len(), reference.spikes.len(), "after {} steps", reference.step);
    }
    assert_eq!(sink.spikes, reference.spikes);
    assert!(reference.spikes.len() > 500, "only {} spikes", reference.spikes.len());
    let counters = engine.counters();
    assert_eq!(counters.spikes, reference.spikes.len() as u64);
    let events = reference.spikes.iter().map(|s| synapses.iter().filter(|x| x.source == s.1).count() as u64).sum::<u64>();
    assert_eq!(counters.synaptic_events, events);
    sink
}

#[test]
fn spikes_are_those_of_the_schedule() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    assert_agrees(&net, &random_synapses(&net, 3000, 1..=20, 1), GpuOptions::default(), &[1, 2, 197, 100]);
}
