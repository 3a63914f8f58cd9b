//! The gpu engine against a naive host implementation of the schedule, on whatever device there is (software Vulkan will do).
//! The test network is integer throughout, so every spike must agree.

use crate::common::device_there;
use sharpwave::engine::cpu::CpuEngine;
use sharpwave::engine::gpu::{Accumulators, GpuEngine, GpuOptions, devices};
use sharpwave::engine::{Engine, Sink, Spike};
use sharpwave::error::{Error, Result};
use sharpwave::model::library::Library;
use sharpwave::network::connectivity::Rows;
use sharpwave::network::synapse_table::{Block, Form, Group, NO_ROW, Table, Tables, header};
use sharpwave::network::{
    Cell, Draw, Network, NeuronInstance, Population, Probe, Projection, Rule, SynapseInstance, Values, Window,
};
use sharpwave::rng::{Purpose, Stream};
use sharpwave::stimulus::poisson::Table as Thresholds;
use sharpwave::stimulus::{Drive, DriveKind, SpikeSource, Trains};
use std::sync::Arc;

#[derive(Default)]
struct Collect {
    /// ms; None: DT, and samples must come between the spikes before and after them
    dt: Option<f64>,
    spikes: Vec<(u64, u32)>,
    samples: Vec<(u64, usize, Vec<f32>)>,
}

const DT: f64 = 0.5;

impl Sink for Collect {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        let found: Vec<(u64, u32)> = spikes.iter().map(|s| ((s.time / self.dt.unwrap_or(DT)).round() as u64, s.id)).collect();
        assert!(found.is_sorted() && self.spikes.last() <= found.first());
        self.spikes.extend(found);
        Ok(())
    }
    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()> {
        let step = (time / self.dt.unwrap_or(DT)).round() as u64;
        assert!(self.dt.is_some() || self.spikes.last().is_none_or(|s| s.0 <= step));
        self.samples.push((step, probe, values.to_vec()));
        Ok(())
    }
}

// ---- the test network ------------------------------------------------------------------------------------------------------

/// Counts what arrives, weighs the second port double, fires at `theta`.
const COUNTING: &str = r#"
name = "counting"
kind = "neuron"
doc = "integers in, spikes out"
source = "this test"
[params]
theta = { default = 10.0, unit = "1", doc = "threshold" }
leak = { default = 1.0, unit = "1", doc = "loss a substep" }
[derived]
limit = { value = "theta", type = "i32" }
loss = { value = "leak", type = "i32" }
[state]
v = { type = "i32", init = "0", unit = "1", doc = "count" }
fired = { type = "u32", init = "0", unit = "1", doc = "spikes so far" }
x = { init = "0", unit = "1", doc = "not a number where the count passes 1e6" }
[inputs]
ex = { receptor = "excitatory", unit = "1", sign = "positive", doc = "counted" }
inh = { receptor = "inhibitory", unit = "1", sign = "negative", doc = "counted twice" }
I = { kind = "current", unit = "pA", doc = "counted" }
[record]
twice = { value = "2*v + theta", unit = "1", doc = "for probes" }
fired = { value = "fired", unit = "1", doc = "for probes" }
[code]
integrate = "v = v - loss;"
update = """
v = max(v + i32(ex) + 2 * i32(inh) + i32(I), -1000);
x = sqrt(1e6 - f32(v));
"""
threshold = "v >= limit"
reset = "v = 0; fired = fired + 1u;"
"#;

fn library() -> Library {
    let mut library = Library::default();
    library.add("counting.toml", COUNTING).unwrap();
    library
}

fn neurons(n: u32, theta: Values, leak: f64, substeps: u32) -> (u32, Cell) {
    let model = library().neuron("counting").unwrap();
    let given = [("theta".to_string(), theta), ("leak".to_string(), Values::Uniform(leak))];
    (n, Cell::Neuron(NeuronInstance { substeps, ..NeuronInstance::new(&model, &given, DT).unwrap() }))
}

fn network(cells: Vec<(u32, Cell)>) -> Network {
    let mut net = Network::new(DT, 0x1234_5678_9abc_def0);
    for (i, (n, cell)) in cells.into_iter().enumerate() {
        net.add(Population::new(format!("p{i}"), n, cell));
    }
    net
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
fn tables(net: &Network, synapses: &[Synapse]) -> Tables {
    let (mut offset, mut at, mut slices) = (vec![], 0u32, vec![]);
    for p in &net.populations {
        offset.push(at);
        let neurons = if matches!(p.cell, Cell::Neuron(_)) { p.n } else { 0 };
        slices.push(0..neurons);
        at += neurons.next_multiple_of(16);
    }
    let block = Block { slices, offset: offset.clone(), stride: at, ports: 2 };
    let address = |s: &Synapse| s.port * at + offset[s.population] + s.target;
    // Two narrow groups, so that bases are used; then wide.
    let group = |base, form| Group { base, form, further: false };
    let groups = vec![group(0, Form::Narrow), group(at, Form::Narrow), group(0, Form::Wide)];
    let group = |s: &Synapse| match s.form {
        Form::Narrow => s.port,
        Form::Wide => 2,
        Form::Dynamic(_) => unreachable!("not in these tables"),
    };
    let mut table =
        Table { shards: vec![vec![], vec![]], row: vec![], groups, dynamics: vec![], synapses: synapses.len() as u64 };
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
                Form::Dynamic(_) => unreachable!("not in these tables"),
            }
        }
        stream.push(0);
    }
    let delays = || synapses.iter().map(|s| s.delay);
    Tables {
        blocks: vec![block],
        tables: vec![table],
        quantum: net
            .populations
            .iter()
            .map(|p| if matches!(p.cell, Cell::Neuron(_)) { vec![1.0, 1.0] } else { vec![] })
            .collect(),
        exact: Default::default(),
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
                            let units = |port: u32| {
                                self.arriving.get(&(stamp, p, i, port)).copied().unwrap_or(0) + self.poisson(p, i, port)
                            };
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
                    Cell::Source(SpikeSource::Course(_) | SpikeSource::Presentation(_)) => unreachable!("not in these tests"),
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
    let targets: Vec<usize> =
        (0..net.populations.len()).filter(|&p| matches!(net.populations[p].cell, Cell::Neuron(_))).collect();
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
    let trains = Trains {
        time: (1..200).flat_map(|k| [k as f64 * 1.5; 2]).collect(),
        source: (1..200).flat_map(|k| [k % 5, (k + 1) % 5]).collect(),
    };
    let mut net = network(vec![
        neurons(70, each, 1.0, 1),
        (5, Cell::Source(SpikeSource::Trains(Arc::new(trains)))),
        neurons(130, Values::Uniform(12.0), 1.0, 2),
        (9, Cell::Source(SpikeSource::Poisson { rate: Values::Uniform(900.0), start: 3.0, stop: 90.0 })),
        (
            6,
            Cell::Source(SpikeSource::Poisson {
                rate: Values::Each((0..6).map(|i| 100.0 * i as f64).collect()),
                start: 0.0,
                stop: 1e12,
            }),
        ),
    ]);
    let drive = |population, kind, start, stop| Drive { name: "d".into(), population, kind, start, stop };
    let rates = Values::Each((0..130).map(|i| 2000.0 + 30.0 * (i % 9) as f64).collect());
    net.drives = vec![
        drive(0, DriveKind::Poisson { rate: Values::Uniform(5000.0), weight: 1.0, port: 0 }, 0.0, 1e12),
        drive(2, DriveKind::Poisson { rate: rates, weight: 2.0, port: 0 }, 5.0, 1e12),
        drive(2, DriveKind::Poisson { rate: Values::Uniform(300.0), weight: -1.0, port: 1 }, 0.0, 60.0),
        drive(2, DriveKind::Dc { amplitude: Values::Uniform(1.0) }, 10.0, 50.0),
        drive(0, DriveKind::Dc { amplitude: Values::Each((0..70).map(|i| (i % 3) as f64).collect()) }, 0.0, 1e12),
        drive(2, DriveKind::Step { changes: vec![(20.0, 1.0), (40.0, -1.0), (70.0, 2.0)] }, 0.0, 1e12),
    ];
    net
}

fn engine(net: &Network, tables: Tables, options: GpuOptions) -> Result<GpuEngine> {
    let rows = Rows::prepare(net, &|_| ())?;
    GpuEngine::new(Arc::new(net.clone()), Arc::new(rows), tables, options)
}

/// The same from neurons that workgroups share and own, in several sizes.
fn assert_all_agree(net: &Network, synapses: &[Synapse], steps: &[u64]) {
    for accumulators in [Accumulators::Shared, Accumulators::Owned(64), Accumulators::Owned(128), Accumulators::Owned(u32::MAX)] {
        assert_agrees(net, synapses, GpuOptions { accumulators, ..Default::default() }, steps);
    }
}

fn assert_agrees(net: &Network, synapses: &[Synapse], options: GpuOptions, steps: &[u64]) -> Collect {
    let mut reference = Reference::new(net, synapses);
    let mut engine = engine(net, tables(net, synapses), options).unwrap();
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
    assert_all_agree(&net, &random_synapses(&net, 3000, 1..=20, 1), &[1, 2, 197, 100]);
}

#[test]
fn windows_of_several_steps_give_the_same() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    assert_all_agree(&net, &random_synapses(&net, 3000, 3..=20, 2), &[2, 198, 100]);
}

/// Without sources and with one model, a workgroup that owns all neurons takes many steps in a dispatch.
#[test]
fn one_workgroup_takes_many_steps() {
    if !device_there() {
        return;
    }
    let mut net = network(vec![neurons(70, Values::Uniform(9.0), 1.0, 1), neurons(130, Values::Uniform(12.0), 1.0, 2)]);
    let drive = |population, kind, start, stop| Drive { name: "d".into(), population, kind, start, stop };
    net.drives = vec![
        drive(0, DriveKind::Poisson { rate: Values::Uniform(5000.0), weight: 1.0, port: 0 }, 0.0, 1e12),
        drive(1, DriveKind::Poisson { rate: Values::Uniform(7000.0), weight: 1.0, port: 0 }, 5.0, 1e12),
        drive(1, DriveKind::Step { changes: vec![(20.0, 1.0), (40.0, -1.0), (70.0, 2.0)] }, 0.0, 1e12),
    ];
    net.probes = vec![Probe::State {
        population: 1,
        variables: vec!["fired".into()],
        neurons: vec![7],
        interval: 12.5,
        window: Window::ALWAYS,
    }];
    for (delays, seed) in [(1..=20, 11), (3..=20, 12), (1..=1, 13)] {
        let synapses = random_synapses(&net, 3000, delays, seed);
        assert_all_agree(&net, &synapses, &[1, 2, 197, 100]);
        let mut one = engine(&net, tables(&net, &synapses), GpuOptions::default()).unwrap();
        one.advance(300, &mut Collect::default()).unwrap();
        // Windows end at samples, every 25 steps; a window ends each of the submissions.
        let counters = one.counters();
        assert!(counters.dispatches - counters.submissions <= 2 * 12 + counters.submissions, "{counters:?}");
    }
}

/// As many windows as a submission takes, again and again.
#[test]
fn full_batches_lose_nothing() {
    if !device_there() {
        return;
    }
    let mut net = network(vec![neurons(65, Values::Uniform(9.0), 1.0, 1)]);
    let kind = DriveKind::Poisson { rate: Values::Uniform(5000.0), weight: 1.0, port: 0 };
    net.drives = vec![Drive { name: "d".into(), population: 0, kind, start: 0.0, stop: 1e12 }];
    for accumulators in [Accumulators::Shared, Accumulators::Owned(64)] {
        let options = GpuOptions { accumulators, ..Default::default() };
        assert_agrees(&net, &random_synapses(&net, 200, 1..=1, 15), options, &[4000]);
    }
}

/// Weights beyond 16 bits: eight bytes a synapse, also where neurons are owned.
#[test]
fn weights_beyond_16_bits() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    let mut synapses = random_synapses(&net, 1000, 1..=20, 14);
    for synapse in synapses.iter_mut().step_by(97) {
        (synapse.weight, synapse.form) = (40_000, Form::Wide);
    }
    assert_all_agree(&net, &synapses, &[200]);
}

#[test]
fn delays_beyond_a_segment_step() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    let mut synapses = random_synapses(&net, 300, 1..=5, 3);
    synapses.extend(random_synapses(&net, 300, 1020..=2300, 4));
    assert_all_agree(&net, &synapses, &[2400]);
}

#[test]
fn tables_in_many_shards() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    let options = GpuOptions { shard_bytes: Some(4096), accumulators: Accumulators::Shared, ..Default::default() };
    assert_agrees(&net, &random_synapses(&net, 3000, 1..=20, 5), options, &[200]);
    let small = GpuOptions { shard_bytes: Some(64), ..Default::default() };
    let refused = engine(&net, tables(&net, &random_synapses(&net, 3000, 1..=20, 5)), small).err().unwrap();
    assert!(matches!(refused, Error::Device { .. }) && refused.to_string().contains("synapses of neuron"), "{refused}");
}

/// The list holds one step of spikes at most: every batch is cut short, and nothing is lost.
#[test]
fn a_full_list_of_spikes_loses_none() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    for (capacity, accumulators) in
        [(1, Accumulators::Shared), (700, Accumulators::Shared), (1, Accumulators::Owned(128)), (700, Accumulators::Owned(128))]
    {
        let options = GpuOptions { spike_capacity: Some(capacity), accumulators, ..Default::default() };
        assert_agrees(&net, &random_synapses(&net, 2000, 4..=20, 6), options, &[150]);
    }
}

#[test]
fn probes_sample_states_on_their_grid() {
    if !device_there() {
        return;
    }
    let mut net = busy_network();
    let probe = |population, variables: &[&str], neurons: &[u32], interval| Probe::State {
        population,
        variables: variables.iter().map(|v| v.to_string()).collect(),
        neurons: neurons.to_vec(),
        interval,
        window: Window::ALWAYS,
    };
    net.probes = vec![
        probe(2, &["twice", "fired"], &[3, 0, 129], 2.5),
        Probe::Rate { population: 0, bin: 1.0, window: Window::ALWAYS },
        probe(0, &["fired"], &[69], 1.0),
    ];
    let synapses = random_synapses(&net, 2000, 4..=20, 7);
    let shared = GpuOptions { accumulators: Accumulators::Shared, ..Default::default() };
    let sampled = assert_agrees(&net, &synapses, GpuOptions::default(), &[3, 197]).samples;
    assert_eq!(sampled, assert_agrees(&net, &synapses, shared, &[3, 197]).samples);
    let mut reference = Reference::new(&net, &synapses);
    let mut expected = Vec::new();
    for step in 1..=200u64 {
        reference.advance(1);
        if step % 5 == 0 {
            let id = |i: u32| (net.populations[2].first + i) as usize;
            let twice = [3, 0, 129].map(|i| 2.0 * reference.v[id(i)] as f32 + 12.0);
            let fired = [3, 0, 129].map(|i| reference.fired[id(i)] as f32);
            expected.push((step, 0, [twice, fired].concat()));
        }
        if step % 2 == 0 {
            expected.push((step, 2, vec![reference.fired[69] as f32]));
        }
    }
    assert_eq!(sampled, expected);
}

#[test]
fn a_resumed_run_equals_the_uninterrupted() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    let synapses = random_synapses(&net, 3000, 2..=20, 8);
    let by = |accumulators| engine(&net, tables(&net, &synapses), GpuOptions { accumulators, ..Default::default() }).unwrap();
    // What one way of the device began, the other goes on with.
    let new = || by(Accumulators::Shared);
    let mut whole = Collect::default();
    let mut first = by(Accumulators::Owned(64));
    first.advance(103, &mut whole).unwrap();
    let snapshot = first.snapshot().unwrap();
    assert_eq!(snapshot.step, 103);
    assert!(snapshot.recent.iter().all(|r| r.0 + 20 > 103) && snapshot.recent.len() > 100);
    let mut rest = Collect::default();
    first.advance(97, &mut rest).unwrap();
    let mut second = new();
    let mut resumed = Collect::default();
    second.advance(31, &mut Collect::default()).unwrap();
    second.restore(&snapshot).unwrap();
    assert_eq!(second.snapshot().unwrap(), snapshot);
    second.advance(97, &mut resumed).unwrap();
    assert_eq!(resumed.spikes, rest.spikes);
    assert_eq!(second.snapshot().unwrap(), first.snapshot().unwrap());
    let mut third = by(Accumulators::Owned(u32::MAX));
    let mut resumed = Collect::default();
    third.restore(&snapshot).unwrap();
    third.advance(97, &mut resumed).unwrap();
    assert_eq!(resumed.spikes, rest.spikes);
    let mut other = snapshot.clone();
    other.states[0][0].pop();
    assert!(matches!(second.restore(&other), Err(Error::Input(_))));
}

/// Random words depend on all 64 bits of the step.
#[test]
fn steps_beyond_32_bits() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    let synapses = random_synapses(&net, 1000, 2..=20, 9);
    let mut engine = engine(&net, tables(&net, &synapses), GpuOptions::default()).unwrap();
    let mut snapshot = engine.snapshot().unwrap();
    snapshot.step = (1 << 32) - 40;
    engine.restore(&snapshot).unwrap();
    let mut sink = Collect::default();
    engine.advance(300, &mut sink).unwrap();
    let mut reference = Reference::new(&net, &synapses);
    reference.step = snapshot.step;
    reference.advance(300);
    assert_eq!(sink.spikes, reference.spikes);
    assert!(sink.spikes.len() > 500);
}

/// Built-in models under a Poisson drive, with random synapses among them; the same network on one thread of the CPU.
fn both(model: &str, synapse: &str, strength: f64) -> [Box<dyn Engine>; 2] {
    let library = Library::built_in().unwrap();
    let model = library.neuron(model).unwrap();
    // Of receptors with potentials of their own, the last one inhibits.
    let receptors = model.params.iter().any(|p| p.name == "E_rev_4");
    let own: Vec<(String, Values)> = if receptors { vec![("E_rev_4".into(), Values::Uniform(-85.0))] } else { vec![] };
    let instance = NeuronInstance::new(&model, &own, 0.1).unwrap();
    let n = 100;
    let mut net = network(vec![(n, Cell::Neuron(instance.clone())), (30, Cell::Neuron(instance))]);
    net.dt = 0.1;
    let conductance = model.ports[0].unit == "nS";
    let scale = match model.ports[0].unit.as_str() {
        "nS" => 4.0 * strength,
        "mV" => 1.5 * strength,
        _ => 120.0 * strength,
    };
    let drive = |population: usize| {
        let rate = Values::Each((0..net.populations[population].n).map(|i| 3000.0 + 200.0 * (i % 20) as f64).collect());
        Drive { name: "d".into(), population, kind: DriveKind::Poisson { rate, weight: scale, port: 0 }, start: 0.0, stop: 1e9 }
    };
    net.drives = vec![drive(0), drive(1)];
    let synapse = SynapseInstance::new(&library.synapse(synapse).unwrap(), &[], net.dt).unwrap();
    let projection = |source, target, weight: f64, delay: Draw| Projection {
        name: format!("{source}-{target}"),
        source,
        target,
        rule: Rule::FixedIndegree { indegree: 10 },
        port: (receptors && weight < 0.0).then_some(3),
        weight: Draw::Constant(if receptors { weight.abs() } else { weight }),
        delay,
        synapse: synapse.clone(),
        autapses: false,
        multapses: true,
        axonal: 0.0,
        modulator: None,
    };
    let inhibition = if conductance { -2.0 * scale } else { -scale };
    net.projections = vec![
        projection(0, 0, 0.5 * scale, Draw::Uniform { low: 0.5, high: 3.0 }),
        projection(0, 1, scale, Draw::Constant(1.5)),
        projection(1, 0, inhibition, Draw::Constant(1.0)),
    ];
    let names = model.recordables.iter().map(|r| r.name.clone()).collect();
    net.probes =
        vec![Probe::State { population: 0, variables: names, neurons: (0..n).collect(), interval: 1.0, window: Window::ALWAYS }];
    let (net, rows) = (Arc::new(net.clone()), Arc::new(Rows::prepare(&net, &|_| ()).unwrap()));
    let tables = || sharpwave::network::synapse_table::build(&net, &rows, 1, &|_| ()).unwrap();
    let gpu = GpuEngine::new(net.clone(), rows.clone(), tables(), GpuOptions::default()).unwrap();
    let cpu = CpuEngine::new(net.clone(), rows.clone(), tables()).unwrap();
    [Box::new(gpu), Box::new(cpu)]
}

fn on_both(model: &str, synapse: &str, strength: f64, steps: u64) -> [(Collect, sharpwave::engine::Snapshot); 2] {
    both(model, synapse, strength).map(|mut engine| {
        let mut sink = Collect { dt: Some(0.1), ..Default::default() };
        engine.advance(steps, &mut sink).unwrap();
        let snapshot = engine.snapshot().unwrap();
        (sink, snapshot)
    })
}

/// Largest difference of any sampled value, relative to the largest value that its variable takes.
fn difference(a: &Collect, b: &Collect, neurons: usize) -> f32 {
    assert_eq!(a.samples.len(), b.samples.len());
    let variables = a.samples[0].2.len() / neurons;
    let mut worst = 0.0f32;
    for v in 0..variables {
        let own = |c: &Collect| c.samples.iter().flat_map(|s| s.2[v * neurons..][..neurons].to_vec()).collect::<Vec<f32>>();
        let (a, b) = (own(a), own(b));
        let scale = b.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
        worst = a.iter().zip(&b).fold(worst, |m, (x, y)| m.max((x - y).abs() / scale));
    }
    worst
}

/// Models whose code only adds and multiplies: the same bits as on the CPU wherever a driver does not fuse a*b + c.
#[test]
fn psc_models_spike_as_on_the_cpu() {
    if !device_there() {
        return;
    }
    for model in ["iaf_psc_delta", "iaf_psc_exp", "iaf_psc_alpha"] {
        let [gpu, cpu] = on_both(model, "static_synapse", 1.0, 1500);
        println!("{model}: {} spikes", cpu.0.spikes.len());
        assert!(cpu.0.spikes.len() > 200, "{model}: only {} spikes", cpu.0.spikes.len());
        assert_eq!(gpu.0.spikes, cpu.0.spikes, "{model}");
        assert!(difference(&gpu.0, &cpu.0, 100) < 1e-5, "{model}");
        assert_eq!(gpu.1.recent, cpu.1.recent);
    }
}

/// Every built-in model runs, and follows the CPU while rounding has not grown: exp and division differ by some ulp.
#[test]
fn every_model_follows_the_cpu() {
    if !device_there() {
        return;
    }
    // Neurons that repeat what they receive would multiply it without end among themselves.
    for model in Library::built_in().unwrap().neurons().filter(|m| m.repeats.is_none()) {
        let [gpu, cpu] = on_both(&model.name, "static_synapse", 1.0, 100);
        let worst = difference(&gpu.0, &cpu.0, 100);
        println!("{}: {} spikes, relative difference {worst:e}", model.name, cpu.0.spikes.len());
        assert!(worst < 2e-3, "{}: {worst}", model.name);
    }
}

/// A drive under which every model fires, wherever its code sets the spike; rounding may move a few.
#[test]
fn every_model_spikes_as_often_as_on_the_cpu() {
    if !device_there() {
        return;
    }
    for model in Library::built_in().unwrap().neurons().filter(|m| m.repeats.is_none()) {
        // Where currents are as short as a fifth of a millisecond, more of it.
        let brief = model.name.starts_with("aeif_psc") && model.ports[0].unit == "pA";
        let slow = model.name.ends_with("multisynapse");
        let strength = if (model.ports[0].unit == "nS" && !slow) || brief { 8.0 } else { 1.5 };
        let [gpu, cpu] = on_both(&model.name, "static_synapse", strength, 600).map(|run| run.0.spikes.len());
        println!("{}: {cpu} spikes, {gpu} on the gpu", model.name);
        assert!(cpu > 100 && gpu.abs_diff(cpu) * 20 <= cpu, "{}: {cpu} spikes, {gpu} on the gpu", model.name);
    }
}

#[test]
fn dynamic_synapses_follow_the_cpu() {
    if !device_there() {
        return;
    }
    let [gpu, cpu] = on_both("iaf_psc_exp", "tsodyks2_synapse", 1.5, 1000);
    assert!(cpu.0.spikes.len() > 500, "only {} spikes", cpu.0.spikes.len());
    assert!(difference(&gpu.0, &cpu.0, 100) < 2e-3);
    assert_eq!(gpu.0.spikes, cpu.0.spikes);
    assert_eq!(gpu.1.last_spike, cpu.1.last_spike);
    assert_eq!(gpu.1.elapsed, cpu.1.elapsed);
}

/// Spikes of `steps` more steps.
fn go_on(engine: &mut Box<dyn Engine>, steps: u64) -> Vec<(u64, u32)> {
    let mut sink = Collect { dt: Some(0.1), ..Default::default() };
    engine.advance(steps, &mut sink).unwrap();
    sink.spikes
}

#[test]
fn checkpoints_pass_between_cpu_and_gpu() {
    if !device_there() {
        return;
    }
    for (synapse, strength) in [("static_synapse", 1.0), ("tsodyks2_synapse", 1.5)] {
        let [mut gpu, mut cpu] = both("iaf_psc_exp", synapse, strength);
        let [mut other_gpu, mut other_cpu] = both("iaf_psc_exp", synapse, strength);
        assert_eq!(go_on(&mut gpu, 403), go_on(&mut cpu, 403));
        let [from_gpu, from_cpu] = [gpu.snapshot().unwrap(), cpu.snapshot().unwrap()];
        assert_eq!((&from_gpu.recent, &from_gpu.last_spike), (&from_cpu.recent, &from_cpu.last_spike));
        let rest = go_on(&mut cpu, 400);
        assert!(rest.len() > 100);
        assert_eq!(go_on(&mut gpu, 400), rest);
        go_on(&mut other_gpu, 57);
        other_gpu.restore(&from_gpu).unwrap();
        assert_eq!(other_gpu.snapshot().unwrap(), from_gpu);
        assert_eq!(go_on(&mut other_gpu, 400), rest, "gpu to gpu, {synapse}");
        assert_eq!(other_gpu.snapshot().unwrap(), gpu.snapshot().unwrap());
        other_gpu.restore(&from_cpu).unwrap();
        assert_eq!(go_on(&mut other_gpu, 400), rest, "cpu to gpu, {synapse}");
        if synapse == "static_synapse" {
            other_cpu.restore(&from_gpu).unwrap();
            assert_eq!(go_on(&mut other_cpu, 400), rest, "gpu to cpu");
        } else {
            let refused = other_cpu.restore(&from_gpu).unwrap_err();
            assert!(refused.remedy().unwrap().contains("--engine gpu"), "{refused}");
        }
    }
}

#[test]
fn noise_is_that_of_the_host() {
    if !device_there() {
        return;
    }
    const SUM: &str = r#"
name = "sum"
kind = "neuron"
doc = "what flows in"
source = "this test"
[state]
last = { init = "0", unit = "pA", doc = "current" }
[inputs]
I = { kind = "current", unit = "pA", doc = "recorded" }
[record]
last = { value = "last", unit = "pA", doc = "for probes" }
[code]
update = "last = I;"
threshold = "false"
reset = ""
"#;
    let mut library = Library::default();
    library.add("sum.toml", SUM).unwrap();
    let instance = NeuronInstance::new(&library.neuron("sum").unwrap(), &[], DT).unwrap();
    let mut net = network(vec![(37, Cell::Neuron(instance))]);
    net.drives = vec![
        Drive {
            name: "n".into(),
            population: 0,
            kind: DriveKind::Noise { mean: 20.0, std: 50.0, interval: 1.5 },
            start: 2.0,
            stop: 30.0,
        },
        Drive {
            name: "a".into(),
            population: 0,
            kind: DriveKind::Ac { amplitude: 7.0, frequency: 90.0, phase: 0.3, offset: 1.0 },
            start: 0.0,
            stop: 1e12,
        },
    ];
    net.probes = vec![Probe::State {
        population: 0,
        variables: vec!["last".into()],
        neurons: (0..37).collect(),
        interval: DT,
        window: Window::ALWAYS,
    }];
    let mut sink = Collect::default();
    engine(&net, tables(&net, &[]), GpuOptions::default()).unwrap().advance(100, &mut sink).unwrap();
    let mut currents = sharpwave::stimulus::current::Currents::new(&net, 0).unwrap();
    assert_eq!(sink.samples.len(), 100);
    for (step, _, values) in &sink.samples {
        let mut expected = vec![0.0; 37];
        currents.fill(step - 1, 0..37, &mut expected);
        for (a, b) in values.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-3, "step {step}: {a} against {b}");
        }
    }
    assert!(sink.samples.iter().map(|s| s.2[5]).any(|x| x < -20.0), "no noise arrived");
}

#[test]
fn states_that_are_not_numbers_stop_the_run() {
    if !device_there() {
        return;
    }
    let mut net = network(vec![neurons(5, Values::Uniform(10.0), 0.0, 1), neurons(40, Values::Uniform(1e9), 0.0, 1)]);
    let amplitude = Values::Each((0..40).map(|i| if i >= 33 { 2e6 } else { 0.0 }).collect());
    net.drives = vec![Drive { name: "d".into(), population: 1, kind: DriveKind::Dc { amplitude }, start: 3.0, stop: 1e12 }];
    let mut engine = engine(&net, tables(&net, &[]), GpuOptions::default()).unwrap();
    engine.advance(6, &mut Collect::default()).unwrap();
    let error = engine.advance(10, &mut Collect::default()).unwrap_err();
    assert!(matches!(error, Error::Run { .. }), "{error}");
    assert!(error.to_string().contains("state `x` of neuron 33 in population `p1`"), "{error}");
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    if !device_there() {
        return;
    }
    let net = busy_network();
    let options = GpuOptions { device: Some("no such device".into()), ..Default::default() };
    let error = engine(&net, tables(&net, &[]), options).err().unwrap();
    assert!(matches!(error, Error::Device { .. }) && error.to_string().contains("no such device"), "{error}");
    let mut library = Library::default();
    library.add("taken.toml", &COUNTING.replace("fired", "ring")).unwrap();
    let instance = NeuronInstance::new(&library.neuron("counting").unwrap(), &[], DT).unwrap();
    let net = network(vec![(3, Cell::Neuron(instance))]);
    let error = engine(&net, tables(&net, &[]), GpuOptions::default()).err().unwrap();
    assert!(error.to_string().contains("`ring`") && error.remedy().unwrap().contains("rename"), "{error}");
    let mut two = tables(&net, &[]);
    two.blocks.push(two.blocks[0].clone());
    assert!(engine(&net, two, GpuOptions::default()).is_err());
}

/// Mesa 22's software driver ends loops after 65,535 iterations: the probe must see it there, and nowhere see a wrong count.
#[test]
fn drivers_that_end_loops_are_found_out() {
    if !device_there() {
        return;
    }
    for device in devices().iter().filter(|d| d.usable.is_ok()) {
        println!("{}: {:?}", device.name, device.loop_limit);
        if device.driver.contains("Mesa 22") && device.name.contains("llvmpipe") {
            assert!(matches!(device.loop_limit, Some(65_000..=65_536)), "{device:?}");
        }
        if device.real {
            assert_eq!(device.loop_limit, None, "{device:?}");
        }
    }
}
