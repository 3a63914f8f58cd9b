//! Synapses whose weight changes, on the CPU: the recent spikes of their targets, and the code that runs over a segment when a spike
//! of its source arrives. Promises the order of the schedule (engine/mod.rs) and bits that do not depend on how targets are divided
//! among threads.

use super::digits::Adder;
use super::history::{FAR, Found, History, Stretch, Visits};
use super::lanes;
use super::segments::{MAX_CONSTANTS, MAX_STATES, for_segments};
use super::signals::{Jump, Jumps, Recent};
use crate::engine::NEVER;
use crate::engine::plasticity::{PlasticRule, Reads, column};
use crate::error::{Error, Result};
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::model::{MAX_POST_STATES, MAX_TRACES, Plasticity};
use crate::network::Network;
use crate::network::synapse_table::{Block, Dynamic, Table};
use crate::simd::{Level, level};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Inputs before the traces.
const HEAD: usize = Plasticity::INPUTS.len();

/// Steps between two searches for what may be forgotten.
pub const PERIOD: u64 = crate::network::footprint::HISTORY_STEPS;

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
        self.split(id, delay).0
    }

    /// The same, and the spikes of the source after it (id, stamp), which these synapses are still to see.
    pub fn split(&self, id: u32, delay: u64) -> (u64, &[(u32, u64)]) {
        let arrived = self.flying.partition_point(|&f| f <= (id, self.now.saturating_sub(delay)));
        let last = self.flying[..arrived].last().filter(|f| f.0 == id).map_or(self.last[id as usize], |f| f.1);
        let rest = &self.flying[arrived..];
        (last, &rest[..rest.partition_point(|f| f.0 == id)])
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
    /// Among the spans.
    index: u32,
    lane: u32,
    local: u32,
    next: u32,
    end: u32,
    before: u32,
}

/// An event of one lane's synapse.
#[derive(Clone, Copy)]
struct Moment {
    /// On the synapse's clock.
    time: u64,
    /// Spikes of the target that traces hold, and that were events of the synapse before this one.
    before: u32,
    prior: u32,
}

/// The code of one projection's plastic synapses, with its constants and scratch.
pub struct PlasticKernel {
    pub projection: usize,
    /// Steps after which a spike of the source counts at its synapses; one of the target counts after the rest of the delay.
    axonal: u64,
    on_pre: Arc<dyn Kernel>,
    on_post: Option<Arc<dyn Kernel>>,
    on_modulator: Option<Arc<dyn Kernel>>,
    on_read: Option<Arc<dyn Kernel>>,
    /// Which of the weight and the states `on_post` changes.
    changes: Vec<bool>,
    /// What `on_pre`, `on_post`, `on_modulator` and `on_read` read.
    wants: [Reads; 4],
    /// Jumps of the signal that the code reads.
    jumps: Option<Jumps>,
    /// Index of that signal.
    pub signal: Option<usize>,
    /// States of the targets, and which of them tells their events.
    recent: Recent,
    event: Option<usize>,
    constants: Vec<Operand<'static>>,
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
    /// Nothing larger than its limit is transmitted: the sum of all inputs has been bounded by that.
    pub adder: Adder,
    level: Level,
    /// A lane whose target's latest spike is older than the source's last needs no look at its past: `latest` says all.
    brief: bool,
    /// Of all lanes, or where it is brief of the others.
    spans: Vec<Span>,
    active: Vec<Span>,
    /// The lanes' targets are scattered: instead of spans there are visits.
    gathered: bool,
    visits: Box<Visits>,
    /// Lanes whose targets have more spikes.
    lanes: Vec<u32>,
    /// Those of [`Plasticity::INPUTS`], then the traces, then the states of the target.
    inputs: Vec<Vec<f32>>,
    /// Weights, then states, of the lanes in a round of `on_post`.
    packed: Vec<Vec<u32>>,
    psc: Vec<u32>,
    scratch: Scratch,
}

/// When a spike of a source stamped `stamp` (u64::MAX: none) counts at synapses that it reaches so many steps later.
fn counting_at(stamp: u64, axonal: u64) -> u64 {
    if stamp == u64::MAX { stamp } else { stamp + axonal }
}

impl PlasticKernel {
    /// None for a synapse that keeps its weight.
    pub fn new(net: &Network, block: &Block, dynamic: &Dynamic, max_delay: u32) -> Result<Option<PlasticKernel>> {
        let projection = &net.projections[dynamic.projection as usize];
        let synapse = &projection.synapse;
        let (Some(plasticity), Some(on_pre)) = (&synapse.model.plasticity, synapse.model.kernel()) else { return Ok(None) };
        let constants: Vec<_> = synapse.constants().iter().map(|c| Operand::Uniform(c.get(0))).collect();
        if constants.len() > MAX_CONSTANTS || synapse.model.states.len() > MAX_STATES {
            return Err(Error::input(
                format!("{} has more than {MAX_STATES} states or reads more than {MAX_CONSTANTS} constants", synapse.model.name),
                "make the model smaller",
            ));
        }
        let Some(rule) = PlasticRule::of(net, projection)? else { return Ok(None) };
        let kept = rule.taus();
        let reads = rule.traces.iter().map(|t| Read { slot: column(&kept, *t), rate: t.rate() }).collect();
        let taus: Vec<f64> = kept.iter().map(|tau| tau / net.dt).collect();
        let jumps = Jumps::new(net, projection);
        let owned = block.slices[projection.target].clone();
        let recent = Recent::new(net, projection, owned.clone(), max_delay)?;
        let (on_modulator, wants) =
            (synapse.model.modulator_kernel(), [rule.on_pre, rule.on_post, rule.on_modulator, rule.on_read]);
        let brief = on_modulator.is_none() && !wants[0].needs_every_event();
        let source = &net.populations[projection.source];
        Ok(Some(PlasticKernel {
            on_pre,
            on_post: synapse.model.post_kernel(),
            on_modulator,
            on_read: synapse.model.read_kernel(),
            changes: (0..=synapse.model.states.len()).map(|s| plasticity.on_post.as_ref().is_some_and(|p| p.writes(s))).collect(),
            wants,
            jumps,
            signal: projection.modulator,
            event: plasticity.post_event,
            constants,
            dt: net.dt,
            projection: dynamic.projection as usize,
            axonal: (projection.axonal / net.dt).round() as u64,
            target: projection.target,
            sources: source.first..source.first + source.n,
            history: History::new(taus.clone(), taus.len() + recent.len(), owned.len()),
            recent,
            flushed: 0,
            pause: Pause::default(),
            base: dynamic.port * block.stride + block.offset[projection.target],
            reads,
            bound: rule.bound as f32,
            adder: Adder::new(net, block, dynamic)?,
            level: level(),
            brief,
            gathered: false,
            visits: Visits::new(level(), net.dt),
            lanes: vec![0; BLOCK],
            spans: Vec::with_capacity(BLOCK),
            active: Vec::with_capacity(BLOCK),
            inputs: vec![vec![0.0; BLOCK]; plasticity.inputs()],
            packed: vec![vec![0; BLOCK]; 1 + synapse.model.states.len()],
            psc: vec![0; BLOCK],
            scratch: Scratch::default(),
        }))
    }

    /// On the clock of synapses of a delay: when a spike counts that its source emits at 0, and the delay of the target's spikes.
    fn shares(&self, delay: u64) -> [u64; 2] {
        [self.axonal, delay - self.axonal]
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
        flat.extend([first.projection as u64, first.history.width as u64, n as u64]);
        flat.extend([first.flushed, first.pause.end, paused.len() as u64]);
        flat.extend(paused.as_flattened());
        first.jumps.iter().for_each(|j| j.store(flat));
        kernels.iter().for_each(|k| k.history.store(flat));
        kernels.iter().for_each(|k| k.recent.store(flat));
    }

    /// Take up the part of what was recorded that belongs to the neurons `owned` of the target population. None if it does not fit.
    pub fn restore(&mut self, words: &mut impl Iterator<Item = u64>, owned: Range<u32>, table: &Table, entry: u32) -> Option<()> {
        let mut word = || words.next();
        if [word()?, word()?] != [self.projection as u64, self.history.width as u64] {
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
        if let Some(jumps) = &mut self.jumps {
            jumps.restore(words)?;
        }
        let owned = owned.start as u64..owned.end as u64;
        self.history.restore(words, n, owned.clone())?;
        self.history.renew(self.flushed);
        self.recent.restore(words, n, owned)
    }

    /// The step that ends at `stamp`: the states of the owned neurons of the target population, and which of them spiked.
    pub fn observe(&mut self, stamp: u64, states: &[Vec<u32>], spiked: impl Iterator<Item = usize>) {
        if !self.recent.is_empty() {
            self.recent.sample(stamp, states);
        }
        if !self.learns() {
            return;
        }
        let (history, recent) = (&mut self.history, &self.recent);
        let mut push = |local: usize| history.push(local, stamp, (0..recent.len()).map(|k| recent.at(stamp, k, local)));
        match self.event {
            None => spiked.for_each(push),
            Some(event) => (0..recent.neurons()).filter(|&i| recent.at(stamp, event, i) != 0.0).for_each(&mut push),
        }
    }

    /// The signal has jumped.
    pub fn modulate(&mut self, jump: Jump) {
        let counts = self.learns();
        if let Some(jumps) = &mut self.jumps {
            jumps.push(Jump { counts, ..jump });
        }
    }

    pub fn learns(&self) -> bool {
        self.pause.end != u64::MAX
    }

    /// Learning goes on, or stops, between two steps.
    pub fn set_learning(&mut self, on: bool, table: &Table, entry: u32, served: &Served) {
        if on && !self.learns() {
            self.pause.end = served.now;
            self.history.renew(served.now);
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
            let [axonal, dendritic] = self.shares(delay);
            let last = counting_at(self.pause.counted(first, delay, served.by(id, delay)), axonal);
            let (last, delay) = (since_start(last), dendritic);
            if last < until {
                for (chunk, targets) in targets.chunks(BLOCK).enumerate() {
                    let first = first + chunk * BLOCK;
                    self.gathered = self.brief && !lanes::contiguous(self.level, targets);
                    self.look(targets, delay, last, until);
                    if self.gathered || !self.spans.is_empty() {
                        self.catch_up(&mut Own::of(synapses, first, targets), delay, last, until);
                    }
                }
            }
        });
        self.flushed = until;
        self.history.forget(until.saturating_sub(max_delay));
        if let Some(jumps) = &mut self.jumps {
            jumps.forget(until);
        }
    }

    /// The weights, and `states` where asked for, as they are at the stamp `until`: everything up to there on the clock of each synapse is seen by a copy of it, the
    /// spikes of its source that are still on their way included. What stands in the table, and what will, does not depend on it.
    pub fn read(&mut self, table: &Table, entry: u32, served: &Served, until: u64, states: bool) -> Dynamic {
        let synapses = &table.dynamics[entry as usize];
        let mut read = synapses.copy(states);
        let mut copies = vec![vec![0; BLOCK]; 1 + synapses.states.len()];
        // `on_read` looks at every lane.
        let brief = self.brief;
        self.brief &= self.on_read.is_none();
        for_segments(table.streams(), entry, self.sources.clone(), |id, delay, first, targets| {
            let (last, flying) = served.split(id, delay);
            let [axonal, dendritic] = self.shares(delay);
            let last = counting_at(self.pause.counted(first, delay, last), axonal);
            let (delay, until) = (dendritic, until + axonal.min(dendritic) * (axonal > 0) as u64);
            let flying = if self.learns() { flying } else { &[] };
            for (chunk, targets) in targets.chunks(BLOCK).enumerate() {
                let n = targets.len();
                let own = first + chunk * BLOCK..first + chunk * BLOCK + n;
                copies[0].iter_mut().zip(&synapses.weight[own.clone()]).for_each(|(copy, w)| *copy = w.to_bits());
                for (copy, state) in copies[1..].iter_mut().zip(&synapses.states) {
                    copy[..n].copy_from_slice(&state[own.clone()]);
                }
                let mut words = copies.iter_mut().map(|copy| &mut copy[..n]);
                let words = std::array::from_fn(|_| words.next().unwrap_or_default());
                let mut copy = Own { targets, words, used: 1 + synapses.states.len() };
                self.gathered = self.brief && !lanes::contiguous(self.level, targets);
                let reached = flying.iter().map(|flying| flying.1 + axonal).take_while(|stamp| *stamp <= until);
                let seen = reached.fold(last, |last, stamp| {
                    self.learn(&mut copy, stamp, delay, last);
                    stamp
                });
                self.follow(&mut copy, delay, since_start(seen), until);
                read.weight[own.clone()].iter_mut().zip(&copies[0]).for_each(|(w, word)| *w = f32::from_bits(*word));
                for (state, copy) in read.states.iter_mut().zip(&copies[1..]) {
                    state[own.clone()].copy_from_slice(&copy[..n]);
                }
            }
        });
        self.brief = brief;
        read
    }

    /// Lets the lanes, whose source spiked at `last`, see all that happens until `until`, where nothing needs to happen.
    fn follow(&mut self, own: &mut Own, delay: u64, last: u64, until: u64) {
        if last >= until {
            return;
        }
        self.look(own.targets, delay, last, until);
        if self.gathered || !self.spans.is_empty() {
            self.catch_up(own, delay, last, until);
        }
        let Some(on_read) = self.on_read.clone() else { return };
        let (n, since) = (own.targets.len(), self.ms(until - last));
        [Plasticity::ELAPSED, Plasticity::SINCE_PRE].into_iter().for_each(|input| self.inputs[input][..n].fill(since));
        let spans = std::mem::take(&mut self.spans);
        self.look_back(3, &spans, delay, last, |span, _| Moment { time: until, before: span.end, prior: span.end });
        self.spans = spans;
        run(&*on_read, n, &self.constants, own.words(), &self.inputs, &mut self.psc, &mut self.scratch);
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
        let Arrival { stamp, delay, elapsed } = arrival;
        let last = if elapsed == NEVER { u64::MAX } else { stamp - elapsed as u64 };
        let [axonal, dendritic] = self.shares(delay);
        let last = counting_at(self.pause.counted(first, delay, last), axonal);
        let (stamp, delay) = (stamp + axonal, dendritic);
        for targets in targets.chunks(BLOCK) {
            if self.learns() {
                self.gathered = self.brief && !lanes::contiguous(self.level, targets);
                self.learn(&mut Own::of(synapses, first, targets), stamp, delay, last);
            } else {
                self.psc.iter_mut().zip(&synapses.weight[first..first + targets.len()]).for_each(|(p, w)| *p = w.to_bits());
            }
            let n = targets.len();
            self.adder.add(&self.psc[..n], targets, acc);
            first += n;
        }
    }

    /// What the spike stamped `stamp` of a source that spiked `last` (u64::MAX: never) does to some of its synapses.
    fn learn(&mut self, own: &mut Own, stamp: u64, delay: u64, last: u64) {
        let (targets, n) = (own.targets, own.targets.len());
        let start = since_start(last);
        self.look(targets, delay, start, stamp);
        self.catch_up(own, delay, start, stamp);
        let since_pre = self.ms(stamp - start);
        self.inputs[Plasticity::ELAPSED][..n].fill(if last == u64::MAX { f32::INFINITY } else { since_pre });
        self.inputs[Plasticity::SINCE_PRE][..n].fill(since_pre);
        let spans = std::mem::take(&mut self.spans);
        let moment = |s: &Span, _: &History| Moment { time: stamp, before: s.before, prior: s.end };
        if self.brief {
            if self.wants[0].past {
                let at = stamp.saturating_sub(delay);
                if self.gathered { self.gather(n) } else { self.latest(targets, at, &spans) }
            }
        } else {
            self.look_back(0, &spans, delay, start, moment);
        }
        self.spans = spans;
        if self.wants[0].states {
            let (at, first) = (stamp.saturating_sub(delay), HEAD + self.reads.len());
            for (k, column) in self.inputs[first..].iter_mut().enumerate() {
                column.iter_mut().zip(targets).for_each(|(x, t)| *x = self.recent.at(at, k, (t - self.base) as usize));
            }
        }
        run(&*self.on_pre, n, &self.constants, own.words(), &self.inputs, &mut self.psc, &mut self.scratch);
    }

    /// The spikes of each target that reach its synapse after `last` (and were not seen before), and at `stamp` at the latest: of every
    /// lane, or where it is brief of those where the latest spike of the target is such a one, or reaches it at `stamp` or later. Where
    /// the targets are scattered, a visit to each says it all.
    fn look(&mut self, targets: &[u32], delay: u64, last: u64, stamp: u64) {
        let from = last.max(self.flushed).saturating_sub(delay);
        self.spans.clear();
        if self.gathered {
            let stretch = Stretch { from, until: stamp.saturating_sub(delay), ends: stamp >= delay };
            return self.history.visit(targets, self.base, stretch, &mut self.visits);
        }
        let mut add = |lane: usize, local: u32, history: &History| {
            let Found { next, end, at_end } = history.find(local, from, stamp.saturating_sub(delay));
            let before = end - (at_end && stamp >= delay) as u32;
            self.spans.push(Span { index: self.spans.len() as u32, lane: lane as u32, local, next, end, before });
        };
        if !self.brief {
            targets.iter().enumerate().for_each(|(lane, target)| add(lane, target - self.base, &self.history));
            return;
        }
        // What happened before `stamp` and is seen already; a source that spikes at the start has nothing behind it.
        let old = from.min(stamp.saturating_sub(delay + 1)) as f64;
        const GROUP: usize = 64;
        let start = targets.first().map_or(0, |t| (t - self.base) as usize);
        for (group, stamps) in self.history.latest[start..start + targets.len()].chunks(GROUP).enumerate() {
            if lanes::any_above(self.level, stamps, old) {
                let recent = stamps.iter().enumerate().filter(|(_, stamp)| **stamp > old);
                recent.map(|(k, _)| group * GROUP + k).for_each(|lane| add(lane, targets[lane] - self.base, &self.history));
            }
        }
    }

    /// The traces of every lane, decayed over its `since_post`; `load` gives what a value of the targets' spikes was just after them.
    fn decay(&mut self, n: usize, load: impl Fn(&History, &Visits, usize, &mut [f32])) {
        let (head, columns) = self.inputs.split_at_mut(HEAD);
        let wanted = columns.iter_mut().zip(&self.reads).zip(self.wants[0].traces).filter(|(_, wanted)| *wanted);
        for ((column, read), _) in wanted {
            let column = &mut column[..n];
            match read.slot {
                None => column.fill(1.0),
                Some(slot) => load(&self.history, &self.visits, slot, column),
            }
            lanes::decay(self.level, column, &head[Plasticity::SINCE_POST][..n], read.rate);
        }
    }

    /// `since_post` and the traces of every lane, from its visit.
    fn gather(&mut self, n: usize) {
        self.inputs[Plasticity::SINCE_POST][..n].copy_from_slice(&self.visits.since[..n]);
        self.decay(n, |history, visits, slot, column| {
            let values = &history.words()[slot..];
            column.iter_mut().zip(&visits.place).for_each(|(x, place)| *x = f32::from_bits(values[*place as usize]));
            for &(lane, local, before) in &visits.odd {
                column[lane as usize] = before.checked_sub(1).map_or(0.0, |index| history.after(local, index, slot));
            }
        });
    }

    /// `since_post` and the traces of every lane at `at` on the target's clock, from the target's latest spike or, for the lanes in
    /// `spans`, from the one before the event.
    fn latest(&mut self, targets: &[u32], at: u64, spans: &[Span]) {
        let (n, history) = (targets.len(), &self.history);
        let start = targets.first().map_or(0, |t| (t - self.base) as usize);
        let since = &mut self.inputs[Plasticity::SINCE_POST][..n];
        lanes::since(self.level, &history.latest[start..start + n], at as f64, self.dt, since);
        for span in spans {
            let past_since = |index: u32| ((at - history.stamp(span.local, index, at)) as f64 * self.dt) as f32;
            since[span.lane as usize] = span.before.checked_sub(1).map_or(f32::INFINITY, past_since);
        }
        self.decay(n, |history, _, slot, column| {
            column.copy_from_slice(&history.latest_after[slot][start..start + n]);
            for span in spans {
                let after = |index: u32| history.after(span.local, index, slot);
                column[span.lane as usize] = span.before.checked_sub(1).map_or(0.0, after);
            }
        });
    }

    #[inline(always)]
    fn ms(&self, steps: u64) -> f32 {
        (steps as f64 * self.dt) as f32
    }

    /// All events of the lanes after `last` (and not seen before) up to `stamp`, in order of time: `on_modulator` for jumps of the
    /// signal, `on_post` for spikes of the targets.
    fn catch_up(&mut self, own: &mut Own, delay: u64, last: u64, stamp: u64) {
        if let (Some(on_modulator), Some(jumps)) = (self.on_modulator.clone(), &self.jumps) {
            let due = jumps.until(last.max(self.flushed))..jumps.until(stamp);
            for at in due {
                let Some((jump, before)) = self.jumps.as_ref().map(|j| (j.get(at), j.before(at))) else { break };
                if jump.counts {
                    self.potentiate(own, delay, last, jump.stamp, stamp);
                    self.modulated(&*on_modulator, own, jump, before, delay, last);
                }
            }
        }
        self.potentiate(own, delay, last, u64::MAX, stamp);
    }

    /// `on_modulator` for one jump of the signal, which was `before`.
    fn modulated(&mut self, on_modulator: &dyn Kernel, own: &mut Own, jump: Jump, before: f32, delay: u64, last: u64) {
        let n = self.spans.len();
        let since_pre = self.ms(jump.stamp - last);
        for (input, value) in
            [(Plasticity::SINCE_PRE, since_pre), (Plasticity::MODULATOR, before), (Plasticity::JUMP, jump.amount)]
        {
            self.inputs[input][..n].fill(value);
        }
        let spans = std::mem::take(&mut self.spans);
        self.look_back(2, &spans, delay, last, |span, history| {
            let until = jump.stamp.checked_sub(delay + 1);
            let earlier = until.map_or(0, |until| history.find(span.local, until, until).end);
            Moment { time: jump.stamp, before: earlier, prior: earlier }
        });
        self.spans = spans;
        run(on_modulator, n, &self.constants, own.words(), &self.inputs, &mut self.psc, &mut self.scratch);
    }

    /// `on_post` for every spike of the targets in their spans (none after `now`) that is seen before `limit`: the first of all lanes that have one,
    /// then the second, ...
    fn potentiate(&mut self, own: &mut Own, delay: u64, last: u64, limit: u64, now: u64) {
        let Some(on_post) = self.on_post.clone() else { return };
        if self.gathered && self.wants[1].is_nothing() && now - last <= FAR {
            return self.potentiate_visited(&*on_post, own, delay, last, now);
        }
        let mut active = std::mem::take(&mut self.active);
        let due = |span: &Span, history: &History| {
            span.next < span.end && (limit == u64::MAX || history.stamp(span.local, span.next, now) + delay < limit)
        };
        active.clear();
        if self.gathered {
            let (next, end) = (&self.visits.next, &self.visits.end);
            let spans = (0u32..).zip(own.targets).zip(next.iter().zip(end)).filter(|(_, (next, end))| next < end);
            let local = |target: &u32| target - self.base;
            active.extend(spans.map(|((lane, target), (&next, &end))| Span {
                lane,
                local: local(target),
                next,
                end,
                ..Span::default()
            }));
        } else {
            active.extend(self.spans.iter().filter(|s| due(s, &self.history)));
        }
        while !active.is_empty() {
            let m = active.len();
            for (some, all) in self.packed.iter_mut().zip(own.words()) {
                some.iter_mut().zip(&active).for_each(|(x, span)| *x = all[span.lane as usize]);
            }
            for (k, span) in active.iter().enumerate() {
                let at = self.history.stamp(span.local, span.next, now);
                self.inputs[Plasticity::SINCE_PRE][k] = self.ms(at + delay - last);
            }
            self.look_back(1, &active, delay, last, |span, history| {
                let next = span.next;
                Moment { time: history.stamp(span.local, next, now) + delay, before: next, prior: next }
            });
            if self.wants[1].states {
                let (taus, first) = (self.history.taus.len(), HEAD + self.reads.len());
                for (k, column) in self.inputs[first..].iter_mut().enumerate() {
                    for (x, span) in column.iter_mut().zip(&active) {
                        *x = self.history.after(span.local, span.next, taus + k);
                    }
                }
            }
            run(&*on_post, m, &self.constants, &mut self.packed, &self.inputs, &mut self.psc, &mut self.scratch);
            for (some, all) in self.packed.iter().zip(own.words()) {
                some.iter().zip(&active).for_each(|(x, span)| all[span.lane as usize] = *x);
            }
            let mut left = 0;
            for k in 0..m {
                let span = Span { next: active[k].next + 1, ..active[k] };
                if limit != u64::MAX {
                    self.spans[span.index as usize].next = span.next;
                }
                active[left] = span;
                left += due(&span, &self.history) as usize;
            }
            active.truncate(left);
        }
        self.active = active;
    }

    /// The same where targets were visited, for a code that reads nothing but `since_pre`.
    fn potentiate_visited(&mut self, on_post: &dyn Kernel, own: &mut Own, delay: u64, last: u64, now: u64) {
        let (n, used, level, from) = (own.targets.len(), own.used, self.level, last.wrapping_sub(delay) as u32);
        let (next, end) = (&self.visits.next[..n], &self.visits.end[..n]);
        let mut seen = 0;
        // The first spike of all lanes at once, those without one included, if they are not too many.
        if 4 * lanes::below(level, next, end) >= n {
            lanes::since_low(level, &self.visits.first[..n], from, self.dt, &mut self.inputs[Plasticity::SINCE_PRE][..n]);
            let mut states = self.packed.iter_mut().zip(own.words()).zip(&self.changes).map(|((copy, state), changes)| {
                if !changes {
                    return &mut **state;
                }
                copy[..n].copy_from_slice(state);
                &mut copy[..n]
            });
            let mut states: [&mut [u32]; MAX_STATES + 1] = std::array::from_fn(|_| states.next().unwrap_or_default());
            run(on_post, n, &self.constants, &mut states[..used], &self.inputs, &mut self.psc, &mut self.scratch);
            for ((new, state), _) in self.packed.iter().zip(own.words()).zip(&self.changes).filter(|(_, changes)| **changes) {
                lanes::take_below(level, next, end, &new[..n], state);
            }
            seen = 1;
        }
        let mut found = 0;
        for (lane, (next, end)) in (0..).zip(next.iter().zip(end)) {
            // Whether there are more is a toss-up: the lane is written in any case, and kept or written over.
            self.lanes[found % BLOCK] = lane;
            found += (next + seen < *end) as usize;
        }
        while found > 0 {
            for (some, all) in self.packed.iter_mut().zip(own.words()) {
                some.iter_mut().zip(&self.lanes[..found]).for_each(|(x, lane)| *x = all[*lane as usize]);
            }
            for (since, lane) in self.inputs[Plasticity::SINCE_PRE].iter_mut().zip(&self.lanes[..found]) {
                let (local, index) = (own.targets[*lane as usize] - self.base, next[*lane as usize] + seen);
                let steps = (self.history.stamp(local, index, now) as u32).wrapping_sub(from);
                *since = (steps as i32 as f64 * self.dt) as f32;
            }
            run(on_post, found, &self.constants, &mut self.packed, &self.inputs, &mut self.psc, &mut self.scratch);
            for ((some, all), _) in self.packed.iter().zip(own.words()).zip(&self.changes).filter(|(_, changes)| **changes) {
                some.iter().zip(&self.lanes[..found]).for_each(|(x, lane)| all[*lane as usize] = *x);
            }
            seen += 1;
            let mut left = 0;
            for k in 0..found {
                let lane = self.lanes[k];
                self.lanes[left] = lane;
                left += (next[lane as usize] + seen < end[lane as usize]) as usize;
            }
            found = left;
        }
    }

    /// What a code (`part`: 0 `on_pre`, 1 `on_post`, 2 `on_modulator`, 3 `on_read`) reads of each lane's past at an event.
    fn look_back(&mut self, part: usize, spans: &[Span], delay: u64, last: u64, moment: impl Fn(&Span, &History) -> Moment) {
        let wants = self.wants[part];
        if wants.past {
            self.traces(wants.traces, spans, delay, &moment);
        }
        if !wants.needs_every_event() {
            return;
        }
        let (mut known, mut signal) = (u64::MAX, 0.0);
        for (k, span) in spans.iter().enumerate() {
            let Moment { time, prior, .. } = moment(span, &self.history);
            let target = (self.on_post.is_some() && prior > 0).then(|| self.history.stamp(span.local, prior - 1, time) + delay);
            let jump = match (&self.jumps, &self.on_modulator) {
                (Some(jumps), Some(_)) => jumps.last_event(time - (part == 2) as u64),
                _ => None,
            };
            let event = last.max(target.unwrap_or(0)).max(jump.unwrap_or(0));
            self.inputs[Plasticity::SINCE_EVENT][k] = self.ms(time - event);
            let Some(jumps) = &self.jumps else { continue };
            if wants.modulator_start {
                self.inputs[Plasticity::MODULATOR_START][k] = jumps.at(event);
            }
            if wants.modulator && part != 2 {
                if time != known {
                    (known, signal) = (time, jumps.at(time));
                }
                self.inputs[Plasticity::MODULATOR][k] = signal;
            }
        }
    }

    /// `since_post` and the traces that are wanted.
    fn traces(&mut self, wanted: [bool; MAX_TRACES], spans: &[Span], delay: u64, moment: &impl Fn(&Span, &History) -> Moment) {
        let (n, history) = (spans.len(), &self.history);
        let (head, columns) = self.inputs.split_at_mut(HEAD);
        let since = &mut head[Plasticity::SINCE_POST][..n];
        let mut traces = columns.iter_mut().zip(&self.reads).zip(wanted).filter(|(_, wanted)| *wanted);
        let mut traces: [Option<(&mut [f32], Read)>; MAX_TRACES] =
            std::array::from_fn(|_| traces.next().map(|((column, read), _)| (&mut column[..n], *read)));
        for (k, span) in spans.iter().enumerate() {
            let Moment { time, before, .. } = moment(span, history);
            let Some(at) = before.checked_sub(1) else {
                since[k] = f32::INFINITY;
                traces.iter_mut().flatten().for_each(|(column, _)| column[k] = 0.0);
                continue;
            };
            since[k] = ((time - delay - history.stamp(span.local, at, time)) as f64 * self.dt) as f32;
            for (column, read) in traces.iter_mut().flatten() {
                column[k] = read.slot.map_or(1.0, |slot| history.after(span.local, at, slot));
            }
        }
        traces.into_iter().flatten().for_each(|(column, read)| lanes::decay(self.level, column, since, read.rate));
    }
}

/// Synapses of one segment, at most a block of them.
struct Own<'a> {
    targets: &'a [u32],
    /// The weight, then the states.
    words: [&'a mut [u32]; MAX_STATES + 1],
    used: usize,
}

impl<'a> Own<'a> {
    /// Those from `first` on, which have these targets.
    fn of(synapses: &'a mut Dynamic, first: usize, targets: &'a [u32]) -> Own<'a> {
        let (range, used) = (first..first + targets.len(), 1 + synapses.states.len());
        let weight: &mut [u32] = bytemuck::cast_slice_mut(&mut synapses.weight[range.clone()]);
        let mut words = std::iter::once(weight).chain(synapses.states.iter_mut().map(|s| &mut s[range.clone()]));
        Own { targets, words: std::array::from_fn(|_| words.next().unwrap_or_default()), used }
    }

    fn words(&mut self) -> &mut [&'a mut [u32]] {
        &mut self.words[..self.used]
    }
}

/// A source starts as if it had spiked at 0, as in NEST.
fn since_start(last: u64) -> u64 {
    if last == u64::MAX { 0 } else { last }
}

/// A kernel over the first n lanes.
fn run<S: AsMut<[u32]>>(
    kernel: &dyn Kernel,
    n: usize,
    constants: &[Operand<'static>],
    states: &mut [S],
    inputs: &[Vec<f32>],
    output: &mut [u32],
    scratch: &mut Scratch,
) {
    let used = states.len();
    let mut arrays = states.iter_mut();
    let mut states: [&mut [u32]; MAX_STATES + 1] =
        std::array::from_fn(|_| arrays.next().map_or(&mut [][..], |a| &mut a.as_mut()[..n]));
    let mut columns = inputs.iter();
    let columns: [&[f32]; HEAD + MAX_TRACES + MAX_POST_STATES] =
        std::array::from_fn(|_| columns.next().map_or(&[][..], |c| &c[..n]));
    let mut lanes =
        Lanes { n, constants, states: &mut states[..used], inputs: &columns[..inputs.len()], output: &mut output[..n] };
    kernel.run(&mut lanes, 1, scratch);
}

#[cfg(test)]
mod tests {
    use super::*;

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
