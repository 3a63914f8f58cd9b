//! Synapses whose weight changes, on the CPU: the recent spikes of their targets, and the code that runs over a segment when a spike
//! of its source arrives. Promises NEST's order (potentiate for every spike of the target since the source's last one, depress,
//! transmit; the whole delay is dendritic), and bits that do not depend on how targets are divided among threads.

use super::deliver::{MAX_CONSTANTS, MAX_STATES, for_segments};
use crate::engine::NEVER;
use crate::error::{Error, Result};
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::model::program::{Op, Part, Slot};
use crate::model::{MAX_TRACES, math};
use crate::network::quantum::reachable;
use crate::network::table::{Block, Dynamic, Table};
use crate::network::{Network, SynapseInstance};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Steps between two searches for what may be forgotten.
pub const PERIOD: u64 = crate::network::memory::HISTORY_STEPS;

/// The spikes of one neuron that some synapse onto it may still ask for, and one before them.
#[derive(Clone, Default)]
struct Past {
    stamps: Vec<u64>,
    /// Traces just after each of them, `taus` values a spike.
    after: Vec<f32>,
}

impl Past {
    /// How many of the spikes are stamped `last` at most. Those asked for are nearly always among the latest.
    #[inline]
    fn until(&self, last: u64) -> usize {
        let n = self.stamps.len();
        for k in 0..n.min(8) {
            if self.stamps[n - 1 - k] <= last {
                return n - k;
            }
        }
        self.stamps[..n - n.min(8)].partition_point(|s| *s <= last)
    }
}

/// Recent spikes of the owned neurons of a population onto which plastic synapses of one projection project.
#[derive(Clone, Default)]
pub struct History {
    /// Time constants of the traces, in steps.
    taus: Vec<f64>,
    neurons: Vec<Past>,
}

/// Which spikes of each source have been served, between two steps.
pub struct Served {
    /// By global id: stamp of the last spike that all synapses have seen (u64::MAX: none yet).
    last: Vec<u64>,
    /// (id, stamp) of those after it, sorted.
    flying: Vec<(u32, u64)>,
    now: u64,
    /// All spikes stamped so, or earlier, have been served.
    until: u64,
}

impl Served {
    /// From each source's last spike, and those that may be on their way: (stamp, id, elapsed), by stamp.
    pub fn new<'a>(
        last: &[u64],
        recent: impl DoubleEndedIterator<Item = &'a (u64, u32, u32)>,
        now: u64,
        max_delay: u64,
    ) -> Served {
        let (mut last, mut flying) = (last.to_vec(), Vec::new());
        for &(stamp, id, elapsed) in recent.rev() {
            last[id as usize] = if elapsed == NEVER { u64::MAX } else { stamp - elapsed as u64 };
            flying.push((id, stamp));
        }
        flying.sort_unstable();
        Served { last, flying, now, until: now.saturating_sub(max_delay) }
    }

    /// Stamp of the last spike of a source that its synapses of a delay have seen (u64::MAX: none).
    fn by(&self, id: u32, delay: u64) -> u64 {
        let arrived = self.flying.partition_point(|&f| f <= (id, self.now.saturating_sub(delay)));
        self.flying[..arrived].last().filter(|f| f.0 == id).map_or(self.last[id as usize], |f| f.1)
    }
}

/// Time constants of a rule's traces that add up, in steps (None: only the nearest spike counts), and their rates per ms.
fn traces(synapse: &SynapseInstance, dt: f64) -> Result<Vec<(Option<f64>, f32)>> {
    let list = synapse.model.plasticity.iter().flat_map(|p| &p.traces);
    list.map(|trace| {
        let tau = synapse.evaluate(&trace.tau)?;
        if !(tau > 0.0 && tau.is_finite()) {
            return Err(Error::input(
                format!("{}: the time constant of `{}` is {tau} ms", synapse.model.name, trace.name),
                format!("give {} a value above 0 ms", trace.tau.text),
            ));
        }
        Ok(((!trace.nearest).then_some(tau / dt), (1.0 / tau) as f32))
    })
    .collect()
}

impl History {
    /// An owned neuron has spiked.
    pub fn push(&mut self, local: usize, stamp: u64) {
        let past = &mut self.neurons[local];
        let before = past.after.len().saturating_sub(self.taus.len());
        for (t, tau) in self.taus.iter().enumerate() {
            let decayed =
                past.stamps.last().map_or(0.0, |last| past.after[before + t] as f64 * (-((stamp - last) as f64) / tau).exp());
            past.after.push((decayed + 1.0) as f32);
        }
        past.stamps.push(stamp);
    }

    /// What was stamped before `last` is not asked for again, but for the spike that traces start from.
    fn forget(&mut self, last: u64) {
        for past in &mut self.neurons {
            let gone = past.until(last).saturating_sub(1);
            past.stamps.drain(..gone);
            past.after.drain(..gone * self.taus.len());
        }
    }

    /// For each owned neuron the number of its spikes, and of each the stamp and the traces.
    fn store(&self, flat: &mut Vec<u64>) {
        for past in &self.neurons {
            flat.push(past.stamps.len() as u64);
            for (k, stamp) in past.stamps.iter().enumerate() {
                flat.push(*stamp);
                let after = &past.after[k * self.taus.len()..(k + 1) * self.taus.len()];
                flat.extend(after.iter().map(|x| x.to_bits() as u64));
            }
        }
    }

    /// Take up the neurons `owned` of what was stored for `n`.
    fn restore(&mut self, words: &mut impl Iterator<Item = u64>, n: u64, owned: Range<u64>) -> Option<()> {
        for local in 0..n {
            let mut past = Past::default();
            for _ in 0..words.next()? {
                past.stamps.push(words.next()?);
                for _ in 0..self.taus.len() {
                    past.after.push(f32::from_bits(words.next()? as u32));
                }
            }
            if past.stamps.windows(2).any(|s| s[0] >= s[1]) {
                return None;
            }
            if owned.contains(&local) {
                self.neurons[(local - owned.start) as usize] = past;
            }
        }
        Some(())
    }
}

/// When a projection did not learn, last: the target's spikes emitted and the source's spikes served meanwhile do not count.
#[derive(Clone, Default)]
struct Pause {
    /// Last step of it; u64::MAX while it lasts, 0 before the first.
    end: u64,
    /// For each segment of synapses the index of its first and the stamp of the last spike that counts (u64::MAX: none).
    last: Vec<(u32, u64)>,
}

impl Pause {
    /// The last spike that counts for the synapses from `first` on, of which `last` is the last that they have seen.
    #[inline]
    fn counted(&self, first: usize, delay: u64, last: u64) -> u64 {
        if self.end == 0 || last == u64::MAX || last + delay > self.end { last } else { self.before(first) }
    }

    fn before(&self, first: usize) -> u64 {
        self.last.binary_search_by_key(&(first as u32), |l| l.0).map_or(u64::MAX, |at| self.last[at].1)
    }
}

/// A spike of a source as it reaches a segment.
#[derive(Clone, Copy)]
pub struct Arrival {
    /// When it was emitted, and how long ago, in steps.
    pub stamp: u64,
    pub delay: u64,
    /// Steps from the source's previous spike; u32::MAX for its first.
    pub elapsed: u32,
}

/// A trace as one rule reads it.
#[derive(Clone, Copy)]
struct Read {
    /// Among the history's; None where only the nearest spike counts.
    slot: Option<usize>,
    /// per ms
    rate: f32,
}

/// The spikes of one lane's target that count: those since the source's last spike, and the number before this one.
#[derive(Clone, Copy, Default)]
struct Span {
    lane: u32,
    local: u32,
    next: u32,
    end: u32,
    before: u32,
}

/// The code of one projection's plastic synapses, with its constants and scratch.
pub struct PlasticKernel {
    pub projection: usize,
    on_pre: Arc<dyn Kernel>,
    on_post: Option<Arc<dyn Kernel>>,
    /// `on_post` reads more than `elapsed` and `since_pre`.
    post_looks_back: bool,
    constants: Vec<u32>,
    dt: f64,
    /// Population of the targets, and global ids of the sources.
    pub target: usize,
    sources: Range<u32>,
    history: History,
    /// Every event up to here on the synapses' clock has been seen by all of them.
    flushed: u64,
    pause: Pause,
    /// Accumulator of the first owned neuron of the target population.
    base: u32,
    reads: Vec<Read>,
    /// Largest weight, with its sign.
    bound: f32,
    /// Nothing larger is transmitted: the sum of all inputs has been bounded by it.
    limit: f32,
    /// A weight or what it transmits has left its bound, or is no number.
    pub failed: bool,
    spans: Vec<Span>,
    active: Vec<Span>,
    /// `elapsed`, `since_pre`, `since_post`, then the traces.
    inputs: Vec<Vec<f32>>,
    /// The weight, then the states.
    states: Vec<Vec<u32>>,
    /// The same of the lanes in a round of `on_post`.
    packed: Vec<Vec<u32>>,
    psc: Vec<u32>,
    scratch: Scratch,
}

impl PlasticKernel {
    /// None for a synapse that keeps its weight.
    pub fn new(net: &Network, block: &Block, dynamic: &Dynamic) -> Result<Option<PlasticKernel>> {
        let projection = &net.projections[dynamic.projection as usize];
        let synapse = &projection.synapse;
        let (Some(_), Some(on_pre)) = (&synapse.model.plasticity, synapse.model.kernel()) else { return Ok(None) };
        let constants: Vec<u32> = synapse.constants().iter().map(|c| c.get(0)).collect();
        if constants.len() > MAX_CONSTANTS || synapse.model.states.len() > MAX_STATES {
            return Err(Error::input(
                format!("{} has more than {MAX_STATES} states or reads more than {MAX_CONSTANTS} constants", synapse.model.name),
                "make the model smaller",
            ));
        }
        let traces = traces(synapse, net.dt)?;
        let mut taus: Vec<f64> = Vec::new();
        for tau in traces.iter().filter_map(|t| t.0) {
            if !taus.contains(&tau) {
                taus.push(tau);
            }
        }
        let slot = |tau: f64| taus.iter().position(|t| *t == tau);
        let reads: Vec<Read> = traces.into_iter().map(|(tau, rate)| Read { slot: tau.and_then(slot), rate }).collect();
        let columns = crate::model::Plasticity::INPUTS.len() + reads.len();
        let post = synapse.model.plasticity.as_ref().and_then(|p| p.on_post.as_ref());
        let beyond = |op: &Op| matches!(op, Op::Input(i) if *i >= 2);
        if post.is_some_and(|p| changes_by(&p.update, 0)) {
            return Err(Error::input(
                format!("on_post of {} reads `elapsed`, which is known only when the source spikes again", synapse.model.name),
                "read since_pre there, or elapsed in on_pre",
            ));
        }
        let source = &net.populations[projection.source];
        Ok(Some(PlasticKernel {
            on_pre,
            post_looks_back: post.is_some_and(|p| p.update.ops.iter().any(beyond)),
            on_post: synapse.model.post_kernel(),
            constants,
            dt: net.dt,
            projection: dynamic.projection as usize,
            target: projection.target,
            sources: source.first..source.first + source.n,
            history: History { taus, neurons: vec![Past::default(); block.slices[projection.target].len()] },
            flushed: 0,
            pause: Pause::default(),
            base: dynamic.port * block.stride + block.offset[projection.target],
            reads,
            bound: synapse.bound()?.unwrap_or(0.0) as f32,
            limit: reachable(projection)?.0.bound() as f32,
            failed: false,
            spans: Vec::with_capacity(BLOCK),
            active: Vec::with_capacity(BLOCK),
            inputs: vec![vec![0.0; BLOCK]; columns],
            states: vec![vec![0; BLOCK]; 1 + synapse.model.states.len()],
            packed: vec![vec![0; BLOCK]; 1 + synapse.model.states.len()],
            psc: vec![0; BLOCK],
            scratch: Scratch::default(),
        }))
    }

    /// For each segment the source, the delay, and the stamp of the last spike that counts from before the pause; empty without one.
    pub fn paused(&self, table: &Table, entry: u32) -> Vec<[u64; 3]> {
        let mut list = Vec::with_capacity(self.pause.last.len());
        if !self.pause.last.is_empty() {
            for_segments(table.streams(), entry, self.sources.clone(), |id, delay, first, _| {
                list.push([id as u64, delay, self.pause.before(first)]);
            });
        }
        list
    }

    /// What [`PlasticKernel::restore`] takes up, the same for any division of the targets: each kernel is that of one block, with
    /// what [`PlasticKernel::paused`] says of it.
    pub fn record(kernels: &[&PlasticKernel], mut paused: Vec<[u64; 3]>, flat: &mut Vec<u64>) {
        let Some(first) = kernels.first() else { return };
        paused.sort_unstable();
        paused.dedup();
        let n: usize = kernels.iter().map(|k| k.history.neurons.len()).sum();
        flat.extend([first.projection as u64, first.history.taus.len() as u64, n as u64]);
        flat.extend([first.flushed, first.pause.end, paused.len() as u64]);
        flat.extend(paused.as_flattened());
        kernels.iter().for_each(|k| k.history.store(flat));
    }

    /// Take up the part of what was recorded that belongs to the neurons `owned` of the target population. None if it does not fit.
    pub fn restore(&mut self, words: &mut impl Iterator<Item = u64>, owned: Range<u32>, table: &Table, entry: u32) -> Option<()> {
        let mut word = || words.next();
        if [word()?, word()?] != [self.projection as u64, self.history.taus.len() as u64] {
            return None;
        }
        let n = word()?;
        (self.flushed, self.pause.end) = (word()?, word()?);
        let mut paused = BTreeMap::new();
        for _ in 0..word()? {
            paused.insert((word()?, word()?), word()?);
        }
        self.pause.last.clear();
        if !paused.is_empty() {
            let last = &mut self.pause.last;
            for_segments(table.streams(), entry, self.sources.clone(), |id, delay, first, _| {
                last.push((first as u32, paused.get(&(id as u64, delay)).copied().unwrap_or(u64::MAX)));
            });
        }
        self.history.restore(words, n, owned.start as u64..owned.end as u64)
    }

    pub fn limit(&self) -> f32 {
        self.limit
    }

    /// An owned neuron of the target population has spiked.
    pub fn push(&mut self, local: usize, stamp: u64) {
        if self.learns() {
            self.history.push(local, stamp);
        }
    }

    pub fn learns(&self) -> bool {
        self.pause.end != u64::MAX
    }

    /// Learning goes on, or stops, between two steps.
    pub fn set_learning(&mut self, on: bool, table: &Table, entry: u32, served: &Served) {
        if on && !self.learns() {
            self.pause.end = served.now;
        } else if !on && self.learns() {
            let mut last = Vec::new();
            let pause = &self.pause;
            for_segments(table.streams(), entry, self.sources.clone(), |id, delay, first, _| {
                last.push((first as u32, pause.counted(first, delay, served.by(id, delay))));
            });
            self.pause = Pause { end: u64::MAX, last };
        }
    }

    /// Let all synapses see every event on their clock up to the stamp that all spikes of sources have been served to. What a
    /// synapse sees, and in which order, is what it would see later.
    pub fn flush(&mut self, table: &mut Table, entry: u32, served: &Served, max_delay: u64) {
        let until = served.until;
        if !self.learns() || until <= self.flushed {
            return;
        }
        let (streams, dynamics) = table.split();
        let synapses = &mut dynamics[entry as usize];
        for_segments(streams, entry, self.sources.clone(), |id, delay, first, targets| {
            let last = since_start(self.pause.counted(first, delay, served.by(id, delay)));
            if last < until {
                for (chunk, targets) in targets.chunks(BLOCK).enumerate() {
                    let first = first + chunk * BLOCK;
                    self.load(synapses, first, targets.len());
                    self.look(targets, delay, last, until);
                    self.potentiate(delay, last);
                    self.store(synapses, first, targets.len());
                }
            }
        });
        self.flushed = until;
        self.history.forget(until.saturating_sub(max_delay));
    }

    /// The sum of the weights onto each owned target.
    pub fn sums(&self, table: &Table, entry: u32) -> Vec<f64> {
        let mut sums = vec![0.0; self.history.neurons.len()];
        let weight = &table.dynamics[entry as usize].weight;
        for_segments(table.streams(), entry, self.sources.clone(), |_, _, first, targets| {
            for (&target, &w) in targets.iter().zip(&weight[first..]) {
                sums[(target - self.base) as usize] += w as f64;
            }
        });
        sums
    }

    /// Multiply the weights onto each owned target by its factor, within the rule's bound.
    pub fn scale(&self, table: &mut Table, entry: u32, factors: &[f64]) {
        let (streams, dynamics) = table.split();
        let weight = &mut dynamics[entry as usize].weight;
        let (low, high) = (self.bound.min(0.0), self.bound.max(0.0));
        for_segments(streams, entry, self.sources.clone(), |_, _, first, targets| {
            for (&target, w) in targets.iter().zip(&mut weight[first..]) {
                *w = ((*w as f64 * factors[(target - self.base) as usize]) as f32).clamp(low, high);
            }
        });
    }

    /// Bring synapses `first ..` up to date, let them see this spike, and add what they transmit.
    pub fn transmit(&mut self, synapses: &mut Dynamic, targets: &[u32], mut first: usize, arrival: Arrival, acc: &mut [i32]) {
        let inverse = 1.0 / synapses.quantum;
        let Arrival { stamp, delay, elapsed } = arrival;
        let last = if elapsed == NEVER { u64::MAX } else { stamp - elapsed as u64 };
        let last = self.pause.counted(first, delay, last);
        for targets in targets.chunks(BLOCK) {
            if self.learns() {
                self.learn(synapses, targets, first, stamp, delay, last);
            } else {
                self.psc.iter_mut().zip(&synapses.weight[first..first + targets.len()]).for_each(|(p, w)| *p = w.to_bits());
            }
            for (&target, &psc) in targets.iter().zip(&self.psc) {
                let psc = f32::from_bits(psc);
                let within = psc.abs() <= self.limit;
                self.failed |= !within;
                acc[target as usize] += if within { (psc * inverse).round_ties_even() as i32 } else { 0 };
            }
            first += targets.len();
        }
    }

    /// What the spike stamped `stamp` of a source that spiked `last` (u64::MAX: never) does to synapses `first ..`.
    fn learn(&mut self, synapses: &mut Dynamic, targets: &[u32], first: usize, stamp: u64, delay: u64, last: u64) {
        let n = targets.len();
        let start = since_start(last);
        self.load(synapses, first, n);
        self.look(targets, delay, start, stamp);
        self.potentiate(delay, start);
        let since_pre = self.ms(stamp - start);
        self.inputs[0][..n].fill(if last == u64::MAX { f32::INFINITY } else { since_pre });
        self.inputs[1][..n].fill(since_pre);
        let spans = std::mem::take(&mut self.spans);
        self.look_back(&spans, |span, _| (span.before as usize, stamp.saturating_sub(delay)));
        self.spans = spans;
        run(&*self.on_pre, n, &self.constants, &mut self.states, &self.inputs, &mut self.psc, &mut self.scratch);
        self.store(synapses, first, n);
    }

    fn load(&mut self, synapses: &Dynamic, first: usize, n: usize) {
        for (word, w) in self.states[0].iter_mut().zip(&synapses.weight[first..first + n]) {
            *word = w.to_bits();
        }
        for (copy, state) in self.states[1..].iter_mut().zip(&synapses.states) {
            copy[..n].copy_from_slice(&state[first..first + n]);
        }
    }

    fn store(&self, synapses: &mut Dynamic, first: usize, n: usize) {
        for (w, word) in synapses.weight[first..first + n].iter_mut().zip(&self.states[0]) {
            *w = f32::from_bits(*word);
        }
        for (copy, state) in self.states[1..].iter().zip(&mut synapses.states) {
            state[first..first + n].copy_from_slice(&copy[..n]);
        }
    }

    /// The spikes of each target that reach its synapse after `last` (and were not seen before), and at `stamp` at the latest.
    fn look(&mut self, targets: &[u32], delay: u64, last: u64, stamp: u64) {
        let from = last.max(self.flushed).saturating_sub(delay);
        self.spans.clear();
        for (lane, &target) in (0u32..).zip(targets) {
            let past = &self.history.neurons[(target - self.base) as usize];
            let end = past.until(stamp.saturating_sub(delay)) as u32;
            let at_once = end > 0 && past.stamps[end as usize - 1] + delay == stamp;
            let next = past.until(from) as u32;
            self.spans.push(Span { lane, local: target - self.base, next, end, before: end - at_once as u32 });
        }
    }

    #[inline(always)]
    fn ms(&self, steps: u64) -> f32 {
        (steps as f64 * self.dt) as f32
    }

    /// `on_post` for every spike of the targets in their spans: the first of all lanes that have one, then the second, ...
    fn potentiate(&mut self, delay: u64, last: u64) {
        let Some(on_post) = self.on_post.clone() else { return };
        let mut active = std::mem::take(&mut self.active);
        active.clear();
        active.extend(self.spans.iter().filter(|s| s.next < s.end));
        while !active.is_empty() {
            let m = active.len();
            for (some, all) in self.packed.iter_mut().zip(&self.states) {
                some.iter_mut().zip(&active).for_each(|(x, span)| *x = all[span.lane as usize]);
            }
            for (k, span) in active.iter().enumerate() {
                let at = self.history.neurons[span.local as usize].stamps[span.next as usize];
                self.inputs[1][k] = self.ms(at + delay - last);
            }
            if self.post_looks_back {
                self.look_back(&active, |span, past| (span.next as usize, past.stamps[span.next as usize]));
            }
            run(&*on_post, m, &self.constants, &mut self.packed, &self.inputs, &mut self.psc, &mut self.scratch);
            for (some, all) in self.packed.iter().zip(&mut self.states) {
                some.iter().zip(&active).for_each(|(x, span)| all[span.lane as usize] = *x);
            }
            active.iter_mut().for_each(|s| s.next += 1);
            active.retain(|s| s.next < s.end);
        }
        self.active = active;
    }

    /// `since_post` and the traces of each lane, at `(spikes before, time on the target's clock)` as `event` says.
    fn look_back(&mut self, spans: &[Span], event: impl Fn(&Span, &Past) -> (usize, u64)) {
        let (n, history) = (spans.len(), &self.history);
        let (head, traces) = self.inputs.split_at_mut(3);
        let since = &mut head[2][..n];
        let taus = history.taus.len();
        let mut after: [&mut [f32]; MAX_TRACES] = Default::default();
        for (column, trace) in after.iter_mut().zip(traces.iter_mut()) {
            *column = &mut trace[..n];
        }
        for (k, span) in spans.iter().enumerate() {
            let past = &history.neurons[span.local as usize];
            let (before, at) = event(span, past);
            if before == 0 {
                since[k] = f32::INFINITY;
                after[..self.reads.len()].iter_mut().for_each(|a| a[k] = 0.0);
                continue;
            }
            since[k] = ((at - past.stamps[before - 1]) as f64 * self.dt) as f32;
            for (a, read) in after.iter_mut().zip(&self.reads) {
                a[k] = read.slot.map_or(1.0, |slot| past.after[(before - 1) * taus + slot]);
            }
        }
        for (a, read) in after.iter_mut().zip(&self.reads) {
            let decayed = |(a, s): (&mut f32, &f32)| *a *= math::exp(-s * read.rate);
            a.iter_mut().zip(since.iter()).for_each(decayed);
        }
    }
}

/// Whether what a part stores in states depends on an input.
fn changes_by(part: &Part, input: u32) -> bool {
    let stores = part.stores.iter().copied().filter(|(slot, _)| *slot != Slot::Output).collect();
    Part { ops: part.ops.clone(), stores }.without_dead_code().ops.contains(&Op::Input(input))
}

/// A source starts as if it had spiked at 0, as in NEST.
fn since_start(last: u64) -> u64 {
    if last == u64::MAX { 0 } else { last }
}

/// A kernel over the first n lanes.
fn run(
    kernel: &dyn Kernel,
    n: usize,
    constants: &[u32],
    states: &mut [Vec<u32>],
    inputs: &[Vec<f32>],
    output: &mut [u32],
    scratch: &mut Scratch,
) {
    let mut operands = [Operand::Uniform(0); MAX_CONSTANTS];
    operands.iter_mut().zip(constants).for_each(|(slot, word)| *slot = Operand::Uniform(*word));
    let used = states.len();
    let mut arrays = states.iter_mut();
    let mut states: [&mut [u32]; MAX_STATES + 1] = std::array::from_fn(|_| arrays.next().map_or(&mut [][..], |a| &mut a[..n]));
    let mut columns = inputs.iter();
    let columns: [&[f32]; 3 + MAX_TRACES] = std::array::from_fn(|_| columns.next().map_or(&[][..], |c| &c[..n]));
    let mut lanes = Lanes {
        n,
        constants: &operands[..constants.len()],
        states: &mut states[..used],
        inputs: &columns[..inputs.len()],
        output: &mut output[..n],
    };
    kernel.run(&mut lanes, 1, scratch);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        History { taus: vec![200.0], neurons: vec![Past::default()] }
    }

    /// What may still be asked for is kept, with its traces, and the spike before it.
    #[test]
    fn histories_keep_what_is_needed_and_no_more() {
        let (mut history, mut all) = (history(), Past::default());
        for now in 1..20_000u64 {
            if now % 20 == 0 {
                history.push(0, now);
                let last =
                    all.stamps.last().map_or(0.0, |s| *all.after.last().unwrap() as f64 * (-((now - s) as f64) / 200.0).exp());
                all.stamps.push(now);
                all.after.push((last + 1.0) as f32);
            }
            if now % 777 == 0 {
                history.forget(now - 100);
                let past = &history.neurons[0];
                let gone = all.stamps.len() - past.stamps.len();
                assert_eq!((&past.stamps[..], &past.after[..]), (&all.stamps[gone..], &all.after[gone..]));
                assert!(past.stamps[0] <= now - 100 && past.stamps[1] > now - 100, "at {now} the oldest is {}", past.stamps[0]);
            }
        }
    }

    #[test]
    fn spikes_are_counted_up_to_a_time() {
        let past = Past { stamps: (1..40).map(|k| 3 * k).collect(), after: vec![] };
        for last in 0..130 {
            assert_eq!(past.until(last), past.stamps.iter().filter(|s| **s <= last).count(), "{last}");
        }
    }

    #[test]
    fn histories_are_stored_and_restored_for_other_blocks() {
        let mut from = history();
        for stamp in [3, 50, 51] {
            from.push(0, stamp);
        }
        let mut flat = vec![];
        from.store(&mut flat);
        let one = flat.len();
        flat.extend([0, 1, 9, 1.0f32.to_bits() as u64]);
        let (mut first, mut last) = (history(), history());
        let restored = |h: &mut History, flat: &[u64], owned| h.restore(&mut flat.iter().copied(), 3, owned);
        assert!(restored(&mut first, &flat, 0..1).is_some() && restored(&mut last, &flat, 2..3).is_some());
        let mut again = vec![];
        first.store(&mut again);
        assert_eq!(again, flat[..one]);
        again.clear();
        last.store(&mut again);
        assert_eq!(again, flat[one + 1..]);
        for bad in 0..flat.len() {
            assert!(restored(&mut first, &flat[..bad], 0..1).is_none(), "cut at {bad}");
        }
    }

    #[test]
    fn what_has_been_served_depends_on_the_delay() {
        let recent = [(90, 1, NEVER), (95, 0, 45), (98, 1, 8), (99, 1, 1)];
        let served = Served::new(&[95, 99, 7, u64::MAX], recent.iter(), 100, 20);
        assert_eq!(served.until, 80);
        assert_eq!([1, 4, 5, 6].map(|d| served.by(0, d)), [95, 95, 95, 50]);
        assert_eq!([1, 2, 3, 10, 11].map(|d| served.by(1, d)), [99, 98, 90, 90, u64::MAX]);
        assert_eq!([served.by(2, 1), served.by(3, 1)], [7, u64::MAX]);
    }
}
