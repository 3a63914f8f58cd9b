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
//! neuron in one step stays below 2^31: an accumulator cannot overflow. Constant and given weights keep 1e-6 relative (else
//! the row is wide); weights drawn from a distribution are drawn on the 16-bit grid.

use std::ops::Range;

pub const COUNT_BITS: u32 = 12;
pub const GROUP_BITS: u32 = 10;
pub const STEP_BITS: u32 = 10;
pub const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;
pub const MAX_STEP: u32 = (1 << STEP_BITS) - 1;

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
    /// Accumulator of (port p, block neuron i) is `p * stride + i`; stride is a multiple of 16.
    pub stride: u32,
    /// Ports of the widest model.
    pub ports: u32,
}

impl Block {
    pub fn accumulators(&self) -> usize {
        (self.stride * self.ports) as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Narrow,
    Wide,
    /// Index into `Table::dynamics`.
    Dynamic(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// First accumulator address of the 65,536 that a narrow segment can name.
    pub base: u32,
    pub form: Form,
}

/// Synapses of one projection that have their own dynamics, in one block.
#[derive(Clone, Debug, Default)]
pub struct Dynamic {
    pub projection: u32,
    /// Stored weight (the code's `w`) of each synapse, in the unit of the port.
    pub weight: Vec<f32>,
    /// One array per state of the synapse model, as 32-bit words.
    pub states: Vec<Vec<u32>>,
    /// Port each synapse's accumulator belongs to is in the address; this is the quantum per population and port as f32.
    pub quantum: f32,
}

/// All synapses onto one block.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The streams, in shards of bounded size; a row never straddles two.
    pub shards: Vec<Vec<u32>>,
    /// Position of each global source's row: shard << 32 | word; `NO_ROW` when it has none here.
    pub row: Vec<u64>,
    pub groups: Vec<Group>,
    pub dynamics: Vec<Dynamic>,
    pub synapses: u64,
}

pub const NO_ROW: u64 = u64::MAX;

/// The tables of a network for a given number of blocks.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    pub blocks: Vec<Block>,
    pub tables: Vec<Table>,
    /// Weight of one integer unit, per population and port (empty for sources).
    pub quantum: Vec<Vec<f64>>,
    /// Shortest and longest delay in steps (1, 1 without synapses).
    pub min_delay: u32,
    pub max_delay: u32,
}
