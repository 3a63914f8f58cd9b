//! Synapses whose weight changes, on the CPU: the recent spikes of their targets, and the code that runs over a segment when a spike
//! of its source arrives. Promises NEST's order (potentiate for every spike of the target since the source's last one, depress,
//! transmit; the whole delay is dendritic), and bits that do not depend on how targets are divided among threads.

use super::deliver::{MAX_CONSTANTS, MAX_STATES};
use crate::error::{Error, Result};
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::model::program::Op;
use crate::model::{MAX_TRACES, Plasticity, math};
use crate::network::quantum::reachable;
use crate::network::table::{Block, Dynamic};
use crate::network::{Network, Projection, SynapseInstance};
use std::ops::Range;
use std::sync::Arc;

/// Inputs before the traces.
const HEAD: usize = Plasticity::INPUTS.len();

/// Steps between two searches for what may be forgotten.
const PERIOD: u64 = 1024;

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

/// Recent spikes of the owned neurons of a population onto which plastic synapses project.
pub struct History {
    pub population: usize,
    /// Global ids of the sources of its plastic synapses.
    sources: Vec<Range<u32>>,
    /// Time constants of the traces, in steps.
    taus: Vec<f64>,
    neurons: Vec<Past>,
}

/// All histories of a worker, and what the synapses have seen of them.
#[derive(Default)]
pub struct Histories {
    pub all: Vec<History>,
    /// By global id: stamp of a source's last spike that all its synapses have seen (u64::MAX: none yet).
    seen: Vec<u64>,
    /// Spikes of such sources that were not yet seen when last looked at: (stamp, id).
    pending: Vec<(u64, u32)>,
    max_delay: u64,
    looked: u64,
}

fn plastic(net: &Network) -> impl Iterator<Item = &Projection> {
    net.projections.iter().filter(|p| p.synapse.model.plasticity.is_some())
}

/// Time constants of a rule's traces that add up, in steps (None: only the nearest spike counts), and their rates per ms.
pub fn traces(synapse: &SynapseInstance, dt: f64) -> Result<Vec<(Option<f64>, f32)>> {
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

impl Histories {
    pub fn new(net: &Network, block: &Block, max_delay: u32) -> Result<Histories> {
        let mut histories = Histories { max_delay: max_delay as u64, ..Default::default() };
        for projection in plastic(net) {
            let at = match histories.of(projection.target) {
                Some(at) => at,
                None => {
                    let neurons = vec![Past::default(); block.slices[projection.target].len()];
                    histories.all.push(History { population: projection.target, sources: vec![], taus: vec![], neurons });
                    histories.all.len() - 1
                }
            };
            let (history, source) = (&mut histories.all[at], &net.populations[projection.source]);
            let ids = source.first..source.first + source.n;
            if !history.sources.contains(&ids) {
                history.sources.push(ids);
            }
            for (tau, _) in traces(&projection.synapse, net.dt)? {
                if let Some(tau) = tau.filter(|tau| !history.taus.contains(tau)) {
                    history.taus.push(tau);
                }
            }
        }
        if !histories.all.is_empty() {
            histories.seen = vec![u64::MAX; net.neurons() as usize];
        }
        Ok(histories)
    }

    pub fn of(&self, population: usize) -> Option<usize> {
        self.all.iter().position(|h| h.population == population)
    }

    /// A source has spiked.
    pub fn note(&mut self, stamp: u64, id: u32) {
        if self.all.iter().any(|h| h.sources.iter().any(|s| s.contains(&id))) {
            self.pending.push((stamp, id));
        }
    }

    /// All that was due by `now` has been served: forget, now and then, what no synapse will ask for again.
    pub fn forget(&mut self, now: u64) {
        if self.all.is_empty() || now / PERIOD == self.looked / PERIOD {
            return;
        }
        self.looked = now;
        self.settle(now);
        for history in &mut self.all {
            let seen = history.sources.iter().flat_map(|s| &self.seen[s.start as usize..s.end as usize]);
            let first = seen.map(|s| if *s == u64::MAX { 0 } else { *s }).min().unwrap_or(now);
            let last = first.saturating_sub(self.max_delay);
            for past in &mut history.neurons {
                // The one before them is where their traces start from.
                let gone = past.until(last).saturating_sub(1);
                past.stamps.drain(..gone);
                past.after.drain(..gone * history.taus.len());
            }
        }
    }

    fn settle(&mut self, now: u64) {
        let (seen, max_delay) = (&mut self.seen, self.max_delay);
        self.pending.retain(|&(stamp, id)| {
            let served = stamp + max_delay <= now;
            if served {
                seen[id as usize] = stamp;
            }
            !served
        });
    }

    /// What each source's synapses have seen by `now`.
    pub fn seen(&mut self, now: u64) -> &[u64] {
        self.settle(now);
        &self.seen
    }

    /// Start from stored histories: `flat` as [`History::store`] wrote it for whole populations, of which `block` owns a part.
    pub fn restore(&mut self, flat: &[u64], seen: &[u64], block: &Block, now: u64) -> Option<()> {
        let mut words = flat.iter().copied();
        self.pending.clear();
        self.looked = now;
        for history in &mut self.all {
            let (owned, taus) = (&block.slices[history.population], history.taus.len() as u64);
            if [words.next()?, words.next()?] != [history.population as u64, taus] {
                return None;
            }
            for local in 0..words.next()? {
                let mut past = Past::default();
                for _ in 0..words.next()? {
                    past.stamps.push(words.next()?);
                    for _ in 0..taus {
                        past.after.push(f32::from_bits(words.next()? as u32));
                    }
                }
                if past.stamps.windows(2).any(|s| s[0] >= s[1]) {
                    return None;
                }
                if (owned.start as u64..owned.end as u64).contains(&local) {
                    history.neurons[(local - owned.start as u64) as usize] = past;
                }
            }
        }
        (words.next().is_none() && seen.len() == self.seen.len()).then(|| self.seen.copy_from_slice(seen))
    }
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

    /// Words that name the population, before those of its neurons.
    pub fn head(&self) -> [u64; 2] {
        [self.population as u64, self.taus.len() as u64]
    }

    /// For each owned neuron the number of its spikes, and of each the stamp and the traces.
    pub fn store(&self, flat: &mut Vec<u64>) {
        for past in &self.neurons {
            flat.push(past.stamps.len() as u64);
            for (k, stamp) in past.stamps.iter().enumerate() {
                flat.push(*stamp);
                let after = &past.after[k * self.taus.len()..(k + 1) * self.taus.len()];
                flat.extend(after.iter().map(|x| x.to_bits() as u64));
            }
        }
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
    on_pre: Arc<dyn Kernel>,
    on_post: Option<Arc<dyn Kernel>>,
    /// `on_post` reads more than `elapsed` and `since_pre`.
    post_looks_back: bool,
    constants: Vec<u32>,
    dt: f64,
    /// Which of the worker's histories.
    history: usize,
    /// Accumulator of the first owned neuron of the target population.
    base: u32,
    reads: Vec<Read>,
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
    pub fn new(net: &Network, block: &Block, dynamic: &Dynamic, histories: &Histories) -> Result<Option<PlasticKernel>> {
        let projection = &net.projections[dynamic.projection as usize];
        let synapse = &projection.synapse;
        let (Some(_), Some(on_pre), Some(history)) =
            (&synapse.model.plasticity, synapse.model.kernel(), histories.of(projection.target))
        else {
            return Ok(None);
        };
        if let Some(special) = synapse.model.plasticity.as_ref().and_then(|p| p.special()) {
            return Err(Error::input(
                format!("the cpu engine has no {special}, as {} needs", synapse.model.name),
                "use another rule",
            ));
        }
        let constants: Vec<u32> = synapse.constants().iter().map(|c| c.get(0)).collect();
        if constants.len() > MAX_CONSTANTS || synapse.model.states.len() > MAX_STATES {
            return Err(Error::input(
                format!("{} has more than {MAX_STATES} states or reads more than {MAX_CONSTANTS} constants", synapse.model.name),
                "make the model smaller",
            ));
        }
        let slot = |tau: f64| histories.all[history].taus.iter().position(|t| *t == tau);
        let reads: Vec<Read> =
            traces(synapse, net.dt)?.into_iter().map(|(tau, rate)| Read { slot: tau.and_then(slot), rate }).collect();
        let columns = HEAD + reads.len();
        let post = synapse.model.plasticity.as_ref().and_then(|p| p.on_post.as_ref());
        let beyond = |op: &Op| matches!(op, Op::Input(i) if *i >= 2);
        Ok(Some(PlasticKernel {
            on_pre,
            post_looks_back: post.is_some_and(|p| p.update.ops.iter().any(beyond)),
            on_post: synapse.model.post_kernel(),
            constants,
            dt: net.dt,
            history,
            base: dynamic.port * block.stride + block.offset[projection.target],
            reads,
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

    pub fn limit(&self) -> f32 {
        self.limit
    }

    /// Bring synapses `first ..` up to date, let them see this spike, and add what they transmit.
    pub fn transmit(
        &mut self,
        synapses: &mut Dynamic,
        targets: &[u32],
        mut first: usize,
        arrival: Arrival,
        histories: &Histories,
        acc: &mut [i32],
    ) {
        let history = &histories.all[self.history];
        let Arrival { stamp, delay, elapsed } = arrival;
        let is_first = elapsed == u32::MAX;
        // A source starts as if it had spiked at 0, as in NEST.
        let last = if is_first { 0 } else { stamp - elapsed as u64 };
        let inverse = 1.0 / synapses.quantum;
        for targets in targets.chunks(BLOCK) {
            let n = targets.len();
            let own = first..first + n;
            for (word, w) in self.states[0].iter_mut().zip(&synapses.weight[own.clone()]) {
                *word = w.to_bits();
            }
            for (copy, state) in self.states[1..].iter_mut().zip(&synapses.states) {
                copy[..n].copy_from_slice(&state[own.clone()]);
            }
            self.spans.clear();
            for (lane, &target) in (0u32..).zip(targets) {
                let past = &history.neurons[(target - self.base) as usize];
                let end = past.until(stamp.saturating_sub(delay)) as u32;
                let at_once = end > 0 && past.stamps[end as usize - 1] + delay == stamp;
                let next = if is_first { 0 } else { past.until(last.saturating_sub(delay)) as u32 };
                self.spans.push(Span { lane, local: target - self.base, next, end, before: end - at_once as u32 });
            }
            let since_pre = self.ms(stamp - last);
            let elapsed = if is_first { f32::INFINITY } else { since_pre };
            self.potentiate(history, delay, last, elapsed);
            self.inputs[0][..n].fill(elapsed);
            self.inputs[1][..n].fill(since_pre);
            let spans = std::mem::take(&mut self.spans);
            self.look_back(history, &spans, |span, _| (span.before as usize, stamp.saturating_sub(delay)));
            self.spans = spans;
            run(&*self.on_pre, n, &self.constants, &mut self.states, &self.inputs, &mut self.psc, &mut self.scratch);
            for (w, word) in synapses.weight[own.clone()].iter_mut().zip(&self.states[0]) {
                *w = f32::from_bits(*word);
            }
            for (copy, state) in self.states[1..].iter().zip(&mut synapses.states) {
                state[own.clone()].copy_from_slice(&copy[..n]);
            }
            for (&target, &psc) in targets.iter().zip(&self.psc) {
                let psc = f32::from_bits(psc);
                let within = psc.abs() <= self.limit;
                self.failed |= !within;
                acc[target as usize] += if within { (psc * inverse).round_ties_even() as i32 } else { 0 };
            }
            first += n;
        }
    }

    #[inline(always)]
    fn ms(&self, steps: u64) -> f32 {
        (steps as f64 * self.dt) as f32
    }

    /// `on_post` for every spike of the targets in their spans: the first of all lanes that have one, then the second, ...
    fn potentiate(&mut self, history: &History, delay: u64, last: u64, elapsed: f32) {
        let Some(on_post) = self.on_post.clone() else { return };
        let mut active = std::mem::take(&mut self.active);
        active.clear();
        active.extend(self.spans.iter().filter(|s| s.next < s.end));
        while !active.is_empty() {
            let m = active.len();
            for (some, all) in self.packed.iter_mut().zip(&self.states) {
                some.iter_mut().zip(&active).for_each(|(x, span)| *x = all[span.lane as usize]);
            }
            self.inputs[0][..m].fill(elapsed);
            for (k, span) in active.iter().enumerate() {
                let at = history.neurons[span.local as usize].stamps[span.next as usize];
                self.inputs[1][k] = self.ms(at + delay - last);
            }
            if self.post_looks_back {
                self.look_back(history, &active, |span, past| (span.next as usize, past.stamps[span.next as usize]));
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
    fn look_back(&mut self, history: &History, spans: &[Span], event: impl Fn(&Span, &Past) -> (usize, u64)) {
        let n = spans.len();
        let (head, traces) = self.inputs.split_at_mut(HEAD);
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
    let columns: [&[f32]; HEAD + MAX_TRACES] = std::array::from_fn(|_| columns.next().map_or(&[][..], |c| &c[..n]));
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

    fn histories(sources: u32) -> Histories {
        let history = History { population: 0, sources: vec![0..sources], taus: vec![200.0], neurons: vec![Past::default()] };
        Histories { all: vec![history], seen: vec![u64::MAX; sources as usize], max_delay: 15, ..Default::default() }
    }

    /// What may still be asked for is kept, with its traces; the rest goes, as soon as every source has spiked again.
    #[test]
    fn histories_keep_what_is_needed_and_no_more() {
        let mut histories = histories(2);
        let mut all = Past::default();
        for now in 1..20_000u64 {
            if now % 20 == 0 {
                histories.all[0].push(0, now);
                let last =
                    all.stamps.last().map_or(0.0, |s| *all.after.last().unwrap() as f64 * (-((now - s) as f64) / 200.0).exp());
                all.stamps.push(now);
                all.after.push((last + 1.0) as f32);
            }
            if now % 300 == 0 {
                histories.note(now, 0);
            }
            // The other source is silent for long.
            if now == 12_001 || now == 19_000 {
                histories.note(now, 1);
            }
            histories.forget(now);
            let past = &histories.all[0].neurons[0];
            let gone = all.stamps.len() - past.stamps.len();
            assert_eq!((&past.stamps[..], &past.after[..]), (&all.stamps[gone..], &all.after[gone..]));
            let needed = if now < 12_016 {
                0
            } else if now < 19_015 {
                12_001 - 15
            } else {
                19_000 - 15
            };
            assert!(gone == 0 || past.stamps[0] <= needed.max(1), "at {now} the oldest is {}", past.stamps[0]);
            if now == 12_000 {
                assert_eq!(gone, 0, "a source has not spiked yet");
            }
            assert!(now < 13_400 || past.stamps.len() < 400, "{} spikes kept at {now}", past.stamps.len());
        }
        assert!(histories.all[0].neurons[0].stamps.len() < 90);
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
        let mut from = histories(1);
        for stamp in [3, 50, 51] {
            from.all[0].push(0, stamp);
        }
        let mut flat = from.all[0].head().to_vec();
        flat.extend([3]);
        from.all[0].store(&mut flat);
        flat.extend([0, 1, 9, 1.0f32.to_bits() as u64]);
        let block = |range: Range<u32>| Block { slices: vec![range], ..Default::default() };
        let (mut first, mut last) = (histories(1), histories(1));
        assert!(first.restore(&flat, &[7], &block(0..1), 60).is_some() && last.restore(&flat, &[7], &block(2..3), 60).is_some());
        assert_eq!(first.all[0].neurons[0].stamps, [3, 50, 51]);
        assert_eq!(first.all[0].neurons[0].after, from.all[0].neurons[0].after);
        assert_eq!(last.all[0].neurons[0].stamps, [9]);
        assert_eq!(last.seen(60), [7]);
        for bad in 0..flat.len() {
            assert!(first.restore(&flat[..bad], &[7], &block(0..1), 60).is_none(), "cut at {bad}");
        }
        assert!(first.restore(&flat, &[], &block(0..1), 60).is_none());
    }
}
