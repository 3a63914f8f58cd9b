//! Spikes in flight on the CPU: a calendar of row cursors, and the walk along a row's segments as their delays come due.
//! Promises that every synapse of a spiking source is served exactly once, in the step that its delay names. A spike costs one
//! calendar entry a segment, and the accumulators it touches are those of the current step only, so they stay in cache.

use super::digits::Adder;
use super::plastic::{Arrival, PlasticKernel, Served};
use super::segments::{MAX_CONSTANTS, MAX_STATES, for_segments};
use crate::engine::NEVER;
use crate::model::Words;
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::network::synapse_table::{Dynamic, Form, NO_ROW, Table, split};
use std::ops::Range;
use std::sync::Arc;

/// A row cursor: the segment whose header stands at `at` is due.
#[derive(Clone, Copy)]
struct Due {
    /// shard << 32 | word of the header.
    at: u64,
    /// Steps since the source's previous spike; u32::MAX for its first.
    elapsed: u32,
    /// Low 32 bits of the spike's stamp.
    stamp: u32,
}

/// Row cursors by the step in which their next segment is due.
pub struct Calendar {
    buckets: Vec<Vec<Due>>,
    mask: u64,
}

impl Calendar {
    pub fn new(max_delay: u32) -> Self {
        let n = (max_delay as usize + 2).next_power_of_two();
        Calendar { buckets: vec![Vec::new(); n], mask: n as u64 - 1 }
    }

    pub fn clear(&mut self) {
        self.buckets.iter_mut().for_each(Vec::clear);
    }

    /// Enter a spike stamped `stamp` (in steps). Segments due at or before `done` are passed over (they were served before a
    /// checkpoint).
    pub fn enter(&mut self, table: &Table, id: u32, stamp: u64, elapsed: u32, done: u64) {
        let row = table.row[id as usize];
        if row == NO_ROW {
            return;
        }
        let (mut at, mut due) = (row, stamp);
        loop {
            match next_segment(table, at, due) {
                None => return,
                Some((position, when)) if when > done => {
                    self.buckets[(when & self.mask) as usize].push(Due { at: position, elapsed, stamp: stamp as u32 });
                    return;
                }
                Some((position, when)) => {
                    let (count, group, _) = split(word(table, position));
                    at = position + 1 + table.groups[group as usize].form.words(count as usize) as u64;
                    due = when;
                }
            }
        }
    }

    /// Serve every segment due at `now`. Returns the number of synaptic events.
    pub fn serve(&mut self, table: &mut Table, codes: &mut [SynapseCode], acc: &mut [i32], now: u64) -> u64 {
        let slot = (now & self.mask) as usize;
        let mut due = std::mem::take(&mut self.buckets[slot]);
        let mut events = 0;
        let coded = !table.dynamics.is_empty();
        for i in 0..due.len() {
            if let Some(ahead) = due.get(i + 6) {
                prefetch(table, ahead.at);
            }
            if coded && let Some(ahead) = due.get(i + 2) {
                prefetch_synapses(table, ahead.at);
            }
            events += self.walk(table, codes, acc, due[i], now);
        }
        due.clear();
        self.buckets[slot] = due;
        events
    }

    /// Serve the segments of one row that are due now, then file the row under its next delay.
    #[inline]
    fn walk(&mut self, table: &mut Table, codes: &mut [SynapseCode], acc: &mut [i32], due: Due, now: u64) -> u64 {
        let shard = (due.at >> 32) as usize;
        let mut at = due.at as u32 as usize;
        let mut events = 0;
        loop {
            let words = &table.shards[shard];
            let (count, group, _) = split(words[at]);
            let (count, group) = (count as usize, table.groups[group as usize]);
            at += 1;
            match group.form {
                Form::Narrow => {
                    let window = &mut acc[group.base as usize..];
                    add_narrow(&words[at..at + count], window);
                    at += count;
                }
                Form::Wide => {
                    for pair in words[at..at + 2 * count].chunks_exact(2) {
                        acc[pair[0] as usize] += pair[1] as i32;
                    }
                    at += 2 * count;
                }
                Form::Dynamic(which) => {
                    let (first, targets) = (words[at] as usize, at + 1..at + 1 + count);
                    at += 1 + count;
                    let synapses = &mut table.dynamics[which as usize];
                    match &mut codes[which as usize] {
                        SynapseCode::Dynamic(kernel) => kernel.transmit(synapses, &words[targets], first, due.elapsed, acc),
                        SynapseCode::Plastic(kernel) => {
                            let delay = (now as u32).wrapping_sub(due.stamp) as u64;
                            let arrival = Arrival { stamp: now - delay, delay, elapsed: due.elapsed };
                            kernel.transmit(synapses, &words[targets], first, arrival, acc);
                        }
                    }
                }
            }
            events += count as u64 * !group.further as u64;
            match next_segment(table, (shard as u64) << 32 | at as u64, now) {
                None => return events,
                Some((position, when)) if when == now => at = position as u32 as usize,
                Some((position, when)) => {
                    self.buckets[(when & self.mask) as usize].push(Due { at: position, ..due });
                    return events;
                }
            }
        }
    }
}

/// A volley of graded spikes, all of one moment: each synapse of a source adds its weight times the source's amplitude to the accumulator
/// of its target, whatever its delay. Synapses with dynamics transmit nothing here. Returns the number of synaptic events.
pub fn volley(table: &Table, spikes: &[(u32, i32)], acc: &mut [i32]) -> u64 {
    let mut events = 0;
    for (i, (id, amplitude)) in spikes.iter().enumerate() {
        if let Some((ahead, _)) = spikes.get(i + 4)
            && table.row[*ahead as usize] != NO_ROW
        {
            prefetch(table, table.row[*ahead as usize]);
        }
        let row = table.row[*id as usize];
        let mut next = if row == NO_ROW { None } else { next_segment(table, row, 0) };
        while let Some((at, when)) = next {
            let (count, group, _) = split(word(table, at));
            let (count, group) = (count as usize, table.groups[group as usize]);
            let words = &table.shards[(at >> 32) as usize][at as u32 as usize + 1..][..group.form.words(count)];
            match group.form {
                Form::Narrow => {
                    let window = &mut acc[group.base as usize..];
                    for &synapse in words {
                        window[(synapse & 0xffff) as usize] += (synapse as i32 >> 16) * amplitude;
                    }
                }
                Form::Wide => words.chunks_exact(2).for_each(|pair| acc[pair[0] as usize] += pair[1] as i32 * amplitude),
                Form::Dynamic(_) => {}
            }
            if !matches!(group.form, Form::Dynamic(_)) {
                events += count as u64 * !group.further as u64;
            }
            next = next_segment(table, at + 1 + words.len() as u64, when);
        }
    }
    events
}

/// The next segment with synapses at or after `at`, whose predecessor was due at `due`: (position of its header, when due).
#[inline(always)]
fn next_segment(table: &Table, mut at: u64, mut due: u64) -> Option<(u64, u64)> {
    loop {
        let (count, _, step) = split(word(table, at));
        due += step as u64;
        if count > 0 {
            return Some((at, due));
        }
        if step == 0 {
            return None;
        }
        at += 1;
    }
}

#[inline(always)]
fn word(table: &Table, at: u64) -> u32 {
    table.shards[(at >> 32) as usize][at as u32 as usize]
}

/// Scatter-add of packed synapses. The window starts at the group's base.
#[inline]
fn add_narrow(synapses: &[u32], window: &mut [i32]) {
    if window.len() > 0xffff {
        for &synapse in synapses {
            // SAFETY: the address is the low 16 bits, and the window is longer than any 16-bit address.
            unsafe { *window.get_unchecked_mut((synapse & 0xffff) as usize) += synapse as i32 >> 16 };
        }
    } else {
        for &synapse in synapses {
            window[(synapse & 0xffff) as usize] += synapse as i32 >> 16;
        }
    }
}

#[inline(always)]
fn prefetch(table: &Table, at: u64) {
    #[cfg(target_arch = "x86_64")]
    {
        let words = &table.shards[(at >> 32) as usize];
        let start = at as u32 as usize;
        for line in 0..2 {
            if let Some(word) = words.get(start + 16 * line) {
                // SAFETY: a prefetch of an address inside the slice has no effect but on the cache.
                unsafe { std::arch::x86_64::_mm_prefetch(word as *const u32 as *const i8, std::arch::x86_64::_MM_HINT_T0) };
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (table, at);
}

/// The begin of what belongs to a segment of synapses with code: the processor foresees the rest by itself.
#[inline(always)]
fn prefetch_synapses(table: &Table, at: u64) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        const LINES: usize = 6;
        let (words, at) = (&table.shards[(at >> 32) as usize], at as u32 as usize);
        let (count, group, _) = split(words[at]);
        let Form::Dynamic(which) = table.groups[group as usize].form else { return };
        let (first, synapses) = (words[at + 1] as usize, &table.dynamics[which as usize]);
        for line in 0..LINES.min((count as usize).div_ceil(16)) {
            let index = first + 16 * line;
            // SAFETY: a prefetch has no effect but on the cache, wherever it points.
            unsafe {
                _mm_prefetch(words.as_ptr().wrapping_add(at + 16 * line) as *const i8, _MM_HINT_T1);
                _mm_prefetch(synapses.weight.as_ptr().wrapping_add(index) as *const i8, _MM_HINT_T1);
                for state in &synapses.states {
                    _mm_prefetch(state.as_ptr().wrapping_add(index) as *const i8, _MM_HINT_T1);
                }
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (table, at);
}

/// What runs when a spike reaches synapses with code.
pub enum SynapseCode {
    Dynamic(DynamicKernel),
    Plastic(Box<PlasticKernel>),
}

impl SynapseCode {
    pub fn plastic(&mut self) -> Option<&mut PlasticKernel> {
        match self {
            SynapseCode::Plastic(kernel) => Some(kernel),
            SynapseCode::Dynamic(_) => None,
        }
    }

    /// What adds to the sums.
    pub fn adder(&mut self) -> &mut Adder {
        match self {
            SynapseCode::Plastic(kernel) => &mut kernel.adder,
            SynapseCode::Dynamic(kernel) => &mut kernel.adder,
        }
    }

    /// The most that it may transmit, where it did more, or transmitted what is not a number.
    pub fn beyond(&self) -> Option<f32> {
        let adder = match self {
            SynapseCode::Plastic(kernel) => &kernel.adder,
            SynapseCode::Dynamic(kernel) => &kernel.adder,
        };
        adder.failed.then_some(adder.limit)
    }
}

/// The code of one projection's synapses that have dynamics and keep their weight, with its constants.
pub struct DynamicKernel {
    pub kernel: Arc<dyn Kernel>,
    pub constants: Vec<Words>,
    /// ms
    pub dt: f64,
    pub scratch: Scratch,
    elapsed: Vec<f32>,
    psc: Vec<u32>,
    pub adder: Adder,
}

impl DynamicKernel {
    pub fn new(kernel: Arc<dyn Kernel>, constants: Vec<Words>, dt: f64, adder: Adder) -> Self {
        let (elapsed, psc) = (vec![0.0; BLOCK], vec![0; BLOCK]);
        DynamicKernel { kernel, constants, dt, scratch: Scratch::default(), elapsed, psc, adder }
    }

    /// Run `on_pre` for synapses `first ..` and add what they transmit.
    fn transmit(&mut self, synapses: &mut Dynamic, targets: &[u32], mut first: usize, elapsed: u32, acc: &mut [i32]) {
        for targets in targets.chunks(BLOCK) {
            let n = targets.len();
            self.run(synapses, first, n, elapsed);
            self.adder.add(&self.psc[..n], targets, acc);
            first += n;
        }
    }

    /// The synapses from the sources of the projection as they are now: a copy of each has seen the spikes that are on their way.
    pub fn read(&mut self, table: &Table, entry: u32, sources: Range<u32>, served: &Served) -> Dynamic {
        let mut read = table.dynamics[entry as usize].copy(true);
        for_segments(table.streams(), entry, sources, |id, delay, first, targets| {
            let (mut last, flying) = served.split(id, delay);
            for &(_, stamp) in flying {
                let elapsed = if last == u64::MAX { NEVER } else { (stamp - last).min(NEVER as u64 - 1) as u32 };
                for at in (0..targets.len()).step_by(BLOCK) {
                    self.run(&mut read, first + at, BLOCK.min(targets.len() - at), elapsed);
                }
                last = stamp;
            }
        });
        read
    }

    /// `on_pre` of the n <= BLOCK synapses from `first` on, `elapsed` steps after the source's spike before; what they transmit is in
    /// `psc`.
    fn run(&mut self, synapses: &mut Dynamic, first: usize, n: usize, elapsed: u32) {
        let elapsed = if elapsed == NEVER { f32::INFINITY } else { (elapsed as f64 * self.dt) as f32 };
        self.elapsed.fill(elapsed);
        let mut constants = [Operand::Uniform(0); MAX_CONSTANTS];
        for (slot, value) in constants.iter_mut().zip(&self.constants) {
            *slot = Operand::Uniform(value.get(0));
        }
        let used = synapses.states.len();
        let mut arrays = synapses.states.iter_mut();
        let mut states: [&mut [u32]; MAX_STATES] =
            std::array::from_fn(|_| arrays.next().map_or(&mut [][..], |a| &mut a[first..first + n]));
        self.kernel.run(
            &mut Lanes {
                n,
                constants: &constants[..self.constants.len()],
                states: &mut states[..used],
                inputs: &[&synapses.weight[first..first + n], &self.elapsed[..n]],
                output: &mut self.psc[..n],
            },
            1,
            &mut self.scratch,
        );
    }
}
