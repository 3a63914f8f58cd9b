//! One thread of the CPU engine: the targets it owns and what it does to them in a step. Promises that nothing here depends on
//! how many workers there are: neurons see integers summed over all sources, and random numbers that are functions of their id.

use super::deliver::{Calendar, DynamicKernel, SynapseCode};
use super::digits::{Adder, Reader};
use super::lanes::{for_spikes, take_sums};
use super::plastic::PlasticKernel;
use super::segments::{MAX_CONSTANTS, MAX_STATES};
use super::signals::Signals;
use crate::engine::phases::Stopwatch;
use crate::engine::probes::{Sampling, StateProbe, state_probes};
use crate::engine::since_last;
use crate::error::{Error, Place, Result};
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::model::{Recorder, Sign, Words};
use crate::network::digits::Kept;
use crate::network::fixed_point::ports;
use crate::network::synapse_table::{Block, Table, Tables};
use crate::network::{Cell, Network};
use crate::simd;
use crate::stimulus::{Currents, Drive, DriveKind, PoissonDrive, SourceEmitter};
use std::ops::Range;
use std::sync::Arc;

/// Most inputs a neuron model may have: ports and the current.
const MAX_INPUTS: usize = 16;

/// Phases of a step, by index into `PHASES`.
pub const PHASES: [&str; 6] = ["deliver", "update", "sources", "record", "wait", "exchange"];
const DELIVER: usize = 0;
const UPDATE: usize = 1;
const SOURCES: usize = 2;
pub const RECORD: usize = 3;
pub const WAIT: usize = 4;
pub const EXCHANGE: usize = 5;

/// What a worker hands to the others at the end of an interval.
#[derive(Default)]
pub struct Outbox {
    /// (stamp, global id), by stamp; within a stamp by id.
    pub spikes: Vec<(u64, u32)>,
    pub samples: Vec<Sample>,
}

/// Part of a probe's sample: values of the probed neurons that one worker owns.
pub struct Sample {
    pub stamp: u64,
    pub probe: usize,
    /// (position in the sample, value)
    pub values: Vec<(u32, f32)>,
}

pub struct Worker {
    populations: Vec<Group>,
    sources: Vec<Source>,
    probes: Vec<LocalProbe>,
    acc: Vec<i32>,
    /// Planes of `acc` (one a port, then one a digit) that static synapses or drives may add to, and that anything has added to.
    fixed: Vec<bool>,
    touched: Vec<bool>,
    pub calendar: Calendar,
    pub codes: Vec<SynapseCode>,
    pub signals: Signals,
    /// Stamp of each source's last spike (u64::MAX: none); kept only where synapses have dynamics.
    pub last_spike: Vec<u64>,
    inputs: Vec<Vec<f32>>,
    spiked: Vec<u32>,
    scratch: Scratch,
    emitted: Vec<u32>,
    pub events: u64,
    pub updates: u64,
    pub watch: Stopwatch,
}

/// The part of a neuron population that a worker owns.
struct Group {
    population: usize,
    /// Global id of the population's first neuron.
    first: u32,
    /// Local ids owned.
    range: Range<u32>,
    kernel: Arc<dyn Kernel>,
    substeps: u32,
    states: Vec<Vec<u32>>,
    constants: Vec<Words>,
    ports: Vec<Port>,
    /// Accumulator of the first owned neuron that a drive adds to, and its units.
    drives: Vec<(usize, PoissonDrive, i32)>,
    /// Index of the current among the kernel's inputs, and what flows.
    current: Option<Currents>,
    /// The state that is NaN in a neuron that has left the range of stable integration, and the first such: (stamp, local id).
    mark: Option<usize>,
    /// The state that says how many spikes are emitted; None: one.
    repeats: Option<usize>,
    broken: Option<(u64, u32)>,
    /// The current of each lane of a block; all `flowing` unless that is not a number.
    flow: Vec<f32>,
    flowing: f32,
}

struct Port {
    /// First accumulator of the owned neurons.
    base: usize,
    quantum: f32,
    /// What is summed beside, digit by digit.
    digits: Option<Reader>,
    /// Static synapses or drives have such digits.
    fixed: bool,
    /// The code receives the absolute value.
    absolute: bool,
}

/// Whether static synapses or drives have digits at a port.
fn fixed_digits(net: &Network, tables: &Tables, population: usize, port: usize) -> bool {
    let onto = net.projections.iter().enumerate().filter(|(_, p)| p.target == population);
    let mut synapses = onto.filter_map(|(p, projection)| Some((p, ports(net, projection).ok()?)));
    let drive = |(d, drive): (usize, &Drive)| {
        drive.population == population
            && tables.exact.drive(d) != Kept::Plain
            && matches!(drive.kind, DriveKind::Poisson { port: own, .. } if own == port)
    };
    synapses.any(|(p, reached)| (0..2).any(|s| reached[s] == Some(port) && tables.exact.projection(p, s) != Kept::Plain))
        || net.drives.iter().enumerate().any(drive)
}

struct Source {
    first: u32,
    emitter: SourceEmitter,
}

struct LocalProbe {
    probe: usize,
    /// Index into `populations`.
    group: usize,
    sampling: Sampling,
    variables: Vec<Recorder>,
    /// (position in the sample, index within the owned range)
    neurons: Vec<(u32, u32)>,
    /// Neurons in the whole probe.
    total: u32,
}

impl Worker {
    pub fn new(net: &Network, tables: &Tables, index: usize) -> Result<Worker> {
        let block = &tables.blocks[index];
        let mut populations = Vec::new();
        let mut sources = Vec::new();
        let blocks = tables.blocks.len() as u64;
        for (p, population) in net.populations.iter().enumerate() {
            match &population.cell {
                Cell::Neuron(_) => {
                    if !block.slices[p].is_empty() {
                        populations.push(Group::new(net, tables, block, p)?);
                    }
                }
                Cell::Source(source) => {
                    let n = population.n as u64;
                    let range = (n * index as u64 / blocks) as u32..(n * (index as u64 + 1) / blocks) as u32;
                    let emitter = SourceEmitter::new(source, population.n, net.dt, net.stimulus_seed, p as u32, range)?;
                    sources.push(Source { first: population.first, emitter });
                }
            }
        }
        let probes = local_probes(net, &populations)?;
        let table = &tables.tables[index];
        let mut codes = Vec::new();
        for dynamic in &table.dynamics {
            let synapse = &net.projections[dynamic.projection as usize].synapse;
            let model = &synapse.model;
            within(&model.place, &model.name, "states", model.states.len(), MAX_STATES)?;
            within(&model.place, &model.name, "constants", model.constants.len(), MAX_CONSTANTS)?;
            match (PlasticKernel::new(net, block, dynamic, tables.max_delay)?, synapse.model.kernel()) {
                (Some(plastic), _) => codes.push(SynapseCode::Plastic(Box::new(plastic))),
                (None, Some(kernel)) => {
                    codes.push(SynapseCode::Dynamic(DynamicKernel::new(
                        kernel,
                        synapse.constants(),
                        net.dt,
                        Adder::new(net, block, dynamic)?,
                    )));
                }
                (None, None) => {}
            }
        }
        let last_spike = if codes.is_empty() { Vec::new() } else { vec![u64::MAX; net.neurons() as usize] };
        let mut fixed = vec![false; block.ports as usize];
        for group in &populations {
            for planes in group.ports.iter().filter(|p| p.fixed).filter_map(|p| p.digits.as_ref()).map(Reader::planes) {
                fixed[planes].fill(true);
            }
        }
        let widest = populations.iter().map(|g| g.ports.len()).max().unwrap_or(0);
        Ok(Worker {
            populations,
            sources,
            probes,
            acc: vec![0; block.accumulators()],
            touched: fixed.clone(),
            fixed,
            calendar: Calendar::new(tables.max_delay),
            codes,
            signals: Signals::new(net),
            last_spike,
            inputs: vec![vec![0.0; BLOCK]; widest + 1],
            spiked: vec![0; BLOCK],
            scratch: Scratch::default(),
            emitted: Vec::new(),
            events: 0,
            updates: 0,
            watch: Stopwatch::new(&PHASES),
        })
    }

    /// The step that ends at stamp `end` (in steps). Spikes and samples go to `out`.
    pub fn step(&mut self, table: &mut Table, end: u64, out: &mut Outbox) {
        self.events += self.calendar.serve(table, &mut self.codes, &mut self.acc, end);
        for code in &mut self.codes {
            self.touched[code.adder().take_used()].fill(true);
        }
        self.watch.lap(DELIVER);
        let from = out.spikes.len();
        for group in &mut self.populations {
            self.updates += group.range.len() as u64;
            let before = out.spikes.len();
            group.update(
                end,
                &mut self.acc,
                &self.touched,
                &mut self.inputs,
                &mut self.spiked,
                &mut self.scratch,
                &mut out.spikes,
            );
            for kernel in self.codes.iter_mut().filter_map(SynapseCode::plastic).filter(|k| k.target == group.population) {
                let first = group.first + group.range.start;
                kernel.observe(end, &group.states, out.spikes[before..].iter().map(|s| (s.1 - first) as usize));
            }
        }
        self.touched.copy_from_slice(&self.fixed);
        self.watch.lap(UPDATE);
        for source in &mut self.sources {
            self.emitted.clear();
            source.emitter.emit(end - 1, &mut self.emitted);
            out.spikes.extend(self.emitted.iter().map(|&id| (end, source.first + id)));
        }
        if !self.sources.is_empty() {
            out.spikes[from..].sort_unstable();
            self.watch.lap(SOURCES);
        }
        for probe in &self.probes {
            if probe.sampling.due(end) {
                let group = &self.populations[probe.group];
                let mut values = Vec::with_capacity(probe.variables.len() * probe.neurons.len());
                for (v, variable) in probe.variables.iter().enumerate() {
                    for &(position, i) in &probe.neurons {
                        let local = (group.range.start + i) as usize;
                        let value = variable.value(local, |s| group.states[s][i as usize]);
                        values.push((v as u32 * probe.total + position, value as f32));
                    }
                }
                out.samples.push(Sample { stamp: end, probe: probe.probe, values });
            }
        }
        if !self.probes.is_empty() {
            self.watch.lap(RECORD);
        }
    }

    /// File the spikes of an interval for delivery.
    pub fn receive(&mut self, table: &Table, spikes: &[(u64, u32)], done: u64) {
        for (i, &(stamp, id)) in spikes.iter().enumerate() {
            if let Some(&(_, ahead)) = spikes.get(i + 8) {
                prefetch_row(table, ahead);
            }
            let elapsed = since_last(&mut self.last_spike, stamp, id);
            self.signals.note(stamp, id);
            self.calendar.enter(table, id, stamp, elapsed, done);
        }
    }

    /// All spikes up to `end` have been received: jumps of the signals up to there are certain.
    pub fn settle(&mut self, end: u64) {
        let codes = &mut self.codes;
        self.signals.settle(end, |signal, jump| {
            let readers = codes.iter_mut().filter_map(SynapseCode::plastic).filter(|k| k.signal == Some(signal));
            readers.for_each(|kernel| kernel.modulate(jump));
        });
    }

    /// Other rates (Hz) of a source population, at most `most` spikes of one source in a step.
    pub fn set_rates(&mut self, net: &Network, population: usize, rates: &[f64], most: f64) -> Result<()> {
        let population = net.populations.get(population);
        let source = population.and_then(|p| self.sources.iter_mut().find(|s| s.first == p.first && p.n > 0));
        match (source, population) {
            (Some(source), Some(population)) => source.emitter.set_rates(rates, population.n, most).map_err(|e| match e {
                Error::Input(fault) => {
                    let remedy = fault.remedy.unwrap_or_else(|| "give other rates".into());
                    Error::input(format!("population `{}`: {}", population.name, fault.message), remedy)
                }
                other => other,
            }),
            (None, population) => Err(Error::input(
                format!("population `{}` has no rates", population.map_or("?", |p| &p.name)),
                "name a population of Poisson sources",
            )),
            _ => Ok(()),
        }
    }

    /// A neuron cannot be integrated further, or a synapse has transmitted more than it may.
    pub fn failed(&self) -> bool {
        self.populations.iter().any(|g| g.broken.is_some()) || self.codes.iter().any(|code| code.beyond().is_some())
    }

    /// Copy the owned part of each population's state out of / into arrays over whole populations.
    pub fn gather(&self, states: &mut [Vec<Vec<u32>>]) {
        for group in &self.populations {
            for (own, whole) in group.states.iter().zip(&mut states[group.population]) {
                whole[group.range.start as usize..group.range.end as usize].copy_from_slice(own);
            }
        }
    }

    pub fn scatter(&mut self, states: &[Vec<Vec<u32>>]) {
        for group in &mut self.populations {
            group.broken = None;
            for (own, whole) in group.states.iter_mut().zip(&states[group.population]) {
                own.copy_from_slice(&whole[group.range.start as usize..group.range.end as usize]);
            }
        }
        self.acc.fill(0);
        self.calendar.clear();
    }

    /// A neuron whose states can no longer be computed: the first that left the range of stable integration, exactly at its
    /// stamp; else one with a state that is no number within its limit. (stamp, exact, global id, its states)
    pub fn broken(&self, net: &Network, now: u64) -> Option<(u64, bool, u32, Vec<u32>)> {
        let words = |group: &Group, local: u32| -> Vec<u32> {
            group.states.iter().map(|s| s[(local - group.range.start) as usize]).collect()
        };
        let left = self.populations.iter().filter_map(|g| Some((g.broken?, g))).min_by_key(|(at, g)| (at.0, g.first + at.1));
        if let Some(((stamp, local), group)) = left {
            return Some((stamp, true, group.first + local, words(group, local)));
        }
        self.populations.iter().find_map(|group| {
            let Cell::Neuron(instance) = &net.populations[group.population].cell else { return None };
            let unsound = group.states.iter().zip(&instance.model.states).find_map(|(all, state)| {
                let at = all.iter().position(|&word| !state.is_sound(word))?;
                Some(group.range.start + at as u32)
            })?;
            Some((now, false, group.first + unsound, words(group, unsound)))
        })
    }
}

impl Group {
    fn new(net: &Network, tables: &Tables, block: &Block, p: usize) -> Result<Group> {
        let population = &net.populations[p];
        let Cell::Neuron(instance) = &population.cell else { unreachable!("only neuron populations have groups") };
        let range = block.slices[p].clone();
        let owned = range.start as usize..range.end as usize;
        let model = &instance.model;
        let sizes = [model.states.len(), model.constants.len(), model.ports.len() + 1];
        for ((size, most), what) in
            sizes.into_iter().zip([MAX_STATES, MAX_CONSTANTS, MAX_INPUTS]).zip(["states", "constants", "inputs"])
        {
            within(&model.place, &model.name, what, size, most)?;
        }
        let states = instance.initial_words().iter().map(|words| owned.clone().map(|i| words.get(i)).collect()).collect();
        let ports: Vec<Port> = (0..model.ports.len())
            .map(|q| Port {
                base: q * block.stride as usize + block.offset[p] as usize,
                quantum: tables.quantum[p][q] as f32,
                digits: tables.exact.digits(p, q).map(|digits| Reader::new(&digits, block, block.offset[p])),
                fixed: fixed_digits(net, tables, p, q),
                absolute: model.ports[q].sign == Sign::Negative { absolute: true },
            })
            .collect();
        let mut drives = Vec::new();
        for (d, drive) in net.drives.iter().enumerate() {
            if let (true, DriveKind::Poisson { weight, port, .. }) = (drive.population == p, &drive.kind) {
                let poisson = PoissonDrive::new(drive, population.n, net.dt, net.stimulus_seed, d as u32)?;
                match (tables.exact.drive(d), &ports[*port].digits) {
                    (Kept::Plain, _) | (_, None) => {
                        let units = (weight / tables.quantum[p][*port]).round() as i32;
                        drives.push((ports[*port].base, poisson, units));
                    }
                    (kept, Some(reader)) => {
                        let digits = tables.exact.digits(p, *port).unwrap_or_default();
                        digits.split(*weight, kept, |digit, units| drives.push((reader.base(digit), poisson.clone(), units)));
                    }
                }
            }
        }
        let current = match model.current {
            Some(_) => Some(Currents::new(net, p)?),
            None => None,
        };
        Ok(Group {
            population: p,
            first: population.first,
            range,
            kernel: model.kernel(),
            substeps: instance.substeps,
            states,
            constants: instance.constants(),
            ports,
            drives,
            current,
            mark: model.stability_mark(),
            repeats: model.repeats,
            broken: None,
            flow: vec![0.0; BLOCK],
            flowing: 0.0,
        })
    }

    fn update(
        &mut self,
        end: u64,
        acc: &mut [i32],
        touched: &[bool],
        inputs: &mut [Vec<f32>],
        spiked: &mut [u32],
        scratch: &mut Scratch,
        spikes: &mut Vec<(u64, u32)>,
    ) {
        let owned = self.range.len();
        let ports = self.ports.len();
        let level = simd::level();
        let uniform = self.current.as_ref().and_then(|c| c.uniform(end - 1));
        if let Some(value) = uniform
            && value.to_bits() != self.flowing.to_bits()
        {
            self.flow.fill(value);
            self.flowing = value;
        }
        let (scratch_sums, inputs) = inputs.split_last_mut().expect("one more than there are ports");
        let mut constants = [Operand::Uniform(0); MAX_CONSTANTS];
        for start in (0..owned).step_by(BLOCK) {
            let n = (owned - start).min(BLOCK);
            let from = self.range.start as usize + start;
            for (base, drive, units) in &self.drives {
                let base = base + start;
                drive.add(end - 1, from, &mut acc[base..base + n], *units);
            }
            for (port, input) in self.ports.iter().zip(inputs.iter_mut()) {
                let sums = &mut acc[port.base + start..port.base + start + n];
                take_sums(level, sums, port.quantum, &mut input[..n]);
                if let Some(digits) = &port.digits {
                    digits.take(level, acc, touched, start, scratch_sums, &mut input[..n]);
                }
                if port.absolute {
                    input[..n].iter_mut().for_each(|value| *value = value.abs());
                }
            }
            if let (Some(current), None) = (&mut self.current, uniform) {
                current.fill(end - 1, from..from + n, &mut self.flow[..n]);
                self.flowing = f32::NAN;
            }
            for (slot, constant) in constants.iter_mut().zip(&self.constants) {
                *slot = constant.operand(from..from + n);
            }
            let used = self.states.len();
            let mut arrays = self.states.iter_mut();
            let mut states: [&mut [u32]; MAX_STATES] =
                std::array::from_fn(|_| arrays.next().map_or(&mut [][..], |a| &mut a[start..start + n]));
            let mut columns = inputs[..ports].iter().chain([&self.flow]);
            let columns: [&[f32]; MAX_INPUTS] = std::array::from_fn(|_| columns.next().map_or(&[][..], |c| &c[..n]));
            self.kernel.run(
                &mut Lanes {
                    n,
                    constants: &constants[..self.constants.len()],
                    states: &mut states[..used],
                    inputs: &columns[..ports + self.current.is_some() as usize],
                    output: &mut spiked[..n],
                },
                self.substeps,
                scratch,
            );
            let first = self.first + self.range.start + start as u32;
            let repeats = self.repeats.map(|state| &self.states[state][start..start + n]);
            let times = |lane: u32| repeats.map_or(1, |all| f32::from_bits(all[lane as usize]) as usize);
            let mut emit = |lane: u32| spikes.extend(std::iter::repeat_n((end, first + lane), times(lane)));
            match self.mark.map(|mark| &self.states[mark][start..start + n]) {
                None => for_spikes(level, &spiked[..n], emit),
                Some(marks) => for_spikes(level, &spiked[..n], |lane| match f32::from_bits(marks[lane as usize]).is_nan() {
                    false => emit(lane),
                    true => {
                        self.broken.get_or_insert((end, from as u32 + lane));
                    }
                }),
            }
        }
    }
}

/// Refuses models larger than a block call takes.
fn within(place: &Place, model: &str, what: &str, size: usize, most: usize) -> Result<()> {
    match size <= most {
        true => Ok(()),
        false => Err(Error::at(
            Place { span: 0..0, ..place.clone() },
            format!("{model} has {size} {what}; the cpu engine takes at most {most}"),
            "fold some into others, or split the model",
        )),
    }
}

fn local_probes(net: &Network, groups: &[Group]) -> Result<Vec<LocalProbe>> {
    let mut probes = Vec::new();
    for StateProbe { probe, population, sampling, neurons, variables } in state_probes(net)? {
        let Some(group) = groups.iter().position(|g| g.population == population) else { continue };
        let (range, total) = (&groups[group].range, neurons.len() as u32);
        let own: Vec<(u32, u32)> =
            (0u32..).zip(neurons).filter(|(_, id)| range.contains(id)).map(|(at, id)| (at, id - range.start)).collect();
        if !own.is_empty() {
            probes.push(LocalProbe { probe, group, sampling, variables, neurons: own, total });
        }
    }
    Ok(probes)
}

fn prefetch_row(table: &Table, id: u32) {
    #[cfg(target_arch = "x86_64")]
    {
        let row = table.row[id as usize];
        if let Some(word) = table.shards.get((row >> 32) as usize).and_then(|words| words.get(row as u32 as usize)) {
            // SAFETY: a prefetch of an address inside the slice has no effect but on the cache.
            unsafe { std::arch::x86_64::_mm_prefetch(word as *const u32 as *const i8, std::arch::x86_64::_MM_HINT_T0) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (table, id);
}
