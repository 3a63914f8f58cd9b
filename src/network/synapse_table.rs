//! Synapse tables: the outgoing synapses of every source, split by block of targets, in the one format that the CPU and GPU
//! engines walk. Promises 4 bytes a static synapse where the values allow it, 8 otherwise, plus one header word a segment.
//!
//! A row (one source, one block) is a stream of 32-bit words: segments sorted by delay, ended by the word 0.
//!
//! ```text
//! header   count (bits 0..12) | group (bits 12..22) | step (bits 22..32)
//!          step = delay of this segment minus delay of the previous one (of the first: its delay), in time steps;
//!          count 0 with step > 0 only skips time (delays beyond 1023 steps); count 0 with step 0 is the end of the row
//! narrow   count words: accumulator address relative to the group's base (low 16 bits, unsigned) | weight (high 16, signed)
//! wide     count pairs: absolute accumulator address (u32), weight (i32)
//! dynamic  one word: index of the first synapse in the projection's dynamic arrays; count words: absolute accumulator address
//! ```
//! Weights are integers in units of `quantum[population][port]`. The quanta are chosen so that the sum of all weights onto one
//! neuron in one step stays below 2^31: an accumulator cannot overflow. Where weights lie too far apart for that, a synapse has an
//! entry for each digit of its weight other than 0, onto the accumulators of that digit (`exact`, src/network/digits.rs); all but
//! the first are in groups that count no synapses. Constant and given weights keep 1e-6 relative; weights drawn from a distribution
//! are drawn on a grid, none but 0 becomes 0, and they are clipped at 8 standard deviations.

use super::connectivity::Rows;
use super::digits::{Digits, Kept};
use super::fixed_point::{Exact, is_dynamic, ports, quanta, reachable};
use super::huge_pages;
use super::{Cell, Edge, Network, Rule, SynapseInstance};
use crate::error::{Error, Result};
use crate::model::Ty;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of a segment's count in its header.
pub const COUNT_BITS: u32 = 12;
/// Bits of a segment's group in its header.
pub const GROUP_BITS: u32 = 10;
/// Bits of the delay between a segment and the one before it.
pub const STEP_BITS: u32 = 10;
/// Synapses of a segment at most.
pub const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;
/// Steps of delay between two segments at most.
pub const MAX_STEP: u32 = (1 << STEP_BITS) - 1;

/// The header word of a segment; [`split`] takes it apart.
#[inline(always)]
pub fn header(count: u32, group: u32, step: u32) -> u32 {
    count | group << COUNT_BITS | step << (COUNT_BITS + GROUP_BITS)
}
/// (count, group, step) of a header word.
#[inline(always)]
pub fn split(word: u32) -> (u32, u32, u32) {
    (word & MAX_COUNT, word >> COUNT_BITS & ((1 << GROUP_BITS) - 1), word >> (COUNT_BITS + GROUP_BITS))
}

/// A set of targets owned by one thread (CPU) or device (GPU: one block holds all).
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Owned local ids of each population (empty for source populations).
    pub slices: Vec<Range<u32>>,
    /// Index in the block of the first owned neuron of each population; multiples of 16.
    pub offset: Vec<u32>,
    /// Accumulator of (port p, block neuron i) is `p * stride + i`; stride is a multiple of 16. Digits follow the ports.
    pub stride: u32,
    /// Ports and digits of the population that has most of them.
    pub ports: u32,
}

impl Block {
    /// Accumulators of all ports and neurons of the block.
    pub fn accumulators(&self) -> usize {
        (self.stride * self.ports) as usize
    }
}

/// How the synapses of a segment are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One word: target within a group of 65,536 accumulators, weight of 16 bits.
    Narrow,
    /// Two words: accumulator, weight of 32 bits.
    Wide,
    /// Index into `Table::dynamics`.
    Dynamic(u32),
}

impl Form {
    /// Words after the header of a segment.
    #[inline]
    pub fn words(self, count: usize) -> usize {
        match self {
            Form::Narrow => count,
            Form::Wide => 2 * count,
            Form::Dynamic(_) => 1 + count,
        }
    }
}

/// What the segments of one group of a table have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// First accumulator address of the 65,536 that a narrow segment can name.
    pub base: u32,
    /// How their synapses are stored.
    pub form: Form,
    /// Further digits of synapses that are counted elsewhere.
    pub further: bool,
}

/// Synapses of one projection onto one port that have their own dynamics, in one block. (A projection whose weights choose
/// their port by sign has one of these for each port it reaches.)
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    /// Index into [`super::Network::projections`].
    pub projection: u32,
    /// Stored weight (the code's `w`) of each synapse, in the unit of the port's weights.
    pub weight: Vec<f32>,
    /// One array per state of the synapse model, as 32-bit words.
    pub states: Vec<Vec<u32>>,
    /// The digits of the target's port, to which is added what a synapse transmits.
    pub digits: Digits,
    /// Index into the target model's ports.
    pub port: u32,
}

/// All synapses onto one block.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The streams, in shards of bounded size; a row never straddles two.
    pub shards: Vec<Vec<u32>>,
    /// Position of each global source's row: shard << 32 | word; `NO_ROW` when it has none here.
    pub row: Vec<u64>,
    /// By the group number in a segment's header.
    pub groups: Vec<Group>,
    /// By the entry that [`Form::Dynamic`] names.
    pub dynamics: Vec<Dynamic>,
    /// How many there are.
    pub synapses: u64,
}

/// A table without its dynamic synapses.
#[derive(Clone, Copy)]
pub struct Streams<'a> {
    /// As [`Table::shards`].
    pub shards: &'a [Vec<u32>],
    /// As [`Table::row`].
    pub row: &'a [u64],
    /// As [`Table::groups`].
    pub groups: &'a [Group],
}

impl Table {
    /// The table without its dynamic synapses.
    pub fn streams(&self) -> Streams<'_> {
        Streams { shards: &self.shards, row: &self.row, groups: &self.groups }
    }

    /// The streams, and what their dynamic segments name.
    pub fn split(&mut self) -> (Streams<'_>, &mut [Dynamic]) {
        (Streams { shards: &self.shards, row: &self.row, groups: &self.groups }, &mut self.dynamics)
    }
}

/// Stands in [`Table::row`] for a source without synapses.
pub const NO_ROW: u64 = u64::MAX;

/// The tables of a network for a given number of blocks.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Who owns which targets.
    pub blocks: Vec<Block>,
    /// The synapses onto each block.
    pub tables: Vec<Table>,
    /// Weight of one integer unit, per population and port (empty for sources).
    pub quantum: Vec<Vec<f64>>,
    /// What is summed in digits.
    pub exact: Exact,
    /// Shortest and longest delay in steps (1, 1 without synapses).
    pub min_delay: u32,
    /// Longest delay in steps (1 without synapses).
    pub max_delay: u32,
}

/// Words of a shard at most (64 MiB; a single longer row gets a shard of its own).
pub const SHARD_WORDS: usize = 16 << 20;
/// Longest delay in steps.
pub const MAX_DELAY: u32 = (1 << (32 - GROUP_BITS)) - 1;
const MAX_GROUPS: usize = 1 << GROUP_BITS;
const WIDE: u32 = 0;
const NO_GROUP: u32 = u32::MAX;
/// Synapses that one task of the construction aims at.
const CHUNK: f64 = (1 << 18) as f64;

/// Whole steps of a delay in ms, at least one (NEST rounds halves up).
#[inline(always)]
pub fn delay_steps(delay: f64, per_ms: f64) -> u32 {
    ((delay * per_ms + 0.5) as u32).clamp(1, MAX_DELAY)
}

/// Nearest integer, halves to even, for |x| < 2^31.
#[inline(always)]
fn nearest(x: f64) -> i32 {
    const MAGIC: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52: the sum's low bits are the integer
    (x + MAGIC).to_bits() as i32
}

impl Block {
    /// What an accumulator belongs to: (population, local id, port). None for padding.
    pub fn decode(&self, address: u32) -> Option<(usize, u32, usize)> {
        let (port, i) = (address / self.stride.max(1), address % self.stride.max(1));
        let holds = |p: &usize| i >= self.offset[*p] && i - self.offset[*p] < self.slices[*p].len() as u32;
        let population = (0..self.slices.len()).find(holds)?;
        Some((population, self.slices[population].start + i - self.offset[population], port as usize))
    }

    /// Accumulator of a port of an owned neuron (local id).
    pub fn encode(&self, population: usize, local: u32, port: usize) -> u32 {
        port as u32 * self.stride + self.offset[population] + local - self.slices[population].start
    }
}

/// First id that block `k` of `blocks` owns.
fn share(n: u32, k: usize, blocks: usize) -> u32 {
    (n as u64 * k as u64 / blocks as u64) as u32
}

/// Nearest whole number of units, none but 0 becoming 0.
#[inline(always)]
fn whole_units(weight: f64, inverse: f64) -> i32 {
    let units = nearest(weight * inverse);
    if units == 0 && weight != 0.0 { weight.signum() as i32 } else { units }
}

fn lay_out(net: &Network, blocks: usize, exact: &Exact) -> Result<Vec<Block>> {
    let ports = net.populations.iter().enumerate().map(|(p, population)| match &population.cell {
        Cell::Neuron(instance) => exact.planes(p, instance.model.ports.len()) as u64,
        Cell::Source(_) => 0,
    });
    let ports = ports.max().unwrap_or(0);
    if blocks > u16::MAX as usize {
        return Err(Error::input(format!("{blocks} blocks are too many"), format!("use at most {} threads", u16::MAX)));
    }
    (0..blocks)
        .map(|k| {
            let mut end = 0u64;
            let mut block = Block::default();
            for population in &net.populations {
                let slice = match population.cell {
                    Cell::Neuron(_) => share(population.n, k, blocks)..share(population.n, k + 1, blocks),
                    Cell::Source(_) => 0..0,
                };
                block.offset.push(end.min(u32::MAX as u64) as u32);
                end += (slice.len() as u64).next_multiple_of(16);
                block.slices.push(slice);
            }
            if end * ports.max(1) > u32::MAX as u64 {
                return Err(Error::input(
                    format!("{end} neurons with {ports} ports and digits are more than one block can address"),
                    "use more threads (each owns a block), or a smaller network",
                ));
            }
            (block.stride, block.ports) = (end as u32, ports as u32);
            Ok(block)
        })
        .collect()
}

/// One of the two ports that a projection's weights reach.
#[derive(Clone, Copy, Debug)]
struct Lane {
    port: u32,
    /// Units in one unit of weight.
    inverse: f64,
    /// How static weights are kept, and the digits where these hold them.
    kept: Kept,
    digits: Digits,
    /// Group of dynamic synapses.
    group: u32,
}

/// Where the edges of one projection go.
#[derive(Clone, Debug)]
struct Route {
    population: usize,
    /// First local id of each block, and one past the last.
    starts: Vec<u32>,
    /// Blocks per target neuron.
    per_target: f64,
    dynamic: bool,
    /// Larger weights are clipped.
    bound: f64,
    /// For weights of zero or more, and for negative ones.
    lanes: [Option<Lane>; 2],
}

impl Route {
    #[inline(always)]
    fn block(&self, target: u32) -> usize {
        let mut k = (target as f64 * self.per_target) as usize;
        while target >= self.starts[k + 1] {
            k += 1;
        }
        while target < self.starts[k] {
            k -= 1;
        }
        k
    }
}

/// Everything that turns an edge into a table entry.
struct Encoder {
    blocks: Vec<Block>,
    quantum: Vec<Vec<f64>>,
    exact: Exact,
    routes: Vec<Route>,
    /// (projection, port) of each dynamic group.
    dynamics: Vec<(u32, u32)>,
    /// Planes of accumulators, and narrow groups of one: one for each 65,536 targets.
    planes: u32,
    tiles: u32,
    /// The narrow groups: plane by plane, of whole weights or first digits, and of further digits.
    narrow: [Range<u32>; 2],
    /// The group of wide further digits, where there are digits.
    further_wide: u32,
    steps_per_ms: f64,
}

/// An edge in terms of the table.
struct Spot<'a> {
    block: usize,
    /// Index in the block.
    neuron: u32,
    lane: &'a Lane,
    steps: u32,
    weight: f64,
}

impl Encoder {
    fn new(net: &Network, blocks: usize, quantum: Vec<Vec<f64>>, exact: Exact) -> Result<Encoder> {
        let blocks = lay_out(net, blocks.max(1), &exact)?;
        let reached = net.projections.iter().map(|p| ports(net, p)).collect::<Result<Vec<_>>>()?;
        let mut dynamics = Vec::new();
        for (index, projection) in net.projections.iter().enumerate().filter(|(_, p)| is_dynamic(p)) {
            let signs = reachable(projection)?.1;
            let mut used: Vec<u32> = (0..2).filter(|&s| signs[s]).filter_map(|s| reached[index][s]).map(|p| p as u32).collect();
            used.dedup();
            dynamics.extend(used.into_iter().map(|port| (index as u32, port)));
        }
        if dynamics.len() >= MAX_GROUPS - 64 {
            return Err(Error::input(
                format!("{} projections with dynamic synapses are more than a table can hold", dynamics.len()),
                format!("join projections; at most {} are possible", MAX_GROUPS - 65),
            ));
        }
        let tiles = blocks.iter().map(|b| b.stride.div_ceil(1 << 16)).max().unwrap_or(1).max(1);
        let planes = blocks.iter().map(|b| b.ports).max().unwrap_or(0);
        let mut routes = Vec::with_capacity(net.projections.len());
        for (index, projection) in net.projections.iter().enumerate() {
            let (weights, signs) = reachable(projection)?;
            let dynamic = is_dynamic(projection);
            let lane = |s: usize| {
                let port = reached[index][s].filter(|_| signs[s])? as u32;
                let group = if dynamic { 1 + dynamics.iter().position(|d| *d == (index as u32, port))? as u32 } else { WIDE };
                let digits = exact.digits(projection.target, port as usize).unwrap_or_default();
                let inverse = 1.0 / quantum[projection.target][port as usize];
                Some(Lane { port, inverse, kept: exact.projection(index, s), digits, group })
            };
            let n = net.populations[projection.target].n;
            routes.push(Route {
                population: projection.target,
                starts: (0..=blocks.len()).map(|k| share(n, k, blocks.len())).collect(),
                per_target: blocks.len() as f64 / n.max(1) as f64,
                dynamic,
                bound: weights.bound(),
                // Plastic weights stay on one side, zero included.
                lanes: match projection.synapse.model.plasticity {
                    None => [lane(0), lane(1)],
                    Some(_) => [lane(0).or_else(|| lane(1)); 2],
                },
            });
        }
        let first = 1 + dynamics.len() as u32;
        let all = first.saturating_add(planes.saturating_mul(tiles));
        let (end, further_wide) = match exact.has_synapses() {
            false => (all.min(MAX_GROUPS as u32), NO_GROUP),
            true => (all.min(MAX_GROUPS as u32 - 1), all.min(MAX_GROUPS as u32 - 1)),
        };
        let narrow = [first..end, further_wide.saturating_add(1)..MAX_GROUPS as u32];
        let steps_per_ms = 1.0 / net.dt;
        Ok(Encoder { blocks, quantum, exact, routes, dynamics, planes, tiles, narrow, further_wide, steps_per_ms })
    }

    /// The groups of a block's table.
    fn groups(&self, block: &Block) -> Vec<Group> {
        let mut groups = vec![Group { base: 0, form: Form::Wide, further: false }];
        groups.extend((0..self.dynamics.len() as u32).map(|d| Group { base: 0, form: Form::Dynamic(d), further: false }));
        let narrow = (0..self.planes).flat_map(|p| (0..self.tiles).map(move |t| (p, t)));
        // A tile beyond the block's neurons is never used; its base stays within the accumulators.
        let base =
            |(p, t): (u32, u32)| (p as u64 * block.stride as u64 + ((t as u64) << 16)).min(block.accumulators() as u64) as u32;
        groups.extend(narrow.clone().map(|tile| Group { base: base(tile), form: Form::Narrow, further: false }));
        if self.exact.has_synapses() {
            groups.truncate(self.further_wide as usize);
            groups.push(Group { base: 0, form: Form::Wide, further: true });
            groups.extend(narrow.map(|tile| Group { base: base(tile), form: Form::Narrow, further: true }));
        }
        groups.truncate(MAX_GROUPS);
        groups
    }

    #[inline(always)]
    fn spot<'a>(&self, route: &'a Route, edge: &Edge) -> Option<Spot<'a>> {
        let block = route.block(edge.target);
        Some(Spot {
            block,
            neuron: self.blocks[block].offset[route.population] + (edge.target - route.starts[block]),
            lane: route.lanes[(edge.weight < 0.0) as usize].as_ref()?,
            steps: delay_steps(edge.delay, self.steps_per_ms),
            weight: edge.weight.max(-route.bound).min(route.bound),
        })
    }

    /// The group of narrow synapses onto a plane of accumulators, if units fit it.
    #[inline(always)]
    fn narrow_group(&self, plane: u32, neuron: u32, units: i32, further: bool) -> Option<u32> {
        let groups = &self.narrow[further as usize];
        let group = groups.start + plane * self.tiles + (neuron >> 16);
        (units as i16 as i32 == units && group < groups.end).then_some(group)
    }

    fn address(&self, spot: &Spot) -> u32 {
        spot.lane.port * self.blocks[spot.block].stride + spot.neuron
    }

    /// A static weight in digits.
    #[cold]
    fn add_digits(&self, entries: &mut Gather, spot: &Spot, number: usize) {
        let Lane { digits, kept, .. } = *spot.lane;
        let mut further = false;
        digits.split(spot.weight, kept, |digit, units| {
            self.add(entries, spot, number, digits.first + digit, units, further);
            further = true;
        });
    }

    /// Static units onto a plane of accumulators.
    #[inline(always)]
    fn add(&self, entries: &mut Gather, spot: &Spot, number: usize, plane: u32, units: i32, further: bool) {
        match self.narrow_group(plane, spot.neuron, units, further) {
            Some(group) => {
                let word = (spot.neuron & 0xffff) << 16 | units as u16 as u32;
                entries.narrow.push((place(spot.steps, group) as u64) << 32 | word as u64);
            }
            None => {
                let group = if further { self.further_wide } else { WIDE };
                let address = plane * self.blocks[spot.block].stride + spot.neuron;
                entries.other.push(other(spot.steps, group, address, number, units as u32));
            }
        }
        entries.further += further as u64;
    }
}

/// Entries of one row in one block, before they are sorted. The order of the words is that of (delay, group, address).
#[derive(Default)]
struct Gather {
    /// delay | group | address (16 bits) | weight (16 bits)
    narrow: Vec<u64>,
    /// delay | group | address | number in the row | weight, units or f32 bits (32 bits each of the last three)
    other: Vec<u128>,
    /// Entries of these that are further digits of a synapse.
    further: u64,
}

#[inline(always)]
fn other(steps: u32, group: u32, address: u32, number: usize, weight: u32) -> u128 {
    (place(steps, group) as u128) << 96 | (address as u128) << 64 | (number as u128) << 32 | weight as u128
}

#[inline(always)]
fn place(steps: u32, group: u32) -> u32 {
    steps << GROUP_BITS | group
}

/// Rows of some successive sources in one block.
#[derive(Default)]
struct Piece {
    words: Vec<u32>,
    /// (source, first word)
    rows: Vec<(u32, u32)>,
    /// Stored weights of each dynamic group.
    weights: Vec<Vec<f32>>,
    /// (word that holds an index into a dynamic group's arrays, group): counted from this piece's first.
    patches: Vec<(u32, u32)>,
    synapses: u64,
    min_delay: u32,
    max_delay: u32,
}

impl Piece {
    fn new(dynamics: usize) -> Piece {
        Piece { weights: vec![Vec::new(); dynamics], min_delay: u32::MAX, ..Default::default() }
    }

    /// Sort the entries of a row and write its stream; `wide` says which groups are wide.
    fn push(&mut self, source: u32, entries: &mut Gather, wide: impl Fn(u32) -> bool) {
        let Gather { narrow, other, further } = entries;
        if narrow.is_empty() && other.is_empty() {
            return;
        }
        narrow.sort_unstable();
        other.sort_unstable();
        self.rows.push((source, self.words.len() as u32));
        self.synapses += (narrow.len() + other.len()) as u64 - std::mem::take(further);
        let (mut i, mut j, mut before) = (0, 0, 0);
        loop {
            let next_narrow = narrow.get(i).map(|e| (e >> 32) as u32);
            let next_other = other.get(j).map(|e| (e >> 96) as u32);
            let Some(next) = next_narrow.into_iter().chain(next_other).min() else { break };
            let (steps, group) = (next >> GROUP_BITS, next & (MAX_GROUPS as u32 - 1));
            if before == 0 {
                self.min_delay = self.min_delay.min(steps);
            }
            let mut step = steps - before;
            before = steps;
            while step > MAX_STEP {
                self.words.push(header(0, 0, MAX_STEP));
                step -= MAX_STEP;
            }
            let at = self.words.len();
            self.words.push(0);
            let count;
            if next_narrow == Some(next) {
                let run = &narrow[i..narrow.len().min(i + MAX_COUNT as usize)];
                count = run.iter().take_while(|e| (**e >> 32) as u32 == next).count();
                self.words.extend(run[..count].iter().map(|e| (*e as u32).rotate_left(16)));
                i += count;
            } else {
                let run = &other[j..other.len().min(j + MAX_COUNT as usize)];
                count = run.iter().take_while(|e| (**e >> 96) as u32 == next).count();
                if wide(group) {
                    self.words.extend(run[..count].iter().flat_map(|e| [(*e >> 64) as u32, *e as u32]));
                } else {
                    let weights = &mut self.weights[group as usize - 1];
                    self.patches.push((at as u32 + 1, group - 1));
                    self.words.push(weights.len() as u32);
                    self.words.extend(run[..count].iter().map(|e| (*e >> 64) as u32));
                    weights.extend(run[..count].iter().map(|e| f32::from_bits(*e as u32)));
                }
                j += count;
            }
            self.words[at] = header(count as u32, group, step);
        }
        self.words.push(0);
        self.max_delay = self.max_delay.max(before);
        narrow.clear();
        other.clear();
    }
}

/// The rows of `sources`, one piece a block.
fn encode(net: &Network, rows: &Rows, encoder: &Encoder, sources: Range<u32>, words: usize) -> Result<Vec<Piece>> {
    let blocks = encoder.blocks.len();
    let mut pieces: Vec<Piece> = (0..blocks).map(|_| Piece::new(encoder.dynamics.len())).collect();
    pieces.iter_mut().for_each(|p| p.words.reserve(words / blocks));
    let mut entries: Vec<Gather> = (0..blocks).map(|_| Gather::default()).collect();
    let mut edges = Vec::new();
    for source in sources {
        rows.row(source, &mut edges);
        for run in edges.chunk_by(|a, b| a.projection == b.projection) {
            let route = &encoder.routes[run[0].projection as usize];
            for (number, edge) in run.iter().enumerate() {
                let Some(spot) = encoder.spot(route, edge) else { return Err(no_port(net, edge)) };
                let entries = &mut entries[spot.block];
                let lane = spot.lane;
                if route.dynamic {
                    let (address, weight) = (encoder.address(&spot), (spot.weight as f32).to_bits());
                    entries.other.push(other(spot.steps, lane.group, address, number, weight));
                } else if lane.kept == Kept::Plain {
                    encoder.add(entries, &spot, number, lane.port, whole_units(spot.weight, lane.inverse), false);
                } else {
                    encoder.add_digits(entries, &spot, number);
                }
            }
        }
        let wide = |group: u32| group == WIDE || group == encoder.further_wide;
        pieces.iter_mut().zip(&mut entries).for_each(|(piece, entries)| piece.push(source, entries, wide));
    }
    Ok(pieces)
}

fn no_port(net: &Network, edge: &Edge) -> Error {
    let projection = &net.projections[edge.projection as usize];
    let (sign, limit) = if edge.weight < 0.0 { ("negative", "low = 0.0") } else { ("positive", "high = 0.0") };
    let model = match &net.populations[projection.target].cell {
        Cell::Neuron(instance) => instance.model.name.as_str(),
        Cell::Source(_) => "source",
    };
    Error::input(
        format!("projection `{}`: model `{model}` has no port that takes the {sign} weight {}", projection.name, edge.weight),
        format!("name a receptor, or keep the weights on one side (limits with {limit}, redraw = true)"),
    )
}

/// Builds the tables of `blocks` blocks (at least one), in parallel and independently of the number of threads. `progress` is
/// told the share done, 0 to 1.
///
/// # Errors
/// Weights that no port takes or that cannot share one, delays beyond [`MAX_DELAY`] steps, more neurons than can be addressed.
pub fn build(net: &Network, rows: &Rows, blocks: usize, progress: &(dyn Fn(f64) + Sync)) -> Result<Tables> {
    check_delays(net)?;
    let (quantum, exact) = quanta(net)?;
    let encoder = Encoder::new(net, blocks, quantum, exact)?;
    let chunks = chunks(net);
    let expected = chunks.iter().map(|c| c.1).sum::<f64>();
    let mut tables: Vec<Table> = encoder
        .blocks
        .iter()
        .map(|block| Table { row: vec![NO_ROW; net.neurons() as usize], groups: encoder.groups(block), ..Default::default() })
        .collect();
    for table in &mut tables {
        let dynamic = |&(projection, port): &(u32, u32)| {
            let target = net.projections[projection as usize].target;
            let digits = encoder.exact.digits(target, port as usize).unwrap_or_default();
            Dynamic { projection, digits, port, ..Default::default() }
        };
        table.dynamics = encoder.dynamics.iter().map(dynamic).collect();
    }
    let (mut min_delay, mut max_delay) = (u32::MAX, 0);
    let done = AtomicU64::new(0);
    // Some chunks at a time are encoded in parallel, then appended in order: a copy at memory speed, and no second table.
    for wave in chunks.chunks(8 * rayon::current_num_threads()) {
        let pieces = wave
            .par_iter()
            .with_max_len(1)
            .map(|(sources, synapses)| {
                let pieces = encode(net, rows, &encoder, sources.clone(), (1.2 * synapses) as usize + 256)?;
                let so_far = done.fetch_add(*synapses as u64 + 1, Ordering::Relaxed) as f64 + synapses;
                progress((so_far / (expected + chunks.len() as f64)).min(1.0));
                Ok(pieces)
            })
            .collect::<Result<Vec<_>>>()?;
        for piece in pieces.iter().flatten() {
            min_delay = min_delay.min(piece.min_delay);
            max_delay = max_delay.max(piece.max_delay);
        }
        let room = 1.1 * expected / blocks.max(1) as f64;
        tables.par_iter_mut().enumerate().try_for_each(|(b, table)| pieces.iter().try_for_each(|p| table.append(&p[b], room)))?;
    }
    tables.par_iter_mut().try_for_each(|table| table.start_dynamics(net))?;
    let (min_delay, max_delay) = if max_delay == 0 { (1, 1) } else { (min_delay, max_delay) };
    let Encoder { blocks, quantum, exact, .. } = encoder;
    let mut tables = Tables { blocks, tables, quantum, exact, min_delay, max_delay };
    tables.start_random(net, rows)?;
    progress(1.0);
    Ok(tables)
}

fn check_delays(net: &Network) -> Result<()> {
    for projection in &net.projections {
        let given = match &projection.rule {
            Rule::Explicit(edges) => edges.delay.as_ref().map(|d| d.iter().fold(0.0f64, |a, &b| a.max(b))),
            _ => None,
        };
        let longest = given.unwrap_or(projection.delay.moments().max);
        if !(longest / net.dt < MAX_DELAY as f64) {
            return Err(Error::input(
                format!(
                    "projection `{}`: delays up to {longest} ms are more than {MAX_DELAY} steps of {} ms",
                    projection.name, net.dt
                ),
                "shorten the delays (set an upper limit), or take a longer step",
            ));
        }
    }
    Ok(())
}

/// Successive sources, about CHUNK synapses each, with the number expected. A function of the network alone.
fn chunks(net: &Network) -> Vec<(Range<u32>, f64)> {
    let mut chunks = Vec::new();
    for (index, population) in net.populations.iter().enumerate().filter(|(_, p)| p.n > 0) {
        let total: f64 =
            net.projections.iter().filter(|p| p.source == index).map(|p| super::connectivity::expected(net, p)).sum();
        if total == 0.0 {
            continue;
        }
        let parts = (total / CHUNK).ceil().clamp(1.0, population.n as f64) as usize;
        let at = |k: usize| population.first + share(population.n, k, parts);
        chunks.extend((0..parts).map(|k| (at(k)..at(k + 1), total / parts as f64)));
    }
    chunks
}

impl Table {
    /// A table of synapses that are given one by one, each of one step's delay, for a block that is not part of a network: (source below
    /// `sources`, accumulator, weight in units). Narrow where all addresses and weights fit 16 bits, wide otherwise; those of a source in
    /// the order given.
    pub fn given(sources: usize, synapses: &[(u32, u32, i32)]) -> Table {
        let narrow = synapses.iter().all(|(_, address, weight)| *address <= 0xffff && i16::try_from(*weight).is_ok());
        let form = if narrow { Form::Narrow } else { Form::Wide };
        let mut ends = vec![0u32; sources + 1];
        synapses.iter().for_each(|(source, _, _)| ends[*source as usize + 1] += 1);
        (0..sources).for_each(|s| ends[s + 1] += ends[s]);
        let mut order = vec![0u32; synapses.len()];
        let mut next = ends.clone();
        for (i, (source, _, _)) in (0..).zip(synapses) {
            order[next[*source as usize] as usize] = i;
            next[*source as usize] += 1;
        }
        let mut table = Table {
            row: vec![NO_ROW; sources],
            groups: vec![Group { base: 0, form, further: false }],
            synapses: synapses.len() as u64,
            ..Table::default()
        };
        for source in 0..sources {
            let own = &order[ends[source] as usize..ends[source + 1] as usize];
            if own.is_empty() {
                continue;
            }
            let words = own.len().div_ceil(MAX_COUNT as usize) + form.words(own.len()) + 1;
            if table.shards.last().is_none_or(|s| s.len() + words > SHARD_WORDS) {
                table.shards.push(Vec::new());
            }
            let index = table.shards.len() - 1;
            let shard = &mut table.shards[index];
            table.row[source] = (index as u64) << 32 | shard.len() as u64;
            for (part, members) in own.chunks(MAX_COUNT as usize).enumerate() {
                shard.push(header(members.len() as u32, 0, (part == 0) as u32));
                for i in members {
                    let (_, address, weight) = synapses[*i as usize];
                    match narrow {
                        true => shard.push(address | (weight as u32) << 16),
                        false => shard.extend([address, weight as u32]),
                    }
                }
            }
            shard.push(0);
        }
        table
    }

    fn append(&mut self, piece: &Piece, room: f64) -> Result<()> {
        let mut patches = piece.patches.iter().peekable();
        for (i, &(source, from)) in piece.rows.iter().enumerate() {
            let to = piece.rows.get(i + 1).map_or(piece.words.len(), |next| next.1 as usize);
            let row = &piece.words[from as usize..to];
            if self.shards.last().is_none_or(|s| s.len() + row.len() > SHARD_WORDS) {
                let left = room - self.shards.iter().map(Vec::len).sum::<usize>() as f64;
                let shard = Vec::with_capacity(row.len().max((left.max(0.0) as usize).min(SHARD_WORDS)));
                huge_pages::ask(&shard);
                self.shards.push(shard);
            }
            let index = self.shards.len() - 1;
            let shard = &mut self.shards[index];
            self.row[source as usize] = (index as u64) << 32 | shard.len() as u64;
            let begin = shard.len();
            shard.extend_from_slice(row);
            while let Some((word, group)) = patches.next_if(|p| (p.0 as usize) < to) {
                shard[begin + (word - from) as usize] += self.dynamics[*group as usize].weight.len() as u32;
            }
        }
        for (dynamic, weights) in self.dynamics.iter_mut().zip(&piece.weights) {
            dynamic.weight.extend_from_slice(weights);
            if dynamic.weight.len() > u32::MAX as usize {
                return Err(Error::input(
                    "a projection has more than 2^32 dynamic synapses",
                    "use more threads or a smaller network",
                ));
            }
        }
        self.synapses += piece.synapses;
        Ok(())
    }

    /// Initial states of the dynamic synapses.
    fn start_dynamics(&mut self, net: &Network) -> Result<()> {
        for dynamic in &mut self.dynamics {
            let synapse = &net.projections[dynamic.projection as usize].synapse;
            let n = dynamic.weight.len();
            for (state, &x) in synapse.model.states.iter().zip(&synapse.initial) {
                if !x.is_finite() {
                    return Err(Error::input(
                        format!("synapse model `{}`: the initial value of `{}` is {x}", synapse.model.name, state.name),
                        "correct the parameters that it is computed from",
                    ));
                }
                let word = match state.ty {
                    Ty::F32 => (x as f32).to_bits(),
                    Ty::I32 => x as i32 as u32,
                    Ty::U32 | Ty::Bool => x as u32,
                };
                dynamic.states.push(vec![word; n]);
            }
            dynamic.states.iter().for_each(huge_pages::gather);
            huge_pages::gather(&dynamic.weight);
        }
        Ok(())
    }

    /// Bytes of the table, dynamic synapses included.
    pub fn bytes(&self) -> u64 {
        let words: usize = self.shards.iter().map(Vec::len).sum();
        let dynamic: usize = self.dynamics.iter().map(|d| d.weight.len() * (1 + d.states.len())).sum();
        (4 * words + 8 * self.row.len() + 4 * dynamic) as u64
    }
}

/// What one entry of a row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Weight in units of its accumulator.
    Units(i32),
    /// Entry in `Table::dynamics`, and the synapse's index in it.
    Dynamic {
        /// Index into [`Table::dynamics`].
        entry: u32,
        /// Index in that entry.
        index: u32,
    },
}

/// One synapse as a row holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synapse {
    /// Steps.
    pub delay: u32,
    /// Accumulator.
    pub address: u32,
    /// Weight, or where it is kept.
    pub stored: Stored,
    /// A further digit of a synapse that comes elsewhere in the row too.
    pub further: bool,
}

/// Walks a row as an engine does.
struct Walk<'a> {
    groups: &'a [Group],
    words: std::slice::Iter<'a, u32>,
    delay: u32,
    group: Group,
    /// Synapses left in the segment, and the index of the next dynamic one.
    left: u32,
    index: u32,
}

impl Iterator for Walk<'_> {
    type Item = Synapse;

    fn next(&mut self) -> Option<Synapse> {
        while self.left == 0 {
            let (count, group, step) = split(*self.words.next()?);
            if count == 0 && step == 0 {
                self.words = [].iter();
                return None;
            }
            self.delay += step;
            if count > 0 {
                (self.left, self.group) = (count, self.groups[group as usize]);
                if let Form::Dynamic(_) = self.group.form {
                    self.index = *self.words.next()?;
                }
            }
        }
        self.left -= 1;
        let word = *self.words.next()?;
        let (address, stored) = match self.group.form {
            Form::Narrow => (self.group.base + (word & 0xffff), Stored::Units(word as i32 >> 16)),
            Form::Wide => (word, Stored::Units(*self.words.next()? as i32)),
            Form::Dynamic(entry) => {
                self.index += 1;
                (word, Stored::Dynamic { entry, index: self.index - 1 })
            }
        };
        Some(Synapse { delay: self.delay, address, stored, further: self.group.further })
    }
}

/// Where a dynamic synapse is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index into [`Tables::tables`].
    pub block: u16,
    /// Entry in the block's `Table::dynamics`.
    pub entry: u16,
    /// Index in that entry.
    pub index: u32,
}

impl Dynamic {
    /// A copy, of the weights alone or with all states.
    pub fn copy(&self, states: bool) -> Dynamic {
        let states = if states { self.states.clone() } else { Vec::new() };
        Dynamic { projection: self.projection, weight: self.weight.clone(), states, digits: self.digits.clone(), port: self.port }
    }
}

impl Tables {
    /// Bytes of all tables, dynamic synapses included.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(Table::bytes).sum()
    }

    /// Synapses of all tables.
    pub fn synapses(&self) -> u64 {
        self.tables.iter().map(|t| t.synapses).sum()
    }

    /// The synapses from a source (global id) onto a block, in the order of the stream.
    pub fn iter_row(&self, block: usize, source: u32) -> impl Iterator<Item = Synapse> + '_ {
        let table = &self.tables[block];
        let words = match table.row[source as usize] {
            NO_ROW => &[],
            at => &table.shards[(at >> 32) as usize][at as u32 as usize..],
        };
        Walk {
            groups: &table.groups,
            words: words.iter(),
            delay: 0,
            group: Group { base: 0, form: Form::Wide, further: false },
            left: 0,
            index: 0,
        }
    }

    /// Where each synapse of a dynamic projection is kept, in canonical edge order (sources ascending, each by generation).
    ///
    /// # Errors
    /// `rows` or `net` are not those that the tables were built from.
    pub fn dynamic_canonical(&self, net: &Network, rows: &Rows, projection: usize) -> Result<Vec<Slot>> {
        let encoder = Encoder::new(net, self.blocks.len(), self.quantum.clone(), self.exact.clone())?;
        let foreign =
            || Error::input("these synapse tables belong to another network", "build them from the network that is run");
        let route = &encoder.routes[projection];
        let first = net.populations[net.projections[projection].source].first;
        let rows_of = |source: u32| -> Result<Vec<Slot>> {
            let mut edges = Vec::new();
            rows.append(projection, source, &mut edges);
            let mut slots = vec![Slot { block: 0, entry: 0, index: 0 }; edges.len()];
            let mut keys = edges
                .iter()
                .enumerate()
                .map(|(number, edge)| {
                    let spot = encoder.spot(route, edge).ok_or_else(foreign)?;
                    Ok((spot.block, place(spot.steps, spot.lane.group), encoder.address(&spot), number))
                })
                .collect::<Result<Vec<_>>>()?;
            keys.sort_unstable();
            for run in keys.chunk_by(|a, b| a.0 == b.0) {
                let block = run[0].0;
                let ours = |entry: u32| self.tables[block].dynamics[entry as usize].projection as usize == projection;
                let kept = self.iter_row(block, first + source).filter_map(|s| match s.stored {
                    Stored::Dynamic { entry, index } if ours(entry) => Some((s.address, entry, index)),
                    _ => None,
                });
                let mut kept = kept.fuse();
                for key in run {
                    let (address, entry, index) = kept.next().ok_or_else(foreign)?;
                    if address != key.2 {
                        return Err(foreign());
                    }
                    slots[key.3] = Slot { block: block as u16, entry: entry as u16, index };
                }
            }
            Ok(slots)
        };
        let slots = (0..rows.sources(projection)).into_par_iter().map(rows_of).collect::<Result<Vec<_>>>()?;
        Ok(slots.concat())
    }

    /// Random initial states, which go by canonical edge order.
    fn start_random(&mut self, net: &Network, rows: &Rows) -> Result<()> {
        for (p, projection) in net.projections.iter().enumerate() {
            let states = projection.synapse.model.states.iter().enumerate();
            let random: Vec<usize> = states.filter(|(_, state)| state.is_random()).map(|(k, _)| k).collect();
            if random.is_empty() || !is_dynamic(projection) {
                continue;
            }
            for (edge, slot) in (0..).zip(self.dynamic_canonical(net, rows, p)?) {
                let dynamic = &mut self.tables[slot.block as usize].dynamics[slot.entry as usize];
                for &k in &random {
                    dynamic.states[k][slot.index as usize] = SynapseInstance::random_word(net.seed, p, k, edge);
                }
            }
        }
        Ok(())
    }

    /// Weight and states of every dynamic projection (in their order), each an array in canonical edge order.
    pub fn gather_dynamics(&self, net: &Network, rows: &Rows) -> Result<Vec<Vec<Vec<f32>>>> {
        let dynamic = (0..net.projections.len()).filter(|&p| is_dynamic(&net.projections[p]));
        dynamic
            .map(|p| Ok(self.gather(&self.dynamic_canonical(net, rows, p)?, net.projections[p].synapse.model.states.len())))
            .collect()
    }

    /// The states of the synapses of a dynamic projection, each an array of words in canonical edge order.
    ///
    /// # Errors
    /// The tables are those of another network.
    pub fn states(&self, net: &Network, rows: &Rows, projection: usize) -> Result<Vec<Vec<u32>>> {
        let slots = self.dynamic_canonical(net, rows, projection)?;
        let of = |slot: &Slot| &self.tables[slot.block as usize].dynamics[slot.entry as usize];
        let states = 0..net.projections[projection].synapse.model.states.len();
        Ok(states.map(|k| slots.iter().map(|s| of(s).states[k][s.index as usize]).collect()).collect())
    }

    fn gather(&self, slots: &[Slot], states: usize) -> Vec<Vec<f32>> {
        let of = |slot: &Slot| &self.tables[slot.block as usize].dynamics[slot.entry as usize];
        let weight = slots.iter().map(|s| of(s).weight[s.index as usize]).collect();
        let state = |k: usize| slots.iter().map(|s| f32::from_bits(of(s).states[k][s.index as usize])).collect();
        std::iter::once(weight).chain((0..states).map(state)).collect()
    }

    /// Puts back what [`Tables::gather_dynamics`] took, possibly from tables with another number of blocks.
    ///
    /// # Errors
    /// The arrays do not fit this network.
    pub fn scatter_dynamics(&mut self, net: &Network, rows: &Rows, values: &[Vec<Vec<f32>>]) -> Result<()> {
        let dynamic: Vec<usize> = (0..net.projections.len()).filter(|&p| is_dynamic(&net.projections[p])).collect();
        let misfit = |what: String| {
            Error::input(
                format!("the stored synapses do not fit the network: {what}"),
                "resume with the scenario that wrote them; connections, seed and synapse models must be the same",
            )
        };
        if dynamic.len() != values.len() {
            return Err(misfit(format!("{} projections with dynamics, {} stored", dynamic.len(), values.len())));
        }
        for (projection, arrays) in dynamic.into_iter().zip(values) {
            let slots = self.dynamic_canonical(net, rows, projection)?;
            let (name, states) = (&net.projections[projection].name, net.projections[projection].synapse.model.states.len());
            if arrays.len() != 1 + states || arrays.iter().any(|a| a.len() != slots.len()) {
                return Err(misfit(format!("projection `{name}` has {} synapses with {states} states", slots.len())));
            }
            for (k, array) in arrays.iter().enumerate() {
                for (slot, &x) in slots.iter().zip(array) {
                    let kept = &mut self.tables[slot.block as usize].dynamics[slot.entry as usize];
                    match k {
                        0 => kept.weight[slot.index as usize] = x,
                        _ => kept.states[k - 1][slot.index as usize] = x.to_bits(),
                    }
                }
            }
        }
        Ok(())
    }

    /// Weights of a projection as the engine uses them, in canonical edge order: (source global id, target global id, weight).
    pub fn weights(&self, net: &Network, rows: &Rows, projection: usize) -> Result<Vec<(u32, u32, f32)>> {
        let p = &net.projections[projection];
        let (source, target) = (net.populations[p.source].first, net.populations[p.target].first);
        let encoder = Encoder::new(net, self.blocks.len(), self.quantum.clone(), self.exact.clone())?;
        let route = &encoder.routes[projection];
        let of_source = |local: u32| {
            let mut edges = Vec::new();
            rows.append(projection, local, &mut edges);
            edges.into_iter().map(move |e| (source + local, e))
        };
        let mut weights: Vec<(u32, u32, f32)> = (0..rows.sources(projection))
            .into_par_iter()
            .flat_map_iter(of_source)
            .map(|(source, edge)| {
                let spot = encoder.spot(route, &edge).ok_or_else(|| no_port(net, &edge))?;
                let weight = match spot.lane.kept {
                    Kept::Plain => whole_units(spot.weight, spot.lane.inverse) as f64 / spot.lane.inverse,
                    kept => kept.value(spot.weight),
                };
                Ok((source, target + edge.target, weight as f32))
            })
            .collect::<Result<_>>()?;
        if is_dynamic(p) {
            let slots = self.dynamic_canonical(net, rows, projection)?;
            let stored = self.gather(&slots, 0).swap_remove(0);
            weights.iter_mut().zip(stored).for_each(|(w, stored)| w.2 = stored);
        }
        Ok(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{network, neuron, normal, one_port, projection, source, synapse, two_ports};
    use super::super::{Draw, Edges, Limits};
    use super::*;
    use crate::model::Sign;
    use crate::stimulus::{Drive, DriveKind};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn make(net: &Network, blocks: usize) -> (Rows, Tables) {
        let rows = Rows::prepare(net, &|_| {}).unwrap();
        let tables = build(net, &rows, blocks, &|_| {}).unwrap();
        (rows, tables)
    }

    /// (source, population, target, port or digit, delay, units or projection of a dynamic synapse with its weight's bits)
    type Plain = (u32, usize, u32, usize, u32, i64);

    /// All synapses as the tables hold them, sorted.
    fn decoded(net: &Network, tables: &Tables) -> Vec<Plain> {
        let (mut all, mut further) = (Vec::new(), 0);
        for (b, block) in tables.blocks.iter().enumerate() {
            for source in 0..net.neurons() {
                let mut last = None;
                for s in tables.iter_row(b, source) {
                    let (population, target, port) = block.decode(s.address).expect("no synapse onto padding");
                    assert_eq!(block.encode(population, target, port), s.address);
                    assert!(block.slices[population].contains(&target));
                    let value = match s.stored {
                        Stored::Units(units) => units as i64,
                        Stored::Dynamic { entry, index } => {
                            let dynamic = &tables.tables[b].dynamics[entry as usize];
                            (dynamic.weight[index as usize].to_bits() as i64) << 8 | dynamic.projection as i64
                        }
                    };
                    further += s.further as u64;
                    assert!(last <= Some(s.delay), "segments are sorted by delay");
                    last = Some(s.delay);
                    all.push((source, population, target, port, s.delay, value));
                }
            }
        }
        assert_eq!(all.len() as u64 - further, tables.synapses());
        all.sort_unstable();
        all
    }

    /// The same list made edge by edge, without any table.
    fn naive(net: &Network, rows: &Rows, tables: &Tables) -> Vec<Plain> {
        let mut all = Vec::new();
        let mut row = Vec::new();
        for source in 0..net.neurons() {
            rows.row(source, &mut row);
            for edge in &row {
                let p = &net.projections[edge.projection as usize];
                let Cell::Neuron(instance) = &net.populations[p.target].cell else { panic!("not a neuron") };
                let takes = |sign: Sign| match sign {
                    Sign::Any => true,
                    Sign::Positive => edge.weight >= 0.0,
                    Sign::Negative { .. } => edge.weight < 0.0,
                };
                let port = p.port.unwrap_or_else(|| instance.model.ports.iter().position(|q| takes(q.sign)).unwrap());
                let delay = ((edge.delay / net.dt).round() as u32).max(1);
                let mut push = |plane: usize, value: i64| all.push((source, p.target, edge.target, plane, delay, value));
                match tables.exact.projection(edge.projection as usize, (edge.weight < 0.0) as usize) {
                    _ if is_dynamic(p) => push(port, ((edge.weight as f32).to_bits() as i64) << 8 | edge.projection as i64),
                    Kept::Plain => {
                        let units = edge.weight / tables.quantum[p.target][port];
                        push(port, if units.abs() < 0.5 { units.signum() } else { units.round() } as i64);
                    }
                    kept => {
                        let digits = tables.exact.digits(p.target, port).expect("weights that are kept in digits have digits");
                        digits.split(edge.weight, kept, |k, units| push((digits.first + k) as usize, units as i64));
                    }
                }
            }
        }
        all.sort_unstable();
        all
    }

    /// Equal but for weights and delays that fall on a tie of rounding.
    fn assert_same(a: &[Plain], b: &[Plain]) {
        assert_eq!(a.len(), b.len());
        for (x, y) in a.iter().zip(b) {
            assert!(
                (x.0, x.1, x.2, x.3) == (y.0, y.1, y.2, y.3) && x.4.abs_diff(y.4) <= 1 && x.5.abs_diff(y.5) <= 1,
                "{x:?} {y:?}"
            );
        }
        let different = a.iter().zip(b).filter(|(x, y)| x != y).count();
        assert!(different <= a.len() / 1000, "{different} of {} differ", a.len());
    }

    /// Sum of magnitudes in units onto the most loaded accumulator.
    fn heaviest(tables: &Tables) -> i64 {
        let mut heaviest = 0;
        for (b, block) in tables.blocks.iter().enumerate() {
            let mut sum = vec![0i64; block.accumulators()];
            for source in 0..tables.tables[b].row.len() as u32 {
                for s in tables.iter_row(b, source) {
                    if let Stored::Units(units) = s.stored {
                        sum[s.address as usize] += units.unsigned_abs() as i64;
                    }
                }
            }
            heaviest = heaviest.max(sum.into_iter().max().unwrap_or(0));
        }
        heaviest
    }

    #[test]
    fn blocks_share_every_population_evenly() {
        let net = network(vec![(100, one_port()), (7, source()), (31, two_ports())]);
        let blocks = lay_out(&net, 3, &Exact::default()).unwrap();
        assert_eq!(blocks.iter().map(|b| b.slices[0].clone()).collect::<Vec<_>>(), [0..33, 33..66, 66..100]);
        assert_eq!(blocks.iter().map(|b| b.slices[2].clone()).collect::<Vec<_>>(), [0..10, 10..20, 20..31]);
        for block in &blocks {
            assert!(block.slices[1].is_empty() && block.ports == 2 && block.stride % 16 == 0);
            assert!(block.offset.iter().all(|o| o % 16 == 0));
            for (p, slice) in block.slices.iter().enumerate() {
                for local in slice.clone() {
                    for port in 0..2 {
                        assert_eq!(block.decode(block.encode(p, local, port)), Some((p, local, port)));
                    }
                }
            }
        }
        assert_eq!(blocks[0].decode(33), None, "padding belongs to nobody");
        let tiny = lay_out(&network(vec![(2, one_port())]), 5, &Exact::default()).unwrap();
        assert_eq!(tiny.iter().map(|b| b.slices[0].len()).sum::<usize>(), 2);
    }

    #[test]
    fn delays_round_as_nest_rounds() {
        for (delay, steps) in [(0.1, 1), (1.5, 15), (0.25, 3), (0.04, 1), (0.0, 1), (100.0, 1000), (1e12, MAX_DELAY)] {
            assert_eq!(delay_steps(delay, 10.0), steps, "{delay}");
        }
        for x in [0.5, 1.5, -0.5, -2.5, 3.49, -7.51, 2147483646.6, -2147483647.4, 0.0] {
            assert_eq!(nearest(x) as f64, x.round_ties_even());
        }
    }

    /// More than 4,095 synapses of one delay, delays of more than 1,023 steps, more than 65,536 targets, both weight forms.
    #[test]
    fn fields_of_the_header_overflow_into_further_segments() {
        let mut net = network(vec![(2, source()), (140_000, two_ports())]);
        let n = 140_000;
        let target: Vec<u32> = (0..n).chain(0..n).collect();
        let delay: Vec<f64> = (0..n).map(|t| if t % 3 == 0 { 3000.0 } else { 102.3 }).chain((0..n).map(|_| 0.1)).collect();
        let weight: Vec<f32> = (0..n).map(|t| if t % 2 == 0 { 1.0 } else { -2.0 }).chain((0..n).map(|_| 50_000.0)).collect();
        let edges = Edges { start: vec![0, n as u64, 2 * n as u64], target, weight: Some(weight), delay: Some(delay) };
        net.projections.push(projection(0, 1, Rule::Explicit(Arc::new(edges))));
        for blocks in [1, 3] {
            let (rows, tables) = make(&net, blocks);
            assert_eq!((tables.min_delay, tables.max_delay), (1, 30_000));
            assert_eq!(decoded(&net, &tables), naive(&net, &rows, &tables));
            assert!(tables.quantum[1].iter().all(|&q| q == 1.0 || q == 2.0));
            let forms: Vec<Form> = tables.tables[0].groups.iter().map(|g| g.form).collect();
            assert!(forms[0] == Form::Wide && forms[1..].iter().all(|f| *f == Form::Narrow));
        }
        // 16 bits do not hold 50,000 units: the second source's row has two words a synapse, the first's has one.
        let (_, tables) = make(&net, 1);
        let words = tables.tables[0].shards.iter().map(Vec::len).sum::<usize>() as u32;
        assert!((3 * n..3 * n + 3 * n / 4000 + 200).contains(&words), "{words} words");
    }

    #[test]
    fn a_static_synapse_costs_four_bytes_where_values_allow() {
        let mut net = network(vec![(800, two_ports()), (200, two_ports())]);
        for (s, w) in [(0, 1.0), (1, -5.0)] {
            for t in 0..2 {
                net.projections.push(projection(s, t, Rule::FixedIndegree { indegree: 100 }));
                net.projections.last_mut().unwrap().weight = normal(w * 87.8, 8.78, f64::NEG_INFINITY, f64::INFINITY);
                net.projections.last_mut().unwrap().delay = normal(1.5, 0.1, 0.1, 5.0);
            }
        }
        net.drives.push(Drive {
            name: "background".into(),
            population: 0,
            kind: DriveKind::Poisson { rate: crate::network::Values::Uniform(16_000.0), weight: 87.8, port: 0 },
            start: 0.0,
            stop: f64::INFINITY,
        });
        let (rows, tables) = make(&net, 2);
        assert_same(&decoded(&net, &tables), &naive(&net, &rows, &tables));
        let words: usize = tables.tables.iter().flat_map(|t| &t.shards).map(Vec::len).sum();
        let (synapses, headers) = (200_000, 2 * 1000 * 26);
        assert!(words < synapses + headers, "{words} words for {synapses} synapses");
        let units = 87.8 / tables.quantum[0][0];
        assert!((units - units.round()).abs() < 1e-6 * units && units > 5000.0, "the drive is exact: {units} units");
        assert!(heaviest(&tables) < 1 << 31);
    }

    #[test]
    fn tables_do_not_depend_on_threads() {
        let mut net = network(vec![(500, two_ports()), (300, one_port()), (50, source())]);
        for (s, t) in [(0, 1), (1, 0), (2, 0), (0, 0)] {
            net.projections.push(projection(s, t, Rule::FixedTotalNumber { n: 150_000 }));
            net.projections.last_mut().unwrap().weight = normal(2.0, 1.0, f64::NEG_INFINITY, f64::INFINITY);
            net.projections.last_mut().unwrap().delay = normal(1.5, 0.75, 0.1, f64::INFINITY);
        }
        net.projections[1].synapse = synapse(&[0.5]);
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| make(&net, 2).1)
        };
        let (one, three) = (of(1), of(3));
        for (a, b) in one.tables.iter().zip(&three.tables) {
            assert!(a.shards == b.shards && a.row == b.row && a.groups == b.groups && a.synapses == b.synapses);
            assert!(a.dynamics.iter().zip(&b.dynamics).all(|(x, y)| x.weight == y.weight && x.states == y.states));
        }
        assert_eq!(one.synapses(), 600_000);
    }

    /// Dynamic synapses in canonical order are the same for any number of blocks, and survive a change of it.
    #[test]
    fn dynamic_synapses_move_between_numbers_of_blocks() {
        let mut net = network(vec![(30, two_ports()), (40, two_ports()), (20, source())]);
        for (s, t, rule) in [
            (0, 1, Rule::FixedTotalNumber { n: 3000 }),
            (1, 0, Rule::FixedIndegree { indegree: 9 }),
            (2, 1, Rule::AllToAll),
            (0, 1, Rule::PairwiseBernoulli { p: 0.4 }),
        ] {
            let mut p = projection(s, t, rule);
            p.weight = normal(0.0, 1.0, f64::NEG_INFINITY, f64::INFINITY);
            p.delay = Draw::Uniform { low: 0.1, high: 0.4 };
            net.projections.push(p);
        }
        net.projections[0].synapse = synapse(&[1.0, 0.25]);
        net.projections[2].synapse = synapse(&[0.5]);
        let (rows, one) = make(&net, 1);
        let (_, mut four) = make(&net, 4);
        assert_same(&decoded(&net, &one), &naive(&net, &rows, &one));
        assert_same(&decoded(&net, &four), &naive(&net, &rows, &four));
        let mut values = one.gather_dynamics(&net, &rows).unwrap();
        assert_eq!(values, four.gather_dynamics(&net, &rows).unwrap());
        assert_eq!(values.len(), 2);
        let drawn: Vec<f32> = (0..30)
            .flat_map(|s| {
                let mut row = Vec::new();
                rows.append(0, s, &mut row);
                row.into_iter().map(|e| e.weight as f32).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(values[0][0], drawn, "canonical order is that of the rules");
        assert!(values[0][1].iter().all(|x| *x == 1.0) && values[0][2].iter().all(|x| *x == 0.25));
        for (p, arrays) in values.iter_mut().enumerate() {
            for (k, array) in arrays.iter_mut().enumerate() {
                array.iter_mut().enumerate().for_each(|(i, x)| *x = (p * 100_000 + k * 10_000 + i) as f32);
            }
        }
        four.scatter_dynamics(&net, &rows, &values).unwrap();
        assert_eq!(four.gather_dynamics(&net, &rows).unwrap(), values);
        let weights = four.weights(&net, &rows, 0).unwrap();
        assert!(weights.iter().enumerate().all(|(i, w)| w.2 == i as f32));
        // Every synapse of the stream holds what its place in the canonical order says.
        let slots = four.dynamic_canonical(&net, &rows, 0).unwrap();
        for (slot, (source, target, _)) in slots.iter().zip(&weights) {
            let at = Stored::Dynamic { entry: slot.entry as u32, index: slot.index };
            let s = four.iter_row(slot.block as usize, *source).find(|s| s.stored == at).expect("in this source's row");
            let (population, local, _) = four.blocks[slot.block as usize].decode(s.address).unwrap();
            assert_eq!(net.populations[population].first + local, *target);
        }
        values[0].pop();
        assert!(four.scatter_dynamics(&net, &rows, &values).is_err());
        assert!(four.scatter_dynamics(&net, &rows, &[]).is_err());
    }

    #[test]
    fn weights_are_read_back_as_they_act() {
        let mut net = network(vec![(20, two_ports()), (30, two_ports())]);
        net.projections.push(projection(0, 1, Rule::AllToAll));
        net.projections[0].weight = normal(3.0, 1.0, 0.0, f64::INFINITY);
        let (rows, tables) = make(&net, 2);
        let weights = tables.weights(&net, &rows, 0).unwrap();
        let mut row = Vec::new();
        for (i, &(source, target, weight)) in weights.iter().enumerate() {
            assert_eq!((source, target), (i as u32 / 30, 20 + i as u32 % 30));
            rows.row(source, &mut row);
            let drawn = row[i % 30].weight;
            assert!((weight as f64 - drawn).abs() <= 0.51 * tables.quantum[1][0] + 1e-6, "{weight} for {drawn}");
        }
    }

    #[test]
    fn what_cannot_be_encoded_is_refused() {
        let refuse = |net: &Network, part: &str| {
            let rows = Rows::prepare(net, &|_| {}).unwrap();
            let error = build(net, &rows, 2, &|_| {}).expect_err(part);
            assert!(error.to_string().contains(part), "{error}");
            assert!(error.remedy().is_some_and(|r| !r.is_empty()));
        };
        let mut net = network(vec![(20, neuron(&[Sign::Positive])), (30, source())]);
        net.projections.push(projection(0, 0, Rule::AllToAll));
        net.projections[0].weight = normal(1.0, 1.0, f64::NEG_INFINITY, f64::INFINITY);
        refuse(&net, "no port that takes the negative weight");
        net.projections[0].weight = Draw::Constant(1.0);
        net.projections[0].port = Some(3);
        refuse(&net, "no port 3");
        net.projections[0].port = None;
        net.projections[0].delay = Draw::Constant(1e6);
        refuse(&net, "delays up to 1000000 ms");
        net.projections[0] = projection(0, 1, Rule::AllToAll);
        refuse(&net, "only emits spikes");
    }

    #[test]
    fn a_network_without_synapses_has_tables() {
        let net = network(vec![(20, one_port()), (3, source())]);
        let (_, tables) = make(&net, 3);
        assert_eq!((tables.min_delay, tables.max_delay, tables.synapses()), (1, 1, 0));
        assert!(tables.tables.iter().all(|t| t.row.iter().all(|r| *r == NO_ROW)));
        let empty = network(Vec::new());
        assert_eq!(make(&empty, 2).1.synapses(), 0);
    }

    fn draws(scale: f64) -> impl Strategy<Value = Draw> {
        let sign = prop_oneof![Just(1.0), Just(-1.0)];
        prop_oneof![
            (sign, 0.1f64..10.0).prop_map(move |(s, x)| Draw::Constant(s * x * scale)),
            (-3.0f64..3.0, 0.0f64..2.0).prop_map(move |(mean, std)| Draw::Normal {
                mean: mean * scale,
                std: std * scale,
                limits: Limits::NONE
            }),
            (0.0f64..1.0).prop_map(move |sigma| Draw::Lognormal { mu: scale.ln(), sigma, limits: Limits::NONE }),
            (-3.0f64..0.0, 0.0f64..3.0).prop_map(move |(low, high)| Draw::Uniform { low: low * scale, high: high * scale }),
            (0.1f64..3.0).prop_map(move |mean| Draw::Exponential {
                mean: mean * scale,
                limits: Limits { low: 0.0, high: 4.0 * scale, redraw: true }
            }),
        ]
    }

    fn delays() -> impl Strategy<Value = Draw> {
        prop_oneof![
            (0.01f64..300.0).prop_map(Draw::Constant),
            (0.1f64..200.0, 0.0f64..200.0).prop_map(|(mean, std)| Draw::Normal {
                mean,
                std,
                limits: Limits { low: 0.1, high: f64::INFINITY, redraw: false }
            }),
        ]
    }

    fn projections() -> impl Strategy<Value = Vec<(usize, usize, usize, f64, Draw, Draw, bool)>> {
        let one = (0usize..3, 0usize..2, 0usize..5, 0.05f64..1.0, draws(1.0), delays(), proptest::bool::weighted(0.3));
        proptest::collection::vec(one, 1..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Random networks: the tables hold what the edge list says, for any number of blocks, and no sum can overflow.
        #[test]
        fn tables_hold_the_edges(seed: u64, n in proptest::array::uniform3(1u32..50), list in projections()) {
            let mut net = network(vec![(n[0], two_ports()), (n[1], one_port()), (n[2], source())]);
            net.seed = seed;
            for (s, t, rule, share, weight, delay, dynamic) in list {
                let rule = match rule {
                    0 => Rule::PairwiseBernoulli { p: share },
                    1 => Rule::FixedIndegree { indegree: (share * 40.0) as u32 },
                    2 => Rule::FixedOutdegree { outdegree: (share * 40.0) as u32 },
                    3 => Rule::FixedTotalNumber { n: (share * 1000.0) as u64 },
                    _ => Rule::AllToAll,
                };
                let mut p = projection(s, t, rule);
                (p.weight, p.delay) = (weight, delay);
                if dynamic {
                    p.synapse = synapse(&[0.5]);
                }
                net.projections.push(p);
            }
            let (rows, one) = make(&net, 1);
            assert_same(&decoded(&net, &one), &naive(&net, &rows, &one));
            for p in net.projections.iter().filter(|p| !is_dynamic(p)) {
                for (port, constant) in one.quantum[p.target].iter().zip(std::iter::repeat(p.weight.constant())) {
                    let index = net.projections.iter().position(|other| std::ptr::eq(other, p)).unwrap();
                    let kept = |c: f64| one.exact.projection(index, (c < 0.0) as usize);
                    if let (Some(c), None) = (constant, p.port) && kept(c) == Kept::Plain && one.quantum[p.target].len() == 1 {
                        let units = c.abs() / port;
                        prop_assert!((units - units.round()).abs() <= 1.1e-6 * units, "constant {c} in units of {port}");
                    }
                }
            }
            prop_assert!(heaviest(&one) < 1 << 31);
            for blocks in [2, 5] {
                let (_, tables) = make(&net, blocks);
                prop_assert_eq!(&tables.quantum, &one.quantum);
                prop_assert_eq!(decoded(&net, &tables), decoded(&net, &one));
                prop_assert_eq!(tables.gather_dynamics(&net, &rows).unwrap(), one.gather_dynamics(&net, &rows).unwrap());
            }
        }
    }
}
