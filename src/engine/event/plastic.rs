//! Synapses whose weight changes, without a grid: the recent spikes of their targets and sources, and the code that runs when a
//! spike of the source arrives. Promises the order of the schedule (engine/mod.rs), with intervals, traces and signals in f64 before
//! the code sees them. Times that are the same multiple of [`TICK`] on a synapse's clock
//! are one time. Knows neither neurons nor the queue.

use super::signals::Signal;
use super::ticks::{TICK, ticks};
use crate::engine::plasticity::{PlasticRule, Reads, column};
use crate::error::{Error, Result};
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::model::{Plasticity, math};
use crate::network::{Network, Projection};
use std::collections::VecDeque;
use std::sync::Arc;

/// The spikes of one neuron that some synapse onto it may still ask for, and one before them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Past {
    /// ms
    stamps: Vec<f64>,
    /// Traces just after each of them, `taus` values a spike.
    after: Vec<f64>,
}

impl Past {
    /// How many of the spikes count by tick `bound` at a synapse of that delay. Those asked for are nearly always among the latest.
    #[inline]
    fn until(&self, delay: f64, bound: i64) -> usize {
        let n = self.stamps.len();
        let counts = |s: &f64| ticks(*s + delay) <= bound;
        for k in 0..n.min(8) {
            if counts(&self.stamps[n - 1 - k]) {
                return n - k;
            }
        }
        self.stamps[..n - n.min(8)].partition_point(counts)
    }
}

/// Recent spikes of the targets of a plastic projection, but for those emitted while it did not learn.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// ms, of the traces that add up.
    taus: Vec<f64>,
    neurons: Vec<Past>,
}

/// Spikes of the sources of plastic synapses.
#[derive(Default)]
pub struct Senders {
    /// By global id: stamps of spikes that not all its synapses have been served.
    sent: Vec<VecDeque<f64>>,
    /// By global id: stamp of the last spike that all have been served, minus infinity for none.
    seen: Vec<f64>,
}

/// A list as words, its length first.
fn put_list(words: &mut Vec<u64>, values: impl ExactSizeIterator<Item = f64>) {
    words.push(values.len() as u64);
    words.extend(values.map(f64::to_bits));
}

/// The reverse; None when there are fewer words.
fn take_list(words: &mut impl Iterator<Item = u64>) -> Option<Vec<f64>> {
    let n = words.next()? as usize;
    let all: Vec<f64> = words.take(n).map(f64::from_bits).collect();
    (all.len() == n && all.iter().all(|x| !x.is_nan())).then_some(all)
}

impl Senders {
    /// Empty where no synapse is plastic.
    pub fn new(net: &Network) -> Senders {
        let plastic = net.projections.iter().any(|p| p.synapse.model.plasticity.is_some());
        let n = if plastic { net.neurons() as usize } else { 0 };
        Senders { sent: vec![VecDeque::new(); n], seen: vec![f64::NEG_INFINITY; n] }
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// A source that has synapses has emitted a spike.
    #[inline]
    pub fn sent(&mut self, source: u32, stamp: f64) {
        if let Some(sent) = self.sent.get_mut(source as usize) {
            sent.push_back(stamp);
        }
    }

    /// Stamp of the spike of a source before the one stamped `stamp`, of which some synapses have not been served. `elapsed` tells
    /// two spikes of one time apart.
    pub fn before(&self, source: u32, stamp: f64, elapsed: f32) -> Option<f64> {
        let sent = self.sent.get(source as usize)?;
        if elapsed == 0.0 {
            return Some(stamp);
        }
        let at = sent.partition_point(|s| *s < stamp);
        let last = if at == 0 { self.seen[source as usize] } else { sent[at - 1] };
        (last > f64::NEG_INFINITY).then_some(last)
    }

    /// The last spike that synapses of a delay have been served by `now` (ms).
    pub fn served_by(&self, source: u32, delay: f64, now: f64) -> Option<f64> {
        let sent = self.sent.get(source as usize)?;
        let arrived = sent.iter().rev().find(|s| **s + delay <= now).copied();
        arrived.or_else(|| self.seen(source))
    }

    /// The spikes of a source that synapses of a delay have not been served by `now` (ms), in order.
    pub fn flying(&self, source: u32, delay: f64, now: f64) -> impl ExactSizeIterator<Item = f64> + '_ {
        let sent = self.sent.get(source as usize);
        let arrived = sent.map_or(0, |sent| sent.partition_point(|s| *s + delay <= now));
        sent.map_or(Default::default(), |sent| sent.range(arrived..)).copied()
    }

    /// The last spike that all synapses of a source have been served.
    pub fn seen(&self, source: u32) -> Option<f64> {
        self.seen.get(source as usize).copied().filter(|s| *s > f64::NEG_INFINITY)
    }

    /// All synapses of a source have been served its spike of `stamp`.
    #[inline]
    pub fn served(&mut self, source: u32, stamp: f64) {
        if let Some(sent) = self.sent.get_mut(source as usize) {
            sent.pop_front();
            self.seen[source as usize] = stamp;
        }
    }

    pub fn save(&self) -> Vec<u64> {
        let mut words = Vec::new();
        for (sent, seen) in self.sent.iter().zip(&self.seen) {
            words.push(seen.to_bits());
            put_list(&mut words, sent.iter().copied());
        }
        words
    }

    /// The reverse; None when the words do not fit.
    pub fn load(&mut self, words: &[u64]) -> Option<()> {
        let mut words = words.iter().copied();
        for (sent, seen) in self.sent.iter_mut().zip(&mut self.seen) {
            *seen = f64::from_bits(words.next()?);
            *sent = take_list(&mut words)?.into();
            if !sent.iter().is_sorted() || seen.is_nan() {
                return None;
            }
        }
        words.next().is_none().then_some(())
    }
}

/// A spike of a source as it reaches its synapses, ms.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub stamp: f64,
    /// Stamp of the source's spike before; None for its first.
    pub last: Option<f64>,
    /// ms between them, not to be relied on where synapses do not learn.
    pub elapsed: f32,
}

/// A trace as one rule reads it.
#[derive(Clone, Copy)]
struct Read {
    /// Among the history's; None where only the nearest spike counts.
    slot: Option<usize>,
    /// ms
    tau: f64,
}

/// One synapse under way: its target, the spikes `next..end` of it that are still to be seen, and the next jump of the signal.
#[derive(Clone, Copy, Default)]
pub struct Lane {
    /// Local id.
    pub target: u32,
    /// ms
    pub delay: f64,
    next: usize,
    end: usize,
    jump: usize,
    /// Stamp of the source's last spike that the synapse has seen.
    last: Option<f64>,
    /// When the synapse's code last ran, ms, and the signal just after.
    event: f64,
    start: f64,
}

impl Lane {
    pub fn new(target: u32, delay: f64, last: Option<f64>) -> Lane {
        Lane { target, delay, last, ..Lane::default() }
    }

    /// A source starts as if it had spiked at 0, as in NEST.
    fn since(&self, at: f64) -> f32 {
        (at - self.last.unwrap_or(0.0)).max(0.0) as f32
    }
}

/// A part of a rule's code, and whether it reads traces or the last spike of the target.
struct Code {
    kernel: Arc<dyn Kernel>,
    looks_back: bool,
}

/// Place of the first trace among the inputs.
const TRACES: usize = Plasticity::INPUTS.len();

/// What runs between two spikes of a source.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Jump,
    Post,
}

/// The code of one projection's plastic synapses, with its constants and scratch.
pub struct Plastic {
    /// Index of the target population.
    pub population: usize,
    /// Index of the signal that the code reads.
    pub signal: Option<usize>,
    on_pre: Code,
    on_post: Option<Code>,
    on_modulator: Option<Code>,
    on_read: Option<Code>,
    constants: Vec<u32>,
    reads: Vec<Read>,
    /// Weights lie between 0 and this.
    pub bound: f64,
    /// Nothing larger is a weight or transmitted.
    pub limit: f32,
    history: History,
    /// Everything up to this tick has been seen by every synapse.
    pub flushed: i64,
    /// Weights change.
    pub learns: bool,
    /// One a synapse, minus infinity for never: the last spike of the source that it has seen. Empty while it has always learned.
    last: Vec<f64>,
    /// Global ids of its sources that have synapses, ascending.
    pub sources: Vec<u32>,
    /// ms after which a spike of the source counts at its synapses; one of the target counts after the rest of the delay.
    pub axonal: f64,
    /// ms, among its delays.
    pub shortest: f64,
    pub longest: f64,
    /// Of the call under way, one a lane.
    pub lanes: Vec<Lane>,
    /// Those with events left, and those that take part in a round.
    active: Vec<u32>,
    round: Vec<u32>,
    /// [`Plasticity::INPUTS`], then the traces.
    inputs: Vec<Vec<f32>>,
    /// The weight, then the states.
    pub states: Vec<Vec<u32>>,
    /// The same of the lanes in a round.
    packed: Vec<Vec<u32>>,
    pub psc: Vec<u32>,
    scratch: Scratch,
}

/// What all the lanes of a call see alike.
#[derive(Clone, Copy)]
struct Scene<'a> {
    history: &'a History,
    signal: Option<&'a Signal>,
}

impl Scene<'_> {
    /// The signal at `t` (ms), after the jumps that coincide.
    fn level(&self, t: f64) -> f64 {
        self.signal.map_or(0.0, |s| s.value(s.until(ticks(t)), t))
    }
}

impl Plastic {
    /// None for a synapse that keeps its weight.
    pub fn new(net: &Network, projection: &Projection, constants: &[u32]) -> Result<Option<Plastic>> {
        let (model, population) = (&projection.synapse.model, projection.target);
        let (Some(plasticity), Some(kernel)) = (&model.plasticity, model.kernel()) else { return Ok(None) };
        let refuse =
            |message: String, remedy: &str| Err(Error::input(format!("projection `{}`: {message}", projection.name), remedy));
        if let Some(state) = plasticity.post_event.or((!plasticity.post_states.is_empty()).then_some(0)) {
            let name = &plasticity.post_states[state].name;
            return refuse(
                format!("{} reads the state `{name}` of its target step by step, and the event engine has no steps", model.name),
                "use --engine cpu, or a rule of spikes alone",
            );
        }
        let Some(rule) = PlasticRule::of(net, projection)? else { return Ok(None) };
        let mut taus = rule.taus();
        taus.sort_by(f64::total_cmp);
        let reads: Vec<Read> = rule.traces.iter().map(|t| Read { slot: column(&taus, *t), tau: t.tau }).collect();
        let columns = TRACES + reads.len();
        let code = |kernel: Option<Arc<dyn Kernel>>, reads: Reads| kernel.map(|kernel| Code { kernel, looks_back: reads.past });
        let arrays = || vec![vec![0; BLOCK]; 1 + model.states.len()];
        Ok(Some(Plastic {
            population,
            signal: rule.signal,
            on_pre: Code { kernel, looks_back: rule.on_pre.past },
            on_post: code(model.post_kernel(), rule.on_post),
            on_modulator: code(model.modulator_kernel(), rule.on_modulator),
            on_read: code(model.read_kernel(), rule.on_read),
            constants: constants.to_vec(),
            reads,
            bound: rule.bound,
            limit: rule.limit,
            history: History { taus, neurons: vec![Past::default(); net.populations[population].n as usize] },
            flushed: i64::MIN,
            learns: true,
            last: Vec::new(),
            sources: Vec::new(),
            axonal: projection.axonal,
            shortest: f64::INFINITY,
            longest: 0.0,
            lanes: Vec::with_capacity(BLOCK),
            active: Vec::with_capacity(BLOCK),
            round: Vec::with_capacity(BLOCK),
            inputs: vec![vec![0.0; BLOCK]; columns],
            states: arrays(),
            packed: arrays(),
            psc: vec![0; BLOCK],
            scratch: Scratch::default(),
        }))
    }

    /// A synapse of a delay, on whose clock `last` is the last spike of the source, as it was emitted.
    pub fn lane(&self, target: u32, delay: f64, last: Option<f64>) -> Lane {
        Lane::new(target, delay - self.axonal, last.map(|last| last + self.axonal))
    }

    /// Fetch the synapses `first ..` of the arrays, one a lane.
    pub fn take(&mut self, first: usize, weight: &[f32], states: &[Vec<u32>]) {
        let own = first..first + self.lanes.len();
        self.states[0].iter_mut().zip(&weight[own.clone()]).for_each(|(word, w)| *word = w.to_bits());
        for (copy, state) in self.states[1..].iter_mut().zip(states) {
            copy[..own.len()].copy_from_slice(&state[own.clone()]);
        }
        if let Some(last) = self.last.get(own) {
            self.lanes.iter_mut().zip(last).for_each(|(lane, last)| lane.last = (*last > f64::NEG_INFINITY).then_some(*last));
        }
    }

    /// The weights of the lanes. An error as that of [`Plastic::put`].
    pub fn weights(&self) -> std::result::Result<impl Iterator<Item = f32> + '_, (u32, f32)> {
        self.check()?;
        Ok(self.states[0][..self.lanes.len()].iter().map(|word| f32::from_bits(*word)))
    }

    /// Write them back. An error with target and weight when one, or what it transmits, is beyond the bound.
    pub fn put(&mut self, first: usize, weight: &mut [f32], states: &mut [Vec<u32>]) -> std::result::Result<(), (u32, f32)> {
        let own = first..first + self.lanes.len();
        weight[own.clone()].iter_mut().zip(&self.states[0]).for_each(|(w, word)| *w = f32::from_bits(*word));
        for (copy, state) in self.states[1..].iter().zip(states) {
            state[own.clone()].copy_from_slice(&copy[..own.len()]);
        }
        self.check()
    }

    fn check(&self) -> std::result::Result<(), (u32, f32)> {
        let within = |word: u32| f32::from_bits(word).abs() <= self.limit;
        let words = self.states[0].iter().zip(&self.psc);
        match self.lanes.iter().zip(words).find(|(_, (w, psc))| !(within(**w) && within(**psc))) {
            Some((lane, (w, psc))) => Err((lane.target, f32::from_bits(if within(*w) { *psc } else { *w }))),
            None => Ok(()),
        }
    }

    /// Neuron `i` of the target population has spiked.
    pub fn spiked(&mut self, i: usize, stamp: f64) {
        let History { taus, neurons } = &mut self.history;
        let past = &mut neurons[i];
        let before = past.after.len().saturating_sub(taus.len());
        for (t, tau) in taus.iter().enumerate() {
            let decayed = past.stamps.last().map_or(0.0, |last| past.after[before + t] * (-(stamp - last) / tau).exp());
            past.after.push(decayed + 1.0);
        }
        past.stamps.push(stamp);
    }

    /// Forget spikes of targets that no synapse will ask for again; `seen` is when the last spike was that all synapses of all
    /// sources have been served (ms). The number of spikes kept.
    pub fn forget(&mut self, seen: f64) -> usize {
        let flushed = self.flushed as f64 * TICK;
        let bound = ticks(if self.last.is_empty() { seen.max(flushed) } else { flushed });
        let (taus, longest) = (self.history.taus.len(), self.longest);
        let neurons = self.history.neurons.iter_mut();
        neurons
            .map(|past| {
                // The one before them is where their traces start from.
                let gone = past.until(longest, bound).saturating_sub(1);
                past.stamps.drain(..gone);
                past.after.drain(..gone * taus);
                past.stamps.len()
            })
            .sum()
    }

    /// Up to when (ms) no synapse will ask for the signal again; `seen` as in [`Plastic::forget`].
    pub fn asks_signal_from(&self, seen: f64) -> f64 {
        let flushed = self.flushed as f64 * TICK;
        match (self.last.is_empty(), self.on_modulator.is_some()) {
            (true, true) => seen.max(flushed),
            (true, false) => seen,
            (false, true) => flushed,
            (false, false) => self.last.iter().copied().fold(f64::INFINITY, f64::min).max(0.0),
        }
    }

    /// Learning stops, or goes on. `last(synapse)` is the last spike of its source that a synapse has been served by now.
    pub fn set_learning(&mut self, on: bool, n: usize, last: &dyn Fn(usize) -> Option<f64>) {
        if !on && self.learns && self.last.is_empty() {
            self.last = (0..n).map(|k| last(k).map_or(f64::NEG_INFINITY, |last| last + self.axonal)).collect();
        }
        self.learns = on;
    }

    /// Spikes of targets that are kept.
    pub fn kept(&self) -> usize {
        self.history.neurons.iter().map(|past| past.stamps.len()).sum()
    }

    pub fn save(&self) -> Vec<u64> {
        let mut words = vec![self.flushed as u64, self.learns as u64, self.history.taus.len() as u64];
        put_list(&mut words, self.last.iter().copied());
        for past in &self.history.neurons {
            put_list(&mut words, past.stamps.iter().copied());
            put_list(&mut words, past.after.iter().copied());
        }
        words
    }

    /// The reverse, of a projection of `n` synapses; None when the words do not fit.
    pub fn load(&mut self, words: &[u64], n: usize) -> Option<()> {
        let mut words = words.iter().copied();
        let (flushed, learns, taus) = (words.next()? as i64, words.next()? != 0, words.next()? as usize);
        self.last = take_list(&mut words)?;
        if taus != self.history.taus.len() || !(self.last.is_empty() || self.last.len() == n) {
            return None;
        }
        (self.flushed, self.learns) = (flushed, learns);
        for past in &mut self.history.neurons {
            (past.stamps, past.after) = (take_list(&mut words)?, take_list(&mut words)?);
            if !past.stamps.is_sorted() || past.after.len() != past.stamps.len() * taus {
                return None;
            }
        }
        words.next().is_none().then_some(())
    }

    /// Bring the lanes, synapses `first ..`, up to the arrival, let them see this spike, emitted at `stamp`; what they transmit is in `psc`.
    pub fn receive(&mut self, first: usize, stamp: f64, signals: &[Signal]) {
        let stamp = stamp + self.axonal;
        self.learn(stamp, signals);
        if let Some(last) = self.last.get_mut(first..first + self.lanes.len()) {
            last.fill(stamp);
        }
    }

    /// Bring the lanes up to `until` (ms), where nothing needs to happen: first the spikes of their source in `flying`, which they have
    /// not been served, then everything else. What is left in the lanes is for reading only.
    pub fn read(&mut self, flying: &[f64], until: f64, signals: &[Signal]) {
        for &stamp in flying {
            self.learn(stamp, signals);
            self.lanes.iter_mut().for_each(|lane| lane.last = Some(stamp));
        }
        self.flush(until, signals);
        let Some(code) = &self.on_read else { return };
        let (n, history) = (self.lanes.len(), &self.history);
        let scene = Scene { history, signal: self.signal.and_then(|s| signals.get(s)) };
        self.inputs[Plasticity::MODULATOR][..n].fill(scene.level(until) as f32);
        self.inputs[Plasticity::JUMP][..n].fill(0.0);
        for (k, lane) in self.lanes.iter().enumerate() {
            self.inputs[Plasticity::ELAPSED][k] = lane.since(until);
            self.inputs[Plasticity::SINCE_PRE][k] = lane.since(until);
            self.inputs[Plasticity::SINCE_EVENT][k] = (until - lane.event).max(0.0) as f32;
            self.inputs[Plasticity::MODULATOR_START][k] = lane.start as f32;
            if code.looks_back {
                look_back(&self.reads, &mut self.inputs, history, k, lane.target, lane.end, until - lane.delay);
            }
        }
        run(&*code.kernel, n, &self.constants, &mut self.states, &self.inputs, &mut self.psc, &mut self.scratch);
        self.psc[..n].fill(0);
    }

    /// Bring the lanes up to a spike of their source, let them see it; what they transmit is in `psc`.
    fn learn(&mut self, stamp: f64, signals: &[Signal]) {
        let history = std::mem::take(&mut self.history);
        let scene = Scene { history: &history, signal: self.signal.and_then(|s| signals.get(s)) };
        let (n, at) = (self.lanes.len(), ticks(stamp));
        self.catch_up(scene, at);
        self.inputs[Plasticity::MODULATOR][..n].fill(scene.level(stamp) as f32);
        self.inputs[Plasticity::JUMP][..n].fill(0.0);
        for (k, lane) in self.lanes.iter().enumerate() {
            self.inputs[Plasticity::ELAPSED][k] = lane.last.map_or(f32::INFINITY, |last| (stamp - last) as f32);
            self.inputs[Plasticity::SINCE_PRE][k] = lane.since(stamp);
            self.inputs[Plasticity::SINCE_EVENT][k] = (stamp - lane.event).max(0.0) as f32;
            self.inputs[Plasticity::MODULATOR_START][k] = lane.start as f32;
            if self.on_pre.looks_back {
                let past = &history.neurons[lane.target as usize];
                // Those that coincide come after what this spike sees.
                let mut before = lane.end;
                while before > 0 && ticks(past.stamps[before - 1] + lane.delay) == at {
                    before -= 1;
                }
                look_back(&self.reads, &mut self.inputs, &history, k, lane.target, before, stamp - lane.delay);
            }
        }
        run(&*self.on_pre.kernel, n, &self.constants, &mut self.states, &self.inputs, &mut self.psc, &mut self.scratch);
        self.history = history;
    }

    /// Let the lanes see all that counts by `until` (ms).
    pub fn flush(&mut self, until: f64, signals: &[Signal]) {
        let history = std::mem::take(&mut self.history);
        self.catch_up(Scene { history: &history, signal: self.signal.and_then(|s| signals.get(s)) }, ticks(until));
        self.history = history;
        self.psc[..self.lanes.len()].fill(0);
    }

    /// All events of the lanes that count after the source's last spike and by tick `until`: the first of all lanes that have one,
    /// then the second, ...
    fn catch_up(&mut self, scene: Scene, until: i64) {
        let (posts, jumps) = (self.on_post.is_some(), scene.signal.filter(|_| self.on_modulator.is_some()));
        let end_jump = jumps.map_or(0, |s| s.until(until));
        for lane in &mut self.lanes {
            let from = lane.last.map_or(i64::MIN, ticks).max(self.flushed);
            let past = &scene.history.neurons[lane.target as usize];
            lane.end = past.until(lane.delay, until);
            lane.next = if from == i64::MIN { 0 } else { past.until(lane.delay, from).min(lane.end) };
            lane.jump = jumps.map_or(0, |s| s.until(from));
            lane.event = lane.last.unwrap_or(0.0);
            if let Some(seen) = lane.next.checked_sub(1).filter(|_| posts) {
                lane.event = lane.event.max(past.stamps[seen] + lane.delay);
            }
            if let Some((time, ..)) = jumps.and_then(|s| s.jumps.get(lane.jump.wrapping_sub(1))) {
                lane.event = lane.event.max(*time);
            }
            if scene.signal.is_some() {
                lane.start = scene.level(lane.event);
            }
        }
        self.active.clear();
        let left = |lane: &Lane| (posts && lane.next < lane.end) || lane.jump < end_jump;
        self.active.extend((0u32..).zip(&self.lanes).filter(|(_, lane)| left(lane)).map(|(l, _)| l));
        // Jumps come first among equals.
        let kind = |lane: &Lane| {
            let post = (posts && lane.next < lane.end)
                .then(|| ticks(scene.history.neurons[lane.target as usize].stamps[lane.next] + lane.delay));
            match (post, jumps.filter(|_| lane.jump < end_jump).and_then(|s| s.jumps.get(lane.jump))) {
                (Some(post), Some((jump, ..))) if ticks(*jump) > post => Kind::Post,
                (_, Some(_)) => Kind::Jump,
                _ => Kind::Post,
            }
        };
        let mut other = Vec::new();
        while !self.active.is_empty() {
            other.clear();
            self.round.clear();
            for &lane in &self.active {
                let list =
                    if jumps.is_some() && kind(&self.lanes[lane as usize]) == Kind::Jump { &mut other } else { &mut self.round };
                list.push(lane);
            }
            self.play(Kind::Post, scene);
            std::mem::swap(&mut self.round, &mut other);
            self.play(Kind::Jump, scene);
            let lanes = &self.lanes;
            self.active.retain(|lane| left(&lanes[*lane as usize]));
        }
    }

    /// The next event, of that kind, of the lanes of the round.
    fn play(&mut self, kind: Kind, scene: Scene) {
        let code = if kind == Kind::Jump { &self.on_modulator } else { &self.on_post };
        let (Some(code), m) = (code, self.round.len()) else { return };
        if m == 0 {
            return;
        }
        for (some, all) in self.packed.iter_mut().zip(&self.states) {
            some.iter_mut().zip(&self.round).for_each(|(x, lane)| *x = all[*lane as usize]);
        }
        for (k, lane) in self.round.iter().enumerate() {
            let lane = &mut self.lanes[*lane as usize];
            let past = &scene.history.neurons[lane.target as usize];
            // When it counts here, and when on the clock of the target, with the number of spikes before it.
            let (at, before, own) = match (kind, scene.signal) {
                (Kind::Jump, Some(signal)) => {
                    let (time, amount, _) = signal.jumps[lane.jump];
                    self.inputs[Plasticity::MODULATOR][k] = signal.value(lane.jump, time) as f32;
                    self.inputs[Plasticity::JUMP][k] = amount as f32;
                    lane.jump += 1;
                    (time, past.until(lane.delay, ticks(time) - 1), time - lane.delay)
                }
                _ => {
                    let (before, own) = (lane.next, past.stamps[lane.next]);
                    lane.next += 1;
                    let at = own + lane.delay;
                    self.inputs[Plasticity::MODULATOR][k] = scene.level(at) as f32;
                    self.inputs[Plasticity::JUMP][k] = 0.0;
                    (at, before, own)
                }
            };
            self.inputs[Plasticity::SINCE_PRE][k] = lane.since(at);
            self.inputs[Plasticity::SINCE_EVENT][k] = (at - lane.event).max(0.0) as f32;
            self.inputs[Plasticity::MODULATOR_START][k] = lane.start as f32;
            lane.event = lane.event.max(at);
            if scene.signal.is_some() {
                lane.start = scene.level(at);
            }
            if code.looks_back {
                look_back(&self.reads, &mut self.inputs, scene.history, k, lane.target, before, own);
            }
        }
        run(&*code.kernel, m, &self.constants, &mut self.packed, &self.inputs, &mut self.psc, &mut self.scratch);
        for (some, all) in self.packed.iter().zip(&mut self.states) {
            some.iter().zip(&self.round).for_each(|(x, lane)| all[*lane as usize] = *x);
        }
    }
}

/// `since_post` and the traces, column `k` of the inputs, as they are before spike number `before` of a target, at `at` on its clock.
fn look_back(reads: &[Read], inputs: &mut [Vec<f32>], history: &History, k: usize, target: u32, before: usize, at: f64) {
    let past = &history.neurons[target as usize];
    let (head, traces) = inputs.split_at_mut(TRACES);
    let Some(last) = before.checked_sub(1) else {
        head[Plasticity::SINCE_POST][k] = f32::INFINITY;
        traces.iter_mut().for_each(|t| t[k] = 0.0);
        return;
    };
    let since = (at - past.stamps[last]).max(0.0);
    head[Plasticity::SINCE_POST][k] = since as f32;
    for (trace, read) in traces.iter_mut().zip(reads) {
        let after = read.slot.map_or(1.0, |slot| past.after[last * history.taus.len() + slot]);
        trace[k] = math::flush((after * (-since / read.tau).exp()) as f32);
    }
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
    let constants: Vec<Operand> = constants.iter().map(|c| Operand::Uniform(*c)).collect();
    let mut states: Vec<&mut [u32]> = states.iter_mut().map(|s| &mut s[..n]).collect();
    let inputs: Vec<&[f32]> = inputs.iter().map(|i| &i[..n]).collect();
    let mut lanes = Lanes { n, constants: &constants, states: &mut states, inputs: &inputs, output: &mut output[..n] };
    kernel.run(&mut lanes, 1, scratch);
}
