//! What plastic synapses read beside spikes, on the CPU: global signals with their jumps, and recent states of targets. Promises
//! values that depend on times alone, not on how spikes are divided among threads. Knows no rule.

use crate::error::Result;
use crate::model::{Ty, math, number};
use crate::network::{Cell, Network, Projection};
use std::collections::BTreeMap;
use std::ops::Range;

/// A jump of a signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jump {
    pub stamp: u64,
    pub amount: f32,
    /// The signal just after it.
    pub after: f32,
    /// Synapses that learned at the time see it as an event.
    pub counts: bool,
}

/// One signal: its value, and the jumps that are to come.
#[derive(Clone)]
struct Signal {
    /// Steps; infinite where it stays.
    tau: f64,
    /// Just after the jump at `last`.
    value: f64,
    last: u64,
    /// (step, amount) of the scenario, sorted; those from `next` on are to come.
    given: Vec<(u64, f64)>,
    next: usize,
    /// Amounts that the host gave, by step.
    told: BTreeMap<u64, f64>,
    /// Ids whose spikes make it jump, after how many steps, and by how much; spikes noted, by the step of their jump.
    spikes: Option<(Range<u32>, u64, f64)>,
    noted: BTreeMap<u64, u64>,
}

/// All signals of a network, the same in each worker.
#[derive(Clone, Default)]
pub struct Signals(Vec<Signal>);

impl Signals {
    pub fn new(net: &Network) -> Signals {
        let steps = |ms: f64| (ms / net.dt).round().max(0.0) as u64;
        let one = |m: &crate::network::Modulator| Signal {
            tau: m.tau / net.dt,
            value: m.initial,
            last: 0,
            given: m.jumps.iter().map(|j| (steps(j.0).max(1), j.1)).collect(),
            next: 0,
            told: BTreeMap::new(),
            spikes: m.spikes.as_ref().map(|s| {
                let p = &net.populations[s.population];
                (p.first..p.first + p.n, steps(s.delay).max(1), s.amount)
            }),
            noted: BTreeMap::new(),
        };
        Signals(net.modulators.iter().map(one).collect())
    }

    /// A neuron has spiked.
    #[inline]
    pub fn note(&mut self, stamp: u64, id: u32) {
        for signal in &mut self.0 {
            if let Some((ids, delay, _)) = &signal.spikes
                && ids.contains(&id)
            {
                *signal.noted.entry(stamp + delay).or_insert(0) += 1;
            }
        }
    }

    /// The host lets a signal jump.
    pub fn jump(&mut self, signal: usize, stamp: u64, amount: f64) {
        *self.0[signal].told.entry(stamp).or_insert(0.0) += amount;
    }

    /// All spikes stamped `until` or before have been noted: hand on the jumps up to there, each signal's in order. What coincides is
    /// one jump.
    pub fn settle(&mut self, until: u64, mut each: impl FnMut(usize, Jump)) {
        for (index, signal) in self.0.iter_mut().enumerate() {
            loop {
                let given = signal.given.get(signal.next).map(|g| g.0);
                let ahead = [given, signal.told.keys().next().copied(), signal.noted.keys().next().copied()];
                let Some(stamp) = ahead.into_iter().flatten().min().filter(|stamp| *stamp <= until) else { break };
                let mut amount = signal.told.remove(&stamp).unwrap_or(0.0);
                while let Some((_, more)) = signal.given.get(signal.next).filter(|g| g.0 == stamp) {
                    amount += more;
                    signal.next += 1;
                }
                if let (Some(count), Some((_, _, each))) = (signal.noted.remove(&stamp), &signal.spikes) {
                    amount += count as f64 * each;
                }
                let decay = (-((stamp - signal.last) as f64) / signal.tau).exp();
                signal.value = math::flush64(signal.value * decay + amount);
                signal.last = stamp;
                each(index, Jump { stamp, amount: amount as f32, after: signal.value as f32, counts: true });
            }
        }
    }

    pub fn store(&self) -> Vec<u64> {
        let mut flat = vec![self.0.len() as u64];
        for signal in &self.0 {
            flat.extend([signal.value.to_bits(), signal.last, signal.told.len() as u64, signal.noted.len() as u64]);
            flat.extend(signal.told.iter().flat_map(|(stamp, amount)| [*stamp, amount.to_bits()]));
            flat.extend(signal.noted.iter().flat_map(|(stamp, count)| [*stamp, *count]));
        }
        flat
    }

    /// Take up what was stored at step `now`; the scenario's jumps after it are those of this network.
    pub fn restore(&mut self, flat: &[u64], now: u64) -> Option<()> {
        let mut words = flat.iter().copied();
        (words.next()? == self.0.len() as u64).then_some(())?;
        for signal in &mut self.0 {
            (signal.value, signal.last) = (f64::from_bits(words.next()?), words.next()?);
            let (told, noted) = (words.next()?, words.next()?);
            let mut pairs = |n: u64| (0..n).map(|_| Some((words.next()?, words.next()?))).collect::<Option<Vec<_>>>();
            signal.told = pairs(told)?.into_iter().map(|(stamp, amount)| (stamp, f64::from_bits(amount))).collect();
            signal.noted = pairs(noted)?.into_iter().collect();
            signal.next = signal.given.partition_point(|g| g.0 <= now);
        }
        words.next().is_none().then_some(())
    }
}

/// The jumps of one signal that some synapse of a projection may still ask for, and one before them.
#[derive(Clone)]
pub struct Jumps {
    /// Per ms.
    rate: f32,
    dt: f64,
    /// The first is no jump, but what the signal was at the start, or the last that counted.
    list: Vec<Jump>,
}

impl Jumps {
    /// Those of the signal that a projection reads.
    pub fn new(net: &Network, projection: &Projection) -> Option<Jumps> {
        let modulator = &net.modulators[projection.modulator?];
        let start = Jump { stamp: 0, amount: 0.0, after: modulator.initial as f32, counts: false };
        Some(Jumps { rate: (1.0 / modulator.tau) as f32, dt: net.dt, list: vec![start] })
    }

    /// Of jumps that do not count only the last is asked for.
    pub fn push(&mut self, jump: Jump) {
        if !jump.counts && self.list.len() > 1 && self.list.last().is_some_and(|j| !j.counts) {
            self.list.pop();
        }
        self.list.push(jump);
    }

    pub fn get(&self, index: usize) -> Jump {
        self.list[index]
    }

    /// Index after the last jump stamped `stamp` or before.
    #[inline]
    pub fn until(&self, stamp: u64) -> usize {
        let n = self.list.len();
        for k in 0..n.min(8) {
            if self.list[n - 1 - k].stamp <= stamp {
                return n - k;
            }
        }
        self.list[..n - n.min(8)].partition_point(|j| j.stamp <= stamp)
    }

    /// The signal at a time, after `jumps` of the list.
    #[inline]
    fn after(&self, jumps: usize, stamp: u64) -> f32 {
        let last = self.list[jumps.max(1) - 1];
        math::flush(last.after * math::exp(-((stamp.saturating_sub(last.stamp)) as f64 * self.dt) as f32 * self.rate))
    }

    /// The signal at a time, a jump there included.
    #[inline]
    pub fn at(&self, stamp: u64) -> f32 {
        self.after(self.until(stamp), stamp)
    }

    /// The signal just before a jump.
    pub fn before(&self, index: usize) -> f32 {
        self.after(index, self.list[index].stamp)
    }

    /// The last jump that counts, stamped `stamp` or before: where a synapse's last event may have been.
    #[inline]
    pub fn last_event(&self, stamp: u64) -> Option<u64> {
        self.list[..self.until(stamp)].iter().rev().find(|j| j.counts).map(|j| j.stamp)
    }

    /// What was before the last event up to `stamp` is not asked for again.
    pub fn forget(&mut self, stamp: u64) {
        let end = self.until(stamp);
        let keep = self.list[..end].iter().rposition(|j| j.counts).unwrap_or(0);
        self.list.drain(..keep);
    }

    pub fn store(&self, flat: &mut Vec<u64>) {
        flat.push(self.list.len() as u64);
        for j in &self.list {
            let values = (j.amount.to_bits() as u64) << 32 | j.after.to_bits() as u64;
            flat.extend([j.stamp << 1 | j.counts as u64, values]);
        }
    }

    pub fn restore(&mut self, words: &mut impl Iterator<Item = u64>) -> Option<()> {
        self.list.clear();
        for _ in 0..words.next()? {
            let (when, values) = (words.next()?, words.next()?);
            let (amount, after) = (f32::from_bits((values >> 32) as u32), f32::from_bits(values as u32));
            self.list.push(Jump { stamp: when >> 1, amount, after, counts: when & 1 == 1 });
        }
        (!self.list.is_empty() && self.list.windows(2).all(|j| j[0].stamp < j[1].stamp || j[0].stamp == 0)).then_some(())
    }
}

/// States of the owned targets after each of the last steps, for what reads them at the time of a spike of the source.
#[derive(Clone)]
pub struct Recent {
    /// (index in the model, type) of each.
    states: Vec<(usize, Ty)>,
    neurons: usize,
    /// Steps kept.
    depth: u64,
    /// By step (modulo depth), state, neuron.
    values: Vec<f32>,
}

impl Recent {
    /// What the synapses of a projection read of the neurons `owned`; synapses of `max_delay` steps look back twice as far.
    pub fn new(net: &Network, projection: &Projection, owned: Range<u32>, max_delay: u32) -> Result<Recent> {
        let states = projection.post_states(net)?;
        let Cell::Neuron(target) = &net.populations[projection.target].cell else {
            return Ok(Recent { states: vec![], neurons: 0, depth: 1, values: vec![] });
        };
        let states: Vec<(usize, Ty)> = states.into_iter().map(|s| (s, target.model.states[s].ty)).collect();
        let depth = 2 * max_delay as u64 + 1;
        let initial = target.initial_words();
        let row: Vec<f32> = states
            .iter()
            .flat_map(|&(s, ty)| owned.clone().map(move |i| (s, ty, i)))
            .map(|(s, ty, i)| number(initial[s].get(i as usize), ty) as f32)
            .collect();
        let values = if states.is_empty() { vec![] } else { row.repeat(depth as usize) };
        Ok(Recent { states, neurons: owned.len(), depth, values })
    }

    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    pub fn len(&self) -> usize {
        self.states.len()
    }

    pub fn neurons(&self) -> usize {
        self.neurons
    }

    fn row(&self, stamp: u64) -> usize {
        (stamp % self.depth) as usize * self.states.len() * self.neurons
    }

    /// The states after the step that ends at `stamp`.
    pub fn sample(&mut self, stamp: u64, words: &[Vec<u32>]) {
        let row = self.row(stamp);
        for (k, &(state, ty)) in self.states.iter().enumerate() {
            let at = row + k * self.neurons;
            for (value, word) in self.values[at..at + self.neurons].iter_mut().zip(&words[state]) {
                *value = number(*word, ty) as f32;
            }
        }
    }

    /// State `k` of a neuron after the step that ended at `stamp`, among those kept.
    #[inline]
    pub fn at(&self, stamp: u64, k: usize, local: usize) -> f32 {
        self.values[self.row(stamp) + k * self.neurons + local]
    }

    /// For each owned neuron its values, two a word.
    pub fn store(&self, flat: &mut Vec<u64>) {
        let per = self.depth as usize * self.states.len();
        for local in 0..if per == 0 { 0 } else { self.neurons } {
            let word = |i: usize| if i < per { self.values[i * self.neurons + local].to_bits() as u64 } else { 0 };
            flat.extend((0..per).step_by(2).map(|i| word(i) << 32 | word(i + 1)));
        }
    }

    /// Take up the neurons `owned` of what was stored for `n`.
    pub fn restore(&mut self, words: &mut impl Iterator<Item = u64>, n: u64, owned: Range<u64>) -> Option<()> {
        let per = self.depth as usize * self.states.len();
        for local in 0..if per == 0 { 0 } else { n } {
            for i in (0..per).step_by(2) {
                let word = words.next()?;
                if owned.contains(&local) {
                    let at = (local - owned.start) as usize;
                    self.values[i * self.neurons + at] = f32::from_bits((word >> 32) as u32);
                    if i + 1 < per {
                        self.values[(i + 1) * self.neurons + at] = f32::from_bits(word as u32);
                    }
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Modulator, ModulatorSpikes, testing};

    fn net() -> Network {
        let mut net = testing::network(vec![(3, testing::source()), (2, testing::one_port())]);
        net.modulators.push(Modulator {
            name: "m".into(),
            tau: 2.0,
            initial: 1.0,
            jumps: vec![(0.5, 2.0), (1.0, -1.0)],
            spikes: Some(ModulatorSpikes { population: 0, delay: 0.3, amount: 0.25 }),
        });
        net.projections.push(testing::projection(0, 1, crate::network::Rule::AllToAll));
        net.projections[0].modulator = Some(0);
        net
    }

    /// What coincides is one jump; the value is that of the sum over all jumps.
    #[test]
    fn jumps_of_all_kinds_come_in_order_and_once() {
        let net = net();
        let (mut signals, mut jumps) = (Signals::new(&net), Jumps::new(&net, &net.projections[0]).unwrap());
        signals.note(2, 0);
        signals.note(2, 2);
        signals.note(2, 3);
        signals.note(4, 1);
        signals.jump(0, 7, 0.5);
        signals.settle(4, |_, _| panic!("too early"));
        let stored = signals.store();
        let mut all = vec![];
        for until in [5, 9, 20] {
            signals.settle(until, |_, j| all.push(j));
        }
        let expected = [(5u64, 2.5f64), (7, 0.75), (10, -1.0)];
        assert_eq!(all.iter().map(|j| (j.stamp, j.amount as f64)).collect::<Vec<_>>(), expected);
        let exact = |t: f64, inclusive: bool| {
            let past = expected.iter().filter(|(s, _)| (*s as f64) < t || inclusive && *s as f64 == t);
            past.map(|(s, a)| a * (-(t - *s as f64) / 20.0).exp()).sum::<f64>() + (-t / 20.0).exp()
        };
        all.iter().for_each(|j| jumps.push(*j));
        for t in 0..30 {
            assert!((jumps.at(t) as f64 - exact(t as f64, true)).abs() < 1e-6, "{t}");
        }
        for (k, (t, _)) in expected.iter().enumerate() {
            assert!((jumps.before(k + 1) as f64 - exact(*t as f64, false)).abs() < 1e-6, "{t}");
        }
        assert_eq!((jumps.last_event(4), jumps.last_event(9), jumps.last_event(10)), (None, Some(7), Some(10)));
        let mut again = Signals::new(&net);
        assert!(again.restore(&stored, 4).is_some());
        let mut rest = vec![];
        again.settle(20, |_, j| rest.push(j));
        assert_eq!(rest, all);
        for cut in 0..stored.len() {
            assert!(Signals::new(&net).restore(&stored[..cut], 4).is_none(), "cut at {cut}");
        }
        let (before, mut flat) = (jumps.at(25), vec![]);
        jumps.forget(9);
        assert_eq!((jumps.list.len(), jumps.at(25)), (2, before));
        jumps.store(&mut flat);
        let mut copy = Jumps::new(&net, &net.projections[0]).unwrap();
        assert!(copy.restore(&mut flat.iter().copied()).is_some());
        assert_eq!(copy.list, jumps.list);
    }

    #[test]
    fn a_signal_without_decay_stays() {
        let mut net = net();
        net.modulators[0].tau = f64::INFINITY;
        let (mut signals, mut jumps) = (Signals::new(&net), Jumps::new(&net, &net.projections[0]).unwrap());
        signals.settle(1000, |_, j| jumps.push(j));
        assert_eq!((jumps.at(4), jumps.at(9), jumps.at(100_000)), (1.0, 3.0, 2.0));
    }
}
