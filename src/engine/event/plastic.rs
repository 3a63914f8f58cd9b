//! Synapses whose weight changes, without a grid: the recent spikes of their targets and sources, and the code that runs when a
//! spike of the source arrives. Promises the order of the other engines (potentiate for every spike of the target since the
//! source's last one, depress, transmit; the whole delay is dendritic), with intervals and traces in f64 before the code sees them.
//! Times that differ by less than [`TICK`] on a synapse's clock are one time. Knows neither neurons nor the queue.

use crate::error::{Error, Result};
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::model::program::{Op, Program};
use crate::model::Plasticity;
use crate::network::quantum::reachable;
use crate::network::{Network, Projection};
use std::collections::VecDeque;
use std::sync::Arc;

/// Times of one synapse are compared as whole multiples of this, ms: NEST's stdp_eps. Sums of times on a grid that differ in
/// their last bits are equal this way, and being equal is transitive.
pub const TICK: f64 = 1e-6;

/// Spikes kept for later before the first search for what may be forgotten.
const FEW: usize = 4096;

/// A time as a number of ticks.
#[inline]
pub fn ticks(ms: f64) -> i64 {
    (ms * (1.0 / TICK)).round_ties_even() as i64
}

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

/// Recent spikes of a population onto which plastic synapses project.
#[derive(Clone, Debug)]
struct History {
    /// ms, of the traces that add up.
    taus: Vec<f64>,
    neurons: Vec<Past>,
}

/// What all plastic synapses together need to know of the past.
#[derive(Default)]
pub struct Histories {
    /// By population; None where no plastic synapse ends.
    post: Vec<Option<History>>,
    /// By global id of a source: stamps of spikes that not all its synapses have seen.
    sent: Vec<VecDeque<f64>>,
    /// By global id of a source: stamp of the last spike that all have seen, minus infinity for none.
    seen: Vec<f64>,
    /// Spikes held in `post`, and how many to hold before looking for what may go.
    kept: usize,
    enough: usize,
}

pub fn plastic(net: &Network) -> impl Iterator<Item = (usize, &Projection)> {
    net.projections.iter().enumerate().filter(|(_, p)| p.synapse.model.plasticity.is_some())
}

/// Time constants of a rule's traces, ms, and whether only the nearest spike counts.
fn traces(projection: &Projection) -> Result<Vec<(f64, bool)>> {
    let synapse = &projection.synapse;
    let list = synapse.model.plasticity.iter().flat_map(|p| &p.traces);
    list.map(|trace| {
        let tau = synapse.evaluate(&trace.tau)?;
        if !(tau > 0.0 && tau.is_finite()) {
            return Err(Error::input(
                format!("{}: the time constant of `{}` is {tau} ms", synapse.model.name, trace.name),
                format!("give {} a value above 0 ms", trace.tau.text),
            ));
        }
        Ok((tau, trace.nearest))
    })
    .collect()
}

impl Histories {
    pub fn new(net: &Network) -> Result<Histories> {
        let mut histories = Histories { post: vec![None; net.populations.len()], enough: FEW, ..Default::default() };
        for (_, projection) in plastic(net) {
            let n = net.populations[projection.target].n as usize;
            let history = histories.post[projection.target]
                .get_or_insert_with(|| History { taus: vec![], neurons: vec![Past::default(); n] });
            for (tau, nearest) in traces(projection)? {
                if !nearest && !history.taus.contains(&tau) {
                    history.taus.push(tau);
                }
            }
        }
        if histories.post.iter().any(Option::is_some) {
            histories.sent = vec![VecDeque::new(); net.neurons() as usize];
            histories.seen = vec![f64::NEG_INFINITY; net.neurons() as usize];
            histories.enough = FEW.max(net.neurons() as usize);
        }
        Ok(histories)
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Neuron `i` of a population has spiked.
    pub fn spiked(&mut self, population: usize, i: usize, stamp: f64) {
        let Some(history) = &mut self.post[population] else { return };
        let past = &mut history.neurons[i];
        let before = past.after.len().saturating_sub(history.taus.len());
        for (t, tau) in history.taus.iter().enumerate() {
            let decayed = past.stamps.last().map_or(0.0, |last| past.after[before + t] * (-(stamp - last) / tau).exp());
            past.after.push(decayed + 1.0);
        }
        past.stamps.push(stamp);
        self.kept += 1;
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

    /// The last spike that all synapses of a source have seen.
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

    /// Whether it is time to look for what may be forgotten.
    #[inline]
    pub fn full(&self) -> bool {
        self.kept >= self.enough && !self.is_empty()
    }

    /// Forget what no synapse will ask for again: `asked(population)` is the time (ms) up to which all synapses onto it, on their
    /// clocks, have seen everything; `max_delay` (ms) is their longest delay.
    pub fn forget(&mut self, asked: impl Fn(usize) -> f64, max_delay: f64) {
        let most = self.enough;
        self.kept = 0;
        for (population, history) in self.post.iter_mut().enumerate() {
            let Some(history) = history else { continue };
            let (bound, taus) = (ticks(asked(population)), history.taus.len());
            for past in &mut history.neurons {
                // The one before them is where their traces start from.
                let gone = past.until(max_delay, bound).saturating_sub(1);
                past.stamps.drain(..gone);
                past.after.drain(..gone * taus);
                self.kept += past.stamps.len();
            }
        }
        self.enough = (2 * self.kept).max(FEW).max(self.seen.len()).max(most / 2);
    }

    /// Spikes held.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// All of it as words.
    pub fn save(&self) -> Vec<u64> {
        let mut words = Vec::new();
        let list = |words: &mut Vec<u64>, values: &mut dyn Iterator<Item = f64>| {
            let at = words.len();
            words.push(0);
            words.extend(values.map(f64::to_bits));
            words[at] = (words.len() - at - 1) as u64;
        };
        for (sent, seen) in self.sent.iter().zip(&self.seen) {
            words.push(seen.to_bits());
            list(&mut words, &mut sent.iter().copied());
        }
        for history in self.post.iter().flatten() {
            words.push(history.taus.len() as u64);
            for past in &history.neurons {
                list(&mut words, &mut past.stamps.iter().copied());
                list(&mut words, &mut past.after.iter().copied());
            }
        }
        words
    }

    /// The reverse of [`Histories::save`]; None when the words do not fit.
    pub fn load(&mut self, words: &[u64]) -> Option<()> {
        let mut words = words.iter().copied();
        let list = |words: &mut dyn Iterator<Item = u64>| -> Option<Vec<f64>> {
            let n = words.next()? as usize;
            let all: Vec<f64> = words.take(n).map(f64::from_bits).collect();
            (all.len() == n && all.iter().all(|x| x.is_finite())).then_some(all)
        };
        for (sent, seen) in self.sent.iter_mut().zip(&mut self.seen) {
            *seen = f64::from_bits(words.next()?);
            *sent = list(&mut words)?.into();
            if !sent.iter().is_sorted() || seen.is_nan() {
                return None;
            }
        }
        self.kept = 0;
        for history in self.post.iter_mut().flatten() {
            if words.next()? != history.taus.len() as u64 {
                return None;
            }
            for past in &mut history.neurons {
                past.stamps = list(&mut words)?;
                past.after = list(&mut words)?;
                if !past.stamps.is_sorted() || past.after.len() != past.stamps.len() * history.taus.len() {
                    return None;
                }
                self.kept += past.stamps.len();
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
    /// ms between them, infinite for the first.
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

/// One synapse under way: its target, and the spikes `next..end` of it that are still to be seen.
#[derive(Clone, Copy, Default)]
pub struct Lane {
    /// Local id.
    pub target: u32,
    /// ms
    pub delay: f64,
    next: usize,
    end: usize,
}

impl Lane {
    pub fn new(target: u32, delay: f64) -> Lane {
        Lane { target, delay, next: 0, end: 0 }
    }
}

/// A part of a rule's code, and which inputs it reads.
struct Code {
    kernel: Arc<dyn Kernel>,
    reads: Vec<bool>,
}

impl Code {
    fn new(kernel: Arc<dyn Kernel>, program: &Program, inputs: usize) -> Code {
        let read = |i: usize| program.update.ops.iter().any(|op| matches!(op, Op::Input(k) if *k as usize == i));
        Code { kernel, reads: (0..inputs).map(read).collect() }
    }

    /// Some trace or the last spike of the target is read.
    fn looks_back(&self) -> bool {
        self.reads[SINCE_POST..].iter().any(|r| *r)
    }
}

const ELAPSED: usize = 0;
const SINCE_PRE: usize = 1;
const SINCE_POST: usize = 2;
const TRACES: usize = Plasticity::INPUTS.len();

/// The code of one projection's plastic synapses, with its constants and scratch.
pub struct Plastic {
    /// Index of the target population.
    pub population: usize,
    on_pre: Code,
    on_post: Option<Code>,
    constants: Vec<u32>,
    reads: Vec<Read>,
    /// Weights lie between 0 and this.
    pub bound: f64,
    /// Nothing larger is a weight or transmitted.
    pub limit: f32,
    /// Everything up to this tick has been seen by every synapse.
    pub flushed: i64,
    /// Global ids of its sources that have synapses, ascending.
    pub sources: Vec<u32>,
    /// ms, among its delays.
    pub shortest: f64,
    pub longest: f64,
    /// Of the call under way, one a lane.
    pub lanes: Vec<Lane>,
    active: Vec<u32>,
    /// [`Plasticity::INPUTS`], then the traces.
    inputs: Vec<Vec<f32>>,
    /// The weight, then the states.
    pub states: Vec<Vec<u32>>,
    /// The same of the lanes in a round of `on_post`.
    packed: Vec<Vec<u32>>,
    pub psc: Vec<u32>,
    scratch: Scratch,
}

impl Plastic {
    /// None for a synapse that keeps its weight.
    pub fn new(projection: &Projection, constants: &[u32], histories: &Histories) -> Result<Option<Plastic>> {
        let (synapse, population) = (&projection.synapse, projection.target);
        let model = &synapse.model;
        let (Some(plasticity), Some(program), Some(kernel)) = (&model.plasticity, &model.program, model.kernel()) else {
            return Ok(None);
        };
        let taus = histories.post[population].as_ref().map_or(&[][..], |h| &h.taus);
        let read = |(tau, nearest): (f64, bool)| Read { slot: taus.iter().position(|t| *t == tau && !nearest), tau };
        let reads: Vec<Read> = traces(projection)?.into_iter().map(read).collect();
        let columns = TRACES + reads.len();
        let on_post = plasticity.on_post.as_ref().zip(model.post_kernel());
        let on_post = on_post.map(|(program, kernel)| Code::new(kernel, program, columns));
        if on_post.as_ref().is_some_and(|code| code.reads[ELAPSED]) {
            return Err(Error::input(
                format!(
                    "projection `{}`: on_post of {} reads `elapsed`, which the source's next spike decides",
                    projection.name, model.name
                ),
                "read since_pre instead",
            ));
        }
        let arrays = || vec![vec![0; BLOCK]; 1 + model.states.len()];
        Ok(Some(Plastic {
            population,
            on_pre: Code::new(kernel, program, columns),
            on_post,
            constants: constants.to_vec(),
            reads,
            bound: synapse.bound()?.unwrap_or(0.0),
            limit: reachable(projection)?.0.bound() as f32,
            flushed: i64::MIN,
            sources: Vec::new(),
            shortest: f64::INFINITY,
            longest: 0.0,
            lanes: Vec::with_capacity(BLOCK),
            active: Vec::with_capacity(BLOCK),
            inputs: vec![vec![0.0; BLOCK]; columns],
            states: arrays(),
            packed: arrays(),
            psc: vec![0; BLOCK],
            scratch: Scratch::default(),
        }))
    }

    /// Fetch the synapses `first ..` of the arrays, one a lane.
    pub fn take(&mut self, first: usize, weight: &[f32], states: &[Vec<u32>]) {
        let own = first..first + self.lanes.len();
        self.states[0].iter_mut().zip(&weight[own.clone()]).for_each(|(word, w)| *word = w.to_bits());
        for (copy, state) in self.states[1..].iter_mut().zip(states) {
            copy[..own.len()].copy_from_slice(&state[own.clone()]);
        }
    }

    /// Write them back. An error with target and weight when one, or what it transmits, is beyond the bound.
    pub fn put(&mut self, first: usize, weight: &mut [f32], states: &mut [Vec<u32>]) -> std::result::Result<(), (u32, f32)> {
        let own = first..first + self.lanes.len();
        weight[own.clone()].iter_mut().zip(&self.states[0]).for_each(|(w, word)| *w = f32::from_bits(*word));
        for (copy, state) in self.states[1..].iter().zip(states) {
            state[own.clone()].copy_from_slice(&copy[..own.len()]);
        }
        let within = |word: u32| f32::from_bits(word).abs() <= self.limit;
        let words = self.states[0].iter().zip(&self.psc);
        match self.lanes.iter().zip(words).find(|(_, (w, psc))| !(within(**w) && within(**psc))) {
            Some((lane, (w, psc))) => Err((lane.target, f32::from_bits(if within(*w) { *psc } else { *w }))),
            None => Ok(()),
        }
    }

    /// Bring the lanes up to the arrival, let them see this spike; what they transmit is in `psc`.
    pub fn receive(&mut self, arrival: Arrival, histories: &Histories) {
        let Some(history) = &histories.post[self.population] else { return };
        let Arrival { stamp, last, elapsed } = arrival;
        let (n, at) = (self.lanes.len(), ticks(stamp));
        self.potentiate(history, last, at);
        // A source starts as if it had spiked at 0, as in NEST.
        let since_pre = (stamp - last.unwrap_or(0.0)) as f32;
        self.inputs[ELAPSED][..n].fill(elapsed);
        self.inputs[SINCE_PRE][..n].fill(since_pre);
        if self.on_pre.looks_back() {
            for lane in 0..n {
                let Lane { target, delay, end, .. } = self.lanes[lane];
                let past = &history.neurons[target as usize];
                // Those that coincide come after what this spike sees.
                let mut before = end;
                while before > 0 && ticks(past.stamps[before - 1] + delay) == at {
                    before -= 1;
                }
                look_back(&self.reads, &mut self.inputs, history, lane, target, before, stamp - delay);
            }
        }
        run(&*self.on_pre.kernel, n, &self.constants, &mut self.states, &self.inputs, &mut self.psc, &mut self.scratch);
    }

    /// `on_post` for every spike of the targets that counts after the source's spike `last` and by tick `until`: the first of all
    /// lanes that have one, then the second, ...
    fn potentiate(&mut self, history: &History, last: Option<f64>, until: i64) {
        let from = last.map_or(i64::MIN, ticks).max(self.flushed);
        for lane in &mut self.lanes {
            let past = &history.neurons[lane.target as usize];
            lane.end = past.until(lane.delay, until);
            lane.next = if from == i64::MIN { 0 } else { past.until(lane.delay, from) }.min(lane.end);
        }
        let Some(on_post) = &self.on_post else { return };
        let last = last.unwrap_or(0.0);
        self.active.clear();
        self.active.extend((0..self.lanes.len() as u32).filter(|l| self.lanes[*l as usize].next < self.lanes[*l as usize].end));
        while !self.active.is_empty() {
            let m = self.active.len();
            for (some, all) in self.packed.iter_mut().zip(&self.states) {
                some.iter_mut().zip(&self.active).for_each(|(x, lane)| *x = all[*lane as usize]);
            }
            for (k, lane) in self.active.iter().enumerate() {
                let Lane { target, delay, next, .. } = self.lanes[*lane as usize];
                let at = history.neurons[target as usize].stamps[next];
                self.inputs[SINCE_PRE][k] = (at + delay - last) as f32;
                if on_post.looks_back() {
                    look_back(&self.reads, &mut self.inputs, history, k, target, next, at);
                }
            }
            run(&*on_post.kernel, m, &self.constants, &mut self.packed, &self.inputs, &mut self.psc, &mut self.scratch);
            for (some, all) in self.packed.iter().zip(&mut self.states) {
                some.iter().zip(&self.active).for_each(|(x, lane)| all[*lane as usize] = *x);
            }
            self.active.iter().for_each(|lane| self.lanes[*lane as usize].next += 1);
            let lanes = &self.lanes;
            self.active.retain(|lane| lanes[*lane as usize].next < lanes[*lane as usize].end);
        }
    }

    /// Let the lanes of a source, whose last spike that all have seen is `last`, see all that counts by `until` (ms).
    pub fn flush(&mut self, last: Option<f64>, until: f64, histories: &Histories) {
        if let Some(history) = &histories.post[self.population] {
            self.potentiate(history, last, ticks(until));
        }
        self.psc[..self.lanes.len()].fill(0);
    }
}

/// `since_post` and the traces, column `k` of the inputs, as they are before spike number `before` of a target, at `at` on its clock.
fn look_back(reads: &[Read], inputs: &mut [Vec<f32>], history: &History, k: usize, target: u32, before: usize, at: f64) {
    let past = &history.neurons[target as usize];
    let (head, traces) = inputs.split_at_mut(TRACES);
    let Some(last) = before.checked_sub(1) else {
        head[SINCE_POST][k] = f32::INFINITY;
        traces.iter_mut().for_each(|t| t[k] = 0.0);
        return;
    };
    let since = (at - past.stamps[last]).max(0.0);
    head[SINCE_POST][k] = since as f32;
    for (trace, read) in traces.iter_mut().zip(reads) {
        let after = read.slot.map_or(1.0, |slot| past.after[last * history.taus.len() + slot]);
        trace[k] = (after * (-since / read.tau).exp()) as f32;
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
    let mut lanes =
        Lanes { n, constants: &constants, states: &mut states, inputs: &inputs, output: &mut output[..n] };
    kernel.run(&mut lanes, 1, scratch);
}
