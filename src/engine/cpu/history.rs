//! The recent spikes of the targets of plastic synapses, with their traces. Promises that what some synapse may still ask for is kept, and
//! little more, and that what nearly all ask for, a neuron's latest spikes, stands side by side. Knows steps and neurons; no rule.

use std::ops::Range;

/// The spikes of one neuron that some synapse onto it may still ask for, and one before them.
#[derive(Clone, Default)]
pub struct Past {
    pub stamps: Vec<u64>,
    /// Traces just after each of them, then the states of the neuron that are read: `width` values a spike.
    pub after: Vec<f32>,
}

impl Past {
    /// How many of the spikes are stamped `last` at most. Those asked for are nearly always among the latest.
    #[inline]
    pub fn until(&self, last: u64) -> usize {
        let n = self.stamps.len();
        for k in 0..n.min(8) {
            if self.stamps[n - 1 - k] <= last {
                return n - k;
            }
        }
        self.stamps[..n - n.min(8)].partition_point(|s| *s <= last)
    }
}

/// Spikes of a neuron that are kept side by side as well.
const SIDE: usize = 3;

/// The latest spikes of a neuron, in half a cache line: a synapse asks for those since its source's last spike, which are seldom more.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Side {
    /// The latest first; 0 where there is none.
    stamps: [u64; SIDE],
    /// Spikes of the neuron that are kept.
    kept: u32,
}

/// Which of a neuron's kept spikes lie in a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Kept spikes up to the stretch's begin, and up to its end.
    pub next: u32,
    pub end: u32,
    /// The last of these is stamped with the end.
    pub at_end: bool,
}

/// Recent spikes (or other events) of the owned neurons of a population onto which plastic synapses of one projection project.
#[derive(Clone, Default)]
pub struct History {
    /// Time constants of the traces, in steps.
    pub taus: Vec<f64>,
    /// Values kept of each spike: the traces and the states that are read.
    pub width: usize,
    pub neurons: Vec<Past>,
    /// Stamp of each neuron's latest spike (-inf: none yet), and the traces just after it (0), each in a row of its own: most
    /// synapses ask for no other.
    pub latest: Vec<f64>,
    pub latest_after: Vec<Vec<f32>>,
    side: Vec<Side>,
    /// For each neuron the values of the spikes in `side`, in its order.
    side_after: Vec<f32>,
}

impl History {
    /// Of so many neurons, none of which has spiked; `width` values are kept of each spike, the traces first.
    pub fn new(taus: Vec<f64>, width: usize, neurons: usize) -> Self {
        History {
            width,
            neurons: vec![Past::default(); neurons],
            latest: vec![f64::NEG_INFINITY; neurons],
            latest_after: vec![vec![0.0; neurons]; taus.len()],
            side: vec![Side { stamps: [0; SIDE], kept: 0 }; neurons],
            side_after: vec![0.0; neurons * SIDE * width],
            taus,
        }
    }

    /// An owned neuron has spiked; the states it is left with.
    pub fn push(&mut self, local: usize, stamp: u64, states: impl Iterator<Item = f32>) {
        let past = &mut self.neurons[local];
        let before = past.after.len().saturating_sub(self.width);
        for (t, tau) in self.taus.iter().enumerate() {
            let decayed =
                past.stamps.last().map_or(0.0, |last| past.after[before + t] as f64 * (-((stamp - last) as f64) / tau).exp());
            past.after.push((decayed + 1.0) as f32);
        }
        past.after.extend(states);
        past.stamps.push(stamp);
        self.latest(local);
    }

    /// The kept spikes of a neuron stamped after `from` and at `until` at the latest.
    #[inline]
    pub fn find(&self, local: u32, from: u64, until: u64) -> Found {
        let side = &self.side[local as usize];
        let kept = side.kept;
        let there = kept.min(SIDE as u32);
        let after = |stamp: u64| side.stamps.iter().filter(|s| **s > stamp).count() as u32;
        let (newer, later) = (after(from), after(until));
        if newer == there && kept > there || later == SIDE as u32 {
            return self.find_among_all(local, from, until);
        }
        Found { next: kept - newer, end: kept - later, at_end: later < there && side.stamps[later as usize] == until }
    }

    #[cold]
    fn find_among_all(&self, local: u32, from: u64, until: u64) -> Found {
        let past = &self.neurons[local as usize];
        let end = past.until(until);
        Found { next: past.until(from) as u32, end: end as u32, at_end: end > 0 && past.stamps[end - 1] == until }
    }

    /// Stamp of the kept spike `index` of a neuron.
    #[inline]
    pub fn stamp(&self, local: u32, index: u32) -> u64 {
        let side = &self.side[local as usize];
        match side.stamps.get((side.kept - 1 - index) as usize) {
            Some(stamp) => *stamp,
            None => self.neurons[local as usize].stamps[index as usize],
        }
    }

    /// Value `slot` (a trace, or a state after the traces) of the kept spike `index` of a neuron.
    #[inline]
    pub fn after(&self, local: u32, index: u32, slot: usize) -> f32 {
        let back = (self.side[local as usize].kept - 1 - index) as usize;
        match back < SIDE {
            true => self.side_after[(local as usize * SIDE + back) * self.width + slot],
            false => self.neurons[local as usize].after[index as usize * self.width + slot],
        }
    }

    /// Take over the latest spikes of a neuron.
    fn latest(&mut self, local: usize) {
        let past = &self.neurons[local];
        let side = &mut self.side[local];
        side.kept = past.stamps.len() as u32;
        for back in 0..SIDE {
            let Some(index) = past.stamps.len().checked_sub(1 + back) else {
                side.stamps[back] = 0;
                continue;
            };
            side.stamps[back] = past.stamps[index];
            let values = &past.after[index * self.width..(index + 1) * self.width];
            self.side_after[(local * SIDE + back) * self.width..][..self.width].copy_from_slice(values);
        }
        self.latest[local] = past.stamps.last().map_or(f64::NEG_INFINITY, |stamp| *stamp as f64);
        let at = past.after.len().saturating_sub(self.width);
        for (t, row) in self.latest_after.iter_mut().enumerate() {
            row[local] = past.after.get(at + t).copied().unwrap_or(0.0);
        }
    }

    /// What was stamped before `last` is not asked for again, but for the spike that traces start from.
    pub fn forget(&mut self, last: u64) {
        for past in &mut self.neurons {
            let gone = past.until(last).saturating_sub(1);
            past.stamps.drain(..gone);
            past.after.drain(..gone * self.width);
        }
        for (side, past) in self.side.iter_mut().zip(&self.neurons) {
            side.kept = past.stamps.len() as u32;
            side.stamps[past.stamps.len().min(SIDE)..].fill(0);
        }
    }

    /// For each owned neuron the number of its spikes, and of each the stamp and the traces.
    pub fn store(&self, flat: &mut Vec<u64>) {
        for past in &self.neurons {
            flat.push(past.stamps.len() as u64);
            for (k, stamp) in past.stamps.iter().enumerate() {
                flat.push(*stamp);
                let after = &past.after[k * self.width..(k + 1) * self.width];
                flat.extend(after.iter().map(|x| x.to_bits() as u64));
            }
        }
    }

    /// Take up the neurons `owned` of what was stored for `n`.
    pub fn restore(&mut self, words: &mut impl Iterator<Item = u64>, n: u64, owned: Range<u64>) -> Option<()> {
        for local in 0..n {
            let mut past = Past::default();
            for _ in 0..words.next()? {
                past.stamps.push(words.next()?);
                for _ in 0..self.width {
                    past.after.push(f32::from_bits(words.next()? as u32));
                }
            }
            if past.stamps.windows(2).any(|s| s[0] >= s[1]) {
                return None;
            }
            if owned.contains(&local) {
                self.neurons[(local - owned.start) as usize] = past;
                self.latest((local - owned.start) as usize);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        History::new(vec![200.0], 1, 1)
    }

    /// What may still be asked for is kept, with its traces, and the spike before it.
    #[test]
    fn histories_keep_what_is_needed_and_no_more() {
        let (mut history, mut all) = (history(), Past::default());
        for now in 1..20_000u64 {
            if now % 20 == 0 {
                history.push(0, now, [].into_iter());
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

    /// Among the latest side by side, and among all where these do not reach.
    #[test]
    fn spikes_of_a_stretch_of_time_are_found() {
        let mut history = history();
        for k in 0..12u64 {
            let past = &history.neurons[0];
            for from in 0..45 {
                for until in from..45 {
                    let (next, end) = (past.until(from), past.until(until));
                    let at_end = end > 0 && past.stamps[end - 1] == until;
                    assert_eq!(history.find(0, from, until), Found { next: next as u32, end: end as u32, at_end }, "{from} {until}");
                }
            }
            for (index, stamp) in (0..).zip(&past.stamps) {
                assert_eq!(history.stamp(0, index), *stamp);
                assert_eq!(history.after(0, index, 0), past.after[index as usize]);
            }
            history.push(0, 3 * k + 2, [].into_iter());
            if k == 8 {
                history.forget(24);
                assert!(history.neurons[0].stamps.len() < SIDE);
            }
        }
    }

    #[test]
    fn histories_are_stored_and_restored_for_other_blocks() {
        let mut from = history();
        for stamp in [3, 50, 51] {
            from.push(0, stamp, [].into_iter());
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
}
