//! A network and its tables as the arrays of words that the kernels read; the mirror of the structs in shaders/. Promises that no
//! array is larger than a kernel can see. Plain data in and out: no device is needed here.

use super::device::{MOST_ITERATIONS, device_error, mib};
use super::reflect::mirrored;
use crate::error::{Error, Result};
use crate::model::{NeuronModel, Ty, Words, word};
use crate::network::digits::Kept;
use crate::network::inputs::steps_between;
use crate::network::synapse_table::{Form, NO_ROW, Tables, split};
use crate::network::{Cell, Network, NeuronInstance, Values};
use crate::stimulus::poisson::{PoissonDrive, Table as Thresholds};
use crate::stimulus::{DriveKind, SpikeSource, active_steps};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Neurons of a workgroup of the update and source kernels.
pub const WORKGROUP: u32 = 64;
const ALL_USE_THE_FIRST: u32 = u32::MAX;

mirrored! {
    /// A population of neurons; the first words of what belongs to it.
    pub struct Population = "update" Population {
        size: u32,
        first_id: u32,
        first_accumulator: u32,
        first_state: u32,
        operands: u32,
        sums: u32,
        first_drive: u32,
        end_drive: u32,
        current_row: u32,
        substeps: u32,
    }
}

mirrored! {
    /// A drive of a population: kind 0 Poisson trains, 1 a current for each neuron, 2 noise.
    pub struct Drive = "update" Drive {
        kind: u32,
        port: u32,
        amount: i32,
        table: u32,
        width: u32,
        rows: u32,
        scale: f32,
        offset: f32,
        key: [u32; 2],
        start: [u32; 2],
        stop: [u32; 2],
    }
}

mirrored! {
    /// A population of Poisson sources.
    pub struct Source = "sources" Source {
        size: u32,
        first_id: u32,
        first_word: u32,
        width: u32,
        rows: u32,
        first_block: u32,
        key: [u32; 2],
        start: [u32; 2],
        stop: [u32; 2],
    }
}

#[cfg(test)]
pub const MIRRORS: &[super::reflect::Mirror] = &[Population::MIRROR, Drive::MIRROR, Source::MIRROR];

/// All populations of one model: one dispatch.
pub struct ModelLayout {
    pub model: Arc<NeuronModel>,
    /// Index in the network, and first word of its states in `states`.
    pub populations: Vec<(usize, u32)>,
    /// `Population`, `Drive` and `table_words` of shaders/update.wgsl.
    pub population_words: Vec<u32>,
    pub drive_words: Vec<u32>,
    pub table_words: Vec<u32>,
    pub states: Vec<u32>,
    pub teams: u32,
    /// Loop iterations of one invocation in one step, at most.
    pub iterations: u64,
}

/// The Poisson sources: one dispatch.
#[derive(Default)]
pub struct SourceLayout {
    pub source_words: Vec<u32>,
    pub table_words: Vec<u32>,
    pub blocks: u32,
    /// Elements of all Poisson sources: entries in one step at most.
    pub elements: u32,
    pub iterations: u64,
}

/// Integer units of a weight.
pub fn units(weight: f64, quantum: f64) -> i32 {
    (weight / quantum).round() as i32
}

/// Population index and instance of all populations with neurons, grouped by model.
fn by_model(net: &Network) -> Vec<(Arc<NeuronModel>, Vec<(usize, &NeuronInstance)>)> {
    let mut models: Vec<(Arc<NeuronModel>, Vec<(usize, &NeuronInstance)>)> = Vec::new();
    for (p, population) in net.populations.iter().enumerate() {
        let Cell::Neuron(instance) = &population.cell else { continue };
        if population.n == 0 {
            continue;
        }
        let same = |m: &NeuronModel| {
            std::ptr::eq(m, &*instance.model) || (m.name == instance.model.name && m.wgsl == instance.model.wgsl)
        };
        match models.iter_mut().find(|(m, _)| same(m)) {
            Some((_, list)) => list.push((p, instance)),
            None => models.push((instance.model.clone(), vec![(p, instance)])),
        }
    }
    models
}

/// Appends a constant and returns (base, stride).
fn operand(words: &mut Vec<u32>, values: &Words) -> [u32; 2] {
    let base = words.len() as u32;
    match values {
        Words::Uniform(word) => {
            words.push(*word);
            [base, 0]
        }
        Words::Each(each) => {
            words.extend(each.iter());
            [base, 1]
        }
    }
}

/// Appends a table of thresholds: (first word, width, first word of the rows of elements).
fn thresholds(words: &mut Vec<u32>, table: &Thresholds) -> [u32; 3] {
    let first = words.len() as u32;
    words.extend(&table.rows);
    let rows = match &table.row_of_element {
        None => ALL_USE_THE_FIRST,
        Some(rows) => {
            let at = words.len() as u32;
            words.extend(rows);
            at
        }
    };
    [first, table.width as u32, rows]
}

fn halves(step: u64) -> [u32; 2] {
    [step as u32, (step >> 32) as u32]
}

pub fn models(net: &Network, tables: &Tables) -> Result<Vec<ModelLayout>> {
    by_model(net).into_iter().map(|(model, list)| model_layout(net, tables, model, &list)).collect()
}

fn model_layout(
    net: &Network,
    tables: &Tables,
    model: Arc<NeuronModel>,
    list: &[(usize, &NeuronInstance)],
) -> Result<ModelLayout> {
    let mut layout = ModelLayout {
        populations: Vec::new(),
        population_words: Vec::new(),
        drive_words: Vec::new(),
        table_words: Vec::new(),
        states: Vec::new(),
        teams: 0,
        iterations: 0,
        model,
    };
    for (slot, &(p, _)) in list.iter().enumerate() {
        for first in (0..net.populations[p].n).step_by(WORKGROUP as usize) {
            layout.table_words.extend([slot as u32, first]);
            layout.teams += 1;
        }
    }
    for &(p, instance) in list {
        let (population, words) = (&net.populations[p], &mut layout.table_words);
        let n = population.n as usize;
        let first_state = layout.states.len() as u32;
        for values in instance.initial_words() {
            layout.states.extend((0..n).map(|i| values.get(i)));
        }
        let operands: Vec<[u32; 2]> = instance.constants().iter().map(|values| operand(words, values)).collect();
        let first_operand = words.len() as u32;
        words.extend(operands.as_flattened());
        let first_sum = words.len() as u32;
        for (port, &quantum) in tables.quantum[p].iter().enumerate() {
            let digits = tables.exact.digits(p, port).unwrap_or_default();
            words.extend([(quantum as f32).to_bits(), digits.first, digits.count, digits.bits, digits.lowest as u32]);
        }
        let first_drive = (layout.drive_words.len() / Drive::WORDS) as u32;
        let poisson = drives(net, tables, p, &mut layout.drive_words, words)?;
        let end_drive = (layout.drive_words.len() / Drive::WORDS) as u32;
        let first_accumulator = tables.blocks[0].offset[p];
        let own = Population {
            size: population.n,
            first_id: population.first,
            first_accumulator,
            first_state,
            operands: first_operand,
            sums: first_sum,
            first_drive,
            end_drive,
            current_row: p as u32,
            substeps: instance.substeps,
        };
        layout.population_words.extend(own.words());
        layout.populations.push((p, first_state));
        // Loops over ports, digits and drives, ten rounds and a bisection for each Poisson drive, ten rounds for noise.
        let all = u64::from(end_drive - first_drive);
        let ports = layout.model.ports.len();
        let planes = u64::from(tables.exact.planes(p, ports));
        let digits = 3 * (planes - ports as u64);
        let iterations = 2 + u64::from(instance.substeps) + digits + all * (planes + 11) + poisson;
        layout.iterations = layout.iterations.max(iterations);
    }
    Ok(layout)
}

/// The drives of a population that differ from neuron to neuron; returns the iterations that their thresholds need.
fn drives(net: &Network, tables: &Tables, p: usize, out: &mut Vec<u32>, words: &mut Vec<u32>) -> Result<u64> {
    let mut iterations = 0;
    for (owner, drive) in net.drives.iter().enumerate().filter(|(_, d)| d.population == p) {
        let active = active_steps(drive.start, drive.stop, net.dt);
        let kinds = match &drive.kind {
            DriveKind::Poisson { weight, port, .. } => {
                let poisson = PoissonDrive::new(drive, net.populations[p].n, net.dt, net.stimulus_seed, owner as u32)?;
                let [first, width, rows] = thresholds(words, &poisson.table);
                iterations += 2 + u64::from(width.max(1).ilog2());
                let onto = |port: u32, amount: i32| Drive { port, amount, table: first, width, rows, ..Drive::default() };
                match (tables.exact.drive(owner), tables.exact.digits(p, *port)) {
                    (Kept::Plain, _) | (_, None) => vec![onto(*port as u32, units(*weight, tables.quantum[p][*port]))],
                    // One for each digit: they count the same events.
                    (kept, Some(digits)) => {
                        let mut kinds = Vec::new();
                        digits.split(*weight, kept, |digit, units| kinds.push(onto(digits.first + digit, units)));
                        kinds
                    }
                }
            }
            DriveKind::Dc { amplitude: Values::Each(each) } => {
                let table = words.len() as u32;
                words.extend(each.iter().map(|&x| word(x, Ty::F32)));
                vec![Drive { kind: 1, table, ..Drive::default() }]
            }
            DriveKind::Noise { mean, std, interval } => {
                let steps = steps_between(*interval, net.dt);
                if steps > 65_535 {
                    let message =
                        format!("the noise of drive `{}` holds for {steps} steps, the gpu engine takes 65535", drive.name);
                    return Err(Error::input(message, "shorten the interval, or use --engine cpu"));
                }
                let (scale, offset) = (*std as f32, *mean as f32);
                vec![Drive { kind: 2, width: steps as u32, scale, offset, ..Drive::default() }]
            }
            DriveKind::Dc { .. } | DriveKind::Ac { .. } | DriveKind::Step { .. } => continue,
        };
        let key = crate::rng::key(net.stimulus_seed, owner as u32);
        let (start, stop) = (halves(active.start), halves(active.end));
        out.extend(kinds.iter().flat_map(|kind| *Drive { key, start, stop, ..*kind }.words()));
    }
    Ok(iterations)
}

/// The Poisson sources of a network, by population.
pub fn sources(net: &Network) -> Result<SourceLayout> {
    let mut layout = SourceLayout::default();
    for (p, population) in net.populations.iter().enumerate() {
        let Cell::Source(SpikeSource::Poisson { rate, start, stop }) = &population.cell else { continue };
        if population.n == 0 {
            continue;
        }
        let table = Thresholds::new(rate, population.n as usize, net.dt)?;
        let active = active_steps(*start, *stop, net.dt);
        let [first, width, rows] = thresholds(&mut layout.table_words, &table);
        let own = Source {
            size: population.n,
            first_id: population.first,
            first_word: first,
            width,
            rows,
            first_block: layout.blocks,
            key: crate::rng::key(net.stimulus_seed, p as u32),
            start: halves(active.start),
            stop: halves(active.end),
        };
        layout.source_words.extend(own.words());
        layout.blocks += population.n.div_ceil(4);
        layout.elements += population.n;
        // Ten rounds, four elements, a bisection each; a search for the source.
        layout.iterations = layout.iterations.max(17 + 4 * (2 + u64::from(width.max(1).ilog2())) + 32);
    }
    Ok(layout)
}

/// How the delivery kernel shares its work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Teams {
    /// Invocations of a workgroup, and those that share a stretch.
    pub lanes: u32,
    pub team: u32,
    /// Synapses of a stretch at most.
    pub stretch: u32,
}

impl Teams {
    /// For a GPU, or for a driver that computes on the processor.
    pub fn new(real: bool) -> Self {
        let (lanes, team) = if real { (128, 32) } else { (32, 8) };
        Teams { lanes, team, stretch: 8 * team }
    }

    /// Loop iterations of an invocation for one stretch whose synapses need `work` of them each.
    pub fn iterations(&self, work: u64) -> u64 {
        1 + u64::from(self.stretch.div_ceil(self.team)) * work
    }

    /// Workgroups that share one row of at most `stretches` stretches.
    pub fn parts(&self, stretches: u64, work: u64, real: bool) -> u32 {
        let rows = stretches.div_ceil(u64::from(self.lanes / self.team));
        let each = self.iterations(work);
        let needed = (rows * each).div_ceil(MOST_ITERATIONS);
        let useful = if real { rows.div_ceil(8).min(16) } else { 1 };
        needed.max(useful).clamp(1, 65_535) as u32
    }
}

/// What is delivered by one dispatch: where the synapses of each row stand in the stream of the shard.
#[derive(Default)]
pub struct Directory {
    /// (first stretch, number) of each source.
    pub rows: Vec<[u32; 2]>,
    /// `Stretch` of shaders/deliver.wgsl or deliver_dynamic.wgsl.
    pub stretches: Vec<[u32; 4]>,
}

/// A part of the synapse table that fits into one binding.
pub struct Shard {
    /// Words of the host's table, in order: shard of the table, range in it.
    pub pieces: Vec<(usize, Range<usize>)>,
    pub words: u64,
    pub fixed: Directory,
    /// By index into `Table::dynamics`; empty where the shard has none.
    pub dynamic: Vec<Directory>,
}

impl Shard {
    fn new(sources: usize, dynamics: usize) -> Self {
        let fixed = Directory { rows: vec![[0; 2]; sources], stretches: Vec::new() };
        Shard { pieces: Vec::new(), words: 0, fixed, dynamic: (0..dynamics).map(|_| Directory::default()).collect() }
    }
}

/// One stretch of a row: what (None: fixed, else index of the dynamics), words.
pub type Found = (Option<usize>, [u32; 4]);

/// Reads the row at `start` of a stream; returns the word after its end.
fn read_row(stream: &[u32], start: usize, tables: &Tables, longest: u32, found: &mut Vec<Found>) -> usize {
    let (mut at, mut delay) = (start, 0);
    loop {
        let (count, group, step) = split(stream[at]);
        at += 1;
        delay += step;
        if count == 0 {
            if step == 0 {
                return at;
            }
            continue;
        }
        let group = tables.tables[0].groups[group as usize];
        let first = if let Form::Dynamic(_) = group.form {
            at += 1;
            stream[at - 1]
        } else {
            0
        };
        for done in (0..count).step_by(longest as usize) {
            let n = longest.min(count - done);
            let position = (at - start) as u32;
            found.push(match group.form {
                Form::Narrow => (None, [position + done, n, delay, group.base]),
                Form::Wide => (None, [position + 2 * done, n | 1 << 31, delay, 0]),
                Form::Dynamic(d) => (Some(d as usize), [position + done, n, delay, first + done]),
            });
        }
        at += if group.form == Form::Wide { 2 * count as usize } else { count as usize };
    }
}

/// The row of a source, from its first word on, with its stretches, as long as they are (none: it has no synapses).
pub fn row<'a>(tables: &'a Tables, source: usize, found: &mut Vec<Found>) -> &'a [u32] {
    found.clear();
    let table = &tables.tables[0];
    let Some(&row) = table.row.get(source).filter(|row| **row != NO_ROW) else { return &[] };
    let (stream, start) = (&table.shards[(row >> 32) as usize], (row & 0xffff_ffff) as usize);
    read_row(stream, start, tables, u32::MAX, found);
    &stream[start..]
}

/// Entries of each source's row: one a synapse, and more where a weight has several digits.
pub fn out_degrees(tables: &Tables, sources: u32) -> Vec<u32> {
    let degree = |found: &mut Vec<Found>, source: u32| {
        row(tables, source as usize, found);
        found.iter().map(|(_, stretch)| stretch[1] & 0x7fff_ffff).sum()
    };
    (0..sources).into_par_iter().map_init(Vec::new, degree).collect()
}

/// Synapses of each source, of whose row that many are the entries.
pub fn synapses(tables: &Tables, entries: &[u32]) -> Vec<u32> {
    if !tables.exact.has_synapses() {
        return entries.to_vec();
    }
    let further = |source: u32| tables.iter_row(0, source).filter(|synapse| synapse.further).count() as u32;
    (0..).zip(entries).map(|(source, entries)| entries - further(source)).collect()
}

/// Distributes the rows of the table over shards of at most `limit` bytes (the stream, and the directory that belongs to it).
/// `source_of`: first global id and number of sources of each dynamics' projection.
pub fn shards(tables: &Tables, sources: u32, source_of: &[Range<u32>], limit: u64, longest: u32) -> Result<Vec<Shard>> {
    let table = &tables.tables[0];
    let mut order: Vec<u32> = (0..table.row.len() as u32).filter(|&id| table.row[id as usize] != NO_ROW).collect();
    order.sort_by_key(|&id| table.row[id as usize]);
    let mut shards: Vec<Shard> = Vec::new();
    let mut found = Vec::new();
    for id in order {
        let row = table.row[id as usize];
        let (host, start) = ((row >> 32) as usize, (row & 0xffff_ffff) as usize);
        found.clear();
        let end = read_row(&table.shards[host], start, tables, longest, &mut found);
        let words = (end - start) as u64;
        let fits = |shard: &Shard| {
            let stretches =
                |own: &Directory, which: Option<usize>| own.stretches.len() + found.iter().filter(|f| f.0 == which).count();
            let fixed = stretches(&shard.fixed, None) as u64 * 16 <= limit;
            let dynamic = shard.dynamic.iter().enumerate().all(|(d, own)| stretches(own, Some(d)) as u64 * 16 <= limit);
            (shard.words + words) * 4 <= limit && fixed && dynamic
        };
        if shards.last().is_none_or(|shard| !fits(shard)) {
            let empty = Shard::new(sources as usize, table.dynamics.len());
            if !fits(&empty) {
                let message =
                    format!("the synapses of neuron {id} need {}, the device lets a kernel see {}", mib(words * 4), mib(limit));
                return Err(device_error(message, "use a smaller out-degree, another --device, or --engine cpu"));
            }
            shards.push(empty);
        }
        let Some(shard) = shards.last_mut() else { continue };
        let base = shard.words as u32;
        for &(which, mut stretch) in &found {
            stretch[0] += base;
            let (directory, row) = match which {
                None => (&mut shard.fixed, id),
                Some(d) => {
                    let directory = &mut shard.dynamic[d];
                    if directory.rows.is_empty() {
                        directory.rows = vec![[0; 2]; source_of[d].len()];
                    }
                    (directory, id - source_of[d].start)
                }
            };
            let row = &mut directory.rows[row as usize];
            if row[1] == 0 {
                row[0] = directory.stretches.len() as u32;
            }
            row[1] += 1;
            directory.stretches.push(stretch);
        }
        match shard.pieces.last_mut() {
            Some((h, range)) if *h == host && range.end == start => range.end = end,
            _ => shard.pieces.push((host, start..end)),
        }
        shard.words += words;
    }
    Ok(shards)
}

impl Directory {
    /// Stretches of the longest row.
    pub fn longest_row(&self) -> u64 {
        self.rows.iter().map(|r| u64::from(r[1])).max().unwrap_or(0)
    }
}
